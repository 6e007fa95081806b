//! Which rows begin alike.

use super::parsed::{map_bytes, num_bytes};
use super::row::{RowInput, RowWork};
use crate::engine::request::Prompt;
use serde_json::json;

/// Sorts rows so that those with a common beginning follow each other.
///
/// Messages sort as their JSON: whatever a template makes of them, it writes them one
/// after another, so that those with the same first messages begin alike. Adapters come
/// first, for what one computes is of no use to another.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SortKey {
    key: Vec<u8>,
    /// What the row takes in memory beside its key.
    row_bytes: usize,
}

impl SortKey {
    pub(super) fn new(work: &RowWork) -> Self {
        let mut key = Vec::new();
        for lora in &work.lora {
            key.extend(lora.name.as_bytes());
            key.push(0);
            key.extend(lora.scale.to_be_bytes());
        }
        let row_bytes = match &work.input {
            RowInput::Prompt(Prompt::Text(text)) => {
                key.push(0);
                key.extend(text.as_bytes());
                text.len()
            }
            RowInput::Prompt(Prompt::Tokens(tokens)) => {
                key.push(1);
                key.extend(tokens.iter().flat_map(|token| token.to_be_bytes()));
                size_of_val(&tokens[..])
            }
            // What a service makes of beginnings is its own affair.
            RowInput::Request(_) => 0,
            RowInput::Chat(chat) => {
                key.push(2);
                let (kwargs, tools) = (&chat.kwargs, &chat.tools);
                key.extend(json!([kwargs, tools]).to_string().bytes());
                for message in &chat.messages {
                    key.extend(message.to_string().bytes());
                }
                // Far more than their text, where messages are many and small.
                let values = chat.messages.iter().chain(tools.iter().flatten());
                map_bytes(kwargs) + values.map(num_bytes).sum::<usize>()
            }
        };
        Self { key, row_bytes }
    }

    /// What it holds in memory, with the row.
    pub(super) fn num_bytes(&self) -> usize {
        self.key.len() + self.row_bytes
    }
}
