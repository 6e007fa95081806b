//! What can go wrong, and when.
//!
//! Owns the names of faults and the decision which of them a request meets. Refuses to
//! know how one is carried out: that is `deliver`. A decision depends on the seed, the
//! request's bytes and how often they came before, so that it does not change with the
//! order in which concurrent requests arrive.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use sha2::{Digest, Sha256};
use thiserror::Error;

#[cfg(test)]
mod tests;

/// The longest wait that a fault's text may ask for.
const MAX_SECONDS: f64 = 86_400.0;

/// Something that goes wrong with one request.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing: in scripts, an attempt that goes well.
    Ok,
    /// An HTTP error in the vendor's shape.
    Status(u16, Option<RetryHint>),
    /// The connection is reset before a byte of the response.
    Reset,
    /// The connection is closed in good order before a byte of the response.
    Close,
    /// Headers come, then the connection is reset.
    ResetAfterHeaders,
    /// Silence for so long, then the answer.
    Stall(Duration),
    /// Half the body, silence for so long, then the rest.
    StallBody(Duration),
    /// Half the body or of the stream's events, then an end in good order.
    HalfStream,
    /// Half the body or of the stream's events, then the connection is closed.
    CutStream,
    /// Half the stream's events, then the vendor's error event; a 500 where nothing streams.
    StreamError,
    /// JSON that is none: a bracket is missing, in a stream in an event in its middle.
    MalformedJson,
    /// A page of HTML with status 200.
    WrongContentType,
    /// `Content-Length` promises twice what comes.
    Truncated,
    /// A redirect with this status to the other listener's same path.
    Redirect(u16),
    /// The answer, a few bytes or one event at a time, with this pause between them.
    SlowDrip(Duration),
    /// A body of so many bytes that never becomes an answer.
    HugeBody(u64),
    /// A 401 that repeats the key it was given, as some servers do.
    EchoKey,
}

/// When to try again, in one of the three ways that servers say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryHint {
    /// `retry-after: 2`.
    Seconds(u64),
    /// `retry-after: Sun, 06 Nov 1994 08:49:37 GMT`, so many seconds from now.
    Date(u64),
    /// `retry-after-ms: 150`.
    Millis(u64),
}

/// Why a fault's text was not understood.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultError {
    /// No fault has this name.
    #[error("unknown fault `{0}`")]
    Unknown(String),
    /// The part after `=` does not fit.
    #[error("fault `{name}` with `{found}`, expected {expected}")]
    Argument {
        /// The fault's name.
        name: String,
        /// What should have stood there.
        expected: &'static str,
        /// What did.
        found: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.write_str("ok"),
            Self::Status(code, None) => write!(f, "{code}"),
            Self::Status(code, Some(RetryHint::Seconds(n))) => write!(f, "{code};retry-after={n}"),
            Self::Status(code, Some(RetryHint::Date(n))) => {
                write!(f, "{code};retry-after-date={n}")
            }
            Self::Status(code, Some(RetryHint::Millis(n))) => {
                write!(f, "{code};retry-after-ms={n}")
            }
            Self::Reset => f.write_str("reset"),
            Self::Close => f.write_str("close"),
            Self::ResetAfterHeaders => f.write_str("reset-after-headers"),
            Self::Stall(wait) => write!(f, "stall={}", wait.as_secs_f64()),
            Self::StallBody(wait) => write!(f, "stall-body={}", wait.as_secs_f64()),
            Self::HalfStream => f.write_str("half-stream"),
            Self::CutStream => f.write_str("cut-stream"),
            Self::StreamError => f.write_str("stream-error"),
            Self::MalformedJson => f.write_str("malformed-json"),
            Self::WrongContentType => f.write_str("wrong-content-type"),
            Self::Truncated => f.write_str("truncated"),
            Self::Redirect(code) => write!(f, "redirect={code}"),
            Self::SlowDrip(wait) => write!(f, "slow-drip={}", wait.as_secs_f64()),
            Self::HugeBody(bytes) => write!(f, "huge-body={bytes}"),
            Self::EchoKey => f.write_str("echo-key"),
        }
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let (name, argument) = match text.split_once('=') {
            Some((name, argument)) if !name.contains(';') => (name, Some(argument)),
            _ => (text, None),
        };
        let wrong = |expected| FaultError::Argument {
            name: name.to_owned(),
            expected,
            found: argument.unwrap_or_default().to_owned(),
        };
        let seconds = || {
            let seconds = argument.and_then(|text| text.parse::<f64>().ok());
            let seconds = seconds.filter(|seconds| (0.0..=MAX_SECONDS).contains(seconds));
            seconds
                .map(Duration::from_secs_f64)
                .ok_or_else(|| wrong("seconds, at most a day"))
        };
        match name {
            "ok" => Ok(Self::Ok),
            "reset" => Ok(Self::Reset),
            "close" => Ok(Self::Close),
            "reset-after-headers" => Ok(Self::ResetAfterHeaders),
            "stall" => Ok(Self::Stall(seconds()?)),
            "stall-body" => Ok(Self::StallBody(seconds()?)),
            "half-stream" => Ok(Self::HalfStream),
            "cut-stream" => Ok(Self::CutStream),
            "stream-error" => Ok(Self::StreamError),
            "malformed-json" => Ok(Self::MalformedJson),
            "wrong-content-type" => Ok(Self::WrongContentType),
            "truncated" => Ok(Self::Truncated),
            "redirect" => match argument.unwrap_or("307").parse() {
                Ok(code @ (301 | 302 | 303 | 307 | 308)) => Ok(Self::Redirect(code)),
                _ => Err(wrong("301, 302, 303, 307 or 308")),
            },
            "slow-drip" => Ok(Self::SlowDrip(seconds()?)),
            "huge-body" => {
                let bytes = argument.and_then(|text| text.parse().ok());
                bytes
                    .map(Self::HugeBody)
                    .ok_or_else(|| wrong("a number of bytes"))
            }
            "echo-key" => Ok(Self::EchoKey),
            _ => status(text),
        }
    }
}

fn status(text: &str) -> Result<Fault, FaultError> {
    let unknown = || FaultError::Unknown(text.to_owned());
    let (code, hint) = match text.split_once(';') {
        Some((code, hint)) => (code, Some(hint)),
        None => (text, None),
    };
    let code = code
        .parse()
        .ok()
        .filter(|code| (400..600).contains(code))
        .ok_or_else(unknown)?;
    let Some(hint) = hint else {
        return Ok(Fault::Status(code, None));
    };
    let (name, number) = hint.split_once('=').ok_or_else(unknown)?;
    let number = number.parse().map_err(|_| FaultError::Argument {
        name: name.to_owned(),
        expected: "a whole number",
        found: number.to_owned(),
    })?;
    let hint = match name {
        "retry-after" => RetryHint::Seconds(number),
        "retry-after-date" => RetryHint::Date(number),
        "retry-after-ms" => RetryHint::Millis(number),
        _ => return Err(unknown()),
    };
    Ok(Fault::Status(code, Some(hint)))
}

/// Faults attempt by attempt: `429*2,reset` is two times 429, a reset, then no more.
/// `503*` never ends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script(Vec<(Fault, Option<u32>)>);

impl Script {
    /// The fault that attempt number `attempt` meets, counted from 0.
    pub fn at(&self, mut attempt: u32) -> Fault {
        for (fault, times) in &self.0 {
            match times {
                Some(times) if attempt >= *times => attempt -= times,
                _ => return fault.clone(),
            }
        }
        Fault::Ok
    }

    /// The script in the first `[[mock:...]]` of `text`, if there is one.
    ///
    /// `[[mock:words=N]]` is no script: it makes an answer longer.
    pub fn in_text(text: &str) -> Option<Result<Self, FaultError>> {
        text.match_indices("[[mock:").find_map(|(at, marker)| {
            let rest = &text[at + marker.len()..];
            let script = &rest[..rest.find("]]")?];
            (!script.starts_with("words=")).then(|| script.parse())
        })
    }
}

impl FromStr for Script {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let steps = text.split(',').map(|step| {
            let (fault, times) = match step.trim().rsplit_once('*') {
                Some((fault, "")) => (fault, None),
                Some((fault, times)) => {
                    let times = times.parse().map_err(|_| FaultError::Argument {
                        name: fault.to_owned(),
                        expected: "a number of attempts after `*`",
                        found: times.to_owned(),
                    })?;
                    (fault, Some(times))
                }
                None => (step.trim(), Some(1)),
            };
            Ok((fault.parse()?, times))
        });
        steps.collect::<Result<_, _>>().map(Self)
    }
}

/// The faults of a server: for all requests, or at random.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) script: Script,
    /// The part of requests that fail, of 1, and how.
    pub(crate) random: Option<(f64, Vec<Fault>)>,
    /// Only requests whose path has one of these in it; all, if there is none.
    pub(crate) paths: Vec<String>,
}

impl Plan {
    /// The fault of attempt number `attempt` of the request that `key` names.
    pub(crate) fn at(&self, path: &str, key: &str, attempt: u32) -> Fault {
        if !self.paths.is_empty() && !self.paths.iter().any(|part| path.contains(part.as_str())) {
            return Fault::Ok;
        }
        let scripted = self.script.at(attempt);
        let Some((probability, faults)) = &self.random else {
            return scripted;
        };
        if scripted != Fault::Ok || faults.is_empty() {
            return scripted;
        }
        let mut hash = Sha256::new();
        hash.update(self.seed.to_le_bytes());
        hash.update(attempt.to_le_bytes());
        hash.update(key.as_bytes());
        let hash = hash.finalize();
        let word =
            |at: usize| u32::from_le_bytes([hash[at], hash[at + 1], hash[at + 2], hash[at + 3]]);
        if f64::from(word(0)) / 4_294_967_296.0 < *probability {
            faults[word(4) as usize % faults.len()].clone()
        } else {
            Fault::Ok
        }
    }
}
