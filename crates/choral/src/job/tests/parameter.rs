//! Parameters by their JSON names.

use crate::job::{PARAMETERS, ParameterError, set_parameter};
use crate::sampling::SamplingParams;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn set(fields: &Value) -> Result<SamplingParams, ParameterError> {
    let mut params = SamplingParams::default();
    for (name, value) in fields.as_object().expect("tests give objects") {
        set_parameter(&mut params, name, value)?;
    }
    Ok(params)
}

#[test]
fn every_parameter_arrives_in_its_field() {
    let params = set(&json!({
        "n": 3, "max_tokens": 7, "min_tokens": 2, "temperature": 0.5, "top_k": 5, "top_p": 0.25,
        "min_p": 0.125, "typical_p": 0.75, "repetition_penalty": 1.5, "repeat_last_n": 64,
        "frequency_penalty": -0.5, "presence_penalty": 0.25, "logit_bias": {"15": -100, "3": 2.5},
        "allowed_token_ids": [3, 15], "banned_token_ids": [4], "seed": 9_007_199_254_740_993_u64,
        "stop": ["a", "b"], "stop_token_ids": [6], "include_stop_str_in_output": true,
        "ignore_eos": true, "skip_special_tokens": false, "logprobs": 4, "prompt_logprobs": 0,
    }))
    .expect("all are known");
    assert_eq!(
        params,
        SamplingParams {
            n: 3,
            max_tokens: Some(7),
            min_tokens: 2,
            temperature: 0.5,
            top_k: 5,
            top_p: 0.25,
            min_p: 0.125,
            typical_p: 0.75,
            repetition_penalty: 1.5,
            repeat_last_n: Some(64),
            frequency_penalty: -0.5,
            presence_penalty: 0.25,
            logit_bias: BTreeMap::from([(3, 2.5), (15, -100.0)]),
            allowed_token_ids: Some(vec![3, 15]),
            banned_token_ids: vec![4],
            seed: Some(9_007_199_254_740_993),
            stop: vec!["a".into(), "b".into()],
            stop_token_ids: vec![6],
            include_stop_str_in_output: true,
            ignore_eos: true,
            skip_special_tokens: false,
            logprobs: Some(4),
            prompt_logprobs: Some(0),
        }
    );
}

#[test]
fn other_spellings_mean_the_same() {
    let set = |fields| set(&fields).expect("accepted");
    assert_eq!(set(json!({"max_completion_tokens": 5})).max_tokens, Some(5));
    assert_eq!(set(json!({"top_k": -1})).top_k, 0);
    assert_eq!(
        set(json!({"repeat_last_n": -1})).repeat_last_n,
        Some(u32::MAX)
    );
    assert_eq!(set(json!({"stop": "."})).stop, ["."]);
    assert_eq!(set(json!({"logprobs": true})).logprobs, Some(0));
    assert_eq!(
        set(json!({"logprobs": true, "top_logprobs": 3})).logprobs,
        Some(3)
    );
    assert_eq!(
        set(json!({"top_logprobs": 3, "logprobs": true})).logprobs,
        Some(3)
    );
    assert_eq!(set(json!({"logprobs": false})).logprobs, None);
    // An integer is a number, and a float is not an integer.
    assert_eq!(set(json!({"temperature": 1})).temperature, 1.0);
}

#[test]
fn null_leaves_a_parameter_as_it_is() {
    for name in PARAMETERS {
        let params = set(&json!({ *name: null })).expect("null is always accepted");
        assert_eq!(params, SamplingParams::default(), "{name}");
    }
}

#[test]
fn a_wrong_type_names_parameter_value_and_what_was_expected() {
    let wrong = [
        json!({"n": 1.5}),
        json!({"n": "2"}),
        json!({"max_tokens": -1}),
        json!({"max_tokens": 4_294_967_296_u64}),
        json!({"temperature": "hot"}),
        json!({"temperature": 1e300}),
        json!({"top_k": -2}),
        json!({"seed": -1}),
        json!({"stop": [1]}),
        json!({"stop_token_ids": 5}),
        json!({"logit_bias": {"x": 1}}),
        json!({"logit_bias": [1]}),
        json!({"ignore_eos": 1}),
        json!({"logprobs": "yes"}),
    ];
    for fields in wrong {
        let error = set(&fields).expect_err(&fields.to_string());
        assert!(matches!(error, ParameterError::Type { .. }), "{error}");
    }
    let error = set(&json!({"temperature": "hot"})).expect_err("no number");
    assert_eq!(
        error.to_string(),
        "`temperature` is \"hot\", expected a number"
    );
}

#[test]
fn an_unknown_parameter_is_an_error_even_when_null() {
    let error = set(&json!({"temprature": null})).expect_err("no such name");
    assert_eq!(error.to_string(), "unknown parameter `temprature`");
}
