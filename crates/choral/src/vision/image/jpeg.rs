//! Whether a JPEG file is all there.
//!
//! The decoder fills what is missing with grey; a picture cut in half would pass for one
//! with a grey half. So the file's markers are walked before it is decoded.

const MARKER: u8 = 0xFF;
const START: u8 = 0xD8;
const END: u8 = 0xD9;
/// Stands for itself, without a length: temporary use in arithmetic coding.
const TEMPORARY: u8 = 0x01;
/// Begins entropy-coded data.
const SCAN: u8 = 0xDA;

/// Whether the file's segments and scans go on to its end marker. What comes after
/// that (a second picture, a preview) is nobody's affair.
///
/// Source: ITU-T T.81, annex B.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    let Some(mut rest) = bytes.strip_prefix(&[MARKER, START]) else {
        return false;
    };
    // Each turn takes a marker at least, so the walk ends.
    while let Some((marker, after)) = next_marker(rest) {
        rest = match marker {
            END => return true,
            TEMPORARY | 0xD0..=0xD7 => after,
            _ => {
                let Some(after) = skip_segment(after) else {
                    return false;
                };
                if marker == SCAN {
                    skip_scan(after)
                } else {
                    after
                }
            }
        };
    }
    false
}

/// The next marker and what follows it. Between segments decoders pass over bytes that
/// are none, and so does this.
fn next_marker(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let is_marker = |pair: &[u8]| pair[0] == MARKER && !matches!(pair[1], 0 | MARKER);
    let at = bytes.windows(2).position(is_marker)?;
    Some((bytes[at + 1], &bytes[at + 2..]))
}

/// What follows a segment, which begins with its length.
fn skip_segment(bytes: &[u8]) -> Option<&[u8]> {
    let (length, _) = bytes.split_first_chunk()?;
    let length = usize::from(u16::from_be_bytes(*length));
    bytes.get(length.max(2)..)
}

/// Entropy-coded data up to the marker that ends it; stuffed zeros and restarts do not.
fn skip_scan(bytes: &[u8]) -> &[u8] {
    let ends = |pair: &[u8]| pair[0] == MARKER && !matches!(pair[1], 0 | 0xD0..=0xD7 | MARKER);
    let at = bytes.windows(2).position(ends);
    at.map_or(&[], |at| &bytes[at..])
}
