//! The names that image-pair tools document for the environment.

use std::env;
use std::ffi::OsString;

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

/// Reads a variable of the environment.
pub(crate) type Read<'a> = dyn Fn(&str) -> Option<OsString> + 'a;

/// The further variables of an option of `choral images COMMAND`. `option` is its long
/// name, or its id if it has none. None of one that is passed over for what the others say.
pub(crate) fn names(command: &str, option: &str, read: &Read<'_>) -> &'static [&'static str] {
    if is_passed_over(command, option, read) {
        return &[];
    }
    let is_it = |(of, name, _): &&(&str, &str, &'static [&str])| {
        *name == option && (of.is_empty() || *of == command)
    };
    NAMES.iter().find(is_it).map_or(&[], |(_, _, names)| names)
}

/// Options that have nothing to say where `option` is given, though the command line may
/// have both: a temperature says that tokens are drawn, or that they are not.
pub(crate) fn overruled_by(option: &str) -> &'static [&'static str] {
    match option {
        "temp" => &["do-sample"],
        _ => &[],
    }
}

/// How many questions a mode is about.
#[derive(PartialEq)]
enum Mode {
    One,
    Many,
}

/// Whether the variables of an option do not count, because others choose what is asked:
/// first the mode, and where that leaves it open, what is more specific.
fn is_passed_over(command: &str, option: &str, read: &Read<'_>) -> bool {
    let mode = |many: &str, one: &str| {
        if is_on(many, read) {
            Some(Mode::Many)
        } else {
            is_on(one, read).then_some(Mode::One)
        }
    };
    let is_set = |names: &[&str]| {
        let is_set = |name: &&str| read(name).is_some_and(|value| !value.is_empty());
        names.iter().any(is_set)
    };
    let (mode, one) = match command {
        "pairs" => {
            let mode = mode("GLM_BATCH_GENERATE", "GLM_GENERATE");
            (mode, is_set(&["GLM_IDX_A", "GLM_IDX_B"]))
        }
        "describe" => {
            let mode = mode("GLM_BATCH_SINGLE_IMAGE", "GLM_SINGLE_IMAGE");
            (mode, is_set(&["GLM_IDX", "GLM_IMAGE_IDX"]))
        }
        _ => return false,
    };
    match option {
        "first" | "second" | "index" => mode == Some(Mode::Many),
        "pairs" | "indices" => mode == Some(Mode::One) || (mode.is_none() && one),
        _ => false,
    }
}

fn is_on(name: &str, read: &Read<'_>) -> bool {
    // The words that clap takes for no, in any case.
    let off = ["", "0", "f", "false", "n", "no", "off"];
    let value = read(name).unwrap_or_default();
    let value = value.to_string_lossy().to_lowercase();
    !off.contains(&value.as_str())
}

/// Puts the command that the environment asks for behind `choral images`, if none is
/// there.
pub(crate) fn complete(words: &mut Vec<OsString>) {
    complete_with(words, &|name| env::var_os(name));
}

fn complete_with(words: &mut Vec<OsString>, read: &Read<'_>) {
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
    if let Some((_, command)) = MODES.iter().find(|(name, _)| is_on(name, read)) {
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
        let describe = [("GLM_GENERATE", "False"), ("GLM_DESCRIBE", "yes")];
        assert_eq!(completed(&bare, &describe)[2], "describe");
        let precompute = [("GLM_PRECOMPUTE", "1"), ("GLM_DESCRIBE", "1")];
        assert_eq!(completed(&bare, &precompute)[2], "precompute");
    }

    #[test]
    fn a_name_belongs_to_its_command() {
        let names = |command, option| names(command, option, &|_| None);
        assert_eq!(names("pairs", "temp"), ["GLM_TEMPERATURE"]);
        assert_eq!(names("pairs", "first"), ["GLM_IDX_A"]);
        assert!(names("describe", "first").is_empty());
        assert!(names("precompute", "quiet").is_empty());
    }

    /// The options that say what is asked about, of those of a command, where these
    /// variables are set.
    fn counting(command: &str, set: &[&str]) -> Vec<&'static str> {
        let read = |name: &str| set.contains(&name).then(|| OsString::from("1"));
        let options = ["pairs", "first", "second", "indices", "index"];
        let counts = |option: &&str| {
            let names = names(command, option, &read);
            names.iter().any(|name| read(name).is_some())
        };
        options.into_iter().filter(counts).collect()
    }

    #[test]
    fn the_mode_chooses_between_numbers_and_lists() {
        let all = ["GLM_PAIRS_FILE", "GLM_IDX_A", "GLM_IDX_B"];
        let pairs = |modes: &[&str]| counting("pairs", &[modes, &all].concat());
        assert_eq!(pairs(&["GLM_GENERATE"]), ["first", "second"]);
        assert_eq!(pairs(&["GLM_BATCH_GENERATE"]), ["pairs"]);
        assert_eq!(pairs(&["GLM_GENERATE", "GLM_BATCH_GENERATE"]), ["pairs"]);
        // Without a mode, or with that of another command, what is more specific.
        assert_eq!(pairs(&[]), ["first", "second"]);
        assert_eq!(pairs(&["GLM_DESCRIBE"]), ["first", "second"]);
        assert_eq!(counting("pairs", &all[..1]), ["pairs"]);
        // A mode does not take what is meant for the other, even if there is no choice.
        assert!(counting("pairs", &["GLM_GENERATE", "GLM_PAIRS_FILE"]).is_empty());
        assert!(counting("pairs", &["GLM_BATCH_GENERATE", "GLM_IDX_A"]).is_empty());

        let all = ["GLM_IDX", "GLM_INDICES_FILE"];
        let describe = |modes: &[&str]| counting("describe", &[modes, &all].concat());
        assert_eq!(describe(&["GLM_DESCRIBE"]), ["index"]);
        assert_eq!(describe(&[]), ["index"]);
        assert_eq!(describe(&["GLM_SINGLE_IMAGE"]), ["index"]);
        assert_eq!(describe(&["GLM_BATCH_SINGLE_IMAGE"]), ["indices"]);
        let list = ["GLM_DESCRIBE", "GLM_INDICES_FILE"];
        assert_eq!(counting("describe", &list), ["indices"]);
    }
}
