//! What is told of a job at its end, and the exit code that says the same.

use crate::output::terminal::tell;
use crate::{EXIT_INTERRUPTED, EXIT_SOME_FAILED};
use choral::job::JobSummary;
use std::process::ExitCode;

/// How a job ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    message: Option<String>,
    code: u8,
}

impl Outcome {
    /// Of a job of `num_rows` questions. One that was interrupted when all of them were
    /// done already is done.
    pub(super) fn new(summary: &JobSummary, num_rows: u64, is_record: bool) -> Self {
        let JobSummary {
            num_done,
            num_failed,
            ..
        } = *summary;
        if !is_whole(summary, num_rows) {
            let failed = match num_failed {
                0 => String::new(),
                failed => format!(" and {failed} are in error"),
            };
            let go_on = if is_record {
                "; the same command goes on"
            } else {
                ""
            };
            let answered = num_done - num_failed;
            return Self {
                message: Some(format!(
                    "interrupted: {answered} of {num_rows} questions were answered{failed}{go_on}"
                )),
                code: EXIT_INTERRUPTED,
            };
        }
        if num_failed > 0 {
            // Those of earlier runs are not told again.
            let see = if is_record {
                ": see `error` in their lines of the output"
            } else {
                ""
            };
            return Self {
                message: Some(format!(
                    "{num_failed} of {num_rows} questions are in error{see}"
                )),
                code: EXIT_SOME_FAILED,
            };
        }
        Self {
            message: None,
            code: 0,
        }
    }

    pub(super) fn tell(&self) {
        if let Some(message) = &self.message {
            tell(message);
        }
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

/// Whether all of a job's rows are done.
pub(super) fn is_whole(summary: &JobSummary, num_rows: u64) -> bool {
    summary.num_done == num_rows
}

#[cfg(test)]
mod tests {
    use super::Outcome;
    use choral::job::JobSummary;

    fn outcome(num_done: u64, num_failed: u64, is_stopped: bool) -> (u8, String) {
        let summary = JobSummary {
            num_done,
            num_failed,
            is_stopped,
            ..JobSummary::default()
        };
        let Outcome { message, code } = Outcome::new(&summary, 9, true);
        (code, message.unwrap_or_default())
    }

    #[test]
    fn an_interrupted_job_says_what_was_done() {
        let goes_on = "; the same command goes on";
        let told = format!("interrupted: 4 of 9 questions were answered{goes_on}");
        assert_eq!(outcome(4, 0, true), (130, told));
        let told =
            format!("interrupted: 4 of 9 questions were answered and 2 are in error{goes_on}");
        assert_eq!(outcome(6, 2, true), (130, told));
    }

    #[test]
    fn what_was_interrupted_when_all_was_done_is_done() {
        for is_stopped in [false, true] {
            assert_eq!(outcome(9, 0, is_stopped), (0, String::new()));
            let (code, told) = outcome(9, 2, is_stopped);
            assert!(code == 3 && told.starts_with("2 of 9 questions are in error"));
        }
    }
}
