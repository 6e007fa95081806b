//! OpenAI's Batch service: a file goes up, a batch is made of it, files come down.
//!
//! Source: OpenAI's API reference, "Batch" and "Files".

use super::explain;
use crate::batches::{Entry, in_order, lines, made, making, readable};
use crate::call::{Body, Call};
use crate::protocol::{count, json, string};
use crate::remote::Shared;
use choral::provider::{
    BatchCounts, BatchLimits, BatchState, BatchStatus, BatchTicket, ErrorKind, GenerateError,
    RemoteOutcome,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// Most requests in a batch, and most bytes in its file.
pub(crate) const LIMITS: BatchLimits = BatchLimits {
    max_requests: 50_000,
    max_bytes: 200_000_000,
};

pub(crate) async fn submit(
    shared: &Shared,
    entries: Vec<Entry>,
) -> Result<BatchTicket, GenerateError> {
    let too_large = |what: String| {
        let message = format!("{what}; make several batches of it");
        Err(GenerateError::invalid("requests", message).with_provider(shared.kind.name()))
    };
    let BatchLimits {
        max_requests,
        max_bytes,
    } = LIMITS;
    if entries.len() > max_requests {
        let found = entries.len();
        return too_large(format!("{found} requests, expected at most {max_requests}"));
    }
    let endpoint = format!("/v1/{}", entries[0].path);
    let mut file = Vec::new();
    let mut request_ids = Vec::with_capacity(entries.len());
    for entry in entries {
        file.extend_from_slice(&line(&entry));
        if file.len() > max_bytes {
            return too_large(format!("a file of more than {max_bytes} bytes"));
        }
        request_ids.push(entry.id);
    }
    // An upload that nobody uses costs nothing: it may be tried again.
    let upload = Body::Upload {
        fields: vec![("purpose", "batch".to_owned())],
        name: "file",
        file_name: "batch.jsonl",
        bytes: file.into(),
    };
    let upload = Call::new(Method::POST, shared.url("files"), upload);
    let uploaded = shared.fetch_json(&upload).await?;
    let told = |error| shared.client.told(error, 1);
    let file_id = string(&uploaded, "id").map_err(told)?.to_owned();
    let body = json!({
        "input_file_id": file_id, "endpoint": endpoint, "completion_window": "24h",
    });
    let mut create = making(shared.post("batches", &body));
    create.idempotency_key = Some(crate::retry::random_key());
    let id = made(shared, &create).await?;
    Ok(BatchTicket {
        provider: shared.kind.name().to_owned(),
        model: shared.model.clone(),
        id,
        input_file_id: Some(file_id),
        request_ids,
    })
}

/// A request's line in the file.
pub(crate) fn line(entry: &Entry) -> Vec<u8> {
    let url = format!("/v1/{}", entry.path);
    let line = json!({
        "custom_id": entry.id, "method": "POST", "url": url, "body": entry.body,
    });
    let mut line = line.to_string().into_bytes();
    line.push(b'\n');
    line
}

async fn batch(shared: &Shared, ticket: &BatchTicket) -> Result<Value, GenerateError> {
    let call = shared.get("batches").below(&[&ticket.id]);
    shared.fetch_json(&call).await
}

pub(crate) async fn status(
    shared: &Shared,
    ticket: &BatchTicket,
) -> Result<BatchStatus, GenerateError> {
    read_status(shared, &batch(shared, ticket).await?)
}

pub(crate) async fn cancel(
    shared: &Shared,
    ticket: &BatchTicket,
) -> Result<BatchStatus, GenerateError> {
    let call = shared.post("batches", &json!({}));
    let call = call.below(&[&ticket.id, "cancel"]);
    read_status(shared, &shared.fetch_json(&call).await?)
}

fn read_status(shared: &Shared, batch: &Value) -> Result<BatchStatus, GenerateError> {
    let state = match string(batch, "status").map_err(|error| shared.client.told(error, 1))? {
        "validating" => BatchState::Validating,
        "finalizing" => BatchState::Finalizing,
        "cancelling" => BatchState::Cancelling,
        "completed" => BatchState::Completed,
        "failed" => BatchState::Failed,
        "expired" => BatchState::Expired,
        "cancelled" => BatchState::Cancelled,
        // `in_progress`, or what may be added: it has not ended.
        _ => BatchState::InProgress,
    };
    let counts = &batch["request_counts"];
    let errors = batch["errors"]["data"].as_array().into_iter().flatten();
    let errors = errors.map(|error| {
        let text = error["message"].as_str().unwrap_or("no reason given");
        let text = shared.client.quoted(text);
        match error["line"].as_u64() {
            Some(line) => format!("line {line}: {text}"),
            None => text,
        }
    });
    Ok(BatchStatus {
        state,
        counts: BatchCounts {
            total: count(&counts["total"]),
            completed: count(&counts["completed"]),
            failed: count(&counts["failed"]),
        },
        errors: errors.collect(),
    })
}

pub(crate) async fn results(
    shared: &Shared,
    ticket: &BatchTicket,
) -> Result<Vec<RemoteOutcome>, GenerateError> {
    let batch = batch(shared, ticket).await?;
    let status = read_status(shared, &batch)?;
    let name = shared.kind.name();
    let missing = match status.state {
        BatchState::Completed => {
            GenerateError::new(ErrorKind::Server, "the batch has no outcome for it")
        }
        BatchState::Expired => GenerateError::new(ErrorKind::Expired, "the batch expired first"),
        BatchState::Cancelled => GenerateError::cancelled(),
        BatchState::Failed => {
            let reasons = status.errors.join("; ");
            let message = format!("the batch was refused: {reasons}");
            GenerateError::new(ErrorKind::InvalidRequest, message)
        }
        _ => {
            let message = "the batch has not ended";
            return Err(GenerateError::invalid("ticket", message).with_provider(name));
        }
    };
    let mut outcomes = Vec::new();
    for file in ["output_file_id", "error_file_id"] {
        let Some(id) = batch[file].as_str().filter(|id| !id.is_empty()) else {
            continue;
        };
        let mut call = shared.get("files").below(&[id, "content"]);
        call.max_bytes = Some(shared.client.options().max_download_bytes);
        let fetched = shared.client.fetch(&call).await?;
        let found = lines(&fetched.body);
        outcomes.extend(found.filter_map(|line| readable(shared, outcome(shared, line))));
    }
    Ok(in_order(ticket, outcomes, &missing.with_provider(name)))
}

/// One line of a file that came down.
fn outcome(shared: &Shared, line: &[u8]) -> Result<RemoteOutcome, GenerateError> {
    let line = json(line)?;
    let id = string(&line, "custom_id")?.to_owned();
    let response = &line["response"];
    let body = &response["body"];
    let status = response["status_code"].as_u64();
    let status = status.and_then(|status| u16::try_from(status).ok());
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    let result = match status {
        Some(status) if status.is_success() => {
            shared.protocol.response(body).map(|mut response| {
                response.id = Some(id.clone());
                response
            })
        }
        Some(status) => {
            let body = shared.client.quoted(&body.to_string());
            Err(explain(status, body.as_bytes()).with_status(status.as_u16()))
        }
        None => {
            let error = &line["error"];
            let code = error["code"].as_str().unwrap_or_default();
            let kind = match code {
                "batch_expired" => ErrorKind::Expired,
                "batch_cancelled" => ErrorKind::Cancelled,
                "request_timeout" => ErrorKind::Timeout,
                _ => ErrorKind::Server,
            };
            let message = error["message"].as_str().unwrap_or("no reason given");
            Err(GenerateError::new(kind, message).with_code(code))
        }
    };
    let result = result.map_err(|error| shared.client.told(error, 1));
    Ok(RemoteOutcome { id, result })
}
