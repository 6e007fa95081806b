//! An encoder of pictures that is ready to run, for whoever has pictures.

use super::{ImageEmbedding, ImageGeometry, Patches, VisionError};
use crate::model::{ImageModel, ImageScratch, ModelError, Numeric};
use choral_kernels::Compute;
use std::sync::{Mutex, PoisonError};

/// Patches that run together. A picture of 448 by 448 pixels has 1024 of 14 by 14; one
/// that has more than this runs alone.
pub(crate) const STEP_PATCHES: usize = 4096;

/// A model's encoder of pictures, with its workers.
///
/// May be called from any thread; calls run one after the other, each on all workers.
#[derive(Debug)]
pub struct ImageEncoder {
    model: ImageModel,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    compute: Compute,
    scratch: ImageScratch,
}

impl ImageEncoder {
    /// An encoder that runs on `compute`'s workers.
    pub fn new(model: ImageModel, compute: Compute) -> Self {
        let state = State {
            compute,
            scratch: ImageScratch::default(),
        };
        Self {
            model,
            state: Mutex::new(state),
        }
    }

    /// What pictures it takes.
    pub fn geometry(&self) -> &ImageGeometry {
        &self.model.spec().geometry
    }

    /// Numbers of a token of what it makes: the width of the text model.
    pub fn token_width(&self) -> usize {
        self.model.spec().out_size
    }

    /// Its arithmetic.
    pub fn numeric(&self) -> Numeric {
        self.model.numeric()
    }

    /// Bytes of packed weights.
    pub fn weight_bytes(&self) -> usize {
        self.model.weight_bytes()
    }

    /// Makes an embedding of each picture, in their order. What it makes of one does not
    /// depend on the others, to the last bit. As many run together as fit in a step of
    /// bounded memory.
    ///
    /// # Errors
    /// If a picture has patches that this encoder does not take, or there is no memory
    /// for one. Then nothing was computed, or what was is lost.
    pub fn encode(&self, images: &[Patches]) -> Result<Vec<ImageEmbedding>, VisionError> {
        for (index, image) in images.iter().enumerate() {
            self.check(index, image)?;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut made = Vec::with_capacity(images.len());
        let mut rest = images;
        while !rest.is_empty() {
            let (step, others) = rest.split_at(fit(rest));
            self.run(&mut state, step, &mut made)?;
            rest = others;
        }
        Ok(made)
    }

    fn run(
        &self,
        state: &mut State,
        images: &[Patches],
        made: &mut Vec<ImageEmbedding>,
    ) -> Result<(), VisionError> {
        let State { compute, scratch } = state;
        let images: Vec<&Patches> = images.iter().collect();
        let rows = self.model.forward(compute, &images, scratch);
        let rows = rows.map_err(no_memory)?;
        let merge = self.geometry().merge_size;
        for (image, values) in images.iter().zip(rows) {
            let [_, height, width] = image.grid;
            let (rows, columns) = (height / merge, width / merge);
            let index = made.len();
            let embedding = ImageEmbedding::new(rows, columns, self.token_width(), values);
            made.push(embedding.map_err(|error| error.of_image(index))?);
        }
        if num_patches(images[0]) > STEP_PATCHES {
            // What so large a picture took is not kept for smaller ones.
            *scratch = ImageScratch::default();
        }
        Ok(())
    }

    fn check(&self, index: usize, image: &Patches) -> Result<(), VisionError> {
        let geometry = self.geometry();
        let [frames, height, width] = image.grid;
        let merge = geometry.merge_size;
        let is_whole = |side: usize| side > 0 && side.is_multiple_of(merge);
        if frames != 1 || !is_whole(height) || !is_whole(width) {
            return Err(VisionError::Grid {
                image: index,
                grid: image.grid,
                expected: format!("one frame, and multiples of {merge}"),
            });
        }
        let expected = height
            .checked_mul(width)
            .and_then(|patches| patches.checked_mul(geometry.patch_len()));
        if expected != Some(image.values.len()) {
            return Err(VisionError::Values {
                image: index,
                expected: expected.unwrap_or(usize::MAX),
                found: image.values.len(),
            });
        }
        if image.values.iter().any(|value| !value.is_finite()) {
            return Err(VisionError::NotFinite { image: index });
        }
        Ok(())
    }
}

fn num_patches(image: &Patches) -> usize {
    image.grid.iter().product()
}

/// How many of `images`, of which there are some, run in a step.
fn fit(images: &[Patches]) -> usize {
    let mut patches = 0_usize;
    let fits = |image: &&Patches| {
        patches = patches.saturating_add(num_patches(image));
        patches <= STEP_PATCHES
    };
    images.iter().take_while(fits).count().max(1)
}

fn no_memory(error: ModelError) -> VisionError {
    VisionError::NoMemory(error.to_string())
}
