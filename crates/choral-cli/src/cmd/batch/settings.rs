//! What a record of answers is of.

use super::{Args, files};
use crate::args::template::TemplateArgs;
use anyhow::{Context as _, Result};
use choral::ModelInfo;
use choral::embed::EmbedderInfo;
use choral::job::{Description, Settings};
use choral::model::{ModelFile, adapter_fingerprint, fingerprint};
use std::path::{Path, PathBuf};

/// The job, as its record is to remember it.
pub(super) fn describe(args: &Args, inputs: &[PathBuf], info: &ModelInfo) -> Result<Description> {
    let mut settings = of_model(info, args.timings, &args.template)?;
    for (name, path) in args.lora.files(&args.lora_modules)? {
        settings.insert(format!("adapter {name}"), file_fingerprint(&path)?);
    }
    Ok(described(args, inputs, settings))
}

/// What all answers of a model depend on, whatever it is asked.
pub(in crate::cmd) fn of_model(
    info: &ModelInfo,
    with_timings: bool,
    template: &TemplateArgs,
) -> Result<Settings> {
    let mut settings = Settings::new();
    let mut set = |name: &str, value: String| settings.insert(name.to_owned(), value);
    let model = info.path.file_name().unwrap_or(info.path.as_os_str());
    let print = fingerprint(&info.file)?;
    set("model", format!("{} {print}", model.to_string_lossy()));
    set("version", env!("CARGO_PKG_VERSION").to_owned());
    set("numeric", info.plan.numeric.name().to_owned());
    let kv = info.plan.kv_types;
    set("keys and values", format!("{:?} {:?}", kv.keys, kv.values));
    set("context", info.plan.context.to_string());
    set("timings", with_timings.to_string());
    // The model's own is part of the model.
    if let Some(template) = &template.chat_template {
        set("chat template", template.clone());
    }
    if let Some(path) = &template.chat_template_file {
        set("chat template", file_fingerprint(path)?);
    }
    Ok(settings)
}

/// The same for a job of embeddings.
pub(super) fn describe_embedder(
    args: &Args,
    inputs: &[PathBuf],
    info: &EmbedderInfo,
) -> Result<Description> {
    let mut settings = Settings::new();
    let mut set = |name: &str, value: String| settings.insert(name.to_owned(), value);
    // The model that ships is no file, and is that of this version.
    let print = if info.path.exists() {
        fingerprint(&ModelFile::open(&info.path)?)?
    } else {
        String::new()
    };
    set("model", format!("{} {print}", info.model_name()));
    set("version", env!("CARGO_PKG_VERSION").to_owned());
    set("numeric", info.numeric.name().to_owned());
    set("context", info.max_model_len.to_string());
    set("pooling", info.pooling.to_string());
    Ok(described(args, inputs, settings))
}

/// A job with those settings.
pub(super) fn described(args: &Args, inputs: &[PathBuf], settings: Settings) -> Description {
    let inputs = inputs.iter().map(|path| absolute(path)).collect();
    Description::new(inputs, args.shard, settings)
}

fn file_fingerprint(path: &Path) -> Result<String> {
    adapter_fingerprint(path).with_context(|| path.display().to_string())
}

/// The same name for a file from wherever the command is run.
pub(in crate::cmd) fn absolute(path: &Path) -> String {
    if files::is_stream(path) {
        return path.display().to_string();
    }
    let found = path.canonicalize();
    found
        .unwrap_or_else(|_| path.to_owned())
        .display()
        .to_string()
}

/// The names by which rows may call a model unless said: its path, its file's name with
/// and without the ending, and what it calls itself.
pub(super) fn model_names(info: &ModelInfo) -> Vec<String> {
    names(&info.path, Some(&info.file))
}

/// The same for an embedder.
pub(super) fn embedder_names(info: &EmbedderInfo) -> Vec<String> {
    let file = ModelFile::open(&info.path).ok();
    names(&info.path, file.as_ref())
}

fn names(path: &Path, file: Option<&ModelFile>) -> Vec<String> {
    let mut names = vec![path.display().to_string()];
    let parts = [path.file_name(), path.file_stem()];
    for name in parts.into_iter().flatten() {
        names.push(name.to_string_lossy().into_owned());
    }
    if let Some(ModelFile::Gguf(gguf)) = file
        && let Ok(Some(name)) = gguf.metadata().str("general.name")
    {
        names.push(name.to_owned());
    }
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}
