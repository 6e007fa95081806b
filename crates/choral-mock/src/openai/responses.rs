//! `POST /v1/responses` and its event stream.

use serde_json::{Value, json};

use super::{
    check_number, check_parameters, content_text, model, past_call, refused, shape, tools, whole,
};
use crate::answer::{Answer, Asked, Finish, Turn};
use crate::app::App;
use crate::reply::Reply;
use crate::time;

const KNOWN: &[&str] = &[
    "access_programs",
    "background",
    "background_options",
    "context_management",
    "conversation",
    "image",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "moderation",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
];
/// The vendor's least `max_output_tokens`.
const MIN_OUTPUT_TOKENS: u64 = 16;

/// Answers an input, or says why not.
pub(crate) fn respond(app: &App, body: &Value) -> Result<Reply, Reply> {
    check_parameters(app, body, KNOWN)?;
    model(app, body)?;
    check_number(body, "temperature", 0.0, 2.0)?;
    check_number(body, "top_p", 0.0, 1.0)?;
    let max_tokens = whole(body, "max_output_tokens", MIN_OUTPUT_TOKENS, u64::MAX)?;
    if !body["previous_response_id"].is_null() {
        // Nothing is stored here, so that no answer depends on what came before.
        let id = &body["previous_response_id"];
        let message = format!("Previous response with id {id} not found.");
        return Err(refused(
            &message,
            "previous_response_id",
            "previous_response_not_found",
        ));
    }
    let mut turns = Vec::new();
    if let Some(instructions) = body["instructions"].as_str() {
        turns.push(Turn::new("system", instructions));
    }
    turns.extend(input(&body["input"])?);
    let format = &body["text"]["format"];
    let shape = shape(format, &format["schema"], "text.format", &turns)?;
    let (tools, tool_choice) = tools(body, false)?;
    let asked = Asked {
        turns,
        max_tokens,
        stop: Vec::new(),
        tools,
        tool_choice,
        shape,
    };
    let answer = asked.answer(0);
    let response = response(body, &asked, &answer);
    if body["stream"] == json!(true) {
        return Ok(Reply::event_stream(events(&response, &answer)));
    }
    Ok(Reply::ok(&response))
}

/// A text, or a list of messages, calls and their outputs.
fn input(input: &Value) -> Result<Vec<Turn>, Reply> {
    let items = match input {
        Value::String(text) => return Ok(vec![Turn::new("user", text)]),
        Value::Array(items) => items,
        _ => {
            let message = "Missing required parameter: 'input'.";
            return Err(refused(message, "input", "missing_required_parameter"));
        }
    };
    let mut turns: Vec<Turn> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let path = format!("input[{index}]");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match item["type"].as_str() {
            None | Some("message") => {
                let role = match item["role"].as_str() {
                    Some("developer" | "system") => "system",
                    Some(role @ ("user" | "assistant")) => role,
                    _ => {
                        let message = format!("Invalid value for '{path}.role'.");
                        return Err(refused(&message, &format!("{path}.role"), "invalid_value"));
                    }
                };
                turns.push(Turn::new(role, &content_text(&item["content"], &path)?));
            }
            Some("function_call") => {
                let call = past_call(&text(&item["name"]), &text(&item["arguments"]));
                // Calls that follow each other, or a text, are one turn, as in a chat.
                match turns.last_mut().filter(|turn| turn.role == "assistant") {
                    Some(turn) => turn.text.push_str(&call),
                    None => turns.push(Turn::new("assistant", &call)),
                }
            }
            Some("function_call_output") => {
                turns.push(Turn::new("tool", &content_text(&item["output"], &path)?));
            }
            Some("reasoning") => {}
            Some(other) => {
                let message = format!("Invalid value: '{other}'.");
                return Err(refused(&message, &format!("{path}.type"), "invalid_value"));
            }
        }
    }
    Ok(turns)
}

fn response(body: &Value, asked: &Asked, answer: &Answer) -> Value {
    let digest = asked.digest();
    let cut = answer.finish == Finish::Length;
    let status = if cut { "incomplete" } else { "completed" };
    let mut output: Vec<Value> = answer
        .calls
        .iter()
        .map(|call| {
            json!({
                "type": "function_call",
                "id": format!("fc_{}", call.digest),
                "call_id": format!("call_{}", call.digest),
                "name": call.name,
                "arguments": call.arguments.to_string(),
                "status": "completed",
            })
        })
        .collect();
    if output.is_empty() {
        output.push(json!({
            "type": "message",
            "id": format!("msg_{digest}"),
            "status": status,
            "role": "assistant",
            "content": [part(&answer.text())],
        }));
    }
    let (input, generated) = (asked.num_prompt_tokens(), answer.num_tokens());
    let or = |name: &str, default: Value| {
        if body[name].is_null() {
            default
        } else {
            body[name].clone()
        }
    };
    json!({
        "id": format!("resp_{digest}"),
        "object": "response",
        "created_at": time::unix_now(),
        "status": status,
        "background": false,
        "error": null,
        "incomplete_details": if cut { json!({ "reason": "max_output_tokens" }) } else { Value::Null },
        "instructions": body["instructions"],
        "max_output_tokens": body["max_output_tokens"],
        "model": body["model"],
        "output": output,
        "parallel_tool_calls": or("parallel_tool_calls", json!(true)),
        "previous_response_id": null,
        "reasoning": { "effort": null, "summary": null },
        "service_tier": "default",
        "store": or("store", json!(true)),
        "temperature": or("temperature", json!(1.0)),
        "text": or("text", json!({ "format": { "type": "text" } })),
        "tool_choice": or("tool_choice", json!("auto")),
        "tools": or("tools", json!([])),
        "top_p": or("top_p", json!(1.0)),
        "truncation": or("truncation", json!("disabled")),
        "usage": {
            "input_tokens": input,
            "input_tokens_details": { "cached_tokens": 0, "cache_write_tokens": 0 },
            "output_tokens": generated,
            "output_tokens_details": { "reasoning_tokens": 0 },
            "total_tokens": input + generated,
        },
        "user": body["user"],
        "metadata": or("metadata", json!({})),
    })
}

fn part(text: &str) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
}

fn events(response: &Value, answer: &Answer) -> Vec<Value> {
    let mut begun = response.clone();
    begun["status"] = json!("in_progress");
    begun["output"] = json!([]);
    begun["usage"] = Value::Null;
    begun["incomplete_details"] = Value::Null;
    let mut events = vec![
        json!({ "type": "response.created", "response": begun }),
        json!({ "type": "response.in_progress", "response": begun }),
    ];
    for (index, item) in response["output"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let mut started = item.clone();
        started["status"] = json!("in_progress");
        let id = &item["id"];
        let is_message = item["type"] == "message";
        if is_message {
            started["content"] = json!([]);
        } else {
            started["arguments"] = json!("");
        }
        events.push(
            json!({ "type": "response.output_item.added", "output_index": index, "item": started }),
        );
        if is_message {
            let event = |kind: &str| json!({ "type": kind, "item_id": id, "output_index": index, "content_index": 0 });
            let with = |kind: &str, fields: Value| {
                let mut event = event(kind);
                for (name, value) in fields.as_object().into_iter().flatten() {
                    event[name] = value.clone();
                }
                event
            };
            events.push(with(
                "response.content_part.added",
                json!({ "part": part("") }),
            ));
            for token in &answer.tokens {
                events.push(with(
                    "response.output_text.delta",
                    json!({ "delta": token, "logprobs": [] }),
                ));
            }
            let text = answer.text();
            events.push(with(
                "response.output_text.done",
                json!({ "text": text, "logprobs": [] }),
            ));
            events.push(with(
                "response.content_part.done",
                json!({ "part": part(&text) }),
            ));
        } else {
            let arguments = item["arguments"].as_str().unwrap_or_default();
            for piece in super::chat::pieces(arguments) {
                events.push(json!({
                    "type": "response.function_call_arguments.delta",
                    "item_id": id, "output_index": index, "delta": piece,
                }));
            }
            events.push(json!({
                "type": "response.function_call_arguments.done",
                "item_id": id, "output_index": index, "name": item["name"], "arguments": arguments,
            }));
        }
        events.push(
            json!({ "type": "response.output_item.done", "output_index": index, "item": item }),
        );
    }
    let last = if answer.finish == Finish::Length {
        "response.incomplete"
    } else {
        "response.completed"
    };
    events.push(json!({ "type": last, "response": response }));
    for (number, event) in events.iter_mut().enumerate() {
        event["sequence_number"] = json!(number);
    }
    events
}
