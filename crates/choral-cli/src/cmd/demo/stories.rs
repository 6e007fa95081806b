//! Four prompts at once, shown as they grow.
//!
//! A small model writes faster than anybody reads: what has come is uncovered word by
//! word, and the line below says how long the engine really took.

use super::job::{self, Job, Report};
use super::{Choice, Next, PROMPTS, Scene, is_back, view};
use crate::output::terminal::{harmless, wrap_words};
use anyhow::Result;
use choral::Engine;
use choral::sampling::fresh_seed;
use ratatui::Frame;
use ratatui::crossterm::event::KeyCode;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, BorderType, Padding, Paragraph};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// New tokens of each story.
const MAX_TOKENS: u32 = 80;

/// Between two words that are uncovered.
const PACE: Duration = Duration::from_millis(30);

pub(super) struct Stories {
    job: Job,
    panels: [Story; PROMPTS.len()],
    started: Instant,
    /// Words of each story that it has been time for.
    num_uncovered: usize,
    /// Everything is shown as soon as it comes.
    is_hurried: bool,
    seconds: Option<f64>,
    error: Option<String>,
}

/// One prompt's.
#[derive(Debug, Default)]
struct Story {
    shown: String,
    hidden: VecDeque<String>,
    tokens: usize,
}

impl Stories {
    pub(super) fn start(engine: &Engine) -> Result<Self> {
        let seed = fresh_seed();
        let most = engine.max_model_len() as u32 / 2;
        let request = |prompt: &&str| job::request(prompt, MAX_TOKENS.min(most), seed);
        Ok(Self {
            job: Job::stream(engine, PROMPTS.iter().map(request).collect())?,
            panels: Default::default(),
            started: Instant::now(),
            num_uncovered: 0,
            is_hurried: false,
            seconds: None,
            error: None,
        })
    }

    fn tokens(&self) -> usize {
        self.panels.iter().map(|story| story.tokens).sum()
    }

    /// Shows what it is time for.
    fn uncover(&mut self) {
        let due = (self.started.elapsed().as_millis() / PACE.as_millis()) as usize;
        let num_new = due - self.num_uncovered;
        self.num_uncovered = due;
        for story in &mut self.panels {
            let num_hidden = story.hidden.len();
            let num_shown = if self.is_hurried {
                num_hidden
            } else {
                num_new.min(num_hidden)
            };
            story.shown.extend(story.hidden.drain(..num_shown));
        }
    }

    fn status(&self) -> String {
        let tokens = self.tokens();
        let stories = format!("{} stories", PROMPTS.len());
        match (&self.error, self.seconds) {
            (Some(error), _) => harmless(error).into_owned(),
            (None, None) => format!("{stories} at once, {} so far", view::count(tokens, "token")),
            (None, Some(seconds)) => format!(
                "{stories}, {} in {seconds:.2} s: {:.0} tokens/s (shown at reading speed)",
                view::count(tokens, "token"),
                tokens as f64 / seconds.max(1e-9)
            ),
        }
    }
}

impl Scene for Stories {
    fn tick(&mut self) {
        for report in self.job.reports() {
            match report {
                Report::Grown {
                    index,
                    text,
                    tokens,
                } => {
                    let story = &mut self.panels[index];
                    story.tokens += tokens;
                    let words = harmless(&text).into_owned();
                    story
                        .hidden
                        .extend(words.split_inclusive(' ').map(str::to_owned));
                }
                Report::Done { seconds } => self.seconds = Some(seconds),
                Report::Failed(error) => self.error = Some(error),
                Report::Ended { .. } | Report::Running(_) => {}
            }
        }
        self.uncover();
    }

    fn press(&mut self, key: KeyCode) -> Next {
        match key {
            KeyCode::Char(' ') | KeyCode::Enter => {
                self.is_hurried = true;
                Next::Stay
            }
            KeyCode::Char('r' | 'R') => Next::Start(Choice::Stories),
            key if is_back(key) => Next::Menu(0),
            _ => Next::Stay,
        }
    }

    fn title(&self) -> &'static str {
        "basic concurrent generation"
    }

    fn keys(&self) -> &'static str {
        "Space show all   r again   q menu"
    }

    fn draw(&self, frame: &mut Frame<'_>, area: Rect) {
        let halves = [Constraint::Fill(1), Constraint::Fill(1)];
        let rows = [
            Constraint::Fill(1),
            Constraint::Fill(1),
            Constraint::Length(1),
        ];
        let [top, bottom, status] = Layout::vertical(rows).areas(area);
        let places = [top, bottom].map(|row| Layout::horizontal(halves).areas::<2>(row));
        for ((story, prompt), place) in self.panels.iter().zip(PROMPTS).zip(places.as_flattened()) {
            draw_story(frame, story, prompt, *place);
        }
        frame.render_widget(
            Paragraph::new(Line::styled(self.status(), view::faint())),
            view::inner(status, 1, 0),
        );
    }
}

fn draw_story(frame: &mut Frame<'_>, story: &Story, prompt: &str, place: Rect) {
    let bold = Style::new().fg(view::ACCENT).add_modifier(Modifier::BOLD);
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(view::faint())
        .title(Line::styled(format!(" {prompt} "), bold))
        .padding(Padding::horizontal(1));
    let room = block.inner(place);
    let text = format!("\u{2026}{}", story.shown);
    let all = wrap_words(&text, room.width.max(1).into());
    // A story that is longer than its place shows its end.
    let skipped = all.len().saturating_sub(room.height.into());
    let lines = all.into_iter().skip(skipped).map(Line::raw);
    let paragraph = Paragraph::new(lines.collect::<Vec<_>>()).block(block);
    frame.render_widget(paragraph, place);
}
