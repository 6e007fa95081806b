//! Where each row's line is, on disk: eight bytes a row.
//!
//! A job may have more rows than memory has room for numbers. Rows come in almost in
//! order, so that what is written and read lies in the system's cache.

use super::journal::read_at;
use std::fs::File;
use std::io;
use std::path::Path;

/// Slots that are read together.
const SLOTS_AT_ONCE: usize = 1 << 13;

/// Numbers by row, in a file without a name.
#[derive(Debug)]
pub(super) struct Index {
    file: File,
    num_slots: u64,
}

impl Index {
    /// An empty index in `folder`.
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        let file = tempfile::tempfile_in(folder)?;
        Ok(Self { file, num_slots: 0 })
    }

    /// Notes `entry` for `row`, in place of what was noted before.
    pub(super) fn set(&mut self, row: u64, entry: u64) -> io::Result<()> {
        let offset = row.checked_mul(8).ok_or(io::ErrorKind::InvalidInput)?;
        // 0 is what a hole of the file reads as.
        write_at(&self.file, &(entry + 1).to_le_bytes(), offset)?;
        self.num_slots = self.num_slots.max(row + 1);
        Ok(())
    }

    /// Hands what was noted to `each`, in the order of the rows.
    pub(super) fn each(&self, mut each: impl FnMut(u64, u64) -> io::Result<()>) -> io::Result<()> {
        let mut bytes = vec![0; SLOTS_AT_ONCE * 8];
        let mut row = 0;
        while row < self.num_slots {
            let count = (self.num_slots - row).min(SLOTS_AT_ONCE as u64) as usize;
            let slots = &mut bytes[..count * 8];
            read_at(&self.file, slots, row * 8)?;
            for slot in slots.chunks_exact(8) {
                let slot = slot.first_chunk().expect("the chunk has 8 bytes");
                if let Some(entry) = u64::from_le_bytes(*slot).checked_sub(1) {
                    each(row, entry)?;
                }
                row += 1;
            }
        }
        Ok(())
    }
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(not(unix))]
fn write_at(mut file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    use std::io::{Seek as _, SeekFrom, Write as _};
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(bytes)
}
