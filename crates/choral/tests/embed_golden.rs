//! Embeddings against transformers: a BERT encoder's, and decoders' hidden states; and
//! the same bits whatever runs beside a text.

use choral::embed::{Embedder, EmbedderBuilder, Pooling, PreparedText};
use choral::engine::Prompt;
use choral::machine::Isa;
use choral::model::Numeric;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn golden(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../golden/models")
        .join(model)
}

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

fn floats(value: &Value) -> Vec<f32> {
    let floats = value.as_array().expect("numbers").iter();
    floats
        .map(|x| x.as_f64().expect("a number") as f32)
        .collect()
}

fn ids(value: &Value) -> Vec<u32> {
    let ids = value.as_array().expect("ids").iter();
    ids.map(|id| id.as_u64().expect("an id") as u32).collect()
}

/// A text, and what transformers makes of it.
struct Case {
    name: String,
    text: String,
    ids: Vec<u32>,
    values: Value,
}

fn cases() -> Vec<Case> {
    let golden = read(&golden("bert_embed").join("golden.json"));
    let embeddings = golden["embeddings"].as_object().expect("embeddings");
    let case = |(name, values): (&String, &Value)| Case {
        name: name.clone(),
        text: values["text"].as_str().expect("a text").to_owned(),
        ids: ids(&values["ids"]),
        values: values.clone(),
    };
    let cases: Vec<Case> = embeddings.iter().map(case).collect();
    assert_eq!(cases.len(), 7);
    cases
}

fn bert() -> EmbedderBuilder {
    Embedder::builder()
        .model(golden("bert_embed").join("hf"))
        .threads(1)
}

/// The reference cut one text without regard to its last token, so ids are given.
fn prepare(embedder: &Embedder, cases: &[Case]) -> Vec<PreparedText> {
    let prompt = |case: &Case| Prompt::Tokens(case.ids.clone());
    cases
        .iter()
        .map(|case| embedder.prepare(&prompt(case), None).expect("a good text"))
        .collect()
}

fn vectors(embedder: &mut Embedder, texts: &[PreparedText]) -> Vec<Vec<f32>> {
    let embeddings = embedder.run(texts).expect("memory");
    embeddings.into_iter().map(|e| e.values).collect()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f32::max)
}

#[test]
fn an_encoder_gives_the_vectors_of_transformers() {
    let cases = cases();
    let raw = || bert().normalize(false);
    for (key, builder) in [
        ("mean_l2_normalised", bert()),
        ("mean", raw()),
        ("cls", raw().pooling(Pooling::Cls)),
    ] {
        let mut embedder = builder.build().expect("a good model");
        assert_eq!(embedder.info().numeric, Numeric::F32, "{key}");
        let texts = prepare(&embedder, &cases);
        for (case, found) in cases.iter().zip(vectors(&mut embedder, &texts)) {
            let difference = largest_difference(&found, &floats(&case.values[key]));
            assert!(difference < 2e-5, "{} {key}: {difference}", case.name);
        }
    }
}

#[test]
fn texts_become_the_tokens_of_transformers_and_long_ones_are_refused() {
    let embedder = bert().build().expect("a good model");
    for case in cases() {
        let prepared = embedder.prepare(&Prompt::Text(case.text), None);
        if case.name == "long" {
            let error = prepared.expect_err("too long").to_string();
            assert!(error.ends_with("tokens, the model takes 128"), "{error}");
        } else {
            let prepared = prepared.expect("a good text");
            assert_eq!(prepared.token_ids(), case.ids, "{}", case.name);
            assert_eq!(prepared.num_cut(), 0);
        }
    }
}

#[test]
fn a_cut_text_keeps_the_tokens_around_it() {
    let embedder = bert().truncate(true).build().expect("a good model");
    let case = cases().into_iter().find(|c| c.name == "long").expect("it");
    let cut = embedder
        .prepare(&Prompt::Text(case.text), None)
        .expect("cut");
    assert!(cut.num_cut() > 0);
    // All but the last as in the reference, then [SEP].
    assert_eq!(cut.token_ids()[..127], case.ids[..127]);
    assert_eq!(cut.token_ids()[127..], [3]);
    // Tokens are cut at the end.
    let ids: Vec<u32> = (0..200).collect();
    let cut = embedder
        .prepare(&Prompt::Tokens(ids.clone()), None)
        .expect("cut");
    assert_eq!((cut.token_ids(), cut.num_cut()), (&ids[..128], 72));
}

#[test]
fn without_pooling_there_is_a_vector_for_each_token() {
    let cases = cases();
    let builder = bert().normalize(false).pooling(Pooling::None);
    let mut embedder = builder.build().expect("a good model");
    let texts = prepare(&embedder, &cases);
    for (case, found) in cases.iter().zip(embedder.run(&texts).expect("memory")) {
        let want = floats(&case.values["hidden_l2"]);
        assert!(found.is_by_token);
        assert_eq!(found.values.len(), want.len() * 48);
        for (vector, want) in found.values.chunks(48).zip(want) {
            let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            assert!((length / want - 1.0).abs() < 1e-5, "{}", case.name);
        }
    }
}

#[test]
fn bf16_is_near() {
    let cases = cases();
    let mut embedder = bert().numeric(Numeric::Bf16).build().expect("a good model");
    let texts = prepare(&embedder, &cases);
    for (case, found) in cases.iter().zip(vectors(&mut embedder, &texts)) {
        let want = floats(&case.values["mean_l2_normalised"]);
        let cosine: f32 = found.iter().zip(&want).map(|(a, b)| a * b).sum();
        assert!(cosine > 0.9999, "{}: {cosine}", case.name);
    }
}

#[test]
fn dimensions_are_the_first_of_a_vector_normalised() {
    let embed = |builder: EmbedderBuilder| {
        let mut embedder = builder.build().expect("a good model");
        embedder.embed(&["Hello"]).expect("a vector").remove(0)
    };
    let whole = embed(bert().normalize(false));
    let length = whole[..7].iter().map(|x| x * x).sum::<f32>().sqrt();
    let want: Vec<f32> = whole[..7].iter().map(|x| x / length).collect();
    let found = embed(bert().dimensions(7));
    assert!(largest_difference(&found, &want) < 1e-6);
}

/// Embeds everything at once, in steps of several sizes, on every instruction set and
/// with more threads: always the bits that each text has alone.
fn check_invariance(builder: impl Fn() -> EmbedderBuilder, texts: &[Vec<u32>]) {
    let embed = |builder: EmbedderBuilder, texts: &[Vec<u32>]| {
        let mut embedder = builder.build().expect("a good model");
        let prepare = |ids: &Vec<u32>| embedder.prepare(&Prompt::Tokens(ids.clone()), None);
        let texts: Vec<_> = texts
            .iter()
            .map(|ids| prepare(ids).expect("good"))
            .collect();
        vectors(&mut embedder, &texts)
    };
    let alone: Vec<Vec<f32>> = texts
        .iter()
        .map(|text| embed(builder(), std::slice::from_ref(text)).remove(0))
        .collect();
    let at_once = |builder: EmbedderBuilder| assert!(embed(builder, texts) == alone);
    at_once(builder());
    at_once(builder().max_num_seqs(2));
    at_once(builder().max_num_batched_tokens(40).max_num_seqs(40));
    at_once(builder().threads(3));
    for isa in Isa::available() {
        at_once(builder().isa(isa));
    }
    let reversed: Vec<Vec<u32>> = texts.iter().rev().cloned().collect();
    let mut found = embed(builder(), &reversed);
    found.reverse();
    assert!(found == alone);
}

#[test]
fn an_encoders_vectors_do_not_depend_on_the_batch() {
    let texts: Vec<Vec<u32>> = cases().into_iter().map(|case| case.ids).collect();
    for numeric in [Numeric::F32, Numeric::Bf16] {
        check_invariance(|| bert().numeric(numeric), &texts);
    }
}

#[test]
fn a_decoders_vectors_are_its_hidden_states_and_do_not_depend_on_the_batch() {
    for model in ["qwen3", "gpt2", "gemma3_text", "mixtral"] {
        let values = read(&golden(model).join("golden.json"));
        let prompts = values["prompts"].as_object().expect("prompts");
        let texts: Vec<Vec<u32>> = prompts.values().map(|p| ids(&p["ids"])).collect();
        let builder = || {
            Embedder::builder()
                .model(golden(model).join("hf"))
                .numeric(Numeric::F32)
                .normalize(false)
                .threads(1)
        };
        let mut embedder = builder().build().expect("a good model");
        assert_eq!(embedder.info().pooling, Pooling::Last);
        let prepared: Vec<_> = texts
            .iter()
            .map(|ids| {
                embedder
                    .prepare(&Prompt::Tokens(ids.clone()), None)
                    .expect("good")
            })
            .collect();
        for (prompt, found) in prompts.values().zip(vectors(&mut embedder, &prepared)) {
            let layers = prompt["hidden"].as_array().expect("layers");
            let want = layers.last().expect("the final norm's");
            let length = found.iter().map(|x| x * x).sum::<f32>().sqrt();
            let ratio = length / want["l2_last"].as_f64().expect("a length") as f32;
            assert!((ratio - 1.0).abs() < 1e-4, "{model}");
            let head = floats(&want["head4_last"]);
            assert!(largest_difference(&found[..4], &head) < 1e-3, "{model}");
        }
        check_invariance(|| builder().pooling(Pooling::Mean), &texts);
    }
}

#[test]
fn the_shipped_model_embeds_too() {
    let mut embedder = Embedder::builder().build().expect("the shipped model");
    let texts = ["The little fox", "A small fox", "The king of the castle"];
    let vectors = embedder.embed(&texts).expect("vectors");
    for vector in &vectors {
        assert_eq!(vector.len(), embedder.info().dimensions);
        let length: f32 = vector.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-5);
    }
}
