//! What is drawn, without a terminal.

use super::{layout, wrap};

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn every_sequence_has_its_number_and_its_lines() {
    assert_eq!(
        layout(&texts(&["Once upon", "a\nb"]), 10, 24),
        ["0: Once up", "   on", "1: a", "   b"]
    );
}

#[test]
fn a_long_text_shows_its_end() {
    let lines = layout(&texts(&["1\n2\n3\n4\n5", "x"]), 10, 5);
    assert_eq!(lines, ["0: 4", "   5", "1: x"]);
}

#[test]
fn more_sequences_than_lines_are_counted() {
    let lines = layout(&texts(&["a"; 12]), 20, 5);
    assert_eq!(lines, [" 0: a", " 1: a", " 2: a", "... and 9 more"]);
}

#[test]
fn a_drawing_is_never_higher_than_the_terminal_nor_wider() {
    let text = "word ".repeat(50);
    for num_sequences in [1, 2, 7, 40] {
        for (width, height) in [(80, 24), (10, 3), (1, 1)] {
            let lines = layout(&vec![text.clone(); num_sequences], width, height);
            assert!(lines.len() < height.max(2), "{width}x{height}: {lines:?}");
            if width >= 20 {
                assert!(lines.iter().all(|line| line.len() <= width), "{lines:?}");
            }
        }
    }
}

#[test]
fn wide_characters_count_twice() {
    assert_eq!(wrap("日本語", 4), ["日本", "語"]);
    assert_eq!(wrap("", 4), [""]);
    assert_eq!(wrap("a\tb", 4), ["a b"]);
}
