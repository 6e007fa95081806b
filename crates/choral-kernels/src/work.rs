//! Counts of what kernels did: facts about cost that a clock on a shared machine
//! cannot give.

use std::cell::Cell;
use std::ops::Sub;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What matrix products have cost, counted by the kernels as they go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WorkCounts {
    /// Bytes of packed weights read from memory. What a pass over the rows finds in
    /// a cache, because the pass before left it there, does not count again.
    pub weight_bytes: u64,
    /// Products of one row's 32 activations with a tile of 16 outputs: 512
    /// multiply-adds each. Rows that only pad count.
    pub tile_products: u64,
    /// Blocks of 16 outputs by 32 `k` whose codes were turned into bf16 weights.
    pub unpacked_blocks: u64,
}

impl Sub for WorkCounts {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            weight_bytes: self.weight_bytes - before.weight_bytes,
            tile_products: self.tile_products - before.tile_products,
            unpacked_blocks: self.unpacked_blocks - before.unpacked_blocks,
        }
    }
}

/// The counts of all threads.
#[derive(Debug, Default)]
pub(crate) struct WorkCounters {
    weight_bytes: AtomicU64,
    tile_products: AtomicU64,
    unpacked_blocks: AtomicU64,
}

impl WorkCounters {
    pub(crate) fn counts(&self) -> WorkCounts {
        WorkCounts {
            weight_bytes: self.weight_bytes.load(Relaxed),
            tile_products: self.tile_products.load(Relaxed),
            unpacked_blocks: self.unpacked_blocks.load(Relaxed),
        }
    }

    /// Adds what a task has counted.
    pub(crate) fn add(&self, tally: &Tally) {
        let WorkCounts {
            weight_bytes,
            tile_products,
            unpacked_blocks,
        } = tally.0.get();
        self.weight_bytes.fetch_add(weight_bytes, Relaxed);
        self.tile_products.fetch_add(tile_products, Relaxed);
        if unpacked_blocks > 0 {
            self.unpacked_blocks.fetch_add(unpacked_blocks, Relaxed);
        }
    }
}

/// The counts of one task, which no other thread sees.
#[derive(Debug, Default)]
pub(crate) struct Tally(Cell<WorkCounts>);

impl Tally {
    /// Weights came from memory.
    #[inline(always)]
    pub(crate) fn read(&self, bytes: usize) {
        let mut counts = self.0.get();
        counts.weight_bytes += bytes as u64;
        self.0.set(counts);
    }

    /// Tiles were multiplied with a row each.
    #[inline(always)]
    pub(crate) fn multiply(&self, tiles: usize) {
        let mut counts = self.0.get();
        counts.tile_products += tiles as u64;
        self.0.set(counts);
    }

    /// Codes became weights.
    #[inline(always)]
    pub(crate) fn unpack(&self, blocks: usize) {
        let mut counts = self.0.get();
        counts.unpacked_blocks += blocks as u64;
        self.0.set(counts);
    }
}

#[cfg(test)]
mod tests {
    use crate::Compute;
    use crate::matmul::tests::instruction_sets;
    use crate::matmul::{
        Activations, CodeShape, Element, Format, Input, PackedMatrix, Part, RowCodes, Source,
    };

    /// Whatever the number of rows, all weights come from memory once, each tile meets
    /// each row once, and only the bf16 numeric unpacks codes.
    #[test]
    fn weights_are_read_once_whatever_the_number_of_rows() {
        let (n, k) = (83_usize, 256_usize);
        let (groups, depth) = (n.div_ceil(16) as u64, (k / 32) as u64);
        let codes = |row: &mut RowCodes| row.codes.fill(1);
        for isa in instruction_sets() {
            let compute = Compute::new(isa, 2);
            for format in [Format::Q8_0, Format::Q4K, Format::Q6K] {
                let CodeShape { block, .. } = format.shape();
                assert_eq!(k % block, 0);
                for input in [Input::Int8, Input::Bf16] {
                    let part = Part {
                        rows: n,
                        source: Source::Codes {
                            format,
                            input,
                            row: &|_, row| codes(row),
                        },
                    };
                    let unpacked = if input == Input::Bf16 {
                        groups * depth
                    } else {
                        0
                    };
                    check(&compute, (part, k), groups * depth, unpacked);
                }
            }
            for element in [Element::Bf16, Element::F32] {
                let part = Part {
                    rows: n,
                    source: Source::Float {
                        element,
                        row: &|_, row| row.fill(0.5),
                    },
                };
                check(&compute, (part, k), groups * depth, 0);
            }
        }
    }

    fn check(compute: &Compute, (part, k): (Part<'_>, usize), tiles: u64, unpacked: u64) {
        let matrix = PackedMatrix::pack(compute, k, &[part]).expect("memory");
        for m in [1, 2, 3, 7, 8, 16, 33, 64, 517] {
            let mut x = Activations::new();
            x.fill(compute, matrix.inputs(), (m, k), |_, row| row.fill(1.0));
            let before = compute.work();
            matrix.multiply(compute, &x, &mut vec![0.0; m * matrix.n()]);
            let work = compute.work() - before;
            assert_eq!(work.weight_bytes, matrix.bytes() as u64, "{m} rows");
            // Tiles of AMX have as many rows as one another.
            let padded = if compute.isa().has_tiles() && matrix.inputs().has(Input::Bf16) {
                m.div_ceil(16) * m.div_ceil(m.div_ceil(16))
            } else {
                m
            };
            assert_eq!(work.tile_products, tiles * padded as u64, "{m} rows");
            // Tiles keep sums of 512 rows: the next 512 unpack again.
            let times = if compute.isa().has_tiles() {
                (m as u64).div_ceil(512)
            } else {
                1
            };
            assert_eq!(work.unpacked_blocks, unpacked * times, "{m} rows");
        }
    }
}
