//! String formatting: the `%` operator and `str.format`.
//!
//! Covers the conversions that text needs (`s r d i f e g x o c`, widths,
//! precisions, alignment, thousands separators); anything else is an error.

use std::sync::Arc;

use super::args::CallArgs;
use super::budget::Budget;
use super::error::{Error, Result};
use super::text;
use super::value::{Number, Value};

/// Widest field and highest precision that a template may ask for.
const MAX_WIDTH: usize = 10_000;

/// How one value is laid out.
#[derive(Debug, Default)]
struct Spec {
    fill: Option<char>,
    align: Option<char>,
    sign: Option<char>,
    alternate: bool,
    width: usize,
    separator: Option<char>,
    precision: Option<usize>,
    conversion: Option<char>,
}

/// `pattern % values`.
pub(crate) fn percent(pattern: &str, values: &Value, budget: &mut Budget) -> Result<String> {
    let mut out = String::new();
    let mut positional = match values {
        Value::Tuple(items) => items.items().iter(),
        other => std::slice::from_ref(other).iter(),
    };
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        push(&mut out, &rest[..at], budget)?;
        rest = &rest[at + 1..];
        let mut by_name = None;
        if let Some(inner) = rest.strip_prefix('(') {
            let end = inner.find(')').ok_or_else(|| incomplete("%"))?;
            let Value::Dict(dict) = values else {
                return Err(Error::type_error("format requires a mapping"));
            };
            let name = &inner[..end];
            let value = dict.get_str(name).ok_or_else(|| missing_key(name))?;
            by_name = Some(value);
            rest = &inner[end + 1..];
        }
        let mut spec = Spec::default();
        while let Some(flag) = rest.chars().next().filter(|c| "-+ 0#".contains(*c)) {
            match flag {
                '-' => spec.align = Some('<'),
                '0' => spec.fill = Some('0'),
                '#' => spec.alternate = true,
                sign => spec.sign = Some(sign),
            }
            rest = &rest[1..];
        }
        spec.width = leading_number(&mut rest)?.unwrap_or(0);
        if let Some(after) = rest.strip_prefix('.') {
            rest = after;
            spec.precision = Some(leading_number(&mut rest)?.unwrap_or(0));
        }
        let conversion = rest.chars().next().ok_or_else(|| incomplete("%"))?;
        rest = &rest[conversion.len_utf8()..];
        if conversion == '%' {
            push(&mut out, "%", budget)?;
            continue;
        }
        let value = match by_name {
            Some(value) => value,
            None => positional
                .next()
                .ok_or_else(|| Error::type_error("not enough arguments for format string"))?,
        };
        // `%` aligns to the right by default, also text.
        let right = spec.align.is_none();
        if right && spec.fill.is_none() {
            spec.align = Some('>');
        } else if !right {
            spec.fill = None;
        }
        let field = match conversion {
            's' | 'r' => {
                let mut plain = String::new();
                if conversion == 's' {
                    text::write_str(value, &mut plain, budget)?;
                } else {
                    text::write_repr(value, &mut plain, budget)?;
                }
                spec.fill = None;
                spec.align = Some(if right { '>' } else { '<' });
                lay_out_text(&plain, &spec, budget)?
            }
            'd' | 'i' | 'u' => match value.number() {
                Some(Number::Float(float)) => {
                    lay_out_number(Number::Int(float.trunc() as i128), 'd', &spec, budget)?
                }
                Some(number) => lay_out_number(number, 'd', &spec, budget)?,
                None => return Err(wrong_type(conversion, value)),
            },
            'f' | 'F' | 'e' | 'E' | 'g' | 'G' | 'x' | 'X' | 'o' => match value.number() {
                Some(number) => lay_out_number(number, conversion, &spec, budget)?,
                None => return Err(wrong_type(conversion, value)),
            },
            _ => {
                return Err(Error::type_error(format!(
                    "unsupported format character '{conversion}'"
                )));
            }
        };
        push(&mut out, &field, budget)?;
    }
    push(&mut out, rest, budget)?;
    // Mappings and lists may be left over in Python, anything else may not.
    let may_be_left = matches!(values, Value::Dict(_) | Value::List(_));
    if !may_be_left && positional.next().is_some() {
        return Err(Error::type_error(
            "not all arguments converted during string formatting",
        ));
    }
    Ok(out)
}

/// `pattern.format(*args, **kwargs)`.
pub(crate) fn braces(pattern: &str, args: &CallArgs, budget: &mut Budget) -> Result<String> {
    let mut out = String::new();
    let mut next_index = 0;
    let mut rest = pattern;
    while let Some(at) = rest.find(['{', '}']) {
        push(&mut out, &rest[..at], budget)?;
        let brace = rest.as_bytes()[at];
        rest = &rest[at + 1..];
        if rest.as_bytes().first() == Some(&brace) {
            push(&mut out, if brace == b'{' { "{" } else { "}" }, budget)?;
            rest = &rest[1..];
            continue;
        }
        if brace == b'}' {
            return Err(Error::type_error("single '}' in format string"));
        }
        let end = rest.find('}').ok_or_else(|| incomplete("{"))?;
        let field = &rest[..end];
        rest = &rest[end + 1..];
        if field.contains('{') {
            return Err(Error::type_error(
                "nested fields in a format string are not supported",
            ));
        }
        let (field, layout) = field.split_once(':').unwrap_or((field, ""));
        let (name, conversion) = match field.split_once('!') {
            Some((name, conversion)) => (name, Some(conversion)),
            None => (field, None),
        };
        let value = if name.is_empty() {
            next_index += 1;
            args.positional.get(next_index - 1)
        } else if let Ok(index) = name.parse::<usize>() {
            args.positional.get(index)
        } else {
            args.named
                .iter()
                .find(|(given, _)| **given == *name)
                .map(|(_, value)| value)
        };
        let value = value.ok_or_else(|| missing_key(name))?;
        let spec = parse_spec(layout)?;
        let number = match conversion {
            None => value.number(),
            Some("s" | "r") => None,
            Some(other) => {
                return Err(Error::type_error(format!("unknown conversion '!{other}'")));
            }
        };
        let field = match number {
            // `{}` alone is `str`, so `True`; any layout makes it a number.
            Some(number) if !matches!(value, Value::Bool(_)) || !layout.is_empty() => {
                lay_out_any_number(number, &spec, budget)?
            }
            _ => {
                if let Some(conversion) = spec.conversion.filter(|&c| c != 's') {
                    return Err(wrong_type(conversion, value));
                }
                let mut plain = String::new();
                if conversion == Some("r") {
                    text::write_repr(value, &mut plain, budget)?;
                } else {
                    text::write_str(value, &mut plain, budget)?;
                }
                lay_out_text(&plain, &spec, budget)?
            }
        };
        push(&mut out, &field, budget)?;
    }
    push(&mut out, rest, budget)?;
    Ok(out)
}

fn push(out: &mut String, text: &str, budget: &mut Budget) -> Result<()> {
    budget.steps(1)?;
    budget.bytes(text.len())?;
    out.push_str(text);
    Ok(())
}

fn incomplete(what: &str) -> Error {
    Error::type_error(format!("incomplete format after '{what}'"))
}

fn missing_key(name: &str) -> Error {
    Error::type_error(format!(
        "format string refers to a missing argument '{name}'"
    ))
}

fn wrong_type(conversion: char, value: &Value) -> Error {
    Error::type_error(format!(
        "format '{conversion}' does not fit a value of type '{}'",
        value.type_name()
    ))
}

fn leading_number(rest: &mut &str) -> Result<Option<usize>> {
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    if digits == 0 {
        return Ok(None);
    }
    let number = rest[..digits]
        .parse()
        .ok()
        .filter(|&number| number <= MAX_WIDTH);
    *rest = &rest[digits..];
    match number {
        Some(number) => Ok(Some(number)),
        None => Err(Error::limit(format!(
            "width or precision of a format exceeds {MAX_WIDTH}"
        ))),
    }
}

/// `[[fill]align][sign][#][0][width][,][.precision][type]`
fn parse_spec(text: &str) -> Result<Spec> {
    let mut spec = Spec::default();
    let mut rest = text;
    let mut chars = rest.chars();
    let (first, second) = (chars.next(), chars.next());
    let is_align = |c: Option<char>| matches!(c, Some('<' | '>' | '^' | '='));
    if is_align(second) {
        spec.fill = first;
        spec.align = second;
        rest = chars.as_str();
    } else if is_align(first) {
        spec.align = first;
        rest = &rest[1..];
    }
    if let Some(sign) = rest.chars().next().filter(|c| "+- ".contains(*c)) {
        spec.sign = Some(sign);
        rest = &rest[1..];
    }
    if let Some(after) = rest.strip_prefix('#') {
        spec.alternate = true;
        rest = after;
    }
    if rest.starts_with('0') && spec.align.is_none() {
        spec.fill = Some('0');
        spec.align = Some('=');
    }
    spec.width = leading_number(&mut rest)?.unwrap_or(0);
    if let Some(separator) = rest.chars().next().filter(|c| matches!(c, ',' | '_')) {
        spec.separator = Some(separator);
        rest = &rest[1..];
    }
    if let Some(after) = rest.strip_prefix('.') {
        rest = after;
        spec.precision = leading_number(&mut rest)?;
    }
    let mut chars = rest.chars();
    spec.conversion = chars.next();
    if chars.next().is_some() {
        return Err(Error::type_error(format!(
            "invalid format specifier '{text}'"
        )));
    }
    Ok(spec)
}

fn lay_out_text(plain: &str, spec: &Spec, budget: &mut Budget) -> Result<String> {
    let cut: String = match spec.precision {
        Some(precision) => plain.chars().take(precision).collect(),
        None => plain.to_owned(),
    };
    pad(&cut, spec, '<', budget)
}

fn lay_out_any_number(number: Number, spec: &Spec, budget: &mut Budget) -> Result<String> {
    match (spec.conversion, number) {
        (Some(conversion), _) => lay_out_number(number, conversion, spec, budget),
        (None, Number::Int(_)) => lay_out_number(number, 'd', spec, budget),
        (None, Number::Float(_)) if spec.precision.is_some() => {
            lay_out_number(number, 'g', spec, budget)
        }
        (None, Number::Float(value)) => {
            let digits = group(&text::float(value.abs()), spec.separator, 3);
            signed(value.is_sign_negative(), &digits, spec, budget)
        }
    }
}

fn lay_out_number(
    number: Number,
    conversion: char,
    spec: &Spec,
    budget: &mut Budget,
) -> Result<String> {
    let (negative, digits) = match (conversion, number) {
        ('d' | 'x' | 'X' | 'o' | 'b' | 'c', Number::Float(_)) => {
            return Err(wrong_type(conversion, &Value::Float(0.0)));
        }
        ('c', Number::Int(value)) => {
            let c = u32::try_from(value).ok().and_then(char::from_u32);
            let c = c.ok_or_else(|| Error::type_error("character code is out of range"))?;
            return pad(c.encode_utf8(&mut [0; 4]), spec, '<', budget);
        }
        ('d', Number::Int(value)) => {
            let digits = group(&value.unsigned_abs().to_string(), spec.separator, 3);
            (value < 0, digits)
        }
        ('x' | 'X' | 'o' | 'b', Number::Int(value)) => {
            let magnitude = value.unsigned_abs();
            let (prefix, digits) = match conversion {
                'x' => ("0x", format!("{magnitude:x}")),
                'X' => ("0X", format!("{magnitude:X}")),
                'o' => ("0o", format!("{magnitude:o}")),
                _ => ("0b", format!("{magnitude:b}")),
            };
            let prefix = if spec.alternate { prefix } else { "" };
            (value < 0, format!("{prefix}{digits}"))
        }
        ('f' | 'F' | 'e' | 'E' | 'g' | 'G' | '%', number) => {
            let value = number.as_f64();
            let negative = value.is_sign_negative() && !value.is_nan();
            let digits = float_digits(value.abs(), conversion, spec.precision.unwrap_or(6));
            (negative, group(&digits, spec.separator, 3))
        }
        _ => {
            return Err(Error::type_error(format!(
                "unknown format code '{conversion}' for a number"
            )));
        }
    };
    signed(negative, &digits, spec, budget)
}

fn float_digits(magnitude: f64, conversion: char, precision: usize) -> String {
    if !magnitude.is_finite() {
        return text::float(magnitude);
    }
    match conversion {
        '%' => format!("{:.precision$}%", magnitude * 100.0),
        'e' | 'E' => python_exponent(&format!("{magnitude:.precision$e}"), conversion),
        'g' | 'G' => {
            let precision = precision.max(1);
            let scientific = format!("{magnitude:.*e}", precision - 1);
            let exponent: i32 = scientific
                .split_once('e')
                .and_then(|(_, exponent)| exponent.parse().ok())
                .unwrap_or(0);
            if exponent < -4 || exponent >= precision as i32 {
                let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
                let e = if conversion == 'g' { 'e' } else { 'E' };
                python_exponent(&format!("{}e{exponent}", trim_zeros(digits)), e)
            } else {
                let decimals = usize::try_from(precision as i32 - 1 - exponent).unwrap_or(0);
                trim_zeros(&format!("{magnitude:.decimals$}")).to_owned()
            }
        }
        _ => format!("{magnitude:.precision$}"),
    }
}

fn trim_zeros(digits: &str) -> &str {
    if digits.contains('.') {
        digits.trim_end_matches('0').trim_end_matches('.')
    } else {
        digits
    }
}

/// Rust writes `1e5`, Python `1e+05`.
fn python_exponent(text: &str, e: char) -> String {
    let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}{e}{sign}{exponent:0>2}")
}

/// Puts `separator` between groups of the digits before the decimal point.
fn group(digits: &str, separator: Option<char>, size: usize) -> String {
    let Some(separator) = separator else {
        return digits.to_owned();
    };
    let whole_length = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    let (whole, rest) = digits.split_at(whole_length);
    let mut out = String::new();
    for (index, c) in whole.chars().enumerate() {
        if index > 0 && (whole_length - index).is_multiple_of(size) {
            out.push(separator);
        }
        out.push(c);
    }
    out + rest
}

fn signed(negative: bool, digits: &str, spec: &Spec, budget: &mut Budget) -> Result<String> {
    let sign = match (negative, spec.sign) {
        (true, _) => "-",
        (false, Some('+')) => "+",
        (false, Some(' ')) => " ",
        _ => "",
    };
    let zero_filled = spec.fill == Some('0') && spec.align.is_none_or(|align| align == '=');
    if zero_filled {
        let missing = spec.width.saturating_sub(sign.len() + digits.len());
        budget.bytes(missing)?;
        return Ok(format!("{sign}{}{digits}", "0".repeat(missing)));
    }
    pad(&format!("{sign}{digits}"), spec, '>', budget)
}

fn pad(plain: &str, spec: &Spec, default_align: char, budget: &mut Budget) -> Result<String> {
    budget.bytes(plain.len())?;
    let missing = spec.width.saturating_sub(plain.chars().count());
    if missing == 0 {
        return Ok(plain.to_owned());
    }
    let left = match spec.align.unwrap_or(default_align) {
        '<' => 0,
        '^' => missing / 2,
        _ => missing,
    };
    let fill = spec.fill.unwrap_or(' ');
    budget.bytes(missing * fill.len_utf8())?;
    let mut out: String = std::iter::repeat_n(fill, left).collect();
    out.push_str(plain);
    out.extend(std::iter::repeat_n(fill, missing - left));
    Ok(out)
}

/// The `format` filter: `%` with the filter's arguments.
pub(crate) fn filter(pattern: &Arc<str>, args: CallArgs, budget: &mut Budget) -> Result<Value> {
    let values = if args.named.is_empty() {
        Value::tuple(args.positional)?
    } else {
        let entries = args
            .named
            .into_iter()
            .map(|(name, value)| (name.into(), value));
        Value::dict(entries.collect())?
    };
    Ok(Value::str(percent(pattern, &values, budget)?))
}
