//! What int8 products are, said plainly: the specification of the kernel.

use crate::matmul::TILE_K;

/// Up to 32 weights of one row under one scale, for [`reference_int8`].
#[derive(Debug, Clone, PartialEq)]
pub struct IntegerBlock {
    /// The integers: 16 or 32 of them.
    pub integers: Vec<i32>,
    /// The scale.
    pub scale: f32,
    /// The minimum, if the format has one.
    pub minimum: Option<f32>,
}

/// The int8 order of accumulation, said plainly: one output of a row `x` (`[k]`)
/// and a weight row in blocks of 16 or 32.
///
/// Activations become codes in blocks of 32: `code = round(x * (127 / a))`, ties to
/// even, with `a` their largest magnitude and `a / 127` their scale (a block below
/// 1e-36 is zero). For each block of weights the products of integers and codes
/// are added exactly; times the weights' scale (plus minimum times the sum of
/// the codes: a fused multiply-add), that is multiplied with the activations'
/// scale and added to the result: a fused multiply-add again.
#[must_use]
pub fn reference_int8(x: &[f32], weights: &[IntegerBlock]) -> f32 {
    let mut codes = Vec::with_capacity(x.len());
    let mut scales = Vec::new();
    for block in x.chunks(TILE_K) {
        let largest = block.iter().fold(0.0_f32, |a, x| a.max(x.abs()));
        let inverse = if largest < 1e-36 {
            0.0
        } else {
            127.0 / largest
        };
        scales.push(largest / 127.0);
        codes.extend(block.iter().map(|x| (x * inverse).round_ties_even() as i32));
    }
    let (mut c, mut k) = (0.0_f32, 0);
    for block in weights {
        let codes = &codes[k..k + block.integers.len()];
        let product: i32 = codes.iter().zip(&block.integers).map(|(a, w)| a * w).sum();
        let sum: i32 = codes.iter().sum();
        let scaled = match block.minimum {
            None => product as f32 * block.scale,
            Some(minimum) => (product as f32).mul_add(block.scale, minimum * sum as f32),
        };
        c = scaled.mul_add(scales[k / TILE_K], c);
        k += block.integers.len();
    }
    c
}
