//! Questions about pictures, put through the engine as a job of `choral batch` is.
//!
//! A question is a chat of one message: its pictures, by number, and a text. Questions
//! whose pictures begin alike run after each other, so that what they share is computed
//! once; answers come in the order of the questions. `chosen` says which questions there
//! are, `question` makes rows of them, `source` has the pictures, `sink` takes answers.

use super::chosen::{Chosen, Questions};
use super::model::builder;
use super::outcome::Outcome;
use super::question::{Rows, render};
use super::sink::{Answers, Place};
use super::source::{Images, Source};
use super::{parse_image_size, shown_size};
use crate::args::ConversationArgs;
use crate::args::model::{info, parse_count};
use crate::cmd::batch::{files, record, settings};
use crate::input;
use crate::interrupt::Interrupt;
use crate::message::Usage;
use crate::output::config::Config;
use crate::output::progress::Progress;
use anyhow::Result;
use choral::job::{
    Counter, Description, EngineRunner, Job, JobLimits, Order, Record, Reuse, Row, Stop,
};
use choral::model::GenerationDefaults;
use choral::sampling::{SamplingParams, fresh_seed};
use choral::vision::image::ImageSize;
use choral::vision::store::{EMBEDDINGS, FILENAMES, SIDECAR};
use choral::{Engine, ModelInfo};
use std::cell::RefCell;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The store that pair tools read where nobody says.
const DEFAULT_EMBEDS: &str = "embeddings_512";

/// The temperature of pair tools.
const TEMPERATURE: f32 = 0.8;

/// New tokens of an answer where nobody says.
const DEFAULT_MAX_TOKENS: u32 = 100;

/// Rows of a job that are sorted together.
const MAX_GROUP: usize = 1 << 16;

/// What is asked, of which pictures, and where answers go.
#[derive(Debug, clap::Args)]
pub(super) struct AnswerArgs {
    // Not a doc comment, in which the name would want to be code.
    #[arg(
        help = "Folder of embeddings that precompute made [default: embeddings_512]",
        long,
        value_name = "DIR",
        conflicts_with = "images"
    )]
    pub(super) embeds: Option<PathBuf>,
    /// Picture files and folders instead, which are encoded when it is their turn
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub(super) images: Vec<PathBuf>,
    /// Pixels along a side of the square that every picture of --images is fitted into; dynamic: of
    /// each picture's own size [default: 448, or the most that the model takes]
    #[arg(long, value_name = "N|dynamic", value_parser = parse_image_size)]
    image_size: Option<ImageSize>,
    /// What is asked [default: a question of choral's own]
    #[arg(short, long, value_name = "TEXT", conflicts_with = "file")]
    prompt: Option<String>,
    /// File with what is asked, - for standard input; a line feed at its end is left out
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// File for the answers, a JSON object each; standard output has text
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Write JSON to standard output too
    #[arg(long)]
    json: bool,
    /// Leave out times and cached tokens, which differ from run to run
    #[arg(long)]
    no_timings: bool,
    /// Begin anew, whatever the output has
    #[arg(long, conflicts_with_all = ["resume", "retry_errors"])]
    overwrite: bool,
    /// Keep what the output has and is still right, even if the job is another or was finished
    #[arg(long)]
    resume: bool,
    /// Compute again what ended in an error
    #[arg(long)]
    retry_errors: bool,
    /// Most questions that run together; any number: what does not fit waits [default: 256, or as
    /// many as there is memory for]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(super) batch_size: Option<usize>,
    /// Whether tokens are drawn; if not, the likeliest is taken each time [default: 1]
    #[arg(long, value_name = "0|1", value_parser = clap::builder::BoolishValueParser::new())]
    do_sample: Option<bool>,
    #[command(flatten)]
    pub(super) conversation: ConversationArgs,
}

/// The questions of a command.
pub(super) struct Plan<'a> {
    /// What is asked where nobody says.
    pub(super) default_prompt: &'a str,
    /// What the pictures of a question are called in its answer: `image_a` and so on.
    pub(super) fields: &'static [&'static str],
    /// The file that questions were read from, to be named beside their lines.
    pub(super) list: Option<&'a Path>,
    /// Of which pictures.
    pub(super) chosen: Chosen,
}

/// Asks the questions of `plan`.
pub(super) fn run(mut args: AnswerArgs, plan: &Plan<'_>) -> Result<ExitCode> {
    let interrupt = Interrupt::install()?;
    args.check(plan)?;
    let prompt = args.prompt(plan)?;
    let source = args.source()?;
    let engine = args.engine(plan.chosen.num_questions(source.num_images()))?;
    let images = source.open(&engine, args.image_size)?;
    let info = info(&engine)?;
    let conversation = &args.conversation;
    let template = conversation.template.load(&engine)?;
    let mut params = args.params(&info.generation_defaults);
    let given_seed = params.seed.take();
    params.validate(info.spec.vocab_size)?;

    let (place, seed) = args.open_place(info, &images, plan, given_seed)?;
    if conversation.verbose {
        let config = Config::new(info, &params);
        writeln!(io::stderr(), "{config}  Job seed: {seed}")?;
    }
    let questions = plan.chosen.questions(images.len(), seed)?;
    let num_rows = questions.len();
    let counter = place.record().map(Record::counter);
    let is_record = counter.is_some();
    // A bar would be drawn over the answers.
    let is_quiet = conversation.quiet || place.is_terminal();
    let rows = Rows {
        opening: conversation.template.opening(),
        prompt,
        params,
        names: images.names(),
        contents: images.contents(is_record.then(|| asked(&questions)).into_iter().flatten()),
        fields: plan.fields,
        list: plan.list.map(|list| list.display().to_string().into()),
    };

    let images = RefCell::new(images);
    let progress = Progress::new(Some(num_rows), is_quiet, Some(engine.clone()));
    let mut answers = Answers::new(place, progress, &images);
    let mut limits = JobLimits::for_sequences(info.plan.max_num_seqs);
    if is_record {
        // Rows are small: a number or two each.
        limits.max_window = limits.max_window.max(MAX_GROUP);
        limits.max_group = limits.max_group.max(MAX_GROUP);
    }
    let stop = Stop::default();
    let guard = {
        let stop = stop.clone();
        interrupt.during(move || stop.stop())
    };
    let mut render = |input: &_| render(&engine, &template, input, &mut images.borrow_mut());
    let mut runner = EngineRunner::new(&engine, &mut render, seed, !args.no_timings);
    let job = Job {
        runner: &mut runner,
        order: if is_record {
            Order::Completion
        } else {
            Order::Input
        },
        limits,
        max_errors: None,
        stop,
    };
    let outcome = job.run(counted(rows, &questions, counter), &mut answers);
    // To the end of the program: what is told then, and the exit code, is what was done.
    std::mem::forget(guard);
    let finished = answers.finish(outcome.as_ref().ok(), num_rows, seed);
    let explained = |error: anyhow::Error| record::explained(error, is_record);
    let summary = outcome.map_err(|error| explained(error.into()))?;
    finished.map_err(|error| explained(error.into()))?;
    answers.tell_what_to_know();
    let outcome = Outcome::new(&summary, num_rows, is_record);
    outcome.tell();
    Ok(outcome.exit_code())
}

/// The images that are asked about, as often as they are.
fn asked(questions: &Questions) -> impl Iterator<Item = usize> {
    questions
        .iter()
        .filter_map(|question| question.images.ok())
        .flatten()
}

/// The rows of the job, which a record counts.
fn counted(
    rows: Rows,
    questions: &Questions,
    counter: Option<Counter>,
) -> impl Iterator<Item = io::Result<Row>> + Send + 'static {
    (0..).zip(questions.iter()).map(move |(index, question)| {
        let row = rows.row(index, question);
        if let Some(counter) = &counter {
            counter.count(&row);
        }
        Ok(row)
    })
}

impl AnswerArgs {
    /// Refuses what makes no sense, before a model is loaded.
    fn check(&mut self, plan: &Plan<'_>) -> Result<()> {
        self.conversation.check()?;
        if files::is_stream(&self.output) {
            let given = [
                ("--resume", self.resume),
                ("--retry-errors", self.retry_errors),
            ];
            if let Some((option, _)) = given.iter().find(|(_, given)| *given) {
                let message = format!("{option} needs an output that is a file (--output)");
                return Err(Usage::new(message).into());
            }
            return Ok(());
        }
        let may_write = self.overwrite || files::has_journal(&self.output);
        files::check_output(&self.output, Path::new("-"), may_write)?;
        for input in self.inputs(plan) {
            files::check_output(&self.output, &input, may_write)?;
            files::check_side_files(&self.output, &input)?;
        }
        Ok(())
    }

    /// Refuses to read the list and the question from one standard input, before either is
    /// read.
    pub(super) fn check_list(&self, list: Option<&Path>) -> Result<()> {
        let is_stdin = |path: &Path| path.as_os_str() == "-";
        if list.is_some_and(is_stdin) && self.file.as_deref().is_some_and(is_stdin) {
            let message = "the list and the question (--file) are both standard input, expected \
                           one of them to be a file";
            return Err(Usage::new(message).into());
        }
        Ok(())
    }

    /// All files that are read.
    fn inputs(&self, plan: &Plan<'_>) -> Vec<PathBuf> {
        let lists = [plan.list, self.file.as_deref()].into_iter().flatten();
        let mut inputs: Vec<PathBuf> = lists.map(Path::to_owned).collect();
        if self.images.is_empty() {
            let store = self.store();
            inputs.extend([EMBEDDINGS, FILENAMES, SIDECAR].map(|name| store.join(name)));
        }
        inputs.extend(self.images.iter().filter(|path| path.is_file()).cloned());
        inputs
    }

    fn store(&self) -> &Path {
        self.embeds.as_deref().unwrap_or(Path::new(DEFAULT_EMBEDS))
    }

    fn prompt(&self, plan: &Plan<'_>) -> Result<String> {
        match &self.file {
            Some(file) => input::read_prompt(file),
            None => Ok(self
                .prompt
                .as_deref()
                .unwrap_or(plan.default_prompt)
                .to_owned()),
        }
    }

    fn source(&self) -> Result<Source> {
        if self.images.is_empty() {
            Source::store(self.store())
        } else {
            Source::files(&self.images)
        }
    }

    /// An engine for so many questions.
    fn engine(&self, num_questions: u64) -> Result<Engine> {
        let model = &self.conversation.model;
        let mut builder = builder(model, self.conversation.quiet)?;
        if let Some(batch) = self.batch_size {
            // There is no use in room for more than there are.
            let most = usize::try_from(num_questions).unwrap_or(usize::MAX);
            builder = builder.max_num_seqs_as_fits(batch.min(most.max(1)));
        }
        // What is encoded already needs no encoder.
        let needs_encoder = !self.images.is_empty();
        Ok(builder.image_encoder(needs_encoder).build()?)
    }

    /// The parameters of a question: those that pair tools document, under the model's,
    /// under the options that were given.
    fn params(&self, model: &GenerationDefaults) -> SamplingParams {
        let sampling = &self.conversation.sampling;
        let mut params = SamplingParams {
            max_tokens: Some(DEFAULT_MAX_TOKENS),
            temperature: TEMPERATURE,
            top_k: 50,
            top_p: 0.6,
            repetition_penalty: 1.0,
            ..SamplingParams::default()
        };
        model.apply(&mut params);
        sampling.apply(&mut params);
        match self.do_sample {
            Some(false) => params.temperature = 0.0,
            // The model may say that it is not to be drawn from.
            Some(true) if sampling.temperature.is_none() && params.temperature == 0.0 => {
                params.temperature = TEMPERATURE;
            }
            _ => {}
        }
        params
    }

    /// Opens what answers go to, and says which seed the job has.
    fn open_place(
        &self,
        info: &ModelInfo,
        images: &Images,
        plan: &Plan<'_>,
        given_seed: Option<u64>,
    ) -> Result<(Place, u64)> {
        let fresh = fresh_seed();
        if !files::is_stream(&self.output) {
            let reuse = Reuse {
                overwrite: self.overwrite,
                changed: self.resume,
                retry_errors: self.retry_errors,
            };
            let job = self.describe(info, images, plan)?;
            let is_quiet = self.conversation.quiet;
            let record = record::open(&self.output, job, given_seed, fresh, reuse, is_quiet)?;
            let seed = record.seed();
            return Ok((Place::Record(Box::new(record)), seed));
        }
        let output = files::Output::open(&self.output, self.overwrite)?;
        let place = if self.json {
            Place::Lines {
                out: output.writer,
                is_terminal: output.is_terminal,
            }
        } else {
            Place::Text {
                out: output.writer,
                names: plan.fields,
                is_terminal: output.is_terminal,
            }
        };
        Ok((place, given_seed.unwrap_or(fresh)))
    }

    /// The job, as its record is to remember it. What its pictures hold is remembered with
    /// each row, so that others may come and go.
    fn describe(&self, info: &ModelInfo, images: &Images, plan: &Plan<'_>) -> Result<Description> {
        let template = &self.conversation.template;
        let mut job = settings::of_model(info, !self.no_timings, template)?;
        job.insert("embeddings".to_owned(), images.fingerprint());
        if let Some(size) = images.size() {
            job.insert("image size".to_owned(), shown_size(size));
        }
        let inputs = plan.list.into_iter().map(settings::absolute).collect();
        Ok(Description::new(inputs, None, job))
    }
}
