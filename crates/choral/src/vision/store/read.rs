//! Reading a store.

use super::{EMBEDDINGS, FILENAMES, SIDECAR, Sidecar, StoreError, VALUE_BYTES};
use crate::vision::ImageEmbedding;
use choral_formats::MappedFile;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Longest list of names that is read.
const MAX_NAMES_BYTES: u64 = 4 << 30;

/// An open store. Rows are read when they are asked for; the file stays on the disk.
#[derive(Debug)]
pub struct EmbeddingStore {
    folder: PathBuf,
    names: Vec<String>,
    grid: [usize; 2],
    hidden: usize,
    /// None of a store without images.
    rows: Option<MappedFile>,
    sidecar: Option<Sidecar>,
    /// As long as the array was, and when it was changed last.
    array: (u64, Option<SystemTime>),
}

impl EmbeddingStore {
    /// Opens the store in `folder` for a model whose tokens are `hidden` numbers wide.
    ///
    /// One without a sidecar, as other tools write it, is taken for `[names, tokens,
    /// hidden]` with a square of tokens. One that is being written, or whose writing was
    /// ended, has the images that its sidecar speaks of.
    ///
    /// # Errors
    /// A file is missing, or they do not agree with each other or with `hidden`.
    pub fn open(folder: &Path, hidden: usize) -> Result<Self, StoreError> {
        let path = folder.join(EMBEDDINGS);
        let missing = |missing| StoreError::Missing {
            path: folder.to_owned(),
            missing,
        };
        // What it says of a store that grows is there already, and the rest is not read.
        let sidecar = Sidecar::read(folder)?;
        let (found, modified) = match fs::metadata(&path) {
            Ok(metadata) => (metadata.len(), metadata.modified().ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(missing(EMBEDDINGS));
            }
            Err(error) => return Err(StoreError::io(path)(error)),
        };
        let most = match &sidecar {
            Some(sidecar) if !sidecar.complete => sidecar.num_images(),
            _ => usize::MAX,
        };
        let names = read_names(folder, most)?.ok_or_else(|| missing(FILENAMES))?;
        let num_images = names.len();
        let grid = match &sidecar {
            Some(sidecar) => {
                sidecar.check(folder, found, num_images)?;
                let [_, tokens, width] = sidecar.shape;
                if width != hidden {
                    return Err(StoreError::Other {
                        path: folder.to_owned(),
                        what: "model",
                        found: format!("{tokens} tokens of {width} numbers an image"),
                        expected: format!("tokens of {hidden} numbers"),
                    });
                }
                sidecar.grid
            }
            None => square(&path, found, num_images, hidden)?,
        };
        let rows = (num_images > 0).then(|| MappedFile::open(&path));
        Ok(Self {
            folder: folder.to_owned(),
            names,
            grid,
            hidden,
            rows: rows.transpose()?,
            sidecar,
            array: (found, modified),
        })
    }

    /// Refuses what is no store, or one whose files do not agree, as far as that can be
    /// told without a model.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn check(folder: &Path) -> Result<(), StoreError> {
        if let Some(sidecar) = Sidecar::read(folder)? {
            return Self::open(folder, sidecar.shape[2]).map(drop);
        }
        for missing in [EMBEDDINGS, FILENAMES] {
            if !folder.join(missing).exists() {
                return Err(StoreError::Missing {
                    path: folder.to_owned(),
                    missing,
                });
            }
        }
        Ok(())
    }

    /// Refuses a store whose numbers are another model's, by its
    /// [`fingerprint`](crate::model::fingerprint). Without a sidecar nobody knows.
    ///
    /// # Errors
    /// If it is another.
    pub fn check_model(&self, name: &str, fingerprint: &str) -> Result<(), StoreError> {
        match &self.sidecar {
            Some(Sidecar { model, .. }) if model.fingerprint != fingerprint => {
                Err(StoreError::Other {
                    path: self.folder.clone(),
                    what: "model",
                    found: format!("`{}` ({})", model.name, model.fingerprint),
                    expected: format!("`{name}` ({fingerprint})"),
                })
            }
            _ => Ok(()),
        }
    }

    /// The paths of the images, by row.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Images.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Tokens of an image in height and in width.
    pub fn grid(&self) -> [usize; 2] {
        self.grid
    }

    /// What tells this store from others, and from those that were in its place. Rows are
    /// only ever added to a store: this and the number of a row name numbers that do not
    /// change. A copy of a store has the same; what is added to either afterwards is not
    /// told apart.
    ///
    /// Of a store that has nothing of its own (no sidecar, or one of an earlier version)
    /// it is made of the length of its array and the time that it was changed.
    pub fn identity(&self) -> String {
        let own = self.sidecar.as_ref();
        if let Some(identity) = own.and_then(|sidecar| sidecar.identity.clone()) {
            return identity;
        }
        let (length, modified) = self.array;
        let since = modified.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
        let since = since.map_or(0, |since| since.as_nanos());
        format!("{length} bytes of {since}")
    }

    /// What the store says about itself, if it does.
    pub fn sidecar(&self) -> Option<&Sidecar> {
        self.sidecar.as_ref()
    }

    /// Whether all images that were to be in it are; of a store without a sidecar, yes.
    pub fn is_complete(&self) -> bool {
        self.sidecar.as_ref().is_none_or(|sidecar| sidecar.complete)
    }

    /// The embedding of image `index`.
    ///
    /// # Errors
    /// There is no such image, or its row holds what is no number.
    pub fn embedding(&self, index: usize) -> Result<ImageEmbedding, StoreError> {
        let no_row = || StoreError::Index {
            index,
            rows: self.len(),
        };
        let rows = self.rows.as_ref().filter(|_| index < self.len());
        let rows = rows.ok_or_else(no_row)?;
        let [height, width] = self.grid;
        // Cannot overflow: so many bytes are mapped, for every row.
        let length = height * width * self.hidden * VALUE_BYTES as usize;
        let bytes = rows.get(index * length..(index + 1) * length);
        let bytes = bytes.ok_or_else(no_row)?;
        ImageEmbedding::from_f16(height, width, self.hidden, bytes).map_err(|source| {
            StoreError::Row {
                path: self.folder.join(EMBEDDINGS),
                index,
                source,
            }
        })
    }
}

impl Sidecar {
    /// Refuses files that are not what the sidecar says: an array of `bytes`, and
    /// `num_names`, those of an unfinished store counted up to its images.
    pub(super) fn check(
        &self,
        folder: &Path,
        bytes: u64,
        num_names: usize,
    ) -> Result<(), StoreError> {
        let [rows, tokens, hidden] = self.shape;
        let expected = self.bytes();
        let is_right = if self.complete {
            bytes == expected
        } else {
            bytes >= expected
        };
        if !is_right {
            return Err(StoreError::Length {
                path: folder.join(EMBEDDINGS),
                found: bytes,
                expected,
                rows,
                tokens,
                hidden,
            });
        }
        if num_names != rows {
            return Err(StoreError::Names {
                path: folder.join(FILENAMES),
                found: num_names,
                expected: rows,
            });
        }
        Ok(())
    }
}

/// The first `most` names of a store; none if there is no list.
pub(super) fn read_names(folder: &Path, most: usize) -> Result<Option<Vec<String>>, StoreError> {
    let path = folder.join(FILENAMES);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io(path)(error)),
    };
    let lines = BufReader::new(file.take(MAX_NAMES_BYTES)).lines();
    let names: io::Result<Vec<String>> = lines.take(most).collect();
    names.map(Some).map_err(StoreError::io(path))
}

/// The grid of a store without a sidecar.
fn square(
    path: &Path,
    found: u64,
    num_images: usize,
    hidden: usize,
) -> Result<[usize; 2], StoreError> {
    let no_shape = || StoreError::NoShape {
        path: path.to_owned(),
        found,
        rows: num_images,
        hidden,
    };
    let token_bytes = (num_images as u64)
        .checked_mul(hidden as u64)
        .and_then(|values| values.checked_mul(VALUE_BYTES))
        .filter(|bytes| *bytes > 0);
    let token_bytes = token_bytes.ok_or_else(no_shape)?;
    let tokens = found / token_bytes;
    let side = tokens.isqrt();
    if tokens == 0 || !found.is_multiple_of(token_bytes) || side * side != tokens {
        return Err(no_shape());
    }
    Ok([side as usize; 2])
}

/// Whether a folder has a file of a store.
pub(super) fn has_files(folder: &Path) -> bool {
    // Empty ones are what a run leaves that was ended as soon as it began.
    let has = |name: &&str| fs::metadata(folder.join(name)).is_ok_and(|file| file.len() > 0);
    [EMBEDDINGS, FILENAMES, SIDECAR].iter().any(has)
}
