//! The evaluated arguments of a call, and how they bind to parameters.

use std::sync::Arc;

use super::budget::Budget;
use super::error::{Error, Result};
use super::text;
use super::value::{Number, Value};

#[derive(Debug, Default)]
pub(crate) struct CallArgs {
    pub(crate) positional: Vec<Value>,
    pub(crate) named: Vec<(Arc<str>, Value)>,
}

impl CallArgs {
    /// Assigns the arguments to `names`; those not given are `None`.
    ///
    /// Fails on unknown names, on a name given twice and on too many arguments.
    pub(crate) fn bind<const N: usize>(
        self,
        callee: &str,
        names: [&str; N],
    ) -> Result<[Option<Value>; N]> {
        if self.positional.len() > N {
            return Err(Error::type_error(format!(
                "{callee}() takes at most {N} arguments, {} given",
                self.positional.len()
            )));
        }
        let mut bound = [const { None }; N];
        for (slot, value) in bound.iter_mut().zip(self.positional) {
            *slot = Some(value);
        }
        for (name, value) in self.named {
            let slot = names.iter().position(|known| **known == *name);
            let Some(slot) = slot.map(|at| &mut bound[at]) else {
                return Err(Error::type_error(format!(
                    "{callee}() has no parameter '{name}'"
                )));
            };
            if slot.replace(value).is_some() {
                return Err(Error::type_error(format!(
                    "{callee}() got parameter '{name}' twice"
                )));
            }
        }
        Ok(bound)
    }

    pub(crate) fn none(self, callee: &str) -> Result<()> {
        self.bind(callee, []).map(|[]| ())
    }
}

/// The argument as text; absent and `None` are `None`.
pub(crate) fn optional_text(
    value: Option<&Value>,
    budget: &mut Budget,
) -> Result<Option<Arc<str>>> {
    match value {
        None | Some(Value::None) => Ok(None),
        Some(value) => text::to_str(value, budget).map(Some),
    }
}

/// The argument as a string, without converting other types.
pub(crate) fn string(callee: &str, value: Option<&Value>) -> Result<Arc<str>> {
    match value {
        Some(Value::Str(text)) => Ok(Arc::clone(text)),
        Some(Value::Undefined(missing)) => Err(missing.error()),
        Some(other) => Err(Error::type_error(format!(
            "{callee}() needs a string, not '{}'",
            other.type_name()
        ))),
        None => Err(Error::type_error(format!("{callee}() misses an argument"))),
    }
}

/// The argument as an integer.
pub(crate) fn integer(callee: &str, value: &Value) -> Result<i128> {
    match value.number() {
        Some(Number::Int(value)) => Ok(value),
        _ => Err(Error::type_error(format!(
            "{callee}() needs an integer, not '{}'",
            value.type_name()
        ))),
    }
}

/// The argument as a count: absent gives `default`, a negative one 0.
pub(crate) fn count(callee: &str, value: Option<&Value>, default: usize) -> Result<usize> {
    match value {
        None | Some(Value::None) => Ok(default),
        Some(value) => Ok(usize::try_from(integer(callee, value)?.max(0)).unwrap_or(usize::MAX)),
    }
}

pub(crate) fn is_true(value: Option<&Value>) -> bool {
    value.is_some_and(Value::is_true)
}
