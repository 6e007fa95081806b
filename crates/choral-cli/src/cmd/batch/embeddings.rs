//! OpenAI's batch files of `/v1/embeddings`: the same promises, on an embedder.
//!
//! Embeddings need neither seeds nor an engine; what asks for either is refused.

use super::target::Target;
use super::{Args, Facts, dry_run, explained, files, finish, settings};
use crate::interrupt::Interrupt;
use crate::message::Usage;
use crate::output::progress::Progress;
use anyhow::Result;
use choral::embed::{Answer, EmbedJob, EmbedJobError, Embedder, Row, RowReader};
use choral::job::{Inputs, JobSummary, Kept, Record};
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::io::{self, Write};
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
    args.refuse_for_embeddings(target)?;
    let mut embedder = args.embedder()?;
    let names = settings::embedder_names(embedder.info());
    let num_blank_lines = inputs.num_blank_lines();
    let reader = RowReader::of_entries(inputs).with_models(args.model_names(names));
    let shard = args.shard;
    let rows = reader.filter(move |row| match (row, shard) {
        (Ok(row), Some(shard)) => shard.has(&row.head.key()),
        _ => true,
    });
    if args.dry_run {
        return dry_run::run_embeddings(target, rows, &embedder);
    }
    let mut is_quiet = args.quiet;
    let place = if files::is_stream(&args.output) {
        let output = files::Output::open(&args.output, args.overwrite)?;
        // A bar would be drawn over the answers.
        is_quiet |= output.is_terminal;
        Place::Stream(output.writer)
    } else {
        let job = settings::describe_embedder(args, paths, embedder.info())?;
        Place::Record(Box::new(args.open_record(target, job, Some(0))?))
    };
    let is_record = matches!(place, Place::Record(_));
    let mut progress = Progress::new(facts.num_rows, is_quiet, None);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let guard = interrupt.during(move || stopped.store(true, Ordering::Relaxed));

    // Rows are asked for while they are read, and answered in between.
    let num_failed_before = Cell::new(0);
    let shared = RefCell::new((place, JobSummary::default()));
    let rows = rows.filter_map(|row| {
        let row = match row {
            Ok(row) => row,
            Err(error) => return Some(Err(error)),
        };
        let (place, kept) = &mut *shared.borrow_mut();
        match place.kept(&row) {
            Ok(None) => Some(Ok(row)),
            Ok(Some(found)) => {
                kept.num_done += 1;
                kept.num_kept += 1;
                kept.num_failed += u64::from(found.is_failed);
                num_failed_before.set(kept.num_failed);
                None
            }
            Err(error) => Some(Err(error)),
        }
    });
    let job = EmbedJob {
        embedder: &mut embedder,
        one_vector_a_row: false,
        max_errors: args.most_errors(),
        num_failed_before: &num_failed_before,
        stop: &stop,
    };
    let outcome = job.run(rows, &mut |answers, summary| {
        let (place, kept) = &mut *shared.borrow_mut();
        for answer in answers {
            place.put(answer)?;
        }
        progress.show(&both(summary, kept), None);
        place.flush()
    });
    drop(guard);
    let (mut place, kept) = shared.into_inner();
    let finished = match &outcome {
        Ok(summary) if !summary.is_stopped && !summary.is_aborted => place.finish(),
        _ => place.save(),
    };
    match &outcome {
        Ok(summary) => progress.finish(&both(summary, &kept), None),
        Err(_) => {
            progress.end();
        }
    }
    let explained = |error| explained(error, is_record);
    let summary = outcome.map_err(|error: EmbedJobError| explained(error.into()))?;
    finished.map_err(|error| explained(error.into()))?;
    let summary = both(&summary, &kept);
    let num_blank_lines = num_blank_lines.load(Ordering::Relaxed);
    Ok(finish(&summary, num_blank_lines, is_record, args.quiet))
}

/// Where answers go.
enum Place {
    Stream(Box<dyn Write>),
    Record(Box<Record>),
}

impl Place {
    /// Whether the row's answer is there already.
    fn kept(&mut self, row: &Row) -> io::Result<Option<Kept>> {
        let Self::Record(record) = self else {
            return Ok(None);
        };
        let id = record.identity().hash(&json!([
            row.head.custom_id,
            row.head.custom_id.is_none().then_some(row.head.index),
            format!("{:?} {:?}", row.form, row.work),
        ]));
        record.kept_as(row.head.index, id, false)
    }

    fn put(&mut self, answer: &Answer) -> io::Result<()> {
        let mut line = serde_json::to_vec(answer)?;
        line.push(b'\n');
        match self {
            Self::Stream(out) => out.write_all(&line),
            Self::Record(record) => record.put_line(answer.row(), &line, answer.error().is_some()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stream(out) => out.flush(),
            Self::Record(record) => record.flush(),
        }
    }

    /// Ends an output that is not complete.
    fn save(&mut self) -> io::Result<()> {
        match self {
            Self::Stream(out) => out.flush(),
            Self::Record(record) => record.save(),
        }
    }

    /// Ends one that is.
    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Stream(out) => out.flush(),
            Self::Record(record) => record.finish(),
        }
    }
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
    /// Refuses what has no bearing on an embedding.
    fn refuse_for_embeddings(&self, target: &Target) -> Result<(), Usage> {
        let (model, template) = (&self.model, &self.template);
        let has_lora = !self.lora.lora.is_empty() || !self.lora_modules.is_empty();
        let unfit = [
            ("--parallel", self.parallel.is_some()),
            ("--chat", self.chat),
            ("--timings", self.timings),
            ("--no-reorder", self.no_reorder),
            ("--lora", has_lora),
            ("--system", template.system.is_some()),
            ("--chat-template", template.is_given()),
            ("--prefill-chunk", model.prefill_chunk.is_some()),
            ("--kv-memory", model.kv_memory.is_some()),
            ("--no-prefix-cache", model.no_prefix_cache),
            ("--cache-type-k", model.cache_type_k.is_some()),
            ("--cache-type-v", model.cache_type_v.is_some()),
        ];
        let unfit = unfit.iter().find(|(_, given)| *given);
        if let Some(option) = unfit.map(|(name, _)| *name).or(self.sampling.given()) {
            let message = format!("{option} has no meaning for embeddings");
            return Err(Usage::new(message));
        }
        // Anything but lines is made of a record of lines.
        if target.record != self.output {
            let message = "embeddings of a batch are written as lines of JSON: name a .jsonl file \
                 (--output), or say --output-format jsonl";
            return Err(Usage::new(message));
        }
        Ok(())
    }

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
