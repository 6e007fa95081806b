//! CSV and TSV: RFC 4180, with what spreadsheets make of it.
//!
//! Lines end in `\n`, `\r\n` or `\r`; cells with delimiters, quotes or line ends are
//! quoted, and a quote inside is doubled. A byte order mark is passed over, and so
//! are blank lines. The first row is the header.

#[cfg(test)]
mod tests;

use super::{MAX_COLUMNS, TableError, TableFault, TableRow, check_names};
use csv_core::{ReadRecordResult, Reader as Core, ReaderBuilder};
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};
use std::sync::Arc;

/// Longest row that is read, in bytes. A longer one is skipped and is an error of
/// its row.
const MAX_ROW_BYTES: usize = 16 << 20;

/// How a CSV file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CsvOptions {
    /// What stands between cells.
    pub delimiter: u8,
}

impl CsvOptions {
    /// Commas.
    pub const CSV: Self = Self { delimiter: b',' };
    /// Tabulators.
    pub const TSV: Self = Self { delimiter: b'\t' };
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self::CSV
    }
}

/// Reads the rows of a CSV file. All values are strings, and an empty cell is null.
/// Yields an error only when the file itself cannot be read on.
pub struct CsvRows<R> {
    reader: BufReader<Chain<Cursor<Vec<u8>>, R>>,
    core: Core,
    columns: Arc<[String]>,
    place: Place,
    /// The cells of the row that is read, one after the other.
    cells: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
    max_bytes: usize,
    is_done: bool,
}

/// Counts lines.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// That of the next byte, from 1.
    line: u64,
    /// The last byte was `\r`, so that a `\n` ends no further line.
    is_after_cr: bool,
}

/// A row as it was found.
struct Found {
    line: u64,
    num_cells: usize,
    fault: Option<TableFault>,
}

impl<R: Read> CsvRows<R> {
    /// Reads the header of `reader`.
    ///
    /// # Errors
    /// There is no header, or one whose names are empty, double or no text.
    pub fn new(reader: R, options: CsvOptions) -> Result<Self, TableError> {
        Self::with_limit(reader, options, MAX_ROW_BYTES)
    }

    fn with_limit(
        mut reader: R,
        options: CsvOptions,
        max_bytes: usize,
    ) -> Result<Self, TableError> {
        let first = first_bytes(&mut reader)?;
        if first.starts_with(&[0xff, 0xfe]) || first.starts_with(&[0xfe, 0xff]) {
            return Err(TableError::Utf16);
        }
        let is_marked = first == "\u{feff}".as_bytes();
        let first = if is_marked { Vec::new() } else { first };
        let mut rows = Self {
            reader: BufReader::with_capacity(1 << 16, Cursor::new(first).chain(reader)),
            core: ReaderBuilder::new().delimiter(options.delimiter).build(),
            columns: Arc::from([]),
            place: Place {
                line: 1,
                is_after_cr: false,
            },
            cells: vec![0; max_bytes.min(1 << 12) + 1],
            ends: vec![0; MAX_COLUMNS + 1],
            max_bytes,
            is_done: false,
        };
        let header = rows.find_row()?.ok_or(TableError::NoHeader)?;
        if header.num_cells > MAX_COLUMNS {
            return Err(TableError::TooManyColumns { max: MAX_COLUMNS });
        }
        let names = match header.fault {
            Some(fault) => Err(fault),
            None => rows.names(header.num_cells),
        };
        let names = names.map_err(TableError::Header)?;
        check_names(names.iter().map(String::as_str))?;
        // One more, to find rows that are too long.
        rows.ends = vec![0; names.len() + 1];
        rows.columns = names.into();
        Ok(rows)
    }

    /// The columns' names.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    fn names(&self, num_cells: usize) -> Result<Vec<String>, TableFault> {
        let names = (0..num_cells).map(|index| self.text(index, &(index + 1).to_string()));
        names.map(|name| name.map(str::to_owned)).collect()
    }

    /// The text of cell `index`; `column` is its name, for the fault.
    fn text(&self, index: usize, column: &str) -> Result<&str, TableFault> {
        let begin = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        let cell = &self.cells[begin..self.ends[index]];
        std::str::from_utf8(cell).map_err(|error| TableFault::NotUtf8 {
            column: column.to_owned(),
            offset: error.valid_up_to(),
        })
    }

    fn fields(&self, found: &Found) -> Result<Vec<(String, Value)>, TableFault> {
        if let Some(fault) = &found.fault {
            return Err(fault.clone());
        }
        if found.num_cells != self.columns.len() {
            return Err(TableFault::Cells {
                expected: self.columns.len(),
                found: found.num_cells,
            });
        }
        let field = |(index, name): (usize, &String)| {
            let text = self.text(index, name)?;
            let value = if text.is_empty() {
                Value::Null
            } else {
                Value::from(text)
            };
            Ok((name.clone(), value))
        };
        self.columns.iter().enumerate().map(field).collect()
    }

    /// Reads the next row into `cells` and `ends`; none at the end of the file.
    fn find_row(&mut self) -> io::Result<Option<Found>> {
        if !self.skip_blank_lines()? {
            return Ok(None);
        }
        let line = self.place.line;
        let (mut num_bytes, mut num_cells, mut num_ends) = (0, 0, 0);
        let mut fault = None;
        loop {
            let buffer = self.reader.fill_buf()?;
            let is_at_end = buffer.is_empty();
            // A line end behind the last byte ends the row, unless a quote is open.
            let input = if is_at_end { b"\n" } else { buffer };
            let cells = &mut self.cells[num_bytes..];
            let ends = &mut self.ends[num_ends..];
            let (result, num_read, num_new_bytes, num_new_ends) =
                self.core.read_record(input, cells, ends);
            if !is_at_end {
                self.place.pass(&input[..num_read]);
                self.reader.consume(num_read);
            }
            num_bytes += num_new_bytes;
            num_ends += num_new_ends;
            num_cells += num_new_ends;
            match result {
                ReadRecordResult::Record | ReadRecordResult::End => {
                    return Ok(Some(Found {
                        line,
                        num_cells,
                        fault,
                    }));
                }
                ReadRecordResult::InputEmpty if is_at_end => {
                    self.is_done = true;
                    return Ok(Some(Found {
                        line,
                        num_cells,
                        fault: Some(TableFault::OpenQuote),
                    }));
                }
                ReadRecordResult::InputEmpty => {}
                // One more than may be, to find rows that are longer.
                ReadRecordResult::OutputFull if self.cells.len() <= self.max_bytes => {
                    let num_bytes = (self.cells.len() * 2).min(self.max_bytes + 1);
                    self.cells.resize(num_bytes, 0);
                }
                // Reads on, to find where the row ends, over what nobody will read.
                ReadRecordResult::OutputFull => {
                    let max = self.max_bytes;
                    fault = Some(TableFault::TooLong { max });
                    num_bytes = 0;
                }
                // Far more cells than columns: counted, and not kept.
                ReadRecordResult::OutputEndsFull => num_ends = 0,
            }
        }
    }

    /// Whether there is something behind them.
    fn skip_blank_lines(&mut self) -> io::Result<bool> {
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                return Ok(false);
            }
            let is_content = |byte: &u8| !matches!(byte, b'\r' | b'\n');
            let content = buffer.iter().position(is_content);
            let num_blank = content.unwrap_or(buffer.len());
            self.place.pass(&buffer[..num_blank]);
            self.reader.consume(num_blank);
            if content.is_some() {
                return Ok(true);
            }
        }
    }
}

impl Place {
    fn pass(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\r' || (byte == b'\n' && !self.is_after_cr) {
                self.line += 1;
            }
            self.is_after_cr = byte == b'\r';
        }
    }
}

impl<R: Read> Iterator for CsvRows<R> {
    type Item = io::Result<TableRow>;

    fn next(&mut self) -> Option<io::Result<TableRow>> {
        if self.is_done {
            return None;
        }
        match self.find_row() {
            Ok(Some(found)) => Some(Ok(TableRow {
                line: found.line,
                fields: self.fields(&found),
            })),
            Ok(None) => {
                self.is_done = true;
                None
            }
            Err(error) => {
                self.is_done = true;
                Some(Err(error))
            }
        }
    }
}

/// Up to three bytes: as many as tell how the file is encoded.
fn first_bytes(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut first = Vec::new();
    let mut limited = reader.take(3);
    limited.read_to_end(&mut first)?;
    Ok(first)
}
