//! Superblocks of 256 with quantised scales: `Q2_K` to `Q6_K`. Layouts:
//! `dequant/kquant.rs`.
//!
//! Every type goes the same way: search a scale (and minimum) for each group, store
//! them as small integers, then choose the codes for what was *stored*.

use super::legacy::extreme;
use super::search::{Ramp, asymmetric, descend, symmetric};
use super::{each_block, inverse, nearest, put_f16};

/// Codes of a block, one byte each.
type Codes = [u8; 256];

/// Scales and minima of a block's groups.
struct Groups<const G: usize> {
    scales: [f32; G],
    minima: [f32; G],
}

impl<const G: usize> Groups<G> {
    /// Searches each of the groups of `N` weights.
    fn search<const N: usize>(
        values: &[f32; 256],
        ramp: &Ramp,
        weigh: impl Fn(&[f32; N]) -> [f32; N],
    ) -> Self {
        let mut found = Self {
            scales: [0.0; G],
            minima: [0.0; G],
        };
        for (g, x) in values.as_chunks::<N>().0.iter().enumerate() {
            (found.scales[g], found.minima[g]) = asymmetric(x, &weigh(x), ramp);
        }
        found
    }
}

/// Numbers from 0 up as integers up to `high`, and the unit that they are counted in.
fn counted<const G: usize>(numbers: &[f32; G], high: f32) -> ([u8; G], f32) {
    let max = numbers.iter().copied().fold(0.0, f32::max);
    let inverse = high * inverse(max);
    let counts = numbers.map(|x| nearest(x * inverse, 0.0, high) as u8);
    (counts, max / high)
}

/// The codes of `values` for the scales and minima that were stored.
fn codes<const N: usize>(
    values: &[f32; 256],
    high: f32,
    stored: impl Fn(usize) -> (f32, f32),
) -> Codes {
    let mut codes = [0; 256];
    let groups = codes.as_chunks_mut::<N>().0.iter_mut();
    for (g, (codes, x)) in groups.zip(values.as_chunks::<N>().0).enumerate() {
        let (scale, min) = stored(g);
        let inverse = inverse(scale);
        for (code, x) in codes.iter_mut().zip(x) {
            *code = nearest((x + min) * inverse, 0.0, high) as u8;
        }
    }
    codes
}

/// Bytes of two bits each, as `Q2_K` and `Q3_K` store them: 32 bytes hold a half of the
/// block, two bits for each run of 32.
fn put_two_bits(codes: &Codes, out: &mut [u8]) {
    for (i, out) in out.iter_mut().enumerate() {
        let (half, at) = (i / 32 * 128, i % 32);
        let run = |run: usize| (codes[half + 32 * run + at] & 3) << (2 * run);
        *out = run(0) | run(1) | run(2) | run(3);
    }
}

/// Nibbles as `Q4_K` and `Q5_K` store them: 32 bytes hold two groups of 32.
fn put_nibbles(codes: &Codes, out: &mut [u8]) {
    for (i, out) in out.iter_mut().enumerate() {
        let (pair, at) = (i / 32 * 64, i % 32);
        *out = codes[pair + at] & 15 | codes[pair + 32 + at] << 4;
    }
}

pub(super) fn q2_k(values: &[f32], out: &mut [u8]) {
    const RAMP: Ramp = Ramp {
        range: 3.0,
        from: -0.5,
        tries: 15,
        absolute: true,
    };
    each_block::<84, 256>(values, out, |values, block| {
        let groups = Groups::<16>::search::<16>(values, &RAMP, |x| x.map(f32::abs));
        let (scales, d) = counted(&groups.scales, 15.0);
        let (minima, dmin) = counted(&groups.minima, 15.0);
        let (d, dmin) = (put_f16(block, 80, d), put_f16(block, 82, dmin));
        for g in 0..16 {
            block[g] = scales[g] | minima[g] << 4;
        }
        let codes = codes::<16>(values, 3.0, |g| {
            (d * f32::from(scales[g]), dmin * f32::from(minima[g]))
        });
        put_two_bits(&codes, &mut block[16..80]);
    });
}

pub(super) fn q3_k(values: &[f32], out: &mut [u8]) {
    each_block::<110, 256>(values, out, |values, block| {
        let mut scales = [0.0; 16];
        for (scale, x) in scales.iter_mut().zip(values.as_chunks::<16>().0) {
            *scale = descend(x, 4.0);
        }
        // The largest becomes -32: there is no +32.
        let unit = extreme(&scales) / -32.0;
        let inverse_unit = inverse(unit);
        let counts = scales.map(|s| nearest(s * inverse_unit, -32.0, 31.0));
        let d = put_f16(block, 108, unit);
        let codes = codes::<16>(values, 7.0, |g| {
            // x = s (q - 4), so s q = x + 4 s.
            let scale = d * counts[g];
            (scale, 4.0 * scale)
        });
        block[..32].fill(0);
        for (i, code) in codes.iter().enumerate() {
            block[i % 32] |= (code >> 2) << (i / 32);
        }
        put_two_bits(&codes, &mut block[32..96]);
        let counts = counts.map(|count| (count as i8 + 32) as u8);
        for g in 0..8 {
            block[96 + g] = counts[g] & 15 | counts[g + 8] << 4;
        }
        for g in 0..4 {
            let high = |part: usize| (counts[g + 4 * part] >> 4) << (2 * part);
            block[104 + g] = high(0) | high(1) | high(2) | high(3);
        }
    });
}

/// Errors count by the weight's magnitude, on top of that of the group as a whole.
fn by_magnitude(x: &[f32; 32]) -> [f32; 32] {
    let mean_square = x.iter().map(|x| x * x).sum::<f32>() / 32.0;
    let mean = mean_square.sqrt();
    x.map(|x| mean + x.abs())
}

/// Six-bit scales and minima, packed as `dequant` unpacks them.
fn put_scales(scales: [u8; 8], minima: [u8; 8], out: &mut [u8]) {
    for g in 0..4 {
        out[g] = scales[g] | scales[g + 4] >> 4 << 6;
        out[g + 4] = minima[g] | minima[g + 4] >> 4 << 6;
        out[g + 8] = scales[g + 4] & 15 | minima[g + 4] << 4;
    }
}

/// What `Q4_K` and `Q5_K` have in common: everything but where the codes go.
fn with_six_bit_scales<const BYTES: usize>(
    values: &[f32; 256],
    block: &mut [u8; BYTES],
    ramp: &Ramp,
) -> Codes {
    let groups = Groups::<8>::search::<32>(values, ramp, by_magnitude);
    let (scales, d) = counted(&groups.scales, 63.0);
    let (minima, dmin) = counted(&groups.minima, 63.0);
    let (d, dmin) = (put_f16(block, 0, d), put_f16(block, 2, dmin));
    put_scales(scales, minima, &mut block[4..16]);
    codes::<32>(values, ramp.range, |g| {
        (d * f32::from(scales[g]), dmin * f32::from(minima[g]))
    })
}

pub(super) fn q4_k(values: &[f32], out: &mut [u8]) {
    const RAMP: Ramp = Ramp {
        range: 15.0,
        from: -1.0,
        tries: 20,
        absolute: false,
    };
    each_block::<144, 256>(values, out, |values, block| {
        let codes = with_six_bit_scales(values, block, &RAMP);
        put_nibbles(&codes, &mut block[16..]);
    });
}

pub(super) fn q5_k(values: &[f32], out: &mut [u8]) {
    const RAMP: Ramp = Ramp {
        range: 31.0,
        from: -0.5,
        tries: 15,
        absolute: false,
    };
    each_block::<176, 256>(values, out, |values, block| {
        let codes = with_six_bit_scales(values, block, &RAMP);
        for at in 0..32 {
            block[16 + at] = (0..8).fold(0, |bits, g| bits | (codes[32 * g + at] >> 4) << g);
        }
        put_nibbles(&codes, &mut block[48..]);
    });
}

pub(super) fn q6_k(values: &[f32], out: &mut [u8]) {
    each_block::<210, 256>(values, out, |values, block| {
        let mut scales = [0.0; 16];
        for (scale, x) in scales.iter_mut().zip(values.as_chunks::<16>().0) {
            *scale = symmetric(x, 32.0);
        }
        let unit = extreme(&scales) / -128.0;
        let inverse_unit = inverse(unit);
        let counts = scales.map(|s| nearest(s * inverse_unit, -128.0, 127.0));
        let d = put_f16(block, 208, unit);
        let codes = codes::<16>(values, 63.0, |g| {
            let scale = d * counts[g];
            (scale, 32.0 * scale)
        });
        for g in 0..16 {
            block[192 + g] = counts[g] as i8 as u8;
        }
        for half in 0..2 {
            let run = |run: usize, at: usize| codes[128 * half + 32 * run + at];
            for at in 0..32 {
                let low = |r: usize| run(r, at) & 15 | run(r + 2, at) << 4;
                block[64 * half + at] = low(0);
                block[64 * half + 32 + at] = low(1);
                let high = |r: usize| (run(r, at) >> 4) << (2 * r);
                block[128 + 32 * half + at] = high(0) | high(1) | high(2) | high(3);
            }
        }
    });
}
