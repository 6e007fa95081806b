//! Values as text, the way Python's `str` and `repr` write them.

use std::fmt::Write as _;
use std::sync::Arc;

use super::budget::Budget;
use super::error::Result;
use super::value::Value;

/// `str(value)`: what `{{ value }}` writes. Strings are shared, not copied.
pub(crate) fn to_str(value: &Value, budget: &mut Budget) -> Result<Arc<str>> {
    if let Value::Str(text) = value {
        return Ok(Arc::clone(text));
    }
    let mut out = String::new();
    write_str(value, &mut out, budget)?;
    Ok(out.into())
}

/// Appends `str(value)` to `out`.
pub(crate) fn write_str(value: &Value, out: &mut String, budget: &mut Budget) -> Result<()> {
    match value {
        Value::Undefined(_) => Ok(()),
        Value::Str(text) => push(out, text, budget),
        _ => write_repr(value, out, budget),
    }
}

/// Appends `repr(value)` to `out`.
pub(crate) fn write_repr(value: &Value, out: &mut String, budget: &mut Budget) -> Result<()> {
    budget.steps(1)?;
    match value {
        Value::Undefined(_) => push(out, "Undefined", budget),
        Value::None => push(out, "None", budget),
        Value::Bool(true) => push(out, "True", budget),
        Value::Bool(false) => push(out, "False", budget),
        Value::Int(value) => push(out, &value.to_string(), budget),
        Value::Float(value) => push(out, &float(*value), budget),
        Value::Str(text) => write_quoted(text, out, budget),
        Value::List(items) => write_items(items.items(), ["[", "]"], out, budget),
        Value::Tuple(items) => {
            let end = if items.items().len() == 1 { ",)" } else { ")" };
            write_items(items.items(), ["(", end], out, budget)
        }
        Value::Dict(dict) => {
            push(out, "{", budget)?;
            for (index, (key, value)) in dict.entries().iter().enumerate() {
                if index > 0 {
                    push(out, ", ", budget)?;
                }
                write_repr(&key.value(), out, budget)?;
                push(out, ": ", budget)?;
                write_repr(value, out, budget)?;
            }
            push(out, "}", budget)
        }
        Value::Range(range) if range.step == 1 => push(
            out,
            &format!("range({}, {})", range.start, range.stop),
            budget,
        ),
        Value::Range(range) => push(
            out,
            &format!("range({}, {}, {})", range.start, range.stop, range.step),
            budget,
        ),
        Value::Method(method) => push(
            out,
            &format!(
                "<built-in method {} of {} object>",
                method.name,
                method.receiver.type_name()
            ),
            budget,
        ),
        _ => push(out, &format!("<{}>", value.type_name()), budget),
    }
}

fn push(out: &mut String, text: &str, budget: &mut Budget) -> Result<()> {
    budget.bytes(text.len())?;
    out.push_str(text);
    Ok(())
}

fn write_items(
    items: &[Value],
    brackets: [&str; 2],
    out: &mut String,
    budget: &mut Budget,
) -> Result<()> {
    push(out, brackets[0], budget)?;
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            push(out, ", ", budget)?;
        }
        write_repr(item, out, budget)?;
    }
    push(out, brackets[1], budget)
}

/// A string literal as Python writes it: single quotes unless only double
/// quotes avoid an escape.
fn write_quoted(text: &str, out: &mut String, budget: &mut Budget) -> Result<()> {
    let mut paid_to = out.len();
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for c in text.chars() {
        pay_for_new(out, &mut paid_to, PAY_EVERY, budget)?;
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if is_printable(c) => out.push(c),
            c => {
                let code = c as u32;
                let result = match code {
                    0..=0xff => write!(out, "\\x{code:02x}"),
                    0x100..=0xffff => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
                result.expect("writing to a String cannot fail");
            }
        }
    }
    out.push(quote);
    pay_for_new(out, &mut paid_to, 0, budget)
}

/// Escapes make the output longer than the input, so writers pay as they go,
/// this many bytes at a time.
pub(crate) const PAY_EVERY: usize = 4096;

/// Pays for what was appended to `out` since `paid_to`, if it is more than
/// `threshold` bytes.
pub(crate) fn pay_for_new(
    out: &str,
    paid_to: &mut usize,
    threshold: usize,
    budget: &mut Budget,
) -> Result<()> {
    let new = out.len() - *paid_to;
    if new > threshold {
        budget.bytes(new)?;
        *paid_to = out.len();
    }
    Ok(())
}

/// Python's `str.isprintable` for one character, without its table of
/// unassigned code points, which pass as printable here.
pub(crate) fn is_printable(c: char) -> bool {
    !matches!(
        c as u32,
        0..=0x1f | 0x7f..=0xa0 | 0xad
            | 0x600..=0x605 | 0x61c | 0x6dd | 0x70f | 0x890..=0x891 | 0x8e2
            | 0x1680 | 0x180e | 0x2000..=0x200f | 0x2028..=0x202f | 0x205f..=0x206f
            | 0x3000 | 0xe000..=0xf8ff | 0xfeff | 0xfff9..=0xfffb
            | 0x110bd | 0x110cd | 0x13430..=0x1343f | 0x1bca0..=0x1bca3
            | 0x1d173..=0x1d17a | 0xe0001..=0xe007f | 0xf_0000..=0x10_ffff
    )
}

/// `repr` of a float: the shortest digits that read back as the same number,
/// with an exponent below 1e-4 and from 1e16.
pub(crate) fn float(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.into();
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    let text = value.to_string();
    if text.contains('.') {
        text
    } else {
        text + ".0"
    }
}

/// Python's idea of white space: Unicode's, and the four separators U+001C to
/// U+001F.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// Whether Python's `splitlines` ends a line at this character.
pub(crate) fn ends_line(c: char) -> bool {
    matches!(
        c,
        '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

/// `str.splitlines`: the pieces, with their line ends if `keep_ends`.
pub(crate) fn split_lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut start = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if !ends_line(c) {
            continue;
        }
        let mut end = at + c.len_utf8();
        if c == '\r' && chars.next_if(|&(_, next)| next == '\n').is_some() {
            end += 1;
        }
        lines.push(&text[start..if keep_ends { end } else { at }]);
        start = end;
    }
    if start < text.len() {
        lines.push(&text[start..]);
    }
    lines
}
