//! Where the matrices and vectors of a model lie in its file.
//!
//! Families and formats store the same matrices in different ways: on their own, as
//! rows of a larger tensor, stacked by expert, transposed, or with the rows of two of
//! them taking turns. [`Tensors`] hides that: it is asked for a [`Role`] and answers
//! with rows.

use super::names::{At, Role};
use super::{DecoderSpec, ModelError, Scheme, Stored};
use choral_formats::{
    Dtype, FormatError, ModelFile, TensorInfo, TensorSource, TensorView, dequantize,
};
use std::cell::RefCell;
use std::collections::HashSet;

/// `[rows, columns]`.
pub(super) type Shape = [usize; 2];

/// The tensors of one file, under the names of one family.
pub(super) struct Tensors<'a> {
    file: &'a ModelFile,
    scheme: Scheme,
    spec: &'a DecoderSpec,
    used: RefCell<HashSet<String>>,
}

/// GGUF files of Llama hold each head's rows of Q and K interleaved: row `2 i + j`
/// there is row `i + j * half` of the layout that kernels rotate. So do the
/// safetensors files of families that rotate neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowOrder {
    AsStored,
    Interleaved { head_dim: usize, rotated: usize },
}

impl RowOrder {
    pub(super) fn stored(self, row: usize) -> usize {
        match self {
            Self::AsStored => row,
            Self::Interleaved { head_dim, rotated } => {
                let (head, at, half) = (row / head_dim, row % head_dim, rotated / 2);
                if at >= rotated {
                    return row;
                }
                head * head_dim + 2 * (at % half) + at / half
            }
        }
    }
}

/// How a stored tensor holds a matrix.
#[derive(Debug, Clone, Copy)]
enum Form<'a> {
    /// Row `r` is the tensor's row `first + step * r`.
    Rows { first: usize, step: usize },
    /// Row `r` is column `first + step * r` of the tensor's rows `from..from + k`.
    Columns {
        from: usize,
        first: usize,
        step: usize,
    },
    /// Row `r` is block row `first + step * r` of MXFP4 codes (`[.., k / 32, 16]`
    /// bytes), with scales beside them (`[.., k / 32]`), as gpt-oss has them.
    Mxfp4 {
        scales: TensorView<'a>,
        first: usize,
        step: usize,
    },
}

/// A matrix that was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    view: TensorView<'a>,
    form: Form<'a>,
    order: RowOrder,
    shape: Shape,
}

/// A matrix whose rows can be read.
pub(super) enum Rows<'a> {
    InFile {
        view: TensorView<'a>,
        first: usize,
        step: usize,
        order: RowOrder,
    },
    /// Put together for the purpose.
    Made {
        info: TensorInfo,
        bytes: Vec<u8>,
        order: RowOrder,
    },
}

impl<'a> Tensors<'a> {
    pub(super) fn new(file: &'a ModelFile, spec: &'a DecoderSpec) -> Self {
        Self {
            file,
            scheme: Scheme::of(file),
            spec,
            used: RefCell::default(),
        }
    }

    pub(super) fn source(&self) -> &'a dyn TensorSource {
        self.file.tensors()
    }

    /// The full name of a tensor's part: `weight` or `bias`.
    pub(super) fn name(&self, role: Role, at: At, part: &str) -> String {
        let name = role.name(&self.spec.names, self.scheme, at);
        match (role, self.scheme, part) {
            // These are parameters by themselves, not modules that have some.
            (Role::Sinks | Role::ExpertGateUp, Scheme::Hf, "weight") => name,
            (Role::ExpertGateUp, Scheme::Hf, part) => format!("{name}_{part}"),
            _ => format!("{name}.{part}"),
        }
    }

    fn view(&self, name: String) -> Option<TensorView<'a>> {
        let view = self.source().tensor(&name).or_else(|| {
            // Files of a model without its head leave out the model's own name.
            let (_, rest) = name.split_once('.')?;
            let is_hf = self.scheme == Scheme::Hf;
            is_hf.then(|| self.source().tensor(rest)).flatten()
        })?;
        self.used.borrow_mut().insert(view.info.name.clone());
        Some(view)
    }

    fn part(&self, role: Role, at: At, part: &str) -> Option<TensorView<'a>> {
        self.view(self.name(role, at, part))
    }

    /// The error that says that a tensor is not there.
    pub(super) fn missing(&self, role: Role, at: At, part: &str) -> ModelError {
        ModelError::missing_tensor(self.source(), &self.name(role, at, part))
    }

    fn shape_error(&self, view: &TensorView<'_>, expected: &[usize]) -> ModelError {
        ModelError::Shape {
            file: self.source().path().to_owned(),
            name: view.info.name.clone(),
            expected: expected.to_vec(),
            found: view.info.shape.clone(),
        }
    }

    fn dtype_error(&self, view: &TensorView<'_>, expected: &'static str) -> ModelError {
        ModelError::Dtype {
            file: self.source().path().to_owned(),
            name: view.info.name.clone(),
            expected,
            found: view.info.dtype,
        }
    }

    /// Finds a matrix, and checks its shape and type.
    pub(super) fn matrix(&self, role: Role, at: At, shape: Shape) -> Result<Place<'a>, ModelError> {
        let (view, form) = match role {
            Role::ExpertGate | Role::ExpertUp | Role::ExpertDown => {
                self.expert_matrix(role, at, shape)?
            }
            _ => self.plain_matrix(role, at, shape)?,
        };
        if !matches!(form, Form::Mxfp4 { .. }) {
            let readable = dequantize(view.info.dtype, &[], &mut []);
            if matches!(readable, Err(FormatError::Unsupported { .. })) {
                return Err(self.dtype_error(&view, "a float or a quantised type that can be read"));
            }
        }
        Ok(Place {
            view,
            form,
            order: self.order(role),
            shape,
        })
    }

    fn plain_matrix(
        &self,
        role: Role,
        at: At,
        [n, k]: Shape,
    ) -> Result<(TensorView<'a>, Form<'a>), ModelError> {
        let transposed = self.spec.hf_transposed
            && self.scheme == Scheme::Hf
            && !matches!(role, Role::Embedding | Role::Positions | Role::Output);
        let own = self.part(role, at, "weight");
        let fused = self.fused(role);
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
            return Err(self.shape_error(&view, &expected));
        }
        Ok((view, form))
    }

    /// The tensor that may hold a matrix among others: its role, the first row that
    /// is this one's, and all rows.
    fn fused(&self, role: Role) -> Option<(Role, usize, usize)> {
        let s = self.spec;
        let (q, kv) = (s.q_width(), s.kv_width());
        let (qkv, ffn) = (q + 2 * kv, s.ffn.size);
        match role {
            Role::Q => Some((Role::Qkv, 0, qkv)),
            Role::K => Some((Role::Qkv, q, qkv)),
            Role::V => Some((Role::Qkv, q + kv, qkv)),
            Role::FfnGate if s.ffn.gated => Some((Role::FfnGateUp, 0, 2 * ffn)),
            Role::FfnUp if s.ffn.gated => Some((Role::FfnGateUp, ffn, 2 * ffn)),
            _ => None,
        }
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
                _ => Err(self.shape_error(&view, &[num_experts, n, k])),
            };
        }
        if self.scheme == Scheme::Gguf {
            // Files from before experts were stacked.
            let name = self.name(role, at, "weight");
            let alone = name.replace("_exps.", &format!(".{}.", at.expert));
            return match self.view(alone) {
                Some(view) if view.info.shape == [n, k] => Ok((view, rows(0, 1))),
                Some(view) => Err(self.shape_error(&view, &[n, k])),
                None => Err(self.missing(role, at, "weight")),
            };
        }
        let (name, taking_turns) = match role {
            Role::ExpertDown => (self.stacked_down(at), None),
            _ => {
                let turn = usize::from(role == Role::ExpertUp);
                let name = self.name(Role::ExpertGateUp, at, "weight");
                (name, Some(turn))
            }
        };
        let (first, step, height) = taking_turns.map_or((0, 1, n), |turn| (turn, 2, 2 * n));
        if let Some(view) = self.view(name.clone()) {
            let expected = [num_experts, k, height];
            if view.info.shape != expected {
                return Err(self.shape_error(&view, &expected));
            }
            let from = at.expert * k;
            return Ok((view, Form::Columns { from, first, step }));
        }
        let Some(blocks) = self.view(format!("{name}_blocks")) else {
            return Err(self.missing(role, at, "weight"));
        };
        let scales_name = format!("{name}_scales");
        let scales = self
            .view(scales_name.clone())
            .ok_or_else(|| ModelError::missing_tensor(self.source(), &scales_name))?;
        let expected = [num_experts, height, k / 32, 16];
        if blocks.info.shape != expected || !k.is_multiple_of(32) {
            return Err(self.shape_error(&blocks, &expected));
        }
        if scales.info.shape != expected[..3] {
            return Err(self.shape_error(&scales, &expected[..3]));
        }
        for view in [&blocks, &scales] {
            if view.info.dtype != Dtype::U8 {
                return Err(self.dtype_error(view, "U8"));
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

    /// gpt-oss's name of all experts' output matrices.
    fn stacked_down(&self, at: At) -> String {
        let name = self.name(Role::ExpertGateUp, at, "weight");
        name.replace("gate_up_proj", "down_proj")
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
        let order = self.order(role);
        Ok(Some((0..n).map(|row| values[order.stored(row)]).collect()))
    }

    fn plain_bias(&self, role: Role, at: At, n: usize) -> Result<Option<Vec<f32>>, ModelError> {
        let fused = self.fused(role);
        if let Some(view) = self.part(role, at, "bias") {
            return match fused {
                Some((_, first, all)) if role == Role::FfnUp && view.info.shape == [all] => {
                    Ok(Some(self.floats(&view, &[all])?[first..first + n].to_vec()))
                }
                _ => self.floats(&view, &[n]).map(Some),
            };
        }
        let Some((whole, first, all)) = fused else {
            return Ok(None);
        };
        let view = self.part(whole, at, "bias");
        let all = view.map(|view| self.floats(&view, &[all])).transpose()?;
        Ok(all.map(|all| all[first..first + n].to_vec()))
    }

    fn expert_bias(&self, role: Role, at: At, n: usize) -> Result<Option<Vec<f32>>, ModelError> {
        let num_experts = self.spec.moe.map_or(0, |moe| moe.num_experts);
        if let Some(view) = self.part(role, at, "bias") {
            let all = self.floats(&view, &[num_experts, n])?;
            return Ok(Some(all[at.expert * n..][..n].to_vec()));
        }
        if self.scheme == Scheme::Gguf {
            return Ok(None);
        }
        let (name, first, step) = match role {
            Role::ExpertDown => (self.stacked_down(at), 0, 1),
            _ => {
                let name = self.name(Role::ExpertGateUp, at, "weight");
                (name, usize::from(role == Role::ExpertUp), 2)
            }
        };
        let Some(view) = self.view(format!("{name}_bias")) else {
            return Ok(None);
        };
        let all = self.floats(&view, &[num_experts, step * n])?;
        let own = &all[at.expert * step * n..][..step * n];
        Ok(Some(
            own.iter().skip(first).step_by(step).copied().collect(),
        ))
    }

    fn floats(&self, view: &TensorView<'_>, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        if view.info.shape != shape {
            return Err(self.shape_error(view, shape));
        }
        if !matches!(view.info.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            return Err(self.dtype_error(view, "F32, F16 or BF16"));
        }
        let mut values = vec![0.0; shape.iter().product()];
        view.dequantize(&mut values)?;
        Ok(values)
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
        view.map(|view| self.floats(&view, &[len])).transpose()
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

    fn order(&self, role: Role) -> RowOrder {
        let rotated = self.spec.ropes.first().map_or(0, |rope| rope.dim);
        match role {
            Role::Q | Role::K if self.spec.interleaved_in.contains(&self.scheme) => {
                RowOrder::Interleaved {
                    head_dim: self.spec.head_dim,
                    rotated,
                }
            }
            _ => RowOrder::AsStored,
        }
    }

    /// Type of a matrix, or F32 if it is not there.
    pub(super) fn dtype(&self, role: Role, at: At, shape: Shape) -> Dtype {
        self.matrix(role, at, shape)
            .map_or(Dtype::F32, |place| place.dtype())
    }

    /// Tensors that nothing asked for: they may mean a model that is not what its
    /// header says.
    pub(super) fn report_unused(&self) {
        let used = self.used.borrow();
        let unused: Vec<&str> = self
            .source()
            .infos()
            .iter()
            .map(|info| info.name.as_str())
            .filter(|name| !used.contains(*name) && !is_known_to_be_unused(name))
            .collect();
        if let [first, ..] = unused[..] {
            tracing::warn!(
                count = unused.len(),
                first,
                "tensors that this architecture does not use"
            );
        }
    }
}

/// Frequencies and masks that old files store, and every engine computes.
fn is_known_to_be_unused(name: &str) -> bool {
    [".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias"]
        .iter()
        .any(|suffix| name.ends_with(suffix))
}

impl<'a> Place<'a> {
    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// The type that its rows will have.
    pub(super) fn dtype(&self) -> Dtype {
        match self.form {
            Form::Rows { .. } => self.view.info.dtype,
            Form::Columns { .. } => Dtype::F32,
            Form::Mxfp4 { .. } => Dtype::MXFP4,
        }
    }

    /// The tensor that holds it.
    pub(super) fn tensor(&self) -> &'a str {
        &self.view.info.name
    }

    /// Makes its rows readable. What is not stored row by row is put together.
    pub(super) fn open(&self) -> Result<Rows<'a>, ModelError> {
        let [n, k] = self.shape;
        match self.form {
            Form::Rows { first, step } => Ok(Rows::InFile {
                view: self.view,
                first,
                step,
                order: self.order,
            }),
            Form::Columns { from, first, step } => {
                let mut values = vec![0.0_f32; n * k];
                let mut row = vec![0.0; self.view.row_len()];
                for i in 0..k {
                    self.view.dequantize_row(from + i, &mut row)?;
                    let column = row.iter().skip(first).step_by(step);
                    for (values, &x) in values.chunks_exact_mut(k).zip(column) {
                        values[i] = x;
                    }
                }
                let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
                Ok(self.made(Dtype::F32, bytes))
            }
            Form::Mxfp4 {
                scales,
                first,
                step,
            } => {
                let row = |r: usize| first + step * r;
                let per_row = k / 32;
                let mut bytes = Vec::with_capacity(n * per_row * 17);
                for r in 0..n {
                    let blocks = &self.view.bytes[row(r) * per_row * 16..][..per_row * 16];
                    let scales = &scales.bytes[row(r) * per_row..][..per_row];
                    for (block, &scale) in blocks.as_chunks::<16>().0.iter().zip(scales) {
                        bytes.push(scale);
                        bytes.extend(halves_of(block));
                    }
                }
                Ok(self.made(Dtype::MXFP4, bytes))
            }
        }
    }

    fn made(&self, dtype: Dtype, bytes: Vec<u8>) -> Rows<'a> {
        let info = TensorInfo {
            name: self.view.info.name.clone(),
            dtype,
            shape: self.shape.to_vec(),
        };
        let order = self.order;
        Rows::Made { info, bytes, order }
    }
}

/// 32 codes of which neighbours share a byte, as GGUF's blocks have them: code `i`
/// and code `i + 16` share one.
fn halves_of(neighbours: &[u8; 16]) -> [u8; 16] {
    let code = |i: usize| neighbours[i / 2] >> (4 * (i % 2)) & 15;
    std::array::from_fn(|i| code(i) | code(i + 16) << 4)
}

impl Rows<'_> {
    /// What holds the rows, and which of its rows `row` is.
    pub(super) fn locate(&self, row: usize) -> (TensorView<'_>, usize) {
        match self {
            Self::InFile {
                view,
                first,
                step,
                order,
            } => (*view, first + step * order.stored(row)),
            Self::Made { info, bytes, order } => (TensorView { info, bytes }, order.stored(row)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interleaved_rows_are_put_into_halves() {
        let order = RowOrder::Interleaved {
            head_dim: 6,
            rotated: 6,
        };
        let stored: Vec<usize> = (0..12).map(|row| order.stored(row)).collect();
        assert_eq!(stored, [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
    }

    #[test]
    fn rows_that_are_not_rotated_stay_where_they_are() {
        let order = RowOrder::Interleaved {
            head_dim: 6,
            rotated: 4,
        };
        let stored: Vec<usize> = (0..12).map(|row| order.stored(row)).collect();
        assert_eq!(stored, [0, 2, 1, 3, 4, 5, 6, 8, 7, 9, 10, 11]);
    }

    #[test]
    fn codes_of_neighbours_are_put_into_halves() {
        // Code i is i modulo 16.
        let neighbours = std::array::from_fn(|i| ((2 * i) % 16 | (2 * i + 1) % 16 << 4) as u8);
        let expected: [u8; 16] = std::array::from_fn(|i| (i | i << 4) as u8);
        assert_eq!(halves_of(&neighbours), expected);
    }
}
