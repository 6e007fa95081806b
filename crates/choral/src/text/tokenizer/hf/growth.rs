//! How much longer a chain of replacements can make a text.
//!
//! A file may hold any number of replacements: forty that each double one letter
//! make a terabyte of a byte. The bound here is found from the steps alone, before
//! there is a text. Working backwards, it gives each character the length that it
//! can have at the end of the chain.

use std::collections::HashMap;

use serde_json::Value;

use super::charsmap;
use super::structure::{kind, members};

/// Longest growth, in bytes out for a byte in, that is accepted. Real chains stay
/// below 20.
const MAX_GROWTH: f64 = 1024.0;

/// Final bytes that can come of one character that enters a step: those listed,
/// and `other` for each byte of a character that is not.
struct Weights {
    listed: HashMap<char, f64>,
    other: f64,
    /// Bytes that are added once, whatever the text.
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
        let by_byte = |(c, weight): (&char, &f64)| weight / c.len_utf8() as f64;
        self.listed.iter().map(by_byte).fold(self.other, f64::max)
    }

    /// Any byte may have become any `factor` bytes.
    fn mix(&mut self, factor: f64) {
        self.other = self.largest() * factor;
        self.listed.clear();
    }
}

/// Fails if `parts`, which work on each other's output in this order, can lengthen
/// a text beyond reason, or if a table among them is broken.
pub(super) fn check<'v>(parts: impl IntoIterator<Item = &'v Value>) -> Result<(), String> {
    let mut steps = Vec::new();
    for part in parts {
        flatten(part, &mut steps);
    }
    let mut weights = Weights {
        listed: HashMap::new(),
        other: 1.0,
        constant: 0.0,
    };
    for step in steps.into_iter().rev() {
        enter(&mut weights, step)?;
        if weights.largest() + weights.constant > MAX_GROWTH {
            return Err(format!(
                "its replacements can make a text more than {MAX_GROWTH} times as long"
            ));
        }
    }
    Ok(())
}

fn flatten<'v>(part: &'v Value, steps: &mut Vec<&'v Value>) {
    match members(part) {
        Some(parts) => parts.iter().for_each(|part| flatten(part, steps)),
        None => steps.push(part),
    }
}

/// Turns the weights after `step` into those before it.
fn enter(weights: &mut Weights, step: &Value) -> Result<(), String> {
    match kind(step) {
        "Replace" => {
            let replacement = weights.of_text(step["content"].as_str().unwrap_or(""));
            let pattern = step["pattern"]["String"].as_str().unwrap_or("");
            if pattern.is_empty() {
                // An expression may match anything, and between any two characters.
                weights.constant += replacement;
                for weight in weights.listed.values_mut() {
                    *weight += replacement;
                }
                weights.other += replacement;
            } else {
                // A match is paid for by its characters, in equal parts.
                let share = replacement / pattern.chars().count() as f64;
                for c in pattern.chars() {
                    let weight = weights.of_char(c).max(share);
                    weights.listed.insert(c, weight);
                }
            }
        }
        "Prepend" => weights.constant += weights.of_text(step["prepend"].as_str().unwrap_or("")),
        "Precompiled" => {
            let table = step["precompiled_charsmap"].as_str();
            let longest = charsmap::check(table.ok_or("no precompiled_charsmap")?)?;
            weights.mix(longest.max(1) as f64);
        }
        // Unicode's own tables are bounded, and of no use to repeat.
        "NFC" | "NFD" | "NFKC" | "NFKD" | "Lowercase" | "BertNormalizer" | "Nmt" => {
            weights.mix(1.0);
        }
        // Two bytes for one, and perhaps a space before each word.
        "ByteLevel" => weights.mix(3.0),
        // Perhaps a character of four bytes before each word.
        "Metaspace" => weights.mix(5.0),
        _ => {}
    }
    Ok(())
}
