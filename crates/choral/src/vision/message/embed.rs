//! From pictures that messages name to embeddings for their prompt.

use super::{ImageAccess, ImageProblem, MessageImageError, take_images};
use crate::vision::encode::Encode;
use crate::vision::image::{ImageError, ImageProcessor, ImageSize, Picture};
use crate::vision::{ImageEmbedding, ImageGeometry};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;

/// Most embeddings that are remembered. A conversation goes over its pictures again with
/// every message.
const MAX_REMEMBERED: usize = 16;

/// Makes embeddings of the pictures in messages.
#[derive(Debug)]
pub struct MessageImages {
    access: ImageAccess,
    /// None of a model that reads text only.
    processor: Option<ImageProcessor>,
    remembered: VecDeque<([u8; 32], ImageEmbedding)>,
}

impl MessageImages {
    /// For a model that says `geometry` of its pictures, if it looks at any; each is about
    /// its own size.
    ///
    /// # Errors
    /// The model's sizes make no sense.
    pub fn new(access: ImageAccess, geometry: Option<&ImageGeometry>) -> Result<Self, ImageError> {
        let processor =
            |geometry: &ImageGeometry| ImageProcessor::new(geometry.clone(), ImageSize::Dynamic);
        Ok(Self {
            access,
            processor: geometry.map(processor).transpose()?,
            remembered: VecDeque::new(),
        })
    }

    /// What the names of pictures may reach.
    pub fn access(&self) -> &ImageAccess {
        &self.access
    }

    /// The embeddings of all pictures in `messages`, in their order. The pictures are taken
    /// out of them, and what chat templates have a place for is left.
    ///
    /// # Errors
    /// A picture cannot be used, or the model reads text only; names the message.
    pub fn embed(
        &mut self,
        messages: &mut [Value],
        encode: &Encode<'_>,
    ) -> Result<Vec<ImageEmbedding>, MessageImageError> {
        let images = take_images(messages)?;
        let each = images.iter().map(|image| {
            let made = self.one(&image.url, encode);
            made.map_err(|problem| image.error(problem))
        });
        each.collect()
    }

    fn one(&mut self, url: &str, encode: &Encode<'_>) -> Result<ImageEmbedding, ImageProblem> {
        let Some(processor) = &self.processor else {
            // Whoever encodes knows why that cannot be.
            encode(&[])?;
            return Err(crate::vision::VisionError::NoEncoder { hint: "" }.into());
        };
        let picture = self.access.open(url)?;
        let key = hash(&picture);
        if let Some((_, known)) = self.remembered.iter().find(|(of, _)| *of == key) {
            return Ok(known.clone());
        }
        let patches = processor.patches(&picture);
        let patches = patches.map_err(|error| ImageProblem::Image {
            name: String::new(),
            error,
        })?;
        let made = encode(&[patches])?.remove(0);
        if self.remembered.len() == MAX_REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back((key, made.clone()));
        Ok(made)
    }
}

fn hash(picture: &Picture) -> [u8; 32] {
    let mut hash = Sha256::new();
    for side in picture.size() {
        hash.update((side as u64).to_le_bytes());
    }
    hash.update(picture.pixels());
    hash.finalize().into()
}
