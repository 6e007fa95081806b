//! From tokens to text, piece by piece.
//!
//! A `decoder` of `tokenizer.json` is a chain of stages, which the `tokenizers`
//! crate runs over a list of all tokens. Here each stage passes on what is certain
//! as soon as it is, so that a stream and a whole list take the same way. Stages
//! see single tokens until one of them joins them; what comes after that sees one
//! text, in parts.

#[cfg(test)]
mod tests;

use serde_json::Value;
use tokenizers::decoders::strip::Strip;
use tokenizers::decoders::wordpiece;
use tokenizers::normalizers::replace::Replace;
use tokenizers::{Decoder as _, DecoderWrapper};

use super::growth;
use super::json::build;
use super::structure::{self, kind, members};
use crate::text::tokenizer::bytes;
use crate::text::tokenizer::utf8::Utf8Stream;

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
    /// After a joint: stages that must see the whole text at once, as one token.
    Whole(Decoder),
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
    /// From the `decoder` of a file, if it has one.
    pub(super) fn new(decoder: Option<&Value>) -> Result<Self, String> {
        let Some(decoder) = decoder else {
            return Ok(Self {
                stages: vec![Stage::Spaces],
            });
        };
        structure::check_decoder(decoder)?;
        growth::check([decoder])?;
        let mut list = Vec::new();
        flatten(decoder, &mut list);
        Self::from_list(&list)
    }

    fn from_list(list: &[&Value]) -> Result<Self, String> {
        let mut stages = Vec::new();
        let mut joined = false;
        for (i, value) in list.iter().enumerate() {
            let stage = match joined.then(|| Stage::after_joint(value)) {
                None => Stage::of_tokens(value)?,
                Some(Some(stage)) => stage,
                Some(None) => {
                    stages.push(Stage::Whole(Self::from_list(&list[i..])?));
                    break;
                }
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

/// The members of nested sequences, in order. They cannot nest deeply: the JSON
/// parser has a limit.
fn flatten<'v>(decoder: &'v Value, list: &mut Vec<&'v Value>) {
    match members(decoder) {
        Some(parts) => parts.iter().for_each(|part| flatten(part, list)),
        None => list.push(decoder),
    }
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
    fn of_tokens(value: &Value) -> Result<Self, String> {
        Ok(match build(value)? {
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
                unreachable!("`structure` refuses CTC, and `flatten` takes sequences apart")
            }
        })
    }

    /// The stage for a text in parts, if the decoder can do with parts.
    fn after_joint(value: &Value) -> Option<Self> {
        match kind(value) {
            "Fuse" => Some(Self::Fuse),
            "Strip" => {
                let strip: Strip = build(value).ok()?;
                (strip.stop == 0).then_some(Self::StripText {
                    content: strip.content,
                    start: strip.start,
                })
            }
            "Replace" => {
                let mut chars = value["pattern"]["String"].as_str()?.chars();
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
            Self::Spaces | Self::Metaspace { .. } | Self::WordPiece { .. } => {
                StageState::Begun(false)
            }
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
            (
                Self::Strip {
                    content,
                    start,
                    stop,
                },
                _,
            ) => emit(strip(&item, *content, *start, *stop)),
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
            (
                Self::Metaspace {
                    replacement,
                    drop_first,
                },
                StageState::Begun(begun),
            ) => {
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
                emit(if *cleanup {
                    wordpiece::cleanup(&text)
                } else {
                    text
                });
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
            (Self::Whole(decoder), StageState::Held(held)) => {
                let mut text = String::new();
                let mut state = decoder.start();
                decoder.push(&mut state, held.take().unwrap_or_default(), &mut text);
                decoder.finish(&mut state, &mut text);
                emit(text);
            }
            _ => {}
        }
    }
}

/// `text` without up to `start` and `stop` times `content` at its ends.
fn strip(text: &str, content: char, start: usize, stop: usize) -> String {
    let mut text = text;
    for _ in 0..start {
        let Some(rest) = text.strip_prefix(content) else {
            break;
        };
        text = rest;
    }
    for _ in 0..stop {
        let Some(rest) = text.strip_suffix(content) else {
            break;
        };
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
