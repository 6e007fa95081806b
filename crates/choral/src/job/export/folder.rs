//! Records as text files, one for each answer.
//!
//! A file has the record's `custom_id` as its name, as far as file systems allow, or
//! else the row's number with as many digits as the greatest has. Several answers
//! get `-0`, `-1` and so on; an error goes to a file that ends in `.error.txt`.

use super::columns::Survey;
use super::{AnswerRecord, ExportError, ExportOptions, Source, staged, write_error};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Longest part of a file's name that comes from a `custom_id`, in bytes: names may
/// have 255, and something is put behind.
const MAX_NAME_BYTES: usize = 180;

/// Names that Windows keeps for itself, whatever comes behind a dot.
const RESERVED: [&str; 22] = [
    "con", "prn", "aux", "nul", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8",
    "com9", "lpt1", "lpt2", "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9",
];

pub(super) fn write(
    records: &dyn Source,
    survey: &Survey,
    target: &Path,
    options: ExportOptions,
) -> Result<u64, ExportError> {
    let staged = staged::folder(target, options)?;
    let mut names = Names {
        num_digits: survey.max_row.to_string().len(),
        taken: HashSet::new(),
    };
    let mut num_files = 0;
    for (position, record) in records.records()?.enumerate() {
        let record = record?;
        let files = files(&record);
        let endings: Vec<&str> = files.iter().map(|(ending, _)| ending.as_str()).collect();
        let name = names.of(&record, position as u64, &endings);
        for (ending, text) in &files {
            let path = staged.path().join(format!("{name}{ending}"));
            fs::write(path, text).map_err(write_error(target))?;
            num_files += 1;
        }
    }
    let folder = open_folder(staged.path()).map_err(write_error(target))?;
    staged.finish(&folder)?;
    Ok(num_files)
}

#[cfg(unix)]
fn open_folder(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Folders cannot be opened; any file of the same disk flushes as much.
#[cfg(not(unix))]
fn open_folder(path: &Path) -> io::Result<File> {
    let marker = path.with_extension("sync");
    let file = File::create(&marker)?;
    fs::remove_file(marker)?;
    Ok(file)
}

/// What is behind the name of each file of a record, and what is in it.
fn files(record: &AnswerRecord) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let is_only = record.answers.len() == 1;
    for answer in &record.answers {
        let ending = if is_only {
            ".txt".to_owned()
        } else {
            format!("-{}.txt", answer.index)
        };
        let text = answer.text.as_ref().or(answer.tool_calls.as_ref());
        files.push((ending, text.cloned().unwrap_or_default()));
    }
    if let Some(error) = &record.error {
        let code = error.code.as_deref().unwrap_or("error");
        let message = error.message.as_deref().unwrap_or_default();
        files.push((".error.txt".to_owned(), format!("{code}: {message}\n")));
    }
    files
}

/// Gives each record a name that no other has.
struct Names {
    num_digits: usize,
    /// Names of files in lower case: some systems know no other.
    taken: HashSet<String>,
}

impl Names {
    fn of(&mut self, record: &AnswerRecord, position: u64, endings: &[&str]) -> String {
        let row = record.row.unwrap_or(position);
        let id = record.custom_id.as_deref().map(safe);
        let name = id
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| format!("{row:0width$}", width = self.num_digits));
        let mut unique = name.clone();
        let mut number = 1;
        while !self.is_free(&unique, endings) {
            number += 1;
            unique = format!("{name}~{number}");
        }
        for ending in endings {
            self.taken
                .insert(format!("{unique}{ending}").to_lowercase());
        }
        unique
    }

    fn is_free(&self, name: &str, endings: &[&str]) -> bool {
        let file = |ending: &&str| format!("{name}{ending}").to_lowercase();
        !endings
            .iter()
            .map(file)
            .any(|file| self.taken.contains(&file))
    }
}

/// What of a `custom_id` may be a file's name; the rest becomes `_`.
fn safe(id: &str) -> String {
    let mut name = String::new();
    for c in id.chars() {
        let is_safe = c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        let c = if is_safe { c } else { '_' };
        if name.len() + c.len_utf8() > MAX_NAME_BYTES {
            break;
        }
        name.push(c);
    }
    // A hidden file, the folder itself, the one above.
    if name.starts_with('.') {
        name.replace_range(..1, "_");
    }
    let stem = name.split('.').next().unwrap_or_default().to_lowercase();
    if RESERVED.contains(&stem.as_str()) {
        name.insert(0, '_');
    }
    name
}
