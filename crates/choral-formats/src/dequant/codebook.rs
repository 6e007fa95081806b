//! Codes for points of a lattice, with signs beside them: `IQ1`, `IQ2` and `IQ3`.
//!
//! A code stands for eight (or four) numbers at once; the points are in
//! [`super::grids`]. `d` scales the groups' scales.

use super::{bytes_at, each_block, f16_at, grids};

/// Levels of the coordinates of `IQ2` points.
const IQ2: [f32; 4] = [8.0, 25.0, 43.0, 0.0];
/// Levels of the coordinates of `IQ3_XXS` points.
const IQ3_XXS: [f32; 8] = [4.0, 12.0, 20.0, 28.0, 36.0, 44.0, 52.0, 62.0];
/// Levels of the coordinates of `IQ3_S` points.
const IQ3_S: [f32; 8] = [1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0];
/// Levels of the coordinates of `IQ1` points.
const IQ1: [f32; 4] = [-1.0, 0.0, 1.0, 0.0];
/// What all of a run of `IQ1` are shifted by, up or down.
const IQ1_SHIFT: f32 = 0.125;

/// `d f16, (code [u8; 4], s u32)[8]`; 8 groups of 32.
///
/// Bits 28..32 of s: scale; below them, seven bits of signs for each run of eight.
pub(super) fn iq2_xxs(bytes: &[u8], out: &mut [f32]) {
    each_block::<66, 256>(bytes, out, |block, out| {
        let d = f16_at(block, 0);
        for (g, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let codes: &[u8; 4] = bytes_at(block, 2 + 8 * g);
            let s = u32::from_le_bytes(*bytes_at(block, 6 + 8 * g));
            let scale = d * (0.5 + (s >> 28) as f32) * 0.25;
            for (r, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                let point = grids::IQ2_XXS[usize::from(codes[r])];
                signed_eight(scale, point, even_signs((s >> (7 * r)) as u8), out);
            }
        }
    });
}

/// `d f16, q [u16; 32], s [u8; 8]`; 16 groups of 16.
///
/// Nine bits of code and seven of signs; nibbles of s are scales.
pub(super) fn iq2_xs(bytes: &[u8], out: &mut [f32]) {
    each_block::<74, 256>(bytes, out, |block, out| {
        let d = f16_at(block, 0);
        let s: &[u8; 8] = bytes_at(block, 66);
        for (r, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let q = u16::from_le_bytes(*bytes_at(block, 2 + 2 * r));
            let scale = d * (0.5 + f32::from(nibble(s, r / 2))) * 0.25;
            let point = grids::IQ2_XS[usize::from(q & 511)];
            signed_eight(scale, point, even_signs((q >> 9) as u8), out);
        }
    });
}

/// `d f16, q [u8; 32], signs [u8; 32], h [u8; 8], s [u8; 8]`; 16 groups of 16.
///
/// h: two more bits of each code; nibbles of s are scales.
pub(super) fn iq2_s(bytes: &[u8], out: &mut [f32]) {
    each_block::<82, 256>(bytes, out, |block, out| {
        let d = f16_at(block, 0);
        let q: &[u8; 32] = bytes_at(block, 2);
        let signs: &[u8; 32] = bytes_at(block, 34);
        let h: &[u8; 8] = bytes_at(block, 66);
        let s: &[u8; 8] = bytes_at(block, 74);
        for (r, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let scale = d * (0.5 + f32::from(nibble(s, r / 2))) * 0.25;
            let high = usize::from(h[r / 4] >> (r % 4 * 2) & 3);
            let point = grids::IQ2_S[usize::from(q[r]) | high << 8];
            signed_eight(scale, point, signs[r], out);
        }
    });
}

/// `d f16, q [u8; 64], s [u32; 8]`; 8 groups of 32.
///
/// s as in `IQ2_XXS`; two codes make a run of eight.
pub(super) fn iq3_xxs(bytes: &[u8], out: &mut [f32]) {
    each_block::<98, 256>(bytes, out, |block, out| {
        let d = f16_at(block, 0);
        let q: &[u8; 64] = bytes_at(block, 2);
        for (r, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let s = u32::from_le_bytes(*bytes_at(block, 66 + r / 4 * 4));
            let scale = d * (0.5 + (s >> 28) as f32) * 0.5;
            let points = [2 * r, 2 * r + 1].map(|i| grids::IQ3_XXS[usize::from(q[i])]);
            let signs = even_signs((s >> (r % 4 * 7)) as u8);
            signed_fours(scale, &IQ3_XXS, points, signs, out);
        }
    });
}

/// `d f16, q [u8; 64], h [u8; 8], signs [u8; 32], s [u8; 4]`; 8 groups of 32.
///
/// h: one more bit of each code; nibbles of s are scales.
pub(super) fn iq3_s(bytes: &[u8], out: &mut [f32]) {
    each_block::<110, 256>(bytes, out, |block, out| {
        let d = f16_at(block, 0);
        let q: &[u8; 64] = bytes_at(block, 2);
        let h: &[u8; 8] = bytes_at(block, 66);
        let signs: &[u8; 32] = bytes_at(block, 74);
        let s: &[u8; 4] = bytes_at(block, 106);
        for (r, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let scale = d * f32::from(1 + 2 * nibble(s, r / 4));
            let points = [2 * r, 2 * r + 1].map(|i| {
                let high = usize::from(h[i / 8] >> (i % 8) & 1);
                grids::IQ3_S[usize::from(q[i]) | high << 8]
            });
            signed_fours(scale, &IQ3_S, points, signs[r], out);
        }
    });
}

/// `d f16, q [u8; 32], h [u16; 8]`; 8 groups of 32.
///
/// h: three more bits of each of four codes, three bits of scale, and the
/// direction of the shift.
pub(super) fn iq1_s(bytes: &[u8], out: &mut [f32]) {
    each_block::<50, 256>(bytes, out, |block, out| {
        let d = f16_at(block, 0);
        let q: &[u8; 32] = bytes_at(block, 2);
        for (r, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let h = u16::from_le_bytes(*bytes_at(block, 34 + r / 4 * 2));
            let scale = d * f32::from(2 * (h >> 12 & 7) + 1);
            let code = usize::from(q[r]) | usize::from(h >> (r % 4 * 3) & 7) << 8;
            shifted_eight(scale, grids::IQ1[code], h & 0x8000 != 0, out);
        }
    });
}

/// `q [u8; 32], h [u8; 16], s [u16; 4]`; 16 groups of 16.
///
/// Nibbles of h: three more bits of each code, and the direction of the shift.
/// s: four scales of three bits each, and on top a nibble of d, the lowest first.
pub(super) fn iq1_m(bytes: &[u8], out: &mut [f32]) {
    each_block::<56, 256>(bytes, out, |block, out| {
        let q: &[u8; 32] = bytes_at(block, 0);
        let h: &[u8; 16] = bytes_at(block, 32);
        let s: [u16; 4] = std::array::from_fn(|i| u16::from_le_bytes(*bytes_at(block, 48 + 2 * i)));
        let d = s.iter().rev().fold(0, |d, s| d << 4 | s >> 12);
        let d = half::f16::from_bits(d).to_f32();
        for (r, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let group = r / 2;
            let scale = d * f32::from(2 * (s[group / 4] >> (group % 4 * 3) & 7) + 1);
            let h = nibble(h, r);
            let code = usize::from(q[r]) | usize::from(h & 7) << 8;
            shifted_eight(scale, grids::IQ1[code], h & 8 != 0, out);
        }
    });
}

/// Nibble `i`, low halves first.
fn nibble<const N: usize>(bytes: &[u8; N], i: usize) -> u8 {
    bytes[i / 2] >> (i % 2 * 4) & 15
}

/// Eight signs of which the file holds seven: their number is even.
fn even_signs(seven: u8) -> u8 {
    let seven = seven & 0x7f;
    seven | ((seven.count_ones() & 1) as u8) << 7
}

/// Minus one where bit `i` is set.
fn sign(signs: u8, i: usize) -> f32 {
    if signs >> i & 1 == 0 { 1.0 } else { -1.0 }
}

fn signed_eight(scale: f32, point: u16, signs: u8, out: &mut [f32; 8]) {
    for (i, out) in out.iter_mut().enumerate() {
        *out = scale * IQ2[usize::from(point >> (2 * i) & 3)] * sign(signs, i);
    }
}

fn signed_fours(scale: f32, levels: &[f32; 8], points: [u16; 2], signs: u8, out: &mut [f32; 8]) {
    for (i, out) in out.iter_mut().enumerate() {
        let level = usize::from(points[i / 4] >> (i % 4 * 4) & 7);
        *out = scale * levels[level] * sign(signs, i);
    }
}

fn shifted_eight(scale: f32, point: u16, down: bool, out: &mut [f32; 8]) {
    let shift = if down { -IQ1_SHIFT } else { IQ1_SHIFT };
    for (i, out) in out.iter_mut().enumerate() {
        *out = scale * (IQ1[usize::from(point >> (2 * i) & 3)] + shift);
    }
}
