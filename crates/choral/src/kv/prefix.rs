//! Full blocks by what they hold, so that a prefix is computed once.
//!
//! The cache is a tree: a node is one block's tokens below one parent. The map's
//! key is that pair itself and not a hash of it, so a lookup compares tokens, and
//! two different prefixes cannot be mistaken for each other, however they hash.
//!
//! A node has a stack of blocks for each kind of layers, or has lost it: of windowed
//! layers, only the last blocks of a prefix are needed to go on behind it. What no
//! layer has a window for is needed from position 0 on, so a node goes with it. Where
//! all layers have windows, a node without any stack is still the way to those below
//! it: it lives as long as it has *users*, which are its children and the tables whose
//! cached part ends in it.

use super::list::BlockList;
use crate::engine::batch::{BLOCK_TOKENS, BlockId, KvKind};
use std::collections::HashMap;

/// The tokens of one full block.
pub(super) type BlockTokens = [u32; BLOCK_TOKENS];

/// Names a prefix of full blocks. May be used again when no table, stack or child
/// knows it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct NodeId(u64);

impl NodeId {
    /// The empty prefix.
    pub(super) const ROOT: Self = Self::root(0);

    /// An empty prefix, of which there may be several. They count from the end, nodes
    /// from the beginning.
    const fn root(number: u64) -> Self {
        Self(u64::MAX - number)
    }

    pub(super) fn is_root(self) -> bool {
        self.0 > u64::MAX / 2
    }

    fn at(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    parent: NodeId,
    tokens: BlockTokens,
}

#[derive(Debug)]
struct Node {
    key: Key,
    num_users: u32,
    num_stacks: u32,
}

/// The tree of cached blocks, and the order in which idle ones are given up.
#[derive(Debug)]
pub(super) struct PrefixCache {
    kinds: Vec<KvKind>,
    /// The kind without a window.
    whole: Option<usize>,
    map: HashMap<Key, NodeId>,
    nodes: Vec<Option<Node>>,
    vacant: Vec<NodeId>,
    /// `[nodes, kinds]`.
    stacks: Vec<Option<BlockId>>,
    /// By a stack's first block.
    owners: Vec<Option<NodeId>>,
    /// Cached stacks that no table holds.
    idle: BlockList,
    /// Blocks in them.
    num_idle: usize,
}

impl PrefixCache {
    pub(super) fn new(kinds: &[KvKind], num_blocks: u32) -> Self {
        let whole = kinds.iter().position(|kind| kind.window.is_none());
        // Room for all at once: a map that grows would stop a step for it. A node
        // without stacks is possible only where all layers have windows.
        let num_nodes = match whole {
            Some(whole) => num_blocks as usize / kinds[whole].groups,
            None => (num_blocks as usize).saturating_mul(2),
        };
        Self {
            kinds: kinds.to_vec(),
            whole,
            map: HashMap::with_capacity(num_nodes),
            nodes: (0..num_nodes).map(|_| None).collect(),
            vacant: (0..num_nodes as u64).rev().map(NodeId).collect(),
            stacks: vec![None; num_nodes * kinds.len()],
            owners: vec![None; num_blocks as usize],
            idle: BlockList::new(num_blocks),
            num_idle: 0,
        }
    }

    /// The prefix of `parent` and then `tokens`.
    pub(super) fn find(&self, parent: NodeId, tokens: BlockTokens) -> Option<NodeId> {
        self.map.get(&Key { parent, tokens }).copied()
    }

    /// What `node` has for the layers of kind `kind`.
    pub(super) fn stack(&self, node: NodeId, kind: usize) -> Option<BlockId> {
        self.stacks[node.at() * self.kinds.len() + kind]
    }

    /// Names the prefix of `parent` and then `tokens`, which [`find`] must not know of
    /// yet; `None` if there are too many.
    ///
    /// [`find`]: Self::find
    pub(super) fn insert(&mut self, parent: NodeId, tokens: BlockTokens) -> Option<NodeId> {
        let id = self.vacant.pop()?;
        let key = Key { parent, tokens };
        let before = self.map.insert(key, id);
        debug_assert!(before.is_none(), "{id:?} doubles a node");
        self.nodes[id.at()] = Some(Node {
            key,
            num_users: 0,
            num_stacks: 0,
        });
        self.pin(parent);
        Some(id)
    }

    /// Records that `stack` is what `node` has for the layers of kind `kind`; it has
    /// none yet.
    pub(super) fn attach(&mut self, node: NodeId, kind: usize, stack: BlockId) {
        let place = &mut self.stacks[node.at() * self.kinds.len() + kind];
        debug_assert!(place.is_none(), "{stack:?} doubles a cached stack");
        *place = Some(stack);
        self.owners[stack.0 as usize] = Some(node);
        self.node_mut(node).num_stacks += 1;
    }

    /// One user more.
    pub(super) fn pin(&mut self, node: NodeId) {
        if !node.is_root() {
            self.node_mut(node).num_users += 1;
        }
    }

    /// One user less.
    pub(super) fn unpin(&mut self, node: NodeId) {
        if !node.is_root() {
            self.node_mut(node).num_users -= 1;
            self.prune(node);
        }
    }

    pub(super) fn contains(&self, stack: BlockId) -> bool {
        self.owners[stack.0 as usize].is_some()
    }

    /// Blocks in idle stacks.
    pub(super) fn num_idle(&self) -> usize {
        self.num_idle
    }

    pub(super) fn set_idle(&mut self, stack: BlockId) {
        self.idle.push_newest(stack);
        self.num_idle += self.height(stack);
    }

    pub(super) fn set_live(&mut self, stack: BlockId) {
        self.idle.remove(stack);
        self.num_idle -= self.height(stack);
    }

    /// Forgets the stack that has been idle for longest, and with one that is needed
    /// from position 0 on, all that its node has. Gives each to `freed`; returns
    /// whether there was one.
    pub(super) fn evict(&mut self, mut freed: impl FnMut(BlockId)) -> bool {
        let Some(oldest) = self.idle.oldest() else {
            return false;
        };
        let node = self.owners[oldest.0 as usize].expect("idle stacks are cached");
        let is_whole = self
            .whole
            .is_some_and(|whole| self.stack(node, whole) == Some(oldest));
        for kind in 0..self.kinds.len() {
            if let Some(stack) = self.stack(node, kind)
                && (is_whole || stack == oldest)
            {
                self.set_live(stack);
                self.stacks[node.at() * self.kinds.len() + kind] = None;
                self.owners[stack.0 as usize] = None;
                self.node_mut(node).num_stacks -= 1;
                freed(stack);
            }
        }
        self.prune(node);
        true
    }

    /// Removes `node` if it is of no use, and then its parent if it was of use only to
    /// `node`.
    fn prune(&mut self, mut node: NodeId) {
        while !node.is_root() {
            let entry = &mut self.nodes[node.at()];
            let Some(Node { key, .. }) =
                entry.take_if(|node| node.num_users == 0 && node.num_stacks == 0)
            else {
                return;
            };
            self.map.remove(&key);
            self.vacant.push(node);
            node = key.parent;
            if !node.is_root() {
                self.node_mut(node).num_users -= 1;
            }
        }
    }

    fn height(&self, stack: BlockId) -> usize {
        let node = self.owners[stack.0 as usize].expect("cached");
        let kind = (0..self.kinds.len()).find(|&kind| self.stack(node, kind) == Some(stack));
        self.kinds[kind.expect("its owner has it")].groups
    }

    fn node_mut(&mut self, node: NodeId) -> &mut Node {
        self.nodes[node.at()].as_mut().expect("named while used")
    }
}

#[cfg(any(test, debug_assertions))]
mod check;
