//! `choral demo` in a pseudo-terminal of 80 by 24: what is on the screen after which
//! keys, and that the terminal is given back as it was.

use assert_cmd::cargo::cargo_bin;
use pty_process::Size;
use pty_process::blocking::{Command, Pty};
use std::io::{Read as _, Write as _};
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A debug build on a busy machine is slow.
const PATIENCE: Duration = Duration::from_mins(2);

/// A program, its terminal, and what is on it.
struct Session {
    pty: Pty,
    child: Child,
    output: Receiver<Vec<u8>>,
    screen: vt100::Parser,
}

impl Session {
    fn start(words: &[&str]) -> Self {
        let (pty, pts) = pty_process::blocking::open().expect("a pseudo-terminal");
        pty.resize(Size::new(24, 80)).expect("a size");
        let command = Command::new(cargo_bin("choral"))
            .args(words)
            .env("TERM", "xterm");
        let child = command.spawn(pts).expect("started");
        let (sender, output) = channel();
        let fd = std::os::fd::AsFd::as_fd(&pty)
            .try_clone_to_owned()
            .expect("a descriptor");
        std::thread::spawn(move || {
            let mut reader = std::fs::File::from(fd);
            let mut bytes = vec![0; 4096];
            // Once the program has ended, reading from its terminal fails.
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            pty,
            child,
            output,
            screen: vt100::Parser::new(
                24.try_into().expect("not 0"),
                80.try_into().expect("not 0"),
                0,
            ),
        }
    }

    fn text(&self) -> String {
        self.screen.screen().contents()
    }

    /// Waits until the screen says `text`, and gives all that it says.
    fn see(&mut self, text: &str) -> String {
        let start = Instant::now();
        while !self.text().contains(text) {
            assert!(
                start.elapsed() < PATIENCE,
                "no `{text}` in:\n{}",
                self.text()
            );
            if let Ok(bytes) = self.output.recv_timeout(Duration::from_millis(100)) {
                self.screen.process(&bytes);
            }
        }
        self.text()
    }

    fn press(&mut self, keys: &str) {
        self.pty.write_all(keys.as_bytes()).expect("typed");
    }

    /// Waits for the end. The terminal has to be as it was then.
    fn end(mut self) -> ExitStatus {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("asked") {
                break status;
            }
            assert!(start.elapsed() < PATIENCE, "still there:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        };
        while let Ok(bytes) = self.output.recv_timeout(Duration::from_millis(300)) {
            self.screen.process(&bytes);
        }
        let screen = self.screen.screen();
        assert!(!screen.alternate_screen(), "the alternate screen is left");
        assert!(!screen.hide_cursor(), "the cursor is back");
        let flags = rustix::termios::tcgetattr(&self.pty).expect("a terminal");
        let modes = rustix::termios::LocalModes::ICANON | rustix::termios::LocalModes::ECHO;
        assert!(flags.local_modes.contains(modes), "lines and echo are back");
        status
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A test that failed leaves nothing behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const UP: &str = "\x1b[A";
const DOWN: &str = "\x1b[B";
const ESCAPE: &str = "\x1b";
const CTRL_C: &str = "\x03";

#[test]
fn choral_alone_on_a_terminal_shows_the_menu() {
    let mut session = Session::start(&[]);
    let text = session.see("q quit");
    for line in [
        "choral: one model, many voices",
        "1. Basic concurrent generation",
        "2. Batch with progress",
        "3. Benchmark",
        "0. Exit",
        "choral-demo, q8",
    ] {
        assert!(text.contains(line), "no `{line}` in:\n{text}");
    }
    session.press("q");
    assert_eq!(session.end().code(), Some(0));
}

#[test]
fn four_stories_grow_and_escape_leads_back() {
    let mut session = Session::start(&["demo", "-t", "1"]);
    session.see("q quit");
    session.press("1");
    let text = session.see("tokens/s");
    for prompt in [
        "Once upon a time",
        "One rainy morning",
        "The future of AI is",
        "Long ago",
    ] {
        assert!(text.contains(prompt), "no `{prompt}` in:\n{text}");
    }
    session.press(" ");
    session.press(ESCAPE);
    session.see("Select a scenario");
    session.press(ESCAPE);
    assert_eq!(session.end().code(), Some(0));
}

#[test]
fn a_batch_is_asked_for_and_runs() {
    let mut session = Session::start(&["demo", "-t", "1"]);
    session.see("q quit");
    session.press(DOWN);
    session.press("\r");
    session.see("Number of prompts");
    session.press("6\r");
    session.see("▸ Tokens of each answer");
    session.press("4\r");
    session.see("▸ Prompts at a time");
    session.press("2\r");
    let text = session.see("6/6 (100%)");
    assert!(
        text.contains("6 prompts, 2 at a time, up to 4 tokens each"),
        "{text}"
    );
    session.press("q");
    // The menu stands where it was left.
    session.see("▸ 2. Batch with progress");
    session.press("0");
    assert_eq!(session.end().code(), Some(0));
}

#[test]
fn the_benchmark_prints_its_table_and_ctrl_c_ends_it() {
    let mut session = Session::start(&["demo", "-t", "1"]);
    session.see("q quit");
    session.press(UP);
    session.press(UP);
    session.press("\r");
    let text = session.see("choral bench --concurrency");
    assert!(
        text.contains("Concurrency | Time (ms) | Throughput (items/s) | Speedup"),
        "{text}"
    );
    for level in [1, 2, 4, 8, 16] {
        assert!(text.contains(&format!("{level:>11} | ")), "{text}");
    }
    session.press(CTRL_C);
    assert_eq!(session.end().code(), Some(130));
}

#[test]
fn ctrl_c_ends_a_batch_in_the_middle() {
    let mut session = Session::start(&["demo", "-t", "1"]);
    session.see("q quit");
    session.press("2");
    session.see("Number of prompts");
    session.press("9999\r999\r1\r");
    session.see("/9999");
    session.press(CTRL_C);
    assert_eq!(session.end().code(), Some(130));
}

#[test]
fn a_signal_gives_the_terminal_back_too() {
    let mut session = Session::start(&["demo", "-t", "1"]);
    session.see("q quit");
    session.press("1");
    session.see("Space show all");
    let id = session.child.id();
    let id = rustix::process::Pid::from_raw(id.cast_signed()).expect("a process");
    rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("sent");
    assert_eq!(session.end().code(), Some(130));
}

#[test]
fn without_a_terminal_there_is_help_or_a_hint() {
    let mut alone = assert_cmd::Command::new(cargo_bin("choral"));
    let result = alone.assert().code(2);
    let text = String::from_utf8_lossy(&result.get_output().stderr).into_owned();
    assert!(text.contains("Usage: choral <COMMAND>"), "{text}");
    let mut demo = assert_cmd::Command::new(cargo_bin("choral"));
    let result = demo.arg("demo").assert().code(2);
    let text = String::from_utf8_lossy(&result.get_output().stderr).into_owned();
    assert!(text.contains("the demo needs a terminal"), "{text}");
}
