//! How much longer a chain of replacements can make a text.
//!
//! A tokenizer file may hold any number of `Replace` steps; forty that each
//! double one letter turn a byte into a terabyte. The bound here is found from
//! the steps alone, before any text: working backwards, it gives each character
//! the length that it can have at the end of the chain.

use std::collections::HashMap;

use serde_json::Value;

use super::structure::{kind, members};

/// Longest growth, in bytes out for a byte in, that is accepted. Real chains
/// stay below 40 (compatibility normalisation, then `▁` for each space).
const MAX_GROWTH: f64 = 1024.0;

/// Final bytes that can come from one character entering a step: those listed,
/// and `other` for each byte of any character not listed.
struct Weights {
    listed: HashMap<char, f64>,
    other: f64,
    /// Bytes added once, not for each character.
    constant: f64,
}

impl Weights {
    fn of_char(&self, c: char) -> f64 {
        let plain = self.other * c.len_utf8() as f64;
        self.listed.get(&c).copied().unwrap_or(plain)
    }

    fn of_text(&self, text: &str) -> f64 {
        text.chars().map(|c| self.of_char(c)).sum()
    }

    /// The largest weight of a byte of any character.
    fn largest(&self) -> f64 {
        self.listed
            .iter()
            .map(|(c, weight)| weight / c.len_utf8() as f64)
            .fold(self.other, f64::max)
    }
}

/// Fails if `component` (a normalizer or a decoder) can lengthen text beyond
/// reason.
pub(super) fn check(component: &Value) -> Result<(), String> {
    let mut steps = Vec::new();
    flatten(component, &mut steps);
    let mut weights = Weights {
        listed: HashMap::new(),
        other: 1.0,
        constant: 0.0,
    };
    for step in steps.into_iter().rev() {
        enter(&mut weights, step);
        let growth = weights.largest().max(weights.constant / 1024.0);
        if growth > MAX_GROWTH {
            return Err(format!(
                "its replacements can make text more than {MAX_GROWTH} times as long"
            ));
        }
    }
    Ok(())
}

fn flatten<'v>(component: &'v Value, steps: &mut Vec<&'v Value>) {
    match members(component) {
        Some(parts) => parts.iter().for_each(|part| flatten(part, steps)),
        None => steps.push(component),
    }
}

/// Turns the weights after `step` into those before it.
fn enter(weights: &mut Weights, step: &Value) {
    let content = step.get("content").and_then(Value::as_str).unwrap_or("");
    match kind(step) {
        "Replace" => {
            let pattern = step.get("pattern");
            let literal = pattern
                .and_then(|pattern| pattern.get("String"))
                .and_then(Value::as_str)
                .filter(|literal| !literal.is_empty());
            let replacement = weights.of_text(content);
            if let Some(literal) = literal {
                // A match is paid for by its characters, in equal parts.
                let share = replacement / literal.chars().count() as f64;
                for c in literal.chars() {
                    let weight = weights.of_char(c).max(share);
                    weights.listed.insert(c, weight);
                }
            } else {
                // A regular expression may match anything, and between any two
                // characters.
                weights.constant += replacement;
                for weight in weights.listed.values_mut() {
                    *weight += replacement;
                }
                weights.other += replacement;
            }
        }
        "Prepend" => {
            let text = step.get("prepend").and_then(Value::as_str).unwrap_or("");
            weights.constant += weights.of_text(text);
        }
        // The longest compatibility decomposition makes 33 bytes of 3; the
        // others stay below that. Any character may become any other.
        "NFC" | "NFD" | "NFKC" | "NFKD" | "Precompiled" | "Lowercase" | "BertNormalizer"
        | "ByteLevel" | "Nmt" => {
            weights.other = weights.largest() * 11.0;
            weights.listed.clear();
        }
        _ => {}
    }
}
