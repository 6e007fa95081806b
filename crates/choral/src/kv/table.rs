//! One sequence's blocks, in order of position.

use super::prefix::NodeId;
use crate::engine::batch::BlockId;

/// Position `p` lives in block `p / BLOCK_TOKENS`.
///
/// Only the ledger changes a table. Not `Clone`: a second holder is a second
/// reference, and only [`fork`](super::BlockLedger::fork) counts it.
#[derive(Debug)]
pub(crate) struct BlockTable {
    pub(super) blocks: Vec<BlockId>,
    /// How many of them, from the front, are the prefix cache's.
    pub(super) num_cached: usize,
    /// The cache's name for those.
    pub(super) tip: NodeId,
}

impl BlockTable {
    pub(crate) const fn empty() -> Self {
        Self {
            blocks: Vec::new(),
            num_cached: 0,
            tip: NodeId::ROOT,
        }
    }

    /// Makes room for `num_blocks` in all, so that growing to them does not allocate.
    pub(crate) fn reserve(&mut self, num_blocks: usize) {
        let more = num_blocks.saturating_sub(self.blocks.len());
        self.blocks.reserve_exact(more);
    }

    pub(crate) fn blocks(&self) -> &[BlockId] {
        &self.blocks
    }
}
