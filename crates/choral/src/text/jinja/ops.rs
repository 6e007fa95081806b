//! Operators: arithmetic, comparison, containment, subscripts and iteration.

use std::cmp::Ordering;
use std::rc::Rc;
use std::sync::Arc;

use super::ast::BinaryOp;
use super::budget::Budget;
use super::error::{Error, Result};
use super::format;
use super::value::{Key, Missing, Number, Range, Value};

fn overflow(op: BinaryOp) -> Error {
    Error::type_error(format!(
        "the result of '{}' does not fit 128 bits",
        op.symbol()
    ))
}

fn unsupported(op: BinaryOp, left: &Value, right: &Value) -> Error {
    Error::type_error(format!(
        "unsupported operand types for {}: '{}' and '{}'",
        op.symbol(),
        left.type_name(),
        right.type_name()
    ))
}

/// `left op right`.
pub(crate) fn binary(
    op: BinaryOp,
    left: &Value,
    right: &Value,
    budget: &mut Budget,
) -> Result<Value> {
    for side in [left, right] {
        if let Value::Undefined(missing) = side {
            return Err(missing.error());
        }
    }
    if let (Some(left), Some(right)) = (left.number(), right.number()) {
        return arithmetic(op, left, right);
    }
    match (op, left, right) {
        (BinaryOp::Add, Value::Str(left), Value::Str(right)) => {
            budget.bytes(left.len() + right.len())?;
            Ok(Value::str([&**left, &**right].concat()))
        }
        (BinaryOp::Add, Value::List(left), Value::List(right)) => {
            Value::list(joined(left.items(), right.items(), budget)?)
        }
        (BinaryOp::Add, Value::Tuple(left), Value::Tuple(right)) => {
            Value::tuple(joined(left.items(), right.items(), budget)?)
        }
        (BinaryOp::Mul, Value::Int(_) | Value::Bool(_), _) => repeat(right, left, budget),
        (BinaryOp::Mul, _, Value::Int(_) | Value::Bool(_)) => repeat(left, right, budget),
        (BinaryOp::Rem, Value::Str(pattern), _) => {
            Ok(Value::str(format::percent(pattern, right, budget)?))
        }
        _ => Err(unsupported(op, left, right)),
    }
}

fn joined(left: &[Value], right: &[Value], budget: &mut Budget) -> Result<Vec<Value>> {
    budget.elements(left.len() + right.len())?;
    Ok([left, right].concat())
}

fn repeat(value: &Value, times: &Value, budget: &mut Budget) -> Result<Value> {
    let times = match times.number() {
        Some(Number::Int(times)) => usize::try_from(times.max(0)).unwrap_or(usize::MAX),
        _ => 0,
    };
    match value {
        Value::Str(text) => {
            budget.bytes(text.len().saturating_mul(times))?;
            Ok(Value::str(text.repeat(times)))
        }
        Value::List(items) | Value::Tuple(items) => {
            let items = items.items();
            budget.elements(items.len().saturating_mul(times))?;
            let repeated = std::iter::repeat_n(items, times)
                .flatten()
                .cloned()
                .collect();
            match value {
                Value::List(_) => Value::list(repeated),
                _ => Value::tuple(repeated),
            }
        }
        _ => Err(unsupported(BinaryOp::Mul, value, &Value::Int(0))),
    }
}

fn arithmetic(op: BinaryOp, left: Number, right: Number) -> Result<Value> {
    let zero_division = || Error::type_error(format!("'{}' by zero", op.symbol()));
    if op == BinaryOp::Div {
        if right.as_f64() == 0.0 {
            return Err(zero_division());
        }
        return Ok(Value::Float(left.as_f64() / right.as_f64()));
    }
    if let (Number::Int(left), Number::Int(right)) = (left, right) {
        let result = match op {
            BinaryOp::Add => left.checked_add(right),
            BinaryOp::Sub => left.checked_sub(right),
            BinaryOp::Mul => left.checked_mul(right),
            BinaryOp::FloorDiv | BinaryOp::Rem if right == 0 => return Err(zero_division()),
            BinaryOp::FloorDiv => left.checked_div_euclid(right).map(|quotient| {
                // Euclidean division rounds away from the floor when the
                // divisor is negative and there is a remainder.
                let exact = left.checked_rem_euclid(right) == Some(0);
                if right < 0 && !exact {
                    quotient - 1
                } else {
                    quotient
                }
            }),
            BinaryOp::Rem => left.checked_rem_euclid(right).map(|remainder| {
                if right < 0 && remainder != 0 {
                    remainder + right
                } else {
                    remainder
                }
            }),
            BinaryOp::Pow if right < 0 => {
                if left == 0 {
                    return Err(zero_division());
                }
                return Ok(Value::Float(libm::pow(left as f64, right as f64)));
            }
            BinaryOp::Pow => u32::try_from(right)
                .ok()
                .and_then(|exponent| left.checked_pow(exponent)),
            BinaryOp::Div => None,
        };
        return result.map(Value::Int).ok_or_else(|| overflow(op));
    }
    let (left, right) = (left.as_f64(), right.as_f64());
    if right == 0.0 && matches!(op, BinaryOp::FloorDiv | BinaryOp::Rem) {
        return Err(zero_division());
    }
    Ok(Value::Float(match op {
        BinaryOp::Add => left + right,
        BinaryOp::Sub => left - right,
        BinaryOp::Mul => left * right,
        BinaryOp::FloorDiv => (left / right).floor(),
        BinaryOp::Rem => {
            let remainder = left % right;
            if remainder != 0.0 && (remainder < 0.0) != (right < 0.0) {
                remainder + right
            } else {
                remainder
            }
        }
        BinaryOp::Pow => libm::pow(left, right),
        BinaryOp::Div => left / right,
    }))
}

/// Python's ordering; an error for values that have none.
pub(crate) fn compare(left: &Value, right: &Value, budget: &mut Budget) -> Result<Ordering> {
    budget.steps(1)?;
    if let (Some(left), Some(right)) = (left.number(), right.number()) {
        return Ok(match (left, right) {
            (Number::Int(left), Number::Int(right)) => left.cmp(&right),
            // NaN compares as equal here; Python says false to every question.
            _ => left
                .as_f64()
                .partial_cmp(&right.as_f64())
                .unwrap_or(Ordering::Equal),
        });
    }
    match (left, right) {
        (Value::Undefined(missing), _) | (_, Value::Undefined(missing)) => Err(missing.error()),
        (Value::Str(left), Value::Str(right)) => {
            budget.read(left.len().min(right.len()))?;
            Ok(left.cmp(right))
        }
        (Value::List(left), Value::List(right)) | (Value::Tuple(left), Value::Tuple(right)) => {
            for (left, right) in left.items().iter().zip(right.items()) {
                if !left.equals(right, budget)? {
                    return compare(left, right, budget);
                }
            }
            Ok(left.items().len().cmp(&right.items().len()))
        }
        _ => Err(Error::type_error(format!(
            "'{}' and '{}' cannot be ordered",
            left.type_name(),
            right.type_name()
        ))),
    }
}

/// `item in container`.
pub(crate) fn contains(container: &Value, item: &Value, budget: &mut Budget) -> Result<bool> {
    match container {
        Value::Undefined(_) => Ok(false),
        Value::Str(text) => {
            let Value::Str(part) = item else {
                return Err(Error::type_error(format!(
                    "'in <string>' needs a string on its left, not '{}'",
                    item.type_name()
                )));
            };
            budget.read(text.len() + part.len())?;
            Ok(text.contains(&**part))
        }
        Value::List(items) | Value::Tuple(items) => {
            for element in items.items() {
                if element.equals(item, budget)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Dict(dict) => Ok(dict.get(&Key::new(item, budget)?).is_some()),
        Value::Range(range) => {
            for index in 0..range.len() {
                if range.get(index).equals(item, budget)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        _ => Err(Error::type_error(format!(
            "argument of type '{}' is not iterable",
            container.type_name()
        ))),
    }
}

/// The elements that a loop over `value` sees: the items of a sequence, the
/// characters of a string, the keys of a dictionary, nothing for undefined.
pub(crate) fn iterate(value: &Value, budget: &mut Budget) -> Result<Vec<Value>> {
    Ok(match value {
        Value::Undefined(_) => Vec::new(),
        Value::List(items) | Value::Tuple(items) => {
            budget.elements(items.items().len())?;
            items.items().to_vec()
        }
        Value::Str(text) => {
            budget.elements(text.len())?;
            let mut buffer = [0; 4];
            text.chars()
                .map(|c| Value::str(&*c.encode_utf8(&mut buffer)))
                .collect()
        }
        Value::Dict(dict) => {
            budget.elements(dict.entries().len())?;
            dict.entries().keys().map(Key::value).collect()
        }
        Value::Range(range) => {
            budget.elements(range.len())?;
            (0..range.len()).map(|index| range.get(index)).collect()
        }
        _ => {
            return Err(Error::type_error(format!(
                "'{}' object is not iterable",
                value.type_name()
            )));
        }
    })
}

/// `len(value)`.
pub(crate) fn length(value: &Value, budget: &mut Budget) -> Result<usize> {
    match value {
        Value::Undefined(_) => Ok(0),
        Value::Str(text) => {
            budget.read(text.len())?;
            Ok(text.chars().count())
        }
        Value::List(items) | Value::Tuple(items) => Ok(items.items().len()),
        Value::Dict(dict) => Ok(dict.entries().len()),
        Value::Range(range) => Ok(range.len()),
        _ => Err(Error::type_error(format!(
            "object of type '{}' has no len()",
            value.type_name()
        ))),
    }
}

/// `value[index]` for sequences and dictionaries; undefined when absent.
pub(crate) fn item(value: &Value, index: &Value, budget: &mut Budget) -> Result<Option<Value>> {
    if let Value::Dict(dict) = value {
        return Ok(dict.get(&Key::new(index, budget)?).cloned());
    }
    let Some(Number::Int(index)) = index.number() else {
        return Ok(None);
    };
    let found = match value {
        Value::Str(text) => {
            let count = length(value, budget)?;
            position(index, count).and_then(|at| {
                let c = text.chars().nth(at)?;
                Some(Value::str(&*c.encode_utf8(&mut [0; 4])))
            })
        }
        Value::List(items) | Value::Tuple(items) => {
            let items = items.items();
            position(index, items.len()).map(|at| items[at].clone())
        }
        Value::Range(range) => position(index, range.len()).map(|at| range.get(at)),
        _ => return Ok(None),
    };
    Ok(Some(found.unwrap_or(Value::Undefined(Missing::Index))))
}

fn position(index: i128, count: usize) -> Option<usize> {
    let index = if index < 0 {
        index.checked_add(count as i128)?
    } else {
        index
    };
    usize::try_from(index).ok().filter(|&at| at < count)
}

/// `value[start:stop:step]`.
pub(crate) fn slice(
    value: &Value,
    bounds: [Option<&Value>; 3],
    budget: &mut Budget,
) -> Result<Value> {
    let mut parts = [None; 3];
    for (part, bound) in parts.iter_mut().zip(bounds) {
        *part = match bound {
            None | Some(Value::None) => None,
            Some(bound) => match bound.number() {
                Some(Number::Int(bound)) => Some(bound),
                _ => return Err(Error::type_error("slice indices must be integers")),
            },
        };
    }
    match value {
        Value::Str(text) => {
            budget.bytes(text.len())?;
            let count = if text.is_ascii() {
                text.len()
            } else {
                text.chars().count()
            };
            let range = slice_range(parts, count)?;
            if range.step == 1 && text.is_ascii() {
                let from = range.start as usize;
                return Ok(Value::str(&text[from..from + range.len()]));
            }
            budget.bytes(count * size_of::<char>())?;
            let chars: Vec<char> = text.chars().collect();
            let picked: String = indices(range).map(|at| chars[at]).collect();
            Ok(Value::str(picked))
        }
        Value::List(items) | Value::Tuple(items) => {
            let items = items.items();
            let range = slice_range(parts, items.len())?;
            budget.elements(range.len())?;
            let picked = indices(range).map(|at| items[at].clone()).collect();
            match value {
                Value::List(_) => Value::list(picked),
                _ => Value::tuple(picked),
            }
        }
        Value::Undefined(missing) => Err(missing.error()),
        _ => Err(Error::type_error(format!(
            "'{}' object cannot be sliced",
            value.type_name()
        ))),
    }
}

/// The indices of a slice, all inside `0..count`, as Python computes them.
fn slice_range(parts: [Option<i128>; 3], count: usize) -> Result<Range> {
    let [start, stop, step] = parts;
    let count = count as i128;
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(Error::type_error("slice step cannot be zero"));
    }
    let (low, high) = if step > 0 {
        (0, count)
    } else {
        (-1, count - 1)
    };
    let clamp = |bound: Option<i128>, default: i128| match bound {
        None => default,
        Some(bound) if bound < 0 => bound.saturating_add(count).max(low),
        Some(bound) => bound.min(high),
    };
    let (first, last) = if step > 0 { (low, high) } else { (high, low) };
    Ok(Range {
        start: clamp(start, first),
        stop: clamp(stop, last),
        step,
    })
}

fn indices(range: Range) -> impl Iterator<Item = usize> {
    (0..range.len()).map(move |at| (range.start + range.step * at as i128) as usize)
}

/// The values of a call's `*args`.
pub(crate) fn spread(value: &Value, budget: &mut Budget) -> Result<Vec<Value>> {
    iterate(value, budget)
}

/// The entries of a call's `**kwargs`.
pub(crate) fn spread_named(value: &Value, budget: &mut Budget) -> Result<Vec<(Arc<str>, Value)>> {
    let Value::Dict(dict) = value else {
        return Err(Error::type_error(
            "the argument after ** must be a dictionary",
        ));
    };
    let dict = Rc::clone(dict);
    budget.elements(dict.entries().len())?;
    dict.entries()
        .iter()
        .map(|(key, value)| match key.as_str() {
            Some(name) => Ok((Arc::clone(name), value.clone())),
            None => Err(Error::type_error("keywords must be strings")),
        })
        .collect()
}
