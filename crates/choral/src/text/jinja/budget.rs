//! Bounds on what one render may do.
//!
//! Work and memory are counted, not measured: every evaluated node costs a
//! step, and every operation that makes a string or a container pays for its
//! bytes *before* it makes them. The byte count never goes down, so it bounds
//! both the memory held at any time and the time spent copying. No clock and no
//! allocator hook is needed, and the same template always stops at the same
//! place.

use super::error::{Error, Result};

/// How much one render may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenderLimits {
    /// Evaluated nodes, loop iterations and visited elements.
    pub max_steps: u64,
    /// Bytes of all strings and containers made during the render, including
    /// those already dropped and the output itself.
    pub max_bytes: u64,
}

impl Default for RenderLimits {
    /// About a second of work and 256 MiB. Published templates need some
    /// thousand steps a message and a few times the bytes of the conversation.
    fn default() -> Self {
        Self {
            max_steps: 20_000_000,
            max_bytes: 256 << 20,
        }
    }
}

/// What is left of the [`RenderLimits`] of a render.
#[derive(Debug)]
pub(crate) struct Budget {
    steps: u64,
    bytes: u64,
    limits: RenderLimits,
}

impl Budget {
    pub(crate) fn new(limits: RenderLimits) -> Self {
        Self {
            steps: limits.max_steps,
            bytes: limits.max_bytes,
            limits,
        }
    }

    /// Pays for `count` steps.
    pub(crate) fn steps(&mut self, count: usize) -> Result<()> {
        match self.steps.checked_sub(count as u64) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => Err(Error::limit(format!(
                "template exceeds {} steps",
                self.limits.max_steps
            ))),
        }
    }

    /// Pays for `count` bytes about to be allocated, and for the time to fill
    /// them.
    pub(crate) fn bytes(&mut self, count: usize) -> Result<()> {
        match self.bytes.checked_sub(count as u64) {
            Some(left) => {
                self.bytes = left;
                self.steps(count / 64)
            }
            None => Err(Error::limit(format!(
                "template makes more than {} bytes of text and values",
                self.limits.max_bytes
            ))),
        }
    }

    /// Pays for reading `count` bytes without keeping any.
    pub(crate) fn read(&mut self, count: usize) -> Result<()> {
        self.steps(count / 64)
    }

    /// Pays for a container of `count` elements, each of which may come with
    /// a small allocation of its own.
    pub(crate) fn elements(&mut self, count: usize) -> Result<()> {
        self.bytes(count.saturating_mul(2 * size_of::<super::value::Value>()))?;
        self.steps(count)
    }
}
