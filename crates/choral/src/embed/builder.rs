//! From a path to an embedder.

use super::run::{Limits, Runner};
use super::source::{Settings, check_causal};
use super::{Embedder, EmbedderError, EmbedderInfo, Pooling};
use crate::arch::{self, Architecture, EncoderFamily};
use crate::builder::{BuildError, EngineBuilder, check_vocabulary};
use crate::engine::DEFAULT_SEQS;
use crate::engine::batch::BLOCK_TOKENS;
use crate::machine::Machine;
use crate::model::{
    DecoderSpec, Encoder, EncoderSpec, Hyper, KvBlocks, Model, ModelError, Numeric,
};
use crate::text::Tokenizer;
use choral_formats::ModelFile;
use choral_kernels::{Compute, Isa};
use std::path::PathBuf;
use std::sync::Arc;

/// Tokens in a step of an encoder unless another number is asked for: nobody waits for
/// the first of them, so more than in an engine's.
const DEFAULT_ENCODER_TOKENS: usize = 2048;

/// Chooses a model and how to run it, then builds an [`Embedder`].
///
/// Without [`EmbedderBuilder::model`] it runs the small model that ships, whose vectors
/// are good for trying things out.
#[derive(Default)]
pub struct EmbedderBuilder {
    /// What an engine has too.
    engine: EngineBuilder,
    pooling: Option<Pooling>,
    dimensions: Option<usize>,
    keep_length: bool,
    truncate: bool,
}

/// A file with a tokenizer, and what to run it on.
struct Opened {
    file: Arc<ModelFile>,
    tokenizer: Tokenizer,
    isa: Isa,
    compute: Compute,
    threads: usize,
}

/// What a kind of model makes of the options.
struct Loaded {
    runner: Runner,
    architecture: &'static str,
    numeric: Numeric,
    width: usize,
    vocab_size: usize,
    /// Tokens of the longest text that fits model, memory and options.
    max_model_len: usize,
    limits: Limits,
    usual_pooling: Pooling,
}

impl EmbedderBuilder {
    /// The model to run: a GGUF file or a Hugging Face directory.
    #[must_use]
    pub fn model(mut self, path: impl Into<PathBuf>) -> Self {
        self.engine = self.engine.model(path);
        self
    }

    /// The arithmetic. Unless said, encoders stored as floats run in f32 (they are
    /// small, and their vectors are compared with others'), everything else in
    /// [`Numeric::default_for`] it.
    #[must_use]
    pub fn numeric(mut self, numeric: Numeric) -> Self {
        self.engine = self.engine.numeric(numeric);
        self
    }

    /// Threads that compute; as many as there are physical cores unless said.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.engine = self.engine.threads(threads);
        self
    }

    /// The instruction set; the best that the CPU has, or what `CHORAL_ISA` names,
    /// unless said.
    #[must_use]
    pub fn isa(mut self, isa: Isa) -> Self {
        self.engine = self.engine.isa(isa);
        self
    }

    /// Tokens of the longest text; unless said, what the model's authors meant
    /// (`max_seq_length`), or else what it was made for.
    #[must_use]
    pub fn max_model_len(mut self, tokens: usize) -> Self {
        self.engine = self.engine.max_model_len(tokens);
        self
    }

    /// Most texts in one step.
    #[must_use]
    pub fn max_num_seqs(mut self, texts: usize) -> Self {
        self.engine = self.engine.max_num_seqs(texts);
        self
    }

    /// Most tokens in one step. An encoder takes a longer text alone.
    #[must_use]
    pub fn max_num_batched_tokens(mut self, tokens: usize) -> Self {
        self.engine = self.engine.max_num_batched_tokens(tokens);
        self
    }

    /// How vectors of tokens become one; unless said, as the model's files say, or else
    /// the mean for encoders and the last for decoders.
    #[must_use]
    pub fn pooling(mut self, pooling: Pooling) -> Self {
        self.pooling = Some(pooling);
        self
    }

    /// Whether embeddings are made to have length 1; yes unless said.
    #[must_use]
    pub fn normalize(mut self, on: bool) -> Self {
        self.keep_length = !on;
        self
    }

    /// Leaves the first elements of each vector only (before it is normalised), as
    /// models made for that ("Matryoshka") allow.
    #[must_use]
    pub fn dimensions(mut self, dimensions: usize) -> Self {
        self.dimensions = Some(dimensions);
        self
    }

    /// Cuts texts that are too long; they are errors unless said.
    #[must_use]
    pub fn truncate(mut self, on: bool) -> Self {
        self.truncate = on;
        self
    }

    /// Loads the model.
    ///
    /// # Errors
    /// If the model cannot be loaded, asks for something that choral does not do, or
    /// does not fit in memory; or if a limit makes no sense.
    pub fn build(self) -> Result<Embedder, EmbedderError> {
        let threads = self.engine.compute_threads().map_err(BuildError::from)?;
        let file = Arc::new(self.engine.open()?);
        let isa = self.engine.instruction_set().map_err(BuildError::from)?;
        let opened = || -> Result<Opened, EmbedderError> {
            let tokenizer = Tokenizer::from_file(&file).map_err(BuildError::from)?;
            let compute = Compute::try_new(isa, threads)
                .map_err(|source| model_error(ModelError::Threads { threads, source }))?;
            Ok(Opened {
                file: Arc::clone(&file),
                tokenizer,
                isa,
                compute,
                threads,
            })
        };
        if let Some((family, hyper)) = Hyper::open_encoder(&file).map_err(model_error)? {
            let spec = (family.spec)(&hyper).map_err(model_error)?;
            let settings = Settings::read(&file, spec.hidden_size)?;
            let opened = opened()?;
            let loaded = self.encoder(&opened, family, spec, &settings)?;
            return self.finish(opened, loaded, &settings);
        }
        let is_gguf = matches!(*file, ModelFile::Gguf(_));
        let found = Hyper::open_headless(&file);
        let (architecture, hyper) = found.map_err(|e| naming_encoders(e, is_gguf))?;
        let spec = (architecture.spec)(&hyper).map_err(model_error)?;
        check_causal(&file)?;
        let settings = Settings::read(&file, spec.hidden_size)?;
        let opened = opened()?;
        let loaded = self.decoder(&opened, architecture, &spec, &settings)?;
        self.finish(opened, loaded, &settings)
    }

    /// Tokens of the longest text: as asked for, or as the authors meant.
    fn context(&self, settings: &Settings, most: usize) -> Result<usize, EmbedderError> {
        match self.engine.options.context {
            None => Ok(settings.max_tokens.map_or(most, |n| n.min(most))),
            Some(asked) if (1..=most).contains(&asked) => Ok(asked),
            Some(asked) => Err(model_error(ModelError::Context { asked, most })),
        }
    }

    fn encoder(
        &self,
        opened: &Opened,
        family: &'static EncoderFamily,
        spec: EncoderSpec,
        settings: &Settings,
    ) -> Result<Loaded, EmbedderError> {
        let file = &opened.file;
        check_vocabulary(file.path(), &opened.tokenizer, spec.vocab_size)?;
        let max_model_len = self.context(settings, spec.max_context)?;
        let numeric = self.engine.numeric.unwrap_or_else(|| {
            if !spec.is_quantised(file) {
                Numeric::F32
            } else if Isa::detect().has_tiles() {
                Numeric::Bf16
            } else {
                Numeric::Q8
            }
        });
        let limits = self.encoder_limits(file, &spec, numeric, max_model_len);
        let limits = limits.map_err(model_error)?;
        let encoder = Encoder::load(file, numeric, &opened.compute).map_err(model_error)?;
        let encoder = encoder.expect("the file is an encoder's");
        Ok(Loaded {
            runner: Runner::encoder(encoder, limits),
            architecture: family.name,
            numeric,
            width: spec.hidden_size,
            vocab_size: spec.vocab_size,
            max_model_len,
            limits,
            usual_pooling: Pooling::Mean,
        })
    }

    /// Steps that memory has room for beside the weights.
    fn encoder_limits(
        &self,
        file: &ModelFile,
        spec: &EncoderSpec,
        numeric: Numeric,
        longest: usize,
    ) -> Result<Limits, ModelError> {
        let memory = Machine::here()
            .memory_left()
            .map_or(u64::MAX, |left| left.bytes);
        let needed = spec.packed_weight_bytes(file, numeric);
        let left = memory.checked_sub(needed);
        let left = left.ok_or(ModelError::WeightMemory {
            needed,
            numeric,
            left: memory,
        })?;
        let most = i32::MAX as usize;
        let options = &self.engine.options;
        for (name, asked) in [
            ("max_num_seqs", options.max_num_seqs),
            ("max_num_batched_tokens", options.max_num_batched_tokens),
        ] {
            if let Some(found) = asked.filter(|n| !(1..=most).contains(n)) {
                let expected = format!("1 to {most}");
                return Err(ModelError::Limit {
                    name,
                    expected,
                    found,
                });
            }
        }
        let texts = options.max_num_seqs.unwrap_or(DEFAULT_SEQS);
        let bytes = |tokens: usize| spec.step_bytes(tokens, texts.min(tokens));
        let tokens = options.max_num_batched_tokens.unwrap_or_else(|| {
            let mut tokens = DEFAULT_ENCODER_TOKENS;
            while tokens > BLOCK_TOKENS && bytes(tokens) > left / 4 {
                tokens /= 2;
            }
            tokens
        });
        let needed = bytes(tokens).max(spec.step_bytes(longest, 1));
        if needed > left {
            return Err(ModelError::StepMemory {
                needed,
                tokens: tokens.max(longest),
                sequences: texts,
                left,
            });
        }
        Ok(Limits {
            texts,
            tokens,
            blocks: usize::MAX,
        })
    }

    fn decoder(
        &self,
        opened: &Opened,
        architecture: &'static Architecture,
        spec: &DecoderSpec,
        settings: &Settings,
    ) -> Result<Loaded, EmbedderError> {
        let file = &opened.file;
        check_vocabulary(file.path(), &opened.tokenizer, spec.vocab_size)?;
        let memory = Machine::here()
            .memory_left()
            .map_or(u64::MAX, |left| left.bytes);
        // A text keeps all of its keys and values for the few steps that it takes, in
        // one group of layers, windows or not.
        let mut kept = spec.clone();
        kept.set_windows(vec![None; spec.num_layers]);
        let plan = self.engine.plan(file, &kept, memory);
        let plan = plan.map_err(model_error)?;
        let max_model_len = self.context(settings, plan.context)?;
        if plan.context_cut_to_memory && plan.context == max_model_len {
            tracing::warn!(
                context = plan.context,
                model = spec.max_context,
                "memory does not hold the model's whole context; texts may be this long"
            );
        }
        let compute = &opened.compute;
        let model = Model::load_headless(file, plan.numeric, Some(plan.context), compute);
        let model = model.map_err(model_error)?;
        let tokens = plan.max_num_batched_tokens;
        // Of longer texts there is one at a time.
        let useful =
            (tokens / BLOCK_TOKENS + plan.max_num_seqs).max(max_model_len.div_ceil(BLOCK_TOKENS));
        let limits = Limits {
            texts: plan.max_num_seqs,
            tokens,
            blocks: plan.num_kv_blocks.min(useful),
        };
        let kv = KvBlocks::new(spec, plan.kv_layout, plan.kv_types, limits.blocks);
        let kv = kv.map_err(model_error)?;
        Ok(Loaded {
            runner: Runner::decoder(model, kv, limits),
            architecture: architecture.name,
            numeric: plan.numeric,
            width: spec.hidden_size,
            vocab_size: spec.vocab_size,
            max_model_len,
            limits,
            usual_pooling: Pooling::Last,
        })
    }

    fn finish(
        self,
        opened: Opened,
        loaded: Loaded,
        settings: &Settings,
    ) -> Result<Embedder, EmbedderError> {
        let width = loaded.width;
        let dimensions = self.dimensions.unwrap_or(width);
        if !(1..=width).contains(&dimensions) {
            return Err(model_error(ModelError::Limit {
                name: "dimensions",
                expected: format!("1 to {width}"),
                found: dimensions,
            }));
        }
        let pooling = self.pooling.or(settings.pooling);
        let info = EmbedderInfo {
            path: opened.file.path().to_owned(),
            architecture: loaded.architecture,
            numeric: loaded.numeric,
            isa: opened.isa.name(),
            threads: opened.threads,
            weight_bytes: loaded.runner.weight_bytes(),
            width,
            dimensions,
            max_model_len: loaded.max_model_len,
            pooling: pooling.unwrap_or(loaded.usual_pooling),
            normalize: !self.keep_length,
            truncate: self.truncate,
            max_num_seqs: loaded.limits.texts,
            max_num_batched_tokens: loaded.limits.tokens,
        };
        tracing::info!(
            model = %info.path.display(),
            numeric = info.numeric.name(),
            isa = info.isa,
            threads = info.threads,
            "model loaded"
        );
        Ok(Embedder {
            tokenizer: opened.tokenizer,
            compute: opened.compute,
            runner: loaded.runner,
            info,
            vocab_size: loaded.vocab_size,
            lowercase: settings.lowercase,
        })
    }
}

fn model_error(error: ModelError) -> EmbedderError {
    BuildError::from(error).into()
}

/// Families that make embeddings are those of encoders too.
fn naming_encoders(error: ModelError, is_gguf: bool) -> EmbedderError {
    model_error(match error {
        ModelError::UnknownArchitecture { found, known } => {
            let names = |family: &EncoderFamily| if is_gguf { family.gguf } else { family.hf };
            let encoders = arch::ENCODERS.iter().flat_map(|family| names(family));
            let encoders: Vec<&str> = encoders.copied().collect();
            ModelError::UnknownArchitecture {
                found,
                known: format!("{known}, {}", encoders.join(", ")),
            }
        }
        other => other,
    })
}
