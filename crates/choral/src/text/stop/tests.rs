use proptest::prelude::*;

use super::{StopMatcher, StopPush};

fn strings(stops: &[&str]) -> Vec<String> {
    stops.iter().map(|&stop| stop.to_owned()).collect()
}

/// Pushes the pieces; returns all emitted text and the match.
fn run(stops: &[String], include_stop: bool, pieces: &[&str]) -> (String, Option<usize>) {
    let mut matcher = StopMatcher::new(stops, include_stop);
    let mut text = String::new();
    let mut matched = None;
    for piece in pieces {
        let push = matcher.push(piece);
        text += &push.emit;
        matched = matched.or(push.matched);
    }
    text += &matcher.finish();
    (text, matched)
}

/// The definition: look at every prefix of the text, shortest first.
fn naive(stops: &[String], include_stop: bool, text: &str) -> (String, Option<usize>) {
    for end in (1..=text.len()).filter(|&end| text.is_char_boundary(end)) {
        let ends_here =
            |stop: &&(usize, &String)| !stop.1.is_empty() && text[..end].ends_with(stop.1.as_str());
        let candidates: Vec<(usize, &String)> = stops.iter().enumerate().collect();
        let longest = candidates
            .iter()
            .filter(ends_here)
            .map(|stop| stop.1.len())
            .max();
        if let Some(len) = longest {
            let index = candidates
                .iter()
                .filter(ends_here)
                .find(|stop| stop.1.len() == len);
            let cut = if include_stop { end } else { end - len };
            return (text[..cut].to_owned(), index.map(|stop| stop.0));
        }
    }
    (text.to_owned(), None)
}

#[test]
fn a_match_may_begin_but_not_end_in_text_without_end() {
    let mut matcher = StopMatcher::new(&strings(&["abab", "x"]), false);
    assert_eq!(matcher.push_without_end("xab"), "x");
    assert_eq!(
        matcher.push_without_end("ab"),
        "ab",
        "its end may begin another"
    );
    assert_eq!(
        matcher.push("ab!"),
        StopPush {
            emit: String::new(),
            matched: Some(0)
        }
    );
    assert_eq!(matcher.push_without_end("more"), "");
}

#[test]
fn text_that_may_begin_a_stop_string_is_held_back() {
    let mut matcher = StopMatcher::new(&strings(&["END"]), false);
    let emit = |emit: &str| StopPush {
        emit: emit.to_owned(),
        matched: None,
    };
    assert_eq!(matcher.push("The E"), emit("The "));
    assert_eq!(matcher.push("N"), emit(""));
    assert_eq!(matcher.push("E"), emit("EN"));
    assert_eq!(
        matcher.push("ND?"),
        StopPush {
            emit: String::new(),
            matched: Some(0)
        }
    );
    assert_eq!(matcher.push("more"), StopPush::default());
    assert_eq!(matcher.finish(), "");
}

#[test]
fn held_back_text_is_flushed_at_the_end() {
    let mut matcher = StopMatcher::new(&strings(&["</s>"]), false);
    assert_eq!(matcher.push("a</").emit, "a");
    assert_eq!(matcher.finish(), "</");
}

#[test]
fn the_match_that_ends_first_wins_and_then_the_longest() {
    let (text, matched) = run(&strings(&["abcd", "bc"]), false, &["xabcd"]);
    assert_eq!((text.as_str(), matched), ("xa", Some(1)));
    let (text, matched) = run(&strings(&["c", "bc", "bc"]), false, &["xa", "b", "c"]);
    assert_eq!((text.as_str(), matched), ("xa", Some(1)));
}

#[test]
fn a_match_is_emitted_if_it_is_to_be_included() {
    let (text, matched) = run(&strings(&["\n\n"]), true, &["a\n", "\nb"]);
    assert_eq!((text.as_str(), matched), ("a\n\n", Some(0)));
}

#[test]
fn characters_of_several_bytes_are_never_cut() {
    // U+00E9 and U+00E8 share their first byte.
    let (text, matched) = run(&strings(&["é!"]), false, &["caf", "è", "é", "?", "é!"]);
    assert_eq!((text.as_str(), matched), ("cafèé?", Some(0)));
}

#[test]
fn no_stop_strings_and_empty_ones_let_everything_through() {
    assert_eq!(run(&[], false, &["a", "", "b"]), ("ab".to_owned(), None));
    assert_eq!(
        run(&strings(&[""]), false, &["a", "b"]),
        ("ab".to_owned(), None)
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn streaming_equals_the_naive_search_whatever_the_pieces(
        pieces in prop::collection::vec("[abé]{0,4}", 0..12),
        stops in prop::collection::vec("[abé]{0,5}", 0..4),
        include_stop: bool,
    ) {
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        let expected = naive(&stops, include_stop, &pieces.concat());
        prop_assert_eq!(run(&stops, include_stop, &pieces), expected);
    }

    #[test]
    fn nothing_is_held_back_that_could_not_begin_a_stop_string(
        text in "[ab]{0,12}",
        stop in "[ab]{1,5}c",
    ) {
        let mut matcher = StopMatcher::new(std::slice::from_ref(&stop), false);
        let emitted = matcher.push(&text).emit;
        let held = &text[emitted.len()..];
        prop_assert!(stop.starts_with(held));
        let longest = (0..=text.len()).find(|&i| stop.starts_with(&text[i..]));
        prop_assert_eq!(Some(emitted.len()), longest);
    }
}
