//! How much longer a chain of replacements can make a text.
//!
//! A file may hold any number of replacements. Forty that each double a letter
//! make a terabyte of one byte, so chains with such a bound are refused before
//! there is a text.

use serde_json::Value;

use super::charsmap;
use super::structure::{kind, members};

/// How many times longer the parts together may make a text. Real tokenizers stay
/// below 100.
const MAX_GROWTH: f64 = 1000.0;

/// Text parts that work on each other's output, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chain {
    /// The normalizer, then the pre-tokenizer.
    Encode,
    Decode,
}

/// A bound: a text of `n > 0` bytes has no more than `factor * n + added` after.
struct Growth {
    factor: f64,
    added: f64,
}

/// Fails if `parts` together can lengthen a text beyond reason, or if a table
/// among them is broken.
pub(super) fn check<'v>(
    chain: Chain,
    parts: impl IntoIterator<Item = &'v Value>,
) -> Result<(), String> {
    let mut growth = Growth {
        factor: 1.0,
        added: 0.0,
    };
    for part in parts {
        growth.enter(chain, part)?;
    }
    let total = growth.factor + growth.added;
    if total > MAX_GROWTH {
        return Err(format!(
            "could make a text {total:.3e} times longer, more than {MAX_GROWTH} times"
        ));
    }
    Ok(())
}

impl Growth {
    fn enter(&mut self, chain: Chain, part: &Value) -> Result<(), String> {
        if let Some(members) = members(part) {
            return members
                .iter()
                .try_for_each(|member| self.enter(chain, member));
        }
        let bytes = |value: &Value| value.as_str().map_or(0, str::len) as f64;
        let factor = match kind(part) {
            "Replace" => match bytes(&part["pattern"]["String"]) {
                // An expression may match each character, and between any two.
                0.0 => 1.0 + bytes(&part["content"]),
                pattern => bytes(&part["content"]) / pattern,
            },
            "Precompiled" => {
                let table = part["precompiled_charsmap"].as_str();
                charsmap::check(table.ok_or("no precompiled_charsmap")?)? as f64
            }
            "Prepend" => {
                self.added += bytes(&part["prepend"]);
                1.0
            }
            // Two bytes for one, and perhaps a space before each word.
            "ByteLevel" if chain == Chain::Encode => 3.0,
            // Perhaps a character of four bytes before each word.
            "Metaspace" if chain == Chain::Encode => 5.0,
            // The normal forms of Unicode are bounded, and of no use to repeat.
            _ => 1.0,
        };
        self.factor *= factor.max(1.0);
        self.added *= factor.max(1.0);
        Ok(())
    }
}
