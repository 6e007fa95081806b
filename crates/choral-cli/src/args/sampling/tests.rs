//! Layers of parameters, and values in their own notation.

use super::{Bias, LastN, MaxTokens, SamplingArgs, parse_bias, parse_last_n, parse_max_tokens};
use choral::model::GenerationDefaults;
use choral::sampling::SamplingParams;

fn recommended() -> GenerationDefaults {
    GenerationDefaults {
        temperature: Some(0.6),
        top_k: Some(20),
        ..GenerationDefaults::default()
    }
}

#[test]
fn options_win_over_the_models_recommendations_which_win_over_defaults() {
    let args = SamplingArgs {
        top_k: Some(5),
        ..SamplingArgs::default()
    };
    let params = args.params(&recommended());
    assert_eq!(
        (params.temperature, params.top_k, params.top_p),
        (0.6, 5, 0.9)
    );
}

#[test]
fn without_options_or_recommendations_the_documented_defaults_hold() {
    let params = SamplingArgs::default().params(&GenerationDefaults::default());
    assert_eq!(
        params,
        SamplingParams {
            max_tokens: Some(32),
            temperature: 0.8,
            top_k: 40,
            top_p: 0.9,
            ..SamplingParams::default()
        }
    );
}

#[test]
fn every_option_arrives_in_its_parameter() {
    let args = SamplingArgs {
        max_tokens: Some(MaxTokens(None)),
        min_tokens: Some(1),
        temperature: Some(0.0),
        top_k: Some(0),
        top_p: Some(1.0),
        min_p: Some(0.25),
        typical_p: Some(0.5),
        repeat_penalty: Some(1.25),
        repeat_last_n: Some(LastN(64)),
        frequency_penalty: Some(-0.5),
        presence_penalty: Some(0.75),
        logit_bias: vec![
            Bias {
                token_id: 7,
                bias: 1.5,
            },
            Bias {
                token_id: 8,
                bias: f32::NEG_INFINITY,
            },
        ],
        seed: Some(42),
        stop: vec![".".to_owned()],
        ignore_eos: true,
        logprobs: Some(2),
    };
    assert_eq!(
        args.params(&recommended()),
        SamplingParams {
            n: 1,
            max_tokens: None,
            min_tokens: 1,
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.25,
            typical_p: 0.5,
            repetition_penalty: 1.25,
            repeat_last_n: Some(64),
            frequency_penalty: -0.5,
            presence_penalty: 0.75,
            logit_bias: [(7, 1.5)].into(),
            banned_token_ids: vec![8],
            seed: Some(42),
            stop: vec![".".to_owned()],
            ignore_eos: true,
            logprobs: Some(2),
            ..SamplingParams::default()
        }
    );
}

#[test]
fn a_bias_has_a_token_a_sign_and_a_number() {
    let bias = |token_id, bias| Ok(Bias { token_id, bias });
    assert_eq!(parse_bias("15043+1"), bias(15043, 1.0));
    assert_eq!(parse_bias("15043-0.5"), bias(15043, -0.5));
    assert_eq!(parse_bias("5-inf"), bias(5, f32::NEG_INFINITY));
    assert_eq!(parse_bias("5+1e-3"), bias(5, 0.001));
    for wrong in [
        "",
        "5",
        "+1",
        "-1",
        "5+",
        "x+1",
        "5+inf",
        "5+nan",
        "5=1",
        "99999999999+1",
    ] {
        assert!(parse_bias(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn minus_one_is_no_limit() {
    assert_eq!(parse_max_tokens("-1"), Ok(MaxTokens(None)));
    assert_eq!(parse_max_tokens("0"), Ok(MaxTokens(Some(0))));
    assert_eq!(parse_last_n("-1"), Ok(LastN(u32::MAX)));
    assert!(parse_max_tokens("-2").is_err());
    assert!(parse_max_tokens("1.5").is_err());
}
