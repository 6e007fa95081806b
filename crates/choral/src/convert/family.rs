//! The families that can be written as GGUF: one table of tensors and keys each.
//!
//! Owns what llama.cpp calls the tensors and settings of a Hugging Face model, and
//! how it wants their rows. A new family is a [`Family`] here and a line in [`ALL`].
//! Knows nothing of values or quantisation.
//!
//! Source: the names and keys of llama.cpp's `gguf-py` and `convert_hf_to_gguf.py`.

use super::ConvertError;
use super::keys::Keys;

/// One family of models.
#[derive(Debug)]
pub(super) struct Family {
    /// Its names in `architectures` of a `config.json`.
    pub(super) classes: &'static [&'static str],
    /// `general.architecture`.
    pub(super) name: &'static str,
    /// Its tensors: parts that families share, and its own.
    pub(super) tensors: &'static [&'static [Rule]],
    /// Writes its settings.
    pub(super) keys: fn(&mut Keys<'_>) -> Result<(), ConvertError>,
}

/// How a tensor becomes one of GGUF.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// Its name without `.weight`; `{l}` stands for the layer, `{e}` for the expert.
    pub(super) hf: &'static str,
    /// Its name in GGUF, likewise. All experts become one tensor.
    pub(super) gguf: &'static str,
    /// What happens to its values.
    pub(super) change: Change,
    /// Whether every layer must have it.
    pub(super) needed: bool,
}

/// What conversion does to a tensor's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// Each head's rows are interleaved: row `i + j * half` of the head becomes row
    /// `2 i + j`, because llama.cpp rotates neighbours in this family.
    Interleave,
    /// One is added: the family's norms store the difference to one.
    AddOne,
    /// Dropped: it follows from others.
    Drop,
}

const fn rule(hf: &'static str, gguf: &'static str) -> Rule {
    Rule {
        hf,
        gguf,
        change: Change::None,
        needed: true,
    }
}

impl Rule {
    const fn optional(self) -> Self {
        Self {
            needed: false,
            ..self
        }
    }

    const fn with(self, change: Change) -> Self {
        Self { change, ..self }
    }
}

const AROUND: &[Rule] = &[
    rule("model.embed_tokens", "token_embd"),
    rule("model.norm", "output_norm"),
    rule("lm_head", "output").optional(),
    rule("model.layers.{l}.self_attn.rotary_emb.inv_freq", "")
        .optional()
        .with(Change::Drop),
];

const NORMS: &[Rule] = &[
    rule("model.layers.{l}.input_layernorm", "blk.{l}.attn_norm"),
    rule(
        "model.layers.{l}.post_attention_layernorm",
        "blk.{l}.ffn_norm",
    ),
];

const ATTENTION: &[Rule] = &[
    rule("model.layers.{l}.self_attn.q_proj", "blk.{l}.attn_q"),
    rule("model.layers.{l}.self_attn.k_proj", "blk.{l}.attn_k"),
    rule("model.layers.{l}.self_attn.v_proj", "blk.{l}.attn_v"),
    rule("model.layers.{l}.self_attn.o_proj", "blk.{l}.attn_output"),
];

const INTERLEAVED_ATTENTION: &[Rule] = &[
    rule("model.layers.{l}.self_attn.q_proj", "blk.{l}.attn_q").with(Change::Interleave),
    rule("model.layers.{l}.self_attn.k_proj", "blk.{l}.attn_k").with(Change::Interleave),
    rule("model.layers.{l}.self_attn.v_proj", "blk.{l}.attn_v"),
    rule("model.layers.{l}.self_attn.o_proj", "blk.{l}.attn_output"),
];

const QK_NORMS: &[Rule] = &[
    rule("model.layers.{l}.self_attn.q_norm", "blk.{l}.attn_q_norm"),
    rule("model.layers.{l}.self_attn.k_norm", "blk.{l}.attn_k_norm"),
];

const FEED_FORWARD: &[Rule] = &[
    rule("model.layers.{l}.mlp.gate_proj", "blk.{l}.ffn_gate"),
    rule("model.layers.{l}.mlp.up_proj", "blk.{l}.ffn_up"),
    rule("model.layers.{l}.mlp.down_proj", "blk.{l}.ffn_down"),
];

const QWEN_EXPERTS: &[Rule] = &[
    rule("model.layers.{l}.mlp.gate", "blk.{l}.ffn_gate_inp"),
    rule(
        "model.layers.{l}.mlp.experts.{e}.gate_proj",
        "blk.{l}.ffn_gate_exps",
    ),
    rule(
        "model.layers.{l}.mlp.experts.{e}.up_proj",
        "blk.{l}.ffn_up_exps",
    ),
    rule(
        "model.layers.{l}.mlp.experts.{e}.down_proj",
        "blk.{l}.ffn_down_exps",
    ),
];

const MIXTRAL_EXPERTS: &[Rule] = &[
    rule(
        "model.layers.{l}.block_sparse_moe.gate",
        "blk.{l}.ffn_gate_inp",
    ),
    rule(
        "model.layers.{l}.block_sparse_moe.experts.{e}.w1",
        "blk.{l}.ffn_gate_exps",
    ),
    rule(
        "model.layers.{l}.block_sparse_moe.experts.{e}.w3",
        "blk.{l}.ffn_up_exps",
    ),
    rule(
        "model.layers.{l}.block_sparse_moe.experts.{e}.w2",
        "blk.{l}.ffn_down_exps",
    ),
];

/// Norms after attention and after the feed-forward part, and none before.
const POST_NORMS: &[Rule] = &[
    rule(
        "model.layers.{l}.post_attention_layernorm",
        "blk.{l}.post_attention_norm",
    ),
    rule(
        "model.layers.{l}.post_feedforward_layernorm",
        "blk.{l}.post_ffw_norm",
    ),
];

/// Gemma's norms, stored as what is added to one.
const GEMMA_AROUND: &[Rule] = &[
    rule("model.embed_tokens", "token_embd"),
    rule("model.norm", "output_norm").with(Change::AddOne),
    rule("lm_head", "output").optional(),
];

const GEMMA_NORMS: &[Rule] = &[
    rule("model.layers.{l}.input_layernorm", "blk.{l}.attn_norm").with(Change::AddOne),
    rule(
        "model.layers.{l}.post_attention_layernorm",
        "blk.{l}.post_attention_norm",
    )
    .with(Change::AddOne),
    rule(
        "model.layers.{l}.pre_feedforward_layernorm",
        "blk.{l}.ffn_norm",
    )
    .with(Change::AddOne),
    rule(
        "model.layers.{l}.post_feedforward_layernorm",
        "blk.{l}.post_ffw_norm",
    )
    .with(Change::AddOne),
];

const GEMMA_QK_NORMS: &[Rule] = &[
    rule("model.layers.{l}.self_attn.q_norm", "blk.{l}.attn_q_norm").with(Change::AddOne),
    rule("model.layers.{l}.self_attn.k_norm", "blk.{l}.attn_k_norm").with(Change::AddOne),
];

/// Every family that can be converted.
pub(super) static ALL: &[Family] = &[
    Family {
        classes: &["LlamaForCausalLM", "MistralForCausalLM"],
        name: "llama",
        tensors: &[AROUND, NORMS, INTERLEAVED_ATTENTION, FEED_FORWARD],
        keys: |keys| {
            keys.decoder()?;
            keys.rope()?;
            keys.window("sliding_window")
        },
    },
    Family {
        classes: &["MixtralForCausalLM"],
        name: "llama",
        tensors: &[AROUND, NORMS, INTERLEAVED_ATTENTION, MIXTRAL_EXPERTS],
        keys: |keys| {
            keys.decoder()?;
            keys.rope()?;
            keys.window("sliding_window")?;
            keys.count("num_local_experts", "expert_count")?;
            keys.count("num_experts_per_tok", "expert_used_count")
        },
    },
    Family {
        classes: &["Qwen2ForCausalLM"],
        name: "qwen2",
        tensors: &[AROUND, NORMS, ATTENTION, FEED_FORWARD],
        keys: |keys| {
            keys.decoder()?;
            keys.rope()?;
            keys.qwen_window()
        },
    },
    Family {
        classes: &["Qwen3ForCausalLM"],
        name: "qwen3",
        tensors: &[AROUND, NORMS, ATTENTION, QK_NORMS, FEED_FORWARD],
        keys: |keys| {
            keys.decoder()?;
            keys.rope()?;
            keys.qwen_window()
        },
    },
    Family {
        classes: &["Qwen3MoeForCausalLM"],
        name: "qwen3moe",
        tensors: &[AROUND, NORMS, ATTENTION, QK_NORMS, QWEN_EXPERTS],
        keys: |keys| {
            keys.decoder()?;
            keys.rope()?;
            keys.qwen_window()?;
            keys.fixed("norm_topk_prob", true, false)?;
            keys.count("num_experts", "expert_count")?;
            keys.count("num_experts_per_tok", "expert_used_count")?;
            keys.count("moe_intermediate_size", "expert_feed_forward_length")
        },
    },
    Family {
        classes: &["Olmo2ForCausalLM"],
        name: "olmo2",
        tensors: &[AROUND, POST_NORMS, ATTENTION, QK_NORMS, FEED_FORWARD],
        keys: |keys| {
            keys.decoder()?;
            keys.rope()
        },
    },
    Family {
        classes: &["SmolLM3ForCausalLM"],
        name: "smollm3",
        tensors: &[AROUND, NORMS, INTERLEAVED_ATTENTION, FEED_FORWARD],
        keys: |keys| {
            keys.decoder()?;
            keys.rope()?;
            keys.every_fourth_without_rope()?;
            keys.qwen_window()
        },
    },
    Family {
        classes: &["Gemma2ForCausalLM"],
        name: "gemma2",
        tensors: &[GEMMA_AROUND, GEMMA_NORMS, ATTENTION, FEED_FORWARD],
        keys: |keys| {
            keys.gemma_decoder(46)?;
            keys.rope()?;
            keys.soft_cap("attn_logit_softcapping", "attn_logit_softcapping")?;
            keys.soft_cap("final_logit_softcapping", "final_logit_softcapping")?;
            keys.layer_pattern(2)?;
            keys.count("sliding_window", "attention.sliding_window")
        },
    },
    Family {
        classes: &["Gemma3ForCausalLM"],
        name: "gemma3",
        tensors: &[
            GEMMA_AROUND,
            GEMMA_NORMS,
            ATTENTION,
            GEMMA_QK_NORMS,
            FEED_FORWARD,
        ],
        keys: |keys| {
            keys.gemma_decoder(62)?;
            keys.rope()?;
            keys.local_rope()?;
            keys.layer_pattern(6)?;
            keys.count("sliding_window", "attention.sliding_window")
        },
    },
];

/// The family of one of those class names.
pub(super) fn of(classes: &[&str]) -> Result<&'static Family, ConvertError> {
    let known = |class: &&str| ALL.iter().find(|family| family.classes.contains(class));
    classes.iter().find_map(known).ok_or_else(|| {
        let known: Vec<&str> = ALL
            .iter()
            .flat_map(|family| family.classes)
            .copied()
            .collect();
        ConvertError::Family {
            found: classes.join(", "),
            known: known.join(", "),
        }
    })
}

/// A tensor's name taken apart: `model.layers.3.mlp.up_proj.weight`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// With `{l}` and `{e}` for the numbers, and without the ending.
    pub(super) stem: String,
    pub(super) layer: usize,
    pub(super) expert: usize,
    /// `.weight` or `.bias`, or nothing.
    pub(super) ending: &'static str,
}

impl Named {
    pub(super) fn parse(name: &str) -> Self {
        let (stem, ending) = [".weight", ".bias"]
            .into_iter()
            .find_map(|ending| Some((name.strip_suffix(ending)?, ending)))
            .unwrap_or((name, ""));
        let mut numbers = [0usize; 2];
        let mut found = 0;
        let parts = stem.split('.').map(|part| match part.parse() {
            Ok(number) if found < 2 => {
                numbers[found] = number;
                found += 1;
                ["{l}", "{e}"][found - 1]
            }
            _ => part,
        });
        let stem = parts.collect::<Vec<_>>().join(".");
        let [layer, expert] = numbers;
        Self {
            stem,
            layer,
            expert,
            ending,
        }
    }
}

impl Family {
    /// The rule for a tensor of that name.
    pub(super) fn rule(&self, named: &Named) -> Option<&'static Rule> {
        let rules = self.tensors.iter().copied().flatten();
        rules.into_iter().find(|rule| rule.hf == named.stem)
    }

    /// Every rule.
    pub(super) fn rules(&self) -> impl Iterator<Item = &'static Rule> {
        self.tensors.iter().copied().flatten()
    }
}

impl Rule {
    /// The GGUF name of a tensor to which the rule applies.
    pub(super) fn gguf_name(&self, layer: usize, ending: &str) -> String {
        format!("{}{ending}", self.gguf.replace("{l}", &layer.to_string()))
    }

    /// The name that a folder gives the tensor.
    pub(super) fn hf_name(&self, layer: usize, expert: usize) -> String {
        let name = self.hf.replace("{l}", &layer.to_string());
        format!("{}.weight", name.replace("{e}", &expert.to_string()))
    }
}
