//! Records that are killed, torn, full, changed and run again.

use super::paths::with_suffix;
use super::{Description, Record, RecordError, Reuse};
use crate::engine::request::Prompt;
use crate::job::row::{Row, RowCode, RowError, RowHead, RowInput, RowWork};
use crate::job::{Answer, Form, Settings};
use crate::sampling::SamplingParams;
use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};

const SEED: u64 = 7;

const NONE: [u64; 0] = [];

const CHANGED: Reuse = Reuse {
    overwrite: false,
    changed: true,
    retry_errors: false,
};

fn job(model: &str) -> Description {
    let settings = Settings::from([("model".to_owned(), model.to_owned())]);
    Description::new(vec!["in.jsonl".to_owned()], None, settings)
}

fn row(index: u64, id: Option<&str>, text: &str) -> Row {
    Row {
        head: RowHead {
            index,
            line: index + 1,
            custom_id: id.map(str::to_owned),
            ..RowHead::default()
        },
        work: Ok(RowWork {
            input: RowInput::Prompt(Prompt::Text(text.to_owned())),
            params: SamplingParams::default(),
            lora: Vec::new(),
        }),
    }
}

/// Some answer that can be told from others.
fn answer(row: &Row, says: &str) -> Answer {
    let error = RowError {
        code: RowCode::Engine,
        message: says.to_owned(),
        line: row.head.line,
        field: None,
        file: None,
    };
    let is_failed = says.starts_with("bad");
    let mut answer = Answer::failed(row.head.clone(), error);
    if !is_failed {
        answer.error = None;
        answer.fields.insert("says".to_owned(), says.into());
    }
    answer
}

fn line(row: &Row, says: &str) -> String {
    let mut line = Vec::new();
    answer(row, says).write(&mut line);
    String::from_utf8(line).expect("JSON is text")
}

fn open_with(path: &Path, reuse: Reuse) -> Result<Record, RecordError> {
    Record::open(path, job("m"), None, SEED, reuse)
}

fn open(path: &Path) -> Record {
    open_with(path, Reuse::default()).expect("opens")
}

/// Puts the answers of those of `rows` that are not kept. Which were put.
fn run(record: &mut Record, rows: &[(Row, &str)]) -> Vec<u64> {
    let mut put = Vec::new();
    for (row, says) in rows {
        if record.kept(row).expect("readable").is_none() {
            record.put(&answer(row, says)).expect("writable");
            record.flush().expect("writable");
            put.push(row.head.index);
        }
    }
    put
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("out.jsonl");
    (folder, path)
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("readable")
}

#[test]
fn lines_come_as_they_are_put_and_end_in_the_order_of_the_rows() {
    let (_folder, path) = folder();
    let rows: Vec<_> = (0..5).map(|i| row(i, None, "text")).collect();
    let mut record = open(&path);
    for row in &rows {
        assert_eq!(record.kept(row).expect("readable"), None);
    }
    let mut as_put = String::new();
    for i in [3, 0, 4, 1, 2] {
        record.put(&answer(&rows[i], "yes")).expect("writable");
        as_put.push_str(&line(&rows[i], "yes"));
    }
    record.flush().expect("writable");
    assert_eq!(text(&path), as_put);
    record.finish().expect("writable");
    let sorted: String = rows.iter().map(|row| line(row, "yes")).collect();
    assert_eq!(text(&path), sorted);
    for suffix in [".journal.sorted", ".journal.new"] {
        assert!(!with_suffix(&path, suffix).exists(), "{suffix}");
    }
    drop(record);
    assert!(!with_suffix(&path, ".lock").exists());
    // All of it is kept by the next run, which changes nothing.
    let mut record = open(&path);
    let rows: Vec<_> = rows.into_iter().map(|row| (row, "no")).collect();
    assert_eq!(run(&mut record, &rows), NONE);
    record.finish().expect("writable");
    assert_eq!(text(&path), sorted);
}

#[test]
fn only_what_was_changed_is_computed_again() {
    let (_folder, path) = folder();
    let first = [
        (row(0, Some("a"), "one"), "1"),
        (row(1, Some("b"), "two"), "2"),
        (row(2, Some("c"), "three"), "3"),
        (row(3, None, "four"), "4"),
    ];
    let mut record = open(&path);
    assert_eq!(run(&mut record, &first), [0, 1, 2, 3]);
    record.finish().expect("writable");
    drop(record);
    // `b` is gone, `c` asks something else, `a` moves, and there is a new one.
    let second = [
        (row(0, Some("c"), "THREE"), "33"),
        (row(1, Some("new"), "five"), "5"),
        (row(2, Some("a"), "one"), "11"),
        (row(3, None, "four"), "44"),
    ];
    let refused = open(&path).kept(&second[0].0).expect_err("finished");
    assert!(refused.to_string().contains("row 0"), "{refused}");
    let mut record = open_with(&path, CHANGED).expect("opens");
    assert_eq!(run(&mut record, &second), [0, 1]);
    record.finish().expect("writable");
    let expected = [
        line(&second[0].0, "33"),
        line(&second[1].0, "5"),
        line(&second[2].0, "1"),
        line(&second[3].0, "4"),
    ];
    assert_eq!(text(&path), expected.concat());
}

#[test]
fn errors_are_kept_unless_they_are_to_be_tried_again() {
    let (_folder, path) = folder();
    let rows = |says| [(row(0, None, "one"), "1"), (row(1, None, "two"), says)];
    let mut record = open(&path);
    run(&mut record, &rows("bad"));
    record.finish().expect("writable");
    drop(record);
    let mut record = open(&path);
    let kept = record.kept(&rows("")[1].0).expect("readable");
    assert!(kept.expect("there is an answer").is_failed);
    drop(record);
    let retry = Reuse {
        retry_errors: true,
        ..Reuse::default()
    };
    let mut record = open_with(&path, retry).expect("opens");
    assert_eq!(run(&mut record, &rows("good")), [1]);
    record.finish().expect("writable");
    drop(record);
    // The later answer is the one that counts.
    let mut record = open_with(&path, retry).expect("opens");
    assert_eq!(run(&mut record, &rows("again")), NONE);
    let [one, two] = rows("good");
    assert_eq!(text(&path), line(&one.0, "1") + &line(&two.0, "good"));
}

#[test]
fn a_second_job_on_the_same_output_is_refused() {
    let (_folder, path) = folder();
    let record = open(&path);
    let refused = open_with(&path, Reuse::default()).expect_err("in use");
    assert!(matches!(refused, RecordError::InUse { .. }), "{refused}");
    drop(record);
    open(&path);
}

#[test]
fn an_output_of_another_job_is_refused_by_what_differs() {
    let (_folder, path) = folder();
    let mut record = open(&path);
    run(&mut record, &[(row(0, None, "one"), "1")]);
    drop(record);
    let error = Record::open(&path, job("n"), None, SEED, Reuse::default());
    let error = error.expect_err("another model").to_string();
    assert!(error.contains("model was m, and is n now"), "{error}");
    let error = Record::open(&path, job("m"), Some(8), SEED, Reuse::default());
    let error = error.expect_err("another seed").to_string();
    assert!(error.contains("the seed was 7, and is 8 now"), "{error}");
    let mut moved = job("m");
    moved.inputs = vec!["other.jsonl".to_owned()];
    let error = Record::open(&path, moved, None, SEED, Reuse::default());
    let error = error.expect_err("another input").to_string();
    assert!(error.contains("the input was in.jsonl"), "{error}");
    // If that is wanted, what the settings made is computed again.
    let mut record = Record::open(&path, job("n"), None, SEED, CHANGED).expect("opens");
    assert_eq!(run(&mut record, &[(row(0, None, "one"), "2")]), [0]);
    record.finish().expect("writable");
    assert_eq!(text(&path), line(&row(0, None, "one"), "2"));
}

#[test]
fn what_is_no_record_is_not_touched() {
    let (_folder, path) = folder();
    fs::write(&path, "precious").expect("writable");
    let error = open_with(&path, Reuse::default()).expect_err("no journal");
    assert!(matches!(error, RecordError::Exists { .. }), "{error}");
    fs::write(with_suffix(&path, ".journal"), "a shopping list\n").expect("writable");
    let error = open_with(&path, Reuse::default()).expect_err("no journal");
    assert!(matches!(error, RecordError::Journal { .. }), "{error}");
    assert_eq!(text(&path), "precious");
}

#[test]
fn a_finished_output_that_was_edited_is_not_touched() {
    let (_folder, path) = folder();
    let rows = [(row(0, None, "one"), "1"), (row(1, None, "two"), "2")];
    let mut record = open(&path);
    run(&mut record, &rows);
    record.finish().expect("writable");
    drop(record);
    let edited = text(&path).replace("\"says\":\"2\"", "\"says\":\"X\"");
    fs::write(&path, &edited).expect("writable");
    let journal = fs::read(with_suffix(&path, ".journal")).expect("readable");
    let error = open_with(&path, Reuse::default()).expect_err("edited");
    assert!(matches!(error, RecordError::Changed { .. }), "{error}");
    assert_eq!(text(&path), edited);
    let after = fs::read(with_suffix(&path, ".journal")).expect("readable");
    assert_eq!(after, journal);
    // And if the edit is undone, all is well.
    let undone = edited.replace("\"says\":\"X\"", "\"says\":\"2\"");
    fs::write(&path, undone).expect("writable");
    assert_eq!(run(&mut open(&path), &rows), NONE);
}

#[test]
fn one_damaged_line_or_entry_costs_one_row() {
    let (_folder, path) = folder();
    let rows: Vec<_> = (0..9).map(|i| (row(i, None, "text"), "yes")).collect();
    let mut record = open(&path);
    run(&mut record, &rows[..6]);
    drop(record);
    let mut bytes = fs::read(&path).expect("readable");
    bytes[10] ^= 1;
    fs::write(&path, bytes).expect("writable");
    let journal = with_suffix(&path, ".journal");
    let mut bytes = fs::read(&journal).expect("readable");
    let fourth = text_until_newline(&journal) + 3 * 56;
    bytes[fourth + 20] ^= 1;
    fs::write(&journal, bytes).expect("writable");
    let mut record = open(&path);
    assert_eq!((record.num_found(), record.num_damaged()), (4, 2));
    assert_eq!(run(&mut record, &rows), [0, 3, 6, 7, 8]);
    record.finish().expect("writable");
    let sorted: String = rows.iter().map(|(row, says)| line(row, says)).collect();
    assert_eq!(text(&path), sorted);
    drop(record);
    assert_eq!(run(&mut open(&path), &rows), NONE);
}

#[test]
fn a_file_that_was_removed_meanwhile_does_not_pass_for_the_answers() {
    let (_folder, path) = folder();
    let rows = [(row(0, None, "one"), "1")];
    let mut record = open(&path);
    run(&mut record, &rows);
    fs::remove_file(&path).expect("removable");
    let error = record.finish().expect_err("the file is gone").to_string();
    assert!(error.contains("replaced or removed"), "{error}");
}

#[test]
fn a_row_that_moves_keeps_every_byte_of_its_answer() {
    let (_folder, path) = folder();
    let exact = |row: &Row| {
        let mut answer = answer(row, "x");
        let tricky = "\",\"row\":7".to_owned();
        answer.fields.insert("n".to_owned(), tricky.into());
        // As f32 it is written otherwise than as f64.
        let chosen = crate::job::TokenAlternative {
            token_id: Some(1),
            token: "t".to_owned(),
            logprob: -0.000_009_212_223,
        };
        answer.prompt_logprobs = Some(vec![Some(crate::job::TokenEntry {
            chosen,
            top_logprobs: Vec::new(),
        })]);
        answer
    };
    let id = Some("a\",\"row\":9");
    let first = row(0, id, "one");
    let mut record = open(&path);
    record.kept(&first).expect("readable");
    record.put(&exact(&first)).expect("writable");
    record.finish().expect("writable");
    drop(record);
    let moved = row(12, id, "one");
    let mut record = open_with(&path, CHANGED).expect("opens");
    assert!(record.kept(&moved).expect("readable").is_some());
    record.finish().expect("writable");
    let mut expected = Vec::new();
    exact(&moved).write(&mut expected);
    assert_eq!(text(&path).into_bytes(), expected);
}

#[test]
fn trying_errors_again_changes_nothing_else_of_a_finished_output() {
    let (_folder, path) = folder();
    let rows = [(row(0, None, "one"), "1"), (row(1, None, "two"), "bad")];
    let mut record = open(&path);
    run(&mut record, &rows);
    record.finish().expect("writable");
    drop(record);
    let retry = Reuse {
        retry_errors: true,
        ..Reuse::default()
    };
    let mut record = open_with(&path, retry).expect("opens");
    let edited = record.kept(&row(0, None, "ONE"));
    let error = edited.expect_err("it was edited").to_string();
    assert!(error.contains("is finished"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_link_to_an_output_stays_one() {
    let (folder, path) = folder();
    let link = folder.path().join("link.jsonl");
    fs::write(&path, "").expect("writable");
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    let rows: Vec<_> = (0..2).map(|i| row(i, None, "text")).collect();
    let overwrite = Reuse {
        overwrite: true,
        ..Reuse::default()
    };
    let mut record = open_with(&link, overwrite).expect("opens");
    for row in &rows {
        record.kept(row).expect("readable");
    }
    for row in rows.iter().rev() {
        record.put(&answer(row, "yes")).expect("writable");
    }
    record.finish().expect("writable");
    assert!(link.is_symlink());
    let sorted = line(&rows[0], "yes") + &line(&rows[1], "yes");
    assert_eq!(text(&path), sorted);
}

#[test]
fn answers_to_rows_that_are_gone_are_not_dropped_unasked() {
    let (_folder, path) = folder();
    let rows = [(row(0, None, "one"), "1"), (row(1, None, "two"), "2")];
    let mut record = open(&path);
    run(&mut record, &rows);
    record.finish().expect("writable");
    drop(record);
    let before = text(&path);
    let mut record = open(&path);
    run(&mut record, &rows[..1]);
    let error = record.finish().expect_err("one is left over").to_string();
    assert!(error.contains("2 answers to the 1 rows"), "{error}");
    drop(record);
    assert_eq!(text(&path), before);
    let mut record = open_with(&path, CHANGED).expect("opens");
    run(&mut record, &rows[..1]);
    record.finish().expect("writable");
    assert_eq!(text(&path), line(&rows[0].0, "1"));
}

#[test]
fn a_rename_that_was_cut_short_is_made_good() {
    let (_folder, path) = folder();
    let rows: Vec<_> = (0..3).map(|i| row(i, None, "text")).collect();
    let mut record = open(&path);
    for row in &rows {
        record.kept(row).expect("readable");
    }
    for i in [2, 0, 1] {
        record.put(&answer(&rows[i], "yes")).expect("writable");
    }
    record.flush().expect("writable");
    let unsorted = text(&path);
    record.finish().expect("writable");
    drop(record);
    let sorted = text(&path);
    // As if the process had ended between the two renames.
    fs::rename(&path, with_suffix(&path, ".journal.sorted")).expect("writable");
    fs::write(&path, unsorted).expect("writable");
    let rows: Vec<_> = rows.into_iter().map(|row| (row, "no")).collect();
    let mut record = open(&path);
    assert_eq!(run(&mut record, &rows), NONE);
    record.finish().expect("writable");
    assert_eq!(text(&path), sorted);
}

#[test]
fn an_open_ai_line_moves_without_being_changed() {
    let (_folder, path) = folder();
    let open_ai = |index| {
        let mut row = row(index, Some("a"), "one");
        row.head.form = Form::OpenAi {
            endpoint: crate::job::Endpoint::Chat,
            model: "m".to_owned(),
        };
        row
    };
    let mut record = open(&path);
    run(&mut record, &[(open_ai(0), "1")]);
    record.finish().expect("writable");
    drop(record);
    let before = text(&path);
    let mut record = open(&path);
    assert_eq!(run(&mut record, &[(open_ai(5), "2")]), NONE);
    record.finish().expect("writable");
    assert_eq!(text(&path), before);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever of the two files is lost from some byte on, what is left is taken over,
    /// and the end is the same.
    #[test]
    fn a_torn_record_ends_as_if_it_were_whole(
        order in Just((0..12_u64).collect::<Vec<_>>()).prop_shuffle(),
        num_put in 0..12_usize,
        lost_bytes in 0..400_usize,
        lost_entry_bytes in 0..200_usize,
        has_garbage in any::<bool>(),
    ) {
        let (_folder, path) = folder();
        let rows: Vec<_> = (0..12).map(|i| row(i, None, &format!("row {i}"))).collect();
        let mut record = open(&path);
        for row in &rows {
            record.kept(row).expect("readable");
        }
        for i in &order[..num_put] {
            record.put(&answer(&rows[*i as usize], "yes")).expect("writable");
            record.flush().expect("writable");
        }
        drop(record);
        let cut = |path: &Path, lost: usize, from: usize| {
            let mut bytes = fs::read(path).expect("readable");
            let whole = bytes.len();
            bytes.truncate(whole.saturating_sub(lost).max(from));
            if has_garbage {
                bytes.resize(whole, 0);
            }
            fs::write(path, bytes).expect("writable");
        };
        cut(&path, lost_bytes, 0);
        let journal = with_suffix(&path, ".journal");
        let header = text_until_newline(&journal);
        cut(&journal, lost_entry_bytes, header);
        let mut record = open(&path);
        let num_found = record.num_found();
        let told: Vec<_> = rows.iter().map(|row| (row.clone(), "yes")).collect();
        let put = run(&mut record, &told);
        prop_assert_eq!(put.len() as u64 + num_found, 12);
        if lost_bytes == 0 && lost_entry_bytes == 0 {
            prop_assert_eq!(num_found, num_put as u64);
        }
        record.finish().expect("writable");
        let sorted: String = rows.iter().map(|row| line(row, "yes")).collect();
        prop_assert_eq!(text(&path), sorted);
    }
}

fn text_until_newline(path: &Path) -> usize {
    let bytes = fs::read(path).expect("readable");
    let end = bytes.iter().position(|byte| *byte == b'\n');
    end.expect("there is a header") + 1
}
