//! Files and folders that appear when they are complete.
//!
//! They are made beside their target, under a name that begins with a dot, are
//! flushed to the disk and renamed. Whoever gives up halfway leaves nothing.

use super::{ExportError, ExportOptions, write_error};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// A file or folder in the making; dropping it removes it.
pub(super) struct Staged {
    path: PathBuf,
    target: PathBuf,
    is_folder: bool,
    options: ExportOptions,
    is_done: bool,
}

/// Refuses a target that may not be replaced, before any work is done.
pub(super) fn check(
    target: &Path,
    is_folder: bool,
    options: ExportOptions,
) -> Result<(), ExportError> {
    let Ok(metadata) = target.symlink_metadata() else {
        return Ok(());
    };
    if !options.overwrite {
        return Err(ExportError::Exists {
            path: target.to_owned(),
        });
    }
    let wrong = |kind: io::ErrorKind| write_error(target)(kind.into());
    if is_folder && !metadata.is_dir() {
        return Err(wrong(io::ErrorKind::NotADirectory));
    }
    if !is_folder && metadata.is_dir() {
        return Err(wrong(io::ErrorKind::IsADirectory));
    }
    if is_folder {
        // Nobody's pictures are deleted because a folder's name was mistyped.
        for entry in fs::read_dir(target).map_err(write_error(target))? {
            let entry = entry.map_err(write_error(target))?;
            let is_answer = entry.file_type().is_ok_and(|kind| kind.is_file())
                && Path::new(&entry.file_name())
                    .extension()
                    .is_some_and(|extension| extension == "txt");
            if !is_answer {
                return Err(ExportError::NotReplaced {
                    path: target.to_owned(),
                    other: PathBuf::from(entry.file_name()),
                });
            }
        }
    }
    Ok(())
}

/// A file that will be `target`.
pub(super) fn file(target: &Path, options: ExportOptions) -> Result<(Staged, File), ExportError> {
    let create = |path: &Path| OpenOptions::new().write(true).create_new(true).open(path);
    stage(target, false, options, create)
}

/// A folder that will be `target`.
pub(super) fn folder(target: &Path, options: ExportOptions) -> Result<Staged, ExportError> {
    let (staged, ()) = stage(target, true, options, |path| fs::create_dir(path))?;
    Ok(staged)
}

fn stage<T>(
    target: &Path,
    is_folder: bool,
    options: ExportOptions,
    create: impl Fn(&Path) -> io::Result<T>,
) -> Result<(Staged, T), ExportError> {
    check(target, is_folder, options)?;
    let mut attempt = 0;
    loop {
        let path = beside(target, "tmp", attempt).map_err(write_error(target))?;
        match create(&path) {
            Ok(made) => {
                let staged = Staged {
                    path,
                    target: target.to_owned(),
                    is_folder,
                    options,
                    is_done: false,
                };
                return Ok((staged, made));
            }
            // Of a process that died, or of another export.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 100 => {
                attempt += 1;
            }
            Err(error) => return Err(write_error(target)(error)),
        }
    }
}

/// A name beside `target` that nothing else has.
fn beside(target: &Path, ending: &str, attempt: u32) -> io::Result<PathBuf> {
    let Some(name) = target.file_name() else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}-{attempt}.{ending}", std::process::id()));
    Ok(target.with_file_name(hidden))
}

impl Staged {
    /// Where it is for now.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name. `made` is the file, or the folder opened.
    pub(super) fn finish(mut self, made: &File) -> Result<(), ExportError> {
        let target = self.target.clone();
        // Somebody may have been faster.
        check(&target, self.is_folder, self.options)?;
        let finished = || -> io::Result<()> {
            made.sync_all()?;
            if self.is_folder && target.exists() {
                // A folder cannot take the place of one that has files.
                let old = beside(&target, "old", 0)?;
                fs::rename(&target, &old)?;
                if let Err(error) = fs::rename(&self.path, &target) {
                    fs::rename(&old, &target)?;
                    return Err(error);
                }
                fs::remove_dir_all(&old)?;
            } else {
                fs::rename(&self.path, &target)?;
            }
            sync_parent(&target)
        };
        finished().map_err(write_error(&target))?;
        self.is_done = true;
        Ok(())
    }
}

/// Makes the new name last.
fn sync_parent(target: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        // Folders cannot be opened elsewhere.
        return Ok(());
    }
    let parent = target
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        // What is left behind for want of rights harms nobody.
        let _ = if self.is_folder {
            fs::remove_dir_all(&self.path)
        } else {
            fs::remove_file(&self.path)
        };
    }
}
