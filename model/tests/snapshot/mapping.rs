//! Snapshots of a machine whose host stores through a mapping of its own.

#![allow(unsafe_code, reason = "plain stores to the host's mapping; see the SAFETY comment")]

use crate::support::{DONE, Host, config};
use crate::view::View;
use uvsim_model::Machine;
use uvsim_model::address::{FrameNumber, PageIndex};
use uvsim_model::config::MachineConfig;

/// The host stores a byte at the start of a frame that is not secure, past the model.
fn poke(machine: &Machine, frame: FrameNumber, byte: u8) {
    let pointer = machine.host_view().and_then(|view| view.pointer(frame.address())).expect("in storage");
    assert_eq!(protection(machine, frame), "rw-s");
    // SAFETY: the pointer is one into the host's mapping, which lives as long as the machine and can be written here,
    // as the system has just said. No other thread is there.
    unsafe { pointer.as_ptr().write_volatile(byte) };
}

/// What the system says of the host's mapping of a frame.
fn protection(machine: &Machine, frame: FrameNumber) -> String {
    let pointer = machine.host_view().and_then(|view| view.pointer(frame.address())).expect("in storage");
    let at = pointer.as_ptr().addr();
    let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux has it");
    let line = maps.lines().find(|line| {
        let ends = line.split(' ').next().and_then(|range| range.split_once('-'));
        let end = |text| usize::from_str_radix(text, 16).expect("an address");
        ends.is_some_and(|(from, to)| (end(from)..end(to)).contains(&at))
    });
    line.and_then(|line| line.split(' ').nth(1)).expect("it is mapped").to_owned()
}

fn byte(machine: &Machine, frame: FrameNumber) -> u8 {
    let mut bytes = [0];
    assert!(machine.peek(frame.address(), &mut bytes));
    bytes[0]
}

#[test]
#[cfg(target_os = "linux")]
fn what_the_host_has_stored_by_itself_goes_back_and_so_do_protections() {
    const P: PageIndex = PageIndex(5);
    let machine = Machine::new(MachineConfig { host_view: true, ..config() }).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let [stored, empty, given] = [host.frame(), host.frame(), host.frame()];
    let secure = host.resident(&guest, P);
    poke(&machine, stored, 1);
    host.cpu.snapshot().unwrap();
    let before = View::of(&host.cpu);
    for round in 0..3 {
        poke(&machine, stored, 2);
        poke(&machine, empty, 3);
        // A frame that the host has stored to becomes secure; one that was secure is stored to.
        poke(&machine, given, 4);
        host.map(&guest, PageIndex(6), given);
        assert_eq!(host.import(&guest, PageIndex(6)), DONE);
        assert_eq!(protection(&machine, given), "---s");
        assert_eq!(host.export(secure), DONE);
        poke(&machine, secure, 5);
        host.cpu.restore().unwrap();
        let bytes = [stored, empty, given, secure].map(|frame| byte(&machine, frame));
        assert_eq!(bytes, [1, 0, 0, 0], "round {round}");
        let protections = [stored, empty, given, secure].map(|frame| protection(&machine, frame));
        assert_eq!(protections, ["rw-s", "rw-s", "rw-s", "---s"], "round {round}");
        assert_eq!(before.difference(&View::of(&host.cpu)), None, "round {round}");
    }
    assert_eq!(machine.host_view_failed(), None);
}
