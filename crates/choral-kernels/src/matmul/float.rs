//! Products from bf16 or f32 tiles, in the order of the module above.

use super::{Span, TILE_K};
use crate::Compute;
use crate::bf16::round_bf16;
use crate::isa::{Isa, Kernel};
use crate::shared::{Array, SharedSlice, Zeroable};
use crate::simd::{LANES, Simd};
use std::array::from_fn;

/// A tile of packed bf16 weights: 16 pairs of `k`, for each of 16 outputs.
pub(super) type TileBf16 = [[u16; 2 * LANES]; TILE_K / 2];
/// The same in f32: the even `k` of a pair for 16 outputs, then the odd one.
pub(super) type TileF32 = [[[f32; LANES]; 2]; TILE_K / 2];

/// A tile that can be read pair by pair.
pub(super) trait Tile: Sync {
    /// Sets element `kk` of K for output `lane`.
    fn put(&mut self, lane: usize, kk: usize, x: f32);

    /// Elements `2 * pair` and `2 * pair + 1` of K, for 16 outputs.
    fn pair<S: Simd>(&self, simd: S, pair: usize) -> (S::V, S::V);
}

impl Tile for TileBf16 {
    #[inline(always)]
    fn put(&mut self, lane: usize, kk: usize, x: f32) {
        self[kk / 2][2 * lane + kk % 2] = round_bf16(x);
    }

    #[inline(always)]
    fn pair<S: Simd>(&self, simd: S, pair: usize) -> (S::V, S::V) {
        simd.load_bf16_pairs(&self[pair])
    }
}

impl Tile for TileF32 {
    #[inline(always)]
    fn put(&mut self, lane: usize, kk: usize, x: f32) {
        self[kk / 2][kk % 2][lane] = x;
    }

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
        let mut tiles: Array<T> = Array::zeroed(groups * depth)?;
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

    /// Runs one task.
    pub(super) fn multiply(&self, isa: Isa, span: &Span<'_>) {
        multiply(isa, span, &self.tiles, 0);
    }
}

/// Runs one task over `tiles`, the first of which is the first of group `base`.
pub(super) fn multiply<T: Tile>(isa: Isa, span: &Span<'_>, tiles: &[T], base: usize) {
    isa.run(Multiply { span, tiles, base });
}

/// One task: some groups of outputs, for all rows.
struct Multiply<'a, T> {
    span: &'a Span<'a>,
    tiles: &'a [T],
    base: usize,
}

impl<T: Tile> Kernel for Multiply<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut group = self.span.groups.start;
        while group < self.span.groups.end {
            let left = self.span.groups.end - group;
            let mut row = 0;
            // Few rows leave registers and latency to spare: take more groups.
            let wide = match self.span.x.rows() {
                1 if S::MAX_ROWS >= 4 => 4,
                2 | 3 if S::MAX_ROWS >= 4 => 2,
                _ => 1,
            };
            if wide > left {
                self.rows::<S, 1>(simd, group, &mut row);
                group += 1;
                continue;
            }
            match wide {
                4 => self.block::<S, 1, 4>(simd, group, 0),
                2 if self.span.x.rows() == 2 => self.block::<S, 2, 2>(simd, group, 0),
                2 => self.block::<S, 3, 2>(simd, group, 0),
                _ => self.rows::<S, 1>(simd, group, &mut row),
            }
            group += wide;
        }
    }
}

impl<T: Tile> Multiply<'_, T> {
    /// All rows from `row` on, as many at a time as the registers hold.
    #[inline(always)]
    fn rows<S: Simd, const NR: usize>(&self, simd: S, group: usize, row: &mut usize) {
        while *row < self.span.x.rows() {
            let take = (self.span.x.rows() - *row).min(S::MAX_ROWS);
            match take {
                8.. => self.block::<S, 8, NR>(simd, group, *row),
                7 => self.block::<S, 7, NR>(simd, group, *row),
                6 => self.block::<S, 6, NR>(simd, group, *row),
                5 => self.block::<S, 5, NR>(simd, group, *row),
                4 => self.block::<S, 4, NR>(simd, group, *row),
                3 => self.block::<S, 3, NR>(simd, group, *row),
                2 => self.block::<S, 2, NR>(simd, group, *row),
                _ => self.block::<S, 1, NR>(simd, group, *row),
            }
            *row += take;
        }
    }

    /// `MR` rows from `row` times `NR` groups from `group`, over all of K.
    #[inline(always)]
    fn block<S: Simd, const MR: usize, const NR: usize>(&self, simd: S, group: usize, row: usize) {
        let depth = self.span.x.depth();
        let x: [&[[f32; TILE_K]]; MR] = from_fn(|m| &self.span.x.row(row + m)[..depth]);
        let w: [&[T]; NR] = from_fn(|n| &self.tiles[(group + n - self.base) * depth..][..depth]);
        let zero = simd.splat(0.0);
        let mut c = [[zero; NR]; MR];
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
        for (m, c) in c.into_iter().enumerate() {
            for (n, c) in c.into_iter().enumerate() {
                let mut values = [0.0; LANES];
                simd.store(c, &mut values);
                self.span.store(row + m, group + n, &values);
            }
        }
    }
}
