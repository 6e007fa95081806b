//! Encoders of pictures: patches in, vectors that stand in prompts out.
//!
//! What [`Encoder`](super::Encoder) is to texts. A picture is in one step as a whole and
//! its patches see each other, and no other picture's; rows are ragged and nothing is
//! padded, so that what comes out depends on the picture alone. Positions are a learned
//! table, stretched over the picture's grid, and a rotation whose first half turns with
//! a patch's height and whose second with its width. Behind the layers a block of patches
//! becomes one vector, as wide as the text model.
//!
//! Source: `Glm4vVisionModel` of transformers' `modeling_glm4v.py`.

mod load;
mod positions;
mod spec;

pub use spec::{ImagePart, ImageSpec};

use super::{Activation, ModelError, Numeric};
use crate::arch::ImageFamily;
use crate::engine::batch::BLOCK_TOKENS;
use crate::nn::{Adapted, Attention, AttentionScratch, Linear, Mlp, MlpScratch, Norm, Rope, add};
use crate::vision::Patches;
use choral_formats::ModelFile;
use choral_kernels::Compute;
use choral_kernels::activation::activate;
use choral_kernels::attention::{KvMemory, MAX_HEAD_DIM, Rows};
use choral_kernels::matmul::Activations;
use positions::{Table, place};
use spec::KV;

/// Rows that go through a feed-forward part together: its inner width is several times
/// the stream's, and a large picture has tens of thousands of rows.
const PIECE: usize = 1024;

/// One layer: a norm before each part.
#[derive(Debug)]
struct Layer {
    attention_norm: Norm,
    attention: Attention,
    ffn_norm: Norm,
    ffn: Mlp,
}

impl Layer {
    fn bytes(&self) -> usize {
        self.attention.bytes() + self.ffn.bytes()
    }
}

/// An encoder of pictures with its weights packed, ready to run.
#[derive(Debug)]
pub struct ImageModel {
    family: &'static ImageFamily,
    numeric: Numeric,
    spec: ImageSpec,
    patch: Linear,
    patch_norm: Norm,
    positions: Table,
    /// Of one direction.
    rope: Rope,
    layers: Vec<Layer>,
    post_norm: Norm,
    downsample: Linear,
    projection: Linear,
    merger_norm: Norm,
    merger: Mlp,
}

/// Memory of one step, kept for the next. Empty at first; it grows to the largest step.
#[derive(Debug, Default)]
pub struct ImageScratch {
    /// `[patches, hidden]`.
    hidden: Vec<f32>,
    /// What is about to be added; what the merger makes.
    delta: Vec<f32>,
    merged: Vec<f32>,
    /// Input of the next part.
    x: Activations,
    attention: AttentionScratch,
    mlp: MlpScratch,
    /// No row: encoders have no adapters.
    adapted: Adapted,
    /// `[patches, head_dim]` and the pairs, as attention takes them.
    angles: [(Vec<f32>, usize); 1],
    /// One layer's keys and values.
    kv: Option<KvMemory>,
}

/// Pictures of one step, one behind the other.
struct Step<'a> {
    images: &'a [&'a Patches],
    /// `[images + 1]`.
    cu_tokens: Vec<u32>,
    positions: Vec<u32>,
    first_blocks: Vec<u32>,
    cu_blocks: Vec<u32>,
    block_ids: Vec<u32>,
}

impl<'a> Step<'a> {
    fn new(images: &'a [&'a Patches]) -> Self {
        let mut step = Self {
            images,
            cu_tokens: vec![0],
            positions: Vec::new(),
            first_blocks: vec![0; images.len()],
            cu_blocks: vec![0],
            block_ids: Vec::new(),
        };
        for image in images {
            let patches = image.grid.iter().product::<usize>();
            step.positions.extend(0..patches as u32);
            step.cu_tokens.push(step.positions.len() as u32);
            let block = step.block_ids.len() as u32;
            let needed = patches.div_ceil(BLOCK_TOKENS) as u32;
            step.block_ids.extend(block..block + needed);
            step.cu_blocks.push(block + needed);
        }
        step
    }

    fn rows(&self) -> Rows<'_> {
        Rows {
            positions: &self.positions,
            cu_tokens: &self.cu_tokens,
            first_blocks: &self.first_blocks,
            cu_blocks: &self.cu_blocks,
            block_ids: &self.block_ids,
        }
    }

    fn num_patches(&self) -> usize {
        self.positions.len()
    }

    /// The picture that patch `t` of the step is of.
    fn image(&self, t: usize) -> &'a Patches {
        let behind = self.cu_tokens.partition_point(|&first| first as usize <= t);
        self.images[behind - 1]
    }

    /// Numbers of patch `t` of the step.
    fn patch(&self, t: usize, len: usize) -> &'a [f32] {
        let at = self.positions[t] as usize;
        &self.image(t).values[at * len..][..len]
    }
}

impl ImageModel {
    /// Loads the encoder of a Hugging Face directory or of a GGUF `mmproj` file, packed
    /// for `numeric` by `compute`'s workers. `None` if a directory has none.
    ///
    /// # Errors
    /// If a setting or tensor is missing or not what it must be, or a GGUF file holds
    /// something else.
    pub fn load(
        file: &ModelFile,
        numeric: Numeric,
        compute: &Compute,
    ) -> Result<Option<Self>, ModelError> {
        let Some((family, spec)) = ImageSpec::read(file)? else {
            return Ok(None);
        };
        load::load(file, family, spec, numeric, compute).map(Some)
    }

    /// What the encoder is made of.
    pub fn spec(&self) -> &ImageSpec {
        &self.spec
    }

    /// Its family.
    pub fn family(&self) -> &'static ImageFamily {
        self.family
    }

    /// Its arithmetic.
    pub fn numeric(&self) -> Numeric {
        self.numeric
    }

    /// Bytes of packed weights.
    pub fn weight_bytes(&self) -> usize {
        let matrices = [&self.patch, &self.downsample, &self.projection];
        let layers = self.layers.iter().map(Layer::bytes).sum::<usize>();
        layers + self.merger.bytes() + matrices.map(Linear::bytes).iter().sum::<usize>()
    }

    /// Runs pictures together; returns the vectors of each, one a block of patches, in
    /// the order of the blocks: `[tokens, out_size]`.
    ///
    /// # Errors
    /// If there is no memory for the step's keys and values.
    ///
    /// # Panics
    /// If a grid is none of this encoder's or values do not fill it: the caller checks.
    pub fn forward(
        &self,
        compute: &Compute,
        images: &[&Patches],
        s: &mut ImageScratch,
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        let step = Step::new(images);
        self.reserve(step.block_ids.len(), s)?;
        self.embed(compute, &step, s);
        let (width, isa) = (self.spec.hidden_size, compute.isa());
        let rows = step.rows();
        for layer in &self.layers {
            let (hidden, norm) = (&s.hidden, &layer.attention_norm);
            let shape = (step.num_patches(), width);
            s.x.fill(compute, layer.attention.inputs(), shape, |t, out| {
                norm.apply(isa, &hidden[t * width..][..width], out);
            });
            let kv = s.kv.as_mut().expect("it was reserved");
            let scratch = (&mut s.attention, &mut s.adapted);
            let seen = (&rows, s.angles.as_slice());
            let attention = &layer.attention;
            attention.forward(compute, &s.x, kv, seen, scratch, &mut s.delta);
            let delta = &s.delta;
            compute.rows_mut(&mut s.hidden, width, |t, row| {
                add(row, &delta[t * width..][..width]);
            });
            self.feed_forward(compute, layer, s);
        }
        self.merge(compute, s);
        let out = self.spec.out_size;
        let token = |patch: u32| patch as usize / self.spec.block_len() * out;
        let ends = step.cu_tokens.windows(2);
        Ok(ends
            .map(|ends| s.merged[token(ends[0])..token(ends[1])].to_vec())
            .collect())
    }

    /// Memory for `blocks` blocks of one layer's keys and values.
    fn reserve(&self, blocks: usize, s: &mut ImageScratch) -> Result<(), ModelError> {
        if s.kv.as_ref().is_some_and(|kv| kv.blocks() >= blocks) {
            return Ok(());
        }
        let (heads, dim) = (self.spec.num_heads, self.spec.head_dim());
        // The old one first: both need not fit.
        s.kv = None;
        s.kv = KvMemory::new(KV, blocks, heads, dim);
        if s.kv.is_some() {
            return Ok(());
        }
        let block = KV.block_bytes(heads, dim) as u64;
        Err(ModelError::NoMemory {
            what: "keys and values of pictures",
            bytes: block.saturating_mul(blocks as u64),
        })
    }

    /// Starts the residual stream with the patches' vectors and positions, and computes
    /// angles.
    fn embed(&self, compute: &Compute, step: &Step<'_>, s: &mut ImageScratch) {
        let (width, isa) = (self.spec.hidden_size, compute.isa());
        let len = self.spec.geometry.patch_len();
        let shape = (step.num_patches(), len);
        s.x.fill(compute, self.patch.inputs(), shape, |t, out| {
            out.copy_from_slice(step.patch(t, len));
        });
        self.patch
            .forward(compute, &s.x, &mut s.adapted, &mut s.delta);
        s.hidden.resize(step.num_patches() * width, 0.0);
        let (delta, merge) = (&s.delta, self.spec.geometry.merge_size);
        let place_of = |t: usize| {
            let [_, rows, columns] = step.image(t).grid;
            let place = place(step.positions[t] as usize, columns, merge);
            (place, (rows, columns))
        };
        compute.rows_mut(&mut s.hidden, width, |t, row| {
            self.patch_norm
                .apply(isa, &delta[t * width..][..width], row);
            let (place, grid) = place_of(t);
            self.positions.add(place, grid, row);
        });
        // Cosines of both directions, then sines.
        let each = self.rope.pairs();
        let [(angles, pairs)] = &mut s.angles;
        *pairs = 2 * each;
        angles.resize(step.num_patches() * 4 * each, 0.0);
        compute.rows_mut(angles, 4 * each, |t, row| {
            let ((height, width), _) = place_of(t);
            let (cos, sin) = row.split_at_mut(2 * each);
            for (at, position) in [(0, height), (each, width)] {
                let mut angles = [0.0; MAX_HEAD_DIM / 2];
                let angles = &mut angles[..2 * each];
                self.rope.angles([position as u32; 3], angles);
                cos[at..][..each].copy_from_slice(&angles[..each]);
                sin[at..][..each].copy_from_slice(&angles[each..]);
            }
        });
    }

    /// Adds what a layer's feed-forward part says, a piece at a time.
    fn feed_forward(&self, compute: &Compute, layer: &Layer, s: &mut ImageScratch) {
        let (width, isa, norm) = (self.spec.hidden_size, compute.isa(), &layer.ffn_norm);
        for piece in s.hidden.chunks_mut(PIECE * width) {
            let shape = (piece.len() / width, width);
            let hidden = &*piece;
            s.x.fill(compute, layer.ffn.inputs(), shape, |t, out| {
                norm.apply(isa, &hidden[t * width..][..width], out);
            });
            let adapted = &mut s.adapted;
            layer
                .ffn
                .forward(compute, &s.x, adapted, &mut s.mlp, &mut s.delta);
            let delta = &s.delta;
            compute.rows_mut(piece, width, |t, row| {
                add(row, &delta[t * width..][..width]);
            });
        }
    }

    /// Makes one vector of each block of patches, a piece at a time.
    fn merge(&self, compute: &Compute, s: &mut ImageScratch) {
        let (width, out, isa) = (self.spec.hidden_size, self.spec.out_size, compute.isa());
        let block = self.spec.block_len() * width;
        s.merged.clear();
        s.merged.reserve(s.hidden.len() / block * out);
        for piece in s.hidden.chunks(PIECE * block) {
            let rows = piece.len() / block;
            s.x.fill(
                compute,
                self.downsample.inputs(),
                (rows, block),
                |b, out| {
                    let patches = piece[b * block..][..block].chunks_exact(width);
                    for (patch, out) in patches.zip(out.chunks_exact_mut(width)) {
                        self.post_norm.apply(isa, patch, out);
                    }
                },
            );
            self.downsample
                .forward(compute, &s.x, &mut s.adapted, &mut s.delta);
            let made = &s.delta;
            s.x.fill(compute, self.projection.inputs(), (rows, out), |b, row| {
                row.copy_from_slice(&made[b * out..][..out]);
            });
            self.projection
                .forward(compute, &s.x, &mut s.adapted, &mut s.delta);
            let (width, norm) = (out, &self.merger_norm);
            s.x.fill_changing(
                compute,
                self.merger.inputs(),
                width,
                (&mut s.delta, width),
                |_, projected, out| {
                    norm.apply(isa, projected, out);
                    projected.copy_from_slice(out);
                    activate(isa, Activation::Gelu, projected, out);
                },
            );
            let adapted = &mut s.adapted;
            self.merger
                .forward(compute, &s.x, adapted, &mut s.mlp, &mut s.delta);
            s.merged.extend_from_slice(&s.delta[..rows * out]);
        }
    }
}
