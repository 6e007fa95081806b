//! `choral bench --limits`: what measured speeds are to be held against.

use super::Format;
use anyhow::{Context as _, Result};
use choral::machine::limits::{Limits, PeakInput, measure};
use choral::machine::{Isa, Machine};
use serde::Serialize;
use std::io::{self, Write};

/// Bytes that are read: far more than any cache holds.
const READ_BYTES: u64 = 1 << 30;

/// One line of results.
#[derive(Debug, Serialize)]
struct Line {
    threads: usize,
    isa: &'static str,
    dram_read_gb_s: f64,
    peaks: Vec<PeakLine>,
}

/// An instruction's peak, in 10^12 operations a second.
#[derive(Debug, Serialize)]
struct PeakLine {
    name: &'static str,
    input: &'static str,
    tera: f64,
}

/// Measures with the instruction set that an engine would take, and, unless said, the
/// threads.
pub(super) fn of_machine(threads: Option<usize>) -> Result<Limits> {
    let isa = Isa::from_env()?;
    let machine = Machine::here();
    let threads = threads.unwrap_or_else(|| machine.compute_threads());
    let left = machine.memory_left().map_or(u64::MAX, |left| left.bytes);
    let bytes = READ_BYTES.min(left / 4);
    usize::try_from(bytes)
        .ok()
        .filter(|&bytes| bytes / threads >= 64)
        .and_then(|bytes| measure(isa, threads, bytes))
        .with_context(|| format!("no memory for the {bytes} bytes that {threads} threads read"))
}

pub(super) fn run(threads: Option<usize>, format: Format) -> Result<()> {
    let limits = of_machine(threads)?;
    let line = line(&limits, Isa::from_env()?);
    let mut out = io::stdout();
    if matches!(format, Format::Json | Format::Jsonl) {
        writeln!(out, "{}", serde_json::to_string(&line)?)?;
        return Ok(());
    }
    let unit = |peak: &PeakLine| {
        if peak.input == "int8" {
            "TOP/s"
        } else {
            "TFLOP/s"
        }
    };
    if format == Format::Csv {
        writeln!(out, "limit,value,unit")?;
        writeln!(out, "memory read,{},GB/s", line.dram_read_gb_s)?;
        for peak in &line.peaks {
            writeln!(out, "{},{},{}", peak.name, peak.tera, unit(peak))?;
        }
        return Ok(());
    }
    writeln!(out, "{}, {} threads\n", line.isa, line.threads)?;
    writeln!(out, "| limit             |         value |")?;
    writeln!(out, "|:------------------|--------------:|")?;
    writeln!(
        out,
        "| memory read       | {:8.2} GB/s |",
        line.dram_read_gb_s
    )?;
    for peak in &line.peaks {
        let value = format!("{:.3} {}", peak.tera, unit(peak));
        writeln!(out, "| {:17} | {value:>13} |", peak.name)?;
    }
    Ok(())
}

fn line(limits: &Limits, isa: Isa) -> Line {
    let peaks = limits.peaks.iter().map(|peak| PeakLine {
        name: peak.name,
        input: match peak.input {
            PeakInput::F32 => "f32",
            PeakInput::Bf16 => "bf16",
            PeakInput::Int8 => "int8",
            _ => "other",
        },
        tera: peak.operations_per_s / 1e12,
    });
    Line {
        threads: limits.threads,
        isa: isa.name(),
        dram_read_gb_s: limits.read_bytes_per_s / 1e9,
        peaks: peaks.collect(),
    }
}
