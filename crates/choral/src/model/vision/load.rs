//! Checks and packs the tensors of an encoder of pictures.
//!
//! Two of its matrices are convolutions in the file; they become matrices here, over a
//! patch's pixels and over a block of patches. llama.cpp's files hold the former as one
//! tensor a frame.

use super::positions::Table;
use super::{ImageModel, ImagePart, ImageSpec, Layer};
use crate::arch::ImageFamily;
use crate::model::packing::{self, Kept};
use crate::model::tensors::{RowOrder, Rows, TensorFile};
use crate::model::{AttentionSpec, ModelError, Numeric, RopeScaling, RopeSpec, Scheme};
use crate::nn::{Attention, Linear, Mlp, Norm, Rope};
use choral_formats::{Dtype, ModelFile, TensorInfo, TensorSource, TensorView};
use choral_kernels::Compute;

/// `[rows, columns]`.
type Shape = [usize; 2];

/// torch's `LayerNorm`, which the merger has, adds this where nothing is said.
const LAYER_NORM_EPS: f32 = 1e-5;

/// Loads an encoder, packing its weights on `compute`. Everything is checked before
/// anything is packed.
pub(super) fn load(
    file: &ModelFile,
    family: &'static ImageFamily,
    spec: ImageSpec,
    numeric: Numeric,
    compute: &Compute,
) -> Result<ImageModel, ModelError> {
    let tensors = Tensors::new(file, family);
    for (part, layer, shape) in matrices(&spec) {
        tensors.matrix(part, layer, shape)?;
    }
    let loader = Loader {
        tensors,
        spec: &spec,
        numeric,
        compute,
    };
    let (hidden, out) = (spec.hidden_size, spec.out_size);
    let positions = loader.tensors.positions(hidden)?;
    let patch = loader.patch()?;
    let downsample = loader.downsample()?;
    let patch_norm = loader.norm(ImagePart::PatchNorm, 0)?;
    let post_norm = loader.norm(ImagePart::PostNorm, 0)?;
    let merger_norm = loader.layer_norm(ImagePart::MergerNorm, out)?;
    let layers = (0..spec.num_layers).map(|layer| loader.layer(layer));
    let layers = layers.collect::<Result<_, _>>()?;
    let projection = loader.linear(&[(ImagePart::MergerProjection, 0, [out, out])], None)?;
    let merger = loader.merger()?;
    loader.tensors.report_unused();
    let rope = RopeSpec {
        theta: spec.theta,
        dim: spec.head_dim() / 2,
        scaling: RopeScaling::None,
        sections: None,
    };
    Ok(ImageModel {
        family,
        numeric,
        rope: Rope::new(&rope, None, 0),
        patch,
        patch_norm,
        positions,
        layers,
        post_norm,
        downsample,
        projection,
        merger_norm,
        merger,
        spec,
    })
}

/// Bytes of all weights packed for `numeric`. Tensors that are missing count as floats:
/// loading will name them.
pub(super) fn packed_bytes(
    file: &ModelFile,
    family: &'static ImageFamily,
    spec: &ImageSpec,
    numeric: Numeric,
) -> u64 {
    let tensors = Tensors::new(file, family);
    let own = matrices(spec).map(|(part, layer, shape)| {
        let view = tensors.find(part, layer, "weight");
        let dtype = view.map_or(Dtype::F32, |view| view.info.dtype);
        Kept::of(dtype, numeric).bytes(shape)
    });
    let convolutions = [patch_shape(spec), downsample_shape(spec)]
        .map(|shape| Kept::Float(numeric.element()).bytes(shape));
    let table = tensors.find(ImagePart::Positions, 0, "weight");
    let table = table.and_then(|view| view.info.elements()).unwrap_or(0);
    let table = (table as u64).saturating_mul(size_of::<f32>() as u64);
    own.chain(convolutions)
        .chain([table])
        .fold(0, u64::saturating_add)
}

/// Frames of a patch in a GGUF file: a tensor each.
pub(super) fn gguf_frames(source: &dyn TensorSource) -> usize {
    let frame = |i: &usize| source.tensor(&frame_name(*i)).is_some();
    let all = source.infos().len();
    (0..all).take_while(frame).count().max(1)
}

/// The tensor of a patch's frame in a GGUF file.
fn frame_name(frame: usize) -> String {
    match frame {
        0 => "v.patch_embd.weight".to_owned(),
        frame => format!("v.patch_embd.weight.{frame}"),
    }
}

fn patch_shape(spec: &ImageSpec) -> Shape {
    [spec.hidden_size, spec.geometry.patch_len()]
}

fn downsample_shape(spec: &ImageSpec) -> Shape {
    [spec.out_size, spec.block_len() * spec.hidden_size]
}

/// All matrices that a file holds as such.
fn matrices(spec: &ImageSpec) -> impl Iterator<Item = (ImagePart, usize, Shape)> + '_ {
    let (hidden, inner, merger) = (spec.hidden_size, spec.out_size, spec.merger_size);
    let layers = (0..spec.num_layers).flat_map(move |layer| {
        [
            (ImagePart::Qkv, layer, [3 * hidden, hidden]),
            (ImagePart::AttentionOutput, layer, [hidden, hidden]),
            (ImagePart::FfnGate, layer, [inner, hidden]),
            (ImagePart::FfnUp, layer, [inner, hidden]),
            (ImagePart::FfnDown, layer, [hidden, inner]),
        ]
    });
    layers.chain([
        (ImagePart::MergerProjection, 0, [inner, inner]),
        (ImagePart::MergerGate, 0, [merger, inner]),
        (ImagePart::MergerUp, 0, [merger, inner]),
        (ImagePart::MergerDown, 0, [inner, merger]),
    ])
}

/// The tensors of one file, under the names of one family.
struct Tensors<'a> {
    file: TensorFile<'a>,
    family: &'static ImageFamily,
}

impl<'a> Tensors<'a> {
    fn new(file: &'a ModelFile, family: &'static ImageFamily) -> Self {
        Self {
            file: TensorFile::new(file),
            family,
        }
    }

    fn name(&self, part: ImagePart, layer: usize, suffix: &str) -> String {
        let own = self.family.names.iter().find(|(own, ..)| *own == part);
        let &(_, hf, gguf) = own.expect("a family names all parts");
        let layer = layer.to_string();
        match self.file.scheme {
            Scheme::Hf => format!("model.visual.{}.{suffix}", hf.replace("{l}", &layer)),
            Scheme::Gguf => format!("{}.{suffix}", gguf.replace("{l}", &layer)),
        }
    }

    fn find(&self, part: ImagePart, layer: usize, suffix: &str) -> Option<TensorView<'a>> {
        self.file.find(&self.name(part, layer, suffix))
    }

    /// Finds a matrix, and checks its shape and type.
    fn matrix(
        &self,
        part: ImagePart,
        layer: usize,
        shape: Shape,
    ) -> Result<TensorView<'a>, ModelError> {
        self.file.matrix(&self.name(part, layer, "weight"), shape)
    }

    /// All numbers of a tensor of floats, whose pages are given back.
    fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let view = self.file.required(name)?;
        let values = self.file.floats(&view, shape)?;
        self.file.source.release(&view.info.name);
        Ok(values)
    }

    fn vector(
        &self,
        part: ImagePart,
        layer: usize,
        suffix: &str,
        len: usize,
    ) -> Result<Vec<f32>, ModelError> {
        self.floats(&self.name(part, layer, suffix), &[len])
    }

    /// The learned positions, which are a square's.
    fn positions(&self, width: usize) -> Result<Table, ModelError> {
        let name = self.name(ImagePart::Positions, 0, "weight");
        let view = self.file.required(&name)?;
        let side = match view.info.shape[..] {
            [places, _] => places.isqrt().max(1),
            _ => 1,
        };
        let values = self.floats(&name, &[side * side, width])?;
        Ok(Table {
            values,
            side,
            width,
        })
    }

    fn report_unused(&self) {
        self.file.report_unused("image encoder", |name| {
            let own = name.strip_prefix("model.").unwrap_or(name);
            self.file.scheme == Scheme::Gguf || own.starts_with("visual.")
        });
    }
}

struct Loader<'a> {
    tensors: Tensors<'a>,
    spec: &'a ImageSpec,
    numeric: Numeric,
    compute: &'a Compute,
}

impl Loader<'_> {
    /// The convolution over a patch's pixels: `[hidden, channels, frames, side, side]` in
    /// a Hugging Face file, as patches are; in a GGUF file a tensor without `frames` each.
    fn patch(&self) -> Result<Linear, ModelError> {
        let (hidden, geometry) = (self.spec.hidden_size, &self.spec.geometry);
        let (channels, side) = (geometry.channels, geometry.patch_size);
        let (frames, area) = (geometry.temporal_patch_size, side * side);
        let shape = patch_shape(self.spec);
        let values = match self.tensors.file.scheme {
            Scheme::Hf => {
                let name = self.tensors.name(ImagePart::Patch, 0, "weight");
                let shape = [hidden, channels, frames, side, side];
                self.tensors.floats(&name, &shape)?
            }
            Scheme::Gguf => {
                let mut values = vec![0.0; shape[0] * shape[1]];
                for frame in 0..frames {
                    let shape = [hidden, channels, side, side];
                    let own = self.tensors.floats(&frame_name(frame), &shape)?;
                    let to = values.chunks_exact_mut(frames * area);
                    for (to, from) in to.zip(own.chunks_exact(area)) {
                        to[frame * area..][..area].copy_from_slice(from);
                    }
                }
                values
            }
        };
        let bias = self.tensors.vector(ImagePart::Patch, 0, "bias", hidden)?;
        self.made(ImagePart::Patch, &values, shape, bias)
    }

    /// The convolution over a block of patches: `[out, hidden, side, side]` in the file,
    /// `[out, side, side, hidden]` here, since a patch's numbers lie side by side.
    fn downsample(&self) -> Result<Linear, ModelError> {
        let (out, hidden) = (self.spec.out_size, self.spec.hidden_size);
        let (side, block) = (self.spec.geometry.merge_size, self.spec.block_len());
        let name = self.tensors.name(ImagePart::Downsample, 0, "weight");
        let stored = self.tensors.floats(&name, &[out, hidden, side, side])?;
        let shape = downsample_shape(self.spec);
        let mut values = vec![0.0; shape[0] * shape[1]];
        for (to, from) in values
            .chunks_exact_mut(shape[1])
            .zip(stored.chunks_exact(shape[1]))
        {
            for (channel, from) in from.chunks_exact(block).enumerate() {
                for (at, value) in from.iter().enumerate() {
                    to[at * hidden + channel] = *value;
                }
            }
        }
        let bias = self.tensors.vector(ImagePart::Downsample, 0, "bias", out)?;
        self.made(ImagePart::Downsample, &values, shape, bias)
    }

    /// Packs a matrix of numbers in memory.
    fn made(
        &self,
        part: ImagePart,
        values: &[f32],
        shape: Shape,
        bias: Vec<f32>,
    ) -> Result<Linear, ModelError> {
        let rows = Rows::Made {
            info: TensorInfo {
                name: self.tensors.name(part, 0, "weight"),
                dtype: Dtype::F32,
                shape: shape.to_vec(),
            },
            bytes: values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            order: RowOrder::AsStored,
        };
        let kept = Kept::Float(self.numeric.element());
        let packed = packing::pack(self.compute, &[packing::Part { rows, shape, kept }])?;
        Ok(Linear::new(packed, Some(bias)))
    }

    fn norm(&self, part: ImagePart, layer: usize) -> Result<Norm, ModelError> {
        let width = self.spec.hidden_size;
        Ok(Norm {
            weight: self.tensors.vector(part, layer, "weight", width)?,
            bias: None,
            eps: self.spec.norm_eps,
        })
    }

    fn layer_norm(&self, part: ImagePart, width: usize) -> Result<Norm, ModelError> {
        Ok(Norm {
            weight: self.tensors.vector(part, 0, "weight", width)?,
            bias: Some(self.tensors.vector(part, 0, "bias", width)?),
            eps: LAYER_NORM_EPS,
        })
    }

    fn layer(&self, layer: usize) -> Result<Layer, ModelError> {
        let spec = self.spec;
        let (hidden, inner) = (spec.hidden_size, spec.out_size);
        let qkv_bias = spec
            .qkv_bias
            .then(|| {
                self.tensors
                    .vector(ImagePart::Qkv, layer, "bias", 3 * hidden)
            })
            .transpose()?;
        Ok(Layer {
            attention_norm: self.norm(ImagePart::AttentionNorm, layer)?,
            attention: Attention {
                qkv: self.linear(&[(ImagePart::Qkv, layer, [3 * hidden, hidden])], qkv_bias)?,
                q_norm: None,
                k_norm: None,
                output: self.linear(
                    &[(ImagePart::AttentionOutput, layer, [hidden, hidden])],
                    None,
                )?,
                sinks: None,
                heads: spec.num_heads,
                kv_heads: spec.num_heads,
                head_dim: spec.head_dim(),
                spec: AttentionSpec {
                    scale: 1.0 / (spec.head_dim() as f32).sqrt(),
                    softcap: None,
                    sinks: false,
                    bidirectional: true,
                },
                window: None,
                rope: Some(0),
            },
            ffn_norm: self.norm(ImagePart::FfnNorm, layer)?,
            ffn: Mlp {
                inner: self.linear(
                    &[
                        (ImagePart::FfnGate, layer, [inner, hidden]),
                        (ImagePart::FfnUp, layer, [inner, hidden]),
                    ],
                    None,
                )?,
                down: self.linear(&[(ImagePart::FfnDown, layer, [hidden, inner])], None)?,
                gated: true,
                activation: spec.activation,
            },
        })
    }

    fn merger(&self) -> Result<Mlp, ModelError> {
        let (out, inner) = (self.spec.out_size, self.spec.merger_size);
        Ok(Mlp {
            inner: self.linear(
                &[
                    (ImagePart::MergerGate, 0, [inner, out]),
                    (ImagePart::MergerUp, 0, [inner, out]),
                ],
                None,
            )?,
            down: self.linear(&[(ImagePart::MergerDown, 0, [out, inner])], None)?,
            gated: true,
            activation: self.spec.activation,
        })
    }

    /// Packs the rows of all matrices as one, and gives back the file's pages.
    fn linear(
        &self,
        matrices: &[(ImagePart, usize, Shape)],
        bias: Option<Vec<f32>>,
    ) -> Result<Linear, ModelError> {
        let views = matrices
            .iter()
            .map(|&(part, layer, shape)| self.tensors.matrix(part, layer, shape));
        let views = views.collect::<Result<Vec<_>, _>>()?;
        let parts: Vec<_> = views
            .iter()
            .map(|&view| packing::Part {
                rows: Rows::of(view),
                shape: [view.rows(), view.row_len()],
                kept: Kept::of(view.info.dtype, self.numeric),
            })
            .collect();
        let packed = packing::pack(self.compute, &parts)?;
        for view in &views {
            self.tensors.file.source.release(&view.info.name);
        }
        Ok(Linear::new(packed, bias))
    }
}
