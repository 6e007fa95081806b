//! Requests over the network: sent, timed, limited, tried again.
//!
//! One [`Client`] a provider. It owns the connections, the runtime that drives them, and
//! every bound: how many requests at a time, how fast, how long, how large, how often.
//! Knows no vendor; what an error's text means is the caller's ([`Explain`]). Read
//! [`Client::fetch`] first.

use super::call::{Body, Call};
use super::driver::{Driver, Task};
use super::limits::{Limiter, RateLimits};
use super::retry::{self, RetryPolicy};
use super::secret::{Secret, scrub};
use super::tls;
use choral::provider::{ErrorKind, GenerateError};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Response, StatusCode};
use std::borrow::Cow;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout_at};

/// An error's body is read up to here; what is of interest stands at its beginning.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// Most redirects that are followed, all within one origin.
const MAX_REDIRECTS: usize = 5;

/// How long, how large, how often.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkOptions {
    /// Most time to connect.
    pub connect_timeout: Duration,
    /// Most time for one attempt.
    pub request_timeout: Duration,
    /// Most time without a byte once an answer has begun. Until then a service may think
    /// as long as an attempt may take.
    pub read_timeout: Duration,
    /// Most time for all attempts together, with the waits between them. Waiting until
    /// limits let a request go does not count.
    pub total_timeout: Duration,
    /// Largest answer in bytes.
    pub max_response_bytes: usize,
    /// Largest file of results of a vendor's batch in bytes.
    pub max_download_bytes: usize,
    /// How often.
    pub retry: RetryPolicy,
    /// How fast.
    pub rate_limits: RateLimits,
    /// Whether the proxies that the environment names are used.
    pub use_proxies: bool,
    /// A file in PEM with authorities that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            // As the vendors' own SDKs have it.
            request_timeout: Duration::from_mins(10),
            read_timeout: Duration::from_mins(2),
            total_timeout: Duration::from_mins(30),
            max_response_bytes: 64 << 20,
            max_download_bytes: 1 << 30,
            retry: RetryPolicy::default(),
            rate_limits: RateLimits::default(),
            use_proxies: true,
            ca_file: None,
        }
    }
}

/// An answer that is no error.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// How often it was tried.
    pub(crate) attempts: u32,
}

/// An answer whose body is still to come.
#[derive(Debug)]
pub(crate) struct Opened {
    response: Response,
    pub(crate) attempts: u32,
    deadline: Deadline,
    read_timeout: Duration,
    num_bytes: usize,
    max_bytes: usize,
    secrets: Arc<[Secret]>,
    /// Held as long as bytes may come.
    _permit: OwnedSemaphorePermit,
}

/// What an error's status and body mean; the vendor's part.
pub(crate) type Explain = fn(StatusCode, &[u8]) -> GenerateError;

/// Connections and bounds.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    provider: String,
    options: NetworkOptions,
    permits: Arc<Semaphore>,
    limiter: Limiter,
    secrets: Arc<[Secret]>,
    explain: Explain,
    driver: Driver,
}

impl Client {
    /// A client that sends `headers` with everything. `secrets` are cut out of errors.
    pub(crate) fn new(
        provider: &str,
        headers: HeaderMap,
        secrets: Vec<Secret>,
        options: NetworkOptions,
        max_concurrency: usize,
        explain: Explain,
    ) -> Result<Self, GenerateError> {
        let config = |problem: String| {
            GenerateError::new(ErrorKind::Config, problem).with_provider(provider)
        };
        let tls = tls::config(options.ca_file.as_deref()).map_err(config)?;
        let mut http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .default_headers(headers)
            .user_agent(concat!("choral/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(options.connect_timeout)
            .redirect(Policy::custom(same_origin));
        if !options.use_proxies {
            http = http.no_proxy();
        }
        let scrubbed = |error: reqwest::Error| config(scrub(&secrets, &causes(error)));
        let http = http.build().map_err(scrubbed)?;
        let driver = Driver::start().map_err(|error| config(error.to_string()))?;
        let limiter = driver.within(|| Limiter::new(options.rate_limits));
        Ok(Self {
            http,
            provider: provider.to_owned(),
            permits: Arc::new(Semaphore::new(max_concurrency.clamp(1, 1 << 20))),
            limiter,
            secrets: secrets.into(),
            explain,
            driver,
            options,
        })
    }

    pub(crate) fn options(&self) -> &NetworkOptions {
        &self.options
    }

    /// Runs a future where sockets and timers work; on any executor, and not only there.
    /// Dropping the task ends the work.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        self.driver.spawn(future)
    }

    /// Sends a request and reads its answer whole, with all retries.
    pub(crate) async fn fetch(&self, call: &Call) -> Result<Fetched, GenerateError> {
        let (opened, body) = self.with_retries(call, true).await?;
        Ok(Fetched {
            headers: opened.response.headers().clone(),
            body,
            attempts: opened.attempts,
        })
    }

    /// Sends a request and returns once its answer begins, with all retries until then.
    pub(crate) async fn open(&self, call: &Call) -> Result<Opened, GenerateError> {
        let (opened, _) = self.with_retries(call, false).await?;
        Ok(opened)
    }

    /// Tries until there is an answer, with its body if `whole`.
    async fn with_retries(
        &self,
        call: &Call,
        whole: bool,
    ) -> Result<(Opened, Vec<u8>), GenerateError> {
        let total = call.total_timeout.unwrap_or(self.options.total_timeout);
        let mut deadline = Deadline::after(total);
        let policy = &self.options.retry;
        let mut attempt = 1;
        loop {
            let admitted = self.admit(call, &mut deadline).await;
            let result = match self.attempt(call, attempt, &deadline, admitted).await {
                Ok(opened) if whole => opened.whole().await,
                Ok(opened) => Ok((opened, Vec::new())),
                Err(error) => Err(error),
            };
            let error = match result {
                Ok(value) => return Ok(value),
                Err(error) => self.told(error, attempt),
            };
            if error.kind() == ErrorKind::RateLimit
                && let Some(asked) = error.retry_after()
            {
                // The limit is the account's, not this request's.
                self.limiter.pause(asked.min(policy.max_retry_after));
            }
            if !call.retry.allows(&error) || !error.is_retryable() || attempt >= policy.max_attempts
            {
                return Err(error);
            }
            let Some(wait) = policy.wait(attempt, error.retry_after()) else {
                return Err(error);
            };
            let again_at = Instant::now() + wait;
            if again_at >= deadline.at {
                return Err(error);
            }
            tracing::debug!(
                provider = self.provider,
                attempt,
                ?wait,
                kind = error.kind().name(),
                "trying again"
            );
            sleep_until(again_at).await;
            attempt += 1;
        }
    }

    /// The error as it is returned: with what is known, and without keys.
    pub(crate) fn told(&self, error: GenerateError, attempts: u32) -> GenerateError {
        error
            .map_texts(|text| scrub(&self.secrets, text))
            .with_provider(&self.provider)
            .with_attempts(attempts)
    }

    /// A body as it may be quoted in an error.
    pub(crate) fn scrubbed<'a>(&self, body: &'a [u8]) -> Cow<'a, [u8]> {
        if self.secrets.is_empty() {
            return Cow::Borrowed(body);
        }
        let text = String::from_utf8_lossy(body);
        Cow::Owned(scrub(&self.secrets, &text).into_bytes())
    }

    /// A text without keys.
    pub(crate) fn quoted(&self, text: &str) -> String {
        scrub(&self.secrets, text)
    }

    /// Reads a body with `read`. If that fails, the error quotes nothing secret.
    pub(crate) fn read<T>(
        &self,
        body: &[u8],
        read: impl Fn(&[u8]) -> Result<T, GenerateError>,
    ) -> Result<T, GenerateError> {
        // What it says of a body without keys is the same, or that one is needed.
        read(body).map_err(|error| read(&self.scrubbed(body)).err().unwrap_or(error))
    }

    async fn attempt(
        &self,
        call: &Call,
        attempt: u32,
        deadline: &Deadline,
        permit: OwnedSemaphorePermit,
    ) -> Result<Opened, GenerateError> {
        let allowed = call.request_timeout.unwrap_or(self.options.request_timeout);
        let attempt_deadline = deadline.within(allowed);
        let request = self.request(call)?;
        let sent = timeout_at(attempt_deadline.at, request.send()).await;
        let response = sent
            .map_err(|_| attempt_deadline.passed())?
            .map_err(|error| failed(error, &attempt_deadline))?;
        let now = wall_clock();
        let most = self.options.retry.max_retry_after;
        self.limiter.note(response.headers(), now, most);
        let opened = Opened {
            response,
            attempts: attempt,
            deadline: attempt_deadline,
            read_timeout: self.options.read_timeout,
            num_bytes: 0,
            max_bytes: call.max_bytes.unwrap_or(self.options.max_response_bytes),
            secrets: Arc::clone(&self.secrets),
            _permit: permit,
        };
        if opened.response.status().is_success() {
            return Ok(opened);
        }
        Err(self.refused(opened, now).await)
    }

    /// Waits until the request may go, and puts the deadline off by as much: what others
    /// send, and how fast, is no reason for this one to fail.
    async fn admit(&self, call: &Call, deadline: &mut Deadline) -> OwnedSemaphorePermit {
        let began = Instant::now();
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        let mut reserved = Reserved {
            limiter: &self.limiter,
            tokens: call.tokens,
            is_used: false,
        };
        let mut at = self.limiter.reserve(call.tokens);
        loop {
            sleep_until(at).await;
            // While this one waited, the server may have asked for more.
            match self.limiter.paused_until() {
                Some(until) => at = until,
                None => break,
            }
        }
        reserved.is_used = true;
        deadline.at += began.elapsed();
        permit
    }

    fn request(&self, call: &Call) -> Result<reqwest::RequestBuilder, GenerateError> {
        let mut request = self.http.request(call.method.clone(), call.url.clone());
        if let Some(key) = &call.idempotency_key {
            request = request.header("Idempotency-Key", key);
        }
        Ok(match &call.body {
            Body::Empty => request,
            Body::Json(bytes) => request
                .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
                .body(bytes.to_vec()),
            Body::Upload {
                fields,
                name,
                file_name,
                bytes,
            } => {
                let part = reqwest::multipart::Part::bytes(bytes.to_vec()).file_name(*file_name);
                let part = part
                    .mime_str("application/jsonl")
                    .map_err(|error| GenerateError::new(ErrorKind::Config, error.to_string()))?;
                let form = reqwest::multipart::Form::new().part(*name, part);
                let fields = fields.iter();
                let add = |form: reqwest::multipart::Form, (name, value): &(_, String)| {
                    form.text(*name, value.clone())
                };
                request.multipart(fields.fold(form, add))
            }
        })
    }

    /// What an answer that is no success means.
    async fn refused(&self, mut opened: Opened, now: f64) -> GenerateError {
        let status = opened.response.status();
        let headers = opened.response.headers().clone();
        if status.is_redirection() {
            let to = retry::text(&headers, "location").map(str::to_owned);
            let to = to.unwrap_or_else(|| "nowhere".to_owned());
            let message = format!("redirected to {to}, which is not followed: keys stay here");
            return GenerateError::new(ErrorKind::Config, message).with_status(status.as_u16());
        }
        let mut body = Vec::new();
        // An error whose text does not come is still an error.
        while let Ok(Some(bytes)) = opened.next_bytes().await {
            body.extend_from_slice(&bytes);
            if body.len() >= MAX_ERROR_BYTES {
                break;
            }
        }
        body.truncate(MAX_ERROR_BYTES);
        // Before anything is cut out of it: half a key is one too many.
        let body = self.scrubbed(&body);
        let mut error = (self.explain)(status, &body).with_status(status.as_u16());
        for name in ["x-request-id", "request-id"] {
            if let Some(id) = retry::text(&headers, name) {
                error = error.with_request_id(id);
            }
        }
        if let Some(wait) = retry::retry_after(&headers, now) {
            error = error.with_retry_after(wait);
        }
        // OpenAI's and Anthropic's servers may know better.
        match retry::text(&headers, "x-should-retry") {
            Some("false") => error.not_retryable(),
            _ => error,
        }
    }
}

/// What was reserved for a request, and is given back if it never goes.
struct Reserved<'a> {
    limiter: &'a Limiter,
    tokens: u64,
    is_used: bool,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if !self.is_used {
            self.limiter.give_back(self.tokens);
        }
    }
}

impl Opened {
    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The body, read to its end.
    async fn whole(mut self) -> Result<(Self, Vec<u8>), GenerateError> {
        let mut body = Vec::new();
        while let Some(bytes) = self.next_bytes().await? {
            body.extend_from_slice(&bytes);
        }
        Ok((self, body))
    }

    /// The next bytes; `None` at the end.
    pub(crate) async fn next_bytes(&mut self) -> Result<Option<Vec<u8>>, GenerateError> {
        let stalled = Deadline::after(self.read_timeout);
        let until = stalled.at.min(self.deadline.at);
        let read = timeout_at(until, self.response.chunk()).await;
        let read = read
            .map_err(|_| {
                if stalled.at < self.deadline.at {
                    let message =
                        format!("the server stalled: nothing came for {:?}", stalled.allowed);
                    return GenerateError::new(ErrorKind::Timeout, message);
                }
                self.deadline.passed()
            })?
            .map_err(|error| failed(error, &self.deadline));
        let Some(bytes) = read.map_err(|e| e.map_texts(|t| scrub(&self.secrets, t)))? else {
            return Ok(None);
        };
        self.num_bytes = self.num_bytes.saturating_add(bytes.len());
        if self.num_bytes > self.max_bytes {
            let message = format!("the answer is longer than {} bytes", self.max_bytes);
            return Err(GenerateError::new(ErrorKind::Malformed, message));
        }
        Ok(Some(bytes.into()))
    }
}

/// A time by which something must be done, and how long that was.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    at: Instant,
    allowed: Duration,
}

impl Deadline {
    fn after(allowed: Duration) -> Self {
        // Beyond a year nobody waits.
        let allowed = allowed.min(Duration::from_hours(365 * 24));
        Self {
            at: Instant::now() + allowed,
            allowed,
        }
    }

    /// The earlier of this one and one that is `allowed` from now.
    fn within(&self, allowed: Duration) -> Self {
        let other = Self::after(allowed);
        if other.at < self.at { other } else { *self }
    }

    fn passed(&self) -> GenerateError {
        let message = format!("no answer within {:?}", self.allowed);
        GenerateError::new(ErrorKind::Timeout, message)
    }
}

/// What went wrong on the way. URLs are left out: they may hold passwords.
fn failed(error: reqwest::Error, deadline: &Deadline) -> GenerateError {
    if error.is_timeout() {
        let what = if error.is_connect() {
            "connecting took too long"
        } else {
            "no answer came in time"
        };
        let message = format!("{what} ({:?} allowed in all)", deadline.allowed);
        return GenerateError::new(ErrorKind::Timeout, message);
    }
    if let Some(error) = tls::refusal(&error) {
        return error;
    }
    let kind = if error.is_builder() {
        ErrorKind::Config
    } else {
        ErrorKind::Connection
    };
    GenerateError::new(kind, causes(error))
}

fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let first: &dyn std::error::Error = &error;
    let causes = std::iter::successors(Some(first), |error| error.source());
    let mut texts: Vec<_> = causes.map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}

/// Keys go to one origin only, and a request is never turned into another one.
fn same_origin(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let is_same = match attempt.previous() {
        [first, ..] => first.origin() == attempt.url().origin(),
        [] => false,
    };
    // 301 to 303 turn a POST into a GET.
    let keeps_method = matches!(
        attempt.status(),
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
    );
    if is_same && keeps_method && attempt.previous().len() <= MAX_REDIRECTS {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

pub(crate) fn wall_clock() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// A header with a key in it.
pub(crate) fn key_header(
    headers: &mut HeaderMap,
    name: &'static str,
    prefix: &str,
    key: &Secret,
) -> Result<(), GenerateError> {
    let value = HeaderValue::from_str(&format!("{prefix}{}", key.expose()));
    let mut value = value.map_err(|_| {
        GenerateError::new(
            ErrorKind::Config,
            "the key has characters that no header may have",
        )
    })?;
    // Keeps it out of what the libraries below log.
    value.set_sensitive(true);
    headers.insert(HeaderName::from_static(name), value);
    Ok(())
}
