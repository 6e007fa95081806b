//! Small GGUF vocabularies, with ids worked out by hand.

use choral_formats::Gguf;
use choral_formats::gguf::Writer;

use super::pre::{PreTokenizer, Splitter};
use crate::text::{EncodeOptions, Tokenizer, TokenizerError};

const PLAIN: EncodeOptions = EncodeOptions {
    add_special: false,
    parse_special: false,
};
const SPECIAL: EncodeOptions = EncodeOptions {
    add_special: true,
    parse_special: true,
};

fn load(writer: &Writer<'_>) -> Result<Tokenizer, TokenizerError> {
    let bytes = writer.to_bytes().expect("writes");
    let file = Gguf::from_bytes("test.gguf", bytes).expect("reads");
    Tokenizer::from_gguf(file.metadata())
}

/// Kinds: 1 normal, 2 unknown, 3 control, 4 user-defined, 6 byte.
fn writer(model: &str, tokens: &[(&str, f32, i32)]) -> Writer<'static> {
    let mut writer = Writer::new();
    writer
        .set("tokenizer.ggml.model", model)
        .set(
            "tokenizer.ggml.tokens",
            tokens.iter().map(|token| token.0).collect::<Vec<_>>(),
        )
        .set(
            "tokenizer.ggml.scores",
            tokens.iter().map(|token| token.1).collect::<Vec<_>>(),
        )
        .set(
            "tokenizer.ggml.token_type",
            tokens.iter().map(|token| token.2).collect::<Vec<_>>(),
        );
    writer
}

fn spm() -> Writer<'static> {
    writer(
        "llama",
        &[
            ("<unk>", 0.0, 2),
            ("<s>", 0.0, 3),
            ("</s>", 0.0, 3),
            ("<0xC3>", 0.0, 6),
            ("<0xA9>", 0.0, 6),
            ("▁", -10.0, 1),
            ("a", -11.0, 1),
            ("b", -12.0, 1),
            ("ab", -2.0, 1),
            ("ba", -1.0, 1),
            ("aa", -2.0, 1),
            ("▁a", -3.0, 1),
            ("<tool>", 0.0, 4),
            ("ol><t", 0.0, 4),
        ],
    )
}

#[test]
fn the_best_scored_pair_merges_first_and_the_left_one_among_equals() {
    let tokenizer = load(&spm()).expect("loads");
    let ids = |text: &str| tokenizer.encode(text, PLAIN).expect("encodes");
    // `▁` `a` `b`: `ab` (-2) before `▁a` (-3).
    assert_eq!(ids("ab"), [5, 8]);
    // `ba` (-1) before both.
    assert_eq!(ids("aba"), [11, 9]);
    // `aa` twice, from the left.
    assert_eq!(ids("aaa"), [5, 10, 6]);
    assert_eq!(ids(""), Vec::<u32>::new());
}

#[test]
fn characters_that_are_no_tokens_become_bytes_or_unknown() {
    let tokenizer = load(&spm()).expect("loads");
    assert_eq!(
        tokenizer.encode("aéa", PLAIN).expect("encodes"),
        [11, 3, 4, 6]
    );
    assert_eq!(tokenizer.encode("z", PLAIN).expect("encodes"), [5, 0]);
    assert_eq!(
        tokenizer
            .decode(&[1, 11, 3, 4, 6, 2], true)
            .expect("decodes"),
        "aéa"
    );
    assert_eq!(tokenizer.decode(&[1, 11], false).expect("decodes"), "<s> a");
    assert_eq!(tokenizer.token_bytes(3), Some(vec![0xc3]));
    assert_eq!(tokenizer.token_bytes(11), Some(b" a".to_vec()));
    assert_eq!(tokenizer.token_bytes(99), None);
}

#[test]
fn a_space_goes_before_text_after_special_tokens() {
    let tokenizer = load(&spm()).expect("loads");
    let ids = |text: &str, options| tokenizer.encode(text, options).expect("encodes");
    assert_eq!(ids("a</s>a", SPECIAL), [1, 11, 2, 11]);
    // Unasked, control tokens are text; user-defined ones are always found.
    assert_eq!(ids("a<tool>a", PLAIN), [11, 12, 11]);
    let without = load(spm().set("tokenizer.ggml.add_space_prefix", false)).expect("loads");
    assert_eq!(without.encode("aa", PLAIN).expect("encodes"), [10]);
}

#[test]
fn the_longest_special_token_is_looked_for_first() {
    // `<tool>` (6 bytes) is taken before `ol><t` (5), although that could
    // have been taken instead.
    let tokenizer = load(&spm()).expect("loads");
    assert_eq!(tokenizer.encode("<tool><t", PLAIN).expect("encodes")[0], 12);
}

#[test]
fn a_second_beginning_is_added_as_llama_cpp_does() {
    let tokenizer = load(&spm()).expect("loads");
    assert_eq!(tokenizer.encode("<s>", SPECIAL).expect("encodes"), [1, 1]);
    let ended = load(
        spm()
            .set("tokenizer.ggml.add_eos_token", true)
            .set("tokenizer.ggml.add_bos_token", false),
    );
    assert_eq!(
        ended.expect("loads").encode("a", SPECIAL).expect("encodes"),
        [11, 2]
    );
}

fn bpe(pre: &str) -> Writer<'static> {
    let mut writer = writer(
        "gpt2",
        &[
            ("a", 0.0, 1),
            ("b", 0.0, 1),
            ("Ġ", 0.0, 1),
            ("ab", 0.0, 1),
            ("abab", 0.0, 1),
            ("<|im_end|>", 0.0, 1),
            ("Ġab", 0.0, 1),
            ("1", 0.0, 1),
            ("2", 0.0, 1),
            ("12", 0.0, 1),
        ],
    );
    writer
        .set("tokenizer.ggml.pre", pre)
        .set("tokenizer.ggml.merges", vec!["a b", "Ġ ab", "1 2"]);
    writer
}

#[test]
fn merges_apply_in_their_order_within_pieces() {
    let tokenizer = load(&bpe("gpt-2")).expect("loads");
    let ids = |text: &str| tokenizer.encode(text, PLAIN).expect("encodes");
    assert_eq!(ids("ab ab"), [3, 6]);
    assert_eq!(ids("abab"), [3, 3]);
    assert!(matches!(
        tokenizer.encode("c", PLAIN),
        Err(TokenizerError::NoToken { piece }) if piece == "c"
    ));
    assert_eq!(tokenizer.decode(&[3, 6], false).expect("decodes"), "ab ab");
}

#[test]
fn the_name_of_the_split_decides() {
    let ids = |pre: &str, text: &str| {
        let mut writer = bpe(pre);
        writer.set("tokenizer.ggml.bos_token_id", 5_u32);
        load(&writer)
            .expect("loads")
            .encode(text, PLAIN)
            .expect("encodes")
    };
    // Digits stand alone in Qwen 2, by three in Llama 3.
    assert_eq!(ids("qwen2", "12"), [7, 8]);
    assert_eq!(ids("llama-bpe", "12"), [9]);
    // Llama 3 takes whole pieces that are tokens without merging.
    assert_eq!(ids("llama-bpe", "abab"), [4]);
    assert_eq!(ids("gpt-2", "abab"), [3, 3]);
}

/// All names of llama.cpp's list.
const NAMES: &[&str] = &[
    "default",
    "minicpm5",
    "llama3",
    "llama-v3",
    "llama-bpe",
    "falcon3",
    "falcon-h1",
    "pixtral",
    "midm-2.0",
    "lfm2",
    "jina-v5-nano",
    "deepseek-llm",
    "deepseek-coder",
    "deepseek-v3",
    "spark2_5",
    "youtu",
    "falcon",
    "mpt",
    "starcoder",
    "gpt-2",
    "phi-2",
    "jina-es",
    "jina-de",
    "gigachat",
    "jina-v2-es",
    "jina-v2-de",
    "a.x-4.0",
    "mellum",
    "modern-bert",
    "jais-2",
    "gemma4",
    "granite-embed-multi-311m",
    "sarvam-moe",
    "jina-v1-en",
    "jina-v2-code",
    "roberta-bpe",
    "refact",
    "command-r",
    "qwen2",
    "deepseek-r1-qwen",
    "kormo",
    "f2llmv2",
    "qwen35",
    "stablelm2",
    "olmo",
    "dbrx",
    "smaug-bpe",
    "poro-chat",
    "glm4",
    "chatglm-bpe",
    "viking",
    "jais",
    "tekken",
    "smollm",
    "codeshell",
    "bloom",
    "gpt3-finnish",
    "exaone",
    "exaone4",
    "exaone-moe",
    "chameleon",
    "minerva-7b",
    "megrez",
    "gpt-4o",
    "llama4",
    "kanana2",
    "talkie",
    "granite-embed-multi-97m",
    "tiny_aya",
    "cohere2moe",
    "superbpe",
    "trillion",
    "granite-docling",
    "bailingmoe",
    "bailingmoe2",
    "llada-moe",
    "seed-coder",
    "hunyuan",
    "hunyuan-dense",
    "hy_v4",
    "joyai-llm",
    "kimi-k2",
    "ufakzeka",
    "grok-2",
    "afmoe",
    "laguna",
    "minimax-m2",
    "solar-open",
    "mellum2",
];

#[test]
fn every_known_split_compiles_and_loses_nothing() {
    let text =
        "Hello, World's  12345 ÉCOLE déjà 漢字かな 한국어\r\n\n\t x—y … <b>&amp;</b> 😀👩‍👩 a\u{301}";
    for name in NAMES {
        let words = splitter(name);
        let words = words.words(text).expect(name);
        assert_eq!(words.concat(), text, "{name}");
    }
}

fn splitter(name: &str) -> Splitter {
    let pre = PreTokenizer::named(name).expect(name);
    pre.compile().expect(name)
}

fn pieces<'t>(name: &str, text: &'t str) -> Vec<&'t str> {
    splitter(name).words(text).expect(name)
}

#[test]
fn splits_are_those_of_the_models() {
    assert_eq!(
        pieces("gpt-2", "I'm  12 x\n"),
        ["I", "'m", " ", " 12", " x", "\n"]
    );
    assert_eq!(
        pieces("llama3", "I'M 12345\n\n x"),
        ["I", "'M", " ", "123", "45", "\n\n", " x"]
    );
    assert_eq!(pieces("qwen2", "a12"), ["a", "1", "2"]);
    assert_eq!(pieces("falcon", "12345!"), ["123", "45", "!"]);
    assert_eq!(pieces("starcoder", "a12 b"), ["a", "1", "2", " b"]);
    assert_eq!(
        pieces("deepseek-v3", "12345漢字!ab"),
        ["123", "45", "漢字", "!ab"]
    );
    assert_eq!(pieces("tekken", "helloWorld"), ["hello", "World"]);
    assert_eq!(pieces("gpt-4o", "helloWorld's"), ["hello", "World's"]);
    assert_eq!(pieces("superbpe", "a 1234567"), ["a ", "1", "234", "567"]);
    assert_eq!(pieces("afmoe", "12345678"), ["12", "345", "678"]);
    assert_eq!(pieces("kimi-k2", "漢字abc漢"), ["漢字", "abc", "漢"]);
    assert_eq!(pieces("bloom", "a b, c"), ["a", " b", ",", " c"]);
}

#[test]
fn unknown_kinds_are_refused_by_name() {
    let unknown = load(&bpe("brand-new")).expect_err("unknown");
    assert_eq!(
        unknown.to_string(),
        "test.gguf: unsupported pre-tokenizer (`tokenizer.ggml.pre`) `brand-new`"
    );
    for model in ["t5", "rwkv", "plamo2", "no_vocab", "foo"] {
        let error = load(&writer(model, &[("a", 0.0, 1)])).expect_err("unsupported");
        assert!(matches!(&error, TokenizerError::Unsupported { name, .. } if name == model));
    }
}

#[test]
fn raw_vocabularies_keep_their_characters() {
    let mut writer = writer(
        "gpt2",
        &[
            ("<bos>", 0.0, 3),
            ("▁", 0.0, 1),
            ("é", 0.0, 1),
            ("▁é", 0.0, 1),
            ("\n\n", 0.0, 1),
            ("<0x7A>", 0.0, 6),
        ],
    );
    writer
        .set("tokenizer.ggml.pre", "gemma4")
        .set("tokenizer.ggml.bos_token_id", 0_u32)
        .set("tokenizer.ggml.merges", vec!["▁ é"]);
    let tokenizer = load(&writer).expect("loads");
    let ids = tokenizer.encode("é é\n\nz", SPECIAL).expect("encodes");
    assert_eq!(ids, [0, 2, 3, 4, 5]);
    assert_eq!(tokenizer.decode(&ids, true).expect("decodes"), "é é\n\nz");
}

#[test]
fn ends_are_found_by_key_and_by_name() {
    let mut base = bpe("qwen2");
    let tokenizer = load(base.set("tokenizer.ggml.eos_token_id", 3_u32)).expect("loads");
    assert_eq!(tokenizer.eos_token_ids(), [3, 5]);
    // Known by name, so special, although the file calls it normal.
    assert!(tokenizer.is_special(5));
    let none = load(base.set("tokenizer.ggml.eos_token_id", 99_u32)).expect("loads");
    assert_eq!(none.eos_token_ids(), [5]);

    // Harmony: `<|end|>` ends a message, not the answer.
    let names = ["a", "<|end|>", "<|return|>", "<|call|>", "<|channel|>"];
    let mut harmony = writer("gpt2", &names.map(|name| (name, 0.0, 3)));
    harmony
        .set("tokenizer.ggml.pre", "gpt-4o")
        .set("tokenizer.ggml.merges", Vec::<&str>::new());
    let harmony = load(&harmony).expect("loads");
    assert_eq!(harmony.eos_token_ids(), [2, 3]);
    assert!(!harmony.is_special(1) && !harmony.is_special(4) && harmony.is_special(2));
}

type Change = for<'w> fn(&'w mut Writer<'static>) -> &'w mut Writer<'static>;

#[test]
fn malformed_metadata_is_an_error() {
    let refused = |change: Change, message: &str| {
        let mut writer = bpe("qwen2");
        change(&mut writer);
        let error = load(&writer).expect_err(message).to_string();
        assert!(error.contains(message), "{error}");
    };
    refused(
        |w| w.set("tokenizer.ggml.tokens", vec!["a", "a"]),
        "\"a\" has two ids, 0 and 1",
    );
    refused(
        |w| w.set("tokenizer.ggml.tokens", vec![1_u32]),
        "an array of strings",
    );
    refused(
        |w| w.set("tokenizer.ggml.tokens", Vec::<&str>::new()),
        "from 1 to",
    );
    refused(
        |w| w.set("tokenizer.ggml.token_type", vec![1_i32]),
        "one for each of 10 tokens",
    );
    refused(|w| w.set("tokenizer.ggml.merges", vec!["ab"]), "two tokens");
    refused(
        |w| w.set("tokenizer.ggml.merges", vec![1_u32]),
        "an array of strings",
    );
    refused(
        |w| w.set("tokenizer.ggml.add_bos_token", true),
        "names no bos token",
    );
    for (scores, message) in [
        (vec![1_f32], "one for each of 14 tokens"),
        (vec![f32::NAN; 14], "NaN for token 0"),
    ] {
        let error = load(spm().set("tokenizer.ggml.scores", scores)).expect_err(message);
        assert!(error.to_string().contains(message), "{error}");
    }
    let mut missing = Writer::new();
    assert!(
        load(&missing)
            .expect_err("nothing")
            .to_string()
            .contains("tokenizer.ggml.model")
    );
    missing.set("tokenizer.ggml.model", "gpt2");
    assert!(
        load(&missing)
            .expect_err("no tokens")
            .to_string()
            .contains("tokenizer.ggml.tokens")
    );
}
