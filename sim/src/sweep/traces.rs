//! Trace files, read once and shared by all cells.

use super::{Grid, Settings, SweepError, TraceEntry};
use crate::trace::{PageTrace, Trace, page_trace};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

/// Reads the files; the grid is of them, and they are in its order.
pub(super) fn read(files: &[PathBuf], settings: &Settings) -> Result<(Grid, Vec<PageTrace>), SweepError> {
    let mut read = Vec::new();
    for path in files {
        let trace = Trace::open(path).and_then(|trace| page_trace(&trace));
        let trace = trace.map_err(|error| {
            let help = error.help().map_or(String::new(), |help| format!("\n  help: {help}"));
            SweepError::Trace { path: path.clone(), message: format!("{error}{help}") }
        })?;
        read.push((entry(path, &trace, settings.window), trace));
    }
    read.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
    let (entries, traces) = read.into_iter().unzip();
    Ok((Grid::new(settings, entries)?, traces))
}

fn entry(path: &Path, trace: &PageTrace, window: u64) -> TraceEntry {
    TraceEntry {
        name: path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
        digest: digest(trace),
        accesses: trace.touches.len() as u64,
        pages: trace.pages.len() as u64,
        working_set: working_set(trace, window),
        frames: Vec::new(),
    }
}

/// Of what a guest repeats: however the file is packed, and wherever the program's pages lay.
fn digest(trace: &PageTrace) -> u64 {
    let mut hash = Xxh3::new();
    for touch in &trace.touches {
        let [low, high] = (touch.word() as u16).to_le_bytes();
        let [a, b, c, _] = (touch.slot() as u32).to_le_bytes();
        hash.update(&[a, b, c, low, high, u8::from(touch.is_store())]);
    }
    hash.digest()
}

/// Different pages in a window of accesses, on average over the windows one after the other, rounded. A window
/// that is not full counts only if there is no other.
fn working_set(trace: &PageTrace, window: u64) -> u64 {
    let window = usize::try_from(window).unwrap_or(usize::MAX).max(1);
    let mut seen = vec![0u32; trace.pages.len()];
    let (mut windows, mut sum) = (0u32, 0u64);
    for part in trace.touches.chunks(window) {
        if part.len() < window && windows > 0 {
            break;
        }
        windows += 1;
        for touch in part {
            let last = &mut seen[touch.slot()];
            sum += u64::from(*last != windows);
            *last = windows;
        }
    }
    let windows = u64::from(windows.max(1));
    (sum + windows / 2) / windows
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Pages, and whether they are stored into.
    pub(in crate::sweep) fn trace(touches: &[(u64, bool)]) -> PageTrace {
        let line = |&(page, store): &(u64, bool)| format!(" {} {:x},8\n", if store { 'S' } else { 'L' }, page << 12);
        let text: String = touches.iter().map(line).collect();
        page_trace(&Trace::from_bytes(text.into_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn digests_tell_traces_apart() {
        let of = |touches: &[(u64, bool)]| digest(&trace(touches));
        let one = of(&[(1, true), (2, false)]);
        assert_eq!(one, of(&[(7, true), (3, false)]));
        for other in [&[(1, true), (2, true)][..], &[(1, true), (1, false)], &[(1, true)]] {
            assert_ne!(one, of(other));
        }
    }

    #[test]
    fn working_sets_are_means_over_full_windows() {
        let pages = [1, 1, 2, 3, 4, 5, 1].map(|page| (page, false));
        // 1 and 1 2 | 3 4 5 | 1: two and three.
        assert_eq!(working_set(&trace(&pages), 3), 3);
        assert_eq!(working_set(&trace(&pages[..3]), 3), 2);
        assert_eq!((working_set(&trace(&pages), 100), working_set(&trace(&pages), u64::MAX)), (5, 5));
    }
}
