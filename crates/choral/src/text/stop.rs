//! Stop strings in text that arrives in pieces.
//!
//! Owns the search and the text that must be held back while it could still
//! become a stop string. Knows nothing of tokens: pieces may begin and end
//! anywhere, and make no difference. Read [`StopMatcher::push`] first.

#[cfg(test)]
mod tests;

/// Finds the first of several strings in a stream of text.
///
/// The match that is *complete* first wins: a stopped sequence never sees what
/// would have come after. Of several that end at the same byte the longest wins,
/// so that no part of a stop string is emitted. Equal strings count as the first
/// of them, and empty ones never match.
#[derive(Debug, Clone)]
pub struct StopMatcher {
    stops: Vec<Stop>,
    include_stop: bool,
    /// Text that is not emitted yet: as long as the longest beginning of a stop
    /// string that the stream ends with.
    held: String,
    matched: bool,
}

/// What one piece of text leads to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StopPush {
    /// Text that is certain to come before any stop string; with the match, the
    /// text before it, and the stop string itself if it is to be included.
    pub emit: String,
    /// The stop string that was found, as its place in the list. Text after it
    /// is dropped, and later pushes give nothing.
    pub matched: Option<usize>,
}

impl StopMatcher {
    /// A matcher for `stops`, which emits the match too if `include_stop`.
    pub fn new(stops: &[String], include_stop: bool) -> Self {
        let mut stops: Vec<Stop> = stops
            .iter()
            .enumerate()
            .filter(|(_, text)| !text.is_empty())
            .map(|(index, text)| Stop::new(index, text))
            .collect();
        // Stable: equal strings stay in the caller's order.
        stops.sort_by_key(|stop| std::cmp::Reverse(stop.text.len()));
        Self {
            stops,
            include_stop,
            held: String::new(),
            matched: false,
        }
    }

    /// Adds a piece of text, and returns the text that is certain by now.
    ///
    /// Takes time proportional to the piece times the number of stop strings,
    /// however much is held back.
    pub fn push(&mut self, text: &str) -> StopPush {
        if self.matched {
            return StopPush::default();
        }
        for (i, &byte) in text.as_bytes().iter().enumerate() {
            // All stops must see the byte; the longest is asked first.
            let mut found = None;
            for stop in &mut self.stops {
                if stop.step(byte) && found.is_none() {
                    found = Some((stop.index, stop.text.len()));
                }
            }
            if let Some((index, len)) = found {
                self.held.push_str(&text[..=i]);
                if !self.include_stop {
                    self.held.truncate(self.held.len() - len);
                }
                self.matched = true;
                return StopPush {
                    emit: std::mem::take(&mut self.held),
                    matched: Some(index),
                };
            }
        }
        StopPush {
            emit: self.hold(text),
            matched: None,
        }
    }

    /// Adds a piece of text in which no stop string can end, and returns the text
    /// that is certain by now. One that begins in it may end in a later piece.
    pub fn push_without_end(&mut self, text: &str) -> String {
        if self.matched {
            return String::new();
        }
        for &byte in text.as_bytes() {
            for stop in &mut self.stops {
                stop.step(byte);
            }
        }
        self.hold(text)
    }

    /// Adds text that all stops have seen, and lets go of what none of them can
    /// still become part of.
    fn hold(&mut self, text: &str) -> String {
        self.held.push_str(text);
        let held_back = self.stops.iter().map(|stop| stop.len).max().unwrap_or(0);
        let keep = self.held.split_off(self.held.len() - held_back);
        std::mem::replace(&mut self.held, keep)
    }

    /// Ends the stream; returns the text that was held back.
    pub fn finish(&mut self) -> String {
        self.stops.iter_mut().for_each(|stop| stop.len = 0);
        std::mem::take(&mut self.held)
    }
}

/// One stop string, and how much of it the stream ends with.
///
/// Source: Knuth, Morris and Pratt, "Fast pattern matching in strings", 1977.
#[derive(Debug, Clone)]
struct Stop {
    /// The place in the caller's list.
    index: usize,
    text: Box<[u8]>,
    /// `border[n]`: length of the longest string, other than the whole, that
    /// `text[..=n]` both begins and ends with.
    border: Box<[usize]>,
    /// Bytes of `text` that the stream ends with.
    len: usize,
}

impl Stop {
    fn new(index: usize, text: &str) -> Self {
        let text = text.as_bytes();
        let mut border = vec![0; text.len()];
        let mut len = 0;
        for n in 1..text.len() {
            while len > 0 && text[n] != text[len] {
                len = border[len - 1];
            }
            len += usize::from(text[n] == text[len]);
            border[n] = len;
        }
        Self {
            index,
            text: text.into(),
            border: border.into(),
            len: 0,
        }
    }

    /// Adds a byte of the stream; whether it completes the string.
    fn step(&mut self, byte: u8) -> bool {
        while self.len > 0 && self.text[self.len] != byte {
            self.len = self.border[self.len - 1];
        }
        self.len += usize::from(self.text[self.len] == byte);
        if self.len < self.text.len() {
            return false;
        }
        self.len = self.border[self.len - 1];
        true
    }
}
