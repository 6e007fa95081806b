//! Blocks of 32 with one scale: `Q4_0` to `Q8_1`.
//!
//! `d` is the scale and `m` the minimum, both f16. Nibbles: byte `j` holds
//! element `j` in its low half and element `j + 16` in its high half.

use super::{bytes_at, each_block, f16_at};

/// `d f16, q [u8; 16]`; x = d (q - 8).
pub(super) fn q4_0(bytes: &[u8], out: &mut [f32]) {
    each_block::<18, 32>(bytes, out, |block, out| {
        let d = f16_at(block, 0);
        let q: &[u8; 16] = bytes_at(block, 2);
        for j in 0..16 {
            out[j] = d * f32::from((q[j] & 15) as i8 - 8);
            out[j + 16] = d * f32::from((q[j] >> 4) as i8 - 8);
        }
    });
}

/// `d f16, m f16, q [u8; 16]`; x = d q + m.
pub(super) fn q4_1(bytes: &[u8], out: &mut [f32]) {
    each_block::<20, 32>(bytes, out, |block, out| {
        let (d, m) = (f16_at(block, 0), f16_at(block, 2));
        let q: &[u8; 16] = bytes_at(block, 4);
        for j in 0..16 {
            out[j] = d * f32::from(q[j] & 15) + m;
            out[j + 16] = d * f32::from(q[j] >> 4) + m;
        }
    });
}

/// `d f16, h u32, q [u8; 16]`; bit j of h is the fifth bit of element j;
/// x = d (q - 16).
pub(super) fn q5_0(bytes: &[u8], out: &mut [f32]) {
    each_block::<22, 32>(bytes, out, |block, out| {
        let d = f16_at(block, 0);
        let h = u32::from_le_bytes(*bytes_at(block, 2));
        let q: &[u8; 16] = bytes_at(block, 6);
        for j in 0..16 {
            let (low, high) = fifth_bits(h, j);
            out[j] = d * f32::from((q[j] & 15 | low) as i8 - 16);
            out[j + 16] = d * f32::from((q[j] >> 4 | high) as i8 - 16);
        }
    });
}

/// `d f16, m f16, h u32, q [u8; 16]`; x = d q + m.
pub(super) fn q5_1(bytes: &[u8], out: &mut [f32]) {
    each_block::<24, 32>(bytes, out, |block, out| {
        let (d, m) = (f16_at(block, 0), f16_at(block, 2));
        let h = u32::from_le_bytes(*bytes_at(block, 4));
        let q: &[u8; 16] = bytes_at(block, 8);
        for j in 0..16 {
            let (low, high) = fifth_bits(h, j);
            out[j] = d * f32::from(q[j] & 15 | low) + m;
            out[j + 16] = d * f32::from(q[j] >> 4 | high) + m;
        }
    });
}

/// Bits j and j + 16 of `h`, each as 0 or 16.
fn fifth_bits(h: u32, j: usize) -> (u8, u8) {
    ((h >> j & 1) as u8 * 16, (h >> (j + 16) & 1) as u8 * 16)
}

/// `d f16, q [i8; 32]`; x = d q.
pub(super) fn q8_0(bytes: &[u8], out: &mut [f32]) {
    each_block::<34, 32>(bytes, out, |block, out| {
        signed_bytes(f16_at(block, 0), bytes_at(block, 2), out);
    });
}

/// `d f16, s f16, q [i8; 32]`; x = d q. `s` is d times the sum of q, a
/// shortcut for dot products.
pub(super) fn q8_1(bytes: &[u8], out: &mut [f32]) {
    each_block::<36, 32>(bytes, out, |block, out| {
        signed_bytes(f16_at(block, 0), bytes_at(block, 4), out);
    });
}

fn signed_bytes(d: f32, q: &[u8; 32], out: &mut [f32; 32]) {
    for (out, &q) in out.iter_mut().zip(q) {
        *out = d * f32::from(q as i8);
    }
}
