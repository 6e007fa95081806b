//! Lines of a record that are another row's now.

use crate::job::row::{Form, RowHead};
use std::io;

/// A line of choral's own format for another row number. All else stays as it is, byte
/// for byte.
pub(super) fn renumbered(line: &[u8], row: u64) -> io::Result<Vec<u8>> {
    const FIELD: &[u8] = b",\"row\":";
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "a line without a row number");
    // The first such bytes are the field: in a string, its quotes would be escaped.
    let found = line.windows(FIELD.len()).position(|bytes| bytes == FIELD);
    let begin = found.ok_or_else(broken)? + FIELD.len();
    let digits = line[begin..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    let end = begin + digits.count();
    let mut renumbered = line[..begin].to_vec();
    renumbered.extend_from_slice(row.to_string().as_bytes());
    renumbered.extend_from_slice(&line[end..]);
    Ok(renumbered)
}

/// Whether the error on `line` names the place where the row is now.
pub(super) fn is_of_place(line: &[u8], head: &RowHead) -> bool {
    let Ok(answer) = serde_json::from_slice::<serde_json::Value>(line) else {
        return false;
    };
    match &head.form {
        Form::Own => {
            let error = &answer["error"];
            error["line"] == head.line && error["file"].as_str() == head.file.as_deref()
        }
        Form::OpenAi { .. } => {
            let message = &answer["response"]["body"]["error"]["message"];
            let place = match &head.file {
                Some(file) => format!("{file}: line {}: ", head.line),
                None => format!("line {}: ", head.line),
            };
            message
                .as_str()
                .is_some_and(|message| message.starts_with(&place))
        }
    }
}
