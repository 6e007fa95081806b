//! Models that an Ollama server has, and those that it fetches.

use crate::call::RetryScope;
use crate::kind::Kind;
use crate::lines::{Frames, Framing};
use crate::protocol::{count, json, list, malformed, string};
use crate::remote::{Events, Remote, Shared};
use choral::provider::{BoxFuture, BoxStream, ErrorKind, GenerateError};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// A day: large models take their time.
const PULL_TIMEOUT: Duration = Duration::from_hours(24);

/// A model that an Ollama server has.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct OllamaModel {
    /// With its tag.
    pub name: String,
    /// Of its files, in bytes.
    #[serde(default)]
    pub size: u64,
    /// SHA-256.
    #[serde(default)]
    pub digest: String,
    /// RFC 3339.
    #[serde(default)]
    pub modified_at: String,
}

/// How far a model's files have come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullProgress {
    /// What the server does. The last is `success`.
    pub status: String,
    /// The file.
    pub digest: Option<String>,
    /// Bytes of the file.
    pub total: u64,
    /// Bytes that are there.
    pub completed: u64,
}

/// What only Ollama has; [`Remote::ollama`].
#[derive(Debug, Clone)]
pub struct Ollama {
    remote: Remote,
}

impl Remote {
    /// What only Ollama has, if this is one.
    pub fn ollama(&self) -> Option<Ollama> {
        let is_ollama = self.shared.kind == Kind::Ollama;
        is_ollama.then(|| Ollama {
            remote: self.clone(),
        })
    }
}

impl Ollama {
    /// The models that the server has.
    pub fn tags(&self) -> BoxFuture<'static, Result<Vec<OllamaModel>, GenerateError>> {
        self.listed("api/tags")
    }

    /// The models that are loaded.
    pub fn running(&self) -> BoxFuture<'static, Result<Vec<OllamaModel>, GenerateError>> {
        self.listed("api/ps")
    }

    fn listed(
        &self,
        path: &'static str,
    ) -> BoxFuture<'static, Result<Vec<OllamaModel>, GenerateError>> {
        self.remote.run(move |shared| async move {
            let listing = shared.fetch_json(&shared.get(path)).await?;
            let models = list(&listing, "models");
            let models = models.and_then(|models| {
                let read = models.iter().map(|model| {
                    let read: Result<OllamaModel, _> = serde_json::from_value(model.clone());
                    read.map_err(malformed)
                });
                read.collect()
            });
            models.map_err(|error| shared.client.told(error, 1))
        })
    }

    /// Loads the model and keeps it for so long after the last request; `None`: for good.
    /// Zero unloads it.
    pub fn keep_alive(
        &self,
        keep: Option<Duration>,
    ) -> BoxFuture<'static, Result<(), GenerateError>> {
        self.remote.run(move |shared| async move {
            let keep: Value = match keep {
                None => (-1).into(),
                Some(keep) => keep.as_secs().into(),
            };
            let body = json!({"model": shared.model, "keep_alive": keep, "stream": false});
            let call = shared.post("api/generate", &body);
            shared.fetch_json(&call).await.map(|_| ())
        })
    }

    /// Has the server fetch a model, and yields how far it is. A pull that breaks off goes
    /// on where it was when it is asked for again. Dropping the stream ends it.
    pub fn pull(
        &self,
        model: impl Into<String>,
    ) -> BoxStream<'static, Result<PullProgress, GenerateError>> {
        let shared = Arc::clone(&self.remote.shared);
        let model = model.into();
        Box::pin(Events::new(move |events| {
            let client = Arc::clone(&shared);
            client.client.spawn(async move {
                if let Err(error) = pull(&shared, &model, &events).await {
                    // A reader that is gone wants no end.
                    let _ = events.send(Err(shared.client.told(error, 1))).await;
                }
            })
        }))
    }
}

async fn pull(
    shared: &Shared,
    model: &str,
    events: &mpsc::Sender<Result<PullProgress, GenerateError>>,
) -> Result<(), GenerateError> {
    let mut call = shared.post("api/pull", &json!({"model": model, "stream": true}));
    call.total_timeout = Some(PULL_TIMEOUT);
    call.request_timeout = Some(PULL_TIMEOUT);
    call.retry = RetryScope::Refused;
    let mut opened = shared.client.open(&call).await?;
    let mut frames = Frames::new(Framing::Ndjson);
    let mut is_done = false;
    while let Some(bytes) = opened.next_bytes().await? {
        frames.push(&bytes);
        while let Some(frame) = frames.next_frame()? {
            let progress = progress(&json(frame.data.as_bytes())?)?;
            is_done = progress.status == "success";
            if events.send(Ok(progress)).await.is_err() {
                return Ok(());
            }
        }
    }
    if let Some(frame) = frames.finish()? {
        let progress = progress(&json(frame.data.as_bytes())?)?;
        is_done = progress.status == "success";
        let _ = events.send(Ok(progress)).await;
    }
    if is_done {
        return Ok(());
    }
    let message = "the pull ended before the model was there";
    Err(GenerateError::new(ErrorKind::Connection, message))
}

fn progress(line: &Value) -> Result<PullProgress, GenerateError> {
    if let Some(error) = line["error"].as_str() {
        return Err(GenerateError::new(ErrorKind::Server, error));
    }
    Ok(PullProgress {
        status: string(line, "status")?.to_owned(),
        digest: line["digest"].as_str().map(str::to_owned),
        total: count(&line["total"]),
        completed: count(&line["completed"]),
    })
}
