//! Stored elements to floats.
//!
//! Owns one readable loop for each type, in plain Rust that the compiler can
//! vectorise. It is the definition that faster kernels elsewhere are tested
//! against. Knows nothing of files or shapes beyond whole blocks.
//!
//! Source of every layout: ggml `ggml-common.h` and gguf-py `quants.py`.

mod codebook;
mod codes;
mod float;
mod grids;
mod kquant;
mod legacy;
mod lookup;
#[cfg(test)]
mod tests;

pub use codes::{CodesMut, split_codes};
pub(crate) use lookup::IQ4;

use crate::{Dtype, FormatError};

/// Turns `bytes`, whole blocks of `dtype`, into `out.len()` floats.
///
/// Values are computed in single precision in the order of operations of
/// gguf-py. NaN and infinity in scales come out as they are: this is not the
/// place to judge weights.
///
/// # Errors
/// [`FormatError::ByteLength`] if `bytes` are not exactly what `out.len()`
/// elements take; [`FormatError::Unsupported`] for types that hold no weights
/// (integers) or that choral cannot decode.
pub fn dequantize(dtype: Dtype, bytes: &[u8], out: &mut [f32]) -> Result<(), FormatError> {
    let decode: fn(&[u8], &mut [f32]) = match dtype {
        Dtype::F32 => float::f32,
        Dtype::F16 => float::f16,
        Dtype::BF16 => float::bf16,
        Dtype::F64 => float::f64,
        Dtype::F8_E4M3 => float::e4m3,
        Dtype::F8_E5M2 => float::e5m2,
        Dtype::F8_E8M0 => float::e8m0,
        Dtype::Q4_0 => legacy::q4_0,
        Dtype::Q4_1 => legacy::q4_1,
        Dtype::Q5_0 => legacy::q5_0,
        Dtype::Q5_1 => legacy::q5_1,
        Dtype::Q8_0 => legacy::q8_0,
        Dtype::Q8_1 => legacy::q8_1,
        Dtype::Q2_K => kquant::q2_k,
        Dtype::Q3_K => kquant::q3_k,
        Dtype::Q4_K => kquant::q4_k,
        Dtype::Q5_K => kquant::q5_k,
        Dtype::Q6_K => kquant::q6_k,
        Dtype::Q8_K => kquant::q8_k,
        Dtype::IQ1_S => codebook::iq1_s,
        Dtype::IQ1_M => codebook::iq1_m,
        Dtype::IQ2_XXS => codebook::iq2_xxs,
        Dtype::IQ2_XS => codebook::iq2_xs,
        Dtype::IQ2_S => codebook::iq2_s,
        Dtype::IQ3_XXS => codebook::iq3_xxs,
        Dtype::IQ3_S => codebook::iq3_s,
        Dtype::IQ4_NL => lookup::iq4_nl,
        Dtype::IQ4_XS => lookup::iq4_xs,
        Dtype::MXFP4 => lookup::mxfp4,
        Dtype::NVFP4 => lookup::nvfp4,
        Dtype::TQ1_0 => lookup::tq1_0,
        Dtype::TQ2_0 => lookup::tq2_0,
        _ => return Err(FormatError::Unsupported { dtype }),
    };
    let expected = dtype.bytes_for(out.len());
    if expected != Some(bytes.len()) {
        let (elements, found) = (out.len(), bytes.len());
        return Err(FormatError::ByteLength {
            dtype,
            elements,
            expected,
            found,
        });
    }
    decode(bytes, out);
    Ok(())
}

/// Whether [`dequantize`] can decode `dtype`.
pub fn is_supported(dtype: Dtype) -> bool {
    dequantize(dtype, &[], &mut []).is_ok()
}

/// Calls `decode` for each block of `BYTES` bytes and its `LEN` floats.
///
/// Arrays instead of slices: the compiler then knows every length and drops the
/// bounds checks inside `decode`.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "the loop and its body must be compiled as one"
)]
fn each_block<const BYTES: usize, const LEN: usize>(
    bytes: &[u8],
    out: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [f32; LEN]),
) {
    let (blocks, _) = bytes.as_chunks::<BYTES>();
    let (outs, _) = out.as_chunks_mut::<LEN>();
    for (block, out) in blocks.iter().zip(outs) {
        decode(block, out);
    }
}

/// Calls `split` for each block of `BYTES` bytes, with its number, and its `LEN` codes.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "the loop and its body must be compiled as one"
)]
fn each_part<const BYTES: usize, const LEN: usize>(
    bytes: &[u8],
    codes: &mut [u8],
    mut split: impl FnMut(usize, &[u8; BYTES], &mut [u8; LEN]),
) {
    let (blocks, _) = bytes.as_chunks::<BYTES>();
    let (codes, _) = codes.as_chunks_mut::<LEN>();
    for (i, (block, codes)) in blocks.iter().zip(codes).enumerate() {
        split(i, block, codes);
    }
}

/// The f16 at byte `at` of a block.
#[inline]
fn f16_at<const N: usize>(block: &[u8; N], at: usize) -> f32 {
    half::f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// `LEN` bytes from byte `at` of a block.
#[inline]
fn bytes_at<const LEN: usize>(block: &[u8], at: usize) -> &[u8; LEN] {
    block[at..]
        .first_chunk()
        .expect("offsets are constants within the block")
}
