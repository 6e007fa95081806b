//! Small integers in the lanes: what products of quantised weights are made of.
//!
//! Sixteen lanes of four bytes each: four consecutive `k` of sixteen outputs. All
//! of it is exact, so every implementation gives the same integers, whatever
//! instructions it finds for them.

use super::{LANES, Scalar, Simd};
use crate::bf16::round_bf16;
use std::array::from_fn;

/// Bytes in a vector: four a lane.
pub(crate) const BYTES: usize = 4 * LANES;

/// An instruction set with dot products of bytes.
///
/// Every method is `#[inline(always)]` in every implementation; see
/// [`crate::isa::Kernel`].
pub(crate) trait Int8: Copy {
    /// The float lanes that go with it.
    type F: Simd;
    /// [`BYTES`] bytes.
    type B: Copy;
    /// Sixteen `i32`.
    type I: Copy;
    /// Four activations, in every lane.
    type A: Copy;

    /// Rows of a product that fit in the registers together with two groups.
    const MAX_ROWS: usize;

    fn float(self) -> Self::F;
    fn zero(self) -> Self::B;
    fn load(self, src: &[u8; BYTES]) -> Self::B;
    /// `(byte >> SHIFT) & MASK`, each byte.
    fn field<const SHIFT: u32, const MASK: u8>(self, b: Self::B) -> Self::B;
    /// `(byte << SHIFT) & MASK`, each byte.
    fn field_up<const SHIFT: u32, const MASK: u8>(self, b: Self::B) -> Self::B;
    fn or(self, a: Self::B, b: Self::B) -> Self::B;
    /// `table[byte]`, for bytes below 16.
    fn table(self, codes: Self::B, table: &[i8; 16]) -> Self::B;
    fn splat(self, x: i32) -> Self::I;
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "read from where it lies")]
    fn activations(self, a: &[i8; 4]) -> Self::A;

    /// Adds the dot product of each lane's bytes, all below 128, with `a`.
    fn dot_small(self, acc: Self::I, w: Self::B, a: Self::A) -> Self::I;

    /// Signed bytes (none is -128) in the form that [`dot_signed`](Self::dot_signed) takes.
    fn signed(self, w: Self::B) -> Self::B;
    /// What sums of signed dot products start from; `minus_sum` is minus the sum
    /// of all `a` that they will be taken with.
    fn signed_start(self, minus_sum: i32) -> Self::I;
    /// Adds the dot product of each lane's bytes, from [`signed`](Self::signed), with `a`.
    fn dot_signed(self, acc: Self::I, w: Self::B, a: Self::A) -> Self::I;

    /// Exact below 2^24.
    fn to_float(self, i: Self::I) -> <Self::F as Simd>::V;
    /// Byte `AT` of each lane, as an unsigned number.
    fn unsigned_byte<const AT: u32>(self, b: Self::B) -> <Self::F as Simd>::V;
    /// Byte `AT` of each lane, as a signed number.
    fn signed_byte<const AT: u32>(self, b: Self::B) -> <Self::F as Simd>::V;
    /// Widens sixteen f16.
    fn load_f16(self, src: &[u16; LANES]) -> <Self::F as Simd>::V;
    /// Sixteen unsigned bytes as floats.
    fn load_u8(self, src: &[u8; LANES]) -> <Self::F as Simd>::V;
    /// Sixteen signed bytes as floats.
    fn load_i8(self, src: &[u8; LANES]) -> <Self::F as Simd>::V;

    /// The low nibbles of sixteen bytes as floats.
    #[inline(always)]
    fn load_low_nibbles(self, src: &[u8; LANES]) -> <Self::F as Simd>::V {
        self.load_u8(&src.map(|b| b & 15))
    }

    /// The high nibbles of sixteen bytes as floats.
    #[inline(always)]
    fn load_high_nibbles(self, src: &[u8; LANES]) -> <Self::F as Simd>::V {
        self.load_u8(&src.map(|b| b >> 4))
    }

    /// Rounds both with [`round_bf16`] and stores pairs: first, second.
    #[inline(always)]
    fn store_bf16_pairs(
        self,
        first: <Self::F as Simd>::V,
        second: <Self::F as Simd>::V,
        out: &mut [u16; 2 * LANES],
    ) {
        let (mut a, mut b) = ([0.0; LANES], [0.0; LANES]);
        self.float().store(first, &mut a);
        self.float().store(second, &mut b);
        for lane in 0..LANES {
            out[2 * lane] = round_bf16(a[lane]);
            out[2 * lane + 1] = round_bf16(b[lane]);
        }
    }
}

impl Int8 for Scalar {
    type F = Self;
    type B = [u8; BYTES];
    type I = [i32; LANES];
    type A = [i8; 4];

    const MAX_ROWS: usize = 1;

    #[inline(always)]
    fn activations(self, a: &[i8; 4]) -> Self::A {
        *a
    }

    #[inline(always)]
    fn float(self) -> Self {
        self
    }

    #[inline(always)]
    fn zero(self) -> Self::B {
        [0; BYTES]
    }

    #[inline(always)]
    fn load(self, src: &[u8; BYTES]) -> Self::B {
        *src
    }

    #[inline(always)]
    fn field<const SHIFT: u32, const MASK: u8>(self, b: Self::B) -> Self::B {
        b.map(|b| b >> SHIFT & MASK)
    }

    #[inline(always)]
    fn field_up<const SHIFT: u32, const MASK: u8>(self, b: Self::B) -> Self::B {
        b.map(|b| b << SHIFT & MASK)
    }

    #[inline(always)]
    fn or(self, a: Self::B, b: Self::B) -> Self::B {
        from_fn(|i| a[i] | b[i])
    }

    #[inline(always)]
    fn table(self, codes: Self::B, table: &[i8; 16]) -> Self::B {
        codes.map(|c| table[usize::from(c & 15)] as u8)
    }

    #[inline(always)]
    fn splat(self, x: i32) -> Self::I {
        [x; LANES]
    }

    #[inline(always)]
    fn dot_small(self, acc: Self::I, w: Self::B, a: Self::A) -> Self::I {
        from_fn(|lane| {
            let product = |i: usize| i32::from(w[4 * lane + i]) * i32::from(a[i]);
            acc[lane] + product(0) + product(1) + product(2) + product(3)
        })
    }

    #[inline(always)]
    fn signed(self, w: Self::B) -> Self::B {
        w
    }

    #[inline(always)]
    fn signed_start(self, _: i32) -> Self::I {
        [0; LANES]
    }

    #[inline(always)]
    fn dot_signed(self, acc: Self::I, w: Self::B, a: Self::A) -> Self::I {
        from_fn(|lane| {
            let product = |i: usize| i32::from(w[4 * lane + i] as i8) * i32::from(a[i]);
            acc[lane] + product(0) + product(1) + product(2) + product(3)
        })
    }

    #[inline(always)]
    fn to_float(self, i: Self::I) -> [f32; LANES] {
        i.map(|i| i as f32)
    }

    #[inline(always)]
    fn unsigned_byte<const AT: u32>(self, b: Self::B) -> [f32; LANES] {
        from_fn(|lane| f32::from(b[4 * lane + AT as usize]))
    }

    #[inline(always)]
    fn signed_byte<const AT: u32>(self, b: Self::B) -> [f32; LANES] {
        from_fn(|lane| f32::from(b[4 * lane + AT as usize] as i8))
    }

    #[inline(always)]
    fn load_f16(self, src: &[u16; LANES]) -> [f32; LANES] {
        src.map(|bits| half::f16::from_bits(bits).to_f32())
    }

    #[inline(always)]
    fn load_u8(self, src: &[u8; LANES]) -> [f32; LANES] {
        src.map(f32::from)
    }

    #[inline(always)]
    fn load_i8(self, src: &[u8; LANES]) -> [f32; LANES] {
        src.map(|b| f32::from(b as i8))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! Safety is that of `simd::x86`: a token proves the features.

    use super::{BYTES, Int8, LANES};
    use crate::isa::{Avx2, Avx512, Vnni};
    #[allow(clippy::wildcard_imports)] // forty intrinsics, all of one prefix
    use std::arch::asm;
    use std::arch::x86_64::*;

    macro_rules! lanes {
        ($body:expr) => {
            // SAFETY: `self` proves the features; pointers come from arrays of
            // the size that is read.
            unsafe { $body }
        };
    }

    /// Four bytes in every lane, where this stands in the program. With the
    /// intrinsic the compiler gathers the broadcasts of many steps at the front of a
    /// loop, and spills sums to make room for them.
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

    impl Int8 for Vnni {
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
        fn dot_small(self, acc: __m512i, w: __m512i, a: Self::A) -> __m512i {
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
        fn dot_signed(self, acc: __m512i, w: __m512i, a: Self::A) -> __m512i {
            self.dot_small(acc, w, a)
        }

        #[inline(always)]
        fn to_float(self, i: __m512i) -> __m512 {
            lanes!(_mm512_cvtepi32_ps(i))
        }

        #[inline(always)]
        fn unsigned_byte<const AT: u32>(self, b: __m512i) -> __m512 {
            // A variable shift: its amount folds, and 8 * AT is no constant argument.
            lanes!({
                let moved = _mm512_srl_epi32(b, _mm_cvtsi32_si128(8 * AT as i32));
                _mm512_cvtepi32_ps(_mm512_and_si512(moved, _mm512_set1_epi32(255)))
            })
        }

        #[inline(always)]
        fn signed_byte<const AT: u32>(self, b: __m512i) -> __m512 {
            lanes!({
                let top = _mm512_sll_epi32(b, _mm_cvtsi32_si128(24 - 8 * AT as i32));
                _mm512_cvtepi32_ps(_mm512_srai_epi32::<24>(top))
            })
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
        fn dot_small(self, acc: Self::I, w: Self::B, a: Self::A) -> Self::I {
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
        fn dot_signed(self, acc: Self::I, w: Self::B, a: Self::A) -> Self::I {
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
        fn unsigned_byte<const AT: u32>(self, b: Self::B) -> [__m256; 2] {
            lanes!({
                let (by, byte) = (_mm_cvtsi32_si128(8 * AT as i32), _mm256_set1_epi32(255));
                [
                    _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srl_epi32(b[0], by), byte)),
                    _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srl_epi32(b[1], by), byte)),
                ]
            })
        }

        #[inline(always)]
        fn signed_byte<const AT: u32>(self, b: Self::B) -> [__m256; 2] {
            lanes!({
                let by = _mm_cvtsi32_si128(24 - 8 * AT as i32);
                [
                    _mm256_cvtepi32_ps(_mm256_srai_epi32::<24>(_mm256_sll_epi32(b[0], by))),
                    _mm256_cvtepi32_ps(_mm256_srai_epi32::<24>(_mm256_sll_epi32(b[1], by))),
                ]
            })
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
}
