//! Reads little-endian numbers and strings from untrusted bytes.
//!
//! Owns the position and the bounds checks; every read can fail and no read
//! allocates more than the bytes that are really there.

use std::fmt::Display;
use std::path::Path;

use crate::FormatError;

/// A position in the bytes of a file.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
    pub(super) file: &'a Path,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(file: &'a Path, bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            position: 0,
            file,
        }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Bytes not yet read.
    pub(super) fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// The next `len` bytes; `field` says what for.
    pub(super) fn take(&mut self, len: u64, field: &dyn Display) -> Result<&'a [u8], FormatError> {
        let fits = usize::try_from(len)
            .ok()
            .filter(|&len| len <= self.remaining());
        let Some(len) = fits else {
            return Err(FormatError::Truncated {
                file: self.file.to_path_buf(),
                field: field.to_string(),
                expected: len,
                found: self.remaining() as u64,
            });
        };
        let taken = &self.bytes[self.position..self.position + len];
        self.position += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &dyn Display) -> Result<[u8; N], FormatError> {
        let bytes = self.take(N as u64, field)?;
        Ok(bytes
            .try_into()
            .expect("take returns as many bytes as were asked for"))
    }

    pub(super) fn u8(&mut self, field: &dyn Display) -> Result<u8, FormatError> {
        self.array(field).map(u8::from_le_bytes)
    }

    pub(super) fn u32(&mut self, field: &dyn Display) -> Result<u32, FormatError> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, field: &dyn Display) -> Result<u64, FormatError> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// A string: its length in 64 bits, then its bytes.
    pub(super) fn string(&mut self, field: &dyn Display) -> Result<&'a [u8], FormatError> {
        let len = self.u64(field)?;
        self.take(len, field)
    }

    /// `count` numbers of `N` bytes each.
    pub(super) fn numbers<const N: usize, T>(
        &mut self,
        count: u64,
        field: &dyn Display,
        from_le_bytes: fn([u8; N]) -> T,
    ) -> Result<Vec<T>, FormatError> {
        let bytes = self.take(count.saturating_mul(N as u64), field)?;
        let (numbers, rest) = bytes.as_chunks::<N>();
        debug_assert!(rest.is_empty());
        Ok(numbers
            .iter()
            .map(|&number| from_le_bytes(number))
            .collect())
    }
}
