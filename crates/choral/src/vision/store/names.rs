//! The list of names: a path a line, and where the paths lead.
//!
//! Owns how long a list and its lines may be, and what relative paths are relative to.
//! Knows nothing of numbers.

use super::StoreError;
use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

/// Longest name: what the longest path of any system has.
pub(super) const MAX_NAME_BYTES: usize = 32 << 10;

/// Longest list of names that is read.
const MAX_LIST_BYTES: usize = 4 << 30;

/// The first `most` names of the list `file`, whose path is `path`.
pub(super) fn read_names(path: &Path, file: File, most: usize) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    for_each_name(path, file, most, |name| names.push(name))?;
    Ok(names)
}

/// How many names the list has, up to `most`.
pub(super) fn count_names(path: &Path, file: File, most: usize) -> Result<usize, StoreError> {
    let mut count = 0;
    for_each_name(path, file, most, |_| count += 1)?;
    Ok(count)
}

fn for_each_name(
    path: &Path,
    file: File,
    most: usize,
    mut found: impl FnMut(String),
) -> Result<(), StoreError> {
    let mut reader = BufReader::new(file);
    let mut length = 0;
    for index in 0..most {
        let wrong = |reason| StoreError::Line {
            path: path.to_owned(),
            line: index + 1,
            reason,
        };
        let mut line = Vec::new();
        // With the two characters that may end it.
        let mut limited = (&mut reader).take(MAX_NAME_BYTES as u64 + 2);
        let read = limited.read_until(b'\n', &mut line);
        match read.map_err(StoreError::io(path))? {
            0 => break,
            read => length += read,
        }
        if line.last() == Some(&b'\n') {
            line.pop();
            line.pop_if(|last| *last == b'\r');
        }
        if line.len() > MAX_NAME_BYTES {
            return Err(wrong(format!(
                "is longer than {MAX_NAME_BYTES} bytes, expected a path"
            )));
        }
        if length > MAX_LIST_BYTES {
            return Err(wrong(format!(
                "ends after more than {MAX_LIST_BYTES} bytes, expected a shorter list"
            )));
        }
        let name = String::from_utf8(line);
        found(name.map_err(|_| wrong("is no UTF-8, expected a path of UTF-8".to_owned()))?);
    }
    Ok(())
}

/// Bytes of a file's first `count` lines.
pub(super) fn length_of_lines(file: &File, count: usize) -> io::Result<u64> {
    let mut reader = BufReader::new(file);
    let (mut lines, mut length) = (0, 0);
    while lines < count {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            break;
        }
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let (mut used, mut found) = (bytes.len(), 0);
        for (at, _) in ends.take(count - lines) {
            found += 1;
            if lines + found == count {
                used = at + 1;
            }
        }
        lines += found;
        length += used as u64;
        reader.consume(used);
    }
    Ok(length)
}

/// Where the names of a store lead.
#[derive(Debug)]
pub(super) struct Places {
    /// What relative names begin at, if that is known.
    base: Option<PathBuf>,
    /// What relative paths of this process begin at.
    here: PathBuf,
}

impl Places {
    /// The places of `names`, which are relative to the folder `recorded`.
    ///
    /// If that folder is gone (the pictures were moved), or nothing was recorded (the
    /// store is of an earlier version), then names begin at the current directory, if one
    /// of them leads to a file from there.
    pub(super) fn new(recorded: Option<&str>, names: &[String]) -> io::Result<Self> {
        let here = env::current_dir()?;
        let recorded = recorded.map(PathBuf::from).filter(|folder| folder.is_dir());
        let base = recorded.or_else(|| {
            let leads = |name: &String| Path::new(name).is_relative() && here.join(name).exists();
            (names.is_empty() || names.iter().any(leads)).then(|| here.clone())
        });
        Ok(Self { base, here })
    }

    /// What to record, if it is known and can be.
    pub(super) fn base(&self) -> Option<&str> {
        self.base.as_deref().and_then(Path::to_str)
    }

    /// What tells the image of a name from others, however paths to it are written: the
    /// file's real path, or where there is no file, the name's.
    pub(super) fn of_name(&self, name: &str) -> PathBuf {
        let path = match &self.base {
            Some(base) => base.join(name),
            None => PathBuf::from(name),
        };
        fs::canonicalize(&path).unwrap_or(path)
    }

    /// The same of a path of this process.
    pub(super) fn of_path(&self, path: &Path) -> PathBuf {
        fs::canonicalize(path).unwrap_or_else(|_| self.here.join(path))
    }

    /// The path as a line of the list: as it is, if that leads to it from the folder of
    /// the other names; else from there, or from the root.
    ///
    /// # Errors
    /// A line cannot hold it.
    pub(super) fn name(&self, path: &Path) -> Result<String, StoreError> {
        if path.is_absolute() || self.base.as_ref() == Some(&self.here) {
            return listable(path);
        }
        let whole = self.here.join(path);
        let folder = whole
            .parent()
            .and_then(|folder| fs::canonicalize(folder).ok());
        let whole = match (folder, whole.file_name()) {
            (Some(folder), Some(name)) => folder.join(name),
            _ => whole,
        };
        let inside = self.base.as_ref();
        let inside = inside.and_then(|base| whole.strip_prefix(base).ok());
        listable(inside.unwrap_or(&whole))
    }
}

/// The path as a line of the list.
fn listable(path: &Path) -> Result<String, StoreError> {
    let fits = |name: &&str| !name.contains(['\n', '\r']) && name.len() <= MAX_NAME_BYTES;
    let name = path.to_str().filter(fits);
    name.map(str::to_owned).ok_or_else(|| StoreError::Name {
        name: path.display().to_string().escape_debug().to_string(),
    })
}
