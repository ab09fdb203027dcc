//! Conformance, where a control block may lie: at the edges of storage, on protected, donated and secure
//! pages, and in the way of its own call (D2, D3, D5, D57).

#[path = "support/scene.rs"]
mod scene;
mod support;

use scene::{Field, with};
use support::{BLOCK, DONE, Host, UV_BASE, config, refused};
use uvsim_model::address::{AbsoluteAddress, PageIndex, VirtualAddress};
use uvsim_model::cpu::Uvc;
use uvsim_model::storage::{FrameState, ProgramCode};
use uvsim_model::uvc::Command;
use uvsim_model::{CONFIGURATION_BASE_LENGTH, UV_BASE_LENGTH};

const END: u64 = 4 << 30;

/// Header bytes of an export, whose block is 0x20 bytes.
const EXPORT: [u8; 8] = [0, 0x20, 2, 1, 0, 0, 0, 0];

fn interruption(host: &mut Host<'_>, block: u64) -> (ProgramCode, u64) {
    let interruption = host.interrupted_unchanged(Uvc::at(VirtualAddress(block)));
    (interruption.code, interruption.teid.address())
}

#[test]
fn a_block_at_the_end_of_storage() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    host.store(END - 0x20, &EXPORT);
    assert_eq!(host.issue(END - 0x20), Ok(DONE), "the last bytes are as good as any");
    for short in [8, 0x10, 0x18] {
        host.store(END - short, &EXPORT);
        assert_eq!(interruption(&mut host, END - short), (ProgramCode::Addressing, 0));
        // A wrong length is found before the rest of the block is looked at.
        host.store(END - short, &[0, 8, 2, 1]);
        assert_eq!(host.issue(END - short), Ok(refused(5)));
    }
    for outside in [END, END + 8, 1 << 63, u64::MAX - 7] {
        assert_eq!(interruption(&mut host, outside), (ProgramCode::Addressing, 0));
    }
}

#[test]
fn a_block_in_storage_that_is_not_the_hosts() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let secret = host.resident(&guest, PageIndex(3)).address().0;
    for at in [UV_BASE, guest.base, guest.variable, guest.cpu_storage, secret] {
        assert_eq!(interruption(&mut host, at + 0x18), (ProgramCode::SecureStorageAccess, at));
    }
    // Only its tail lies there.
    let (before, own) = (host.frame(), host.frame());
    host.map(&guest, PageIndex(4), own);
    assert_eq!(host.import(&guest, PageIndex(4)), DONE);
    let block = before.address().0 + 0xff8;
    host.store(block, &EXPORT);
    assert_eq!(interruption(&mut host, block), (ProgramCode::SecureStorageAccess, own.address().0));
    // A shared page is open to the host, blocks included.
    let open = host.shared(&guest, PageIndex(5), b"open").address().0;
    host.store(open, &EXPORT);
    assert_eq!(host.issue(open), Ok(DONE));
}

#[test]
fn d03_a_protected_page_is_a_protection_exception() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let home = host.home_space();
    let (first, second) = (host.frame(), host.frame());
    host.store(first.address().0, &EXPORT);
    let at = home.map(&mut host, 0, first, 0x200);
    assert_eq!(interruption(&mut host, at), (ProgramCode::Protection, at));
    // Only the tail is protected.
    host.store(first.address().0 + 0xff8, &EXPORT);
    let at = home.map(&mut host, 0, first, 0);
    home.map(&mut host, 1, second, 0x200);
    assert_eq!(interruption(&mut host, at + 0xff8), (ProgramCode::Protection, at + 0x1000));
    home.map(&mut host, 1, second, 0);
    assert_eq!(host.issue(at + 0xff8), Ok(DONE));
    assert_eq!(host.load(first.address().0 + 0xffc, 2).unwrap(), [0, 1]);
}

#[test]
fn d05_init_over_its_own_block() {
    let machine = support::machine(config());
    let mut host = Host::new(&machine);
    let fields = [(0x18, 8, UV_BASE), (0x20, 8, UV_BASE_LENGTH)];
    for block in [UV_BASE, UV_BASE - 8, UV_BASE - 0x40, UV_BASE + UV_BASE_LENGTH - 8] {
        host.refuse_at(block, 0x000f, 0x48, &fields, refused(0x105));
        assert!(!machine.is_initialised());
    }
    // Blocks that touch the area from outside are fine.
    host.place(UV_BASE - 0x48, 0x000f, 0x48, &fields);
    assert_eq!(host.issue(UV_BASE - 0x48), Ok(DONE));
}

#[test]
fn d05_create_over_its_own_block() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    // Room before the areas for blocks that begin there.
    host.allocate(0x1000);
    let mut guest = host.prepare(1);
    let good = Host::create_fields(&guest);
    for block in [guest.base, guest.base - 8, guest.base + CONFIGURATION_BASE_LENGTH - 0x80] {
        host.refuse_at(block, 0x0100, 0x80, &good, refused(0x108));
    }
    for block in [guest.variable + 0x80, guest.variable + 0x1_0ff8] {
        host.refuse_at(block, 0x0100, 0x80, &good, refused(0x10b));
    }
    assert_eq!(host.call(Command::CreateSecConf, &good), DONE);
    guest.handle = host.output(0x18);
    let good = Host::cpu_fields(&guest, 0);
    for block in [guest.cpu_storage, guest.cpu_storage - 8, guest.cpu_storage + 0xfa0] {
        host.refuse_at(block, 0x0120, 0x60, &good, refused(0x105));
    }
    assert_eq!(host.call(Command::CreateSecCpu, &good), DONE);
}

#[test]
fn d05_an_unaligned_base_area_counts_to_its_last_byte() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.prepare(1);
    let other = host.allocate_aligned(CONFIGURATION_BASE_LENGTH + 0x2000, 0x1000);
    let fields = with(&Host::create_fields(&guest), &[(0x20, 8, other + 8)]);
    host.refuse_unchanged(Command::CreateSecConf, &fields, refused(0x106));
    // The block in the seventeenth frame: 0x108 comes before 0x106 (D11).
    host.refuse_at(other + CONFIGURATION_BASE_LENGTH + 0x800, 0x0100, 0x80, &fields, refused(0x108));
}

#[test]
fn d05_import_and_unpack_of_the_frame_of_the_block() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    assert_eq!(host.set_parameters(&guest, &support::image::empty_header(&machine)), DONE);
    let (before, frame) = (host.frame(), host.frame());
    host.map(&guest, PageIndex(3), frame);
    let fields: [Field; 2] = [(0x18, 8, guest.handle), (0x20, 8, 0x3000)];
    let at = frame.address().0;
    for block in [at, at + 0x800, at + 0xfd8, at - 8, before.address().0 + 0xfe0] {
        host.refuse_at(block, 0x0200, 0x28, &fields, refused(0x104));
        host.refuse_at(block, 0x0301, 0x50, &fields, refused(0x104));
        assert_eq!(machine.frame_state(frame), FrameState::NonSecure);
    }
    assert_eq!(host.import(&guest, PageIndex(3)), DONE);
}

#[test]
fn d05_unshare_all_over_its_own_block() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.shared(&guest, PageIndex(3), b"open");
    assert_eq!(host.set_state(&guest, 2), DONE);
    let at = frame.address().0;
    for pinned in [false, true] {
        for block in [at, at + 0x800, at + 0xfc0] {
            host.refuse_at(block, 0x0340, 0x40, &[(0x18, 8, guest.handle)], refused(0x102));
        }
        if !pinned {
            assert_eq!(host.pin(frame), DONE);
        }
    }
    assert_eq!(host.unshare_all(&guest), DONE);
    assert!(machine.frame_state(frame).is_secure());
}

#[test]
fn d08_a_block_in_a_shared_page_does_not_keep_its_import_from_succeeding() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let at = host.shared(&guest, PageIndex(3), b"open").address().0;
    host.block(at, 0x0200, 0x28, &[(0x18, 8, guest.handle), (0x20, 8, 0x3000)]);
    assert_eq!(host.issue(at), Ok(DONE), "already so comes before the frame checks (D7)");
}

#[test]
fn a_call_delivers_its_answer_though_it_takes_the_tables_behind_its_block() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.prepare(1);
    // 4096 MiB of guest: translating the variable area uses every entry of the translation buffer.
    let variable = host.allocate_aligned(0x101_0000, 16 << 20);
    let fields = with(&Host::create_fields(&guest), &[(0x28, 8, variable), (0x40, 8, 4096 << 20)]);
    // The page table that maps the block lies in the base area that the call donates.
    let home = host.home_space();
    let base = host.allocate_aligned(CONFIGURATION_BASE_LENGTH, CONFIGURATION_BASE_LENGTH);
    let segments = host.cpu.registers().home.origin().0;
    let home = scene::Home { table: base, ..home };
    for index in 0..256 {
        host.store_u64(base + index * 8, 0x400);
    }
    host.store_u64(segments + 2047 * 8, base);
    let frame = host.frame();
    let block = home.map(&mut host, 5, frame, 0);
    host.place(block, 0x0100, 0x80, &with(&fields, &[(0x20, 8, base)]));
    assert_eq!(host.cpu.uvc(Uvc::at(VirtualAddress(block))).map(|cc| cc as u8), Ok(0));
    let handle = host.cpu.load_u64(VirtualAddress(frame.address().0 + 0x18)).unwrap();
    assert!(machine.domain(handle).is_some());
    assert_eq!(host.load(frame.address().0 + 4, 4).unwrap(), [0, 1, 0, 0]);
    // The next block at this address cannot be reached.
    host.cpu.ptlb().unwrap();
    assert_eq!(host.interrupted_unchanged(Uvc::at(VirtualAddress(block))).code, ProgramCode::SecureStorageAccess);
    machine.check_invariants().unwrap();
}

#[test]
fn d57_a_block_is_reached_through_the_translation_buffer() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let home = host.home_space();
    let (old, new) = (host.frame(), host.frame());
    host.store(old.address().0, &EXPORT);
    host.store(new.address().0, &EXPORT);
    let at = home.map(&mut host, 0, old, 0);
    assert_eq!(host.issue(at), Ok(DONE));
    // A host that forgets to purge keeps using the old frame.
    host.store_u64(home.table, new.address().0);
    host.store(old.address().0, &EXPORT);
    assert_eq!(host.cpu.uvc(Uvc::at(VirtualAddress(at))).map(|cc| cc as u8), Ok(0));
    assert_eq!(host.load(old.address().0 + 4, 2).unwrap(), [0, 1]);
    assert_eq!(host.load(new.address().0 + 4, 2).unwrap(), [0, 0]);
    host.cpu.ptlb().unwrap();
    assert_eq!(host.cpu.uvc(Uvc::at(VirtualAddress(at))).map(|cc| cc as u8), Ok(0));
    assert_eq!(host.load(new.address().0 + 4, 2).unwrap(), [0, 1]);
}

#[test]
fn a_block_is_subject_to_prefixing() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let prefix = host.allocate_aligned(0x2000, 0x2000);
    host.cpu.set_prefix(prefix).unwrap();
    host.store(0x1000, &EXPORT);
    assert_eq!(host.issue(0x1000), Ok(DONE));
    let mut bytes = [0; 8];
    assert!(machine.peek(AbsoluteAddress(prefix + 0x1000), &mut bytes));
    assert_eq!(bytes[4..6], [0, 1]);
    assert!(machine.peek(AbsoluteAddress(0x1000), &mut bytes));
    assert_eq!(bytes, [0; 8]);
    assert_ne!(BLOCK, prefix);
}
