//! What all handlers share: settings, the log, and what clients stored.
//!
//! Owns the settings' defaults and the list of models. Knows no protocol.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::anthropic::batches::MessageBatches;
use crate::fault::Plan;
use crate::ollama::Loaded;
use crate::openai::batches::Batches;
use crate::openai::files::Files;
use crate::rate::{Limiter, RateLimit, Standing};
use crate::record::Log;

/// Models that exist, unless the builder says otherwise.
pub const MODELS: [&str; 11] = [
    "gpt-4o-mini",
    "gpt-4.1-mini",
    "gpt-3.5-turbo-instruct",
    "text-embedding-3-small",
    "claude-sonnet-5",
    "claude-sonnet-4-5",
    "claude-haiku-4-5",
    "llama3.2:latest",
    "qwen3:0.6b",
    "nomic-embed-text:latest",
    "qwen2.5-7b-instruct",
];

/// How a vendor's batch moves on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchPace {
    /// Each time that it is retrieved it enters its next state.
    #[default]
    EveryPoll,
    /// It enters its next state after so long in one.
    Every(Duration),
}

/// How a vendor's batch ends, when nobody cancels it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchEnd {
    /// All rows are done.
    #[default]
    Completed,
    /// Time ran out when half of the rows were done.
    Expired,
    /// It fails as a whole (at Anthropic: every row errs).
    Failed,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) models: Vec<String>,
    /// Keys that are taken; any but the invalid one, if there is none.
    pub(crate) keys: Vec<String>,
    /// No key is asked for.
    pub(crate) open: bool,
    pub(crate) latency: Duration,
    /// The pause after each event of a stream.
    pub(crate) pace: Duration,
    pub(crate) plan: Plan,
    pub(crate) limit: Option<RateLimit>,
    pub(crate) batch_pace: BatchPace,
    pub(crate) batch_end: BatchEnd,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            models: MODELS.map(str::to_owned).to_vec(),
            keys: Vec::new(),
            open: false,
            latency: Duration::ZERO,
            pace: Duration::ZERO,
            plan: Plan::default(),
            limit: None,
            batch_pace: BatchPace::default(),
            batch_end: BatchEnd::default(),
        }
    }
}

/// One listener's state.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) log: Log,
    /// The other listener's log, and its address without a path.
    pub(crate) elsewhere_log: Option<Log>,
    pub(crate) elsewhere: String,
    pub(crate) files: Mutex<Files>,
    pub(crate) batches: Mutex<Batches>,
    pub(crate) message_batches: Mutex<MessageBatches>,
    pub(crate) ollama: Mutex<Loaded>,
    limiter: Mutex<Limiter>,
}

impl App {
    pub(crate) fn new(settings: Settings, elsewhere: Option<(String, Log)>) -> Self {
        let (elsewhere, elsewhere_log) =
            elsewhere.map_or((String::new(), None), |(url, log)| (url, Some(log)));
        Self {
            limiter: Mutex::new(Limiter::new(settings.limit)),
            settings,
            log: Log::new(),
            elsewhere_log,
            elsewhere,
            files: Mutex::default(),
            batches: Mutex::default(),
            message_batches: Mutex::default(),
            ollama: Mutex::default(),
        }
    }

    /// Whether this is the listener that redirects lead to.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.elsewhere_log.is_none()
    }

    pub(crate) fn count(&self, key: &str, tokens: u64) -> Standing {
        lock(&self.limiter).count(key, tokens, Instant::now())
    }

    pub(crate) fn has_model(&self, name: &str) -> bool {
        self.settings.models.iter().any(|model| model == name)
    }
}

/// Locks, whatever a thread that panicked left: states here are valid at every step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
