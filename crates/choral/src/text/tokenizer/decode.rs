//! How tokens become text, one at a time.
//!
//! Owns the rules that make streaming hard: characters split over tokens, runs
//! of byte tokens, a space that belongs to the beginning only. A [`Stream`]
//! gives, piece by piece, exactly the text that decoding everything at once
//! would give. Text is held back only while a later token could still change it.

use serde_json::Value;

use super::byte_level;
use super::hf::kind;

/// The families of decoders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Style {
    /// Every token is bytes, in GPT-2's byte alphabet.
    ByteLevel,
    /// Tokens are text with `▁` for spaces; `<0xNN>` is a byte.
    Pieces(Pieces),
    /// Anything else: only the `tokenizers` crate knows.
    Other,
}

/// The settings of [`Style::Pieces`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pieces {
    /// What stands for a space.
    mark: String,
    space: String,
    /// Up to so many of these characters are cut off at the beginning.
    strip: Option<(char, usize)>,
}

/// What one token contributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::text) enum Piece {
    Text(String),
    /// Bytes that may begin or end inside a character.
    Bytes(Vec<u8>),
    /// A byte of a run that is text as a whole or not at all.
    RunByte(u8),
    /// As if the token were not there: it does not even end a run.
    Nothing,
}

impl Style {
    /// Recognises the `decoder` of a `tokenizer.json`.
    pub(super) fn of_decoder(decoder: Option<&Value>) -> Self {
        let Some(decoder) = decoder else {
            return Self::Other;
        };
        let single = std::slice::from_ref(decoder);
        let parts = match decoder.get("decoders").and_then(Value::as_array) {
            Some(parts) if kind(decoder) == "Sequence" => parts.as_slice(),
            _ => single,
        };
        let kinds: Vec<&str> = parts.iter().map(kind).collect();
        match kinds[..] {
            ["ByteLevel"] => Self::ByteLevel,
            ["Replace", "ByteFallback", "Fuse"] => Self::pieces(&parts[0], None),
            ["Replace", "ByteFallback", "Fuse", "Strip"] => {
                Self::pieces(&parts[0], Some(&parts[3]))
            }
            _ => Self::Other,
        }
    }

    fn pieces(replace: &Value, strip: Option<&Value>) -> Self {
        let mark = replace
            .get("pattern")
            .and_then(|pattern| pattern.get("String"));
        let space = replace.get("content");
        let (Some(mark), Some(space)) = (
            mark.and_then(Value::as_str).filter(|mark| !mark.is_empty()),
            space.and_then(Value::as_str),
        ) else {
            return Self::Other;
        };
        let strip = match strip {
            None => None,
            Some(strip) => {
                let count = |name: &str| strip.get(name).and_then(Value::as_u64);
                let content = strip.get("content").and_then(Value::as_str);
                let content = content.and_then(|content| content.chars().next());
                match (content, count("start"), count("stop")) {
                    (Some(content), Some(start), Some(0)) => {
                        Some((content, usize::try_from(start).unwrap_or(usize::MAX)))
                    }
                    _ => return Self::Other,
                }
            }
        };
        Self::Pieces(Pieces {
            mark: mark.into(),
            space: space.into(),
            strip,
        })
    }

    /// What `token`, an entry of the vocabulary, contributes; nothing for
    /// [`Style::Other`].
    pub(super) fn piece(&self, token: &str) -> Option<Piece> {
        match self {
            Self::ByteLevel => Some(Piece::Bytes(byte_level::bytes_of(token))),
            Self::Pieces(pieces) => Some(match byte_token(token) {
                Some(byte) => Piece::RunByte(byte),
                None => Piece::Text(token.replace(&pieces.mark, &pieces.space)),
            }),
            Self::Other => None,
        }
    }

    /// Begins a text; nothing for [`Style::Other`].
    pub(super) fn stream(&self) -> Option<Stream> {
        let strip = match self {
            Self::ByteLevel => None,
            Self::Pieces(pieces) => pieces.strip,
            Self::Other => return None,
        };
        Some(Stream {
            strip,
            ..Stream::default()
        })
    }
}

/// The byte of a token such as `<0x0A>`.
pub(super) fn byte_token(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok())?
}

/// Text in the making.
#[derive(Debug, Clone, Default)]
pub(in crate::text) struct Stream {
    /// The beginning of a character that is not complete.
    partial: Vec<u8>,
    /// Byte tokens since the last other token.
    run: Vec<u8>,
    /// Still to be cut off, as long as nothing has been written.
    strip: Option<(char, usize)>,
}

impl Stream {
    /// A stream that cuts one space off the beginning if `strip_space`.
    pub(in crate::text) fn new(strip_space: bool) -> Self {
        Self {
            strip: strip_space.then_some((' ', 1)),
            ..Self::default()
        }
    }

    /// Appends what has become certain to `out`.
    pub(in crate::text) fn push(&mut self, piece: &Piece, out: &mut String) {
        let start = out.len();
        match piece {
            Piece::Nothing => {}
            Piece::RunByte(byte) => self.run.push(*byte),
            Piece::Text(text) => {
                self.end_run(out);
                out.push_str(text);
            }
            Piece::Bytes(bytes) => {
                self.partial.extend_from_slice(bytes);
                self.take_characters(out);
            }
        }
        self.cut(start, out);
    }

    /// Ends the text: what is incomplete becomes U+FFFD.
    pub(in crate::text) fn finish(&mut self, out: &mut String) {
        let start = out.len();
        self.end_run(out);
        if !self.partial.is_empty() {
            out.push_str(&String::from_utf8_lossy(&self.partial));
            self.partial.clear();
        }
        self.cut(start, out);
    }

    /// The context so far is not part of the text: nothing is cut any more.
    pub(in crate::text) fn continue_after_context(&mut self) {
        self.strip = None;
    }

    /// A run of byte tokens is text if all of it is UTF-8; otherwise each byte
    /// of it becomes U+FFFD. So nothing of a run is certain before its end.
    fn end_run(&mut self, out: &mut String) {
        match std::str::from_utf8(&self.run) {
            Ok(text) => out.push_str(text),
            Err(_) => out.extend(self.run.iter().map(|_| char::REPLACEMENT_CHARACTER)),
        }
        self.run.clear();
    }

    /// Moves complete characters out of `partial`; invalid sequences become
    /// U+FFFD as `String::from_utf8_lossy` has them.
    fn take_characters(&mut self, out: &mut String) {
        let mut rest = &self.partial[..];
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    out.push_str(text);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    out.push_str(&String::from_utf8_lossy(valid));
                    let Some(invalid) = error.error_len() else {
                        rest = after;
                        break;
                    };
                    out.push(char::REPLACEMENT_CHARACTER);
                    rest = &after[invalid..];
                }
            }
        }
        let consumed = self.partial.len() - rest.len();
        self.partial.drain(..consumed);
    }

    fn cut(&mut self, start: usize, out: &mut String) {
        while let Some((c, count)) = self.strip {
            let Some(first) = out[start..].chars().next() else {
                return;
            };
            if count == 0 || first != c {
                self.strip = None;
                return;
            }
            out.replace_range(start..start + c.len_utf8(), "");
            self.strip = Some((c, count - 1));
        }
    }
}
