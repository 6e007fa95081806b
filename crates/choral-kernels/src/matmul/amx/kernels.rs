//! The kernels' instructions, and the tiles' configuration around them.
//!
//! Owns all that says `tmm`. Knows nothing of matrices: a [`Block`] of pointers.

use super::Sums;
use crate::isa::Amx;
use crate::matmul::float::TileBf16;
use std::arch::asm;
use std::marker::PhantomData;
use std::mem::offset_of;

/// Bytes of packed weights that are fetched ahead while they are multiplied as they
/// come from memory.
pub(super) const AHEAD: usize = 2048;

/// What `LDTILECFG` reads. Source: Intel SDM, volume 1, table 18-1.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    column_bytes: [u16; 16],
    rows: [u8; 16],
}

/// This thread's tiles are configured while this lives: 0 to 3 are sums, 4 and 5
/// activations (of as many rows), 6 and 7 weights.
pub(super) struct Configured(PhantomData<*const ()>);

impl Configured {
    /// # Panics
    /// If `rows` is not 1 to 16.
    pub(super) fn new(_: Amx, rows: usize) -> Self {
        assert!((1..=16).contains(&rows), "{rows} rows in a tile");
        let mut configuration = Configuration {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            column_bytes: [0; 16],
            rows: [0; 16],
        };
        configuration.column_bytes[..8].fill(64);
        configuration.rows[..6].fill(rows as u8);
        configuration.rows[6..8].fill(16);
        // SAFETY: the token proves AMX; the configuration is valid and lives.
        unsafe {
            asm!(
                "ldtilecfg [{}]",
                in(reg) &raw const configuration,
                options(readonly, nostack, preserves_flags),
            );
        }
        Self(PhantomData)
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        // SAFETY: tiles were configured, so there are some; nobody uses them now.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) }
    }
}

/// Multiplies tiles that are never loaded nor stored, `steps` times four sums:
/// how fast this thread could be. What the products are is of no interest.
pub(super) fn multiply_in_place(_: &Configured, steps: usize) {
    if steps == 0 {
        return;
    }
    // SAFETY: tiles are configured while a `Configured` lives; no memory is touched.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "tilezero tmm4",
            "tilezero tmm5",
            "tilezero tmm6",
            "tilezero tmm7",
            "2:",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "dec {steps}",
            "jnz 2b",
            steps = inout(reg) steps => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nomem, nostack),
        );
    }
}

/// What a kernel works on: tiles of rows times groups of weights.
#[repr(C)]
pub(super) struct Block {
    /// Each tile of rows at the first step; `row_step` bytes to the next step.
    pub(super) rows: [*const u8; 2],
    pub(super) row_step: usize,
    /// Each group's tiles, one a step.
    pub(super) weights: [*const TileBf16; 4],
    /// A tile of sums each: groups of the first tile of rows, then of the second.
    pub(super) sums: [*mut Sums; 4],
    /// Two runs of memory to fetch, 1 KiB and `next_step` bytes a step.
    pub(super) next: [*const u8; 2],
    pub(super) next_step: usize,
    pub(super) steps: usize,
    /// Whether sums start at 0; else they are loaded.
    pub(super) fresh: usize,
}

// The offsets that the kernels' text says.
const _: () = {
    assert!(offset_of!(Block, rows) == 0 && offset_of!(Block, row_step) == 16);
    assert!(offset_of!(Block, weights) == 24 && offset_of!(Block, sums) == 56);
    assert!(offset_of!(Block, next) == 88 && offset_of!(Block, next_step) == 104);
    assert!(offset_of!(Block, steps) == 112 && offset_of!(Block, fresh) == 120);
};

/// Fetches eight lines from the address on.
macro_rules! fetch {
    ($at:literal) => {
        concat!(
            "prefetcht0 [",
            $at,
            "]\n prefetcht0 [",
            $at,
            " + 64]\n",
            "prefetcht0 [",
            $at,
            " + 128]\n prefetcht0 [",
            $at,
            " + 192]\n",
            "prefetcht0 [",
            $at,
            " + 256]\n prefetcht0 [",
            $at,
            " + 320]\n",
            "prefetcht0 [",
            $at,
            " + 384]\n prefetcht0 [",
            $at,
            " + 448]",
        )
    };
}

/// Defines a kernel: sums in, steps over K, sums out. Pointers move by their step
/// after each; `{line}` is 64, the distance of two rows of any tile.
macro_rules! kernel {
    (
        $(#[$doc:meta])*
        $name:ident
        sums: [$($sum:literal at $at:literal),*]
        pointers: [$($pointer:ident at $from:literal by $by:literal),*]
        step: [$($line:expr),* $(,)?]
    ) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// What the kernel reads and writes must be there.
        pub(super) unsafe fn $name(&self, block: &Block) {
            // SAFETY: tiles are configured as long as `self` lives; memory is the
            // caller's promise.
            unsafe {
                asm!(
                    "mov {line:e}, 64",
                    $(concat!("mov {", stringify!($pointer), "}, [{block} + ", $from, "]"),)*
                    "mov {steps}, [{block} + 112]",
                    "cmp qword ptr [{block} + 120], 0",
                    "jne 2f",
                    $(
                        concat!("mov {at}, [{block} + ", $at, "]"),
                        concat!("tileloadd tmm", $sum, ", [{at} + {line}]"),
                    )*
                    "jmp 3f",
                    "2:",
                    $(concat!("tilezero tmm", $sum),)*
                    "3:",
                    $($line,)*
                    $(concat!("add {", stringify!($pointer), "}, ", $by),)*
                    "dec {steps}",
                    "jnz 3b",
                    $(
                        concat!("mov {at}, [{block} + ", $at, "]"),
                        concat!("tilestored [{at} + {line}], tmm", $sum),
                    )*
                    block = in(reg) block,
                    line = out(reg) _,
                    at = out(reg) _,
                    steps = out(reg) _,
                    $($pointer = out(reg) _,)*
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
}

impl Configured {
    kernel! {
        /// Two tiles of rows times two groups, fetching [`Block::next`].
        two_by_two
        sums: ["0" at "56", "1" at "64", "2" at "72", "3" at "80"]
        pointers: [
            a0 at "0" by "[{block} + 16]", a1 at "8" by "[{block} + 16]",
            b0 at "24" by "1024", b1 at "32" by "1024",
            next0 at "88" by "[{block} + 104]", next1 at "96" by "[{block} + 104]"
        ]
        step: [
            "tileloadd tmm6, [{b0} + {line}]",
            "tileloadd tmm4, [{a0} + {line}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            fetch!("{next0}"),
            "tileloadd tmm7, [{b1} + {line}]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            fetch!("{next0} + 512"),
            "tileloadd tmm5, [{a1} + {line}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            fetch!("{next1}"),
            "tdpbf16ps tmm3, tmm5, tmm7",
            fetch!("{next1} + 512"),
        ]
    }

    kernel! {
        /// Two tiles of rows times the last group.
        two_by_one
        sums: ["0" at "56", "2" at "72"]
        pointers: [
            a0 at "0" by "[{block} + 16]", a1 at "8" by "[{block} + 16]", b0 at "24" by "1024"
        ]
        step: [
            "tileloadd tmm6, [{b0} + {line}]",
            "tileloadd tmm4, [{a0} + {line}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{a1} + {line}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
        ]
    }

    kernel! {
        /// One tile of rows times four groups.
        one_by_four
        sums: ["0" at "56", "1" at "64", "2" at "72", "3" at "80"]
        pointers: [
            a0 at "0" by "[{block} + 16]",
            b0 at "24" by "1024", b1 at "32" by "1024", b2 at "40" by "1024", b3 at "48" by "1024"
        ]
        step: [
            "tileloadd tmm4, [{a0} + {line}]",
            "tileloadd tmm6, [{b0} + {line}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{b1} + {line}]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm6, [{b2} + {line}]",
            "tdpbf16ps tmm2, tmm4, tmm6",
            "tileloadd tmm7, [{b3} + {line}]",
            "tdpbf16ps tmm3, tmm4, tmm7",
        ]
    }

    kernel! {
        /// One tile of rows times four groups that come from memory, fetching each
        /// [`AHEAD`].
        one_by_four_streamed
        sums: ["0" at "56", "1" at "64", "2" at "72", "3" at "80"]
        pointers: [
            a0 at "0" by "[{block} + 16]",
            b0 at "24" by "1024", b1 at "32" by "1024", b2 at "40" by "1024", b3 at "48" by "1024"
        ]
        step: [
            "tileloadd tmm4, [{a0} + {line}]",
            "tileloadd tmm6, [{b0} + {line}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            fetch!("{b0} + 2048"),
            fetch!("{b0} + 2560"),
            "tileloadd tmm7, [{b1} + {line}]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            fetch!("{b1} + 2048"),
            fetch!("{b1} + 2560"),
            "tileloadd tmm6, [{b2} + {line}]",
            "tdpbf16ps tmm2, tmm4, tmm6",
            fetch!("{b2} + 2048"),
            fetch!("{b2} + 2560"),
            "tileloadd tmm7, [{b3} + {line}]",
            "tdpbf16ps tmm3, tmm4, tmm7",
            fetch!("{b3} + 2048"),
            fetch!("{b3} + 2560"),
        ]
    }

    kernel! {
        /// One tile of rows times two groups.
        one_by_two
        sums: ["0" at "56", "1" at "64"]
        pointers: [
            a0 at "0" by "[{block} + 16]", b0 at "24" by "1024", b1 at "32" by "1024"
        ]
        step: [
            "tileloadd tmm4, [{a0} + {line}]",
            "tileloadd tmm6, [{b0} + {line}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{b1} + {line}]",
            "tdpbf16ps tmm1, tmm4, tmm7",
        ]
    }

    kernel! {
        /// One tile of rows times the last group.
        one_by_one
        sums: ["0" at "56"]
        pointers: [a0 at "0" by "[{block} + 16]", b0 at "24" by "1024"]
        step: [
            "tileloadd tmm4, [{a0} + {line}]",
            "tileloadd tmm6, [{b0} + {line}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
        ]
    }
}
