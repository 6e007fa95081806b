//! What is not accepted, and what it is told.

use super::*;

fn refuse(request: Request) -> String {
    let refused = start(executor()).submit(request);
    refused.map(|_| ()).expect_err("refused").to_string()
}

#[test]
fn a_prompt_must_have_tokens_that_the_model_knows() {
    assert_eq!(
        refuse(Request::new(vec![])),
        "the prompt is empty: it has no tokens"
    );
    assert_eq!(
        refuse(Request::new(vec![1, 2, 909])),
        "prompt token 2 is 909, expected an id below 909"
    );
}

#[test]
fn a_prompt_must_leave_room_for_a_token() {
    assert_eq!(
        refuse(Request::new(vec![1; 200])),
        "the prompt has 200 tokens, which leaves no room for an answer in a context of 200"
    );
    let engine = start(executor());
    for (len, max_tokens) in [(199, 1), (200, 0)] {
        let request = Request::new(vec![1; len]).with_params(exactly(max_tokens));
        let output = engine.submit(request).expect("accepted").wait();
        assert_eq!(only(&output).token_ids.len(), max_tokens as usize);
    }
    assert!(refuse(Request::new(vec![1; 201]).with_params(exactly(0))).contains("201 tokens"));
}

#[test]
fn parameters_are_checked_before_anything_is_queued() {
    let request = |params| Request::new(vec![1; 190]).with_params(params);
    let hot = SamplingParams {
        temperature: -1.0,
        ..exactly(3)
    };
    assert!(refuse(request(hot)).starts_with("`temperature` is -1"));
    let long = SamplingParams {
        max_tokens: None,
        min_tokens: 11,
        ..exactly(3)
    };
    assert_eq!(
        refuse(request(long)),
        "`min_tokens` is 11, expected at most 10, for which the context has room"
    );
}

#[test]
fn what_the_whole_cache_cannot_hold_is_refused_with_a_way_out() {
    let engine = start(FakeExecutor::new(5, VOCAB));
    let submit = |max_tokens| {
        let request = Request::new(vec![1; 40]).with_params(exactly(max_tokens));
        engine.submit(request).map(GenerationStream::wait)
    };
    // 40 + 41 tokens, of which the last is never computed: 80 in 5 blocks.
    assert_eq!(only(&submit(41).expect("accepted")).token_ids.len(), 41);
    let refused = submit(42).expect_err("refused").to_string();
    assert_eq!(
        refused,
        "prompt and answer may take 6 KV blocks of 16 tokens, but the cache has 5; \
         lower `max_tokens` or give the cache more memory"
    );
}

#[test]
fn text_needs_a_tokenizer() {
    let parts = EngineParts {
        tokenizer: None,
        ..parts(executor())
    };
    let engine = Engine::start(parts, EngineConfig::default()).expect("starts");
    let refused = engine.submit(Request::new("abc")).map(|_| ());
    assert!(matches!(
        refused,
        Err(SubmitError::NoTokenizer { what: "the prompt" })
    ));
    let with_stop = SamplingParams {
        stop: vec!["a".to_owned()],
        ..exactly(3)
    };
    let refused = engine.submit(tokens(&[1]).with_params(with_stop));
    assert!(matches!(
        refused.map(|_| ()),
        Err(SubmitError::NoTokenizer { what: "`stop`" })
    ));
    let output = engine.submit(tokens(&[1])).expect("accepted").wait();
    assert_eq!(only(&output).text, "");
    assert_eq!(only(&output).token_ids, alone(&[1], &exactly(4), 0));
}

#[test]
fn one_refused_prompt_does_not_stop_the_others() {
    let engine = start(executor());
    let outputs = engine.generate([vec![1], vec![], vec![2]], &exactly(2));
    let is_ok: Vec<_> = outputs.iter().map(Result::is_ok).collect();
    assert_eq!(is_ok, [true, false, true]);
}

#[test]
fn limits_out_of_range_do_not_start_an_engine() {
    let start = |config| {
        let refused = Engine::start(parts(executor()), config);
        refused.map(|_| ()).expect_err("refused").to_string()
    };
    let default = EngineConfig::default;
    assert_eq!(
        start(EngineConfig {
            max_num_seqs: 0,
            ..default()
        }),
        "`max_num_seqs` is 0, expected at least 1"
    );
    assert_eq!(
        start(EngineConfig {
            max_num_batched_tokens: 255,
            ..default()
        }),
        "`max_num_batched_tokens` is 255, expected at least 256"
    );
}
