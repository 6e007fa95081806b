//! How many blocks a sequence needs: arithmetic, before there are any.

use crate::engine::batch::KvKind;

/// What sequences of one model, run by one engine, need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KvNeeds {
    kinds: Vec<KvKind>,
    /// Most tokens of a sequence in a step.
    step_tokens: usize,
}

impl KvNeeds {
    pub(crate) fn new(kinds: Vec<KvKind>, step_tokens: usize) -> Self {
        Self { kinds, step_tokens }
    }

    pub(crate) fn kinds(&self) -> &[KvKind] {
        &self.kinds
    }

    #[cfg(any(test, debug_assertions))]
    pub(crate) fn step_tokens(&self) -> usize {
        self.step_tokens
    }

    /// Groups of layers, and so blocks that hold the same positions in all layers.
    pub(crate) fn num_groups(&self) -> usize {
        self.kinds.iter().map(|kind| kind.groups).sum()
    }

    /// The most blocks that one group of kind `kind` holds for `num_tokens` tokens.
    pub(crate) fn most_blocks(&self, kind: usize, num_tokens: usize) -> usize {
        self.kinds[kind].most_blocks(num_tokens, self.step_tokens)
    }

    /// The most blocks that a sequence of `num_tokens` tokens holds at a time.
    pub(crate) fn blocks(&self, num_tokens: usize) -> usize {
        let of = |kind: &KvKind| {
            let most = kind.most_blocks(num_tokens, self.step_tokens);
            most.saturating_mul(kind.groups)
        };
        self.kinds.iter().map(of).fold(0, usize::saturating_add)
    }

    /// The longest sequence, of up to `most` tokens, that `num_blocks` hold.
    pub(crate) fn tokens_in(&self, num_blocks: usize, most: usize) -> usize {
        let (mut fits, mut end) = (0, most.saturating_add(1));
        while end - fits > 1 {
            let middle = fits + (end - fits) / 2;
            if self.blocks(middle) <= num_blocks {
                fits = middle;
            } else {
                end = middle;
            }
        }
        fits
    }
}
