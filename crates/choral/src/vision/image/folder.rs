//! Finds the pictures of a folder.

use super::decode::{SNIFFED_BYTES, has_image_name, looks_like_image};
use std::collections::{BTreeSet, HashSet};
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
/// passed over. Links are followed; a folder that is reached twice is looked at once, by
/// its own name if that is below `folder`, else by the first link.
///
/// # Errors
/// `folder` itself cannot be read.
pub fn find(folder: &Path) -> io::Result<Found> {
    // Normalised, so that `a/` and `./a` give the same names as `a`.
    let folder: PathBuf = folder.components().collect();
    let mut search = Search::default();
    search.seen.insert(fs::canonicalize(&folder)?);
    fs::read_dir(&folder)?;
    search.folders.push(folder);
    loop {
        while let Some(folder) = search.folders.pop() {
            search.look(&folder);
        }
        // After all folders, so that the order of entries, which differs from machine to
        // machine, does not choose among names.
        let Some(link) = search.links.pop_first() else {
            break;
        };
        search.enter(link);
    }
    search.found.images.sort();
    Ok(search.found)
}

#[derive(Default)]
struct Search {
    found: Found,
    /// Real paths of all folders that are looked at.
    seen: HashSet<PathBuf>,
    /// Those that are to be looked at; opened one at a time, as a process may have few
    /// files open.
    folders: Vec<PathBuf>,
    /// Links to folders.
    links: BTreeSet<PathBuf>,
}

impl Search {
    fn look(&mut self, folder: &Path) {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => return self.found.unread.push((folder.to_owned(), error)),
        };
        for entry in entries {
            let path = match entry {
                Ok(entry) => entry.path(),
                Err(error) => {
                    self.found.unread.push((folder.to_owned(), error));
                    break;
                }
            };
            if is_hidden(path.file_name().unwrap_or_default()) {
                continue;
            }
            // Follows links; one that leads nowhere, or to itself, is no folder.
            if path.is_dir() {
                if path.is_symlink() {
                    self.links.insert(path);
                } else {
                    self.enter(path);
                }
            } else if has_image_name(&path) || is_image(&path) {
                self.found.images.push(path);
            } else {
                self.found.num_others += 1;
            }
        }
    }

    /// Has a folder looked at, unless it was.
    fn enter(&mut self, path: PathBuf) {
        match fs::canonicalize(&path) {
            Ok(real) => {
                if self.seen.insert(real) {
                    self.folders.push(path);
                }
            }
            Err(error) => self.found.unread.push((path, error)),
        }
    }
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
