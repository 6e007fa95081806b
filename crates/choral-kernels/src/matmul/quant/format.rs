//! Ways of quantising weights, and rows of them as plain integers.
//!
//! Owns what a code's integer is. Knows nothing of packed layouts.

/// A way of quantising weights. The names are ggml's.
///
/// A weight is `d * s * q + m`: `q` an integer of the code, `d` a float scale, `s`
/// an integer scale (1 where there is none), `m` a minimum (0 where there is
/// none; for the K-quants, minus a float times an integer).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names by which these types are known")]
#[non_exhaustive]
pub enum Format {
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Iq4Nl,
    Iq4Xs,
    Mxfp4,
}

/// The sizes of a [`Format`]'s parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Weights under one float scale: 32 or 256.
    pub block: usize,
    /// Weights under one integer scale, 16 or 32; `block` where there is none.
    pub group: usize,
    /// Whether there are integer scales.
    pub scales: bool,
    /// Whether there are minima.
    pub minima: bool,
}

impl Format {
    /// Its sizes.
    #[must_use]
    pub const fn shape(self) -> Shape {
        let (block, group, scales, minima) = match self {
            Self::Q8_0 | Self::Q4_0 | Self::Q5_0 | Self::Iq4Nl | Self::Mxfp4 => {
                (32, 32, false, false)
            }
            Self::Q4_1 | Self::Q5_1 => (32, 32, false, true),
            Self::Q2K => (256, 16, true, true),
            Self::Q3K | Self::Q6K => (256, 16, true, false),
            Self::Q4K | Self::Q5K => (256, 32, true, true),
            Self::Iq4Xs => (256, 32, true, false),
        };
        Shape {
            block,
            group,
            scales,
            minima,
        }
    }

    /// The integer that a code stands for.
    #[must_use]
    pub fn integer(self, code: u8) -> i32 {
        let code_as = i32::from(code);
        match self {
            Self::Q8_0 => i32::from(code as i8),
            Self::Q4_0 => code_as - 8,
            Self::Q5_0 => code_as - 16,
            Self::Q6K => code_as - 32,
            Self::Q3K => code_as - 4,
            Self::Q4_1 | Self::Q5_1 | Self::Q2K | Self::Q4K | Self::Q5K => code_as,
            Self::Iq4Nl | Self::Iq4Xs => i32::from(IQ4[usize::from(code & 15)]),
            Self::Mxfp4 => i32::from(E2M1_DOUBLED[usize::from(code & 15)]),
        }
    }
}

/// The integers and scales of one row of weights. The lengths of what a format
/// lacks are 0.
#[derive(Debug, Clone, Default)]
pub struct RowCodes {
    /// `[k]`: the codes, without any offset taken off (`Q8_0`: as signed bytes).
    pub codes: Vec<u8>,
    /// `[k / block]`: bits of the float scale, f16 (`Mxfp4`: bf16).
    pub d: Vec<u16>,
    /// `[k / block]`: f16 bits of the minimum (`Q4_1`, `Q5_1`) or of what integer
    /// minima are multiplied with, to be taken off (K-quants).
    pub m: Vec<u16>,
    /// `[k / group]`: integer scales (`Q3K`, `Q6K`, `Iq4Xs`: as signed bytes).
    pub scales: Vec<u8>,
    /// `[k / group]`: integer minima (K-quants).
    pub minima: Vec<u8>,
}

impl RowCodes {
    /// Takes the lengths that rows of `k` weights have.
    pub fn resize(&mut self, format: Format, k: usize) {
        let shape = format.shape();
        let when = |has: bool, len: usize| if has { len } else { 0 };
        self.codes.resize(k, 0);
        self.d.resize(k / shape.block, 0);
        self.m.resize(when(shape.minima, k / shape.block), 0);
        self.scales.resize(when(shape.scales, k / shape.group), 0);
        let minima = shape.minima && shape.scales;
        self.minima.resize(when(minima, k / shape.group), 0);
    }
}

/// The values of `IQ4_NL` and `IQ4_XS`. Source: ggml `kvalues_iq4nl`.
pub(super) const IQ4: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

/// Twice the values of E2M1 (OCP microscaling), so that they are integers.
pub(super) const E2M1_DOUBLED: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];
