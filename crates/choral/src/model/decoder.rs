//! One step through a decoder: ragged rows in, logits out.
//!
//! Everything is computed per token, in an order that no other token has a part
//! in; only attention reads other positions, and those of its own sequence.

use super::{Adapter, DecoderSpec, KvBlocks, ModelError, Numeric, Placement, loader};
use crate::arch::Architecture;
use crate::engine::batch::{Batch, StepResult};
use crate::nn::{
    Adapted, Attention, AttentionScratch, Embedding, Linear, Mlp, MlpScratch, Moe, MoeScratch,
    Norm, Rope, add,
};
use crate::vision::ImageEmbedding;
use choral_formats::ModelFile;
use choral_kernels::Compute;
use choral_kernels::activation::softcap;
use choral_kernels::attention::Rows;
use choral_kernels::matmul::{Activations, Inputs};
use std::sync::Arc;

/// What follows attention.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one a layer")]
pub(super) enum FeedForward {
    Dense(Mlp),
    Experts(Moe),
}

/// One layer. Which norms there are is the spec's [`Placement`].
#[derive(Debug)]
pub(super) struct Layer {
    pub attention_norm: Option<Norm>,
    pub attention: Attention,
    pub post_attention_norm: Option<Norm>,
    pub ffn_norm: Option<Norm>,
    pub ffn: FeedForward,
    pub post_ffn_norm: Option<Norm>,
}

impl Layer {
    fn bytes(&self) -> usize {
        self.attention.bytes()
            + match &self.ffn {
                FeedForward::Dense(mlp) => mlp.bytes(),
                FeedForward::Experts(moe) => moe.bytes(),
            }
    }
}

/// A decoder with its weights packed, ready to run.
#[derive(Debug)]
pub struct Model {
    pub(super) architecture: &'static Architecture,
    pub(super) numeric: Numeric,
    pub(super) spec: DecoderSpec,
    pub(super) embedding: Embedding,
    pub(super) positions: Option<Embedding>,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: Norm,
    /// Not there in a model that was loaded for its states.
    pub(super) output: Option<Linear>,
    pub(super) ropes: Vec<Rope>,
    /// Names of the adapters, by index.
    pub(super) adapters: Vec<String>,
}

/// Memory of one step, kept for the next. Empty at first; it grows to the largest step.
#[derive(Debug, Default)]
pub struct Scratch {
    stream: Stream,
    attention: AttentionScratch,
    mlp: MlpScratch,
    moe: MoeScratch,
    adapted: Adapted,
    /// Input of the next part.
    x: Activations,
    /// The same for experts, `[tokens, hidden]`.
    normed: Vec<f32>,
    /// For each rotary embedding, `[tokens, 2 * pairs]` and the pairs.
    angles: Vec<(Vec<f32>, usize)>,
    /// `[groups]`: block tables.
    block_ids: Vec<Vec<u32>>,
}

/// The residual stream, and what is about to be added to it.
#[derive(Debug, Default)]
struct Stream {
    width: usize,
    /// Multiplies what parts add.
    scale: f32,
    /// `[tokens, hidden]`.
    hidden: Vec<f32>,
    /// What the last part adds, `[tokens, hidden]`.
    delta: Vec<f32>,
    /// What the part beside it adds, where parts stand beside each other.
    beside: Vec<f32>,
    /// Whether `delta` is still to be added.
    is_behind: bool,
}

impl Stream {
    /// Fills `x` with the normalised stream, which catches up on the way.
    fn normalise(
        &mut self,
        compute: &Compute,
        norm: Option<&Norm>,
        inputs: Inputs,
        x: &mut Activations,
    ) {
        let (width, scale, isa) = (self.width, self.scale, compute.isa());
        let delta = self.is_behind.then_some(&self.delta);
        let hidden = (self.hidden.as_mut_slice(), width);
        x.fill_changing(compute, inputs, width, hidden, |t, hidden, out| {
            if let Some(delta) = delta {
                add_scaled(hidden, &delta[t * width..][..width], scale);
            }
            match norm {
                Some(norm) => norm.apply(isa, hidden, out),
                None => out.copy_from_slice(hidden),
            }
        });
        self.is_behind = false;
    }

    /// Adds what is still to be added.
    fn catch_up(&mut self, compute: &Compute) {
        if !std::mem::take(&mut self.is_behind) {
            return;
        }
        let (width, scale, delta) = (self.width, self.scale, &self.delta);
        compute.rows_mut(&mut self.hidden, width, |t, row| {
            add_scaled(row, &delta[t * width..][..width], scale);
        });
    }

    /// Normalises what is about to be added.
    fn normalise_delta(&mut self, compute: &Compute, norm: Option<&Norm>) {
        if let Some(norm) = norm {
            compute.rows_mut(&mut self.delta, self.width, |_, row| {
                norm.apply_to_pieces(compute.isa(), row);
            });
        }
    }
}

/// The picture that token `t` of a step is of, and which of its tokens.
fn picture(batch: &Batch, t: usize) -> Option<(&ImageEmbedding, usize)> {
    let behind = batch
        .images
        .partition_point(|rows| rows.first_token as usize <= t);
    let rows = &batch.images[behind.checked_sub(1)?];
    let at = t - rows.first_token as usize;
    (at < rows.len as usize).then_some((&rows.image, rows.first_row as usize + at))
}

/// `a += scale * b`; a scale of 1 adds what is there.
fn add_scaled(a: &mut [f32], b: &[f32], scale: f32) {
    if scale == 1.0 {
        add(a, b);
    } else {
        for (a, b) in a.iter_mut().zip(b) {
            *a += scale * b;
        }
    }
}

impl Model {
    /// Loads the weights of an open file, packed for `numeric` by `compute`'s workers.
    ///
    /// `context` is the longest that a sequence may become (the model's own if not
    /// said): models with `LongRoPE` have other frequencies for long contexts.
    ///
    /// # Errors
    /// If the file's family is unknown, or a setting or tensor is missing or not
    /// what it must be.
    pub fn load(
        file: &Arc<ModelFile>,
        numeric: Numeric,
        context: Option<usize>,
        compute: &Compute,
    ) -> Result<Self, ModelError> {
        loader::load(file, numeric, context, &[], compute, true)
    }

    /// [`load`](Self::load), and adapters that rows of a batch may name by their index.
    ///
    /// # Errors
    /// As [`load`](Self::load), or if there is no memory for an adapter.
    pub fn load_with(
        file: &Arc<ModelFile>,
        numeric: Numeric,
        context: Option<usize>,
        adapters: &[Adapter],
        compute: &Compute,
    ) -> Result<Self, ModelError> {
        loader::load(file, numeric, context, adapters, compute, true)
    }

    /// [`load`](Self::load) without the output matrix: for [`states`](Self::states)
    /// alone, and of files too that have none.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_headless(
        file: &Arc<ModelFile>,
        numeric: Numeric,
        context: Option<usize>,
        compute: &Compute,
    ) -> Result<Self, ModelError> {
        loader::load(file, numeric, context, &[], compute, false)
    }

    /// Names of the adapters that it was loaded with.
    pub fn adapters(&self) -> &[String] {
        &self.adapters
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
        let output = self.output.as_ref().map_or(0, Linear::bytes);
        self.layers.iter().map(Layer::bytes).sum::<usize>() + output
    }

    /// Runs one step: stores the keys and values of the batch's tokens in `kv` and
    /// fills `result` with the logits (and norms) that the batch asks for.
    ///
    /// # Panics
    /// If a token is outside the vocabulary, a position that is seen has no block, or
    /// the batch's groups are not those of `kv`: the engine checks prompts and hands
    /// out blocks. If the model was loaded without its output matrix.
    pub fn forward(
        &self,
        compute: &Compute,
        kv: &mut KvBlocks,
        batch: &Batch,
        scratch: &mut Scratch,
        result: &mut StepResult,
    ) {
        let width = self.spec.hidden_size;
        let mut norms = Norms::new(batch, self.spec.num_layers, &mut result.hidden_l2);
        let s = scratch;
        self.run(compute, kv, batch, s, &mut norms);

        let (isa, hidden) = (compute.isa(), &s.stream.hidden);
        let normed = |t: usize, out: &mut [f32]| {
            self.norm.apply(isa, &hidden[t * width..][..width], out);
        };
        norms.record_last(width, normed);
        let shape = (batch.logit_tokens.len(), width);
        let output = self.output.as_ref().expect("loaded with its output matrix");
        s.x.fill(compute, output.inputs(), shape, |i, out| {
            normed(batch.logit_tokens[i] as usize, out);
        });
        let adapted = &mut s.adapted;
        output.forward(compute, &s.x, adapted, &mut result.logits);
        self.shape_logits(compute, &mut result.logits);
    }

    /// Runs one step as [`forward`](Self::forward) does, but fills `states` with the
    /// output of the final norm, `[tokens, hidden]`, in place of logits.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn states(
        &self,
        compute: &Compute,
        kv: &mut KvBlocks,
        batch: &Batch,
        scratch: &mut Scratch,
        states: &mut Vec<f32>,
    ) {
        let mut nothing = Vec::new();
        let mut norms = Norms::new(batch, self.spec.num_layers, &mut nothing);
        self.run(compute, kv, batch, scratch, &mut norms);
        let (width, isa) = (self.spec.hidden_size, compute.isa());
        let hidden = &scratch.stream.hidden;
        states.resize(hidden.len(), 0.0);
        compute.rows_mut(states, width, |t, out| {
            self.norm.apply(isa, &hidden[t * width..][..width], out);
        });
    }

    /// Runs all layers: leaves what the last one makes in the stream.
    fn run(
        &self,
        compute: &Compute,
        kv: &mut KvBlocks,
        batch: &Batch,
        s: &mut Scratch,
        norms: &mut Norms<'_>,
    ) {
        let width = self.spec.hidden_size;
        let groups = kv.layout().num_groups();
        assert_eq!(batch.tables.len(), groups, "groups of layers");
        let mut block_ids = std::mem::take(&mut s.block_ids);
        block_ids.resize_with(groups, Vec::new);
        for (ids, table) in block_ids.iter_mut().zip(&batch.tables) {
            ids.clear();
            ids.reserve(table.block_ids.capacity());
            ids.extend(table.block_ids.iter().map(|block| block.0));
        }
        let rows = |group: usize| Rows {
            positions: &batch.positions,
            cu_tokens: &batch.cu_tokens,
            first_blocks: &batch.tables[group].first_blocks,
            cu_blocks: &batch.tables[group].cu_blocks,
            block_ids: &block_ids[group],
        };
        s.adapted.begin(batch);
        self.embed(compute, batch, s);
        for (index, layer) in self.layers.iter().enumerate() {
            let (group, kv) = kv.layer(index);
            let rows = rows(group);
            let (stream, inputs) = (&mut s.stream, layer.attention.inputs());
            stream.normalise(compute, layer.attention_norm.as_ref(), inputs, &mut s.x);
            norms.record(index, |t| &stream.hidden[t * width..(t + 1) * width]);
            let seen = (&rows, s.angles.as_slice());
            let attention = &layer.attention;
            let scratch = (&mut s.attention, &mut s.adapted);
            attention.forward(compute, &s.x, kv, seen, scratch, &mut stream.delta);
            stream.normalise_delta(compute, layer.post_attention_norm.as_ref());
            if self.spec.placement == Placement::Parallel {
                // The feed-forward part sees the stream as attention saw it.
                std::mem::swap(&mut stream.delta, &mut stream.beside);
                Self::feed_forward(compute, layer, layer.attention_norm.as_ref(), s);
                let (stream, beside) = (&mut s.stream.delta, &s.stream.beside);
                compute.rows_mut(stream, width, |t, row| {
                    add(row, &beside[t * width..][..width]);
                });
            } else {
                stream.is_behind = true;
                Self::feed_forward(compute, layer, layer.ffn_norm.as_ref(), s);
            }
            s.stream
                .normalise_delta(compute, layer.post_ffn_norm.as_ref());
            s.stream.is_behind = true;
        }
        s.stream.catch_up(compute);
        s.block_ids = block_ids;
    }

    /// Starts the residual stream with the tokens' embeddings, and computes angles.
    fn embed(&self, compute: &Compute, batch: &Batch, s: &mut Scratch) {
        let (tokens, width) = (batch.token_ids.len(), self.spec.hidden_size);
        let stream = &mut s.stream;
        stream.width = width;
        stream.scale = self.spec.residual_scale;
        stream.is_behind = false;
        stream.hidden.resize(tokens * width, 0.0);
        let (embed, scale) = (self.embedding.rows(), self.spec.embedding_scale);
        compute.rows_mut(&mut stream.hidden, width, |t, row| {
            if let Some((image, token)) = picture(batch, t) {
                return image.copy_token(token, row);
            }
            embed(batch.token_ids[t], row);
            if scale != 1.0 {
                for x in row.iter_mut() {
                    *x *= scale;
                }
            }
        });
        if let Some(positions) = &self.positions {
            let at = positions.rows();
            stream.delta.resize(tokens * width, 0.0);
            compute.rows_mut(&mut stream.delta, width, |t, row| {
                at(batch.positions[t], row);
            });
            let delta = &stream.delta;
            compute.rows_mut(&mut stream.hidden, width, |t, row| {
                add(row, &delta[t * width..][..width]);
            });
        }
        s.angles.resize_with(self.ropes.len(), Default::default);
        for (rope, (angles, pairs)) in self.ropes.iter().zip(&mut s.angles) {
            *pairs = rope.pairs();
            angles.resize(tokens * 2 * rope.pairs(), 0.0);
            compute.rows_mut(angles, 2 * rope.pairs(), |t, row| {
                rope.angles(batch.turns[t], row);
            });
        }
    }

    /// Leaves the feed-forward part's contribution in the stream's `delta`.
    fn feed_forward(compute: &Compute, layer: &Layer, norm: Option<&Norm>, s: &mut Scratch) {
        match &layer.ffn {
            FeedForward::Dense(mlp) => {
                s.stream.normalise(compute, norm, mlp.inputs(), &mut s.x);
                let (adapted, delta) = (&mut s.adapted, &mut s.stream.delta);
                mlp.forward(compute, &s.x, adapted, &mut s.mlp, delta);
            }
            FeedForward::Experts(moe) => {
                s.stream.catch_up(compute);
                let (isa, width) = (compute.isa(), s.stream.width);
                let hidden = &s.stream.hidden;
                s.normed.resize(hidden.len(), 0.0);
                compute.rows_mut(&mut s.normed, width, |t, out| {
                    let row = &hidden[t * width..][..width];
                    match norm {
                        Some(norm) => norm.apply(isa, row, out),
                        None => out.copy_from_slice(row),
                    }
                });
                let rows = (s.normed.as_slice(), width);
                let (adapted, delta) = (&mut s.adapted, &mut s.stream.delta);
                moe.forward(compute, rows, adapted, &mut s.moe, delta);
            }
        }
    }

    /// Scales and caps logits, where the model does.
    fn shape_logits(&self, compute: &Compute, logits: &mut [f32]) {
        let (scale, cap) = (self.spec.logit_scale, self.spec.logit_softcap);
        if scale == 1.0 && cap.is_none() {
            return;
        }
        compute.rows_mut(logits, self.spec.vocab_size, |_, row| {
            if scale != 1.0 {
                for x in row.iter_mut() {
                    *x *= scale;
                }
            }
            if let Some(cap) = cap {
                softcap(compute.isa(), cap, row);
            }
        });
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
