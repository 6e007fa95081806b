//! Blocks of 32 with one scale: `Q4_0` to `Q8_0`. Layouts: `dequant/legacy.rs`.
//!
//! The scale comes from the extremes of the block alone, without a search: that is
//! what these types are.

use super::{each_block, inverse, put_f16};

/// The value of the largest magnitude, with its sign. 0 if there is none.
pub(super) fn extreme(values: &[f32]) -> f32 {
    values
        .iter()
        .fold(0.0f32, |max, &x| if x.abs() > max.abs() { x } else { max })
}

/// Smallest and largest value.
fn bounds(values: &[f32]) -> (f32, f32) {
    values
        .iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &x| {
            (low.min(x), high.max(x))
        })
}

/// Codes from 0 to `high`: halves round up, as truncation of `x + 1/2` does.
fn code(x: f32, high: u8) -> u8 {
    ((x + 0.5) as u8).min(high)
}

/// Element j in the low nibble of byte j, element j + 16 in its high nibble.
fn put_nibbles(codes: &[u8; 32], out: &mut [u8]) {
    for (j, out) in out.iter_mut().enumerate() {
        *out = codes[j] & 15 | codes[j + 16] << 4;
    }
}

/// Bit j: the fifth bit of code j.
fn fifth_bits(codes: &[u8; 32]) -> u32 {
    (0..32).fold(0, |bits, j| bits | u32::from(codes[j] >> 4 & 1) << j)
}

/// The extreme becomes code 0, the one that reaches furthest from the middle.
pub(super) fn q4_0(values: &[f32], out: &mut [u8]) {
    each_block::<18, 32>(values, out, |values, block| {
        let d = extreme(values) / -8.0;
        let inverse = inverse(d);
        put_f16(block, 0, d);
        let codes = values.map(|x| code(x * inverse + 8.0, 15));
        put_nibbles(&codes, &mut block[2..]);
    });
}

pub(super) fn q4_1(values: &[f32], out: &mut [u8]) {
    each_block::<20, 32>(values, out, |values, block| {
        let (low, high) = bounds(values);
        let d = (high - low) / 15.0;
        let inverse = inverse(d);
        put_f16(block, 0, d);
        put_f16(block, 2, low);
        let codes = values.map(|x| code((x - low) * inverse, 15));
        put_nibbles(&codes, &mut block[4..]);
    });
}

pub(super) fn q5_0(values: &[f32], out: &mut [u8]) {
    each_block::<22, 32>(values, out, |values, block| {
        let d = extreme(values) / -16.0;
        let inverse = inverse(d);
        put_f16(block, 0, d);
        let codes = values.map(|x| code(x * inverse + 16.0, 31));
        block[2..6].copy_from_slice(&fifth_bits(&codes).to_le_bytes());
        put_nibbles(&codes, &mut block[6..]);
    });
}

pub(super) fn q5_1(values: &[f32], out: &mut [u8]) {
    each_block::<24, 32>(values, out, |values, block| {
        let (low, high) = bounds(values);
        let d = (high - low) / 31.0;
        let inverse = inverse(d);
        put_f16(block, 0, d);
        put_f16(block, 2, low);
        let codes = values.map(|x| code((x - low) * inverse, 31));
        block[4..8].copy_from_slice(&fifth_bits(&codes).to_le_bytes());
        put_nibbles(&codes, &mut block[8..]);
    });
}

pub(super) fn q8_0(values: &[f32], out: &mut [u8]) {
    each_block::<34, 32>(values, out, |values, block| {
        let d = extreme(values).abs() / 127.0;
        let inverse = inverse(d);
        put_f16(block, 0, d);
        for (out, x) in block[2..].iter_mut().zip(values) {
            *out = (x * inverse).round() as i8 as u8;
        }
    });
}
