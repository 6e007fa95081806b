use super::{SampleContext, Sampler, SamplerScratch};
use crate::sampling::{
    Combination, Rng, SampleError, SamplingParams, SamplingStrategy, sample_token,
};

const LOGITS: [f32; 8] = [0.5, 2.0, -1.0, 1.9, f32::NEG_INFINITY, 0.1, 2.0, -3.0];

fn all_strategies() -> Vec<SamplingStrategy> {
    vec![
        SamplingStrategy::Greedy,
        SamplingStrategy::Temperature { temperature: 0.7 },
        SamplingStrategy::Temperature { temperature: 0.0 },
        SamplingStrategy::TopK { k: 3 },
        SamplingStrategy::TopP { p: 0.9 },
        SamplingStrategy::MinP { p: 0.2 },
        SamplingStrategy::Combined(Combination {
            temperature: 0.7,
            top_k: 5,
            top_p: 0.9,
            min_p: 0.05,
        }),
        SamplingStrategy::Combined(Combination::default()),
    ]
}

#[test]
fn a_loop_by_hand_draws_what_the_engine_draws() {
    for strategy in all_strategies() {
        let params = SamplingParams::from(strategy);
        let sampler = Sampler::new(&params, 99, 0);
        let mut rng = Rng::new(99);
        let mut output = Vec::new();
        for _ in 0..50 {
            let context = SampleContext {
                output: &output,
                ..SampleContext::default()
            };
            let sampled = sampler.sample(&mut SamplerScratch::new(), &LOGITS, &context);
            let token = sample_token(&LOGITS, &strategy, &mut rng).unwrap();
            assert_eq!(sampled.unwrap().token_id, token, "{strategy:?}");
            output.push(token);
        }
    }
}

#[test]
fn combinations_combine() {
    // Temperature 0.5 turns the odds of 3 : 2 : 1 into 9 : 4 : 1; the nucleus
    // of 0.6 is then the first token alone, and two tokens at temperature 1.
    let logits = [3f32.ln(), 2f32.ln(), 0.0];
    let draw_all = |temperature| {
        let mut rng = Rng::new(1);
        let strategy = SamplingStrategy::Combined(Combination {
            temperature,
            top_p: 0.6,
            ..Combination::default()
        });
        let mut drawn: Vec<u32> = (0..200)
            .map(|_| sample_token(&logits, &strategy, &mut rng).unwrap())
            .collect();
        drawn.sort_unstable();
        drawn.dedup();
        drawn
    };
    assert_eq!(draw_all(0.5), [0]);
    assert_eq!(draw_all(1.0), [0, 1]);
}

#[test]
fn values_out_of_range_and_bad_logits_are_errors() {
    let mut rng = Rng::new(0);
    for (strategy, field) in [
        (SamplingStrategy::TopP { p: 1.5 }, "top_p"),
        (SamplingStrategy::MinP { p: f32::NAN }, "min_p"),
        (
            SamplingStrategy::Temperature { temperature: -1.0 },
            "temperature",
        ),
    ] {
        match sample_token(&LOGITS, &strategy, &mut rng) {
            Err(SampleError::Param(error)) => assert_eq!(error.field(), field),
            other => panic!("{strategy:?} gave {other:?}"),
        }
    }
    for strategy in all_strategies() {
        assert!(sample_token(&[1.0, f32::NAN], &strategy, &mut rng).is_err());
        assert!(sample_token(&[f32::NEG_INFINITY; 3], &strategy, &mut rng).is_err());
        assert!(sample_token(&[], &strategy, &mut rng).is_err());
    }
}
