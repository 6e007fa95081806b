//! Products of quantised weights with int8 activations.
//!
//! Owns the int8 order of accumulation ([`reference_int8`]) and its kernel, which
//! unpacks codes in registers on their way from memory: whatever M is, weights
//! are read as they lie. Layouts are `quant`'s, activations `activations`'.
//!
//! A pass takes up to six rows and two groups of outputs: twelve integer sums, twelve
//! results, and each weight vector used six times. One pass walks all of K; where there
//! are several, K is walked in panels, results wait in memory, and weights come from the
//! first cache for all rows but the first six.

mod reference;

pub use reference::{IntegerBlock, reference_int8};

use super::activations::LineInt8;
use super::quant::{Layout, Meaning, Packed, Scales as _, Vector};
use super::{Span, pass_of};
use crate::isa::Int8Kernel;
use crate::simd::{BYTES, Int8, LANES, Simd};
use std::array::from_fn;
use std::cell::Cell;
use std::mem::offset_of;
use std::ops::Range;

/// How many bytes ahead codes are fetched where one pass takes all rows: far enough
/// to hide the way to memory when one row is all there is to compute.
const AHEAD: usize = 4096;

/// Groups and rows that sums are kept for while K is walked panel by panel: 64 KiB. A
/// panel's activations of as many rows, 256 KiB, stay in the second cache with them,
/// and the groups' weights, for the rows after these.
const STRIP_GROUPS: usize = 8;
const STRIP_ROWS: usize = 128;

thread_local! {
    /// `[STRIP_GROUPS, rows]`; kept so that steps do not allocate.
    static SUMS: Cell<Vec<[f32; LANES]>> = const { Cell::new(Vec::new()) };
}

/// What a pass fetches while it computes: for its part `t` of group `n` the part
/// `near + n * depth + t`, from part `steps` on `far + n * depth + t - steps`. None
/// need exist.
#[derive(Clone, Copy)]
struct Fetch {
    near: usize,
    steps: usize,
    far: usize,
    /// Which lines of each part; what is past its codes stands for its scales.
    first: usize,
    end: usize,
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
        let groups = self.span.groups.clone();
        let most_wide = if I::MAX_ROWS >= 6 { 2 } else { 1 };
        // One pass waits for memory, and one row has registers to spare.
        let (strip, block, wide) = match rows {
            1 if I::MAX_ROWS >= 6 => (4, 1, 4),
            _ if rows <= Self::most_rows::<I>() => (most_wide, rows, most_wide),
            _ => {
                let blocks = rows.div_ceil(STRIP_ROWS);
                (STRIP_GROUPS, rows.div_ceil(blocks), most_wide)
            }
        };
        let mut sums = SUMS.take();
        if rows > Self::most_rows::<I>() {
            sums.resize(STRIP_GROUPS * STRIP_ROWS, [0.0; LANES]);
        }
        let mut first = groups.start;
        while first < groups.end {
            let end = (first + strip).min(groups.end);
            let after = if end < groups.end {
                end
            } else {
                self.span.next
            };
            let mut row = 0;
            while row < rows {
                let mut strip = Strip {
                    task: &self,
                    groups: first..end,
                    rows: row..(row + block).min(rows),
                    after: if row + block < rows { first } else { after },
                    sums: &mut sums,
                };
                strip.multiply(int8, wide);
                row += block;
            }
            first = end;
        }
        SUMS.set(sums);
    }
}

impl<L: Layout> Int8Multiply<'_, L> {
    /// Parts of 32 in a panel: those of two groups are 17 KiB at most, a third of the
    /// first cache.
    const PANEL: usize = if size_of::<L::Codes>() > 256 { 16 } else { 32 };

    /// Cache lines of a part's codes.
    const LINES: usize = size_of::<L::Codes>().div_ceil(BYTES);

    /// Rows in a pass. Two scales a part need registers of their own.
    const fn most_rows<I: Int8>() -> usize {
        if L::HALVES && I::MAX_ROWS > 4 {
            4
        } else {
            I::MAX_ROWS
        }
    }
}

/// Some groups for some rows, over all of K.
struct Strip<'a, L: Layout> {
    task: &'a Int8Multiply<'a, L>,
    groups: Range<usize>,
    rows: Range<usize>,
    /// The group that comes next; it need not exist.
    after: usize,
    /// `[groups, rows]`: what the panels so far gave.
    sums: &'a mut [[f32; LANES]],
}

impl<L: Layout> Strip<'_, L> {
    /// Takes up to `wide` groups at a time.
    #[inline(always)]
    fn multiply<I: Int8>(&mut self, int8: I, wide: usize) {
        let Int8Multiply { span, packed } = *self.task;
        let depth = packed.depth;
        // Several passes walk K in panels: all but the first find the weights in the
        // first cache.
        let once = self.rows.len() <= Int8Multiply::<L>::most_rows::<I>();
        let panel = if once {
            depth
        } else {
            Int8Multiply::<L>::PANEL
        };
        let mut part = 0;
        while part < depth {
            let parts = part..(part + panel).min(depth);
            let mut group = self.groups.start;
            while group < self.groups.end {
                let end = (group + wide).min(self.groups.end);
                if self.rows.start == 0 {
                    // Later rows find them in the second cache.
                    let bytes = packed.bytes_of(end - group, parts.len());
                    span.tally.read(bytes);
                }
                let fetch = if once {
                    self.fetch_within(group)
                } else {
                    self.fetch_after(end, &parts)
                };
                if const { I::MAX_ROWS >= 6 } {
                    if wide == 4 && end - group == 4 {
                        self.block::<I, 1, 4>(int8, (group, 0), &parts, fetch);
                        group += 4;
                    }
                    while group + 2 <= end {
                        self.passes::<I, 2>(int8, group, &parts, fetch);
                        group += 2;
                    }
                }
                while group < end {
                    self.passes::<I, 1>(int8, group, &parts, fetch);
                    group += 1;
                }
            }
            part = parts.end;
        }
    }

    /// What a single pass over all of K fetches, with groups from `group` on.
    fn fetch_within(&self, group: usize) -> Fetch {
        let depth = self.task.packed.depth;
        let ahead = (AHEAD / size_of::<L::Codes>()).min(depth);
        Fetch {
            near: group * depth + ahead,
            steps: depth - ahead,
            far: self.after * depth,
            first: 0,
            end: Int8Multiply::<L>::LINES + 1,
        }
    }

    /// What the passes over a panel, of groups up to `end`, fetch: the next panel.
    fn fetch_after(&self, end: usize, parts: &Range<usize>) -> Fetch {
        let depth = self.task.packed.depth;
        let far = if end < self.groups.end {
            end * depth + parts.start
        } else if parts.end < depth {
            self.groups.start * depth + parts.end
        } else {
            self.after * depth
        };
        Fetch {
            near: 0,
            steps: 0,
            far,
            first: 0,
            end: 0,
        }
    }

    /// All rows, for `NR` groups from `group` and some parts of K.
    #[inline(always)]
    fn passes<I: Int8, const NR: usize>(
        &mut self,
        int8: I,
        group: usize,
        parts: &Range<usize>,
        mut fetch: Fetch,
    ) {
        let rows = self.rows.len();
        let most = Int8Multiply::<L>::most_rows::<I>();
        let (passes, lines) = (rows.div_ceil(most), Int8Multiply::<L>::LINES + 1);
        let (mut row, mut pass) = (0, 0);
        while row < rows {
            let take = pass_of(rows - row, most);
            if passes > 1 {
                // Its share of each part's lines.
                fetch.first = pass * lines / passes;
                fetch.end = (pass + 1) * lines / passes;
            }
            let at = (group, self.rows.start + row);
            if const { Int8Multiply::<L>::most_rows::<I>() >= 6 } && take >= 5 {
                match take {
                    6.. => self.block::<I, 6, NR>(int8, at, parts, fetch),
                    _ => self.block::<I, 5, NR>(int8, at, parts, fetch),
                }
            } else if const { I::MAX_ROWS >= 4 } && take >= 3 {
                match take {
                    4.. => self.block::<I, 4, NR>(int8, at, parts, fetch),
                    _ => self.block::<I, 3, NR>(int8, at, parts, fetch),
                }
            } else if const { I::MAX_ROWS >= 2 } && take == 2 {
                self.block::<I, 2, NR>(int8, at, parts, fetch);
            } else {
                self.block::<I, 1, NR>(int8, at, parts, fetch);
            }
            row += take;
            pass += 1;
        }
    }

    /// `MR` rows from `row` times `NR` groups from `group`.
    #[inline(always)]
    fn block<I: Int8, const MR: usize, const NR: usize>(
        &mut self,
        int8: I,
        (group, row): (usize, usize),
        parts: &Range<usize>,
        fetch: Fetch,
    ) {
        let f = int8.float();
        let Int8Multiply { span, packed } = *self.task;
        let depth = packed.depth;
        let (first, steps) = (parts.start, parts.len());
        span.tally.multiply(MR * NR * steps);
        let rows = span.x.rows();
        let x = &span.x.int8_lines()[first * rows + row..];
        let codes: [&[L::Codes]; NR] =
            from_fn(|n| &packed.codes[(group + n) * depth + first..][..steps]);
        // Panels begin and end with whole blocks of scales.
        let scales: [&[L::Scales]; NR] = from_fn(|n| {
            &packed.scales[((group + n) * depth + first) / L::PARTS..][..steps / L::PARTS]
        });
        let held = self.rows.len();
        let sums = (group - self.groups.start) * held + row - self.rows.start;
        let mut c = [[f.splat(0.0); NR]; MR];
        if first > 0 {
            for n in 0..NR {
                let sums = &self.sums[sums + n * held..][..MR];
                for m in 0..MR {
                    c[m][n] = f.load(&sums[m]);
                }
            }
        }
        for (t, x) in x.chunks(rows).take(steps).enumerate() {
            let ahead = if t < fetch.steps {
                fetch.near + t
            } else {
                fetch.far + t - fetch.steps
            };
            for line in fetch.first..fetch.end {
                for n in 0..NR {
                    let ahead = ahead + n * depth;
                    if line < Int8Multiply::<L>::LINES {
                        let codes = packed.codes.as_ptr().wrapping_add(ahead);
                        f.prefetch(codes.wrapping_byte_add(line * BYTES));
                    } else if L::PARTS == 1 || t % L::PARTS == 0 {
                        let at = ahead / L::PARTS;
                        prefetch(f, packed.scales.as_ptr().wrapping_add(at));
                    }
                }
            }
            let part = Part::<L, MR, NR> {
                x: x.first_chunk().expect("a line for each row"),
                codes: from_fn(|n| &codes[n][t]),
                scales: from_fn(|n| &scales[n][t / L::PARTS]),
                place: t % L::PARTS,
            };
            let mut sums = if const { L::HALVES } {
                part.start::<I, 0>(int8)
            } else {
                part.start::<I, 2>(int8)
            };
            part.step::<I, 0>(int8, &mut sums);
            part.step::<I, 1>(int8, &mut sums);
            part.step::<I, 2>(int8, &mut sums);
            part.step::<I, 3>(int8, &mut sums);
            if const { L::HALVES } {
                part.add(int8, &sums, 0, &mut c);
                sums = part.start::<I, 1>(int8);
            }
            part.step::<I, 4>(int8, &mut sums);
            part.step::<I, 5>(int8, &mut sums);
            part.step::<I, 6>(int8, &mut sums);
            part.step::<I, 7>(int8, &mut sums);
            part.add(int8, &sums, usize::from(L::HALVES), &mut c);
        }
        if parts.end < depth {
            for n in 0..NR {
                let sums = &mut self.sums[sums + n * held..][..MR];
                for m in 0..MR {
                    f.store(c[m][n], &mut sums[m]);
                }
            }
            return;
        }
        for (m, c) in c.into_iter().enumerate() {
            for (n, c) in c.into_iter().enumerate() {
                let mut values = [0.0; LANES];
                f.store(c, &mut values);
                span.store(row + m, group + n, &values);
            }
        }
    }
}

// What is done for each row, with its number as a constant `M`.
macro_rules! each_row {
    ($m:ident of $mr:ident => $body:expr) => {
        each_row!(@ $m, $mr, $body; 0 1 2 3 4 5)
    };
    (@ $m:ident, $mr:ident, $body:expr; $($row:literal)*) => {{
        const { assert!($mr <= 6) };
        $(if $mr > $row {
            const $m: usize = $row;
            $body;
        })*
    }};
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
    x: &'a [LineInt8; MR],
    codes: [&'a L::Codes; NR],
    scales: [&'a L::Scales; NR],
    /// Which part of the scales' block this is.
    place: usize,
}

impl<L: Layout, const MR: usize, const NR: usize> Part<'_, L, MR, NR> {
    /// The lines of all rows.
    #[inline(always)]
    fn lines(&self) -> *const [u8; BYTES] {
        const { assert!(size_of::<LineInt8>() == BYTES) };
        self.x.as_ptr().cast()
    }

    /// What the integer sums of row `M` and half `HALF` (or the whole, if 2) start from.
    #[inline(always)]
    fn start_row<I: Int8, const M: usize, const HALF: usize>(&self, int8: I) -> [I::I; NR] {
        let power = match L::MEANING {
            Meaning::Offset(power) => Some(power),
            Meaning::Plain => None,
            Meaning::SignedByte | Meaning::Table(_) => I::SIGNED_START,
        };
        // Where a line has minus the sum of its codes, and of each half of them.
        const { assert!(offset_of!(LineInt8, info.minus_sum) == 12 * 4) };
        const { assert!(offset_of!(LineInt8, info.minus_half_sums) == 13 * 4) };
        let start = match power {
            None => int8.splat(0),
            // SAFETY: there are `MR` lines, more than `M`.
            Some(power) => unsafe {
                match HALF {
                    0 => int8.integer::<M, 13>(self.lines(), power),
                    1 => int8.integer::<M, 14>(self.lines(), power),
                    _ => int8.integer::<M, 12>(self.lines(), power),
                }
            },
        };
        [start; NR]
    }

    /// What the integer sums of half `HALF` (or the whole, if 2) start from.
    #[inline(always)]
    fn start<I: Int8, const HALF: usize>(&self, int8: I) -> [[I::I; NR]; MR] {
        let mut sums = [[int8.splat(0); NR]; MR];
        each_row!(M of MR => sums[M] = self.start_row::<I, M, HALF>(int8));
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
        each_row!(M of MR => {
            // SAFETY: there are `MR` lines, more than `M`.
            let a = unsafe { int8.activations::<M, J>(self.lines()) };
            for n in 0..NR {
                sums[M][n] = if const { L::MEANING.is_signed() } {
                    int8.dot_signed(sums[M][n], w[n], a)
                } else {
                    int8.dot_small(sums[M][n], w[n], a)
                };
            }
        });
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
                let info = &self.x[m].info;
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
