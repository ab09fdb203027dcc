//! CREATE_SEC_CONF and CREATE_SEC_CPU: every cause of a refusal, alone and before every later one.

mod support;

use support::{
    BLOCK, CONFIGURATION, CPU, DESCRIPTION, GUEST_ASCE, HOME, MIB, Machine, SCA, STORAGE, VARIABLE, WINDOW, With,
    create_cpu, u64_at,
};
use uvsim_oracle::ids::{CpuNumber, FrameNumber, Handle, PageIndex};
use uvsim_oracle::state::{Purpose, Registered, Registration, Run, Zone};
use uvsim_oracle::step::{HostStep, Outcome, Step};

/// A wrong value of a field, and what it leads to.
#[derive(Clone, Copy)]
struct Cause {
    name: &'static str,
    offset: usize,
    value: u64,
    rc: u16,
}

const fn cause(name: &'static str, offset: usize, value: u64, rc: u16) -> Cause {
    Cause { name, offset, value, rc }
}

const HIGHEST: u64 = 1 << 47;
const PREFIX: u64 = 0x6000;
/// Window pages that translate to something strange, in the MiB behind the window.
const STRANGE: u64 = WINDOW + MIB;
const SEGMENT: u64 = HOME + 0x10000;
const OTHER_ASCE: u64 = (26 * MIB) | 0x104;

/// In the order of D11.
const CREATE: [Cause; 27] = [
    cause("origin", 0x38, HIGHEST + MIB, 0x101),
    cause("origin, not even aligned", 0x38, HIGHEST + 1, 0x101),
    cause("end", 0x40, HIGHEST + MIB, 0x102),
    cause("end overflows", 0x40, u64::MAX, 0x102),
    cause("origin not on a MiB", 0x38, 0x1000, 0x103),
    cause("size not in MiB", 0x40, MIB + 0x1000, 0x103),
    cause("no size", 0x40, 0, 0x103),
    cause("not private", 0x50, GUEST_ASCE & !0x100, 0x105),
    cause("real space", 0x50, GUEST_ASCE | 0x20, 0x105),
    cause("table in use, another length", 0x50, OTHER_ASCE | 3, 0x104),
    cause("base beyond storage", 0x20, STORAGE + 1, 0x108),
    cause("base ends beyond storage", 0x20, STORAGE - 0xf000, 0x108),
    cause("base overflows", 0x20, u64::MAX, 0x108),
    cause("base taken", 0x20, support::BASE, 0x108),
    cause("base shared", 0x20, 45 * MIB, 0x108),
    cause("base not on a frame", 0x20, 0x801, 0x106),
    cause("base at 0x1000", 0x20, 0x1000, 0x109),
    cause("base over the prefix", 0x20, PREFIX + 0x1000, 0x109),
    cause("area without entries", 0x28, WINDOW + 250 * 4096, 0x31),
    cause("area beyond storage", 0x28, STRANGE + 0x20000, 0x32),
    cause("area not on a page", 0x28, WINDOW + 8, 0x10a),
    cause("area over the lowcore", 0x28, STRANGE + 0x1000, 0x10e),
    cause("area twice in a frame", 0x28, STRANGE + 0x60000, 0x10b),
    cause("area over the base", 0x28, CONFIGURATION - 0x13000, 0x10b),
    cause("area taken", 0x28, STRANGE + 0x90000, 0x10b),
    cause("no control area", 0x48, 0x3f, 0x10c),
    cause("control area beyond storage", 0x48, STORAGE, 0x10d),
];

/// A machine in which all causes of [`CREATE`] can arise, and a good call.
fn prepared() -> (Machine, Vec<u8>) {
    let mut machine = Machine::initialised();
    machine.home_space();
    assert_eq!(machine.host(HostStep::SetPrefix(PREFIX)), Outcome::Done);
    for page in 0..256 {
        machine.put(SEGMENT + 8 * page, VARIABLE + MIB + 4096 * page);
    }
    machine.put(HOME + 8 * 1025, SEGMENT);
    machine.put(SEGMENT + 8 * 2, 0x1000);
    machine.put(SEGMENT + 8 * 0x30, STORAGE);
    machine.put(SEGMENT + 8 * 0x62, VARIABLE + MIB + 0x61000);
    machine.put(SEGMENT + 8 * 0xa0, support::BASE);
    let shared = Registration { kind: Registered::Shared, configuration: Handle(1), page: PageIndex(0) };
    machine.state.registered.insert(FrameNumber((45 * MIB + 0x3000) / 4096), shared);
    let other = machine.create().with(0x20, 44 * MIB).with(0x28, WINDOW + 0x80000).with(0x50, OTHER_ASCE);
    assert_eq!(machine.call(&other).0, (0, 1, 0));
    let good = machine.create();
    (machine, good)
}

#[test]
fn d11_t77_d37_q25_q35_each_cause_alone() {
    let (mut machine, good) = prepared();
    for cause in CREATE {
        let configurations = machine.state.configurations.clone();
        let donated = machine.state.donated.clone();
        let (answer, after) = machine.call(&good.clone().with(cause.offset, cause.value));
        assert_eq!(answer, (1, cause.rc, 0), "{}", cause.name);
        assert_eq!(u64_at(&after, 0x18), 0, "no handle");
        assert_eq!(machine.state.configurations, configurations);
        assert_eq!(machine.state.donated, donated);
    }
    assert_eq!(machine.call(&good).0, (0, 1, 0));
}

#[test]
fn d11_the_first_of_two_causes_decides() {
    let (mut machine, good) = prepared();
    for (at, first) in CREATE.iter().enumerate() {
        for second in CREATE[at + 1..].iter().filter(|second| second.offset != first.offset) {
            let both = good.clone().with(first.offset, first.value).with(second.offset, second.value);
            assert_eq!(machine.call(&both).0, (1, first.rc, 0), "{} and {}", first.name, second.name);
        }
    }
}

#[test]
fn d11_real_space_home_and_areas_at_the_end() {
    let (mut machine, good) = prepared();
    machine.registers(false, HOME | 0x23);
    assert_eq!(machine.call(&good).0, (1, 0x30, 0));
    assert_eq!(machine.call(&good.clone().with(0x28, u64::MAX - 0xfff)).0, (1, 0x31, 0), "before it wraps");
    assert_eq!(machine.call(&good.clone().with(0x48, 0)).0, (1, 0x30, 0));
}

#[test]
fn d11_the_control_area_may_not_be_where_nobody_gets() {
    let (mut machine, good) = prepared();
    for inside in [CONFIGURATION + 0xffc0, VARIABLE, VARIABLE + 0x13fc0, support::BASE, 44 * MIB] {
        assert_eq!(machine.call(&good.clone().with(0x48, inside)).0, (1, 0x10d, 0), "{inside:#x}");
    }
    let shared = 45 * MIB + 0x3000;
    assert_eq!(machine.call(&good.with(0x48, shared)).0, (0, 1, 0), "a shared frame is not secure");
}

#[test]
fn t76_q1_d16_what_is_donated_and_what_is_kept() {
    let (mut machine, good) = prepared();
    assert_eq!(machine.store(CONFIGURATION + 0x2000, &[1; 8]), Outcome::Done);
    let (_, after) = machine.call(&good.with(0x38, 16 * MIB).with(0x48, SCA + 0x3f));
    let handle = Handle(u64_at(&after, 0x18));
    let created = machine.state.configurations[&handle].clone();
    assert_eq!((created.origin, created.size, created.asce), (16 * MIB, support::GUEST_SIZE, GUEST_ASCE));
    assert_eq!(created.sca.0, SCA);
    assert!(created.pages.is_empty() && created.cpus.is_empty());
    for page in 0..16 {
        let base = Zone::Donated(Purpose::ConfigurationBase(handle));
        assert_eq!(machine.zone(CONFIGURATION + page * 4096), base);
    }
    for page in 0..20 {
        let variable = Zone::Donated(Purpose::Variable(handle));
        assert_eq!(machine.zone(VARIABLE + page * 4096), variable, "64 KiB and 4 for each of 4 MiB");
    }
    assert_eq!(machine.zone(CONFIGURATION + 0x10000), Zone::NonSecure);
    assert_eq!(machine.zone(VARIABLE + 20 * 4096), Zone::NonSecure);
    assert!(!machine.state.storage.contains_key(&FrameNumber((CONFIGURATION + 0x2000) / 4096)));
}

#[test]
fn d11_d9_the_highest_address_itself_is_allowed() {
    let (mut machine, good) = prepared();
    assert_eq!(machine.call(&good.with(0x38, HIGHEST - support::GUEST_SIZE)).0, (0, 1, 0));
}

#[test]
fn d20_q27_i32_handles_are_objected_to() {
    for (strange, other) in [(0, 0), (1, 0), (1 << 63, 0), (0, 1), (0, u64::MAX)] {
        let (mut machine, good) = prepared();
        let issued = machine.state.issued.iter().next().copied().expect("one");
        machine.world.next_handle = Some((issued.0 ^ strange).wrapping_add(other));
        assert_eq!(machine.store(BLOCK, &good), Outcome::Done);
        let uvc = HostStep::Uvc(uvsim_oracle::step::Uvc { r1: 0, r2: BLOCK, m3: 0, m4: 0 });
        let objection = machine.try_take(&Step::Host(CpuNumber(0), uvc)).expect_err("refused by D20");
        assert_eq!(objection.rule, "D20");
    }
    let (mut machine, good) = prepared();
    machine.world.next_handle = Some(0);
    assert_eq!(machine.store(BLOCK, &good), Outcome::Done);
    let uvc = HostStep::Uvc(uvsim_oracle::step::Uvc { r1: 0, r2: BLOCK, m3: 0, m4: 0 });
    assert!(machine.try_take(&Step::Host(CpuNumber(0), uvc)).is_err());
}

/// In the order of D12; the number is a halfword in front of zeros.
const CREATE_CPU: [Cause; 12] = [
    cause("configuration", 0x20, 1, 0x20),
    cause("number", 0x36, 257 << 48, 0x103),
    cause("number defined", 0x36, 0, 0x104),
    cause("storage at 0", 0x28, 0, 0x106),
    cause("storage over the prefix, not on a frame", 0x28, PREFIX - 1, 0x106),
    cause("storage beyond storage", 0x28, STORAGE + 0x1000, 0x105),
    cause("storage overflows", 0x28, u64::MAX, 0x105),
    cause("storage not on a frame", 0x28, CPU + 0x1001, 0x105),
    cause("storage taken", 0x28, CPU, 0x105),
    cause("description beyond storage", 0x38, STORAGE + 0x1000, 0x107),
    cause("description secure", 0x38, CPU, 0x107),
    cause("description not on 512", 0x38, DESCRIPTION + 0x108, 0x107),
];

/// A good call: the second CPU of its configuration.
fn second_cpu() -> (Machine, Vec<u8>) {
    let (mut machine, configuration, _) = Machine::with_cpu();
    assert_eq!(machine.host(HostStep::SetPrefix(PREFIX)), Outcome::Done);
    let good = create_cpu(configuration).with_u16(0x36, 256).with(0x28, CPU + 0x8000).with(0x38, DESCRIPTION + 0x200);
    (machine, good)
}

fn spoil(block: Vec<u8>, cause: Cause) -> Vec<u8> {
    match cause.offset {
        0x36 => block.with_u16(0x36, (cause.value >> 48) as u16),
        offset => block.with(offset, cause.value),
    }
}

#[test]
fn d12_q26_t77_each_cause_alone_and_before_later_ones() {
    let (mut machine, good) = second_cpu();
    for (at, first) in CREATE_CPU.iter().enumerate() {
        let (answer, after) = machine.call(&spoil(good.clone(), *first));
        assert_eq!(answer, (1, first.rc, 0), "{}", first.name);
        assert_eq!(u64_at(&after, 0x18), 0);
        for second in CREATE_CPU[at + 1..].iter().filter(|second| second.offset != first.offset) {
            let both = spoil(spoil(good.clone(), *first), *second);
            assert_eq!(machine.call(&both).0, (1, first.rc, 0), "{} and {}", first.name, second.name);
        }
    }
    assert_eq!(machine.call(&good.clone().with(0x38, CPU + 0x8000)).0, (1, 0x107, 0), "in its own storage");
    assert_eq!(machine.state.cpus.len(), 1);
    assert_eq!(machine.call(&good).0, (0, 1, 0));
}

#[test]
fn t76_c41_a_new_cpu_is_stopped() {
    let (mut machine, good) = second_cpu();
    let (_, after) = machine.call(&good);
    let handle = Handle(u64_at(&after, 0x18));
    let cpu = &machine.state.cpus[&handle];
    assert_eq!((cpu.run, cpu.number, cpu.state_description.0), (Run::Stopped, 256, DESCRIPTION + 0x200));
    assert_eq!(machine.state.configurations[&cpu.configuration].cpus[&256], handle);
    assert_eq!(machine.zone(CPU + 0x8000), Zone::Donated(Purpose::Cpu(handle)));
    assert_eq!(machine.zone(CPU + 0x9000), Zone::NonSecure);
}
