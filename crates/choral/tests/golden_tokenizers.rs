//! Ids and texts against Hugging Face tokenizers and llama.cpp.
//!
//! The repository's `golden/` holds a part of the set; `CHORAL_GOLDEN` may point at
//! the whole. What the vectors hold: `golden/README.md`.

use std::path::{Path, PathBuf};

use choral::text::{Detokenizer, EncodeOptions, Tokenizer, TokenizerError};
use choral_formats::{Gguf, ModelFile};
use serde_json::Value;

const PLAIN: EncodeOptions = EncodeOptions {
    add_special: false,
    parse_special: false,
};
const PARSED: EncodeOptions = EncodeOptions {
    add_special: false,
    parse_special: true,
};
const WHOLE: EncodeOptions = EncodeOptions {
    add_special: true,
    parse_special: true,
};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn golden_sets() -> Vec<PathBuf> {
    let all = std::env::var_os("CHORAL_GOLDEN").map(PathBuf::from);
    std::iter::once(repository().join("golden")).chain(all).collect()
}

/// Entries of a folder of each golden set, in order.
fn entries(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for set in golden_sets() {
        let entries = std::fs::read_dir(set.join(folder)).expect("a golden set has tokenizers");
        found.extend(entries.map(|entry| entry.expect("a readable entry").path()));
    }
    found.sort();
    found
}

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).expect("golden files are JSON")
}

fn ids(value: &Value) -> Vec<u32> {
    let ids = value.as_array().expect("ids").iter();
    ids.map(|id| id.as_u64().expect("an id") as u32).collect()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn str<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().expect("a string")
}

/// What failed, and how much was tried.
#[derive(Default)]
struct Report {
    checks: usize,
    failures: Vec<String>,
}

impl Report {
    fn check<T: PartialEq + std::fmt::Debug>(&mut self, name: &str, found: T, expected: T) {
        self.checks += 1;
        if found != expected {
            self.failures
                .push(format!("{name}: expected {expected:?}, found {found:?}"));
        }
    }

    fn end(self, at_least: usize) {
        println!("{} checks, {} failures", self.checks, self.failures.len());
        let first = &self.failures[..self.failures.len().min(10)];
        assert!(self.failures.is_empty(), "{} failures:\n{}", self.failures.len(), first.join("\n"));
        assert!(self.checks >= at_least, "only {} checks", self.checks);
    }
}

fn streamed(tokenizer: &Tokenizer, ids: &[u32], skip_special: bool) -> String {
    let mut stream = Detokenizer::new(tokenizer.clone(), skip_special);
    let pieces: String = ids.iter().map(|&id| stream.push(id)).collect();
    pieces + &stream.finish()
}

#[test]
fn trained_tokenizers_agree_with_hugging_face() {
    let mut report = Report::default();
    for folder in entries("tokenizer/trained") {
        let vectors = read(&folder.join("vectors.json"));
        let tokenizer = Tokenizer::from_hf_dir(&folder).expect("a tokenizer");
        let family = str(&vectors, "family").to_owned();
        let vocab_size = tokenizer.vocab_size() as u64;
        report.check(&family, Some(vocab_size), vectors["vocab_size"].as_u64());
        for case in list(&vectors, "encode") {
            let text = str(case, "text");
            let name = format!("{family}: {text:?}");
            let plain = tokenizer.encode(text, PARSED).expect("ids");
            report.check(&name, plain, ids(&case["ids"]));
            let special = [&case["ids_special"], &case["ids"]];
            let special = special.into_iter().find(|ids| !ids.is_null()).expect("ids");
            let whole = tokenizer.encode(text, WHOLE).expect("ids");
            report.check(&name, whole, ids(special));
        }
        for part in ["encode", "decode_random_ids", "decode_incomplete_utf8"] {
            for case in list(&vectors, part) {
                let name = format!("{family} {part}: {}", case["ids"]);
                for (key, skip_special) in [("decoded", false), ("decoded_skip_special", true)] {
                    let Some(expected) = case[key].as_str() else { continue };
                    let ids = ids(&case["ids"]);
                    let text = tokenizer.decode(&ids, skip_special).expect("text");
                    report.check(&name, text.as_str(), expected);
                    let text = streamed(&tokenizer, &ids, skip_special);
                    report.check(&name, text.as_str(), expected);
                }
            }
        }
    }
    report.end(3 * 500);
}

/// Opens a vocabulary, which may be compressed.
fn open_vocab(path: &Path) -> Gguf {
    if path.exists() {
        return Gguf::open(path).expect("a GGUF file");
    }
    let packed = path.with_added_extension("gz");
    let unpacked = std::process::Command::new("gzip")
        .arg("-dc")
        .arg(&packed)
        .output()
        .expect("gzip");
    assert!(unpacked.status.success(), "gzip -dc {}", packed.display());
    Gguf::from_bytes(path, unpacked.stdout).expect("a GGUF file")
}

/// The tokenizer of a vocabulary, or `None` if it is of a kind we do not have.
fn vocab_tokenizer(path: &Path) -> Option<Tokenizer> {
    match Tokenizer::from_gguf(open_vocab(path).metadata()) {
        Ok(tokenizer) => Some(tokenizer),
        Err(TokenizerError::Unsupported { name, .. }) if name == "bert" => None,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

#[test]
fn gguf_vocabularies_agree_with_llama_cpp() {
    let mut report = Report::default();
    for path in entries("tokenizer/vocab") {
        if path.extension().is_none_or(|extension| extension != "inp") {
            continue;
        }
        let texts = std::fs::read_to_string(&path).expect("texts");
        let texts = texts.split("\n__ggml_vocab_test__\n");
        let expected = std::fs::read_to_string(path.with_extension("out")).expect("ids");
        let Some(tokenizer) = vocab_tokenizer(&path.with_extension("")) else { continue };
        for (text, expected) in texts.zip(expected.lines()) {
            let name = format!("{}: {text:?}", path.display());
            let expected: Vec<u32> = expected
                .split_whitespace()
                .map(|id| id.parse().expect("an id"))
                .collect();
            let found = tokenizer.encode(text, PLAIN).expect("ids");
            report.check(&name, found, expected);
        }
    }
    report.end(40);
}

#[test]
fn special_tokens_and_detokenised_text_agree_with_llama_cpp() {
    let mut report = Report::default();
    for path in entries("tokenizer/vocab") {
        let Some(vocab) = path.to_str().and_then(|path| path.strip_suffix(".extra.json")) else {
            continue;
        };
        let cases = read(&path);
        let Some(tokenizer) = vocab_tokenizer(&Path::new(vocab).with_added_extension("gguf")) else { continue };
        for case in list(&cases, "cases") {
            let text = str(case, "text");
            let name = format!("{vocab}: {text:?}");
            let runs = [("plain", PLAIN), ("parse_special", PARSED), ("add_special_parse_special", WHOLE)];
            for (key, options) in runs {
                let found = tokenizer.encode(text, options).expect("ids");
                report.check(&format!("{name} {key}"), found, ids(&case[key]));
            }
            let hex = str(case, "detok_plain_hex").as_bytes().as_chunks::<2>().0;
            let bytes: Vec<u8> = hex
                .iter()
                .map(|digits| std::str::from_utf8(digits).expect("hex"))
                .map(|digits| u8::from_str_radix(digits, 16).expect("hex"))
                .collect();
            let expected = String::from_utf8_lossy(&bytes).into_owned();
            let plain = ids(&case["plain"]);
            let text = tokenizer.decode(&plain, false).expect("text");
            report.check(&name, streamed(&tokenizer, &plain, false), text.clone());
            // For some vocabularies llama.cpp drops spaces before punctuation, when it
            // has the whole text; not in a stream. We never do.
            let cleans = vocab.ends_with("gpt-2") || vocab.ends_with("llama-bpe");
            let spaces: &[char] = if cleans { &[' '] } else { &[] };
            report.check(&name, text.replace(spaces, ""), expected.replace(spaces, ""));
        }
    }
    report.end(200);
}

#[test]
fn prompts_of_the_small_models_have_the_reference_ids() {
    let mut report = Report::default();
    for folder in entries("models") {
        let golden = read(&folder.join("golden.json"));
        let directory = folder.join("hf");
        if !directory.join("tokenizer.json").exists() {
            continue;
        }
        let tokenizer = Tokenizer::from_hf_dir(&directory).expect("a tokenizer");
        let prompts = golden["prompts"].as_object().into_iter().flatten();
        for (name, prompt) in prompts {
            let Some(text) = prompt["text"].as_str() else { continue };
            let add_special = prompt["add_special_tokens"].as_bool().unwrap_or(true);
            let options = EncodeOptions { add_special, parse_special: true };
            let found = tokenizer.encode(text, options).expect("ids");
            let name = format!("{} {name}", folder.display());
            report.check(&name, found, ids(&prompt["ids"]));
        }
    }
    report.end(5);
}

#[test]
fn the_shipped_model_encodes_its_prompts_as_in_training() {
    let mut report = Report::default();
    let folder = repository().join("models");
    let file = ModelFile::open(folder.join("choral-demo-q8_0.gguf")).expect("the shipped model");
    let tokenizer = Tokenizer::from_file(&file).expect("a tokenizer");
    let golden = read(&folder.join("demo_golden.json"));
    for prompt in list(&golden, "prompts") {
        let name = str(prompt, "name");
        let options = EncodeOptions { add_special: false, parse_special: true };
        let found = tokenizer.encode(str(prompt, "rendered"), options).expect("ids");
        report.check(name, found, ids(&prompt["ids"]));
        let text = tokenizer.decode(&ids(&prompt["greedy_ids"]), false).expect("text");
        report.check(name, text.as_str(), str(prompt, "greedy_text"));
    }
    report.end(6);
}
