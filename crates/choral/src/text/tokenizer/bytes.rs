//! The printable alphabet in which byte-level tokenizers spell bytes.
//!
//! Source: `bytes_to_unicode` of OpenAI's GPT-2 `encoder.py`.

use std::sync::LazyLock;

/// Code points below this one may spell a byte: 256 and 68 more.
const END: usize = 0x144;

/// The byte that each code point spells.
static BYTES: LazyLock<[Option<u8>; END]> = LazyLock::new(|| {
    let mut bytes = [None; END];
    let mut next = 0x100;
    for byte in 0..=u8::MAX {
        let code = if is_printable(byte) {
            usize::from(byte)
        } else {
            next += 1;
            next - 1
        };
        bytes[code] = Some(byte);
    }
    bytes
});

/// Bytes that are themselves, read as Latin-1.
fn is_printable(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
}

/// The byte that `spelled` stands for, if it stands for one.
pub(super) fn byte_of(spelled: char) -> Option<u8> {
    *BYTES.get(spelled as usize)?
}

/// The bytes that a token spells, or `None` if it is not in this alphabet.
pub(super) fn bytes_of(token: &str) -> Option<Vec<u8>> {
    token.chars().map(byte_of).collect()
}

/// The byte that a byte-fallback token names: `<0x0A>`.
pub(super) fn named_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() != 2 {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}
