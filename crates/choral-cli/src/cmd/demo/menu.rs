//! The first screen.

use super::{Choice, Next, Scene, view};
use ratatui::Frame;
use ratatui::crossterm::event::KeyCode;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

/// Name and promise of each line; the last one ends the program.
const LINES: [(&str, &str); 4] = [
    (
        "Basic concurrent generation",
        "four prompts at once, shown as they grow",
    ),
    (
        "Batch with progress",
        "as many prompts as you like, some at a time",
    ),
    (
        "Benchmark",
        "the same work, 1, 2, 4, 8 and 16 prompts at a time",
    ),
    ("Exit", ""),
];

#[derive(Default)]
pub(super) struct Menu {
    /// The line that Enter takes, from 0.
    pub(super) selected: usize,
}

impl Menu {
    fn take(line: usize) -> Next {
        match line {
            0 => Next::Start(Choice::Stories),
            1 => Next::Start(Choice::AskBatch),
            2 => Next::Start(Choice::Speed),
            _ => Next::Quit,
        }
    }
}

impl Scene for Menu {
    fn press(&mut self, key: KeyCode) -> Next {
        let count = LINES.len();
        match key {
            KeyCode::Up | KeyCode::Char('k') | KeyCode::BackTab => {
                self.selected = (self.selected + count - 1) % count;
            }
            KeyCode::Down | KeyCode::Char('j') | KeyCode::Tab => {
                self.selected = (self.selected + 1) % count;
            }
            KeyCode::Home => self.selected = 0,
            KeyCode::End => self.selected = count - 1,
            KeyCode::Enter | KeyCode::Char(' ') => return Self::take(self.selected),
            KeyCode::Char('1') => return Self::take(0),
            KeyCode::Char('2') => return Self::take(1),
            KeyCode::Char('3') => return Self::take(2),
            KeyCode::Char('0' | 'q' | 'Q') | KeyCode::Esc => return Next::Quit,
            _ => {}
        }
        Next::Stay
    }

    fn title(&self) -> &'static str {
        "one model, many voices"
    }

    fn keys(&self) -> &'static str {
        "1-3 choose   \u{2191}\u{2193} move   Enter start   q quit"
    }

    fn draw(&self, frame: &mut Frame<'_>, area: Rect) {
        let mut lines = vec![Line::raw("Select a scenario:"), Line::raw("")];
        for (nth, (name, promise)) in LINES.iter().enumerate() {
            let number = if nth + 1 == LINES.len() { 0 } else { nth + 1 };
            let (mark, style) = if nth == self.selected {
                let style = Style::new().fg(view::ACCENT).add_modifier(Modifier::BOLD);
                ("\u{25b8}", style)
            } else {
                (" ", Style::new())
            };
            lines.push(Line::styled(format!(" {mark} {number}. {name}"), style));
            if !promise.is_empty() {
                lines.push(Line::from(Span::styled(
                    format!("      {promise}"),
                    view::faint(),
                )));
            }
            lines.push(Line::raw(""));
        }
        lines.push(Line::styled(
            "The same as commands: choral generate, batch and bench; help lists all.",
            view::faint(),
        ));
        frame.render_widget(Paragraph::new(lines), view::inner(area, 2, 1));
    }
}
