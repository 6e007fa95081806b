//! What `--help` says, kept in view: a change of the command line is a change of
//! these files.

use assert_cmd::cargo::cargo_bin;
use std::process::Command;

fn help(words: &[&str]) -> String {
    let output = Command::new(cargo_bin("choral"))
        .args(words)
        .env("COLUMNS", "100")
        .output()
        .expect("runs");
    assert!(output.status.success(), "{words:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn help_says_what_the_options_are() {
    insta::assert_snapshot!("choral", help(&["--help"]));
    for command in ["generate", "batch", "chat", "bench"] {
        insta::assert_snapshot!(command, help(&[command, "--help"]));
    }
}
