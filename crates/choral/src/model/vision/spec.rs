//! What an encoder of pictures is made of, and what pictures it takes.

use super::load;
use crate::arch::ImageFamily;
use crate::engine::batch::BLOCK_TOKENS;
use crate::model::{Activation, Hyper, Key, ModelError, Numeric, Scheme};
use crate::vision::ImageGeometry;
use choral_formats::{FormatError, JsonObject, ModelFile};
use choral_kernels::attention::{KvType, KvTypes, MAX_HEAD_DIM};

/// What a tensor of an encoder of pictures is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImagePart {
    /// From the pixels of a patch to a vector; with a bias.
    Patch,
    /// Norm of those vectors.
    PatchNorm,
    /// Learned vector of each place in a square.
    Positions,
    /// Norm before attention.
    AttentionNorm,
    /// Query, key and value matrices as one.
    Qkv,
    /// Attention's output matrix.
    AttentionOutput,
    /// Norm before the feed-forward part.
    FfnNorm,
    /// Gate of the feed-forward part.
    FfnGate,
    /// Its other input matrix.
    FfnUp,
    /// Its output matrix.
    FfnDown,
    /// Norm behind all layers.
    PostNorm,
    /// From the vectors of a block of patches to one; with a bias.
    Downsample,
    /// First matrix of the merger.
    MergerProjection,
    /// Norm behind it, of means and deviations.
    MergerNorm,
    /// Gate of the merger's feed-forward part.
    MergerGate,
    /// Its other input matrix.
    MergerUp,
    /// Its output matrix.
    MergerDown,
}

/// An encoder of pictures, as data. [`ImageModel`](super::ImageModel) runs it.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageSpec {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Layers.
    pub num_layers: usize,
    /// Heads of attention.
    pub num_heads: usize,
    /// Width of what comes out, which is the text model's; and inner width of the
    /// layers' feed-forward parts.
    pub out_size: usize,
    /// Inner width of the merger's feed-forward part.
    pub merger_size: usize,
    /// Nonlinearity of the feed-forward parts.
    pub activation: Activation,
    /// Added to mean squares.
    pub norm_eps: f32,
    /// Base of the rotary frequencies.
    pub theta: f64,
    /// Biases of Q, K and V.
    pub qkv_bias: bool,
    /// What pictures it takes.
    pub geometry: ImageGeometry,
}

const HIDDEN: Key = Key::new("hidden_size", "embedding_length");
const LAYERS: Key = Key::new("depth", "block_count");
const HEADS: Key = Key::new("num_heads", "attention.head_count");
const OUT: Key = Key::new("out_hidden_size", "projection_dim");
const MERGER: Key = Key::new("intermediate_size", "feed_forward_length");
const EPS: Key = Key::new("rms_norm_eps", "attention.layer_norm_epsilon");
const PATCH: Key = Key::new("patch_size", "patch_size");
const MERGE: Key = Key::new("spatial_merge_size", "spatial_merge_size");
const FRAMES: Key = Key::hf("temporal_patch_size");
const CHANNELS: Key = Key::hf("in_channels");

/// No released model comes near; a header that says more is not to be believed.
const MAX_WIDTH: usize = 1 << 20;
/// The same for sides of patches, and of blocks of them.
const MAX_SIDE: usize = 256;
/// Areas are counted in pixels of all frames; no picture is near it.
const MAX_AREA: usize = 1 << 32;

/// The processor's own, as GLM-4.1V's states them; GGUF files are silent.
const AREAS: [usize; 2] = [112 * 112, 28 * 28 * 2 * 6144];

/// Means and deviations of CLIP's pictures, which processors take where a file is silent.
const MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

impl ImageSpec {
    /// The encoder of pictures of a Hugging Face directory, or of a GGUF `mmproj` file;
    /// `None` if a directory has none.
    ///
    /// # Errors
    /// If a setting is missing, of another type or not possible, or a GGUF file holds
    /// something else.
    pub fn read(file: &ModelFile) -> Result<Option<(&'static ImageFamily, Self)>, ModelError> {
        let Some((family, hyper)) = Hyper::open_images(file)? else {
            return Ok(None);
        };
        let hidden_size = hyper.bounded(HIDDEN, 1..=MAX_WIDTH)?;
        let num_heads = hyper.bounded(HEADS, 1..=hidden_size)?;
        let head_dim = hidden_size / num_heads;
        let is_possible = hidden_size.is_multiple_of(num_heads)
            && head_dim <= MAX_HEAD_DIM
            && head_dim.is_multiple_of(4);
        if !is_possible {
            let expected = format!(
                "a divisor of the width {hidden_size} into heads of a multiple of 4 up to \
                 {MAX_HEAD_DIM}"
            );
            return Err(hyper.invalid(HEADS, expected, num_heads));
        }
        let theta = match file {
            ModelFile::Gguf(_) => None,
            ModelFile::Hf(dir) => vision_theta(&dir.config)?,
        };
        let spec = Self {
            hidden_size,
            num_layers: hyper.bounded(LAYERS, 1..=hyper.tensor_count())?,
            num_heads,
            out_size: hyper.bounded(OUT, 1..=MAX_WIDTH)?,
            merger_size: hyper.bounded(MERGER, 1..=MAX_WIDTH)?,
            activation: hyper.activation()?.unwrap_or(Activation::Silu),
            norm_eps: hyper.epsilon(EPS)?,
            theta: theta.unwrap_or(10_000.0),
            qkv_bias: hyper.hf_bool("attention_bias", false)?,
            geometry: geometry(file, &hyper)?,
        };
        Ok(Some((family, spec)))
    }

    /// Elements of a head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_heads
    }

    /// Patches that become one token.
    pub fn block_len(&self) -> usize {
        self.geometry.merge_size * self.geometry.merge_size
    }

    /// Bytes of all matrices of `file` packed for `numeric`, and of the table of
    /// positions.
    pub fn packed_weight_bytes(
        &self,
        file: &ModelFile,
        family: &'static ImageFamily,
        numeric: Numeric,
    ) -> u64 {
        load::packed_bytes(file, family, self, numeric)
    }

    /// Bytes of activations, keys and values for `patches` patches that run together.
    pub fn step_bytes(&self, patches: usize) -> u64 {
        let padded = |n: usize| n.next_multiple_of(32);
        let hidden = self.hidden_size;
        let widest = padded(self.geometry.patch_len()).max(padded(hidden));
        // Residual stream and what is added to it; q k v; attention's output and its
        // input form; the input of a part; angles.
        let floats = 2 * hidden + 3 * hidden + hidden + padded(hidden) + widest + self.head_dim();
        // Feed-forward parts run a piece at a time.
        let ffn = super::PIECE * (2 * self.out_size + 2 * padded(self.out_size));
        let merger = super::PIECE
            * (self.block_len() * padded(hidden)
                + 4 * padded(self.out_size)
                + 3 * padded(self.merger_size));
        let kv = KV.block_bytes(self.num_heads, self.head_dim()) as u64;
        let blocks = patches.div_ceil(BLOCK_TOKENS) as u64;
        (floats as u64)
            .saturating_mul(patches as u64)
            .saturating_add(ffn.max(merger) as u64)
            .saturating_mul(size_of::<f32>() as u64)
            .saturating_add(kv.saturating_mul(blocks))
    }
}

/// Keys and values live for one layer, so nothing is gained by rounding.
pub(super) const KV: KvTypes = KvTypes {
    keys: KvType::F32,
    values: KvType::F32,
};

fn vision_theta(config: &JsonObject) -> Result<Option<f64>, FormatError> {
    let Some(vision) = config.object("vision_config")? else {
        return Ok(None);
    };
    let Some(rope) = vision.object("rope_parameters")? else {
        return Ok(None);
    };
    match rope.f64("rope_theta")? {
        Some(theta) if !(theta.is_finite() && theta > 0.0) => {
            Err(rope.invalid("rope_theta", "a positive number", theta))
        }
        theta => Ok(theta),
    }
}

fn geometry(file: &ModelFile, hyper: &Hyper<'_>) -> Result<ImageGeometry, ModelError> {
    let channels = match Scheme::of(file) {
        Scheme::Gguf => 3,
        Scheme::Hf => hyper.bounded(CHANNELS, 3..=3)?,
    };
    let temporal_patch_size = match Scheme::of(file) {
        Scheme::Gguf => load::gguf_frames(file.tensors()),
        Scheme::Hf => hyper.bounded(FRAMES, 1..=MAX_SIDE)?,
    };
    let merge_size = match hyper.usize(MERGE)? {
        // llama.cpp has 2 for all projectors that state none.
        None => 2,
        Some(_) => hyper.bounded(MERGE, 1..=MAX_SIDE)?,
    };
    let mut geometry = ImageGeometry {
        channels,
        patch_size: hyper.bounded(PATCH, 1..=MAX_SIDE)?,
        temporal_patch_size,
        merge_size,
        mean: MEAN,
        std: STD,
        min_area: AREAS[0],
        max_area: AREAS[1],
    };
    match file {
        ModelFile::Gguf(gguf) => {
            let metadata = gguf.metadata();
            let colours = |key: &str| -> Result<Option<[f32; 3]>, FormatError> {
                let full = format!("clip.vision.{key}");
                let Some(found) = metadata.optional::<std::borrow::Cow<'_, [f32]>>(&full)? else {
                    return Ok(None);
                };
                let three = <[f32; 3]>::try_from(&found[..]);
                three.map(Some).map_err(|_| {
                    FormatError::field(metadata.file(), full, "three numbers", found.len())
                })
            };
            geometry.mean = colours("image_mean")?.unwrap_or(MEAN);
            geometry.std = colours("image_std")?.unwrap_or(STD);
            let area = |key| hyper.usize(Key::gguf(key));
            // They count a still picture's pixels; the processor, those of its frames.
            let frames = temporal_patch_size;
            if let Some(least) = area("image_min_pixels")? {
                geometry.min_area = least.saturating_mul(frames);
            }
            if let Some(most) = area("image_max_pixels")? {
                geometry.max_area = most.saturating_mul(frames);
            }
        }
        ModelFile::Hf(dir) => {
            if let Some(path) = dir.file("preprocessor_config.json") {
                preprocessor(&JsonObject::open(path)?, &mut geometry)?;
            } else if let Some(path) = dir.file("processor_config.json")
                && let Some(config) = JsonObject::open(path)?.object("image_processor")?
            {
                preprocessor(&config, &mut geometry)?;
            }
        }
    }
    checked(file, geometry)
}

/// What a `preprocessor_config.json` says. What choral does not do otherwise is refused.
fn preprocessor(config: &JsonObject, geometry: &mut ImageGeometry) -> Result<(), FormatError> {
    let colours = |key: &str| -> Result<Option<[f32; 3]>, FormatError> {
        let Some(found) = config.f32s(key)? else {
            return Ok(None);
        };
        let three = <[f32; 3]>::try_from(&found[..]);
        three
            .map(Some)
            .map_err(|_| config.invalid(key, "three numbers", found.len()))
    };
    geometry.mean = colours("image_mean")?.unwrap_or(geometry.mean);
    geometry.std = colours("image_std")?.unwrap_or(geometry.std);
    if let Some(size) = config.object("size")? {
        geometry.min_area = size.usize("shortest_edge")?.unwrap_or(geometry.min_area);
        geometry.max_area = size.usize("longest_edge")?.unwrap_or(geometry.max_area);
    }
    for (key, expected) in [
        ("patch_size", geometry.patch_size),
        ("temporal_patch_size", geometry.temporal_patch_size),
        ("merge_size", geometry.merge_size),
        // Bicubic.
        ("resample", 3),
    ] {
        if let Some(found) = config.usize(key)?.filter(|&found| found != expected) {
            return Err(config.invalid(key, expected, found));
        }
    }
    for key in ["do_resize", "do_rescale", "do_normalize", "do_convert_rgb"] {
        if config.bool(key)? == Some(false) {
            return Err(config.invalid(key, true, false));
        }
    }
    match config.f64("rescale_factor")? {
        Some(found) if (found * 255.0 - 1.0).abs() > 1e-6 => {
            Err(config.invalid("rescale_factor", "1/255", found))
        }
        _ => Ok(()),
    }
}

fn checked(file: &ModelFile, geometry: ImageGeometry) -> Result<ImageGeometry, ModelError> {
    let invalid = |field: &str, expected: &str, found: String| {
        Err(FormatError::field(file.path(), field, expected, found).into())
    };
    if geometry.mean.iter().any(|x| !x.is_finite()) {
        return invalid("image_mean", "numbers", format!("{:?}", geometry.mean));
    }
    if geometry.std.iter().any(|x| !(x.is_finite() && *x > 0.0)) {
        return invalid(
            "image_std",
            "positive numbers",
            format!("{:?}", geometry.std),
        );
    }
    let (least, most) = (geometry.min_area, geometry.max_area);
    if !(1..=MAX_AREA).contains(&most) || least > most {
        let expected = "limits of a picture's area, the lesser first";
        return invalid("size", expected, format!("{least} and {most}"));
    }
    Ok(geometry)
}
