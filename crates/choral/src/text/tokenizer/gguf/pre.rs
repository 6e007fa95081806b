//! How a GGUF file's `tokenizer.ggml.pre` splits text before BPE.
//!
//! Each name stands for one or more regular expressions, applied one after the
//! other: every match and every gap between matches becomes a piece of its own.
//! The expressions are those of the models' `tokenizer.json`; where llama.cpp
//! approximates one (its engine lacks some Unicode classes) the model's own is
//! used, since the model was trained with it.
//!
//! Source: the models' `tokenizer.json`; names from llama.cpp
//! `llama-vocab.cpp`.

use fancy_regex::{Regex, RegexBuilder};

use crate::text::tokenizer::TokenizerError;

/// What a name implies.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about a name, each with its own meaning"
)]
#[derive(Debug, Clone, Copy)]
pub(super) struct Pre {
    patterns: &'static [&'static str],
    /// A piece that is a token as a whole is not taken apart and merged again.
    pub(super) ignore_merges: bool,
    /// A beginning-of-sequence token is added unless the file says otherwise.
    pub(super) add_bos: bool,
    /// The file's default beginning-of-sequence token does not hold.
    pub(super) no_default_bos: bool,
    /// Plain UTF-8 with `▁` for spaces and `<0xNN>` for bytes, instead of
    /// GPT-2's byte alphabet.
    pub(super) raw: bool,
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const YOUTU: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const KIMI_K2: &str = r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
const SPARK25: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+"##;
const CJK_AND_KANA: &str = r"[\x{4e00}-\x{9fa5}\x{3040}-\x{309f}\x{30a0}-\x{30ff}]+";
const CJK_AND_BELOW: &str = r"[\x{4e00}-\x{9fa5}\x{800}-\x{4e00}\x{ac00}-\x{d7ff}]+";
/// The cased letters of the Unicode version that `DeepSeek` LLM was trained with.
const DEEPSEEK_LETTERS: &str = r"\s?[A-Za-z\x{b5}\x{c0}-\x{d6}\x{d8}-\x{f6}\x{f8}-\x{1ba}\x{1bc}-\x{1bf}\x{1c4}-\x{293}\x{295}-\x{2af}\x{370}-\x{373}\x{376}\x{377}\x{37b}-\x{37d}\x{37f}\x{386}\x{388}-\x{38a}\x{38c}\x{38e}-\x{3a1}\x{3a3}-\x{3f5}\x{3f7}-\x{481}\x{48a}-\x{52f}\x{531}-\x{556}\x{10a0}-\x{10c5}\x{13a0}-\x{13f5}\x{13f8}-\x{13fd}\x{1c90}-\x{1cba}\x{1cbd}-\x{1cbf}\x{1d00}-\x{1d2b}\x{1d6b}-\x{1d77}\x{1d79}-\x{1d9a}\x{1e00}-\x{1f15}\x{1f18}-\x{1f1d}\x{1f20}-\x{1f45}\x{1f48}-\x{1f4d}\x{1f50}-\x{1f57}\x{1f59}\x{1f5b}\x{1f5d}\x{1f5f}-\x{1f7d}\x{1f80}-\x{1fb4}\x{1fb6}-\x{1fbc}\x{1fbe}\x{1fc2}-\x{1fc4}\x{1fc6}-\x{1fcc}\x{1fd0}-\x{1fd3}\x{1fd6}-\x{1fdb}\x{1fe0}-\x{1fec}\x{1ff2}-\x{1ff4}\x{1ff6}-\x{1ffc}\x{2102}\x{2107}\x{210a}-\x{2113}\x{2115}\x{2119}-\x{211d}\x{2124}\x{2126}\x{2128}\x{212a}-\x{212d}\x{212f}-\x{2134}\x{2139}\x{213c}-\x{213f}\x{2145}-\x{2149}\x{214e}\x{2183}\x{2184}\x{2c00}-\x{2c7b}\x{2c7e}-\x{2ce4}\x{2ceb}-\x{2cee}\x{2cf2}\x{2cf3}\x{a640}-\x{a66d}\x{a680}-\x{a69b}\x{a722}-\x{a76f}\x{a771}-\x{a787}\x{a78b}-\x{a78e}\x{ab70}-\x{abbf}\x{fb00}-\x{fb06}\x{fb13}-\x{fb17}\x{ff21}-\x{ff3a}\x{ff41}-\x{ff5a}\x{10400}-\x{1044f}\x{104b0}-\x{104d3}\x{104d8}-\x{104fb}\x{10c80}-\x{10cb2}\x{10cc0}-\x{10cf2}\x{118a0}-\x{118df}\x{1e900}-\x{1e943}]+";
const DEEPSEEK_PUNCTUATION: &str =
    r"\s?[!-/:-~\x{ff01}-\x{ff0f}\x{ff1a}-\x{ff5e}\x{2018}-\x{201f}\x{3000}-\x{3002}]+";
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";
/// Runs of digits in threes, counted from the right.
const DIGITS_FROM_RIGHT: &str = r"\p{N}{1,2}(?=(?:\p{N}{3})*(?!\p{N}))|\p{N}{3}";
const LINES: &str = r"[^\n]+|[\n]+";

const PLAIN: Pre = Pre {
    patterns: &[],
    ignore_merges: false,
    add_bos: false,
    no_default_bos: false,
    raw: false,
};

const fn split(patterns: &'static [&'static str]) -> Pre {
    Pre { patterns, ..PLAIN }
}

/// The split that `tokenizer.ggml.pre` names; without the key it is `default`.
pub(super) fn named(name: &str) -> Result<Pre, TokenizerError> {
    Ok(match name {
        "default" | "" => split(&[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"]),
        "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0"
        | "lfm2" | "jina-v5-nano" => Pre {
            ignore_merges: true,
            add_bos: true,
            ..split(&[LLAMA3])
        },
        "minicpm5" => Pre {
            ignore_merges: true,
            ..split(&[
                r"\p{N}{1,3}",
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            ])
        },
        "dbrx" | "smaug-bpe" => split(&[LLAMA3]),
        "glm4" | "chatglm-bpe" => Pre {
            no_default_bos: true,
            ..split(&[LLAMA3])
        },
        "jais-2" => split(&[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}",
        ]),
        "deepseek-llm" => split(&[
            r"[\r\n]",
            DEEPSEEK_LETTERS,
            DEEPSEEK_PUNCTUATION,
            r"\s+$",
            CJK_AND_BELOW,
            r"\p{N}+",
        ]),
        "deepseek-coder" => split(&[
            r"[\r\n]",
            r"\s?\p{L}+",
            r"\s?\p{P}+",
            CJK_AND_BELOW,
            r"\p{N}",
        ]),
        "deepseek-v3" | "hunyuan-dense" | "joyai-llm" | "hy_v4" => {
            split(&[r"\p{N}{1,3}", CJK_AND_KANA, DEEPSEEK3])
        }
        "spark2_5" => split(&[r"\p{N}{1,3}", CJK_AND_KANA, SPARK25, r"\p{N}"]),
        "youtu" => Pre {
            ignore_merges: true,
            ..split(&[
                r"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[\x{4e00}-\x{9fa5}\x{3040}-\x{309f}\x{30a0}-\x{30ff}]+",
                YOUTU,
            ])
        },
        "falcon" => split(&[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, r"[0-9][0-9][0-9]"]),
        "starcoder" | "refact" | "command-r" | "smollm" | "codeshell" | "exaone" | "minerva-7b"
        | "mellum2" => split(&[r"\p{N}", GPT2]),
        "gpt-2" | "phi-2" | "jina-es" | "jina-de" | "gigachat" | "jina-v2-es" | "jina-v2-de"
        | "a.x-4.0" | "mellum" | "modern-bert" | "jina-v1-en" | "jina-v2-code" | "roberta-bpe"
        | "exaone4" | "mpt" | "olmo" | "jais" | "trillion" | "granite-docling" => split(&[GPT2]),
        "stablelm2" | "qwen2" | "deepseek-r1-qwen" | "kormo" | "f2llmv2" | "hunyuan"
        | "solar-open" | "megrez" | "grok-2" => split(&[QWEN2]),
        "qwen35" => split(&[QWEN35]),
        "poro-chat" | "bloom" | "gpt3-finnish" => split(&[BLOOM]),
        "viking" => split(&[BLOOM, r"\p{N}"]),
        "tekken" => Pre {
            ignore_merges: true,
            add_bos: true,
            ..split(&[TEKKEN])
        },
        "chameleon" => Pre {
            add_bos: true,
            ..split(&[
                r"<sentinel:[0-9]+>",
                r"(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
                r"([\t\n]|    |  )",
                r"\p{N}",
                r"[\p{P}!-/:-@\[-`{-~]",
                GPT2,
            ])
        },
        "gpt-4o" | "llama4" | "kanana2" | "talkie" | "minimax-m2" => split(&[GPT4O]),
        "granite-embed-multi-97m" => Pre {
            ignore_merges: true,
            ..split(&[GPT4O])
        },
        "tiny_aya" | "cohere2moe" => split(&[r"\d{1,3}(?=(?:\d{3})*\b)", GPT4O]),
        "superbpe" => split(&[r"\p{N}+", r"(?=(\d{3})+(?!\d))"]),
        "bailingmoe" | "bailingmoe2" | "llada-moe" => split(&[
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
        ]),
        "seed-coder" => split(&[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+",
        ]),
        "ufakzeka" => split(&[
            r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ]),
        "kimi-k2" => split(&[KIMI_K2]),
        "afmoe" => split(&[
            DIGITS_FROM_RIGHT,
            r"[\x{4e00}-\x{9fff}\x{3400}-\x{4dbf}\x{f900}-\x{faff}\x{3040}-\x{309f}\x{30a0}-\x{30ff}\x{ff65}-\x{ff9f}\x{2f00}-\x{2fdf}\x{e40}-\x{e7f}\x{e80}-\x{eff}\x{1780}-\x{17ff}\x{1000}-\x{109f}\x{aa60}-\x{aa7f}\x{a9e0}-\x{a9ff}\x{ac00}-\x{d7af}\x{1100}-\x{11ff}]+",
            DEEPSEEK3,
        ]),
        "laguna" => split(&[LINES, QWEN2]),
        "exaone-moe" => split(&[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+",
        ]),
        "gemma4" | "granite-embed-multi-311m" => Pre {
            add_bos: true,
            raw: true,
            ..split(&[LINES])
        },
        "sarvam-moe" => Pre {
            raw: true,
            ..split(&[LINES])
        },
        unknown => return Err(TokenizerError::UnsupportedPre(unknown.into())),
    })
}

/// Compiled expressions.
#[derive(Debug)]
pub(super) struct Splitter {
    expressions: Vec<Regex>,
}

impl Splitter {
    /// Every name's expressions compile: a test tries them all.
    pub(super) fn new(pre: Pre) -> Result<Self, TokenizerError> {
        let compile = |pattern: &&str| {
            // A run of white space costs a step back for each character; the
            // usual limit of a million would fail on two megabytes of spaces.
            RegexBuilder::new(pattern)
                .backtrack_limit(100_000_000)
                .build()
                .map_err(|error| TokenizerError::Encode(format!("pre-tokenizer: {error}")))
        };
        Ok(Self {
            expressions: pre.patterns.iter().map(compile).collect::<Result<_, _>>()?,
        })
    }

    /// Cuts `text` into pieces, none of them empty.
    pub(super) fn split<'t>(&self, text: &'t str) -> Result<Vec<&'t str>, TokenizerError> {
        let mut pieces = vec![text];
        for expression in &self.expressions {
            let mut finer = Vec::with_capacity(pieces.len());
            for piece in pieces {
                let mut end = 0;
                for found in expression.find_iter(piece) {
                    let found = found.map_err(|error| TokenizerError::Encode(error.to_string()))?;
                    finer.push(&piece[end..found.start()]);
                    finer.push(found.as_str());
                    end = found.end();
                }
                finer.push(&piece[end..]);
            }
            finer.retain(|piece| !piece.is_empty());
            pieces = finer;
        }
        Ok(pieces)
    }
}
