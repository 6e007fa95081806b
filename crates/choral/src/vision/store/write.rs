//! Writing a store, and adding to one.

use super::names::{Places, length_of_lines, read_names};
use super::read::has_files;
use super::sidecar::fresh_identity;
use super::{EMBEDDINGS, FILENAMES, LOCK, SIDECAR, Sidecar, StoreError, replace};
use crate::vision::ImageEmbedding;
use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// Images that are committed together at the latest.
const COMMIT_IMAGES: usize = 64;

/// Time between commits that are due.
const COMMIT_INTERVAL: Duration = Duration::from_secs(2);

/// Adds embeddings to a store. Dropped without [`finish`](Self::finish), it leaves one
/// that has what was committed, and that a later writer goes on with.
#[derive(Debug)]
pub struct StoreWriter {
    /// The store's folder.
    folder: PathBuf,
    /// Where its files grow: there, or where the store is that will take its place.
    place: PathBuf,
    sidecar: Sidecar,
    places: Places,
    /// The images that are there.
    known: HashSet<PathBuf>,
    num_found: usize,
    /// When the store was last written before.
    written: Option<SystemTime>,
    rows: File,
    names: File,
    /// What is written and not yet committed.
    pending: usize,
    committed: Instant,
    given_up: Vec<StoreError>,
    /// Held as long as this lives.
    _lock: File,
}

impl StoreWriter {
    /// Opens the store in `folder`, which is made if need be, to add embeddings that are
    /// made as `sidecar` says; its number of images does not matter. What an earlier run
    /// left unfinished is cut off.
    ///
    /// # Errors
    /// The store's embeddings were made in another way, its files do not agree, another
    /// writer has it, or it cannot be written.
    pub fn open(folder: &Path, sidecar: Sidecar) -> Result<Self, StoreError> {
        let lock = lock(folder)?;
        let settled = replace::settle(folder);
        let found = if has_files(folder) {
            settled?;
            let found = Sidecar::read(folder)?;
            let found = found.ok_or_else(|| StoreError::Foreign {
                path: folder.to_owned(),
            })?;
            found.check_same(&sidecar, folder)?;
            Some(found)
        } else {
            None
        };
        Self::open_in(folder, folder.to_owned(), found, &sidecar, &lock)
    }

    /// Begins a new store of `images` in `folder`, which is made if need be. What is there
    /// does not matter, and stays as it is until [`finish`](Self::finish), when the new
    /// store takes its place.
    ///
    /// One that an earlier run began to put there, and did not finish, is gone on with
    /// where that ends in the same: it is made as `sidecar` says, and whatever it has is
    /// one of `images`, as the file is now. Else it is removed
    /// ([`given_up`](Self::given_up)).
    ///
    /// # Errors
    /// Another writer has the store, or it cannot be read or written. Then nothing is
    /// removed on that account.
    pub fn replace(
        folder: &Path,
        sidecar: Sidecar,
        images: &[PathBuf],
    ) -> Result<Self, StoreError> {
        let lock = lock(folder)?;
        if let Err(error) = replace::settle(folder)
            && !error.is_of_contents()
        {
            return Err(error);
        }
        let mut given_up = Vec::new();
        for place in replace::unfinished(folder)? {
            match Self::go_on_in(folder, &place, &sidecar, images, &lock) {
                Ok(Some(writer)) => return Ok(Self { given_up, ..writer }),
                // Nothing was ever committed to it.
                Ok(None) => {}
                Err(error) if error.is_of_contents() => given_up.push(error),
                Err(error) => return Err(error),
            }
            replace::remove(&place)?;
        }
        let place = replace::begin(folder, &sidecar)?;
        let writer = Self::open_in(folder, place, None, &sidecar, &lock)?;
        Ok(Self { given_up, ..writer })
    }

    /// Opens the unfinished store in `place`, if there is anything in it.
    fn go_on_in(
        folder: &Path,
        place: &Path,
        sidecar: &Sidecar,
        images: &[PathBuf],
        lock: &File,
    ) -> Result<Option<Self>, StoreError> {
        let Some(found) = Sidecar::read(place)?.filter(|found| found.num_images() > 0) else {
            return Ok(None);
        };
        found.check_same(sidecar, place)?;
        let writer = Self::open_in(folder, place.to_owned(), Some(found), sidecar, lock)?;
        writer.check_images(images)?;
        Ok(Some(writer))
    }

    /// Refuses a store that has others than `images`, or one as it was.
    fn check_images(&self, images: &[PathBuf]) -> Result<(), StoreError> {
        let wanted = images.iter().map(|path| self.places.of_path(path));
        let wanted: HashSet<PathBuf> = wanted.collect();
        let about = |image: &PathBuf| (self.place.clone(), image.display().to_string());
        // The first, so that it is the same every time.
        if let Some(image) = self.known.difference(&wanted).min() {
            let (path, name) = about(image);
            return Err(StoreError::NotAsked { path, name });
        }
        let newer = self.known.iter().filter(|image| self.is_newer(image));
        if let Some(image) = newer.min() {
            let (path, name) = about(image);
            return Err(StoreError::Changed { path, name });
        }
        Ok(())
    }

    /// Opens the files in `place`, which `found` speaks of.
    fn open_in(
        folder: &Path,
        place: PathBuf,
        found: Option<Sidecar>,
        fresh: &Sidecar,
        lock: &File,
    ) -> Result<Self, StoreError> {
        Sidecar::remove_drafts(&place);
        let is_new = found.is_none();
        let names = open(&place, FILENAMES)?;
        let rows = open(&place, EMBEDDINGS)?;
        let path = place.join(FILENAMES);
        let sidecar = found.unwrap_or_else(|| fresh.clone());
        let num_images = sidecar.num_images();
        let most = num_images.saturating_add(usize::from(sidecar.complete));
        let own = names.try_clone().map_err(StoreError::io(&path))?;
        let listed = read_names(&path, own, most)?;
        let recorded = sidecar.names_relative_to.as_deref();
        let places = Places::new(recorded, &listed).map_err(StoreError::io("."))?;
        let written = fs::metadata(place.join(SIDECAR));
        let mut writer = Self {
            folder: folder.to_owned(),
            known: listed.iter().map(|name| places.of_name(name)).collect(),
            num_found: listed.len(),
            written: written.and_then(|file| file.modified()).ok(),
            sidecar,
            places,
            rows,
            names,
            pending: 0,
            committed: Instant::now(),
            given_up: Vec::new(),
            _lock: lock
                .try_clone()
                .map_err(StoreError::io(folder.join(LOCK)))?,
            place,
        };
        if let Some(base) = writer.places.base() {
            writer.sidecar.names_relative_to = Some(base.to_owned());
        }
        if is_new {
            // First, so that no other file ever holds anything without one.
            writer.sidecar.write(&writer.place)?;
        }
        writer.go_on()?;
        Ok(writer)
    }

    /// Checks what is there, and cuts off what was never committed.
    fn go_on(&mut self) -> Result<(), StoreError> {
        let bytes = self.rows.metadata().map_err(self.error(EMBEDDINGS))?.len();
        self.sidecar.check(&self.place, bytes, self.num_found)?;
        if !self.sidecar.complete {
            self.names.rewind().map_err(self.error(FILENAMES))?;
            let length = length_of_lines(&self.names, self.num_found);
            let length = length.map_err(self.error(FILENAMES))?;
            let bytes = self.sidecar.bytes();
            cut(&mut self.rows, bytes).map_err(error(&self.place, EMBEDDINGS))?;
            cut(&mut self.names, length).map_err(error(&self.place, FILENAMES))?;
        }
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

    /// Whether this is a new store, which takes the place of what is there when it is
    /// finished.
    pub fn is_replacing(&self) -> bool {
        self.place != self.folder
    }

    /// Why unfinished stores that were to take the place of this one are gone.
    pub fn given_up(&self) -> &[StoreError] {
        &self.given_up
    }

    /// Whether the folder has a new store that was to take the place of this one, and was
    /// not finished.
    pub fn has_unfinished(&self) -> bool {
        let others = || replace::unfinished(&self.folder);
        !self.is_replacing() && others().is_ok_and(|others| !others.is_empty())
    }

    /// Whether the store has the image `path`, by whichever name.
    pub fn has(&self, path: &Path) -> bool {
        self.known.contains(&self.places.of_path(path))
    }

    /// Whether the file `path` was changed after the store was last written before this
    /// writer: if the store has it, then not as it is now.
    pub fn is_newer(&self, path: &Path) -> bool {
        let modified = fs::metadata(path).and_then(|file| file.modified()).ok();
        modified
            .zip(self.written)
            .is_some_and(|(modified, written)| self.num_found > 0 && modified > written)
    }

    /// The name that the image `path` has in the list: the path as it is given, if the
    /// current directory is the one that the names of the store are relative to.
    ///
    /// # Errors
    /// It is no UTF-8, too long, or has a line feed in it.
    pub fn name(&self, path: &Path) -> Result<String, StoreError> {
        self.places.name(path)
    }

    /// Adds the embedding of the image `path`, rounded to f16.
    ///
    /// # Errors
    /// It has another shape than the store's, the path cannot be listed, or the files
    /// cannot be written.
    pub fn push(&mut self, path: &Path, embedding: &ImageEmbedding) -> Result<(), StoreError> {
        let name = self.name(path)?;
        let [height, width] = self.sidecar.grid;
        let expected = [height, width, self.sidecar.shape[2]];
        let found = [
            embedding.rows(),
            embedding.columns(),
            embedding.hidden_size(),
        ];
        if found != expected {
            return Err(StoreError::Shape {
                name,
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
            .map_err(error(&self.place, EMBEDDINGS))?;
        let line = format!("{name}\n");
        self.names
            .write_all(line.as_bytes())
            .map_err(error(&self.place, FILENAMES))?;
        self.known.insert(self.places.of_path(path));
        self.pending += 1;
        if self.pending >= COMMIT_IMAGES {
            self.commit()?;
        }
        Ok(())
    }

    /// Says of a complete store that it is not any more, before that is so.
    fn begin(&mut self) -> Result<(), StoreError> {
        self.sidecar.complete = false;
        self.sidecar.identity.get_or_insert_with(fresh_identity);
        self.sidecar.write(&self.place)?;
        for (file, name) in [(&mut self.rows, EMBEDDINGS), (&mut self.names, FILENAMES)] {
            file.seek(SeekFrom::End(0))
                .map_err(error(&self.place, name))?;
        }
        // A list that was written by others may end without a line feed.
        let ended = end_last_line(&mut self.names);
        ended.map_err(error(&self.place, FILENAMES))
    }

    /// Has the store keep what was added until now, whatever comes. After every 64 images
    /// that happens by itself.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn commit(&mut self) -> Result<(), StoreError> {
        if self.pending > 0 {
            self.rows.sync_data().map_err(self.error(EMBEDDINGS))?;
            self.names.sync_data().map_err(self.error(FILENAMES))?;
            self.sidecar.shape[0] += self.pending;
            self.pending = 0;
            self.sidecar.write(&self.place)?;
        }
        self.committed = Instant::now();
        Ok(())
    }

    /// [`commit`](Self::commit), unless the last was less than two seconds ago: for
    /// whoever has added a batch and is about to work on the next.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn commit_if_due(&mut self) -> Result<(), StoreError> {
        if self.committed.elapsed() < COMMIT_INTERVAL {
            return Ok(());
        }
        self.commit()
    }

    /// Ends the store: it has all that it was to have, and takes the place of the one that
    /// was there, if it was to. Gives the number of images.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn finish(mut self) -> Result<usize, StoreError> {
        self.commit()?;
        if !self.sidecar.complete {
            self.sidecar.complete = true;
            self.sidecar.write(&self.place)?;
        }
        if self.is_replacing() {
            replace::put_in_place(&self.place, &self.folder)?;
        }
        Ok(self.sidecar.num_images())
    }

    fn error(&self, name: &str) -> impl FnOnce(io::Error) -> StoreError + use<> {
        error(&self.place, name)
    }
}

/// Takes the lock of the store in `folder`, which is made if need be. Nothing is read
/// before it is held: another writer may have been about to end.
fn lock(folder: &Path) -> Result<File, StoreError> {
    fs::create_dir_all(folder).map_err(StoreError::io(folder))?;
    let lock = open(folder, LOCK)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse {
            path: folder.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(error(folder, LOCK)(source)),
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

fn open(folder: &Path, name: &str) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(folder.join(name)).map_err(error(folder, name))
}
