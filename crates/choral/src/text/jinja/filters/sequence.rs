//! Filters over sequences, and those that call other filters and tests.
//!
//! jinja2 gives lazy generators for some of these; here they are lists, which
//! templates cannot tell apart except by indexing them, an error in Python.

use std::cmp::Ordering;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::text::jinja::args::{self, CallArgs, is_true};
use crate::text::jinja::ast::BinaryOp;
use crate::text::jinja::error::{Error, Result};
use crate::text::jinja::eval::Interpreter;
use crate::text::jinja::methods;
use crate::text::jinja::ops;
use crate::text::jinja::text;
use crate::text::jinja::value::{Key, Missing, Value};

pub(super) const NAMES: [&str; 20] = [
    "attr",
    "batch",
    "dictsort",
    "first",
    "groupby",
    "join",
    "last",
    "list",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "reverse",
    "select",
    "selectattr",
    "slice",
    "sort",
    "sum",
    "unique",
];

pub(super) fn apply(
    interpreter: &mut Interpreter<'_>,
    name: &str,
    value: &Value,
    args: CallArgs,
) -> Result<Value> {
    match name {
        "attr" => {
            let [attribute] = args.bind(name, ["name"])?;
            let attribute = args::string(name, attribute.as_ref())?;
            interpreter.attribute(value, &attribute)
        }
        "list" => {
            args.none(name)?;
            Value::list(ops::iterate(value, &mut interpreter.budget)?)
        }
        "first" | "last" => {
            args.none(name)?;
            let mut items = ops::iterate(value, &mut interpreter.budget)?;
            let found = if name == "last" {
                items.pop()
            } else if items.is_empty() {
                None
            } else {
                Some(items.swap_remove(0))
            };
            Ok(found.unwrap_or(Value::Undefined(Missing::Index)))
        }
        "reverse" => {
            args.none(name)?;
            if let Value::Str(text) = value {
                interpreter.budget.bytes(text.len())?;
                Ok(Value::str(text.chars().rev().collect::<String>()))
            } else {
                let mut items = ops::iterate(value, &mut interpreter.budget)?;
                items.reverse();
                Value::list(items)
            }
        }
        "join" => join(interpreter, value, args),
        "map" => map(interpreter, value, args),
        "select" | "reject" | "selectattr" | "rejectattr" => select(interpreter, name, value, args),
        "sort" => {
            let [reverse, case_sensitive, attribute] =
                args.bind(name, ["reverse", "case_sensitive", "attribute"])?;
            let key = SortKey::new(interpreter, attribute.as_ref(), case_sensitive.as_ref())?;
            let items = ops::iterate(value, &mut interpreter.budget)?;
            sorted(interpreter, items, &key, is_true(reverse.as_ref()))
        }
        "dictsort" => dict_sort(interpreter, value, args),
        "min" | "max" => {
            let [case_sensitive, attribute] = args.bind(name, ["case_sensitive", "attribute"])?;
            let key = SortKey::new(interpreter, attribute.as_ref(), case_sensitive.as_ref())?;
            extreme(interpreter, value, &key, name == "max")
        }
        "sum" => sum(interpreter, value, args),
        "unique" => unique(interpreter, value, args),
        "groupby" => group_by(interpreter, value, args),
        "batch" => batch(interpreter, value, args),
        "slice" => slices(interpreter, value, args),
        _ => Err(super::unknown(name)),
    }
}

/// A path such as `function.name` or `0`, looked up step by step.
fn follow(interpreter: &mut Interpreter<'_>, value: &Value, path: &Value) -> Result<Value> {
    let path = match path {
        Value::Str(path) => path,
        index => return interpreter.subscript(value, index),
    };
    let mut value = value.clone();
    for part in path.split('.') {
        value = match part.parse::<i128>() {
            Ok(index) => interpreter.subscript(&value, &Value::Int(index))?,
            Err(_) => interpreter.subscript(&value, &Value::str(part))?,
        };
    }
    Ok(value)
}

fn join(interpreter: &mut Interpreter<'_>, value: &Value, args: CallArgs) -> Result<Value> {
    let [separator, attribute] = args.bind("join", ["d", "attribute"])?;
    let separator = match separator {
        Some(separator) => text::to_str(&separator, &mut interpreter.budget)?,
        None => "".into(),
    };
    let mut parts: Vec<Arc<str>> = Vec::new();
    for item in ops::iterate(value, &mut interpreter.budget)? {
        let item = match &attribute {
            Some(path) => follow(interpreter, &item, path)?,
            None => item,
        };
        parts.push(text::to_str(&item, &mut interpreter.budget)?);
    }
    methods::join(&parts, &separator, &mut interpreter.budget)
}

fn map(interpreter: &mut Interpreter<'_>, value: &Value, mut args: CallArgs) -> Result<Value> {
    let items = ops::iterate(value, &mut interpreter.budget)?;
    let mut mapped = Vec::with_capacity(items.len());
    if args.positional.is_empty() {
        let [attribute, default] = args.bind("map", ["attribute", "default"])?;
        let attribute =
            attribute.ok_or_else(|| Error::type_error("map() needs a filter or an attribute"))?;
        for item in &items {
            let found = follow(interpreter, item, &attribute)?;
            mapped.push(match &default {
                Some(default) if found.is_undefined() => default.clone(),
                _ => found,
            });
        }
    } else {
        let name = args::string("map", Some(&args.positional.remove(0)))?;
        for item in items {
            let args = CallArgs {
                positional: args.positional.clone(),
                named: args.named.clone(),
            };
            interpreter
                .budget
                .elements(args.positional.len() + args.named.len())?;
            mapped.push(interpreter.nested_filter(&name, item, args)?);
        }
    }
    Value::list(mapped)
}

fn select(
    interpreter: &mut Interpreter<'_>,
    filter: &str,
    value: &Value,
    mut args: CallArgs,
) -> Result<Value> {
    let keeps = filter.starts_with("select");
    let attribute = if filter.ends_with("attr") {
        if args.positional.is_empty() {
            return Err(Error::type_error(format!("{filter}() needs an attribute")));
        }
        Some(args.positional.remove(0))
    } else {
        None
    };
    let test = if args.positional.is_empty() {
        None
    } else {
        Some(args::string(filter, Some(&args.positional.remove(0)))?)
    };
    let mut kept = Vec::new();
    for item in ops::iterate(value, &mut interpreter.budget)? {
        interpreter.budget.steps(1)?;
        let tested = match &attribute {
            Some(path) => follow(interpreter, &item, path)?,
            None => item.clone(),
        };
        let passes = match &test {
            Some(test) => interpreter.test(test, &tested, &args.positional)?,
            None => tested.is_true(),
        };
        if passes == keeps {
            kept.push(item);
        }
    }
    Value::list(kept)
}

/// What `sort`, `min`, `max` and the like compare.
struct SortKey {
    /// Several paths separate by commas.
    paths: Vec<Value>,
    case_sensitive: bool,
    /// Stands in for an attribute that an item does not have.
    default: Option<Value>,
}

impl SortKey {
    fn new(
        interpreter: &mut Interpreter<'_>,
        attribute: Option<&Value>,
        case_sensitive: Option<&Value>,
    ) -> Result<Self> {
        let paths = match attribute {
            None | Some(Value::None) => Vec::new(),
            Some(Value::Str(paths)) => {
                interpreter.budget.elements(paths.len())?;
                paths.split(',').map(Value::str).collect()
            }
            Some(index) => vec![index.clone()],
        };
        Ok(Self {
            paths,
            case_sensitive: is_true(case_sensitive),
            default: None,
        })
    }

    fn of(&self, interpreter: &mut Interpreter<'_>, item: &Value) -> Result<Value> {
        let mut keys = Vec::with_capacity(self.paths.len().max(1));
        if self.paths.is_empty() {
            keys.push(item.clone());
        }
        for path in &self.paths {
            let found = follow(interpreter, item, path)?;
            keys.push(match &self.default {
                Some(default) if found.is_undefined() => default.clone(),
                _ => found,
            });
        }
        if !self.case_sensitive {
            for key in &mut keys {
                if let Value::Str(text) = key {
                    *key = methods::change_case(text, "lower", &mut interpreter.budget)?;
                }
            }
        }
        interpreter.budget.elements(keys.len())?;
        match keys.pop() {
            Some(only) if keys.is_empty() => Ok(only),
            last => {
                keys.extend(last);
                Value::tuple(keys)
            }
        }
    }
}

/// Sorts by merging, which asks for few comparisons and lets any of them fail.
fn sorted(
    interpreter: &mut Interpreter<'_>,
    items: Vec<Value>,
    key: &SortKey,
    reverse: bool,
) -> Result<Value> {
    let mut keyed = Vec::with_capacity(items.len());
    for item in items {
        keyed.push((key.of(interpreter, &item)?, item));
    }
    let budget = &mut interpreter.budget;
    let mut failure = None;
    keyed.sort_by(|(left, _), (right, _)| {
        if failure.is_some() {
            return Ordering::Equal;
        }
        match ops::compare(left, right, budget) {
            Ok(ordering) if reverse => ordering.reverse(),
            Ok(ordering) => ordering,
            Err(error) => {
                failure = Some(error);
                Ordering::Equal
            }
        }
    });
    match failure {
        Some(error) => Err(error),
        None => Value::list(keyed.into_iter().map(|(_, item)| item).collect()),
    }
}

fn dict_sort(interpreter: &mut Interpreter<'_>, value: &Value, args: CallArgs) -> Result<Value> {
    let [case_sensitive, by, reverse] =
        args.bind("dictsort", ["case_sensitive", "by", "reverse"])?;
    let by_value = matches!(&by, Some(Value::Str(by)) if &**by == "value");
    let key = SortKey {
        paths: vec![Value::Int(i128::from(by_value))],
        case_sensitive: is_true(case_sensitive.as_ref()),
        default: None,
    };
    let items = methods::items(value, &mut interpreter.budget)?;
    sorted(interpreter, items, &key, is_true(reverse.as_ref()))
}

fn extreme(
    interpreter: &mut Interpreter<'_>,
    value: &Value,
    key: &SortKey,
    largest: bool,
) -> Result<Value> {
    let wanted = if largest {
        Ordering::Greater
    } else {
        Ordering::Less
    };
    let mut best: Option<(Value, Value)> = None;
    for item in ops::iterate(value, &mut interpreter.budget)? {
        let candidate = key.of(interpreter, &item)?;
        let better = match &best {
            Some((best, _)) => ops::compare(&candidate, best, &mut interpreter.budget)? == wanted,
            None => true,
        };
        if better {
            best = Some((candidate, item));
        }
    }
    Ok(best.map_or(Value::Undefined(Missing::Index), |(_, item)| item))
}

fn sum(interpreter: &mut Interpreter<'_>, value: &Value, args: CallArgs) -> Result<Value> {
    let [attribute, start] = args.bind("sum", ["attribute", "start"])?;
    let mut total = start.unwrap_or(Value::Int(0));
    for item in ops::iterate(value, &mut interpreter.budget)? {
        let item = match &attribute {
            None | Some(Value::None) => item,
            Some(path) => follow(interpreter, &item, path)?,
        };
        total = ops::binary(BinaryOp::Add, &total, &item, &mut interpreter.budget)?;
    }
    Ok(total)
}

fn unique(interpreter: &mut Interpreter<'_>, value: &Value, args: CallArgs) -> Result<Value> {
    let [case_sensitive, attribute] = args.bind("unique", ["case_sensitive", "attribute"])?;
    let key = SortKey::new(interpreter, attribute.as_ref(), case_sensitive.as_ref())?;
    let mut seen: Vec<Value> = Vec::new();
    let mut kept = Vec::new();
    'items: for item in ops::iterate(value, &mut interpreter.budget)? {
        let candidate = key.of(interpreter, &item)?;
        for earlier in &seen {
            if candidate.equals(earlier, &mut interpreter.budget)? {
                continue 'items;
            }
        }
        seen.push(candidate);
        kept.push(item);
    }
    Value::list(kept)
}

/// Pairs of a key and the items that have it. jinja2's pairs also have names
/// (`grouper`, `list`); templates unpack them.
fn group_by(interpreter: &mut Interpreter<'_>, value: &Value, args: CallArgs) -> Result<Value> {
    let [attribute, default, case_sensitive] =
        args.bind("groupby", ["attribute", "default", "case_sensitive"])?;
    let mut key = SortKey::new(interpreter, attribute.as_ref(), case_sensitive.as_ref())?;
    key.default = default;
    let items = ops::iterate(value, &mut interpreter.budget)?;
    let items = sorted(interpreter, items, &key, false)?;
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for item in ops::iterate(&items, &mut interpreter.budget)? {
        let found = key.of(interpreter, &item)?;
        match groups.last_mut() {
            Some((known, members)) if known.equals(&found, &mut interpreter.budget)? => {
                members.push(item);
            }
            _ => groups.push((found, vec![item])),
        }
    }
    interpreter
        .budget
        .elements(groups.len().saturating_mul(4))?;
    // Folding case was for comparing; what is shown is the first item's own.
    key.case_sensitive = true;
    let mut pairs = Vec::with_capacity(groups.len());
    for (_, members) in groups {
        let shown = key.of(interpreter, &members[0])?;
        pairs.push(Value::tuple(vec![shown, Value::list(members)?])?);
    }
    Value::list(pairs)
}

fn batch(interpreter: &mut Interpreter<'_>, value: &Value, args: CallArgs) -> Result<Value> {
    let [size, fill] = args.bind("batch", ["linecount", "fill_with"])?;
    let size = args::count("batch", size.as_ref(), 0)?;
    if size == 0 {
        return Err(Error::type_error("batch() needs a positive size"));
    }
    let items = ops::iterate(value, &mut interpreter.budget)?;
    let mut batches = Vec::new();
    for chunk in items.chunks(size) {
        interpreter.budget.elements(chunk.len() + 1)?;
        let mut chunk = chunk.to_vec();
        if let Some(fill) = fill.as_ref().filter(|fill| !matches!(fill, Value::None)) {
            interpreter.budget.elements(size - chunk.len())?;
            chunk.resize(size, fill.clone());
        }
        batches.push(Value::list(chunk)?);
    }
    Value::list(batches)
}

fn slices(interpreter: &mut Interpreter<'_>, value: &Value, args: CallArgs) -> Result<Value> {
    let [count, fill] = args.bind("slice", ["slices", "fill_with"])?;
    let count = args::count("slice", count.as_ref(), 0)?;
    if count == 0 {
        return Err(Error::type_error("slice() needs a positive number"));
    }
    let items = ops::iterate(value, &mut interpreter.budget)?;
    interpreter
        .budget
        .elements(count.saturating_add(items.len()))?;
    let (size, longer) = (items.len() / count, items.len() % count);
    let mut rest = &items[..];
    let mut slices = Vec::with_capacity(count);
    for index in 0..count {
        let (slice, after) = rest.split_at(size + usize::from(index < longer));
        rest = after;
        let mut slice = slice.to_vec();
        let is_short = longer > 0 && index >= longer;
        if let Some(fill) = fill
            .as_ref()
            .filter(|fill| is_short && !matches!(fill, Value::None))
        {
            interpreter.budget.elements(1)?;
            slice.push(fill.clone());
        }
        slices.push(Value::list(slice)?);
    }
    Value::list(slices)
}

/// A dictionary from pairs, for the `dict` function.
pub(crate) fn dict_of(args: CallArgs, interpreter: &mut Interpreter<'_>) -> Result<Value> {
    let mut entries = IndexMap::new();
    for argument in &args.positional {
        match argument {
            Value::Dict(dict) => {
                interpreter.budget.elements(dict.entries().len())?;
                for (key, value) in dict.entries() {
                    entries.insert(key.clone(), value.clone());
                }
            }
            other => {
                for pair in ops::iterate(other, &mut interpreter.budget)? {
                    let (Value::Tuple(pair) | Value::List(pair)) = &pair else {
                        return Err(Error::type_error("dict() needs pairs"));
                    };
                    let [key, value] = pair.items() else {
                        return Err(Error::type_error("dict() needs pairs"));
                    };
                    let key = Key::new(key, &mut interpreter.budget)?;
                    entries.insert(key, value.clone());
                }
            }
        }
    }
    interpreter.budget.elements(args.named.len())?;
    for (name, value) in args.named {
        entries.insert(name.into(), value);
    }
    Value::dict(entries)
}
