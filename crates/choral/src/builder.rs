//! From a path to a running engine.

mod images;
mod info;

use crate::arch::Architecture;
use crate::demo;
use crate::engine::{Engine, EngineConfig, EngineParts, ImageInput, OnStep, StartError};
use crate::exec::CpuExecutor;
use crate::machine::Machine;
use crate::model::{
    Adapter, AdapterError, DecoderSpec, EnginePlan, GenerationDefaults, Hyper, KvType, Model,
    ModelError, Numeric, PlanOptions,
};
use crate::pool::EnginePool;
use crate::text::{Tokenizer, TokenizerError};
use choral_formats::{FormatError, Gguf, ModelFile};
use choral_kernels::{Compute, Isa, IsaError};
pub use images::ImageEncoderFile;
use images::image_input;
pub use info::ModelInfo;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why an engine could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The model file, its settings, or the memory for it.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// An adapter.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The instruction set that was asked for.
    #[error("CHORAL_ISA: {0}")]
    Isa(#[from] IsaError),
    /// Tokenizer and model do not belong together.
    #[error("{}: the tokenizer has {tokens} tokens, the model's embedding {rows} rows", path.display())]
    Vocabulary {
        /// The model.
        path: PathBuf,
        /// Tokens of the tokenizer.
        tokens: usize,
        /// Rows of the embedding.
        rows: usize,
    },
    /// There is no encoder of pictures.
    #[error("{}: the model has no image encoder{hint}", path.display())]
    NoImageEncoder {
        /// The model.
        path: PathBuf,
        /// What may help, beginning with its own separator; or empty.
        hint: &'static str,
    },
    /// An encoder of pictures was made for another model.
    #[error("{}: {problem}", path.display())]
    ImageEncoder {
        /// The encoder's file.
        path: PathBuf,
        /// What does not fit.
        problem: String,
    },
    /// The engine's limits.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl From<FormatError> for BuildError {
    fn from(error: FormatError) -> Self {
        Self::Model(error.into())
    }
}

/// Chooses a model and limits, then builds an [`Engine`].
///
/// Without [`EngineBuilder::model`] it runs the small model that ships.
#[derive(Default)]
pub struct EngineBuilder {
    path: Option<PathBuf>,
    // An embedder reads what it does not leave to `plan`.
    pub(crate) numeric: Option<Numeric>,
    threads: Option<usize>,
    isa: Option<Isa>,
    pub(crate) options: PlanOptions,
    prefix_caching: Option<bool>,
    queue_capacity: Option<usize>,
    on_step: Option<OnStep>,
    adapters: Vec<(String, PathBuf)>,
    mmproj: Option<PathBuf>,
    image_encoder: Option<bool>,
}

impl EngineBuilder {
    /// The model to run: a GGUF file or a Hugging Face directory.
    #[must_use]
    pub fn model(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// An adapter that requests may run with: a directory of PEFT's, or a GGUF adapter
    /// of llama.cpp's. Several may be given; requests name theirs
    /// ([`Request::with_lora`](crate::Request::with_lora)), and one that names none
    /// runs the model as it is.
    #[must_use]
    pub fn adapter(mut self, name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        self.adapters.push((name.into(), path.into()));
        self
    }

    /// The arithmetic; [`Numeric::default_for`] the model unless said.
    #[must_use]
    pub fn numeric(mut self, numeric: Numeric) -> Self {
        self.numeric = Some(numeric);
        self
    }

    /// Most [`threads`](Self::threads) that an engine takes.
    pub const MAX_THREADS: usize = 1024;

    /// Threads that compute; as many as there are physical cores unless said. At least
    /// 1 and at most [`MAX_THREADS`](Self::MAX_THREADS).
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// The instruction set; the best that the CPU has, or what `CHORAL_ISA` names,
    /// unless said.
    #[must_use]
    pub fn isa(mut self, isa: Isa) -> Self {
        self.isa = Some(isa);
        self
    }

    /// Longest sequence, prompt and answer together; the model's own unless said.
    #[must_use]
    pub fn max_model_len(mut self, tokens: usize) -> Self {
        self.options.context = Some(tokens);
        self
    }

    /// Takes a [`max_model_len`](Self::max_model_len) that is longer than the model
    /// was made for; refused unless said.
    #[must_use]
    pub fn beyond_trained_context(mut self, on: bool) -> Self {
        self.options.beyond_trained_context = on;
        self
    }

    /// Most sequences in one step.
    #[must_use]
    pub fn max_num_seqs(mut self, sequences: usize) -> Self {
        self.options.max_num_seqs = Some(sequences);
        self
    }

    /// As many sequences in one step as the memory holds, but no more than so many: where
    /// [`max_num_seqs`](Self::max_num_seqs) fails if there is no room for them, this takes
    /// fewer. Where both are given, that one counts.
    #[must_use]
    pub fn max_num_seqs_as_fits(mut self, sequences: usize) -> Self {
        self.options.wanted_num_seqs = Some(sequences);
        self
    }

    /// Most tokens in one step.
    #[must_use]
    pub fn max_num_batched_tokens(mut self, tokens: usize) -> Self {
        self.options.max_num_batched_tokens = Some(tokens);
        self
    }

    /// Bytes for keys and values.
    #[must_use]
    pub fn kv_memory(mut self, bytes: u64) -> Self {
        self.options.kv_bytes = Some(bytes);
        self
    }

    /// What keys are kept as; as the numeric says unless said.
    #[must_use]
    pub fn key_type(mut self, kind: KvType) -> Self {
        self.options.key_type = Some(kind);
        self
    }

    /// What values are kept as; as the numeric says unless said.
    #[must_use]
    pub fn value_type(mut self, kind: KvType) -> Self {
        self.options.value_type = Some(kind);
        self
    }

    /// Most prompt tokens of one sequence in one step.
    #[must_use]
    pub fn prefill_chunk(mut self, tokens: usize) -> Self {
        self.options.prefill_chunk = Some(tokens);
        self
    }

    /// Whether prefixes that come again are computed once; yes unless said.
    #[must_use]
    pub fn prefix_caching(mut self, on: bool) -> Self {
        self.prefix_caching = Some(on);
        self
    }

    /// Most requests that wait; further ones are refused.
    #[must_use]
    pub fn queue_capacity(mut self, requests: usize) -> Self {
        self.queue_capacity = Some(requests);
        self
    }

    /// Calls `observer` on the engine thread after each step.
    #[must_use]
    pub fn on_step(mut self, observer: OnStep) -> Self {
        self.on_step = Some(observer);
        self
    }

    /// Opens the model's file without loading its weights.
    ///
    /// # Errors
    /// If there is no model there, or it is malformed.
    pub fn open(&self) -> Result<ModelFile, FormatError> {
        match &self.path {
            Some(path) => ModelFile::open(path),
            None => Gguf::from_bytes(demo::NAME, demo::MODEL).map(ModelFile::Gguf),
        }
    }

    /// How many threads will compute.
    ///
    /// # Errors
    /// If another number was asked for than there may be.
    pub fn compute_threads(&self) -> Result<usize, ModelError> {
        let most = Self::MAX_THREADS;
        match self.threads {
            None => Ok(Machine::here().compute_threads().clamp(1, most)),
            Some(threads) if (1..=most).contains(&threads) => Ok(threads),
            Some(found) => Err(ModelError::Limit {
                name: "threads",
                expected: format!("1 to {most}"),
                found,
            }),
        }
    }

    /// The instruction set of the kernels.
    pub(crate) fn instruction_set(&self) -> Result<Isa, IsaError> {
        self.isa.map_or_else(Isa::from_env, Ok)
    }

    fn numeric_for(&self, file: &ModelFile, spec: &DecoderSpec) -> Result<Numeric, ModelError> {
        let default = || Numeric::default_for(file, spec);
        self.numeric.map_or_else(default, Ok)
    }

    /// What an engine for `file`, whose model is `spec`, would make of `memory` bytes.
    ///
    /// # Errors
    /// As [`DecoderSpec::plan`].
    pub fn plan(
        &self,
        file: &ModelFile,
        spec: &DecoderSpec,
        memory: u64,
    ) -> Result<EnginePlan, ModelError> {
        let numeric = self.numeric_for(file, spec)?;
        let weights = spec.packed_weight_bytes(file, numeric)?;
        spec.plan(numeric, weights, &self.options, memory)
    }

    /// Opens the adapters, and checks that they fit the model.
    fn open_adapters(
        &self,
        architecture: &Architecture,
        spec: &DecoderSpec,
    ) -> Result<Vec<Adapter>, AdapterError> {
        let mut adapters: Vec<Adapter> = Vec::with_capacity(self.adapters.len());
        for (name, path) in &self.adapters {
            let problem = |problem| AdapterError::Name {
                name: name.clone(),
                problem,
            };
            if name.is_empty() {
                return Err(problem("empty"));
            }
            if adapters.iter().any(|known| known.name() == name) {
                return Err(problem("given twice"));
            }
            adapters.push(Adapter::open(name, path, architecture, spec)?);
        }
        Ok(adapters)
    }

    /// Loads the model and starts its engine.
    ///
    /// # Errors
    /// If the model cannot be loaded, does not fit in memory, or a limit makes no
    /// sense.
    pub fn build(self) -> Result<Engine, BuildError> {
        let pool = self.build_pool(1)?;
        Ok(pool.engines()[0].clone())
    }

    /// Loads the model once and starts `engines` engines that compute with the same
    /// weights. Memory for keys and values, if it was set, is for all of them together,
    /// and so are [`threads`](Self::threads); each engine has an equal share, of threads
    /// at least one. Other limits are each engine's own. With
    /// [`on_step`](Self::on_step) there can be only one engine.
    ///
    /// # Errors
    /// As [`build`](Self::build); or if there are to be no engines, or more than
    /// [`MAX_THREADS`](Self::MAX_THREADS).
    pub fn build_pool(mut self, engines: usize) -> Result<EnginePool, BuildError> {
        let most = match self.on_step {
            Some(_) => 1,
            None => Self::MAX_THREADS,
        };
        if !(1..=most).contains(&engines) {
            return Err(BuildError::Model(ModelError::Limit {
                name: "engines",
                expected: format!("1 to {most}"),
                found: engines,
            }));
        }
        let all_threads = self.compute_threads()?;
        let threads = (all_threads / engines).max(1);
        let file = Arc::new(self.open()?);
        let isa = self.instruction_set()?;

        let (architecture, hyper) = Hyper::open(&file)?;
        let spec = (architecture.spec)(&hyper)?;
        let tokenizer = Tokenizer::from_file(&file)?;
        check_vocabulary(file.tensors().path(), &tokenizer, spec.vocab_size)?;
        let generation_defaults = GenerationDefaults::read(&file)?;
        let left = Machine::here().memory_left();
        let memory = left.map_or(u64::MAX, |left| left.bytes);
        let adapters = self.open_adapters(architecture, &spec)?;
        let numeric = self.numeric_for(&file, &spec)?;
        let images = self.open_images(&file, architecture, &spec)?;
        let image_encoder = images.as_ref().map(|images| images.describe(&file));
        let images = images.filter(|_| self.loads_images());
        if let Some(images) = &images {
            self.options.encoder_bytes = images.bytes(numeric);
        }
        let bytes = adapters.iter().map(|a| a.bytes(numeric, &spec));
        self.options.adapter_bytes = bytes.fold(0, u64::saturating_add);
        let floats = adapters.iter().map(|a| a.floats_per_token(&spec));
        self.options.adapter_floats = floats.max().unwrap_or(0);
        let share = self.share(&file, &spec, numeric, memory, engines as u64)?;
        let plan = self.plan(&file, &spec, share)?;
        if plan.context_cut_to_memory {
            tracing::warn!(
                context = plan.context,
                model = spec.max_context,
                "memory does not hold the model's whole context; sequences may be this long"
            );
        }

        let context = Some(plan.context);
        let load = compute(isa, all_threads)?;
        let model = Model::load_with(&file, numeric, context, &adapters, &load)?;
        let model = Arc::new(model);
        let encoder = images.map(|images| images.load(numeric, compute(isa, all_threads)?));
        let encoder = encoder.transpose()?.map(Arc::new);
        let image_input = image_input(&file, architecture, &spec, &tokenizer, encoder)?;
        let info = Arc::new(ModelInfo {
            path: file.tensors().path().to_owned(),
            architecture: architecture.name,
            spec,
            plan,
            isa: isa.name(),
            threads,
            generation_defaults,
            file,
            image_encoder,
        });
        tracing::info!(
            model = %info.path.display(),
            numeric = info.plan.numeric.name(),
            isa = info.isa,
            threads,
            engines,
            "model loaded"
        );
        let mut load = Some(load).filter(|_| threads == all_threads);
        let mut started = Vec::with_capacity(engines);
        for _ in 0..engines {
            // The workers that packed the weights go on to compute with them.
            let compute = load.take().map_or_else(|| compute(isa, threads), Ok)?;
            started.push(self.start(
                &info,
                &model,
                compute,
                tokenizer.clone(),
                image_input.clone(),
            )?);
        }
        Ok(EnginePool::new(started, Some(model)))
    }

    /// Memory that one of `engines` plans with, and its share of the options: they have
    /// the weights in common, and everything else each for itself.
    fn share(
        &mut self,
        file: &ModelFile,
        spec: &DecoderSpec,
        numeric: Numeric,
        memory: u64,
        engines: u64,
    ) -> Result<u64, ModelError> {
        let weights = spec.packed_weight_bytes(file, numeric)?;
        let weights = weights
            .saturating_add(self.options.adapter_bytes)
            .saturating_add(self.options.encoder_bytes);
        self.options.kv_bytes = self.options.kv_bytes.map(|bytes| bytes / engines);
        Ok(match memory.checked_sub(weights) {
            Some(rest) if engines > 1 => weights + rest / engines,
            _ => memory,
        })
    }

    fn start(
        &mut self,
        info: &Arc<ModelInfo>,
        model: &Arc<Model>,
        compute: Compute,
        tokenizer: Tokenizer,
        images: Option<ImageInput>,
    ) -> Result<Engine, BuildError> {
        let plan = &info.plan;
        let (blocks, layout) = (plan.num_kv_blocks, plan.kv_layout.clone());
        let model = Arc::clone(model);
        let executor = CpuExecutor::with_layout(model, compute, blocks, plan.kv_types, layout)?;
        let parts = EngineParts {
            executor: Box::new(executor),
            end_token_ids: tokenizer.eos_token_ids().to_vec(),
            tokenizer: Some(tokenizer),
            max_model_len: plan.context,
            images,
            info: Some(Arc::clone(info)),
        };
        let defaults = EngineConfig::default();
        let config = EngineConfig {
            max_num_seqs: plan.max_num_seqs,
            max_num_batched_tokens: plan.max_num_batched_tokens,
            prefill_chunk: plan.prefill_chunk,
            prefix_caching: self.prefix_caching.unwrap_or(defaults.prefix_caching),
            queue_capacity: self.queue_capacity.unwrap_or(defaults.queue_capacity),
            on_step: self.on_step.take(),
            ..defaults
        };
        Ok(Engine::start(parts, config)?)
    }
}

fn compute(isa: Isa, threads: usize) -> Result<Compute, ModelError> {
    Compute::try_new(isa, threads).map_err(|source| ModelError::Threads { threads, source })
}

/// Every token that the tokenizer makes must have one of the embedding's `rows`.
pub(crate) fn check_vocabulary(
    path: &Path,
    tokenizer: &Tokenizer,
    rows: usize,
) -> Result<(), BuildError> {
    let tokens = tokenizer.vocab_size();
    if tokens <= rows {
        return Ok(());
    }
    Err(BuildError::Vocabulary {
        path: path.to_owned(),
        tokens,
        rows,
    })
}
