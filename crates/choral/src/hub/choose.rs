//! Which files of a repository make the model that is wanted.
//!
//! Knows names alone, neither the network nor the cache: the same choice is made
//! among a hub's files and, offline, among those of a snapshot.

use super::{FetchError, Repo};
use std::collections::BTreeMap;

/// Quantisations to take where none is named, the best first.
const PREFERRED: [&str; 2] = ["Q4_K_M", "Q8_0"];

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Files beside the weights that a Hugging Face folder is opened with.
const SIDE_FILES: [&str; 14] = [
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "config.json",
    "config_sentence_transformers.json",
    "generation_config.json",
    "merges.txt",
    "modules.json",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
];

/// The files of a model.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// A GGUF file, or all parts of one, the first first.
    Gguf(Vec<String>),
    /// A folder: its files, and the index that names more, if it has one.
    Folder {
        files: Vec<String>,
        index: Option<String>,
    },
}

/// Chooses among `paths`: the file that is named, else the quantisation that is
/// named, else `Q4_K_M`, `Q8_0` or the first GGUF file, else safetensors.
pub(super) fn choose(repo: &Repo, paths: &[&str]) -> Result<Choice, FetchError> {
    let sets = gguf_sets(paths);
    if let Some(file) = repo.wanted_file() {
        return by_file(repo, file, paths, &sets);
    }
    if sets.is_empty() {
        return match repo.quant() {
            None => folder(repo, paths),
            Some(quant) => Err(FetchError::NoQuant {
                repo: repo.id().to_owned(),
                quant: format!("GGUF file of {quant}"),
                has: weights(paths),
            }),
        };
    }
    // A vision tower is no model of its own, nor is what a quantiser measured.
    let models: Vec<&GgufSet> = sets.iter().filter(|set| !set.is_side_file()).collect();
    let of = |quant: &str| models.iter().find(|set| set.is_of(quant)).copied();
    let found = match repo.quant() {
        Some(quant) => of(quant),
        None => PREFERRED
            .iter()
            .find_map(|quant| of(quant))
            .or_else(|| models.first().copied()),
    };
    match found {
        Some(set) => set.files(repo),
        None => Err(FetchError::NoQuant {
            repo: repo.id().to_owned(),
            quant: repo.quant().unwrap_or("GGUF model").to_owned(),
            has: quants(&models),
        }),
    }
}

fn by_file(
    repo: &Repo,
    file: &str,
    paths: &[&str],
    sets: &[GgufSet],
) -> Result<Choice, FetchError> {
    let is_it = |path: &str| path == file;
    if let Some(set) = sets
        .iter()
        .find(|set| set.parts.iter().any(|part| is_it(part)))
    {
        return set.files(repo);
    }
    if !paths.contains(&file) || !file.ends_with(".safetensors") {
        return Err(FetchError::NoFile {
            repo: repo.id().to_owned(),
            file: file.to_owned(),
            has: weights(paths),
        });
    }
    let mut files = side_files(paths);
    files.push(file.to_owned());
    Ok(Choice::Folder { files, index: None })
}

fn folder(repo: &Repo, paths: &[&str]) -> Result<Choice, FetchError> {
    let no_model = || FetchError::NoModel {
        repo: repo.id().to_owned(),
        has: paths.iter().map(|path| (*path).to_owned()).collect(),
    };
    let mut files = side_files(paths);
    if !paths.contains(&"config.json") {
        return Err(no_model());
    }
    if !paths.contains(&SINGLE) && paths.contains(&INDEX) {
        let index = Some(INDEX.to_owned());
        return Ok(Choice::Folder { files, index });
    }
    let is_weights = |path: &&&str| path.ends_with(".safetensors") && !path.contains('/');
    let single: Vec<&&str> = paths.iter().filter(is_weights).collect();
    let weights = match single[..] {
        _ if paths.contains(&SINGLE) => SINGLE,
        [only] => only,
        _ => return Err(no_model()),
    };
    files.push(weights.to_owned());
    Ok(Choice::Folder { files, index: None })
}

fn side_files(paths: &[&str]) -> Vec<String> {
    let mut files: Vec<String> = paths
        .iter()
        .filter(|path| SIDE_FILES.contains(path) || is_module(path))
        .map(|path| (*path).to_owned())
        .collect();
    files.sort_unstable();
    files
}

/// The settings of a module of sentence-transformers, such as `1_Pooling/config.json`.
fn is_module(path: &str) -> bool {
    let folder = path.strip_suffix("/config.json");
    folder.is_some_and(|folder| {
        folder.starts_with(|c: char| c.is_ascii_digit()) && !folder.contains('/')
    })
}

fn weights(paths: &[&str]) -> Vec<String> {
    let is_weights = |path: &&&str| is_gguf(path) || path.ends_with(".safetensors");
    let found = paths.iter().filter(is_weights);
    found.map(|path| (*path).to_owned()).collect()
}

/// A GGUF model: one file, or several.
#[derive(Debug)]
struct GgufSet {
    /// The path without the number of the part and the ending.
    stem: String,
    /// The parts that there are, in order.
    parts: Vec<String>,
    /// Parts there should be, zero of an unsplit file.
    count: usize,
}

impl GgufSet {
    fn is_side_file(&self) -> bool {
        let name = self.stem.rsplit('/').next().unwrap_or(&self.stem);
        let name = name.to_ascii_lowercase();
        name.contains("mmproj") || name.contains("imatrix")
    }

    /// Whether `quant` is a word of the name or of its folder's: `Q4_K` is none of
    /// `m-Q4_K_M`.
    fn is_of(&self, quant: &str) -> bool {
        let (stem, quant) = (self.stem.to_ascii_uppercase(), quant.to_ascii_uppercase());
        stem.match_indices(&quant).any(|(at, _)| {
            let before = stem[..at].chars().next_back();
            let after = stem[at + quant.len()..].chars().next();
            let is_start = before.is_none_or(|c| !c.is_alphanumeric());
            let is_end = after.is_none_or(|c| !c.is_alphanumeric() && c != '_');
            is_start && is_end
        })
    }

    /// The word of the name that looks like a quantisation, else the whole path.
    fn quant(&self) -> String {
        let looks_so = |word: &&str| {
            let digit_after = |prefix: &str| {
                let rest = word.strip_prefix(prefix);
                rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
            };
            ["Q", "IQ", "TQ", "BF", "F", "FP", "MXFP"]
                .into_iter()
                .any(digit_after)
        };
        let stem = self.stem.to_ascii_uppercase();
        // `M_Q4_K_M` ends with one as `M-Q4_K_M` does.
        let found = stem.rsplit(['-', '.', '/', ' ']).find_map(|word| {
            let starts = std::iter::once(0).chain(word.match_indices('_').map(|(at, _)| at + 1));
            starts.map(|at| &word[at..]).find(looks_so)
        });
        let whole = || self.parts.first().unwrap_or(&self.stem);
        found.map_or_else(|| whole().clone(), str::to_owned)
    }

    /// All its files, or which are missing.
    fn files(&self, repo: &Repo) -> Result<Choice, FetchError> {
        let part = |number| format!("{}-{number:05}-of-{:05}.gguf", self.stem, self.count);
        let wanted: Vec<String> = (1..=self.count).map(part).collect();
        let missing: Vec<String> = wanted
            .into_iter()
            .filter(|part| !self.parts.contains(part))
            .collect();
        if missing.is_empty() {
            Ok(Choice::Gguf(self.parts.clone()))
        } else {
            let repo = repo.id().to_owned();
            Err(FetchError::MissingParts { repo, missing })
        }
    }
}

/// The models among `paths`, by name; of two of one name, that in the upper folder
/// comes first.
fn gguf_sets(paths: &[&str]) -> Vec<GgufSet> {
    let mut sets = BTreeMap::<(usize, String, usize), Vec<String>>::new();
    for path in paths.iter().filter(|path| is_gguf(path)) {
        let stem = &path[..path.len() - ".gguf".len()];
        let (stem, count) = split_part(stem).unwrap_or((stem, 0));
        let depth = stem.matches('/').count();
        let parts = sets.entry((depth, stem.to_owned(), count)).or_default();
        parts.push((*path).to_owned());
    }
    let set = |((_, stem, count), mut parts): ((usize, String, usize), Vec<String>)| {
        parts.sort_unstable();
        GgufSet { stem, parts, count }
    };
    sets.into_iter().map(set).collect()
}

fn is_gguf(path: &str) -> bool {
    path.rsplit_once('.')
        .is_some_and(|(_, ending)| ending == "gguf")
}

/// Takes `STEM-00001-of-00003` apart. Source: llama.cpp `llama_split_path`.
fn split_part(name: &str) -> Option<(&str, usize)> {
    let (rest, count) = five_digits(name)?;
    let (rest, number) = five_digits(rest.strip_suffix("-of-")?)?;
    let stem = rest.strip_suffix('-')?;
    (1..=count).contains(&number).then_some((stem, count))
}

fn five_digits(text: &str) -> Option<(&str, usize)> {
    let (rest, digits) = text.split_at_checked(text.len().checked_sub(5)?)?;
    let all = digits.bytes().all(|byte| byte.is_ascii_digit());
    Some((rest, digits.parse().ok().filter(|_| all)?))
}

fn quants(sets: &[&GgufSet]) -> Vec<String> {
    let mut quants: Vec<String> = sets.iter().map(|set| set.quant()).collect();
    quants.sort_unstable();
    quants.dedup();
    quants
}
