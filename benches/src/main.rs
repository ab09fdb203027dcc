//! Prints the table of ratios.

use std::process::ExitCode;
use uvsim_benches::limits::aes_is_accelerated;
use uvsim_benches::sections::{
    Plan, access, arrival, boot, calls, interface, lanes, paging, replay, snapshot, tebibyte, virtio, workload,
};
use uvsim_benches::table::{HEAD, Row};

/// Measures one section of the table.
type Section = fn(&Plan) -> Vec<Row>;

/// The sections by name.
const SECTIONS: [(&str, Section); 12] = [
    ("paging", paging),
    ("arrival", arrival),
    ("access", access),
    ("calls", calls),
    ("interface", interface),
    ("snapshot", snapshot),
    ("boot", boot),
    ("workload", workload::workload),
    ("replay", replay::replay),
    ("lanes", lanes::lanes),
    ("virtio", virtio),
    ("tebibyte", |_| tebibyte::tebibyte()),
];

fn main() -> ExitCode {
    let mut plan = Plan::full();
    let mut wanted = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--quick" => plan = Plan::quick(),
            tebibyte::CHILD => {
                tebibyte::run_as_child();
                return ExitCode::SUCCESS;
            }
            section if SECTIONS.iter().any(|(name, _)| *name == section) => wanted.push(argument),
            other => {
                let names = SECTIONS.map(|(name, _)| name).join(", ");
                eprintln!("{other}: not --quick, nor a section ({names})");
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{}\n\n{HEAD}", header(&plan));
    for (name, section) in SECTIONS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            print(section(&plan));
        }
    }
    ExitCode::SUCCESS
}

fn print(rows: Vec<Row>) {
    for row in rows {
        println!("{row}");
    }
}

fn header(plan: &Plan) -> String {
    let processor = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name.to_owned()))
    });
    format!(
        "Processor: {}; AES acceleration {}. One thread, its processor time; medians of {} rounds, every case once \
         a round; a ratio is the median of the ratios of the rounds. Random order, frames touched before.",
        processor.as_deref().unwrap_or("unknown"),
        if aes_is_accelerated() { "live" } else { "NOT live" },
        plan.rounds,
    )
}
