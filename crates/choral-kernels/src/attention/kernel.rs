//! The walk of a task's queries over the blocks of their sequences.

use super::lines::{Lines, Mix, each_type, scores};
use super::store::{Bf16, F16, F32, Numbers, Q8, Side};
use super::tasks::{TILE, Task};
use super::{AttentionShape, BLOCK, KvMemory, Rows};
use crate::activation::cap_lanes;
use crate::isa::Kernel;
use crate::shared::SharedSlice;
use crate::simd::{LANES, Simd};
use std::ops::Range;

/// Positions in a block that a query sees: from, to.
pub(super) type Seen = (usize, usize);

/// Room for the queries of one task.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    tiles: Vec<Tile>,
    /// Of each row: its queries, counted from the first tile's first place.
    spans: Vec<(usize, usize)>,
    /// `[tiles, head_dim / 2, TILE, 2]`: scaled queries, pair by pair.
    q: Vec<[[f32; 2]; TILE]>,
    /// `[tiles, TILE, vectors]`: sums of values so far.
    out: Vec<[f32; LANES]>,
}

/// Up to [`TILE`] queries, and what each has gathered so far.
#[derive(Debug, Clone, Copy, Default)]
struct Tile {
    count: usize,
    largest: [f32; TILE],
    sum: [f32; TILE],
    /// Positions of the sequence that it sees.
    seen: [Seen; TILE],
    token: [usize; TILE],
    head: [usize; TILE],
}

/// One task of one key/value head.
pub(super) struct Attend<'a> {
    pub(super) shape: &'a AttentionShape<'a>,
    pub(super) memory: &'a KvMemory,
    pub(super) rows: &'a Rows<'a>,
    pub(super) q: &'a [f32],
    pub(super) q_stride: usize,
    pub(super) out: &'a SharedSlice<'a, f32>,
    pub(super) task: Task<'a>,
    pub(super) kv_head: usize,
    pub(super) scratch: &'a mut Scratch,
}

impl Kernel for Attend<'_> {
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        self.place();
        self.fill();
        let rows = self.task.rows;
        let places = TILE * self.scratch.tiles.len();
        self.walk(simd, rows[0], 0..self.task.shared, 0..places);
        if rows.len() > 1 {
            for (i, &row) in rows.iter().enumerate() {
                let (start, end) = self.scratch.spans[i];
                self.walk(simd, row, self.task.shared..usize::MAX, start..end);
            }
        }
        self.finish(simd);
    }
}

impl Attend<'_> {
    /// Gives every query its place in a tile: rows that fit in a tile are in one.
    fn place(&mut self) {
        let group = self.shape.heads / self.memory.kv_heads;
        let Scratch { tiles, spans, .. } = &mut *self.scratch;
        tiles.clear();
        spans.clear();
        for &row in self.task.rows {
            let tokens = self.task.tokens(self.rows, row as usize);
            let queries = tokens.len() * group;
            let free = tiles.last().map_or(0, |t| TILE - t.count);
            if queries > free {
                tiles.push(Tile::default());
            }
            let start = (tiles.len() - 1) * TILE + tiles[tiles.len() - 1].count;
            spans.push((start, start + queries));
            // Of a row whose tokens see each other, all are in the step.
            let last = self.rows.tokens(row as usize).end - 1;
            for token in tokens {
                let end = |token: usize| self.rows.positions[token] as usize + 1;
                let to = end(if self.shape.bidirectional {
                    last
                } else {
                    token
                });
                let from = self
                    .shape
                    .window
                    .map_or(0, |w| end(token).saturating_sub(w));
                for head in self.kv_head * group..(self.kv_head + 1) * group {
                    if tiles[tiles.len() - 1].count == TILE {
                        tiles.push(Tile::default());
                    }
                    let last = tiles.len() - 1;
                    let tile = &mut tiles[last];
                    let i = tile.count;
                    let sink = self.shape.sinks.map_or(f32::NEG_INFINITY, |s| s[head]);
                    tile.largest[i] = sink;
                    tile.sum[i] = if sink == f32::NEG_INFINITY { 0.0 } else { 1.0 };
                    tile.seen[i] = (from, to);
                    (tile.token[i], tile.head[i]) = (token, head);
                    tile.count += 1;
                }
            }
        }
    }

    /// Brings the scaled queries to their places and clears the sums.
    #[inline(always)]
    fn fill(&mut self) {
        let dim = self.memory.head_dim;
        let Scratch { tiles, q, out, .. } = &mut *self.scratch;
        out.clear();
        out.resize(tiles.len() * TILE * dim.div_ceil(LANES), [0.0; LANES]);
        q.resize(tiles.len() * dim / 2, [[0.0; 2]; TILE]);
        for (tile, q) in tiles.iter().zip(q.chunks_exact_mut(dim / 2)) {
            for i in 0..tile.count {
                let at = tile.token[i] * self.q_stride + tile.head[i] * dim;
                let source = self.q[at..at + dim].as_chunks::<2>().0;
                for (to, x) in q.iter_mut().zip(source) {
                    to[i] = [x[0] * self.shape.scale, x[1] * self.shape.scale];
                }
            }
        }
    }

    /// Walks over those of `blocks` of a row that queries in `places` see.
    #[inline(always)]
    fn walk<S: Simd>(&mut self, simd: S, row: u32, blocks: Range<usize>, places: Range<usize>) {
        let KvMemory {
            kv_heads,
            head_dim,
            keys,
            values,
            ..
        } = self.memory;
        let Scratch { tiles, q, out, .. } = &mut *self.scratch;
        let vectors = head_dim.div_ceil(LANES);
        let in_tile = |t: usize, tile: &Tile| {
            let at = |p: usize| p.saturating_sub(t * TILE).min(tile.count);
            at(places.start)..at(places.end)
        };
        let (mut begin, mut end) = (usize::MAX, 0);
        for (t, tile) in tiles.iter().enumerate() {
            for seen in &tile.seen[in_tile(t, tile)] {
                begin = begin.min(seen.0 / BLOCK);
                end = end.max(seen.1.div_ceil(BLOCK));
            }
        }
        let (begin, end) = (begin.max(blocks.start), end.min(blocks.end));
        let table = self.rows.table(row as usize);
        let first = self.rows.first_block(row as usize);
        for block in begin..end {
            let place = |block: usize| table[block - first] as usize * kv_heads + self.kv_head;
            if block + 1 < end {
                prefetch(simd, keys, place(block + 1));
                prefetch(simd, values, place(block + 1));
            }
            for (t, tile) in tiles.iter_mut().enumerate() {
                let range = in_tile(t, tile);
                let step = Step {
                    q: &q[t * head_dim / 2..(t + 1) * head_dim / 2],
                    keys,
                    values,
                    place: place(block),
                    block,
                    softcap: self.shape.softcap,
                };
                let out = &mut out[t * TILE * vectors..(t + 1) * TILE * vectors];
                step.gather(simd, tile, out, vectors, range);
            }
        }
    }

    /// Divides by the sums.
    #[inline(always)]
    fn finish<S: Simd>(&mut self, simd: S) {
        let dim = self.memory.head_dim;
        let vectors = dim.div_ceil(LANES);
        let Scratch { tiles, out, .. } = &mut *self.scratch;
        for (tile, sums) in tiles.iter().zip(out.chunks_exact_mut(TILE * vectors)) {
            for (i, sums) in sums.chunks_exact_mut(vectors).take(tile.count).enumerate() {
                let sum = simd.splat(tile.sum[i]);
                for x in &mut *sums {
                    simd.store(simd.div(simd.load(x), sum), x);
                }
                let at = (tile.token[i] * self.shape.heads + tile.head[i]) * dim;
                // SAFETY: each (token, head) belongs to one task.
                let out = unsafe { self.out.range_mut(at, dim) };
                out.copy_from_slice(&sums.as_flattened()[..dim]);
            }
        }
    }
}

/// Hints that a tile will be read.
#[inline(always)]
fn prefetch<S: Simd>(simd: S, side: &Side, tile: usize) {
    #[inline(always)]
    fn lines<S: Simd, T>(simd: S, all: &[[T; LANES]], tile: usize, count: usize) {
        for line in all[tile * count..(tile + 1) * count]
            .iter()
            .step_by((64 / size_of::<[T; LANES]>()).max(1))
        {
            simd.prefetch(line);
        }
    }
    match &side.numbers {
        Numbers::F32(all) => lines(simd, all, tile, side.lines),
        Numbers::F16(all) | Numbers::Bf16(all) => lines(simd, all, tile, side.lines),
        Numbers::Q8 { quants, scales } => {
            lines(simd, quants, tile, side.lines);
            lines(simd, scales, tile, side.groups);
        }
    }
}

/// One block's part for one tile.
struct Step<'a> {
    /// `[head_dim / 2]` pairs of the scaled queries.
    q: &'a [[[f32; 2]; TILE]],
    keys: &'a Side,
    values: &'a Side,
    /// The tile of keys and of values.
    place: usize,
    block: usize,
    softcap: Option<f32>,
}

/// Calls `$f::<.., N>($first, ..)` for queries `$range`, as many at once as have room
/// in the registers.
macro_rules! each_few {
    ($simd:ident: $S:ty, $range:expr, |$first:ident, $N:ident| $body:expr) => {{
        let range: Range<usize> = $range;
        let mut $first = range.start;
        while $first < range.end {
            let left = range.end - $first;
            let take = if <$S>::MAX_ROWS < TILE {
                left.min(2)
            } else {
                left
            };
            macro_rules! some {
                ($n:literal) => {{
                    const $N: usize = $n;
                    $body
                }};
            }
            match take {
                8.. => some!(8),
                7 => some!(7),
                6 => some!(6),
                5 => some!(5),
                4 => some!(4),
                3 => some!(3),
                2 => some!(2),
                _ => some!(1),
            }
            $first += take.min(TILE);
        }
    }};
}

impl Step<'_> {
    /// Adds the block's positions to those queries of the tile in `range` that see
    /// them.
    #[inline(always)]
    fn gather<S: Simd>(
        &self,
        simd: S,
        tile: &mut Tile,
        out: &mut [[f32; LANES]],
        vectors: usize,
        range: Range<usize>,
    ) {
        let start = self.block * BLOCK;
        let mut seen = [(0, 0); TILE];
        let (mut any, mut alike) = (false, true);
        for i in range.clone() {
            let (from, to) = tile.seen[i];
            let within = (
                from.saturating_sub(start).min(BLOCK),
                to.saturating_sub(start).min(BLOCK),
            );
            seen[i] = within;
            any |= within.0 < within.1;
            alike &= within == seen[range.start];
        }
        if !any {
            return;
        }

        // Scores first, then weights.
        let mut weights = [[0.0_f32; BLOCK]; TILE];
        each_type!(self.keys, self.place, |keys| each_few!(
            simd: S, range.clone(), |first, N|
            scores::<S, _, N>(simd, self.q, &keys, first, &mut weights)
        ));
        // By how much the largest score grows, one lane a query. Seldom at all, after
        // the first blocks: then nothing waits for the scores to be compared.
        let mut growth = [0.0_f32; LANES];
        let mut grows = false;
        for i in range.clone() {
            let (lo, hi) = seen[i];
            if lo < hi {
                let mut score = simd.load(&weights[i]);
                if let Some(cap) = self.softcap {
                    score = cap_lanes(simd, cap, score);
                    simd.store(score, &mut weights[i]);
                }
                if (lo, hi) != (0, BLOCK) {
                    score = simd.keep(score, lo, hi, f32::NEG_INFINITY);
                    simd.store(score, &mut weights[i]);
                }
                let old = tile.largest[i];
                if simd.any_above(score, simd.splat(old)) {
                    let block = simd.largest(score);
                    tile.largest[i] = if block > old { block } else { old };
                    growth[i] = old - tile.largest[i];
                    grows = true;
                }
            }
        }
        let mut rescale = [1.0_f32; LANES];
        if grows {
            simd.store(simd.exp(simd.load(&growth)), &mut rescale);
        }
        for i in range.clone() {
            let (lo, hi) = seen[i];
            if lo < hi {
                let score = simd.load(&weights[i]);
                let mut weight = simd.exp(simd.sub(score, simd.splat(tile.largest[i])));
                if (lo, hi) != (0, BLOCK) {
                    weight = simd.keep(weight, lo, hi, 0.0);
                }
                simd.store(weight, &mut weights[i]);
                tile.sum[i] = tile.sum[i] * rescale[i] + simd.sum(weight);
            }
        }

        each_type!(self.values, self.place, |values| {
            if alike {
                let mix = Mix {
                    weights: &weights,
                    rescale: &rescale,
                    seen: seen[range.start],
                    vectors,
                };
                each_few!(simd: S, range, |first, N| mix.add::<S, _, N>(simd, &values, first, out));
            } else {
                // A position that a query does not see must not be read for it, not
                // even with a weight of zero: zero times infinity is NaN.
                for i in range {
                    let mix = Mix {
                        weights: &weights,
                        rescale: &rescale,
                        seen: seen[i],
                        vectors,
                    };
                    if seen[i].0 < seen[i].1 {
                        mix.add::<S, _, 1>(simd, &values, i, out);
                    }
                }
            }
        });
    }
}
