//! What an engine makes of pictures before any prompt has them.

use super::Engine;
use crate::vision::{ImageEmbedding, ImageEncoder, ImageGeometry, Patches, VisionError};

impl Engine {
    /// The model's encoder of pictures, if it was loaded.
    pub fn image_encoder(&self) -> Option<&ImageEncoder> {
        self.images()?.encoder.as_deref()
    }

    /// Whether the model's encoder of pictures was loaded.
    pub fn has_vision(&self) -> bool {
        self.image_encoder().is_some()
    }

    /// What pictures the model takes, if its encoder was loaded.
    pub fn geometry(&self) -> Option<&ImageGeometry> {
        self.image_encoder().map(ImageEncoder::geometry)
    }

    /// Makes embeddings of pictures, for requests to come
    /// ([`Request::with_images`](super::Request::with_images)). Computes on workers of its own, on the calling
    /// thread's time.
    ///
    /// # Errors
    /// If the model has no encoder, or as [`ImageEncoder::encode`].
    pub fn encode_images(&self, images: &[Patches]) -> Result<Vec<ImageEmbedding>, VisionError> {
        match (self.image_encoder(), self.images()) {
            (Some(encoder), _) => encoder.encode(images),
            (None, Some(_)) => Err(VisionError::NoEncoder {
                hint: ", or it was not loaded; of a GGUF model it is a file of its own (`mmproj`)",
            }),
            (None, None) => Err(VisionError::NoEncoder { hint: "" }),
        }
    }
}
