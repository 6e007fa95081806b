//! The journal beside a record: what each line is the answer of.
//!
//! One line of JSON says what job it is; entries of [`ENTRY_BYTES`] follow, one a line
//! of the record, little-endian:
//!
//! ```text
//! row u64 | id u128 | offset u64 | length u64 | sum of the line [u8; 8] | flags u32 | sum of the entry [u8; 4]
//! ```
//!
//! Sums are the first bytes of SHA-256. An entry is written before its line: every line
//! that is whole has its entry, and an entry without a line counts for nothing.

use super::{Description, RecordError};
use crate::job::census::Census;
use crate::job::id::{RowId, Settings};
use crate::job::shard::Shard;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Bytes of one entry.
const ENTRY_BYTES: usize = 56;

/// Set where the answer is an error.
const FAILED: u32 = 1;

/// The version of the format.
const VERSION: u32 = 1;

/// Longest header that is read.
const MAX_HEADER_BYTES: u64 = 1 << 20;

/// Which job a record is of, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    #[serde(rename = "choral_journal")]
    pub(super) version: u32,
    /// What there is, once all lines are there in the order of the rows.
    pub(super) complete: Option<Complete>,
    /// Where rows get their seeds from.
    pub(super) seed: u64,
    /// The files that rows are read from.
    pub(super) inputs: Vec<String>,
    /// Which of their rows, if not all.
    pub(super) shard: Option<Shard>,
    /// What all answers depend on.
    pub(super) settings: Settings,
}

impl Header {
    pub(super) fn new(job: Description, seed: u64) -> Self {
        let Description {
            inputs,
            shard,
            settings,
        } = job;
        Self {
            version: VERSION,
            complete: None,
            seed,
            inputs,
            shard,
            settings,
        }
    }
}

/// What a finished record has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Complete {
    /// Lines, and entries.
    pub(super) num_lines: u64,
    /// Bytes of all lines.
    pub(super) num_bytes: u64,
    /// All rows of the input, those of other shards included.
    pub(super) census: Census,
}

/// One line of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) row: u64,
    pub(super) id: RowId,
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) sum: [u8; 8],
    pub(super) is_failed: bool,
}

impl Entry {
    /// For `line`, which begins at `offset`.
    pub(super) fn new(row: u64, id: RowId, offset: u64, line: &[u8], is_failed: bool) -> Self {
        Self {
            row,
            id,
            offset,
            length: line.len() as u64,
            sum: first(line),
            is_failed,
        }
    }

    pub(super) fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }

    pub(super) fn is_of(&self, line: &[u8]) -> bool {
        self.sum == first(line)
    }

    fn to_bytes(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..8].copy_from_slice(&self.row.to_le_bytes());
        bytes[8..24].copy_from_slice(&self.id.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.offset.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.length.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.sum);
        let flags = if self.is_failed { FAILED } else { 0 };
        bytes[48..52].copy_from_slice(&flags.to_le_bytes());
        let sum: [u8; 4] = first(&bytes[..52]);
        bytes[52..].copy_from_slice(&sum);
        bytes
    }

    /// `None` if the bytes are not those that were written.
    fn from_bytes(bytes: &[u8; ENTRY_BYTES]) -> Option<Self> {
        let u64_at = |at: usize| {
            let bytes = bytes[at..].first_chunk().expect("`at` is within an entry");
            u64::from_le_bytes(*bytes)
        };
        if bytes[52..] != first::<4>(&bytes[..52]) {
            return None;
        }
        let id = u128::from(u64_at(8)) | u128::from(u64_at(16)) << 64;
        Some(Self {
            row: u64_at(0),
            id: RowId(id),
            offset: u64_at(24),
            length: u64_at(32),
            sum: *bytes[40..].first_chunk().expect("an entry is longer"),
            is_failed: u64_at(48) as u32 & FAILED != 0,
        })
    }
}

/// The first bytes of SHA-256.
fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let digest = Sha256::digest(bytes);
    *digest.first_chunk().expect("SHA-256 has 32 bytes")
}

/// A journal on disk.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    pub(super) header: Header,
    header_bytes: u64,
    num_entries: u64,
    /// Entries that are not written yet.
    unwritten: Vec<u8>,
}

impl Journal {
    /// Begins a journal in place of whatever is at `path`.
    pub(super) fn create(path: &Path, header: Header) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        let mut file = options.open(path)?;
        let mut line = serde_json::to_vec(&header)?;
        line.push(b'\n');
        file.write_all(&line)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            header,
            header_bytes: line.len() as u64,
            num_entries: 0,
            unwritten: Vec::new(),
        })
    }

    /// Opens the journal that `reader` has read, and keeps its first `num_entries`.
    pub(super) fn reopen(path: &Path, reader: JournalReader, num_entries: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).open(path)?;
        let mut journal = Self {
            path: path.to_owned(),
            file,
            header: reader.header,
            header_bytes: reader.header_bytes,
            num_entries,
            unwritten: Vec::new(),
        };
        journal.cut_at(num_entries)?;
        Ok(journal)
    }

    /// Forgets entries from `num_entries` on.
    pub(super) fn cut_at(&mut self, num_entries: u64) -> io::Result<()> {
        use std::io::{Seek as _, SeekFrom};
        self.num_entries = num_entries;
        let end = self.position(num_entries);
        self.file.set_len(end)?;
        self.file.seek(SeekFrom::Start(end))?;
        Ok(())
    }

    fn position(&self, entry: u64) -> u64 {
        self.header_bytes + entry * ENTRY_BYTES as u64
    }

    /// How many entries there are, those that are not written yet included.
    pub(super) fn len(&self) -> u64 {
        self.num_entries
    }

    /// How many entries are on the disk.
    pub(super) fn num_written(&self) -> u64 {
        self.num_entries - (self.unwritten.len() / ENTRY_BYTES) as u64
    }

    /// Adds an entry, which [`write`](Self::write) writes. Its number.
    pub(super) fn push(&mut self, entry: Entry) -> u64 {
        self.unwritten.extend(entry.to_bytes());
        self.num_entries += 1;
        self.num_entries - 1
    }

    /// Adds all entries of `other`, which have been written, as they are.
    pub(super) fn push_all(&mut self, other: &Self) -> io::Result<()> {
        const AT_ONCE: u64 = 1024;
        let mut bytes = Vec::new();
        let mut number = 0;
        while number < other.num_entries {
            let count = AT_ONCE.min(other.num_entries - number);
            bytes.resize(count as usize * ENTRY_BYTES, 0);
            read_at(&other.file, &mut bytes, other.position(number))?;
            self.unwritten.extend_from_slice(&bytes);
            self.num_entries += count;
            self.write()?;
            number += count;
        }
        Ok(())
    }

    /// Writes what was added. If that fails, what is on the disk is as it was.
    pub(super) fn write(&mut self) -> io::Result<()> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        let written = self.file.write_all(&self.unwritten);
        let num_unwritten = (self.unwritten.len() / ENTRY_BYTES) as u64;
        self.unwritten.clear();
        if written.is_err() {
            self.cut_at(self.num_entries - num_unwritten)?;
        }
        written
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Entry `number`, which must have been written.
    pub(super) fn read(&self, number: u64) -> io::Result<Entry> {
        let mut bytes = [0; ENTRY_BYTES];
        read_at(&self.file, &mut bytes, self.position(number))?;
        Entry::from_bytes(&bytes).ok_or_else(|| {
            let message = format!("{}: entry {number} was changed", self.path.display());
            io::Error::new(io::ErrorKind::InvalidData, message)
        })
    }
}

/// An entry that is not what was written.
pub(super) struct Damaged;

/// Reads a journal from its beginning.
pub(super) struct JournalReader {
    reader: BufReader<File>,
    pub(super) header: Header,
    header_bytes: u64,
}

impl JournalReader {
    /// `None` if there is no journal, or one that never got as far as its first entry.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, RecordError> {
        let damaged = |reason: String| RecordError::Journal {
            path: path.to_owned(),
            reason,
        };
        let io = |error| RecordError::io(path, error);
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        let mut limited = reader.by_ref().take(MAX_HEADER_BYTES);
        limited.read_until(b'\n', &mut line).map_err(io)?;
        if line.last() != Some(&b'\n') {
            return if (line.len() as u64) < MAX_HEADER_BYTES {
                Ok(None)
            } else {
                Err(damaged("it does not begin with a line of JSON".to_owned()))
            };
        }
        let header: Header = serde_json::from_slice(&line)
            .map_err(|error| damaged(format!("its first line: {error}")))?;
        if header.version != VERSION {
            let found = header.version;
            return Err(damaged(format!(
                "it has version {found}, expected {VERSION}"
            )));
        }
        Ok(Some(Self {
            reader,
            header,
            header_bytes: line.len() as u64,
        }))
    }

    /// The next entry, if there is one.
    pub(super) fn next(&mut self) -> Option<Result<Entry, Damaged>> {
        let mut bytes = [0; ENTRY_BYTES];
        self.reader.read_exact(&mut bytes).ok()?;
        Some(Entry::from_bytes(&bytes).ok_or(Damaged))
    }
}

/// Reads at a place of a file, whatever place it is at.
#[cfg(unix)]
pub(super) fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

/// Reads at a place of a file, and moves its place to where it was.
#[cfg(not(unix))]
pub(super) fn read_at(mut file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    use std::io::{Seek as _, SeekFrom};
    let place = file.stream_position()?;
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(bytes)?;
    file.seek(SeekFrom::Start(place)).map(drop)
}
