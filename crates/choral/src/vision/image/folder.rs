//! Finds the pictures of a folder.

use super::decode::{SNIFFED_BYTES, has_image_name, looks_like_image};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// What a folder has.
#[derive(Debug, Default)]
pub struct Found {
    /// Files that are pictures by their first bytes, or by their names; sorted.
    pub images: Vec<PathBuf>,
    /// Files that are neither.
    pub num_others: usize,
    /// Folders that could not be read, and why.
    pub unread: Vec<(PathBuf, io::Error)>,
}

/// Finds the pictures in `folder` and in all folders below. What begins with a dot is
/// passed over. A folder that is reached twice, by links, is looked at once.
///
/// # Errors
/// `folder` itself cannot be read.
pub fn find(folder: &Path) -> io::Result<Found> {
    let mut found = Found::default();
    let mut seen = HashSet::new();
    // Normalised, so that `a/` and `./a` give the same names as `a`.
    let folder: PathBuf = folder.components().collect();
    seen.insert(fs::canonicalize(&folder)?);
    let entries = fs::read_dir(&folder)?;
    let mut open = vec![(folder, entries)];
    while let Some((folder, entries)) = open.pop() {
        for entry in entries {
            let path = match entry {
                Ok(entry) => entry.path(),
                Err(error) => {
                    found.unread.push((folder, error));
                    break;
                }
            };
            if is_hidden(path.file_name().unwrap_or_default()) {
                continue;
            }
            // Follows links; one that leads nowhere is neither.
            if path.is_dir() {
                let is_new = fs::canonicalize(&path).map(|real| seen.insert(real));
                match is_new.and_then(|is_new| is_new.then(|| fs::read_dir(&path)).transpose()) {
                    Ok(entries) => open.extend(entries.map(|entries| (path, entries))),
                    Err(error) => found.unread.push((path, error)),
                }
            } else if has_image_name(&path) || is_image(&path) {
                found.images.push(path);
            } else {
                found.num_others += 1;
            }
        }
    }
    found.images.sort();
    Ok(found)
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().first() == Some(&b'.')
}

/// Whether a regular file begins like a picture. Pipes are not opened: they may have
/// nobody at the other end.
fn is_image(path: &Path) -> bool {
    let first = || -> io::Result<Vec<u8>> {
        let mut first = Vec::new();
        if fs::metadata(path)?.is_file() {
            let limit = SNIFFED_BYTES as u64;
            File::open(path)?.take(limit).read_to_end(&mut first)?;
        }
        Ok(first)
    };
    first().is_ok_and(|first| looks_like_image(&first))
}
