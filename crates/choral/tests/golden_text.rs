//! Tokenizers and chat templates against transformers, `tokenizers` and llama.cpp.
//!
//! The repository's `golden/` holds a part of the set; `CHORAL_GOLDEN` may point at
//! the whole. What the values mean: `golden/README.md`.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use choral::text::{
    ChatTemplate, DateTime, Detokenizer, EncodeOptions, TemplateError, TemplateInput, Tokenizer,
};
use choral_formats::Gguf;
use serde_json::{Map, Value};

fn golden_sets() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden");
    let all = std::env::var_os("CHORAL_GOLDEN").map(PathBuf::from);
    std::iter::once(own).chain(all).collect()
}

fn read_text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&read_text(path)).expect("golden files are JSON")
}

/// The files in `folder` of every set whose names end in `suffix`.
fn files(folder: &str, suffix: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = golden_sets()
        .iter()
        .filter_map(|set| std::fs::read_dir(set.join(folder)).ok())
        .flatten()
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.to_string_lossy().ends_with(suffix))
        .collect();
    found.sort();
    found
}

/// Counts checks, and fails at the end with the first few that failed.
#[derive(Default)]
struct Tally {
    passed: BTreeMap<String, usize>,
    failures: Vec<String>,
}

impl Tally {
    fn check(
        &mut self,
        part: &str,
        name: &str,
        found: &impl std::fmt::Debug,
        wanted: &impl std::fmt::Debug,
    ) {
        let (found, wanted) = (format!("{found:?}"), format!("{wanted:?}"));
        if found == wanted {
            *self.passed.entry(part.to_owned()).or_default() += 1;
        } else {
            self.failures.push(format!(
                "{part} {name}\n  found  {found}\n  wanted {wanted}"
            ));
        }
    }

    fn report(self) {
        println!("passed: {:?}", self.passed);
        let count = self.failures.len();
        let shown: Vec<_> = self.failures.into_iter().take(12).collect();
        assert!(shown.is_empty(), "{count} failed:\n{}", shown.join("\n"));
        assert!(!self.passed.is_empty(), "nothing was checked");
    }
}

fn ids(value: &Value) -> Vec<u32> {
    let ids = value.as_array().expect("an array of ids");
    ids.iter()
        .map(|id| id.as_u64().expect("an id") as u32)
        .collect()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

fn stream(tokenizer: &Tokenizer, ids: &[u32], skip_special: bool) -> String {
    let mut detokenizer = Detokenizer::new(tokenizer.clone(), skip_special);
    let mut text: String = ids.iter().map(|&id| detokenizer.push(id)).collect();
    text += &detokenizer.finish();
    text
}

#[test]
fn hugging_face_tokenizers_give_the_ids_and_texts_of_the_reference() {
    let mut tally = Tally::default();
    for folder in files("tokenizer/trained", "") {
        let vectors = read(&folder.join("vectors.json"));
        let family = text(&vectors["family"]).to_owned();
        let tokenizer = match Tokenizer::from_hf_dir(&folder) {
            Ok(tokenizer) => tokenizer,
            Err(error) => panic!("{family}: {error}"),
        };
        let list = |name: &str| vectors[name].as_array().cloned().unwrap_or_default();
        for case in list("encode") {
            let source = text(&case["text"]);
            let encode = |add_special| {
                let options = EncodeOptions {
                    add_special,
                    parse_special: true,
                };
                tokenizer.encode(source, options).map_err(|e| e.to_string())
            };
            tally.check(
                "encode",
                &family,
                &encode(false),
                &Ok::<_, String>(ids(&case["ids"])),
            );
            let special = &case[if case["ids_special"].is_null() {
                "ids"
            } else {
                "ids_special"
            }];
            tally.check(
                "encode with special",
                &family,
                &encode(true),
                &Ok::<_, String>(ids(special)),
            );
        }
        for (name, has_skip) in [
            ("encode", true),
            ("decode_random_ids", true),
            ("decode_incomplete_utf8", false),
        ] {
            for case in list(name) {
                let ids = ids(&case["ids"]);
                for (skip, key) in [(false, "decoded"), (true, "decoded_skip_special")] {
                    if skip && !has_skip {
                        continue;
                    }
                    let name = format!("{family} {name} {ids:?}");
                    let decoded = tokenizer.decode(&ids, skip).expect("decodes");
                    tally.check("decode", &name, &decoded.as_str(), &text(&case[key]));
                    tally.check(
                        "stream",
                        &name,
                        &stream(&tokenizer, &ids, skip).as_str(),
                        &text(&case[key]),
                    );
                }
            }
        }
    }
    tally.report();
}

/// Opens a vocabulary, which may be compressed.
fn open_vocab(folder: &Path, name: &str) -> Option<Gguf> {
    let plain = folder.join(name);
    if plain.exists() {
        return Some(Gguf::open(&plain).expect("a good file"));
    }
    let file = std::fs::File::open(folder.join(format!("{name}.gz"))).ok()?;
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(file)
        .read_to_end(&mut bytes)
        .expect("gzip");
    Some(Gguf::from_bytes(name, bytes).expect("a good file"))
}

#[test]
fn gguf_vocabularies_give_the_ids_of_llama_cpp() {
    let mut tally = Tally::default();
    for inputs in files("tokenizer/vocab", ".gguf.inp") {
        let (folder, name) = (
            inputs.parent().expect("a folder"),
            inputs.file_stem().expect("a name"),
        );
        let name = name.to_string_lossy().into_owned();
        let file = open_vocab(folder, &name).expect("the vocabulary");
        let tokenizer = Tokenizer::from_gguf(file.metadata()).expect("a good tokenizer");
        let plain = EncodeOptions {
            add_special: false,
            parse_special: false,
        };
        let outputs = read_text(&folder.join(format!("{name}.out")));
        let texts = read_text(&inputs);
        for (source, line) in texts.split("\n__ggml_vocab_test__\n").zip(outputs.lines()) {
            let wanted: Vec<u32> = line
                .split_whitespace()
                .map(|id| id.parse().expect("an id"))
                .collect();
            let found = tokenizer.encode(source, plain).expect("encodes");
            tally.check("inp", &format!("{name} {source:?}"), &found, &wanted);
        }
        let extra = folder.join(format!("{}.extra.json", name.trim_end_matches(".gguf")));
        if !extra.exists() {
            continue;
        }
        for case in read(&extra)["cases"].as_array().expect("cases") {
            let source = text(&case["text"]);
            for (key, add_special, parse_special) in [
                ("plain", false, false),
                ("parse_special", false, true),
                ("add_special_parse_special", true, true),
            ] {
                let found = tokenizer
                    .encode(
                        source,
                        EncodeOptions {
                            add_special,
                            parse_special,
                        },
                    )
                    .expect("encodes");
                tally.check(key, &format!("{name} {source:?}"), &found, &ids(&case[key]));
            }
            if name.contains("bert") {
                // Case, accents and spaces are gone.
                continue;
            }
            let plain = ids(&case["plain"]);
            let decoded = tokenizer.decode(&plain, false).expect("decodes");
            // `detok_plain_hex` is not what streaming in llama.cpp gives: it takes
            // spaces before punctuation out of some vocabularies' texts. In
            // SentencePiece's, `▁` is a space.
            let spaced = if name.contains("spm") {
                source.replace('▁', " ")
            } else {
                source.to_owned()
            };
            let wanted = spaced.trim_start_matches(' ');
            tally.check("text", &name, &decoded.trim_start_matches(' '), &wanted);
            tally.check(
                "stream",
                &name,
                &stream(&tokenizer, &plain, false),
                &decoded,
            );
        }
    }
    tally.report();
}

fn input(case: &Value) -> TemplateInput {
    TemplateInput {
        messages: case["messages"].clone(),
        tools: case.get("tools").cloned(),
        add_generation_prompt: case["add_generation_prompt"].as_bool().unwrap_or(false),
        kwargs: case
            .get("kwargs")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default(),
        now: DateTime::parse("2026-03-14T15:09:26"),
    }
}

fn check_template(
    tally: &mut Tally,
    part: &str,
    name: &str,
    found: &Result<String, TemplateError>,
    wanted: &Value,
) {
    match wanted["text"].as_str() {
        Some(wanted) => tally.check(part, name, found, &Ok::<_, TemplateError>(wanted)),
        None => tally.check(part, name, &found.is_err(), &true),
    }
}

#[test]
fn chat_templates_render_as_in_transformers() {
    let mut tally = Tally::default();
    for set in golden_sets() {
        let folder = set.join("templates");
        let Ok(_) = std::fs::metadata(folder.join("expected.json")) else {
            continue;
        };
        let expected = read(&folder.join("expected.json"));
        let special: BTreeMap<String, String> =
            serde_json::from_value(expected["special_tokens"].clone()).expect("special tokens");
        for (name, cases) in expected["expected"].as_object().expect("templates") {
            let source = read_text(&folder.join("jinja").join(name));
            let template = ChatTemplate::new(&source, special.clone()).expect("parses");
            for (case, wanted) in cases.as_object().expect("cases") {
                let found = template.render(&input(&expected["cases"][case]));
                check_template(
                    &mut tally,
                    "templates",
                    &format!("{name} {case}"),
                    &found,
                    wanted,
                );
            }
        }
        let snippets = read(&folder.join("snippets.json"));
        let mut kwargs: Map<String, Value> = snippets["variables"]
            .as_object()
            .expect("variables")
            .clone();
        let messages = kwargs.remove("messages").expect("messages");
        kwargs.remove("add_generation_prompt");
        for snippet in snippets["snippets"].as_array().expect("snippets") {
            let source = text(&snippet["template"]);
            let found = ChatTemplate::new(source, BTreeMap::new()).and_then(|template| {
                template.render(&TemplateInput {
                    messages: messages.clone(),
                    add_generation_prompt: true,
                    kwargs: kwargs.clone(),
                    now: DateTime::parse("2026-03-14T15:09:26"),
                    ..TemplateInput::default()
                })
            });
            check_template(&mut tally, "snippets", source, &found, snippet);
        }
    }
    tally.report();
}

/// The first GGUF file made from a model, and llama.cpp's own ids for prompts
/// that it does not tokenize as transformers does.
fn gguf_of(folder: &Path) -> Option<(PathBuf, Value)> {
    let files = std::fs::read_dir(folder.join("gguf")).ok()?;
    // Models that look at pictures have theirs without llama.cpp's values.
    let values = folder.join("gguf_golden.json");
    let golden = if values.exists() {
        read(&values)
    } else {
        Value::Null
    };
    let mut paths: Vec<PathBuf> = files
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "gguf")
        })
        .filter(|path| !path.to_string_lossy().contains("mmproj"))
        .collect();
    paths.sort();
    let files = golden["files"].as_object().into_iter().flatten();
    let own = files
        .map(|(_, file)| file)
        .find_map(|file| file.get("llamacpp_tokenize"));
    Some((paths.into_iter().next()?, own.cloned().unwrap_or_default()))
}

#[test]
fn models_encode_their_prompts_as_in_transformers() {
    let mut tally = Tally::default();
    for folder in files("models", "") {
        let golden = read(&folder.join("golden.json"));
        let name = text(&golden["name"]).to_owned();
        let none = Map::new();
        let prompts = golden["prompts"].as_object().unwrap_or(&none);
        if let Some((path, llama_cpp)) = gguf_of(&folder).filter(|_| golden["kind"].is_null()) {
            let file = Gguf::open(&path).expect("a good file");
            let tokenizer = Tokenizer::from_gguf(file.metadata()).expect("a good tokenizer");
            for (prompt, case) in prompts {
                // The prompts of vision models have their own checks.
                let (Some(source), None) = (case["text"].as_str(), case.get("images")) else {
                    continue;
                };
                let options = EncodeOptions {
                    add_special: case["add_special_tokens"].as_bool().unwrap_or(false),
                    parse_special: true,
                };
                let found = tokenizer.encode(source, options).expect("encodes");
                let own = &llama_cpp[prompt]["llamacpp_ids"];
                let wanted = if own.is_null() { &case["ids"] } else { own };
                tally.check("gguf", &format!("{name} {prompt}"), &found, &ids(wanted));
            }
        }
        if folder.join("hf/tokenizer.json").exists() {
            check_hf_model(&mut tally, &folder.join("hf"), &name, &golden);
        }
    }
    tally.report();
}

fn check_hf_model(tally: &mut Tally, hf: &Path, name: &str, golden: &Value) {
    let tokenizer = Tokenizer::from_hf_dir(hf).expect("a good tokenizer");
    if golden["eos_token_ids"].is_array() {
        let mut ends = ids(&golden["eos_token_ids"]);
        ends.sort_unstable();
        tally.check("ends", name, &tokenizer.eos_token_ids(), &ends);
    }
    let none = Map::new();
    for (prompt, case) in golden["prompts"].as_object().unwrap_or(&none) {
        let name = format!("{name} {prompt}");
        if let (Some(source), None) = (case["text"].as_str(), case.get("images")) {
            let options = EncodeOptions {
                add_special: case["add_special_tokens"].as_bool().unwrap_or(false),
                parse_special: true,
            };
            let found = tokenizer.encode(source, options).expect("encodes");
            tally.check("hf", &name, &found, &ids(&case["ids"]));
        }
        for (skip, key) in [(false, "text"), (true, "text_skip_special")] {
            if let Some(wanted) = case["greedy"][key].as_str() {
                let found = stream(&tokenizer, &ids(&case["greedy"]["ids"]), skip);
                tally.check("greedy text", &name, &found.as_str(), &wanted);
            }
        }
    }
    for (case, wanted) in golden["chat"].as_object().unwrap_or(&none) {
        let name = format!("{name} {case}");
        let template = ChatTemplate::from_hf_dir(hf, &tokenizer).expect("a good template");
        let template = template.expect("a template");
        let found = template.render(&input(&wanted["input"]));
        if let (Ok(found), true) = (&found, wanted["ids"].is_array()) {
            let options = EncodeOptions {
                add_special: false,
                parse_special: true,
            };
            let found = tokenizer.encode(found, options).expect("encodes");
            tally.check("chat ids", &name, &found, &ids(&wanted["ids"]));
        }
        check_template(tally, "chat", &name, &found, wanted);
    }
}

/// Copies the good directory and lays the case over it.
fn overlay(malformed: &Path, case: &Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let copy = |from: PathBuf| {
        for file in std::fs::read_dir(from).expect("a readable folder") {
            let file = file.expect("a readable folder").path();
            let name = file.file_name().expect("a name");
            std::fs::copy(&file, folder.path().join(name)).expect("copies");
        }
    };
    copy(malformed.join("hf/_base_ok"));
    for name in case["remove"].as_array().into_iter().flatten() {
        std::fs::remove_file(folder.path().join(text(name))).expect("removes");
    }
    copy(malformed.join(text(&case["path"])));
    folder
}

/// Loads the tokenizer and the template of a malformed model and uses both.
fn try_everything(malformed: &Path, case: &Value) -> Result<(), String> {
    let (tokenizer, template) = if case["kind"] == "hf" {
        let folder = overlay(malformed, case);
        let tokenizer = Tokenizer::from_hf_dir(folder.path()).map_err(|e| e.to_string())?;
        let template = ChatTemplate::from_hf_dir(folder.path(), &tokenizer);
        (tokenizer, template)
    } else {
        let file = Gguf::open(malformed.join(text(&case["path"]))).map_err(|e| e.to_string())?;
        let tokenizer = Tokenizer::from_gguf(file.metadata()).map_err(|e| e.to_string())?;
        let template = ChatTemplate::from_gguf(file.metadata(), &tokenizer);
        (tokenizer, template)
    };
    let rendered = template.and_then(|template| {
        let Some(template) = template else {
            return Ok(String::new());
        };
        template.render(&TemplateInput {
            messages: serde_json::json!([{"role": "user", "content": "hi"}]),
            add_generation_prompt: true,
            ..TemplateInput::default()
        })
    });
    let options = EncodeOptions {
        add_special: true,
        parse_special: true,
    };
    let prompt = "hi aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa! é 漢字 \u{1f600}\n\n  x";
    let encoded = tokenizer
        .encode(prompt, options)
        .map_err(|e| e.to_string())?;
    stream(&tokenizer, &encoded, true);
    rendered.map(drop).map_err(|e| e.to_string())
}

#[test]
fn malformed_tokenizers_and_templates_end_in_errors() {
    // Only in the whole set.
    let Some(set) = std::env::var_os("CHORAL_GOLDEN").map(PathBuf::from) else {
        return;
    };
    let malformed = set.join("malformed");
    let mut tally = Tally::default();
    for case in read(&malformed.join("cases.json"))["cases"]
        .as_array()
        .expect("cases")
    {
        let name = text(&case["name"]);
        let kinds = ["tok_", "tj_", "ct_", "tmpl_", "tc_", "gc_"];
        if !kinds.iter().any(|kind| name.starts_with(kind)) {
            continue;
        }
        let started = std::time::Instant::now();
        let result = try_everything(&malformed, case);
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "{name} ({}): {result:?}, {seconds:.2} s",
            text(&case["expect"])
        );
        tally.check("fast", name, &(seconds < 5.0), &true);
        if case["expect"] == "error" {
            tally.check("refused", name, &result.is_err(), &true);
        }
    }
    tally.report();
}
