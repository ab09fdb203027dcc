//! Conformance, guests: C82–C96, C99; guest access T12–T22, sharing T56–T63, pins T64–T72; D9, D18, D25,
//! D31, D32, D80.

#[path = "support/scene.rs"]
mod scene;
mod support;

use scene::{Field, Log, guest_block, interception, own_interruption, pinned, record, refused_entry, secure, shared};
use support::{BLOCK, DONE, Guest, Host, UV_BASE, config, refused};
use uvsim_model::address::{AbsoluteAddress, FrameNumber, GuestAddress, PageIndex, VirtualAddress};
use uvsim_model::config::MachineConfig;
use uvsim_model::cpu::{GuestEvent, Interception, SieExit, Uvc, ValidityReason};
use uvsim_model::storage::{Asce, FrameState, ProgramCode};
use uvsim_model::uvc::Command;
use uvsim_model::{Injection, Machine, PageRecord, RunState};

const PAGE: PageIndex = PageIndex(3);
const AT: u64 = 0x3000;

fn validity(reason: ValidityReason) -> Interception {
    Interception { code: 32, ipa: 0, ipb: (reason as u32) << 16 }
}

const PREFIX: Interception = Interception { code: 112, ipa: 0, ipb: 0 };

/// The frame of a prefix page.
fn prefix_frame(machine: &Machine, guest: &Guest, page: u64) -> FrameNumber {
    record(machine, guest, PageIndex(page)).frame().expect("resident")
}

fn unpin_fields(guest: &Guest, page: PageIndex) -> [Field; 2] {
    [(0x18, 8, guest.handle), (0x20, 8, page.0 * 4096)]
}

#[test]
fn c82_t13_t14_a_guest_touches_pages_that_are_not_there() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let mut guest = host.prepare(2);
    // Storage from 1 MiB of its space on: TEIDs say origin + guest absolute (D19).
    let fields = scene::with(&Host::create_fields(&guest), &[(0x38, 8, 1 << 20), (0x40, 8, 1 << 20)]);
    assert_eq!(host.call(Command::CreateSecConf, &fields), DONE);
    guest.handle = host.output(0x18);
    host.create_cpu(&mut guest);
    assert_eq!(host.set_parameters(&guest, &scene::Header::of(&Default::default()).bytes()), DONE);
    assert_eq!(host.call(Command::VerifyImg, &[(0x18, 8, guest.handle)]), DONE);
    assert_eq!(host.set_state(&guest, 5), DONE);
    // `PageIndex` of the small host counts from 0 of the space.
    host.resident(&guest, PageIndex(256));
    host.resident(&guest, PageIndex(257));

    let before = machine.state_digest(None);
    let found = scene::code_and_address(host.guest_load(&guest, AT + 5, 1));
    assert_eq!(found, (ProgramCode::PageTranslation, 0x10_3000));
    let frame = host.frame();
    assert_eq!(before, machine.state_digest(None));
    host.map(&guest, PageIndex(256 + 3), frame);
    let interruption = scene::host_interruption(host.guest_store(&guest, AT + 5, &[1]));
    assert_eq!((interruption.code, interruption.teid.address()), (ProgramCode::NonSecureStorageAccess, 0x10_3000));
    assert!(!interruption.teid.bit_61());
    assert_eq!(host.import(&guest, PageIndex(256 + 3)), DONE);
    assert_eq!(host.guest_store(&guest, AT + 5, &[1]), Ok(()));
    assert_eq!(host.guest_load(&guest, AT, 6), Ok(vec![0, 0, 0, 0, 0, 1]), "T12");
}

#[test]
fn t22_beyond_guest_storage_the_guest_takes_an_addressing_exception() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let mut cpu = host.enter(&guest).unwrap();
    for address in [1 << 20, u64::MAX, 1 << 47] {
        assert_eq!(own_interruption(cpu.load(GuestAddress(address), &mut [0])), ProgramCode::Addressing);
        assert_eq!(own_interruption(cpu.store(GuestAddress(address), &[0])), ProgramCode::Addressing);
    }
    assert_eq!(cpu.load(GuestAddress(0), &mut [0]), Ok(()), "the guest stays in SIE");
}

#[test]
fn d21_a_frame_that_another_configuration_shares_is_a_non_secure_access() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let (one, two) = (host.start(1), host.start(1));
    let open = host.shared(&one, PageIndex(4), b"open");
    let held = host.shared(&one, PageIndex(5), b"held");
    assert_eq!(host.pin(held), DONE);
    for frame in [open, held] {
        host.map(&two, PAGE, frame);
        let found = scene::code_and_address(host.guest_load(&two, AT, 1));
        assert_eq!(found, (ProgramCode::NonSecureStorageAccess, AT));
        assert!(host.load(frame.address().0, 4).is_ok(), "T5, T6");
    }
}

#[test]
fn t17_a_guest_never_reaches_donated_storage() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    for at in [UV_BASE, guest.base, guest.variable, guest.cpu_storage] {
        host.map(&guest, PAGE, AbsoluteAddress(at).frame());
        let before = machine.state_digest(None);
        assert_eq!(
            scene::code_and_address(host.guest_store(&guest, AT, &[1])),
            (ProgramCode::SecureStorageViolation, AT)
        );
        assert_eq!(before, machine.state_digest(None));
    }
}

#[test]
fn c83_t56_a_shared_page_is_open_both_ways() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, PAGE);
    host.guest_store(&guest, AT, b"for the host").unwrap();
    let log = Log::of(&machine);
    assert_eq!(host.share(&guest, PAGE), Ok(DONE));
    assert_eq!(log.transitions(), ["T56"]);
    assert_eq!(machine.frame_state(frame), shared(&machine, &guest, PAGE));
    assert_eq!(record(&machine, &guest, PAGE), PageRecord::Shared(Some(frame)));
    assert_eq!(host.load(frame.address().0, 12).unwrap(), b"for the host");
    host.store(frame.address().0, b"an answer");
    assert_eq!(host.guest_load(&guest, AT, 9).unwrap(), b"an answer");
}

#[test]
fn c84_sharing_calls_of_a_wrong_length() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let secret = host.resident(&guest, PAGE);
    let open = host.shared(&guest, PageIndex(4), b"open");
    for length in [0x28, 0x38] {
        host.guest_refuse_unchanged(&guest, 0x1000, length, AT, refused(5));
        host.guest_refuse_unchanged(&guest, 0x1001, length, 0x4000, refused(5));
    }
    assert_eq!(machine.frame_state(secret), secure(&machine, &guest, PAGE));
    assert_eq!(machine.frame_state(open), shared(&machine, &guest, PageIndex(4)));
}

#[test]
fn c85_t63_sharing_beyond_guest_storage() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    for paddr in [(1 << 20) + 0x1000, 1 << 20, u64::MAX, 1 << 63] {
        host.guest_refuse_unchanged(&guest, 0x1000, 0x30, paddr, refused(0x101));
        host.guest_refuse_unchanged(&guest, 0x1001, 0x30, paddr, refused(0x101));
        // Length first.
        host.guest_refuse_unchanged(&guest, 0x1000, 0x28, paddr, refused(5));
    }
}

#[test]
fn c86_t59_unsharing_closes_the_page() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.shared(&guest, PAGE, b"kept");
    let log = Log::of(&machine);
    assert_eq!(host.unshare(&guest, PAGE), Ok(DONE));
    assert_eq!(log.transitions(), ["T59"]);
    assert_eq!(machine.frame_state(frame), secure(&machine, &guest, PAGE));
    assert_eq!(record(&machine, &guest, PAGE), PageRecord::Resident(frame));
    assert_eq!(host.load(frame.address().0, 4).unwrap_err().code, ProgramCode::SecureStorageAccess);
    assert_eq!(host.guest_load(&guest, AT, 4).unwrap(), b"kept", "Q10");
}

#[test]
fn t57_t61_sharing_calls_without_effect() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, PAGE);
    let log = Log::of(&machine);
    assert_eq!(host.unshare(&guest, PAGE), Ok(DONE));
    assert_eq!(log.last_call(), "T61");
    assert_eq!(machine.frame_state(frame), secure(&machine, &guest, PAGE));
    assert_eq!(host.share(&guest, PAGE), Ok(DONE));
    log.take();
    assert_eq!(host.share(&guest, PAGE), Ok(DONE));
    assert_eq!(log.last_call(), "T57");
    assert_eq!(host.pin(frame), DONE);
    log.take();
    assert_eq!(host.share(&guest, PAGE), Ok(DONE));
    assert_eq!(log.last_call(), "T57");
    assert_eq!(machine.frame_state(frame), pinned(&machine, &guest, PAGE));
}

#[test]
fn t58_d32_sharing_an_absent_page_goes_to_the_host_and_repeats() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    assert_eq!(scene::code_and_address(host.share(&guest, PAGE)), (ProgramCode::PageTranslation, AT));
    let frame = host.frame();
    host.map(&guest, PAGE, frame);
    assert_eq!(scene::code_and_address(host.share(&guest, PAGE)), (ProgramCode::NonSecureStorageAccess, AT));
    assert_eq!(machine.frame_state(frame), FrameState::NonSecure);
    assert_eq!(host.import(&guest, PAGE), DONE);
    assert_eq!(host.share(&guest, PAGE), Ok(DONE));
    assert_eq!(machine.frame_state(frame), shared(&machine, &guest, PAGE));
    // An exported page.
    let other = host.resident(&guest, PageIndex(4));
    host.guest_store(&guest, 0x4000, b"kept").unwrap();
    assert_eq!(host.export(other), DONE);
    let found = scene::code_and_address(host.share(&guest, PageIndex(4)));
    assert_eq!(found, (ProgramCode::NonSecureStorageAccess, 0x4000));
    assert_eq!(host.import(&guest, PageIndex(4)), DONE);
    assert_eq!(host.share(&guest, PageIndex(4)), Ok(DONE));
    assert_eq!(host.load(other.address().0, 4).unwrap(), b"kept");
}

#[test]
fn t62_d31_unsharing_a_page_without_a_frame_keeps_the_content() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.shared(&guest, PAGE, b"mailbox");
    assert_eq!(host.export(frame), DONE);
    let found = scene::code_and_address(host.unshare(&guest, PAGE));
    assert_eq!(found, (ProgramCode::NonSecureStorageAccess, AT));
    assert_eq!(record(&machine, &guest, PAGE), PageRecord::Shared(None));
    assert_eq!(host.import(&guest, PAGE), DONE);
    assert_eq!(machine.frame_state(frame), shared(&machine, &guest, PAGE));
    assert_eq!(host.unshare(&guest, PAGE), Ok(DONE));
    assert_eq!(machine.frame_state(frame), secure(&machine, &guest, PAGE));
    assert_eq!(host.guest_load(&guest, AT, 7).unwrap(), b"mailbox");
}

#[test]
fn c87_t64_t65_t69_only_shared_pages_are_pinned() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let open = host.shared(&guest, PageIndex(4), b"open");
    let log = Log::of(&machine);
    assert_eq!(host.pin(open), DONE);
    assert_eq!(log.transitions(), ["T64"]);
    assert_eq!(machine.frame_state(open), pinned(&machine, &guest, PageIndex(4)));
    assert_eq!(record(&machine, &guest, PageIndex(4)), PageRecord::Pinned(open));
    assert!(host.load(open.address().0, 4).is_ok(), "T6");
    assert_eq!(host.pin(open), DONE);
    assert_eq!(log.last_call(), "T65");
    assert_eq!(machine.frame_state(open), pinned(&machine, &guest, PageIndex(4)));

    let own = host.resident(&guest, PAGE);
    let plain = host.frame();
    let gone = host.resident(&guest, PageIndex(5));
    assert_eq!(host.export(gone), DONE);
    for frame in [own, plain, gone] {
        host.refuse_unchanged(Command::PinPageShared, &[(0x18, 8, frame.address().0)], refused(0x102));
        assert_eq!(log.last_call(), "T69");
    }
    // Pinned once, unpinned once: no counting.
    assert_eq!(host.unpin(&guest, PageIndex(4)), DONE);
    assert_eq!(machine.frame_state(open), shared(&machine, &guest, PageIndex(4)));
}

#[test]
fn c88_t60_a_pinned_page_is_not_unshared() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.shared(&guest, PAGE, b"held");
    assert_eq!(host.pin(frame), DONE);
    // Twice: nothing has changed after the first (KVM expects the same exit again).
    for _ in 0..2 {
        let exit = interception(host.unshare(&guest, PAGE));
        assert_eq!(exit, Interception { code: 108, ipa: 0xb9a4, ipb: 0 });
        assert_eq!(machine.frame_state(frame), pinned(&machine, &guest, PAGE));
        assert_eq!(host.load(guest.state_description + 0x50, 1).unwrap(), [108]);
        assert_eq!(host.load(guest.state_description + 0x56, 6).unwrap(), [0xb9, 0xa4, 0, 0, 0, 0]);
        assert_eq!(host.load(guest.sida, 0x30).unwrap(), guest_block(0x1001, 0x30, AT));
        host.store(guest.sida, &[0; 0x30]);
    }
    assert_eq!(host.load(frame.address().0, 4).unwrap(), b"held");
}

#[test]
fn c88_without_a_data_area_nothing_is_copied() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.shared(&guest, PAGE, b"held");
    assert_eq!(host.pin(frame), DONE);
    for sida in [0, UV_BASE, u64::MAX] {
        host.store_u64(guest.state_description + 0x180, sida);
        assert_eq!(interception(host.unshare(&guest, PAGE)).code, 108);
    }
    assert_eq!(host.load(guest.sida, 0x30).unwrap(), [0; 0x30]);
}

#[test]
fn c89_t66_after_unpin_the_guest_repeats_and_succeeds() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.shared(&guest, PAGE, b"held");
    assert_eq!(host.pin(frame), DONE);
    assert_eq!(interception(host.unshare(&guest, PAGE)).code, 108);
    let log = Log::of(&machine);
    assert_eq!(host.unpin(&guest, PAGE), DONE);
    assert_eq!(log.transitions(), ["T66"]);
    assert_eq!(machine.frame_state(frame), shared(&machine, &guest, PAGE));
    assert_eq!(host.unshare(&guest, PAGE), Ok(DONE));
    assert_eq!(host.load(frame.address().0, 4).unwrap_err().code, ProgramCode::SecureStorageAccess);
    assert_eq!(host.guest_load(&guest, AT, 4).unwrap(), b"held");
}

#[test]
fn t67_t68_d09_unpin_with_nothing_to_undo() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let other = host.start(1);
    let log = Log::of(&machine);
    for address in [1 << 20, u64::MAX] {
        let fields = [(0x18, 8, guest.handle), (0x20, 8, address)];
        host.refuse_unchanged(Command::UnpinPageShared, &fields, refused(0x103));
    }
    host.refuse_unchanged(Command::UnpinPageShared, &unpin_fields(&guest, PAGE), refused(0x10a));
    assert_eq!(log.last_call(), "T68");
    let foreign = host.resident(&other, PAGE);
    let secret = host.resident(&guest, PageIndex(4));
    let open = host.shared(&guest, PageIndex(5), b"open");
    let plain = host.frame();
    // Not pinned: success, whatever the frame is.
    for (page, frame) in [(4, secret), (5, open), (6, plain), (7, foreign), (8, AbsoluteAddress(UV_BASE).frame())] {
        host.map(&guest, PageIndex(page), frame);
        host.block(BLOCK, 0x0342, 0x28, &unpin_fields(&guest, PageIndex(page)));
        let before = machine.state_digest(Some(AbsoluteAddress(BLOCK)));
        assert_eq!(host.issue(BLOCK), Ok(DONE));
        assert_eq!(log.last_call(), "T67");
        assert_eq!(before, machine.state_digest(Some(AbsoluteAddress(BLOCK))));
    }
    // Pinned in another frame than the mapped one.
    let held = host.shared(&guest, PageIndex(9), b"held");
    assert_eq!(host.pin(held), DONE);
    host.map(&guest, PageIndex(9), plain);
    host.refuse_unchanged(Command::UnpinPageShared, &unpin_fields(&guest, PageIndex(9)), refused(0x105));
    assert_eq!(machine.frame_state(held), pinned(&machine, &guest, PageIndex(9)));
    // Another configuration's handle finds its own page, which is not pinned.
    host.map(&other, PageIndex(9), held);
    assert_eq!(host.unpin(&other, PageIndex(9)), DONE);
    assert_eq!(machine.frame_state(held), pinned(&machine, &guest, PageIndex(9)));
}

#[test]
fn c90_t20_a_missing_prefix_page_is_an_interception() {
    let machine = Machine::new(config()).unwrap();
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
    let machine = Machine::new(config()).unwrap();
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
    let machine = Machine::new(config()).unwrap();
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
    let machine = Machine::new(config()).unwrap();
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
    let machine = Machine::new(config()).unwrap();
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
    let machine = Machine::new(config()).unwrap();
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
    let machine = Machine::new(config()).unwrap();
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
    let machine = Machine::new(config()).unwrap();
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
    let machine = Machine::new(config()).unwrap();
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
    let machine = Machine::new(config()).unwrap();
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
fn d80_state_of_configuration_and_cpu() {
    let machine = Machine::new(config()).unwrap();
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
    let machine = Machine::new(config()).unwrap();
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
    host.store_u64(guest.state_description + 0x28, 1);
    assert_eq!(enter(&mut host, guest.asce), validity(ValidityReason::CpuTimer));
    assert_eq!(enter(&mut host, Asce(0)), validity(ValidityReason::Asce));
    host.store_u64(guest.state_description + 0x10, 0);
    assert_eq!(enter(&mut host, Asce(0)), validity(ValidityReason::CpuHandle));
    host.store_u64(guest.state_description + 0x18, 0);
    assert_eq!(enter(&mut host, Asce(0)), validity(ValidityReason::ConfigurationHandle));
}

#[test]
fn c99_t70_t71_t72_d25_unsharing_everything() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let other = host.start(1);
    let foreign = host.shared(&other, PageIndex(4), b"theirs");
    let secret = host.resident(&guest, PAGE);
    let open = host.shared(&guest, PageIndex(4), b"open");
    let held = host.shared(&guest, PageIndex(5), b"held");
    assert_eq!(host.pin(held), DONE);
    let nowhere = host.shared(&guest, PageIndex(6), b"nowhere");
    assert_eq!(host.export(nowhere), DONE);
    host.refuse_unchanged(Command::SetUnsharedAll, &[(0x18, 8, guest.handle)], refused(0x101));
    assert_eq!(host.set_state(&guest, 2), DONE);
    let log = Log::of(&machine);
    assert_eq!(host.unshare_all(&guest), DONE);
    let mut rules = log.transitions();
    rules.sort_unstable();
    assert_eq!(rules, ["T70", "T71"]);
    for (page, frame) in [(PageIndex(4), open), (PageIndex(5), held), (PAGE, secret)] {
        assert_eq!(machine.frame_state(frame), secure(&machine, &guest, page));
        assert_eq!(record(&machine, &guest, page), PageRecord::Resident(frame));
        assert_eq!(host.page_bytes(frame).unwrap_err().code, ProgramCode::SecureStorageAccess);
    }
    assert_eq!(record(&machine, &guest, PageIndex(6)), PageRecord::Absent);
    assert_eq!(machine.frame_state(foreign), shared(&machine, &other, PageIndex(4)));
    machine.check_invariants().unwrap();
    // T72: the next import gives zeros. The others have kept their content.
    assert_eq!(host.import(&guest, PageIndex(6)), DONE);
    assert_eq!(host.set_state(&guest, 1), DONE);
    assert_eq!(host.guest_load(&guest, 0x6000, 4096), Ok(vec![0; 4096]));
    assert_eq!(host.guest_load(&guest, 0x4000, 4).unwrap(), b"open");
    assert_eq!(host.guest_load(&guest, 0x5000, 4).unwrap(), b"held");
}

#[test]
fn d18_a_guest_block_is_reached_like_any_guest_storage() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let missing = |host: &mut Host<'_>, at: u64| host.enter(&guest).unwrap().uvc(Uvc::at(VirtualAddress(at)));
    // Not mapped, then not imported: the host repairs it and the guest repeats.
    let before = machine.state_digest(None);
    assert_eq!(scene::code_and_address(missing(&mut host, AT)), (ProgramCode::PageTranslation, AT));
    assert_eq!(before, machine.state_digest(None));
    let frame = host.frame();
    host.map(&guest, PAGE, frame);
    let interruption = scene::host_interruption(missing(&mut host, AT));
    assert_eq!((interruption.code, interruption.teid.address()), (ProgramCode::NonSecureStorageAccess, AT));
    assert_eq!(interruption.teid.0 & 0xc00, 0x400, "a block counts as a store (D19)");
    assert_eq!(host.import(&guest, PAGE), DONE);
    host.guest_store(&guest, AT, &guest_block(0x0001, 0x120, 0)).unwrap();
    assert_eq!(missing(&mut host, AT).map(|cc| cc as u8), Ok(0));
    // The header at the end of a page whose successor is missing: nothing is written.
    host.guest_store(&guest, 0x3ff8, &[0x01, 0x20, 0, 1, 0, 0, 0, 0]).unwrap();
    assert_eq!(scene::code_and_address(missing(&mut host, 0x3ff8)), (ProgramCode::PageTranslation, 0x4000));
    assert_eq!(host.guest_load(&guest, 0x3ff8, 8).unwrap(), [0x01, 0x20, 0, 1, 0, 0, 0, 0]);
    host.resident(&guest, PageIndex(4));
    assert_eq!(missing(&mut host, 0x3ff8).map(|cc| cc as u8), Ok(0));
    // Form and place are the guest's own faults.
    let mut cpu = host.enter(&guest).unwrap();
    for (r2, m3, code) in [
        (AT + 4, 0, ProgramCode::Specification),
        (AT, 1, ProgramCode::Specification),
        (1 << 20, 0, ProgramCode::Addressing),
        ((1 << 20) + 4, 0, ProgramCode::Specification),
    ] {
        assert_eq!(own_interruption(cpu.uvc(Uvc { r1: 0, r2, m3, m4: 0 })), code);
    }
    // Shared storage may hold a block as well.
    drop(cpu);
    assert_eq!(host.share(&guest, PAGE), Ok(DONE));
    host.store(frame.address().0, &guest_block(0x0001, 0x120, 0));
    assert_eq!(missing(&mut host, AT).map(|cc| cc as u8), Ok(0));
    assert_eq!(host.load(frame.address().0 + 4, 2).unwrap(), [0, 1]);
}

#[test]
fn a_guest_may_share_and_take_back_the_page_of_its_own_block() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = prefix_frame(&machine, &guest, 1);
    assert_eq!(host.share(&guest, PageIndex(1)), Ok(DONE));
    assert_eq!(machine.frame_state(frame), shared(&machine, &guest, PageIndex(1)));
    assert_eq!(host.unshare(&guest, PageIndex(1)), Ok(DONE));
    assert_eq!(machine.frame_state(frame), secure(&machine, &guest, PageIndex(1)));
}

#[test]
fn an_exit_ends_every_further_action_until_the_next_entry() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let mut cpu = host.enter(&guest).unwrap();
    let exit = cpu.load(GuestAddress(AT), &mut [0]).unwrap_err();
    assert!(matches!(exit, GuestEvent::Exit(SieExit::HostInterruption(_))));
    let before = machine.state_digest(None);
    assert_eq!(cpu.store(GuestAddress(0), b"lost"), Err(exit));
    assert_eq!(cpu.load(GuestAddress(0), &mut [0]), Err(exit));
    assert_eq!(cpu.uvc(Uvc::at(VirtualAddress(0x1e00))), Err(exit));
    assert_eq!(before, machine.state_digest(None));
    drop(cpu);
    assert!(host.enter(&guest).is_ok());
}

#[test]
fn q19_a_guest_call_may_be_busy_too() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, PAGE);
    machine.inject(Command::SetSharedAccess, Injection::Busy(1));
    assert_eq!(host.share(&guest, PAGE).map(|answer| (answer.cc, answer.rc)), Ok((2, 0)));
    assert_eq!(machine.frame_state(frame), secure(&machine, &guest, PAGE));
    assert_eq!(host.share(&guest, PAGE), Ok(DONE));
}

#[test]
fn d19_a_violation_says_that_its_address_is_right_only_with_misc() {
    for misc in [false, true] {
        let machine = Machine::new(MachineConfig { feature_misc: Some(misc), ..config() }).unwrap();
        let mut host = Host::ready(&machine);
        let guest = host.start(1);
        host.map(&guest, PAGE, AbsoluteAddress(UV_BASE).frame());
        let interruption = scene::host_interruption(host.guest_load(&guest, AT, 1));
        assert_eq!(interruption.code, ProgramCode::SecureStorageViolation);
        assert_eq!(interruption.teid.bit_61(), misc);
        assert_eq!(interruption.teid.0 & 3, 0, "primary space");
    }
}
