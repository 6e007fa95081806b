//! Carries a plan out: rows in, rows out, on several threads, little of it in memory.

use super::{Change, ConvertError, Plan, PlannedTensor};
use choral_formats::{FormatError, ModelFile, TensorSource, TensorView, dequantize, quantize};
use std::ops::ControlFlow;
use std::path::Path;

/// Weights that are encoded before they are written: their encoded form is all that is
/// held, 128 MiB at most. Of the source each thread decodes one row at a time.
const SLAB_WEIGHTS: usize = 32 << 20;

impl Plan<'_> {
    /// Writes the file. `progress` hears of each slab: the tensor's index, and the
    /// bytes that are written of all.
    ///
    /// The file appears when it is complete; until then, and after an error, there is
    /// nothing of it.
    ///
    /// # Errors
    /// [`ConvertError::Exists`] unless `overwrite`; [`ConvertError::IsInput`] even then;
    /// [`ConvertError::Interrupted`] if `progress` breaks off; a full disk; weights that
    /// the chosen type cannot store.
    pub fn write(
        &self,
        path: &Path,
        overwrite: bool,
        threads: usize,
        progress: &mut dyn FnMut(usize, u64) -> ControlFlow<()>,
    ) -> Result<(), ConvertError> {
        self.check_output(path, overwrite)?;
        let infos: Vec<_> = self.tensors.iter().map(|t| t.info.clone()).collect();
        let mut stream = self.writer.stream(path, &infos)?;
        let mut written = 0;
        let mut slab = Vec::new();
        for (index, tensor) in self.tensors.iter().enumerate() {
            let content = Content::open(self.source.tensors(), tensor)?;
            if content.rows() * content.width == 0 {
                stream.write(&[])?;
                continue;
            }
            let bytes_a_row = tensor.info.dtype.bytes_for(content.width);
            let bytes_a_row = bytes_a_row.expect("types are chosen to fit rows");
            let slab_rows = (SLAB_WEIGHTS / content.width.max(1)).max(1);
            let mut first = 0;
            while first < content.rows() {
                let rows = slab_rows.min(content.rows() - first);
                slab.resize(rows * bytes_a_row, 0);
                content.encode_all(first, &mut slab, bytes_a_row, threads)?;
                stream.write(&slab)?;
                first += rows;
                written += slab.len() as u64;
                if progress(index, written).is_break() {
                    return Err(ConvertError::Interrupted);
                }
            }
            for part in &tensor.parts {
                self.source.tensors().release(part);
            }
        }
        Ok(stream.finish()?)
    }

    /// That nothing is lost by writing to `path`.
    pub fn check_output(&self, path: &Path, overwrite: bool) -> Result<(), ConvertError> {
        if !path.exists() {
            return Ok(());
        }
        if path.is_dir() {
            return Err(ConvertError::IsFolder {
                path: path.to_owned(),
            });
        }
        if self.reads(path) {
            return Err(ConvertError::IsInput {
                path: path.to_owned(),
            });
        }
        if overwrite {
            return Ok(());
        }
        Err(ConvertError::Exists {
            path: path.to_owned(),
        })
    }

    /// Whether an existing file belongs to the source.
    fn reads(&self, path: &Path) -> bool {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let (input, output) = (real(self.source.path()), real(path));
        match self.source {
            ModelFile::Hf(_) => {
                let is_gguf = output.extension().is_some_and(|ext| ext == "gguf");
                output.parent() == Some(&*input) && !is_gguf
            }
            ModelFile::Gguf(_) => {
                let is_sibling = output.parent() == input.parent();
                input == output || is_sibling && of_split(&input) == of_split(&output)
            }
        }
    }
}

/// `name-` and `-of-00003.gguf` of `name-00001-of-00003.gguf`; the whole name and
/// nothing of others.
fn of_split(path: &Path) -> (String, String) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let split = name.rfind("-of-").and_then(|at| {
        let number = at.checked_sub(5)?;
        let is_number = name.get(number..at)?.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| (name[..number].to_owned(), name[at..].to_owned()))
    });
    split.unwrap_or_else(|| (name.into_owned(), String::new()))
}

/// Where a tensor's rows come from.
struct Content<'a> {
    tensor: &'a PlannedTensor,
    parts: Vec<TensorView<'a>>,
    /// Elements of a row. Vectors whose elements change places have rows of one.
    width: usize,
    rows_a_part: usize,
}

impl<'a> Content<'a> {
    fn open(source: &'a dyn TensorSource, tensor: &'a PlannedTensor) -> Result<Self, FormatError> {
        let views = tensor.parts.iter().map(|name| source.required(name));
        let parts: Vec<TensorView<'a>> = views.collect::<Result<_, _>>()?;
        let (rows, width) = match parts.first() {
            Some(view) if tensor.change == Change::Interleave && view.info.shape.len() == 1 => {
                (view.row_len(), 1)
            }
            Some(view) if tensor.change == Change::Transpose && view.info.shape.len() == 2 => {
                (view.row_len(), view.rows())
            }
            Some(view) => (view.rows(), view.row_len()),
            None => (0, 1),
        };
        Ok(Self {
            tensor,
            parts,
            width,
            rows_a_part: rows,
        })
    }

    fn rows(&self) -> usize {
        self.rows_a_part * self.parts.len()
    }

    /// Fills `out` with rows from `first` on, shared out among threads.
    fn encode_all(
        &self,
        first: usize,
        out: &mut [u8],
        bytes_a_row: usize,
        threads: usize,
    ) -> Result<(), ConvertError> {
        let rows = out.len() / bytes_a_row;
        let share = rows.div_ceil(threads.max(1)).max(1);
        // A thread costs more than a few thousand weights.
        if threads <= 1 || rows * self.width < 1 << 14 {
            return self.encode(first, out, bytes_a_row);
        }
        std::thread::scope(|scope| {
            let shares = out.chunks_mut(share * bytes_a_row).enumerate();
            let workers: Vec<_> = shares
                .map(|(i, out)| {
                    scope.spawn(move || self.encode(first + i * share, out, bytes_a_row))
                })
                .collect();
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().expect("encoding does not panic"))
        })
    }

    fn encode(&self, first: usize, out: &mut [u8], bytes_a_row: usize) -> Result<(), ConvertError> {
        let dtype = self.tensor.info.dtype;
        let is_copied = dtype == self.tensor.from && self.tensor.change != Change::AddOne;
        let mut values = vec![0.0; self.width];
        let mut column = Vec::new();
        for (row, out) in (first..).zip(out.chunks_exact_mut(bytes_a_row)) {
            let (part, stored) = (row / self.rows_a_part, self.stored(row % self.rows_a_part));
            let view = &self.parts[part];
            let bytes = if self.is_transposed() {
                self.gather(view, stored, &mut column);
                &column
            } else {
                self.row_bytes(view, stored)
            };
            if is_copied {
                out.copy_from_slice(bytes);
                continue;
            }
            let named = |source: FormatError| ConvertError::Values {
                name: self.tensor.info.name.clone(),
                row,
                source: Box::new(source),
            };
            dequantize(self.tensor.from, bytes, &mut values).map_err(named)?;
            if self.tensor.change == Change::AddOne {
                for x in &mut values {
                    *x += 1.0;
                }
            }
            quantize(dtype, &values, out).map_err(named)?;
        }
        Ok(())
    }

    /// Whether rows are the source's columns; its vectors stay as they are.
    fn is_transposed(&self) -> bool {
        self.tensor.change == Change::Transpose && self.tensor.info.shape.len() == 2
    }

    /// The elements of one of the source's columns.
    fn gather(&self, view: &TensorView<'a>, column: usize, out: &mut Vec<u8>) {
        let columns = self.rows_a_part;
        // Types of a folder have an element a block: the plan refuses others.
        let size = view.bytes.len() / (columns * self.width);
        out.clear();
        for row in view.bytes.chunks_exact(columns * size) {
            out.extend_from_slice(&row[column * size..(column + 1) * size]);
        }
    }

    fn row_bytes(&self, view: &TensorView<'a>, row: usize) -> &'a [u8] {
        let stride = view.bytes.len() / self.rows_a_part;
        &view.bytes[row * stride..(row + 1) * stride]
    }

    /// The source's row that becomes row `row` of a part.
    fn stored(&self, row: usize) -> usize {
        if self.tensor.change != Change::Interleave {
            return row;
        }
        let head_dim = self.tensor.head_dim;
        let (head, at) = (row / head_dim, row % head_dim);
        head * head_dim + at / 2 + at % 2 * (head_dim / 2)
    }
}
