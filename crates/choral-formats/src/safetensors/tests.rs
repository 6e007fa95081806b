use std::path::Path;

use safetensors::tensor::{TensorView as Reference, serialize};

use super::Safetensors;
use crate::{Dtype, TensorSource};

/// A file of this header and `data` zeros.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

/// What the reference implementation writes for tensors of one row of f32.
fn written(tensors: &[(&str, &[f32])]) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, x)| x.iter().flat_map(|x| x.to_le_bytes()).collect())
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, x), bytes)| {
        let view = Reference::new(safetensors::Dtype::F32, vec![1, x.len()], bytes).unwrap();
        (name.to_string(), view)
    });
    serialize(views, None).unwrap()
}

fn index(weight_map: &str) -> String {
    format!(r#"{{"metadata":{{"total_size":8}},"weight_map":{weight_map}}}"#)
}

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn row(file: &Safetensors, name: &str) -> Vec<f32> {
    let view = file.tensor(name).unwrap();
    let mut row = vec![0.0; view.row_len()];
    view.dequantize_row(0, &mut row).unwrap();
    row
}

/// The message of the error, after the name of the folder.
#[track_caller]
fn open_error(folder: &Path) -> String {
    let error = Safetensors::open_dir(folder).unwrap_err().to_string();
    error.replace(&format!("{}/", folder.display()), "")
}

#[test]
fn what_the_reference_implementation_writes_is_read() {
    let bytes = written(&[("a", &[1.0, 2.0]), ("b", &[-3.0])]);
    let file = Safetensors::from_bytes("x.safetensors", bytes).unwrap();
    assert_eq!(file.infos().len(), 2);
    let a = file.tensor("a").unwrap();
    assert_eq!(
        (a.info.dtype, a.info.shape.as_slice()),
        (Dtype::F32, &[1, 2][..])
    );
    assert_eq!(
        (row(&file, "a"), row(&file, "b")),
        (vec![1.0, 2.0], vec![-3.0])
    );
}

#[test]
fn tensors_come_in_the_order_of_the_data() {
    let header = r#"{"b":{"dtype":"U8","shape":[2],"data_offsets":[3,5]},
        "a":{"dtype":"BOOL","shape":[3],"data_offsets":[0,3]}}"#;
    let file = Safetensors::from_bytes("x", file(header, 5)).unwrap();
    let names: Vec<&str> = file.infos().iter().map(|info| info.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn scalars_and_empty_tensors_are_tensors() {
    let header = r#"{"scalar":{"dtype":"F32","shape":[],"data_offsets":[0,4]},
        "empty":{"dtype":"F32","shape":[0,7],"data_offsets":[4,4]}}"#;
    let file = Safetensors::from_bytes("x", file(header, 4)).unwrap();
    assert_eq!(row(&file, "scalar"), [0.0]);
    assert_eq!(file.tensor("empty").unwrap().rows(), 0);
}

#[test]
fn shards_are_found_through_the_index() {
    let (one, two) = (written(&[("a", &[1.0])]), written(&[("b", &[2.0])]));
    let map = index(r#"{"a":"1.safetensors","b":"2.safetensors"}"#);
    let folder = folder(&[
        ("1.safetensors", &one),
        ("2.safetensors", &two),
        ("model.safetensors.index.json", map.as_bytes()),
    ]);
    let file = Safetensors::open_dir(folder.path()).unwrap();
    assert_eq!((row(&file, "a"), row(&file, "b")), (vec![1.0], vec![2.0]));
    assert_eq!(file.path(), folder.path());
}

#[test]
fn without_an_index_there_must_be_exactly_one_file() {
    let bytes = written(&[("a", &[1.0])]);
    let one = folder(&[("weights.safetensors", &bytes)]);
    assert_eq!(row(&Safetensors::open_dir(one.path()).unwrap(), "a"), [1.0]);
    let none = folder(&[]);
    let error = open_error(none.path());
    assert!(
        error.starts_with("model.safetensors: file not found (no weights"),
        "{error}"
    );
    let two = folder(&[("a.safetensors", &bytes), ("b.safetensors", &bytes)]);
    assert_eq!(
        open_error(two.path()),
        "model.safetensors.index.json: file not found (2 .safetensors files but no index)"
    );
}

#[test]
fn an_index_cannot_lead_out_of_its_folder() {
    for path in [
        "../x",
        "/dev/zero",
        "a/b",
        "..",
        ".",
        "",
        "a\\\\b",
        "C:x",
        "./x",
    ] {
        let map = index(&format!(r#"{{"t":"{path}"}}"#));
        let folder = folder(&[("model.safetensors.index.json", map.as_bytes())]);
        let error = open_error(folder.path());
        let expected = "model.safetensors.index.json: field `weight_map.t`: \
            expected the name of a file beside the index, found";
        assert!(error.starts_with(expected), "{path}: {error}");
    }
}

#[test]
fn an_index_that_is_wrong_is_refused() {
    let check = |json: &str, expected: &str| {
        let one = written(&[("a", &[1.0])]);
        let folder = folder(&[
            ("1.safetensors", &one),
            ("model.safetensors.index.json", json.as_bytes()),
        ]);
        assert_eq!(open_error(folder.path()), expected);
    };
    let file = "model.safetensors.index.json";
    check("{}", &format!("{file}: field `weight_map` is missing"));
    check(
        &index("[1]"),
        &format!("{file}: field `weight_map`: expected an object, found array of 1"),
    );
    check(
        &index(r#"{"a":3}"#),
        &format!("{file}: field `weight_map.a`: expected a string, found number 3"),
    );
    check(
        &index(r#"{"a":"2.safetensors"}"#),
        &format!("2.safetensors: file not found (named in {file})"),
    );
    check(
        &index(r#"{"a":"1.safetensors","b":"1.safetensors"}"#),
        &format!("1.safetensors: tensor `b`, which {file} promises, is missing"),
    );
}

#[test]
fn a_tensor_in_two_shards_is_refused() {
    let (one, two) = (
        written(&[("a", &[1.0])]),
        written(&[("a", &[2.0]), ("b", &[2.0])]),
    );
    let map = index(r#"{"a":"1.safetensors","b":"2.safetensors"}"#);
    let folder = folder(&[
        ("1.safetensors", &one),
        ("2.safetensors", &two),
        ("model.safetensors.index.json", map.as_bytes()),
    ]);
    assert_eq!(
        open_error(folder.path()),
        "2.safetensors: tensor `a` occurs twice"
    );
}

mod malformed {
    use super::{Safetensors, file};

    #[track_caller]
    fn refused(bytes: Vec<u8>, expected: &str) {
        let error = Safetensors::from_bytes("f", bytes).unwrap_err().to_string();
        assert_eq!(error, format!("f: {expected}"));
    }

    fn tensor(dtype: &str, shape: &str, offsets: &str) -> String {
        format!(r#"{{"t":{{"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}}}}}"#)
    }

    #[test]
    fn headers() {
        refused(
            vec![0; 7],
            "file ends inside header length: expected 8 bytes, found 7",
        );
        let huge =
            |len: u64| format!("header length: expected at most 33554432 bytes, found {len}");
        for len in [1 << 63, u64::MAX, 100_000_000] {
            refused(len.to_le_bytes().to_vec(), &huge(len));
        }
        refused(
            [&50u64.to_le_bytes()[..], b"{}"].concat(),
            "file ends inside header: expected 50 bytes, found 2",
        );
        for json in ["[]", "1", "\"x\"", "{", "", "{}x", "null"] {
            let error = Safetensors::from_bytes("f", file(json, 0))
                .unwrap_err()
                .to_string();
            assert!(error.starts_with("f: invalid JSON: "), "{json}: {error}");
        }
        let deep = format!(r#"{{"t":{}}}"#, "[".repeat(100_000));
        assert!(Safetensors::from_bytes("f", file(&deep, 0)).is_err());
        let deep = format!(r#"{{"__metadata__":{}}}"#, "[".repeat(100_000));
        assert!(Safetensors::from_bytes("f", file(&deep, 0)).is_err());
    }

    #[test]
    fn entries() {
        for (dtype, shape, offsets) in [
            ("5", "[2]", "[0,8]"),
            ("\"F33\"", "[2]", "[0,8]"),
            ("\"F32\"", "[-2]", "[0,8]"),
            ("\"F32\"", "[2.0]", "[0,8]"),
            ("\"F32\"", "[2]", "[0,18446744073709551616]"),
            ("\"F32\"", "[2]", "[0]"),
        ] {
            let json = tensor(dtype, shape, offsets);
            let error = Safetensors::from_bytes("f", file(&json, 8))
                .unwrap_err()
                .to_string();
            assert!(
                error.starts_with("f: invalid JSON: tensor `t`: "),
                "{json}: {error}"
            );
        }
        let entry = r#"{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
        refused(
            file(&format!(r#"{{"t":{entry},"t":{entry}}}"#), 1),
            "invalid JSON: tensor `t` occurs twice at line 1 column 56",
        );
    }

    #[test]
    fn sizes_and_positions() {
        let check = |dtype: &str, shape: &str, offsets: &str, data, expected: &str| {
            let json = tensor(&format!("\"{dtype}\""), shape, offsets);
            refused(file(&json, data), expected);
        };
        check(
            "F32",
            "[2]",
            "[0,8]",
            7,
            "tensor `t`: data_offsets: expected start <= end <= 7, found [0, 8]",
        );
        check(
            "F32",
            "[2]",
            "[8,0]",
            8,
            "tensor `t`: data_offsets: expected start <= end <= 8, found [8, 0]",
        );
        check(
            "F32",
            "[3]",
            "[0,8]",
            8,
            "tensor `t`: data_offsets: expected 12 bytes for F32 [3], found 8 bytes",
        );
        check(
            "F16",
            "[1099511627776,1099511627776]",
            "[0,8]",
            8,
            "tensor `t`: shape: expected whole bytes, fewer than 2^64, \
             found F16 [1099511627776, 1099511627776]",
        );
        check(
            "F4",
            "[3]",
            "[0,2]",
            2,
            "tensor `t`: shape: expected whole bytes, fewer than 2^64, found F4 [3]",
        );
        check(
            "U8",
            "[2]",
            "[1,3]",
            3,
            "tensor `t`: data_offsets: \
             expected a start at 0, where the tensor before ends, found 1",
        );
        check(
            "U8",
            "[2]",
            "[0,2]",
            3,
            "data: expected 2 bytes, where the last tensor ends, found 3 bytes",
        );
    }
}
