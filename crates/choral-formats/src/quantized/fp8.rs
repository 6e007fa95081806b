//! 8-bit floats with scales: weight = float * scale.
//!
//! `weight` is `[n, k]`. The scale is one for all, one for each row (`[n]` or
//! `[n, 1]`), or one for each block (`[ceil(n / rows), ceil(k / columns)]`). It is
//! called `weight_scale` or `weight_scale_inv`; both are multiplied with.
//!
//! Source: transformers `finegrained_fp8` and `fbgemm_fp8`, compressed-tensors.

use super::{Module, config};
use crate::{Dtype, FormatError, TensorView, dequantize};

/// Types that scales have.
const SCALES: [Dtype; 4] = [Dtype::F32, Dtype::BF16, Dtype::F16, Dtype::F8_E8M0];

/// A matrix.
#[derive(Debug)]
pub(super) struct Fp8<'a> {
    weight: TensorView<'a>,
    /// Row-major; `width` to a row of blocks.
    scales: Vec<f32>,
    width: usize,
    /// Rows and columns that share a scale.
    block: [usize; 2],
}

pub(super) fn open<'a>(
    config: &config::Fp8,
    module: &Module<'a, '_>,
    [n, k]: [usize; 2],
) -> Result<Option<Fp8<'a>>, FormatError> {
    let floats = [Dtype::F8_E4M3, Dtype::F8_E5M2];
    let Some(weight) = module.optional("weight") else {
        return Ok(None);
    };
    if !floats.contains(&weight.info.dtype) {
        return Ok(None);
    }
    let weight = module.required("weight", &floats, &[n, k])?;
    let scale = module.optional("weight_scale_inv");
    let Some(scale) = scale.or_else(|| module.optional("weight_scale")) else {
        let name = module.full_name("weight_scale");
        let field = format!("tensor `{name}` (or `{name}_inv`)");
        return Err(FormatError::missing(module.file.path(), field));
    };
    let (block, width) = match (config.block, &scale.info.shape[..]) {
        (_, [] | [1] | [1, 1]) => ([n.max(1), k.max(1)], 1),
        (None, &[rows] | &[rows, 1]) if rows == n => ([1, k.max(1)], 1),
        (Some([rows, columns]), &[height, width])
            if [height, width] == [n.div_ceil(rows), k.div_ceil(columns)] =>
        {
            ([rows, columns], width)
        }
        (None, _) => {
            let expected = format!(
                "one scale, or {n} (one for each row): blocks of them need `weight_block_size`"
            );
            return Err(module.invalid(&scale, expected));
        }
        (Some([rows, columns]), _) => {
            let shape = [n.div_ceil(rows), k.div_ceil(columns)];
            let expected =
                format!("{shape:?}, one for each block of [{rows}, {columns}], or one scale");
            return Err(module.invalid(&scale, expected));
        }
    };
    if !SCALES.contains(&scale.info.dtype) {
        return Err(module.invalid(&scale, "F32, BF16, F16 or F8_E8M0"));
    }
    let mut scales = vec![0.0; scale.rows() * scale.row_len()];
    scale.dequantize(&mut scales)?;
    Ok(Some(Fp8 {
        weight,
        scales,
        width,
        block,
    }))
}

impl Fp8<'_> {
    pub(super) fn row(&self, r: usize, out: &mut [f32]) {
        dequantize(self.weight.info.dtype, self.weight.row_bytes(r), out)
            .expect("type and length were checked");
        let [rows, columns] = self.block;
        let scales = &self.scales[r / rows * self.width..][..self.width];
        for (out, scale) in out.chunks_mut(columns).zip(scales) {
            for out in out {
                *out *= scale;
            }
        }
    }
}
