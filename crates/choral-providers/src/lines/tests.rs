//! Events from bytes, however they are cut.

use super::*;

/// All events of `bytes`, pushed in pieces of `size`.
fn frames(framing: Framing, bytes: &[u8], size: usize) -> Vec<(String, String)> {
    let mut frames = Frames::new(framing);
    let mut all = Vec::new();
    for piece in bytes.chunks(size) {
        frames.push(piece);
        while let Some(frame) = frames.next_frame().unwrap() {
            all.push((frame.event, frame.data));
        }
    }
    let last = frames.finish().unwrap();
    all.extend(last.map(|frame| (frame.event, frame.data)));
    all
}

fn check(framing: Framing, text: &str, expected: &[(&str, &str)]) {
    for size in 1..=text.len() {
        let found = frames(framing, text.as_bytes(), size);
        let found: Vec<_> = found
            .iter()
            .map(|(e, d)| (e.as_str(), d.as_str()))
            .collect();
        assert_eq!(found, expected, "in pieces of {size}: {text:?}");
    }
}

#[test]
fn events_do_not_depend_on_how_bytes_are_cut() {
    let expected = [("", "über"), ("delta", "{\"a\":1}"), ("", "two\nlines")];
    for end in ["\n", "\r\n", "\r"] {
        let text = "\u{feff}data: über\n\n: comment\nid: 4\nevent: delta\ndata:{\"a\":1}\n\n\
                    data: two\ndata: lines\nretry: 3\n\n"
            .replace('\n', end);
        check(Framing::Sse, &text, &expected);
    }
}

#[test]
fn an_event_that_is_not_ended_is_thrown_away() {
    check(Framing::Sse, "data: a\n\ndata: b\n", &[("", "a")]);
    check(Framing::Sse, "event: x\n\ndata: a\n\n", &[("", "a")]);
}

#[test]
fn lines_are_events_and_the_last_needs_no_end() {
    check(
        Framing::Ndjson,
        "{}\n\n[1]\r\n{\"b\"",
        &[("", "{}"), ("", "[1]"), ("", "{\"b\"")],
    );
}

#[test]
fn a_line_without_an_end_is_an_error() {
    let mut frames = Frames::new(Framing::Sse);
    let piece = vec![b'x'; 1 << 20];
    let result = (0..20).try_for_each(|_| {
        frames.push(&piece);
        frames.next_frame().map(|_| ())
    });
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Malformed);
}

#[test]
fn what_is_no_utf_8_is_an_error() {
    let mut frames = Frames::new(Framing::Sse);
    frames.push(b"data: \xff\xfe\n\n");
    assert_eq!(
        frames.next_frame().unwrap_err().kind(),
        ErrorKind::Malformed
    );
}
