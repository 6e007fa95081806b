//! Anthropic's Message Batches.
//!
//! Results are fetched from the path that the reference names and not from the URL that
//! the server sends: the key goes to no other place.

use super::{Messages, error_of};
use crate::batches::{Entry, in_order, lines, made, making, readable};
use crate::call::Body;
use crate::protocol::{Protocol, count, json, string};
use crate::remote::Shared;
use choral::provider::{
    BatchCounts, BatchLimits, BatchState, BatchStatus, BatchTicket, ErrorKind, GenerateError,
    RemoteOutcome,
};
use serde_json::{Value, json};

/// Most requests in a batch, and most bytes of them.
pub(crate) const LIMITS: BatchLimits = BatchLimits {
    max_requests: 100_000,
    max_bytes: 256_000_000,
};

/// Longest id of a request.
const MAX_ID: usize = 64;

pub(crate) async fn submit(
    shared: &Shared,
    entries: Vec<Entry>,
) -> Result<BatchTicket, GenerateError> {
    let refuse = |field: &str, message: String| {
        Err(GenerateError::invalid(field, message).with_provider(shared.kind.name()))
    };
    let BatchLimits {
        max_requests,
        max_bytes,
    } = LIMITS;
    if entries.len() > max_requests {
        let found = entries.len();
        let message = format!("{found} requests, expected at most {max_requests}");
        return refuse("requests", message);
    }
    let request_ids = entries.iter().map(|entry| entry.id.clone()).collect();
    let requests = entries.iter().map(item);
    let body = json!({"requests": requests.collect::<Vec<_>>()});
    let call = making(shared.post("v1/messages/batches", &body));
    if let Body::Json(bytes) = &call.body
        && bytes.len() > max_bytes
    {
        return refuse(
            "requests",
            format!("{} bytes, expected at most {max_bytes}", bytes.len()),
        );
    }
    let id = made(shared, &call).await?;
    Ok(BatchTicket {
        provider: shared.kind.name().to_owned(),
        model: shared.model.clone(),
        id,
        input_file_id: None,
        request_ids,
    })
}

/// A request's place in the list.
pub(crate) fn item(entry: &Entry) -> Value {
    json!({"custom_id": entry.id, "params": entry.body})
}

/// Refuses ids that Anthropic does not take.
pub(crate) fn check_id(id: &str) -> Result<(), GenerateError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if (1..=MAX_ID).contains(&id.len()) && id.chars().all(is_plain) {
        return Ok(());
    }
    let message = format!("the id `{id}`, expected 1 to {MAX_ID} letters, digits, `_` and `-`");
    Err(GenerateError::invalid("id", message))
}

pub(crate) async fn status(
    shared: &Shared,
    ticket: &BatchTicket,
) -> Result<BatchStatus, GenerateError> {
    let call = shared.get("v1/messages/batches").below(&[&ticket.id]);
    read_status(shared, &shared.fetch_json(&call).await?)
}

pub(crate) async fn cancel(
    shared: &Shared,
    ticket: &BatchTicket,
) -> Result<BatchStatus, GenerateError> {
    let call = shared.post("v1/messages/batches", &json!({}));
    let call = call.below(&[&ticket.id, "cancel"]);
    read_status(shared, &shared.fetch_json(&call).await?)
}

fn read_status(shared: &Shared, batch: &Value) -> Result<BatchStatus, GenerateError> {
    let counts = &batch["request_counts"];
    let [processing, succeeded, errored, canceled, expired] =
        ["processing", "succeeded", "errored", "canceled", "expired"]
            .map(|name| count(&counts[name]));
    let told = |error| shared.client.told(error, 1);
    let state = match string(batch, "processing_status").map_err(told)? {
        "canceling" => BatchState::Cancelling,
        "ended" if canceled > 0 => BatchState::Cancelled,
        "ended" if expired > 0 => BatchState::Expired,
        "ended" => BatchState::Completed,
        // `in_progress`, or what may be added: it has not ended.
        _ => BatchState::InProgress,
    };
    let failed = errored.saturating_add(canceled).saturating_add(expired);
    let done = succeeded.saturating_add(failed);
    Ok(BatchStatus {
        state,
        counts: BatchCounts {
            total: done.saturating_add(processing),
            completed: succeeded,
            failed,
        },
        errors: Vec::new(),
    })
}

pub(crate) async fn results(
    shared: &Shared,
    ticket: &BatchTicket,
) -> Result<Vec<RemoteOutcome>, GenerateError> {
    let name = shared.kind.name();
    if !status(shared, ticket).await?.state.is_end() {
        let message = "the batch has not ended";
        return Err(GenerateError::invalid("ticket", message).with_provider(name));
    }
    let call = shared.get("v1/messages/batches");
    let mut call = call.below(&[&ticket.id, "results"]);
    call.max_bytes = Some(shared.client.options().max_download_bytes);
    let fetched = shared.client.fetch(&call).await?;
    let outcomes = lines(&fetched.body).filter_map(|line| readable(shared, outcome(shared, line)));
    let missing = GenerateError::new(ErrorKind::Server, "the batch has no outcome for it");
    Ok(in_order(ticket, outcomes, &missing.with_provider(name)))
}

/// One line of the results.
fn outcome(shared: &Shared, line: &[u8]) -> Result<RemoteOutcome, GenerateError> {
    let line = json(line)?;
    let id = string(&line, "custom_id")?.to_owned();
    let found = &line["result"];
    let result = match string(found, "type")? {
        "succeeded" => Messages.response(&found["message"]).map(|mut response| {
            response.id = Some(id.clone());
            response
        }),
        "errored" => Err(error_of(&found["error"], ErrorKind::Server)),
        "canceled" => Err(GenerateError::cancelled()),
        "expired" => Err(GenerateError::new(
            ErrorKind::Expired,
            "the batch expired first",
        )),
        other => Err(crate::protocol::malformed(format!(
            "a result of the type `{other}`"
        ))),
    };
    let result = result.map_err(|error| shared.client.told(error, 1));
    Ok(RemoteOutcome { id, result })
}
