//! Cached numbers in memory: writing (rounding) and reading (widening) them.
//!
//! Knows tiles of lines of sixteen numbers and the scales that go with them, not
//! what they mean.

use super::kv_type::{GROUP, KvType};
use crate::bf16::round_bf16;
use crate::shared::{SharedSlice, zeroed};
use crate::simd::{LANES, Simd};
use half::f16;

/// How sixteen stored numbers become f32, exactly.
pub(super) trait Stored {
    /// One number's bits.
    type Bits: Copy;
    /// Whether lines have scales.
    const SCALED: bool = false;

    fn load<S: Simd>(simd: S, line: &[Self::Bits; LANES], scale: S::V) -> S::V;
}

pub(super) struct F32;
pub(super) struct F16;
pub(super) struct Bf16;
pub(super) struct Q8;

impl Stored for F32 {
    type Bits = f32;

    #[inline(always)]
    fn load<S: Simd>(simd: S, line: &[f32; LANES], _: S::V) -> S::V {
        simd.load(line)
    }
}

impl Stored for F16 {
    type Bits = u16;

    #[inline(always)]
    fn load<S: Simd>(simd: S, line: &[u16; LANES], _: S::V) -> S::V {
        simd.widen_f16(line)
    }
}

impl Stored for Bf16 {
    type Bits = u16;

    #[inline(always)]
    fn load<S: Simd>(simd: S, line: &[u16; LANES], _: S::V) -> S::V {
        simd.load_bf16(line)
    }
}

impl Stored for Q8 {
    type Bits = i8;
    const SCALED: bool = true;

    /// Exact too: the product of 8 bits and 11.
    #[inline(always)]
    fn load<S: Simd>(simd: S, line: &[i8; LANES], scale: S::V) -> S::V {
        simd.mul(simd.widen_i8(line), scale)
    }
}

/// Lines of numbers by type, in `L`, and of f16 scales, in `S`.
#[derive(Debug)]
pub(super) enum Numbers<F, H, I> {
    F32(F),
    F16(H),
    Bf16(H),
    Q8 { quants: I, scales: H },
}

/// Numbers that a side owns.
type Owned = Numbers<Vec<[f32; LANES]>, Vec<[u16; LANES]>, Vec<[i8; LANES]>>;

/// The same, for tasks that each write their own.
type Shared<'a> = Numbers<
    SharedSlice<'a, [f32; LANES]>,
    SharedSlice<'a, [u16; LANES]>,
    SharedSlice<'a, [i8; LANES]>,
>;

/// Keys, or values, of one layer.
///
/// A tile is what one head has in one block: `lines` lines of sixteen numbers; with
/// scales, also `groups` lines of sixteen scales, one for each position of the block.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) lines: usize,
    pub(super) groups: usize,
    pub(super) numbers: Owned,
}

impl Side {
    /// Zeros; `None` if there is not so much memory.
    pub(super) fn new(kind: KvType, tiles: usize, lines: usize, head_dim: usize) -> Option<Self> {
        let groups = head_dim.div_ceil(GROUP);
        let count = tiles.checked_mul(lines)?;
        let numbers = match kind {
            KvType::F32 => Numbers::F32(zeroed(count)?),
            KvType::F16 => Numbers::F16(zeroed(count)?),
            KvType::Bf16 => Numbers::Bf16(zeroed(count)?),
            KvType::Q8_0 => Numbers::Q8 {
                quants: zeroed(count)?,
                scales: zeroed(tiles.checked_mul(groups)?)?,
            },
        };
        Some(Self {
            lines,
            groups,
            numbers,
        })
    }

    /// Copies `count` tiles.
    pub(super) fn copy(&mut self, from: usize, to: usize, count: usize) {
        fn copy<T: Copy>(all: &mut [T], from: usize, to: usize, count: usize, each: usize) {
            all.copy_within(from * each..(from + count) * each, to * each);
        }
        let (lines, groups) = (self.lines, self.groups);
        match &mut self.numbers {
            Numbers::F32(all) => copy(all, from, to, count, lines),
            Numbers::F16(all) | Numbers::Bf16(all) => copy(all, from, to, count, lines),
            Numbers::Q8 { quants, scales } => {
                copy(quants, from, to, count, lines);
                copy(scales, from, to, count, groups);
            }
        }
    }

    /// For several tasks, each with tiles of its own.
    pub(super) fn shared(&mut self) -> SharedSide<'_> {
        SharedSide {
            lines: self.lines,
            groups: self.groups,
            numbers: match &mut self.numbers {
                Numbers::F32(all) => Numbers::F32(SharedSlice::new(all)),
                Numbers::F16(all) => Numbers::F16(SharedSlice::new(all)),
                Numbers::Bf16(all) => Numbers::Bf16(SharedSlice::new(all)),
                Numbers::Q8 { quants, scales } => Numbers::Q8 {
                    quants: SharedSlice::new(quants),
                    scales: SharedSlice::new(scales),
                },
            },
        }
    }
}

/// A [`Side`] that several tasks write to.
pub(super) struct SharedSide<'a> {
    lines: usize,
    groups: usize,
    numbers: Shared<'a>,
}

impl SharedSide<'_> {
    /// Writes what one position has in a tile: number `d` of `x` at
    /// `first + d * step`, and its scales at `slot` of theirs.
    ///
    /// # Safety
    /// No other task may touch the tile.
    pub(super) unsafe fn put(
        &self,
        tile: usize,
        slot: usize,
        (first, step): (usize, usize),
        x: &[f32],
    ) {
        fn place<T: Copy>(
            lines: &mut [[T; LANES]],
            (first, step): (usize, usize),
            x: &[f32],
            round: impl Fn(f32) -> T,
        ) {
            let places = lines.as_flattened_mut()[first..].iter_mut().step_by(step);
            for (place, &x) in places.zip(x) {
                *place = round(x);
            }
        }
        let (lines, at) = (self.lines, (first, step));
        // SAFETY: the caller's promise, for every slice below.
        unsafe {
            match &self.numbers {
                Numbers::F32(all) => place(all.range_mut(tile * lines, lines), at, x, |x| x),
                Numbers::Bf16(all) => {
                    place(all.range_mut(tile * lines, lines), at, x, round_bf16);
                }
                Numbers::F16(all) => {
                    let round = |x| f16::from_f32(x).to_bits();
                    place(all.range_mut(tile * lines, lines), at, x, round);
                }
                Numbers::Q8 { quants, scales } => {
                    let quants = quants.range_mut(tile * lines, lines);
                    let scales = scales.range_mut(tile * self.groups, self.groups);
                    for (g, (x, scale)) in x.chunks(GROUP).zip(scales).enumerate() {
                        let (stored, inverse) = scale_of(x);
                        scale[slot] = stored;
                        let at = (first + g * GROUP * step, step);
                        place(quants, at, x, |x| round_away(x * inverse));
                    }
                }
            }
        }
    }
}

/// The f16 scale of a group, and what its numbers are multiplied with: as ggml's
/// `quantize_row_q8_0_ref`. A group that is not finite gets the scale NaN, so that
/// it stays one.
fn scale_of(x: &[f32]) -> (u16, f32) {
    if !x.iter().all(|x| x.is_finite()) {
        return (f16::NAN.to_bits(), 0.0);
    }
    let largest = x.iter().fold(0.0_f32, |a, x| a.max(x.abs()));
    let scale = largest / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    (f16::from_f32(scale).to_bits(), inverse)
}

/// To the nearest integer, halves away from zero, kept within -127..=127.
#[inline]
fn round_away(x: f32) -> i8 {
    let whole = x as i32;
    // Exact: both are near each other.
    let rest = x - whole as f32;
    let up = i32::from(rest >= 0.5) - i32::from(rest <= -0.5);
    whole.saturating_add(up).clamp(-127, 127) as i8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_rounded_away_from_zero() {
        for (x, want) in [
            (0.5, 1),
            (-0.5, -1),
            (0.499_999_97, 0),
            (1.5, 2),
            (2.5, 3),
            (-2.5, -3),
            (126.5, 127),
            (127.0, 127),
            (f32::NAN, 0),
            (f32::INFINITY, 127),
        ] {
            assert_eq!(round_away(x), want, "{x}");
        }
        for i in -1_000_000..1_000_000 {
            let x = i as f32 / 7919.0;
            assert_eq!(f32::from(round_away(x)), x.round(), "{x}");
        }
    }

    #[test]
    fn a_group_is_quantised_as_ggml_does() {
        // amax 12.7: scale 0.1, whose nearest f16 is 0x2e66; the inverse is exact f32.
        let (scale, inverse) = scale_of(&[12.7, -6.35, 0.0, 1.0]);
        assert_eq!(scale, 0x2e66);
        assert_eq!(
            [12.7, -6.35, 0.0, 1.0, -12.7].map(|x| round_away(x * inverse)),
            [127, -64, 0, 10, -127]
        );
        assert_eq!(scale_of(&[0.0; 32]), (0, 0.0));
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(f16::from_bits(scale_of(&[1.0, bad]).0).is_nan());
        }
    }
}
