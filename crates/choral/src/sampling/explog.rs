//! `exp` and `ln` with the same bits on every machine.
//!
//! The standard library's are the platform's libm, which differs between
//! systems and, through its own CPU dispatch, between CPUs; a token drawn near
//! a boundary would then depend on the machine. These use nothing but IEEE
//! additions, multiplications and divisions in a fixed order. Both are within
//! two units in the last place. [`exp_nonpositive`] has no branch, so that a
//! loop over a row is vectorised.

use std::f64::consts::{LN_2, LOG2_E};

/// ln 2 in two parts: the first has 32 trailing zero bits, so its product with
/// an exponent is exact (after fdlibm's `e_exp.c`).
const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// Adding and subtracting 1.5 * 2^52 rounds to an integer, which then stands in
/// the low bits of the sum.
const ROUND: f64 = 6_755_399_441_055_744.0;

/// Below this the result would be subnormal; it is 0 instead.
const UNDERFLOW: f64 = -708.0;

/// e^x for `x <= 0`; -inf and everything below -708 give 0.
pub(crate) fn exp_nonpositive(x: f64) -> f64 {
    // x = n ln 2 + r with |r| <= ln 2 / 2, and e^x = 2^n e^r.
    let shifted = x * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    // Taylor's polynomial: the first term left out is below 2e-16.
    let mut poly = 1.0 / 479_001_600.0;
    for inverse_factorial in [
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        poly = poly * r + inverse_factorial;
    }
    let two_to_n = f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52);
    if x < UNDERFLOW { 0.0 } else { poly * two_to_n }
}

/// ln x for a positive, normal `x`.
pub(crate) fn ln(x: f64) -> f64 {
    debug_assert!(x.is_normal() && x > 0.0, "ln of {x}");
    // x = m 2^e with m in [sqrt(1/2), sqrt(2)).
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    let mut mantissa = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52));
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    // ln m = 2 artanh(s), s = (m - 1) / (m + 1), |s| < 0.172.
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let mut series = 0.0;
    for odd in [21.0, 19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0] {
        series = (series + 1.0 / odd) * square;
    }
    2.0 * s * (1.0 + series) + exponent as f64 * LN_2
}

/// Sums in a fixed order: element `i` of a block of [`SUM_BLOCK`] goes to lane
/// `i % 8`, the lanes are added in order, then the blocks.
pub(crate) fn sum(values: &[f64]) -> f64 {
    values.chunks(SUM_BLOCK).map(sum_block).sum()
}

/// Elements whose sum [`sum`] adds as one.
pub(crate) const SUM_BLOCK: usize = 256;

/// The sum of one block, in [`sum`]'s order.
pub(crate) fn sum_block(block: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let (eights, rest) = block.as_chunks::<8>();
    for eight in eights {
        for (lane, value) in lanes.iter_mut().zip(eight) {
            *lane += value;
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane += value;
    }
    lanes.iter().sum()
}
