//! `choral batch`: files of prompts to a file of answers.
//!
//! Puts the library's parts together: `files` opens, `chat` renders, `settings` says
//! what a record is of, `sink` writes.

mod chat;
mod dry_run;
mod embeddings;
pub(super) mod files;
mod input;
mod provider;
pub(super) mod record;
pub(super) mod settings;
pub(super) mod sink;
mod target;

use crate::args::model::info;
use crate::args::sampling::SamplingArgs;
use crate::args::template::TemplateArgs;
use crate::args::{ImageArgs, LoraArgs, ModelArgs, ProviderArgs};
use crate::interrupt::Interrupt;
use crate::message::Usage;
use crate::output::config::Config;
use crate::output::progress::Progress;
use crate::output::terminal::tell;
use crate::{EXIT_INTERRUPTED, EXIT_SOME_FAILED, NOTES};
use anyhow::Result;
use chat::Chat;
use choral::job::table::CsvOptions;
use choral::job::{
    Counter, EngineRunner, FileFormat, InputFormat, Inputs, Job, JobLimits, JobSummary, ModelNames,
    Order, PromptTemplate, Row, RowCode, RowError, RowHead, RowReader, RowWork, Shard, Stop,
};
use choral::sampling::fresh_seed;
use clap::ValueEnum;
use input::Facts;
use record::{GOES_ON, explained};
use sink::Answers;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use target::{OutputFormat, Target};

/// What a row may say, for `--help`.
const ROWS: &str = "\
Rows of JSONL: {\"prompt\": TEXT or [TOKEN IDS]} or {\"messages\": [...]}, with \"custom_id\" \
and any sampling parameter by its OpenAI or vLLM name (max_tokens, temperature, seed, n, logprobs, \
stop, ...), which wins over the command's option. \"lora\": NAME or [{\"id\": NAME or NUMBER, \
\"scale\": S}, ...] runs a row with those adapters instead of the command's, [] with none. A parameter that is not known is an error of its \
row. Blank lines are passed over.

Messages may have pictures, for models that look at them: {\"type\": \"image_url\", \
\"image_url\": {\"url\": \"data:image/png;base64,...\"}} among the parts of their content.

Columns of tables (.csv, .tsv, .parquet) are such fields; a cell that is empty is none, and columns \
of other names are carried through to the answer (\"fields\").

Lines of OpenAI's batch format ({\"custom_id\", \"method\": \"POST\", \"url\": \
\"/v1/chat/completions\" or \"/v1/completions\", \"body\"}) are answered in that format; if the \
first one asks for /v1/embeddings, all are to do so. Rows may name their model as --served-model-name says.

Answers, in the order of the rows: {\"custom_id\", \"row\", \"outputs\": [{\"index\", \"text\", \
\"token_ids\", \"finish_reason\", \"stop_reason\", \"logprobs\", \"seed\"}], \"usage\", \"error\"}. \
A row in error has no outputs and \"error\": {\"code\", \"message\", \"line\", \"field\"}.

A row without a seed gets one that follows from the job's seed (-s, or drawn and kept) and from \
its custom_id, or else its number: the same job gives the same answers.

With --provider, a service answers. Rows may then have \"system\", \"tools\", \"tool_choice\" and \
\"response_format\" as well. Only what the command or the row says is sent, a seed too; token ids are \
not known. --remote batch keeps the ids of the vendor's batches in OUTPUT.remote.json.

While a job runs, answers are appended to the output as they come; OUTPUT.journal says what each is \
the answer of. The same command goes on where it was ended, however that was: by Ctrl-C, a crash, \
a full disk or a power cut. At the end answers are put in the order of the rows. After that it has \
nothing to do, unless rows were changed or added (--resume), or some are in error \
(--retry-errors).";

/// Answer a file of prompts
///
/// Each row is one prompt, answered together with as many others as there is
/// memory for. Memory does not grow with the number of rows.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
#[command(after_long_help = format!("{ROWS}\n\n{NOTES}"), after_help = NOTES)]
pub(crate) struct Args {
    /// Files of prompts, or patterns such as 'part-*.jsonl', one after another; - for standard input
    #[arg(short, long, value_name = "FILE", num_args = 1.., required = true)]
    input: Vec<PathBuf>,
    /// File for the answers, - for standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// How to read the input [default: by its name (.txt, .jsonl, .csv, .tsv, .parquet), else jsonl
    /// if it begins with {; a JSON array is refused]
    #[arg(long, value_enum, value_name = "FORMAT")]
    input_format: Option<Format>,
    /// How to write answers [default: by the output's name (.jsonl, .csv, .tsv, .parquet, .md, or a
    /// folder/), else jsonl]
    #[arg(long, value_enum, value_name = "FORMAT")]
    output_format: Option<OutputFormat>,
    /// Make each prompt of a row's fields, as in 'Summarise: {{ text }}' (Jinja); fields that are not
    /// known are carried through
    #[arg(long, value_name = "TEMPLATE")]
    prompt_template: Option<String>,
    /// The same, from a file
    #[arg(long, value_name = "FILE", conflicts_with = "prompt_template")]
    prompt_template_file: Option<PathBuf>,
    /// Begin anew, whatever the output has
    #[arg(long, conflicts_with_all = ["resume", "retry_errors"])]
    overwrite: bool,
    /// Keep what the output has and is still right, even if the job is another or was finished
    #[arg(long)]
    resume: bool,
    /// Compute again what ended in an error
    #[arg(long)]
    retry_errors: bool,
    /// End at the first row in error
    #[arg(long, conflicts_with = "max_errors")]
    fail_fast: bool,
    /// End when more rows than this are in error
    #[arg(long, value_name = "N")]
    max_errors: Option<u64>,
    /// Run rows in the order of the input, instead of those that begin alike together
    #[arg(long)]
    no_reorder: bool,
    /// Answer only the rows of one of N shards, I from 0 to N - 1; `choral merge` joins their outputs
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Answer nothing: count rows and tokens, and estimate memory and time
    #[arg(long, conflicts_with_all = ["overwrite", "resume", "retry_errors"])]
    dry_run: bool,
    /// Names by which rows may call the model [default: its path, its file's name, and its own]
    #[arg(long, value_name = "NAME", num_args = 1..)]
    served_model_name: Vec<String>,
    /// Let rows name any model, and answer with this one
    #[arg(long)]
    any_model: bool,
    /// Answers to each prompt (-np) [default: 1]
    #[arg(long, visible_aliases = ["n-parallel", "n"], alias = "np", value_name = "N")]
    parallel: Option<u32>,
    /// Treat prompts as messages and apply the chat template
    #[arg(long)]
    chat: bool,
    /// Put times and cached tokens into the answers, which then differ from run to run; in OpenAI's
    /// format there is a place for cached tokens only
    #[arg(long)]
    timings: bool,
    /// Show the configuration
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    provider: ProviderArgs,
    #[command(flatten)]
    lora: LoraArgs,
    /// Adapters for rows that name them, by "lora" or by "model"
    #[arg(
        long,
        value_name = "NAME=PATH",
        num_args = 1..,
        help_heading = "Adapters"
    )]
    lora_modules: Vec<String>,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    template: TemplateArgs,
    #[command(flatten)]
    images: ImageArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Each line is a prompt
    #[value(alias = "text")]
    Txt,
    /// Each line is a JSON object
    Jsonl,
    /// Comma-separated values with a header
    Csv,
    /// Values separated by tabulators, with a header
    Tsv,
    /// An Arrow table
    Parquet,
}

impl From<Format> for FileFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Txt => Self::Lines(InputFormat::Text),
            Format::Jsonl => Self::Lines(InputFormat::Jsonl),
            Format::Csv => Self::Csv(CsvOptions::CSV),
            Format::Tsv => Self::Csv(CsvOptions::TSV),
            Format::Parquet => Self::Parquet,
        }
    }
}

pub(crate) fn run(mut args: Args) -> Result<ExitCode> {
    args.model.choice.quiet = args.quiet;
    let interrupt = Interrupt::install()?;
    args.sampling.check(args.parallel.unwrap_or(1))?;
    args.template.check()?;
    let provider = args.provider.build(&mut args.model.choice)?;
    if provider.is_some() {
        provider::refuse_local_options(&args)?;
    }
    let paths = files::expand(&args.input, &args.output)?;
    let template = args.prompt_template()?;
    let target = Target::new(&args.output, args.output_format)?;
    if !args.dry_run {
        args.check_output(&target, &paths)?;
    }
    let (inputs, mut facts) = args.open_inputs(&paths)?;
    if let Some(provider) = provider {
        let ready = provider::Ready {
            provider,
            paths: &paths,
            target: &target,
            facts,
            inputs,
            interrupt: &interrupt,
        };
        return provider::run(&args, ready);
    }
    if facts.is_embeddings {
        return embeddings::run(&args, &paths, &target, &facts, inputs, &interrupt);
    }
    let (builder, adapters) = args.lora.load(&args.lora_modules, &args.model)?;
    let engine = builder.build()?;
    let info = info(&engine)?;
    let mut params = args.sampling.params(&info.generation_defaults);
    params.n = args.parallel.unwrap_or(1);
    // The option is the seed of the job, and not of every row in it.
    let given_seed = params.seed.take();
    params.validate(info.spec.vocab_size)?;

    let mut chat = Chat::new(&engine, &args.template, args.chat, &args.images)?;
    let num_blank_lines = inputs.num_blank_lines();
    let mut reader = RowReader::new(inputs, params.clone())
        .with_adapters(engine.adapters(), adapters.clone())
        .with_models(args.model_names(settings::model_names(info)))
        .with_max_model_len(engine.max_model_len());
    if let Some(template) = template {
        reader = reader.with_template(template);
    }
    if args.dry_run {
        let chats = chat.rows();
        let rows = args.rows(
            reader,
            move |head, work| chats.apply(head, work),
            facts.is_format_guessed,
            Counter::default(),
        );
        let mut render = |input: &_| chat.render(input);
        // Nothing is drawn, so that the seed does not matter.
        let mut runner = EngineRunner::new(&engine, &mut render, 0, false);
        return dry_run::run(&target, rows, &mut runner);
    }
    let has_limit = params.max_tokens.is_some();
    let (answers, seed, counter) = if files::is_stream(&args.output) {
        let output = files::Output::open(&args.output, args.overwrite)?;
        // A bar would be drawn over the answers.
        facts.is_quiet |= output.is_terminal;
        let seed = given_seed.unwrap_or_else(fresh_seed);
        (sink::Place::Stream(output.writer), seed, Counter::default())
    } else {
        let job = settings::describe(&args, &paths, info)?;
        let record = args.open_record(&target, job, given_seed)?;
        let seed = record.seed();
        let counter = record.counter();
        (sink::Place::Record(Box::new(record)), seed, counter)
    };
    if args.verbose {
        let config = Config::new(info, &params).with_adapters(&adapters);
        writeln!(io::stderr(), "{config}  Job seed: {seed}")?;
    }
    let order = match &answers {
        sink::Place::Stream(_) => Order::Input,
        sink::Place::Record(_) => Order::Completion,
    };
    let mut answers = Answers::new(
        answers,
        Progress::new(facts.num_rows, facts.is_quiet, Some(engine.clone())),
        engine.max_model_len(),
    );

    let chats = chat.rows();
    let rows = args.rows(
        reader,
        move |head, work| chats.apply(head, work),
        facts.is_format_guessed,
        counter,
    );
    let mut limits = JobLimits::for_sequences(info.plan.max_num_seqs);
    if args.no_reorder {
        limits.max_group = 1;
    }
    let stop = Stop::default();
    let guard = {
        let stop = stop.clone();
        interrupt.during(move || stop.stop())
    };
    let mut render = |input: &_| chat.render(input);
    let mut runner = EngineRunner::new(&engine, &mut render, seed, args.timings);
    let job = Job {
        runner: &mut runner,
        order,
        limits,
        max_errors: args.most_errors(),
        stop,
    };
    let outcome = job.run(rows, &mut answers);
    drop(guard);
    let is_record = matches!(order, Order::Completion);
    let finished = answers.finish(outcome.as_ref().ok(), Some(seed));
    let summary = outcome.map_err(|error| explained(error.into(), is_record))?;
    finished.map_err(|error| explained(error.into(), is_record))?;
    answers.tell_what_is_left_out();
    if !summary.is_stopped && !summary.is_aborted {
        // A shard has not all of their rows.
        let is_whole = facts.is_parquet && args.shard.is_none();
        target.write(is_whole.then_some(&paths[..]))?;
    }
    if answers.num_ended_by_context > 0 && has_limit && !args.quiet {
        tell(&format!(
            "{} answers end where the context of {} tokens does (--ctx-size)",
            answers.num_ended_by_context,
            engine.max_model_len()
        ));
    }
    let num_blank_lines = num_blank_lines.load(Ordering::Relaxed);
    Ok(finish(&summary, num_blank_lines, is_record, args.quiet))
}

impl Args {
    /// Refuses an output that would destroy something, before a model is loaded.
    fn check_output(&self, target: &Target, inputs: &[PathBuf]) -> Result<()> {
        target.check(inputs, self.overwrite)?;
        let reuses = [
            ("--resume", self.resume),
            ("--retry-errors", self.retry_errors),
        ];
        if files::is_stream(&self.output)
            && let Some((option, _)) = reuses.iter().find(|(_, given)| *given)
        {
            let message = format!("{option} needs an output that is a file");
            return Err(Usage::new(message).into());
        }
        Ok(())
    }

    /// More rows in error than that end the job.
    fn most_errors(&self) -> Option<u64> {
        if self.fail_fast {
            Some(0)
        } else {
            self.max_errors
        }
    }

    fn prompt_template(&self) -> Result<Option<PromptTemplate>> {
        let source = match (&self.prompt_template, &self.prompt_template_file) {
            (Some(source), _) => source.clone(),
            (None, Some(path)) => crate::input::read(path)?,
            (None, None) => return Ok(None),
        };
        Ok(Some(PromptTemplate::parse(&source)?))
    }

    /// The rows that are this job's, as they are to be run. `prepare` has the
    /// last word on each.
    fn rows(
        &self,
        reader: RowReader<Inputs>,
        prepare: impl Fn(&RowHead, RowWork) -> Result<RowWork, RowError> + Send + 'static,
        is_format_guessed: bool,
        counter: Counter,
    ) -> impl Iterator<Item = io::Result<Row>> + Send + 'static {
        let shard = self.shard;
        let is_ours = move |row: &io::Result<Row>| {
            let Ok(row) = row else {
                return true;
            };
            counter.count(row);
            shard.is_none_or(|shard| shard.has(&row.head.key()))
        };
        reader.filter(is_ours).map(move |row| {
            let mut row = row?;
            row.work = row.work.and_then(|work| prepare(&row.head, work));
            if let Err(error) = &mut row.work
                && error.code == RowCode::InvalidJson
                && is_format_guessed
            {
                error
                    .message
                    .push_str("; if lines are prompts, say --input-format txt");
            }
            Ok(row)
        })
    }

    /// The names by which rows may call the model, which has some of its own.
    fn model_names(&self, own: Vec<String>) -> ModelNames {
        let mut names = self.served_model_name.clone();
        if names.is_empty() {
            names = own;
        }
        ModelNames {
            names,
            any: self.any_model,
        }
    }

    fn open_record(
        &self,
        target: &Target,
        job: choral::job::Description,
        seed: Option<u64>,
    ) -> Result<choral::job::Record> {
        let reuse = choral::job::Reuse {
            overwrite: self.overwrite,
            changed: self.resume,
            retry_errors: self.retry_errors,
        };
        record::open(&target.record, job, seed, fresh_seed(), reuse, self.quiet)
    }
}

fn finish(summary: &JobSummary, num_blank_lines: u64, is_record: bool, is_quiet: bool) -> ExitCode {
    if num_blank_lines > 0 && !is_quiet {
        tell(&format!("blank lines passed over: {num_blank_lines}"));
    }
    let go_on = if is_record {
        "; the same command goes on"
    } else {
        ""
    };
    let there = if is_record {
        format!("{} rows were answered by this run", summary.num_handed_out)
    } else {
        format!("the output has {} rows", summary.num_handed_out)
    };
    if summary.is_stopped {
        tell(&format!(
            "interrupted: {there}, further ones were not{go_on}"
        ));
        ExitCode::from(EXIT_INTERRUPTED)
    } else if summary.is_aborted {
        let again = if is_record {
            "; the same command ends likewise, unless rows are mended or tried again (--retry-errors)"
        } else {
            ""
        };
        tell(&format!(
            "ended because {} rows are in error: {there}{again}",
            summary.num_failed
        ));
        ExitCode::FAILURE
    } else if summary.num_failed > 0 {
        tell(&format!(
            "{} of {} rows are in error: see `error` in their lines of the output",
            summary.num_failed, summary.num_done
        ));
        ExitCode::from(EXIT_SOME_FAILED)
    } else {
        ExitCode::SUCCESS
    }
}
