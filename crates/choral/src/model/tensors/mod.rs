//! Where the matrices and vectors of a model lie in its file.
//!
//! Families and formats store the same matrices in different ways: on their own, as
//! rows of a larger tensor, stacked by expert, transposed, or with the rows of two of
//! them taking turns. [`Tensors`] hides that: it is asked for a [`Role`] and answers
//! with rows.

mod file;
mod place;
#[cfg(test)]
mod tests;

pub(in crate::model) use file::TensorFile;
pub(in crate::model) use place::{Place, RowOrder, Rows};

use super::names::{At, Role};
use super::{DecoderSpec, ModelError, Scheme, Stored};
use choral_formats::{Dtype, ModelFile, Quantization, TensorSource, TensorView};
use place::{Form, Held};

/// `[rows, columns]`.
pub(super) type Shape = [usize; 2];

/// The tensors of one file, under the names of one family.
pub(super) struct Tensors<'a> {
    file: TensorFile<'a>,
    spec: &'a DecoderSpec,
    /// How matrices are stored that are more than one tensor each.
    quantization: Option<Quantization>,
}

impl DecoderSpec {
    /// The tensor that may hold a matrix among others: its role, the first row that
    /// is this one's, and all rows.
    pub(in crate::model) fn fused(&self, role: Role) -> Option<(Role, usize, usize)> {
        let (q, kv) = (self.q_width(), self.kv_width());
        let (qkv, ffn) = (q + 2 * kv, self.ffn.size);
        match role {
            Role::Q => Some((Role::Qkv, 0, qkv)),
            Role::K => Some((Role::Qkv, q, qkv)),
            Role::V => Some((Role::Qkv, q + kv, qkv)),
            Role::FfnGate if self.ffn.gated => Some((Role::FfnGateUp, 0, 2 * ffn)),
            Role::FfnUp if self.ffn.gated => Some((Role::FfnGateUp, ffn, 2 * ffn)),
            _ => None,
        }
    }

    /// How files of a kind order the rows of a matrix.
    pub(in crate::model) fn row_order(&self, role: Role, scheme: Scheme) -> RowOrder {
        let rotated = self.ropes.first().map_or(0, |rope| rope.dim);
        match role {
            Role::Q | Role::K if self.interleaved_in.contains(&scheme) => RowOrder::Interleaved {
                head_dim: self.head_dim,
                rotated,
            },
            _ => RowOrder::AsStored,
        }
    }
}

impl<'a> Tensors<'a> {
    pub(super) fn new(file: &'a ModelFile, spec: &'a DecoderSpec) -> Result<Self, ModelError> {
        let quantization = match file {
            ModelFile::Hf(directory) => Quantization::of(directory)?,
            ModelFile::Gguf(_) => None,
        };
        Ok(Self {
            file: TensorFile::new(file),
            quantization,
            spec,
        })
    }

    pub(super) fn source(&self) -> &'a dyn TensorSource {
        self.file.source
    }

    /// The full name of a tensor's part: `weight` or `bias`.
    pub(super) fn name(&self, role: Role, at: At, part: &str) -> String {
        let name = role.name(&self.spec.names, self.file.scheme, at);
        match (role, self.file.scheme, part) {
            // These are parameters by themselves, not modules that have some.
            (Role::Sinks | Role::ExpertGateUp, Scheme::Hf, "weight") => name,
            (Role::ExpertGateUp, Scheme::Hf, part) => format!("{name}_{part}"),
            _ => format!("{name}.{part}"),
        }
    }

    fn part(&self, role: Role, at: At, part: &str) -> Option<TensorView<'a>> {
        self.file.find(&self.name(role, at, part))
    }

    /// The error that says that a tensor is not there.
    pub(super) fn missing(&self, role: Role, at: At, part: &str) -> ModelError {
        self.file.missing(&self.name(role, at, part))
    }

    /// The tensor of a table that is read row by row, under the name that the file has
    /// for it.
    pub(super) fn table(&self, role: Role, shape: Shape) -> Result<String, ModelError> {
        match self.matrix(role, At::default(), shape)?.held {
            Held::Tensor { view, .. } => Ok(view.info.name.clone()),
            Held::Parts { matrix, .. } => Err(ModelError::QuantisedTable {
                file: self.source().path().to_owned(),
                name: self.name(role, At::default(), "weight"),
                method: matrix.method(),
            }),
        }
    }

    /// Finds a matrix, and checks its shape and type.
    pub(super) fn matrix(&self, role: Role, at: At, shape: Shape) -> Result<Place<'a>, ModelError> {
        if let Some(place) = self.quantised(role, at, shape)? {
            return Ok(place);
        }
        let (view, form) = match role {
            Role::ExpertGate | Role::ExpertUp | Role::ExpertDown => {
                self.expert_matrix(role, at, shape)?
            }
            _ => self.plain_matrix(role, at, shape)?,
        };
        if !matches!(form, Form::Mxfp4 { .. }) {
            self.file.check_readable(&view)?;
        }
        Ok(Place {
            held: Held::Tensor { view, form },
            order: self.spec.row_order(role, self.file.scheme),
            shape,
        })
    }

    /// A matrix that is several tensors: codes, scales, zeros.
    fn quantised(&self, role: Role, at: At, shape: Shape) -> Result<Option<Place<'a>>, ModelError> {
        let Some(quantization) = &self.quantization else {
            return Ok(None);
        };
        let own = (role, 0, shape[0]);
        for (role, first, height) in [Some(own), self.spec.fused(role)].into_iter().flatten() {
            let name = self.name(role, at, "weight");
            let Some(module) = name.strip_suffix(".weight") else {
                continue;
            };
            let shorter = module.split_once('.').map(|(_, rest)| rest);
            for module in [Some(module), shorter].into_iter().flatten() {
                let wanted = [height, shape[1]];
                let Some(matrix) = quantization.open(self.source(), module, wanted)? else {
                    continue;
                };
                self.file.use_up(matrix.parts().iter().copied());
                return Ok(Some(Place {
                    held: Held::Parts { matrix, first },
                    order: self.spec.row_order(role, self.file.scheme),
                    shape,
                }));
            }
        }
        Ok(None)
    }

    fn plain_matrix(
        &self,
        role: Role,
        at: At,
        [n, k]: Shape,
    ) -> Result<(TensorView<'a>, Form<'a>), ModelError> {
        let transposed = self.spec.hf_transposed
            && self.file.scheme == Scheme::Hf
            && !matches!(role, Role::Embedding | Role::Positions | Role::Output);
        let own = self.part(role, at, "weight");
        let fused = self.spec.fused(role);
        let (view, first, height) = match (own, fused) {
            // GGUF's `ffn_up` may be gate and up.
            (Some(view), Some((_, first, height)))
                if role == Role::FfnUp && view.info.shape == [height, k] =>
            {
                (view, first, height)
            }
            (Some(view), _) => (view, 0, n),
            (None, Some((whole, first, height))) => match self.part(whole, at, "weight") {
                Some(view) => (view, first, height),
                None => return Err(self.missing(role, at, "weight")),
            },
            (None, None) => return Err(self.missing(role, at, "weight")),
        };
        let (expected, form) = if transposed {
            let form = Form::Columns {
                from: 0,
                first,
                step: 1,
            };
            ([k, height], form)
        } else {
            ([height, k], Form::Rows { first, step: 1 })
        };
        // GGUF files hold a matrix of one row as a vector.
        let is_vector = height == 1 && view.info.shape == [k];
        if view.info.shape != expected && !is_vector {
            return Err(self.file.shape_error(&view, &expected));
        }
        Ok((view, form))
    }

    /// Experts' matrices lie on their own, or stacked: `[experts, n, k]`, or as
    /// gpt-oss has them.
    fn expert_matrix(
        &self,
        role: Role,
        at: At,
        [n, k]: Shape,
    ) -> Result<(TensorView<'a>, Form<'a>), ModelError> {
        let num_experts = self.spec.moe.map_or(0, |moe| moe.num_experts);
        let rows = |first, step| Form::Rows { first, step };
        if let Some(view) = self.part(role, at, "weight") {
            return match view.info.shape[..] {
                [found_n, found_k] if [found_n, found_k] == [n, k] => Ok((view, rows(0, 1))),
                [e, found_n, found_k] if [e, found_n, found_k] == [num_experts, n, k] => {
                    Ok((view, rows(at.expert * n, 1)))
                }
                _ => Err(self.file.shape_error(&view, &[num_experts, n, k])),
            };
        }
        if self.file.scheme == Scheme::Gguf {
            // Files from before experts were stacked.
            let name = self.name(role, at, "weight");
            let alone = name.replace("_exps.", &format!(".{}.", at.expert));
            return match self.file.find(&alone) {
                Some(view) if view.info.shape == [n, k] => Ok((view, rows(0, 1))),
                Some(view) => Err(self.file.shape_error(&view, &[n, k])),
                None => Err(self.missing(role, at, "weight")),
            };
        }
        let (name, first, step) = self.stacked(role, at);
        let height = step * n;
        if let Some(view) = self.file.find(&name) {
            let expected = [num_experts, k, height];
            if view.info.shape != expected {
                return Err(self.file.shape_error(&view, &expected));
            }
            let from = at.expert * k;
            return Ok((view, Form::Columns { from, first, step }));
        }
        let Some(blocks) = self.file.find(&format!("{name}_blocks")) else {
            return Err(self.missing(role, at, "weight"));
        };
        let scales_name = format!("{name}_scales");
        let scales = self.file.required(&scales_name)?;
        let expected = [num_experts, height, k / 32, 16];
        if blocks.info.shape != expected || !k.is_multiple_of(32) {
            return Err(self.file.shape_error(&blocks, &expected));
        }
        if scales.info.shape != expected[..3] {
            return Err(self.file.shape_error(&scales, &expected[..3]));
        }
        for view in [&blocks, &scales] {
            if view.info.dtype != Dtype::U8 {
                return Err(self.file.dtype_error(view, "U8"));
            }
        }
        let first = at.expert * height + first;
        let form = Form::Mxfp4 {
            scales,
            first,
            step,
        };
        Ok((blocks, form))
    }

    /// gpt-oss's tensor of a matrix of all experts, the first of its columns that is
    /// this matrix's, and the step to the next: gate and up take turns.
    fn stacked(&self, role: Role, at: At) -> (String, usize, usize) {
        let name = self.name(Role::ExpertGateUp, at, "weight");
        match role {
            Role::ExpertGate => (name, 0, 2),
            Role::ExpertUp => (name, 1, 2),
            _ => (name.replace("gate_up_proj", "down_proj"), 0, 1),
        }
    }

    /// A bias, in the order of its matrix's rows.
    pub(super) fn bias(
        &self,
        role: Role,
        at: At,
        n: usize,
        stored: Stored,
    ) -> Result<Option<Vec<f32>>, ModelError> {
        let values = match role {
            Role::ExpertGate | Role::ExpertUp | Role::ExpertDown => {
                self.expert_bias(role, at, n)?
            }
            _ => self.plain_bias(role, at, n)?,
        };
        let Some(values) = values else {
            return match stored {
                Stored::IfPresent => Ok(None),
                Stored::Always => Err(self.missing(role, at, "bias")),
            };
        };
        let order = self.spec.row_order(role, self.file.scheme);
        Ok(Some((0..n).map(|row| values[order.stored(row)]).collect()))
    }

    fn plain_bias(&self, role: Role, at: At, n: usize) -> Result<Option<Vec<f32>>, ModelError> {
        let fused = self.spec.fused(role);
        if let Some(view) = self.part(role, at, "bias") {
            return match fused {
                Some((_, first, all)) if role == Role::FfnUp && view.info.shape == [all] => Ok(
                    Some(self.file.floats(&view, &[all])?[first..first + n].to_vec()),
                ),
                _ => self.file.floats(&view, &[n]).map(Some),
            };
        }
        let Some((whole, first, all)) = fused else {
            return Ok(None);
        };
        let view = self.part(whole, at, "bias");
        let all = view
            .map(|view| self.file.floats(&view, &[all]))
            .transpose()?;
        Ok(all.map(|all| all[first..first + n].to_vec()))
    }

    fn expert_bias(&self, role: Role, at: At, n: usize) -> Result<Option<Vec<f32>>, ModelError> {
        let num_experts = self.spec.moe.map_or(0, |moe| moe.num_experts);
        if let Some(view) = self.part(role, at, "bias") {
            let all = self.file.floats(&view, &[num_experts, n])?;
            return Ok(Some(all[at.expert * n..][..n].to_vec()));
        }
        if self.file.scheme == Scheme::Gguf {
            return Ok(None);
        }
        let (name, first, step) = self.stacked(role, at);
        let Some(view) = self.file.find(&format!("{name}_bias")) else {
            return Ok(None);
        };
        let all = self.file.floats(&view, &[num_experts, step * n])?;
        let own = &all[at.expert * step * n..][..step * n];
        Ok(Some(
            own.iter().skip(first).step_by(step).copied().collect(),
        ))
    }

    /// A vector that need not be there.
    pub(super) fn optional_vector(
        &self,
        role: Role,
        at: At,
        part: &str,
        len: usize,
    ) -> Result<Option<Vec<f32>>, ModelError> {
        let view = self.part(role, at, part);
        view.map(|view| self.file.floats(&view, &[len])).transpose()
    }

    /// A vector.
    pub(super) fn vector(
        &self,
        role: Role,
        at: At,
        part: &str,
        len: usize,
    ) -> Result<Vec<f32>, ModelError> {
        self.optional_vector(role, at, part, len)?
            .ok_or_else(|| self.missing(role, at, part))
    }

    /// Type of a matrix, or F32 if it is not there.
    pub(super) fn dtype(&self, role: Role, at: At, shape: Shape) -> Dtype {
        self.matrix(role, at, shape)
            .map_or(Dtype::F32, |place| place.dtype())
    }

    /// Warns of tensors that nothing asked for.
    pub(super) fn report_unused(&self) {
        let is_wanted = |name: &str| !is_known_to_be_unused(name);
        self.file.report_unused("architecture", is_wanted);
    }
}

/// Frequencies and masks that old files store, and every engine computes.
fn is_known_to_be_unused(name: &str) -> bool {
    // An encoder of pictures beside it has its own loader.
    name.strip_prefix("model.")
        .unwrap_or(name)
        .starts_with("visual.")
        || [".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias"]
            .iter()
            .any(|suffix| name.ends_with(suffix))
}
