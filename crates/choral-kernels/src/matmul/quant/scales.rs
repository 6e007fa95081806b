//! How scales and minima lie in memory: vectors of sixteen outputs, in the precision
//! of the file.
//!
//! Owns their packed forms, and what they are as floats. Knows nothing of codes.

use super::RowCodes;
use crate::shared::Zeroable;
use crate::simd::{Int8, LANES, Simd};

/// A scale's f16 bits; of a NaN the one whose rounding to bf16 cannot carry into
/// its sign.
fn scale_bits(f16: u16) -> u16 {
    if f16 & 0x7fff > 0x7c00 { 0x7e00 } else { f16 }
}

/// How scales lie: those of a group and one block of K.
pub(in crate::matmul) trait Scales: Zeroable + Send + Sync {
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
pub(in crate::matmul) type Vector<I> = <<I as Int8>::F as Simd>::V;

/// One f16 scale.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(32))]
pub(in crate::matmul) struct F16Scale([u16; LANES]);
/// One bf16 scale.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(32))]
pub(in crate::matmul) struct Bf16Scale([u16; LANES]);
/// An f16 scale and an f16 minimum.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(32))]
pub(in crate::matmul) struct F16ScaleMin {
    d: [u16; LANES],
    m: [u16; LANES],
}
/// An f16 scale and signed integer scales, `GROUPS` in 256 weights.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(32))]
pub(in crate::matmul) struct Signed<const GROUPS: usize> {
    d: [u16; LANES],
    scales: [[i8; LANES]; GROUPS],
}
/// f16 scale and minimum, with eight unsigned integers for each.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(32))]
pub(in crate::matmul) struct ScaleMin8 {
    d: [u16; LANES],
    m: [u16; LANES],
    scales: [[u8; LANES]; 8],
    minima: [[u8; LANES]; 8],
}
/// f16 scale and minimum, with sixteen four-bit integers for each: scales low.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(32))]
pub(in crate::matmul) struct ScaleMin16 {
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
        int8.float().widen_f16(&self.0)
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
        int8.float().widen_f16(&self.d)
    }

    #[inline(always)]
    fn minimum<I: Int8>(&self, int8: I, _: usize, _: usize) -> Vector<I> {
        int8.float().widen_f16(&self.m)
    }

    fn put(&mut self, lane: usize, row: &RowCodes, block: usize) {
        self.d[lane] = scale_bits(row.d[block]);
        self.m[lane] = scale_bits(row.m[block]);
    }
}

impl<const GROUPS: usize> Scales for Signed<GROUPS> {
    #[inline(always)]
    fn scale<I: Int8>(&self, int8: I, part: usize, half: usize) -> Vector<I> {
        let integer = int8
            .float()
            .widen_i8(&self.scales[part * (GROUPS / 8) + half]);
        int8.float().mul(int8.float().widen_f16(&self.d), integer)
    }

    #[inline(always)]
    fn minimum<I: Int8>(&self, int8: I, _: usize, _: usize) -> Vector<I> {
        int8.float().splat(0.0)
    }

    fn put(&mut self, lane: usize, row: &RowCodes, block: usize) {
        self.d[lane] = scale_bits(row.d[block]);
        for (g, scales) in self.scales.iter_mut().enumerate() {
            scales[lane] = row.scales[block * GROUPS + g] as i8;
        }
    }
}

impl Scales for ScaleMin8 {
    #[inline(always)]
    fn scale<I: Int8>(&self, int8: I, part: usize, _: usize) -> Vector<I> {
        let integer = int8.load_u8(&self.scales[part]);
        int8.float().mul(int8.float().widen_f16(&self.d), integer)
    }

    #[inline(always)]
    fn minimum<I: Int8>(&self, int8: I, part: usize, _: usize) -> Vector<I> {
        let (f, integer) = (int8.float(), int8.load_u8(&self.minima[part]));
        f.sub(f.splat(0.0), f.mul(f.widen_f16(&self.m), integer))
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
        int8.float().mul(int8.float().widen_f16(&self.d), integer)
    }

    #[inline(always)]
    fn minimum<I: Int8>(&self, int8: I, part: usize, half: usize) -> Vector<I> {
        let integer = int8.load_high_nibbles(&self.both[2 * part + half]);
        let f = int8.float();
        f.sub(f.splat(0.0), f.mul(f.widen_f16(&self.m), integer))
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
