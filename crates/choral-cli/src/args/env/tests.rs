//! Which variables count.

use super::bind_with;
use clap::{Arg, ArgAction, Command};
use std::ffi::OsString;

fn command() -> Command {
    let sub = Command::new("run")
        .arg(Arg::new("text").conflicts_with_all(["prompt", "file"]))
        .arg(Arg::new("prompt").long("prompt").conflicts_with("file"))
        .arg(Arg::new("file").long("file"))
        .arg(Arg::new("top-k").long("top-k"))
        .arg(
            Arg::new("quiet")
                .long("quiet")
                .short('q')
                .action(ArgAction::SetTrue),
        )
        .arg(
            Arg::new("verbose")
                .short('v')
                .action(ArgAction::SetTrue)
                .conflicts_with("quiet"),
        );
    Command::new("choral").subcommand(sub)
}

/// The options that a variable may set, beside these words.
fn bound(words: &[&str]) -> Vec<String> {
    let words: Vec<OsString> = ["choral", "run"]
        .iter()
        .chain(words)
        .map(OsString::from)
        .collect();
    let all_set = |_: &str| Some(OsString::from("1"));
    let command = bind_with(command(), &words, &all_set);
    let run = command.find_subcommand("run").expect("it is there");
    run.get_arguments()
        .filter(|arg| arg.get_env().is_some())
        .map(|arg| arg.get_id().to_string())
        .collect()
}

#[test]
fn a_variable_counts_unless_the_command_line_says_otherwise() {
    assert_eq!(bound(&[]), ["prompt", "file", "top-k", "quiet"]);
    // The argument that is given itself may keep its variable: clap prefers the words.
    assert_eq!(bound(&["hello"]), ["top-k", "quiet"]);
    assert_eq!(bound(&["--file", "f"]), ["file", "top-k", "quiet"]);
    assert_eq!(bound(&["--prompt", "y"]), ["prompt", "top-k", "quiet"]);
    assert_eq!(bound(&["-v"]), ["prompt", "file", "top-k"]);
    assert_eq!(bound(&["-q"]), ["prompt", "file", "top-k", "quiet"]);
}

#[test]
fn wrong_words_are_looked_at_as_far_as_they_go() {
    assert_eq!(
        bound(&["--file", "f", "--no-such-option"]),
        ["file", "top-k", "quiet"]
    );
    assert_eq!(bound(&["--help"]), ["prompt", "file", "top-k", "quiet"]);
}
