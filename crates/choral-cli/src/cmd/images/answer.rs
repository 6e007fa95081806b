//! Questions about pictures, put through the engine as a job of `choral batch` is.
//!
//! A question is a chat of one message: its pictures, by number, and a text. Questions
//! whose pictures begin alike run after each other, so that what they share is computed
//! once; answers come in the order of the questions.

use super::model::{builder, hidden_size, tell};
use super::sink::{Answers, Place};
use super::source::Images;
use super::{image_size, parse_image_size};
use crate::args::ModelArgs;
use crate::args::model::{info, parse_count};
use crate::args::sampling::SamplingArgs;
use crate::args::template::TemplateArgs;
use crate::cmd::batch::{files, record};
use crate::interrupt::Interrupt;
use crate::message::{Usage, message};
use crate::output::config::Config;
use crate::output::progress::Progress;
use crate::{EXIT_INTERRUPTED, EXIT_SOME_FAILED, input};
use anyhow::Result;
use choral::job::{
    ChatInput, Description, EngineRunner, Job, JobLimits, Order, Record, RenderError, Rendered,
    Reuse, Row, RowCode, RowError, RowHead, RowInput, RowWork, Settings, Stop,
};
use choral::model::GenerationDefaults;
use choral::sampling::{SamplingParams, fresh_seed};
use choral::text::{ChatTemplate, TemplateInput};
use choral::vision::image::ImageSize;
use choral::vision::pairs::LineError;
use choral::vision::store::EmbeddingStore;
use choral::{Engine, ModelInfo};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write as _};
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
    embeds: Option<PathBuf>,
    /// Picture files and folders instead, which are encoded first
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
    /// Questions that run together [default: as many as there is memory for]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(super) batch_size: Option<usize>,
    /// Whether tokens are drawn; if not, the likeliest is taken each time [default: 1]
    #[arg(long, value_name = "0|1", value_parser = clap::builder::BoolishValueParser::new())]
    do_sample: Option<bool>,
    /// Show the configuration
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    pub(super) sampling: SamplingArgs,
    #[command(flatten)]
    template: TemplateArgs,
}

/// A question that is to be asked.
pub(super) struct Question {
    /// Where it was asked for, from 1.
    pub(super) line: u64,
    /// The numbers of its pictures, or what is wrong with its line.
    pub(super) images: Result<Vec<usize>, LineError>,
}

/// The questions of a command, chosen when it is known how many images there are.
pub(super) struct Plan<'a> {
    /// What is asked where nobody says.
    pub(super) default_prompt: &'a str,
    /// What the pictures of a question are called in its answer: `image_a` and so on.
    pub(super) names: &'a [&'a str],
    /// The file that questions were read from, to be named beside their lines.
    pub(super) file: Option<&'a Path>,
    /// Chooses among so many images; random choices follow from the seed.
    pub(super) select: &'a dyn Fn(usize, u64) -> Result<Vec<Question>>,
}

/// Asks the questions of `plan`.
pub(super) fn run(mut args: AnswerArgs, plan: &Plan<'_>) -> Result<ExitCode> {
    args.model.choice.quiet = args.quiet;
    let interrupt = Interrupt::install()?;
    args.check()?;
    let prompt = args.prompt(plan)?;
    let (engine, mut images) = args.engine_and_images()?;
    let info = info(&engine)?;
    let template = args.template.load(&engine)?;
    let mut params = args.params(&info.generation_defaults);
    let given_seed = params.seed.take();
    params.validate(info.spec.vocab_size)?;

    let is_record = !files::is_stream(&args.output);
    let (place, seed) = if is_record {
        let seed = given_seed.unwrap_or_else(fresh_seed);
        let job = args.describe(info, &images, plan)?;
        let record = args.open_record(job, given_seed, seed)?;
        let seed = record.seed();
        (Place::Record(Box::new(record)), seed)
    } else {
        let output = files::Output::open(&args.output, args.overwrite)?;
        // A bar would be drawn over the answers.
        args.quiet |= output.is_terminal;
        let place = if args.json {
            Place::Lines(output.writer)
        } else {
            Place::Text {
                out: output.writer,
                names: plan.names.iter().map(|name| (*name).to_owned()).collect(),
                is_terminal: output.is_terminal,
            }
        };
        (place, given_seed.unwrap_or_else(fresh_seed))
    };
    if args.verbose {
        let config = Config::new(info, &params);
        writeln!(io::stderr(), "{config}  Job seed: {seed}")?;
    }
    let questions = (plan.select)(images.len(), seed)?;
    let wanted: BTreeSet<usize> = questions
        .iter()
        .filter_map(|question| question.images.as_ref().ok())
        .flatten()
        .copied()
        .collect();
    if let Some(geometry) = engine.geometry() {
        images.encode(&wanted, &engine, image_size(args.image_size, geometry))?;
    }
    let rows: Vec<Row> = (0..)
        .zip(questions)
        .map(|(index, question)| row(index, question, plan, &images, &prompt, &params))
        .collect();
    let place = match place {
        Place::Record(record) => {
            let counter = record.counter();
            for row in &rows {
                counter.count(row);
            }
            Place::Record(record)
        }
        place => place,
    };

    let order = match &place {
        Place::Record(_) => Order::Completion,
        _ => Order::Input,
    };
    let num_rows = rows.len() as u64;
    let progress = Progress::new(Some(num_rows), args.quiet, Some(engine.clone()));
    let mut answers = Answers::new(place, progress);
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
    let mut runner = EngineRunner {
        engine: &engine,
        render: &mut |input| render(&engine, &template, input, &mut images),
        seed,
        with_timings: !args.no_timings,
    };
    let job = Job {
        runner: &mut runner,
        order,
        limits,
        max_errors: None,
        stop,
    };
    let outcome = job.run(rows.into_iter().map(Ok), &mut answers);
    drop(guard);
    let finished = answers.finish(outcome.as_ref().ok(), seed);
    let summary = outcome?;
    finished?;
    if summary.is_stopped {
        let go_on = if is_record {
            "; the same command goes on"
        } else {
            ""
        };
        tell(&format!(
            "interrupted: {} of {num_rows} questions were answered{go_on}",
            summary.num_done
        ));
        return Ok(ExitCode::from(EXIT_INTERRUPTED));
    }
    if summary.num_failed > 0 {
        answers.tell_errors();
        tell(&format!(
            "{} of {num_rows} questions are in error",
            summary.num_failed
        ));
        return Ok(ExitCode::from(EXIT_SOME_FAILED));
    }
    Ok(ExitCode::SUCCESS)
}

/// An image size as the option takes it.
fn shown(size: ImageSize) -> String {
    match size {
        ImageSize::Dynamic => "dynamic".to_owned(),
        ImageSize::Fixed(side) => side.to_string(),
    }
}

impl AnswerArgs {
    /// Refuses what makes no sense, before a model is loaded.
    fn check(&self) -> Result<()> {
        self.sampling.check(1)?;
        self.template.check()?;
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
        files::check_output(&self.output, Path::new("-"), may_write)
    }

    fn prompt(&self, plan: &Plan<'_>) -> Result<String> {
        if let Some(file) = &self.file {
            // The line feed that editors leave at the end is not meant.
            let text = input::read(file)?;
            let line = text.strip_suffix('\n');
            let line = line.map(|line| line.strip_suffix('\r').unwrap_or(line));
            return Ok(line.unwrap_or(&text).to_owned());
        }
        let prompt = self.prompt.as_deref();
        Ok(prompt.unwrap_or(plan.default_prompt).to_owned())
    }

    /// The engine, and the images that it is asked about. What is wrong with a store is
    /// told before a model is loaded, as far as that can be.
    fn engine_and_images(&self) -> Result<(Engine, Images)> {
        let mut builder = builder(&self.model, self.quiet)?;
        if let (Some(batch), None) = (self.batch_size, self.model.max_num_seqs) {
            builder = builder.max_num_seqs(batch);
        }
        if !self.images.is_empty() {
            let images = Images::list(&self.images)?;
            let engine = builder.build()?;
            // Says why, if it has no encoder.
            engine.encode_images(&[])?;
            return Ok((engine, images));
        }
        let folder = self.embeds.clone();
        let folder = folder.unwrap_or_else(|| PathBuf::from(DEFAULT_EMBEDS));
        EmbeddingStore::check(&folder)?;
        // What is encoded already needs no encoder.
        let engine = builder.image_encoder(false).build()?;
        let images = Images::open(&folder, hidden_size(&engine)?, info(&engine)?)?;
        if let (Some(asked), Some(found)) = (self.image_size, images.image_size())
            && asked != found
        {
            let message = format!(
                "--image-size is {}, but the pictures of the store were encoded with {}",
                shown(asked),
                shown(found)
            );
            return Err(Usage::new(message).into());
        }
        Ok((engine, images))
    }

    /// The parameters of a question: those that pair tools document, under the model's,
    /// under the options that were given.
    fn params(&self, model: &GenerationDefaults) -> SamplingParams {
        let mut params = SamplingParams {
            max_tokens: Some(DEFAULT_MAX_TOKENS),
            temperature: TEMPERATURE,
            top_k: 50,
            top_p: 0.6,
            repetition_penalty: 1.0,
            ..SamplingParams::default()
        };
        model.apply(&mut params);
        self.sampling.apply(&mut params);
        match self.do_sample {
            Some(false) => params.temperature = 0.0,
            // The model may say that it is not to be drawn from.
            Some(true) if self.sampling.temperature.is_none() && params.temperature == 0.0 => {
                params.temperature = TEMPERATURE;
            }
            _ => {}
        }
        params
    }

    /// The job, as its record is to remember it.
    fn describe(&self, info: &ModelInfo, images: &Images, plan: &Plan<'_>) -> Result<Description> {
        let model =
            super::model::described(&info.file, info.image_encoder.as_ref(), info.plan.numeric)?;
        let mut settings = Settings::new();
        let mut set = |name: &str, value: String| settings.insert(name.to_owned(), value);
        set("model", format!("{} {}", model.name, model.fingerprint));
        set("version", env!("CARGO_PKG_VERSION").to_owned());
        set("numeric", model.numeric);
        let kv = info.plan.kv_types;
        set("keys and values", format!("{:?} {:?}", kv.keys, kv.values));
        set("context", info.plan.context.to_string());
        set("timings", (!self.no_timings).to_string());
        set("embeddings", images.fingerprint());
        let names = (0..images.len()).map(|index| images.name(index));
        let hash = names.fold(Sha256::new(), |hash, name| {
            hash.chain_update(name).chain_update(b"\n")
        });
        let hash = hash.finalize();
        let first = hash.first_chunk().expect("SHA-256 has 32 bytes");
        set("images", format!("{:032x}", u128::from_be_bytes(*first)));
        if let Some(size) = self.image_size {
            set("image size", format!("{size:?}"));
        }
        if let Some(template) = &self.template.chat_template {
            set("chat template", template.clone());
        }
        if let Some(path) = &self.template.chat_template_file {
            set("chat template", input::read(path)?);
        }
        let inputs = plan.file.iter().map(|file| {
            let found = file.canonicalize();
            found.unwrap_or_else(|_| (*file).to_owned())
        });
        let inputs = inputs.map(|file| file.display().to_string()).collect();
        Ok(Description::new(inputs, None, settings))
    }

    fn open_record(&self, job: Description, given: Option<u64>, fresh: u64) -> Result<Record> {
        let reuse = Reuse {
            overwrite: self.overwrite,
            changed: self.resume,
            retry_errors: self.retry_errors,
        };
        record::open(&self.output, job, given, fresh, reuse, self.quiet)
    }
}

/// Opens a list of numbers, or standard input for `-`.
pub(super) fn open_list(path: &Path) -> io::Result<Box<dyn BufRead>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    Ok(Box::new(BufReader::new(File::open(path)?)))
}

/// A question as a row of a job: its pictures stand in the message by their numbers, and
/// in the answer's fields by their names too.
fn row(
    index: u64,
    question: Question,
    plan: &Plan<'_>,
    images: &Images,
    prompt: &str,
    params: &SamplingParams,
) -> Row {
    let Question {
        line,
        images: numbers,
    } = question;
    let mut fields = Map::new();
    let work = match numbers {
        Ok(numbers) => {
            for (name, &number) in plan.names.iter().zip(&numbers) {
                fields.insert((*name).to_owned(), images.name(number).into());
                fields.insert(name.replacen("image", "index", 1), number.into());
            }
            let pictures = numbers
                .iter()
                .map(|number| json!({"type": "image", "image": number}));
            let text = json!({"type": "text", "text": prompt});
            let content: Vec<Value> = pictures.chain([text]).collect();
            let message = json!({"role": "user", "content": content});
            Ok(RowWork {
                input: RowInput::Chat(ChatInput::new(vec![message])),
                params: params.clone(),
                lora: Vec::new(),
            })
        }
        Err(error) => Err(RowError {
            code: RowCode::InvalidPrompt,
            message: error.to_string(),
            line,
            field: None,
            file: plan.file.map(|file| file.display().to_string().into()),
        }),
    };
    let head = RowHead {
        index,
        line,
        fields,
        ..RowHead::default()
    };
    Row { head, work }
}

/// Makes a prompt of a question, with its pictures' embeddings.
fn render(
    engine: &Engine,
    template: &ChatTemplate,
    input: &ChatInput,
    images: &mut Images,
) -> Result<Rendered, RenderError> {
    let mut input = TemplateInput::from(input);
    let mut found = Vec::new();
    let messages = input.messages.as_array_mut().into_iter().flatten();
    let parts = messages.filter_map(|message| message["content"].as_array_mut());
    for part in parts.flatten() {
        if let Some(number) = part["image"].as_u64() {
            let image = images.embedding(number as usize);
            found.push(image.map_err(RenderError::Image)?);
            *part = json!({"type": "image"});
        }
    }
    let prompt = engine.chat_prompt(template, input);
    let prompt = prompt.map_err(|error| RenderError::Template(message(&error.into())))?;
    Ok(Rendered {
        prompt,
        images: found,
    })
}
