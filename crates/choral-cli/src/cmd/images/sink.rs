//! Where answers about pictures go, and how far they are.

use super::model::tell;
use crate::output::progress::Progress;
use crate::output::terminal::shown;
use choral::engine::RequestMetrics;
use choral::job::{Answer, JobSummary, Kept, Record, Row, Sink};
use std::io::{self, Write};

/// Most errors that are told one by one.
const MAX_TOLD: usize = 20;

/// Where answers go.
pub(super) enum Place {
    /// A file of JSON that a later run goes on with.
    Record(Box<Record>),
    /// JSON, a line each.
    Lines(Box<dyn Write>),
    /// For people.
    Text {
        out: Box<dyn Write>,
        /// The fields that name the pictures.
        names: Vec<String>,
        is_terminal: bool,
    },
}

/// Writes answers.
pub(super) struct Answers {
    place: Place,
    progress: Option<Progress>,
    line: Vec<u8>,
    errors: Vec<String>,
    num_errors: usize,
}

impl Answers {
    pub(super) fn new(place: Place, progress: Progress) -> Self {
        Self {
            place,
            progress: Some(progress),
            line: Vec::new(),
            errors: Vec::new(),
            num_errors: 0,
        }
    }

    /// Ends the display, and the output too if the job came to its end.
    pub(super) fn finish(&mut self, summary: Option<&JobSummary>, seed: u64) -> io::Result<()> {
        let finished = match &mut self.place {
            Place::Lines(out) | Place::Text { out, .. } => out.flush(),
            Place::Record(record) => match summary {
                Some(summary) if !summary.is_stopped && !summary.is_aborted => record.finish(),
                _ => record.save(),
            },
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

    /// Says what went wrong, question by question.
    pub(super) fn tell_errors(&self) {
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
            let file = error.file.as_ref();
            let file = file.map_or_else(String::new, |file| format!("{file}: "));
            self.errors.push(format!("{file}{}", error.message));
        }
    }
}

impl Sink for Answers {
    fn kept(&mut self, row: &Row) -> io::Result<Option<Kept>> {
        match &mut self.place {
            Place::Record(record) => record.kept(row),
            _ => Ok(None),
        }
    }

    fn answer(&mut self, answer: &Answer) -> io::Result<()> {
        self.note(answer);
        match &mut self.place {
            Place::Record(record) => record.put(answer),
            Place::Lines(out) => {
                self.line.clear();
                answer.write(&mut self.line);
                out.write_all(&self.line)
            }
            Place::Text {
                out,
                names,
                is_terminal,
            } => {
                let pictures = names.iter().filter_map(|name| answer.fields[name].as_str());
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
            Place::Lines(out) | Place::Text { out, .. } => out.flush(),
        }
    }

    fn done(&mut self, summary: &JobSummary, metrics: Option<&RequestMetrics>) {
        if let Some(progress) = &mut self.progress {
            progress.show(summary, metrics);
        }
    }
}
