//! `choral detokenize`: token ids to text.

use super::jsonl::{self, Lines};
use super::model_file::TextPart;
use crate::args::model::ModelChoice;
use crate::input::TextInput;
use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::json;
use std::io::Write as _;
use std::process::ExitCode;

/// Turn token ids into text
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelChoice,
    /// The ids; without any, those of --prompt, --file or stdin
    #[arg(value_name = "ID", conflicts_with_all = ["prompt", "file", "jsonl"])]
    ids: Vec<u32>,
    #[command(flatten)]
    input: TextInput,
    /// Leave special tokens out
    #[arg(long)]
    skip_special: bool,
    /// Print one JSON object: `text`
    #[arg(long)]
    json: bool,
    /// Read JSON lines with `ids` (and `skip_special`), print one with `text` for each
    #[arg(long, conflicts_with = "json")]
    jsonl: bool,
}

#[derive(Deserialize)]
struct Line {
    ids: Vec<u32>,
    skip_special: Option<bool>,
}

/// Does it.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let tokenizer = TextPart::open(&args.model)?.tokenizer;
    if args.jsonl {
        ensure!(
            !args.input.has_prompt(),
            "--jsonl reads lines from stdin or --file, not from --prompt"
        );
        let mut lines = Lines::open(args.input.path())?;
        while let Some(line) = lines.next::<Line>()? {
            let skip_special = line.skip_special.unwrap_or(args.skip_special);
            let text = tokenizer.decode(&line.ids, skip_special);
            jsonl::print(&json!({ "text": text.with_context(|| lines.place())? }))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let ids = if args.ids.is_empty() {
        parse_ids(&args.input.read()?)?
    } else {
        args.ids
    };
    let text = tokenizer.decode(&ids, args.skip_special)?;
    if args.json {
        jsonl::print(&json!({ "text": text }))?;
    } else {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Ids with spaces, commas, line breaks or the brackets of a list between them.
fn parse_ids(text: &str) -> Result<Vec<u32>> {
    text.split(|c: char| c.is_whitespace() || ",[]".contains(c))
        .filter(|word| !word.is_empty())
        .map(|word| {
            let id = word.parse();
            id.with_context(|| format!("`{}` is not a token id", word.escape_debug()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_may_be_a_list_or_words() {
        for text in ["[1, 2,30]", "1 2\n30\n", " 1,2,30 "] {
            assert_eq!(parse_ids(text).expect("ids"), [1, 2, 30], "{text}");
        }
        assert_eq!(
            parse_ids("1 x").unwrap_err().to_string(),
            "`x` is not a token id"
        );
        assert!(parse_ids("-1").is_err());
        assert!(parse_ids("4294967296").is_err());
    }
}
