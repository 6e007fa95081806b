//! Products of bf16 with AMX tiles.
//!
//! Owns the tiles' configuration, the kernels between tile loads and tile stores,
//! and the order in which panels of weights and rows of activations meet. The order
//! of the sums is the module's above: `TDPBF16PS` is one step of it, and C goes
//! through memory in f32 between panels, which rounds nothing.
//!
//! Facts that shaped it (Intel SDM, volume 1, chapter 18, and volume 2; figures are
//! for Sapphire Rapids, from Intel's optimization manual and our experiments):
//! - A tile is up to 16 rows of up to 64 bytes; there are eight. `TDPBF16PS` takes A
//!   (rows of activations, 32 `k`), B (16 pairs of `k`, 16 outputs: just a packed
//!   [`TileBf16`]) and adds to C. It starts every 16 cycles and takes 52, so four
//!   sums in flight keep the unit busy: 2 x 2 or 1 x 4 tiles.
//! - On stable Rust tiles are clobbers only: they cannot live from one `asm!` to the
//!   next. So C's load, all steps over K, and C's store are one block.
//! - Rows are shared evenly among tiles, so that one configuration serves a whole
//!   task and padding is less than a row a tile. `LDTILECFG` costs some 200 cycles.
//! - A thread holds tiles only while it runs a task ([`Configured`]): tile data makes
//!   every context switch save 8 KiB and can keep an idle core awake.
//! - Quantised weights become bf16 in a panel that stays in the first cache; the
//!   panel is then used for all rows. With one tile of rows a panel is short, so that
//!   the core is still at its products when it starts to unpack the next.
//!
//! Tests run these very instructions on CPUs that lack them, through `emulator`.

use super::Span;
use super::activations::TiledRows;
use super::float::TileBf16;
use super::quant::QuantTiles;
use crate::isa::{Amx, Isa};
use crate::simd::LANES;
use crate::work::Tally;
use kernels::{Block, Configured};
use std::cell::RefCell;
use std::ops::Range;

#[cfg(all(test, target_os = "linux"))]
pub(crate) mod emulator;
mod kernels;
#[cfg(all(test, target_os = "linux"))]
mod tests;

/// Multiplies whole tiles in registers, four sums `steps` times, and says how many
/// operations that was: for [`crate::limits`].
pub(crate) fn multiply_tiles(token: Amx, steps: usize) -> u64 {
    kernels::multiply_in_place(&Configured::new(token, LANES), steps);
    (steps * 4 * 2 * LANES * LANES * super::TILE_K) as u64
}

/// Tiles of rows that are multiplied while sums are kept: 512 rows.
const ROW_TILES: usize = 32;

/// Groups of outputs that sums are kept for: with 512 rows, 256 KiB of sums and, for
/// a panel's depth, 256 KiB of activations stay in the second cache.
const STRIP_GROUPS: usize = 8;

/// Tiles that a panel of unpacked weights can hold: 16 KiB, a third of the first cache.
const PANEL: usize = 16;

/// Where packed weights come from.
#[derive(Clone, Copy)]
pub(super) enum Weights<'a> {
    /// Tiles in memory: `[groups, k / 32]`.
    Tiles(&'a [TileBf16]),
    /// Integers, to be unpacked panel by panel.
    Codes(&'a QuantTiles),
}

/// Sixteen sums: a row of C.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Sums([f32; LANES]);

/// What one thread needs for its panels; kept so that steps do not allocate.
struct Scratch {
    tiles: [TileBf16; PANEL],
    /// `[groups, tiles of rows, rows of a tile]`.
    sums: Vec<Sums>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = const {
        RefCell::new(Scratch {
            tiles: [TileBf16::ZERO; PANEL],
            sums: Vec::new(),
        })
    };
}

/// Runs one task with bf16 activations on tiles.
pub(super) fn multiply(token: Amx, span: &Span<'_>, weights: Weights<'_>) {
    let x = span.x.tiled_rows();
    SCRATCH.with_borrow_mut(|Scratch { tiles, sums }| {
        let configured = Configured::new(token, x.rows);
        for group in span.groups.clone().step_by(STRIP_GROUPS) {
            let groups = group..(group + STRIP_GROUPS).min(span.groups.end);
            for first in (0..x.tiles).step_by(ROW_TILES) {
                let row_tiles = first..(first + ROW_TILES).min(x.tiles);
                let held = groups.len() * row_tiles.len() * x.rows;
                if sums.len() < held {
                    sums.resize(held, Sums([0.0; LANES]));
                }
                let mut strip = Strip {
                    x,
                    depth: span.x.depth(),
                    weights,
                    row_tiles: row_tiles.clone(),
                    groups: groups.clone(),
                    tiles,
                    sums: &mut sums[..held],
                    tally: span.tally,
                };
                strip.multiply(&configured, token.vectors());
                strip.store(span);
            }
        }
    });
}

/// Some tiles of rows times some groups of outputs, over all of K.
struct Strip<'a> {
    x: TiledRows<'a>,
    depth: usize,
    weights: Weights<'a>,
    row_tiles: Range<usize>,
    groups: Range<usize>,
    tiles: &'a mut [TileBf16; PANEL],
    sums: &'a mut [Sums],
    tally: &'a Tally,
}

/// Weights of a few groups and a range of K, where the kernels can read them.
struct Panel {
    groups: Range<usize>,
    steps: Range<usize>,
    /// The first tile of the first group.
    first: *const TileBf16,
    /// Tiles from a group to the next.
    stride: usize,
    /// What to fetch meanwhile, past the last rows: two runs of tiles.
    then: [*const u8; 2],
    /// Whether the weights come from memory and are used but once.
    streamed: bool,
}

impl Strip<'_> {
    fn multiply(&mut self, configured: &Configured, vectors: Isa) {
        let row_tiles = self.row_tiles.len();
        // Groups and steps of a panel. Weights that need no unpacking and meet all
        // their rows at once are one panel: sums go to memory once, at the end.
        let (wide, steps) = match (self.weights, row_tiles) {
            (Weights::Tiles(_), 1) => (4, self.depth),
            (Weights::Tiles(_), 2) => (2, self.depth),
            (Weights::Codes(_), 1) => (4, 2),
            _ => (2, PANEL / 2),
        };
        for step in (0..self.depth).step_by(steps) {
            let steps = step..(step + steps).min(self.depth);
            for group in self.groups.clone().step_by(wide) {
                let groups = group..(group + wide).min(self.groups.end);
                let panel = self.panel(vectors, groups, steps.clone(), wide);
                self.pass(configured, &panel);
            }
        }
    }

    /// Makes weights readable.
    fn panel(
        &mut self,
        vectors: Isa,
        groups: Range<usize>,
        steps: Range<usize>,
        wide: usize,
    ) -> Panel {
        if self.row_tiles.start == 0 {
            // Later rows find the strip's weights in the second cache.
            self.tally.read(match self.weights {
                Weights::Tiles(_) => groups.len() * steps.len() * size_of::<TileBf16>(),
                Weights::Codes(codes) => codes.bytes_of(groups.len(), steps.len()),
            });
        }
        let after = if groups.end < self.groups.end {
            (groups.start + wide, steps.start)
        } else {
            (self.groups.start, steps.end)
        };
        match self.weights {
            Weights::Tiles(tiles) => {
                let at = |group: usize, step: usize| {
                    let first = tiles.as_ptr();
                    first.wrapping_add(group * self.depth + step)
                };
                let whole = steps.len() == self.depth;
                let then = if whole {
                    [0, 1].map(|n| {
                        at(groups.start + n, 0)
                            .wrapping_byte_add(kernels::AHEAD)
                            .cast()
                    })
                } else {
                    [0, 1].map(|n| at(after.0 + n, after.1).cast())
                };
                // The kernels read these tiles.
                let held = groups.end * self.depth;
                assert!(held <= tiles.len() && steps.end <= self.depth);
                Panel {
                    first: at(groups.start, steps.start),
                    stride: self.depth,
                    then,
                    streamed: whole,
                    groups,
                    steps,
                }
            }
            Weights::Codes(codes) => {
                let tiles = &mut self.tiles[..groups.len() * steps.len()];
                codes.unpack(vectors, groups.clone(), steps.clone(), tiles, self.tally);
                let first = self.row_tiles.start;
                let then = [0, 1].map(|n| self.rows_at(first + n, after.1).cast());
                Panel {
                    first: self.tiles.as_ptr(),
                    stride: steps.len(),
                    then,
                    streamed: false,
                    groups,
                    steps,
                }
            }
        }
    }

    /// The activations of a tile of rows, from a step of K on.
    fn rows_at(&self, row_tile: usize, step: usize) -> *const [u16; 32] {
        let lines = self.x.lines.as_ptr().cast::<[u16; 32]>();
        lines.wrapping_add((row_tile * self.depth + step) * self.x.rows)
    }

    /// Multiplies a panel with all rows.
    fn pass(&mut self, configured: &Configured, panel: &Panel) {
        let row_tiles = self.row_tiles.len();
        let held = self.row_tiles.end * self.depth * self.x.rows;
        assert!(held <= self.x.lines.len() && panel.steps.end <= self.depth);
        let sums = self.groups.len() * row_tiles * self.x.rows;
        assert!(sums <= self.sums.len() && panel.groups.end <= self.groups.end);
        let row_bytes = self.x.rows * size_of::<Sums>();
        let mut i = 0;
        while i < row_tiles {
            let tall = (row_tiles - i).min(2);
            let row_tile = self.row_tiles.start + i;
            // Nothing is fetched with an odd last tile: the pair before does it.
            let last = row_tiles - (i + tall) < 2;
            let mut group = panel.groups.start;
            while group < panel.groups.end {
                let left = panel.groups.end - group;
                let wide = match (tall, left) {
                    (1, 4..) => 4,
                    (_, 2..) => 2,
                    _ => 1,
                };
                let products = tall * wide * self.x.rows * panel.steps.len();
                self.tally.multiply(products);
                let weights = group - panel.groups.start;
                let base = self.sums.as_mut_ptr();
                let sums = |m: usize, n: usize| {
                    let tile = (group - self.groups.start + n) * row_tiles + i + m;
                    base.wrapping_add(tile * self.x.rows)
                };
                let block = Block {
                    rows: [0, 1].map(|m| self.rows_at(row_tile + m, panel.steps.start).cast()),
                    row_step: row_bytes,
                    weights: [0, 1, 2, 3]
                        .map(|n| panel.first.wrapping_add((weights + n) * panel.stride)),
                    sums: if tall == 2 {
                        [sums(0, 0), sums(0, 1), sums(1, 0), sums(1, 1)]
                    } else {
                        [sums(0, 0), sums(0, 1), sums(0, 2), sums(0, 3)]
                    },
                    next: if last {
                        panel.then
                    } else {
                        [2, 3].map(|m| self.rows_at(row_tile + m, panel.steps.start).cast())
                    },
                    next_step: if last && matches!(self.weights, Weights::Tiles(_)) {
                        size_of::<TileBf16>()
                    } else {
                        row_bytes
                    },
                    steps: panel.steps.len(),
                    fresh: usize::from(panel.steps.start == 0),
                };
                // SAFETY: tiles are configured, for rows of this many. A kernel of
                // `tall` times `wide` reads `steps` tiles of as many runs of rows and
                // weights, and writes as many tiles of sums: all are inside their
                // slices by the assertions here and in `panel`.
                unsafe {
                    match (tall, wide) {
                        (2, 2) => configured.two_by_two(&block),
                        (2, _) => configured.two_by_one(&block),
                        (_, 4) if panel.streamed => configured.one_by_four_streamed(&block),
                        (_, 4) => configured.one_by_four(&block),
                        (_, 2) => configured.one_by_two(&block),
                        _ => configured.one_by_one(&block),
                    }
                }
                group += wide;
            }
            i += tall;
        }
    }

    /// Stores the sums of rows that exist.
    fn store(&self, span: &Span<'_>) {
        let rows = self.row_tiles.start * self.x.rows
            ..(self.row_tiles.end * self.x.rows).min(span.x.rows());
        let held = self.row_tiles.len() * self.x.rows;
        for (group, sums) in self.groups.clone().zip(self.sums.chunks_exact(held)) {
            for (row, sums) in rows.clone().zip(sums) {
                span.store(row, group, &sums.0);
            }
        }
    }
}
