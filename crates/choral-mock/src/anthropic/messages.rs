//! `POST /v1/messages`, whole and streamed.

use serde_json::{Value, json};

use super::{asked, check_model};
use crate::answer::{Answer, Asked, Finish};
use crate::app::App;
use crate::reply::Reply;

/// Arguments of a call come in pieces of so many characters.
const ARGUMENT_PIECE: usize = 12;
/// Events between two pings of a stream.
const PING_EVERY: usize = 16;

/// Answers a conversation, or says why not.
pub(crate) fn create(app: &App, version: &str, body: &Value) -> Result<Reply, Reply> {
    let model = check_model(app, body)?;
    let asked = asked(body, version)?;
    let answer = asked.answer(0);
    let message = message(&model, &asked, &answer);
    if body["stream"] == json!(true) {
        return Ok(Reply::event_stream(events(&message)));
    }
    Ok(Reply::ok(&message))
}

fn message(model: &str, asked: &Asked, answer: &Answer) -> Value {
    let content: Vec<Value> = if answer.calls.is_empty() {
        vec![json!({ "type": "text", "text": answer.text() })]
    } else {
        let blocks = answer.calls.iter().map(|call| {
            json!({
                "type": "tool_use",
                "id": format!("toolu_{}", call.digest),
                "name": call.name,
                "input": call.arguments,
            })
        });
        blocks.collect()
    };
    let (reason, sequence) = match &answer.finish {
        Finish::Stop => ("end_turn", Value::Null),
        Finish::StopString(stop) => ("stop_sequence", json!(stop)),
        Finish::Length => ("max_tokens", Value::Null),
        Finish::ToolCalls => ("tool_use", Value::Null),
    };
    json!({
        "id": format!("msg_{}", asked.digest()),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": sequence,
        "usage": {
            "input_tokens": asked.num_prompt_tokens(),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": answer.num_tokens(),
            "service_tier": "standard",
        },
    })
}

fn events(message: &Value) -> Vec<Value> {
    let mut begun = message.clone();
    begun["content"] = json!([]);
    begun["stop_reason"] = Value::Null;
    begun["stop_sequence"] = Value::Null;
    begun["usage"]["output_tokens"] = json!(1);
    let mut events = vec![json!({ "type": "message_start", "message": begun })];
    for (index, block) in message["content"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let mut started = block.clone();
        let deltas: Vec<Value> = if block["type"] == "text" {
            started["text"] = json!("");
            let text = block["text"].as_str().unwrap_or_default();
            let tokens = crate::answer::tokens(text).into_iter();
            tokens
                .map(|token| json!({ "type": "text_delta", "text": token }))
                .collect()
        } else {
            started["input"] = json!({});
            let letters: Vec<char> = block["input"].to_string().chars().collect();
            let pieces = letters
                .chunks(ARGUMENT_PIECE)
                .map(|piece| piece.iter().collect());
            // The vendor's first piece is always empty.
            [String::new()]
                .into_iter()
                .chain(pieces)
                .map(|piece| json!({ "type": "input_json_delta", "partial_json": piece }))
                .collect()
        };
        events.push(
            json!({ "type": "content_block_start", "index": index, "content_block": started }),
        );
        for (number, delta) in deltas.into_iter().enumerate() {
            if number % PING_EVERY == 0 {
                events.push(json!({ "type": "ping" }));
            }
            events.push(json!({ "type": "content_block_delta", "index": index, "delta": delta }));
        }
        events.push(json!({ "type": "content_block_stop", "index": index }));
    }
    events.push(json!({
        "type": "message_delta",
        "delta": {
            "stop_reason": message["stop_reason"],
            "stop_sequence": message["stop_sequence"],
        },
        "usage": { "output_tokens": message["usage"]["output_tokens"] },
    }));
    events.push(json!({ "type": "message_stop" }));
    events
}
