//! The module's invariants, for tests and for debug builds that go idle.

use super::{BlockLedger, BlockTable};
use crate::engine::batch::BlockId;
use std::collections::HashSet;

impl BlockLedger {
    /// Checks the module's invariants against all tables that exist.
    pub(crate) fn check_integrity<'a>(
        &self,
        tables: impl Iterator<Item = &'a BlockTable>,
    ) -> Result<(), String> {
        let mut held = vec![0_u32; self.num_blocks()];
        let tables: Vec<_> = tables.filter(|table| !table.columns.is_empty()).collect();
        for table in &tables {
            self.check_table(table, &mut held)?;
        }
        for (at, &held) in held.iter().enumerate() {
            let stack = BlockId(at as u32);
            if held != self.pool.refs(stack) {
                let refs = self.pool.refs(stack);
                return Err(format!("{stack:?} has {refs} references in {held} tables"));
            }
        }
        let is_live = |stack: BlockId| held[stack.0 as usize] > 0;
        if let Some(prefix) = &self.prefix {
            prefix.check(is_live, tables.iter().map(|table| table.tip))?;
        }

        // All blocks, one by one.
        let mut seen = HashSet::new();
        for &block in self.pool.free_blocks() {
            if !seen.insert(block) {
                return Err(format!("{block:?} is on the free list twice"));
            }
        }
        let num_free = seen.len();
        let cached = |stack| self.prefix.as_ref().is_some_and(|p| p.contains(stack));
        let mut num_idle = 0;
        for at in 0..self.num_blocks() {
            let stack = BlockId(at as u32);
            if !is_live(stack) && !cached(stack) {
                continue;
            }
            for block in self.pool.blocks(stack) {
                num_idle += usize::from(!is_live(stack));
                if !seen.insert(block) {
                    return Err(format!("{block:?} is in {stack:?} and elsewhere"));
                }
            }
        }
        if (num_idle, seen.len()) != (self.num_idle(), self.num_blocks()) {
            let (all, num_live) = (self.num_blocks(), seen.len() - num_idle - num_free);
            return Err(format!(
                "{num_free} free + {num_idle} idle + {num_live} live != {all}"
            ));
        }
        Ok(())
    }

    fn check_table(&self, table: &BlockTable, held: &mut [u32]) -> Result<(), String> {
        let mut seen = HashSet::new();
        for (kind, column) in table.columns.iter().enumerate() {
            if self.needs.kinds()[kind].window.is_none() && column.first > 0 {
                return Err(format!("{table:?} has lost its beginning"));
            }
            for &stack in &column.stacks {
                held[stack.0 as usize] += 1;
                let height = self.pool.blocks(stack).count();
                if height != self.needs.kinds()[kind].groups {
                    return Err(format!("{stack:?} has {height} blocks: {table:?}"));
                }
                if !seen.insert(stack) {
                    return Err(format!("{stack:?} is twice in one table"));
                }
            }
        }
        let Some(prefix) = &self.prefix else {
            return Ok(());
        };
        let mut node = table.tip;
        for at in (0..table.num_cached).rev() {
            for (kind, column) in table.columns.iter().enumerate() {
                if let Some(stack) = column.get(at)
                    && prefix.stack(node, kind) != Some(stack)
                {
                    return Err(format!("{stack:?} at {at} of {table:?} is not cached"));
                }
            }
            let parent = prefix.parent(node);
            node = parent.ok_or_else(|| format!("{table:?} has a part that has no name"))?;
        }
        if node.is_root() {
            Ok(())
        } else {
            Err(format!("{table:?} ends its cached part under a wrong name"))
        }
    }
}
