//! Conformance, CPUs of a configuration: C33–C45, D12.

#[path = "support/scene.rs"]
mod scene;
mod support;

use scene::{Field, generation, with};
use support::{DONE, Guest, Host, UV_BASE, config, refused};
use uvsim_model::address::{AbsoluteAddress, PageIndex, VirtualAddress};
use uvsim_model::config::Generation;
use uvsim_model::storage::{Donation, FrameState, ProgramCode};
use uvsim_model::uvc::Command;
use uvsim_model::{MAX_CPU_NUMBER, Machine, RunState};

const END: u64 = 4 << 30;

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

/// A machine with a configuration and everything that a CPU of it needs, but no CPU.
fn without_cpu(host: &mut Host<'_>) -> Guest {
    let mut guest = host.prepare(1);
    assert_eq!(host.call(Command::CreateSecConf, &Host::create_fields(&guest)), DONE);
    guest.handle = host.output(0x18);
    guest
}

#[test]
fn c33_create_cpu_of_a_wrong_length() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = without_cpu(&mut host);
    for length in [0x58, 0x68] {
        host.refuse_raw(0x0120, length, &Host::cpu_fields(&guest, 0), refused(5));
    }
}

#[test]
fn c34_to_c38_create_cpu_with_one_bad_field() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = without_cpu(&mut host);
    let good = Host::cpu_fields(&guest, 0);
    let fields: [(&str, Field, u16); 15] = [
        ("C34", (0x20, 8, guest.handle + 1), 0x20),
        ("C34", (0x20, 8, 0), 0x20),
        ("C35", (0x36, 2, u64::from(MAX_CPU_NUMBER) + 1), 0x103),
        ("C35", (0x36, 2, 0xffff), 0x103),
        ("C36", (0x28, 8, END + 0x1000), 0x105),
        ("C36", (0x28, 8, END), 0x105),
        ("D12", (0x28, 8, guest.cpu_storage + 8), 0x105),
        ("C37", (0x28, 8, 0), 0x106),
        ("D12", (0x28, 8, 0x1000), 0x106),
        ("D12", (0x28, 8, 0x1fff), 0x106),
        ("C38", (0x38, 8, END + 0x1000), 0x107),
        ("D12", (0x38, 8, UV_BASE), 0x107),
        ("D12", (0x38, 8, guest.base), 0x107),
        ("D12", (0x38, 8, guest.state_description + 256), 0x107),
        ("D12", (0x38, 8, guest.cpu_storage), 0x107),
    ];
    for (case, field, rc) in fields {
        println!("{case}");
        host.refuse_unchanged(Command::CreateSecCpu, &with(&good, &[field]), refused(rc));
    }
}

#[test]
fn d12_cpu_storage_must_not_lie_in_the_prefix_area() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = without_cpu(&mut host);
    let prefix = host.allocate_aligned(0x2000, 0x2000);
    host.cpu.set_prefix(prefix).unwrap();
    for at in [prefix, prefix + 0x1000, prefix - 0xfff] {
        host.refuse_unchanged(
            Command::CreateSecCpu,
            &with(&Host::cpu_fields(&guest, 0), &[(0x28, 8, at)]),
            refused(0x106),
        );
    }
}

#[test]
fn c39_create_cpu_takes_its_storage() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = without_cpu(&mut host);
    assert_eq!(host.call(Command::CreateSecCpu, &Host::cpu_fields(&guest, 0)), DONE);
    let cpu = host.output(0x18);
    assert_ne!(cpu, 0);
    is_donated(&mut host, guest.cpu_storage, 0x1000);
    assert_eq!(machine.cpu_state(cpu), Some(RunState::Stopped));
    let domain = machine.domain(guest.handle).unwrap();
    let frame = AbsoluteAddress(guest.cpu_storage).frame();
    assert_eq!(machine.frame_state(frame), FrameState::Donated(Donation::Cpu(domain)));
    machine.check_invariants().unwrap();
}

#[test]
fn c40_a_cpu_number_that_exists() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    let fresh = host.allocate(0x1000);
    let fields = with(&Host::cpu_fields(&guest, 0), &[(0x28, 8, fresh)]);
    host.refuse_unchanged(Command::CreateSecCpu, &fields, refused(0x104));
    assert!(host.load(fresh, 8).is_ok());
}

#[test]
fn c41_the_highest_cpu_number() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    let (storage, state) = (host.allocate(0x1000), host.allocate(0x1000));
    let number = u64::from(MAX_CPU_NUMBER);
    let fields = with(&Host::cpu_fields(&guest, number), &[(0x28, 8, storage), (0x38, 8, state)]);
    assert_eq!(host.call(Command::CreateSecCpu, &fields), DONE);
    assert_ne!(host.output(0x18), guest.cpu);
}

#[test]
fn c42_t77_cpu_storage_that_is_taken() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let secure = host.resident(&guest, PageIndex(3)).address().0;
    let open = host.shared(&guest, PageIndex(4), b"open").address().0;
    // D37: a shared frame, though the host has access to it, is not N.
    for taken in [guest.cpu_storage, guest.base, guest.variable, UV_BASE, secure, open] {
        let fields = with(&Host::cpu_fields(&guest, 1), &[(0x28, 8, taken)]);
        host.refuse_unchanged(Command::CreateSecCpu, &fields, refused(0x105));
    }
}

#[test]
fn c43_destroy_cpu_of_a_wrong_length() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    for length in [0x38, 0x48] {
        host.refuse_raw(0x0121, length, &[(0x18, 8, guest.cpu)], refused(5));
    }
}

#[test]
fn c44_destroy_cpu_of_an_unknown_handle() {
    for preset in [Generation::Z15, Generation::Z16] {
        let machine = support::machine(generation(preset));
        let mut host = Host::ready(&machine);
        let guest = host.create(1);
        // D15: 0x21 on all generations; a configuration's handle is in another name space.
        for handle in [guest.cpu + 1, guest.cpu - 1, 0, u64::MAX, guest.handle] {
            host.refuse_unchanged(Command::DestroySecCpu, &[(0x18, 8, handle)], refused(0x21));
        }
        for handle in [guest.handle + 1, 0, guest.cpu] {
            host.refuse_unchanged(Command::SetUnsharedAll, &[(0x18, 8, handle)], refused(0x20));
        }
    }
}

#[test]
fn c45_t42_destroy_cpu_returns_its_storage() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    let log = scene::Log::of(&machine);
    assert_eq!(host.destroy_cpu(&guest), DONE);
    assert_eq!(log.transitions(), ["T42"]);
    is_zero(&mut host, guest.cpu_storage, 0x1000);
    host.refuse_unchanged(Command::DestroySecCpu, &[(0x18, 8, guest.cpu)], refused(0x21));
    assert!(machine.cpu_state(guest.cpu).is_none());
    assert_eq!(host.call(Command::CreateSecCpu, &Host::cpu_fields(&guest, 0)), DONE);
    assert_ne!(host.output(0x18), guest.cpu);
}
