//! Conformance, sharing and pins: C83–C89, C99; T56–T72, D9, D25, D31, D32.

#[path = "support/scene.rs"]
mod scene;
mod support;

use scene::{Field, Log, guest_block, interception, pinned, record, secure, shared};
use support::{BLOCK, DONE, Guest, Host, UV_BASE, config, refused};
use uvsim_model::address::{AbsoluteAddress, FrameNumber, PageIndex};
use uvsim_model::cpu::Interception;
use uvsim_model::storage::{FrameState, ProgramCode};
use uvsim_model::uvc::Command;
use uvsim_model::{Injection, Machine, PageRecord};

const PAGE: PageIndex = PageIndex(3);

const AT: u64 = 0x3000;

/// The frame of a prefix page.
fn prefix_frame(machine: &Machine, guest: &Guest, page: u64) -> FrameNumber {
    record(machine, guest, PageIndex(page)).frame().expect("resident")
}

fn unpin_fields(guest: &Guest, page: PageIndex) -> [Field; 2] {
    [(0x18, 8, guest.handle), (0x20, 8, page.0 * 4096)]
}

#[test]
fn c83_t56_a_shared_page_is_open_both_ways() {
    let machine = support::machine(config());
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
    let machine = support::machine(config());
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
    let machine = support::machine(config());
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
    let machine = support::machine(config());
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
    let machine = support::machine(config());
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
    let machine = support::machine(config());
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
    let machine = support::machine(config());
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
    let machine = support::machine(config());
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
    let machine = support::machine(config());
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
    let machine = support::machine(config());
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
    let machine = support::machine(config());
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
    let machine = support::machine(config());
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
fn c99_t70_t71_t72_d25_unsharing_everything() {
    let machine = support::machine(config());
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
fn a_guest_may_share_and_take_back_the_page_of_its_own_block() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = prefix_frame(&machine, &guest, 1);
    assert_eq!(host.share(&guest, PageIndex(1)), Ok(DONE));
    assert_eq!(machine.frame_state(frame), shared(&machine, &guest, PageIndex(1)));
    assert_eq!(host.unshare(&guest, PageIndex(1)), Ok(DONE));
    assert_eq!(machine.frame_state(frame), secure(&machine, &guest, PageIndex(1)));
}

#[test]
fn q19_a_guest_call_may_be_busy_too() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, PAGE);
    machine.inject(Command::SetSharedAccess, Injection::Busy(1));
    assert_eq!(host.share(&guest, PAGE).map(|answer| (answer.cc, answer.rc)), Ok((2, 0)));
    assert_eq!(machine.frame_state(frame), secure(&machine, &guest, PAGE));
    assert_eq!(host.share(&guest, PAGE), Ok(DONE));
}
