//! The families that can be written as GGUF: one table of tensors and keys each.
//!
//! Owns what llama.cpp calls the tensors and settings of a Hugging Face model, and
//! how it wants their rows. A new family is a [`Family`] in [`ALL`], and the rules
//! that no other has.
//!
//! Source: the names and keys of llama.cpp's `gguf-py` and `convert_hf_to_gguf.py`.

use super::family::{Change, Family, Rule, rule};

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

/// Q, K and V as one matrix, gate and up as another.
const FUSED: &[Rule] = &[
    rule("model.layers.{l}.self_attn.qkv_proj", "blk.{l}.attn_qkv"),
    rule("model.layers.{l}.self_attn.o_proj", "blk.{l}.attn_output"),
    rule("model.layers.{l}.mlp.gate_up_proj", "blk.{l}.ffn_up"),
    rule("model.layers.{l}.mlp.down_proj", "blk.{l}.ffn_down"),
];

const GLM4_LAYERS: &[Rule] = &[
    rule(
        "model.layers.{l}.post_self_attn_layernorm",
        "blk.{l}.post_attention_norm",
    ),
    rule(
        "model.layers.{l}.post_mlp_layernorm",
        "blk.{l}.post_ffw_norm",
    ),
    rule("model.layers.{l}.mlp.gate_up_proj", "blk.{l}.ffn_up"),
    rule("model.layers.{l}.mlp.down_proj", "blk.{l}.ffn_down"),
];

/// The expert that all tokens go through.
const SHARED_EXPERT: &[Rule] = &[
    rule(
        "model.layers.{l}.mlp.shared_expert_gate",
        "blk.{l}.ffn_gate_inp_shexp",
    ),
    rule(
        "model.layers.{l}.mlp.shared_expert.gate_proj",
        "blk.{l}.ffn_gate_shexp",
    ),
    rule(
        "model.layers.{l}.mlp.shared_expert.up_proj",
        "blk.{l}.ffn_up_shexp",
    ),
    rule(
        "model.layers.{l}.mlp.shared_expert.down_proj",
        "blk.{l}.ffn_down_shexp",
    ),
];

const STARCODER2_FEED_FORWARD: &[Rule] = &[
    rule("model.layers.{l}.mlp.c_fc", "blk.{l}.ffn_up"),
    rule("model.layers.{l}.mlp.c_proj", "blk.{l}.ffn_down"),
];

const GPT2: &[Rule] = &[
    rule("wte", "token_embd"),
    rule("wpe", "position_embd"),
    rule("ln_f", "output_norm"),
    rule("lm_head", "output").optional(),
    rule("h.{l}.ln_1", "blk.{l}.attn_norm"),
    rule("h.{l}.attn.c_attn", "blk.{l}.attn_qkv").with(Change::Transpose),
    rule("h.{l}.attn.c_proj", "blk.{l}.attn_output").with(Change::Transpose),
    rule("h.{l}.ln_2", "blk.{l}.ffn_norm"),
    rule("h.{l}.mlp.c_fc", "blk.{l}.ffn_up").with(Change::Transpose),
    rule("h.{l}.mlp.c_proj", "blk.{l}.ffn_down").with(Change::Transpose),
    // The causal mask, stored: `attn.bias` is no bias.
    rule("h.{l}.attn", "").optional().with(Change::Drop),
    rule("h.{l}.attn.masked_bias", "")
        .optional()
        .with(Change::Drop),
];

/// Every family that can be converted.
pub(super) static ALL: &[Family] = &[
    Family {
        classes: &["LlamaForCausalLM", "MistralForCausalLM"],
        name: "llama",
        prefix: "",
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
        prefix: "",
        tensors: &[AROUND, NORMS, INTERLEAVED_ATTENTION, MIXTRAL_EXPERTS],
        keys: |keys| {
            keys.decoder()?;
            keys.rope()?;
            keys.window("sliding_window")?;
            keys.experts()?;
            keys.count("num_experts_per_tok", "expert_used_count")
        },
    },
    Family {
        classes: &["Qwen2ForCausalLM"],
        name: "qwen2",
        prefix: "",
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
        prefix: "",
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
        prefix: "",
        tensors: &[AROUND, NORMS, ATTENTION, QK_NORMS, QWEN_EXPERTS],
        keys: |keys| {
            keys.decoder()?;
            keys.rope()?;
            keys.qwen_window()?;
            keys.every_layer_has_experts()?;
            keys.fixed("norm_topk_prob", true, false)?;
            keys.experts()?;
            keys.count("num_experts_per_tok", "expert_used_count")?;
            keys.count("moe_intermediate_size", "expert_feed_forward_length")
        },
    },
    Family {
        classes: &["Olmo2ForCausalLM"],
        name: "olmo2",
        prefix: "",
        tensors: &[AROUND, POST_NORMS, ATTENTION, QK_NORMS, FEED_FORWARD],
        keys: |keys| {
            keys.decoder()?;
            keys.rope()
        },
    },
    Family {
        classes: &["SmolLM3ForCausalLM"],
        name: "smollm3",
        prefix: "",
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
        prefix: "",
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
        prefix: "",
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
    Family {
        classes: &["Qwen2MoeForCausalLM"],
        name: "qwen2moe",
        prefix: "",
        tensors: &[AROUND, NORMS, ATTENTION, QWEN_EXPERTS, SHARED_EXPERT],
        keys: |keys| {
            keys.decoder()?;
            keys.rope()?;
            keys.qwen_window()?;
            keys.every_layer_has_experts()?;
            keys.fixed("norm_topk_prob", false, false)?;
            keys.experts()?;
            keys.count("num_experts_per_tok", "expert_used_count")?;
            keys.count("moe_intermediate_size", "expert_feed_forward_length")?;
            keys.count(
                "shared_expert_intermediate_size",
                "expert_shared_feed_forward_length",
            )
        },
    },
    Family {
        classes: &["Phi3ForCausalLM"],
        name: "phi3",
        prefix: "",
        tensors: &[AROUND, NORMS, FUSED],
        keys: |keys| {
            keys.decoder()?;
            keys.rope_or_longrope()?;
            // Files without a window's length are taken for those of an early converter.
            keys.no_window();
            keys.window("sliding_window")
        },
    },
    Family {
        classes: &["Glm4ForCausalLM"],
        name: "glm4",
        prefix: "",
        tensors: &[AROUND, NORMS, ATTENTION, GLM4_LAYERS],
        keys: |keys| {
            keys.decoder()?;
            keys.rope()
        },
    },
    Family {
        classes: &["GraniteForCausalLM"],
        name: "granite",
        prefix: "",
        tensors: &[AROUND, NORMS, INTERLEAVED_ATTENTION, FEED_FORWARD],
        keys: |keys| {
            keys.decoder()?;
            keys.rope()?;
            keys.factor("attention_multiplier", "attention.scale")?;
            keys.factor("embedding_multiplier", "embedding_scale")?;
            keys.factor("residual_multiplier", "residual_scale")?;
            keys.factor("logits_scaling", "logit_scale")
        },
    },
    Family {
        classes: &["Starcoder2ForCausalLM"],
        name: "starcoder2",
        prefix: "",
        tensors: &[AROUND, NORMS, ATTENTION, STARCODER2_FEED_FORWARD],
        keys: |keys| {
            keys.fixed("use_bias", true, true)?;
            keys.layer_norm_decoder("hidden_act", "norm_epsilon")?;
            keys.rope()?;
            keys.window("sliding_window")
        },
    },
    Family {
        classes: &["GPT2LMHeadModel"],
        name: "gpt2",
        prefix: "transformer.",
        tensors: &[GPT2],
        keys: |keys| {
            keys.fixed("scale_attn_weights", true, true)?;
            keys.fixed("scale_attn_by_inverse_layer_idx", false, false)?;
            keys.layer_norm_decoder("activation_function", "layer_norm_epsilon")
        },
    },
];
