//! Generation by hand: a model, one sequence's cache, and a loop of one's own.
//!
//! The [`Engine`](crate::Engine) does all of this for many sequences at once, and
//! is what a program should use. These parts are for whoever wants to look at
//! logits between tokens, or to try another way of choosing them.
//!
//! ```no_run
//! use choral::manual::{Decoder, KvCacheConfig};
//! use choral::sampling::{Rng, SamplingStrategy, sample_token};
//!
//! let decoder = Decoder::open("model.gguf")?;
//! let mut cache = decoder.new_cache(&KvCacheConfig { max_seq_len: 512 })?;
//! let mut rng = Rng::new(42);
//! let mut tokens = vec![1, 15043];
//! for _ in 0..32 {
//!     let position = cache.current_position();
//!     let logits = decoder.forward_with_cache(&tokens[position..], position, &mut cache)?;
//!     tokens.push(sample_token(&logits, &SamplingStrategy::TopP { p: 0.9 }, &mut rng)?);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::demo;
use crate::engine::batch::{BLOCK_TOKENS, Batch, BlockId, StepResult};
use crate::machine::Machine;
use crate::model::{Hyper, KvBlocks, KvLayout, KvTypes, Model, ModelError, Numeric, Scratch};
use crate::sampling::{Rng, SampleError, SamplingStrategy, sample_token};
use crate::text::{Tokenizer, TokenizerError};
use choral_formats::{Gguf, ModelFile};
use choral_kernels::{Compute, Isa, IsaError};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// How long a sequence a [`KvCache`] holds. The rest of its shape is the model's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvCacheConfig {
    /// Positions.
    pub max_seq_len: usize,
}

/// Keys and values of one sequence, all of them: it may go back as far as it likes.
#[derive(Debug)]
pub struct KvCache {
    config: KvCacheConfig,
    shape: CacheShape,
    memory: KvBlocks,
    position: usize,
}

/// What a model and a cache must have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheShape {
    /// Layers.
    pub layers: usize,
    /// Heads of keys and values in a layer.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// What elements are kept as.
    pub types: KvTypes,
}

impl CacheShape {
    fn of(model: &Model) -> Self {
        let spec = model.spec();
        Self {
            layers: spec.num_layers,
            kv_heads: spec.num_kv_heads,
            head_dim: spec.head_dim,
            types: model.numeric().kv_types(),
        }
    }
}

impl KvCache {
    /// How many positions are filled; the next token's position.
    pub fn current_position(&self) -> usize {
        self.position
    }

    /// How it was made.
    pub fn config(&self) -> KvCacheConfig {
        self.config
    }

    /// Forgets everything: the next token is the first.
    pub fn clear(&mut self) {
        self.position = 0;
    }

    /// Forgets what lies at `position` and beyond.
    ///
    /// # Errors
    /// If that is beyond what is filled.
    pub fn truncate(&mut self, position: usize) -> Result<(), ManualError> {
        if position > self.position {
            return Err(ManualError::PositionOutOfBounds {
                position,
                filled: self.position,
                max_seq_len: self.config.max_seq_len,
            });
        }
        self.position = position;
        Ok(())
    }
}

/// What a caller by hand can get wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManualError {
    /// The tokens do not fit behind what the cache holds.
    #[error(
        "cache position out of bounds: position {position} asked for, {filled} of {max_seq_len} are filled"
    )]
    PositionOutOfBounds {
        /// The (last) position asked for.
        position: usize,
        /// Positions filled.
        filled: usize,
        /// Positions that there are.
        max_seq_len: usize,
    },
    /// A token that the model does not have.
    #[error("token {token} is outside the vocabulary of {vocab_size}")]
    UnknownToken {
        /// The token.
        token: u32,
        /// Rows of the embedding.
        vocab_size: usize,
    },
    /// A forward pass of no tokens.
    #[error("no tokens to run")]
    NoTokens,
    /// The cache belongs to a model of another shape.
    #[error("the cache is of another model: it has {found:?}, expected {expected:?}")]
    ForeignCache {
        /// The model's shape.
        expected: CacheShape,
        /// The cache's.
        found: CacheShape,
    },
    /// The instruction set that was asked for.
    #[error("CHORAL_ISA: {0}")]
    Isa(#[from] IsaError),
    /// No token could be chosen.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// The model could not be loaded, or there is no memory for a cache.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// One token of [`Decoder::generate`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GeneratedToken {
    /// The token.
    pub token_id: u32,
    /// Its logit.
    pub logit: f32,
    /// It is one of the model's end tokens.
    pub is_end: bool,
}

/// A model and the workers that compute it.
#[derive(Debug)]
pub struct Decoder {
    file: Arc<ModelFile>,
    model: Arc<Model>,
    compute: Compute,
    scratch: Mutex<Scratch>,
}

impl Decoder {
    /// Loads a GGUF file or a Hugging Face directory in [its default
    /// numeric](Numeric::default_for).
    ///
    /// # Errors
    /// If it cannot be loaded.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ManualError> {
        let file = ModelFile::open(path).map_err(ModelError::from)?;
        Self::load(file, None)
    }

    /// Loads the small model that ships with choral.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn demo() -> Result<Self, ManualError> {
        let file = Gguf::from_bytes(demo::NAME, demo::MODEL).map_err(ModelError::from)?;
        Self::load(ModelFile::Gguf(file), None)
    }

    /// Loads an open file, in [its default numeric](Numeric::default_for) unless said,
    /// for the best instruction set that the CPU has or the one that `CHORAL_ISA`
    /// names.
    ///
    /// # Errors
    /// If the file is not a model that choral runs, or the CPU has no such set.
    pub fn load(file: ModelFile, numeric: Option<Numeric>) -> Result<Self, ManualError> {
        let (architecture, hyper) = Hyper::open(&file)?;
        let spec = (architecture.spec)(&hyper)?;
        let default = || Numeric::default_for(&file, &spec);
        let numeric = numeric.map_or_else(default, Ok)?;
        let threads = Machine::here().compute_threads();
        let compute = Compute::try_new(Isa::from_env()?, threads)
            .map_err(|source| ModelError::Threads { threads, source })?;
        let file = Arc::new(file);
        let model = Arc::new(Model::load(&file, numeric, None, &compute)?);
        let scratch = Mutex::new(Scratch::default());
        Ok(Self {
            file,
            model,
            compute,
            scratch,
        })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Loads the model's tokenizer.
    ///
    /// # Errors
    /// If the model has none, or a broken one.
    pub fn tokenizer(&self) -> Result<Tokenizer, TokenizerError> {
        Tokenizer::from_file(&self.file)
    }

    /// An empty cache of that length.
    ///
    /// # Errors
    /// If it is longer than the model's context, or there is no memory for it.
    pub fn new_cache(&self, config: &KvCacheConfig) -> Result<KvCache, ModelError> {
        let most = self.model.spec().max_context;
        if !(1..=most).contains(&config.max_seq_len) {
            let asked = config.max_seq_len;
            return Err(ModelError::Context { asked, most });
        }
        let blocks = config.max_seq_len.div_ceil(BLOCK_TOKENS);
        let spec = self.model.spec();
        let types = self.model.numeric().kv_types();
        let memory = KvBlocks::new(spec, KvLayout::whole(spec), types, blocks)?;
        Ok(KvCache {
            config: *config,
            shape: CacheShape::of(&self.model),
            memory,
            position: 0,
        })
    }

    /// Runs `tokens` from `position` on, behind what the cache holds, and returns the
    /// logits after the last one, `[vocab]`. Positions from `position` on that were
    /// filled before are overwritten.
    ///
    /// # Errors
    /// If the tokens do not fit, there are none, or one is outside the vocabulary.
    pub fn forward_with_cache(
        &self,
        tokens: &[u32],
        position: usize,
        cache: &mut KvCache,
    ) -> Result<Vec<f32>, ManualError> {
        let vocab_size = self.model.spec().vocab_size;
        let end = position.saturating_add(tokens.len());
        if position > cache.position || end > cache.config.max_seq_len {
            return Err(ManualError::PositionOutOfBounds {
                position: if position > cache.position {
                    position
                } else {
                    end - 1
                },
                filled: cache.position,
                max_seq_len: cache.config.max_seq_len,
            });
        }
        let last = tokens.len().checked_sub(1).ok_or(ManualError::NoTokens)?;
        if let Some(&token) = tokens.iter().find(|&&t| t as usize >= vocab_size) {
            return Err(ManualError::UnknownToken { token, vocab_size });
        }
        let (expected, found) = (CacheShape::of(&self.model), cache.shape);
        if expected != found {
            return Err(ManualError::ForeignCache { expected, found });
        }
        let blocks = end.div_ceil(BLOCK_TOKENS) as u32;
        let mut batch = Batch::default();
        batch.push_row([tokens, &[]], position);
        batch.tables[0].block_ids.extend((0..blocks).map(BlockId));
        batch.tables[0].end_row(0);
        batch.logit_tokens.push(last as u32);
        let mut result = StepResult::default();
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        self.model.forward(
            &self.compute,
            &mut cache.memory,
            &batch,
            &mut scratch,
            &mut result,
        );
        cache.position = end;
        Ok(result.logits)
    }

    /// Continues `prompt` by up to `max_tokens` tokens, each chosen by `strategy` and
    /// shown to `each`, which ends generation by returning `false`. Also ends after
    /// one of `end_tokens`, and where the model's context does. Returns the new tokens.
    ///
    /// # Errors
    /// As [`Decoder::forward_with_cache`]; or if the prompt leaves no room in the
    /// context, or no token can be chosen.
    pub fn generate(
        &self,
        prompt: &[u32],
        strategy: &SamplingStrategy,
        seed: u64,
        max_tokens: usize,
        end_tokens: &[u32],
        mut each: impl FnMut(GeneratedToken) -> bool,
    ) -> Result<Vec<u32>, ManualError> {
        let most = self.model.spec().max_context;
        if prompt.len() >= most {
            return Err(ManualError::PositionOutOfBounds {
                position: prompt.len(),
                filled: 0,
                max_seq_len: most,
            });
        }
        let max_tokens = max_tokens.min(most - prompt.len());
        let mut rng = Rng::new(seed);
        let mut generated = Vec::new();
        if max_tokens == 0 {
            return Ok(generated);
        }
        let max_seq_len = prompt.len() + max_tokens;
        let mut cache = self.new_cache(&KvCacheConfig { max_seq_len })?;
        let mut logits = self.forward_with_cache(prompt, 0, &mut cache)?;
        loop {
            let token_id = sample_token(&logits, strategy, &mut rng)?;
            generated.push(token_id);
            let is_end = end_tokens.contains(&token_id);
            let logit = logits[token_id as usize];
            if !each(GeneratedToken {
                token_id,
                logit,
                is_end,
            }) || is_end
                || generated.len() == max_tokens
            {
                return Ok(generated);
            }
            logits = self.forward_with_cache(&[token_id], cache.position, &mut cache)?;
        }
    }
}

#[cfg(test)]
mod tests;
