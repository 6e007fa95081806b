//! `choral plan`: what a model needs, what fits, and what choral will choose.
//!
//! Loads no weights: all figures come from [`DecoderSpec`]'s arithmetic.

use super::jsonl;
use super::units::{bytes, count, printable};
use crate::args::model::{ModelArgs, parse_size};
use anyhow::Context as _;
use choral::machine::{Isa, Machine, MemoryLeft};
use choral::model::{DecoderSpec, EnginePlan, Hyper, KvType, KvTypes};
use choral_formats::TensorInfo;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

/// Show what a model needs and what fits
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Plan for this much memory, such as 16G [default: what this machine leaves]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory: Option<u64>,
    /// Print one JSON object, sizes in bytes
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    model: String,
    architecture: &'static str,
    weights: Weights,
    kv: Kv,
    memory: Memory,
    fits: Vec<Fit>,
    choices: Choices,
}

#[derive(Debug, Serialize)]
struct Weights {
    /// In matrices that every token runs through.
    count: u64,
    file_bytes: u64,
    packed_bytes: u64,
}

/// Keys and values.
#[derive(Debug, Serialize)]
struct Kv {
    /// The sequence that figures of a sequence are for.
    context: usize,
    key_type: &'static str,
    value_type: &'static str,
    token_bytes: u64,
    sequence_bytes: u64,
    token_bytes_f16: u64,
    sequence_bytes_f16: u64,
}

#[derive(Debug, Serialize)]
struct Memory {
    left_bytes: u64,
    limited_by: String,
    weight_bytes: u64,
    step_bytes: u64,
    kv_bytes: u64,
    total_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Fit {
    tokens: usize,
    sequences: usize,
}

#[derive(Debug, Serialize)]
struct Choices {
    numeric: &'static str,
    isa: &'static str,
    threads: usize,
    context: usize,
    /// The memory, not the model, set the context.
    context_cut_to_memory: bool,
    max_num_seqs: usize,
    max_num_batched_tokens: usize,
    prefill_chunk: usize,
    prefix_caching: bool,
    kv_bytes: u64,
    kv_tokens: usize,
}

/// Does it.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args {
        model,
        memory,
        json,
    } = args;
    let builder = model.builder()?;
    let file = builder.open()?;
    let (architecture, hyper) = Hyper::open(&file)?;
    let spec = (architecture.spec)(&hyper)?;
    let machine = Machine::here();
    let (left, limited_by) = match (memory, machine.memory_left()) {
        (Some(bytes), _) => (bytes, "as asked for with --memory".to_owned()),
        (None, Some(MemoryLeft { bytes, limit })) => (bytes, limit.describe().to_owned()),
        (None, None) => {
            anyhow::bail!("this system does not say how much memory is left: give --memory SIZE")
        }
    };
    let plan = builder.plan(&file, &spec, left)?;
    let report = Report {
        model: file.path().display().to_string(),
        architecture: architecture.name,
        weights: Weights {
            count: spec.matrix_weights() as u64,
            file_bytes: file
                .tensors()
                .infos()
                .iter()
                .filter_map(TensorInfo::byte_len)
                .map(|n| n as u64)
                .sum(),
            packed_bytes: plan.weight_bytes,
        },
        kv: kv(&spec, &plan),
        memory: Memory {
            left_bytes: left,
            limited_by,
            weight_bytes: plan.weight_bytes,
            step_bytes: plan.step_bytes,
            kv_bytes: plan.kv_bytes(),
            total_bytes: plan.total_bytes(),
        },
        fits: lengths(plan.context)
            .map(|tokens| Fit {
                tokens,
                sequences: plan.sequences_of(tokens),
            })
            .collect(),
        choices: Choices {
            numeric: plan.numeric.name(),
            isa: Isa::from_env().context("CHORAL_ISA")?.name(),
            threads: builder.compute_threads()?,
            context: plan.context,
            context_cut_to_memory: plan.context_cut_to_memory,
            max_num_seqs: plan.max_num_seqs,
            max_num_batched_tokens: plan.max_num_batched_tokens,
            prefill_chunk: plan.prefill_chunk,
            prefix_caching: !model.no_prefix_cache,
            kv_bytes: plan.kv_bytes(),
            kv_tokens: plan.kv_tokens(),
        },
    };
    if json {
        jsonl::print(&report)?;
    } else {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(text(&report)?.as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn kv(spec: &DecoderSpec, plan: &EnginePlan) -> Kv {
    let f16 = KvTypes::both(KvType::F16);
    let chunk = plan.prefill_chunk.min(plan.max_num_batched_tokens);
    let sequence = |types| spec.kv_sequence_bytes(types, plan.context, chunk);
    Kv {
        context: plan.context,
        key_type: plan.kv_types.keys.name(),
        value_type: plan.kv_types.values.name(),
        token_bytes: spec.kv_token_bytes(plan.kv_types),
        sequence_bytes: sequence(plan.kv_types),
        token_bytes_f16: spec.kv_token_bytes(f16),
        sequence_bytes_f16: sequence(f16),
    }
}

/// Lengths to show: 256, 1024, ... and the longest.
fn lengths(context: usize) -> impl Iterator<Item = usize> {
    let powers = (4..).map(|i| 1_usize << (2 * i));
    powers
        .take_while(move |&tokens| tokens < context)
        .chain([context])
}

fn text(r: &Report) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let numeric = r.choices.numeric;
    writeln!(text, "{} ({})\n", printable(&r.model), r.architecture)?;

    let w = &r.weights;
    writeln!(text, "weights          {} in matrices", count(w.count))?;
    writeln!(text, "  in the file    {:>9}", bytes(w.file_bytes))?;
    writeln!(
        text,
        "  packed         {:>9}  {numeric}",
        bytes(w.packed_bytes)
    )?;

    let kv = &r.kv;
    let context = kv.context;
    writeln!(text, "\nkeys and values      a token   {context:>7} tokens")?;
    let mut row = |name: &str, token, sequence| {
        writeln!(
            text,
            "  {name:14} {:>12}   {:>14}",
            bytes(token),
            bytes(sequence)
        )
    };
    let name = if kv.key_type == kv.value_type {
        kv.key_type.to_owned()
    } else {
        format!("{}, {}", kv.key_type, kv.value_type)
    };
    row(&name, kv.token_bytes, kv.sequence_bytes)?;
    // To compare with.
    if name != "f16" {
        row("f16", kv.token_bytes_f16, kv.sequence_bytes_f16)?;
    }

    let m = &r.memory;
    writeln!(
        text,
        "\nmemory           {:>9}  {}",
        bytes(m.left_bytes),
        m.limited_by
    )?;
    for (name, part) in [
        ("weights", m.weight_bytes),
        ("a step", m.step_bytes),
        ("keys, values", m.kv_bytes),
        ("together", m.total_bytes),
    ] {
        writeln!(text, "  {name:14} {:>9}", bytes(part))?;
    }

    writeln!(text, "\nfits at once")?;
    for fit in &r.fits {
        writeln!(
            text,
            "  {:>7} sequences of {} tokens",
            fit.sequences, fit.tokens
        )?;
    }

    let c = &r.choices;
    writeln!(text, "\nchoral will use")?;
    writeln!(
        text,
        "  {} threads, {} kernels, {numeric}",
        c.threads, c.isa
    )?;
    writeln!(
        text,
        "  up to {} sequences and {} tokens a step",
        c.max_num_seqs, c.max_num_batched_tokens
    )?;
    let kept = if c.prefix_caching { "kept" } else { "not kept" };
    writeln!(
        text,
        "  prompts in pieces of up to {} tokens, common beginnings {kept}",
        c.prefill_chunk
    )?;
    let cut = if c.context_cut_to_memory {
        " (the memory holds no more)"
    } else {
        ""
    };
    writeln!(text, "  sequences of up to {} tokens{cut}", c.context)?;
    writeln!(
        text,
        "  {} for keys and values of {} tokens",
        bytes(c.kv_bytes),
        c.kv_tokens
    )?;
    Ok(text)
}
