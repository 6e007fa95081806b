//! Whether a server of one's own is ready to answer.

use super::call::RetryScope;
use super::kind::Kind;
use super::remote::{Remote, Shared};
use choral::provider::{BoxFuture, ErrorKind, GenerateError};
use reqwest::Url;
use serde_json::Value;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Where a server stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerState {
    /// It answers.
    Ready,
    /// It loads its model, and answers later.
    Loading,
    /// It has the model and has not loaded it; the first request will.
    NotLoaded,
    /// It does not have the model.
    NoModel,
    /// There is no server.
    Unreachable,
}

/// How often a server that is loading is asked.
const INTERVAL: Duration = Duration::from_millis(500);

impl Remote {
    /// Where the server stands. Asks llama.cpp's `/health`, LM Studio's `/api/v0/models`,
    /// Ollama's lists, and for all others whether models can be listed.
    pub fn server_state(&self) -> BoxFuture<'static, Result<ServerState, GenerateError>> {
        self.run(|shared| async move { state(&shared).await })
    }

    /// Waits until a server is there and not loading.
    pub fn wait_until_ready(
        &self,
        most: Duration,
    ) -> BoxFuture<'static, Result<ServerState, GenerateError>> {
        self.run(move |shared| async move {
            let end = Instant::now() + most;
            loop {
                let state = state(&shared).await?;
                if !matches!(state, ServerState::Loading | ServerState::Unreachable) {
                    return Ok(state);
                }
                if Instant::now() + INTERVAL > end {
                    let message = format!("the server is {state:?} after {most:?}");
                    let error = GenerateError::new(ErrorKind::Timeout, message);
                    return Err(shared.client.told(error, 0));
                }
                sleep(INTERVAL).await;
            }
        })
    }
}

async fn state(shared: &Shared) -> Result<ServerState, GenerateError> {
    let asked = match shared.kind {
        Kind::LlamaCpp => ask(shared, at_origin(shared, "/health")).await,
        Kind::LmStudio => ask(shared, at_origin(shared, "/api/v0/models")).await,
        Kind::Ollama => ask(shared, shared.url("api/tags")).await,
        Kind::Anthropic => ask(shared, shared.url("v1/models")).await,
        _ => ask(shared, shared.url("models")).await,
    };
    let answer = match asked {
        Ok(answer) => answer,
        Err(error) => {
            return match error.kind() {
                ErrorKind::Connection => Ok(ServerState::Unreachable),
                ErrorKind::Server if error.status() == Some(503) => Ok(ServerState::Loading),
                _ => Err(error),
            };
        }
    };
    let has = |list: &str, name: &str| {
        let models = answer[list].as_array();
        let mut models = models.into_iter().flatten();
        let is_it = |model: &&Value| {
            let found = model[name].as_str().unwrap_or_default();
            // Ollama's names have a tag, which may be left out.
            found == shared.model || found.strip_suffix(":latest") == Some(&shared.model)
        };
        models.find(is_it).cloned()
    };
    match shared.kind {
        Kind::LmStudio => Ok(match has("data", "id") {
            None => ServerState::NoModel,
            Some(model) => match model["state"].as_str() {
                Some("loaded") => ServerState::Ready,
                Some("loading") => ServerState::Loading,
                _ => ServerState::NotLoaded,
            },
        }),
        Kind::Ollama => {
            if has("models", "name").is_none() {
                return Ok(ServerState::NoModel);
            }
            let running = ask(shared, shared.url("api/ps")).await?;
            let running = running["models"].as_array().into_iter().flatten();
            let mut names = running.filter_map(|model| model["name"].as_str());
            let is_it = |name: &str| {
                name == shared.model || name.strip_suffix(":latest") == Some(&shared.model)
            };
            Ok(if names.any(is_it) {
                ServerState::Ready
            } else {
                ServerState::NotLoaded
            })
        }
        // One model is all that it has, whatever it is called.
        Kind::LlamaCpp => Ok(ServerState::Ready),
        _ => Ok(match has("data", "id") {
            Some(_) => ServerState::Ready,
            None => ServerState::NoModel,
        }),
    }
}

async fn ask(shared: &Shared, url: Url) -> Result<Value, GenerateError> {
    let mut call = shared.get("");
    call.url = url;
    call.retry = RetryScope::Never;
    shared.fetch_json(&call).await
}

/// Some paths are not below the base URL.
fn at_origin(shared: &Shared, path: &str) -> Url {
    let mut url = shared.base.clone();
    url.set_path(path);
    url
}
