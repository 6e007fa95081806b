//! Sampling parameters by their usual names, each of which may be left to the provider.

use super::error::GenerateError;
use crate::sampling::SamplingParams;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// How an answer is drawn and when it ends: the names of OpenAI and vLLM, with the
/// meanings of [`SamplingParams`]. What is `None` is the provider's own default.
///
/// A parameter that a provider does not know is refused by it, never left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GenerateParams {
    /// Answers to one prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n: Option<u32>,
    /// Most new tokens an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Least new tokens an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_tokens: Option<u32>,
    /// 0 is greedy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Keeps that many tokens; 0 is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Keeps the likeliest tokens that make up this much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Keeps tokens that are this likely, relative to the likeliest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    /// Locally typical sampling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub typical_p: Option<f32>,
    /// Hugging Face's penalty; 1 is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f32>,
    /// How far back penalties look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat_last_n: Option<u32>,
    /// OpenAI's penalty a repetition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f32>,
    /// OpenAI's penalty for being there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f32>,
    /// Added to single tokens' logits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logit_bias: Option<BTreeMap<u32, f32>>,
    /// Only these tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_token_ids: Option<Vec<u32>>,
    /// Never these tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub banned_token_ids: Option<Vec<u32>>,
    /// What the random stream is keyed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Strings that end an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<Vec<String>>,
    /// Tokens that end an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_token_ids: Option<Vec<u32>>,
    /// Keep the stop string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_stop_str_in_output: Option<bool>,
    /// Do not end at the model's end tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_eos: Option<bool>,
    /// Leave special tokens out of the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_special_tokens: Option<bool>,
    /// Log-probabilities of the tokens drawn and of this many alternatives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<u32>,
    /// Fields that only this service knows, put into its request as they are. The local
    /// engine knows none.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

impl GenerateParams {
    /// Names of all parameters.
    pub const NAMES: &'static [&'static str] = &[
        "n",
        "max_tokens",
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
    ];

    /// Other spellings that [`from_json`](Self::from_json) takes.
    pub(super) const ALIASES: &'static [&'static str] = &["max_completion_tokens", "top_logprobs"];

    /// Reads parameters from JSON by their names. Takes OpenAI's and vLLM's other
    /// spellings as well (`max_completion_tokens`, `logprobs: true` with `top_logprobs`,
    /// one `stop` string, `top_k: -1`); `null` is as good as absent.
    ///
    /// # Errors
    /// An unknown name, or another type.
    pub fn from_json(fields: Map<String, Value>) -> Result<Self, GenerateError> {
        let mut plain = Map::new();
        let mut alternatives = None;
        for (name, value) in fields {
            if value.is_null() {
                continue;
            }
            let (name, value) = match (name.as_str(), value) {
                ("max_completion_tokens", value) => ("max_tokens".to_owned(), value),
                ("top_logprobs", value) => {
                    alternatives = Some(value);
                    continue;
                }
                ("logprobs", Value::Bool(false)) => continue,
                ("logprobs", Value::Bool(true)) => (name, json!(0)),
                ("stop", Value::String(one)) => (name, json!([one])),
                ("top_k", value) if value.as_i64() == Some(-1) => (name, json!(0)),
                ("repeat_last_n", value) if value.as_i64() == Some(-1) => (name, json!(u32::MAX)),
                (_, value) => (name, value),
            };
            plain.insert(name, value);
        }
        if let Some(alternatives) = alternatives {
            plain.insert("logprobs".to_owned(), alternatives);
        }
        for (name, value) in &plain {
            // One at a time, to know which one is wrong.
            let one = Map::from_iter([(name.clone(), value.clone())]);
            let read: Result<Self, _> = serde_json::from_value(Value::Object(one));
            if let Err(error) = read {
                return Err(GenerateError::invalid(name, format!("`{name}`: {error}")));
            }
        }
        let read: Result<Self, _> = serde_json::from_value(Value::Object(plain));
        read.map_err(|error| GenerateError::invalid("parameters", error.to_string()))
    }

    /// The parameters that are set, by name, without `extra`.
    pub fn given(&self) -> Map<String, Value> {
        let value = serde_json::to_value(self).expect("numbers, texts and lists are JSON");
        let Value::Object(mut given) = value else {
            unreachable!("a struct is an object");
        };
        given.remove("extra");
        given
    }

    /// Sets what is set here in `params`.
    pub fn apply_to(&self, params: &mut SamplingParams) {
        fn set<T: Clone>(to: &mut T, from: Option<&T>) {
            if let Some(value) = from {
                to.clone_from(value);
            }
        }
        fn keep<T: Clone>(to: &mut Option<T>, from: Option<&T>) {
            if from.is_some() {
                *to = from.cloned();
            }
        }
        set(&mut params.n, self.n.as_ref());
        keep(&mut params.max_tokens, self.max_tokens.as_ref());
        set(&mut params.min_tokens, self.min_tokens.as_ref());
        set(&mut params.temperature, self.temperature.as_ref());
        set(&mut params.top_k, self.top_k.as_ref());
        set(&mut params.top_p, self.top_p.as_ref());
        set(&mut params.min_p, self.min_p.as_ref());
        set(&mut params.typical_p, self.typical_p.as_ref());
        let repetition = self.repetition_penalty.as_ref();
        set(&mut params.repetition_penalty, repetition);
        keep(&mut params.repeat_last_n, self.repeat_last_n.as_ref());
        let frequency = self.frequency_penalty.as_ref();
        set(&mut params.frequency_penalty, frequency);
        set(&mut params.presence_penalty, self.presence_penalty.as_ref());
        set(&mut params.logit_bias, self.logit_bias.as_ref());
        let allowed = self.allowed_token_ids.as_ref();
        keep(&mut params.allowed_token_ids, allowed);
        set(&mut params.banned_token_ids, self.banned_token_ids.as_ref());
        keep(&mut params.seed, self.seed.as_ref());
        set(&mut params.stop, self.stop.as_ref());
        set(&mut params.stop_token_ids, self.stop_token_ids.as_ref());
        let include = self.include_stop_str_in_output.as_ref();
        set(&mut params.include_stop_str_in_output, include);
        set(&mut params.ignore_eos, self.ignore_eos.as_ref());
        let skip = self.skip_special_tokens.as_ref();
        set(&mut params.skip_special_tokens, skip);
        keep(&mut params.logprobs, self.logprobs.as_ref());
    }
}
