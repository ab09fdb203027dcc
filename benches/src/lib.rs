//! Benchmarks of uvsim, each operation beside its limit.
//!
//! `cargo run --release -p uvsim-benches` prints the table of ratios; with `--quick` it takes seconds and
//! only shows that everything runs. `cargo bench -p uvsim-benches` runs the same operations under
//! criterion, for comparisons of one version with the next.
//!
//! A row of the table is an operation of the model and the least that could do the same work: bare cipher
//! calls, a memory-mapping library, a copy. Both are sampled round robin in one process, so that what
//! disturbs one disturbs the other. [`sections`] has one module per group of rows.

pub mod bare_image;
pub mod boot;
pub mod cases;
pub mod host;
pub mod limits;
pub mod order;
pub mod samples;
pub mod sections;
pub mod sets;
pub mod stopwatch;
pub mod table;
