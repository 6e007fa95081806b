use super::*;
use crate::isa::{Isa, Kernel};

/// Runs one operation over many inputs on one instruction set.
struct Apply<'a> {
    op: &'static str,
    input: &'a [[f32; LANES]],
    output: &'a mut Vec<[u32; LANES]>,
}

impl Kernel for Apply<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for pair in self.input.windows(3) {
            let (a, b, c) = (s.load(&pair[0]), s.load(&pair[1]), s.load(&pair[2]));
            let v = match self.op {
                "fma" => s.fma(a, b, c),
                "add" => s.add(a, b),
                "sub" => s.sub(a, b),
                "mul" => s.mul(a, b),
                "div" => s.div(a, b),
                "max" => s.max(a, b),
                "min" => s.min(a, b),
                "exp" => s.exp(a),
                "round" => s.round(s.min(s.max(a, s.splat(-4e6)), s.splat(4e6))),
                "keep" => s.keep(a, 3, 11, 7.0),
                "sum" => s.splat(s.sum(a)),
                "largest" => s.splat(s.largest(a)),
                other => panic!("{other}"),
            };
            let mut out = [0.0; LANES];
            s.store(v, &mut out);
            // The sign and payload of a NaN are not part of the promise.
            self.output
                .push(out.map(|x| if x.is_nan() { 0x7fc0_0000 } else { x.to_bits() }));
        }
    }
}

fn inputs() -> Vec<[f32; LANES]> {
    let mut state = 1_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 32) as u32
    };
    let special = [
        0.0,
        -0.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        1e-45,
        -1e-39,
        0.5,
        1.5,
        88.5,
    ];
    (0..3000)
        .map(|row| {
            std::array::from_fn(|_| match row % 3 {
                0 => f32::from_bits(next()),
                1 => (next() as f32 / 2f32.powi(31) - 1.0) * 90.0,
                _ => special[next() as usize % special.len()],
            })
        })
        .collect()
}

#[test]
fn every_instruction_set_gives_the_bits_of_the_scalar_one() {
    let input = inputs();
    for op in [
        "fma", "add", "sub", "mul", "div", "max", "min", "exp", "round", "keep", "sum", "largest",
    ] {
        let run = |isa: Isa| {
            let mut output = Vec::new();
            isa.run(Apply {
                op,
                input: &input,
                output: &mut output,
            });
            output
        };
        let want = run(Isa::Scalar);
        for isa in Isa::available() {
            assert_eq!(run(isa), want, "{op} on {}", isa.name());
        }
    }
}

#[test]
fn exp_is_within_two_units_in_the_last_place() {
    let mut worst = 0.0_f64;
    for i in -8_700..=8_800 {
        let x = i as f32 / 100.0;
        let got = f64::from(Scalar.exp([x; LANES])[0]);
        let want = f64::from(x).exp();
        let ulp = f64::from((want as f32).next_up()) - f64::from(want as f32);
        worst = worst.max((got - want).abs() / ulp);
    }
    assert!(worst < 2.0, "worst error {worst} ulp");
}

#[test]
fn exp_of_nan_is_nan_and_of_minus_infinity_is_tiny() {
    assert!(Scalar.exp([f32::NAN; LANES])[0].is_nan());
    assert!(Scalar.exp([f32::NEG_INFINITY; LANES])[0] < 2e-38);
}
