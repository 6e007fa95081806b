//! One step through a decoder: ragged rows in, logits out.
//!
//! Everything is computed per token, in an order that no other token has a part
//! in; only attention reads other positions, and those of its own sequence.

use super::{DecoderSpec, KvTypes, ModelError, Numeric, loader};
use crate::arch::Architecture;
use crate::engine::batch::{Batch, StepResult};
use crate::nn::{Embedding, Linear, Rope, add};
use choral_formats::ModelFile;
use choral_kernels::Compute;
use choral_kernels::activation::silu_mul;
use choral_kernels::attention::{AttentionShape, KvMemory, Rows, paged_attention};
use choral_kernels::matmul::{Activations, Inputs};
use choral_kernels::norm::{rms_norm, rms_norm_in_place};
use choral_kernels::rope::rotate_halves;
use std::sync::Arc;

/// One layer's weights.
#[derive(Debug)]
pub(super) struct Layer {
    pub attention_norm: Vec<f32>,
    /// Q, K and V, one behind the other.
    pub qkv: Linear,
    pub q_norm: Option<Vec<f32>>,
    pub k_norm: Option<Vec<f32>>,
    pub attention_output: Linear,
    pub ffn_norm: Vec<f32>,
    /// Gate and up, one behind the other.
    pub gate_up: Linear,
    pub down: Linear,
    pub window: Option<usize>,
}

/// A decoder with its weights packed, ready to run.
#[derive(Debug)]
pub struct Model {
    pub(super) architecture: &'static Architecture,
    pub(super) numeric: Numeric,
    pub(super) spec: DecoderSpec,
    pub(super) embedding: Embedding,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: Vec<f32>,
    pub(super) output: Linear,
    pub(super) rope: Rope,
}

/// Memory of one step, kept for the next. Empty at first; it grows to the largest step.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Input of the next matrix product.
    x: Activations,
    /// The residual stream, `[tokens, hidden]`.
    hidden: Vec<f32>,
    /// `[tokens, q + k + v]`.
    qkv: Vec<f32>,
    /// `[tokens, heads * head_dim]`.
    attended: Vec<f32>,
    /// `[tokens, gate + up]`.
    gate_up: Vec<f32>,
    /// What a part adds to the residual stream, `[tokens, hidden]`.
    delta: Vec<f32>,
    /// `[tokens, 2 * pairs]`: cosines and sines.
    angles: Vec<f32>,
    block_ids: Vec<u32>,
}

impl Scratch {
    /// Fills `x` with the normalised residual stream, to which what the last part
    /// contributed is added first, if any did.
    fn normalise(
        &mut self,
        compute: &Compute,
        inputs: Inputs,
        (norm, eps): (&[f32], f32),
        is_behind: bool,
    ) {
        let (width, isa, delta) = (norm.len(), compute.isa(), &self.delta);
        let hidden = (self.hidden.as_mut_slice(), width);
        self.x
            .fill_changing(compute, inputs, width, hidden, |t, hidden, out| {
                if is_behind {
                    add(hidden, &delta[t * width..][..width]);
                }
                rms_norm(isa, hidden, norm, eps, out);
            });
    }
}

impl Model {
    /// Loads the weights of an open file, packed for `numeric` by `compute`'s workers.
    ///
    /// # Errors
    /// If the file's family is unknown, or a setting or tensor is missing or not
    /// what it must be.
    pub fn load(
        file: &Arc<ModelFile>,
        numeric: Numeric,
        compute: &Compute,
    ) -> Result<Self, ModelError> {
        loader::load(file, numeric, compute)
    }

    /// What the model is made of.
    pub fn spec(&self) -> &DecoderSpec {
        &self.spec
    }

    /// Its family.
    pub fn architecture(&self) -> &'static Architecture {
        self.architecture
    }

    /// Its arithmetic.
    pub fn numeric(&self) -> Numeric {
        self.numeric
    }

    /// Bytes of packed weights.
    pub fn weight_bytes(&self) -> usize {
        let layer = |l: &Layer| {
            l.qkv.bytes() + l.attention_output.bytes() + l.gate_up.bytes() + l.down.bytes()
        };
        self.layers.iter().map(layer).sum::<usize>() + self.output.bytes()
    }

    /// Memory for `blocks` blocks of keys and values kept as `types`, one a layer.
    ///
    /// # Errors
    /// [`ModelError::NoMemory`].
    pub fn kv_memory(&self, types: KvTypes, blocks: usize) -> Result<Vec<KvMemory>, ModelError> {
        let (heads, dim) = (self.spec.num_kv_heads, self.spec.head_dim);
        self.layers
            .iter()
            .map(|_| {
                KvMemory::new(types, blocks, heads, dim).ok_or_else(|| ModelError::NoMemory {
                    what: "keys and values",
                    bytes: (blocks as u64).saturating_mul(self.spec.kv_block_bytes(types)),
                })
            })
            .collect()
    }

    /// Runs one step: stores the keys and values of the batch's tokens in `kv` and
    /// fills `result` with the logits (and norms) that the batch asks for.
    ///
    /// # Panics
    /// If a token is outside the vocabulary or a position has no block: the engine
    /// checks prompts and hands out blocks.
    pub fn forward(
        &self,
        compute: &Compute,
        kv: &mut [KvMemory],
        batch: &Batch,
        scratch: &mut Scratch,
        result: &mut StepResult,
    ) {
        let spec = &self.spec;
        let (tokens, width) = (batch.token_ids.len(), spec.hidden_size);
        let mut norms = Norms::new(batch, spec.num_layers, &mut result.hidden_l2);
        let s = scratch;
        let mut block_ids = std::mem::take(&mut s.block_ids);
        block_ids.clear();
        block_ids.reserve(batch.block_ids.capacity());
        block_ids.extend(batch.block_ids.iter().map(|b| b.0));
        let rows = Rows {
            positions: &batch.positions,
            cu_tokens: &batch.cu_tokens,
            cu_blocks: &batch.cu_blocks,
            block_ids: &block_ids,
        };

        s.hidden.resize(tokens * width, 0.0);
        let embed = self.embedding.rows();
        compute.rows_mut(&mut s.hidden, width, |t, row| {
            embed(batch.token_ids[t], row);
        });
        s.angles.resize(tokens * 2 * self.rope.pairs(), 0.0);
        compute.rows_mut(&mut s.angles, 2 * self.rope.pairs(), |t, row| {
            self.rope.angles(batch.positions[t], row);
        });

        let eps = spec.norm_eps;
        for (index, (layer, kv)) in self.layers.iter().zip(kv).enumerate() {
            let (inputs, norm) = (layer.qkv.inputs(), &layer.attention_norm);
            s.normalise(compute, inputs, (norm, eps), index > 0);
            norms.record(index, |t| &s.hidden[t * width..(t + 1) * width]);
            self.attention(compute, layer, kv, &rows, tokens, s);
            let (inputs, norm) = (layer.gate_up.inputs(), &layer.ffn_norm);
            s.normalise(compute, inputs, (norm, eps), true);
            self.feed_forward(compute, layer, tokens, s);
        }
        compute.rows_mut(&mut s.hidden, width, |t, row| {
            add(row, &s.delta[t * width..][..width]);
        });

        let (isa, hidden) = (compute.isa(), &s.hidden);
        let normed = |t: usize, out: &mut [f32]| {
            rms_norm(isa, &hidden[t * width..][..width], &self.norm, eps, out);
        };
        norms.record_last(width, normed);
        let rows = (batch.logit_tokens.len(), width);
        s.x.fill(compute, self.output.inputs(), rows, |i, out| {
            normed(batch.logit_tokens[i] as usize, out);
        });
        self.output.forward(compute, &s.x, &mut result.logits);
        s.block_ids = block_ids;
    }

    /// Makes attention's contribution of the normalised `s.x`, in `s.delta`.
    fn attention(
        &self,
        compute: &Compute,
        layer: &Layer,
        kv: &mut KvMemory,
        rows: &Rows<'_>,
        tokens: usize,
        s: &mut Scratch,
    ) {
        let spec = &self.spec;
        let (dim, isa) = (spec.head_dim, compute.isa());
        let (q_width, kv_width) = (spec.q_width(), spec.kv_width());
        layer.qkv.forward(compute, &s.x, &mut s.qkv);

        let stride = layer.qkv.width();
        let pairs = self.rope.pairs();
        compute.rows_mut(&mut s.qkv, stride, |t, row| {
            let (cos, sin) = s.angles[t * 2 * pairs..][..2 * pairs].split_at(pairs);
            let (q, rest) = row.split_at_mut(q_width);
            for (part, norm) in [(q, &layer.q_norm), (&mut rest[..kv_width], &layer.k_norm)] {
                for head in part.chunks_exact_mut(dim) {
                    if let Some(weight) = norm {
                        rms_norm_in_place(isa, head, weight, spec.norm_eps);
                    }
                    rotate_halves(head, cos, sin);
                }
            }
        });

        let qkv = &s.qkv;
        let head = |t: usize, first: usize, h: usize| &qkv[t * stride + first + h * dim..][..dim];
        kv.store(
            compute,
            rows,
            |t, h| head(t, q_width, h),
            |t, h| head(t, q_width + kv_width, h),
        );
        let shape = AttentionShape {
            heads: spec.num_heads,
            scale: 1.0 / (dim as f32).sqrt(),
            window: layer.window,
            sinks: None,
        };
        s.attended.resize(tokens * q_width, 0.0);
        paged_attention(compute, &shape, kv, rows, (qkv, stride), &mut s.attended);
        let inputs = layer.attention_output.inputs();
        s.x.fill(compute, inputs, (tokens, q_width), |t, out| {
            out.copy_from_slice(&s.attended[t * q_width..][..q_width]);
        });
        layer.attention_output.forward(compute, &s.x, &mut s.delta);
    }

    /// Makes the feed-forward part's contribution of the normalised `s.x`, in `s.delta`.
    fn feed_forward(&self, compute: &Compute, layer: &Layer, tokens: usize, s: &mut Scratch) {
        let spec = &self.spec;
        let (ffn, isa) = (spec.ffn_size, compute.isa());
        layer.gate_up.forward(compute, &s.x, &mut s.gate_up);
        s.x.fill(compute, layer.down.inputs(), (tokens, ffn), |t, out| {
            let (gate, up) = s.gate_up[t * 2 * ffn..][..2 * ffn].split_at(ffn);
            silu_mul(isa, gate, up, out);
        });
        layer.down.forward(compute, &s.x, &mut s.delta);
    }
}

/// Hidden-state norms of the tokens that diagnostics ask for.
struct Norms<'a> {
    tokens: &'a [u32],
    layers: usize,
    out: &'a mut [f32],
}

impl<'a> Norms<'a> {
    fn new(batch: &'a Batch, layers: usize, out: &'a mut Vec<f32>) -> Self {
        out.clear();
        out.resize(batch.hidden_tokens.len() * (layers + 1), 0.0);
        Self {
            tokens: &batch.hidden_tokens,
            layers,
            out,
        }
    }

    /// Before layer `index`.
    fn record<'h>(&mut self, index: usize, hidden: impl Fn(usize) -> &'h [f32]) {
        for (i, &token) in self.tokens.iter().enumerate() {
            self.out[i * (self.layers + 1) + index] = l2(hidden(token as usize));
        }
    }

    /// After the final norm.
    fn record_last(&mut self, width: usize, normed: impl Fn(usize, &mut [f32])) {
        let mut row = vec![0.0; if self.tokens.is_empty() { 0 } else { width }];
        for (i, &token) in self.tokens.iter().enumerate() {
            normed(token as usize, &mut row);
            self.out[i * (self.layers + 1) + self.layers] = l2(&row);
        }
    }
}

fn l2(x: &[f32]) -> f32 {
    x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt() as f32
}
