//! Options that load adapters.

use crate::args::ModelArgs;
use crate::message::Usage;
use anyhow::{Result, bail};
use choral::EngineBuilder;
use choral::engine::Lora;
use clap::Args;
use std::path::{Path, PathBuf};

/// Adapters for everything that a command runs.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Adapters")]
pub(crate) struct LoraArgs {
    // Not a doc comment, in which the name would want to be code.
    #[arg(
        help = "LoRA adapter: a folder of PEFT's or a GGUF adapter, which may be scaled; again or \
                after a comma for several",
        long,
        visible_alias = "lora-scaled",
        value_name = "[NAME=]PATH[:SCALE]",
        value_delimiter = ','
    )]
    pub(crate) lora: Vec<String>,
}

/// An adapter as a command line has it.
#[derive(Debug, Clone, PartialEq)]
struct Given {
    name: String,
    path: PathBuf,
    scale: f32,
}

impl LoraArgs {
    /// The model's builder with these adapters and with those that requests name
    /// (`--lora-modules`), and what requests run with that name none. Looks at
    /// adapters before the model, which may be a download.
    pub(crate) fn load(
        &self,
        named: &[String],
        model: &ModelArgs,
    ) -> Result<(EngineBuilder, Vec<Lora>)> {
        let given: Vec<Given> = self
            .lora
            .iter()
            .map(|text| Given::parse(text))
            .collect::<Result<_>>()?;
        let mut modules = Vec::new();
        for text in named {
            let Some((name, path)) = text.split_once('=') else {
                let message = format!("--lora-modules is `{text}`, expected NAME=PATH");
                return Err(Usage::new(message).into());
            };
            modules.push((name, checked(Path::new(path))?));
        }
        let mut builder = model.builder()?;
        let mut all = Vec::new();
        for Given { name, path, scale } in given {
            builder = builder.adapter(&name, path);
            all.push(Lora::new(name).scaled(scale));
        }
        for (name, path) in modules {
            builder = builder.adapter(name, path);
        }
        Ok((builder, all))
    }
}

impl LoraArgs {
    /// All adapters, by the names that requests know them by.
    pub(crate) fn files(&self, named: &[String]) -> Result<Vec<(String, PathBuf)>> {
        let mut files = Vec::new();
        for text in &self.lora {
            let Given { name, path, .. } = Given::parse(text)?;
            files.push((name, path));
        }
        let named = named.iter().filter_map(|text| text.split_once('='));
        files.extend(named.map(|(name, path)| (name.to_owned(), path.into())));
        Ok(files)
    }
}

impl Given {
    fn parse(text: &str) -> Result<Self> {
        // What is there by that very name is meant.
        if Path::new(text).exists() {
            return Self::new(None, text, 1.0);
        }
        let (name, rest) = match text.split_once('=') {
            Some((name, rest)) if !name.contains(['/', '\\']) => (Some(name), rest),
            _ => (None, text),
        };
        if !Path::new(rest).exists()
            && let Some((path, scale)) = rest.rsplit_once(':')
            && let Ok(scale) = scale.parse::<f32>()
        {
            if !scale.is_finite() {
                let message = format!("--lora is `{text}`, expected a finite scale");
                return Err(Usage::new(message).into());
            }
            return Self::new(name, path, scale);
        }
        Self::new(name, rest, 1.0)
    }

    fn new(name: Option<&str>, path: &str, scale: f32) -> Result<Self> {
        let path = checked(Path::new(path))?;
        let own = path.file_name().map(Path::new).map(|file| {
            // A folder's name may have dots of its own.
            let stem = file.extension().is_some_and(|e| e == "gguf");
            let name = if stem { file.file_stem() } else { None };
            name.unwrap_or(file.as_os_str())
                .to_string_lossy()
                .into_owned()
        });
        let name = name.map_or_else(|| own.unwrap_or_default(), str::to_owned);
        Ok(Self { name, path, scale })
    }
}

fn checked(path: &Path) -> Result<PathBuf> {
    if !path.exists() {
        bail!(
            "no adapter at `{}`: expected a folder with adapter_config.json, or a GGUF file",
            path.display()
        );
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::Given;
    use std::path::PathBuf;

    #[test]
    fn an_adapter_has_a_path_and_may_have_a_name_and_a_scale() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["a.gguf", "checkpoint-1.5", "x=y", "odd:2"] {
            std::fs::write(folder.path().join(name), "").expect("written");
        }
        let path = |name: &str| folder.path().join(name).display().to_string();
        let parse = |text: &str| {
            let given = Given::parse(text).expect(text);
            (given.name, given.path, given.scale)
        };
        let expected =
            |name: &str, file: &str, scale| (name.to_owned(), PathBuf::from(path(file)), scale);
        let a = path("a.gguf");
        assert_eq!(parse(&a), expected("a", "a.gguf", 1.0));
        assert_eq!(parse(&format!("{a}:0.5")), expected("a", "a.gguf", 0.5));
        assert_eq!(parse(&format!("sql={a}")), expected("sql", "a.gguf", 1.0));
        assert_eq!(
            parse(&format!("sql={a}:-2")),
            expected("sql", "a.gguf", -2.0)
        );
        let folder = path("checkpoint-1.5");
        assert_eq!(
            parse(&folder),
            expected("checkpoint-1.5", "checkpoint-1.5", 1.0)
        );
        assert_eq!(parse(&path("x=y")), expected("x=y", "x=y", 1.0));
        assert_eq!(parse(&path("odd:2")), expected("odd:2", "odd:2", 1.0));
        assert_eq!(parse(&path("odd:2:3")), expected("odd:2", "odd:2", 3.0));
        for wrong in ["nowhere", "a=nowhere:1"] {
            let error = Given::parse(wrong).expect_err(wrong).to_string();
            assert!(error.contains("no adapter at `nowhere`"), "{error}");
        }
        let error = Given::parse(&format!("{a}:inf"))
            .expect_err("a scale")
            .to_string();
        assert!(error.contains("finite"), "{error}");
    }
}
