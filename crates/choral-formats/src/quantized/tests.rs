use std::path::{Path, PathBuf};

use half::f16;

use super::Quantization;
use crate::{Dtype, FormatError, HfDir, Safetensors, TensorSource, dequantize};

/// What tools of those formats write: see `golden/quantized/make.py`.
fn fixture(name: &str) -> PathBuf {
    let all = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/quantized");
    Path::new(all).join(name)
}

/// Every matrix of a fixture has its values, as floats and as blocks of `packed`.
fn check(name: &str, method: &str, packed: Dtype) {
    let directory = HfDir::open(fixture(name)).unwrap();
    let expected = Safetensors::open_file(fixture(name).join("expected.safetensors")).unwrap();
    let quantization = Quantization::of(&directory).unwrap().unwrap();
    assert_eq!(quantization.name(), method);
    assert!(!expected.infos().is_empty());
    for info in expected.infos() {
        let [n, k] = info.shape[..] else {
            panic!("{name}: a matrix")
        };
        let matrix = quantization
            .open(&directory, &info.name, [n, k])
            .unwrap()
            .unwrap();
        assert_eq!((matrix.shape(), matrix.method()), ([n, k], method));
        assert_eq!(matrix.packed(), packed, "{name}");
        let expected = expected.required(&info.name).unwrap();
        for r in 0..n {
            let mut rows = [vec![0.0; k], vec![0.0; k], vec![0.0; k]];
            let [want, found, unpacked] = &mut rows;
            expected.dequantize_row(r, want).unwrap();
            matrix.row(r, found);
            assert_eq!(found, want, "{name} {}: row {r}", info.name);
            let mut bytes = Vec::new();
            matrix.push_row(r, &mut bytes);
            dequantize(packed, &bytes, unpacked).unwrap();
            if packed == Dtype::Q4_1 {
                // Scales are 0.02 at most; minima are rounded to f16.
                let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 0.02 / 64.0;
                assert!(unpacked.iter().zip(&*want).all(close), "{name}: row {r}");
            } else {
                assert_eq!(unpacked, want, "{name}: packed row {r}");
            }
        }
    }
}

#[test]
fn floats_of_eight_bits_are_multiplied_with_the_scale_of_their_block_row_or_tensor() {
    check("fp8_block", "FP8", Dtype::F32);
    check("fp8", "FP8", Dtype::F32);
    check("fp8_compressed", "FP8", Dtype::F32);
}

#[test]
fn gptq_rows_are_those_that_were_packed() {
    check("gptq_4", "GPTQ", Dtype::Q4_0);
    check("gptq_4_act", "GPTQ", Dtype::F32);
    check("gptq_4_v2", "GPTQ", Dtype::Q4_1);
    check("gptq_8", "GPTQ", Dtype::Q8_0);
    check("gptq_3", "GPTQ", Dtype::Q4_0);
    check("gptq_3_model", "GPTQ", Dtype::Q4_0);
    check("gptq_2", "GPTQ", Dtype::Q4_0);
}

#[test]
fn awq_rows_are_those_that_were_packed() {
    check("awq", "AWQ", Dtype::Q4_1);
}

#[test]
fn modules_that_were_left_out_are_plain_tensors() {
    let directory = HfDir::open(fixture("fp8_block")).unwrap();
    let quantization = Quantization::of(&directory).unwrap().unwrap();
    for name in ["plain", "absent"] {
        let plain = quantization.open(&directory, name, [4, 8]).unwrap();
        assert!(plain.is_none(), "{name}");
    }
}

#[test]
fn a_matrix_says_which_tensors_it_has() {
    let directory = HfDir::open(fixture("fp8")).unwrap();
    let quantization = Quantization::of(&directory).unwrap().unwrap();
    let matrix = quantization.open(&directory, "one", [16, 40]).unwrap();
    assert_eq!(
        matrix.unwrap().parts(),
        ["one.weight", "one.weight_scale", "one.input_scale"]
    );
}

/// A model of tensors given by name, type, shape and bytes.
fn file(tensors: &[(&str, &str, &[usize], Vec<u8>)]) -> Safetensors {
    let (mut entries, mut data) = (Vec::new(), Vec::<u8>::new());
    for (name, dtype, shape, bytes) in tensors {
        let (start, end) = (data.len(), data.len() + bytes.len());
        entries.push(format!(
            r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{end}]}}"#
        ));
        data.extend(bytes);
    }
    let header = format!("{{{}}}", entries.join(","));
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    Safetensors::from_bytes("m.safetensors", bytes).unwrap()
}

/// A directory with that configuration and one tensor.
fn directory(config: &str, tensor: (&str, &str, &[usize], Vec<u8>)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (name, dtype, shape, bytes) = tensor;
    let end = bytes.len();
    let header =
        format!(r#"{{"{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[0,{end}]}}}}"#);
    let mut all = (header.len() as u64).to_le_bytes().to_vec();
    all.extend(header.as_bytes());
    all.extend(bytes);
    std::fs::write(folder.path().join("model.safetensors"), all).unwrap();
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    folder
}

/// What a configuration means.
fn of(quantization: &str) -> Result<Option<Quantization>, FormatError> {
    let config = format!(r#"{{"quantization_config":{quantization}}}"#);
    let folder = directory(&config, ("x", "U8", &[1], vec![0]));
    Quantization::of(&HfDir::open(folder.path()).unwrap())
}

fn method(quantization: &str) -> Quantization {
    of(quantization).unwrap().unwrap()
}

const GPTQ: &str = r#"{"quant_method":"gptq","bits":4,"group_size":32}"#;

fn refused(result: Result<impl Sized, FormatError>, end: &str) {
    let message = result.err().expect("an error").to_string();
    assert!(message.ends_with(end), "{message}\n{end}");
}

#[test]
fn settings_that_cannot_be_read_are_refused_by_name() {
    for (config, message) in [
        (
            r#"{"quant_method":"bitsandbytes"}"#,
            "field `quantization_config.quant_method`: expected fp8, fbgemm_fp8, \
             compressed-tensors, gptq, awq or mxfp4, found bitsandbytes",
        ),
        (
            r#"{"bits":4}"#,
            "field `quantization_config.quant_method` is missing",
        ),
        (
            r#"{"quant_method":"fp8","weight_block_size":[128,0]}"#,
            "field `quantization_config.weight_block_size`: \
             expected two positive integers, found [128, 0]",
        ),
        (
            r#"{"quant_method":"compressed-tensors","format":"pack-quantized"}"#,
            "field `quantization_config.format`: expected float-quantized, found pack-quantized",
        ),
        (
            r#"{"quant_method":"compressed-tensors","format":"float-quantized",
                "transform_config":{"config_groups":{"R1":{"type":"hadamard"}}}}"#,
            "field `quantization_config.transform_config`: expected none, found rotations",
        ),
        (
            r#"{"quant_method":"gptq","bits":5,"group_size":32}"#,
            "field `quantization_config.bits`: expected 2, 3, 4 or 8, found 5",
        ),
        (
            r#"{"quant_method":"gptq","bits":4,"group_size":0}"#,
            "field `quantization_config.group_size`: expected a positive integer, or -1, found 0",
        ),
        (
            r#"{"quant_method":"gptq","bits":4,"group_size":32,"checkpoint_format":"marlin"}"#,
            "field `quantization_config.checkpoint_format`: \
             expected gptq or gptq_v2, found marlin",
        ),
        (
            r#"{"quant_method":"awq","bits":4,"group_size":32,"version":"gemv"}"#,
            "field `quantization_config.version`: expected gemm, found gemv",
        ),
    ] {
        refused(of(config), message);
    }
}

#[test]
fn directories_without_a_method_have_none() {
    assert_eq!(of("null").unwrap(), None);
    assert_eq!(of(r#"{"quant_method":"mxfp4"}"#).unwrap(), None);
}

#[test]
fn files_of_tools_before_transformers_are_read() {
    let folder = directory("{}", ("x", "U8", &[1], vec![0]));
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let name = || {
        let directory = HfDir::open(folder.path()).unwrap();
        Quantization::of(&directory).unwrap().unwrap().name()
    };
    put(
        "quant_config.json",
        r#"{"zero_point":true,"q_group_size":128,"w_bit":4,"version":"GEMM"}"#,
    );
    assert_eq!(name(), "AWQ");
    put("quantize_config.json", r#"{"bits":4,"group_size":-1}"#);
    assert_eq!(name(), "GPTQ");
}

#[test]
fn tensors_that_do_not_fit_are_named_with_expected_and_found() {
    let words = |n: usize| vec![0; 4 * n];
    let good = [
        ("m.qweight", "I32", &[4, 8][..], words(32)),
        ("m.qzeros", "I32", &[1, 1], words(1)),
        ("m.scales", "F16", &[1, 8], vec![0; 16]),
        ("m.g_idx", "I32", &[32], words(32)),
    ];
    let quantization = method(GPTQ);
    let open = |tensors: &[_], shape| {
        let file = file(tensors);
        quantization.open(&file, "m", shape).map(|matrix| {
            assert!(matrix.is_some());
        })
    };
    open(&good, [8, 32]).unwrap();
    refused(
        open(&good, [16, 32]),
        "tensor `m.qweight`: expected I32 [4, 16], found I32 [4, 8]",
    );
    refused(
        open(&good, [8, 33]),
        "module `m`: k: expected a multiple of 8, found 33",
    );
    refused(
        open(&good[..2], [8, 32]),
        "m.safetensors: tensor `m.scales` is missing",
    );
    let mut bad = good.clone();
    bad[2] = ("m.scales", "I16", &[1, 8], vec![0; 16]);
    refused(
        open(&bad, [8, 32]),
        "tensor `m.scales`: expected F16 or BF16 or F32 [1, 8], found I16 [1, 8]",
    );
    let mut bad = good;
    bad[3].3[8] = 1;
    refused(
        open(&bad, [8, 32]),
        "tensor `m.g_idx`[2]: expected a group from 0 to 0, found 1",
    );
}

#[test]
fn scales_of_floats_must_fit_them() {
    let weight = ("m.weight", "F8_E4M3", &[4, 6][..], vec![0x38; 24]);
    let scale = |shape: &'static [usize]| {
        let len = 4 * shape.iter().product::<usize>();
        ("m.weight_scale_inv", "F32", shape, vec![0; len])
    };
    let open = |config: &str, tensors: &[_]| {
        let file = file(tensors);
        method(config).open(&file, "m", [4, 6]).map(|_| ())
    };
    let blocks = r#"{"quant_method":"fp8","weight_block_size":[2,4]}"#;
    let plain = r#"{"quant_method":"fp8"}"#;
    open(blocks, &[weight.clone(), scale(&[2, 2])]).unwrap();
    open(plain, &[weight.clone(), scale(&[])]).unwrap();
    refused(
        open(blocks, &[weight.clone(), scale(&[2, 3])]),
        "tensor `m.weight_scale_inv`: \
         expected [2, 2], one for each block of [2, 4], or one scale, found F32 [2, 3]",
    );
    refused(
        open(plain, &[weight.clone(), scale(&[2, 2])]),
        "expected one scale, or 4 (one for each row): \
         blocks of them need `weight_block_size`, found F32 [2, 2]",
    );
    refused(
        open(plain, &[weight]),
        "tensor `m.weight_scale` (or `m.weight_scale_inv`) is missing",
    );
}

#[test]
fn scaled_floats_need_no_announcement() {
    // A weight of ones (0x38), and a scale of two.
    let header = r#"{"m.weight":{"dtype":"F8_E4M3","shape":[1,2],"data_offsets":[0,2]},
        "m.weight_scale":{"dtype":"F16","shape":[],"data_offsets":[2,4]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend([0x38, 0x38]);
    bytes.extend(f16::from_f32(2.0).to_le_bytes());
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), "{}").unwrap();
    std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    let directory = HfDir::open(folder.path()).unwrap();
    let quantization = Quantization::of(&directory).unwrap().unwrap();
    let matrix = quantization.open(&directory, "m", [1, 2]).unwrap().unwrap();
    let mut row = [0.0; 2];
    matrix.row(0, &mut row);
    assert_eq!(row, [2.0, 2.0]);
}

#[test]
fn dynamic_settings_are_those_of_the_tensors() {
    let config = r#"{"quant_method":"gptq","bits":4,"group_size":32,"dynamic":{"-:x":{}}}"#;
    let mut words = vec![0; 4 * 8 * 4];
    words[0] = 130;
    let file = file(&[
        ("m.qweight", "I32", &[8, 4], words),
        ("m.qzeros", "I32", &[2, 1], vec![127; 8]),
        (
            "m.scales",
            "F16",
            &[2, 4],
            f16::from_f32(0.5).to_le_bytes().repeat(8),
        ),
    ]);
    let matrix = method(config).open(&file, "m", [4, 32]).unwrap().unwrap();
    assert_eq!(matrix.packed(), Dtype::F32);
    let mut row = [0.0; 32];
    matrix.row(0, &mut row);
    assert_eq!(row[..2], [1.0, -64.0]);
}

/// Any bytes in tensors of the right size, and any sizes, give values or errors.
#[test]
fn foreign_tensors_never_panic() {
    use bolero::{check, produce};
    let methods: Vec<Quantization> = [
        GPTQ,
        r#"{"quant_method":"gptq","bits":3,"group_size":-1}"#,
        r#"{"quant_method":"gptq","bits":8,"group_size":7,"dynamic":{"a":{}}}"#,
        r#"{"quant_method":"gptq","bits":2,"group_size":16,"checkpoint_format":"gptq_v2"}"#,
        r#"{"quant_method":"awq","bits":4,"group_size":16}"#,
        r#"{"quant_method":"fp8","weight_block_size":[3,5]}"#,
        r#"{"quant_method":"fp8"}"#,
    ]
    .map(method)
    .into();
    let shapes = produce::<[u8; 10]>();
    let inputs = (0..methods.len(), shapes, produce::<Vec<u8>>());
    check!()
        .with_iterations(3000)
        .with_generator(inputs)
        .for_each(|(which, shapes, bytes)| {
            // Small and round sizes, so that many fit together.
            const SIZES: [usize; 8] = [0, 1, 2, 4, 8, 16, 32, 64];
            let size = |i: usize| SIZES[usize::from(shapes[i]) % SIZES.len()];
            let fill = |len: usize| -> Vec<u8> {
                bytes
                    .iter()
                    .copied()
                    .chain([0xff])
                    .cycle()
                    .take(len)
                    .collect()
            };
            let tensor = |name, dtype, bytes: usize, shape: [usize; 2]| {
                (
                    name,
                    dtype,
                    shape.to_vec(),
                    fill(bytes * shape[0] * shape[1]),
                )
            };
            let made = [
                tensor("m.qweight", "I32", 4, [size(0), size(1)]),
                tensor("m.qzeros", "I32", 4, [size(2), size(3)]),
                tensor("m.scales", "F16", 2, [size(2), size(1)]),
                tensor("m.weight", "F8_E4M3", 1, [size(4), size(5)]),
                tensor("m.weight_scale", "F32", 4, [size(6), size(7)]),
            ];
            let mut tensors: Vec<(&str, &str, &[usize], Vec<u8>)> = made
                .iter()
                .map(|(name, dtype, shape, bytes)| (*name, *dtype, &shape[..], bytes.clone()))
                .collect();
            let index = [size(9)];
            if shapes[9] > 127 {
                tensors.push(("m.g_idx", "I32", &index, fill(4 * index[0])));
            }
            let file = file(&tensors);
            let shape = [size(1), size(8)];
            let Ok(Some(matrix)) = methods[*which].open(&file, "m", shape) else {
                return;
            };
            for r in 0..shape[0] {
                let mut row = vec![0.0; shape[1]];
                matrix.row(r, &mut row);
                let mut bytes = Vec::new();
                matrix.push_row(r, &mut bytes);
                dequantize(matrix.packed(), &bytes, &mut row).unwrap();
            }
        });
}
