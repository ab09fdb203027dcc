//! Walks over tables, and what translation buffers may keep.

mod support;

use support::{BASE, HOME, MIB, Machine, VARIABLE, WINDOW, code};
use uvsim_oracle::ids::{AbsoluteAddress, CpuNumber, VirtualAddress};
use uvsim_oracle::step::{HostStep, Outcome, Program, Step, Table};

/// Tables of a space of four levels, one page each; they end at [`TARGET`].
const TABLES: u64 = 20 * MIB;
const TARGET: u64 = 50 * MIB;
const PROTECTED: u64 = 0x200;

/// First, second, third, segment, page table, each 16 KiB behind the one before.
fn table(level: u64) -> u64 {
    TABLES + 0x4000 * level
}

/// An address with an index in each level.
const ADDRESS: u64 = 3 << 53 | 5 << 42 | 7 << 31 | 9 << 20 | 11 << 12;

fn entry(level: u64) -> u64 {
    let index = [3, 5, 7, 9, 11];
    table(level) + 8 * index[level as usize]
}

/// A machine with these tables and translation on under an ASCE with some bits more.
fn walker(bits: u64) -> Machine {
    let mut machine = Machine::new();
    machine.put(entry(0), table(1) | 0x0f);
    machine.put(entry(1), table(2) | 0x0b);
    machine.put(entry(2), table(3) | 0x07);
    machine.put(entry(3), table(4));
    machine.put(entry(4), TARGET);
    machine.put(TARGET, 0x1122_3344_5566_7788);
    machine.registers(true, TABLES | 0x0f | bits);
    machine
}

/// Changes an entry behind translation's back, and forgets what was kept.
fn change(machine: &mut Machine, address: u64, value: u64) {
    let bytes = value.to_be_bytes();
    assert_eq!(machine.channel_write(address, &bytes), Outcome::Done);
    assert_eq!(machine.host(HostStep::Ptlb), Outcome::Done);
}

fn load(machine: &mut Machine, address: u64) -> u16 {
    code(&machine.load(address, 1))
}

#[test]
fn d60_five_levels_lead_to_a_frame() {
    let mut machine = walker(0);
    assert_eq!(machine.load(ADDRESS + 7, 1), Outcome::Loaded(vec![0x88]));
    let translated = machine.host(HostStep::Translate(VirtualAddress(ADDRESS + 7)));
    assert_eq!(translated, Outcome::Translated(AbsoluteAddress(TARGET + 7)));
}

#[test]
fn d59_invalid_entries_are_translation_exceptions_of_their_level() {
    for (level, expected) in [(0, 0x39), (1, 0x3a), (2, 0x3b), (3, 0x10)] {
        let mut machine = walker(0);
        change(&mut machine, entry(level), 0x20 | 0x10c);
        assert_eq!(load(&mut machine, ADDRESS), expected, "invalid goes before a wrong type");
    }
    let mut machine = walker(0);
    change(&mut machine, entry(4), TARGET | 0xc00);
    assert_eq!(
        machine.load(ADDRESS, 1),
        Outcome::Program(Program { code: 0x11, teid: ADDRESS | 0x803 }),
        "invalid goes before the reserved bit"
    );
}

#[test]
fn d59_formats_that_cannot_be() {
    for (level, wrong) in [(0, table(1) | 0x0b), (1, table(2) | 0x0f), (2, table(3) | 0x0b), (3, table(4) | 0x04)] {
        let mut machine = walker(0);
        change(&mut machine, entry(level), wrong);
        assert_eq!(machine.load(ADDRESS, 1), Outcome::Program(Program { code: 0x12, teid: 0 }));
    }
    let mut machine = walker(0);
    change(&mut machine, entry(4), TARGET | 0x800);
    assert_eq!(load(&mut machine, ADDRESS), 0x12);
}

#[test]
fn d60_common_bits_do_not_go_with_a_private_space() {
    for (level, common) in [(2, table(3) | 0x17), (3, table(4) | 0x10)] {
        let mut public = walker(0);
        change(&mut public, entry(level), common);
        assert_eq!(load(&mut public, ADDRESS), 0);
        let mut private = walker(0x100);
        change(&mut private, entry(level), common);
        assert_eq!(load(&mut private, ADDRESS), 0x12);
    }
}

#[test]
fn d59_lengths_and_offsets_of_tables() {
    // A table of region-second entries that begins with its second quarter: index 5 is in the first.
    for (part, expected) in [(0x00, 0), (0x40, 0x3a), (0x80, 0x3a)] {
        let mut machine = walker(0);
        change(&mut machine, entry(0), table(1) | 0x0f | part);
        assert_eq!(load(&mut machine, ADDRESS), expected, "offset {part:#x}");
    }
    let mut short = walker(0);
    change(&mut short, entry(2), table(3) | 0x04);
    assert_eq!(load(&mut short, ADDRESS), 0);
    assert_eq!(load(&mut short, ADDRESS + (512 << 20)), 0x10, "beyond the first quarter");
    let mut narrow = walker(0);
    narrow.registers(true, TABLES | 0x0c);
    assert_eq!(load(&mut narrow, ADDRESS), 0);
    assert_eq!(load(&mut narrow, 512 << 53), 0x39);
}

#[test]
fn d59_addresses_outside_the_space() {
    for (bits, table_at, first_outside) in [(0x0, 3, 1 << 31), (0x4, 2, 1 << 42), (0x8, 1, 1 << 53)] {
        let mut machine = walker(0);
        machine.registers(true, table(table_at) | bits | 3);
        assert_eq!(load(&mut machine, ADDRESS & (first_outside - 1)), 0, "{bits:#x}");
        let outside = machine.load(ADDRESS & (first_outside - 1) | first_outside, 1);
        assert_eq!(code(&outside), 0x38, "{bits:#x}");
    }
}

#[test]
fn d59_addressing_of_tables_and_frames() {
    let end = support::STORAGE;
    for (level, outside) in [(0, end | 0x0f), (1, end | 0x0b), (2, end | 0x07), (3, end), (4, end)] {
        let mut machine = walker(0);
        change(&mut machine, entry(level), outside);
        assert_eq!(machine.load(ADDRESS, 1), Outcome::Program(Program { code: 0x05, teid: 0 }), "{level}");
    }
    let mut far = walker(0);
    far.registers(true, !0xfff | 0x0f);
    assert_eq!(load(&mut far, u64::MAX), 0x05, "an origin at the very end does not wrap");
}

#[test]
fn d59_protection_anywhere_on_the_path() {
    for level in 0..5 {
        let mut machine = walker(0);
        let Outcome::Loaded(bytes) = machine.channel_read(entry(level), 8) else { panic!("readable") };
        change(&mut machine, entry(level), support::u64_at(&bytes, 0) | PROTECTED);
        assert_eq!(machine.load(ADDRESS, 1), Outcome::Loaded(vec![0x11]));
        assert_eq!(code(&machine.store(ADDRESS, &[1])), 0x04, "{level}");
        assert_eq!(code(&machine.uvc(ADDRESS)), 0x04, "D3: a block must be storable");
    }
}

#[test]
fn d35_large_frames() {
    let mut machine = walker(0);
    change(&mut machine, entry(3), TARGET | 0x400);
    assert_eq!(
        machine.host(HostStep::Translate(VirtualAddress(ADDRESS))),
        Outcome::Translated(AbsoluteAddress(TARGET + (11 << 12)))
    );
    change(&mut machine, entry(2), 0x404);
    assert_eq!(
        machine.host(HostStep::Translate(VirtualAddress(ADDRESS))),
        Outcome::Translated(AbsoluteAddress(9 << 20 | 11 << 12))
    );
}

#[test]
fn d59_a_table_in_a_secure_frame() {
    let mut machine = Machine::initialised();
    machine.registers(true, BASE);
    assert_eq!(load(&mut machine, 0), 0x3d);
}

#[test]
fn d60_results_of_host_walks_are_real() {
    let mut machine = Machine::new();
    machine.home_space();
    machine.put(0x10, 1);
    machine.translation(true);
    assert_eq!(machine.host(HostStep::SetPrefix(0x6000)), Outcome::Done);
    let translated = machine.host(HostStep::Translate(VirtualAddress(0x10)));
    assert_eq!(translated, Outcome::Translated(AbsoluteAddress(0x6010)));
    machine.registers(true, 0x20);
    let real = machine.host(HostStep::Translate(VirtualAddress(0x6010)));
    assert_eq!(real, Outcome::Translated(AbsoluteAddress(0x10)), "a real-space ASCE");
}

#[test]
fn native_byte_order_of_tables() {
    let mut machine = Machine::of(uvsim_oracle::state::Setup { big_endian: false, ..support::setup(16) });
    machine.home_space();
    machine.translation(true);
    let translated = machine.host(HostStep::Translate(VirtualAddress(WINDOW + 0x5001)));
    assert_eq!(translated, Outcome::Translated(AbsoluteAddress(VARIABLE + 0x5001)));
}

/// A machine in home space that has used a page, whose entry then was changed without a purge.
fn forgetful() -> Machine {
    let mut machine = Machine::new();
    machine.home_space();
    machine.put(VARIABLE, 0x1100_0000_0000_0000);
    machine.put(VARIABLE + 0x1000, 0x2200_0000_0000_0000);
    machine.translation(true);
    assert_eq!(machine.load(WINDOW, 1), Outcome::Loaded(vec![0x11]));
    machine.put(HOME + 0x8000, VARIABLE + 0x1000);
    assert!(machine.world.asked.is_empty(), "nothing to choose so far");
    machine
}

#[test]
fn d56_d63_what_was_not_purged_may_still_be_there() {
    let mut machine = forgetful();
    assert_eq!(machine.load(WINDOW, 1), Outcome::Loaded(vec![0x11]), "kept first");
    machine.world.choices = vec![1];
    assert_eq!(machine.load(WINDOW, 1), Outcome::Loaded(vec![0x22]), "or lost");
    assert_eq!(machine.load(WINDOW, 1), Outcome::Loaded(vec![0x22]), "the one used last comes first");
    assert_eq!(machine.world.asked, [2, 2, 2]);
}

#[test]
fn d56_d57_an_invalid_entry_does_not_end_what_was_kept() {
    let mut machine = forgetful();
    machine.put(HOME + 0x8000, 0x400);
    assert_eq!(machine.load(WINDOW, 1), Outcome::Loaded(vec![0x11]));
    machine.world.choices = vec![1];
    assert_eq!(code(&machine.load(WINDOW, 1)), 0x11);
}

/// Every purge that reaches the page ends the choice; those that do not leave it.
#[test]
fn d56_purges() {
    let (page, other) = (VirtualAddress(WINDOW), VirtualAddress(WINDOW + 0x1000));
    let (pages, segments) = (AbsoluteAddress(HOME + 0x8000), AbsoluteAddress(HOME));
    let reaching = [
        HostStep::Ptlb,
        HostStep::IdteSpace(HOME | 0x3),
        HostStep::SetPrefix(0),
        HostStep::Ipte { table: pages, address: page },
        HostStep::Idte { level: Table::Segment, table: segments, address: page },
    ];
    for purge in reaching {
        let mut machine = forgetful();
        assert_eq!(machine.host(purge.clone()), Outcome::Done);
        machine.load(WINDOW, 1);
        assert!(machine.world.asked.is_empty(), "{purge:?}");
    }
    let missing = [
        HostStep::IdteSpace(HOME + 0x4000),
        HostStep::Ipte { table: pages, address: other },
        HostStep::Idte { level: Table::Segment, table: segments, address: VirtualAddress(0) },
        HostStep::Idte { level: Table::RegionThird, table: segments, address: page },
    ];
    for purge in missing {
        let mut machine = forgetful();
        assert_eq!(machine.host(purge.clone()), Outcome::Done);
        machine.load(WINDOW, 1);
        assert_eq!(machine.world.asked, [2], "{purge:?}");
    }
}

#[test]
fn d56_ipte_and_idte_make_entries_invalid() {
    let mut machine = forgetful();
    let table = AbsoluteAddress(HOME + 0x8000);
    assert_eq!(machine.host(HostStep::Ipte { table, address: VirtualAddress(WINDOW) }), Outcome::Done);
    assert_eq!(code(&machine.load(WINDOW, 1)), 0x11);
    assert_eq!(machine.channel_read(table.0, 8), Outcome::Loaded((VARIABLE + 0x1400).to_be_bytes().to_vec()));
    let idte = HostStep::Idte { level: Table::Segment, table: AbsoluteAddress(HOME), address: VirtualAddress(WINDOW) };
    assert_eq!(machine.host(idte), Outcome::Done);
    assert_eq!(code(&machine.load(WINDOW, 1)), 0x10);
}

#[test]
fn d56_purges_of_entries_reach_all_cpus_and_ptlb_only_its_own() {
    for (purge, asked) in [
        (HostStep::Ptlb, 1),
        (HostStep::Ipte { table: AbsoluteAddress(HOME + 0x8000), address: VirtualAddress(WINDOW) }, 0),
        (HostStep::IdteSpace(HOME | 0x3), 0),
    ] {
        let mut machine = forgetful();
        let second = CpuNumber(1);
        assert_eq!(machine.take(&Step::Start(second)), Outcome::Done);
        assert_eq!(machine.take(&Step::Host(second, purge)), Outcome::Done);
        machine.load(WINDOW, 1);
        assert_eq!(machine.world.asked.len(), asked);
    }
}

#[test]
fn d56_i43_a_change_of_what_a_frame_is_drops_what_yields_it() {
    let mut machine = forgetful();
    machine.translation(false);
    assert_eq!(machine.init(), (0, 1, 0));
    // The old frame of the page becomes base storage of a configuration.
    let create = support::With::with(machine.create(), 0x20, VARIABLE);
    let create = support::With::with(create, 0x28, WINDOW + 0x20000);
    assert_eq!(machine.call(&create).0, (0, 1, 0));
    machine.put(HOME + 0x8000, VARIABLE + 0xff000);
    machine.translation(true);
    assert_eq!(machine.load(WINDOW, 1), Outcome::Loaded(vec![0]));
    assert!(machine.world.asked.is_empty());
}

#[test]
fn d57_variable_areas_go_through_the_issuers_buffer() {
    let mut machine = forgetful();
    machine.translation(false);
    assert_eq!(machine.init(), (0, 1, 0));
    machine.put(HOME + 0x8000, 0x400);
    let create = machine.create();
    assert_eq!(machine.call(&create).0, (0, 1, 0), "the page has no entry, but was kept");
    assert_eq!(machine.world.asked, [2]);
    assert_eq!(code(&machine.load(VARIABLE, 1)), 0x3d);
}

#[test]
fn d57_a_refused_call_may_have_formed_translations() {
    let mut machine = forgetful();
    machine.translation(false);
    assert_eq!(machine.init(), (0, 1, 0));
    let refused = support::With::with(machine.create(), 0x48, 0);
    let refused = support::With::with(refused, 0x28, WINDOW + 0x2000);
    assert_eq!(machine.call(&refused).0, (1, 0x10c, 0));
    machine.put(HOME + 0x8000 + 8 * 2, 0x400);
    machine.translation(true);
    machine.world.asked.clear();
    machine.load(WINDOW + 0x2000, 1);
    assert_eq!(machine.world.asked, [2]);
}
