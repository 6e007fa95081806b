//! What `quantization_config` says: the method, and its settings.

use crate::{Dtype, FormatError, HfDir, JsonObject, TensorSource};

/// A method that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Method {
    Fp8(Fp8),
    Gptq(Gptq),
    Awq(Awq),
}

/// 8-bit floats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fp8 {
    /// Rows and columns that share a scale, if blocks do.
    pub(super) block: Option<[usize; 2]>,
}

/// Integers packed along k.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gptq {
    pub(super) bits: usize,
    /// Weights of a row that share a scale; `None`: all.
    pub(super) group: Option<usize>,
    pub(super) version: Version,
    /// Some modules have other settings: their tensors say which.
    pub(super) is_dynamic: bool,
}

/// What is stored for a zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// The zero less one: the first version of the format.
    One,
    /// The first version as `GPTQModel` writes it, which is another for three bits.
    OneOfGptqModel,
    /// The zero.
    Two,
}

/// 4-bit integers packed along n.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Awq {
    /// Weights of a row that share a scale; `None`: all.
    pub(super) group: Option<usize>,
}

const METHODS: &str = "fp8, fbgemm_fp8, compressed-tensors, gptq, awq or mxfp4";

/// The method of a directory. `None` if its matrices are single tensors.
pub(super) fn read(directory: &HfDir) -> Result<Option<Method>, FormatError> {
    if let Some(config) = directory.config.object("quantization_config")? {
        let method: &str = config.required("quant_method")?;
        return method_of(&config, method);
    }
    // What tools wrote before transformers knew the methods.
    for (file, method) in [
        ("quantize_config.json", "gptq"),
        ("quant_config.json", "awq"),
    ] {
        if let Some(path) = directory.file(file) {
            return method_of(&JsonObject::open(path)?, method);
        }
    }
    // 8-bit floats beside scales mean the same without being announced.
    let is_scaled = |name: &str| {
        let has = |part: &str| directory.tensor(&format!("{name}_{part}")).is_some();
        has("scale") || has("scale_inv")
    };
    let announces_itself = directory.infos().iter().any(|info| {
        matches!(info.dtype, Dtype::F8_E4M3 | Dtype::F8_E5M2)
            && info.name.ends_with(".weight")
            && is_scaled(&info.name)
    });
    Ok(announces_itself.then_some(Method::Fp8(Fp8 { block: None })))
}

fn method_of(config: &JsonObject, method: &str) -> Result<Option<Method>, FormatError> {
    Ok(Some(match method {
        "fp8" | "fbgemm_fp8" => {
            let block = config.usizes("weight_block_size")?;
            let block = block.map(|b| block_of(config, "weight_block_size", &b));
            let block = block.transpose()?;
            Method::Fp8(Fp8 { block })
        }
        "compressed-tensors" => Method::Fp8(compressed(config)?),
        "gptq" => Method::Gptq(gptq(config)?),
        "awq" => Method::Awq(awq(config)?),
        "mxfp4" => return Ok(None),
        other => return Err(config.invalid("quant_method", METHODS, other)),
    }))
}

fn block_of(config: &JsonObject, key: &str, block: &[usize]) -> Result<[usize; 2], FormatError> {
    match *block {
        [rows, columns] if rows > 0 && columns > 0 => Ok([rows, columns]),
        _ => Err(config.invalid(key, "two positive integers", format!("{block:?}"))),
    }
}

/// Of the formats of compressed-tensors, the one that is 8-bit floats.
fn compressed(config: &JsonObject) -> Result<Fp8, FormatError> {
    let format: &str = config.required("format")?;
    if format != "float-quantized" {
        return Err(config.invalid("format", "float-quantized", format));
    }
    // Rotations that activations would have to go through.
    if config
        .object("transform_config")?
        .is_some_and(|t| t.iter().next().is_some())
    {
        return Err(config.invalid("transform_config", "none", "rotations"));
    }
    let mut block = None;
    if let Some(groups) = config.object("config_groups")? {
        let names: Vec<String> = groups.iter().map(|(name, _)| name.to_owned()).collect();
        for name in names {
            let group = groups.object(&name)?.ok_or_else(|| groups.missing(&name))?;
            let Some(weights) = group.object("weights")? else {
                continue;
            };
            if let Some(found) = weights.usizes("block_structure")? {
                let found = block_of(&weights, "block_structure", &found)?;
                if block.is_some_and(|block| block != found) {
                    let expected = "the same in every group";
                    let found = format!("{found:?}");
                    return Err(weights.invalid("block_structure", expected, found));
                }
                block = Some(found);
            }
        }
    }
    Ok(Fp8 { block })
}

fn gptq(config: &JsonObject) -> Result<Gptq, FormatError> {
    let bits: usize = config.required("bits")?;
    if !matches!(bits, 2 | 3 | 4 | 8) {
        return Err(config.invalid("bits", "2, 3, 4 or 8", bits));
    }
    let version = match config.str("checkpoint_format")?.unwrap_or("gptq") {
        "gptq" if is_of_gptq_model(config) => Version::OneOfGptqModel,
        "gptq" => Version::One,
        "gptq_v2" => Version::Two,
        other => return Err(config.invalid("checkpoint_format", "gptq or gptq_v2", other)),
    };
    if config.bool("is_marlin_format")? == Some(true) {
        return Err(config.invalid("is_marlin_format", "false", true));
    }
    if let Some(word) = config.str("pack_dtype")?
        && word != "int32"
    {
        return Err(config.invalid("pack_dtype", "int32", word));
    }
    Ok(Gptq {
        bits,
        group: group_size(config, "group_size")?,
        version,
        is_dynamic: config.has("dynamic"),
    })
}

/// Whether the file names `GPTQModel` as the tool that made it: `"gptqmodel:1.4.0"`, or a
/// list of such.
fn is_of_gptq_model(config: &JsonObject) -> bool {
    let made_by = config.get("meta").and_then(|meta| meta.get("quantizer"));
    made_by.is_some_and(|tools| tools.to_string().contains("gptqmodel"))
}

fn awq(config: &JsonObject) -> Result<Awq, FormatError> {
    let either = |a, b| if config.has(a) { a } else { b };
    let key = either("bits", "w_bit");
    let bits: usize = config.required(key)?;
    if bits != 4 {
        return Err(config.invalid(key, "4", bits));
    }
    let version = config.str("version")?.unwrap_or("gemm");
    if !version.eq_ignore_ascii_case("gemm") {
        return Err(config.invalid("version", "gemm", version));
    }
    if config.bool("zero_point")? == Some(false) {
        return Err(config.invalid("zero_point", "true", false));
    }
    let group = group_size(config, either("group_size", "q_group_size"))?;
    Ok(Awq { group })
}

/// Weights in a group; `None` stands for all of a row, written -1.
fn group_size(config: &JsonObject, key: &str) -> Result<Option<usize>, FormatError> {
    match config.required::<i64>(key)? {
        -1 => Ok(None),
        size if size > 0 => Ok(usize::try_from(size).ok()),
        other => Err(config.invalid(key, "a positive integer, or -1", other)),
    }
}
