//! Logarithmic axes: their range and where their ticks are.

/// The part of a logarithmic axis that is seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    base: f64,
    /// Logarithms of the ends.
    low: f64,
    high: f64,
}

impl Axis {
    /// From the least to the greatest of `values`, and `margin` (in powers of the base)
    /// beyond both.
    pub(super) fn over(values: impl Iterator<Item = f64>, base: f64, margin: f64) -> Self {
        let logs = values
            .filter(|v| *v > 0.0 && v.is_finite())
            .map(|v| libm::log(v) / libm::log(base));
        let (low, high) = logs.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), log| {
            (low.min(log), high.max(log))
        });
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        Self {
            base,
            low: low - margin,
            high: high + margin,
        }
    }

    /// Where `value` lies: 0 at the low end, 1 at the high one; beyond both outside.
    pub(super) fn place(&self, value: f64) -> f64 {
        (libm::log(value) / libm::log(self.base) - self.low) / (self.high - self.low)
    }

    /// The powers of the base that are seen, and, where those are fewer than four, twice
    /// and five times each too (for base 10).
    pub(super) fn ticks(&self) -> Vec<f64> {
        // What rounding may lack at the ends.
        const SLACK: f64 = 1e-9;
        let of = |factors: &[f64]| -> Vec<f64> {
            let powers = (self.low.floor() as i32)..=(self.high.ceil() as i32);
            powers
                .flat_map(|power| {
                    let power = self.base.powi(power);
                    factors.iter().map(move |factor| factor * power)
                })
                .filter(|&tick| (-SLACK..=1.0 + SLACK).contains(&self.place(tick)))
                .collect()
        };
        let powers = of(&[1.0]);
        if self.base == 10.0 && powers.len() < 4 {
            of(&[1.0, 2.0, 5.0])
        } else {
            powers
        }
    }
}

/// `0.05`, `20`, `5k`, `2M`: a tick's name.
pub(super) fn name(value: f64) -> String {
    let (scaled, unit) = match value {
        v if v >= 1e9 => (v / 1e9, "G"),
        v if v >= 1e6 => (v / 1e6, "M"),
        v if v >= 1e4 => (v / 1e3, "k"),
        v => (v, ""),
    };
    // Powers of ten computed in binary are a little beside themselves.
    let digits = if scaled >= 1.0 {
        0
    } else {
        (-libm::log10(scaled)).ceil() as usize
    };
    format!("{scaled:.digits$}{unit}")
}
