//! Bytes that arrive in pieces, as text.

/// Turns pieces of bytes into text as soon as it is certain.
///
/// The concatenated output equals [`String::from_utf8_lossy`] of the concatenated
/// input: U+FFFD stands for each longest invalid run that could have started a
/// character, and is not written before the next byte has ruled that out.
#[derive(Debug, Clone, Default)]
pub(in crate::text) struct Utf8Stream {
    /// The beginning of a character: at most three bytes.
    pending: Vec<u8>,
}

impl Utf8Stream {
    /// Adds bytes; writes what they complete.
    pub(in crate::text) fn push(&mut self, bytes: &[u8], out: &mut String) {
        if self.pending.is_empty() {
            self.pending = write_certain(bytes, out).to_vec();
        } else {
            let mut all = std::mem::take(&mut self.pending);
            all.extend_from_slice(bytes);
            self.pending = write_certain(&all, out).to_vec();
        }
    }

    /// Writes what is left, which no byte can complete any more.
    pub(in crate::text) fn finish(&mut self, out: &mut String) {
        if !self.pending.is_empty() {
            self.pending.clear();
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

/// Writes all of `bytes` but an unfinished character at the end, which it returns.
fn write_certain<'a>(bytes: &'a [u8], out: &mut String) -> &'a [u8] {
    let mut chunks = bytes.utf8_chunks().peekable();
    while let Some(chunk) = chunks.next() {
        out.push_str(chunk.valid());
        let invalid = chunk.invalid();
        if invalid.is_empty() {
            continue;
        }
        let unfinished = std::str::from_utf8(invalid).is_err_and(|e| e.error_len().is_none());
        if chunks.peek().is_none() && unfinished {
            return invalid;
        }
        out.push(char::REPLACEMENT_CHARACTER);
    }
    &[]
}
