//! `choral chat`: an interactive session.

mod command;
mod lines;
mod session;

use crate::args::model::info;
use crate::args::{ConversationArgs, ImageArgs, LoraArgs};
use crate::interrupt::Interrupt;
use crate::listen::Listener;
use crate::message::message;
use crate::output::config::Config;
use crate::output::logprobs;
use crate::output::terminal::shown;
use crate::{EXIT_INTERRUPTED, NOTES};
use anyhow::{Context as _, Result, bail};
use choral::engine::{Lora, Request, RequestOutput, StreamEvent};
use choral::job::{Answer, RowHead};
use choral::sampling::fresh_seed;
use choral::text::{ChatTemplate, TemplateInput};
use choral::vision::ImageEmbedding;
use choral::vision::message::MessageImages;
use choral::{Engine, SamplingParams};
use command::{Command, HELP};
use lines::{Line, Lines};
use serde_json::Value;
use session::{Session, user_message};
use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;

/// Talk with a model
///
/// Lines are messages; those that begin with / are commands, /help lists them.
/// Without a terminal, messages are read from standard input, a line each, and
/// answers are all that is printed.
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Args {
    #[command(flatten)]
    conversation: ConversationArgs,
    #[command(flatten)]
    lora: LoraArgs,
    #[command(flatten)]
    images: ImageArgs,
}

pub(crate) fn run(mut args: Args) -> Result<ExitCode> {
    let interrupt = Interrupt::install()?;
    args.conversation.check()?;
    let ConversationArgs {
        verbose,
        quiet,
        model,
        sampling,
        template: asked,
    } = args.conversation;
    let (builder, lora) = args.lora.load(&[], &model)?;
    let engine = builder.build()?;
    let info = info(&engine)?;
    let template = asked.load(&engine)?;
    let mut params = sampling.params(&info.generation_defaults);
    if sampling.max_tokens.is_none() {
        // An answer is over when the model says so.
        params.max_tokens = None;
    }
    let seed = params.seed.take().unwrap_or_else(fresh_seed);
    params.validate(info.spec.vocab_size)?;

    let mut lines = Lines::open()?;
    let is_interactive = lines.is_interactive();
    let mut out = io::stdout();
    if verbose {
        let config = Config::new(info, &params).with_adapters(&lora);
        writeln!(out, "{config}  Seed: {seed}\n")?;
    }
    if is_interactive && !quiet {
        writeln!(
            out,
            "{}. /help lists commands, Ctrl-D ends.",
            info.path.display()
        )?;
    }
    let images = args.images.open(&engine)?;
    let mut talk = Talk {
        engine: &engine,
        images,
        template,
        lora,
        interrupt,
        session: Session::new(asked.opening(), params, seed),
    };
    let mut has_failed = false;
    loop {
        let line = match lines.next()? {
            Line::End => break,
            Line::Interrupt => {
                writeln!(io::stderr(), "Ctrl-D or /exit ends.")?;
                continue;
            }
            Line::Text(line) => line,
        };
        match talk.obey(&line, &mut out) {
            Ok(Next::Line) => {}
            Ok(Next::End) => break,
            Ok(Next::Interrupted) if is_interactive => {}
            Ok(Next::Interrupted) => return Ok(ExitCode::from(EXIT_INTERRUPTED)),
            Err(error) if crate::is_closed_pipe(&error) => return Err(error),
            Err(error) => {
                has_failed = true;
                writeln!(io::stderr(), "choral: {}", message(&error))?;
            }
        }
    }
    // A script wants to know; a person has seen it.
    if has_failed && !is_interactive {
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// What comes after a line.
enum Next {
    Line,
    Interrupted,
    End,
}

struct Talk<'a> {
    engine: &'a Engine,
    images: MessageImages,
    template: ChatTemplate,
    lora: Vec<Lora>,
    interrupt: Interrupt,
    session: Session,
}

impl Talk<'_> {
    fn obey(&mut self, line: &str, out: &mut io::Stdout) -> Result<Next> {
        match Command::parse(line)? {
            Command::Nothing => {}
            Command::Say(message) => {
                self.session.say(message);
                return self.answer(out);
            }
            Command::Regenerate => {
                self.session.take_back_answer()?;
                return self.answer(out);
            }
            Command::Set { name, value } => {
                let vocab_size = self.engine.vocab_size();
                self.session.set(name, value, vocab_size)?;
            }
            Command::Show => write!(out, "{}", self.session)?,
            Command::Image(url) => {
                // What is no picture is told now, and not when it is asked about.
                self.embed(&mut [user_message("", std::iter::once(url))])?;
                self.session.show_image(url);
            }
            Command::System(text) => self.session.set_system(text),
            Command::Reset => self.session.reset(),
            Command::Help => write!(out, "{HELP}")?,
            Command::Exit => return Ok(Next::End),
        }
        Ok(Next::Line)
    }

    /// Answers the last message. If that fails, the message is taken back, so that
    /// the conversation stays one that can be continued.
    fn answer(&mut self, out: &mut io::Stdout) -> Result<Next> {
        match self.generate(out) {
            Ok((text, next)) => {
                self.session.hear(&text);
                Ok(next)
            }
            Err(error) => {
                self.session.take_back_message();
                Err(error)
            }
        }
    }

    /// Takes the pictures out of messages, and has them looked at.
    fn embed(&mut self, messages: &mut [Value]) -> Result<Vec<ImageEmbedding>> {
        let engine = self.engine;
        let made = self
            .images
            .embed(messages, &|images| engine.encode_images(images));
        // Which message and part it was means nothing to who typed it.
        made.map_err(|error| error.problem.into())
    }

    fn generate(&mut self, out: &mut io::Stdout) -> Result<(String, Next)> {
        let mut messages = self.session.messages();
        let images = self.embed(&mut messages)?;
        let input = TemplateInput::new(messages);
        let prompt = self.engine.chat_prompt(&self.template, input)?;
        let params = self.session.next_params();
        let request = Request::new(prompt).with_params(params);
        let mut request = request.with_images(images);
        request.lora.clone_from(&self.lora);
        let stream = self
            .engine
            .submit(request)
            .context("the message was not answered (/reset forgets the conversation)")?;
        let mut listener = Listener::new(stream);
        let guard = self.interrupt.during(listener.canceller());
        let output = print_answer(&mut listener, out)?;
        drop(guard);
        self.finish(output, listener.is_interrupted(), out)
    }

    fn finish(
        &self,
        output: RequestOutput,
        is_interrupted: bool,
        out: &mut io::Stdout,
    ) -> Result<(String, Next)> {
        let head = RowHead {
            index: 0,
            line: 1,
            ..RowHead::default()
        };
        let answer = Answer::new(head, output, &|id| self.engine.token_text(id), false);
        if let Some(error) = answer.error {
            bail!(error.message);
        }
        let is_full = answer.num_ended_by_context(self.engine.max_model_len()) > 0;
        let choice = answer.outputs.into_iter().next();
        let choice = choice.context("the engine ended without an answer")?;
        if let Some(entries) = &choice.logprobs {
            logprobs::write(out, entries)?;
        }
        if choice.finish_reason == "length" {
            let num_tokens = choice.num_tokens();
            if is_full {
                let most = self.engine.max_model_len();
                writeln!(
                    io::stderr(),
                    "(cut off: the context of {most} tokens is full, /reset forgets the conversation)"
                )?;
            } else {
                writeln!(
                    io::stderr(),
                    "(cut off after {num_tokens} tokens: /set max_tokens -1 lets answers end by themselves)"
                )?;
            }
        }
        let next = if is_interrupted {
            writeln!(io::stderr(), "(stopped)")?;
            Next::Interrupted
        } else {
            Next::Line
        };
        Ok((choice.text, next))
    }
}

/// Prints an answer as it comes.
fn print_answer(listener: &mut Listener, out: &mut io::Stdout) -> Result<RequestOutput> {
    let to_terminal = out.is_terminal();
    while let Some(event) = listener.next() {
        match event {
            StreamEvent::Delta { text, .. } => {
                write!(out, "{}", shown(&text, to_terminal))?;
                out.flush()?;
            }
            StreamEvent::Finished(output) => {
                writeln!(out)?;
                out.flush()?;
                return Ok(*output);
            }
        }
    }
    bail!("the engine ended without an answer")
}

/// The engine's own parameters are checked when a message is sent; here are those
/// that a chat cannot honour.
fn check_for_chat(params: &SamplingParams) -> Result<()> {
    if params.n != 1 {
        bail!("`n` is {}, expected 1: a chat has one answer", params.n);
    }
    if params.prompt_logprobs.is_some() {
        bail!("`prompt_logprobs` is for `choral batch`: a chat does not show them");
    }
    Ok(())
}
