//! How fast is one product, by format and number of rows?
//!
//! `cargo bench -p choral-kernels --bench matmul`. The matrix is that of a 1.1B
//! model's feed-forward layer; it is read from memory anew each time, as in a step,
//! for several of them take turns. Items are multiplications and additions, bytes are
//! packed weights: hold both against `choral bench --limits`.

use choral_kernels::matmul::{
    Activations, Element, Format, Input, PackedMatrix, Part, RowCodes, Source,
};
use choral_kernels::{Compute, Isa};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use std::cell::Cell;

const N: usize = 5632;
const K: usize = 2048;

/// Bytes of weights that take turns: more than caches hold.
const COLD_BYTES: usize = 128 << 20;

/// How weights are stored, and what they are multiplied with.
#[derive(Debug, Clone, Copy)]
enum Stored {
    Bf16,
    Codes(Format, Input),
}

const STORED: [Stored; 7] = [
    Stored::Bf16,
    Stored::Codes(Format::Q8_0, Input::Int8),
    Stored::Codes(Format::Q4_0, Input::Int8),
    Stored::Codes(Format::Q4K, Input::Int8),
    Stored::Codes(Format::Q6K, Input::Int8),
    Stored::Codes(Format::Q8_0, Input::Bf16),
    Stored::Codes(Format::Q4K, Input::Bf16),
];

/// Any integers and scales: what they are does not change the work.
fn fill(format: Format, row: usize, out: &mut RowCodes) {
    let mask = match format {
        Format::Q8_0 => 0xff,
        Format::Q6K => 0x3f,
        _ => 0x0f,
    };
    out.resize(format, K);
    for (i, code) in out.codes.iter_mut().enumerate() {
        *code = (row * 31 + i * 7) as u8 & mask;
    }
    out.d.fill(0x1000);
    out.m.fill(0x1000);
    out.scales.fill(3);
    out.minima.fill(5);
}

fn pack(compute: &Compute, stored: Stored) -> PackedMatrix {
    let float = |row: usize, out: &mut [f32]| {
        for (i, x) in out.iter_mut().enumerate() {
            *x = ((row * 31 + i * 7) % 17) as f32 * 0.01;
        }
    };
    let codes = |row: usize, out: &mut RowCodes| match stored {
        Stored::Codes(format, _) => fill(format, row, out),
        Stored::Bf16 => unreachable!("floats have no codes"),
    };
    let source = match stored {
        Stored::Bf16 => Source::Float {
            element: Element::Bf16,
            row: &float,
        },
        Stored::Codes(format, input) => Source::Codes {
            format,
            input,
            row: &codes,
        },
    };
    PackedMatrix::pack(compute, K, &[Part { rows: N, source }]).expect("memory for the weights")
}

#[divan::bench(args = STORED, consts = [1, 8, 64, 256])]
fn multiply<const M: usize>(bencher: Bencher<'_, '_>, stored: Stored) {
    let isa = Isa::from_env().expect("CHORAL_ISA names a set that this CPU has");
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    let compute = Compute::new(isa, threads);
    let mut matrices = vec![pack(&compute, stored)];
    while matrices[0].bytes() * matrices.len() < COLD_BYTES {
        matrices.push(pack(&compute, stored));
    }
    let mut x = Activations::new();
    x.fill(&compute, matrices[0].inputs(), (M, K), |row, out| {
        for (i, x) in out.iter_mut().enumerate() {
            *x = ((row * 13 + i * 5) % 19) as f32 * 0.1;
        }
    });
    let mut out = vec![0.0; M * N];
    let turn = Cell::new(0);
    bencher
        .counter(ItemsCount::new(2 * M * N * K))
        .counter(BytesCount::new(matrices[0].bytes()))
        .bench_local(|| {
            turn.set((turn.get() + 1) % matrices.len());
            matrices[turn.get()].multiply(&compute, &x, &mut out);
        });
}

fn main() {
    divan::main();
}
