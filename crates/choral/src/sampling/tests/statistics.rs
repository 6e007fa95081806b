//! Draws follow their distribution.

use super::{Sampler, SamplerScratch, SamplingParams, neutral};
use crate::sampling::SampleContext;

const NUM_DRAWS: usize = 20_000;

/// Asserts that Pearson's chi-square stays below the 99.9% point (by Wilson
/// and Hilferty's approximation). Seeds are fixed, so it passes or it doesn't.
fn assert_fits(counts: &[u64], probabilities: &[f64]) {
    let total: u64 = counts.iter().sum();
    let mut chi_square = 0.0;
    let mut degrees = -1.0;
    for (&count, &p) in counts.iter().zip(probabilities) {
        let expected = p * total as f64;
        if p == 0.0 {
            assert_eq!(count, 0);
            continue;
        }
        assert!(expected >= 5.0, "too few draws for chi-square");
        chi_square += (count as f64 - expected).powi(2) / expected;
        degrees += 1.0;
    }
    let spread: f64 = 2.0 / (9.0 * degrees);
    let limit = degrees * (1.0 - spread + 3.09 * spread.sqrt()).powi(3);
    assert!(chi_square < limit, "chi-square {chi_square} above {limit}");
}

fn softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
    let weights: Vec<f64> = logits
        .iter()
        .map(|&l| (f64::from(l) / temperature).exp())
        .collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|w| w / total).collect()
}

const LOGITS: [f32; 12] = [
    0.3, -1.2, 2.0, 1.1, 0.0, -0.7, 1.9, 0.4, -2.0, 0.9, 1.5, -0.1,
];

/// Counts of the tokens that `draw(i)` gives.
fn count(num_tokens: usize, draw: impl Fn(usize) -> u32) -> Vec<u64> {
    let mut counts = vec![0; num_tokens];
    for i in 0..NUM_DRAWS {
        counts[draw(i) as usize] += 1;
    }
    counts
}

#[test]
fn draws_fit_over_positions_over_seeds_and_over_choices() {
    let params = SamplingParams {
        temperature: 0.8,
        ..neutral()
    };
    let probabilities = softmax(&LOGITS, 0.8);
    let answer = vec![0; NUM_DRAWS];
    let draw = |seed, choice, position: usize| {
        let context = SampleContext {
            output: &answer[..position],
            ..SampleContext::default()
        };
        Sampler::new(&params, seed, choice)
            .sample(&mut SamplerScratch::new(), &LOGITS, &context)
            .unwrap()
            .token_id
    };
    assert_fits(&count(LOGITS.len(), |i| draw(7, 0, i)), &probabilities);
    assert_fits(
        &count(LOGITS.len(), |i| draw(i as u64, 0, 0)),
        &probabilities,
    );
    assert_fits(
        &count(LOGITS.len(), |i| draw(7, i as u32, 3)),
        &probabilities,
    );
}

#[test]
fn draws_fit_a_filtered_distribution() {
    let params = SamplingParams {
        top_k: 5,
        min_p: 0.3,
        ..neutral()
    };
    // The five best are 2.0, 1.9, 1.5, 1.1, 0.9; e^-1.1 = 0.33 is above 0.3.
    let kept: Vec<f32> = LOGITS
        .iter()
        .map(|&l| if l >= 0.9 { l } else { f32::NEG_INFINITY })
        .collect();
    let counts = count(LOGITS.len(), |i| {
        Sampler::new(&params, 11, i as u32)
            .sample(
                &mut SamplerScratch::new(),
                &LOGITS,
                &SampleContext::default(),
            )
            .unwrap()
            .token_id
    });
    assert_fits(&counts, &softmax(&kept, 1.0));
}

#[test]
fn pairs_of_successive_draws_are_independent() {
    // Four equally likely tokens: sixteen equally likely pairs.
    let params = neutral();
    let answer = vec![0; 2 * NUM_DRAWS];
    let sampler = Sampler::new(&params, 3, 0);
    let mut scratch = SamplerScratch::new();
    let mut draw = |position: usize| {
        let context = SampleContext {
            output: &answer[..position],
            ..SampleContext::default()
        };
        let sampled = sampler.sample(&mut scratch, &[1.0; 4], &context);
        sampled.unwrap().token_id as usize
    };
    let mut counts = vec![0; 16];
    for i in 0..NUM_DRAWS {
        counts[draw(2 * i) * 4 + draw(2 * i + 1)] += 1;
    }
    assert_fits(&counts, &[1.0 / 16.0; 16]);
}

#[test]
fn choices_of_one_seed_differ() {
    let params = neutral();
    let logits = [0.0; 1000];
    let answers: Vec<Vec<u32>> = (0..8)
        .map(|choice| {
            let sampler = Sampler::new(&params, 42, choice);
            let mut output = Vec::new();
            for _ in 0..16 {
                let context = SampleContext {
                    output: &output,
                    ..SampleContext::default()
                };
                let sampled = sampler.sample(&mut SamplerScratch::new(), &logits, &context);
                output.push(sampled.unwrap().token_id);
            }
            output
        })
        .collect();
    for (i, a) in answers.iter().enumerate() {
        for b in &answers[i + 1..] {
            assert_ne!(a, b);
        }
    }
}
