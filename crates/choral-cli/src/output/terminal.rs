//! Text for terminals. What a model writes is foreign, and a terminal obeys.

use crate::cmd::units::printable;
use std::borrow::Cow;
use std::io::{self, Write as _};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// `text` without what a terminal would obey: control characters other than line
/// feeds and tabs show as U+FFFD.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(obeyed) {
        Cow::Owned(text.replace(obeyed, "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Says something on standard error, in one line: names of files in it are foreign.
pub(crate) fn tell(message: &str) {
    tell_plainly(&format!("choral: {}", printable(message)));
}

/// The same for what speaks for itself: a summary, a configuration.
pub(crate) fn tell_plainly(text: &str) {
    // A closed standard error has nobody to tell.
    let _ = writeln!(io::stderr(), "{}", harmless(text));
}

/// `text` as it is for a file or a pipe, and [`harmless`] for a terminal.
pub(crate) fn shown(text: &str, to_terminal: bool) -> Cow<'_, str> {
    if to_terminal {
        harmless(text)
    } else {
        Cow::Borrowed(text)
    }
}

/// Lines of at most `width` columns, broken between words where there are such.
pub(crate) fn wrap_words(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        for (nth, word) in paragraph.replace('\t', " ").split(' ').enumerate() {
            let space = usize::from(nth > 0);
            if line.width() + space + word.width() > width && !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            } else if space > 0 {
                line.push(' ');
            }
            for c in word.chars() {
                // A word that is wider than a line.
                if line.width() + c.width().unwrap_or(0) > width && !line.is_empty() {
                    lines.push(std::mem::take(&mut line));
                }
                line.push(c);
            }
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{harmless, shown, wrap_words};

    #[test]
    fn a_terminal_gets_no_escape_sequences() {
        assert_eq!(
            harmless("a\x1b[2Jb\r\u{9b}c\n\td"),
            "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\n\td"
        );
        assert_eq!(shown("\x1b[1m", false), "\x1b[1m");
    }

    #[test]
    fn text_is_broken_between_words_and_inside_of_long_ones() {
        assert_eq!(wrap_words("a bc def", 4), ["a bc", "def"]);
        assert_eq!(wrap_words("abcdef g", 3), ["abc", "def", "g"]);
        assert_eq!(wrap_words("a\n\nb", 9), ["a", "", "b"]);
        assert_eq!(wrap_words("日本語", 4), ["日本", "語"]);
        assert_eq!(wrap_words("", 4), [""]);
        assert_eq!(wrap_words("  if a:\n b", 9), ["  if a:", " b"]);
    }
}
