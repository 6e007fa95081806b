//! Where answers about pictures go, and how far they are.

use super::outcome::is_whole;
use super::question::pictures;
use super::source::Images;
use crate::cmd::batch::sink::tell_what_is_left_out;
use crate::output::progress::Progress;
use crate::output::terminal::shown;
use crate::output::terminal::tell;
use choral::engine::RequestMetrics;
use choral::job::{Answer, JobSummary, Kept, Record, Row, Sink};
use std::cell::RefCell;
use std::io::{self, Write};

/// Most errors that are told one by one.
const MAX_TOLD: usize = 20;

/// Where answers go.
pub(super) enum Place {
    /// A file of JSON that a later run goes on with.
    Record(Box<Record>),
    /// JSON, a line each.
    Lines {
        out: Box<dyn Write>,
        is_terminal: bool,
    },
    /// For people.
    Text {
        out: Box<dyn Write>,
        /// The fields that name the pictures.
        names: &'static [&'static str],
        is_terminal: bool,
    },
}

impl Place {
    pub(super) fn record(&self) -> Option<&Record> {
        match self {
            Self::Record(record) => Some(record),
            _ => None,
        }
    }

    pub(super) fn is_terminal(&self) -> bool {
        match self {
            Self::Record(_) => false,
            Self::Lines { is_terminal, .. } | Self::Text { is_terminal, .. } => *is_terminal,
        }
    }
}

/// Writes answers.
pub(super) struct Answers<'a> {
    place: Place,
    progress: Option<Progress>,
    line: Vec<u8>,
    errors: Vec<String>,
    num_errors: usize,
    is_finished: bool,
    /// Which is to know what will be asked about.
    images: &'a RefCell<Images>,
}

impl<'a> Answers<'a> {
    pub(super) fn new(place: Place, progress: Progress, images: &'a RefCell<Images>) -> Self {
        Self {
            place,
            progress: Some(progress),
            line: Vec::new(),
            errors: Vec::new(),
            num_errors: 0,
            is_finished: false,
            images,
        }
    }

    /// Ends the display, and the output too if all of the job's `num_rows` are done.
    pub(super) fn finish(
        &mut self,
        summary: Option<&JobSummary>,
        num_rows: u64,
        seed: u64,
    ) -> io::Result<()> {
        self.is_finished = summary.is_some_and(|summary| is_whole(summary, num_rows));
        let finished = match &mut self.place {
            Place::Lines { out, .. } | Place::Text { out, .. } => out.flush(),
            Place::Record(record) if self.is_finished => record.finish(),
            Place::Record(record) => record.save(),
        };
        if let Some(progress) = self.progress.take() {
            match summary {
                Some(summary) => progress.finish(summary, Some(seed)),
                None => {
                    progress.end();
                }
            }
        }
        finished
    }

    /// Says which questions went wrong, one by one, and whether there are answers that were
    /// asked for before and are not now.
    pub(super) fn tell_what_to_know(&self) {
        if let Place::Record(record) = &self.place
            && self.is_finished
        {
            tell_what_is_left_out(record);
        }
        for error in &self.errors {
            tell(error);
        }
        if let Some(more @ 1..) = self.num_errors.checked_sub(self.errors.len()) {
            tell(&format!("and {more} more"));
        }
    }

    fn note(&mut self, answer: &Answer) {
        let Some(error) = &answer.error else {
            return;
        };
        self.num_errors += 1;
        if self.errors.len() < MAX_TOLD {
            self.errors.push(match &error.file {
                Some(file) => format!("{file}:{}: {}", error.line, error.message),
                None => error.message.clone(),
            });
        }
    }
}

impl Sink for Answers<'_> {
    fn kept(&mut self, row: &Row) -> io::Result<Option<Kept>> {
        let kept = match &mut self.place {
            Place::Record(record) => record.kept(row)?,
            _ => None,
        };
        if kept.is_none()
            && let Ok(work) = &row.work
        {
            self.images.borrow_mut().expect(&pictures(work));
        }
        Ok(kept)
    }

    fn answer(&mut self, answer: &Answer) -> io::Result<()> {
        self.note(answer);
        match &mut self.place {
            Place::Record(record) => record.put(answer),
            Place::Lines { out, .. } => {
                self.line.clear();
                answer.write(&mut self.line);
                out.write_all(&self.line)
            }
            Place::Text {
                out,
                names,
                is_terminal,
            } => {
                let pictures = names
                    .iter()
                    .filter_map(|name| answer.fields[*name].as_str());
                let pictures: Vec<_> = pictures.collect();
                let head = shown(&pictures.join(" | "), *is_terminal).into_owned();
                match (&answer.error, answer.outputs.first()) {
                    (None, Some(choice)) => {
                        let text = shown(choice.text.trim(), *is_terminal);
                        writeln!(out, "{head}\n\n{text}\n")
                    }
                    // Told at the end, with the others.
                    _ => Ok(()),
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.place {
            Place::Record(record) => record.flush(),
            Place::Lines { out, .. } | Place::Text { out, .. } => out.flush(),
        }
    }

    fn done(&mut self, summary: &JobSummary, metrics: Option<&RequestMetrics>) {
        if let Some(progress) = &mut self.progress {
            progress.show(summary, metrics);
        }
    }
}
