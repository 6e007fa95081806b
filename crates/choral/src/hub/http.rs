//! One request at a time: who may ask again, and when.
//!
//! Owns the connection pool, the token and the patience. Knows nothing of what an
//! answer means to a model. The token goes to the hub's own host and is dropped at
//! a redirect elsewhere, where files of signed addresses lie.

use super::{Event, FetchError, listing};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use ureq::config::RedirectAuthHeaders;
use ureq::http::Response;
use ureq::http::header::{HeaderMap, HeaderName, LOCATION, RETRY_AFTER};
use ureq::tls::{PemItem, RootCerts, TlsConfig};
use ureq::{Agent, Body};

/// Largest description of a repository: some thousand files have about a megabyte.
const MOST_TEXT_BYTES: u64 = 64 << 20;

/// Renamed repositories redirect to their new name, and that perhaps once more.
const MOST_MOVES: usize = 5;

const ERROR_CODE: &str = "x-error-code";

/// How patient downloads are.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Attempts in a row without progress before giving up, at least one.
    pub attempts: u32,
    /// Delay before the second attempt; it doubles with each one after.
    pub first_delay: Duration,
    /// Longest delay, whether counted out here or asked for by `Retry-After`.
    pub longest_delay: Duration,
    /// How long a connection may be silent before it counts as lost.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempts: 6,
            first_delay: Duration::from_millis(500),
            longest_delay: Duration::from_mins(2),
            silence: Duration::from_secs(30),
        }
    }
}

/// Why there is no answer to work with.
pub(super) enum Failure {
    /// It may work later.
    Passing {
        error: FetchError,
        wait: Option<Duration>,
    },
    /// The server will not, and says why.
    Refused { status: u16, code: String },
    /// It will never work.
    Final(FetchError),
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        Self::Final(error)
    }
}

/// Counts attempts that led nowhere.
pub(super) struct Attempts {
    patience: Patience,
    failed: u32,
}

impl Attempts {
    pub(super) fn new(patience: Patience) -> Self {
        Self {
            patience,
            failed: 0,
        }
    }

    /// Something was gained: all attempts are there again.
    pub(super) fn reset(&mut self) {
        self.failed = 0;
    }

    /// How long to wait before another attempt, if there is to be one. `asked` is
    /// the server's wish; one beyond all patience ends it.
    pub(super) fn next(&mut self, asked: Option<Duration>) -> Option<Duration> {
        self.failed += 1;
        let longest = self.patience.longest_delay;
        if self.failed >= self.patience.attempts || asked.is_some_and(|asked| asked > longest) {
            return None;
        }
        let doublings = (self.failed - 1).min(16);
        let delay = self.patience.first_delay.saturating_mul(1 << doublings);
        // Many clients that lost one server should not all come back at once.
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH);
        let share = nanos.map_or(0, |time| time.subsec_nanos() % 256);
        let delay = (delay + delay * share / 1024).min(longest);
        Some(delay.max(asked.unwrap_or_default()))
    }
}

/// Talks to one hub.
pub(super) struct Client {
    agent: Agent,
    authorization: Option<String>,
    patience: Patience,
}

impl Client {
    pub(super) fn new(token: Option<&str>, patience: Patience) -> Result<Self, FetchError> {
        let tls = TlsConfig::builder()
            .root_certs(root_certificates()?)
            .build();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .user_agent(concat!("choral/", env!("CARGO_PKG_VERSION")))
            // Sizes and ranges are those of the file, not of a compressed one.
            .accept_encoding("identity")
            .timeout_connect(Some(patience.silence))
            .timeout_recv_response(Some(patience.silence))
            .timeout_per_read(Some(patience.silence))
            .tls_config(tls);
        Ok(Self {
            agent: config.build().new_agent(),
            authorization: token.map(|token| format!("Bearer {token}")),
            patience,
        })
    }

    pub(super) fn has_token(&self) -> bool {
        self.authorization.is_some()
    }

    pub(super) fn attempts(&self) -> Attempts {
        Attempts::new(self.patience)
    }

    /// Asks for a file from byte `from` on. The answer is 200 or 206.
    pub(super) fn get(&self, url: &str, from: u64) -> Result<Response<Body>, Failure> {
        let mut request = self.agent.get(url);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        if from > 0 {
            request = request.header("range", format!("bytes={from}-"));
        }
        answered(url, request.call())
    }

    /// The text at an address, with patience.
    pub(super) fn text(
        &self,
        url: &str,
        patience: Patience,
        report: &mut dyn FnMut(Event<'_>),
    ) -> Result<Vec<u8>, Failure> {
        patiently(Attempts::new(patience), url, report, || {
            let mut response = self.get(url, 0)?;
            let body = response.body_mut().with_config().limit(MOST_TEXT_BYTES);
            body.read_to_vec().map_err(|error| failure(url, &error))
        })
    }

    /// The headers of a file where the hub itself keeps it: redirects to elsewhere
    /// are not followed, those to a new name are.
    pub(super) fn head(
        &self,
        url: &str,
        report: &mut dyn FnMut(Event<'_>),
    ) -> Result<Described, Failure> {
        let mut url = url.to_owned();
        for _ in 0..MOST_MOVES {
            let response = patiently(self.attempts(), &url, report, || self.head_once(&url))?;
            let headers = response.headers();
            let location = header(headers, &LOCATION);
            match location.filter(|to| response.status().is_redirection() && to.starts_with('/')) {
                Some(path) => url = format!("{}{path}", origin(&url)),
                None => return Ok(Described::read(headers, response.status().is_success())),
            }
        }
        Err(Failure::Final(FetchError::Network {
            url,
            reason: "too many redirects".to_owned(),
        }))
    }

    fn head_once(&self, url: &str) -> Result<Response<Body>, Failure> {
        let mut request = self.agent.head(url);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let request = request
            .config()
            .max_redirects(0)
            .max_redirects_will_error(false);
        answered(url, request.build().call())
    }
}

/// What headers say of a file.
pub(super) struct Described {
    pub(super) size: Option<u64>,
    pub(super) etag: Option<String>,
}

impl Described {
    fn read(headers: &HeaderMap, is_file: bool) -> Self {
        let named = |name: &'static str| header(headers, &HeaderName::from_static(name));
        let own = |name: &'static str| named(name).filter(|_| is_file);
        let size = named("x-linked-size").or_else(|| own("content-length"));
        let etag = named("x-linked-etag").or_else(|| named("etag"));
        Self {
            size: size.and_then(|size| size.parse().ok()),
            etag: etag.and_then(listing::etag),
        }
    }
}

/// Repeats what fails in passing.
fn patiently<T>(
    mut attempts: Attempts,
    what: &str,
    report: &mut dyn FnMut(Event<'_>),
    mut attempt: impl FnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    loop {
        match attempt() {
            Err(Failure::Passing { error, wait }) => {
                let Some(delay) = attempts.next(wait) else {
                    return Err(Failure::Final(error));
                };
                pause(what, &error, delay, report);
            }
            done => return done,
        }
    }
}

/// Says that there will be another attempt, and waits for it.
pub(super) fn pause(
    what: &str,
    error: &FetchError,
    delay: Duration,
    report: &mut dyn FnMut(Event<'_>),
) {
    let reason = error.to_string();
    report(Event::Retry {
        what,
        reason: &reason,
        delay,
    });
    std::thread::sleep(delay);
}

fn answered(
    url: &str,
    result: Result<Response<Body>, ureq::Error>,
) -> Result<Response<Body>, Failure> {
    let response = result.map_err(|error| failure(url, &error))?;
    let status = response.status();
    if status.is_success() || status.is_redirection() {
        return Ok(response);
    }
    let headers = response.headers();
    if !status.is_server_error() && !matches!(status.as_u16(), 408 | 429) {
        return Err(Failure::Refused {
            status: status.as_u16(),
            code: header(headers, &HeaderName::from_static(ERROR_CODE))
                .unwrap_or_default()
                .to_owned(),
        });
    }
    // The other form, a date, asks for a clock that agrees with the server's.
    let seconds = header(headers, &RETRY_AFTER).and_then(|text| text.trim().parse().ok());
    let note = seconds.map_or(String::new(), |seconds: u64| {
        format!(", it asks to wait {seconds} s")
    });
    Err(Failure::Passing {
        wait: seconds.map(Duration::from_secs),
        error: FetchError::Status {
            url: url.to_owned(),
            status: status.as_u16(),
            note,
        },
    })
}

fn failure(url: &str, error: &ureq::Error) -> Failure {
    use ureq::Error;
    let passes = match error {
        // So rustls tells of a certificate that it does not trust.
        Error::Io(error) => error.kind() != std::io::ErrorKind::InvalidData,
        Error::Timeout(_) | Error::HostNotFound | Error::ConnectionFailed | Error::Protocol(_) => {
            true
        }
        _ => false,
    };
    let error = FetchError::Network {
        url: url.to_owned(),
        reason: error.to_string(),
    };
    if passes {
        Failure::Passing { error, wait: None }
    } else {
        Failure::Final(error)
    }
}

pub(super) fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// `https://host` of an address.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find('/').map_or(url.len(), |at| host + at);
    &url[..end]
}

/// An address's path with what has a meaning there escaped, slashes kept.
pub(super) fn escaped(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(byte.into());
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Mozilla's roots, or those of `SSL_CERT_FILE`, which a proxy of one's own needs.
fn root_certificates() -> Result<RootCerts, FetchError> {
    let Some(path) = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()) else {
        return Ok(RootCerts::WebPki);
    };
    let path = std::path::PathBuf::from(path);
    let pem = std::fs::read(&path).map_err(FetchError::io(&path))?;
    let certificates = ureq::tls::parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    Ok(RootCerts::Specific(Arc::new(certificates.collect())))
}
