//! A value that a JSON schema accepts, for tool arguments and structured answers.
//!
//! Owns the walk over a schema. Refuses to validate: it makes the smallest instance,
//! the same one every time. Properties that are not required appear too.

use serde_json::{Map, Value, json};

/// Schemas that contain themselves end here, with null.
const MAX_DEPTH: u32 = 16;

/// An instance of `schema`; its free strings are `seed`.
pub(crate) fn instance(schema: &Value, seed: &str) -> Value {
    make(schema, schema, seed, 0)
}

fn make(schema: &Value, root: &Value, seed: &str, depth: u32) -> Value {
    if depth > MAX_DEPTH {
        return Value::Null;
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let target = reference
            .strip_prefix('#')
            .and_then(|pointer| root.pointer(pointer));
        return target.map_or(Value::Null, |target| make(target, root, seed, depth + 1));
    }
    if let Some(constant) = schema.get("const") {
        return constant.clone();
    }
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    for choice in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema[choice].get(0) {
            return make(first, root, seed, depth + 1);
        }
    }
    let kind = match &schema["type"] {
        Value::String(kind) => kind.as_str(),
        Value::Array(kinds) => kinds.first().and_then(Value::as_str).unwrap_or("null"),
        _ if schema["properties"].is_object() => "object",
        _ => "string",
    };
    match kind {
        "object" => {
            let mut object = Map::new();
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                object.insert(name.clone(), make(property, root, seed, depth + 1));
            }
            Value::Object(object)
        }
        "array" => {
            let wanted = schema["minItems"].as_u64().unwrap_or(1).clamp(1, 64);
            (0..wanted)
                .map(|_| make(&schema["items"], root, seed, depth + 1))
                .collect()
        }
        "integer" => json!(schema["minimum"].as_i64().unwrap_or(7)),
        "number" => json!(schema["minimum"].as_f64().unwrap_or(0.5)),
        "boolean" => json!(true),
        "null" => Value::Null,
        _ => json!(seed),
    }
}
