//! What tensors are called in either file format.

use choral_formats::ModelFile;

/// What a tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Token embedding `[vocab, hidden]`.
    Embedding,
    /// Norm before the output matrix.
    OutputNorm,
    /// Output matrix `[vocab, hidden]`.
    Output,
    /// Norm before attention.
    AttentionNorm,
    /// Query matrix.
    Q,
    /// Key matrix.
    K,
    /// Value matrix.
    V,
    /// Norm of each query head.
    QNorm,
    /// Norm of each key head.
    KNorm,
    /// Attention's output matrix.
    AttentionOutput,
    /// Norm before the feed-forward part.
    FfnNorm,
    /// Gate of the feed-forward part.
    FfnGate,
    /// Its other input matrix.
    FfnUp,
    /// Its output matrix.
    FfnDown,
    /// Divisors of the rotary frequencies (GGUF only).
    RopeFreqs,
}

/// The two naming schemes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Gguf,
    Hf,
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
    /// The tensor's name without `.weight` or `.bias`.
    pub(super) fn name(self, scheme: Scheme, layer: usize) -> String {
        let (hf, gguf) = match self {
            Self::Embedding => ("model.embed_tokens", "token_embd"),
            Self::OutputNorm => ("model.norm", "output_norm"),
            Self::Output => ("lm_head", "output"),
            Self::RopeFreqs => ("", "rope_freqs"),
            Self::AttentionNorm => ("input_layernorm", "attn_norm"),
            Self::Q => ("self_attn.q_proj", "attn_q"),
            Self::K => ("self_attn.k_proj", "attn_k"),
            Self::V => ("self_attn.v_proj", "attn_v"),
            Self::QNorm => ("self_attn.q_norm", "attn_q_norm"),
            Self::KNorm => ("self_attn.k_norm", "attn_k_norm"),
            Self::AttentionOutput => ("self_attn.o_proj", "attn_output"),
            Self::FfnNorm => ("post_attention_layernorm", "ffn_norm"),
            Self::FfnGate => ("mlp.gate_proj", "ffn_gate"),
            Self::FfnUp => ("mlp.up_proj", "ffn_up"),
            Self::FfnDown => ("mlp.down_proj", "ffn_down"),
        };
        match (self.in_layer(), scheme) {
            (false, Scheme::Hf) => hf.to_owned(),
            (false, Scheme::Gguf) => gguf.to_owned(),
            (true, Scheme::Hf) => format!("model.layers.{layer}.{hf}"),
            (true, Scheme::Gguf) => format!("blk.{layer}.{gguf}"),
        }
    }

    fn in_layer(self) -> bool {
        !matches!(
            self,
            Self::Embedding | Self::OutputNorm | Self::Output | Self::RopeFreqs
        )
    }
}
