//! Folders and GGUF files as other GGUF files: against what llama.cpp's converter made
//! of the same folders, and against the logits of its quantised files.
//!
//! The repository's `golden/` holds a part of the set; `CHORAL_GOLDEN` may point at
//! the whole.

use base64::Engine as _;
use choral::convert::{Choice, ConvertError, Divergence, Mixture, Plan, divergence};
use choral::engine::batch::{BLOCK_TOKENS, Batch, BlockId, Executor, StepResult};
use choral::exec::{Compute, CpuExecutor};
use choral::machine::Isa;
use choral::model::{KvLayout, Model, Numeric};
use choral_formats::gguf::Gguf;
use choral_formats::{Dtype, ModelFile, TensorSource};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn golden_sets() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden");
    let all = std::env::var_os("CHORAL_GOLDEN").map(PathBuf::from);
    std::iter::once(own).chain(all).collect()
}

/// Folders that can be converted, with the unquantised file that llama.cpp made of
/// each and its mixture.
fn pairs() -> Vec<(PathBuf, PathBuf, Mixture)> {
    let mut found = Vec::new();
    for set in golden_sets() {
        for model in [
            "tinyllama",
            "llama3",
            "llama_v5cfg",
            "mistral_nowin",
            "qwen2",
            "qwen2_yarn",
            "qwen3",
            "qwen3_moe",
            "mixtral",
            "olmo2",
            "smollm3",
            "gemma2",
            "gemma3_text",
            "phi3",
            "gpt2",
        ] {
            let folder = set.join("models").join(model);
            for mixture in [Mixture::F16, Mixture::BF16, Mixture::F32] {
                let gguf = folder.join(format!("gguf/{model}-{mixture}.gguf"));
                if folder.join("hf").exists() && gguf.exists() {
                    found.push((folder.join("hf"), gguf, mixture));
                }
            }
        }
    }
    assert!(!found.is_empty(), "the golden set is incomplete");
    found
}

fn golden(path: &str) -> PathBuf {
    golden_sets()[0].join("models").join(path)
}

fn convert(from: &Path, to: &Path, mixture: Mixture) {
    let file = ModelFile::open(from).expect("a good model");
    let plan = Plan::new(&file, Choice::of(mixture), false).expect("convertible");
    plan.write(to, false, 2, &mut |_, _| ControlFlow::Continue(()))
        .expect("writes");
}

/// Keys that say the same in other words, or that each converter words for itself.
const OWN_WORDS: &[&str] = &[
    "general.name",
    "general.size_label",
    // Several names stand for the same rules.
    "tokenizer.ggml.pre",
    "tokenizer.ggml.add_sep_token",
];

#[test]
fn folders_become_what_llama_cpps_converter_makes_of_them() {
    let folder = tempfile::tempdir().expect("a folder");
    for (i, (hf, reference, mixture)) in pairs().into_iter().enumerate() {
        let path = folder.path().join(format!("{i}.gguf"));
        convert(&hf, &path, mixture);
        let (found, expected) = (
            Gguf::open(&path).expect("opens"),
            Gguf::open(&reference).expect("opens"),
        );
        let case = reference.display();
        for (key, value) in expected.metadata().iter() {
            if OWN_WORDS.contains(&key) {
                continue;
            }
            let same = found.metadata().get(key) == Some(value);
            assert!(
                same,
                "{case}: {key}: expected {value:?}, found {:?}",
                found.metadata().get(key)
            );
        }
        assert_eq!(found.infos().len(), expected.infos().len(), "{case}");
        for info in expected.infos() {
            let (a, b) = (
                found
                    .tensor(&info.name)
                    .unwrap_or_else(|| panic!("{case}: {}", info.name)),
                expected.tensor(&info.name).expect("listed"),
            );
            assert_eq!(a.info, b.info, "{case}");
            if info.name == "rope_freqs.weight" {
                // Computed, in another precision.
                let floats = |bytes: &[u8]| -> Vec<f32> {
                    bytes
                        .as_chunks()
                        .0
                        .iter()
                        .map(|&x| f32::from_le_bytes(x))
                        .collect()
                };
                for (a, b) in floats(a.bytes).iter().zip(floats(b.bytes)) {
                    assert!((a / b - 1.0).abs() < 1e-5, "{case}: {a} {b}");
                }
            } else {
                assert!(a.bytes == b.bytes, "{case}: {} differs", info.name);
            }
        }
    }
}

fn executor(path: &Path, blocks: usize) -> CpuExecutor {
    let file = Arc::new(ModelFile::open(path).expect("a good model"));
    let compute = Compute::new(Isa::detect(), 2);
    let model = Model::load(&file, Numeric::F32, None, &compute).expect("a good model");
    let types = Numeric::F32.kv_types();
    let layout = KvLayout::whole(model.spec());
    CpuExecutor::with_layout(Arc::new(model), compute, blocks, types, layout).expect("memory")
}

fn last_logits(path: &Path, ids: &[u32]) -> Vec<f32> {
    let blocks = ids.len().div_ceil(BLOCK_TOKENS);
    let mut executor = executor(path, blocks);
    let mut batch = Batch::default();
    batch.clear();
    let blocks: Vec<BlockId> = (0..blocks as u32).map(BlockId).collect();
    batch.push_row([ids, &[]], 0);
    batch.tables[0].block_ids = blocks;
    batch.tables[0].end_row(0);
    batch.logit_tokens.push(ids.len() as u32 - 1);
    let mut result = StepResult::default();
    executor.forward(&batch, &mut result).expect("a step");
    result.logits
}

fn floats(base64: &str) -> Vec<f32> {
    let bytes = base64::prelude::BASE64_STANDARD.decode(base64);
    let bytes = bytes.expect("base64");
    let floats = bytes.as_chunks().0.iter();
    floats.map(|&x| f32::from_le_bytes(x)).collect()
}

/// In standard deviations of what is expected.
fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let mean = expected.iter().sum::<f32>() / expected.len() as f32;
    let variance = expected.iter().map(|x| (x - mean).powi(2)).sum::<f32>();
    let std = (variance / expected.len() as f32).sqrt();
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f32::max) / std
}

#[test]
fn a_folder_as_one_file_has_the_logits_that_transformers_gives_the_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut checked = 0;
    for set in golden_sets() {
        for model in [
            "gemma2",
            "gemma3_text",
            "glm4",
            "gpt2",
            "llama3",
            "mixtral",
            "olmo2",
            "phi3",
            "qwen2",
            "qwen3",
            "smollm3",
            "tinyllama",
        ] {
            let from = set.join("models").join(model);
            if !from.join("hf").exists() {
                continue;
            }
            let text = std::fs::read_to_string(from.join("golden.json")).expect("golden");
            let golden: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let out = folder.path().join(format!("{model}-{checked}.gguf"));
            convert(&from.join("hf"), &out, Mixture::F32);
            let prompt = &golden["prompts"]["short"];
            let ids: Vec<u32> = serde_json::from_value(prompt["ids"].clone()).expect("ids");
            let found = last_logits(&out, &ids);
            // Of LongRoPE's two lists of divisors the file's own context has the longer.
            let logits = |of: &serde_json::Value| of["last"]["logits_f32_b64"].as_str().map(floats);
            let expected = logits(&prompt["alt_long_factors"]).or_else(|| logits(prompt));
            let largest = largest_difference(&found, &expected.expect("logits"));
            assert!(largest <= 1e-3, "{model}: off by {largest} std");
            checked += 1;
        }
    }
    assert!(checked >= 11, "{checked} models checked");
}

/// The older types are formulas without a search: the weights are llama.cpp's.
#[test]
fn a_folder_quantised_to_older_types_has_the_logits_of_llama_cpps_file() {
    let path = golden("tinyllama/gguf_golden.json");
    let text = std::fs::read_to_string(path).expect("golden");
    let golden_values: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let folder = tempfile::tempdir().expect("a folder");
    let mut checked = 0;
    for mixture in [
        Mixture::Q8_0,
        Mixture::Q4_0,
        Mixture::Q4_1,
        Mixture::Q5_0,
        Mixture::Q5_1,
    ] {
        let out = folder.path().join(format!("{mixture}.gguf"));
        convert(&golden("tinyllama/hf"), &out, mixture);
        for (name, prompt) in golden_values["files"][mixture.name()]["prompts"]
            .as_object()
            .into_iter()
            .flatten()
        {
            let Some(expected) = prompt["dequant_f32"]["logits_f32_b64"].as_str() else {
                continue;
            };
            let expected = floats(expected);
            let text = std::fs::read_to_string(golden("tinyllama/golden.json")).expect("golden");
            let prompts: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let ids: Vec<u32> =
                serde_json::from_value(prompts["prompts"][name]["ids"].clone()).expect("ids");
            let found = last_logits(&out, &ids);
            let largest = largest_difference(&found, &expected);
            assert!(largest <= 2e-3, "{mixture} {name}: off by {largest} std");
            checked += 1;
        }
    }
    assert!(checked >= 5, "{checked} prompts checked");
}

#[test]
fn more_bits_diverge_less_and_all_bits_not_at_all() {
    let source = golden("qwen2/hf");
    let folder = tempfile::tempdir().expect("a folder");
    let tokens: Vec<u32> = (0..700).map(|i| i * 37 % 690).collect();
    let measure = |mixture: Mixture| {
        let out = folder.path().join(format!("{mixture}.gguf"));
        convert(&source, &out, mixture);
        let mut a = executor(&source, Divergence::BLOCKS);
        let mut b = executor(&out, Divergence::BLOCKS);
        divergence(&mut a, &mut b, &tokens, &mut |_| {}).expect("measured")
    };
    let [same, eight, four] = [Mixture::BF16, Mixture::Q8_0, Mixture::Q4_K_M].map(measure);
    // Two windows, the first token of each given.
    assert_eq!(same.tokens, 698);
    assert_eq!(same.source_perplexity, same.result_perplexity);
    assert!(same.mean_kl < 1e-9 && same.same_top == 1.0, "{same:?}");
    assert!(
        eight.mean_kl > same.mean_kl && eight.mean_kl < four.mean_kl,
        "{eight:?} {four:?}"
    );
}

#[test]
fn a_gguf_file_keeps_its_metadata_and_what_is_quantised_is_not_quantised_again() {
    let source = ModelFile::open(golden("qwen2/gguf/qwen2-BF16.gguf")).expect("opens");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("q.gguf");
    let plan = Plan::new(&source, Choice::of(Mixture::Q5_0), false).expect("convertible");
    plan.write(&path, false, 1, &mut |_, _| ControlFlow::Continue(()))
        .expect("writes");
    let (ModelFile::Gguf(before), after) = (&source, Gguf::open(&path).expect("opens")) else {
        panic!("a GGUF file")
    };
    for (key, value) in before.metadata().iter() {
        if key != "general.file_type" {
            assert_eq!(after.metadata().get(key), Some(value), "{key}");
        }
    }
    assert_eq!(
        after.metadata().u32("general.file_type").expect("there"),
        Some(8)
    );
    assert_eq!(
        after
            .tensor("blk.0.attn_q.weight")
            .expect("there")
            .info
            .dtype,
        Dtype::Q5_0
    );
    assert_eq!(
        after.tensor("blk.0.attn_q.bias").expect("there").info.dtype,
        Dtype::F32
    );

    let error = plan
        .write(&path, false, 1, &mut |_, _| ControlFlow::Continue(()))
        .expect_err("exists");
    assert!(matches!(error, ConvertError::Exists { .. }), "{error}");
    plan.write(&path, true, 1, &mut |_, _| ControlFlow::Continue(()))
        .expect("overwritten");
    let error = plan
        .write(&path, true, 1, &mut |_, _| ControlFlow::Break(()))
        .expect_err("broken off");
    assert!(matches!(error, ConvertError::Interrupted), "{error}");
    let names = std::fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(names, 1, "the unfinished file is gone");

    let again = ModelFile::open(&path).expect("opens");
    let error = Plan::new(&again, Choice::of(Mixture::Q4_0), false)
        .err()
        .expect("refused");
    assert!(matches!(error, ConvertError::Requantise { .. }), "{error}");
    let plan = Plan::new(&again, Choice::of(Mixture::Q4_0), true).expect("allowed");
    let error = plan
        .write(&path, true, 1, &mut |_, _| ControlFlow::Continue(()))
        .expect_err("its own input");
    assert!(matches!(error, ConvertError::IsInput { .. }), "{error}");
}

/// A copy of a golden folder with another `config.json`.
fn altered(edit: impl Fn(&mut serde_json::Value)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(golden("qwen3/hf")).expect("golden") {
        let entry = entry.expect("readable");
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("copies");
    }
    let path = folder.path().join("config.json");
    let text = std::fs::read_to_string(&path).expect("golden");
    let mut config = serde_json::from_str(&text).expect("JSON");
    edit(&mut config);
    std::fs::write(&path, config.to_string()).expect("writes");
    folder
}

#[test]
fn what_cannot_be_converted_is_named() {
    type Edit = fn(&mut serde_json::Value);
    let cases: [(Edit, &str); 7] = [
        (
            |c| c["architectures"] = serde_json::json!(["ParrotForCausalLM"]),
            "`ParrotForCausalLM`",
        ),
        (
            |c| c["architectures"] = serde_json::json!(["Qwen2ForCausalLM"]),
            "_norm.weight` is none that `qwen2` has",
        ),
        (
            |c| c["num_hidden_layers"] = 4.into(),
            "model.layers.3.input_layernorm.weight",
        ),
        (|c| c["hidden_act"] = "gelu".into(), "hidden_act"),
        (
            |c| c["partial_rotary_factor"] = 1.5.into(),
            "partial_rotary_factor",
        ),
        (
            |c| c["quantization_config"] = serde_json::json!({"quant_method": "gptq"}),
            "gptq",
        ),
        (
            |c| c["rope_scaling"] = serde_json::json!({"rope_type": "longrope"}),
            "longrope",
        ),
    ];
    for (edit, expected) in cases {
        let folder = altered(edit);
        let file = ModelFile::open(folder.path()).expect("opens");
        let plan = Plan::new(&file, Choice::of(Mixture::Q8_0), false);
        let error = plan
            .err()
            .unwrap_or_else(|| panic!("{expected} should be refused"));
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
}
