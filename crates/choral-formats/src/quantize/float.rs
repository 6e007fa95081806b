//! Plain floats: one element, one number.

use super::each_block;

pub(super) fn f32(values: &[f32], out: &mut [u8]) {
    each_block::<4, 1>(values, out, |[x], out| *out = x.to_le_bytes());
}

pub(super) fn f16(values: &[f32], out: &mut [u8]) {
    each_block::<2, 1>(values, out, |&[x], out| {
        *out = half::f16::from_f32(x).to_le_bytes();
    });
}

pub(super) fn bf16(values: &[f32], out: &mut [u8]) {
    each_block::<2, 1>(values, out, |&[x], out| {
        *out = half::bf16::from_f32(x).to_le_bytes();
    });
}
