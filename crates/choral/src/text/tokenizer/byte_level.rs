//! GPT-2's way of writing bytes as printable characters.
//!
//! Byte-level vocabularies hold text, so every byte has a character: itself
//! where that is printable Latin-1, one from U+0100 on otherwise (a space is
//! `Ġ`).
//!
//! Source: `bytes_to_unicode` in GPT-2's `encoder.py`.

use std::sync::LazyLock;

struct Tables {
    chars: [char; 256],
    /// The byte of each character below U+0144.
    bytes: [Option<u8>; 0x144],
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let mut tables = Tables {
        chars: ['\0'; 256],
        bytes: [None; 0x144],
    };
    let mut next = 0x100;
    for byte in 0..=u8::MAX {
        let code = match byte {
            b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => u32::from(byte),
            _ => {
                next += 1;
                next - 1
            }
        };
        tables.chars[usize::from(byte)] = char::from_u32(code).expect("below the surrogates");
        tables.bytes[code as usize] = Some(byte);
    }
    tables
});

/// The character that stands for `byte`.
pub(super) fn char_of(byte: u8) -> char {
    TABLES.chars[usize::from(byte)]
}

/// The byte that `c` stands for, if it stands for one.
pub(super) fn byte_of(c: char) -> Option<u8> {
    *TABLES.bytes.get(c as usize)?
}

/// The bytes that a vocabulary entry stands for; the entry's own UTF-8 if some
/// character stands for none (added tokens are plain text).
pub(super) fn bytes_of(token: &str) -> Vec<u8> {
    token
        .chars()
        .map(byte_of)
        .collect::<Option<Vec<u8>>>()
        .unwrap_or_else(|| token.as_bytes().to_vec())
}
