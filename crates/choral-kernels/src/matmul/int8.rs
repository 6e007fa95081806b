//! Products of quantised weights with int8 activations.
//!
//! Owns the int8 order of accumulation ([`reference_int8`]) and its kernel, which
//! unpacks codes in registers on their way from memory: whatever M is, weights
//! are read as they lie. Layouts are `quant`'s, activations `activations`'.
//!
//! A pass takes up to six rows and two groups of outputs over all of K: twelve
//! integer sums, twelve results, and each weight vector used six times.

use super::activations::BlockInfo;
use super::quant::{Layout, Meaning, Packed, Scales as _, Vector};
use super::{Span, TILE_K};
use crate::isa::Int8Kernel;
use crate::simd::{BYTES, Int8, LANES, Simd};
use std::array::from_fn;

/// How many bytes ahead codes are fetched where one pass takes all rows: far enough
/// to hide the way to memory when one row is all there is to compute.
const AHEAD: usize = 4096;

/// What a pass fetches while it computes: with one pass, what comes next in it; with
/// several, its share of the next groups, which then wait in the second-level cache.
#[derive(Clone, Copy)]
struct Fetch {
    /// The groups that come after those of the pass.
    next: usize,
    /// How many parts ahead; the whole depth is the next groups.
    ahead: usize,
    /// Fetches every `every`-th part of the groups in turn, from the `first` on.
    every: usize,
    first: usize,
}

/// One task: some groups of outputs, for all rows.
pub(super) struct Int8Multiply<'a, L: Layout> {
    pub(super) span: &'a Span<'a>,
    pub(super) packed: &'a Packed<L::Codes, L::Scales>,
}

impl<L: Layout> Int8Kernel for Int8Multiply<'_, L> {
    #[inline(always)]
    fn run<I: Int8>(self, int8: I) {
        let rows = self.span.x.rows();
        let mut group = self.span.groups.start;
        self.span.tally.read(
            self.packed
                .bytes_of(self.span.groups.len(), self.packed.depth),
        );
        while group < self.span.groups.end {
            let left = self.span.groups.end - group;
            if const { I::MAX_ROWS >= 6 } {
                if rows == 1 && left >= 4 {
                    let fetch = self.fetch_within(group + 4);
                    self.block::<I, 1, 4>(int8, (group, 0), fetch);
                    group += 4;
                } else if left >= 2 {
                    self.rows::<I, 2>(int8, group);
                    group += 2;
                } else {
                    self.rows::<I, 1>(int8, group);
                    group += 1;
                }
            } else {
                self.rows::<I, 1>(int8, group);
                group += 1;
            }
        }
    }
}

impl<L: Layout> Int8Multiply<'_, L> {
    /// Rows in a pass. Two scales a part need registers of their own.
    const fn most_rows<I: Int8>() -> usize {
        if L::HALVES && I::MAX_ROWS > 4 {
            4
        } else {
            I::MAX_ROWS
        }
    }

    /// What a single pass fetches whose groups end at `end`.
    fn fetch_within(&self, end: usize) -> Fetch {
        Fetch {
            next: if end < self.span.groups.end {
                end
            } else {
                self.span.next
            },
            ahead: (AHEAD / size_of::<L::Codes>()).min(self.packed.depth),
            every: 1,
            first: 0,
        }
    }

    /// All rows, for `NR` groups from `group`.
    #[inline(always)]
    fn rows<I: Int8, const NR: usize>(&self, int8: I, group: usize) {
        let rows = self.span.x.rows();
        let most = Self::most_rows::<I>();
        let passes = rows.div_ceil(most);
        let mut fetch = self.fetch_within(group + NR);
        if passes > 1 {
            fetch.ahead = self.packed.depth;
            fetch.every = passes;
        }
        let mut row = 0;
        while row < rows {
            let left = rows - row;
            // The last passes share what is left evenly: 7 is 4 + 3, not 6 + 1.
            let take = if left > most && left < 2 * most {
                left.div_ceil(2)
            } else {
                left.min(most)
            };
            if const { Self::most_rows::<I>() >= 6 } && take >= 5 {
                match take {
                    6.. => self.block::<I, 6, NR>(int8, (group, row), fetch),
                    _ => self.block::<I, 5, NR>(int8, (group, row), fetch),
                }
            } else if const { I::MAX_ROWS >= 4 } && take >= 3 {
                match take {
                    4.. => self.block::<I, 4, NR>(int8, (group, row), fetch),
                    _ => self.block::<I, 3, NR>(int8, (group, row), fetch),
                }
            } else if const { I::MAX_ROWS >= 2 } && take == 2 {
                self.block::<I, 2, NR>(int8, (group, row), fetch);
            } else {
                self.block::<I, 1, NR>(int8, (group, row), fetch);
            }
            row += take;
            fetch.first += 1;
        }
    }

    /// `MR` rows from `row` times `NR` groups from `group`, over all of K.
    #[inline(always)]
    fn block<I: Int8, const MR: usize, const NR: usize>(
        &self,
        int8: I,
        (group, row): (usize, usize),
        fetch: Fetch,
    ) {
        let f = int8.float();
        let depth = self.packed.depth;
        let supers = depth / L::PARTS;
        self.span.tally.multiply(MR * NR * depth);
        let x: [(&[[i8; TILE_K]], &[BlockInfo]); MR] = from_fn(|m| {
            let (codes, infos) = self.span.x.int8_row(row + m);
            (&codes[..depth], &infos[..depth])
        });
        let codes: [&[L::Codes]; NR] =
            from_fn(|n| &self.packed.codes[(group + n) * depth..][..depth]);
        let scales: [&[L::Scales]; NR] =
            from_fn(|n| &self.packed.scales[(group + n) * supers..][..supers]);
        let mut c = [[f.splat(0.0); NR]; MR];
        let mut until_fetch = fetch.first + 1;
        for t in 0..depth {
            // Where the part lies that is `fetch.ahead` parts on.
            let (first, t_ahead) = if t + fetch.ahead < depth {
                (group, t + fetch.ahead)
            } else {
                (fetch.next, (t + fetch.ahead).saturating_sub(depth))
            };
            for n in 0..NR {
                until_fetch -= 1;
                if until_fetch == 0 {
                    until_fetch = fetch.every;
                    let codes = self.packed.codes.as_ptr();
                    prefetch(f, codes.wrapping_add((first + n) * depth + t_ahead));
                }
                if L::PARTS == 1 || t % L::PARTS == 0 {
                    let scales = self.packed.scales.as_ptr();
                    let at = (first + n) * supers + t_ahead / L::PARTS;
                    prefetch(f, scales.wrapping_add(at));
                }
            }
            let part = Part::<L, MR, NR> {
                x: from_fn(|m| &x[m].0[t]),
                infos: from_fn(|m| &x[m].1[t]),
                codes: from_fn(|n| &codes[n][t]),
                scales: from_fn(|n| &scales[n][t / L::PARTS]),
                place: t % L::PARTS,
            };
            let mut sums = part.start(int8, 0);
            part.step::<I, 0>(int8, &mut sums);
            part.step::<I, 1>(int8, &mut sums);
            part.step::<I, 2>(int8, &mut sums);
            part.step::<I, 3>(int8, &mut sums);
            if const { L::HALVES } {
                part.add(int8, &sums, 0, &mut c);
                sums = part.start(int8, 1);
            }
            part.step::<I, 4>(int8, &mut sums);
            part.step::<I, 5>(int8, &mut sums);
            part.step::<I, 6>(int8, &mut sums);
            part.step::<I, 7>(int8, &mut sums);
            part.add(int8, &sums, usize::from(L::HALVES), &mut c);
        }
        for (m, c) in c.into_iter().enumerate() {
            for (n, c) in c.into_iter().enumerate() {
                let mut values = [0.0; LANES];
                f.store(c, &mut values);
                self.span.store(row + m, group + n, &values);
            }
        }
    }
}

/// Fetches all lines of a value that need not exist.
#[inline(always)]
fn prefetch<S: Simd, T>(simd: S, value: *const T) {
    let mut line = 0;
    while line < size_of::<T>() {
        simd.prefetch(value.wrapping_byte_add(line));
        line += BYTES;
    }
}

/// 32 `k` of `MR` rows and `NR` groups.
struct Part<'a, L: Layout, const MR: usize, const NR: usize> {
    x: [&'a [i8; TILE_K]; MR],
    infos: [&'a BlockInfo; MR],
    codes: [&'a L::Codes; NR],
    scales: [&'a L::Scales; NR],
    /// Which part of the scales' block this is.
    place: usize,
}

impl<L: Layout, const MR: usize, const NR: usize> Part<'_, L, MR, NR> {
    /// What the integer sums of half `half` (or of the whole) start from.
    #[inline(always)]
    fn start<I: Int8>(&self, int8: I, half: usize) -> [[I::I; NR]; MR] {
        let mut sums = [[int8.splat(0); NR]; MR];
        for m in 0..MR {
            let minus_sum = if L::HALVES {
                self.infos[m].minus_half_sums[half]
            } else {
                self.infos[m].minus_sum
            };
            let start = match L::MEANING {
                Meaning::Offset(power) => int8.splat(minus_sum << power),
                Meaning::Plain => int8.splat(0),
                Meaning::SignedByte | Meaning::Table(_) => int8.signed_start(minus_sum),
            };
            sums[m] = [start; NR];
        }
        sums
    }

    /// Adds vector `J`: four `k`.
    #[inline(always)]
    fn step<I: Int8, const J: usize>(&self, int8: I, sums: &mut [[I::I; NR]; MR]) {
        // Loops, not closures: a closure that the compiler chooses not to inline has
        // none of the instruction set's features, and is a hundred times slower.
        let mut w = [int8.zero(); NR];
        for n in 0..NR {
            w[n] = L::integers::<I, J>(int8, self.codes[n]);
            if const { L::MEANING.is_signed() } {
                w[n] = int8.signed(w[n]);
            }
        }
        for m in 0..MR {
            let a = int8.activations(&self.x[m].as_chunks::<4>().0[J]);
            for n in 0..NR {
                sums[m][n] = if const { L::MEANING.is_signed() } {
                    int8.dot_signed(sums[m][n], w[n], a)
                } else {
                    int8.dot_small(sums[m][n], w[n], a)
                };
            }
        }
    }

    /// Adds the scaled sums of half `half` (or of the whole) to the results.
    #[inline(always)]
    fn add<I: Int8>(
        &self,
        int8: I,
        sums: &[[I::I; NR]; MR],
        half: usize,
        c: &mut [[Vector<I>; NR]; MR],
    ) {
        let f = int8.float();
        for n in 0..NR {
            let scale = self.scales[n].scale(int8, self.place, half);
            let minimum = self.scales[n].minimum(int8, self.place, half);
            for m in 0..MR {
                let info = self.infos[m];
                let product = int8.to_float(sums[m][n]);
                let scaled = if L::MINIMA {
                    let sum = if L::HALVES {
                        info.half_sums[half]
                    } else {
                        info.sum
                    };
                    f.fma(product, scale, f.mul(minimum, f.splat(sum)))
                } else {
                    f.mul(product, scale)
                };
                c[m][n] = f.fma(scaled, f.splat(info.scale), c[m][n]);
            }
        }
    }
}

/// Up to 32 weights of one row under one scale, for [`reference_int8`].
#[derive(Debug, Clone, PartialEq)]
pub struct IntegerBlock {
    /// The integers: 16 or 32 of them.
    pub integers: Vec<i32>,
    /// The scale.
    pub scale: f32,
    /// The minimum, if the format has one.
    pub minimum: Option<f32>,
}

/// The int8 order of accumulation, said plainly: one output of a row `x` (`[k]`)
/// and a weight row in blocks of 16 or 32.
///
/// Activations become codes in blocks of 32: `code = round(x * (127 / a))`, ties to
/// even, with `a` their largest magnitude and `a / 127` their scale (a block below
/// 1e-36 is zero). For each block of weights the products of integers and codes
/// are added exactly; times the weights' scale (plus minimum times the sum of
/// the codes: a fused multiply-add), that is multiplied with the activations'
/// scale and added to the result: a fused multiply-add again.
#[must_use]
pub fn reference_int8(x: &[f32], weights: &[IntegerBlock]) -> f32 {
    let mut codes = Vec::with_capacity(x.len());
    let mut scales = Vec::new();
    for block in x.chunks(TILE_K) {
        let largest = block.iter().fold(0.0_f32, |a, x| a.max(x.abs()));
        let inverse = if largest < 1e-36 {
            0.0
        } else {
            127.0 / largest
        };
        scales.push(largest / 127.0);
        codes.extend(block.iter().map(|x| (x * inverse).round_ties_even() as i32));
    }
    let (mut c, mut k) = (0.0_f32, 0);
    for block in weights {
        let codes = &codes[k..k + block.integers.len()];
        let product: i32 = codes.iter().zip(&block.integers).map(|(a, w)| a * w).sum();
        let sum: i32 = codes.iter().sum();
        let scaled = match block.minimum {
            None => product as f32 * block.scale,
            Some(minimum) => (product as f32).mul_add(block.scale, minimum * sum as f32),
        };
        c = scaled.mul_add(scales[k / TILE_K], c);
        k += block.integers.len();
    }
    c
}
