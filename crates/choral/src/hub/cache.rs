//! Where files are kept: the folders that `huggingface_hub` and its kin share.
//!
//! ```text
//! models--ORG--NAME/refs/main                    the commit of a branch
//! models--ORG--NAME/snapshots/COMMIT/model.gguf  -> ../../blobs/ETAG
//! models--ORG--NAME/blobs/ETAG                   the content, ETAG.incomplete before
//! .locks/models--ORG--NAME/ETAG.lock             held by who downloads it
//! ```
//!
//! Names are those of the hub's client crate. A file appears under its name when
//! it is whole and checked, so whoever finds one may use it without a lock.

use super::{FetchError, Repo, listing};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Folders in folders of a snapshot; models have one or two.
const MOST_DEPTH: usize = 8;

/// Notes that this process has begun: each has a file of its own until it is whole.
static WRITERS: AtomicU64 = AtomicU64::new(0);

/// The cache of one repository.
pub(super) struct Store {
    layout: hf_hub::CacheRepo,
    folder: PathBuf,
    locks: PathBuf,
}

/// While it lives, no other process downloads the same content.
pub(super) struct Lock {
    file: File,
    /// Some network file systems know no locks.
    is_held: bool,
}

impl Store {
    pub(super) fn new(cache: &Path, repo: &Repo) -> Self {
        let named = hf_hub::Repo::model(repo.id().to_owned());
        let name = named.folder_name();
        Self {
            layout: hf_hub::Cache::new(cache.to_owned()).repo(named),
            folder: cache.join(&name),
            locks: cache.join(".locks").join(name),
        }
    }

    /// The commit that a branch or tag was at when it was last fetched.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        match fs::read_to_string(self.reference(revision)) {
            Ok(commit) => Some(commit.trim().to_owned())
                .filter(|commit| !commit.is_empty() && listing::is_plain_path(commit)),
            Err(_) => Some(revision.to_owned()).filter(|commit| self.snapshot(commit).is_dir()),
        }
    }

    /// The folder with the files of a commit.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.layout.pointer_path(commit)
    }

    /// The files of a commit that are there, sorted.
    pub(super) fn files(&self, commit: &str) -> Vec<String> {
        let mut files = Vec::new();
        walk(&self.snapshot(commit), "", MOST_DEPTH, &mut files);
        files.sort_unstable();
        files
    }

    /// Whether a file of a commit is there, as long as it should be.
    pub(super) fn has(&self, commit: &str, path: &str, size: u64) -> bool {
        is_file_of(&self.snapshot(commit).join(path), size)
    }

    /// Whether content is there, as long as it should be.
    pub(super) fn has_blob(&self, etag: &str, size: u64) -> bool {
        is_file_of(&self.blob(etag), size)
    }

    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// What there is of content that is not whole yet. Without a lock every process
    /// has its own, which no other takes up.
    pub(super) fn part(&self, etag: &str, lock: &Lock) -> PathBuf {
        let name = if lock.is_held {
            format!("{etag}.incomplete")
        } else {
            format!("{etag}.{}.incomplete", std::process::id())
        };
        self.folder.join("blobs").join(name)
    }

    /// Waits until nobody else downloads this content; calls `wait` before, if
    /// somebody does.
    pub(super) fn lock(&self, etag: &str, wait: &mut dyn FnMut()) -> Result<Lock, FetchError> {
        let path = self.locks.join(format!("{etag}.lock"));
        create_folder_of(&path)?;
        loop {
            let lock = Self::lock_file(&path, wait)?;
            // Who had it before may have removed the file; the lock of a file without
            // a name keeps nobody out.
            if !is_removed(&lock.file).map_err(FetchError::io(&path))? {
                return Ok(lock);
            }
        }
    }

    fn lock_file(path: &Path, wait: &mut dyn FnMut()) -> Result<Lock, FetchError> {
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = options.open(path).map_err(FetchError::io(path))?;
        let locked = match file.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => {
                wait();
                file.lock()
            }
            Err(TryLockError::Error(error)) => Err(error),
        };
        let is_held = match locked {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::Unsupported => false,
            Err(source) => return Err(FetchError::io(path)(source)),
        };
        Ok(Lock { file, is_held })
    }

    /// Gives content its name in a commit.
    pub(super) fn link(&self, commit: &str, path: &str, etag: &str) -> Result<(), FetchError> {
        let link = self.snapshot(commit).join(path);
        create_folder_of(&link)?;
        if fs::symlink_metadata(&link).is_ok() {
            fs::remove_file(&link).map_err(FetchError::io(&link))?;
        }
        let ups = 2 + path.matches('/').count();
        let target = format!("{}blobs/{etag}", "../".repeat(ups));
        make_link(&target, &self.blob(etag), &link).map_err(FetchError::io(&link))
    }

    /// Notes which commit a branch or tag is at. A commit needs no note.
    pub(super) fn note_commit(&self, revision: &str, commit: &str) -> Result<(), FetchError> {
        let path = self.reference(revision);
        if revision == commit || fs::read_to_string(&path).is_ok_and(|noted| noted == commit) {
            return Ok(());
        }
        create_folder_of(&path)?;
        // Renamed into place, so that nobody reads half of it.
        let writer = WRITERS.fetch_add(1, Relaxed);
        let name = format!(".{}.{writer}.{commit}", std::process::id());
        let whole = path.with_file_name(name);
        fs::write(&whole, commit).map_err(FetchError::io(&whole))?;
        fs::rename(&whole, &path).map_err(FetchError::io(&path))
    }

    fn reference(&self, revision: &str) -> PathBuf {
        self.folder.join("refs").join(revision)
    }
}

pub(super) fn create_folder_of(path: &Path) -> Result<(), FetchError> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(FetchError::io(folder))
}

fn is_file_of(path: &Path, size: u64) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == size)
}

fn walk(folder: &Path, prefix: &str, depth: usize, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        // Follows links: one whose blob is gone is no file.
        match fs::metadata(entry.path()) {
            Ok(found) if found.is_file() => files.push(format!("{prefix}{name}")),
            Ok(found) if found.is_dir() && depth > 0 => {
                walk(&entry.path(), &format!("{prefix}{name}/"), depth - 1, files);
            }
            _ => {}
        }
    }
}

#[cfg(unix)]
fn is_removed(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(file.metadata()?.nlink() == 0)
}

/// Open files cannot be removed where there are no links to count.
#[cfg(not(unix))]
fn is_removed(_file: &File) -> io::Result<bool> {
    Ok(false)
}

#[cfg(unix)]
fn make_link(target: &str, _blob: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

/// Links that need no rights; the content is there once all the same.
#[cfg(not(unix))]
fn make_link(_target: &str, blob: &Path, link: &Path) -> io::Result<()> {
    fs::hard_link(blob, link)
}
