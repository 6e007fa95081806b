//! The scale of one group of weights.
//!
//! x: weights; w: how much each one's error counts; q: codes. A symmetric group is
//! x = s q, an asymmetric one x = s q - m with m >= 0. For given codes the best s
//! (and m) follow by least squares; the codes come from trying scales near the one
//! that maps the extremes to the ends of the range of codes.
//!
//! Codes are kept as floats: they are small integers, so nothing is lost, and
//! everything stays in vector registers.

use super::legacy::extreme;
use super::{inverse, nearest};

/// Groups whose largest weight is smaller are zeros.
const TINY: f32 = 1e-15;

/// How many partial sums, so that sums too are done side by side.
const LANES: usize = 8;

/// Adds up `term(i)` for `i` in `0..N`, a multiple of [`LANES`].
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "the closure must be compiled as part of the loop"
)]
fn sum<const N: usize>(term: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    for chunk in 0..N / LANES {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += term(chunk * LANES + lane);
        }
    }
    lanes.iter().sum()
}

/// A scale, and what the codes make of the weights with it.
struct Fit<const N: usize> {
    codes: [f32; N],
    /// Sum of w x q.
    xq: f32,
    /// Sum of w q q.
    qq: f32,
}

impl<const N: usize> Fit<N> {
    fn new(x: &[f32; N], w: &[f32; N], codes: [f32; N]) -> Self {
        Self {
            xq: sum::<N>(|i| w[i] * x[i] * codes[i]),
            qq: sum::<N>(|i| w[i] * codes[i] * codes[i]),
            codes,
        }
    }

    /// The best scale for these codes.
    fn scale(&self) -> f32 {
        if self.qq > 0.0 {
            self.xq / self.qq
        } else {
            0.0
        }
    }

    /// What the best scale takes off the sum of w x x.
    fn gain(&self) -> f32 {
        self.scale() * self.xq
    }

    /// Whether these codes fit better, without dividing.
    fn beats(&self, gain: f32) -> bool {
        self.qq > 0.0 && self.xq * self.xq > gain * self.qq
    }
}

/// The scale of a symmetric group with codes from `-range` to `range - 1`; errors
/// count by the square of the weight.
///
/// Source: `make_qx_quants` with `rmse_type` 1.
pub(super) fn symmetric<const N: usize>(x: &[f32; N], range: f32) -> f32 {
    let extreme = extreme(x);
    if extreme.abs() < TINY {
        return 0.0;
    }
    let w = x.map(|x| x * x);
    // The extreme gets the code of the largest magnitude, which is negative.
    let fit = |range_tried: f32| {
        let inverse = -range_tried / extreme;
        Fit::new(x, &w, x.map(|x| nearest(x * inverse, -range, range - 1.0)))
    };
    let first = fit(range);
    let (mut scale, mut gain) = (first.scale(), first.gain());
    for step in (-9i8..=9).filter(|&step| step != 0) {
        let tried = fit(range + 0.1 * f32::from(step));
        if tried.beats(gain) {
            (scale, gain) = (tried.scale(), tried.gain());
        }
    }
    scale
}

/// The scale of a symmetric group with codes from `-range` to `range - 1`, by moving
/// one code at a time while that helps. For few codes, where the steps of
/// [`symmetric`] are too coarse.
///
/// Source: `make_q3_quants`.
pub(super) fn descend<const N: usize>(x: &[f32; N], range: f32) -> f32 {
    const ROUNDS: usize = 5;
    let extreme = extreme(x);
    if extreme.abs() < TINY {
        return 0.0;
    }
    let w = x.map(|x| x * x);
    let inverse = -range / extreme;
    let mut fit = Fit::new(x, &w, x.map(|x| nearest(x * inverse, -range, range - 1.0)));
    for _ in 0..ROUNDS {
        let mut changed = false;
        for i in 0..N {
            let code = fit.codes[i];
            let xq = fit.xq - w[i] * x[i] * code;
            let qq = fit.qq - w[i] * code * code;
            // Without the others' agreement on a sign there is nothing to fit to.
            if xq <= 0.0 {
                continue;
            }
            let moved = nearest(x[i] * qq / xq, -range, range - 1.0);
            let xq = xq + w[i] * x[i] * moved;
            let qq = qq + w[i] * moved * moved;
            if moved != code && qq > 0.0 && xq * xq * fit.qq > fit.xq * fit.xq * qq {
                (fit.codes[i], fit.xq, fit.qq) = (moved, xq, qq);
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    fit.scale()
}

/// What [`asymmetric`] tries and what it minimises.
pub(super) struct Ramp {
    /// The largest code.
    pub(super) range: f32,
    /// Tries map the group to `range + from`, `range + from + 0.1`, and so on.
    pub(super) from: f32,
    pub(super) tries: u8,
    /// Minimise absolute errors instead of squared ones.
    pub(super) absolute: bool,
}

/// Scale and (negated) minimum of an asymmetric group with codes from 0.
///
/// Source: `make_qkx2_quants`.
pub(super) fn asymmetric<const N: usize>(x: &[f32; N], w: &[f32; N], ramp: &Ramp) -> (f32, f32) {
    let low = x.iter().copied().fold(0.0, f32::min);
    let high = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // Equal also if all are negative and the same: a minimum alone is enough.
    if high <= low {
        return (0.0, -low);
    }
    let codes = |range: f32, low: f32| {
        let inverse = range / (high - low);
        x.map(|x| nearest((x - low) * inverse, 0.0, ramp.range))
    };
    let error = |codes: &[f32; N], scale: f32, low: f32| {
        let off = |i: usize| scale * codes[i] + low - x[i];
        if ramp.absolute {
            sum::<N>(|i| w[i] * off(i).abs())
        } else {
            sum::<N>(|i| w[i] * off(i) * off(i))
        }
    };
    let mut best = ((high - low) / ramp.range, low);
    let mut least = error(&codes(ramp.range, low), best.0, low);
    let sum_w = sum::<N>(|i| w[i]);
    let sum_x = sum::<N>(|i| w[i] * x[i]);
    for step in 0..=ramp.tries {
        // From the best minimum so far: each try goes on where the last success was.
        let q = codes(ramp.range + ramp.from + 0.1 * f32::from(step), best.1);
        let sum_q = sum::<N>(|i| w[i] * q[i]);
        let sum_qq = sum::<N>(|i| w[i] * q[i] * q[i]);
        let sum_xq = sum::<N>(|i| w[i] * x[i] * q[i]);
        let determinant = sum_w * sum_qq - sum_q * sum_q;
        if determinant <= 0.0 {
            continue;
        }
        let mut scale = (sum_w * sum_xq - sum_x * sum_q) / determinant;
        let mut low = (sum_qq * sum_x - sum_q * sum_xq) / determinant;
        if low > 0.0 {
            // The minimum is stored as a magnitude to subtract.
            low = 0.0;
            scale = sum_xq / sum_qq;
        }
        let found = error(&q, scale, low);
        if found < least {
            (least, best) = (found, (scale, low));
        }
    }
    (best.0, -best.1)
}

/// The scale of a group with codes into `table`, ascending; errors count by the
/// square of the weight. Zero for a group of zeros.
///
/// Source: `quantize_row_iq4_nl_impl`, with seven tries to either side.
pub(super) fn tabled<const N: usize>(x: &[f32; N], table: &[i8; 16]) -> f32 {
    let extreme = extreme(x);
    if extreme.abs() < TINY {
        return 0.0;
    }
    let w = x.map(|x| x * x);
    let end = f32::from(table[0]);
    let fit = |inverse: f32| {
        let entry = |x: f32| f32::from(table[usize::from(nearest_entry(table, x * inverse))]);
        Fit::new(x, &w, x.map(entry))
    };
    // The first try has the sign that maps the extreme near the table's other end.
    let first = fit(inverse(-extreme / end));
    let (mut scale, mut gain) = (first.scale(), first.gain());
    for step in -7i8..=7 {
        let tried = fit((f32::from(step) + end) / extreme);
        if tried.beats(gain) {
            (scale, gain) = (tried.scale(), tried.gain());
        }
    }
    scale
}

/// Index of the entry nearest to `x`, the higher one of two at the same distance.
pub(super) fn nearest_entry(table: &[i8; 16], x: f32) -> u8 {
    // How many midpoints between neighbours x has passed.
    let passed = |pair: &[i8; 2]| 2.0 * x >= f32::from(pair[0]) + f32::from(pair[1]);
    table
        .array_windows()
        .map(|pair| u8::from(passed(pair)))
        .sum()
}
