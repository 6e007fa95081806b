//! Checks and packs the tensors that a spec needs. Which matrices those are says
//! `matrices.rs`.

mod matrices;

pub(super) use matrices::{matrices, shapes};

use super::decoder::{FeedForward, Layer, Model};
use super::hyper::Hyper;
use super::names::{At, Role};
use super::packing::{self, Kept};
use super::tensors::{Place, Tensors};
use super::{
    Adapter, DecoderSpec, ModelError, NormKind, Numeric, Placement, QkNorm, RopeScaling, Scheme,
    Stored,
};
use crate::nn::{Attention, Embedding, Linear, LowRank, Mlp, Moe, Norm, Rope, SharedExpert};
use choral_formats::{Dtype, ModelFile};
use choral_kernels::Compute;
use choral_kernels::matmul::{Element, PackedMatrix};
use matrices::Matrix;
use std::sync::Arc;

struct Loader<'a> {
    tensors: Tensors<'a>,
    scheme: Scheme,
    spec: &'a DecoderSpec,
    numeric: Numeric,
    /// In the order of their indices.
    adapters: &'a [Adapter],
    compute: &'a Compute,
    /// Whether the output matrix is wanted.
    has_head: bool,
}

/// Loads a model for sequences of up to `context` tokens, packing its weights on
/// `compute`; the output matrix only if the model is to have it (`has_head`).
///
/// # Errors
/// If the file is of no family that choral runs, or a setting or tensor is missing
/// or not what it must be. Everything is checked before anything is packed.
pub(super) fn load(
    file: &Arc<ModelFile>,
    numeric: Numeric,
    context: Option<usize>,
    adapters: &[Adapter],
    compute: &Compute,
    has_head: bool,
) -> Result<Model, ModelError> {
    let (architecture, hyper) = if has_head {
        Hyper::open(file)?
    } else {
        Hyper::open_headless(file)?
    };
    let spec = (architecture.spec)(&hyper)?;
    let loader = Loader {
        tensors: Tensors::new(file, &spec)?,
        scheme: Scheme::of(file),
        spec: &spec,
        numeric,
        adapters,
        compute,
        has_head,
    };
    loader.check()?;
    let ropes = loader.ropes(context.unwrap_or(spec.max_context))?;
    let layers = (0..spec.num_layers)
        .map(|layer| loader.layer(layer))
        .collect::<Result<_, _>>()?;
    let table = |role, rows| -> Result<Embedding, ModelError> {
        let name = loader.tensors.table(role, [rows, spec.hidden_size])?;
        Ok(Embedding::new(Arc::clone(file), name))
    };
    let embedding = table(Role::Embedding, spec.vocab_size)?;
    let positions = spec
        .learned_positions
        .then(|| table(Role::Positions, spec.max_context))
        .transpose()?;
    let output = has_head.then(|| loader.output()).transpose()?;
    let norm = loader.norm(Role::OutputNorm, At::default())?;
    loader.tensors.report_unused();
    Ok(Model {
        architecture,
        numeric,
        spec,
        embedding,
        positions,
        layers,
        norm,
        output,
        ropes,
        adapters: adapters.iter().map(|a| a.name().to_owned()).collect(),
    })
}

/// Bytes of all weights of a file packed for `numeric`, as
/// [`Model::weight_bytes`] counts them. Tensors that are missing count as floats:
/// loading will name them.
///
/// # Errors
/// If the file says in no known way how its matrices are stored.
pub(super) fn packed_bytes(
    file: &ModelFile,
    spec: &DecoderSpec,
    numeric: Numeric,
) -> Result<u64, ModelError> {
    let tensors = Tensors::new(file, spec)?;
    let bytes = matrices(spec).map(|(role, at, shape, _)| {
        kept(role, tensors.dtype(role, at, shape), numeric).bytes(shape)
    });
    Ok(bytes.fold(0, u64::saturating_add))
}

/// Whether most of a file's weights are of quantised types that kernels multiply as
/// they are.
///
/// # Errors
/// As [`packed_bytes`].
pub(super) fn is_quantised(file: &ModelFile, spec: &DecoderSpec) -> Result<bool, ModelError> {
    let tensors = Tensors::new(file, spec)?;
    let (mut quantised, mut all) = (0_u64, 0_u64);
    for (role, at, shape, _) in matrices(spec) {
        let weights = (shape[0] as u64).saturating_mul(shape[1] as u64);
        all = all.saturating_add(weights);
        if packing::format(tensors.dtype(role, at, shape)).is_some() {
            quantised = quantised.saturating_add(weights);
        }
    }
    Ok(quantised > all / 2)
}

/// How a matrix is kept. Routers are small and their choices are not smooth: they are
/// f32 in every numeric.
fn kept(role: Role, dtype: Dtype, numeric: Numeric) -> Kept {
    match role {
        Role::Router | Role::SharedRouter => Kept::Float(Element::F32),
        _ => Kept::of(dtype, numeric),
    }
}

/// What an adapter's change of a matrix is kept as: numbers of the kind that the
/// matrix is multiplied with.
pub(super) fn adapter_element(role: Role, numeric: Numeric) -> Element {
    match kept(role, Dtype::F32, numeric) {
        Kept::Float(element) => element,
        Kept::Codes(..) => numeric.element(),
    }
}

impl Loader<'_> {
    /// Looks at every matrix before any work is done.
    fn check(&self) -> Result<(), ModelError> {
        let s = self.spec;
        let find = |role, at, shape| self.tensors.matrix(role, at, shape).map(|_| ());
        let table = |role, rows| self.tensors.table(role, [rows, s.hidden_size]);
        table(Role::Embedding, s.vocab_size)?;
        if s.learned_positions {
            table(Role::Positions, s.max_context)?;
        }
        for (role, at, shape, _) in matrices(s) {
            let found = find(role, at, shape);
            if self.has_head || role != s.output_role() {
                found?;
            }
        }
        // Vectors are small: reading them twice costs nothing beside packing.
        for (role, at, [n, _], stored) in matrices(s) {
            if self.has_head || role != s.output_role() {
                self.tensors.bias(role, at, n, stored)?;
            }
        }
        for layer in 0..s.num_layers {
            self.norms(layer)?;
            self.head_norms(layer)?;
            self.sinks(layer)?;
        }
        self.norm(Role::OutputNorm, At::default())?;
        Ok(())
    }

    /// One matrix of the rows of several, with their biases.
    fn fused(&self, parts: &[Matrix]) -> Result<Linear, ModelError> {
        let mut places = Vec::with_capacity(parts.len());
        let mut bias = Vec::new();
        let mut any_bias = false;
        for &(role, at, shape, stored) in parts {
            places.push((role, self.tensors.matrix(role, at, shape)?));
            let values = self.tensors.bias(role, at, shape[0], stored)?;
            any_bias |= values.is_some();
            bias.extend(values.unwrap_or_else(|| vec![0.0; shape[0]]));
        }
        let weight = self.pack(&places)?;
        let linear = Linear::new(weight, any_bias.then_some(bias));
        Ok(linear.with_changes(self.changes(parts)?))
    }

    /// What adapters change about a matrix of several parts.
    fn changes(&self, parts: &[Matrix]) -> Result<Vec<LowRank>, ModelError> {
        let element = adapter_element(parts[0].0, self.numeric);
        let parts: Vec<_> = parts
            .iter()
            .map(|&(role, at, n, _)| (role, at, n))
            .collect();
        let changes = self
            .adapters
            .iter()
            .enumerate()
            .filter_map(|(index, adapter)| {
                let change = adapter.pack(index, &parts, element, self.compute);
                change.transpose()
            });
        changes.collect()
    }

    /// Packs the rows of all parts as one matrix, and gives back the file's pages.
    fn pack(&self, parts: &[(Role, Place<'_>)]) -> Result<PackedMatrix, ModelError> {
        let opened: Vec<_> = parts
            .iter()
            .map(|(role, place)| {
                Ok(packing::Part {
                    rows: place.open()?,
                    shape: place.shape(),
                    kept: kept(*role, place.dtype(), self.numeric),
                })
            })
            .collect::<Result<_, ModelError>>()?;
        let packed = packing::pack(self.compute, &opened);
        for (_, place) in parts {
            for tensor in place.tensors() {
                self.tensors.source().release(tensor);
            }
        }
        packed
    }

    /// A layer's norms: before and after attention, before and after the feed-forward
    /// part.
    fn norms(&self, index: usize) -> Result<[Option<Norm>; 4], ModelError> {
        let s = self.spec;
        let at = At::layer(index);
        let norm = |stands: bool, role| stands.then(|| self.norm(role, at)).transpose();
        let (before, after) = match s.placement {
            Placement::Before | Placement::Parallel => (true, false),
            Placement::After => (false, true),
            Placement::Around => (true, true),
        };
        let own_ffn_norm = before && s.placement != Placement::Parallel;
        Ok([
            norm(before, Role::AttentionNorm)?,
            norm(after, Role::PostAttentionNorm)?,
            norm(own_ffn_norm, Role::FfnNorm)?,
            norm(after, Role::PostFfnNorm)?,
        ])
    }

    /// Norms of Q and K.
    fn head_norms(&self, index: usize) -> Result<[Option<Norm>; 2], ModelError> {
        let s = self.spec;
        let norm = |role, heads: usize| {
            let len = match s.qk_norm {
                QkNorm::None => return Ok(None),
                QkNorm::Head => s.head_dim,
                QkNorm::Whole => heads * s.head_dim,
            };
            self.rms_norm(role, At::layer(index), len).map(Some)
        };
        Ok([
            norm(Role::QNorm, s.num_heads)?,
            norm(Role::KNorm, s.num_kv_heads)?,
        ])
    }

    fn sinks(&self, index: usize) -> Result<Option<Vec<f32>>, ModelError> {
        let s = self.spec;
        let sinks = || {
            let at = At::layer(index);
            self.tensors.vector(Role::Sinks, at, "weight", s.num_heads)
        };
        s.attention.sinks.then(sinks).transpose()
    }

    fn layer(&self, index: usize) -> Result<Layer, ModelError> {
        let [attention_norm, post_attention_norm, ffn_norm, post_ffn_norm] = self.norms(index)?;
        Ok(Layer {
            attention_norm,
            attention: self.attention(index)?,
            post_attention_norm,
            ffn_norm,
            ffn: self.feed_forward(index)?,
            post_ffn_norm,
        })
    }

    fn attention(&self, index: usize) -> Result<Attention, ModelError> {
        let s = self.spec;
        let [q, k, v, output] = s.attention_matrices(index);
        let [q_norm, k_norm] = self.head_norms(index)?;
        Ok(Attention {
            qkv: self.fused(&[q, k, v])?,
            q_norm,
            k_norm,
            output: self.fused(&[output])?,
            sinks: self.sinks(index)?,
            heads: s.num_heads,
            kv_heads: s.num_kv_heads,
            head_dim: s.head_dim,
            spec: s.attention,
            window: s.layers[index].window,
            rope: s.layers[index].rope,
        })
    }

    fn feed_forward(&self, index: usize) -> Result<FeedForward, ModelError> {
        let s = self.spec;
        let Some(moe) = s.experts(&s.layers[index]) else {
            return Ok(FeedForward::Dense(self.mlp(&s.dense_matrices(index))?));
        };
        let experts = (0..moe.num_experts)
            .map(|expert| self.mlp(&s.expert_matrices(index, expert, moe)))
            .collect::<Result<_, _>>()?;
        let shared = || {
            Ok::<_, ModelError>(SharedExpert {
                router: self.fused(&[s.shared_router(index)])?,
                mlp: self.mlp(&s.shared_matrices(index, moe))?,
            })
        };
        Ok(FeedForward::Experts(Moe {
            router: self.fused(&[s.router(index, moe)])?,
            experts,
            shared: (moe.shared_size > 0).then(shared).transpose()?,
            num_chosen: moe.num_chosen,
            normalised: moe.normalised,
        }))
    }

    fn mlp(&self, matrices: &[Matrix]) -> Result<Mlp, ModelError> {
        let (inner, down) = matrices.split_at(matrices.len() - 1);
        Ok(Mlp {
            inner: self.fused(inner)?,
            down: self.fused(down)?,
            gated: self.spec.ffn.gated,
            activation: self.spec.ffn.activation,
        })
    }

    /// A norm of the model's kind over the residual stream.
    fn norm(&self, role: Role, at: At) -> Result<Norm, ModelError> {
        let (norm, width) = (self.spec.norm, self.spec.hidden_size);
        match norm.kind {
            NormKind::Rms => self.rms_norm(role, at, width),
            NormKind::Layer => Ok(Norm {
                weight: self.tensors.vector(role, at, "weight", width)?,
                bias: Some(self.tensors.vector(role, at, "bias", width)?),
                eps: norm.eps,
            }),
        }
    }

    fn rms_norm(&self, role: Role, at: At, width: usize) -> Result<Norm, ModelError> {
        let mut weight = self.tensors.vector(role, at, "weight", width)?;
        if self.scheme == Scheme::Hf {
            let offset = self.spec.norm.hf_offset;
            for w in &mut weight {
                *w += offset;
            }
        }
        Ok(Norm {
            weight,
            bias: None,
            eps: self.spec.norm.eps,
        })
    }

    fn output(&self) -> Result<Linear, ModelError> {
        let role = self.spec.output_role();
        let shape = [self.spec.vocab_size, self.spec.hidden_size];
        let place = self.tensors.matrix(role, At::default(), shape)?;
        // Only an output matrix of its own can have a bias.
        let bias = self
            .tensors
            .bias(role, At::default(), shape[0], Stored::IfPresent)?;
        Ok(Linear::new(self.pack(&[(role, place)])?, bias))
    }

    fn ropes(&self, context: usize) -> Result<Vec<Rope>, ModelError> {
        let at = At::default();
        let divisors = |role, pairs| {
            if self.scheme == Scheme::Hf {
                return Ok(None);
            }
            self.tensors.optional_vector(role, at, "weight", pairs)
        };
        let ropes = self.spec.ropes.iter().map(|rope| {
            let pairs = rope.dim / 2;
            let divisors = match &rope.scaling {
                RopeScaling::Long {
                    short,
                    long,
                    original_context,
                    ..
                } => {
                    let is_long = context > *original_context;
                    let (role, own) = if is_long {
                        (Role::RopeLong, long)
                    } else {
                        (Role::RopeShort, short)
                    };
                    // The other list is there for another context.
                    divisors(
                        if is_long {
                            Role::RopeShort
                        } else {
                            Role::RopeLong
                        },
                        pairs,
                    )?;
                    match divisors(role, pairs)? {
                        None if own.is_empty() => {
                            return Err(self.tensors.missing(role, at, "weight"));
                        }
                        None => Some(own.clone()),
                        found => found,
                    }
                }
                _ => divisors(Role::RopeFreqs, pairs)?,
            };
            Ok(Rope::new(rope, divisors.as_deref(), context))
        });
        ropes.collect()
    }
}
