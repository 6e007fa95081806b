//! GPTQ: integers of 2, 3, 4 or 8 bits, packed along k.
//!
//! `qweight` is `[k * bits / 32, n]` words: a column is a row of the matrix, its codes
//! one after the other from the lowest bit. `qzeros` is `[groups, n * bits / 32]`,
//! packed along n, `scales` is `[groups, n]`, and `g_idx`, `[k]`, says which group a
//! column of the matrix is in, which is any where columns were sorted first
//! (`desc_act`).
//!
//! Source: `qlinear_cuda_old.py` of `AutoGPTQ`; `GPTQModel` for `gptq_v2`.

use super::integers::{Groups, Integers, Layout, Words};
use super::{Module, config};
use crate::error::named;
use crate::{Dtype, FormatError};

pub(super) fn open<'a>(
    config: &config::Gptq,
    module: &Module<'a, '_>,
    [n, k]: [usize; 2],
) -> Result<Option<Integers<'a>>, FormatError> {
    let Some(qweight) = module.optional("qweight") else {
        return Ok(None);
    };
    let (mut bits, mut group) = (config.bits, config.group.unwrap_or(k).max(1));
    if config.is_dynamic
        && let &[height, _] = &qweight.info.shape[..]
        && let Some(found) = [2, 3, 4, 8]
            .into_iter()
            .find(|bits| height.checked_mul(32) == Some(k * bits))
    {
        bits = found;
        let scales = module.optional("scales");
        let num_groups = scales.and_then(|view| view.info.shape.first().copied());
        if let Some(num_groups) = num_groups.filter(|&num_groups| num_groups > 0) {
            group = k.div_ceil(num_groups).max(1);
        }
    }
    // Three bits fill words together: 32 codes take three of them.
    let multiple = if bits == 3 { 32 } else { 32 / bits };
    for (what, len) in [("k", k), ("n", n)] {
        if !len.is_multiple_of(multiple) {
            return Err(module.indivisible(what, multiple, len));
        }
    }
    let num_groups = k.div_ceil(group);
    let words = |len: usize| len / multiple * (multiple * bits / 32);
    let codes = module.required("qweight", &[Dtype::I32], &[words(k), n])?;
    let zeros = module.required("qzeros", &[Dtype::I32], &[num_groups, words(n)])?;
    let floats = [Dtype::F16, Dtype::BF16, Dtype::F32];
    let scales = module.required("scales", &floats, &[num_groups, n])?;
    let mut groups = Groups::Of(group);
    if module.optional("g_idx").is_some() {
        let view = module.required("g_idx", &[Dtype::I32], &[k])?;
        let index = indices(module, view.bytes, num_groups)?;
        let in_order = index.iter().enumerate().all(|(i, &g)| i / group == g);
        if !in_order {
            groups = Groups::Any(index);
        }
    }
    let layout = Layout::Gptq(config.version);
    Ok(Some(Integers {
        shape: [n, k],
        bits,
        layout,
        codes: Words::new(&codes),
        zeros: Words::new(&zeros),
        scales,
        groups,
    }))
}

/// The group of each column.
fn indices(
    module: &Module<'_, '_>,
    bytes: &[u8],
    num_groups: usize,
) -> Result<Vec<usize>, FormatError> {
    let index = |(i, bytes): (usize, &[u8; 4])| {
        let found = i32::from_le_bytes(*bytes);
        let index = usize::try_from(found).ok().filter(|&g| g < num_groups);
        index.ok_or_else(|| {
            let field = format!("{}[{i}]", named("tensor", &module.full_name("g_idx")));
            let expected = format!("a group from 0 to {}", num_groups - 1);
            FormatError::field(module.file.path(), field, expected, found)
        })
    };
    let (all, _) = bytes.as_chunks::<4>();
    all.iter().enumerate().map(index).collect()
}
