//! How byte-pair tokenizers split a text into words, by `tokenizer.ggml.pre`.
//!
//! GGUF files do not hold the expressions, only a name for them. The names are
//! those of llama.cpp's `llama-vocab.cpp`; the expressions are from each model's
//! own `tokenizer.json`, with ASCII-only case folding of English contractions, as
//! in llama.cpp. Where llama.cpp stays close to a class of letters rather than
//! have it (`tekken`, `gpt-4o`), we have the class.

use fancy_regex::{Regex, RegexBuilder};

use crate::text::tokenizer::{MAX_REGEX_STEPS, TokenizerError};

/// The rules that a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PreTokenizer {
    /// Each splits the words that the one before has left; what lies between two
    /// matches is a word too.
    pub(super) regexes: &'static [&'static str],
    /// A word that is a token becomes that token, whatever the merges say.
    pub(super) ignore_merges: bool,
    /// Whether BOS is added if the file does not say.
    pub(super) add_bos: bool,
    /// Words are text with U+2581 for spaces, and have tokens like `<0x0A>` for
    /// bytes, instead of spelling all bytes in an alphabet of their own.
    pub(super) raw: bool,
}

macro_rules! contractions {
    () => {
        r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
    };
}

/// The rest of the expressions that descend from cl100k: runs of other
/// characters with the line ends after them, then white space.
macro_rules! others_and_spaces {
    () => {
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    };
}

/// Words of the o200k kind: capitals, then small letters.
macro_rules! cased_words {
    ($suffix:expr) => {
        concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
            $suffix,
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
            $suffix
        )
    };
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

const LLAMA3: &str = concat!(
    contractions!(),
    r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    others_and_spaces!()
);

const QWEN2: &str = concat!(
    contractions!(),
    r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    others_and_spaces!()
);

const QWEN35: &str = concat!(
    contractions!(),
    r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}",
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

const UFAKZEKA: &str = concat!(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}", others_and_spaces!());

const MINICPM5: &str = concat!(
    contractions!(),
    r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+",
    others_and_spaces!()
);

const JAIS2: &str = concat!(
    contractions!(),
    r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+",
    r"|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)",
    r"|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}"
);

const BAILING: &str = concat!(
    r"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
);

const SEED_CODER: &str = concat!(
    contractions!(),
    r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"
);

const EXAONE_MOE: &str = concat!(
    contractions!(),
    r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
);

const TEKKEN: &str = concat!(
    cased_words!(""),
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

const GPT4O: &str = concat!(
    cased_words!(concat!(contractions!(), "?")),
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

const YOUTU: &str = concat!(
    cased_words!(concat!(contractions!(), "?")),
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// Hangul, full-width punctuation, Bopomofo, Han and Kana, each on its own.
const YOUTU_SCRIPTS: &str = concat!(
    r"[\x{AC00}-\x{D7A3}\x{3131}-\x{318E}]+",
    r"|[\x{FF01}\x{2026}\x{201C}\x{201D}\x{2018}\x{2019}\x{2014}\x{FF1A}\x{FF1B}\x{FF0C}",
    r"\x{3001}-\x{303F}\x{FE30}-\x{FE4F}]+",
    r"|[\x{3105}-\x{312F}]+|[\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+"
);

const KIMI: &str = concat!(
    r"\p{Han}+",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*",
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+",
    contractions!(),
    r"?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+",
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*",
    contractions!(),
    r"?|\p{N}{1,3}",
    others_and_spaces!()
);

/// Han and Kana, as the `DeepSeek` models after the first have them.
const HAN_AND_KANA: &str = r"[\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+";

/// Han, and (sic) all from U+0800 to it, and Hangul.
const HAN_AND_MORE: &str = r"[\x{4E00}-\x{9FA5}\x{0800}-\x{4E00}\x{AC00}-\x{D7FF}]+";

const DEEPSEEK_V3: &str = concat!(
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"##,
    r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*",
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
);

const SPARK: &str = concat!(
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"##,
    r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+"
);

/// Letters with case, as far as the list in the first `DeepSeek`'s `tokenizer.json` goes.
const DEEPSEEK_LLM_LETTERS: &str = concat!(
    r"\s?[A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293}",
    r"\x{295}-\x{2AF}\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}",
    r"\x{38C}\x{38E}-\x{3A1}\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}",
    r"\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}",
    r"\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}",
    r"\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}",
    r"\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}",
    r"\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}",
    r"\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124}",
    r"\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F}",
    r"\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}",
    r"\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F}",
    r"\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}",
    r"\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}\x{104B0}-\x{104D3}",
    r"\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF}",
    r"\x{1E900}-\x{1E943}]+"
);

/// (sic: the range from `:` to `~` holds all ASCII letters.)
const DEEPSEEK_LLM_PUNCTUATION: &str = concat!(
    r"\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}",
    r"\x{2018}-\x{201F}\x{3000}-\x{3002}]+"
);

/// Words up to a space or a stop of European, Chinese, Arabic or Hindi writing.
const BLOOM: &str = r" ?[^(\s|.,!?\x{2026}\x{3002}\x{FF0C}\x{3001}\x{0964}\x{06D4}\x{060C})]+";

/// Runs of digits in threes, counted from the right.
const DIGITS_FROM_RIGHT: &str = r"\p{N}{1,2}(?=(?:\p{N}{3})*(?!\p{N}))|\p{N}{3}";

/// Scripts without spaces between words.
const AFMOE_SCRIPTS: &str = concat!(
    r"[\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{F900}-\x{FAFF}\x{3040}-\x{309F}",
    r"\x{30A0}-\x{30FF}\x{FF65}-\x{FF9F}\x{2F00}-\x{2FDF}\x{0E40}-\x{0E7F}",
    r"\x{0E80}-\x{0EFF}\x{1780}-\x{17FF}\x{1000}-\x{109F}\x{AA60}-\x{AA7F}",
    r"\x{A9E0}-\x{A9FF}\x{AC00}-\x{D7AF}\x{1100}-\x{11FF}]+"
);

const LINES: &str = r"[^\n]+|[\n]+";

impl PreTokenizer {
    /// The rules of a name, if there is a model of that name.
    pub(super) fn named(name: &str) -> Option<Self> {
        let regexes: &'static [&'static str] = match name {
            "default" => &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
            "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "falcon-h1" | "pixtral"
            | "midm-2.0" | "lfm2" | "jina-v5-nano" | "dbrx" | "smaug-bpe" | "glm4"
            | "chatglm-bpe" => &[LLAMA3],
            "qwen2" | "deepseek-r1-qwen" | "kormo" | "f2llmv2" | "megrez" | "stablelm2"
            | "hunyuan" | "solar-open" | "grok-2" => &[QWEN2],
            "qwen35" => &[QWEN35],
            "ufakzeka" => &[UFAKZEKA],
            "laguna" => &[LINES, QWEN2],
            "minicpm5" => &[r"\p{N}{1,3}", MINICPM5],
            "jais-2" => &[JAIS2],
            "gpt-2" | "phi-2" | "jina-es" | "jina-de" | "gigachat" | "jina-v2-es"
            | "jina-v2-de" | "a.x-4.0" | "mellum" | "modern-bert" | "jina-v1-en"
            | "jina-v2-code" | "roberta-bpe" | "exaone4" | "mpt" | "olmo" | "jais" | "trillion"
            | "granite-docling" => &[GPT2],
            "starcoder" | "refact" | "command-r" | "smollm" | "codeshell" | "exaone"
            | "minerva-7b" | "mellum2" => &[r"\p{N}", GPT2],
            "falcon" => &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
            "deepseek-llm" => &[
                r"[\r\n]",
                DEEPSEEK_LLM_LETTERS,
                DEEPSEEK_LLM_PUNCTUATION,
                r"\s+$",
                HAN_AND_MORE,
                r"\p{N}+",
            ],
            "deepseek-coder" => &[
                r"[\r\n]",
                r"\s?\p{L}+",
                r"\s?\p{P}+",
                HAN_AND_MORE,
                r"\p{N}",
            ],
            "deepseek-v3" | "hunyuan-dense" | "joyai-llm" | "hy_v4" => {
                &[r"\p{N}{1,3}", HAN_AND_KANA, DEEPSEEK_V3]
            }
            "spark2_5" => &[r"\p{N}{1,3}", HAN_AND_KANA, SPARK, r"\p{N}"],
            "youtu" => &[YOUTU_SCRIPTS, YOUTU],
            "poro-chat" | "bloom" | "gpt3-finnish" => &[BLOOM],
            "viking" => &[BLOOM, r"\p{N}"],
            "tekken" => &[TEKKEN],
            "chameleon" => &[
                r"<sentinel:[0-9]+>",
                r"(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
                r"([\t\n]|    |  )",
                r"\p{N}",
                r"[\p{P}!-/:-@\[-`{-~]",
                GPT2,
            ],
            "gpt-4o"
            | "llama4"
            | "kanana2"
            | "talkie"
            | "minimax-m2"
            | "granite-embed-multi-97m" => &[GPT4O],
            "tiny_aya" | "cohere2moe" => &[r"\d{1,3}(?=(?:\d{3})*\b)", GPT4O],
            "kimi-k2" => &[KIMI],
            "superbpe" => &[r"\p{N}+", r"(?=(\d{3})+(?!\d))"],
            "bailingmoe" | "bailingmoe2" | "llada-moe" => &[BAILING],
            "seed-coder" => &[SEED_CODER],
            "exaone-moe" => &[EXAONE_MOE],
            "afmoe" => &[DIGITS_FROM_RIGHT, AFMOE_SCRIPTS, DEEPSEEK_V3],
            "gemma4" | "granite-embed-multi-311m" | "sarvam-moe" => &[LINES],
            _ => return None,
        };
        // Some others share the expression of Llama 3, but not the rest.
        let of_llama3 =
            regexes == [LLAMA3] && !matches!(name, "dbrx" | "smaug-bpe" | "glm4" | "chatglm-bpe");
        Some(Self {
            regexes,
            ignore_merges: of_llama3
                || matches!(
                    name,
                    "tekken" | "youtu" | "minicpm5" | "granite-embed-multi-97m"
                ),
            add_bos: of_llama3
                || matches!(
                    name,
                    "tekken" | "chameleon" | "gemma4" | "granite-embed-multi-311m"
                ),
            raw: regexes == [LINES],
        })
    }

    /// Makes the expressions ready for use.
    pub(super) fn compile(&self) -> Result<Splitter, TokenizerError> {
        let compile = |expression: &&str| {
            RegexBuilder::new(expression)
                .backtrack_limit(MAX_REGEX_STEPS)
                .build()
        };
        let regexes: Result<_, _> = self.regexes.iter().map(compile).collect();
        let regexes = regexes.map_err(|error| TokenizerError::Failed(error.to_string()))?;
        Ok(Splitter { regexes })
    }
}

/// Compiled rules.
#[derive(Debug)]
pub(super) struct Splitter {
    regexes: Vec<Regex>,
}

impl Splitter {
    /// The words of a text, none of them empty.
    pub(super) fn words<'t>(&self, text: &'t str) -> Result<Vec<&'t str>, TokenizerError> {
        let mut words = vec![text];
        for regex in &self.regexes {
            let mut finer = Vec::with_capacity(words.len());
            for word in words {
                let mut end = 0;
                for found in regex.find_iter(word) {
                    let found = found.map_err(|error| TokenizerError::Failed(error.to_string()))?;
                    finer.push(&word[end..found.start()]);
                    finer.push(found.as_str());
                    end = found.end();
                }
                finer.push(&word[end..]);
            }
            finer.retain(|word| !word.is_empty());
            words = finer;
        }
        Ok(words)
    }
}
