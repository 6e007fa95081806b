//! A job whose rows a service answers: with the same record, and so the same promises.
//!
//! `remote` is for vendors' batches. What a request is to a service is the library's
//! affair; here stand the command line's.

mod remote;
mod tickets;

use super::input::Facts;
use super::sink::{Answers, Place};
use super::target::Target;
use super::{Args, explained, files, finish, settings};
use crate::args::provider::{ApiName, RemoteMode};
use crate::interrupt::Interrupt;
use crate::message::Usage;
use crate::output::progress::Progress;
use anyhow::Result;
use choral::job::{
    Counter, Description, Endpoint, Form, Inputs, Job, JobLimits, Order, ProviderRunner, RowCode,
    RowError, RowHead, RowReader, Settings, Stop, seeded,
};
use choral::provider::{GenerateRequest, Provider as _};
use choral::sampling::SamplingParams;
use choral_providers::Remote;
use remote::{End, RemoteJob};
use serde_json::{Map, Value};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tickets::Tickets;

/// Rows that are read ahead, for each that runs.
const ROWS_AHEAD: usize = 4;

/// What is known of the job when its rows are read.
pub(super) struct Ready<'a> {
    pub(super) provider: Remote,
    pub(super) paths: &'a [PathBuf],
    pub(super) target: &'a Target,
    pub(super) facts: Facts,
    pub(super) inputs: Inputs,
    pub(super) interrupt: &'a Interrupt,
}

pub(super) fn run(args: &Args, ready: Ready<'_>) -> Result<ExitCode> {
    let Ready {
        provider,
        paths,
        target,
        mut facts,
        inputs,
        interrupt,
    } = ready;
    if facts.is_embeddings {
        let message = "the rows ask for embeddings, which a --provider does not answer";
        return Err(Usage::new(message).into());
    }
    let is_stream = files::is_stream(&args.output);
    if is_stream && args.provider.remote.is_some() {
        let message = "--remote needs an output that is a file (--output)";
        return Err(Usage::new(message).into());
    }
    let base = base(args, &provider)?;
    if args.verbose {
        tell_config(&provider, &base)?;
    }
    let num_blank_lines = inputs.num_blank_lines();
    let mut reader = RowReader::new(inputs, SamplingParams::default())
        .with_models(args.model_names(vec![provider.model().to_owned()]))
        .for_provider(base);
    if let Some(template) = args.prompt_template()? {
        reader = reader.with_template(template);
    }
    if !is_stream {
        if args.provider.remote == Some(RemoteMode::Cancel) || args.overwrite {
            remote::cancel_all(&provider, &target.record, args.overwrite)?;
        }
        if args.provider.remote_forget {
            remote::forget(&provider, &target.record)?;
        }
    }
    let (place, counter) = if is_stream {
        let output = files::Output::open(&args.output, args.overwrite)?;
        // A bar would be drawn over the answers.
        facts.is_quiet |= output.is_terminal;
        (Place::Stream(output.writer), Counter::default())
    } else {
        // Rows have seeds only if the job has one; their ids need no other.
        let seed = args.sampling.seed.unwrap_or(0);
        let record = args.open_record(target, describe(args, &provider, paths), Some(seed))?;
        let counter = record.counter();
        (Place::Record(Box::new(record)), counter)
    };
    let api = args.provider.api.unwrap_or(ApiName::Chat);
    let checked = move |head: &RowHead, work| check_endpoint(api, head).map(|()| work);
    let rows = args.rows(reader, checked, facts.is_format_guessed, counter);
    let finish = |summary| {
        let num_blank_lines = num_blank_lines.load(Ordering::Relaxed);
        finish(&summary, num_blank_lines, !is_stream, args.quiet)
    };
    let place = match (args.provider.remote, place) {
        (Some(mode), Place::Record(record)) => {
            let job = RemoteJob::new(args, mode, &provider, *record)?;
            let end = job.run(rows, interrupt);
            let end = end.map_err(|error| {
                if remote::is_stuck(&error) {
                    return error;
                }
                explained(error, true)
            });
            return match end? {
                End::Complete(summary) => {
                    target.write(None)?;
                    Ok(finish(summary))
                }
                End::Aborted(summary) => Ok(finish(summary)),
                End::Open(code) => Ok(code),
            };
        }
        (_, place) => place,
    };
    if let Place::Record(record) = &place {
        Tickets::open(record.path())?.refuse()?;
    }
    let progress = Progress::new(facts.num_rows, facts.is_quiet, None);
    let mut answers = Answers::new(place, progress, usize::MAX);
    let max_running = provider.max_concurrency();
    let stop = Stop::default();
    let guard = {
        let stop = stop.clone();
        interrupt.during(move || stop.stop())
    };
    let mut runner = ProviderRunner {
        provider: Arc::new(provider),
        seed: args.sampling.seed,
    };
    let job = Job {
        runner: &mut runner,
        order: if is_stream {
            Order::Input
        } else {
            Order::Completion
        },
        limits: JobLimits {
            max_running,
            max_window: max_running.saturating_mul(ROWS_AHEAD),
            // What a service does with rows that begin alike is its own affair.
            max_group: 1,
        },
        max_errors: args.most_errors(),
        stop,
    };
    let outcome = job.run(rows, &mut answers);
    drop(guard);
    let finished = answers.finish(outcome.as_ref().ok(), args.sampling.seed);
    let summary = outcome.map_err(|error| explained(error.into(), !is_stream))?;
    finished.map_err(|error| explained(error.into(), !is_stream))?;
    answers.tell_what_is_left_out();
    if !summary.is_stopped && !summary.is_aborted {
        target.write(None)?;
    }
    Ok(finish(summary))
}

/// What the command line says of every row. What the service does not take is refused
/// now, and not row by row.
fn base(args: &Args, provider: &Remote) -> Result<Map<String, Value>> {
    let mut base = args.sampling.to_provider().given();
    if let Some(n) = args.parallel {
        base.insert("n".to_owned(), n.into());
    }
    if let Some(system) = &args.template.system {
        base.insert("system".to_owned(), system.clone().into());
    }
    let mut sample = base.clone();
    sample.insert("prompt".to_owned(), "Once".into());
    let checked = GenerateRequest::from_json(sample).and_then(|request| {
        let request = seeded(request, &RowHead::default(), args.sampling.seed);
        provider.capabilities().check(provider.name(), &request)
    });
    checked.map_err(|error| Usage::new(error.message()))?;
    Ok(base)
}

/// Refuses a line of OpenAI's format that is for another path than the one that is asked.
fn check_endpoint(api: ApiName, head: &RowHead) -> Result<(), RowError> {
    let Form::OpenAi { endpoint, .. } = &head.form else {
        return Ok(());
    };
    let asked = match endpoint {
        Endpoint::Completions => "completions",
        Endpoint::Chat => "chat",
    };
    if (api == ApiName::Completions) == (asked == "completions") {
        return Ok(());
    }
    let url = endpoint.url();
    let message = format!("the line is for {url}, which is asked with --api {asked}");
    Err(head.error(RowCode::InvalidParameter, message, "url"))
}

/// Refuses what only the local engine could honour.
pub(super) fn refuse_local_options(args: &Args) -> Result<(), Usage> {
    let model = &args.model;
    let given = [
        ("--dry-run", args.dry_run),
        ("--chat", args.chat),
        ("--timings", args.timings),
        ("--chat-template", args.template.chat_template.is_some()),
        (
            "--chat-template-file",
            args.template.chat_template_file.is_some(),
        ),
        (
            "--allow-images-from",
            args.images.allow_images_from.is_some(),
        ),
        ("--lora", !args.lora.lora.is_empty()),
        ("--lora-modules", !args.lora_modules.is_empty()),
        ("--hf", model.choice.hf.is_some()),
        ("--hf-token", model.choice.hf_token.is_some()),
        ("--offline", model.choice.offline),
        ("--mmproj", model.mmproj.is_some()),
        ("--numeric", model.numeric.is_some()),
        ("--threads", model.threads.is_some()),
        ("--ctx-size", model.ctx_size.is_some()),
        ("--max-num-seqs", model.max_num_seqs.is_some()),
        (
            "--max-num-batched-tokens",
            model.max_num_batched_tokens.is_some(),
        ),
        ("--prefill-chunk", model.prefill_chunk.is_some()),
        ("--kv-memory", model.kv_memory.is_some()),
        ("--no-prefix-cache", model.no_prefix_cache),
        ("--ctk", model.cache_type_k.is_some()),
        ("--ctv", model.cache_type_v.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(Usage::new(format!(
            "{option} is for the local engine, and not for a --provider"
        ))),
        None => Ok(()),
    }
}

/// The job, as its record is to remember it. Where the service is does not count: a
/// server may come back at another address.
fn describe(args: &Args, provider: &Remote, inputs: &[PathBuf]) -> Description {
    let mut settings = Settings::new();
    let mut set = |name: &str, value: String| settings.insert(name.to_owned(), value);
    set("provider", provider.name().to_owned());
    set("model", provider.model().to_owned());
    let api = args.provider.api.filter(|api| *api != ApiName::Chat);
    if let Some(api) = api {
        set("protocol", format!("{api:?}"));
    }
    set("seeds", args.sampling.seed.is_some().to_string());
    settings::described(args, inputs, settings)
}

fn tell_config(provider: &Remote, base: &Map<String, Value>) -> io::Result<()> {
    let mut err = io::stderr();
    writeln!(err, "Configuration:")?;
    writeln!(err, "  Provider: {}", provider.name())?;
    writeln!(err, "  Model: {}", provider.model())?;
    writeln!(err, "  URL: {}", provider.url())?;
    writeln!(err, "  Requests at a time: {}", provider.max_concurrency())?;
    if !base.is_empty() {
        write!(err, "  Parameters:")?;
        for (name, value) in base {
            write!(err, " {name} {value}")?;
        }
        writeln!(err)?;
    }
    Ok(())
}
