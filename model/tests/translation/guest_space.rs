//! The guest's space: registrations, protection, large mappings, tables in bad places, origins.

use super::*;

#[test]
fn a_forgotten_purge_leaves_the_guest_at_its_registered_frame() {
    let machine = machine();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, P);
    host.guest_store(&guest, P.0 * 4096, &[7]).unwrap();
    let bait = filled(&mut host, 9);
    host.map_without_purge(&guest, P, bait);
    for _ in 0..3 {
        assert_eq!(guest_byte(&mut host, &guest, P), Ok(7));
    }
    // Import walks the tables afresh (D57): it sees the new frame, and that the page is in another.
    assert_eq!(host.import(&guest, P), refused(0x105));
    assert_eq!(guest_byte(&mut host, &guest, P), Ok(7));
    host.cpu.ptlb().unwrap();
    assert_eq!(exit(guest_byte(&mut host, &guest, P)).code, ProgramCode::NonSecureStorageAccess);
    host.map_without_purge(&guest, P, frame);
    host.cpu.ptlb().unwrap();
    assert_eq!(guest_byte(&mut host, &guest, P), Ok(7));
}

#[test]
fn d56_an_import_voids_what_a_failed_access_has_buffered() {
    // With an oracle beside it, and on the short ways that only an unwatched machine takes.
    import_voids_what_a_failed_access_has_buffered(&machine());
    import_voids_what_a_failed_access_has_buffered(&Machine::new(config()).unwrap());
}

fn import_voids_what_a_failed_access_has_buffered(machine: &Machine) {
    let mut host = Host::ready(machine);
    let guest = host.start(1);
    let (frame, other) = (host.frame(), host.frame());
    host.map(&guest, P, frame);
    // The walk succeeds and is buffered; the access then fails at the frame, which changes for the first time below.
    assert_eq!(exit(guest_byte(&mut host, &guest, P)).code, ProgramCode::NonSecureStorageAccess);
    assert_eq!(host.import(&guest, P), DONE);
    host.map_without_purge(&guest, P, other);
    assert_eq!(exit(guest_byte(&mut host, &guest, P)).code, ProgramCode::NonSecureStorageAccess);
    host.map_without_purge(&guest, P, frame);
    host.cpu.ptlb().unwrap();
    assert_eq!(guest_byte(&mut host, &guest, P), Ok(0));
}

#[test]
fn a_buffered_translation_never_outlives_the_registration() {
    let machine = machine();
    let mut host = Host::ready(&machine);
    let (guest, other) = (host.start(1), host.start(1));
    let frame = host.resident(&guest, P);
    host.guest_store(&guest, P.0 * 4096, &[7]).unwrap();
    assert_eq!(guest_byte(&mut host, &guest, P), Ok(7));
    assert_eq!(host.export(frame), DONE);
    assert_eq!(exit(guest_byte(&mut host, &guest, P)).code, ProgramCode::NonSecureStorageAccess);
    // The frame goes to another guest, at the same page; the first one's tables still name it.
    host.map(&other, P, frame);
    assert_eq!(host.import(&other, P), DONE);
    assert_eq!(exit(guest_byte(&mut host, &guest, P)).code, ProgramCode::SecureStorageViolation);
    assert_eq!(host.share(&other, P).unwrap(), DONE);
    assert_eq!(exit(guest_byte(&mut host, &guest, P)).code, ProgramCode::NonSecureStorageAccess, "D21");
    // And to another page of the first one.
    assert_eq!(host.export(frame), DONE);
    host.map(&guest, Q, frame);
    assert_eq!(host.import(&guest, Q), DONE);
    assert_eq!(exit(guest_byte(&mut host, &guest, P)).code, ProgramCode::SecureStorageViolation);
    assert_eq!(guest_byte(&mut host, &guest, Q), Ok(0));
    machine.check_invariants().unwrap();
}

#[test]
fn protected_mappings_refuse_imports_and_stores() {
    let machine = machine();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, P);
    let protect = |host: &mut Host<'_>, page: PageIndex, frame: FrameNumber| {
        host.unmap(&guest, page);
        host.store_u64(guest.tables[0] + page.0 * 8, frame.address().0 | 0x200);
    };
    protect(&mut host, P, frame);
    assert_eq!(guest_byte(&mut host, &guest, P), Ok(0));
    let interruption = exit(host.guest_store(&guest, P.0 * 4096, &[1]));
    assert_eq!((interruption.code, interruption.teid.0), (ProgramCode::Protection, (P.0 * 4096) | 0x404));
    assert_eq!(guest_byte(&mut host, &guest, P), Ok(0));
    let unused = host.frame();
    protect(&mut host, Q, unused);
    assert_eq!(host.import(&guest, Q), refused(0x10a));
    // On the segment entry it holds for all pages.
    let entry = host.cpu.load_u64(VirtualAddress(guest.asce.origin().0)).unwrap();
    host.map(&guest, Q, unused);
    host.store_u64(guest.asce.origin().0, entry | 0x200);
    assert_eq!(host.import(&guest, Q), refused(0x10a));
    host.store_u64(guest.asce.origin().0, entry);
    assert_eq!(host.import(&guest, Q), DONE);
}

#[test]
fn large_mappings_admit_imports_but_no_guest() {
    let machine = machine();
    let mut host = Host::ready(&machine);
    let guest = host.start(2);
    let other = host.start(1);
    let block = host.allocate_aligned(1 << 20, 1 << 20);
    // Guest page 0x103 lies in the second MiB.
    let page = PageIndex(0x103);
    let entry = guest.asce.origin().0 + 8;
    host.store_u64(entry, block | 0x400);
    assert_eq!(host.import(&guest, page), DONE, "D35");
    let frame = AbsoluteAddress(block + 0x3000).frame();
    assert!(matches!(machine.frame_state(frame), FrameState::Secure(_, found) if found == page));
    let too_large = |host: &mut Host<'_>, page: PageIndex| {
        let at = page.0 * 4096;
        let interruption = exit(guest_byte(host, &guest, page));
        assert_eq!((interruption.code, interruption.teid.0), (ProgramCode::SecurePageSize, at | 0x800));
        let interruption = exit(host.guest_store(&guest, at, &[1]));
        assert_eq!((interruption.code, interruption.teid.0), (ProgramCode::SecurePageSize, at | 0x400));
        assert_eq!(exit(host.share(&guest, page)).code, ProgramCode::SecurePageSize);
    };
    too_large(&mut host, page);
    // Before the zone check: a non-secure frame, one of another guest, a donated one.
    too_large(&mut host, PageIndex(0x104));
    host.map(&other, P, AbsoluteAddress(block + 0x5000).frame());
    assert_eq!(host.import(&other, P), DONE);
    too_large(&mut host, PageIndex(0x105));
    host.store_u64(entry, support::UV_BASE | 0x400);
    host.cpu.ptlb().unwrap();
    too_large(&mut host, PageIndex(0x106));
    // UNPIN walks through it too.
    host.store_u64(entry, block | 0x400);
    assert_eq!(host.unpin(&guest, page), DONE);
    // Split into pages, the page is usable at once.
    host.store_u64(entry, guest.tables[1]);
    host.map(&guest, page, frame);
    host.cpu.ptlb().unwrap();
    assert_eq!(guest_byte(&mut host, &guest, page), Ok(0));
}

#[test]
fn a_prefix_page_under_a_large_mapping_or_elsewhere_is_112() {
    let machine = machine();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let prefix = |host: &mut Host<'_>| {
        let exit = host.enter(&guest).map(drop);
        matches!(exit, Err(SieExit::Interception(it)) if (it.code, it.ipa, it.ipb) == (112, 0, 0))
    };
    assert!(!prefix(&mut host));
    let entry = guest.asce.origin().0;
    let block = host.allocate_aligned(1 << 20, 1 << 20);
    host.store_u64(entry, block | 0x400);
    host.cpu.ptlb().unwrap();
    assert!(prefix(&mut host));
    let code = host.load(guest.state_description + 0x50, 1).unwrap();
    assert_eq!(code, [112]);
    host.store_u64(entry, guest.tables[0]);
    host.cpu.ptlb().unwrap();
    assert!(!prefix(&mut host));
    let frame = machine.page(guest.handle, PageIndex(1)).unwrap().record.frame().unwrap();
    assert_eq!(host.export(frame), DONE);
    assert!(prefix(&mut host), "T20");
    assert_eq!(host.import(&guest, PageIndex(1)), DONE);
    host.unmap(&guest, PageIndex(0));
    assert!(prefix(&mut host), "not mapped");
}

#[test]
fn tables_in_secure_frames_and_outside_storage() {
    let machine = machine();
    let mut host = Host::ready(&machine);
    let (guest, thief) = (host.start(2), host.start(1));
    let frame = host.resident(&guest, PageIndex(0x100));
    host.guest_store(&guest, 0x10_0000, &[7]).unwrap();
    // The page table of the second MiB becomes a page of another guest.
    let table = AbsoluteAddress(guest.tables[1]);
    host.map(&thief, P, table.frame());
    assert_eq!(host.import(&thief, P), DONE);
    assert_eq!(host.import(&guest, PageIndex(0x101)), refused(0x10a));
    assert_eq!(host.unpin(&guest, PageIndex(0x101)), refused(0x10a));
    let interruption = exit(guest_byte(&mut host, &guest, PageIndex(0x101)));
    assert_eq!(interruption.code, ProgramCode::SecureStorageAccess);
    assert_eq!(interruption.teid.address(), table.0 & !0xfff);
    // IPTE stores into the table: refused as any store.
    let ipte = host.cpu.ipte(table, VirtualAddress(0x10_1000)).unwrap_err();
    assert_eq!(ipte.code, ProgramCode::SecureStorageAccess);
    // What is buffered goes on.
    assert_eq!(guest_byte(&mut host, &guest, PageIndex(0x100)), Ok(7));
    assert!(matches!(machine.frame_state(frame), FrameState::Secure(..)));

    host.store_u64(guest.asce.origin().0 + 8, machine.storage_size());
    assert_eq!(host.import(&guest, PageIndex(0x101)), refused(0x10a));
    let interruption = exit(guest_byte(&mut host, &guest, PageIndex(0x101)));
    assert_eq!((interruption.code, interruption.teid.0), (ProgramCode::Addressing, 0));
    let outside = AbsoluteAddress(machine.storage_size()).frame();
    host.map(&guest, P, outside);
    assert_eq!(host.import(&guest, P), refused(0x10a));
    assert_eq!(exit(guest_byte(&mut host, &guest, P)).code, ProgramCode::Addressing);
}

#[test]
fn common_segments_are_refused_under_a_private_asce() {
    let machine = machine();
    let (mut host, space) = translating(&machine, 1);
    let entry = space.segments + (WINDOW >> 20) * 8;
    let frame = filled(&mut host, 3);
    space.map(&mut host, 3, frame.address().0);
    host.store_u64(entry, space.window | 0x10);
    assert_eq!(byte(&mut host.cpu, WINDOW + 0x3000), Ok(3), "the host's own space is not private");
    host.cpu.set_home(Asce(space.asce.0 | 0x100));
    assert_eq!(byte(&mut host.cpu, WINDOW + 0x3000).unwrap_err().code, ProgramCode::TranslationSpecification);
    host.cpu.set_home(space.asce);

    let guest = host.start(2);
    host.store_u64(guest.asce.origin().0 + 8, guest.tables[1] | 0x10);
    let frame = host.frame();
    host.map_without_purge(&guest, PageIndex(0x100), frame);
    assert_eq!(host.import(&guest, PageIndex(0x100)), refused(0x10a));
    let interruption = exit(guest_byte(&mut host, &guest, PageIndex(0x100)));
    assert_eq!((interruption.code, interruption.teid.0), (ProgramCode::TranslationSpecification, 0));
}

#[test]
fn a_guest_with_an_origin_has_its_addresses_moved() {
    const MSO: u64 = 3 << 20;
    let machine = machine();
    let mut host = Host::ready(&machine);
    let mut guest = host.prepare(4);
    let mut fields = Host::create_fields(&guest);
    fields[2] = (0x38, 8, MSO);
    fields[3] = (0x40, 8, 1 << 20);
    assert_eq!(host.call(Command::CreateSecConf, &fields), DONE);
    guest.handle = host.output(0x18);
    host.create_cpu(&mut guest);
    host.verify(&guest);
    // The helpers number pages from the start of the space; the guest counts from its origin.
    let space = |page: u64| PageIndex(MSO / 4096 + page);
    for page in 0..2 {
        host.resident(&guest, space(page));
    }
    assert_eq!(host.import(&guest, PageIndex(5)), refused(0x103), "below the origin");
    assert_eq!(host.import(&guest, space(256)), refused(0x103), "behind the end");
    assert_eq!(host.import(&guest, space(5)), refused(0x10a));
    let interruption = exit(host.guest_load(&guest, 0x5000, 1));
    assert_eq!((interruption.code, interruption.teid.0), (ProgramCode::PageTranslation, (MSO + 0x5000) | 0x800));
    let frame = host.frame();
    host.map(&guest, space(5), frame);
    let interruption = exit(host.guest_load(&guest, 0x5000, 1));
    assert_eq!((interruption.code, interruption.teid.0), (ProgramCode::NonSecureStorageAccess, (MSO + 0x5000) | 0x800));
    assert_eq!(host.import(&guest, space(5)), DONE);
    host.guest_store(&guest, 0x5000, &[7]).unwrap();
    assert!(matches!(machine.frame_state(frame), FrameState::Secure(_, PageIndex(5))), "D62");
    // Beyond its size the guest has an exception of its own.
    let event = host.guest_load(&guest, 1 << 20, 1).unwrap_err();
    assert!(matches!(event, GuestEvent::Program(it) if it.code == ProgramCode::Addressing), "{event}");
    // The guest names guest absolute addresses.
    assert_eq!(host.share(&guest, PageIndex(5)).unwrap(), DONE);
    assert_eq!(host.load(frame.address().0, 1).unwrap(), [7]);
    assert_eq!(host.share(&guest, PageIndex(256)).unwrap(), refused(0x101));
    assert_eq!(host.pin(frame), DONE);
    assert_eq!(host.unpin(&guest, PageIndex(5)), refused(0x103));
    assert_eq!(host.unpin(&guest, space(5)), DONE);
    assert_eq!(host.unshare(&guest, PageIndex(5)).unwrap(), DONE);
    machine.check_invariants().unwrap();
}
