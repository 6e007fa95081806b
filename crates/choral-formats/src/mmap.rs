//! Files as byte slices.
//!
//! The only place with `unsafe` in this crate. Owns mappings; knows nothing of
//! what the bytes mean.

use std::borrow::Cow;
use std::fs::File;
use std::ops::Range;
use std::path::Path;

#[cfg(unix)]
use memmap2::UncheckedAdvice;

use crate::FormatError;

/// The contents of a file: mapped, owned, or part of the program.
#[derive(Debug)]
pub(crate) enum Bytes {
    Mapped(memmap2::Mmap),
    Owned(Cow<'static, [u8]>),
}

impl Bytes {
    /// Maps a regular file.
    ///
    /// Devices, pipes and sockets are refused before they are opened: opening a
    /// pipe can block for ever, and `/dev/zero` has no end.
    pub(crate) fn map(path: &Path) -> Result<Self, FormatError> {
        let io = |source| FormatError::io(path, source);
        let kind = std::fs::metadata(path).map_err(io)?;
        if !kind.is_file() {
            return Err(FormatError::field(
                path,
                "file type",
                "a regular file",
                describe(&kind),
            ));
        }
        let file = File::open(path).map_err(io)?;
        // SAFETY: the mapping is private to this process and read-only. What Rust
        // cannot exclude is that another process changes the file meanwhile; every
        // value taken from it is range-checked when it is taken, at open, and no
        // length is read twice. Truncation by somebody else ends in SIGBUS, as it
        // does for every program that maps its weights.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(io)?;
        Ok(Self::Mapped(map))
    }

    /// Lets go of the memory that holds `range` of a mapped file. Whole pages inside
    /// the range only; they come back from the file when they are read again.
    #[cfg(unix)]
    pub(crate) fn release(&self, range: Range<usize>) {
        const PAGE: usize = 1 << 16; // of any system that choral runs on
        let Self::Mapped(map) = self else { return };
        let (start, end) = (range.start.next_multiple_of(PAGE), range.end / PAGE * PAGE);
        if start < end && end <= map.len() {
            // SAFETY: what is dropped is a clean copy of a read-only file mapping:
            // every later read sees the file's bytes, as every earlier one did.
            // It is advice: if it is refused, nothing is lost.
            let _ = unsafe {
                map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, end - start)
            };
        }
    }

    /// Nothing: only Unix has the advice.
    #[cfg(not(unix))]
    pub(crate) fn release(&self, _: Range<usize>) {}
}

/// A regular file whose bytes are read when they are asked for, and need no memory of
/// their own.
#[derive(Debug)]
pub struct MappedFile(Bytes);

impl MappedFile {
    /// Maps the file `path`, as long as it is now.
    ///
    /// # Errors
    /// It is no regular file, or cannot be mapped.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        Bytes::map(path).map(Self)
    }
}

impl std::ops::Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned(bytes) => bytes,
        }
    }
}

/// What a path is, if not a regular file.
pub(crate) fn describe(kind: &std::fs::Metadata) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else {
        "a device, pipe or socket"
    }
}
