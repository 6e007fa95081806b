//! What answers a row: the seam between a job and whatever computes.

use super::answer::Answer;
use super::row::{ChatInput, RowCode, RowError, RowHead, RowInput, RowWork};
use crate::engine::request::{RequestMetrics, RequestSize};
use crate::engine::{Engine, Prompt, Request, SubmitError};
use crate::vision::ImageEmbedding;
use std::error::Error;
use std::pin::Pin;

/// What will come of a row: a reply, or why no row can be answered any more. Dropping it
/// cancels the row.
pub type Running = Pin<Box<dyn Future<Output = Result<Reply, JobFailure>>>>;

/// Why no row can be answered any more.
pub type JobFailure = Box<dyn Error + Send + Sync>;

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
    Job(JobFailure),
}

/// Answers rows.
pub trait Runner {
    /// Starts a row. May wait for room.
    ///
    /// # Errors
    /// The row is at fault, or nothing runs any more.
    fn start(&mut self, head: &RowHead, work: RowWork) -> Result<Running, Refusal>;
}

/// What messages become.
#[derive(Debug)]
pub struct Rendered {
    /// The text, or its tokens.
    pub prompt: Prompt,
    /// The pictures that it has places for, in their order.
    pub images: Vec<ImageEmbedding>,
}

impl From<Prompt> for Rendered {
    fn from(prompt: Prompt) -> Self {
        Self {
            prompt,
            images: Vec::new(),
        }
    }
}

/// Why messages become nothing.
#[derive(Debug)]
pub enum RenderError {
    /// The template refuses them.
    Template(String),
    /// A picture of theirs cannot be used.
    Image(String),
}

/// Makes a prompt of messages, or says what is wrong with them.
pub type Render<'a> = dyn FnMut(&ChatInput) -> Result<Rendered, RenderError> + 'a;

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
    /// What [`start`](Runner::start) would run, and what that would come to.
    ///
    /// # Errors
    /// Those of `start`.
    pub fn check(
        &mut self,
        head: &RowHead,
        work: RowWork,
    ) -> Result<(Request, RequestSize), RowError> {
        let (request, field) = self.request(head, work)?;
        match self.engine.check(&request) {
            Ok(size) => Ok((request, size)),
            Err(refused) => Err(row_error(head, &refused, field)),
        }
    }

    /// The request of a row, and the field that its prompt came from.
    fn request(
        &mut self,
        head: &RowHead,
        work: RowWork,
    ) -> Result<(Request, &'static str), RowError> {
        let RowWork {
            input,
            params,
            lora,
        } = work;
        let (Rendered { prompt, images }, field) = match input {
            RowInput::Prompt(prompt) => (prompt.into(), "prompt"),
            RowInput::Chat(input) => match (self.render)(&input) {
                Ok(rendered) => (rendered, "messages"),
                Err(RenderError::Template(message)) => {
                    return Err(head.error(RowCode::Template, message, "messages"));
                }
                Err(RenderError::Image(message)) => {
                    return Err(head.error(RowCode::InvalidImage, message, "messages"));
                }
            },
            RowInput::Request(_) => {
                let message = "a request to a provider, expected a prompt or messages";
                return Err(head.error(RowCode::InvalidPrompt, message.to_owned(), ""));
            }
        };
        let key = head.key();
        let mut request = Request::new(prompt)
            .with_id(key.to_string())
            .with_images(images)
            .with_params(params);
        request.lora = lora;
        let seed = &mut request.params.seed;
        *seed = Some(seed.unwrap_or_else(|| key.seed(self.seed)));
        Ok((request, field))
    }
}

/// A request that was refused, as an error of its row. `field` has its prompt.
fn row_error(head: &RowHead, refused: &SubmitError, field: &str) -> RowError {
    let (code, field) = match refused {
        SubmitError::Params(of) => (RowCode::InvalidParameter, of.field()),
        SubmitError::UnknownAdapter { .. } => (RowCode::InvalidParameter, "lora"),
        SubmitError::PromptTooLong { .. } | SubmitError::TooManyBlocks { .. } => {
            (RowCode::TooLong, field)
        }
        _ => (RowCode::InvalidPrompt, field),
    };
    head.error(code, with_causes(refused), field)
}

impl Runner for EngineRunner<'_> {
    fn start(&mut self, head: &RowHead, work: RowWork) -> Result<Running, Refusal> {
        let (request, field) = self.request(head, work).map_err(Refusal::Row)?;
        let stream = match self.engine.submit_wait(request) {
            Ok(stream) => stream,
            Err(SubmitError::ShutDown) => return Err(Refusal::Job(SubmitError::ShutDown.into())),
            Err(refused) => return Err(Refusal::Row(row_error(head, &refused, field))),
        };
        let (engine, head) = (self.engine.clone(), head.clone());
        let with_timings = self.with_timings;
        Ok(Box::pin(async move {
            let output = stream.finished().await;
            let metrics = Some(output.metrics);
            let answer = Answer::new(head, output, &|id| engine.token_text(id), with_timings);
            Ok(Reply { answer, metrics })
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
