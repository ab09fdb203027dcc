//! The host's own space, on one CPU and on several that one thread operates in turn.

use super::*;

#[test]
fn a_host_translates_at_every_depth() {
    for depth in 0..=3 {
        let machine = machine();
        let (mut host, space) = translating(&machine, depth);
        let frame = filled(&mut host, 7);
        space.map(&mut host, 3, frame.address().0);
        assert_eq!(byte(&mut host.cpu, WINDOW + 0x3fff), Ok(7));
        host.store(WINDOW + 0x3010, &[9]);
        assert_eq!(byte(&mut host.cpu, frame.address().0 + 0x10), Ok(9));
        let at = host.cpu.translate(VirtualAddress(WINDOW + 0x3123)).unwrap();
        assert_eq!(at, AbsoluteAddress(frame.address().0 + 0x123));
        let interruption = byte(&mut host.cpu, WINDOW + 0x4000).unwrap_err();
        assert_eq!((interruption.code, interruption.teid.0), (ProgramCode::PageTranslation, (WINDOW + 0x4000) | 0x803));
        let beyond = 1u64 << 31;
        let code = byte(&mut host.cpu, beyond).unwrap_err().code;
        let wanted = if depth == 0 { ProgramCode::AsceType } else { ProgramCode::RegionThirdTranslation };
        assert_eq!(code, wanted);

        // A whole life of a page, with the control block in the window.
        let guest = host.start(1);
        let page = host.resident(&guest, P);
        let block = WINDOW + 0x3000 + 0xfe0;
        host.block(block, Command::ConvFromSecStor.code(), 0x20, &[(0x18, 8, page.address().0)]);
        assert_eq!(host.issue(block).unwrap(), DONE);
        assert_eq!(machine.frame_state(page), FrameState::NonSecure);
    }
}

#[test]
fn a_block_over_two_scattered_frames_is_read_and_answered() {
    let machine = machine();
    let (mut host, space) = translating(&machine, 2);
    let (second, _gap, first) = (host.frame(), host.frame(), host.frame());
    space.map(&mut host, 3, first.address().0);
    space.map(&mut host, 4, second.address().0);
    // What it answers in one piece of storage; then with a seam before, in and behind the list of installed calls.
    let whole = host.allocate(0x1000);
    host.cpu.set_translation(false);
    host.block(whole, Command::QueryUvInformation.code(), 0x120, &[]);
    assert_eq!(host.issue(whole).unwrap(), DONE);
    let answer = host.load(whole, 0x120).unwrap();
    assert_ne!(answer[0x10..0x18], [0; 8], "the list of installed calls is at offset 0x10");
    host.cpu.set_translation(true);
    let mut block = 0;
    for before in [0x40, 0x18, 8] {
        block = WINDOW + 0x4000 - before;
        host.block(block, Command::QueryUvInformation.code(), 0x120, &[]);
        assert_eq!(host.issue(block).unwrap(), DONE);
        let first_part = host.load(first.address().0 + 0x1000 - before, before as usize).unwrap();
        let second_part = host.load(second.address().0, 0x120 - before as usize).unwrap();
        assert_eq!([first_part, second_part].concat(), answer, "{before:#x} bytes before the seam");
    }
    // The second half is missing: nothing is stored, not even a code.
    space.map(&mut host, 4, 0x400);
    host.cpu.ipte(AbsoluteAddress(space.window), VirtualAddress(WINDOW + 0x4000)).unwrap();
    host.store(block + 4, &[0; 4]);
    let before = machine.state_digest(None);
    let interruption = host.issue(block).unwrap_err();
    assert_eq!((interruption.code, interruption.teid.0), (ProgramCode::PageTranslation, (WINDOW + 0x4000) | 0x403));
    assert_eq!(machine.state_digest(None), before);
}

#[test]
fn a_host_that_forgets_to_purge_sees_the_old_frame() {
    let machine = machine();
    let (mut host, space) = translating(&machine, 1);
    let (old, new) = (filled(&mut host, 1), filled(&mut host, 2));
    let at = WINDOW + 0x3000;
    type Purge = fn(&mut HostCpu<'_>, &Space);
    let purges: [Purge; 5] = [
        |cpu, space| cpu.ipte(AbsoluteAddress(space.window), VirtualAddress(WINDOW + 0x3000)).unwrap(),
        |cpu, space| cpu.idte_segment(AbsoluteAddress(space.segments), VirtualAddress(WINDOW + 0x3000)).unwrap(),
        |cpu, space| cpu.idte_region(space.asce.origin(), VirtualAddress(WINDOW + 0x3000)).unwrap(),
        |cpu, space| cpu.idte_space(space.asce).unwrap(),
        |cpu, _| cpu.ptlb().unwrap(),
    ];
    for purge in purges {
        space.map(&mut host, 3, old.address().0);
        host.cpu.ptlb().unwrap();
        assert_eq!(byte(&mut host.cpu, at), Ok(1));
        space.map(&mut host, 3, new.address().0);
        for _ in 0..3 {
            assert_eq!(byte(&mut host.cpu, at), Ok(1), "every time");
        }
        host.store(at, &[1]);
        assert_eq!(byte(&mut host.cpu, new.address().0), Ok(2), "the store went to the old frame");
        purge(&mut host.cpu, &space);
        // Undo the invalid bit that some purges set; they are the host's own tables.
        host.cpu.set_translation(false);
        space.map(&mut host, 3, new.address().0);
        host.store_u64(space.segments + (WINDOW >> 20) * 8, space.window);
        host.store_u64(space.asce.origin().0, space.segments | 4 | 3);
        host.cpu.set_translation(true);
        assert_eq!(byte(&mut host.cpu, at), Ok(2));
    }
}

#[test]
fn a_stale_mapping_of_the_host_never_opens_a_secure_frame() {
    let machine = machine();
    let (mut host, space) = translating(&machine, 2);
    let guest = host.start(1);
    let frame = filled(&mut host, 1);
    space.map(&mut host, 3, frame.address().0);
    let at = WINDOW + 0x3000;
    assert_eq!(byte(&mut host.cpu, at), Ok(1));
    host.map(&guest, P, frame);
    assert_eq!(host.import(&guest, P), DONE);
    let interruption = byte(&mut host.cpu, at).unwrap_err();
    assert_eq!((interruption.code, interruption.teid.0), (ProgramCode::SecureStorageAccess, at | 0x807));
    host.guest_store(&guest, P.0 * 4096, &[5]).unwrap();
    assert_eq!(host.share(&guest, P).unwrap(), DONE);
    assert_eq!(byte(&mut host.cpu, at), Ok(5));
    assert_eq!(host.unshare(&guest, P).unwrap(), DONE);
    assert_eq!(byte(&mut host.cpu, at).unwrap_err().code, ProgramCode::SecureStorageAccess);
}

#[test]
fn ipte_reaches_other_cpus_and_ptlb_does_not() {
    let machine = machine();
    let (mut host, space) = translating(&machine, 1);
    let mut other = machine.cpu(1).unwrap();
    other.set_home(space.asce);
    other.set_translation(true);
    let (old, new) = (filled(&mut host, 1), filled(&mut host, 2));
    let at = WINDOW + 0x3000;
    space.map(&mut host, 3, old.address().0);
    assert_eq!((byte(&mut host.cpu, at), byte(&mut other, at)), (Ok(1), Ok(1)));
    space.map(&mut host, 3, new.address().0);
    host.cpu.ptlb().unwrap();
    assert_eq!((byte(&mut host.cpu, at), byte(&mut other, at)), (Ok(2), Ok(1)));
    host.cpu.ipte(AbsoluteAddress(space.window), VirtualAddress(at)).unwrap();
    assert_eq!(byte(&mut other, at).unwrap_err().code, ProgramCode::PageTranslation);
    space.map(&mut host, 3, old.address().0);
    assert_eq!(byte(&mut other, at), Ok(1));
    space.map(&mut host, 3, new.address().0);
    host.cpu.idte_space(space.asce).unwrap();
    assert_eq!(byte(&mut other, at), Ok(2));
    // A CPU that stands still takes notice when it goes on.
    drop(other);
    space.map(&mut host, 3, old.address().0);
    host.cpu.idte_space(space.asce).unwrap();
    assert_eq!(byte(&mut machine.cpu(1).unwrap(), at), Ok(1));
}

#[test]
fn a_zone_change_counts_on_all_cpus_at_once() {
    let machine = machine();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, P);
    let spare = host.frame();
    host.guest_store(&guest, P.0 * 4096, &[7]).unwrap();

    let mut other = machine.cpu(1).unwrap();
    other.set_primary(guest.asce);
    let mut running = other.enter(VirtualAddress(guest.state_description)).unwrap();
    let mut bytes = [0];
    let at = GuestAddress(P.0 * 4096);
    running.load(at, &mut bytes).unwrap();
    assert_eq!(bytes, [7]);
    // Buffered there; exported here. The table says another frame meanwhile, and nobody has purged: the
    // zone change did.
    host.map_without_purge(&guest, P, spare);
    assert_eq!(host.export(frame), DONE);
    let copy = host.page_bytes(frame).unwrap();
    host.store(spare.address().0, &copy);
    assert_eq!(exit(running.load(at, &mut bytes)).code, ProgramCode::NonSecureStorageAccess);
    drop(running);
    assert_eq!(host.import(&guest, P), DONE);
    let mut running = other.enter(VirtualAddress(guest.state_description)).unwrap();
    running.load(at, &mut bytes).unwrap();
    assert_eq!(bytes, [7]);
    drop(running);
    assert_eq!(machine.frame_state(frame), FrameState::NonSecure);
}
