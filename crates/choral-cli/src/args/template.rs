//! Options that choose and feed the chat template.

#[cfg(test)]
mod tests;

use crate::input;
use crate::message::Usage;
use anyhow::{Context as _, Result};
use choral::Engine;
use choral::text::{ChatTemplate, Tokenizer};
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What is said where there is no template.
pub(crate) const NO_TEMPLATE: &str = "the model has no chat template: give one with \
    --chat-template or --chat-template-file";

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
    #[arg(
        long,
        alias = "template",
        value_name = "FILE",
        conflicts_with = "chat_template"
    )]
    pub(crate) chat_template_file: Option<PathBuf>,
}

impl TemplateArgs {
    /// The template that was asked for, or the model's.
    pub(crate) fn load(&self, engine: &Engine) -> Result<ChatTemplate> {
        let special_tokens = engine.tokenizer().map(Tokenizer::special_tokens);
        match self.given(special_tokens.cloned().unwrap_or_default())? {
            Some(template) => Ok(template),
            None => engine.chat_template()?.context(NO_TEMPLATE),
        }
    }

    /// The template that was asked for, if one was.
    pub(crate) fn given(
        &self,
        special_tokens: BTreeMap<String, String>,
    ) -> Result<Option<ChatTemplate>> {
        match (&self.chat_template, &self.chat_template_file) {
            (Some(given), _) => template(given, special_tokens).map(Some),
            (None, Some(file)) => {
                let source = input::read(file)?;
                Ok(Some(ChatTemplate::new(&source, special_tokens)?))
            }
            (None, None) => Ok(None),
        }
    }

    /// Refuses a template that no model could be used with, before one is loaded.
    pub(crate) fn check(&self) -> Result<()> {
        match &self.chat_template {
            Some(given) => template(given, BTreeMap::new()).map(drop),
            None => Ok(()),
        }
    }

    /// Whether a template was asked for by name, text or file.
    pub(crate) fn is_given(&self) -> bool {
        self.chat_template.is_some() || self.chat_template_file.is_some()
    }

    /// Refuses options that would not be honoured because `switch` is missing.
    pub(crate) fn refuse(&self, switch: &str) -> Result<(), Usage> {
        let given = [
            ("--system", self.system.is_some()),
            ("--chat-template", self.chat_template.is_some()),
            ("--chat-template-file", self.chat_template_file.is_some()),
        ];
        if let Some((option, _)) = given.iter().find(|(_, given)| *given) {
            return Err(Usage::new(format!(
                "{option} says how a chat is rendered, but there is none: add {switch}"
            )));
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

/// A format's name, or a template's text.
fn template(given: &str, special_tokens: BTreeMap<String, String>) -> Result<ChatTemplate> {
    if given.contains("{{") || given.contains("{%") {
        return Ok(ChatTemplate::new(given, special_tokens)?);
    }
    let found = ChatTemplate::by_name(given, special_tokens);
    Ok(found.ok_or_else(|| {
        let names: Vec<_> = ChatTemplate::names().collect();
        Usage::new(format!(
            "no chat template is called `{given}`: expected {}, or a template's text",
            names.join(", ")
        ))
    })?)
}
