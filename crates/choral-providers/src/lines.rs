//! Bytes that come in pieces to lines, and lines to server-sent events.
//!
//! Bounded: a server that never ends a line is an error, not a full memory. Knows
//! nothing of what events mean.

use choral::provider::{ErrorKind, GenerateError};

/// Longest line or event in bytes.
const MAX_BYTES: usize = 16 << 20;

/// Cuts bytes into lines. A line ends with CR, LF or both.
#[derive(Debug, Default)]
pub(crate) struct LineBuffer {
    bytes: Vec<u8>,
    /// Bytes of `bytes` that are known to hold no line end.
    searched: usize,
    /// The last byte taken was a CR: an LF that follows belongs to it.
    after_cr: bool,
}

impl LineBuffer {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole line, without its end.
    pub(crate) fn next_line(&mut self) -> Result<Option<String>, GenerateError> {
        if self.after_cr && self.bytes.first() == Some(&b'\n') {
            self.bytes.remove(0);
            self.searched = self.searched.saturating_sub(1);
        }
        if !self.bytes.is_empty() {
            self.after_cr = false;
        }
        let end = self.bytes[self.searched..]
            .iter()
            .position(|byte| matches!(byte, b'\n' | b'\r'));
        let Some(end) = end.map(|end| end + self.searched) else {
            self.searched = self.bytes.len();
            if self.bytes.len() > MAX_BYTES {
                return Err(too_long());
            }
            return Ok(None);
        };
        self.after_cr = self.bytes[end] == b'\r';
        let rest = self.bytes.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.bytes, rest);
        line.pop();
        self.searched = 0;
        text(line).map(Some)
    }

    /// What comes after the last line end.
    pub(crate) fn rest(self) -> Result<String, GenerateError> {
        text(self.bytes)
    }
}

fn text(bytes: Vec<u8>) -> Result<String, GenerateError> {
    String::from_utf8(bytes)
        .map_err(|_| GenerateError::new(ErrorKind::Malformed, "the stream is not UTF-8"))
}

fn too_long() -> GenerateError {
    let message = format!("a line of the stream is longer than {MAX_BYTES} bytes");
    GenerateError::new(ErrorKind::Malformed, message)
}

/// One event of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The event's name; empty where streams have no names.
    pub(crate) event: String,
    pub(crate) data: String,
}

/// How a stream is cut into events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Server-sent events (WHATWG HTML, 9.2.6).
    Sse,
    /// A line is an event.
    Ndjson,
}

/// Puts events together.
#[derive(Debug)]
pub(crate) struct Frames {
    framing: Framing,
    lines: LineBuffer,
    frame: Frame,
    has_data: bool,
    is_begun: bool,
}

impl Frames {
    pub(crate) fn new(framing: Framing) -> Self {
        Self {
            framing,
            lines: LineBuffer::default(),
            frame: Frame::default(),
            has_data: false,
            is_begun: false,
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.lines.push(bytes);
    }

    /// The next whole event.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame>, GenerateError> {
        while let Some(mut line) = self.lines.next_line()? {
            if !self.is_begun {
                self.is_begun = true;
                if let Some(without) = line.strip_prefix('\u{feff}') {
                    line = String::from(without);
                }
            }
            if let Some(frame) = self.take(line)? {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    fn take(&mut self, line: String) -> Result<Option<Frame>, GenerateError> {
        if self.framing == Framing::Ndjson {
            let event = String::new();
            return Ok((!line.trim().is_empty()).then_some(Frame { event, data: line }));
        }
        if line.is_empty() {
            let frame = std::mem::take(&mut self.frame);
            return Ok(std::mem::take(&mut self.has_data).then_some(frame));
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.frame.data.push('\n');
                }
                self.frame.data.push_str(value);
                if self.frame.data.len() > MAX_BYTES {
                    return Err(too_long());
                }
            }
            "event" => value.clone_into(&mut self.frame.event),
            // Comments (an empty name), `id`, `retry`, and what is to be ignored.
            _ => {}
        }
        Ok(None)
    }

    /// The last event, if the stream ended without the end of one. Servers of NDJSON
    /// leave out the last line's end; an unfinished server-sent event is to be thrown
    /// away.
    pub(crate) fn finish(self) -> Result<Option<Frame>, GenerateError> {
        if self.framing == Framing::Sse {
            return Ok(None);
        }
        let data = self.lines.rest()?;
        let event = String::new();
        Ok((!data.trim().is_empty()).then_some(Frame { event, data }))
    }
}

#[cfg(test)]
mod tests;
