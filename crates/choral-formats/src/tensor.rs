//! Tensors as files hold them: a name, a type, a shape, and bytes.
//!
//! Owns the description and the rows. Knows nothing of where the bytes come
//! from (see [`TensorSource`]'s implementors, [`crate::gguf::Gguf`] and
//! [`crate::safetensors::Safetensors`]) or of what the tensor is for.

#[cfg(test)]
mod tests;

use std::path::Path;

use crate::{Dtype, FormatError, dequant};

/// Name, element type and shape of a stored tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name in the file.
    pub name: String,
    /// How elements are stored.
    pub dtype: Dtype,
    /// Row-major, outermost dimension first; the last one is contiguous. A GGUF
    /// tensor with `ne = [k, n]` has the shape `[n, k]` here.
    pub shape: Vec<usize>,
}

impl TensorInfo {
    /// Elements in a row: the innermost dimension, or 1 for a scalar.
    pub fn row_len(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Rows: the product of all dimensions but the innermost. `None` if it does
    /// not fit.
    pub fn rows(&self) -> Option<usize> {
        let (_, outer) = self.shape.split_last().unwrap_or((&1, &[]));
        outer
            .iter()
            .try_fold(1usize, |product, &dim| product.checked_mul(dim))
    }

    /// Number of elements. `None` if it does not fit.
    pub fn elements(&self) -> Option<usize> {
        self.rows()?.checked_mul(self.row_len())
    }

    /// Size of the tensor in bytes. `None` if it does not fit, or if a row does
    /// not fill whole blocks.
    pub fn byte_len(&self) -> Option<usize> {
        self.rows()?
            .checked_mul(self.dtype.bytes_for(self.row_len())?)
    }
}

/// A tensor in memory: its description and exactly its bytes.
#[derive(Debug, Clone, Copy)]
pub struct TensorView<'a> {
    /// What the bytes are.
    pub info: &'a TensorInfo,
    /// All rows, one after the other.
    pub bytes: &'a [u8],
}

impl<'a> TensorView<'a> {
    /// Joins a description and bytes.
    ///
    /// # Errors
    /// [`FormatError::ByteLength`] if `bytes` is not what the description needs.
    pub fn new(info: &'a TensorInfo, bytes: &'a [u8]) -> Result<Self, FormatError> {
        let expected = info.byte_len();
        if expected != Some(bytes.len()) {
            return Err(FormatError::ByteLength {
                dtype: info.dtype,
                elements: info.elements().unwrap_or(usize::MAX),
                expected,
                found: bytes.len(),
            });
        }
        Ok(Self { info, bytes })
    }

    /// Number of rows: the product of all dimensions but the innermost.
    pub fn rows(&self) -> usize {
        self.info.rows().unwrap_or(0)
    }

    /// Elements in a row.
    pub fn row_len(&self) -> usize {
        self.info.row_len()
    }

    /// The stored bytes of row `i`.
    ///
    /// # Panics
    /// If there is no row `i`.
    pub fn row_bytes(&self, i: usize) -> &'a [u8] {
        assert!(
            i < self.rows(),
            "row {i} of `{}`, which has {}",
            self.info.name,
            self.rows()
        );
        // No rows means no division by zero: the assertion came first.
        let stride = self.bytes.len() / self.rows();
        &self.bytes[i * stride..(i + 1) * stride]
    }

    /// Row `i` as floats.
    ///
    /// # Errors
    /// [`FormatError::Unsupported`] for a type without a dequantiser,
    /// [`FormatError::ByteLength`] if `out.len()` is not [`Self::row_len`].
    ///
    /// # Panics
    /// If there is no row `i`.
    pub fn dequantize_row(&self, i: usize, out: &mut [f32]) -> Result<(), FormatError> {
        dequant::dequantize(self.info.dtype, self.row_bytes(i), out)
    }

    /// All rows as floats, one after the other.
    ///
    /// # Errors
    /// As [`Self::dequantize_row`], for `out` of all elements.
    pub fn dequantize(&self, out: &mut [f32]) -> Result<(), FormatError> {
        dequant::dequantize(self.info.dtype, self.bytes, out)
    }
}

/// A file, or set of files, that holds named tensors.
pub trait TensorSource: Send + Sync {
    /// Every tensor, in the order of the file.
    fn infos(&self) -> &[TensorInfo];

    /// The tensor called `name`.
    fn tensor(&self, name: &str) -> Option<TensorView<'_>>;

    /// Says that the bytes of `name` will not be read for a while: memory that
    /// holds them may be given back. They stay readable.
    fn release(&self, name: &str);

    /// The tensor called `name`, or the error that says that it is missing.
    fn required(&self, name: &str) -> Result<TensorView<'_>, FormatError> {
        let missing = || FormatError::missing(self.path(), format_args!("tensor `{name}`"));
        self.tensor(name).ok_or_else(missing)
    }

    /// What was opened: the file or directory to name in messages.
    fn path(&self) -> &Path;
}
