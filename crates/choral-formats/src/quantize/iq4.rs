//! Codes into a fixed table: `IQ4_NL` and `IQ4_XS`. Layouts: `dequant/lookup.rs`.

use super::legacy::extreme;
use super::search::{nearest_entry, tabled};
use super::{each_block, inverse, nearest, put_f16};
use crate::dequant::IQ4;

/// The codes of 32 weights for the scale that was stored, as nibbles.
fn put_codes(values: &[f32; 32], scale: f32, out: &mut [u8]) {
    let inverse = inverse(scale);
    let codes = values.map(|x| nearest_entry(&IQ4, x * inverse));
    for (j, out) in out.iter_mut().enumerate() {
        *out = codes[j] | codes[j + 16] << 4;
    }
}

pub(super) fn iq4_nl(values: &[f32], out: &mut [u8]) {
    each_block::<18, 32>(values, out, |values, block| {
        let scale = tabled(values, &IQ4);
        put_f16(block, 0, scale);
        put_codes(values, scale, &mut block[2..]);
    });
}

pub(super) fn iq4_xs(values: &[f32], out: &mut [u8]) {
    each_block::<136, 256>(values, out, |values, block| {
        let (groups, _) = values.as_chunks::<32>();
        let mut scales = [0.0; 8];
        for (scale, x) in scales.iter_mut().zip(groups) {
            *scale = tabled(x, &IQ4);
        }
        let unit = extreme(&scales) / -32.0;
        let d = put_f16(block, 0, unit);
        let inverse_unit = inverse(unit);
        let (mut high, mut low) = (0u16, [0u8; 4]);
        for (g, x) in groups.iter().enumerate() {
            let count = nearest(scales[g] * inverse_unit, -32.0, 31.0);
            let stored = (count as i8 + 32) as u8;
            low[g / 2] |= (stored & 15) << (g % 2 * 4);
            high |= u16::from(stored >> 4) << (2 * g);
            put_codes(x, d * count, &mut block[8 + 16 * g..24 + 16 * g]);
        }
        block[2..4].copy_from_slice(&high.to_le_bytes());
        block[4..8].copy_from_slice(&low);
    });
}
