//! What host CPUs and devices reach, and what they are told if not.

mod support;

use support::{BASE, Machine, code, interruption, setup};
use uvsim_oracle::ids::{AbsoluteAddress, CpuNumber, FrameNumber, Handle, PageIndex, VirtualAddress};
use uvsim_oracle::state::{Registered, Registration};
use uvsim_oracle::step::{Access, HostStep, Outcome, Program, Step};

const FRAME: u64 = 40 << 20;

/// A frame that holds a page of a configuration, which is alive or not.
fn register(machine: &mut Machine, address: u64, kind: Registered, configuration: Handle) {
    let registration = Registration { kind, configuration, page: PageIndex(5) };
    machine.state.registered.insert(FrameNumber(address / 4096), registration);
}

fn secure(machine: &mut Machine, configuration: Handle) {
    register(machine, FRAME, Registered::Secure, configuration);
}

fn program(code: u16, teid: u64) -> Outcome {
    Outcome::Program(Program { code, teid })
}

#[test]
fn t1_t7_t8_ordinary_frames_are_the_hosts() {
    let mut machine = Machine::new();
    assert_eq!(machine.store(FRAME + 4090, &[1, 2, 3, 4, 5, 6, 7, 8]), Outcome::Done);
    assert_eq!(machine.rules, ["T1"]);
    assert_eq!(machine.load(FRAME + 4092, 4), Outcome::Loaded(vec![3, 4, 5, 6]));
    assert_eq!(machine.load(FRAME + 4096, 2), Outcome::Loaded(vec![7, 8]));
}

#[test]
fn t3_d19_a_secure_frame_is_0x3d_with_a_good_address() {
    let (mut machine, configuration) = Machine::with_configuration();
    secure(&mut machine, configuration);
    machine.translation(true);
    assert_eq!(machine.load(FRAME + 0x123, 1), program(0x3d, FRAME | 0x807));
    assert_eq!(machine.rules, ["T3"]);
    assert_eq!(machine.store(FRAME + 0x123, &[1]), program(0x3d, FRAME | 0x407));
    assert_eq!(machine.uvc(FRAME + 0x128), program(0x3d, FRAME | 0x407), "a block counts as store");
}

#[test]
fn t4_d19_an_instruction_fetch_tells_no_address() {
    let (mut machine, configuration) = Machine::with_configuration();
    secure(&mut machine, configuration);
    machine.translation(true);
    let fetched = machine.fetch_instruction(FRAME);
    assert_eq!(interruption(&fetched).map(|program| (program.code, program.teid & !0xc03)), Some((0x3d, 0)));
    assert_eq!(machine.rules, ["T4"]);
}

#[test]
fn d15_without_misc_bit_61_is_off() {
    let mut machine = Machine::of(setup(15));
    assert_eq!(machine.init(), (0, 1, 0));
    let refused = machine.load(BASE, 1);
    assert_eq!(interruption(&refused).map(|program| program.teid & 4), Some(0));
    let mut newer = Machine::initialised();
    let refused = newer.load(BASE, 1);
    assert_eq!(interruption(&refused).map(|program| program.teid & 4), Some(4));
}

#[test]
fn t5_t6_shared_frames_are_open() {
    let (mut machine, configuration) = Machine::with_configuration();
    for (kind, rule) in [(Registered::Shared, "T5"), (Registered::Pinned, "T6")] {
        register(&mut machine, FRAME, kind, configuration);
        assert_eq!(machine.store(FRAME, &[9]), Outcome::Done);
        assert_eq!(machine.load(FRAME, 1), Outcome::Loaded(vec![9]));
        assert_eq!(machine.rules, [rule]);
        assert_eq!(machine.channel_read(FRAME, 1), Outcome::Loaded(vec![9]));
        assert_eq!(machine.rules, ["T10"]);
    }
}

#[test]
fn t9_i9_orphans_stay_fenced() {
    let mut machine = Machine::initialised();
    secure(&mut machine, Handle(0x1234));
    assert_eq!(code(&machine.load(FRAME, 1)), 0x3d);
    assert_eq!(machine.rules, ["T9"]);
    assert_eq!(machine.channel_read(FRAME, 1), Outcome::ChannelSecure(AbsoluteAddress(FRAME)));
}

#[test]
fn i9_nothing_is_stored_if_one_page_refuses() {
    let (mut machine, configuration) = Machine::with_configuration();
    secure(&mut machine, configuration);
    let before = machine.state.storage.clone();
    assert_eq!(code(&machine.store(FRAME - 4, &[1; 8])), 0x3d);
    assert_eq!(code(&machine.store(FRAME + 4092, &[1; 8])), 0x3d);
    assert_eq!(machine.state.storage, before);
    assert_eq!(code(&machine.load(FRAME - 4, 8)), 0x3d);
}

#[test]
fn t10_t11_d23_q33_devices_are_refused_without_interruption() {
    let mut machine = Machine::initialised();
    let edge = BASE - 8;
    assert_eq!(machine.channel_write(edge, &[7; 8]), Outcome::Done);
    assert_eq!(machine.rules, ["T10"]);
    assert_eq!(machine.channel_write(edge, &[8; 9]), Outcome::ChannelSecure(AbsoluteAddress(BASE)));
    assert_eq!(machine.rules, ["T11"]);
    assert_eq!(machine.channel_read(edge, 8), Outcome::Loaded(vec![7; 8]), "nothing of it was written");
    assert_eq!(machine.channel_read(BASE + 0x17, 1), Outcome::ChannelSecure(AbsoluteAddress(BASE + 0x17)));
    let end = support::STORAGE;
    assert_eq!(machine.channel_read(end - 4, 5), Outcome::ChannelOutside(AbsoluteAddress(end - 4)));
    assert_eq!(machine.channel_read(u64::MAX, 5), Outcome::ChannelOutside(AbsoluteAddress(u64::MAX)));
}

#[test]
fn d60_prefixing_exchanges_two_areas() {
    let mut machine = Machine::new();
    assert_eq!(machine.store(0x10, &[1]), Outcome::Done);
    assert_eq!(machine.store(0x6010, &[2]), Outcome::Done);
    assert_eq!(machine.host(HostStep::SetPrefix(0x6000)), Outcome::Done);
    assert_eq!(machine.load(0x10, 1), Outcome::Loaded(vec![2]));
    assert_eq!(machine.load(0x6010, 1), Outcome::Loaded(vec![1]));
    assert_eq!(machine.channel_read(0x10, 1), Outcome::Loaded(vec![1]), "absolute is absolute");
    assert_eq!(code(&machine.host(HostStep::SetPrefix(support::STORAGE))), 0, "only 31 bits count");
}

#[test]
fn steps_that_cannot_be_taken() {
    let mut machine = Machine::new();
    let load = HostStep::Load { address: VirtualAddress(0), length: 1, kind: Access::Fetch };
    for impossible in [
        Step::Start(CpuNumber(0)),
        Step::Start(CpuNumber(2)),
        Step::Stop(CpuNumber(1)),
        Step::Host(CpuNumber(1), load.clone()),
        Step::Host(CpuNumber(9), load),
    ] {
        let before = machine.state.clone();
        assert_eq!(machine.take(&impossible), Outcome::Impossible, "{impossible:?}");
        assert_eq!(machine.state, before);
    }
}

#[test]
fn addressing_beyond_storage_comes_before_everything_else() {
    let mut machine = Machine::initialised();
    assert_eq!(machine.load(support::STORAGE - 1, 2), program(0x05, 0));
    assert_eq!(machine.load(u64::MAX, 1), program(0x05, 0));
}
