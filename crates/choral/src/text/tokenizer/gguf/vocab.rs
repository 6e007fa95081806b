//! The tokens of a GGUF file and what each of them is.

use std::collections::HashMap;

use choral_formats::gguf::Metadata;

use crate::text::tokenizer::{TokenizerError, special};

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
    Undefined,
}

impl Kind {
    /// From `tokenizer.ggml.token_type`.
    fn from_number(number: i32) -> Self {
        match number {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => Self::Undefined,
        }
    }
}

#[derive(Debug)]
pub(super) struct Vocab {
    tokens: Vec<Box<[u8]>>,
    kinds: Vec<Kind>,
    ids: HashMap<Box<[u8]>, u32>,
}

impl Vocab {
    /// Reads `tokenizer.ggml.tokens` and `tokenizer.ggml.token_type`.
    pub(super) fn read(metadata: &Metadata) -> Result<Self, TokenizerError> {
        let key = "tokenizer.ggml.tokens";
        let strings = metadata
            .strings(key)?
            .ok_or_else(|| metadata.missing(key))?;
        if strings.is_empty() || u32::try_from(strings.len()).is_err() {
            let expected = "from 1 to 4294967295 tokens";
            return Err(metadata.invalid(key, expected, strings.len()).into());
        }
        let mut tokens: Vec<Box<[u8]>> = Vec::with_capacity(strings.len());
        let mut ids = HashMap::with_capacity(strings.len());
        for (id, token) in (0u32..).zip(strings.iter()) {
            let token: Box<[u8]> = if token.is_empty() {
                format!("[EMPTY_{id}]").into_bytes().into()
            } else {
                token.into()
            };
            if let Some(first) = ids.insert(token.clone(), id) {
                let text = String::from_utf8_lossy(&token).into_owned();
                let problem = format!("token {text:?} has two ids, {first} and {id}");
                let part = format!("metadata key `{key}`");
                return Err(TokenizerError::invalid(metadata.file(), part, problem));
            }
            tokens.push(token);
        }
        let kinds = Self::read_kinds(metadata, tokens.len())?;
        Ok(Self { tokens, kinds, ids })
    }

    fn read_kinds(metadata: &Metadata, num_tokens: usize) -> Result<Vec<Kind>, TokenizerError> {
        let key = "tokenizer.ggml.token_type";
        let Some(numbers) = metadata.i32s(key)? else {
            return Ok(vec![Kind::Normal; num_tokens]);
        };
        if numbers.len() < num_tokens {
            let expected = format!("one for each of {num_tokens} tokens");
            return Err(metadata.invalid(key, expected, numbers.len()).into());
        }
        let numbers = numbers.into_iter().take(num_tokens);
        Ok(numbers.map(Kind::from_number).collect())
    }

    /// Finds the tokens that end generation: those of `ids`, and those that are
    /// known by name. Sets the kinds of tokens that are known by name, as llama.cpp
    /// does. Returns the ids in ascending order.
    pub(super) fn mark_ends(
        &mut self,
        metadata: &Metadata,
        ids: [Option<u32>; 3],
    ) -> Result<Vec<u32>, TokenizerError> {
        let fim_keys: [&[&str]; 3] = [
            &["fim_pre", "prefix"],
            &["fim_suf", "suffix"],
            &["fim_mid", "middle"],
        ];
        for (names, keys) in special::FILL.iter().zip(fim_keys) {
            self.fill_token(metadata, names, keys)?;
        }
        let mut ends: Vec<u32> = Vec::new();
        let fim_end_keys: [&[&str]; 3] = [&["fim_pad"], &["fim_rep"], &["fim_sep"]];
        for (names, keys) in special::FILL_END.iter().zip(fim_end_keys) {
            ends.extend(self.fill_token(metadata, names, keys)?);
        }
        for name in special::END {
            if let Some(id) = self.id(name.as_bytes()) {
                self.kinds[id as usize] = Kind::Control;
                ends.push(id);
            }
        }
        for name in special::HARMONY_TEXT {
            if let Some(id) = self.id(name.as_bytes()) {
                self.kinds[id as usize] = Kind::UserDefined;
            }
        }
        ends.extend(ids.into_iter().flatten());

        // In the harmony format `<|end|>` ends a message, after which the next begins.
        let has = |name: &str| self.id(name.as_bytes()).filter(|id| ends.contains(id));
        let call = has("<|call|>").or(has("<|calls|>"));
        let harmony = call.is_some() && (has("<|return|>").is_some() || has("<|flush|>").is_some());
        if let Some(end) = has("<|end|>").filter(|_| harmony) {
            self.kinds[end as usize] = Kind::UserDefined;
            ends.retain(|&id| id != end);
        }
        // Gemma 4 has `</s>` as a token of HTML.
        let has = |name: &str| self.id(name.as_bytes()).filter(|id| ends.contains(id));
        if let (Some(_), Some(html)) = (has("<|tool_response>"), has("</s>")) {
            self.kinds[html as usize] = Kind::Normal;
            ends.retain(|&id| id != html);
        }
        ends.sort_unstable();
        ends.dedup();
        Ok(ends)
    }

    /// The token of one fill-in-the-middle role: by key, or else by name.
    fn fill_token(
        &mut self,
        metadata: &Metadata,
        names: &[&str],
        keys: &[&str],
    ) -> Result<Option<u32>, TokenizerError> {
        for key in keys {
            let id = metadata.u32(&format!("tokenizer.ggml.{key}_token_id"))?;
            if let Some(id) = id.filter(|&id| (id as usize) < self.len()) {
                return Ok(Some(id));
            }
        }
        let id = names.iter().find_map(|name| self.id(name.as_bytes()));
        if let Some(id) = id {
            self.kinds[id as usize] = Kind::Control;
        }
        Ok(id)
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    pub(super) fn id(&self, token: &[u8]) -> Option<u32> {
        self.ids.get(token).copied()
    }

    pub(super) fn bytes(&self, id: u32) -> Option<&[u8]> {
        self.tokens.get(id as usize).map(AsRef::as_ref)
    }

    pub(super) fn text(&self, id: u32) -> Option<String> {
        let bytes = self.bytes(id)?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    pub(super) fn kind(&self, id: u32) -> Option<Kind> {
        self.kinds.get(id as usize).copied()
    }

    /// Ids, tokens and kinds in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &[u8], Kind)> {
        let kinds = self.kinds.iter().copied();
        (0..)
            .zip(self.tokens.iter().zip(kinds))
            .map(|(id, (token, kind))| (id, token.as_ref(), kind))
    }
}
