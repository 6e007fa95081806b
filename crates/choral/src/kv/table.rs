//! One sequence's blocks, in order of position.

use super::prefix::NodeId;
use crate::engine::batch::{BLOCK_TOKENS, BlockId};

/// A column of stacks for each kind of layers: position `p` lives in the stack for
/// block `p / BLOCK_TOKENS`.
///
/// Only the ledger changes a table. Not `Clone`: a second holder is a second
/// reference, and only [`fork`](super::BlockLedger::fork) counts it.
#[derive(Debug)]
pub(crate) struct BlockTable {
    /// None at all in the table of a sequence that waits.
    pub(super) columns: Vec<Column>,
    /// How many blocks, from position 0, are the prefix cache's.
    pub(super) num_cached: usize,
    /// The cache's name for those.
    pub(super) tip: NodeId,
}

/// What one kind of layers holds: the blocks `[first, end)` of the sequence, those
/// before it being below every later query's window.
#[derive(Debug, Default)]
pub(crate) struct Column {
    pub(super) first: usize,
    pub(super) stacks: Vec<BlockId>,
}

impl Column {
    /// For checks.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn first(&self) -> usize {
        self.first
    }

    pub(crate) fn end(&self) -> usize {
        self.first + self.stacks.len()
    }

    /// The stack for block `at`, if it is held.
    pub(super) fn get(&self, at: usize) -> Option<BlockId> {
        self.stacks.get(at.checked_sub(self.first)?).copied()
    }

    pub(super) fn set(&mut self, at: usize, stack: BlockId) {
        self.stacks[at - self.first] = stack;
    }
}

impl BlockTable {
    pub(crate) const fn empty() -> Self {
        Self {
            columns: Vec::new(),
            num_cached: 0,
            tip: NodeId::ROOT,
        }
    }

    /// For checks.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// How many positions, from 0 on, it has had blocks for.
    pub(crate) fn room(&self) -> usize {
        let ends = self.columns.iter().map(Column::end);
        ends.min().unwrap_or(0) * BLOCK_TOKENS
    }
}

#[cfg(test)]
impl BlockTable {
    /// The stacks of the only kind.
    pub(super) fn blocks(&self) -> &[BlockId] {
        assert!(self.columns.len() == 1 && self.columns[0].first == 0);
        &self.columns[0].stacks
    }
}
