//! What a decoder is made of, as data.

mod parts;

pub use parts::{
    Activation, AttentionSpec, Ffn, FfnSpec, LayerSpec, MoeSpec, Names, NormKind, NormSpec,
    Placement, QkNorm, RopeScaling, RopeSpec, Scheme, Stored,
};

use super::{Hyper, Key, ModelError};
use choral_kernels::attention::MAX_HEAD_DIM;

/// A decoder-only transformer, as data. [`crate::model::Model`] runs it.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderSpec {
    /// Rows of the embedding and width of the logits.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Layers.
    pub num_layers: usize,
    /// Query heads.
    pub num_heads: usize,
    /// Key and value heads; divides the query heads.
    pub num_kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Its norms.
    pub norm: NormSpec,
    /// Where they stand.
    pub placement: Placement,
    /// Norms of queries and keys.
    pub qk_norm: QkNorm,
    /// How attention weighs.
    pub attention: AttentionSpec,
    /// The feed-forward part of dense layers.
    pub ffn: FfnSpec,
    /// That of the others.
    pub moe: Option<MoeSpec>,
    /// What differs from layer to layer.
    pub layers: Vec<LayerSpec>,
    /// The rotary embeddings that layers name.
    pub ropes: Vec<RopeSpec>,
    /// Whether a learned vector a position is added to the embedding.
    pub learned_positions: bool,
    /// Multiplies embeddings.
    pub embedding_scale: f32,
    /// Multiplies what attention and feed-forward parts add.
    pub residual_scale: f32,
    /// Multiplies logits.
    pub logit_scale: f32,
    /// Logits become `cap * tanh(logit / cap)`, after they were scaled.
    pub logit_softcap: Option<f32>,
    /// Longest sequence that the model was made for.
    pub max_context: usize,
    /// The output matrix is the embedding.
    pub tied_embeddings: bool,
    /// Biases of Q, K and V.
    pub qkv_bias: Stored,
    /// Bias of the attention's output.
    pub attention_output_bias: Stored,
    /// Biases of the feed-forward part.
    pub ffn_bias: Stored,
    /// Files of this family that store Q and K for interleaved rotation: pairs of
    /// neighbours, not of halves.
    pub interleaved_in: &'static [Scheme],
    /// Whether safetensors files store matrices as `[inputs, outputs]`.
    pub hf_transposed: bool,
    /// The family's own names of tensors, by format.
    pub names: Names,
}

/// What a family calls the settings that all have.
#[derive(Debug, Clone, Copy)]
pub struct Keys {
    /// Width of the residual stream.
    pub hidden: Key,
    /// Layers.
    pub layers: Key,
    /// Query heads.
    pub heads: Key,
    /// Key and value heads; as many as query heads if not said.
    pub kv_heads: Key,
    /// Inner width of the feed-forward part.
    pub ffn: Key,
    /// How many widths that is where a `config.json` has `null` for it; refused if `None`.
    pub ffn_widths: Option<usize>,
    /// Longest sequence.
    pub context: Key,
    /// Added to the mean square in norms.
    pub eps: Key,
}

impl Keys {
    /// Llama's, and most others'.
    pub const LLAMA: Self = Self {
        hidden: Key::new("hidden_size", "embedding_length"),
        layers: Key::new("num_hidden_layers", "block_count"),
        heads: Key::new("num_attention_heads", "attention.head_count"),
        kv_heads: Key::new("num_key_value_heads", "attention.head_count_kv"),
        ffn: Key::new("intermediate_size", "feed_forward_length"),
        ffn_widths: None,
        context: Key::new("max_position_embeddings", "context_length"),
        eps: Key::new("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
    };
}

const HEAD_DIM: Key = Key::new("head_dim", "attention.key_length");
const VALUE_DIM: Key = Key::gguf("attention.value_length");
const EXPERT_SIZE: Key = Key::gguf("expert_feed_forward_length");

/// No released model comes near; a header that says more is not to be believed.
const MAX_WIDTH: usize = 1 << 20;

impl DecoderSpec {
    /// Reads what all families of Llama's shape share: pre-norm layers, grouped
    /// query attention with rotation, a `SwiGLU` feed-forward part.
    ///
    /// # Errors
    /// If a setting is missing, of another type or not possible.
    pub fn standard(hyper: &Hyper<'_>) -> Result<Self, ModelError> {
        Self::read(hyper, &Keys::LLAMA)
    }

    /// The same, under other names.
    ///
    /// # Errors
    /// As [`standard`](Self::standard).
    pub fn read(hyper: &Hyper<'_>, keys: &Keys) -> Result<Self, ModelError> {
        let hidden_size = hyper.bounded(keys.hidden, 1..=MAX_WIDTH)?;
        let num_layers = hyper.bounded(keys.layers, 1..=hyper.tensor_count())?;
        let num_heads = hyper.bounded(keys.heads, 1..=hidden_size)?;
        let num_kv_heads = hyper.usize(keys.kv_heads)?.unwrap_or(num_heads);
        if num_kv_heads == 0 || !num_heads.is_multiple_of(num_kv_heads) {
            let expected = format!("a divisor of the {num_heads} query heads");
            return Err(hyper.invalid(keys.kv_heads, expected, num_kv_heads));
        }
        let head_dim = match hyper.usize(HEAD_DIM)? {
            Some(head_dim) => head_dim,
            None if hidden_size.is_multiple_of(num_heads) => hidden_size / num_heads,
            None => {
                let expected = format!("a divisor of the width {hidden_size}");
                return Err(hyper.invalid(keys.heads, expected, num_heads));
            }
        };
        if head_dim == 0 || head_dim > MAX_HEAD_DIM || !head_dim.is_multiple_of(2) {
            let expected = format!("an even number up to {MAX_HEAD_DIM}");
            return Err(hyper.invalid(HEAD_DIM, expected, head_dim));
        }
        if let Some(value_dim) = hyper.gguf_usize(VALUE_DIM)?.filter(|&v| v != head_dim) {
            return Err(hyper.invalid(VALUE_DIM, format!("{head_dim}, as keys have"), value_dim));
        }
        Ok(Self {
            vocab_size: hyper.vocab_size()?,
            hidden_size,
            num_layers,
            num_heads,
            num_kv_heads,
            head_dim,
            norm: NormSpec {
                kind: NormKind::Rms,
                eps: hyper.epsilon(keys.eps)?,
                hf_offset: 0.0,
            },
            placement: Placement::Before,
            qk_norm: QkNorm::None,
            attention: AttentionSpec {
                scale: 1.0 / (head_dim as f32).sqrt(),
                softcap: None,
                sinks: false,
                bidirectional: false,
            },
            ffn: FfnSpec {
                size: match (hyper.usize(keys.ffn)?, keys.ffn_widths) {
                    (None, Some(widths)) if !hyper.is_gguf() => widths * hidden_size,
                    // A file of experts only need not state the width of dense layers.
                    (None, _) if hyper.gguf_usize(EXPERT_SIZE)?.is_some() => {
                        hyper.bounded(EXPERT_SIZE, 1..=MAX_WIDTH)?
                    }
                    _ => hyper.bounded(keys.ffn, 1..=MAX_WIDTH)?,
                },
                gated: true,
                activation: hyper.activation()?.unwrap_or(Activation::Silu),
            },
            moe: None,
            layers: vec![
                LayerSpec {
                    window: None,
                    rope: Some(0),
                    ffn: Ffn::Dense,
                };
                num_layers
            ],
            ropes: vec![hyper.rope(head_dim)?],
            learned_positions: false,
            embedding_scale: 1.0,
            residual_scale: 1.0,
            logit_scale: 1.0,
            logit_softcap: None,
            max_context: hyper
                .bounded(keys.context, 1..=usize::MAX)?
                .min(u32::MAX as usize),
            tied_embeddings: hyper.tied_embeddings()?,
            qkv_bias: Stored::IfPresent,
            attention_output_bias: Stored::IfPresent,
            ffn_bias: Stored::IfPresent,
            interleaved_in: &[],
            hf_transposed: false,
            names: hyper.names,
        })
    }

    /// Gives each layer its window.
    pub fn set_windows(&mut self, windows: impl IntoIterator<Item = Option<usize>>) {
        for (layer, window) in self.layers.iter_mut().zip(windows) {
            layer.window = window;
        }
    }

    /// Gives experts, if there are any, to the layers that `is_sparse`.
    pub fn set_experts(&mut self, moe: Option<MoeSpec>, is_sparse: impl Fn(usize) -> bool) {
        self.moe = moe;
        for (index, layer) in self.layers.iter_mut().enumerate() {
            if moe.is_some() && is_sparse(index) {
                layer.ffn = Ffn::Experts;
            }
        }
    }

    /// Whether pictures may stand in its prompts: positions are of three numbers then.
    pub fn takes_images(&self) -> bool {
        self.ropes.iter().any(|rope| rope.sections.is_some())
    }

    /// Elements of all query heads.
    pub fn q_width(&self) -> usize {
        self.num_heads * self.head_dim
    }

    /// Elements of all key heads (and of all value heads).
    pub fn kv_width(&self) -> usize {
        self.num_kv_heads * self.head_dim
    }

    /// Weights in the matrices that every token runs through, the output's included;
    /// of experts, as many as are chosen.
    pub fn matrix_weights(&self) -> usize {
        let attention = self.hidden_size * (2 * self.q_width() + 2 * self.kv_width());
        let of = |size: usize| (2 + usize::from(self.ffn.gated)) * self.hidden_size * size;
        let ffn = |layer: &LayerSpec| match (layer.ffn, &self.moe) {
            (Ffn::Experts, Some(moe)) => of(moe.num_chosen * moe.size + moe.shared_size),
            _ => of(self.ffn.size),
        };
        let layers: usize = self.layers.iter().map(|l| attention + ffn(l)).sum();
        layers + self.vocab_size * self.hidden_size
    }
}
