//! Streamed text against decoding everything at once.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use choral_formats::Gguf;
use proptest::prelude::*;

use super::Detokenizer;
use crate::text::{EncodeOptions, Tokenizer};

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../golden")
        .join(path)
}

fn hf(path: &str) -> Tokenizer {
    Tokenizer::from_hf_dir(golden(path)).expect("a good tokenizer")
}

/// A decoder of each family: byte-level, pieces with byte runs, GGUF, and one
/// that only decodes whole sequences.
static TOKENIZERS: LazyLock<Vec<Tokenizer>> = LazyLock::new(|| {
    let file = Gguf::open(golden("models/qwen2/gguf/qwen2-BF16.gguf")).expect("a good file");
    let window = tempfile::tempdir().expect("a folder");
    let json = r#"{"version": "1.0", "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"},
        "post_processor": null, "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"},
        "model": {"type": "BPE", "vocab": {"▁": 0, "a": 1, "é": 2, "▁a": 3, "b": 4}, "merges": ["▁ a"]}}"#;
    std::fs::write(window.path().join("tokenizer.json"), json).expect("writes");
    vec![
        hf("tokenizer/trained/qwen2"),
        hf("tokenizer/trained/llama3"),
        hf("tokenizer/trained/llama2"),
        Tokenizer::from_gguf(file.metadata()).expect("a good tokenizer"),
        Tokenizer::from_hf_dir(window.path()).expect("a good tokenizer"),
    ]
});

fn stream(tokenizer: &Tokenizer, ids: &[u32], skip_special: bool) -> Vec<String> {
    let mut detokenizer = Detokenizer::new(tokenizer.clone(), skip_special);
    let mut pieces: Vec<String> = ids.iter().map(|&id| detokenizer.push(id)).collect();
    pieces.push(detokenizer.finish());
    pieces
}

proptest! {
    #[test]
    fn pieces_join_to_the_decoded_text(
        which in 0..5_usize,
        ids in prop::collection::vec(0..800_u32, 0..60),
        skip_special: bool,
    ) {
        let tokenizer = &TOKENIZERS[which];
        let joined = stream(tokenizer, &ids, skip_special).concat();
        prop_assert_eq!(joined, tokenizer.decode(&ids, skip_special).unwrap());
    }

    #[test]
    fn byte_tokens_join_to_the_decoded_text(
        which in 2..4_usize,
        // Mostly byte tokens, where runs and broken characters happen.
        ids in prop::collection::vec(prop_oneof![3..259_u32, 259..500_u32], 0..30),
    ) {
        let tokenizer = &TOKENIZERS[which];
        let joined = stream(tokenizer, &ids, false).concat();
        prop_assert_eq!(joined, tokenizer.decode(&ids, false).unwrap());
    }

    #[test]
    fn characters_of_valid_text_are_never_broken(
        which in 0..4_usize,
        text in "[a-z é漢😀👩‍👩\n]{0,30}",
    ) {
        let tokenizer = &TOKENIZERS[which];
        let options = EncodeOptions { add_special: false, parse_special: false };
        let ids = tokenizer.encode(&text, options).unwrap();
        for piece in stream(tokenizer, &ids, false) {
            prop_assert!(!piece.contains(char::REPLACEMENT_CHARACTER), "{piece:?}");
        }
    }

    #[test]
    fn text_goes_on_after_its_context(
        which in 0..4_usize,
        text in "[a-zA-Z ]{1,30}",
        cut in 0..30_usize,
    ) {
        let tokenizer = &TOKENIZERS[which];
        let options = EncodeOptions { add_special: false, parse_special: false };
        let ids = tokenizer.encode(&text, options).unwrap();
        let (context, answer) = ids.split_at(cut.min(ids.len()));
        let before = tokenizer.decode(context, false).unwrap();
        let mut detokenizer = Detokenizer::after(tokenizer.clone(), false, context);
        let mut after: String = answer.iter().map(|&id| detokenizer.push(id)).collect();
        after += &detokenizer.finish();
        prop_assert_eq!(before + &after, tokenizer.decode(&ids, false).unwrap());
    }
}

#[test]
fn a_character_waits_for_its_last_byte() {
    let tokenizer = hf("tokenizer/trained/qwen2");
    let ids: Vec<u32> = "ðŁĺĢ"
        .chars()
        .map(|c| tokenizer.id_of(&c.to_string()).expect("a byte"))
        .collect();
    assert_eq!(stream(&tokenizer, &ids, false), ["", "", "", "😀", ""]);
    assert_eq!(stream(&tokenizer, &ids[..2], false).concat(), "\u{fffd}");
}

#[test]
fn a_run_of_byte_tokens_is_text_as_a_whole_or_not_at_all() {
    let tokenizer = hf("tokenizer/trained/llama2");
    let byte = |byte: u8| {
        tokenizer
            .id_of(&format!("<0x{byte:02X}>"))
            .expect("a byte token")
    };
    let euro = [byte(0xe2), byte(0x82), byte(0xac)];
    let word = tokenizer.id_of("a").expect("a token");
    let text = |ids: &[u32]| stream(&tokenizer, ids, false);
    assert_eq!(
        text(&[euro[0], euro[1], euro[2], word]),
        ["", "", "", "€a", ""]
    );
    let broken = [euro[0], euro[1], euro[2], byte(0xff), word];
    assert_eq!(text(&broken).concat(), "\u{fffd}\u{fffd}\u{fffd}\u{fffd}a");
}

#[test]
fn the_space_before_a_first_word_is_cut_only_at_the_beginning() {
    let tokenizer = hf("tokenizer/trained/llama2");
    let word = (0..tokenizer.vocab_size() as u32)
        .find(|&id| {
            tokenizer
                .token_text(id)
                .is_some_and(|text| text.starts_with("▁t"))
        })
        .expect("a word");
    let plain = tokenizer.token_text(word).expect("text").replace('▁', "");
    assert_eq!(
        stream(&tokenizer, &[word, word], false).concat(),
        format!("{plain} {plain}")
    );
    let mut after = Detokenizer::after(tokenizer, false, &[word]);
    assert_eq!(after.push(word), format!(" {plain}"));
}
