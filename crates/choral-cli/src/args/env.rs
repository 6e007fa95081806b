//! Every option also as `CHORAL_<OPTION>`.
//!
//! Done for all commands in one place, so that no option can be forgotten.

#[cfg(test)]
mod tests;

use clap::builder::BoolishValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, Id};
use std::ffi::OsString;

/// Lets every option of every command be set by the environment, under the
/// option's name or one of its aliases: `--top-k` is `CHORAL_TOP_K`. The command
/// line, whose `words` are given, wins: a variable is not looked at if its option
/// contradicts one that is there. Switches take `1`, `true`, `yes` or `on` and
/// their opposites; an empty variable counts as absent.
pub(crate) fn bind(command: Command, words: &[OsString]) -> Command {
    bind_with(command, words, &|name| std::env::var_os(name))
}

fn bind_with(
    command: Command,
    words: &[OsString],
    read: &dyn Fn(&str) -> Option<OsString>,
) -> Command {
    // What is wrong with the words is told later, when they are read in earnest.
    let lenient = command.clone().ignore_errors(true);
    let given = lenient.try_get_matches_from(words).ok();
    bind_from(command, given.as_ref(), read)
}

fn bind_from(
    command: Command,
    given: Option<&ArgMatches>,
    read: &dyn Fn(&str) -> Option<OsString>,
) -> Command {
    let overruled = given.map_or_else(Vec::new, |given| overruled(&command, given));
    command
        .mut_args(|arg| {
            if overruled.contains(arg.get_id()) {
                arg
            } else {
                bind_arg(arg, read)
            }
        })
        .mut_subcommands(|sub| {
            let given = given.and_then(|given| given.subcommand_matches(sub.get_name()));
            bind_from(sub, given, read)
        })
}

/// Arguments that contradict one of the command line.
fn overruled(command: &Command, given: &ArgMatches) -> Vec<Id> {
    let is_given =
        |arg: &Arg| given.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    // Each contradiction is declared on one side only.
    let pairs = command.get_arguments().flat_map(|arg| {
        let others = command.get_arg_conflicts_with(arg).into_iter();
        others.flat_map(move |other| [(arg, other), (other, arg)])
    });
    pairs
        .filter(|(arg, _)| is_given(arg))
        .map(|(_, other)| other.get_id().clone())
        .collect()
}

fn bind_arg(arg: Arg, read: &dyn Fn(&str) -> Option<OsString>) -> Arg {
    let switch = match arg.get_action() {
        ArgAction::SetTrue | ArgAction::SetFalse => true,
        ArgAction::Set | ArgAction::Append => false,
        _ => return arg,
    };
    let Some(long) = arg.get_long() else {
        return arg;
    };
    let aliases = arg.get_all_aliases().unwrap_or_default();
    let names = std::iter::once(long)
        .chain(aliases)
        // `CHORAL_N` would say neither `-n` nor `--n` clearly.
        .filter(|name| name.len() > 1)
        .map(|name| format!("CHORAL_{}", name.replace('-', "_").to_uppercase()));
    let set = |name: &String| read(name).is_some_and(|value| !value.is_empty());
    let Some(name) = names.into_iter().find(set) else {
        return arg;
    };
    let arg = if switch {
        arg.value_parser(BoolishValueParser::new())
    } else {
        arg
    };
    arg.env(name).hide_env(true)
}
