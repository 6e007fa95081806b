//! Frequencies of rotary embeddings, and a step's cosines and sines.

use crate::model::{RopeScaling, RopeSpec};
use std::f64::consts::PI;

/// The frequencies of one model.
#[derive(Debug, Clone)]
pub struct Rope {
    /// Radians a position, one a pair of elements.
    frequencies: Vec<f32>,
    /// Multiplies cosines and sines (`YaRN`'s attention factor).
    scale: f32,
}

impl Rope {
    /// Frequencies of a spec, for sequences of up to `context` tokens. `divisors`
    /// (`[dim / 2]`) are those of `LongRoPE`, or a GGUF file's `rope_freqs`.
    ///
    /// Source: Hugging Face `modeling_rope_utils.py`.
    #[must_use]
    pub fn new(spec: &RopeSpec, divisors: Option<&[f32]>, context: usize) -> Self {
        let dim = spec.dim as f64;
        let plain = |i: usize| spec.theta.powf(-2.0 * i as f64 / dim);
        let mut scale = 1.0;
        let scaled = |i: usize| match spec.scaling {
            RopeScaling::None | RopeScaling::Long { .. } => plain(i),
            RopeScaling::Ntk {
                factor,
                original_context,
            } => {
                let original = original_context as f64;
                let grown = factor * (context as f64).max(original) / original - (factor - 1.0);
                let theta = spec.theta * grown.powf(dim / (dim - 2.0));
                theta.powf(-2.0 * i as f64 / dim)
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
                    dim * (original_context / (rotations * 2.0 * PI)).ln() / (2.0 * spec.theta.ln())
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
        Self { frequencies, scale }
    }

    /// Pairs that are rotated.
    pub fn pairs(&self) -> usize {
        self.frequencies.len()
    }

    /// Cosines and sines of one position: `out` is `[2 * pairs]`, cosines first.
    pub fn angles(&self, position: u32, out: &mut [f32]) {
        let (cos, sin) = out.split_at_mut(self.frequencies.len());
        for ((cos, sin), frequency) in cos.iter_mut().zip(sin).zip(&self.frequencies) {
            let (s, c) = (position as f32 * frequency).sin_cos();
            (*cos, *sin) = (c * self.scale, s * self.scale);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frequencies(scaling: RopeScaling) -> Vec<f32> {
        Rope::new(
            &RopeSpec {
                theta: 10_000.0,
                dim: 8,
                scaling,
            },
            None,
            100,
        )
        .frequencies
    }

    #[test]
    fn unscaled_frequencies_are_powers_of_theta() {
        assert_eq!(frequencies(RopeScaling::None), [1.0, 0.1, 0.01, 0.001]);
    }

    #[test]
    fn linear_scaling_divides_all() {
        let quarter = frequencies(RopeScaling::Linear { factor: 4.0 });
        assert_eq!(quarter, [0.25, 0.025, 0.0025, 0.00025]);
    }

    #[test]
    fn llama3_keeps_high_frequencies_and_divides_low_ones() {
        // Wavelengths 6.3, 63, 628, 6283 in a context of 64: rotations 10.2, 1.02,
        // 0.1, 0.01 against the bounds 4 and 1.
        let got = frequencies(RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 64.0,
        });
        assert_eq!(got[0], 1.0);
        assert!(got[1] > 0.1 / 8.0 && got[1] < 0.015, "{}", got[1]);
        assert_eq!(got[2..], [0.01 / 8.0, 0.001 / 8.0]);
    }
}
