//! What tensors are called in either file format, unless a family says otherwise.

use super::{Names, Scheme};
use choral_formats::ModelFile;

/// What a tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Token embedding `[vocab, hidden]`.
    Embedding,
    /// Learned vector of each position, `[positions, hidden]`.
    Positions,
    /// Vector of each kind of token, `[kinds, hidden]` (encoders only).
    TokenTypes,
    /// Norm of the sum of a token's vectors (encoders only).
    EmbeddingNorm,
    /// Norm before the output matrix.
    OutputNorm,
    /// Output matrix `[vocab, hidden]`.
    Output,
    /// Divisors of the rotary frequencies (GGUF only).
    RopeFreqs,
    /// The same within the original context of `LongRoPE` (GGUF only).
    RopeShort,
    /// And beyond it.
    RopeLong,
    /// Norm before attention.
    AttentionNorm,
    /// Query matrix.
    Q,
    /// Key matrix.
    K,
    /// Value matrix.
    V,
    /// The three as one.
    Qkv,
    /// Norm of queries.
    QNorm,
    /// Norm of keys.
    KNorm,
    /// Each head's sink.
    Sinks,
    /// Attention's output matrix.
    AttentionOutput,
    /// Norm of what attention adds.
    PostAttentionNorm,
    /// Norm before the feed-forward part.
    FfnNorm,
    /// Gate of the feed-forward part.
    FfnGate,
    /// Its other input matrix.
    FfnUp,
    /// The two as one.
    FfnGateUp,
    /// Its output matrix.
    FfnDown,
    /// Norm of what the feed-forward part adds.
    PostFfnNorm,
    /// Chooses experts.
    Router,
    /// An expert's gate, or all experts' as one tensor.
    ExpertGate,
    /// Its other input matrix.
    ExpertUp,
    /// The two as one, of all experts.
    ExpertGateUp,
    /// Its output matrix.
    ExpertDown,
    /// Share of the expert that all tokens go through.
    SharedRouter,
    /// Its gate.
    SharedGate,
    /// Its other input matrix.
    SharedUp,
    /// Its output matrix.
    SharedDown,
}

/// One of a layer's tensors, and whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct At {
    pub(super) layer: usize,
    pub(super) expert: usize,
}

impl At {
    /// That is not an expert's.
    pub(super) fn layer(layer: usize) -> Self {
        Self { layer, expert: 0 }
    }
}

impl Scheme {
    /// The one that a file uses.
    pub(super) fn of(file: &ModelFile) -> Self {
        match file {
            ModelFile::Gguf(_) => Self::Gguf,
            ModelFile::Hf(_) => Self::Hf,
        }
    }
}

impl Role {
    /// The tensor's name without `.weight` or `.bias`; empty if files of that scheme
    /// do not have it.
    pub(super) fn name(self, names: &Names, scheme: Scheme, at: At) -> String {
        let own = match scheme {
            Scheme::Gguf => names.gguf,
            Scheme::Hf => names.hf,
        };
        let pattern = own
            .iter()
            .find(|(role, _)| *role == self)
            .map_or_else(|| self.pattern(scheme), |(_, pattern)| *pattern);
        let root = match (scheme, pattern.strip_prefix("model.")) {
            (Scheme::Hf, Some(rest)) => format!("{}.{rest}", names.hf_root),
            _ => pattern.to_owned(),
        };
        root.replace("{l}", &at.layer.to_string())
            .replace("{e}", &at.expert.to_string())
    }

    /// `{l}` stands for the layer, `{e}` for the expert.
    fn pattern(self, scheme: Scheme) -> &'static str {
        match scheme {
            Scheme::Gguf => self.gguf_pattern(),
            Scheme::Hf => self.hf_pattern(),
        }
    }

    fn hf_pattern(self) -> &'static str {
        match self {
            Self::Embedding => "model.embed_tokens",
            Self::OutputNorm => "model.norm",
            Self::Output => "lm_head",
            Self::Positions
            | Self::TokenTypes
            | Self::EmbeddingNorm
            | Self::RopeFreqs
            | Self::RopeShort
            | Self::RopeLong => "",
            Self::AttentionNorm => "model.layers.{l}.input_layernorm",
            Self::Q => "model.layers.{l}.self_attn.q_proj",
            Self::K => "model.layers.{l}.self_attn.k_proj",
            Self::V => "model.layers.{l}.self_attn.v_proj",
            Self::Qkv => "model.layers.{l}.self_attn.qkv_proj",
            Self::QNorm => "model.layers.{l}.self_attn.q_norm",
            Self::KNorm => "model.layers.{l}.self_attn.k_norm",
            Self::Sinks => "model.layers.{l}.self_attn.sinks",
            Self::AttentionOutput => "model.layers.{l}.self_attn.o_proj",
            Self::PostAttentionNorm => "model.layers.{l}.post_self_attn_layernorm",
            Self::FfnNorm => "model.layers.{l}.post_attention_layernorm",
            Self::FfnGate => "model.layers.{l}.mlp.gate_proj",
            Self::FfnUp => "model.layers.{l}.mlp.up_proj",
            Self::FfnGateUp => "model.layers.{l}.mlp.gate_up_proj",
            Self::FfnDown => "model.layers.{l}.mlp.down_proj",
            Self::PostFfnNorm => "model.layers.{l}.post_feedforward_layernorm",
            Self::Router => "model.layers.{l}.mlp.gate",
            Self::ExpertGate => "model.layers.{l}.mlp.experts.{e}.gate_proj",
            Self::ExpertUp => "model.layers.{l}.mlp.experts.{e}.up_proj",
            Self::ExpertGateUp => "model.layers.{l}.mlp.experts.gate_up_proj",
            Self::ExpertDown => "model.layers.{l}.mlp.experts.{e}.down_proj",
            Self::SharedRouter => "model.layers.{l}.mlp.shared_expert_gate",
            Self::SharedGate => "model.layers.{l}.mlp.shared_expert.gate_proj",
            Self::SharedUp => "model.layers.{l}.mlp.shared_expert.up_proj",
            Self::SharedDown => "model.layers.{l}.mlp.shared_expert.down_proj",
        }
    }

    fn gguf_pattern(self) -> &'static str {
        match self {
            Self::Embedding => "token_embd",
            Self::Positions => "position_embd",
            Self::TokenTypes => "token_types",
            Self::EmbeddingNorm => "token_embd_norm",
            Self::OutputNorm => "output_norm",
            Self::Output => "output",
            Self::RopeFreqs => "rope_freqs",
            Self::RopeShort => "rope_factors_short",
            Self::RopeLong => "rope_factors_long",
            Self::AttentionNorm => "blk.{l}.attn_norm",
            Self::Q => "blk.{l}.attn_q",
            Self::K => "blk.{l}.attn_k",
            Self::V => "blk.{l}.attn_v",
            Self::Qkv => "blk.{l}.attn_qkv",
            Self::QNorm => "blk.{l}.attn_q_norm",
            Self::KNorm => "blk.{l}.attn_k_norm",
            Self::Sinks => "blk.{l}.attn_sinks",
            Self::AttentionOutput => "blk.{l}.attn_output",
            Self::PostAttentionNorm => "blk.{l}.post_attention_norm",
            Self::FfnNorm => "blk.{l}.ffn_norm",
            Self::FfnGate => "blk.{l}.ffn_gate",
            // Where there is no gate beside it, it may be both.
            Self::FfnUp | Self::FfnGateUp => "blk.{l}.ffn_up",
            Self::FfnDown => "blk.{l}.ffn_down",
            Self::PostFfnNorm => "blk.{l}.post_ffw_norm",
            Self::Router => "blk.{l}.ffn_gate_inp",
            Self::ExpertGate => "blk.{l}.ffn_gate_exps",
            Self::ExpertUp => "blk.{l}.ffn_up_exps",
            Self::ExpertGateUp => "",
            Self::ExpertDown => "blk.{l}.ffn_down_exps",
            Self::SharedRouter => "blk.{l}.ffn_gate_inp_shexp",
            Self::SharedGate => "blk.{l}.ffn_gate_shexp",
            Self::SharedUp => "blk.{l}.ffn_up_shexp",
            Self::SharedDown => "blk.{l}.ffn_down_shexp",
        }
    }
}
