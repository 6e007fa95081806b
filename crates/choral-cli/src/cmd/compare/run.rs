//! Has a model answer all prompts under all settings, in one batch.

use super::grid::Cell;
use super::table::{Column, Shown, Table, Times};
use super::{Args, Prompts};
use crate::args::ModelArgs;
use crate::args::model::info;
use crate::cmd::prompts;
use crate::interrupt::Interrupt;
use crate::message::message;
use crate::output::progress::Progress;
use crate::output::terminal::tell;
use anyhow::Result;
use choral::engine::RequestOutput;
use choral::job::{
    Answer, ChatInput, JobSummary, Row, RowCode, RowError, RowHead, RowInput, RowKey, RowWork,
};
use choral::load::{Load, Pace, Trace};
use choral::model::GenerationDefaults;
use choral::text::ChatTemplate;
use choral::{Engine, Prompt, Request, SamplingParams};
use std::time::Duration;

/// What is to be compared.
pub(super) struct Run<'a> {
    pub(super) args: &'a Args,
    pub(super) prompts: &'a Prompts,
    pub(super) cells: &'a [Cell],
    pub(super) seed: u64,
    pub(super) interrupt: &'a Interrupt,
}

impl Run<'_> {
    /// Adds a model's columns. A model that cannot be run has columns that say so.
    pub(super) fn model(&self, model: &ModelArgs, table: &mut Table) -> Result<()> {
        let name = name_of(model);
        let rows = self.rows(&GenerationDefaults::default())?;
        self.args.check_size(rows.len(), self.cells.len())?;
        if table.prompts.is_empty() {
            table.prompts = rows.iter().map(shown).collect();
        }
        match self.answer(model, &name, table) {
            Ok(()) => Ok(()),
            Err(error) => {
                let cause = message(&error);
                tell(&format!("{name}: {cause}"));
                for cell in self.cells {
                    let fail = |row: &Row| failed(&row.head, cause.clone());
                    let errors = rows.iter().map(fail).collect();
                    table.columns.push(Column::failed(&name, cell, errors));
                }
                Ok(())
            }
        }
    }

    fn answer(&self, model: &ModelArgs, name: &str, table: &mut Table) -> Result<()> {
        let builder = model.builder()?;
        let num_prompts = table.prompts.len();
        // Room for all: they are sent at once.
        let engine = builder
            .queue_capacity(num_prompts * self.cells.len())
            .build()?;
        let rows = self.rows(&info(&engine)?.generation_defaults)?;
        let template = if rows.iter().any(prompts::is_chat) {
            Some(self.args.template.load(&engine)?)
        } else {
            None
        };
        let mut requests = Vec::new();
        let mut refused: Vec<Option<RowError>> = Vec::new();
        for cell in self.cells {
            for row in &rows {
                let request = self.request(row, cell, &engine, template.as_ref());
                match request {
                    Ok(request) => {
                        requests.push(request);
                        refused.push(None);
                    }
                    Err(error) => refused.push(Some(error)),
                }
            }
        }
        let mut progress = Progress::new(
            Some(requests.len() as u64),
            self.args.quiet,
            Some(engine.clone()),
        );
        let arrivals = vec![Duration::ZERO; requests.len()];
        let load = Load::new(&engine, requests).pace(Pace::Arrivals(arrivals));
        let stopper = load.stopper();
        let guard = self.interrupt.during(move || stopper.stop());
        let run = load
            .on_end(|ended| {
                let summary = JobSummary {
                    num_done: ended.num_ended as u64,
                    completion_tokens: engine.metrics().generated_tokens,
                    ..JobSummary::default()
                };
                progress.show(&summary, ended.output.map(|output| &output.metrics));
            })
            .run();
        drop(guard);
        progress.end();
        table.is_interrupted = run.is_stopped;

        let mut done = run.traces.into_iter().zip(run.outputs);
        let mut refused = refused.into_iter();
        for cell in self.cells {
            let mut clock = Clock::default();
            let answers = rows
                .iter()
                .zip(refused.by_ref())
                .map(|(row, refused)| match refused {
                    Some(error) => Answer::failed(row.head.clone(), error),
                    None => match done.next() {
                        Some((trace, output)) => self.one(row, &engine, trace, output, &mut clock),
                        None => failed(&row.head, "interrupted before it was sent".to_owned()),
                    },
                })
                .collect();
            let column = Column::new(name, cell, answers, clock.times());
            table.columns.push(without_logprobs(column, &rows));
        }
        Ok(())
    }

    /// The prompts, with the parameters that `model` recommends under the options'.
    fn rows(&self, model: &GenerationDefaults) -> Result<Vec<Row>> {
        let mut params = self.args.sampling.params(model);
        params.n = self.args.parallel.unwrap_or(1);
        // The option is the seed of the comparison.
        params.seed = None;
        let mut rows = match self.prompts {
            Prompts::File(file) => file.rows(&params)?,
            Prompts::Texts(texts) => (0..).zip(texts).map(|(i, t)| row(i, t, &params)).collect(),
        };
        // A single prompt gets what `choral generate` would give it.
        let is_single = matches!(self.prompts, Prompts::Texts(texts) if texts.len() == 1);
        for row in &mut rows {
            let key = row.head.key();
            if let Ok(work) = &mut row.work {
                let own = || {
                    if is_single {
                        self.seed
                    } else {
                        key.seed(self.seed)
                    }
                };
                work.params.seed = Some(work.params.seed.unwrap_or_else(own));
                self.make_chat(work);
            }
        }
        Ok(rows)
    }

    /// What `--chat` and `--system` make of a row.
    fn make_chat(&self, work: &mut RowWork) {
        match &mut work.input {
            RowInput::Prompt(Prompt::Text(text)) if self.args.chat => {
                let messages = self.args.template.conversation(text);
                work.input = RowInput::Chat(ChatInput::new(messages));
            }
            RowInput::Chat(chat) => {
                let first = chat.messages.first();
                if first.is_none_or(|first| first["role"] != "system") {
                    chat.messages.splice(0..0, self.args.template.opening());
                }
            }
            RowInput::Prompt(_) | RowInput::Request(_) => {}
        }
    }

    fn request(
        &self,
        row: &Row,
        cell: &Cell,
        engine: &Engine,
        template: Option<&ChatTemplate>,
    ) -> Result<Request, RowError> {
        let work = row.work.as_ref().map_err(Clone::clone)?;
        if self.args.chat && matches!(work.input, RowInput::Prompt(Prompt::Tokens(_))) {
            let cause = "`prompt` is a list of token ids, expected text for --chat";
            return Err(error(&row.head, RowCode::InvalidPrompt, cause.to_owned()));
        }
        let request = prompts::request(row, engine, template);
        let refuse = |cause| error(&row.head, RowCode::InvalidPrompt, cause);
        let mut request = request.map_err(refuse)?;
        cell.apply(&mut request.params);
        // Perplexity is computed from them.
        request.params.logprobs.get_or_insert(0);
        Ok(request)
    }

    fn one(
        &self,
        row: &Row,
        engine: &Engine,
        trace: Trace,
        output: Option<RequestOutput>,
        clock: &mut Clock,
    ) -> Answer {
        match output {
            Some(output) => {
                clock.note(&trace, &output);
                let head = row.head.clone();
                Answer::new(head, output, &|id| engine.token_text(id), self.args.timings)
            }
            None => failed(&row.head, trace.error.unwrap_or_default()),
        }
    }
}

/// Takes log-probabilities that nobody asked for out of the answers.
fn without_logprobs(mut column: Column, rows: &[Row]) -> Column {
    let is_varied = column.settings.iter().any(|(name, _)| name == "logprobs");
    for (answer, row) in column.answers.iter_mut().zip(rows) {
        let params = row.work.as_ref().ok().map(|work| &work.params);
        let is_asked = params.is_some_and(|params| params.logprobs.is_some());
        if !is_asked && !is_varied {
            for choice in &mut answer.outputs {
                choice.logprobs = None;
            }
        }
    }
    column
}

/// A prompt of the command line as a row.
fn row(index: u64, text: &str, params: &SamplingParams) -> Row {
    Row {
        head: RowHead {
            index,
            line: index + 1,
            ..RowHead::default()
        },
        work: Ok(RowWork {
            input: RowInput::Prompt(Prompt::Text(text.to_owned())),
            params: params.clone(),
            lora: Vec::new(),
        }),
    }
}

/// A prompt as people are shown it: of a conversation, what was said last.
fn shown(row: &Row) -> Shown {
    let text = match &row.work {
        Err(error) => format!("({})", error.message),
        Ok(work) => match &work.input {
            RowInput::Prompt(Prompt::Text(text)) => text.clone(),
            RowInput::Prompt(Prompt::Tokens(ids)) => format!("({} token ids)", ids.len()),
            RowInput::Chat(chat) => match chat.messages.last().map(|last| &last["content"]) {
                Some(serde_json::Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
                None => "(no messages)".to_owned(),
            },
            RowInput::Request(_) => "(a request to a provider)".to_owned(),
        },
    };
    Shown {
        custom_id: match row.head.key() {
            RowKey::Id(id) => Some(id),
            RowKey::Row(_) => None,
        },
        text,
    }
}

fn name_of(model: &ModelArgs) -> String {
    let choice = &model.choice;
    match (&choice.model, &choice.hf) {
        (Some(path), _) => path.display().to_string(),
        (None, Some(repo)) => repo.to_string(),
        (None, None) => choral::demo::NAME.to_owned(),
    }
}

fn error(head: &RowHead, code: RowCode, message: String) -> RowError {
    RowError {
        code,
        message,
        line: head.line,
        field: None,
        file: None,
    }
}

fn failed(head: &RowHead, cause: String) -> Answer {
    Answer::failed(head.clone(), error(head, RowCode::Engine, cause))
}

/// The time of a setting, from its first step to its last answer.
#[derive(Default)]
struct Clock {
    first_step: Option<f64>,
    last_end: f64,
    tokens: usize,
}

impl Clock {
    fn note(&mut self, trace: &Trace, output: &RequestOutput) {
        let started = trace.came + output.metrics.queue_s;
        let first = self.first_step.get_or_insert(started);
        *first = first.min(started);
        self.last_end = self.last_end.max(trace.came + trace.e2e);
        self.tokens += trace.num_tokens;
    }

    fn times(&self) -> Times {
        let seconds = self.last_end - self.first_step.unwrap_or(self.last_end);
        Times {
            seconds,
            tokens_per_second: if seconds > 0.0 {
                self.tokens as f64 / seconds
            } else {
                0.0
            },
        }
    }
}
