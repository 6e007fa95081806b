//! What a step runs, beside the batch itself: whose rows they are, and which rows
//! of logits belong to whom.

use super::sequence::{Finish, RequestId};
use std::ops::Range;

/// Names a live sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SeqId(pub(crate) u32);

/// One row of the batch.
#[derive(Debug, Clone)]
pub(crate) struct ScheduledRow {
    pub(crate) seq: SeqId,
    pub(crate) request: RequestId,
    /// First position that runs.
    pub(crate) start: usize,
    /// How many positions run.
    pub(crate) len: usize,
    /// Whether the sequence's last token is among them.
    pub(crate) completes: bool,
    /// How many tokens are drawn from the last position's logits: none before
    /// that position, one for each answer that splits off there, else one.
    pub(crate) num_draws: u32,
    /// The last position's logits, if it completes and anything is drawn or owed:
    /// a row of the step's logits.
    pub(crate) draw_logits: Option<usize>,
    /// Prompt positions whose logits are handed out.
    pub(crate) prompt_positions: Range<usize>,
    /// The first one's row in the step's logits.
    pub(crate) prompt_logits: usize,
    /// The last prompt position's row in the step's hidden norms.
    pub(crate) hidden: Option<usize>,
}

/// A request's first step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Admission {
    pub(crate) request: RequestId,
    /// Prompt tokens that need not be computed.
    pub(crate) num_cached_tokens: usize,
}

/// One step's plan. Reused from step to step.
#[derive(Debug, Default)]
pub(crate) struct ScheduledStep {
    pub(crate) rows: Vec<ScheduledRow>,
    pub(crate) admitted: Vec<Admission>,
    pub(crate) num_preempted: usize,
    /// Tokens that continue an answer, one a row.
    pub(crate) num_decode_tokens: usize,
    /// Tokens of prompts, and of answers that are computed again.
    pub(crate) num_prefill_tokens: usize,
}

impl ScheduledStep {
    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.admitted.clear();
        self.num_preempted = 0;
        self.num_decode_tokens = 0;
        self.num_prefill_tokens = 0;
    }
}

/// What came of one draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Draw {
    Token(u32),
    /// The sequence cannot go on.
    Failed,
}

/// What a step brought to one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) request: RequestId,
    pub(crate) choice: u32,
    /// Whether the next draw was for it; not if nothing was to be drawn.
    pub(crate) has_draw: bool,
    /// Whether and how it ended the answer.
    pub(crate) finish: Option<Finish>,
}

/// An answer that was ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) request: RequestId,
    pub(crate) choice: u32,
}
