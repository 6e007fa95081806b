//! Superblocks of 256 whose groups have quantised scales: `Q2_K` to `Q8_K`.
//!
//! `d` scales the groups' scales and `dmin` the groups' minima.

use super::{bytes_at, each_block, f16_at};

/// `s [u8; 16], q [u8; 64], d f16, dmin f16`; 16 groups of 16.
///
/// Low nibble of `s`: scale; high nibble: minimum. Bytes 0..32 of q hold
/// elements 0..128, two bits for each run of 32; bytes 32..64 the others.
pub(super) fn q2_k(bytes: &[u8], out: &mut [f32]) {
    each_block::<84, 256>(bytes, out, |block, out| {
        let s: &[u8; 16] = bytes_at(block, 0);
        let q: &[u8; 64] = bytes_at(block, 16);
        let (d, dmin) = (f16_at(block, 80), f16_at(block, 82));
        for (g, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let scale = d * f32::from(s[g] & 15);
            let min = dmin * f32::from(s[g] >> 4);
            let (q, shift) = two_bits(q, g);
            for (out, &q) in out.iter_mut().zip(q) {
                *out = scale * f32::from(q >> shift & 3) - min;
            }
        }
    });
}

/// Where the low two bits of group `g` of 16 are: 16 bytes and a shift.
pub(super) fn two_bits(q: &[u8; 64], g: usize) -> (&[u8; 16], usize) {
    // g counts, from the lowest: half of a run of 32, run, half of the block.
    (bytes_at(q, g / 8 * 32 + g % 2 * 16), g % 8 / 2 * 2)
}

/// `h [u8; 32], q [u8; 64], s [u8; 12], d f16`; 16 groups of 16.
///
/// q as in `Q2_K`; bit i of h is the third bit, *cleared* where 4 is subtracted,
/// of run i of 32. s: 6-bit scales, minus 32.
pub(super) fn q3_k(bytes: &[u8], out: &mut [f32]) {
    each_block::<110, 256>(bytes, out, |block, out| {
        let h: &[u8; 32] = bytes_at(block, 0);
        let q: &[u8; 64] = bytes_at(block, 32);
        let s: &[u8; 12] = bytes_at(block, 96);
        let d = f16_at(block, 108);
        for (g, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            // Bytes 0..8 of s: low nibbles of scales g and g + 8. Bytes 8..12:
            // two high bits of scales g, g + 4, g + 8, g + 12.
            let low = s[g % 8] >> (g / 8 * 4) & 15;
            let high = s[8 + g % 4] >> (g / 4 * 2) & 3;
            let scale = d * f32::from((low | high << 4) as i8 - 32);
            let (q, shift) = two_bits(q, g);
            let h: &[u8; 16] = bytes_at(h, g % 2 * 16);
            for ((out, &q), &h) in out.iter_mut().zip(q).zip(h) {
                let third = (h >> (g / 2) & 1) << 2;
                *out = scale * f32::from((q >> shift & 3 | third) as i8 - 4);
            }
        }
    });
}

/// `d f16, dmin f16, s [u8; 12], q [u8; 128]`; 8 groups of 32.
///
/// 32 bytes of q hold two groups: low nibbles one, high nibbles the next.
pub(super) fn q4_k(bytes: &[u8], out: &mut [f32]) {
    each_block::<144, 256>(bytes, out, |block, out| {
        let (d, dmin) = (f16_at(block, 0), f16_at(block, 2));
        let s: &[u8; 12] = bytes_at(block, 4);
        let q: &[u8; 128] = bytes_at(block, 16);
        for (g, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let (scale, min) = scale_and_min(s, g);
            let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
            let q: &[u8; 32] = bytes_at(q, g / 2 * 32);
            for (out, &q) in out.iter_mut().zip(q) {
                *out = scale * f32::from(q >> (g % 2 * 4) & 15) - min;
            }
        }
    });
}

/// `d f16, dmin f16, s [u8; 12], h [u8; 32], q [u8; 128]`; 8 groups of 32.
///
/// As `Q4_K`; bit g of h is the fifth bit of group g.
pub(super) fn q5_k(bytes: &[u8], out: &mut [f32]) {
    each_block::<176, 256>(bytes, out, |block, out| {
        let (d, dmin) = (f16_at(block, 0), f16_at(block, 2));
        let s: &[u8; 12] = bytes_at(block, 4);
        let h: &[u8; 32] = bytes_at(block, 16);
        let q: &[u8; 128] = bytes_at(block, 48);
        for (g, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let (scale, min) = scale_and_min(s, g);
            let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
            let q: &[u8; 32] = bytes_at(q, g / 2 * 32);
            for ((out, &q), &h) in out.iter_mut().zip(q).zip(h) {
                let fifth = (h >> g & 1) << 4;
                *out = scale * f32::from(q >> (g % 2 * 4) & 15 | fifth) - min;
            }
        }
    });
}

/// Six-bit scale and minimum of group `g`, packed in 12 bytes.
///
/// Groups 0..4 lie in the low six bits of bytes g and g + 4. Groups 4..8 have
/// low nibbles in byte g + 4 and high bits on top of bytes g - 4 and g.
pub(super) fn scale_and_min(s: &[u8; 12], g: usize) -> (u8, u8) {
    if g < 4 {
        (s[g] & 63, s[g + 4] & 63)
    } else {
        (
            s[g + 4] & 15 | s[g - 4] >> 6 << 4,
            s[g + 4] >> 4 | s[g] >> 6 << 4,
        )
    }
}

/// `l [u8; 128], h [u8; 64], s [i8; 16], d f16`; 16 groups of 16.
///
/// Each half of the block has 64 bytes of l (low nibbles: runs 0 and 1 of 32,
/// high nibbles: runs 2 and 3) and 32 bytes of h (two bits for each run).
/// x = d s (q - 32).
pub(super) fn q6_k(bytes: &[u8], out: &mut [f32]) {
    each_block::<210, 256>(bytes, out, |block, out| {
        let l: &[u8; 128] = bytes_at(block, 0);
        let h: &[u8; 64] = bytes_at(block, 128);
        let s: &[u8; 16] = bytes_at(block, 192);
        let d = f16_at(block, 208);
        for (g, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let (half, run, part) = (g / 8, g % 8 / 2, g % 2);
            let scale = d * f32::from(s[g] as i8);
            let l: &[u8; 16] = bytes_at(l, half * 64 + run % 2 * 32 + part * 16);
            let h: &[u8; 16] = bytes_at(h, half * 32 + part * 16);
            for ((out, &l), &h) in out.iter_mut().zip(l).zip(h) {
                let q = l >> (run / 2 * 4) & 15 | (h >> (run * 2) & 3) << 4;
                *out = scale * f32::from(q as i8 - 32);
            }
        }
    });
}

/// `d f32, q [i8; 256], sums [i16; 16]`; x = d q.
pub(super) fn q8_k(bytes: &[u8], out: &mut [f32]) {
    each_block::<292, 256>(bytes, out, |block, out| {
        let d = f32::from_le_bytes(*bytes_at(block, 0));
        let q: &[u8; 256] = bytes_at(block, 4);
        for (out, &q) in out.iter_mut().zip(q) {
            *out = d * f32::from(q as i8);
        }
    });
}
