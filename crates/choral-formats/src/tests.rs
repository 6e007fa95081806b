//! Which kind of model a path is.

use std::path::Path;

use super::{Gguf, HfDir, ModelFile, Safetensors};
use crate::gguf::Writer;

const CONFIG: &[u8] = br#"{"model_type": "llama"}"#;

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn gguf() -> Vec<u8> {
    Writer::new()
        .set("general.architecture", "llama")
        .to_bytes()
        .unwrap()
}

/// A safetensors file without tensors.
fn no_tensors() -> Vec<u8> {
    [&2u64.to_le_bytes()[..], b"{}"].concat()
}

/// The message of the error, after the path.
fn open_error(path: &Path) -> String {
    let error = ModelFile::open(path).unwrap_err().to_string();
    error
        .strip_prefix(&format!("{}", path.display()))
        .unwrap_or(&error)
        .to_owned()
}

#[test]
fn content_decides_not_the_name() {
    let folder = folder(&[("model.bin", &gguf()), ("model.gguf", b"something else")]);
    let model = ModelFile::open(folder.path().join("model.bin")).unwrap();
    assert!(matches!(model, ModelFile::Gguf(_)));
    assert_eq!(
        open_error(&folder.path().join("model.gguf")),
        ": expected a GGUF file or a directory with config.json, found a file of another kind"
    );
}

#[test]
fn a_directory_with_a_configuration_is_a_model() {
    let folder = folder(&[
        ("config.json", CONFIG),
        ("model.safetensors", &no_tensors()),
    ]);
    let ModelFile::Hf(model) = ModelFile::open(folder.path()).unwrap() else {
        panic!("not GGUF")
    };
    assert_eq!(model.config.str("model_type").unwrap(), Some("llama"));
    assert!(model.generation_config.is_none() && model.tokenizer_config.is_none());
    assert_eq!(
        model.file("config.json"),
        Some(folder.path().join("config.json"))
    );
    assert_eq!(model.file("tokenizer.json"), None);
}

#[test]
fn hints_lead_to_the_model() {
    let with_gguf = folder(&[("b.gguf", &gguf()), ("a.gguf", &gguf())]);
    assert!(open_error(with_gguf.path()).ends_with("with 2 GGUF files: name one, such as a.gguf"));
    let hf = folder(&[
        ("config.json", CONFIG),
        ("model.safetensors", &no_tensors()),
    ]);
    let error = open_error(&hf.path().join("model.safetensors"));
    assert!(
        error.ends_with("the directory that it is in is a model: name that"),
        "{error}"
    );
    let empty = folder(&[("x.gguf", b"")]);
    assert!(open_error(&empty.path().join("x.gguf")).ends_with("found an empty file"));
    assert!(open_error(&empty.path().join("nowhere")).contains("No such file"));
}

#[test]
fn a_broken_optional_file_is_an_error_not_a_default() {
    let weights = no_tensors();
    for name in ["generation_config.json", "tokenizer_config.json"] {
        let folder = folder(&[
            ("config.json", CONFIG),
            ("model.safetensors", &weights),
            (name, b"{"),
        ]);
        let error = HfDir::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn missing_files_are_named() {
    let no_weights = folder(&[("config.json", CONFIG)]);
    assert!(open_error(no_weights.path()).starts_with("/model.safetensors: file not found"));
    let nothing = folder(&[]);
    let error = HfDir::open(nothing.path()).unwrap_err().to_string();
    assert!(error.contains("config.json: file not found"), "{error}");
}

#[test]
fn an_empty_file_is_refused_and_not_mapped_to_a_fault() {
    let folder = folder(&[("x.gguf", b""), ("model.safetensors", b"")]);
    let error = Gguf::open(folder.path().join("x.gguf"))
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("file ends inside magic number: expected 4 bytes, found 0"));
    let error = Safetensors::open_dir(folder.path())
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("file ends inside header length: expected 8 bytes, found 0"));
}

#[cfg(unix)]
#[test]
fn devices_are_refused_without_being_read() {
    assert_eq!(
        open_error(Path::new("/dev/zero")),
        ": file type: expected a regular file, found a device, pipe or socket"
    );
}
