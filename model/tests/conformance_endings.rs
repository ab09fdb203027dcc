//! Conformance, the end of configurations and what it leaves: C46–C52, T39–T42, D27, D28.

#[path = "support/scene.rs"]
mod scene;
mod support;

use scene::with;
use std::collections::BTreeSet;
use support::{DONE, Guest, Host, config, refused};
use uvsim_model::address::{FrameNumber, PageIndex, VirtualAddress};
use uvsim_model::config::MachineConfig;
use uvsim_model::storage::{FrameState, ProgramCode};
use uvsim_model::uvc::Command;
use uvsim_model::{CONFIGURATION_BASE_LENGTH, CONFIGURATION_FIXED_LENGTH, Machine};

/// Every page of an area raises 0x3d on loads and stores of the host.
#[track_caller]
fn is_donated(host: &mut Host<'_>, origin: u64, len: u64) {
    for at in (origin..origin + len).step_by(0x1000) {
        let code = host.load(at, 8).unwrap_err().code;
        assert_eq!(code, ProgramCode::SecureStorageAccess, "load at {at:#x}");
        let code = host.cpu.store(VirtualAddress(at), &[1]).unwrap_err().code;
        assert_eq!(code, ProgramCode::SecureStorageAccess, "store at {at:#x}");
    }
}

/// Every page of an area can be read and is zero.
#[track_caller]
fn is_zero(host: &mut Host<'_>, origin: u64, len: u64) {
    for at in (origin..origin + len).step_by(0x1000) {
        assert_eq!(host.load(at, 4096), Ok(vec![0; 4096]), "page at {at:#x}");
    }
}

fn variable_length(guest: &Guest) -> u64 {
    CONFIGURATION_FIXED_LENGTH + guest.mebibytes * 0x1000
}

/// A machine with a configuration and everything that a CPU of it needs, but no CPU.
fn without_cpu(host: &mut Host<'_>) -> Guest {
    let mut guest = host.prepare(1);
    assert_eq!(host.call(Command::CreateSecConf, &Host::create_fields(&guest)), DONE);
    guest.handle = host.output(0x18);
    guest
}

#[test]
fn c46_destroy_configuration_of_a_wrong_length() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = without_cpu(&mut host);
    host.refuse_raw(0x0101, 0x38, &[(0x18, 8, guest.handle)], refused(5));
    host.refuse_raw(0x0101, 0x48, &[(0x18, 8, guest.handle)], refused(5));
    host.refuse_raw(0x0102, 0x40, &[(0x18, 8, guest.handle)], refused(5));
}

#[test]
fn c47_destroy_configuration_of_an_unknown_handle() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = without_cpu(&mut host);
    for command in [Command::DestroySecConf, Command::DestroySecConfFast] {
        for handle in [guest.handle + 1, guest.handle - 1, 0, u64::MAX] {
            host.refuse_unchanged(command, &[(0x18, 8, handle)], refused(0x20));
        }
    }
}

#[test]
fn c48_t42_destroy_configuration_returns_its_storage() {
    for command in [Command::DestroySecConf, Command::DestroySecConfFast] {
        let machine = support::machine(config());
        let mut host = Host::ready(&machine);
        let guest = without_cpu(&mut host);
        is_donated(&mut host, guest.base, CONFIGURATION_BASE_LENGTH);
        is_donated(&mut host, guest.variable, variable_length(&guest));
        let log = scene::Log::of(&machine);
        assert_eq!(host.call(command, &[(0x18, 8, guest.handle)]), DONE);
        let transitions = log.transitions();
        assert_eq!(transitions.len() as u64, (CONFIGURATION_BASE_LENGTH + variable_length(&guest)) / 4096);
        assert!(transitions.iter().all(|&rule| rule == "T42"));
        is_zero(&mut host, guest.base, CONFIGURATION_BASE_LENGTH);
        is_zero(&mut host, guest.variable, variable_length(&guest));
        host.refuse_unchanged(command, &[(0x18, 8, guest.handle)], refused(0x20));
        machine.check_invariants().unwrap();
    }
}

#[test]
fn c49_a_configuration_with_a_cpu_cannot_be_destroyed() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    for command in [Command::DestroySecConf, Command::DestroySecConfFast] {
        host.refuse_unchanged(command, &[(0x18, 8, guest.handle)], refused(0x105));
    }
    host.resident(&guest, PageIndex(3));
    assert_eq!(host.guest_store(&guest, 0x3000, b"usable"), Ok(()));
}

#[test]
fn c50_a_configuration_can_be_made_again() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = without_cpu(&mut host);
    let mut live = guest.handle;
    let mut issued = BTreeSet::from([live]);
    for command in [Command::DestroySecConf, Command::DestroySecConfFast, Command::DestroySecConf] {
        assert_eq!(host.call(command, &[(0x18, 8, live)]), DONE);
        assert_eq!(host.call(Command::CreateSecConf, &Host::create_fields(&guest)), DONE);
        live = host.output(0x18);
        assert!(issued.insert(live), "a handle came back (D20)");
    }
}

#[test]
fn c52_t41_t52_a_fast_destroy_leaves_the_guest_frames() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frames: Vec<FrameNumber> = (3..6).map(|page| host.resident(&guest, PageIndex(page))).collect();
    for page in 3..6 {
        host.guest_store(&guest, page * 0x1000, b"secret").unwrap();
    }
    let log = scene::Log::of(&machine);
    host.destroy_guest(&guest, Command::DestroySecConfFast);
    assert_eq!(log.take().last().map(|event| format!("{event:?}").contains("T41")), Some(true));
    is_zero(&mut host, guest.base, CONFIGURATION_BASE_LENGTH);
    is_zero(&mut host, guest.variable, variable_length(&guest));
    for frame in frames {
        assert_eq!(host.page_bytes(frame).unwrap_err().code, ProgramCode::SecureStorageAccess, "T9");
        let FrameState::Secure(domain, _) = machine.frame_state(frame) else { panic!("{frame:?}") };
        assert!(machine.is_discarded(domain));
        assert_eq!(host.destroy(frame), DONE);
        assert_eq!(log.transitions(), ["T52"]);
        assert_eq!(host.page_bytes(frame), Ok(vec![0; 4096]));
    }
    machine.check_invariants().unwrap();
}

#[test]
fn t40_d27_a_destroy_returns_secure_frames_as_zeros_and_shared_ones_as_they_are() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let secret = host.resident(&guest, PageIndex(3));
    host.guest_store(&guest, 0x3000, b"secret").unwrap();
    let open = host.shared(&guest, PageIndex(4), b"open");
    let held = host.shared(&guest, PageIndex(5), b"held");
    assert_eq!(host.pin(held), DONE);
    host.destroy_guest(&guest, Command::DestroySecConf);
    for frame in [secret, open, held] {
        assert_eq!(machine.frame_state(frame), FrameState::NonSecure);
    }
    assert_eq!(host.page_bytes(secret), Ok(vec![0; 4096]));
    assert_eq!(host.load(open.address().0, 4).unwrap(), b"open");
    assert_eq!(host.load(held.address().0, 4).unwrap(), b"held");
    machine.check_invariants().unwrap();
}

#[test]
fn d28_what_a_fast_destroy_leaves_of_shared_pages() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let mut leftovers = Vec::new();
    for page in 3..9u64 {
        let frame = host.shared(&guest, PageIndex(page), b"left");
        if page % 2 == 0 {
            assert_eq!(host.pin(frame), DONE);
        }
        leftovers.push(frame);
    }
    host.destroy_guest(&guest, Command::DestroySecConfFast);
    let other = host.start(1);
    let log = scene::Log::of(&machine);
    for &frame in &leftovers {
        assert_eq!(host.load(frame.address().0, 4).unwrap(), b"left");
        // PIN does nothing, and another guest gets 0x3e.
        let before = machine.frame_state(frame);
        assert_eq!(host.pin(frame), DONE);
        assert_eq!(machine.frame_state(frame), before);
        host.map(&other, PageIndex(7), frame);
        let found = scene::code_and_address(host.guest_load(&other, 0x7000, 4));
        assert_eq!(found, (ProgramCode::NonSecureStorageAccess, 0x7000));
        // D37: it is not N, so it cannot be donated.
        let fields = with(&Host::cpu_fields(&other, 1), &[(0x28, 8, frame.address().0)]);
        host.refuse_unchanged(Command::CreateSecCpu, &fields, refused(0x105));
    }
    log.take();
    // Export drops the registration and keeps the bytes, destroy clears, import takes over.
    for &frame in &leftovers[..2] {
        assert_eq!(host.export(frame), DONE);
        assert_eq!(machine.frame_state(frame), FrameState::NonSecure);
        assert_eq!(host.load(frame.address().0, 4).unwrap(), b"left");
    }
    for &frame in &leftovers[2..4] {
        assert_eq!(host.destroy(frame), DONE);
        assert_eq!(host.page_bytes(frame), Ok(vec![0; 4096]));
    }
    assert_eq!(log.transitions(), ["T48", "T48", "T52", "T52"]);
    for (page, &frame) in (10..).map(PageIndex).zip(&leftovers[4..]) {
        host.map(&other, page, frame);
        assert_eq!(host.import(&other, page), DONE);
        assert_eq!(log.transitions(), ["T35"]);
        assert_eq!(machine.frame_state(frame), scene::secure(&machine, &other, page));
        assert_eq!(host.guest_load(&other, page.0 * 4096, 4096), Ok(vec![0; 4096]));
    }
    machine.check_invariants().unwrap();
}

#[test]
fn d28_without_misc_a_leftover_cannot_be_taken_over() {
    let machine = support::machine(MachineConfig { feature_misc: Some(false), ..config() });
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.shared(&guest, PageIndex(3), b"left");
    host.destroy_guest(&guest, Command::DestroySecConfFast);
    let other = host.start(1);
    host.map(&other, PageIndex(7), frame);
    let fields = [(0x18, 8, other.handle), (0x20, 8, 0x7000)];
    host.refuse_unchanged(Command::ConvToSecStor, &fields, refused(0x104));
}

#[test]
fn t39_t48_an_orphan_is_reclaimed_before_it_serves_again() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, PageIndex(3));
    host.guest_store(&guest, 0x3000, b"secret").unwrap();
    host.destroy_guest(&guest, Command::DestroySecConfFast);
    let other = host.start(1);
    host.map(&other, PageIndex(7), frame);
    let log = scene::Log::of(&machine);
    let fields = [(0x18, 8, other.handle), (0x20, 8, 0x7000)];
    host.refuse_unchanged(Command::ConvToSecStor, &fields, refused(0x104));
    assert_eq!(log.last_call(), "T39");
    let found = scene::code_and_address(host.guest_load(&other, 0x7000, 4));
    assert_eq!(found, (ProgramCode::SecureStorageViolation, 0x7000), "T17");
    assert_eq!(host.export(frame), DONE);
    assert_eq!(log.transitions(), ["T48"]);
    assert_eq!(host.page_bytes(frame), Ok(vec![0; 4096]));
    assert_eq!(host.import(&other, PageIndex(7)), DONE);
    machine.check_invariants().unwrap();
}

#[test]
fn an_object_of_a_dead_configuration_is_gone_for_every_command() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    host.destroy_guest(&guest, Command::DestroySecConf);
    for command in [
        Command::DestroySecConf,
        Command::DestroySecConfFast,
        Command::ConvToSecStor,
        Command::UnpinPageShared,
        Command::SetUnsharedAll,
        Command::SetSecConfParams,
        Command::UnpackImg,
        Command::VerifyImg,
    ] {
        host.refuse_unchanged(command, &[(0x18, 8, guest.handle)], refused(0x20));
    }
    host.refuse_unchanged(Command::CreateSecCpu, &Host::cpu_fields(&guest, 0), refused(0x20));
    for command in [Command::DestroySecCpu, Command::CpuSetState] {
        host.refuse_unchanged(command, &[(0x18, 8, guest.cpu), (0x27, 1, 1)], refused(0x21));
    }
    assert!(machine.page(guest.handle, PageIndex(0)).is_none());
}
