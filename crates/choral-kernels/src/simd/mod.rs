//! Sixteen f32 lanes, whatever the machine calls them.
//!
//! An operation here is exact per lane (IEEE 754, round to nearest even), so an
//! algorithm written with it gives the same bits on every implementation. There
//! is no horizontal operation but [`Simd::sum`] and [`Simd::largest`], whose
//! order is fixed here, once.

mod int8;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use int8::{BYTES, Int8};
pub(crate) use scalar::Scalar;

/// Number of lanes.
pub(crate) const LANES: usize = 16;

/// An instruction set that can hold sixteen f32 lanes.
///
/// Every method is `#[inline(always)]` in every implementation; see
/// [`crate::isa::Kernel`].
pub(crate) trait Simd: Copy {
    /// Sixteen lanes.
    type V: Copy;

    /// Rows of a matrix product that fit in the registers at once.
    const MAX_ROWS: usize;

    fn splat(self, x: f32) -> Self::V;
    fn load(self, src: &[f32; LANES]) -> Self::V;
    fn store(self, v: Self::V, dst: &mut [f32; LANES]);
    /// Widens sixteen bf16.
    fn load_bf16(self, src: &[u16; LANES]) -> Self::V;
    /// Widens sixteen pairs of bf16: the first of each pair, and the second.
    fn load_bf16_pairs(self, src: &[u16; 2 * LANES]) -> (Self::V, Self::V);
    /// Widens sixteen f16.
    fn widen_f16(self, src: &[u16; LANES]) -> Self::V;
    /// Sixteen small integers as floats.
    fn widen_i8(self, src: &[i8; LANES]) -> Self::V;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `if a > b { a } else { b }`: the second operand where either is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `if a < b { a } else { b }`: the second operand where either is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// To the nearest integer, ties to even. `|v|` is below 2^22.
    fn round(self, v: Self::V) -> Self::V;
    /// `2^v` for integral `v` in -126..=127.
    fn pow2(self, v: Self::V) -> Self::V;
    /// Lanes `lo..hi` of `v`, `fill` elsewhere.
    fn keep(self, v: Self::V, lo: usize, hi: usize, fill: f32) -> Self::V;

    /// Whether a lane of `a` is greater than that of `b`.
    fn any_above(self, a: Self::V, b: Self::V) -> bool;

    /// Hints that the line at `address` will be read; never faults.
    fn prefetch<T>(self, address: *const T);

    /// Sum of the lanes: halves are added to each other, four times.
    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        let mut a = [0.0; LANES];
        self.store(v, &mut a);
        let b: [f32; 8] = std::array::from_fn(|i| a[i] + a[i + 8]);
        let c: [f32; 4] = std::array::from_fn(|i| b[i] + b[i + 4]);
        (c[0] + c[2]) + (c[1] + c[3])
    }

    /// The largest lane, found in halves as the sum is. Where a lane is NaN the
    /// result is some lane, the same on every instruction set.
    #[inline(always)]
    fn largest(self, v: Self::V) -> f32 {
        let max = |a: f32, b: f32| if a > b { a } else { b };
        let mut a = [0.0; LANES];
        self.store(v, &mut a);
        let b: [f32; 8] = std::array::from_fn(|i| max(a[i], a[i + 8]));
        let c: [f32; 4] = std::array::from_fn(|i| max(b[i], b[i + 4]));
        max(max(c[0], c[2]), max(c[1], c[3]))
    }

    /// `e^v`, within 2 units in the last place for results that are normal.
    ///
    /// Below -87.3 the result is that of -87.3 (about 1.2e-38), above 88 that of
    /// 88: callers mask what must be zero. NaN stays NaN. The polynomial is a
    /// degree-6 Taylor form on `|r| <= ln(2) / 2` with a two-part `ln(2)`
    /// (Cody and Waite, 1980).
    #[inline(always)]
    fn exp(self, v: Self::V) -> Self::V {
        let v = self.min(self.splat(88.0), v);
        let v = self.max(self.splat(-87.3), v);
        let n = self.round(self.mul(v, self.splat(std::f32::consts::LOG2_E)));
        let r = self.fma(n, self.splat(-0.693_359_4), v);
        let r = self.fma(n, self.splat(2.121_944_4e-4), r);
        let mut p = self.splat(1.0 / 5040.0);
        for c in [
            1.0 / 720.0,
            1.0 / 120.0,
            1.0 / 24.0,
            1.0 / 6.0,
            0.5,
            1.0,
            1.0,
        ] {
            p = self.fma(p, r, self.splat(c));
        }
        self.mul(p, self.pow2(n))
    }
}

#[cfg(test)]
mod tests;
