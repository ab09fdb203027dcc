//! INIT_UV in its order; the end of configurations, of CPUs, and of everything.

mod support;

use support::{
    BASE, CONFIGURATION, CPU, MIB, Machine, STORAGE, VARIABLE, With, block, code, handle_block, init, u64_at,
};
use uvsim_oracle::ids::{CpuNumber, FrameNumber, Handle, PageIndex};
use uvsim_oracle::state::{Configuration, Page, Record, Registered, Registration, Zone};
use uvsim_oracle::step::{HostStep, MachineReset, Outcome, Step};

const INIT: [(&str, usize, u64, u16); 7] = [
    ("length", 0x20, 98 * MIB - 8, 0x103),
    ("length above", 0x20, 98 * MIB + 0x1000, 0x103),
    ("origin at the end", 0x18, STORAGE, 0x104),
    ("origin far beyond", 0x18, u64::MAX, 0x104),
    ("end beyond storage", 0x18, STORAGE - MIB, 0x105),
    ("below 2 GiB", 0x18, 1024 * MIB, 0x108),
    ("just below 2 GiB", 0x18, BASE - 1, 0x108),
];

#[test]
fn c23_c24_c26_c27_c28_q30_each_cause_alone() {
    let mut machine = Machine::new();
    let short = block(0x0f, 0x40);
    assert_eq!(machine.call(&short).0, (1, 0x0005, 0));
    for (name, offset, value, rc) in INIT {
        assert_eq!(machine.call(&init(BASE).with(offset, value)).0, (1, rc, 0), "{name}");
        assert!(!machine.state.initialised && machine.state.donated.is_empty());
    }
}

#[test]
fn c25_low_bits_are_ignored() {
    let mut machine = Machine::new();
    let bits = init(BASE + 0xf_ffff).with(0x20, 98 * MIB + 8);
    assert_eq!(machine.call(&bits).0, (0, 1, 0));
    assert_eq!(machine.zone(BASE - 1), Zone::NonSecure);
    assert_eq!(code(&machine.load(BASE, 1)), 0x3d);
    assert_eq!(code(&machine.load(BASE + 98 * MIB - 1, 1)), 0x3d);
    assert_eq!(machine.load(BASE + 98 * MIB, 1), Outcome::Loaded(vec![0]));
}

#[test]
fn c29_i31_the_order_of_init_uv() {
    let mut machine = Machine::new();
    let length = init(BASE).with(0x20, 0);
    for (name, offset, value, rc) in INIT.into_iter().skip(2) {
        assert_eq!(machine.call(&length.clone().with(offset, value)).0, (1, 0x103, 0), "length before {name}");
        assert_eq!(machine.take(&Step::Start(CpuNumber(1))), Outcome::Done);
        assert_eq!(machine.call(&init(BASE).with(offset, value)).0, (1, rc, 0), "{name} before other CPUs");
        assert_eq!(machine.call(&init(BASE)).0, (1, 0x102, 0));
        assert_eq!(machine.take(&Step::Stop(CpuNumber(1))), Outcome::Done);
    }
    assert_eq!(machine.call(&init(BASE)).0, (0, 1, 0));
    for (name, offset, value, _) in INIT {
        assert_eq!(machine.call(&length.clone().with(offset, value)).0, (1, 0x101, 0), "{name}");
    }
}

/// Frames with guest pages, and what the rows say of them.
const SECURE: u64 = 60 * MIB;
const SHARED: u64 = 61 * MIB;
const PINNED: u64 = 62 * MIB;

/// Gives a configuration a secure, a shared and a pinned page, and two without frame; each frame holds bytes.
fn populate(machine: &mut Machine, owner: Handle) {
    let rows = [
        (0, SECURE, Registered::Secure, Record::Resident(FrameNumber(SECURE / 4096))),
        (1, SHARED, Registered::Shared, Record::Shared(Some(FrameNumber(SHARED / 4096)))),
        (2, PINNED, Registered::Pinned, Record::Pinned(FrameNumber(PINNED / 4096))),
    ];
    for (index, address, kind, record) in rows {
        assert_eq!(machine.store(address, &[0x10 + index as u8; 8]), Outcome::Done);
        let registration = Registration { kind, configuration: owner, page: PageIndex(index) };
        machine.state.registered.insert(FrameNumber(address / 4096), registration);
        row(machine, owner, index, record);
    }
    row(machine, owner, 3, Record::Exported);
    row(machine, owner, 4, Record::Shared(None));
}

fn row(machine: &mut Machine, owner: Handle, index: u64, record: Record) {
    let configuration: &mut Configuration = machine.state.configurations.get_mut(&owner).expect("alive");
    configuration.pages.insert(PageIndex(index), Page { record, ..Page::default() });
}

#[test]
fn t40_t42_d27_q28_i10_i33_the_end_of_a_configuration() {
    let (mut machine, owner) = Machine::with_configuration();
    populate(&mut machine, owner);
    assert_eq!(machine.call(&handle_block(0x101, 0x40, owner)).0, (0, 1, 0));
    assert_eq!(machine.rules, ["T40"]);
    for (address, byte) in [(SECURE, 0), (SHARED, 0x11), (PINNED, 0x12), (CONFIGURATION, 0), (VARIABLE, 0)] {
        assert_eq!(machine.zone(address), Zone::NonSecure, "{address:#x}");
        assert_eq!(machine.load(address, 8), Outcome::Loaded(vec![byte; 8]), "{address:#x}");
    }
    assert!(!machine.state.configurations.contains_key(&owner));
    assert_eq!(machine.call(&handle_block(0x101, 0x40, owner)).0, (1, 0x20, 0));
}

#[test]
fn t41_t42_t9_d28_c52_the_fast_end_leaves_guest_frames() {
    let (mut machine, owner) = Machine::with_configuration();
    populate(&mut machine, owner);
    assert_eq!(machine.call(&handle_block(0x102, 0x48, owner)).0, (0, 1, 0));
    assert_eq!(machine.rules, ["T41"]);
    assert_eq!(code(&machine.load(SECURE, 1)), 0x3d);
    assert_eq!(machine.rules, ["T9"]);
    assert_eq!(machine.load(SHARED, 8), Outcome::Loaded(vec![0x11; 8]));
    assert_eq!(machine.load(PINNED, 8), Outcome::Loaded(vec![0x12; 8]));
    let open = |machine: &Machine| matches!(machine.zone(SHARED), Zone::Registered(of) if of.configuration == owner);
    assert!(open(&machine), "with a discarded owner");
    for donated in [CONFIGURATION, VARIABLE] {
        assert_eq!(machine.load(donated, 1), Outcome::Loaded(vec![0]));
    }
    let create = machine.create();
    assert_eq!(machine.call(&create).0, (0, 1, 0), "C50");
    assert_eq!(
        machine.call(&machine.create().with(0x20, SHARED - 0x3000).with(0x50, 0x6000_0104)).0,
        (1, 0x108, 0),
        "D37"
    );
}

#[test]
fn q12_d82_c49_configurations_with_cpus_stay() {
    for (command, length) in [(0x101, 0x40), (0x102, 0x48)] {
        let (mut machine, owner, cpu) = Machine::with_cpu();
        populate(&mut machine, owner);
        let before = (machine.state.configurations.clone(), machine.state.registered.clone());
        assert_eq!(machine.call(&handle_block(command, length, owner)).0, (1, 0x105, 0));
        assert_eq!((machine.state.configurations.clone(), machine.state.registered.clone()), before);
        assert_eq!(machine.call(&handle_block(0x121, 0x40, cpu)).0, (0, 1, 0));
        assert_eq!(machine.call(&handle_block(command, length, owner)).0, (0, 1, 0));
    }
}

#[test]
fn t42_d13_c45_the_end_of_a_cpu() {
    let (mut machine, owner, cpu) = Machine::with_cpu();
    machine.state.cpus[&cpu].in_sie = Some(CpuNumber(1));
    assert_eq!(machine.call(&handle_block(0x121, 0x40, cpu)).0, (1, 0x103, 0));
    assert_eq!(code(&machine.load(CPU, 1)), 0x3d);
    machine.state.cpus[&cpu].in_sie = None;
    assert_eq!(machine.call(&handle_block(0x121, 0x40, cpu)).0, (0, 1, 0));
    assert_eq!(machine.rules, ["T42"]);
    assert_eq!(machine.load(CPU, 8), Outcome::Loaded(vec![0; 8]));
    assert_eq!(machine.call(&handle_block(0x121, 0x40, cpu)).0, (1, 0x21, 0));
    let (answer, after) = machine.call(&support::create_cpu(owner));
    assert_eq!(answer, (0, 1, 0), "the number is free");
    assert_ne!(u64_at(&after, 0x18), cpu.0);
}

fn reset(machine: &mut Machine, kind: MachineReset) -> Outcome {
    machine.host(HostStep::ResetMachine(kind))
}

#[test]
fn t43_d29_c32_a_reset_of_the_machine() {
    let (mut machine, owner, _) = Machine::with_cpu();
    populate(&mut machine, owner);
    // An orphan of another configuration.
    let orphan = Registration { kind: Registered::Secure, configuration: Handle(3), page: PageIndex(0) };
    assert_eq!(machine.store(63 * MIB, &[1; 8]), Outcome::Done);
    machine.state.registered.insert(FrameNumber(63 * MIB / 4096), orphan);
    let issued = machine.state.issued.clone();
    assert_eq!(reset(&mut machine, MachineReset::Normal), Outcome::Done);
    assert_eq!(machine.rules[0], "T43");
    let kept = [(SHARED, 0x11), (PINNED, 0x12)];
    let zero = [BASE, CONFIGURATION, VARIABLE, CPU, SECURE, 63 * MIB].map(|address| (address, 0));
    for (address, byte) in kept.into_iter().chain(zero) {
        assert_eq!(machine.zone(address), Zone::NonSecure, "{address:#x}");
        assert_eq!(machine.load(address, 8), Outcome::Loaded(vec![byte; 8]), "{address:#x}");
    }
    assert!(machine.state.configurations.is_empty() && machine.state.cpus.is_empty());
    assert_eq!(machine.call(&handle_block(0x101, 0x40, owner)).0, (1, 0x0003, 0), "C12");
    assert_eq!(machine.init(), (0, 1, 0));
    assert_eq!(machine.state.issued, issued, "D20: handles stay used");
}

#[test]
fn t43_d29_clear_and_power_on_leave_zeros() {
    for kind in [MachineReset::Clear, MachineReset::PowerOn] {
        let (mut machine, owner) = Machine::with_configuration();
        populate(&mut machine, owner);
        assert_eq!(reset(&mut machine, kind), Outcome::Done);
        assert!(machine.state.storage.is_empty() && machine.state.registered.is_empty());
    }
}

#[test]
fn t43_not_while_others_operate() {
    let mut machine = Machine::initialised();
    assert_eq!(machine.take(&Step::Start(CpuNumber(1))), Outcome::Done);
    assert_eq!(reset(&mut machine, MachineReset::Clear), Outcome::Impossible);
    assert!(machine.state.initialised);
}

#[test]
fn d42_a_counter_is_preset_only_in_residence() {
    let (mut machine, owner) = Machine::with_configuration();
    populate(&mut machine, owner);
    for index in 0..6 {
        let preset = Step::PresetCounter { configuration: owner.0, page: PageIndex(index), counter: 77 };
        assert_eq!(machine.take(&preset), Outcome::Done);
    }
    let counters: Vec<u64> = machine.state.configurations[&owner].pages.values().map(|page| page.counter).collect();
    assert_eq!(counters, [77, 0, 0, 0, 0]);
}

#[test]
fn d81_time_passes() {
    let mut machine = Machine::new();
    assert_eq!(machine.take(&Step::Clock { nanoseconds: 1500 }), Outcome::Done);
    assert_eq!(machine.take(&Step::Clock { nanoseconds: 500 }), Outcome::Done);
    assert_eq!(machine.state.clock, 2000);
}

#[test]
fn q24_frames_are_named_by_absolute_addresses() {
    let (mut machine, owner) = Machine::with_configuration();
    populate(&mut machine, owner);
    machine.put(support::HOME + 0x8000 + 8 * 0x80, SECURE);
    machine.translation(true);
    let shown = support::WINDOW + 0x80_000;
    assert_eq!(code(&machine.load(shown, 1)), 0x3d);
    let export = |address| block(0x201, 0x20).with(0x18, address);
    assert_eq!(machine.call(&export(shown)).0, (0, 1, 0));
    assert_eq!(machine.rules, ["T47"], "what lies at that absolute address was the host's already");
    assert_eq!(code(&machine.load(shown, 1)), 0x3d);
    assert_eq!(machine.call(&export(SECURE)).0, (0, 1, 0));
    assert_eq!(machine.rules, ["T44"]);
    assert_eq!(code(&machine.load(shown, 1)), 0);
}
