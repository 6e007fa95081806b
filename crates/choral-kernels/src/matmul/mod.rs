//! Products of activations with packed weights, in written-down orders.
//!
//! **bf16 and f32.** Every output is `C`, which starts at 0. K is walked in tiles
//! of 32, first to last. In a tile, `e` and `o` start at 0 and take 16 fused
//! multiply-adds each: `e` over `k = 0, 2, 4, ...`, `o` over `k = 1, 3, 5, ...`,
//! in that order; then `C = C + (e + o)`, two roundings. Missing elements of the
//! last tile are zeros. This is what an AMX `TDPBF16PS` does to one tile, so that
//! tiles give the same bits as vectors (see [`crate::round_bf16`] for denormals).
//! [`reference()`] says it in ten lines and is what the tests compare with.
//!
//! **int8.** Weights stay the integers of their file, activations become int8 in
//! blocks of 32 with a scale; the sum of a block is exact in integers, and blocks
//! are added in order by fused multiply-adds: see [`reference_int8()`].
//!
//! Nothing in either depends on the number of rows M, on the other rows, or on
//! how the work is cut into tasks: that is what makes a batch equal to its parts.
//!
//! Weights are packed in groups of 16 output rows so that a vector holds one `k`
//! of sixteen outputs, and a tile of bf16 is one of AMX; a [`PackedMatrix`] may join
//! parts that are stored in different ways.
//!
//! Read on in `float` (bf16 and f32 on vectors), `int8`, `quant` (layouts of codes),
//! `unpack` (codes in the bf16 numeric), `bf16_dot` (bf16 by pairs) and `amx`.

mod activations;
#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod bf16_dot;
mod float;
mod int8;
mod quant;
mod unpack;

pub use activations::{Activations, Inputs};
#[cfg(target_arch = "x86_64")]
pub(crate) use amx::multiply_tiles;
#[cfg(target_arch = "x86_64")]
pub(crate) use bf16_dot::agrees as dot_agrees;
pub use int8::{IntegerBlock, reference_int8};
pub use quant::{Format, RowCodes, Shape as CodeShape};

use crate::shared::SharedSlice;
use crate::simd::LANES;
use crate::work::Tally;
use crate::{Compute, Isa};
use activations::Lines;
use float::{FloatTiles, TileBf16, TileF32};
use quant::QuantTiles;

/// Depth of a tile, in elements of K.
pub const TILE_K: usize = 32;

/// Rows of the next pass where `left` are left and `most` fit: the last passes share
/// what is left evenly, for 7 is better 4 + 3 than 6 + 1.
#[inline(always)]
fn pass_of(left: usize, most: usize) -> usize {
    if left > most && left < 2 * most {
        left.div_ceil(2)
    } else {
        left.min(most)
    }
}

/// A floating-point type of stored numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// The upper half of an f32.
    Bf16,
    /// Single precision.
    F32,
}

impl Element {
    /// Bytes of one number.
    pub fn bytes(self) -> usize {
        match self {
            Self::Bf16 => 2,
            Self::F32 => 4,
        }
    }
}

/// What a product takes its activations as. Sums are f32 in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// As they are.
    F32,
    /// Rounded to bf16.
    Bf16,
    /// Quantised to int8 in blocks of 32.
    Int8,
}

/// One part of a matrix to pack: rows of one way of storing.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// Outputs of the part.
    pub rows: usize,
    /// Where its rows come from, and what they become.
    pub source: Source<'a>,
}

/// Where the rows of a part come from, and what they become. Rows are asked for
/// in parallel, each once.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// `row(r, out)` writes row `r` (`[k]`) as floats; they are kept as `element`.
    Float {
        /// What is kept.
        element: Element,
        /// Writes a row.
        row: &'a (dyn Fn(usize, &mut [f32]) + Sync),
    },
    /// `row(r, out)` writes the integers of row `r`; they are kept as they are, and
    /// multiplied with `input` activations (bf16 or int8).
    Codes {
        /// How integers become weights.
        format: Format,
        /// What they are multiplied with.
        input: Input,
        /// Writes a row.
        row: &'a (dyn Fn(usize, &mut RowCodes) + Sync),
    },
}

impl Source<'_> {
    /// What the part's products take.
    pub fn input(&self) -> Input {
        match *self {
            Self::Float {
                element: Element::F32,
                ..
            } => Input::F32,
            Self::Float {
                element: Element::Bf16,
                ..
            } => Input::Bf16,
            Self::Codes { input, .. } => input,
        }
    }
}

/// How the weights of a part lie in memory.
#[derive(Debug)]
enum Tiles {
    Bf16(FloatTiles<TileBf16>),
    /// In the pairs of `bf16_dot`.
    Dot(FloatTiles<TileBf16<true>>),
    F32(FloatTiles<TileF32>),
    Quant {
        tiles: QuantTiles,
        input: Input,
    },
}

#[derive(Debug)]
struct PackedPart {
    /// Its first output in the matrix.
    first: usize,
    n: usize,
    tiles: Tiles,
}

/// A weight matrix `[n, k]` (one row an output) in the order kernels read it:
/// groups of 16 outputs, and in a group tiles of 32 `k`. Outputs are padded with
/// zeros to whole groups, part by part.
#[derive(Debug)]
pub struct PackedMatrix {
    n: usize,
    k: usize,
    inputs: Inputs,
    parts: Vec<PackedPart>,
}

/// One task's place in a product: some groups of a part, for all rows.
struct Span<'a> {
    x: &'a Activations,
    /// Outputs of the part, and the first of them in the whole.
    n: usize,
    first: usize,
    /// Outputs of the whole matrix: the distance of two rows of `out`.
    stride: usize,
    groups: std::ops::Range<usize>,
    /// The group that this thread will probably take up next; it need not exist.
    next: usize,
    out: &'a SharedSlice<'a, f32>,
    tally: &'a Tally,
}

impl PackedMatrix {
    /// Packs a matrix of rows of `k` elements. `None` if there is no memory for it.
    ///
    /// # Panics
    /// If there are no rows or `k` is 0, if `k` is not a whole number of a part's
    /// blocks, or if f32 and bf16 parts are mixed.
    pub fn pack(compute: &Compute, k: usize, parts: &[Part<'_>]) -> Option<Self> {
        let mut n = 0;
        let mut inputs = Inputs::default();
        let mut packed = Vec::with_capacity(parts.len());
        for part in parts {
            assert!(
                part.rows > 0 && k > 0,
                "an empty matrix has nothing to multiply"
            );
            inputs = inputs.and(part.source.input());
            let rows = part.rows;
            let tiles = match part.source {
                Source::Float { element, row } => match element {
                    Element::Bf16 if matches!(compute.isa(), Isa::Avx512Bf16(_)) => {
                        Tiles::Dot(FloatTiles::pack(compute, rows, k, row)?)
                    }
                    Element::Bf16 => Tiles::Bf16(FloatTiles::pack(compute, rows, k, row)?),
                    Element::F32 => Tiles::F32(FloatTiles::pack(compute, rows, k, row)?),
                },
                Source::Codes { format, input, row } => {
                    assert!(input != Input::F32, "quantised weights take bf16 or int8");
                    let tiles = QuantTiles::pack(compute, format, rows, k, row)?;
                    Tiles::Quant { tiles, input }
                }
            };
            packed.push(PackedPart {
                first: n,
                n: rows,
                tiles,
            });
            n += rows;
        }
        assert!(n > 0, "a matrix needs parts");
        Some(Self {
            n,
            k,
            inputs,
            parts: packed,
        })
    }

    /// Bytes that a packed `[n, k]` part of floats takes. Saturates.
    #[must_use]
    pub fn float_bytes(element: Element, n: usize, k: usize) -> usize {
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

    /// The forms of activations that [`multiply`](Self::multiply) needs.
    pub fn inputs(&self) -> Inputs {
        self.inputs
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let part = |p: &PackedPart| match &p.tiles {
            Tiles::Bf16(tiles) => tiles.bytes(),
            Tiles::Dot(tiles) => tiles.bytes(),
            Tiles::F32(tiles) => tiles.bytes(),
            Tiles::Quant { tiles, .. } => tiles.bytes(),
        };
        self.parts.iter().map(part).sum()
    }

    /// `out = x * self^T`: `x` is `[m, k]`, `out` is `[m, n]`, row-major.
    ///
    /// # Panics
    /// If `x` is of another depth or lacks a form, if `out` is of another size, or if
    /// `x` or the matrix was made for another instruction set.
    pub fn multiply(&self, compute: &Compute, x: &Activations, out: &mut [f32]) {
        assert_eq!(x.width(), self.k, "depth of the activations");
        assert_eq!(out.len(), x.rows() * self.n, "size of the product");
        for input in [Input::F32, Input::Bf16, Input::Int8] {
            assert!(
                x.inputs().has(input) || !self.inputs.has(input),
                "the activations lack their {input:?} form"
            );
        }
        if x.rows() == 0 {
            return;
        }
        assert!(
            !x.inputs().has(Input::Bf16) || x.order() == Lines::of(compute.isa()),
            "the activations were made for another instruction set"
        );
        // Enough tasks to even out a disturbed core, few enough to cost nothing,
        // and each a multiple of the four groups that one pass can take.
        let groups = |part: &PackedPart| part.n.div_ceil(LANES);
        let all: usize = self.parts.iter().map(groups).sum();
        let per_task = all.div_ceil(compute.threads() * 8).next_multiple_of(4);
        let tasks = |part: &PackedPart| groups(part).div_ceil(per_task);
        let out = SharedSlice::new(out);
        compute.run(self.parts.iter().map(tasks).sum(), |mut task| {
            for part in &self.parts {
                let here = tasks(part);
                if task >= here {
                    task -= here;
                    continue;
                }
                let first = task * per_task;
                let tally = Tally::default();
                let span = Span {
                    x,
                    n: part.n,
                    first: part.first,
                    stride: self.n,
                    groups: first..(first + per_task).min(groups(part)),
                    next: first + compute.threads() * per_task,
                    out: &out,
                    tally: &tally,
                };
                part.tiles.multiply(compute.isa(), &span);
                compute.work.add(&tally);
                return;
            }
        });
    }
}

impl Tiles {
    /// Runs one task.
    fn multiply(&self, isa: Isa, span: &Span<'_>) {
        match (self, isa) {
            #[cfg(target_arch = "x86_64")]
            (Self::Bf16(tiles), Isa::Amx(token)) => {
                amx::multiply(token, span, amx::Weights::Tiles(tiles.tiles()));
            }
            #[cfg(target_arch = "x86_64")]
            (
                Self::Quant {
                    tiles,
                    input: Input::Bf16,
                },
                Isa::Amx(token),
            ) => amx::multiply(token, span, amx::Weights::Codes(tiles)),
            #[cfg(target_arch = "x86_64")]
            (Self::Dot(tiles), Isa::Avx512Bf16(token)) => {
                bf16_dot::multiply(token, span, tiles.tiles());
            }
            #[cfg(target_arch = "x86_64")]
            (
                Self::Quant {
                    tiles,
                    input: Input::Bf16,
                },
                Isa::Avx512Bf16(token),
            ) => tiles.multiply_dot(token, span),
            (Self::Dot(_), _) | (Self::Bf16(_), Isa::Avx512Bf16(_)) => {
                panic!("the weights were packed for another instruction set")
            }
            (Self::Bf16(tiles), _) => tiles.multiply(isa, span),
            (Self::F32(tiles), _) => tiles.multiply(isa, span),
            (Self::Quant { tiles, input }, _) => match input {
                Input::Int8 => tiles.multiply_int8(isa, span),
                _ => tiles.multiply_bf16(isa, span),
            },
        }
    }
}

impl Span<'_> {
    /// Stores sixteen outputs of row `row` from group `group` on.
    #[inline(always)]
    fn store(&self, row: usize, group: usize, values: &[f32; LANES]) {
        let at = group * LANES;
        let width = LANES.min(self.n - at);
        // SAFETY: a task writes only the columns of its own groups.
        let out = unsafe {
            self.out
                .range_mut(row * self.stride + self.first + at, width)
        };
        if width == LANES {
            out.copy_from_slice(values); // of a length that the compiler knows
        } else {
            out.copy_from_slice(&values[..width]);
        }
    }
}

/// The order of accumulation of bf16 and f32, said plainly: one output of a row
/// `x` and a weight row `w`, both `[k]` and already rounded to their element.
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
pub(crate) mod tests;
