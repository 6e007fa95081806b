//! Vendors' batches: what is the same for all of them.

use super::anthropic;
use super::call::{Call, RetryScope};
use super::kind::Kind;
use super::openai;
use super::protocol::string;
use super::remote::{Remote, Shared};
use choral::provider::{
    BATCH_UNKNOWN, BatchLimits, BatchStatus, BatchTicket, BoxFuture, ErrorKind, GenerateError,
    GenerateRequest, RemoteBatch, RemoteOutcome,
};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

impl RemoteBatch for Remote {
    fn size(&self, request: &GenerateRequest) -> Result<usize, GenerateError> {
        let name = self.shared.kind.name();
        let entry = entry(&self.shared, request, 0).map_err(|error| error.with_provider(name))?;
        Ok(match self.shared.kind {
            // And a comma.
            Kind::Anthropic => anthropic::batch::item(&entry).to_string().len() + 1,
            _ => openai::batch::line(&entry).len(),
        })
    }

    fn limits(&self) -> BatchLimits {
        match self.shared.kind {
            // The list has brackets and a name.
            Kind::Anthropic => BatchLimits {
                max_bytes: anthropic::batch::LIMITS.max_bytes - 100,
                ..anthropic::batch::LIMITS
            },
            _ => openai::batch::LIMITS,
        }
    }

    fn submit(
        &self,
        requests: Vec<GenerateRequest>,
    ) -> BoxFuture<'_, Result<BatchTicket, GenerateError>> {
        self.run(|shared| async move {
            let entries = entries(&shared, requests)?;
            match shared.kind {
                Kind::Anthropic => anthropic::batch::submit(&shared, entries).await,
                _ => openai::batch::submit(&shared, entries).await,
            }
        })
    }

    fn status<'a>(
        &'a self,
        ticket: &'a BatchTicket,
    ) -> BoxFuture<'a, Result<BatchStatus, GenerateError>> {
        let ticket = ticket.clone();
        self.run(|shared| async move { status(&shared, &ticket).await })
    }

    fn results<'a>(
        &'a self,
        ticket: &'a BatchTicket,
    ) -> BoxFuture<'a, Result<Vec<RemoteOutcome>, GenerateError>> {
        let ticket = ticket.clone();
        self.run(|shared| async move {
            check_ticket(&shared, &ticket)?;
            match shared.kind {
                Kind::Anthropic => anthropic::batch::results(&shared, &ticket).await,
                _ => openai::batch::results(&shared, &ticket).await,
            }
        })
    }

    fn cancel<'a>(
        &'a self,
        ticket: &'a BatchTicket,
    ) -> BoxFuture<'a, Result<BatchStatus, GenerateError>> {
        let ticket = ticket.clone();
        self.run(|shared| async move {
            check_ticket(&shared, &ticket)?;
            match shared.kind {
                Kind::Anthropic => anthropic::batch::cancel(&shared, &ticket).await,
                _ => openai::batch::cancel(&shared, &ticket).await,
            }
        })
    }

    fn wait<'a>(
        &'a self,
        ticket: &'a BatchTicket,
        progress: &'a mut (dyn FnMut(&BatchStatus) + Send),
    ) -> BoxFuture<'a, Result<BatchStatus, GenerateError>> {
        Box::pin(async move {
            let most = self.shared.poll_interval;
            // Small batches may be done at once.
            let mut interval = most.min(Duration::from_secs(1));
            loop {
                match RemoteBatch::status(self, ticket).await {
                    Ok(status) => {
                        progress(&status);
                        if status.state.is_end() {
                            return Ok(status);
                        }
                    }
                    Err(error) if error.is_retryable() => {
                        tracing::warn!(%error, "the batch cannot be asked after now");
                    }
                    Err(error) => return Err(error),
                }
                self.run(move |_| async move {
                    tokio::time::sleep(interval).await;
                    Ok(())
                })
                .await?;
                interval = interval.mul_f64(1.5).min(most);
            }
        })
    }
}

async fn status(shared: &Shared, ticket: &BatchTicket) -> Result<BatchStatus, GenerateError> {
    check_ticket(shared, ticket)?;
    match shared.kind {
        Kind::Anthropic => anthropic::batch::status(shared, ticket).await,
        _ => openai::batch::status(shared, ticket).await,
    }
}

fn check_ticket(shared: &Shared, ticket: &BatchTicket) -> Result<(), GenerateError> {
    let name = shared.kind.name();
    if ticket.provider == name {
        return Ok(());
    }
    let message = format!("the batch is {}'s", ticket.provider);
    Err(GenerateError::new(ErrorKind::Config, message).with_provider(name))
}

/// One request of a batch, as the vendor takes it.
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) path: &'static str,
    pub(crate) body: Map<String, Value>,
}

/// Checks every request before anything is sent.
fn entries(shared: &Shared, requests: Vec<GenerateRequest>) -> Result<Vec<Entry>, GenerateError> {
    let name = shared.kind.name();
    if requests.is_empty() {
        let message = "a batch needs at least one request";
        return Err(GenerateError::invalid("requests", message).with_provider(name));
    }
    let mut seen = HashSet::new();
    let mut entries = Vec::with_capacity(requests.len());
    for (index, request) in requests.iter().enumerate() {
        let entry = entry(shared, request, index);
        let entry = entry.and_then(|entry| {
            if seen.insert(entry.id.clone()) {
                return Ok(entry);
            }
            let message = format!("the id `{}` comes twice", entry.id);
            Err(GenerateError::invalid("id", message))
        });
        entries.push(entry.map_err(|error| {
            let message = format!("request {index}: {}", error.message());
            let field = error.field().unwrap_or("requests");
            let error = GenerateError::new(error.kind(), message);
            error.with_field(field).with_provider(name)
        })?);
    }
    Ok(entries)
}

fn entry(shared: &Shared, request: &GenerateRequest, index: usize) -> Result<Entry, GenerateError> {
    let name = shared.kind.name();
    shared.capabilities.check(name, request)?;
    let id = request.id.clone().unwrap_or_else(|| index.to_string());
    if shared.kind == Kind::Anthropic {
        anthropic::batch::check_id(&id)?;
    }
    Ok(Entry {
        id,
        path: shared.protocol.path(request),
        body: shared.protocol.body(&shared.model, request, false)?,
    })
}

/// A call that makes something: if nobody knows whether it was made, it is not made again.
pub(crate) fn making(mut call: Call) -> Call {
    call.retry = RetryScope::Refused;
    call
}

/// Makes a batch, and returns its id.
pub(crate) async fn made(shared: &Shared, call: &Call) -> Result<String, GenerateError> {
    let made = shared.fetch_json(call).await.and_then(|batch| {
        let id = string(&batch, "id").map(str::to_owned);
        id.map_err(|error| shared.client.told(error, 1))
    });
    made.map_err(|error| match error.status() {
        // The server has read it, and says that it did nothing.
        Some(status) if (400..500).contains(&status) && status != 408 && status != 409 => error,
        Some(503 | 529) => error,
        status => {
            let found = error.message();
            let message = format!("{found}; the batch may have been made: see the vendor's list");
            let unknown = GenerateError::new(error.kind(), message)
                .with_provider(shared.kind.name())
                .with_attempts(error.attempts())
                .with_code(BATCH_UNKNOWN)
                .not_retryable();
            match status {
                Some(status) => unknown.with_status(status),
                None => unknown,
            }
        }
    })
}

/// One line of a batch's results. A line that cannot be read takes no other with it: its
/// request is one that the vendor says nothing of.
pub(crate) fn readable(
    shared: &Shared,
    outcome: Result<RemoteOutcome, GenerateError>,
) -> Option<RemoteOutcome> {
    let told = |error| shared.client.told(error, 1);
    let unread = |error| tracing::warn!(%error, "a line of a batch's results cannot be read");
    outcome.map_err(told).map_err(unread).ok()
}

/// The lines of a file that came down, without blank ones.
pub(crate) fn lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = file.split(|byte| *byte == b'\n');
    lines.filter(|line| !line.iter().all(u8::is_ascii_whitespace))
}

/// Puts outcomes in the order of the ticket. A request that the vendor says nothing of
/// has `missing` as its own.
pub(crate) fn in_order(
    ticket: &BatchTicket,
    outcomes: impl IntoIterator<Item = RemoteOutcome>,
    missing: &GenerateError,
) -> Vec<RemoteOutcome> {
    let outcomes = outcomes.into_iter();
    let mut by_id: HashMap<_, _> = outcomes
        .map(|outcome| (outcome.id, outcome.result))
        .collect();
    let ids = ticket.request_ids.iter();
    ids.map(|id| RemoteOutcome {
        id: id.clone(),
        result: by_id.remove(id).unwrap_or_else(|| Err(missing.clone())),
    })
    .collect()
}
