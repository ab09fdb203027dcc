//! Pin, unpin and unshare-all, by the rows of their tables.

mod machine;

use machine::*;
use uvsim_oracle::Outcome;
use uvsim_oracle::ids::FrameNumber;
use uvsim_oracle::state::{Record, Registered, Run};

const FRAME: FrameNumber = FrameNumber(0x200);

#[test]
fn t64_t65_c87_pin_of_a_shared_frame() {
    let mut machine = Machine::new();
    machine.place(ALPHA, 3, Record::Shared(Some(FRAME)));
    for rule in ["T64", "T65"] {
        assert_eq!(machine.call(PIN, &[0x20_0fff]), DONE);
        assert!(machine.by(rule));
        assert_eq!((machine.kind(0x200), machine.record(ALPHA, 3)), (Some(Registered::Pinned), Record::Pinned(FRAME)));
    }
}

#[test]
fn t69_q7_d10_i29_c87_pin_of_anything_else() {
    let mut machine = Machine::new();
    assert_eq!(machine.call(PIN, &[0x20_0000]), refused(0x102), "N");
    machine.resident(ALPHA, 3, 0x200, filled(1));
    assert_eq!(machine.call(PIN, &[0x20_0000]), refused(0x102), "S");
    machine.export(0x200);
    assert_eq!(machine.call(PIN, &[0x20_0000]), refused(0x102), "exported");
    assert!(machine.by("T69"));
    machine.place(GONE, 3, Record::Resident(FRAME));
    assert_eq!(machine.call(PIN, &[0x20_0000]), refused(0x102), "O");
}

#[test]
fn t66_unpin_ends_the_pin() {
    let mut machine = Machine::new();
    machine.place(ALPHA, 3, Record::Pinned(FRAME));
    machine.map(ALPHA, 3, 0x200);
    machine.put(FRAME, filled(7));
    assert_eq!(machine.call(UNPIN, &[ALPHA.0, ORIGIN + 0x3123]), DONE);
    assert!(machine.by("T66"));
    assert_eq!(machine.record(ALPHA, 3), Record::Shared(Some(FRAME)));
    assert_eq!((machine.kind(0x200), machine.bytes(0x200)), (Some(Registered::Shared), filled(7)));
}

#[test]
fn t67_q8_d9_unpin_of_a_page_that_is_not_pinned() {
    let places = [
        Record::Absent,
        Record::Resident(FRAME),
        Record::Exported,
        Record::Shared(Some(FRAME)),
        Record::Shared(None),
        Record::Destroyed,
    ];
    for record in places {
        let mut machine = Machine::new();
        machine.place(ALPHA, 3, record);
        machine.place(BETA, 9, Record::Pinned(FrameNumber(0x300)));
        machine.map(ALPHA, 3, 0x300);
        assert_eq!(machine.call(UNPIN, &[ALPHA.0, ORIGIN + 0x3000]), DONE, "{record:?}");
        assert!(machine.by("T67"));
        assert_eq!(machine.record(ALPHA, 3), record);
        assert_eq!(machine.kind(0x300), Some(Registered::Pinned));
    }
}

#[test]
fn t68_d9_d59_unpin_without_mapping_range_and_elsewhere() {
    let mut machine = Machine::new();
    machine.place(ALPHA, 3, Record::Pinned(FRAME));
    assert_eq!(machine.call(UNPIN, &[ALPHA.0, ORIGIN + SIZE]), refused(0x103));
    assert_eq!(machine.call(UNPIN, &[ALPHA.0, ORIGIN + 0x3000]), refused(0x10a));
    assert!(machine.by("T68"));
    machine.map_with(ALPHA, 3, 0x200, 0x200);
    assert_eq!(machine.call(UNPIN, &[ALPHA.0, ORIGIN + 0x3000]), refused(0x10a), "protected");
    machine.map(ALPHA, 3, 0x201);
    assert_eq!(machine.call(UNPIN, &[ALPHA.0, ORIGIN + 0x3000]), refused(0x105));
    assert!(machine.by("D9"));
}

#[test]
fn t70_t71_t72_q9_q10_d25_i27_c99_unshare_all() {
    let mut machine = Machine::new();
    machine.place(ALPHA, 3, Record::Shared(Some(FRAME)));
    machine.place(ALPHA, 4, Record::Pinned(FrameNumber(0x201)));
    machine.place(ALPHA, 5, Record::Shared(None));
    machine.place(BETA, 5, Record::Shared(Some(FrameNumber(0x202))));
    machine.put(FRAME, filled(3));
    machine.put(FrameNumber(0x201), filled(4));
    assert_eq!(machine.call(UNSHARE_ALL, &[ALPHA.0]), DONE);
    assert_eq!(machine.record(ALPHA, 3), Record::Resident(FRAME));
    assert_eq!(machine.record(ALPHA, 4), Record::Resident(FrameNumber(0x201)));
    assert_eq!(machine.record(ALPHA, 5), Record::Absent);
    assert_eq!(machine.record(BETA, 5), Record::Shared(Some(FrameNumber(0x202))));
    for (frame, content) in [(0x200, 3), (0x201, 4)] {
        assert_eq!((machine.kind(frame), machine.bytes(frame)), (Some(Registered::Secure), filled(content)));
        assert!(matches!(machine.host_load(frame), Outcome::Program(program) if program.code == 0x3d));
    }
    machine.map(ALPHA, 5, 0x203);
    machine.put(FrameNumber(0x203), filled(9));
    assert_eq!(machine.import(ALPHA, 5), DONE);
    assert_eq!(machine.bytes(0x203), filled(0), "T72");
}

#[test]
fn d5_unshare_all_does_not_secure_its_own_block() {
    for record in [Record::Shared(Some(BLOCK)), Record::Pinned(BLOCK)] {
        let mut machine = Machine::new();
        machine.place(ALPHA, 3, record);
        assert_eq!(machine.call(UNSHARE_ALL, &[ALPHA.0]), refused(0x102));
        machine.place(ALPHA, 4, Record::Shared(Some(FRAME)));
        assert_eq!(machine.call(UNSHARE_ALL, &[ALPHA.0]), refused(0x102), "all or nothing");
        assert_eq!(machine.record(ALPHA, 4), Record::Shared(Some(FRAME)));
    }
}

#[test]
fn q15_c99_unshare_all_with_a_running_cpu() {
    let mut machine = Machine::new();
    machine.place(ALPHA, 3, Record::Shared(Some(FRAME)));
    let cpu = machine.cpu_of(ALPHA);
    for (run, answer) in [(Run::Operating, refused(0x101)), (Run::CheckStop, DONE), (Run::Stopped, DONE)] {
        machine.state.cpus[&cpu].run = run;
        assert_eq!(machine.call(UNSHARE_ALL, &[ALPHA.0]), answer, "{run:?}");
    }
    let other = machine.cpu_of(BETA);
    machine.state.cpus[&other].run = Run::Operating;
    assert_eq!(machine.call(UNSHARE_ALL, &[ALPHA.0]), DONE, "the CPU of another configuration");
}
