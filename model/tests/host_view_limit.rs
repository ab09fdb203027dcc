//! A process may have so many mappings. In a file of its own, since the whole process is short of them then.

#![cfg(target_os = "linux")]

mod support;

use support::{DONE, Host, config};
use uvsim_model::Machine;
use uvsim_model::address::{FrameNumber, PageIndex};
use uvsim_model::config::MachineConfig;

/// Pages in every other frame, so that each takes two mappings.
const PAGES: u64 = 33_000;

#[test]
fn without_mappings_the_view_is_open_and_the_machine_goes_on() {
    let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
    if limit.trim().parse::<u64>().unwrap() > 2 * PAGES {
        eprintln!("skipped: this system allows {} mappings", limit.trim());
        return;
    }
    let machine = Machine::new(MachineConfig { host_view: true, ..config() }).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(PAGES.div_ceil(256));
    let area = host.allocate(2 * PAGES * 4096) / 4096;
    let frame = |page: u64| FrameNumber(area + 2 * page);
    for page in 2..PAGES {
        host.map_without_purge(&guest, PageIndex(page), frame(page));
        assert_eq!(host.import(&guest, PageIndex(page)), DONE, "{page}");
    }
    assert!(machine.host_view_failed().is_some(), "the system has allowed them all");
    host.guest_store(&guest, 0x4000, b"on and on").unwrap();
    assert_eq!(host.export(frame(4)), DONE);
    assert_eq!(host.import(&guest, PageIndex(4)), DONE);
    assert_eq!(host.guest_load(&guest, 0x4000, 9).unwrap(), b"on and on");
    assert!(host.page_bytes(frame(4)).is_err(), "accesses of a host CPU are checked all the same");
    machine.check_invariants().unwrap();
}
