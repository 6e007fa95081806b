use std::path::{Path, PathBuf};

use super::{Array, Gguf, Strings, Value, Writer};
use crate::{Dtype, TensorInfo, TensorSource};

/// A file written by gguf-py 0.19: a key of every type, and three tensors.
const TINY: &[u8] = include_bytes!("../../../../golden/tiny.gguf");

fn info(name: &str, dtype: Dtype, shape: &[usize]) -> TensorInfo {
    TensorInfo {
        name: name.to_owned(),
        dtype,
        shape: shape.to_vec(),
    }
}

fn row(file: &Gguf, name: &str, i: usize) -> Vec<f32> {
    let view = file.tensor(name).unwrap();
    let mut row = vec![0.0; view.row_len()];
    view.dequantize_row(i, &mut row).unwrap();
    row
}

mod malformed;
mod round_trip;
mod split;

mod reading {
    use super::*;

    #[test]
    fn every_value_type_reads_as_gguf_py_wrote_it() {
        let file = Gguf::from_bytes("tiny.gguf", TINY).unwrap();
        let expected: Vec<(&str, Value)> = vec![
            ("general.architecture", "llama".into()),
            ("t.u8", 200u8.into()),
            ("t.i8", (-100i8).into()),
            ("t.u16", 60_000u16.into()),
            ("t.i16", (-30_000i16).into()),
            ("t.u32", 4_000_000_000u32.into()),
            ("t.i32", (-2_000_000_000i32).into()),
            ("t.f32", 1.5f32.into()),
            ("t.bool", true.into()),
            ("t.string", "žlutý".into()),
            ("t.u64", (1u64 << 63).into()),
            ("t.i64", (-(1i64 << 62)).into()),
            ("t.f64", 0.1f64.into()),
            ("t.i32s", vec![1i32, -2, 3].into()),
            ("t.f32s", vec![0.5f32, -0.25].into()),
            ("t.bools", vec![true, false].into()),
            ("t.strings", vec!["a", "", "bc"].into()),
            ("t.u8s", vec![1u8, 2, 255].into()),
            (
                "t.nested",
                Array::Array(vec![Array::I32(vec![1, 2]), Array::I32(vec![3])]).into(),
            ),
        ];
        let found: Vec<(&str, Value)> = file
            .metadata()
            .iter()
            .map(|(key, value)| (key, value.clone()))
            .collect();
        assert_eq!(found, expected);
        assert_eq!((file.version(), file.architecture().unwrap()), (3, "llama"));
    }

    #[test]
    fn tensors_read_as_gguf_py_wrote_them() {
        let file = Gguf::from_bytes("tiny.gguf", TINY).unwrap();
        let expected = [
            info("plain", Dtype::F32, &[2, 3]),
            info("half", Dtype::F16, &[3]),
            info("q8", Dtype::Q8_0, &[2, 32]),
        ];
        assert_eq!(file.infos(), expected);
        assert_eq!(row(&file, "plain", 1), [3.0, 4.0, 5.0]);
        assert_eq!(row(&file, "half", 0), [1.0, 2.0, -4.0]);
        // 64 steps from -1 to 1; Q8_0 keeps them within half a step of 1/127.
        for (i, x) in [row(&file, "q8", 0), row(&file, "q8", 1)]
            .concat()
            .into_iter()
            .enumerate()
        {
            let exact = i as f32 * 2.0 / 63.0 - 1.0;
            assert!((x - exact).abs() < 0.005, "{i}: {x} {exact}");
        }
        assert!(file.tensor("missing").is_none());
        let error = file.required("missing").unwrap_err();
        assert_eq!(error.to_string(), "tiny.gguf: tensor `missing` is missing");
    }

    #[test]
    fn version_2_has_the_same_layout() {
        let mut bytes = TINY.to_vec();
        bytes[4] = 2;
        assert_eq!(Gguf::from_bytes("v2.gguf", bytes).unwrap().version(), 2);
    }

    #[test]
    fn a_file_without_tensors_needs_no_data_section() {
        let mut writer = Writer::new();
        writer.set("general.architecture", "llama");
        let mut bytes = writer.to_bytes().unwrap();
        bytes.truncate(24 + (8 + 20) + 4 + (8 + 5));
        assert_eq!(
            Gguf::from_bytes("vocabulary.gguf", bytes).unwrap().infos(),
            []
        );
    }

    #[test]
    fn bytes_after_the_last_tensor_are_ignored() {
        let bytes = [TINY, &[0xa5; 1000]].concat();
        assert_eq!(
            row(&Gguf::from_bytes("long.gguf", bytes).unwrap(), "plain", 0),
            [0.0, 1.0, 2.0]
        );
    }
}

mod getters {
    use super::*;

    fn tiny() -> Gguf {
        Gguf::from_bytes("tiny.gguf", TINY).unwrap()
    }

    #[test]
    fn integers_of_any_stored_type_convert_when_they_fit() {
        let file = tiny();
        let m = file.metadata();
        assert_eq!(m.u32("t.u8").unwrap(), Some(200));
        assert_eq!(m.u64("t.u32").unwrap(), Some(4_000_000_000));
        assert_eq!(m.i32("t.i16").unwrap(), Some(-30_000));
        assert_eq!(m.i64("t.u32").unwrap(), Some(4_000_000_000));
        assert_eq!(m.i32s("t.i32s").unwrap(), Some(vec![1, -2, 3]));
        assert_eq!(m.u32s("t.u8s").unwrap(), Some(vec![1, 2, 255]));
        assert_eq!(m.u32("absent").unwrap(), None);
    }

    #[test]
    fn floats_strings_and_bools_convert_to_what_they_are() {
        let file = tiny();
        let m = file.metadata();
        assert_eq!(m.f32("t.f64").unwrap(), Some(0.1));
        assert_eq!(m.str("t.string").unwrap(), Some("žlutý"));
        assert_eq!(m.bool("t.bool").unwrap(), Some(true));
        assert_eq!(
            m.f32s("t.f32s").unwrap().as_deref(),
            Some(&[0.5, -0.25][..])
        );
        assert_eq!(m.bools("t.bools").unwrap(), Some(&[true, false][..]));
        assert_eq!(m.strs("t.strings").unwrap(), Some(vec!["a", "", "bc"]));
        let strings = m.strings("t.strings").unwrap().unwrap();
        assert_eq!(
            (strings.len(), strings.get(2), strings.get(3)),
            (3, Some(&b"bc"[..]), None)
        );
    }

    #[test]
    fn a_wrong_type_is_an_error_that_names_key_expected_and_found() {
        let file = tiny();
        let m = file.metadata();
        let check = |error: crate::FormatError, expected: &str| {
            assert_eq!(
                error.to_string(),
                format!("tiny.gguf: metadata key `{expected}")
            );
        };
        check(
            m.u32("t.i8").unwrap_err(),
            "t.i8`: expected an integer from 0 to 4294967295, found integer -100",
        );
        check(
            m.u32("t.f32").unwrap_err(),
            "t.f32`: expected an integer from 0 to 4294967295, found f32 1.5",
        );
        check(
            m.i64("t.u64").unwrap_err(),
            "t.u64`: expected an integer, found integer 9223372036854775808",
        );
        check(
            m.bool("t.u8").unwrap_err(),
            "t.u8`: expected a bool, found integer 200",
        );
        check(
            m.str("t.strings").unwrap_err(),
            "t.strings`: expected a string of UTF-8, found array of 3 x string",
        );
        check(
            m.u32s("t.i32s").unwrap_err(),
            "t.i32s`: expected an array of integers from 0 to 4294967295, found -2 at index 1",
        );
        check(
            m.strings("t.u8s").unwrap_err(),
            "t.u8s`: expected an array of strings, found array of 3 x u8",
        );
        check(
            m.required::<u32>("absent").unwrap_err(),
            "absent` is missing",
        );
    }

    #[test]
    fn strings_that_are_not_utf8_are_kept_and_refused_only_as_text() {
        let tokens: Strings = [&b"ok"[..], b"\xff\xfe", b""].into_iter().collect();
        let mut writer = Writer::new();
        writer.set("tokens", tokens).set("one", &b"\xc3"[..]);
        let file = Gguf::from_bytes("x.gguf", writer.to_bytes().unwrap()).unwrap();
        let m = file.metadata();
        let kept: Vec<&[u8]> = m.strings("tokens").unwrap().unwrap().iter().collect();
        assert_eq!(kept, [&b"ok"[..], b"\xff\xfe", b""]);
        assert_eq!(m.bytes("one").unwrap().unwrap().as_bytes(), b"\xc3");
        assert_eq!(
            m.strs("tokens").unwrap_err().to_string(),
            "x.gguf: metadata key `tokens`: expected an array of strings of UTF-8, \
             found \"\u{fffd}\u{fffd}\" at index 1"
        );
        assert!(m.str("one").is_err());
    }
}

mod writing {
    use super::*;

    #[test]
    fn writes_byte_for_byte_what_gguf_py_writes() {
        let file = Gguf::from_bytes("tiny.gguf", TINY).unwrap();
        let mut writer = Writer::new();
        for (key, value) in file.metadata().iter() {
            writer.set(key, value.clone());
        }
        for info in file.infos() {
            writer
                .tensor(info.clone(), file.tensor(&info.name).unwrap().bytes)
                .unwrap();
        }
        assert_eq!(writer.to_bytes().unwrap(), TINY);
    }

    #[test]
    fn the_alignment_that_is_set_is_the_one_that_is_used() {
        let mut writer = Writer::new();
        writer.set("general.alignment", 256u32);
        writer
            .tensor(info("a", Dtype::F32, &[1]), 1.0f32.to_le_bytes().to_vec())
            .unwrap();
        writer
            .tensor(info("b", Dtype::F32, &[1]), 2.0f32.to_le_bytes().to_vec())
            .unwrap();
        let bytes = writer.to_bytes().unwrap();
        assert_eq!(bytes.len(), 3 * 256);
        assert_eq!(bytes[512..516], 2.0f32.to_le_bytes());
        let file = Gguf::from_bytes("aligned.gguf", bytes).unwrap();
        assert_eq!(
            (row(&file, "a", 0), row(&file, "b", 0)),
            (vec![1.0], vec![2.0])
        );
    }

    #[test]
    fn what_a_reader_would_refuse_is_not_written() {
        let refused = |info: TensorInfo, bytes: usize| {
            let mut writer = Writer::new();
            match writer.tensor(info, vec![0; bytes]) {
                Ok(writer) => writer.to_bytes().unwrap_err().to_string(),
                Err(error) => error.to_string(),
            }
        };
        assert!(refused(info("a", Dtype::F32, &[2]), 7).contains("2 elements take 8 bytes"));
        assert!(
            refused(info("a", Dtype::U32, &[2]), 8).contains("expected a ggml type, found U32")
        );
        assert!(refused(info("a", Dtype::F32, &[1; 5]), 4).contains("1 to 4 dimensions"));
        assert!(refused(info("", Dtype::F32, &[1]), 4).contains("1 to 64 bytes"));
        let mut writer = Writer::new();
        writer.tensor(info("a", Dtype::I8, &[1]), vec![0]).unwrap();
        writer.tensor(info("a", Dtype::I8, &[1]), vec![0]).unwrap();
        assert_eq!(
            writer.to_bytes().unwrap_err().to_string(),
            "memory: tensor `a` occurs twice"
        );
    }
}

#[test]
fn a_streamed_file_is_the_one_written_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.gguf");
    let info = |name: &str, shape: &[usize]| TensorInfo {
        name: name.into(),
        dtype: Dtype::F32,
        shape: shape.to_vec(),
    };
    let infos = [info("a", &[3]), info("b", &[2, 5])];
    let bytes: Vec<u8> = (0..52).collect();

    let mut whole = Writer::new();
    whole.set("general.architecture", "test");
    let empty = whole.to_bytes().unwrap();
    let mut stream = whole.stream(&path, &infos).unwrap();
    whole.tensor(infos[0].clone(), &bytes[..12]).unwrap();
    whole.tensor(infos[1].clone(), &bytes[12..]).unwrap();
    for piece in [&bytes[..7], &bytes[7..12], &bytes[12..50], &bytes[50..]] {
        stream.write(piece).unwrap();
    }
    assert!(!path.exists() && empty.len() < whole.to_bytes().unwrap().len());
    stream.finish().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), whole.to_bytes().unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_streamed_file_that_is_given_up_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.gguf");
    let info = TensorInfo {
        name: "a".into(),
        dtype: Dtype::F32,
        shape: vec![3],
    };
    let begin = || {
        Writer::new()
            .stream(&path, std::slice::from_ref(&info))
            .unwrap()
    };
    drop(begin());
    let mut long = begin();
    let error = long.write(&[0; 13]).unwrap_err().to_string();
    assert!(
        error.contains("tensor `a`: expected 12 bytes, found 13 bytes"),
        "{error}"
    );
    drop(long);
    let mut short = begin();
    short.write(&[0; 8]).unwrap();
    let error = short.finish().unwrap_err().to_string();
    assert!(
        error.contains("tensor `a`: expected 12 bytes, found 8 bytes"),
        "{error}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
