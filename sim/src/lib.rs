//! The program.

pub mod explain;
