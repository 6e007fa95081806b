//! How much memory a model takes, and how an engine shares out what there is.
//!
//! Arithmetic only: from a [`DecoderSpec`] and a number of bytes to an
//! [`EnginePlan`]. Reads no file and no machine (see [`crate::machine`]), and
//! allocates nothing, so a model can be planned for without its weights.

use super::{DecoderSpec, KvLayout, KvType, KvTypes, LayerSpec, ModelError, Numeric, loader};
use crate::engine::batch::BLOCK_TOKENS;
use crate::engine::{DEFAULT_BATCHED_TOKENS, DEFAULT_SEQS, EngineConfig};
use crate::kv::KvNeeds;
use choral_formats::ModelFile;
use choral_kernels::matmul::PackedMatrix;
use std::iter;

/// A running sequence is taken to need at least this many tokens: with room for
/// fewer, starting it would only push another one out.
const TOKENS_OF_A_SEQUENCE: usize = 256;

/// What a caller fixes; the rest is planned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// Tokens of the longest sequence, prompt included; `None`: as many as the
    /// model was made for and the memory holds.
    pub context: Option<usize>,
    /// Take a context that is longer than the model was made for: positions that
    /// it has never seen, at the caller's risk.
    pub beyond_trained_context: bool,
    /// Most sequences in a step.
    pub max_num_seqs: Option<usize>,
    /// Where that is `None`: as many sequences in a step as the memory holds, up to so
    /// many, which may be any number; `None`: up to a usual one.
    pub wanted_num_seqs: Option<usize>,
    /// Most tokens in a step.
    pub max_num_batched_tokens: Option<usize>,
    /// Most tokens of one sequence in a step; `None`: all of a step.
    pub prefill_chunk: Option<usize>,
    /// Bytes for keys and values; `None`: half of what weights and steps leave,
    /// and no more than could ever be used.
    pub kv_bytes: Option<u64>,
    /// What keys are kept as; `None`: as the numeric says.
    pub key_type: Option<KvType>,
    /// What values are kept as; `None`: as the numeric says.
    pub value_type: Option<KvType>,
    /// Bytes of an encoder of pictures, packed, and of its steps; they count as weights.
    pub encoder_bytes: u64,
    /// Bytes of adapters, packed; they count as weights.
    pub adapter_bytes: u64,
    /// Floats that a token of a step needs for them.
    pub adapter_floats: usize,
}

impl PlanOptions {
    /// What keys and values are kept as in `numeric`.
    pub fn kv_types(&self, numeric: Numeric) -> KvTypes {
        let own = numeric.kv_types();
        KvTypes {
            keys: self.key_type.unwrap_or(own.keys),
            values: self.value_type.unwrap_or(own.values),
        }
    }
}

/// What an engine will take and how it will share it out. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnginePlan {
    /// The arithmetic.
    pub numeric: Numeric,
    /// Packed weights, those of adapters and of an encoder of pictures among them.
    pub weight_bytes: u64,
    /// Activations and logits of the largest step.
    pub step_bytes: u64,
    /// What keys and values are kept as.
    pub kv_types: KvTypes,
    /// Which layers share a block.
    pub kv_layout: KvLayout,
    /// One block of keys and values: [`BLOCK_TOKENS`] positions of one group of layers.
    pub kv_block_bytes: u64,
    /// Blocks.
    pub num_kv_blocks: usize,
    /// Tokens of the longest sequence, prompt included; it fits in the blocks.
    pub context: usize,
    /// The memory, not the model, set `context`.
    pub context_cut_to_memory: bool,
    /// Most sequences in a step.
    pub max_num_seqs: usize,
    /// Most tokens in a step; at least `max_num_seqs`.
    pub max_num_batched_tokens: usize,
    /// Most tokens of one sequence in a step.
    pub prefill_chunk: usize,
}

impl EnginePlan {
    /// Bytes of all blocks.
    pub fn kv_bytes(&self) -> u64 {
        self.kv_block_bytes
            .saturating_mul(self.num_kv_blocks as u64)
    }

    /// Positions that all blocks hold, of sequences as long as the context. (Of shorter
    /// ones they hold fewer, where layers have windows.)
    pub fn kv_tokens(&self) -> usize {
        let each = self.blocks_of(self.context).max(1);
        let (num_whole, rest) = (self.num_kv_blocks / each, self.num_kv_blocks % each);
        let tokens = self.context.next_multiple_of(BLOCK_TOKENS);
        let rest = self.needs().tokens_in(rest, self.context);
        num_whole.saturating_mul(tokens).saturating_add(rest)
    }

    /// The most blocks that a sequence of `tokens` tokens holds at a time.
    pub fn blocks_of(&self, tokens: usize) -> usize {
        self.needs().blocks(tokens)
    }

    fn needs(&self) -> KvNeeds {
        needs(
            &self.kv_layout,
            self.prefill_chunk,
            self.max_num_batched_tokens,
        )
    }

    /// Weights, steps, keys and values together.
    pub fn total_bytes(&self) -> u64 {
        self.weight_bytes
            .saturating_add(self.step_bytes)
            .saturating_add(self.kv_bytes())
    }

    /// How many sequences of `tokens` tokens have room at the same time.
    pub fn sequences_of(&self, tokens: usize) -> usize {
        self.num_kv_blocks / self.blocks_of(tokens).max(1)
    }
}

/// What sequences need, in an engine of those limits.
fn needs(layout: &KvLayout, prefill_chunk: usize, batched_tokens: usize) -> KvNeeds {
    KvNeeds::new(layout.kinds().to_vec(), prefill_chunk.min(batched_tokens))
}

impl DecoderSpec {
    /// Bytes of all weights of `file` packed for `numeric`, as
    /// [`Model::weight_bytes`](super::Model::weight_bytes) counts them.
    ///
    /// # Errors
    /// If the file says in no known way how its matrices are stored.
    pub fn packed_weight_bytes(
        &self,
        file: &ModelFile,
        numeric: Numeric,
    ) -> Result<u64, ModelError> {
        loader::packed_bytes(file, self, numeric)
    }

    /// The same for a file of floats.
    pub fn float_weight_bytes(&self, numeric: Numeric) -> u64 {
        let shapes = loader::shapes(self);
        let bytes = |[n, k]: [usize; 2]| PackedMatrix::float_bytes(numeric.element(), n, k) as u64;
        shapes.map(bytes).fold(0, u64::saturating_add)
    }

    /// Bytes of one token's keys and values over all layers, without padding.
    pub fn kv_token_bytes(&self, types: KvTypes) -> u64 {
        let layer = types.position_bytes(self.num_kv_heads, self.head_dim);
        (self.num_layers as u64).saturating_mul(layer as u64)
    }

    /// Bytes of the keys and values that a sequence of `tokens` tokens keeps at a time,
    /// without padding, when it runs up to `step_tokens` of them in a step: a layer with
    /// a window keeps what a step's tokens see.
    pub fn kv_sequence_bytes(&self, types: KvTypes, tokens: usize, step_tokens: usize) -> u64 {
        let kept = |layer: &LayerSpec| match layer.window {
            None => tokens,
            Some(window) => tokens.min(window.saturating_add(step_tokens).saturating_sub(1)),
        };
        let positions = self.layers.iter().map(|layer| kept(layer) as u64);
        let position = types.position_bytes(self.num_kv_heads, self.head_dim) as u64;
        positions
            .fold(0, u64::saturating_add)
            .saturating_mul(position)
    }

    /// Bytes of [`BLOCK_TOKENS`] positions of all layers, as they lie in memory.
    pub fn kv_block_bytes(&self, types: KvTypes) -> u64 {
        let layer = types.block_bytes(self.num_kv_heads, self.head_dim);
        (self.num_layers as u64).saturating_mul(layer as u64)
    }

    /// Bytes of activations in a step of `tokens` tokens, and of `logit_rows` rows
    /// of logits.
    pub fn step_bytes(&self, tokens: usize, logit_rows: usize) -> u64 {
        let (hidden, q, kv) = (self.hidden_size, self.q_width(), self.kv_width());
        let ffn = self.ffn.size;
        // Inputs of products (of a part, of attention's output, of a feed-forward
        // part's), each padded.
        let inputs: usize = [hidden, q, ffn]
            .map(|n| n.next_multiple_of(32))
            .iter()
            .sum();
        let angles: usize = self.ropes.iter().map(|rope| rope.dim).sum();
        // Residual stream and what is added to it, q k v, attention's output, gate
        // and up.
        let mut floats = inputs + 3 * hidden + (q + 2 * kv) + q + 2 * ffn + angles;
        if let Some(moe) = &self.moe {
            // Normalised rows, router, what the chosen experts say.
            floats += (2 + moe.num_chosen) * hidden + moe.num_experts;
        }
        let product = |a: usize, b: usize| (a as u64).saturating_mul(b as u64);
        let all = product(floats, tokens).saturating_add(product(self.vocab_size, logit_rows));
        all.saturating_mul(size_of::<f32>() as u64)
    }

    /// Bytes of a step with a row of logits for every sequence, and as many more
    /// for prompts as an engine computes at a time.
    fn largest_step(&self, tokens: usize, seqs: usize, options: &PlanOptions) -> u64 {
        let prompt_rows = EngineConfig::default().max_prompt_logit_rows;
        let adapters = (options.adapter_floats as u64)
            .saturating_mul(tokens as u64)
            .saturating_mul(size_of::<f32>() as u64);
        self.step_bytes(tokens, tokens.min(seqs.saturating_add(prompt_rows)))
            .saturating_add(adapters)
    }

    /// Shares out `memory` bytes between weights (`weight_bytes` of them, see
    /// [`packed_weight_bytes`](Self::packed_weight_bytes)), steps, and keys and values.
    ///
    /// # Errors
    /// If weights, steps, or keys and values do not fit, if a limit that was asked for
    /// makes no sense, or if there is no room for one sequence of the context asked
    /// for.
    pub fn plan(
        &self,
        numeric: Numeric,
        weight_bytes: u64,
        options: &PlanOptions,
        memory: u64,
    ) -> Result<EnginePlan, ModelError> {
        let Some(wanted) = options.wanted_num_seqs else {
            return self.plan_once(numeric, weight_bytes, options, memory);
        };
        let up_to = |wanted: usize| {
            let options = PlanOptions {
                wanted_num_seqs: Some(wanted),
                ..*options
            };
            self.plan_once(numeric, weight_bytes, &options, memory)
        };
        let usual = up_to(wanted.min(DEFAULT_SEQS))?;
        // Wider steps leave less for keys and values: no sequence is to be refused for it.
        let fewer = iter::successors(Some(wanted), |wanted| Some(wanted / 2));
        let wider = fewer.take_while(|&wanted| wanted > DEFAULT_SEQS).map(up_to);
        let fits = |plan: &EnginePlan| {
            plan.context == usual.context && plan.max_num_seqs >= usual.max_num_seqs
        };
        Ok(wider.flatten().find(fits).unwrap_or(usual))
    }

    fn plan_once(
        &self,
        numeric: Numeric,
        weight_bytes: u64,
        options: &PlanOptions,
        memory: u64,
    ) -> Result<EnginePlan, ModelError> {
        let weight_bytes = weight_bytes
            .saturating_add(options.adapter_bytes)
            .saturating_add(options.encoder_bytes);
        let left = memory.checked_sub(weight_bytes);
        let left = left.ok_or(ModelError::WeightMemory {
            needed: weight_bytes,
            numeric,
            left: memory,
        })?;
        let most = if options.beyond_trained_context {
            i32::MAX as usize
        } else {
            self.max_context
        };
        if let Some(asked) = options.context
            && !(1..=most).contains(&asked)
        {
            return Err(ModelError::Context { asked, most });
        }
        let context = options.context.unwrap_or(self.max_context);
        let kv_types = options.kv_types(numeric);
        let kv_layout = KvLayout::new(self, context);
        let kv_block_bytes = kv_layout.block_bytes(self, kv_types);
        // More could not run, if there were nothing but keys and values.
        let sequence_bytes = kv_block_bytes
            .saturating_mul(TOKENS_OF_A_SEQUENCE.min(context).div_ceil(BLOCK_TOKENS) as u64);
        let most_seqs = usize::try_from(left / sequence_bytes.max(1)).unwrap_or(usize::MAX);
        let (mut max_num_seqs, max_num_batched_tokens) =
            self.step_limits(options, most_seqs, left)?;
        let step_bytes = self.largest_step(max_num_batched_tokens, max_num_seqs, options);

        let prefill_chunk = options.prefill_chunk.unwrap_or(max_num_batched_tokens);
        let needs = needs(&kv_layout, prefill_chunk, max_num_batched_tokens);
        let spare = left.checked_sub(step_bytes);
        let spare = spare.ok_or(ModelError::StepMemory {
            needed: step_bytes,
            tokens: max_num_batched_tokens,
            sequences: max_num_seqs,
            left,
        })?;
        let kv_bytes = options.kv_bytes.unwrap_or(spare / 2);
        let useful = max_num_seqs.saturating_mul(needs.blocks(context));
        let most = useful.min(u32::MAX as usize);
        let num_kv_blocks = (kv_bytes / kv_block_bytes).min(most as u64) as usize;

        let longest = needs.tokens_in(num_kv_blocks, context);
        let needed = options.context.unwrap_or(BLOCK_TOKENS.min(context));
        if longest < needed {
            return Err(ModelError::KvBudget {
                budget: kv_bytes,
                found: longest,
                needed,
            });
        }
        let needed = kv_block_bytes.saturating_mul(num_kv_blocks as u64);
        if needed > spare {
            return Err(ModelError::KvMemory {
                needed,
                left: spare,
            });
        }
        if options.max_num_seqs.is_none() {
            let fit = num_kv_blocks / needs.blocks(longest.min(TOKENS_OF_A_SEQUENCE));
            max_num_seqs = max_num_seqs.min(fit.max(1));
        }
        Ok(EnginePlan {
            numeric,
            weight_bytes,
            step_bytes,
            kv_types,
            kv_layout,
            kv_block_bytes,
            num_kv_blocks,
            context: longest,
            context_cut_to_memory: longest < context,
            max_num_seqs,
            max_num_batched_tokens,
            prefill_chunk,
        })
    }

    /// Sequences and tokens of a step: as asked for, or as many as keep a step in
    /// a quarter of what the weights leave. No more than `most_seqs` sequences unasked.
    fn step_limits(
        &self,
        options: &PlanOptions,
        most_seqs: usize,
        left: u64,
    ) -> Result<(usize, usize), ModelError> {
        let limit = |name, expected: String, found| ModelError::Limit {
            name,
            expected,
            found,
        };
        let (seqs, tokens) = (options.max_num_seqs, options.max_num_batched_tokens);
        // Positions are 32 bits wide, and signed in some formats.
        let most = i32::MAX as usize;
        for (name, asked) in [
            ("max_num_seqs", seqs),
            ("max_num_batched_tokens", tokens),
            ("prefill_chunk", options.prefill_chunk),
        ] {
            if let Some(found) = asked.filter(|n| !(1..=most).contains(n)) {
                return Err(limit(name, format!("1 to {most}"), found));
            }
        }
        let least = seqs.unwrap_or(1);
        if let Some(found) = tokens.filter(|&n| n < least) {
            let expected = format!("at least {least}, a token for each sequence");
            return Err(limit("max_num_batched_tokens", expected, found));
        }
        let asked_seqs = seqs;
        let wanted = match options.wanted_num_seqs {
            Some(wanted) => wanted.min(most_seqs).clamp(1, most),
            None => DEFAULT_SEQS,
        };
        let seqs = |tokens| asked_seqs.unwrap_or(wanted.min(tokens));
        let tokens = tokens.unwrap_or_else(|| {
            let mut tokens = DEFAULT_BATCHED_TOKENS.max(asked_seqs.unwrap_or(wanted));
            while tokens / 2 >= least.max(BLOCK_TOKENS)
                && self.largest_step(tokens, seqs(tokens), options) > left / 4
            {
                tokens /= 2;
            }
            tokens
        });
        Ok((seqs(tokens), tokens))
    }
}

#[cfg(test)]
mod tests;
