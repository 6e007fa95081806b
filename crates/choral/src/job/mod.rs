//! Files of prompts to files of answers.
//!
//! [`RowReader`] turns what files have into [`Row`]s, lazily and in order; [`Job`] puts
//! them through a [`Runner`] and hands their [`Answer`]s to a [`Sink`]. Whatever is wrong
//! with a row becomes that row's answer, so every row has exactly one. A [`Record`]
//! keeps answers on disk: a job that is run again computes only what is not there.
//!
//! What a row's key is, and which seed follows from it, is decided in [`RowKey`]; when
//! an answer may be taken over, in [`Identity`]. So a job that is run again gives the
//! same answers, and one that is killed the same file.

mod adapter;
mod answer;
mod census;
mod draft;
mod entry;
pub mod export;
mod id;
mod input;
mod key;
mod line;
mod merge;
mod open_ai;
mod parameter;
mod parsed;
mod provider;
mod reader;
mod record;
mod row;
mod run;
mod runner;
mod shard;
mod sorting;
pub mod table;
mod template;

#[cfg(test)]
mod tests;

pub use answer::{
    Answer, Choice, PromptTokensDetails, Timings, TokenAlternative, TokenEntry, Usage,
};
pub use census::{Census, Counter};
pub use entry::{Content, Entries, Entry, Fault};
pub(crate) use entry::{FileForm, Ids};
pub use id::{Identity, RowId, Settings};
pub use input::{FileFormat, FileSource, InputFile, Inputs};
pub use key::RowKey;
pub use line::{Line, LineFault, Lines};
pub use merge::{MergeError, Merged, merge};
pub(crate) use open_ai::ResultLine;
pub use parameter::{PARAMETERS, ParameterError, set_parameter};
pub(crate) use parsed::{MAX_PARSED_BYTES, fields};
pub use provider::{ProviderRunner, reply, seeded};
pub use reader::{ModelNames, RowReader};
pub use record::{Description, Record, RecordError, Reuse, num_recorded, side_files};
pub use row::{
    ChatInput, Endpoint, Form, InputFormat, Row, RowCode, RowError, RowHead, RowInput, RowWork,
};
pub use run::{Job, JobError, JobLimits, JobSummary, Kept, Order, Sink, Stop};
pub use runner::{
    EngineRunner, JobFailure, Refusal, Render, RenderError, Rendered, Reply, Runner, Running,
};
pub use shard::Shard;
pub use template::{PromptTemplate, PromptTemplateError};
