//! Export and destroy, by the rows of their tables, and what ciphertexts may be.

mod machine;

use machine::*;
use std::sync::Arc;
use uvsim_oracle::ids::{FrameNumber, PageIndex};
use uvsim_oracle::state::Record;
use uvsim_oracle::{Step, step};

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
    Arc::make_mut(&mut machine.state.setup).always_count = true;
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
