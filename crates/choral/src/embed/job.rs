//! Rows of texts to answers, as many at once as make a step.

use super::{Answer, EmbedError, Embedder, Form, Pooling, PreparedText, Row, RowWork};
use crate::job::{JobSummary, RowCode, RowError, RowHead};
use std::cell::Cell;
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
    /// Ends the job when more rows than that are in error.
    pub max_errors: Option<u64>,
    /// Errors of rows that are not among those of this run, because an earlier one has
    /// answered them; counted while rows are read.
    pub num_failed_before: &'a Cell<u64>,
    /// When another thread sets it, the job ends after the step that runs.
    pub stop: &'a AtomicBool,
}

/// A row on its way.
struct Pending {
    head: RowHead,
    form: Form,
    work: Result<Ready, RowError>,
}

/// A row whose texts run.
struct Ready {
    num_texts: usize,
    base64: bool,
    model: Option<String>,
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
        let own_name = info.model_name();
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
                let work = work.and_then(|work| {
                    let prepared = self.prepare(&work);
                    let prepared = prepared.map_err(|error| error.of_row(&head, form))?;
                    num_tokens += prepared.iter().map(|t| t.token_ids().len()).sum::<usize>();
                    texts.extend(prepared);
                    Ok(Ready {
                        num_texts: work.inputs.len(),
                        base64: work.base64,
                        model: work.model,
                    })
                });
                pending.push(Pending { head, form, work });
            }
            let mut embeddings = self.embedder.run(&texts)?.into_iter();
            texts.clear();
            let mut answers: Vec<Answer> = pending
                .drain(..)
                .map(|Pending { head, form, work }| {
                    let Ready {
                        num_texts,
                        base64,
                        model,
                    } = match work {
                        Ok(ready) => ready,
                        Err(error) => return Answer::failed(head, form, error),
                    };
                    let own: Vec<_> = embeddings.by_ref().take(num_texts).collect();
                    if own.iter().all(super::Embedding::is_finite) {
                        let model = model.unwrap_or_else(|| own_name.clone());
                        return Answer::new(head, form, own, base64, model);
                    }
                    let error = EmbedError::NotFinite.of_row(&head, form);
                    Answer::failed(head, form, error)
                })
                .collect();
            if let Some(max) = self.max_errors {
                let num_failed = summary.num_failed + self.num_failed_before.get();
                let failed = answers.iter().enumerate();
                let mut failed = failed.filter(|(_, answer)| answer.error().is_some());
                if num_failed > max {
                    answers.clear();
                    summary.is_aborted = true;
                } else if let Ok(left) = usize::try_from(max - num_failed)
                    && let Some((last, _)) = failed.nth(left)
                {
                    answers.truncate(last + 1);
                    summary.is_aborted = true;
                }
            }
            summary.num_done += answers.len() as u64;
            summary.num_failed += answers.iter().filter(|a| a.error().is_some()).count() as u64;
            summary.prompt_tokens += answers.iter().map(Answer::num_tokens).sum::<u64>();
            summary.num_handed_out = summary.num_done;
            if !answers.is_empty() {
                each(&answers, &summary).map_err(EmbedJobError::Output)?;
            }
            if let Some(error) = failure
                && !summary.is_aborted
            {
                return Err(EmbedJobError::Input(error));
            }
            if is_end || summary.is_aborted {
                return Ok(summary);
            }
            if self.stop.load(Ordering::Relaxed) {
                summary.is_stopped = true;
                return Ok(summary);
            }
        }
    }

    fn prepare(&self, work: &RowWork) -> Result<Vec<PreparedText>, EmbedError> {
        let texts = self.embedder.prepare_row(work)?;
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

impl Embedder {
    /// The texts of a row, in order.
    ///
    /// # Errors
    /// Those of [`prepare`](Self::prepare), for any of them.
    pub fn prepare_row(&self, work: &RowWork) -> Result<Vec<PreparedText>, EmbedError> {
        let prepare = |input| self.prepare(input, work.dimensions);
        work.inputs.iter().map(prepare).collect()
    }
}

impl EmbedError {
    /// The same as an error of a row that came in that form.
    pub fn of_row(&self, head: &RowHead, form: Form) -> RowError {
        let (code, field) = match self {
            Self::TooLong { .. } => (RowCode::TooLong, Some("input")),
            Self::NoTokens | Self::UnknownToken { .. } | Self::Tokenizer(_) => {
                (RowCode::InvalidPrompt, Some("input"))
            }
            Self::Dimensions { .. } | Self::OtherWidth { .. } => {
                (RowCode::InvalidParameter, Some("dimensions"))
            }
            Self::ManyVectors { .. } => (RowCode::InvalidParameter, Some("input")),
            _ => (RowCode::Engine, None),
        };
        let field = field.map(|field| match form {
            Form::Own => field.to_owned(),
            Form::OpenAi => format!("body.{field}"),
        });
        RowError {
            code,
            message: self.to_string(),
            line: head.line,
            field,
            file: head.file.clone(),
        }
    }
}
