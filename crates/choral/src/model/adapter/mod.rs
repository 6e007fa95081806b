//! Low-rank adapters: what a file holds, checked against the model that it is for.
//!
//! Owns the files of both kinds, which matrix each pair of tensors changes, and the
//! memory that they take. What a change does to a product is `nn/lora`'s. Everything
//! is checked by [`Adapter::open`], by name and by shape; nothing is left out
//! silently: what choral cannot apply is refused.
//!
//! `peft` and `gguf` read what the two kinds of file say of ranks and scales.

mod error;
mod gguf;
mod peft;
#[cfg(test)]
mod tests;

pub use error::AdapterError;

use super::names::{At, Role};
use super::tensors::{RowOrder, Shape};
use super::{DecoderSpec, ModelError, Numeric, Scheme, loader};
use crate::arch::Architecture;
use crate::nn::{LowRank, LowRankPart};
use choral_formats::{Dtype, Gguf, Safetensors, TensorSource, TensorView};
use choral_kernels::Compute;
use choral_kernels::matmul::{Element, PackedMatrix, Part, Source};
use peft::Peft;
use std::collections::HashMap;
use std::path::Path;

/// A low-rank adapter (`LoRA`, arXiv:2106.09685) that fits a model.
#[derive(Debug)]
pub struct Adapter {
    name: String,
    file: AdapterFile,
    changes: HashMap<(Role, At), Change>,
    num_modules: usize,
}

/// An adapter in one of the two kinds of file. [`Adapter::open`] checks what is in it.
#[derive(Debug)]
pub struct AdapterFile {
    tensors: Tensors,
    scales: Scales,
}

#[derive(Debug)]
enum Tensors {
    Peft(Safetensors),
    Gguf(Gguf),
}

/// How a change is scaled.
#[derive(Debug)]
enum Scales {
    Peft(Peft),
    /// `alpha`; 0 means that `A` and `B` say it all.
    Gguf {
        alpha: f64,
    },
}

/// What changes one matrix of the model.
#[derive(Debug)]
struct Change {
    a: Slice,
    b: Slice,
    /// How the rows of `B` lie.
    order: RowOrder,
    /// Outputs of the matrix.
    n: usize,
    rank: usize,
    scale: f32,
}

/// Rows of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Slice {
    tensor: String,
    first: usize,
}

/// A matrix that an adapter's tensors may be for.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    role: Role,
    at: At,
    shape: Shape,
    /// Its first row in the tensor that it may be part of, and all rows of that.
    first: usize,
    height: usize,
}

/// The tensors of one module.
#[derive(Debug, Default)]
struct Pair {
    a: Option<String>,
    b: Option<String>,
}

impl AdapterFile {
    /// Opens what is at `path`: a directory with an `adapter_config.json` (PEFT's), or
    /// a GGUF file whose `general.type` is `adapter` (llama.cpp's).
    ///
    /// # Errors
    /// If it is neither, or is of a kind that choral does not apply.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, AdapterError> {
        let path = path.as_ref();
        if path.is_dir() {
            return peft::open(path);
        }
        if path.extension().is_some_and(|e| e == "safetensors") {
            return Err(AdapterError::NotAnAdapter {
                path: path.to_owned(),
                found: "a file of tensors alone: name the directory that it is in",
            });
        }
        gguf::open(path)
    }

    fn source(&self) -> &dyn TensorSource {
        match &self.tensors {
            Tensors::Peft(tensors) => tensors,
            Tensors::Gguf(tensors) => tensors,
        }
    }

    fn scheme(&self) -> Scheme {
        match &self.tensors {
            Tensors::Peft(_) => Scheme::Hf,
            Tensors::Gguf(_) => Scheme::Gguf,
        }
    }

    /// The file or directory.
    pub fn path(&self) -> &Path {
        self.source().path()
    }

    /// Tensors by the module that they change.
    ///
    /// # Errors
    /// If a tensor is no low-rank matrix.
    fn pairs(&self) -> Result<Vec<(String, Pair)>, AdapterError> {
        let mut pairs: Vec<(String, Pair)> = Vec::new();
        let mut by_module = HashMap::new();
        for info in self.source().infos() {
            let (module, is_a) = match self.scheme() {
                Scheme::Hf => peft::module(self.path(), &info.name)?,
                Scheme::Gguf => gguf::module(self.path(), &info.name)?,
            };
            let at = *by_module.entry(module.to_owned()).or_insert_with(|| {
                pairs.push((module.to_owned(), Pair::default()));
                pairs.len() - 1
            });
            let pair = &mut pairs[at].1;
            let place = if is_a { &mut pair.a } else { &mut pair.b };
            if place.replace(info.name.clone()).is_some() {
                return Err(self.unsupported("several adapters in one file"));
            }
        }
        Ok(pairs)
    }

    fn unsupported(&self, what: impl Into<String>) -> AdapterError {
        AdapterError::unsupported(self.path(), what)
    }

    /// A tensor of a pair, which must be of floats.
    fn matrix(&self, module: &str, name: Option<&String>) -> Result<TensorView<'_>, AdapterError> {
        let view = name.and_then(|name| self.source().tensor(name));
        let view = view.ok_or_else(|| AdapterError::Unpaired {
            path: self.path().to_owned(),
            module: module.to_owned(),
        })?;
        if !matches!(view.info.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            return Err(AdapterError::Dtype {
                path: self.path().to_owned(),
                name: view.info.name.clone(),
                found: view.info.dtype,
            });
        }
        Ok(view)
    }
}

impl Adapter {
    /// Opens an adapter and finds, for all of it, what it changes in the model.
    ///
    /// # Errors
    /// If it is not an adapter, changes what the model does not have or choral cannot
    /// change, or has tensors of another shape.
    pub fn open(
        name: impl Into<String>,
        path: impl AsRef<Path>,
        architecture: &Architecture,
        spec: &DecoderSpec,
    ) -> Result<Self, AdapterError> {
        let file = AdapterFile::open(path)?;
        if let Tensors::Gguf(tensors) = &file.tensors {
            let found = tensors.architecture()?;
            if !architecture.gguf.contains(&found) {
                return Err(AdapterError::Architecture {
                    path: file.path().to_owned(),
                    found: found.to_owned(),
                    expected: architecture.gguf.join(" or "),
                });
            }
        }
        let modules = modules(spec, file.scheme());
        let mut changes = HashMap::new();
        let pairs = file.pairs()?;
        for (module, pair) in &pairs {
            if let Some(what) = vocabulary_part(spec, file.scheme(), module) {
                return Err(file.unsupported(format!("a change of {what}")));
            }
            let Some(candidates) = modules.get(module.as_str()) else {
                return Err(AdapterError::UnknownModule {
                    path: file.path().to_owned(),
                    module: module.clone(),
                });
            };
            let a = file.matrix(module, pair.a.as_ref())?;
            let b = file.matrix(module, pair.b.as_ref())?;
            bind(&file, spec, module, candidates, [a, b], &mut changes)?;
        }
        if changes.is_empty() {
            return Err(AdapterError::NotAnAdapter {
                path: file.path().to_owned(),
                found: "no low-rank matrices",
            });
        }
        Ok(Self {
            name: name.into(),
            file,
            changes,
            num_modules: pairs.len(),
        })
    }

    /// What requests call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file or directory.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// How many modules it changes.
    pub fn num_modules(&self) -> usize {
        self.num_modules
    }

    /// Bytes that it takes, packed for `numeric`; at most.
    pub fn bytes(&self, numeric: Numeric, spec: &DecoderSpec) -> u64 {
        let matrices = loader::matrices(spec);
        let bytes = matrices.filter_map(|(role, at, [n, k], _)| {
            let rank = self.changes.get(&(role, at))?.rank;
            let element = loader::adapter_element(role, numeric);
            let bytes = |n, k| PackedMatrix::float_bytes(element, n, k) as u64;
            Some(bytes(rank, k).saturating_add(bytes(n, rank)))
        });
        bytes.fold(0, u64::saturating_add)
    }

    /// Floats that a token of a step needs for its largest change.
    pub fn floats_per_token(&self, spec: &DecoderSpec) -> usize {
        let matrices = loader::matrices(spec);
        let floats = matrices.filter_map(|(role, at, [n, k], _)| {
            let rank = self.changes.get(&(role, at))?.rank;
            // The gathered row, what three fused matrices make of it, and the change.
            Some(k.next_multiple_of(32) + 3 * rank + rank.next_multiple_of(32) + n)
        });
        floats.max().unwrap_or(0)
    }

    /// What it changes about a matrix fused of `parts` (roles and shapes); `None` if
    /// nothing. `index` is what batches call it.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub(super) fn pack(
        &self,
        index: usize,
        parts: &[(Role, At, Shape)],
        element: Element,
        compute: &Compute,
    ) -> Result<Option<LowRank>, ModelError> {
        let source = self.file.source();
        let tensor = |slice: &Slice| source.tensor(&slice.tensor).expect("found when bound");
        let pack = |rows: usize, k: usize, row: &(dyn Fn(usize, &mut [f32]) + Sync)| {
            let source = Source::Float { element, row };
            let packed = PackedMatrix::pack(compute, k, &[Part { rows, source }]);
            packed.ok_or(ModelError::NoMemory {
                what: "an adapter",
                bytes: PackedMatrix::float_bytes(element, rows, k) as u64,
            })
        };
        // Parts of one stored matrix share their `A`.
        let mut inputs: Vec<(&Slice, usize)> = Vec::new();
        let mut packed = Vec::new();
        let mut first = 0;
        for &(role, at, [n, _]) in parts {
            let from = first;
            first += n;
            let Some(change) = self.changes.get(&(role, at)) else {
                continue;
            };
            let before = inputs.iter().position(|(a, _)| **a == change.a);
            let place = before.unwrap_or_else(|| {
                inputs.push((&change.a, change.rank));
                inputs.len() - 1
            });
            let start: usize = inputs[..place].iter().map(|(_, rank)| rank).sum();
            let b = tensor(&change.b);
            packed.push(LowRankPart {
                ranks: start..start + change.rank,
                first: from,
                scale: change.scale,
                b: pack(change.n, change.rank, &|row, out| {
                    let row = change.b.first + change.order.stored(row);
                    b.dequantize_row(row, out).expect("checked when bound");
                })?,
            });
        }
        if packed.is_empty() {
            return Ok(None);
        }
        let rows: Vec<(TensorView<'_>, usize)> = inputs
            .iter()
            .flat_map(|(a, rank)| {
                let view = tensor(a);
                (a.first..a.first + rank).map(move |row| (view, row))
            })
            .collect();
        let a = pack(rows.len(), parts[0].2[1], &|row, out| {
            let (view, row) = rows[row];
            view.dequantize_row(row, out).expect("checked when bound");
        })?;
        Ok(Some(LowRank {
            adapter: index as u32,
            a,
            parts: packed,
        }))
    }
}

/// Every module that an adapter may change, by its name in files of `scheme`.
fn modules(spec: &DecoderSpec, scheme: Scheme) -> HashMap<String, Vec<Candidate>> {
    let mut modules: HashMap<String, Vec<Candidate>> = HashMap::new();
    for (role, at, shape, _) in loader::matrices(spec) {
        let mut add = |named: Role, first, height| {
            let name = named.name(&spec.names, scheme, at);
            if name.is_empty() {
                return;
            }
            let candidate = Candidate {
                role,
                at,
                shape,
                first,
                height,
            };
            // Adapters of a model without its head leave out the model's own name.
            if scheme == Scheme::Hf
                && let Some((_, rest)) = name.split_once('.')
            {
                modules.entry(rest.to_owned()).or_default().push(candidate);
            }
            modules.entry(name).or_default().push(candidate);
        };
        add(role, 0, shape[0]);
        if let Some((whole, first, height)) = spec.fused(role) {
            add(whole, first, height);
        }
    }
    modules
}

/// What a module that deals with tokens is, in words.
fn vocabulary_part(spec: &DecoderSpec, scheme: Scheme, module: &str) -> Option<&'static str> {
    let parts = [
        (Role::Embedding, "the embedding"),
        (Role::Positions, "the position embedding"),
        (Role::Output, "the output matrix"),
    ];
    let parts = parts.into_iter();
    let mut named = parts.filter(|(role, _)| {
        let name = role.name(&spec.names, scheme, At::default());
        let rest = name.split_once('.').map(|(_, rest)| rest);
        name == module || scheme == Scheme::Hf && rest == Some(module)
    });
    named.next().map(|(_, what)| what)
}

/// Finds what a pair of tensors changes, and checks that it fits.
fn bind(
    file: &AdapterFile,
    spec: &DecoderSpec,
    module: &str,
    candidates: &[Candidate],
    [a, b]: [TensorView<'_>; 2],
    changes: &mut HashMap<(Role, At), Change>,
) -> Result<(), AdapterError> {
    let misshapen = |view: &TensorView<'_>, expected: Vec<usize>| AdapterError::Shape {
        path: file.path().to_owned(),
        name: view.info.name.clone(),
        expected,
        found: view.info.shape.clone(),
    };
    // Experts' matrices may be stacked: `[experts, rank, k]` and `[experts, n, rank]`.
    let stacked = matches!(
        candidates[0].role,
        Role::ExpertGate | Role::ExpertUp | Role::ExpertDown
    ) && file.scheme() == Scheme::Gguf;
    let outer: Vec<usize> = stacked.then_some(candidates.len()).into_iter().collect();
    let k = candidates[0].shape[1];
    let rank = a.info.shape.get(outer.len()).copied().unwrap_or(0);
    let expected = |n: usize, k: usize| [outer.clone(), vec![n, k]].concat();
    if a.info.shape != expected(rank, k) || rank == 0 {
        return Err(misshapen(&a, expected(rank.max(1), k)));
    }
    // Some names are of a matrix in one file and of two that were joined in another.
    let height = b.info.shape.get(outer.len()).copied().unwrap_or(0);
    let fits = |candidate: &&Candidate| candidate.height == height;
    if b.info.shape != expected(height, rank) || !candidates.iter().any(|c| fits(&c)) {
        return Err(misshapen(&b, expected(candidates[0].height, rank)));
    }
    let scale = file.scale(module, rank)?;
    for candidate in candidates.iter().filter(fits) {
        let &Candidate {
            role, at, shape, ..
        } = candidate;
        let slice = |view: &TensorView<'_>, first: usize| Slice {
            tensor: view.info.name.clone(),
            first,
        };
        let expert = if stacked { at.expert } else { 0 };
        let change = Change {
            a: slice(&a, expert * rank),
            b: slice(&b, expert * height + candidate.first),
            order: spec.row_order(role, file.scheme()),
            n: shape[0],
            rank,
            scale,
        };
        if changes.insert((role, at), change).is_some() {
            return Err(file.unsupported(format!("two changes of what `{module}` changes")));
        }
    }
    Ok(())
}

impl AdapterFile {
    /// What multiplies `B A` of a module.
    fn scale(&self, module: &str, rank: usize) -> Result<f32, AdapterError> {
        match &self.scales {
            Scales::Peft(peft) => peft.scale(self.path(), module, rank),
            Scales::Gguf { alpha } if *alpha == 0.0 => Ok(1.0),
            Scales::Gguf { alpha } => Ok((alpha / rank as f64) as f32),
        }
    }
}
