//! Logits of small models against Hugging Face transformers, and against
//! dequantised weights for quantised files.
//!
//! The repository's `golden/` holds a part of the set; `CHORAL_GOLDEN` may point at
//! the whole. Values and tolerances: `golden/README.md`.

use base64::Engine as _;
use choral::engine::batch::{BLOCK_TOKENS, Batch, BlockId, Executor, StepResult};
use choral::exec::CpuExecutor;
use choral::model::{KvLayout, KvType, KvTypes, Model, Numeric};
use choral_formats::ModelFile;
use choral_kernels::{Compute, Isa};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn golden_sets() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden");
    let all = std::env::var_os("CHORAL_GOLDEN").map(PathBuf::from);
    std::iter::once(own).chain(all).collect()
}

/// `model_type`s of the families that choral runs.
const FAMILIES: [&str; 18] = [
    "gemma2",
    "gemma3_text",
    "glm",
    "glm4",
    "gpt2",
    "gpt_oss",
    "granite",
    "llama",
    "mistral",
    "mixtral",
    "olmo2",
    "phi3",
    "qwen2",
    "qwen2_moe",
    "qwen3",
    "qwen3_moe",
    "smollm3",
    "starcoder2",
];

/// Folders of models of the families that choral runs.
fn models() -> Vec<(PathBuf, Value)> {
    let mut found = Vec::new();
    for set in golden_sets() {
        let folders = std::fs::read_dir(set.join("models")).expect("a golden set has models");
        for folder in folders {
            let path = folder.expect("a readable folder").path();
            let golden = read(&path.join("golden.json"));
            if FAMILIES.contains(&golden["model_type"].as_str().unwrap_or("")) {
                found.push((path, golden));
            }
        }
    }
    assert!(found.len() >= 15, "the golden set is incomplete");
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).expect("golden files are JSON")
}

fn floats(value: &Value) -> Vec<f32> {
    let bytes = base64::prelude::BASE64_STANDARD
        .decode(value.as_str().expect("base64"))
        .expect("base64");
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|&b| f32::from_le_bytes(b))
        .collect()
}

fn ids(value: &Value) -> Vec<u32> {
    let ids = value.as_array().expect("ids");
    ids.iter()
        .map(|id| id.as_u64().expect("an id") as u32)
        .collect()
}

/// What one prompt gave.
struct Scored {
    last_logits: Vec<f32>,
    hidden_l2: Vec<f32>,
}

/// Runs all prompts as one ragged batch, keys and values as the numeric has them.
fn score(path: &Path, numeric: Numeric, prompts: &[Vec<u32>]) -> Vec<Scored> {
    score_with(path, numeric, numeric.kv_types(), prompts)
}

fn score_with(path: &Path, numeric: Numeric, kv: KvTypes, prompts: &[Vec<u32>]) -> Vec<Scored> {
    let file = Arc::new(ModelFile::open(path).expect("a good model"));
    let compute = Compute::new(Isa::detect(), 2);
    let model = Arc::new(Model::load(&file, numeric, None, &compute).expect("a good model"));
    let groups = KvLayout::new(model.spec(), usize::MAX).num_groups();
    let per_group: usize = prompts.iter().map(|p| p.len().div_ceil(BLOCK_TOKENS)).sum();
    let blocks = groups * per_group;
    let mut executor = CpuExecutor::with_kv_types(Arc::clone(&model), compute, blocks, kv)
        .expect("memory for the cache");
    let mut batch = Batch::new(groups);
    let mut next_block = 0..blocks as u32;
    for prompt in prompts {
        batch.push_row([prompt, &[]], 0);
        let needed = prompt.len().div_ceil(BLOCK_TOKENS);
        for table in &mut batch.tables {
            let blocks = next_block.by_ref().take(needed).map(BlockId);
            table.block_ids.extend(blocks);
            table.end_row(0);
        }
        batch.logit_tokens.push(batch.token_ids.len() as u32 - 1);
    }
    batch.hidden_tokens.clone_from(&batch.logit_tokens);
    let mut result = StepResult::default();
    executor.forward(&batch, &mut result).expect("a step");
    assert_eq!(result.logits.len(), prompts.len() * executor.vocab_size());
    let logits = result.logits.chunks(executor.vocab_size());
    let hidden = result.hidden_l2.chunks(executor.num_layers() + 1);
    logits
        .zip(hidden)
        .map(|(l, h)| Scored {
            last_logits: l.to_vec(),
            hidden_l2: h.to_vec(),
        })
        .collect()
}

fn largest_difference(got: &[f32], want: &[f32], std: f32) -> f32 {
    assert_eq!(got.len(), want.len());
    let differences = got.iter().zip(want).map(|(g, w)| (g - w).abs() / std);
    // NaN is the largest of all.
    differences.fold(0.0, |a, b| if a > b || a.is_nan() { a } else { b })
}

fn prompts(golden: &Value) -> Vec<(&String, &Value)> {
    golden["prompts"]
        .as_object()
        .expect("prompts")
        .iter()
        .collect()
}

/// What the repository has, and is missed if it is gone.
const OWN_HF: [&str; 22] = [
    "gemma2",
    "gemma3_text",
    "glm",
    "glm4",
    "gpt2",
    "gpt_oss_mxfp4",
    "granite",
    "llama3",
    "llama_awq",
    "llama_fp8",
    "llama_gptq",
    "mixtral",
    "olmo2",
    "phi3",
    "phi4_mini",
    "qwen2",
    "qwen2_moe",
    "qwen3",
    "qwen3_moe",
    "smollm3_mix",
    "starcoder2",
    "tinyllama",
];
const OWN_GGUF: [&str; 7] = [
    "gpt_oss_mxfp4-BF16.gguf",
    "llama_k256-Q4_K_M.gguf",
    "mixtral-Q8_0.gguf",
    "phi3-BF16.gguf",
    "qwen2-BF16.gguf",
    "tinyllama-Q4_0.gguf",
    "tinyllama-Q8_0.gguf",
];

/// An engine may choose `LongRoPE`'s factors by the sequence, or by the context that it
/// is ready for: there are values for both.
fn nearer(prompt: &Value, difference: impl Fn(&Value) -> f32) -> &Value {
    let other = &prompt["alt_long_factors"];
    if other.is_null() || difference(prompt) < difference(other) {
        prompt
    } else {
        other
    }
}

/// Routing is not smooth: where two experts are nearly equal, rounding may swap them,
/// and all that follows. So of the prompts of a model with experts a quarter may be off
/// in the rounded numerics; in f32 none of them is that close.
#[derive(Default)]
struct Misses {
    allowed: usize,
    found: Vec<String>,
}

impl Misses {
    fn of(golden: &Value, numeric: Numeric) -> Self {
        let has_experts = ["gpt_oss", "mixtral", "qwen2_moe", "qwen3_moe"]
            .contains(&golden["model_type"].as_str().expect("a type"));
        let all = golden["prompts"].as_object().expect("prompts").len();
        Self {
            allowed: if has_experts && numeric != Numeric::F32 {
                all / 4
            } else {
                0
            },
            found: Vec::new(),
        }
    }

    fn check(&self) {
        assert!(self.found.len() <= self.allowed, "{:#?}", self.found);
    }
}

fn check_hf(numeric: Numeric, logit_tolerance: f32, hidden_tolerance: f32) {
    let mut missed: BTreeSet<&str> = OWN_HF.into();
    for (path, golden) in models() {
        if !path.join("hf").exists() {
            continue;
        }
        missed.retain(|name| !path.ends_with(name));
        let prompts = prompts(&golden);
        let inputs: Vec<Vec<u32>> = prompts.iter().map(|(_, p)| ids(&p["ids"])).collect();
        let scored = score(&path.join("hf"), numeric, &inputs);
        assert!(!prompts.is_empty() && scored.len() == prompts.len());
        let mut misses = Misses::of(&golden, numeric);
        for ((name, prompt), got) in prompts.iter().zip(&scored) {
            let case = format!("{} {name}", path.display());
            let difference = |reference: &Value| {
                let want = floats(&reference["last"]["logits_f32_b64"]);
                assert_eq!(got.last_logits.len(), want.len(), "{case}: vocabulary");
                let std = reference["last"]["std"].as_f64().expect("std") as f32;
                largest_difference(&got.last_logits, &want, std)
            };
            let reference = nearer(prompt, difference);
            let norms = reference["hidden"].as_array().expect("norms");
            assert_eq!(got.hidden_l2.len(), norms.len(), "{case}: layers");
            for (layer, (got, want)) in got.hidden_l2.iter().zip(norms).enumerate() {
                let want = want["l2_last"].as_f64().expect("a norm") as f32;
                let relative = (got / want - 1.0).abs();
                assert!(
                    relative <= hidden_tolerance || misses.allowed > 0,
                    "{case}: layer {layer} off by {relative}"
                );
            }
            let difference = difference(reference);
            if difference.is_nan() || difference > logit_tolerance {
                let miss = format!("{case}: logits off by {difference} std");
                misses.found.push(miss);
            }
        }
        misses.check();
    }
    assert!(missed.is_empty(), "not there: {missed:?}");
}

#[test]
fn safetensors_in_f32_give_the_logits_of_transformers() {
    check_hf(Numeric::F32, 1e-3, 2e-3);
}

/// Files of a model without its head leave out the model's own name.
#[test]
fn tensors_without_the_models_own_name_are_found() {
    for (name, own) in [("gpt2", "\"transformer."), ("qwen3", "\"model.")] {
        let found = models().into_iter().find(|(p, _)| p.ends_with(name));
        let (path, golden) = found.expect("a golden model");
        let folder = tempfile::tempdir().expect("a folder");
        for entry in std::fs::read_dir(path.join("hf")).expect("a folder") {
            let entry = entry.expect("a file");
            let mut bytes = std::fs::read(entry.path()).expect("readable");
            if entry.file_name() == "model.safetensors" {
                let len = u64::from_le_bytes(bytes[..8].try_into().expect("eight")) as usize;
                let header = std::str::from_utf8(&bytes[8..8 + len]).expect("text");
                assert!(header.contains(own), "{name}: nothing to leave out");
                let mut short = header.replace(own, "\"");
                short.extend(std::iter::repeat_n(' ', len - short.len()));
                bytes[8..8 + len].copy_from_slice(short.as_bytes());
            }
            std::fs::write(folder.path().join(entry.file_name()), bytes).expect("room");
        }
        let inputs: Vec<Vec<u32>> = prompts(&golden)
            .iter()
            .map(|(_, p)| ids(&p["ids"]))
            .collect();
        let logits = |path: &Path| -> Vec<Vec<f32>> {
            let scored = score(path, Numeric::F32, &inputs);
            scored.into_iter().map(|s| s.last_logits).collect()
        };
        assert_eq!(logits(folder.path()), logits(&path.join("hf")), "{name}");
    }
}

#[test]
fn smaller_keys_and_values_cost_their_rounding_and_no_more() {
    let tinyllama = models().into_iter().find(|(p, _)| p.ends_with("tinyllama"));
    let (path, golden) = tinyllama.expect("a golden model");
    let prompts = prompts(&golden);
    let inputs: Vec<Vec<u32>> = prompts.iter().map(|(_, p)| ids(&p["ids"])).collect();
    let both = KvTypes::both;
    for (kv, tolerance) in [
        (both(KvType::F32), 1e-3),
        (both(KvType::F16), 2e-3),
        (both(KvType::Bf16), 2e-2),
        (both(KvType::Q8_0), 5e-2),
    ] {
        let scored = score_with(&path.join("hf"), Numeric::F32, kv, &inputs);
        for ((name, prompt), got) in prompts.iter().zip(&scored) {
            let want = floats(&prompt["last"]["logits_f32_b64"]);
            let std = prompt["last"]["std"].as_f64().expect("std") as f32;
            let difference = largest_difference(&got.last_logits, &want, std);
            println!("{kv}: {name} {difference}");
            assert!(difference <= tolerance, "{kv}: {name} off by {difference}");
        }
    }
}

#[test]
fn safetensors_in_bf16_stay_within_its_rounding() {
    check_hf(Numeric::Bf16, 5e-2, 5e-2);
}

/// The largest difference among the logits that a reference lists.
fn top_difference(got: &[f32], want: &Value) -> f32 {
    assert!(!want.is_null(), "no reference");
    let std = want["std"].as_f64().expect("std") as f32;
    let ids = ids(&want["top_ids"]);
    let got: Vec<f32> = ids.iter().map(|&id| got[id as usize]).collect();
    let top = want["top_logits"].as_array().expect("logits");
    let top: Vec<f32> = top
        .iter()
        .map(|x| x.as_f64().expect("a logit") as f32)
        .collect();
    assert_eq!(got.len(), top.len());
    largest_difference(&got, &top, std)
}

/// `unquantised`: against the logits of transformers, where the file holds the same
/// weights; `tolerance`: against those of its dequantised weights. In standard
/// deviations of the logits.
fn check_gguf(numeric: Numeric, unquantised_tolerance: f32, tolerance: f32) {
    let mut missed: BTreeSet<&str> = OWN_GGUF.into();
    for (path, golden) in models() {
        if !path.join("gguf_golden.json").exists() {
            continue;
        }
        let reference = read(&path.join("gguf_golden.json"));
        for (kind, entry) in reference["files"].as_object().expect("files") {
            let file = path
                .join("gguf")
                .join(entry["file"].as_str().expect("a name"));
            if !file.exists() {
                continue;
            }
            missed.retain(|name| !file.ends_with(name));
            let unquantised = reference["base"] == *kind && reference["gguf_equals_hf"] == true;
            let prompts = prompts(&golden);
            let inputs: Vec<Vec<u32>> = prompts.iter().map(|(_, p)| ids(&p["ids"])).collect();
            let scored = score(&file, numeric, &inputs);
            assert!(!prompts.is_empty() && scored.len() == prompts.len());
            let mut misses = Misses::of(&golden, numeric);
            for ((name, prompt), got) in prompts.iter().zip(&scored) {
                let difference = |want: &Value| top_difference(&got.last_logits, want);
                let by_llama = &reference["llamacpp_f32_where_differs_from_hf"][name.as_str()];
                let values = &entry["prompts"][name.as_str()];
                let (difference, tolerance) = if unquantised {
                    let best = nearer(prompt, |reference| difference(&reference["last"]));
                    (difference(&best["last"]), unquantised_tolerance)
                } else if reference["base"] == *kind && !by_llama.is_null() {
                    (difference(by_llama), unquantised_tolerance.max(3e-3))
                } else if !values["dequant_f32"].is_null() {
                    (difference(&values["dequant_f32"]), tolerance)
                } else {
                    // llama.cpp's own values, with activations of 8 bits.
                    (difference(&values["llamacpp"]), 0.2)
                };
                if difference.is_nan() || difference > tolerance {
                    let miss = format!("{} {name}: off by {difference} std", file.display());
                    misses.found.push(miss);
                }
            }
            misses.check();
        }
    }
    assert!(missed.is_empty(), "not there: {missed:?}");
}

#[test]
fn gguf_files_in_f32_give_the_logits_of_their_dequantised_weights() {
    check_gguf(Numeric::F32, 1e-3, 2e-3);
}

#[test]
fn gguf_files_in_bf16_stay_within_its_rounding() {
    check_gguf(Numeric::Bf16, 5e-2, 5e-2);
}

#[test]
fn gguf_files_in_q8_stay_within_its_rounding() {
    check_gguf(Numeric::Q8, 5e-2, 1e-1);
}
