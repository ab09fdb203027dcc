//! Import, by the rows of its table.

mod machine;

use machine::*;
use uvsim_oracle::Outcome;
use uvsim_oracle::ids::FrameNumber;
use uvsim_oracle::state::{Donated, Purpose, Record, Registered};

const END: u64 = STORAGE / 4096;

#[test]
fn t23_d59_c67_import_wants_a_usable_mapping() {
    let mut machine = Machine::new();
    assert_eq!(machine.import(ALPHA, 3), refused(0x10a));
    assert!(machine.by("T23"));
    machine.map_with(ALPHA, 3, 0x200, 0x200);
    assert_eq!(machine.import(ALPHA, 3), refused(0x10a), "protected");
    machine.map(ALPHA, 3, END);
    assert_eq!(machine.import(ALPHA, 3), refused(0x10a), "outside storage");
    machine.map(ALPHA, 3, 0x200);
    machine.place(BETA, 9, Record::Resident(FrameNumber(0x100)));
    assert_eq!(machine.import(ALPHA, 3), refused(0x10a), "the tables are secure");
    machine.place(BETA, 9, Record::Shared(Some(FrameNumber(0x100))));
    assert_eq!(machine.import(ALPHA, 3), DONE);
}

#[test]
fn d35_import_walks_through_large_entries() {
    let mut machine = Machine::new();
    machine.write(0x100 * 4096 + (ORIGIN >> 20) * 8, 0x40_0000 | 0x400);
    assert_eq!(machine.import(ALPHA, 3), DONE);
    assert_eq!(machine.record(ALPHA, 3), Record::Resident(FrameNumber(0x403)));
}

#[test]
fn q2_d7_import_outside_guest_storage() {
    let mut machine = Machine::new();
    for address in [0, ORIGIN - 1, ORIGIN + SIZE, u64::MAX] {
        assert_eq!(machine.call(IMPORT, &[ALPHA.0, address]), refused(0x103), "{address:#x}");
        assert!(machine.by("Q2"));
    }
    machine.map(ALPHA, 255, 0x200);
    assert_eq!(machine.call(IMPORT, &[ALPHA.0, ORIGIN + SIZE - 1]), DONE);
}

#[test]
fn d6_low_bits_of_addresses_are_ignored() {
    let mut machine = Machine::new();
    machine.map(ALPHA, 3, 0x200);
    assert_eq!(machine.call(IMPORT, &[ALPHA.0, ORIGIN + 0x3fff]), DONE);
    assert_eq!(machine.call(EXPORT, &[0x20_0abc]), DONE);
    assert_eq!(machine.record(ALPHA, 3), Record::Exported);
}

#[test]
fn t24_c66_first_import_gives_zeros() {
    let mut machine = Machine::new();
    machine.map(ALPHA, 3, 0x200);
    machine.put(FrameNumber(0x200), filled(0x77));
    assert_eq!(machine.import(ALPHA, 3), DONE);
    assert!(machine.by("T24"));
    assert_eq!(machine.bytes(0x200), filled(0));
    assert_eq!(machine.record(ALPHA, 3), Record::Resident(FrameNumber(0x200)));
    assert_eq!(machine.kind(0x200), Some(Registered::Secure));
    assert!(matches!(machine.host_load(0x200), Outcome::Program(program) if program.code == 0x3d));
}

#[test]
fn t44_t25_c68_c69_export_and_import_give_the_contents_back() {
    let mut machine = Machine::new();
    machine.resident(ALPHA, 3, 0x200, filled(0x77));
    assert_eq!(machine.export(0x200), DONE);
    assert!(machine.by("T44"));
    assert_ne!(machine.bytes(0x200), filled(0x77));
    assert_eq!(machine.kind(0x200), None);
    assert_eq!((machine.record(ALPHA, 3), machine.row(ALPHA, 3).counter), (Record::Exported, 1));
    let ciphertext = machine.bytes(0x200);
    assert_eq!(machine.export(0x200), DONE);
    assert!(machine.by("T47"));
    assert_eq!(machine.bytes(0x200), ciphertext);
    assert_eq!(machine.import(ALPHA, 3), DONE);
    assert!(machine.by("T25"));
    assert_eq!(machine.bytes(0x200), filled(0x77));
    assert_eq!(machine.record(ALPHA, 3), Record::Resident(FrameNumber(0x200)));
}

#[test]
fn t26_c70_an_altered_export_is_refused_and_the_right_one_still_good() {
    let mut machine = Machine::new();
    machine.resident(ALPHA, 3, 0x200, filled(0x77));
    machine.export(0x200);
    let ciphertext = machine.bytes(0x200);
    let mut bad = *ciphertext;
    bad[4095] ^= 1;
    machine.put(FrameNumber(0x200), bad.into());
    assert_eq!(machine.import(ALPHA, 3), refused(0x106));
    assert!(machine.by("T26"));
    assert!(matches!(machine.host_load(0x200), Outcome::Loaded(_)));
    machine.put(FrameNumber(0x200), ciphertext);
    assert_eq!(machine.import(ALPHA, 3), DONE);
}

#[test]
fn t27_c71_an_older_export_is_refused() {
    let mut machine = Machine::new();
    machine.resident(ALPHA, 3, 0x200, filled(0x77));
    machine.export(0x200);
    let old = machine.bytes(0x200);
    machine.import(ALPHA, 3);
    machine.put(FrameNumber(0x200), filled(0x78));
    machine.export(0x200);
    assert_eq!(machine.row(ALPHA, 3).counter, 2);
    let new = machine.bytes(0x200);
    machine.put(FrameNumber(0x200), old);
    assert_eq!(machine.import(ALPHA, 3), refused(0x106));
    assert!(machine.by("T27"));
    machine.put(FrameNumber(0x200), new);
    assert_eq!(machine.import(ALPHA, 3), DONE);
    assert_eq!(machine.bytes(0x200), filled(0x78));
}

#[test]
fn t28_c72_exports_of_two_pages_cannot_be_exchanged() {
    let mut machine = Machine::new();
    machine.resident(ALPHA, 3, 0x200, filled(0x77));
    machine.resident(ALPHA, 4, 0x201, filled(0x77));
    machine.export(0x200);
    machine.export(0x201);
    machine.map(ALPHA, 3, 0x201);
    machine.map(ALPHA, 4, 0x200);
    for page in [3, 4] {
        assert_eq!(machine.import(ALPHA, page), refused(0x106));
        assert!(machine.by("T28"));
    }
}

#[test]
fn t29_an_export_of_another_configuration() {
    let mut machine = Machine::new();
    machine.resident(ALPHA, 3, 0x200, filled(0x77));
    machine.resident(BETA, 3, 0x201, filled(0x77));
    machine.export(0x200);
    machine.export(0x201);
    machine.map(BETA, 3, 0x200);
    assert_eq!(machine.import(BETA, 3), refused(0x106));
    assert!(machine.by("T29"));
    machine.map(BETA, 4, 0x200);
    assert_eq!(machine.import(BETA, 4), DONE);
    assert_eq!(machine.bytes(0x200), filled(0));
}

#[test]
fn t30_c73_an_export_may_come_back_in_another_frame() {
    let mut machine = Machine::new();
    machine.resident(ALPHA, 3, 0x200, filled(0x77));
    machine.export(0x200);
    machine.put(FrameNumber(0x2ff), machine.bytes(0x200));
    machine.map(ALPHA, 3, 0x2ff);
    assert_eq!(machine.import(ALPHA, 3), DONE);
    assert_eq!(machine.bytes(0x2ff), filled(0x77));
    assert_eq!(machine.record(ALPHA, 3), Record::Resident(FrameNumber(0x2ff)));
}

#[test]
fn t31_q3_d8_c74_import_of_a_page_that_fits_has_no_effect() {
    for record in [
        Record::Resident(FrameNumber(0x200)),
        Record::Shared(Some(FrameNumber(0x200))),
        Record::Pinned(FrameNumber(0x200)),
    ] {
        let mut machine = Machine::new();
        machine.map(ALPHA, 3, 0x200);
        machine.place(ALPHA, 3, record);
        machine.put(FrameNumber(0x200), filled(0x77));
        assert_eq!(machine.import(ALPHA, 3), DONE);
        assert!(machine.by("T31"));
        assert_eq!((machine.record(ALPHA, 3), machine.bytes(0x200)), (record, filled(0x77)));
    }
}

#[test]
fn t32_a_page_is_resident_once() {
    for record in [
        Record::Resident(FrameNumber(0x200)),
        Record::Shared(Some(FrameNumber(0x200))),
        Record::Pinned(FrameNumber(0x200)),
    ] {
        let mut machine = Machine::new();
        machine.place(ALPHA, 3, record);
        machine.map(ALPHA, 3, 0x201);
        assert_eq!(machine.import(ALPHA, 3), refused(0x105));
        assert!(machine.by("T32"));
    }
}

#[test]
fn t33_d22_c75_a_frame_holds_one_page() {
    for misc in [false, true] {
        for record in [
            Record::Resident(FrameNumber(0x200)),
            Record::Shared(Some(FrameNumber(0x200))),
            Record::Pinned(FrameNumber(0x200)),
        ] {
            let mut machine = Machine::of_generation(16, misc);
            machine.place(ALPHA, 3, record);
            machine.map(ALPHA, 4, 0x200);
            assert_eq!(machine.import(ALPHA, 4), refused(0x104));
            assert!(machine.by("T33"));
        }
    }
}

#[test]
fn t34_c76_a_secure_frame_of_another_configuration() {
    let mut machine = Machine::new();
    machine.resident(ALPHA, 3, 0x200, filled(0x77));
    machine.map(BETA, 3, 0x200);
    assert_eq!(machine.import(BETA, 3), refused(0x104));
    assert!(machine.by("T34"));
}

#[test]
fn t35_c78_d30_a_frame_that_another_configuration_shares() {
    let mut machine = Machine::of_generation(15, false);
    machine.place(ALPHA, 3, Record::Shared(Some(FrameNumber(0x200))));
    machine.map(BETA, 5, 0x200);
    assert_eq!(machine.import(BETA, 5), refused(0x104));
    assert!(machine.by("T35"));

    let mut machine = Machine::new();
    machine.place(ALPHA, 3, Record::Shared(Some(FrameNumber(0x200))));
    machine.put(FrameNumber(0x200), filled(0x77));
    machine.map(BETA, 5, 0x200);
    machine.place(BETA, 5, Record::Destroyed);
    assert_eq!(machine.import(BETA, 5), refused(0x106), "D30: nothing moves without success");
    machine.place(BETA, 5, Record::Absent);
    assert_eq!(machine.import(BETA, 5), DONE);
    assert!(machine.by("T35"));
    assert_eq!(machine.record(ALPHA, 3), Record::Shared(None));
    assert_eq!(machine.record(BETA, 5), Record::Resident(FrameNumber(0x200)));
    assert_eq!(machine.bytes(0x200), filled(0));
}

#[test]
fn t36_a_pinned_frame_of_another_configuration() {
    let mut machine = Machine::new();
    machine.place(ALPHA, 3, Record::Pinned(FrameNumber(0x200)));
    machine.map(BETA, 5, 0x200);
    assert_eq!(machine.import(BETA, 5), refused(0x104));
    assert!(machine.by("T36"));
}

#[test]
fn t37_i28_import_of_a_shared_page() {
    let mut machine = Machine::new();
    machine.place(ALPHA, 3, Record::Shared(None));
    machine.map(ALPHA, 3, 0x200);
    machine.put(FrameNumber(0x200), filled(0x55));
    assert_eq!(machine.import(ALPHA, 3), DONE);
    assert!(machine.by("T37"));
    assert_eq!((machine.kind(0x200), machine.bytes(0x200)), (Some(Registered::Shared), filled(0x55)));
    assert_eq!(machine.record(ALPHA, 3), Record::Shared(Some(FrameNumber(0x200))));
}

#[test]
fn t38_t49_t54_t69_donated_frames() {
    for purpose in [Purpose::Base, Purpose::ConfigurationBase(ALPHA), Purpose::Variable(ALPHA), Purpose::Cpu(ALPHA)] {
        let mut machine = Machine::new();
        machine.state.donated.insert(FrameNumber(0x200), Donated { count: 2, purpose });
        machine.map(BETA, 3, 0x201);
        assert_eq!(machine.import(BETA, 3), refused(0x104));
        assert!(machine.by("T38"));
        assert_eq!(machine.export(0x201), refused(0x103));
        assert!(machine.by("T49"));
        assert_eq!(machine.call(DESTROY, &[0x20_1000]), refused(0x103));
        assert!(machine.by("T54"));
        assert_eq!(machine.call(PIN, &[0x20_1000]), refused(0x102));
        assert!(machine.by("T69"));
    }
}

#[test]
fn d5_the_block_lies_in_the_frame() {
    let mut machine = Machine::new();
    machine.map(ALPHA, 3, BLOCK.0);
    assert_eq!(machine.import(ALPHA, 3), refused(0x104));
    assert!(machine.by("D5"));
}

#[test]
fn d57_import_walks_the_tables_as_they_are() {
    let mut machine = Machine::new();
    machine.map(ALPHA, 3, 0x200);
    machine.import(ALPHA, 3);
    machine.export(0x200);
    machine.put(FrameNumber(0x210), machine.bytes(0x200));
    machine.map(ALPHA, 3, 0x210);
    assert_eq!(machine.import(ALPHA, 3), DONE);
    assert_eq!(machine.kind(0x210), Some(Registered::Secure));
}

#[test]
fn t35_what_was_shared_continues_as_the_hosts() {
    let mut machine = Machine::new();
    machine.resident(BETA, 5, 0x200, filled(9));
    machine.export(0x200);
    let ciphertext = machine.bytes(0x200);
    machine.place(ALPHA, 3, Record::Shared(Some(FrameNumber(0x200))));
    machine.put(FrameNumber(0x200), filled(1));
    let before = machine.state.clone();
    assert_eq!(machine.import(BETA, 5), refused(0x106), "T26");
    assert_eq!(machine.record(ALPHA, 3), Record::Shared(Some(FrameNumber(0x200))));
    machine.put(FrameNumber(0x200), ciphertext);
    assert_eq!(machine.import(BETA, 5), DONE, "T25");
    assert_eq!((machine.bytes(0x200), machine.record(ALPHA, 3)), (filled(9), Record::Shared(None)));

    machine.state = before;
    machine.place(BETA, 6, Record::Shared(None));
    machine.map(BETA, 6, 0x200);
    assert_eq!(machine.import(BETA, 6), DONE, "T37");
    assert_eq!((machine.bytes(0x200), machine.kind(0x200)), (filled(1), Some(Registered::Shared)));
    assert_eq!(machine.record(ALPHA, 3), Record::Shared(None));
}
