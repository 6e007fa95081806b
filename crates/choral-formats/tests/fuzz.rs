//! Foreign bytes never panic a reader.
//!
//! Each target runs a bounded number of inputs under `cargo test`, and without
//! bound, guided by coverage, under `cargo bolero test` (see bolero's book).
//! Inputs are raw bytes, or a few bytes written over a good file: random bytes
//! alone would not get past the first checks.

use std::path::Path;

use bolero::{ValueGenerator, check, produce};
use choral_formats::{
    Dtype, FromJson, Gguf, HfDir, JsonObject, Safetensors, TensorSource, dequantize,
};

const ITERATIONS: usize = 3000;

/// A good GGUF file, written by gguf-py.
const TINY: &[u8] = include_bytes!("../../../golden/tiny.gguf");

/// Bytes to write over a good file, and where to cut it.
fn edits() -> impl ValueGenerator<Output = (Vec<(u16, u8)>, u16)> {
    (
        produce::<Vec<(u16, u8)>>().with().len(1usize..8),
        produce::<u16>(),
    )
}

fn edited(good: &[u8], (edits, cut): &(Vec<(u16, u8)>, u16)) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for &(at, byte) in edits {
        let at = usize::from(at) % bytes.len();
        bytes[at] = byte;
    }
    // Most inputs stay whole: a cut file fails early.
    if cut % 4 == 0 {
        bytes.truncate(usize::from(*cut) % (good.len() + 1));
    }
    bytes
}

/// Uses everything that opening has let through.
fn read_everything(tensors: &dyn TensorSource) {
    for info in tensors.infos() {
        let view = tensors.tensor(&info.name).expect("listed, so there");
        assert_eq!(info.byte_len(), Some(view.bytes.len()));
        let Some(last) = view.rows().checked_sub(1) else {
            continue;
        };
        let mut row = vec![0.0; view.row_len()];
        for i in [0, last / 2, last] {
            if !row.is_empty() {
                // An unsupported type is fine; a panic is not.
                let _ = view.dequantize_row(i, &mut row);
            }
        }
    }
}

fn gguf(bytes: Vec<u8>) {
    let Ok(file) = Gguf::from_bytes("fuzz.gguf", bytes) else {
        return;
    };
    let metadata = file.metadata();
    for (key, value) in metadata.iter() {
        let _ = (
            metadata.u32(key),
            metadata.i64(key),
            metadata.f32(key),
            metadata.str(key),
        );
        let _ = (
            metadata.strs(key),
            metadata.i32s(key),
            metadata.f32s(key),
            metadata.bools(key),
        );
        assert!(value.describe().len() < 1000);
    }
    read_everything(&file);
}

#[test]
fn gguf_of_random_bytes() {
    check!()
        .with_iterations(ITERATIONS)
        .for_each(|bytes: &[u8]| {
            gguf(bytes.to_vec());
            gguf([b"GGUF\x03\0\0\0", bytes].concat());
        });
}

#[test]
fn gguf_with_a_few_wrong_bytes() {
    check!()
        .with_iterations(ITERATIONS)
        .with_generator(edits())
        .for_each(|edits| {
            gguf(edited(TINY, edits));
        });
}

fn good_safetensors() -> Vec<u8> {
    let header = r#"{"__metadata__":{"format":"pt"},
        "a":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]},
        "b":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[12,16]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend([0x3c; 16]);
    bytes
}

fn safetensors(bytes: Vec<u8>) {
    if let Ok(file) = Safetensors::from_bytes("fuzz.safetensors", bytes) {
        read_everything(&file);
    }
}

#[test]
fn safetensors_of_random_bytes() {
    check!()
        .with_iterations(ITERATIONS)
        .for_each(|bytes: &[u8]| {
            safetensors(bytes.to_vec());
            // As a header of the right length.
            safetensors([&(bytes.len() as u64).to_le_bytes(), bytes].concat());
        });
}

#[test]
fn safetensors_with_a_few_wrong_bytes() {
    let good = good_safetensors();
    assert!(Safetensors::from_bytes("good", good.clone()).is_ok());
    check!()
        .with_iterations(ITERATIONS)
        .with_generator(edits())
        .for_each(|edits| {
            safetensors(edited(&good, edits));
        });
}

const INDEX: &str = r#"{"metadata":{"total_size":16},
    "weight_map":{"a":"x.safetensors","b":"x.safetensors"}}"#;
const CONFIG: &str = r#"{"model_type":"llama","hidden_size":64,"rope_scaling":{"factor":8.0},
    "eos_token_id":[1,2],"head_dim":null,"tie_word_embeddings":true,"layers":[{"kind":"full"}]}"#;

fn config(json: &[u8]) {
    fn ask<'a, T: FromJson<'a>>(config: &'a JsonObject, key: &str) {
        let _ = (config.optional::<T>(key), config.required::<T>(key));
    }
    let Ok(config) = JsonObject::from_slice(Path::new("config.json"), json) else {
        return;
    };
    let keys: Vec<String> = config.iter().map(|(key, _)| key.to_owned()).collect();
    for key in keys {
        ask::<u32>(&config, &key);
        ask::<i64>(&config, &key);
        ask::<f32>(&config, &key);
        ask::<bool>(&config, &key);
        ask::<&str>(&config, &key);
        ask::<Vec<usize>>(&config, &key);
        let _ = config.one_or_more_u32(&key);
        if let Ok(Some(objects)) = config.objects(&key) {
            assert!(!objects.is_empty() || config.has(&key));
        }
        if let Ok(Some(object)) = config.object(&key) {
            let _ = object.f64("factor");
        }
    }
}

#[test]
fn configuration_of_random_bytes() {
    check!().with_iterations(ITERATIONS).for_each(config);
}

#[test]
fn configuration_with_a_few_wrong_bytes() {
    check!()
        .with_iterations(ITERATIONS)
        .with_generator(edits())
        .for_each(|edits| {
            config(&edited(CONFIG.as_bytes(), edits));
        });
}

#[test]
fn directories_with_a_few_wrong_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    put("x.safetensors", &good_safetensors());
    put("config.json", CONFIG.as_bytes());
    put("model.safetensors.index.json", INDEX.as_bytes());
    read_everything(&HfDir::open(folder.path()).unwrap());
    // Files are written for each input: fewer of them.
    check!()
        .with_iterations(ITERATIONS / 10)
        .with_generator(edits())
        .for_each(|edits| {
            put(
                "model.safetensors.index.json",
                &edited(INDEX.as_bytes(), edits),
            );
            if let Ok(directory) = HfDir::open(folder.path()) {
                read_everything(&directory);
            }
        });
}

#[test]
fn blocks_of_random_bytes() {
    let blocks = (
        0..Dtype::ALL.len(),
        0usize..4,
        produce::<Vec<u8>>(),
        produce::<bool>(),
    );
    check!()
        .with_iterations(ITERATIONS)
        .with_generator(blocks)
        .for_each(|(dtype, blocks, bytes, whole)| {
            let dtype = Dtype::ALL[*dtype];
            let mut bytes = bytes.clone();
            if *whole {
                bytes.resize(blocks * dtype.block_bytes(), 0xa5);
            }
            let mut out = vec![0.0; blocks * dtype.block_len()];
            let fits = bytes.len() == blocks * dtype.block_bytes();
            assert!(dequantize(dtype, &bytes, &mut out).is_err() || fits);
        });
}
