//! Products of activations with packed weights, in one written-down order.
//!
//! **The order.** Every output is `C`, which starts at 0. K is walked in tiles of
//! 32, first to last. In a tile, `e` and `o` start at 0 and take 16 fused
//! multiply-adds each: `e` over `k = 0, 2, 4, ...`, `o` over `k = 1, 3, 5, ...`,
//! in that order; then `C = C + (e + o)`, two roundings. Missing elements of the
//! last tile are zeros. This is what an AMX `TDPBF16PS` does to one tile, so an
//! implementation with tiles can give the same bits (see [`crate::round_bf16`]
//! for denormals). [`reference()`] says it in ten lines and is what the tests
//! compare with.
//!
//! Nothing in it depends on the number of rows M, on the other rows, or on how
//! the work is cut into tasks: that is what makes a batch equal to its parts.
//!
//! Weights are packed in groups of 16 output rows so that a vector holds one `k`
//! of sixteen outputs; see [`PackedMatrix`].

use crate::Compute;
use crate::bf16::{bf16_to_f32, round_bf16};
use crate::isa::Kernel;
use crate::shared::{SharedSlice, zeroed};
use crate::simd::{LANES, Simd};
use std::array::from_fn;

/// Depth of a tile, in elements of K.
pub const TILE_K: usize = 32;

/// What numbers a product is computed from. Sums are f32 in either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// Weights and activations rounded to bf16.
    Bf16,
    /// Weights and activations as they are.
    F32,
}

impl Element {
    /// Bytes of one packed weight.
    pub fn bytes(self) -> usize {
        match self {
            Self::Bf16 => 2,
            Self::F32 => 4,
        }
    }
}

/// A tile of packed bf16 weights: 16 pairs of `k`, for each of 16 outputs.
type TileBf16 = [[u16; 2 * LANES]; TILE_K / 2];
/// The same in f32: the even `k` of a pair for 16 outputs, then the odd one.
type TileF32 = [[[f32; LANES]; 2]; TILE_K / 2];

#[derive(Debug)]
enum Tiles {
    Bf16(Vec<TileBf16>),
    F32(Vec<TileF32>),
}

/// A weight matrix `[n, k]` (one row an output) in the order kernels read it:
/// groups of 16 outputs; in a group, tiles of 32 `k`; in a tile, pairs of `k`; in
/// a pair, the 16 outputs. Both dimensions are padded with zeros.
#[derive(Debug)]
pub struct PackedMatrix {
    n: usize,
    k: usize,
    tiles: Tiles,
}

impl PackedMatrix {
    /// Packs a matrix whose row `r` is written by `row(r, out)`, `out` being `[k]`.
    /// Rows are asked for in parallel, each once. `None` if there is no memory for it.
    ///
    /// # Panics
    /// If `n` or `k` is 0.
    pub fn pack(
        compute: &Compute,
        element: Element,
        n: usize,
        k: usize,
        row: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Option<Self> {
        assert!(n > 0 && k > 0, "an empty matrix has nothing to multiply");
        let depth = k.div_ceil(TILE_K);
        let groups = n.div_ceil(LANES);
        let tiles = match element {
            Element::Bf16 => {
                let mut tiles: Vec<TileBf16> = zeroed(groups * depth)?;
                pack_groups(compute, &mut tiles, n, k, &row, |tile, lane, kk, x| {
                    tile[kk / 2][2 * lane + kk % 2] = round_bf16(x);
                });
                Tiles::Bf16(tiles)
            }
            Element::F32 => {
                let mut tiles: Vec<TileF32> = zeroed(groups * depth)?;
                pack_groups(compute, &mut tiles, n, k, &row, |tile, lane, kk, x| {
                    tile[kk / 2][kk % 2][lane] = x;
                });
                Tiles::F32(tiles)
            }
        };
        Some(Self { n, k, tiles })
    }

    /// Bytes that a packed `[n, k]` matrix takes. Saturates.
    #[must_use]
    pub fn bytes_for(element: Element, n: usize, k: usize) -> usize {
        let padded = |x: usize, unit: usize| x.div_ceil(unit).saturating_mul(unit);
        padded(n, LANES)
            .saturating_mul(padded(k, TILE_K))
            .saturating_mul(element.bytes())
    }

    /// Outputs (rows of the matrix).
    pub fn n(&self) -> usize {
        self.n
    }

    /// Inputs (columns of the matrix).
    pub fn k(&self) -> usize {
        self.k
    }

    /// What its products are computed from.
    pub fn element(&self) -> Element {
        match self.tiles {
            Tiles::Bf16(_) => Element::Bf16,
            Tiles::F32(_) => Element::F32,
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        match &self.tiles {
            Tiles::Bf16(tiles) => size_of_val(tiles.as_slice()),
            Tiles::F32(tiles) => size_of_val(tiles.as_slice()),
        }
    }

    /// `out = x * self^T`: `x` is `[m, k]`, `out` is `[m, n]`, row-major.
    ///
    /// # Panics
    /// If `x` is of another depth or element, or `out` of another size.
    pub fn multiply(&self, compute: &Compute, x: &Activations, out: &mut [f32]) {
        assert_eq!(x.k, self.k, "depth of the activations");
        assert_eq!(x.element, self.element(), "element of the activations");
        assert_eq!(out.len(), x.m * self.n, "size of the product");
        if x.m == 0 {
            return;
        }
        let groups = self.n.div_ceil(LANES);
        // Enough tasks to even out a disturbed core, few enough to cost nothing,
        // and each a multiple of the four groups that one pass can take.
        let per_task = (groups.div_ceil(compute.threads() * 8)).next_multiple_of(4);
        let out = SharedSlice::new(out);
        compute.run(groups.div_ceil(per_task), |task| {
            let first = task * per_task;
            let groups = first..(first + per_task).min(groups);
            match &self.tiles {
                Tiles::Bf16(tiles) => {
                    compute.isa().run(Multiply {
                        x,
                        tiles,
                        n: self.n,
                        groups,
                        out: &out,
                    });
                }
                Tiles::F32(tiles) => {
                    compute.isa().run(Multiply {
                        x,
                        tiles,
                        n: self.n,
                        groups,
                        out: &out,
                    });
                }
            }
        });
    }
}

/// Fills the tiles of every group of 16 rows, groups in parallel.
fn pack_groups<T: Send>(
    compute: &Compute,
    tiles: &mut [T],
    n: usize,
    k: usize,
    row: &(impl Fn(usize, &mut [f32]) + Sync),
    put: impl Fn(&mut T, usize, usize, f32) + Sync,
) {
    let depth = k.div_ceil(TILE_K);
    let shared = SharedSlice::new(tiles);
    compute.run(n.div_ceil(LANES), |group| {
        // SAFETY: each group has its own `depth` tiles.
        let tiles = unsafe { shared.range_mut(group * depth, depth) };
        let mut values = vec![0.0; k];
        for lane in 0..LANES.min(n - group * LANES) {
            row(group * LANES + lane, &mut values);
            for (tile, chunk) in tiles.iter_mut().zip(values.chunks(TILE_K)) {
                for (kk, &x) in chunk.iter().enumerate() {
                    put(tile, lane, kk, x);
                }
            }
        }
    });
}

/// Activations `[m, k]` ready to be multiplied: rounded to the element, each row
/// padded with zeros to whole tiles. Memory is kept from use to use.
#[derive(Debug)]
pub struct Activations {
    element: Element,
    m: usize,
    k: usize,
    depth: usize,
    tiles: Vec<[f32; TILE_K]>,
}

impl Activations {
    /// None yet.
    #[must_use]
    pub fn new(element: Element) -> Self {
        Self {
            element,
            m: 0,
            k: 0,
            depth: 0,
            tiles: Vec::new(),
        }
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.m
    }

    /// Makes room for `[m, k]` and fills row `r` with what `row(r, out)` leaves in
    /// `out` (`[k]`, contents unspecified before). Rows run in parallel.
    pub fn fill(
        &mut self,
        compute: &Compute,
        m: usize,
        k: usize,
        row: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        self.m = m;
        self.k = k;
        self.depth = k.div_ceil(TILE_K);
        self.tiles.resize(m * self.depth, [0.0; TILE_K]);
        let (element, depth) = (self.element, self.depth);
        let shared = SharedSlice::new(&mut self.tiles);
        compute.run(m, |r| {
            // SAFETY: each row has its own `depth` tiles.
            let tiles = unsafe { shared.range_mut(r * depth, depth) };
            let flat = tiles.as_flattened_mut();
            row(r, &mut flat[..k]);
            flat[k..].fill(0.0);
            if element == Element::Bf16 {
                for x in &mut flat[..k] {
                    *x = bf16_to_f32(round_bf16(*x));
                }
            }
        });
    }

    fn row(&self, r: usize) -> &[[f32; TILE_K]] {
        &self.tiles[r * self.depth..(r + 1) * self.depth]
    }
}

/// A tile that can be read pair by pair.
trait Tile: Sync {
    /// Elements `2 * pair` and `2 * pair + 1` of K, for 16 outputs.
    fn pair<S: Simd>(&self, simd: S, pair: usize) -> (S::V, S::V);
}

impl Tile for TileBf16 {
    #[inline(always)]
    fn pair<S: Simd>(&self, simd: S, pair: usize) -> (S::V, S::V) {
        simd.load_bf16_pairs(&self[pair])
    }
}

impl Tile for TileF32 {
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

/// One task: some groups of outputs, for all rows.
struct Multiply<'a, T> {
    x: &'a Activations,
    tiles: &'a [T],
    n: usize,
    groups: std::ops::Range<usize>,
    out: &'a SharedSlice<'a, f32>,
}

impl<T: Tile> Kernel for Multiply<'_, T> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut group = self.groups.start;
        while group < self.groups.end {
            let left = self.groups.end - group;
            let mut row = 0;
            // Few rows leave registers and latency to spare: take more groups.
            let wide = match self.x.m {
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
                2 if self.x.m == 2 => self.block::<S, 2, 2>(simd, group, 0),
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
        while *row < self.x.m {
            let take = (self.x.m - *row).min(S::MAX_ROWS);
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
        let depth = self.x.depth;
        let x: [&[[f32; TILE_K]]; MR] = from_fn(|m| &self.x.row(row + m)[..depth]);
        let w: [&[T]; NR] = from_fn(|n| &self.tiles[(group + n) * depth..][..depth]);
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
                let first = (group + n) * LANES;
                let width = LANES.min(self.n - first);
                // SAFETY: a task writes only the columns of its own groups.
                let out = unsafe { self.out.range_mut((row + m) * self.n + first, width) };
                if let Ok(out) = out.try_into() {
                    simd.store(c, out);
                } else {
                    let mut whole = [0.0; LANES];
                    simd.store(c, &mut whole);
                    out.copy_from_slice(&whole[..width]);
                }
            }
        }
    }
}

/// The order of accumulation, said plainly: one output of a row `x` and a weight
/// row `w`, both `[k]` and already rounded to their element.
#[must_use]
pub fn reference(x: &[f32], w: &[f32]) -> f32 {
    let mut c = 0.0;
    for (x, w) in x.chunks(TILE_K).zip(w.chunks(TILE_K)) {
        let (mut e, mut o) = (0.0_f32, 0.0_f32);
        for (k, (&x, &w)) in x.iter().zip(w).enumerate() {
            let sum = if k % 2 == 0 { &mut e } else { &mut o };
            *sum = x.mul_add(w, *sum);
        }
        c += e + o;
    }
    c
}

#[cfg(test)]
mod tests;
