//! The families of models: one small datasheet each.
//!
//! An architecture turns a file's configuration into a [`DecoderSpec`]; one forward
//! pass ([`crate::model`]) runs any spec. A datasheet knows the names that a family
//! gave its settings and its tensors, and nothing about tensors' values.
//! `docs/add-an-architecture.md` says how to write one.

mod bert;
mod gemma2;
mod gemma3;
mod glm;
mod glm4;
mod glm4v;
mod gpt2;
mod gpt_oss;
mod granite;
mod llama;
mod mistral;
mod mixtral;
mod olmo2;
mod phi3;
mod qwen2;
mod qwen2_moe;
mod qwen3;
mod qwen3_moe;
mod smollm3;
mod starcoder2;

use crate::model::{DecoderSpec, EncoderSpec, Hyper, ImagePart, ModelError, Names, Role};

/// One family of models.
#[derive(Debug)]
pub struct Architecture {
    /// What choral calls it.
    pub name: &'static str,
    /// Its names in `architectures` of a Hugging Face `config.json`.
    pub hf: &'static [&'static str],
    /// Its names in `general.architecture` of a GGUF file.
    pub gguf: &'static [&'static str],
    /// The encoders of pictures that it goes with, if its positions are of three
    /// numbers.
    pub images: Option<&'static ImageFamily>,
    /// The object of `config.json` that holds its settings, where it is one model of
    /// several; files that have no such object hold them themselves.
    pub hf_text: Option<&'static str>,
    /// What names of tensors begin with where Llama's begin with `model`.
    pub hf_root: &'static str,
    /// Tensors that its safetensors files call otherwise than Llama's do: without
    /// `.weight`, `{l}` standing for the layer and `{e}` for the expert.
    pub hf_names: &'static [(Role, &'static str)],
    /// The same for GGUF files.
    pub gguf_names: &'static [(Role, &'static str)],
    /// What the class in transformers takes where a `config.json` is silent, as a
    /// `config.json` would say it. Sizes are not among it: a file must state them.
    pub hf_defaults: &'static str,
    /// Reads the configuration.
    pub spec: fn(&Hyper<'_>) -> Result<DecoderSpec, ModelError>,
}

impl Architecture {
    /// What a datasheet does not say.
    const BASE: Self = Self {
        name: "",
        hf: &[],
        gguf: &[],
        images: None,
        hf_text: None,
        hf_root: "model",
        hf_names: &[],
        gguf_names: &[],
        hf_defaults: "{}",
        spec: DecoderSpec::standard,
    };

    /// Its names of tensors, by format.
    pub(crate) fn names(&self) -> Names {
        Names {
            gguf: self.gguf_names,
            hf: self.hf_names,
            hf_root: self.hf_root,
        }
    }
}

/// One family of encoders: models that read a text and say nothing.
#[derive(Debug)]
pub struct EncoderFamily {
    /// What choral calls it.
    pub name: &'static str,
    /// Its names in `architectures` of a Hugging Face `config.json`.
    pub hf: &'static [&'static str],
    /// Its names in `general.architecture` of a GGUF file.
    pub gguf: &'static [&'static str],
    /// What its files call tensors.
    pub names: Names,
    /// See [`Architecture::hf_defaults`].
    pub hf_defaults: &'static str,
    /// Reads the configuration.
    pub spec: fn(&Hyper<'_>) -> Result<EncoderSpec, ModelError>,
}

/// One family of encoders of pictures, whose output stands in prompts.
#[derive(Debug)]
pub struct ImageFamily {
    /// What choral calls it.
    pub name: &'static str,
    /// Its names in `architectures` of a Hugging Face `config.json`.
    pub hf: &'static [&'static str],
    /// Its names as a projector in llama.cpp's `mmproj` files.
    pub gguf: &'static [&'static str],
    /// What its files call tensors, without `.weight` or `.bias`: safetensors' behind
    /// `visual.`, then GGUF's.
    pub names: &'static [(ImagePart, &'static str, &'static str)],
    /// What its class takes where `vision_config` is silent.
    pub hf_defaults: &'static str,
    /// The token that stands for a picture in a prompt's text.
    pub placeholder: &'static str,
    /// Its id where a `config.json` does not say (`image_token_id`).
    pub default_placeholder_id: u32,
}

/// Every family that choral runs.
pub static ALL: &[&Architecture] = &[
    &gemma2::GEMMA2,
    &gemma3::GEMMA3,
    &glm::GLM,
    &glm4::GLM4,
    &glm4v::GLM4V,
    &gpt2::GPT2,
    &gpt_oss::GPT_OSS,
    &granite::GRANITE,
    &llama::LLAMA,
    &mistral::MISTRAL,
    &mixtral::MIXTRAL,
    &olmo2::OLMO2,
    &phi3::PHI3,
    &qwen2::QWEN2,
    &qwen2_moe::QWEN2_MOE,
    &qwen3::QWEN3,
    &qwen3_moe::QWEN3_MOE,
    &smollm3::SMOLLM3,
    &starcoder2::STARCODER2,
];

/// Every family of encoders that choral runs.
pub static ENCODERS: &[&EncoderFamily] = &[&bert::BERT, &bert::ROBERTA];

/// Every family of encoders of pictures that choral runs.
pub static IMAGE_ENCODERS: &[&ImageFamily] = &[&glm4v::GLM4V_IMAGES];

/// The family of that Hugging Face class name.
pub fn by_hf(class: &str) -> Option<&'static Architecture> {
    ALL.iter().copied().find(|a| a.hf.contains(&class))
}

/// The family of a class without a head, as embedding models name it: `Qwen3Model`.
pub fn headless_by_hf(class: &str) -> Option<&'static Architecture> {
    let name = class.strip_suffix("Model")?;
    by_hf(&format!("{name}ForCausalLM"))
}

/// The family of that GGUF architecture name.
pub fn by_gguf(name: &str) -> Option<&'static Architecture> {
    ALL.iter().copied().find(|a| a.gguf.contains(&name))
}

/// The family of encoders of that Hugging Face class name.
pub fn encoder_by_hf(class: &str) -> Option<&'static EncoderFamily> {
    ENCODERS.iter().copied().find(|a| a.hf.contains(&class))
}

/// The family of encoders of that GGUF architecture name.
pub fn encoder_by_gguf(name: &str) -> Option<&'static EncoderFamily> {
    ENCODERS.iter().copied().find(|a| a.gguf.contains(&name))
}

/// The family of encoders of pictures of that Hugging Face class name.
pub fn images_by_hf(class: &str) -> Option<&'static ImageFamily> {
    IMAGE_ENCODERS
        .iter()
        .copied()
        .find(|a| a.hf.contains(&class))
}

/// The family of encoders of pictures of that projector.
pub fn images_by_gguf(projector: &str) -> Option<&'static ImageFamily> {
    let mut all = IMAGE_ENCODERS.iter().copied();
    all.find(|a| a.gguf.contains(&projector))
}
