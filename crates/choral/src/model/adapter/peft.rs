//! Adapters in directories, as Hugging Face's PEFT writes them.
//!
//! Source: PEFT's `LoraConfig` and `tuners/lora/layer.py`. `fan_in_fan_out` has no
//! bearing here: it says how the base model stores its matrix, and `A` and `B` are
//! stored alike for both ways.

use super::{AdapterError, AdapterFile, Scales, Tensors};
use choral_formats::{JsonObject, Safetensors};
use fancy_regex::Regex;
use serde_json::Value;
use std::path::Path;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// What `adapter_config.json` says of ranks and scales.
#[derive(Debug)]
pub(super) struct Peft {
    rank: usize,
    alpha: f64,
    /// Divide by the root of the rank, and not by the rank (arXiv:2312.03732).
    is_rank_stabilised: bool,
    /// Other ranks and alphas of some modules.
    ranks: Vec<(Regex, usize)>,
    alphas: Vec<(Regex, f64)>,
}

/// Settings that must not be set, and what they mean.
const UNSUPPORTED: [(&str, &str); 12] = [
    ("use_dora", "magnitudes (DoRA)"),
    ("lora_bias", "biases"),
    ("modules_to_save", "whole modules (`modules_to_save`)"),
    (
        "trainable_token_indices",
        "trained tokens (`trainable_token_indices`)",
    ),
    (
        "layer_replication",
        "replicated layers (`layer_replication`)",
    ),
    (
        "target_parameters",
        "changes of parameters (`target_parameters`)",
    ),
    ("alora_invocation_tokens", "invocation tokens (aLoRA)"),
    ("use_qalora", "pooled inputs (QA-LoRA)"),
    ("arrow_config", "routing between adapters (Arrow)"),
    ("kasa_config", "singular values (KaSA)"),
    ("use_bdlora", "block-diagonal matrices (BD-LoRA)"),
    ("monteclora_config", "sampled weights (MonteCLoRA)"),
];

/// Settings that say how an adapter was trained, what its tensors say themselves, or
/// what is read below. Others, if they are set, are told of.
const KNOWN: [&str; 28] = [
    "alpha_pattern",
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_alpha",
    "lora_dropout",
    "megatron_config",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "rank_pattern",
    "revision",
    "target_modules",
    "task_type",
    "use_rslora",
    "velora_config",
];

/// Ways to begin training that leave the base model as it was. Others (`PiSSA`,
/// `OLoRA`, `CorDA`, `LoftQ`) change it, and mean nothing without that change.
const HARMLESS_BEGINNINGS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

pub(super) fn open(path: &Path) -> Result<AdapterFile, AdapterError> {
    let config = path.join(CONFIG);
    if !config.is_file() {
        return Err(AdapterError::NotAnAdapter {
            path: path.to_owned(),
            found: "a directory without one",
        });
    }
    let peft = Peft::read(path, &JsonObject::open(config)?)?;
    let weights = path.join(WEIGHTS);
    if !weights.is_file() && path.join("adapter_model.bin").exists() {
        return Err(AdapterError::unsupported(
            path,
            "pickled weights (adapter_model.bin)",
        ));
    }
    Ok(AdapterFile {
        tensors: Tensors::Peft(Safetensors::open_file(weights)?),
        scales: Scales::Peft(peft),
    })
}

impl Peft {
    pub(super) fn read(path: &Path, config: &JsonObject) -> Result<Self, AdapterError> {
        let kind: &str = config.required("peft_type")?;
        if kind != "LORA" {
            return Err(AdapterError::unsupported(
                path,
                format!("the type `{kind}`"),
            ));
        }
        for (key, what) in UNSUPPORTED {
            if config.get(key).is_some_and(is_set) {
                return Err(AdapterError::unsupported(path, what));
            }
        }
        if let Some(bias) = config.str("bias")?.filter(|&bias| bias != "none") {
            return Err(AdapterError::unsupported(
                path,
                format!("biases (`bias` is `{bias}`)"),
            ));
        }
        if let Some(Value::String(way)) = config.get("init_lora_weights")
            && !HARMLESS_BEGINNINGS.contains(&way.to_lowercase().as_str())
        {
            return Err(AdapterError::unsupported(
                path,
                format!("a changed base model (`init_lora_weights` is `{way}`)"),
            ));
        }
        for (key, value) in config.iter() {
            if is_set(value) && !KNOWN.contains(&key) {
                let path = path.display();
                tracing::warn!(%path, key, "a setting of the adapter that choral does not know");
            }
        }
        let patterns = |key: &str| config.object(key);
        let mut ranks = Vec::new();
        if let Some(patterns) = patterns("rank_pattern")? {
            for (pattern, _) in patterns.iter() {
                ranks.push((regex(&patterns, pattern)?, patterns.required(pattern)?));
            }
        }
        let mut alphas = Vec::new();
        if let Some(patterns) = patterns("alpha_pattern")? {
            for (pattern, _) in patterns.iter() {
                alphas.push((regex(&patterns, pattern)?, patterns.required(pattern)?));
            }
        }
        Ok(Self {
            rank: config.required("r")?,
            alpha: config.required("lora_alpha")?,
            is_rank_stabilised: config.bool("use_rslora")?.unwrap_or(false),
            ranks,
            alphas,
        })
    }

    /// What multiplies `B A` of a module whose tensors have that rank.
    pub(super) fn scale(
        &self,
        path: &Path,
        module: &str,
        rank: usize,
    ) -> Result<f32, AdapterError> {
        let expected = of_module(&self.ranks, module).unwrap_or(self.rank);
        if rank != expected {
            return Err(AdapterError::Rank {
                path: path.to_owned(),
                module: module.to_owned(),
                expected,
                found: rank,
            });
        }
        let alpha = of_module(&self.alphas, module).unwrap_or(self.alpha);
        let rank = rank as f64;
        let divisor = if self.is_rank_stabilised {
            rank.sqrt()
        } else {
            rank
        };
        Ok((alpha / divisor) as f32)
    }
}

/// The first pattern that is a module's counts.
fn of_module<T: Copy>(patterns: &[(Regex, T)], module: &str) -> Option<T> {
    // A pattern that takes too long matches nothing.
    let is_its = |(regex, _): &&(Regex, T)| regex.is_match(module).unwrap_or(false);
    patterns.iter().find(is_its).map(|&(_, value)| value)
}

/// A key of `rank_pattern` or `alpha_pattern`: a regular expression for the end of a
/// module's name.
fn regex(patterns: &JsonObject, pattern: &str) -> Result<Regex, AdapterError> {
    let regex = Regex::new(&format!(r"^(.*\.)?({pattern})$"));
    regex.map_err(|error| {
        let expected = "a name that is a regular expression";
        patterns.invalid(pattern, expected, error).into()
    })
}

/// Whether a setting says something.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::Array(all) => !all.is_empty(),
        Value::Object(all) => !all.is_empty(),
        Value::Number(_) | Value::String(_) => true,
    }
}

/// The module that a tensor changes, and whether it is the `A` of it.
pub(super) fn module<'a>(path: &Path, name: &'a str) -> Result<(&'a str, bool), AdapterError> {
    for (mark, what) in [
        ("lora_magnitude_vector", "magnitudes (DoRA)"),
        ("lora_embedding_", "a change of the embedding"),
        ("modules_to_save", "whole modules (`modules_to_save`)"),
        (
            "token_adapter",
            "trained tokens (`trainable_token_indices`)",
        ),
    ] {
        if name.contains(mark) {
            return Err(AdapterError::unsupported(path, what));
        }
    }
    if name.rsplit('.').next() == Some("bias") {
        return Err(AdapterError::unsupported(path, "biases"));
    }
    let (module, is_a) = [(".lora_A.", true), (".lora_B.", false)]
        .into_iter()
        .find_map(|(mark, is_a)| {
            let (module, rest) = name.rsplit_once(mark)?;
            // Some tools leave in what the adapter was called.
            let is_weight = rest == "weight"
                || rest
                    .strip_suffix(".weight")
                    .is_some_and(|name| !name.contains('.'));
            is_weight.then_some((module, is_a))
        })
        .ok_or_else(|| AdapterError::UnknownTensor {
            path: path.to_owned(),
            name: name.to_owned(),
        })?;
    let module = module.strip_prefix("base_model.model.").unwrap_or(module);
    Ok((module, is_a))
}
