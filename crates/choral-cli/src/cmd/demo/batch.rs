//! Many prompts, some at a time, with a bar; first a form that asks how many.

use super::job::{self, Job, Report};
use super::{Choice, Next, PROMPTS, Scene, is_back, view};
use crate::output::terminal::harmless;
use anyhow::Result;
use choral::Engine;
use choral::sampling::fresh_seed;
use ratatui::Frame;
use ratatui::crossterm::event::KeyCode;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Gauge, Paragraph};
use std::num::NonZeroUsize;
use std::time::Instant;

/// Most prompts.
pub(super) const MOST: usize = 9999;

/// How much is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) count: usize,
    pub(super) max_tokens: usize,
    pub(super) concurrency: usize,
}

/// What is asked, and what is done if nobody says.
pub(super) struct Form {
    fields: [Field; 3],
    focus: usize,
}

struct Field {
    name: &'static str,
    /// As it was typed; empty takes the default.
    text: String,
    default: usize,
    most: usize,
}

impl Field {
    fn new(name: &'static str, default: usize, most: usize) -> Self {
        Self {
            name,
            text: String::new(),
            default: default.min(most),
            most,
        }
    }

    /// The number, if it is within its range.
    fn value(&self) -> Option<usize> {
        if self.text.is_empty() {
            return Some(self.default);
        }
        self.text
            .parse()
            .ok()
            .filter(|n| (1..=self.most).contains(n))
    }
}

impl Form {
    pub(super) fn new(engine: &Engine) -> Self {
        Self {
            fields: [
                Field::new("Number of prompts", 40, MOST),
                Field::new(
                    "Tokens of each answer, at most",
                    30,
                    engine.max_model_len() / 2,
                ),
                Field::new("Prompts at a time (concurrency)", 4, 256),
            ],
            focus: 0,
        }
    }

    fn size(&self) -> Option<Size> {
        let [count, max_tokens, concurrency] = &self.fields;
        Some(Size {
            count: count.value()?,
            max_tokens: max_tokens.value()?,
            concurrency: concurrency.value()?,
        })
    }
}

impl Scene for Form {
    fn press(&mut self, key: KeyCode) -> Next {
        let count = self.fields.len();
        let field = &mut self.fields[self.focus];
        match key {
            KeyCode::Char(digit) if digit.is_ascii_digit() && field.text.len() < 4 => {
                field.text.push(digit);
            }
            KeyCode::Backspace | KeyCode::Delete => drop(field.text.pop()),
            KeyCode::Up | KeyCode::BackTab => self.focus = (self.focus + count - 1) % count,
            KeyCode::Down | KeyCode::Tab => self.focus = (self.focus + 1) % count,
            KeyCode::Enter => {
                // A number that is out of its range is where to go on.
                if let Some(wrong) = self.fields.iter().position(|f| f.value().is_none()) {
                    self.focus = wrong;
                } else if self.focus + 1 < count {
                    self.focus += 1;
                } else if let Some(size) = self.size() {
                    return Next::Start(Choice::Batch(size));
                }
            }
            KeyCode::Esc | KeyCode::Char('q' | 'Q') => return Next::Menu(1),
            _ => {}
        }
        Next::Stay
    }

    fn title(&self) -> &'static str {
        "batch with progress"
    }

    fn keys(&self) -> &'static str {
        "digits change   \u{2191}\u{2193} move   Enter next, and start after the last   q menu"
    }

    fn draw(&self, frame: &mut Frame<'_>, area: Rect) {
        let mut lines = vec![
            Line::raw("How much is to be done? Enter takes what is there."),
            Line::raw(""),
        ];
        for (nth, field) in self.fields.iter().enumerate() {
            let is_focus = nth == self.focus;
            let mark = if is_focus { "\u{25b8}" } else { " " };
            let mut style = Style::new();
            if is_focus {
                style = style.fg(view::ACCENT).add_modifier(Modifier::BOLD);
            }
            let shown = if field.text.is_empty() {
                Span::styled(field.default.to_string(), view::faint())
            } else {
                Span::styled(field.text.clone(), style)
            };
            let cursor = if is_focus { "\u{2588}" } else { "" };
            let mut line = vec![
                Span::styled(format!(" {mark} {:<34}", field.name), style),
                shown,
                Span::styled(cursor, style),
            ];
            if field.value().is_none() {
                let range = format!("  expected 1 to {}", field.most);
                line.push(Span::styled(
                    range,
                    Style::new().fg(ratatui::style::Color::Red),
                ));
            }
            lines.push(Line::from(line));
            lines.push(Line::raw(""));
        }
        frame.render_widget(Paragraph::new(lines), view::inner(area, 2, 1));
    }
}

/// A batch that runs or has run.
pub(super) struct Batch {
    job: Job,
    size: Size,
    started: Instant,
    /// What was answered, in the order of the prompts.
    answers: Vec<Option<String>>,
    num_done: usize,
    num_failed: usize,
    tokens: usize,
    seconds: Option<f64>,
}

impl Batch {
    pub(super) fn start(engine: &Engine, size: Size) -> Result<Self> {
        let seed = fresh_seed();
        let request = |nth: usize| {
            let prompt = PROMPTS[nth % PROMPTS.len()];
            job::request(
                prompt,
                size.max_tokens as u32,
                seed.wrapping_add(nth as u64),
            )
        };
        let requests = (0..size.count).map(request).collect();
        let pace = NonZeroUsize::new(size.concurrency).unwrap_or(NonZeroUsize::MIN);
        Ok(Self {
            job: Job::load(engine, requests, vec![pace])?,
            size,
            started: Instant::now(),
            answers: vec![None; size.count],
            num_done: 0,
            num_failed: 0,
            tokens: 0,
            seconds: None,
        })
    }

    fn status(&self) -> String {
        let elapsed = self.started.elapsed().as_secs_f64();
        let seconds = self.seconds.unwrap_or(elapsed);
        let rate = self.num_done as f64 / seconds.max(1e-9);
        let tokens = self.tokens as f64 / seconds.max(1e-9);
        let left = (self.size.count - self.num_done) as f64 / rate.max(1e-9);
        let time = match self.seconds {
            Some(seconds) => format!("{seconds:.2} s"),
            None if self.num_done == 0 => "ETA --:--".to_owned(),
            None => {
                let left = left.ceil() as u64;
                format!("ETA {:02}:{:02}", left / 60, left % 60)
            }
        };
        let failed = match self.num_failed {
            0 => String::new(),
            failed => format!(" | {failed} failed"),
        };
        format!("{rate:.1} items/s | {tokens:.0} tokens/s | {time}{failed}")
    }
}

impl Scene for Batch {
    fn tick(&mut self) {
        for report in self.job.reports() {
            match report {
                Report::Ended {
                    index,
                    text,
                    tokens,
                } => {
                    self.num_done += 1;
                    self.tokens += tokens;
                    self.answers[index] = Some(harmless(&text).replace('\n', " "));
                }
                Report::Failed(_) => {
                    self.num_done += 1;
                    self.num_failed += 1;
                }
                Report::Done { seconds } => self.seconds = Some(seconds),
                Report::Grown { .. } | Report::Running(_) => {}
            }
        }
    }

    fn press(&mut self, key: KeyCode) -> Next {
        match key {
            KeyCode::Char('r' | 'R') => Next::Start(Choice::Batch(self.size)),
            KeyCode::Char('n' | 'N') => Next::Start(Choice::AskBatch),
            key if is_back(key) => Next::Menu(1),
            _ => Next::Stay,
        }
    }

    fn title(&self) -> &'static str {
        "batch with progress"
    }

    fn keys(&self) -> &'static str {
        "r again   n other numbers   q menu"
    }

    fn draw(&self, frame: &mut Frame<'_>, area: Rect) {
        let rows = [
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Fill(1),
        ];
        let [head, _, bar, status, _, list] = Layout::vertical(rows).areas(view::inner(area, 2, 1));
        let Size {
            count,
            max_tokens,
            concurrency,
        } = self.size;
        let what = format!(
            "{}, {concurrency} at a time, up to {} each",
            view::count(count, "prompt"),
            view::count(max_tokens, "token")
        );
        frame.render_widget(Paragraph::new(what), head);
        let share = self.num_done as f64 / count.max(1) as f64;
        let label = format!(
            "{}/{count} ({:.0}%)",
            self.num_done,
            (share * 100.0).floor()
        );
        let gauge = Gauge::default()
            .ratio(share.clamp(0.0, 1.0))
            .label(label)
            .use_unicode(true)
            .gauge_style(Style::new().fg(view::ACCENT));
        frame.render_widget(gauge, bar);
        frame.render_widget(Paragraph::new(self.status()), status);
        // The last answers that are in order so far, and what is behind them.
        let height = usize::from(list.height);
        let done = self
            .answers
            .iter()
            .take_while(|answer| answer.is_some())
            .count();
        let first = done.saturating_sub(height);
        let lines = self.answers.iter().enumerate().skip(first).take(height);
        let lines = lines.map(|(nth, answer)| {
            let prompt = PROMPTS[nth % PROMPTS.len()];
            let number = Span::styled(format!("{nth:>4} "), view::faint());
            match answer {
                Some(text) => Line::from(vec![
                    number,
                    Span::styled(prompt, Style::new().fg(view::ACCENT)),
                    Span::raw(text.as_str()),
                ]),
                None => Line::from(vec![number, Span::styled(prompt, view::faint())]),
            }
        });
        frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), list);
    }
}
