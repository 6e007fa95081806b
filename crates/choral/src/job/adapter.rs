//! Which adapters a row asks for: llama.cpp's `lora`, a list of `{"id", "scale"}`, or
//! simply a name; or a name where vLLM has it, in `model`.

use super::parameter::excerpt;
use crate::engine::Lora;
use serde_json::{Map, Value};

/// The adapters that rows may ask for, and those of rows that do not.
#[derive(Debug, Clone, Default)]
pub(super) struct Adapters {
    pub(super) known: Vec<String>,
    pub(super) default: Vec<Lora>,
}

impl Adapters {
    /// The adapters that `lora` asks for, or what it should have been.
    pub(super) fn read(&self, value: &Value) -> Result<Vec<Lora>, String> {
        match value {
            Value::String(_) => Ok(vec![Lora::new(self.name(value)?)]),
            Value::Array(all) => all.iter().map(|one| self.one(one)).collect(),
            _ => Err("a name, or a list of {\"id\", \"scale\"}".to_owned()),
        }
    }

    fn one(&self, value: &Value) -> Result<Lora, String> {
        match value {
            Value::Object(fields) => self.scaled(fields),
            other => Ok(Lora::new(self.name(other)?)),
        }
    }

    fn scaled(&self, fields: &Map<String, Value>) -> Result<Lora, String> {
        let known = |name: &String| ["id", "name", "scale"].contains(&name.as_str());
        if let Some(name) = fields.keys().find(|name| !known(name)) {
            return Err(format!("`id` and `scale` in each, and not `{name}`"));
        }
        let ids = (fields.get("id"), fields.get("name"));
        let ((Some(id), None) | (None, Some(id))) = ids else {
            return Err("an `id` in each".to_owned());
        };
        let lora = Lora::new(self.name(id)?);
        let Some(scale) = fields.get("scale") else {
            return Ok(lora);
        };
        let number = scale.as_f64().map(|number| number as f32);
        let number = number.filter(|number| number.is_finite());
        let number =
            number.ok_or_else(|| format!("a number for `scale`, not {}", excerpt(scale)))?;
        Ok(lora.scaled(number))
    }

    /// An adapter by its name, or by its place in the order of loading.
    fn name(&self, id: &Value) -> Result<&str, String> {
        let found = match id {
            Value::String(name) => self.known.iter().find(|known| *known == name),
            Value::Number(place) => place
                .as_u64()
                .and_then(|place| self.known.get(usize::try_from(place).ok()?)),
            _ => None,
        };
        found.map(String::as_str).ok_or_else(|| self.expected())
    }

    /// The names, for messages.
    fn expected(&self) -> String {
        if self.known.is_empty() {
            return "no adapter: none is loaded".to_owned();
        }
        format!("adapters of: {}", self.known.join(", "))
    }
}
