//! The tests of jinja2: `value is name(args)`.

use super::ast::BinaryOp;
use super::budget::Budget;
use super::error::{Error, Result};
use super::filters;
use super::ops;
use super::value::Value;

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
        "odd" => has_remainder(value, &Value::Int(2), 1, budget)?,
        "even" => has_remainder(value, &Value::Int(2), 0, budget)?,
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
        "divisibleby" => has_remainder(value, other, 0, budget)?,
        // Identity: equality within one type is as close as values come.
        _ => value.type_name() == other.type_name() && value.equals(other, budget)?,
    })
}

/// `value % divisor == wanted`.
fn has_remainder(
    value: &Value,
    divisor: &Value,
    wanted: i128,
    budget: &mut Budget,
) -> Result<bool> {
    let remainder = ops::binary(BinaryOp::Rem, value, divisor, budget)?;
    remainder.equals(&Value::Int(wanted), budget)
}
