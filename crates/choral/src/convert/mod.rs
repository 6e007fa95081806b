//! A model as another file: safetensors or GGUF in, GGUF of other types out.
//!
//! [`Plan::new`] looks at everything and decides everything; what cannot be converted
//! is an error there, before anything is written. [`Plan::write`] does it, a few rows
//! at a time. [`divergence`] measures what was lost.
//!
//! `table.rs` and `keys.rs` know how llama.cpp calls things, `tokenizer.rs` does the
//! same for text, `mixture.rs` chooses types. How numbers are quantised is
//! [`choral_formats::quantize`](mod@choral_formats::quantize)'s affair.

mod divergence;
mod error;
mod family;
mod keys;
mod mixture;
mod rope;
mod table;
#[cfg(test)]
mod tests;
mod tokenizer;
mod write;

pub use divergence::{Divergence, DivergenceError, divergence};
pub use error::ConvertError;
pub use mixture::{Choice, Mixture};

use crate::arch;
use choral_formats::gguf::Writer;
use choral_formats::{Dtype, Gguf, HfDir, ModelFile, TensorInfo, TensorSource, dequant, quantize};
use family::{Change, Family};
use keys::Keys;
use mixture::{Chooser, Facts};
use std::collections::BTreeMap;

/// What will be written.
pub struct Plan<'a> {
    source: &'a ModelFile,
    /// Metadata, and tensors that are computed rather than converted.
    writer: Writer<'static>,
    tensors: Vec<PlannedTensor>,
    notes: Vec<String>,
}

/// One tensor of the result.
#[derive(Debug, Clone)]
pub struct PlannedTensor {
    /// What it will be.
    pub info: TensorInfo,
    /// The type in the source.
    pub from: Dtype,
    /// Source tensors whose rows follow each other: one, or one for each expert.
    parts: Vec<String>,
    change: Change,
    /// Rows of a head, where rows are interleaved.
    head_dim: usize,
}

impl PlannedTensor {
    /// Bytes that it will take.
    pub fn bytes(&self) -> u64 {
        self.info.byte_len().expect("the plan checked it") as u64
    }
}

impl<'a> Plan<'a> {
    /// Decides what to write for a model.
    ///
    /// Weights that are quantised already are refused unless `requantize`: their
    /// errors would add up.
    ///
    /// # Errors
    /// If the model cannot be converted; the error names the family, setting or tensor.
    pub fn new(
        source: &'a ModelFile,
        choice: Choice,
        requantize: bool,
    ) -> Result<Self, ConvertError> {
        let mut plan = match source {
            ModelFile::Gguf(gguf) => Self::of_gguf(source, gguf),
            ModelFile::Hf(folder) => Self::of_folder(source, folder)?,
        };
        plan.sort();
        plan.choose(choice, requantize)?;
        plan.writer
            .set("general.quantization_version", 2u32)
            .set("general.file_type", choice.mixture.file_type());
        Ok(plan)
    }

    /// The tensors in the order of the file.
    pub fn tensors(&self) -> &[PlannedTensor] {
        &self.tensors
    }

    /// Remarks for whoever converts: what other programs will make of the file.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> u64 {
        self.tensors.iter().map(PlannedTensor::bytes).sum()
    }

    /// The same metadata, and every tensor as it is.
    fn of_gguf(source: &'a ModelFile, gguf: &Gguf) -> Self {
        let mut writer = Writer::new();
        for (key, value) in gguf.metadata().iter() {
            // The parts of a split model become one file.
            if !key.starts_with("split.") {
                writer.set(key, value.clone());
            }
        }
        let planned = |info: &TensorInfo| PlannedTensor {
            info: info.clone(),
            from: info.dtype,
            parts: vec![info.name.clone()],
            change: Change::None,
            head_dim: 0,
        };
        Self {
            source,
            writer,
            tensors: gguf.infos().iter().map(planned).collect(),
            notes: Vec::new(),
        }
    }

    fn of_folder(source: &'a ModelFile, folder: &HfDir) -> Result<Self, ConvertError> {
        let config = &folder.config;
        if let Some(quantised) = config.object("quantization_config")? {
            let method: Option<&str> = quantised.optional("quant_method")?;
            return Err(ConvertError::Quantised {
                path: folder.path.clone(),
                method: method.unwrap_or("by a method without a name").to_owned(),
            });
        }
        let classes: Vec<&str> = config.required("architectures")?;
        let family = family::of(&classes)?;
        let class = classes.iter().find_map(|class| arch::by_hf(class));
        let mut keys = Keys {
            folder,
            config: config.with_defaults(class.map_or("{}", |class| class.hf_defaults)),
            family,
            writer: Writer::new(),
            notes: Vec::new(),
        };
        let resolved = folder.path.canonicalize();
        let name = resolved.as_deref().unwrap_or(&folder.path).file_name();
        let name = name.map_or_else(|| "model".into(), |name| name.to_string_lossy());
        keys.writer
            .set("general.architecture", family.name)
            .set("general.type", "model")
            .set("general.name", name.as_ref());
        keys.sampling()?;
        (family.keys)(&mut keys)?;
        let tensors = tensors_of(folder, family, &keys)?;
        let embedding = tensors.iter().find(|t| t.info.name == "token_embd.weight");
        let rows = embedding.and_then(|t| t.info.rows()).unwrap_or(0);
        let Keys {
            mut writer,
            mut notes,
            ..
        } = keys;
        writer.set(format!("{}.vocab_size", family.name), rows as u32);
        tokenizer::write(folder, rows, &mut writer, &mut notes)?;
        Ok(Self {
            source,
            writer,
            tensors,
            notes,
        })
    }

    /// llama.cpp's order, on which its choice of types depends: what belongs to no
    /// layer, then layer after layer, each by name.
    fn sort(&mut self) {
        let place = |t: &PlannedTensor| mixture::layer(&t.info.name).map_or(0, |l| l + 1);
        self.tensors
            .sort_by(|a, b| (place(a), &a.info.name).cmp(&(place(b), &b.info.name)));
    }

    fn choose(&mut self, choice: Choice, requantize: bool) -> Result<(), ConvertError> {
        let described = Gguf::from_bytes(self.source.path(), self.writer.to_bytes()?)?;
        let infos: Vec<TensorInfo> = self.tensors.iter().map(|t| t.info.clone()).collect();
        let facts = Facts::read(described.architecture()?, described.metadata(), &infos)?;
        let mut chooser = Chooser::new(choice, facts);
        let is_folder = matches!(self.source, ModelFile::Hf(_));
        for tensor in &mut self.tensors {
            let chosen = chooser.choose(&tensor.info);
            // Folders store small tensors in half precision; GGUF never does.
            let stays = if is_folder { Dtype::F32 } else { tensor.from };
            tensor.info.dtype = chosen.unwrap_or(stays);
            if tensor.info.dtype == tensor.from {
                continue;
            }
            let is_quantised = tensor.from.block_len() > 1;
            if is_quantised && !requantize {
                return Err(ConvertError::Requantise {
                    name: tensor.info.name.clone(),
                    found: tensor.from,
                });
            }
            if !dequant::is_supported(tensor.from) || !quantize::is_supported(tensor.info.dtype) {
                return Err(ConvertError::Tensor {
                    name: tensor.info.name.clone(),
                    expected: format!("a type that can become {}", tensor.info.dtype),
                    found: tensor.from.to_string(),
                });
            }
        }
        Ok(())
    }
}

/// By GGUF name: what happens to a tensor, and its parts by expert.
type Found<'a> = BTreeMap<String, (Change, BTreeMap<usize, &'a TensorInfo>)>;

/// The tensors of a folder under their new names, all checked.
fn tensors_of(
    folder: &HfDir,
    family: &'static Family,
    keys: &Keys<'_>,
) -> Result<Vec<PlannedTensor>, ConvertError> {
    let head_dim = keys.head_dim()? as usize;
    let tied = keys
        .config
        .optional("tie_word_embeddings")?
        .unwrap_or(false);
    let mut found = Found::new();
    for info in folder.infos() {
        let Some((named, rule)) = family.rule(&info.name) else {
            return Err(ConvertError::UnknownTensor {
                name: info.name.clone(),
                family: family.name,
            });
        };
        // A copy of the embedding that some files keep.
        if rule.change == Change::Drop || (tied && rule.gguf == "output") {
            continue;
        }
        let name = rule.gguf_name(named.layer, named.ending);
        let entry = found.entry(name).or_insert((rule.change, BTreeMap::new()));
        entry.1.insert(named.expert, info);
    }
    check_complete(keys, &found, tied)?;
    let planned = found
        .into_iter()
        .map(|(name, (change, parts))| planned(name, change, &parts, head_dim));
    planned.collect()
}

/// What every layer, and every expert, must have.
fn check_complete(keys: &Keys<'_>, found: &Found<'_>, tied: bool) -> Result<(), ConvertError> {
    let (folder, family, config) = (keys.folder, keys.family, &keys.config);
    let layers = keys.layers()? as usize;
    let experts = match keys.experts_name() {
        Some(name) => config.required(name)?,
        None => 0,
    };
    for rule in family.rules() {
        let output = rule.gguf == "output" && !tied;
        if !rule.needed && !output {
            continue;
        }
        let layers = if rule.hf.contains("{l}") { layers } else { 1 };
        let experts = if rule.hf.contains("{e}") { experts } else { 1 };
        for layer in 0..layers {
            let parts = found.get(&rule.gguf_name(layer, ".weight"));
            for expert in 0..experts {
                if parts.is_none_or(|(_, parts)| !parts.contains_key(&expert)) {
                    return Err(ConvertError::MissingTensor {
                        path: folder.path.clone(),
                        name: rule.hf_name(layer, expert),
                    });
                }
            }
        }
    }
    Ok(())
}

fn planned(
    name: String,
    change: Change,
    parts: &BTreeMap<usize, &TensorInfo>,
    head_dim: usize,
) -> Result<PlannedTensor, ConvertError> {
    let (_, first) = parts.first_key_value().expect("made with its first part");
    for info in parts.values() {
        let wrong = |expected: String, found: String| ConvertError::Tensor {
            name: info.name.clone(),
            expected,
            found,
        };
        if !matches!(info.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            let expected = "F32, F16 or BF16".to_owned();
            return Err(wrong(expected, info.dtype.to_string()));
        }
        if info.shape != first.shape || info.dtype != first.dtype {
            let like = |info: &TensorInfo| format!("{} {:?}", info.dtype, info.shape);
            return Err(wrong(like(first), like(info)));
        }
        let rows = info.shape.first().copied().unwrap_or(0);
        let is_even = head_dim > 0 && head_dim.is_multiple_of(2);
        if change == Change::Interleave && !(is_even && rows.is_multiple_of(head_dim)) {
            let expected = format!("rows of heads of {head_dim}, an even number");
            return Err(wrong(expected, format!("{:?}", info.shape)));
        }
    }
    let mut shape = first.shape.clone();
    if change == Change::Transpose {
        shape.reverse();
    }
    // More than one part, or the only one of a file with one expert: both are stacks.
    if name.contains("_exps.") {
        shape.insert(0, parts.len());
    }
    Ok(PlannedTensor {
        info: TensorInfo {
            name,
            dtype: first.dtype,
            shape,
        },
        from: first.dtype,
        parts: parts.values().map(|info| info.name.clone()).collect(),
        change,
        head_dim,
    })
}
