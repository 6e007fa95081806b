//! Bytes in AVX2 and AVX-512 VNNI lanes.
//!
//! Owns what the two share. Safety is that of `simd::x86`: a token proves the features.

mod avx2;
mod avx512;

/// Calls intrinsics that need nothing but the token's features.
macro_rules! lanes {
    ($body:expr) => {
        // SAFETY: `self` proves the features; pointers come from arrays of
        // the size that is read.
        unsafe { $body }
    };
}
use lanes;

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
