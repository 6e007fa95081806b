//! `choral compare`: the same prompts under several settings, beside each other.
//!
//! `grid` makes settings of `--vary`; `run` has each model answer all of them in one
//! batch; `table` holds what came of it, and what it comes to in figures. `show` is for
//! terminals, `export` and `html` are for files.

mod export;
mod grid;
mod html;
mod run;
mod show;
mod table;
#[cfg(test)]
mod tests;

pub(in crate::cmd) use html::escaped;

use super::batch::files::{self, Output};
use super::prompts::PromptFile;
use crate::args::ModelsArgs;
use crate::args::sampling::SamplingArgs;
use crate::args::template::TemplateArgs;
use crate::input;
use crate::interrupt::Interrupt;
use crate::message::Usage;
use crate::output::terminal::tell;
use crate::{EXIT_INTERRUPTED, EXIT_SOME_FAILED, NOTES};
use anyhow::{Result, ensure};
use choral::sampling::fresh_seed;
use grid::Vary;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use table::Table;

/// What is continued when nothing else is given.
const DEFAULT_PROMPT: &str = "Once upon a time";

/// What the figures are, for `--help`.
const FIGURES: &str = "\
Figures of a setting, over all of its answers. distinct-n: of all runs of n words, the share that \
differ (Li et al., 2016). perplexity: of the answers under the model that wrote them, before \
temperature and filters. seconds: from its first step to its last answer; all settings of a model \
run in one batch and share the machine, so that seconds compare settings of one run only.

A prompt has the same seed in all settings, so what differs is the settings' doing. -s repeats a \
comparison: files are then the same byte for byte, unless --timings puts seconds into them.";

/// Answer the same prompts under several settings or by several models, side by side
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("{FIGURES}\n\n{NOTES}"), after_help = NOTES)]
pub(crate) struct Args {
    /// Prompt; may be given several times [default: "Once upon a time"]
    #[arg(short, long, value_name = "TEXT", conflicts_with_all = ["file", "input"])]
    prompt: Vec<String>,
    /// File with the prompt, - for standard input; a line feed at its end is left out
    #[arg(short, long, value_name = "FILE", conflicts_with = "input")]
    file: Option<PathBuf>,
    /// File of prompts, a line each or JSONL as of `batch`
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// A sampling option and its values, such as temp=0.2,0.8; several make a grid. Comes before
    /// what rows of --input say
    #[arg(long, value_name = "OPTION=V,...", value_parser = Vary::parse)]
    vary: Vec<Vary>,
    /// Answers to each prompt under each setting (-np) [default: 1]
    #[arg(long, visible_aliases = ["n-parallel", "n"], alias = "np", value_name = "N")]
    parallel: Option<u32>,
    /// Treat prompts as messages and apply the chat template
    #[arg(long)]
    chat: bool,
    /// Also write a file: .jsonl (a line a setting), .csv (a line an answer) or .html
    #[arg(short, long, value_name = "FILE", value_parser = export::File::parse)]
    output: Option<export::File>,
    /// Replace the output file if it exists
    #[arg(long, requires = "output")]
    overwrite: bool,
    /// Put seconds and tokens/s into the file too, which then differs from run to run
    #[arg(long, requires = "output")]
    timings: bool,
    /// Print no answers and no progress, only the figures
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    model: ModelsArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    template: TemplateArgs,
}

/// Where prompts come from.
enum Prompts {
    Texts(Vec<String>),
    File(PromptFile),
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let interrupt = Interrupt::install()?;
    let num_answers = args.parallel.unwrap_or(1);
    args.sampling.check(num_answers)?;
    args.template.check()?;
    if !args.chat && args.input.is_none() {
        args.template.refuse("--chat")?;
    }
    let cells = grid::cells(&args.vary)?;
    let prompts = args.prompts()?;
    if let Some(file) = &args.output {
        let input = args.input.clone().unwrap_or_else(|| "-".into());
        files::check_output(&file.path, &input, args.overwrite)?;
    }
    let seed = args.sampling.seed.unwrap_or_else(fresh_seed);
    let mut table = Table::new(seed, &args.vary);
    let job = run::Run {
        args: &args,
        prompts: &prompts,
        cells: &cells,
        seed,
        interrupt: &interrupt,
    };
    for model in args.model.each(args.quiet) {
        job.model(&model, &mut table)?;
        if table.is_interrupted {
            break;
        }
    }
    show::write(&table, args.quiet)?;
    if let Some(file) = &args.output {
        let mut output = Output::open(&file.path, args.overwrite)?;
        file.write(&table, args.timings, &mut output.writer)?;
        output.writer.flush()?;
    }
    Ok(finish(&table))
}

impl Args {
    fn prompts(&self) -> Result<Prompts> {
        if let Some(path) = &self.input {
            return Ok(Prompts::File(PromptFile::read(path)?));
        }
        if let Some(path) = &self.file {
            let text = input::read(path)?;
            let line = text.strip_suffix('\n');
            let line = line.map(|line| line.strip_suffix('\r').unwrap_or(line));
            return Ok(Prompts::Texts(vec![line.unwrap_or(&text).to_owned()]));
        }
        let mut texts = self.prompt.clone();
        if texts.is_empty() {
            texts.push(DEFAULT_PROMPT.to_owned());
        }
        Ok(Prompts::Texts(texts))
    }

    /// Refuses what would not fit in memory.
    fn check_size(&self, num_prompts: usize, num_cells: usize) -> Result<()> {
        const MOST: usize = 1_000_000;
        let answers = num_prompts
            .checked_mul(num_cells)
            .and_then(|n| n.checked_mul(self.parallel.unwrap_or(1) as usize));
        ensure!(
            answers.is_some_and(|answers| answers <= MOST),
            Usage::new(format!(
                "{num_prompts} prompts under {num_cells} settings are more than {MOST} answers"
            ))
        );
        Ok(())
    }
}

fn finish(table: &Table) -> ExitCode {
    if table.is_interrupted {
        tell("interrupted; this is what was done by then");
        return ExitCode::from(EXIT_INTERRUPTED);
    }
    let (failed, all) = table.num_failed();
    if failed == 0 {
        return ExitCode::SUCCESS;
    }
    tell(&format!("{failed} of {all} prompts were not answered"));
    if failed == all {
        ExitCode::FAILURE
    } else {
        ExitCode::from(EXIT_SOME_FAILED)
    }
}
