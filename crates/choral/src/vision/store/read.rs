//! Reading a store.

use super::names::{count_names, read_names};
use super::{
    EMBEDDINGS, FILENAMES, SIDECAR, Sidecar, StoreError, StoreModel, VALUE_BYTES, replace,
};
use crate::vision::image::ImageSize;
use crate::vision::{ImageEmbedding, ImageGeometry};
use choral_formats::MappedFile;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How often a store is opened again that another takes the place of meanwhile.
const MAX_TRIES: usize = 100;

/// An open store. Rows are read when they are asked for; the file stays on the disk.
#[derive(Debug)]
pub struct EmbeddingStore {
    folder: PathBuf,
    names: Vec<String>,
    grid: [usize; 2],
    hidden: usize,
    rows: MappedFile,
    /// When the array was changed last.
    changed: Option<SystemTime>,
    sidecar: Option<Sidecar>,
}

impl EmbeddingStore {
    /// Opens the store in `folder` for a model whose tokens are `hidden` numbers wide.
    ///
    /// One without a sidecar, as other tools write it, is taken for `[names, tokens,
    /// hidden]` with a square of tokens, and that is logged as a warning: a multiple of the
    /// right width may fit as well. One that is being written, or whose writing was ended,
    /// has the images that its sidecar speaks of. One that another takes the place of
    /// meanwhile is either the old or the new, and stays that as long as it is open.
    ///
    /// # Errors
    /// A file is missing, or they do not agree with each other or with `hidden`.
    pub fn open(folder: &Path, hidden: usize) -> Result<Self, StoreError> {
        for _ in 0..MAX_TRIES {
            let before = Sidecar::read(folder)?;
            let opened = Self::open_as(folder, hidden, before.as_ref());
            let after = Sidecar::read(folder)?;
            let identity = |sidecar: &Option<Sidecar>| {
                let sidecar = sidecar.as_ref();
                sidecar.map(|sidecar| sidecar.identity.clone())
            };
            // What it says of a store that grows is there already, and the rest is not
            // read; but files of a store that is gone may not be those of another.
            let is_one = match &opened {
                Ok(_) => identity(&before) == identity(&after),
                Err(_) => before == after,
            };
            if is_one {
                return opened;
            }
        }
        Err(StoreError::InUse {
            path: folder.to_owned(),
        })
    }

    /// The store that the sidecar speaks of.
    fn open_as(
        folder: &Path,
        hidden: usize,
        sidecar: Option<&Sidecar>,
    ) -> Result<Self, StoreError> {
        let missing = |missing| {
            move |error: StoreError| {
                if !error.is_not_found() {
                    return error;
                }
                StoreError::Missing {
                    path: folder.to_owned(),
                    missing,
                }
            }
        };
        let identity = sidecar.and_then(|sidecar| sidecar.identity.as_deref());
        let map = |place: &Path| Ok(MappedFile::open(&place.join(EMBEDDINGS))?);
        let rows = replace::find(folder, identity, map).map_err(missing(EMBEDDINGS))?;
        let path = folder.join(EMBEDDINGS);
        let found = rows.len() as u64;
        // One more than there may be tells that there are too many.
        let most = match sidecar {
            Some(sidecar) if !sidecar.complete => sidecar.num_images(),
            Some(sidecar) => sidecar.num_images().saturating_add(1),
            None => rows.len() / hidden.max(1) + 1,
        };
        let list = |place: &Path| {
            let path = place.join(FILENAMES);
            let file = File::open(&path).map_err(StoreError::io(&path))?;
            read_names(&path, file, most)
        };
        let names = replace::find(folder, identity, list).map_err(missing(FILENAMES))?;
        let grid = match sidecar {
            Some(sidecar) => {
                sidecar.check(folder, found, names.len())?;
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
            None => square(&path, found, names.len(), hidden)?,
        };
        Ok(Self {
            folder: folder.to_owned(),
            names,
            grid,
            hidden,
            rows,
            changed: fs::metadata(&path).and_then(|file| file.modified()).ok(),
            sidecar: sidecar.cloned(),
        })
    }

    /// How many images the store in `folder` has, as far as that can be told without a
    /// model: one without a sidecar has as many as names, unless [`open`](Self::open)
    /// refuses it.
    ///
    /// # Errors
    /// It is no store, or its files do not agree.
    pub fn count(folder: &Path) -> Result<usize, StoreError> {
        if let Some(sidecar) = Sidecar::read(folder)? {
            return Self::open(folder, sidecar.shape[2]).map(|store| store.len());
        }
        for missing in [EMBEDDINGS, FILENAMES] {
            if !folder.join(missing).exists() {
                return Err(StoreError::Missing {
                    path: folder.to_owned(),
                    missing,
                });
            }
        }
        let path = folder.join(EMBEDDINGS);
        let array = fs::metadata(&path).map_err(StoreError::io(path))?;
        // An image has a number at least; one more tells that there are too many.
        let most = usize::try_from(array.len() / VALUE_BYTES).unwrap_or(usize::MAX);
        let path = folder.join(FILENAMES);
        let file = File::open(&path).map_err(StoreError::io(&path))?;
        count_names(&path, file, most.saturating_add(1))
    }

    /// Refuses a store that `model` is not to answer from, as [`StoreModel`] says. Without
    /// a sidecar nobody knows.
    ///
    /// # Errors
    /// If its numbers are another model's.
    pub fn check_model(&self, model: &StoreModel) -> Result<(), StoreError> {
        match &self.sidecar {
            Some(sidecar) => model.check_answers(&sidecar.model, &self.folder),
            None => Ok(()),
        }
    }

    /// Refuses a store without a sidecar whose images would be of a size that the model
    /// does not take. One with a sidecar says of which model it is.
    ///
    /// # Errors
    /// If they are larger.
    pub fn check_geometry(&self, geometry: &ImageGeometry) -> Result<(), StoreError> {
        let side = self.grid[0];
        let (pixels, most) = (
            side.saturating_mul(geometry.factor()),
            ImageSize::largest_side(geometry),
        );
        if self.sidecar.is_some() || pixels <= most {
            return Ok(());
        }
        Err(StoreError::Grid {
            path: self.folder.clone(),
            side,
            pixels,
            most,
        })
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
        let length = self.rows.len();
        let since = self
            .changed
            .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
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
        if index >= self.len() {
            return Err(no_row());
        }
        let [height, width] = self.grid;
        // Cannot overflow: so many bytes are mapped, for every row.
        let length = height * width * self.hidden * VALUE_BYTES as usize;
        let bytes = self.rows.get(index * length..(index + 1) * length);
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

/// The grid of a store without a sidecar.
fn square(
    path: &Path,
    found: u64,
    num_images: usize,
    hidden: usize,
) -> Result<[usize; 2], StoreError> {
    let no_shape = |tokens| StoreError::NoShape {
        path: path.to_owned(),
        found,
        rows: num_images,
        hidden,
        tokens,
    };
    let token_bytes = (num_images as u64)
        .checked_mul(hidden as u64)
        .and_then(|values| values.checked_mul(VALUE_BYTES))
        .filter(|bytes| *bytes > 0);
    let token_bytes = token_bytes.ok_or_else(|| no_shape(0.0))?;
    let tokens = found / token_bytes;
    let side = tokens.isqrt();
    if tokens == 0 || !found.is_multiple_of(token_bytes) || side * side != tokens {
        return Err(no_shape(found as f64 / token_bytes as f64));
    }
    tracing::warn!(
        "`{}` does not say what its numbers are: it is taken for {side} x {side} tokens an image, \
         {hidden} numbers each, of this model",
        path.display()
    );
    Ok([side as usize; 2])
}

/// Whether a folder has a file of a store.
pub(super) fn has_files(folder: &Path) -> bool {
    // Empty ones are what a run leaves that was ended as soon as it began.
    let has = |name: &&str| fs::metadata(folder.join(name)).is_ok_and(|file| file.len() > 0);
    [EMBEDDINGS, FILENAMES, SIDECAR].iter().any(has)
}
