//! The most that a machine allows (Williams, Waterman and Patterson: "Roofline", 2009).

use crate::machine::limits::{Limits, Peak, PeakInput};
use crate::model::Numeric;

/// What a step that continues every sequence by one token costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepWork {
    /// Tokens that come of it: one for each sequence.
    pub tokens: f64,
    /// Bytes that it reads: weights, keys and values.
    pub bytes: f64,
    /// Multiplications and additions of its matrix products, two for each product.
    pub operations: f64,
}

/// Tokens a second that one of the machine's limits leaves, as if the others were not
/// there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ceiling {
    /// By reading weights, keys and values from memory. A model that fits in the caches
    /// may be faster.
    pub memory: f64,
    /// By multiplying; `None` where it was not measured.
    pub arithmetic: Option<f64>,
}

impl Ceiling {
    /// The ceiling over steps of `work`. `numeric` says which instruction multiplies.
    pub fn new(work: &StepWork, limits: &Limits, numeric: Numeric) -> Self {
        let peak = peak_for(numeric, limits);
        Self {
            memory: limits.read_bytes_per_s / work.bytes * work.tokens,
            arithmetic: peak.map(|peak| peak.operations_per_s / work.operations * work.tokens),
        }
    }

    /// The lower of the two.
    pub fn lowest(&self) -> f64 {
        self.arithmetic
            .map_or(self.memory, |most| most.min(self.memory))
    }
}

/// The fastest measured instruction that multiplies what `numeric` multiplies. bf16
/// are multiplied as single precision where there is no instruction for them. `None`
/// where nothing was measured: there is no bound then, for bytes may be multiplied by
/// instructions that the probe does not know.
pub fn peak_for(numeric: Numeric, limits: &Limits) -> Option<&Peak> {
    let fastest = |input: PeakInput| {
        let peaks = limits.peaks.iter().filter(move |peak| peak.input == input);
        peaks.max_by(|a, b| a.operations_per_s.total_cmp(&b.operations_per_s))
    };
    match numeric {
        Numeric::Q8 => fastest(PeakInput::Int8),
        Numeric::Bf16 => fastest(PeakInput::Bf16).or_else(|| fastest(PeakInput::F32)),
        Numeric::F32 => fastest(PeakInput::F32),
    }
}
