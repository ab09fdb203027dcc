//! Traces from one form into the compact one, and what is in them.

use super::binary::Writer;
use super::pages::Slots;
use super::{Access, Kind, Source, Trace, TraceError};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use uvsim_model::address::PAGE_SIZE;

/// How a trace is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// Keep only which pages are touched, and what for.
    pub pages_only: bool,
    /// Compress with gzip.
    pub gzip: bool,
}

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Converted {
    /// Accesses read.
    pub read: u64,
    /// Accesses written.
    pub written: u64,
    /// Bytes in the file.
    pub bytes: u64,
}

/// Writes a trace in the compact form. The file appears under its name only when it is whole; one that is there is
/// replaced, but never the input. Where a symbolic link is there, it stays, and what it leads to is replaced.
///
/// # Errors
/// The trace cannot be read to its end, or the file not be written.
pub fn convert(trace: &Trace, out: &Path, plan: Plan) -> Result<Converted, TraceError> {
    let unwritable =
        |error: io::Error| TraceError::Unwritable { path: out.display().to_string(), message: error.to_string() };
    if let Source::File(input) = &trace.source
        && let (Ok(input), Ok(output)) = (input.canonicalize(), out.canonicalize())
        && input == output
    {
        return Err(TraceError::Same(out.display().to_string()));
    }
    let out = &destination(out).map_err(unwritable)?;
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = out.with_file_name(name);
    let file = OpenOptions::new().write(true).create_new(true).open(&part).map_err(unwritable)?;
    let done = written(trace, file, plan, &unwritable).and_then(|converted| {
        std::fs::rename(&part, out).map_err(unwritable)?;
        Ok(converted)
    });
    if done.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    done
}

/// Where to write: to a regular file that is there, or to a new one.
fn destination(out: &Path) -> io::Result<PathBuf> {
    let Ok(there) = std::fs::symlink_metadata(out) else { return Ok(out.to_owned()) };
    let out = if there.is_symlink() { out.canonicalize()? } else { out.to_owned() };
    let kind = std::fs::metadata(&out)?.file_type();
    if kind.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    // A device or a pipe must not make way for a file.
    if kind.is_file() { Ok(out) } else { Err(io::Error::other("it is not a regular file")) }
}

fn written(
    trace: &Trace,
    file: File,
    plan: Plan,
    unwritable: &impl Fn(io::Error) -> TraceError,
) -> Result<Converted, TraceError> {
    let file = BufWriter::with_capacity(1 << 16, file);
    let (file, read, count) = packed(trace, file, plan, unwritable)?;
    let file = file.into_inner().map_err(|error| unwritable(error.into_error()))?;
    // A full disk may show only here.
    file.sync_all().map_err(unwritable)?;
    let bytes = file.metadata().map_err(unwritable)?.len();
    Ok(Converted { read, written: count, bytes })
}

/// As [`convert`] writes it, in storage.
///
/// # Errors
/// The trace cannot be read to its end.
pub fn encode(trace: &Trace, plan: Plan) -> Result<Vec<u8>, TraceError> {
    let unwritable =
        |error: io::Error| TraceError::Unwritable { path: "storage".to_owned(), message: error.to_string() };
    packed(trace, Vec::new(), plan, &unwritable).map(|(bytes, ..)| bytes)
}

fn packed<W: Write>(
    trace: &Trace,
    out: W,
    plan: Plan,
    unwritable: &impl Fn(io::Error) -> TraceError,
) -> Result<(W, u64, u64), TraceError> {
    if !plan.gzip {
        return encoded(trace, out, plan, unwritable);
    }
    let (out, read, count) = encoded(trace, GzEncoder::new(out, Compression::best()), plan, unwritable)?;
    Ok((out.finish().map_err(unwritable)?, read, count))
}

fn encoded<W: Write>(
    trace: &Trace,
    out: W,
    plan: Plan,
    unwritable: &impl Fn(io::Error) -> TraceError,
) -> Result<(W, u64, u64), TraceError> {
    let mut writer = Writer::new(out, plan.pages_only).map_err(unwritable)?;
    let (mut read, mut count) = (0, 0);
    let mut last = None;
    for access in trace.accesses()? {
        let access = access?;
        read += 1;
        if !plan.pages_only {
            writer.write(&access).map_err(unwritable)?;
            count += 1;
            continue;
        }
        for touched in pages_of(&access) {
            if last != Some(touched) {
                writer.write(&touched).map_err(unwritable)?;
                count += 1;
                last = Some(touched);
            }
        }
    }
    if count == 0 {
        return Err(TraceError::Empty);
    }
    Ok((writer.finish().map_err(unwritable)?, read, count))
}

/// The pages that an access touches, as accesses to their first bytes.
fn pages_of(access: &Access) -> impl Iterator<Item = Access> {
    let (kind, first) = (access.kind, access.address / PAGE_SIZE);
    let last = (access.address + (u64::from(access.size) - 1)) / PAGE_SIZE;
    (first..=last).map(move |page| Access { address: page * PAGE_SIZE, size: 1, kind })
}

/// What is in a trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Fetches, loads, stores, modifications.
    pub accesses: [u64; 4],
    /// Bytes of all accesses.
    pub bytes: u64,
    /// Different pages.
    pub pages: u64,
    /// Different pages that are stored to.
    pub stored_pages: u64,
    /// Accesses to pages: one that crosses into a second counts for both.
    pub page_accesses: u64,
    /// Those of them that touch the page that the access to a page before touched.
    pub same_page: u64,
    /// The lowest and the highest byte.
    pub span: Option<(u64, u64)>,
}

impl Summary {
    /// All accesses.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.accesses.iter().sum()
    }

    /// Accesses to a page, on average.
    #[must_use]
    pub fn reuse(&self) -> f64 {
        self.page_accesses as f64 / self.pages.max(1) as f64
    }
}

/// Reads a trace to its end.
///
/// # Errors
/// It cannot be read, or touches too many pages.
pub fn summary(trace: &Trace) -> Result<Summary, TraceError> {
    let mut summary = Summary::default();
    let mut slots = Slots::default();
    let mut stored = Vec::new();
    let mut before = None;
    for access in trace.accesses()? {
        let access = access?;
        summary.accesses[access.kind as usize] += 1;
        summary.bytes += u64::from(access.size);
        let last = access.address + (u64::from(access.size) - 1);
        let (low, high) = summary.span.unwrap_or((access.address, last));
        summary.span = Some((low.min(access.address), high.max(last)));
        for touched in pages_of(&access) {
            let slot = slots.number(touched.address / PAGE_SIZE).ok_or(TraceError::TooManyPages)?;
            if stored.len() <= slot as usize {
                stored.push(false);
            }
            stored[slot as usize] |= matches!(touched.kind, Kind::Store | Kind::Modify);
            summary.page_accesses += 1;
            summary.same_page += u64::from(before == Some(slot));
            before = Some(slot);
        }
    }
    summary.pages = slots.pages.len() as u64;
    summary.stored_pages = stored.iter().filter(|&&stored| stored).count() as u64;
    Ok(summary)
}
