//! OpenAI's API, which many servers imitate.
//!
//! Owns its routes and what its endpoints share: refusals and messages. Source: the
//! vendor's API reference, and the types of its Python SDK.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::Uri;
use axum::routing::{get, post};
use serde_json::Value;

use crate::answer::{self, Shape, Tool, ToolChoice, Turn, image_tag};
use crate::app::App;
use crate::reply::Reply;
use crate::vendor::openai_error;

pub(crate) mod batches;
mod chat;
mod completions;
pub(crate) mod files;
mod models;
mod responses;

pub(crate) use chat::token_logprob;

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/chat/completions", post(endpoint))
        .route("/v1/completions", post(endpoint))
        .route("/v1/responses", post(endpoint))
        .route("/v1/embeddings", post(endpoint))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*name}", get(models::get))
        .route("/v1/files", post(files::upload).get(files::list))
        .route("/v1/files/{id}", get(files::get).delete(files::delete))
        .route("/v1/files/{id}/content", get(files::content))
        .route("/v1/batches", post(batches::create).get(batches::list))
        .route("/v1/batches/{id}", get(batches::get))
        .route("/v1/batches/{id}/cancel", post(batches::cancel))
        .route("/api/v0/models", get(models::list_local))
        .route("/api/v0/models/{*name}", get(models::get_local))
        // The gate has read the body, and knows its own limit.
        .layer(DefaultBodyLimit::disable())
}

async fn endpoint(State(app): State<Arc<App>>, uri: Uri, body: Bytes) -> Reply {
    let answered = parsed(&body).and_then(|body| run(&app, uri.path(), &body));
    answered.unwrap_or_else(|refusal| refusal)
}

/// What an endpoint that generates or embeds answers.
fn run(app: &App, path: &str, body: &Value) -> Result<Reply, Reply> {
    match path {
        "/v1/completions" => completions::complete(app, body),
        "/v1/responses" => responses::respond(app, body),
        "/v1/embeddings" => completions::embed(app, body),
        _ => chat::complete(app, body),
    }
}

/// The body as a JSON object.
fn parsed(body: &Bytes) -> Result<Value, Reply> {
    let message = "We could not parse the JSON body of your request. (HINT: This likely means \
                   you aren't using your HTTP library correctly. The OpenAI API expects a JSON \
                   payload, but what was sent was not valid JSON.)";
    match serde_json::from_slice(body) {
        Ok(body @ Value::Object(_)) => Ok(body),
        _ => Err(Reply::json(400, &openai_error(400, message, None, None))),
    }
}

fn refused(message: &str, param: &str, code: &str) -> Reply {
    Reply::json(400, &openai_error(400, message, Some(param), Some(code)))
}

/// Refuses parameters that the vendor does not have. Servers without keys take any, as
/// local ones do.
fn check_parameters(app: &App, body: &Value, known: &[&str]) -> Result<(), Reply> {
    if app.settings.open {
        return Ok(());
    }
    let names = body
        .as_object()
        .into_iter()
        .flat_map(|object| object.keys());
    for name in names {
        if !known.contains(&name.as_str()) {
            let message = format!("Unrecognized request argument supplied: {name}");
            return Err(Reply::json(400, &openai_error(400, &message, None, None)));
        }
    }
    Ok(())
}

/// The name of a model that exists.
fn model(app: &App, body: &Value) -> Result<String, Reply> {
    let Some(name) = body["model"].as_str() else {
        let message = "you must provide a model parameter";
        return Err(Reply::json(400, &openai_error(400, message, None, None)));
    };
    if app.has_model(name) {
        return Ok(name.to_owned());
    }
    let message = format!("The model `{name}` does not exist or you do not have access to it.");
    Err(Reply::json(
        404,
        &openai_error(404, &message, None, Some("model_not_found")),
    ))
}

/// Checks a number's type and range; absent and null are fine.
fn check_number(body: &Value, name: &str, low: f64, high: f64) -> Result<(), Reply> {
    let value = &body[name];
    if value.is_null() {
        return Ok(());
    }
    let Some(number) = value.as_f64() else {
        let message =
            format!("Invalid type for '{name}': expected a number, but got {value} instead.");
        return Err(refused(&message, name, "invalid_type"));
    };
    if number > high {
        let message = format!(
            "Invalid '{name}': decimal above maximum value. Expected a value <= {high}, but got {number} instead."
        );
        return Err(refused(&message, name, "decimal_above_max_value"));
    }
    if number < low {
        let message = format!(
            "Invalid '{name}': decimal below minimum value. Expected a value >= {low}, but got {number} instead."
        );
        return Err(refused(&message, name, "decimal_below_min_value"));
    }
    Ok(())
}

/// A whole number within a range, or none.
fn whole(body: &Value, name: &str, low: u64, high: u64) -> Result<Option<u64>, Reply> {
    if body[name].is_null() {
        return Ok(None);
    }
    match body[name].as_u64() {
        Some(number) if (low..=high).contains(&number) => Ok(Some(number)),
        Some(number) => {
            let (side, code) = if number > high {
                ("above maximum", "integer_above_max_value")
            } else {
                ("below minimum", "integer_below_min_value")
            };
            let message = format!(
                "Invalid '{name}': integer {side} value. Expected a value from {low} to {high}, but got {number} instead."
            );
            Err(refused(&message, name, code))
        }
        None => {
            let message = format!(
                "Invalid type for '{name}': expected an integer, but got {} instead.",
                body[name]
            );
            Err(refused(&message, name, "invalid_type"))
        }
    }
}

/// `stop`: a string, or up to four.
fn stop_strings(body: &Value) -> Result<Vec<String>, Reply> {
    let stop = match &body["stop"] {
        Value::Null => Some(Vec::new()),
        Value::String(stop) => Some(vec![stop.clone()]),
        Value::Array(stops) if stops.len() <= 4 => stops
            .iter()
            .map(|stop| stop.as_str().map(str::to_owned))
            .collect(),
        _ => None,
    };
    stop.ok_or_else(|| {
        refused(
            "Invalid 'stop': expected a string or at most 4 strings.",
            "stop",
            "invalid_type",
        )
    })
}

/// The text of a message's `content`: all text, then a tag for every image.
fn content_text(content: &Value, path: &str) -> Result<String, Reply> {
    let parts = match content {
        Value::Null => return Ok(String::new()),
        Value::String(text) => return Ok(text.clone()),
        Value::Array(parts) => parts,
        _ => {
            let message = format!(
                "Invalid type for '{path}.content': expected one of a string or array of objects."
            );
            return Err(refused(
                &message,
                &format!("{path}.content"),
                "invalid_type",
            ));
        }
    };
    let mut text = String::new();
    let mut images = String::new();
    for (index, part) in parts.iter().enumerate() {
        let invalid = || {
            let param = format!("{path}.content[{index}]");
            refused(
                &format!("Invalid value: '{}'.", part["type"]),
                &param,
                "invalid_value",
            )
        };
        match part["type"].as_str() {
            Some("text" | "input_text" | "output_text") => {
                text.push_str(part["text"].as_str().ok_or_else(invalid)?);
            }
            Some("image_url") => {
                images.push_str(&image(
                    part["image_url"]["url"].as_str().ok_or_else(invalid)?,
                ));
            }
            Some("input_image") => {
                images.push_str(&image(part["image_url"].as_str().ok_or_else(invalid)?));
            }
            Some("refusal") => text.push_str(part["refusal"].as_str().ok_or_else(invalid)?),
            _ => return Err(invalid()),
        }
    }
    Ok(text + &images)
}

/// The tag of an image: of its bytes if they are in the URL, else of the URL.
fn image(url: &str) -> String {
    use base64::Engine as _;
    let data = url
        .strip_prefix("data:")
        .and_then(|rest| rest.split_once(";base64,"));
    let bytes =
        data.and_then(|(_, data)| base64::engine::general_purpose::STANDARD.decode(data).ok());
    image_tag(&bytes.unwrap_or_else(|| url.as_bytes().to_vec()))
}

/// Messages of a chat as turns, checked as the vendor checks them.
fn turns(messages: &Value) -> Result<Vec<Turn>, Reply> {
    let Some(messages) = messages.as_array() else {
        let message = "Missing required parameter: 'messages'.";
        return Err(refused(message, "messages", "missing_required_parameter"));
    };
    if messages.is_empty() {
        let message = "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.";
        return Err(refused(message, "messages", "empty_array"));
    }
    let mut turns: Vec<Turn> = Vec::with_capacity(messages.len());
    let mut open_calls: Vec<String> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let path = format!("messages[{index}]");
        let mut text = content_text(&message["content"], &path)?;
        let role = message["role"].as_str().unwrap_or_default();
        match role {
            "system" | "user" | "assistant" | "tool" | "developer" | "function" => {}
            _ => {
                let text = format!(
                    "Invalid value: '{role}'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'."
                );
                return Err(refused(&text, &format!("{path}.role"), "invalid_value"));
            }
        }
        if role == "tool" {
            let id = message["tool_call_id"].as_str().unwrap_or_default();
            if !open_calls.iter().any(|call| call == id) {
                let text = "Invalid parameter: messages with role 'tool' must be a response to a preceding message with 'tool_calls'.";
                return Err(refused(text, &format!("{path}.role"), "invalid_value"));
            }
        } else {
            if message["content"].is_null() && message["tool_calls"].is_null() {
                let text = format!("Missing required parameter: '{path}.content'.");
                return Err(refused(
                    &text,
                    &format!("{path}.content"),
                    "missing_required_parameter",
                ));
            }
            open_calls.clear();
        }
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            open_calls.extend(call["id"].as_str().map(str::to_owned));
            let function = &call["function"];
            text.push_str(&past_call(
                function["name"].as_str().unwrap_or_default(),
                function["arguments"].as_str().unwrap_or_default(),
            ));
        }
        let role = if role == "developer" { "system" } else { role };
        turns.push(Turn::new(role, &text));
    }
    Ok(turns)
}

/// A past call, whose arguments this vendor writes as text.
fn past_call(name: &str, arguments: &str) -> String {
    answer::call_text(name, &serde_json::from_str(arguments).unwrap_or_default())
}

/// Tools as chats (`nested`, under `function`) and responses (flat) give them.
fn tools(body: &Value, nested: bool) -> Result<(Vec<Tool>, ToolChoice), Reply> {
    let mut tools = Vec::new();
    for (index, tool) in body["tools"].as_array().into_iter().flatten().enumerate() {
        let (function, path) = if nested {
            (&tool["function"], format!("tools[{index}].function.name"))
        } else {
            (tool, format!("tools[{index}].name"))
        };
        let Some(name) = function["name"].as_str() else {
            let message = format!("Missing required parameter: '{path}'.");
            return Err(refused(&message, &path, "missing_required_parameter"));
        };
        tools.push(Tool {
            name: name.to_owned(),
            schema: function["parameters"].clone(),
        });
    }
    let choice = match &body["tool_choice"] {
        Value::Null => ToolChoice::Auto,
        Value::String(choice) if choice == "auto" => ToolChoice::Auto,
        Value::String(choice) if choice == "none" => ToolChoice::Never,
        Value::String(choice) if choice == "required" => ToolChoice::Required,
        choice => {
            let name = if nested {
                &choice["function"]["name"]
            } else {
                &choice["name"]
            };
            let Some(name) = name.as_str() else {
                return Err(refused(
                    "Invalid value for 'tool_choice'.",
                    "tool_choice",
                    "invalid_value",
                ));
            };
            ToolChoice::Named(name.to_owned())
        }
    };
    if !body["tool_choice"].is_null() && tools.is_empty() {
        let message = "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.";
        return Err(refused(message, "tool_choice", "invalid_value"));
    }
    Ok((tools, choice))
}

/// What a response format asks for. `schema` is where the schema stands.
fn shape(format: &Value, schema: &Value, param: &str, turns: &[Turn]) -> Result<Shape, Reply> {
    match format["type"].as_str() {
        None | Some("text") => Ok(Shape::Text),
        Some("json_object") => {
            // The vendor insists, since models go on writing white space otherwise.
            if turns
                .iter()
                .any(|turn| turn.text.to_lowercase().contains("json"))
            {
                return Ok(Shape::JsonObject);
            }
            let message = "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.";
            Err(refused(message, param, "invalid_value"))
        }
        Some("json_schema") if schema.is_object() => Ok(Shape::Schema(schema.clone())),
        Some("json_schema") => {
            let message = format!("Missing required parameter: '{param}.json_schema'.");
            Err(refused(&message, param, "missing_required_parameter"))
        }
        Some(other) => Err(refused(
            &format!("Invalid value: '{other}'."),
            param,
            "invalid_value",
        )),
    }
}
