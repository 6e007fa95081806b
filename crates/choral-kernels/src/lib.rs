//! CPU kernels for choral: one order of accumulation on every instruction set.
//!
//! Owns every `unsafe` line of the engine. Knows nothing of models, files,
//! sequences or text: only slices, shapes and block tables.
//!
//! Each algorithm is written once, over the sixteen-lane `simd::Simd` trait,
//! and instantiated for plain Rust (the specification), AVX2 and AVX-512. The
//! trait has no reduction and no reassociation, so the three give the same bits:
//! what differs is only how many instructions a lane operation takes. AMX tiles,
//! which multiply whole tiles of bf16 in that same order, are the one exception.
//!
//! Start with [`Compute`] (instruction set and workers), then [`matmul`] (packed
//! weights, and the written-down order of its sums) and [`attention`].

// A kernel's body must be inlined into the function that enables its instruction
// set (see `isa`), and its indices are the formula's.
#![allow(clippy::inline_always, clippy::needless_range_loop)]
// References in tests are the system's functions.
#![cfg_attr(test, allow(clippy::disallowed_methods))]
// Elsewhere nobody makes the proofs of x86-64 features, nor uses what they lead to.
#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]

pub mod activation;
mod arena;
pub mod attention;
mod bf16;
pub mod isa;
pub mod limits;
pub mod matmul;
pub mod norm;
pub mod pool;
pub mod rope;
mod shared;
mod simd;
mod work;

pub use bf16::{bf16_to_f32, round_bf16};
pub use isa::{Isa, IsaError};
pub use pool::Pool;
pub use work::WorkCounts;

use arena::Arena;
use shared::SharedSlice;
use std::io;
use work::WorkCounters;

/// Where kernels run: an instruction set chosen once, and the workers.
#[derive(Debug)]
pub struct Compute {
    isa: Isa,
    pool: Pool,
    work: WorkCounters,
    arena: Arena,
}

impl Compute {
    /// Starts `threads - 1` workers; the calling thread is the remaining one.
    ///
    /// # Panics
    /// If `threads` is 0, or the operating system refuses a thread.
    #[must_use]
    pub fn new(isa: Isa, threads: usize) -> Self {
        Self::with_pool(isa, Pool::new(threads))
    }

    /// The same for a number of threads that somebody asked for.
    ///
    /// # Errors
    /// If the operating system refuses a thread.
    ///
    /// # Panics
    /// If `threads` is 0.
    pub fn try_new(isa: Isa, threads: usize) -> io::Result<Self> {
        Ok(Self::with_pool(isa, Pool::try_new(threads)?))
    }

    fn with_pool(isa: Isa, pool: Pool) -> Self {
        Self {
            isa,
            pool,
            work: WorkCounters::default(),
            arena: Arena::default(),
        }
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Number of threads that compute, the caller's included.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// What matrix products have cost since the start.
    pub fn work(&self) -> WorkCounts {
        self.work.counts()
    }

    /// Runs `task(0..n)` on the workers and the calling thread.
    pub fn run(&self, n: usize, task: impl Fn(usize) + Sync) {
        self.pool.run(n, &task);
    }

    /// Runs `task(r, row r)` for each row of `width` elements, rows in parallel.
    ///
    /// # Panics
    /// If `matrix` is not a whole number of rows.
    pub fn rows_mut<T: Send>(
        &self,
        matrix: &mut [T],
        width: usize,
        task: impl Fn(usize, &mut [T]) + Sync,
    ) {
        assert!(
            matrix.len().is_multiple_of(width),
            "rows of {width} elements"
        );
        let rows = matrix.len() / width;
        let matrix = SharedSlice::new(matrix);
        self.pool.run(rows, &|r| {
            // SAFETY: each row is one task's.
            task(r, unsafe { matrix.range_mut(r * width, width) });
        });
    }
}
