//! Floats to stored elements: the inverse of [`crate::dequant`], as near as a type
//! allows.
//!
//! Owns the choice of scales and codes of each type. Knows nothing of files, shapes
//! or which tensor deserves which type. `search.rs` finds the scale of one group;
//! the other files lay groups out as blocks.
//!
//! Source of the criteria (what is minimised, and how each error weighs): ggml's
//! reference quantisers without an importance matrix, `ggml-quants.c`. The errors
//! that come out are the same; the bits need not be.

mod float;
mod iq4;
mod kquant;
mod legacy;
mod search;
#[cfg(test)]
mod tests;

use crate::{Dtype, FormatError};

/// Largest magnitude of a weight for types whose scales are f16: beyond it even a
/// block of equal weights could not be stored.
const MAX_F16: f32 = 65504.0;

/// Turns `values` into `out`, whole blocks of `dtype`.
///
/// Floats (F32, F16, BF16) are rounded to nearest, ties to even; infinities and NaN
/// stay what they are.
///
/// # Errors
/// [`FormatError::ByteLength`] if `out` is not exactly what so many elements take;
/// [`FormatError::Value`] for a number that the type cannot come near: NaN and
/// infinity in quantised types, and magnitudes above 65504 where numbers or scales
/// are f16; [`FormatError::NotQuantisable`] for types that choral only reads.
pub fn quantize(dtype: Dtype, values: &[f32], out: &mut [u8]) -> Result<(), FormatError> {
    let encode: fn(&[f32], &mut [u8]) = match dtype {
        Dtype::F32 => float::f32,
        Dtype::F16 => float::f16,
        Dtype::BF16 => float::bf16,
        Dtype::Q4_0 => legacy::q4_0,
        Dtype::Q4_1 => legacy::q4_1,
        Dtype::Q5_0 => legacy::q5_0,
        Dtype::Q5_1 => legacy::q5_1,
        Dtype::Q8_0 => legacy::q8_0,
        Dtype::Q2_K => kquant::q2_k,
        Dtype::Q3_K => kquant::q3_k,
        Dtype::Q4_K => kquant::q4_k,
        Dtype::Q5_K => kquant::q5_k,
        Dtype::Q6_K => kquant::q6_k,
        Dtype::IQ4_NL => iq4::iq4_nl,
        Dtype::IQ4_XS => iq4::iq4_xs,
        _ => return Err(FormatError::NotQuantisable { dtype }),
    };
    let expected = dtype.bytes_for(values.len());
    if expected != Some(out.len()) {
        return Err(FormatError::ByteLength {
            dtype,
            elements: values.len(),
            expected,
            found: out.len(),
        });
    }
    check_range(dtype, values)?;
    encode(values, out);
    Ok(())
}

/// Whether [`quantize`] can encode `dtype`.
pub fn is_supported(dtype: Dtype) -> bool {
    quantize(dtype, &[], &mut []).is_ok()
}

fn check_range(dtype: Dtype, values: &[f32]) -> Result<(), FormatError> {
    let fits: fn(f32) -> bool = match dtype {
        Dtype::F32 | Dtype::BF16 => return Ok(()),
        Dtype::F16 => |x| !x.is_finite() || x.abs() <= MAX_F16,
        // False for NaN too.
        _ => |x| x.abs() <= MAX_F16,
    };
    match values.iter().position(|&x| !fits(x)) {
        None => Ok(()),
        Some(index) => Err(FormatError::Value {
            dtype,
            index,
            found: values[index],
        }),
    }
}

/// Calls `encode` for each `LEN` floats and their block of `BYTES` bytes.
///
/// Arrays instead of slices, as in [`crate::dequant`]: the compiler knows all lengths.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "the loop and its body must be compiled as one"
)]
fn each_block<const BYTES: usize, const LEN: usize>(
    values: &[f32],
    out: &mut [u8],
    encode: impl Fn(&[f32; LEN], &mut [u8; BYTES]),
) {
    let (values, _) = values.as_chunks::<LEN>();
    let (blocks, _) = out.as_chunks_mut::<BYTES>();
    for (values, block) in values.iter().zip(blocks) {
        encode(values, block);
    }
}

/// Stores `x` as f16 at byte `at` and returns what was stored.
fn put_f16<const N: usize>(block: &mut [u8; N], at: usize, x: f32) -> f32 {
    let stored = half::f16::from_f32(x);
    block[at..at + 2].copy_from_slice(&stored.to_le_bytes());
    stored.to_f32()
}

/// `1 / x`, and 0 for 0: a group of zeros has scale 0 and codes 0.
fn inverse(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { 1.0 / x }
}

/// The nearest integer within bounds, as a float; ties to even.
///
/// Adding and taking away 1.5 * 2^23 leaves no room for a fraction. It takes two
/// instructions on any CPU, where `round_ties_even` is a call on old ones. NaN gives
/// `low`.
#[inline]
fn nearest(x: f32, low: f32, high: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    // Written so that NaN fails the first comparison.
    let x = if x > low { x } else { low };
    let x = if x < high { x } else { high };
    (x + SHIFT) - SHIFT
}
