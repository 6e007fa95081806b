//! One block's keys against queries, and its values into their sums, whatever numbers
//! they are kept as.

use super::BLOCK;
use super::kernel::Seen;
use super::kv_type::GROUP;
use super::store::Stored;
use super::tasks::TILE;
use crate::simd::{LANES, Simd};

/// A tile of keys or of values.
pub(super) struct Lines<'a, E: Stored> {
    pub(super) numbers: &'a [[E::Bits; LANES]],
    /// `[groups]`, of each position; empty where numbers have no scales.
    pub(super) scales: &'a [[u16; LANES]],
}

impl<E: Stored> Lines<'_, E> {
    /// The scales of a group.
    #[inline(always)]
    fn scale<S: Simd>(&self, simd: S, group: usize) -> S::V {
        if E::SCALED {
            simd.widen_f16(&self.scales[group])
        } else {
            simd.splat(1.0)
        }
    }
}

/// Calls `$f::<E>(lines, ...)` with the side's lines of type `E` in that tile.
macro_rules! each_type {
    ($side:expr, $tile:expr, |$lines:ident| $body:expr) => {{
        let (side, tile) = ($side, $tile);
        let at = tile * side.lines..(tile + 1) * side.lines;
        match &side.numbers {
            Numbers::F32(all) => {
                let $lines = Lines::<F32> {
                    numbers: &all[at],
                    scales: &[],
                };
                $body
            }
            Numbers::F16(all) => {
                let $lines = Lines::<F16> {
                    numbers: &all[at],
                    scales: &[],
                };
                $body
            }
            Numbers::Bf16(all) => {
                let $lines = Lines::<Bf16> {
                    numbers: &all[at],
                    scales: &[],
                };
                $body
            }
            Numbers::Q8 { quants, scales } => {
                let $lines = Lines::<Q8> {
                    numbers: &quants[at],
                    scales: &scales[tile * side.groups..(tile + 1) * side.groups],
                };
                $body
            }
        }
    }};
}

pub(super) use each_type;

/// Scores of `N` queries of a tile, from `first` on, in all positions of a block.
#[inline(always)]
pub(super) fn scores<S: Simd, E: Stored, const N: usize>(
    simd: S,
    q: &[[[f32; 2]; TILE]],
    keys: &Lines<'_, E>,
    first: usize,
    scores: &mut [[f32; BLOCK]; TILE],
) {
    assert!(first + N <= TILE);
    let mut even = [simd.splat(0.0); N];
    let mut odd = [simd.splat(0.0); N];
    let groups = q.chunks(GROUP / 2).zip(keys.numbers.chunks(GROUP));
    for (group, (q, k)) in groups.enumerate() {
        let scale = keys.scale(simd, group);
        for (q, k) in q.iter().zip(k.as_chunks::<2>().0) {
            let (k0, k1) = (E::load(simd, &k[0], scale), E::load(simd, &k[1], scale));
            for i in 0..N {
                even[i] = simd.fma(simd.splat(q[first + i][0]), k0, even[i]);
                odd[i] = simd.fma(simd.splat(q[first + i][1]), k1, odd[i]);
            }
        }
    }
    for i in 0..N {
        simd.store(simd.add(even[i], odd[i]), &mut scores[first + i]);
    }
}

/// What a block's values are added with.
pub(super) struct Mix<'a> {
    pub(super) weights: &'a [[f32; BLOCK]; TILE],
    /// What the sums so far are multiplied with, first.
    pub(super) rescale: &'a [f32; LANES],
    /// The positions to add.
    pub(super) seen: Seen,
    pub(super) vectors: usize,
}

impl Mix<'_> {
    /// Adds to the sums of `N` queries of a tile, from `first` on.
    #[inline(always)]
    pub(super) fn add<S: Simd, E: Stored, const N: usize>(
        &self,
        simd: S,
        values: &Lines<'_, E>,
        first: usize,
        out: &mut [[f32; LANES]],
    ) {
        const PER_GROUP: usize = GROUP / LANES;
        assert!(first + N <= TILE);
        let vectors = self.vectors;
        let mut scales = [0.0; LANES];
        for j in (0..vectors).step_by(PER_GROUP) {
            if E::SCALED {
                simd.store(values.scale(simd, j / PER_GROUP), &mut scales);
            }
            if j + PER_GROUP <= vectors {
                self.columns::<S, E, N, PER_GROUP>(simd, values, &scales, (first, j), out);
            } else {
                self.columns::<S, E, N, 1>(simd, values, &scales, (first, j), out);
            }
        }
    }

    /// Columns `j..j + W` of it.
    #[inline(always)]
    fn columns<S: Simd, E: Stored, const N: usize, const W: usize>(
        &self,
        simd: S,
        values: &Lines<'_, E>,
        scales: &[f32; LANES],
        (first, j): (usize, usize),
        out: &mut [[f32; LANES]],
    ) {
        let mut acc = [[simd.splat(0.0); W]; N];
        for i in 0..N {
            let rescale = simd.splat(self.rescale[first + i]);
            for w in 0..W {
                acc[i][w] = simd.mul(simd.load(&out[(first + i) * self.vectors + j + w]), rescale);
            }
        }
        let (lo, hi) = self.seen;
        let hi = hi.min(BLOCK);
        for t in lo..hi {
            let line = values.numbers[t * self.vectors + j..]
                .first_chunk::<W>()
                .expect("a line for every position");
            let scale = simd.splat(scales[t]);
            for w in 0..W {
                let v = E::load(simd, &line[w], scale);
                for i in 0..N {
                    acc[i][w] = simd.fma(simd.splat(self.weights[first + i][t]), v, acc[i][w]);
                }
            }
        }
        for i in 0..N {
            for w in 0..W {
                simd.store(acc[i][w], &mut out[(first + i) * self.vectors + j + w]);
            }
        }
    }
}
