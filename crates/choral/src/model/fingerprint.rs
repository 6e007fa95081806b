//! Tells one model from another without reading all of it.

use choral_formats::{FormatError, ModelFile};
use sha2::{Digest, Sha256};
use std::fmt::{self, Write as _};
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

/// Bytes that are read of a tensor, at three places.
const SAMPLE_BYTES: usize = 4096;

/// Files beside the weights that have a say in what a model answers.
const FILES: [&str; 9] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "preprocessor_config.json",
    "processor_config.json",
];

/// 128 bits of SHA-256, as hexadecimal digits: over all settings and the tokenizer, and
/// of each tensor over its name, type, shape, and bytes from its beginning, middle and
/// end. Where the model lies does not count.
///
/// # Errors
/// A file of the model cannot be read.
pub fn fingerprint(model: &ModelFile) -> Result<String, FormatError> {
    let mut hash = Writer(Sha256::new());
    match model {
        ModelFile::Gguf(gguf) => {
            for (key, value) in gguf.metadata().iter() {
                hash.put(format_args!("{key}={value:?}\n"));
            }
        }
        ModelFile::Hf(folder) => {
            for path in FILES.iter().filter_map(|name| folder.file(name)) {
                let bytes = fs::read(&path).map_err(|source| FormatError::Io {
                    path: path.clone(),
                    source,
                })?;
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                hash.put(format_args!("{name}: {} bytes\n", bytes.len()));
                hash.0.update(bytes);
            }
        }
    }
    let tensors = model.tensors();
    for info in tensors.infos() {
        hash.put(format_args!("{info:?}\n"));
        let bytes = tensors
            .tensor(&info.name)
            .map_or(&[][..], |view| view.bytes);
        let sample = SAMPLE_BYTES.min(bytes.len());
        let last = bytes.len() - sample;
        for from in [0, last / 2, last] {
            hash.0.update(&bytes[from..from + sample]);
        }
    }
    Ok(hash.digits())
}

/// The same over an adapter's files: all bytes of `path`, or of the files in that
/// folder, in the order of their names.
///
/// # Errors
/// A file cannot be read.
pub fn adapter_fingerprint(path: &Path) -> io::Result<String> {
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        let entries = fs::read_dir(path)?.map(|entry| Ok(entry?.path()));
        files = entries.collect::<io::Result<Vec<_>>>()?;
        files.retain(|path| path.is_file());
        files.sort();
    }
    let mut hash = Writer(Sha256::new());
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut file = fs::File::open(&path)?;
        let length = file.metadata()?.len();
        hash.put(format_args!("{name}: {length} bytes\n"));
        let mut bytes = vec![0; 1 << 16];
        loop {
            match file.read(&mut bytes)? {
                0 => break,
                count => hash.0.update(&bytes[..count]),
            }
        }
    }
    Ok(hash.digits())
}

/// Hashes what is written.
struct Writer(Sha256);

impl Writer {
    fn put(&mut self, text: fmt::Arguments<'_>) {
        self.write_fmt(text).expect("hashing does not fail");
    }
}

impl Writer {
    fn digits(self) -> String {
        let digest = self.0.finalize();
        let first = digest.first_chunk().expect("SHA-256 has 32 bytes");
        format!("{:032x}", u128::from_be_bytes(*first))
    }
}

impl fmt::Write for Writer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::fingerprint;
    use choral_formats::gguf::{Gguf, Writer};
    use choral_formats::{Dtype, ModelFile, TensorInfo};

    fn model(layers: u32, last: u8, path: &str) -> ModelFile {
        let info = TensorInfo {
            name: "output".into(),
            dtype: Dtype::F32,
            shape: vec![64, 1024],
        };
        let mut bytes = vec![0; 64 * 4096];
        *bytes.last_mut().expect("not empty") = last;
        let mut writer = Writer::new();
        writer.set("general.architecture", "llama");
        writer.set("llama.block_count", layers);
        writer.tensor(info, bytes).expect("fits");
        let bytes = writer.to_bytes().expect("a file");
        ModelFile::Gguf(Gguf::from_bytes(path, bytes).expect("a model"))
    }

    #[test]
    fn a_setting_or_a_weight_makes_another_model_and_a_path_does_not() {
        let print = |model: &ModelFile| fingerprint(model).expect("in memory");
        let base = print(&model(2, 0, "a"));
        assert_eq!(base.len(), 32);
        assert_eq!(base, print(&model(2, 0, "b")));
        assert_ne!(base, print(&model(3, 0, "a")));
        assert_ne!(base, print(&model(2, 1, "a")));
    }
}
