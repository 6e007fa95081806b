//! Options that choose several models, and one kind of engine for all.

use super::ModelArgs;
use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};
use std::path::PathBuf;

/// [`ModelArgs`], in which `-m` may be given several times, and `--models`.
#[derive(Debug, Clone, Default)]
pub(crate) struct ModelsArgs {
    base: ModelArgs,
    paths: Vec<PathBuf>,
}

impl ModelsArgs {
    /// Each model with the options that hold for all; at least one.
    pub(crate) fn each(&self, is_quiet: bool) -> Vec<ModelArgs> {
        let mut base = self.base.clone();
        base.choice.quiet = is_quiet;
        if self.paths.is_empty() {
            return vec![base];
        }
        let with = |path: &PathBuf| {
            let mut model = base.clone();
            model.choice.model = Some(path.clone());
            model
        };
        self.paths.iter().map(with).collect()
    }
}

impl Args for ModelsArgs {
    fn augment_args(command: Command) -> Command {
        let models = Arg::new("models")
            .long("models")
            .value_name("PATH|REPO,...")
            .value_delimiter(',')
            .value_parser(ValueParser::path_buf())
            .action(ArgAction::Append)
            .conflicts_with("hf")
            .help("Several models at once, after those of -m");
        ModelArgs::augment_args(command)
            .mut_arg("model", |model| {
                model.action(ArgAction::Append).help(
                    "GGUF file, safetensors folder or hub repository; several are compared; \
                     without it, the small model that ships with choral",
                )
            })
            .arg(models)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ModelsArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let given = |id: &str| matches.get_many::<PathBuf>(id).into_iter().flatten();
        Ok(Self {
            base: ModelArgs::from_arg_matches(matches)?,
            paths: given("model").chain(given("models")).cloned().collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::ModelsArgs;
    use clap::{Args as _, Command, FromArgMatches as _};
    use std::path::PathBuf;

    fn paths(words: &[&str]) -> Vec<Option<PathBuf>> {
        let command = ModelsArgs::augment_args(Command::new("test").no_binary_name(true));
        let matches = command.try_get_matches_from(words).expect("right usage");
        let models = ModelsArgs::from_arg_matches(&matches).expect("right usage");
        let each = models.each(true).into_iter();
        each.map(|model| model.choice.model).collect()
    }

    #[test]
    fn models_are_counted_in_the_order_of_the_words() {
        let some = |names: &[&str]| names.iter().map(|n| Some(n.into())).collect::<Vec<_>>();
        assert_eq!(paths(&[]), [None]);
        assert_eq!(paths(&["-m", "a", "-m", "b"]), some(&["a", "b"]));
        assert_eq!(
            paths(&["--models", "c,d", "-m", "a", "-t", "2"]),
            some(&["a", "c", "d"])
        );
    }
}
