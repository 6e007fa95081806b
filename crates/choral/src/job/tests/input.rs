//! Lines and formats.

use crate::job::InputFormat;
use crate::job::line::{LineFault, Lines};

fn lines(bytes: &[u8]) -> Vec<(u64, Result<String, LineFault>)> {
    Lines::with_limit(bytes, 8)
        .map(|line| {
            let line = line.expect("memory can be read");
            (line.number, line.text)
        })
        .collect()
}

#[test]
fn lines_end_in_lf_or_crlf_and_the_last_needs_no_end() {
    let text = |text: &str| Ok(text.to_owned());
    assert_eq!(
        lines(b"one\r\ntwo\n\nfour\rx"),
        [
            (1, text("one")),
            (2, text("two")),
            (3, text("")),
            (4, text("four\rx"))
        ]
    );
    assert_eq!(lines(b"end\n"), [(1, text("end"))]);
    assert_eq!(lines(b""), []);
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_line() {
    let bytes = "\u{feff}a\n\u{feff}b".as_bytes();
    assert_eq!(
        lines(bytes),
        [(1, Ok("a".into())), (2, Ok("\u{feff}b".into()))]
    );
}

#[test]
fn a_line_over_the_limit_is_skipped_and_the_next_is_read() {
    let too_long = || Err(LineFault::TooLong { max: 8 });
    assert_eq!(
        lines(b"12345678\n123456789\n12345678\r\n1234567890123456789012345\nok"),
        [
            (1, Ok("12345678".into())),
            (2, too_long()),
            (3, Ok("12345678".into())),
            (4, too_long()),
            (5, Ok("ok".into())),
        ]
    );
    assert_eq!(lines(b"123456789"), [(1, too_long())]);
}

#[test]
fn a_line_that_is_not_utf_8_says_where() {
    assert_eq!(
        lines(b"ab\xff\nok"),
        [
            (1, Err(LineFault::NotUtf8 { offset: 2 })),
            (2, Ok("ok".into()))
        ]
    );
}

#[test]
fn jsonl_begins_with_a_brace() {
    let jsonl = Some(InputFormat::Jsonl);
    assert_eq!(InputFormat::sniff(b" \n\t{\"prompt\""), jsonl);
    assert_eq!(InputFormat::sniff("\u{feff}{".as_bytes()), jsonl);
    for text in ["[INST] Hi [/INST]", "[1] is a reference", "Once", ""] {
        let found = InputFormat::sniff(text.as_bytes());
        assert_eq!(found, Some(InputFormat::Text), "{text}");
    }
}

#[test]
fn a_json_array_is_neither_text_nor_jsonl() {
    for text in [
        "[\n  {\"prompt\": \"x\"}\n]",
        "[\"x\"]",
        "\u{feff} [ [1]]",
        "[]",
        "[",
    ] {
        assert_eq!(InputFormat::sniff(text.as_bytes()), None, "{text}");
    }
}
