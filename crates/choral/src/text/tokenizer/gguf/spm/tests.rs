//! Merging against its definition.

use choral_formats::Gguf;
use choral_formats::gguf::Writer;
use proptest::prelude::*;

use super::unescape;
use crate::text::{EncodeOptions, Tokenizer};

#[test]
fn only_the_sign_for_a_space_is_unescaped() {
    assert_eq!(unescape("▁a▁▁".as_bytes()).as_ref(), b" a  ");
    assert_eq!(unescape(b"\xe2\x96").as_ref(), b"\xe2\x96");
    // A part of the sign before the whole of it.
    assert_eq!(unescape(b"\xe2\xe2\x96\x81").as_ref(), b"\xe2 ");
}

/// Joins the neighbours with the best score, the leftmost of equals, until no two
/// neighbours make up a token.
fn by_search(tokens: &[(String, f32)], text: &str) -> Vec<String> {
    let score = |token: &str| tokens.iter().find(|t| t.0 == token).map(|t| t.1);
    let mut symbols: Vec<String> = text.chars().map(String::from).collect();
    loop {
        let mut best: Option<(f32, usize)> = None;
        for (i, pair) in symbols.windows(2).enumerate() {
            if let Some(score) = score(&pair.concat())
                && best.is_none_or(|(other, _)| score > other)
            {
                best = Some((score, i));
            }
        }
        let Some((_, i)) = best else { return symbols };
        let right = symbols.remove(i + 1);
        symbols[i] += &right;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_queue_merges_as_a_search_does(
        tokens in prop::collection::btree_map("[abc]{2,5}", -3..3i8, 0..12),
        text in "[abc]{0,24}",
    ) {
        let single = ["a", "b", "c"].map(|token| (token.to_owned(), -9.0));
        let tokens: Vec<(String, f32)> = tokens
            .into_iter()
            .map(|(token, score)| (token, f32::from(score)))
            .chain(single)
            .collect();
        let mut writer = Writer::new();
        let names: Vec<&str> = tokens.iter().map(|token| token.0.as_str()).collect();
        let scores: Vec<f32> = tokens.iter().map(|token| token.1).collect();
        writer
            .set("tokenizer.ggml.model", "llama")
            .set("tokenizer.ggml.tokens", names)
            .set("tokenizer.ggml.scores", scores)
            .set("tokenizer.ggml.add_space_prefix", false);
        let file = Gguf::from_bytes("test.gguf", writer.to_bytes().unwrap()).unwrap();
        let tokenizer = Tokenizer::from_gguf(file.metadata()).unwrap();
        let ids = tokenizer.encode(&text, EncodeOptions::default()).unwrap();
        let found: Vec<String> = ids.iter().map(|&id| tokens[id as usize].0.clone()).collect();
        prop_assert_eq!(found, by_search(&tokens, &text));
    }
}
