//! Plain floats of 8 to 64 bits.

use half::slice::HalfFloatSliceExt;

/// Halves converted at once: enough for the vector loop of `half` to pay.
const CHUNK: usize = 256;

pub(super) fn f32(bytes: &[u8], out: &mut [f32]) {
    super::each_block::<4, 1>(bytes, out, |x, out| out[0] = f32::from_le_bytes(*x));
}

pub(super) fn f64(bytes: &[u8], out: &mut [f32]) {
    super::each_block::<8, 1>(bytes, out, |x, out| out[0] = f64::from_le_bytes(*x) as f32);
}

pub(super) fn bf16(bytes: &[u8], out: &mut [f32]) {
    super::each_block::<2, 1>(bytes, out, |x, out| {
        out[0] = f32::from_bits(u32::from(u16::from_le_bytes(*x)) << 16);
    });
}

pub(super) fn f16(bytes: &[u8], out: &mut [f32]) {
    // The bytes need not be aligned for u16, so they pass through a small array.
    let mut halves = [half::f16::ZERO; CHUNK];
    for (bytes, out) in bytes.chunks(2 * CHUNK).zip(out.chunks_mut(CHUNK)) {
        let halves = &mut halves[..out.len()];
        for (half, bytes) in halves.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *half = half::f16::from_le_bytes(*bytes);
        }
        halves.convert_to_f32_slice(out);
    }
}

/// OCP `E4M3FN`: bias 7, no infinities, NaN where all other bits are one.
pub(super) fn e4m3(bytes: &[u8], out: &mut [f32]) {
    let table: [f32; 256] = std::array::from_fn(|byte| e4m3_value(byte as u8));
    for (&byte, out) in bytes.iter().zip(out) {
        *out = table[usize::from(byte)];
    }
}

/// The value of one `E4M3FN` number.
pub(super) fn e4m3_value(byte: u8) -> f32 {
    let exponent = i32::from(byte >> 3 & 15);
    let mantissa = f32::from(byte & 7);
    let magnitude = match (exponent, byte & 7) {
        (15, 7) => f32::NAN,
        (0, _) => mantissa / 8.0 * 2f32.powi(-6),
        _ => (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
    };
    if byte & 0x80 == 0 {
        magnitude
    } else {
        -magnitude
    }
}

/// `E5M2`: an IEEE half whose low byte is zero.
pub(super) fn e5m2(bytes: &[u8], out: &mut [f32]) {
    for (&byte, out) in bytes.iter().zip(out) {
        *out = half::f16::from_le_bytes([0, byte]).to_f32();
    }
}

/// `E8M0`: a power of two, bias 127; NaN where all bits are one.
pub(super) fn e8m0(bytes: &[u8], out: &mut [f32]) {
    for (&byte, out) in bytes.iter().zip(out) {
        *out = match byte {
            // Too small for a normal number: 2^-127.
            0 => f32::from_bits(0x0040_0000),
            255 => f32::NAN,
            _ => f32::from_bits(u32::from(byte) << 23),
        };
    }
}
