//! Every option also as `CHORAL_<OPTION>`.
//!
//! Done for all commands in one place, so that no option can be forgotten.

use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction, Command};
use std::ffi::OsString;

/// Lets every option of every command be set by the environment, under the
/// option's name or one of its aliases: `--top-k` is `CHORAL_TOP_K`. The command
/// line wins. Switches take `1`, `true`, `yes` or `on` and their opposites; an
/// empty variable counts as absent.
pub(crate) fn bind(command: Command) -> Command {
    bind_from(command, &|name| std::env::var_os(name))
}

fn bind_from(command: Command, read: &dyn Fn(&str) -> Option<OsString>) -> Command {
    command
        .mut_args(|arg| bind_arg(arg, read))
        .mut_subcommands(|sub| bind_from(sub, read))
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
