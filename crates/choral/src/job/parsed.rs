//! JSON as values, within a bound on the memory that they take: small objects take fifty
//! times their text.
//!
//! Knows nothing of what the values mean.

use super::entry::Fault;
use super::row::RowCode;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::{Cell, RefCell};
use std::fmt;

/// What the values of a row may take beside their text. Fifty thousand messages fit, and
/// no chat has so many.
pub(crate) const MAX_PARSED_BYTES: usize = 32 << 20;

/// A value in a list.
pub(crate) const VALUE_BYTES: usize = size_of::<Value>();

/// An entry of an object: its place in the order, and in the table.
const ENTRY_BYTES: usize = size_of::<(String, Value, usize)>() + 2 * size_of::<usize>();

/// An object that has entries: allocations are not made for one.
const OBJECT_BYTES: usize = 2 * ENTRY_BYTES;

/// The fields of a line that is a JSON object, none of them twice; or why not. Beside
/// their text they take `max_bytes`, about.
pub(crate) fn fields(text: &str, max_bytes: usize) -> Result<Vec<(String, Value)>, Fault> {
    let room = Room::new(max_bytes);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let parsed = deserializer
        .deserialize_map(Fields(&room))
        .and_then(|fields| deserializer.end().map(|()| fields));
    parsed.map_err(|error| room.fault(&error))
}

/// The value that `text` is; none if it is no JSON.
pub(crate) fn value(name: &str, text: &str, max_bytes: usize) -> Result<Option<Value>, Fault> {
    let room = Room::new(max_bytes);
    room.field.replace(name.to_owned());
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let parsed = room
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    match parsed {
        Ok(value) => Ok(Some(value)),
        Err(error) if room.is_spent.get() => Err(room.fault(&error)),
        Err(_) => Ok(None),
    }
}

/// What a value takes in memory, about.
pub(crate) fn num_bytes(value: &Value) -> usize {
    VALUE_BYTES
        + match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(num_bytes).sum(),
            Value::Object(fields) => map_bytes(fields),
        }
}

/// What an object takes in memory, about.
pub(crate) fn map_bytes(fields: &Map<String, Value>) -> usize {
    let entry = |(name, value): (&String, &Value)| {
        ENTRY_BYTES - VALUE_BYTES + name.len() + num_bytes(value)
    };
    let entries: usize = fields.iter().map(entry).sum();
    entries + if fields.is_empty() { 0 } else { OBJECT_BYTES }
}

/// How much a row may still take.
struct Room {
    max_bytes: usize,
    left: Cell<usize>,
    is_spent: Cell<bool>,
    /// The row's field that is read.
    field: RefCell<String>,
}

impl Room {
    fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            left: Cell::new(max_bytes),
            is_spent: Cell::new(false),
            field: RefCell::default(),
        }
    }

    fn take<E: serde::de::Error>(&self, num_bytes: usize) -> Result<(), E> {
        let Some(left) = self.left.get().checked_sub(num_bytes) else {
            self.is_spent.set(true);
            return Err(E::custom("too many values"));
        };
        self.left.set(left);
        Ok(())
    }

    fn fault(&self, error: &serde_json::Error) -> Fault {
        if !self.is_spent.get() {
            return Fault::new(RowCode::InvalidJson, "", json_message(error));
        }
        let field = self.field.borrow();
        let message = format!(
            "`{field}` has too many values: in memory they would take more than {} MiB",
            self.max_bytes >> 20
        );
        Fault::new(RowCode::TooLong, &field, message)
    }
}

/// `serde_json` counts lines inside of the one that it is given.
fn json_message(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let message = match message.rfind(" at line ") {
        Some(end) => &message[..end],
        None => &message,
    };
    format!("{message} (column {})", error.column())
}

/// A row.
struct Fields<'a>(&'a Room);

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = Vec<(String, Value)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Self(room) = self;
        let mut fields = Self::Value::new();
        let mut names = std::collections::HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !names.insert(name.clone()) {
                return Err(A::Error::custom(format!("field `{name}` comes twice")));
            }
            room.field.replace(name.clone());
            room.take(ENTRY_BYTES)?;
            fields.push((name, map.next_value_seed(room)?));
        }
        Ok(fields)
    }
}

/// Any value.
impl<'de> DeserializeSeed<'de> for &Room {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &Room {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any valid JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self)? {
            self.take(VALUE_BYTES)?;
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let object = if fields.is_empty() { OBJECT_BYTES } else { 0 };
            self.take(ENTRY_BYTES + object)?;
            fields.insert(name, map.next_value_seed(self)?);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_PARSED_BYTES, fields, value};
    use crate::job::RowCode;
    use serde_json::Value;

    #[test]
    fn values_are_those_of_serde_json() {
        let text = r#"{"a": [null, true, -1, 18446744073709551615, 1.5e300, "\u00e9\n"],
            "b": {"z": {}, "y": [], "z": 2}, "c": -0.0}"#;
        let expected: Value = serde_json::from_str(text).expect("JSON");
        let found = fields(text, MAX_PARSED_BYTES).expect("fields");
        assert_eq!(Value::Object(found.into_iter().collect()), expected);
        assert_eq!(
            value("x", text, MAX_PARSED_BYTES).ok(),
            Some(Some(expected))
        );
        assert_eq!(value("x", "{oops", MAX_PARSED_BYTES).ok(), Some(None));
    }

    #[test]
    fn more_values_than_there_is_room_for_are_refused_by_the_name_of_their_field() {
        for part in ["1,", "[],", "{\"a\":1},"] {
            let list = part.repeat(1 << 20);
            let list = format!("[{}]", list.trim_end_matches(','));
            let text = format!("{{\"first\": 1, \"second\": {list}, \"third\": 2}}");
            let fault = fields(&text, MAX_PARSED_BYTES).expect_err(part);
            assert_eq!(
                (fault.code, fault.field.as_deref()),
                (RowCode::TooLong, Some("second"))
            );
            assert!(fault.message.contains("32 MiB"), "{}", fault.message);
            let fault = value("cell", &list, MAX_PARSED_BYTES).expect_err(part);
            assert_eq!(fault.field.as_deref(), Some("cell"));
        }
    }
}
