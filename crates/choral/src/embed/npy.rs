//! NumPy's format for arrays: `[rows, width]` of little-endian floats.
//!
//! Source: NumPy's `numpy.lib.format`, version 1.0 of the format.

use std::io::{self, Seek, SeekFrom, Write};

/// Bytes before the first element: a multiple of 64, and room for any shape.
const HEADER_BYTES: usize = 128;

/// Writes an array whose number of rows is known at its end only.
#[derive(Debug)]
pub struct NpyWriter<W> {
    out: W,
    width: usize,
    num_rows: u64,
}

impl<W: Write + Seek> NpyWriter<W> {
    /// Begins an array of rows of `width` elements.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn new(mut out: W, width: usize) -> io::Result<Self> {
        out.write_all(&header(0, width))?;
        Ok(Self {
            out,
            width,
            num_rows: 0,
        })
    }

    /// Appends a row.
    ///
    /// # Errors
    /// If it cannot be written.
    ///
    /// # Panics
    /// If it has another width.
    pub fn row(&mut self, values: &[f32]) -> io::Result<()> {
        assert_eq!(values.len(), self.width, "width of a row");
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.num_rows += 1;
        self.out.write_all(&bytes)
    }

    /// Puts what is there so far to where it can be read.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Writes the number of rows into the header.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(&header(self.num_rows, self.width))?;
        self.out.flush()
    }
}

fn header(num_rows: u64, width: usize) -> [u8; HEADER_BYTES] {
    let mut header = [b' '; HEADER_BYTES];
    let length = (HEADER_BYTES - 10) as u16;
    header[..8].copy_from_slice(b"\x93NUMPY\x01\x00");
    header[8..10].copy_from_slice(&length.to_le_bytes());
    let shape =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({num_rows}, {width}), }}");
    // At most 58 characters and two numbers of 20 digits.
    header[10..10 + shape.len()].copy_from_slice(shape.as_bytes());
    header[HEADER_BYTES - 1] = b'\n';
    header
}
