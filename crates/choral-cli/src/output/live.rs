//! Sequences as they grow, each on its own lines of the terminal.

#[cfg(test)]
mod tests;

use super::terminal::harmless;
use console::Term;
use std::fmt::Write as _;
use std::io;
use std::time::{Duration, Instant};
use unicode_width::UnicodeWidthChar;

/// Redrawing more often than the eye can follow only takes time from the model.
const MIN_INTERVAL: Duration = Duration::from_millis(50);

/// Draws the texts of all sequences, again and again in the same place.
pub(crate) struct Live {
    term: Term,
    texts: Vec<String>,
    num_drawn_lines: usize,
    drawn_at: Option<Instant>,
}

impl Live {
    /// A view on standard output, in which every sequence begins with `start`.
    pub(crate) fn new(num_sequences: usize, start: &str) -> Self {
        Self {
            term: Term::buffered_stdout(),
            texts: vec![harmless(start).into_owned(); num_sequences],
            num_drawn_lines: 0,
            drawn_at: None,
        }
    }

    /// Appends to a sequence, and redraws if it is time.
    pub(crate) fn push(&mut self, index: usize, text: &str) -> io::Result<()> {
        if let Some(grown) = self.texts.get_mut(index) {
            grown.push_str(&harmless(text));
        }
        if self.drawn_at.is_none_or(|at| at.elapsed() >= MIN_INTERVAL) {
            self.draw()?;
        }
        Ok(())
    }

    /// Takes everything off the terminal again.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        self.term.clear_last_lines(self.num_drawn_lines)?;
        self.num_drawn_lines = 0;
        self.term.flush()
    }

    fn draw(&mut self) -> io::Result<()> {
        let (height, width) = self.term.size();
        let lines = layout(&self.texts, width.into(), height.into());
        self.term.clear_last_lines(self.num_drawn_lines)?;
        for line in &lines {
            self.term.write_line(line)?;
        }
        self.num_drawn_lines = lines.len();
        self.term.flush()?;
        // After the drawing: a slow terminal is not to be drawn on all the time.
        self.drawn_at = Some(Instant::now());
        Ok(())
    }
}

/// The lines to be drawn on a terminal of `width` by `height`: for each sequence
/// its number and the end of its text. What does not fit is named in the last line.
fn layout(texts: &[String], width: usize, height: usize) -> Vec<String> {
    // The cursor stands on the line below.
    let height = height.saturating_sub(1).max(1);
    let (num_shown, room) = if texts.len() > height {
        (height - 1, height - 1)
    } else {
        (texts.len(), height)
    };
    let lines_each = (room / num_shown.max(1)).max(1);
    let digits = texts.len().saturating_sub(1).to_string().len();
    let text_width = width.saturating_sub(digits + 2).max(1);
    let mut lines = Vec::new();
    for (index, text) in texts.iter().enumerate().take(num_shown) {
        let wrapped = wrap(text, text_width);
        let tail = wrapped.len().saturating_sub(lines_each);
        for (nth, piece) in wrapped[tail..].iter().enumerate() {
            let mut line = String::new();
            // Writing to a string does not fail.
            let _ = match nth {
                0 => write!(line, "{index:digits$}: {piece}"),
                _ => write!(line, "{:digits$}  {piece}", ""),
            };
            lines.push(line);
        }
    }
    if num_shown < texts.len() {
        lines.push(format!("... and {} more", texts.len() - num_shown));
    }
    lines
}

/// Breaks `text` into lines of at most `width` columns.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        let mut columns = 0;
        for c in paragraph.chars() {
            // A tab's width depends on where it stands.
            let c = if c == '\t' { ' ' } else { c };
            let c_columns = c.width().unwrap_or(0);
            if columns + c_columns > width {
                lines.push(std::mem::take(&mut line));
                columns = 0;
            }
            line.push(c);
            columns += c_columns;
        }
        lines.push(line);
    }
    lines
}
