//! `choral batch`: a file of prompts to a file of answers.

pub(super) mod files;

use crate::args::ModelArgs;
use crate::args::model::info;
use crate::args::sampling::SamplingArgs;
use crate::args::template::TemplateArgs;
use crate::interrupt::Interrupt;
use crate::message::message;
use crate::output::config::Config;
use crate::output::progress::Progress;
use crate::{EXIT_INTERRUPTED, NOTES};
use anyhow::Result;
use choral::job::{
    Answer, ChatInput, InputFormat, Job, JobLimits, JobSummary, RowCode, RowError, RowInput,
    RowReader, RowWork, Sink, Stop,
};
use choral::sampling::fresh_seed;
use choral::text::ChatTemplate;
use choral::{Engine, Prompt};
use clap::ValueEnum;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

/// Exit code when some rows are in error.
const EXIT_SOME_FAILED: u8 = 3;

/// What a row may say, for `--help`.
const ROWS: &str = "\
Rows of JSONL: {\"prompt\": TEXT or [TOKEN IDS]} or {\"messages\": [...]}, with \"custom_id\" \
and any sampling parameter by its OpenAI or vLLM name (max_tokens, temperature, seed, n, logprobs, \
stop, ...), which wins over the command's option. A parameter that is not known is an error of its \
row. Blank lines are passed over.

Answers, in the order of the rows: {\"custom_id\", \"row\", \"outputs\": [{\"index\", \"text\", \
\"token_ids\", \"finish_reason\", \"stop_reason\", \"logprobs\", \"seed\"}], \"usage\", \"error\"}. \
A row in error has no outputs and \"error\": {\"code\", \"message\", \"line\", \"field\"}.

A row without a seed gets one that follows from the job's seed (-s, or drawn and reported) and from \
its custom_id, or else its number: the same job gives the same answers.";

/// Answer a file of prompts
///
/// Each row is one prompt, answered together with as many others as there is
/// memory for. Memory does not grow with the number of rows.
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("{ROWS}\n\n{NOTES}"), after_help = NOTES)]
pub(crate) struct Args {
    /// File of prompts, - for standard input
    #[arg(short, long, value_name = "FILE")]
    input: PathBuf,
    /// File for the answers, - for standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// How to read the input [default: by its name (.txt, .jsonl), else jsonl if it begins with {;
    /// a JSON array is refused]
    #[arg(long, value_enum, value_name = "FORMAT")]
    input_format: Option<Format>,
    /// Replace the output file if it exists
    #[arg(long)]
    overwrite: bool,
    /// Answers to each prompt (-np) [default: 1]
    #[arg(long, visible_aliases = ["n-parallel", "n"], alias = "np", value_name = "N")]
    parallel: Option<u32>,
    /// Treat prompts as messages and apply the chat template
    #[arg(long)]
    chat: bool,
    /// Put times and cached tokens into the answers, which then differ from run to run
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
    sampling: SamplingArgs,
    #[command(flatten)]
    template: TemplateArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Each line is a prompt
    #[value(alias = "text")]
    Txt,
    /// Each line is a JSON object
    Jsonl,
}

impl From<Format> for InputFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Txt => Self::Text,
            Format::Jsonl => Self::Jsonl,
        }
    }
}

pub(crate) fn run(mut args: Args) -> Result<ExitCode> {
    args.model.choice.quiet = args.quiet;
    let interrupt = Interrupt::install()?;
    args.sampling.check(args.parallel.unwrap_or(1))?;
    args.template.check()?;
    files::check_output(&args.output, &args.input, args.overwrite)?;
    let format = args.input_format.map(InputFormat::from);
    let input = files::Input::open(&args.input, format)?;
    if input.format == InputFormat::Text && !args.chat {
        args.template.refuse("--chat")?;
    }
    if input.is_format_guessed && !args.quiet {
        tell(match input.format {
            InputFormat::Text => "each line of the input is read as a prompt (--input-format)",
            InputFormat::Jsonl => "each line of the input is read as JSON (--input-format)",
        });
    }
    let engine = args.model.builder()?.build()?;
    let info = info(&engine)?;
    let mut params = args.sampling.params(&info.generation_defaults);
    params.n = args.parallel.unwrap_or(1);
    // The option is the seed of the job, and not of every row in it.
    let seed = params.seed.take().unwrap_or_else(fresh_seed);
    params.validate(info.spec.vocab_size)?;
    if args.verbose {
        let config = Config::new(info, &params);
        writeln!(io::stderr(), "{config}  Job seed: {seed}")?;
    }

    let mut chat = Chat::new(&engine, &args)?;
    let has_limit = params.max_tokens.is_some();
    let reader = RowReader::new(input.reader, input.format, params);
    let num_blank_lines = reader.num_blank_lines();
    let (is_chat, template) = (args.chat, args.template.clone());
    let is_format_guessed = input.is_format_guessed;
    let rows = reader.map(move |row| {
        let mut row = row?;
        let line = row.head.line;
        row.work = row
            .work
            .and_then(|work| chat_work(is_chat, &template, line, work));
        if let Err(error) = &mut row.work
            && error.code == RowCode::InvalidJson
            && is_format_guessed
        {
            error
                .message
                .push_str("; if lines are prompts, say --input-format txt");
        }
        Ok(row)
    });
    let output = files::Output::open(&args.output, args.overwrite)?;
    let mut answers = Answers {
        // A bar would be drawn over the answers.
        progress: Progress::new(input.num_rows, args.quiet || output.is_terminal),
        out: output.writer,
        max_model_len: engine.max_model_len(),
        num_ended_by_context: 0,
    };
    let stop = Stop::default();
    let job = Job {
        engine: &engine,
        render: &mut |input| chat.render(input),
        seed,
        with_timings: args.timings,
        limits: JobLimits::for_sequences(info.plan.max_num_seqs),
        stop: stop.clone(),
    };
    let guard = interrupt.during(move || stop.stop());
    let summary = job.run(rows, &mut answers)?;
    drop(guard);
    answers.progress.finish(&summary, seed);
    if answers.num_ended_by_context > 0 && has_limit && !args.quiet {
        tell(&format!(
            "{} answers end where the context of {} tokens does (--ctx-size)",
            answers.num_ended_by_context, answers.max_model_len
        ));
    }
    let num_blank_lines = num_blank_lines.load(Ordering::Relaxed);
    Ok(finish(&summary, num_blank_lines, args.quiet))
}

/// What `--chat` and `--system` make of a row.
fn chat_work(
    is_chat: bool,
    template: &TemplateArgs,
    line: u64,
    work: RowWork,
) -> Result<RowWork, RowError> {
    let RowWork { input, params } = work;
    let input = match input {
        RowInput::Prompt(Prompt::Text(text)) if is_chat => {
            RowInput::Chat(ChatInput::new(template.conversation(&text)))
        }
        RowInput::Prompt(Prompt::Tokens(_)) if is_chat => {
            return Err(RowError {
                code: RowCode::InvalidPrompt,
                message: "`prompt` is a list of token ids, expected text for --chat".to_owned(),
                line,
                field: Some("prompt".to_owned()),
            });
        }
        RowInput::Chat(mut chat) => {
            let first = chat.messages.first();
            let has_system = first.is_some_and(|first| first["role"] == "system");
            if !has_system {
                chat.messages.splice(0..0, template.opening());
            }
            RowInput::Chat(chat)
        }
        prompt @ RowInput::Prompt(_) => prompt,
    };
    Ok(RowWork { input, params })
}

/// Renders messages. A model without a template fails only the rows that need one.
struct Chat<'a> {
    engine: &'a Engine,
    template: Result<ChatTemplate, String>,
}

impl<'a> Chat<'a> {
    fn new(engine: &'a Engine, args: &Args) -> Result<Self> {
        let template = args.template.load(engine);
        let is_needed = args.chat || args.template.is_given();
        let template = match template {
            Err(error) if is_needed => return Err(error),
            template => template.map_err(|error| message(&error)),
        };
        Ok(Self { engine, template })
    }

    fn render(&mut self, input: &ChatInput) -> Result<Prompt, String> {
        let template = self.template.as_ref().map_err(String::clone)?;
        let prompt = self.engine.chat_prompt(template, input.into());
        prompt.map_err(|error| message(&error.into()))
    }
}

/// Writes answers, a line each.
struct Answers {
    out: Box<dyn Write>,
    progress: Progress,
    max_model_len: usize,
    num_ended_by_context: usize,
}

impl Sink for Answers {
    fn answer(&mut self, answer: &Answer) -> io::Result<()> {
        self.num_ended_by_context += answer.num_ended_by_context(self.max_model_len);
        serde_json::to_writer(&mut self.out, answer)?;
        self.out.write_all(b"\n")
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn done(&mut self, summary: &JobSummary) {
        self.progress.show(summary);
    }
}

fn finish(summary: &JobSummary, num_blank_lines: u64, is_quiet: bool) -> ExitCode {
    if num_blank_lines > 0 && !is_quiet {
        tell(&format!("blank lines passed over: {num_blank_lines}"));
    }
    if summary.is_stopped {
        tell(&format!(
            "interrupted: the output has {} rows, further ones were not answered",
            summary.num_handed_out
        ));
        ExitCode::from(EXIT_INTERRUPTED)
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

fn tell(message: &str) {
    // A closed standard error has nobody to tell.
    let _ = writeln!(io::stderr(), "choral: {message}");
}
