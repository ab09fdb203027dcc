//! Image files: made, taken apart, booted, damaged.

mod damage;
mod files;
#[path = "../folder/mod.rs"]
mod folder;
mod program;
mod support;
mod vectors;
