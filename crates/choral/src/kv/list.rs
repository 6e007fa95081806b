//! A doubly linked list of stacks, in the order in which they went idle.
//!
//! Intrusive: one link a block, allocated once, so that every operation is O(1)
//! and none allocates.

use crate::engine::batch::BlockId;

#[derive(Debug, Clone, Copy)]
struct Link {
    prev: u32,
    next: u32,
}

/// Blocks from oldest to newest. Each is in the list at most once.
#[derive(Debug)]
pub(super) struct BlockList {
    /// One a block, and a last one that closes the ring: its `next` is the
    /// oldest block and its `prev` the newest. A block outside points at itself.
    links: Vec<Link>,
}

impl BlockList {
    pub(super) fn new(num_blocks: u32) -> Self {
        let links = (0..=num_blocks)
            .map(|at| Link { prev: at, next: at })
            .collect();
        Self { links }
    }

    pub(super) fn contains(&self, block: BlockId) -> bool {
        self.links[block.0 as usize].next != block.0
    }

    pub(super) fn push_newest(&mut self, block: BlockId) {
        debug_assert!(!self.contains(block), "{block:?} is in the list already");
        let end = self.end();
        let newest = self.links[end as usize].prev;
        self.links[block.0 as usize] = Link {
            prev: newest,
            next: end,
        };
        self.links[newest as usize].next = block.0;
        self.links[end as usize].prev = block.0;
    }

    pub(super) fn oldest(&self) -> Option<BlockId> {
        let oldest = self.links[self.end() as usize].next;
        (oldest != self.end()).then_some(BlockId(oldest))
    }

    pub(super) fn remove(&mut self, block: BlockId) {
        debug_assert!(self.contains(block), "{block:?} is not in the list");
        let Link { prev, next } = self.links[block.0 as usize];
        self.links[prev as usize].next = next;
        self.links[next as usize].prev = prev;
        self.links[block.0 as usize] = Link {
            prev: block.0,
            next: block.0,
        };
    }

    /// From oldest to newest.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn iter(&self) -> impl Iterator<Item = BlockId> {
        let mut at = self.end();
        std::iter::from_fn(move || {
            at = self.links[at as usize].next;
            (at != self.end()).then_some(BlockId(at))
        })
    }

    fn end(&self) -> u32 {
        (self.links.len() - 1) as u32
    }
}
