//! `/v1/batches`: create, retrieve, list, cancel.
//!
//! A batch is validating, in progress with nothing and then with half of its rows done,
//! finalizing, and completed, failed, expired or cancelled. Rows are answered by the
//! endpoints' own code. Output files are in no particular order, as the vendor says.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use serde_json::{Value, json};

use super::files::{Page, listed};
use super::{parsed, refused, run};
use crate::answer::short_digest;
use crate::app::{App, BatchEnd, lock};
use crate::batch::{self, Progress};
use crate::fault::{Fault, Script};
use crate::reply::{Body, Reply};
use crate::time;
use crate::vendor::{Vendor, openai_error};

/// Endpoints that take batches, of those that the mock has.
const ENDPOINTS: [&str; 4] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/embeddings",
];
const WINDOW_SECONDS: u64 = 86_400;
const MAX_ROWS: usize = 50_000;
const DEFAULT_PAGE: usize = 20;

const IN_PROGRESS: u32 = 1;
const HALF_DONE: u32 = 2;
const FINALIZING: u32 = 3;
const ENDED: u32 = 4;

#[derive(Debug, Default)]
pub(crate) struct Batches(Vec<Batch>);

#[derive(Debug)]
struct Batch {
    /// What clients see; kept up to date.
    object: Value,
    input: Bytes,
    rows: Vec<Row>,
    progress: Progress,
    end: BatchEnd,
    over: bool,
}

#[derive(Debug)]
struct Row {
    custom_id: String,
    body: Value,
}

pub(crate) async fn create(State(app): State<Arc<App>>, body: Bytes) -> Reply {
    make(&app, &body).unwrap_or_else(|refusal| refusal)
}

fn make(app: &App, body: &Bytes) -> Result<Reply, Reply> {
    let body = parsed(body)?;
    let text = |name: &str| {
        body[name].as_str().ok_or_else(|| {
            let message = format!("Missing required parameter: '{name}'.");
            refused(&message, name, "missing_required_parameter")
        })
    };
    let (file, endpoint, window) = (
        text("input_file_id")?,
        text("endpoint")?,
        text("completion_window")?,
    );
    if !ENDPOINTS.contains(&endpoint) {
        let message = format!("Invalid value: '{endpoint}'. Supported values are: {ENDPOINTS:?}.");
        return Err(refused(&message, "endpoint", "invalid_value"));
    }
    if window != "24h" {
        let message = format!("Invalid value: '{window}'. Value must be '24h'.");
        return Err(refused(&message, "completion_window", "invalid_value"));
    }
    let Some(input) = lock(&app.files).batch_input(file) else {
        let message = format!("Invalid 'input_file_id': no file '{file}' with purpose 'batch'.");
        return Err(refused(&message, "input_file_id", "invalid_value"));
    };
    let mut batches = lock(&app.batches);
    let created = time::unix_now();
    let mut object = json!({
        "id": format!("batch_{:024x}", batches.0.len() + 1),
        "object": "batch",
        "endpoint": endpoint,
        "model": null,
        "errors": null,
        "input_file_id": file,
        "completion_window": window,
        "status": "validating",
        "output_file_id": null,
        "error_file_id": null,
        "created_at": created,
        "expires_at": created + WINDOW_SECONDS,
        "request_counts": { "total": 0, "completed": 0, "failed": 0 },
        "usage": null,
        "metadata": body["metadata"],
    });
    for moment in [
        "in_progress",
        "finalizing",
        "completed",
        "failed",
        "expired",
        "cancelling",
        "cancelled",
    ] {
        object[format!("{moment}_at")] = Value::Null;
    }
    let end = batch::end(&body["metadata"]["mock_end"], app.settings.batch_end);
    let reply = Reply::ok(&object);
    batches.0.push(Batch {
        object,
        input,
        rows: Vec::new(),
        progress: Progress::new(),
        end,
        over: false,
    });
    Ok(reply)
}

pub(crate) async fn get(State(app): State<Arc<App>>, Path(id): Path<String>) -> Reply {
    let mut batches = lock(&app.batches);
    match batches.find(&id) {
        Ok(batch) => {
            batch.poll(&app);
            Reply::ok(&batch.object)
        }
        Err(refusal) => refusal,
    }
}

pub(crate) async fn cancel(State(app): State<Arc<App>>, Path(id): Path<String>) -> Reply {
    let mut batches = lock(&app.batches);
    match batches.find(&id) {
        Ok(batch) if batch.over => {
            let message = format!("Cannot cancel a batch with status '{}'.", batch.status());
            Reply::json(409, &openai_error(409, &message, None, None))
        }
        Ok(batch) => {
            batch.progress.cancel();
            batch.enter("cancelling");
            Reply::ok(&batch.object)
        }
        Err(refusal) => refusal,
    }
}

pub(crate) async fn list(State(app): State<Arc<App>>, Query(page): Query<Page>) -> Reply {
    let batches = lock(&app.batches);
    let objects = batches
        .0
        .iter()
        .rev()
        .map(|batch| batch.object.clone())
        .collect();
    Reply::ok(&listed(
        objects,
        page.after.as_deref(),
        page.limit.unwrap_or(DEFAULT_PAGE),
    ))
}

impl Batches {
    fn find(&mut self, id: &str) -> Result<&mut Batch, Reply> {
        self.0
            .iter_mut()
            .find(|batch| batch.object["id"] == *id)
            .ok_or_else(|| {
                let message = format!("No batch found with id '{id}'.");
                Reply::json(404, &openai_error(404, &message, None, None))
            })
    }
}

impl Batch {
    fn status(&self) -> String {
        self.object["status"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    fn enter(&mut self, status: &str) {
        self.object["status"] = json!(status);
        if status != "validating" {
            self.object[format!("{status}_at")] = json!(time::unix_now());
        }
    }

    /// Moves on, if it is time, through every state on the way.
    fn poll(&mut self, app: &App) {
        if self.over {
            return;
        }
        let before = self.progress.step;
        self.progress.poll(app.settings.batch_pace, Instant::now());
        if let Some(step) = self.progress.cancelled_at {
            if self.progress.step > 0 {
                let done = if step >= HALF_DONE {
                    self.rows.len().div_ceil(2)
                } else {
                    0
                };
                self.finish(app, "cancelled", done);
            }
            return;
        }
        for step in before + 1..=self.progress.step.min(ENDED) {
            self.enter_step(app, step);
            if self.over {
                return;
            }
        }
    }

    fn enter_step(&mut self, app: &App, step: u32) {
        match step {
            IN_PROGRESS => match self.validate() {
                Ok(rows) => {
                    self.object["request_counts"]["total"] = json!(rows.len());
                    self.object["model"] = rows
                        .first()
                        .map_or(Value::Null, |row| row.body["model"].clone());
                    self.rows = rows;
                    self.enter("in_progress");
                }
                Err(errors) => self.fail(errors),
            },
            HALF_DONE => {
                if self.end == BatchEnd::Failed {
                    let message = "Enqueued token limit reached. Please try again once some in_progress batches have been completed.";
                    self.fail(vec![error("token_limit_exceeded", message, None)]);
                } else {
                    self.object["request_counts"]["completed"] = json!(self.rows.len() / 2);
                }
            }
            FINALIZING => self.enter("finalizing"),
            _ if self.end == BatchEnd::Expired => {
                self.finish(app, "expired", self.rows.len().div_ceil(2));
            }
            _ => self.finish(app, "completed", self.rows.len()),
        }
    }

    fn fail(&mut self, errors: Vec<Value>) {
        self.object["errors"] = json!({ "object": "list", "data": errors });
        self.enter("failed");
        self.over = true;
    }

    /// The rows of the input file, or all that is wrong with it.
    fn validate(&self) -> Result<Vec<Row>, Vec<Value>> {
        let endpoint = &self.object["endpoint"];
        let text = String::from_utf8_lossy(&self.input);
        let mut rows = Vec::new();
        let mut errors = Vec::new();
        let mut seen = HashSet::new();
        for (number, line) in text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
        {
            let number = Some(number + 1);
            let Ok(row) = serde_json::from_str::<Value>(line) else {
                errors.push(error(
                    "invalid_json_line",
                    "This line is not parseable as valid JSON.",
                    number,
                ));
                continue;
            };
            let Some(custom_id) = row["custom_id"].as_str() else {
                errors.push(error(
                    "missing_required_parameter",
                    "Missing required parameter: 'custom_id'.",
                    number,
                ));
                continue;
            };
            if !seen.insert(custom_id.to_owned()) {
                let message = format!(
                    "The custom_id '{custom_id}' for this request is a duplicate of another request."
                );
                errors.push(error("duplicate_custom_id", &message, number));
            }
            if row["method"] != "POST" {
                errors.push(error(
                    "invalid_method",
                    "Invalid value for 'method': only POST is supported.",
                    number,
                ));
            }
            if row["url"] != *endpoint {
                let message =
                    "The URL provided for this request does not match the batch endpoint.";
                errors.push(error("invalid_url", message, number));
            }
            if !row["body"].is_object() {
                errors.push(error(
                    "missing_required_parameter",
                    "Missing required parameter: 'body'.",
                    number,
                ));
            }
            rows.push(Row {
                custom_id: custom_id.to_owned(),
                body: row["body"].clone(),
            });
        }
        if rows.is_empty() && errors.is_empty() {
            errors.push(error("empty_file", "The input file is empty.", None));
        }
        if rows.len() > MAX_ROWS {
            let message = format!(
                "The input file has {} requests, more than {MAX_ROWS}.",
                rows.len()
            );
            errors.push(error("too_many_tasks", &message, None));
        }
        if errors.is_empty() {
            Ok(rows)
        } else {
            Err(errors)
        }
    }

    /// Answers the first `done` rows, and says of the others why they were not.
    fn finish(&mut self, app: &App, status: &str, done: usize) {
        let endpoint = self.object["endpoint"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let id = self.object["id"].as_str().unwrap_or_default().to_owned();
        let (mut outputs, mut errors) = (Vec::new(), Vec::new());
        let (mut input_tokens, mut output_tokens) = (0, 0);
        for (index, row) in self.rows.iter().enumerate() {
            let (response, error) = if index < done {
                let (status, body) = answer(app, &endpoint, &row.body);
                let usage = &body["usage"];
                let count = |a: &str, b: &str| usage[a].as_u64().or(usage[b].as_u64()).unwrap_or(0);
                input_tokens += count("prompt_tokens", "input_tokens");
                output_tokens += count("completion_tokens", "output_tokens");
                let request_id = short_digest(row.custom_id.as_bytes());
                (
                    json!({ "status_code": status, "request_id": request_id, "body": body }),
                    Value::Null,
                )
            } else if status == "expired" {
                let message =
                    "This request could not be executed before the completion window expired.";
                (
                    Value::Null,
                    json!({ "code": "batch_expired", "message": message }),
                )
            } else {
                let message = "This request was not executed because the batch was cancelled.";
                (
                    Value::Null,
                    json!({ "code": "batch_cancelled", "message": message }),
                )
            };
            let good = response["status_code"] == 200;
            let line = json!({
                "id": format!("batch_req_{}", short_digest(format!("{id} {}", row.custom_id).as_bytes())),
                "custom_id": row.custom_id,
                "response": response,
                "error": error,
            });
            if good {
                outputs.push(line);
            } else {
                errors.push(line);
            }
        }
        let file = |name: &str, mut lines: Vec<Value>| {
            if lines.is_empty() {
                return Value::Null;
            }
            lines.sort_by_key(|line| line["id"].to_string());
            let mut text = String::new();
            for line in lines {
                let _ = writeln!(text, "{line}");
            }
            json!(lock(&app.files).add(&format!("{id}_{name}.jsonl"), "batch_output", text.into()))
        };
        self.object["request_counts"]["completed"] = json!(outputs.len());
        self.object["request_counts"]["failed"] = json!(errors.len());
        self.object["output_file_id"] = file("output", outputs);
        self.object["error_file_id"] = file("error", errors);
        self.object["usage"] = json!({
            "input_tokens": input_tokens,
            "input_tokens_details": { "cached_tokens": 0 },
            "output_tokens": output_tokens,
            "output_tokens_details": { "reasoning_tokens": 0 },
            "total_tokens": input_tokens + output_tokens,
        });
        self.enter(status);
        self.over = true;
    }
}

/// One row's status and body. A status in its prompt's marker is what it gets.
fn answer(app: &App, endpoint: &str, body: &Value) -> (u16, Value) {
    let script = Script::in_text(&body.to_string())
        .and_then(Result::ok)
        .unwrap_or_default();
    let reply = match script.at(0) {
        Fault::Status(code, _) => Vendor::OpenAi.injected(code, None),
        _ if body["stream"] == json!(true) => refused(
            "Streaming is not supported in the Batch API.",
            "stream",
            "unsupported_value",
        ),
        _ => run(app, endpoint, body).unwrap_or_else(|refusal| refusal),
    };
    let body = match &reply.body {
        Body::Whole(bytes) => serde_json::from_slice(bytes).unwrap_or(Value::Null),
        Body::Frames(_) => Value::Null,
    };
    (reply.status, body)
}

fn error(code: &str, message: &str, line: Option<usize>) -> Value {
    json!({ "code": code, "message": message, "line": line, "param": null })
}
