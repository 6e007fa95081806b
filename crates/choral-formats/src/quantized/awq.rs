//! AWQ: integers of 4 bits, packed along n.
//!
//! `qweight` is `[k, n / 8]` words: a row is a column of the matrix. `qzeros` is
//! `[groups, n / 8]`, `scales` is `[groups, n]`. The nibbles of a word, from the lowest,
//! are of rows 0, 2, 4, 6, 1, 3, 5, 7.
//!
//! Source: `packing_utils.py` of `AutoAWQ`, version `GEMM`.

use super::integers::{Groups, Integers, Layout, Words};
use super::{Module, config};
use crate::{Dtype, FormatError};

pub(super) fn open<'a>(
    config: &config::Awq,
    module: &Module<'a, '_>,
    [n, k]: [usize; 2],
) -> Result<Option<Integers<'a>>, FormatError> {
    if module.optional("qweight").is_none() {
        return Ok(None);
    }
    if !n.is_multiple_of(8) {
        return Err(module.indivisible("n", 8, n));
    }
    let group = config.group.unwrap_or(k).max(1);
    let num_groups = k.div_ceil(group);
    let codes = module.required("qweight", &[Dtype::I32], &[k, n / 8])?;
    let zeros = module.required("qzeros", &[Dtype::I32], &[num_groups, n / 8])?;
    let floats = [Dtype::F16, Dtype::BF16, Dtype::F32];
    let scales = module.required("scales", &floats, &[num_groups, n])?;
    Ok(Some(Integers {
        shape: [n, k],
        bits: 4,
        layout: Layout::Awq,
        codes: Words::new(&codes),
        zeros: Words::new(&zeros),
        scales,
        groups: Groups::Of(group),
    }))
}
