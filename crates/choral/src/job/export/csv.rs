//! Records as CSV: RFC 4180, a header, `\n` at the ends of lines. Null is an empty
//! cell; values that are no strings are JSON.

use super::columns::{Cell, Survey, plain, rows};
use super::{ExportError, ExportOptions, Source, staged, write_error};
use std::borrow::Cow;
use std::io::{self, BufWriter};
use std::path::Path;

pub(super) fn write(
    records: &dyn Source,
    survey: &Survey,
    delimiter: u8,
    target: &Path,
    options: ExportOptions,
) -> Result<u64, ExportError> {
    let fields = survey.field_names();
    let columns = survey.answer_columns(&fields);
    let (staged, file) = staged::file(target, options)?;
    let failed = |error: csv::Error| write_error(target)(io_error(error));
    let mut writer = csv::WriterBuilder::new()
        .delimiter(delimiter)
        .from_writer(BufWriter::new(file));
    let names = columns.iter().map(|(name, _)| name.as_str());
    let header = fields.iter().copied().chain(names);
    writer.write_record(header).map_err(failed)?;
    let mut num_rows = 0;
    for (position, record) in records.records()?.enumerate() {
        let record = record?;
        for answer in rows(&record) {
            let carried = fields.iter().map(|&name| {
                let value = record.fields.get(name);
                value.map_or(Cow::Borrowed(""), plain)
            });
            let own = columns.iter().map(|(_, column)| {
                match column.cell(&record, position as u64, answer) {
                    Cell::Null => Cow::Borrowed(""),
                    Cell::Int(number) => Cow::Owned(number.to_string()),
                    Cell::Text(text) => text,
                }
            });
            for cell in carried.chain(own) {
                writer.write_field(cell.as_bytes()).map_err(failed)?;
            }
            writer.write_record(None::<&[u8]>).map_err(failed)?;
            num_rows += 1;
        }
    }
    let writer = writer.into_inner().map_err(|error| {
        let kind = error.error().kind();
        write_error(target)(io::Error::new(kind, error.to_string()))
    })?;
    let file = writer
        .into_inner()
        .map_err(|error| write_error(target)(error.into_error()))?;
    staged.finish(&file)?;
    Ok(num_rows)
}

fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}
