//! What came of a comparison.

use super::grid::{self, Cell, Vary};
use choral::job::{Answer, Choice};
use choral::text::distinct_n;
use serde::Serialize;
use serde_json::{Map, Value};

/// All settings of all models.
pub(super) struct Table {
    pub(super) seed: u64,
    /// The options that vary.
    pub(super) varied: Vec<String>,
    /// What was to be answered.
    pub(super) prompts: Vec<Shown>,
    /// A column for each setting of each model.
    pub(super) columns: Vec<Column>,
    pub(super) is_interrupted: bool,
}

/// A prompt as people are shown it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) custom_id: Option<String>,
    pub(super) text: String,
}

/// One setting of one model.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) model: String,
    pub(super) settings: Vec<(String, String)>,
    pub(super) label: String,
    /// To each prompt.
    pub(super) answers: Vec<Answer>,
    pub(super) figures: Figures,
    pub(super) times: Times,
}

/// What the answers of a setting come to; none where there are no answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Figures {
    /// Answers.
    pub(super) answers: usize,
    /// Prompts that were not answered.
    pub(super) errors: usize,
    /// New tokens.
    pub(super) tokens: usize,
    /// Of an answer.
    pub(super) mean_tokens: Option<f64>,
    pub(super) distinct_1: Option<f64>,
    pub(super) distinct_2: Option<f64>,
    pub(super) distinct_3: Option<f64>,
    pub(super) perplexity: Option<f64>,
}

/// How long a setting took, in the batch that it shared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Times {
    pub(super) seconds: f64,
    pub(super) tokens_per_second: f64,
}

impl Table {
    pub(super) fn new(seed: u64, vary: &[Vary]) -> Self {
        Self {
            seed,
            varied: vary.iter().map(|vary| vary.name.clone()).collect(),
            prompts: Vec::new(),
            columns: Vec::new(),
            is_interrupted: false,
        }
    }

    /// Whether there are several models, so that columns have to name theirs.
    pub(super) fn has_models(&self) -> bool {
        let mut models = self.columns.iter().map(|column| &column.model);
        let first = models.next();
        models.any(|model| Some(model) != first)
    }

    /// What stands above a column.
    pub(super) fn heading(&self, column: &Column) -> String {
        match (self.has_models(), column.label.as_str()) {
            (_, "") => column.model.clone(),
            (false, label) => label.to_owned(),
            (true, label) => format!("{}: {label}", column.model),
        }
    }

    /// Prompts that were not answered, and all, counted once for each column.
    pub(super) fn num_failed(&self) -> (usize, usize) {
        let answers = || self.columns.iter().flat_map(|column| &column.answers);
        let failed = answers().filter(|answer| answer.error.is_some()).count();
        (failed, answers().count())
    }
}

impl Column {
    /// Counts up `answers`, which have the log-probabilities of their tokens.
    pub(super) fn new(model: &str, cell: &Cell, answers: Vec<Answer>, times: Times) -> Self {
        Self {
            model: model.to_owned(),
            settings: cell.settings.clone(),
            label: cell.label(),
            figures: Figures::of(&answers),
            answers,
            times,
        }
    }

    /// A column whose model could not answer anything.
    pub(super) fn failed(model: &str, cell: &Cell, errors: Vec<Answer>) -> Self {
        Self::new(model, cell, errors, Times::default())
    }

    /// Values of the options that vary, by name.
    pub(super) fn settings_json(&self) -> Value {
        let settings = self.settings.iter();
        let settings = settings.map(|(name, text)| (name.clone(), grid::value(text)));
        Value::Object(settings.collect::<Map<_, _>>())
    }
}

impl Figures {
    pub(super) fn of(answers: &[Answer]) -> Self {
        let choices = || answers.iter().flat_map(|answer| &answer.outputs);
        let distinct = |n| distinct_n(choices().map(|choice| choice.text.as_str()), n);
        let count = choices().count();
        let tokens: usize = choices().map(Choice::num_tokens).sum();
        let logprobs = choices()
            .filter_map(|choice| choice.logprobs.as_ref())
            .flatten();
        Self {
            answers: count,
            errors: answers
                .iter()
                .filter(|answer| answer.error.is_some())
                .count(),
            tokens,
            mean_tokens: (count > 0).then(|| tokens as f64 / count as f64),
            distinct_1: distinct(1),
            distinct_2: distinct(2),
            distinct_3: distinct(3),
            perplexity: perplexity(logprobs.map(|entry| entry.chosen.logprob)),
        }
    }
}

/// How unlikely the tokens were on average: `exp(-mean of the logarithms)`. `None` of
/// none.
pub(super) fn perplexity(logprobs: impl Iterator<Item = f32>) -> Option<f64> {
    let (sum, count) = logprobs.fold((0.0, 0_u64), |(sum, count), logprob| {
        (sum + f64::from(logprob), count + 1)
    });
    (count > 0).then(|| libm::exp(-sum / count as f64))
}
