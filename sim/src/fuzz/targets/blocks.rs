//! Any control block at any address, from a host and from guests that live. What a call refuses, or an interruption
//! ends, changes nothing but rc and rrc (I-18, D64), the invariants hold after every call, and the oracle agrees.

use super::{Fault, ensure, prepared};
use crate::kernel::Kernel;
use crate::run;
use crate::scenario::Scenario;
use std::path::Path;
use std::sync::LazyLock;
use uvsim_model::Machine;
use uvsim_model::StateDigest;
use uvsim_model::address::{AbsoluteAddress, GuestAddress, PAGE_SIZE, PageIndex, VirtualAddress};
use uvsim_model::cpu::{GuestEvent, SieExit, Uvc};
use uvsim_model::uvc::{Command, ConditionCode, Issuer};
use uvsim_verify::{Difference, SideBySide};
use zerocopy::byteorder::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Calls of one input.
const MOST: usize = 16;
/// Pages 4 to 7 of alpha: resident, shared, pinned, exported; those from 9 on are absent. beta is not booted.
const TEXT: &str = r#"scenario blocks
machine { storage "2200MiB"; cpus 2 }
guest alpha memory="1MiB" vcpus=2 { load 0x3000 random=24576; }
guest beta memory="1MiB" state=created
step one { check invariants; }
"#;

static SCENARIO: LazyLock<Result<Scenario, String>> = LazyLock::new(|| {
    let mut scenario =
        Scenario::parse(Path::new("blocks.kdl"), TEXT).map_err(|errors| format!("{:?}", errors.errors()))?;
    prepared::prepare(&mut scenario);
    Ok(scenario)
});

/// A call: who issues it, where its block lies, what is in it. What an input lacks at its end is zero.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Call {
    /// Bits 0-1: host, host CPU 1, guest alpha, guest beta. Bit 2: problem state. Bits 4-7: immediate fields.
    issuer: u8,
    place: u8,
    /// Added to the address of the place.
    skew: U16,
    /// Byte offsets in the block, and what is put there.
    values: [[u8; 2]; 6],
    block: [u8; 0x200],
}

pub(super) fn run(data: &[u8]) -> Result<(), Fault> {
    let scenario = SCENARIO.as_ref().map_err(Fault::new)?;
    let mut machine = Machine::new(scenario.machine.clone()).map_err(|error| Fault::new(error.to_string()))?;
    let side = SideBySide::watch(&mut machine);
    let kernel = run::boot(&machine, scenario).map_err(|error| Fault::new(error.message))?;
    let mut stage = Stage { kernel };
    stage.prepare()?;
    for (number, bytes) in data.chunks(size_of::<Call>()).take(MOST).enumerate() {
        let mut whole = [0; size_of::<Call>()];
        whole[..bytes.len()].copy_from_slice(bytes);
        let Ok(call) = Call::read_from_bytes(&whole) else { break };
        stage.issue(&call).map_err(|fault| Fault::new(format!("call {number}: {}", fault.message)))?;
        agree(side.difference())?;
    }
    agree(side.finish(&machine))
}

fn agree(difference: Option<Difference>) -> Result<(), Fault> {
    difference.map_or(Ok(()), |difference| Err(Fault::in_text("model and oracle differ", &difference.tree())))
}

/// Every command, with fields that mean something; then the life of alpha to its end.
pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    let every =
        Command::ALL.iter().map(|&command| (command.name().to_owned(), Call::seed(command).as_bytes().to_vec()));
    let life = [
        Command::ConvFromSecStor,
        Command::ConvToSecStor,
        Command::SetSharedAccess,
        Command::RemoveSharedAccess,
        Command::PinPageShared,
        Command::UnpinPageShared,
        Command::PrepareReset,
        Command::CpuResetClear,
        Command::CpuSetState,
        Command::DestroySecCpu,
        Command::DestroySecConf,
    ];
    let life = life.iter().flat_map(|&command| Call::seed(command).as_bytes().to_vec()).collect();
    every.chain([("life".to_owned(), life)]).collect()
}

impl Call {
    /// A command with fields that mean something.
    fn seed(command: Command) -> Self {
        let guest = command.row().issuer == Issuer::Guest;
        let mut call = Self {
            issuer: if guest { 2 } else { 0 },
            place: if guest { 0x70 } else { 0 },
            skew: U16::new(0),
            values: [[0; 2]; 6],
            block: [0; 0x200],
        };
        let number = Command::ALL.iter().position(|known| *known == command).unwrap_or_default();
        let inputs = command.row().fields.iter().filter(|field| !field.output && field.size == 8);
        let fields = inputs.map(|field| [(field.offset / 2) as u8, meaning(field.name, guest)]);
        let values = [[0, COMMANDS + number as u8]].into_iter().chain(fields);
        for (slot, value) in call.values.iter_mut().zip(values) {
            *slot = value;
        }
        // CPU_SET_STATE: stop.
        call.block[0x27] = 2;
        call
    }
}

/// A value for a field of this name.
fn meaning(name: &str, guest: bool) -> u8 {
    match name {
        "cpu-handle" => 0x42,
        "handle" | "guest-handle" => 0x40,
        "paddr" if guest => 0x14,
        "paddr" => 0x24,
        "gaddr" => 0x14,
        "guest-asce" => 0x47,
        "guest-stor-len" => 0xc5,
        _ => 0x54,
    }
}

struct Stage<'m> {
    kernel: Kernel<'m>,
}

const ALPHA: usize = 0;
const BETA: usize = 1;

impl Stage<'_> {
    /// Pages of alpha in every state.
    fn prepare(&mut self) -> Result<(), Fault> {
        let failed = |stop| Fault::new(format!("the stage is not set: {stop:?}"));
        let kernel = &mut self.kernel;
        for page in 5..7 {
            let faults = crate::kernel::FaultAnswers::Linux;
            kernel.share(ALPHA, 0, faults, page, Command::SetSharedAccess).map_err(failed)?;
        }
        kernel.pin(0, ALPHA, 6).map_err(failed)?;
        kernel.export(0, ALPHA, 7).map_err(failed)?;
        Ok(())
    }

    fn issue(&mut self, call: &Call) -> Result<(), Fault> {
        let mut block = call.block;
        for &[offset, value] in &call.values {
            let at = usize::from(offset) * 2;
            if value != 0
                && let Some(field) = block.get_mut(at..at + 8)
            {
                field.copy_from_slice(&self.value(value).to_be_bytes());
            }
        }
        match call.issuer & 3 {
            host @ (0 | 1) => self.host(host.into(), call, &block),
            2 => self.guest(ALPHA, call, &block),
            _ => self.guest(BETA, call, &block),
        }?;
        let kept = self.kernel.machine().check_invariants();
        kept.map_err(|violation| Fault::new(format!("{}: {violation}", violation.invariant)))
    }

    fn host(&mut self, number: u16, call: &Call, block: &[u8]) -> Result<(), Fault> {
        let at = VirtualAddress(self.value(call.place).wrapping_add(call.skew.get().into()));
        let machine = self.kernel.machine();
        let cpu = self.kernel.cpu(number);
        // Where it cannot be stored, the call meets what is there.
        let _ = cpu.store(at, block);
        let lies = cpu.translate(at).ok();
        let before = machine.state_digest(lies);
        cpu.set_problem_state(call.issuer & 4 != 0);
        let answer = cpu.uvc(instruction(call, at.0));
        cpu.set_problem_state(false);
        let codes = lies.map(|lies| codes(machine, lies));
        match answer {
            Ok(cc) if may_change(cc, codes) => Ok(()),
            Ok(_) => unchanged(machine, lies, before, &format!("a host call refused with {codes:x?}")),
            Err(interruption) => unchanged(machine, lies, before, &format!("a host call ended by {interruption}")),
        }
    }

    fn guest(&mut self, guest: usize, call: &Call, block: &[u8]) -> Result<(), Fault> {
        let at = GuestAddress(self.value(call.place).wrapping_add(call.skew.get().into()));
        let vcpu = u16::from(call.issuer >> 3 & 1);
        let machine = self.kernel.machine();
        let _ = self.kernel.act(guest, vcpu, |cpu| cpu.store(at, block));
        let lies = self.guest_place(guest, at);
        let before = machine.state_digest(lies);
        let answer = self.kernel.act(guest, vcpu, |cpu| {
            cpu.set_problem_state(call.issuer & 4 != 0);
            let done = cpu.uvc(instruction(call, at.0));
            cpu.set_problem_state(false);
            done
        });
        let codes = lies.map(|lies| codes(machine, lies));
        match answer {
            Ok(cc) if may_change(cc, codes) => Ok(()),
            Ok(_) => unchanged(machine, lies, before, &format!("a guest call refused with {codes:x?}")),
            // An interception reports through the state description and its data area.
            Err(GuestEvent::Exit(SieExit::Interception(_))) => Ok(()),
            Err(event) => unchanged(machine, lies, before, &format!("a guest call ended by {event:?}")),
        }
    }

    /// The frame behind a guest address.
    fn guest_place(&self, guest: usize, at: GuestAddress) -> Option<AbsoluteAddress> {
        let page = PageIndex(at.0 / PAGE_SIZE);
        let frame = self.kernel.machine().page(self.kernel.handle(guest), page)?.record.frame()?;
        Some(AbsoluteAddress(frame.address().0 + at.0 % PAGE_SIZE))
    }

    /// A value that means something to this machine.
    fn value(&mut self, number: u8) -> u64 {
        let page = u64::from(number % 16);
        let frame = |kernel: &Kernel<'_>, guest: usize| kernel.mapped(guest, page).map_or(0, |frame| frame.address().0);
        match number / 16 {
            0 => self.kernel.block_address(0).0 + page * 0x100,
            1 => page * PAGE_SIZE,
            2 => frame(&self.kernel, ALPHA),
            3 => frame(&self.kernel, BETA),
            4 => self.object(page),
            5 => FREE + page * PAGE_SIZE,
            6 => (1 << 20) - PAGE_SIZE + page * 8,
            7 => 2 * PAGE_SIZE - 512 + page * 8,
            8 => (2 << 30) + page * PAGE_SIZE,
            9 if page < 8 => u64::MAX - page,
            9 => uvsim_model::MAX_GUEST_ADDRESS - PAGE_SIZE * (page - 8),
            10 => page,
            11 => self.kernel.machine().storage_size() - PAGE_SIZE + page * 0x100,
            12 => 1 << (4 * page),
            _ => {
                let command = Command::ALL.get(usize::from(number - COMMANDS));
                command.map_or(0, |command| u64::from(command.usual_length()) << 48 | u64::from(command.code()) << 32)
            }
        }
    }

    fn object(&self, number: u64) -> u64 {
        let guest = (number & 1) as usize;
        match number >> 1 {
            0 => self.kernel.handle(guest),
            1 => self.kernel.vcpu_handle(guest, 0),
            2 => self.kernel.vcpu_handle(guest, 1),
            3 => self.kernel.asce(guest).0,
            _ => number,
        }
    }
}

/// The first value that is the length and the code of a command, at the beginning of a block.
const COMMANDS: u8 = 13 * 16;
const _: () = assert!(Command::ALL.len() <= 3 * 16);

/// Storage that nobody has: the last MiB but one.
const FREE: u64 = (2198 << 20) - 0x8_0000;

fn instruction(call: &Call, at: u64) -> Uvc {
    // The fields are zero in a valid instruction, and mostly here.
    let immediate = call.issuer >> 4;
    Uvc { r1: 0, r2: at, m3: immediate >> 2 & 3, m4: immediate & 3 }
}

/// rc of a block in storage.
fn codes(machine: &Machine, block: AbsoluteAddress) -> u16 {
    let mut bytes = [0; 2];
    machine.peek(AbsoluteAddress(block.0.wrapping_add(4)), &mut bytes);
    u16::from_be_bytes(bytes)
}

/// Done, done with a remark (D4), or failed late (D17).
fn may_change(cc: ConditionCode, rc: Option<u16>) -> bool {
    cc == ConditionCode::Done || rc.is_some_and(|rc| rc == 0x100 || rc & 0x8000 != 0)
}

fn unchanged(machine: &Machine, lies: Option<AbsoluteAddress>, before: StateDigest, what: &str) -> Result<(), Fault> {
    ensure(machine.state_digest(lies) == before, || format!("{what} has changed the state (I-18)"))
}
