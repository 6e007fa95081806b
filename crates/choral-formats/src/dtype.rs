//! Element types of stored tensors.
//!
//! Owns names, block shapes and the numbering of ggml and safetensors. Knows
//! nothing of values: see [`crate::dequant`] for those.

#[cfg(test)]
mod tests;

use std::fmt;

macro_rules! dtypes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $len:literal, $bytes:literal;)*) => {
        /// How one element, or one block of elements, is stored.
        ///
        /// The variants carry ggml's names (`Q4_K`) or those of safetensors (`F8_E4M3`).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[allow(non_camel_case_types, reason = "the names by which these types are known")]
        pub enum Dtype {
            $($(#[$doc])* $variant,)*
        }

        impl Dtype {
            /// Every type, in the order of declaration.
            pub const ALL: &[Dtype] = &[$(Dtype::$variant,)*];

            /// The name by which files and tools call the type: `"Q4_K"`, `"BF16"`.
            pub const fn name(self) -> &'static str {
                match self { $(Dtype::$variant => $name,)* }
            }

            /// Elements in one block; 1 for plain types.
            pub const fn block_len(self) -> usize {
                match self { $(Dtype::$variant => $len,)* }
            }

            /// Bytes in one block.
            pub const fn block_bytes(self) -> usize {
                match self { $(Dtype::$variant => $bytes,)* }
            }
        }
    };
}

// name, elements in a block, bytes in a block. Source: `ggml-common.h`
// (block structs), gguf-py `GGML_QUANT_SIZES`, and the safetensors crate.
dtypes! {
    /// IEEE single precision.
    F32 = "F32", 1, 4;
    /// IEEE half precision.
    F16 = "F16", 1, 2;
    /// The upper half of a single.
    BF16 = "BF16", 1, 2;
    /// IEEE double precision.
    F64 = "F64", 1, 8;
    /// Signed byte.
    I8 = "I8", 1, 1;
    /// Signed 16 bits.
    I16 = "I16", 1, 2;
    /// Signed 32 bits.
    I32 = "I32", 1, 4;
    /// Signed 64 bits.
    I64 = "I64", 1, 8;
    /// Unsigned byte.
    U8 = "U8", 1, 1;
    /// Unsigned 16 bits.
    U16 = "U16", 1, 2;
    /// Unsigned 32 bits.
    U32 = "U32", 1, 4;
    /// Unsigned 64 bits.
    U64 = "U64", 1, 8;
    /// One byte, 0 or 1.
    Bool = "BOOL", 1, 1;
    /// Two singles, real and imaginary.
    C64 = "C64", 1, 8;
    /// 8-bit float: 4 exponent bits, no infinities (OCP `E4M3FN`).
    F8_E4M3 = "F8_E4M3", 1, 1;
    /// 8-bit float: 5 exponent bits, as IEEE half without its low byte.
    F8_E5M2 = "F8_E5M2", 1, 1;
    /// 8-bit power of two: a scale.
    F8_E8M0 = "F8_E8M0", 1, 1;
    /// `F8_E4M3` with bias 8 and one zero.
    F8_E4M3FNUZ = "F8_E4M3FNUZ", 1, 1;
    /// `F8_E5M2` with bias 16 and one zero.
    F8_E5M2FNUZ = "F8_E5M2FNUZ", 1, 1;
    /// 6-bit float, packed, 2 exponent bits.
    F6_E2M3 = "F6_E2M3", 4, 3;
    /// 6-bit float, packed, 3 exponent bits.
    F6_E3M2 = "F6_E3M2", 4, 3;
    /// 4-bit float, packed.
    F4 = "F4", 2, 1;
    /// 32 x 4 bits, f16 scale.
    Q4_0 = "Q4_0", 32, 18;
    /// 32 x 4 bits, f16 scale and minimum.
    Q4_1 = "Q4_1", 32, 20;
    /// 32 x 5 bits, f16 scale.
    Q5_0 = "Q5_0", 32, 22;
    /// 32 x 5 bits, f16 scale and minimum.
    Q5_1 = "Q5_1", 32, 24;
    /// 32 x 8 bits, f16 scale.
    Q8_0 = "Q8_0", 32, 34;
    /// 32 x 8 bits, f16 scale and sum.
    Q8_1 = "Q8_1", 32, 36;
    /// 256 x 2 bits in 16 groups.
    Q2_K = "Q2_K", 256, 84;
    /// 256 x 3 bits in 16 groups.
    Q3_K = "Q3_K", 256, 110;
    /// 256 x 4 bits in 8 groups.
    Q4_K = "Q4_K", 256, 144;
    /// 256 x 5 bits in 8 groups.
    Q5_K = "Q5_K", 256, 176;
    /// 256 x 6 bits in 16 groups.
    Q6_K = "Q6_K", 256, 210;
    /// 256 x 8 bits, f32 scale; an activation format, not one of weights.
    Q8_K = "Q8_K", 256, 292;
    /// 256 codebook entries at 2.06 bits a weight.
    IQ2_XXS = "IQ2_XXS", 256, 66;
    /// 256 codebook entries at 2.31 bits a weight.
    IQ2_XS = "IQ2_XS", 256, 74;
    /// 256 codebook entries at 2.56 bits a weight.
    IQ2_S = "IQ2_S", 256, 82;
    /// 256 codebook entries at 3.06 bits a weight.
    IQ3_XXS = "IQ3_XXS", 256, 98;
    /// 256 codebook entries at 3.44 bits a weight.
    IQ3_S = "IQ3_S", 256, 110;
    /// 256 codebook entries at 1.56 bits a weight.
    IQ1_S = "IQ1_S", 256, 50;
    /// 256 codebook entries at 1.75 bits a weight.
    IQ1_M = "IQ1_M", 256, 56;
    /// 32 x 4 bits into a fixed non-linear table, f16 scale.
    IQ4_NL = "IQ4_NL", 32, 18;
    /// 256 x 4 bits into the same table, 8 groups.
    IQ4_XS = "IQ4_XS", 256, 136;
    /// 256 ternary digits, five to a byte.
    TQ1_0 = "TQ1_0", 256, 54;
    /// 256 ternary digits, four to a byte.
    TQ2_0 = "TQ2_0", 256, 66;
    /// 32 x E2M1 with an E8M0 scale (OCP microscaling).
    MXFP4 = "MXFP4", 32, 17;
    /// 64 x E2M1 with four E4M3 scales.
    NVFP4 = "NVFP4", 64, 36;
    /// 128 x 1 bit, f16 scale.
    Q1_0 = "Q1_0", 128, 18;
    /// 64 x 2 bits, f16 scale.
    Q2_0 = "Q2_0", 64, 18;
}

impl Dtype {
    /// The type that a GGUF file means by `id` (`enum ggml_type`). `None` for
    /// numbers that were never given out and for types that ggml has removed.
    pub const fn from_ggml(id: u32) -> Option<Self> {
        Some(match id {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            6 => Self::Q5_0,
            7 => Self::Q5_1,
            8 => Self::Q8_0,
            9 => Self::Q8_1,
            10 => Self::Q2_K,
            11 => Self::Q3_K,
            12 => Self::Q4_K,
            13 => Self::Q5_K,
            14 => Self::Q6_K,
            15 => Self::Q8_K,
            16 => Self::IQ2_XXS,
            17 => Self::IQ2_XS,
            18 => Self::IQ3_XXS,
            19 => Self::IQ1_S,
            20 => Self::IQ4_NL,
            21 => Self::IQ3_S,
            22 => Self::IQ2_S,
            23 => Self::IQ4_XS,
            24 => Self::I8,
            25 => Self::I16,
            26 => Self::I32,
            27 => Self::I64,
            28 => Self::F64,
            29 => Self::IQ1_M,
            30 => Self::BF16,
            34 => Self::TQ1_0,
            35 => Self::TQ2_0,
            39 => Self::MXFP4,
            40 => Self::NVFP4,
            41 => Self::Q1_0,
            42 => Self::Q2_0,
            _ => return None,
        })
    }

    /// The name of a type that ggml once had under `id`, for messages.
    pub(crate) const fn removed_from_ggml(id: u32) -> Option<&'static str> {
        Some(match id {
            4 => "Q4_2",
            5 => "Q4_3",
            31 => "Q4_0_4_4",
            32 => "Q4_0_4_8",
            33 => "Q4_0_8_8",
            36 => "IQ4_NL_4_4",
            37 => "IQ4_NL_4_8",
            38 => "IQ4_NL_8_8",
            _ => return None,
        })
    }

    /// The number by which GGUF files know the type; `None` for types that
    /// only safetensors has.
    pub fn to_ggml(self) -> Option<u32> {
        // The largest id in use is far below 64; one direction is written by
        // hand, so that the two cannot disagree.
        (0..64).find(|&id| Self::from_ggml(id) == Some(self))
    }

    /// The counterpart of a safetensors type; `None` for one that this version
    /// of choral does not know.
    pub fn from_safetensors(dtype: safetensors::Dtype) -> Option<Self> {
        use safetensors::Dtype as S;
        Some(match dtype {
            S::BOOL => Self::Bool,
            S::F4 => Self::F4,
            S::F6_E2M3 => Self::F6_E2M3,
            S::F6_E3M2 => Self::F6_E3M2,
            S::U8 => Self::U8,
            S::I8 => Self::I8,
            S::F8_E5M2 => Self::F8_E5M2,
            S::F8_E4M3 => Self::F8_E4M3,
            S::F8_E8M0 => Self::F8_E8M0,
            S::F8_E4M3FNUZ => Self::F8_E4M3FNUZ,
            S::F8_E5M2FNUZ => Self::F8_E5M2FNUZ,
            S::I16 => Self::I16,
            S::U16 => Self::U16,
            S::F16 => Self::F16,
            S::BF16 => Self::BF16,
            S::I32 => Self::I32,
            S::U32 => Self::U32,
            S::F32 => Self::F32,
            S::C64 => Self::C64,
            S::F64 => Self::F64,
            S::I64 => Self::I64,
            S::U64 => Self::U64,
            _ => return None,
        })
    }

    /// Bytes that `elements` take. `None` if they do not fill whole blocks, or
    /// if the number does not fit.
    pub const fn bytes_for(self, elements: usize) -> Option<usize> {
        if !elements.is_multiple_of(self.block_len()) {
            return None;
        }
        (elements / self.block_len()).checked_mul(self.block_bytes())
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
