//! Image files: made, taken apart, booted, damaged.

mod damage;
mod files;
mod program;
mod support;
mod vectors;
