//! The filters, by what they keep.

/// One step that narrows or reshapes a distribution.
///
/// Every filter leaves at least one token, and breaks ties by the lower id. A
/// filter at its neutral value (given with each) changes nothing. Values are not
/// checked here; [`SamplingParams::validate`](crate::sampling::SamplingParams::validate)
/// and [`SamplingStrategy`](crate::sampling::SamplingStrategy) do that.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Filter {
    /// Divides the logits; 0 keeps the likeliest token only. Neutral: 1.
    Temperature(f32),
    /// Keeps the `k` likeliest. Neutral: 0.
    TopK(u32),
    /// Keeps the smallest set of likeliest tokens whose probabilities sum to at
    /// least `p`, the token that crosses it included (Holtzman et al., 2020).
    /// Neutral: 1.
    TopP(f32),
    /// Keeps tokens at least `p` times as likely as the likeliest
    /// (Nguyen et al., 2024). Neutral: 0.
    MinP(f32),
    /// Keeps the smallest set of tokens whose surprise is closest to the
    /// entropy and whose probabilities sum to at least `p` (Meister et al.,
    /// 2022). Neutral: 1.
    Typical(f32),
    /// Keeps tokens at least this likely (Hewitt et al., 2022). Neutral: 0.
    Epsilon(f32),
    /// Keeps tokens at least min(eta, sqrt(eta) e^-entropy) likely (Hewitt et
    /// al., 2022). Neutral: 0.
    Eta(f32),
}
