//! The same work, more and more of it at a time.

use super::job::{self, Job, Report};
use super::{Choice, Next, PROMPTS, Scene, is_back, view};
use crate::output::terminal::harmless;
use anyhow::Result;
use choral::Engine;
use ratatui::Frame;
use ratatui::crossterm::event::KeyCode;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Gauge, Paragraph};
use std::num::NonZeroUsize;

const NUM_PROMPTS: usize = 32;
const NUM_TOKENS: u32 = 20;
const LEVELS: [usize; 5] = [1, 2, 4, 8, 16];

/// Of a bar for speedup 1.
const BAR_UNIT: f64 = 3.0;

pub(super) struct Speed {
    job: Job,
    /// Seconds of each level that is through. The first is a warm-up, which no row shows.
    seconds: Vec<f64>,
    num_done: usize,
    error: Option<String>,
}

impl Speed {
    pub(super) fn start(engine: &Engine) -> Result<Self> {
        let request = |nth: usize| {
            let prompt = PROMPTS[nth % PROMPTS.len()];
            let mut request = job::request(prompt, NUM_TOKENS, nth as u64);
            // Equal work for all: no answer ends early, and all take the same path.
            request.params.ignore_eos = true;
            request
        };
        let requests = (0..NUM_PROMPTS).map(request).collect();
        let levels = [LEVELS[0]].into_iter().chain(LEVELS);
        let levels = levels.filter_map(NonZeroUsize::new).collect();
        Ok(Self {
            job: Job::load(engine, requests, levels)?,
            seconds: Vec::new(),
            num_done: 0,
            error: None,
        })
    }

    fn rows(&self) -> Vec<Line<'static>> {
        let Some((_, measured)) = self.seconds.split_first() else {
            return Vec::new();
        };
        let row = |(&level, &seconds): (&usize, &f64)| {
            let speedup = measured[0] / seconds.max(1e-9);
            let bar = "\u{2588}".repeat((speedup * BAR_UNIT).round().clamp(1.0, 60.0) as usize);
            Line::from(vec![
                Span::raw(format!(
                    "{level:>11} | {:>9.0} | {:>20.2} | {speedup:>6.2}x ",
                    seconds * 1e3,
                    NUM_PROMPTS as f64 / seconds.max(1e-9),
                )),
                Span::styled(bar, Style::new().fg(view::ACCENT)),
            ])
        };
        LEVELS.iter().zip(measured).map(row).collect()
    }
}

impl Scene for Speed {
    fn tick(&mut self) {
        for report in self.job.reports() {
            match report {
                Report::Ended { .. } => self.num_done += 1,
                Report::Done { seconds } => self.seconds.push(seconds),
                Report::Failed(error) => {
                    self.num_done += 1;
                    self.error = Some(error);
                }
                Report::Grown { .. } | Report::Running(_) => {}
            }
        }
    }

    fn press(&mut self, key: KeyCode) -> Next {
        match key {
            KeyCode::Char('r' | 'R') => Next::Start(Choice::Speed),
            key if is_back(key) => Next::Menu(2),
            _ => Next::Stay,
        }
    }

    fn title(&self) -> &'static str {
        "benchmark"
    }

    fn keys(&self) -> &'static str {
        "r again   q menu"
    }

    fn draw(&self, frame: &mut Frame<'_>, area: Rect) {
        let rows = [
            Constraint::Length(2),
            Constraint::Length(2),
            Constraint::Length(LEVELS.len() as u16 + 3),
            Constraint::Fill(1),
        ];
        let [head, bar, table, foot] = Layout::vertical(rows).areas(view::inner(area, 2, 1));
        let what = format!(
            "{NUM_PROMPTS} prompts of the same length, {NUM_TOKENS} new tokens each, so many at a time"
        );
        frame.render_widget(Paragraph::new(what), head);
        let all = NUM_PROMPTS * (LEVELS.len() + 1);
        let gauge = Gauge::default()
            .ratio((self.num_done as f64 / all as f64).clamp(0.0, 1.0))
            .label(format!("{}/{all}", self.num_done))
            .use_unicode(true)
            .gauge_style(Style::new().fg(view::ACCENT));
        frame.render_widget(gauge, Rect { height: 1, ..bar });
        let mut lines = vec![
            Line::raw("Concurrency | Time (ms) | Throughput (items/s) | Speedup"),
            Line::raw("\u{2500}".repeat(57)),
        ];
        lines.extend(self.rows());
        frame.render_widget(Paragraph::new(lines), table);
        let foot_line = match (&self.error, self.seconds.len() > LEVELS.len()) {
            (Some(error), _) => {
                Line::styled(harmless(error).into_owned(), Style::new().fg(Color::Red))
            }
            (None, true) => Line::styled(
                "The same on other models and sizes: choral bench --concurrency 1,2,4 -m MODEL",
                view::faint(),
            ),
            (None, false) => Line::raw(""),
        };
        frame.render_widget(Paragraph::new(foot_line), foot);
    }
}
