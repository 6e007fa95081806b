//! What a family is to conversion: how its tensors are called on both sides.
//!
//! Owns names taken apart and rules applied to them. Which families there are says
//! `table.rs`. Knows nothing of values or quantisation.

use super::ConvertError;
use super::keys::Keys;
use super::table::ALL;

/// One family of models.
#[derive(Debug)]
pub(super) struct Family {
    /// Its names in `architectures` of a `config.json`.
    pub(super) classes: &'static [&'static str],
    /// `general.architecture`.
    pub(super) name: &'static str,
    /// What some folders put before every name; empty if none does.
    pub(super) prefix: &'static str,
    /// Its tensors: parts that families share, and its own.
    pub(super) tensors: &'static [&'static [Rule]],
    /// Writes its settings.
    pub(super) keys: fn(&mut Keys<'_>) -> Result<(), ConvertError>,
}

/// How a tensor becomes one of GGUF.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// Its name without `.weight`; `{l}` stands for the layer, `{e}` for the expert.
    pub(super) hf: &'static str,
    /// Its name in GGUF, likewise. All experts become one tensor.
    pub(super) gguf: &'static str,
    /// What happens to its values.
    pub(super) change: Change,
    /// Whether every layer must have it.
    pub(super) needed: bool,
}

/// What conversion does to a tensor's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// Each head's rows are interleaved: row `i + j * half` of the head becomes row
    /// `2 i + j`, because llama.cpp rotates neighbours in this family.
    Interleave,
    /// One is added: the family's norms store the difference to one.
    AddOne,
    /// Rows become columns: the family stores matrices `[inputs, outputs]`.
    Transpose,
    /// Dropped: it follows from others.
    Drop,
}

pub(super) const fn rule(hf: &'static str, gguf: &'static str) -> Rule {
    Rule {
        hf,
        gguf,
        change: Change::None,
        needed: true,
    }
}

impl Rule {
    pub(super) const fn optional(self) -> Self {
        Self {
            needed: false,
            ..self
        }
    }

    pub(super) const fn with(self, change: Change) -> Self {
        Self { change, ..self }
    }
}

/// The family of one of those class names.
pub(super) fn of(classes: &[&str]) -> Result<&'static Family, ConvertError> {
    let known = |class: &&str| ALL.iter().find(|family| family.classes.contains(class));
    classes.iter().find_map(known).ok_or_else(|| {
        let known: Vec<&str> = ALL
            .iter()
            .flat_map(|family| family.classes)
            .copied()
            .collect();
        ConvertError::Family {
            found: classes.join(", "),
            known: known.join(", "),
        }
    })
}

/// A tensor's name taken apart: `model.layers.3.mlp.up_proj.weight`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// With `{l}` and `{e}` for the numbers, and without the ending.
    pub(super) stem: String,
    pub(super) layer: usize,
    pub(super) expert: usize,
    /// `.weight` or `.bias`, or nothing.
    pub(super) ending: &'static str,
}

impl Named {
    pub(super) fn parse(name: &str) -> Self {
        let (stem, ending) = [".weight", ".bias"]
            .into_iter()
            .find_map(|ending| Some((name.strip_suffix(ending)?, ending)))
            .unwrap_or((name, ""));
        let mut numbers = [0usize; 2];
        let mut found = 0;
        let parts = stem.split('.').map(|part| match part.parse() {
            Ok(number) if found < 2 => {
                numbers[found] = number;
                found += 1;
                ["{l}", "{e}"][found - 1]
            }
            _ => part,
        });
        let stem = parts.collect::<Vec<_>>().join(".");
        let [layer, expert] = numbers;
        Self {
            stem,
            layer,
            expert,
            ending,
        }
    }
}

impl Family {
    /// A tensor's name taken apart, and the rule for it.
    pub(super) fn rule(&self, name: &str) -> Option<(Named, &'static Rule)> {
        let named = Named::parse(name.strip_prefix(self.prefix).unwrap_or(name));
        let rules = self.tensors.iter().copied().flatten();
        let rule = rules.into_iter().find(|rule| rule.hf == named.stem)?;
        Some((named, rule))
    }

    /// Every rule.
    pub(super) fn rules(&self) -> impl Iterator<Item = &'static Rule> {
        self.tensors.iter().copied().flatten()
    }
}

impl Rule {
    /// The GGUF name of a tensor to which the rule applies.
    pub(super) fn gguf_name(&self, layer: usize, ending: &str) -> String {
        format!("{}{ending}", self.gguf.replace("{l}", &layer.to_string()))
    }

    /// The name that a folder gives the tensor.
    pub(super) fn hf_name(&self, layer: usize, expert: usize) -> String {
        let name = self.hf.replace("{l}", &layer.to_string());
        format!("{}.weight", name.replace("{e}", &expert.to_string()))
    }
}
