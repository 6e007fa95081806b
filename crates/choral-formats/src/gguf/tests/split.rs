//! Models of several files.

use super::*;

/// A part that holds one tensor, named after it.
fn part(number: u16, count: u16, total: i32) -> Vec<u8> {
    let mut writer = Writer::new();
    if number == 0 {
        writer.set("general.architecture", "llama");
    }
    writer
        .set("split.no", number)
        .set("split.count", count)
        .set("split.tensors.count", total);
    let name = format!("t{number}");
    let value = f32::from(number).to_le_bytes().to_vec();
    writer.tensor(info(&name, Dtype::F32, &[1]), value).unwrap();
    writer.to_bytes().unwrap()
}

fn folder(parts: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in parts {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn open_error(folder: &Path, name: &str) -> String {
    Gguf::open(folder.join(name)).unwrap_err().to_string()
}

const NAMES: [&str; 3] = [
    "m-00001-of-00003.gguf",
    "m-00002-of-00003.gguf",
    "m-00003-of-00003.gguf",
];

#[test]
fn any_part_opens_the_whole_model() {
    let folder = folder(&[0, 1, 2].map(|i| (NAMES[usize::from(i)], part(i, 3, 3))));
    for name in NAMES {
        let file = Gguf::open(folder.path().join(name)).unwrap();
        assert_eq!(file.architecture().unwrap(), "llama");
        assert_eq!(file.infos().len(), 3);
        assert_eq!(row(&file, "t2", 0), [2.0]);
        assert_eq!(file.path(), folder.path().join(name));
    }
}

#[test]
fn a_missing_part_is_named() {
    let folder = folder(&[(NAMES[0], part(0, 3, 3)), (NAMES[2], part(2, 3, 3))]);
    let error = open_error(folder.path(), NAMES[2]);
    assert!(
        error.contains("m-00002-of-00003.gguf: file not found (part 2 of 3"),
        "{error}"
    );
}

#[test]
fn parts_that_disagree_are_refused() {
    let check = |parts: [(u16, u16, i32); 3], expected: &str| {
        let files = [0, 1, 2].map(|i| {
            let (number, count, total) = parts[i];
            (NAMES[i], part(number, count, total))
        });
        let error = open_error(folder(&files).path(), NAMES[0]);
        assert!(error.contains(expected), "{error}");
    };
    check(
        [(0, 3, 3), (2, 3, 3), (1, 3, 3)],
        "`split.no`: expected 1 (file name), found 2",
    );
    check(
        [(0, 3, 3), (1, 2, 3), (2, 3, 3)],
        "`split.count`: expected 3 (file name), found 2",
    );
    check(
        [(0, 3, 4), (1, 3, 4), (2, 3, 4)],
        "`split.tensors.count`: expected 3",
    );
    check(
        [(0, 2, 3), (1, 3, 3), (2, 3, 3)],
        "file name: expected a part named",
    );
}

#[test]
fn a_part_under_another_name_is_refused() {
    let folder = folder(&[("model.gguf", part(0, 3, 3))]);
    let error = open_error(folder.path(), "model.gguf");
    assert!(error.contains("NAME-00001-of-00003.gguf"), "{error}");
    assert!(Gguf::from_bytes("memory", part(0, 3, 3)).is_err());
}

#[test]
fn a_whole_model_may_be_named_as_the_only_part() {
    let folder = folder(&[("m-00001-of-00001.gguf", TINY.to_vec())]);
    assert!(Gguf::open(folder.path().join("m-00001-of-00001.gguf")).is_ok());
}
