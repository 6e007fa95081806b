//! What answers a row: the seam between a job and whatever computes.

use super::answer::Answer;
use super::row::{ChatInput, RowCode, RowError, RowHead, RowInput, RowWork};
use crate::engine::request::{RequestMetrics, RequestSize};
use crate::engine::{Engine, Prompt, Request, SubmitError};
use crate::vision::ImageEmbedding;
use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::error::Error;
use std::pin::Pin;
use std::rc::Rc;

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

    /// Whether another row may be started beside those that run. Where none runs, one may
    /// in any case.
    fn has_room(&self) -> bool {
        true
    }
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

/// Most bytes of pictures that rows have which were started; one row may have more.
const MAX_IMAGE_BYTES: usize = 1 << 30;

/// Rows on an engine.
pub struct EngineRunner<'a> {
    engine: &'a Engine,
    render: &'a mut Render<'a>,
    seed: u64,
    with_timings: bool,
    images: Rc<RefCell<HeldImages>>,
}

/// The pictures of rows that were started, each once.
#[derive(Debug, Default)]
struct HeldImages {
    /// By where they are.
    num_rows: HashMap<usize, usize>,
    num_bytes: usize,
}

/// A row's share in them.
struct Share {
    all: Rc<RefCell<HeldImages>>,
    /// Where they are, and how many bytes they have.
    own: Vec<(usize, usize)>,
}

impl Share {
    fn new(all: &Rc<RefCell<HeldImages>>, images: &[ImageEmbedding]) -> Self {
        let own = images
            .iter()
            .map(|image| (image.place(), image.num_bytes()));
        let own: Vec<_> = own.collect();
        let mut held = all.borrow_mut();
        for (place, num_bytes) in &own {
            let num_rows = held.num_rows.entry(*place).or_default();
            *num_rows += 1;
            if *num_rows == 1 {
                held.num_bytes += num_bytes;
            }
        }
        drop(held);
        let all = Rc::clone(all);
        Self { all, own }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.all.borrow_mut();
        for (place, num_bytes) in &self.own {
            if let Entry::Occupied(mut num_rows) = held.num_rows.entry(*place) {
                *num_rows.get_mut() -= 1;
                if *num_rows.get() == 0 {
                    num_rows.remove();
                    held.num_bytes -= num_bytes;
                }
            }
        }
    }
}

impl<'a> EngineRunner<'a> {
    /// Runs rows on `engine`, whose messages `render` makes prompts of. Rows without a
    /// seed get theirs from `seed` and from their key; `with_timings` puts into the answers
    /// what depends on the run.
    pub fn new(
        engine: &'a Engine,
        render: &'a mut Render<'a>,
        seed: u64,
        with_timings: bool,
    ) -> Self {
        Self {
            engine,
            render,
            seed,
            with_timings,
            images: Rc::default(),
        }
    }

    /// What runs the rows.
    pub fn engine(&self) -> &'a Engine {
        self.engine
    }

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
        let share = Share::new(&self.images, &request.images);
        let stream = match self.engine.submit_wait(request) {
            Ok(stream) => stream,
            Err(SubmitError::ShutDown) => return Err(Refusal::Job(SubmitError::ShutDown.into())),
            Err(refused) => return Err(Refusal::Row(row_error(head, &refused, field))),
        };
        let (engine, head) = (self.engine.clone(), head.clone());
        let with_timings = self.with_timings;
        Ok(Box::pin(async move {
            let output = stream.finished().await;
            drop(share);
            let metrics = Some(output.metrics);
            let answer = Answer::new(head, output, &|id| engine.token_text(id), with_timings);
            Ok(Reply { answer, metrics })
        }))
    }

    fn has_room(&self) -> bool {
        self.images.borrow().num_bytes < MAX_IMAGE_BYTES
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_that_rows_share_counts_once_until_the_last_of_them_ends() {
        let image = |value| ImageEmbedding::new(2, 3, 4, vec![value; 24]).expect("whole");
        let all: Rc<RefCell<HeldImages>> = Rc::default();
        let (one, other) = (image(1.0), image(2.0));
        let num_bytes = || all.borrow().num_bytes;
        let first = Share::new(&all, &[one.clone(), other.clone()]);
        assert_eq!(num_bytes(), 2 * 24 * size_of::<f32>());
        let second = Share::new(&all, &[one.clone(), one.clone()]);
        let third = Share::new(&all, &[other.rounded_to_f16()]);
        assert_eq!(num_bytes(), 2 * 24 * size_of::<f32>() + 24 * 2);
        drop((first, third));
        assert_eq!(num_bytes(), 24 * size_of::<f32>());
        drop(second);
        assert_eq!(num_bytes(), 0);
    }
}
