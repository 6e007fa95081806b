//! `choral tokenize`: text to token ids.

use super::jsonl::{self, Lines};
use super::model_file::TextPart;
use super::units::quoted_bytes;
use crate::args::model::ModelChoice;
use crate::input::TextInput;
use anyhow::{Context as _, ensure};
use choral::text::{EncodeOptions, Tokenizer};
use serde::Deserialize;
use serde_json::json;
use std::io::Write as _;
use std::process::ExitCode;

/// Turn text into token ids
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelChoice,
    #[command(flatten)]
    input: TextInput,
    /// Add no tokens around the text, such as one that begins a sequence
    #[arg(long, visible_alias = "no-bos")]
    no_special: bool,
    /// Take special tokens that are written in the text for plain text
    #[arg(long)]
    no_parse_special: bool,
    /// Print the number of tokens only
    #[arg(long, conflicts_with_all = ["json", "jsonl"])]
    count: bool,
    /// Print one JSON object: `ids`
    #[arg(long)]
    json: bool,
    /// Read JSON lines with `text` (and `add_special`, `parse_special`), print one with `ids` for each
    #[arg(long, conflicts_with = "json")]
    jsonl: bool,
}

#[derive(Deserialize)]
struct Line {
    text: String,
    add_special: Option<bool>,
    parse_special: Option<bool>,
}

/// Does it.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let tokenizer = TextPart::open(&args.model)?.tokenizer;
    let options = EncodeOptions {
        add_special: !args.no_special,
        parse_special: !args.no_parse_special,
    };
    if args.jsonl {
        ensure!(
            !args.input.has_prompt(),
            "--jsonl reads lines from stdin or --file, not from --prompt"
        );
        let mut lines = Lines::open(args.input.path())?;
        while let Some(line) = lines.next::<Line>()? {
            let options = EncodeOptions {
                add_special: line.add_special.unwrap_or(options.add_special),
                parse_special: line.parse_special.unwrap_or(options.parse_special),
            };
            let ids = tokenizer.encode(&line.text, options);
            jsonl::print(&json!({ "ids": ids.with_context(|| lines.place())? }))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let ids = tokenizer.encode(&args.input.read()?, options)?;
    if args.json {
        jsonl::print(&json!({ "ids": ids }))?;
    } else {
        let text = if args.count {
            format!("{}\n", ids.len())
        } else {
            ids.iter().map(|&id| describe(&tokenizer, id)).collect()
        };
        std::io::stdout().lock().write_all(text.as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A line of id and text.
fn describe(tokenizer: &Tokenizer, id: u32) -> String {
    let bytes = tokenizer.token_bytes(id).unwrap_or_default();
    let note = if tokenizer.is_special(id) {
        "  (special)"
    } else {
        ""
    };
    format!("{id:>7}  {}{note}\n", quoted_bytes(&bytes))
}
