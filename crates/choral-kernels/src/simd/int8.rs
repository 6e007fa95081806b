//! Small integers in the lanes: what products of quantised weights are made of.
//!
//! Sixteen lanes of four bytes each: four consecutive `k` of sixteen outputs. All
//! of it is exact, so every implementation gives the same integers, whatever
//! instructions it finds for them.

#[cfg(target_arch = "x86_64")]
mod x86;

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
    /// Four bytes in every lane: word `WORD` of line `LINE`.
    ///
    /// # Safety
    /// There are more than `LINE` lines.
    unsafe fn activations<const LINE: usize, const WORD: usize>(
        self,
        lines: *const [u8; BYTES],
    ) -> Self::A;
    /// An integer in every lane: word `WORD` of line `LINE`, times `2^power`.
    ///
    /// # Safety
    /// There are more than `LINE` lines.
    #[inline(always)]
    unsafe fn integer<const LINE: usize, const WORD: usize>(
        self,
        lines: *const [u8; BYTES],
        power: u32,
    ) -> Self::I {
        // SAFETY: as this method's.
        let word = unsafe { word::<LINE, WORD>(lines) };
        self.splat(i32::from_le_bytes(word) << power)
    }

    /// Adds the dot product of each lane's bytes, all below 128, with `a`.
    fn dot_small(self, acc: Self::I, w: Self::B, a: Self::A) -> Self::I;

    /// Signed bytes, -128 among them, in the form that
    /// [`dot_signed`](Self::dot_signed) takes.
    fn signed(self, w: Self::B) -> Self::B;
    /// What sums of signed dot products start from: minus the sum of all `a` that they
    /// will be taken with times `2^SIGNED_START`, or 0 if that is `None`.
    const SIGNED_START: Option<u32>;
    /// Adds the dot product of each lane's bytes, from [`signed`](Self::signed), with `a`,
    /// of which none is -128.
    fn dot_signed(self, acc: Self::I, w: Self::B, a: Self::A) -> Self::I;

    /// Exact below 2^24.
    fn to_float(self, i: Self::I) -> <Self::F as Simd>::V;
    /// Byte `AT` of each lane.
    fn byte<const AT: usize>(self, b: Self::B) -> <Self::F as Simd>::V;
    /// 128 plus byte `AT` of each lane, which is below 128: one instruction less than
    /// without the 128, for it is an exponent with the byte in its mantissa.
    fn byte_above_128<const AT: usize>(self, b: Self::B) -> <Self::F as Simd>::V;
    /// 32896 plus byte `AT` of each lane, taken as signed.
    fn byte_above_32896<const AT: usize>(self, b: Self::B) -> <Self::F as Simd>::V;
    /// 2^24 times byte `AT` of each lane, taken as signed.
    fn byte_times_2_24<const AT: usize>(self, b: Self::B) -> <Self::F as Simd>::V;
    /// Sixteen unsigned bytes as floats.
    fn load_u8(self, src: &[u8; LANES]) -> <Self::F as Simd>::V;

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

    /// Rounds both to bf16 and stores pairs: first, second.
    ///
    /// With `FLUSH` it rounds as [`round_bf16`] does. Without, lanes must be 0, or
    /// 2^-48 or more, or not finite (and a NaN one that arithmetic makes); zeros keep
    /// their sign then, which no sum of products can tell.
    fn store_bf16_pairs<const FLUSH: bool>(
        self,
        first: <Self::F as Simd>::V,
        second: <Self::F as Simd>::V,
        out: &mut [u16; 2 * LANES],
    );
}

/// Word `WORD` of line `LINE`.
///
/// # Safety
/// There are more than `LINE` lines.
#[inline(always)]
unsafe fn word<const LINE: usize, const WORD: usize>(lines: *const [u8; BYTES]) -> [u8; 4] {
    const { assert!(WORD < BYTES / 4) };
    // SAFETY: the line is there, and the word is in it.
    unsafe { lines.add(LINE).cast::<[u8; 4]>().add(WORD).read() }
}

impl Int8 for Scalar {
    type F = Self;
    type B = [u8; BYTES];
    type I = [i32; LANES];
    type A = [i8; 4];

    const MAX_ROWS: usize = 1;
    const SIGNED_START: Option<u32> = None;

    #[inline(always)]
    unsafe fn activations<const LINE: usize, const WORD: usize>(
        self,
        lines: *const [u8; BYTES],
    ) -> Self::A {
        // SAFETY: as this method's.
        unsafe { word::<LINE, WORD>(lines) }.map(|byte| byte as i8)
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
    fn byte<const AT: usize>(self, b: Self::B) -> [f32; LANES] {
        from_fn(|lane| f32::from(b[4 * lane + AT]))
    }

    #[inline(always)]
    fn byte_above_128<const AT: usize>(self, b: Self::B) -> [f32; LANES] {
        from_fn(|lane| 128.0 + f32::from(b[4 * lane + AT]))
    }

    #[inline(always)]
    fn byte_above_32896<const AT: usize>(self, b: Self::B) -> [f32; LANES] {
        from_fn(|lane| 32896.0 + f32::from(b[4 * lane + AT] as i8))
    }

    #[inline(always)]
    fn byte_times_2_24<const AT: usize>(self, b: Self::B) -> [f32; LANES] {
        from_fn(|lane| 16_777_216.0 * f32::from(b[4 * lane + AT] as i8))
    }

    #[inline(always)]
    fn load_u8(self, src: &[u8; LANES]) -> [f32; LANES] {
        src.map(f32::from)
    }

    #[inline(always)]
    fn store_bf16_pairs<const FLUSH: bool>(
        self,
        first: [f32; LANES],
        second: [f32; LANES],
        out: &mut [u16; 2 * LANES],
    ) {
        for lane in 0..LANES {
            out[2 * lane] = round_bf16(first[lane]);
            out[2 * lane + 1] = round_bf16(second[lane]);
        }
    }
}
