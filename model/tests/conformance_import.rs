//! Conformance, import: C66, C67, C69–C76, C78; T23–T38, D7, D8, D22, D30, D35, D59, Q2.

#[path = "support/scene.rs"]
mod scene;
mod support;

use scene::{Log, pinned, record, secure, shared};
use support::{BLOCK, DONE, Guest, Host, UV_BASE, config, refused};
use uvsim_model::PageRecord;
use uvsim_model::address::{AbsoluteAddress, FrameNumber, PageIndex};
use uvsim_model::config::MachineConfig;
use uvsim_model::storage::{Asce, FrameState, ProgramCode};
use uvsim_model::uvc::Command;

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

#[track_caller]
fn is_secure(host: &mut Host<'_>, frame: FrameNumber) {
    let interruption = host.page_bytes(frame).unwrap_err();
    assert_eq!(interruption.code, ProgramCode::SecureStorageAccess);
    assert_eq!(interruption.teid.address(), frame.address().0);
}

#[test]
fn c66_t24_a_first_import_gives_zeros() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.frame();
    host.store(frame.address().0, &[0x77; 4096]);
    host.map(&guest, PAGE, frame);
    let log = Log::of(&machine);
    assert_eq!(host.import(&guest, PAGE), DONE);
    assert_eq!(log.transitions(), ["T24"]);
    is_secure(&mut host, frame);
    assert_eq!(host.guest_load(&guest, AT, 4096), Ok(vec![0; 4096]));
    assert_eq!(machine.frame_state(frame), secure(&machine, &guest, PAGE));
    assert_eq!(record(&machine, &guest, PAGE), PageRecord::Resident(frame));
}

#[test]
fn c67_t23_an_import_without_a_mapping() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    refuse_import(&mut host, &guest, PAGE, 0x10a);
    // D59: anything that a walk can end with, and a frame outside storage.
    let frame = host.frame().address().0;
    for entry in [frame | 0x200, frame | 0x400, frame | 0x800, END, !0xfff] {
        host.store_u64(guest.tables[0] + 3 * 8, entry);
        refuse_import(&mut host, &guest, PAGE, 0x10a);
    }
    let segments = guest.asce.origin().0;
    host.store_u64(guest.tables[0] + 3 * 8, frame);
    for entry in [0x20, guest.tables[0] | 0x200, guest.tables[0] | 0x10, guest.tables[0] | 4, END, UV_BASE] {
        host.store_u64(segments, entry);
        refuse_import(&mut host, &guest, PAGE, 0x10a);
    }
    host.store_u64(segments, guest.tables[0]);
    assert_eq!(host.import(&guest, PAGE), DONE);
}

#[test]
fn d59_tables_in_a_secure_frame_are_no_mapping() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    // The table of another configuration's space lies in a frame that this one owns.
    let victim = host.resident(&guest, PAGE);
    let other = host.start(1);
    host.store_u64(other.asce.origin().0, victim.address().0);
    refuse_import(&mut host, &other, PAGE, 0x10a);
}

#[test]
fn q2_an_import_outside_the_guest() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let mut guest = host.prepare(2);
    // A guest whose storage begins at 1 MiB of its space, and has 1 MiB.
    let mut fields = scene::with(&Host::create_fields(&guest), &[(0x38, 8, 1 << 20), (0x40, 8, 1 << 20)]);
    fields.sort_unstable();
    assert_eq!(host.call(Command::CreateSecConf, &fields), DONE);
    guest.handle = host.output(0x18);
    for page in [0, 255, 512, (1 << 52) - 1] {
        refuse_import(&mut host, &guest, PageIndex(page), 0x103);
        let fields = [(0x18, 8, guest.handle), (0x20, 8, page * 4096)];
        host.refuse_unchanged(Command::UnpinPageShared, &fields, refused(0x103));
    }
    let frame = host.frame();
    host.map(&guest, PageIndex(256), frame);
    assert_eq!(host.import(&guest, PageIndex(256)), DONE);
    // D62: pages count from the origin.
    assert_eq!(record(&machine, &guest, PageIndex(0)), PageRecord::Resident(frame));
    assert_eq!(machine.frame_state(frame), secure(&machine, &guest, PageIndex(0)));
}

#[test]
fn c69_t25_an_import_gives_the_content_back() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let (frame, _) = exported(&mut host, &guest, PAGE, b"attack at dawn");
    let log = Log::of(&machine);
    assert_eq!(host.import(&guest, PAGE), DONE);
    assert_eq!(log.transitions(), ["T25"]);
    assert_eq!(host.guest_load(&guest, AT, 14).unwrap(), b"attack at dawn");
    is_secure(&mut host, frame);
}

#[test]
fn c70_t26_a_flipped_bit_is_refused_and_the_right_bytes_are_still_good() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let (frame, cipher) = exported(&mut host, &guest, PAGE, b"attack at dawn");
    for bit in [0, 1, 0x3fff, 0x7fff] {
        let mut bad = cipher.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        host.store(frame.address().0, &bad);
        refuse_import(&mut host, &guest, PAGE, 0x106);
        assert_eq!(host.page_bytes(frame).unwrap(), bad);
    }
    host.store(frame.address().0, &cipher);
    assert_eq!(host.import(&guest, PAGE), DONE);
    assert_eq!(host.guest_load(&guest, AT, 14).unwrap(), b"attack at dawn");
}

#[test]
fn c71_t27_an_older_image_is_refused() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let (frame, old) = exported(&mut host, &guest, PAGE, b"old");
    assert_eq!(host.import(&guest, PAGE), DONE);
    host.guest_store(&guest, AT, b"new").unwrap();
    assert_eq!(host.export(frame), DONE);
    assert_eq!(machine.page(guest.handle, PAGE).unwrap().counter, 2);
    let new = host.page_bytes(frame).unwrap();
    host.store(frame.address().0, &old);
    refuse_import(&mut host, &guest, PAGE, 0x106);
    host.store(frame.address().0, &new);
    assert_eq!(host.import(&guest, PAGE), DONE);
}

#[test]
fn c72_t28_swapped_images_are_refused() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let (one, first) = exported(&mut host, &guest, PageIndex(3), b"same");
    let (two, second) = exported(&mut host, &guest, PageIndex(4), b"same");
    assert_ne!(first, second);
    host.store(one.address().0, &second);
    host.store(two.address().0, &first);
    refuse_import(&mut host, &guest, PageIndex(3), 0x106);
    refuse_import(&mut host, &guest, PageIndex(4), 0x106);
}

#[test]
fn t29_the_image_of_another_configuration() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let (one, two) = (host.start(1), host.start(1));
    let (_, foreign) = exported(&mut host, &one, PAGE, b"one");
    let (frame, _) = exported(&mut host, &two, PAGE, b"two");
    host.store(frame.address().0, &foreign);
    refuse_import(&mut host, &two, PAGE, 0x106);
    // A page that has never been seen starts as zeros, whatever lies there (T24).
    let frame = host.frame();
    host.store(frame.address().0, &foreign);
    host.map(&two, PageIndex(4), frame);
    assert_eq!(host.import(&two, PageIndex(4)), DONE);
    assert_eq!(host.guest_load(&two, 0x4000, 4096), Ok(vec![0; 4096]));
}

#[test]
fn c73_t30_ciphertext_may_move() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let (old, cipher) = exported(&mut host, &guest, PAGE, b"attack at dawn");
    let frame = host.frame();
    host.store(frame.address().0, &cipher);
    host.map(&guest, PAGE, frame);
    assert_eq!(host.import(&guest, PAGE), DONE);
    assert_eq!(host.guest_load(&guest, AT, 14).unwrap(), b"attack at dawn");
    assert_eq!(record(&machine, &guest, PAGE), PageRecord::Resident(frame));
    assert_eq!(machine.frame_state(old), FrameState::NonSecure);
}

#[test]
fn c74_t31_d08_an_import_of_a_page_that_fits_does_nothing() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let secure = host.resident(&guest, PageIndex(3));
    host.guest_store(&guest, 0x3000, b"kept").unwrap();
    host.shared(&guest, PageIndex(4), b"open");
    let held = host.shared(&guest, PageIndex(5), b"held");
    assert_eq!(host.pin(held), DONE);
    let log = Log::of(&machine);
    for page in 3..6 {
        let fields = [(0x18, 8, guest.handle), (0x20, 8, page * 4096)];
        host.block(BLOCK, 0x0200, 0x28, &fields);
        let before = machine.state_digest(Some(AbsoluteAddress(BLOCK)));
        assert_eq!(host.issue(BLOCK), Ok(DONE));
        assert_eq!(before, machine.state_digest(Some(AbsoluteAddress(BLOCK))));
        assert_eq!(log.last_call(), "T31");
    }
    assert_eq!(host.guest_load(&guest, 0x3000, 4).unwrap(), b"kept");
    is_secure(&mut host, secure);
}

#[test]
fn c75_t33_d22_a_frame_serves_one_page_of_a_guest() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let own = host.resident(&guest, PageIndex(3));
    let open = host.shared(&guest, PageIndex(4), b"open");
    let held = host.shared(&guest, PageIndex(5), b"held");
    assert_eq!(host.pin(held), DONE);
    for (frame, code) in [
        (own, ProgramCode::SecureStorageViolation),
        (open, ProgramCode::NonSecureStorageAccess),
        (held, ProgramCode::NonSecureStorageAccess),
    ] {
        let before = machine.frame_state(frame);
        host.map(&guest, PageIndex(9), frame);
        refuse_import(&mut host, &guest, PageIndex(9), 0x104);
        assert_eq!(machine.frame_state(frame), before);
        // T16: touched as the other page.
        assert_eq!(scene::code_and_address(host.guest_load(&guest, 0x9000, 1)), (code, 0x9000));
    }
}

#[test]
fn c76_t34_t15_a_frame_of_another_configuration() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let (one, two) = (host.start(1), host.start(1));
    let frame = host.resident(&one, PAGE);
    host.guest_store(&one, AT, b"secret").unwrap();
    host.map(&two, PAGE, frame);
    let log = Log::of(&machine);
    refuse_import(&mut host, &two, PAGE, 0x104);
    assert_eq!(log.last_call(), "T34");
    let interruption = scene::host_interruption(host.guest_load(&two, AT, 6));
    assert_eq!((interruption.code, interruption.teid.address()), (ProgramCode::SecureStorageViolation, AT));
    assert!(interruption.teid.bit_61(), "the address is right (D19)");
    assert_eq!(host.guest_load(&one, AT, 6).unwrap(), b"secret");
}

#[test]
fn c78_t35_a_shared_frame_changes_owner_where_misc_is_on() {
    let machine = support::machine(misc(true));
    let mut host = Host::ready(&machine);
    let (one, two) = (host.start(1), host.start(1));
    let frame = host.shared(&one, PAGE, b"open");
    host.map(&two, PageIndex(7), frame);
    let log = Log::of(&machine);
    assert_eq!(host.import(&two, PageIndex(7)), DONE);
    assert_eq!(log.transitions(), ["T35"]);
    assert_eq!(machine.frame_state(frame), secure(&machine, &two, PageIndex(7)));
    assert_eq!(record(&machine, &two, PageIndex(7)), PageRecord::Resident(frame));
    assert_eq!(record(&machine, &one, PAGE), PageRecord::Shared(None));
    assert_eq!(host.guest_load(&two, 0x7000, 4096), Ok(vec![0; 4096]));
    // The old owner is sent to its host.
    assert_eq!(
        scene::code_and_address(host.guest_load(&one, AT, 1)),
        (ProgramCode::SecureStorageViolation, AT),
        "the frame is secure for somebody else"
    );
    machine.check_invariants().unwrap();
}

#[test]
fn c78_t35_without_misc_it_does_not() {
    let machine = support::machine(misc(false));
    let mut host = Host::ready(&machine);
    let (one, two) = (host.start(1), host.start(1));
    let frame = host.shared(&one, PAGE, b"open");
    host.map(&two, PageIndex(7), frame);
    refuse_import(&mut host, &two, PageIndex(7), 0x104);
    // The host exports first.
    assert_eq!(host.export(frame), DONE);
    assert_eq!(host.import(&two, PageIndex(7)), DONE);
    assert_eq!(record(&machine, &one, PAGE), PageRecord::Shared(None));
}

#[test]
fn t36_a_pinned_frame_never_changes_owner() {
    for on in [false, true] {
        let machine = support::machine(misc(on));
        let mut host = Host::ready(&machine);
        let (one, two) = (host.start(1), host.start(1));
        let frame = host.shared(&one, PAGE, b"held");
        assert_eq!(host.pin(frame), DONE);
        host.map(&two, PageIndex(7), frame);
        let log = Log::of(&machine);
        refuse_import(&mut host, &two, PageIndex(7), 0x104);
        assert_eq!(log.last_call(), "T36");
        assert_eq!(machine.frame_state(frame), pinned(&machine, &one, PAGE));
    }
}

#[test]
fn d30_a_take_over_that_fails_moves_nothing() {
    let machine = support::machine(misc(true));
    let mut host = Host::ready(&machine);
    let (one, two) = (host.start(1), host.start(1));
    let frame = host.shared(&one, PAGE, b"not the ciphertext");
    let (_, cipher) = exported(&mut host, &two, PageIndex(7), b"two");
    host.map(&two, PageIndex(7), frame);
    refuse_import(&mut host, &two, PageIndex(7), 0x106);
    assert_eq!(machine.frame_state(frame), shared(&machine, &one, PAGE));
    // A destroyed page and one that is resident elsewhere fail in the same way.
    let elsewhere = host.resident(&two, PageIndex(8));
    host.map(&two, PageIndex(8), frame);
    refuse_import(&mut host, &two, PageIndex(8), 0x105);
    assert_eq!(machine.frame_state(elsewhere), secure(&machine, &two, PageIndex(8)));
    // With the right bytes in the shared frame it succeeds.
    host.store(frame.address().0, &cipher);
    assert_eq!(host.import(&two, PageIndex(7)), DONE);
    assert_eq!(host.guest_load(&two, 0x7000, 3).unwrap(), b"two");
    assert_eq!(record(&machine, &one, PAGE), PageRecord::Shared(None));
    machine.check_invariants().unwrap();
}

#[test]
fn t35_t37_a_shared_page_of_both_moves_with_its_content() {
    let machine = support::machine(misc(true));
    let mut host = Host::ready(&machine);
    let (one, two) = (host.start(1), host.start(1));
    let frame = host.shared(&one, PAGE, b"mailbox");
    let old = host.shared(&two, PageIndex(7), b"gone");
    assert_eq!(host.export(old), DONE);
    host.map(&two, PageIndex(7), frame);
    assert_eq!(host.import(&two, PageIndex(7)), DONE);
    assert_eq!(machine.frame_state(frame), shared(&machine, &two, PageIndex(7)));
    assert_eq!(host.guest_load(&two, 0x7000, 7).unwrap(), b"mailbox");
    assert_eq!(scene::code_and_address(host.guest_load(&one, AT, 1)), (ProgramCode::NonSecureStorageAccess, AT));
    machine.check_invariants().unwrap();
}

#[test]
fn t32_a_page_is_resident_once() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let own = host.resident(&guest, PageIndex(3));
    let open = host.shared(&guest, PageIndex(4), b"open");
    let held = host.shared(&guest, PageIndex(5), b"held");
    assert_eq!(host.pin(held), DONE);
    let log = Log::of(&machine);
    for page in (3..6).map(PageIndex) {
        let second = host.frame();
        host.map(&guest, page, second);
        refuse_import(&mut host, &guest, page, 0x105);
        assert_eq!(log.last_call(), "T32");
        assert_eq!(machine.frame_state(second), FrameState::NonSecure);
    }
    assert_eq!(machine.frame_state(own), secure(&machine, &guest, PageIndex(3)));
    assert_eq!(machine.frame_state(open), shared(&machine, &guest, PageIndex(4)));
    assert_eq!(machine.frame_state(held), pinned(&machine, &guest, PageIndex(5)));
}

#[test]
fn t38_donated_frames_are_taken() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let (guest, other) = (host.start(1), host.start(1));
    let log = Log::of(&machine);
    for at in [UV_BASE, guest.base, guest.variable, guest.cpu_storage, other.base, other.cpu_storage] {
        host.map(&guest, PAGE, AbsoluteAddress(at).frame());
        refuse_import(&mut host, &guest, PAGE, 0x104);
        assert_eq!(log.last_call(), "T38");
        let found = scene::code_and_address(host.guest_load(&guest, AT, 1));
        assert_eq!(found, (ProgramCode::SecureStorageViolation, AT), "T17");
    }
}

#[test]
fn d35_paging_walks_through_large_entries_and_a_guest_does_not() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(2);
    let block = host.allocate_aligned(1 << 20, 1 << 20);
    host.store_u64(guest.asce.origin().0 + 8, block | 0x400);
    host.cpu.idte_space(Asce(guest.asce.0)).unwrap();
    assert_eq!(host.import(&guest, PageIndex(256 + 9)), DONE);
    let frame = AbsoluteAddress(block + 9 * 0x1000).frame();
    assert_eq!(machine.frame_state(frame), secure(&machine, &guest, PageIndex(256 + 9)));
    // T21: 0x3c comes before the zone check, on secure and on other frames.
    for address in [0x10_9000, 0x10_0000] {
        let found = scene::code_and_address(host.guest_load(&guest, address, 1));
        assert_eq!(found, (ProgramCode::SecurePageSize, address));
    }
    assert_eq!(host.unpin(&guest, PageIndex(256 + 9)), DONE);
}
