//! The methods of Python's strings; filters use some of them as well.

use std::sync::Arc;

use super::no_method;
use crate::text::jinja::args::{self, CallArgs, is_true};
use crate::text::jinja::budget::Budget;
use crate::text::jinja::error::{Error, Result};
use crate::text::jinja::format;
use crate::text::jinja::ops;
use crate::text::jinja::text;
use crate::text::jinja::value::Value;

/// Calls a method of a string.
pub(super) fn call(
    string: &Arc<str>,
    name: &str,
    args: CallArgs,
    budget: &mut Budget,
) -> Result<Value> {
    budget.read(string.len())?;
    if name == "format" {
        return Ok(Value::str(format::braces(string, &args, budget)?));
    }
    if let Some(answer) = classify(string, name) {
        args.none(name)?;
        return Ok(Value::Bool(answer));
    }
    match name {
        "upper" | "lower" | "casefold" | "capitalize" | "title" | "swapcase" => {
            args.none(name)?;
            change_case(string, name, budget)
        }
        "strip" | "lstrip" | "rstrip" => {
            let [chars] = args.bind(name, ["chars"])?;
            let chars = args::optional_text(chars.as_ref(), budget)?;
            let stripped = strip(
                string,
                chars.as_deref(),
                name != "rstrip",
                name != "lstrip",
                budget,
            )?;
            Ok(Value::str(stripped))
        }
        "split" | "rsplit" => {
            let [separator, limit] = args.bind(name, ["sep", "maxsplit"])?;
            let separator = match separator {
                None | Some(Value::None) => None,
                given => Some(args::string(name, given.as_ref())?),
            };
            let limit = match limit {
                Some(limit) => usize::try_from(args::integer(name, &limit)?).ok(),
                None => None,
            };
            let from_right = name == "rsplit";
            pieces(
                &split(string, separator.as_deref(), limit, from_right, budget)?,
                budget,
            )
        }
        "splitlines" => {
            let [keep_ends] = args.bind(name, ["keepends"])?;
            pieces(&lines(string, is_true(keep_ends.as_ref()), budget)?, budget)
        }
        "partition" | "rpartition" => {
            let [separator] = args.bind(name, ["sep"])?;
            let separator = args::string(name, separator.as_ref())?;
            if separator.is_empty() {
                return Err(Error::type_error("empty separator"));
            }
            let parts = if name == "partition" {
                match string.split_once(&*separator) {
                    Some((before, after)) => [before, &separator, after],
                    None => [string, "", ""],
                }
            } else {
                match string.rsplit_once(&*separator) {
                    Some((before, after)) => [before, &separator, after],
                    None => ["", "", string],
                }
            };
            budget.bytes(string.len())?;
            Value::tuple(parts.into_iter().map(Value::str).collect())
        }
        "replace" => {
            let [old, new, count] = args.bind(name, ["old", "new", "count"])?;
            let old = args::string(name, old.as_ref())?;
            let new = args::string(name, new.as_ref())?;
            let count = match count {
                Some(count) => usize::try_from(args::integer(name, &count)?).ok(),
                None => None,
            };
            replace(string, &old, &new, count, budget)
        }
        "join" => {
            let [values] = args.bind(name, ["iterable"])?;
            let values = values.ok_or_else(|| Error::type_error("join() misses an argument"))?;
            let parts = ops::iterate(&values, budget)?;
            let parts: Vec<Arc<str>> = parts
                .iter()
                .map(|part| args::string(name, Some(part)))
                .collect::<Result<_>>()?;
            join(&parts, string, budget)
        }
        "startswith" | "endswith" => {
            let [affix] = args.bind(name, ["affix"])?;
            let matches = |affix: &Value| -> Result<bool> {
                let affix = args::string(name, Some(affix))?;
                Ok(match name {
                    "startswith" => string.starts_with(&*affix),
                    _ => string.ends_with(&*affix),
                })
            };
            match affix {
                Some(Value::Tuple(affixes)) => {
                    budget.steps(affixes.items().len())?;
                    for affix in affixes.items() {
                        if matches(affix)? {
                            return Ok(Value::Bool(true));
                        }
                    }
                    Ok(Value::Bool(false))
                }
                Some(affix) => matches(&affix).map(Value::Bool),
                None => Err(Error::type_error(format!("{name}() misses an argument"))),
            }
        }
        "removeprefix" | "removesuffix" => {
            let [affix] = args.bind(name, ["affix"])?;
            let affix = args::string(name, affix.as_ref())?;
            let stripped = match name {
                "removeprefix" => string.strip_prefix(&*affix),
                _ => string.strip_suffix(&*affix),
            };
            budget.bytes(string.len())?;
            Ok(stripped.map_or_else(|| Value::Str(Arc::clone(string)), Value::str))
        }
        "find" | "rfind" | "index" | "rindex" | "count" => search(string, name, args, budget),
        "center" | "ljust" | "rjust" | "zfill" => {
            let [width, fill] = args.bind(name, ["width", "fillchar"])?;
            let width = args::count(name, width.as_ref(), 0)?;
            let fill = args::optional_text(fill.as_ref(), budget)?;
            justify(string, name, width, fill.as_deref(), budget)
        }
        "expandtabs" => {
            let [size] = args.bind(name, ["tabsize"])?;
            let size = args::count(name, size.as_ref(), 8)?;
            expand_tabs(string, size, budget)
        }
        _ => Err(no_method("str", name)),
    }
}

/// The `is..` methods; `None` for other names.
fn classify(string: &str, name: &str) -> Option<bool> {
    let all = |test: fn(char) -> bool| !string.is_empty() && string.chars().all(test);
    let cased = |wanted: fn(char) -> bool, other: fn(char) -> bool| {
        string.chars().any(wanted) && !string.chars().any(other)
    };
    Some(match name {
        "isalnum" => all(char::is_alphanumeric),
        "isalpha" => all(char::is_alphabetic),
        "isascii" => string.is_ascii(),
        // Python also accepts digits of other scripts here.
        "isdecimal" | "isdigit" => all(|c| c.is_ascii_digit() || (!c.is_ascii() && c.is_numeric())),
        "isnumeric" => all(char::is_numeric),
        "islower" => cased(char::is_lowercase, char::is_uppercase),
        "isupper" => cased(char::is_uppercase, char::is_lowercase),
        "isspace" => all(text::is_space),
        "isprintable" => string.chars().all(|c| c == ' ' || text::is_printable(c)),
        "istitle" => is_title(string),
        _ => return None,
    })
}

fn is_title(string: &str) -> bool {
    let mut any = false;
    let mut in_word = false;
    for c in string.chars() {
        let cased = c.is_uppercase() || c.is_lowercase();
        if cased && c.is_uppercase() == in_word {
            return false;
        }
        any |= cased;
        in_word = cased;
    }
    any
}

/// `upper`, `lower`, `casefold`, `capitalize`, `title` and `swapcase`.
pub(crate) fn change_case(string: &str, name: &str, budget: &mut Budget) -> Result<Value> {
    // No case mapping makes a string more than three times as long.
    budget.bytes(string.len().saturating_mul(3))?;
    let mut out = String::with_capacity(string.len());
    match name {
        "upper" => out = string.to_uppercase(),
        "lower" => out = string.to_lowercase(),
        // The two foldings beyond lower case that occur in running text.
        "casefold" => out = string.to_lowercase().replace('ß', "ss").replace('ς', "σ"),
        "capitalize" => {
            let mut chars = string.chars();
            if let Some(first) = chars.next() {
                out.extend(first.to_uppercase());
                out.push_str(&chars.as_str().to_lowercase());
            }
        }
        "swapcase" => {
            for c in string.chars() {
                if c.is_uppercase() {
                    out.extend(c.to_lowercase());
                } else {
                    out.extend(c.to_uppercase());
                }
            }
        }
        _ => {
            let mut in_word = false;
            for c in string.chars() {
                if in_word {
                    out.extend(c.to_lowercase());
                } else {
                    out.extend(c.to_uppercase());
                }
                in_word = c.is_alphabetic();
            }
        }
    }
    Ok(Value::str(out))
}

/// `strip` with the given ends; without `chars` it strips white space.
pub(crate) fn strip<'s>(
    string: &'s str,
    chars: Option<&str>,
    left: bool,
    right: bool,
    budget: &mut Budget,
) -> Result<&'s str> {
    budget.bytes(string.len())?;
    // Each character is looked up among `chars`, one by one.
    budget.read(string.len().saturating_mul(chars.map_or(1, str::len)))?;
    let strips = |c: char| match chars {
        Some(chars) => chars.contains(c),
        None => text::is_space(c),
    };
    let string = if left {
        string.trim_start_matches(strips)
    } else {
        string
    };
    Ok(if right {
        string.trim_end_matches(strips)
    } else {
        string
    })
}

fn split<'s>(
    string: &'s str,
    separator: Option<&str>,
    limit: Option<usize>,
    from_right: bool,
    budget: &mut Budget,
) -> Result<Vec<&'s str>> {
    let limit = limit.unwrap_or(usize::MAX);
    let mut parts: Vec<&str> = Vec::new();
    if let Some(separator) = separator {
        if separator.is_empty() {
            return Err(Error::type_error("empty separator"));
        }
        budget.elements(string.matches(separator).count().min(limit))?;
        if from_right {
            parts.extend(string.rsplitn(limit.saturating_add(1), separator));
            parts.reverse();
        } else {
            parts.extend(string.splitn(limit.saturating_add(1), separator));
        }
        return Ok(parts);
    }
    budget.elements(string.matches(text::is_space).count().min(limit))?;
    let mut rest = string;
    if from_right {
        loop {
            rest = rest.trim_end_matches(text::is_space);
            if rest.is_empty() {
                break;
            }
            if parts.len() == limit {
                parts.push(rest);
                break;
            }
            let start = rest
                .char_indices()
                .rfind(|&(_, c)| text::is_space(c))
                .map_or(0, |(at, c)| at + c.len_utf8());
            parts.push(&rest[start..]);
            rest = &rest[..start];
        }
        parts.reverse();
    } else {
        loop {
            rest = rest.trim_start_matches(text::is_space);
            if rest.is_empty() {
                break;
            }
            if parts.len() == limit {
                parts.push(rest);
                break;
            }
            let end = rest.find(text::is_space).unwrap_or(rest.len());
            parts.push(&rest[..end]);
            rest = &rest[end..];
        }
    }
    Ok(parts)
}

/// `string.splitlines(keep_ends)`.
pub(crate) fn lines<'s>(
    string: &'s str,
    keep_ends: bool,
    budget: &mut Budget,
) -> Result<Vec<&'s str>> {
    budget.elements(string.matches(text::ends_line).count())?;
    Ok(text::split_lines(string, keep_ends))
}

/// A list of strings, whose elements have been paid for.
fn pieces(parts: &[&str], budget: &mut Budget) -> Result<Value> {
    budget.bytes(parts.iter().map(|part| part.len()).sum())?;
    Value::list(parts.iter().map(|part| Value::str(*part)).collect())
}

/// `string.replace(old, new, count)`.
pub(crate) fn replace(
    string: &str,
    old: &str,
    new: &str,
    count: Option<usize>,
    budget: &mut Budget,
) -> Result<Value> {
    budget.read(string.len())?;
    let found = string.matches(old).count().min(count.unwrap_or(usize::MAX));
    budget.bytes(string.len() + found.saturating_mul(new.len()))?;
    Ok(Value::str(match count {
        Some(count) => string.replacen(old, new, count),
        None => string.replace(old, new),
    }))
}

/// `separator.join(parts)`.
pub(crate) fn join(parts: &[Arc<str>], separator: &str, budget: &mut Budget) -> Result<Value> {
    let text: usize = parts.iter().map(|part| part.len()).sum();
    let separators = parts
        .len()
        .saturating_sub(1)
        .saturating_mul(separator.len());
    budget.bytes(text.saturating_add(separators))?;
    Ok(Value::str(parts.join(separator)))
}

fn search(string: &str, name: &str, args: CallArgs, budget: &mut Budget) -> Result<Value> {
    let [part, start, end] = args.bind(name, ["sub", "start", "end"])?;
    let part = args::string(name, part.as_ref())?;
    let whole = Value::str(string);
    let bounded = ops::slice(&whole, [start.as_ref(), end.as_ref(), None], budget)?;
    let Value::Str(bounded) = &bounded else {
        return Err(no_method("str", name));
    };
    if name == "count" {
        return Ok(Value::Int(bounded.matches(&*part).count() as i128));
    }
    let skipped = match &start {
        Some(start) => {
            let before = ops::slice(&whole, [None, Some(start), None], budget)?;
            ops::length(&before, budget)?
        }
        None => 0,
    };
    let found = match name {
        "find" | "index" => bounded.find(&*part),
        _ => bounded.rfind(&*part),
    };
    match found {
        Some(at) => Ok(Value::Int(
            (skipped + bounded[..at].chars().count()) as i128,
        )),
        None if name.ends_with("find") => Ok(Value::Int(-1)),
        None => Err(Error::type_error("substring not found")),
    }
}

/// `center`, `ljust`, `rjust` and `zfill`.
pub(crate) fn justify(
    string: &str,
    name: &str,
    width: usize,
    fill: Option<&str>,
    budget: &mut Budget,
) -> Result<Value> {
    let missing = width.saturating_sub(string.chars().count());
    let fill = match (name, fill) {
        ("zfill", _) => "0",
        (_, Some(fill)) => fill,
        _ => " ",
    };
    if fill.chars().count() != 1 {
        return Err(Error::type_error(
            "the fill character must be one character",
        ));
    }
    budget.bytes(
        string
            .len()
            .saturating_add(missing.saturating_mul(fill.len())),
    )?;
    let left = match name {
        "ljust" => 0,
        // Python gives an odd column to the left only if the width is odd.
        "center" => missing / 2 + (missing & width & 1),
        _ => missing,
    };
    let (sign, digits) = match name {
        "zfill" if string.starts_with(['+', '-']) => string.split_at(1),
        _ => ("", string),
    };
    let (before, after) = (fill.repeat(left), fill.repeat(missing - left));
    Ok(Value::str(format!("{sign}{before}{digits}{after}")))
}

fn expand_tabs(string: &str, size: usize, budget: &mut Budget) -> Result<Value> {
    let tabs = string.matches('\t').count();
    budget.bytes(string.len().saturating_add(tabs.saturating_mul(size)))?;
    let mut out = String::with_capacity(string.len());
    let mut column = 0;
    for c in string.chars() {
        match c {
            '\t' if size == 0 => {}
            '\t' => {
                let spaces = size - column % size;
                out.extend(std::iter::repeat_n(' ', spaces));
                column += spaces;
            }
            '\n' | '\r' => {
                out.push(c);
                column = 0;
            }
            c => {
                out.push(c);
                column += 1;
            }
        }
    }
    Ok(Value::str(out))
}
