use proptest::prelude::*;

use super::bytes;
use super::utf8::Utf8Stream;

#[test]
fn bytes_are_spelled_as_in_gpt_2() {
    // From GPT-2's vocabulary.
    let spelled = [
        (b' ', 'Ġ'),
        (b'\n', 'Ċ'),
        (b'\t', 'ĉ'),
        (b'!', '!'),
        (0, 'Ā'),
    ];
    for (byte, spelled) in spelled {
        assert_eq!(bytes::char_of(byte), spelled);
    }
    for byte in 0..=255 {
        let spelled = bytes::char_of(byte).to_string();
        assert_eq!(bytes::bytes_of(&spelled), Some(vec![byte]));
    }
    assert_eq!(bytes::bytes_of("Ġ▁"), None);
    assert_eq!(bytes::named_byte("<0x0A>"), Some(10));
    assert_eq!(bytes::named_byte("<0x0>"), None);
}

/// Bytes that begin, continue and break characters, more often than chance would.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        Just(b'a'),
        0x80..0xc0u8,
        Just(0xe2),
        Just(0xf0),
        Just(0x9f),
        any::<u8>()
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pieces_of_bytes_join_to_the_lossy_text(
        pieces in prop::collection::vec(prop::collection::vec(byte(), 0..4), 0..12)
    ) {
        let mut stream = Utf8Stream::default();
        let mut text = String::new();
        for piece in &pieces {
            stream.push(piece, &mut text);
        }
        stream.finish(&mut text);
        let whole = pieces.concat();
        prop_assert_eq!(text, String::from_utf8_lossy(&whole));
    }
}
