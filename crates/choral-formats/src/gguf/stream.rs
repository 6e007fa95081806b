//! A GGUF file whose tensors are written one after the other.
//!
//! Owns the unfinished file: a hidden one beside the path that was asked for, renamed
//! when all is written and removed when it is given up. Knows nothing of the header,
//! which [`super::Writer`] makes.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::{FormatError, TensorInfo};

/// A file in the making on disk. Takes the bytes of each announced tensor in turn.
#[derive(Debug)]
pub struct Stream {
    /// `None` once finished.
    file: Option<BufWriter<File>>,
    unfinished: PathBuf,
    path: PathBuf,
    position: usize,
    alignment: usize,
    /// Bytes of each announced tensor, the next one last.
    expected: Vec<(String, usize)>,
    /// Bytes of the current tensor that are written.
    written: usize,
}

impl Stream {
    pub(super) fn create(
        path: &Path,
        header: &[u8],
        alignment: usize,
        infos: &[TensorInfo],
    ) -> Result<Self, FormatError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // The process id keeps two runs with the same output apart.
        let hidden = format!(".{name}.{}.unfinished", std::process::id());
        let unfinished = path.with_file_name(hidden);
        let file =
            File::create_new(&unfinished).map_err(|source| FormatError::io(&unfinished, source))?;
        let lengths = infos.iter().rev().map(|info| {
            let len = info.byte_len().expect("the header was checked");
            (info.name.clone(), len)
        });
        let mut stream = Self {
            file: Some(BufWriter::with_capacity(1 << 20, file)),
            unfinished,
            path: path.to_path_buf(),
            position: 0,
            alignment,
            expected: lengths.collect(),
            written: 0,
        };
        stream.put(header)?;
        stream.end_tensor()?;
        Ok(stream)
    }

    /// Appends bytes to the current tensor. When it is full the next one begins.
    ///
    /// # Errors
    /// If the disk is full, or if the bytes are more than the tensor has left.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        let Some((name, len)) = self.expected.last() else {
            return Err(self.misfit("the end of the file", 0, bytes.len()));
        };
        let left = len - self.written;
        if bytes.len() > left {
            return Err(self.misfit(&format!("tensor `{name}`"), left, bytes.len()));
        }
        let is_full = bytes.len() == left;
        self.put(bytes)?;
        self.written += bytes.len();
        if is_full {
            self.written = 0;
            self.expected.pop();
            self.end_tensor()?;
        }
        Ok(())
    }

    /// Puts the file where it was meant to be, over any that is there.
    ///
    /// # Errors
    /// If a tensor is not there, or the disk is full; the path is then as it was.
    pub fn finish(mut self) -> Result<(), FormatError> {
        if let Some((name, len)) = self.expected.last() {
            return Err(self.misfit(&format!("tensor `{name}`"), *len, self.written));
        }
        let io = |source| FormatError::io(&self.unfinished, source);
        if let Some(mut file) = self.file.take() {
            file.flush().map_err(io)?;
            // A rename must not overtake the contents.
            file.get_ref().sync_all().map_err(io)?;
        }
        std::fs::rename(&self.unfinished, &self.path)
            .map_err(|source| FormatError::io(&self.path, source))
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        let file = self.file.as_mut().expect("open until finished");
        file.write_all(bytes)
            .map_err(|source| FormatError::io(&self.unfinished, source))?;
        self.position += bytes.len();
        Ok(())
    }

    /// Pads to where the next tensor begins. ggml wants it after the last, too.
    pub(super) fn end_tensor(&mut self) -> Result<(), FormatError> {
        let file = self.file.as_mut().expect("open until finished");
        pad(file, &mut self.position, self.alignment)
            .map_err(|source| FormatError::io(&self.unfinished, source))
    }

    fn misfit(&self, what: &str, expected: usize, found: usize) -> FormatError {
        let bytes = |n: usize| format!("{n} bytes");
        FormatError::field(&self.path, what, bytes(expected), bytes(found))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // Renamed: there is nothing of that name any more.
        let _ = std::fs::remove_file(&self.unfinished);
    }
}

/// Zeros up to the next multiple of `alignment`.
pub(super) fn pad(
    out: &mut impl Write,
    position: &mut usize,
    alignment: usize,
) -> std::io::Result<()> {
    let aligned = position.next_multiple_of(alignment);
    let zeros = [0u8; 64];
    while *position < aligned {
        let step = zeros.len().min(aligned - *position);
        out.write_all(&zeros[..step])?;
        *position += step;
    }
    Ok(())
}
