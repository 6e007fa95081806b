//! Files of prompts to files of answers.
//!
//! [`RowReader`] turns an input file into [`Row`]s, lazily and in order;
//! [`Job`] puts them through an engine and hands their [`Answer`]s to a
//! [`Sink`], in the order of the input. Whatever is wrong with a row becomes that
//! row's answer, so every row has exactly one.
//!
//! Knows files' contents, not their names: opening, resuming and progress bars are
//! the caller's. What a row's key is, and which seed follows from it, is decided in
//! [`RowKey`], so that a job that is run again gives the same answers.

mod adapter;
mod answer;
mod entry;
pub mod export;
mod key;
mod line;
mod parameter;
mod row;
mod run;
pub mod table;
mod template;

#[cfg(test)]
mod tests;

pub use answer::{
    Answer, Choice, PromptTokensDetails, Timings, TokenAlternative, TokenEntry, Usage,
};
pub(crate) use entry::{Entries, Entry, Fault, fields};
pub use key::RowKey;
pub use line::{Line, LineFault, Lines};
pub use parameter::{PARAMETERS, ParameterError, set_parameter};
pub use row::{
    ChatInput, InputFormat, Row, RowCode, RowError, RowHead, RowInput, RowReader, RowWork,
};
pub use run::{Job, JobError, JobLimits, JobSummary, Render, Sink, Stop};
pub use template::{PromptTemplate, PromptTemplateError};
