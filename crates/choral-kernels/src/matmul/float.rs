//! Products from bf16 or f32 tiles with vectors, in the order of the module above.
//!
//! Owns the layout of tiles, and the kernel for whole rows of K or for a part of K
//! after another ([`add`]). Where there are AMX tiles or dot products of bf16, bf16 is
//! `amx`'s or `bf16_dot`'s.

use super::{Span, TILE_K};
use crate::Compute;
use crate::arena::Array;
use crate::bf16::round_bf16;
use crate::isa::{Isa, Kernel};
use crate::shared::{SharedSlice, Zeroable};
use crate::simd::{LANES, Simd};
use std::array::from_fn;

/// A tile of packed bf16 weights: 16 pairs of `k`, for each of 16 outputs. Just what
/// an AMX tile takes, and on whole cache lines: one that straddles costs two loads.
///
/// With `DOT`, four `k` are the pairs that `bf16_dot` takes: see [`place`].
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct TileBf16<const DOT: bool = false>(pub(super) [[u16; 2 * LANES]; TILE_K / 2]);
/// The same in f32: the even `k` of a pair for 16 outputs, then the odd one.
pub(super) type TileF32 = [[[f32; LANES]; 2]; TILE_K / 2];

// SAFETY: all are integers.
unsafe impl<const DOT: bool> Zeroable for TileBf16<DOT> {}

impl<const DOT: bool> TileBf16<DOT> {
    pub(super) const ZERO: Self = Self([[0; 2 * LANES]; TILE_K / 2]);
}

/// The pair of element `kk` of K, and its place there.
///
/// With `DOT` pairs are of even elements or of odd ones, and the later comes first:
/// of four `k`, 2 and 0, then 3 and 1. That is the order in which `VDPBF16PS` adds.
#[inline(always)]
pub(super) const fn place<const DOT: bool>(kk: usize) -> (usize, usize) {
    if DOT {
        (kk / 4 * 2 + kk % 2, (kk % 4 < 2) as usize)
    } else {
        (kk / 2, kk % 2)
    }
}

/// A tile that can be filled.
pub(super) trait Tile: Sync {
    /// Sets element `kk` of K for output `lane`.
    fn put(&mut self, lane: usize, kk: usize, x: f32);
}

/// A tile that can be read pair by pair.
pub(super) trait Pairs: Tile {
    /// Elements `2 * pair` and `2 * pair + 1` of K, for 16 outputs.
    fn pair<S: Simd>(&self, simd: S, pair: usize) -> (S::V, S::V);
}

impl<const DOT: bool> Tile for TileBf16<DOT> {
    #[inline(always)]
    fn put(&mut self, lane: usize, kk: usize, x: f32) {
        let (pair, at) = place::<DOT>(kk);
        self.0[pair][2 * lane + at] = round_bf16(x);
    }
}

impl Pairs for TileBf16 {
    #[inline(always)]
    fn pair<S: Simd>(&self, simd: S, pair: usize) -> (S::V, S::V) {
        simd.load_bf16_pairs(&self.0[pair])
    }
}

impl Tile for TileF32 {
    #[inline(always)]
    fn put(&mut self, lane: usize, kk: usize, x: f32) {
        self[kk / 2][kk % 2][lane] = x;
    }
}

impl Pairs for TileF32 {
    #[inline(always)]
    fn pair<S: Simd>(&self, simd: S, pair: usize) -> (S::V, S::V) {
        (simd.load(&self[pair][0]), simd.load(&self[pair][1]))
    }
}

/// How many tiles ahead weights are fetched. The sums of eight rows keep a core so
/// busy that it does not run far enough ahead by itself to hide the way to memory.
const AHEAD: usize = 8;

/// Where in a tile the elements of a pair lie.
#[inline(always)]
fn line<T>(tile: &T, pair: usize) -> *const T {
    std::ptr::from_ref(tile).wrapping_byte_add(pair * size_of::<T>() / (TILE_K / 2))
}

/// The tiles of a part, group by group.
#[derive(Debug)]
pub(super) struct FloatTiles<T> {
    tiles: Array<T>,
}

impl<T: Tile + Zeroable + Send> FloatTiles<T> {
    /// Packs `[n, k]`; `None` if there is no memory for it.
    pub(super) fn pack(
        compute: &Compute,
        n: usize,
        k: usize,
        row: &(dyn Fn(usize, &mut [f32]) + Sync),
    ) -> Option<Self> {
        let depth = k.div_ceil(TILE_K);
        let groups = n.div_ceil(LANES);
        let mut tiles: Array<T> = compute.arena.zeroed(groups * depth)?;
        let shared = SharedSlice::new(&mut tiles);
        compute.run(groups, |group| {
            // SAFETY: each group has its own `depth` tiles.
            let tiles = unsafe { shared.range_mut(group * depth, depth) };
            let mut values = vec![0.0; k];
            for lane in 0..LANES.min(n - group * LANES) {
                row(group * LANES + lane, &mut values);
                for (tile, chunk) in tiles.iter_mut().zip(values.chunks(TILE_K)) {
                    for (kk, &x) in chunk.iter().enumerate() {
                        tile.put(lane, kk, x);
                    }
                }
            }
        });
        Some(Self { tiles })
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.tiles)
    }

    /// Tiles `[groups, k / 32]`.
    pub(super) fn tiles(&self) -> &[T] {
        &self.tiles
    }
}

impl<T: Pairs + Zeroable + Send> FloatTiles<T> {
    /// Runs one task.
    pub(super) fn multiply(&self, isa: Isa, span: &Span<'_>) {
        let depth = span.x.depth();
        let tiles = &self.tiles[span.groups.start * depth..span.groups.end * depth];
        isa.run(Multiply {
            span,
            tiles,
            first_tile: 0,
            depth,
            sums: None,
        });
    }
}

/// Adds a part of K to `sums`, `[groups, rows]`: `tiles` are `depth` tiles of each of
/// the span's groups, the first of them tile `first_tile` of K.
pub(super) fn add(
    isa: Isa,
    span: &Span<'_>,
    (tiles, first_tile, depth): (&[TileBf16], usize, usize),
    sums: &mut [[f32; LANES]],
) {
    isa.run(Multiply {
        span,
        tiles,
        first_tile,
        depth,
        sums: Some(sums),
    });
}

/// Some groups of outputs, for all rows: over all of K, or over a part of it.
struct Multiply<'a, T> {
    span: &'a Span<'a>,
    /// `[groups, depth]`.
    tiles: &'a [T],
    first_tile: usize,
    depth: usize,
    /// `[groups, rows]`: what to add to, or `None` to start at 0 and end in the span.
    sums: Option<&'a mut [[f32; LANES]]>,
}

impl<T: Pairs> Kernel for Multiply<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let groups = self.span.groups.len();
        let mut group = 0;
        while group < groups {
            let left = groups - group;
            // Few rows leave registers and latency to spare: take more groups.
            let wide = match self.span.x.rows() {
                1 if S::MAX_ROWS >= 4 => 4,
                2 | 3 if S::MAX_ROWS >= 4 => 2,
                _ => 1,
            };
            let taken = if wide > left { 1 } else { wide };
            if self.sums.is_none() {
                // All passes over the rows of these groups follow.
                let tiles = taken * self.depth;
                self.span.tally.read(tiles * size_of::<T>());
            }
            if wide > left {
                self.rows::<S>(simd, group);
                group += 1;
                continue;
            }
            match wide {
                4 => self.block::<S, 1, 4>(simd, group, 0),
                2 if self.span.x.rows() == 2 => self.block::<S, 2, 2>(simd, group, 0),
                2 => self.block::<S, 3, 2>(simd, group, 0),
                _ => self.rows::<S>(simd, group),
            }
            group += wide;
        }
    }
}

impl<T: Pairs> Multiply<'_, T> {
    /// All rows, as many at a time as the registers hold.
    #[inline(always)]
    fn rows<S: Simd>(&mut self, simd: S, group: usize) {
        let mut row = 0;
        while row < self.span.x.rows() {
            let take = (self.span.x.rows() - row).min(S::MAX_ROWS);
            match take {
                8.. => self.block::<S, 8, 1>(simd, group, row),
                7 => self.block::<S, 7, 1>(simd, group, row),
                6 => self.block::<S, 6, 1>(simd, group, row),
                5 => self.block::<S, 5, 1>(simd, group, row),
                4 => self.block::<S, 4, 1>(simd, group, row),
                3 => self.block::<S, 3, 1>(simd, group, row),
                2 => self.block::<S, 2, 1>(simd, group, row),
                _ => self.block::<S, 1, 1>(simd, group, row),
            }
            row += take;
        }
    }

    /// `MR` rows from `row` times `NR` of the span's groups from `group`.
    #[inline(always)]
    fn block<S: Simd, const MR: usize, const NR: usize>(
        &mut self,
        simd: S,
        group: usize,
        row: usize,
    ) {
        let depth = self.depth;
        self.span.tally.multiply(MR * NR * depth);
        let x: [&[[f32; TILE_K]]; MR] =
            from_fn(|m| &self.span.x.row(row + m)[self.first_tile..][..depth]);
        let w: [&[T]; NR] = from_fn(|n| &self.tiles[(group + n) * depth..][..depth]);
        let rows = self.span.x.rows();
        let zero = simd.splat(0.0);
        let mut c = [[zero; NR]; MR];
        if let Some(sums) = &self.sums {
            for m in 0..MR {
                for n in 0..NR {
                    c[m][n] = simd.load(&sums[(group + n) * rows + row + m]);
                }
            }
        }
        for t in 0..depth {
            let mut e = [[zero; NR]; MR];
            let mut o = [[zero; NR]; MR];
            for pair in 0..TILE_K / 2 {
                for n in 0..NR {
                    let tile = &w[n][t];
                    simd.prefetch(line(tile, pair).wrapping_byte_add(AHEAD * size_of::<T>()));
                    let (even, odd) = tile.pair(simd, pair);
                    for m in 0..MR {
                        let xt = &x[m][t];
                        e[m][n] = simd.fma(simd.splat(xt[2 * pair]), even, e[m][n]);
                        o[m][n] = simd.fma(simd.splat(xt[2 * pair + 1]), odd, o[m][n]);
                    }
                }
            }
            for m in 0..MR {
                for n in 0..NR {
                    c[m][n] = simd.add(c[m][n], simd.add(e[m][n], o[m][n]));
                }
            }
        }
        for m in 0..MR {
            for n in 0..NR {
                if let Some(sums) = &mut self.sums {
                    simd.store(c[m][n], &mut sums[(group + n) * rows + row + m]);
                    continue;
                }
                let mut values = [0.0; LANES];
                simd.store(c[m][n], &mut values);
                let group = self.span.groups.start + group + n;
                self.span.store(row + m, group, &values);
            }
        }
    }
}
