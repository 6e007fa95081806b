//! Where models keep their chat templates.
//!
//! Source: transformers `tokenization_utils_base.py` (files and their order),
//! llama.cpp `llama-arch.cpp` (metadata keys).

use std::collections::BTreeMap;
use std::path::Path;

use choral_formats::gguf::Metadata;
use choral_formats::{JsonObject, ModelFile};
use serde_json::Value;

use super::{ChatTemplate, TemplateError};
use crate::text::Tokenizer;
use crate::text::jinja::Template;
use crate::text::tokenizer::read_text;

/// The name of the template for conversations with tools.
const TOOL_USE: &str = "tool_use";

fn bad_source(error: impl std::fmt::Display) -> TemplateError {
    TemplateError::Source(error.to_string())
}

impl ChatTemplate {
    /// The template of an open model; `None` if it has none.
    ///
    /// # Errors
    /// If the template does not parse. The model itself may still be used for
    /// plain completions.
    pub fn from_file(
        file: &ModelFile,
        tokenizer: &Tokenizer,
    ) -> Result<Option<Self>, TemplateError> {
        match file {
            ModelFile::Gguf(gguf) => Self::from_gguf(gguf.metadata(), tokenizer),
            ModelFile::Hf(dir) => Self::from_hf_dir(&dir.path, tokenizer),
        }
    }

    /// The template of a Hugging Face directory: `chat_template.jinja`, or else
    /// the `chat_template` of `tokenizer_config.json` (text, or a list of named
    /// ones), or else `chat_template.json`. `None` if the model has none.
    pub fn from_hf_dir(
        path: impl AsRef<Path>,
        tokenizer: &Tokenizer,
    ) -> Result<Option<Self>, TemplateError> {
        Self::from_named(&Self::sources_in_hf_dir(path)?, tokenizer)
    }

    /// The texts of a directory's templates, by name: `default`, and perhaps `tool_use`.
    pub(crate) fn sources_in_hf_dir(
        path: impl AsRef<Path>,
    ) -> Result<BTreeMap<String, String>, TemplateError> {
        let path = path.as_ref();
        let mut named = BTreeMap::new();
        let file = path.join("chat_template.jinja");
        if file.is_file() {
            named.insert("default".into(), read_text(&file).map_err(bad_source)?);
            let tools = path.join("additional_chat_templates/tool_use.jinja");
            if tools.is_file() {
                named.insert(TOOL_USE.into(), read_text(&tools).map_err(bad_source)?);
            }
        }
        for name in ["tokenizer_config.json", "chat_template.json"] {
            let file = path.join(name);
            if named.is_empty() && file.is_file() {
                let config = JsonObject::open(&file).map_err(bad_source)?;
                if config.has("chat_template") {
                    named = named_templates(&config)?;
                }
            }
        }
        Ok(named)
    }

    /// The template in the metadata of a GGUF file: `tokenizer.chat_template`,
    /// and `tokenizer.chat_template.tool_use` for conversations with tools.
    /// `None` if the file has none.
    pub fn from_gguf(
        metadata: &Metadata,
        tokenizer: &Tokenizer,
    ) -> Result<Option<Self>, TemplateError> {
        let mut named = BTreeMap::new();
        for (name, key) in [
            ("default", "tokenizer.chat_template"),
            (TOOL_USE, "tokenizer.chat_template.tool_use"),
        ] {
            if let Some(source) = metadata.str(key).map_err(bad_source)? {
                named.insert(name.to_owned(), source.to_owned());
            }
        }
        Self::from_named(&named, tokenizer)
    }

    fn from_named(
        named: &BTreeMap<String, String>,
        tokenizer: &Tokenizer,
    ) -> Result<Option<Self>, TemplateError> {
        let tool_use = named.get(TOOL_USE);
        let Some(default) = named.get("default").or(tool_use) else {
            return match named.keys().next() {
                None => Ok(None),
                Some(name) => Err(TemplateError::Source(format!(
                    "there is one named `{name}`, but no default"
                ))),
            };
        };
        let mut template = Self::new(default, tokenizer.special_tokens().clone())?;
        template.tool_use = tool_use.map(|source| Template::parse(source)).transpose()?;
        Ok(Some(template))
    }
}

/// `chat_template`: text, or `[{"name": .., "template": ..}, ..]`.
fn named_templates(config: &JsonObject) -> Result<BTreeMap<String, String>, TemplateError> {
    if let Some(Value::Array(_)) = config.get("chat_template") {
        let entries = config.objects("chat_template").map_err(bad_source)?;
        let entries = entries.unwrap_or_default();
        return entries
            .iter()
            .map(|entry| {
                let name: &str = entry.required("name").map_err(bad_source)?;
                let source: &str = entry.required("template").map_err(bad_source)?;
                Ok((name.to_owned(), source.to_owned()))
            })
            .collect();
    }
    let source: &str = config.required("chat_template").map_err(bad_source)?;
    Ok(BTreeMap::from([("default".into(), source.to_owned())]))
}
