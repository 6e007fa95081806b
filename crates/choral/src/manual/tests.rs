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
