//! `choral template`: messages to prompt text.

use super::jsonl;
use super::model_file::TextPart;
use crate::args::model::ModelChoice;
use crate::args::template::{NO_TEMPLATE, TemplateArgs};
use crate::input::{self, TextInput};
use crate::message::message;
use anyhow::{Context as _, Result, ensure};
use choral::text::{DateTime, TemplateInput, parse_tool_arguments};
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
    #[command(flatten)]
    template: TemplateArgs,
    /// A JSON file (- for stdin): a list of messages, or an object with `messages`, and optionally
    /// `tools`, `add_generation_prompt`, `chat_template_kwargs`, `special_tokens`, `now`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "file", "system"])]
    input: Option<PathBuf>,
    #[command(flatten)]
    message: TextInput,
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
    #[serde(default = "yes")]
    add_generation_prompt: bool,
    #[serde(default, alias = "chat_template_kwargs")]
    kwargs: Map<String, Value>,
    /// Instead of the model's; null ones are left undefined.
    special_tokens: Option<BTreeMap<String, Option<String>>>,
    now: Option<String>,
}

fn yes() -> bool {
    true
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
    } = if let Some(path) = &args.input {
        Conversation::read(path)?
    } else {
        let messages = args.template.conversation(&args.message.read()?);
        Conversation::of(messages.into(), !args.no_generation_prompt)
    };
    ensure!(messages.is_array(), "`messages` is no array");
    let special_tokens = special_tokens.map(|tokens| {
        let given = |(name, token): (String, Option<String>)| Some((name, token?));
        tokens.into_iter().filter_map(given).collect()
    });
    // A template alone needs no model.
    let is_alone = args.template.is_given() && args.model.is_default();
    let model = if is_alone {
        None
    } else {
        Some(TextPart::open(&args.model)?)
    };
    let models_own = model.as_ref().map(|model| model.tokenizer.special_tokens());
    let given = args
        .template
        .given(models_own.cloned().unwrap_or_default())?;
    let template = match (given, &model) {
        (Some(template), _) => Some(template),
        (None, Some(model)) => model.chat_template()?,
        (None, None) => None,
    };
    let template = template.context(NO_TEMPLATE)?;
    let template = match special_tokens {
        Some(tokens) => template.with_special_tokens(tokens),
        None => template,
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
        let read = if text.trim_start().starts_with('[') {
            serde_json::from_str(&text).map(|messages| Self::of(messages, true))
        } else {
            serde_json::from_str(&text)
        };
        read.with_context(|| path.display().to_string())
    }

    /// Messages and nothing else.
    fn of(messages: Value, add_generation_prompt: bool) -> Self {
        Self {
            messages,
            tools: None,
            add_generation_prompt,
            kwargs: Map::new(),
            special_tokens: None,
            now: None,
        }
    }
}
