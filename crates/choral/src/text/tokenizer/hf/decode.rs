//! From tokens to text, piece by piece.
//!
//! A `decoder` of `tokenizer.json` is a chain of stages, which the `tokenizers`
//! crate runs over a list of all tokens. Here each stage passes on what is certain
//! as soon as it is, so that a stream and a whole list take the same way. Stages
//! see single tokens until one of them joins them; what comes after that sees one
//! text, in parts.

use std::path::Path;

use serde_json::Value;
use tokenizers::decoders::wordpiece;
use tokenizers::normalizers::replace::{Replace, ReplacePattern};
use tokenizers::{Decoder as _, DecoderWrapper};

use super::guard;
use crate::text::tokenizer::utf8::Utf8Stream;
use crate::text::tokenizer::{TokenizerError, bytes};

/// The stages of one tokenizer.
#[derive(Debug)]
pub(super) struct Decoder {
    stages: Vec<Stage>,
}

#[derive(Debug)]
enum Stage {
    /// No decoder at all: a space between two tokens.
    Spaces,
    Replace(Replace),
    Strip {
        content: char,
        start: usize,
        stop: usize,
    },
    /// `<0x0A>` and its like. A run of them is text if all of it is UTF-8, and
    /// U+FFFD for each if not: nothing is certain before the run ends.
    ByteFallback,
    /// Joins tokens, each spelled in the alphabet of [`bytes`].
    ByteLevel,
    /// Joins tokens.
    Fuse,
    Metaspace {
        replacement: char,
        /// The first token loses its spaces rather than have them.
        drop_first: bool,
    },
    WordPiece {
        prefix: String,
        cleanup: bool,
    },
    /// The suffix is a space, except in the last token.
    Bpe {
        suffix: String,
    },
    /// After a joint: characters at the beginning of the text.
    StripText {
        content: char,
        start: usize,
    },
    /// After a joint: one character for another text.
    ReplaceChar {
        from: char,
        to: String,
    },
    /// After a joint: whatever must see the whole text at once.
    Whole(Vec<DecoderWrapper>),
}

/// What each stage remembers.
#[derive(Debug, Clone)]
pub(in crate::text) struct HfDecodeState(Vec<StageState>);

#[derive(Debug, Clone)]
enum StageState {
    Nothing,
    /// Whether a token has been seen.
    Begun(bool),
    Bytes(Vec<u8>),
    Utf8(Utf8Stream),
    /// Characters that may still be stripped.
    Left(usize),
    Held(Option<String>),
}

impl Decoder {
    /// Reads the `decoder` field, which may be null.
    pub(super) fn from_json(file: &Path, decoder: &Value) -> Result<Self, TokenizerError> {
        guard::check_growth(file, "decoder", [decoder])?;
        if decoder.is_null() {
            return Ok(Self {
                stages: vec![Stage::Spaces],
            });
        }
        let mut list = Vec::new();
        flatten(decoder, &mut list);
        let mut stages = Vec::new();
        let mut joined = false;
        for (i, value) in list.iter().enumerate() {
            let stage = if joined {
                match Stage::after_joint(value) {
                    Some(stage) => stage,
                    None => {
                        let rest = list[i..].iter().map(|value| parse(file, value));
                        stages.push(Stage::Whole(rest.collect::<Result<_, _>>()?));
                        break;
                    }
                }
            } else {
                Stage::of_tokens(file, value)?
            };
            joined |= matches!(stage, Stage::Fuse | Stage::ByteLevel);
            stages.push(stage);
        }
        Ok(Self { stages })
    }

    pub(super) fn start(&self) -> HfDecodeState {
        HfDecodeState(self.stages.iter().map(Stage::start).collect())
    }

    /// Adds a token; writes the text that is certain by now.
    pub(super) fn push(&self, state: &mut HfDecodeState, token: String, out: &mut String) {
        push(&self.stages, &mut state.0, token, out);
    }

    /// Writes the text that was still open.
    pub(super) fn finish(&self, state: &mut HfDecodeState, out: &mut String) {
        for i in 0..self.stages.len() {
            let (before, rest) = state.0.split_at_mut(i + 1);
            let rest_stages = &self.stages[i + 1..];
            self.stages[i].finish(&mut before[i], |item| push(rest_stages, rest, item, out));
        }
    }

    /// The bytes of a token in the middle of a text.
    pub(super) fn bytes(&self, mut token: String) -> Vec<u8> {
        for stage in &self.stages {
            match stage {
                Stage::ByteFallback => {
                    if let Some(byte) = bytes::named_byte(&token) {
                        return vec![byte];
                    }
                }
                Stage::ByteLevel => {
                    return bytes::bytes_of(&token).unwrap_or_else(|| token.into_bytes());
                }
                // Both concern the ends of a text.
                Stage::StripText { .. } | Stage::Whole(_) => break,
                Stage::Bpe { suffix } => token = token.replace(suffix, " "),
                stage => {
                    let mut result = String::new();
                    let mut state = match stage.start() {
                        StageState::Begun(_) => StageState::Begun(true),
                        state => state,
                    };
                    stage.push(&mut state, token, |item| result.push_str(&item));
                    token = result;
                }
            }
        }
        token.into_bytes()
    }
}

/// The elements of nested sequences, in order. Sequences that nest deeply do not
/// get here: the JSON parser has a limit.
fn flatten<'a>(decoder: &'a Value, list: &mut Vec<&'a Value>) {
    match (&decoder["type"], decoder["decoders"].as_array()) {
        (Value::String(kind), Some(decoders)) if kind == "Sequence" => {
            decoders.iter().for_each(|decoder| flatten(decoder, list));
        }
        _ => list.push(decoder),
    }
}

fn parse(file: &Path, value: &Value) -> Result<DecoderWrapper, TokenizerError> {
    let kind = guard::kind(file, "decoder", value)?;
    if !matches!(
        kind,
        "BPEDecoder" | "ByteLevel" | "WordPiece" | "Metaspace" | "Replace" | "Fuse" | "Strip" | "ByteFallback"
    ) {
        return Err(TokenizerError::unsupported(file, "decoder", kind));
    }
    serde_json::from_value(value.clone())
        .map_err(|error| TokenizerError::invalid(file, "decoder", error))
}

/// Runs an item through stages.
fn push(stages: &[Stage], states: &mut [StageState], item: String, out: &mut String) {
    match (stages.split_first(), states.split_first_mut()) {
        (Some((stage, stages)), Some((state, states))) => {
            stage.push(state, item, |item| push(stages, states, item, out));
        }
        _ => out.push_str(&item),
    }
}

impl Stage {
    fn of_tokens(file: &Path, value: &Value) -> Result<Self, TokenizerError> {
        Ok(match parse(file, value)? {
            DecoderWrapper::BPE(bpe) => Self::Bpe { suffix: bpe.suffix },
            DecoderWrapper::ByteLevel(_) => Self::ByteLevel,
            DecoderWrapper::WordPiece(decoder) => Self::WordPiece {
                prefix: decoder.prefix,
                cleanup: decoder.cleanup,
            },
            DecoderWrapper::Metaspace(decoder) => Self::Metaspace {
                replacement: decoder.get_replacement(),
                drop_first: value["prepend_scheme"] != "never"
                    && value["add_prefix_space"] != Value::Bool(false),
            },
            DecoderWrapper::Replace(replace) => Self::Replace(replace),
            DecoderWrapper::Fuse(_) => Self::Fuse,
            DecoderWrapper::Strip(strip) => Self::Strip {
                content: strip.content,
                start: strip.start,
                stop: strip.stop,
            },
            DecoderWrapper::ByteFallback(_) => Self::ByteFallback,
            DecoderWrapper::CTC(_) | DecoderWrapper::Sequence(_) => {
                unreachable!("`parse` refuses CTC, and `flatten` removes sequences")
            }
        })
    }

    /// The stage for a text in parts, if the decoder can do with parts.
    fn after_joint(value: &Value) -> Option<Self> {
        match value["type"].as_str()? {
            "Fuse" => Some(Self::Fuse),
            "Strip" => {
                let strip: tokenizers::decoders::strip::Strip =
                    serde_json::from_value(value.clone()).ok()?;
                (strip.stop == 0).then_some(Self::StripText {
                    content: strip.content,
                    start: strip.start,
                })
            }
            "Replace" => {
                let pattern = serde_json::from_value(value["pattern"].clone()).ok()?;
                let ReplacePattern::String(pattern) = pattern else {
                    return None;
                };
                let mut chars = pattern.chars();
                let (Some(from), None) = (chars.next(), chars.next()) else {
                    return None;
                };
                let to = value["content"].as_str()?.to_owned();
                Some(Self::ReplaceChar { from, to })
            }
            _ => None,
        }
    }

    fn start(&self) -> StageState {
        match self {
            Self::Spaces | Self::Metaspace { .. } | Self::WordPiece { .. } => StageState::Begun(false),
            Self::ByteFallback => StageState::Bytes(Vec::new()),
            Self::ByteLevel => StageState::Utf8(Utf8Stream::default()),
            Self::StripText { start, .. } => StageState::Left(*start),
            Self::Bpe { .. } | Self::Whole(_) => StageState::Held(None),
            _ => StageState::Nothing,
        }
    }

    fn push(&self, state: &mut StageState, item: String, mut emit: impl FnMut(String)) {
        match (self, state) {
            (Self::Spaces, StageState::Begun(begun)) => {
                let begun = std::mem::replace(begun, true);
                emit(if begun { format!(" {item}") } else { item });
            }
            (Self::Replace(replace), _) => {
                let replaced = replace.decode_chain(vec![item]).unwrap_or_default();
                replaced.into_iter().for_each(emit);
            }
            (Self::Strip { content, start, stop }, _) => emit(strip(&item, *content, *start, *stop)),
            (Self::ByteFallback, StageState::Bytes(run)) => {
                if let Some(byte) = bytes::named_byte(&item) {
                    run.push(byte);
                } else {
                    flush_bytes(run, &mut emit);
                    emit(item);
                }
            }
            (Self::ByteLevel, StageState::Utf8(utf8)) => {
                let mut text = String::new();
                let bytes = bytes::bytes_of(&item).unwrap_or_else(|| item.into_bytes());
                utf8.push(&bytes, &mut text);
                emit(text);
            }
            (Self::Metaspace { replacement, drop_first }, StageState::Begun(begun)) => {
                let begun = std::mem::replace(begun, true);
                let space = if *drop_first && !begun { "" } else { " " };
                emit(item.replace(*replacement, space));
            }
            (Self::WordPiece { prefix, cleanup }, StageState::Begun(begun)) => {
                let text = match item.strip_prefix(prefix.as_str()) {
                    _ if !std::mem::replace(begun, true) => item,
                    Some(rest) => rest.to_owned(),
                    None => format!(" {item}"),
                };
                emit(if *cleanup { wordpiece::cleanup(&text) } else { text });
            }
            (Self::Bpe { suffix }, StageState::Held(held)) => {
                if let Some(token) = held.replace(item) {
                    emit(token.replace(suffix, " "));
                }
            }
            (Self::StripText { content, .. }, StageState::Left(left)) => {
                let rest = strip(&item, *content, *left, 0);
                let stripped = (item.len() - rest.len()) / content.len_utf8();
                *left = if rest.is_empty() { *left - stripped } else { 0 };
                emit(rest);
            }
            (Self::ReplaceChar { from, to }, _) => emit(item.replace(*from, to)),
            (Self::Whole(_), StageState::Held(held)) => {
                held.get_or_insert_default().push_str(&item);
            }
            _ => emit(item),
        }
    }

    fn finish(&self, state: &mut StageState, mut emit: impl FnMut(String)) {
        match (self, state) {
            (Self::ByteFallback, StageState::Bytes(run)) => flush_bytes(run, &mut emit),
            (Self::ByteLevel, StageState::Utf8(utf8)) => {
                let mut text = String::new();
                utf8.finish(&mut text);
                emit(text);
            }
            (Self::Bpe { suffix }, StageState::Held(held)) => {
                if let Some(token) = held.take() {
                    emit(token.replace(suffix, ""));
                }
            }
            (Self::Whole(decoders), StageState::Held(held)) => {
                let mut items = vec![held.take().unwrap_or_default()];
                for decoder in decoders {
                    items = decoder.decode_chain(items).unwrap_or_default();
                }
                items.into_iter().for_each(emit);
            }
            _ => {}
        }
    }
}

/// `text` without up to `start` and `stop` times `content` at its ends.
fn strip(text: &str, content: char, start: usize, stop: usize) -> String {
    let mut text = text;
    for _ in 0..start {
        let Some(rest) = text.strip_prefix(content) else { break };
        text = rest;
    }
    for _ in 0..stop {
        let Some(rest) = text.strip_suffix(content) else { break };
        text = rest;
    }
    text.to_owned()
}

fn flush_bytes(run: &mut Vec<u8>, emit: &mut impl FnMut(String)) {
    if run.is_empty() {
        return;
    }
    match String::from_utf8(std::mem::take(run)) {
        Ok(text) => emit(text),
        Err(error) => {
            for _ in error.as_bytes() {
                emit(char::REPLACEMENT_CHARACTER.to_string());
            }
        }
    }
}
