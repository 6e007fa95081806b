//! Lines that begin with a slash.

use anyhow::{Result, bail};

pub(super) const HELP: &str = "\
/set NAME VALUE  set a sampling parameter: /set temp 0.5, /set top_k 20, /set stop [\".\"]
/set NAME default  set it back to what it was at the start
/show            show the parameters and the system message
/system TEXT     tell the model something before the conversation; without text, nothing
/image FILE      show a picture with the next message (--allow-images-from), or a data URL
/regen           answer the last message again
/reset           forget the conversation
/exit            end, as Ctrl-D does
Ctrl-C stops an answer. A message that begins with / is written with two: //.
";

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    /// A blank line.
    Nothing,
    /// A message.
    Say(&'a str),
    Set {
        name: &'a str,
        value: &'a str,
    },
    Show,
    System(&'a str),
    Image(&'a str),
    Reset,
    Regenerate,
    Help,
    Exit,
}

impl<'a> Command<'a> {
    pub(super) fn parse(line: &'a str) -> Result<Self> {
        let line = line.trim();
        let Some(rest) = line.strip_prefix('/') else {
            return Ok(match line {
                "" => Self::Nothing,
                message => Self::Say(message),
            });
        };
        if rest.starts_with('/') {
            return Ok(Self::Say(rest));
        }
        let (word, argument) = split_word(rest);
        let command = match word {
            "set" => return Self::parse_set(argument),
            "system" => return Ok(Self::System(argument)),
            "image" if argument.is_empty() => {
                bail!("`/image` takes a file, such as /image cat.png")
            }
            "image" => return Ok(Self::Image(argument)),
            "show" => Self::Show,
            "reset" => Self::Reset,
            "regen" => Self::Regenerate,
            "help" => Self::Help,
            "exit" | "quit" => Self::Exit,
            _ => bail!("unknown command `/{word}`: /help lists them"),
        };
        if !argument.is_empty() {
            bail!("`/{word}` takes nothing, but there is `{argument}`");
        }
        Ok(command)
    }

    fn parse_set(argument: &'a str) -> Result<Self> {
        // `temp=0.5` is as clear as `temp 0.5`.
        let (name, value) = match argument.split_once(|c: char| c == '=' || c.is_whitespace()) {
            Some((name, value)) if !value.trim().is_empty() => (name, value.trim()),
            _ => bail!("`/set` takes a parameter and a value, such as /set temp 0.5"),
        };
        Ok(Self::Set { name, value })
    }
}

fn split_word(text: &str) -> (&str, &str) {
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim()),
        None => (text, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::Command;

    fn parse(line: &str) -> Command<'_> {
        Command::parse(line).expect("a line that is understood")
    }

    #[test]
    fn lines_are_messages_unless_they_begin_with_a_slash() {
        assert_eq!(parse("  hi there "), Command::Say("hi there"));
        assert_eq!(parse("//etc/passwd"), Command::Say("/etc/passwd"));
        assert_eq!(parse("   "), Command::Nothing);
        assert_eq!(parse("/show"), Command::Show);
        assert_eq!(parse("/quit"), Command::Exit);
        assert_eq!(parse("/system Be  kind."), Command::System("Be  kind."));
        assert_eq!(parse("/system"), Command::System(""));
        assert_eq!(parse("/image a b.png"), Command::Image("a b.png"));
    }

    #[test]
    fn set_takes_a_name_and_a_value() {
        let set = |name, value| Command::Set { name, value };
        assert_eq!(parse("/set temp 0.5"), set("temp", "0.5"));
        assert_eq!(parse("/set temp=0.5"), set("temp", "0.5"));
        assert_eq!(parse("/set stop [\"a b\"]"), set("stop", "[\"a b\"]"));
        for wrong in ["/set", "/set temp", "/set temp ", "/set temp="] {
            assert!(Command::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_understood_is_not_sent() {
        for wrong in ["/sett temp 1", "/", "/image", "/reset now", "/regen twice"] {
            assert!(Command::parse(wrong).is_err(), "{wrong}");
        }
    }
}
