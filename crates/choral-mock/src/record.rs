//! What the server saw: every request and every connection, with times.
//!
//! Owns the records that tests assert on. Knows nothing of what was answered beyond the
//! status and whether the client stayed to read it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// It has not.
    Open,
    /// The whole body was handed to the connection.
    Delivered,
    /// A fault cut it off.
    Cut,
    /// The client went away first.
    ClientGone,
}

/// One request, as it arrived.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct RequestRecord {
    /// Counts requests from 0.
    pub id: u64,
    /// Number of the connection that it came on, from 0.
    pub connection: u64,
    /// How often the same request (method, path, body, idempotency key) came before.
    pub attempt: u32,
    /// When its headers and body were there, since the server's start.
    pub at: Duration,
    /// When it ended, likewise.
    pub ended: Option<Duration>,
    /// `GET`, `POST`...
    pub method: String,
    /// Without the query.
    pub path: String,
    /// After the question mark.
    pub query: Option<String>,
    /// Names in lower case, in their order.
    pub headers: Vec<(String, String)>,
    /// The body's bytes.
    #[serde(skip)]
    pub body: Arc<[u8]>,
    /// SHA-256 of the body, in hexadecimal.
    pub body_sha256: String,
    /// The fault it met, in its textual form.
    pub fault: Option<String>,
    /// Status of the response; none when there was none.
    pub status: Option<u16>,
    /// How it ended.
    pub outcome: Outcome,
}

impl RequestRecord {
    /// The first header of this name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as JSON, if it is.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Whether the body has this text in it.
    pub fn body_contains(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.body).contains(text)
    }
}

/// All that one listener saw. Clones share it.
#[derive(Clone, Debug)]
pub struct Log {
    started: Instant,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    requests: Vec<RequestRecord>,
    /// The number of the first request in `requests`, after `clear`.
    first_id: u64,
    connections: u64,
    open_connections: u64,
    open_requests: u64,
    peak_open_requests: u64,
    last_activity: Duration,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            seen: Arc::default(),
        }
    }

    /// All requests, by arrival.
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.seen().requests.clone()
    }

    /// Requests whose path ends so, by arrival.
    pub fn requests_to(&self, path: &str) -> Vec<RequestRecord> {
        self.seen()
            .requests
            .iter()
            .filter(|request| request.path.ends_with(path))
            .cloned()
            .collect()
    }

    /// Number of requests.
    pub fn num_requests(&self) -> usize {
        self.seen().requests.len()
    }

    /// Requests with this text in their body: the attempts of a prompt.
    pub fn attempts(&self, text: &str) -> usize {
        self.seen()
            .requests
            .iter()
            .filter(|request| request.body_contains(text))
            .count()
    }

    /// Connections that were ever accepted.
    pub fn connections(&self) -> u64 {
        self.seen().connections
    }

    /// Connections that are open now.
    pub fn open_connections(&self) -> u64 {
        self.seen().open_connections
    }

    /// Requests that are open now.
    pub fn open_requests(&self) -> u64 {
        self.seen().open_requests
    }

    /// The most requests that were open at one time.
    pub fn peak_open_requests(&self) -> u64 {
        self.seen().peak_open_requests
    }

    /// How long nothing was accepted, received or sent.
    pub fn idle_for(&self) -> Duration {
        self.started
            .elapsed()
            .saturating_sub(self.seen().last_activity)
    }

    /// Time of the last thing that was accepted, received or sent, since the start.
    pub fn last_activity(&self) -> Duration {
        self.seen().last_activity
    }

    /// Time since the server's start, to compare with [`RequestRecord::at`].
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Waits until `condition` holds, at most `limit`; says whether it came to hold.
    pub fn wait_until(&self, limit: Duration, condition: impl Fn(&Self) -> bool) -> bool {
        let begun = Instant::now();
        while !condition(self) {
            if begun.elapsed() >= limit {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Forgets the requests, and the attempts counted, so far. Connections stay counted.
    pub fn clear(&self) {
        let mut seen = self.seen();
        seen.first_id += seen.requests.len() as u64;
        seen.requests.clear();
        seen.peak_open_requests = seen.open_requests;
    }

    /// Counts of connections and requests, for the control endpoint.
    pub(crate) fn summary(&self) -> Value {
        let seen = self.seen();
        serde_json::json!({
            "connections": seen.connections,
            "open_connections": seen.open_connections,
            "open_requests": seen.open_requests,
            "peak_open_requests": seen.peak_open_requests,
            "last_activity_seconds": seen.last_activity.as_secs_f64(),
            "requests": seen.requests,
        })
    }

    pub(crate) fn connected(&self) -> u64 {
        let mut seen = self.seen();
        let number = seen.connections;
        seen.connections += 1;
        seen.open_connections += 1;
        seen.last_activity = self.started.elapsed();
        number
    }

    pub(crate) fn disconnected(&self) {
        let mut seen = self.seen();
        seen.open_connections -= 1;
        seen.last_activity = self.started.elapsed();
    }

    pub(crate) fn active(&self) {
        self.seen().last_activity = self.started.elapsed();
    }

    /// Adds a request; `id`, `attempt`, `at` and `outcome` are set here.
    pub(crate) fn opened(&self, mut request: RequestRecord) -> OpenRequest {
        let now = self.started.elapsed();
        let mut seen = self.seen();
        let key = request.header("idempotency-key").map(str::to_owned);
        let same = |other: &&RequestRecord| {
            other.body_sha256 == request.body_sha256
                && other.path == request.path
                && other.method == request.method
                && other.query == request.query
                && other.header("idempotency-key") == key.as_deref()
        };
        request.attempt = seen.requests.iter().filter(same).count() as u32;
        request.id = seen.first_id + seen.requests.len() as u64;
        request.at = now;
        seen.open_requests += 1;
        seen.peak_open_requests = seen.peak_open_requests.max(seen.open_requests);
        seen.last_activity = now;
        let open = OpenRequest {
            log: self.clone(),
            id: request.id,
            attempt: request.attempt,
            ended: false,
        };
        seen.requests.push(request);
        open
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // A panic while it was held left plain numbers behind, which are fine to read.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is being answered. Dropped before its end, the client went away.
#[derive(Debug)]
pub(crate) struct OpenRequest {
    pub(crate) log: Log,
    id: u64,
    pub(crate) attempt: u32,
    ended: bool,
}

impl OpenRequest {
    pub(crate) fn set_fault(&self, fault: &str) {
        self.change(|request| request.fault = Some(fault.to_owned()));
    }

    pub(crate) fn set_status(&self, status: u16) {
        self.change(|request| request.status = Some(status));
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn end(&mut self, outcome: Outcome) {
        if self.ended {
            return;
        }
        self.ended = true;
        let now = self.log.started.elapsed();
        // Under one lock: a request that has ended is no longer open.
        let mut seen = self.log.seen();
        seen.open_requests -= 1;
        seen.last_activity = now;
        if let Some(request) = seen.request(self.id) {
            request.outcome = outcome;
            request.ended = Some(now);
        }
    }

    fn change(&self, change: impl FnOnce(&mut RequestRecord)) {
        if let Some(request) = self.log.seen().request(self.id) {
            change(request);
        }
    }
}

impl Seen {
    /// The request of this number, if it was not forgotten.
    fn request(&mut self, id: u64) -> Option<&mut RequestRecord> {
        let index = id.checked_sub(self.first_id)?;
        self.requests.get_mut(index as usize)
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.end(Outcome::ClientGone);
    }
}
