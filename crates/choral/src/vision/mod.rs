//! Pictures: what a model's encoder takes, and what it makes of them.
//!
//! Owns the types between decoding a file and generating text: [`Patches`] go into an
//! encoder, an [`ImageEmbedding`] comes out and goes into a prompt, and
//! [`ImageGeometry`] is what a model says about the sizes of both. Before them stand files
//! ([`image`](mod@image), [`encode`]) and messages ([`message`]), behind them what is kept
//! on disk ([`store`]) and asked about ([`pairs`]). Nothing here knows of sequences; how an
//! encoder computes is [`model`](crate::model)'s.
//!
//! ```no_run
//! use choral::vision::image::{ImageProcessor, ImageSize};
//! use choral::{Engine, Request};
//!
//! let engine = Engine::builder().model("GLM-4.1V-9B-Thinking").build()?;
//! let geometry = engine.geometry().expect("a model that sees").clone();
//! let processor = ImageProcessor::new(geometry, ImageSize::Dynamic)?;
//! let patches = processor.read("cat.jpg".as_ref())?;
//! // Once a picture, however often it is asked about.
//! let images = engine.encode_images(&[patches])?;
//! let prompt = "<|user|>\n<|begin_of_image|><|image|><|end_of_image|>What is this?<|assistant|>\n";
//! let answer = engine.submit(Request::new(prompt).with_images(images))?.wait();
//! println!("{}", answer.outputs[0].text);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod embedding;
pub mod encode;
mod encoder;
mod error;
pub mod image;
pub mod message;
pub mod pairs;
pub mod store;

pub use embedding::{ContentHash, ImageEmbedding};
pub use encoder::ImageEncoder;
pub(crate) use encoder::STEP_PATCHES;
pub use error::VisionError;

/// A picture cut into patches, as an encoder takes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Patches {
    /// Patches in time, height and width. Height and width are multiples of
    /// [`ImageGeometry::merge_size`].
    pub grid: [usize; 3],
    /// `[t * h * w, channels * temporal * patch * patch]`, row-major: normalised
    /// pixels. Rows are in the order of Hugging Face's processors: blocks of
    /// `merge_size` by `merge_size` patches row after row, and in a block row after row.
    pub values: Vec<f32>,
}

/// What a model says about the pictures that it takes.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageGeometry {
    /// Colours; only 3 is known.
    pub channels: usize,
    /// Pixels along a side of a patch.
    pub patch_size: usize,
    /// Frames of a patch; a still picture is repeated.
    pub temporal_patch_size: usize,
    /// Patches along a side of what becomes one token.
    pub merge_size: usize,
    /// Subtracted from each channel's values, which are in 0..=1.
    pub mean: [f32; 3],
    /// Divides them then.
    pub std: [f32; 3],
    /// The least `temporal_patch_size * height * width` in pixels after resizing
    /// (`shortest_edge` of the processor's `size`).
    pub min_area: usize,
    /// The greatest (`longest_edge`).
    pub max_area: usize,
}

impl ImageGeometry {
    /// Pixels along the sides of what becomes one token; a resized picture's sides are
    /// multiples of it.
    pub fn factor(&self) -> usize {
        self.patch_size * self.merge_size
    }

    /// Numbers of a patch: the length of a row of [`Patches::values`].
    pub fn patch_len(&self) -> usize {
        self.channels * self.temporal_patch_size * self.patch_size * self.patch_size
    }
}
