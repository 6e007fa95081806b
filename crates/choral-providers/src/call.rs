//! One request, and what is allowed for it.

use choral::provider::GenerateError;
use reqwest::{Method, Url};
use std::sync::Arc;
use std::time::Duration;

/// What a request carries.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Empty,
    /// JSON.
    Json(Arc<[u8]>),
    /// A form with fields and one file.
    Upload {
        fields: Vec<(&'static str, String)>,
        name: &'static str,
        file_name: &'static str,
        bytes: Arc<[u8]>,
    },
}

/// When a request may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetryScope {
    /// After any failure that may pass.
    Always,
    /// Only if the server said that it did not do it. After a broken connection, or an
    /// error of its own, nobody knows.
    Refused,
    Never,
}

impl RetryScope {
    pub(crate) fn allows(self, error: &GenerateError) -> bool {
        match self {
            Self::Always => true,
            Self::Refused => matches!(error.status(), Some(409 | 429 | 503 | 529)),
            Self::Never => false,
        }
    }
}

/// A request, and what is allowed for it.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) body: Body,
    /// For token limits.
    pub(crate) tokens: u64,
    /// Most time for all attempts; the client's unless said.
    pub(crate) total_timeout: Option<Duration>,
    /// Most time for one attempt; the client's unless said.
    pub(crate) request_timeout: Option<Duration>,
    /// When another attempt does no harm.
    pub(crate) retry: RetryScope,
    /// Names the request for a server that answers each only once.
    pub(crate) idempotency_key: Option<String>,
    /// Most bytes of its answer; the client's unless said.
    pub(crate) max_bytes: Option<usize>,
}

impl Call {
    pub(crate) fn new(method: Method, url: Url, body: Body) -> Self {
        Self {
            method,
            url,
            body,
            tokens: 0,
            total_timeout: None,
            request_timeout: None,
            retry: RetryScope::Always,
            idempotency_key: None,
            max_bytes: None,
        }
    }

    /// The same call further down its path. Ids come from files and servers: each stays
    /// one segment.
    #[must_use]
    pub(crate) fn below(mut self, segments: &[&str]) -> Self {
        if let Ok(mut path) = self.url.path_segments_mut() {
            path.extend(segments);
        }
        self
    }
}
