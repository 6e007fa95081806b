//! Where answers go: a stream, in the order of the rows, or a record on disk.

use crate::output::progress::Progress;
use choral::engine::RequestMetrics;
use choral::job::{Answer, JobSummary, Kept, Record, Row, Sink};
use std::io::{self, Write};

/// Where answers go.
pub(super) enum Place {
    Stream(Box<dyn Write>),
    Record(Box<Record>),
}

/// Writes answers, and shows how far they are.
pub(super) struct Answers {
    place: Place,
    progress: Option<Progress>,
    line: Vec<u8>,
    max_model_len: usize,
    pub(super) num_ended_by_context: usize,
}

impl Answers {
    pub(super) fn new(place: Place, progress: Progress, max_model_len: usize) -> Self {
        Self {
            place,
            progress: Some(progress),
            line: Vec::new(),
            max_model_len,
            num_ended_by_context: 0,
        }
    }

    /// Ends the display, and the output too if the job came to its end. Whatever became
    /// of it, what was answered is to be on the disk.
    pub(super) fn finish(
        &mut self,
        summary: Option<&JobSummary>,
        seed: Option<u64>,
    ) -> io::Result<()> {
        let finished = match &mut self.place {
            Place::Stream(out) => out.flush(),
            Place::Record(record) => match summary {
                Some(summary) if !summary.is_stopped && !summary.is_aborted => record.finish(),
                _ => record.save(),
            },
        };
        if let Some(progress) = self.progress.take() {
            match summary {
                Some(summary) => progress.finish(summary, seed),
                None => {
                    progress.end();
                }
            }
        }
        finished
    }
}

impl Answers {
    /// Says so if there were answers that the finished output does not have.
    pub(super) fn tell_what_is_left_out(&self) {
        if let Place::Record(record) = &self.place {
            tell_what_is_left_out(record);
        }
    }
}

/// Says so if there were answers that the finished output does not have.
pub(in crate::cmd) fn tell_what_is_left_out(record: &Record) {
    if record.num_left_out() > 0 {
        super::tell(&format!(
            "{} answers were left out that no row of the input asks for any more",
            record.num_left_out()
        ));
    }
}

impl Sink for Answers {
    fn kept(&mut self, row: &Row) -> io::Result<Option<Kept>> {
        match &mut self.place {
            Place::Stream(_) => Ok(None),
            Place::Record(record) => record.kept(row),
        }
    }

    fn answer(&mut self, answer: &Answer) -> io::Result<()> {
        self.num_ended_by_context += answer.num_ended_by_context(self.max_model_len);
        match &mut self.place {
            Place::Record(record) => record.put(answer),
            Place::Stream(out) => {
                self.line.clear();
                answer.write(&mut self.line);
                out.write_all(&self.line)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.place {
            Place::Stream(out) => out.flush(),
            Place::Record(record) => record.flush(),
        }
    }

    fn done(&mut self, summary: &JobSummary, metrics: Option<&RequestMetrics>) {
        if let Some(progress) = &mut self.progress {
            progress.show(summary, metrics);
        }
    }
}
