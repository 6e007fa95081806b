//! `choral embed`: texts to vectors.

mod sink;

use super::batch::files;
use crate::args::model::{ModelChoice, parse_count, parse_threads};
use crate::input;
use crate::interrupt::Interrupt;
use crate::message::Usage;
use crate::output::progress::Progress;
use crate::output::terminal::{tell, tell_plainly};
use crate::{EXIT_INTERRUPTED, EXIT_SOME_FAILED, NOTES};
use anyhow::{Context as _, Result, anyhow, bail};
use choral::embed::{
    Answer, EmbedError, EmbedJob, Embedder, EmbedderInfo, Form, Pooling, RowReader,
};
use choral::engine::Prompt;
use choral::job::{InputFormat, JobSummary, RowCode, RowHead};
use choral::model::Numeric;
use clap::ValueEnum;
use sink::Sink;
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a row may say, for `--help`.
const ROWS: &str = "\
Rows of JSONL: {\"input\": TEXT or [TOKEN IDS]}, with \"custom_id\" and \"dimensions\" where \
wanted (\"text\" and \"prompt\" are other names of \"input\"). Answers, in the order of the rows: \
{\"custom_id\", \"row\", \"embedding\": [...], \"usage\", \"error\"}, with \"truncated\": true for a \
text that was cut. A row in error has no embedding and \"error\": {\"code\", \"message\", \"line\", \
\"field\"}.

Lines of OpenAI's batch format ({\"custom_id\", \"method\": \"POST\", \"url\": \"/v1/embeddings\", \
\"body\": {\"input\", ...}}) are answered in that format. The command's model answers, whatever \
they name.

An array (.npy) has one vector a row: row i of the input is row i of the array, and a row in error \
is NaN throughout.";

/// Turn texts into vectors
///
/// With BERT-like encoders (of sentence-transformers, or GGUF files) and with
/// decoders. Without --prompt and --input, standard input is one text. A text's
/// vector does not depend on the texts beside it.
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("{ROWS}\n\n{NOTES}"), after_help = NOTES)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelChoice,
    /// A text; can be given several times
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Vec<String>,
    /// File of texts, - for standard input: lines, or rows of JSONL
    #[arg(short, long, value_name = "FILE", conflicts_with = "prompt")]
    input: Option<PathBuf>,
    /// File for the vectors, - for standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// How to read the input [default: by its name (.txt, .jsonl), else jsonl if it begins with {]
    #[arg(long, value_enum, value_name = "FORMAT")]
    input_format: Option<TextFormat>,
    /// How to write vectors [default: by the output's name (.npy), else jsonl]
    #[arg(long, value_enum, value_name = "FORMAT", conflicts_with = "json")]
    output_format: Option<VectorFormat>,
    /// Write a JSON object for each text (--output-format jsonl)
    #[arg(long)]
    json: bool,
    /// Replace the output file if it exists
    #[arg(long)]
    overwrite: bool,
    /// How tokens' vectors become a text's: mean, cls (the first), last, or none (all of them)
    /// [default: as the model's files say, else mean for encoders and last for decoders]
    #[arg(long, value_name = "POOLING")]
    pooling: Option<Pooling>,
    /// Make vectors of length 1 [this is the default]
    #[arg(long, conflicts_with = "no_normalize")]
    normalize: bool,
    /// Leave vectors as long as they are
    #[arg(long)]
    no_normalize: bool,
    /// Keep the first elements of each vector only [default: all]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    dimensions: Option<usize>,
    /// Cut texts that are longer than the model takes, which are errors otherwise
    #[arg(long)]
    truncate: bool,
    /// Arithmetic: q8, bf16 or f32 (strict) [default: q8 for quantised files, f32 for encoders of
    /// floats, else bf16]
    #[arg(long, visible_alias = "dtype", value_name = "NUMERIC")]
    numeric: Option<Numeric>,
    /// Compute threads [default: physical cores]
    #[arg(short, long, value_name = "N", value_parser = parse_threads)]
    threads: Option<usize>,
    /// Longest text, in tokens [default: the model's]
    #[arg(short, long, visible_aliases = ["ctx", "max-model-len"], value_name = "N", value_parser = parse_count)]
    ctx_size: Option<usize>,
    /// Most texts in one step [default: 256]
    #[arg(short, long, visible_alias = "max-num-seqs", value_name = "N", value_parser = parse_count)]
    batch_size: Option<usize>,
    /// Most tokens in one step [default: automatic]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    max_num_batched_tokens: Option<usize>,
    /// Show the configuration
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TextFormat {
    /// Each line is a text
    #[value(alias = "text")]
    Txt,
    /// Each line is a JSON object
    Jsonl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum VectorFormat {
    /// Each line is a JSON object
    #[value(alias = "json")]
    Jsonl,
    /// An array for NumPy
    Npy,
}

/// Does it.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let interrupt = Interrupt::install()?;
    let format = args.vector_format();
    let is_array = format == VectorFormat::Npy;
    if is_array && args.output.as_os_str() == "-" {
        let message = "an array is written to a file: name it with --output";
        return Err(Usage::new(message).into());
    }
    if args.input_format.is_some() && args.input.is_none() {
        let message = "--input-format is for the file that --input names";
        return Err(Usage::new(message).into());
    }
    let input = args.input.as_deref().unwrap_or(Path::new("-"));
    files::check_output(&args.output, input, args.overwrite)?;
    let Some(path) = &args.input else {
        return embed_texts(&args, format);
    };
    let input_format = args.input_format.map(|format| match format {
        TextFormat::Txt => InputFormat::Text,
        TextFormat::Jsonl => InputFormat::Jsonl,
    });
    let input = files::Input::open(path, input_format)?;
    if input.is_format_guessed && !args.quiet {
        tell(match input.format {
            InputFormat::Text => "each line of the input is read as a text (--input-format)",
            InputFormat::Jsonl => "each line of the input is read as JSON (--input-format)",
        });
    }
    let mut embedder = args.embedder(is_array)?;
    let mut sink = Sink::open(&args.output, format, args.overwrite, embedder.info())?;
    // A bar would be drawn over the answers.
    let mut progress = Progress::new(input.num_rows, args.quiet || sink.is_terminal(), None);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let guard = interrupt.during(move || stopped.store(true, Ordering::Relaxed));
    let mut counts = Counts::default();
    let mut rows = RowReader::new(input.reader, input.format);
    let job = EmbedJob {
        embedder: &mut embedder,
        one_vector_a_row: is_array,
        max_errors: None,
        num_failed_before: &Cell::new(0),
        stop: &stop,
    };
    let outcome = job.run(rows.by_ref(), &mut |answers, summary| {
        for answer in answers {
            counts.add(answer);
            sink.answer(answer)?;
        }
        // Tokens that are read are the ones whose speed counts.
        let summary = JobSummary {
            completion_tokens: summary.prompt_tokens,
            ..*summary
        };
        progress.show(&summary, None);
        sink.flush()
    });
    drop(guard);
    // Whatever became of the job, what was written is to be readable.
    let finished = sink.finish().context("cannot write the output");
    let summary = outcome?;
    finished?;
    if let Some(seconds) = progress.end() {
        let JobSummary {
            num_done,
            num_failed,
            prompt_tokens,
            ..
        } = summary;
        let rate = num_done as f64 / seconds.max(f64::MIN_POSITIVE);
        tell_plainly(&format!(
            "{num_done} rows in {seconds:.1} s, {num_failed} of them in error; {prompt_tokens} \
             tokens; {rate:.1} rows/s"
        ));
    }
    if !args.quiet {
        counts.tell(embedder.info(), rows.num_blank_lines());
    }
    Ok(exit_code(&summary))
}

/// Embeds what the command line or standard input holds: all of it or nothing.
fn embed_texts(args: &Args, format: VectorFormat) -> Result<ExitCode> {
    let texts = if args.prompt.is_empty() {
        vec![input::read(Path::new("-"))?]
    } else {
        args.prompt.clone()
    };
    let mut embedder = args.embedder(format == VectorFormat::Npy)?;
    let mut prepared = Vec::with_capacity(texts.len());
    for (index, text) in texts.into_iter().enumerate() {
        let text = embedder.prepare(&Prompt::Text(text), None);
        let text = text.map_err(|error| match error {
            EmbedError::TooLong { .. } => anyhow!("{error} (--truncate cuts it)"),
            error => error.into(),
        });
        prepared.push(text.with_context(|| format!("text {}", index + 1))?);
    }
    let embeddings = embedder.run(&prepared)?;
    if let Some(index) = embeddings.iter().position(|e| !e.is_finite()) {
        bail!("text {}: {}", index + 1, EmbedError::NotFinite);
    }
    let mut sink = Sink::open(&args.output, format, args.overwrite, embedder.info())?;
    let mut counts = Counts::default();
    let model = embedder.info().model_name();
    for (index, embedding) in (0..).zip(embeddings) {
        let head = RowHead {
            index,
            line: index + 1,
            ..RowHead::default()
        };
        let answer = Answer::new(head, Form::Own, vec![embedding], false, model.clone());
        counts.add(&answer);
        sink.answer(&answer)?;
    }
    sink.finish()?;
    if !args.quiet {
        counts.tell(embedder.info(), 0);
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn vector_format(&self) -> VectorFormat {
        let is_npy = self
            .output
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("npy"));
        match self.output_format {
            Some(format) => format,
            None if is_npy && !self.json => VectorFormat::Npy,
            None => VectorFormat::Jsonl,
        }
    }

    /// Loads the model.
    fn embedder(&self, is_array: bool) -> Result<Embedder> {
        let refuse = || {
            let message = "an array has one vector a text: --pooling none gives one a token";
            Err(Usage::new(message).into())
        };
        if is_array && self.pooling == Some(Pooling::None) {
            return refuse();
        }
        let mut builder = Embedder::builder()
            .normalize(!self.no_normalize)
            .truncate(self.truncate);
        if let Some(path) = self.model.path()? {
            builder = builder.model(path);
        }
        if let Some(pooling) = self.pooling {
            builder = builder.pooling(pooling);
        }
        if let Some(dimensions) = self.dimensions {
            builder = builder.dimensions(dimensions);
        }
        if let Some(numeric) = self.numeric {
            builder = builder.numeric(numeric);
        }
        if let Some(threads) = self.threads {
            builder = builder.threads(threads);
        }
        if let Some(tokens) = self.ctx_size {
            builder = builder.max_model_len(tokens);
        }
        if let Some(texts) = self.batch_size {
            builder = builder.max_num_seqs(texts);
        }
        if let Some(tokens) = self.max_num_batched_tokens {
            builder = builder.max_num_batched_tokens(tokens);
        }
        let embedder = builder.build()?;
        let info = embedder.info();
        if is_array && info.pooling == Pooling::None {
            return refuse();
        }
        if self.verbose {
            tell_plainly(&configuration(info));
        }
        Ok(embedder)
    }
}

fn configuration(info: &EmbedderInfo) -> String {
    let length = if info.normalize { "1" } else { "as it is" };
    format!(
        "Configuration:\n  Model: {} ({})\n  Engine: {}, {}, {} threads\n  Memory: weights {:.1} \
         MiB\n  Texts: up to {} tokens; up to {} texts and {} tokens a step\n  Vectors: pooling {}, \
         {} of {} elements, length {length}",
        info.path.display(),
        info.architecture,
        info.numeric.name(),
        info.isa,
        info.threads,
        info.weight_bytes as f64 / f64::from(1 << 20),
        info.max_model_len,
        info.max_num_seqs,
        info.max_num_batched_tokens,
        info.pooling,
        info.dimensions,
        info.width,
    )
}

/// What there is to tell when all is done.
#[derive(Default)]
struct Counts {
    truncated: u64,
    failed: u64,
    too_long: u64,
    rows: u64,
}

impl Counts {
    fn add(&mut self, answer: &Answer) {
        self.rows += 1;
        self.truncated += answer.num_truncated();
        if let Some(error) = answer.error() {
            self.failed += 1;
            self.too_long += u64::from(error.code == RowCode::TooLong);
        }
    }

    fn tell(&self, info: &EmbedderInfo, num_blank_lines: u64) {
        let most = info.max_model_len;
        if num_blank_lines > 0 {
            tell(&format!("blank lines passed over: {num_blank_lines}"));
        }
        if self.truncated > 0 {
            let count = self.truncated;
            tell(&format!("{count} texts were cut to {most} tokens"));
        }
        if self.failed > 0 {
            tell(&format!(
                "{} of {} rows are in error: see `error` in their lines of the output",
                self.failed, self.rows
            ));
        }
        if self.too_long > 0 {
            let count = self.too_long;
            tell(&format!(
                "{count} of them are longer than {most} tokens: --truncate cuts them"
            ));
        }
    }
}

fn exit_code(summary: &JobSummary) -> ExitCode {
    if summary.is_stopped {
        tell(&format!(
            "interrupted: the output has {} rows, further ones were not answered",
            summary.num_handed_out
        ));
        ExitCode::from(EXIT_INTERRUPTED)
    } else if summary.num_failed > 0 {
        ExitCode::from(EXIT_SOME_FAILED)
    } else {
        ExitCode::SUCCESS
    }
}
