//! A service as a provider: vendors' protocols over the client.

use super::anthropic;
use super::call::{Body, Call};
use super::client::{Client, Opened};
use super::driver::Task;
use super::kind::Kind;
use super::lines::{Frame, Frames, Framing};
use super::openai;
use super::protocol::{Assembler, Protocol, Step, excerpt, json, list, malformed};
use super::retry;
use choral::provider::{
    BoxFuture, BoxStream, Capabilities, ErrorKind, GenerateError, GenerateEvent, GenerateRequest,
    GenerateResponse, Input, Provider, RemoteBatch,
};
use futures_core::Stream;
use reqwest::{Method, Url};
use serde_json::Value;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Events that a reader may be behind.
const EVENTS_AHEAD: usize = 64;

/// Bytes of text that make about a token.
const BYTES_OF_A_TOKEN: usize = 4;

/// A service, as [`Builder`](crate::Builder) makes it.
#[derive(Clone)]
pub struct Remote {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) protocol: Box<dyn Protocol>,
    pub(crate) kind: Kind,
    pub(crate) base: Url,
    pub(crate) model: String,
    pub(crate) capabilities: Capabilities,
    pub(crate) max_concurrency: usize,
    pub(crate) poll_interval: Duration,
}

impl fmt::Debug for Remote {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("kind", &self.shared.kind)
            .field("model", &self.shared.model)
            .field("host", &self.shared.base.host_str())
            .finish_non_exhaustive()
    }
}

impl Remote {
    pub(crate) fn new(shared: Shared) -> Self {
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The kind of service.
    pub fn kind(&self) -> Kind {
        self.shared.kind
    }

    /// Where the service is, without a password or anything else that may be secret.
    pub fn url(&self) -> String {
        let mut url = self.shared.base.clone();
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_query(None);
        url.set_fragment(None);
        url.into()
    }

    /// Runs a function of the service where sockets and timers work.
    pub(crate) fn run<T, F>(
        &self,
        work: impl FnOnce(Arc<Shared>) -> F + Send + 'static,
    ) -> BoxFuture<'static, Result<T, GenerateError>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, GenerateError>> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let work = work(Arc::clone(&shared));
            shared.client.spawn(work).await?
        })
    }
}

impl Shared {
    /// A URL below the base, or below its origin.
    pub(crate) fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty();
            for segment in path.split('/') {
                segments.push(segment);
            }
        }
        url
    }

    pub(crate) fn get(&self, path: &str) -> Call {
        Call::new(Method::GET, self.url(path), Body::Empty)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Call {
        let body = Body::Json(body.to_string().into_bytes().into());
        Call::new(Method::POST, self.url(path), body)
    }

    /// Sends a call and reads JSON.
    pub(crate) async fn fetch_json(&self, call: &Call) -> Result<Value, GenerateError> {
        let fetched = self.client.fetch(call).await?;
        let parsed = self.client.read(&fetched.body, |body| {
            check_type(&fetched.headers, &["json"], body)?;
            json(body)
        });
        parsed.map_err(|error| self.client.told(error, fetched.attempts))
    }

    fn generate_call(
        &self,
        request: &GenerateRequest,
        stream: bool,
    ) -> Result<Call, GenerateError> {
        let checked = self.capabilities.check(self.kind.name(), request);
        let body = checked.and_then(|()| self.protocol.body(&self.model, request, stream));
        let body = body.map_err(|error| error.with_provider(self.kind.name()))?;
        let mut call = self.post(self.protocol.path(request), &Value::Object(body));
        call.tokens = estimated_tokens(request);
        call.total_timeout = request.timeout;
        if self.protocol.has_idempotency() {
            // The same for all attempts of this request, and for no other's.
            call.idempotency_key = Some(retry::random_key());
        }
        Ok(call)
    }

    async fn generate(&self, request: GenerateRequest) -> Result<GenerateResponse, GenerateError> {
        let started = Instant::now();
        let call = self.generate_call(&request, false)?;
        let fetched = self.client.fetch(&call).await?;
        let read = |body: &[u8]| {
            check_type(&fetched.headers, &["json"], body)?;
            let raw = json(body)?;
            let mut response = self.protocol.response(&raw)?;
            response.raw_response = Some(raw);
            Ok(response)
        };
        let response = self.client.read(&fetched.body, read);
        let response = response.map_err(|error| self.client.told(error, fetched.attempts))?;
        let id = request_id(&fetched.headers);
        Ok(self.completed(response, request, started, id, fetched.attempts))
    }

    /// The response with what only the request and the network know.
    fn completed(
        &self,
        mut response: GenerateResponse,
        request: GenerateRequest,
        started: Instant,
        request_id: Option<String>,
        attempts: u32,
    ) -> GenerateResponse {
        response.id = request.id;
        response.gen_time_ms = started.elapsed().as_secs_f64() * 1000.0;
        if response.model.is_empty() {
            response.model.clone_from(&self.model);
        }
        let metadata = &mut response.metadata;
        metadata.insert("attempts".to_owned(), attempts.into());
        if let Some(id) = request_id {
            metadata.insert("request_id".to_owned(), id.into());
        }
        metadata.extend(request.metadata);
        response
    }

    /// Sends a request and passes on what comes, until the reader is gone.
    async fn stream(
        &self,
        request: GenerateRequest,
        events: &mpsc::Sender<Result<GenerateEvent, GenerateError>>,
    ) -> Result<GenerateResponse, GenerateError> {
        let started = Instant::now();
        let call = self.generate_call(&request, true)?;
        let mut opened = self.client.open(&call).await?;
        let response = self.assemble(&mut opened, events).await;
        let response = response.map_err(|error| self.client.told(error, opened.attempts))?;
        let id = request_id(opened.headers());
        Ok(self.completed(response, request, started, id, opened.attempts))
    }

    async fn assemble(
        &self,
        opened: &mut Opened,
        events: &mpsc::Sender<Result<GenerateEvent, GenerateError>>,
    ) -> Result<GenerateResponse, GenerateError> {
        let framing = self.protocol.framing();
        let types: &[&str] = match framing {
            Framing::Sse => &["text/event-stream"],
            Framing::Ndjson => &["ndjson", "json"],
        };
        if let Err(error) = check_type(opened.headers(), types, b"") {
            // An error may come as a success.
            let body = opened.next_bytes().await?.unwrap_or_default();
            let body = self.client.scrubbed(&body);
            let parsed = serde_json::from_slice(&body).unwrap_or(Value::Null);
            return Err(openai::error_of(&parsed, ErrorKind::Server).unwrap_or(error));
        }
        let mut frames = Frames::new(framing);
        let mut assembler = self.protocol.assembler();
        'stream: while let Some(bytes) = opened.next_bytes().await? {
            frames.push(&bytes);
            while let Some(frame) = frames.next_frame()? {
                let step = self.step(&mut *assembler, &frame)?;
                for delta in step.deltas {
                    let sent = events.send(Ok(GenerateEvent::Delta(delta))).await;
                    sent.map_err(|_| GenerateError::cancelled())?;
                }
                if step.is_end {
                    break 'stream;
                }
            }
        }
        if let Some(frame) = frames.finish()? {
            let step = self.step(&mut *assembler, &frame)?;
            for delta in step.deltas {
                let sent = events.send(Ok(GenerateEvent::Delta(delta))).await;
                sent.map_err(|_| GenerateError::cancelled())?;
            }
        }
        assembler.finish()
    }

    /// Takes an event. An error may quote it, but not if there is a key in it.
    fn step(&self, assembler: &mut dyn Assembler, frame: &Frame) -> Result<Step, GenerateError> {
        assembler.push(frame).map_err(|error| {
            let quoted = self.client.scrubbed(frame.data.as_bytes());
            if *quoted == *frame.data.as_bytes() {
                return error;
            }
            error.map_texts(|_| "an event that holds a key cannot be read".to_owned())
        })
    }

    async fn models(&self) -> Result<Vec<String>, GenerateError> {
        let (path, entries, name) = match self.kind {
            Kind::Anthropic => return anthropic::models(self).await,
            Kind::Ollama => ("api/tags", "models", "name"),
            _ => ("models", "data", "id"),
        };
        let listing = self.fetch_json(&self.get(path)).await?;
        let listed = list(&listing, entries).map_err(|error| self.client.told(error, 1))?;
        let models = listed.iter().filter_map(|model| model[name].as_str());
        Ok(models.map(str::to_owned).collect())
    }
}

fn request_id(headers: &reqwest::header::HeaderMap) -> Option<String> {
    let names = ["x-request-id", "request-id"];
    let id = names
        .into_iter()
        .find_map(|name| retry::text(headers, name));
    id.map(str::to_owned)
}

fn estimated_tokens(request: &GenerateRequest) -> u64 {
    let system = request.system.as_ref().map_or(0, String::len);
    let bytes = match &request.input {
        Input::Prompt(text) => text.len(),
        Input::Messages(messages) => messages.iter().map(|message| message.text().len()).sum(),
    };
    let answer = u64::from(request.params.max_tokens.unwrap_or(0));
    answer.saturating_add(((bytes + system) / BYTES_OF_A_TOKEN) as u64)
}

/// A page of HTML is no answer, whatever its status says.
fn check_type(
    headers: &reqwest::header::HeaderMap,
    expected: &[&str],
    body: &[u8],
) -> Result<(), GenerateError> {
    let found = retry::text(headers, "content-type").unwrap_or("nothing");
    if expected.iter().any(|name| found.contains(name)) {
        return Ok(());
    }
    let expected = expected[0];
    let body = match excerpt(body) {
        text if text.is_empty() => text,
        text => format!(": {text}"),
    };
    Err(malformed(format!("{found}, expected {expected}{body}")))
}

impl Provider for Remote {
    fn name(&self) -> &str {
        self.shared.kind.name()
    }

    fn model(&self) -> &str {
        &self.shared.model
    }

    fn capabilities(&self) -> &Capabilities {
        &self.shared.capabilities
    }

    fn generate(
        &self,
        request: GenerateRequest,
    ) -> BoxFuture<'_, Result<GenerateResponse, GenerateError>> {
        self.run(|shared| async move { shared.generate(request).await })
    }

    fn stream(
        &self,
        request: GenerateRequest,
    ) -> BoxStream<'_, Result<GenerateEvent, GenerateError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(Events::new(move |events| {
            let client = Arc::clone(&shared);
            client.client.spawn(async move {
                let end = shared.stream(request, &events).await;
                let end = end.map(|response| GenerateEvent::Finished(Box::new(response)));
                // A reader that is gone wants no end.
                let _ = events.send(end).await;
            })
        }))
    }

    fn max_concurrency(&self) -> usize {
        self.shared.max_concurrency
    }

    fn models(&self) -> BoxFuture<'_, Result<Vec<String>, GenerateError>> {
        self.run(|shared| async move { shared.models().await })
    }

    fn remote_batch(&self) -> Option<&dyn RemoteBatch> {
        let has_one = self.shared.capabilities.vendor_batch;
        has_one.then_some(self as &dyn RemoteBatch)
    }
}

/// What a task sends, to whoever reads it. Begins when it is first read, and ends the
/// task when it is dropped.
pub(crate) struct Events<T> {
    start: Option<Start<T>>,
    receiver: Option<mpsc::Receiver<T>>,
    task: Option<Task<()>>,
}

type Start<T> = Box<dyn FnOnce(mpsc::Sender<T>) -> Task<()> + Send>;

impl<T> Events<T> {
    pub(crate) fn new(start: impl FnOnce(mpsc::Sender<T>) -> Task<()> + Send + 'static) -> Self {
        Self {
            start: Some(Box::new(start)),
            receiver: None,
            task: None,
        }
    }
}

impl<T: Send> Stream for Events<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        if let Some(start) = self.start.take() {
            let (sender, receiver) = mpsc::channel(EVENTS_AHEAD);
            self.task = Some(start(sender));
            self.receiver = Some(receiver);
        }
        let Some(receiver) = &mut self.receiver else {
            return Poll::Ready(None);
        };
        let event = ready!(receiver.poll_recv(context));
        if event.is_none()
            && let Some(task) = &mut self.task
        {
            // Passes a panic on.
            let _ = ready!(Pin::new(task).poll(context));
            self.receiver = None;
        }
        Poll::Ready(event)
    }
}
