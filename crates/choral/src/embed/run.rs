//! Texts of tokens through a model, a vector for each token out.

use crate::engine::batch::{BLOCK_TOKENS, Batch, BlockId};
use crate::model::{Encoder, EncoderScratch, EncoderStep, KvBlocks, Model, ModelError, Scratch};
use choral_kernels::Compute;

/// Either kind of model, and the memory of its steps.
#[derive(Debug)]
pub(super) struct Runner {
    model: Reader,
    limits: Limits,
}

/// How much runs at once. What comes out does not depend on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Most texts in a step.
    pub(super) texts: usize,
    /// Most tokens in a step; one text alone may have more.
    pub(super) tokens: usize,
    /// Most blocks of keys and values at a time.
    pub(super) blocks: usize,
}

#[derive(Debug)]
enum Reader {
    Encoder(Box<EncoderReader>),
    Decoder(Box<DecoderReader>),
}

#[derive(Debug)]
struct EncoderReader {
    encoder: Encoder,
    step: EncoderStep,
    scratch: EncoderScratch,
}

#[derive(Debug)]
struct DecoderReader {
    model: Model,
    kv: KvBlocks,
    batch: Batch,
    scratch: Scratch,
    /// `[tokens, hidden]`.
    states: Vec<f32>,
}

/// Takes a piece of a text's vectors: which text, and `[tokens, width]`.
pub(super) type Sink<'a> = dyn FnMut(usize, &[f32]) + 'a;

impl Runner {
    pub(super) fn encoder(encoder: Encoder, limits: Limits) -> Self {
        let reader = EncoderReader {
            encoder,
            step: EncoderStep::default(),
            scratch: EncoderScratch::default(),
        };
        Self {
            model: Reader::Encoder(Box::new(reader)),
            limits,
        }
    }

    /// `kv` holds as many blocks as `limits` says, each of all layers.
    pub(super) fn decoder(model: Model, kv: KvBlocks, limits: Limits) -> Self {
        let reader = DecoderReader {
            model,
            kv,
            batch: Batch::default(),
            scratch: Scratch::default(),
            states: Vec::new(),
        };
        Self {
            model: Reader::Decoder(Box::new(reader)),
            limits,
        }
    }

    /// Bytes of packed weights.
    pub(super) fn weight_bytes(&self) -> usize {
        match &self.model {
            Reader::Encoder(reader) => reader.encoder.weight_bytes(),
            Reader::Decoder(reader) => reader.model.weight_bytes(),
        }
    }

    /// Runs all texts, none of them empty or too long; each text's vectors come to
    /// `sink` in order.
    pub(super) fn run(
        &mut self,
        compute: &Compute,
        texts: &[&[u32]],
        sink: &mut Sink<'_>,
    ) -> Result<(), ModelError> {
        let mut first = 0;
        while first < texts.len() {
            let count = self.limits.fitting(&texts[first..]);
            let group = &texts[first..first + count];
            let sink = &mut |i: usize, states: &[f32]| sink(first + i, states);
            match &mut self.model {
                Reader::Encoder(reader) => reader.run(compute, group, sink)?,
                Reader::Decoder(reader) => reader.run(compute, group, self.limits, sink),
            }
            first += count;
        }
        Ok(())
    }
}

impl Limits {
    /// How many of the texts, from the first on, run together; at least one.
    fn fitting(self, texts: &[&[u32]]) -> usize {
        let (mut tokens, mut blocks) = (0, 0);
        let fits = |text: &&&[u32]| {
            tokens += text.len();
            blocks += text.len().div_ceil(BLOCK_TOKENS);
            tokens <= self.tokens && blocks <= self.blocks
        };
        let count = texts.iter().take(self.texts).take_while(fits).count();
        count.max(1)
    }
}

impl EncoderReader {
    fn run(
        &mut self,
        compute: &Compute,
        texts: &[&[u32]],
        sink: &mut Sink<'_>,
    ) -> Result<(), ModelError> {
        self.step.clear();
        let ranges: Vec<_> = texts.iter().map(|text| self.step.push(text)).collect();
        let width = self.encoder.spec().hidden_size;
        let states = self
            .encoder
            .forward(compute, &self.step, &mut self.scratch)?;
        for (i, range) in ranges.into_iter().enumerate() {
            sink(i, &states[range.start * width..range.end * width]);
        }
        Ok(())
    }
}

impl DecoderReader {
    /// Goes through all tokens in steps of as many as the limits allow. A text that
    /// does not end in a step goes on in the next: what it has is kept in its blocks.
    fn run(&mut self, compute: &Compute, texts: &[&[u32]], limits: Limits, sink: &mut Sink<'_>) {
        let width = self.model.spec().hidden_size;
        let mut next_block = 0_u32;
        let tables: Vec<Vec<BlockId>> = texts
            .iter()
            .map(|text| {
                let first = next_block;
                next_block += text.len().div_ceil(BLOCK_TOKENS) as u32;
                (first..next_block).map(BlockId).collect()
            })
            .collect();
        let (mut text, mut position) = (0, 0);
        while text < texts.len() {
            self.batch.clear();
            let mut rows = Vec::new();
            while text < texts.len() && self.batch.token_ids.len() < limits.tokens {
                let room = limits.tokens - self.batch.token_ids.len();
                let end = texts[text].len().min(position + room);
                let blocks = &tables[text][..end.div_ceil(BLOCK_TOKENS)];
                let tokens = &texts[text][position..end];
                let first = self.batch.push_row([tokens, &[]], position);
                self.batch.tables[0].block_ids.extend(blocks);
                self.batch.tables[0].end_row(0);
                rows.push((text, first..first + tokens.len()));
                (text, position) = if end == texts[text].len() {
                    (text + 1, 0)
                } else {
                    (text, end)
                };
            }
            self.model.states(
                compute,
                &mut self.kv,
                &self.batch,
                &mut self.scratch,
                &mut self.states,
            );
            for (text, tokens) in rows {
                sink(text, &self.states[tokens.start * width..tokens.end * width]);
            }
        }
    }
}
