//! Full blocks by what they hold, so that a prefix is computed once.
//!
//! The cache is a tree: a node is one block's tokens below one parent. The map's
//! key is that pair itself and not a hash of it, so a lookup compares tokens, and
//! two different prefixes cannot be mistaken for each other, however they hash.
//! Node names are never used twice, so a node that was evicted cannot be mistaken
//! for a later one either.

use super::list::BlockList;
use crate::engine::batch::{BLOCK_TOKENS, BlockId};
use std::collections::HashMap;

/// The tokens of one full block.
pub(super) type BlockTokens = [u32; BLOCK_TOKENS];

/// Names a prefix of full blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct NodeId(u64);

impl NodeId {
    /// The empty prefix.
    pub(super) const ROOT: Self = Self(0);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    parent: NodeId,
    tokens: BlockTokens,
}

#[derive(Debug)]
struct Node {
    id: NodeId,
    key: Key,
}

/// The tree of cached blocks, and the order in which idle ones are given up.
#[derive(Debug)]
pub(super) struct PrefixCache {
    blocks: HashMap<Key, BlockId>,
    /// By block.
    nodes: Vec<Option<Node>>,
    /// Cached blocks that no table holds.
    idle: BlockList,
    num_named: u64,
}

impl PrefixCache {
    pub(super) fn new(num_blocks: u32) -> Self {
        Self {
            // Room for all at once: a map that grows would stop a step for it.
            blocks: HashMap::with_capacity(num_blocks as usize),
            nodes: (0..num_blocks).map(|_| None).collect(),
            idle: BlockList::new(num_blocks),
            num_named: 0,
        }
    }

    /// The block that holds `tokens` after `parent`, and the name of that prefix.
    pub(super) fn find(&self, parent: NodeId, tokens: BlockTokens) -> Option<(BlockId, NodeId)> {
        let block = *self.blocks.get(&Key { parent, tokens })?;
        Some((block, self.node(block).id))
    }

    /// Records that `block` holds `tokens` after `parent`, which [`find`] must not
    /// know of yet.
    ///
    /// [`find`]: Self::find
    pub(super) fn insert(&mut self, parent: NodeId, tokens: BlockTokens, block: BlockId) -> NodeId {
        self.num_named += 1;
        let id = NodeId(self.num_named);
        let key = Key { parent, tokens };
        let before = self.blocks.insert(key, block);
        debug_assert!(before.is_none(), "{block:?} doubles a cached block");
        self.nodes[block.0 as usize] = Some(Node { id, key });
        id
    }

    pub(super) fn contains(&self, block: BlockId) -> bool {
        self.nodes[block.0 as usize].is_some()
    }

    pub(super) fn num_idle(&self) -> usize {
        self.idle.len()
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) fn is_idle(&self, block: BlockId) -> bool {
        self.idle.contains(block)
    }

    pub(super) fn set_idle(&mut self, block: BlockId) {
        self.idle.push_newest(block);
    }

    pub(super) fn set_live(&mut self, block: BlockId) {
        self.idle.remove(block);
    }

    /// Forgets the block that has been idle for longest and returns it.
    pub(super) fn evict(&mut self) -> Option<BlockId> {
        let block = self.idle.pop_oldest()?;
        let node = self.nodes[block.0 as usize]
            .take()
            .expect("idle blocks are cached");
        self.blocks.remove(&node.key);
        Some(block)
    }

    fn node(&self, block: BlockId) -> &Node {
        self.nodes[block.0 as usize]
            .as_ref()
            .expect("the map names cached blocks only")
    }

    /// Invariants 3 and 4 as far as the cache can see them.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn check(&self, is_live: impl Fn(BlockId) -> bool) -> Result<(), String> {
        use std::collections::HashSet;

        let cached = self.nodes.iter().flatten().count();
        if cached != self.blocks.len() {
            return Err(format!("{cached} nodes, {} keys", self.blocks.len()));
        }
        let names: HashSet<_> = self.nodes.iter().flatten().map(|node| node.id).collect();
        for (key, &block) in &self.blocks {
            if self.node(block).key != *key {
                return Err(format!("{block:?} is filed under another block's key"));
            }
            if key.parent != NodeId::ROOT && !names.contains(&key.parent) {
                return Err(format!("{block:?} outlived its parent"));
            }
            if is_live(block) == self.is_idle(block) {
                return Err(format!(
                    "{block:?} is cached and both or neither idle and live"
                ));
            }
        }
        let mut idle = HashSet::new();
        for block in self.idle.iter() {
            if !self.contains(block) {
                return Err(format!("{block:?} is idle but not cached"));
            }
            if idle.contains(&self.node(block).key.parent) {
                return Err(format!("{block:?} would be evicted after its parent"));
            }
            idle.insert(self.node(block).id);
        }
        if idle.len() == self.idle.len() {
            Ok(())
        } else {
            Err(format!(
                "{} idle blocks counted, {} listed",
                self.idle.len(),
                idle.len()
            ))
        }
    }

    /// The cached block's name, for checks of tables.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn name(&self, block: BlockId) -> Option<NodeId> {
        self.nodes[block.0 as usize].as_ref().map(|node| node.id)
    }
}
