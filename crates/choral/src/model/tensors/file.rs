//! The tensors of one file: found by name, checked, and counted as used.
//!
//! Knows neither families nor what a tensor is for: whoever loads a model does.

use crate::model::{ModelError, Scheme};
use choral_formats::{Dtype, FormatError, ModelFile, TensorSource, TensorView, dequantize};
use std::cell::RefCell;
use std::collections::HashSet;

/// The tensors of one file.
pub(in crate::model) struct TensorFile<'a> {
    pub(in crate::model) source: &'a dyn TensorSource,
    pub(in crate::model) scheme: Scheme,
    used: RefCell<HashSet<String>>,
}

impl<'a> TensorFile<'a> {
    pub(in crate::model) fn new(file: &'a ModelFile) -> Self {
        Self {
            source: file.tensors(),
            scheme: Scheme::of(file),
            used: RefCell::default(),
        }
    }

    /// The tensor of that name. Hugging Face files of a model without a head leave out
    /// the model's own name, the first part.
    pub(in crate::model) fn find(&self, name: &str) -> Option<TensorView<'a>> {
        let view = self.source.tensor(name).or_else(|| {
            let (_, rest) = name.split_once('.')?;
            let is_hf = self.scheme == Scheme::Hf;
            is_hf.then(|| self.source.tensor(rest)).flatten()
        })?;
        self.use_up([view.info.name.as_str()]);
        Some(view)
    }

    /// The tensor of that name, which must be there.
    pub(in crate::model) fn required(&self, name: &str) -> Result<TensorView<'a>, ModelError> {
        self.find(name).ok_or_else(|| self.missing(name))
    }

    /// Finds a matrix, and checks its shape and type.
    pub(in crate::model) fn matrix(
        &self,
        name: &str,
        shape: [usize; 2],
    ) -> Result<TensorView<'a>, ModelError> {
        let view = self.required(name)?;
        if view.info.shape != shape {
            return Err(self.shape_error(&view, &shape));
        }
        self.check_readable(&view)?;
        Ok(view)
    }

    /// Refuses types whose numbers cannot be read.
    pub(in crate::model) fn check_readable(&self, view: &TensorView<'_>) -> Result<(), ModelError> {
        let readable = dequantize(view.info.dtype, &[], &mut []);
        if matches!(readable, Err(FormatError::Unsupported { .. })) {
            return Err(self.dtype_error(view, "a float or a quantised type that can be read"));
        }
        Ok(())
    }

    /// All numbers of a tensor of floats.
    pub(in crate::model) fn floats(
        &self,
        view: &TensorView<'_>,
        shape: &[usize],
    ) -> Result<Vec<f32>, ModelError> {
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

    pub(in crate::model) fn missing(&self, name: &str) -> ModelError {
        ModelError::missing_tensor(self.source, name)
    }

    pub(in crate::model) fn shape_error(
        &self,
        view: &TensorView<'_>,
        expected: &[usize],
    ) -> ModelError {
        ModelError::Shape {
            file: self.source.path().to_owned(),
            name: view.info.name.clone(),
            expected: expected.to_vec(),
            found: view.info.shape.clone(),
        }
    }

    pub(in crate::model) fn dtype_error(
        &self,
        view: &TensorView<'_>,
        expected: &'static str,
    ) -> ModelError {
        ModelError::Dtype {
            file: self.source.path().to_owned(),
            name: view.info.name.clone(),
            expected,
            found: view.info.dtype,
        }
    }

    /// Counts tensors as used that were found in another way.
    pub(in crate::model) fn use_up<'n>(&self, names: impl IntoIterator<Item = &'n str>) {
        let names = names.into_iter().map(str::to_owned);
        self.used.borrow_mut().extend(names);
    }

    /// Warns of tensors that nothing asked for, of those that a reader of the whole file
    /// would: they may mean a model that is not what its header says.
    pub(in crate::model) fn report_unused(&self, reader: &str, is_wanted: impl Fn(&str) -> bool) {
        let used = self.used.borrow();
        let names = self.source.infos().iter().map(|info| info.name.as_str());
        let unused: Vec<&str> = names
            .filter(|name| is_wanted(name) && !used.contains(*name))
            .collect();
        if let [first, ..] = unused[..] {
            let count = unused.len();
            tracing::warn!(count, first, "tensors that this {reader} does not use");
        }
    }
}
