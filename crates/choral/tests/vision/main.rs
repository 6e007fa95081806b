//! Models that see, against transformers and against themselves. Here is what the tests
//! share: the golden model, its values and its pictures.

mod golden;
mod invariance;
mod shipped;

use base64::Engine as _;
use choral::vision::image::{ImageProcessor, ImageSize};
use choral::vision::{ImageEmbedding, ImageGeometry, Patches};
use choral::{Engine, EngineBuilder};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/models/glm4v")
}

fn values() -> Value {
    let text = std::fs::read_to_string(folder().join("golden.json")).expect("golden values");
    serde_json::from_str(&text).expect("JSON")
}

/// The model as transformers has it, and as llama.cpp has it: in two files.
fn sources() -> [(&'static str, EngineBuilder); 2] {
    let gguf = folder().join("gguf");
    let text = gguf.join("glm4v-BF16.gguf");
    let mmproj = gguf.join("mmproj-glm4v-F32.gguf");
    [
        ("safetensors", Engine::builder().model(folder().join("hf"))),
        ("GGUF", Engine::builder().model(text).mmproj(mmproj)),
    ]
}

fn floats(value: &Value) -> Vec<f32> {
    let bytes = base64::prelude::BASE64_STANDARD.decode(value.as_str().expect("base64"));
    let bytes = bytes.expect("base64");
    let words = bytes.as_chunks().0.iter();
    words.map(|&word| f32::from_le_bytes(word)).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    let numbers = value.as_array().expect("numbers").iter();
    numbers.filter_map(Value::as_f64).collect()
}

fn ids(value: &Value) -> Vec<u32> {
    let ids = value.as_array().expect("ids").iter();
    ids.map(|id| id.as_u64().expect("an id") as u32).collect()
}

/// The embedding that transformers makes of a picture.
fn reference(image: &Value) -> ImageEmbedding {
    let grid = ids(&image["grid_thw"]);
    let (rows, columns) = (grid[1] as usize / 2, grid[2] as usize / 2);
    let values = floats(&image["image_embeds"]["f32_b64"]);
    let hidden = values.len() / (rows * columns);
    ImageEmbedding::new(rows, columns, hidden, values).expect("as many as tokens")
}

/// The patches of a golden picture.
fn patches(image: &Value, geometry: &ImageGeometry) -> Patches {
    let processor = ImageProcessor::new(geometry.clone(), ImageSize::Dynamic);
    let path = folder().join(image["file"].as_str().expect("a file"));
    processor.expect("sizes").read(&path).expect("a picture")
}
