//! Which variables count.

use super::bind_with;
use clap::{Arg, ArgAction, ArgMatches, Command};
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

fn parse(
    words: &[&str],
    environment: &'static [(&'static str, &'static str)],
) -> Result<ArgMatches, clap::Error> {
    let words: Vec<OsString> = ["choral", "run"]
        .iter()
        .chain(words)
        .map(OsString::from)
        .collect();
    let read = |name: &str| {
        let found = environment.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| OsString::from(value))
    };
    let command = bind_with(command(), &words, &read);
    let matches = command.try_get_matches_from(words)?;
    Ok(matches
        .subcommand_matches("run")
        .expect("it was named")
        .clone())
}

#[test]
fn a_variable_counts_unless_the_command_line_says_otherwise() {
    let text = |matches: &ArgMatches, name: &str| matches.get_one::<String>(name).cloned();
    let environment = &[
        ("CHORAL_PROMPT", "x"),
        ("CHORAL_TOP_K", "3"),
        ("CHORAL_QUIET", "1"),
    ];
    let matches = parse(&[], environment).expect("good");
    assert_eq!(text(&matches, "prompt").as_deref(), Some("x"));
    assert!(matches.get_flag("quiet"));
    for words in [&["hello"][..], &["--file", "f"], &["--prompt", "y"]] {
        let matches = parse(words, environment).expect("the command line wins");
        assert_ne!(text(&matches, "prompt").as_deref(), Some("x"), "{words:?}");
        assert_eq!(text(&matches, "top-k").as_deref(), Some("3"));
    }
    let matches = parse(&["-v"], environment).expect("the command line wins");
    assert!(matches.get_flag("verbose") && !matches.get_flag("quiet"));
}

#[test]
fn contradictions_on_one_side_are_still_errors() {
    assert!(parse(&["hello", "--prompt", "y"], &[]).is_err());
    assert!(parse(&["--no-such-option", "hello"], &[("CHORAL_PROMPT", "x")]).is_err());
    let both = &[("CHORAL_PROMPT", "x"), ("CHORAL_FILE", "f")];
    assert!(parse(&[], both).is_err());
    assert!(parse(&["hello"], both).is_ok());
}
