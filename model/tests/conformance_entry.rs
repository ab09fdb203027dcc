//! Conformance, entry into SIE: C90–C96, T20, D13, D80, Q26.

#[path = "support/scene.rs"]
mod scene;
mod support;

use scene::{record, refused_entry};
use support::{DONE, Guest, Host, UV_BASE, config, refused};
use uvsim_model::address::{AbsoluteAddress, FrameNumber, GuestAddress, PageIndex, VirtualAddress};
use uvsim_model::cpu::{Diagnose, Interception, SieExit, Uvc, ValidityReason};
use uvsim_model::storage::{Asce, ProgramCode};
use uvsim_model::uvc::Command;
use uvsim_model::{Machine, RunState};

fn validity(reason: ValidityReason) -> Interception {
    Interception { code: 32, ipa: 0, ipb: (reason as u32) << 16 }
}

const PREFIX: Interception = Interception { code: 112, ipa: 0, ipb: 0 };

/// The frame of a prefix page.
fn prefix_frame(machine: &Machine, guest: &Guest, page: u64) -> FrameNumber {
    record(machine, guest, PageIndex(page)).frame().expect("resident")
}

#[test]
fn c90_t20_a_missing_prefix_page_is_an_interception() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    for page in 0..2 {
        let frame = prefix_frame(&machine, &guest, page);
        assert_eq!(host.export(frame), DONE);
        assert_eq!(refused_entry(host.enter(&guest)), PREFIX);
        assert_eq!(host.load(guest.state_description + 0x50, 1).unwrap(), [112]);
        assert_eq!(host.import(&guest, PageIndex(page)), DONE);
        assert!(host.enter(&guest).is_ok());
    }
}

#[test]
fn c91_t20_so_is_a_shared_prefix_page_that_was_exported() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    assert_eq!(host.share(&guest, PageIndex(0)), Ok(DONE));
    assert_eq!(host.share(&guest, PageIndex(1)), Ok(DONE), "the page of the block itself");
    assert!(host.enter(&guest).is_ok(), "shared is fine");
    for page in 0..2 {
        let frame = prefix_frame(&machine, &guest, page);
        assert_eq!(host.export(frame), DONE);
        assert_eq!(refused_entry(host.enter(&guest)), PREFIX);
        assert_eq!(host.import(&guest, PageIndex(page)), DONE);
        assert!(host.enter(&guest).is_ok());
    }
}

#[test]
fn t20_t21_other_ways_in_which_a_prefix_page_is_missing() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let (guest, other) = (host.start(1), host.start(1));
    let own = prefix_frame(&machine, &guest, 1);
    let foreign = prefix_frame(&machine, &other, 1);
    let plain = host.frame();
    host.unmap(&guest, PageIndex(1));
    assert_eq!(refused_entry(host.enter(&guest)), PREFIX);
    for frame in [foreign, plain, prefix_frame(&machine, &guest, 0), AbsoluteAddress(UV_BASE).frame()] {
        host.map(&guest, PageIndex(1), frame);
        assert_eq!(refused_entry(host.enter(&guest)), PREFIX);
    }
    host.map(&guest, PageIndex(1), own);
    assert!(host.enter(&guest).is_ok());
    // Under a large mapping.
    let segments = guest.asce.origin().0;
    host.store_u64(segments, (own.address().0 & !0xf_ffff) | 0x400);
    host.cpu.idte_space(guest.asce).unwrap();
    assert_eq!(refused_entry(host.enter(&guest)), PREFIX);
}

#[test]
fn c92_control_register_1_must_be_the_asce_of_the_configuration() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let (guest, other) = (host.start(1), host.start(1));
    let at = VirtualAddress(guest.state_description);
    for asce in [other.asce, Asce(0), Asce(guest.asce.0 & !0x100), Asce(guest.asce.0 ^ 1)] {
        host.cpu.set_primary(asce);
        assert_eq!(refused_entry(host.cpu.enter(at)), validity(ValidityReason::Asce));
        assert_eq!(host.load(guest.state_description + 0x50, 1).unwrap(), [32]);
        assert_eq!(host.load(guest.state_description + 0x58, 4).unwrap(), [0x20, 0x04, 0, 0]);
    }
    assert!(host.enter(&guest).is_ok());
}

#[test]
fn c93_every_single_bit_of_both_handles_counts() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    for (offset, handle, reason) in
        [(0x10, guest.cpu, ValidityReason::CpuHandle), (0x18, guest.handle, ValidityReason::ConfigurationHandle)]
    {
        for bit in 0..64 {
            host.store_u64(guest.state_description + offset, handle ^ 1 << bit);
            assert_eq!(refused_entry(host.enter(&guest)), validity(reason), "bit {bit} at {offset:#x}");
        }
        host.store_u64(guest.state_description + offset, handle);
        assert!(host.enter(&guest).is_ok());
    }
}

#[test]
fn c94_handles_of_another_configuration() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let (guest, other) = (host.start(1), host.start(1));
    let description = guest.state_description;
    host.store_u64(description + 0x10, other.cpu);
    assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::ForeignCpu));
    host.store_u64(description + 0x10, guest.cpu);
    host.store_u64(description + 0x18, other.handle);
    assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::ForeignCpu));
    // Each in the other's place.
    host.store_u64(description + 0x18, guest.cpu);
    assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::ConfigurationHandle));
    host.store_u64(description + 0x18, guest.handle);
    host.store_u64(description + 0x10, guest.handle);
    assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::CpuHandle));
}

#[test]
fn q26_the_state_description_must_be_the_one_that_was_named() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let copy = host.allocate(0x1000);
    let bytes = host.load(guest.state_description, 0x400).unwrap();
    host.store(copy, &bytes);
    host.cpu.set_primary(guest.asce);
    assert_eq!(refused_entry(host.cpu.enter(VirtualAddress(copy))), validity(ValidityReason::StateDescription));
    // Another virtual address of the same storage is as good.
    let home = host.home_space();
    let frame = AbsoluteAddress(guest.state_description).frame();
    let alias = home.map(&mut host, 7, frame, 0);
    assert!(host.cpu.enter(VirtualAddress(alias)).is_ok());
    // D80: the description must be accessible.
    let exit = host.cpu.enter(VirtualAddress(home.window)).unwrap_err();
    let SieExit::HostInterruption(interruption) = exit else { panic!("{exit}") };
    assert_eq!(interruption.code, ProgramCode::PageTranslation);
    host.cpu.set_translation(false);
    for (at, code) in [(UV_BASE, ProgramCode::SecureStorageAccess), (4 << 30, ProgramCode::Addressing)] {
        let exit = host.cpu.enter(VirtualAddress(at)).unwrap_err();
        assert!(matches!(exit, SieExit::HostInterruption(it) if it.code == code), "{exit}");
    }
    host.cpu.set_problem_state(true);
    let exit = host.cpu.enter(VirtualAddress(guest.state_description)).unwrap_err();
    assert!(matches!(exit, SieExit::HostInterruption(it) if it.code == ProgramCode::PrivilegedOperation));
}

#[test]
fn c95_a_cpu_is_in_sie_once() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let mut second = machine.cpu(1).unwrap();
    second.set_primary(guest.asce);
    let mut first = host.enter(&guest).unwrap();
    let at = VirtualAddress(guest.state_description);
    assert_eq!(refused_entry(second.enter(at)), validity(ValidityReason::AlreadyRunning));
    assert_eq!(first.store(GuestAddress(0x1000), b"goes on"), Ok(()));
    drop(first);
    assert!(second.enter(at).is_ok());
}

#[test]
fn d13_a_cpu_in_sie_is_neither_stopped_nor_destroyed() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    // The second host CPU enters the guest; the first one issues the calls.
    let mut second = machine.cpu(1).unwrap();
    second.set_primary(guest.asce);
    let inside = second.enter(VirtualAddress(guest.state_description)).unwrap();
    for state in [1, 2, 3, 5] {
        let fields = [(0x18, 8, guest.cpu), (0x27, 1, state)];
        host.refuse_unchanged(Command::CpuSetState, &fields, refused(0x103));
    }
    host.refuse_unchanged(Command::CpuSetState, &[(0x18, 8, guest.cpu), (0x27, 1, 4)], refused(0x102));
    host.refuse_unchanged(Command::DestroySecCpu, &[(0x18, 8, guest.cpu)], refused(0x103));
    host.refuse_unchanged(Command::SetUnsharedAll, &[(0x18, 8, guest.handle)], refused(0x101));
    host.refuse_unchanged(Command::DestroySecConf, &[(0x18, 8, guest.handle)], refused(0x105));
    drop(inside);
    assert_eq!(host.set_state(&guest, 2), DONE);
    assert_eq!(host.destroy_cpu(&guest), DONE);
}

#[test]
fn c96_the_cpu_timer_may_fall_by_the_time_that_has_passed() {
    const MILLISECOND: u64 = 1_000_000;
    /// One millisecond in units of the CPU timer.
    const TICKS: u64 = 4_096_000;
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let timer = guest.state_description + 0x28;
    let start = 0x1000_0000_0000u64;
    host.store_u64(timer, start);
    assert!(host.enter(&guest).is_ok(), "no exit yet");
    let enter = |host: &mut Host<'_>, value: u64| {
        host.store_u64(timer, value);
        host.enter(&guest).map(drop)
    };
    let refusal = Err(SieExit::Interception(validity(ValidityReason::CpuTimer)));
    assert_eq!(enter(&mut host, start + TICKS), refusal);
    assert_eq!(enter(&mut host, start + 1), refusal);
    assert_eq!(enter(&mut host, start - TICKS), refusal);
    assert_eq!(enter(&mut host, start), Ok(()));
    machine.advance_clock(2 * MILLISECOND);
    assert_eq!(enter(&mut host, start - 3 * TICKS), refusal);
    assert_eq!(enter(&mut host, start - 2 * TICKS - 1), refusal);
    assert_eq!(enter(&mut host, start - 2 * TICKS), Ok(()));
    // The clock counts from that exit now.
    assert_eq!(enter(&mut host, start - 3 * TICKS), refusal);
    machine.advance_clock(MILLISECOND);
    assert_eq!(enter(&mut host, start - 3 * TICKS), Ok(()));
    assert_eq!(enter(&mut host, start - 3 * TICKS), Ok(()));
}

#[test]
fn c96_the_cpu_timer_runs_while_the_guest_does() {
    const MILLISECOND: u64 = 1_000_000;
    const TICKS: u64 = 4_096_000;
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let timer = guest.state_description + 0x28;
    host.store_u64(timer, 10 * TICKS);
    let cpu = host.enter(&guest).unwrap();
    machine.advance_clock(3 * MILLISECOND);
    assert_eq!(cpu.registers().cpu_timer, 7 * TICKS);
    drop(cpu);
    assert_eq!(host.load(timer, 8).unwrap(), (7 * TICKS).to_be_bytes(), "the exit stores it");
    assert_eq!(machine.cpu_registers(guest.cpu).unwrap().cpu_timer, 7 * TICKS);
    // The time inside is no time outside.
    host.store_u64(timer, 7 * TICKS - 1);
    assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::CpuTimer));
    host.store_u64(timer, 10 * TICKS);
    assert_eq!(
        refused_entry(host.enter(&guest)),
        validity(ValidityReason::CpuTimer),
        "the value before is too high now"
    );
    host.store_u64(timer, 7 * TICKS);
    let mut cpu = host.enter(&guest).unwrap();
    // What passes between the exit and the end of the stay is time outside.
    machine.advance_clock(MILLISECOND);
    assert!(cpu.load(GuestAddress(0x9000), &mut [0]).is_err());
    machine.advance_clock(2 * MILLISECOND);
    drop(cpu);
    assert_eq!(host.load(timer, 8).unwrap(), (6 * TICKS).to_be_bytes());
    host.store_u64(timer, 4 * TICKS);
    assert!(host.enter(&guest).is_ok());
    // A timer that has run out goes on below zero.
    let cpu = host.enter(&guest).unwrap();
    machine.advance_clock(5 * MILLISECOND);
    drop(cpu);
    assert_eq!(host.load(timer, 8).unwrap(), TICKS.wrapping_neg().to_be_bytes());
    assert!(host.enter(&guest).is_ok());
}

#[test]
fn c96_a_refused_entry_is_no_exit() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let timer = guest.state_description + 0x28;
    host.store_u64(timer, 0x1000_0000);
    drop(host.enter(&guest).unwrap());
    machine.advance_clock(1_000_000);
    // Validities of every stage, with a timer that is right for once.
    host.store_u64(timer, 0x1000_0000 - 4_096_000);
    host.store(guest.state_description + 0x55, &[2]);
    assert!(matches!(host.enter(&guest), Err(SieExit::Interception(it)) if it.code == 32));
    host.store(guest.state_description + 0x55, &[0]);
    host.store_u64(timer, 0x1000_0000);
    assert!(host.enter(&guest).is_ok(), "the timer of the refused entry was not taken");
}

#[test]
fn d80_a_state_description_that_the_host_has_given_away() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = AbsoluteAddress(guest.state_description).frame();
    // The guest gets the host's own block as a page.
    host.map(&guest, PageIndex(7), frame);
    assert_eq!(host.import(&guest, PageIndex(7)), DONE);
    let exit = host.enter(&guest).unwrap_err();
    assert!(matches!(exit, SieExit::HostInterruption(it) if it.code == ProgramCode::SecureStorageAccess), "{exit}");
    assert_eq!(host.export(frame), DONE);
    assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::ConfigurationHandle), "it is noise now");
    host.store(guest.state_description, &[0; 0x1000]);
    host.store_u64(guest.state_description + 0x10, guest.cpu);
    host.store_u64(guest.state_description + 0x18, guest.handle);
    assert!(host.enter(&guest).is_ok());
    // A block that goes away under the guest loses the report, and nothing else.
    host.map(&guest, PageIndex(8), frame);
    let mut cpu = host.enter(&guest).unwrap();
    let mut second = machine.cpu(1).unwrap();
    let at = VirtualAddress(0x2_0000);
    let block = [&[0, 0x28, 2, 0][..], &[0; 20], &guest.handle.to_be_bytes(), &0x8000u64.to_be_bytes()].concat();
    second.store(at, &block).unwrap();
    assert_eq!(second.uvc(Uvc::at(at)).unwrap() as u8, 0);
    let exit = scene::interception(cpu.diagnose(Diagnose::new(Diagnose::TIME_SLICE_END)));
    assert_eq!(exit.code, 108);
    drop((cpu, second));
    assert_eq!(host.destroy_cpu(&guest), DONE);
}

#[test]
fn d80_state_of_configuration_and_cpu() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::NotVerified));
    assert_eq!(host.set_state(&guest, 1), DONE);
    assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::NotVerified), "I-34");
    assert_eq!(host.set_state(&guest, 2), DONE);
    host.boot(&guest);
    for (value, state) in [(2, RunState::Stopped), (3, RunState::CheckStop)] {
        assert_eq!(host.set_state(&guest, value), DONE);
        assert_eq!(machine.cpu_state(guest.cpu), Some(state));
        assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::NotOperating));
    }
    assert_eq!(host.set_state(&guest, 1), DONE);
    assert!(host.enter(&guest).is_ok());
    host.destroy_guest(&guest, Command::DestroySecConf);
    assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::ConfigurationHandle));
}

/// Each check of D80 wins over all that follow it.
#[test]
fn d80_the_order_of_the_entry_checks() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    assert!(host.enter(&guest).is_ok());
    let frame = prefix_frame(&machine, &guest, 0);
    assert_eq!(host.export(frame), DONE);
    let enter = |host: &mut Host<'_>, asce: Asce| {
        host.cpu.set_primary(asce);
        refused_entry(host.cpu.enter(VirtualAddress(guest.state_description)))
    };
    assert_eq!(enter(&mut host, guest.asce), PREFIX);
    assert_eq!(host.set_state(&guest, 2), DONE);
    assert_eq!(enter(&mut host, guest.asce), validity(ValidityReason::NotOperating));
    // An injection is looked at last of all.
    host.store(guest.state_description + 0x55, &[0xff]);
    assert_eq!(enter(&mut host, guest.asce), validity(ValidityReason::NotOperating));
    assert_eq!(host.set_state(&guest, 1), DONE);
    assert_eq!(enter(&mut host, guest.asce), PREFIX);
    assert_eq!(host.set_state(&guest, 2), DONE);
    assert_eq!(host.unshare_all(&guest), DONE);
    assert_eq!(host.call(Command::PrepareReset, &[(0x18, 8, guest.handle)]), DONE);
    assert_eq!(enter(&mut host, guest.asce), validity(ValidityReason::ResetPending));
    host.store_u64(guest.state_description + 0x28, 1);
    assert_eq!(enter(&mut host, guest.asce), validity(ValidityReason::CpuTimer));
    assert_eq!(enter(&mut host, Asce(0)), validity(ValidityReason::Asce));
    host.store_u64(guest.state_description + 0x10, 0);
    assert_eq!(enter(&mut host, Asce(0)), validity(ValidityReason::CpuHandle));
    host.store_u64(guest.state_description + 0x18, 0);
    assert_eq!(enter(&mut host, Asce(0)), validity(ValidityReason::ConfigurationHandle));
}
