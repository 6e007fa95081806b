//! The operations that a scheduler has on blocks. Each keeps the module's
//! invariants, or does nothing at all.

use super::blocks_for;
use super::pool::BlockPool;
use super::prefix::{NodeId, PrefixCache};
use super::table::BlockTable;
use super::tokens::Tokens;
use crate::engine::batch::{BLOCK_TOKENS, BlockId};

/// No block is free and none can be evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutOfBlocks;

/// All blocks of one pool and who holds them.
#[derive(Debug)]
pub(crate) struct BlockLedger {
    pool: BlockPool,
    prefix: Option<PrefixCache>,
}

impl BlockLedger {
    pub(crate) fn new(num_blocks: u32, prefix_caching: bool) -> Self {
        Self {
            pool: BlockPool::new(num_blocks),
            prefix: prefix_caching.then(|| PrefixCache::new(num_blocks)),
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
    pub(crate) fn cached_tokens(&self, tokens: Tokens<'_>, readable: usize) -> usize {
        self.cached_blocks(tokens, readable).count() * BLOCK_TOKENS
    }

    /// A table for all of `tokens`: cached blocks for as much of the first
    /// `readable` tokens as there are, new ones for the rest. `None`, and nothing
    /// changed, unless `spare` blocks would still be available after it.
    ///
    /// Returns the table and how many tokens are computed already.
    pub(crate) fn open(
        &mut self,
        tokens: Tokens<'_>,
        readable: usize,
        spare: usize,
    ) -> Option<(BlockTable, usize)> {
        let mut table = BlockTable::empty();
        table.tip = NodeId::root(tokens.mix);
        let mut num_idle = 0;
        for (block, node) in self.cached_blocks(tokens, readable) {
            num_idle += usize::from(self.pool.refs(block) == 0);
            table.blocks.push(block);
            table.tip = node;
        }
        table.num_cached = table.blocks.len();
        let num_new = blocks_for(tokens.len()) - table.num_cached;
        if self.num_available() - num_idle < num_new + spare {
            return None;
        }
        for &block in &table.blocks {
            self.reference(block);
        }
        for _ in 0..num_new {
            let block = self.allocate().expect("counted above");
            table.blocks.push(block);
        }
        let num_computed = table.num_cached * BLOCK_TOKENS;
        Some((table, num_computed))
    }

    /// A second holder of all of a table's blocks. Who writes first copies.
    pub(crate) fn fork(&mut self, table: &BlockTable) -> BlockTable {
        for &block in &table.blocks {
            self.reference(block);
        }
        BlockTable {
            blocks: table.blocks.clone(),
            ..*table
        }
    }

    /// Makes sure that `position`, inside the table or the next one behind it, can
    /// be written. Where the block is shared, the table gets its own, and the
    /// returned copy (source, destination) must be done before the write.
    pub(crate) fn make_writable(
        &mut self,
        table: &mut BlockTable,
        position: usize,
    ) -> Result<Option<(BlockId, BlockId)>, OutOfBlocks> {
        let at = position / BLOCK_TOKENS;
        debug_assert!(at >= table.num_cached, "cached blocks are never written");
        let Some(&block) = table.blocks.get(at) else {
            debug_assert_eq!(at, table.blocks.len(), "tables have no holes");
            table.blocks.push(self.allocate()?);
            return Ok(None);
        };
        if self.pool.refs(block) == 1 {
            return Ok(None);
        }
        let own = self.allocate()?;
        table.blocks[at] = own;
        self.unref(block);
        Ok(Some((block, own)))
    }

    /// Hands the cache every block that the first `num_computed` of `tokens` fill.
    ///
    /// Where the cache knows that prefix already (two sequences computed it side
    /// by side), the table takes the cache's block and gives up its own: both hold
    /// the same values, since K and V depend on the tokens before them and on
    /// nothing else.
    pub(crate) fn seal(&mut self, table: &mut BlockTable, tokens: Tokens<'_>, num_computed: usize) {
        let full = num_computed / BLOCK_TOKENS;
        while table.num_cached < full {
            let Some(prefix) = &mut self.prefix else {
                return;
            };
            let at = table.num_cached;
            let block = table.blocks[at];
            debug_assert_eq!(self.pool.refs(block), 1, "written blocks have one holder");
            let content = tokens.block(at).expect("computed tokens are there");
            table.tip = match prefix.find(table.tip, content) {
                None => prefix.insert(table.tip, content, block),
                Some((known, node)) => {
                    self.reference(known);
                    table.blocks[at] = known;
                    self.unref(block);
                    node
                }
            };
            table.num_cached += 1;
        }
    }

    /// Gives up all of a table's blocks. The last first: see invariant 4.
    pub(crate) fn release(&mut self, table: &mut BlockTable) {
        let mut blocks = std::mem::replace(table, BlockTable::empty()).blocks;
        while let Some(block) = blocks.pop() {
            self.unref(block);
        }
    }

    /// The chain of cached blocks that `tokens` begin with.
    fn cached_blocks(
        &self,
        tokens: Tokens<'_>,
        readable: usize,
    ) -> impl Iterator<Item = (BlockId, NodeId)> {
        let mut tip = NodeId::root(tokens.mix);
        (0..readable / BLOCK_TOKENS).map_while(move |at| {
            let (block, node) = self.prefix.as_ref()?.find(tip, tokens.block(at)?)?;
            tip = node;
            Some((block, node))
        })
    }

    /// A block with one reference, evicting if it must.
    fn allocate(&mut self) -> Result<BlockId, OutOfBlocks> {
        let block = self
            .pool
            .take()
            .or_else(|| self.prefix.as_mut()?.evict())
            .ok_or(OutOfBlocks)?;
        self.pool.retain(block);
        Ok(block)
    }

    /// One holder more of a block that is live or idle.
    fn reference(&mut self, block: BlockId) {
        if self.pool.retain(block) == 1 {
            self.prefix
                .as_mut()
                .expect("without a cache no block is idle")
                .set_live(block);
        }
    }

    /// One holder less. Without holders a cached block goes idle, any other free.
    fn unref(&mut self, block: BlockId) {
        if self.pool.drop_ref(block) > 0 {
            return;
        }
        match &mut self.prefix {
            Some(prefix) if prefix.contains(block) => prefix.set_idle(block),
            _ => self.pool.put(block),
        }
    }

    /// Checks the module's invariants against all tables that exist.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn check_integrity<'a>(
        &self,
        tables: impl Iterator<Item = &'a BlockTable>,
    ) -> Result<(), String> {
        let mut held = vec![0_u32; self.num_blocks()];
        for table in tables {
            let mut seen = std::collections::HashSet::new();
            for (at, &block) in table.blocks.iter().enumerate() {
                held[block.0 as usize] += 1;
                if !seen.insert(block) {
                    return Err(format!("{block:?} is twice in one table"));
                }
                let cached = self.prefix.as_ref().is_some_and(|p| p.contains(block));
                if cached != (at < table.num_cached) {
                    return Err(format!(
                        "{block:?} at {at} of {table:?}: cached is {cached}"
                    ));
                }
            }
            if let (Some(prefix), Some(last)) = (&self.prefix, table.num_cached.checked_sub(1))
                && prefix.name(table.blocks[last]) != Some(table.tip)
            {
                return Err(format!("{table:?} ends its cached part under a wrong name"));
            }
        }
        for (at, &held) in held.iter().enumerate() {
            let block = BlockId(at as u32);
            if held != self.pool.refs(block) {
                let refs = self.pool.refs(block);
                return Err(format!("{block:?} has {refs} references in {held} tables"));
            }
        }
        let mut free = std::collections::HashSet::new();
        for &block in self.pool.free_blocks() {
            let cached = self.prefix.as_ref().is_some_and(|p| p.contains(block));
            if held[block.0 as usize] > 0 || cached || !free.insert(block) {
                return Err(format!("{block:?} is on the free list and elsewhere"));
            }
        }
        let live = held.iter().filter(|&&held| held > 0).count();
        let (free, idle) = (free.len(), self.num_idle());
        if free + idle + live != self.num_blocks() {
            let all = self.num_blocks();
            return Err(format!("{free} free + {idle} idle + {live} live != {all}"));
        }
        let is_live = |block: BlockId| held[block.0 as usize] > 0;
        self.prefix.as_ref().map_or(Ok(()), |p| p.check(is_live))
    }
}
