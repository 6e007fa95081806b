//! Why no token could be drawn.

use super::ParamError;

/// Why no token could be drawn from a row of logits. It ends the sequence, not
/// the engine.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SampleError {
    /// A logit is NaN or +inf: the model, or its arithmetic, is broken.
    #[error("logit of token {token_id} is {value}, expected a finite number or -inf")]
    NotFinite {
        /// The lowest token whose logit it is.
        token_id: u32,
        /// NaN or +inf.
        value: f32,
    },
    /// A penalty or a bias took a finite logit out of the range of `f32`.
    #[error("logit of token {token_id} overflows to {value} under `{field}`")]
    Overflow {
        /// The token.
        token_id: u32,
        /// What its logit became.
        value: f32,
        /// The parameter that did it.
        field: &'static str,
    },
    /// Nothing is left to draw: every token is banned or has the logit -inf.
    #[error("no token can be drawn: all {vocab_size} are banned or have the logit -inf")]
    NothingLeft {
        /// Width of the row.
        vocab_size: usize,
    },
    /// A token id lies outside of the row of logits.
    #[error("token {token_id} is outside of the vocabulary of {vocab_size}")]
    UnknownToken {
        /// The token.
        token_id: u32,
        /// Width of the row.
        vocab_size: usize,
    },
    /// A parameter of a strategy is out of its range.
    #[error(transparent)]
    Param(#[from] ParamError),
}
