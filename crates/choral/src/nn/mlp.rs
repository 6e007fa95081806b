//! Feed-forward parts.

use super::Linear;
use choral_kernels::Compute;
use choral_kernels::activation::{Activation, activate, activate_gated};
use choral_kernels::matmul::{Activations, Inputs};

/// `down(act(gate x) * up x)`, or `down(act(up x))`.
#[derive(Debug)]
pub struct Mlp {
    /// Gate (if there is one) and up, one behind the other.
    pub(crate) inner: Linear,
    pub(crate) down: Linear,
    pub(crate) gated: bool,
    pub(crate) activation: Activation,
}

/// Memory of one product after the other, kept for the next step.
#[derive(Debug, Default)]
pub struct MlpScratch {
    /// `[rows, gate + up]`.
    inner: Vec<f32>,
    /// What the nonlinearity makes of it.
    x: Activations,
}

impl Mlp {
    /// The forms of activations that it takes.
    pub fn inputs(&self) -> Inputs {
        self.inner.inputs()
    }

    /// Bytes of packed weights.
    pub fn bytes(&self) -> usize {
        self.inner.bytes() + self.down.bytes()
    }

    /// Runs `[rows, hidden]` activations; `out` becomes `[rows, hidden]`.
    pub fn forward(
        &self,
        compute: &Compute,
        x: &Activations,
        s: &mut MlpScratch,
        out: &mut Vec<f32>,
    ) {
        self.inner.forward(compute, x, &mut s.inner);
        let (isa, width, rows) = (compute.isa(), self.inner.width(), x.rows());
        let size = if self.gated { width / 2 } else { width };
        let inner = &s.inner;
        s.x.fill(compute, self.down.inputs(), (rows, size), |r, out| {
            let row = &inner[r * width..][..width];
            if self.gated {
                activate_gated(isa, self.activation, row.split_at(size), out);
            } else {
                activate(isa, self.activation, row, out);
            }
        });
        self.down.forward(compute, &s.x, out);
    }
}
