//! What comes back.

use super::message::ToolCall;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::ops::{Add, AddAssign};

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended it, or a stop string did.
    Stop,
    /// `max_tokens`, or the end of the context.
    Length,
    /// The model wants tools called.
    ToolCalls,
    /// A filter cut it short.
    ContentFilter,
    /// What the vendor calls it.
    #[serde(untagged)]
    Other(String),
}

/// Tokens read and written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Of the prompt.
    pub prompt_tokens: u64,
    /// Of all answers together, thoughts included.
    pub completion_tokens: u64,
    /// Both.
    pub total_tokens: u64,
    /// Prompt tokens that a cache had.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cached_tokens: u64,
    /// Completion tokens that were thoughts.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reasoning_tokens: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Usage {
    /// A usage of so many tokens.
    pub fn new(prompt_tokens: u64, completion_tokens: u64) -> Self {
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens.saturating_add(completion_tokens),
            ..Self::default()
        }
    }
}

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            prompt_tokens: self.prompt_tokens.saturating_add(other.prompt_tokens),
            completion_tokens: self
                .completion_tokens
                .saturating_add(other.completion_tokens),
            total_tokens: self.total_tokens.saturating_add(other.total_tokens),
            cached_tokens: self.cached_tokens.saturating_add(other.cached_tokens),
            reasoning_tokens: self.reasoning_tokens.saturating_add(other.reasoning_tokens),
        }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl std::iter::Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(usages: I) -> Self {
        usages.fold(Self::default(), Add::add)
    }
}

/// A token, how likely it was, and what else could have stood there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// What it adds to the text.
    pub token: String,
    /// Natural logarithm of its probability.
    pub logprob: f64,
    /// The likeliest tokens, best first.
    pub top: Vec<(String, f64)>,
}

/// One of several answers to one request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Which of the `n`.
    pub index: u32,
    /// The text.
    pub content: String,
    /// What the model thought before, where the service tells.
    pub reasoning: Option<String>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Tools that it wants called.
    pub tool_calls: Vec<ToolCall>,
    /// One entry a token, if asked for.
    pub logprobs: Option<Vec<TokenLogprob>>,
}

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GenerateResponse {
    /// The request's [`id`](super::GenerateRequest::id).
    pub id: Option<String>,
    /// The text of the first answer.
    pub content: String,
    /// What the model thought before, where the service tells.
    pub reasoning: Option<String>,
    /// The model that answered, as it calls itself.
    pub model: String,
    /// Why the first answer ended.
    pub finish_reason: FinishReason,
    /// Tokens of the prompt and of all answers. Zero where a service does not count.
    pub usage: Usage,
    /// Tools that the first answer wants called.
    pub tool_calls: Vec<ToolCall>,
    /// One entry a token of the first answer, if asked for.
    pub logprobs: Option<Vec<TokenLogprob>>,
    /// The other answers, if `n` is above 1.
    pub others: Vec<Choice>,
    /// The request's own, and what a provider adds: `seed` (the local engine, which draws
    /// one where none was given), `request_id` and `attempts` (services).
    pub metadata: Map<String, Value>,
    /// From asking to the last token, waiting and retries included, in milliseconds.
    pub gen_time_ms: f64,
    /// What the service sent, where it was one piece of JSON.
    pub raw_response: Option<Value>,
}

impl GenerateResponse {
    /// A response of these answers, in the order of their indexes. With none, it is empty.
    pub fn of_choices(model: impl Into<String>, mut choices: Vec<Choice>) -> Self {
        choices.sort_by_key(|choice| choice.index);
        let mut choices = choices.into_iter();
        let first = choices.next().unwrap_or(Choice {
            index: 0,
            content: String::new(),
            reasoning: None,
            finish_reason: FinishReason::Stop,
            tool_calls: Vec::new(),
            logprobs: None,
        });
        Self {
            id: None,
            content: first.content,
            reasoning: first.reasoning,
            model: model.into(),
            finish_reason: first.finish_reason,
            usage: Usage::default(),
            tool_calls: first.tool_calls,
            logprobs: first.logprobs,
            others: choices.collect(),
            metadata: Map::new(),
            gen_time_ms: 0.0,
            raw_response: None,
        }
    }
}

/// A piece of an answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GenerateDelta {
    /// Which of the `n` answers.
    pub index: u32,
    /// What its text goes on with.
    pub text: String,
    /// What its thoughts go on with.
    pub reasoning: String,
}

/// What a stream yields.
#[derive(Debug, Clone, PartialEq)]
pub enum GenerateEvent {
    /// A piece.
    Delta(GenerateDelta),
    /// The end: everything put together. The last event. Tool calls are in here, whole.
    Finished(Box<GenerateResponse>),
}
