//! Attention over keys and values that lie in blocks, and the memory they lie in.
//!
//! **The order.** A query walks the blocks of its own sequence from the first to
//! its own, in steps of [`BLOCK`] positions counted from position 0. In a block,
//! a score is the sum over even `d` plus the sum over odd `d` of `q[d] * k[d]`,
//! each a chain of fused multiply-adds; the running maximum, sum and output are
//! then rescaled once and the block's values added in order of position
//! (online softmax: Milakov and Gimelshein, 2018). A sink is where the maximum
//! starts, with a sum of 1. Positions that the query must not see are never read
//! into a sum. So an answer depends on the sequence alone: not on chunking, on
//! neighbours, on which blocks hold it, or on threads.
//!
//! Keys are stored transposed (`[head_dim][position]`), so that sixteen scores
//! are one vector; values are stored as they are (`[position][head_dim]`). What
//! they are kept as ([`KvTypes`]) is only rounding: stored numbers become f32
//! exactly, and all that is computed with them is f32.
//!
//! Read on in `tasks` (which queries walk together) and `kernel` (the walk).

mod kernel;
mod kv_type;
mod lines;
mod memory;
mod rows;
mod store;
mod tasks;

pub use kv_type::{KvType, KvTypes};
pub use memory::KvMemory;
pub use rows::Rows;

use crate::Compute;
use crate::shared::SharedSlice;
use crate::simd::LANES;
use kernel::{Attend, Scratch};
use std::cell::RefCell;
use tasks::Tasks;

/// Positions in a block.
pub const BLOCK: usize = LANES;

/// Largest `head_dim` that the kernel has room for.
pub const MAX_HEAD_DIM: usize = 512;

thread_local! {
    /// A task's queries and outputs; kept so that steps do not allocate.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
    /// The last step's tasks, kept for their memory.
    static TASKS: RefCell<Tasks> = RefCell::default();
}

/// Shape and rules of one layer's attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionShape<'a> {
    /// Query heads; a multiple of the key/value heads.
    pub heads: usize,
    /// Multiplies the scores.
    pub scale: f32,
    /// Scores become `cap * tanh(score / cap)`.
    pub softcap: Option<f32>,
    /// A query at position `p` sees positions above `p - window` only.
    pub window: Option<usize>,
    /// Queries see their row up to its last token of the step, not only up to
    /// themselves: an encoder's attention, where a sequence is one step's.
    pub bidirectional: bool,
    /// `[heads]`: the score of one more position, with no value, that every query
    /// sees: it takes its part of the weight and adds nothing (as transformers'
    /// `modeling_gpt_oss` does). Not scaled; negative infinity is no sink.
    pub sinks: Option<&'a [f32]>,
}

/// Attention of a step's queries over their own sequences' cache, which already
/// holds the step's keys and values: causal, unless the shape says otherwise.
///
/// `q` is `[tokens, q_stride]` with the heads in front, `out` is
/// `[tokens, heads * head_dim]`.
///
/// # Panics
/// If sizes disagree or a position that a token sees has no block.
pub fn paged_attention(
    compute: &Compute,
    shape: &AttentionShape<'_>,
    memory: &KvMemory,
    rows: &Rows<'_>,
    (q, q_stride): (&[f32], usize),
    out: &mut [f32],
) {
    let (kv_heads, dim) = (memory.kv_heads, memory.head_dim);
    assert!(
        shape.heads.is_multiple_of(kv_heads),
        "heads to share key/value heads"
    );
    assert!(
        shape.sinks.is_none_or(|s| s.len() == shape.heads),
        "a sink for each head"
    );
    assert!(q_stride >= shape.heads * dim, "stride of the queries");
    assert_eq!(
        q.len(),
        rows.positions.len() * q_stride,
        "size of the queries"
    );
    assert_eq!(
        out.len(),
        rows.positions.len() * shape.heads * dim,
        "size of the output"
    );
    rows.check(memory.blocks, shape.window);

    let mut tasks = TASKS.take();
    tasks.cut(rows, shape.heads / kv_heads, kv_heads, compute.threads());
    let count = tasks.len();
    let out = SharedSlice::new(out);
    compute.run(count * kv_heads, |task| {
        // Tasks that follow each other read the same head: where sequences share
        // blocks, these are still in the cache.
        let (kv_head, task) = (task / count, task % count);
        SCRATCH.with_borrow_mut(|scratch| {
            compute.isa().run(Attend {
                shape,
                memory,
                rows,
                q,
                q_stride,
                out: &out,
                task: tasks.get(task),
                kv_head,
                scratch,
            });
        });
    });
    TASKS.set(tasks);
}

#[cfg(test)]
mod tests;
