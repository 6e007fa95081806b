//! The filters of jinja2 (`value|name(args)`), with transformers' `tojson`.
//!
//! Filters that make or walk sequences are in `sequence.rs`. Left out, and
//! refused by name: those that produce HTML or random output (`urlize`,
//! `xmlattr`, `striptags`, `random`, `filesizeformat`, `pprint`, `wordwrap`).

mod sequence;

pub(crate) use sequence::dict_of;

use std::fmt::Write as _;
use std::sync::Arc;

use super::args::{self, CallArgs, is_true};
use super::budget::Budget;
use super::error::{Error, Result};
use super::eval::Interpreter;
use super::format;
use super::json;
use super::methods;
use super::ops;
use super::text;
use super::value::{Number, Value};

const NAMES: [&str; 27] = [
    "abs",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "e",
    "escape",
    "float",
    "forceescape",
    "format",
    "indent",
    "int",
    "items",
    "length",
    "lower",
    "replace",
    "round",
    "safe",
    "string",
    "title",
    "tojson",
    "trim",
    "truncate",
    "upper",
    "urlencode",
    "wordcount",
];

/// Whether there is a filter of this name.
pub(crate) fn exists(name: &str) -> bool {
    sequence::NAMES.contains(&name) || NAMES.contains(&name)
}

/// Applies the filter `name`; an error if there is none.
pub(crate) fn apply(
    interpreter: &mut Interpreter<'_>,
    name: &str,
    value: Value,
    args: CallArgs,
) -> Result<Value> {
    if sequence::NAMES.contains(&name) {
        sequence::apply(interpreter, name, &value, args)
    } else {
        apply_scalar(name, value, args, &mut interpreter.budget)
    }
}

fn unknown(name: &str) -> Error {
    Error::syntax(0, format!("no filter named '{name}'"))
}

fn apply_scalar(name: &str, value: Value, args: CallArgs, budget: &mut Budget) -> Result<Value> {
    match name {
        "default" | "d" => {
            let [default, also_false] = args.bind(name, ["default_value", "boolean"])?;
            let replace =
                value.is_undefined() || (is_true(also_false.as_ref()) && !value.is_true());
            Ok(if replace {
                default.unwrap_or_else(|| Value::str(""))
            } else {
                value
            })
        }
        "length" | "count" => {
            args.none(name)?;
            Ok(Value::Int(ops::length(&value, budget)? as i128))
        }
        "items" => {
            args.none(name)?;
            if value.is_undefined() {
                return Value::list(Vec::new());
            }
            Value::list(methods::items(&value, budget)?)
        }
        "tojson" => to_json(&value, args, budget),
        "int" => to_int(&value, args, budget),
        "float" => {
            let [default] = args.bind(name, ["default"])?;
            let number = match &value {
                Value::Undefined(missing) => return Err(missing.error()),
                Value::Str(text) => text.trim().replace('_', "").parse().ok().map(Value::Float),
                other => other.number().map(|number| Value::Float(number.as_f64())),
            };
            Ok(number.or(default).unwrap_or(Value::Float(0.0)))
        }
        "abs" => {
            args.none(name)?;
            match number(name, &value)? {
                Number::Int(value) => value
                    .checked_abs()
                    .map(Value::Int)
                    .ok_or_else(|| Error::type_error("the result of abs does not fit 128 bits")),
                Number::Float(value) => Ok(Value::Float(value.abs())),
            }
        }
        "round" => round(&value, args),
        "string" => {
            args.none(name)?;
            Ok(Value::Str(text::to_str(&value, budget)?))
        }
        "format" => format::filter(&text::to_str(&value, budget)?, args, budget),
        _ => apply_text(name, &value, args, budget),
    }
}

fn apply_text(name: &str, value: &Value, args: CallArgs, budget: &mut Budget) -> Result<Value> {
    let string = text::to_str(value, budget)?;
    match name {
        "safe" => {
            args.none(name)?;
            Ok(Value::Str(string))
        }
        "upper" | "lower" | "capitalize" => {
            args.none(name)?;
            methods::change_case(&string, name, budget)
        }
        "title" => {
            args.none(name)?;
            title(&string, budget)
        }
        "trim" => {
            let [chars] = args.bind(name, ["chars"])?;
            let chars = args::optional_text(chars.as_ref(), budget)?;
            Ok(Value::str(methods::strip(
                &string,
                chars.as_deref(),
                true,
                true,
                budget,
            )?))
        }
        "replace" => {
            let [old, new, count] = args.bind(name, ["old", "new", "count"])?;
            let old = text::to_str(&old.unwrap_or_else(|| Value::str("")), budget)?;
            let new = text::to_str(&new.unwrap_or_else(|| Value::str("")), budget)?;
            let count = match count {
                None | Some(Value::None) => None,
                Some(count) => usize::try_from(args::integer(name, &count)?).ok(),
            };
            methods::replace(&string, &old, &new, count, budget)
        }
        "e" | "escape" | "forceescape" => {
            args.none(name)?;
            escape(&string, budget)
        }
        "indent" => indent(&string, args, budget),
        "center" => {
            let [width] = args.bind(name, ["width"])?;
            let width = args::count(name, width.as_ref(), 80)?;
            methods::justify(&string, name, width, None, budget)
        }
        "truncate" => truncate(&string, args, budget),
        "wordcount" => {
            args.none(name)?;
            budget.read(string.len())?;
            let words = string.split(|c: char| c != '_' && !c.is_alphanumeric());
            Ok(Value::Int(
                words.filter(|word| !word.is_empty()).count() as i128
            ))
        }
        "urlencode" => {
            args.none(name)?;
            budget.bytes(string.len().saturating_mul(3))?;
            let mut out = String::new();
            for byte in string.bytes() {
                if byte.is_ascii_alphanumeric() || b"_.-~/".contains(&byte) {
                    out.push(char::from(byte));
                } else {
                    write!(out, "%{byte:02X}").expect("writing to a String cannot fail");
                }
            }
            Ok(Value::str(out))
        }
        _ => Err(unknown(name)),
    }
}

fn number(filter: &str, value: &Value) -> Result<Number> {
    match value {
        Value::Undefined(missing) => Err(missing.error()),
        _ => value.number().ok_or_else(|| {
            Error::type_error(format!(
                "filter '{filter}' needs a number, not '{}'",
                value.type_name()
            ))
        }),
    }
}

fn to_json(value: &Value, args: CallArgs, budget: &mut Budget) -> Result<Value> {
    let [ascii, indent, separators, sort_keys] = args.bind(
        "tojson",
        ["ensure_ascii", "indent", "separators", "sort_keys"],
    )?;
    let indent = match indent {
        None | Some(Value::None) => None,
        Some(Value::Str(text)) => Some(text.to_string()),
        Some(width) => {
            let width = args::count("tojson", Some(&width), 0)?;
            budget.bytes(width)?;
            Some(" ".repeat(width))
        }
    };
    let mut separator = [
        if indent.is_some() { "," } else { ", " }.to_owned(),
        ": ".to_owned(),
    ];
    if let Some(Value::Tuple(given) | Value::List(given)) = &separators {
        let [item, key] = given.items() else {
            return Err(Error::type_error("tojson() needs two separators"));
        };
        separator = [
            args::string("tojson", Some(item))?.to_string(),
            args::string("tojson", Some(key))?.to_string(),
        ];
    }
    let [item_separator, key_separator] = separator;
    let options = json::Options {
        ascii: is_true(ascii.as_ref()),
        indent,
        item_separator,
        key_separator,
        sort_keys: is_true(sort_keys.as_ref()),
    };
    let mut out = String::new();
    json::write(value, &options, &mut out, budget)?;
    Ok(Value::str(out))
}

fn to_int(value: &Value, args: CallArgs, budget: &mut Budget) -> Result<Value> {
    let [default, base] = args.bind("int", ["default", "base"])?;
    let base = args::count("int", base.as_ref(), 10)?;
    let number = match value {
        Value::Str(text) => {
            budget.read(text.len())?;
            let text = text.trim().replace('_', "");
            parse_int(&text, base).or_else(|| text.parse::<f64>().ok().and_then(float_to_int))
        }
        Value::Undefined(missing) => return Err(missing.error()),
        other => match other.number() {
            Some(Number::Int(value)) => Some(value),
            Some(Number::Float(value)) => float_to_int(value),
            None => None,
        },
    };
    Ok(number.map(Value::Int).or(default).unwrap_or(Value::Int(0)))
}

fn parse_int(text: &str, base: usize) -> Option<i128> {
    let base = u32::try_from(base)
        .ok()
        .filter(|base| (2..=36).contains(base))?;
    let prefix = match base {
        16 => "0x",
        8 => "0o",
        2 => "0b",
        _ => return i128::from_str_radix(text, base).ok(),
    };
    let text = text.to_ascii_lowercase();
    i128::from_str_radix(text.strip_prefix(prefix).unwrap_or(&text), base).ok()
}

fn float_to_int(value: f64) -> Option<i128> {
    (value.is_finite() && value.abs() < 1e38).then_some(value.trunc() as i128)
}

fn round(value: &Value, args: CallArgs) -> Result<Value> {
    let [precision, method] = args.bind("round", ["precision", "method"])?;
    let precision = match precision {
        Some(precision) => args::integer("round", &precision)?,
        None => 0,
    };
    let method = match &method {
        Some(method) => args::string("round", Some(method))?,
        None => "common".into(),
    };
    let given = number("round", value)?;
    let value = given.as_f64();
    let rounded = match &*method {
        // Formatting rounds the exact decimal value half to even, as Python
        // does.
        "common" => match (usize::try_from(precision), given) {
            (_, Number::Int(value)) if precision >= 0 => return Ok(Value::Int(value)),
            (Ok(digits), _) if digits < 400 => format!("{value:.digits$}").parse().unwrap_or(value),
            (Ok(_), _) => value,
            (Err(_), given) => {
                let scale = 10_f64.powi(i32::try_from(-precision).unwrap_or(i32::MAX));
                let rounded = (value / scale).round_ties_even() * scale;
                if let (Number::Int(_), Some(rounded)) = (given, float_to_int(rounded)) {
                    return Ok(Value::Int(rounded));
                }
                rounded
            }
        },
        "ceil" | "floor" => {
            let scale = 10_f64.powi(i32::try_from(precision).unwrap_or(i32::MAX));
            let scaled = value * scale;
            let whole = if &*method == "ceil" {
                scaled.ceil()
            } else {
                scaled.floor()
            };
            whole / scale
        }
        other => {
            return Err(Error::type_error(format!(
                "unknown rounding method '{other}'"
            )));
        }
    };
    Ok(Value::Float(rounded))
}

fn title(string: &str, budget: &mut Budget) -> Result<Value> {
    budget.bytes(string.len().saturating_mul(3))?;
    let mut out = String::with_capacity(string.len());
    let mut starts_word = true;
    for c in string.chars() {
        if starts_word {
            out.extend(c.to_uppercase());
        } else {
            out.extend(c.to_lowercase());
        }
        starts_word = text::is_space(c) || "-({[<".contains(c);
    }
    Ok(Value::str(out))
}

fn escape(string: &str, budget: &mut Budget) -> Result<Value> {
    let escapes = string.matches(['&', '<', '>', '\'', '"']).count();
    budget.bytes(string.len() + escapes * 5)?;
    let mut out = String::with_capacity(string.len());
    for c in string.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            c => out.push(c),
        }
    }
    Ok(Value::str(out))
}

fn indent(string: &str, args: CallArgs, budget: &mut Budget) -> Result<Value> {
    let [width, first, blank] = args.bind("indent", ["width", "first", "blank"])?;
    let indentation: Arc<str> = match &width {
        Some(Value::Str(text)) => Arc::clone(text),
        width => {
            let width = args::count("indent", width.as_ref(), 4)?;
            budget.bytes(width)?;
            " ".repeat(width).into()
        }
    };
    let (first, blank) = (is_true(first.as_ref()), is_true(blank.as_ref()));
    // A final newline does not start another line for `splitlines`, except
    // that jinja2 appends one first.
    let padded = format!("{string}\n");
    budget.bytes(padded.len())?;
    let lines = methods::lines(&padded, false, budget)?;
    budget.bytes(padded.len() + lines.len().saturating_mul(indentation.len()))?;
    let mut out = String::new();
    for (index, line) in lines.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let indents = if index == 0 {
            first
        } else {
            blank || !line.is_empty()
        };
        if indents {
            out.push_str(&indentation);
        }
        out.push_str(line);
    }
    Ok(Value::str(out))
}

fn truncate(string: &Arc<str>, args: CallArgs, budget: &mut Budget) -> Result<Value> {
    let [length, kill_words, end, leeway] =
        args.bind("truncate", ["length", "killwords", "end", "leeway"])?;
    let length = args::count("truncate", length.as_ref(), 255)?;
    let leeway = args::count("truncate", leeway.as_ref(), 5)?;
    let end = args::optional_text(end.as_ref(), budget)?.unwrap_or_else(|| "...".into());
    let end_length = end.chars().count();
    if length < end_length {
        return Err(Error::type_error(format!(
            "truncate() cannot make {length} characters end with {end_length}"
        )));
    }
    budget.bytes(string.len() + end.len())?;
    if string.chars().count() <= length.saturating_add(leeway) {
        return Ok(Value::Str(Arc::clone(string)));
    }
    let cut: String = string.chars().take(length - end_length).collect();
    let kept = if is_true(kill_words.as_ref()) {
        &cut
    } else {
        cut.rsplit_once(' ').map_or(&*cut, |(before, _)| before)
    };
    Ok(Value::str(format!("{kept}{end}")))
}
