//! Lines of a file, one at a time, with a limit on their length.

use std::io::{self, BufRead, Read};

/// Longest line that is read, in bytes. A longer one is skipped and is an error
/// of its row.
const MAX_LINE_BYTES: usize = 16 << 20;

/// Why a line has no text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineFault {
    /// Longer than what is read.
    #[error("the line is longer than {max} bytes")]
    TooLong {
        /// The limit.
        max: usize,
    },
    /// Not text.
    #[error("the line is not UTF-8: byte {offset} cannot stand there")]
    NotUtf8 {
        /// The first byte that is no part of a character.
        offset: usize,
    },
}

/// One line without its end.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// From 1.
    pub number: u64,
    /// Without `\n` or `\r\n`.
    pub text: Result<String, LineFault>,
}

/// Reads lines that end in `\n` or `\r\n`; a byte order mark at the beginning is
/// no part of the first.
#[derive(Debug)]
pub struct Lines<R> {
    reader: R,
    num_read: u64,
    max_bytes: usize,
}

impl<R: BufRead> Lines<R> {
    /// Lines of up to 16 MiB.
    pub fn new(reader: R) -> Self {
        Self::with_limit(reader, MAX_LINE_BYTES)
    }

    /// Lines of up to `max_bytes`; a longer one is skipped and is a [`LineFault`].
    pub fn with_limit(reader: R, max_bytes: usize) -> Self {
        Self {
            reader,
            num_read: 0,
            max_bytes,
        }
    }

    fn read(&mut self) -> io::Result<Option<Line>> {
        let mut bytes = Vec::new();
        // Room for the limit and `\r\n`.
        let most = self.max_bytes as u64 + 2;
        let mut limited = self.reader.by_ref().take(most);
        if limited.read_until(b'\n', &mut bytes)? == 0 {
            return Ok(None);
        }
        self.num_read += 1;
        let ended = bytes.last() == Some(&b'\n');
        if ended {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        if self.num_read == 1 && bytes.starts_with("\u{feff}".as_bytes()) {
            bytes.drain(..'\u{feff}'.len_utf8());
        }
        let text = if bytes.len() > self.max_bytes {
            if !ended {
                self.reader.skip_until(b'\n')?;
            }
            Err(LineFault::TooLong {
                max: self.max_bytes,
            })
        } else {
            String::from_utf8(bytes).map_err(|error| LineFault::NotUtf8 {
                offset: error.utf8_error().valid_up_to(),
            })
        };
        Ok(Some(Line {
            number: self.num_read,
            text,
        }))
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}
