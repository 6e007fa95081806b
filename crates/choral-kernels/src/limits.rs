//! What this machine does at most: a probe to hold measurements against.
//!
//! Owns loops that do nothing but read memory, or multiply in registers, in the
//! instructions that the kernels use. Knows nothing of kernels and models, and is
//! no part of a step. Start with [`measure`].
//!
//! Threads are the probe's own and not [`crate::Pool`]'s: there, a worker that
//! comes late has its share done by others, but here it must read its own memory.

use crate::arena::{Arena, Array};
use crate::isa::{Isa, Kernel};
use crate::simd::{LANES, Simd};
use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Rounds of a probe; the best counts, for disturbance only ever slows.
const ROUNDS: usize = 5;

/// Length of a round.
const WINDOW: Duration = Duration::from_millis(150);

/// Lines that are fetched ahead of a read: 1 KiB.
const AHEAD: usize = 16;

/// Sums that do not wait for each other: two units of up to six cycles are busy.
#[cfg(target_arch = "x86_64")]
const CHAINS: usize = 12;

/// Rounds over all chains between two looks at the clock.
#[cfg(target_arch = "x86_64")]
const STEPS: usize = 20_000;

/// A machine's limits, with so many threads.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Threads that worked at once.
    pub threads: usize,
    /// Bytes a second read from memory, by all threads together.
    pub read_bytes_per_s: f64,
    /// Arithmetic in registers, by all threads together.
    pub peaks: Vec<Peak>,
}

/// How fast one instruction multiplies when it waits for no memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peak {
    /// What is multiplied, and by which instruction.
    pub name: &'static str,
    /// The numbers multiplied.
    pub input: PeakInput,
    /// Multiplications and additions (two for each product) a second.
    pub operations_per_s: f64,
}

/// What a [`Peak`]'s instruction multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeakInput {
    /// Single precision.
    F32,
    /// bf16, summed in f32.
    Bf16,
    /// Bytes, summed in 32-bit integers.
    Int8,
}

/// Measures for some seconds. `bytes` are read in all, each thread its own part:
/// choose much more than the caches hold. `None` if there is no memory for them.
///
/// Instructions above `isa` are not measured, nor those that this CPU lacks.
///
/// # Panics
/// If `threads` is 0, or a thread has less than a line of 64 bytes to read.
#[must_use]
pub fn measure(isa: Isa, threads: usize, bytes: usize) -> Option<Limits> {
    let lines = bytes / threads / size_of::<[f32; LANES]>();
    assert!(lines > 0, "{bytes} bytes for {threads} threads");
    let arena = Arena::default();
    let arrays: Option<Vec<Array<[f32; LANES]>>> =
        (0..threads).map(|_| arena.zeroed(lines)).collect();
    let read_bytes_per_s = rate(
        arrays?,
        // Pages that nobody wrote are all the same page of zeros. Each thread writes
        // its own, so that they lie in the memory next to it.
        |array| array.fill([1.0; LANES]),
        |array| {
            let mut sum = [0.0; LANES];
            isa.run(Read {
                lines: array,
                sum: &mut sum,
            });
            black_box(sum);
            size_of_val::<[[f32; LANES]]>(array) as u64
        },
    );
    let peak = |(name, input, run): (_, _, Multiply)| Peak {
        name,
        input,
        operations_per_s: rate(vec![(); threads], |()| (), |()| run(isa)),
    };
    Some(Limits {
        threads,
        read_bytes_per_s,
        peaks: instructions(isa).into_iter().map(peak).collect(),
    })
}

/// Multiplies for about a tenth of a millisecond and says how many operations it was.
/// The set is one that [`instructions`] found.
type Multiply = fn(Isa) -> u64;

/// Work a second of all threads together. Each has a state, `prepare`s it, and then
/// `run`s, which says how much it did.
fn rate<T: Send>(
    states: Vec<T>,
    prepare: impl Fn(&mut T) + Sync,
    run: impl Fn(&mut T) -> u64 + Sync,
) -> f64 {
    let barrier = Barrier::new(states.len());
    let (barrier, prepare, run) = (&barrier, &prepare, &run);
    let rounds = |mut state: T| {
        prepare(&mut state);
        [(); ROUNDS].map(|()| {
            barrier.wait();
            let (start, mut work) = (Instant::now(), 0);
            loop {
                work += run(&mut state);
                let elapsed = start.elapsed();
                if elapsed >= WINDOW {
                    return work as f64 / elapsed.as_secs_f64();
                }
            }
        })
    };
    let rates: Vec<[f64; ROUNDS]> = std::thread::scope(|scope| {
        let threads: Vec<_> = states
            .into_iter()
            .map(|state| scope.spawn(move || rounds(state)))
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().expect("a probe does not panic")
        };
        threads.into_iter().map(join).collect()
    });
    (0..ROUNDS)
        .map(|round| rates.iter().map(|r| r[round]).sum())
        .fold(0.0, f64::max)
}

/// Reads lines, and adds them up so that nothing is left out.
struct Read<'a> {
    lines: &'a [[f32; LANES]],
    sum: &'a mut [f32; LANES],
}

impl Kernel for Read<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut sums = [simd.splat(0.0); 4];
        let (chunks, rest) = self.lines.as_chunks::<4>();
        for lines in chunks {
            for i in 0..4 {
                simd.prefetch(lines.as_ptr().wrapping_add(AHEAD + i));
                sums[i] = simd.add(sums[i], simd.load(&lines[i]));
            }
        }
        for line in rest {
            sums[0] = simd.add(sums[0], simd.load(line));
        }
        let sum = simd.add(simd.add(sums[0], sums[1]), simd.add(sums[2], sums[3]));
        simd.store(sum, self.sum);
    }
}

/// The instructions of `isa` that products are made of.
#[cfg(target_arch = "x86_64")]
fn instructions(isa: Isa) -> Vec<(&'static str, PeakInput, Multiply)> {
    let mut found: Vec<(&'static str, PeakInput, Multiply)> = Vec::new();
    match isa {
        Isa::Scalar => {}
        Isa::Avx2(_) => found.push(("AVX2 VFMADD", PeakInput::F32, |_| {
            // SAFETY: `instructions` saw the token, which proves AVX2 and FMA.
            unsafe { x86::fma_256() }
        })),
        Isa::Avx512(_) | Isa::Avx512Bf16(_) | Isa::Amx(_) => {
            found.push(("AVX-512 VFMADD", PeakInput::F32, |_| {
                // SAFETY: `instructions` saw a token that proves AVX-512 F.
                unsafe { x86::fma_512() }
            }));
            if !matches!(isa, Isa::Avx512(_)) && is_x86_feature_detected!("avx512bf16") {
                found.push(("AVX-512 VDPBF16PS", PeakInput::Bf16, |_| {
                    // SAFETY: detected above, and AVX-512 F by the token.
                    unsafe { x86::dot_bf16() }
                }));
            }
            if is_x86_feature_detected!("avx512vnni") {
                found.push(("AVX-512 VPDPBUSD", PeakInput::Int8, |_| {
                    // SAFETY: detected above, and AVX-512 F by the token.
                    unsafe { x86::dot_int8() }
                }));
            }
        }
    }
    if let Isa::Amx(_) = isa {
        found.push(("AMX TDPBF16PS", PeakInput::Bf16, |isa| match isa {
            Isa::Amx(token) => crate::matmul::multiply_tiles(token, STEPS),
            _ => unreachable!("asked for the set that was found"),
        }));
    }
    found
}

#[cfg(not(target_arch = "x86_64"))]
fn instructions(_: Isa) -> Vec<(&'static str, PeakInput, Multiply)> {
    Vec::new()
}

/// Chains of one instruction each. Their starts differ and are hidden from the
/// compiler, which would otherwise compute one chain for all.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{CHAINS, STEPS};
    use std::arch::x86_64::{
        __m512bh, __m512i, _mm256_fmadd_ps, _mm256_set1_ps, _mm512_dpbf16_ps, _mm512_dpbusd_epi32,
        _mm512_fmadd_ps, _mm512_set1_epi32, _mm512_set1_ps,
    };
    use std::hint::black_box;

    /// Runs `$step` on all chains, and counts `$operations` for each time.
    macro_rules! chains {
        ($start:expr, $step:expr, $operations:expr) => {{
            let mut sums = [$start(0); CHAINS];
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = $start(black_box(i as i32));
            }
            for _ in 0..STEPS {
                for sum in &mut sums {
                    *sum = $step(*sum);
                }
            }
            black_box(sums);
            (STEPS * CHAINS * $operations) as u64
        }};
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn fma_256() -> u64 {
        let x = _mm256_set1_ps(black_box(0.001));
        chains!(
            |i| _mm256_set1_ps(i as f32),
            |s| _mm256_fmadd_ps(x, x, s),
            16
        )
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn fma_512() -> u64 {
        let x = _mm512_set1_ps(black_box(0.001));
        chains!(
            |i| _mm512_set1_ps(i as f32),
            |s| _mm512_fmadd_ps(x, x, s),
            32
        )
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn dot_int8() -> u64 {
        let x = _mm512_set1_epi32(black_box(0x0102_0304));
        chains!(
            |i| _mm512_set1_epi32(i),
            |s| _mm512_dpbusd_epi32(s, x, x),
            128
        )
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn dot_bf16() -> u64 {
        // Sixteen pairs of 1.0.
        let ones: __m512i = _mm512_set1_epi32(black_box(0x3f80_3f80));
        // SAFETY: both types are 64 bytes, and any bits are values.
        let x: __m512bh = unsafe { std::mem::transmute(ones) };
        chains!(
            |i| _mm512_set1_ps(i as f32),
            |s| _mm512_dpbf16_ps(s, x, x),
            64
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_reads_all_of_the_memory() {
        for isa in Isa::available() {
            for n in [1, 3, 4, 7, 64] {
                let (lines, mut sum) = (vec![[1.0; LANES]; n], [0.0; LANES]);
                isa.run(Read {
                    lines: &lines,
                    sum: &mut sum,
                });
                assert_eq!(sum, [n as f32; LANES]);
            }
        }
    }

    #[test]
    fn every_set_has_limits_and_better_ones_have_more() {
        let mut least = 0;
        for isa in Isa::available() {
            let limits = measure(isa, 2, 1 << 20).expect("a megabyte");
            assert_eq!(limits.threads, 2);
            assert!(limits.read_bytes_per_s > 0.0);
            assert!(limits.peaks.iter().all(|p| p.operations_per_s > 0.0));
            assert!(limits.peaks.len() >= least, "{}", isa.name());
            least = limits.peaks.len();
        }
    }
}
