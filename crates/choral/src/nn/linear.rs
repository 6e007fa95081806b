//! Matrix products with an optional bias, and what adapters change about them.

use super::{Adapted, LowRank};
use choral_kernels::Compute;
use choral_kernels::matmul::{Activations, Inputs, PackedMatrix};

/// `y = W x + b`. How `W` is stored does not show.
#[derive(Debug)]
pub struct Linear {
    weight: PackedMatrix,
    bias: Option<Vec<f32>>,
    /// In the order in which adapters were loaded.
    changes: Vec<LowRank>,
}

impl Linear {
    /// # Panics
    /// If the bias has another length than the matrix has rows.
    pub(crate) fn new(weight: PackedMatrix, bias: Option<Vec<f32>>) -> Self {
        assert!(
            bias.as_ref().is_none_or(|b| b.len() == weight.n()),
            "length of a bias"
        );
        Self {
            weight,
            bias,
            changes: Vec::new(),
        }
    }

    /// The same matrix, and what adapters change about it.
    #[must_use]
    pub(crate) fn with_changes(mut self, changes: Vec<LowRank>) -> Self {
        self.changes = changes;
        self
    }

    /// Number of outputs.
    pub fn width(&self) -> usize {
        self.weight.n()
    }

    /// The forms of activations that [`forward`](Self::forward) takes.
    pub fn inputs(&self) -> Inputs {
        let changes = self.changes.iter().map(LowRank::input);
        changes.fold(self.weight.inputs(), Inputs::and)
    }

    /// Bytes of packed weights, those of adapters among them.
    pub fn bytes(&self) -> usize {
        let changes: usize = self.changes.iter().map(LowRank::bytes).sum();
        self.weight.bytes() + changes
    }

    /// Multiplies `[m, k]` activations; `out` becomes `[m, n]`. `adapted` says which
    /// rows are changed by adapters.
    pub fn forward(
        &self,
        compute: &Compute,
        x: &Activations,
        adapted: &mut Adapted,
        out: &mut Vec<f32>,
    ) {
        let width = self.width();
        out.resize(x.rows() * width, 0.0);
        self.weight.multiply(compute, x, out);
        if let Some(bias) = &self.bias {
            compute.rows_mut(out, width, |_, row| add(row, bias));
        }
        for change in &self.changes {
            adapted.add(compute, change, x, (out, width));
        }
    }
}

/// `a += b`, elementwise.
pub(crate) fn add(a: &mut [f32], b: &[f32]) {
    for (a, b) in a.iter_mut().zip(b) {
        *a += b;
    }
}
