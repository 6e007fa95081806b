//! Products of bf16 with `VDPBF16PS`, where it adds in our order.
//!
//! Owns the kernel and the comparison that a CPU must pass ([`agrees`]). Layouts are
//! `float`'s (tiles with `DOT`) and `activations`' ([`LineBf16`]).
//!
//! A lane of `VDPBF16PS` takes two products: `fma(low, low, fma(high, high, sum))`,
//! each rounded to nearest. The order of the module above has a chain over even `k`
//! and one over odd `k`; so pairs are made of neighbours in one chain, the earlier in
//! the high half, and two sums an output give the bits of fused multiply-adds with
//! half the instructions. That it flushes denormals does not matter: there are none
//! ([`crate::round_bf16`]).
//!
//! A pass takes up to six rows and two groups: 24 sums, two weight vectors, a
//! broadcast; results wait in the first cache while a tile is added up. With several
//! passes K is walked in panels, so that weights come from the first cache for all
//! rows but the first six, and activations from the second for all groups of a strip.

use super::activations::LineBf16;
use super::float::TileBf16;
use super::{Span, TILE_K, pass_of};
use crate::isa::Avx512Bf16;
use crate::simd::LANES;
use crate::work::Tally;
use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _MM_HINT_T0, _mm_prefetch, _mm512_add_ps, _mm512_dpbf16_ps,
    _mm512_loadu_ps, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_ps, _mm512_storeu_ps,
};
use std::cell::RefCell;
use std::mem::transmute;
use std::ops::Range;

/// Fours of `k` in a tile: a pair of even ones, a pair of odd ones, each a vector of
/// sixteen outputs and a cache line.
const FOURS: usize = TILE_K / 4;

/// Rows in a pass.
const MOST_ROWS: usize = 6;

/// Tiles of a group in a panel, where there are several passes: with two groups 16 KiB,
/// a third of the first cache. Also how many tiles ahead weights are fetched in one.
const PANEL: usize = 8;

/// Groups that sums are kept for while K is walked: with 256 rows, 128 KiB of sums and,
/// for a panel's depth, 128 KiB of activations stay in the second cache.
const STRIP_GROUPS: usize = 8;

thread_local! {
    /// `[groups, rows]`; kept so that steps do not allocate.
    static SUMS: RefCell<Vec<[f32; LANES]>> = const { RefCell::new(Vec::new()) };
}

/// Runs one task on tiles `[groups, k / 32]`.
pub(super) fn multiply(token: Avx512Bf16, span: &Span<'_>, tiles: &[TileBf16<true>]) {
    let (rows, depth) = (span.x.rows(), span.x.depth());
    // One pass waits for memory, which likes few streams; one row has registers and
    // latency to spare.
    let (strip, wide, steps) = match rows {
        1 => (4, 4, depth),
        2..=MOST_ROWS => (1, 1, depth),
        _ => (STRIP_GROUPS, 2, PANEL),
    };
    let at = |group: usize, step: usize| tiles.as_ptr().wrapping_add(group * depth + step);
    SUMS.with_borrow_mut(|sums| {
        for first in span.groups.clone().step_by(strip) {
            let strip = first..(first + strip).min(span.groups.end);
            let after = if strip.end < span.groups.end {
                strip.end
            } else {
                span.next
            };
            sums.clear();
            sums.resize(strip.len() * rows, [0.0; LANES]);
            for step in (0..depth).step_by(steps) {
                for group in strip.clone().step_by(wide) {
                    let groups = group..(group + wide).min(strip.end);
                    let panel = groups.len() * (depth - step).min(steps);
                    span.tally.read(panel * size_of::<TileBf16<true>>());
                    let ahead = if rows <= MOST_ROWS {
                        Ahead {
                            near: at(group, PANEL),
                            steps: depth.saturating_sub(PANEL),
                            far: at(after, 0),
                        }
                    } else {
                        let next = if groups.end < strip.end {
                            at(groups.end, step)
                        } else if step + steps < depth {
                            at(strip.start, step + steps)
                        } else {
                            at(after, 0)
                        };
                        Ahead {
                            near: next,
                            steps,
                            far: next,
                        }
                    };
                    let held = (group - strip.start) * rows..(groups.end - strip.start) * rows;
                    Panel {
                        x: span.x.paired_rows(),
                        rows,
                        steps: step..(step + steps).min(depth),
                        tiles: &tiles[group * depth..groups.end * depth],
                        stride: depth,
                        first: step,
                        ahead: Some(ahead),
                        tally: span.tally,
                    }
                    .add(token, &mut sums[held]);
                }
            }
            for (group, sums) in strip.zip(sums.chunks_exact(rows)) {
                for (row, sums) in sums.iter().enumerate() {
                    span.store(row, group, sums);
                }
            }
        }
    });
}

/// Adds a part of K to `sums`, `[groups, rows]`: `tiles` are those of `steps` of each
/// group of the span.
pub(super) fn add(
    token: Avx512Bf16,
    span: &Span<'_>,
    tiles: &[TileBf16<true>],
    steps: Range<usize>,
    sums: &mut [[f32; LANES]],
) {
    Panel {
        x: span.x.paired_rows(),
        rows: span.x.rows(),
        stride: steps.len(),
        first: 0,
        steps,
        tiles,
        ahead: None,
        tally: span.tally,
    }
    .add(token, sums);
}

/// Some groups of outputs and some steps of K, for all rows.
struct Panel<'a> {
    /// `[k / 32, rows]`.
    x: &'a [LineBf16],
    rows: usize,
    /// Steps of K.
    steps: Range<usize>,
    /// `[groups, stride]`.
    tiles: &'a [TileBf16<true>],
    stride: usize,
    /// The tile of the first step.
    first: usize,
    /// What is fetched meanwhile.
    ahead: Option<Ahead>,
    tally: &'a Tally,
}

/// For each tile of a panel another that is fetched: `near` is the first group's at the
/// first of so many steps, `far` at the one after them. Neither need exist.
struct Ahead {
    near: *const TileBf16<true>,
    steps: usize,
    far: *const TileBf16<true>,
}

impl Panel<'_> {
    /// Adds the products to `sums`, `[groups, rows]`.
    fn add(&self, token: Avx512Bf16, sums: &mut [[f32; LANES]]) {
        let groups = self.tiles.len() / self.stride;
        let mut group = 0;
        while group < groups {
            let left = groups - group;
            if self.rows == 1 && left >= 4 {
                let fetch = if self.ahead.is_some() { 0..FOURS } else { 0..0 };
                // SAFETY: the token proves AVX-512 F and BF16.
                unsafe { self.block::<1, 4>((group, 0), fetch, sums) };
                group += 4;
            } else if left >= 2 {
                self.passes::<2>(token, group, sums);
                group += 2;
            } else {
                self.passes::<1>(token, group, sums);
                group += 1;
            }
        }
    }

    /// All rows, for `NR` groups from `group`.
    fn passes<const NR: usize>(&self, _: Avx512Bf16, group: usize, sums: &mut [[f32; LANES]]) {
        let passes = self.rows.div_ceil(MOST_ROWS);
        let (mut row, mut pass) = (0, 0);
        while row < self.rows {
            let left = self.rows - row;
            let take = pass_of(left, MOST_ROWS);
            // A pass's share of each tile that is fetched.
            let fetch = match self.ahead {
                Some(_) => pass * FOURS / passes..(pass + 1) * FOURS / passes,
                None => 0..0,
            };
            let at = (group, row);
            // SAFETY: the token proves AVX-512 F and BF16.
            unsafe {
                match take {
                    6.. => self.block::<6, NR>(at, fetch, sums),
                    5 => self.block::<5, NR>(at, fetch, sums),
                    4 => self.block::<4, NR>(at, fetch, sums),
                    3 => self.block::<3, NR>(at, fetch, sums),
                    2 => self.block::<2, NR>(at, fetch, sums),
                    _ => self.block::<1, NR>(at, fetch, sums),
                }
            }
            row += take;
            pass += 1;
        }
    }

    /// `MR` rows from `row` times `NR` groups from `group`.
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn block<const MR: usize, const NR: usize>(
        &self,
        (group, row): (usize, usize),
        fetch: Range<usize>,
        sums: &mut [[f32; LANES]],
    ) {
        let steps = self.steps.len();
        self.tally.multiply(MR * NR * steps);
        let mut w: [&[TileBf16<true>]; NR] = [&[]; NR];
        for n in 0..NR {
            w[n] = &self.tiles[(group + n) * self.stride + self.first..][..steps];
        }
        let zero = _mm512_setzero_ps();
        let mut c = [[zero; NR]; MR];
        for n in 0..NR {
            let sums = &sums[(group + n) * self.rows + row..][..MR];
            for m in 0..MR {
                c[m][n] = load_sums(&sums[m]);
            }
        }
        for t in 0..steps {
            // Where the tiles lie that are fetched meanwhile.
            let mut ahead = [std::ptr::null::<[u16; 2 * LANES]>(); NR];
            if let Some(fetched) = &self.ahead {
                for n in 0..NR {
                    let tile = (group + n) * self.stride + t;
                    ahead[n] = if t < fetched.steps {
                        fetched.near.wrapping_add(tile).cast()
                    } else {
                        fetched.far.wrapping_add(tile - fetched.steps).cast()
                    };
                }
            }
            let x = &self.x[(self.steps.start + t) * self.rows + row..][..MR];
            let mut even = [[zero; NR]; MR];
            let mut odd = [[zero; NR]; MR];
            for four in 0..FOURS {
                if fetch.contains(&four) {
                    for n in 0..NR {
                        let line = ahead[n].wrapping_add(2 * four);
                        _mm_prefetch::<_MM_HINT_T0>(line.cast());
                        _mm_prefetch::<_MM_HINT_T0>(line.wrapping_add(1).cast());
                    }
                }
                let mut weights = [no_pairs(); NR];
                for n in 0..NR {
                    weights[n] = pairs(&w[n][t].0[2 * four]);
                }
                for m in 0..MR {
                    let a = broadcast(&x[m], 2 * four);
                    for n in 0..NR {
                        even[m][n] = _mm512_dpbf16_ps(even[m][n], a, weights[n]);
                    }
                }
                for n in 0..NR {
                    weights[n] = pairs(&w[n][t].0[2 * four + 1]);
                }
                for m in 0..MR {
                    let a = broadcast(&x[m], 2 * four + 1);
                    for n in 0..NR {
                        odd[m][n] = _mm512_dpbf16_ps(odd[m][n], a, weights[n]);
                    }
                }
            }
            for m in 0..MR {
                for n in 0..NR {
                    let tile = _mm512_add_ps(even[m][n], odd[m][n]);
                    c[m][n] = _mm512_add_ps(c[m][n], tile);
                }
            }
        }
        for n in 0..NR {
            let sums = &mut sums[(group + n) * self.rows + row..][..MR];
            for m in 0..MR {
                // SAFETY: sixteen floats are written to sixteen.
                unsafe { _mm512_storeu_ps(sums[m].as_mut_ptr(), c[m][n]) };
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_sums(sums: &[f32; LANES]) -> __m512 {
    // SAFETY: sixteen floats are read from sixteen.
    unsafe { _mm512_loadu_ps(sums.as_ptr()) }
}

/// Zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn no_pairs() -> __m512bh {
    // SAFETY: any bits are pairs of bf16.
    unsafe { transmute::<__m512i, __m512bh>(_mm512_set1_epi32(0)) }
}

/// Pairs of sixteen outputs.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn pairs(pairs: &[u16; 2 * LANES]) -> __m512bh {
    // SAFETY: 64 bytes are read from 64, and any bits are pairs of bf16.
    unsafe { transmute::<__m512i, __m512bh>(_mm512_loadu_si512(pairs.as_ptr().cast())) }
}

/// A pair of activations in every lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn broadcast(line: &LineBf16, pair: usize) -> __m512bh {
    let bits = i32::from(line.0[2 * pair]) | i32::from(line.0[2 * pair + 1]) << 16;
    // SAFETY: any bits are pairs of bf16.
    unsafe { transmute::<__m512i, __m512bh>(_mm512_set1_epi32(bits)) }
}

/// Whether `VDPBF16PS` does here what this module says that it does, tried on a
/// thousand lanes whose sums round and cancel.
///
/// # Safety
/// The CPU has AVX-512 F, BF16 and FMA.
#[target_feature(enable = "avx512f,avx512bf16,fma")]
pub(crate) fn agrees() -> bool {
    agrees_with(|sums, a, b| {
        let sums = _mm512_dpbf16_ps(load_sums(sums), pairs(a), pairs(b));
        let mut got = [0.0; LANES];
        // SAFETY: sixteen floats are written to sixteen.
        unsafe { _mm512_storeu_ps(got.as_mut_ptr(), sums) };
        got
    })
}

/// Whether `multiply` adds pairs as this module says: the sums, then each lane's pair
/// of both sides.
fn agrees_with(
    multiply: impl Fn(&[f32; LANES], &[u16; 2 * LANES], &[u16; 2 * LANES]) -> [f32; LANES],
) -> bool {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    // Of magnitudes from 2^-8 to 2^8.
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let random = (state >> 32) as u32;
        let exponent = 119 + (random >> 8) % 17;
        f32::from_bits(random & 0x8000_0000 | exponent << 23 | random & 0x7f_ffff)
    };
    for _ in 0..64 {
        let (mut a, mut b) = ([0_u16; 2 * LANES], [0_u16; 2 * LANES]);
        let (mut start, mut want) = ([0.0; LANES], [0.0; LANES]);
        for lane in 0..LANES {
            for at in [2 * lane, 2 * lane + 1] {
                a[at] = (next().to_bits() >> 16) as u16;
                b[at] = (next().to_bits() >> 16) as u16;
            }
            let product = |at: usize, sum: f32| {
                let [a, b] = [a[at], b[at]].map(crate::bf16_to_f32);
                a.mul_add(b, sum)
            };
            // Half of the sums cancel the first product but for its last bits.
            start[lane] = next();
            if lane % 2 == 0 {
                start[lane] = -product(2 * lane + 1, start[lane] / 65536.0);
            }
            want[lane] = product(2 * lane, product(2 * lane + 1, start[lane]));
        }
        if multiply(&start, &a, &b).map(f32::to_bits) != want.map(f32::to_bits) {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests;
