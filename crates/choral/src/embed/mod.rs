//! Embeddings: a text as a vector, such that texts of like meaning have like vectors.
//!
//! ```no_run
//! use choral::Embedder;
//!
//! let mut embedder = Embedder::builder().model("all-MiniLM-L6-v2").build()?;
//! let vectors = embedder.embed(&["a cat on a mat", "a kitten on a rug"])?;
//! let similarity: f32 = vectors[0].iter().zip(&vectors[1]).map(|(a, b)| a * b).sum();
//! # let _ = similarity;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An [`Embedder`] runs encoders ([`Encoder`](crate::model::Encoder)) and decoders
//! ([`Model`](crate::model::Model)) alike: texts become tokens, tokens go through the
//! model in ragged steps, and the vectors that come out become one a text
//! ([`Pooling`]). A text's embedding depends on the text and the model file, and on
//! nothing that runs beside it.
//!
//! [`RowReader`], [`EmbedJob`] and [`Answer`] are for files of texts, as [`crate::job`]
//! is for files of prompts. Knows nothing of engines: nothing is scheduled, a caller waits.

mod answer;
mod builder;
mod job;
mod npy;
mod pooling;
mod row;
mod run;
mod source;

#[cfg(test)]
mod tests;

pub use answer::Answer;
pub use builder::EmbedderBuilder;
pub use job::{EmbedJob, EmbedJobError};
pub use npy::NpyWriter;
pub use pooling::Pooling;
pub use row::{Form, Row, RowReader, RowWork};
pub use source::EmbedderError;

use crate::engine::Prompt;
use crate::model::{ModelError, Numeric};
use crate::text::{EncodeOptions, Tokenizer, TokenizerError};
use choral_kernels::Compute;
use pooling::Pool;
use run::Runner;
use std::path::PathBuf;

/// Why a text has no embedding.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbedError {
    /// A text of several.
    #[error("text {index}: {source}")]
    Text {
        /// Which one, from 0.
        index: usize,
        /// What is wrong with it.
        source: Box<EmbedError>,
    },
    /// The text has more tokens than the model takes.
    #[error("the text has {tokens} tokens, the model takes {most}")]
    TooLong {
        /// Tokens of the text, those around it included.
        tokens: usize,
        /// Tokens of the longest text.
        most: usize,
    },
    /// The text has no tokens, and the tokenizer adds none.
    #[error("the text has no tokens")]
    NoTokens,
    /// A token that the model does not have.
    #[error("token {token} is outside the vocabulary of {vocab_size}")]
    UnknownToken {
        /// The token.
        token: u32,
        /// Rows of the embedding.
        vocab_size: usize,
    },
    /// More elements than a vector has, or none.
    #[error("{asked} dimensions asked for, expected 1 to {width}")]
    Dimensions {
        /// What was asked for.
        asked: usize,
        /// What the model has.
        width: usize,
    },
    /// Several texts in a row, where there is room for one vector.
    #[error("the row has {found} texts; an array has one vector a row")]
    ManyVectors {
        /// Its texts.
        found: usize,
    },
    /// A row with a width of its own, where all are of one.
    #[error("the row asks for {found} dimensions; the array has {expected}")]
    OtherWidth {
        /// What it asks for.
        found: usize,
        /// What the array has.
        expected: usize,
    },
    /// The text could not be read.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// There is no memory for a step.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The vector has elements that are no finite numbers.
    #[error("the embedding has elements that are not finite")]
    NotFinite,
}

/// What an embedder runs, and how.
#[derive(Debug, Clone)]
pub struct EmbedderInfo {
    /// The file or directory; `choral-demo` for the model that ships.
    pub path: PathBuf,
    /// The family.
    pub architecture: &'static str,
    /// The arithmetic.
    pub numeric: Numeric,
    /// The instruction set of the kernels.
    pub isa: &'static str,
    /// Threads that compute.
    pub threads: usize,
    /// Bytes of packed weights.
    pub weight_bytes: usize,
    /// Elements of the model's vectors.
    pub width: usize,
    /// Elements of an embedding: the vector's, or the first so many.
    pub dimensions: usize,
    /// Tokens of the longest text.
    pub max_model_len: usize,
    /// How vectors of tokens become one.
    pub pooling: Pooling,
    /// Whether embeddings have length 1.
    pub normalize: bool,
    /// Whether longer texts are cut, rather than refused.
    pub truncate: bool,
    /// Most texts in a step.
    pub max_num_seqs: usize,
    /// Most tokens in a step.
    pub max_num_batched_tokens: usize,
}

impl EmbedderInfo {
    /// The model's name: that of its file or folder.
    pub fn model_name(&self) -> String {
        let is_gguf = self.path.extension().is_some_and(|e| e == "gguf");
        let name = if is_gguf {
            self.path.file_stem()
        } else {
            self.path.file_name()
        };
        name.unwrap_or(self.path.as_os_str())
            .to_string_lossy()
            .into_owned()
    }
}

/// A text's tokens, checked and ready to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedText {
    token_ids: Vec<u32>,
    num_cut: usize,
    dimensions: usize,
}

impl PreparedText {
    /// Its tokens, those around it included.
    pub fn token_ids(&self) -> &[u32] {
        &self.token_ids
    }

    /// How many tokens were cut off.
    pub fn num_cut(&self) -> usize {
        self.num_cut
    }
}

/// A text as a vector, or with [`Pooling::None`] as one for each of its tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// `[dimensions]`, or `[tokens, dimensions]`.
    pub values: Vec<f32>,
    /// Elements of a vector.
    pub dimensions: usize,
    /// Whether there is a vector for each token.
    pub is_by_token: bool,
    /// Tokens that were read.
    pub num_tokens: usize,
    /// Tokens that were cut off.
    pub num_cut: usize,
}

impl Embedding {
    /// Whether all elements are numbers.
    pub fn is_finite(&self) -> bool {
        self.values.iter().all(|x| x.is_finite())
    }
}

/// A model that turns texts into vectors, and the workers that compute it.
#[derive(Debug)]
pub struct Embedder {
    tokenizer: Tokenizer,
    compute: Compute,
    runner: Runner,
    info: EmbedderInfo,
    vocab_size: usize,
    /// Texts are put into lower case before they are read.
    lowercase: bool,
}

impl Embedder {
    /// Chooses a model and how to run it.
    pub fn builder() -> EmbedderBuilder {
        EmbedderBuilder::default()
    }

    /// What it runs, and how.
    pub fn info(&self) -> &EmbedderInfo {
        &self.info
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Embeds texts, in order: a vector of [`dimensions`](EmbedderInfo::dimensions)
    /// elements each, or with [`Pooling::None`] one for each token, one behind the
    /// other.
    ///
    /// # Errors
    /// If one of the texts cannot be embedded; see [`prepare`](Self::prepare) and
    /// [`run`](Self::run) to go on with the others.
    pub fn embed<T: AsRef<str>>(&mut self, texts: &[T]) -> Result<Vec<Vec<f32>>, EmbedError> {
        let at = |index| {
            move |source| EmbedError::Text {
                index,
                source: Box::new(source),
            }
        };
        let mut prepared = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            let text = Prompt::Text(text.as_ref().to_owned());
            prepared.push(self.prepare(&text, None).map_err(at(index))?);
        }
        let embeddings = self.run(&prepared)?.into_iter().enumerate();
        embeddings
            .map(|(index, embedding)| {
                if embedding.is_finite() {
                    Ok(embedding.values)
                } else {
                    Err(at(index)(EmbedError::NotFinite))
                }
            })
            .collect()
    }

    /// Turns a text into tokens, with those that the tokenizer adds around it, and
    /// checks them; tokens are used as they are. `dimensions` overrules the builder's.
    ///
    /// # Errors
    /// If the text has no tokens, one that the model does not have, or more than
    /// [`max_model_len`](EmbedderInfo::max_model_len) (unless they are to be cut); or if
    /// a vector has no so many dimensions.
    pub fn prepare(
        &self,
        prompt: &Prompt,
        dimensions: Option<usize>,
    ) -> Result<PreparedText, EmbedError> {
        let width = self.info.width;
        let dimensions = dimensions.unwrap_or(self.info.dimensions);
        if !(1..=width).contains(&dimensions) {
            let asked = dimensions;
            return Err(EmbedError::Dimensions { asked, width });
        }
        let (token_ids, num_cut) = match prompt {
            Prompt::Text(text) => self.tokenize(text)?,
            Prompt::Tokens(ids) => {
                let most = self.limit(ids.len())?;
                (ids[..most].to_vec(), ids.len() - most)
            }
        };
        let vocab_size = self.vocab_size;
        if let Some(&token) = token_ids.iter().find(|&&t| t as usize >= vocab_size) {
            return Err(EmbedError::UnknownToken { token, vocab_size });
        }
        Ok(PreparedText {
            token_ids,
            num_cut,
            dimensions,
        })
    }

    /// Embeds prepared texts, in order.
    ///
    /// # Errors
    /// If there is no memory for a step.
    pub fn run(&mut self, texts: &[PreparedText]) -> Result<Vec<Embedding>, EmbedError> {
        let (pooling, width) = (self.info.pooling, self.info.width);
        let token_ids: Vec<&[u32]> = texts.iter().map(PreparedText::token_ids).collect();
        let mut pools: Vec<Pool> = texts.iter().map(|_| Pool::new(pooling, width)).collect();
        self.runner
            .run(&self.compute, &token_ids, &mut |text, states| {
                pools[text].add(states);
            })?;
        let finish = |(pool, text): (Pool, &PreparedText)| {
            let mut values = pool.finish();
            pooling::shorten(&mut values, width, text.dimensions);
            if self.info.normalize {
                pooling::normalise(&mut values, text.dimensions);
            }
            Embedding {
                values,
                dimensions: text.dimensions,
                is_by_token: pooling == Pooling::None,
                num_tokens: text.token_ids.len(),
                num_cut: text.num_cut,
            }
        };
        Ok(pools.into_iter().zip(texts).map(finish).collect())
    }

    /// How many of `tokens` tokens are read.
    fn limit(&self, tokens: usize) -> Result<usize, EmbedError> {
        let most = self.info.max_model_len;
        match tokens {
            0 => Err(EmbedError::NoTokens),
            _ if tokens <= most => Ok(tokens),
            _ if self.info.truncate => Ok(most),
            _ => Err(EmbedError::TooLong { tokens, most }),
        }
    }

    /// A text's tokens, and how many were cut off. What the tokenizer adds around a
    /// text stays when it is cut, as in transformers.
    fn tokenize(&self, text: &str) -> Result<(Vec<u32>, usize), EmbedError> {
        let lower = self.lowercase.then(|| text.to_lowercase());
        let text = lower.as_deref().unwrap_or(text);
        let encode = |add_special| {
            let options = EncodeOptions {
                add_special,
                parse_special: true,
            };
            self.tokenizer.encode(text, options)
        };
        let mut ids = encode(true)?;
        let most = self.limit(ids.len())?;
        let num_cut = ids.len() - most;
        if num_cut > 0 {
            cut(&mut ids, &encode(false)?, most);
        }
        Ok((ids, num_cut))
    }
}

/// Leaves `most` of `ids`: the end of the text itself (`plain`, somewhere among them)
/// goes first.
fn cut(ids: &mut Vec<u32>, plain: &[u32], most: usize) {
    let num_cut = ids.len().saturating_sub(most);
    let first = ids
        .windows(plain.len().max(1))
        .position(|part| part == plain);
    if let Some(first) = first {
        let end = first + plain.len();
        ids.drain(end.saturating_sub(num_cut).max(first)..end);
    }
    ids.truncate(most);
}
