//! What there is to say about a file, as data.

mod metadata;

use super::Sections;
use super::subject::Subject;
use anyhow::Result;
use choral::model::{DecoderSpec, KvType, KvTypes, QkNorm, RopeScaling};
use choral_formats::gguf::Value;
use choral_formats::{JsonObject, TensorInfo};
use metadata::{gguf_value, metadata};
use serde::Serialize;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Everything that was asked for.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) summary: Option<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) metadata: Option<Vec<Entry>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tensors: Option<Vec<Tensor>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) chat_templates: Option<Vec<Template>>,
}

#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pub(super) format: String,
    pub(super) file_bytes: u64,
    pub(super) architectures: Vec<String>,
    /// Why choral cannot run it; absent if it can.
    pub(super) cannot_run: Option<String>,
    pub(super) model: Option<Shape>,
    pub(super) num_tensors: usize,
    pub(super) parameters: u64,
    pub(super) tensor_bytes: u64,
    pub(super) types: Vec<TypeTotal>,
    pub(super) tokenizer: Option<TokenizerKind>,
    /// Names and lengths of chat templates, in characters.
    pub(super) chat_templates: BTreeMap<String, usize>,
}

/// A decoder's dimensions.
#[derive(Debug, Serialize)]
pub(super) struct Shape {
    pub(super) architecture: &'static str,
    pub(super) layers: usize,
    pub(super) hidden: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) feed_forward: usize,
    pub(super) vocabulary: usize,
    pub(super) context: usize,
    pub(super) windowed_layers: usize,
    /// What it has that a plain Llama has not.
    pub(super) features: Vec<String>,
    pub(super) tied_embeddings: bool,
    /// Bytes of keys and values a token, in f16.
    pub(super) kv_token_bytes_f16: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct TypeTotal {
    #[serde(rename = "type")]
    pub(super) dtype: &'static str,
    pub(super) tensors: usize,
    pub(super) elements: u64,
    pub(super) bytes: u64,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct TokenizerKind {
    pub(super) kind: String,
    /// How text is split before merging, as the file names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pre: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tokens: Option<usize>,
    /// Why choral cannot use it; absent if it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cannot_use: Option<String>,
    /// `bos_token_id` and the like.
    pub(super) special: BTreeMap<String, Json>,
}

#[derive(Debug, Serialize)]
pub(super) struct Entry {
    pub(super) key: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// Length of an array or a string that is not shown in full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) len: Option<usize>,
    pub(super) value: Json,
}

#[derive(Debug, Serialize)]
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    #[serde(rename = "type")]
    pub(super) dtype: &'static str,
    pub(super) bytes: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Template {
    pub(super) name: String,
    pub(super) template: String,
}

impl Report {
    pub(super) fn of(subject: &Subject, sections: Sections, full: bool) -> Result<Self> {
        let templates = templates(subject)?;
        Ok(Self {
            path: subject.path().display().to_string(),
            summary: sections.summary.then(|| summary(subject, &templates)),
            metadata: sections.metadata.then(|| metadata(subject, full)),
            tensors: sections
                .tensors
                .then(|| subject.tensors().iter().map(tensor).collect()),
            chat_templates: sections.template.then_some(templates),
        })
    }
}

fn summary(subject: &Subject, templates: &[Template]) -> Summary {
    let mut types: Vec<TypeTotal> = Vec::new();
    for info in subject.tensors() {
        let name = info.dtype.name();
        let at = types
            .iter()
            .position(|t| t.dtype == name)
            .unwrap_or_else(|| {
                types.push(TypeTotal {
                    dtype: name,
                    tensors: 0,
                    elements: 0,
                    bytes: 0,
                });
                types.len() - 1
            });
        types[at].tensors += 1;
        types[at].elements += elements(info);
        types[at].bytes += bytes(info);
    }
    types.sort_by_key(|t| std::cmp::Reverse(t.bytes));
    let (model, cannot_run) = match subject.spec() {
        Ok((architecture, spec)) => (Some(shape(architecture, &spec)), None),
        Err(why) => (None, Some(why)),
    };
    Summary {
        format: subject.format(),
        file_bytes: subject.file_bytes(),
        architectures: subject.architectures(),
        cannot_run,
        model,
        num_tensors: subject.tensors().len(),
        parameters: types.iter().map(|t| t.elements).sum(),
        tensor_bytes: types.iter().map(|t| t.bytes).sum(),
        types,
        tokenizer: tokenizer(subject).map(|mut tokenizer| {
            tokenizer.cannot_use = subject.tokenizer_problem();
            tokenizer
        }),
        chat_templates: templates
            .iter()
            .map(|t| (t.name.clone(), t.template.chars().count()))
            .collect(),
    }
}

fn shape(architecture: &'static str, spec: &DecoderSpec) -> Shape {
    Shape {
        architecture,
        layers: spec.num_layers,
        hidden: spec.hidden_size,
        heads: spec.num_heads,
        kv_heads: spec.num_kv_heads,
        head_dim: spec.head_dim,
        feed_forward: spec.ffn.size,
        vocabulary: spec.vocab_size,
        context: spec.max_context,
        windowed_layers: spec
            .layers
            .iter()
            .filter(|layer| layer.window.is_some())
            .count(),
        features: features(spec),
        tied_embeddings: spec.tied_embeddings,
        kv_token_bytes_f16: spec.kv_token_bytes(KvTypes::both(KvType::F16)),
    }
}

fn features(spec: &DecoderSpec) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(moe) = &spec.moe {
        let (all, chosen) = (moe.num_experts, moe.num_chosen);
        let shared = if moe.shared_size > 0 {
            " and a shared one"
        } else {
            ""
        };
        found.push(format!("{all} experts, {chosen} a token{shared}"));
    }
    let windows: BTreeSet<usize> = spec.layers.iter().filter_map(|l| l.window).collect();
    found.extend(windows.iter().map(|w| format!("window of {w} tokens")));
    let scalings: BTreeSet<&str> = spec
        .ropes
        .iter()
        .filter_map(|rope| match rope.scaling {
            RopeScaling::None => None,
            RopeScaling::Linear { .. } => Some("linear RoPE"),
            RopeScaling::Ntk { .. } => Some("dynamic RoPE"),
            RopeScaling::Llama3 { .. } => Some("Llama 3 RoPE"),
            RopeScaling::Yarn { .. } => Some("YaRN"),
            RopeScaling::Long { .. } => Some("LongRoPE"),
            _ => Some("scaled RoPE"),
        })
        .collect();
    found.extend(scalings.into_iter().map(str::to_owned));
    let bare = spec.layers.iter().filter(|l| l.rope.is_none()).count();
    let has = [
        (spec.learned_positions, "learned positions"),
        (
            bare > 0 && !spec.learned_positions,
            "layers without rotation",
        ),
        (spec.qk_norm != QkNorm::None, "norms of Q and K"),
        (spec.attention.sinks, "attention sinks"),
        (
            spec.attention.softcap.is_some() || spec.logit_softcap.is_some(),
            "soft caps",
        ),
    ];
    found.extend(
        has.iter()
            .filter(|(has, _)| *has)
            .map(|(_, what)| (*what).to_owned()),
    );
    found
}

// The readers have checked that both fit.
fn elements(info: &TensorInfo) -> u64 {
    info.elements().unwrap_or(0) as u64
}

fn bytes(info: &TensorInfo) -> u64 {
    info.byte_len().unwrap_or(0) as u64
}

fn tensor(info: &TensorInfo) -> Tensor {
    Tensor {
        name: info.name.clone(),
        shape: info.shape.clone(),
        dtype: info.dtype.name(),
        bytes: bytes(info),
    }
}

fn tokenizer(subject: &Subject) -> Option<TokenizerKind> {
    if let Some(gguf) = subject.gguf() {
        let metadata = gguf.metadata();
        let text = |key| metadata.str(key).ok().flatten().map(str::to_owned);
        let special = metadata.iter().filter_map(|(key, value)| {
            let name = key.strip_prefix("tokenizer.ggml.")?;
            let wanted = name.ends_with("_token_id") || name.starts_with("add_");
            wanted.then(|| (name.to_owned(), gguf_value(value, false).value))
        });
        return Some(TokenizerKind {
            kind: text("tokenizer.ggml.model")?,
            pre: text("tokenizer.ggml.pre"),
            tokens: metadata
                .strings("tokenizer.ggml.tokens")
                .ok()
                .flatten()
                .map(choral_formats::gguf::Strings::len),
            cannot_use: None,
            special: special.collect(),
        });
    }
    let folder = subject.folder()?;
    let mut special = BTreeMap::new();
    if let Ok(config) = JsonObject::open(folder.join("tokenizer_config.json")) {
        for (key, value) in config.iter() {
            let wanted = key.ends_with("_token") && (value.is_string() || value.is_object());
            if wanted || key.starts_with("add_") {
                special.insert(
                    key.to_owned(),
                    value.get("content").unwrap_or(value).clone(),
                );
            }
        }
    }
    let file = folder.join("tokenizer.json");
    if !file.exists() {
        let sentencepiece = folder.join("tokenizer.model").exists();
        return sentencepiece.then(|| TokenizerKind {
            kind: "tokenizer.model (SentencePiece) alone".into(),
            special,
            ..TokenizerKind::default()
        });
    }
    Some(match JsonObject::open(&file) {
        Ok(tokenizer) => TokenizerKind {
            kind: json_kind(&tokenizer),
            pre: None,
            tokens: json_tokens(&tokenizer),
            cannot_use: None,
            special,
        },
        Err(error) => TokenizerKind {
            kind: format!("unreadable: {error}"),
            ..TokenizerKind::default()
        },
    })
}

fn json_kind(tokenizer: &JsonObject) -> String {
    let kind = tokenizer.get("model").and_then(|model| model.get("type"));
    kind.and_then(Json::as_str).unwrap_or("not stated").into()
}

/// Entries of the vocabulary, and added tokens that are not among them.
fn json_tokens(tokenizer: &JsonObject) -> Option<usize> {
    let vocab = tokenizer.get("model")?.get("vocab")?;
    let added = tokenizer.get("added_tokens").and_then(Json::as_array);
    let added = added.into_iter().flatten();
    Some(match vocab {
        Json::Object(map) => {
            let is_new = |token: &&Json| {
                let text = token.get("content").and_then(Json::as_str);
                text.is_some_and(|text| !map.contains_key(text))
            };
            map.len() + added.filter(is_new).count()
        }
        // Unigram: added tokens repeat entries of the list.
        Json::Array(list) => list.len(),
        _ => return None,
    })
}

/// Chat templates wherever files keep them; the unnamed one is `default`.
fn templates(subject: &Subject) -> Result<Vec<Template>> {
    let named = |name: &str, template: &str| Template {
        name: name.to_owned(),
        template: template.to_owned(),
    };
    if let Some(gguf) = subject.gguf() {
        let found = gguf.metadata().iter().filter_map(|(key, value)| {
            let name = key.strip_prefix("tokenizer.chat_template")?;
            let Value::String(text) = value else {
                return None;
            };
            let name = name.strip_prefix('.').unwrap_or("default");
            Some(named(name, &String::from_utf8_lossy(text.as_bytes())))
        });
        return Ok(found.collect());
    }
    let mut found = Vec::new();
    let Some(folder) = subject.folder() else {
        return Ok(found);
    };
    if let Some(text) = small_text(&folder.join("chat_template.jinja"))? {
        found.push(named("default", &text));
    }
    let Ok(config) = JsonObject::open(folder.join("tokenizer_config.json")) else {
        return Ok(found);
    };
    match config.get("chat_template") {
        Some(Json::String(text)) if found.is_empty() => found.push(named("default", text)),
        Some(Json::Array(list)) => found.extend(list.iter().filter_map(|entry| {
            let text = |key| entry.get(key)?.as_str();
            Some(named(text("name")?, text("template")?))
        })),
        _ => {}
    }
    Ok(found)
}

fn small_text(path: &Path) -> Result<Option<String>> {
    use anyhow::Context as _;
    use std::io::Read as _;
    const MOST: u64 = 16 << 20;
    if !path.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    file.take(MOST).read_to_end(&mut bytes)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}
