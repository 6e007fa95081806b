//! Text for terminals. What a model writes is foreign, and a terminal obeys.

use std::borrow::Cow;

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

/// `text` as it is for a file or a pipe, and [`harmless`] for a terminal.
pub(crate) fn shown(text: &str, to_terminal: bool) -> Cow<'_, str> {
    if to_terminal {
        harmless(text)
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::{harmless, shown};

    #[test]
    fn a_terminal_gets_no_escape_sequences() {
        assert_eq!(
            harmless("a\x1b[2Jb\r\u{9b}c\n\td"),
            "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\n\td"
        );
        assert_eq!(shown("\x1b[1m", false), "\x1b[1m");
    }
}
