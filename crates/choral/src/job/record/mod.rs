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

mod index;
mod journal;
mod lock;
mod part;
#[cfg(test)]
mod tests;

use super::answer::Answer;
use super::census::Counter;
use super::id::{Identity, RowId, Settings};
use super::row::{Form, Row, RowHead};
use super::run::Kept;
use super::shard::Shard;
use index::Index;
use journal::{Complete, Entry, Header, Journal, JournalReader, read_at};
use lock::Lock;
use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(super) use part::PartReader;

/// The most that a power cut may cost.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A file of it cannot be read or written.
    #[error("{}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another job is writing there.
    #[error("another job is writing to `{}`", path.display())]
    InUse {
        /// The output.
        path: PathBuf,
    },
    /// There is a file, and nothing says that it is a record.
    #[error("`{}` exists, and no journal of a job is beside it", path.display())]
    Exists {
        /// The output.
        path: PathBuf,
    },
    /// Nothing says which rows its lines are of.
    #[error("no journal is beside `{}`, to say which rows its lines are of", path.display())]
    NoJournal {
        /// The output.
        path: PathBuf,
    },
    /// The record is of another job.
    #[error(
        "`{}` is the output of another job: {}",
        path.display(),
        differences.join("; ")
    )]
    OtherJob {
        /// The output.
        path: PathBuf,
        /// What differs: its name, what it was, and what it is in this job.
        differences: Vec<String>,
    },
    /// The record was finished, and is not what it was then.
    #[error("`{}` was changed after its job had finished: byte {offset} is not what the journal says", path.display())]
    Changed {
        /// The output.
        path: PathBuf,
        /// Where the line that differs begins.
        offset: u64,
    },
    /// The record was finished, and this job would change it.
    #[error(
        "`{}` is finished, and row {row} of the input is not the one that was answered there",
        path.display()
    )]
    Finished {
        /// The output.
        path: PathBuf,
        /// The first row that is new or was changed.
        row: u64,
    },
    /// The record was finished, and has answers that this job would leave out.
    #[error(
        "`{}` is finished, and has {found} answers to the {expected} rows of the input",
        path.display()
    )]
    Surplus {
        /// The output.
        path: PathBuf,
        /// Its answers.
        found: u64,
        /// The job's rows.
        expected: u64,
    },
    /// The journal is none.
    #[error("`{}` is no journal that can be read: {reason}", path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl RecordError {
    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

/// Files whose names a [`Description`] holds.
const MAX_NAMES: usize = 8;

/// Which job a record is to be of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description {
    /// The files that rows are read from. A record of other files is not taken over
    /// unless told to.
    pub inputs: Vec<String>,
    /// Which of their rows are the job's, if not all.
    pub shard: Option<Shard>,
    /// What all answers depend on.
    pub settings: Settings,
}

impl Description {
    /// A job over those files. Of thousands it keeps the first names, and a digest.
    pub fn new(inputs: Vec<String>, shard: Option<Shard>, settings: Settings) -> Self {
        let mut names = inputs;
        if names.len() > MAX_NAMES {
            let all = names.join("\n");
            let num_more = names.len() - MAX_NAMES + 1;
            names.truncate(MAX_NAMES - 1);
            names.push(format!("and {num_more} more ({})", digest(&all)));
        }
        Self {
            inputs: names,
            shard,
            settings,
        }
    }
}

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

/// What was there when the record was opened.
#[derive(Debug, Clone, Copy, Default)]
struct Before {
    was_complete: bool,
    /// Rows that have answers.
    num_answers: u64,
    num_damaged: u64,
    /// There was a journal, but not its output.
    is_output_gone: bool,
}

#[derive(Debug)]
struct Paths {
    output: PathBuf,
    journal: PathBuf,
    new_journal: PathBuf,
    sorted: PathBuf,
}

impl Paths {
    fn new(output: &Path) -> Self {
        Self {
            output: output.to_owned(),
            journal: with_suffix(output, ".journal"),
            new_journal: with_suffix(output, ".journal.new"),
            sorted: with_suffix(output, ".journal.sorted"),
        }
    }
}

/// All files that a job with this output makes beside it, for a while or for good. None
/// of them may be an input.
pub fn side_files(output: &Path) -> Vec<PathBuf> {
    let suffixes = [
        ".journal",
        ".journal.new",
        ".journal.sorted",
        ".lock",
        ".new",
        ".remote.json",
        ".remote.json.new",
    ];
    let suffixes = suffixes.iter();
    suffixes.map(|suffix| with_suffix(output, suffix)).collect()
}

/// The file that a link points at: what stands beside it would otherwise depend on the
/// name, and putting answers in order would put a file in the place of the link.
fn resolved(output: &Path) -> PathBuf {
    if output.is_symlink() {
        output.canonicalize().unwrap_or_else(|_| output.to_owned())
    } else {
        output.to_owned()
    }
}

pub(in crate::job) fn journal_of(output: &Path) -> PathBuf {
    Paths::new(output).journal
}

/// Held while something writes to `output`.
pub(in crate::job) fn lock(output: &Path) -> Result<impl Drop + use<>, RecordError> {
    Lock::take(output, with_suffix(output, ".lock"))
}

/// A file beside `output`, to be renamed when it is complete.
pub(in crate::job) fn temporary(output: &Path) -> PathBuf {
    with_suffix(output, ".new")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
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

/// How many rows have answers in the record at `output`; `None` if there is no record.
///
/// # Errors
/// Its journal cannot be read.
pub fn num_recorded(output: &Path) -> Result<Option<u64>, RecordError> {
    let Some(mut journal) = JournalReader::open(&Paths::new(&resolved(output)).journal)? else {
        return Ok(None);
    };
    let mut known = Vec::new();
    while let Some(entry) = journal.next() {
        known.extend(entry.ok().map(|entry| (prefix(entry.id), 0)));
    }
    known.sort_unstable();
    Ok(Some(num_distinct(&known)))
}

/// Of sorted ids, how many differ.
fn num_distinct(known: &[(u64, u64)]) -> u64 {
    known.chunk_by(|one, other| one.0 == other.0).count() as u64
}

/// What an earlier run left. Nothing was written to find it.
#[derive(Default)]
struct Found {
    journal: Option<(JournalReader, WhatIsKept)>,
    /// First bits of ids, and entries.
    known: Vec<(u64, u64)>,
    before: Before,
}

/// How much of the files an earlier run left is of use.
#[derive(Default)]
struct WhatIsKept {
    /// The lines are in the second file, which has not taken the first one's name yet.
    in_sorted: bool,
    /// Bytes up to the last line that is as it was written.
    length: u64,
    /// Entries up to that line's.
    num_entries: u64,
    /// Where the first line begins that is not.
    first_mismatch: u64,
}

impl Found {
    fn read(paths: &Paths) -> Result<Self, RecordError> {
        let Some(mut reader) = JournalReader::open(&paths.journal)? else {
            return if paths.output.exists() {
                let path = paths.output.clone();
                Err(RecordError::Exists { path })
            } else {
                Ok(Self::default())
            };
        };
        let complete = reader.header.complete;
        let files = [(&paths.sorted, true), (&paths.output, false)];
        for (path, in_sorted) in files {
            // The second file counts only if its journal is in place.
            if (in_sorted && complete.is_none()) || !path.exists() {
                continue;
            }
            let file = File::open(path).map_err(|error| RecordError::io(path, error))?;
            let size = file
                .metadata()
                .map_err(|error| RecordError::io(path, error))?;
            let (mut kept, known) = match_lines(&mut reader, &file, size.len(), path)?;
            let num_matching = known.len() as u64;
            let is_all = complete.is_none_or(|complete| {
                complete.num_lines == num_matching && complete.num_bytes == size.len()
            });
            if is_all {
                kept.in_sorted = in_sorted;
                let num_damaged = kept.num_entries - num_matching;
                return Ok(Self {
                    before: Before {
                        num_damaged,
                        ..Before::default()
                    },
                    journal: Some((reader, kept)),
                    known,
                });
            }
            if !in_sorted {
                return Err(RecordError::Changed {
                    path: path.clone(),
                    offset: kept.first_mismatch,
                });
            }
            reader = match JournalReader::open(&paths.journal)? {
                Some(reader) => reader,
                None => return Ok(Self::default()),
            };
        }
        Ok(Self {
            before: Before {
                is_output_gone: true,
                ..Before::default()
            },
            ..Self::default()
        })
    }
}

/// Compares the lines of `file` with the entries of its journal.
fn match_lines(
    journal: &mut JournalReader,
    file: &File,
    size: u64,
    path: &Path,
) -> Result<(WhatIsKept, Vec<(u64, u64)>), RecordError> {
    let mut kept = WhatIsKept::default();
    let mut known = Vec::new();
    let mut line = Vec::new();
    let mut number = 0;
    let mut has_mismatch = false;
    while let Some(entry) = journal.next() {
        number += 1;
        let entry = entry.ok();
        let is_there = entry.as_ref().is_some_and(|entry| entry.end() <= size);
        let mut matches = false;
        if let Some(entry) = &entry
            && is_there
        {
            line.resize(entry.length as usize, 0);
            read_at(file, &mut line, entry.offset).map_err(|error| RecordError::io(path, error))?;
            matches = entry.is_of(&line);
            if matches {
                known.push((prefix(entry.id), number - 1));
                kept.length = kept.length.max(entry.end());
                kept.num_entries = number;
            }
        }
        if !matches && !has_mismatch {
            has_mismatch = true;
            kept.first_mismatch = entry.map_or(kept.length, |entry| entry.offset);
        }
    }
    if !has_mismatch {
        kept.first_mismatch = kept.length;
    }
    Ok((kept, known))
}

/// Whether a record is of a job with those settings.
fn compare(
    output: &Path,
    header: &Header,
    job: &Description,
    seed: Option<u64>,
) -> Result<(), RecordError> {
    let mut differences = Vec::new();
    let mut differ = |name: &str, found: &str, expected: &str| {
        if found != expected {
            differences.push(format!("{name} was {found}, and is {expected} now"));
        }
    };
    let names: BTreeSet<_> = header.settings.keys().chain(job.settings.keys()).collect();
    for name in names {
        let said = |settings: &Settings| settings.get(name).map_or("not set", |v| v).to_owned();
        differ(name, &said(&header.settings), &said(&job.settings));
    }
    let all = |inputs: &[String]| inputs.join(", ");
    differ("the input", &all(&header.inputs), &all(&job.inputs));
    let shard = |shard: Option<Shard>| shard.map_or("all rows".to_owned(), |s| s.to_string());
    differ("the shard", &shard(header.shard), &shard(job.shard));
    if let Some(seed) = seed {
        differ("the seed", &header.seed.to_string(), &seed.to_string());
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(RecordError::OtherJob {
        path: output.to_owned(),
        differences,
    })
}

/// The first 64 bits of an id.
fn prefix(id: RowId) -> u64 {
    (id.0 >> 64) as u64
}

/// A line of choral's own format for another row number. All else stays as it is, byte
/// for byte.
fn renumbered(line: &[u8], row: u64) -> io::Result<Vec<u8>> {
    const FIELD: &[u8] = b",\"row\":";
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "a line without a row number");
    // The first such bytes are the field: in a string, its quotes would be escaped.
    let found = line.windows(FIELD.len()).position(|bytes| bytes == FIELD);
    let begin = found.ok_or_else(broken)? + FIELD.len();
    let digits = line[begin..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    let end = begin + digits.count();
    let mut renumbered = line[..begin].to_vec();
    renumbered.extend_from_slice(row.to_string().as_bytes());
    renumbered.extend_from_slice(&line[end..]);
    Ok(renumbered)
}

/// Whether the error on `line` names the place where the row is now.
fn is_of_place(line: &[u8], head: &RowHead) -> bool {
    let Ok(answer) = serde_json::from_slice::<serde_json::Value>(line) else {
        return false;
    };
    match &head.form {
        Form::Own => {
            let error = &answer["error"];
            error["line"] == head.line && error["file"].as_str() == head.file.as_deref()
        }
        Form::OpenAi { .. } => {
            let message = &answer["response"]["body"]["error"]["message"];
            let place = match &head.file {
                Some(file) => format!("{file}: line {}: ", head.line),
                None => format!("line {}: ", head.line),
            };
            message
                .as_str()
                .is_some_and(|message| message.starts_with(&place))
        }
    }
}

/// The first half of SHA-256, as hexadecimal digits.
pub(in crate::job) fn digest(text: &str) -> String {
    use sha2::{Digest as _, Sha256};
    let digest = Sha256::digest(text);
    let first = digest.first_chunk().expect("SHA-256 has 32 bytes");
    format!("{:032x}", u128::from_be_bytes(*first))
}

/// The same error, which says of which file it is.
fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
}

/// Whether `path` is still what was opened there.
#[cfg(unix)]
fn is_same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

/// Elsewhere a file that is open cannot be replaced.
#[cfg(not(unix))]
fn is_same_file(_: &File, path: &Path) -> bool {
    path.exists()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Has the disk take what was renamed. Not all systems can, and then there is no harm.
fn sync_folder(path: &Path) {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}
