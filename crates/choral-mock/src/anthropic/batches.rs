//! `/v1/messages/batches`: create, retrieve, list, cancel, results, delete.
//!
//! A batch is in progress for two steps and then ended; a cancelled one is canceling for
//! one. What was not done then is canceled or expired, row by row. Results are in no
//! particular order, as the vendor says.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri, header};
use serde_json::{Value, json};

use super::{listed, messages, parsed, refused, version};
use crate::answer::short_digest;
use crate::app::{App, BatchEnd, lock};
use crate::batch::{self, Progress};
use crate::fault::{Fault, Script};
use crate::reply::{Body, Reply};
use crate::time;
use crate::vendor::{Vendor, anthropic_error};

const WINDOW_SECONDS: u64 = 86_400;
const MAX_ROWS: usize = 100_000;
const MAX_ID_LENGTH: usize = 64;
/// The step in which a batch is over.
const ENDED: u32 = 2;

#[derive(Debug, Default)]
pub(crate) struct MessageBatches {
    batches: Vec<Batch>,
    made: u64,
}

#[derive(Debug)]
struct Batch {
    object: Value,
    version: String,
    rows: Vec<(String, Value)>,
    progress: Progress,
    end: BatchEnd,
    results: Option<String>,
}

pub(crate) async fn create(State(app): State<Arc<App>>, headers: HeaderMap, body: Bytes) -> Reply {
    make(&app, &headers, &body).unwrap_or_else(|refusal| refusal)
}

fn make(app: &App, headers: &HeaderMap, body: &Bytes) -> Result<Reply, Reply> {
    let version = version(headers)?;
    let body = parsed(body)?;
    let requests = body["requests"]
        .as_array()
        .ok_or_else(|| refused("requests: Field required"))?;
    if requests.is_empty() || requests.len() > MAX_ROWS {
        let message = format!("requests: List should have from 1 to {MAX_ROWS} items");
        return Err(refused(&message));
    }
    let mut rows = Vec::with_capacity(requests.len());
    let mut seen = HashSet::new();
    for (index, request) in requests.iter().enumerate() {
        let id = request["custom_id"].as_str().unwrap_or_default();
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
        if id.is_empty() || id.len() > MAX_ID_LENGTH || !id.chars().all(is_plain) {
            let message = format!(
                "requests.{index}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'"
            );
            return Err(refused(&message));
        }
        if !seen.insert(id) {
            let message = format!("requests.{index}.custom_id: Duplicate custom_id: {id}");
            return Err(refused(&message));
        }
        if !request["params"].is_object() {
            return Err(refused(&format!("requests.{index}.params: Field required")));
        }
        rows.push((id.to_owned(), request["params"].clone()));
    }
    let mut store = lock(&app.message_batches);
    store.made += 1;
    let now = time::unix_now();
    let object = json!({
        "id": format!("msgbatch_{:024x}", store.made),
        "type": "message_batch",
        "processing_status": "in_progress",
        "request_counts": {
            "processing": rows.len(), "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0,
        },
        "ended_at": null,
        "created_at": time::rfc3339(now),
        "expires_at": time::rfc3339(now + WINDOW_SECONDS),
        "archived_at": null,
        "cancel_initiated_at": null,
        "results_url": null,
    });
    // The vendor's batches have no metadata of their own: a row's says how they end.
    let end = batch::end(&rows[0].1["metadata"]["user_id"], app.settings.batch_end);
    let reply = Reply::ok(&object);
    let version = version.to_owned();
    store.batches.push(Batch {
        object,
        version,
        rows,
        progress: Progress::new(),
        end,
        results: None,
    });
    Ok(reply)
}

pub(crate) async fn get(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Reply {
    with(&app, &headers, &id, |batch| {
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default();
        batch.poll(&app, host);
        Reply::ok(&batch.object)
    })
}

pub(crate) async fn cancel(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Reply {
    with(&app, &headers, &id, |batch| {
        if batch.results.is_some() {
            return refused("Batch has already ended and cannot be canceled.");
        }
        batch.progress.cancel();
        batch.object["processing_status"] = json!("canceling");
        batch.object["cancel_initiated_at"] = json!(time::rfc3339(time::unix_now()));
        Reply::ok(&batch.object)
    })
}

pub(crate) async fn results(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Reply {
    with(&app, &headers, &id, |batch| {
        let results = batch.results.as_ref().ok_or_else(|| {
            let message = format!("Batch {id} has no available results.");
            Reply::json(404, &anthropic_error(404, &message))
        });
        results.map_or_else(
            |refusal| refusal,
            |results| Reply::bytes(200, "application/x-jsonl", results.clone()),
        )
    })
}

pub(crate) async fn list(State(app): State<Arc<App>>, headers: HeaderMap, uri: Uri) -> Reply {
    let page = || {
        version(&headers)?;
        let store = lock(&app.message_batches);
        let objects = store
            .batches
            .iter()
            .rev()
            .map(|batch| batch.object.clone())
            .collect();
        Ok(Reply::ok(&listed(
            objects,
            uri.query().unwrap_or_default(),
        )?))
    };
    page().unwrap_or_else(|refusal: Reply| refusal)
}

pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Reply {
    let reply = with(&app, &headers, &id, |batch| match batch.results {
        Some(_) => Reply::ok(&json!({ "id": id, "type": "message_batch_deleted" })),
        None => refused("Batch is still in progress and cannot be deleted."),
    });
    if reply.status == 200 {
        lock(&app.message_batches)
            .batches
            .retain(|batch| batch.object["id"] != *id);
    }
    reply
}

/// Does something with a batch that exists.
fn with(app: &App, headers: &HeaderMap, id: &str, act: impl FnOnce(&mut Batch) -> Reply) -> Reply {
    if let Err(refusal) = version(headers) {
        return refusal;
    }
    let mut store = lock(&app.message_batches);
    let batch = store
        .batches
        .iter_mut()
        .find(|batch| batch.object["id"] == *id);
    let missing = || {
        let message = format!("No message batch found with id {id}.");
        Reply::json(404, &anthropic_error(404, &message))
    };
    batch.map_or_else(missing, act)
}

impl Batch {
    fn poll(&mut self, app: &App, host: &str) {
        if self.results.is_some() {
            return;
        }
        self.progress.poll(app.settings.batch_pace, Instant::now());
        match self.progress.cancelled_at {
            Some(step) if self.progress.step > 0 => {
                let done = if step > 0 {
                    self.rows.len().div_ceil(2)
                } else {
                    0
                };
                self.finish(app, host, done, "canceled");
            }
            None if self.progress.step >= ENDED => {
                let expired = self.end == BatchEnd::Expired;
                let done = if expired {
                    self.rows.len().div_ceil(2)
                } else {
                    self.rows.len()
                };
                self.finish(app, host, done, "expired");
            }
            _ => {}
        }
    }

    /// Answers the first `done` rows; the others are `rest`.
    fn finish(&mut self, app: &App, host: &str, done: usize, rest: &str) {
        let mut lines = Vec::with_capacity(self.rows.len());
        let mut counts = json!({
            "processing": 0, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0,
        });
        for (index, (custom_id, params)) in self.rows.iter().enumerate() {
            let result = if index >= done {
                json!({ "type": rest })
            } else if self.end == BatchEnd::Failed {
                errored(anthropic_error(500, "Internal server error"))
            } else {
                self.answer(app, params)
            };
            let kind = result["type"].as_str().unwrap_or_default();
            counts[kind] = json!(counts[kind].as_u64().unwrap_or(0) + 1);
            lines.push(json!({ "custom_id": custom_id, "result": result }));
        }
        lines.sort_by_key(|line| short_digest(line["custom_id"].to_string().as_bytes()));
        let mut text = String::new();
        for line in lines {
            let _ = writeln!(text, "{line}");
        }
        let id = self.object["id"].as_str().unwrap_or_default();
        let url = format!("http://{host}/v1/messages/batches/{id}/results");
        self.object["results_url"] = json!(url);
        self.object["processing_status"] = json!("ended");
        self.object["ended_at"] = json!(time::rfc3339(time::unix_now()));
        self.object["request_counts"] = counts;
        self.results = Some(text);
    }

    /// One row's result. A status in its prompt's marker is what it gets.
    fn answer(&self, app: &App, params: &Value) -> Value {
        let script = Script::in_text(&params.to_string())
            .and_then(Result::ok)
            .unwrap_or_default();
        let reply = match script.at(0) {
            Fault::Status(code, _) => Vendor::Anthropic.injected(code, None),
            _ if params["stream"] == json!(true) => {
                refused("stream: streaming is not supported in batches")
            }
            _ => messages::create(app, &self.version, params).unwrap_or_else(|refusal| refusal),
        };
        let body = match &reply.body {
            Body::Whole(bytes) => serde_json::from_slice(bytes).unwrap_or(Value::Null),
            Body::Frames(_) => Value::Null,
        };
        if reply.status == 200 {
            json!({ "type": "succeeded", "message": body })
        } else {
            errored(body)
        }
    }
}

fn errored(error: Value) -> Value {
    json!({ "type": "errored", "error": error })
}
