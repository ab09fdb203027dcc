//! Conformance, export, destruction, and what host and channel may touch: C68, C77, C79–C81; T1–T11,
//! T44–T55, D10, D15, D24, D26, D40, D42, D43.

#[path = "support/scene.rs"]
mod scene;
mod support;

use scene::{Log, generation, reason, record, shared};
use support::{BLOCK, DONE, Guest, Host, UV_BASE, config, refused};
use uvsim_model::address::{AbsoluteAddress, FrameNumber, PageIndex};
use uvsim_model::config::{Generation, MachineConfig};
use uvsim_model::crypto::Counter;
use uvsim_model::storage::{FrameState, ProgramCode};
use uvsim_model::uvc::Command;
use uvsim_model::{Machine, PageRecord};

const END: u64 = 4 << 30;

const PAGE: PageIndex = PageIndex(3);

const AT: u64 = 0x3000;

fn misc(on: bool) -> MachineConfig {
    MachineConfig { feature_misc: Some(on), ..config() }
}

#[track_caller]
fn refuse_import(host: &mut Host<'_>, guest: &Guest, page: PageIndex, rc: u16) {
    let fields = [(0x18, 8, guest.handle), (0x20, 8, page.0 * 4096)];
    host.refuse_unchanged(Command::ConvToSecStor, &fields, refused(rc));
}

/// A resident page with content, exported; its frame and what the host sees there.
fn exported(host: &mut Host<'_>, guest: &Guest, page: PageIndex, content: &[u8]) -> (FrameNumber, Vec<u8>) {
    let frame = host.resident(guest, page);
    host.guest_store(guest, page.0 * 4096, content).unwrap();
    assert_eq!(host.export(frame), DONE);
    let cipher = host.page_bytes(frame).unwrap();
    (frame, cipher)
}

/// The counter of a page's latest encryption after exporting it, with the page then imported again.
fn counter_after_export(host: &mut Host<'_>, guest: &Guest, page: PageIndex) -> u64 {
    let frame = record(host.machine(), guest, page).frame().unwrap();
    assert_eq!(host.export(frame), DONE);
    let counter = host.machine().page(guest.handle, page).unwrap().counter;
    assert_eq!(host.import(guest, page), DONE);
    counter
}

#[test]
fn c68_t44_t47_an_export_gives_ciphertext_and_a_second_one_does_nothing() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, PAGE);
    let content: Vec<u8> = (0..4096u32).map(|index| index as u8).collect();
    host.guest_store(&guest, AT, &content).unwrap();
    let log = Log::of(&machine);
    assert_eq!(host.export(frame), DONE);
    assert_eq!(log.transitions(), ["T44"]);
    assert_eq!(machine.frame_state(frame), FrameState::NonSecure);
    assert_eq!(record(&machine, &guest, PAGE), PageRecord::Exported);
    let cipher = host.page_bytes(frame).unwrap();
    assert_ne!(cipher, content);
    let before = machine.state_digest(Some(AbsoluteAddress(BLOCK)));
    assert_eq!(host.export(frame), DONE);
    assert_eq!(before, machine.state_digest(Some(AbsoluteAddress(BLOCK))));
    assert_eq!(log.last_call(), "T47");
}

#[test]
fn c77_t50_t55_d26_a_page_of_a_live_owner_is_destroyed_only_without_cpus() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let (one, two) = (host.start(1), host.start(1));
    let frame = host.resident(&one, PAGE);
    host.guest_store(&one, AT, b"secret").unwrap();
    let paddr = [(0x18, 8, frame.address().0)];
    host.refuse_unchanged(Command::DestrSecStor, &paddr, refused(0x104));
    assert_eq!(host.destroy_cpu(&one), DONE);
    let log = Log::of(&machine);
    assert_eq!(host.destroy(frame), DONE);
    assert_eq!(log.transitions(), ["T50"]);
    assert_eq!(record(&machine, &one, PAGE), PageRecord::Destroyed);
    assert_eq!(host.page_bytes(frame), Ok(vec![0; 4096]));
    // Another configuration may have the frame.
    host.map(&two, PAGE, frame);
    assert_eq!(host.import(&two, PAGE), DONE);
    assert_eq!(host.guest_load(&two, AT, 4096), Ok(vec![0; 4096]));
    // The page itself never comes back.
    let frame = host.frame();
    host.map(&one, PAGE, frame);
    log.take();
    refuse_import(&mut host, &one, PAGE, 0x106);
    assert_eq!(log.last_call(), "T55");
}

#[test]
fn t51_shared_and_pinned_pages_are_destroyed_alike() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let open = host.shared(&guest, PageIndex(4), b"open");
    let held = host.shared(&guest, PageIndex(5), b"held");
    assert_eq!(host.pin(held), DONE);
    for frame in [open, held] {
        host.refuse_unchanged(Command::DestrSecStor, &[(0x18, 8, frame.address().0)], refused(0x104));
    }
    assert_eq!(host.destroy_cpu(&guest), DONE);
    let log = Log::of(&machine);
    for (frame, page) in [(open, PageIndex(4)), (held, PageIndex(5))] {
        assert_eq!(host.destroy(frame), DONE);
        assert_eq!(log.transitions(), ["T51"]);
        assert_eq!(host.page_bytes(frame), Ok(vec![0; 4096]));
        assert_eq!(record(&machine, &guest, page), PageRecord::Destroyed);
        assert_eq!(machine.frame_state(frame), FrameState::NonSecure);
        refuse_import(&mut host, &guest, page, 0x106);
    }
    // A destroyed page is no shared one: unsharing everything does not revive it.
    assert_eq!(host.unshare_all(&guest), DONE);
    assert_eq!(record(&machine, &guest, PageIndex(4)), PageRecord::Destroyed);
    machine.check_invariants().unwrap();
}

#[test]
fn t45_t37_an_exported_shared_page_stays_plain_and_stays_shared() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.shared(&guest, PAGE, b"mailbox");
    let log = Log::of(&machine);
    assert_eq!(host.export(frame), DONE);
    assert_eq!(log.transitions(), ["T45"]);
    assert_eq!(machine.frame_state(frame), FrameState::NonSecure);
    assert_eq!(record(&machine, &guest, PAGE), PageRecord::Shared(None));
    assert_eq!(host.load(frame.address().0, 7).unwrap(), b"mailbox");
    // It comes back in any frame, with what the host left there (Q5).
    let frame = host.frame();
    host.store(frame.address().0, b"changed");
    host.map(&guest, PAGE, frame);
    assert_eq!(host.import(&guest, PAGE), DONE);
    assert_eq!(log.transitions(), ["T37"]);
    assert_eq!(machine.frame_state(frame), shared(&machine, &guest, PAGE));
    assert_eq!(host.guest_load(&guest, AT, 7).unwrap(), b"changed");
}

#[test]
fn t46_d24_an_export_ends_a_pin() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.shared(&guest, PAGE, b"held");
    assert_eq!(host.pin(frame), DONE);
    let log = Log::of(&machine);
    assert_eq!(host.export(frame), DONE);
    assert_eq!(log.transitions(), ["T46"]);
    assert_eq!(record(&machine, &guest, PAGE), PageRecord::Shared(None));
    assert_eq!(host.load(frame.address().0, 4).unwrap(), b"held");
    assert_eq!(host.import(&guest, PAGE), DONE);
    assert_eq!(machine.frame_state(frame), shared(&machine, &guest, PAGE), "no pin left");
    assert_eq!(host.unshare(&guest, PAGE), Ok(DONE));
}

#[test]
fn c79_t53_destruction_of_a_frame_that_is_not_secure() {
    for preset in [Generation::Z15, Generation::Z16, Generation::Z17] {
        let machine = support::machine(generation(preset));
        let mut host = Host::ready(&machine);
        let frame = host.frame().address().0;
        host.store(frame, b"host data");
        let fields = [(0x18, 8, frame)];
        if preset == Generation::Z15 {
            host.refuse_unchanged(Command::DestrSecStor, &fields, reason(0x107, 0xd));
        } else {
            host.block(BLOCK, 0x0202, 0x20, &fields);
            let before = machine.state_digest(Some(AbsoluteAddress(BLOCK)));
            assert_eq!(host.issue(BLOCK), Ok(DONE));
            assert_eq!(before, machine.state_digest(Some(AbsoluteAddress(BLOCK))));
        }
        assert_eq!(host.load(frame, 9).unwrap(), b"host data");
    }
}

#[test]
fn c80_destruction_of_a_secure_frame_gives_zeros() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, PAGE);
    host.guest_store(&guest, AT, b"secret").unwrap();
    assert_eq!(host.destroy_cpu(&guest), DONE);
    assert_eq!(host.destroy(frame), DONE);
    assert_eq!(host.page_bytes(frame), Ok(vec![0; 4096]));
    machine.check_invariants().unwrap();
}

#[test]
fn c81_t49_t54_frames_that_no_page_can_have() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    for at in [END, END + 0x1000, u64::MAX, 1 << 63] {
        for command in [Command::ConvFromSecStor, Command::DestrSecStor, Command::PinPageShared] {
            host.refuse_unchanged(command, &[(0x18, 8, at)], refused(0x101));
        }
    }
    for at in [UV_BASE, guest.base, guest.variable, guest.cpu_storage] {
        for (command, rc) in
            [(Command::ConvFromSecStor, 0x103), (Command::DestrSecStor, 0x103), (Command::PinPageShared, 0x102)]
        {
            host.refuse_unchanged(command, &[(0x18, 8, at)], refused(rc));
        }
    }
    // The last frame of storage is one.
    assert_eq!(host.export(AbsoluteAddress(END - 0x1000).frame()), DONE);
}

#[test]
fn paging_commands_of_a_wrong_length() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, PAGE).address().0;
    for (code, length) in [
        (0x0200, 0x20),
        (0x0200, 0x30),
        (0x0201, 0x18),
        (0x0201, 0x28),
        (0x0202, 0x28),
        (0x0341, 0x28),
        (0x0342, 0x20),
        (0x0340, 0x38),
    ] {
        host.refuse_raw(code, length, &[], refused(5));
        let field: &[_] = if length > 0x18 { &[(0x18, 8, frame)] } else { &[] };
        host.refuse_raw(code, length, field, refused(5));
    }
}

#[test]
fn d42_a_counter_at_its_end_keeps_a_changed_page_resident() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, PAGE);
    host.guest_store(&guest, AT, b"last words").unwrap();
    assert!(machine.preset_counter(guest.handle, PAGE, Counter::MAX));
    // Unchanged since that export: the same counter serves again.
    assert_eq!(host.export(frame), DONE);
    assert_eq!(machine.page(guest.handle, PAGE).unwrap().counter, Counter::MAX.value());
    assert_eq!(host.import(&guest, PAGE), DONE);
    assert_eq!(host.guest_load(&guest, AT, 10).unwrap(), b"last words");
    host.guest_store(&guest, AT, b"one more").unwrap();
    host.refuse_unchanged(Command::ConvFromSecStor, &[(0x18, 8, frame.address().0)], refused(0x105));
    assert_eq!(host.guest_load(&guest, AT, 8).unwrap(), b"one more");
    assert_eq!(record(&machine, &guest, PAGE), PageRecord::Resident(frame));
}

#[test]
fn t44_d40_the_counter_rises_when_the_content_has_changed() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, PAGE);
    assert_eq!(counter_after_export(&mut host, &guest, PAGE), 1);
    assert_eq!(counter_after_export(&mut host, &guest, PAGE), 1);
    host.guest_store(&guest, AT, b"a").unwrap();
    assert_eq!(counter_after_export(&mut host, &guest, PAGE), 2);
    // Stored, but to the same content.
    host.guest_store(&guest, AT, b"b").unwrap();
    host.guest_store(&guest, AT, b"a").unwrap();
    assert_eq!(counter_after_export(&mut host, &guest, PAGE), 2);
    // Changed by the host, while it was shared: by a store, then by a device.
    assert_eq!(host.share(&guest, PAGE), Ok(DONE));
    host.store(frame.address().0, b"host");
    assert_eq!(host.unshare(&guest, PAGE), Ok(DONE));
    assert_eq!(counter_after_export(&mut host, &guest, PAGE), 3);
    assert_eq!(host.share(&guest, PAGE), Ok(DONE));
    machine.channel().write(frame.address(), b"device").unwrap();
    assert_eq!(host.unshare(&guest, PAGE), Ok(DONE));
    assert_eq!(counter_after_export(&mut host, &guest, PAGE), 4);
    assert_eq!(host.share(&guest, PAGE), Ok(DONE));
    assert_eq!(host.unshare(&guest, PAGE), Ok(DONE));
    assert_eq!(counter_after_export(&mut host, &guest, PAGE), 4);
    // Changed by the Ultravisor: rc of a block in the page.
    host.guest_store(&guest, AT, &scene::guest_block(0x0001, 0xa0, 0)).unwrap();
    assert_eq!(counter_after_export(&mut host, &guest, PAGE), 5);
    let block = uvsim_model::cpu::Uvc::at(uvsim_model::address::VirtualAddress(AT));
    assert_eq!(host.enter(&guest).unwrap().uvc(block).map(|cc| cc as u8), Ok(1));
    assert_eq!(counter_after_export(&mut host, &guest, PAGE), 6);
}

#[test]
fn d43_counters_survive_unsharing_everything() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    host.resident(&guest, PAGE);
    host.guest_store(&guest, AT, b"first").unwrap();
    assert_eq!(counter_after_export(&mut host, &guest, PAGE), 1);
    assert_eq!(host.share(&guest, PAGE), Ok(DONE));
    let frame = record(&machine, &guest, PAGE).frame().unwrap();
    assert_eq!(host.export(frame), DONE);
    assert_eq!(host.set_state(&guest, 2), DONE);
    assert_eq!(host.unshare_all(&guest), DONE);
    assert_eq!(record(&machine, &guest, PAGE), PageRecord::Absent);
    assert_eq!(machine.page(guest.handle, PAGE).unwrap().counter, 1);
    assert_eq!(host.import(&guest, PAGE), DONE);
    assert_eq!(counter_after_export(&mut host, &guest, PAGE), 2, "zeros under a new counter");
}

#[test]
fn t01_t02_t03_t07_t08_t09_what_the_host_may_touch() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let (frame, _) = exported(&mut host, &guest, PAGE, b"x");
    assert!(host.page_bytes(frame).is_ok(), "T7");
    host.store(frame.address().0 + 5, &[1]);
    refuse_import(&mut host, &guest, PAGE, 0x106);
    let own = host.resident(&guest, PageIndex(4));
    for at in [own.address().0, UV_BASE, guest.base, guest.variable, guest.cpu_storage] {
        let before = machine.state_digest(None);
        let load = host.load(at + 8, 8).unwrap_err();
        let store = host.cpu.store(uvsim_model::address::VirtualAddress(at + 8), &[1]).unwrap_err();
        for interruption in [load, store] {
            assert_eq!((interruption.code, interruption.teid.address()), (ProgramCode::SecureStorageAccess, at));
            assert!(interruption.teid.bit_61());
        }
        assert_eq!(before, machine.state_digest(None));
        // T4: an instruction fetch does not tell its address.
        let fetch = host.cpu.fetch_instruction(uvsim_model::address::VirtualAddress(at), &mut [0; 2]).unwrap_err();
        assert_eq!((fetch.code, fetch.teid.address()), (ProgramCode::SecureStorageAccess, 0));
        assert!(!fetch.teid.bit_61());
    }
}

#[test]
fn d15_without_misc_bit_61_is_always_zero() {
    let machine = support::machine(misc(false));
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, PAGE);
    assert!(!host.page_bytes(frame).unwrap_err().teid.bit_61());
    let other = host.start(1);
    host.map(&other, PAGE, frame);
    let interruption = scene::host_interruption(host.guest_load(&other, AT, 1));
    assert_eq!(interruption.code, ProgramCode::SecureStorageViolation);
    assert!(!interruption.teid.bit_61());
}

#[test]
fn t10_t11_channel_io() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let open = host.shared(&guest, PageIndex(4), b"open");
    let held = host.shared(&guest, PageIndex(5), b"held");
    assert_eq!(host.pin(held), DONE);
    let own = host.resident(&guest, PageIndex(6));
    let plain = host.frame();
    let gone = host.start(1);
    let orphan = host.resident(&gone, PAGE);
    host.destroy_guest(&gone, Command::DestroySecConfFast);
    let mut channel = machine.channel();
    for frame in [open, held, plain] {
        channel.write(AbsoluteAddress(frame.address().0 + 100), b"from a device").unwrap();
        let mut bytes = [0; 13];
        channel.read(AbsoluteAddress(frame.address().0 + 100), &mut bytes).unwrap();
        assert_eq!(&bytes, b"from a device");
    }
    for at in [own.address().0, orphan.address().0, UV_BASE, guest.base, guest.variable, guest.cpu_storage] {
        let before = machine.state_digest(None);
        assert!(channel.read(AbsoluteAddress(at), &mut [0; 8]).is_err());
        assert!(channel.write(AbsoluteAddress(at), &[1; 8]).is_err());
        // A transfer that only ends in the secure frame moves nothing.
        assert!(channel.write(AbsoluteAddress(at - 8), &[1; 16]).is_err());
        assert_eq!(before, machine.state_digest(None));
    }
    drop(channel);
    assert_eq!(host.guest_load(&guest, 0x4064, 13).unwrap(), b"from a device");
}
