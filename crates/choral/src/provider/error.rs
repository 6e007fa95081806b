//! Why there is no answer, in classes that a caller can act upon.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// What sort of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The key is missing, wrong, or not allowed to do this.
    Auth,
    /// Too many requests or tokens for the moment.
    RateLimit,
    /// The account is out of credit: waiting does not help.
    Quota,
    /// The request is not one that can be answered.
    InvalidRequest,
    /// The request asks for what this provider cannot do.
    Unsupported,
    /// There is no such model, file or batch.
    NotFound,
    /// Prompt and answer do not fit in the context.
    ContextLength,
    /// A filter refused the prompt or the answer.
    Content,
    /// It took longer than it was allowed to.
    Timeout,
    /// The server could not be reached, or the connection broke.
    Connection,
    /// The server failed, is overloaded, or is still loading.
    Server,
    /// What came is not what the protocol says, or more than may come.
    Malformed,
    /// The caller asked for it.
    Cancelled,
    /// The vendor's batch ended before this request was run.
    Expired,
    /// The local engine failed.
    Engine,
    /// The provider was set up wrongly.
    Config,
}

impl ErrorKind {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::RateLimit => "rate_limit",
            Self::Quota => "quota",
            Self::InvalidRequest => "invalid_request",
            Self::Unsupported => "unsupported",
            Self::NotFound => "not_found",
            Self::ContextLength => "context_length",
            Self::Content => "content",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::Server => "server",
            Self::Malformed => "malformed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Engine => "engine",
            Self::Config => "config",
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::RateLimit | Self::Timeout | Self::Connection | Self::Server | Self::Expired
        )
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a request has no answer.
///
/// Its texts never hold a key: providers cut what they were given as secret out of
/// everything that a server says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{}", Message(self))]
pub struct GenerateError {
    kind: ErrorKind,
    // Large, and every answer carries room for it.
    facts: Box<Facts>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Facts {
    message: String,
    provider: Option<String>,
    status: Option<u16>,
    code: Option<String>,
    field: Option<String>,
    request_id: Option<String>,
    retry_after: Option<Duration>,
    attempts: u32,
    is_final: bool,
}

impl GenerateError {
    /// An error of a kind. `message` is lower case and names what was at fault.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let facts = Facts {
            message: message.into(),
            ..Facts::default()
        };
        Self {
            kind,
            facts: Box::new(facts),
        }
    }

    /// The request's `field` cannot be honoured.
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidRequest, message).with_field(field)
    }

    /// The provider cannot do what `field` asks for.
    pub fn unsupported(provider: &str, field: &str) -> Self {
        let message = format!("`{field}` is not supported by {provider}");
        Self::new(ErrorKind::Unsupported, message)
            .with_field(field)
            .with_provider(provider)
    }

    /// The caller cancelled it.
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "cancelled")
    }

    /// Names the provider.
    #[must_use]
    pub fn with_provider(mut self, provider: &str) -> Self {
        self.facts.provider = Some(provider.to_owned());
        self
    }

    /// Adds the HTTP status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.facts.status = Some(status);
        self
    }

    /// Adds the vendor's own code for it.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.facts.code = Some(code.into());
        self
    }

    /// Names the field of the request.
    #[must_use]
    pub fn with_field(mut self, field: &str) -> Self {
        self.facts.field = Some(field.to_owned());
        self
    }

    /// Adds the vendor's id of the request.
    #[must_use]
    pub fn with_request_id(mut self, id: impl Into<String>) -> Self {
        self.facts.request_id = Some(id.into());
        self
    }

    /// Adds how long the server asked to wait.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.facts.retry_after = Some(wait);
        self
    }

    /// Adds how often it was tried.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.facts.attempts = attempts;
        self
    }

    /// Says that trying again does not help, whatever the kind.
    #[must_use]
    pub fn not_retryable(mut self) -> Self {
        self.facts.is_final = true;
        self
    }

    /// Passes all texts through `scrub`.
    #[must_use]
    pub fn map_texts(mut self, scrub: impl Fn(&str) -> String) -> Self {
        let facts = &mut *self.facts;
        facts.message = scrub(&facts.message);
        for text in [&mut facts.code, &mut facts.field, &mut facts.request_id] {
            *text = text.as_deref().map(&scrub);
        }
        self
    }

    /// What sort of failure it was.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What happened, without the facts beside it.
    pub fn message(&self) -> &str {
        &self.facts.message
    }

    /// The provider that it happened at.
    pub fn provider(&self) -> Option<&str> {
        self.facts.provider.as_deref()
    }

    /// The HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        self.facts.status
    }

    /// The vendor's own code for it.
    pub fn code(&self) -> Option<&str> {
        self.facts.code.as_deref()
    }

    /// The field of the request that is at fault.
    pub fn field(&self) -> Option<&str> {
        self.facts.field.as_deref()
    }

    /// The vendor's id of the request, for its support.
    pub fn request_id(&self) -> Option<&str> {
        self.facts.request_id.as_deref()
    }

    /// How long the server asked to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        self.facts.retry_after
    }

    /// How often it was tried; 0 if it never got so far.
    pub fn attempts(&self) -> u32 {
        self.facts.attempts
    }

    /// Whether the same request may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.kind.is_retryable() && !self.facts.is_final
    }
}

/// How an error is written.
struct Message<'a>(&'a GenerateError);

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Facts {
            message,
            provider,
            status,
            request_id,
            attempts,
            ..
        } = &*self.0.facts;
        if let Some(provider) = provider {
            write!(f, "{provider}: ")?;
        }
        f.write_str(message)?;
        let notes = [
            status.map(|status| format!("status {status}")),
            request_id.as_ref().map(|id| format!("request {id}")),
            (*attempts > 1).then(|| format!("{attempts} attempts")),
        ];
        let notes: Vec<_> = notes.into_iter().flatten().collect();
        if !notes.is_empty() {
            write!(f, " ({})", notes.join(", "))?;
        }
        Ok(())
    }
}
