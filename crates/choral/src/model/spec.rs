//! What a decoder is made of, as data.

use super::{Hyper, Key, ModelError};
use choral_kernels::attention::MAX_HEAD_DIM;

/// Whether a family's files hold a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// Not demanded, but used where it is there: GGUF has no flag for biases, so
    /// one that a file holds is meant.
    IfPresent,
    /// Part of this model: its absence is an error.
    Always,
}

impl Stored {
    /// From a configuration's flag.
    pub fn if_set(flag: bool) -> Self {
        if flag { Self::Always } else { Self::IfPresent }
    }
}

/// How rotary frequencies are stretched beyond the trained context.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// Positions divided by a factor (Chen et al., 2023).
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3.1's smooth split between low and high frequencies.
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f64,
        /// Wavelengths above `original_context / low_freq_factor` are divided.
        low_freq_factor: f64,
        /// Wavelengths below `original_context / high_freq_factor` stay.
        high_freq_factor: f64,
        /// Context of the original training.
        original_context: f64,
    },
    /// `YaRN` (Peng et al., 2023).
    Yarn {
        /// Divisor of the low frequencies.
        factor: f64,
        /// Context of the original training.
        original_context: f64,
        /// Rotations above which a frequency stays.
        beta_fast: f64,
        /// Rotations below which it is divided.
        beta_slow: f64,
        /// Multiplies cosines and sines.
        attention_factor: f64,
        /// Whether the ramp's ends are rounded to whole dimensions.
        truncate: bool,
    },
}

/// Rotary position embedding of one model.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeSpec {
    /// Base of the frequencies.
    pub theta: f64,
    /// Leading elements of a head that are rotated.
    pub dim: usize,
    /// How frequencies are stretched.
    pub scaling: RopeScaling,
}

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
    /// Width of the gated feed-forward part.
    pub ffn_size: usize,
    /// Added to the mean square in norms.
    pub norm_eps: f32,
    /// Rotary position embedding.
    pub rope: RopeSpec,
    /// Longest sequence that the model was made for.
    pub max_context: usize,
    /// Per layer: how many positions a query sees, itself included.
    pub windows: Vec<Option<usize>>,
    /// The output matrix is the embedding.
    pub tied_embeddings: bool,
    /// RMS norm on each head of Q and K.
    pub qk_norm: bool,
    /// Biases of Q, K and V.
    pub qkv_bias: Stored,
    /// Bias of the attention's output.
    pub attention_output_bias: Stored,
    /// Biases of the feed-forward part.
    pub ffn_bias: Stored,
    /// GGUF files of this family store Q and K rows for interleaved rotation.
    pub qk_interleaved_in_gguf: bool,
}

const HIDDEN: Key = Key::new("hidden_size", "embedding_length");
const LAYERS: Key = Key::new("num_hidden_layers", "block_count");
const HEADS: Key = Key::new("num_attention_heads", "attention.head_count");
const KV_HEADS: Key = Key::new("num_key_value_heads", "attention.head_count_kv");
const HEAD_DIM: Key = Key::new("head_dim", "attention.key_length");
const VALUE_DIM: Key = Key::gguf("attention.value_length");
const FFN: Key = Key::new("intermediate_size", "feed_forward_length");
const CONTEXT: Key = Key::new("max_position_embeddings", "context_length");
const EPS: Key = Key::new("rms_norm_eps", "attention.layer_norm_rms_epsilon");

/// No released model comes near; a header that says more is not to be believed.
const MAX_WIDTH: usize = 1 << 20;

impl DecoderSpec {
    /// Reads what all families of Llama's shape share: pre-norm layers, grouped
    /// query attention with rotation, a `SwiGLU` feed-forward part.
    ///
    /// # Errors
    /// If a setting is missing, of another type or not possible.
    pub fn standard(hyper: &Hyper<'_>) -> Result<Self, ModelError> {
        let hidden_size = hyper.bounded(HIDDEN, 1..=MAX_WIDTH)?;
        let num_layers = hyper.bounded(LAYERS, 1..=hyper.tensor_count())?;
        let num_heads = hyper.bounded(HEADS, 1..=hidden_size)?;
        let num_kv_heads = hyper.usize(KV_HEADS)?.unwrap_or(num_heads);
        if num_kv_heads == 0 || !num_heads.is_multiple_of(num_kv_heads) {
            let expected = format!("a divisor of the {num_heads} query heads");
            return Err(hyper.invalid(KV_HEADS, expected, num_kv_heads));
        }
        let head_dim = match hyper.usize(HEAD_DIM)? {
            Some(head_dim) => head_dim,
            None if hidden_size.is_multiple_of(num_heads) => hidden_size / num_heads,
            None => {
                let expected = format!("a divisor of the width {hidden_size}");
                return Err(hyper.invalid(HEADS, expected, num_heads));
            }
        };
        if head_dim == 0 || head_dim > MAX_HEAD_DIM || !head_dim.is_multiple_of(2) {
            let expected = format!("an even number up to {MAX_HEAD_DIM}");
            return Err(hyper.invalid(HEAD_DIM, expected, head_dim));
        }
        if let Some(value_dim) = hyper.gguf_usize(VALUE_DIM)?.filter(|&v| v != head_dim) {
            return Err(hyper.invalid(VALUE_DIM, format!("{head_dim}, as keys have"), value_dim));
        }
        let norm_eps = hyper.f32(EPS)?.unwrap_or(1e-6);
        if !(norm_eps.is_finite() && norm_eps >= 0.0) {
            return Err(hyper.invalid(EPS, "a number that is not negative", norm_eps));
        }
        hyper.require_silu()?;
        Ok(Self {
            vocab_size: hyper.vocab_size()?,
            hidden_size,
            num_layers,
            num_heads,
            num_kv_heads,
            head_dim,
            ffn_size: hyper.bounded(FFN, 1..=MAX_WIDTH)?,
            norm_eps,
            rope: hyper.rope(head_dim)?,
            max_context: hyper
                .bounded(CONTEXT, 1..=usize::MAX)?
                .min(u32::MAX as usize),
            windows: vec![None; num_layers],
            tied_embeddings: hyper.tied_embeddings()?,
            qk_norm: false,
            qkv_bias: Stored::IfPresent,
            attention_output_bias: Stored::IfPresent,
            ffn_bias: Stored::IfPresent,
            qk_interleaved_in_gguf: false,
        })
    }

    /// Elements of all query heads.
    pub fn q_width(&self) -> usize {
        self.num_heads * self.head_dim
    }

    /// Elements of all key heads (and of all value heads).
    pub fn kv_width(&self) -> usize {
        self.num_kv_heads * self.head_dim
    }

    /// Weights in the matrices that every token runs through, the output's included.
    pub fn matrix_weights(&self) -> usize {
        let attention = self.hidden_size * (2 * self.q_width() + 2 * self.kv_width());
        let ffn = 3 * self.hidden_size * self.ffn_size;
        self.num_layers * (attention + ffn) + self.vocab_size * self.hidden_size
    }
}
