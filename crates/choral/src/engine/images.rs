//! Pictures in prompts: where they stand, what positions their tokens have, and what
//! tells one from another in the prefix cache.
//!
//! A prompt has one placeholder a picture; [`expand`] puts as many in its place as the
//! picture has tokens. The scheduler knows the result as tokens like any others, beside
//! which it is told what to hand to the executor ([`PromptImages::rows`]).

use super::batch::ImageRows;
use super::error::SubmitError;
use crate::vision::{ContentHash, ImageEmbedding};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// How many pictures are remembered when no request has them. One that was forgotten
/// only loses what the prefix cache has of it.
const MAX_IDLE: usize = 1 << 16;

/// Numbers of pictures come again after so many, by when nothing is left in any cache of
/// those that had them first.
const NUM_NUMBERS: u32 = 1 << 31;

/// Tells a picture from others while it is remembered.
#[derive(Debug, PartialEq, Eq)]
struct Name(u32);

/// The pictures that requests have come with.
#[derive(Debug, Default)]
pub(super) struct ImageNames {
    known: HashMap<ContentHash, Arc<Name>>,
    next: u32,
}

impl ImageNames {
    /// The name of a picture: the same as long as it is remembered, and no other's.
    fn of(&mut self, hash: ContentHash) -> Arc<Name> {
        if let Some(known) = self.known.get(&hash) {
            return Arc::clone(known);
        }
        if self.known.len() >= MAX_IDLE {
            self.known.retain(|_, name| Arc::strong_count(name) > 1);
        }
        let name = Arc::new(Name(self.next));
        self.next = (self.next + 1) % NUM_NUMBERS;
        self.known.insert(hash, Arc::clone(&name));
        name
    }
}

/// One picture of a prompt.
#[derive(Debug)]
struct Span {
    /// Positions in the prompt.
    range: Range<usize>,
    /// What its first token turns by, in all three directions.
    turn: u32,
    /// What the token behind it turns by.
    turn_behind: u32,
    name: Arc<Name>,
    image: ImageEmbedding,
}

/// The pictures of a prompt, in their order.
#[derive(Debug, Default)]
pub(crate) struct PromptImages {
    spans: Vec<Span>,
}

/// For sequences without any.
#[cfg(test)]
pub(crate) static NO_IMAGES: PromptImages = PromptImages { spans: Vec::new() };

impl PromptImages {
    pub(crate) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Pictures that have tokens in `range`.
    fn within(&self, range: &Range<usize>) -> &[Span] {
        let first = self.spans.partition_point(|s| s.range.end <= range.start);
        let end = self.spans.partition_point(|s| s.range.start < range.end);
        &self.spans[first..end.max(first)]
    }

    /// What the token at `position` turns by in time, height and width. A picture is one
    /// moment, and the text behind it goes on behind its longer side.
    ///
    /// Source: `Glm4vModel.get_rope_index` of transformers.
    pub(crate) fn turn(&self, position: usize) -> [u32; 3] {
        let behind = self.spans.partition_point(|s| s.range.start <= position);
        let Some(span) = behind.checked_sub(1).map(|at| &self.spans[at]) else {
            return [position as u32; 3];
        };
        if position >= span.range.end {
            return [span.turn_behind + (position - span.range.end) as u32; 3];
        }
        let (at, columns) = (position - span.range.start, span.image.columns());
        let (row, column) = (at / columns, at % columns);
        [span.turn, span.turn + row as u32, span.turn + column as u32]
    }

    /// What a step of the positions `range` takes from pictures, if its first token is
    /// token `first` of the batch.
    pub(crate) fn rows(
        &self,
        range: Range<usize>,
        first: usize,
    ) -> impl Iterator<Item = ImageRows> + '_ {
        self.within(&range).iter().map(move |span| {
            let from = span.range.start.max(range.start);
            let to = span.range.end.min(range.end);
            ImageRows {
                first_token: (first + from - range.start) as u32,
                len: (to - from) as u32,
                first_row: (from - span.range.start) as u32,
                image: span.image.clone(),
            }
        })
    }

    /// Replaces what stands for pictures in the tokens at `range` by what tells them
    /// apart. That a token is a picture's, and which of its tokens, follows from those
    /// before it; so a picture's are all the same.
    pub(crate) fn name(&self, range: Range<usize>, tokens: &mut [u32]) {
        for span in self.within(&range) {
            let from = span.range.start.max(range.start) - range.start;
            let to = span.range.end.min(range.end) - range.start;
            // No vocabulary has two billion tokens.
            tokens[from..to].fill(u32::MAX - span.name.0);
        }
    }

    /// Positions from the beginning on at which two prompts have the same pictures.
    pub(crate) fn num_common(&self, other: &Self) -> usize {
        let pairs = self.spans.iter().zip(&other.spans);
        let is_same = |(a, b): &(&Span, &Span)| a.range == b.range && a.name == b.name;
        let same = pairs.take_while(is_same).count();
        let start = |images: &Self| images.spans.get(same).map_or(usize::MAX, |s| s.range.start);
        start(self).min(start(other))
    }
}

/// Puts each picture in the place of its placeholder.
///
/// # Errors
/// If there are not as many pictures as placeholders, or one is of another width than the
/// model.
pub(super) fn expand(
    names: &mut ImageNames,
    tokens: &[u32],
    images: Vec<ImageEmbedding>,
    input: &ImageSlots<'_>,
) -> Result<(Vec<u32>, PromptImages), SubmitError> {
    let is_placeholder = |token: &u32| *token == input.placeholder_id;
    let placeholders = tokens.iter().copied().filter(is_placeholder).count();
    if placeholders != images.len() {
        return Err(SubmitError::ImageCount {
            placeholder: input.placeholder.to_owned(),
            placeholders,
            images: images.len(),
        });
    }
    for (index, image) in images.iter().enumerate() {
        if image.hidden_size() != input.hidden_size {
            return Err(SubmitError::ImageWidth {
                index,
                found: image.hidden_size(),
                expected: input.hidden_size,
            });
        }
    }
    let more: usize = images.iter().map(ImageEmbedding::num_tokens).sum();
    let mut expanded = Vec::with_capacity(tokens.len() + more);
    let mut spans = Vec::with_capacity(images.len());
    let mut images = images.into_iter();
    // What the next token turns by, less its position.
    let mut shift = 0_i64;
    for &token in tokens {
        if !is_placeholder(&token) {
            expanded.push(token);
            continue;
        }
        let image = images.next().expect("as many as placeholders");
        let start = expanded.len();
        let end = start + image.num_tokens();
        expanded.resize(end, token);
        let turn = start as i64 + shift;
        let turn_behind = turn + image.rows().max(image.columns()) as i64;
        shift = turn_behind - end as i64;
        spans.push(Span {
            range: start..end,
            turn: turn as u32,
            turn_behind: turn_behind as u32,
            name: names.of(image.content_hash()),
            image,
        });
    }
    Ok((expanded, PromptImages { spans }))
}

/// How a model takes pictures.
#[derive(Debug, Clone, Copy)]
pub(super) struct ImageSlots<'a> {
    pub(super) placeholder_id: u32,
    pub(super) placeholder: &'a str,
    pub(super) hidden_size: usize,
}

#[cfg(test)]
impl PromptImages {
    /// Pictures at those positions of a prompt that has their tokens already, by number:
    /// the same number is the same picture.
    pub(crate) fn numbered(
        prompt: &[u32],
        at: &[(usize, u32)],
        picture: &[ImageEmbedding],
    ) -> Self {
        let mut names = ImageNames::default();
        let mut own: Vec<_> = Vec::new();
        let mut tokens = Vec::new();
        let mut position = 0;
        for hash in 0..=at.iter().map(|(_, number)| *number).max().unwrap_or(0) {
            // In this order, so that numbers are the same in every prompt.
            names.of(picture[hash as usize].content_hash());
        }
        for &(start, number) in at {
            let image = &picture[number as usize];
            tokens.extend(prompt[position..start].iter().map(|_| 0));
            tokens.push(1);
            position = start + image.num_tokens();
            own.push(image.clone());
        }
        let slots = ImageSlots {
            placeholder_id: 1,
            placeholder: "",
            hidden_size: picture[0].hidden_size(),
        };
        expand(&mut names, &tokens, own, &slots).expect("as many").1
    }
}

#[cfg(test)]
mod tests;
