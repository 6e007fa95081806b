//! The shipped model's tokenizer, and text from ids against llama.cpp.
//!
//! Other tokenizers and templates are in `golden_text.rs`. The repository's `golden/` holds a part of the set; `CHORAL_GOLDEN` may point at
//! the whole. What the vectors hold: `golden/README.md`.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use choral::text::{Detokenizer, EncodeOptions, Tokenizer};
use choral_formats::{Gguf, ModelFile};
use serde_json::Value;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn golden_sets() -> Vec<PathBuf> {
    let all = std::env::var_os("CHORAL_GOLDEN").map(PathBuf::from);
    std::iter::once(repository().join("golden"))
        .chain(all)
        .collect()
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
    fn check<T: PartialEq + std::fmt::Debug + ?Sized>(
        &mut self,
        name: &str,
        found: &T,
        expected: &T,
    ) {
        self.checks += 1;
        if found != expected {
            self.failures
                .push(format!("{name}: expected {expected:?}, found {found:?}"));
        }
    }

    fn end(self, at_least: usize) {
        println!("{} checks, {} failures", self.checks, self.failures.len());
        let first = &self.failures[..self.failures.len().min(10)];
        assert!(
            self.failures.is_empty(),
            "{} failures:\n{}",
            self.failures.len(),
            first.join("\n")
        );
        assert!(self.checks >= at_least, "only {} checks", self.checks);
    }
}

fn streamed(tokenizer: &Tokenizer, ids: &[u32], skip_special: bool) -> String {
    let mut stream = Detokenizer::new(tokenizer.clone(), skip_special);
    let pieces: String = ids.iter().map(|&id| stream.push(id)).collect();
    pieces + &stream.finish()
}

/// Opens a vocabulary, which may be compressed.
fn open_vocab(path: &Path) -> Gguf {
    if path.exists() {
        return Gguf::open(path).expect("a GGUF file");
    }
    let packed = std::fs::File::open(path.with_added_extension("gz")).expect("a vocabulary");
    let mut bytes = Vec::new();
    let mut unpacked = flate2::read::GzDecoder::new(packed);
    unpacked.read_to_end(&mut bytes).expect("gzip");
    Gguf::from_bytes(path, bytes).expect("a GGUF file")
}

fn vocab_tokenizer(path: &Path) -> Tokenizer {
    Tokenizer::from_gguf(open_vocab(path).metadata())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn detokenised_text_agrees_with_llama_cpp() {
    let mut report = Report::default();
    for path in entries("tokenizer/vocab") {
        let Some(vocab) = path
            .to_str()
            .and_then(|path| path.strip_suffix(".extra.json"))
        else {
            continue;
        };
        let cases = read(&path);
        let tokenizer = vocab_tokenizer(&Path::new(vocab).with_added_extension("gguf"));
        for case in list(&cases, "cases") {
            let text = str(case, "text");
            let name = format!("{vocab}: {text:?}");
            let hex = str(case, "detok_plain_hex").as_bytes().as_chunks::<2>().0;
            let bytes: Vec<u8> = hex
                .iter()
                .map(|digits| std::str::from_utf8(digits).expect("hex"))
                .map(|digits| u8::from_str_radix(digits, 16).expect("hex"))
                .collect();
            let expected = String::from_utf8_lossy(&bytes).into_owned();
            let plain = ids(&case["plain"]);
            let text = tokenizer.decode(&plain, false).expect("text");
            report.check(&name, &streamed(&tokenizer, &plain, false), &text);
            // For some vocabularies llama.cpp drops spaces before punctuation, when it
            // has the whole text; not in a stream. We never do.
            let cleans = ["gpt-2", "llama-bpe", "bert-bge"]
                .iter()
                .any(|name| vocab.ends_with(name));
            let spaces: &[char] = if cleans { &[' '] } else { &[] };
            report.check(
                &name,
                &text.replace(spaces, ""),
                &expected.replace(spaces, ""),
            );
        }
    }
    report.end(50);
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
        let options = EncodeOptions {
            add_special: false,
            parse_special: true,
        };
        let found = tokenizer
            .encode(str(prompt, "rendered"), options)
            .expect("ids");
        report.check(name, &found, &ids(&prompt["ids"]));
        let text = tokenizer
            .decode(&ids(&prompt["greedy_ids"]), false)
            .expect("text");
        report.check(name, text.as_str(), str(prompt, "greedy_text"));
    }
    report.end(6);
}
