//! Quantised weights as they lie in memory: the integers of the file, in the
//! order in which kernels read them.
//!
//! Owns the packed layouts of every quantised type and what their integers mean.
//! Knows nothing of how files lay them out: rows come as plain [`RowCodes`].
//!
//! **Layout.** A group is 16 outputs. Codes of a group and 32 `k` are eight
//! vectors of 64 bytes; vector `j` holds `k = 4 j .. 4 j + 4` of output 0, then of
//! output 1, ...: one lane of a dot product is one output. Narrow codes share
//! bytes with their neighbours, so that a register is emptied before the next one
//! is loaded: two nibbles are those of `j` and `j + 1`, four two-bit fields those of
//! `j` to `j + 3`. Scales lie apart, in the
//! precision of the file, one vector of 16 outputs each.

use super::float::TileBf16;
use super::int8::Int8Multiply;
use super::unpack::Unpack;
use super::{Span, TILE_K};
use crate::Compute;
use crate::isa::Isa;
use crate::shared::{Array, SharedSlice, Zeroable};
use crate::simd::{BYTES, Int8, LANES, Simd};
use crate::work::Tally;
use std::ops::Range;

/// A way of quantising weights. The names are ggml's.
///
/// A weight is `d * s * q + m`: `q` an integer of the code, `d` a float scale, `s`
/// an integer scale (1 where there is none), `m` a minimum (0 where there is
/// none; for the K-quants, minus a float times an integer).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names by which these types are known")]
#[non_exhaustive]
pub enum Format {
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Iq4Nl,
    Iq4Xs,
    Mxfp4,
}

/// The sizes of a [`Format`]'s parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Weights under one float scale: 32 or 256.
    pub block: usize,
    /// Weights under one integer scale, 16 or 32; `block` where there is none.
    pub group: usize,
    /// Whether there are integer scales.
    pub scales: bool,
    /// Whether there are minima.
    pub minima: bool,
}

impl Format {
    /// Its sizes.
    #[must_use]
    pub const fn shape(self) -> Shape {
        let (block, group, scales, minima) = match self {
            Self::Q8_0 | Self::Q4_0 | Self::Q5_0 | Self::Iq4Nl | Self::Mxfp4 => {
                (32, 32, false, false)
            }
            Self::Q4_1 | Self::Q5_1 => (32, 32, false, true),
            Self::Q2K => (256, 16, true, true),
            Self::Q3K | Self::Q6K => (256, 16, true, false),
            Self::Q4K | Self::Q5K => (256, 32, true, true),
            Self::Iq4Xs => (256, 32, true, false),
        };
        Shape {
            block,
            group,
            scales,
            minima,
        }
    }

    /// The integer that a code stands for.
    #[must_use]
    pub fn integer(self, code: u8) -> i32 {
        let code_as = i32::from(code);
        match self {
            Self::Q8_0 => i32::from(code as i8),
            Self::Q4_0 => code_as - 8,
            Self::Q5_0 => code_as - 16,
            Self::Q6K => code_as - 32,
            Self::Q3K => code_as - 4,
            Self::Q4_1 | Self::Q5_1 | Self::Q2K | Self::Q4K | Self::Q5K => code_as,
            Self::Iq4Nl | Self::Iq4Xs => i32::from(IQ4[usize::from(code & 15)]),
            Self::Mxfp4 => i32::from(E2M1_DOUBLED[usize::from(code & 15)]),
        }
    }

    /// Bytes that a packed `[n, k]` part takes. Saturates.
    #[must_use]
    pub fn bytes(self, n: usize, k: usize) -> usize {
        let groups = n.div_ceil(LANES);
        with_layout!(self, L => {
            let parts = groups.saturating_mul(k / TILE_K);
            let supers = groups.saturating_mul(k / self.shape().block);
            parts
                .saturating_mul(size_of::<<L as Layout>::Codes>())
                .saturating_add(supers.saturating_mul(size_of::<<L as Layout>::Scales>()))
        })
    }
}

/// The integers and scales of one row of weights. The lengths of what a format
/// lacks are 0.
#[derive(Debug, Clone, Default)]
pub struct RowCodes {
    /// `[k]`: the codes, without any offset taken off (`Q8_0`: as signed bytes).
    pub codes: Vec<u8>,
    /// `[k / block]`: bits of the float scale, f16 (`Mxfp4`: bf16).
    pub d: Vec<u16>,
    /// `[k / block]`: f16 bits of the minimum (`Q4_1`, `Q5_1`) or of what integer
    /// minima are multiplied with, to be taken off (K-quants).
    pub m: Vec<u16>,
    /// `[k / group]`: integer scales (`Q3K`, `Q6K`, `Iq4Xs`: as signed bytes).
    pub scales: Vec<u8>,
    /// `[k / group]`: integer minima (K-quants).
    pub minima: Vec<u8>,
}

impl RowCodes {
    /// Takes the lengths that rows of `k` weights have.
    pub fn resize(&mut self, format: Format, k: usize) {
        let shape = format.shape();
        let when = |has: bool, len: usize| if has { len } else { 0 };
        self.codes.resize(k, 0);
        self.d.resize(k / shape.block, 0);
        self.m.resize(when(shape.minima, k / shape.block), 0);
        self.scales.resize(when(shape.scales, k / shape.group), 0);
        let minima = shape.minima && shape.scales;
        self.minima.resize(when(minima, k / shape.group), 0);
    }
}

/// The values of `IQ4_NL` and `IQ4_XS`. Source: ggml `kvalues_iq4nl`.
const IQ4: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

/// Twice the values of E2M1 (OCP microscaling), so that they are integers.
const E2M1_DOUBLED: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// How codes lie: the eight vectors of a group and 32 `k`.
pub(super) trait Codes: Zeroable + Send + Sync {
    /// Vector `J`.
    fn vector<I: Int8, const J: usize>(&self, int8: I) -> I::B;
    /// Sets the code of element `k` (of 32) of output `lane`; it was 0.
    fn put(&mut self, lane: usize, k: usize, code: u8);
}

/// Whole bytes.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Bytes([[u8; BYTES]; 8]);
/// Four bits.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Nibbles([[u8; BYTES]; 4]);
/// Four bits and a fifth: bit `j` of a byte of `high` is that of vector `j`.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Fives {
    low: [[u8; BYTES]; 4],
    high: [u8; BYTES],
}
/// Four bits and two: bits `2 (j % 4)` of a byte of `high[j / 4]` are those of vector `j`.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Sixes {
    low: [[u8; BYTES]; 4],
    high: [[u8; BYTES]; 2],
}
/// Two bits: bits `2 (j % 4)` of a byte of vector `j / 4` are those of vector `j`.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Twos([[u8; BYTES]; 2]);
/// Two bits and a third: bit `j` of a byte of `high` is that of vector `j`.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Threes {
    low: [[u8; BYTES]; 2],
    high: [u8; BYTES],
}

// SAFETY: all are bytes.
unsafe impl Zeroable for Bytes {}
// SAFETY: all are bytes.
unsafe impl Zeroable for Nibbles {}
// SAFETY: all are bytes.
unsafe impl Zeroable for Fives {}
// SAFETY: all are bytes.
unsafe impl Zeroable for Sixes {}
// SAFETY: all are bytes.
unsafe impl Zeroable for Twos {}
// SAFETY: all are bytes.
unsafe impl Zeroable for Threes {}

/// Vector and byte in it of element `k` of output `lane`.
fn place(lane: usize, k: usize) -> (usize, usize) {
    (k / 4, 4 * lane + k % 4)
}

#[inline(always)]
fn nibble<I: Int8, const J: usize>(int8: I, vectors: &[[u8; BYTES]; 4]) -> I::B {
    let pair = int8.load(&vectors[J / 2]);
    if J.is_multiple_of(2) {
        int8.field::<0, 15>(pair)
    } else {
        int8.field::<4, 15>(pair)
    }
}

#[inline(always)]
fn two_bits<I: Int8, const J: usize>(int8: I, vectors: &[[u8; BYTES]; 2]) -> I::B {
    let four = int8.load(&vectors[J / 4]);
    match J % 4 {
        0 => int8.field::<0, 3>(four),
        1 => int8.field::<2, 3>(four),
        2 => int8.field::<4, 3>(four),
        _ => int8.field::<6, 3>(four),
    }
}

impl Codes for Bytes {
    #[inline(always)]
    fn vector<I: Int8, const J: usize>(&self, int8: I) -> I::B {
        int8.load(&self.0[J])
    }

    fn put(&mut self, lane: usize, k: usize, code: u8) {
        let (j, at) = place(lane, k);
        self.0[j][at] = code;
    }
}

impl Codes for Nibbles {
    #[inline(always)]
    fn vector<I: Int8, const J: usize>(&self, int8: I) -> I::B {
        nibble::<I, J>(int8, &self.0)
    }

    fn put(&mut self, lane: usize, k: usize, code: u8) {
        let (j, at) = place(lane, k);
        self.0[j / 2][at] |= code << (j % 2 * 4);
    }
}

impl Codes for Fives {
    #[inline(always)]
    fn vector<I: Int8, const J: usize>(&self, int8: I) -> I::B {
        let high = int8.load(&self.high);
        let fifth = match J {
            0 => int8.field_up::<4, 16>(high),
            1 => int8.field_up::<3, 16>(high),
            2 => int8.field_up::<2, 16>(high),
            3 => int8.field_up::<1, 16>(high),
            4 => int8.field::<0, 16>(high),
            5 => int8.field::<1, 16>(high),
            6 => int8.field::<2, 16>(high),
            _ => int8.field::<3, 16>(high),
        };
        int8.or(nibble::<I, J>(int8, &self.low), fifth)
    }

    fn put(&mut self, lane: usize, k: usize, code: u8) {
        let (j, at) = place(lane, k);
        self.low[j / 2][at] |= (code & 15) << (j % 2 * 4);
        self.high[at] |= (code >> 4) << j;
    }
}

impl Codes for Sixes {
    #[inline(always)]
    fn vector<I: Int8, const J: usize>(&self, int8: I) -> I::B {
        let four = int8.load(&self.high[J / 4]);
        let high = match J % 4 {
            0 => int8.field_up::<4, 48>(four),
            1 => int8.field_up::<2, 48>(four),
            2 => int8.field::<0, 48>(four),
            _ => int8.field::<2, 48>(four),
        };
        int8.or(nibble::<I, J>(int8, &self.low), high)
    }

    fn put(&mut self, lane: usize, k: usize, code: u8) {
        let (j, at) = place(lane, k);
        self.low[j / 2][at] |= (code & 15) << (j % 2 * 4);
        self.high[j / 4][at] |= (code >> 4) << (j % 4 * 2);
    }
}

impl Codes for Twos {
    #[inline(always)]
    fn vector<I: Int8, const J: usize>(&self, int8: I) -> I::B {
        two_bits::<I, J>(int8, &self.0)
    }

    fn put(&mut self, lane: usize, k: usize, code: u8) {
        let (j, at) = place(lane, k);
        self.0[j / 4][at] |= code << (j % 4 * 2);
    }
}

impl Codes for Threes {
    #[inline(always)]
    fn vector<I: Int8, const J: usize>(&self, int8: I) -> I::B {
        let high = int8.load(&self.high);
        let third = match J {
            0 => int8.field_up::<2, 4>(high),
            1 => int8.field_up::<1, 4>(high),
            2 => int8.field::<0, 4>(high),
            3 => int8.field::<1, 4>(high),
            4 => int8.field::<2, 4>(high),
            5 => int8.field::<3, 4>(high),
            6 => int8.field::<4, 4>(high),
            _ => int8.field::<5, 4>(high),
        };
        int8.or(two_bits::<I, J>(int8, &self.low), third)
    }

    fn put(&mut self, lane: usize, k: usize, code: u8) {
        let (j, at) = place(lane, k);
        self.low[j / 4][at] |= (code & 3) << (j % 4 * 2);
        self.high[at] |= (code >> 2) << j;
    }
}

/// A scale's f16 bits; of a NaN the one whose rounding to bf16 cannot carry into
/// its sign.
fn scale_bits(f16: u16) -> u16 {
    if f16 & 0x7fff > 0x7c00 { 0x7e00 } else { f16 }
}

/// How scales lie: those of a group and one block of K.
pub(super) trait Scales: Zeroable + Send + Sync {
    /// Whether a weight can be so small that bf16 makes it zero. Weights of f16
    /// scales and minima are multiples of 2^-24.
    const TINY: bool = false;

    /// Scale of the part's group `half` (0 where a part has one).
    fn scale<I: Int8>(&self, int8: I, part: usize, half: usize) -> Vector<I>;
    /// Minimum, to be added.
    fn minimum<I: Int8>(&self, int8: I, part: usize, half: usize) -> Vector<I>;
    /// Takes those of block `block` of a row.
    fn put(&mut self, lane: usize, row: &RowCodes, block: usize);
}

/// Sixteen floats of an instruction set.
pub(super) type Vector<I> = <<I as Int8>::F as Simd>::V;

/// One f16 scale.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(32))]
pub(super) struct F16Scale([u16; LANES]);
/// One bf16 scale.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(32))]
pub(super) struct Bf16Scale([u16; LANES]);
/// An f16 scale and an f16 minimum.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(32))]
pub(super) struct F16ScaleMin {
    d: [u16; LANES],
    m: [u16; LANES],
}
/// An f16 scale and signed integer scales, `GROUPS` in 256 weights.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(32))]
pub(super) struct Signed<const GROUPS: usize> {
    d: [u16; LANES],
    scales: [[u8; LANES]; GROUPS],
}
/// f16 scale and minimum, with eight unsigned integers for each.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(32))]
pub(super) struct ScaleMin8 {
    d: [u16; LANES],
    m: [u16; LANES],
    scales: [[u8; LANES]; 8],
    minima: [[u8; LANES]; 8],
}
/// f16 scale and minimum, with sixteen four-bit integers for each: scales low.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(32))]
pub(super) struct ScaleMin16 {
    d: [u16; LANES],
    m: [u16; LANES],
    both: [[u8; LANES]; 16],
}

// SAFETY: all are integers.
unsafe impl Zeroable for F16Scale {}
// SAFETY: all are integers.
unsafe impl Zeroable for Bf16Scale {}
// SAFETY: all are integers.
unsafe impl Zeroable for F16ScaleMin {}
// SAFETY: all are integers.
unsafe impl<const GROUPS: usize> Zeroable for Signed<GROUPS> {}
// SAFETY: all are integers.
unsafe impl Zeroable for ScaleMin8 {}
// SAFETY: all are integers.
unsafe impl Zeroable for ScaleMin16 {}

impl Scales for F16Scale {
    #[inline(always)]
    fn scale<I: Int8>(&self, int8: I, _: usize, _: usize) -> Vector<I> {
        int8.load_f16(&self.0)
    }

    #[inline(always)]
    fn minimum<I: Int8>(&self, int8: I, _: usize, _: usize) -> Vector<I> {
        int8.float().splat(0.0)
    }

    fn put(&mut self, lane: usize, row: &RowCodes, block: usize) {
        self.0[lane] = scale_bits(row.d[block]);
    }
}

impl Scales for Bf16Scale {
    const TINY: bool = true;

    #[inline(always)]
    fn scale<I: Int8>(&self, int8: I, _: usize, _: usize) -> Vector<I> {
        int8.float().load_bf16(&self.0)
    }

    #[inline(always)]
    fn minimum<I: Int8>(&self, int8: I, _: usize, _: usize) -> Vector<I> {
        int8.float().splat(0.0)
    }

    fn put(&mut self, lane: usize, row: &RowCodes, block: usize) {
        self.0[lane] = row.d[block];
    }
}

impl Scales for F16ScaleMin {
    #[inline(always)]
    fn scale<I: Int8>(&self, int8: I, _: usize, _: usize) -> Vector<I> {
        int8.load_f16(&self.d)
    }

    #[inline(always)]
    fn minimum<I: Int8>(&self, int8: I, _: usize, _: usize) -> Vector<I> {
        int8.load_f16(&self.m)
    }

    fn put(&mut self, lane: usize, row: &RowCodes, block: usize) {
        self.d[lane] = scale_bits(row.d[block]);
        self.m[lane] = scale_bits(row.m[block]);
    }
}

impl<const GROUPS: usize> Scales for Signed<GROUPS> {
    #[inline(always)]
    fn scale<I: Int8>(&self, int8: I, part: usize, half: usize) -> Vector<I> {
        let integer = int8.load_i8(&self.scales[part * (GROUPS / 8) + half]);
        int8.float().mul(int8.load_f16(&self.d), integer)
    }

    #[inline(always)]
    fn minimum<I: Int8>(&self, int8: I, _: usize, _: usize) -> Vector<I> {
        int8.float().splat(0.0)
    }

    fn put(&mut self, lane: usize, row: &RowCodes, block: usize) {
        self.d[lane] = scale_bits(row.d[block]);
        for (g, scales) in self.scales.iter_mut().enumerate() {
            scales[lane] = row.scales[block * GROUPS + g];
        }
    }
}

impl Scales for ScaleMin8 {
    #[inline(always)]
    fn scale<I: Int8>(&self, int8: I, part: usize, _: usize) -> Vector<I> {
        let integer = int8.load_u8(&self.scales[part]);
        int8.float().mul(int8.load_f16(&self.d), integer)
    }

    #[inline(always)]
    fn minimum<I: Int8>(&self, int8: I, part: usize, _: usize) -> Vector<I> {
        let (f, integer) = (int8.float(), int8.load_u8(&self.minima[part]));
        f.sub(f.splat(0.0), f.mul(int8.load_f16(&self.m), integer))
    }

    fn put(&mut self, lane: usize, row: &RowCodes, block: usize) {
        self.d[lane] = scale_bits(row.d[block]);
        self.m[lane] = scale_bits(row.m[block]);
        for g in 0..8 {
            self.scales[g][lane] = row.scales[block * 8 + g];
            self.minima[g][lane] = row.minima[block * 8 + g];
        }
    }
}

impl Scales for ScaleMin16 {
    #[inline(always)]
    fn scale<I: Int8>(&self, int8: I, part: usize, half: usize) -> Vector<I> {
        let integer = int8.load_low_nibbles(&self.both[2 * part + half]);
        int8.float().mul(int8.load_f16(&self.d), integer)
    }

    #[inline(always)]
    fn minimum<I: Int8>(&self, int8: I, part: usize, half: usize) -> Vector<I> {
        let integer = int8.load_high_nibbles(&self.both[2 * part + half]);
        let f = int8.float();
        f.sub(f.splat(0.0), f.mul(int8.load_f16(&self.m), integer))
    }

    fn put(&mut self, lane: usize, row: &RowCodes, block: usize) {
        self.d[lane] = scale_bits(row.d[block]);
        self.m[lane] = scale_bits(row.m[block]);
        for (g, both) in self.both.iter_mut().enumerate() {
            let at = block * 16 + g;
            both[lane] = (row.scales[at] & 15) | (row.minima[at] & 15) << 4;
        }
    }
}

/// What a code's integer is, as kernels compute it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The code, minus two to the power of this; codes are below 128.
    Offset(u32),
    /// The code.
    Plain,
    /// The code as a signed byte.
    SignedByte,
    /// An entry of a table.
    Table(&'static [i8; 16]),
}

impl Meaning {
    /// Whether kernels take the integers as signed bytes.
    pub(super) const fn is_signed(self) -> bool {
        matches!(self, Self::SignedByte | Self::Table(_))
    }
}

/// A packed layout, complete.
pub(super) trait Layout {
    type Codes: Codes;
    type Scales: Scales;
    /// Parts of 32 under one [`Scales`].
    const PARTS: usize;
    /// Two scales in a part, or one.
    const HALVES: bool;
    const MINIMA: bool;
    const MEANING: Meaning;

    /// Vector `J` of a part, as the integers that products take.
    #[inline(always)]
    fn integers<I: Int8, const J: usize>(int8: I, codes: &Self::Codes) -> I::B {
        let codes = codes.vector::<I, J>(int8);
        match Self::MEANING {
            Meaning::Table(table) => int8.table(codes, table),
            _ => codes,
        }
    }
}

macro_rules! layouts {
    ($($name:ident: $codes:ty, $scales:ty, $parts:literal, $halves:literal, $minima:literal, $meaning:expr;)*) => {
        $(
            pub(super) struct $name;

            impl Layout for $name {
                type Codes = $codes;
                type Scales = $scales;
                const PARTS: usize = $parts;
                const HALVES: bool = $halves;
                const MINIMA: bool = $minima;
                const MEANING: Meaning = $meaning;
            }
        )*

        /// Packed weights of one part of a matrix.
        #[derive(Debug)]
        pub(super) enum QuantTiles {
            $($name(Packed<<$name as Layout>::Codes, <$name as Layout>::Scales>),)*
        }

        impl QuantTiles {
            /// Packs `[n, k]`; `None` if there is no memory for it.
            pub(super) fn pack(
                compute: &Compute,
                format: Format,
                n: usize,
                k: usize,
                row: &(dyn Fn(usize, &mut RowCodes) + Sync),
            ) -> Option<Self> {
                Some(match format {
                    $(Format::$name => Self::$name(Packed::pack(compute, format, n, k, row)?),)*
                })
            }

            /// Bytes held.
            pub(super) fn bytes(&self) -> usize {
                match self {
                    $(Self::$name(packed) => {
                        size_of_val(&*packed.codes) + size_of_val(&*packed.scales)
                    })*
                }
            }

            /// Runs one task with int8 activations.
            pub(super) fn multiply_int8(&self, isa: Isa, span: &Span<'_>) {
                match self {
                    $(Self::$name(packed) => {
                        isa.run_int8(Int8Multiply::<$name> { span, packed });
                    })*
                }
            }

            /// Writes the weights of some groups and parts of 32 as bf16 tiles:
            /// `[groups, parts]`.
            pub(super) fn unpack(
                &self,
                isa: Isa,
                groups: Range<usize>,
                parts: Range<usize>,
                out: &mut [TileBf16],
                tally: &Tally,
            ) {
                match self {
                    $(Self::$name(packed) => {
                        tally.read(packed.bytes_of(groups.len(), parts.len()));
                        tally.unpack(out.len());
                        isa.run_int8(Unpack::<$name> { packed, groups, parts, out });
                    })*
                }
            }
        }
    };
}

// The layout `$l` of a format, as a type.
macro_rules! with_layout {
    ($format:expr, $l:ident => $body:expr) => {
        with_layout!(@ $format, $l => $body; Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2K Q3K Q4K Q5K Q6K Iq4Nl Iq4Xs Mxfp4)
    };
    (@ $format:expr, $l:ident => $body:expr; $($name:ident)*) => {
        match $format {
            $(Format::$name => {
                type $l = $name;
                $body
            })*
        }
    };
}
use with_layout;

layouts! {
    Q8_0: Bytes, F16Scale, 1, false, false, Meaning::SignedByte;
    Q4_0: Nibbles, F16Scale, 1, false, false, Meaning::Offset(3);
    Q4_1: Nibbles, F16ScaleMin, 1, false, true, Meaning::Plain;
    Q5_0: Fives, F16Scale, 1, false, false, Meaning::Offset(4);
    Q5_1: Fives, F16ScaleMin, 1, false, true, Meaning::Plain;
    Q2K: Twos, ScaleMin16, 8, true, true, Meaning::Plain;
    Q3K: Threes, Signed<16>, 8, true, false, Meaning::Offset(2);
    Q4K: Nibbles, ScaleMin8, 8, false, true, Meaning::Plain;
    Q5K: Fives, ScaleMin8, 8, false, true, Meaning::Plain;
    Q6K: Sixes, Signed<16>, 8, true, false, Meaning::Offset(5);
    Iq4Nl: Nibbles, F16Scale, 1, false, false, Meaning::Table(&IQ4);
    Iq4Xs: Nibbles, Signed<8>, 8, false, false, Meaning::Table(&IQ4);
    Mxfp4: Nibbles, Bf16Scale, 1, false, false, Meaning::Table(&E2M1_DOUBLED);
}

/// Codes `[groups, k / 32]` and scales `[groups, k / block]`.
#[derive(Debug)]
pub(super) struct Packed<C, S> {
    pub(super) codes: Array<C>,
    pub(super) scales: Array<S>,
    /// Parts of 32 in a row.
    pub(super) depth: usize,
}

impl<C, S> Packed<C, S> {
    /// Bytes of some groups' parts, with their share of the scales.
    pub(super) fn bytes_of(&self, groups: usize, parts: usize) -> usize {
        let scales = size_of_val(&*self.scales) / (self.codes.len() / self.depth);
        groups * (parts * size_of::<C>() + scales * parts / self.depth)
    }
}

impl<C: Codes, S: Scales> Packed<C, S> {
    fn pack(
        compute: &Compute,
        format: Format,
        n: usize,
        k: usize,
        row: &(dyn Fn(usize, &mut RowCodes) + Sync),
    ) -> Option<Self> {
        let block = format.shape().block;
        assert!(
            k.is_multiple_of(block),
            "rows of {k} weights in blocks of {block}"
        );
        let (groups, depth, supers) = (n.div_ceil(LANES), k / TILE_K, k / block);
        let mut codes: Array<C> = Array::zeroed(groups * depth)?;
        let mut scales: Array<S> = Array::zeroed(groups * supers)?;
        let (all_codes, all_scales) = (SharedSlice::new(&mut codes), SharedSlice::new(&mut scales));
        compute.run(groups, |group| {
            // SAFETY: each group has its own codes and scales.
            let (codes, scales) = unsafe {
                (
                    all_codes.range_mut(group * depth, depth),
                    all_scales.range_mut(group * supers, supers),
                )
            };
            let mut values = RowCodes::default();
            values.resize(format, k);
            for lane in 0..LANES.min(n - group * LANES) {
                row(group * LANES + lane, &mut values);
                let (source, _) = values.codes.as_chunks::<TILE_K>();
                for (codes, source) in codes.iter_mut().zip(source) {
                    for (k, &code) in source.iter().enumerate() {
                        codes.put(lane, k, code);
                    }
                }
                for (block, scales) in scales.iter_mut().enumerate() {
                    scales.put(lane, &values, block);
                }
            }
        });
        Some(Self {
            codes,
            scales,
            depth,
        })
    }
}
