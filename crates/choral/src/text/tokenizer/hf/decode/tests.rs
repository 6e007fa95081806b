//! Stages against the decoders of the `tokenizers` crate.

use proptest::prelude::*;
use serde_json::{Value, json};
use tokenizers::{Decoder as _, DecoderWrapper};

use super::Decoder;

/// Tokens that decoders treat in ways of their own.
const TOKENS: [&str; 22] = [
    "a", "▁", "▁b", "b▁▁c", "<0xE2>", "<0x82>", "<0xAC>", "<0xFF>", "<0x41>", "Ġ", "Ġa", "âĤ", "¬",
    "Ċ", "c</w>", "</w>", "##d", "##", " ", "  e ", ".", "é",
];

fn replace(from: &str, to: &str) -> Value {
    json!({"type": "Replace", "pattern": {"String": from}, "content": to})
}

fn strip(start: usize, stop: usize) -> Value {
    json!({"type": "Strip", "content": " ", "start": start, "stop": stop})
}

fn sequence(decoders: &[Value]) -> Value {
    json!({"type": "Sequence", "decoders": decoders})
}

fn decoders() -> Vec<Value> {
    let (fuse, bytes) = (json!({"type": "Fuse"}), json!({"type": "ByteFallback"}));
    let spaces = replace("▁", " ");
    let metaspace = |scheme: &str| json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": true});
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    let word_piece = |cleanup| json!({"type": "WordPiece", "prefix": "##", "cleanup": cleanup});
    let regex = json!({"type": "Replace", "pattern": {"Regex": "[a-c]+"}, "content": "X"});
    vec![
        byte_level.clone(),
        metaspace("always"),
        metaspace("first"),
        metaspace("never"),
        word_piece(true),
        word_piece(false),
        json!({"type": "BPEDecoder", "suffix": "</w>"}),
        bytes.clone(),
        sequence(&[spaces.clone(), bytes.clone(), fuse.clone()]),
        sequence(&[spaces.clone(), bytes.clone(), fuse.clone(), strip(1, 0)]),
        sequence(&[bytes.clone(), fuse.clone(), spaces.clone(), strip(3, 0)]),
        sequence(&[sequence(&[spaces, bytes]), strip(1, 0), fuse.clone()]),
        sequence(&[fuse.clone(), regex.clone(), strip(0, 1)]),
        sequence(&[fuse.clone(), replace("▁b", "é"), fuse.clone()]),
        sequence(&[fuse, metaspace("always")]),
        sequence(&[byte_level, regex, word_piece(true)]),
    ]
}

fn in_pieces(decoder: &Value, tokens: &[&str]) -> String {
    let decoder = Decoder::new(Some(decoder)).expect("a good decoder");
    let mut state = decoder.start();
    let mut text = String::new();
    for &token in tokens {
        decoder.push(&mut state, token.to_owned(), &mut text);
    }
    decoder.finish(&mut state, &mut text);
    text
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_stream_gives_the_text_of_the_crate(
        // The crate's `Strip` panics on less text than it strips.
        tokens in prop::collection::vec(prop::sample::select(&TOKENS[..]), 3..16),
    ) {
        for json in decoders() {
            let crates: DecoderWrapper = serde_json::from_value(json.clone()).unwrap();
            let whole = tokens.iter().map(|&token| token.to_owned()).collect();
            let expected = crates.decode(whole).unwrap();
            prop_assert_eq!(in_pieces(&json, &tokens), expected, "{}", json);
        }
    }
}

#[test]
fn what_the_crate_panics_on_has_a_text() {
    assert_eq!(in_pieces(&strip(0, 3), &[" ", "a  "]), "a");
    assert_eq!(
        in_pieces(&json!({"type": "BPEDecoder", "suffix": ""}), &[]),
        ""
    );
}

#[test]
fn tokens_without_a_decoder_have_spaces_between_them() {
    let decoder = Decoder::new(None).expect("a good decoder");
    let (mut state, mut text) = (decoder.start(), String::new());
    for token in ["a", "b"] {
        decoder.push(&mut state, token.to_owned(), &mut text);
    }
    assert_eq!(text, "a b");
}

#[test]
fn text_is_not_held_back_longer_than_it_can_change() {
    let llama = sequence(&[
        replace("▁", " "),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
        strip(1, 0),
    ]);
    let decoder = Decoder::new(Some(&llama)).expect("a good decoder");
    let mut state = decoder.start();
    let mut push = |token: &str| {
        let mut text = String::new();
        decoder.push(&mut state, token.to_owned(), &mut text);
        text
    };
    assert_eq!(push("▁a"), "a");
    assert_eq!(push("▁b"), " b");
    // Bytes are held until it is clear that they are all of a run.
    assert_eq!(push("<0x41>"), "");
    assert_eq!(push("c"), "Ac");
}
