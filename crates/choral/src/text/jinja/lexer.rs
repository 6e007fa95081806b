//! Cuts template source into tokens.
//!
//! Owns the whitespace rules: `trim_blocks` and `lstrip_blocks` are always on,
//! as they are for chat templates in transformers, and one trailing newline of
//! the source is dropped. Knows nothing of grammar; see `parser.rs`.
//!
//! Source: jinja2 `lexer.py`.

use std::sync::Arc;

use super::error::{Error, Result};

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tok {
    /// Text outside of tags, to be written as it is.
    Data(Arc<str>),
    BlockBegin,
    BlockEnd,
    VariableBegin,
    VariableEnd,
    Name(Arc<str>),
    Str(Arc<str>),
    Int(i128),
    Float(f64),
    Op(&'static str),
    End,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    pub(crate) tok: Tok,
    /// Counted from 1.
    pub(crate) line: usize,
}

/// Longest first: `**` must be tried before `*`.
const OPERATORS: [&str; 27] = [
    "**", "//", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}",
    ">", "<", "=", ".", ":", "|", ",", ";", "!",
];

/// Turns `source` into tokens, ending with [`Tok::End`].
pub(crate) fn tokenize(source: &str) -> Result<Vec<Token>> {
    let normalised = normalise_newlines(source);
    let source = normalised.strip_suffix('\n').unwrap_or(&normalised);
    let mut lexer = Lexer {
        source,
        pos: 0,
        line: 1,
        line_counted_to: 0,
        tokens: Vec::new(),
    };
    lexer.run()?;
    lexer.push(Tok::End);
    Ok(lexer.tokens)
}

fn normalise_newlines(source: &str) -> String {
    if source.contains('\r') {
        source.replace("\r\n", "\n").replace('\r', "\n")
    } else {
        source.to_owned()
    }
}

/// Whether a tag keeps or strips the whitespace beside it.
#[derive(Clone, Copy, PartialEq)]
enum Sign {
    None,
    Minus,
    Plus,
}

struct Lexer<'s> {
    source: &'s str,
    pos: usize,
    line: usize,
    /// `line` is the line of this offset.
    line_counted_to: usize,
    tokens: Vec<Token>,
}

impl<'s> Lexer<'s> {
    fn run(&mut self) -> Result<()> {
        while let Some(offset) = find_tag(&self.source[self.pos..]) {
            let tag = self.pos + offset;
            let kind = self.source.as_bytes()[tag + 1];
            let sign = self.sign_at(tag + 2);
            let after_sign = tag + 2 + usize::from(sign != Sign::None);
            let text = self.text_before(tag, sign, kind != b'{');
            self.push_data(text);
            match kind {
                b'#' => self.comment(after_sign)?,
                b'%' => {
                    if let Some(content) = raw_begin(self.source, after_sign) {
                        self.raw(content)?;
                    } else {
                        self.tag(after_sign, Tok::BlockBegin, Tok::BlockEnd, '%')?;
                    }
                }
                _ => self.tag(after_sign, Tok::VariableBegin, Tok::VariableEnd, '}')?,
            }
        }
        let rest = &self.source[self.pos..];
        self.push_data(rest);
        self.pos = self.source.len();
        Ok(())
    }

    fn push(&mut self, tok: Tok) {
        self.count_lines();
        self.tokens.push(Token {
            tok,
            line: self.line,
        });
    }

    fn count_lines(&mut self) {
        let skipped = &self.source[self.line_counted_to..self.pos];
        self.line += skipped.bytes().filter(|&b| b == b'\n').count();
        self.line_counted_to = self.pos;
    }

    fn push_data(&mut self, text: &str) {
        if !text.is_empty() {
            self.push(Tok::Data(text.into()));
        }
    }

    fn error<T>(&mut self, message: impl Into<String>) -> Result<T> {
        self.count_lines();
        Err(Error::syntax(self.line, message))
    }

    fn sign_at(&self, at: usize) -> Sign {
        match self.source.as_bytes().get(at) {
            Some(b'-') => Sign::Minus,
            Some(b'+') => Sign::Plus,
            _ => Sign::None,
        }
    }

    /// The text from here to `tag`, with what the tag strips to its left
    /// removed. `lstrip` is false for `{{`, which never eats indentation.
    fn text_before(&self, tag: usize, sign: Sign, lstrip: bool) -> &'s str {
        let text = &self.source[self.pos..tag];
        match sign {
            Sign::Minus => text.trim_end(),
            Sign::None if lstrip => {
                let line_start = text.rfind('\n').map_or(0, |newline| newline + 1);
                let starts_line = line_start > 0
                    || self.pos == 0
                    || self.source.as_bytes()[self.pos - 1] == b'\n';
                if starts_line && text[line_start..].trim().is_empty() {
                    &text[..line_start]
                } else {
                    text
                }
            }
            _ => text,
        }
    }

    /// Moves past a tag's end and whatever the end swallows to its right.
    fn after_end(&mut self, end: usize, sign: Sign, swallows_newline: bool) {
        self.pos = end;
        let rest = &self.source[end..];
        match sign {
            Sign::Minus => self.pos += rest.len() - rest.trim_start().len(),
            Sign::None if swallows_newline && rest.starts_with('\n') => self.pos += 1,
            _ => {}
        }
    }

    fn comment(&mut self, content: usize) -> Result<()> {
        let Some(offset) = self.source[content..].find("#}") else {
            self.pos = content;
            return self.error("missing end of comment tag");
        };
        let end = content + offset;
        let sign = if end > content {
            self.sign_at(end - 1)
        } else {
            Sign::None
        };
        self.after_end(end + 2, sign, true);
        Ok(())
    }

    fn raw(&mut self, content: usize) -> Result<()> {
        self.pos = content;
        let mut from = content;
        while let Some(offset) = self.source[from..].find("{%") {
            let tag = from + offset;
            let sign = self.sign_at(tag + 2);
            let inner = tag + 2 + usize::from(sign != Sign::None);
            if let Some((end, end_sign)) = raw_end(self.source, inner) {
                let text = self.text_before(tag, sign, true);
                self.push_data(text);
                self.after_end(end, end_sign, true);
                return Ok(());
            }
            from = tag + 2;
        }
        self.error("missing end of raw directive")
    }

    /// Lexes the inside of `{{ .. }}` or `{% .. %}`; `close` is the character
    /// before the final `}`.
    fn tag(&mut self, start: usize, begin: Tok, end: Tok, close: char) -> Result<()> {
        self.pos = start;
        self.push(begin);
        let mut brackets: Vec<&'static str> = Vec::new();
        loop {
            let rest = &self.source[self.pos..];
            let spaces = rest.len() - rest.trim_start().len();
            self.pos += spaces;
            let rest = &rest[spaces..];
            let Some(first) = rest.chars().next() else {
                return self.error("unexpected end of template inside a tag");
            };
            if brackets.is_empty() {
                let (sign, ending) = match first {
                    '-' => (Sign::Minus, &rest[1..]),
                    '+' if close == '%' => (Sign::Plus, &rest[1..]),
                    _ => (Sign::None, rest),
                };
                if ending.starts_with(close) && ending[1..].starts_with('}') {
                    let after = self.pos + (rest.len() - ending.len()) + 2;
                    self.push(end);
                    self.after_end(after, sign, close == '%');
                    return Ok(());
                }
            }
            if first == '"' || first == '\'' {
                self.string(first)?;
            } else if first.is_ascii_digit() {
                self.number()?;
            } else if first == '_' || first.is_alphabetic() {
                let length = rest
                    .find(|c: char| c != '_' && !c.is_alphanumeric())
                    .unwrap_or(rest.len());
                self.push(Tok::Name(rest[..length].into()));
                self.pos += length;
            } else if let Some(op) = OPERATORS.iter().find(|op| rest.starts_with(**op)) {
                self.balance(&mut brackets, op)?;
                self.push(Tok::Op(op));
                self.pos += op.len();
            } else {
                return self.error(format!("unexpected character {first:?}"));
            }
        }
    }

    fn balance(&mut self, brackets: &mut Vec<&'static str>, op: &'static str) -> Result<()> {
        match op {
            "(" => brackets.push(")"),
            "[" => brackets.push("]"),
            "{" => brackets.push("}"),
            ")" | "]" | "}" => match brackets.pop() {
                Some(expected) if expected == op => {}
                Some(expected) => {
                    return self.error(format!("unexpected '{op}', expected '{expected}'"));
                }
                None => return self.error(format!("unexpected '{op}'")),
            },
            _ => {}
        }
        Ok(())
    }

    fn string(&mut self, quote: char) -> Result<()> {
        let body = self.pos + 1;
        let mut escaped = false;
        for (offset, c) in self.source[body..].char_indices() {
            if escaped {
                escaped = false;
            } else if c == '\\' {
                escaped = true;
            } else if c == quote {
                let value = unescape(&self.source[body..body + offset]);
                self.push(Tok::Str(value.into()));
                self.pos = body + offset + 1;
                return Ok(());
            }
        }
        self.error("string is not closed")
    }

    fn number(&mut self) -> Result<()> {
        let rest = &self.source[self.pos..];
        if let Some((radix, digits)) = radix_prefix(rest) {
            let length = digits
                .find(|c: char| c != '_' && !c.is_digit(radix))
                .unwrap_or(digits.len());
            let text: String = digits[..length].chars().filter(|&c| c != '_').collect();
            let Ok(value) = i128::from_str_radix(&text, radix) else {
                return self.error("integer literal is empty or too large");
            };
            self.push(Tok::Int(value));
            self.pos += 2 + length;
            return Ok(());
        }
        let bytes = rest.as_bytes();
        let digits_from = |from: usize| {
            let mut to = from;
            while to < bytes.len() && (bytes[to].is_ascii_digit() || bytes[to] == b'_') {
                to += 1;
            }
            to
        };
        let mut end = digits_from(0);
        let mut is_float = false;
        // After a dot, digits are a subscript: `pair.0.1`.
        let after_dot = matches!(
            self.tokens.last(),
            Some(Token {
                tok: Tok::Op("."),
                ..
            })
        );
        if !after_dot {
            if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
                end = digits_from(end + 1);
                is_float = true;
            }
            if matches!(bytes.get(end), Some(b'e' | b'E')) {
                let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
                if bytes.get(end + 1 + sign).is_some_and(u8::is_ascii_digit) {
                    end = digits_from(end + 1 + sign);
                    is_float = true;
                }
            }
        }
        let text: String = rest[..end].chars().filter(|&c| c != '_').collect();
        let tok = if is_float {
            text.parse().ok().map(Tok::Float)
        } else {
            text.parse().ok().map(Tok::Int)
        };
        let Some(tok) = tok else {
            return self.error("integer literal is too large");
        };
        self.push(tok);
        self.pos += end;
        Ok(())
    }
}

fn find_tag(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    (0..bytes.len().saturating_sub(1))
        .find(|&at| bytes[at] == b'{' && matches!(bytes[at + 1], b'{' | b'%' | b'#'))
}

fn radix_prefix(text: &str) -> Option<(u32, &str)> {
    let mut chars = text.chars();
    if chars.next() != Some('0') {
        return None;
    }
    let radix = match chars.next()? {
        'x' | 'X' => 16,
        'o' | 'O' => 8,
        'b' | 'B' => 2,
        _ => return None,
    };
    Some((radix, chars.as_str()))
}

/// Where the text of a raw block starts, if `at` begins `raw %}`.
fn raw_begin(source: &str, at: usize) -> Option<usize> {
    let rest = source[at..].trim_start().strip_prefix("raw")?.trim_start();
    if let Some(text) = rest.strip_prefix("-%}") {
        return Some(source.len() - text.trim_start().len());
    }
    rest.strip_prefix("%}")
        .map(|text| source.len() - text.len())
}

/// Where an `endraw` tag ends, if `at` begins `endraw %}`.
fn raw_end(source: &str, at: usize) -> Option<(usize, Sign)> {
    let rest = source[at..]
        .trim_start()
        .strip_prefix("endraw")?
        .trim_start();
    let (sign, rest) = match rest.chars().next()? {
        '-' => (Sign::Minus, &rest[1..]),
        '+' => (Sign::Plus, &rest[1..]),
        _ => (Sign::None, rest),
    };
    rest.strip_prefix("%}")
        .map(|after| (source.len() - after.len(), sign))
}

/// Decodes Python's string escapes; unknown ones stay as they are.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(c) = rest.chars().next() else {
            out.push('\\');
            break;
        };
        rest = &rest[c.len_utf8()..];
        let simple = match c {
            '\n' => continue,
            '\\' | '\'' | '"' => c,
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            'x' | 'u' | 'U' | '0'..='7' => {
                rest = numeric_escape(c, rest, &mut out);
                continue;
            }
            _ => {
                out.push('\\');
                c
            }
        };
        out.push(simple);
    }
    out.push_str(rest);
    out
}

/// Handles `\xNN`, `\uNNNN`, `\UNNNNNNNN` and octal escapes; returns what
/// follows. A lone surrogate, which a Rust string cannot hold, becomes U+FFFD.
fn numeric_escape<'t>(kind: char, rest: &'t str, out: &mut String) -> &'t str {
    if kind.is_digit(8) {
        let more = rest.chars().take(2).take_while(|c| c.is_digit(8)).count();
        let first = kind.to_digit(8).unwrap_or(0);
        let value = rest[..more]
            .chars()
            .fold(first, |sum, c| sum * 8 + c.to_digit(8).unwrap_or(0));
        out.push(char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER));
        return &rest[more..];
    }
    let length = match kind {
        'x' => 2,
        'u' => 4,
        _ => 8,
    };
    let hex = |text: &'t str| {
        let digits = text.get(..length)?;
        digits
            .bytes()
            .all(|b| b.is_ascii_hexdigit())
            .then_some(())?;
        u32::from_str_radix(digits, 16).ok()
    };
    let Some(value) = hex(rest) else {
        out.push('\\');
        out.push(kind);
        return rest;
    };
    let after = &rest[length..];
    if (0xD800..0xDC00).contains(&value)
        && let Some(low) = after.strip_prefix("\\u").and_then(hex)
        && (0xDC00..0xE000).contains(&low)
    {
        let joined = 0x10000 + ((value - 0xD800) << 10) + (low - 0xDC00);
        out.push(char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER));
        return &after[6..];
    }
    out.push(char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER));
    after
}
