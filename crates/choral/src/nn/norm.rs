//! Norms with their weights.

use choral_kernels::Isa;
use choral_kernels::norm::{layer_norm, rms_norm, rms_norm_in_place};

/// A norm: with a bias it takes off the mean too.
#[derive(Debug)]
pub struct Norm {
    /// Multiplies what was normalised.
    pub(crate) weight: Vec<f32>,
    /// Added to it, by layer norms.
    pub(crate) bias: Option<Vec<f32>>,
    /// Added to the mean square.
    pub(crate) eps: f32,
}

impl Norm {
    /// Elements of what it normalises.
    pub fn width(&self) -> usize {
        self.weight.len()
    }

    /// Writes `x` normalised.
    ///
    /// # Panics
    /// If `x` or `out` has another width.
    pub fn apply(&self, isa: Isa, x: &[f32], out: &mut [f32]) {
        match &self.bias {
            None => rms_norm(isa, x, &self.weight, self.eps, out),
            Some(bias) => layer_norm(isa, x, (&self.weight, bias), self.eps, out),
        }
    }

    /// Normalises each piece of `x` as wide as the norm.
    ///
    /// # Panics
    /// If it is a layer norm, which no family has in such a place.
    pub fn apply_to_pieces(&self, isa: Isa, x: &mut [f32]) {
        assert!(self.bias.is_none(), "a norm without bias");
        for piece in x.chunks_exact_mut(self.weight.len()) {
            rms_norm_in_place(isa, piece, &self.weight, self.eps);
        }
    }
}
