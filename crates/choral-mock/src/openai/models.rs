//! `GET /v1/models`, and LM Studio's `/api/v0/models` that says what is loaded.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use crate::anthropic;
use crate::app::App;
use crate::reply::Reply;
use crate::vendor::{Vendor, openai_error};

/// When all models were made.
const CREATED: u64 = 1_700_000_000;

/// The path that two vendors have.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    uri: axum::http::Uri,
) -> Reply {
    if Vendor::of(uri.path(), &headers) == Vendor::Anthropic {
        return anthropic::models(&app, &headers, uri.query().unwrap_or_default());
    }
    let data: Vec<Value> = app.settings.models.iter().map(|name| model(name)).collect();
    Reply::ok(&json!({ "object": "list", "data": data }))
}

pub(crate) async fn get(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    uri: axum::http::Uri,
    Path(name): Path<String>,
) -> Reply {
    if Vendor::of(uri.path(), &headers) == Vendor::Anthropic {
        return anthropic::model(&app, &headers, &name);
    }
    if app.has_model(&name) {
        return Reply::ok(&model(&name));
    }
    let message = format!("The model '{name}' does not exist");
    Reply::json(
        404,
        &openai_error(404, &message, Some("model"), Some("model_not_found")),
    )
}

fn model(name: &str) -> Value {
    json!({ "id": name, "object": "model", "created": CREATED, "owned_by": "mock" })
}

/// LM Studio's list. The first model of all is loaded, and each that has been asked since.
pub(crate) async fn list_local(State(app): State<Arc<App>>) -> Reply {
    let data: Vec<Value> = app
        .settings
        .models
        .iter()
        .map(|name| local(&app, name))
        .collect();
    Reply::ok(&json!({ "object": "list", "data": data }))
}

pub(crate) async fn get_local(State(app): State<Arc<App>>, Path(name): Path<String>) -> Reply {
    if app.has_model(&name) {
        return Reply::ok(&local(&app, &name));
    }
    Reply::json(
        404,
        &json!({ "error": format!("Model with key '{name}' not found.") }),
    )
}

fn local(app: &App, name: &str) -> Value {
    let asked = app.log.requests().iter().any(|request| {
        request.method == "POST" && request.json().is_some_and(|body| body["model"] == *name)
    });
    let loaded = asked
        || app
            .settings
            .models
            .first()
            .is_some_and(|first| first == name);
    let kind = if name.contains("embed") {
        "embeddings"
    } else {
        "llm"
    };
    let mut model = json!({
        "id": name,
        "object": "model",
        "type": kind,
        "publisher": "lmstudio-community",
        "arch": "qwen2",
        "compatibility_type": "gguf",
        "quantization": "Q4_K_M",
        "state": if loaded { "loaded" } else { "not-loaded" },
        "max_context_length": 32_768,
        "capabilities": ["tool_use"],
    });
    if loaded {
        model["loaded_context_length"] = json!(4096);
    }
    model
}
