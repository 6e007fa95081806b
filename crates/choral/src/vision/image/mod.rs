//! From a file of a picture to the patches that an encoder takes.
//!
//! Owns decoding ([`Picture`]), sizes ([`ImageSize`]), resampling and the order of
//! patches: what Hugging Face's processor of GLM-4V does, number for number. Files are
//! foreign: whatever is wrong with one is an [`ImageError`], and nothing is allocated
//! before [`DecodeLimits`] were asked. Knows nothing of models beyond their
//! [`ImageGeometry`]. Read [`ImageProcessor::patches`] first.

mod decode;
mod error;
mod folder;
mod jpeg;
mod memory;
mod patches;
mod resample;
mod size;
#[cfg(test)]
mod tests;

pub use decode::{DecodeLimits, FORMATS, Picture, has_image_name, looks_like_image};
pub use error::{ImageError, ImageFileError};
pub use folder::{Found, find};
pub use size::{ImageSize, MAX_ASPECT_RATIO};

use super::{ImageGeometry, Patches};
use memory::DecodeMemory;
use size::Placement;
use std::path::Path;
use std::sync::Arc;

/// Makes patches of pictures, for one model and one way of sizing them. May be used from
/// any thread: those that decode at the same time share the memory that its limits allow,
/// and wait for each other. Clones share it too.
#[derive(Debug, Clone)]
pub struct ImageProcessor {
    geometry: ImageGeometry,
    size: ImageSize,
    limits: DecodeLimits,
    memory: Arc<DecodeMemory>,
}

impl ImageProcessor {
    /// A processor for a model that says `geometry`.
    ///
    /// # Errors
    /// The model's sizes make no sense, or do not allow for `size`.
    pub fn new(geometry: ImageGeometry, size: ImageSize) -> Result<Self, ImageError> {
        size::check(&geometry, size)?;
        let limits = DecodeLimits::default();
        Ok(Self {
            geometry,
            size,
            limits,
            memory: Arc::new(limits.memory()),
        })
    }

    /// The same processor with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: DecodeLimits) -> Self {
        self.limits = limits;
        self.memory = Arc::new(limits.memory());
        self
    }

    /// What the model says about pictures.
    pub fn geometry(&self) -> &ImageGeometry {
        &self.geometry
    }

    /// How pictures are sized.
    pub fn size(&self) -> ImageSize {
        self.size
    }

    /// How many patches every picture has, if it is the same of all.
    pub(super) fn fixed_patches(&self) -> Option<usize> {
        let [height, width] = self.size.fixed_grid(&self.geometry)?;
        let merge = self.geometry.merge_size;
        Some(height * width * merge * merge)
    }

    /// The patches of the picture in the file `path`.
    ///
    /// # Errors
    /// The file cannot be read, or is no picture that can be used; names the file.
    pub fn read(&self, path: &Path) -> Result<Patches, ImageFileError> {
        let patches = || {
            let (picture, _share) = Picture::read_in(path, &self.limits, &self.memory)?;
            self.patches(&picture)
        };
        patches().map_err(|error| ImageFileError {
            path: path.to_owned(),
            error,
        })
    }

    /// The patches of the picture that a file with these `bytes` has.
    ///
    /// # Errors
    /// They are no picture that can be used.
    pub fn decode(&self, bytes: &[u8]) -> Result<Patches, ImageError> {
        let (picture, _share) = Picture::decode_in(bytes, &self.limits, &self.memory)?;
        self.patches(&picture)
    }

    /// The patches of `picture`: resized, scaled to 0..=1, normalised and cut up.
    ///
    /// # Errors
    /// Its sides differ too much, or it would become too large.
    pub fn patches(&self, picture: &Picture) -> Result<Patches, ImageError> {
        let Placement {
            canvas,
            inner,
            offset,
        } = size::place(picture.size(), &self.geometry, self.size)?;
        let [width, height] = canvas;
        let pixels = (width as u64).saturating_mul(height as u64);
        if pixels > self.limits.max_pixels {
            return Err(ImageError::TooManyPixels {
                width: width as u64,
                height: height as u64,
                most: self.limits.max_pixels,
            });
        }
        let found = size::patch_bytes(pixels, &self.geometry);
        if found > self.limits.max_decoded_bytes {
            return Err(ImageError::TooMuchMemory {
                found,
                most: self.limits.max_decoded_bytes,
            });
        }
        let resized = resample::resize(picture, inner);
        let placed = if inner == canvas {
            resized
        } else {
            resized.on_black(canvas, offset)
        };
        Ok(patches::cut(&placed, &self.geometry))
    }
}
