//! Options that choose and feed the chat template.

#[cfg(test)]
mod tests;

use super::model::info;
use anyhow::{Context as _, Result, bail};
use choral::job::ChatInput;
use choral::text::{ChatTemplate, EncodeOptions, TemplateInput, Tokenizer, parse_tool_arguments};
use choral::{Engine, Prompt};
use choral_formats::ModelFile;
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Templates that `--chat-template` knows by name.
const NAMED: &[(&str, &str)] = &[
    (
        "chatml",
        "{% for message in messages %}\
         {{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}\
         {% endfor %}\
         {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    ),
    (
        "zephyr",
        "{% for message in messages %}\
         {{ '<|' + message.role + '|>\\n' + message.content + eos_token + '\\n' }}\
         {% endfor %}\
         {% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}",
    ),
    (
        "llama3",
        "{{ bos_token }}{% for message in messages %}\
         {{ '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' }}\
         {{ message.content | trim + '<|eot_id|>' }}\
         {% endfor %}\
         {% if add_generation_prompt %}\
         {{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}\
         {% endif %}",
    ),
];

/// Which chat template, and what the model is told first.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Chat template")]
pub(crate) struct TemplateArgs {
    /// What the model is told before the conversation
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// Template instead of the model's: chatml, zephyr, llama3, or its text
    #[arg(long, value_name = "NAME|TEXT")]
    pub(crate) chat_template: Option<String>,
    /// Template instead of the model's, from a file
    #[arg(long, value_name = "FILE", conflicts_with = "chat_template")]
    pub(crate) chat_template_file: Option<PathBuf>,
}

impl TemplateArgs {
    /// The template that was asked for, or the model's.
    pub(crate) fn load(&self, engine: &Engine) -> Result<ChatTemplate> {
        let source = match (&self.chat_template, &self.chat_template_file) {
            (Some(given), _) => named_or_text(given)?.to_owned(),
            (None, Some(file)) => std::fs::read_to_string(file)
                .with_context(|| format!("cannot read the chat template `{}`", file.display()))?,
            (None, None) => {
                return models_own(engine)?.context(
                    "the model has no chat template: give one with --chat-template or \
                     --chat-template-file",
                );
            }
        };
        let special_tokens = tokenizer(engine)?.special_tokens().clone();
        Ok(ChatTemplate::new(&source, special_tokens)?)
    }

    /// Whether a template was asked for by name, text or file.
    pub(crate) fn is_given(&self) -> bool {
        self.chat_template.is_some() || self.chat_template_file.is_some()
    }

    /// Refuses options that would not be honoured because `switch` is missing.
    pub(crate) fn refuse(&self, switch: &str) -> Result<()> {
        let given = [
            ("--system", self.system.is_some()),
            ("--chat-template", self.chat_template.is_some()),
            ("--chat-template-file", self.chat_template_file.is_some()),
        ];
        if let Some((option, _)) = given.iter().find(|(_, given)| *given) {
            bail!("{option} says how a chat is rendered, but there is none: add {switch}");
        }
        Ok(())
    }

    /// `message` as a conversation, after the system's message if there is one.
    pub(crate) fn conversation(&self, message: &str) -> Vec<Value> {
        let mut messages = self.opening();
        messages.push(json!({"role": "user", "content": message}));
        messages
    }

    /// What stands before the first message.
    pub(crate) fn opening(&self) -> Vec<Value> {
        let system = self.system.as_ref();
        system
            .map(|text| json!({"role": "system", "content": text}))
            .into_iter()
            .collect()
    }
}

/// The template that comes with the model, if one does.
fn models_own(engine: &Engine) -> Result<Option<ChatTemplate>> {
    let tokenizer = tokenizer(engine)?;
    Ok(match &*info(engine)?.file {
        ModelFile::Gguf(gguf) => ChatTemplate::from_gguf(gguf.metadata(), tokenizer)?,
        ModelFile::Hf(dir) => ChatTemplate::from_hf_dir(&dir.path, tokenizer)?,
    })
}

fn tokenizer(engine: &Engine) -> Result<&Tokenizer> {
    engine.tokenizer().context("the engine has no tokenizer")
}

/// Renders messages to the tokens that the model is to continue. The template
/// writes the special tokens itself, so none are added.
pub(crate) fn render(
    engine: &Engine,
    template: &ChatTemplate,
    input: &ChatInput,
) -> Result<Prompt> {
    let mut messages = Value::Array(input.messages.clone());
    parse_tool_arguments(&mut messages);
    let text = template.render(&TemplateInput {
        messages,
        tools: input.tools.clone().map(Value::Array),
        add_generation_prompt: input.add_generation_prompt,
        kwargs: input.kwargs.clone(),
        now: None,
    })?;
    let options = EncodeOptions {
        add_special: false,
        parse_special: true,
    };
    Ok(Prompt::Tokens(tokenizer(engine)?.encode(&text, options)?))
}

/// What has Jinja in it is a template, and everything else the name of one.
fn named_or_text(given: &str) -> Result<&str> {
    if given.contains("{{") || given.contains("{%") {
        return Ok(given);
    }
    if let Some((_, source)) = NAMED.iter().find(|(name, _)| *name == given) {
        return Ok(source);
    }
    let names: Vec<_> = NAMED.iter().map(|(name, _)| *name).collect();
    bail!(
        "no chat template is called `{given}`: expected {}, or a template's text",
        names.join(", ")
    )
}
