//! Ollama's native API.
//!
//! Owns its routes, chats, prompts and embeddings; models are in `models`. Source: the project's
//! `docs/api.md` and the types of its Python client.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::{get, post};
use serde_json::{Value, json};

use crate::answer::{self, Answer, Asked, Finish, Shape, Tool, ToolChoice, Turn, image_tag};
use crate::app::App;
use crate::reply::Reply;
use crate::time;

/// Any server's; clients check the version of features.
const VERSION: &str = "0.13.0";
const DEFAULT_DIMENSIONS: usize = 256;
const LOAD_NANOS: u64 = 1_000_000;
const PROMPT_NANOS: u64 = 100_000;
const TOKEN_NANOS: u64 = 500_000;

mod models;

pub(crate) use models::Loaded;
use models::{keep, model};

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route(
            "/",
            get(async || Reply::bytes(200, "text/plain; charset=utf-8", "Ollama is running")),
        )
        .route(
            "/api/version",
            get(async || Reply::ok(&json!({ "version": VERSION }))),
        )
        .route("/api/tags", get(models::tags))
        .route("/api/ps", get(models::running))
        .route("/api/show", post(models::show))
        .route("/api/pull", post(models::pull))
        .route("/api/chat", post(chat))
        .route("/api/generate", post(generate))
        .route("/api/embed", post(embed))
        .layer(axum::extract::DefaultBodyLimit::disable())
}

fn refused(status: u16, message: &str) -> Reply {
    Reply::json(status, &json!({ "error": message }))
}

fn parsed(body: &Bytes) -> Result<Value, Reply> {
    match serde_json::from_slice(body) {
        Ok(body @ Value::Object(_)) => Ok(body),
        Ok(_) => Err(refused(400, "json: cannot unmarshal into Go value")),
        Err(_) if body.is_empty() => Err(refused(400, "missing request body")),
        Err(error) => Err(refused(400, &error.to_string())),
    }
}

async fn embed(State(app): State<Arc<App>>, body: Bytes) -> Reply {
    let embedded = || {
        let body = parsed(&body)?;
        let (full, asked) = model(&app, &body)?;
        let texts: Option<Vec<String>> = match &body["input"] {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(texts) => texts
                .iter()
                .map(|text| text.as_str().map(str::to_owned))
                .collect(),
            _ => None,
        };
        let texts = texts.ok_or_else(|| refused(400, "invalid input type"))?;
        keep(&app, &full, &body["keep_alive"])?;
        let dimensions = body["dimensions"]
            .as_u64()
            .map_or(DEFAULT_DIMENSIONS, |n| n.clamp(1, 4096) as usize);
        let embeddings: Vec<Vec<f32>> = texts
            .iter()
            .map(|text| answer::embedding(text, dimensions))
            .collect();
        let tokens: usize = texts.iter().map(|text| answer::tokens(text).len()).sum();
        Ok(Reply::ok(&json!({
            "model": asked,
            "embeddings": embeddings,
            "total_duration": LOAD_NANOS + tokens as u64 * PROMPT_NANOS,
            "load_duration": LOAD_NANOS,
            "prompt_eval_count": tokens,
        })))
    };
    embedded().unwrap_or_else(|refusal: Reply| refusal)
}

async fn chat(State(app): State<Arc<App>>, body: Bytes) -> Reply {
    let answered = || {
        let body = parsed(&body)?;
        let (full, asked_name) = model(&app, &body)?;
        check_thinking(&asked_name, &body)?;
        let keep_zero = keep(&app, &full, &body["keep_alive"])?;
        let mut turns = Vec::new();
        for message in body["messages"].as_array().into_iter().flatten() {
            let role = message["role"].as_str().unwrap_or_default();
            if !["system", "user", "assistant", "tool"].contains(&role) {
                return Err(refused(400, &format!("invalid role: {role}")));
            }
            let mut text = message["content"].as_str().unwrap_or_default().to_owned();
            for call in message["tool_calls"].as_array().into_iter().flatten() {
                let function = &call["function"];
                let name = function["name"].as_str().unwrap_or_default();
                text.push_str(&answer::call_text(name, &function["arguments"]));
            }
            text.push_str(&images(&message["images"])?);
            turns.push(Turn::new(role, &text));
        }
        if turns.is_empty() {
            return Ok(Reply::ok(&loaded(&asked_name, keep_zero, true)));
        }
        let tools = body["tools"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|tool| Tool {
                name: tool["function"]["name"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
                schema: tool["function"]["parameters"].clone(),
            });
        let asked = asked(&body, turns, tools.collect())?;
        Ok(reply(&body, &asked_name, &asked, true))
    };
    answered().unwrap_or_else(|refusal: Reply| refusal)
}

async fn generate(State(app): State<Arc<App>>, body: Bytes) -> Reply {
    let answered = || {
        let body = parsed(&body)?;
        let (full, asked_name) = model(&app, &body)?;
        check_thinking(&asked_name, &body)?;
        let keep_zero = keep(&app, &full, &body["keep_alive"])?;
        let prompt = body["prompt"].as_str().unwrap_or_default();
        if prompt.is_empty() {
            return Ok(Reply::ok(&loaded(&asked_name, keep_zero, false)));
        }
        let prompt = format!("{prompt}{}", images(&body["images"])?);
        let mut turns = Vec::new();
        if body["raw"] == json!(true) {
            turns.push(Turn::new("prompt", &prompt));
        } else {
            // The template makes a chat of it.
            if let Some(system) = body["system"].as_str().filter(|system| !system.is_empty()) {
                turns.push(Turn::new("system", system));
            }
            turns.push(Turn::new("user", &prompt));
        }
        let asked = asked(&body, turns, Vec::new())?;
        Ok(reply(&body, &asked_name, &asked, false))
    };
    answered().unwrap_or_else(|refusal: Reply| refusal)
}

/// No model here thinks.
fn check_thinking(name: &str, body: &Value) -> Result<(), Reply> {
    if body["think"] == json!(true) || body["think"].is_string() {
        return Err(refused(
            400,
            &format!("\"{name}\" does not support thinking"),
        ));
    }
    Ok(())
}

/// What an empty request does: it loads a model, or throws it out.
fn loaded(name: &str, unload: bool, is_chat: bool) -> Value {
    let reason = if unload { "unload" } else { "load" };
    let mut reply = json!({ "model": name, "created_at": time::rfc3339(time::unix_now()) });
    if is_chat {
        reply["message"] = json!({ "role": "assistant", "content": "" });
    } else {
        reply["response"] = json!("");
    }
    reply["done_reason"] = json!(reason);
    reply["done"] = json!(true);
    reply
}

fn images(images: &Value) -> Result<String, Reply> {
    use base64::Engine as _;
    let mut tags = String::new();
    for image in images.as_array().into_iter().flatten() {
        let data = image.as_str().unwrap_or_default();
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(data)
            .map_err(|_| refused(400, "illegal base64 data at input byte 0"))?;
        tags.push_str(&image_tag(&bytes));
    }
    Ok(tags)
}

fn asked(body: &Value, turns: Vec<Turn>, tools: Vec<Tool>) -> Result<Asked, Reply> {
    let options = &body["options"];
    let max_tokens = match &options["num_predict"] {
        Value::Null => None,
        // Negative numbers mean no limit.
        number => match number.as_i64() {
            Some(number) => u64::try_from(number).ok(),
            None => {
                return Err(refused(
                    400,
                    "option \"num_predict\" must be of type integer",
                ));
            }
        },
    };
    let stop = match &options["stop"] {
        Value::Null => Vec::new(),
        Value::Array(stops) => stops
            .iter()
            .filter_map(|stop| stop.as_str().map(str::to_owned))
            .collect(),
        _ => return Err(refused(400, "option \"stop\" must be of type array")),
    };
    let shape = match &body["format"] {
        Value::Null => Shape::Text,
        Value::String(format) if format.is_empty() => Shape::Text,
        Value::String(format) if format == "json" => Shape::JsonObject,
        schema @ Value::Object(_) => Shape::Schema(schema.clone()),
        _ => {
            return Err(refused(
                400,
                "invalid format: expected \"json\" or a JSON schema",
            ));
        }
    };
    Ok(Asked {
        turns,
        max_tokens,
        stop,
        tools,
        tool_choice: ToolChoice::Auto,
        shape,
    })
}

/// A whole answer, or lines: streaming is this vendor's default.
fn reply(body: &Value, name: &str, asked: &Asked, is_chat: bool) -> Reply {
    let answer = asked.answer(0);
    let created = time::rfc3339(time::unix_now());
    let piece = |text: &str, calls: Option<&[Value]>| {
        let mut piece = json!({ "model": name, "created_at": created });
        if is_chat {
            piece["message"] = json!({ "role": "assistant", "content": text });
            if let Some(calls) = calls {
                piece["message"]["tool_calls"] = json!(calls);
            }
        } else {
            piece["response"] = json!(text);
        }
        piece["done"] = json!(false);
        piece
    };
    let calls: Vec<Value> = answer
        .calls
        .iter()
        .map(|call| json!({ "function": { "name": call.name, "arguments": call.arguments } }))
        .collect();
    let calls = (!calls.is_empty()).then_some(calls.as_slice());
    let logprobs = |tokens: &[String]| -> Option<Value> {
        let wanted = body["logprobs"] == json!(true);
        let top = body["top_logprobs"].as_u64().unwrap_or(0).min(20);
        wanted.then(|| {
            tokens
                .iter()
                .map(|token| crate::openai::token_logprob(token, top))
                .collect()
        })
    };
    if body["stream"] == json!(false) {
        let mut whole = piece(&answer.text(), calls);
        finish(&mut whole, asked, &answer, is_chat);
        if let Some(logprobs) = logprobs(&answer.tokens) {
            whole["logprobs"] = logprobs;
        }
        return Reply::ok(&whole);
    }
    let mut lines = Vec::new();
    for token in &answer.tokens {
        let mut line = piece(token, None);
        if let Some(logprobs) = logprobs(std::slice::from_ref(token)) {
            line["logprobs"] = logprobs;
        }
        lines.push(line);
    }
    if calls.is_some() {
        lines.push(piece("", calls));
    }
    let mut last = piece("", None);
    finish(&mut last, asked, &answer, is_chat);
    lines.push(last);
    Reply::lines(lines)
}

/// What only the last piece has.
fn finish(piece: &mut Value, asked: &Asked, answer: &Answer, is_chat: bool) {
    let (prompt, generated) = (asked.num_prompt_tokens(), answer.num_tokens());
    piece["done"] = json!(true);
    piece["done_reason"] = json!(if answer.finish == Finish::Length {
        "length"
    } else {
        "stop"
    });
    if !is_chat {
        piece["context"] = json!([1, 2, 3]);
    }
    piece["total_duration"] = json!(LOAD_NANOS + prompt * PROMPT_NANOS + generated * TOKEN_NANOS);
    piece["load_duration"] = json!(LOAD_NANOS);
    piece["prompt_eval_count"] = json!(prompt);
    piece["prompt_eval_duration"] = json!(prompt * PROMPT_NANOS);
    piece["eval_count"] = json!(generated);
    piece["eval_duration"] = json!(generated * TOKEN_NANOS);
}
