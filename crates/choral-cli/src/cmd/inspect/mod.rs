//! `choral inspect`: what a model file holds.
//!
//! Works on any file that can be parsed, of a known architecture or not:
//! [`subject`] opens, [`report`] collects, [`print`] writes for people.

mod print;
mod report;
mod subject;

use crate::args::model::ModelChoice;
use crate::cmd::jsonl;
use choral::Engine;
use std::path::PathBuf;
use std::process::ExitCode;
use subject::Subject;

/// Show what a model file holds
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// GGUF file, safetensors file, or folder; without it, the small model that ships with choral
    #[arg(value_name = "MODEL", conflicts_with_all = ["model", "hf"])]
    path: Option<PathBuf>,
    #[command(flatten)]
    model: ModelChoice,
    #[command(flatten)]
    sections: Sections,
    /// Show arrays and long strings in full
    #[arg(long)]
    full: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What to show; everything, if nothing is chosen.
#[derive(Debug, Clone, Copy, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "one switch a section")]
struct Sections {
    /// Show the summary: sizes, types, architecture, tokenizer
    #[arg(long)]
    summary: bool,
    /// Show metadata or configuration
    #[arg(long)]
    metadata: bool,
    /// Show every tensor: name, shape, type, bytes
    #[arg(long)]
    tensors: bool,
    /// Show the chat template in full
    #[arg(long)]
    template: bool,
}

impl Sections {
    fn or_all(mut self) -> Self {
        if !(self.summary || self.metadata || self.tensors || self.template) {
            (self.summary, self.metadata, self.tensors) = (true, true, true);
        }
        self
    }
}

/// Does it.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let named = match args.path {
        Some(path) => Some(path),
        None => args.model.path()?,
    };
    let subject = match named {
        Some(path) => Subject::open(&path)?,
        None => Subject::Model(Box::new(Engine::builder().open()?)),
    };
    let mut sections = args.sections.or_all();
    // A program can skip what it does not want; a person would have to scroll.
    sections.template |= args.json && sections.summary && sections.tensors;
    let report = report::Report::of(&subject, sections, args.full)?;
    if args.json {
        jsonl::print(&report)?;
    } else {
        print::print(&report)?;
    }
    Ok(ExitCode::SUCCESS)
}
