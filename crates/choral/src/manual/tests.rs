use super::*;

fn demo() -> Decoder {
    Decoder::demo().expect("the model that ships")
}

#[test]
fn one_token_at_a_time_gives_the_logits_of_all_at_once() {
    let decoder = demo();
    let tokens: Vec<u32> = (5..45).collect();
    let mut cache = decoder
        .new_cache(&KvCacheConfig { max_seq_len: 40 })
        .expect("memory");
    let at_once = decoder
        .forward_with_cache(&tokens, 0, &mut cache)
        .expect("fits");
    cache.clear();
    let mut last = Vec::new();
    for (position, token) in tokens.iter().enumerate() {
        assert_eq!(cache.current_position(), position);
        last = decoder
            .forward_with_cache(&[*token], position, &mut cache)
            .expect("fits");
    }
    assert_eq!(last, at_once);
}

#[test]
fn a_position_beyond_the_cache_is_named() {
    let decoder = demo();
    let mut cache = decoder
        .new_cache(&KvCacheConfig { max_seq_len: 4 })
        .expect("memory");
    let error = decoder
        .forward_with_cache(&[1, 2, 3, 4, 5], 0, &mut cache)
        .expect_err("too long");
    assert_eq!(
        error.to_string(),
        "cache position out of bounds: position 4 asked for, 0 of 4 are filled"
    );
    let error = decoder
        .forward_with_cache(&[1], 2, &mut cache)
        .expect_err("a gap");
    assert_eq!(
        error.to_string(),
        "cache position out of bounds: position 2 asked for, 0 of 4 are filled"
    );
    assert!(matches!(
        decoder.forward_with_cache(&[], 0, &mut cache),
        Err(ManualError::NoTokens)
    ));
    assert!(matches!(
        decoder.forward_with_cache(&[u32::MAX], 0, &mut cache),
        Err(ManualError::UnknownToken { .. })
    ));
}

#[test]
fn a_callback_stops_generation() {
    let decoder = demo();
    let mut seen = 0;
    let tokens = decoder
        .generate(&[5, 6, 7], &SamplingStrategy::Greedy, 0, 20, &[], |_| {
            seen += 1;
            seen < 3
        })
        .expect("generates");
    assert_eq!((tokens.len(), seen), (3, 3));
}

#[test]
fn the_last_token_is_not_run() {
    let decoder = demo();
    let bytes_of = |run: &dyn Fn()| {
        let before = decoder.compute.work().weight_bytes;
        run();
        decoder.compute.work().weight_bytes - before
    };
    let generate = |max_tokens| {
        let strategy = SamplingStrategy::Greedy;
        let tokens = decoder.generate(&[5, 6, 7], &strategy, 0, max_tokens, &[], |_| true);
        assert_eq!(tokens.expect("generates").len(), max_tokens);
    };
    let prompt = bytes_of(&|| {
        let mut cache = decoder
            .new_cache(&KvCacheConfig { max_seq_len: 3 })
            .expect("memory");
        let logits = decoder.forward_with_cache(&[5, 6, 7], 0, &mut cache);
        logits.expect("fits");
    });
    assert!(prompt > 0);
    assert_eq!(bytes_of(&|| generate(1)), prompt);
    assert_eq!(bytes_of(&|| generate(0)), 0);
}

#[test]
fn a_decoder_ends_where_the_context_of_the_model_does() {
    let decoder = demo();
    let most = decoder.model().spec().max_context;
    let error = decoder
        .new_cache(&KvCacheConfig {
            max_seq_len: most + 1,
        })
        .expect_err("too long");
    assert!(matches!(error, ModelError::Context { .. }));
    assert!(
        decoder
            .new_cache(&KvCacheConfig {
                max_seq_len: usize::MAX
            })
            .is_err()
    );
    let generate = |num_prompt| {
        let prompt = vec![5; num_prompt];
        let greedy = SamplingStrategy::Greedy;
        decoder.generate(&prompt, &greedy, 0, usize::MAX, &[], |_| true)
    };
    assert_eq!(generate(most - 3).expect("fits").len(), 3);
    assert!(matches!(
        generate(most),
        Err(ManualError::PositionOutOfBounds { .. })
    ));
}

#[test]
fn a_cache_of_another_shape_is_refused() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/models");
    let load = |path: &str, numeric| {
        let file = ModelFile::open(golden.join(path)).expect("a golden model");
        Decoder::load(file, numeric).expect("a golden model")
    };
    let decoders = [
        load("qwen2/hf", Some(Numeric::Bf16)),
        load("qwen2/hf", Some(Numeric::F32)),
        demo(),
    ];
    for (i, one) in decoders.iter().enumerate() {
        let mut cache = one
            .new_cache(&KvCacheConfig { max_seq_len: 4 })
            .expect("memory");
        for (j, other) in decoders.iter().enumerate() {
            let run = other.forward_with_cache(&[1, 2], 0, &mut cache);
            assert_eq!(run.is_ok(), i == j, "{i} {j}");
            let is_foreign = matches!(run, Err(ManualError::ForeignCache { .. }));
            assert_eq!(is_foreign, i != j);
        }
    }
}

#[test]
fn a_decoder_brings_its_tokenizer() {
    let tokenizer = demo().tokenizer().expect("it has one");
    assert!(!tokenizer.eos_token_ids().is_empty());
}
