//! Finds, checks and packs the tensors that a spec needs.

use super::decoder::{Layer, Model};
use super::hyper::Hyper;
use super::names::{Role, Scheme};
use super::packing::{self, Kept};
use super::{DecoderSpec, ModelError, Numeric, Stored};
use crate::nn::{Embedding, Linear, Rope};
use choral_formats::{Dtype, FormatError, ModelFile, TensorSource, TensorView, dequantize};
use choral_kernels::Compute;
use choral_kernels::matmul::{self, PackedMatrix, RowCodes, Source};
use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;

struct Loader<'a> {
    file: &'a ModelFile,
    scheme: Scheme,
    spec: &'a DecoderSpec,
    numeric: Numeric,
    compute: &'a Compute,
    used: RefCell<HashSet<String>>,
}

/// A part of a fused matrix: its tensor, and which stored row each of its rows is.
struct Part<'a> {
    view: TensorView<'a>,
    order: RowOrder,
}

/// GGUF files of Llama hold each head's rows of Q and K interleaved: row `2 i + j`
/// there is row `i + j * half` of the layout that kernels rotate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RowOrder {
    AsStored,
    Interleaved { head_dim: usize },
}

impl RowOrder {
    fn stored(self, row: usize) -> usize {
        match self {
            Self::AsStored => row,
            Self::Interleaved { head_dim } => {
                let (head, at, half) = (row / head_dim, row % head_dim, head_dim / 2);
                head * head_dim + 2 * (at % half) + at / half
            }
        }
    }
}

/// Loads a model, packing its weights on `compute`.
///
/// # Errors
/// If the file is of no family that choral runs, or a setting or tensor is missing
/// or not what it must be. Everything is checked before anything is packed.
pub(super) fn load(
    file: &Arc<ModelFile>,
    numeric: Numeric,
    compute: &Compute,
) -> Result<Model, ModelError> {
    let (architecture, hyper) = Hyper::open(file)?;
    let spec = (architecture.spec)(&hyper)?;
    let scheme = Scheme::of(file);
    let loader = Loader {
        file,
        scheme,
        spec: &spec,
        numeric,
        compute,
        used: RefCell::default(),
    };
    loader.check()?;
    let rope = Rope::new(&spec.rope, loader.rope_divisors()?.as_deref());
    let layers = (0..spec.num_layers)
        .map(|layer| loader.layer(layer))
        .collect::<Result<_, _>>()?;
    let embedding = loader.name(Role::Embedding, 0, "weight");
    let output = loader.output()?;
    let norm = loader.vector(Role::OutputNorm, 0, "weight", spec.hidden_size)?;
    loader.report_unused();
    Ok(Model {
        architecture,
        numeric,
        embedding: Embedding::new(Arc::clone(file), embedding),
        layers,
        norm,
        output,
        rope,
        spec,
    })
}

/// Bytes of all weights of a file packed for `numeric`, as
/// [`Model::weight_bytes`] counts them. Tensors that are missing count as floats:
/// loading will name them.
pub(super) fn packed_bytes(file: &ModelFile, spec: &DecoderSpec, numeric: Numeric) -> u64 {
    let dtypes = matrices(file, spec);
    let bytes = dtypes.map(|(dtype, shape)| Kept::of(dtype, numeric).bytes(shape));
    bytes.fold(0, u64::saturating_add)
}

/// Whether most of a file's weights are of quantised types that kernels multiply as
/// they are.
pub(super) fn is_quantised(file: &ModelFile, spec: &DecoderSpec) -> bool {
    let (mut quantised, mut all) = (0_u64, 0_u64);
    for (dtype, [n, k]) in matrices(file, spec) {
        let weights = (n as u64).saturating_mul(k as u64);
        all = all.saturating_add(weights);
        if packing::format(dtype).is_some() {
            quantised = quantised.saturating_add(weights);
        }
    }
    quantised > all / 2
}

/// Type and shape of every matrix that a forward pass multiplies with.
fn matrices(file: &ModelFile, spec: &DecoderSpec) -> impl Iterator<Item = (Dtype, Shape)> {
    let scheme = Scheme::of(file);
    let layers = (0..spec.num_layers).flat_map(move |layer| {
        spec.matrices()
            .map(|(role, shape, _)| (role, layer, shape))
            .to_vec()
    });
    let head = [(spec.output_role(), 0, [spec.vocab_size, spec.hidden_size])];
    layers.chain(head).map(move |(role, layer, shape)| {
        let name = format!("{}.weight", role.name(scheme, layer));
        let stored = file.tensors().tensor(&name);
        (stored.map_or(Dtype::F32, |view| view.info.dtype), shape)
    })
}

/// `[rows, columns]`.
type Shape = [usize; 2];

impl DecoderSpec {
    /// Every matrix of a layer, with its shape and its bias.
    fn matrices(&self) -> [(Role, Shape, Stored); 7] {
        let (hidden, q, kv) = (self.hidden_size, self.q_width(), self.kv_width());
        let ffn = self.ffn_size;
        [
            (Role::Q, [q, hidden], self.qkv_bias),
            (Role::K, [kv, hidden], self.qkv_bias),
            (Role::V, [kv, hidden], self.qkv_bias),
            (
                Role::AttentionOutput,
                [hidden, q],
                self.attention_output_bias,
            ),
            (Role::FfnGate, [ffn, hidden], self.ffn_bias),
            (Role::FfnUp, [ffn, hidden], self.ffn_bias),
            (Role::FfnDown, [hidden, ffn], self.ffn_bias),
        ]
    }

    /// The tensor that makes logits.
    fn output_role(&self) -> Role {
        if self.tied_embeddings {
            Role::Embedding
        } else {
            Role::Output
        }
    }
}

impl<'a> Loader<'a> {
    fn source(&self) -> &'a dyn TensorSource {
        self.file.tensors()
    }

    fn name(&self, role: Role, layer: usize, part: &str) -> String {
        format!("{}.{part}", role.name(self.scheme, layer))
    }

    /// Looks at every tensor before any work is done.
    fn check(&self) -> Result<(), ModelError> {
        let s = self.spec;
        let table = [s.vocab_size, s.hidden_size];
        self.matrix(Role::Embedding, 0, table)?;
        if !s.tied_embeddings {
            self.matrix(Role::Output, 0, table)?;
        }
        for layer in 0..s.num_layers {
            for (role, shape, _) in self.spec.matrices() {
                self.matrix(role, layer, shape)?;
            }
        }
        Ok(())
    }

    fn view(&self, role: Role, layer: usize, part: &str) -> Option<TensorView<'a>> {
        let name = self.name(role, layer, part);
        let view = self.source().tensor(&name)?;
        self.used.borrow_mut().insert(name);
        Some(view)
    }

    fn shape_error(&self, view: &TensorView<'_>, expected: &[usize]) -> ModelError {
        ModelError::Shape {
            file: self.source().path().to_owned(),
            name: view.info.name.clone(),
            expected: expected.to_vec(),
            found: view.info.shape.clone(),
        }
    }

    fn dtype_error(&self, view: &TensorView<'_>, expected: &'static str) -> ModelError {
        ModelError::Dtype {
            file: self.source().path().to_owned(),
            name: view.info.name.clone(),
            expected,
            found: view.info.dtype,
        }
    }

    fn matrix(&self, role: Role, layer: usize, shape: Shape) -> Result<TensorView<'a>, ModelError> {
        let view = self.view(role, layer, "weight").ok_or_else(|| {
            ModelError::missing_tensor(self.source(), &self.name(role, layer, "weight"))
        })?;
        if view.info.shape != shape {
            return Err(self.shape_error(&view, &shape));
        }
        let readable = dequantize(view.info.dtype, &[], &mut []);
        if matches!(readable, Err(FormatError::Unsupported { .. })) {
            return Err(self.dtype_error(&view, "a float or a quantised type that can be read"));
        }
        Ok(view)
    }

    fn optional_vector(
        &self,
        role: Role,
        layer: usize,
        part: &str,
        len: usize,
    ) -> Result<Option<Vec<f32>>, ModelError> {
        let Some(view) = self.view(role, layer, part) else {
            return Ok(None);
        };
        if view.info.shape != [len] {
            return Err(self.shape_error(&view, &[len]));
        }
        if !matches!(view.info.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            return Err(self.dtype_error(&view, "F32, F16 or BF16"));
        }
        let mut values = vec![0.0; len];
        view.dequantize_row(0, &mut values)?;
        Ok(Some(values))
    }

    fn vector(
        &self,
        role: Role,
        layer: usize,
        part: &str,
        len: usize,
    ) -> Result<Vec<f32>, ModelError> {
        self.optional_vector(role, layer, part, len)?
            .ok_or_else(|| ModelError::missing_tensor(self.source(), &self.name(role, layer, part)))
    }

    fn order(&self, role: Role) -> RowOrder {
        let interleaved = self.spec.qk_interleaved_in_gguf && self.scheme == Scheme::Gguf;
        match role {
            Role::Q | Role::K if interleaved => RowOrder::Interleaved {
                head_dim: self.spec.head_dim,
            },
            _ => RowOrder::AsStored,
        }
    }

    /// One matrix of the rows of several, with their biases.
    fn fused(&self, layer: usize, parts: &[(Role, Shape, Stored)]) -> Result<Linear, ModelError> {
        let mut views = Vec::with_capacity(parts.len());
        let mut bias = Vec::new();
        let mut any_bias = false;
        for &(role, shape, stored) in parts {
            let order = self.order(role);
            views.push(Part {
                view: self.matrix(role, layer, shape)?,
                order,
            });
            let values = self.optional_vector(role, layer, "bias", shape[0])?;
            if values.is_none() && stored == Stored::Always {
                let name = self.name(role, layer, "bias");
                return Err(ModelError::missing_tensor(self.source(), &name));
            }
            any_bias |= values.is_some();
            let values = values.unwrap_or_else(|| vec![0.0; shape[0]]);
            bias.extend((0..shape[0]).map(|row| values[order.stored(row)]));
        }
        let weight = self.pack(&views)?;
        Ok(Linear::new(weight, any_bias.then_some(bias)))
    }

    /// Packs the rows of all parts as one matrix, and gives back the file's pages.
    fn pack(&self, parts: &[Part<'_>]) -> Result<PackedMatrix, ModelError> {
        let k = parts[0].view.row_len();
        // One closure of each kind a part: which one is called depends on its type.
        let floats: Vec<_> = parts
            .iter()
            .map(|part| {
                move |row: usize, out: &mut [f32]| {
                    part.view
                        .dequantize_row(part.order.stored(row), out)
                        .expect("type and width were checked");
                }
            })
            .collect();
        let codes: Vec<_> = parts
            .iter()
            .map(|part| {
                move |row: usize, out: &mut RowCodes| {
                    packing::read_codes(&part.view, part.order.stored(row), out);
                }
            })
            .collect();
        let kept = |part: &Part<'_>| Kept::of(part.view.info.dtype, self.numeric);
        let sources: Vec<_> = parts
            .iter()
            .enumerate()
            .map(|(i, part)| matmul::Part {
                rows: part.view.rows(),
                source: match kept(part) {
                    Kept::Float(element) => Source::Float {
                        element,
                        row: &floats[i],
                    },
                    Kept::Codes(format, input) => Source::Codes {
                        format,
                        input,
                        row: &codes[i],
                    },
                },
            })
            .collect();
        let packed = PackedMatrix::pack(self.compute, k, &sources);
        for part in parts {
            self.source().release(&part.view.info.name);
        }
        packed.ok_or_else(|| ModelError::NoMemory {
            what: "packed weights",
            bytes: parts
                .iter()
                .map(|part| kept(part).bytes([part.view.rows(), k]))
                .sum(),
        })
    }

    fn layer(&self, layer: usize) -> Result<Layer, ModelError> {
        let s = self.spec;
        let [q, k, v, o, gate, up, down] = self.spec.matrices();
        let head_norm = |role| {
            s.qk_norm
                .then(|| self.vector(role, layer, "weight", s.head_dim))
                .transpose()
        };
        Ok(Layer {
            attention_norm: self.vector(Role::AttentionNorm, layer, "weight", s.hidden_size)?,
            qkv: self.fused(layer, &[q, k, v])?,
            q_norm: head_norm(Role::QNorm)?,
            k_norm: head_norm(Role::KNorm)?,
            attention_output: self.fused(layer, &[o])?,
            ffn_norm: self.vector(Role::FfnNorm, layer, "weight", s.hidden_size)?,
            gate_up: self.fused(layer, &[gate, up])?,
            down: self.fused(layer, &[down])?,
            window: s.windows[layer],
        })
    }

    fn output(&self) -> Result<Linear, ModelError> {
        let view = self.matrix(
            self.spec.output_role(),
            0,
            [self.spec.vocab_size, self.spec.hidden_size],
        )?;
        let order = RowOrder::AsStored;
        Ok(Linear::new(self.pack(&[Part { view, order }])?, None))
    }

    fn rope_divisors(&self) -> Result<Option<Vec<f32>>, ModelError> {
        if self.scheme == Scheme::Hf {
            return Ok(None);
        }
        self.optional_vector(Role::RopeFreqs, 0, "weight", self.spec.rope.dim / 2)
    }

    /// A tensor that nothing read may mean a model that is not what its header says.
    fn report_unused(&self) {
        let used = self.used.borrow();
        let unused: Vec<&str> = self
            .source()
            .infos()
            .iter()
            .map(|info| info.name.as_str())
            .filter(|name| !used.contains(*name) && !name.ends_with("rotary_emb.inv_freq"))
            .collect();
        if let [first, ..] = unused[..] {
            tracing::warn!(
                count = unused.len(),
                first,
                "tensors that this architecture does not use"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interleaved_rows_are_put_into_halves() {
        let order = RowOrder::Interleaved { head_dim: 6 };
        let stored: Vec<usize> = (0..12).map(|row| order.stored(row)).collect();
        assert_eq!(stored, [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
    }
}
