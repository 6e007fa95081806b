//! Adapters against PEFT and llama.cpp, and the promise that holds with them too: what
//! a request gets does not depend on what adapters the others of its batch have.
//!
//! `golden/make_lora.py` made the adapters and the values.

use base64::Engine as _;
use choral::engine::{Lora, SubmitError};
use choral::model::Numeric;
use choral::{Engine, EngineBuilder, Request, RequestOutput, SamplingParams};
use choral_formats::gguf::{Gguf, Writer};
use choral_formats::{Dtype, Safetensors, TensorInfo, TensorSource as _};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

fn golden(path: &str) -> PathBuf {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden");
    golden.join(path)
}

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

fn floats(value: &Value) -> Vec<f32> {
    let text = value.as_str().expect("base64");
    let bytes = base64::prelude::BASE64_STANDARD
        .decode(text)
        .expect("base64");
    let chunks = bytes.as_chunks().0.iter();
    chunks.map(|&b| f32::from_le_bytes(b)).collect()
}

fn ids(value: &Value) -> Vec<u32> {
    let ids = value.as_array().expect("ids").iter();
    ids.map(|id| id.as_u64().expect("an id") as u32).collect()
}

/// `a:0.5+b` as a request has it; `base` is no adapter.
fn mix(text: &str) -> Vec<Lora> {
    let parts = text.split('+').filter(|part| *part != "base");
    let lora = parts.map(|part| match part.split_once(':') {
        Some((name, scale)) => Lora::new(name).scaled(scale.parse().expect("a scale")),
        None => Lora::new(part),
    });
    lora.collect()
}

fn builder(model: &Path, numeric: Numeric, adapters: &[(&str, PathBuf)]) -> EngineBuilder {
    let builder = Engine::builder().model(model).numeric(numeric).threads(2);
    adapters
        .iter()
        .fold(builder.max_model_len(256), |builder, (name, path)| {
            builder.adapter(*name, path)
        })
}

/// The logits after each prompt, with the adapters that it has, run together.
fn logits(engine: &Engine, prompts: &[(Vec<u32>, Vec<Lora>)]) -> Vec<Vec<f32>> {
    let requests = prompts.iter().map(|(prompt, lora)| {
        let params = SamplingParams {
            max_tokens: Some(1),
            ..SamplingParams::default()
        };
        let mut request = Request::new(prompt.clone()).with_params(params);
        request.lora.clone_from(lora);
        request.with_diagnostics()
    });
    let outputs = engine.generate_requests(requests).into_iter();
    outputs
        .map(|output| {
            let output = output.expect("a good request");
            assert_eq!(output.outputs[0].error, None);
            output.diagnostics.expect("asked for").last_logits
        })
        .collect()
}

/// The largest difference, in standard deviations of what is wanted.
fn difference(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    let mean = want.iter().sum::<f32>() / want.len() as f32;
    let variance = want.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / want.len() as f32;
    let differences = got.iter().zip(want).map(|(g, w)| (g - w).abs());
    // NaN is the largest of all.
    let largest = differences.fold(0.0, |a, b| if a > b || f32::is_nan(a) { a } else { b });
    largest / variance.sqrt()
}

/// Runs every prompt of a golden file with every mix in it as one batch.
fn check(engine: &Engine, golden: &Value, tolerance: f32) {
    let mut cases = Vec::new();
    let mut inputs = Vec::new();
    for (name, rows) in golden["logits"].as_object().expect("mixes") {
        for (prompt, want) in rows.as_object().expect("prompts") {
            cases.push((format!("{name} {prompt}"), floats(want)));
            inputs.push((ids(&golden["prompts"][prompt]), mix(name)));
        }
    }
    assert!(cases.len() >= 6);
    for ((case, want), got) in cases.iter().zip(logits(engine, &inputs)) {
        let difference = difference(&got, want);
        assert!(difference <= tolerance, "{case}: off by {difference} std");
    }
    // The adapters have something to say.
    let base = &golden["logits"]["base"];
    for (name, rows) in golden["logits"].as_object().expect("mixes") {
        for (prompt, row) in rows.as_object().expect("prompts") {
            let change = difference(&floats(row), &floats(&base[prompt]));
            assert!(name == "base" || change > 0.3, "{name} {prompt}: {change}");
        }
    }
}

/// Models with adapters in `golden/lora`, and those adapters.
fn adapters(model: &str) -> Vec<(&'static str, PathBuf)> {
    let names: &[&str] = match model {
        "tinyllama" => &["attention", "patterns"],
        "qwen3" => &["all"],
        "phi3" => &["fused"],
        "gpt2" => &["conv1d"],
        "qwen3_moe" => &["experts"],
        other => panic!("no adapters for {other}"),
    };
    let folder = golden("lora").join(model);
    names
        .iter()
        .map(|name| (*name, folder.join(name)))
        .collect()
}

fn check_peft(numeric: Numeric, models: &[&str], tolerance: f32) {
    for model in models {
        let folder = golden("models").join(model).join("hf");
        let engine = builder(&folder, numeric, &adapters(model)).build();
        let values = read(&golden("lora").join(model).join("golden.json"));
        check(&engine.expect(model), &values, tolerance);
    }
}

#[test]
fn adapters_in_f32_give_the_logits_of_peft() {
    let models = ["tinyllama", "qwen3", "phi3", "gpt2", "qwen3_moe"];
    check_peft(Numeric::F32, &models, 1e-3);
}

/// Without the experts, whose choice is not smooth.
#[test]
fn adapters_in_bf16_stay_within_its_rounding() {
    check_peft(Numeric::Bf16, &["tinyllama", "qwen3", "phi3", "gpt2"], 5e-2);
}

#[test]
fn a_gguf_adapter_gives_the_logits_of_llama_cpp() {
    let model = golden("models/tinyllama/gguf/tinyllama-Q8_0.gguf");
    let adapter = golden("lora/tinyllama/attention.gguf");
    let engine = builder(&model, Numeric::F32, &[("attention", adapter)]);
    let mut values = read(&golden("lora/tinyllama/gguf_golden.json"));
    let logits = values["logits"].as_object_mut().expect("mixes");
    for scale in ["1", "0.5"] {
        let rows = logits.remove(scale).expect("that scale");
        logits.insert(format!("attention:{scale}"), rows);
    }
    check(&engine.build().expect("an engine"), &values, 2e-3);
}

/// Rows of Q and K lie in another order in GGUF files, those of an adapter's `B` too.
#[test]
fn an_adapter_of_either_kind_is_the_same_on_a_model_of_either_kind() {
    let adapters = [
        ("peft", golden("lora/tinyllama/attention")),
        ("gguf", golden("lora/tinyllama/attention.gguf")),
    ];
    let values = read(&golden("lora/tinyllama/golden.json"));
    for model in ["hf", "gguf/tinyllama-Q8_0.gguf", "gguf/tinyllama-Q4_0.gguf"] {
        let model = golden("models/tinyllama").join(model);
        for numeric in [Numeric::F32, Numeric::Bf16, Numeric::Q8] {
            let engine = builder(&model, numeric, &adapters)
                .build()
                .expect("an engine");
            let prompts = values["prompts"].as_object().expect("prompts").values();
            let with = |name| {
                prompts
                    .clone()
                    .map(|p| (ids(p), mix(name)))
                    .collect::<Vec<_>>()
            };
            assert_eq!(
                logits(&engine, &with("peft")),
                logits(&engine, &with("gguf"))
            );
            assert_ne!(
                logits(&engine, &with("peft")),
                logits(&engine, &with("base"))
            );
        }
    }
}

/// The golden adapter of experts as llama.cpp has it: the experts of a layer are one
/// tensor. Experts that the adapter leaves alone have zeros.
fn stacked_experts(path: &Path) {
    const EXPERTS: usize = 8;
    let source = golden("lora/qwen3_moe/experts/adapter_model.safetensors");
    let source = Safetensors::open_file(source).expect("an adapter");
    let mut writer = Writer::new();
    writer
        .set("general.architecture", "qwen3moe")
        .set("general.type", "adapter")
        .set("adapter.type", "lora")
        .set("adapter.lora.alpha", 6.0_f32);
    let mut add = |name: String, shape: Vec<usize>, bytes: Vec<u8>| {
        let dtype = Dtype::BF16;
        let info = TensorInfo { name, dtype, shape };
        writer.tensor(info, bytes).expect("a tensor");
    };
    for (layer, half) in [(0, "A"), (0, "B"), (1, "A"), (1, "B")] {
        let tensor = |module: &str| {
            let at = format!("base_model.model.model.layers.{layer}");
            source.tensor(&format!("{at}.{module}.lora_{half}.weight"))
        };
        let name = |module: &str| {
            let half = half.to_lowercase();
            format!("blk.{layer}.{module}.weight.lora_{half}")
        };
        for (hf, gguf) in [("self_attn.q_proj", "attn_q"), ("mlp.gate", "ffn_gate_inp")] {
            let tensor = tensor(hf).expect("it is there");
            add(name(gguf), tensor.info.shape.clone(), tensor.bytes.to_vec());
        }
        for part in ["gate", "up", "down"] {
            let expert = |e: usize| tensor(&format!("mlp.experts.{e}.{part}_proj"));
            let first = expert(0).expect("it is there");
            let all = (0..EXPERTS).flat_map(|e| match expert(e) {
                Some(own) => own.bytes.to_vec(),
                None => vec![0; first.bytes.len()],
            });
            let shape = [vec![EXPERTS], first.info.shape.clone()].concat();
            add(name(&format!("ffn_{part}_exps")), shape, all.collect());
        }
    }
    writer.save(path).expect("a file");
}

#[test]
fn experts_may_be_changed_one_by_one_or_as_one_tensor() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("experts.gguf");
    stacked_experts(&path);
    let adapters = [("peft", golden("lora/qwen3_moe/experts")), ("gguf", path)];
    let model = golden("models/qwen3_moe/hf");
    let values = read(&golden("lora/qwen3_moe/golden.json"));
    let engine = builder(&model, Numeric::F32, &adapters).build();
    let engine = engine.expect("an engine");
    let prompts = values["prompts"].as_object().expect("prompts").values();
    let with = |name| {
        let prompts = prompts.clone().map(|p| (ids(p), mix(name)));
        logits(&engine, &prompts.collect::<Vec<_>>())
    };
    assert_eq!(with("peft"), with("gguf"));
    assert_ne!(with("peft"), with("base"));
}

/// The quantised numeric multiplies integers, and adapters beside them in bf16.
#[test]
fn adapters_in_q8_stay_within_its_rounding() {
    let model = golden("models/tinyllama/gguf/tinyllama-Q8_0.gguf");
    let adapter = golden("lora/tinyllama/attention.gguf");
    let engine = builder(&model, Numeric::Q8, &[("1", adapter.clone())]);
    let mut values = read(&golden("lora/tinyllama/gguf_golden.json"));
    values["logits"]
        .as_object_mut()
        .expect("mixes")
        .remove("0.5");
    check(&engine.build().expect("an engine"), &values, 1e-1);
}

/// A way to run requests together.
#[derive(Debug, Clone, Copy)]
struct Way {
    together: usize,
    threads: usize,
    prefill_chunk: usize,
    prefix_caching: bool,
}

const ALONE: Way = Way {
    together: 1,
    threads: 1,
    prefill_chunk: 256,
    prefix_caching: false,
};

/// Everything of an answer that must not change.
fn essence(output: &RequestOutput) -> String {
    let logprobs = output.outputs.iter().map(|o| {
        let logprobs = o.logprobs.as_ref().expect("asked for").iter();
        let bits = logprobs.map(|p| (p.chosen.token_id, p.chosen.logprob.to_bits()));
        bits.collect::<Vec<_>>()
    });
    format!("{:?}", logprobs.collect::<Vec<_>>())
}

/// Every request with every mix, prompts of many lengths that begin alike.
fn requests(mixes: &[&str]) -> Vec<Request> {
    let prompts = [3, 17, 40, 64, 90].map(|len: u32| (0..len).map(|i| 20 + i * i % 200));
    let mut requests = Vec::new();
    for (i, prompt) in prompts.into_iter().enumerate() {
        for (j, text) in mixes.iter().enumerate() {
            let params = SamplingParams {
                n: if i == 2 { 2 } else { 1 },
                max_tokens: Some(4 + 3 * i as u32 + j as u32),
                ignore_eos: true,
                temperature: [0.0, 0.9][(i + j) % 2],
                seed: Some((i * 10 + j) as u64),
                logprobs: Some(0),
                ..SamplingParams::default()
            };
            let prompt: Vec<u32> = prompt.clone().collect();
            let mut request = Request::new(prompt).with_params(params);
            request.lora = mix(text);
            requests.push(request);
        }
    }
    requests
}

fn check_invariance(model: &str, numeric: Numeric, adapters: &[(&str, PathBuf)], mixes: &[&str]) {
    let run = |way: Way| -> Vec<String> {
        let engine = builder(&golden(model), numeric, adapters)
            .threads(way.threads)
            .max_num_seqs(way.together)
            .prefill_chunk(way.prefill_chunk)
            .prefix_caching(way.prefix_caching)
            .build()
            .expect("an engine");
        let outputs = engine.generate_requests(requests(mixes)).into_iter();
        outputs
            .map(|output| essence(&output.expect("a good request")))
            .collect()
    };
    let alone = run(ALONE);
    for (i, mixed) in alone.chunks(mixes.len()).enumerate() {
        let mut different = mixed.to_vec();
        different.sort();
        different.dedup();
        assert_eq!(different.len(), mixes.len(), "prompt {i}: mixes tell");
    }
    for (together, threads, prefill_chunk, prefix_caching) in [
        (64, 2, 256, true),
        (64, 1, 16, false),
        (7, 2, 5, true),
        (3, 2, 33, true),
    ] {
        let way = Way {
            together,
            threads,
            prefill_chunk,
            prefix_caching,
        };
        for (i, (together, alone)) in run(way).iter().zip(&alone).enumerate() {
            assert_eq!(together, alone, "{model} {numeric:?} {way:?}: request {i}");
        }
    }
}

const LLAMA_MIXES: [&str; 6] = [
    "base",
    "attention",
    "patterns",
    "attention:0.5",
    "attention+patterns",
    "patterns:-1+attention:0.25",
];

#[test]
fn a_request_gets_the_same_bits_whatever_adapters_run_beside_it() {
    let adapters = adapters("tinyllama");
    for numeric in [Numeric::Bf16, Numeric::F32] {
        check_invariance("models/tinyllama/hf", numeric, &adapters, &LLAMA_MIXES);
    }
}

#[test]
fn a_request_gets_the_same_bits_on_quantised_weights_too() {
    let model = "models/tinyllama/gguf/tinyllama-Q4_0.gguf";
    for numeric in [Numeric::Q8, Numeric::Bf16] {
        check_invariance(model, numeric, &adapters("tinyllama"), &LLAMA_MIXES);
    }
}

#[test]
fn a_request_gets_the_same_bits_where_experts_are_changed() {
    let mixes = ["base", "experts", "experts:0.5"];
    for numeric in [Numeric::Bf16, Numeric::F32] {
        check_invariance(
            "models/qwen3_moe/hf",
            numeric,
            &adapters("qwen3_moe"),
            &mixes,
        );
    }
}

#[test]
fn prefixes_are_reused_with_the_same_adapters_only() {
    let engine = builder(
        &golden("models/tinyllama/hf"),
        Numeric::Bf16,
        &adapters("tinyllama"),
    );
    let engine = engine.build().expect("an engine");
    let prompt: Vec<u32> = (0..50).map(|i| 20 + i).collect();
    let cached = |text: &str| {
        let params = SamplingParams {
            max_tokens: Some(1),
            ..SamplingParams::default()
        };
        let mut request = Request::new(prompt.clone()).with_params(params);
        request.lora = mix(text);
        let output = engine.submit(request).expect("a good request").wait();
        output.num_cached_tokens
    };
    for mix in LLAMA_MIXES {
        assert_eq!(cached(mix), 0, "{mix}");
    }
    for mix in LLAMA_MIXES {
        assert_eq!(cached(mix), 48, "{mix}");
    }
    assert_eq!(cached("patterns+attention"), 48, "order is nothing");
    assert_eq!(cached("attention:0"), 48, "none of it is the model alone");
}

#[test]
fn an_unknown_adapter_is_refused_with_the_names_that_there_are() {
    let engine = builder(
        &golden("models/tinyllama/hf"),
        Numeric::Bf16,
        &adapters("tinyllama"),
    );
    let engine = engine.build().expect("an engine");
    assert_eq!(engine.adapters(), ["attention", "patterns"]);
    let refused = engine.submit(Request::new(vec![1]).with_lora("attn"));
    let error = refused.expect_err("no such adapter");
    assert!(matches!(error, SubmitError::UnknownAdapter { .. }));
    assert_eq!(
        error.to_string(),
        "unknown adapter `attn`, expected one of: attention, patterns"
    );
}

/// Why the engine was not built.
fn refusal(model: &str, adapters: &[(&str, PathBuf)]) -> String {
    let built = builder(&golden(model), Numeric::Bf16, adapters).build();
    built.expect_err("it cannot be").to_string()
}

/// A copy of an adapter with another configuration.
fn configured(change: impl Fn(&mut Value)) -> tempfile::TempDir {
    let source = golden("lora/tinyllama/attention");
    let copy = tempfile::tempdir().expect("a folder");
    let weights = "adapter_model.safetensors";
    fs::copy(source.join(weights), copy.path().join(weights)).expect("copied");
    let mut config = read(&source.join("adapter_config.json"));
    change(&mut config);
    let config = config.to_string();
    fs::write(copy.path().join("adapter_config.json"), config).expect("written");
    copy
}

#[test]
fn what_cannot_be_applied_is_refused_by_name() {
    for (key, value, part) in [
        ("peft_type", json!("IA3"), "the type `IA3`"),
        ("use_dora", json!(true), "DoRA"),
        ("bias", json!("lora_only"), "`bias` is `lora_only`"),
        ("lora_bias", json!(true), "biases"),
        ("modules_to_save", json!(["lm_head"]), "modules_to_save"),
        (
            "init_lora_weights",
            json!("pissa"),
            "`init_lora_weights` is `pissa`",
        ),
        ("layer_replication", json!([[0, 2]]), "layer_replication"),
        (
            "target_parameters",
            json!(["mlp.experts.down_proj"]),
            "target_parameters",
        ),
        (
            "trainable_token_indices",
            json!([1]),
            "trainable_token_indices",
        ),
        ("r", json!(4), "has rank 8, expected 4"),
        (
            "rank_pattern",
            json!({"k_proj": 2}),
            "has rank 8, expected 2",
        ),
        ("rank_pattern", json!({"(": 2}), "regular expression"),
        ("r", json!("eight"), "expected a non-negative integer"),
        ("lora_alpha", Value::Null, "lora_alpha"),
    ] {
        let copy = configured(|config| config[key] = value.clone());
        let adapter = [("a", copy.path().to_owned())];
        let error = refusal("models/tinyllama/hf", &adapter);
        assert!(error.contains(part), "{key}: {error}");
    }
    let harmless = configured(|config| {
        config["init_lora_weights"] = json!("gaussian");
        config["fan_in_fan_out"] = json!(true);
    });
    let adapter = [("a", harmless.path().to_owned())];
    let built = builder(&golden("models/tinyllama/hf"), Numeric::Bf16, &adapter).build();
    assert!(built.is_ok());
}

#[test]
fn an_adapter_of_another_model_is_refused() {
    let attention = golden("lora/tinyllama/attention");
    let conv1d = golden("lora/gpt2/conv1d");
    let error = refusal("models/tinyllama/hf", &[("a", conv1d)]);
    assert!(error.contains("no matrix `transformer.h.0."), "{error}");
    // Of that family, with other shapes.
    let error = refusal("models/qwen3/hf", &[("a", attention)]);
    assert!(
        error.contains("self_attn.k_proj.lora_B.weight` is [32, 8], expected [64, 8]"),
        "{error}"
    );
    let gguf = golden("lora/tinyllama/attention.gguf");
    let error = refusal("models/qwen3/hf", &[("a", gguf)]);
    assert!(error.contains("is for `llama`, expected qwen3"), "{error}");
}

#[test]
fn what_is_no_adapter_is_refused() {
    let model = "models/tinyllama/hf";
    let whole = golden("models/tinyllama/gguf/tinyllama-Q8_0.gguf");
    for (path, part) in [
        (golden("lora"), "a directory without one"),
        (whole, "a GGUF file of another type"),
        (
            golden("lora/tinyllama/attention/adapter_model.safetensors"),
            "name the directory",
        ),
        (golden("nowhere"), "nowhere"),
    ] {
        let error = refusal(model, &[("a", path)]);
        assert!(error.contains(part), "{error}");
    }
    let attention = golden("lora/tinyllama/attention");
    let twice = [("a", attention.clone()), ("a", attention.clone())];
    assert!(refusal(model, &twice).contains("`a` of an adapter is given twice"));
    assert!(refusal(model, &[("", attention)]).contains("empty"));
}

/// A GGUF adapter like the golden one, with other tensors: each may be renamed or
/// left out.
fn renamed(folder: &Path, rename: impl Fn(&str) -> Option<String>) -> PathBuf {
    let source = Gguf::open(golden("lora/tinyllama/attention.gguf")).expect("an adapter");
    let mut writer = Writer::new();
    for (key, value) in source.metadata().iter() {
        writer.set(key, value.clone());
    }
    for info in source.infos() {
        let Some(name) = rename(&info.name) else {
            continue;
        };
        let bytes = source
            .tensor(&info.name)
            .expect("it is there")
            .bytes
            .to_vec();
        let info = TensorInfo {
            name,
            ..info.clone()
        };
        writer.tensor(info, bytes).expect("a tensor");
    }
    let path = folder.join("adapter.gguf");
    fs::write(&path, writer.to_bytes().expect("a file")).expect("written");
    path
}

#[test]
fn every_tensor_must_be_half_of_a_pair_that_the_model_has_a_place_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let q = "blk.1.attn_q.weight.lora_a";
    for (to, part) in [
        (None, "`blk.1.attn_q` has only one of its two"),
        (
            Some("blk.7.attn_q.weight.lora_a"),
            "no matrix `blk.7.attn_q`",
        ),
        (
            Some("blk.1.attn_norm.weight.lora_a"),
            "no matrix `blk.1.attn_norm`",
        ),
        (
            Some("blk.1.attn_q.weight"),
            "`blk.1.attn_q.weight` is no low-rank matrix",
        ),
        (Some("token_embd.weight.lora_a"), "the embedding"),
        (Some("output.weight.lora_a"), "the output matrix"),
        (
            Some("blk.1.ffn_down.weight.lora_a"),
            "has only one of its two",
        ),
    ] {
        let path = renamed(folder.path(), |name| {
            if name == q {
                to.map(str::to_owned)
            } else {
                Some(name.to_owned())
            }
        });
        let error = refusal("models/tinyllama/hf", &[("a", path)]);
        assert!(error.contains(part), "{to:?}: {error}");
    }
    // A pair that belongs elsewhere.
    let path = renamed(folder.path(), |name| {
        Some(name.replace("blk.1.attn_q.", "blk.1.ffn_down."))
    });
    let error = refusal("models/tinyllama/hf", &[("a", path)]);
    assert!(error.contains("blk.1.ffn_down.weight.lora_a"), "{error}");
    let path = renamed(folder.path(), |_| None);
    let error = refusal("models/tinyllama/hf", &[("a", path)]);
    assert!(error.contains("no low-rank matrices"), "{error}");
}

#[test]
fn the_memory_of_adapters_is_planned() {
    let model = golden("models/tinyllama/hf");
    let bytes = |adapters: &[(&str, PathBuf)]| {
        let engine = builder(&model, Numeric::Bf16, adapters)
            .build()
            .expect("an engine");
        let plan = &engine.info().expect("a model").plan;
        (plan.weight_bytes, plan.step_bytes)
    };
    let (alone, with) = (bytes(&[]), bytes(&adapters("tinyllama")));
    // 3 layers of 4 and of 7 matrices, padded to 16 rows and to 32 columns.
    assert!(
        with.0 > alone.0 + 3 * 11 * 2 * 16 * 64 * 2,
        "{with:?} {alone:?}"
    );
    assert!(with.1 > alone.1, "{with:?} {alone:?}");
}
