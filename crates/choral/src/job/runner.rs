//! What answers a row: the seam between a job and whatever computes.

use super::answer::Answer;
use super::row::{ChatInput, RowCode, RowError, RowHead, RowInput, RowWork};
use crate::engine::request::RequestMetrics;
use crate::engine::{Engine, Prompt, Request, SubmitError};
use std::error::Error;
use std::pin::Pin;

/// What will come of a row. Dropping it cancels the row.
pub type Running = Pin<Box<dyn Future<Output = Reply>>>;

/// What came of a row.
#[derive(Debug)]
pub struct Reply {
    /// The answer, or what went wrong.
    pub answer: Answer,
    /// When things happened, if anything was computed.
    pub metrics: Option<RequestMetrics>,
}

/// Why a row was not started.
#[derive(Debug)]
pub enum Refusal {
    /// The row is at fault.
    Row(RowError),
    /// No row can be started any more.
    Job(Box<dyn Error + Send + Sync>),
}

/// Answers rows.
pub trait Runner {
    /// Starts a row. May wait for room.
    ///
    /// # Errors
    /// The row is at fault, or nothing runs any more.
    fn start(&mut self, head: &RowHead, work: RowWork) -> Result<Running, Refusal>;
}

/// Makes a prompt of messages, or says what is wrong with them.
pub type Render<'a> = dyn FnMut(&ChatInput) -> Result<Prompt, String> + 'a;

/// Rows on an engine.
pub struct EngineRunner<'a> {
    /// Runs the rows.
    pub engine: &'a Engine,
    /// Applies the chat template.
    pub render: &'a mut Render<'a>,
    /// Rows without a seed get theirs from it and from their key.
    pub seed: u64,
    /// Puts into the answers what depends on the run.
    pub with_timings: bool,
}

impl EngineRunner<'_> {
    /// The prompt of a row, and the field that it came from.
    fn prompt(
        &mut self,
        head: &RowHead,
        input: RowInput,
    ) -> Result<(Prompt, &'static str), RowError> {
        match input {
            RowInput::Prompt(prompt) => Ok((prompt, "prompt")),
            RowInput::Chat(input) => match (self.render)(&input) {
                Ok(prompt) => Ok((prompt, "messages")),
                Err(message) => Err(head.error(RowCode::Template, message, "messages")),
            },
        }
    }
}

impl Runner for EngineRunner<'_> {
    fn start(&mut self, head: &RowHead, work: RowWork) -> Result<Running, Refusal> {
        let RowWork {
            input,
            params,
            lora,
        } = work;
        let (prompt, field) = self.prompt(head, input).map_err(Refusal::Row)?;
        let key = head.key();
        let mut request = Request::new(prompt)
            .with_id(key.to_string())
            .with_params(params);
        request.lora = lora;
        let seed = &mut request.params.seed;
        *seed = Some(seed.unwrap_or_else(|| key.seed(self.seed)));
        let stream = match self.engine.submit_wait(request) {
            Ok(stream) => stream,
            Err(SubmitError::ShutDown) => return Err(Refusal::Job(SubmitError::ShutDown.into())),
            Err(refused) => {
                let code = match &refused {
                    SubmitError::Params(_) | SubmitError::UnknownAdapter { .. } => {
                        RowCode::InvalidParameter
                    }
                    SubmitError::PromptTooLong { .. } | SubmitError::TooManyBlocks { .. } => {
                        RowCode::TooLong
                    }
                    _ => RowCode::InvalidPrompt,
                };
                let field = match &refused {
                    SubmitError::Params(of) => of.field(),
                    SubmitError::UnknownAdapter { .. } => "lora",
                    _ => field,
                };
                let error = head.error(code, with_causes(&refused), field);
                return Err(Refusal::Row(error));
            }
        };
        let (engine, head) = (self.engine.clone(), head.clone());
        let with_timings = self.with_timings;
        Ok(Box::pin(async move {
            let output = stream.finished().await;
            let metrics = Some(output.metrics);
            let answer = Answer::new(head, output, &|id| engine.token_text(id), with_timings);
            Reply { answer, metrics }
        }))
    }
}

/// An error and all that caused it, in one line.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message.push_str(": ");
        message.push_str(&error.to_string());
        cause = error.source();
    }
    message
}
