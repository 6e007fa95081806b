//! Reference counts and the free list. Every operation is O(1) a block.

use crate::engine::batch::BlockId;

/// After the last block of a stack.
const END: BlockId = BlockId(u32::MAX);

/// The blocks of one KV pool.
///
/// They are handed out in *stacks*: the blocks that the groups of one kind of layers
/// take for the same positions, the first of which names all of them.
#[derive(Debug)]
pub(super) struct BlockPool {
    /// By the first block of a stack.
    refs: Vec<u32>,
    /// The block behind it in its stack.
    next: Vec<BlockId>,
    /// Last in, first out: a block just given back is likely still in a CPU cache.
    free: Vec<BlockId>,
}

impl BlockPool {
    pub(super) fn new(num_blocks: u32) -> Self {
        Self {
            refs: vec![0; num_blocks as usize],
            next: vec![END; num_blocks as usize],
            free: (0..num_blocks).rev().map(BlockId).collect(),
        }
    }

    pub(super) fn num_blocks(&self) -> usize {
        self.refs.len()
    }

    pub(super) fn num_free(&self) -> usize {
        self.free.len()
    }

    pub(super) fn refs(&self, stack: BlockId) -> u32 {
        self.refs[stack.0 as usize]
    }

    /// A stack of `height` free blocks, with no reference yet.
    pub(super) fn take(&mut self, height: usize) -> Option<BlockId> {
        let left = self.free.len().checked_sub(height)?;
        let taken = self.free.drain(left..).rev();
        let mut first = END;
        let mut last = END;
        for block in taken {
            if last == END {
                first = block;
            } else {
                self.next[last.0 as usize] = block;
            }
            last = block;
        }
        self.next[last.0 as usize] = END;
        Some(first)
    }

    /// Puts the blocks of a stack without references on the free list.
    pub(super) fn put(&mut self, stack: BlockId) {
        debug_assert_eq!(self.refs(stack), 0, "{stack:?} is freed while in use");
        let mut block = stack;
        while block != END {
            self.free.push(block);
            block = self.next[block.0 as usize];
        }
    }

    /// The blocks of a stack, one for each group.
    pub(super) fn blocks(&self, stack: BlockId) -> impl Iterator<Item = BlockId> {
        std::iter::successors(Some(stack), |block| {
            Some(self.next[block.0 as usize]).filter(|&next| next != END)
        })
    }

    /// Counts one table more; returns how many there are now.
    pub(super) fn retain(&mut self, stack: BlockId) -> u32 {
        let refs = &mut self.refs[stack.0 as usize];
        *refs += 1;
        *refs
    }

    /// Counts one table less; returns how many are left.
    pub(super) fn drop_ref(&mut self, stack: BlockId) -> u32 {
        let refs = &mut self.refs[stack.0 as usize];
        *refs = refs.checked_sub(1).expect("a table held this stack");
        *refs
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) fn free_blocks(&self) -> &[BlockId] {
        &self.free
    }
}
