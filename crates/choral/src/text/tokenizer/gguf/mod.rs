//! Tokenizers in the metadata of GGUF files.
//!
//! `tokenizer.ggml.model` is `llama` (`spm.rs`) or `gpt2` (`bpe.rs`, split by
//! `pre.rs`); other kinds are refused by name. The ids are llama.cpp's; this is
//! our own code because merging by score, splitting at special tokens and the
//! space before a text are llama.cpp's own rules, which `tokenizers` does not
//! have.
//!
//! Source: llama.cpp `llama-vocab.cpp`.

mod bpe;
mod partition;
mod pre;
mod spm;
mod symbols;
#[cfg(test)]
mod tests;
mod vocab;

use choral_formats::gguf::Metadata;

use super::decode::{Piece, Stream, byte_token};
use super::{EncodeOptions, TokenizerError, byte_level};
use bpe::Bpe;
use partition::{Fragment, Partition};
use vocab::{Kind, SpecialIds, Vocab};

#[derive(Debug)]
pub(super) struct GgufTokenizer {
    pub(super) vocab: Vocab,
    partition: Partition,
    model: Model,
    add_bos: bool,
    add_eos: bool,
}

#[derive(Debug)]
enum Model {
    Spm {
        /// A space goes before text that begins a prompt or follows a special
        /// token.
        add_space_prefix: bool,
    },
    Bpe {
        bpe: Bpe,
        raw: bool,
    },
}

impl GgufTokenizer {
    pub(super) fn load(metadata: &Metadata) -> Result<Self, TokenizerError> {
        let model: &str = metadata.required("tokenizer.ggml.model")?;
        let flag = |name: &str, default: bool| {
            let given = metadata.bool(&format!("tokenizer.ggml.{name}"))?;
            Ok::<_, TokenizerError>(given.unwrap_or(default))
        };
        let mut defaults = SpecialIds::default();
        let (model, default_bos) = match model {
            "llama" => {
                (defaults.unk, defaults.bos, defaults.eos) = (Some(0), Some(1), Some(2));
                let add_space_prefix = flag("add_space_prefix", true)?;
                (Model::Spm { add_space_prefix }, true)
            }
            "gpt2" | "gemma4" => {
                let named = metadata.str("tokenizer.ggml.pre")?;
                let name = if model == "gemma4" {
                    "gemma4"
                } else {
                    named.unwrap_or("default")
                };
                if named.is_none() && model == "gpt2" {
                    tracing::warn!(
                        "the file does not say how to split text: tokenizer.ggml.pre is missing"
                    );
                }
                let pre = pre::named(name)?;
                if model == "gpt2" {
                    defaults.eos = Some(11);
                    defaults.bos = Some(11).filter(|_| !pre.no_default_bos);
                }
                let bpe = Bpe::load(metadata, pre)?;
                let raw = pre.raw;
                (Model::Bpe { bpe, raw }, pre.add_bos)
            }
            other => return Err(TokenizerError::UnsupportedModel(other.into())),
        };
        let vocab = Vocab::load(metadata, defaults)?;
        let partition = Partition::new(&vocab, right_stripping(metadata)?)?;
        let tokenizer = Self {
            add_bos: flag("add_bos_token", default_bos)?,
            add_eos: flag("add_eos_token", false)?,
            vocab,
            partition,
            model,
        };
        let special = &tokenizer.vocab.special;
        let needed = [
            ("bos", tokenizer.add_bos, special.bos),
            ("eos", tokenizer.add_eos, special.eos),
        ];
        for (name, adds, id) in needed {
            if adds && id.is_none() {
                return Err(metadata
                    .missing(&format!("tokenizer.ggml.{name}_token_id"))
                    .into());
            }
        }
        Ok(tokenizer)
    }

    pub(super) fn encode(
        &self,
        text: &str,
        options: EncodeOptions,
    ) -> Result<Vec<u32>, TokenizerError> {
        let special = &self.vocab.special;
        let mut ids = Vec::new();
        if options.add_special && self.add_bos {
            ids.extend(special.bos);
        }
        let before_text = ids.len();
        let mut after_special = true;
        for fragment in self
            .partition
            .split(text, &self.vocab, options.parse_special)
        {
            match fragment {
                Fragment::Token(id) => {
                    ids.push(id);
                    after_special = true;
                }
                Fragment::Text(text) => {
                    self.encode_text(text, after_special, &mut ids)?;
                    after_special = false;
                }
            }
        }
        if before_text > 0 && ids.get(before_text) == special.bos.as_ref() {
            tracing::warn!("the prompt begins with a second beginning-of-sequence token");
        }
        if options.add_special && self.add_eos {
            ids.extend(special.eos);
        }
        Ok(ids)
    }

    fn encode_text(
        &self,
        text: &str,
        after_special: bool,
        ids: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        match &self.model {
            Model::Bpe { bpe, .. } => bpe.encode(text, &self.vocab, ids),
            Model::Spm { add_space_prefix } => {
                let prefix = if *add_space_prefix && after_special {
                    "▁"
                } else {
                    ""
                };
                let text = format!("{prefix}{}", text.replace(' ', "▁"));
                spm::encode(&text, &self.vocab, ids)
            }
        }
    }

    pub(super) fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        let mut stream = self.stream();
        let mut text = String::new();
        for &id in ids {
            if !(skip_special && self.vocab.is_special(id)) {
                stream.push(&Piece::Bytes(self.bytes(id)), &mut text);
            }
        }
        stream.finish(&mut text);
        text
    }

    /// The bytes that a token stands for.
    pub(super) fn bytes(&self, id: u32) -> Vec<u8> {
        let text = self.vocab.text(id).unwrap_or_default();
        let kind = self.vocab.kind(id);
        let spaces = || text.replace('▁', " ").into_bytes();
        if self.vocab.is_special(id) || kind.is(Kind::USER_DEFINED) {
            return text.as_bytes().to_vec();
        }
        if kind.is(Kind::BYTE) {
            return byte_token(text).into_iter().collect();
        }
        if !kind.is(Kind::NORMAL) {
            return Vec::new();
        }
        match &self.model {
            Model::Spm { .. } | Model::Bpe { raw: true, .. } => spaces(),
            Model::Bpe { .. } => byte_level::bytes_of(text),
        }
    }

    pub(super) fn stream(&self) -> Stream {
        let strip_space = matches!(
            self.model,
            Model::Spm {
                add_space_prefix: true
            }
        );
        Stream::new(strip_space)
    }
}

/// Which special tokens swallow white space is not in GGUF files; llama.cpp
/// knows it for one family, by the model's name.
fn right_stripping(metadata: &Metadata) -> Result<impl Fn(&str) -> bool, TokenizerError> {
    let name = metadata.str("general.name")?.unwrap_or("").to_lowercase();
    let is_phi3 = name.contains("phi-3") || name.contains("phi3");
    Ok(move |token: &str| is_phi3 && !matches!(token, "<unk>" | "<s>" | "<|endoftext|>"))
}
