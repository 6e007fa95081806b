//! Every model and every malformed file of the conformance set, when
//! `CHORAL_GOLDEN` names it; nothing otherwise.

use std::path::{Path, PathBuf};

use choral_formats::{FormatError, JsonObject, ModelFile, TensorView};

fn golden() -> Option<PathBuf> {
    std::env::var_os("CHORAL_GOLDEN").map(PathBuf::from)
}

/// Opens a model, asks what every loader asks first, and decodes everything.
fn read_everything(path: &Path) -> Result<usize, FormatError> {
    let file = ModelFile::open(path)?;
    if let ModelFile::Gguf(gguf) = &file {
        gguf.architecture()?;
    }
    let tensors = file.tensors();
    for info in tensors.infos() {
        let view: TensorView<'_> = tensors.tensor(&info.name).expect("listed, so there");
        let mut row = vec![0.0; view.row_len()];
        for i in 0..view.rows() {
            match view.dequantize_row(i, &mut row) {
                Ok(()) | Err(FormatError::Unsupported { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(tensors.infos().len())
}

fn entries(path: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(path)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect();
    found.sort();
    found
}

#[test]
fn every_golden_model_opens() {
    let Some(golden) = golden() else { return };
    let mut opened = 0;
    for model in entries(&golden.join("models")) {
        for gguf in entries(&model.join("gguf")) {
            if gguf
                .extension()
                .is_some_and(|extension| extension == "gguf")
            {
                assert!(read_everything(&gguf).unwrap() > 0, "{}", gguf.display());
                opened += 1;
            }
        }
        assert!(
            read_everything(&model.join("hf")).unwrap() > 0,
            "{}",
            model.display()
        );
        opened += 1;
    }
    assert!(opened > 50, "{opened}");
}

/// Two readers and two formats, one model: converters copy the embedding as it is.
#[test]
fn the_embedding_of_a_gguf_is_that_of_the_directory_it_was_made_from() {
    let Some(golden) = golden() else { return };
    let mut compared = 0;
    for model in entries(&golden.join("models")) {
        let hf = ModelFile::open(model.join("hf")).unwrap();
        let Some(theirs) = hf.tensors().tensor("model.embed_tokens.weight") else {
            continue;
        };
        for path in entries(&model.join("gguf")) {
            if !["-F32.gguf", "-F16.gguf", "-BF16.gguf"]
                .iter()
                .any(|end| ends_with(&path, end))
            {
                continue;
            }
            let gguf = ModelFile::open(&path).unwrap();
            let ours = gguf.tensors().required("token_embd.weight").unwrap();
            assert_eq!(ours.info.shape, theirs.info.shape, "{}", path.display());
            let mut rows = [vec![0.0; ours.row_len()], vec![0.0; ours.row_len()]];
            for i in 0..ours.rows() {
                ours.dequantize_row(i, &mut rows[0]).unwrap();
                theirs.dequantize_row(i, &mut rows[1]).unwrap();
                assert_eq!(rows[0], rows[1], "{}, row {i}", path.display());
            }
            compared += 1;
        }
    }
    assert!(compared > 10, "{compared}");
}

fn ends_with(path: &Path, end: &str) -> bool {
    path.to_str().is_some_and(|path| path.ends_with(end))
}

/// Beginnings of the names of cases that are wrong as models but not as files:
/// whoever builds the model must refuse those.
const BEYOND_FILES: &[&str] = &[
    "arch_unknown",
    "attention_head_count",
    "block_count",
    "embd_rows",
    "embedding_",
    "feed_forward",
    "head_count_array",
    "rope_dim",
    "shape_",
    "tensor_missing",
    "tok_",
    "ttype_norm_q8",
    "st_dtype_i64",
    "no_tokenizer",
    "tj_",
    "cfg_act",
    "cfg_hidden",
    "cfg_intermediate",
    "cfg_no_type",
    "cfg_num",
    "cfg_rope",
    "cfg_theta",
    "cfg_type",
    "cfg_untied",
    "cfg_vocab",
];

#[test]
fn malformed_files_are_refused_and_good_ones_are_not() {
    let Some(golden) = golden() else { return };
    let root = golden.join("malformed");
    let cases = JsonObject::open(root.join("cases.json")).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for case in cases.objects("cases").unwrap().unwrap() {
        let name: &str = case.required("name").unwrap();
        let source = root.join(case.required::<&str>("path").unwrap());
        let path = match case.required::<&str>("kind").unwrap() {
            "gguf" => source,
            "hf" => {
                let path = scratch.path().join(name);
                let removed = case.strs("remove").unwrap().unwrap_or_default();
                overlay(&root.join("hf/_base_ok"), &source, &removed, &path);
                path
            }
            _ => continue,
        };
        let outcome = read_everything(&path);
        if let Err(error) = &outcome {
            eprintln!("{name}: {error}");
        }
        let fits = match case.required::<&str>("expect").unwrap() {
            "error" => outcome.is_err() || BEYOND_FILES.iter().any(|start| name.starts_with(start)),
            "ok" | "numeric" => outcome.is_ok(),
            _ => true,
        };
        if !fits {
            wrong.push(name.to_owned());
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

fn overlay(base: &Path, case: &Path, removed: &[&str], into: &Path) {
    std::fs::create_dir(into).unwrap();
    for from in [base, case] {
        for file in entries(from) {
            let name = file.file_name().unwrap();
            if from == case || !removed.iter().any(|removed| name == *removed) {
                let bytes = std::fs::read(&file).unwrap();
                std::fs::write(into.join(name), bytes).unwrap();
            }
        }
    }
}
