//! The mock's own endpoints, for tests in another process: what it saw, and forgetting.
//!
//! `GET /__mock/log`, `GET /__mock/elsewhere`, `POST /__mock/clear`. They are neither
//! recorded nor do they fail.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::app::App;

pub(crate) async fn log(State(app): State<Arc<App>>) -> Json<Value> {
    Json(app.log.summary())
}

pub(crate) async fn elsewhere_log(State(app): State<Arc<App>>) -> Json<Value> {
    Json(
        app.elsewhere_log
            .as_ref()
            .map_or(Value::Null, crate::Log::summary),
    )
}

pub(crate) async fn clear(State(app): State<Arc<App>>) -> Json<Value> {
    app.log.clear();
    if let Some(log) = &app.elsewhere_log {
        log.clear();
    }
    Json(json!({}))
}
