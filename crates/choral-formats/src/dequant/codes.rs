//! Quantised rows taken apart: the integers of the file, and its scales as they
//! are.
//!
//! [`dequantize`](super::dequantize) says what the numbers mean; this keeps them
//! apart for kernels that compute with integers. Source of every layout: as there.

use super::kquant::{scale_and_min, two_bits};
use super::{bytes_at, each_part};
use crate::{Dtype, FormatError};

/// Where the parts of a row go. What a type does not have stays untouched and may
/// be empty. Lengths are for a row of `k` weights, `block` being the type's
/// [`Dtype::block_len`].
#[derive(Debug)]
pub struct CodesMut<'a> {
    /// `[k]`: codes without any offset taken off (`Q8_0`: signed bytes).
    pub codes: &'a mut [u8],
    /// `[k / block]`: bits of the scale: f16, or bf16 for `MXFP4` (half a power of
    /// two, for its table is doubled).
    pub d: &'a mut [u16],
    /// `[k / block]`: f16 bits of the minimum, or of what integer minima are
    /// multiplied with.
    pub m: &'a mut [u16],
    /// `[k / 16]` or `[k / 32]`: integer scales (`Q3_K`, `Q6_K`, `IQ4_XS`: signed bytes).
    pub scales: &'a mut [u8],
    /// As `scales`: integer minima.
    pub minima: &'a mut [u8],
}

/// Takes apart a row of `dtype`.
///
/// # Errors
/// [`FormatError::ByteLength`] if `bytes` are not what `out.codes.len()` elements
/// take, [`FormatError::Unsupported`] if the type is not made of integers and scales
/// (or not known to be).
///
/// # Panics
/// If a part of `out` that the type has is too short.
pub fn split_codes(dtype: Dtype, bytes: &[u8], out: &mut CodesMut<'_>) -> Result<(), FormatError> {
    let split: fn(&[u8], &mut CodesMut<'_>) = match dtype {
        Dtype::Q8_0 => q8_0,
        Dtype::Q4_0 | Dtype::IQ4_NL => q4_0,
        Dtype::Q4_1 => q4_1,
        Dtype::Q5_0 => q5_0,
        Dtype::Q5_1 => q5_1,
        Dtype::Q2_K => q2_k,
        Dtype::Q3_K => q3_k,
        Dtype::Q4_K => q4_k,
        Dtype::Q5_K => q5_k,
        Dtype::Q6_K => q6_k,
        Dtype::IQ4_XS => iq4_xs,
        Dtype::MXFP4 => mxfp4,
        _ => return Err(FormatError::Unsupported { dtype }),
    };
    let elements = out.codes.len();
    let expected = dtype.bytes_for(elements);
    if expected != Some(bytes.len()) {
        return Err(FormatError::ByteLength {
            dtype,
            elements,
            expected,
            found: bytes.len(),
        });
    }
    split(bytes, out);
    Ok(())
}

/// The 16 bits at byte `at` of a block.
fn bits_at(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(*bytes_at(block, at))
}

/// Byte j holds element j in its low half and element j + 16 in its high half.
fn nibbles(q: &[u8; 16], codes: &mut [u8; 32]) {
    for j in 0..16 {
        codes[j] = q[j] & 15;
        codes[j + 16] = q[j] >> 4;
    }
}

/// Adds the bits of `h` on top of nibbles.
fn fifth_bits(h: u32, codes: &mut [u8; 32]) {
    for (j, code) in codes.iter_mut().enumerate() {
        *code |= ((h >> j & 1) as u8) << 4;
    }
}

fn q8_0(bytes: &[u8], out: &mut CodesMut<'_>) {
    each_part::<34, 32>(bytes, out.codes, |i, block, codes| {
        out.d[i] = bits_at(block, 0);
        *codes = *bytes_at(block, 2);
    });
}

fn q4_0(bytes: &[u8], out: &mut CodesMut<'_>) {
    each_part::<18, 32>(bytes, out.codes, |i, block, codes| {
        out.d[i] = bits_at(block, 0);
        nibbles(bytes_at(block, 2), codes);
    });
}

fn q4_1(bytes: &[u8], out: &mut CodesMut<'_>) {
    each_part::<20, 32>(bytes, out.codes, |i, block, codes| {
        (out.d[i], out.m[i]) = (bits_at(block, 0), bits_at(block, 2));
        nibbles(bytes_at(block, 4), codes);
    });
}

fn q5_0(bytes: &[u8], out: &mut CodesMut<'_>) {
    each_part::<22, 32>(bytes, out.codes, |i, block, codes| {
        out.d[i] = bits_at(block, 0);
        nibbles(bytes_at(block, 6), codes);
        fifth_bits(u32::from_le_bytes(*bytes_at(block, 2)), codes);
    });
}

fn q5_1(bytes: &[u8], out: &mut CodesMut<'_>) {
    each_part::<24, 32>(bytes, out.codes, |i, block, codes| {
        (out.d[i], out.m[i]) = (bits_at(block, 0), bits_at(block, 2));
        nibbles(bytes_at(block, 8), codes);
        fifth_bits(u32::from_le_bytes(*bytes_at(block, 4)), codes);
    });
}

fn mxfp4(bytes: &[u8], out: &mut CodesMut<'_>) {
    each_part::<17, 32>(bytes, out.codes, |i, block, codes| {
        // 2^(e - 128) in bf16: the two smallest are not normal numbers.
        out.d[i] = match block[0] {
            0 => 0x0020,
            1 => 0x0040,
            e => u16::from(e - 1) << 7,
        };
        nibbles(bytes_at(block, 1), codes);
    });
}

fn q2_k(bytes: &[u8], out: &mut CodesMut<'_>) {
    each_part::<84, 256>(bytes, out.codes, |i, block, codes| {
        (out.d[i], out.m[i]) = (bits_at(block, 80), bits_at(block, 82));
        let s: &[u8; 16] = bytes_at(block, 0);
        let q: &[u8; 64] = bytes_at(block, 16);
        for (g, codes) in codes.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            out.scales[16 * i + g] = s[g] & 15;
            out.minima[16 * i + g] = s[g] >> 4;
            let (q, shift) = two_bits(q, g);
            for (code, &q) in codes.iter_mut().zip(q) {
                *code = q >> shift & 3;
            }
        }
    });
}

fn q3_k(bytes: &[u8], out: &mut CodesMut<'_>) {
    each_part::<110, 256>(bytes, out.codes, |i, block, codes| {
        out.d[i] = bits_at(block, 108);
        let h: &[u8; 32] = bytes_at(block, 0);
        let q: &[u8; 64] = bytes_at(block, 32);
        let s: &[u8; 12] = bytes_at(block, 96);
        for (g, codes) in codes.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let low = s[g % 8] >> (g / 8 * 4) & 15;
            let high = s[8 + g % 4] >> (g / 4 * 2) & 3;
            out.scales[16 * i + g] = (low | high << 4).wrapping_sub(32);
            let (q, shift) = two_bits(q, g);
            let h: &[u8; 16] = bytes_at(h, g % 2 * 16);
            for ((code, &q), &h) in codes.iter_mut().zip(q).zip(h) {
                *code = q >> shift & 3 | (h >> (g / 2) & 1) << 2;
            }
        }
    });
}

/// Scales, minima and nibbles of `Q4_K` and `Q5_K`.
fn k_nibbles(
    i: usize,
    (s, q): (&[u8; 12], &[u8; 128]),
    codes: &mut [u8; 256],
    scales: &mut [u8],
    minima: &mut [u8],
) {
    for (g, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        (scales[8 * i + g], minima[8 * i + g]) = scale_and_min(s, g);
        let q: &[u8; 32] = bytes_at(q, g / 2 * 32);
        for (code, &q) in codes.iter_mut().zip(q) {
            *code = q >> (g % 2 * 4) & 15;
        }
    }
}

fn q4_k(bytes: &[u8], out: &mut CodesMut<'_>) {
    each_part::<144, 256>(bytes, out.codes, |i, block, codes| {
        (out.d[i], out.m[i]) = (bits_at(block, 0), bits_at(block, 2));
        let parts = (bytes_at(block, 4), bytes_at(block, 16));
        k_nibbles(i, parts, codes, out.scales, out.minima);
    });
}

fn q5_k(bytes: &[u8], out: &mut CodesMut<'_>) {
    each_part::<176, 256>(bytes, out.codes, |i, block, codes| {
        (out.d[i], out.m[i]) = (bits_at(block, 0), bits_at(block, 2));
        let parts = (bytes_at(block, 4), bytes_at(block, 48));
        k_nibbles(i, parts, codes, out.scales, out.minima);
        let h: &[u8; 32] = bytes_at(block, 16);
        for (g, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            for (code, &h) in codes.iter_mut().zip(h) {
                *code |= (h >> g & 1) << 4;
            }
        }
    });
}

fn q6_k(bytes: &[u8], out: &mut CodesMut<'_>) {
    each_part::<210, 256>(bytes, out.codes, |i, block, codes| {
        out.d[i] = bits_at(block, 208);
        let l: &[u8; 128] = bytes_at(block, 0);
        let h: &[u8; 64] = bytes_at(block, 128);
        out.scales[16 * i..16 * i + 16].copy_from_slice(bytes_at::<16>(block, 192));
        for (g, codes) in codes.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let (half, run, part) = (g / 8, g % 8 / 2, g % 2);
            let l: &[u8; 16] = bytes_at(l, half * 64 + run % 2 * 32 + part * 16);
            let h: &[u8; 16] = bytes_at(h, half * 32 + part * 16);
            for ((code, &l), &h) in codes.iter_mut().zip(l).zip(h) {
                *code = l >> (run / 2 * 4) & 15 | (h >> (run * 2) & 3) << 4;
            }
        }
    });
}

fn iq4_xs(bytes: &[u8], out: &mut CodesMut<'_>) {
    each_part::<136, 256>(bytes, out.codes, |i, block, codes| {
        out.d[i] = bits_at(block, 0);
        let h = bits_at(block, 2);
        let l: &[u8; 4] = bytes_at(block, 4);
        let q: &[u8; 128] = bytes_at(block, 8);
        for (g, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let low = l[g / 2] >> (g % 2 * 4) & 15;
            let high = (h >> (2 * g) & 3) as u8;
            out.scales[8 * i + g] = (low | high << 4).wrapping_sub(32);
            nibbles(bytes_at(q, g * 16), codes);
        }
    });
}
