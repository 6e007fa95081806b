//! Hand-made files, and what RFC 4180 says of them.

use super::super::{TableError, TableFault, TableRow};
use super::{CsvOptions, CsvRows};
use serde_json::{Value, json};
use std::io::{self, Read};

fn rows(text: impl AsRef<[u8]>) -> Vec<TableRow> {
    let rows = CsvRows::new(text.as_ref(), CsvOptions::CSV).expect("a header");
    rows.map(|row| row.expect("readable")).collect()
}

/// The rows as lines, and cells without names.
fn cells(text: impl AsRef<[u8]>) -> Vec<(u64, Vec<Value>)> {
    let cells = |row: TableRow| {
        let fields = row.fields.expect("no fault").into_iter();
        (row.line, fields.map(|(_, value)| value).collect())
    };
    rows(text).into_iter().map(cells).collect()
}

fn refusal(text: impl AsRef<[u8]>) -> TableError {
    let rows = CsvRows::new(text.as_ref(), CsvOptions::CSV);
    rows.err().expect("a refusal")
}

#[test]
fn quoted_cells_have_delimiters_quotes_and_line_ends() {
    let found = cells("a,b\n\"x,1\",\"say \"\"hi\"\"\"\n\"two\r\nlines\",\" kept \"\nlast,1\n");
    let expected = [
        (2, vec![json!("x,1"), json!("say \"hi\"")]),
        (3, vec![json!("two\r\nlines"), json!(" kept ")]),
        (5, vec![json!("last"), json!("1")]),
    ];
    assert_eq!(found, expected);
}

#[test]
fn names_are_those_of_the_header_and_empty_cells_are_null() {
    let found = rows("id,text\n1,\n\"\",x\n");
    let expected = |line, id: Value, text: Value| TableRow {
        line,
        fields: Ok(vec![("id".to_owned(), id), ("text".to_owned(), text)]),
    };
    assert_eq!(found[0], expected(2, json!("1"), Value::Null));
    assert_eq!(found[1], expected(3, Value::Null, json!("x")));
}

#[test]
fn a_byte_order_mark_and_all_line_ends_are_read() {
    let found = cells("\u{feff}a,b\r\n1,2\r\n\r\n3,4\r5,6\n\n\n7,8");
    let lines: Vec<u64> = found.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [2, 4, 5, 8]);
    assert_eq!(found[3].1, [json!("7"), json!("8")]);
    let rows = CsvRows::new("\u{feff}\"a\",b\n".as_bytes(), CsvOptions::CSV);
    assert_eq!(rows.expect("a header").columns(), ["a", "b"]);
}

#[test]
fn tabulators_delimit_where_they_are_asked_to() {
    let rows = CsvRows::new("a\tb,c\n1,5\t2\n".as_bytes(), CsvOptions::TSV).expect("a header");
    assert_eq!(rows.columns(), ["a", "b,c"]);
    let row = rows.last().expect("a row").expect("readable");
    let fields = row.fields.expect("no fault");
    assert_eq!(fields[0], ("a".to_owned(), json!("1,5")));
}

#[test]
fn a_faulty_row_is_told_and_the_next_is_read() {
    let found = rows(b"a,b\n1\n1,2,3,4\n1,\xff\n\"caf\xc3\xa9\",b\xc3\n5,6\n");
    let fault = |index: usize| found[index].fields.clone().expect_err("a fault");
    let ragged = |found| TableFault::Cells { expected: 2, found };
    assert_eq!((found[0].line, fault(0)), (2, ragged(1)));
    assert_eq!((found[1].line, fault(1)), (3, ragged(4)));
    let not_utf8 = |offset| TableFault::NotUtf8 {
        column: "b".to_owned(),
        offset,
    };
    assert_eq!(fault(2), not_utf8(0));
    assert_eq!(fault(3), not_utf8(1));
    assert!(found[4].fields.is_ok());
    assert_eq!(
        fault(3).to_string(),
        "column `b` is not UTF-8: byte 1 of the cell cannot stand there"
    );
}

#[test]
fn a_quote_that_nothing_closes_is_told() {
    let found = rows("a,b\n1,2\n3,\"4\n5,6\n");
    assert_eq!(found.len(), 2);
    assert_eq!(found[1].line, 3);
    assert_eq!(found[1].fields, Err(TableFault::OpenQuote));
}

#[test]
fn a_row_that_is_too_long_is_passed_over() {
    let long = "x".repeat(100);
    let text = format!(
        "a,b\n1,{long}\n\"{long}\n{long}\",2\n{},\n3,4\n",
        ",".repeat(99)
    );
    let rows = CsvRows::with_limit(text.as_bytes(), CsvOptions::CSV, 64).expect("a header");
    let rows: Vec<_> = rows.map(|row| row.expect("readable")).collect();
    let too_long = Err(TableFault::TooLong { max: 64 });
    assert_eq!((rows[0].line, &rows[0].fields), (2, &too_long));
    assert_eq!((rows[1].line, &rows[1].fields), (3, &too_long));
    let ragged = TableFault::Cells {
        expected: 2,
        found: 101,
    };
    assert_eq!((rows[2].line, &rows[2].fields), (5, &Err(ragged)));
    assert_eq!(rows[3].line, 6);
    assert!(rows[3].fields.is_ok());
    // As long as it may be.
    let text = format!("a\n{}\n", "y".repeat(64));
    let mut rows = CsvRows::with_limit(text.as_bytes(), CsvOptions::CSV, 64).expect("a header");
    let row = rows.next().expect("a row").expect("readable");
    assert_eq!(row.fields.expect("no fault")[0].1, json!("y".repeat(64)));
}

#[test]
fn a_header_that_names_nothing_is_an_error_of_the_file() {
    assert!(matches!(refusal(""), TableError::NoHeader));
    assert!(matches!(refusal("\n\r\n"), TableError::NoHeader));
    assert!(matches!(
        refusal("a,,b\n"),
        TableError::NoName { number: 2 }
    ));
    let error = refusal("a,b,a\n1,2,3\n");
    assert_eq!(error.to_string(), "there are two columns `a`");
    let error = refusal(b"a,\xe4\n1,2\n");
    assert_eq!(
        error.to_string(),
        "the header cannot be read: column `2` is not UTF-8: byte 0 of the cell cannot stand there"
    );
    let error = refusal("a,\"b\n1,2\n");
    assert!(matches!(error, TableError::Header(TableFault::OpenQuote)));
    let utf16 = b"\xff\xfea\0,\0b\0";
    assert!(matches!(refusal(utf16), TableError::Utf16));
    let wide = ",x".repeat(super::MAX_COLUMNS + 1);
    let error = refusal(wide);
    assert!(
        matches!(error, TableError::TooManyColumns { .. }),
        "{error}"
    );
}

/// Gives a byte at a time, and fails at the end.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((first, rest)) = self.0.split_first() else {
            return Err(io::Error::other("the disk is gone"));
        };
        buffer[0] = *first;
        self.0 = rest;
        Ok(1)
    }
}

#[test]
fn rows_come_before_the_file_ends_and_a_failure_ends_them() {
    let text = "\u{feff}a,b\r\n\"1\r\n\",\"\"\"\"\r\n3,";
    let mut rows = CsvRows::new(Slow(text.as_bytes()), CsvOptions::CSV).expect("a header");
    let row = rows.next().expect("a row").expect("readable");
    let fields = row.fields.expect("no fault");
    assert_eq!(fields[0].1, json!("1\r\n"));
    assert_eq!(fields[1].1, json!("\""));
    let error = rows.next().expect("a failure").expect_err("a failure");
    assert_eq!(error.to_string(), "the disk is gone");
    assert!(rows.next().is_none());
}
