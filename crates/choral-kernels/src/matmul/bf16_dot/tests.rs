use super::{LANES, agrees_with};
use crate::matmul::tests::{noise, product, random};
use crate::matmul::{Element, reference};
use crate::{Compute, Isa, bf16_to_f32, round_bf16};
use proptest::prelude::*;

/// Bits, with one NaN for all: sign and payload are not part of the promise.
fn bits(v: &[f32]) -> Vec<u32> {
    let one_nan = |x: &f32| if x.is_nan() { f32::NAN } else { *x };
    v.iter().map(|x| one_nan(x).to_bits()).collect()
}

/// Compares every instruction set of this CPU with the reference.
fn check((m, n, k): (usize, usize, usize), x: &[f32], w: &[f32]) {
    let rounded = |v: &[f32]| -> Vec<f32> {
        let round = |&x: &f32| bf16_to_f32(round_bf16(x));
        v.iter().map(round).collect()
    };
    let (xr, wr) = (rounded(x), rounded(w));
    let want: Vec<f32> = (0..m * n)
        .map(|i| reference(&xr[i / n * k..][..k], &wr[i % n * k..][..k]))
        .collect();
    for isa in Isa::available() {
        for threads in [1, 2] {
            let compute = Compute::new(isa, threads);
            let got = product(&compute, Element::Bf16, (m, n, k), x, w);
            assert_eq!(bits(&got), bits(&want), "{} {m}x{n}x{k}", isa.name());
        }
    }
}

/// Numbers that sums trip over; infinities and NaN one in `rare`.
fn awkward(seed: u64, len: usize, rare: u32) -> Vec<f32> {
    let mut state = seed | 1;
    let mut last = 1.0;
    (0..len)
        .map(|_| {
            let (kind, bits) = (random(&mut state), random(&mut state));
            let unit = f32::from_bits(bits & 0x807f_ffff | 0x3f80_0000);
            last = match kind % 16 {
                _ if (kind >> 8).is_multiple_of(rare) => match bits % 3 {
                    0 => f32::INFINITY,
                    1 => f32::NEG_INFINITY,
                    _ => f32::NAN,
                },
                0 => 0.0,
                1 => -0.0,
                2 => f32::from_bits(bits & 0x807f_ffff), // denormal
                3 => unit * 2f32.powi(-49),              // flushed, and about the smallest
                4 => unit * 2f32.powi(-48),              // that are kept
                5 => unit * 2f32.powi(-47),
                6 => unit * f32::MIN_POSITIVE,
                7 => unit * 2f32.powi(63), // products near the largest, and past it
                8 => unit * 2f32.powi(40),
                9 | 10 => -last, // cancels what came before, if the other side repeats
                11 => last,
                12 => f32::from_bits(bits), // whatever it is
                _ => unit,
            };
            last
        })
        .collect()
}

#[test]
fn every_shape_near_an_edge_has_the_bits_of_the_reference() {
    // Edges of passes (6 rows), groups (16 outputs, by two and by four), fours and
    // tiles of `k`, and panels (8 tiles).
    for m in [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 19] {
        for (n, k) in [
            (1, 1),
            (15, 2),
            (16, 3),
            (17, 4),
            (31, 5),
            (33, 31),
            (48, 32),
        ]
        .into_iter()
        .chain([(49, 33), (64, 63), (65, 64), (80, 65), (33, 255), (17, 256)])
        .chain([(64, 257), (65, 288), (130, 289), (17, 513), (2, 1025)])
        {
            let seed = (m * 1000 + n * 10 + k) as u64;
            check(
                (m, n, k),
                &noise(seed, m * k, 2.0),
                &noise(!seed, n * k, 1.0),
            );
        }
    }
}

#[test]
fn only_the_order_of_the_reference_is_believed() {
    type Step = fn(f32, (f32, f32), (f32, f32)) -> f32;
    let agrees = |step: Step| {
        agrees_with(|sums, a, b| {
            let wide = |v: &[u16; 2 * LANES], at: usize| bf16_to_f32(v[at]);
            let of = |at: usize| (wide(a, at), wide(b, at));
            std::array::from_fn(|n| step(sums[n], of(2 * n), of(2 * n + 1)))
        })
    };
    assert!(agrees(|c, (a, b), (d, e)| a.mul_add(b, d.mul_add(e, c))));
    // The other order, products added first, and no rounding between. (Products are exact:
    // to round them apart changes nothing.)
    assert!(!agrees(|c, (a, b), (d, e)| d.mul_add(e, a.mul_add(b, c))));
    assert!(!agrees(|c, (a, b), (d, e)| a.mul_add(b, d * e) + c));
    assert!(!agrees(|c, (a, b), (d, e)| {
        let [a, b, c, d, e] = [a, b, c, d, e].map(f64::from);
        (a * b + (d * e + c)) as f32
    }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn awkward_numbers_have_the_bits_of_the_reference(
        m in 1_usize..20, n in 1_usize..70, k in 1_usize..300, seed: u64, rare in 2_u32..2000,
    ) {
        check((m, n, k), &awkward(seed, m * k, rare), &awkward(!seed, n * k, rare));
    }
}
