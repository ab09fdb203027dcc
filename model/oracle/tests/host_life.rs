//! INIT_UV, configurations, CPUs.

mod support;

use support::{
    BASE, CONFIGURATION, CPU, GUEST_ASCE, Machine, VARIABLE, With, code, create_cpu, handle_block, init, u64_at,
};
use uvsim_oracle::ids::Handle;
use uvsim_oracle::state::{Purpose, Zone};
use uvsim_oracle::step::Outcome;

#[test]
fn t2_t76_c30_init_uv_donates_its_area() {
    let mut machine = Machine::new();
    assert_eq!(machine.load(BASE, 1), Outcome::Loaded(vec![0]));
    assert_eq!(machine.init(), (0, 1, 0));
    assert_eq!(machine.rules, ["T76"]);
    assert_eq!(machine.zone(BASE), Zone::Donated(Purpose::Base));
    let refused = machine.load(BASE + 5, 1);
    assert_eq!(code(&refused), 0x3d);
    assert_eq!(machine.rules, ["T2"]);
}

#[test]
fn t76_c39_c50_a_configuration_and_a_cpu_come_and_go() {
    let (mut machine, configuration, cpu) = Machine::with_cpu();
    for fenced in [CONFIGURATION, CONFIGURATION + 0xf000, VARIABLE, VARIABLE + 0x13000, CPU] {
        assert_eq!(code(&machine.load(fenced, 1)), 0x3d, "{fenced:#x}");
        assert_eq!(code(&machine.store(fenced, &[1])), 0x3d, "{fenced:#x}");
    }
    assert_eq!(machine.load(VARIABLE + 0x14000, 1), Outcome::Loaded(vec![0]));
    assert_eq!(machine.call(&handle_block(0x101, 0x40, configuration)).0, (1, 0x105, 0));
    assert_eq!(machine.call(&handle_block(0x121, 0x40, cpu)).0, (0, 1, 0));
    assert_eq!(machine.call(&handle_block(0x101, 0x40, configuration)).0, (0, 1, 0));
    for free in [CONFIGURATION, VARIABLE, CPU] {
        assert_eq!(machine.load(free, 1), Outcome::Loaded(vec![0]));
    }
    let again = machine.create();
    let (answer, block) = machine.call(&again);
    assert_eq!(answer, (0, 1, 0));
    assert_ne!(Handle(u64_at(&block, 0x18)), configuration);
}

#[test]
fn d11_q35_q36_c12_create_is_refused_in_order() {
    let mut early = Machine::new();
    assert_eq!(early.call(&early.create()).0, (1, 0x0003, 0));
    let (mut machine, _) = Machine::with_configuration();
    let good = machine.create();
    assert_eq!(machine.call(&good).0, (1, 0x104, 0), "the very same again");
    let other = good.with(0x50, GUEST_ASCE + 0x4000);
    assert_eq!(machine.call(&other).0, (1, 0x108, 0), "the base area is taken");
    assert_eq!(machine.rules, ["T77"]);
}

#[test]
fn d12_d20_create_sec_cpu_numbers() {
    let (mut machine, configuration, _) = Machine::with_cpu();
    let good = create_cpu(configuration);
    assert_eq!(machine.call(&good.clone().with_u16(0x36, 257)).0, (1, 0x103, 0));
    assert_eq!(machine.call(&good.clone()).0, (1, 0x104, 0));
    assert_eq!(machine.call(&good.clone().with_u16(0x36, 256)).0, (1, 0x105, 0));
    let strange = good.with(0x20, configuration.0 ^ 1);
    assert_eq!(machine.call(&strange).0, (1, 0x20, 0));
}

#[test]
fn c31_i31_init_uv_works_once() {
    let mut machine = Machine::initialised();
    assert_eq!(machine.call(&init(BASE + (128 << 20))).0, (1, 0x101, 0));
    assert_eq!(machine.load(BASE + (128 << 20), 1), Outcome::Loaded(vec![0]));
}
