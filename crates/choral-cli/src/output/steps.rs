//! What the engine did step by step.

use choral::engine::StepStats;
use std::io::{self, Write};

/// Writes a table with a line a step; times in milliseconds.
pub(crate) fn write(out: &mut dyn Write, steps: &[StepStats]) -> io::Result<()> {
    writeln!(out, "Steps (times in ms):")?;
    writeln!(
        out,
        "  {:>6} {:>5} {:>7} {:>6} {:>9} {:>9} {:>9} {:>9}",
        "step", "rows", "prompt", "decode", "schedule", "forward", "sample", "total"
    )?;
    for step in steps {
        writeln!(
            out,
            "  {:>6} {:>5} {:>7} {:>6} {:>9.3} {:>9.3} {:>9.3} {:>9.3}",
            step.step,
            step.num_rows,
            step.num_prefill_tokens,
            step.num_decode_tokens,
            step.schedule_s * 1e3,
            step.forward_s * 1e3,
            step.sample_s * 1e3,
            step.step_s * 1e3
        )?;
    }
    Ok(())
}
