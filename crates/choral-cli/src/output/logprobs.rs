//! Log-probabilities as a table.

use super::terminal::harmless;
use choral::job::{TokenAlternative, TokenEntry};
use std::io::{self, Write};

/// Writes a line a token: its log-probability, its text, and what else could have
/// stood there.
pub(crate) fn write(out: &mut dyn Write, entries: &[TokenEntry]) -> io::Result<()> {
    writeln!(out, "  {:>9}  token", "logprob")?;
    for entry in entries {
        write!(out, "  {}", token(&entry.chosen))?;
        for (nth, alternative) in entry.top_logprobs.iter().enumerate() {
            let separator = if nth == 0 { "   | " } else { ", " };
            write!(out, "{separator}{}", token(alternative).trim_start())?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// `  -0.1234  " the"`: a token's text always shows its spaces and line feeds.
fn token(token: &TokenAlternative) -> String {
    format!("{:9.4}  {:?}", token.logprob, harmless(&token.token))
}

#[cfg(test)]
mod tests {
    use super::write;
    use choral::job::{TokenAlternative, TokenEntry};

    #[test]
    fn every_token_has_a_line_with_its_alternatives() {
        let token = |token_id, text: &str, logprob| TokenAlternative {
            token_id: Some(token_id),
            token: text.to_owned(),
            logprob,
        };
        let entry = TokenEntry {
            chosen: token(5, " cat", -1.25),
            top_logprobs: vec![token(6, "\n", -0.5), token(5, " cat", -1.25)],
        };
        let mut out = Vec::new();
        write(&mut out, &[entry]).expect("memory can be written");
        assert_eq!(
            String::from_utf8(out).expect("UTF-8"),
            "    logprob  token\n    -1.2500  \" cat\"   | -0.5000  \"\\n\", -1.2500  \" cat\"\n"
        );
    }
}
