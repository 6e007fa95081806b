//! `choral quantize`: a model as a smaller GGUF file, and what that costs.

use super::jsonl;
use super::units::{bytes, printable};
use crate::EXIT_INTERRUPTED;
use crate::interrupt::Interrupt;
use anyhow::{Context as _, Result, bail, ensure};
use choral::convert::{Choice, ConvertError, Divergence, Mixture, Plan, divergence};
use choral::exec::{Compute, CpuExecutor};
use choral::machine::{Isa, Machine};
use choral::model::{Hyper, KvLayout, Model, Numeric};
use choral::text::{EncodeOptions, Tokenizer};
use choral_formats::{Dtype, ModelFile, TensorInfo, quantize};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Write a model as a GGUF file of smaller weights
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// GGUF file or safetensors folder
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The GGUF file to write
    #[arg(value_name = "OUT")]
    output: PathBuf,
    // Not a doc comment, in which these names would want to be code.
    #[arg(
        help = "Type of the weights: Q8_0, Q6_K, Q5_K_M, Q4_K_M, IQ4_XS, Q3_K_M, Q2_K, F16, BF16, \
                F32, ...",
        long = "type",
        value_name = "TYPE"
    )]
    mixture: Mixture,
    /// Type of the output matrix, whatever TYPE says
    #[arg(long, value_name = "DTYPE", value_parser = parse_dtype)]
    output_tensor_type: Option<Dtype>,
    /// Type of the token embedding, whatever TYPE says
    #[arg(long, value_name = "DTYPE", value_parser = parse_dtype)]
    token_embedding_type: Option<Dtype>,
    /// The same type for all matrices: no exceptions for those that matter more
    #[arg(long)]
    pure: bool,
    /// Quantise weights that are quantised already (errors add up)
    #[arg(long)]
    allow_requantize: bool,
    /// Replace OUT if it exists
    #[arg(long)]
    overwrite: bool,
    /// Only print what would be written
    #[arg(long)]
    dry_run: bool,
    /// Compare the result with the source on this text: perplexities and divergence
    #[arg(long, value_name = "FILE")]
    test_text: Option<PathBuf>,
    /// Arithmetic of that comparison: f32, bf16 or q8
    #[arg(long, value_name = "NUMERIC", default_value = "f32")]
    numeric: Numeric,
    /// Most tokens of the text that are compared
    #[arg(long, value_name = "N", default_value_t = 4096)]
    test_tokens: usize,
    /// Threads [default: physical cores]
    #[arg(short, long, value_name = "N")]
    threads: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn parse_dtype(name: &str) -> Result<Dtype, String> {
    let known = || Dtype::ALL.iter().filter(|&&d| quantize::is_supported(d));
    let found = known().find(|dtype| dtype.name().eq_ignore_ascii_case(name));
    found.copied().ok_or_else(|| {
        let names: Vec<&str> = known().map(|dtype| dtype.name()).collect();
        format!(
            "unknown type `{name}`, expected one of {}",
            names.join(", ")
        )
    })
}

#[derive(Serialize)]
struct Report {
    input: String,
    output: String,
    #[serde(rename = "type")]
    mixture: &'static str,
    /// Bytes of all tensors, before and after.
    source_bytes: u64,
    result_bytes: u64,
    bits_per_weight: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tensors: Option<Vec<Tensor>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorReport>,
}

#[derive(Serialize)]
struct Tensor {
    name: String,
    shape: Vec<usize>,
    from: &'static str,
    to: &'static str,
    bytes: u64,
}

#[derive(Serialize)]
struct ErrorReport {
    text: String,
    numeric: &'static str,
    tokens: usize,
    source_perplexity: f64,
    result_perplexity: f64,
    mean_kl: f64,
    max_kl: f64,
    same_top: f64,
}

/// Does it.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let interrupt = Interrupt::install()?;
    // A text that is not there should not be found out after an hour of work.
    let text = args.test_text.as_deref().map(read_text).transpose()?;
    let threads = args
        .threads
        .unwrap_or_else(|| Machine::here().compute_threads());
    ensure!(threads > 0, "--threads is 0, expected at least 1");
    let source = Arc::new(ModelFile::open(&args.input)?);
    let choice = Choice {
        mixture: args.mixture,
        output_type: args.output_tensor_type,
        embedding_type: args.token_embedding_type,
        pure: args.pure,
    };
    let plan = Plan::new(&source, choice, args.allow_requantize)?;
    let mut report = report(&args, &source, &plan);
    if args.dry_run {
        report.tensors = Some(tensors(&plan));
    } else {
        report.seconds = match write(&plan, &args, threads, &interrupt) {
            Err(ConvertError::Interrupted) => return Ok(ExitCode::from(EXIT_INTERRUPTED)),
            written => Some(written?),
        };
    }
    if let Some(text) = text.filter(|_| !args.dry_run) {
        report.error = Some(measure(&args, &source, &text, threads)?);
    }
    if args.json {
        jsonl::print(&report)?;
    } else {
        std::io::stdout()
            .lock()
            .write_all(table(&report)?.as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

fn report(args: &Args, source: &ModelFile, plan: &Plan<'_>) -> Report {
    let infos = source.tensors().infos();
    let source_bytes = infos.iter().filter_map(TensorInfo::byte_len);
    let weights = plan.tensors().iter().filter_map(|t| t.info.elements());
    let result_bytes = plan.bytes();
    Report {
        input: args.input.display().to_string(),
        output: args.output.display().to_string(),
        mixture: args.mixture.name(),
        source_bytes: source_bytes.map(|bytes| bytes as u64).sum(),
        result_bytes,
        bits_per_weight: 8.0 * result_bytes as f64 / weights.sum::<usize>().max(1) as f64,
        seconds: None,
        tensors: None,
        notes: plan.notes().to_vec(),
        error: None,
    }
}

fn tensors(plan: &Plan<'_>) -> Vec<Tensor> {
    let tensor = |t: &choral::convert::PlannedTensor| Tensor {
        name: t.info.name.clone(),
        shape: t.info.shape.clone(),
        from: t.from.name(),
        to: t.info.dtype.name(),
        bytes: t.bytes(),
    };
    plan.tensors().iter().map(tensor).collect()
}

/// Seconds that it took.
fn write(
    plan: &Plan<'_>,
    args: &Args,
    threads: usize,
    interrupt: &Interrupt,
) -> Result<f64, ConvertError> {
    let started = Instant::now();
    let bar = bar(
        plan.bytes(),
        "[{bar:30}] {bytes}/{total_bytes}, {msg}, {eta} left",
    );
    let stopped = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&stopped);
    let guard = interrupt.during(move || stop.store(true, Ordering::Relaxed));
    plan.write(
        &args.output,
        args.overwrite,
        threads,
        &mut |index, written| {
            bar.set_position(written);
            bar.set_message(printable(&plan.tensors()[index].info.name));
            if stopped.load(Ordering::Relaxed) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        },
    )?;
    drop(guard);
    bar.finish_and_clear();
    Ok(started.elapsed().as_secs_f64())
}

/// Shown on a terminal only.
fn bar(len: u64, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("the template is right");
    ProgressBar::new(len).with_style(style.progress_chars("=> "))
}

fn measure(
    args: &Args,
    source: &Arc<ModelFile>,
    text: &str,
    threads: usize,
) -> Result<ErrorReport> {
    let result = Arc::new(ModelFile::open(&args.output)?);
    let tokenizer = Tokenizer::from_file(source)?;
    let options = EncodeOptions {
        add_special: true,
        ..EncodeOptions::default()
    };
    let mut tokens = tokenizer.encode(text, options)?;
    tokens.truncate(args.test_tokens);
    if tokens.len() < 2 {
        bail!(
            "--test-text has {} tokens, expected at least 2",
            tokens.len()
        );
    }
    let mut a = executor(source, args.numeric, threads)?;
    let mut b = executor(&result, args.numeric, threads)?;
    let bar = bar(
        tokens.len() as u64,
        "[{bar:30}] {pos}/{len} tokens compared, {eta} left",
    );
    let found = divergence(&mut a, &mut b, &tokens, &mut |done| {
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    let Divergence {
        tokens,
        source_perplexity,
        result_perplexity,
        mean_kl,
        max_kl,
        same_top,
    } = found;
    Ok(ErrorReport {
        text: args
            .test_text
            .as_deref()
            .map_or_else(String::new, |p| p.display().to_string()),
        numeric: args.numeric.name(),
        tokens,
        source_perplexity,
        result_perplexity,
        mean_kl,
        max_kl,
        same_top,
    })
}

fn executor(file: &Arc<ModelFile>, numeric: Numeric, threads: usize) -> Result<CpuExecutor> {
    // Says what is wrong with the family before any weights are read.
    Hyper::open(file)?;
    let compute = Compute::try_new(Isa::from_env()?, threads)?;
    let context = Some(Divergence::CONTEXT);
    let model = Arc::new(Model::load(file, numeric, context, &compute)?);
    let types = numeric.kv_types();
    let layout = KvLayout::whole(model.spec());
    let blocks = Divergence::BLOCKS;
    Ok(CpuExecutor::with_layout(
        model, compute, blocks, types, layout,
    )?)
}

fn table(report: &Report) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for tensor in report.tensors.iter().flatten() {
        let shape: Vec<String> = tensor.shape.iter().map(ToString::to_string).collect();
        let (name, shape) = (printable(&tensor.name), shape.join(" x "));
        let (from, to, size) = (tensor.from, tensor.to, bytes(tensor.bytes));
        writeln!(
            text,
            "{name:<36} {shape:>18}  {from:>6} -> {to:<6} {size:>9}"
        )?;
    }
    write!(
        text,
        "{}: {}, {} -> {}, {:.2} bits a weight",
        printable(&report.output),
        report.mixture,
        bytes(report.source_bytes),
        bytes(report.result_bytes),
        report.bits_per_weight
    )?;
    match report.seconds {
        Some(seconds) => writeln!(text, ", {seconds:.1} s")?,
        None => writeln!(text, " (not written)")?,
    }
    for note in &report.notes {
        writeln!(text, "note: {}", printable(note))?;
    }
    if let Some(e) = &report.error {
        writeln!(
            text,
            "\n{} tokens of {}, in {}",
            e.tokens,
            printable(&e.text),
            e.numeric
        )?;
        writeln!(
            text,
            "  perplexity of the source  {:>10.4}",
            e.source_perplexity
        )?;
        writeln!(
            text,
            "  perplexity of the result  {:>10.4}",
            e.result_perplexity
        )?;
        writeln!(text, "  mean KL divergence        {:>10.6} nats", e.mean_kl)?;
        writeln!(text, "  largest KL divergence     {:>10.6} nats", e.max_kl)?;
        writeln!(
            text,
            "  same likeliest token      {:>10.2} %",
            100.0 * e.same_top
        )?;
    }
    Ok(text)
}
