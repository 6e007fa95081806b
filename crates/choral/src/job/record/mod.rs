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
//! Beside `OUT`: `OUT.journal`, which stays; while a job runs, `OUT.lock`; while it ends,
//! `OUT.sorted` and `OUT.journal.new`.

mod index;
mod journal;
mod lock;
mod part;
#[cfg(test)]
mod tests;

use super::answer::Answer;
use super::id::{Identity, RowId, Settings};
use super::row::{Form, Row};
use super::run::Kept;
use super::shard::Shard;
use index::Index;
use journal::{Entry, Header, Journal, JournalReader, read_at};
use lock::Lock;
use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
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
    _lock: Lock,
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
            sorted: with_suffix(output, ".sorted"),
        }
    }
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
        let lock = Lock::take(output, with_suffix(output, ".lock"))?;
        let paths = Paths::new(output);
        let mut found = Found::default();
        if !reuse.overwrite {
            found = Found::read(&paths)?;
            if let Some(journal) = &found.journal {
                let header = &journal.header;
                if !reuse.changed {
                    compare(&paths.output, header, &job, seed)?;
                }
            }
        }
        let seed = seed.unwrap_or(match &found.journal {
            Some(journal) => journal.header.seed,
            None => fresh_seed,
        });
        let Found {
            journal,
            length,
            mut known,
        } = found;
        known.sort_unstable();
        let output = paths.output.clone();
        let io = |error| RecordError::io(&output, error);
        let identity = Identity::new(&job.settings, seed);
        let header = Header::new(job, seed);
        let journal = match journal {
            Some(journal) => journal,
            None => Journal::create(&paths.journal, header.clone())
                .map_err(|error| RecordError::io(&paths.journal, error))?,
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&paths.output).map_err(io)?;
        file.set_len(length).map_err(io)?;
        file.seek(SeekFrom::Start(length)).map_err(io)?;
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
            journal,
            paths,
            _lock: lock,
        };
        if !record.journal.header.is_complete && record.journal.header != record.header {
            // What is kept is of a job with other settings; from now on it is this one's.
            record.replace_journal(record.header.clone()).map_err(io)?;
        }
        Ok(record)
    }

    /// Where rows get their seeds from.
    pub fn seed(&self) -> u64 {
        self.header.seed
    }

    /// How many answers were found.
    pub fn num_found(&self) -> usize {
        self.known.len()
    }

    /// Whether the answer of `row` is there, and if so, counts it among this job's.
    /// Every row of the job is asked for once, before its answer is put.
    ///
    /// # Errors
    /// The record cannot be read or written.
    pub fn kept(&mut self, row: &Row) -> io::Result<Option<Kept>> {
        let id = self.identity.of(row);
        self.kept_as(row.head.index, id, row.head.form == Form::Own)
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
            return self.expect(index, id);
        };
        let is_other_row = entry.row != index;
        // An error names its line, which is another now.
        if entry.is_failed && (self.reuse.retry_errors || is_other_row) {
            return self.expect(index, id);
        }
        if is_other_row && is_numbered {
            let line = renumbered(&self.line(&entry)?, index)?;
            self.append(index, id, &line, entry.is_failed)?;
        } else {
            self.note(index, number)?;
        }
        Ok(Some(Kept {
            is_failed: entry.is_failed,
        }))
    }

    /// The answer of `row` is to come.
    fn expect(&mut self, row: u64, id: RowId) -> io::Result<Option<Kept>> {
        let may_change = self.reuse.changed || self.reuse.retry_errors;
        if self.journal.header.is_complete && !may_change {
            let path = self.paths.output.clone();
            return Err(io::Error::other(RecordError::Finished { path, row }));
        }
        self.expected.insert(row, id);
        Ok(None)
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
        if self.unwritten.is_empty() {
            return Ok(());
        }
        self.journal.write()?;
        let written = self.file.write_all(&self.unwritten);
        let length = self.length - self.unwritten.len() as u64;
        self.unwritten.clear();
        if let Err(error) = written {
            self.length = length;
            self.file.set_len(length)?;
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
        let header = Header {
            is_complete: true,
            ..self.header.clone()
        };
        let is_sorted = self.in_order && self.journal.len() == self.num_rows;
        if is_sorted && self.journal.header == header {
            return Ok(());
        }
        let (found, expected) = (self.journal.len(), self.num_rows);
        if self.journal.header.is_complete && found > expected && !self.reuse.changed {
            let path = self.paths.output.clone();
            return Err(io::Error::other(RecordError::Surplus {
                path,
                found,
                expected,
            }));
        }
        remove(&self.paths.sorted)?;
        if is_sorted {
            return self.replace_journal(header);
        }
        let finished = self.write_sorted(header);
        if finished.is_err() {
            // They take room that there is none of.
            remove(&self.paths.sorted)?;
            remove(&self.paths.new_journal)?;
        }
        let (journal, file) = finished?;
        // From here on the second file counts.
        fs::rename(&self.paths.new_journal, &self.paths.journal)?;
        fs::rename(&self.paths.sorted, &self.paths.output)?;
        sync_folder(&self.paths.output);
        self.length = file.metadata()?.len();
        (self.journal, self.file) = (journal, file);
        Ok(())
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
        let file = options.open(&self.paths.sorted)?;
        let mut out = BufWriter::with_capacity(1 << 20, &file);
        let mut offset = 0;
        self.index.each(|row, number| {
            let entry = self.journal.read(number)?;
            let line = self.line(&entry)?;
            out.write_all(&line)?;
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
        out.flush()?;
        drop(out);
        file.sync_all()?;
        journal.write()?;
        journal.sync()?;
        Ok((journal, file))
    }

    fn append(&mut self, row: u64, id: RowId, line: &[u8], is_failed: bool) -> io::Result<()> {
        if self.journal.header.is_complete {
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
        Ok(line)
    }

    /// The same journal with another header.
    fn replace_journal(&mut self, header: Header) -> io::Result<()> {
        let mut journal = Journal::create(&self.paths.new_journal, header)?;
        for number in 0..self.journal.len() {
            journal.push(self.journal.read(number)?);
            if journal.len().is_multiple_of(1024) {
                journal.write()?;
            }
        }
        journal.write()?;
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

/// How many answers the record at `output` has; `None` if there is no record.
///
/// # Errors
/// Its journal cannot be read.
pub fn num_recorded(output: &Path) -> Result<Option<u64>, RecordError> {
    let Some(mut journal) = JournalReader::open(&Paths::new(output).journal)? else {
        return Ok(None);
    };
    let mut count = 0;
    while journal.next().is_some() {
        count += 1;
    }
    Ok(Some(count))
}

/// What an earlier run left.
#[derive(Default)]
struct Found {
    journal: Option<Journal>,
    /// Bytes of whole lines.
    length: u64,
    /// First bits of ids, and entries.
    known: Vec<(u64, u64)>,
}

impl Found {
    fn read(paths: &Paths) -> Result<Self, RecordError> {
        let io = |error| RecordError::io(&paths.output, error);
        let header = JournalReader::open(&paths.journal)?.map(|reader| reader.header);
        let is_complete = header.as_ref().is_some_and(|header| header.is_complete);
        if is_complete && paths.sorted.exists() {
            fs::rename(&paths.sorted, &paths.output).map_err(io)?;
        }
        let file = match File::open(&paths.output) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(io(error)),
        };
        if header.is_none() {
            let path = paths.output.clone();
            return Err(RecordError::Exists { path });
        }
        let size = file.metadata().map_err(io)?.len();
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let (mut length, mut known) = (0, Vec::new());
        let mut line = Vec::new();
        let journal = Journal::open(&paths.journal, |entry| {
            if entry.offset != length || entry.end() > size {
                return Ok(false);
            }
            line.resize(entry.length as usize, 0);
            reader.read_exact(&mut line)?;
            if !entry.is_of(&line) {
                return Ok(false);
            }
            known.push((prefix(entry.id), known.len() as u64));
            length = entry.end();
            Ok(true)
        })?;
        if is_complete && length != size {
            return Err(RecordError::Changed {
                path: paths.output.clone(),
                offset: length,
            });
        }
        Ok(Self {
            journal,
            length,
            known,
        })
    }
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

/// A line of choral's own format for another row number.
fn renumbered(line: &[u8], row: u64) -> io::Result<Vec<u8>> {
    let mut answer: serde_json::Value = serde_json::from_slice(line)?;
    answer["row"] = row.into();
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    Ok(line)
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
