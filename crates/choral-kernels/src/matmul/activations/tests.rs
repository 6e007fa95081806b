use super::*;
use crate::Isa;

fn quantised(isa: Isa, x: &[f32]) -> (Vec<i8>, Vec<f32>) {
    let mut activations = Activations::new();
    let compute = Compute::new(isa, 1);
    activations.fill(
        &compute,
        Inputs::one(Input::Int8),
        (1, x.len()),
        |_, out| {
            out.copy_from_slice(x);
        },
    );
    let lines = activations.int8_lines();
    for LineInt8 { codes, info } in lines {
        let sum = |r: std::ops::Range<usize>| codes[r].iter().map(|&c| i32::from(c)).sum::<i32>();
        assert_eq!(info.minus_half_sums, [-sum(0..16), -sum(16..32)]);
        assert_eq!(info.half_sums, [sum(0..16) as f32, sum(16..32) as f32]);
        assert_eq!((info.sum, info.minus_sum), (sum(0..32) as f32, -sum(0..32)));
    }
    (
        lines.iter().flat_map(|line| line.codes).collect(),
        lines.iter().map(|line| line.info.scale).collect(),
    )
}

#[test]
fn codes_are_the_nearest_of_255_steps() {
    let mut x: Vec<f32> = (0..40).map(|i| (i as f32 - 20.0) * 0.25).collect();
    x[3] = -12.7;
    for isa in Isa::available() {
        let (codes, scales) = quantised(isa, &x);
        assert_eq!(codes.len(), 64);
        assert!((scales[0] - 0.1).abs() < 1e-7);
        assert_eq!(codes[3], -127);
        for i in 0..32 {
            let error = (x[i] - scales[0] * f32::from(codes[i])).abs();
            assert!(error <= scales[0] * 0.5001, "{i}: {error}");
        }
        assert_eq!(codes[39], 127);
        assert_eq!(codes[40..], [0; 24]);
    }
}

#[test]
fn what_is_not_finite_poisons_its_block_only() {
    for isa in Isa::available() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = vec![1.0; 64];
            x[40] = bad;
            let (codes, scales) = quantised(isa, &x);
            assert_eq!(codes[..32], [127; 32]);
            assert!(scales[0] > 0.0 && scales[1].is_nan());
            assert_eq!(codes[32..], [0; 32]);
        }
    }
}

#[test]
fn gathered_rows_are_what_filling_with_them_gives() {
    let value = |r: usize, i: usize| ((r * 37 + i * 11) % 97) as f32 * 0.37 - 15.0;
    let (m, k) = (37, 70);
    for isa in Isa::available() {
        let compute = Compute::new(isa, 1);
        for input in [Input::F32, Input::Bf16] {
            let fill = |rows: &[u32], inputs: Inputs| {
                let mut x = Activations::new();
                x.fill(&compute, inputs, (rows.len(), k), |r, out| {
                    for (i, out) in out.iter_mut().enumerate() {
                        *out = value(rows[r] as usize, i);
                    }
                });
                x
            };
            let all: Vec<u32> = (0..m).collect();
            // Also where there is an int8 form beside it.
            let source = fill(&all, Inputs::one(input).and(Input::Int8));
            let mut gathered = Activations::new();
            for rows in [&all[..], &[3], &[0, 1, 17, 36], &all[5..22], &[]] {
                gathered.gather(&source, rows);
                let expected = fill(rows, Inputs::one(input));
                assert_eq!(gathered.inputs(), expected.inputs());
                assert_eq!(gathered.tiles, expected.tiles, "{isa:?}");
                let lines = |x: &Activations| -> Vec<_> { x.lines.iter().map(|l| l.0).collect() };
                assert_eq!(lines(&gathered), lines(&expected), "{isa:?}");
            }
        }
    }
}

#[test]
fn zeros_and_the_smallest_numbers_have_zero_codes() {
    for isa in Isa::available() {
        for x in [0.0, -0.0, f32::MIN_POSITIVE, 1e-40] {
            let (codes, scales) = quantised(isa, &[x; 32]);
            assert_eq!(codes, [0; 32]);
            assert!(scales[0].is_finite());
        }
    }
}
