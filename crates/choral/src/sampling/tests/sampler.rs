use super::{draw, greedy, neutral, sample};
use crate::sampling::TokenLogprob;
use crate::sampling::{
    SampleContext, SampleError, Sampler, SamplerScratch, SamplingParams, position_logprobs,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

const NONE: f32 = f32::NEG_INFINITY;

fn after<'a>(prompt: &'a [u32], output: &'a [u32]) -> SampleContext<'a> {
    SampleContext {
        prompt,
        output,
        ..SampleContext::default()
    }
}

/// The greedy token after `prompt` and `output`.
fn best(params: &SamplingParams, logits: &[f32], prompt: &[u32], output: &[u32]) -> u32 {
    sample(params, logits, &after(prompt, output))
        .unwrap()
        .token_id
}

#[test]
fn greedy_takes_the_lowest_of_equals() {
    assert_eq!(draw(&greedy(), &[0.0, 2.0, 2.0, 1.0]), 1);
    assert_eq!(draw(&greedy(), &[NONE, NONE, -5.0]), 2);
    assert_eq!(draw(&greedy(), &[-0.0, 0.0]), 0);
    let top_1 = SamplingParams {
        top_k: 1,
        ..neutral()
    };
    assert_eq!(draw(&top_1, &[0.0, 2.0, 2.0, 1.0]), 1);
}

#[test]
fn repetition_penalty_pushes_negative_logits_down() {
    let params = SamplingParams {
        repetition_penalty: 2.0,
        ..greedy()
    };
    // -1 * 2 = -2 loses to -1.5; divided, it would be -0.5 and win.
    assert_eq!(best(&params, &[-1.0, -1.5], &[0], &[]), 1);
    // 3 / 2 = 1.5 loses to 2; once only, however often token 0 occurs.
    assert_eq!(best(&params, &[3.0, 2.0], &[], &[0]), 1);
    assert_eq!(best(&params, &[3.0, 1.4], &[0, 0, 0], &[0, 0]), 0);
}

#[test]
fn frequency_counts_and_presence_does_not_and_both_leave_the_prompt_alone() {
    let frequency = SamplingParams {
        frequency_penalty: 0.5,
        ..greedy()
    };
    assert_eq!(best(&frequency, &[2.0, 0.9], &[], &[0, 0]), 0);
    assert_eq!(best(&frequency, &[2.0, 0.9], &[], &[0, 0, 0]), 1);
    assert_eq!(best(&frequency, &[2.0, 0.9], &[0; 9], &[]), 0);
    let presence = SamplingParams {
        presence_penalty: 0.5,
        ..greedy()
    };
    assert_eq!(best(&presence, &[2.0, 1.4], &[], &[0; 9]), 0);
    assert_eq!(best(&presence, &[2.0, 1.6], &[], &[0]), 1);
    assert_eq!(best(&presence, &[2.0, 1.6], &[0], &[]), 0);
}

#[test]
fn repeat_last_n_limits_each_penaltys_own_window() {
    let repetition = |last_n| SamplingParams {
        repetition_penalty: 4.0,
        repeat_last_n: Some(last_n),
        ..greedy()
    };
    // The window runs over the end of the prompt and all of the answer.
    let logits = [2.0, 1.0, -9.0];
    assert_eq!(best(&repetition(0), &logits, &[0], &[0]), 0);
    assert_eq!(best(&repetition(1), &logits, &[0], &[2]), 0);
    assert_eq!(best(&repetition(2), &logits, &[0], &[2]), 1);
    assert_eq!(best(&repetition(2), &logits, &[0], &[2, 2]), 0);
    assert_eq!(best(&repetition(u32::MAX), &logits, &[0], &[2, 2]), 1);
    let presence = |last_n| SamplingParams {
        presence_penalty: 4.0,
        repeat_last_n: Some(last_n),
        ..greedy()
    };
    // The prompt is not in it, however long the window.
    assert_eq!(best(&presence(9), &logits, &[0], &[2]), 0);
    assert_eq!(best(&presence(1), &logits, &[], &[0, 2]), 0);
    assert_eq!(best(&presence(2), &logits, &[], &[0, 2]), 1);
}

#[test]
fn edits_come_in_the_documented_order() {
    // Repetition, then frequency: 4 / 2 - 1 = 1; the other way (4 - 1) / 2.
    let both = SamplingParams {
        repetition_penalty: 2.0,
        frequency_penalty: 1.0,
        ..greedy()
    };
    assert_eq!(best(&both, &[4.0, 1.2], &[], &[0]), 1);
    assert_eq!(best(&both, &[4.0, 0.8], &[], &[0]), 0);
    // Repetition, then bias: 1 / 2 + 1 = 1.5; the other way (1 + 1) / 2 = 1.
    let biased = SamplingParams {
        repetition_penalty: 2.0,
        logit_bias: BTreeMap::from([(0, 1.0)]),
        ..greedy()
    };
    assert_eq!(best(&biased, &[1.0, 1.2], &[0], &[]), 0);
    // A ban comes after the bias.
    let banned = SamplingParams {
        logit_bias: BTreeMap::from([(0, 100.0)]),
        banned_token_ids: vec![0],
        ..greedy()
    };
    assert_eq!(best(&banned, &[1.0, 1.2], &[], &[]), 1);
}

#[test]
fn end_and_stop_tokens_wait_for_min_tokens() {
    let params = SamplingParams {
        min_tokens: 2,
        stop_token_ids: vec![1],
        ..greedy()
    };
    let token_after = |output: &[u32]| {
        let context = SampleContext {
            end_tokens: &[0],
            ..after(&[], output)
        };
        let sampled = sample(&params, &[3.0, 2.0, 1.0], &context);
        sampled.unwrap().token_id
    };
    assert_eq!(token_after(&[]), 2);
    assert_eq!(token_after(&[2]), 2);
    assert_eq!(token_after(&[2, 2]), 0);
}

#[test]
fn only_allowed_tokens_are_drawn() {
    let mut params = SamplingParams {
        allowed_token_ids: Some(vec![3, 1, 3]),
        ..greedy()
    };
    let logits = [9.0, 1.0, 8.0, 2.0];
    assert_eq!(draw(&params, &logits), 3);
    params.temperature = 1.0;
    for seed in 0..200 {
        params.seed = Some(seed);
        assert!([1, 3].contains(&draw(&params, &logits)));
    }
    params.top_k = 1;
    assert_eq!(draw(&params, &logits), 3);
    params.banned_token_ids = vec![3];
    assert_eq!(draw(&params, &logits), 1);
}

#[test]
fn broken_logits_are_named() {
    for bad in [f32::NAN, f32::INFINITY] {
        for length in [3, 40] {
            for position in [0, length - 1] {
                let mut logits = vec![0.0; length];
                logits[position] = bad;
                for params in [greedy(), neutral(), SamplingParams::default()] {
                    match sample(&params, &logits, &SampleContext::default()) {
                        Err(SampleError::NotFinite { token_id, value }) => {
                            assert_eq!(token_id as usize, position);
                            assert!(value.is_nan() == bad.is_nan());
                        }
                        other => panic!("{bad} gave {other:?}"),
                    }
                }
            }
        }
    }
    let error = sample(&greedy(), &[0.0, f32::NAN], &SampleContext::default());
    assert_eq!(
        error.unwrap_err().to_string(),
        "logit of token 1 is NaN, expected a finite number or -inf"
    );
}

#[test]
fn nothing_left_is_an_error() {
    let banned = SamplingParams {
        banned_token_ids: vec![0, 1],
        ..neutral()
    };
    let early = SamplingParams {
        min_tokens: 1,
        allowed_token_ids: Some(vec![1]),
        ..neutral()
    };
    let context = SampleContext {
        end_tokens: &[1],
        ..SampleContext::default()
    };
    let left = |vocab_size| SampleError::NothingLeft { vocab_size };
    for (params, logits) in [
        (banned, vec![1.0, 2.0]),
        (early, vec![1.0, 2.0]),
        (neutral(), vec![NONE, NONE]),
        (neutral(), vec![]),
    ] {
        let vocab_size = logits.len();
        assert_eq!(sample(&params, &logits, &context), Err(left(vocab_size)));
        let greedy = SamplingParams {
            temperature: 0.0,
            ..params
        };
        assert_eq!(sample(&greedy, &logits, &context), Err(left(vocab_size)));
    }
}

#[test]
fn tokens_outside_of_the_row_are_errors() {
    let unknown = Err(SampleError::UnknownToken {
        token_id: 7,
        vocab_size: 2,
    });
    let penalised = SamplingParams {
        repetition_penalty: 1.1,
        ..neutral()
    };
    assert_eq!(sample(&penalised, &[0.0, 1.0], &after(&[7], &[])), unknown);
    let biased = SamplingParams {
        logit_bias: BTreeMap::from([(7, 1.0)]),
        ..neutral()
    };
    assert_eq!(sample(&biased, &[0.0, 1.0], &after(&[], &[])), unknown);
    let allowed = SamplingParams {
        allowed_token_ids: Some(vec![7]),
        ..neutral()
    };
    assert_eq!(sample(&allowed, &[0.0, 1.0], &after(&[], &[])), unknown);
}

#[test]
fn an_edit_that_overflows_is_an_error() {
    let params = SamplingParams {
        repetition_penalty: 1e-9,
        ..neutral()
    };
    let error = sample(&params, &[1e38, 0.0], &after(&[0], &[])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "logit of token 0 overflows to inf under `repetition_penalty`"
    );
}

#[test]
fn logprobs_are_the_models_own() {
    // Odds 4 : 2 : 1 : 1, whatever the sampling parameters do to them.
    let logits = [4f32.ln(), 2f32.ln(), 0.0, 0.0, NONE];
    let params = SamplingParams {
        temperature: 0.1,
        banned_token_ids: vec![0],
        logprobs: Some(3),
        ..greedy()
    };
    let sampled = sample(&params, &logits, &SampleContext::default()).unwrap();
    let logprobs = sampled.logprobs.unwrap();
    let expected = |token_id, p: f64| TokenLogprob {
        token_id,
        logprob: p.ln() as f32,
    };
    assert_eq!(logprobs.chosen, expected(1, 0.25));
    assert_eq!(
        logprobs.top,
        [expected(0, 0.5), expected(1, 0.25), expected(2, 0.125)]
    );

    let scratch = &mut SamplerScratch::new();
    let all = position_logprobs(scratch, &logits, 4, 5).unwrap();
    assert_eq!(all.chosen.logprob, NONE);
    assert_eq!(all.top.len(), 4, "what cannot occur is no alternative");
    assert!(position_logprobs(scratch, &logits, 5, 0).is_err());
    assert!(position_logprobs(scratch, &[NONE], 0, 0).is_err());
    let backwards: Vec<f32> = logits.iter().rev().copied().collect();
    let all = position_logprobs(scratch, &backwards, 1, 5).unwrap();
    let ids: Vec<u32> = all.top.iter().map(|top| top.token_id).collect();
    assert_eq!(ids, [4, 3, 1, 2]);
    let none_asked = sample(&greedy(), &logits, &SampleContext::default());
    assert_eq!(none_asked.unwrap().logprobs, None);
}

fn arbitrary_params(vocab: u32) -> impl Strategy<Value = SamplingParams> {
    let ids = move || prop::collection::vec(0..vocab, 0..6);
    let filters = (
        prop_oneof![Just(0.0f32), 0.01f32..3.0],
        0u32..12,
        0.01f32..=1.0,
        0.0f32..=1.0,
        prop_oneof![Just(1.0f32), 0.01f32..=1.0],
    );
    let penalties = (
        prop_oneof![Just(1.0f32), 0.5f32..2.0],
        prop_oneof![Just(0.0f32), -1.0f32..1.0],
        prop::option::of(0u32..8),
    );
    let lists = (
        ids(),
        prop::option::of(prop::collection::vec(0..vocab, 1..9)),
        ids(),
        prop::collection::btree_map(0..vocab, -5.0f32..5.0, 0..4),
    );
    (filters, penalties, lists, any::<u64>(), 0u32..3).prop_map(
        |(filters, penalties, lists, seed, min_tokens)| SamplingParams {
            temperature: filters.0,
            top_k: filters.1,
            top_p: filters.2,
            min_p: filters.3,
            typical_p: filters.4,
            repetition_penalty: penalties.0,
            frequency_penalty: penalties.1,
            presence_penalty: -penalties.1,
            repeat_last_n: penalties.2,
            banned_token_ids: lists.0,
            allowed_token_ids: lists.1,
            stop_token_ids: lists.2,
            logit_bias: lists.3,
            seed: Some(seed),
            min_tokens,
            ..SamplingParams::default()
        },
    )
}

proptest! {
    #[test]
    fn banned_tokens_are_never_drawn(
        params in arbitrary_params(20),
        mut logits in prop::collection::vec(-8.0f32..8.0, 20),
        gone in prop::collection::vec(0usize..20, 0..4),
        output in prop::collection::vec(0u32..20, 0..5),
    ) {
        for &id in &gone {
            logits[id] = NONE;
        }
        let context = SampleContext { end_tokens: &[0, 1], ..after(&[5, 6], &output) };
        let early = output.len() < params.min_tokens as usize;
        let may_be_drawn = |id: u32| {
            logits[id as usize] > NONE
                && !params.banned_token_ids.contains(&id)
                && params.allowed_token_ids.as_ref().is_none_or(|ids| ids.contains(&id))
                && !(early && (id < 2 || params.stop_token_ids.contains(&id)))
        };
        match sample(&params, &logits, &context) {
            Ok(sampled) => prop_assert!(may_be_drawn(sampled.token_id)),
            Err(error) => {
                prop_assert_eq!(error, SampleError::NothingLeft { vocab_size: 20 });
                prop_assert!(!(0..20).any(may_be_drawn));
            }
        }
    }

    #[test]
    fn a_draw_depends_on_nothing_that_was_drawn_before(
        params in arbitrary_params(20),
        rows in prop::collection::vec(prop::collection::vec(-8.0f32..8.0, 20..60), 1..8),
        output in prop::collection::vec(0u32..20, 0..5),
    ) {
        let sampler = Sampler::new(&params, 5, 1);
        let context = after(&[3, 4], &output);
        let mut reused = SamplerScratch::new();
        for row in rows.iter().chain(rows.iter().rev()) {
            let fresh = sampler.clone().sample(&mut SamplerScratch::new(), row, &context);
            prop_assert_eq!(sampler.sample(&mut reused, row, &context), fresh);
        }
    }
}
