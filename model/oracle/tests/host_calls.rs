//! What all calls of a host share: who may call, in which order things are looked at, what is stored.

mod support;

use support::{BASE, BLOCK, MIB, Machine, VARIABLE, WINDOW, With, block, code, create_cpu, handle_block, init, setup};
use uvsim_oracle::ids::CpuNumber;
use uvsim_oracle::state::Setup;
use uvsim_oracle::step::{HostStep, Injection, Outcome, Program, Step, Uvc};

/// Commands of a host, with their lengths.
const HOST: [(u16, u16); 22] = [
    (0x0001, 0xa8),
    (0x0002, 0x200),
    (0x000f, 0x48),
    (0x0100, 0x80),
    (0x0101, 0x40),
    (0x0102, 0x48),
    (0x0120, 0x60),
    (0x0121, 0x40),
    (0x0200, 0x28),
    (0x0201, 0x20),
    (0x0202, 0x20),
    (0x0300, 0x50),
    (0x0301, 0x50),
    (0x0302, 0x40),
    (0x0310, 0x40),
    (0x0311, 0x40),
    (0x0320, 0x40),
    (0x0321, 0x40),
    (0x0330, 0x50),
    (0x0340, 0x40),
    (0x0341, 0x20),
    (0x0342, 0x28),
];

const NOT_BEFORE_INIT: [u16; 3] = [0x0001, 0x0002, 0x000f];

/// All that the oracle may not implement, with lengths.
const MISSING: [(u16, u16); 5] = [(0x0203, 0x28), (0x0400, 0x40), (0x0401, 0x50), (0x0402, 0x50), (0x0403, 0x50)];

const GUEST: [(u16, u16); 7] =
    [(0x1000, 0x30), (0x1001, 0x30), (0x1020, 0x188), (0x1031, 0x48), (0x1033, 0x48), (0x1034, 0x40), (0x1035, 0x48)];

fn z17() -> Machine {
    Machine::of(setup(17))
}

/// A block with rubbish behind its header.
fn rubbish(code: u16, length: u16) -> Vec<u8> {
    let mut bytes = block(code, length);
    bytes[8..].fill(0xa5);
    bytes
}

#[test]
fn d2_c2_problem_state_goes_before_everything() {
    let mut machine = z17();
    for (command, length) in HOST {
        assert_eq!(machine.store(BLOCK, &block(command, length)), Outcome::Done);
        let registers = HostStep::Registers { problem_state: true, translation: false, primary: 0, home: 0 };
        assert_eq!(machine.host(registers), Outcome::Done);
        for (r2, m3) in [(BLOCK, 0), (BLOCK + 1, 4), (u64::MAX, 0)] {
            let ended = machine.host(HostStep::Uvc(Uvc { r1: 0, r2, m3, m4: 0 }));
            assert_eq!(ended, Outcome::Program(Program { code: 0x02, teid: 0 }));
        }
        machine.translation(false);
    }
}

#[test]
fn d2_c1_c6_q17_immediate_fields_and_alignment() {
    let mut machine = Machine::new();
    assert_eq!(machine.store(BLOCK, &init(BASE)), Outcome::Done);
    for uvc in [
        Uvc { r1: 0, r2: BLOCK, m3: 4, m4: 0 },
        Uvc { r1: 0, r2: BLOCK, m3: 0, m4: 2 },
        Uvc { r1: 0, r2: u64::MAX, m3: 0, m4: 2 },
        Uvc { r1: 0, r2: BLOCK + 4, m3: 0, m4: 0 },
        Uvc { r1: 0, r2: u64::MAX, m3: 0, m4: 0 },
    ] {
        assert_eq!(machine.host(HostStep::Uvc(uvc)), Outcome::Program(Program { code: 0x06, teid: 0 }));
        assert!(!machine.state.initialised);
        assert_eq!(machine.load(BLOCK, 8), Outcome::Loaded(init(BASE)[..8].to_vec()));
    }
    let ended = machine.host(HostStep::Uvc(Uvc { r1: u64::MAX, r2: BLOCK, m3: 0, m4: 0 }));
    assert_eq!(ended, Outcome::Condition(0), "D3: R1 is ignored");
}

/// Virtual address of a good page in front of one that has no entry.
const LAST_GOOD: u64 = WINDOW + 254 * 4096;

#[test]
fn d2_c4_c5_header_then_block() {
    let mut machine = z17();
    machine.home_space();
    machine.translation(true);
    let invalid = machine.uvc(LAST_GOOD + 0x1000);
    assert_eq!(invalid, Outcome::Program(Program { code: 0x11, teid: (LAST_GOOD + 0x1000) | 0x403 }));
    for (command, length) in HOST {
        machine.state.initialised = true;
        let header = &block(command, length)[..8];
        assert_eq!(machine.store(LAST_GOOD + 0xff8, header), Outcome::Done);
        assert_eq!(code(&machine.uvc(LAST_GOOD + 0xff8)), 0x11, "{command:#x}");
        assert_eq!(machine.load(LAST_GOOD + 0xff8, 8), Outcome::Loaded(header.to_vec()), "nothing is stored");
    }
    // What the header alone decides needs no more of the block.
    for (header, rc) in [(block(0x4242, 8), 2), (block(0x100, 0x88), 5)] {
        assert_eq!(machine.store(LAST_GOOD + 0xff8, &header[..8]), Outcome::Done);
        assert_eq!(machine.uvc(LAST_GOOD + 0xff8), Outcome::Condition(1));
        assert_eq!(machine.load(LAST_GOOD + 0xffc, 4), Outcome::Loaded(vec![0, rc, 0, 0]));
    }
}

#[test]
fn d2_c7_c9_d14_unknown_and_foreign_commands_go_before_state_and_length() {
    let mut machine = z17();
    let unknown = [(0x4242, 8), (0x0000, 0), (0xffff, 0xffff)];
    for (command, length) in MISSING.into_iter().chain(GUEST).chain(unknown) {
        for length in [length, 8] {
            assert_eq!(machine.call(&rubbish(command, length)[..8]).0, (1, 0x0002, 0), "{command:#x}");
        }
    }
}

#[test]
fn d14_c11_d15_commands_that_a_machine_does_not_have() {
    let mut without = Machine::of(Setup { without: vec![0x202, 0x0001], ..setup(16) });
    assert_eq!(without.call(&rubbish(0x202, 0x20)).0, (1, 0x0002, 0));
    assert_eq!(without.call(&rubbish(0x001, 0x120)).0, (1, 0x0002, 0));
    assert_eq!(without.call(&rubbish(0x201, 0x20)).0, (1, 0x0003, 0));
    for (generation, command, length, rc) in
        [(15, 0x102, 0x48, 2), (16, 0x102, 0x48, 3), (16, 0x002, 0x200, 2), (17, 0x002, 0x200, 1)]
    {
        let mut machine = Machine::of(setup(generation));
        assert_eq!(machine.call(&rubbish(command, length)).0.1, rc, "z{generation} {command:#x}");
    }
}

#[test]
fn d2_q18_i31_c12_state_goes_before_length_and_operands() {
    let mut machine = z17();
    for (command, length) in HOST.into_iter().filter(|(command, _)| !NOT_BEFORE_INIT.contains(command)) {
        for length in [length, 8] {
            assert_eq!(machine.call(&rubbish(command, length)).0, (1, 0x0003, 0), "{command:#x}");
        }
    }
}

#[test]
fn d2_q16_lengths_are_exact_and_go_before_handles() {
    let (mut machine, configuration, cpu) = Machine::with_cpu();
    machine.state.setup = std::sync::Arc::new(setup(17));
    for (command, length) in HOST.into_iter().skip(1) {
        for length in [length - 8, length + 8, length + 1, 0] {
            let (answer, after) = machine.call(&rubbish(command, length));
            assert_eq!(answer, (1, 0x0005, 0), "{command:#x}, {length:#x}");
            assert!(after[8..].iter().all(|&byte| byte == 0xa5));
        }
    }
    assert!(machine.state.configurations.contains_key(&configuration) && machine.state.cpus.contains_key(&cpu));
}

#[test]
fn d2_d15_c34_c44_c47_handles_go_before_the_command() {
    let (mut machine, configuration, cpu) = Machine::with_cpu();
    let number = 0xffff;
    for bit in 0..64 {
        let (other, other_cpu) = (configuration.0 ^ 1 << bit, cpu.0 ^ 1 << bit);
        let create = create_cpu(configuration).with_u16(0x36, number).with(0x20, other);
        assert_eq!(machine.call(&create).0, (1, 0x20, 0));
        let with = |code, length, handle| handle_block(code, length, uvsim_oracle::ids::Handle(handle));
        assert_eq!(machine.call(&with(0x101, 0x40, other)).0, (1, 0x20, 0));
        assert_eq!(machine.call(&with(0x102, 0x48, other)).0, (1, 0x20, 0));
        assert_eq!(machine.call(&with(0x121, 0x40, other_cpu)).0, (1, 0x21, 0));
    }
    assert_eq!(machine.call(&handle_block(0x101, 0x40, cpu)).0, (1, 0x20, 0), "names of two kinds");
    assert_eq!(machine.call(&handle_block(0x121, 0x40, configuration)).0, (1, 0x21, 0));
}

fn inject(machine: &mut Machine, command: u16, injection: Injection) {
    assert_eq!(machine.take(&Step::Inject { command, injection }), Outcome::Done);
}

#[test]
fn d17_q19_d3_c14_injected_answers_change_nothing() {
    let (mut machine, configuration) = Machine::with_configuration();
    let destroy = handle_block(0x101, 0x40, configuration);
    inject(&mut machine, 0x101, Injection::Partial(1));
    inject(&mut machine, 0x101, Injection::Busy(2));
    let strange = handle_block(0x101, 0x40, uvsim_oracle::ids::Handle(1));
    assert_eq!(machine.call(&strange).0, (1, 0x20, 0), "handles are looked at before");
    let mut marked = destroy.clone();
    marked[4..8].copy_from_slice(&[9, 8, 7, 6]);
    for condition in [2, 2, 3] {
        let configurations = machine.state.configurations.clone();
        let (answer, after) = machine.call(&marked);
        assert_eq!((answer.0, &after), (condition, &marked), "not even codes are stored");
        assert_eq!(machine.state.configurations, configurations);
    }
    assert_eq!(machine.call(&destroy).0, (0, 1, 0));
    assert_eq!(machine.call(&destroy).0, (1, 0x20, 0), "C48");
}

#[test]
fn d17_d4_a_late_failure_leaves_a_configuration() {
    let mut machine = Machine::initialised();
    machine.home_space();
    inject(&mut machine, 0x100, Injection::LateFailure);
    let good = machine.create();
    assert_eq!(machine.call(&good.clone().with(0x48, 0)).0, (1, 0x10c, 0), "a plain refusal does not use it up");
    let (answer, after) = machine.call(&good);
    assert_eq!(answer, (1, 0x810f, 0));
    assert_eq!(machine.rules, ["D17"]);
    let handle = uvsim_oracle::ids::Handle(support::u64_at(&after, 0x18));
    assert_eq!(machine.call(&handle_block(0x101, 0x40, handle)).0, (0, 1, 0));
    assert_eq!(machine.call(&good).0, (0, 1, 0));
}

#[test]
fn d3_the_answer_is_stored_where_the_block_was_found() {
    let mut machine = Machine::initialised();
    machine.home_space();
    // The block is in two frames that lie apart, cut inside the handle that is returned.
    machine.put(support::HOME + 0x8000 + 8, VARIABLE + 0x50_0000);
    let at = WINDOW + 0x1000 - 0x1c;
    let create = machine.create().with(0x28, WINDOW + 0x10000);
    machine.translation(true);
    let at = at & !7;
    assert_eq!(machine.store(at, &create), Outcome::Done);
    assert_eq!(machine.uvc(at), Outcome::Condition(0));
    let Outcome::Loaded(after) = machine.load(at, 0x80) else { panic!("readable") };
    assert_eq!(after[4..8], [0, 1, 0, 0]);
    assert_eq!(after[8..0x18], create[8..0x18]);
    assert_eq!(after[0x20..], create[0x20..], "reserved and input bytes stay");
    let handle = uvsim_oracle::ids::Handle(support::u64_at(&after, 0x18));
    assert!(machine.state.configurations.contains_key(&handle));
}

#[test]
fn d5_blocks_in_areas_that_are_being_donated() {
    let mut machine = Machine::new();
    let at = BASE + 98 * MIB - 4096;
    assert_eq!(machine.store(at, &init(BASE)), Outcome::Done);
    assert_eq!(machine.uvc(at), Outcome::Condition(1));
    assert_eq!(machine.rules, ["D5"]);
    assert_eq!(machine.load(at + 4, 4), Outcome::Loaded(vec![1, 5, 0, 0]));
    assert!(!machine.state.initialised);

    let mut machine = Machine::initialised();
    machine.home_space();
    let create = machine.create();
    machine.translation(true);
    for (at, rc) in [(support::CONFIGURATION + 0xf000, 0x108), (VARIABLE + 0x13f80, 0x10b)] {
        assert_eq!(machine.store(at, &create), Outcome::Done);
        assert_eq!(machine.uvc(at), Outcome::Condition(1));
        assert_eq!(machine.rules, ["D5"]);
        assert_eq!(machine.load(at + 4, 2), Outcome::Loaded(vec![1, rc as u8]));
    }
    machine.translation(false);
    let (answer, after) = machine.call(&create);
    assert_eq!(answer, (0, 1, 0));
    let handle = uvsim_oracle::ids::Handle(support::u64_at(&after, 0x18));
    assert_eq!(machine.store(support::CPU, &create_cpu(handle)), Outcome::Done);
    assert_eq!(machine.uvc(support::CPU), Outcome::Condition(1));
    assert_eq!(machine.rules, ["D5"]);
}

#[test]
fn native_byte_order_of_blocks() {
    let mut machine = Machine::of(Setup { big_endian: false, ..setup(16) });
    let mut block = vec![0; 0x48];
    block[..2].copy_from_slice(&0x48_u16.to_le_bytes());
    block[2..4].copy_from_slice(&0x0f_u16.to_le_bytes());
    block[0x18..0x20].copy_from_slice(&BASE.to_le_bytes());
    block[0x20..0x28].copy_from_slice(&(98 * MIB).to_le_bytes());
    assert_eq!(machine.store(BLOCK, &block), Outcome::Done);
    assert_eq!(machine.uvc(BLOCK), Outcome::Condition(0));
    assert_eq!(machine.load(BLOCK + 4, 4), Outcome::Loaded(vec![1, 0, 0, 0]));
}

#[test]
fn cpus_count_one_by_one() {
    let mut machine = Machine::new();
    let second = CpuNumber(1);
    assert_eq!(machine.take(&Step::Start(second)), Outcome::Done);
    assert_eq!(machine.init(), (1, 0x102, 0), "C29");
    assert_eq!(machine.take(&Step::Stop(second)), Outcome::Done);
    assert_eq!(machine.init(), (0, 1, 0));
}
