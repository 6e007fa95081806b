//! Many measurements in a few numbers.

/// Where measurements lie, in their own unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Arithmetic mean.
    pub mean: f64,
    /// Half are below, half above.
    pub median: f64,
    /// 99 of a hundred are below.
    pub p99: f64,
}

impl Spread {
    /// `None` of no measurements.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            mean: values.iter().sum::<f64>() / values.len() as f64,
            median: percentile(&sorted, 50.0)?,
            p99: percentile(&sorted, 99.0)?,
        })
    }
}

/// The value below which `percent` of `sorted` lie, between two of them by linear
/// interpolation, as NumPy does unless told otherwise. `None` of no values.
///
/// # Panics
/// If `percent` is not within 0 to 100.
pub fn percentile(sorted: &[f64], percent: f64) -> Option<f64> {
    assert!((0.0..=100.0).contains(&percent), "{percent} %");
    let last = sorted.len().checked_sub(1)?;
    let place = percent / 100.0 * last as f64;
    let (below, part) = (place.floor() as usize, place.fract());
    let above = sorted[(below + 1).min(last)];
    Some(sorted[below] + part * (above - sorted[below]))
}
