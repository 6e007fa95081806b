//! A tokenizer, from `tokenizer.json` to `tokenizer.ggml.*`.
//!
//! Owns which of llama.cpp's kinds a tokenizer is: `llama` (pieces with U+2581 for
//! spaces, the longest-ranked merge first) or `gpt2` (byte-pair merges of words that
//! a named expression splits). Two tokenizers of one text are compared before
//! anything is written: GGUF only names rules, and a wrong name is a wrong model.

use super::ConvertError;
use crate::text::{ChatTemplate, EncodeOptions, Tokenizer};
use choral_formats::gguf::{Gguf, Strings, Writer};
use choral_formats::{FormatError, HfDir};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Texts that both tokenizers must agree on.
const SAMPLES: &[&str] = &[
    "Hello world! It's 12345 degrees, isn't it?",
    " leading space,  two  spaces\n\n  and\tlines\r\n\n",
    "def f(x):\n    return x**2 + 1  # fast\n",
    "Zażółć gęślą jaźń; 你好,世界; привет; 🙂👍🏽 ½ ٣",
    "WE'LL see: I'VE $3.14 <b>bold</b> http://a.b/c?d=e&f=1'000'000",
];

/// Numbers of `enum llama_token_type`.
mod kind {
    pub(super) const NORMAL: i32 = 1;
    pub(super) const UNKNOWN: i32 = 2;
    pub(super) const CONTROL: i32 = 3;
    pub(super) const USER_DEFINED: i32 = 4;
    pub(super) const UNUSED: i32 = 5;
    pub(super) const BYTE: i32 = 6;
}

/// Score of tokens that merges never make, and of rows that are no tokens.
const NO_SCORE: f32 = -1000.0;
const UNUSED_SCORE: f32 = -10_000.0;

/// Writes the tokenizer of a folder; `rows` are those of the embedding.
pub(super) fn write(
    folder: &HfDir,
    rows: usize,
    writer: &mut Writer<'static>,
    notes: &mut Vec<String>,
) -> Result<(), ConvertError> {
    let original = Tokenizer::from_hf_dir(&folder.path)?;
    let file = Json::open(&folder.path)?;
    let mut vocab = file.vocab(rows)?;
    if file.is_spm(&vocab) {
        write_spm(&file, &mut vocab, writer);
    } else {
        write_bpe(&file, writer)?;
    }
    let tokens: Strings = vocab.tokens.iter().map(String::as_bytes).collect();
    writer.set("tokenizer.ggml.tokens", tokens);
    writer.set("tokenizer.ggml.token_type", vocab.kinds.clone());
    write_roles(folder, &original, writer, notes)?;
    for (name, template) in ChatTemplate::sources_in_hf_dir(&folder.path)
        .map_err(|error| FormatError::field(&folder.path, "chat template", "one", error))?
    {
        let key = match name.as_str() {
            "default" => "tokenizer.chat_template".to_owned(),
            name => format!("tokenizer.chat_template.{name}"),
        };
        writer.set(key, template.as_str());
    }
    let is_once = file.adds_space_once();
    if is_once {
        notes.push(
            "a text that begins with a space gets no other before it, which GGUF cannot say: \
             programs that read the file add one"
                .to_owned(),
        );
    }
    compare(&original, writer, is_once)
}

/// The tokenizer that a file in the making would have.
fn converted(writer: &Writer<'static>) -> Result<Tokenizer, ConvertError> {
    let file = Gguf::from_bytes("converted tokenizer", writer.to_bytes()?)?;
    Ok(Tokenizer::from_gguf(file.metadata())?)
}

fn compare(
    original: &Tokenizer,
    writer: &Writer<'static>,
    but_first_spaces: bool,
) -> Result<(), ConvertError> {
    let converted = converted(writer)?;
    for text in SAMPLES {
        let text = if but_first_spaces {
            text.trim_start_matches(' ')
        } else {
            text
        };
        let options = EncodeOptions::default();
        // A vocabulary may have no token for some of these characters.
        let Ok(expected) = original.encode(text, options) else {
            continue;
        };
        let found = converted.encode(text, options)?;
        if found != expected {
            return Err(ConvertError::TokenizerDiffers {
                text: text.to_owned(),
                expected,
                found,
            });
        }
    }
    Ok(())
}

/// Roles, and what is added around a text.
fn write_roles(
    folder: &HfDir,
    original: &Tokenizer,
    writer: &mut Writer<'static>,
    notes: &mut Vec<String>,
) -> Result<(), ConvertError> {
    let named = |role: &str| {
        let text = original.special_tokens().get(&format!("{role}_token"))?;
        original.id_of(text)
    };
    let configured = |role: &str| -> Result<Option<u32>, FormatError> {
        let ids = folder.config.one_or_more_u32(&format!("{role}_token_id"))?;
        Ok(ids.and_then(|ids| ids.first().copied()))
    };
    let mut roles = HashMap::new();
    for (role, key) in [
        ("bos", "bos"),
        ("eos", "eos"),
        ("unk", "unknown"),
        ("pad", "padding"),
    ] {
        let id = named(role).or(configured(role)?);
        if let Some(id) = id {
            writer.set(format!("tokenizer.ggml.{key}_token_id"), id);
            roles.insert(role, id);
        }
    }
    let text = "a";
    let encode = |add_special| {
        let options = EncodeOptions {
            add_special,
            ..EncodeOptions::default()
        };
        original.encode(text, options)
    };
    let (plain, whole) = (encode(false)?, encode(true)?);
    let is_plain_at = |at: usize| whole[at..].starts_with(&plain);
    let at = (0..whole.len()).find(|&at| is_plain_at(at)).unwrap_or(0);
    let (before, after) = (&whole[..at], &whole[(at + plain.len()).min(whole.len())..]);
    // A beginning that no role names: what is added first is one.
    if let (None, Some(&first)) = (roles.get("bos"), before.first()) {
        writer.set("tokenizer.ggml.bos_token_id", first);
        roles.insert("bos", first);
    }
    for (role, added) in [("bos", before), ("eos", after)] {
        let adds = !added.is_empty() && added.first() == roles.get(role);
        if added.len() > usize::from(adds) {
            notes.push(format!(
                "the tokenizer adds the tokens {added:?} to a text, which GGUF cannot say: \
                 programs that read the file add {}",
                if adds { "the first only" } else { "none" }
            ));
        }
        writer.set(format!("tokenizer.ggml.add_{role}_token"), adds);
    }
    // Ends of text or turn that nothing above names.
    let known = converted(writer)?;
    let ends = original.eos_token_ids().iter();
    let mut missing = ends.filter(|id| !known.eos_token_ids().contains(id));
    for key in ["eot", "eom"] {
        if let Some(&id) = missing.next() {
            writer.set(format!("tokenizer.ggml.{key}_token_id"), id);
        }
    }
    let rest: Vec<&u32> = missing.collect();
    if !rest.is_empty() {
        notes.push(format!(
            "the tokens {rest:?} end a text, which GGUF cannot say"
        ));
    }
    Ok(())
}

/// The parsed `tokenizer.json`.
struct Json {
    path: PathBuf,
    root: Value,
}

struct Vocab {
    tokens: Vec<String>,
    kinds: Vec<i32>,
}

impl Json {
    fn open(folder: &Path) -> Result<Self, ConvertError> {
        let path = folder.join("tokenizer.json");
        // Its size was checked when the tokenizer was loaded.
        let text = std::fs::read(&path).map_err(|error| unreadable(&path, &error))?;
        let root = serde_json::from_slice(&text).map_err(|error| unreadable(&path, &error))?;
        Ok(Self { path, root })
    }

    fn unknown(&self, part: &'static str, found: impl std::fmt::Display) -> ConvertError {
        ConvertError::UnknownTokenizer {
            path: self.path.clone(),
            part,
            found: found.to_string(),
        }
    }

    /// Tokens by id, one for each row of the embedding.
    fn vocab(&self, rows: usize) -> Result<Vocab, ConvertError> {
        let model = &self.root["model"];
        let kind = model["type"].as_str().unwrap_or("BPE");
        let Some(entries) = model["vocab"].as_object().filter(|_| kind == "BPE") else {
            return Err(self.unknown("model", kind));
        };
        let mut tokens: Vec<Option<(String, i32)>> = vec![None; rows];
        let mut put = |id: Option<u64>, token: &str, kind: i32| {
            let slot = usize::try_from(id?)
                .ok()
                .and_then(|id| tokens.get_mut(id))?;
            *slot = Some((token.to_owned(), kind));
            Some(())
        };
        let beyond = |token: &str| {
            let expected = format!("an id below {rows}, the rows of the embedding");
            FormatError::field(&self.path, format!("token {token:?}"), expected, "another")
        };
        for (token, id) in entries {
            put(id.as_u64(), token, kind::NORMAL).ok_or_else(|| beyond(token))?;
        }
        for added in self.root["added_tokens"].as_array().into_iter().flatten() {
            let token = added["content"].as_str().unwrap_or_default();
            let is_special = added["special"].as_bool().unwrap_or(false) || looks_special(token);
            let kind = if is_special {
                kind::CONTROL
            } else {
                kind::USER_DEFINED
            };
            // User-defined tokens are found in plain text, where spaces are spaces.
            let spelled = if is_special {
                token.to_owned()
            } else {
                token.replace('\u{2581}', " ")
            };
            put(added["id"].as_u64(), &spelled, kind).ok_or_else(|| beyond(token))?;
        }
        let padded = tokens
            .into_iter()
            .enumerate()
            .map(|(id, token)| token.unwrap_or_else(|| (format!("[PAD{id}]"), kind::UNUSED)));
        let (tokens, kinds) = padded.unzip();
        Ok(Vocab { tokens, kinds })
    }

    /// Whether bytes have tokens of their own, `<0x0A>`, rather than an alphabet.
    fn is_spm(&self, vocab: &Vocab) -> bool {
        self.root["model"]["byte_fallback"].as_bool() == Some(true)
            && vocab.tokens.iter().any(|token| token == "<0x0A>")
    }

    /// What each merge makes, in order; both spellings of merges.
    fn merges(&self) -> Vec<[&str; 2]> {
        let merges = self.root["model"]["merges"].as_array();
        let merges = merges.into_iter().flatten();
        merges
            .filter_map(|merge| match merge {
                Value::String(pair) => pair.split_once(' ').map(|(a, b)| [a, b]),
                pair => Some([pair[0].as_str()?, pair[1].as_str()?]),
            })
            .collect()
    }

    /// The parts of a pre-tokenizer or normaliser, a sequence taken apart.
    fn parts(&self, what: &str, of: &str) -> Vec<&Value> {
        match &self.root[what] {
            Value::Null => Vec::new(),
            sequence if sequence["type"] == "Sequence" => {
                sequence[of].as_array().into_iter().flatten().collect()
            }
            single => vec![single],
        }
    }

    /// The name of the rules by which words are split.
    fn pre(&self) -> Result<&'static str, ConvertError> {
        let mut rules = Vec::new();
        for part in self.parts("pre_tokenizer", "pretokenizers") {
            match part["type"].as_str() {
                Some("Split") => {
                    let pattern = &part["pattern"];
                    let pattern = pattern["Regex"].as_str().or(pattern["String"].as_str());
                    rules.push(pattern.unwrap_or_default());
                }
                Some("Digits") if part["individual_digits"] == true => rules.push(DIGITS),
                Some("ByteLevel") if part["use_regex"] == false => {}
                Some("ByteLevel") => rules.push(GPT2),
                other => return Err(self.unknown("pre-tokenizer", other.unwrap_or("none"))),
            }
        }
        let ignores_merges = self.root["model"]["ignore_merges"] == true;
        let known = PRE.iter().find(|known| {
            known.rules == rules && known.ignores_merges.is_none_or(|it| it == ignores_merges)
        });
        known
            .map(|known| known.name)
            .ok_or_else(|| self.unknown("expression", format!("{rules:?}")))
    }

    /// Whether a space is put before a text.
    fn adds_space(&self) -> bool {
        let prepends = |part: &&Value| part["type"] == "Prepend";
        let normalizers = self.parts("normalizer", "normalizers");
        normalizers.iter().any(prepends) || self.adds_space_once()
    }

    /// Whether that is done only where a text does not begin with one.
    fn adds_space_once(&self) -> bool {
        let meta = |part: &&Value| {
            part["type"] == "Metaspace"
                && part["prepend_scheme"] != "never"
                && part["add_prefix_space"] != false
        };
        let parts = self.parts("pre_tokenizer", "pretokenizers");
        parts.iter().any(meta)
    }
}

fn unreadable(path: &Path, error: &impl std::fmt::Display) -> ConvertError {
    FormatError::field(path, "contents", "JSON", error).into()
}

/// What llama.cpp's converter takes for control tokens whatever the file says.
fn looks_special(token: &str) -> bool {
    ["<pad>", "<mask>", "<2mass>", "[@BOS@]"].contains(&token)
        || (token.starts_with("<|") && token.ends_with("|>"))
        || (token.starts_with("<｜") && token.ends_with("｜>"))
        || token.starts_with("<unused")
}

fn write_spm(file: &Json, vocab: &mut Vocab, writer: &mut Writer<'static>) {
    // Merges that make added tokens do not count: those are found before any merge.
    let is_normal = |(token, kind)| (kind == &kind::NORMAL).then_some(token);
    let pairs = vocab.tokens.iter().zip(&vocab.kinds);
    let normal: HashSet<&String> = pairs.filter_map(is_normal).collect();
    let mut ranks = HashMap::new();
    for [left, right] in file.merges() {
        let (made, next) = (format!("{left}{right}"), ranks.len());
        if normal.contains(&made) {
            ranks.entry(made).or_insert(next);
        }
    }
    let unknown = file.root["model"]["unk_token"].as_str();
    // Pieces that no merge makes are single characters: after all others.
    let mut next = ranks.len();
    let mut scores = Vec::with_capacity(vocab.tokens.len());
    for (token, kind) in vocab.tokens.iter().zip(&mut vocab.kinds) {
        if *kind == kind::NORMAL && is_byte(token) {
            *kind = kind::BYTE;
        } else if *kind == kind::NORMAL && unknown == Some(token.as_str()) {
            *kind = kind::UNKNOWN;
        }
        scores.push(match *kind {
            kind::BYTE => 0.0,
            kind::NORMAL => {
                let rank = ranks.get(token).copied().unwrap_or_else(|| {
                    next += 1;
                    next - 1
                });
                -(rank as f32)
            }
            kind::UNUSED => UNUSED_SCORE,
            _ => NO_SCORE,
        });
    }
    writer.set("tokenizer.ggml.model", "llama");
    writer.set("tokenizer.ggml.pre", "default");
    writer.set("tokenizer.ggml.scores", scores);
    if !file.adds_space() {
        writer.set("tokenizer.ggml.add_space_prefix", false);
    }
}

/// `<0x0A>`.
fn is_byte(token: &str) -> bool {
    let digits = token
        .strip_prefix("<0x")
        .and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
}

fn write_bpe(file: &Json, writer: &mut Writer<'static>) -> Result<(), ConvertError> {
    writer.set("tokenizer.ggml.model", "gpt2");
    writer.set("tokenizer.ggml.pre", file.pre()?);
    let merges = file.merges();
    // A space in a token would be read as the end of a merge's first half.
    if let Some(pair) = merges
        .iter()
        .find(|pair| pair.iter().any(|half| half.contains(' ')))
    {
        return Err(file.unknown("merge", format!("{pair:?}")));
    }
    let merges: Strings = merges.iter().map(|[a, b]| format!("{a} {b}")).collect();
    writer.set("tokenizer.ggml.merges", merges);
    Ok(())
}

/// The expressions of `tokenizer.json` files, and what llama.cpp calls them.
struct Pre {
    name: &'static str,
    rules: &'static [&'static str],
    /// Whether words that are tokens are taken whole, if that tells names apart.
    ignores_merges: Option<bool>,
}

const DIGITS: &str = "(digits)";
const GPT2: &str = "(the expression of GPT-2)";

macro_rules! cl100k {
    ($digits:literal) => {
        concat!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|",
            $digits,
            r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )
    };
}

macro_rules! o200k {
    ($suffix:literal, $digits:literal) => {
        concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
            $suffix,
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
            $suffix,
            "|",
            $digits,
            r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )
    };
}

const PRE: &[Pre] = &[
    Pre {
        name: "llama-bpe",
        rules: &[cl100k!(r"\p{N}{1,3}")],
        ignores_merges: Some(true),
    },
    Pre {
        name: "smaug-bpe",
        rules: &[cl100k!(r"\p{N}{1,3}")],
        ignores_merges: Some(false),
    },
    Pre {
        name: "qwen2",
        rules: &[cl100k!(r"\p{N}")],
        ignores_merges: Some(false),
    },
    Pre {
        name: "tekken",
        rules: &[o200k!("", r"\p{N}")],
        ignores_merges: Some(true),
    },
    Pre {
        name: "gpt-4o",
        rules: &[o200k!("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", r"\p{N}{1,3}")],
        ignores_merges: Some(false),
    },
    Pre {
        name: "gpt-2",
        rules: &[GPT2],
        ignores_merges: None,
    },
    Pre {
        name: "smollm",
        rules: &[DIGITS, GPT2],
        ignores_merges: None,
    },
];
