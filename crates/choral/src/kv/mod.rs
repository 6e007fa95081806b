//! Who holds which block of KV memory, and which blocks can be had again.
//!
//! Owns ids and reference counts; the memory itself belongs to the executor, and
//! nothing here has seen a tensor. [`BlockLedger`] is the way in;
//! [`BlockPool`](pool::BlockPool), [`PrefixCache`](prefix::PrefixCache) and
//! [`BlockTable`] are its parts.
//!
//! A model's layers are of one or several *kinds*, which differ in how far back they
//! see ([`KvKind`]), and a kind's layers are in one or several groups. One pool serves
//! all: a block holds sixteen positions of one group. What the groups of a kind hold of
//! the same positions is a *stack*; it is taken, shared, cached and given up as one,
//! and named by its first block. A table has a column of stacks for each kind. With a
//! window, a column gives up its first stacks as the sequence goes on.
//!
//! # Invariants
//!
//! Checked by [`BlockLedger::check_integrity`], at every step of the property
//! tests and whenever a debug build's engine goes idle.
//!
//! 1. A block is in exactly one state: *free* (on the free list), *idle* (in a stack
//!    that is cached and in no table, and may be evicted), or *live* (in a stack that is
//!    in at least one table). `free + idle + live == num_blocks`, always.
//! 2. A stack's reference count is the number of tables that hold it; a table
//!    holds a stack at most once.
//! 3. A cached block is full and computed, and nobody writes to it again. A block
//!    that a step writes to is in one table only and not cached.
//! 4. A table's cached blocks are its first ones, and each is the cache's own
//!    block for that prefix. So of layers without a window, who holds a cached block
//!    holds its parent too, a child goes idle no later than its parent, and eviction
//!    (oldest first) takes leaves before stems.
//! 5. A cached prefix's parent has a name in the cache.
//! 6. [`BlockLedger::unref`] is the only place where a count goes down.

#[cfg(any(test, debug_assertions))]
mod check;
mod ledger;
mod list;
mod needs;
mod pool;
mod prefix;
mod table;
mod tokens;

#[cfg(test)]
mod tests;

pub(crate) use ledger::{BlockLedger, OutOfBlocks};
pub(crate) use needs::KvNeeds;
pub(crate) use table::BlockTable;
pub(crate) use tokens::Tokens;

use crate::engine::batch::BLOCK_TOKENS;
#[cfg(doc)]
use crate::engine::batch::KvKind;

/// Blocks that `num_tokens` positions take up.
pub(crate) fn blocks_for(num_tokens: usize) -> usize {
    num_tokens.div_ceil(BLOCK_TOKENS)
}
