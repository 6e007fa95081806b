//! The tests of jinja2: `value is name(args)`.

use super::budget::Budget;
use super::error::{Error, Result};
use super::filters;
use super::ops;
use super::value::{Number, Value};

/// Whether there is a test of this name.
pub(crate) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

const NAMES: [&str; 39] = [
    "!=",
    "<",
    "<=",
    "==",
    ">",
    ">=",
    "boolean",
    "callable",
    "defined",
    "divisibleby",
    "eq",
    "equalto",
    "escaped",
    "even",
    "false",
    "filter",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sameas",
    "sequence",
    "string",
    "test",
    "true",
    "undefined",
    "upper",
];

/// Answers `value is name(args)`; an error if there is no such test.
pub(crate) fn check(
    name: &str,
    value: &Value,
    args: &[Value],
    budget: &mut Budget,
) -> Result<bool> {
    budget.steps(1)?;
    let takes = match name {
        "divisibleby" | "sameas" | "in" | "eq" | "equalto" | "==" | "ne" | "!=" | "lt"
        | "lessthan" | "<" | "le" | "<=" | "gt" | "greaterthan" | ">" | "ge" | ">=" => 1,
        name if exists(name) => 0,
        _ => return Err(Error::syntax(0, format!("no test named '{name}'"))),
    };
    if args.len() != takes {
        return Err(Error::type_error(format!(
            "test '{name}' takes {takes} arguments, {} given",
            args.len()
        )));
    }
    if let [other] = args {
        return compare(name, value, other, budget);
    }
    Ok(match name {
        "defined" => !value.is_undefined(),
        "undefined" => value.is_undefined(),
        "none" => matches!(value, Value::None),
        "boolean" => matches!(value, Value::Bool(_)),
        "true" => matches!(value, Value::Bool(true)),
        "false" => matches!(value, Value::Bool(false)),
        "integer" => matches!(value, Value::Int(_)),
        "float" => matches!(value, Value::Float(_)),
        "number" => value.number().is_some(),
        "string" => matches!(value, Value::Str(_)),
        "mapping" => matches!(value, Value::Dict(_)),
        // Undefined is an empty sequence in jinja2.
        "sequence" | "iterable" => matches!(
            value,
            Value::Undefined(_)
                | Value::Str(_)
                | Value::List(_)
                | Value::Tuple(_)
                | Value::Dict(_)
                | Value::Range(_)
        ),
        "callable" => matches!(
            value,
            Value::Function(_) | Value::Macro(_) | Value::Method(_) | Value::Loop(_)
        ),
        "odd" => remainder(name, value, 2)? == 1,
        "even" => remainder(name, value, 2)? == 0,
        "lower" | "upper" => {
            let Value::Str(text) = value else {
                return Ok(false);
            };
            budget.read(text.len())?;
            let wanted = if name == "lower" {
                char::is_lowercase
            } else {
                char::is_uppercase
            };
            let other = if name == "lower" {
                char::is_uppercase
            } else {
                char::is_lowercase
            };
            text.chars().any(wanted) && !text.chars().any(other)
        }
        "filter" => matches!(value, Value::Str(name) if filters::exists(name)),
        "test" => matches!(value, Value::Str(name) if exists(name)),
        // Nothing is marked as safe: templates for chat do not escape.
        _ => false,
    })
}

fn compare(name: &str, value: &Value, other: &Value, budget: &mut Budget) -> Result<bool> {
    Ok(match name {
        "eq" | "equalto" | "==" => value.equals(other, budget)?,
        "ne" | "!=" => !value.equals(other, budget)?,
        "lt" | "lessthan" | "<" => ops::compare(value, other, budget)?.is_lt(),
        "le" | "<=" => ops::compare(value, other, budget)?.is_le(),
        "gt" | "greaterthan" | ">" => ops::compare(value, other, budget)?.is_gt(),
        "ge" | ">=" => ops::compare(value, other, budget)?.is_ge(),
        "in" => ops::contains(other, value, budget)?,
        "divisibleby" => match other.number() {
            Some(Number::Int(divisor)) if divisor != 0 => remainder(name, value, divisor)? == 0,
            _ => {
                return Err(Error::type_error(
                    "divisibleby needs an integer other than 0",
                ));
            }
        },
        // Identity: equality within one type is as close as values come.
        _ => value.type_name() == other.type_name() && value.equals(other, budget)?,
    })
}

fn remainder(name: &str, value: &Value, divisor: i128) -> Result<i128> {
    match (value, value.number()) {
        (Value::Undefined(missing), _) => Err(missing.error()),
        (_, Some(Number::Int(value))) => Ok(value.checked_rem_euclid(divisor).unwrap_or(0)),
        _ => Err(Error::type_error(format!(
            "test '{name}' needs an integer, not '{}'",
            value.type_name()
        ))),
    }
}
