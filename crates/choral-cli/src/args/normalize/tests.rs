//! Lines as people type them, against the words that clap is to see.

use super::normalize;
use clap::{Arg, ArgAction, Command};
use std::ffi::OsString;

fn command() -> Command {
    let value = |id: &'static str| Arg::new(id).long(id);
    let switch = |id: &'static str| Arg::new(id).long(id).action(ArgAction::SetTrue);
    let generate = Command::new("generate")
        .arg(value("prompt").short('p'))
        .arg(value("file").short('f'))
        .arg(
            value("predict")
                .short('n')
                .aliases(["n-predict", "max-tokens"]),
        )
        .arg(value("parallel").aliases(["np", "n-parallel", "n"]))
        .arg(value("temp").visible_alias("temperature"))
        .arg(value("threads").short('t'))
        .arg(value("hf"))
        .arg(value("stop").action(ArgAction::Append))
        .arg(switch("verbose").short('v'))
        .arg(switch("quiet").short('q'))
        .arg(Arg::new("text"));
    let debug = Command::new("debug")
        .subcommand(Command::new("score").arg(value("input").short('i').visible_alias("in-file")));
    Command::new("choral")
        .subcommand(generate.visible_alias("gen"))
        .subcommand(debug)
}

fn run(line: &[&str]) -> Result<Vec<String>, clap::Error> {
    let words = std::iter::once("choral").chain(line.iter().copied());
    let out = normalize(&command(), words.map(OsString::from))?;
    Ok(out[1..]
        .iter()
        .map(|word| word.to_str().expect("tests are UTF-8").to_owned())
        .collect())
}

#[track_caller]
fn check(line: &[&str], expected: &[&str]) {
    assert_eq!(
        run(line).expect("a line that is accepted"),
        expected,
        "{line:?}"
    );
}

#[test]
fn go_style_options_get_their_second_dash() {
    check(
        &[
            "generate",
            "-prompt",
            "Hello my name is",
            "-n-parallel",
            "4",
            "-n-predict=64",
        ],
        &[
            "generate",
            "--prompt",
            "Hello my name is",
            "--n-parallel",
            "4",
            "--n-predict=64",
        ],
    );
    check(
        &[
            "generate",
            "-temperature",
            "0.9",
            "-verbose",
            "-threads",
            "2",
        ],
        &[
            "generate",
            "--temperature",
            "0.9",
            "--verbose",
            "--threads",
            "2",
        ],
    );
}

#[test]
fn llama_cpp_options_of_two_letters_are_not_clusters() {
    check(
        &["generate", "-np", "4", "-n", "8", "-hf", "a/b"],
        &["generate", "--np", "4", "-n", "8", "--hf", "a/b"],
    );
}

#[test]
fn a_value_that_begins_with_a_dash_stays_a_value() {
    check(
        &["generate", "-prompt", "-verbose", "-v"],
        &["generate", "--prompt=-verbose", "-v"],
    );
    check(
        &["generate", "-p", "-np", "-v"],
        &["generate", "-p=-np", "-v"],
    );
    check(
        &["generate", "--stop", "--", "-stop", "-temperature"],
        &["generate", "--stop=--", "--stop=-temperature"],
    );
    check(
        &["generate", "-temperature", "-0.5"],
        &["generate", "--temperature=-0.5"],
    );
    check(&["generate", "-vp", "-np"], &["generate", "-vp=-np"]);
    check(&["generate", "-f", "-"], &["generate", "-f", "-"]);
}

#[test]
fn a_value_that_names_a_command_or_an_option_stays_a_value() {
    check(
        &[
            "generate", "-p", "generate", "--prompt", "debug", "-np", "2",
        ],
        &[
            "generate", "-p", "generate", "--prompt", "debug", "--np", "2",
        ],
    );
}

#[test]
fn short_options_are_left_alone() {
    check(
        &["generate", "-n5", "-vq", "-n=5", "-t", "2"],
        &["generate", "-n5", "-vq", "-n=5", "-t", "2"],
    );
    check(
        &["generate", "-pHello there"],
        &["generate", "-pHello there"],
    );
}

#[test]
fn nothing_behind_two_dashes_is_touched() {
    check(
        &["generate", "--", "-prompt", "-np"],
        &["generate", "--", "-prompt", "-np"],
    );
}

#[test]
fn help_and_version_work_with_one_dash() {
    check(&["-help"], &["--help"]);
    check(&["-version"], &["--version"]);
    check(&["generate", "-help"], &["generate", "--help"]);
    check(&["generate", "-h"], &["generate", "-h"]);
}

#[test]
fn options_are_those_of_the_command_that_was_named() {
    check(&["gen", "-prompt", "x"], &["gen", "--prompt", "x"]);
    check(
        &["debug", "score", "-in-file", "-prompt"],
        &["debug", "score", "--in-file=-prompt"],
    );
    // `debug score` has no -prompt, so clap gets to refuse it as it stands.
    check(
        &["debug", "score", "-prompt"],
        &["debug", "score", "-prompt"],
    );
}

#[test]
fn go_booleans_may_carry_a_value() {
    check(
        &["generate", "-verbose=true", "-p", "x"],
        &["generate", "--verbose", "-p", "x"],
    );
    check(
        &["generate", "-verbose=false", "-p", "x"],
        &["generate", "-p", "x"],
    );
    check(
        &["generate", "-verbose=maybe"],
        &["generate", "--verbose=maybe"],
    );
}

#[test]
fn an_option_at_the_end_without_its_value_is_left_for_clap() {
    check(&["generate", "-prompt"], &["generate", "--prompt"]);
    check(&["generate", "-n"], &["generate", "-n"]);
}

#[test]
fn unknown_long_options_and_empty_words_pass_through() {
    check(
        &["generate", "--nonsense", "-np", "2"],
        &["generate", "--nonsense", "--np", "2"],
    );
    check(&["generate", "", "-", "-5"], &["generate", "", "-", "-5"]);
}

#[test]
fn a_misspelt_option_is_not_a_short_one_with_a_value() {
    let error = run(&["generate", "-promt", "x"])
        .expect_err("a slip")
        .to_string();
    assert!(
        error.contains("--prompt") && error.contains("-p romt"),
        "{error}"
    );
    assert!(run(&["generate", "-n-paralel", "2"]).is_err());
}

#[cfg(unix)]
#[test]
fn words_that_are_not_utf_8_pass_through() {
    use std::os::unix::ffi::OsStringExt;
    let odd = OsString::from_vec(vec![b'a', 0xff]);
    let words = ["choral".into(), "generate".into(), "-p".into(), odd.clone()];
    let out = normalize(&command(), words).expect("accepted");
    assert_eq!(out[3], odd);
}
