//! The left side of a product: rows of activations, in the forms that packed
//! weights take.
//!
//! Owns rounding to bf16 and quantising to int8. Knows nothing of weights beyond
//! the [`Input`] that they ask for.

use super::float::place;
use super::{Input, TILE_K};
use crate::Compute;
use crate::bf16::{bf16_to_f32, round_bf16};
use crate::isa::{Isa, Kernel};
use crate::shared::SharedSlice;
use crate::simd::{LANES, Simd};
use std::cell::RefCell;

thread_local! {
    /// A row before it is quantised; kept so that steps do not allocate.
    static ROW: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// The forms of activations that one product needs: most need one, a fused
/// matrix of differently stored parts may need two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Inputs {
    /// f32 or bf16; the finer one if both are asked for never happens: a matrix is
    /// of one numeric.
    pub(super) float: Option<Input>,
    pub(super) int8: bool,
}

impl Inputs {
    /// One form.
    #[must_use]
    pub fn one(input: Input) -> Self {
        Self::default().and(input)
    }

    /// These, and one more.
    ///
    /// # Panics
    /// If both f32 and bf16 are asked for: no numeric has both.
    #[must_use]
    pub fn and(mut self, input: Input) -> Self {
        match input {
            Input::Int8 => self.int8 = true,
            float => {
                assert!(
                    self.float.is_none_or(|f| f == float),
                    "f32 and bf16 activations for one matrix"
                );
                self.float = Some(float);
            }
        }
        self
    }

    /// The form in floating point, if one is among them.
    pub fn float(self) -> Option<Input> {
        self.float
    }

    /// Whether that form is among them.
    pub fn has(self, input: Input) -> bool {
        match input {
            Input::Int8 => self.int8,
            float => self.float == Some(float),
        }
    }
}

/// What products need to know about 32 activations in int8.
///
/// `scale` is the largest magnitude over 127 and `x` is about `scale * code`
/// (rounded to the nearest code, ties to even). A block with a value that is not
/// finite has a NaN scale and zero codes: its products are NaN.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(32))]
pub(super) struct BlockInfo {
    pub scale: f32,
    /// Sum of the codes, as a float (it is exact).
    pub sum: f32,
    /// Sums of codes 0..16 and 16..32.
    pub half_sums: [f32; 2],
    /// Minus the sums.
    pub minus_sum: i32,
    pub minus_half_sums: [i32; 2],
}

/// 32 activations in int8.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
pub(super) struct LineInt8 {
    pub codes: [i8; TILE_K],
    pub info: BlockInfo,
}

/// 32 activations in bf16: a row of an AMX tile, or pairs in the order of `bf16_dot`.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct LineBf16(pub(super) [u16; TILE_K]);

/// How rows in bf16 lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Lines {
    /// As f32, row by row.
    #[default]
    Rows,
    /// As [`LineBf16`] in AMX tiles: [`TiledRows`].
    Tiles,
    /// As [`LineBf16`] in the pairs of `bf16_dot`, `[k / 32, rows]`: what is multiplied
    /// with one tile of weights lies together.
    Pairs,
}

impl Lines {
    /// How an instruction set takes them.
    pub(super) fn of(isa: Isa) -> Self {
        match isa {
            Isa::Amx(_) => Self::Tiles,
            Isa::Avx512Bf16(_) => Self::Pairs,
            _ => Self::Rows,
        }
    }
}

/// Rows in bf16 as AMX tiles take them: `[tiles, k / 32, rows]`. Tiles have as many
/// rows as one another, at most 16; the last rows of the last may be zeros that pad.
#[derive(Debug, Clone, Copy)]
pub(super) struct TiledRows<'a> {
    pub lines: &'a [LineBf16],
    pub tiles: usize,
    pub rows: usize,
}

/// Tiles that `m` rows take, and rows in each.
fn tiles_of(m: usize) -> (usize, usize) {
    let tiles = m.div_ceil(LANES);
    (tiles, m.div_ceil(tiles.max(1)))
}

/// Activations `[m, k]` ready to be multiplied, each row padded with zeros to
/// whole tiles. Memory is kept from use to use.
#[derive(Debug, Default)]
pub struct Activations {
    inputs: Inputs,
    m: usize,
    k: usize,
    depth: usize,
    tiles: Vec<[f32; TILE_K]>,
    /// Instead of `tiles`, if bf16 was asked for and the instruction set multiplies it.
    lines: Vec<LineBf16>,
    order: Lines,
    /// `[k / 32, rows]`: what is multiplied with one tile of weights lies together,
    /// at fixed distances, so that a pass needs one pointer for all its rows.
    int8: Vec<LineInt8>,
}

impl Activations {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.m
    }

    /// Elements of a row.
    pub fn width(&self) -> usize {
        self.k
    }

    /// The forms that the last [`fill`](Self::fill) made.
    pub fn inputs(&self) -> Inputs {
        self.inputs
    }

    /// Tiles of 32 in a row.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// Makes room for `[m, k]` and fills row `r` with what `row(r, out)` leaves in
    /// `out` (`[k]`, contents unspecified before). Rows run in parallel, and `row`
    /// must not fill other activations.
    pub fn fill(
        &mut self,
        compute: &Compute,
        inputs: Inputs,
        (m, k): (usize, usize),
        row: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        let order = if inputs.has(Input::Bf16) {
            Lines::of(compute.isa())
        } else {
            Lines::Rows
        };
        self.reshape(inputs, order, (m, k));
        let (depth, tiled) = (self.depth, order != Lines::Rows);
        let (row_tiles, rows) = self.grid();
        let tiles = SharedSlice::new(&mut self.tiles);
        let lines = SharedSlice::new(&mut self.lines);
        let int8 = SharedSlice::new(&mut self.int8);
        let put = |r: usize, source: Option<&[[f32; TILE_K]]>| {
            compute.isa().run(PutRow {
                source,
                lines: &lines,
                first: r / rows * depth * rows + r % rows,
                step: rows,
                depth,
                pairs: order == Lines::Pairs,
            });
        };
        compute.run(m.max(row_tiles * rows), |r| {
            if r >= m {
                put(r, None); // padding
                return;
            }
            let quantise = |source: &[[f32; TILE_K]]| {
                compute.isa().run(Quantise {
                    source,
                    lines: &int8,
                    first: r,
                    step: m,
                });
            };
            let Some(float) = inputs.float.filter(|_| !tiled) else {
                ROW.with_borrow_mut(|values| {
                    values.resize(depth * TILE_K, 0.0);
                    row(r, &mut values[..k]);
                    values[k..].fill(0.0);
                    let values = values.as_chunks::<TILE_K>().0;
                    if inputs.int8 {
                        quantise(values);
                    }
                    if tiled {
                        put(r, Some(values));
                    }
                });
                return;
            };
            // SAFETY: each row has its own `depth` tiles.
            let tiles = unsafe { tiles.range_mut(r * depth, depth) };
            let flat = tiles.as_flattened_mut();
            row(r, &mut flat[..k]);
            flat[k..].fill(0.0);
            if inputs.int8 {
                quantise(tiles);
            }
            if float == Input::Bf16 {
                compute.isa().run(RoundRow(tiles.as_flattened_mut()));
            }
        });
    }

    /// Makes these rows of `source` in its floating-point form: row `i` is its row
    /// `rows[i]`. A form in int8 is left out.
    ///
    /// # Panics
    /// If there is no such row, or no form in floating point.
    pub fn gather(&mut self, source: &Self, rows: &[u32]) {
        let inputs = Inputs {
            int8: false,
            ..source.inputs
        };
        assert!(inputs.float.is_some(), "floats are what is gathered");
        self.reshape(inputs, source.order, (rows.len(), source.k));
        let depth = self.depth;
        if self.order == Lines::Rows {
            for (to, &from) in self.tiles.chunks_exact_mut(depth.max(1)).zip(rows) {
                to.copy_from_slice(source.row(from as usize));
            }
            return;
        }
        for (to, &from) in rows.iter().enumerate() {
            assert!((from as usize) < source.m, "row {from} of {}", source.m);
            let (to, to_step) = self.first_line(to);
            let (from, from_step) = source.first_line(from as usize);
            for t in 0..depth {
                self.lines[to + t * to_step] = source.lines[from + t * from_step];
            }
        }
        let (tiles, height) = self.grid();
        for padding in rows.len()..tiles * height {
            let (first, step) = self.first_line(padding);
            for t in 0..depth {
                self.lines[first + t * step] = LineBf16([0; TILE_K]);
            }
        }
    }

    /// Takes a shape, and memory for it. Contents are unspecified.
    fn reshape(&mut self, inputs: Inputs, order: Lines, (m, k): (usize, usize)) {
        (self.inputs, self.order) = (inputs, order);
        (self.m, self.k, self.depth) = (m, k, k.div_ceil(TILE_K));
        let depth = self.depth;
        let len = |wanted: bool| if wanted { m * depth } else { 0 };
        let (row_tiles, rows) = self.grid();
        self.lines
            .resize(row_tiles * depth * rows, LineBf16([0; TILE_K]));
        let in_rows = inputs.float.is_some() && order == Lines::Rows;
        self.tiles.resize(len(in_rows), [0.0; TILE_K]);
        self.int8.resize(len(inputs.int8), LineInt8::default());
    }

    /// Tiles of rows in which lines lie, and rows of each; none where there are no
    /// lines.
    fn grid(&self) -> (usize, usize) {
        match self.order {
            Lines::Rows => (0, 0),
            Lines::Tiles => tiles_of(self.m),
            Lines::Pairs => (1, self.m),
        }
    }

    /// Where the lines of row `r` begin, and the step from each to the next.
    fn first_line(&self, r: usize) -> (usize, usize) {
        let (_, rows) = self.grid();
        (r / rows * self.depth * rows + r % rows, rows)
    }

    /// [`fill`](Self::fill) for as many rows as `matrix` (rows of `width`) has, each of
    /// which `row(r, matrix's row r, out)` may change on the way.
    ///
    /// # Panics
    /// If `matrix` is not a whole number of rows.
    pub fn fill_changing(
        &mut self,
        compute: &Compute,
        inputs: Inputs,
        k: usize,
        (matrix, width): (&mut [f32], usize),
        row: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
    ) {
        assert!(
            matrix.len().is_multiple_of(width),
            "rows of {width} elements"
        );
        let m = matrix.len() / width;
        let matrix = SharedSlice::new(matrix);
        self.fill(compute, inputs, (m, k), |r, out| {
            // SAFETY: `fill` asks for each row once.
            row(r, unsafe { matrix.range_mut(r * width, width) }, out);
        });
    }

    /// How rows in bf16 lie, if there are any.
    pub(super) fn order(&self) -> Lines {
        self.order
    }

    /// All rows in pairs: see [`Lines::Pairs`].
    pub(super) fn paired_rows(&self) -> &[LineBf16] {
        assert_eq!(self.order, Lines::Pairs, "how rows of bf16 lie");
        &self.lines
    }

    /// All rows in AMX tiles.
    pub(super) fn tiled_rows(&self) -> TiledRows<'_> {
        let (tiles, rows) = tiles_of(self.m);
        TiledRows {
            lines: &self.lines,
            tiles,
            rows,
        }
    }

    /// Row `r` in f32, rounded to bf16 if that was asked for.
    pub(super) fn row(&self, r: usize) -> &[[f32; TILE_K]] {
        &self.tiles[r * self.depth..(r + 1) * self.depth]
    }

    /// All rows in int8, `[k / 32, rows]`.
    pub(super) fn int8_lines(&self) -> &[LineInt8] {
        &self.int8
    }
}

/// Rounds a row to bf16 in place.
struct RoundRow<'a>(&'a mut [f32]);

impl Kernel for RoundRow<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for x in self.0 {
            *x = bf16_to_f32(round_bf16(*x));
        }
    }
}

/// Rounds a row to bf16 and puts it into its tile: line `t` of `depth` is element
/// `first + t * step` of `lines`. Without a source, zeros.
struct PutRow<'a> {
    source: Option<&'a [[f32; TILE_K]]>,
    lines: &'a SharedSlice<'a, LineBf16>,
    first: usize,
    step: usize,
    depth: usize,
    /// Whether they are the pairs of `bf16_dot`.
    pairs: bool,
}

impl Kernel for PutRow<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for t in 0..self.depth {
            // SAFETY: a task puts one row, whose lines are no other's.
            let line = unsafe { self.lines.range_mut(self.first + t * self.step, 1) };
            let line = &mut line[0].0;
            let Some(source) = self.source else {
                *line = [0; TILE_K];
                continue;
            };
            let mut rounded = [0; TILE_K];
            for k in 0..TILE_K {
                rounded[k] = round_bf16(source[t][k]);
            }
            if self.pairs {
                for k in 0..TILE_K {
                    let (pair, at) = place::<true>(k);
                    line[2 * pair + at] = rounded[k];
                }
            } else {
                *line = rounded;
            }
        }
    }
}

/// Turns tiles of one row into int8: tile `t` becomes element `first + t * step` of
/// `lines`.
struct Quantise<'a> {
    source: &'a [[f32; TILE_K]],
    lines: &'a SharedSlice<'a, LineInt8>,
    first: usize,
    step: usize,
}

impl Kernel for Quantise<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (t, x) in self.source.iter().enumerate() {
            // SAFETY: a task puts one row, whose lines are no other's.
            let line = unsafe { self.lines.range_mut(self.first + t * self.step, 1) };
            let LineInt8 { codes, info } = &mut line[0];
            let (x, _) = x.as_chunks::<LANES>();
            let v = [simd.load(&x[0]), simd.load(&x[1])];
            let magnitude = |v| simd.max(v, simd.sub(simd.splat(0.0), v));
            let largest = simd.largest(simd.max(magnitude(v[0]), magnitude(v[1])));
            // A NaN may hide from `max`; it cannot hide from a product with zero.
            let [a, b] = v.map(|v| simd.mul(v, simd.splat(0.0)));
            let poison = simd.sum(simd.add(a, b));
            if poison != 0.0 {
                *codes = [0; TILE_K];
                *info = BlockInfo {
                    scale: f32::NAN,
                    ..BlockInfo::default()
                };
                continue;
            }
            // Below about 2^-120 a reciprocal overflows: such a block is zero.
            let inverse = if largest < 1e-36 {
                0.0
            } else {
                127.0 / largest
            };
            let mut rounded = [[0.0; LANES]; 2];
            for half in 0..2 {
                let codes = simd.round(simd.mul(v[half], simd.splat(inverse)));
                simd.store(codes, &mut rounded[half]);
            }
            let mut sums = [0_i32; 2];
            for half in 0..2 {
                for lane in 0..LANES {
                    // An addition that leaves the integer in the low bits: conversions
                    // that saturate keep the loop from becoming vectors.
                    let code = (rounded[half][lane] + 12_582_912.0).to_bits() as i32 - 0x4b40_0000;
                    codes[half * LANES + lane] = code as i8;
                    sums[half] += code;
                }
            }
            *info = BlockInfo {
                scale: largest / 127.0,
                sum: (sums[0] + sums[1]) as f32,
                half_sums: sums.map(|s| s as f32),
                minus_sum: -(sums[0] + sums[1]),
                minus_half_sums: sums.map(|s| -s),
            };
        }
    }
}

#[cfg(test)]
mod tests;
