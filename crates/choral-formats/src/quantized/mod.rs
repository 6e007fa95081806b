//! Matrices of Hugging Face directories that are stored as more than one tensor: 8-bit
//! floats with scales, GPTQ, AWQ.
//!
//! Owns what `quantization_config` says, which tensors make a matrix, and its rows as
//! floats or as blocks of a ggml type. Knows no architecture: whoever does says which
//! module is wanted, and of which shape. Start at [`Quantization::of`], then
//! [`Quantization::open`].
//!
//! | File | Owns |
//! |---|---|
//! | `config.rs` | methods, and their settings |
//! | `fp8.rs` | 8-bit floats with a scale for all, for each row or for each block |
//! | `gptq.rs`, `awq.rs` | where their tensors have codes, zeros and scales |
//! | `integers.rs` | what those mean |

mod awq;
mod config;
mod fp8;
mod gptq;
mod integers;
#[cfg(test)]
mod tests;

use crate::error::named;
use crate::{Dtype, FormatError, HfDir, TensorSource, TensorView};
use config::Method;

/// How a model directory says that its matrices are quantised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quantization {
    method: Method,
}

impl Quantization {
    /// What `config.json` says (`quantization_config`), or the older files beside it
    /// (`quantize_config.json`, `quant_config.json`). `None` if every matrix is one
    /// tensor; so they are too where `quant_method` is `mxfp4`, which is a layout of
    /// experts of one family.
    ///
    /// # Errors
    /// If the method, or a setting of it, is not one that can be read.
    pub fn of(directory: &HfDir) -> Result<Option<Self>, FormatError> {
        let method = config::read(directory)?;
        Ok(method.map(|method| Self { method }))
    }

    /// The method's name, for reports: `"FP8"`, `"GPTQ"`, `"AWQ"`.
    pub fn name(&self) -> &'static str {
        match self.method {
            Method::Fp8(_) => "FP8",
            Method::Gptq(_) => "GPTQ",
            Method::Awq(_) => "AWQ",
        }
    }

    /// Opens the matrix of `module` (`model.layers.0.self_attn.q_proj`), which must have
    /// the shape `[n, k]`: n rows (outputs) of k weights. Reads headers, scales and
    /// zeros, not the weights. `None` if the module was left out of the quantisation (or
    /// is not there): then its `weight`, if any, is a plain tensor.
    ///
    /// # Errors
    /// If a tensor that the method needs is missing, or is not of the type and shape
    /// that `shape` asks for. Tensor, expected and found are named.
    pub fn open<'a>(
        &self,
        file: &'a dyn TensorSource,
        module: &str,
        shape: [usize; 2],
    ) -> Result<Option<QuantMatrix<'a>>, FormatError> {
        let module = Module { file, name: module };
        let form = match &self.method {
            Method::Fp8(config) => fp8::open(config, &module, shape)?.map(Form::Fp8),
            Method::Gptq(config) => gptq::open(config, &module, shape)?.map(Form::Integers),
            Method::Awq(config) => awq::open(config, &module, shape)?.map(Form::Integers),
        };
        let method = self.name();
        let parts = module.parts();
        Ok(form.map(|form| QuantMatrix {
            packed: match &form {
                Form::Fp8(_) => Dtype::F32,
                Form::Integers(integers) => integers.packed(),
            },
            form,
            method,
            shape,
            parts,
        }))
    }
}

/// A matrix that was found, checked, and can be read row by row from any thread.
#[derive(Debug)]
pub struct QuantMatrix<'a> {
    form: Form<'a>,
    packed: Dtype,
    method: &'static str,
    shape: [usize; 2],
    parts: Vec<&'a str>,
}

#[derive(Debug)]
enum Form<'a> {
    Fp8(fp8::Fp8<'a>),
    Integers(integers::Integers<'a>),
}

impl<'a> QuantMatrix<'a> {
    /// `[n, k]`: rows and weights in each.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// As [`Quantization::name`].
    pub fn method(&self) -> &'static str {
        self.method
    }

    /// The tensors that belong to the module, its bias aside: what is to be marked as
    /// used, and released after loading.
    pub fn parts(&self) -> &[&'a str] {
        &self.parts
    }

    /// The type of the rows that [`Self::push_row`] gives: `Q4_0` and `Q8_0`, which hold
    /// exactly the same weights, `Q4_1`, whose minima are rounded to f16 (less than a
    /// 64th of a step), or `F32`.
    pub fn packed(&self) -> Dtype {
        self.packed
    }

    /// Row `r` as floats: the products in single precision.
    ///
    /// # Panics
    /// If there is no row `r`, or `out` is not of its length.
    pub fn row(&self, r: usize, out: &mut [f32]) {
        let [n, k] = self.shape;
        assert!(r < n, "row {r} of {n}");
        assert_eq!(out.len(), k, "a row has {k} weights");
        match &self.form {
            Form::Fp8(fp8) => fp8.row(r, out),
            Form::Integers(integers) => integers.row(r, out),
        }
    }

    /// Appends row `r` to `bytes`, stored as [`Self::packed`] says.
    ///
    /// # Panics
    /// If there is no row `r`.
    pub fn push_row(&self, r: usize, bytes: &mut Vec<u8>) {
        let [n, k] = self.shape;
        assert!(r < n, "row {r} of {n}");
        match &self.form {
            Form::Integers(integers) if self.packed != Dtype::F32 => {
                integers.push_blocks(self.packed, r, bytes);
            }
            _ => {
                let mut row = vec![0.0; k];
                self.row(r, &mut row);
                bytes.extend(row.iter().flat_map(|x| x.to_le_bytes()));
            }
        }
    }
}

/// Where the tensors of one module are.
struct Module<'a, 'n> {
    file: &'a dyn TensorSource,
    name: &'n str,
}

/// Every tensor, the bias aside, that files have for a module of any method. Scales of
/// activations among them are of no use to weights.
const PARTS: [&str; 9] = [
    "weight",
    "weight_scale",
    "weight_scale_inv",
    "input_scale",
    "activation_scale",
    "qweight",
    "qzeros",
    "scales",
    "g_idx",
];

impl<'a> Module<'a, '_> {
    fn full_name(&self, part: &str) -> String {
        format!("{}.{part}", self.name)
    }

    fn optional(&self, part: &str) -> Option<TensorView<'a>> {
        self.file.tensor(&self.full_name(part))
    }

    fn required(
        &self,
        part: &str,
        dtypes: &[Dtype],
        shape: &[usize],
    ) -> Result<TensorView<'a>, FormatError> {
        let view = self.file.required(&self.full_name(part))?;
        if dtypes.contains(&view.info.dtype) && view.info.shape == shape {
            return Ok(view);
        }
        let names: Vec<&str> = dtypes.iter().map(|dtype| dtype.name()).collect();
        Err(self.invalid(&view, format!("{} {shape:?}", names.join(" or "))))
    }

    fn invalid(&self, view: &TensorView<'_>, expected: impl std::fmt::Display) -> FormatError {
        let (dtype, shape) = (view.info.dtype, &view.info.shape);
        let tensor = named("tensor", &view.info.name);
        FormatError::field(
            self.file.path(),
            tensor,
            expected,
            format!("{dtype} {shape:?}"),
        )
    }

    /// The error that says that no matrix of this shape can be stored so.
    fn indivisible(&self, what: &str, multiple: usize, found: usize) -> FormatError {
        let field = format!("{}: {what}", named("module", self.name));
        let expected = format!("a multiple of {multiple}");
        FormatError::field(self.file.path(), field, expected, found)
    }

    fn parts(&self) -> Vec<&'a str> {
        PARTS
            .iter()
            .filter_map(|part| Some(self.optional(part)?.info.name.as_str()))
            .collect()
    }
}
