//! How far a vendor's batch is.
//!
//! Owns the clock of life cycles: a batch moves a step at each poll, or with time. What
//! the steps mean is the vendors' modules' matter.

use std::time::Instant;

use serde_json::Value;

use crate::app::{BatchEnd, BatchPace};

/// Steps that a batch has gone, and where it was cancelled.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) step: u32,
    entered: Instant,
    pub(crate) cancelled_at: Option<u32>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            step: 0,
            entered: Instant::now(),
            cancelled_at: None,
        }
    }

    /// Moves on when it is time to; says by how many steps.
    pub(crate) fn poll(&mut self, pace: BatchPace, now: Instant) -> u32 {
        let moved = match pace {
            BatchPace::EveryPoll => 1,
            BatchPace::Every(pause) if pause.is_zero() => u32::MAX / 2,
            BatchPace::Every(pause) => {
                let moved = now.duration_since(self.entered).as_nanos() / pause.as_nanos();
                let moved = u32::try_from(moved).unwrap_or(u32::MAX / 2);
                self.entered += pause.saturating_mul(moved);
                moved
            }
        };
        self.step = self.step.saturating_add(moved);
        moved
    }

    /// Begins the way to "cancelled", from the step it is at.
    pub(crate) fn cancel(&mut self) {
        if self.cancelled_at.is_none() {
            self.cancelled_at = Some(self.step);
            self.step = 0;
            self.entered = Instant::now();
        }
    }
}

/// How a batch ends: as its own `mock_end` says, or as the server was told.
pub(crate) fn end(own: &Value, settings: BatchEnd) -> BatchEnd {
    match own.as_str() {
        Some("completed") => BatchEnd::Completed,
        Some("expired") => BatchEnd::Expired,
        Some("failed") => BatchEnd::Failed,
        _ => settings,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Progress;
    use crate::app::BatchPace;

    #[test]
    fn a_batch_moves_at_polls_or_with_time() {
        let mut polled = Progress::new();
        polled.poll(BatchPace::EveryPoll, Instant::now());
        polled.poll(BatchPace::EveryPoll, Instant::now());
        assert_eq!(polled.step, 2);

        let begun = Instant::now();
        let mut timed = Progress::new();
        let pace = BatchPace::Every(Duration::from_secs(10));
        timed.poll(pace, begun + Duration::from_secs(5));
        assert_eq!(timed.step, 0);
        timed.poll(pace, begun + Duration::from_secs(25));
        timed.poll(pace, begun + Duration::from_secs(26));
        assert_eq!(timed.step, 2);
        timed.poll(pace, begun + Duration::from_secs(31));
        assert_eq!(timed.step, 3);
    }
}
