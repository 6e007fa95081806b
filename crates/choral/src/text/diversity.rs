//! How varied texts are.

use std::collections::HashSet;

/// Distinct-n: of all runs of `n` words in `texts`, the share that differ (Li et al.,
/// "A Diversity-Promoting Objective Function for Neural Conversation Models", 2016).
/// Words are what white space separates, as they are written; runs do not go from one
/// text into the next. `None` if no text has `n` words.
///
/// ```
/// use choral::text::distinct_n;
///
/// let texts = ["the cat and the dog", "the cat"];
/// assert_eq!(distinct_n(texts, 1), Some(4.0 / 7.0));
/// assert_eq!(distinct_n(texts, 2), Some(4.0 / 5.0));
/// assert_eq!(distinct_n(texts, 6), None);
/// ```
///
/// # Panics
/// If `n` is 0.
pub fn distinct_n<'a>(texts: impl IntoIterator<Item = &'a str>, n: usize) -> Option<f64> {
    let mut all = 0_usize;
    let mut seen = HashSet::new();
    for text in texts {
        let words: Vec<&str> = text.split_whitespace().collect();
        for run in words.windows(n) {
            all += 1;
            seen.insert(run.to_vec());
        }
    }
    (all > 0).then(|| seen.len() as f64 / all as f64)
}
