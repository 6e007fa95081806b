//! The vocabulary of a GGUF file: texts, kinds and special tokens.
//!
//! Which tokens are special, and which end a generation, is partly said by the
//! file and partly known by name, because converters have been forgetful. The
//! rules are llama.cpp's.
//!
//! Source: llama.cpp `llama-vocab.cpp`, `llama_vocab::impl::load`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use choral_formats::gguf::{Array, Metadata, Value};

use crate::text::tokenizer::TokenizerError;

/// What a token is, as a set of bits: a token may be a control token whose file
/// calls it normal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind(u8);

impl Kind {
    pub(super) const NORMAL: Self = Self(1);
    pub(super) const UNKNOWN: Self = Self(1 << 1);
    pub(super) const CONTROL: Self = Self(1 << 2);
    pub(super) const USER_DEFINED: Self = Self(1 << 3);
    pub(super) const BYTE: Self = Self(1 << 4);
    const NONE: Self = Self(0);

    fn of_number(number: i32) -> Self {
        match number {
            1 => Self::NORMAL,
            2 => Self::UNKNOWN,
            3 => Self::CONTROL,
            4 => Self::USER_DEFINED,
            6 => Self::BYTE,
            // Unused and undefined tokens are in the vocabulary, without text.
            _ => Self::NONE,
        }
    }

    pub(super) fn is(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Tokens with a role.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::text::tokenizer) struct SpecialIds {
    pub(in crate::text::tokenizer) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    pub(super) unk: Option<u32>,
    eot: Option<u32>,
    eom: Option<u32>,
    sep: Option<u32>,
    pad: Option<u32>,
    mask: Option<u32>,
    fim_pad: Option<u32>,
    fim_repo: Option<u32>,
    fim_sep: Option<u32>,
}

#[derive(Debug)]
pub(in crate::text::tokenizer) struct Vocab {
    texts: Vec<Arc<str>>,
    kinds: Vec<Kind>,
    scores: Vec<f32>,
    by_text: HashMap<Arc<str>, u32>,
    pub(in crate::text::tokenizer) special: SpecialIds,
    /// Ids that end a generation, ascending.
    pub(in crate::text::tokenizer) eog: Vec<u32>,
}

const END_NAMES: [&str; 22] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];
/// Names of tokens that separate files when a model fills in code; a model that
/// writes one has gone beyond what it was asked for.
const FIM_PAD_NAMES: [&str; 5] = ["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"];
const FIM_REPO_NAMES: [&str; 5] = [
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
];
const FIM_SEP_NAMES: [&str; 1] = ["<|file_sep|>"];
/// Parts of a message in the Harmony format, which belong to the text.
const HARMONY_NAMES: [&str; 4] = ["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"];

impl Vocab {
    /// Reads tokens, scores and kinds; `defaults` are the special tokens of files
    /// that do not name theirs.
    pub(super) fn load(metadata: &Metadata, defaults: SpecialIds) -> Result<Self, TokenizerError> {
        let invalid = |what: String| TokenizerError::Invalid {
            file: metadata.file().to_path_buf(),
            what,
        };
        let key = "tokenizer.ggml.tokens";
        let tokens = metadata
            .strings(key)?
            .ok_or_else(|| metadata.missing(key))?;
        let count = tokens.len();
        if count == 0 {
            return Err(invalid(format!("{key} is empty")));
        }
        let mut texts: Vec<Arc<str>> = Vec::with_capacity(count);
        let mut by_text = HashMap::with_capacity(count);
        for (id, token) in tokens.iter().enumerate() {
            let text = std::str::from_utf8(token)
                .map_err(|_| invalid(format!("{key}: token {id} is not UTF-8")))?;
            let text: Arc<str> = match text {
                "" => format!("[EMPTY_{id}]").into(),
                text => text.into(),
            };
            if let Some(first) = by_text.insert(Arc::clone(&text), id as u32) {
                return Err(invalid(format!(
                    "{key}: tokens {first} and {id} are both `{text}`"
                )));
            }
            texts.push(text);
        }
        let kinds = kinds(metadata, count)?;
        let scores = scores(metadata, count)?;
        let mut vocab = Self {
            texts,
            kinds,
            scores,
            by_text,
            special: defaults,
            eog: Vec::new(),
        };
        vocab.read_special(metadata)?;
        vocab.find_ends();
        Ok(vocab)
    }

    pub(in crate::text::tokenizer) fn len(&self) -> usize {
        self.texts.len()
    }

    pub(in crate::text::tokenizer) fn text(&self, id: u32) -> Option<&str> {
        self.texts.get(id as usize).map(|text| &**text)
    }

    pub(in crate::text::tokenizer) fn id_of(&self, text: &str) -> Option<u32> {
        self.by_text.get(text).copied()
    }

    pub(super) fn kind(&self, id: u32) -> Kind {
        self.kinds.get(id as usize).copied().unwrap_or(Kind::NONE)
    }

    pub(super) fn score(&self, id: u32) -> f32 {
        self.scores.get(id as usize).copied().unwrap_or(0.0)
    }

    pub(in crate::text::tokenizer) fn is_special(&self, id: u32) -> bool {
        self.kind(id).is(Kind::CONTROL.or(Kind::UNKNOWN))
    }

    /// Tokens to look for in texts as a whole, longest first.
    pub(super) fn whole_tokens(&self) -> Vec<u32> {
        let whole = Kind::CONTROL.or(Kind::USER_DEFINED).or(Kind::UNKNOWN);
        let mut ids: Vec<u32> = (0..self.len() as u32)
            .filter(|&id| self.kind(id).is(whole))
            .collect();
        ids.sort_by_key(|&id| std::cmp::Reverse(self.texts[id as usize].len()));
        ids
    }

    /// The special tokens by transformers' names, for templates.
    pub(in crate::text::tokenizer) fn special_tokens(&self) -> BTreeMap<String, String> {
        let special = &self.special;
        let named = [
            ("bos_token", special.bos),
            ("eos_token", special.eos),
            ("unk_token", special.unk),
            ("sep_token", special.sep),
            ("pad_token", special.pad),
            ("mask_token", special.mask),
        ];
        named
            .into_iter()
            .filter_map(|(name, id)| Some((name.to_owned(), self.text(id?)?.to_owned())))
            .collect()
    }

    fn read_special(&mut self, metadata: &Metadata) -> Result<(), TokenizerError> {
        let count = self.len();
        let special = &mut self.special;
        let roles = [
            ("bos", &mut special.bos),
            ("eos", &mut special.eos),
            ("eot", &mut special.eot),
            ("eom", &mut special.eom),
            ("unknown", &mut special.unk),
            // The format's own spelling.
            ("seperator", &mut special.sep),
            ("padding", &mut special.pad),
            ("mask", &mut special.mask),
            ("fim_pad", &mut special.fim_pad),
            ("fim_rep", &mut special.fim_repo),
            ("fim_sep", &mut special.fim_sep),
        ];
        for (role, id) in roles {
            id.take_if(|id| *id as usize >= count);
            let key = format!("tokenizer.ggml.{role}_token_id");
            match metadata.u32(&key)? {
                Some(given) if (given as usize) < count => *id = Some(given),
                Some(given) => {
                    tracing::warn!("{key} is {given}, but there are only {count} tokens: ignored");
                }
                None => {}
            }
        }
        Ok(())
    }

    fn mark(&mut self, id: u32, kind: Kind) {
        if let Some(slot) = self.kinds.get_mut(id as usize) {
            *slot = kind;
        }
    }

    fn first_of(&self, names: &[&str]) -> Option<u32> {
        names.iter().filter_map(|name| self.id_of(name)).min()
    }

    /// Collects the tokens that end a generation, and corrects the kinds of
    /// tokens that converters get wrong.
    fn find_ends(&mut self) {
        let mut ends: Vec<u32> = Vec::new();
        let separators = [
            (self.special.fim_pad, &FIM_PAD_NAMES[..]),
            (self.special.fim_repo, &FIM_REPO_NAMES),
            (self.special.fim_sep, &FIM_SEP_NAMES),
        ];
        for (given, names) in separators {
            let id = given.or_else(|| {
                let found = self.first_of(names)?;
                self.mark(found, self.kind(found).or(Kind::CONTROL));
                Some(found)
            });
            ends.extend(id);
        }
        for name in END_NAMES {
            if let Some(id) = self.id_of(name) {
                self.mark(id, self.kind(id).or(Kind::CONTROL));
                ends.push(id);
            }
        }
        for name in HARMONY_NAMES {
            if let Some(id) = self.id_of(name) {
                self.mark(id, Kind::USER_DEFINED);
            }
        }
        let special = &self.special;
        ends.extend(
            [special.eos, special.eot, special.eom]
                .into_iter()
                .flatten(),
        );

        // In Harmony and Solar a message ends with `<|end|>`, an answer does not.
        let has = |name: &str| self.id_of(name).is_some_and(|id| ends.contains(&id));
        let calls = has("<|call|>") || has("<|calls|>");
        let message_end = self
            .id_of("<|end|>")
            .filter(|_| calls && (has("<|return|>") || has("<|flush|>")));
        // Gemma 4 has `</s>` only as text.
        let plain = self.id_of("</s>").filter(|_| has("<|tool_response>"));
        if let Some(id) = message_end {
            self.mark(id, Kind::USER_DEFINED);
        }
        if let Some(id) = plain {
            self.mark(id, Kind::NORMAL);
        }
        ends.retain(|&id| Some(id) != message_end && Some(id) != plain);
        ends.sort_unstable();
        ends.dedup();
        self.eog = ends;
    }
}

fn kinds(metadata: &Metadata, count: usize) -> Result<Vec<Kind>, TokenizerError> {
    let key = "tokenizer.ggml.token_type";
    let Some(numbers) = metadata.i32s(key)? else {
        return Ok(vec![Kind::NORMAL; count]);
    };
    enough(metadata, key, numbers.len(), count)?;
    Ok(numbers[..count]
        .iter()
        .map(|&n| Kind::of_number(n))
        .collect())
}

fn scores(metadata: &Metadata, count: usize) -> Result<Vec<f32>, TokenizerError> {
    let key = "tokenizer.ggml.scores";
    let scores = match metadata.get(key) {
        None => return Ok(vec![0.0; count]),
        Some(Value::Array(Array::I32(scores))) => scores.iter().map(|&s| s as f32).collect(),
        Some(_) => metadata.f32s(key)?.unwrap_or_default().into_owned(),
    };
    enough(metadata, key, scores.len(), count)?;
    Ok(scores)
}

fn enough(
    metadata: &Metadata,
    key: &str,
    found: usize,
    count: usize,
) -> Result<(), TokenizerError> {
    if found < count {
        let expected = format!("{count} values, one for each token");
        return Err(metadata.invalid(key, expected, format!("{found}")).into());
    }
    Ok(())
}
