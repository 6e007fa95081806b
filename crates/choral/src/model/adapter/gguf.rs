//! Adapters in GGUF files, as llama.cpp's `convert_lora_to_gguf.py` writes them.

use super::{AdapterError, AdapterFile, Scales, Tensors};
use choral_formats::Gguf;
use std::path::Path;

const ALPHA: &str = "adapter.lora.alpha";

pub(super) fn open(path: &Path) -> Result<AdapterFile, AdapterError> {
    let file = Gguf::open(path)?;
    let metadata = file.metadata();
    if metadata.str("general.type")? != Some("adapter") {
        return Err(AdapterError::NotAnAdapter {
            path: path.to_owned(),
            found: "a GGUF file of another type",
        });
    }
    let kind: &str = metadata.required("adapter.type")?;
    if kind != "lora" {
        return Err(AdapterError::unsupported(
            path,
            format!("the type `{kind}`"),
        ));
    }
    if metadata.get("adapter.alora.invocation_tokens").is_some() {
        return Err(AdapterError::unsupported(path, "invocation tokens (aLoRA)"));
    }
    let alpha: f32 = metadata.required(ALPHA)?;
    if !alpha.is_finite() {
        return Err(metadata.invalid(ALPHA, "a finite number", alpha).into());
    }
    let alpha = f64::from(alpha);
    Ok(AdapterFile {
        tensors: Tensors::Gguf(file),
        scales: Scales::Gguf { alpha },
    })
}

/// The module that a tensor changes, and whether it is the `A` of it.
pub(super) fn module<'a>(path: &Path, name: &'a str) -> Result<(&'a str, bool), AdapterError> {
    let (module, is_a) = match name.rsplit_once(".lora_") {
        Some((module, "a")) => (module, true),
        Some((module, "b")) => (module, false),
        _ => {
            return Err(AdapterError::UnknownTensor {
                path: path.to_owned(),
                name: name.to_owned(),
            });
        }
    };
    Ok((module.strip_suffix(".weight").unwrap_or(module), is_a))
}
