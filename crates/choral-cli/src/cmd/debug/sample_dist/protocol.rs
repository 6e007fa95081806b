//! The distribution that is left of a row of logits, as JSON in and out.
//!
//! An outside checker compares the filters with other implementations by it. It builds a list of steps
//! and runs them on [`Candidates`]: the same pieces that the sampler is made of.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use choral::sampling::SampleError;
use choral::sampling::dist::edit::{self, TokenCounts};
use choral::sampling::dist::{Candidates, Filter};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Why a case could not be answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum DistError {
    /// The case is not of the documented shape.
    #[error("case is malformed: {0}")]
    Json(#[from] serde_json::Error),
    /// `logits_f32_b64` is not base64.
    #[error("`logits_f32_b64` is not base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// `logits_f32_b64` does not hold whole numbers of four bytes.
    #[error("`logits_f32_b64` holds {found} bytes, expected a multiple of 4")]
    Length {
        /// Bytes after decoding.
        found: usize,
    },
    /// A parameter or an argument of a chain has the wrong type.
    #[error("`{field}` is {found}, expected {expected}")]
    Value {
        /// The parameter or the chain's step.
        field: String,
        /// What would have been accepted.
        expected: &'static str,
        /// What was given.
        found: String,
    },
    /// The logits or the tokens cannot be sampled from.
    #[error(transparent)]
    Sample(#[from] SampleError),
}

#[derive(Deserialize)]
struct Case {
    /// `[vocab]` f32, little-endian.
    logits_f32_b64: String,
    #[serde(default)]
    prev_tokens: Vec<u32>,
    #[serde(default)]
    params: Map<String, Value>,
    order: Option<Vec<String>>,
    chain: Option<Vec<Vec<Value>>>,
}

/// Hugging Face's order, for cases that do not give one.
const DEFAULT_ORDER: [&str; 11] = [
    "repetition_penalty",
    "frequency_presence",
    "no_repeat_ngram",
    "logit_bias",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "epsilon_cutoff",
    "eta_cutoff",
];

/// Answers one case with the tokens that may be drawn and their probabilities.
///
/// The case holds `logits_f32_b64` (base64 of little-endian `f32`),
/// `prev_tokens`, and either `params` with an `order` of steps in Hugging Face's
/// sense, or a llama.cpp `chain`: `[["top_k", 10], ["temp", 0.8]]`, also
/// `top_p`, `min_p`, `typical`, and `penalties` with the arguments last n,
/// repeat, frequency, presence. The answer is `{"ids": [..], "probs": [..]}`, or
/// `{"unsupported": true}` when a step or a parameter is not known.
///
/// # Errors
/// The case is malformed, or its logits cannot be sampled from.
pub(super) fn sample_dist(case: &Value) -> Result<Value, DistError> {
    let case = Case::deserialize(case)?;
    let steps = match &case.chain {
        Some(chain) => chain_steps(chain)?,
        None => param_steps(&case.params, case.order.as_deref())?,
    };
    let Some(steps) = steps else {
        return Ok(json!({"unsupported": true}));
    };
    let bytes = STANDARD.decode(&case.logits_f32_b64)?;
    let (floats, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(DistError::Length { found: bytes.len() });
    }
    let logits: Vec<f32> = floats.iter().copied().map(f32::from_le_bytes).collect();
    let mut candidates = Candidates::from_logits(&logits)?;
    for step in &steps {
        step.apply(&mut candidates, &case.prev_tokens, logits.len())?;
    }
    Ok(json!({
        "ids": candidates.ids().collect::<Vec<_>>(),
        "probs": candidates.probabilities().collect::<Vec<_>>(),
    }))
}

enum Step {
    Filter(Filter),
    Penalties {
        last_n: Option<usize>,
        repetition: f32,
        frequency: f32,
        presence: f32,
    },
    NoRepeatNgram(usize),
    LogitBias(Vec<(u32, f32)>),
}

impl Step {
    fn apply(
        &self,
        candidates: &mut Candidates,
        prev_tokens: &[u32],
        vocab_size: usize,
    ) -> Result<(), SampleError> {
        match self {
            Self::Filter(filter) => {
                candidates.apply(*filter);
                Ok(())
            }
            Self::Penalties {
                last_n,
                repetition,
                frequency,
                presence,
            } => {
                let mut seen = TokenCounts::default();
                seen.add(edit::last(prev_tokens, *last_n), vocab_size)?;
                candidates.edit(|row| {
                    edit::repetition_penalty(row, &seen, *repetition)?;
                    edit::frequency_presence_penalty(row, &seen, *frequency, *presence)
                })
            }
            Self::NoRepeatNgram(n) => candidates.edit(|row| {
                edit::ban(row, edit::repeated_ngrams(prev_tokens, *n));
                Ok(())
            }),
            Self::LogitBias(biases) => {
                candidates.edit(|row| edit::logit_bias(row, biases.iter().copied()))
            }
        }
    }
}

/// Hugging Face's parameters in `order`; `None` if one of them is not known, or
/// would not be applied because `order` leaves it out.
fn param_steps(
    params: &Map<String, Value>,
    order: Option<&[String]>,
) -> Result<Option<Vec<Step>>, DistError> {
    let default_order = DEFAULT_ORDER.map(String::from);
    let order = order.unwrap_or(&default_order);
    let step_of = |param: &str| match param {
        "frequency_penalty" | "presence_penalty" => "frequency_presence".to_owned(),
        other => other.to_owned(),
    };
    if params.keys().any(|param| !order.contains(&step_of(param))) {
        return Ok(None);
    }
    let mut steps = Vec::new();
    for name in order {
        if !params.keys().any(|param| step_of(param) == *name) {
            continue;
        }
        let get = |field: &str, neutral: f64| match params.get(field) {
            Some(value) => number(field, value),
            None => Ok(neutral),
        };
        let penalties = |repetition, frequency, presence| Step::Penalties {
            last_n: None,
            repetition,
            frequency,
            presence,
        };
        steps.push(match name.as_str() {
            "repetition_penalty" => penalties(get(name, 1.0)? as f32, 0.0, 0.0),
            "frequency_presence" => penalties(
                1.0,
                get("frequency_penalty", 0.0)? as f32,
                get("presence_penalty", 0.0)? as f32,
            ),
            "no_repeat_ngram" => Step::NoRepeatNgram(get(name, 0.0)? as usize),
            "logit_bias" => Step::LogitBias(biases(params.get(name))?),
            "temperature" => Step::Filter(Filter::Temperature(get(name, 1.0)? as f32)),
            "top_k" => Step::Filter(Filter::TopK(get(name, 0.0)? as u32)),
            "top_p" => Step::Filter(Filter::TopP(get(name, 1.0)? as f32)),
            "min_p" => Step::Filter(Filter::MinP(get(name, 0.0)? as f32)),
            "typical_p" => Step::Filter(Filter::Typical(get(name, 1.0)? as f32)),
            "epsilon_cutoff" => Step::Filter(Filter::Epsilon(get(name, 0.0)? as f32)),
            "eta_cutoff" => Step::Filter(Filter::Eta(get(name, 0.0)? as f32)),
            _ => return Ok(None),
        });
    }
    Ok(Some(steps))
}

/// A llama.cpp chain; `None` if one of its samplers is not known.
fn chain_steps(chain: &[Vec<Value>]) -> Result<Option<Vec<Step>>, DistError> {
    let mut steps = Vec::new();
    for link in chain {
        let Some((Value::String(name), arguments)) = link.split_first() else {
            return Err(wrong("chain", "a sampler's name first", &json!(link)));
        };
        let numbers = arguments
            .iter()
            .map(|argument| number(name, argument))
            .collect::<Result<Vec<f64>, DistError>>()?;
        let one = || match numbers.as_slice() {
            [argument] => Ok(*argument),
            _ => Err(wrong(name, "one argument", &json!(arguments))),
        };
        steps.push(match name.as_str() {
            // A negative k is llama.cpp's "off"; so is 0.
            "top_k" => Step::Filter(Filter::TopK(one()? as u32)),
            "top_p" => Step::Filter(Filter::TopP(one()? as f32)),
            "min_p" => Step::Filter(Filter::MinP(one()? as f32)),
            "typical" => Step::Filter(Filter::Typical(one()? as f32)),
            "temp" => Step::Filter(Filter::Temperature(one()? as f32)),
            "penalties" => {
                let [last_n, repetition, frequency, presence] = numbers[..] else {
                    return Err(wrong(name, "four arguments", &json!(arguments)));
                };
                Step::Penalties {
                    // -1 is llama.cpp's "all of them".
                    last_n: (last_n >= 0.0).then_some(last_n as usize),
                    repetition: repetition as f32,
                    frequency: frequency as f32,
                    presence: presence as f32,
                }
            }
            _ => return Ok(None),
        });
    }
    Ok(Some(steps))
}

fn number(field: &str, value: &Value) -> Result<f64, DistError> {
    value
        .as_f64()
        .ok_or_else(|| wrong(field, "a number", value))
}

/// `{"token id": bias}`.
fn biases(value: Option<&Value>) -> Result<Vec<(u32, f32)>, DistError> {
    let Some(value) = value else {
        return Ok(Vec::new());
    };
    let expected = "an object from token ids to numbers";
    let map = value
        .as_object()
        .ok_or_else(|| wrong("logit_bias", expected, value))?;
    map.iter()
        .map(|(id, bias)| {
            let token_id = id
                .parse()
                .map_err(|_| wrong("logit_bias", expected, value))?;
            Ok((token_id, number("logit_bias", bias)? as f32))
        })
        .collect()
}

fn wrong(field: &str, expected: &'static str, found: &Value) -> DistError {
    DistError::Value {
        field: field.to_owned(),
        expected,
        found: found.to_string(),
    }
}
