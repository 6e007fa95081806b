//! Settings of a model file, as JSON: long ones shortened.

use super::Entry;
use crate::cmd::inspect::subject::Subject;
use choral_formats::JsonObject;
use choral_formats::gguf::{Array, Value};
use serde::Serialize;
use serde_json::{Value as Json, json};

/// Elements of an array, and characters of a string, that are shown of a long one.
const SHOWN_ELEMENTS: usize = 8;
const SHOWN_CHARS: usize = 120;

pub(super) fn metadata(subject: &Subject, full: bool) -> Vec<Entry> {
    if let Some(gguf) = subject.gguf() {
        let entry = |(key, value): (&str, &Value)| {
            let mut entry = gguf_value(value, full);
            key.clone_into(&mut entry.key);
            entry
        };
        return gguf.metadata().iter().map(entry).collect();
    }
    let entries = subject.config().into_iter().flat_map(JsonObject::iter);
    let entry = |(key, value): (&str, &Json)| {
        let (kind, len, value) = match value {
            Json::Array(list) if !full && list.len() > SHOWN_ELEMENTS => (
                "array",
                Some(list.len()),
                json!(list[..SHOWN_ELEMENTS].to_vec()),
            ),
            Json::Array(_) => ("array", None, value.clone()),
            Json::Object(_) => ("object", None, value.clone()),
            Json::String(text) => {
                let (len, text) = shorten(text, full);
                ("string", len, json!(text))
            }
            Json::Number(_) => ("number", None, value.clone()),
            Json::Bool(_) => ("bool", None, value.clone()),
            Json::Null => ("null", None, value.clone()),
        };
        Entry {
            key: key.to_owned(),
            kind: kind.to_owned(),
            len,
            value,
        }
    };
    entries.map(entry).collect()
}

/// The first characters, and the length of what was cut.
fn shorten(text: &str, full: bool) -> (Option<usize>, String) {
    let len = text.chars().count();
    if full || len <= SHOWN_CHARS {
        return (None, text.to_owned());
    }
    (Some(len), text.chars().take(SHOWN_CHARS).collect())
}

/// A value without its key.
pub(super) fn gguf_value(value: &Value, full: bool) -> Entry {
    let (kind, len, value) = match value {
        Value::U8(x) => ("u8", None, json!(x)),
        Value::I8(x) => ("i8", None, json!(x)),
        Value::U16(x) => ("u16", None, json!(x)),
        Value::I16(x) => ("i16", None, json!(x)),
        Value::U32(x) => ("u32", None, json!(x)),
        Value::I32(x) => ("i32", None, json!(x)),
        Value::U64(x) => ("u64", None, json!(x)),
        Value::I64(x) => ("i64", None, json!(x)),
        Value::F32(x) => ("f32", None, float(f64::from(*x), &x.to_string())),
        Value::F64(x) => ("f64", None, float(*x, &x.to_string())),
        Value::Bool(x) => ("bool", None, json!(x)),
        Value::String(x) => {
            let (len, text) = shorten(&String::from_utf8_lossy(x.as_bytes()), full);
            ("string", len, json!(text))
        }
        Value::Array(array) => {
            let cut = !full && array.len() > SHOWN_ELEMENTS;
            let shown = if full { usize::MAX } else { SHOWN_ELEMENTS };
            let (kind, elements) = array_elements(array, shown, full);
            return Entry {
                key: String::new(),
                kind: format!("array of {kind}"),
                len: cut.then(|| array.len()),
                value: Json::Array(elements),
            };
        }
        _ => ("unknown", None, Json::Null),
    };
    Entry {
        key: String::new(),
        kind: kind.to_owned(),
        len,
        value,
    }
}

/// JSON has no infinities; their names must do. `text` keeps a single's digits.
fn float(x: f64, text: &str) -> Json {
    match text.parse::<serde_json::Number>() {
        Ok(number) if x.is_finite() => Json::Number(number),
        _ => json!(text),
    }
}

fn array_elements(array: &Array, shown: usize, full: bool) -> (&'static str, Vec<Json>) {
    fn first<T: Copy + Serialize>(v: &[T], shown: usize) -> Vec<Json> {
        v.iter().take(shown).map(|x| json!(x)).collect()
    }
    match array {
        Array::U8(v) => ("u8", first(v, shown)),
        Array::I8(v) => ("i8", first(v, shown)),
        Array::U16(v) => ("u16", first(v, shown)),
        Array::I16(v) => ("i16", first(v, shown)),
        Array::U32(v) => ("u32", first(v, shown)),
        Array::I32(v) => ("i32", first(v, shown)),
        Array::U64(v) => ("u64", first(v, shown)),
        Array::I64(v) => ("i64", first(v, shown)),
        Array::Bool(v) => ("bool", first(v, shown)),
        Array::F32(v) => {
            let float = |x: &f32| float(f64::from(*x), &x.to_string());
            ("f32", v.iter().take(shown).map(float).collect())
        }
        Array::F64(v) => {
            let float = |x: &f64| float(*x, &x.to_string());
            ("f64", v.iter().take(shown).map(float).collect())
        }
        Array::String(v) => {
            let text = |s: &[u8]| json!(shorten(&String::from_utf8_lossy(s), full).1);
            ("string", v.iter().take(shown).map(text).collect())
        }
        Array::Array(v) => {
            let inner = |a: &Array| Json::Array(array_elements(a, shown, full).1);
            ("array", v.iter().take(shown).map(inner).collect())
        }
        _ => ("unknown", Vec::new()),
    }
}
