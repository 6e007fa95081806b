//! Activation functions of feed-forward parts.

use crate::Isa;
use crate::isa::Kernel;
use crate::simd::{LANES, Simd};

/// `out = gate / (1 + e^-gate) * up` (`SwiGLU`, Shazeer 2020), elementwise.
///
/// # Panics
/// If the lengths differ.
pub fn silu_mul(isa: Isa, gate: &[f32], up: &[f32], out: &mut [f32]) {
    assert!(
        gate.len() == up.len() && gate.len() == out.len(),
        "lengths of an activation"
    );
    isa.run(SiluMul { gate, up, out });
}

struct SiluMul<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for SiluMul<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (gates, gate_tail) = self.gate.as_chunks::<LANES>();
        let (ups, up_tail) = self.up.as_chunks::<LANES>();
        let (outs, out_tail) = self.out.as_chunks_mut::<LANES>();
        for ((gate, up), out) in gates.iter().zip(ups).zip(outs) {
            lanes(simd, gate, up, out);
        }
        if !gate_tail.is_empty() {
            let (mut gate, mut up, mut out) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
            gate[..gate_tail.len()].copy_from_slice(gate_tail);
            up[..up_tail.len()].copy_from_slice(up_tail);
            lanes(simd, &gate, &up, &mut out);
            out_tail.copy_from_slice(&out[..gate_tail.len()]);
        }
    }
}

#[inline(always)]
fn lanes<S: Simd>(simd: S, gate: &[f32; LANES], up: &[f32; LANES], out: &mut [f32; LANES]) {
    let g = simd.load(gate);
    let e = simd.exp(simd.sub(simd.splat(0.0), g));
    let silu = simd.div(g, simd.add(simd.splat(1.0), e));
    simd.store(simd.mul(silu, simd.load(up)), out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_formula_and_every_instruction_set_agrees() {
        let gate: Vec<f32> = (-500..501).map(|i| i as f32 / 5.0).collect();
        let up: Vec<f32> = gate.iter().map(|g| 2.0 - g / 50.0).collect();
        let mut want = vec![0.0; gate.len()];
        silu_mul(Isa::Scalar, &gate, &up, &mut want);
        for i in 0..gate.len() {
            let (g, u) = (f64::from(gate[i]), f64::from(up[i]));
            let exact = g / (1.0 + (-g).exp()) * u;
            assert!(
                (f64::from(want[i]) - exact).abs() <= 1e-6 * exact.abs().max(1e-6),
                "{g}"
            );
        }
        for isa in Isa::available() {
            let mut got = vec![0.0; gate.len()];
            silu_mul(isa, &gate, &up, &mut got);
            assert_eq!(got, want, "{}", isa.name());
        }
    }

    #[test]
    fn nan_stays_nan() {
        let mut out = [0.0];
        silu_mul(Isa::detect(), &[f32::NAN], &[1.0], &mut out);
        assert!(out[0].is_nan());
    }
}
