//! Bytes in AVX-512 VNNI lanes.

use super::super::{BYTES, Int8, LANES};
use super::{lanes, moved};
use crate::bf16::SMALLEST;
use crate::isa::{Avx512, Vnni};
use std::arch::asm;
#[allow(clippy::wildcard_imports)] // forty intrinsics, all of one prefix
use std::arch::x86_64::*;

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

/// Word `WORD` of line `LINE` in every lane, where this stands in the program. With the
/// intrinsic the compiler gathers the broadcasts of many steps at the front of a loop,
/// and spills sums to make room for them.
///
/// # Safety
/// The CPU has AVX-512 F, and there are more than `LINE` lines.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn broadcast_here<const LINE: usize, const WORD: usize>(
    lines: *const [u8; BYTES],
) -> __m512i {
    const { assert!(WORD < BYTES / 4) };
    let lanes: __m512i;
    // SAFETY: reads four bytes of a line that the caller promises, as the instruction.
    unsafe {
        asm!(
            "vpbroadcastd {lanes}, dword ptr [{lines} + {at}]",
            lanes = out(zmm_reg) lanes,
            lines = in(reg) lines,
            at = const LINE * BYTES + WORD * 4,
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
    const SIGNED_START: Option<u32> = Some(7);

    #[inline(always)]
    fn float(self) -> Avx512 {
        self.avx512()
    }

    #[inline(always)]
    unsafe fn activations<const LINE: usize, const WORD: usize>(
        self,
        lines: *const [u8; BYTES],
    ) -> __m512i {
        // SAFETY: as this method's, and `self` proves AVX-512.
        unsafe { broadcast_here::<LINE, WORD>(lines) }
    }

    #[inline(always)]
    unsafe fn integer<const LINE: usize, const WORD: usize>(
        self,
        lines: *const [u8; BYTES],
        power: u32,
    ) -> __m512i {
        // SAFETY: as this method's, and `self` proves AVX-512.
        let all = unsafe { broadcast_here::<LINE, WORD>(lines) };
        lanes!(_mm512_sllv_epi32(all, _mm512_set1_epi32(power as i32)))
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
    fn load_u8(self, src: &[u8; LANES]) -> __m512 {
        lanes!(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(
            src.as_ptr().cast()
        ))))
    }
}
