//! A new store that takes the place of an old one.
//!
//! It grows in a folder within the old one's, `.embeddings-IDENTITY`, and the old one is
//! as it was. When the new one is complete its sidecar is moved over the old one, which
//! is the moment from which on it is the store: readers look for the files of a sidecar's
//! identity in that folder first. Then the other files are moved too, the old list of
//! names being removed before there are new numbers, so that nobody, not even a tool that
//! knows no sidecar, finds numbers of one beside names of the other.
//!
//! Files are moved and never written over: whoever has mapped old ones keeps them. Each
//! function but [`find`] is for the holder of the store's lock.

use super::sidecar::is_drawn;
use super::{EMBEDDINGS, FILENAMES, SIDECAR, Sidecar, StoreError};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Begins the name of a folder in which a new store grows.
const PREFIX: &str = ".embeddings-";

/// Does `what` with the folder that has a file of the store in `folder`: where it grew, if
/// it was not moved from there yet.
pub(super) fn find<T>(
    folder: &Path,
    identity: Option<&str>,
    what: impl Fn(&Path) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    if let Some(identity) = identity {
        match what(&grown_in(folder, identity)) {
            Err(error) if error.is_not_found() => {}
            done => return done,
        }
    }
    what(folder)
}

/// A new folder for the store that is to take the place of the one in `folder` and be as
/// `sidecar` says.
pub(super) fn begin(folder: &Path, sidecar: &Sidecar) -> Result<PathBuf, StoreError> {
    let identity = sidecar.identity.as_deref().unwrap_or_default();
    let place = grown_in(folder, identity);
    fs::create_dir(&place).map_err(StoreError::io(&place))?;
    Ok(place)
}

/// Folders of stores that were to take the place of the one in `folder`, and have not.
///
/// # Errors
/// Something keeps them from being told from others.
pub(super) fn unfinished(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let current = match Sidecar::read(folder) {
        Err(error) if !error.is_of_contents() => return Err(error),
        found => found.ok().flatten(),
    };
    let current = current.and_then(|current| current.identity);
    let current = current.map(|identity| grown_in(folder, &identity));
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(StoreError::io(folder))? {
        let entry = entry.map_err(StoreError::io(folder))?;
        let place = entry.path();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && Some(&place) != current.as_ref() && is_one(&place)? {
            found.push(place);
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a store grows in `place`, which has the name of its identity: somebody may have
/// put other folders there, copies of stores among them, and they are not ours to remove.
fn is_one(place: &Path) -> Result<bool, StoreError> {
    let name = place.file_name().and_then(OsStr::to_str);
    let Some(identity) = name.and_then(|name| name.strip_prefix(PREFIX)) else {
        return Ok(false);
    };
    match Sidecar::read(place) {
        Ok(Some(found)) => Ok(found.identity.as_deref() == Some(identity)),
        // Nobody else calls a folder so.
        _ if !is_drawn(identity) => Ok(false),
        Err(error) if !error.is_of_contents() => Err(error),
        _ => Ok(true),
    }
}

/// Gives up a store that was to take the place of another.
pub(super) fn remove(place: &Path) -> Result<(), StoreError> {
    fs::remove_dir_all(place).map_err(StoreError::io(place))
}

/// Makes the complete store in `place` the one in `folder`.
pub(super) fn put_in_place(place: &Path, folder: &Path) -> Result<(), StoreError> {
    let path = folder.join(SIDECAR);
    fs::rename(place.join(SIDECAR), &path).map_err(StoreError::io(path))?;
    sync(folder)?;
    settle(folder)
}

/// Moves what belongs to the sidecar in `folder` and is not beside it yet: a run may have
/// been killed between one file and the next.
pub(super) fn settle(folder: &Path) -> Result<(), StoreError> {
    let current = Sidecar::read(folder)?;
    let Some(identity) = current.and_then(|current| current.identity) else {
        return Ok(());
    };
    let place = grown_in(folder, &identity);
    if !place.is_dir() {
        return Ok(());
    }
    if place.join(FILENAMES).exists() {
        let names = folder.join(FILENAMES);
        if_there(fs::remove_file(&names)).map_err(StoreError::io(names))?;
    }
    for name in [EMBEDDINGS, FILENAMES] {
        let path = folder.join(name);
        if_there(fs::rename(place.join(name), &path)).map_err(StoreError::io(path))?;
    }
    sync(folder)?;
    remove(&place)
}

fn grown_in(folder: &Path, identity: &str) -> PathBuf {
    folder.join(format!("{PREFIX}{identity}"))
}

/// Done, or there was nothing to do it with.
fn if_there(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Has new names survive a power cut, where folders can be opened.
fn sync(folder: &Path) -> Result<(), StoreError> {
    if cfg!(unix) {
        let synced = fs::File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(StoreError::io(folder))?;
    }
    Ok(())
}
