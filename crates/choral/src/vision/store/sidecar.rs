//! What a store says about itself.

use super::{SIDECAR, StoreError, VALUE_BYTES};
use crate::sampling::fresh_seed;
use crate::vision::ImageGeometry;
use crate::vision::image::ImageSize;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

/// Longest sidecar that is read.
const MAX_BYTES: u64 = 1 << 20;

/// Longest identity.
const MAX_IDENTITY: usize = 64;

/// Begins the name of a sidecar that is being written.
const DRAFT: &str = ".embeddings.json.";

/// The version of the format.
const VERSION: u32 = 1;

/// The only type of number.
const DTYPE: &str = "float16";

/// `embeddings.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sidecar {
    /// The version of the format.
    #[serde(rename = "choral_embeddings")]
    pub version: u32,
    /// Drawn when the store was begun, and kept as long as it lives; one that takes its
    /// place has another. Stores of earlier versions have none until something is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// The folder that relative names begin at. Stores of earlier versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names_relative_to: Option<String>,
    /// The type of a number.
    pub dtype: String,
    /// Images, tokens of each, numbers of each token.
    pub shape: [usize; 3],
    /// Tokens of an image in height and in width.
    pub grid: [usize; 2],
    /// Whether the other files have these images and nothing more.
    pub complete: bool,
    /// What made the numbers.
    pub model: StoreModel,
    /// What was made of the pictures first.
    pub preprocessing: Preprocessing,
}

/// What made the numbers of a store, or is to answer from them.
///
/// Two files make embeddings of a GGUF model: its own, and the encoder's (`mmproj`). A
/// store is added to only where both are the same. What answers from it is the first
/// alone, and its encoder need not be there; where it is, it tells more: numbers of the
/// same encoder are right, though the text model may be quantised in another way, and
/// those of another are not what this model would see in the pictures. Where it is not,
/// the text model must be the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreModel {
    /// The name of its file or folder.
    pub name: String,
    /// [`fingerprint`](crate::model::fingerprint) of it.
    pub fingerprint: String,
    /// The same of its encoder of pictures, where that is a file of its own and is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder_fingerprint: Option<String>,
    /// The arithmetic.
    pub numeric: String,
}

/// What was made of the pictures of a store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// How they were sized.
    pub image_size: ImageSize,
    /// Pixels along a side of a patch.
    pub patch_size: usize,
    /// Patches along a side of a token.
    pub merge_size: usize,
    /// Frames of a patch.
    pub temporal_patch_size: usize,
    /// Subtracted from each colour, which is in 0..=1.
    pub mean: [f32; 3],
    /// Divides it then.
    pub std: [f32; 3],
}

impl StoreModel {
    /// Refuses to answer with `self` from the store `folder`, which `made` made.
    pub(super) fn check_answers(&self, made: &Self, folder: &Path) -> Result<(), StoreError> {
        let (what, own, other) = match (&self.encoder_fingerprint, &made.encoder_fingerprint) {
            (Some(own), Some(other)) => ("image encoder", own, other),
            _ => ("model", &self.fingerprint, &made.fingerprint),
        };
        if own == other {
            return Ok(());
        }
        Err(StoreError::Other {
            path: folder.to_owned(),
            what,
            found: format!("`{}` ({other})", made.name),
            expected: format!("`{}` ({own})", self.name),
        })
    }
}

impl Preprocessing {
    /// What a processor of that geometry and size does.
    pub fn new(geometry: &ImageGeometry, image_size: ImageSize) -> Self {
        Self {
            image_size,
            patch_size: geometry.patch_size,
            merge_size: geometry.merge_size,
            temporal_patch_size: geometry.temporal_patch_size,
            mean: geometry.mean,
            std: geometry.std,
        }
    }
}

/// What no other store has: random bits, as hexadecimal digits.
pub(super) fn fresh_identity() -> String {
    format!("{:016x}{:016x}", fresh_seed(), fresh_seed())
}

/// Whether [`fresh_identity`] may have drawn it.
pub(super) fn is_drawn(identity: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    identity.len() == 32 && identity.bytes().all(is_digit)
}

impl Sidecar {
    /// A new store without images, of a model whose tokens are `hidden` numbers wide.
    pub fn new(
        grid: [usize; 2],
        hidden: usize,
        model: StoreModel,
        preprocessing: Preprocessing,
    ) -> Self {
        Self {
            version: VERSION,
            identity: Some(fresh_identity()),
            names_relative_to: None,
            dtype: DTYPE.to_owned(),
            shape: [0, grid[0] * grid[1], hidden],
            grid,
            complete: false,
            model,
            preprocessing,
        }
    }

    /// Images.
    pub fn num_images(&self) -> usize {
        self.shape[0]
    }

    /// Bytes of an image's numbers.
    pub(super) fn row_bytes(&self) -> u64 {
        let [_, tokens, hidden] = self.shape;
        (tokens as u64)
            .saturating_mul(hidden as u64)
            .saturating_mul(VALUE_BYTES)
    }

    /// Bytes of all numbers.
    pub(super) fn bytes(&self) -> u64 {
        self.row_bytes().saturating_mul(self.num_images() as u64)
    }

    /// The sidecar of the store `folder`, if there is one.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, StoreError> {
        let path = folder.join(SIDECAR);
        let wrong = |reason: String| StoreError::Sidecar {
            path: path.clone(),
            reason,
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io(path)(error)),
        };
        let mut bytes = Vec::new();
        let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes);
        if read.map_err(StoreError::io(&path))? as u64 > MAX_BYTES {
            return Err(wrong(format!("has more than {MAX_BYTES} bytes")));
        }
        let found: Self = serde_json::from_slice(&bytes)
            .map_err(|error| wrong(format!("is no description of embeddings: {error}")))?;
        let [_, tokens, hidden] = found.shape;
        let [rows, columns] = found.grid;
        if found.version != VERSION || found.dtype != DTYPE {
            return Err(wrong(format!(
                "is version {} of numbers of type {}, expected version {VERSION} and {DTYPE}",
                found.version, found.dtype
            )));
        }
        if tokens == 0 || hidden == 0 || rows.checked_mul(columns) != Some(tokens) {
            return Err(wrong(format!(
                "its shape is {:?} and its grid {:?}, expected a grid of as many tokens, at least \
                 one, and a width",
                found.shape, found.grid
            )));
        }
        // It becomes the name of a folder.
        let is_plain = |identity: &String| {
            (1..=MAX_IDENTITY).contains(&identity.len())
                && identity.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        if let Some(identity) = found.identity.as_ref().filter(|id| !is_plain(id)) {
            return Err(wrong(format!(
                "its identity is `{}`, expected 1 to {MAX_IDENTITY} letters and digits",
                identity.escape_debug()
            )));
        }
        Ok(Some(found))
    }

    /// Replaces the sidecar of the store `folder`, so that there is always a whole one.
    pub(super) fn write(&self, folder: &Path) -> Result<(), StoreError> {
        let path = folder.join(SIDECAR);
        let write = || -> io::Result<()> {
            let mut builder = tempfile::Builder::new();
            builder.prefix(DRAFT);
            // Whoever may read the other files may read this one.
            #[cfg(unix)]
            builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
            let mut file = builder.tempfile_in(folder)?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.write_all(b"\n")?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)?;
            // The new name is to survive a power cut as well.
            #[cfg(unix)]
            File::open(folder)?.sync_all()?;
            Ok(())
        };
        write().map_err(StoreError::io(&path))
    }

    /// Removes what runs left that were killed while they wrote the sidecar of `folder`;
    /// for the holder of its lock.
    pub(super) fn remove_drafts(folder: &Path) {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let is_draft = |name: &OsStr| name.to_string_lossy().starts_with(DRAFT);
        for entry in entries.filter(|entry| is_draft(&entry.file_name())) {
            // One that stays does no harm.
            let _ = fs::remove_file(entry.path());
        }
    }

    /// Refuses a store that was made in another way than this one would be.
    pub(super) fn check_same(&self, other: &Self, folder: &Path) -> Result<(), StoreError> {
        let differs = |what, found: String, expected: String| {
            if found == expected {
                return Ok(());
            }
            Err(StoreError::Other {
                path: folder.to_owned(),
                what,
                found,
                expected,
            })
        };
        let model = |sidecar: &Self| {
            let StoreModel {
                name, fingerprint, ..
            } = &sidecar.model;
            (fingerprint.clone(), format!("`{name}` ({fingerprint})"))
        };
        let ((print, name), (other_print, other_name)) = (model(self), model(other));
        if print != other_print {
            return differs("model", name, other_name);
        }
        let encoder = |sidecar: &Self| {
            let encoder = sidecar.model.encoder_fingerprint.clone();
            encoder.unwrap_or_else(|| "none on record".to_owned())
        };
        differs("image encoder", encoder(self), encoder(other))?;
        let numeric = |sidecar: &Self| sidecar.model.numeric.clone();
        differs("numeric", numeric(self), numeric(other))?;
        let size = |sidecar: &Self| format!("{:?}", sidecar.preprocessing.image_size);
        differs("image size", size(self), size(other))?;
        let shape = |sidecar: &Self| format!("{:?} x {}", sidecar.grid, sidecar.shape[2]);
        differs("shape of embeddings", shape(self), shape(other))?;
        let rest = |sidecar: &Self| format!("{:?}", sidecar.preprocessing);
        differs("preparation of pictures", rest(self), rest(other))
    }
}
