//! Translation by real tables: what a buffered translation may still do, and what it never may.

mod support;

use support::{BLOCK, DONE, Guest, Host, config, refused};
use uvsim_model::Machine;
use uvsim_model::address::{AbsoluteAddress, FrameNumber, GuestAddress, PageIndex, VirtualAddress};
use uvsim_model::config::{Generation, MachineConfig};
use uvsim_model::cpu::{GuestEvent, HostCpu, SieExit};
use uvsim_model::storage::{Asce, FrameState, ProgramCode, ProgramInterruption};
use uvsim_model::uvc::Command;

const P: PageIndex = PageIndex(5);
const Q: PageIndex = PageIndex(6);
/// A segment of the host's space that a test maps page by page.
const WINDOW: u64 = 1 << 30;

/// A space of the host: virtual = real in the low 2 GiB but for the window.
struct Space {
    asce: Asce,
    segments: u64,
    window: u64,
}

impl Space {
    /// Builds the tables. `depth` counts the levels of region tables.
    fn new(host: &mut Host<'_>, depth: u64) -> Self {
        let segments = host.allocate_aligned(0x4000, 0x4000);
        for segment in 0..2048 {
            host.store_u64(segments + segment * 8, segment << 20 | 0x400);
        }
        let window = host.allocate(0x1000);
        for page in 0..256 {
            host.store_u64(window + page * 8, 0x400);
        }
        let space = Self { asce: Asce(0), segments, window };
        host.store_u64(segments + (WINDOW >> 20) * 8, window);
        let mut top = segments;
        for level in 1..=depth {
            let table = host.allocate_aligned(0x4000, 0x4000);
            for entry in 0..2048 {
                host.store_u64(table + entry * 8, 0x20 | level << 2);
            }
            host.store_u64(table, top | level << 2 | 3);
            top = table;
        }
        Self { asce: Asce(top | depth << 2 | 3), ..space }
    }

    fn map(&self, host: &mut Host<'_>, page: u64, entry: u64) {
        host.store_u64(self.window + page * 8, entry);
    }
}

fn machine() -> Machine {
    Machine::new(config()).unwrap()
}

fn translating<'m>(machine: &'m Machine, depth: u64) -> (Host<'m>, Space) {
    let mut host = Host::ready(machine);
    let space = Space::new(&mut host, depth);
    host.cpu.set_home(space.asce);
    host.cpu.set_translation(true);
    (host, space)
}

fn byte(cpu: &mut HostCpu<'_>, address: u64) -> Result<u8, ProgramInterruption> {
    let mut byte = [0];
    cpu.load(VirtualAddress(address), &mut byte).map(|()| byte[0])
}

/// A frame filled with one byte.
fn filled(host: &mut Host<'_>, byte: u8) -> FrameNumber {
    let frame = host.frame();
    host.store(frame.address().0, &[byte; 4096]);
    frame
}

fn exit(result: Result<impl std::fmt::Debug, GuestEvent>) -> ProgramInterruption {
    match result {
        Err(GuestEvent::Exit(SieExit::HostInterruption(interruption))) => interruption,
        other => panic!("no interruption of the host: {other:?}"),
    }
}

fn guest_byte(host: &mut Host<'_>, guest: &Guest, page: PageIndex) -> Result<u8, GuestEvent> {
    host.guest_load(guest, page.0 * 4096, 1).map(|bytes| bytes[0])
}

// The host's own space.

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
        assert_eq!((interruption.code, interruption.teid.0), (ProgramCode::PageTranslation, WINDOW + 0x4000 | 0x803));
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
    let block = WINDOW + 0x4000 - 8;
    host.block(block, Command::QueryUvInformation.code(), 0x120, &[]);
    assert_eq!(host.issue(block).unwrap(), DONE);
    let installed = host.cpu.load_u64(VirtualAddress(second.address().0 + 8)).unwrap();
    assert_ne!(installed, 0, "the list of installed calls is at offset 0x10");
    // The second half is missing: nothing is stored, not even a code.
    space.map(&mut host, 4, 0x400);
    host.cpu.ipte(AbsoluteAddress(space.window), VirtualAddress(WINDOW + 0x4000)).unwrap();
    host.store(block + 4, &[0; 4]);
    let before = machine.state_digest(None);
    let interruption = host.issue(block).unwrap_err();
    assert_eq!((interruption.code, interruption.teid.0), (ProgramCode::PageTranslation, WINDOW + 0x4000 | 0x403));
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

// Several CPUs, operated in turn by one thread.

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

// The guest's space.

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
    assert_eq!((interruption.code, interruption.teid.0), (ProgramCode::Protection, P.0 * 4096 | 0x404));
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
    assert_eq!((interruption.code, interruption.teid.0), (ProgramCode::TranslationSpecification, 0x10_0800));
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
    assert_eq!((interruption.code, interruption.teid.0), (ProgramCode::PageTranslation, MSO + 0x5000 | 0x800));
    let frame = host.frame();
    host.map(&guest, space(5), frame);
    let interruption = exit(host.guest_load(&guest, 0x5000, 1));
    assert_eq!((interruption.code, interruption.teid.0), (ProgramCode::NonSecureStorageAccess, MSO + 0x5000 | 0x800));
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

// What an interruption says: D15, D19, T4.

#[test]
fn teids_name_page_access_and_space() {
    for (generation, feature_misc, right) in
        [(Generation::Z16, None, 4), (Generation::Z15, None, 0), (Generation::Z15, Some(true), 4)]
    {
        let machine = Machine::new(MachineConfig { generation, feature_misc, ..config() }).unwrap();
        let (mut host, space) = translating(&machine, 2);
        let guest = host.start(1);
        let secure = host.resident(&guest, P);
        let foreign = host.resident(&guest, Q);
        space.map(&mut host, 3, secure.address().0);
        let at = WINDOW + 0x3000;
        let load = byte(&mut host.cpu, at + 0x123).unwrap_err();
        assert_eq!((load.code, load.teid.0), (ProgramCode::SecureStorageAccess, at | 0x803 | right));
        let store = host.cpu.store(VirtualAddress(at + 0xff8), &[0; 8]).unwrap_err();
        assert_eq!((store.code, store.teid.0), (ProgramCode::SecureStorageAccess, at | 0x403 | right));
        let fetch = host.cpu.fetch_instruction(VirtualAddress(at), &mut [0; 2]).unwrap_err();
        assert_eq!(fetch.code, ProgramCode::SecureStorageAccess);
        assert_eq!((fetch.teid.address(), fetch.teid.bit_61()), (0, false), "T4");
        let block = host.issue(at).unwrap_err();
        assert_eq!((block.code, block.teid.0), (ProgramCode::SecureStorageAccess, at | 0x403 | right));

        let gaddr = P.0 * 4096;
        host.map(&guest, P, foreign);
        let violation = exit(host.guest_load(&guest, gaddr + 8, 8));
        assert_eq!((violation.code, violation.teid.0), (ProgramCode::SecureStorageViolation, gaddr | 0x800 | right));
        let violation = exit(host.guest_store(&guest, gaddr + 8, &[0; 8]));
        assert_eq!((violation.code, violation.teid.0), (ProgramCode::SecureStorageViolation, gaddr | 0x400 | right));
        let plain = host.frame();
        host.map(&guest, P, plain);
        let missing = exit(host.guest_store(&guest, gaddr + 8, &[0; 8]));
        assert_eq!((missing.code, missing.teid.0), (ProgramCode::NonSecureStorageAccess, gaddr | 0x400));
        host.unmap(&guest, P);
        let unmapped = exit(host.guest_load(&guest, gaddr + 8, 8));
        assert_eq!((unmapped.code, unmapped.teid.0), (ProgramCode::PageTranslation, gaddr | 0x800));

        // DAT protection of the host; a control block counts as a store.
        space.map(&mut host, 5, plain.address().0 | 0x200);
        let at = WINDOW + 0x5000;
        assert_eq!(byte(&mut host.cpu, at), Ok(0));
        for interruption in [host.cpu.store(VirtualAddress(at), &[1]).unwrap_err(), host.issue(at).unwrap_err()] {
            assert_eq!((interruption.code, interruption.teid.0), (ProgramCode::Protection, at | 0x407));
        }
    }
}

#[test]
fn an_access_over_two_pages_names_the_one_that_refuses_and_does_nothing() {
    let machine = machine();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let (before, secure) = (filled(&mut host, 1), host.resident(&guest, P));
    assert_eq!(secure.0, before.0 + 1);
    let at = secure.address().0 - 4;
    let digest = machine.state_digest(None);
    let store = host.cpu.store(VirtualAddress(at), &[9; 8]).unwrap_err();
    assert_eq!((store.code, store.teid.address()), (ProgramCode::SecureStorageAccess, secure.address().0));
    let mut bytes = [0xaa; 8];
    host.cpu.load(VirtualAddress(at), &mut bytes).unwrap_err();
    assert_eq!(bytes, [0xaa; 8]);
    let event = exit(host.guest_store(&guest, Q.0 * 4096 - 4, &[9; 8]));
    assert_eq!((event.code, event.teid.address()), (ProgramCode::PageTranslation, Q.0 * 4096));
    assert_eq!(machine.state_digest(None), digest);
    let mut last = [0; 4];
    assert!(machine.peek(AbsoluteAddress(secure.address().0 + 4092), &mut last));
    assert_eq!(last, [0; 4]);
}

// Operands of calls and prefixing: D57, D60, D16.

#[test]
fn prefixing_applies_to_real_addresses_only() {
    let machine = machine();
    let (mut host, space) = translating(&machine, 1);
    let prefix = host.allocate_aligned(0x2000, 0x2000);
    let guest = host.start(1);
    host.store(0x200, b"zero");
    host.store(prefix + 0x200, b"area");
    host.cpu.set_prefix(prefix).unwrap();
    assert_eq!(host.load(0x200, 4).unwrap(), b"area");
    assert_eq!(host.load(prefix + 0x200, 4).unwrap(), b"zero");
    // Through tables as well: what they yield is real.
    space.map(&mut host, 3, 0);
    assert_eq!(host.load(WINDOW + 0x3200, 4).unwrap(), b"area");
    let at = host.cpu.translate(VirtualAddress(WINDOW + 0x3200)).unwrap();
    assert_eq!(at, AbsoluteAddress(prefix + 0x200));
    // Without translation the same.
    host.cpu.set_translation(false);
    assert_eq!(host.load(0x1ffc, 4).unwrap(), host.load(0x1ffc, 4).unwrap());
    assert_eq!(host.load(0x200, 4).unwrap(), b"area");
    host.cpu.set_translation(true);
    // A guest's tables yield absolute addresses: the frame at absolute zero is not the prefix area's.
    host.map(&guest, P, FrameNumber(0));
    assert_eq!(host.import(&guest, P), DONE);
    assert!(matches!(machine.frame_state(FrameNumber(0)), FrameState::Secure(..)));
    assert_eq!(guest_byte(&mut host, &guest, P), Ok(0));
    assert_eq!(host.load(0x200, 4).unwrap(), b"area");
    assert_eq!(host.load(prefix + 0x200, 4).unwrap_err().code, ProgramCode::SecureStorageAccess);
    // An absolute operand is not prefixed either, and the lowcore of the issuer is no storage for a CPU.
    assert_eq!(host.export(FrameNumber(0)), DONE);
    assert_eq!(machine.frame_state(FrameNumber(0)), FrameState::NonSecure);
    let mut fields = Host::cpu_fields(&guest, 1);
    fields[1] = (0x28, 8, prefix + 0x1000);
    assert_eq!(host.call(Command::CreateSecCpu, &fields), refused(0x106));
    assert_eq!(host.cpu.set_prefix(machine.storage_size()).unwrap_err().code, ProgramCode::Addressing);
    // SET PREFIX purges: what was buffered goes to the new place.
    host.cpu.set_prefix(0).unwrap();
    assert_eq!(host.load(WINDOW + 0x3000 + 0xffc, 4).unwrap(), host.load(0xffc, 4).unwrap());
    assert_eq!(host.load(prefix + 0x200, 4).unwrap(), b"area");
}

#[test]
fn a_variable_area_may_be_scattered_and_goes_through_the_buffer() {
    let machine = machine();
    let (mut host, space) = translating(&machine, 2);
    let guest = host.prepare(1);
    // 17 pages at 0x20 of the window, in frames that lie in reverse.
    let frames: Vec<FrameNumber> = (0..17).map(|_| host.frame()).collect();
    for (page, frame) in (0x20..).zip(frames.iter().rev()) {
        space.map(&mut host, page, frame.address().0);
    }
    let mut fields = Host::create_fields(&guest);
    fields[1] = (0x28, 8, WINDOW + 0x2_0000);
    // One page is buffered, then its entry is changed and the purge forgotten: the old frame is donated.
    assert_eq!(byte(&mut host.cpu, WINDOW + 0x2_3000), Ok(0));
    let spare = host.frame();
    space.map(&mut host, 0x23, spare.address().0);
    // One page missing: 0x31. One twice: 0x10b.
    space.map(&mut host, 0x24, 0x400);
    assert_eq!(host.call(Command::CreateSecConf, &fields), refused(0x31));
    space.map(&mut host, 0x24, frames[0].address().0);
    assert_eq!(host.call(Command::CreateSecConf, &fields), refused(0x10b));
    space.map(&mut host, 0x24, frames[12].address().0);
    host.cpu.ipte(AbsoluteAddress(space.window), VirtualAddress(WINDOW + 0x2_4000)).unwrap();
    space.map(&mut host, 0x24, frames[12].address().0);
    assert_eq!(host.call(Command::CreateSecConf, &fields), DONE);
    for frame in &frames {
        assert!(matches!(machine.frame_state(*frame), FrameState::Donated(_)), "{frame:?}");
    }
    assert_eq!(machine.frame_state(spare), FrameState::NonSecure);
    let handle = host.output(0x18);
    // Unmapped later, it makes no difference (D16).
    host.cpu.ipte(AbsoluteAddress(space.window), VirtualAddress(WINDOW + 0x2_0000)).unwrap();
    assert_eq!(host.call(Command::DestroySecConf, &[(0x18, 8, handle)]), DONE);
    for frame in frames {
        assert_eq!(machine.frame_state(frame), FrameState::NonSecure);
    }
    // A real space has no tables to translate with.
    host.cpu.set_home(Asce(0x20));
    assert_eq!(host.call(Command::CreateSecConf, &fields), refused(0x30));
    machine.check_invariants().unwrap();
}

#[test]
fn a_call_that_donates_the_table_of_its_own_block_still_answers() {
    const BASE: u64 = 64 << 20;
    const VARIABLE: u64 = 32 << 20;
    // In the translation buffer, this page and the first of the variable area compete for one place.
    const AT: u64 = VARIABLE ^ 1 << 20 ^ 1 << 24;
    let machine = machine();
    let (mut host, space) = translating(&machine, 0);
    let guest = host.prepare(1);
    let table = BASE + 0x3000;
    let home = host.frame();
    host.store_u64(table, home.address().0);
    host.store_u64(space.segments + (AT >> 20) * 8, table);
    host.cpu.ptlb().unwrap();
    let mut fields = Host::create_fields(&guest);
    (fields[0], fields[1]) = ((0x20, 8, BASE), (0x28, 8, VARIABLE));
    host.block(AT, Command::CreateSecConf.code(), 0x80, &fields);
    let cc = host.cpu.uvc(uvsim_model::cpu::Uvc::at(VirtualAddress(AT))).unwrap();
    assert_eq!(cc as u8, 0);
    assert_eq!(host.load(home.address().0 + 4, 4).unwrap(), [0, 1, 0, 0]);
    let handle = host.cpu.load_u64(VirtualAddress(home.address().0 + 0x18)).unwrap();
    assert!(machine.domain(handle).is_some());
    assert_eq!(host.load(AT, 8).unwrap_err().code, ProgramCode::SecureStorageAccess, "the table is gone");
    machine.check_invariants().unwrap();
}

#[test]
fn sie_takes_its_state_description_by_place_not_by_name() {
    let machine = machine();
    let (mut host, space) = translating(&machine, 2);
    let guest = host.start(1);
    space.map(&mut host, 3, guest.state_description);
    host.cpu.set_primary(guest.asce);
    drop(host.cpu.enter(VirtualAddress(WINDOW + 0x3000)).unwrap());
    // A copy elsewhere is not the one that CREATE_SEC_CPU named (Q26).
    let copy = host.frame();
    let bytes = host.load(guest.state_description, 4096).unwrap();
    host.store(copy.address().0, &bytes);
    space.map(&mut host, 4, copy.address().0);
    let exit = host.cpu.enter(VirtualAddress(WINDOW + 0x4000)).map(drop).unwrap_err();
    assert!(matches!(exit, SieExit::Interception(it) if (it.code, it.ipb >> 16) == (32, 0x2005)), "{exit}");
    // Unmapped or secure: the host's own interruption, and nothing runs (D80).
    let exit = host.cpu.enter(VirtualAddress(WINDOW + 0x5000)).map(drop).unwrap_err();
    assert!(matches!(exit, SieExit::HostInterruption(it) if it.code == ProgramCode::PageTranslation), "{exit}");
    let secure = host.resident(&guest, P);
    space.map(&mut host, 6, secure.address().0);
    let exit = host.cpu.enter(VirtualAddress(WINDOW + 0x6000)).map(drop).unwrap_err();
    assert!(matches!(exit, SieExit::HostInterruption(it) if it.code == ProgramCode::SecureStorageAccess), "{exit}");
    assert_eq!(host.load(BLOCK, 1).unwrap().len(), 1);
}
