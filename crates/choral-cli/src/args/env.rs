//! Every option also as `CHORAL_<OPTION>`, and those of `choral images` as other tools
//! call them.
//!
//! Done for all commands in one place, so that no option can be forgotten.

#[cfg(test)]
mod tests;

use crate::cmd::images;
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
    bind_from(command, given.as_ref(), read, "")
}

fn bind_from(
    command: Command,
    given: Option<&ArgMatches>,
    read: &dyn Fn(&str) -> Option<OsString>,
    parent: &str,
) -> Command {
    let name = command.get_name().to_owned();
    let is_images = parent == "images";
    let is_given = |arg: &Arg| {
        let source = given.and_then(|given| given.value_source(arg.get_id().as_str()));
        source == Some(ValueSource::CommandLine)
    };
    let overruled = contradicted(&command, is_images, &is_given);
    // What choral's own names say overrules the others' as the command line overrules both.
    let has_own = |arg: &Arg| {
        let is_set = own_names(arg).any(|name| is_set(&name, read));
        is_given(arg) || (is_set && !overruled.contains(arg.get_id()))
    };
    let overruled_others = contradicted(&command, is_images, &has_own);
    let others = |arg: &Arg| {
        if is_images && !overruled_others.contains(arg.get_id()) {
            images::names(&name, option(arg), read)
        } else {
            &[]
        }
    };
    command
        .mut_args(|arg| {
            if overruled.contains(arg.get_id()) {
                arg
            } else {
                let others = others(&arg);
                bind_arg(arg, others, read)
            }
        })
        .mut_subcommands(|sub| {
            let given = given.and_then(|given| given.subcommand_matches(sub.get_name()));
            bind_from(sub, given, read, &name)
        })
}

/// An argument's long name, or its id if it has none.
fn option(arg: &Arg) -> &str {
    arg.get_long().unwrap_or(arg.get_id().as_str())
}

/// Arguments that contradict one that `is_given`.
fn contradicted(command: &Command, is_images: bool, is_given: &dyn Fn(&Arg) -> bool) -> Vec<Id> {
    // Each contradiction is declared on one side only.
    let pairs = command.get_arguments().flat_map(|arg| {
        let others = command.get_arg_conflicts_with(arg).into_iter();
        others.flat_map(move |other| [(arg, other), (other, arg)])
    });
    let tacit = command.get_arguments().flat_map(|arg| {
        let options = if is_images {
            images::overruled_by(option(arg))
        } else {
            &[]
        };
        let others = command.get_arguments();
        let others = others.filter(move |other| options.contains(&option(other)));
        others.map(move |other| (arg, other))
    });
    pairs
        .chain(tacit)
        .filter(|(arg, _)| is_given(arg))
        .map(|(_, other)| other.get_id().clone())
        .collect()
}

fn is_set(name: &str, read: &dyn Fn(&str) -> Option<OsString>) -> bool {
    read(name).is_some_and(|value| !value.is_empty())
}

/// Choral's own names of an argument's variable.
fn own_names(arg: &Arg) -> impl Iterator<Item = String> {
    let aliases = arg.get_all_aliases().unwrap_or_default();
    arg.get_long()
        .into_iter()
        .chain(aliases)
        // `CHORAL_N` would say neither `-n` nor `--n` clearly.
        .filter(|name| name.len() > 1)
        .map(|name| format!("CHORAL_{}", name.replace('-', "_").to_uppercase()))
}

/// `others` are names that count if choral's own are not set.
fn bind_arg(arg: Arg, others: &[&str], read: &dyn Fn(&str) -> Option<OsString>) -> Arg {
    let switch = match arg.get_action() {
        ArgAction::SetTrue | ArgAction::SetFalse => true,
        ArgAction::Set | ArgAction::Append => false,
        _ => return arg,
    };
    let others = others.iter().map(|name| (*name).to_owned());
    let name = own_names(&arg)
        .chain(others)
        .find(|name| is_set(name, read));
    let Some(name) = name else {
        return arg;
    };
    let arg = if switch {
        arg.value_parser(BoolishValueParser::new())
    } else {
        arg
    };
    arg.env(name).hide_env(true)
}
