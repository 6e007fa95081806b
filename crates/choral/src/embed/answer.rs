//! One row's answer, as a line of the output has it.

use super::{Embedding, Form};
use crate::job::{ResultLine, RowError, RowHead};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Serialize, Serializer};

/// What came of one row. Its JSON is one line of the output, in the row's own format;
/// it depends on the row and the model, and on nothing of the run.
///
/// choral's is `{"custom_id", "row", "embedding", "usage", "error"}`, with
/// `"truncated": true` if the text was cut; OpenAI's a line of a batch's output file.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    head: RowHead,
    form: Form,
    outcome: Result<Outcome, RowError>,
}

#[derive(Debug, Clone, PartialEq)]
struct Outcome {
    embeddings: Vec<Embedding>,
    base64: bool,
    model: String,
}

impl Answer {
    /// The answer to `head`, whose texts have these embeddings; `model` is the name
    /// of the model that made them.
    pub fn new(
        head: RowHead,
        form: Form,
        embeddings: Vec<Embedding>,
        base64: bool,
        model: String,
    ) -> Self {
        let outcome = Ok(Outcome {
            embeddings,
            base64,
            model,
        });
        Self {
            head,
            form,
            outcome,
        }
    }

    /// The answer to a row that has no embedding.
    pub fn failed(head: RowHead, form: Form, error: RowError) -> Self {
        Self {
            head,
            form,
            outcome: Err(error),
        }
    }

    /// Which row of the input, from 0.
    pub fn row(&self) -> u64 {
        self.head.index
    }

    /// What went wrong, if something did.
    pub fn error(&self) -> Option<&RowError> {
        self.outcome.as_ref().err()
    }

    /// The embeddings; none if the row is in error.
    pub fn embeddings(&self) -> &[Embedding] {
        self.outcome.as_ref().map_or(&[], |o| &o.embeddings)
    }

    /// Tokens that were read.
    pub fn num_tokens(&self) -> u64 {
        let tokens = self.embeddings().iter().map(|e| e.num_tokens as u64);
        tokens.sum()
    }

    /// Texts that were cut.
    pub fn num_truncated(&self) -> u64 {
        let is_cut = |e: &&Embedding| e.num_cut > 0;
        self.embeddings().iter().filter(is_cut).count() as u64
    }
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: u64,
    total_tokens: u64,
}

/// choral's format.
#[derive(Serialize)]
struct Own<'a> {
    custom_id: Option<&'a str>,
    row: u64,
    embedding: Option<Vector<'a>>,
    usage: Usage,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
    error: Option<&'a RowError>,
}

/// OpenAI's list of a row's embeddings.
#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Item<'a>>,
    model: &'a str,
    usage: Usage,
}

#[derive(Serialize)]
struct Item<'a> {
    object: &'static str,
    index: usize,
    embedding: Vector<'a>,
}

/// An embedding as JSON: numbers, a list of numbers for each token, or base64.
struct Vector<'a> {
    embedding: &'a Embedding,
    base64: bool,
}

impl Serialize for Vector<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Embedding {
            values, dimensions, ..
        } = self.embedding;
        if self.base64 {
            let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
            serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
        } else if self.embedding.is_by_token {
            serializer.collect_seq(values.chunks(*dimensions))
        } else {
            serializer.collect_seq(values)
        }
    }
}

impl Answer {
    fn usage(&self) -> Usage {
        let tokens = self.num_tokens();
        Usage {
            prompt_tokens: tokens,
            total_tokens: tokens,
        }
    }

    fn own(&self) -> Own<'_> {
        let embedding = self.embeddings().first();
        Own {
            custom_id: self.head.given_id(),
            row: self.head.index,
            embedding: embedding.map(|embedding| Vector {
                embedding,
                base64: false,
            }),
            usage: self.usage(),
            truncated: self.num_truncated() > 0,
            error: self.error(),
        }
    }

    fn open_ai(&self) -> ResultLine<'_, List<'_>> {
        let list = self.outcome.as_ref().map(|outcome| {
            let item = |(index, embedding)| Item {
                object: "embedding",
                index,
                embedding: Vector {
                    embedding,
                    base64: outcome.base64,
                },
            };
            List {
                object: "list",
                data: outcome.embeddings.iter().enumerate().map(item).collect(),
                model: &outcome.model,
                usage: self.usage(),
            }
        });
        ResultLine::new(&self.head.key(), self.head.given_id(), list)
    }
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.form {
            Form::Own => self.own().serialize(serializer),
            Form::OpenAi => self.open_ai().serialize(serializer),
        }
    }
}
