//! Sampling parameters by the names that OpenAI and vLLM gave them.

use crate::sampling::SamplingParams;
use serde_json::Value;
use std::collections::BTreeMap;

/// Every name that [`set_parameter`] knows.
pub const PARAMETERS: &[&str] = &[
    "n",
    "max_tokens",
    "max_completion_tokens",
    "min_tokens",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "repetition_penalty",
    "repeat_last_n",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "allowed_token_ids",
    "banned_token_ids",
    "seed",
    "stop",
    "stop_token_ids",
    "include_stop_str_in_output",
    "ignore_eos",
    "skip_special_tokens",
    "logprobs",
    "top_logprobs",
    "prompt_logprobs",
];

/// Why a parameter was not taken. Ranges are checked later, by
/// [`SamplingParams::validate`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParameterError {
    /// No parameter has this name.
    #[error("unknown parameter `{name}`")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The value is of another type.
    #[error("`{name}` is {found}, expected {expected}")]
    Type {
        /// The parameter.
        name: String,
        /// What it takes.
        expected: &'static str,
        /// What was given, shortened.
        found: String,
    },
}

impl ParameterError {
    /// The parameter's name, as it was given.
    pub fn name(&self) -> &str {
        match self {
            Self::Unknown { name } | Self::Type { name, .. } => name,
        }
    }
}

/// Sets one parameter from JSON. `null` leaves it as it is.
///
/// `top_k` takes vLLM's -1 for off, `repeat_last_n` llama.cpp's -1 for everything,
/// and `logprobs` either vLLM's number of alternatives or OpenAI's boolean, which
/// `top_logprobs` then complements.
///
/// # Errors
/// There is no such parameter, or it takes another type.
pub fn set_parameter(
    params: &mut SamplingParams,
    name: &str,
    value: &Value,
) -> Result<(), ParameterError> {
    if !PARAMETERS.contains(&name) {
        return Err(ParameterError::Unknown {
            name: name.to_owned(),
        });
    }
    if value.is_null() {
        return Ok(());
    }
    let given = Given { name, value };
    match name {
        "n" => params.n = given.count()?,
        "max_tokens" | "max_completion_tokens" => params.max_tokens = Some(given.count()?),
        "min_tokens" => params.min_tokens = given.count()?,
        "temperature" => params.temperature = given.number()?,
        "top_k" => params.top_k = given.count_or_minus_one(0)?,
        "top_p" => params.top_p = given.number()?,
        "min_p" => params.min_p = given.number()?,
        "typical_p" => params.typical_p = given.number()?,
        "repetition_penalty" => params.repetition_penalty = given.number()?,
        "repeat_last_n" => params.repeat_last_n = Some(given.count_or_minus_one(u32::MAX)?),
        "frequency_penalty" => params.frequency_penalty = given.number()?,
        "presence_penalty" => params.presence_penalty = given.number()?,
        "logit_bias" => params.logit_bias = given.logit_bias()?,
        "allowed_token_ids" => params.allowed_token_ids = Some(given.token_ids()?),
        "banned_token_ids" => params.banned_token_ids = given.token_ids()?,
        "seed" => params.seed = Some(given.seed()?),
        "stop" => params.stop = given.strings()?,
        "stop_token_ids" => params.stop_token_ids = given.token_ids()?,
        "include_stop_str_in_output" => params.include_stop_str_in_output = given.switch()?,
        "ignore_eos" => params.ignore_eos = given.switch()?,
        "skip_special_tokens" => params.skip_special_tokens = given.switch()?,
        "logprobs" => match value {
            Value::Bool(true) => params.logprobs = params.logprobs.or(Some(0)),
            Value::Bool(false) => params.logprobs = None,
            _ => params.logprobs = Some(given.count()?),
        },
        "top_logprobs" => params.logprobs = Some(given.count()?),
        "prompt_logprobs" => params.prompt_logprobs = Some(given.count()?),
        _ => unreachable!("`PARAMETERS` has the names that are matched here"),
    }
    Ok(())
}

/// A parameter that is to be read as something.
#[derive(Clone, Copy)]
struct Given<'a> {
    name: &'a str,
    value: &'a Value,
}

impl Given<'_> {
    fn expected<T>(&self, what: &'static str, got: Option<T>) -> Result<T, ParameterError> {
        got.ok_or_else(|| ParameterError::Type {
            name: self.name.to_owned(),
            expected: what,
            found: excerpt(self.value),
        })
    }

    fn count(self) -> Result<u32, ParameterError> {
        self.expected("a whole number from 0", as_u32(self.value))
    }

    fn count_or_minus_one(self, meaning: u32) -> Result<u32, ParameterError> {
        let count = match self.value.as_i64() {
            Some(-1) => Some(meaning),
            _ => as_u32(self.value),
        };
        self.expected("a whole number from 0, or -1", count)
    }

    fn number(self) -> Result<f32, ParameterError> {
        let number = self.value.as_f64().map(|number| number as f32);
        self.expected("a number", number.filter(|number| number.is_finite()))
    }

    fn seed(self) -> Result<u64, ParameterError> {
        self.expected("a whole number from 0", self.value.as_u64())
    }

    fn switch(self) -> Result<bool, ParameterError> {
        self.expected("true or false", self.value.as_bool())
    }

    fn strings(self) -> Result<Vec<String>, ParameterError> {
        let strings = match self.value {
            Value::String(one) => Some(vec![one.clone()]),
            Value::Array(all) => all
                .iter()
                .map(|one| Some(one.as_str()?.to_owned()))
                .collect(),
            _ => None,
        };
        self.expected("a string or a list of strings", strings)
    }

    fn token_ids(self) -> Result<Vec<u32>, ParameterError> {
        let ids = self.value.as_array();
        let ids = ids.and_then(|ids| ids.iter().map(as_u32).collect());
        self.expected("a list of token ids", ids)
    }

    fn logit_bias(self) -> Result<BTreeMap<u32, f32>, ParameterError> {
        let entry = |(id, bias): (&String, &Value)| {
            let bias = bias.as_f64()? as f32;
            Some((id.parse().ok()?, bias))
        };
        let map = self.value.as_object();
        let map = map.and_then(|map| map.iter().map(entry).collect());
        self.expected("an object from token ids to numbers", map)
    }
}

fn as_u32(value: &Value) -> Option<u32> {
    value.as_u64()?.try_into().ok()
}

/// The beginning of a value, for messages.
pub(crate) fn excerpt(value: &Value) -> String {
    const MAX_CHARS: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
