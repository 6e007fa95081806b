//! A sequence's tokens, as seen by who needs them in one piece.

use super::prefix::BlockTokens;
use crate::engine::PromptImages;
use crate::engine::batch::BLOCK_TOKENS;
use std::ops::Range;

/// A prompt, which many answers may share, and one answer behind it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tokens<'a> {
    pub(crate) prompt: &'a [u32],
    pub(crate) output: &'a [u32],
    /// Number of the adapters that they run through: others give other keys and
    /// values.
    pub(crate) mix: u64,
    /// Pictures in the prompt, whose tokens are the same whichever they are.
    pub(crate) images: &'a PromptImages,
}

impl<'a> Tokens<'a> {
    pub(crate) fn len(self) -> usize {
        self.prompt.len() + self.output.len()
    }

    /// The tokens at `range`, in the two pieces that they are in.
    pub(crate) fn pieces(self, range: Range<usize>) -> [&'a [u32]; 2] {
        let split = self.prompt.len();
        let in_prompt = range.start.min(split)..range.end.min(split);
        let in_output = range.start.max(split) - split..range.end.max(split) - split;
        [&self.prompt[in_prompt], &self.output[in_output]]
    }

    /// The tokens of block `at`, if they fill it.
    pub(super) fn block(self, at: usize) -> Option<BlockTokens> {
        let range = at * BLOCK_TOKENS..(at + 1) * BLOCK_TOKENS;
        if range.end > self.len() {
            return None;
        }
        let [head, tail] = self.pieces(range.clone());
        let mut block = [0; BLOCK_TOKENS];
        let (front, back) = block.split_at_mut(head.len());
        front.copy_from_slice(head);
        back.copy_from_slice(tail);
        self.images.name(range, &mut block);
        Some(BlockTokens {
            mix: self.mix,
            tokens: block,
        })
    }
}

#[cfg(test)]
impl<'a> From<&'a [u32]> for Tokens<'a> {
    fn from(prompt: &'a [u32]) -> Self {
        Self {
            prompt,
            output: &[],
            mix: 0,
            images: &crate::engine::NO_IMAGES,
        }
    }
}
