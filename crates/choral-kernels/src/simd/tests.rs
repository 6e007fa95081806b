use super::*;
use crate::bf16::round_bf16;
use crate::isa::{Int8Kernel, Isa, Kernel};

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
                "any_above" => s.splat(f32::from(u8::from(s.any_above(a, b)))),
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
        "fma",
        "add",
        "sub",
        "mul",
        "div",
        "max",
        "min",
        "exp",
        "round",
        "keep",
        "sum",
        "largest",
        "any_above",
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

/// Stores pairs of bf16, on the implementation for kernels that round or on the other.
struct Pairs<'a, const ROUNDS: bool, const FLUSH: bool> {
    input: &'a [[f32; LANES]],
    output: &'a mut Vec<[u16; 2 * LANES]>,
}

impl<const ROUNDS: bool, const FLUSH: bool> Int8Kernel for Pairs<'_, ROUNDS, FLUSH> {
    const ROUNDS: bool = ROUNDS;

    #[inline(always)]
    fn run<I: Int8>(self, int8: I) {
        for pair in self.input.windows(2) {
            let (a, b) = (int8.float().load(&pair[0]), int8.float().load(&pair[1]));
            let mut out = [0; 2 * LANES];
            int8.store_bf16_pairs::<FLUSH>(a, b, &mut out);
            self.output.push(out);
        }
    }
}

fn check_pairs<const ROUNDS: bool, const FLUSH: bool>(input: &[[f32; LANES]]) {
    for isa in Isa::available() {
        let mut output = Vec::new();
        isa.run_int8(Pairs::<ROUNDS, FLUSH> {
            input,
            output: &mut output,
        });
        assert_eq!(output.len(), input.len() - 1);
        for (pair, out) in input.windows(2).zip(output) {
            for (at, got) in out.into_iter().enumerate() {
                let x = pair[at % 2][at / 2];
                let want = round_bf16(x);
                let is_nan = got & 0x7fff > 0x7f80;
                let is_zero = !FLUSH && got << 1 == 0 && want == 0;
                assert!(
                    got == want || is_zero || (x.is_nan() && is_nan),
                    "{x:e}: {got:#x} on {}",
                    isa.name()
                );
            }
        }
    }
}

#[test]
fn rounding_to_bf16_is_the_same_on_every_instruction_set() {
    let mut input = inputs();
    check_pairs::<false, true>(&input);
    check_pairs::<true, true>(&input);
    // What may be left out where no flush is asked for.
    for x in input.as_flattened_mut() {
        if x.is_nan() {
            *x = f32::NAN;
        } else if x.abs() < 2_f32.powi(-48) {
            *x = 0.0_f32.copysign(*x);
        }
    }
    check_pairs::<false, false>(&input);
    check_pairs::<true, false>(&input);
}

/// Every code, in every byte of a lane, as the floats that weights are made from.
struct Floats<'a>(&'a mut Vec<[[f32; LANES]; 4]>);

impl Int8Kernel for Floats<'_> {
    #[inline(always)]
    fn run<I: Int8>(mut self, int8: I) {
        let bytes: [u8; 256] = std::array::from_fn(|i| i as u8);
        for bytes in bytes.as_chunks::<BYTES>().0 {
            let b = int8.load(bytes);
            self.of::<I, 0>(int8, b);
            self.of::<I, 1>(int8, b);
            self.of::<I, 2>(int8, b);
            self.of::<I, 3>(int8, b);
        }
    }
}

impl Floats<'_> {
    #[inline(always)]
    fn of<I: Int8, const AT: usize>(&mut self, int8: I, b: I::B) {
        let mut out = [[0.0; LANES]; 4];
        let f = int8.float();
        f.store(int8.byte::<AT>(b), &mut out[0]);
        f.store(int8.byte_above_128::<AT>(b), &mut out[1]);
        f.store(int8.byte_above_32896::<AT>(b), &mut out[2]);
        f.store(int8.byte_times_2_24::<AT>(b), &mut out[3]);
        self.0.push(out);
    }
}

#[test]
fn codes_become_the_floats_that_they_stand_for() {
    for isa in Isa::available() {
        let mut floats = Vec::new();
        isa.run_int8(Floats(&mut floats));
        assert_eq!(floats.len(), 16);
        for (i, got) in floats.into_iter().enumerate() {
            for lane in 0..LANES {
                let code = (i / 4 * BYTES + 4 * lane + i % 4) as u8;
                let signed = f32::from(code as i8);
                assert_eq!(got[0][lane], f32::from(code));
                if code < 128 {
                    assert_eq!(got[1][lane], 128.0 + f32::from(code));
                }
                assert_eq!(got[2][lane], 32896.0 + signed);
                assert_eq!(got[3][lane], 16_777_216.0 * signed);
            }
        }
    }
}

/// Dot products of four weights with four activations, in every lane.
struct Dots<'a> {
    weights: &'a [u8; BYTES],
    activations: &'a [[u8; BYTES]],
    sums: &'a mut Vec<[f32; LANES]>,
}

impl Int8Kernel for Dots<'_> {
    #[inline(always)]
    fn run<I: Int8>(self, int8: I) {
        let f = int8.float();
        let w = int8.signed(int8.load(self.weights));
        for line in self.activations {
            let word = [line[0], line[1], line[2], line[3]].map(|byte| byte as i8);
            let sum: i32 = word.iter().map(|&a| i32::from(a)).sum();
            let start = I::SIGNED_START.map_or(0, |power| -sum << power);
            // SAFETY: there is one line.
            let a = unsafe { int8.activations::<0, 0>(std::slice::from_ref(line).as_ptr()) };
            let sums = int8.dot_signed(int8.splat(start), w, a);
            let mut out = [0.0; LANES];
            f.store(int8.to_float(sums), &mut out);
            self.sums.push(out);
        }
    }
}

/// 8-bit GPTQ and `Q8_0` files may hold -128; activations never are.
#[test]
fn weights_of_minus_128_are_summed_exactly_on_every_instruction_set() {
    // Of -128 in every place, in some, and beside the largest.
    let quads: [[i8; 4]; LANES] = std::array::from_fn(|lane| {
        std::array::from_fn(|i| match (lane >> i & 1, lane % 3) {
            (1, _) => -128,
            (_, 0) => 127,
            (_, 1) => -127,
            _ => lane as i8,
        })
    });
    let mut weights = [0; BYTES];
    for (bytes, quad) in weights.as_chunks_mut::<4>().0.iter_mut().zip(quads) {
        *bytes = quad.map(|w| w as u8);
    }
    let words: [[i8; 4]; 7] = [
        [127; 4],
        [-127; 4],
        [127, -127, 127, -127],
        [-127, -127, 127, 127],
        [0, 1, -1, 64],
        [-127, 0, 127, 3],
        [1; 4],
    ];
    let lines: Vec<[u8; BYTES]> = words
        .iter()
        .map(|word| std::array::from_fn(|i| word[i % 4] as u8))
        .collect();
    for isa in Isa::available() {
        let mut sums = Vec::new();
        isa.run_int8(Dots {
            weights: &weights,
            activations: &lines,
            sums: &mut sums,
        });
        assert_eq!(sums.len(), words.len());
        for (word, sums) in words.iter().zip(sums) {
            for (quad, sum) in quads.iter().zip(sums) {
                let exact: i32 = (0..4)
                    .map(|i| i32::from(quad[i]) * i32::from(word[i]))
                    .sum();
                assert_eq!(sum, exact as f32, "{quad:?} {word:?} {}", isa.name());
            }
        }
    }
}
