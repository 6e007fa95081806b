//! Which tensor gets which type.
//!
//! A mixture such as `Q4_K_M` is a type for most matrices and rules for the ones that
//! errors harm more. Knows names and shapes, not values.
//!
//! Source: llama.cpp `llama_tensor_get_type` without an importance matrix, and the
//! conditions around it in `llama_model_quantize_impl`.

use choral_formats::gguf::Metadata;
use choral_formats::{Dtype, FormatError, TensorInfo};
use std::fmt;
use std::str::FromStr;

macro_rules! mixtures {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $file_type:literal, $dtype:ident;)*) => {
        /// What `--type` of `choral quantize` names.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[allow(non_camel_case_types, reason = "the names by which these mixtures are known")]
        pub enum Mixture {
            $($(#[$doc])* $variant,)*
        }

        impl Mixture {
            /// Every mixture, from large to small within a kind.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name, as tools and file names have it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Its number in `general.file_type` (`enum llama_ftype`).
            pub fn file_type(self) -> u32 {
                match self { $(Self::$variant => $file_type,)* }
            }

            /// The type of most matrices.
            pub fn dtype(self) -> Dtype {
                match self { $(Self::$variant => Dtype::$dtype,)* }
            }
        }
    };
}

mixtures! {
    /// All in single precision.
    F32 = "F32", 0, F32;
    /// Matrices in half precision.
    F16 = "F16", 1, F16;
    /// Matrices in bf16.
    BF16 = "BF16", 32, BF16;
    /// 8 bits.
    Q8_0 = "Q8_0", 7, Q8_0;
    /// 6 bits.
    Q6_K = "Q6_K", 18, Q6_K;
    /// 5 bits, 6 where it matters.
    Q5_K_M = "Q5_K_M", 17, Q5_K;
    /// 5 bits.
    Q5_K_S = "Q5_K_S", 16, Q5_K;
    /// 5 bits and a minimum, the older kind.
    Q5_1 = "Q5_1", 9, Q5_1;
    /// 5 bits, the older kind.
    Q5_0 = "Q5_0", 8, Q5_0;
    /// 4 bits, 6 where it matters.
    Q4_K_M = "Q4_K_M", 15, Q4_K;
    /// 4 bits, 5 in the first layers.
    Q4_K_S = "Q4_K_S", 14, Q4_K;
    /// 4 bits and a minimum, the older kind.
    Q4_1 = "Q4_1", 3, Q4_1;
    /// 4 bits, the older kind.
    Q4_0 = "Q4_0", 2, Q4_0;
    /// 4 bits into a table.
    IQ4_NL = "IQ4_NL", 25, IQ4_NL;
    /// 4 bits into a table, with smaller scales.
    IQ4_XS = "IQ4_XS", 30, IQ4_XS;
    /// 3 bits, 5 where it matters.
    Q3_K_L = "Q3_K_L", 13, Q3_K;
    /// 3 bits, 4 or 5 where it matters.
    Q3_K_M = "Q3_K_M", 12, Q3_K;
    /// 3 bits.
    Q3_K_S = "Q3_K_S", 11, Q3_K;
    /// 2 bits, 3 or 4 where it matters.
    Q2_K = "Q2_K", 10, Q2_K;
}

impl fmt::Display for Mixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mixture {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        // What some call the medium one.
        let full = match name.to_ascii_uppercase().as_str() {
            "Q3_K" => "Q3_K_M".to_owned(),
            "Q4_K" => "Q4_K_M".to_owned(),
            "Q5_K" => "Q5_K_M".to_owned(),
            other => other.to_owned(),
        };
        let found = Self::ALL.iter().find(|mixture| mixture.name() == full);
        found.copied().ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|mixture| mixture.name()).collect();
            format!(
                "unknown type `{name}`, expected one of {}",
                names.join(", ")
            )
        })
    }
}

/// What the caller wants beside the mixture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The mixture.
    pub mixture: Mixture,
    /// Type of the output matrix, whatever the mixture says.
    pub output_type: Option<Dtype>,
    /// Type of the token embedding, likewise.
    pub embedding_type: Option<Dtype>,
    /// The same type for every matrix.
    pub pure: bool,
}

impl Choice {
    /// The mixture and nothing beside it.
    pub fn of(mixture: Mixture) -> Self {
        Self {
            mixture,
            output_type: None,
            embedding_type: None,
            pure: false,
        }
    }
}

/// Facts about a model that mixtures depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    layers: usize,
    experts: usize,
    /// Query heads for each head of keys.
    heads_per_kv: usize,
    /// Attention tensors that hold values.
    values: usize,
    has_output: bool,
    /// Eight heads share values in a model of 80 layers: a few more bits cost nothing.
    is_70b: bool,
}

impl Facts {
    pub(super) fn read(
        architecture: &str,
        metadata: &Metadata,
        tensors: &[TensorInfo],
    ) -> Result<Self, FormatError> {
        let key = |name: &str| format!("{architecture}.{name}");
        // One number, or one for each layer.
        let count = |name: &str| -> Result<Option<usize>, FormatError> {
            match metadata.usize(&key(name)) {
                Ok(count) => Ok(count),
                Err(_) => Ok(metadata
                    .usizes(&key(name))?
                    .and_then(|counts| counts.into_iter().max())),
            }
        };
        let layers = count("block_count")?.unwrap_or(0);
        let heads = count("attention.head_count")?.unwrap_or(0);
        let kv_heads = count("attention.head_count_kv")?.unwrap_or(heads);
        Ok(Self {
            layers,
            experts: count("expert_count")?.unwrap_or(0),
            heads_per_kv: heads.checked_div(kv_heads).unwrap_or(0),
            values: tensors
                .iter()
                .filter(|info| holds_values(&info.name))
                .count(),
            has_output: tensors.iter().any(|info| info.name == "output.weight"),
            is_70b: layers == 80
                && heads != kv_heads
                && matches!(architecture, "llama" | "qwen2" | "deci"),
        })
    }
}

/// Hands out types, tensor after tensor, in the order of the file.
#[derive(Debug)]
pub(super) struct Chooser {
    choice: Choice,
    facts: Facts,
    /// Values and `ffn_down` that have had their turn.
    values_seen: usize,
    downs_seen: usize,
}

impl Chooser {
    pub(super) fn new(choice: Choice, facts: Facts) -> Self {
        Self {
            choice,
            facts,
            values_seen: 0,
            downs_seen: 0,
        }
    }

    /// The type for a tensor; `None` if it should stay as it is.
    pub(super) fn choose(&mut self, info: &TensorInfo) -> Option<Dtype> {
        if !is_quantised(info) {
            return None;
        }
        let name = info.name.as_str();
        let plain = self.choice.mixture.dtype();
        let embedding = name == "token_embd.weight";
        let output = name == "output.weight" || (embedding && !self.facts.has_output);
        if let Some(dtype) = self.choice.output_type.filter(|_| output) {
            return Some(fitting(dtype, info));
        }
        if let Some(dtype) = self.choice.embedding_type.filter(|_| embedding) {
            return Some(fitting(dtype, info));
        }
        let is_mixture = !matches!(plain, Dtype::F32 | Dtype::F16 | Dtype::BF16);
        if self.choice.pure || !is_mixture {
            return Some(fitting(plain, info));
        }
        let dtype = if output {
            if !info.row_len().is_multiple_of(plain.block_len()) || plain == Dtype::Q8_0 {
                Dtype::Q8_0
            } else {
                Dtype::Q6_K
            }
        } else {
            self.rules(name).unwrap_or(plain)
        };
        Some(fitting(dtype, info))
    }

    /// The exception for a tensor, if it is one.
    fn rules(&mut self, name: &str) -> Option<Dtype> {
        use Dtype::{Q3_K, Q4_K, Q5_K, Q6_K, Q8_0};
        use Mixture as M;
        let facts = self.facts;
        let mixture = self.choice.mixture;
        let many_heads = facts.heads_per_kv >= 4;
        if holds_values(name) {
            let at = self.values_seen;
            self.values_seen += 1;
            let dtype = match mixture {
                M::Q2_K if many_heads => Some(Q4_K),
                M::Q2_K => Some(Q3_K),
                M::Q3_K_M if at < 2 => Some(Q5_K),
                M::Q3_K_M => Some(Q4_K),
                M::Q3_K_L => Some(Q5_K),
                M::IQ4_NL | M::IQ4_XS if many_heads => Some(Q5_K),
                M::Q4_K_M | M::Q5_K_M if gets_more_bits(at, facts.values) => Some(Q6_K),
                M::Q4_K_S if at < 4 => Some(Q5_K),
                _ => None,
            };
            let chosen = dtype.unwrap_or(mixture.dtype());
            if facts.experts == 8 {
                return Some(Q8_0);
            }
            let is_small = matches!(chosen, Q3_K | Q4_K);
            return if facts.is_70b && is_small {
                Some(Q5_K)
            } else {
                dtype
            };
        }
        if name.contains("attn_k.weight") {
            return (facts.experts == 8).then_some(Q8_0);
        }
        if name.contains("ffn_down") {
            let at = self.down_layer(name);
            let eighth = facts.layers / 8;
            return match mixture {
                M::Q2_K => Some(Q3_K),
                M::Q3_K_M if at < facts.layers / 16 => Some(Q5_K),
                M::Q3_K_M => Some(Q4_K),
                M::Q3_K_L => Some(Q5_K),
                M::Q4_K_M | M::Q5_K_M if gets_more_bits(at, facts.layers) => Some(Q6_K),
                M::IQ4_NL | M::IQ4_XS | M::Q4_K_S if at < eighth => Some(Q5_K),
                _ => None,
            };
        }
        if name.contains("attn_output.weight") {
            if facts.experts == 8 {
                return match mixture {
                    M::Q2_K
                    | M::Q3_K_S
                    | M::Q3_K_M
                    | M::Q4_K_S
                    | M::Q4_K_M
                    | M::IQ4_NL
                    | M::IQ4_XS => Some(Q5_K),
                    _ => None,
                };
            }
            return match mixture {
                M::Q2_K => Some(Q3_K),
                M::Q3_K_M => Some(Q4_K),
                M::Q3_K_L => Some(Q5_K),
                _ => None,
            };
        }
        None
    }

    /// The layer of an `ffn_down`: a model with experts may have several in one.
    fn down_layer(&mut self, name: &str) -> usize {
        let at = self.downs_seen;
        self.downs_seen += 1;
        if self.facts.experts > 1 {
            layer(name).unwrap_or(at)
        } else {
            at
        }
    }
}

/// Whether a tensor makes values, alone or with queries and keys.
fn holds_values(name: &str) -> bool {
    ["attn_v.weight", "attn_qkv.weight", "attn_kv_b.weight"]
        .iter()
        .any(|part| name.contains(part))
}

/// The first and last eighth of the layers, and every third between.
fn gets_more_bits(at: usize, layers: usize) -> bool {
    let eighth = layers / 8;
    at < eighth || at >= 7 * layers / 8 || (at - eighth) % 3 == 2
}

/// The layer in a tensor's name, `blk.LAYER.`.
pub(super) fn layer(name: &str) -> Option<usize> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

/// Whether mixtures concern a tensor: matrices, but not norms, routers, positions or
/// the small tensors of recurrent layers.
fn is_quantised(info: &TensorInfo) -> bool {
    const NOT: &[&str] = &[
        "_norm.weight",
        "ffn_gate_inp.weight",
        "altup",
        "laurel",
        "per_layer_model_proj",
        "position_embd.weight",
        "token_types.weight",
        "ssm_conv1d",
        "shortconv.conv.weight",
        "time_mix_first.weight",
        "time_mix_w0.weight",
        "time_mix_w1.weight",
        "time_mix_w2.weight",
        "time_mix_v0.weight",
        "time_mix_v1.weight",
        "time_mix_v2.weight",
        "time_mix_a0.weight",
        "time_mix_a1.weight",
        "time_mix_a2.weight",
        "time_mix_g1.weight",
        "time_mix_g2.weight",
        "time_mix_decay_w1.weight",
        "time_mix_decay_w2.weight",
        "time_mix_lerp_fused.weight",
        "attn_rel_b.weight",
    ];
    // A dimension of 1 at the outside does not count: ggml does not store it.
    let is_matrix = info.shape.iter().rev().skip(1).any(|&dim| dim > 1);
    is_matrix && info.name.ends_with("weight") && !NOT.iter().any(|part| info.name.contains(part))
}

/// `dtype`, or what stands in for it where rows do not fill its blocks.
fn fitting(dtype: Dtype, info: &TensorInfo) -> Dtype {
    let fits = |dtype: Dtype| info.row_len().is_multiple_of(dtype.block_len());
    if fits(dtype) {
        return dtype;
    }
    let smaller = match dtype {
        Dtype::Q2_K | Dtype::Q3_K => Dtype::Q4_0,
        Dtype::IQ4_XS => Dtype::IQ4_NL,
        Dtype::Q4_K => Dtype::Q5_0,
        Dtype::Q5_K => Dtype::Q5_1,
        Dtype::Q6_K => Dtype::Q8_0,
        _ => Dtype::F16,
    };
    if fits(smaller) { smaller } else { Dtype::F16 }
}
