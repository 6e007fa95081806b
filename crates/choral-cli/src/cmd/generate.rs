//! `choral generate`: several sequences from one prompt.

use crate::args::model::info;
use crate::args::sampling::SamplingArgs;
use crate::args::template::TemplateArgs;
use crate::args::{LoraArgs, ModelArgs};
use crate::input;
use crate::interrupt::Interrupt;
use crate::listen::Listener;
use crate::output::config::Config;
use crate::output::live::Live;
use crate::output::statistics::Statistics;
use crate::output::terminal::shown;
use crate::output::{logprobs, steps};
use crate::{EXIT_INTERRUPTED, NOTES};
use anyhow::Result;
use choral::engine::{Lora, Prompt, Request, RequestOutput, StepStats, StreamEvent};
use choral::job::{Answer, RowHead};
use choral::sampling::fresh_seed;
use choral::text::TemplateInput;
use choral::{Engine, SamplingParams};
use serde::Serialize;
use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

/// What is continued when nothing else is given.
const DEFAULT_PROMPT: &str = "Hello my name is";

/// Sequences from one prompt where nobody says.
const DEFAULT_PARALLEL: u32 = 4;

/// Generate several sequences from one prompt, together
///
/// The prompt is continued as it is; with --chat it is a message, and the model's
/// chat template turns it into a prompt.
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Args {
    /// Prompt for all sequences [default: "Hello my name is"]
    #[arg(value_name = "PROMPT", conflicts_with_all = ["prompt", "file"])]
    text: Option<String>,
    /// Prompt for all sequences
    #[arg(short, long, value_name = "TEXT", conflicts_with = "file")]
    prompt: Option<String>,
    /// File with the prompt, - for standard input; a line feed at its end is left out
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Sequences to generate (-np) [default: 4]
    #[arg(long, visible_aliases = ["n-parallel", "n"], alias = "np", value_name = "N")]
    parallel: Option<u32>,
    /// Treat the prompt as a message and apply the chat template
    #[arg(long)]
    chat: bool,
    /// Print one JSON object with everything
    #[arg(long)]
    json: bool,
    /// Show the configuration and the time of every step
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,
    /// Print the sequences and nothing else
    #[arg(short, long)]
    quiet: bool,
    /// Report the time of every step
    #[arg(long)]
    timings: bool,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    lora: LoraArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    template: TemplateArgs,
}

pub(crate) fn run(mut args: Args) -> Result<ExitCode> {
    args.model.choice.quiet = args.quiet;
    let interrupt = Interrupt::install()?;
    args.sampling.check(args.num_parallel())?;
    if !args.chat {
        args.template.refuse("--chat")?;
    }
    args.template.check()?;
    let text = args.prompt_text()?;
    let started = Instant::now();
    let Started {
        engine,
        lora,
        steps,
    } = args.engine()?;
    let load_seconds = started.elapsed().as_secs_f64();
    let params = args.params(&engine)?;
    let prompt = args.model_prompt(&engine, &text)?;

    let config = Config::new(info(&engine)?, &params).with_adapters(&lora);
    let mut out = io::stdout().lock();
    if args.verbose && !args.json {
        writeln!(out, "{config}")?;
    }
    // With a chat template, what was continued is not what the user wrote.
    let shown_prompt = if args.chat { "" } else { &text };
    let mut request = Request::new(prompt).with_params(params.clone());
    request.lora = lora;
    let stream = engine.submit(request)?;
    let mut listener = Listener::new(stream);
    let guard = interrupt.during(listener.canceller());
    tracing::debug!("generating");
    let is_live = !args.quiet && !args.json && out.is_terminal();
    let mut live = is_live.then(|| Live::new(params.n as usize, shown_prompt));
    let output = listen(&mut listener, live.as_mut())?;
    drop(guard);

    let seed = params.seed.unwrap_or_default();
    let statistics = Statistics::new(&output, seed, load_seconds);
    let is_interrupted = listener.is_interrupted();
    let head = RowHead {
        index: 0,
        line: 1,
        ..RowHead::default()
    };
    let answer = Answer::new(
        head,
        output.clone(),
        &|id| engine.token_text(id),
        args.timings,
    );
    let steps: Vec<StepStats> = steps.try_iter().collect();
    if params.max_tokens.is_some() && !args.quiet {
        let full = answer.num_ended_by_context(engine.max_model_len());
        if full > 0 {
            // A closed standard error has nobody to tell.
            let _ = writeln!(
                io::stderr(),
                "choral: {full} of {} sequences end where the context of {} tokens does \
                 (--ctx-size), before the tokens that were asked for",
                answer.outputs.len(),
                engine.max_model_len()
            );
        }
    }
    if args.json {
        let report = Report {
            answer: &answer,
            prompt: &text,
            prompt_token_ids: &output.prompt_token_ids,
            configuration: config,
            statistics,
            steps: (args.timings || args.verbose).then_some(&steps),
        };
        serde_json::to_writer(&mut out, &report).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        write_sequences(&mut out, shown_prompt, &answer)?;
        if !args.quiet {
            write!(out, "{statistics}")?;
        }
        if args.timings || args.verbose {
            writeln!(out)?;
            steps::write(&mut out, &steps)?;
        }
    }
    out.flush()?;
    finish(&answer, is_interrupted)
}

/// An engine, and what it was started with.
struct Started {
    engine: Engine,
    lora: Vec<Lora>,
    steps: Receiver<StepStats>,
}

impl Args {
    fn num_parallel(&self) -> u32 {
        self.parallel.unwrap_or(DEFAULT_PARALLEL)
    }

    fn prompt_text(&self) -> Result<String> {
        if let Some(file) = &self.file {
            return input::read_prompt(file);
        }
        let text = self.text.as_ref().or(self.prompt.as_ref());
        Ok(text.map_or(DEFAULT_PROMPT, String::as_str).to_owned())
    }

    /// The engine, with its steps if anybody wants to see them.
    fn engine(&self) -> Result<Started> {
        let (sender, steps) = mpsc::channel();
        let (mut builder, lora) = self.lora.load(&[], &self.model)?;
        if self.timings || self.verbose {
            builder = builder.on_step(Box::new(move |step| {
                // Nobody listens any more when the answer is complete.
                let _ = sender.send(*step);
            }));
        }
        let engine = builder.build()?;
        Ok(Started {
            engine,
            lora,
            steps,
        })
    }

    fn params(&self, engine: &Engine) -> Result<SamplingParams> {
        let mut params = self.sampling.params(&info(engine)?.generation_defaults);
        params.n = self.num_parallel();
        params.seed = Some(params.seed.unwrap_or_else(fresh_seed));
        Ok(params)
    }

    fn model_prompt(&self, engine: &Engine, text: &str) -> Result<Prompt> {
        if !self.chat {
            return Ok(Prompt::Text(text.to_owned()));
        }
        let messages = self.template.conversation(text);
        let template = self.template.load(engine)?;
        Ok(engine.chat_prompt(&template, TemplateInput::new(messages))?)
    }
}

/// Waits for the end, drawing what comes until then.
fn listen(listener: &mut Listener, mut live: Option<&mut Live>) -> Result<RequestOutput> {
    while let Some(event) = listener.next() {
        match event {
            StreamEvent::Finished(output) => {
                if let Some(live) = live {
                    live.clear()?;
                }
                return Ok(*output);
            }
            StreamEvent::Delta { index, text, .. } => {
                if let Some(live) = live.as_deref_mut() {
                    live.push(index as usize, &text)?;
                }
            }
        }
    }
    anyhow::bail!("the engine ended without an answer")
}

fn write_sequences(
    out: &mut (impl Write + io::IsTerminal),
    prompt: &str,
    answer: &Answer,
) -> Result<()> {
    let to_terminal = out.is_terminal();
    for choice in &answer.outputs {
        let text = format!("{prompt}{}", choice.text);
        writeln!(out, "Sequence {}:\n", choice.index)?;
        writeln!(out, "{}\n", shown(&text, to_terminal))?;
        if let Some(entries) = &choice.logprobs {
            logprobs::write(out, entries)?;
            writeln!(out)?;
        }
    }
    Ok(())
}

fn finish(answer: &Answer, is_interrupted: bool) -> Result<ExitCode> {
    if let Some(error) = &answer.error {
        anyhow::bail!("{}", error.message);
    }
    if is_interrupted {
        // A closed standard error has nobody to tell.
        let _ = writeln!(
            io::stderr(),
            "choral: interrupted; this is what was done by then"
        );
        return Ok(ExitCode::from(EXIT_INTERRUPTED));
    }
    Ok(ExitCode::SUCCESS)
}

/// The row of a batch, with what a single prompt can say beside it.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    answer: &'a Answer,
    prompt: &'a str,
    prompt_token_ids: &'a [u32],
    configuration: Config<'a>,
    statistics: Statistics,
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<&'a [StepStats]>,
}
