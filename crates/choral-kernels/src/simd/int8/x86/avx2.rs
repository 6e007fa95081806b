//! Bytes in AVX2 lanes, two registers each.

use super::super::{BYTES, Int8, LANES};
use super::{lanes, moved};
use crate::bf16::SMALLEST;
use crate::isa::Avx2;
#[allow(clippy::wildcard_imports)] // forty intrinsics, all of one prefix
use std::arch::x86_64::*;

/// Moves byte `AT` of each lane to byte `TO` and zeroes the others.
#[target_feature(enable = "avx2")]
#[inline]
fn move256<const AT: usize, const TO: usize>(b: __m256i) -> __m256i {
    let index = const { moved(AT, TO) };
    // SAFETY: sixteen bytes are read from sixteen.
    let index = unsafe { _mm_loadu_si128(index.as_ptr().cast()) };
    _mm256_shuffle_epi8(b, _mm256_broadcastsi128_si256(index))
}

/// Rounds to bf16, in the upper half of each lane.
#[target_feature(enable = "avx2")]
#[inline]
fn round256<const FLUSH: bool>(v: __m256) -> __m256i {
    let bits = _mm256_castps_si256(v);
    let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
    let half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    let rounded = _mm256_add_epi32(bits, half);
    if FLUSH {
        let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x40_0000));
        let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(v, v));
        let rounded = _mm256_blendv_epi8(rounded, quiet, nan);
        let magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0), v);
        let kept = _mm256_cmp_ps::<_CMP_NLT_UQ>(magnitude, _mm256_set1_ps(SMALLEST));
        _mm256_and_si256(rounded, _mm256_castps_si256(kept))
    } else {
        rounded
    }
}

impl Int8 for Avx2 {
    type F = Self;
    type B = [__m256i; 2];
    type I = [__m256i; 2];
    type A = __m256i;

    const MAX_ROWS: usize = 2;
    const SIGNED_START: Option<u32> = None;

    #[inline(always)]
    fn float(self) -> Self {
        self
    }

    #[inline(always)]
    unsafe fn activations<const LINE: usize, const WORD: usize>(
        self,
        lines: *const [u8; BYTES],
    ) -> __m256i {
        // SAFETY: as this method's.
        let word = unsafe { crate::simd::int8::word::<LINE, WORD>(lines) };
        lanes!(_mm256_set1_epi32(i32::from_le_bytes(word)))
    }

    #[inline(always)]
    fn zero(self) -> Self::B {
        lanes!([_mm256_setzero_si256(); 2])
    }

    #[inline(always)]
    fn load(self, src: &[u8; BYTES]) -> Self::B {
        lanes!([
            _mm256_loadu_si256(src.as_ptr().cast()),
            _mm256_loadu_si256(src.as_ptr().add(32).cast())
        ])
    }

    #[inline(always)]
    fn field<const SHIFT: u32, const MASK: u8>(self, b: Self::B) -> Self::B {
        lanes!({
            let (by, mask) = (
                _mm_cvtsi32_si128(SHIFT as i32),
                _mm256_set1_epi8(MASK as i8),
            );
            [
                _mm256_and_si256(_mm256_srl_epi16(b[0], by), mask),
                _mm256_and_si256(_mm256_srl_epi16(b[1], by), mask),
            ]
        })
    }

    #[inline(always)]
    fn field_up<const SHIFT: u32, const MASK: u8>(self, b: Self::B) -> Self::B {
        lanes!({
            let (by, mask) = (
                _mm_cvtsi32_si128(SHIFT as i32),
                _mm256_set1_epi8(MASK as i8),
            );
            [
                _mm256_and_si256(_mm256_sll_epi16(b[0], by), mask),
                _mm256_and_si256(_mm256_sll_epi16(b[1], by), mask),
            ]
        })
    }

    #[inline(always)]
    fn or(self, a: Self::B, b: Self::B) -> Self::B {
        lanes!([_mm256_or_si256(a[0], b[0]), _mm256_or_si256(a[1], b[1])])
    }

    #[inline(always)]
    fn table(self, codes: Self::B, table: &[i8; 16]) -> Self::B {
        lanes!({
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            [
                _mm256_shuffle_epi8(table, codes[0]),
                _mm256_shuffle_epi8(table, codes[1]),
            ]
        })
    }

    #[inline(always)]
    fn splat(self, x: i32) -> Self::I {
        lanes!([_mm256_set1_epi32(x); 2])
    }

    #[inline(always)]
    fn dot_small(self, acc: Self::I, w: Self::B, a: __m256i) -> Self::I {
        // Pairs of products stay below 2^15: 2 * 127 * 127.
        lanes!({
            let ones = _mm256_set1_epi16(1);
            let pairs = [_mm256_maddubs_epi16(w[0], a), _mm256_maddubs_epi16(w[1], a)];
            [
                _mm256_add_epi32(acc[0], _mm256_madd_epi16(pairs[0], ones)),
                _mm256_add_epi32(acc[1], _mm256_madd_epi16(pairs[1], ones)),
            ]
        })
    }

    #[inline(always)]
    fn signed(self, w: Self::B) -> Self::B {
        w
    }

    #[inline(always)]
    fn dot_signed(self, acc: Self::I, w: Self::B, a: __m256i) -> Self::I {
        // |w| times a with the sign of w. |w| is at most 128, which is a byte as it is
        // taken here, without a sign; |a| is at most 127, so that its sign can be
        // changed. Pairs of products stay below 2^15: 2 * 128 * 127.
        lanes!({
            let ones = _mm256_set1_epi16(1);
            let pairs = [
                _mm256_maddubs_epi16(_mm256_abs_epi8(w[0]), _mm256_sign_epi8(a, w[0])),
                _mm256_maddubs_epi16(_mm256_abs_epi8(w[1]), _mm256_sign_epi8(a, w[1])),
            ];
            [
                _mm256_add_epi32(acc[0], _mm256_madd_epi16(pairs[0], ones)),
                _mm256_add_epi32(acc[1], _mm256_madd_epi16(pairs[1], ones)),
            ]
        })
    }

    #[inline(always)]
    fn to_float(self, i: Self::I) -> [__m256; 2] {
        lanes!([_mm256_cvtepi32_ps(i[0]), _mm256_cvtepi32_ps(i[1])])
    }

    #[inline(always)]
    fn byte<const AT: usize>(self, b: Self::B) -> [__m256; 2] {
        lanes!([
            _mm256_cvtepi32_ps(move256::<AT, 0>(b[0])),
            _mm256_cvtepi32_ps(move256::<AT, 0>(b[1]))
        ])
    }

    #[inline(always)]
    fn byte_above_128<const AT: usize>(self, b: Self::B) -> [__m256; 2] {
        lanes!({
            let magic = _mm256_set1_epi32(0x4300_0000);
            [
                _mm256_castsi256_ps(_mm256_or_si256(magic, move256::<AT, 2>(b[0]))),
                _mm256_castsi256_ps(_mm256_or_si256(magic, move256::<AT, 2>(b[1]))),
            ]
        })
    }

    #[inline(always)]
    fn byte_above_32896<const AT: usize>(self, b: Self::B) -> [__m256; 2] {
        // The sign bit is flipped by the magic number's 0x80.
        lanes!({
            let magic = _mm256_set1_epi32(0x4700_8000);
            [
                _mm256_castsi256_ps(_mm256_xor_si256(magic, move256::<AT, 1>(b[0]))),
                _mm256_castsi256_ps(_mm256_xor_si256(magic, move256::<AT, 1>(b[1]))),
            ]
        })
    }

    #[inline(always)]
    fn byte_times_2_24<const AT: usize>(self, b: Self::B) -> [__m256; 2] {
        lanes!([
            _mm256_cvtepi32_ps(move256::<AT, 3>(b[0])),
            _mm256_cvtepi32_ps(move256::<AT, 3>(b[1]))
        ])
    }

    #[inline(always)]
    fn store_bf16_pairs<const FLUSH: bool>(
        self,
        first: [__m256; 2],
        second: [__m256; 2],
        out: &mut [u16; 2 * LANES],
    ) {
        lanes!({
            for half in 0..2 {
                let first = _mm256_srli_epi32::<16>(round256::<FLUSH>(first[half]));
                let second = round256::<FLUSH>(second[half]);
                let pairs = _mm256_blend_epi16::<0xaa>(first, second);
                let out = out.as_mut_ptr().add(half * LANES);
                _mm256_storeu_si256(out.cast(), pairs);
            }
        });
    }

    #[inline(always)]
    fn load_u8(self, src: &[u8; LANES]) -> [__m256; 2] {
        lanes!({
            let all = _mm_loadu_si128(src.as_ptr().cast());
            let high = _mm_srli_si128::<8>(all);
            [
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(all)),
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(high)),
            ]
        })
    }
}
