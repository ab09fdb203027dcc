//! The `uvsim` program.
fn main() {}
