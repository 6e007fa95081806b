//! `choral template`: messages to prompt text.

use super::input::{self, TextInput};
use super::jsonl;
use super::model_file::TextPart;
use crate::args::model::ModelChoice;
use crate::message::message;
use anyhow::{Context as _, Result, ensure};
use choral::text::{ChatTemplate, DateTime, TemplateInput, parse_tool_arguments};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Render messages with a chat template
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelChoice,
    /// A file with the template, instead of the model's own
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    template: Option<PathBuf>,
    /// A JSON file (- for stdin): `messages`, and optionally `tools`,
    /// `add_generation_prompt`, `kwargs`, `special_tokens`, `now`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "file"])]
    input: Option<PathBuf>,
    #[command(flatten)]
    message: TextInput,
    /// A system message before it
    #[arg(long, value_name = "TEXT", conflicts_with = "input")]
    system: Option<String>,
    /// Do not begin the answer
    #[arg(long, conflicts_with = "input")]
    no_generation_prompt: bool,
    /// Print one JSON object: `text` or `error`
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct Conversation {
    messages: Value,
    tools: Option<Value>,
    #[serde(default)]
    add_generation_prompt: bool,
    #[serde(default)]
    kwargs: Map<String, Value>,
    /// Instead of the model's; null ones are left undefined.
    special_tokens: Option<BTreeMap<String, Option<String>>>,
    now: Option<String>,
}

/// Does it.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let json = args.json;
    match render(args) {
        Ok(text) if json => jsonl::print(&json!({ "text": text }))?,
        Ok(text) => {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(text.as_bytes())?;
            stdout.flush()?;
        }
        Err(error) => {
            if json {
                jsonl::print(&json!({ "error": message(&error) }))?;
            }
            return Err(error);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn render(args: Args) -> Result<String> {
    let Conversation {
        mut messages,
        tools,
        add_generation_prompt,
        kwargs,
        special_tokens,
        now,
    } = match &args.input {
        Some(path) => Conversation::read(path)?,
        None => Conversation::of(
            args.system,
            args.message.read()?,
            !args.no_generation_prompt,
        ),
    };
    ensure!(messages.is_array(), "`messages` is no array");
    let special_tokens = special_tokens.map(|tokens| {
        let given = |(name, token): (String, Option<String>)| Some((name, token?));
        tokens.into_iter().filter_map(given).collect()
    });
    let template = if let Some(path) = &args.template {
        ChatTemplate::new(&input::read(path)?, special_tokens.unwrap_or_default())?
    } else {
        let template = TextPart::open(&args.model)?.chat_template()?;
        match special_tokens {
            Some(tokens) => template.with_special_tokens(tokens),
            None => template,
        }
    };
    let now = now.map(|text| {
        let expected = "expected a time such as 2026-03-14T15:09:26";
        DateTime::parse(&text).with_context(|| format!("`now` is `{text}`, {expected}"))
    });
    parse_tool_arguments(&mut messages);
    Ok(template.render(&TemplateInput {
        messages,
        tools,
        add_generation_prompt,
        kwargs,
        now: now.transpose()?,
    })?)
}

impl Conversation {
    fn read(path: &Path) -> Result<Self> {
        let text = input::read(path)?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    /// One question.
    fn of(system: Option<String>, user: String, add_generation_prompt: bool) -> Self {
        let system = system.into_iter().map(|text| ("system", text));
        let message = |(role, content)| json!({"role": role, "content": content});
        Self {
            messages: system.chain([("user", user)]).map(message).collect(),
            tools: None,
            add_generation_prompt,
            kwargs: Map::new(),
            special_tokens: None,
            now: None,
        }
    }
}
