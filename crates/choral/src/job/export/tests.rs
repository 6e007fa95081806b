//! Hand-made records, and what is written of them, read back by other readers.

use super::{
    AnswerRecord, ExportError, ExportFormat, ExportOptions, ExportSummary, RecordFault,
    RecordFiles, append_to_parquet, export,
};
use crate::job::table::{CsvOptions, CsvRows, ParquetRows};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const OVERWRITE: ExportOptions = ExportOptions { overwrite: true };
const NEW: ExportOptions = ExportOptions { overwrite: false };

fn record(line: Value) -> AnswerRecord {
    AnswerRecord::parse(&line.to_string()).expect("a record")
}

fn output(index: u32, text: &str) -> Value {
    json!({
        "index": index, "text": text, "token_ids": [1, 2, 3], "finish_reason": "stop",
        "stop_reason": null, "logprobs": null, "seed": 7
    })
}

/// A line of choral's own output.
fn answered(row: u64, texts: &[&str], fields: Value) -> AnswerRecord {
    let outputs: Vec<_> = (0..)
        .zip(texts)
        .map(|(index, text)| output(index, text))
        .collect();
    record(json!({
        "custom_id": format!("id-{row}"), "row": row, "outputs": outputs,
        "usage": {"prompt_tokens": 5, "completion_tokens": 3 * texts.len(), "total_tokens": 9},
        "error": null, "fields": fields
    }))
}

fn failed(row: u64, fields: Value) -> AnswerRecord {
    record(json!({
        "custom_id": null, "row": row, "outputs": [],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        "error": {"code": "invalid_prompt", "message": "a, \"b\"", "line": row + 1, "field": null},
        "fields": fields
    }))
}

/// Exports to a new name in `folder`.
fn to(folder: &TempDir, name: &str, records: &[AnswerRecord]) -> (PathBuf, ExportSummary) {
    let path = folder.path().join(name);
    let format = ExportFormat::of_path(&path).expect("a known name");
    let summary = export(&records.to_vec(), format, &path, NEW).expect("exported");
    (path, summary)
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Names and values of each row.
type Rows = Vec<Vec<(String, Value)>>;

fn parquet_rows(path: &Path) -> Rows {
    let rows = ParquetRows::open(File::open(path).expect("opened")).expect("Parquet");
    rows.map(|row| row.expect("readable").fields.expect("no fault"))
        .collect()
}

fn csv_rows(path: &Path) -> Rows {
    let rows = CsvRows::new(File::open(path).expect("opened"), CsvOptions::CSV).expect("CSV");
    rows.map(|row| row.expect("readable").fields.expect("no fault"))
        .collect()
}

fn names(rows: &Rows) -> Vec<&str> {
    rows[0].iter().map(|(name, _)| name.as_str()).collect()
}

fn at<'a>(rows: &'a Rows, row: usize, column: &str) -> &'a Value {
    let found = rows[row].iter().find(|(name, _)| name == column);
    &found.expect("a column of that name").1
}

/// What is in a folder, hidden files included.
fn entries(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let name = |entry: std::io::Result<fs::DirEntry>| {
        entry
            .expect("an entry")
            .file_name()
            .to_string_lossy()
            .into_owned()
    };
    entries.map(name).collect()
}

#[test]
fn a_line_of_openai_is_a_record() {
    let found = record(json!({
        "id": "batch_req_1", "custom_id": "a", "error": null,
        "response": {"status_code": 200, "request_id": "r", "body": {
            "id": "x", "object": "chat.completion",
            "choices": [{"index": 0, "finish_reason": "length", "logprobs": null,
                "message": {"role": "assistant", "content": "hello"}}],
            "usage": {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10}}}
    }));
    assert_eq!(found.custom_id.as_deref(), Some("a"));
    assert_eq!(found.answers[0].text.as_deref(), Some("hello"));
    assert_eq!(found.answers[0].completion_tokens, Some(2));
    assert_eq!((found.prompt_tokens, found.error), (Some(8), None));
    let body = json!({"choices": [{"text": "a", "index": 0}, {"text": "b", "index": 1}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 9}});
    let found = record(json!({"custom_id": "c", "response": {"status_code": 200, "body": body}}));
    assert_eq!(found.answers[1].text.as_deref(), Some("b"));
    // Nine tokens of both together.
    assert_eq!(found.answers[1].completion_tokens, None);
    let calls = json!([{"id": "c", "type": "function"}]);
    let message = json!({"role": "assistant", "content": null, "tool_calls": calls});
    let body =
        json!({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]});
    let found = record(json!({"response": {"status_code": 200, "body": body}}));
    assert_eq!(found.answers[0].text, None);
    assert_eq!(found.answers[0].tool_calls, Some(calls.to_string()));
}

#[test]
fn errors_of_openai_have_their_code_where_there_is_one() {
    let error = |line: Value| {
        let error = record(line).error.expect("an error");
        (
            error.code.unwrap_or_default(),
            error.message.unwrap_or_default(),
        )
    };
    let pair = |code: &str, message: &str| (code.to_owned(), message.to_owned());
    let line = json!({"custom_id": "a", "response": null,
        "error": {"code": "batch_expired", "message": "too late"}});
    assert_eq!(error(line), pair("batch_expired", "too late"));
    let body = json!({"error": {"message": "no", "type": "invalid_request_error", "code": null}});
    let line = json!({"response": {"status_code": 400, "body": body}, "error": null});
    assert_eq!(error(line), pair("invalid_request_error", "no"));
    let line = json!({"response": {"status_code": 500, "body": {}}, "error": null});
    assert_eq!(error(line), pair("500", "the response has no choices"));
}

#[test]
fn what_is_no_record_is_refused() {
    let fault = |line: &str| AnswerRecord::parse(line).expect_err("a fault");
    assert_eq!(fault("{\"prompt\": \"a\"}"), RecordFault::NoRecord);
    assert_eq!(
        fault("{\"custom_id\": \"a\", \"embedding\": [0.5]}"),
        RecordFault::Embedding
    );
    let body = "{\"response\": {\"body\": {\"data\": [{\"embedding\": [1]}]}}}";
    assert_eq!(fault(body), RecordFault::Embedding);
    assert_eq!(
        fault("{\"outputs\": 3}").to_string(),
        "invalid type: integer `3`, expected a sequence (column 13)"
    );
    let folder = folder();
    let input = folder.path().join("in.jsonl");
    fs::write(&input, "{\"outputs\": []}\n\n[1]\n").expect("written");
    let target = folder.path().join("out.csv");
    let files = RecordFiles::new(vec![input]);
    let error = export(&files, ExportFormat::Csv, &target, NEW).expect_err("an error");
    assert!(
        matches!(error, ExportError::Line { line: 3, .. }),
        "{error}"
    );
    assert_eq!(
        entries(folder.path()),
        BTreeSet::from(["in.jsonl".to_owned()])
    );
}

#[test]
fn a_table_has_the_carried_columns_then_the_answers() {
    let records = [
        answered(
            0,
            &["two\nlines, \"quoted\""],
            json!({"text": "prompt", "n": 1}),
        ),
        failed(1, json!({"n": 2, "late": true})),
    ];
    let folder = folder();
    let (path, summary) = to(&folder, "out.csv", &records);
    let expected = ExportSummary {
        num_records: 2,
        num_failed: 1,
        num_written: 2,
    };
    assert_eq!(summary, expected);
    let text = fs::read_to_string(path).expect("text");
    assert_eq!(
        text,
        "text,n,late,custom_id,row,text_answer,finish_reason,prompt_tokens,completion_tokens,\
         error_code,error_message\n\
         prompt,1,,id-0,0,\"two\nlines, \"\"quoted\"\"\",stop,5,3,,\n\
         ,2,true,,1,,,,,invalid_prompt,\"a, \"\"b\"\"\"\n"
    );
}

#[test]
fn each_of_several_answers_has_a_row() {
    let records = [
        answered(0, &["a", "b"], json!({"q": "x"})),
        answered(1, &["c"], json!({})),
    ];
    let folder = folder();
    for name in ["out.csv", "out.parquet"] {
        let (path, summary) = to(&folder, name, &records);
        assert_eq!(summary.num_written, 3);
        let is_csv = name == "out.csv";
        let rows = if is_csv {
            csv_rows(&path)
        } else {
            parquet_rows(&path)
        };
        let number = |number: u64| {
            if is_csv {
                json!(number.to_string())
            } else {
                json!(number)
            }
        };
        let texts: Vec<_> = (0..3).map(|row| at(&rows, row, "text").clone()).collect();
        assert_eq!(texts, [json!("a"), json!("b"), json!("c")]);
        let indices: Vec<_> = (0..3).map(|row| at(&rows, row, "index").clone()).collect();
        assert_eq!(indices, [number(0), number(1), number(0)]);
        assert_eq!(at(&rows, 1, "q"), &json!("x"));
        assert_eq!(at(&rows, 2, "q"), &Value::Null);
        assert_eq!(at(&rows, 1, "completion_tokens"), &number(3));
    }
}

#[test]
fn columns_of_parquet_have_the_type_that_holds_all_values() {
    let values = |values: Vec<Value>| {
        let records: Vec<_> = values
            .into_iter()
            .enumerate()
            .map(|(row, value)| answered(row as u64, &["a"], json!({ "x": value })))
            .collect();
        let folder = folder();
        let (path, _) = to(&folder, "out.parquet", &records);
        let rows = parquet_rows(&path);
        (0..rows.len())
            .map(|row| at(&rows, row, "x").clone())
            .collect::<Vec<_>>()
    };
    let same = |given: Vec<Value>| assert_eq!(values(given.clone()), given);
    same(vec![json!(true), Value::Null]);
    same(vec![json!(i64::MIN), json!(i64::MAX), Value::Null]);
    same(vec![json!("a"), json!(""), Value::Null]);
    // Read to the last bit, which JSON parsers in a hurry do not.
    same(vec![json!(632.0 / 7.0), json!(5e-324), json!(f64::MAX)]);
    same(vec![Value::Null, Value::Null]);
    assert_eq!(values(vec![json!(1), json!(0.5)]), [json!(1.0), json!(0.5)]);
    // What a float would round, or no column holds, is JSON.
    let large = (1_i64 << 53) + 1;
    let text = json!(large.to_string());
    assert_eq!(
        values(vec![json!(large), json!(0.5)]),
        [text.clone(), json!("0.5")]
    );
    assert_eq!(values(vec![json!(0.5), json!(large)]), [json!("0.5"), text]);
    assert_eq!(values(vec![json!(u64::MAX)]), [json!(u64::MAX.to_string())]);
    assert_eq!(
        values(vec![json!("1"), json!(1)]),
        [json!("\"1\""), json!("1")]
    );
    let given = vec![json!({"a": [1]}), json!([]), Value::Null];
    assert_eq!(
        values(given),
        [json!("{\"a\":[1]}"), json!("[]"), Value::Null]
    );
}

#[test]
fn names_that_clash_get_an_ending() {
    let fields = json!({"text": "a", "text_answer": "b", "row": 9, "custom_id": "id-0"});
    let records = [answered(0, &["x"], fields)];
    let folder = folder();
    let (path, _) = to(&folder, "out.parquet", &records);
    let rows = parquet_rows(&path);
    let expected = [
        "text",
        "text_answer",
        "row",
        "custom_id",
        "row_answer",
        "text_answer_answer",
        "finish_reason",
        "prompt_tokens",
        "completion_tokens",
        "error_code",
        "error_message",
    ];
    assert_eq!(names(&rows), expected);
    // An id of the input that is not the record's.
    let records = [answered(0, &["x"], json!({"custom_id": 5}))];
    let (path, _) = to(&folder, "other.parquet", &records);
    let rows = parquet_rows(&path);
    assert_eq!(names(&rows)[..2], ["custom_id", "custom_id_answer"]);
    assert_eq!(at(&rows, 0, "custom_id_answer"), &json!("id-0"));
}

#[test]
fn many_rows_come_through_parquet_in_order() {
    let records: Vec<_> = (0..2500)
        .map(|row| answered(row, &[&format!("answer {row}")], json!({"n": row})))
        .collect();
    let folder = folder();
    let (path, _) = to(&folder, "out.parquet", &records);
    let rows = parquet_rows(&path);
    assert_eq!(rows.len(), 2500);
    for row in 0..2500 {
        assert_eq!(at(&rows, row, "text"), &json!(format!("answer {row}")));
        assert_eq!(at(&rows, row, "n"), &json!(row));
    }
}

#[test]
fn nothing_in_an_answer_ends_its_block_of_markdown() {
    let text = "````\n</details>\n# no heading";
    let mut records = vec![
        answered(0, &[text], json!({"a*b": "see\n"})),
        failed(1, json!({})),
    ];
    records[0].custom_id = Some("x\n# <b>".to_owned());
    records.push(answered(2, &["a", ""], json!({})));
    let folder = folder();
    let (path, summary) = to(&folder, "out.md", &records);
    assert_eq!(summary.num_written, 3);
    let expected = "\
## x \\# \\<b\\>

**a\\*b**

```text
see
```

**Answer**

`````text
````
</details>
# no heading
`````

## Row 1

**Error invalid\\_prompt**

```text
a, \"b\"
```

## id-2

**Answer 0**

```text
a
```

**Answer 1**

```text
```
";
    assert_eq!(fs::read_to_string(path).expect("text"), expected);
}

#[test]
fn files_have_safe_names_and_each_its_own() {
    let with_id = |row: u64, id: Option<&str>, texts: &[&str]| {
        let mut record = answered(row, texts, json!({}));
        record.custom_id = id.map(str::to_owned);
        record
    };
    let records = [
        with_id(0, Some("../../etc/passwd"), &["a"]),
        with_id(1, None, &["b"]),
        with_id(2, Some("Same"), &["c"]),
        with_id(3, Some("same"), &["d"]),
        with_id(4, Some("nul.x"), &["e"]),
        with_id(5, Some("é é"), &["f", "g"]),
        failed(6, json!({})),
        with_id(7, Some(&"long".repeat(200)), &["h"]),
        with_id(10, Some(""), &["i"]),
    ];
    let folder = folder();
    let (path, summary) = to(&folder, "out", &records);
    assert_eq!(summary.num_written, 10);
    let long = format!("{}.txt", "long".repeat(45));
    let expected = [
        "_._.._etc_passwd.txt",
        "01.txt",
        "Same.txt",
        "same~2.txt",
        "_nul.x.txt",
        "é_é-0.txt",
        "é_é-1.txt",
        "06.error.txt",
        &long,
        "10.txt",
    ];
    assert_eq!(entries(&path), expected.map(str::to_owned).into());
    let text = |name: &str| fs::read_to_string(path.join(name)).expect("text");
    assert_eq!(text("same~2.txt"), "d");
    assert_eq!(text("06.error.txt"), "invalid_prompt: a, \"b\"\n");
}

#[test]
fn what_is_there_stays_unless_it_may_be_replaced() {
    let folder = folder();
    let records = vec![answered(0, &["new"], json!({}))];
    let target = folder.path().join("out.csv");
    fs::write(&target, "old").expect("written");
    let error = export(&records, ExportFormat::Csv, &target, NEW).expect_err("an error");
    assert!(matches!(error, ExportError::Exists { .. }), "{error}");
    assert_eq!(fs::read_to_string(&target).expect("text"), "old");
    export(&records, ExportFormat::Csv, &target, OVERWRITE).expect("exported");
    assert!(fs::read_to_string(&target).expect("text").contains("new"));

    let target = folder.path().join("answers");
    export(&records, ExportFormat::Folder, &target, NEW).expect("exported");
    let others = vec![answered(1, &["other"], json!({}))];
    export(&others, ExportFormat::Folder, &target, OVERWRITE).expect("exported");
    assert_eq!(entries(&target), BTreeSet::from(["id-1.txt".to_owned()]));
    fs::write(target.join("photo.jpg"), "").expect("written");
    let error = export(&records, ExportFormat::Folder, &target, OVERWRITE);
    let error = error.expect_err("an error").to_string();
    assert!(
        error.ends_with("`photo.jpg` in it is no exported answer"),
        "{error}"
    );
    let left = ["answers".to_owned(), "out.csv".to_owned()];
    assert_eq!(entries(folder.path()), left.into());
}

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../golden/tables")
        .join(name)
}

#[test]
fn answers_stand_beside_the_columns_of_their_rows() {
    let folder = folder();
    let target = folder.path().join("out.parquet");
    let inputs = vec![golden("groups.parquet"), golden("groups.parquet")];
    let texts: Vec<_> = (0..20).map(|row| format!("answer {row}")).collect();
    let mut records: Vec<_> = (0..20)
        .map(|row| answered(row, &[&texts[row as usize]], json!({})))
        .collect();
    records[3] = answered(3, &["first", "second"], json!({}));
    records[4] = failed(4, json!({}));
    let summary = append_to_parquet(&inputs, &records, &target, NEW).expect("appended");
    assert_eq!((summary.num_records, summary.num_written), (20, 21));
    let before = parquet_rows(&inputs[0]);
    let rows = parquet_rows(&target);
    assert_eq!(
        names(&rows)[..5],
        ["id", "colour", "level", "large", "view"]
    );
    for (row, carried) in rows.iter().enumerate() {
        let source = if row > 3 { row - 1 } else { row };
        assert_eq!(carried[..5], before[source % 10], "row {row}");
        assert_eq!(at(&rows, row, "row"), &json!(source));
    }
    assert_eq!(at(&rows, 4, "text"), &json!("second"));
    assert_eq!(at(&rows, 5, "error_code"), &json!("invalid_prompt"));
    assert_eq!(at(&rows, 20, "text"), &json!("answer 19"));
}

#[test]
fn records_that_are_not_those_of_the_rows_are_refused() {
    let folder = folder();
    let target = folder.path().join("out.parquet");
    let refusal = |records: Vec<AnswerRecord>, inputs: &[PathBuf]| {
        let error = append_to_parquet(inputs, &records, &target, NEW).expect_err("an error");
        assert!(entries(folder.path()).is_empty());
        error.to_string()
    };
    let rows = |rows: std::ops::Range<u64>| {
        rows.map(|row| answered(row, &["a"], json!({})))
            .collect::<Vec<_>>()
    };
    let groups = [golden("groups.parquet")];
    let error = refusal(rows(0..9), &groups);
    assert_eq!(error, "there are 9 records for 10 rows of the input");
    let error = refusal(rows(0..12), &groups);
    assert_eq!(error, "there are 12 records for 10 rows of the input");
    let mut swapped = rows(0..10);
    swapped.swap(3, 4);
    let error = refusal(swapped, &groups);
    assert!(
        error.starts_with("record 4 is of row 4, expected row 3"),
        "{error}"
    );
    let error = refusal(
        rows(0..50),
        &[golden("encodings.parquet"), golden("groups.parquet")],
    );
    assert!(
        error.contains("`id` of type Utf8, expected `delta` of type Int64"),
        "{error}"
    );
}
