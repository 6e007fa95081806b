//! The specification: sixteen lanes in plain Rust.

use super::{LANES, Simd};
use crate::bf16::bf16_to_f32;
use std::array::from_fn;

/// Plain Rust, on any CPU.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scalar;

impl Simd for Scalar {
    type V = [f32; LANES];

    const MAX_ROWS: usize = 1;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; LANES]
    }

    #[inline(always)]
    fn load(self, src: &[f32; LANES]) -> Self::V {
        *src
    }

    #[inline(always)]
    fn store(self, v: Self::V, dst: &mut [f32; LANES]) {
        *dst = v;
    }

    #[inline(always)]
    fn load_bf16(self, src: &[u16; LANES]) -> Self::V {
        src.map(bf16_to_f32)
    }

    #[inline(always)]
    fn load_bf16_pairs(self, src: &[u16; 2 * LANES]) -> (Self::V, Self::V) {
        (
            from_fn(|i| bf16_to_f32(src[2 * i])),
            from_fn(|i| bf16_to_f32(src[2 * i + 1])),
        )
    }

    #[inline(always)]
    fn widen_f16(self, src: &[u16; LANES]) -> Self::V {
        src.map(|bits| half::f16::from_bits(bits).to_f32())
    }

    #[inline(always)]
    fn widen_i8(self, src: &[i8; LANES]) -> Self::V {
        src.map(f32::from)
    }

    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        from_fn(|i| a[i].mul_add(b[i], c[i]))
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| a[i] / b[i])
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        from_fn(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn round(self, v: Self::V) -> Self::V {
        v.map(f32::round_ties_even)
    }

    #[inline(always)]
    fn pow2(self, v: Self::V) -> Self::V {
        v.map(|n| f32::from_bits(((n as i32).wrapping_add(127) as u32) << 23))
    }

    #[inline(always)]
    fn keep(self, v: Self::V, lo: usize, hi: usize, fill: f32) -> Self::V {
        from_fn(|i| if (lo..hi).contains(&i) { v[i] } else { fill })
    }

    #[inline(always)]
    fn any_above(self, a: Self::V, b: Self::V) -> bool {
        (0..LANES).any(|i| a[i] > b[i])
    }

    #[inline(always)]
    fn prefetch<T>(self, _: *const T) {}
}
