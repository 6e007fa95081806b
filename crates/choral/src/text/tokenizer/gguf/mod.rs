//! Tokenizers of GGUF files.
//!
//! Owns what `tokenizer.ggml.*` means. The reference is llama.cpp: ids are to be
//! the same, whatever the original tokenizer would have said. [`vocab`] holds
//! the tokens and their kinds; [`spm`], [`bpe`] and [`wpm`] turn text without special
//! tokens into ids; [`partition`] finds the special tokens.

mod bpe;
mod partition;
mod pre;
mod spm;
#[cfg(test)]
mod tests;
mod vocab;
mod wpm;

use std::borrow::Cow;

use choral_formats::gguf::Metadata;

use super::utf8::Utf8Stream;
use super::{EncodeOptions, SpecialTokens, TokenizerError, bytes};
use bpe::Bpe;
use partition::{Fragment, Partition};
use pre::PreTokenizer;
use spm::Spm;
use vocab::{Kind, Vocab};
use wpm::Wpm;

#[derive(Debug)]
pub(super) struct GgufTokenizer {
    vocab: Vocab,
    partition: Partition,
    model: Model,
    /// Added before a whole text.
    bos: Option<u32>,
    /// Added after a whole text.
    end: Vec<u32>,
}

#[derive(Debug)]
enum Model {
    Spm { model: Spm, add_space_prefix: bool },
    Bpe(Box<Bpe>),
    Wpm(Wpm),
}

/// Where a stream of ids is on its way to text.
#[derive(Debug, Clone)]
pub(in crate::text) struct GgufDecodeState {
    /// The next piece loses one leading space.
    strip_space: bool,
    utf8: Utf8Stream,
}

/// Reads the tokenizer of a file, and which tokens have a role.
pub(super) fn load(metadata: &Metadata) -> Result<(GgufTokenizer, SpecialTokens), TokenizerError> {
    let Some(model) = metadata.str("tokenizer.ggml.model")? else {
        let path = metadata.file().to_path_buf();
        let expected = "metadata key `tokenizer.ggml.model`".to_owned();
        return Err(TokenizerError::Missing { path, expected });
    };
    // The default ids are llama.cpp's for `llama`. Those for `gpt2` are Falcon's,
    // and an ordinary token's in any other vocabulary.
    let is_wpm = model == "bert";
    let (pre, default_unk, default_bos, default_eos) = match model {
        "llama" => (None, Some(0), Some(1), Some(2)),
        "bert" => (None, Some(100), Some(101), None),
        "gemma4" => (PreTokenizer::named(model), None, None, None),
        "gpt2" => {
            let name = metadata.str("tokenizer.ggml.pre")?.unwrap_or_else(|| {
                tracing::warn!(
                    "{}: no `tokenizer.ggml.pre`: splitting words by the rules of `default`, \
                     which may not be the model's",
                    metadata.file().display()
                );
                "default"
            });
            let pre = PreTokenizer::named(name).ok_or_else(|| {
                TokenizerError::unsupported(
                    metadata.file(),
                    "pre-tokenizer (`tokenizer.ggml.pre`)",
                    name,
                )
            })?;
            (Some(pre), None, None, None)
        }
        name => {
            return Err(TokenizerError::unsupported(
                metadata.file(),
                "tokenizer model (`tokenizer.ggml.model`)",
                name,
            ));
        }
    };
    let mut vocab = Vocab::read(metadata)?;
    let cls = if is_wpm {
        special_id(metadata, &vocab, "cls", None)?
    } else {
        None
    };
    let bos = match cls {
        Some(cls) => Some(cls),
        None => special_id(metadata, &vocab, "bos", default_bos)?,
    };
    let sep = special_id(metadata, &vocab, "sep", is_wpm.then_some(102))?;
    let eos = special_id(metadata, &vocab, "eos", default_eos)?;
    let eot = special_id(metadata, &vocab, "eot", None)?;
    let eom = special_id(metadata, &vocab, "eom", None)?;
    let unk = special_id(metadata, &vocab, "unk", default_unk)?;
    let ends = vocab.mark_ends(metadata, [eos, eot, eom])?;

    let default_add_bos = pre.is_none_or(|pre| pre.add_bos);
    let added_bos = added_token(metadata, "bos", default_add_bos, bos)?;
    let added_eos = added_token(metadata, "eos", false, eos)?;

    let mut end: Vec<u32> = added_eos.into_iter().collect();
    if is_wpm {
        end.extend(added_token(metadata, "sep", true, sep)?);
    }

    let partition = Partition::new(&vocab, metadata)?;
    let model = match pre {
        None if is_wpm => Model::Wpm(Wpm::new(&vocab, unk, metadata)?),
        None => Model::Spm {
            model: Spm::new(&vocab, unk, metadata)?,
            add_space_prefix: metadata
                .bool("tokenizer.ggml.add_space_prefix")?
                .unwrap_or(true),
        },
        Some(pre) => Model::Bpe(Box::new(Bpe::new(&vocab, &pre, metadata)?)),
    };

    let mut special = SpecialTokens {
        bos,
        eos: ends,
        ..SpecialTokens::default()
    };
    let pad = special_id(metadata, &vocab, "pad", None)?;
    let roles = [
        ("bos", bos),
        ("eos", eos),
        ("unk", unk),
        ("pad", pad),
        ("sep", sep),
    ];
    for (role, id) in roles {
        if let Some(text) = id.and_then(|id| vocab.text(id)) {
            special.texts.insert(format!("{role}_token"), text);
        }
    }
    let tokenizer = GgufTokenizer {
        vocab,
        partition,
        model,
        bos: added_bos,
        end,
    };
    Ok((tokenizer, special))
}

/// The token that encoding adds on one side of a text, if it adds one.
fn added_token(
    metadata: &Metadata,
    role: &str,
    default: bool,
    id: Option<u32>,
) -> Result<Option<u32>, TokenizerError> {
    let key = format!("tokenizer.ggml.add_{role}_token");
    match metadata.bool(&key)? {
        Some(true) if id.is_none() => {
            let problem = format!("is true, but the file names no {role} token");
            let part = format!("metadata key `{key}`");
            Err(TokenizerError::invalid(metadata.file(), part, problem))
        }
        add => Ok(id.filter(|_| add.unwrap_or(default))),
    }
}

/// The id that a file gives a role; one outside the vocabulary counts as none.
fn special_id(
    metadata: &Metadata,
    vocab: &Vocab,
    role: &str,
    default: Option<u32>,
) -> Result<Option<u32>, TokenizerError> {
    let known = |id: &u32| (*id as usize) < vocab.len();
    // `eot` and `eom` came late; the others have the older, longer names.
    let names = match role {
        "unk" => ["unknown", "unk"],
        "pad" => ["padding", "pad"],
        "sep" => ["seperator", "separator"],
        role => [role, role],
    };
    let default = default.filter(known);
    for name in names {
        let key = format!("tokenizer.ggml.{name}_token_id");
        if let Some(id) = metadata.u32(&key)? {
            if known(&id) {
                return Ok(Some(id));
            }
            tracing::warn!(
                "{}: `{key}` is {id}, but there are {} tokens: ignored",
                metadata.file().display(),
                vocab.len()
            );
        }
    }
    Ok(default)
}

impl GgufTokenizer {
    pub(super) fn encode(
        &self,
        text: &str,
        options: EncodeOptions,
    ) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::new();
        if options.add_special {
            ids.extend(self.bos);
        }
        // A space is put before the text, and again after each special token.
        let mut after_special = true;
        for fragment in self.partition.split(text, options.parse_special) {
            match fragment {
                Fragment::Token(id) => {
                    ids.push(id);
                    after_special = true;
                }
                Fragment::Text(text) => {
                    match &self.model {
                        Model::Spm {
                            model,
                            add_space_prefix,
                        } => {
                            let prefix = *add_space_prefix && after_special;
                            model.encode(&self.vocab, text, prefix, &mut ids)?;
                        }
                        Model::Bpe(model) => model.encode(text, &mut ids)?,
                        Model::Wpm(model) => model.encode(&self.vocab, text, &mut ids),
                    }
                    after_special = false;
                }
            }
        }
        if options.add_special {
            ids.extend(&self.end);
        }
        Ok(ids)
    }

    pub(super) fn vocab_size(&self) -> usize {
        self.vocab.len()
    }

    pub(super) fn token_text(&self, id: u32) -> Option<String> {
        self.vocab.text(id)
    }

    pub(super) fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        self.piece(id).map(Cow::into_owned)
    }

    pub(super) fn id_of(&self, token: &str) -> Option<u32> {
        self.vocab.id(token.as_bytes())
    }

    pub(super) fn is_special(&self, id: u32) -> bool {
        matches!(self.vocab.kind(id), Some(Kind::Control | Kind::Unknown))
    }

    /// What an id adds to the text.
    fn piece(&self, id: u32) -> Option<Cow<'_, [u8]>> {
        let token = self.vocab.bytes(id)?;
        Some(match (self.vocab.kind(id)?, &self.model) {
            (Kind::Control | Kind::Unknown | Kind::UserDefined, _) => Cow::Borrowed(token),
            (Kind::Byte, _) => {
                let byte = std::str::from_utf8(token).ok().and_then(bytes::named_byte);
                byte.map_or(Cow::Borrowed(token), |byte| Cow::Owned(vec![byte]))
            }
            // As in llama.cpp, tokens marked as unused have no text.
            (Kind::Unused | Kind::Undefined, _) => Cow::Borrowed(&[]),
            (Kind::Normal, Model::Spm { .. } | Model::Wpm(_)) => spm::unescape(token),
            (Kind::Normal, Model::Bpe(model)) if model.is_raw() => spm::unescape(token),
            (Kind::Normal, Model::Bpe(_)) => {
                let bytes = std::str::from_utf8(token).ok().and_then(bytes::bytes_of);
                bytes.map_or(Cow::Borrowed(token), Cow::Owned)
            }
        })
    }

    pub(super) fn decode_state(&self) -> GgufDecodeState {
        GgufDecodeState {
            strip_space: matches!(
                self.model,
                Model::Spm {
                    add_space_prefix: true,
                    ..
                }
            ),
            utf8: Utf8Stream::default(),
        }
    }

    pub(super) fn decode_step(
        &self,
        state: &mut GgufDecodeState,
        id: u32,
        skip_special: bool,
        out: &mut String,
    ) {
        if skip_special && self.is_special(id) {
            return;
        }
        let Some(piece) = self.piece(id) else { return };
        let mut piece = piece.as_ref();
        if std::mem::take(&mut state.strip_space) {
            piece = piece.strip_prefix(b" ").unwrap_or(piece);
        }
        state.utf8.push(piece, out);
    }
}

impl GgufDecodeState {
    pub(super) fn finish(&mut self, out: &mut String) {
        self.utf8.finish(out);
    }
}
