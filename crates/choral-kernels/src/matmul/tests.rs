use super::*;
use crate::Isa;
use proptest::prelude::*;

fn noise(seed: u64, len: usize, scale: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale
        })
        .collect()
}

fn product(
    compute: &Compute,
    element: Element,
    (m, n, k): (usize, usize, usize),
    x: &[f32],
    w: &[f32],
) -> Vec<f32> {
    let packed = PackedMatrix::pack(compute, element, n, k, |r, out| {
        out.copy_from_slice(&w[r * k..(r + 1) * k]);
    })
    .expect("memory");
    let mut activations = Activations::new(element);
    activations.fill(compute, m, k, |r, out| {
        out.copy_from_slice(&x[r * k..(r + 1) * k]);
    });
    let mut out = vec![f32::NAN; m * n];
    packed.multiply(compute, &activations, &mut out);
    out
}

fn check((m, n, k): (usize, usize, usize), scale: f32, seed: u64) {
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
        for isa in Isa::available() {
            for threads in [1, 2] {
                let compute = Compute::new(isa, threads);
                let got = product(&compute, element, (m, n, k), &x, &w);
                let got: Vec<u32> = got.into_iter().map(f32::to_bits).collect();
                assert_eq!(
                    got,
                    want,
                    "{element:?} {} {threads} threads {m}x{n}x{k}",
                    isa.name()
                );
            }
        }
    }
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
    let (m, n, k) = (5, 20, 40);
    let mut x = noise(3, m * k, 1.0);
    let w = noise(4, n * k, 1.0);
    let clean = product(&compute, Element::Bf16, (m, n, k), &x, &w);
    x[2 * k + 7] = f32::NAN;
    let dirty = product(&compute, Element::Bf16, (m, n, k), &x, &w);
    for row in 0..m {
        for col in 0..n {
            if row == 2 {
                assert!(dirty[row * n + col].is_nan());
            } else {
                assert_eq!(dirty[row * n + col], clean[row * n + col]);
            }
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
}
