//! Answers on disk, so that nothing that was computed is lost.
//!
//! A [`Record`] is a file of one line a row. While the job runs, lines are appended as
//! answers come; a journal beside it (see [`journal`]) says what each is the answer of.
//! A job that is run again finds there what need not be computed. At the end the lines
//! are put in the order of the rows, in a second file that takes the first one's place.
//!
//! What may happen at any moment, and what is found then:
//!
//! - *killed while writing*: lines and entries are whole up to some point; what is torn
//!   is cut off.
//! - *killed while putting in order*: the first file is as it was, or the second one is
//!   complete and its journal is in place, and takes the first one's place now.
//! - *power cut*: what was synced (once a second) is there; of the rest, what does not
//!   match its sum is cut off.
//! - *disk full*: the line that found no room is cut off, and the job ends.
//!
//! - *damaged in the middle*: what does not match its sum is computed again, and the rest
//!   is kept.
//!
//! Beside `OUT`: `OUT.journal`, which stays; while a job runs, `OUT.lock`; while it ends,
//! `OUT.journal.sorted` and `OUT.journal.new` ([`side_files`]).

mod description;
mod error;
mod found;
mod index;
mod journal;
mod line;
mod lock;
mod part;
mod paths;
#[cfg(test)]
mod tests;

use super::answer::Answer;
use super::census::Counter;
use super::id::{Identity, RowId};
use super::row::{Form, Row};
use super::run::Kept;
use found::{Before, Found, compare, num_distinct, prefix};
use index::Index;
use journal::{Complete, Entry, Header, Journal, read_at};
use line::{is_of_place, renumbered};
use lock::Lock;
use paths::{Paths, is_same_file, named, remove, resolved, sync_folder, with_suffix};
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

pub use description::Description;
pub use error::RecordError;
pub use found::num_recorded;
pub(super) use part::PartReader;
pub use paths::side_files;
pub(super) use paths::{journal_of, temporary};

/// The most that a power cut may cost.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// What is to become of an output that is there already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reuse {
    /// Begin anew, whatever is there.
    pub overwrite: bool,
    /// Keep what is still right of a job with other settings or files, or of one that was
    /// finished, and leave out the rest.
    pub changed: bool,
    /// Compute rows again whose answers are errors.
    pub retry_errors: bool,
}

/// Answers on disk, and which rows they are of.
#[derive(Debug)]
pub struct Record {
    paths: Paths,
    file: File,
    /// Bytes in the file.
    length: u64,
    journal: Journal,
    /// What the journal begins with while this job runs.
    header: Header,
    /// Lines that are not written yet.
    unwritten: Vec<u8>,
    identity: Identity,
    /// First bits of the ids of earlier runs, and their entries; sorted.
    known: Vec<(u64, u64)>,
    reuse: Reuse,
    /// The ids of rows whose answers are to come.
    expected: HashMap<u64, RowId>,
    index: Index,
    last_sync: Instant,
    /// Rows of this job so far, and whether they stand in their order from the file's
    /// beginning to its end.
    num_rows: u64,
    in_order: bool,
    last_row: Option<u64>,
    /// What was there at the beginning.
    before: Before,
    /// Rows whose answers were there, and count.
    num_reused: u64,
    /// A write failed: what is in memory is not what is on the disk.
    is_broken: bool,
    counter: Counter,
    _lock: Lock,
}

/// Held while something writes to `output`.
pub(in crate::job) fn lock(output: &Path) -> Result<impl Drop + use<>, RecordError> {
    Lock::take(output, with_suffix(output, ".lock"))
}

impl Record {
    /// Opens the record at `output`, or begins it. If it is of an earlier run of this
    /// job, its seed is taken over where `seed` is `None`; else it is `fresh_seed`.
    ///
    /// # Errors
    /// It cannot be read or written, another job is using it, or it is not this job's.
    pub fn open(
        output: &Path,
        job: Description,
        seed: Option<u64>,
        fresh_seed: u64,
        reuse: Reuse,
    ) -> Result<Self, RecordError> {
        let output = &resolved(output);
        let lock = Lock::take(output, with_suffix(output, ".lock"))?;
        let paths = Paths::new(output);
        let io = |error| RecordError::io(output, error);
        let mut found = Found::default();
        if !reuse.overwrite {
            found = Found::read(&paths)?;
        }
        // Up to here nothing was written.
        let mut length = 0;
        let mut journal = None;
        if let Some((reader, kept)) = found.journal {
            if !reuse.changed {
                compare(output, &reader.header, &job, seed)?;
            }
            if kept.in_sorted {
                fs::rename(&paths.sorted, output).map_err(io)?;
            }
            length = kept.length;
            let reopened = Journal::reopen(&paths.journal, reader, kept.num_entries);
            journal = Some(reopened.map_err(|error| RecordError::io(&paths.journal, error))?);
        }
        let seed = seed.unwrap_or(match &journal {
            Some(journal) => journal.header.seed,
            None => fresh_seed,
        });
        let mut known = found.known;
        known.sort_unstable();
        let before = Before {
            was_complete: journal
                .as_ref()
                .is_some_and(|j| j.header.complete.is_some()),
            num_answers: num_distinct(&known),
            ..found.before
        };
        let identity = Identity::new(&job.settings, seed);
        let header = Header::new(job, seed);
        let journal = match journal {
            Some(journal) => journal,
            None => Journal::create(&paths.journal, header.clone())
                .map_err(|error| RecordError::io(&paths.journal, error))?,
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(output).map_err(io)?;
        file.set_len(length).map_err(io)?;
        file.seek(SeekFrom::Start(length)).map_err(io)?;
        sync_folder(output);
        let folder = match paths.output.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let index = Index::new(folder).map_err(io)?;
        let mut record = Self {
            identity,
            header,
            file,
            length,
            unwritten: Vec::new(),
            known,
            reuse,
            expected: HashMap::new(),
            index,
            last_sync: Instant::now(),
            num_rows: 0,
            in_order: true,
            last_row: None,
            before,
            num_reused: 0,
            is_broken: false,
            counter: Counter::default(),
            journal,
            paths,
            _lock: lock,
        };
        if record.journal.header.complete.is_none() && record.journal.header != record.header {
            // What is kept is of a job with other settings; from now on it is this one's.
            record.replace_journal(record.header.clone()).map_err(io)?;
        }
        Ok(record)
    }

    /// Where rows get their seeds from.
    pub fn seed(&self) -> u64 {
        self.header.seed
    }

    /// How many rows had answers when the record was opened.
    pub fn num_found(&self) -> u64 {
        self.before.num_answers
    }

    /// How many lines did not match what the journal says of them. Their rows are
    /// computed again.
    pub fn num_damaged(&self) -> u64 {
        self.before.num_damaged
    }

    /// Whether there was a journal without its output, so that all is computed again.
    pub fn is_output_gone(&self) -> bool {
        self.before.is_output_gone
    }

    /// How many of the answers that were there are none of this job's rows.
    pub fn num_left_out(&self) -> u64 {
        self.before.num_answers.saturating_sub(self.num_reused)
    }

    /// Counts all rows of the input, those of other shards included.
    pub fn counter(&self) -> Counter {
        self.counter.clone()
    }

    /// Whether the answer of `row` is there, and if so, counts it among this job's.
    /// Every row of the job is asked for once, before its answer is put.
    ///
    /// # Errors
    /// The record cannot be read or written.
    pub fn kept(&mut self, row: &Row) -> io::Result<Option<Kept>> {
        let (id, index) = (self.identity.of(row), row.head.index);
        // An error names its line, which may be another now.
        if let Some((_, entry)) = self.find(id)?
            && entry.is_failed
            && !is_of_place(&self.line(&entry)?, &row.head)
        {
            return self.expect(index, id, false);
        }
        self.kept_as(index, id, row.head.form == Form::Own)
    }

    /// What all ids of this job's rows are made with.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// [`kept`](Self::kept), for row `index` with that id, whose line has its number in
    /// `row` if `is_numbered`.
    ///
    /// # Errors
    /// The record cannot be read or written.
    pub fn kept_as(
        &mut self,
        index: u64,
        id: RowId,
        is_numbered: bool,
    ) -> io::Result<Option<Kept>> {
        let Some((number, entry)) = self.find(id)? else {
            return self.expect(index, id, false);
        };
        let is_other_row = entry.row != index;
        if entry.is_failed && (self.reuse.retry_errors || is_other_row) {
            self.num_reused += 1;
            return self.expect(index, id, self.reuse.retry_errors);
        }
        if is_other_row && is_numbered {
            self.refuse_if_finished(index)?;
            let line = renumbered(&self.line(&entry)?, index)?;
            self.append(index, id, &line, entry.is_failed)?;
        } else {
            self.note(index, number)?;
        }
        self.num_reused += 1;
        Ok(Some(Kept {
            is_failed: entry.is_failed,
        }))
    }

    /// The answer of `row` is to come.
    fn expect(&mut self, row: u64, id: RowId, is_retry: bool) -> io::Result<Option<Kept>> {
        if !is_retry {
            self.refuse_if_finished(row)?;
        }
        self.expected.insert(row, id);
        Ok(None)
    }

    /// A finished output is not changed unasked.
    fn refuse_if_finished(&self, row: u64) -> io::Result<()> {
        if self.before.was_complete && !self.reuse.changed {
            let path = self.paths.output.clone();
            return Err(io::Error::other(RecordError::Finished { path, row }));
        }
        Ok(())
    }

    /// Appends an answer. It is in the file after the next [`flush`](Self::flush).
    ///
    /// # Errors
    /// The record cannot be written.
    ///
    /// # Panics
    /// If the row was not asked for ([`kept`](Self::kept)).
    pub fn put(&mut self, answer: &Answer) -> io::Result<()> {
        let mut line = Vec::new();
        answer.write(&mut line);
        self.put_line(answer.row, &line, answer.error.is_some())
    }

    /// [`put`](Self::put), for the line of row `index`, which ends in `\n`.
    ///
    /// # Errors
    /// The record cannot be written.
    ///
    /// # Panics
    /// If the row was not asked for ([`kept_as`](Self::kept_as)).
    pub fn put_line(&mut self, index: u64, line: &[u8], is_failed: bool) -> io::Result<()> {
        let id = self.expected.remove(&index);
        let id = id.expect("a row is asked for before it is answered");
        self.append(index, id, line, is_failed)
    }

    /// Writes what was put, and has the disk take it if the last time was a while ago.
    ///
    /// # Errors
    /// There is no room, say. What was written before stays whole.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.is_broken {
            return Err(io::Error::other("an earlier write failed"));
        }
        if self.unwritten.is_empty() {
            return Ok(());
        }
        let length = self.length - self.unwritten.len() as u64;
        let num_entries = self.journal.num_written();
        let written = self
            .journal
            .write()
            .map_err(|error| named(&self.paths.journal, error));
        let written = written.and_then(|()| {
            let written = self.file.write_all(&self.unwritten);
            written.map_err(|error| named(&self.paths.output, error))
        });
        self.unwritten.clear();
        if let Err(error) = written {
            // What is on the disk is whole again; what is in memory is not.
            self.is_broken = true;
            self.length = length;
            self.file.set_len(length)?;
            self.journal.cut_at(num_entries)?;
            return Err(error);
        }
        if self.last_sync.elapsed() >= SYNC_INTERVAL {
            self.sync()?;
        }
        Ok(())
    }

    /// Puts the lines in the order of the rows. Lines of rows that this job did not ask
    /// for are left out.
    ///
    /// # Errors
    /// There is no room for a second file, say. The record is as it was, and can be
    /// finished later.
    pub fn finish(&mut self) -> io::Result<()> {
        self.save()?;
        if self.before.was_complete && self.num_left_out() > 0 && !self.reuse.changed {
            return Err(io::Error::other(RecordError::Surplus {
                path: self.paths.output.clone(),
                found: self.before.num_answers,
                expected: self.num_rows,
            }));
        }
        if !is_same_file(&self.file, &self.paths.output) {
            let path = self.paths.output.display();
            return Err(io::Error::other(format!(
                "`{path}` was replaced or removed while the job ran"
            )));
        }
        let is_sorted = self.in_order && self.journal.len() == self.num_rows;
        remove(&self.paths.sorted)?;
        if is_sorted {
            let header = self.complete_header(self.length);
            if self.journal.header == header {
                return Ok(());
            }
            return self.replace_journal(header);
        }
        let num_bytes = self.num_sorted_bytes()?;
        let header = self.complete_header(num_bytes);
        let finished = self.write_sorted(header);
        if finished.is_err() {
            // They take room that there is none of.
            remove(&self.paths.sorted)?;
            remove(&self.paths.new_journal)?;
        }
        let (journal, file) = finished.map_err(|error| {
            let what = "there must be room for a second copy, in the order of the rows";
            io::Error::new(error.kind(), format!("{error} ({what})"))
        })?;
        // From here on the second file counts.
        fs::rename(&self.paths.new_journal, &self.paths.journal)?;
        sync_folder(&self.paths.output);
        fs::rename(&self.paths.sorted, &self.paths.output)?;
        sync_folder(&self.paths.output);
        self.length = file.metadata()?.len();
        (self.journal, self.file) = (journal, file);
        Ok(())
    }

    fn complete_header(&self, num_bytes: u64) -> Header {
        Header {
            complete: Some(Complete {
                num_lines: self.num_rows,
                num_bytes,
                census: self.counter.census(),
            }),
            ..self.header.clone()
        }
    }

    /// Bytes of the lines that are this job's.
    fn num_sorted_bytes(&self) -> io::Result<u64> {
        let mut num_bytes = 0;
        self.index.each(|_, number| {
            num_bytes += self.journal.read(number)?.length;
            Ok(())
        })?;
        Ok(num_bytes)
    }

    /// Writes what was put, and waits until the disk has it.
    ///
    /// # Errors
    /// It does not. What was written before stays whole.
    pub fn save(&mut self) -> io::Result<()> {
        self.flush()?;
        self.sync()
    }

    /// The file of lines: after [`finish`](Self::finish), in the order of the rows.
    pub fn path(&self) -> &Path {
        &self.paths.output
    }

    fn write_sorted(&self, header: Header) -> io::Result<(Journal, File)> {
        let mut journal = Journal::create(&self.paths.new_journal, header)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        let path = &self.paths.sorted;
        let file = options.open(path).map_err(|error| named(path, error))?;
        let mut out = BufWriter::with_capacity(1 << 20, &file);
        let mut offset = 0;
        self.index.each(|row, number| {
            let entry = self.journal.read(number)?;
            let line = self.line(&entry)?;
            out.write_all(&line).map_err(|error| named(path, error))?;
            journal.push(Entry {
                row,
                offset,
                ..entry
            });
            offset += entry.length;
            if journal.len().is_multiple_of(1024) {
                journal.write()?;
            }
            Ok(())
        })?;
        out.flush().map_err(|error| named(path, error))?;
        drop(out);
        file.sync_all()?;
        journal.write()?;
        journal.sync()?;
        Ok((journal, file))
    }

    fn append(&mut self, row: u64, id: RowId, line: &[u8], is_failed: bool) -> io::Result<()> {
        if self.journal.header.complete.is_some() {
            self.replace_journal(self.header.clone())?;
        }
        let entry = Entry::new(row, id, self.length, line, is_failed);
        let number = self.journal.push(entry);
        self.unwritten.extend_from_slice(line);
        self.length += line.len() as u64;
        self.note(row, number)
    }

    /// Counts entry `number` as the answer of `row`.
    fn note(&mut self, row: u64, number: u64) -> io::Result<()> {
        self.in_order &= number == self.num_rows && self.last_row.is_none_or(|last| last < row);
        self.last_row = Some(row);
        self.num_rows += 1;
        self.index.set(row, number)
    }

    fn find(&self, id: RowId) -> io::Result<Option<(u64, Entry)>> {
        let prefix = prefix(id);
        let end = self.known.partition_point(|(known, _)| *known <= prefix);
        let same = self.known[..end].iter().rev();
        // The last is the one that counts: an error may have been computed again.
        for (_, number) in same.take_while(|(known, _)| *known == prefix) {
            let entry = self.journal.read(*number)?;
            if entry.id == id {
                return Ok(Some((*number, entry)));
            }
        }
        Ok(None)
    }

    fn line(&self, entry: &Entry) -> io::Result<Vec<u8>> {
        let mut line = vec![0; entry.length as usize];
        read_at(&self.file, &mut line, entry.offset)?;
        if !entry.is_of(&line) {
            let (path, offset) = (self.paths.output.display(), entry.offset);
            let message = format!("`{path}` was changed while the job ran, at byte {offset}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(line)
    }

    /// The same journal with another header.
    fn replace_journal(&mut self, header: Header) -> io::Result<()> {
        let mut journal = Journal::create(&self.paths.new_journal, header)?;
        journal.push_all(&self.journal)?;
        journal.sync()?;
        fs::rename(&self.paths.new_journal, &self.paths.journal)?;
        sync_folder(&self.paths.output);
        self.journal = journal;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.journal.sync()?;
        self.last_sync = Instant::now();
        Ok(())
    }
}
