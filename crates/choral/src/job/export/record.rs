//! One row's answers, as a line of an output has them.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

/// What came of one row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AnswerRecord {
    /// The row's own name, if it has one.
    pub custom_id: Option<String>,
    /// Which row of the input, from 0, if the line says so.
    pub row: Option<u64>,
    /// The answers; none if the row is in error.
    pub answers: Vec<RecordedAnswer>,
    /// Tokens of the prompt.
    pub prompt_tokens: Option<u64>,
    /// What went wrong, if something did.
    pub error: Option<RecordedError>,
    /// Columns of the input that were carried along.
    pub fields: Map<String, Value>,
}

/// One of a row's answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordedAnswer {
    /// Which of them.
    pub index: u32,
    /// The text; none if the model called tools instead.
    pub text: Option<String>,
    /// The tools that it called, as JSON.
    pub tool_calls: Option<String>,
    /// Why it ended.
    pub finish_reason: Option<String>,
    /// Its tokens, if the line tells them apart from those of other answers.
    pub completion_tokens: Option<u64>,
}

/// What went wrong with a row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordedError {
    /// What kind of error.
    pub code: Option<String>,
    /// The cause, in words.
    pub message: Option<String>,
}

/// Why a line is no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordFault {
    /// Not JSON, or a field of the wrong type.
    #[error("{0}")]
    Json(String),
    /// JSON of something else.
    #[error(
        "expected a line of a batch's output, found neither `outputs` nor `response` nor `error`"
    )]
    NoRecord,
    /// Vectors, which have no text.
    #[error("the line holds embeddings, which are not exported")]
    Embedding,
    /// The line cannot be read.
    #[error(transparent)]
    Line(#[from] super::super::LineFault),
}

impl AnswerRecord {
    /// Reads one line: choral's own, or one of OpenAI's batches. Further fields are
    /// passed over.
    pub fn parse(line: &str) -> Result<Self, RecordFault> {
        let line: Line = serde_json::from_str(line).map_err(|error| json_fault(&error))?;
        if line.embedding.is_some() {
            return Err(RecordFault::Embedding);
        }
        let is_record = line.outputs.is_some() || line.response.is_some() || line.error.is_some();
        if !is_record {
            return Err(RecordFault::NoRecord);
        }
        let mut record = Self {
            custom_id: line.custom_id,
            row: line.row,
            error: line.error.map(RecordedError::from),
            fields: line.fields.unwrap_or_default(),
            ..Self::default()
        };
        if let Some(outputs) = line.outputs {
            record.take_outputs(outputs, line.usage);
        }
        if let Some(response) = line.response {
            record.take_response(response)?;
        }
        Ok(record)
    }

    fn take_outputs(&mut self, outputs: Vec<Output>, usage: Option<Usage>) {
        let num_outputs = outputs.len();
        let answer = |(position, output): (usize, Output)| {
            let num_tokens = output.token_ids.map(|ids| ids.len() as u64);
            RecordedAnswer {
                index: output.index.unwrap_or(position as u32),
                text: output.text,
                tool_calls: output.tool_calls.map(|calls| calls.to_string()),
                finish_reason: output.finish_reason,
                completion_tokens: num_tokens.or_else(|| only(num_outputs, usage)),
            }
        };
        self.answers = outputs.into_iter().enumerate().map(answer).collect();
        self.prompt_tokens = self.prompt_tokens_of(usage);
    }

    fn take_response(&mut self, response: Response) -> Result<(), RecordFault> {
        let body = response.body;
        if body.data.is_some() {
            return Err(RecordFault::Embedding);
        }
        let choices = body.choices.unwrap_or_default();
        let num_choices = choices.len();
        let answer = |(position, choice): (usize, ResponseChoice)| {
            let message = choice.message.unwrap_or_default();
            RecordedAnswer {
                index: choice.index.unwrap_or(position as u32),
                text: choice.text.or(message.content).or(message.refusal),
                tool_calls: message.tool_calls.map(|calls| calls.to_string()),
                finish_reason: choice.finish_reason,
                completion_tokens: only(num_choices, body.usage),
            }
        };
        self.answers = choices.into_iter().enumerate().map(answer).collect();
        self.prompt_tokens = self.prompt_tokens_of(body.usage);
        if self.error.is_none() {
            self.error = body.error.map(RecordedError::from);
        }
        if self.error.is_none() && self.answers.is_empty() {
            let status = response.status_code;
            self.error = Some(RecordedError {
                code: status.map(|status| status.to_string()),
                message: Some("the response has no choices".to_owned()),
            });
        }
        Ok(())
    }

    /// A row in error has read nothing.
    fn prompt_tokens_of(&self, usage: Option<Usage>) -> Option<u64> {
        let usage = usage.filter(|_| !self.answers.is_empty())?;
        usage.prompt_tokens
    }
}

/// All tokens are those of the only answer.
fn only(num_answers: usize, usage: Option<Usage>) -> Option<u64> {
    let usage = usage.filter(|_| num_answers == 1)?;
    usage.completion_tokens
}

/// The one line that `serde_json` knows is always the first.
fn json_fault(error: &serde_json::Error) -> RecordFault {
    let message = error.to_string();
    let end = message.rfind(" at line ").unwrap_or(message.len());
    let column = error.column();
    RecordFault::Json(format!("{} (column {column})", &message[..end]))
}

/// Both kinds of lines.
#[derive(Deserialize)]
struct Line {
    custom_id: Option<String>,
    row: Option<u64>,
    outputs: Option<Vec<Output>>,
    usage: Option<Usage>,
    error: Option<Problem>,
    fields: Option<Map<String, Value>>,
    response: Option<Response>,
    embedding: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Output {
    index: Option<u32>,
    text: Option<String>,
    finish_reason: Option<String>,
    tool_calls: Option<Value>,
    /// Only counted; none of a service's.
    token_ids: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize, Clone, Copy)]
struct Usage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Response {
    status_code: Option<u16>,
    #[serde(default)]
    body: Body,
}

#[derive(Deserialize, Default)]
struct Body {
    choices: Option<Vec<ResponseChoice>>,
    usage: Option<Usage>,
    error: Option<Problem>,
    /// Of embeddings.
    data: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct ResponseChoice {
    index: Option<u32>,
    text: Option<String>,
    message: Option<Message>,
    finish_reason: Option<String>,
}

#[derive(Deserialize, Default)]
struct Message {
    content: Option<String>,
    refusal: Option<String>,
    tool_calls: Option<Value>,
}

/// An error's `code` is a word, a number or null, and some have a `type` instead.
#[derive(Deserialize)]
struct Problem {
    code: Option<Value>,
    #[serde(rename = "type")]
    kind: Option<Value>,
    message: Option<String>,
}

impl From<Problem> for RecordedError {
    fn from(problem: Problem) -> Self {
        let code = problem.code.or(problem.kind).map(|code| match code {
            Value::String(code) => code,
            other => other.to_string(),
        });
        Self {
            code,
            message: problem.message,
        }
    }
}
