//! How far a download has come: a bar on a terminal, now and then a line elsewhere.

use crate::cmd::units;
use crate::output::terminal::{harmless, tell_plainly};
use choral::hub::Event;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

/// Time between two lines, where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Shows downloads on standard error.
pub(crate) struct Download {
    kind: Kind,
    file: Option<File>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bar,
    Lines,
    Nothing,
}

struct File {
    name: String,
    size: u64,
    /// Bytes that were there already.
    have: u64,
    started: Instant,
    last_line: Instant,
    bar: Option<ProgressBar>,
}

impl Download {
    pub(crate) fn new(is_quiet: bool) -> Self {
        let kind = match (is_quiet, io::stderr().is_terminal()) {
            (true, _) => Kind::Nothing,
            (false, true) => Kind::Bar,
            (false, false) => Kind::Lines,
        };
        Self { kind, file: None }
    }

    /// Takes note of what happened.
    pub(crate) fn tell(&mut self, event: &Event<'_>) {
        match *event {
            _ if self.kind == Kind::Nothing => {}
            Event::Start { file, size, have } => self.start(file, size, have),
            Event::At { bytes } => self.advance(bytes),
            Event::Done { .. } => self.finish(),
            Event::Waiting { file } => {
                self.say(&format!("another process downloads {file}: waiting for it"));
            }
            Event::Retry {
                what,
                reason,
                delay,
            } => {
                let seconds = delay.as_secs_f64();
                let again = format!("trying again in {seconds:.1} s");
                // Errors of the hub name the address, those of the connection do too.
                if reason.contains(what) {
                    self.say(&format!("{reason}; {again}"));
                } else {
                    self.say(&format!("{what}: {reason}; {again}"));
                }
            }
            Event::Unreachable { reason } => {
                self.say(&format!("{reason}; what was fetched before is used"));
            }
            _ => {}
        }
    }

    fn start(&mut self, name: &str, size: u64, have: u64) {
        let bar = (self.kind == Kind::Bar).then(|| bar(name, size, have));
        let now = Instant::now();
        self.file = Some(File {
            name: name.to_owned(),
            size,
            have,
            started: now,
            last_line: now,
            bar,
        });
        if self.kind == Kind::Lines {
            self.say(&match have {
                0 => format!("downloading {name}, {}", units::bytes(size)),
                have => format!(
                    "downloading {name}, {} of {} are there",
                    units::bytes(have),
                    units::bytes(size)
                ),
            });
        }
    }

    fn advance(&mut self, bytes: u64) {
        let Some(file) = &mut self.file else { return };
        if let Some(bar) = &file.bar {
            bar.set_position(bytes);
        } else if file.last_line.elapsed() >= LINE_INTERVAL {
            file.last_line = Instant::now();
            let line = line(file, bytes, file.started.elapsed().as_secs_f64());
            self.say(&line);
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = self.file.take().and_then(|file| file.bar) {
            bar.finish_and_clear();
        }
    }

    fn say(&self, line: &str) {
        match self.file.as_ref().and_then(|file| file.bar.as_ref()) {
            Some(bar) => bar.println(harmless(line)),
            None => tell_plainly(line),
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.finish();
    }
}

fn bar(name: &str, size: u64, have: u64) -> ProgressBar {
    let template = "{msg} [{bar:30}] {decimal_bytes}/{decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template).expect("the template is right");
    let bar = ProgressBar::with_draw_target(Some(size), ProgressDrawTarget::stderr());
    bar.set_style(style.progress_chars("=> "));
    bar.set_message(harmless(name).into_owned());
    bar.set_position(have);
    bar.reset_eta();
    bar
}

fn line(file: &File, bytes: u64, seconds: f64) -> String {
    let speed = bytes.saturating_sub(file.have) as f64 / seconds.max(f64::MIN_POSITIVE);
    format!(
        "{}: {} of {}, {}/s",
        file.name,
        units::bytes(bytes),
        units::bytes(file.size),
        units::bytes(speed as u64)
    )
}

#[cfg(test)]
mod tests {
    use super::{File, line};
    use std::time::Instant;

    #[test]
    fn a_line_has_what_is_there_and_the_speed_of_this_run() {
        let now = Instant::now();
        let file = File {
            name: "m.gguf".to_owned(),
            size: 4_000_000_000,
            have: 1_000_000_000,
            started: now,
            last_line: now,
            bar: None,
        };
        assert_eq!(
            line(&file, 2_000_000_000, 10.0),
            "m.gguf: 2.00 GB of 4.00 GB, 100 MB/s"
        );
    }
}
