//! Attention over keys and values that lie in blocks, and the memory they lie in.
//!
//! **The order.** A query walks the blocks of its own sequence from the first to
//! its own, in steps of [`BLOCK`] positions counted from position 0. In a block,
//! a score is the sum over even `d` plus the sum over odd `d` of `q[d] * k[d]`,
//! each a chain of fused multiply-adds; the running maximum, sum and output are
//! then rescaled once and the block's values added in order of position
//! (online softmax: Milakov and Gimelshein, 2018). Positions that the query must
//! not see are never read into a sum. So an answer depends on the sequence alone:
//! not on chunking, on neighbours, on which blocks hold it, or on threads.
//!
//! Keys are stored transposed (`[head_dim][position]`), so that sixteen scores
//! are one vector; values are stored as they are (`[position][head_dim]`).

mod memory;

pub use memory::{KvMemory, Rows};

use crate::Compute;
use crate::isa::Kernel;
use crate::shared::SharedSlice;
use crate::simd::{LANES, Simd};
use memory::Data;
use std::array::from_fn;
use std::cell::RefCell;

/// Positions in a block.
pub const BLOCK: usize = LANES;

/// Largest `head_dim` that the kernel has room for.
pub const MAX_HEAD_DIM: usize = 512;

/// Queries that share each load of keys and values.
const MAX_QUERIES: usize = 8;

thread_local! {
    /// A task's queries and outputs; kept so that steps do not allocate.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Room for the queries of one pass.
#[derive(Default)]
struct Scratch {
    /// `[head_dim / 2, queries, 2]`: scaled queries, pair by pair.
    q: Vec<f32>,
    /// `[queries, vectors]`: sums of values so far.
    out: Vec<[f32; LANES]>,
}

/// Shape and rules of one layer's attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionShape {
    /// Query heads; a multiple of the key/value heads.
    pub heads: usize,
    /// Multiplies the scores.
    pub scale: f32,
    /// A query at position `p` sees positions above `p - window` only.
    pub window: Option<usize>,
}

/// Causal attention of a step's queries over their own sequences' cache, which
/// already holds the step's keys and values.
///
/// `q` is `[tokens, q_stride]` with the heads in front, `out` is
/// `[tokens, heads * head_dim]`.
///
/// # Panics
/// If sizes disagree or a position has no block.
pub fn paged_attention(
    compute: &Compute,
    shape: &AttentionShape,
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
    rows.check(memory.blocks);

    // Tasks: for each row, groups of tokens whose queries of one key/value head
    // fill one pass; times key/value heads.
    let group = shape.heads / kv_heads;
    let per_task = (MAX_QUERIES / group).max(1);
    let mut chunks = Vec::with_capacity(rows.positions.len());
    for row in 0..rows.count() {
        let tokens = rows.tokens(row);
        chunks.extend(
            tokens
                .clone()
                .step_by(per_task)
                .map(|t| (row, t..(t + per_task).min(tokens.end))),
        );
    }
    let out = SharedSlice::new(out);
    compute.run(chunks.len() * kv_heads, |task| {
        let (row, tokens) = &chunks[task / kv_heads];
        let queries = Queries {
            shape,
            rows,
            q,
            q_stride,
            out: &out,
            row: *row,
            tokens: tokens.clone(),
            kv_head: task % kv_heads,
            kv_heads,
            dim,
        };
        SCRATCH.with_borrow_mut(|scratch| match &memory.data {
            Data::Bf16 { keys, values } => compute.isa().run(Attend {
                queries,
                keys,
                values,
                scratch,
            }),
            Data::F32 { keys, values } => compute.isa().run(Attend {
                queries,
                keys,
                values,
                scratch,
            }),
        });
    });
}

/// Sixteen stored numbers.
trait Stored: Copy + Sync {
    fn load<S: Simd>(simd: S, src: &[Self; LANES]) -> S::V;
}

impl Stored for u16 {
    #[inline(always)]
    fn load<S: Simd>(simd: S, src: &[Self; LANES]) -> S::V {
        simd.load_bf16(src)
    }
}

impl Stored for f32 {
    #[inline(always)]
    fn load<S: Simd>(simd: S, src: &[Self; LANES]) -> S::V {
        simd.load(src)
    }
}

/// The queries of one task: some tokens of a row, the heads of one group.
struct Queries<'a> {
    shape: &'a AttentionShape,
    rows: &'a Rows<'a>,
    q: &'a [f32],
    q_stride: usize,
    out: &'a SharedSlice<'a, f32>,
    row: usize,
    tokens: std::ops::Range<usize>,
    kv_head: usize,
    kv_heads: usize,
    dim: usize,
}

struct Attend<'a, E> {
    queries: Queries<'a>,
    keys: &'a [[E; BLOCK]],
    values: &'a [[E; LANES]],
    scratch: &'a mut Scratch,
}

impl<E: Stored> Kernel for Attend<'_, E> {
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let group = self.queries.shape.heads / self.queries.kv_heads;
        let total = self.queries.tokens.len() * group;
        let mut first = 0;
        while first < total {
            let take = (total - first).min(MAX_QUERIES);
            match take {
                8.. => self.pass::<S, 8>(simd, first),
                7 => self.pass::<S, 7>(simd, first),
                6 => self.pass::<S, 6>(simd, first),
                5 => self.pass::<S, 5>(simd, first),
                4 => self.pass::<S, 4>(simd, first),
                3 => self.pass::<S, 3>(simd, first),
                2 => self.pass::<S, 2>(simd, first),
                _ => self.pass::<S, 1>(simd, first),
            }
            first += take;
        }
    }
}

/// One block's part in a pass of `Q` queries.
struct Step<'a, E, const Q: usize> {
    /// `[head_dim / 2]` pairs of the scaled queries.
    q: &'a [[[f32; 2]; Q]],
    /// `[head_dim]`.
    keys: &'a [[E; BLOCK]],
    /// `[BLOCK, vectors]`.
    values: &'a [[E; LANES]],
    /// Positions in the block that each query sees.
    seen: [(usize, usize); Q],
}

/// What `Q` queries have gathered so far.
struct Running<'a, const Q: usize> {
    largest: [f32; Q],
    sum: [f32; Q],
    /// `[Q, vectors]`.
    out: &'a mut [[f32; LANES]],
}

impl<E: Stored> Attend<'_, E> {
    /// Walks the cache once for the `Q` queries from `first` on (query `i` is head
    /// `i % group` of the group, of token `i / group` of the task).
    #[inline(always)]
    fn pass<S: Simd, const Q: usize>(&mut self, simd: S, first: usize) {
        let Queries {
            shape,
            rows,
            kv_heads,
            kv_head,
            dim,
            ..
        } = self.queries;
        let group = shape.heads / kv_heads;
        let vectors = dim.div_ceil(LANES);
        let token = |i: usize| self.queries.tokens.start + (first + i) / group;
        let head = |i: usize| kv_head * group + (first + i) % group;
        let Scratch { q, out } = &mut *self.scratch;
        q.resize(dim * Q, 0.0);
        let q = q.as_chunks_mut::<2>().0.as_chunks_mut::<Q>().0;
        for i in 0..Q {
            let at = token(i) * self.queries.q_stride + head(i) * dim;
            let source = self.queries.q[at..at + dim].as_chunks::<2>().0;
            for (pair, x) in q.iter_mut().zip(source) {
                pair[i] = x.map(|x| x * shape.scale);
            }
        }
        // The positions that query `i` sees.
        let seen: [(usize, usize); Q] = from_fn(|i| {
            let end = rows.positions[token(i)] as usize + 1;
            (shape.window.map_or(0, |w| end.saturating_sub(w)), end)
        });
        out.clear();
        out.resize(Q * vectors, [0.0; LANES]);
        let mut running = Running {
            largest: [f32::NEG_INFINITY; Q],
            sum: [0.0; Q],
            out,
        };
        let begin = seen.iter().map(|s| s.0).min().unwrap_or(0) / BLOCK;
        let end = seen.iter().map(|s| s.1).max().unwrap_or(0).div_ceil(BLOCK);
        let table = rows.table(self.queries.row);
        for (block, &id) in table.iter().enumerate().take(end).skip(begin) {
            let tile = id as usize * kv_heads + kv_head;
            let within = |p: usize| p.saturating_sub(block * BLOCK).min(BLOCK);
            let step = Step {
                q,
                keys: &self.keys[tile * dim..(tile + 1) * dim],
                values: &self.values[tile * BLOCK * vectors..(tile + 1) * BLOCK * vectors],
                seen: seen.map(|(from, to)| (within(from), within(to))),
            };
            step.gather(simd, &mut running, vectors);
        }
        for i in 0..Q {
            let at = (token(i) * shape.heads + head(i)) * dim;
            // SAFETY: each (token, head) belongs to one task.
            let out = unsafe { self.queries.out.range_mut(at, dim) };
            let sums = running.out[i * vectors..(i + 1) * vectors].as_flattened();
            for (out, &x) in out.iter_mut().zip(sums) {
                *out = x / running.sum[i];
            }
        }
    }
}

impl<E: Stored, const Q: usize> Step<'_, E, Q> {
    /// Adds the block's positions to the queries that see them.
    #[inline(always)]
    fn gather<S: Simd>(&self, simd: S, running: &mut Running<'_, Q>, vectors: usize) {
        let mut even = [simd.splat(0.0); Q];
        let mut odd = [simd.splat(0.0); Q];
        for (q, k) in self.q.iter().zip(self.keys.as_chunks::<2>().0) {
            let (k0, k1) = (E::load(simd, &k[0]), E::load(simd, &k[1]));
            for i in 0..Q {
                even[i] = simd.fma(simd.splat(q[i][0]), k0, even[i]);
                odd[i] = simd.fma(simd.splat(q[i][1]), k1, odd[i]);
            }
        }
        let sees = |i: usize| self.seen[i].0 < self.seen[i].1;
        let mut score = [simd.splat(0.0); Q];
        // By how much the largest score grows, one lane a query.
        let mut growth = [0.0_f32; LANES];
        for i in (0..Q).filter(|&i| sees(i)) {
            let (lo, hi) = self.seen[i];
            score[i] = simd.keep(simd.add(even[i], odd[i]), lo, hi, f32::NEG_INFINITY);
            let (old, block) = (running.largest[i], simd.largest(score[i]));
            running.largest[i] = if block > old { block } else { old };
            growth[i] = old - running.largest[i];
        }
        let mut rescale = [0.0_f32; LANES];
        simd.store(simd.exp(simd.load(&growth)), &mut rescale);
        let mut weights = [[0.0_f32; BLOCK]; Q];
        for i in (0..Q).filter(|&i| sees(i)) {
            let (lo, hi) = self.seen[i];
            let weight = simd.exp(simd.sub(score[i], simd.splat(running.largest[i])));
            let weight = simd.keep(weight, lo, hi, 0.0);
            simd.store(weight, &mut weights[i]);
            running.sum[i] = running.sum[i] * rescale[i] + simd.sum(weight);
        }
        let alike = self.seen.iter().all(|s| *s == self.seen[0]);
        for j in 0..vectors {
            let mut acc: [S::V; Q] = from_fn(|i| {
                let out = simd.load(&running.out[i * vectors + j]);
                simd.mul(out, simd.splat(rescale[i]))
            });
            if alike {
                let (lo, hi) = self.seen[0];
                for t in lo..hi {
                    let v = E::load(simd, &self.values[t * vectors + j]);
                    for i in 0..Q {
                        acc[i] = simd.fma(simd.splat(weights[i][t]), v, acc[i]);
                    }
                }
            } else {
                // A position that a query does not see must not be read for it, not
                // even with a weight of zero: zero times infinity is NaN.
                for i in 0..Q {
                    let (lo, hi) = self.seen[i];
                    for t in lo..hi {
                        let v = E::load(simd, &self.values[t * vectors + j]);
                        acc[i] = simd.fma(simd.splat(weights[i][t]), v, acc[i]);
                    }
                }
            }
            for i in 0..Q {
                simd.store(acc[i], &mut running.out[i * vectors + j]);
            }
        }
    }
}

#[cfg(test)]
mod tests;
