//! The methods that Python's strings, dictionaries and lists have.
//!
//! Methods that would change their value exist only as an error: templates run
//! in jinja2's immutable sandbox. The methods of strings are in `string.rs`.

mod string;

pub(crate) use string::{change_case, join, justify, lines, replace, strip};

use std::rc::Rc;
use std::sync::Arc;

use super::args::CallArgs;
use super::budget::Budget;
use super::error::{Error, Result};
use super::ops;
use super::value::{Key, Method, Missing, Value};

const STR_METHODS: [&str; 43] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "upper",
    "zfill",
    "encode",
];
const DICT_METHODS: [&str; 5] = ["copy", "get", "items", "keys", "values"];
const DICT_CHANGES: [&str; 5] = ["clear", "pop", "popitem", "setdefault", "update"];
const LIST_METHODS: [&str; 3] = ["copy", "count", "index"];
const LIST_CHANGES: [&str; 8] = [
    "append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort",
];
const TUPLE_METHODS: [&str; 2] = ["count", "index"];
const LOOP_METHODS: [&str; 2] = ["changed", "cycle"];

/// `value.name`, where `name` is a method of the value's type.
pub(crate) fn find(value: &Value, name: &Arc<str>) -> Option<Value> {
    let (methods, changes): (&[&str], &[&str]) = match value {
        Value::Str(_) => (&STR_METHODS, &[]),
        Value::Dict(_) => (&DICT_METHODS, &DICT_CHANGES),
        Value::List(_) => (&LIST_METHODS, &LIST_CHANGES),
        Value::Tuple(_) => (&TUPLE_METHODS, &[]),
        Value::Loop(_) => (&LOOP_METHODS, &[]),
        _ => return None,
    };
    if methods.contains(&&**name) {
        let method = Method {
            receiver: value.clone(),
            name: Arc::clone(name),
        };
        return Some(Value::Method(Rc::new(method)));
    }
    changes
        .contains(&&**name)
        .then(|| Value::Undefined(Missing::Unsafe(value.type_name(), Arc::clone(name))))
}

/// Calls a method of a string, dictionary, list or tuple.
pub(crate) fn call(method: &Method, args: CallArgs, budget: &mut Budget) -> Result<Value> {
    match &method.receiver {
        Value::Str(text) => string::call(text, &method.name, args, budget),
        Value::Dict(_) => dict_method(&method.receiver, &method.name, args, budget),
        other => list_method(other, &method.name, args, budget),
    }
}

fn no_method(kind: &str, name: &str) -> Error {
    Error::type_error(format!("'{kind}' method '{name}' is not supported"))
}

fn dict_method(value: &Value, name: &str, args: CallArgs, budget: &mut Budget) -> Result<Value> {
    let Value::Dict(dict) = value else {
        return Err(no_method(value.type_name(), name));
    };
    if name == "get" {
        let [key, default] = args.bind(name, ["key", "default"])?;
        let key = key.ok_or_else(|| Error::type_error("get() misses an argument"))?;
        let found = dict.get(&Key::new(&key, budget)?).cloned();
        return Ok(found.or(default).unwrap_or(Value::None));
    }
    args.none(name)?;
    let count = dict.entries().len();
    match name {
        "copy" => Ok(value.clone()),
        "keys" => Value::list(ops::iterate(value, budget)?),
        "values" => {
            budget.elements(count)?;
            Value::list(dict.entries().values().cloned().collect())
        }
        "items" => Value::list(items(value, budget)?),
        _ => Err(no_method("dict", name)),
    }
}

/// The pairs of a dictionary.
pub(crate) fn items(value: &Value, budget: &mut Budget) -> Result<Vec<Value>> {
    let Value::Dict(dict) = value else {
        return Err(Error::type_error(format!(
            "'{}' object has no items",
            value.type_name()
        )));
    };
    budget.elements(dict.entries().len().saturating_mul(4))?;
    dict.entries()
        .iter()
        .map(|(key, value)| Value::tuple(vec![key.value(), value.clone()]))
        .collect()
}

fn list_method(value: &Value, name: &str, args: CallArgs, budget: &mut Budget) -> Result<Value> {
    let (Value::List(items) | Value::Tuple(items)) = value else {
        return Err(no_method(value.type_name(), name));
    };
    if name == "copy" {
        args.none(name)?;
        return Ok(value.clone());
    }
    let [wanted] = args.bind(name, ["value"])?;
    let wanted = wanted.ok_or_else(|| Error::type_error(format!("{name}() misses an argument")))?;
    let mut count = 0;
    for (at, item) in items.items().iter().enumerate() {
        if item.equals(&wanted, budget)? {
            if name == "index" {
                return Ok(Value::Int(at as i128));
            }
            count += 1;
        }
    }
    match name {
        "count" => Ok(Value::Int(count)),
        _ => Err(Error::type_error("value is not in the list")),
    }
}
