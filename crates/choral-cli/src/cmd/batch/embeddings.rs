//! OpenAI's batch files of `/v1/embeddings`: the same promises, on an embedder.

use super::target::{OutputFormat, Target};
use super::{Args, Facts, explained, finish, settings};
use crate::interrupt::Interrupt;
use crate::message::Usage;
use crate::output::progress::Progress;
use anyhow::{Result, bail};
use choral::embed::{EmbedJob, EmbedJobError, Embedder, RowReader};
use choral::job::{Inputs, JobSummary};
use serde_json::json;
use std::cell::RefCell;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) fn run(
    args: &Args,
    paths: &[PathBuf],
    target: &Target,
    facts: &Facts,
    inputs: Inputs,
    interrupt: &Interrupt,
) -> Result<ExitCode> {
    let unfit = [
        ("--dry-run", args.dry_run),
        (
            "--output-format",
            args.output_format
                .is_some_and(|format| format != OutputFormat::Jsonl),
        ),
        ("--fail-fast", args.fail_fast),
        ("--max-errors", args.max_errors.is_some()),
        (
            "--lora",
            !args.lora.lora.is_empty() || !args.lora_modules.is_empty(),
        ),
    ];
    if let Some((option, _)) = unfit.iter().find(|(_, given)| *given) {
        let message = format!("{option} is not there for batches of embeddings");
        return Err(Usage::new(message).into());
    }
    if super::files::is_stream(&args.output) {
        bail!("embeddings of a batch are written to a file; `choral embed` writes to a pipe");
    }
    let mut embedder = args.embedder()?;
    let job = settings::describe_embedder(args, paths, embedder.info())?;
    let mut record = args.open_record(target, job, Some(0))?;
    let mut progress = Progress::new(facts.num_rows, args.quiet, None);
    let num_blank_lines = inputs.num_blank_lines();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let guard = interrupt.during(move || stopped.store(true, Ordering::Relaxed));

    // Rows are asked for while they are read, and answered in between.
    let shared = RefCell::new((&mut record, JobSummary::default()));
    let shard = args.shard;
    let rows = RowReader::of_entries(inputs).filter_map(|row| {
        let row = match row {
            Ok(row) => row,
            Err(error) => return Some(Err(error)),
        };
        if shard.is_some_and(|shard| !shard.has(&row.head.key())) {
            return None;
        }
        let (record, kept) = &mut *shared.borrow_mut();
        let identity = record.identity();
        let id = identity.hash(&json!([
            row.head.custom_id,
            row.head.custom_id.is_none().then_some(row.head.index),
            format!("{:?}", row.work),
        ]));
        match record.kept_as(row.head.index, id, false) {
            Ok(None) => Some(Ok(row)),
            Ok(Some(found)) => {
                kept.num_done += 1;
                kept.num_kept += 1;
                kept.num_failed += u64::from(found.is_failed);
                None
            }
            Err(error) => Some(Err(error)),
        }
    });
    let job = EmbedJob {
        embedder: &mut embedder,
        one_vector_a_row: false,
        stop: &stop,
    };
    let outcome = job.run(rows, &mut |answers, summary| {
        let (record, kept) = &mut *shared.borrow_mut();
        for answer in answers {
            let mut line = serde_json::to_vec(answer)?;
            line.push(b'\n');
            record.put_line(answer.row(), &line, answer.error().is_some())?;
        }
        progress.show(&both(summary, kept), None);
        record.flush()
    });
    drop(guard);
    let kept = shared.into_inner().1;
    let finished = match &outcome {
        Ok(summary) if !summary.is_stopped => record.finish(),
        _ => record.save(),
    };
    progress.end();
    let summary = outcome.map_err(|error: EmbedJobError| explained(error.into(), true))?;
    finished.map_err(|error| explained(error.into(), true))?;
    let summary = both(&summary, &kept);
    let num_blank_lines = num_blank_lines.load(Ordering::Relaxed);
    Ok(finish(&summary, num_blank_lines, true, args.quiet))
}

/// What was done by this run and before.
fn both(summary: &JobSummary, kept: &JobSummary) -> JobSummary {
    JobSummary {
        num_done: summary.num_done + kept.num_done,
        num_failed: summary.num_failed + kept.num_failed,
        num_kept: kept.num_kept,
        ..*summary
    }
}

impl Args {
    fn embedder(&self) -> Result<Embedder> {
        let model = &self.model;
        let mut builder = Embedder::builder();
        if let Some(path) = model.choice.path()? {
            builder = builder.model(path);
        }
        if let Some(numeric) = model.numeric {
            builder = builder.numeric(numeric);
        }
        if let Some(threads) = model.threads {
            builder = builder.threads(threads);
        }
        if let Some(tokens) = model.ctx_size {
            builder = builder.max_model_len(tokens);
        }
        if let Some(texts) = model.max_num_seqs {
            builder = builder.max_num_seqs(texts);
        }
        if let Some(tokens) = model.max_num_batched_tokens {
            builder = builder.max_num_batched_tokens(tokens);
        }
        Ok(builder.build()?)
    }
}
