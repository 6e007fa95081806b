//! Files that pyarrow wrote, with the values that it read back from them, and what
//! is left of them after some bytes have changed.

use super::super::TableError;
use super::ParquetRows;
use serde_json::{Map, Value};
use std::fs::{self, File};
use std::io::{self, Seek as _, Write as _};
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../golden/tables")
}

fn open(name: &str) -> Result<ParquetRows, TableError> {
    ParquetRows::open(File::open(folder().join(name)).expect("in the repository"))
}

fn of_bytes(bytes: &[u8]) -> Result<ParquetRows, TableError> {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(bytes).expect("written");
    file.rewind().expect("rewound");
    ParquetRows::open(file)
}

/// Reads all of a file.
fn read(bytes: &[u8]) -> io::Result<u64> {
    let mut num_rows = 0;
    for row in of_bytes(bytes)? {
        row?.fields.expect("rows of Parquet have no faults");
        num_rows += 1;
    }
    Ok(num_rows)
}

#[test]
fn values_are_those_that_pyarrow_reads() {
    let text = fs::read_to_string(folder().join("expected.json")).expect("readable");
    let expected: Map<String, Value> = serde_json::from_str(&text).expect("JSON");
    for name in ["types", "nested", "groups", "encodings", "empty"] {
        let name = format!("{name}.parquet");
        let expected = &expected[&name];
        let rows = open(&name).unwrap_or_else(|error| panic!("{name}: {error}"));
        let columns = expected["columns"].as_array().expect("a list");
        assert_eq!(rows.columns().len(), columns.len());
        assert!(
            rows.columns()
                .iter()
                .zip(columns)
                .all(|(found, column)| found == column)
        );
        let expected = expected["rows"].as_array().expect("a list");
        assert_eq!(rows.num_rows(), expected.len() as u64);
        let mut num_rows = 0;
        for (index, row) in rows.enumerate() {
            let row = row.expect("readable");
            assert_eq!(row.line, index as u64 + 1);
            for (column, value) in row.fields.expect("no fault") {
                assert_eq!(
                    value, expected[index][&column],
                    "{name}, row {index}, {column}"
                );
            }
            num_rows += 1;
        }
        assert_eq!(num_rows, expected.len());
    }
}

#[test]
fn another_thread_may_read() {
    fn check<T: Send + 'static>() {}
    check::<ParquetRows>();
}

#[test]
fn a_codec_that_is_not_built_in_is_named() {
    let mut rows = open("brotli.parquet").expect("the footer is readable");
    let error = rows.next().expect("an error").expect_err("an error");
    let message = error.to_string();
    assert!(message.to_lowercase().contains("brotli"), "{message}");
    assert!(rows.next().is_none());
}

#[test]
fn what_is_no_parquet_file_is_told() {
    let message = |bytes: &[u8]| of_bytes(bytes).expect_err("an error").to_string();
    assert!(message(b"").contains("too short"));
    assert!(message(b"{\"prompt\": \"a\"}\n{}").contains("does not end as Parquet files do"));
    assert!(message(b"PAR1\0\0\0\xffPAR1").contains("longer than the file"));
    assert!(message(b"PAR1\0\0\0\0PARE").contains("encrypted"));
}

/// A file whose footer is `footer`.
fn with_footer(footer: &[u8]) -> Vec<u8> {
    let mut file = b"PAR1".to_vec();
    file.extend(footer);
    file.extend((footer.len() as u32).to_le_bytes());
    file.extend(b"PAR1");
    file
}

/// `FileMetaData` in Thrift's compact protocol: version 1, and a schema of a group in
/// a group in a group, each with `num_members`.
fn nested_footer(depth: usize, num_members: &[u8]) -> Vec<u8> {
    // Field 1, i32: 1 (zigzag 2). Field 2, a list of structs.
    let mut footer = vec![0x15, 0x02, 0x19, 0xfc];
    // Its length as a varint of five bytes.
    for shift in [0, 7, 14, 21] {
        footer.push(0x80 | (depth >> shift & 0x7f) as u8);
    }
    footer.push(0);
    for _ in 0..depth {
        // Field 3, i32: optional. Field 4, binary: `a`. Field 5, i32: members.
        footer.extend([0x35, 0x02, 0x18, 0x01, b'a', 0x15]);
        footer.extend(num_members);
        footer.push(0);
    }
    footer.push(0);
    footer
}

#[test]
fn columns_that_nest_without_end_do_not_take_the_stack() {
    let file = with_footer(&nested_footer(200_000, &[0x02]));
    let error = of_bytes(&file).expect_err("an error").to_string();
    assert!(error.contains("nest deeper than 64 levels"), "{error}");
}

#[test]
fn a_group_of_billions_of_columns_takes_no_memory() {
    // 2^31 - 1, zigzag.
    let file = with_footer(&nested_footer(2, &[0xfe, 0xff, 0xff, 0xff, 0x0f]));
    let error = of_bytes(&file).expect_err("an error").to_string();
    assert!(error.contains("more members than there are"), "{error}");
}

#[test]
fn files_that_are_cut_off_or_changed_are_errors_at_worst() {
    let mut num_read = 0;
    let mut num_refused = 0;
    for name in ["types", "nested", "groups", "encodings"] {
        let bytes = fs::read(folder().join(format!("{name}.parquet"))).expect("readable");
        for end in (0..bytes.len()).step_by(61) {
            read(&bytes[..end]).expect_err("a cut file has no footer");
        }
        for at in (0..bytes.len()).step_by(5) {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            match read(&changed) {
                Ok(_) => num_read += 1,
                Err(_) => num_refused += 1,
            }
        }
    }
    // Values may change without being noticed: nothing sums them up.
    assert!(num_read > 0 && num_refused > 0, "{num_read}, {num_refused}");
}
