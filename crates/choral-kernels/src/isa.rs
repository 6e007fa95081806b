//! Which instruction set runs, and the proofs that the CPU has it.
//!
//! A CPU feature is a value one must hold: the only way to an [`Avx2`], an
//! [`Avx512`] or an [`Amx`] is detection at run time, so code that takes one needs
//! no check.

use crate::simd::{Int8, Scalar, Simd};
use std::fmt;

/// Proof that this CPU (and its operating system) runs AVX2, FMA and F16C.
#[derive(Debug, Clone, Copy)]
pub struct Avx2(());

/// Proof that this CPU runs AVX-512 F, BW, DQ and VL, and what [`Avx2`] proves.
#[derive(Debug, Clone, Copy)]
pub struct Avx512 {
    vnni: bool,
    bf16: bool,
}

/// Proof that this CPU runs AVX-512 VNNI, and what [`Avx512`] proves; with `BF16`,
/// AVX-512 BF16 too.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vnni<const BF16: bool = false>(Avx512);

impl<const BF16: bool> Vnni<BF16> {
    /// What it includes.
    #[inline(always)]
    pub(crate) fn avx512(self) -> Avx512 {
        self.0
    }
}

/// Proof that this CPU's `VDPBF16PS` adds in our order, that it runs AVX-512 VNNI, and
/// what [`Avx512`] proves.
#[derive(Debug, Clone, Copy)]
pub struct Avx512Bf16(Avx512);

impl Avx512Bf16 {
    /// What everything but products of bf16 runs on.
    #[inline]
    pub(crate) fn vectors(self) -> Isa {
        Isa::Avx512(self.0)
    }

    /// Runs an integer kernel.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    pub(crate) fn run_int8<K: Int8Kernel>(self, kernel: K) {
        // SAFETY: the token proves AVX-512 F, BW, DQ, VL, VNNI and BF16.
        unsafe { run_int8_bf16(Vnni(self.0), kernel) }
    }
}

/// Proof that this CPU runs AMX tiles with bf16 products and that the operating
/// system lets this process use them, and what [`Avx512`] proves.
#[derive(Debug, Clone, Copy)]
pub struct Amx {
    /// What everything but products of tiles runs on. `None` only in tests that
    /// emulate tiles on a CPU without AVX-512.
    vectors: Option<Avx512>,
}

impl Amx {
    /// What everything but products of tiles runs on.
    #[inline]
    pub(crate) fn vectors(self) -> Isa {
        self.vectors.map_or(Isa::Scalar, Isa::Avx512)
    }

    /// The real one, or one for tests that install `matmul::amx::emulator` first.
    #[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
    pub(crate) fn real_or_emulated() -> Self {
        amx().unwrap_or(Self { vectors: avx512() })
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
    /// Dot products of bf16 pairs, 512-bit vectors for the rest.
    Avx512Bf16(Avx512Bf16),
    /// Tiles for products of bf16, 512-bit vectors for the rest.
    Amx(Amx),
}

/// Why an instruction set cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum IsaError {
    /// The name is none that [`Isa::named`] takes.
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
                "unknown instruction set `{name}`, expected scalar, avx2, avx512, avx512bf16 or amx"
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
    /// Whether it rounds to bf16, and so gains from instructions that do.
    const ROUNDS: bool = false;

    fn run<I: Int8>(self, int8: I);
}

impl Isa {
    /// The best set that this CPU has.
    #[must_use]
    pub fn detect() -> Self {
        let set = amx().map(Self::Amx);
        let set = set.or_else(|| avx512_bf16().map(Self::Avx512Bf16));
        let set = set.or_else(|| avx512().map(Self::Avx512));
        set.or_else(|| avx2().map(Self::Avx2))
            .unwrap_or(Self::Scalar)
    }

    /// Every set that this CPU has, slowest first.
    pub fn available() -> Vec<Self> {
        let mut all = vec![Self::Scalar];
        all.extend(avx2().map(Self::Avx2));
        all.extend(avx512().map(Self::Avx512));
        all.extend(avx512_bf16().map(Self::Avx512Bf16));
        all.extend(amx().map(Self::Amx));
        all
    }

    /// The set of that name (`scalar`, `avx2`, `avx512`, `avx512bf16`, `amx`).
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
            "avx512bf16" => avx512_bf16()
                .map(Self::Avx512Bf16)
                .ok_or_else(|| missing("avx512bf16")),
            "amx" => amx().map(Self::Amx).ok_or_else(|| missing("amx")),
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
            Self::Avx512Bf16(_) => "avx512bf16",
            Self::Amx(_) => "amx",
        }
    }

    /// Whether it multiplies tiles of bf16. Then bf16 is the fastest numeric but for
    /// very few rows; without, int8 is.
    pub fn has_tiles(self) -> bool {
        matches!(self, Self::Amx(_))
    }

    /// The set that vector code runs on.
    #[inline]
    fn vectors(self) -> Self {
        match self {
            Self::Avx512Bf16(token) => token.vectors(),
            Self::Amx(token) => token.vectors(),
            other => other,
        }
    }

    /// Runs a kernel on this set.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) {
        match self.vectors() {
            Self::Scalar => kernel.run(Scalar),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves AVX2 and FMA.
            Self::Avx2(token) => unsafe { run_avx2(token, kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves AVX-512 F, BW, DQ and VL.
            Self::Avx512(token) => unsafe { run_avx512(token, kernel) },
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16(_) | Self::Amx(_) => unreachable!("these run no vector code"),
            #[cfg(not(target_arch = "x86_64"))]
            _ => unreachable!("tokens are made on x86-64 only"),
        }
    }

    /// Runs an integer kernel on this set. An AVX-512 CPU without VNNI runs it on
    /// AVX2: the integers are the same.
    #[inline]
    pub(crate) fn run_int8<K: Int8Kernel>(self, kernel: K) {
        match self.vectors() {
            Self::Scalar => kernel.run(Scalar),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves AVX2, FMA and F16C.
            Self::Avx2(token) => unsafe { run_int8_avx2(token, kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves AVX-512 F, BW, DQ, VL, and it says VNNI and BF16.
            Self::Avx512(token) if const { K::ROUNDS } && token.vnni && token.bf16 => unsafe {
                run_int8_bf16(Vnni(token), kernel);
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves AVX-512 F, BW, DQ, VL, and VNNI if it says so.
            Self::Avx512(token) if token.vnni => unsafe { run_int8_vnni(Vnni(token), kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a CPU with AVX-512 was found to have AVX2, FMA and F16C.
            Self::Avx512(_) => unsafe { run_int8_avx2(Avx2(()), kernel) },
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16(_) | Self::Amx(_) => unreachable!("these run no vector code"),
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
            bf16: is_x86_feature_detected!("avx512bf16"),
        });
    }
    None
}

/// Dot products of bf16 pairs, where they are known to add in our order.
///
/// `VDPBF16PS` adds the odd product of a pair, then the even one, each rounded to
/// nearest as by a fused multiply-add, if the CPU does what Intel SDM, volume 2, says.
/// AMD's Zen 5 was compared with fused multiply-adds and does. Other vendors' CPUs
/// were not, so they stay with what is known; and any CPU must pass a comparison here
/// before it is believed.
fn avx512_bf16() -> Option<Avx512Bf16> {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::__cpuid;
        use std::sync::OnceLock;

        static AGREES: OnceLock<bool> = OnceLock::new();
        let vectors = avx512()?;
        let cpu = __cpuid(0);
        let vendor = [cpu.ebx, cpu.edx, cpu.ecx].map(u32::to_le_bytes);
        if !vectors.bf16 || !vectors.vnni || vendor.as_flattened() != b"AuthenticAMD" {
            return None;
        }
        // SAFETY: AVX-512 F and BF16 were found, and with AVX-512 comes FMA.
        let agrees = || unsafe { crate::matmul::dot_agrees() };
        AGREES.get_or_init(agrees).then_some(Avx512Bf16(vectors))
    }
    #[cfg(not(target_arch = "x86_64"))]
    None
}

/// Tiles, if the CPU has them, the operating system saves them, and it lets this
/// process use them (a refusal is as good as their absence).
///
/// Source: Intel SDM, volume 1, chapter 18 (detection); Linux,
/// Documentation/arch/x86/xstate.rst (the request).
fn amx() -> Option<Amx> {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    {
        use std::arch::x86_64::{__cpuid_count, _xgetbv};

        #[target_feature(enable = "xsave")]
        fn saved_states() -> u64 {
            // SAFETY: register 0 exists wherever XSAVE is enabled.
            unsafe { _xgetbv(0) }
        }

        const BF16_AND_TILE: u32 = 1 << 22 | 1 << 24;
        const CONFIGURATION_AND_DATA: u64 = 1 << 17 | 1 << 18;
        let vectors = avx512()?;
        if !is_x86_feature_detected!("xsave")
            || __cpuid_count(7, 0).edx & BF16_AND_TILE != BF16_AND_TILE
        {
            return None;
        }
        // SAFETY: XSAVE is there, and the operating system enabled it: AVX-512 was found.
        let saved = unsafe { saved_states() };
        // Palette 1, as kernels use it: 8 tiles of 16 rows of 64 bytes.
        let palette = __cpuid_count(0x1d, 1);
        if saved & CONFIGURATION_AND_DATA != CONFIGURATION_AND_DATA
            || (palette.eax >> 16, palette.ebx) != (1024, 8 << 16 | 64)
            || palette.ecx & 0xffff != 16
            || !request_tiles()
        {
            return None;
        }
        Some(Amx {
            vectors: Some(vectors),
        })
    }
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    None
}

/// Asks the kernel for the right to use tile data; every thread of the process gets
/// it. Repeating it does nothing.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn request_tiles() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const XFEATURE_XTILEDATA: i64 = 18;
    let result: i64;
    // SAFETY: the call changes what this process may use, and no memory of it.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
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

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma,f16c")]
fn run_int8_bf16<K: Int8Kernel>(token: Vnni<true>, kernel: K) {
    kernel.run(token);
}
