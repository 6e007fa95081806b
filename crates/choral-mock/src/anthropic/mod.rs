//! Anthropic's API: messages, whole and streamed, token counts, models.
//!
//! Owns its routes and the reading of a messages request. Two versions of the API are
//! known, as the header `anthropic-version` says: 2026-10-21 refuses sampling parameters
//! that 2023-06-01 takes, and newer models refuse them by either. Source: the vendor's API reference, and the types of its
//! Python SDK.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::{get, post};
use serde_json::{Value, json};

use crate::answer::{Asked, Shape, Tool, ToolChoice, Turn, call_text, image_tag};
use crate::app::App;
use crate::reply::Reply;
use crate::time;
use crate::vendor::anthropic_error;

pub(crate) mod batches;
mod messages;

/// The version that took sampling parameters.
const OLD_VERSION: &str = "2023-06-01";
const VERSIONS: [&str; 2] = [OLD_VERSION, "2026-10-21"];
const SAMPLING: [&str; 3] = ["temperature", "top_p", "top_k"];
const KNOWN: [&str; 20] = [
    "max_tokens",
    "messages",
    "model",
    "cache_control",
    "container",
    "diagnostics",
    "inference_geo",
    "metadata",
    "output_config",
    "service_tier",
    "speed",
    "stop_sequences",
    "stream",
    "system",
    "thinking",
    "tool_choice",
    "tools",
    "user_profile_id",
    "workspace_id",
    "context_management",
];
/// When all models were made.
const CREATED: u64 = 1_700_000_000;

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/messages", post(create))
        .route("/v1/messages/count_tokens", post(count_tokens))
        .route(
            "/v1/messages/batches",
            post(batches::create).get(batches::list),
        )
        .route(
            "/v1/messages/batches/{id}",
            get(batches::get).delete(batches::delete),
        )
        .route("/v1/messages/batches/{id}/cancel", post(batches::cancel))
        .route("/v1/messages/batches/{id}/results", get(batches::results))
        .layer(axum::extract::DefaultBodyLimit::disable())
}

async fn create(State(app): State<Arc<App>>, headers: HeaderMap, body: Bytes) -> Reply {
    let answered =
        version(&headers).and_then(|version| messages::create(&app, version, &parsed(&body)?));
    answered.unwrap_or_else(|refusal| refusal)
}

async fn count_tokens(State(app): State<Arc<App>>, headers: HeaderMap, body: Bytes) -> Reply {
    let count = || {
        version(&headers)?;
        let body = parsed(&body)?;
        check_model(&app, &body)?;
        let asked = Asked {
            turns: turns(&body)?,
            ..Asked::default()
        };
        Ok(Reply::ok(
            &json!({ "input_tokens": asked.num_prompt_tokens() }),
        ))
    };
    count().unwrap_or_else(|refusal: Reply| refusal)
}

/// The models of a page: `limit`, `after_id`, `before_id`.
pub(crate) fn models(app: &App, headers: &HeaderMap, query: &str) -> Reply {
    if let Err(refusal) = version(headers) {
        return refusal;
    }
    let names = app
        .settings
        .models
        .iter()
        .filter(|name| name.starts_with("claude"));
    let models = names.map(|name| model_object(name)).collect();
    listed(models, query).map_or_else(|refusal| refusal, |page| Reply::ok(&page))
}

pub(crate) fn model(app: &App, headers: &HeaderMap, name: &str) -> Reply {
    match version(headers) {
        Err(refusal) => refusal,
        Ok(_) if app.has_model(name) => Reply::ok(&model_object(name)),
        Ok(_) => Reply::json(404, &anthropic_error(404, &format!("model: {name}"))),
    }
}

fn model_object(name: &str) -> Value {
    json!({
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": time::rfc3339(CREATED),
        "lifecycle": "active",
        "max_input_tokens": 200_000,
        "max_tokens": 64_000,
    })
}

/// A page of objects by `limit`, `after_id` and `before_id` of a query.
fn listed(objects: Vec<Value>, query: &str) -> Result<Value, Reply> {
    let (mut start, mut end, mut limit) = (0, objects.len(), 20);
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let at = objects.iter().position(|object| object["id"] == *value);
        match name {
            "limit" => {
                limit = value
                    .parse()
                    .ok()
                    .filter(|limit| (1..=1000).contains(limit))
                    .ok_or_else(|| refused("limit: Input should be between 1 and 1000"))?;
            }
            "after_id" => start = at.map_or(end, |at| at + 1),
            "before_id" => end = at.unwrap_or(end),
            _ => {}
        }
    }
    let rest = &objects[start.min(end)..end];
    let page = &rest[..rest.len().min(limit)];
    Ok(json!({
        "data": page,
        "first_id": page.first().map(|object| object["id"].clone()),
        "last_id": page.last().map(|object| object["id"].clone()),
        "has_more": page.len() < rest.len(),
    }))
}

fn refused(message: &str) -> Reply {
    Reply::json(400, &anthropic_error(400, message))
}

/// The version that a request names, which it must.
fn version(headers: &HeaderMap) -> Result<&str, Reply> {
    let version = headers
        .get("anthropic-version")
        .map(|version| version.to_str().unwrap_or_default());
    match version {
        None => Err(refused("anthropic-version: header is required")),
        Some(version) if VERSIONS.contains(&version) => Ok(version),
        Some(version) => Err(refused(&format!(
            "anthropic-version: \"{version}\" is not a valid version"
        ))),
    }
}

fn parsed(body: &Bytes) -> Result<Value, Reply> {
    match serde_json::from_slice(body) {
        Ok(body @ Value::Object(_)) => Ok(body),
        _ => Err(refused("The request body is not valid JSON")),
    }
}

fn check_model(app: &App, body: &Value) -> Result<String, Reply> {
    let name = body["model"]
        .as_str()
        .ok_or_else(|| refused("model: Field required"))?;
    if app.has_model(name) {
        return Ok(name.to_owned());
    }
    Err(Reply::json(
        404,
        &anthropic_error(404, &format!("model: {name}")),
    ))
}

/// Models before Sonnet 5, of those that the mock has: they take sampling parameters, and
/// no system messages amid a conversation.
fn is_old(model: &str) -> bool {
    model.ends_with("-4-5")
}

/// A messages request without its vendor; checked as the vendor checks it.
fn asked(body: &Value, version: &str) -> Result<Asked, Reply> {
    for name in body
        .as_object()
        .into_iter()
        .flat_map(|object| object.keys())
    {
        let known = KNOWN.contains(&name.as_str())
            || (version == OLD_VERSION && SAMPLING.contains(&name.as_str()));
        if !known {
            return Err(refused(&format!("{name}: Extra inputs are not permitted")));
        }
    }
    let old_model = body["model"].as_str().is_some_and(is_old);
    for name in SAMPLING
        .iter()
        .filter(|name| !old_model && !body[**name].is_null())
    {
        // The default alone is taken still.
        if *name != "temperature" || body["temperature"].as_f64() != Some(1.0) {
            let message = format!("`{name}` is deprecated for this model.");
            return Err(refused(&message));
        }
    }
    for name in ["temperature", "top_p"] {
        let value = &body[name];
        if !value.is_null()
            && !value
                .as_f64()
                .is_some_and(|value| (0.0..=1.0).contains(&value))
        {
            return Err(refused(&format!("{name}: range: 0..1")));
        }
    }
    let max_tokens = match &body["max_tokens"] {
        Value::Null => return Err(refused("max_tokens: Field required")),
        value => value
            .as_u64()
            .filter(|max| *max > 0)
            .ok_or_else(|| refused("max_tokens: Input should be greater than or equal to 1"))?,
    };
    let stop = match &body["stop_sequences"] {
        Value::Null => Vec::new(),
        Value::Array(stops) => stops
            .iter()
            .filter_map(|stop| stop.as_str().map(str::to_owned))
            .collect(),
        _ => return Err(refused("stop_sequences: Input should be a valid list")),
    };
    if let Some(index) = stop.iter().position(|stop| stop.trim().is_empty()) {
        let message =
            format!("stop_sequences.{index}: each stop sequence must contain non-whitespace");
        return Err(refused(&message));
    }
    let mut tools = Vec::new();
    for (index, tool) in body["tools"].as_array().into_iter().flatten().enumerate() {
        let name = tool["name"]
            .as_str()
            .ok_or_else(|| refused(&format!("tools.{index}.custom.name: Field required")))?;
        if !tool["input_schema"].is_object() {
            return Err(refused(&format!(
                "tools.{index}.custom.input_schema: Field required"
            )));
        }
        tools.push(Tool {
            name: name.to_owned(),
            schema: tool["input_schema"].clone(),
        });
    }
    let choice = &body["tool_choice"];
    let tool_choice = match choice["type"].as_str() {
        None if choice.is_null() => ToolChoice::Auto,
        Some("auto") => ToolChoice::Auto,
        Some("none") => ToolChoice::Never,
        Some("any") => ToolChoice::Required,
        Some("tool") => ToolChoice::Named(choice["name"].as_str().unwrap_or_default().to_owned()),
        _ => {
            return Err(refused(
                "tool_choice: Input tag does not match any of the expected tags: 'auto', 'any', 'tool', 'none'",
            ));
        }
    };
    let format = &body["output_config"]["format"];
    let shape = match format["type"].as_str() {
        None => Shape::Text,
        Some("json_schema") if format["schema"].is_object() => {
            Shape::Schema(format["schema"].clone())
        }
        Some(_) => {
            return Err(refused(
                "output_config.format: Input should be a json_schema with a schema",
            ));
        }
    };
    Ok(Asked {
        turns: turns(body)?,
        max_tokens: Some(max_tokens),
        stop,
        tools,
        tool_choice,
        shape,
    })
}

/// System prompt and messages as turns. Results of tools are turns of their own.
fn turns(body: &Value) -> Result<Vec<Turn>, Reply> {
    let mut turns = Vec::new();
    match &body["system"] {
        Value::Null => {}
        Value::String(text) => turns.push(Turn::new("system", text)),
        blocks @ Value::Array(_) => turns.push(Turn::new(
            "system",
            &content(blocks, "system", &mut Vec::new())?,
        )),
        _ => return Err(refused("system: Input should be a valid string")),
    }
    let messages = body["messages"]
        .as_array()
        .ok_or_else(|| refused("messages: Field required"))?;
    if messages.is_empty() {
        return Err(refused("messages: at least one message is required"));
    }
    let mut open_calls: Vec<String> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let role = message["role"].as_str().unwrap_or_default();
        let after_user = index > 0 && messages[index - 1]["role"] == "user";
        let refusal = match role {
            "user" | "assistant" => None,
            "system" if index > 0 && body["model"].as_str().is_some_and(is_old) => Some(format!(
                "messages.{index}: role 'system' is not supported on this model"
            )),
            "system" if after_user => None,
            _ => Some(format!(
                "messages: Unexpected role \"{role}\". The Messages API accepts a top-level `system` parameter, not \"system\" as an input message role."
            )),
        };
        if let Some(message) = refusal {
            return Err(refused(&message));
        }
        let path = format!("messages.{index}.content");
        let mut results = Vec::new();
        let text = content(&message["content"], &path, &mut results)?;
        let last_assistant = role == "assistant" && index + 1 == messages.len();
        if text.is_empty() && results.is_empty() && !last_assistant {
            return Err(refused(&format!(
                "messages.{index}: all messages must have non-empty content except for the optional final assistant message"
            )));
        }
        for (id, result) in results {
            if !open_calls.contains(&id) {
                let message = format!(
                    "{path}.0: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
                );
                return Err(refused(&message));
            }
            turns.push(Turn::new("tool", &result));
        }
        open_calls = message["content"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|block| block["type"] == "tool_use")
            .filter_map(|block| block["id"].as_str().map(str::to_owned))
            .collect();
        if !text.is_empty() {
            turns.push(Turn::new(role, &text));
        }
    }
    Ok(turns)
}

/// All text of a content, then calls and tags of images. Tool results go to `results`.
fn content(
    content: &Value,
    path: &str,
    results: &mut Vec<(String, String)>,
) -> Result<String, Reply> {
    let blocks = match content {
        Value::String(text) => return Ok(text.clone()),
        Value::Array(blocks) => blocks,
        _ => return Err(refused(&format!("{path}: Input should be a valid string"))),
    };
    let mut text = String::new();
    let mut rest = String::new();
    for (index, block) in blocks.iter().enumerate() {
        let missing = |field: &str| refused(&format!("{path}.{index}.{field}: Field required"));
        match block["type"].as_str() {
            Some("text") => {
                let piece = block["text"].as_str().ok_or_else(|| missing("text.text"))?;
                if piece.is_empty() {
                    return Err(refused("messages: text content blocks must be non-empty"));
                }
                text.push_str(piece);
            }
            Some("image") => {
                let tag = image(&block["source"]).ok_or_else(|| missing("image.source"))?;
                rest.push_str(&tag);
            }
            Some("tool_use") => {
                let name = block["name"]
                    .as_str()
                    .ok_or_else(|| missing("tool_use.name"))?;
                rest.push_str(&call_text(name, &block["input"]));
            }
            Some("tool_result") => {
                let id = block["tool_use_id"]
                    .as_str()
                    .ok_or_else(|| missing("tool_result.tool_use_id"))?;
                let result = match &block["content"] {
                    Value::Null => String::new(),
                    inner => self::content(
                        inner,
                        &format!("{path}.{index}.tool_result.content"),
                        &mut Vec::new(),
                    )?,
                };
                results.push((id.to_owned(), result));
            }
            Some("thinking" | "redacted_thinking") => {}
            _ => {
                let message = format!(
                    "{path}.{index}: Input tag '{}' found using 'type' does not match any of the expected tags",
                    block["type"].as_str().unwrap_or_default()
                );
                return Err(refused(&message));
            }
        }
    }
    Ok(text + &rest)
}

fn image(source: &Value) -> Option<String> {
    use base64::Engine as _;
    match source["type"].as_str()? {
        "base64" => {
            source["media_type"].as_str()?;
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(source["data"].as_str()?)
                .ok()?;
            Some(image_tag(&bytes))
        }
        "url" => Some(image_tag(source["url"].as_str()?.as_bytes())),
        _ => None,
    }
}
