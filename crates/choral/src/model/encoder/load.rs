//! Checks and packs the tensors of an encoder.
//!
//! Encoders' files hold each matrix on its own and as it is, so that there is nothing
//! of what `model/tensors` hides for decoders.

use super::{Encoder, EncoderSpec, Layer};
use crate::arch::EncoderFamily;
use crate::model::names::{At, Role};
use crate::model::packing::{self, Kept};
use crate::model::tensors::{Rows, TensorFile};
use crate::model::{AttentionSpec, ModelError, Numeric};
use crate::nn::{Attention, Embedding, Linear, Mlp, Norm};
use choral_formats::{Dtype, ModelFile, TensorView};
use choral_kernels::Compute;
use choral_kernels::matmul::PackedMatrix;
use std::sync::Arc;

/// `[rows, columns]`.
type Shape = [usize; 2];

/// A matrix that a forward pass multiplies with.
type Matrix = (Role, At, Shape);

/// Loads an encoder, packing its weights on `compute`. Everything is checked before
/// anything is packed.
pub(super) fn load(
    file: &Arc<ModelFile>,
    family: &'static EncoderFamily,
    spec: EncoderSpec,
    numeric: Numeric,
    compute: &Compute,
) -> Result<Encoder, ModelError> {
    refuse_quantization(file)?;
    let tensors = Tensors::new(file, &spec);
    let (vocab, hidden) = (spec.vocab_size, spec.hidden_size);
    let whole = At::default();
    let words = tensors.matrix(Role::Embedding, whole, [vocab, hidden])?;
    let num_positions = spec.first_position + spec.max_context;
    let positions = tensors.matrix(Role::Positions, whole, [num_positions, hidden])?;
    for (role, at, shape) in matrices(&spec) {
        tensors.matrix(role, at, shape)?;
    }
    let kind = tensors.kind()?;
    let table = |view: &TensorView<'_>| Embedding::new(Arc::clone(file), view.info.name.clone());
    let (words, positions) = (table(&words), table(&positions));
    let norm = tensors.norm(Role::EmbeddingNorm, whole)?;
    let loader = Loader {
        tensors: &tensors,
        numeric,
        compute,
    };
    let layers = (0..spec.num_layers).map(|index| loader.layer(index));
    let layers = layers.collect::<Result<_, _>>()?;
    let is_wanted = |name: &str| !is_known_to_be_unused(name);
    tensors.file.report_unused("encoder", is_wanted);
    Ok(Encoder {
        family,
        numeric,
        spec,
        words,
        positions,
        kind,
        norm,
        layers,
    })
}

/// Matrices of several tensors would be read without their scales.
fn refuse_quantization(file: &ModelFile) -> Result<(), ModelError> {
    let ModelFile::Hf(dir) = file else {
        return Ok(());
    };
    match dir.config.object("quantization_config")? {
        None => Ok(()),
        Some(config) => {
            let method = config.str("quant_method")?.unwrap_or("unnamed");
            let expected = "none, for an encoder";
            Err(dir
                .config
                .invalid("quantization_config", expected, method)
                .into())
        }
    }
}

/// Bytes of all weights of a file packed for `numeric`. Tensors that are missing count
/// as floats: loading will name them.
pub(super) fn packed_bytes(file: &ModelFile, spec: &EncoderSpec, numeric: Numeric) -> u64 {
    let tensors = Tensors::new(file, spec);
    let bytes = matrices(spec).map(|(role, at, shape)| {
        let dtype = tensors.dtype(role, at);
        Kept::of(dtype, numeric).bytes(shape)
    });
    bytes.fold(0, u64::saturating_add)
}

/// Whether most of a file's weights are of types that kernels multiply as integers.
pub(super) fn is_quantised(file: &ModelFile, spec: &EncoderSpec) -> bool {
    let tensors = Tensors::new(file, spec);
    let (mut quantised, mut all) = (0_u64, 0_u64);
    for (role, at, [n, k]) in matrices(spec) {
        let weights = (n as u64).saturating_mul(k as u64);
        all = all.saturating_add(weights);
        if packing::format(tensors.dtype(role, at)).is_some() {
            quantised = quantised.saturating_add(weights);
        }
    }
    quantised > all / 2
}

/// All matrices.
fn matrices(spec: &EncoderSpec) -> impl Iterator<Item = Matrix> + '_ {
    (0..spec.num_layers).flat_map(|layer| {
        let [q, k, v, output] = spec.attention_matrices(layer);
        let [up, down] = spec.ffn_matrices(layer);
        [q, k, v, output, up, down]
    })
}

impl EncoderSpec {
    fn attention_matrices(&self, layer: usize) -> [Matrix; 4] {
        let shape = [self.hidden_size, self.hidden_size];
        [Role::Q, Role::K, Role::V, Role::AttentionOutput].map(|r| (r, At::layer(layer), shape))
    }

    fn ffn_matrices(&self, layer: usize) -> [Matrix; 2] {
        let (hidden, inner) = (self.hidden_size, self.ffn_size);
        [
            (Role::FfnUp, At::layer(layer), [inner, hidden]),
            (Role::FfnDown, At::layer(layer), [hidden, inner]),
        ]
    }
}

/// The tensors of one file, under the names of one family.
struct Tensors<'a> {
    file: TensorFile<'a>,
    spec: &'a EncoderSpec,
}

impl<'a> Tensors<'a> {
    fn new(file: &'a ModelFile, spec: &'a EncoderSpec) -> Self {
        Self {
            file: TensorFile::new(file),
            spec,
        }
    }

    fn name(&self, role: Role, at: At, part: &str) -> String {
        format!(
            "{}.{part}",
            role.name(&self.spec.names, self.file.scheme, at)
        )
    }

    fn find(&self, role: Role, at: At, part: &str) -> Option<TensorView<'a>> {
        self.file.find(&self.name(role, at, part))
    }

    /// Finds a matrix, and checks its shape and type.
    fn matrix(&self, role: Role, at: At, shape: Shape) -> Result<TensorView<'a>, ModelError> {
        self.file.matrix(&self.name(role, at, "weight"), shape)
    }

    /// Type of a matrix, or F32 if it is not there.
    fn dtype(&self, role: Role, at: At) -> Dtype {
        self.find(role, at, "weight")
            .map_or(Dtype::F32, |view| view.info.dtype)
    }

    fn vector(&self, role: Role, at: At, part: &str, len: usize) -> Result<Vec<f32>, ModelError> {
        let view = self.file.required(&self.name(role, at, part))?;
        self.file.floats(&view, &[len])
    }

    /// The vector of tokens of the first kind.
    fn kind(&self) -> Result<Vec<f32>, ModelError> {
        let (role, hidden) = (Role::TokenTypes, self.spec.hidden_size);
        let view = self
            .file
            .required(&self.name(role, At::default(), "weight"))?;
        let view = match view.info.shape[..] {
            // GGUF files hold a matrix of one row as a vector.
            [width] if width == hidden => view,
            [kinds, _] => self.matrix(role, At::default(), [kinds.max(1), hidden])?,
            _ => return Err(self.file.shape_error(&view, &[1, hidden])),
        };
        let mut values = vec![0.0; hidden];
        view.dequantize_row(0, &mut values)?;
        Ok(values)
    }

    fn norm(&self, role: Role, at: At) -> Result<Norm, ModelError> {
        let width = self.spec.hidden_size;
        Ok(Norm {
            weight: self.vector(role, at, "weight", width)?,
            bias: Some(self.vector(role, at, "bias", width)?),
            eps: self.spec.norm_eps,
        })
    }
}

/// Heads for other tasks, and the numbers 0, 1, 2, ...
fn is_known_to_be_unused(name: &str) -> bool {
    let name = name.strip_prefix("bert.").unwrap_or(name);
    let name = name.strip_prefix("roberta.").unwrap_or(name);
    name == "embeddings.position_ids"
        || ["pooler.", "cls.", "lm_head."]
            .iter()
            .any(|head| name.starts_with(head))
}

struct Loader<'a> {
    tensors: &'a Tensors<'a>,
    numeric: Numeric,
    compute: &'a Compute,
}

impl Loader<'_> {
    fn layer(&self, index: usize) -> Result<Layer, ModelError> {
        let (spec, at) = (self.tensors.spec, At::layer(index));
        let [q, k, v, output] = spec.attention_matrices(index);
        let [up, down] = spec.ffn_matrices(index);
        Ok(Layer {
            attention: Attention {
                qkv: self.linear(&[q, k, v])?,
                q_norm: None,
                k_norm: None,
                output: self.linear(&[output])?,
                sinks: None,
                heads: spec.num_heads,
                kv_heads: spec.num_heads,
                head_dim: spec.head_dim,
                spec: AttentionSpec {
                    scale: 1.0 / (spec.head_dim as f32).sqrt(),
                    softcap: None,
                    sinks: false,
                    bidirectional: true,
                },
                window: None,
                rope: None,
            },
            attention_norm: self.tensors.norm(Role::PostAttentionNorm, at)?,
            mlp: Mlp {
                inner: self.linear(&[up])?,
                down: self.linear(&[down])?,
                gated: false,
                activation: spec.activation,
            },
            ffn_norm: self.tensors.norm(Role::PostFfnNorm, at)?,
        })
    }

    /// One matrix of the rows of several, with their biases.
    fn linear(&self, matrices: &[Matrix]) -> Result<Linear, ModelError> {
        let mut views = Vec::with_capacity(matrices.len());
        let mut bias = Vec::new();
        for &(role, at, shape) in matrices {
            views.push(self.tensors.matrix(role, at, shape)?);
            bias.extend(self.tensors.vector(role, at, "bias", shape[0])?);
        }
        Ok(Linear::new(self.pack(&views)?, Some(bias)))
    }

    /// Packs the rows of all views as one matrix, and gives back the file's pages.
    fn pack(&self, views: &[TensorView<'_>]) -> Result<PackedMatrix, ModelError> {
        let parts: Vec<_> = views
            .iter()
            .map(|&view| packing::Part {
                rows: Rows::of(view),
                shape: [view.rows(), view.row_len()],
                kept: Kept::of(view.info.dtype, self.numeric),
            })
            .collect();
        let packed = packing::pack(self.compute, &parts);
        for view in views {
            self.tensors.file.source.release(&view.info.name);
        }
        packed
    }
}
