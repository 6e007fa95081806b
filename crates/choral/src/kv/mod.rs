//! Who holds which block of KV memory, and which blocks can be had again.
//!
//! Owns ids and reference counts; the memory itself belongs to the executor, and
//! nothing here has seen a tensor. [`BlockLedger`] is the way in;
//! [`BlockPool`](pool::BlockPool), [`PrefixCache`](prefix::PrefixCache) and
//! [`BlockTable`] are its parts.
//!
//! # Invariants
//!
//! Checked by [`BlockLedger::check_integrity`], at every step of the property
//! tests and whenever a debug build's engine goes idle.
//!
//! 1. A block is in exactly one state: *free* (on the free list), *idle* (cached,
//!    in no table, next to be evicted), or *live* (in at least one table).
//!    `free + idle + live == num_blocks`, always.
//! 2. A block's reference count is the number of tables that hold it; a table
//!    holds a block at most once.
//! 3. A cached block is full and computed, and nobody writes to it again. A block
//!    that a step writes to is in one table only and not cached.
//! 4. A table's cached blocks are its first ones, and each is the cache's own
//!    block for that prefix. So who holds a cached block holds its parent too,
//!    a child goes idle no later than its parent, and eviction (oldest first)
//!    takes leaves before stems: a cached block's parent is always cached.
//! 5. [`BlockLedger::unref`] is the only place where a count goes down.

mod ledger;
mod list;
mod pool;
mod prefix;
mod table;
mod tokens;

#[cfg(test)]
mod tests;

pub(crate) use ledger::{BlockLedger, OutOfBlocks};
pub(crate) use table::BlockTable;
pub(crate) use tokens::Tokens;

use crate::engine::batch::BLOCK_TOKENS;

/// Blocks that `num_tokens` positions take up.
pub(crate) fn blocks_for(num_tokens: usize) -> usize {
    num_tokens.div_ceil(BLOCK_TOKENS)
}
