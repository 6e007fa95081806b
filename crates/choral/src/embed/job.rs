//! Rows of texts to answers, as many at once as make a step.

use super::{Answer, EmbedError, Embedder, Form, Pooling, PreparedText, Row, RowWork};
use crate::job::{JobSummary, RowCode, RowError, RowHead};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// Most rows without a text, such as those in error, that wait for others.
const MAX_ROWS: usize = 4096;

/// Why a job ended before its input did.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbedJobError {
    /// The input cannot be read on. All rows before have been answered.
    #[error("cannot read the input")]
    Input(#[source] io::Error),
    /// An answer cannot be written.
    #[error("cannot write the output")]
    Output(#[source] io::Error),
    /// There is no memory for a step.
    #[error("the job cannot go on")]
    Embed(#[from] EmbedError),
}

/// Puts rows through an embedder. Whatever is wrong with a row becomes its answer, so
/// that every row has exactly one.
pub struct EmbedJob<'a> {
    /// Computes.
    pub embedder: &'a mut Embedder,
    /// Every row must come to one vector: rows with more are errors.
    pub one_vector_a_row: bool,
    /// When another thread sets it, the job ends after the step that runs.
    pub stop: &'a AtomicBool,
}

/// A row on its way.
struct Pending {
    head: RowHead,
    form: Form,
    /// How many of the texts are its own, and how they are to be written.
    work: Result<(usize, bool), RowError>,
}

impl EmbedJob<'_> {
    /// Reads `rows` to their end. `each` takes their answers, in order and some at a
    /// time, and what is done with them. Of the summary, `prompt_tokens` are the tokens
    /// that were read.
    ///
    /// # Errors
    /// If the input cannot be read or answers cannot be taken, or there is no memory
    /// for a step.
    pub fn run(
        self,
        rows: impl IntoIterator<Item = io::Result<Row>>,
        each: &mut dyn FnMut(&[Answer], &JobSummary) -> io::Result<()>,
    ) -> Result<JobSummary, EmbedJobError> {
        let info = self.embedder.info();
        let (max_texts, max_tokens) = (info.max_num_seqs, info.max_num_batched_tokens);
        let model = info.model_name();
        let mut summary = JobSummary::default();
        let mut rows = rows.into_iter();
        let (mut texts, mut pending) = (Vec::new(), Vec::new());
        loop {
            let mut num_tokens = 0;
            let mut failure = None;
            let mut is_end = false;
            while texts.len() < max_texts && num_tokens < max_tokens && pending.len() < MAX_ROWS {
                let row = match rows.next() {
                    Some(Ok(row)) => row,
                    Some(Err(error)) => {
                        failure = Some(error);
                        break;
                    }
                    None => {
                        is_end = true;
                        break;
                    }
                };
                let Row { head, form, work } = row;
                let line = head.line;
                let work = work.and_then(|work| {
                    let prepared = self.prepare(&work).map_err(|e| row_error(&e, line))?;
                    num_tokens += prepared.iter().map(|t| t.token_ids().len()).sum::<usize>();
                    texts.extend(prepared);
                    Ok((work.inputs.len(), work.base64))
                });
                pending.push(Pending { head, form, work });
            }
            let mut embeddings = self.embedder.run(&texts)?.into_iter();
            texts.clear();
            let answers: Vec<Answer> = pending
                .drain(..)
                .map(|Pending { head, form, work }| {
                    let (count, base64) = match work {
                        Ok(work) => work,
                        Err(error) => return Answer::failed(head, form, error),
                    };
                    let own: Vec<_> = embeddings.by_ref().take(count).collect();
                    if own.iter().all(super::Embedding::is_finite) {
                        return Answer::new(head, form, own, base64, model.clone());
                    }
                    let error = row_error(&EmbedError::NotFinite, head.line);
                    Answer::failed(head, form, error)
                })
                .collect();
            summary.num_done += answers.len() as u64;
            summary.num_failed += answers.iter().filter(|a| a.error().is_some()).count() as u64;
            summary.prompt_tokens += answers.iter().map(Answer::num_tokens).sum::<u64>();
            summary.num_handed_out = summary.num_done;
            if !answers.is_empty() {
                each(&answers, &summary).map_err(EmbedJobError::Output)?;
            }
            if let Some(error) = failure {
                return Err(EmbedJobError::Input(error));
            }
            if is_end {
                return Ok(summary);
            }
            if self.stop.load(Ordering::Relaxed) {
                summary.is_stopped = true;
                return Ok(summary);
            }
        }
    }

    fn prepare(&self, work: &RowWork) -> Result<Vec<PreparedText>, EmbedError> {
        let prepare = |input| self.embedder.prepare(input, work.dimensions);
        let texts: Vec<PreparedText> = work.inputs.iter().map(prepare).collect::<Result<_, _>>()?;
        let info = self.embedder.info();
        if self.one_vector_a_row {
            debug_assert_ne!(info.pooling, Pooling::None, "checked by the caller");
            if texts.len() != 1 {
                return Err(EmbedError::ManyVectors { found: texts.len() });
            }
            let (found, expected) = (texts[0].dimensions, info.dimensions);
            if found != expected {
                return Err(EmbedError::OtherWidth { found, expected });
            }
        }
        Ok(texts)
    }
}

fn row_error(error: &EmbedError, line: u64) -> RowError {
    let (code, field) = match error {
        EmbedError::TooLong { .. } => (RowCode::TooLong, None),
        EmbedError::NoTokens | EmbedError::UnknownToken { .. } | EmbedError::Tokenizer(_) => {
            (RowCode::InvalidPrompt, None)
        }
        EmbedError::Dimensions { .. } | EmbedError::OtherWidth { .. } => {
            (RowCode::InvalidParameter, Some("dimensions".to_owned()))
        }
        EmbedError::ManyVectors { .. } => (RowCode::InvalidParameter, Some("input".to_owned())),
        _ => (RowCode::Engine, None),
    };
    RowError {
        code,
        message: error.to_string(),
        line,
        field,
        file: None,
    }
}
