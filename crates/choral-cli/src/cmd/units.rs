//! Numbers and foreign text as people read them.

/// `25.2 MB`: powers of 1000, three digits.
pub(crate) fn bytes(n: u64) -> String {
    scaled(n, &["B", "kB", "MB", "GB", "TB", "PB", "EB"])
}

/// `494 M`: powers of 1000, three digits.
pub(crate) fn count(n: u64) -> String {
    scaled(n, &["", "k", "M", "G", "T", "P", "E"])
        .trim_end()
        .to_owned()
}

fn scaled(n: u64, units: &[&str]) -> String {
    let (mut value, mut unit) = (n as f64, 0);
    // What would round to 1000 is shown as 1 of the next unit.
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = match value {
        _ if unit == 0 => 0,
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {}", units[unit])
}

/// Text of strangers without what would steer a terminal.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\t' {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Bytes in quotes, as text where they are text: `"caf\xc3"`.
pub(crate) fn quoted_bytes(bytes: &[u8]) -> String {
    let mut shown = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                // Only what would be confusing: a quote that is not one's own is fine.
                '\'' => shown.push(c),
                _ => shown.extend(c.escape_debug()),
            }
        }
        shown.extend(chunk.invalid().escape_ascii().map(char::from));
    }
    shown.push('"');
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(12_288), "12.3 kB");
        assert_eq!(bytes(25_165_824), "25.2 MB");
        assert_eq!(bytes(999_999), "1.00 MB");
        assert_eq!(bytes(u64::MAX), "18.4 EB");
        assert_eq!(count(493_961_216), "494 M");
        assert_eq!(count(12), "12");
    }

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(quoted_bytes(b"a\"\x1b'\xc3\n"), r#""a\"\u{1b}'\xc3\n""#);
        assert_eq!(printable("a\u{1b}[2Jb\tä"), "a\\u{1b}[2Jb\tä");
    }
}
