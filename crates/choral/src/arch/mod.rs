//! The families of models: one small datasheet each.
//!
//! An architecture turns a file's configuration into a [`DecoderSpec`]; one forward
//! pass ([`crate::model`]) runs any spec. A datasheet knows the names that a family
//! gave its settings and nothing about tensors' values.

mod llama;
mod mistral;
mod qwen2;
mod qwen3;

use crate::model::{DecoderSpec, Hyper, ModelError};

/// One family of models.
#[derive(Debug)]
pub struct Architecture {
    /// What choral calls it.
    pub name: &'static str,
    /// Its names in `architectures` of a Hugging Face `config.json`.
    pub hf: &'static [&'static str],
    /// Its names in `general.architecture` of a GGUF file.
    pub gguf: &'static [&'static str],
    /// Reads the configuration.
    pub spec: fn(&Hyper<'_>) -> Result<DecoderSpec, ModelError>,
}

/// Every family that choral runs.
pub static ALL: &[&Architecture] = &[
    &llama::LLAMA,
    &mistral::MISTRAL,
    &qwen2::QWEN2,
    &qwen3::QWEN3,
];

/// The family of that Hugging Face class name.
pub fn by_hf(class: &str) -> Option<&'static Architecture> {
    ALL.iter().copied().find(|a| a.hf.contains(&class))
}

/// The family of that GGUF architecture name.
pub fn by_gguf(name: &str) -> Option<&'static Architecture> {
    ALL.iter().copied().find(|a| a.gguf.contains(&name))
}
