//! One answer in the making, and the rules by which it ends.

use super::SeqId;
use crate::engine::request::{FinishReason, StopReason};
use crate::engine::{Mix, PromptImages};
use crate::kv::{BlockLedger, BlockTable, Tokens};
use std::sync::Arc;

/// The engine's own name for a request; the caller's may not be unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RequestId(pub(crate) u64);

/// What a request asks of the scheduler. The same for all its answers.
#[derive(Debug)]
pub(crate) struct Rules {
    /// How many answers.
    pub(crate) n: u32,
    /// Most new tokens of an answer: what was asked for, or as many as the
    /// context has room for. 0 computes the prompt and draws nothing.
    pub(crate) max_new_tokens: usize,
    /// No token ends an answer before it has this many.
    pub(crate) min_tokens: usize,
    /// The model's own; empty where they are to be ignored.
    pub(crate) end_token_ids: Arc<[u32]>,
    /// The request's own.
    pub(crate) stop_token_ids: Vec<u32>,
    /// Whether the logits of the prompt's positions are wanted.
    pub(crate) prompt_logits: bool,
    /// Whether the last prompt position's hidden norms are wanted.
    pub(crate) diagnostics: bool,
    /// What adapters it runs with.
    pub(crate) mix: Arc<Mix>,
    /// The prompt's pictures.
    pub(crate) images: PromptImages,
}

/// Why and by what an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finish {
    pub(crate) reason: FinishReason,
    pub(crate) stop: Option<StopReason>,
}

impl Finish {
    pub(crate) const LENGTH: Self = Self {
        reason: FinishReason::Length,
        stop: None,
    };
}

impl Rules {
    /// Positions that one answer may come to compute: the last token is drawn, and
    /// never computed.
    pub(crate) fn most_computed(&self, prompt_len: usize) -> usize {
        prompt_len + self.max_new_tokens.saturating_sub(1)
    }

    /// Whether `token` ends an answer that had `num_before` tokens before it.
    pub(crate) fn verdict(&self, num_before: usize, token: u32) -> Option<Finish> {
        if num_before >= self.min_tokens {
            let stopped_by = |stop| {
                Some(Finish {
                    reason: FinishReason::Stop,
                    stop,
                })
            };
            if self.end_token_ids.contains(&token) {
                return stopped_by(None);
            }
            if self.stop_token_ids.contains(&token) {
                return stopped_by(Some(StopReason::Token(token)));
            }
        }
        (num_before + 1 >= self.max_new_tokens).then_some(Finish::LENGTH)
    }
}

/// One answer. Its tokens are `[0, num_computed)` in the cache and
/// `[num_computed, len)` to be run; when the second part is empty, a
/// token is drawn. Prompt chunks, prefix hits, decoding and recomputation after a
/// preemption are all that one chase.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub(super) request: RequestId,
    /// Which of the request's answers; the first one, while they are not split.
    pub(super) choice: u32,
    /// When its request came: the lower, the older, the sooner it runs.
    pub(super) arrival: u64,
    /// Shared with the request's other answers.
    pub(super) prompt: Arc<[u32]>,
    /// The tokens drawn so far.
    pub(super) output: Vec<u32>,
    pub(super) num_computed: usize,
    /// Empty while it waits.
    pub(super) table: BlockTable,
    pub(super) rules: Arc<Rules>,
    /// Answers that split off from this one when the prompt is computed.
    pub(super) num_forks: u32,
    /// Positions whose prompt logits have been handed out.
    pub(super) num_reported: usize,
    /// Whether it has ever run.
    pub(super) was_admitted: bool,
}

impl Sequence {
    pub(crate) fn tokens(&self) -> Tokens<'_> {
        Tokens {
            prompt: &self.prompt,
            output: &self.output,
            mix: self.rules.mix.number(),
            images: &self.rules.images,
        }
    }

    pub(crate) fn choice(&self) -> u32 {
        self.choice
    }

    pub(super) fn len(&self) -> usize {
        self.prompt.len() + self.output.len()
    }

    pub(super) fn num_to_run(&self) -> usize {
        self.len() - self.num_computed
    }

    /// Makes room for all that it may come to hold: steps do not allocate for it.
    pub(super) fn reserve(&mut self, ledger: &BlockLedger) {
        let to_come = self.rules.max_new_tokens.saturating_sub(self.output.len());
        self.output.reserve_exact(to_come);
        let most = self.most_computed();
        ledger.reserve(&mut self.table, most);
    }

    /// Positions that it may come to compute.
    pub(super) fn most_computed(&self) -> usize {
        self.rules.most_computed(self.prompt.len())
    }

    /// How many of its next tokens it has blocks for.
    pub(super) fn room(&self) -> usize {
        self.table.room() - self.num_computed
    }

    /// Order of service: by age, then by choice.
    pub(super) fn rank(&self) -> (u64, u32) {
        (self.arrival, self.choice)
    }

    /// How many of the first tokens may come from the prefix cache.
    ///
    /// Never the last, for its logits are needed. No position whose prompt logits
    /// are still owed; and nothing at all before diagnostics were taken, so that
    /// they show a whole computation.
    pub(super) fn readable(&self) -> usize {
        if self.rules.diagnostics && self.output.is_empty() {
            return 0;
        }
        let owed_from = match self.prompt_logits_owed() {
            (from, to) if from < to => from,
            _ => usize::MAX,
        };
        owed_from.min(self.len() - 1)
    }

    /// Positions (from, to) whose prompt logits are still to be handed out. The
    /// last prompt position is not one: what follows it is not the prompt.
    pub(super) fn prompt_logits_owed(&self) -> (usize, usize) {
        if self.rules.prompt_logits {
            (self.num_reported, self.prompt.len() - 1)
        } else {
            (0, 0)
        }
    }
}

/// Sequences by [`SeqId`]. A name is used again only after its sequence is gone.
#[derive(Debug, Default)]
pub(super) struct Slab {
    entries: Vec<Option<Sequence>>,
    vacant: Vec<SeqId>,
}

impl Slab {
    pub(super) fn insert(&mut self, sequence: Sequence) -> SeqId {
        if let Some(id) = self.vacant.pop() {
            self.entries[id.0 as usize] = Some(sequence);
            return id;
        }
        self.entries.push(Some(sequence));
        SeqId((self.entries.len() - 1) as u32)
    }

    pub(super) fn remove(&mut self, id: SeqId) -> Sequence {
        let sequence = self.entries[id.0 as usize].take();
        self.vacant.push(id);
        sequence.expect("live sequence: only `end` removes")
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Sequence> {
        self.entries.iter().flatten()
    }
}

impl std::ops::Index<SeqId> for Slab {
    type Output = Sequence;

    fn index(&self, id: SeqId) -> &Sequence {
        self.entries[id.0 as usize].as_ref().expect("live sequence")
    }
}

impl std::ops::IndexMut<SeqId> for Slab {
    fn index_mut(&mut self, id: SeqId) -> &mut Sequence {
        self.entries[id.0 as usize].as_mut().expect("live sequence")
    }
}
