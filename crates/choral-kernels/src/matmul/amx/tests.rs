//! The kernels against the references over tiles' edges; the emulator against what
//! hardware refuses, and against hardware where there is some.

use super::super::tests::{FORMATS, check, check_codes, instruction_sets, random};
use super::emulator::{self, Fault, Tiles};
use super::*;
use crate::isa::Amx;
use crate::matmul::Format;
use std::arch::asm;
use std::slice;

/// The real tiles if there are some.
fn token() -> Amx {
    emulator::install();
    Amx::real_or_emulated()
}

#[test]
fn tiles_are_among_the_sets_that_every_test_runs_on() {
    assert!(instruction_sets().iter().any(|isa| isa.has_tiles()));
}

#[test]
fn floats_equal_the_reference_near_every_edge_of_a_tile() {
    for m in (1..=17).chain([31, 32, 33, 47, 48, 49]) {
        for (n, k) in [(16, 32), (31, 45), (80, 97)] {
            check((m, n, k), 1.0, (m * 100 + n) as u64);
        }
    }
    // Panels of K with a rest, strips of groups, and three tiles of rows.
    for m in [16, 33, 65] {
        check((m, 150, 32 * 19 + 7), 1.0, m as u64);
    }
}

#[test]
fn codes_equal_the_reference_near_every_edge_of_a_tile() {
    for format in FORMATS {
        let block = format.shape().block;
        for m in [1, 15, 16, 17, 33, 49] {
            check_codes(format, (m, 50, block.max(96)), m as u64);
        }
        check_codes(format, (34, 140, 512), 7);
    }
}

#[test]
fn more_rows_than_sums_are_kept_for_are_cut_into_blocks() {
    check((ROW_TILES * 16 + 5, 18, 70), 1.0, 4);
    check_codes(Format::Q4_0, (ROW_TILES * 16 + 5, 18, 64), 4);
}

/// `c + a * b` by a kernel: on tiles, real or emulated.
fn by_instructions(a: &[[u16; 32]; 16], b: &TileBf16, c: &[Sums; 16], rows: usize) -> [Sums; 16] {
    #[repr(align(64))]
    struct Lines([[u16; 32]; 16]);
    let (a, mut c) = (Lines(*a), *c);
    let sums = c.as_mut_ptr();
    let block = Block {
        rows: [a.0.as_ptr().cast(); 2],
        row_step: 0,
        weights: [b; 4],
        sums: [sums; 4],
        next: [a.0.as_ptr().cast(); 2],
        next_step: 0,
        steps: 1,
        fresh: 0,
    };
    let configured = Configured::new(token(), rows);
    // SAFETY: a tile each is there, sixteen rows of it.
    unsafe { configured.one_by_one(&block) };
    c
}

/// The same by the emulator's arithmetic, whatever this CPU has.
fn by_the_model(a: &[[u16; 32]; 16], b: &TileBf16, c: &[Sums; 16], rows: usize) -> [Sums; 16] {
    let mut tiles = Tiles::NONE;
    tiles.configure(&configuration(rows as u8, 64, 16)).unwrap();
    // SAFETY: 1024 bytes of numbers each.
    let bytes = |p: *const u8| unsafe { slice::from_raw_parts(p, 1024) };
    let operands = [
        bytes(c.as_ptr().cast()),
        bytes(a.as_ptr().cast()),
        bytes(b.0.as_ptr().cast()),
    ];
    for (tile, bytes) in [0, 4, 6].into_iter().zip(operands) {
        tiles
            .load(tile, |r, row| row.copy_from_slice(&bytes[64 * r..][..64]))
            .unwrap();
    }
    tiles.multiply_add(0, 4, 6).unwrap();
    let mut out = *c;
    tiles
        .store(0, |r, row| {
            let (words, _) = row.as_chunks::<4>();
            out[r].0 = std::array::from_fn(|n| f32::from_le_bytes(words[n]));
        })
        .unwrap();
    out
}

/// Tiles 0 to 5 of `rows` rows, 6 and 7 of `weights` rows.
fn configuration(rows: u8, column_bytes: u16, weights: u8) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    for tile in 0..8 {
        bytes[16 + 2 * tile..][..2].copy_from_slice(&column_bytes.to_le_bytes());
        bytes[48 + tile] = if tile < 6 { rows } else { weights };
    }
    bytes
}

/// On a CPU with tiles this holds the emulator's arithmetic against the hardware's. On
/// others both sides compute alike, and only operands and shapes are held: there the
/// arithmetic rests on the references above.
#[test]
fn emulator_and_instruction_agree_on_every_kind_of_number() {
    let mut state = 11;
    let mut next = || random(&mut state);
    // Exponents of a and b and of c: any, near 1, tiny, huge, and denormal.
    let kinds: [(u32, u32); 5] = [(0, 256), (120, 14), (1, 70), (180, 75), (0, 1)];
    for round in 0..200 {
        let (low, count) = kinds[round % 5];
        let (low_c, count_c) = kinds[round / 5 % 5];
        let mut bf16 = || {
            let r = next();
            ((r >> 31 << 15) | (low + (r >> 8) % count) << 7 | (r & 127)) as u16
        };
        let a: [[u16; 32]; 16] = std::array::from_fn(|_| std::array::from_fn(|_| bf16()));
        let b = TileBf16(std::array::from_fn(|_| std::array::from_fn(|_| bf16())));
        let mut float = || {
            let (r, s) = (next(), next());
            f32::from_bits((r >> 31 << 31) | (low_c + (r >> 8) % count_c) << 23 | (s >> 9))
        };
        let c: [Sums; 16] = std::array::from_fn(|_| Sums(std::array::from_fn(|_| float())));
        let rows = round % 16 + 1;
        let bits = |sums: [Sums; 16]| {
            sums.map(|row| {
                // The sign and payload of a NaN are not part of the promise.
                row.0
                    .map(|x| if x.is_nan() { 0x7fc0_0000 } else { x.to_bits() })
            })
        };
        let (got, want) = (
            by_instructions(&a, &b, &c, rows),
            by_the_model(&a, &b, &c, rows),
        );
        assert_eq!(bits(got), bits(want), "round {round}");
    }
}

#[test]
fn the_emulator_refuses_what_hardware_refuses() {
    let configured = |bytes: &[u8; 64]| {
        let mut tiles = Tiles::NONE;
        tiles.configure(bytes).map(|()| tiles)
    };
    let refused = |change: &dyn Fn(&mut [u8; 64])| {
        let mut bytes = configuration(16, 64, 16);
        change(&mut bytes);
        configured(&bytes).err()
    };
    let tile = |rows, column_bytes| {
        Some(Fault::Tile {
            tile: 2,
            rows,
            column_bytes,
        })
    };
    assert_eq!(refused(&|_| ()), None);
    assert_eq!(refused(&|c| c[0] = 2), Some(Fault::Palette(2)));
    assert_eq!(refused(&|c| c[9] = 1), Some(Fault::Reserved));
    assert_eq!(refused(&|c| c[60] = 1), Some(Fault::Reserved));
    assert_eq!(refused(&|c| c[50] = 17), tile(17, 64));
    assert_eq!(refused(&|c| c[20] = 65), tile(16, 65));
    assert_eq!(refused(&|c| c[20] = 0), tile(16, 0));
    assert_eq!(refused(&|c| c[50] = 0), tile(0, 64));

    let mut none = Tiles::NONE;
    assert_eq!(none.zero(0), Err(Fault::NotConfigured));
    assert_eq!(none.multiply_add(0, 4, 6), Err(Fault::NotConfigured));
    let mut tiles = configured(&configuration(9, 64, 16)).unwrap();
    assert_eq!(tiles.multiply_add(0, 4, 6), Ok(()));
    assert_eq!(tiles.multiply_add(0, 4, 4), Err(Fault::SameTile));
    assert_eq!(tiles.multiply_add(0, 6, 4), Err(Fault::Shapes)); // operands exchanged
    let mut halved = configuration(9, 64, 8);
    assert_eq!(
        configured(&halved).unwrap().multiply_add(0, 4, 6),
        Err(Fault::Shapes)
    );
    halved[16 + 8..][..2].copy_from_slice(&32_u16.to_le_bytes());
    assert_eq!(configured(&halved).unwrap().multiply_add(0, 4, 6), Ok(()));
    halved[54] = 0;
    halved[16 + 12..][..2].copy_from_slice(&0_u16.to_le_bytes());
    assert_eq!(
        configured(&halved).unwrap().multiply_add(0, 4, 6),
        Err(Fault::Unused(6))
    );
    tiles.release();
    assert_eq!(tiles.zero(0), Err(Fault::NotConfigured));
}

#[test]
fn instructions_are_found_in_every_form_of_address() {
    let _configured = Configured::new(token(), 4);
    let source: [u8; 512] = std::array::from_fn(|i| (i * 7 % 251) as u8);
    let mut out = [[0_u8; 64]; 4];
    // Rows of `source` from a byte on, each so many bytes after the last.
    let rows = |first: usize, stride: usize| -> [[u8; 64]; 4] {
        std::array::from_fn(|r| std::array::from_fn(|i| source[first + r * stride + i]))
    };
    macro_rules! loads {
        ($load:literal, $index:tt = $stride:literal, $base:tt) => {{
            // SAFETY: four rows of 64 bytes are read and written where there are some.
            unsafe {
                asm!(
                    $load,
                    "tilestored [{out} + {line}], tmm0",
                    out = in(reg) out.as_mut_ptr(),
                    line = in(reg) 64_usize,
                    in($base) source.as_ptr(),
                    in($index) $stride as usize,
                    out("tmm0") _,
                    options(nostack),
                );
            }
            out
        }};
    }
    assert_eq!(
        loads!("tileloadd tmm0, [rsi + rdx]", "rdx" = 100, "rsi"),
        rows(0, 100)
    );
    assert_eq!(
        loads!("tileloadd tmm0, [rsi + 2*rdx + 16]", "rdx" = 50, "rsi"),
        rows(16, 100)
    );
    assert_eq!(
        loads!("tileloadd tmm0, [r13 + r9]", "r9" = 64, "r13"),
        rows(0, 64)
    );
    assert_eq!(
        loads!("tileloadd tmm0, [r12 + 8*r9 + 200]", "r9" = 8, "r12"),
        rows(200, 64)
    );
    assert_eq!(
        loads!("tileloaddt1 tmm0, [r8 + 4*rdi]", "rdi" = 32, "r8"),
        rows(0, 128)
    );
    let mut stored = [0xff_u8; 64];
    // SAFETY: 64 bytes are written to 64.
    unsafe { asm!("sttilecfg [{}]", in(reg) &raw mut stored, options(nostack)) };
    assert_eq!(stored, configuration(4, 64, 16));
}

#[test]
fn tiles_are_released_when_a_task_is_done() {
    let stored = || {
        let mut bytes = [0xff_u8; 64];
        // SAFETY: 64 bytes are written to 64; without AMX the emulator is installed.
        unsafe { asm!("sttilecfg [{}]", in(reg) &raw mut bytes, options(nostack)) };
        bytes
    };
    let configured = Configured::new(token(), 7);
    assert_eq!(stored(), configuration(7, 64, 16));
    drop(configured);
    assert_eq!(stored(), [0; 64]);
}
