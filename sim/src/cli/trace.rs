//! `uvsim trace`: memory-access traces, looked at and converted.

use clap::Subcommand;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use uvsim::run::Status;
use uvsim::trace::{Plan, Summary, Trace, TraceError, convert, summary};

#[derive(Subcommand)]
pub(super) enum TraceCommand {
    /// Tell what is in a trace: accesses by kind, pages, span, reuse
    Info {
        /// A trace: what valgrind's lackey writes, or a `.uvtrace`; plain, gzip or zstd
        file: PathBuf,
        /// Only the first N accesses
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        limit: Option<u64>,
    },
    /// Write a trace in the compact form
    Convert {
        /// A trace of any form
        input: PathBuf,
        /// The file to write, replaced if it is there; with `.gz` at its end it is compressed
        output: PathBuf,
        /// Keep only which pages are touched, not where in them
        #[arg(long)]
        pages_only: bool,
        /// Leave instruction fetches out
        #[arg(long)]
        data_only: bool,
        /// Only the first N accesses
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        limit: Option<u64>,
    },
}

/// Does what the command says.
pub(super) fn run(command: TraceCommand) -> Status {
    let (input, done) = match command {
        TraceCommand::Info { file, limit } => {
            let told = opened(&file, limit, false).and_then(|trace| summary(&trace)).map(|summary| shown(&summary));
            (file, told)
        }
        TraceCommand::Convert { input, output, pages_only, data_only, limit } => {
            let gzip = output.extension().is_some_and(|extension| extension == "gz");
            let done = opened(&input, limit, data_only)
                .and_then(|trace| convert(&trace, &output, Plan { pages_only, gzip }))
                .map(|done| {
                    let (path, read, written, bytes) = (output.display(), done.read, done.written, done.bytes);
                    format!("{path}: {written} of {read} accesses in {bytes} bytes\n")
                });
            (input, done)
        }
    };
    match done {
        Ok(told) => match std::io::stdout().write_all(told.as_bytes()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                super::complain(&format!("the report cannot be written: {error}"));
                Status::Unusable
            }
            _ => Status::Pass,
        },
        Err(error) => {
            let mut told = match error {
                TraceError::Unwritable { .. } | TraceError::Same(_) => error.to_string(),
                _ => format!("{}: {error}", input.display()),
            };
            if let Some(help) = error.help() {
                let _ = write!(told, "\n  help: {help}");
            }
            super::complain(&told);
            Status::Unusable
        }
    }
}

fn opened(path: &std::path::Path, limit: Option<u64>, data_only: bool) -> Result<Trace, TraceError> {
    let trace = Trace::open(path)?.limited(limit.unwrap_or(u64::MAX));
    Ok(if data_only { trace.data_only() } else { trace })
}

fn shown(summary: &Summary) -> String {
    let mut text = String::new();
    let [fetches, loads, stores, modifications] = summary.accesses;
    let _ = writeln!(text, "accesses       {}", summary.total());
    let _ = writeln!(text, "  fetches      {fetches}");
    let _ = writeln!(text, "  loads        {loads}");
    let _ = writeln!(text, "  stores       {stores}");
    let _ = writeln!(text, "  modifies     {modifications}");
    let _ = writeln!(text, "bytes          {}", summary.bytes);
    let _ = writeln!(text, "pages          {}, {} of them stored to", summary.pages, summary.stored_pages);
    if let Some((low, high)) = summary.span {
        let _ = writeln!(text, "span           {low:#x} to {high:#x}");
    }
    let same = 100.0 * summary.same_page as f64 / summary.page_accesses.max(1) as f64;
    let _ = writeln!(text, "reuse          {:.1} accesses a page, {same:.1} % to the page before", summary.reuse());
    text
}
