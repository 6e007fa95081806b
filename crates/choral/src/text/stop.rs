//! Stop strings in streamed text.
//!
//! Owns the text that may turn out to be the beginning of a stop string. Knows
//! nothing of tokens: text may be cut anywhere, and the result is the same.

#[cfg(test)]
mod tests;

/// Watches for the first stop string.
///
/// The first match is the one that is complete first, as text is generated from
/// left to right; if several stop strings end at the same character, the longest
/// of them (and among equal ones the first in the list). What comes after a match
/// is swallowed. An empty stop string never matches.
#[derive(Debug, Clone)]
pub struct StopMatcher {
    stops: Vec<Stop>,
    include_stop: bool,
    /// Text not given out: a suffix of what was pushed that a stop string may
    /// begin with.
    held: String,
    done: bool,
}

/// What became of a piece of text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StopPush {
    /// Text that no stop string can reach any more.
    pub emit: String,
    /// The stop string that was completed, by its place in the list.
    pub matched: Option<usize>,
}

/// One stop string and how much of it the text ends with (Knuth, Morris and
/// Pratt, 1977).
#[derive(Debug, Clone)]
struct Stop {
    bytes: Vec<u8>,
    /// `borders[i]`: longest proper prefix of `bytes` that ends at `i`.
    borders: Vec<usize>,
    matched: usize,
}

impl Stop {
    fn new(text: &str) -> Self {
        let bytes = text.as_bytes().to_vec();
        let mut borders = vec![0; bytes.len()];
        let mut length = 0;
        for at in 1..bytes.len() {
            while length > 0 && bytes[at] != bytes[length] {
                length = borders[length - 1];
            }
            length += usize::from(bytes[at] == bytes[length]);
            borders[at] = length;
        }
        Self {
            bytes,
            borders,
            matched: 0,
        }
    }

    /// Takes the next byte; whether the stop string is complete.
    fn advance(&mut self, byte: u8) -> bool {
        if self.bytes.is_empty() {
            return false;
        }
        while self.matched > 0 && self.bytes[self.matched] != byte {
            self.matched = self.borders[self.matched - 1];
        }
        self.matched += usize::from(self.bytes[self.matched] == byte);
        self.matched == self.bytes.len()
    }
}

impl StopMatcher {
    /// Watches for `stops`; the stop string is part of the text given out if
    /// `include_stop`.
    pub fn new(stops: &[String], include_stop: bool) -> Self {
        Self {
            stops: stops.iter().map(|stop| Stop::new(stop)).collect(),
            include_stop,
            held: String::new(),
            done: false,
        }
    }

    /// Takes more text.
    pub fn push(&mut self, text: &str) -> StopPush {
        if self.done {
            return StopPush::default();
        }
        for (at, byte) in text.bytes().enumerate() {
            let mut longest: Option<(usize, usize)> = None;
            for (index, stop) in self.stops.iter_mut().enumerate() {
                let length = stop.bytes.len();
                if stop.advance(byte) && longest.is_none_or(|(_, known)| length > known) {
                    longest = Some((index, length));
                }
            }
            if let Some((index, length)) = longest {
                return self.complete(&text[..=at], index, length);
            }
        }
        self.held.push_str(text);
        let reach = self
            .stops
            .iter()
            .map(|stop| stop.matched)
            .max()
            .unwrap_or(0);
        let certain = self.held.len() - reach;
        StopPush {
            emit: self.held.drain(..certain).collect(),
            matched: None,
        }
    }

    /// Ends with a stop string of `length` bytes that is complete after `text`.
    fn complete(&mut self, text: &str, index: usize, length: usize) -> StopPush {
        self.done = true;
        let mut emit = std::mem::take(&mut self.held);
        emit.push_str(text);
        if !self.include_stop {
            emit.truncate(emit.len() - length);
        }
        StopPush {
            emit,
            matched: Some(index),
        }
    }

    /// Gives out what was held back, when there is no more text.
    pub fn finish(&mut self) -> String {
        self.done = true;
        std::mem::take(&mut self.held)
    }
}
