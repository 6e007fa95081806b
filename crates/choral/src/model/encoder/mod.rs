//! Encoders: whole texts in, a vector for each of their tokens out.
//!
//! What [`Model`](super::Model) is to decoders. A text is in one step as a whole, and
//! its tokens see each other; layers have their norms behind their parts, as BERT has
//! them (Devlin et al., 2018). Rows are ragged and nothing is padded: a token's vector
//! depends on its text alone.

mod load;

use super::{Activation, Hyper, Key, Keys, ModelError, Names, Numeric};
use crate::arch::EncoderFamily;
use crate::engine::batch::BLOCK_TOKENS;
use crate::nn::{Adapted, Attention, AttentionScratch, Embedding, Mlp, MlpScratch, Norm, add};
use choral_formats::ModelFile;
use choral_kernels::Compute;
use choral_kernels::attention::{KvMemory, KvType, KvTypes, MAX_HEAD_DIM, Rows};
use choral_kernels::matmul::{Activations, Inputs};
use std::sync::Arc;

/// An encoder, as data. [`Encoder`] runs it.
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderSpec {
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream, and of the vectors.
    pub hidden_size: usize,
    /// Layers.
    pub num_layers: usize,
    /// Heads of attention.
    pub num_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Inner width of the feed-forward part.
    pub ffn_size: usize,
    /// Its nonlinearity.
    pub activation: Activation,
    /// Added to variances.
    pub norm_eps: f32,
    /// Tokens of the longest text.
    pub max_context: usize,
    /// Which of the learned positions is the first token's.
    pub first_position: usize,
    /// The family's names of tensors, by format.
    pub names: Names,
}

const POSITION_KIND: Key = Key::hf("position_embedding_type");
const EPS: Key = Key::new("layer_norm_eps", "attention.layer_norm_epsilon");
const CAUSAL: Key = Key::gguf("attention.causal");

/// No released model comes near; a header that says more is not to be believed.
const MAX_WIDTH: usize = 1 << 20;

impl EncoderSpec {
    /// Reads BERT's settings.
    ///
    /// # Errors
    /// If a setting is missing, of another type or not possible.
    pub fn read(hyper: &Hyper<'_>) -> Result<Self, ModelError> {
        const KEYS: Keys = Keys::LLAMA;
        let hidden_size = hyper.bounded(KEYS.hidden, 1..=MAX_WIDTH)?;
        let num_heads = hyper.bounded(KEYS.heads, 1..=hidden_size)?;
        let head_dim = hidden_size / num_heads;
        let is_possible = hidden_size.is_multiple_of(num_heads)
            && head_dim <= MAX_HEAD_DIM
            && head_dim.is_multiple_of(2);
        if !is_possible {
            let expected = format!(
                "a divisor of the width {hidden_size} into heads of an even size up to \
                 {MAX_HEAD_DIM}"
            );
            return Err(hyper.invalid(KEYS.heads, expected, num_heads));
        }
        // Older files have other kinds, whose attention has terms of its own.
        if let Some(kind) = hyper.hf_str(POSITION_KIND.hf)?
            && kind != "absolute"
        {
            return Err(hyper.invalid(POSITION_KIND, "absolute", kind));
        }
        if hyper.hf_bool("is_decoder", false)? {
            return Err(hyper.invalid(Key::hf("is_decoder"), false, true));
        }
        if hyper.gguf_bool(CAUSAL)? == Some(true) {
            return Err(hyper.invalid(CAUSAL, false, true));
        }
        Ok(Self {
            vocab_size: hyper.vocab_size()?,
            hidden_size,
            num_layers: hyper.bounded(KEYS.layers, 1..=hyper.tensor_count())?,
            num_heads,
            head_dim,
            ffn_size: hyper.bounded(KEYS.ffn, 1..=MAX_WIDTH)?,
            activation: hyper.activation()?.unwrap_or(Activation::Gelu),
            norm_eps: hyper.epsilon(EPS)?,
            max_context: hyper.bounded(KEYS.context, 1..=i32::MAX as usize)?,
            first_position: 0,
            names: hyper.names,
        })
    }

    /// Weights in the matrices that every token runs through.
    pub fn matrix_weights(&self) -> usize {
        let layer = self.hidden_size * (4 * self.hidden_size + 2 * self.ffn_size);
        self.num_layers * layer
    }

    /// Bytes of all weights of `file` packed for `numeric`.
    pub fn packed_weight_bytes(&self, file: &ModelFile, numeric: Numeric) -> u64 {
        load::packed_bytes(file, self, numeric)
    }

    /// Whether most weights of `file` are of quantised types that kernels multiply as
    /// they are.
    pub fn is_quantised(&self, file: &ModelFile) -> bool {
        load::is_quantised(file, self)
    }

    /// Bytes of activations, keys and values in a step of `tokens` tokens of `texts`
    /// texts.
    pub fn step_bytes(&self, tokens: usize, texts: usize) -> u64 {
        let (hidden, ffn) = (self.hidden_size, self.ffn_size);
        // Residual stream and what is added to it; q k v; attention's output; the inner
        // layer; and the inputs of three products, each padded.
        let inputs: usize = [hidden, hidden, ffn]
            .iter()
            .map(|n| n.next_multiple_of(32))
            .sum();
        let floats = 2 * hidden + 3 * hidden + hidden + ffn + inputs;
        let activations = (floats as u64)
            .saturating_mul(size_of::<f32>() as u64)
            .saturating_mul(tokens as u64);
        let block = KV.block_bytes(self.num_heads, self.head_dim) as u64;
        activations.saturating_add(block.saturating_mul(blocks(tokens, texts) as u64))
    }
}

/// Keys and values live for one layer of one step, so nothing is gained by rounding.
const KV: KvTypes = KvTypes {
    keys: KvType::F32,
    values: KvType::F32,
};

/// Most blocks that `tokens` tokens of `texts` texts fill.
fn blocks(tokens: usize, texts: usize) -> usize {
    (tokens / BLOCK_TOKENS).saturating_add(texts)
}

/// One layer.
#[derive(Debug)]
struct Layer {
    attention: Attention,
    attention_norm: Norm,
    mlp: Mlp,
    ffn_norm: Norm,
}

/// An encoder with its weights packed, ready to run.
#[derive(Debug)]
pub struct Encoder {
    family: &'static EncoderFamily,
    numeric: Numeric,
    spec: EncoderSpec,
    words: Embedding,
    positions: Embedding,
    /// What every token of a text has added, `[hidden]`: it is of the first kind.
    kind: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
}

/// Texts of one step, one behind the other.
#[derive(Debug, Default)]
pub struct EncoderStep {
    token_ids: Vec<u32>,
    positions: Vec<u32>,
    cu_tokens: Vec<u32>,
    first_blocks: Vec<u32>,
    cu_blocks: Vec<u32>,
    block_ids: Vec<u32>,
}

impl EncoderStep {
    /// Forgets all texts, and keeps the memory.
    pub fn clear(&mut self) {
        let vectors = [
            &mut self.token_ids,
            &mut self.positions,
            &mut self.cu_tokens,
            &mut self.first_blocks,
            &mut self.cu_blocks,
            &mut self.block_ids,
        ];
        vectors.into_iter().for_each(Vec::clear);
    }

    /// Adds a text, and returns which tokens of the step are its own.
    ///
    /// # Panics
    /// If it has no tokens.
    pub fn push(&mut self, token_ids: &[u32]) -> std::ops::Range<usize> {
        assert!(!token_ids.is_empty(), "a text of no tokens");
        if self.cu_tokens.is_empty() {
            self.cu_tokens.push(0);
            self.cu_blocks.push(0);
        }
        let first = self.token_ids.len();
        self.token_ids.extend(token_ids);
        self.positions.extend(0..token_ids.len() as u32);
        self.cu_tokens.push(self.token_ids.len() as u32);
        let block = self.block_ids.len() as u32;
        let needed = token_ids.len().div_ceil(BLOCK_TOKENS) as u32;
        self.first_blocks.push(0);
        self.block_ids.extend(block..block + needed);
        self.cu_blocks.push(block + needed);
        first..self.token_ids.len()
    }
}

/// Memory of one step, kept for the next. Empty at first; it grows to the largest step.
#[derive(Debug, Default)]
pub struct EncoderScratch {
    /// `[tokens, hidden]`.
    hidden: Vec<f32>,
    /// What is about to be added, `[tokens, hidden]`.
    delta: Vec<f32>,
    /// Input of the next part.
    x: Activations,
    attention: AttentionScratch,
    mlp: MlpScratch,
    /// No row: encoders have no adapters.
    adapted: Adapted,
    /// One layer's keys and values.
    kv: Option<KvMemory>,
}

impl Encoder {
    /// Loads the weights of an open file, packed for `numeric` by `compute`'s workers.
    /// `None` if the file is no encoder's.
    ///
    /// # Errors
    /// If a setting or tensor is missing or not what it must be.
    pub fn load(
        file: &Arc<ModelFile>,
        numeric: Numeric,
        compute: &Compute,
    ) -> Result<Option<Self>, ModelError> {
        let Some((family, hyper)) = Hyper::open_encoder(file)? else {
            return Ok(None);
        };
        let spec = (family.spec)(&hyper)?;
        load::load(file, family, spec, numeric, compute).map(Some)
    }

    /// What the model is made of.
    pub fn spec(&self) -> &EncoderSpec {
        &self.spec
    }

    /// Its family.
    pub fn family(&self) -> &'static EncoderFamily {
        self.family
    }

    /// Its arithmetic.
    pub fn numeric(&self) -> Numeric {
        self.numeric
    }

    /// Bytes of packed weights.
    pub fn weight_bytes(&self) -> usize {
        let layer = |l: &Layer| l.attention.bytes() + l.mlp.bytes();
        self.layers.iter().map(layer).sum()
    }

    /// Runs a step; returns the vectors of its tokens, `[tokens, hidden]`.
    ///
    /// # Errors
    /// If there is no memory for the step's keys and values.
    ///
    /// # Panics
    /// If a token is outside the vocabulary or a text longer than the context: the
    /// caller checks texts.
    pub fn forward<'s>(
        &self,
        compute: &Compute,
        step: &EncoderStep,
        s: &'s mut EncoderScratch,
    ) -> Result<&'s [f32], ModelError> {
        let longest = step.positions.iter().max().map_or(0, |&p| p as usize + 1);
        assert!(
            longest <= self.spec.max_context,
            "a text of {longest} tokens"
        );
        let rows = Rows {
            positions: &step.positions,
            cu_tokens: &step.cu_tokens,
            first_blocks: &step.first_blocks,
            cu_blocks: &step.cu_blocks,
            block_ids: &step.block_ids,
        };
        self.reserve(step.block_ids.len(), s)?;
        let EncoderScratch {
            hidden,
            delta,
            x,
            attention,
            mlp,
            adapted,
            kv,
        } = &mut *s;
        let kv = kv.as_mut().expect("it was reserved");
        self.embed(compute, step, hidden, delta);
        let first = self.layers.first().expect("a spec has layers");
        // The sum of a token's vectors, normalised.
        let (width, isa) = (self.spec.hidden_size, compute.isa());
        x.fill_changing(
            compute,
            first.attention.inputs(),
            width,
            (hidden.as_mut_slice(), width),
            |_, hidden, out| {
                self.norm.apply(isa, hidden, out);
                hidden.copy_from_slice(out);
            },
        );
        for (index, layer) in self.layers.iter().enumerate() {
            layer
                .attention
                .forward(compute, x, kv, (&rows, &[]), (attention, adapted), delta);
            add_and_normalise(
                compute,
                &layer.attention_norm,
                layer.mlp.inputs(),
                hidden,
                delta,
                x,
            );
            layer.mlp.forward(compute, x, adapted, mlp, delta);
            let next = self.layers.get(index + 1).unwrap_or(layer);
            add_and_normalise(
                compute,
                &layer.ffn_norm,
                next.attention.inputs(),
                hidden,
                delta,
                x,
            );
        }
        Ok(&s.hidden)
    }

    /// Memory for `blocks` blocks of one layer's keys and values.
    fn reserve(&self, blocks: usize, s: &mut EncoderScratch) -> Result<(), ModelError> {
        if s.kv.as_ref().is_some_and(|kv| kv.blocks() >= blocks) {
            return Ok(());
        }
        let (heads, dim) = (self.spec.num_heads, self.spec.head_dim);
        // The old one first: both need not fit.
        s.kv = None;
        s.kv = KvMemory::new(KV, blocks, heads, dim);
        if s.kv.is_some() {
            return Ok(());
        }
        let block = KV.block_bytes(heads, dim) as u64;
        Err(ModelError::NoMemory {
            what: "keys and values",
            bytes: block.saturating_mul(blocks as u64),
        })
    }

    /// Adds up the vectors of words, kind and positions.
    fn embed(
        &self,
        compute: &Compute,
        step: &EncoderStep,
        hidden: &mut Vec<f32>,
        delta: &mut Vec<f32>,
    ) {
        let (tokens, width) = (step.token_ids.len(), self.spec.hidden_size);
        hidden.resize(tokens * width, 0.0);
        delta.resize(tokens * width, 0.0);
        let (words, positions) = (self.words.rows(), self.positions.rows());
        let first = self.spec.first_position as u32;
        compute.rows_mut(delta, width, |t, row| {
            positions(first + step.positions[t], row);
        });
        let delta = &*delta;
        compute.rows_mut(hidden, width, |t, row| {
            words(step.token_ids[t], row);
            add(row, &self.kind);
            add(row, &delta[t * width..][..width]);
        });
    }
}

/// `hidden = norm(hidden + delta)`, and `x` the same as an input of products.
fn add_and_normalise(
    compute: &Compute,
    norm: &Norm,
    inputs: Inputs,
    hidden: &mut [f32],
    delta: &[f32],
    x: &mut Activations,
) {
    let (width, isa) = (norm.width(), compute.isa());
    x.fill_changing(compute, inputs, width, (hidden, width), |t, hidden, out| {
        add(hidden, &delta[t * width..][..width]);
        norm.apply(isa, hidden, out);
        hidden.copy_from_slice(out);
    });
}
