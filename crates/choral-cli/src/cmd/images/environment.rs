//! The names that image-pair tools document for the environment.

use std::env;
use std::ffi::{OsStr, OsString};

/// Which command a variable asks for, as `GLM_GENERATE=1` does.
const MODES: [(&str, &str); 6] = [
    ("GLM_PRECOMPUTE", "precompute"),
    ("GLM_BATCH_GENERATE", "pairs"),
    ("GLM_GENERATE", "pairs"),
    ("GLM_DESCRIBE", "describe"),
    ("GLM_BATCH_SINGLE_IMAGE", "describe"),
    ("GLM_SINGLE_IMAGE", "describe"),
];

/// The variables of options, by the command and the option's name; the first that is set
/// counts.
const NAMES: [(&str, &str, &[&str]); 19] = [
    ("", "model", &["GLM_WEIGHTS_DIR"]),
    ("", "batch-size", &["GLM_BATCH_SIZE"]),
    ("", "image-size", &["GLM_IMAGE_SIZE"]),
    ("", "embeds", &["GLM_EMBEDS_DIR"]),
    ("", "predict", &["GLM_MAX_TOKENS"]),
    ("", "temp", &["GLM_TEMPERATURE"]),
    ("", "top-k", &["GLM_TOP_K"]),
    ("", "top-p", &["GLM_TOP_P"]),
    ("", "repeat-penalty", &["GLM_REP_PENALTY"]),
    ("", "seed", &["GLM_SEED"]),
    ("", "do-sample", &["GLM_DO_SAMPLE"]),
    ("precompute", "input", &["GLM_INPUT_DIR"]),
    ("precompute", "output", &["GLM_OUTPUT_DIR"]),
    ("pairs", "pairs", &["GLM_PAIRS_FILE"]),
    ("pairs", "first", &["GLM_IDX_A"]),
    ("pairs", "second", &["GLM_IDX_B"]),
    ("pairs", "batch-generate", &["GLM_BATCH_GENERATE"]),
    ("describe", "index", &["GLM_IDX", "GLM_IMAGE_IDX"]),
    ("describe", "indices", &["GLM_INDICES_FILE"]),
];

/// The further variables of an option of `choral images COMMAND`. `option` is its long
/// name, or its id if it has none.
pub(crate) fn names(command: &str, option: &str) -> &'static [&'static str] {
    let is_it = |(of, name, _): &&(&str, &str, &'static [&str])| {
        *name == option && (of.is_empty() || *of == command)
    };
    NAMES.iter().find(is_it).map_or(&[], |(_, _, names)| names)
}

/// Puts the command that the environment asks for behind `choral images`, if none is
/// there.
pub(crate) fn complete(words: &mut Vec<OsString>) {
    complete_with(words, &|name| env::var_os(name));
}

fn complete_with(words: &mut Vec<OsString>, read: &dyn Fn(&str) -> Option<OsString>) {
    let is_bare = match words.get(1..) {
        Some([images]) => images == "images",
        Some([images, option, ..]) => {
            let option = option.to_string_lossy();
            images == "images"
                && option.starts_with('-')
                && !matches!(&*option, "-h" | "--help" | "-help")
        }
        _ => false,
    };
    if !is_bare {
        return;
    }
    let is_on = |name: &str| {
        let value = read(name).unwrap_or_default();
        let off = ["", "0", "false", "no", "off"].map(OsStr::new);
        !off.contains(&value.as_os_str())
    };
    if let Some((_, command)) = MODES.iter().find(|(name, _)| is_on(name)) {
        words.insert(2, (*command).into());
    }
}

#[cfg(test)]
mod tests {
    use super::{complete_with, names};
    use std::ffi::OsString;

    fn completed(words: &[&str], set: &[(&str, &str)]) -> Vec<String> {
        let mut words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let read = |name: &str| {
            let found = set.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        complete_with(&mut words, &read);
        let words = words.into_iter();
        words
            .map(|word| word.into_string().expect("UTF-8"))
            .collect()
    }

    #[test]
    fn the_environment_chooses_a_command_where_no_word_does() {
        let generate = [("GLM_GENERATE", "1")];
        assert_eq!(
            completed(&["choral", "images"], &generate),
            ["choral", "images", "pairs"]
        );
        assert_eq!(
            completed(&["choral", "images", "-a", "1"], &generate),
            ["choral", "images", "pairs", "-a", "1"]
        );
        for words in [
            &["choral", "images", "describe"][..],
            &["choral", "images", "--help"],
            &["choral", "generate"],
            &["choral"],
        ] {
            assert_eq!(completed(words, &generate), words);
        }
        let bare = ["choral", "images"];
        assert_eq!(completed(&bare, &[("GLM_GENERATE", "0")]), bare);
        let describe = [("GLM_GENERATE", ""), ("GLM_DESCRIBE", "yes")];
        assert_eq!(completed(&bare, &describe)[2], "describe");
        let precompute = [("GLM_PRECOMPUTE", "1"), ("GLM_DESCRIBE", "1")];
        assert_eq!(completed(&bare, &precompute)[2], "precompute");
    }

    #[test]
    fn a_name_belongs_to_its_command() {
        assert_eq!(names("pairs", "temp"), ["GLM_TEMPERATURE"]);
        assert_eq!(names("pairs", "first"), ["GLM_IDX_A"]);
        assert!(names("describe", "first").is_empty());
        assert!(names("precompute", "quiet").is_empty());
    }
}
