//! Files that may be read, and files that may not be written.

use super::{Input, Output, check_output, count_lines};
use choral::job::InputFormat;
use std::fs;
use std::path::Path;

#[test]
fn the_name_decides_the_format_then_the_content_and_an_option_before_both() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |name: &str, text: &str, given, expected| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        let input = Input::open(&path, given).expect("read");
        assert_eq!(input.format, expected, "{name}");
        let is_guessed = given.is_none() && !name.contains('.');
        assert_eq!(input.is_format_guessed, is_guessed, "{name}");
    };
    check("a.txt", "{\"prompt\": \"x\"}", None, InputFormat::Text);
    check("a.jsonl", "x", None, InputFormat::Jsonl);
    check("a.JSONL", "x", None, InputFormat::Jsonl);
    check("a", "\n {\"prompt\": \"x\"}", None, InputFormat::Jsonl);
    check("b", "once", None, InputFormat::Text);
    check(
        "c.jsonl",
        "once",
        Some(InputFormat::Text),
        InputFormat::Text,
    );
}

#[test]
fn a_json_document_is_refused_unless_its_format_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = |name: &str, text: &str, given| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        Input::open(&path, given).map(|input| input.format)
    };
    let array = "[\n  {\"prompt\": \"x\"}\n]\n";
    for (name, text) in [
        ("a", array),
        ("a.json", array),
        ("b.JSON", "{\n}"),
        ("c", "[\"x\"]"),
    ] {
        let error = open(name, text, None).expect_err("one document");
        assert!(format!("{error:#}").contains("--input-format"), "{error:#}");
        let given = open(name, text, Some(InputFormat::Jsonl)).expect("as it is");
        assert_eq!(given, InputFormat::Jsonl);
    }
    assert_eq!(
        open("d", "[INST] x", None).expect("text"),
        InputFormat::Text
    );
}

#[test]
fn lines_without_content_are_no_rows() {
    let count = |text: &str| count_lines(text.as_bytes()).expect("memory can be read");
    assert_eq!(count(""), 0);
    assert_eq!(count("a\n\n \r\nb"), 2);
    assert_eq!(count("a\nb\n"), 2);
}

#[test]
fn an_output_that_exists_needs_permission() {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    fs::write(&input, "x").expect("written");
    assert!(check_output(&output, &input, false).is_ok());
    fs::write(&output, "old").expect("written");
    let error = check_output(&output, &input, false)
        .expect_err("it exists")
        .to_string();
    assert!(error.contains("--overwrite"), "{error}");
    assert!(
        Output::open(&output, false).is_err(),
        "it may have come since the check"
    );
    assert!(check_output(&output, &input, true).is_ok());
}

#[test]
fn the_input_is_never_the_output() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("in");
    fs::write(&input, "x").expect("written");
    let same = folder.path().join(".").join("in");
    let error = check_output(&same, &input, true)
        .expect_err("the same")
        .to_string();
    assert!(error.contains("is the input"), "{error}");
}

#[test]
fn what_cannot_be_written_is_found_before_the_work() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = Path::new("-");
    assert!(check_output(folder.path(), input, true).is_err());
    assert!(check_output(&folder.path().join("none/out"), input, false).is_err());
    assert!(check_output(Path::new("-"), input, false).is_ok());
}

#[cfg(unix)]
#[test]
fn a_device_is_written_without_permission() {
    let null = Path::new("/dev/null");
    assert!(check_output(null, Path::new("-"), false).is_ok());
    assert!(Output::open(null, false).is_ok());
}
