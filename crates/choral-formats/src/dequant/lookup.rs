//! Codes into a fixed table: `IQ4`, 4-bit floats, and ternary digits.

use super::float::e4m3_value;
use super::{bytes_at, each_block, f16_at};

/// The values of `IQ4_NL` and `IQ4_XS`, denser around zero.
pub(crate) const IQ4: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

/// Twice the values of E2M1, so that they are integers.
const E2M1_DOUBLED: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// `d f16, q [u8; 16]`; x = d table[q]. Nibbles as in `Q4_0`.
pub(super) fn iq4_nl(bytes: &[u8], out: &mut [f32]) {
    each_block::<18, 32>(bytes, out, |block, out| {
        nibbles(&IQ4, f16_at(block, 0), bytes_at::<16>(block, 2), out);
    });
}

/// `d f16, h u16, l [u8; 4], q [u8; 128]`; 8 groups of 32.
///
/// Scale of group g: nibble g of l, with bits 2g and 2g + 1 of h on top,
/// minus 32.
pub(super) fn iq4_xs(bytes: &[u8], out: &mut [f32]) {
    each_block::<136, 256>(bytes, out, |block, out| {
        let d = f16_at(block, 0);
        let h = u16::from_le_bytes(*bytes_at(block, 2));
        let l: &[u8; 4] = bytes_at(block, 4);
        let q: &[u8; 128] = bytes_at(block, 8);
        for (g, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let low = l[g / 2] >> (g % 2 * 4) & 15;
            let high = (h >> (2 * g) & 3) as u8;
            let scale = d * f32::from((low | high << 4) as i8 - 32);
            nibbles(&IQ4, scale, bytes_at::<16>(q, g * 16), out);
        }
    });
}

/// `e u8, q [u8; 16]`; x = 2^(e - 127) E2M1[q]. Nibbles as in `Q4_0`.
pub(super) fn mxfp4(bytes: &[u8], out: &mut [f32]) {
    each_block::<17, 32>(bytes, out, |block, out| {
        nibbles(
            &E2M1_DOUBLED,
            half_e8m0(block[0]),
            bytes_at::<16>(block, 1),
            out,
        );
    });
}

/// 2^(e - 128): half of an E8M0 scale, because the table is doubled.
fn half_e8m0(e: u8) -> f32 {
    match e {
        // Too small for a normal number: 2^-128 and 2^-127.
        0 => f32::from_bits(0x0020_0000),
        1 => f32::from_bits(0x0040_0000),
        _ => f32::from_bits(u32::from(e - 1) << 23),
    }
}

/// `s [e4m3; 4], q [u8; 32]`; 4 groups of 16, nibbles in halves of 8.
pub(super) fn nvfp4(bytes: &[u8], out: &mut [f32]) {
    each_block::<36, 64>(bytes, out, |block, out| {
        for (g, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            nibbles(
                &E2M1_DOUBLED,
                half_ue4m3(block[g]),
                bytes_at::<8>(block, 4 + g * 8),
                out,
            );
        }
    });
}

/// Half of an unsigned E4M3 scale. ggml reads the two NaN codes as zero.
fn half_ue4m3(byte: u8) -> f32 {
    if byte & 0x7f == 0x7f {
        0.0
    } else {
        e4m3_value(byte & 0x7f) * 0.5
    }
}

/// Byte j holds element j in its low half and the one `HALF` later in its high.
fn nibbles<const HALF: usize, const LEN: usize>(
    table: &[i8; 16],
    scale: f32,
    q: &[u8; HALF],
    out: &mut [f32; LEN],
) {
    let (low, high) = out.split_at_mut(HALF);
    for ((low, high), &q) in low.iter_mut().zip(high).zip(q) {
        *low = scale * f32::from(table[usize::from(q & 15)]);
        *high = scale * f32::from(table[usize::from(q >> 4)]);
    }
}

/// `q [u8; 48], h [u8; 4], d f16`; five ternary digits a byte, four in h.
///
/// A byte is the fraction of a base-3 number: multiplied by a power of three
/// (wrapping), its next digit is what 256 carries.
pub(super) fn tq1_0(bytes: &[u8], out: &mut [f32]) {
    each_block::<54, 256>(bytes, out, |block, out| {
        let d = f16_at(block, 52);
        let digit = |byte: u8, power: u8| {
            let shifted = byte.wrapping_mul(power);
            d * f32::from(((u16::from(shifted) * 3) >> 8) as i8 - 1)
        };
        // Bytes 0..32 give 5 runs of 32, bytes 32..48 5 runs of 16, the rest 4 of 4.
        let mut out = out.iter_mut();
        for (range, digits) in [(0..32, 5), (32..48, 5), (48..52, 4)] {
            for n in 0..digits {
                for (&byte, out) in block[range.clone()].iter().zip(&mut out) {
                    *out = digit(byte, 3u8.pow(n));
                }
            }
        }
    });
}

/// `q [u8; 64], d f16`; each half: 32 bytes, two bits for each of 4 runs.
pub(super) fn tq2_0(bytes: &[u8], out: &mut [f32]) {
    each_block::<66, 256>(bytes, out, |block, out| {
        let d = f16_at(block, 64);
        for (run, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let q: &[u8; 32] = bytes_at(block, run / 4 * 32);
            for (out, &q) in out.iter_mut().zip(q) {
                *out = d * f32::from((q >> (run % 4 * 2) & 3) as i8 - 1);
            }
        }
    });
}
