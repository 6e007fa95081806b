//! Quantised weights in the bf16 numeric: a panel of them at a time becomes bf16
//! tiles, in memory that stays in the first cache, and is multiplied like any bf16.
//!
//! Owns what a code's weight is in bf16, and the panels for vectors (pairs of bf16
//! among them); those for AMX tiles are `amx`'s. Layouts are `quant`'s.
//!
//! A weight is one fused multiply-add of a float made from the code, cheaply, and
//! two vectors made from the scales, once for each part of 32. Where the format has
//! no minimum nothing rounds before bf16 does: a scale has at most 18 significant
//! bits, an integer with its magic number 9.

#[cfg(target_arch = "x86_64")]
use super::bf16_dot;
use super::float::{self, TileBf16};
use super::quant::{Layout, Meaning, Packed, QuantTiles, Scales as _, Vector};
use super::{Span, TILE_K};
#[cfg(target_arch = "x86_64")]
use crate::isa::Avx512Bf16;
use crate::isa::{Int8Kernel, Isa};
use crate::simd::{BYTES, Int8, LANES, Simd};
use std::cell::RefCell;
use std::ops::Range;

/// How many parts of 32 ahead codes are fetched.
const AHEAD: usize = 8;

/// Tiles in a panel for vectors: 16 KiB of bf16, half of a first cache of 32 KiB.
const PANEL: usize = 16;

/// What one thread needs for its panels; kept so that steps do not allocate.
struct Scratch<const DOT: bool> {
    tiles: [TileBf16<DOT>; PANEL],
    /// `[groups, rows]`.
    sums: Vec<[f32; LANES]>,
}

impl<const DOT: bool> Scratch<DOT> {
    const fn new() -> RefCell<Self> {
        RefCell::new(Self {
            tiles: [TileBf16::ZERO; PANEL],
            sums: Vec::new(),
        })
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch<false>> = const { Scratch::new() };
    #[cfg(target_arch = "x86_64")]
    static DOT_SCRATCH: RefCell<Scratch<true>> = const { Scratch::new() };
}

impl QuantTiles {
    /// Runs one task with bf16 activations on vectors.
    pub(super) fn multiply_bf16(&self, isa: Isa, span: &Span<'_>) {
        SCRATCH.with_borrow_mut(|scratch| {
            by_panels(
                span,
                scratch,
                |groups, parts, tiles| {
                    span.tally.read(self.bytes_of(groups.len(), parts.len()));
                    self.unpack(isa, groups, parts, tiles, span.tally);
                },
                |panel, tiles, parts, sums| {
                    float::add(isa, panel, (tiles, parts.start, parts.len()), sums);
                },
            );
        });
    }

    /// Runs one task with bf16 activations in pairs.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn multiply_dot(&self, token: Avx512Bf16, span: &Span<'_>) {
        DOT_SCRATCH.with_borrow_mut(|scratch| {
            by_panels(
                span,
                scratch,
                |groups, parts, tiles| {
                    span.tally.read(self.bytes_of(groups.len(), parts.len()));
                    self.unpack_pairs(token, groups, parts, tiles, span.tally);
                },
                |panel, tiles, parts, sums| bf16_dot::add(token, panel, tiles, parts, sums),
            );
        });
    }
}

/// Unpacks panel by panel and has them added to sums: `unpack` takes the groups of a
/// panel, its parts and their tiles `[groups, parts]`; `add` the span of the groups, the
/// tiles, the parts and the sums `[groups, rows]`.
fn by_panels<const DOT: bool>(
    span: &Span<'_>,
    scratch: &mut Scratch<DOT>,
    unpack: impl Fn(Range<usize>, Range<usize>, &mut [TileBf16<DOT>]),
    add: impl Fn(&Span<'_>, &[TileBf16<DOT>], Range<usize>, &mut [[f32; LANES]]),
) {
    let (rows, depth) = (span.x.rows(), span.x.depth());
    // One row is multiplied with four groups at a time, more rows with fewer.
    let wide = if rows == 1 { 4 } else { 2 };
    for first in span.groups.clone().step_by(wide) {
        let groups = first..(first + wide).min(span.groups.end);
        let panel = Span {
            groups: groups.clone(),
            ..*span
        };
        scratch.sums.clear();
        scratch.sums.resize(groups.len() * rows, [0.0; LANES]);
        for tile in (0..depth).step_by(PANEL / wide) {
            let parts = tile..(tile + PANEL / wide).min(depth);
            let tiles = &mut scratch.tiles[..groups.len() * parts.len()];
            unpack(groups.clone(), parts.clone(), tiles);
            add(&panel, tiles, parts, &mut scratch.sums);
        }
        let sums = scratch.sums.chunks_exact(rows);
        for (group, sums) in groups.zip(sums) {
            for (row, sums) in sums.iter().enumerate() {
                span.store(row, group, sums);
            }
        }
    }
}

/// Writes the weights of some groups and parts as bf16 tiles.
pub(super) struct Unpack<'a, L: Layout, const DOT: bool> {
    pub(super) packed: &'a Packed<L::Codes, L::Scales>,
    pub(super) groups: Range<usize>,
    pub(super) parts: Range<usize>,
    /// `[groups, parts]`.
    pub(super) out: &'a mut [TileBf16<DOT>],
}

impl<L: Layout, const DOT: bool> Int8Kernel for Unpack<'_, L, DOT> {
    const ROUNDS: bool = true;

    #[inline(always)]
    fn run<I: Int8>(self, int8: I) {
        let depth = self.packed.depth;
        let supers = depth / L::PARTS;
        let panels = self.out.chunks_exact_mut(self.parts.len());
        for (group, out) in self.groups.zip(panels) {
            let codes = &self.packed.codes[group * depth..][self.parts.clone()];
            let scales = &self.packed.scales[group * supers..][..supers];
            for ((part, codes), out) in self.parts.clone().zip(codes).zip(out) {
                let scales = &scales[part / L::PARTS];
                let place = part % L::PARTS;
                // A scale that comes late holds up all 32 weights under it.
                let line = place * 64;
                if line < size_of::<L::Scales>() {
                    let ahead = std::ptr::from_ref(scales).wrapping_add(AHEAD / L::PARTS);
                    int8.float().prefetch(ahead.wrapping_byte_add(line));
                }
                let line = Affine::<I>::of::<L>(int8, scales, place, 0);
                let (first, second) = out.0.split_at_mut(TILE_K / 4);
                line.unpack::<L, 0, DOT>(int8, codes, first);
                line.unpack::<L, 1, DOT>(int8, codes, first);
                line.unpack::<L, 2, DOT>(int8, codes, first);
                line.unpack::<L, 3, DOT>(int8, codes, first);
                let line = if const { L::HALVES } {
                    Affine::of::<L>(int8, scales, place, 1)
                } else {
                    line
                };
                line.unpack::<L, 4, DOT>(int8, codes, second);
                line.unpack::<L, 5, DOT>(int8, codes, second);
                line.unpack::<L, 6, DOT>(int8, codes, second);
                line.unpack::<L, 7, DOT>(int8, codes, second);
            }
        }
    }
}

/// `weight = scale * x + start`, for the `x` that [`Affine::unpack`] makes of a code.
#[derive(Clone, Copy)]
struct Affine<I: Int8> {
    scale: Vector<I>,
    start: Vector<I>,
}

impl<I: Int8> Affine<I> {
    /// That of half `half` of part `part` (of those under `scales`).
    #[inline(always)]
    fn of<L: Layout>(int8: I, scales: &L::Scales, part: usize, half: usize) -> Self {
        const { assert!(!L::MINIMA || matches!(L::MEANING, Meaning::Plain)) };
        let f = int8.float();
        let scale = scales.scale(int8, part, half);
        match L::MEANING {
            Meaning::Offset(power) => Self {
                scale,
                start: f.mul(scale, f.splat(-128.0 - (1_u32 << power) as f32)),
            },
            Meaning::SignedByte => Self {
                scale,
                start: f.mul(scale, f.splat(-32896.0)),
            },
            Meaning::Table(_) => Self {
                scale: f.mul(scale, f.splat(1.0 / 16_777_216.0)),
                start: f.splat(0.0),
            },
            Meaning::Plain => Self {
                scale,
                start: scales.minimum(int8, part, half),
            },
        }
    }

    /// Vector `J`, four `k`, becomes two pairs of the eight in half a tile.
    #[inline(always)]
    fn unpack<L: Layout, const J: usize, const DOT: bool>(
        self,
        int8: I,
        codes: &L::Codes,
        out: &mut [[u16; 2 * LANES]],
    ) {
        if J * BYTES < size_of::<L::Codes>() {
            let ahead = std::ptr::from_ref(codes).wrapping_add(AHEAD);
            int8.float().prefetch(ahead.wrapping_byte_add(J * BYTES));
        }
        let integers = L::integers::<I, J>(int8, codes);
        let at = J % 4 * 2;
        if const { DOT } {
            self.pair::<L, 2, 0>(int8, integers, &mut out[at]);
            self.pair::<L, 3, 1>(int8, integers, &mut out[at + 1]);
        } else {
            self.pair::<L, 0, 1>(int8, integers, &mut out[at]);
            self.pair::<L, 2, 3>(int8, integers, &mut out[at + 1]);
        }
    }

    /// The weights of bytes `A` and `B` of each lane.
    #[inline(always)]
    fn pair<L: Layout, const A: usize, const B: usize>(
        self,
        int8: I,
        integers: I::B,
        out: &mut [u16; 2 * LANES],
    ) {
        let f = int8.float();
        let (a, b) = match L::MEANING {
            Meaning::Offset(_) => (
                int8.byte_above_128::<A>(integers),
                int8.byte_above_128::<B>(integers),
            ),
            Meaning::SignedByte => (
                int8.byte_above_32896::<A>(integers),
                int8.byte_above_32896::<B>(integers),
            ),
            Meaning::Table(_) => (
                int8.byte_times_2_24::<A>(integers),
                int8.byte_times_2_24::<B>(integers),
            ),
            Meaning::Plain => (int8.byte::<A>(integers), int8.byte::<B>(integers)),
        };
        let (a, b) = (
            f.fma(a, self.scale, self.start),
            f.fma(b, self.scale, self.start),
        );
        if const { L::Scales::TINY } {
            int8.store_bf16_pairs::<true>(a, b, out);
        } else {
            int8.store_bf16_pairs::<false>(a, b, out);
        }
    }
}
