//! Which instruction set runs, and the proofs that the CPU has it.
//!
//! A CPU feature is a value one must hold: the only way to an [`Avx2`] or an
//! [`Avx512`] is detection at run time, so code that takes one needs no check.

use crate::simd::{Int8, Scalar, Simd};
use std::fmt;

/// Proof that this CPU (and its operating system) runs AVX2, FMA and F16C.
#[derive(Debug, Clone, Copy)]
pub struct Avx2(());

/// Proof that this CPU runs AVX-512 F, BW, DQ and VL, and what [`Avx2`] proves.
#[derive(Debug, Clone, Copy)]
pub struct Avx512 {
    vnni: bool,
}

/// Proof that this CPU runs AVX-512 VNNI, and what [`Avx512`] proves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vnni(Avx512);

impl Vnni {
    /// What it includes.
    #[inline(always)]
    pub(crate) fn avx512(self) -> Avx512 {
        self.0
    }
}

/// An instruction set to run kernels on.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust: the specification of the others.
    Scalar,
    /// 256-bit vectors with fused multiply-add.
    Avx2(Avx2),
    /// 512-bit vectors.
    Avx512(Avx512),
}

/// Why an instruction set cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum IsaError {
    /// The name is none of `scalar`, `avx2`, `avx512`.
    Unknown(String),
    /// This CPU does not have it.
    Unavailable {
        /// What was asked for.
        asked: &'static str,
        /// The best that this CPU has.
        best: &'static str,
    },
}

impl fmt::Display for IsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(
                f,
                "unknown instruction set `{name}`, expected scalar, avx2 or avx512"
            ),
            Self::Unavailable { asked, best } => write!(
                f,
                "this CPU does not run {asked} kernels; the best it has is {best}"
            ),
        }
    }
}

impl std::error::Error for IsaError {}

/// A computation that can run on any instruction set.
///
/// `run` must be `#[inline(always)]` all the way down: only then is its body
/// compiled with the features of the set it is dispatched to.
pub(crate) trait Kernel {
    fn run<S: Simd>(self, simd: S);
}

/// A computation on small integers that can run on any instruction set; otherwise
/// as [`Kernel`].
pub(crate) trait Int8Kernel {
    fn run<I: Int8>(self, int8: I);
}

impl Isa {
    /// The best set that this CPU has.
    #[must_use]
    pub fn detect() -> Self {
        avx512().map_or_else(|| avx2().map_or(Self::Scalar, Self::Avx2), Self::Avx512)
    }

    /// Every set that this CPU has, slowest first.
    pub fn available() -> Vec<Self> {
        let mut all = vec![Self::Scalar];
        all.extend(avx2().map(Self::Avx2));
        all.extend(avx512().map(Self::Avx512));
        all
    }

    /// The set of that name (`scalar`, `avx2`, `avx512`).
    ///
    /// # Errors
    /// If there is none of that name, or this CPU does not have it.
    pub fn named(name: &str) -> Result<Self, IsaError> {
        let missing = |asked| IsaError::Unavailable {
            asked,
            best: Self::detect().name(),
        };
        match name {
            "scalar" => Ok(Self::Scalar),
            "avx2" => avx2().map(Self::Avx2).ok_or_else(|| missing("avx2")),
            "avx512" => avx512().map(Self::Avx512).ok_or_else(|| missing("avx512")),
            other => Err(IsaError::Unknown(other.to_owned())),
        }
    }

    /// The best set, or the one that the environment variable `CHORAL_ISA` names.
    ///
    /// # Errors
    /// As [`Isa::named`]: what was asked for and is missing is never replaced.
    pub fn from_env() -> Result<Self, IsaError> {
        match std::env::var("CHORAL_ISA") {
            Ok(name) if !name.is_empty() => Self::named(&name),
            _ => Ok(Self::detect()),
        }
    }

    /// The name that [`Isa::named`] takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2(_) => "avx2",
            Self::Avx512(_) => "avx512",
        }
    }

    /// Runs a kernel on this set.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) {
        match self {
            Self::Scalar => kernel.run(Scalar),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves AVX2 and FMA.
            Self::Avx2(token) => unsafe { run_avx2(token, kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves AVX-512 F, BW, DQ and VL.
            Self::Avx512(token) => unsafe { run_avx512(token, kernel) },
            #[cfg(not(target_arch = "x86_64"))]
            _ => unreachable!("tokens are made on x86-64 only"),
        }
    }

    /// Runs an integer kernel on this set. An AVX-512 CPU without VNNI runs it on
    /// AVX2: the integers are the same.
    #[inline]
    pub(crate) fn run_int8<K: Int8Kernel>(self, kernel: K) {
        match self {
            Self::Scalar => kernel.run(Scalar),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves AVX2, FMA and F16C.
            Self::Avx2(token) => unsafe { run_int8_avx2(token, kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves AVX-512 F, BW, DQ, VL, and VNNI if it says so.
            Self::Avx512(token) if token.vnni => unsafe { run_int8_vnni(Vnni(token), kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a CPU with AVX-512 was found to have AVX2, FMA and F16C.
            Self::Avx512(_) => unsafe { run_int8_avx2(Avx2(()), kernel) },
            #[cfg(not(target_arch = "x86_64"))]
            _ => unreachable!("tokens are made on x86-64 only"),
        }
    }
}

fn avx2() -> Option<Avx2> {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
    {
        return Some(Avx2(()));
    }
    None
}

fn avx512() -> Option<Avx512> {
    #[cfg(target_arch = "x86_64")]
    if avx2().is_some()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
    {
        return Some(Avx512 {
            vnni: is_x86_feature_detected!("avx512vnni"),
        });
    }
    None
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn run_avx2<K: Kernel>(token: Avx2, kernel: K) {
    kernel.run(token);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
fn run_avx512<K: Kernel>(token: Avx512, kernel: K) {
    kernel.run(token);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn run_int8_avx2<K: Int8Kernel>(token: Avx2, kernel: K) {
    kernel.run(token);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
fn run_int8_vnni<K: Int8Kernel>(token: Vnni, kernel: K) {
    kernel.run(token);
}
