use crate::sampling::SamplingParams;
use std::collections::BTreeMap;

const VOCAB: usize = 100;

/// Asserts that changing the defaults by `change` is refused in `field`.
fn refused(field: &str, change: impl FnOnce(&mut SamplingParams)) {
    let mut params = SamplingParams::default();
    change(&mut params);
    let error = params.validate(VOCAB).expect_err(field);
    assert_eq!(error.field(), field, "{error}");
    assert!(error.to_string().starts_with(&format!("`{field}` is ")));
}

fn accepted(change: impl FnOnce(&mut SamplingParams)) {
    let mut params = SamplingParams::default();
    change(&mut params);
    params.validate(VOCAB).unwrap();
}

#[test]
fn defaults_are_accepted() {
    accepted(|_| ());
}

#[test]
fn numbers_out_of_range_are_refused_by_name() {
    for bad in [-0.1, f32::NAN, f32::INFINITY] {
        refused("temperature", |p| p.temperature = bad);
        refused("top_p", |p| p.top_p = bad);
        refused("min_p", |p| p.min_p = bad);
        refused("typical_p", |p| p.typical_p = bad);
        refused("repetition_penalty", |p| p.repetition_penalty = bad);
    }
    for bad in [0.0, 1.01] {
        refused("top_p", |p| p.top_p = bad);
        refused("typical_p", |p| p.typical_p = bad);
    }
    refused("min_p", |p| p.min_p = 1.01);
    refused("repetition_penalty", |p| p.repetition_penalty = 0.0);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        refused("frequency_penalty", |p| p.frequency_penalty = bad);
        refused("presence_penalty", |p| p.presence_penalty = bad);
        refused("logit_bias", |p| p.logit_bias = BTreeMap::from([(3, bad)]));
    }
}

#[test]
fn the_ends_of_each_range_are_accepted() {
    accepted(|p| p.temperature = 0.0);
    accepted(|p| p.top_p = 1.0);
    accepted(|p| p.top_p = f32::MIN_POSITIVE);
    accepted(|p| p.min_p = 1.0);
    accepted(|p| p.top_k = u32::MAX);
    accepted(|p| p.frequency_penalty = -2.0);
    accepted(|p| p.n = SamplingParams::MAX_N);
    accepted(|p| p.logprobs = Some(100));
    accepted(|p| p.max_tokens = Some(0));
    accepted(|p| p.banned_token_ids = vec![99]);
}

#[test]
fn counts_are_refused_by_name() {
    refused("n", |p| p.n = 0);
    refused("n", |p| p.n = SamplingParams::MAX_N + 1);
    refused("logprobs", |p| p.logprobs = Some(101));
    refused("prompt_logprobs", |p| p.prompt_logprobs = Some(101));
    refused("min_tokens", |p| {
        p.min_tokens = 3;
        p.max_tokens = Some(2);
    });
    accepted(|p| p.min_tokens = 3);
}

#[test]
fn tokens_outside_of_the_vocabulary_are_refused_by_name() {
    refused("logit_bias", |p| {
        p.logit_bias = BTreeMap::from([(100, 1.0)]);
    });
    refused("allowed_token_ids", |p| {
        p.allowed_token_ids = Some(vec![1, 100]);
    });
    refused("banned_token_ids", |p| p.banned_token_ids = vec![100]);
    refused("stop_token_ids", |p| p.stop_token_ids = vec![u32::MAX]);
}

#[test]
fn lists_that_leave_nothing_are_refused() {
    refused("allowed_token_ids", |p| p.allowed_token_ids = Some(vec![]));
    refused("allowed_token_ids", |p| {
        p.allowed_token_ids = Some(vec![4, 5]);
        p.banned_token_ids = vec![5, 4];
    });
    refused("stop", |p| p.stop = vec!["END".into(), String::new()]);
}

#[test]
fn messages_name_the_field_the_range_and_the_value() {
    let params = SamplingParams {
        top_p: 1.5,
        ..SamplingParams::default()
    };
    let error = params.validate(VOCAB).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`top_p` is 1.5, expected above 0 and at most 1"
    );
    assert_eq!(error.expected(), "above 0 and at most 1");
    assert_eq!(error.found(), "1.5");
}
