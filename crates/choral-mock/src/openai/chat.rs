//! `POST /v1/chat/completions`, whole and streamed.

use serde_json::{Value, json};

use super::{
    check_number, check_parameters, model, refused, shape, stop_strings, tools, turns, whole,
};
use crate::answer::{self, Answer, Asked, Finish};
use crate::app::App;
use crate::reply::Reply;
use crate::time;

/// Parameters of the vendor's reference.
const KNOWN: &[&str] = &[
    "messages",
    "model",
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "metadata",
    "modalities",
    "moderation",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
];
/// Arguments of a call come in pieces of so many characters.
const ARGUMENT_PIECE: usize = 12;

/// Answers a chat, or says why not.
pub(crate) fn complete(app: &App, body: &Value) -> Result<Reply, Reply> {
    check_parameters(app, body, KNOWN)?;
    let model = model(app, body)?;
    let turns = turns(&body["messages"])?;
    check_number(body, "temperature", 0.0, 2.0)?;
    check_number(body, "top_p", 0.0, 1.0)?;
    check_number(body, "presence_penalty", -2.0, 2.0)?;
    check_number(body, "frequency_penalty", -2.0, 2.0)?;
    if !body["max_tokens"].is_null() && !body["max_completion_tokens"].is_null() {
        let message =
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.";
        return Err(refused(
            message,
            "max_tokens",
            "invalid_parameter_combination",
        ));
    }
    let max_tokens = whole(body, "max_completion_tokens", 1, u64::MAX)?.or(whole(
        body,
        "max_tokens",
        1,
        u64::MAX,
    )?);
    let choices = whole(body, "n", 1, 128)?.unwrap_or(1) as u32;
    let top_logprobs = whole(body, "top_logprobs", 0, 20)?;
    let logprobs = body["logprobs"] == json!(true);
    if top_logprobs.is_some() && !logprobs {
        let message = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.";
        return Err(refused(
            message,
            "top_logprobs",
            "invalid_parameter_combination",
        ));
    }
    let logprobs = logprobs.then(|| top_logprobs.unwrap_or(0));
    let stream = body["stream"] == json!(true);
    if !body["stream_options"].is_null() && !stream {
        let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
        return Err(refused(
            message,
            "stream_options",
            "invalid_parameter_combination",
        ));
    }
    let format = &body["response_format"];
    let shape = shape(
        format,
        &format["json_schema"]["schema"],
        "response_format",
        &turns,
    )?;
    let (tools, tool_choice) = tools(body, true)?;
    let asked = Asked {
        turns,
        max_tokens,
        stop: stop_strings(body)?,
        tools,
        tool_choice,
        shape,
    };

    let answers: Vec<Answer> = (0..choices).map(|choice| asked.answer(choice)).collect();
    let usage = usage(&asked, &answers);
    let head = json!({
        "id": format!("chatcmpl-{}", asked.digest()),
        "object": "chat.completion",
        "created": time::unix_now(),
        "model": model,
        "service_tier": "default",
        "system_fingerprint": "fp_mock",
    });
    if stream {
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
                "index": index,
                "message": message(answer),
                "logprobs": logprobs.map(|top| token_logprobs(&answer.tokens, top)),
                "finish_reason": finish_reason(&answer.finish),
            })
        })
        .collect();
    let mut whole = head;
    whole["choices"] = json!(choices);
    whole["usage"] = usage;
    Ok(Reply::ok(&whole))
}

fn message(answer: &Answer) -> Value {
    let calls: Vec<Value> = answer
        .calls
        .iter()
        .map(|call| {
            json!({
                "id": format!("call_{}", call.digest),
                "type": "function",
                "function": { "name": call.name, "arguments": call.arguments.to_string() },
            })
        })
        .collect();
    let mut message = json!({
        "role": "assistant",
        "content": if calls.is_empty() { json!(answer.text()) } else { Value::Null },
        "refusal": null,
        "annotations": [],
    });
    if !calls.is_empty() {
        message["tool_calls"] = json!(calls);
    }
    message
}

fn finish_reason(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopString(_) => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
    }
}

/// Counts of tokens, in the shape of chats and completions.
pub(crate) fn usage(asked: &Asked, answers: &[Answer]) -> Value {
    let prompt = asked.num_prompt_tokens();
    let completion: u64 = answers.iter().map(Answer::num_tokens).sum();
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": { "cached_tokens": 0, "audio_tokens": 0 },
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    })
}

fn token_logprobs(tokens: &[String], top: u64) -> Value {
    let content: Vec<Value> = tokens
        .iter()
        .map(|token| token_logprob(token, top))
        .collect();
    json!({ "content": content, "refusal": null })
}

/// A token's log-probability and its `top` rivals, the token itself first.
pub(crate) fn token_logprob(token: &str, top: u64) -> Value {
    let entry = |token: &str, rank: u64| {
        json!({
            "token": token,
            "logprob": answer::logprob(token, rank),
            "bytes": token.as_bytes(),
        })
    };
    let rivals = (0..top).map(|rank| {
        if rank == 0 {
            entry(token, 0)
        } else {
            entry(&format!("{token}~{rank}"), rank)
        }
    });
    let mut own = entry(token, 0);
    own["top_logprobs"] = rivals.collect();
    own
}

/// The events of a stream: choices take turns, as they do at the vendor.
fn chunks(
    head: Value,
    answers: &[Answer],
    logprobs: Option<u64>,
    usage: Option<Value>,
) -> Vec<Value> {
    let mut head = head;
    head["object"] = json!("chat.completion.chunk");
    let with_usage = usage.is_some();
    let chunk = |index: usize, delta: Value, logprobs: Value, finish: Value| {
        let mut chunk = head.clone();
        chunk["choices"] = json!([{ "index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish }]);
        if with_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    };
    let mut columns: Vec<Vec<Value>> = Vec::new();
    for (index, answer) in answers.iter().enumerate() {
        let content = if answer.calls.is_empty() {
            json!("")
        } else {
            Value::Null
        };
        let start = json!({ "role": "assistant", "content": content, "refusal": null });
        let mut column = vec![chunk(index, start, Value::Null, Value::Null)];
        for token in &answer.tokens {
            let logprobs = logprobs.map_or(Value::Null, |top| {
                token_logprobs(std::slice::from_ref(token), top)
            });
            column.push(chunk(
                index,
                json!({ "content": token }),
                logprobs,
                Value::Null,
            ));
        }
        for (number, call) in answer.calls.iter().enumerate() {
            let delta = json!({ "tool_calls": [{
                "index": number,
                "id": format!("call_{}", call.digest),
                "type": "function",
                "function": { "name": call.name, "arguments": "" },
            }] });
            column.push(chunk(index, delta, Value::Null, Value::Null));
            for piece in pieces(&call.arguments.to_string()) {
                let delta = json!({ "tool_calls": [{
                    "index": number, "function": { "arguments": piece },
                }] });
                column.push(chunk(index, delta, Value::Null, Value::Null));
            }
        }
        let finish = json!(finish_reason(&answer.finish));
        column.push(chunk(index, json!({}), Value::Null, finish));
        columns.push(column);
    }
    let longest = columns.iter().map(Vec::len).max().unwrap_or(0);
    let mut chunks: Vec<Value> = (0..longest)
        .flat_map(|row| {
            columns
                .iter()
                .filter_map(move |column| column.get(row))
                .cloned()
        })
        .collect();
    if let Some(usage) = usage {
        let mut last = head.clone();
        last["choices"] = json!([]);
        last["usage"] = usage;
        chunks.push(last);
    }
    chunks
}

/// Arguments of a call, in the pieces of a stream.
pub(crate) fn pieces(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    letters
        .chunks(ARGUMENT_PIECE)
        .map(|piece| piece.iter().collect())
        .collect()
}
