//! From `--vary temp=0.2,0.8 --vary top-k=10,40` to the settings of a grid.

use crate::args::sampling::SamplingArgs;
use crate::message::Usage;
use clap::{Arg, ArgAction, Args as _, Command, FromArgMatches as _};
use serde_json::{Number, Value};

/// Most settings: more than anybody reads, and few enough to hold.
const MAX_CELLS: usize = 4096;

/// An option, and the values that it takes.
#[derive(Debug, Clone)]
pub(super) struct Vary {
    /// As it was written.
    pub(super) name: String,
    /// The option's own name, however it was written.
    id: String,
    values: Vec<(String, SamplingArgs)>,
}

/// One setting.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell {
    /// The options that differ, and their values, as they were written.
    pub(super) settings: Vec<(String, String)>,
    /// What is laid over the parameters, in order.
    overlays: Vec<SamplingArgs>,
}

impl Cell {
    /// Sets what the grid says.
    pub(super) fn apply(&self, params: &mut choral::SamplingParams) {
        for overlay in &self.overlays {
            overlay.apply(params);
        }
    }

    /// `temp 0.2, top-k 10`.
    pub(super) fn label(&self) -> String {
        let settings = self.settings.iter();
        let settings: Vec<String> = settings
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        settings.join(", ")
    }
}

/// A value as JSON has it: a number where it is one.
pub(super) fn value(text: &str) -> Value {
    let number = serde_json::from_str::<Number>(text);
    number.map_or_else(|_| Value::String(text.to_owned()), Value::Number)
}

impl Vary {
    /// Reads `temp=0.2,0.8`. The name is that of any sampling option, with or without
    /// dashes before it, and the values are what that option takes.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let Some((name, values)) = text.split_once('=') else {
            return Err("expected OPTION=VALUE,..., such as temp=0.2,0.8".to_owned());
        };
        let name = name.trim().trim_start_matches('-');
        let command = options();
        let arg = command
            .get_arguments()
            .find(|arg| is_called(arg, name))
            .ok_or_else(|| {
                let names = command.get_arguments().filter_map(Arg::get_long);
                let names: Vec<&str> = names.collect();
                format!(
                    "no option is called `{name}`: expected {}",
                    names.join(", ")
                )
            })?;
        let values = values.split(',').map(|value| {
            let value = value.trim();
            overlay(arg, value)
                .map(|overlay| (value.to_owned(), overlay))
                .map_err(|cause| format!("`{value}`: {cause}"))
        });
        Ok(Self {
            name: name.to_owned(),
            id: arg.get_id().to_string(),
            values: values.collect::<Result<_, _>>()?,
        })
    }
}

/// Every combination of values; the last option's change fastest. One cell without
/// settings if nothing varies.
pub(super) fn cells(vary: &[Vary]) -> Result<Vec<Cell>, Usage> {
    let mut cells = vec![Cell::default()];
    for (nth, dimension) in vary.iter().enumerate() {
        if let Some(other) = vary[..nth].iter().find(|other| other.id == dimension.id) {
            return Err(Usage::new(format!(
                "--vary has `{}` and `{}`, which are one option",
                other.name, dimension.name
            )));
        }
        let num_cells = cells.len().saturating_mul(dimension.values.len());
        if num_cells > MAX_CELLS {
            return Err(Usage::new(format!(
                "--vary makes {num_cells} settings, expected at most {MAX_CELLS}"
            )));
        }
        let with = |cell: &Cell| {
            let cell = cell.clone();
            dimension.values.iter().map(move |(value, overlay)| {
                let mut cell = cell.clone();
                cell.settings.push((dimension.name.clone(), value.clone()));
                cell.overlays.push(overlay.clone());
                cell
            })
        };
        cells = cells.iter().flat_map(with).collect();
    }
    Ok(cells)
}

/// The sampling options as a command of their own.
fn options() -> Command {
    let command = Command::new("--vary").no_binary_name(true);
    SamplingArgs::augment_args(command.disable_help_flag(true))
}

/// Whether `name` is an option's name, one of its aliases, or its letter. `top_k` is as
/// good as `top-k`.
fn is_called(arg: &Arg, name: &str) -> bool {
    let name = name.replace('_', "-");
    let aliases = arg.get_all_aliases().unwrap_or_default();
    let mut longs = arg.get_long().into_iter().chain(aliases);
    longs.any(|long| long == name)
        || arg
            .get_short()
            .is_some_and(|short| name == short.to_string())
}

/// What an option with a value comes to.
fn overlay(arg: &Arg, value: &str) -> Result<SamplingArgs, String> {
    let long = arg.get_long().expect("sampling options have long names");
    let words = match arg.get_action() {
        ArgAction::SetTrue => match value {
            "true" => vec![format!("--{long}")],
            "false" => Vec::new(),
            _ => return Err("expected true or false".to_owned()),
        },
        _ if value.is_empty() => return Err("expected a value".to_owned()),
        _ => vec![format!("--{long}={value}")],
    };
    let matches = options().try_get_matches_from(words).map_err(|error| {
        // The first line has the cause, the others repeat the usage.
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        line.trim_start_matches("error: ").to_owned()
    })?;
    SamplingArgs::from_arg_matches(&matches).map_err(|error| error.to_string())
}
