//! The printable alphabet in which byte-level tokenizers spell bytes.
//!
//! Source: `bytes_to_unicode` of OpenAI's GPT-2 `encoder.py`.

use std::sync::LazyLock;

/// Code points below this one may spell a byte: 256 and 68 more.
const END: usize = 0x144;

struct Alphabet {
    /// By byte.
    chars: [char; 256],
    /// By code point.
    bytes: [Option<u8>; END],
}

static ALPHABET: LazyLock<Alphabet> = LazyLock::new(|| {
    let mut alphabet = Alphabet {
        chars: ['\0'; 256],
        bytes: [None; END],
    };
    let mut others = '\u{100}'..;
    for byte in 0..=u8::MAX {
        let is_printable = matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
        let spelled = if is_printable {
            char::from(byte)
        } else {
            others.next().expect("68 code points from U+0100 on")
        };
        alphabet.chars[usize::from(byte)] = spelled;
        alphabet.bytes[spelled as usize] = Some(byte);
    }
    alphabet
});

/// How a byte is spelled.
pub(super) fn char_of(byte: u8) -> char {
    ALPHABET.chars[usize::from(byte)]
}

/// The bytes that a token spells, or `None` if it is not in this alphabet.
pub(super) fn bytes_of(token: &str) -> Option<Vec<u8>> {
    let byte_of = |c| *ALPHABET.bytes.get(c as usize)?;
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
