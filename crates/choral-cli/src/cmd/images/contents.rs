//! What pictures hold, so that a record knows which were changed since.

use choral::vision::image::DecodeLimits;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

/// What tells pictures from others that have been or will be under their numbers.
pub(super) enum Contents {
    /// The digests of files, as far as anybody will ask again.
    Files(Arc<HashMap<usize, String>>),
    /// Rows of the store that has this identity.
    Store(String),
}

impl Contents {
    /// What picture `number` holds.
    pub(super) fn of(&self, number: usize) -> Option<String> {
        match self {
            Self::Files(digests) => digests.get(&number).cloned(),
            Self::Store(identity) => Some(format!("{identity} {number}")),
        }
    }
}

/// SHA-256 over a file, in hexadecimal digits, or a word for what cannot be read: that is
/// no picture, whatever it holds.
pub(super) fn digest(path: &Path) -> String {
    // Pipes are not opened: what is read of one is gone.
    let is_file = fs::metadata(path).is_ok_and(|file| file.is_file());
    if !is_file {
        return "no file".to_owned();
    }
    read(path).unwrap_or_else(|_| "unreadable".to_owned())
}

fn read(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    // No picture is longer, however it goes on.
    let mut file = file.take(DecodeLimits::default().max_bytes);
    let mut hash = Sha256::new().chain_update(length.to_le_bytes());
    let mut buffer = vec![0; 1 << 16];
    loop {
        let num_read = file.read(&mut buffer)?;
        if num_read == 0 {
            break;
        }
        hash.update(&buffer[..num_read]);
    }
    let mut digits = String::with_capacity(64);
    for byte in hash.finalize() {
        write!(digits, "{byte:02x}").expect("a string takes all");
    }
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use super::{Contents, digest};
    use std::collections::HashMap;
    use std::fs;

    #[test]
    fn a_file_is_what_its_bytes_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.png");
        assert_eq!(digest(&path), "no file");
        assert_eq!(digest(folder.path()), "no file");
        fs::write(&path, "one").expect("written");
        let one = digest(&path);
        assert_eq!(one.len(), 64);
        fs::write(&path, "two").expect("written");
        assert_ne!(digest(&path), one);
        fs::write(&path, "one").expect("written");
        assert_eq!(digest(&path), one);
    }

    #[test]
    fn rows_of_a_store_differ_by_store_and_number() {
        let store = Contents::Store("x".to_owned());
        assert_ne!(store.of(1), store.of(2));
        assert_ne!(store.of(1), Contents::Store("y".to_owned()).of(1));
        let files = Contents::Files(HashMap::from([(1, "d".to_owned())]).into());
        assert_eq!((files.of(1).as_deref(), files.of(2)), (Some("d"), None));
    }
}
