//! Checks SentencePiece's precompiled normalisation table.
//!
//! The table is a double-array trie of bytes with offsets into a blob of
//! replacement strings. The `tokenizers` crate walks it without bounds checks
//! of its own, so every step that a text could take is tried here first.
//!
//! Source: SentencePiece `builder.cc`, Darts-clone `darts.h`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Fails unless walking the table stays inside it for any text. Returns a bound
/// for the length of a replacement, in bytes.
pub(super) fn check(base64: &str) -> Result<usize, String> {
    let bytes = STANDARD
        .decode(base64)
        .map_err(|error| format!("precompiled_charsmap is not base64: {error}"))?;
    let broken = |what: &str| Err(format!("precompiled_charsmap is broken: {what}"));
    let Some((size, rest)) = bytes.split_first_chunk::<4>() else {
        return broken("no header");
    };
    let trie_bytes = u32::from_le_bytes(*size) as usize / 4 * 4;
    let Some((trie, blob)) = rest.split_at_checked(trie_bytes) else {
        return broken("the trie is cut off");
    };
    let Ok(blob) = std::str::from_utf8(blob) else {
        return broken("replacements are not UTF-8");
    };
    let units: Vec<u32> = trie
        .as_chunks::<4>()
        .0
        .iter()
        .map(|unit| u32::from_le_bytes(*unit))
        .collect();
    let Some(&root) = units.first() else {
        return broken("the trie is empty");
    };
    let mut seen = vec![false; units.len()];
    let mut open = vec![offset(root)];
    while let Some(node) = open.pop() {
        let Some(visited) = seen.get_mut(node) else {
            return broken("the trie points outside itself");
        };
        if std::mem::replace(visited, true) {
            continue;
        }
        for byte in 1..=u8::MAX {
            let Some(&unit) = units.get(node ^ usize::from(byte)) else {
                return broken("the trie points outside itself");
            };
            if unit & (1 << 31 | 0xff) != u32::from(byte) {
                continue;
            }
            let child = node ^ usize::from(byte) ^ offset(unit);
            if unit >> 8 & 1 == 1 {
                let Some(leaf) = units.get(child) else {
                    return broken("the trie points outside itself");
                };
                if !blob.is_char_boundary((leaf & !(1 << 31)) as usize) {
                    return broken("a replacement is outside the text");
                }
            }
            open.push(child);
        }
    }
    Ok(blob.split('\0').map(str::len).max().unwrap_or(0))
}

fn offset(unit: u32) -> usize {
    ((unit >> 10) as usize) << ((unit & 1 << 9) >> 6)
}
