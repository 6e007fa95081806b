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

#[test]
fn options_about_pictures_go_by_their_other_names_too() {
    let options = || [Arg::new("input"), Arg::new("temp").long("temp")];
    let images = Command::new("images").subcommand(Command::new("precompute").args(options()));
    let command = Command::new("choral")
        .subcommand(images)
        .subcommand(Command::new("run").args(options()));
    let bound = |set: &[&str], path: &[&str]| {
        let read = |name: &str| set.contains(&name).then(|| OsString::from("1"));
        let mut command = &bind_with(command.clone(), &[], &read);
        for name in path {
            command = command.find_subcommand(name).expect("it is there");
        }
        let arguments = command.get_arguments();
        let names = arguments.filter_map(|arg| arg.get_env()?.to_str());
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    let precompute = ["images", "precompute"];
    let both = ["GLM_TEMPERATURE", "CHORAL_TEMP", "GLM_INPUT_DIR"];
    assert_eq!(bound(&both, &precompute), ["GLM_INPUT_DIR", "CHORAL_TEMP"]);
    assert_eq!(bound(&both[..1], &precompute), ["GLM_TEMPERATURE"]);
    assert!(bound(&both[..1], &["run"]).is_empty());
}

#[test]
fn what_is_nearer_to_the_command_overrules_what_contradicts_it() {
    let images = Command::new("images").subcommand(
        Command::new("pairs")
            .arg(Arg::new("pairs").long("pairs").conflicts_with("first"))
            .arg(Arg::new("first").long("first"))
            .arg(Arg::new("temperature").long("temp"))
            .arg(Arg::new("do_sample").long("do-sample")),
    );
    let command = Command::new("choral").subcommand(images);
    let bound = |words: &[&str], set: &[&str]| {
        let words = ["choral", "images", "pairs"].iter().chain(words);
        let words: Vec<OsString> = words.map(OsString::from).collect();
        let read = |name: &str| set.contains(&name).then(|| OsString::from("1"));
        let command = bind_with(command.clone(), &words, &read);
        let images = command.find_subcommand("images").expect("it is there");
        let pairs = images.find_subcommand("pairs").expect("it is there");
        let names = pairs.get_arguments().filter_map(|arg| arg.get_env());
        let names = names.map(|name| name.to_string_lossy().into_owned());
        names.collect::<Vec<_>>()
    };
    let lists = ["GLM_PAIRS_FILE", "GLM_IDX_A"];
    assert_eq!(bound(&[], &lists), ["GLM_IDX_A"]);
    assert_eq!(bound(&["--first", "0"], &["GLM_PAIRS_FILE"]), [""; 0]);
    assert_eq!(bound(&["--pairs", "p"], &lists), [""; 0]);
    let own = ["CHORAL_PAIRS", "GLM_IDX_A"];
    assert_eq!(bound(&[], &own), ["CHORAL_PAIRS"]);
    assert_eq!(bound(&["--first", "0"], &own), ["GLM_IDX_A"]);
    // A temperature that is given is drawn with.
    let greedy = ["GLM_DO_SAMPLE", "GLM_TEMPERATURE"];
    assert_eq!(bound(&[], &greedy), ["GLM_TEMPERATURE", "GLM_DO_SAMPLE"]);
    assert_eq!(bound(&["--temp", "1"], &greedy), ["GLM_TEMPERATURE"]);
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
