//! Looks at how deep a file's columns nest, before anything recurses into them.
//!
//! The `parquet` crate builds the tree of columns by recursion, with a list as long
//! as each group says it has members: a crafted footer takes the stack, or more
//! memory than there is, and neither can be caught. So the schema is walked here
//! first, in the raw footer, without recursing into it.
//!
//! Source: Thrift's compact protocol; `FileMetaData` and `SchemaElement` of
//! `parquet.thrift`.

use super::super::TableError;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

/// Deepest nesting of columns. A list takes two levels.
const MAX_NESTING: usize = 64;

/// Longest footer, in bytes. That of a thousand columns in a thousand groups of rows
/// has about a hundred megabytes.
const MAX_FOOTER_BYTES: u64 = 256 << 20;

/// Deepest nesting of Thrift's own structures; the footer's have fewer than ten.
const MAX_THRIFT_NESTING: usize = 32;

/// The footer's length and the magic number behind it.
const TAIL_BYTES: u64 = 8;

/// Refuses a file whose columns nest too deep, or whose footer cannot be walked.
pub(super) fn check(mut file: &File) -> Result<(), TableError> {
    let length = file.seek(SeekFrom::End(0))?;
    let Some(footer_end) = length.checked_sub(TAIL_BYTES) else {
        return Err(damaged("it is too short"));
    };
    file.seek(SeekFrom::Start(footer_end))?;
    let mut tail = [0; TAIL_BYTES as usize];
    file.read_exact(&mut tail)?;
    let [a, b, c, d, magic @ ..] = tail;
    match &magic {
        b"PAR1" => {}
        b"PARE" => return Err(damaged("it is encrypted")),
        _ => return Err(damaged("it does not end as Parquet files do")),
    }
    let num_bytes = u64::from(u32::from_le_bytes([a, b, c, d]));
    let Some(footer_begin) = footer_end.checked_sub(num_bytes) else {
        return Err(damaged("its footer is longer than the file"));
    };
    if num_bytes > MAX_FOOTER_BYTES {
        return Err(damaged("its footer is longer than 256 MiB"));
    }
    file.seek(SeekFrom::Start(footer_begin))?;
    let mut footer = vec![0; num_bytes as usize];
    file.read_exact(&mut footer)?;
    file.rewind()?;
    let mut walk = Walk { rest: &footer };
    walk.footer()
}

fn damaged(cause: &str) -> TableError {
    TableError::Parquet(cause.to_owned())
}

/// What is left of the footer.
struct Walk<'a> {
    rest: &'a [u8],
}

/// Thrift's types, as its compact protocol numbers them.
mod kind {
    pub(super) const TRUE: u8 = 1;
    pub(super) const FALSE: u8 = 2;
    pub(super) const BYTE: u8 = 3;
    pub(super) const I16: u8 = 4;
    pub(super) const I32: u8 = 5;
    pub(super) const I64: u8 = 6;
    pub(super) const DOUBLE: u8 = 7;
    pub(super) const BINARY: u8 = 8;
    pub(super) const LIST: u8 = 9;
    pub(super) const SET: u8 = 10;
    pub(super) const MAP: u8 = 11;
    pub(super) const STRUCT: u8 = 12;
    pub(super) const UUID: u8 = 13;
}

impl Walk<'_> {
    /// `FileMetaData`: field 2 is the schema.
    fn footer(&mut self) -> Result<(), TableError> {
        let mut id = 0;
        while let Some(kind) = self.field(&mut id)? {
            if id == 2 && kind == kind::LIST {
                self.schema()?;
            } else {
                self.skip(kind, 0)?;
            }
        }
        Ok(())
    }

    /// The tree of columns, each group before its members.
    fn schema(&mut self) -> Result<(), TableError> {
        let (num_elements, kind) = self.list()?;
        if kind != kind::STRUCT {
            return Err(damaged("its schema is no list of columns"));
        }
        // For each group that is open, how many members are still to come.
        let mut open: Vec<usize> = Vec::new();
        for _ in 0..num_elements {
            let num_members = self.schema_element()?;
            if num_members > num_elements {
                return Err(damaged(
                    "a group of its columns has more members than there are",
                ));
            }
            if let Some(left) = open.last_mut() {
                *left -= 1;
            }
            if num_members > 0 {
                open.push(num_members);
            }
            while open.last() == Some(&0) {
                open.pop();
            }
            if open.len() > MAX_NESTING {
                return Err(damaged("its columns nest deeper than 64 levels"));
            }
        }
        Ok(())
    }

    /// `SchemaElement`: field 5 is the number of its members.
    fn schema_element(&mut self) -> Result<usize, TableError> {
        let mut num_members = 0;
        let mut id = 0;
        while let Some(kind) = self.field(&mut id)? {
            if id == 5 && kind == kind::I32 {
                // Zigzag, as all of Thrift's numbers with a sign.
                let number = self.varint()?;
                let is_negative = number % 2 == 1;
                if is_negative {
                    return Err(damaged("a group of its columns has less than no members"));
                }
                num_members = usize::try_from(number / 2).unwrap_or(usize::MAX);
            } else {
                self.skip(kind, 0)?;
            }
        }
        Ok(num_members)
    }

    /// The type of the next field of a struct; none at its end.
    fn field(&mut self, id: &mut i64) -> Result<Option<u8>, TableError> {
        let head = self.byte()?;
        let kind = head & 0x0f;
        if kind == 0 {
            return Ok(None);
        }
        let step = head >> 4;
        if step == 0 {
            let number = self.varint()?;
            *id = (number >> 1) as i64 ^ -((number & 1) as i64);
        } else {
            *id = id.wrapping_add(i64::from(step));
        }
        Ok(Some(kind))
    }

    /// The length of a list and the type of its elements.
    fn list(&mut self) -> Result<(usize, u8), TableError> {
        let head = self.byte()?;
        let length = match head >> 4 {
            15 => self.varint()?,
            short => u64::from(short),
        };
        // An element takes a byte at least.
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > self.rest.len() {
            return Err(damaged("a list of its footer is longer than the footer"));
        }
        Ok((length, head & 0x0f))
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Result<(), TableError> {
        if depth > MAX_THRIFT_NESTING {
            return Err(damaged("its footer nests deeper than any"));
        }
        match kind {
            kind::TRUE | kind::FALSE => Ok(()),
            kind::BYTE => self.byte().map(drop),
            kind::I16 | kind::I32 | kind::I64 => self.varint().map(drop),
            kind::DOUBLE => self.bytes(8),
            kind::UUID => self.bytes(16),
            kind::BINARY => {
                let length = self.varint()?;
                self.bytes(length)
            }
            kind::LIST | kind::SET => {
                let (length, element) = self.list()?;
                for _ in 0..length {
                    self.skip_element(element, depth)?;
                }
                Ok(())
            }
            kind::MAP => {
                let length = self.varint()?;
                if length == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                for _ in 0..length {
                    self.skip_element(kinds >> 4, depth)?;
                    self.skip_element(kinds & 0x0f, depth)?;
                }
                Ok(())
            }
            kind::STRUCT => {
                let mut id = 0;
                while let Some(kind) = self.field(&mut id)? {
                    self.skip(kind, depth + 1)?;
                }
                Ok(())
            }
            _ => Err(damaged("its footer has a type that Thrift does not")),
        }
    }

    /// Booleans are part of a field's head, but take a byte in a list.
    fn skip_element(&mut self, kind: u8, depth: usize) -> Result<(), TableError> {
        match kind {
            kind::TRUE | kind::FALSE => self.byte().map(drop),
            kind => self.skip(kind, depth + 1),
        }
    }

    fn varint(&mut self) -> Result<u64, TableError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(damaged("its footer has a number of more than 64 bits"))
    }

    fn byte(&mut self) -> Result<u8, TableError> {
        let (&byte, rest) = self.rest.split_first().ok_or_else(cut)?;
        self.rest = rest;
        Ok(byte)
    }

    fn bytes(&mut self, count: u64) -> Result<(), TableError> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        self.rest = self.rest.get(count..).ok_or_else(cut)?;
        Ok(())
    }
}

fn cut() -> TableError {
    damaged("its footer is cut off")
}
