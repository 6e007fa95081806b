//! A conversation and the parameters that hold at the moment.

#[cfg(test)]
mod tests;

use super::check_for_chat;
use crate::output::config::settings;
use anyhow::{Result, bail};
use choral::job::{RowKey, set_parameter};
use choral::sampling::SamplingParams;
use serde_json::{Value, json};
use std::fmt;

/// What has been said, and how it is answered.
pub(super) struct Session {
    system: Vec<Value>,
    /// Messages of the user and answers, by turns.
    messages: Vec<Value>,
    /// Pictures for the next message.
    images: Vec<String>,
    params: SamplingParams,
    /// The parameters at the start.
    initial: SamplingParams,
    seed: u64,
    num_answers: u64,
}

impl Session {
    pub(super) fn new(system: Vec<Value>, params: SamplingParams, seed: u64) -> Self {
        Self {
            system,
            messages: Vec::new(),
            images: Vec::new(),
            initial: params.clone(),
            params,
            seed,
            num_answers: 0,
        }
    }

    /// What goes to the chat template.
    pub(super) fn messages(&self) -> Vec<Value> {
        [self.system.as_slice(), &self.messages].concat()
    }

    /// The parameters of the next answer. Each has its own seed, so that asking
    /// again gives something else, and all of them follow from the session's.
    pub(super) fn next_params(&mut self) -> SamplingParams {
        let mut params = self.params.clone();
        let number = RowKey::Row(self.num_answers);
        self.num_answers += 1;
        params.seed = params.seed.or_else(|| Some(number.seed(self.seed)));
        params
    }

    /// A message, with the pictures that were shown before it.
    pub(super) fn say(&mut self, message: &str) {
        let images = std::mem::take(&mut self.images);
        let images = images.iter().map(String::as_str);
        self.messages.push(user_message(message, images));
    }

    /// Keeps a picture for the next message.
    pub(super) fn show_image(&mut self, url: &str) {
        self.images.push(url.to_owned());
    }

    pub(super) fn hear(&mut self, answer: &str) {
        self.messages
            .push(json!({"role": "assistant", "content": answer}));
    }

    /// Removes the last message of the user.
    pub(super) fn take_back_message(&mut self) {
        self.messages.pop();
    }

    /// Removes the last answer, so that its message can be answered again.
    pub(super) fn take_back_answer(&mut self) -> Result<()> {
        if self.messages.pop().is_none() {
            bail!("there is no answer yet");
        }
        Ok(())
    }

    pub(super) fn reset(&mut self) {
        self.messages.clear();
        self.images.clear();
    }

    pub(super) fn set_system(&mut self, text: &str) {
        self.system.clear();
        if !text.is_empty() {
            self.system.push(json!({"role": "system", "content": text}));
        }
    }

    /// Sets a parameter from what was typed.
    pub(super) fn set(&mut self, name: &str, value: &str, vocab_size: usize) -> Result<()> {
        let name = parameter_name(name);
        let mut params = self.params.clone();
        if value == "default" {
            reset_parameter(&mut params, &self.initial, &name)?;
        } else if name == "max_tokens" && value == "-1" {
            params.max_tokens = None;
        } else {
            // What is no JSON is text: `/set stop END`.
            let text = || Value::String(value.to_owned());
            let value = serde_json::from_str(value).unwrap_or_else(|_| text());
            set_parameter(&mut params, &name, &value)?;
        }
        params.validate(vocab_size)?;
        check_for_chat(&params)?;
        self.params = params;
        Ok(())
    }
}

/// A message of the user's; in parts if there are pictures.
pub(super) fn user_message<'a>(text: &str, images: impl Iterator<Item = &'a str>) -> Value {
    let mut parts: Vec<Value> = images
        .map(|url| json!({"type": "image_url", "image_url": {"url": url}}))
        .collect();
    if parts.is_empty() {
        return json!({"role": "user", "content": text});
    }
    parts.push(json!({"type": "text", "text": text}));
    json!({"role": "user", "content": parts})
}

/// The options' names and JSON's are both understood.
fn parameter_name(name: &str) -> String {
    let name = name.trim_start_matches('-').replace('-', "_");
    match name.as_str() {
        "temp" => "temperature".to_owned(),
        "repeat_penalty" => "repetition_penalty".to_owned(),
        "typical" => "typical_p".to_owned(),
        "predict" | "n_predict" => "max_tokens".to_owned(),
        _ => name,
    }
}

/// Copies one field, by its name in JSON.
fn reset_parameter(params: &mut SamplingParams, from: &SamplingParams, name: &str) -> Result<()> {
    let mut all = serde_json::to_value(&*params)?;
    let initial = serde_json::to_value(from)?;
    let Some(value) = initial.get(name) else {
        bail!("unknown parameter `{name}`");
    };
    all[name] = value.clone();
    *params = serde_json::from_value(all)?;
    Ok(())
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in settings(&self.params) {
            // One answer, always.
            if name != "n" {
                writeln!(f, "{name} {value}")?;
            }
        }
        if let Some(system) = self.system.first() {
            writeln!(f, "system {}", system["content"])?;
        }
        writeln!(f, "{} messages so far", self.messages.len())
    }
}
