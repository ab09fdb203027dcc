//! A witness is told every step at the surface of a machine, once, and nothing that lies within a step.

mod support;

use parking_lot::Mutex;
use std::sync::Arc;
use support::{DONE, Host, config, refused};
use uvsim_model::address::{AbsoluteAddress, GuestAddress, PageIndex, VirtualAddress};
use uvsim_model::cpu::{Diagnose, Interception, SieExit, Uvc};
use uvsim_model::crypto::Counter;
use uvsim_model::storage::{Asce, ProgramCode};
use uvsim_model::uvc::Command;
use uvsim_model::witness::{GuestStep, HostStep, Outcome, Step, Witness};
use uvsim_model::{Injection, Machine, Reset, StateDigest};

/// Writes down what it is told, and that the machine can be looked at.
#[derive(Default)]
struct Clerk(Mutex<Vec<String>>);

impl Witness for Clerk {
    fn witness(&self, machine: &Machine, step: &Step<'_>, outcome: &Outcome<'_>) {
        // Takes every lock that a look can take.
        machine.check_invariants().unwrap();
        for handle in machine.configurations() {
            machine.configuration(handle).unwrap();
        }
        self.0.lock().push(words(step, outcome));
    }
}

fn words(step: &Step<'_>, outcome: &Outcome<'_>) -> String {
    let step = match step {
        Step::Host(cpu, HostStep::Store(at, bytes)) => format!("{cpu} stores {} at {:#x}", bytes.len(), at.0),
        Step::Host(cpu, HostStep::Load(at, length, kind)) => format!("{cpu} loads {length} at {:#x}, {kind:?}", at.0),
        Step::Host(cpu, HostStep::Uvc(it)) => format!("{cpu} calls {:#x}", it.r2),
        Step::Host(cpu, HostStep::Registers(_)) => format!("{cpu} registers"),
        Step::Host(cpu, HostStep::Enter(_)) => format!("{cpu} enters"),
        Step::Guest(cpu, GuestStep::Store(at, bytes)) => format!("{cpu} guest stores {} at {:#x}", bytes.len(), at.0),
        Step::Guest(cpu, GuestStep::Load(at, length)) => format!("{cpu} guest loads {length} at {:#x}", at.0),
        Step::Guest(cpu, GuestStep::Uvc(it)) => format!("{cpu} guest calls {:#x}", it.r2),
        step => format!("{step:x?}"),
    };
    match outcome {
        Outcome::Answered(it) => format!("{step}: {:#x} cc {} rc {:#x}", it.command, it.cc as u8, it.rc),
        Outcome::Loaded(bytes) => format!("{step}: {bytes:02x?}"),
        outcome => format!("{step}: {outcome:x?}"),
    }
}

fn watched() -> (Machine, Arc<Clerk>) {
    let mut machine = Machine::new(config()).unwrap();
    let clerk = Arc::<Clerk>::default();
    machine.watch(clerk.clone());
    (machine, clerk)
}

impl Clerk {
    fn take(&self) -> Vec<String> {
        core::mem::take(&mut *self.0.lock())
    }
}

#[test]
fn each_step_is_told_once_and_what_it_does_on_its_way_is_not() {
    let (machine, clerk) = watched();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    clerk.take();
    // A block across two pages is probed and loaded on the way.
    host.block(0x2_0ff8, Command::ConvToSecStor.code(), 0x28, &[(0x18, 8, guest.handle), (0x20, 8, 0x3000)]);
    assert_eq!(host.issue(0x2_0ff8).unwrap(), refused(0x10a));
    assert_eq!(
        clerk.take(),
        [
            "0 stores 40 at 0x20ff8: Done",
            "0 calls 0x20ff8: 0x200 cc 1 rc 0x10a",
            "0 loads 4 at 0x20ffc, Fetch: [01, 0a, 00, 00]",
        ]
    );
    // The entry reads the state description and both prefix pages; the exit writes to it.
    let mut cpu = host.enter(&guest).unwrap();
    cpu.store(GuestAddress(0x10), &[7; 8]).unwrap();
    let mut bytes = [0; 2];
    cpu.load(GuestAddress(0x10), &mut bytes).unwrap();
    cpu.prefetch(GuestAddress(0x1000));
    cpu.set_general(2, 3);
    cpu.diagnose(Diagnose::new(Diagnose::KVM)).unwrap_err();
    drop(cpu);
    let told = clerk.take();
    let exit = Outcome::Guest(uvsim_model::cpu::GuestEvent::Exit(SieExit::Interception(Interception {
        code: 104,
        ipa: 0x8302,
        ipb: 0x5000_0000,
    })));
    let diagnose = Step::Guest(0, GuestStep::Diagnose(Diagnose::new(Diagnose::KVM)));
    assert_eq!(
        told,
        [
            "0 registers: Done".to_string(),
            "0 enters: Done".into(),
            "0 guest stores 8 at 0x10: Done".into(),
            "0 guest loads 2 at 0x10: [07, 07]".into(),
            words(&Step::Guest(0, GuestStep::Prefetch(GuestAddress(0x1000))), &Outcome::Done),
            words(&Step::Guest(0, GuestStep::General(2, 3)), &Outcome::Done),
            words(&diagnose, &exit),
            words(&Step::Guest(0, GuestStep::Leave), &Outcome::Done),
        ]
    );
    drop(host);
    assert_eq!(clerk.take(), ["Stop(0): Done"]);
}

#[test]
fn an_entry_that_fails_is_told_without_a_leave() {
    let (machine, clerk) = watched();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    // The checks of the description fail; then, behind them, the prefix page is missing.
    clerk.take();
    assert!(host.cpu.enter(VirtualAddress(guest.state_description + 0x1000)).is_err());
    host.unmap(&guest, PageIndex(1));
    clerk.take();
    assert!(host.enter(&guest).is_err());
    let told = clerk.take();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[1].starts_with("0 enters: Exit"), "{told:?}");
}

#[test]
fn accesses_that_would_take_the_short_way_are_told_as_well() {
    let (machine, clerk) = watched();
    let mut host = Host::new(&machine);
    // One segment of a 1 MiB frame for each of the first two MiB.
    for index in 0..2048 {
        host.store_u64(0x4000 + index * 8, if index < 2 { index << 20 | 0x400 } else { 0x20 });
    }
    host.cpu.set_home(Asce(0x4000));
    host.cpu.set_translation(true);
    clerk.take();
    for _ in 0..2 {
        host.store(0x10_0000, &[1]);
        host.load(0x10_0000, 1).unwrap();
        host.cpu.fetch_instruction(VirtualAddress(0x10_0000), &mut [0]).unwrap();
    }
    let once = [
        "0 stores 1 at 0x100000: Done",
        "0 loads 1 at 0x100000, Fetch: [01]",
        "0 loads 1 at 0x100000, Instruction: [01]",
    ];
    assert_eq!(clerk.take(), [once, once].concat());
}

#[test]
fn what_concerns_the_whole_machine_is_told() {
    let (machine, clerk) = watched();
    machine.advance_clock(5);
    machine.inject(Command::QueryUvInformation, Injection::Busy(1));
    machine.channel().write(AbsoluteAddress(0x1000), &[9; 2]).unwrap();
    machine.channel().read(AbsoluteAddress(0x1000), &mut [0; 2]).unwrap();
    machine.channel().read(AbsoluteAddress(u64::MAX), &mut [0]).unwrap_err();
    assert!(!machine.preset_counter(7, PageIndex(0), Counter::FIRST));
    assert!(machine.cpu(99).is_err());
    {
        let mut first = machine.cpu(0).unwrap();
        let _second = machine.cpu(1).unwrap();
        assert!(machine.cpu(1).is_err());
        assert!(first.reset_machine(Reset::Clear).is_err());
    }
    let mut cpu = machine.cpu(0).unwrap();
    cpu.reset_machine(Reset::LoadNormal).unwrap();
    cpu.set_problem_state(true);
    assert_eq!(cpu.uvc(Uvc::at(VirtualAddress(0))).unwrap_err().code, ProgramCode::PrivilegedOperation);
    cpu.ptlb().unwrap_err();
    let told = clerk.take();
    let wanted = [
        "Clock(5): Done",
        "Inject(QueryUvInformation, Busy(1)): Done",
        "ChannelWrite",
        "ChannelRead",
        "ChannelRead",
        "PresetCounter",
        "Start(63): Impossible",
        "Start(0): Done",
        "Start(1): Done",
        "Start(1): Impossible",
        "Host(0, ResetMachine(Clear)): Impossible",
        "Stop(1): Done",
        "Stop(0): Done",
        "Start(0): Done",
        "Host(0, ResetMachine(LoadNormal)): Done",
        "0 registers: Done",
        "0 calls 0x0: Program",
        "Host(0, Ptlb): Program",
    ];
    assert_eq!(told.len(), wanted.len(), "{told:#?}");
    for (told, wanted) in told.iter().zip(wanted) {
        assert!(told.starts_with(wanted), "{told}, not {wanted}");
    }
}

/// The long way and the short way lead to the same place.
#[test]
fn a_watched_machine_does_the_same() {
    let run = |machine: &Machine| -> (StateDigest, Vec<u8>) {
        let mut host = Host::ready(machine);
        let guest = host.start(1);
        let page = PageIndex(3);
        let frame = host.resident(&guest, page);
        let mut cpu = host.enter(&guest).unwrap();
        for at in [0x3000, 0x3008, 0x3ff8] {
            cpu.store(GuestAddress(at), &at.to_be_bytes()).unwrap();
        }
        let mut bytes = vec![0; 0x1000];
        cpu.load(GuestAddress(0x3000), &mut bytes).unwrap();
        drop(cpu);
        assert_eq!(host.export(frame), DONE);
        assert_eq!(host.import(&guest, page), DONE);
        (machine.state_digest(None), bytes)
    };
    assert_eq!(run(&watched().0), run(&Machine::new(config()).unwrap()));
}
