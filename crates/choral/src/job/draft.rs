//! A row of choral's own format as its fields come in.

use super::entry::Fault;
use super::parameter::{PARAMETERS, set_parameter};
use super::reader::Terms;
use super::row::{ChatInput, RowCode, RowInput, RowWork};
use crate::engine::SubmitError;
use crate::engine::request::{Lora, Prompt};
use crate::sampling::SamplingParams;
use serde_json::{Map, Value};

/// A JSON row as its fields come in.
pub(super) struct Draft<'a> {
    terms: &'a Terms,
    params: SamplingParams,
    /// What it asks for, and in which field.
    lora: Option<(Vec<Lora>, &'static str)>,
    prompt: Option<Prompt>,
    messages: Option<Vec<Value>>,
    tools: Option<Vec<Value>>,
    add_generation_prompt: Option<bool>,
    kwargs: Option<Map<String, Value>>,
    /// Which of two names for one thing was used.
    max_tokens_name: Option<String>,
    logprobs_off: bool,
    top_logprobs: bool,
}

impl<'a> Draft<'a> {
    pub(super) fn new(terms: &'a Terms) -> Self {
        Self {
            terms,
            params: terms.params.clone(),
            lora: None,
            prompt: None,
            messages: None,
            tools: None,
            add_generation_prompt: None,
            kwargs: None,
            max_tokens_name: None,
            logprobs_off: false,
            top_logprobs: false,
        }
    }

    /// Whether a field has a meaning here.
    pub(super) fn knows(name: &str) -> bool {
        is_field(name) || name == "model" || PARAMETERS.contains(&name)
    }

    /// Whether a field says how a prompt is to be answered, and not what the prompt is.
    pub(super) fn is_parameter(name: &str) -> bool {
        matches!(name, "model" | "lora") || PARAMETERS.contains(&name)
    }

    pub(super) fn set(&mut self, name: &str, value: Value) -> Result<(), Fault> {
        if value.is_null() && is_field(name) {
            return Ok(());
        }
        match name {
            "custom_id" => {}
            "prompt" => self.prompt = Some(self.prompt(value)?),
            "messages" => self.messages = Some(objects(name, value)?),
            "tools" => self.tools = Some(objects(name, value)?),
            "add_generation_prompt" => match value {
                Value::Bool(add) => self.add_generation_prompt = Some(add),
                other => return Err(Fault::value(name, &other, "true or false")),
            },
            "chat_template_kwargs" => match value {
                Value::Object(kwargs) => self.kwargs = Some(kwargs),
                other => return Err(Fault::value(name, &other, "an object")),
            },
            "lora" => {
                let lora = self.terms.adapters.read(&value);
                let lora = lora.map_err(|expected| Fault::value(name, &value, &expected))?;
                self.ask_for(lora, "lora")?;
            }
            "model" if value.is_null() => {}
            "model" => self.model(&value)?,
            _ => {
                set_parameter(&mut self.params, name, &value)?;
                self.note(name, &value)?;
            }
        }
        Ok(())
    }

    fn prompt(&self, value: Value) -> Result<Prompt, Fault> {
        let ids = |ids: &Vec<Value>| -> Option<Vec<u32>> {
            ids.iter().map(|id| id.as_u64()?.try_into().ok()).collect()
        };
        match value {
            Value::String(text) if text.is_empty() => Err(invalid_prompt(
                "prompt",
                "`prompt` is empty: there is no text",
            )),
            Value::String(text) => Ok(Prompt::Text(text)),
            // Not kept until it is its turn, to be refused then.
            Value::Array(ids) if ids.len() > self.terms.max_model_len => {
                let refused = SubmitError::PromptTooLong {
                    num_tokens: ids.len(),
                    max_model_len: self.terms.max_model_len,
                };
                Err(Fault::new(RowCode::TooLong, "prompt", refused.to_string()))
            }
            Value::Array(items) if let Some(ids) = ids(&items) => {
                if ids.is_empty() {
                    let message = "`prompt` is empty: there are no tokens";
                    return Err(invalid_prompt("prompt", message));
                }
                Ok(Prompt::Tokens(ids))
            }
            other => {
                let mut fault = Fault::value("prompt", &other, "a string or a list of token ids");
                fault.code = RowCode::InvalidPrompt;
                Err(fault)
            }
        }
    }

    /// The model's name, or an adapter's.
    fn model(&mut self, value: &Value) -> Result<(), Fault> {
        if value.is_string()
            && let Ok(lora) = self.terms.adapters.read(value)
        {
            return self.ask_for(lora, "model");
        }
        self.terms.models.check(value, &self.terms.adapters.known)
    }

    /// `lora` and `model` are two ways to say one thing.
    fn ask_for(&mut self, lora: Vec<Lora>, field: &'static str) -> Result<(), Fault> {
        if let Some((_, other)) = self.lora.replace((lora, field)) {
            let message = format!("`{field}` and `{other}` both ask for adapters: give one");
            return Err(Fault::new(RowCode::InvalidParameter, field, message));
        }
        Ok(())
    }

    /// Finds parameters that contradict each other, in whatever order they come.
    fn note(&mut self, name: &str, value: &Value) -> Result<(), Fault> {
        match name {
            "max_tokens" | "max_completion_tokens" if !value.is_null() => {
                if let Some(other) = self.max_tokens_name.replace(name.to_owned()) {
                    let mut fault = Fault::value(name, value, "");
                    fault.message = format!("`{name}` and `{other}` are the same: give one");
                    return Err(fault);
                }
            }
            "logprobs" => self.logprobs_off = value == &Value::Bool(false),
            "top_logprobs" => self.top_logprobs = !value.is_null(),
            _ => {}
        }
        if self.logprobs_off && self.top_logprobs {
            let mut fault = Fault::value("top_logprobs", value, "");
            "`top_logprobs` is given, but `logprobs` is false".clone_into(&mut fault.message);
            return Err(fault);
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<RowWork, Fault> {
        let input = match (self.prompt, self.messages) {
            (Some(_), Some(_)) => {
                let message = "there are both `prompt` and `messages`: give one";
                return Err(invalid_prompt("messages", message));
            }
            (None, None) => {
                let message = "there is neither `prompt` nor `messages`";
                return Err(invalid_prompt("", message));
            }
            (Some(prompt), None) => {
                let of_chat = [
                    ("tools", self.tools.is_some()),
                    (
                        "add_generation_prompt",
                        self.add_generation_prompt.is_some(),
                    ),
                    ("chat_template_kwargs", self.kwargs.is_some()),
                ];
                if let Some((field, _)) = of_chat.iter().find(|(_, given)| *given) {
                    let message = format!("`{field}` is for `messages`, but there is a `prompt`");
                    return Err(invalid_prompt(field, message));
                }
                RowInput::Prompt(prompt)
            }
            (None, Some(messages)) => RowInput::Chat(ChatInput {
                messages,
                tools: self.tools,
                add_generation_prompt: self.add_generation_prompt.unwrap_or(true),
                kwargs: self.kwargs.unwrap_or_default(),
            }),
        };
        Ok(RowWork {
            input,
            params: self.params,
            lora: match self.lora {
                Some((lora, _)) => lora,
                None => self.terms.adapters.default.clone(),
            },
        })
    }
}

fn invalid_prompt(field: &str, message: impl Into<String>) -> Fault {
    Fault::new(RowCode::InvalidPrompt, field, message)
}

/// Whether `name` is a field of a row rather than a parameter.
fn is_field(name: &str) -> bool {
    matches!(
        name,
        "custom_id"
            | "prompt"
            | "messages"
            | "tools"
            | "add_generation_prompt"
            | "chat_template_kwargs"
            | "lora"
    )
}

fn objects(field: &str, value: Value) -> Result<Vec<Value>, Fault> {
    match value {
        Value::Array(items) if items.iter().all(Value::is_object) => Ok(items),
        other => Err(Fault::value(field, &other, "a list of objects")),
    }
}
