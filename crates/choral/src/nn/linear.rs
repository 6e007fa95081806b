//! Matrix products with an optional bias.

use choral_kernels::Compute;
use choral_kernels::matmul::{Activations, Inputs, PackedMatrix};

/// `y = W x + b`. How `W` is stored does not show.
#[derive(Debug)]
pub struct Linear {
    weight: PackedMatrix,
    bias: Option<Vec<f32>>,
}

impl Linear {
    /// # Panics
    /// If the bias has another length than the matrix has rows.
    pub(crate) fn new(weight: PackedMatrix, bias: Option<Vec<f32>>) -> Self {
        assert!(
            bias.as_ref().is_none_or(|b| b.len() == weight.n()),
            "length of a bias"
        );
        Self { weight, bias }
    }

    /// Number of outputs.
    pub fn width(&self) -> usize {
        self.weight.n()
    }

    /// The forms of activations that [`forward`](Self::forward) takes.
    pub fn inputs(&self) -> Inputs {
        self.weight.inputs()
    }

    /// Bytes of packed weights.
    pub fn bytes(&self) -> usize {
        self.weight.bytes()
    }

    /// Multiplies `[m, k]` activations; `out` becomes `[m, n]`.
    pub fn forward(&self, compute: &Compute, x: &Activations, out: &mut Vec<f32>) {
        let width = self.width();
        out.resize(x.rows() * width, 0.0);
        self.weight.multiply(compute, x, out);
        if let Some(bias) = &self.bias {
            compute.rows_mut(out, width, |_, row| add(row, bias));
        }
    }
}

/// `a += b`, elementwise.
pub(crate) fn add(a: &mut [f32], b: &[f32]) {
    for (a, b) in a.iter_mut().zip(b) {
        *a += b;
    }
}
