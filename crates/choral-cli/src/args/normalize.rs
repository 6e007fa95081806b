//! Single-dash options of several letters, as llama.cpp and Go programs have them.
//!
//! clap reads `-prompt` as `-p rompt`. So before clap sees the words, each one
//! that names a long option after a single dash gets its second dash. What the
//! options are is read from the command itself, so that nothing is listed twice.
//! Values are never touched: the word behind an option that takes one is its
//! value, whatever it begins with.

#[cfg(test)]
mod tests;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command};
use std::ffi::{OsStr, OsString};

/// Closer than this many edits to an option's name is a slip, not `-p` with
/// `romt` attached.
const MAX_EDITS: usize = 2;

/// Rewrites the words of a command line (the program's name first) to what clap
/// reads the same way.
///
/// # Errors
/// A single-dash word that clap would take for a short option with a value
/// attached, but that looks like a long option misspelt.
pub(crate) fn normalize(
    command: &Command,
    words: impl IntoIterator<Item = OsString>,
) -> Result<Vec<OsString>, clap::Error> {
    let mut words = words.into_iter();
    let mut out: Vec<OsString> = words.next().into_iter().collect();
    let mut current = command;
    while let Some(word) = words.next() {
        let Some(text) = word.to_str() else {
            out.push(word);
            continue;
        };
        if text == "--" {
            out.push(word);
            out.extend(words);
            break;
        }
        let option = match text.strip_prefix('-') {
            Some(rest) if !rest.is_empty() && !is_number(rest) => Written::parse(current, rest)?,
            _ => {
                current = current.find_subcommand(text).unwrap_or(current);
                out.push(word);
                continue;
            }
        };
        let Some(written) = option.written else {
            continue;
        };
        if !option.wants_value {
            out.push(written.into());
            continue;
        }
        match words.next() {
            Some(value) if looks_like_option(&value) => {
                let mut joined = OsString::from(written + "=");
                joined.push(value);
                out.push(joined);
            }
            value => {
                out.push(written.into());
                out.extend(value);
            }
        }
    }
    Ok(out)
}

/// One word that is an option.
struct Written {
    /// As clap is to see it; none for a switch that is turned off.
    written: Option<String>,
    /// Whether the next word is its value.
    wants_value: bool,
}

impl Written {
    /// `rest` is the word without its first dash.
    fn parse(command: &Command, rest: &str) -> Result<Self, clap::Error> {
        let (dashed, long) = match rest.strip_prefix('-') {
            Some(long) => (true, long),
            None => (false, rest),
        };
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        };
        if !dashed && name.chars().count() == 1 {
            return Ok(Self::shorts(command, rest));
        }
        if let Some(arg) = find_long(command, name) {
            return Ok(Self::long(arg, name, value));
        }
        if dashed || matches!(name, "help" | "version") {
            return Ok(Self {
                written: Some(format!("--{long}")),
                wants_value: false,
            });
        }
        if let Some(close) = closest_long(command, name) {
            let short: String = name.chars().take(1).collect();
            let attached = &rest[short.len()..];
            let message = format!(
                "unknown option `-{name}`: write --{close}, or -{short} {attached} with a space"
            );
            return Err(command.clone().error(ErrorKind::UnknownArgument, message));
        }
        Ok(Self::shorts(command, rest))
    }

    fn long(arg: &Arg, name: &str, value: Option<&str>) -> Self {
        // Go's flags take `-verbose=true`.
        if is_switch(arg) && value == Some("false") {
            return Self {
                written: None,
                wants_value: false,
            };
        }
        let written = match value.filter(|value| !(is_switch(arg) && *value == "true")) {
            Some(value) => format!("--{name}={value}"),
            None => format!("--{name}"),
        };
        Self {
            written: Some(written),
            wants_value: value.is_none() && takes_one_value(arg),
        }
    }

    /// `-n`, `-n5`, `-n=5`, `-vq`: left as they are.
    fn shorts(command: &Command, rest: &str) -> Self {
        let mut letters = rest.chars();
        let takes_value = letters.find_map(|letter| {
            let arg = command.get_arguments().find(|arg| {
                arg.get_short_and_visible_aliases()
                    .is_some_and(|all| all.contains(&letter))
            });
            arg.filter(|arg| takes_one_value(arg))
        });
        Self {
            written: Some(format!("-{rest}")),
            wants_value: takes_value.is_some() && letters.as_str().is_empty(),
        }
    }
}

fn find_long<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command
        .get_arguments()
        .find(|arg| longs(arg).any(|long| long == name))
}

fn longs(arg: &Arg) -> impl Iterator<Item = &str> {
    let aliases = arg.get_all_aliases().unwrap_or_default();
    arg.get_long().into_iter().chain(aliases)
}

fn closest_long<'a>(command: &'a Command, name: &str) -> Option<&'a str> {
    let distance = |long: &str| strsim::damerau_levenshtein(long, name);
    command
        .get_arguments()
        .flat_map(longs)
        // Short names are within two edits of everything.
        .filter(|long| long.len() > 2 * MAX_EDITS && distance(long) <= MAX_EDITS)
        .min_by_key(|long| distance(long))
}

fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::SetFalse)
}

fn takes_one_value(arg: &Arg) -> bool {
    let one = arg
        .get_num_args()
        .is_none_or(|range| range.min_values() == 1 && range.max_values() == 1);
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append) && one
}

/// `rest` of `-5` or `-.5`: a value.
fn is_number(rest: &str) -> bool {
    rest.starts_with(|c: char| c.is_ascii_digit() || c == '.')
}

fn looks_like_option(value: &OsStr) -> bool {
    let bytes = value.as_encoded_bytes();
    bytes.len() > 1 && bytes[0] == b'-'
}
