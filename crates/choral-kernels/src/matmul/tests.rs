use super::*;
use crate::Isa;
use crate::bf16::{bf16_to_f32, round_bf16};
use proptest::prelude::*;

pub(super) const FORMATS: [Format; 13] = [
    Format::Q8_0,
    Format::Q4_0,
    Format::Q4_1,
    Format::Q5_0,
    Format::Q5_1,
    Format::Q2K,
    Format::Q3K,
    Format::Q4K,
    Format::Q5K,
    Format::Q6K,
    Format::Iq4Nl,
    Format::Iq4Xs,
    Format::Mxfp4,
];

pub(super) fn random(state: &mut u64) -> u32 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 32) as u32
}

pub(super) fn noise(seed: u64, len: usize, scale: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    (0..len)
        .map(|_| ((random(&mut state) >> 8) as f32 / (1 << 23) as f32 - 1.0) * scale)
        .collect()
}

fn code_bits(format: Format) -> u32 {
    match format {
        Format::Q8_0 => 8,
        Format::Q5_0 | Format::Q5_1 | Format::Q5K => 5,
        Format::Q6K => 6,
        Format::Q3K => 3,
        Format::Q2K => 2,
        _ => 4,
    }
}

/// Rows of random codes and scales, in every bit that the format has.
fn random_rows(format: Format, n: usize, k: usize, seed: u64) -> Vec<RowCodes> {
    let mut state = seed | 1;
    let shape = format.shape();
    let bits = code_bits(format);
    let (scale_bits, signed) = match format {
        Format::Q2K => (4, false),
        Format::Q4K | Format::Q5K => (6, false),
        Format::Q6K => (8, true),
        Format::Q3K | Format::Iq4Xs => (6, true),
        _ => (0, false),
    };
    (0..n)
        .map(|_| {
            let mut row = RowCodes::default();
            row.resize(format, k);
            for code in &mut row.codes {
                *code = (random(&mut state) >> 24) as u8 >> (8 - bits);
            }
            for d in &mut row.d {
                let x = 0.001 + random(&mut state) as f32 / u32::MAX as f32 * 0.02;
                *d = if format == Format::Mxfp4 {
                    ((118 + random(&mut state) % 6) << 7) as u16
                } else {
                    half::f16::from_f32(x).to_bits()
                };
            }
            for m in &mut row.m {
                let x = 0.03 - random(&mut state) as f32 / u32::MAX as f32 * 0.05;
                *m = half::f16::from_f32(x).to_bits();
            }
            for scale in &mut row.scales {
                let x = (random(&mut state) >> 24) as u8 >> (8 - scale_bits);
                *scale = if signed && scale_bits == 6 {
                    x.wrapping_sub(32)
                } else {
                    x
                };
            }
            for minimum in &mut row.minima {
                *minimum = (random(&mut state) >> 24) as u8 >> (8 - scale_bits);
            }
            assert_eq!(
                row.minima.len(),
                if shape.scales && shape.minima {
                    k / shape.group
                } else {
                    0
                }
            );
            row
        })
        .collect()
}

/// A row as the definition of formats has it.
fn blocks(format: Format, row: &RowCodes) -> Vec<IntegerBlock> {
    let shape = format.shape();
    let float = |bits: u16| half::f16::from_bits(bits).to_f32();
    row.codes
        .chunks(shape.group)
        .enumerate()
        .map(|(g, codes)| {
            let block = g * shape.group / shape.block;
            let d = if format == Format::Mxfp4 {
                bf16_to_f32(row.d[block])
            } else {
                float(row.d[block])
            };
            let signed = matches!(format, Format::Q3K | Format::Q6K | Format::Iq4Xs);
            let scale = match row.scales.get(g) {
                None => d,
                Some(&s) if signed => d * f32::from(s as i8),
                Some(&s) => d * f32::from(s),
            };
            let minimum = shape.minima.then(|| match row.minima.get(g) {
                None => float(row.m[block]),
                Some(&m) => 0.0 - float(row.m[block]) * f32::from(m),
            });
            IntegerBlock {
                integers: codes.iter().map(|&c| format.integer(c)).collect(),
                scale,
                minimum,
            }
        })
        .collect()
}

fn multiply(compute: &Compute, parts: &[Part<'_>], (m, k): (usize, usize), x: &[f32]) -> Vec<f32> {
    let packed = PackedMatrix::pack(compute, k, parts).expect("memory");
    let mut activations = Activations::new();
    activations.fill(compute, packed.inputs(), (m, k), |r, out| {
        out.copy_from_slice(&x[r * k..(r + 1) * k]);
    });
    let mut out = vec![f32::NAN; m * packed.n()];
    packed.multiply(compute, &activations, &mut out);
    out
}

pub(super) fn product(
    compute: &Compute,
    element: Element,
    (m, n, k): (usize, usize, usize),
    x: &[f32],
    w: &[f32],
) -> Vec<f32> {
    let row = |r: usize, out: &mut [f32]| out.copy_from_slice(&w[r * k..(r + 1) * k]);
    let source = Source::Float { element, row: &row };
    multiply(compute, &[Part { rows: n, source }], (m, k), x)
}

fn codes_product(
    compute: &Compute,
    format: Format,
    input: Input,
    (m, k): (usize, usize),
    x: &[f32],
    rows: &[RowCodes],
) -> Vec<f32> {
    let row = |r: usize, out: &mut RowCodes| out.clone_from(&rows[r]);
    let source = Source::Codes {
        format,
        input,
        row: &row,
    };
    let rows = rows.len();
    multiply(compute, &[Part { rows, source }], (m, k), x)
}

fn bits(v: &[f32]) -> Vec<u32> {
    v.iter().map(|x| x.to_bits()).collect()
}

/// Every instruction set that this CPU has, and AMX in any case where it can be
/// emulated.
pub(crate) fn instruction_sets() -> Vec<Isa> {
    #[cfg_attr(
        not(all(target_arch = "x86_64", target_os = "linux")),
        expect(unused_mut, reason = "AMX is emulated on Linux")
    )]
    let mut all = Isa::available();
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    if !all.iter().any(|isa| isa.has_tiles()) {
        super::amx::emulator::install();
        all.push(Isa::Amx(crate::isa::Amx::real_or_emulated()));
    }
    all
}

fn everywhere(check: impl Fn(&Compute)) {
    for isa in instruction_sets() {
        for threads in [1, 2] {
            check(&Compute::new(isa, threads));
        }
    }
}

pub(super) fn check((m, n, k): (usize, usize, usize), scale: f32, seed: u64) {
    let x = noise(seed, m * k, scale);
    let w = noise(seed ^ 0x63, n * k, 1.0);
    for element in [Element::Bf16, Element::F32] {
        let rounded = |v: &[f32]| -> Vec<f32> {
            match element {
                Element::Bf16 => v.iter().map(|&x| bf16_to_f32(round_bf16(x))).collect(),
                Element::F32 => v.to_vec(),
            }
        };
        let (xr, wr) = (rounded(&x), rounded(&w));
        let want: Vec<u32> = (0..m * n)
            .map(|i| {
                let (row, col) = (i / n, i % n);
                reference(&xr[row * k..][..k], &wr[col * k..][..k]).to_bits()
            })
            .collect();
        everywhere(|compute| {
            let got = product(compute, element, (m, n, k), &x, &w);
            assert_eq!(
                bits(&got),
                want,
                "{element:?} {} {m}x{n}x{k}",
                compute.isa().name()
            );
        });
    }
}

pub(super) fn check_codes(format: Format, (m, n, k): (usize, usize, usize), seed: u64) {
    let x = noise(seed, m * k, 2.0);
    let rows = random_rows(format, n, k, seed ^ 0x77);
    let blocks: Vec<Vec<IntegerBlock>> = rows.iter().map(|row| blocks(format, row)).collect();
    // Bits of the output `col` of row `row`, in the two numerics.
    let int8 = |row: usize, col: usize| reference_int8(&x[row * k..][..k], &blocks[col]).to_bits();
    let round = |v: f32| bf16_to_f32(round_bf16(v));
    let rounded: Vec<f32> = x.iter().map(|&v| round(v)).collect();
    let weights: Vec<Vec<f32>> = blocks
        .iter()
        .map(|row| {
            let values = row.iter().flat_map(|b| {
                let minimum = b.minimum.unwrap_or(0.0);
                b.integers
                    .iter()
                    .map(move |&q| b.scale * q as f32 + minimum)
            });
            values.map(round).collect()
        })
        .collect();
    let bf16 =
        |row: usize, col: usize| reference(&rounded[row * k..][..k], &weights[col]).to_bits();
    let all = |output: &dyn Fn(usize, usize) -> u32| -> Vec<u32> {
        (0..m * n).map(|i| output(i / n, i % n)).collect()
    };
    let (want_int8, want_bf16) = (all(&int8), all(&bf16));
    everywhere(|compute| {
        let name = compute.isa().name();
        let got = codes_product(compute, format, Input::Int8, (m, k), &x, &rows);
        assert_eq!(bits(&got), want_int8, "{format:?} int8 {name} {m}x{n}x{k}");
        let got = codes_product(compute, format, Input::Bf16, (m, k), &x, &rows);
        assert_eq!(bits(&got), want_bf16, "{format:?} bf16 {name} {m}x{n}x{k}");
    });
}

#[test]
fn equals_the_reference_bit_for_bit_at_every_edge() {
    for m in [1, 2, 3, 4, 7, 8, 9, 16, 17] {
        for n in [1, 15, 16, 17, 64, 65, 130] {
            for k in [1, 31, 32, 33, 96] {
                check((m, n, k), 1.0, (m * 1000 + n * 10 + k) as u64);
            }
        }
    }
}

#[test]
fn every_format_equals_its_references_bit_for_bit_at_every_edge() {
    for format in FORMATS {
        for m in [1, 2, 3, 5, 6, 7, 11, 12, 13] {
            for n in [1, 16, 17, 49, 64, 70] {
                let k = format.shape().block;
                check_codes(format, (m, n, k), (m * 1000 + n * 10) as u64);
            }
        }
        check_codes(format, (13, 65, 768), 3);
    }
}

#[test]
fn the_largest_codes_do_not_overflow() {
    for format in FORMATS {
        let k = 256;
        let mut rows = random_rows(format, 16, k, 9);
        for (r, row) in rows.iter_mut().enumerate() {
            let highest = (255_u16 >> (8 - code_bits(format))) as u8;
            // As signed bytes, -128 and 127; else the largest and the smallest.
            let extremes = if format == Format::Q8_0 {
                [128, 127]
            } else {
                [highest, 0]
            };
            row.codes.fill(extremes[r % 2]);
        }
        let blocks: Vec<_> = rows.iter().map(|row| blocks(format, row)).collect();
        for sign in [1.0, -1.0] {
            let x = vec![sign; k];
            everywhere(|compute| {
                let got = codes_product(compute, format, Input::Int8, (1, k), &x, &rows);
                let want: Vec<f32> = blocks.iter().map(|b| reference_int8(&x, b)).collect();
                assert_eq!(
                    bits(&got),
                    bits(&want),
                    "{format:?} {}",
                    compute.isa().name()
                );
            });
        }
    }
}

#[test]
fn int8_products_are_near_the_exact_ones() {
    // Root mean square error against f64, relative to the root mean square of the
    // exact products: the activations' rounding is all there is.
    for format in FORMATS {
        let (m, n, k) = (4, 64, 2048);
        let x = noise(5, m * k, 1.0);
        let rows = random_rows(format, n, k, 11);
        let compute = Compute::new(Isa::detect(), 1);
        let got = codes_product(&compute, format, Input::Int8, (m, k), &x, &rows);
        let (mut error, mut power) = (0.0, 0.0);
        for (i, got) in got.iter().enumerate() {
            let x = &x[i / n * k..][..k];
            let mut exact = 0.0;
            let mut at = 0;
            for b in blocks(format, &rows[i % n]) {
                for q in b.integers {
                    let w = f64::from(b.scale) * f64::from(q) + f64::from(b.minimum.unwrap_or(0.0));
                    exact += w * f64::from(x[at]);
                    at += 1;
                }
            }
            error += (f64::from(*got) - exact).powi(2);
            power += exact * exact;
        }
        let nrmse = (error / power).sqrt();
        assert!(nrmse < 8e-3, "{format:?}: {nrmse}");
    }
}

#[test]
fn parts_of_several_formats_are_one_matrix() {
    let (m, k) = (7, 512);
    let x = noise(1, m * k, 1.0);
    let (a, b) = (
        random_rows(Format::Q4K, 40, k, 1),
        random_rows(Format::Q6K, 20, k, 2),
    );
    let w = noise(3, 24 * k, 1.0);
    let row_a = |r: usize, out: &mut RowCodes| out.clone_from(&a[r]);
    let row_b = |r: usize, out: &mut RowCodes| out.clone_from(&b[r]);
    let row_w = |r: usize, out: &mut [f32]| out.copy_from_slice(&w[r * k..][..k]);
    let codes = |format, rows, row| Part {
        rows,
        source: Source::Codes {
            format,
            input: Input::Int8,
            row,
        },
    };
    let float = Part {
        rows: 24,
        source: Source::Float {
            element: Element::Bf16,
            row: &row_w,
        },
    };
    let parts = [
        codes(Format::Q4K, 40, &row_a),
        float,
        codes(Format::Q6K, 20, &row_b),
    ];
    everywhere(|compute| {
        let all = multiply(compute, &parts, (m, k), &x);
        let mut first = 0;
        for part in parts {
            let alone = multiply(compute, &[part], (m, k), &x);
            for row in 0..m {
                assert_eq!(
                    all[row * 84 + first..][..part.rows],
                    alone[row * part.rows..][..part.rows]
                );
            }
            first += part.rows;
        }
    });
}

#[test]
fn packed_codes_take_about_the_bytes_of_the_file() {
    // Bytes of 256 weights in ggml's block structs.
    let file = [
        272, 144, 160, 176, 192, 84, 110, 144, 176, 210, 144, 136, 136,
    ];
    for (format, file) in FORMATS.into_iter().zip(file) {
        let packed = format.bytes(16, 256) as f64 / 16.0;
        let ratio = packed / f64::from(file);
        assert!((1.0..1.07).contains(&ratio), "{format:?}: {ratio}");
    }
}

#[test]
fn tiny_values_do_not_depend_on_the_treatment_of_denormals() {
    // The smallest values that survive rounding: no sum may come near 2^-126.
    let tiny = 2f32.powi(-47);
    check((3, 18, 64), tiny, 5);
    let compute = Compute::new(Isa::Scalar, 1);
    let x: Vec<f32> = noise(1, 64, tiny);
    let w: Vec<f32> = noise(2, 64, tiny);
    let got = product(&compute, Element::Bf16, (1, 1, 64), &x, &w)[0];
    assert!(got == 0.0 || got.abs() >= f32::MIN_POSITIVE);
}

#[test]
fn nan_and_infinity_in_one_row_stay_in_that_row() {
    let compute = Compute::new(Isa::detect(), 2);
    let (m, n, k) = (5, 20, 64);
    let rows = random_rows(Format::Q4_0, n, k, 6);
    for bad in [f32::NAN, f32::INFINITY] {
        for input in [Input::Bf16, Input::Int8] {
            let mut x = noise(3, m * k, 1.0);
            let clean = codes_product(&compute, Format::Q4_0, input, (m, k), &x, &rows);
            x[2 * k + 7] = bad;
            let dirty = codes_product(&compute, Format::Q4_0, input, (m, k), &x, &rows);
            for row in 0..m {
                for col in 0..n {
                    if row != 2 {
                        assert_eq!(dirty[row * n + col], clean[row * n + col]);
                    } else if bad.is_nan() {
                        assert!(dirty[row * n + col].is_nan());
                    } else {
                        assert!(!dirty[row * n + col].is_finite() || clean[row * n + col] == 0.0);
                    }
                }
            }
        }
    }
}

#[test]
fn a_scale_that_is_not_finite_is_not_forgotten() {
    // The NaN of all ones is the one that rounding by addition would turn into 0.
    for (format, input) in [
        Format::Q8_0,
        Format::Q4_1,
        Format::Q4K,
        Format::Q6K,
        Format::Iq4Xs,
    ]
    .into_iter()
    .flat_map(|format| [(format, Input::Bf16), (format, Input::Int8)])
    {
        for bad in [0x7e00, 0x7fff, 0xffff, 0x7c00, 0xfc00] {
            let (n, k) = (17, 256);
            let mut rows = random_rows(format, n, k, 3);
            rows[16].d[0] = bad;
            let x = vec![1.0; k];
            everywhere(|compute| {
                let got = codes_product(compute, format, input, (1, k), &x, &rows);
                let name = compute.isa().name();
                assert!(!got[16].is_finite(), "{format:?} {input:?} {bad:#x} {name}");
                assert!(got[..16].iter().all(|x| x.is_finite()));
            });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_row_does_not_depend_on_its_neighbours(m in 1_usize..40, n in 1_usize..70, k in 1_usize..130, seed: u64) {
        let x = noise(seed, m * k, 3.0);
        let w = noise(seed ^ 7, n * k, 1.0);
        let compute = Compute::new(Isa::detect(), 2);
        let all = product(&compute, Element::Bf16, (m, n, k), &x, &w);
        for row in 0..m {
            let alone = product(&compute, Element::Bf16, (1, n, k), &x[row * k..][..k], &w);
            prop_assert_eq!(&all[row * n..][..n], &alone[..]);
        }
    }

    #[test]
    fn a_row_of_int8_does_not_depend_on_its_neighbours(
        which in 0..FORMATS.len(), m in 1_usize..40, n in 1_usize..70, blocks in 1_usize..3, seed: u64,
    ) {
        let format = FORMATS[which];
        let k = blocks * format.shape().block;
        let x = noise(seed, m * k, 3.0);
        let rows = random_rows(format, n, k, seed);
        let compute = Compute::new(Isa::detect(), 2);
        let all = codes_product(&compute, format, Input::Int8, (m, k), &x, &rows);
        for row in 0..m {
            let alone = codes_product(&compute, format, Input::Int8, (1, k), &x[row * k..][..k], &rows);
            prop_assert_eq!(&all[row * n..][..n], &alone[..]);
        }
    }
}
