//! Reference counts and the free list. Every operation is O(1).

use crate::engine::batch::BlockId;

/// The blocks of one KV pool.
#[derive(Debug)]
pub(super) struct BlockPool {
    refs: Vec<u32>,
    /// Last in, first out: a block just given back is likely still in a CPU cache.
    free: Vec<BlockId>,
}

impl BlockPool {
    pub(super) fn new(num_blocks: u32) -> Self {
        Self {
            refs: vec![0; num_blocks as usize],
            free: (0..num_blocks).rev().map(BlockId).collect(),
        }
    }

    pub(super) fn num_blocks(&self) -> usize {
        self.refs.len()
    }

    pub(super) fn num_free(&self) -> usize {
        self.free.len()
    }

    pub(super) fn refs(&self, block: BlockId) -> u32 {
        self.refs[block.0 as usize]
    }

    /// A free block, with no reference yet.
    pub(super) fn take(&mut self) -> Option<BlockId> {
        self.free.pop()
    }

    /// Puts a block without references on the free list.
    pub(super) fn put(&mut self, block: BlockId) {
        debug_assert_eq!(self.refs(block), 0, "{block:?} is freed while in use");
        self.free.push(block);
    }

    /// Counts one table more; returns how many there are now.
    pub(super) fn retain(&mut self, block: BlockId) -> u32 {
        let refs = &mut self.refs[block.0 as usize];
        *refs += 1;
        *refs
    }

    /// Counts one table less; returns how many are left.
    pub(super) fn drop_ref(&mut self, block: BlockId) -> u32 {
        let refs = &mut self.refs[block.0 as usize];
        *refs = refs.checked_sub(1).expect("a table held this block");
        *refs
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) fn free_blocks(&self) -> &[BlockId] {
        &self.free
    }
}
