//! One row's answer, as a line of the output has it.

use super::key::RowKey;
use super::open_ai;
use super::row::{Form, RowCode, RowError, RowHead};
use crate::engine::request::RequestOutput;
use crate::engine::request::{
    CompletionOutput, FinishReason, PositionLogprobs, RequestMetrics, StopReason, TokenLogprob,
};
use crate::provider::{self, GenerateResponse, ToolCall};
use serde::Serialize;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// What came of one row. Its JSON is one line of choral's output; apart from `timings`,
/// which are there only if they were asked for, it depends on the row, its seed and
/// the model, and on nothing of the run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// The row's own name, if it has one.
    pub custom_id: Option<String>,
    /// Which row of the input, from 0.
    pub row: u64,
    /// The row's fields that are carried through.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub fields: Map<String, Value>,
    /// The answers, by index; none if the row is in error.
    pub outputs: Vec<Choice>,
    /// One entry a prompt token (the first has none), if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_logprobs: Option<Vec<Option<TokenEntry>>>,
    /// Tokens read and written.
    pub usage: Usage,
    /// What went wrong, if something did.
    pub error: Option<RowError>,
    /// How long it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,
    /// In whose format it is written.
    #[serde(skip)]
    pub form: Form,
    /// What identifies the row: not its name, if another row has the same.
    #[serde(skip)]
    pub(super) key: RowKey,
}

/// One of a row's answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice {
    /// Which of the `n`.
    pub index: u32,
    /// The text, without the prompt.
    pub text: String,
    /// What the model thought before, where a service tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// Tools that the model wants called, as OpenAI has them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// The tokens drawn, with the one that ended the answer; none where a service does
    /// not tell.
    pub token_ids: Option<Vec<u32>>,
    /// Why it ended: `stop`, `length`, `tool_calls`, `content_filter`, `error`, or what a
    /// service calls it.
    pub finish_reason: Cow<'static, str>,
    /// The stop token or string that ended it, if one did.
    pub stop_reason: Option<StopReason>,
    /// One entry a token, if asked for.
    pub logprobs: Option<Vec<TokenEntry>>,
    /// The seed that it was drawn with, if that is known.
    pub seed: Option<u64>,
}

/// A token where it stands, and what else could have stood there.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TokenEntry {
    /// The token.
    #[serde(flatten)]
    pub chosen: TokenAlternative,
    /// The likeliest tokens, best first; as many as were asked for.
    pub top_logprobs: Vec<TokenAlternative>,
}

/// A token and its log-probability.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TokenAlternative {
    /// The token; none where a service does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_id: Option<u32>,
    /// What it adds to a text. A part of a character shows as U+FFFD.
    pub token: String,
    /// Natural logarithm of the model's own probability.
    pub logprob: f32,
}

/// Tokens read and written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Of the prompt, once for all answers.
    pub prompt_tokens: u64,
    /// Of all answers together.
    pub completion_tokens: u64,
    /// Both.
    pub total_tokens: u64,
    /// More about the prompt; depends on the run, so it is there only with timings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_tokens_details: Option<PromptTokensDetails>,
}

/// More about a prompt's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PromptTokensDetails {
    /// Those that came from the prefix cache.
    pub cached_tokens: u32,
}

/// How long a row took, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Timings {
    /// When things happened, from submission.
    #[serde(flatten)]
    pub metrics: RequestMetrics,
}

impl Answer {
    /// The answer to a row that could not be run.
    pub fn failed(row: RowHead, error: RowError) -> Self {
        Self {
            key: row.key(),
            custom_id: row.custom_id.or(row.repeated_id),
            row: row.index,
            fields: row.fields,
            outputs: Vec::new(),
            prompt_logprobs: None,
            usage: Usage::default(),
            error: Some(error),
            timings: None,
            form: row.form,
        }
    }

    /// Appends the answer to `out` as one line, in the format that its row came in.
    ///
    /// # Panics
    /// Never: what an answer holds can be said in JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        let written = match &self.form {
            Form::Own => serde_json::to_writer(&mut *out, self),
            Form::OpenAi { endpoint, model } => {
                serde_json::to_writer(&mut *out, &open_ai::line(self, *endpoint, model))
            }
        };
        written.expect("an answer is JSON, and memory takes it");
        out.push(b'\n');
    }

    /// How many of the outputs ended because prompt and answer filled a context of
    /// `max_model_len` tokens.
    pub fn num_ended_by_context(&self, max_model_len: usize) -> usize {
        let is_full = |choice: &&Choice| {
            let num_tokens = self.usage.prompt_tokens + choice.num_tokens() as u64;
            choice.finish_reason == LENGTH && num_tokens >= max_model_len as u64
        };
        self.outputs.iter().filter(is_full).count()
    }

    /// The answer to `row`, to which a provider responded.
    pub fn of_response(row: RowHead, response: GenerateResponse) -> Self {
        let GenerateResponse {
            content,
            reasoning,
            finish_reason,
            usage,
            tool_calls,
            logprobs,
            others,
            ..
        } = response;
        let first = provider::Choice {
            index: 0,
            content,
            reasoning,
            finish_reason,
            tool_calls,
            logprobs,
        };
        let outputs = std::iter::once(first).chain(others);
        Self {
            key: row.key(),
            custom_id: row.custom_id,
            row: row.index,
            fields: row.fields,
            outputs: outputs.map(Choice::from).collect(),
            prompt_logprobs: None,
            usage: Usage {
                prompt_tokens: usage.prompt_tokens,
                completion_tokens: usage.completion_tokens,
                total_tokens: usage.total_tokens,
                prompt_tokens_details: None,
            },
            error: None,
            timings: None,
            form: row.form,
        }
    }

    /// The answer to `row`, of which `output` came. `token_text` gives the text of
    /// a token.
    ///
    /// If some of its choices failed, they are among the outputs with the finish
    /// reason `error`, and the row is in error; if all did, there are no outputs.
    pub fn new(
        row: RowHead,
        output: RequestOutput,
        token_text: &dyn Fn(u32) -> String,
        with_timings: bool,
    ) -> Self {
        let RequestOutput {
            prompt_token_ids,
            prompt_logprobs,
            outputs,
            num_cached_tokens,
            metrics,
            ..
        } = output;
        let is_failed = |choice: &CompletionOutput| choice.finish_reason == FinishReason::Error;
        let error = outputs.iter().find(|choice| is_failed(choice));
        let error = error.map(|choice| RowError {
            code: RowCode::Engine,
            message: choice
                .error
                .clone()
                .unwrap_or_else(|| "the answer failed".to_owned()),
            line: row.line,
            field: None,
            file: row.file.clone(),
        });
        let prompt_tokens = prompt_token_ids.len() as u64;
        let drawn = |choice: &CompletionOutput| choice.token_ids.len() as u64;
        let completion_tokens = outputs.iter().map(drawn).sum();
        let outputs = if outputs.iter().all(is_failed) {
            Vec::new()
        } else {
            outputs
        };
        let entry = |position: PositionLogprobs| TokenEntry::new(&position, token_text);
        Self {
            key: row.key(),
            custom_id: row.custom_id.or(row.repeated_id),
            row: row.index,
            fields: row.fields,
            outputs: outputs
                .into_iter()
                .map(|choice| Choice {
                    index: choice.index,
                    text: choice.text,
                    reasoning: None,
                    tool_calls: Vec::new(),
                    token_ids: Some(choice.token_ids),
                    finish_reason: name(choice.finish_reason).into(),
                    stop_reason: choice.stop_reason,
                    logprobs: choice
                        .logprobs
                        .map(|all| all.into_iter().map(entry).collect()),
                    seed: Some(choice.seed),
                })
                .collect(),
            prompt_logprobs: prompt_logprobs.map(|all| {
                all.into_iter()
                    .map(|position| position.map(entry))
                    .collect()
            }),
            usage: Usage {
                prompt_tokens,
                completion_tokens,
                total_tokens: prompt_tokens + completion_tokens,
                prompt_tokens_details: with_timings.then_some(PromptTokensDetails {
                    cached_tokens: num_cached_tokens,
                }),
            },
            error,
            timings: with_timings.then_some(Timings { metrics }),
            form: row.form,
        }
    }
}

impl Choice {
    /// How many tokens it has; 0 where a service does not tell.
    pub fn num_tokens(&self) -> usize {
        self.token_ids.as_ref().map_or(0, Vec::len)
    }
}

impl From<provider::Choice> for Choice {
    fn from(choice: provider::Choice) -> Self {
        let finish_reason = match choice.finish_reason {
            provider::FinishReason::Stop => STOP.into(),
            provider::FinishReason::Length => LENGTH.into(),
            provider::FinishReason::ToolCalls => "tool_calls".into(),
            provider::FinishReason::ContentFilter => "content_filter".into(),
            provider::FinishReason::Other(name) => name.into(),
        };
        let token = |token: String, logprob: f64| TokenAlternative {
            token_id: None,
            token,
            logprob: logprob as f32,
        };
        let entry = |entry: provider::TokenLogprob| TokenEntry {
            chosen: token(entry.token, entry.logprob),
            top_logprobs: entry.top.into_iter().map(|(t, p)| token(t, p)).collect(),
        };
        Self {
            index: choice.index,
            text: choice.content,
            reasoning: choice.reasoning,
            tool_calls: choice.tool_calls,
            token_ids: None,
            finish_reason,
            stop_reason: None,
            logprobs: choice
                .logprobs
                .map(|all| all.into_iter().map(entry).collect()),
            // What was asked for need not be what it was drawn with.
            seed: None,
        }
    }
}

/// Ended by the model, or by a stop string.
const STOP: &str = "stop";

/// Ended by `max_tokens`, or by the end of the context.
const LENGTH: &str = "length";

/// A reason's name in JSON.
fn name(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => STOP,
        FinishReason::Length => LENGTH,
        FinishReason::Error => "error",
        FinishReason::Cancelled => "cancelled",
    }
}

impl TokenEntry {
    fn new(position: &PositionLogprobs, token_text: &dyn Fn(u32) -> String) -> Self {
        let alternative = |token: &TokenLogprob| TokenAlternative {
            token_id: Some(token.token_id),
            token: token_text(token.token_id),
            logprob: token.logprob,
        };
        Self {
            chosen: alternative(&position.chosen),
            top_logprobs: position.top.iter().map(alternative).collect(),
        }
    }
}
