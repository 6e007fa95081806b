//! Which computation an answer is the result of.
//!
//! Two rows have one [`RowId`] if and only if their answers are the same by
//! construction: the same row key, the same prompt and parameters, the same job
//! settings. A job that is run again takes over the answers whose ids it meets, and so
//! computes again exactly what was changed.

use super::row::{Row, RowInput, RowWork};
use crate::engine::request::Prompt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;

/// Names one computation: 128 bits of SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowId(pub(crate) u128);

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What all rows of a job have in common and answers depend on: which model, which
/// arithmetic, which template. Names and values are for people to compare.
pub type Settings = BTreeMap<String, String>;

/// Gives rows their ids.
#[derive(Debug, Clone)]
pub struct Identity {
    settings: Sha256,
    seed: u64,
}

impl Identity {
    /// For a job with those settings, whose rows get their seeds from `seed`.
    pub fn new(settings: &Settings, seed: u64) -> Self {
        let settings = serde_json::to_vec(settings).expect("strings are JSON");
        Self {
            settings: Sha256::new()
                .chain_update(b"choral row id 1\0")
                .chain_update((settings.len() as u64).to_le_bytes())
                .chain_update(settings),
            seed,
        }
    }

    /// The id of a row. Its number counts only if it has no `custom_id`, and its line
    /// only if that is part of an error.
    pub fn of(&self, row: &Row) -> RowId {
        let head = &row.head;
        let work = match &row.work {
            Ok(work) => self.work(row, work),
            Err(error) => json!({"error": error}),
        };
        let form = match &head.form {
            super::row::Form::Own => json!(null),
            super::row::Form::OpenAi { endpoint, model } => json!([endpoint.url(), model]),
        };
        self.hash(&json!({
            "id": head.custom_id,
            "row": head.custom_id.is_none().then_some(head.index),
            "form": form,
            "fields": head.fields,
            "work": work,
        }))
    }

    /// The id of what `row` says in full.
    pub fn hash(&self, row: &Value) -> RowId {
        let hash = self.settings.clone();
        let digest = hash.chain_update(row.to_string()).finalize();
        let first = digest.first_chunk().expect("SHA-256 has 32 bytes");
        RowId(u128::from_be_bytes(*first))
    }

    fn work(&self, row: &Row, work: &RowWork) -> Value {
        let RowWork {
            input,
            params,
            lora,
        } = work;
        let input = match input {
            RowInput::Prompt(Prompt::Text(text)) => json!({"text": text}),
            RowInput::Prompt(Prompt::Tokens(tokens)) => json!({"tokens": tokens}),
            RowInput::Chat(chat) => json!({
                "messages": chat.messages,
                "tools": chat.tools,
                "add_generation_prompt": chat.add_generation_prompt,
                "kwargs": chat.kwargs,
            }),
            RowInput::Request(request) => json!({"request": format!("{request:?}")}),
        };
        let lora: Vec<_> = lora.iter().map(|lora| (&lora.name, lora.scale)).collect();
        let seed = params
            .seed
            .unwrap_or_else(|| row.head.key().seed(self.seed));
        json!({"input": input, "params": params, "seed": seed, "lora": lora})
    }
}
