//! Frequencies of rotary embeddings, and a step's cosines and sines.
//!
//! Powers, logarithms, sines and cosines are those of the `libm` crate, the same code on
//! every machine: the system's differ in last bits from one to the next, and with them
//! tokens would.

use crate::model::{RopeScaling, RopeSpec};
use std::f64::consts::PI;

/// The frequencies of one model.
#[derive(Debug, Clone)]
pub struct Rope {
    /// Radians a position, one a pair of elements.
    frequencies: Vec<f32>,
    /// Multiplies cosines and sines (`YaRN`'s attention factor).
    scale: f32,
    /// Pairs below the first turn with a position's first number, those below the second
    /// with its second, and the others with its third.
    ends: [usize; 2],
}

impl Rope {
    /// Frequencies of a spec, for sequences of up to `context` tokens. `divisors`
    /// (`[dim / 2]`) are those of `LongRoPE`, or a GGUF file's `rope_freqs`.
    ///
    /// Source: Hugging Face `modeling_rope_utils.py`.
    #[must_use]
    pub fn new(spec: &RopeSpec, divisors: Option<&[f32]>, context: usize) -> Self {
        let dim = spec.dim as f64;
        let plain = |i: usize| libm::pow(spec.theta, -2.0 * i as f64 / dim);
        let mut scale = 1.0;
        let scaled = |i: usize| match spec.scaling {
            RopeScaling::None | RopeScaling::Long { .. } => plain(i),
            RopeScaling::Ntk {
                factor,
                original_context,
            } => {
                let original = original_context as f64;
                let grown = factor * (context as f64).max(original) / original - (factor - 1.0);
                let theta = spec.theta * libm::pow(grown, dim / (dim - 2.0));
                libm::pow(theta, -2.0 * i as f64 / dim)
            }
            RopeScaling::Linear { factor } => plain(i) / factor,
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_context,
            } => {
                let frequency = plain(i);
                let rotations = original_context * frequency / (2.0 * PI);
                let smooth = ((rotations - low_freq_factor) / (high_freq_factor - low_freq_factor))
                    .clamp(0.0, 1.0);
                (1.0 - smooth) * frequency / factor + smooth * frequency
            }
            RopeScaling::Yarn {
                factor,
                original_context,
                beta_fast,
                beta_slow,
                truncate,
                ..
            } => {
                // The (fractional) pair that turns `rotations` times in the context.
                let pair = |rotations: f64| {
                    let turns = original_context / (rotations * 2.0 * PI);
                    dim * libm::log(turns) / (2.0 * libm::log(spec.theta))
                };
                let (mut low, mut high) = (pair(beta_fast), pair(beta_slow));
                if truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                let (low, mut high) = (low.max(0.0), high.min(dim - 1.0));
                if low == high {
                    high += 0.001;
                }
                let divided = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                plain(i) * (1.0 - divided) + plain(i) / factor * divided
            }
        };
        let mut frequencies: Vec<f32> = (0..spec.dim / 2).map(|i| scaled(i) as f32).collect();
        if let RopeScaling::Yarn {
            attention_factor, ..
        }
        | RopeScaling::Long {
            attention_factor, ..
        } = spec.scaling
        {
            scale = attention_factor as f32;
        }
        for (frequency, divisor) in frequencies.iter_mut().zip(divisors.unwrap_or_default()) {
            *frequency /= divisor;
        }
        let pairs = frequencies.len();
        Self {
            frequencies,
            scale,
            ends: match spec.sections {
                Some([t, h, _]) => [t, t + h],
                None => [pairs; 2],
            },
        }
    }

    /// Pairs that are rotated.
    pub fn pairs(&self) -> usize {
        self.frequencies.len()
    }

    /// Cosines and sines of one position: `out` is `[2 * pairs]`, cosines first. Without
    /// sections only the first number counts, and of a token of text all three are the
    /// same.
    pub fn angles(&self, position: [u32; 3], out: &mut [f32]) {
        let (cos, sin) = out.split_at_mut(self.frequencies.len());
        let pairs = cos.iter_mut().zip(sin).zip(&self.frequencies);
        for (i, ((cos, sin), frequency)) in pairs.enumerate() {
            let axis = self.ends.iter().filter(|&&end| i >= end).count();
            let angle = position[axis] as f32 * frequency;
            let (s, c) = libm::sincos(f64::from(angle));
            (*cos, *sin) = (c as f32 * self.scale, s as f32 * self.scale);
        }
    }
}

#[cfg(test)]
mod tests;
