//! The operations that a scheduler has on blocks. Each keeps the module's
//! invariants, or does nothing at all.

use super::blocks_for;
use super::needs::KvNeeds;
use super::pool::BlockPool;
use super::prefix::{NodeId, PrefixCache};
use super::table::{BlockTable, Column};
use super::tokens::Tokens;
use crate::engine::batch::{BLOCK_TOKENS, BlockId, BlockTables};
use std::ops::Range;

/// Too few blocks are free or can be evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutOfBlocks;

/// All blocks of one pool and who holds them.
#[derive(Debug)]
pub(crate) struct BlockLedger {
    pub(super) needs: KvNeeds,
    pub(super) pool: BlockPool,
    pub(super) prefix: Option<PrefixCache>,
    /// The last lookup's way through the cache. Kept for its memory.
    path: Vec<NodeId>,
    /// `[kinds]`: how many of its last nodes have a stack. Kept for its memory.
    runs: Vec<usize>,
}

impl BlockLedger {
    pub(crate) fn new(needs: KvNeeds, num_blocks: u32, prefix_caching: bool) -> Self {
        let prefix = prefix_caching.then(|| PrefixCache::new(needs.kinds(), num_blocks));
        Self {
            needs,
            pool: BlockPool::new(num_blocks),
            prefix,
            path: Vec::new(),
            runs: Vec::new(),
        }
    }

    pub(crate) fn num_blocks(&self) -> usize {
        self.pool.num_blocks()
    }

    /// Blocks that can be had: free ones, and cached ones that nobody holds.
    pub(crate) fn num_available(&self) -> usize {
        self.pool.num_free() + self.num_idle()
    }

    /// Blocks that are kept only for what they hold.
    pub(crate) fn num_idle(&self) -> usize {
        self.prefix.as_ref().map_or(0, PrefixCache::num_idle)
    }

    pub(crate) fn caches_prefixes(&self) -> bool {
        self.prefix.is_some()
    }

    /// How many of the first tokens a new table would find computed, reading no
    /// further than `readable`. A multiple of the block size.
    pub(crate) fn cached_tokens(&mut self, tokens: Tokens<'_>, readable: usize) -> usize {
        self.find(tokens, readable) * BLOCK_TOKENS
    }

    /// A table for `tokens`: cached blocks for as much of the first `readable` tokens
    /// as there are, new ones for the rest, of windowed layers for as much as they
    /// need at a time. `None`, and nothing changed, unless there would still be enough
    /// for `spare` more blocks in every layer.
    ///
    /// Returns the table and how many tokens are computed already.
    pub(crate) fn open(
        &mut self,
        tokens: Tokens<'_>,
        readable: usize,
        spare: usize,
    ) -> Option<(BlockTable, usize)> {
        let num_cached = self.find(tokens, readable);
        let num_computed = num_cached * BLOCK_TOKENS;
        let (mut num_new, mut num_idle) = (0, 0);
        for kind in 0..self.needs.kinds().len() {
            let Range { start, end } = self.span(kind, num_computed, tokens.len());
            let height = self.needs.kinds()[kind].groups;
            num_new += (end - num_cached) * height;
            for at in start..num_cached {
                let idle = self.pool.refs(self.found(at, kind)) == 0;
                num_idle += usize::from(idle) * height;
            }
        }
        let spare = spare * self.needs.num_groups();
        if self.num_available() - num_idle < num_new + spare {
            return None;
        }
        let mut table = BlockTable::empty();
        for kind in 0..self.needs.kinds().len() {
            let first = self.span(kind, num_computed, tokens.len()).start;
            let stacks: Vec<_> = (first..num_cached).map(|at| self.found(at, kind)).collect();
            for &stack in &stacks {
                self.reference(stack);
            }
            table.columns.push(Column { first, stacks });
        }
        table.num_cached = num_cached;
        if let (Some(prefix), Some(last)) = (&mut self.prefix, num_cached.checked_sub(1)) {
            table.tip = self.path[last];
            prefix.pin(table.tip);
        }
        // Nothing that was found can be evicted any more.
        for kind in 0..self.needs.kinds().len() {
            let end = self.span(kind, num_computed, tokens.len()).end;
            for _ in num_cached..end {
                let stack = self.allocate(kind).expect("counted above");
                table.columns[kind].stacks.push(stack);
            }
        }
        Some((table, num_computed))
    }

    /// Makes room in `table`'s memory for `num_tokens` tokens, so that growing to them
    /// does not allocate.
    pub(crate) fn reserve(&self, table: &mut BlockTable, num_tokens: usize) {
        for (kind, column) in table.columns.iter_mut().enumerate() {
            let most = self.needs.most_blocks(kind, num_tokens);
            let more = most.saturating_sub(column.stacks.len());
            column.stacks.reserve_exact(more);
        }
    }

    /// A second holder of all of a table's blocks. Who writes first copies.
    pub(crate) fn fork(&mut self, table: &BlockTable) -> BlockTable {
        for &stack in table.columns.iter().flat_map(|column| &column.stacks) {
            self.reference(stack);
        }
        if let Some(prefix) = &mut self.prefix {
            prefix.pin(table.tip);
        }
        let column = |column: &Column| Column {
            first: column.first,
            stacks: column.stacks.clone(),
        };
        BlockTable {
            columns: table.columns.iter().map(column).collect(),
            ..*table
        }
    }

    /// Makes sure that `positions`, which begin inside the table or right behind it,
    /// can be written. Where a block is shared, the table gets its own, and the copies
    /// (source, destination) that are added to `copies` must be done before the write.
    pub(crate) fn make_writable(
        &mut self,
        table: &mut BlockTable,
        positions: Range<usize>,
        copies: &mut Vec<(BlockId, BlockId)>,
    ) -> Result<(), OutOfBlocks> {
        let blocks = positions.start / BLOCK_TOKENS..blocks_for(positions.end);
        debug_assert!(
            blocks.start >= table.num_cached,
            "cached blocks are never written"
        );
        let is_shared = |pool: &BlockPool, column: &Column, at| {
            column.get(at).is_some_and(|stack| pool.refs(stack) > 1)
        };
        let mut needed = 0;
        for (kind, column) in self.needs.kinds().iter().zip(&table.columns) {
            debug_assert!(blocks.start <= column.end(), "columns have no holes");
            let new = blocks.end.saturating_sub(column.end());
            let own = blocks
                .clone()
                .filter(|&at| is_shared(&self.pool, column, at));
            needed += (new + own.count()) * kind.groups;
        }
        if needed > self.num_available() {
            return Err(OutOfBlocks);
        }
        for (kind, column) in table.columns.iter_mut().enumerate() {
            for at in blocks.clone() {
                if at == column.end() {
                    let stack = self.allocate(kind).expect("counted above");
                    column.stacks.push(stack);
                } else if is_shared(&self.pool, column, at) {
                    let own = self.allocate(kind).expect("counted above");
                    let shared = column.get(at).expect("shared");
                    copies.extend(self.pool.blocks(shared).zip(self.pool.blocks(own)));
                    column.set(at, own);
                    self.unref(shared);
                }
            }
        }
        Ok(())
    }

    /// Hands the cache every block that the first `num_computed` of `tokens` fill.
    ///
    /// Where the cache has that block already (two sequences computed it side by
    /// side), the table takes the cache's and gives up its own: both hold the same
    /// values, since K and V depend on the tokens before them and on nothing else.
    pub(crate) fn seal(&mut self, table: &mut BlockTable, tokens: Tokens<'_>, num_computed: usize) {
        while self.prefix.is_some() && table.num_cached < num_computed / BLOCK_TOKENS {
            let at = table.num_cached;
            let content = tokens.block(at).expect("computed tokens are there");
            let Some(node) = self.name(table.tip, content) else {
                return;
            };
            let prefix = self.prefix.as_mut().expect("checked above");
            // The child pins its parent from here on.
            prefix.pin(node);
            prefix.unpin(table.tip);
            table.tip = node;
            table.num_cached += 1;
            for (kind, column) in table.columns.iter_mut().enumerate() {
                let prefix = self.prefix.as_mut().expect("checked above");
                let Some(own) = column.get(at) else {
                    continue;
                };
                match prefix.stack(node, kind) {
                    None => prefix.attach(node, kind, own),
                    Some(known) if known != own => {
                        column.set(at, known);
                        self.reference(known);
                        self.unref(own);
                    }
                    Some(_) => {}
                }
            }
        }
    }

    /// Gives up the blocks that no query at `position` or behind it sees.
    pub(crate) fn slide(&mut self, table: &mut BlockTable, position: usize) {
        for kind in 0..table.columns.len() {
            let first = self.needs.kinds()[kind].first_block(position);
            let column = &mut table.columns[kind];
            let num_passed = first.saturating_sub(column.first).min(column.stacks.len());
            if num_passed == 0 {
                continue;
            }
            for stack in column.stacks.drain(..num_passed) {
                self.unref(stack);
            }
            column.first += num_passed;
        }
    }

    /// Gives up all of a table's blocks. The last first: see invariant 4.
    pub(crate) fn release(&mut self, table: &mut BlockTable) {
        let BlockTable {
            mut columns, tip, ..
        } = std::mem::replace(table, BlockTable::empty());
        let end = columns.iter().map(Column::end).max().unwrap_or(0);
        for at in (0..end).rev() {
            // What is needed from position 0 on is kept for longest: see the cache.
            for column in columns.iter_mut().rev() {
                if column.end() == at + 1
                    && let Some(stack) = column.stacks.pop()
                {
                    self.unref(stack);
                }
            }
        }
        if let Some(prefix) = &mut self.prefix {
            prefix.unpin(tip);
        }
    }

    /// Appends to a batch's `tables`, one a group, a row with the blocks of the first
    /// `num_tokens` tokens.
    pub(crate) fn write_row(
        &self,
        table: &BlockTable,
        num_tokens: usize,
        tables: &mut [BlockTables],
    ) {
        let mut tables = tables;
        for (kind, column) in self.needs.kinds().iter().zip(&table.columns) {
            let (groups, others) = tables.split_at_mut(kind.groups);
            let num_needed = blocks_for(num_tokens) - column.first;
            for &stack in &column.stacks[..num_needed] {
                for (group, block) in groups.iter_mut().zip(self.pool.blocks(stack)) {
                    group.block_ids.push(block);
                }
            }
            for group in groups {
                group.end_row(column.first);
            }
            tables = others;
        }
    }

    /// How many full blocks, of the first `readable` tokens, the cache has all of that
    /// is needed to go on behind them. Leaves their names in `path`.
    fn find(&mut self, tokens: Tokens<'_>, readable: usize) -> usize {
        let kinds = self.needs.kinds();
        self.path.clear();
        self.runs.clear();
        self.runs.resize(kinds.len(), 0);
        let Some(prefix) = &self.prefix else {
            return 0;
        };
        let (mut tip, mut found) = (NodeId::ROOT, 0);
        for at in 0..readable / BLOCK_TOKENS {
            let Some(node) = tokens.block(at).and_then(|block| prefix.find(tip, block)) else {
                break;
            };
            tip = node;
            self.path.push(node);
            let mut is_whole = true;
            for (kind, run) in self.runs.iter_mut().enumerate() {
                *run = prefix.stack(node, kind).map_or(0, |_| *run + 1);
                let first = kinds[kind].first_block((at + 1) * BLOCK_TOKENS);
                is_whole &= first + *run > at;
            }
            if is_whole {
                found = at + 1;
            }
        }
        found
    }

    /// The stack for block `at` of the prefix that was last found.
    fn found(&self, at: usize, kind: usize) -> BlockId {
        let prefix = self.prefix.as_ref().expect("found in it");
        let stack = prefix.stack(self.path[at], kind);
        stack.expect("what is needed was found")
    }

    /// The blocks of kind `kind` that a new table of `num_tokens` tokens has, the first
    /// `num_computed` of which are computed.
    fn span(&self, kind: usize, num_computed: usize, num_tokens: usize) -> Range<usize> {
        let start = self.needs.kinds()[kind].first_block(num_computed);
        let most = self.needs.most_blocks(kind, num_tokens);
        start..blocks_for(num_tokens).min(start + most)
    }

    /// The cache's name for `parent` and then `tokens`, new if it must be. `None` if it
    /// has no names left and nothing to forget for one.
    fn name(&mut self, parent: NodeId, tokens: super::prefix::BlockTokens) -> Option<NodeId> {
        loop {
            let prefix = self.prefix.as_mut()?;
            let node = prefix.find(parent, tokens);
            let node = node.or_else(|| prefix.insert(parent, tokens));
            if node.is_some() {
                return node;
            }
            if !self.evict() {
                return None;
            }
        }
    }

    /// A stack for kind `kind` with one reference, evicting if it must.
    fn allocate(&mut self, kind: usize) -> Result<BlockId, OutOfBlocks> {
        let height = self.needs.kinds()[kind].groups;
        if height > self.num_available() {
            return Err(OutOfBlocks);
        }
        let stack = loop {
            if let Some(stack) = self.pool.take(height) {
                break stack;
            }
            let evicted = self.evict();
            debug_assert!(evicted, "counted above");
        };
        self.pool.retain(stack);
        Ok(stack)
    }

    /// Frees what has been idle for longest; returns whether anything was.
    fn evict(&mut self) -> bool {
        let pool = &mut self.pool;
        let prefix = self.prefix.as_mut();
        prefix.is_some_and(|prefix| prefix.evict(|stack| pool.put(stack)))
    }

    /// One holder more of a stack that is live or idle.
    fn reference(&mut self, stack: BlockId) {
        if self.pool.retain(stack) == 1 {
            self.prefix
                .as_mut()
                .expect("without a cache no block is idle")
                .set_live(stack);
        }
    }

    /// One holder less. Without holders a cached stack goes idle, any other free.
    fn unref(&mut self, stack: BlockId) {
        if self.pool.drop_ref(stack) > 0 {
            return;
        }
        match &mut self.prefix {
            Some(prefix) if prefix.contains(stack) => prefix.set_idle(stack),
            _ => self.pool.put(stack),
        }
    }
}
