//! An engine under load: requests as they arrive, and what their readers see.
//!
//! [`Load::run`] sends requests, either so many at a time or at the times of a
//! [`poisson`] process, and keeps a [`Trace`] of each. [`LoadReport`] makes the usual
//! figures of traces, by the names that vLLM's benchmark gave them; [`Slo`] says which
//! of the requests were good enough. [`Ceiling`] is what the machine allows at most.
//!
//! Knows nothing of how figures are shown.
//!
//! ```
//! use choral::load::{Load, LoadReport, Pace, Slo};
//! use choral::{Engine, Request, SamplingParams};
//! use std::num::NonZeroUsize;
//!
//! let engine = Engine::builder().build()?;
//! let params = SamplingParams { max_tokens: Some(4), ..Default::default() };
//! let request = || Request::new("Once upon a time").with_params(params.clone());
//! let run = Load::new(&engine, vec![request(), request(), request()])
//!     .pace(Pace::Concurrency(NonZeroUsize::new(2).expect("not 0")))
//!     .run();
//! let slo: Slo = "ttft=10s,itl=10s".parse()?;
//! let report = LoadReport::new(&run, Some(&slo));
//! assert_eq!(report.completed, 3);
//! assert_eq!(report.request_goodput, Some(report.request_throughput));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod arrivals;
mod ceiling;
mod report;
mod run;
mod slo;
mod statistics;

#[cfg(test)]
mod tests;

pub use arrivals::poisson;
pub use ceiling::{Ceiling, StepWork, peak_for};
pub use report::LoadReport;
pub use run::{Ended, Load, LoadRun, Pace, Stopper, Trace};
pub use slo::{Slo, SloError};
pub use statistics::{Spread, percentile};
