//! `POST /v1/completions` and `POST /v1/embeddings`: prompts without messages.

use serde_json::{Map, Value, json};

use super::chat::usage;
use super::{check_number, check_parameters, model, refused, stop_strings, whole};
use crate::answer::{self, Answer, Asked, Finish, Turn};
use crate::app::App;
use crate::reply::Reply;
use crate::time;

const KNOWN: &[&str] = &[
    "model",
    "prompt",
    "best_of",
    "echo",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "max_tokens",
    "n",
    "presence_penalty",
    "seed",
    "stop",
    "stream",
    "stream_options",
    "suffix",
    "temperature",
    "top_p",
    "user",
];
const KNOWN_OF_EMBEDDINGS: &[&str] = &["input", "model", "dimensions", "encoding_format", "user"];
/// The vendor's default of `max_tokens` in completions is short, and surprises people.
const DEFAULT_MAX_TOKENS: u64 = 16;
const DEFAULT_DIMENSIONS: u64 = 256;
const MAX_DIMENSIONS: u64 = 4096;
const MAX_INPUTS: usize = 2048;

/// Completes one prompt or a list of them.
pub(crate) fn complete(app: &App, body: &Value) -> Result<Reply, Reply> {
    check_parameters(app, body, KNOWN)?;
    let model = model(app, body)?;
    let prompts = texts(body, "prompt")?;
    check_number(body, "temperature", 0.0, 2.0)?;
    check_number(body, "top_p", 0.0, 1.0)?;
    let max_tokens = whole(body, "max_tokens", 0, u64::MAX)?.unwrap_or(DEFAULT_MAX_TOKENS);
    let choices = whole(body, "n", 1, 128)?.unwrap_or(1) as u32;
    let logprobs = whole(body, "logprobs", 0, 5)?;
    let echo = body["echo"] == json!(true);
    let stop = stop_strings(body)?;

    // Choices of the first prompt come first, then those of the second.
    let mut asked_of_all = Asked::default();
    let mut answers = Vec::new();
    for prompt in &prompts {
        let turn = Turn::new("prompt", prompt);
        asked_of_all.turns.push(turn.clone());
        let asked = Asked {
            turns: vec![turn],
            max_tokens: Some(max_tokens),
            stop: stop.clone(),
            ..Asked::default()
        };
        for choice in 0..choices {
            let mut answer = asked.answer(choice);
            if echo {
                answer
                    .tokens
                    .splice(0..0, answer::tokens(prompt).into_iter().map(str::to_owned));
            }
            answers.push(answer);
        }
    }
    let usage = usage(&asked_of_all, &answers);
    let head = json!({
        "id": format!("cmpl-{}", asked_of_all.digest()),
        "object": "text_completion",
        "created": time::unix_now(),
        "model": model,
        "system_fingerprint": "fp_mock",
    });
    if body["stream"] == json!(true) {
        let include_usage = body["stream_options"]["include_usage"] == json!(true);
        return Ok(Reply::data_stream(chunks(
            head,
            &answers,
            logprobs,
            include_usage.then_some(usage),
        )));
    }
    let choices: Vec<Value> = answers
        .iter()
        .enumerate()
        .map(|(index, answer)| {
            json!({
                "text": answer.text(),
                "index": index,
                "logprobs": logprobs.map(|top| token_logprobs(&answer.tokens, 0, top)),
                "finish_reason": finish_reason(answer),
            })
        })
        .collect();
    let mut whole = head;
    whole["choices"] = json!(choices);
    whole["usage"] = usage;
    Ok(Reply::ok(&whole))
}

fn finish_reason(answer: &Answer) -> &'static str {
    if answer.finish == Finish::Length {
        "length"
    } else {
        "stop"
    }
}

fn chunks(
    head: Value,
    answers: &[Answer],
    logprobs: Option<u64>,
    usage: Option<Value>,
) -> Vec<Value> {
    let chunk = |index: usize, text: &str, logprobs: Value, finish: Value| {
        let mut chunk = head.clone();
        chunk["choices"] = json!([{ "text": text, "index": index, "logprobs": logprobs, "finish_reason": finish }]);
        if usage.is_some() {
            chunk["usage"] = Value::Null;
        }
        chunk
    };
    let mut chunks = Vec::new();
    for (index, answer) in answers.iter().enumerate() {
        let mut offset = 0;
        for token in &answer.tokens {
            let logprobs = logprobs.map_or(Value::Null, |top| {
                token_logprobs(std::slice::from_ref(token), offset, top)
            });
            chunks.push(chunk(index, token, logprobs, Value::Null));
            offset += token.chars().count();
        }
        chunks.push(chunk(index, "", Value::Null, json!(finish_reason(answer))));
    }
    if let Some(usage) = usage {
        let mut last = head.clone();
        last["choices"] = json!([]);
        last["usage"] = usage;
        chunks.push(last);
    }
    chunks
}

/// Lists beside each other, as completions have them. Offsets count characters.
fn token_logprobs(tokens: &[String], mut offset: usize, top: u64) -> Value {
    let mut offsets = Vec::new();
    let mut tops = Vec::new();
    for token in tokens {
        offsets.push(offset);
        offset += token.chars().count();
        let rivals: Map<String, Value> = (0..top)
            .map(|rank| {
                let name = if rank == 0 {
                    token.clone()
                } else {
                    format!("{token}~{rank}")
                };
                (name, json!(answer::logprob(token, rank)))
            })
            .collect();
        tops.push(Value::Object(rivals));
    }
    let own: Vec<f64> = tokens
        .iter()
        .map(|token| answer::logprob(token, 0))
        .collect();
    json!({ "tokens": tokens, "token_logprobs": own, "top_logprobs": tops, "text_offset": offsets })
}

/// Embeds one text or a list of them.
pub(crate) fn embed(app: &App, body: &Value) -> Result<Reply, Reply> {
    use base64::Engine as _;
    check_parameters(app, body, KNOWN_OF_EMBEDDINGS)?;
    let model = model(app, body)?;
    let inputs = texts(body, "input")?;
    let dimensions =
        whole(body, "dimensions", 1, MAX_DIMENSIONS)?.unwrap_or(DEFAULT_DIMENSIONS) as usize;
    let base64 = match body["encoding_format"].as_str() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            let message =
                format!("Invalid value: '{other}'. Supported values are: 'float' and 'base64'.");
            return Err(refused(&message, "encoding_format", "invalid_value"));
        }
    };
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let vector = answer::embedding(text, dimensions);
            let embedding = if base64 {
                let bytes: Vec<u8> = vector
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect();
                json!(base64::engine::general_purpose::STANDARD.encode(bytes))
            } else {
                json!(vector)
            };
            json!({ "object": "embedding", "index": index, "embedding": embedding })
        })
        .collect();
    let tokens: usize = inputs.iter().map(|text| answer::tokens(text).len()).sum();
    Ok(Reply::ok(&json!({
        "object": "list",
        "data": data,
        "model": model,
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
    })))
}

/// A text, tokens, or a list of either. Tokens are written as their numbers.
fn texts(body: &Value, name: &str) -> Result<Vec<String>, Reply> {
    let numbers = |value: &Value| -> Option<String> {
        let numbers: Option<Vec<String>> = value
            .as_array()?
            .iter()
            .map(|number| Some(number.as_u64()?.to_string()))
            .collect();
        Some(numbers?.join(" "))
    };
    let texts = match &body[name] {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(list) if list.first().is_some_and(Value::is_number) => {
            numbers(&body[name]).map(|text| vec![text])
        }
        Value::Array(list) if !list.is_empty() && list.len() <= MAX_INPUTS => list
            .iter()
            .map(|text| text.as_str().map(str::to_owned).or_else(|| numbers(text)))
            .collect(),
        Value::Null => {
            let message = format!("Missing required parameter: '{name}'.");
            return Err(refused(&message, name, "missing_required_parameter"));
        }
        _ => None,
    };
    texts.ok_or_else(|| refused(&format!("'{name}' is invalid."), name, "invalid_type"))
}
