//! From a vector for each token to one for the text.

use super::source::EmbedderError;
use std::fmt;

/// How the vectors of a text's tokens become its embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The first token's, which BERT calls `[CLS]`.
    Cls,
    /// The last token's.
    Last,
    /// They stay: an embedding is one vector a token.
    None,
}

impl Pooling {
    /// The name that [`std::str::FromStr`] takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Cls => "cls",
            Self::Last => "last",
            Self::None => "none",
        }
    }

    /// From `pooling_type` of a GGUF file.
    pub(super) fn from_gguf(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Mean),
            2 => Some(Self::Cls),
            3 => Some(Self::Last),
            _ => None,
        }
    }
}

impl fmt::Display for Pooling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Pooling {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "mean" => Ok(Self::Mean),
            "cls" => Ok(Self::Cls),
            "last" => Ok(Self::Last),
            "none" => Ok(Self::None),
            other => Err(format!(
                "unknown pooling `{other}`, expected mean, cls, last or none"
            )),
        }
    }
}

/// Takes in a text's vectors, in order and in as many pieces as they come in.
#[derive(Debug)]
pub(super) struct Pool {
    pooling: Pooling,
    width: usize,
    num_tokens: usize,
    /// `[width]`, or with [`Pooling::None`] `[tokens, width]`.
    values: Vec<f32>,
}

impl Pool {
    pub(super) fn new(pooling: Pooling, width: usize) -> Self {
        Self {
            pooling,
            width,
            num_tokens: 0,
            values: Vec::new(),
        }
    }

    /// Adds the next vectors, `[tokens, width]`.
    pub(super) fn add(&mut self, states: &[f32]) {
        for state in states.chunks_exact(self.width) {
            let is_first = self.num_tokens == 0;
            self.num_tokens += 1;
            match self.pooling {
                Pooling::None => self.values.extend_from_slice(state),
                // Token after token, so that pieces change nothing.
                Pooling::Mean if !is_first => {
                    for (sum, x) in self.values.iter_mut().zip(state) {
                        *sum += x;
                    }
                }
                Pooling::Cls if !is_first => {}
                Pooling::Mean | Pooling::Cls | Pooling::Last => {
                    self.values.clear();
                    self.values.extend_from_slice(state);
                }
            }
        }
    }

    /// The embedding.
    pub(super) fn finish(mut self) -> Vec<f32> {
        if self.pooling == Pooling::Mean {
            let count = self.num_tokens.max(1) as f32;
            for x in &mut self.values {
                *x /= count;
            }
        }
        self.values
    }
}

/// Divides each vector by its length; one of zeros stays.
///
/// Source: PyTorch's `normalize`, whose smallest divisor is 1e-12.
pub(super) fn normalise(values: &mut [f32], width: usize) {
    for vector in values.chunks_exact_mut(width) {
        let squares: f64 = vector.iter().map(|&x| f64::from(x).powi(2)).sum();
        let length = squares.sqrt().max(1e-12) as f32;
        for x in vector {
            *x /= length;
        }
    }
}

/// Leaves the first `dimensions` elements of each vector.
pub(super) fn shorten(values: &mut Vec<f32>, width: usize, dimensions: usize) {
    let num_vectors = values.len() / width;
    for i in 0..num_vectors {
        values.copy_within(i * width..i * width + dimensions, i * dimensions);
    }
    values.truncate(num_vectors * dimensions);
}

/// From the settings of a sentence-transformers model: which of its modes is on.
pub(super) fn from_modes(modes: &[(&str, bool)]) -> Result<Option<Pooling>, EmbedderError> {
    let mut on = modes.iter().filter(|(_, is_on)| *is_on);
    let Some((mode, _)) = on.next() else {
        return Ok(None);
    };
    let unsupported = |found: String| EmbedderError::Pooling { found };
    if let Some((other, _)) = on.next() {
        return Err(unsupported(format!("{mode} together with {other}")));
    }
    match *mode {
        "pooling_mode_mean_tokens" => Ok(Some(Pooling::Mean)),
        "pooling_mode_cls_token" => Ok(Some(Pooling::Cls)),
        "pooling_mode_lasttoken" => Ok(Some(Pooling::Last)),
        other => Err(unsupported(other.to_owned())),
    }
}
