//! Hostile and odd `tokenizer.json` files.

use serde_json::{Value, json};

use crate::text::{EncodeOptions, Tokenizer, TokenizerError};

/// A small tokenizer that works, as JSON.
fn good() -> Value {
    json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null,
                    "pad_id": 0, "pad_type_id": 0, "pad_token": "a"},
        "added_tokens": [added(4, "<s>", true), added(5, "<think>", false)],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": template(&json!([{"SpecialToken": {"id": "<s>", "type_id": 0}}, sequence("A")])),
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3}, "merges": [["a", "b"]]}
    })
}

fn added(id: u64, content: &str, special: bool) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false,
           "rstrip": false, "normalized": false, "special": special})
}

fn sequence(id: &str) -> Value {
    json!({"Sequence": {"id": id, "type_id": 0}})
}

fn template(single: &Value) -> Value {
    json!({"type": "TemplateProcessing", "single": single, "pair": [sequence("A"), sequence("B")],
           "special_tokens": {"<s>": {"id": "<s>", "ids": [4], "tokens": ["<s>"]}}})
}

fn load_text(json: &str) -> Result<Tokenizer, TokenizerError> {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("tokenizer.json"), json).expect("writes");
    Tokenizer::from_hf_dir(folder.path())
}

fn load(json: &Value) -> Result<Tokenizer, TokenizerError> {
    load_text(&json.to_string())
}

fn encode(tokenizer: &Tokenizer, text: &str, add_special: bool, parse_special: bool) -> Vec<u32> {
    let options = EncodeOptions {
        add_special,
        parse_special,
    };
    tokenizer.encode(text, options).expect("encodes")
}

#[test]
fn prompts_are_neither_cut_nor_padded() {
    let tokenizer = load(&good()).expect("loads");
    assert_eq!(
        encode(&tokenizer, "ab ab ba", true, true),
        [4, 2, 3, 2, 3, 1, 0]
    );
}

#[test]
fn special_tokens_in_a_text_are_text_unless_asked_for() {
    let mut json = good();
    json["model"]["vocab"] = json!({"a": 0, "b": 1, "ab": 2, "Ġ": 3, "<": 6, "s": 7, ">": 8});
    json["added_tokens"] = json!([added(4, "<s>", true), added(5, "<think>", false)]);
    json["model"]["vocab"]["<s>"] = json!(4);
    json["model"]["vocab"]["<think>"] = json!(5);
    let tokenizer = load(&json).expect("loads");
    assert_eq!(encode(&tokenizer, "a<s><think>", false, true), [0, 4, 5]);
    assert_eq!(
        encode(&tokenizer, "a<s><think>", false, false),
        [0, 6, 7, 8, 5]
    );
    assert!(tokenizer.is_special(4) && !tokenizer.is_special(5));
    assert_eq!(
        tokenizer.decode(&[4, 5, 2, 99], true).expect("decodes"),
        "<think>ab"
    );
    assert_eq!(
        tokenizer.decode(&[4, 5, 2, 99], false).expect("decodes"),
        "<s><think>ab"
    );
}

#[test]
fn whatever_the_crate_would_trip_over_is_refused() {
    let refused = |what: &str, change: &dyn Fn(&mut Value), message: &str| {
        let mut json = good();
        change(&mut json);
        let error = load(&json).expect_err(what).to_string();
        assert!(error.contains(message), "{what}: {error}");
    };
    let charsmap = |text: &str| json!({"type": "Precompiled", "precompiled_charsmap": text});
    refused("no model", &|j| j["model"] = Value::Null, "type");
    refused(
        "no vocabulary",
        &|j| j["model"]["vocab"] = json!({}),
        "the vocabulary is empty",
    );
    refused(
        "empty",
        &|j| j["model"] = json!({"type": "BPE", "vocab": {}, "merges": []}),
        "empty",
    );
    refused(
        "huge id",
        &|j| j["model"]["vocab"]["z"] = json!(u32::MAX),
        "impossible id",
    );
    refused("model", &|j| j["model"]["type"] = json!("Foo"), "Foo");
    refused(
        "merge",
        &|j| j["model"]["merges"] = json!([["b", "a"]]),
        "\"ba\" is not",
    );
    refused(
        "three",
        &|j| j["model"]["merges"] = json!(["a b c"]),
        "not two tokens",
    );
    refused(
        "unknown",
        &|j| j["model"]["unk_token"] = json!("?"),
        "\"?\"",
    );
    refused("dropout", &|j| j["model"]["dropout"] = json!(0.1), "random");
    refused(
        "prefix",
        &|j| j["model"]["continuing_subword_prefix"] = json!("##"),
        "prefix",
    );
    refused("version", &|j| j["version"] = json!("2.0"), "2.0");
    refused(
        "normalizer",
        &|j| j["normalizer"] = json!({"type": "Foo"}),
        "Foo",
    );
    refused(
        "charsmap",
        &|j| j["normalizer"] = charsmap("BAAAAP////8="),
        "outside itself",
    );
    refused("charsmap", &|j| j["normalizer"] = charsmap("?"), "base64");
    refused(
        "chunks",
        &|j| j["pre_tokenizer"] = json!({"type": "FixedLength", "length": 0}),
        "length 0",
    );
    refused(
        "piece",
        &|j| j["post_processor"] = template(&json!([{"SpecialToken": {"id": "x", "type_id": 0}}])),
        "`x`",
    );
    refused(
        "second",
        &|j| j["post_processor"] = template(&json!([sequence("B")])),
        "`B`",
    );
    refused(
        "twice",
        &|j| j["post_processor"] = template(&json!([sequence("A"), sequence("A")])),
        "`A`",
    );
    refused(
        "outside",
        &|j| j["post_processor"]["special_tokens"]["<s>"]["ids"] = json!([77]),
        "outside",
    );
    refused(
        "shared id",
        &|j| j["model"]["vocab"]["z"] = json!(1),
        "two tokens have the id 1",
    );
    refused(
        "nothing left",
        &|j| {
            j["normalizer"] =
                json!({"type": "Replace", "pattern": {"String": "<think>"}, "content": ""});
            j["added_tokens"][1]["normalized"] = json!(true);
        },
        "nothing is left of \"<think>\"",
    );
    refused(
        "begins in white space",
        &|j| {
            j["added_tokens"][0]["rstrip"] = json!(true);
            j["added_tokens"][1] = added(5, "\n", false);
        },
        "can begin in the white space",
    );
    refused(
        "doubled bytes",
        &|j| {
            let part = j["pre_tokenizer"].clone();
            j["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": vec![part; 40]});
        },
        "times as long",
    );
}

#[test]
fn nesting_and_cut_files_are_errors() {
    let deep = format!(
        "{{\"model\": {}{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    for json in ["", "[]", "{", "{\"model\"", &deep] {
        assert!(load_text(json).is_err());
    }
    let nested = |depth: usize| {
        let mut normalizer = json!({"type": "NFC"});
        for _ in 0..depth {
            normalizer = json!({"type": "Sequence", "normalizers": [normalizer]});
        }
        let mut json = good();
        json["normalizer"] = normalizer;
        load(&json)
    };
    assert!(nested(3).is_ok());
    assert!(nested(400).is_err());
}

#[test]
fn replacements_may_not_grow_text_without_end() {
    let replace = |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
    let regex = |from: &str, to: &str| json!({"type": "Replace", "pattern": {"Regex": from}, "content": to});
    let chain = |steps: Vec<Value>| {
        let mut json = good();
        json["normalizer"] = json!({"type": "Sequence", "normalizers": steps});
        load(&json)
    };
    let doubling = |count: usize| vec![replace("a", "aa"); count];
    assert!(chain(doubling(5)).is_ok());
    assert!(chain(doubling(40)).is_err());
    // Growth through other letters, and through expressions.
    let mutual = (0..20).flat_map(|_| [replace("a", "bb"), replace("b", "aa")]);
    assert!(chain(mutual.collect()).is_err());
    assert!(chain(vec![regex("", "xxxxxxxx"); 20]).is_err());
    assert!(chain(vec![regex(".", &"x".repeat(2000))]).is_err());
    // Many replacements that do not feed each other are common.
    let spaced: Vec<Value> = (b'!'..=b'/')
        .map(char::from)
        .map(|c| replace(&c.to_string(), &format!(" {c} ")))
        .collect();
    assert!(chain(spaced).is_ok());
    assert!(chain(vec![json!({"type": "NFKC"}), replace(" ", "▁")]).is_ok());
    let mut json = good();
    json["decoder"] = json!({"type": "Sequence", "decoders": doubling(40)});
    assert!(load(&json).is_err());
}

#[test]
fn an_expression_that_replaces_nothing_is_an_error() {
    let mut json = good();
    json["normalizer"] = json!({"type": "Replace", "pattern": {"Regex": "b*"}, "content": "a"});
    let tokenizer = load(&json).expect("loads");
    let options = EncodeOptions::default();
    let error = tokenizer.encode("ab", options).expect_err("an empty match");
    assert!(
        error.to_string().contains("matches an empty text"),
        "{error}"
    );
    json["normalizer"]["pattern"] = json!({"String": ""});
    assert!(load(&json).is_err());
}

#[test]
fn the_configuration_adds_bos_and_eos_for_some_classes() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, json: &Value| {
        std::fs::write(folder.path().join(name), json.to_string()).expect("writes");
    };
    write("tokenizer.json", &good());
    let ids = |class: &str, bos: Option<bool>, eos: Option<bool>| {
        let config = json!({
            "tokenizer_class": class, "add_bos_token": bos, "add_eos_token": eos,
            "bos_token": "<s>", "eos_token": "<think>",
        });
        write("tokenizer_config.json", &config);
        let tokenizer = Tokenizer::from_hf_dir(folder.path()).expect("loads");
        encode(&tokenizer, "ab", true, true)
    };
    // Nothing said, or another class: as in `tokenizer.json`.
    assert_eq!(ids("LlamaTokenizerFast", None, None), [4, 2]);
    assert_eq!(ids("Qwen2Tokenizer", Some(false), Some(true)), [4, 2]);
    assert_eq!(ids("LlamaTokenizerFast", Some(false), None), [2]);
    assert_eq!(ids("GemmaTokenizer", Some(true), Some(true)), [4, 2, 5]);
    assert_eq!(ids("LlamaTokenizer", None, Some(true)), [4, 2, 5]);
    let config = json!({"tokenizer_class": "LlamaTokenizer", "add_bos_token": true});
    write("tokenizer_config.json", &config);
    let error = Tokenizer::from_hf_dir(folder.path()).expect_err("no BOS");
    assert!(error.to_string().contains("add_bos_token"), "{error}");
}

#[test]
fn a_run_that_the_expressions_cannot_split_is_an_error() {
    let options = EncodeOptions {
        add_special: false,
        parse_special: true,
    };
    let long = " ".repeat(1_500_000) + "a";
    let mut json = good();
    // GPT-2's expression as a part of `ByteLevel`, and Llama 3's way.
    for pre_tokenizer in [
        json["pre_tokenizer"].clone(),
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": r"\s+(?!\S)|\s+|\S+"},
             "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        ]}),
    ] {
        json["pre_tokenizer"] = pre_tokenizer;
        let tokenizer = load(&json).expect("loads");
        let result = tokenizer.encode(&long, options);
        assert!(matches!(result, Err(TokenizerError::Failed(_))));
        let ids = encode(&tokenizer, &long[long.len() - 300_001..], false, true);
        assert_eq!(ids.len(), 300_001);
    }
}

#[test]
fn ends_come_from_the_configurations() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, json: Value| {
        std::fs::write(folder.path().join(name), json.to_string()).expect("writes");
    };
    let ends = || {
        let tokenizer = Tokenizer::from_hf_dir(folder.path()).expect("loads");
        tokenizer.eos_token_ids().to_vec()
    };
    let mut json = good();
    json["added_tokens"][1] = added(5, "<|im_end|>", false);
    write("tokenizer.json", json);
    // Known by name, as nothing says otherwise.
    assert_eq!(ends(), [5]);
    write("config.json", json!({"text_config": {"eos_token_id": 2}}));
    assert_eq!(ends(), [2]);
    write("generation_config.json", json!({"eos_token_id": [3, 1]}));
    assert_eq!(ends(), [1, 3]);
    write(
        "tokenizer_config.json",
        json!({"bos_token": {"content": "<s>"}, "eos_token": "<|im_end|>", "unk_token": null}),
    );
    write(
        "special_tokens_map.json",
        json!({"bos_token": "a", "unk_token": "b", "pad_token": "ab"}),
    );
    assert_eq!(ends(), [1, 3, 5]);
    let tokenizer = Tokenizer::from_hf_dir(folder.path()).expect("loads");
    assert_eq!(tokenizer.bos_token_id(), Some(4));
    let special: Vec<_> = tokenizer
        .special_tokens()
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(
        special,
        [
            ("bos_token", "<s>"),
            ("eos_token", "<|im_end|>"),
            ("pad_token", "ab")
        ]
    );
    // Named tokens are special, whatever `tokenizer.json` says.
    assert!(tokenizer.is_special(5) && tokenizer.is_special(2));
    write("generation_config.json", json!({"eos_token_id": "x"}));
    assert!(Tokenizer::from_hf_dir(folder.path()).is_err());
}
