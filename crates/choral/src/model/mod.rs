//! A model: what its file says, its weights made ready, and one step through it.
//!
//! [`Hyper`] reads settings, an [`Architecture`](crate::arch::Architecture) turns
//! them into a [`DecoderSpec`], the loader packs the tensors that the spec needs,
//! and [`Model::forward`] runs any spec. Knows nothing of requests or scheduling.

mod adapter;
mod decoder;
mod defaults;
mod encoder;
mod fingerprint;
mod hyper;
mod kv;
mod loader;
mod names;
mod packing;
mod plan;
pub(crate) mod rope_config;
mod spec;
mod tensors;
mod vision;

pub use adapter::{Adapter, AdapterError, AdapterFile};
pub use choral_kernels::attention::{KvType, KvTypes};
pub use decoder::{Model, Scratch};
pub use defaults::GenerationDefaults;
pub use encoder::{Encoder, EncoderScratch, EncoderSpec, EncoderStep};
pub use fingerprint::{adapter_fingerprint, fingerprint};
pub use hyper::{ExpertKeys, Hyper, Key};
pub use kv::{KvBlocks, KvLayout};
pub use names::Role;
pub use plan::{EnginePlan, PlanOptions};
pub use spec::{
    Activation, AttentionSpec, DecoderSpec, Ffn, FfnSpec, Keys, LayerSpec, MoeSpec, Names,
    NormKind, NormSpec, Placement, QkNorm, RopeScaling, RopeSpec, Scheme, Stored,
};
pub use vision::{ImageModel, ImagePart, ImageScratch, ImageSpec};

pub use choral_formats::ModelFile;
use choral_formats::{Dtype, FormatError, TensorSource};
use choral_kernels::Isa;
use choral_kernels::matmul::Element;
use std::path::PathBuf;

/// The arithmetic of an engine, chosen once and never mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Numeric {
    /// Weights and activations of matrix products rounded to bf16, sums in f32;
    /// keys and values in f16 unless said.
    Bf16,
    /// Quantised weights stay integers and are multiplied with activations that are
    /// quantised to int8 in blocks of 32; weights stored as floats as in `Bf16`.
    Q8,
    /// Everything in f32: the strict mode, for conformance.
    F32,
}

impl Numeric {
    /// The name that [`std::str::FromStr`] takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::Q8 => "q8",
            Self::F32 => "f32",
        }
    }

    /// What is chosen for a model where nothing is said: the fastest that the file and
    /// this CPU allow. That is `q8` for quantised files, because int8 products are
    /// several times as fast as f32 ones and twice as fast as pairs of bf16, but not on
    /// CPUs with matrix tiles, where bf16 is faster still; and `bf16` for files of floats.
    ///
    /// What counts is the CPU, not the instruction set that was asked for: one CPU
    /// gives one text.
    ///
    /// # Errors
    /// If the file says in no known way how its matrices are stored.
    pub fn default_for(file: &ModelFile, spec: &DecoderSpec) -> Result<Self, ModelError> {
        let int8 = loader::is_quantised(file, spec)? && !Isa::detect().has_tiles();
        Ok(if int8 { Self::Q8 } else { Self::Bf16 })
    }

    /// What keys and values are kept as unless said.
    pub fn kv_types(self) -> KvTypes {
        KvTypes::both(match self {
            Self::Bf16 | Self::Q8 => KvType::F16,
            Self::F32 => KvType::F32,
        })
    }

    /// What numbers that are not integers are kept as.
    pub fn element(self) -> Element {
        match self {
            Self::Bf16 | Self::Q8 => Element::Bf16,
            Self::F32 => Element::F32,
        }
    }
}

impl std::str::FromStr for Numeric {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "bf16" => Ok(Self::Bf16),
            "q8" => Ok(Self::Q8),
            "f32" => Ok(Self::F32),
            other => Err(format!(
                "unknown numeric `{other}`, expected bf16, q8 or f32"
            )),
        }
    }
}

/// Why a file cannot be made into a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The file itself, or a setting in it.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A family that choral does not run.
    #[error("unknown architecture `{found}`, expected one of: {known}")]
    UnknownArchitecture {
        /// What the file says.
        found: String,
        /// What could be run.
        known: String,
    },
    /// A model that reads text and writes none.
    #[error("`{found}` is a text encoder: it makes embeddings (`choral embed`) and no text")]
    Encoder {
        /// What the file says.
        found: String,
    },
    /// A table that is read row by row is stored as several tensors.
    #[error("{}: `{name}` is quantised with {method}, expected floats", file.display())]
    QuantisedTable {
        /// The directory.
        file: PathBuf,
        /// The table.
        name: String,
        /// What it is quantised with.
        method: &'static str,
    },
    /// A tensor that the architecture needs is not there.
    #[error("{}: tensor `{name}` is missing", file.display())]
    MissingTensor {
        /// The file.
        file: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A tensor has another shape than the settings say.
    #[error("{}: tensor `{name}` is {found:?}, expected {expected:?}", file.display())]
    Shape {
        /// The file.
        file: PathBuf,
        /// The tensor.
        name: String,
        /// The shape that follows from the settings, outermost dimension first.
        expected: Vec<usize>,
        /// The shape that the file states.
        found: Vec<usize>,
    },
    /// A tensor is of a type that it cannot be of.
    #[error("{}: tensor `{name}` is of type {found}, expected {expected}", file.display())]
    Dtype {
        /// The file.
        file: PathBuf,
        /// The tensor.
        name: String,
        /// What could be used.
        expected: &'static str,
        /// The type that the file states.
        found: Dtype,
    },
    /// A context longer than the model's was asked for, or none.
    #[error("context of {asked} tokens asked for, the model has {most}")]
    Context {
        /// What was asked for.
        asked: usize,
        /// The model's context.
        most: usize,
    },
    /// The operating system refused memory.
    #[error("no memory for {what}: {bytes} bytes")]
    NoMemory {
        /// What it was for.
        what: &'static str,
        /// How much was asked for.
        bytes: u64,
    },
    /// The weights alone take more memory than is left.
    #[error("weights take {needed} bytes in {numeric}, but {left} bytes of memory are left", numeric = numeric.name())]
    WeightMemory {
        /// Bytes of packed weights.
        needed: u64,
        /// The arithmetic that they were packed for.
        numeric: Numeric,
        /// Bytes that the process may still take.
        left: u64,
    },
    /// Weights leave too little memory for the largest step.
    #[error(
        "steps of {tokens} tokens and {sequences} sequences take {needed} bytes, but weights leave {left}"
    )]
    StepMemory {
        /// Bytes of activations and logits.
        needed: u64,
        /// Most tokens in a step.
        tokens: usize,
        /// Most sequences in a step.
        sequences: usize,
        /// Bytes that the weights leave.
        left: u64,
    },
    /// Weights and steps leave too little memory for keys and values.
    #[error("keys and values take {needed} bytes, but weights and steps leave {left}")]
    KvMemory {
        /// Bytes of all blocks.
        needed: u64,
        /// Bytes that weights and steps leave.
        left: u64,
    },
    /// The operating system refused a thread.
    #[error("cannot start {threads} compute threads")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// Why not.
        source: std::io::Error,
    },
    /// A limit that cannot be.
    #[error("`{name}` is {found}, expected {expected}")]
    Limit {
        /// The limit's name.
        name: &'static str,
        /// What would have been accepted.
        expected: String,
        /// What was asked for.
        found: usize,
    },
    /// The memory budget does not hold a single block of keys and values, or not
    /// one sequence.
    #[error("{budget} bytes for keys and values hold {found} tokens, expected at least {needed}")]
    KvBudget {
        /// The budget in bytes.
        budget: u64,
        /// How many tokens fit.
        found: usize,
        /// How many must.
        needed: usize,
    },
}

impl ModelError {
    pub(crate) fn missing_tensor(source: &dyn TensorSource, name: &str) -> Self {
        Self::MissingTensor {
            file: source.path().to_owned(),
            name: name.to_owned(),
        }
    }
}
