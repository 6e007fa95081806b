//! The files of a record, and what is done with files.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(super) struct Paths {
    pub(super) output: PathBuf,
    pub(super) journal: PathBuf,
    pub(super) new_journal: PathBuf,
    pub(super) sorted: PathBuf,
}

impl Paths {
    pub(super) fn new(output: &Path) -> Self {
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
pub(super) fn resolved(output: &Path) -> PathBuf {
    if output.is_symlink() {
        output.canonicalize().unwrap_or_else(|_| output.to_owned())
    } else {
        output.to_owned()
    }
}

pub(in crate::job) fn journal_of(output: &Path) -> PathBuf {
    Paths::new(output).journal
}

/// A file beside `output`, to be renamed when it is complete.
pub(in crate::job) fn temporary(output: &Path) -> PathBuf {
    with_suffix(output, ".new")
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// The same error, which says of which file it is.
pub(super) fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
}

pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Has the disk take what was renamed. Not all systems can, and then there is no harm.
pub(super) fn sync_folder(path: &Path) {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}

/// Whether `path` is still what was opened there.
#[cfg(unix)]
pub(super) fn is_same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

/// Elsewhere a file that is open cannot be replaced.
#[cfg(not(unix))]
pub(super) fn is_same_file(_: &File, path: &Path) -> bool {
    path.exists()
}
