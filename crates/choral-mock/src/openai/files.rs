//! `/v1/files`: upload, list, retrieve, download, delete.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::multipart::MultipartRejection;
use axum::extract::{Multipart, Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::refused;
use crate::app::{App, lock};
use crate::reply::Reply;
use crate::time;
use crate::vendor::openai_error;

const PURPOSES: [&str; 6] = [
    "assistants",
    "batch",
    "fine-tune",
    "vision",
    "user_data",
    "evals",
];
const MAX_PAGE: usize = 10_000;

/// Uploaded files, and those that batches made, by upload.
#[derive(Debug, Default)]
pub(crate) struct Files {
    files: Vec<File>,
    made: u64,
}

#[derive(Clone, Debug)]
struct File {
    id: String,
    name: String,
    purpose: String,
    created: u64,
    bytes: Bytes,
}

impl Files {
    pub(crate) fn add(&mut self, name: &str, purpose: &str, bytes: Bytes) -> String {
        self.made += 1;
        let id = format!("file-{:024x}", self.made);
        let (name, purpose) = (name.to_owned(), purpose.to_owned());
        self.files.push(File {
            id: id.clone(),
            name,
            purpose,
            created: time::unix_now(),
            bytes,
        });
        id
    }

    /// The bytes of a file for batches.
    pub(crate) fn batch_input(&self, id: &str) -> Option<Bytes> {
        let file = self
            .files
            .iter()
            .find(|file| file.id == id && file.purpose == "batch");
        file.map(|file| file.bytes.clone())
    }

    fn get(&self, id: &str) -> Result<&File, Reply> {
        self.files
            .iter()
            .find(|file| file.id == id)
            .ok_or_else(|| no_file(id))
    }
}

fn no_file(id: &str) -> Reply {
    let message = format!("No such File object: {id}");
    Reply::json(404, &openai_error(404, &message, Some("id"), None))
}

fn object(file: &File) -> Value {
    json!({
        "id": file.id,
        "object": "file",
        "bytes": file.bytes.len(),
        "created_at": file.created,
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
        "expires_at": null,
        "status_details": null,
    })
}

pub(crate) async fn upload(
    State(app): State<Arc<App>>,
    form: Result<Multipart, MultipartRejection>,
) -> Reply {
    let malformed = |_| {
        let message = "Could not parse multipart form";
        Reply::json(400, &openai_error(400, message, None, None))
    };
    let mut form = match form {
        Ok(form) => form,
        Err(error) => {
            let message = format!("Expected a multipart form: {error}");
            return Reply::json(400, &openai_error(400, &message, None, None));
        }
    };
    let mut purpose = None;
    let mut file = None;
    loop {
        let field = match form.next_field().await.map_err(malformed) {
            Ok(Some(field)) => field,
            Ok(None) => break,
            Err(refusal) => return refusal,
        };
        let name = field.name().unwrap_or_default().to_owned();
        let file_name = field.file_name().unwrap_or_default().to_owned();
        let bytes = match field.bytes().await.map_err(malformed) {
            Ok(bytes) => bytes,
            Err(refusal) => return refusal,
        };
        match name.as_str() {
            "purpose" => purpose = Some(String::from_utf8_lossy(&bytes).into_owned()),
            "file" => file = Some((file_name, bytes)),
            _ => {}
        }
    }
    let Some(purpose) = purpose else {
        return refused(
            "'purpose' is a required property",
            "purpose",
            "missing_required_parameter",
        );
    };
    let Some((name, bytes)) = file else {
        return refused(
            "'file' is a required property",
            "file",
            "missing_required_parameter",
        );
    };
    if !PURPOSES.contains(&purpose.as_str()) {
        let message = format!("'{purpose}' is not one of {PURPOSES:?} - 'purpose'");
        return refused(&message, "purpose", "invalid_value");
    }
    let is_jsonl = std::path::Path::new(&name)
        .extension()
        .is_some_and(|end| end == "jsonl");
    if purpose == "batch" && !is_jsonl {
        let message = "Invalid file format for Batch API. Must be .jsonl";
        return Reply::json(400, &openai_error(400, message, None, None));
    }
    let mut files = lock(&app.files);
    let id = files.add(&name, &purpose, bytes);
    files
        .get(&id)
        .map_or_else(|refusal| refusal, |file| Reply::ok(&object(file)))
}

pub(crate) async fn get(State(app): State<Arc<App>>, Path(id): Path<String>) -> Reply {
    lock(&app.files)
        .get(&id)
        .map_or_else(|refusal| refusal, |file| Reply::ok(&object(file)))
}

pub(crate) async fn content(State(app): State<Arc<App>>, Path(id): Path<String>) -> Reply {
    lock(&app.files).get(&id).map_or_else(
        |refusal| refusal,
        |file| Reply::bytes(200, "application/octet-stream", file.bytes.clone()),
    )
}

pub(crate) async fn delete(State(app): State<Arc<App>>, Path(id): Path<String>) -> Reply {
    let mut files = lock(&app.files);
    let before = files.files.len();
    files.files.retain(|file| file.id != id);
    if files.files.len() == before {
        return no_file(&id);
    }
    Reply::ok(&json!({ "id": id, "object": "file", "deleted": true }))
}

#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    pub(crate) after: Option<String>,
    pub(crate) limit: Option<usize>,
    order: Option<String>,
    purpose: Option<String>,
}

pub(crate) async fn list(State(app): State<Arc<App>>, Query(page): Query<Page>) -> Reply {
    let files = lock(&app.files);
    let wanted = |file: &&File| {
        page.purpose
            .as_ref()
            .is_none_or(|purpose| *purpose == file.purpose)
    };
    let mut found: Vec<Value> = files.files.iter().filter(wanted).map(object).collect();
    if page.order.as_deref() != Some("asc") {
        found.reverse();
    }
    Reply::ok(&listed(
        found,
        page.after.as_deref(),
        page.limit.unwrap_or(MAX_PAGE),
    ))
}

/// A page of objects: what comes after `after`, at most `limit`.
pub(crate) fn listed(objects: Vec<Value>, after: Option<&str>, limit: usize) -> Value {
    let start = after
        .and_then(|after| objects.iter().position(|object| object["id"] == *after))
        .map_or(0, |at| at + 1);
    let rest = &objects[start..];
    let page = &rest[..rest.len().min(limit)];
    json!({
        "object": "list",
        "data": page,
        "first_id": page.first().map(|object| object["id"].clone()),
        "last_id": page.last().map(|object| object["id"].clone()),
        "has_more": page.len() < rest.len(),
    })
}
