//! A text as a chain of symbols that merge with their neighbours.

/// Links are indices; a merged symbol keeps its left part's index.
pub(super) struct Symbols<'t> {
    text: &'t str,
    links: Vec<Link>,
}

#[derive(Clone, Copy)]
struct Link {
    start: usize,
    /// Equal to `start` once the symbol has become part of another.
    end: usize,
    before: Option<usize>,
    after: Option<usize>,
}

impl<'t> Symbols<'t> {
    /// One symbol for each character.
    pub(super) fn new(text: &'t str) -> Self {
        let mut links: Vec<Link> = text
            .char_indices()
            .enumerate()
            .map(|(index, (start, c))| Link {
                start,
                end: start + c.len_utf8(),
                before: index.checked_sub(1),
                after: Some(index + 1),
            })
            .collect();
        if let Some(last) = links.last_mut() {
            last.after = None;
        }
        Self { text, links }
    }

    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    pub(super) fn before(&self, at: usize) -> Option<usize> {
        self.links[at].before
    }

    pub(super) fn after(&self, at: usize) -> Option<usize> {
        self.links[at].after
    }

    pub(super) fn text(&self, at: usize) -> &'t str {
        &self.text[self.links[at].start..self.links[at].end]
    }

    /// The text of two neighbours.
    pub(super) fn joined(&self, left: usize, right: usize) -> &'t str {
        &self.text[self.links[left].start..self.links[right].end]
    }

    pub(super) fn are_neighbours(&self, left: usize, right: usize) -> bool {
        let is_live = |at: usize| self.links[at].end > self.links[at].start;
        is_live(left) && is_live(right) && self.links[left].after == Some(right)
    }

    /// Makes `right` part of `left`.
    pub(super) fn merge(&mut self, left: usize, right: usize) {
        let Link { end, after, .. } = self.links[right];
        self.links[right].end = self.links[right].start;
        self.links[left].end = end;
        self.links[left].after = after;
        if let Some(after) = after {
            self.links[after].before = Some(left);
        }
    }

    /// The symbols from left to right.
    pub(super) fn texts(&self) -> impl Iterator<Item = &'t str> {
        let first = (!self.links.is_empty()).then_some(0);
        std::iter::successors(first, |&at| self.links[at].after).map(|at| self.text(at))
    }
}
