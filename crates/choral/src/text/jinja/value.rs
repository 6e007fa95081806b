//! The values of a running template, with Python's meaning.
//!
//! Values are immutable except for namespaces, which live in the interpreter
//! and are referred to by number; so no value can contain itself, and reference
//! counting frees everything. Containers know how deep they nest and refuse to
//! nest deeper than [`MAX_DEPTH`], which bounds every recursive walk.

use std::rc::Rc;
use std::sync::Arc;

use indexmap::IndexMap;

use super::budget::Budget;
use super::error::{Error, Result};

/// Deepest nesting of lists and dictionaries.
pub(crate) const MAX_DEPTH: u16 = 160;

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Undefined(Missing),
    None,
    Bool(bool),
    /// Python's integers are unbounded; arithmetic that leaves 128 bits fails.
    Int(i128),
    Float(f64),
    Str(Arc<str>),
    List(Rc<Seq>),
    Tuple(Rc<Seq>),
    Dict(Rc<Dict>),
    Range(Range),
    Namespace(usize),
    /// The `loop` variable; its state lives in the interpreter.
    Loop(usize),
    Macro(usize),
    Function(Function),
    Method(Rc<Method>),
}

/// Why a value is undefined; becomes the error message when it is used.
#[derive(Debug, Clone)]
pub(crate) enum Missing {
    Name(Arc<str>),
    Attr(&'static str, Arc<str>),
    Index,
    /// A method that would change a value, which a sandbox forbids.
    Unsafe(&'static str, Arc<str>),
    /// The value of `a if b` when `b` is false, and the like.
    Nothing,
}

impl Missing {
    pub(crate) fn error(&self) -> Error {
        match self {
            Self::Name(name) => Error::undefined(format!("'{name}' is undefined")),
            Self::Attr(owner, name) => {
                Error::undefined(format!("'{owner}' has no attribute '{name}'"))
            }
            Self::Index => Error::undefined("there is no such element"),
            Self::Unsafe(owner, name) => Error::security(format!(
                "access to attribute '{name}' of '{owner}' is unsafe"
            )),
            Self::Nothing => Error::undefined("the value is undefined"),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Seq {
    items: Vec<Value>,
    depth: u16,
}

impl Seq {
    pub(crate) fn items(&self) -> &[Value] {
        &self.items
    }
}

#[derive(Debug, Default)]
pub(crate) struct Dict {
    entries: IndexMap<Key, Value>,
    depth: u16,
}

impl Dict {
    pub(crate) fn get(&self, key: &Key) -> Option<&Value> {
        self.entries.get(key)
    }

    pub(crate) fn get_str(&self, key: &str) -> Option<&Value> {
        self.entries.get(key)
    }

    pub(crate) fn entries(&self) -> &IndexMap<Key, Value> {
        &self.entries
    }
}

/// The values that may be keys of a dictionary.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key(KeyRepr);

#[derive(Debug, Clone, PartialEq, Eq)]
enum KeyRepr {
    Str(Arc<str>),
    /// `True` and `1.0` are the same key as `1` in Python.
    Int(i128),
    Float(u64),
    None,
}

// A string key hashes exactly as `str` does, which is what lets the map be
// searched by `&str` (see `Equivalent` below).
impl std::hash::Hash for KeyRepr {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        match self {
            Self::Str(text) => text.hash(state),
            Self::Int(value) => value.hash(state),
            Self::Float(bits) => bits.hash(state),
            Self::None => 0_u8.hash(state),
        }
    }
}

impl indexmap::Equivalent<Key> for str {
    fn equivalent(&self, key: &Key) -> bool {
        matches!(&key.0, KeyRepr::Str(text) if **text == *self)
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self(KeyRepr::Str(text.into()))
    }
}

impl From<Arc<str>> for Key {
    fn from(text: Arc<str>) -> Self {
        Self(KeyRepr::Str(text))
    }
}

impl Key {
    /// Pays for hashing the value once.
    pub(crate) fn new(value: &Value, budget: &mut Budget) -> Result<Self> {
        Ok(Self(match value {
            Value::Str(text) => {
                budget.read(text.len())?;
                KeyRepr::Str(Arc::clone(text))
            }
            Value::Int(value) => KeyRepr::Int(*value),
            Value::Bool(value) => KeyRepr::Int(i128::from(*value)),
            Value::Float(value) if value.fract() == 0.0 && value.abs() < 1e30 => {
                KeyRepr::Int(*value as i128)
            }
            Value::Float(value) => KeyRepr::Float(value.to_bits()),
            Value::None => KeyRepr::None,
            // Python also takes tuples; no published template does.
            _ => {
                return Err(Error::type_error(format!(
                    "unhashable type: '{}'",
                    value.type_name()
                )));
            }
        }))
    }

    pub(crate) fn as_str(&self) -> Option<&Arc<str>> {
        match &self.0 {
            KeyRepr::Str(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn value(&self) -> Value {
        match &self.0 {
            KeyRepr::Str(text) => Value::Str(Arc::clone(text)),
            KeyRepr::Int(value) => Value::Int(*value),
            KeyRepr::Float(bits) => Value::Float(f64::from_bits(*bits)),
            KeyRepr::None => Value::None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: i128,
    pub(crate) stop: i128,
    pub(crate) step: i128,
}

impl Range {
    pub(crate) fn len(self) -> usize {
        let span = if self.step > 0 {
            self.stop.saturating_sub(self.start)
        } else {
            self.start.saturating_sub(self.stop)
        };
        if span <= 0 {
            return 0;
        }
        let step = self.step.unsigned_abs();
        usize::try_from((span.unsigned_abs() - 1) / step + 1).unwrap_or(usize::MAX)
    }

    pub(crate) fn get(self, index: usize) -> Value {
        Value::Int(self.start + self.step * index as i128)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Range,
    Dict,
    Namespace,
    RaiseException,
    StrftimeNow,
}

impl Function {
    /// The function that is there without being given.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "range" => Self::Range,
            "dict" => Self::Dict,
            "namespace" => Self::Namespace,
            "raise_exception" => Self::RaiseException,
            "strftime_now" => Self::StrftimeNow,
            _ => return None,
        })
    }
}

/// A method taken from its value but not yet called.
#[derive(Debug)]
pub(crate) struct Method {
    pub(crate) receiver: Value,
    pub(crate) name: Arc<str>,
}

impl Value {
    pub(crate) fn str(text: impl Into<Arc<str>>) -> Self {
        Self::Str(text.into())
    }

    /// Python's name of the value's type.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Undefined(_) => "Undefined",
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Str(_) => "str",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Dict(_) => "dict",
            Self::Range(_) => "range",
            Self::Namespace(_) => "Namespace",
            Self::Loop(_) => "LoopContext",
            Self::Macro(_) => "Macro",
            Self::Function(_) => "function",
            Self::Method(_) => "method",
        }
    }

    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Undefined(_) | Self::None => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Str(text) => !text.is_empty(),
            Self::List(items) | Self::Tuple(items) => !items.items.is_empty(),
            Self::Dict(dict) => !dict.entries.is_empty(),
            Self::Range(range) => range.len() > 0,
            _ => true,
        }
    }

    pub(crate) fn is_undefined(&self) -> bool {
        matches!(self, Self::Undefined(_))
    }

    fn depth(&self) -> u16 {
        match self {
            Self::List(items) | Self::Tuple(items) => items.depth,
            Self::Dict(dict) => dict.depth,
            Self::Method(method) => method.receiver.depth(),
            _ => 0,
        }
    }

    /// A list of `items`, whose memory must have been paid for.
    pub(crate) fn list(items: Vec<Self>) -> Result<Self> {
        Ok(Self::List(Rc::new(seq(items)?)))
    }

    /// A tuple of `items`, whose memory must have been paid for.
    pub(crate) fn tuple(items: Vec<Self>) -> Result<Self> {
        Ok(Self::Tuple(Rc::new(seq(items)?)))
    }

    /// A dictionary of `entries`, whose memory must have been paid for.
    pub(crate) fn dict(entries: IndexMap<Key, Self>) -> Result<Self> {
        let depth = depth_above(entries.values())?;
        Ok(Self::Dict(Rc::new(Dict { entries, depth })))
    }

    /// Converts JSON from the caller; object keys keep their order.
    pub(crate) fn from_json(json: &serde_json::Value) -> Result<Self> {
        Ok(match json {
            serde_json::Value::Null => Self::None,
            serde_json::Value::Bool(value) => Self::Bool(*value),
            serde_json::Value::Number(number) => {
                if let Some(value) = number.as_i64() {
                    Self::Int(i128::from(value))
                } else if let Some(value) = number.as_u64() {
                    Self::Int(i128::from(value))
                } else {
                    Self::Float(number.as_f64().unwrap_or(f64::NAN))
                }
            }
            serde_json::Value::String(text) => Self::str(text.as_str()),
            serde_json::Value::Array(items) => {
                Self::list(items.iter().map(Self::from_json).collect::<Result<_>>()?)?
            }
            serde_json::Value::Object(object) => Self::dict(
                object
                    .iter()
                    .map(|(key, value)| Ok((Key::from(key.as_str()), Self::from_json(value)?)))
                    .collect::<Result<_>>()?,
            )?,
        })
    }

    /// `==`. Pays a step for each element compared, since equal parts may be
    /// shared many times over.
    pub(crate) fn equals(&self, other: &Self, budget: &mut Budget) -> Result<bool> {
        budget.steps(1)?;
        Ok(match (self, other) {
            (Self::Undefined(_), Self::Undefined(_)) | (Self::None, Self::None) => true,
            (Self::Str(left), Self::Str(right)) => {
                budget.read(left.len().min(right.len()))?;
                left == right
            }
            (Self::List(left), Self::List(right)) | (Self::Tuple(left), Self::Tuple(right)) => {
                if left.items.len() != right.items.len() {
                    return Ok(false);
                }
                for (left, right) in left.items.iter().zip(&right.items) {
                    if !left.equals(right, budget)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Self::Dict(left), Self::Dict(right)) => {
                if left.entries.len() != right.entries.len() {
                    return Ok(false);
                }
                for (key, left) in &left.entries {
                    match right.entries.get(key) {
                        Some(right) if left.equals(right, budget)? => {}
                        _ => return Ok(false),
                    }
                }
                true
            }
            (Self::Range(left), Self::Range(right)) => left == right,
            (Self::Namespace(left), Self::Namespace(right))
            | (Self::Macro(left), Self::Macro(right))
            | (Self::Loop(left), Self::Loop(right)) => left == right,
            (Self::Function(left), Self::Function(right)) => left == right,
            _ => match (self.number(), other.number()) {
                (Some(left), Some(right)) => left.equals(right),
                _ => false,
            },
        })
    }

    /// The value as a number; booleans are 0 and 1, as in Python.
    pub(crate) fn number(&self) -> Option<Number> {
        match self {
            Self::Bool(value) => Some(Number::Int(i128::from(*value))),
            Self::Int(value) => Some(Number::Int(*value)),
            Self::Float(value) => Some(Number::Float(*value)),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Number {
    Int(i128),
    Float(f64),
}

impl Number {
    pub(crate) fn as_f64(self) -> f64 {
        match self {
            Self::Int(value) => value as f64,
            Self::Float(value) => value,
        }
    }

    fn equals(self, other: Self) -> bool {
        match (self, other) {
            (Self::Int(left), Self::Int(right)) => left == right,
            _ => self.as_f64() == other.as_f64(),
        }
    }
}

fn seq(items: Vec<Value>) -> Result<Seq> {
    let depth = depth_above(&items)?;
    Ok(Seq { items, depth })
}

fn depth_above<'v>(values: impl IntoIterator<Item = &'v Value>) -> Result<u16> {
    let depth = values.into_iter().map(Value::depth).max().unwrap_or(0) + 1;
    if depth > MAX_DEPTH {
        return Err(Error::limit(format!(
            "values nest deeper than {MAX_DEPTH} levels"
        )));
    }
    Ok(depth)
}
