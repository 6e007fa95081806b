//! Streamed matching against a search in the whole text.

use proptest::prelude::*;

use super::StopMatcher;

/// The first stop string to be complete, and where its match begins and ends.
fn search(text: &str, stops: &[String]) -> Option<(usize, usize, usize)> {
    for end in 0..=text.len() {
        let ending =
            |stop: &String| !stop.is_empty() && text.as_bytes()[..end].ends_with(stop.as_bytes());
        let longest = stops
            .iter()
            .enumerate()
            .filter(|(_, stop)| ending(stop))
            .max_by_key(|(index, stop)| (stop.len(), std::cmp::Reverse(*index)));
        if let Some((index, stop)) = longest {
            return Some((index, end - stop.len(), end));
        }
    }
    None
}

fn run(pieces: &[String], stops: &[String], include_stop: bool) -> (String, Option<usize>) {
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

proptest! {
    #[test]
    fn cuts_do_not_matter(
        pieces in prop::collection::vec("[abé😀]{0,5}", 0..12),
        stops in prop::collection::vec("[abé😀]{0,4}", 0..5),
        include_stop: bool,
    ) {
        let whole = pieces.concat();
        let wanted = match search(&whole, &stops) {
            Some((index, start, end)) => {
                let end = if include_stop { end } else { start };
                (whole[..end].to_owned(), Some(index))
            }
            None => (whole, None),
        };
        prop_assert_eq!(run(&pieces, &stops, include_stop), wanted);
    }

    #[test]
    fn only_the_beginning_of_a_stop_string_is_held_back(
        pieces in prop::collection::vec("[ab]{0,4}", 0..12),
        stops in prop::collection::vec("[ab]{1,4}", 1..4),
    ) {
        let mut matcher = StopMatcher::new(&stops, false);
        let (mut pushed, mut emitted) = (String::new(), String::new());
        for piece in &pieces {
            let push = matcher.push(piece);
            pushed += piece;
            emitted += &push.emit;
            if push.matched.is_some() {
                return Ok(());
            }
            let held = &pushed[emitted.len()..];
            prop_assert!(held.is_empty() || stops.iter().any(|stop| stop.starts_with(held)));
        }
    }
}

#[test]
fn a_stop_string_over_several_pieces_is_never_seen() {
    let stops = ["</answer>".to_owned()];
    let mut matcher = StopMatcher::new(&stops, false);
    let emitted: Vec<String> = ["4 <", "2? ", "</an", "swer", "> more"]
        .iter()
        .map(|piece| matcher.push(piece).emit)
        .collect();
    assert_eq!(emitted, ["4 ", "<2? ", "", "", ""]);
    assert_eq!(matcher.finish(), "");
}

#[test]
fn the_longest_of_those_that_end_together_wins() {
    let stops = ["b".to_owned(), "ab".to_owned(), "ab".to_owned()];
    let mut matcher = StopMatcher::new(&stops, true);
    let push = matcher.push("xabc");
    assert_eq!((push.emit.as_str(), push.matched), ("xab", Some(1)));
    assert_eq!(matcher.push("ab").emit, "");
}

#[test]
fn text_without_a_match_comes_out_at_the_end() {
    let mut matcher = StopMatcher::new(&["abc".to_owned(), String::new()], false);
    assert_eq!(matcher.push("xab").emit, "x");
    assert_eq!(matcher.finish(), "ab");
}
