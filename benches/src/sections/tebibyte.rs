//! A guest of 1 TiB on a machine of 2 TiB: what size alone costs.

use crate::host::{Host, built};
use crate::order::Mixer;
use crate::table::{Row, Target};
use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};
use uvsim_model::address::{AbsoluteAddress, PageIndex};
use uvsim_model::config::MachineConfig;

const TEBIBYTE: u64 = 1 << 40;
const PAGES: u64 = TEBIBYTE / 4096;
const TOUCHED: usize = 1000;
const MOST_SECONDS: f64 = 1.0;
const MOST_MEBIBYTES: f64 = 128.0;

/// Set in the environment of the process that runs the scene on its own, so that its peak is its own.
pub const CHILD: &str = "--tebibyte";

/// Runs the scene in this process and prints its figures for the parent.
pub fn run_as_child() {
    let times = scene();
    let [create, touch, end] = times.map(|time| time.as_secs_f64());
    println!("{create} {touch} {end} {}", peak_kibibytes().unwrap_or(f64::NAN));
}

/// Creation, a thousand random pages, the end.
fn scene() -> [Duration; 3] {
    let mut start = Instant::now();
    let mut lap = || core::mem::replace(&mut start, Instant::now()).elapsed();
    let machine = built(MachineConfig { storage: 2 * TEBIBYTE, cpus: 1, ..MachineConfig::default() });
    let mut host = Host::new(&machine);
    let mut guest = host.create(TEBIBYTE >> 20);
    host.start(&mut guest);
    let created = lap();
    let mut mixer = Mixer(0x7eb1);
    let mut pages = BTreeSet::new();
    while pages.len() < TOUCHED {
        // The first MiB holds the prefix area.
        pages.insert(256 + mixer.below(PAGES - 256));
    }
    for page in pages {
        let frame = AbsoluteAddress(host.allocate(4096)).frame();
        host.map(&mut guest, PageIndex(page), frame);
        host.import(&guest, PageIndex(page));
        host.enter(&guest).store(PageIndex(page).address(), &[1; 8]).expect("the page is resident");
    }
    let touched = lap();
    host.end(&guest);
    drop(host);
    drop(machine);
    [created, touched, lap()]
}

fn peak_kibibytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The rows, measured in a process of their own. Nothing if that process cannot be had.
#[must_use]
pub fn tebibyte() -> Vec<Row> {
    let figures = std::env::current_exe()
        .and_then(|program| Command::new(program).arg(CHILD).output())
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let figures: Vec<f64> = figures
        .map(|text| text.split_whitespace().filter_map(|figure| figure.parse().ok()).collect())
        .unwrap_or_default();
    let [create, touch, end, peak] = figures[..] else { return Vec::new() };
    let (seconds, mebibytes) = (create + touch + end, peak / 1024.0);
    let operation = format!("create, {TOUCHED} pages, tear down");
    let row = |ours, text, reached| Row {
        operation: operation.clone(),
        set: "1 TiB guest",
        ours,
        limit: String::new(),
        ratio: f64::NAN,
        target: Some((Target::Other(text, reached), reached)),
    };
    vec![
        row(format!("{seconds:.2} s ({create:.2} + {touch:.2} + {end:.2})"), "≤ 1 s", seconds <= MOST_SECONDS),
        row(format!("{mebibytes:.0} MiB peak"), "≤ 128 MiB", mebibytes <= MOST_MEBIBYTES),
    ]
}
