//! Norms of vectors.

use crate::Isa;
use crate::isa::Kernel;
use crate::simd::{LANES, Simd};

/// `out = x / sqrt(mean(x^2) + eps) * weight`, all of the same length.
///
/// Lane `i` sums the squares of `x[i], x[i + 16], ...` in that order; the lanes
/// are then added in halves. Source: Zhang and Sennrich, 2019.
///
/// # Panics
/// If the lengths differ.
pub fn rms_norm(isa: Isa, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    assert!(
        x.len() == weight.len() && x.len() == out.len(),
        "lengths of a norm"
    );
    isa.run(RmsNorm {
        x,
        weight,
        eps,
        out,
    });
}

/// [`rms_norm`] of a vector that it replaces.
///
/// # Panics
/// If the lengths differ.
pub fn rms_norm_in_place(isa: Isa, x: &mut [f32], weight: &[f32], eps: f32) {
    assert!(x.len() == weight.len(), "lengths of a norm");
    isa.run(RmsNormInPlace { x, weight, eps });
}

/// `x = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias`, all of the same length
/// (Ba et al., 2016), for `out` from `x`. Sums as in [`rms_norm`].
///
/// # Panics
/// If the lengths differ.
pub fn layer_norm(
    isa: Isa,
    x: &[f32],
    (weight, bias): (&[f32], &[f32]),
    eps: f32,
    out: &mut [f32],
) {
    assert!(
        x.len() == weight.len() && x.len() == bias.len() && x.len() == out.len(),
        "lengths of a norm"
    );
    isa.run(LayerNorm {
        x,
        weight,
        bias,
        eps,
        out,
    });
}

struct LayerNorm<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}

impl Kernel for LayerNorm<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let n = self.x.len() as f32;
        let (chunks, tail) = self.x.as_chunks::<LANES>();
        let mut sums = simd.splat(0.0);
        for chunk in chunks {
            sums = simd.add(sums, simd.load(chunk));
        }
        let mut padded = [0.0; LANES];
        padded[..tail.len()].copy_from_slice(tail);
        sums = simd.add(sums, simd.load(&padded));
        let mean = simd.sum(sums) / n;
        let mut squares = simd.splat(0.0);
        for chunk in chunks {
            let d = simd.sub(simd.load(chunk), simd.splat(mean));
            squares = simd.fma(d, d, squares);
        }
        let d = simd.sub(simd.load(&padded), simd.splat(mean));
        let d = simd.keep(d, 0, tail.len(), 0.0);
        squares = simd.fma(d, d, squares);
        let scale = 1.0 / (simd.sum(squares) / n + self.eps).sqrt();
        let weights = self.weight.iter().zip(self.bias);
        for ((out, &x), (&weight, &bias)) in self.out.iter_mut().zip(self.x).zip(weights) {
            *out = (x - mean) * scale * weight + bias;
        }
    }
}

struct RmsNorm<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}

impl Kernel for RmsNorm<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let scale = scale(simd, self.x, self.eps);
        for ((out, &x), &weight) in self.out.iter_mut().zip(self.x).zip(self.weight) {
            *out = x * scale * weight;
        }
    }
}

struct RmsNormInPlace<'a> {
    x: &'a mut [f32],
    weight: &'a [f32],
    eps: f32,
}

impl Kernel for RmsNormInPlace<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let scale = scale(simd, self.x, self.eps);
        for (x, &weight) in self.x.iter_mut().zip(self.weight) {
            *x = *x * scale * weight;
        }
    }
}

/// One over the root of the mean square.
#[inline(always)]
fn scale<S: Simd>(simd: S, x: &[f32], eps: f32) -> f32 {
    let (chunks, tail) = x.as_chunks::<LANES>();
    let mut squares = simd.splat(0.0);
    for chunk in chunks {
        let v = simd.load(chunk);
        squares = simd.fma(v, v, squares);
    }
    if !tail.is_empty() {
        let mut padded = [0.0; LANES];
        padded[..tail.len()].copy_from_slice(tail);
        let v = simd.load(&padded);
        squares = simd.fma(v, v, squares);
    }
    let mean = simd.sum(squares) / x.len() as f32;
    1.0 / (mean + eps).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_formula_and_every_instruction_set_agrees() {
        for len in [1, 5, 16, 24, 33, 896] {
            let x: Vec<f32> = (0..len).map(|i| (i as f32 * 0.37).sin() * 3.0).collect();
            let weight: Vec<f32> = (0..len).map(|i| 1.0 + i as f32 / 100.0).collect();
            let mean = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / len as f64;
            let mut want = vec![0.0; len];
            rms_norm(Isa::Scalar, &x, &weight, 1e-5, &mut want);
            for i in 0..len {
                let exact = f64::from(x[i]) / (mean + 1e-5).sqrt() * f64::from(weight[i]);
                assert!((f64::from(want[i]) - exact).abs() <= 1e-6 * exact.abs().max(1.0));
            }
            for isa in Isa::available() {
                let mut got = vec![0.0; len];
                rms_norm(isa, &x, &weight, 1e-5, &mut got);
                assert_eq!(got, want, "{}", isa.name());
                let mut got = x.clone();
                rms_norm_in_place(isa, &mut got, &weight, 1e-5);
                assert_eq!(got, want, "{} in place", isa.name());
            }
        }
    }

    #[test]
    fn a_layer_norm_equals_its_formula_and_every_instruction_set_agrees() {
        for len in [1, 5, 16, 24, 33, 768] {
            let x: Vec<f32> = (0..len)
                .map(|i| (i as f32 * 0.37).sin() * 3.0 + 1.5)
                .collect();
            let weight: Vec<f32> = (0..len).map(|i| 1.0 + i as f32 / 100.0).collect();
            let bias: Vec<f32> = (0..len).map(|i| i as f32 / 50.0 - 1.0).collect();
            let n = len as f64;
            let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
            let variance = x
                .iter()
                .map(|&x| (f64::from(x) - mean).powi(2))
                .sum::<f64>()
                / n;
            let mut want = vec![0.0; len];
            layer_norm(Isa::Scalar, &x, (&weight, &bias), 1e-5, &mut want);
            for i in 0..len {
                let exact = (f64::from(x[i]) - mean) / (variance + 1e-5).sqrt()
                    * f64::from(weight[i])
                    + f64::from(bias[i]);
                assert!((f64::from(want[i]) - exact).abs() <= 4e-6 * exact.abs().max(1.0));
            }
            for isa in Isa::available() {
                let mut got = vec![0.0; len];
                layer_norm(isa, &x, (&weight, &bias), 1e-5, &mut got);
                assert_eq!(got, want, "{}", isa.name());
            }
        }
    }
}
