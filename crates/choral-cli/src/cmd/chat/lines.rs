//! What the user types: edited on a terminal, read from a pipe elsewhere.

use anyhow::{Context as _, Result};
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{Config, Editor};
use std::io::{self, BufRead as _, IsTerminal as _};

/// What stands before a line on a terminal.
const PROMPT: &str = "> ";

/// What came in.
pub(super) enum Line {
    Text(String),
    /// Ctrl-C, while nothing was going on.
    Interrupt,
    /// Ctrl-D, or the end of the pipe.
    End,
}

/// Where lines come from.
pub(super) enum Lines {
    Terminal(Box<Editor<(), MemHistory>>),
    Pipe(io::Lines<io::StdinLock<'static>>),
}

impl Lines {
    pub(super) fn open() -> Result<Self> {
        if !io::stdin().is_terminal() {
            return Ok(Self::Pipe(io::stdin().lock().lines()));
        }
        let config = Config::builder().auto_add_history(true).build();
        let editor = Editor::with_history(config, MemHistory::new());
        let editor = editor.context("cannot read from the terminal")?;
        Ok(Self::Terminal(Box::new(editor)))
    }

    /// Whether somebody sits there.
    pub(super) fn is_interactive(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    pub(super) fn next(&mut self) -> Result<Line> {
        match self {
            Self::Terminal(editor) => match editor.readline(PROMPT) {
                Ok(line) => Ok(Line::Text(line)),
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(ReadlineError::Interrupted) => Ok(Line::Interrupt),
                Err(error) => Err(error).context("cannot read from the terminal"),
            },
            Self::Pipe(lines) => {
                let line = lines.next().transpose();
                let line = line.context("cannot read standard input")?;
                Ok(line.map_or(Line::End, Line::Text))
            }
        }
    }
}
