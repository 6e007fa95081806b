//! A matrix in a file, and how its rows are read.

use super::Shape;
use crate::model::{ModelError, packing};
use choral_formats::{Dtype, QuantMatrix, TensorInfo, TensorView};
use choral_kernels::matmul::RowCodes;

/// GGUF files of Llama hold each head's rows of Q and K interleaved: row `2 i + j`
/// there is row `i + j * half` of the layout that kernels rotate. So do the
/// safetensors files of families that rotate neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) enum RowOrder {
    AsStored,
    Interleaved { head_dim: usize, rotated: usize },
}

impl RowOrder {
    pub(in crate::model) fn stored(self, row: usize) -> usize {
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
pub(super) enum Form<'a> {
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

/// What holds a matrix.
#[derive(Debug)]
pub(super) enum Held<'a> {
    Tensor {
        view: TensorView<'a>,
        form: Form<'a>,
    },
    /// Several tensors: its row `r` is row `first + r` of theirs.
    Parts {
        matrix: QuantMatrix<'a>,
        first: usize,
    },
}

/// A matrix that was found.
#[derive(Debug)]
pub(in crate::model) struct Place<'a> {
    pub(super) held: Held<'a>,
    pub(super) order: RowOrder,
    pub(super) shape: Shape,
}

/// A matrix whose rows can be read.
pub(in crate::model) enum Rows<'a> {
    Parts {
        matrix: &'a QuantMatrix<'a>,
        first: usize,
        order: RowOrder,
    },
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

impl<'a> Place<'a> {
    pub(in crate::model) fn shape(&self) -> Shape {
        self.shape
    }

    /// The type that its rows will have.
    pub(in crate::model) fn dtype(&self) -> Dtype {
        match &self.held {
            Held::Parts { matrix, .. } => matrix.packed(),
            Held::Tensor { view, form } => match form {
                Form::Rows { .. } => view.info.dtype,
                Form::Columns { .. } => Dtype::F32,
                Form::Mxfp4 { .. } => Dtype::MXFP4,
            },
        }
    }

    /// The tensors that hold it.
    pub(in crate::model) fn tensors(&self) -> Vec<&'a str> {
        match &self.held {
            Held::Parts { matrix, .. } => matrix.parts().to_vec(),
            Held::Tensor { view, form } => match form {
                Form::Mxfp4 { scales, .. } => vec![&view.info.name, &scales.info.name],
                _ => vec![&view.info.name],
            },
        }
    }

    /// Makes its rows readable. What is not stored row by row is put together.
    pub(in crate::model) fn open(&self) -> Result<Rows<'_>, ModelError> {
        let [n, k] = self.shape;
        let (view, form) = match &self.held {
            Held::Tensor { view, form } => (view, *form),
            Held::Parts { matrix, first } => {
                return Ok(Rows::Parts {
                    matrix,
                    first: *first,
                    order: self.order,
                });
            }
        };
        match form {
            Form::Rows { first, step } => Ok(Rows::InFile {
                view: *view,
                first,
                step,
                order: self.order,
            }),
            Form::Columns { from, first, step } => {
                let mut values = vec![0.0_f32; n * k];
                let mut row = vec![0.0; view.row_len()];
                for i in 0..k {
                    view.dequantize_row(from + i, &mut row)?;
                    let column = row.iter().skip(first).step_by(step);
                    for (values, &x) in values.chunks_exact_mut(k).zip(column) {
                        values[i] = x;
                    }
                }
                let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
                Ok(self.made(view, Dtype::F32, bytes))
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
                    let blocks = &view.bytes[row(r) * per_row * 16..][..per_row * 16];
                    let scales = &scales.bytes[row(r) * per_row..][..per_row];
                    for (block, &scale) in blocks.as_chunks::<16>().0.iter().zip(scales) {
                        bytes.push(scale);
                        bytes.extend(halves_of(block));
                    }
                }
                Ok(self.made(view, Dtype::MXFP4, bytes))
            }
        }
    }

    fn made(&self, view: &TensorView<'_>, dtype: Dtype, bytes: Vec<u8>) -> Rows<'static> {
        let info = TensorInfo {
            name: view.info.name.clone(),
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

impl<'a> Rows<'a> {
    /// All rows of a tensor, as it has them.
    pub(in crate::model) fn of(view: TensorView<'a>) -> Self {
        Self::InFile {
            view,
            first: 0,
            step: 1,
            order: RowOrder::AsStored,
        }
    }

    /// Row `row` as floats.
    ///
    /// # Panics
    /// If `out` is of another width.
    pub(in crate::model) fn floats(&self, row: usize, out: &mut [f32]) {
        if let Self::Parts {
            matrix,
            first,
            order,
        } = self
        {
            return matrix.row(first + order.stored(row), out);
        }
        let (view, row) = self.locate(row);
        view.dequantize_row(row, out)
            .expect("type and width were checked");
    }

    /// Row `row` taken apart.
    ///
    /// # Panics
    /// If its type has no codes, or `out` is of another width.
    pub(in crate::model) fn codes(&self, row: usize, out: &mut RowCodes) {
        if let Self::Parts {
            matrix,
            first,
            order,
        } = self
        {
            let mut bytes = Vec::new();
            matrix.push_row(first + order.stored(row), &mut bytes);
            return packing::read_codes(matrix.packed(), &bytes, out);
        }
        let (view, row) = self.locate(row);
        packing::read_codes(view.info.dtype, view.row_bytes(row), out);
    }

    /// The tensor that holds the rows, and which of its rows `row` is.
    pub(super) fn locate(&self, row: usize) -> (TensorView<'_>, usize) {
        match self {
            Self::Parts { .. } => unreachable!("rows of several tensors are asked for first"),
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
mod tests;
