//! Conformance, CPU states and resets: C98, C99, 3.9 of the interface as a table, D13, D43, D79, I-34, I-36.

#[path = "support/scene.rs"]
mod scene;
mod support;

use scene::{GUEST_BLOCK, code_and_address, interception, refused_entry};
use support::{Answer, DONE, Guest, Host, config, image, refused};
use uvsim_model::address::{FrameNumber, GuestAddress, PageIndex, VirtualAddress};
use uvsim_model::cpu::{Diagnose, GuestEvent, HostCpu, Interception, ValidityReason};
use uvsim_model::storage::ProgramCode;
use uvsim_model::uvc::Command;
use uvsim_model::{GuestRegisters, Machine, Psw, RunState};

const PREFIX: Interception = Interception { code: 112, ipa: 0, ipb: 0 };

fn validity(reason: ValidityReason) -> Interception {
    Interception { code: 32, ipa: 0, ipb: (reason as u32) << 16 }
}

/// The three resets, with the code of each in order of strength.
const RESETS: [Command; 3] = [Command::CpuReset, Command::CpuResetInitial, Command::CpuResetClear];

impl Host<'_> {
    fn cpu_call(&mut self, command: Command, cpu: u64) -> Answer {
        self.call(command, &[(0x18, 8, cpu)])
    }

    fn prepare_reset(&mut self, guest: &Guest) -> Answer {
        self.call(Command::PrepareReset, &[(0x18, 8, guest.handle)])
    }

    /// A second CPU of a guest, with blocks of its own.
    fn second_cpu(&mut self, guest: &Guest) -> Guest {
        let (cpu_storage, state_description, sida) =
            (self.allocate(0x1000), self.allocate(0x1000), self.allocate(0x1000));
        let mut second = Guest { cpu_storage, state_description, sida, ..guest.clone() };
        assert_eq!(self.call(Command::CreateSecCpu, &Self::cpu_fields(&second, 1)), DONE);
        second.cpu = self.output(0x18);
        self.store_u64(state_description + 0x10, second.cpu);
        self.store_u64(state_description + 0x18, guest.handle);
        self.store_u64(state_description + 0x180, sida);
        second
    }

    /// The guest asks for a reset with this subcode of diagnose 0x308.
    fn ask_for_reset(&mut self, guest: &Guest, subcode: u64) {
        let mut cpu = self.enter(guest).expect("the guest runs");
        cpu.set_general(2, subcode);
        let exit = interception(cpu.diagnose(Diagnose::new(Diagnose::IPL)));
        assert_eq!(exit, Interception { code: 108, ipa: 0x8302, ipb: 0x5000_0000 });
    }
}

/// A short PSW with both addressing-mode bits, as it lies at guest absolute 0, and what it means.
const SHORT_PSW: u64 = 0x0008_0001_8000_0000 | 0x4_2000;
const LONG_PSW: Psw = Psw { mask: 0x1_8000_0000, address: 0x4_2000 };

fn store_short_psw(host: &mut Host<'_>, guest: &Guest) {
    host.guest_store(guest, 0, &SHORT_PSW.to_be_bytes()).expect("page 0 is there");
}

#[test]
fn c98_i36_the_reset_protocol_step_by_step() {
    for subcode in [0, 1] {
        let machine = support::machine(config());
        let mut host = Host::ready(&machine);
        let guest = host.start(1);
        store_short_psw(&mut host, &guest);
        host.guest_store(&guest, 0x1800, b"kept").unwrap();
        let shared = host.shared(&guest, PageIndex(5), b"open");
        host.ask_for_reset(&guest, subcode);
        assert_eq!(host.load(guest.state_description + 0x380 + 2 * 8, 8).unwrap(), subcode.to_be_bytes());
        assert_eq!(host.load(guest.state_description + 0x380 + 5 * 8, 8).unwrap(), 0x308u64.to_be_bytes());
        let refused_until_done = |host: &mut Host<'_>, step: &str| {
            let before = machine.state_digest(None);
            assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::ResetPending), "{step}");
            host.store(guest.state_description + 0x50, &[108, 0, 0, 0, 0, 0, 0x83, 0x02, 0x50, 0, 0, 0]);
            assert_eq!(machine.state_digest(None), before, "{step}: the validity has changed the guest");
        };
        refused_until_done(&mut host, "no step");
        assert_eq!(host.set_state(&guest, 2), DONE);
        refused_until_done(&mut host, "stopped");
        assert_eq!(host.unshare_all(&guest), DONE);
        refused_until_done(&mut host, "unshared");
        assert_eq!(host.prepare_reset(&guest), DONE);
        refused_until_done(&mut host, "prepared");
        assert_eq!(host.cpu_call(if subcode == 0 { RESETS[2] } else { RESETS[1] }, guest.cpu), DONE);
        refused_until_done(&mut host, "reset");
        assert_eq!(machine.is_reset_pending(guest.handle), Some(true));
        assert_eq!(host.set_state(&guest, 5), DONE);
        assert_eq!(machine.is_reset_pending(guest.handle), Some(false));
        // The PSW at absolute 0 counts, not that of the header; memory is as it was, sharing is gone (D43).
        assert_eq!(host.enter(&guest).unwrap().psw(), LONG_PSW);
        assert_eq!(host.guest_load(&guest, 0x1800, 4).unwrap(), b"kept");
        assert_eq!(host.guest_load(&guest, 0x5000, 4).unwrap(), b"open");
        assert_eq!(host.page_bytes(shared).unwrap_err().code, ProgramCode::SecureStorageAccess);
        machine.check_invariants().unwrap();
    }
}

#[test]
fn d79_state_1_is_accepted_while_a_reset_is_pending_but_starts_nothing() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    host.ask_for_reset(&guest, 1);
    assert_eq!(host.set_state(&guest, 1), DONE);
    assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::ResetPending));
    assert_eq!(host.set_state(&guest, 2), DONE);
    assert_eq!(host.unshare_all(&guest), DONE);
    // The CPU operated for the Ultravisor, so unshare-all has to be repeated.
    assert_eq!(host.set_state(&guest, 1), DONE);
    assert_eq!(host.set_state(&guest, 2), DONE);
    host.refuse_unchanged(Command::PrepareReset, &[(0x18, 8, guest.handle)], refused(0x102));
    assert_eq!(host.unshare_all(&guest), DONE);
    assert_eq!(host.prepare_reset(&guest), DONE);
    assert_eq!(host.set_state(&guest, 1), DONE);
    assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::ResetPending));
}

#[test]
fn d79_prepare_reset_without_a_request_starts_the_same_sequence() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    store_short_psw(&mut host, &guest);
    assert_eq!(host.set_state(&guest, 2), DONE);
    assert_eq!(host.unshare_all(&guest), DONE);
    assert_eq!(host.prepare_reset(&guest), DONE);
    host.refuse_unchanged(Command::CpuSetState, &[(0x18, 8, guest.cpu), (0x27, 1, 5)], refused(0x104));
    // A normal reset is enough for a CPU that is only started, not for the one that is loaded.
    assert_eq!(host.cpu_call(Command::CpuReset, guest.cpu), DONE);
    host.refuse_unchanged(Command::CpuSetState, &[(0x18, 8, guest.cpu), (0x27, 1, 5)], refused(0x104));
    // Preparing again starts over.
    assert_eq!(host.cpu_call(Command::CpuResetInitial, guest.cpu), DONE);
    assert_eq!(host.prepare_reset(&guest), DONE);
    host.refuse_unchanged(Command::CpuSetState, &[(0x18, 8, guest.cpu), (0x27, 1, 5)], refused(0x104));
    assert_eq!(host.cpu_call(Command::CpuResetInitial, guest.cpu), DONE);
    assert_eq!(host.set_state(&guest, 5), DONE);
    assert_eq!(host.enter(&guest).unwrap().psw(), LONG_PSW);
}

#[test]
fn i36_a_cpu_that_was_not_reset_stays_out_of_sie() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let second = host.second_cpu(&guest);
    for (subcode, not_enough, enough) in [(0, RESETS[1], RESETS[2]), (1, Command::VerifyImg, RESETS[0])] {
        host.ask_for_reset(&guest, subcode);
        assert_eq!(host.set_state(&guest, 2), DONE);
        assert_eq!(host.set_state(&second, 2), DONE);
        assert_eq!(host.unshare_all(&guest), DONE);
        assert_eq!(host.prepare_reset(&guest), DONE);
        assert_eq!(host.cpu_call(Command::CpuResetClear, guest.cpu), DONE);
        assert_eq!(host.set_state(&guest, 5), DONE);
        assert!(host.enter(&guest).is_ok(), "the forgotten CPU does not hold this one up");
        assert_eq!(host.set_state(&second, 1), DONE);
        assert_eq!(refused_entry(host.enter(&second)), validity(ValidityReason::ResetPending));
        assert_eq!(host.set_state(&second, 2), DONE);
        let load = [(0x18, 8, second.cpu), (0x27, 1, 5)];
        host.refuse_unchanged(Command::CpuSetState, &load, refused(0x104));
        if RESETS.contains(&not_enough) {
            assert_eq!(host.cpu_call(not_enough, second.cpu), DONE);
            assert_eq!(host.set_state(&second, 1), DONE);
            assert_eq!(refused_entry(host.enter(&second)), validity(ValidityReason::ResetPending));
            assert_eq!(host.set_state(&second, 2), DONE);
        }
        assert_eq!(host.cpu_call(enough, second.cpu), DONE);
        assert_eq!(host.set_state(&second, 1), DONE);
        assert!(host.enter(&second).is_ok(), "subcode {subcode}");
    }
}

#[test]
fn i36_a_cpu_created_in_a_prepared_configuration_needs_its_reset_too() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    assert_eq!(host.set_state(&guest, 2), DONE);
    assert_eq!(host.unshare_all(&guest), DONE);
    assert_eq!(host.prepare_reset(&guest), DONE);
    let second = host.second_cpu(&guest);
    host.refuse_unchanged(Command::CpuSetState, &[(0x18, 8, second.cpu), (0x27, 1, 5)], refused(0x104));
    // Which CPU asked does not matter: the one that is loaded has to be reset.
    assert_eq!(host.cpu_call(Command::CpuResetInitial, second.cpu), DONE);
    assert_eq!(host.set_state(&second, 5), DONE);
    assert!(host.enter(&second).is_ok());
    assert_eq!(host.set_state(&guest, 1), DONE);
    assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::ResetPending));
}

#[test]
fn a_reset_before_the_first_start_still_leads_to_the_psw_of_the_header() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    assert_eq!(host.unshare_all(&guest), DONE);
    assert_eq!(host.prepare_reset(&guest), DONE);
    assert_eq!(host.cpu_call(Command::CpuResetClear, guest.cpu), DONE);
    host.refuse_unchanged(Command::CpuSetState, &[(0x18, 8, guest.cpu), (0x27, 1, 5)], refused(0x104));
    host.boot(&guest);
    let bytes = SHORT_PSW.to_be_bytes();
    let mut cpu = host.enter(&guest).unwrap();
    assert_ne!(cpu.psw(), LONG_PSW);
    cpu.store(GuestAddress(0), &bytes).unwrap();
    drop(cpu);
    let [mask, address] = image::PSW;
    assert_eq!(host.enter(&guest).unwrap().psw(), Psw { mask, address }, "that of the header");
}

#[test]
fn the_load_waits_for_page_0_and_takes_what_it_finds() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    // Not a valid short PSW: bit 12 is zero, so the long one has it.
    host.guest_store(&guest, 0, &0x1234u64.to_be_bytes()).unwrap();
    let mut cpu = host.enter(&guest).unwrap();
    interception(cpu.set_prefix(0x8000));
    drop(cpu);
    host.ask_for_reset_with_prefix(&guest);
    let frame = scene::record(&machine, &guest, PageIndex(0)).frame().unwrap();
    assert_eq!(host.export(frame), DONE);
    assert_eq!(host.set_state(&guest, 2), DONE);
    assert_eq!(host.unshare_all(&guest), DONE);
    assert_eq!(host.prepare_reset(&guest), DONE);
    assert_eq!(host.cpu_call(Command::CpuResetInitial, guest.cpu), DONE);
    assert_eq!(host.set_state(&guest, 5), DONE, "page 0 is paged out, and that is no reason to refuse");
    assert_eq!(refused_entry(host.enter(&guest)), PREFIX);
    assert_eq!(machine.cpu_registers(guest.cpu).unwrap().psw, Psw::default(), "not yet loaded");
    assert_eq!(host.import(&guest, PageIndex(0)), DONE);
    let psw = Psw { mask: 0x0008_0000_0000_0000, address: 0x1234 };
    assert_eq!(host.enter(&guest).unwrap().psw(), psw);
    // It is loaded once: what the guest stores there afterwards is only data.
    host.guest_store(&guest, 0, &SHORT_PSW.to_be_bytes()).unwrap();
    assert_eq!(host.enter(&guest).unwrap().psw(), psw);
}

/// A normal CPU reset leaves the PSW: that of a load too which the next entry reads. The others clear it.
#[test]
fn q14_a_normal_reset_leaves_the_load_of_the_psw_as_it_is() {
    for (command, psw) in [(Command::CpuReset, LONG_PSW), (Command::CpuResetInitial, Psw::default())] {
        let machine = support::machine(config());
        let mut host = Host::ready(&machine);
        let guest = host.start(1);
        store_short_psw(&mut host, &guest);
        assert_eq!(host.set_state(&guest, 2), DONE);
        assert_eq!(host.unshare_all(&guest), DONE);
        assert_eq!(host.prepare_reset(&guest), DONE);
        assert_eq!(host.cpu_call(Command::CpuResetInitial, guest.cpu), DONE);
        assert_eq!(host.set_state(&guest, 5), DONE);
        assert_eq!(host.set_state(&guest, 2), DONE);
        assert_eq!(host.cpu_call(command, guest.cpu), DONE);
        assert_eq!(host.set_state(&guest, 1), DONE);
        assert_eq!(host.enter(&guest).unwrap().psw(), psw);
    }
}

#[test]
fn an_injection_meets_the_psw_that_is_still_to_be_loaded() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    // External interruptions are enabled; of their subclasses a clear reset leaves the interrupt key on.
    host.guest_store(&guest, 0, &(SHORT_PSW | Psw::EXTERNAL).to_be_bytes()).unwrap();
    host.guest_store(&guest, 0x1b8, &0x5555u64.to_be_bytes()).unwrap();
    let old = Psw { mask: LONG_PSW.mask | Psw::EXTERNAL, ..LONG_PSW };
    assert_eq!(host.set_state(&guest, 2), DONE);
    assert_eq!(host.unshare_all(&guest), DONE);
    assert_eq!(host.prepare_reset(&guest), DONE);
    assert_eq!(host.cpu_call(Command::CpuResetClear, guest.cpu), DONE);
    assert_eq!(host.set_state(&guest, 5), DONE);
    let inject = |host: &mut Host<'_>, code: [u8; 2]| {
        host.store(guest.state_description + 0xc6, &code);
        host.store(guest.state_description + 0x55, &[2]);
    };
    inject(&mut host, [0x12, 0x02]);
    assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::NotEnabled));
    assert_eq!(machine.cpu_registers(guest.cpu).unwrap().psw, Psw::default(), "a validity loads nothing");
    inject(&mut host, [0x00, 0x40]);
    assert_eq!(host.enter(&guest).unwrap().psw(), Psw { mask: 0, address: 0x5555 });
    let stored = [old.mask.to_be_bytes(), old.address.to_be_bytes()].concat();
    assert_eq!(host.guest_load(&guest, 0x130, 16).unwrap(), stored);
    assert_eq!(host.enter(&guest).unwrap().psw().address, 0x5555, "both happened once");
}

impl Host<'_> {
    /// Imports the prefix area at 0x8000 and asks for a normal reset.
    fn ask_for_reset_with_prefix(&mut self, guest: &Guest) {
        for page in [8, 9] {
            self.resident(guest, PageIndex(page));
        }
        self.ask_for_reset(guest, 1);
    }
}

/// Registers that a reset can be seen by; the prefix area at 0x8000 is there.
fn fill_registers(host: &mut Host<'_>, guest: &Guest) -> GuestRegisters {
    for page in [8, 9] {
        host.resident(guest, PageIndex(page));
    }
    let mut cpu = host.enter(guest).unwrap();
    for number in 0..16 {
        cpu.set_general(number, 0x100 + u64::from(number));
        cpu.set_access(number, 0x200 + u32::from(number));
        cpu.load_control(number, 0x300 + u64::from(number)).unwrap();
    }
    cpu.load_psw(Psw { mask: 0x1_8000_0000, address: 0x7777 }).unwrap();
    interception(cpu.set_prefix(0x8000));
    cpu.registers()
}

#[test]
fn each_reset_treats_the_registers_as_the_architecture_says() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let set = fill_registers(&mut host, &guest);
    assert_eq!((set.prefix, set.general[15], set.access[3], set.control[6]), (0x8000, 0x10f, 0x203, 0x306));
    assert_eq!(host.set_state(&guest, 2), DONE);
    let mut after = |command| {
        assert_eq!(host.cpu_call(command, guest.cpu), DONE);
        assert_eq!(machine.cpu_state(guest.cpu), Some(RunState::Stopped));
        machine.cpu_registers(guest.cpu).unwrap()
    };
    assert_eq!(after(Command::CpuReset), set);
    let initial = after(Command::CpuResetInitial);
    let cleared = GuestRegisters::default();
    assert_eq!(initial, GuestRegisters { general: set.general, access: set.access, ..cleared.clone() });
    assert_eq!((cleared.control[0], cleared.control[14], cleared.control[6]), (0xe0, 0xc200_0000, 0));
    assert_eq!(after(Command::CpuResetClear), cleared);
}

#[test]
fn an_initial_reset_takes_the_next_cpu_timer_as_it_comes() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let timer = guest.state_description + 0x28;
    host.store_u64(timer, 0x1000_0000);
    drop(host.enter(&guest).unwrap());
    for (reset, accepted) in
        [(Command::CpuReset, false), (Command::CpuResetInitial, true), (Command::CpuResetClear, true)]
    {
        host.store_u64(timer, 0x1000_0000);
        assert_eq!(host.set_state(&guest, 2), DONE);
        assert_eq!(host.cpu_call(reset, guest.cpu), DONE);
        assert_eq!(host.set_state(&guest, 1), DONE);
        drop(host.enter(&guest).unwrap());
        assert_eq!(host.set_state(&guest, 2), DONE);
        assert_eq!(host.cpu_call(reset, guest.cpu), DONE);
        assert_eq!(host.set_state(&guest, 1), DONE);
        // As Linux: the timer in the state description is 0 after an initial reset.
        host.store_u64(timer, 0);
        assert_eq!(host.enter(&guest).is_ok(), accepted, "{reset:?}");
        host.store_u64(timer, 0x1000_0000);
    }
}

#[test]
fn c99_unshare_all_needs_stopped_cpus() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let second = host.second_cpu(&guest);
    let open: Vec<FrameNumber> = (4..7).map(|page| host.shared(&guest, PageIndex(page), b"open")).collect();
    host.refuse_unchanged(Command::SetUnsharedAll, &[(0x18, 8, guest.handle)], refused(0x101));
    assert_eq!(host.set_state(&guest, 2), DONE);
    assert_eq!(host.set_state(&second, 1), DONE);
    host.refuse_unchanged(Command::SetUnsharedAll, &[(0x18, 8, guest.handle)], refused(0x101));
    assert_eq!(host.set_state(&second, 3), DONE);
    assert_eq!(host.unshare_all(&guest), DONE);
    for frame in open {
        assert_eq!(host.page_bytes(frame).unwrap_err().code, ProgramCode::SecureStorageAccess);
    }
}

/// States of a configuration in the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Created,
    ParametersSet,
    Verified,
    Requested,
    Prepared,
    /// Prepared, and the CPU is reset.
    Reset,
}

/// States of its CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cpu {
    Stopped,
    Operating,
    CheckStop,
    InSie,
}

const STAGES: [Stage; 6] =
    [Stage::Created, Stage::ParametersSet, Stage::Verified, Stage::Requested, Stage::Prepared, Stage::Reset];
const CPUS: [Cpu; 4] = [Cpu::Stopped, Cpu::Operating, Cpu::CheckStop, Cpu::InSie];

/// A guest in this state; none if there is no such state.
fn bring(host: &mut Host<'_>, stage: Stage, cpu: Cpu) -> Option<Guest> {
    if cpu == Cpu::InSie && stage != Stage::Verified {
        return None;
    }
    let guest = host.create(1);
    match stage {
        Stage::Created => {}
        Stage::ParametersSet => host.load_parameters(&guest),
        _ => host.boot(&guest),
    }
    if stage == Stage::Requested {
        host.ask_for_reset(&guest, 1);
    }
    assert_eq!(host.set_state(&guest, 2), DONE);
    if matches!(stage, Stage::Prepared | Stage::Reset) {
        assert_eq!(host.unshare_all(&guest), DONE);
        assert_eq!(host.prepare_reset(&guest), DONE);
    }
    if stage == Stage::Reset {
        assert_eq!(host.cpu_call(Command::CpuResetInitial, guest.cpu), DONE);
    }
    match cpu {
        Cpu::Stopped => {}
        Cpu::Operating | Cpu::InSie => assert_eq!(host.set_state(&guest, 1), DONE),
        Cpu::CheckStop => assert_eq!(host.set_state(&guest, 3), DONE),
    }
    Some(guest)
}

impl Host<'_> {
    /// A verified configuration's header, but no VERIFY_IMG.
    fn load_parameters(&mut self, guest: &Guest) {
        let header = image::empty_header(self.machine());
        assert_eq!(self.set_parameters(guest, &header), DONE);
    }
}

/// 3.9 of the interface: what each command answers in each state.
fn expected(command: Command, state: u64, stage: Stage, cpu: Cpu) -> Answer {
    let code = match (command, cpu) {
        (Command::DestroySecCpu, Cpu::InSie) => Some(0x103),
        (Command::CpuSetState, Cpu::InSie) => Some(0x103),
        (Command::CpuSetState, _) if state == 5 => match (stage, cpu) {
            (Stage::Created | Stage::ParametersSet | Stage::Requested | Stage::Prepared, _) => Some(0x104),
            (Stage::Verified | Stage::Reset, Cpu::Stopped) => None,
            (Stage::Verified | Stage::Reset, _) => Some(0x103),
        },
        (Command::CpuReset | Command::CpuResetInitial | Command::CpuResetClear, _) if cpu != Cpu::Stopped => {
            Some(0x103)
        }
        (Command::SetUnsharedAll | Command::PrepareReset, Cpu::Operating | Cpu::InSie) => Some(0x101),
        // Preparing forgets no unshare-all; only a CPU that operates does.
        (Command::PrepareReset, _) if !matches!(stage, Stage::Prepared | Stage::Reset) => Some(0x102),
        (Command::DestroySecConf, _) => Some(0x105),
        _ => None,
    };
    code.map_or(DONE, refused)
}

#[test]
fn every_command_in_every_state() {
    let commands: Vec<(Command, u64)> = [1, 2, 3, 5]
        .map(|state| (Command::CpuSetState, state))
        .into_iter()
        .chain(RESETS.map(|command| (command, 0)))
        .chain([Command::PrepareReset, Command::SetUnsharedAll, Command::DestroySecConf].map(|command| (command, 0)))
        .chain([(Command::DestroySecCpu, 0)])
        .collect();
    let mut checked = 0;
    for (stage, cpu) in STAGES.into_iter().flat_map(|stage| CPUS.map(|cpu| (stage, cpu))) {
        for &(command, state) in &commands {
            let machine = support::machine(config());
            let mut host = Host::ready(&machine);
            let Some(guest) = bring(&mut host, stage, cpu) else { continue };
            let mut other: HostCpu<'_> = machine.cpu(1).unwrap();
            other.set_primary(guest.asce);
            let inside = (cpu == Cpu::InSie).then(|| other.enter(VirtualAddress(guest.state_description)).unwrap());
            let whole = matches!(command, Command::PrepareReset | Command::SetUnsharedAll | Command::DestroySecConf);
            let mut fields = vec![(0x18, 8, if whole { guest.handle } else { guest.cpu })];
            if command == Command::CpuSetState {
                fields.push((0x27, 1, state));
            }
            let wanted = expected(command, state, stage, cpu);
            println!("{command:?} {state} in {stage:?}, {cpu:?}");
            match wanted {
                DONE => assert_eq!(host.call(command, &fields), DONE),
                refusal => host.refuse_unchanged(command, &fields, refusal),
            }
            checked += 1;
            drop(inside);
        }
    }
    assert_eq!(checked, (6 * 3 + 1) * 11);
}

#[test]
fn resets_of_unknown_handles_and_wrong_lengths() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    for command in RESETS {
        for handle in [guest.cpu + 1, guest.handle, 0] {
            host.refuse_unchanged(command, &[(0x18, 8, handle)], refused(0x21));
        }
        host.refuse_raw(command.code(), 0x48, &[(0x18, 8, guest.cpu)], refused(5));
    }
    for handle in [guest.handle + 1, guest.cpu, 0] {
        host.refuse_unchanged(Command::PrepareReset, &[(0x18, 8, handle)], refused(0x20));
    }
    host.refuse_raw(Command::PrepareReset.code(), 0x38, &[(0x18, 8, guest.handle)], refused(5));
}

#[test]
fn a_reset_forgets_an_instruction_that_waits_for_the_host() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let mut cpu = host.enter(&guest).unwrap();
    cpu.set_general(2, 7);
    assert_eq!(interception(cpu.diagnose(Diagnose::new(Diagnose::KVM))).code, 104);
    drop(cpu);
    assert_eq!(host.set_state(&guest, 2), DONE);
    assert_eq!(host.cpu_call(Command::CpuReset, guest.cpu), DONE);
    assert_eq!(host.set_state(&guest, 1), DONE);
    host.store_u64(guest.state_description + 0x380 + 16, 99);
    assert_eq!(host.enter(&guest).unwrap().registers().general[2], 7);
    host.store(guest.state_description + 0x55, &[0x10]);
    assert_eq!(refused_entry(host.enter(&guest)), validity(ValidityReason::ExceptionNotAdmitted));
}

#[test]
fn an_exited_cpu_does_nothing_more() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let mut cpu = host.enter(&guest).unwrap();
    cpu.set_general(1, 5);
    let before = code_and_address(cpu.load(GuestAddress(0x9000), &mut [0]));
    assert_eq!(before, (ProgramCode::PageTranslation, 0x9000));
    cpu.set_general(1, 6);
    assert_eq!(cpu.registers().general[1], 5);
    let Err(GuestEvent::Exit(exit)) = cpu.load_control(0, 1) else { panic!("not an exit") };
    assert_eq!(cpu.diagnose(Diagnose::new(0x44)), Err(GuestEvent::Exit(exit)));
    assert_eq!(cpu.set_prefix(0x8000), Err(GuestEvent::Exit(exit)));
    assert_eq!((cpu.registers().prefix, cpu.registers().control[0]), (0, 0xe0));
    assert_eq!(cpu.store(GuestAddress(GUEST_BLOCK), b"x"), Err(GuestEvent::Exit(exit)));
}
