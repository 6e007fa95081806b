//! The `choral` command line.

fn main() {}
