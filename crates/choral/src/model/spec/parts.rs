//! The parts that decoders are made of, as data.

use crate::model::Role;

pub use choral_kernels::activation::Activation;

/// The two naming schemes of tensors and settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// A GGUF file's.
    Gguf,
    /// A Hugging Face directory's.
    Hf,
}

/// Tensors that a family calls otherwise than Llama does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    /// In GGUF files.
    pub gguf: &'static [(Role, &'static str)],
    /// In safetensors files.
    pub hf: &'static [(Role, &'static str)],
    /// What stands there for the `model` that names begin with.
    pub hf_root: &'static str,
}

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

/// What a norm divides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// The root mean square (Zhang and Sennrich, 2019).
    Rms,
    /// The standard deviation, after the mean is taken off (Ba et al., 2016); with a
    /// bias.
    Layer,
}

/// The norms of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormSpec {
    /// What they divide by.
    pub kind: NormKind,
    /// Added to the mean square.
    pub eps: f32,
    /// Added to the weights that a safetensors file holds: Gemma's are stored less 1
    /// there, and as they are in GGUF files.
    pub hf_offset: f32,
}

/// Where the norms of a layer stand, and what attention and feed-forward part are
/// added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Before each part: `x + part(norm(x))`.
    Before,
    /// After each part: `x + norm(part(x))`.
    After,
    /// Both: `x + norm(part(norm(x)))`.
    Around,
    /// One norm, and both parts beside each other: `x + attention(y) + ffn(y)` with
    /// `y = norm(x)`.
    Parallel,
}

/// Norms of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// None.
    None,
    /// Of each head on its own, with the same weights.
    Head,
    /// Of all heads as one vector.
    Whole,
}

/// A feed-forward part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FfnSpec {
    /// Its inner width.
    pub size: usize,
    /// Whether it is `down(act(gate(x)) * up(x))` (Shazeer, 2020); else
    /// `down(act(up(x)))`.
    pub gated: bool,
    /// Its nonlinearity.
    pub activation: Activation,
}

/// A part of many feed-forward parts, of which a router chooses some for each token
/// (Shazeer et al., 2017).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MoeSpec {
    /// How many there are.
    pub num_experts: usize,
    /// How many a token goes through.
    pub num_chosen: usize,
    /// Inner width of each.
    pub size: usize,
    /// Whether the shares of the chosen are made to sum to 1.
    pub normalised: bool,
    /// Bias of the router.
    pub router_bias: Stored,
    /// Inner width of one that all tokens go through, 0 for none. Its share is a
    /// sigmoid of its own.
    pub shared_size: usize,
}

/// What follows attention in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ffn {
    /// One part for all tokens.
    Dense,
    /// Experts.
    Experts,
}

/// What differs from layer to layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerSpec {
    /// How many positions a query sees, itself included.
    pub window: Option<usize>,
    /// Which of the model's rotary embeddings; `None` leaves Q and K as they are.
    pub rope: Option<usize>,
    /// What follows attention.
    pub ffn: Ffn,
}

/// How attention weighs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionSpec {
    /// Multiplies the scores.
    pub scale: f32,
    /// Scores become `cap * tanh(score / cap)`.
    pub softcap: Option<f32>,
    /// Whether each head has a sink: one more score, with no value.
    pub sinks: bool,
    /// Whether a token sees those behind it too, as in an encoder.
    pub bidirectional: bool,
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
    /// A base that grows with the context ("dynamic NTK"): with the longest that a
    /// sequence may become, so that a position's angle does not depend on how far its
    /// sequence has come.
    Ntk {
        /// How fast it grows.
        factor: f64,
        /// Up to this context it is `theta`.
        original_context: usize,
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
    /// `LongRoPE` (Ding et al., 2024): a divisor a frequency, and others beyond the
    /// context of the original training. GGUF files hold them as tensors, so the
    /// lists are empty there.
    Long {
        /// Divisors within the original context.
        short: Vec<f32>,
        /// Divisors beyond it.
        long: Vec<f32>,
        /// Context of the original training.
        original_context: usize,
        /// Multiplies cosines and sines.
        attention_factor: f64,
    },
}

/// Rotary position embedding of some layers.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeSpec {
    /// Base of the frequencies.
    pub theta: f64,
    /// Leading elements of a head that are rotated.
    pub dim: usize,
    /// How frequencies are stretched.
    pub scaling: RopeScaling,
    /// Where a token's position is three numbers (time, height, width): how many pairs
    /// of elements, one behind the other, each of them turns. (Wang et al., 2024,
    /// M-RoPE.)
    pub sections: Option<[usize; 3]>,
}
