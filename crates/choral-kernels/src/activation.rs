//! Activation functions of feed-forward parts.

use crate::Isa;
use crate::isa::Kernel;
use crate::simd::{LANES, Simd};

/// What makes a feed-forward part nonlinear. `sigmoid(x) = 1 / (1 + e^-x)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// `x sigmoid(x)`.
    Silu,
    /// GELU's approximation by a tanh, `x / 2 (1 + tanh y)`, computed as the same
    /// `x sigmoid(2 y)`, with `y = sqrt(2 / pi) (x + 0.044715 x^3)` (Hendrycks and
    /// Gimpel, 2016).
    GeluTanh,
    /// GELU itself, `x / 2 (1 + erf(x / sqrt 2))`, with erf within 2e-7 (Abramowitz and
    /// Stegun, 7.1.26).
    Gelu,
    /// gpt-oss's gated one, as transformers' `modeling_gpt_oss` has it:
    /// `g sigmoid(alpha g) (u + 1)`, with `g` cut to at most `limit` and `u` to
    /// `-limit..=limit`. Without `u`, `g sigmoid(alpha g)`.
    ClampedSwiglu {
        /// Multiplies the sigmoid's argument.
        alpha: f32,
        /// Where values are cut.
        limit: f32,
    },
}

/// `out = activation(x)`, elementwise.
///
/// # Panics
/// If the lengths differ.
pub fn activate(isa: Isa, activation: Activation, x: &[f32], out: &mut [f32]) {
    assert!(x.len() == out.len(), "lengths of an activation");
    let up = None;
    isa.run(Activate {
        activation,
        x,
        up,
        out,
    });
}

/// `out = activation(gate) * up`, elementwise (Shazeer, 2020).
///
/// # Panics
/// If the lengths differ.
pub fn activate_gated(
    isa: Isa,
    activation: Activation,
    (gate, up): (&[f32], &[f32]),
    out: &mut [f32],
) {
    assert!(
        gate.len() == up.len() && gate.len() == out.len(),
        "lengths of an activation"
    );
    isa.run(Activate {
        activation,
        x: gate,
        up: Some(up),
        out,
    });
}

/// `x = cap * tanh(x / cap)`, elementwise.
pub fn softcap(isa: Isa, cap: f32, x: &mut [f32]) {
    isa.run(Softcap { cap, x });
}

struct Activate<'a> {
    activation: Activation,
    x: &'a [f32],
    up: Option<&'a [f32]>,
    out: &'a mut [f32],
}

impl Kernel for Activate<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let one = [1.0; LANES];
        let mut at = 0;
        while at < self.x.len() {
            let n = LANES.min(self.x.len() - at);
            let (mut x, mut up, mut out) = ([0.0; LANES], one, [0.0; LANES]);
            x[..n].copy_from_slice(&self.x[at..at + n]);
            if let Some(all) = self.up {
                up[..n].copy_from_slice(&all[at..at + n]);
            }
            let (g, u) = (simd.load(&x), simd.load(&up));
            let product = match self.activation {
                Activation::Silu => simd.mul(times_sigmoid(simd, g, g), u),
                Activation::GeluTanh => simd.mul(gelu_tanh(simd, g), u),
                Activation::Gelu => simd.mul(gelu(simd, g), u),
                // The second operand of `min` and `max` is what NaN goes through.
                Activation::ClampedSwiglu { alpha, limit } => {
                    let g = simd.min(simd.splat(limit), g);
                    let swish = times_sigmoid(simd, g, simd.mul(simd.splat(alpha), g));
                    if self.up.is_some() {
                        let u = simd.min(simd.splat(limit), u);
                        let u = simd.max(simd.splat(-limit), u);
                        simd.mul(swish, simd.add(u, simd.splat(1.0)))
                    } else {
                        swish
                    }
                }
            };
            simd.store(product, &mut out);
            self.out[at..at + n].copy_from_slice(&out[..n]);
            at += n;
        }
    }
}

/// `x sigmoid(y)`.
#[inline(always)]
fn times_sigmoid<S: Simd>(simd: S, x: S::V, y: S::V) -> S::V {
    let e = simd.exp(simd.sub(simd.splat(0.0), y));
    simd.div(x, simd.add(simd.splat(1.0), e))
}

#[inline(always)]
fn gelu_tanh<S: Simd>(simd: S, x: S::V) -> S::V {
    let cube = simd.mul(simd.mul(x, x), x);
    let y = simd.fma(simd.splat(0.044_715), cube, x);
    // 2 sqrt(2 / pi)
    times_sigmoid(simd, x, simd.mul(simd.splat(1.595_769), y))
}

/// With `h = erfc(|x| / sqrt 2) / 2`: `x - x h` above 0, `x h` below, which is
/// `max(x, 0) - |x| h` for both.
#[inline(always)]
fn gelu<S: Simd>(simd: S, x: S::V) -> S::V {
    const POLYNOMIAL: [f32; 5] = [
        1.061_405_4,
        -1.453_152,
        1.421_413_8,
        -0.284_496_74,
        0.254_829_6,
    ];
    let magnitude = simd.max(simd.sub(simd.splat(0.0), x), x);
    let z = simd.mul(magnitude, simd.splat(std::f32::consts::FRAC_1_SQRT_2));
    let t = simd.fma(simd.splat(0.327_591_1), z, simd.splat(1.0));
    let t = simd.div(simd.splat(1.0), t);
    let mut sum = simd.splat(0.0);
    for c in POLYNOMIAL {
        sum = simd.fma(sum, t, simd.splat(c));
    }
    let minus_square = simd.mul(z, simd.sub(simd.splat(0.0), z));
    let half = simd.mul(
        simd.mul(simd.mul(sum, t), simd.exp(minus_square)),
        simd.splat(0.5),
    );
    simd.sub(simd.max(simd.splat(0.0), x), simd.mul(magnitude, half))
}

struct Softcap<'a> {
    cap: f32,
    x: &'a mut [f32],
}

impl Kernel for Softcap<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for chunk in self.x.chunks_mut(LANES) {
            let mut values = [0.0; LANES];
            values[..chunk.len()].copy_from_slice(chunk);
            let capped = cap_lanes(simd, self.cap, simd.load(&values));
            simd.store(capped, &mut values);
            chunk.copy_from_slice(&values[..chunk.len()]);
        }
    }
}

/// `cap * tanh(x / cap)`, with `tanh(y) = 1 - 2 / (e^2y + 1)`.
#[inline(always)]
pub(crate) fn cap_lanes<S: Simd>(simd: S, cap: f32, x: S::V) -> S::V {
    let y = simd.div(x, simd.splat(cap));
    let e = simd.exp(simd.add(y, y));
    let share = simd.div(simd.splat(2.0), simd.add(e, simd.splat(1.0)));
    simd.mul(simd.splat(cap), simd.sub(simd.splat(1.0), share))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs() -> (Vec<f32>, Vec<f32>) {
        let gate: Vec<f32> = (-500..501).map(|i| i as f32 / 5.0).collect();
        let up = gate.iter().map(|g| 2.0 - g / 50.0).collect();
        (gate, up)
    }

    fn exact(activation: Activation, g: f64, u: Option<f64>) -> f64 {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        match activation {
            Activation::Silu => g * sigmoid(g) * u.unwrap_or(1.0),
            Activation::GeluTanh => {
                let y = (2.0 / std::f64::consts::PI).sqrt() * (g + 0.044_715 * g.powi(3));
                0.5 * g * (1.0 + y.tanh()) * u.unwrap_or(1.0)
            }
            Activation::Gelu => 0.5 * g * erfc(-g / 2.0_f64.sqrt()) * u.unwrap_or(1.0),
            Activation::ClampedSwiglu { alpha, limit } => {
                let g = g.min(f64::from(limit));
                let swish = g * sigmoid(f64::from(alpha) * g);
                let limit = f64::from(limit);
                u.map_or(swish, |u| swish * (u.clamp(-limit, limit) + 1.0))
            }
        }
    }

    /// By its integral, in steps of Simpson.
    fn erfc(x: f64) -> f64 {
        let steps = 20_000;
        let end = x.clamp(-12.0, 12.0);
        let h = (12.0 - end) / f64::from(steps);
        let f = |i: i32| (-(end + h * f64::from(i)).powi(2)).exp();
        let inner: f64 = (1..steps)
            .map(|i| f64::from(4 - 2 * ((i + 1) % 2)) * f(i))
            .sum();
        2.0 / std::f64::consts::PI.sqrt() * h / 3.0 * (f(0) + inner + f(steps))
    }

    #[test]
    fn activations_equal_their_formulas_and_every_instruction_set_agrees() {
        let (gate, up) = inputs();
        let clamped = Activation::ClampedSwiglu {
            alpha: 1.702,
            limit: 7.0,
        };
        for activation in [
            Activation::Silu,
            Activation::Gelu,
            Activation::GeluTanh,
            clamped,
        ] {
            let (mut plain, mut gated) = (vec![0.0; gate.len()], vec![0.0; gate.len()]);
            activate(Isa::Scalar, activation, &gate, &mut plain);
            activate_gated(Isa::Scalar, activation, (&gate, &up), &mut gated);
            for i in 0..gate.len() {
                let (g, u) = (f64::from(gate[i]), f64::from(up[i]));
                for (got, u) in [(plain[i], None), (gated[i], Some(u))] {
                    let exact = exact(activation, g, u);
                    // Far below zero a tanh of 1 - 1e-8 is 1: differences are absolute,
                    // and multiplied by the other input.
                    let error = (f64::from(got) - exact).abs();
                    let size = exact.abs().max(0.3) * u.unwrap_or(1.0).abs().max(1.0);
                    assert!(error <= 2e-6 * size, "{activation:?} {g} {u:?}");
                }
            }
            for isa in Isa::available() {
                let (mut a, mut b) = (vec![0.0; gate.len()], vec![0.0; gate.len()]);
                activate(isa, activation, &gate, &mut a);
                activate_gated(isa, activation, (&gate, &up), &mut b);
                assert_eq!((a, b), (plain.clone(), gated.clone()), "{}", isa.name());
            }
        }
    }

    #[test]
    fn a_softcap_is_a_scaled_tanh_on_every_instruction_set() {
        let (x, _) = inputs();
        for cap in [5.0, 30.0, 50.0] {
            let mut want = x.clone();
            softcap(Isa::Scalar, cap, &mut want);
            for (got, x) in want.iter().zip(&x) {
                let exact = f64::from(cap) * (f64::from(*x) / f64::from(cap)).tanh();
                assert!(
                    (f64::from(*got) - exact).abs() <= 4e-7 * f64::from(cap),
                    "{x}"
                );
            }
            for isa in Isa::available() {
                let mut got = x.clone();
                softcap(isa, cap, &mut got);
                assert_eq!(got, want, "{}", isa.name());
            }
        }
    }

    #[test]
    fn nan_stays_nan() {
        let mut out = [0.0];
        activate_gated(
            Isa::detect(),
            Activation::Silu,
            (&[f32::NAN], &[1.0]),
            &mut out,
        );
        assert!(out[0].is_nan());
    }
}
