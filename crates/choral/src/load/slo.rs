//! What is good enough.

use super::run::Trace;
use std::str::FromStr;

/// The longest times with which a request still counts as good (service level
/// objectives), in seconds. A request that failed never does.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Slo {
    /// To the first token (TTFT).
    pub ttft: Option<f64>,
    /// A token of the answer after the first, on average (TPOT).
    pub tpot: Option<f64>,
    /// Between two tokens (ITL): each gap, so that one stall is one too many.
    pub itl: Option<f64>,
    /// To the end (E2EL).
    pub e2el: Option<f64>,
}

/// Why a text is no [`Slo`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SloError {
    /// An entry is not of the form `NAME=TIME`.
    #[error("`{0}` is not NAME=TIME, such as ttft=500ms")]
    Entry(String),
    /// No such time is measured.
    #[error("`{0}` is not measured, expected ttft, tpot, itl or e2el")]
    Name(String),
    /// A time is given twice.
    #[error("`{0}` is given twice")]
    Twice(String),
    /// A time is none.
    #[error("`{0}` is not a time, expected a number above 0 with ms or s")]
    Time(String),
}

impl Slo {
    /// Whether a request was good enough.
    pub fn is_met(&self, trace: &Trace) -> bool {
        let within = |limit: Option<f64>, time: Option<f64>| match (limit, time) {
            (Some(limit), Some(time)) => time <= limit,
            _ => true,
        };
        trace.error.is_none()
            && within(self.ttft, trace.ttft)
            && within(self.tpot, trace.tpot())
            && within(self.itl, trace.gaps.iter().copied().reduce(f64::max))
            && within(self.e2el, Some(trace.e2e))
    }
}

/// Reads `ttft=500ms,itl=50ms`. A number without a unit is milliseconds.
impl FromStr for Slo {
    type Err = SloError;

    fn from_str(text: &str) -> Result<Self, SloError> {
        let mut slo = Self::default();
        for entry in text.split(',') {
            let (name, time) = entry
                .split_once('=')
                .ok_or_else(|| SloError::Entry(entry.to_owned()))?;
            let field = match name.trim() {
                "ttft" => &mut slo.ttft,
                "tpot" => &mut slo.tpot,
                "itl" => &mut slo.itl,
                "e2el" => &mut slo.e2el,
                other => return Err(SloError::Name(other.to_owned())),
            };
            let time = seconds(time.trim()).ok_or_else(|| SloError::Time(time.to_owned()))?;
            if field.replace(time).is_some() {
                return Err(SloError::Twice(name.trim().to_owned()));
            }
        }
        Ok(slo)
    }
}

fn seconds(text: &str) -> Option<f64> {
    let (number, scale) = if let Some(number) = text.strip_suffix("ms") {
        (number, 1e-3)
    } else if let Some(number) = text.strip_suffix('s') {
        (number, 1.0)
    } else {
        (text, 1e-3)
    };
    let time = number.trim().parse::<f64>().ok()? * scale;
    (time.is_finite() && time > 0.0).then_some(time)
}
