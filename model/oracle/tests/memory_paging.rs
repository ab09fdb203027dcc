//! Import, export and destroy, by the rows of their tables.

mod machine;

use machine::*;
use uvsim_oracle::ids::{FrameNumber, PageIndex};
use uvsim_oracle::state::{Donated, Purpose, Record, Registered};
use uvsim_oracle::{Outcome, Step, step};

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
fn t39_t48_t52_d28_leftovers_of_a_configuration_that_has_ended() {
    let mut machine = Machine::new();
    machine.place(GONE, 3, Record::Resident(FrameNumber(0x200)));
    machine.put(FrameNumber(0x200), filled(0x77));
    machine.map(BETA, 5, 0x200);
    assert_eq!(machine.import(BETA, 5), refused(0x104));
    assert!(machine.by("T39"));
    let orphan = machine.state.clone();
    assert_eq!(machine.export(0x200), DONE);
    assert!(machine.by("T48"));
    assert_eq!((machine.kind(0x200), machine.bytes(0x200)), (None, filled(0)));
    machine.state = orphan;
    assert_eq!(machine.call(DESTROY, &[0x20_0000]), DONE);
    assert!(machine.by("T52"));
    assert_eq!((machine.kind(0x200), machine.bytes(0x200)), (None, filled(0)));
}

#[test]
fn d28_leftovers_that_were_shared() {
    for record in [Record::Shared(Some(FrameNumber(0x200))), Record::Pinned(FrameNumber(0x200))] {
        let mut machine = Machine::new();
        machine.place(GONE, 3, record);
        machine.put(FrameNumber(0x200), filled(0x77));
        machine.map(BETA, 5, 0x200);
        let leftover = machine.state.clone();
        assert_eq!(machine.import(BETA, 5), DONE);
        assert_eq!(machine.bytes(0x200), filled(0));
        machine.state = leftover.clone();
        assert_eq!(machine.export(0x200), DONE);
        assert_eq!((machine.kind(0x200), machine.bytes(0x200)), (None, filled(0x77)));
        machine.state = leftover.clone();
        assert_eq!(machine.call(DESTROY, &[0x20_0000]), DONE);
        assert_eq!((machine.kind(0x200), machine.bytes(0x200)), (None, filled(0)));
        machine.state = leftover;
        let kind = machine.kind(0x200);
        assert_eq!(machine.call(PIN, &[0x20_0000]), DONE);
        assert!(machine.by("D28"));
        assert_eq!(machine.kind(0x200), kind);
    }
}

#[test]
fn t45_t46_d24_q4_q5_export_of_a_shared_frame_keeps_it_plain() {
    let places = [(Record::Shared(Some(FrameNumber(0x200))), "T45"), (Record::Pinned(FrameNumber(0x200)), "T46")];
    for (record, rule) in places {
        let mut machine = Machine::new();
        machine.place(ALPHA, 3, record);
        machine.put(FrameNumber(0x200), filled(0x77));
        assert_eq!(machine.export(0x200), DONE);
        assert!(machine.by(rule));
        assert_eq!((machine.kind(0x200), machine.bytes(0x200)), (None, filled(0x77)));
        assert_eq!((machine.record(ALPHA, 3), machine.row(ALPHA, 3).counter), (Record::Shared(None), 0));
    }
}

#[test]
fn t47_t53_q29_c79_a_frame_of_the_host() {
    let mut machine = Machine::new();
    machine.put(FrameNumber(0x200), filled(0x77));
    assert_eq!(machine.export(0x200), DONE);
    assert_eq!(machine.call(DESTROY, &[0x20_0000]), DONE);
    assert!(machine.by("T53"));
    assert_eq!(machine.bytes(0x200), filled(0x77));
    let mut machine = Machine::of_generation(15, false);
    assert_eq!(machine.call(DESTROY, &[0x20_0000]), (1, 0x107, 0xd));
    machine.without_cpu(ALPHA);
    machine.place(ALPHA, 3, Record::Shared(Some(FrameNumber(0x200))));
    assert_eq!(machine.call(DESTROY, &[0x20_0000]), DONE, "shared is not the host's");
}

#[test]
fn d10_c81_addresses_outside_storage() {
    let mut machine = Machine::new();
    for command in [EXPORT, DESTROY, PIN] {
        for address in [STORAGE, u64::MAX] {
            assert_eq!(machine.call(command, &[address]), refused(0x101), "{command:#x} {address:#x}");
            assert!(machine.by("D10"));
        }
        assert_ne!(machine.call(command, &[STORAGE - 1]), refused(0x101));
    }
}

#[test]
fn t50_t51_t55_q6_d26_c77_c80_destroy_wants_an_owner_without_cpus() {
    let places = [
        (Record::Resident(FrameNumber(0x200)), "T50"),
        (Record::Shared(Some(FrameNumber(0x200))), "T51"),
        (Record::Pinned(FrameNumber(0x200)), "T51"),
    ];
    for (record, rule) in places {
        let mut machine = Machine::new();
        machine.place(ALPHA, 3, record);
        machine.map(ALPHA, 3, 0x200);
        machine.put(FrameNumber(0x200), filled(0x77));
        assert_eq!(machine.call(DESTROY, &[0x20_0000]), refused(0x104));
        assert!(machine.by("D26"));
        machine.without_cpu(ALPHA);
        assert_eq!(machine.call(DESTROY, &[0x20_0000]), DONE);
        assert!(machine.by(rule));
        assert_eq!((machine.kind(0x200), machine.bytes(0x200)), (None, filled(0)));
        assert_eq!(machine.record(ALPHA, 3), Record::Destroyed);
        assert_eq!(machine.import(ALPHA, 3), refused(0x106));
        assert!(machine.by("T55"));
        machine.map(BETA, 3, 0x200);
        assert_eq!(machine.import(BETA, 3), DONE);
    }
}

#[test]
fn i22_i23_the_counter_goes_up_exactly_if_the_page_has_changed() {
    let mut machine = Machine::new();
    machine.resident(ALPHA, 3, 0x200, filled(1));
    machine.export(0x200);
    let first = machine.bytes(0x200);
    machine.import(ALPHA, 3);
    machine.world.ciphertexts.push_back(first.clone());
    assert_eq!(machine.export(0x200), DONE);
    assert_eq!((machine.row(ALPHA, 3).counter, machine.bytes(0x200)), (1, first.clone()));
    for (content, counter) in [(2, 2), (1, 3)] {
        machine.import(ALPHA, 3);
        machine.put(FrameNumber(0x200), filled(content));
        machine.export(0x200);
        assert_eq!(machine.row(ALPHA, 3).counter, counter);
    }
}

#[test]
fn i10_i12_i22_i23_ciphertexts_that_no_rule_admits() {
    let mut machine = Machine::new();
    machine.resident(ALPHA, 3, 0x200, filled(1));
    let before = machine.state.clone();
    let objects = |machine: &mut Machine, bytes, frame: u64| {
        machine.world.ciphertexts.push_back(bytes);
        machine.try_call(EXPORT, &[frame * 4096]).expect_err("objects").rule
    };
    assert_eq!(objects(&mut machine, filled(1), 0x200), "I-10");
    machine.state = before;
    machine.export(0x200);
    let first = machine.bytes(0x200);
    machine.resident(BETA, 3, 0x201, filled(1));
    assert_eq!(objects(&mut machine, first.clone(), 0x201), "I-12");
    machine.resident(ALPHA, 4, 0x201, filled(1));
    assert_eq!(objects(&mut machine, first.clone(), 0x201), "I-22");
    machine.import(ALPHA, 3);
    assert_eq!(objects(&mut machine, filled(9), 0x200), "I-23");
    machine.put(FrameNumber(0x200), filled(2));
    assert_eq!(objects(&mut machine, first, 0x200), "I-22");
}

#[test]
fn d42_the_counter_ends() {
    let mut machine = Machine::new();
    machine.resident(ALPHA, 3, 0x200, filled(1));
    machine.export(0x200);
    machine.import(ALPHA, 3);
    let preset = |counter| Step::PresetCounter { configuration: ALPHA.0, page: PageIndex(3), counter };
    machine.state = step(&machine.state, &preset((1 << 56) - 2), &mut machine.world).expect("no objection").state;
    machine.put(FrameNumber(0x200), filled(2));
    assert_eq!(machine.export(0x200), DONE);
    assert_eq!(machine.row(ALPHA, 3).counter, (1 << 56) - 1);
    let last = machine.bytes(0x200);
    machine.import(ALPHA, 3);
    machine.put(FrameNumber(0x200), filled(3));
    assert_eq!(machine.export(0x200), refused(0x105));
    assert!(machine.by("D42"));
    assert_eq!(machine.record(ALPHA, 3), Record::Resident(FrameNumber(0x200)));
    machine.put(FrameNumber(0x200), filled(2));
    machine.world.ciphertexts.push_back(last);
    assert_eq!(machine.export(0x200), DONE, "unchanged");
}

#[test]
fn i20_d43_the_counter_survives_unshare_all() {
    let mut machine = Machine::new();
    machine.resident(ALPHA, 3, 0x200, filled(1));
    machine.export(0x200);
    machine.import(ALPHA, 3);
    let row = machine.row(ALPHA, 3);
    machine.place(ALPHA, 3, Record::Shared(Some(FrameNumber(0x200))));
    machine.state.configurations[&ALPHA].pages[&PageIndex(3)].counter = row.counter;
    machine.export(0x200);
    assert_eq!(machine.call(UNSHARE_ALL, &[ALPHA.0]), DONE);
    assert_eq!((machine.record(ALPHA, 3), machine.row(ALPHA, 3).counter), (Record::Absent, 1));
    assert_eq!(machine.import(ALPHA, 3), DONE);
    assert_eq!(machine.bytes(0x200), filled(0));
    machine.export(0x200);
    assert_eq!(machine.row(ALPHA, 3).counter, 2);
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
fn q24_export_names_an_absolute_address() {
    let mut machine = Machine::new();
    machine.state.host[&CPU].prefix = 0x8000;
    machine.resident(ALPHA, 3, 8, filled(1));
    assert_eq!(machine.export(0), DONE);
    assert!(machine.by("T47"), "absolute 0 is nobody's, though real 0 is the frame of the page");
    assert_eq!(machine.export(8), DONE);
    assert_eq!(machine.record(ALPHA, 3), Record::Exported);
}

#[test]
fn i22_with_change_detection_off_the_counter_always_goes_up() {
    let mut machine = Machine::new();
    std::sync::Arc::make_mut(&mut machine.state.setup).always_count = true;
    machine.resident(ALPHA, 3, 0x200, filled(1));
    for counter in 1..4 {
        assert_eq!(machine.export(0x200), DONE);
        assert_eq!(machine.row(ALPHA, 3).counter, counter);
        assert_eq!(machine.import(ALPHA, 3), DONE);
    }
    let preset = Step::PresetCounter { configuration: ALPHA.0, page: PageIndex(3), counter: (1 << 56) - 1 };
    machine.state = step(&machine.state, &preset, &mut machine.world).expect("no objection").state;
    assert_eq!(machine.export(0x200), refused(0x105), "D42: unchanged, but it counts as changed");
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
