//! The `tojson` filter: Python's `json.dumps`, as transformers configures it.
//!
//! Unlike jinja2's own filter it escapes nothing for HTML, keeps non-ASCII
//! characters and puts a space after each comma and colon.

use std::fmt::Write as _;

use super::budget::Budget;
use super::error::{Error, Result};
use super::text;
use super::value::{Key, Value};

/// The options of `json.dumps`.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) ascii: bool,
    /// One level of indentation; absent: everything on one line.
    pub(crate) indent: Option<String>,
    pub(crate) item_separator: String,
    pub(crate) key_separator: String,
    pub(crate) sort_keys: bool,
}

/// Appends `value` as JSON.
pub(crate) fn write(
    value: &Value,
    options: &Options,
    out: &mut String,
    budget: &mut Budget,
) -> Result<()> {
    let mut writer = Writer {
        options,
        out,
        budget,
        level: 0,
    };
    writer.value(value)
}

struct Writer<'w> {
    options: &'w Options,
    out: &'w mut String,
    budget: &'w mut Budget,
    level: usize,
}

impl Writer<'_> {
    fn push(&mut self, text: &str) -> Result<()> {
        self.budget.bytes(text.len())?;
        self.out.push_str(text);
        Ok(())
    }

    fn value(&mut self, value: &Value) -> Result<()> {
        self.budget.steps(1)?;
        match value {
            Value::None => self.push("null"),
            Value::Bool(true) => self.push("true"),
            Value::Bool(false) => self.push("false"),
            Value::Int(value) => self.push(&value.to_string()),
            Value::Float(value) => self.push(&number(*value)),
            Value::Str(text) => self.string(text),
            Value::List(items) | Value::Tuple(items) => self.array(items.items()),
            Value::Dict(dict) => {
                let mut entries = Vec::with_capacity(dict.entries().len());
                for (key, value) in dict.entries() {
                    entries.push((key_text(key), value));
                }
                if self.options.sort_keys {
                    entries.sort_by(|left, right| left.0.cmp(&right.0));
                }
                self.object(&entries)
            }
            Value::Range(range) => {
                self.budget.elements(range.len())?;
                let items: Vec<_> = (0..range.len()).map(|index| range.get(index)).collect();
                self.array(&items)
            }
            _ => Err(Error::type_error(format!(
                "object of type {} is not JSON serializable",
                value.type_name()
            ))),
        }
    }

    fn array(&mut self, items: &[Value]) -> Result<()> {
        if items.is_empty() {
            return self.push("[]");
        }
        self.push("[")?;
        self.level += 1;
        for (index, item) in items.iter().enumerate() {
            self.separate(index)?;
            self.value(item)?;
        }
        self.level -= 1;
        self.new_line()?;
        self.push("]")
    }

    fn object(&mut self, entries: &[(String, &Value)]) -> Result<()> {
        if entries.is_empty() {
            return self.push("{}");
        }
        self.push("{")?;
        self.level += 1;
        for (index, (key, value)) in entries.iter().enumerate() {
            self.separate(index)?;
            self.string(key)?;
            self.push(&self.options.key_separator)?;
            self.value(value)?;
        }
        self.level -= 1;
        self.new_line()?;
        self.push("}")
    }

    fn separate(&mut self, index: usize) -> Result<()> {
        if index > 0 {
            self.push(&self.options.item_separator)?;
        }
        self.new_line()
    }

    fn new_line(&mut self) -> Result<()> {
        if let Some(indent) = &self.options.indent {
            self.push("\n")?;
            for _ in 0..self.level {
                self.push(indent)?;
            }
        }
        Ok(())
    }

    fn string(&mut self, string: &str) -> Result<()> {
        let mut paid_to = self.out.len();
        self.out.push('"');
        for c in string.chars() {
            text::pay_for_new(self.out, &mut paid_to, text::PAY_EVERY, self.budget)?;
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\x08' => self.out.push_str("\\b"),
                '\x0c' => self.out.push_str("\\f"),
                c if c < ' ' || (self.options.ascii && c > '~') => {
                    let mut units = [0; 2];
                    for unit in c.encode_utf16(&mut units) {
                        write!(self.out, "\\u{unit:04x}").expect("writing to a String cannot fail");
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
        text::pay_for_new(self.out, &mut paid_to, 0, self.budget)
    }
}

fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity" } else { "-Infinity" }.into()
    } else {
        text::float(value)
    }
}

fn key_text(key: &Key) -> String {
    match key.value() {
        Value::Str(text) => text.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => number(value),
        _ => "null".into(),
    }
}
