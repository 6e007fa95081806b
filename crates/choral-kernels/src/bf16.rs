//! Rounding to bfloat16, with the flush that keeps denormals out of every sum.

/// Magnitudes below this become zero when they are rounded to bf16.
///
/// A product of two bf16 numbers of at least 2^-48 is a multiple of
/// 2^-48 * 2^-48 * 2^-14 = 2^-110, and so is every sum of such products after
/// rounding to f32. No intermediate result can then be a denormal f32
/// (below 2^-126), and units that flush denormals (AMX tiles) agree bit for bit
/// with units that keep them (AVX-512, AVX2, scalar), whatever MXCSR says.
pub(crate) const SMALLEST: f32 = 3.552_713_7e-15; // 2^-48

/// Rounds to the nearest bf16 (ties to even) and gives its sixteen bits.
///
/// Magnitudes below 2^-48 become zero. NaN stays NaN, infinity stays infinity.
#[inline(always)]
pub fn round_bf16(x: f32) -> u16 {
    if x.abs() < SMALLEST {
        return 0;
    }
    let bits = x.to_bits();
    if x.is_nan() {
        return ((bits >> 16) | 0x40) as u16;
    }
    ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

/// The value of a bf16.
#[inline(always)]
pub fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_half_crate_above_the_flush() {
        for i in 0..2_000_000_u32 {
            let x = f32::from_bits(i.wrapping_mul(2_654_435_761));
            if x.is_nan() {
                assert!(bf16_to_f32(round_bf16(x)).is_nan());
            } else if x.abs() >= SMALLEST {
                assert_eq!(round_bf16(x), half::bf16::from_f32(x).to_bits(), "{x:e}");
            } else {
                assert_eq!(round_bf16(x), 0);
            }
        }
    }

    #[test]
    fn smallest_is_two_to_the_minus_48() {
        assert_eq!(SMALLEST.to_bits(), (127 - 48) << 23);
    }
}
