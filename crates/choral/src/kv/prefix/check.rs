//! The cache's invariants, for tests and for debug builds that go idle.

use super::{NodeId, PrefixCache};
use crate::engine::batch::BlockId;
use std::collections::{HashMap, HashSet};

impl PrefixCache {
    /// Invariants 3 to 5 as far as the cache can see them. `tips` are those of all
    /// tables.
    pub(in crate::kv) fn check(
        &self,
        is_live: impl Fn(BlockId) -> bool,
        tips: impl Iterator<Item = NodeId>,
    ) -> Result<(), String> {
        let num_named = self.nodes.iter().flatten().count();
        if num_named != self.map.len() || num_named + self.vacant.len() != self.nodes.len() {
            let keys = self.map.len();
            return Err(format!("{num_named} nodes, {keys} keys"));
        }
        let mut users: HashMap<NodeId, u32> = HashMap::new();
        for tip in tips.chain(self.map.keys().map(|key| key.parent)) {
            *users.entry(tip).or_default() += 1;
        }
        let mut num_stacks = 0;
        for (key, &id) in &self.map {
            let Some(node) = &self.nodes[id.at()] else {
                return Err(format!("{id:?} has a key and is no node"));
            };
            if node.key != *key {
                return Err(format!("{id:?} is filed under another node's key"));
            }
            if !key.parent.is_root() && self.nodes[key.parent.at()].is_none() {
                return Err(format!("{id:?} outlived its parent"));
            }
            let held: Vec<_> = (0..self.kinds.len())
                .filter_map(|kind| self.stack(id, kind))
                .collect();
            if held.iter().any(|s| self.owners[s.0 as usize] != Some(id)) {
                return Err(format!("{id:?} has what another node owns"));
            }
            let num_users = users.get(&id).copied().unwrap_or(0);
            if (node.num_stacks as usize, node.num_users) != (held.len(), num_users) {
                return Err(format!(
                    "{node:?} has {} stacks, {num_users} users",
                    held.len()
                ));
            }
            if held.is_empty() && num_users == 0 {
                return Err(format!("{id:?} is of no use"));
            }
            if self
                .whole
                .is_some_and(|kind| self.stack(id, kind).is_none())
            {
                return Err(format!("{id:?} lacks what is needed from position 0 on"));
            }
            num_stacks += held.len();
        }
        let owned = self.owners.iter().flatten().count();
        if owned != num_stacks {
            return Err(format!("{owned} owners of {num_stacks} stacks"));
        }
        self.check_idle(is_live)
    }

    fn check_idle(&self, is_live: impl Fn(BlockId) -> bool) -> Result<(), String> {
        for at in 0..self.owners.len() {
            let stack = BlockId(at as u32);
            let cached = self.contains(stack);
            if self.idle.contains(stack) != (cached && !is_live(stack)) {
                return Err(format!("{stack:?} is wrongly idle, or wrongly not"));
            }
        }
        let (mut num_blocks, mut stems) = (0, HashSet::new());
        for stack in self.idle.iter() {
            num_blocks += self.height(stack);
            let node = self.owners[stack.0 as usize].expect("checked above");
            let is_whole = self
                .whole
                .is_some_and(|kind| self.stack(node, kind) == Some(stack));
            let key = self.nodes[node.at()].as_ref().expect("checked above").key;
            if is_whole && stems.contains(&key.parent) {
                return Err(format!("{stack:?} would be evicted after its parent"));
            }
            if is_whole {
                stems.insert(node);
            }
        }
        if num_blocks == self.num_idle {
            Ok(())
        } else {
            let counted = self.num_idle;
            Err(format!(
                "{num_blocks} idle blocks listed, {counted} counted"
            ))
        }
    }

    /// A node's parent, for checks of tables.
    pub(in crate::kv) fn parent(&self, node: NodeId) -> Option<NodeId> {
        Some(self.nodes.get(node.at())?.as_ref()?.key.parent)
    }
}
