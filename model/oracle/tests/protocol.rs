//! CPU states, CPU resets and the reset protocol.

mod machine;

use machine::*;
use uvsim_oracle::ids::{CpuNumber, Handle};
use uvsim_oracle::state::{Boot, Pending, Registers, Run, SecureCpu};

impl Machine {
    /// CPU_SET_STATE.
    fn set_state(&mut self, cpu: Handle, state: u8) -> Answer {
        self.call(SET_STATE, &[cpu.0, state.into()])
    }

    /// A CPU.
    fn cpu(&self, cpu: Handle) -> &SecureCpu {
        &self.state.cpus[&cpu]
    }

    /// A second CPU of a configuration.
    fn second_cpu(&mut self, owner: Handle) -> Handle {
        let first = self.cpu_of(owner);
        let second = Handle(first.0 ^ 0xf0_0000);
        let cpu = SecureCpu { number: 1, ..self.cpu(first).clone() };
        self.state.cpus.insert(second, cpu);
        self.state.configurations[&owner].cpus.insert(1, second);
        second
    }

    /// A guest has issued diagnose 0x308 (its own tests are those of guest CPUs).
    fn asked(&mut self, subcode: u64) {
        self.state.configurations[&ALPHA].reset.pending = Some(Pending { subcode: Some(subcode), prepared: false });
    }

    fn pending(&self) -> Option<Pending> {
        self.state.configurations[&ALPHA].reset.pending
    }
}

fn noisy() -> Registers {
    Registers {
        psw: (1, 2),
        prefix: 0x8000,
        general: [3; 16],
        control: [4; 16],
        access: [5; 16],
        cpu_timer: 6,
        clock_comparator: 7,
        floating_point_control: 8,
        tod_programmable: 9,
    }
}

#[test]
fn q14_d43_the_three_resets() {
    let mut control = [0; 16];
    control[0] = 0xe0;
    control[14] = 0xc200_0000;
    let initial = Registers { control, general: [3; 16], access: [5; 16], ..Registers::default() };
    let clear = Registers { control, ..Registers::default() };
    for (command, registers) in [(RESET, noisy()), (RESET_INITIAL, initial), (RESET_CLEAR, clear)] {
        let mut machine = Machine::new();
        let cpu = machine.cpu_of(ALPHA);
        machine.state.cpus[&cpu].registers = noisy();
        machine.resident(ALPHA, 3, 0x200, filled(1));
        assert_eq!(machine.call(command, &[cpu.0]), DONE);
        assert_eq!((&machine.cpu(cpu).registers, machine.cpu(cpu).run), (&registers, Run::Stopped));
        assert_eq!(machine.bytes(0x200), filled(1), "D43");
    }
}

#[test]
fn q14_d13_resets_of_a_cpu_that_is_not_stopped() {
    for command in [RESET, RESET_INITIAL, RESET_CLEAR] {
        let mut machine = Machine::new();
        let cpu = machine.cpu_of(ALPHA);
        for run in [Run::Operating, Run::CheckStop] {
            machine.state.cpus[&cpu].run = run;
            assert_eq!(machine.call(command, &[cpu.0]), refused(0x103), "{run:?}");
            assert!(machine.by("Q14"));
        }
        machine.state.cpus[&cpu].in_sie = Some(CpuNumber(0));
        assert_eq!(machine.call(command, &[cpu.0]), refused(0x103));
        assert!(machine.by("D13"));
    }
}

#[test]
fn q14_states_of_a_cpu() {
    let mut machine = Machine::new();
    let cpu = machine.cpu_of(ALPHA);
    for (state, run) in [(1, Run::Operating), (3, Run::CheckStop), (2, Run::Stopped), (1, Run::Operating)] {
        assert_eq!(machine.set_state(cpu, state), DONE);
        assert_eq!(machine.cpu(cpu).run, run);
    }
    for state in [0, 4, 6, 255] {
        assert_eq!(machine.set_state(cpu, state), refused(0x102), "{state}");
        assert!(machine.by("Q14"));
    }
}

#[test]
fn d13_c65_the_first_load_takes_the_psw_of_the_image() {
    let mut machine = Machine::new();
    let cpu = machine.cpu_of(ALPHA);
    assert_eq!(machine.set_state(cpu, 5), DONE);
    assert_eq!((machine.cpu(cpu).run, machine.cpu(cpu).registers.psw), (Run::Operating, (1, 2)));
    assert!(!machine.cpu(cpu).load_pending);
    assert_eq!(machine.set_state(cpu, 5), refused(0x103), "not stopped");
    assert!(machine.by("D13"));
}

#[test]
fn d13_order_of_the_checks_of_cpu_set_state() {
    let mut machine = Machine::new();
    let cpu = machine.cpu_of(ALPHA);
    machine.state.configurations[&ALPHA].boot = Boot::Created;
    machine.state.cpus[&cpu].run = Run::Operating;
    machine.state.cpus[&cpu].in_sie = Some(CpuNumber(0));
    assert_eq!(machine.set_state(cpu, 4), refused(0x102));
    assert_eq!(machine.set_state(cpu, 5), refused(0x103));
    assert_eq!(machine.set_state(cpu, 2), refused(0x103));
    machine.state.cpus[&cpu].in_sie = None;
    assert_eq!(machine.set_state(cpu, 5), refused(0x104), "not verified, before not stopped");
    assert_eq!(machine.set_state(cpu, 1), DONE, "any live configuration");
}

#[test]
fn q15_d13_prepare_reset_wants_stopped_cpus_and_unshare_all_since() {
    let mut machine = Machine::new();
    let cpu = machine.cpu_of(ALPHA);
    assert_eq!(machine.call(PREPARE, &[ALPHA.0]), refused(0x102));
    assert!(machine.by("D13"));
    machine.set_state(cpu, 1);
    assert_eq!(machine.call(PREPARE, &[ALPHA.0]), refused(0x101));
    assert!(machine.by("Q15"));
    machine.set_state(cpu, 2);
    assert_eq!(machine.call(UNSHARE_ALL, &[ALPHA.0]), DONE);
    machine.set_state(cpu, 1);
    machine.set_state(cpu, 2);
    assert_eq!(machine.call(PREPARE, &[ALPHA.0]), refused(0x102), "a CPU has operated since");
    machine.call(UNSHARE_ALL, &[ALPHA.0]);
    assert_eq!(machine.call(PREPARE, &[ALPHA.0]), DONE);
    assert_eq!(machine.call(PREPARE, &[ALPHA.0]), DONE);
}

#[test]
fn d79_i36_c98_the_protocol_in_order() {
    for asked in [Some(0), Some(1), None] {
        let mut machine = Machine::new();
        let cpu = machine.cpu_of(ALPHA);
        machine.set_state(cpu, 5);
        machine.state.cpus[&cpu].registers = noisy();
        if let Some(subcode) = asked {
            machine.asked(subcode);
        }
        machine.set_state(cpu, 2);
        machine.call(UNSHARE_ALL, &[ALPHA.0]);
        if asked.is_some() {
            assert_eq!(machine.set_state(cpu, 5), refused(0x104), "before PREPARE_RESET");
            assert!(machine.by("I-36"));
        }
        assert_eq!(machine.call(PREPARE, &[ALPHA.0]), DONE);
        assert_eq!(machine.set_state(cpu, 5), refused(0x104), "before the CPU reset");
        assert_eq!(machine.set_state(cpu, 1), DONE);
        assert!(machine.pending().is_some(), "state 1 does not move the protocol");
        assert_eq!(machine.set_state(cpu, 2), DONE);
        assert_eq!(machine.call(RESET, &[cpu.0]), DONE);
        assert_eq!(machine.set_state(cpu, 5), refused(0x104), "a normal reset is not enough");
        assert_eq!(machine.call(RESET_INITIAL, &[cpu.0]), DONE);
        if asked == Some(0) {
            assert_eq!(machine.set_state(cpu, 5), refused(0x104), "subcode 0 wants clear resets");
            assert_eq!(machine.call(RESET_CLEAR, &[cpu.0]), DONE);
        }
        assert_eq!(machine.set_state(cpu, 5), DONE);
        assert_eq!(machine.pending(), None);
        assert!(machine.cpu(cpu).load_pending, "the PSW comes from guest absolute 0");
    }
}

#[test]
fn d79_a_cpu_reset_before_prepare_reset_does_not_count() {
    let mut machine = Machine::new();
    let cpu = machine.cpu_of(ALPHA);
    machine.asked(0);
    assert_eq!(machine.call(RESET_CLEAR, &[cpu.0]), DONE);
    machine.call(UNSHARE_ALL, &[ALPHA.0]);
    assert_eq!(machine.call(PREPARE, &[ALPHA.0]), DONE);
    assert_eq!(machine.set_state(cpu, 5), refused(0x104));
    assert_eq!(machine.call(RESET_CLEAR, &[cpu.0]), DONE);
    assert_eq!(machine.call(PREPARE, &[ALPHA.0]), DONE, "resets start over");
    assert_eq!(machine.set_state(cpu, 5), refused(0x104));
    assert_eq!(machine.call(RESET_CLEAR, &[cpu.0]), DONE);
    assert_eq!(machine.set_state(cpu, 5), DONE);
}

#[test]
fn d79_a_forgotten_cpu_does_not_hold_the_load_up_but_stays_out() {
    let mut machine = Machine::new();
    let (cpu, other) = (machine.cpu_of(ALPHA), machine.second_cpu(ALPHA));
    machine.call(UNSHARE_ALL, &[ALPHA.0]);
    machine.call(PREPARE, &[ALPHA.0]);
    machine.call(RESET_INITIAL, &[cpu.0]);
    assert_eq!(machine.set_state(cpu, 5), DONE);
    assert_eq!((machine.cpu(cpu).owed, machine.pending()), (None, None));
    assert!(matches!(machine.cpu(other).owed, Some((_, false))));
    assert_eq!(machine.set_state(other, 5), refused(0x104));
    assert_eq!(machine.call(RESET, &[other.0]), DONE);
    assert_eq!(machine.cpu(other).owed, None);
    assert_eq!(machine.set_state(other, 1), DONE);
}

#[test]
fn d79_for_subcode_0_a_forgotten_cpu_needs_a_clear_reset() {
    let mut machine = Machine::new();
    let (cpu, other) = (machine.cpu_of(ALPHA), machine.second_cpu(ALPHA));
    machine.asked(0);
    machine.call(UNSHARE_ALL, &[ALPHA.0]);
    machine.call(PREPARE, &[ALPHA.0]);
    assert_eq!(machine.call(RESET_CLEAR, &[cpu.0]), DONE);
    assert_eq!(machine.call(RESET_INITIAL, &[other.0]), DONE);
    assert_eq!(machine.set_state(cpu, 5), DONE);
    assert_eq!(machine.call(RESET_INITIAL, &[other.0]), DONE);
    assert!(matches!(machine.cpu(other).owed, Some((_, false))));
    assert_eq!(machine.call(RESET_CLEAR, &[other.0]), DONE);
    assert_eq!(machine.cpu(other).owed, None);
}

#[test]
fn d79_of_several_cpu_resets_the_strongest_counts() {
    let mut machine = Machine::new();
    let (cpu, other) = (machine.cpu_of(ALPHA), machine.second_cpu(ALPHA));
    machine.call(UNSHARE_ALL, &[ALPHA.0]);
    machine.call(PREPARE, &[ALPHA.0]);
    for (command, cpu) in [(RESET_INITIAL, cpu), (RESET, cpu), (RESET, other)] {
        assert_eq!(machine.call(command, &[cpu.0]), DONE);
    }
    assert_eq!(machine.set_state(cpu, 5), DONE);
    assert_eq!((machine.cpu(cpu).owed, machine.cpu(other).owed), (None, None), "nobody owes anything any more");
}

#[test]
fn d79_a_second_load_after_a_reset_takes_the_psw_at_0_too() {
    let mut machine = Machine::new();
    let (cpu, other) = (machine.cpu_of(ALPHA), machine.second_cpu(ALPHA));
    assert_eq!(machine.set_state(cpu, 5), DONE);
    assert!(!machine.cpu(cpu).load_pending, "the first start takes that of the image");
    machine.set_state(cpu, 2);
    machine.call(UNSHARE_ALL, &[ALPHA.0]);
    machine.call(PREPARE, &[ALPHA.0]);
    machine.call(RESET_CLEAR, &[cpu.0]);
    machine.call(RESET_CLEAR, &[other.0]);
    for cpu in [cpu, other] {
        assert_eq!(machine.set_state(cpu, 5), DONE);
        assert!(machine.cpu(cpu).load_pending);
    }
    machine.set_state(cpu, 2);
    assert_eq!(machine.call(RESET, &[cpu.0]), DONE);
    assert!(machine.cpu(cpu).load_pending, "a normal reset leaves the PSW alone");
    assert_eq!(machine.call(RESET_INITIAL, &[cpu.0]), DONE);
    assert!(!machine.cpu(cpu).load_pending, "an initial one makes it zero");
}

#[test]
fn d43_a_reset_keeps_all_rows() {
    let mut machine = Machine::new();
    let cpu = machine.cpu_of(ALPHA);
    machine.resident(ALPHA, 3, 0x200, filled(1));
    machine.resident(ALPHA, 4, 0x201, filled(2));
    machine.export(0x201);
    let rows = machine.state.configurations[&ALPHA].pages.clone();
    machine.call(UNSHARE_ALL, &[ALPHA.0]);
    machine.call(PREPARE, &[ALPHA.0]);
    machine.call(RESET_CLEAR, &[cpu.0]);
    assert_eq!(machine.set_state(cpu, 5), DONE);
    assert_eq!(machine.state.configurations[&ALPHA].pages, rows);
    assert_eq!(machine.bytes(0x200), filled(1));
}
