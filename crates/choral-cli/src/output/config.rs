//! What an engine and a request are set to.

use choral::ModelInfo;
use choral::engine::Lora;
use choral::sampling::SamplingParams;
use serde::Serialize;
use serde_json::Value;
use std::fmt;

/// Everything that an answer was made with.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Config<'a> {
    model: String,
    architecture: &'a str,
    numeric: &'static str,
    isa: &'a str,
    threads: usize,
    max_model_len: usize,
    max_num_seqs: usize,
    max_num_batched_tokens: usize,
    weight_bytes: u64,
    kv_bytes: u64,
    /// Those that all prompts run with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    adapters: Vec<Adapter>,
    sampling: &'a SamplingParams,
}

/// An adapter and how much of it.
#[derive(Debug, Clone, Serialize)]
struct Adapter {
    name: String,
    scale: f32,
}

impl<'a> Config<'a> {
    pub(crate) fn new(info: &'a ModelInfo, sampling: &'a SamplingParams) -> Self {
        Self {
            model: info.path.display().to_string(),
            architecture: info.architecture,
            numeric: info.plan.numeric.name(),
            isa: info.isa,
            threads: info.threads,
            max_model_len: info.plan.context,
            max_num_seqs: info.plan.max_num_seqs,
            max_num_batched_tokens: info.plan.max_num_batched_tokens,
            weight_bytes: info.plan.weight_bytes,
            kv_bytes: info.plan.kv_bytes(),
            adapters: Vec::new(),
            sampling,
        }
    }

    /// The same, with the adapters that all prompts run with.
    pub(crate) fn with_adapters(mut self, lora: &[Lora]) -> Self {
        self.adapters = lora
            .iter()
            .map(|Lora { name, scale }| Adapter {
                name: name.clone(),
                scale: *scale,
            })
            .collect();
        self
    }
}

impl fmt::Display for Config<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: f64 = (1 << 20) as f64;
        writeln!(f, "Configuration:")?;
        writeln!(f, "  Model: {} ({})", self.model, self.architecture)?;
        writeln!(
            f,
            "  Engine: {}, {}, {} threads",
            self.numeric, self.isa, self.threads
        )?;
        writeln!(
            f,
            "  Memory: weights {:.1} MiB, keys and values {:.1} MiB",
            self.weight_bytes as f64 / MIB,
            self.kv_bytes as f64 / MIB
        )?;
        writeln!(
            f,
            "  Limits: {} tokens a sequence, {} sequences and {} tokens a step",
            self.max_model_len, self.max_num_seqs, self.max_num_batched_tokens
        )?;
        if !self.adapters.is_empty() {
            let adapters = self.adapters.iter();
            let adapters = adapters.map(|a| format!("{} at {}", a.name, a.scale));
            writeln!(f, "  Adapters: {}", adapters.collect::<Vec<_>>().join(", "))?;
        }
        write!(f, "  Sampling:")?;
        for (name, value) in settings(self.sampling) {
            write!(f, " {name} {value}")?;
        }
        writeln!(f)
    }
}

/// The parameters that differ from "off", and the usual ones, by their names.
pub(crate) fn settings(params: &SamplingParams) -> Vec<(String, String)> {
    const ALWAYS: &[&str] = &["n", "max_tokens", "temperature", "top_k", "top_p", "seed"];
    // Through text, which has 0.8 where a double has 0.800000011920929.
    let to_json = |params| -> Value {
        let text = serde_json::to_string(params).expect("parameters are plain values");
        serde_json::from_str(&text).expect("what was written can be read")
    };
    let (all, off) = (to_json(params), to_json(&SamplingParams::default()));
    let all = all.as_object().into_iter().flatten();
    all.filter(|(name, value)| ALWAYS.contains(&name.as_str()) || off[*name] != **value)
        .map(|(name, value)| (name.clone(), value.to_string()))
        .collect()
}
