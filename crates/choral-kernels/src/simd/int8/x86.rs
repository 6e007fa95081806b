//! Bytes in AVX2 and AVX-512 VNNI lanes.
//!
//! Safety is that of `simd::x86`: a token proves the features.

use super::{BYTES, Int8, LANES};
use crate::isa::{Avx2, Avx512, Vnni};
use std::arch::asm;
#[allow(clippy::wildcard_imports)] // forty intrinsics, all of one prefix
use std::arch::x86_64::*;

macro_rules! lanes {
    ($body:expr) => {
        // SAFETY: `self` proves the features; pointers come from arrays of
        // the size that is read.
        unsafe { $body }
    };
}

/// 2^-48, below which bf16 is zero.
const SMALLEST: f32 = 3.552_713_7e-15;

/// Two halves of a vector, taken in turn.
const INTERLEAVED: [u16; 2 * LANES] = {
    let mut order = [0; 2 * LANES];
    let mut lane = 0;
    while lane < LANES {
        order[2 * lane] = lane as u16;
        order[2 * lane + 1] = (LANES + lane) as u16;
        lane += 1;
    }
    order
};

/// Where byte `AT` of a lane becomes byte `TO` and the others zeros, said for the
/// four lanes that a byte shuffle works on at a time.
const fn moved(at: usize, to: usize) -> [i8; 16] {
    let mut index = [-1; 16];
    let mut lane = 0;
    while lane < 4 {
        index[4 * lane + to] = (4 * lane + at) as i8;
        lane += 1;
    }
    index
}

/// Moves byte `AT` of each lane to byte `TO` and zeroes the others.
#[target_feature(enable = "avx512bw")]
#[inline]
fn move512<const AT: usize, const TO: usize>(b: __m512i) -> __m512i {
    let index = const { moved(AT, TO) };
    // SAFETY: sixteen bytes are read from sixteen.
    let index = unsafe { _mm_loadu_si128(index.as_ptr().cast()) };
    _mm512_shuffle_epi8(b, _mm512_broadcast_i32x4(index))
}

/// Byte `TO` of `magic` replaced by byte `AT` of `b`, each lane.
#[target_feature(enable = "avx512bw")]
#[inline]
fn merge512<const AT: usize, const TO: usize>(b: __m512i, magic: i32) -> __m512i {
    let magic = _mm512_set1_epi32(magic);
    let lanes = 0x1111_1111_1111_1111 << TO;
    if AT == TO {
        return _mm512_mask_blend_epi8(lanes, magic, b);
    }
    let index = const { moved(AT, TO) };
    // SAFETY: sixteen bytes are read from sixteen.
    let index = unsafe { _mm_loadu_si128(index.as_ptr().cast()) };
    _mm512_mask_shuffle_epi8(magic, lanes, b, _mm512_broadcast_i32x4(index))
}

/// Rounds to bf16, in the upper half of each lane.
#[target_feature(enable = "avx512f")]
#[inline]
fn round512<const FLUSH: bool>(v: __m512) -> __m512i {
    let bits = _mm512_castps_si512(v);
    let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
    let half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    let rounded = _mm512_add_epi32(bits, half);
    if FLUSH {
        let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x40_0000));
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
        let rounded = _mm512_mask_mov_epi32(rounded, nan, quiet);
        _mm512_maskz_mov_epi32(kept512(v), rounded)
    } else {
        rounded
    }
}

/// Lanes that do not become zero in bf16.
#[target_feature(enable = "avx512f")]
#[inline]
fn kept512(v: __m512) -> __mmask16 {
    _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(_mm512_abs_ps(v), _mm512_set1_ps(SMALLEST))
}

/// Pairs of bf16: first, second.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[inline]
fn pairs512<const FLUSH: bool>(first: __m512, second: __m512) -> __m512i {
    let (first, second) = if FLUSH {
        (
            _mm512_maskz_mov_ps(kept512(first), first),
            _mm512_maskz_mov_ps(kept512(second), second),
        )
    } else {
        (first, second)
    };
    // All of the first, then all of the second. The conversion rounds to nearest
    // even whatever MXCSR says, and what it would flush is zero already.
    let halves = _mm512_cvtne2ps_pbh(second, first);
    // SAFETY: both are 64 bytes.
    let halves = unsafe { std::mem::transmute::<__m512bh, __m512i>(halves) };
    // SAFETY: 64 bytes are read from 64.
    let order = unsafe { _mm512_loadu_si512(INTERLEAVED.as_ptr().cast()) };
    _mm512_permutexvar_epi16(order, halves)
}

/// Four bytes in every lane, where this stands in the program. With the intrinsic the
/// compiler gathers the broadcasts of many steps at the front of a loop, and spills
/// sums to make room for them.
///
/// # Safety
/// The CPU has AVX-512 F.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn broadcast_here(a: &[i8; 4]) -> __m512i {
    let lanes: __m512i;
    // SAFETY: reads the four bytes of `a`; the caller promises the instruction.
    unsafe {
        asm!(
            "vpbroadcastd {lanes}, dword ptr [{a}]",
            lanes = out(zmm_reg) lanes,
            a = in(reg) a.as_ptr(),
            options(readonly, nostack, preserves_flags),
        );
    }
    lanes
}

impl<const BF16: bool> Int8 for Vnni<BF16> {
    type F = Avx512;
    type B = __m512i;
    type I = __m512i;
    type A = __m512i;

    // Sums and results of six rows and two groups, two weights, two scales.
    const MAX_ROWS: usize = 6;

    #[inline(always)]
    fn float(self) -> Avx512 {
        self.avx512()
    }

    #[inline(always)]
    fn activations(self, a: &[i8; 4]) -> __m512i {
        // SAFETY: `self` proves AVX-512.
        unsafe { broadcast_here(a) }
    }

    #[inline(always)]
    fn zero(self) -> __m512i {
        lanes!(_mm512_setzero_si512())
    }

    #[inline(always)]
    fn load(self, src: &[u8; BYTES]) -> __m512i {
        lanes!(_mm512_loadu_si512(src.as_ptr().cast()))
    }

    #[inline(always)]
    fn field<const SHIFT: u32, const MASK: u8>(self, b: __m512i) -> __m512i {
        lanes!({
            let moved = if SHIFT == 0 {
                b
            } else {
                _mm512_srli_epi16::<SHIFT>(b)
            };
            _mm512_and_si512(moved, _mm512_set1_epi8(MASK as i8))
        })
    }

    #[inline(always)]
    fn field_up<const SHIFT: u32, const MASK: u8>(self, b: __m512i) -> __m512i {
        lanes!({
            let moved = if SHIFT == 0 {
                b
            } else {
                _mm512_slli_epi16::<SHIFT>(b)
            };
            _mm512_and_si512(moved, _mm512_set1_epi8(MASK as i8))
        })
    }

    #[inline(always)]
    fn or(self, a: __m512i, b: __m512i) -> __m512i {
        lanes!(_mm512_or_si512(a, b))
    }

    #[inline(always)]
    fn table(self, codes: __m512i, table: &[i8; 16]) -> __m512i {
        lanes!({
            let table = _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast()));
            _mm512_shuffle_epi8(table, codes)
        })
    }

    #[inline(always)]
    fn splat(self, x: i32) -> __m512i {
        lanes!(_mm512_set1_epi32(x))
    }

    #[inline(always)]
    fn dot_small(self, acc: __m512i, w: __m512i, a: __m512i) -> __m512i {
        lanes!(_mm512_dpbusd_epi32(acc, w, a))
    }

    /// `w + 128` as an unsigned byte; the start takes the 128 back.
    #[inline(always)]
    fn signed(self, w: __m512i) -> __m512i {
        lanes!(_mm512_xor_si512(w, _mm512_set1_epi8(-128)))
    }

    #[inline(always)]
    fn signed_start(self, minus_sum: i32) -> __m512i {
        lanes!(_mm512_set1_epi32(minus_sum * 128))
    }

    #[inline(always)]
    fn dot_signed(self, acc: __m512i, w: __m512i, a: __m512i) -> __m512i {
        self.dot_small(acc, w, a)
    }

    #[inline(always)]
    fn to_float(self, i: __m512i) -> __m512 {
        lanes!(_mm512_cvtepi32_ps(i))
    }

    #[inline(always)]
    fn byte<const AT: usize>(self, b: __m512i) -> __m512 {
        lanes!(_mm512_cvtepi32_ps(move512::<AT, 0>(b)))
    }

    #[inline(always)]
    fn byte_above_128<const AT: usize>(self, b: __m512i) -> __m512 {
        lanes!(_mm512_castsi512_ps(merge512::<AT, 2>(b, 0x4300_0000)))
    }

    #[inline(always)]
    fn byte_above_32896<const AT: usize>(self, b: __m512i) -> __m512 {
        lanes!({
            let unsigned = _mm512_xor_si512(b, _mm512_set1_epi8(-128));
            _mm512_castsi512_ps(merge512::<AT, 1>(unsigned, 0x4700_0000))
        })
    }

    #[inline(always)]
    fn byte_times_2_24<const AT: usize>(self, b: __m512i) -> __m512 {
        lanes!(_mm512_cvtepi32_ps(move512::<AT, 3>(b)))
    }

    #[inline(always)]
    fn store_bf16_pairs<const FLUSH: bool>(
        self,
        first: __m512,
        second: __m512,
        out: &mut [u16; 2 * LANES],
    ) {
        lanes!({
            let pairs = if BF16 {
                pairs512::<FLUSH>(first, second)
            } else {
                let first = _mm512_srli_epi32::<16>(round512::<FLUSH>(first));
                _mm512_mask_blend_epi16(0xaaaa_aaaa, first, round512::<FLUSH>(second))
            };
            _mm512_storeu_si512(out.as_mut_ptr().cast(), pairs);
        });
    }

    #[inline(always)]
    fn load_f16(self, src: &[u16; LANES]) -> __m512 {
        lanes!(_mm512_cvtph_ps(_mm256_loadu_si256(src.as_ptr().cast())))
    }

    #[inline(always)]
    fn load_u8(self, src: &[u8; LANES]) -> __m512 {
        lanes!(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(
            src.as_ptr().cast()
        ))))
    }

    #[inline(always)]
    fn load_i8(self, src: &[u8; LANES]) -> __m512 {
        lanes!(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(
            src.as_ptr().cast()
        ))))
    }
}

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

    #[inline(always)]
    fn float(self) -> Self {
        self
    }

    #[inline(always)]
    fn activations(self, a: &[i8; 4]) -> __m256i {
        let a = i32::from_le_bytes([a[0] as u8, a[1] as u8, a[2] as u8, a[3] as u8]);
        lanes!(_mm256_set1_epi32(a))
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
    fn signed_start(self, _: i32) -> Self::I {
        self.splat(0)
    }

    #[inline(always)]
    fn dot_signed(self, acc: Self::I, w: Self::B, a: __m256i) -> Self::I {
        // |w| times a with the sign of w; |w| and |a| are at most 127.
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
    fn load_f16(self, src: &[u16; LANES]) -> [__m256; 2] {
        lanes!([
            _mm256_cvtph_ps(_mm_loadu_si128(src.as_ptr().cast())),
            _mm256_cvtph_ps(_mm_loadu_si128(src.as_ptr().add(8).cast()))
        ])
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

    #[inline(always)]
    fn load_i8(self, src: &[u8; LANES]) -> [__m256; 2] {
        lanes!({
            let all = _mm_loadu_si128(src.as_ptr().cast());
            let high = _mm_srli_si128::<8>(all);
            [
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(all)),
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(high)),
            ]
        })
    }
}
