//! AVX2 and AVX-512 lanes.
//!
//! Safety of this whole file: an [`Avx2`] or [`Avx512`] value exists only where
//! the CPU was found to have the features that its intrinsics need, and every
//! pointer comes from a reference to an array of exactly the size read or written.

use super::{LANES, Simd};
use crate::isa::{Avx2, Avx512};
#[allow(clippy::wildcard_imports)] // forty intrinsics, all of one prefix
use std::arch::x86_64::*;

/// Calls intrinsics that need nothing but the token's features.
macro_rules! lanes {
    ($body:expr) => {
        // SAFETY: `self` proves the features; see the head of the file.
        unsafe { $body }
    };
}

impl Simd for Avx512 {
    type V = __m512;

    // Three sums a row, two weights and a broadcast: 27 of 32 registers.
    const MAX_ROWS: usize = 8;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        lanes!(_mm512_set1_ps(x))
    }

    #[inline(always)]
    fn load(self, src: &[f32; LANES]) -> Self::V {
        lanes!(_mm512_loadu_ps(src.as_ptr()))
    }

    #[inline(always)]
    fn store(self, v: Self::V, dst: &mut [f32; LANES]) {
        lanes!(_mm512_storeu_ps(dst.as_mut_ptr(), v));
    }

    #[inline(always)]
    fn load_bf16(self, src: &[u16; LANES]) -> Self::V {
        lanes!({
            let half = _mm256_loadu_si256(src.as_ptr().cast());
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half)))
        })
    }

    #[inline(always)]
    fn load_bf16_pairs(self, src: &[u16; 2 * LANES]) -> (Self::V, Self::V) {
        lanes!({
            let pairs = _mm512_loadu_si512(src.as_ptr().cast());
            let second = _mm512_and_si512(pairs, _mm512_set1_epi32(0xffff_0000_u32 as i32));
            (
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs)),
                _mm512_castsi512_ps(second),
            )
        })
    }

    #[inline(always)]
    fn widen_f16(self, src: &[u16; LANES]) -> Self::V {
        lanes!(_mm512_cvtph_ps(_mm256_loadu_si256(src.as_ptr().cast())))
    }

    #[inline(always)]
    fn widen_i8(self, src: &[i8; LANES]) -> Self::V {
        lanes!(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(
            src.as_ptr().cast()
        ))))
    }

    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        lanes!({
            let high = _mm512_extractf32x8_ps::<1>(v);
            sum256(_mm256_add_ps(_mm512_castps512_ps256(v), high))
        })
    }

    #[inline(always)]
    fn largest(self, v: Self::V) -> f32 {
        lanes!({
            let high = _mm512_extractf32x8_ps::<1>(v);
            largest256(_mm256_max_ps(_mm512_castps512_ps256(v), high))
        })
    }

    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        lanes!(_mm512_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!(_mm512_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!(_mm512_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!(_mm512_mul_ps(a, b))
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!(_mm512_div_ps(a, b))
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!(_mm512_max_ps(a, b))
    }

    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!(_mm512_min_ps(a, b))
    }

    #[inline(always)]
    fn round(self, v: Self::V) -> Self::V {
        lanes!(_mm512_roundscale_ps::<
            { _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC },
        >(v))
    }

    #[inline(always)]
    fn pow2(self, v: Self::V) -> Self::V {
        lanes!({
            let n = _mm512_add_epi32(_mm512_cvttps_epi32(v), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(n))
        })
    }

    #[inline(always)]
    fn keep(self, v: Self::V, lo: usize, hi: usize, fill: f32) -> Self::V {
        let below = |n: usize| ((1_u32 << n.min(LANES)) - 1) as u16;
        lanes!(_mm512_mask_blend_ps(
            below(hi) & !below(lo),
            _mm512_set1_ps(fill),
            v
        ))
    }

    #[inline(always)]
    fn any_above(self, a: Self::V, b: Self::V) -> bool {
        lanes!(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b) != 0)
    }

    #[inline(always)]
    fn prefetch<T>(self, address: *const T) {
        lanes!(_mm_prefetch::<_MM_HINT_T0>(address.cast()));
    }
}

impl Simd for Avx2 {
    type V = [__m256; 2];

    // Three sums of two registers a row and four weights: 16 registers at two rows.
    const MAX_ROWS: usize = 2;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        lanes!([_mm256_set1_ps(x); 2])
    }

    #[inline(always)]
    fn load(self, src: &[f32; LANES]) -> Self::V {
        lanes!([
            _mm256_loadu_ps(src.as_ptr()),
            _mm256_loadu_ps(src.as_ptr().add(8))
        ])
    }

    #[inline(always)]
    fn store(self, v: Self::V, dst: &mut [f32; LANES]) {
        lanes!({
            _mm256_storeu_ps(dst.as_mut_ptr(), v[0]);
            _mm256_storeu_ps(dst.as_mut_ptr().add(8), v[1]);
        });
    }

    #[inline(always)]
    fn load_bf16(self, src: &[u16; LANES]) -> Self::V {
        lanes!({
            let lo = _mm256_cvtepu16_epi32(_mm_loadu_si128(src.as_ptr().cast()));
            let hi = _mm256_cvtepu16_epi32(_mm_loadu_si128(src.as_ptr().add(8).cast()));
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(lo)),
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(hi)),
            ]
        })
    }

    #[inline(always)]
    fn load_bf16_pairs(self, src: &[u16; 2 * LANES]) -> (Self::V, Self::V) {
        lanes!({
            let lo = _mm256_loadu_si256(src.as_ptr().cast());
            let hi = _mm256_loadu_si256(src.as_ptr().add(16).cast());
            let second = _mm256_set1_epi32(0xffff_0000_u32 as i32);
            (
                [
                    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(lo)),
                    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(hi)),
                ],
                [
                    _mm256_castsi256_ps(_mm256_and_si256(lo, second)),
                    _mm256_castsi256_ps(_mm256_and_si256(hi, second)),
                ],
            )
        })
    }

    #[inline(always)]
    fn widen_f16(self, src: &[u16; LANES]) -> Self::V {
        lanes!([
            _mm256_cvtph_ps(_mm_loadu_si128(src.as_ptr().cast())),
            _mm256_cvtph_ps(_mm_loadu_si128(src.as_ptr().add(8).cast()))
        ])
    }

    #[inline(always)]
    fn widen_i8(self, src: &[i8; LANES]) -> Self::V {
        lanes!({
            let all = _mm_loadu_si128(src.as_ptr().cast());
            let high = _mm_srli_si128::<8>(all);
            [
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(all)),
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(high)),
            ]
        })
    }

    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        lanes!(sum256(_mm256_add_ps(v[0], v[1])))
    }

    #[inline(always)]
    fn largest(self, v: Self::V) -> f32 {
        lanes!(largest256(_mm256_max_ps(v[0], v[1])))
    }

    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        lanes!([
            _mm256_fmadd_ps(a[0], b[0], c[0]),
            _mm256_fmadd_ps(a[1], b[1], c[1])
        ])
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!([_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!([_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!([_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!([_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!([_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!([_mm256_min_ps(a[0], b[0]), _mm256_min_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn round(self, v: Self::V) -> Self::V {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        lanes!([
            _mm256_round_ps::<NEAREST>(v[0]),
            _mm256_round_ps::<NEAREST>(v[1])
        ])
    }

    #[inline(always)]
    fn pow2(self, v: Self::V) -> Self::V {
        lanes!({
            let bias = _mm256_set1_epi32(127);
            let n = [_mm256_cvttps_epi32(v[0]), _mm256_cvttps_epi32(v[1])];
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(n[0], bias))),
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(n[1], bias))),
            ]
        })
    }

    #[inline(always)]
    fn keep(self, v: Self::V, lo: usize, hi: usize, fill: f32) -> Self::V {
        let mask: [f32; LANES] =
            std::array::from_fn(|i| f32::from_bits(if i >= lo && i < hi { u32::MAX } else { 0 }));
        let inside = self.load(&mask);
        lanes!({
            let fill = _mm256_set1_ps(fill);
            [
                _mm256_blendv_ps(fill, v[0], inside[0]),
                _mm256_blendv_ps(fill, v[1], inside[1]),
            ]
        })
    }

    #[inline(always)]
    fn any_above(self, a: Self::V, b: Self::V) -> bool {
        lanes!({
            let lo = _mm256_cmp_ps::<_CMP_GT_OQ>(a[0], b[0]);
            let hi = _mm256_cmp_ps::<_CMP_GT_OQ>(a[1], b[1]);
            _mm256_movemask_ps(_mm256_or_ps(lo, hi)) != 0
        })
    }

    #[inline(always)]
    fn prefetch<T>(self, address: *const T) {
        lanes!(_mm_prefetch::<_MM_HINT_T0>(address.cast()));
    }
}

/// The rest of [`Simd::sum`], from eight lanes on.
#[target_feature(enable = "avx2")]
#[inline]
fn sum256(b: __m256) -> f32 {
    let c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps::<1>(b));
    let d = _mm_add_ps(c, _mm_movehl_ps(c, c));
    _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)))
}

/// The rest of [`Simd::largest`], from eight lanes on. The instruction is the
/// trait's `max`: its second operand where they are equal or one is NaN.
#[target_feature(enable = "avx2")]
#[inline]
fn largest256(b: __m256) -> f32 {
    let c = _mm_max_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps::<1>(b));
    let d = _mm_max_ps(c, _mm_movehl_ps(c, c));
    _mm_cvtss_f32(_mm_max_ss(d, _mm_movehdup_ps(d)))
}
