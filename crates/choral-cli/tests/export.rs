//! `choral export`, as a shell sees it.

use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn export(folder: &Path, args: &[&str]) -> Output {
    Command::new(assert_cmd::cargo::cargo_bin("choral"))
        .arg("export")
        .args(args)
        .current_dir(folder)
        .output()
        .expect("choral runs")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("UTF-8")
}

/// A folder with `a.jsonl`, of choral, and `b.jsonl`, of OpenAI.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let own = json!({
        "custom_id": "one", "row": 0, "usage": {"prompt_tokens": 2, "completion_tokens": 1},
        "outputs": [{"index": 0, "text": "first", "token_ids": [4], "finish_reason": "stop"}],
        "error": null
    });
    let failed = json!({
        "custom_id": null, "row": 1, "outputs": [], "usage": {},
        "error": {"code": "too_long", "message": "no room", "line": 2, "field": "prompt"}
    });
    let lines = format!("{own}\n{failed}\n");
    fs::write(folder.path().join("a.jsonl"), lines).expect("written");
    let message = json!({"role": "assistant", "content": "second"});
    let body = json!({"choices": [{"index": 0, "message": message, "finish_reason": "length"}]});
    let line = json!({"custom_id": "two", "response": {"status_code": 200, "body": body}});
    fs::write(folder.path().join("b.jsonl"), line.to_string()).expect("written");
    folder
}

#[test]
fn several_inputs_become_one_table() {
    let folder = folder();
    let output = export(folder.path(), &["a.jsonl", "b.jsonl", "-o", "out.csv"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(
        stderr(&output),
        "choral: 3 records, 3 rows written, 1 records in error\n"
    );
    let text = fs::read_to_string(folder.path().join("out.csv")).expect("text");
    let expected = "\
custom_id,row,text,finish_reason,prompt_tokens,completion_tokens,error_code,error_message
one,0,first,stop,2,1,,
,1,,,,,too_long,no room
two,2,second,length,,,,
";
    assert_eq!(text, expected);
}

#[test]
fn a_name_without_an_ending_is_a_folders() {
    let folder = folder();
    let output = export(folder.path(), &["a.jsonl", "-o", "answers", "--quiet"]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
    let text = fs::read_to_string(folder.path().join("answers/one.txt")).expect("text");
    assert_eq!(text, "first");
}

#[test]
fn refusals_say_what_can_be_done() {
    let folder = folder();
    let check = |args: &[&str], code: i32, message: &str| {
        let output = export(folder.path(), args);
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        assert_eq!(stderr(&output), format!("choral: {message}\n"));
    };
    fs::write(folder.path().join("out.md"), "mine").expect("written");
    check(
        &["a.jsonl", "-o", "out.md"],
        1,
        "`out.md` exists: --overwrite replaces it",
    );
    check(
        &["a.jsonl", "-o", "a.jsonl", "--format", "csv", "--overwrite"],
        1,
        "the output `a.jsonl` is an input",
    );
    check(
        &["a.jsonl", "-o", "out.xlsx"],
        2,
        "the format of `out.xlsx` is not known by its name: say --format",
    );
    check(
        &["a.jsonl", "-o", "out.csv", "--columns-from", "in.parquet"],
        2,
        "--columns-from writes Parquet, the output's format is another",
    );
    check(
        &["none.jsonl", "-o", "out.csv"],
        1,
        "cannot read `none.jsonl`: No such file or directory (os error 2)",
    );
    assert_eq!(
        fs::read_to_string(folder.path().join("out.md")).expect("text"),
        "mine"
    );
}

/// Where pyarrow is, `CHORAL_PYARROW` names its Python; elsewhere there is nothing to
/// compare with, and the unit tests hold what pyarrow made of its own files.
#[test]
fn pyarrow_reads_what_is_written() {
    let Some(python) = std::env::var_os("CHORAL_PYARROW") else {
        return;
    };
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../golden/tables/check.py");
    let output = Command::new(python)
        .arg(script)
        .arg(assert_cmd::cargo::cargo_bin("choral"))
        .output()
        .expect("Python runs");
    assert!(output.status.success(), "{}", stderr(&output));
}
