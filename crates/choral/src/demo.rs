//! The small models that ship with choral.

use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// A GGUF file of a few million parameters, for demonstrations: it tells short
/// stories, counts, lists and answers the few kinds of question it was trained on.
/// Data, training and limits: `models/README.md`.
pub static MODEL: &[u8] = include_bytes!("../../../models/choral-demo-q8_0.gguf");

/// What messages call it.
pub const NAME: &str = "choral-demo";

/// What messages call the model that looks at pictures.
pub const VISION_NAME: &str = "choral-demo-vision";

macro_rules! vision_files {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../../models/choral-demo-vision/", $name)))),+]
    };
}

/// A Hugging Face folder of a few million parameters, by the names of its files: a model
/// of GLM-4.1V's architecture that answers questions about drawn shapes, and about
/// nothing else. Data, training and limits: `models/README.md`.
pub static VISION: &[(&str, &[u8])] = vision_files![
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "preprocessor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// The folder of [`VISION`], which is written to the user's cache (`XDG_CACHE_HOME`, else
/// `~/.cache`) where it is not there as it should be.
///
/// # Errors
/// There is no cache, or it cannot be written to.
pub fn vision_model() -> io::Result<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let cache = set("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| env::home_dir().map(|home| home.join(".cache")));
    let cache = cache.filter(|path| path.is_absolute()).ok_or_else(|| {
        let problem = "there is no home folder, and XDG_CACHE_HOME is not set";
        io::Error::new(io::ErrorKind::NotFound, problem)
    })?;
    let cache = cache.join("choral");
    unpack(&cache).map_err(|error| {
        let problem = format!("{}: {error}", cache.display());
        io::Error::new(error.kind(), problem)
    })
}

/// [`VISION`] below `cache`, in a folder that is named after its bytes.
fn unpack(cache: &Path) -> io::Result<PathBuf> {
    let mut hash = Sha256::new();
    for (name, bytes) in VISION {
        hash.update(format!("{name}: {}\n", bytes.len()));
        hash.update(bytes);
    }
    let hash = hash.finalize();
    let first = hash.first_chunk().expect("SHA-256 has 32 bytes");
    let parent = cache.join(format!("{:016x}", u64::from_be_bytes(*first)));
    let folder = parent.join(VISION_NAME);
    if is_whole(&folder) {
        return Ok(folder);
    }
    fs::create_dir_all(&parent)?;
    let fresh = tempfile::tempdir_in(&parent)?;
    let made = fresh.path().join(VISION_NAME);
    fs::create_dir(&made)?;
    for (name, bytes) in VISION {
        fs::write(made.join(name), bytes)?;
    }
    if fs::rename(&made, &folder).is_ok() || is_whole(&folder) {
        // There was none, or another process was faster.
        return Ok(folder);
    }
    // What is damaged goes aside, with what is removed at the end. Another process may do
    // the same.
    let aside = fs::rename(&folder, fresh.path().join("damaged"));
    match aside.and_then(|()| fs::rename(&made, &folder)) {
        Err(error) if !is_whole(&folder) => Err(error),
        _ => Ok(folder),
    }
}

/// Whether all files are there, to the byte.
fn is_whole(folder: &Path) -> bool {
    let is_same = |&(name, bytes): &(&str, &[u8])| {
        fs::read(folder.join(name)).is_ok_and(|found| found == bytes)
    };
    VISION.iter().all(is_same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vision_model_is_unpacked_once_and_mended() {
        let cache = tempfile::tempdir().expect("a folder");
        let folders: Vec<_> = std::thread::scope(|scope| {
            let run = || scope.spawn(|| unpack(cache.path()).expect("unpacked"));
            let all: Vec<_> = (0..4).map(|_| run()).collect();
            all.into_iter().map(|t| t.join().expect("ran")).collect()
        });
        assert!(folders.iter().all(|folder| folder == &folders[0]));
        let folder = &folders[0];
        assert!(is_whole(folder));
        assert_eq!(
            folder.file_name().and_then(|n| n.to_str()),
            Some(VISION_NAME)
        );
        let written = |name: &str| fs::metadata(folder.join(name)).and_then(|m| m.modified());
        let before = written("config.json").expect("a file");
        unpack(cache.path()).expect("there");
        assert_eq!(written("config.json").expect("a file"), before);

        fs::write(folder.join("config.json"), "{}").expect("damaged");
        fs::remove_file(folder.join("tokenizer.json")).expect("removed");
        unpack(cache.path()).expect("mended");
        assert!(is_whole(folder));
        let left = fs::read_dir(folder.parent().expect("a folder")).expect("listed");
        assert_eq!(left.count(), 1);
    }

    /// A file that the folder has and the binary has not would be missing elsewhere.
    #[test]
    fn the_vision_model_has_all_files_of_its_folder() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../models")
            .join(VISION_NAME);
        let names = fs::read_dir(folder).expect("listed");
        let mut names: Vec<_> = names
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        assert!(
            names.iter().eq(VISION.iter().map(|(name, _)| *name)),
            "{names:?}"
        );
    }
}
