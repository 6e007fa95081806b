//! Writing a store, and adding to one.

use super::read::{has_files, read_names};
use super::sidecar::fresh_identity;
use super::{EMBEDDINGS, FILENAMES, SIDECAR, Sidecar, StoreError};
use crate::vision::ImageEmbedding;
use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// As much work may be lost when a run is killed.
const COMMIT_INTERVAL: Duration = Duration::from_secs(5);

/// Adds embeddings to a store. Dropped without [`finish`](Self::finish), it leaves one
/// that has what was committed, and that a later writer goes on with.
#[derive(Debug)]
pub struct StoreWriter {
    folder: PathBuf,
    sidecar: Sidecar,
    /// Real paths of the images that are there, or their names where there is no file.
    known: HashSet<PathBuf>,
    num_found: usize,
    /// When the store was last written before.
    written: Option<SystemTime>,
    rows: File,
    /// Holds the lock.
    names: File,
    /// What is written and not yet committed.
    pending: usize,
    committed: Instant,
}

impl StoreWriter {
    /// Opens the store in `folder`, which is made if need be, to add embeddings that are
    /// made as `sidecar` says; its number of images does not matter. What an earlier run
    /// left unfinished is cut off.
    ///
    /// # Errors
    /// The store's embeddings were made in another way, its files do not agree, another
    /// writer has it, or it cannot be written. With `overwrite` what is there does not
    /// matter.
    pub fn open(folder: &Path, sidecar: Sidecar, overwrite: bool) -> Result<Self, StoreError> {
        fs::create_dir_all(folder).map_err(StoreError::io(folder))?;
        let names = open(folder, FILENAMES)?;
        match names.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::InUse {
                    path: folder.to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => {
                return Err(StoreError::io(folder.join(FILENAMES))(error));
            }
        }
        // Not before the lock is held: another writer may have been about to end.
        let had_files = has_files(folder);
        let found = if overwrite {
            None
        } else {
            Sidecar::read(folder)?
        };
        if let Some(found) = &found {
            found.check_same(&sidecar, folder)?;
        } else if had_files && !overwrite {
            return Err(StoreError::Foreign {
                path: folder.to_owned(),
            });
        }
        let rows = open(folder, EMBEDDINGS)?;
        let mut writer = Self {
            folder: folder.to_owned(),
            sidecar: found.unwrap_or(sidecar),
            known: HashSet::new(),
            num_found: 0,
            written: None,
            rows,
            names,
            pending: 0,
            committed: Instant::now(),
        };
        if !had_files || overwrite {
            // First, so that no other file ever holds anything without one.
            writer.sidecar.write(folder)?;
        }
        writer.go_on()?;
        Ok(writer)
    }

    /// Checks what is there, and cuts off what was never committed.
    fn go_on(&mut self) -> Result<(), StoreError> {
        let num_images = self.sidecar.num_images();
        let most = if self.sidecar.complete {
            usize::MAX
        } else {
            num_images
        };
        let names = read_names(&self.folder, most)?.unwrap_or_default();
        let bytes = self.rows.metadata().map_err(self.error(EMBEDDINGS))?.len();
        self.sidecar.check(&self.folder, bytes, names.len())?;
        if !self.sidecar.complete {
            let length = length_of_lines(&self.names, num_images).map_err(self.error(FILENAMES))?;
            let bytes = self.sidecar.bytes();
            cut(&mut self.rows, bytes).map_err(error(&self.folder, EMBEDDINGS))?;
            cut(&mut self.names, length).map_err(error(&self.folder, FILENAMES))?;
        }
        self.num_found = names.len();
        self.known = names.iter().map(|name| real(Path::new(name))).collect();
        let sidecar = fs::metadata(self.folder.join(SIDECAR));
        self.written = sidecar.and_then(|file| file.modified()).ok();
        Ok(())
    }

    /// Images that were there when the store was opened.
    pub fn num_found(&self) -> usize {
        self.num_found
    }

    /// Images that are there now.
    pub fn len(&self) -> usize {
        self.sidecar.num_images() + self.pending
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the store has the image `path`, by whichever name.
    pub fn has(&self, path: &Path) -> bool {
        self.known.contains(&real(path))
    }

    /// Whether the file `path` was changed after the store was last written before this
    /// writer: if the store has it, then not as it is now.
    pub fn is_newer(&self, path: &Path) -> bool {
        let modified = fs::metadata(path).and_then(|file| file.modified()).ok();
        modified
            .zip(self.written)
            .is_some_and(|(modified, written)| self.num_found > 0 && modified > written)
    }

    /// Adds the embedding of the image `path`, rounded to f16.
    ///
    /// # Errors
    /// It has another shape than the store's, the path cannot be listed, or the files
    /// cannot be written.
    pub fn push(&mut self, path: &Path, embedding: &ImageEmbedding) -> Result<(), StoreError> {
        let name = listable(path)?;
        let [height, width] = self.sidecar.grid;
        let expected = [height, width, self.sidecar.shape[2]];
        let found = [
            embedding.rows(),
            embedding.columns(),
            embedding.hidden_size(),
        ];
        if found != expected {
            return Err(StoreError::Shape {
                name: name.to_owned(),
                found,
                expected,
            });
        }
        if self.sidecar.complete {
            self.begin()?;
        }
        let bytes = embedding.to_f16();
        self.rows
            .write_all(&bytes)
            .map_err(error(&self.folder, EMBEDDINGS))?;
        let line = format!("{name}\n");
        self.names
            .write_all(line.as_bytes())
            .map_err(error(&self.folder, FILENAMES))?;
        self.known.insert(real(path));
        self.pending += 1;
        if self.committed.elapsed() >= COMMIT_INTERVAL {
            self.commit()?;
        }
        Ok(())
    }

    /// Says of a complete store that it is not any more, before that is so.
    fn begin(&mut self) -> Result<(), StoreError> {
        self.sidecar.complete = false;
        self.sidecar.identity.get_or_insert_with(fresh_identity);
        self.sidecar.write(&self.folder)?;
        for (file, name) in [(&mut self.rows, EMBEDDINGS), (&mut self.names, FILENAMES)] {
            file.seek(SeekFrom::End(0))
                .map_err(error(&self.folder, name))?;
        }
        // A list that was written by others may end without a line feed.
        let ended = end_last_line(&mut self.names);
        ended.map_err(error(&self.folder, FILENAMES))
    }

    /// Has the store keep what was added until now, whatever comes.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn commit(&mut self) -> Result<(), StoreError> {
        if self.pending > 0 {
            self.rows.sync_data().map_err(self.error(EMBEDDINGS))?;
            self.names.sync_data().map_err(self.error(FILENAMES))?;
            self.sidecar.shape[0] += self.pending;
            self.pending = 0;
            self.sidecar.write(&self.folder)?;
        }
        self.committed = Instant::now();
        Ok(())
    }

    /// Ends the store: it has all that it was to have. Gives the number of images.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn finish(mut self) -> Result<usize, StoreError> {
        self.commit()?;
        if !self.sidecar.complete {
            self.sidecar.complete = true;
            self.sidecar.write(&self.folder)?;
        }
        Ok(self.sidecar.num_images())
    }

    fn error(&self, name: &str) -> impl FnOnce(io::Error) -> StoreError + use<> {
        error(&self.folder, name)
    }
}

/// Adds the line feed that the end of a list of lines should have, and may lack.
fn end_last_line(names: &mut File) -> io::Result<()> {
    let end = names.seek(SeekFrom::End(0))?;
    if end == 0 {
        return Ok(());
    }
    let mut last = [0];
    names.seek(SeekFrom::Start(end - 1))?;
    names.read_exact(&mut last)?;
    if last != *b"\n" {
        names.write_all(b"\n")?;
    }
    Ok(())
}

fn error(folder: &Path, name: &str) -> impl FnOnce(io::Error) -> StoreError + use<> {
    StoreError::io(folder.join(name))
}

/// Cuts a file to `length` and goes on writing there.
fn cut(file: &mut File, length: u64) -> io::Result<()> {
    file.set_len(length)?;
    file.seek(SeekFrom::Start(length)).map(drop)
}

/// Bytes of a file's first `count` lines.
fn length_of_lines(mut file: &File, count: usize) -> io::Result<u64> {
    file.rewind()?;
    let mut reader = BufReader::new(file);
    let (mut line, mut length) = (Vec::new(), 0);
    for _ in 0..count {
        line.clear();
        length += reader.read_until(b'\n', &mut line)? as u64;
    }
    Ok(length)
}

fn open(folder: &Path, name: &str) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(folder.join(name)).map_err(error(folder, name))
}

/// What tells one image from another, however its path is written.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// The path as a line of the list.
fn listable(path: &Path) -> Result<&str, StoreError> {
    let name = path.to_str().filter(|name| !name.contains(['\n', '\r']));
    name.ok_or_else(|| StoreError::Name {
        name: path.display().to_string().escape_debug().to_string(),
    })
}
