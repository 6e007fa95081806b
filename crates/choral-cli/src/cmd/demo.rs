//! `choral demo`: what running many prompts together is like, on a terminal.
//!
//! A menu of three scenes, a file each: `stories` (four prompts at once, live), `batch`
//! (many prompts with progress), `speed` (what running together gains). `job` runs the
//! engine on threads of its own; a scene only draws, listens to keys, and takes what its
//! job reports. `view` is the frame around all of them.

mod batch;
mod job;
mod menu;
mod speed;
mod stories;
#[cfg(test)]
mod tests;
mod view;

use crate::args::ModelArgs;
use crate::args::model::info;
use crate::interrupt::Interrupt;
use crate::message::Usage;
use crate::{EXIT_INTERRUPTED, NOTES};
use anyhow::Result;
use choral::Engine;
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::Rect;
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Between two drawings.
const TICK: Duration = Duration::from_millis(33);

/// What is continued.
const PROMPTS: [&str; 4] = [
    "Once upon a time",
    "One rainy morning",
    "The future of AI is",
    "Long ago, in a village",
];

/// See what running prompts together is like: stories, a batch and a benchmark, on a terminal
#[derive(Debug, Default, clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
}

/// Whether there is a terminal to show the demo on, and somebody to press keys.
pub(crate) fn has_terminal() -> bool {
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdin().is_terminal() && io::stdout().is_terminal() && !is_dumb
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    if !has_terminal() {
        return Err(Usage::new(
            "the demo needs a terminal: `choral generate`, `choral batch` and `choral bench` do \
             the same without one",
        )
        .into());
    }
    let engine = args.model.builder()?.queue_capacity(batch::MOST).build()?;
    let about = view::about(info(&engine)?);
    let interrupt = Interrupt::install()?;
    let mut terminal = ratatui::try_init()?;
    // Keys make no signals here, but somebody may send one.
    let is_signalled = Arc::new(AtomicBool::new(false));
    let signalled = Arc::clone(&is_signalled);
    let guard = interrupt.during(move || signalled.store(true, Ordering::Relaxed));
    let result = show(&engine, &about, &mut terminal, &is_signalled);
    drop(guard);
    // Whatever happened, the shell gets its terminal back.
    ratatui::try_restore()?;
    result
}

fn show(
    engine: &Engine,
    about: &str,
    terminal: &mut ratatui::DefaultTerminal,
    is_signalled: &AtomicBool,
) -> Result<ExitCode> {
    let mut scene: Box<dyn Scene> = Box::new(menu::Menu::default());
    loop {
        if is_signalled.load(Ordering::Relaxed) {
            return Ok(ExitCode::from(EXIT_INTERRUPTED));
        }
        scene.tick();
        terminal.draw(|frame| view::draw(frame, about, scene.as_ref()))?;
        if !event::poll(TICK)? {
            continue;
        }
        let Event::Key(key) = event::read()? else {
            continue;
        };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        if is_interrupt(key) {
            return Ok(ExitCode::from(EXIT_INTERRUPTED));
        }
        match scene.press(key.code) {
            Next::Stay => {}
            Next::Quit => return Ok(ExitCode::SUCCESS),
            Next::Menu(selected) => scene = Box::new(menu::Menu { selected }),
            Next::Start(choice) => scene = start(choice, engine)?,
        }
    }
}

/// Ctrl-C; raw terminals make no signal of it.
fn is_interrupt(key: KeyEvent) -> bool {
    key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL)
}

fn start(choice: Choice, engine: &Engine) -> Result<Box<dyn Scene>> {
    Ok(match choice {
        Choice::Stories => Box::new(stories::Stories::start(engine)?),
        Choice::AskBatch => Box::new(batch::Form::new(engine)),
        Choice::Batch(size) => Box::new(batch::Batch::start(engine, size)?),
        Choice::Speed => Box::new(speed::Speed::start(engine)?),
    })
}

/// What is on the screen.
trait Scene {
    /// Takes what has come of its job.
    fn tick(&mut self) {}

    /// Obeys a key.
    fn press(&mut self, key: KeyCode) -> Next;

    /// What the frame says at the top.
    fn title(&self) -> &'static str;

    /// Which keys there are, for the bottom.
    fn keys(&self) -> &'static str;

    /// Draws all between.
    fn draw(&self, frame: &mut Frame<'_>, area: Rect);
}

/// What follows a key.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Stay,
    Quit,
    /// Back to the menu, on this line.
    Menu(usize),
    Start(Choice),
}

/// What can be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Stories,
    AskBatch,
    Batch(batch::Size),
    Speed,
}

/// Keys that lead back, as all scenes have them.
fn is_back(key: KeyCode) -> bool {
    matches!(key, KeyCode::Esc | KeyCode::Char('q' | 'Q' | '0'))
}
