//! What the conformance tests add to the small host: refusals that must leave everything alone, a home
//! space with holes, and a log of events.

#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part")]

use super::support::{Answer, BLOCK, Guest, Host};
use core::fmt::Debug;
use std::sync::{Arc, Mutex};
use uvsim_model::address::{AbsoluteAddress, FrameNumber, GuestAddress, PageIndex, VirtualAddress};
use uvsim_model::config::{Generation, MachineConfig};
use uvsim_model::cpu::{GuestCpu, GuestEvent, Interception, SieExit, Uvc};
use uvsim_model::event::{Event, Observer};
use uvsim_model::storage::{Asce, FrameState, ProgramCode, ProgramInterruption};
use uvsim_model::uvc::Command;
use uvsim_model::{Machine, PageRecord};

/// A field of a block: offset, size, value.
pub type Field = (u64, u8, u64);

/// Where guest blocks lie: the last 512 bytes of page 1.
pub const GUEST_BLOCK: u64 = 0x1e00;

/// What an output field holds before a call that must not write it.
const UNWRITTEN: u64 = 0xa5a5_a5a5_a5a5_a5a5;

pub const fn reason(rc: u16, rrc: u16) -> Answer {
    Answer { cc: 1, rc, rrc }
}

pub fn generation(generation: Generation) -> MachineConfig {
    MachineConfig { generation, ..super::support::config() }
}

/// Puts `fields` into a copy of `good`, replacing what stands at the same offset.
pub fn with(good: &[Field], fields: &[Field]) -> Vec<Field> {
    let kept = good.iter().filter(|field| fields.iter().all(|other| other.0 != field.0));
    kept.chain(fields).copied().collect()
}

impl Host<'_> {
    /// Issues a call that must be refused with this answer and change nothing but rc and rrc, outputs of
    /// the block included (I-18, D3, D64).
    pub fn refuse_unchanged(&mut self, command: Command, fields: &[Field], expected: Answer) {
        self.refuse_at(BLOCK, command.code(), command.usual_length(), fields, expected);
    }

    /// The same with any code and length.
    pub fn refuse_raw(&mut self, code: u16, length: u16, fields: &[Field], expected: Answer) {
        self.refuse_at(BLOCK, code, length, fields, expected);
    }

    /// The same with the block anywhere in storage.
    pub fn refuse_at(&mut self, block: u64, code: u16, length: u16, fields: &[Field], expected: Answer) {
        self.place(block, code, length, fields);
        let machine = self.machine();
        let before = machine.state_digest(Some(AbsoluteAddress(block)));
        let answer = self.issue(block);
        assert_eq!(answer, Ok(expected), "command {code:#06x}, length {length:#x}, fields {fields:x?}");
        let after = machine.state_digest(Some(AbsoluteAddress(block)));
        assert_eq!(before, after, "refusal {answer:x?} of {code:#06x} with {fields:x?} has changed something");
    }

    /// Issues a call that must end in this interruption and change no byte at all.
    pub fn interrupted_unchanged(&mut self, instruction: Uvc) -> ProgramInterruption {
        let machine = self.machine();
        let before = machine.state_digest(None);
        let interruption = self.cpu.uvc(instruction).expect_err("an interruption");
        assert_eq!(before, machine.state_digest(None), "{interruption} has changed something");
        interruption
    }

    /// Builds a block whose output fields tell whether they were written.
    pub fn place(&mut self, block: u64, code: u16, length: u16, fields: &[Field]) {
        let outputs = Command::from_code(code).map_or(&[][..], |command| command.row().fields);
        let marks = outputs
            .iter()
            .filter(|field| field.output && field.offset + u16::from(field.size) <= length)
            .map(|field| (u64::from(field.offset), field.size, UNWRITTEN));
        let fields: Vec<Field> = marks.chain(fields.iter().copied()).collect();
        self.block(block, code, length, &fields);
    }

    /// A guest call that must be refused with this answer and change nothing but rc and rrc.
    pub fn guest_refuse_unchanged(&mut self, guest: &Guest, code: u16, length: u16, paddr: u64, expected: Answer) {
        let machine = self.machine();
        let page = machine.page(guest.handle, PageIndex(1)).expect("live").record.frame().expect("page 1 resident");
        let block = AbsoluteAddress(page.address().0 + GUEST_BLOCK % 0x1000);
        let mut cpu = self.enter(guest).expect("the guest runs");
        cpu.store(GuestAddress(GUEST_BLOCK), &guest_block(code, length, paddr)).expect("page 1");
        let before = machine.state_digest(Some(block));
        let cc = cpu.uvc(Uvc::at(VirtualAddress(GUEST_BLOCK)));
        let mut codes = [0; 4];
        cpu.load(GuestAddress(GUEST_BLOCK + 4), &mut codes).expect("page 1");
        let found = cc.map(|cc| Answer {
            cc: cc as u8,
            rc: u16::from_be_bytes([codes[0], codes[1]]),
            rrc: u16::from_be_bytes([codes[2], codes[3]]),
        });
        assert_eq!(found, Ok(expected), "command {code:#06x}, length {length:#x}");
        assert_eq!(before, machine.state_digest(Some(block)), "refusal of {code:#06x} has changed something");
    }

    /// Destroys the CPU of a guest.
    pub fn destroy_cpu(&mut self, guest: &Guest) -> Answer {
        self.call(Command::DestroySecCpu, &[(0x18, 8, guest.cpu)])
    }

    /// Ends a guest and its CPU.
    pub fn destroy_guest(&mut self, guest: &Guest, command: Command) {
        assert_eq!(self.destroy_cpu(guest), super::support::DONE);
        assert_eq!(self.call(command, &[(0x18, 8, guest.handle)]), super::support::DONE);
    }

    pub fn unshare_all(&mut self, guest: &Guest) -> Answer {
        self.call(Command::SetUnsharedAll, &[(0x18, 8, guest.handle)])
    }

    /// Maps and imports a page, lets the guest write these bytes, and shares it.
    pub fn shared(&mut self, guest: &Guest, page: PageIndex, bytes: &[u8]) -> FrameNumber {
        let frame = self.resident(guest, page);
        self.guest_store(guest, page.0 * 4096, bytes).expect("a resident page");
        assert_eq!(self.share(guest, page), Ok(super::support::DONE));
        frame
    }

    /// Hands over a header at a fresh place.
    pub fn set_parameters(&mut self, guest: &Guest, header: &[u8]) -> Answer {
        let fields = self.parameters(guest, header);
        self.call(Command::SetSecConfParams, &fields)
    }

    /// Stores a header at a fresh place and names it.
    pub fn parameters(&mut self, guest: &Guest, header: &[u8]) -> Vec<Field> {
        let at = self.allocate(0x3000);
        self.store(at, header);
        vec![(0x18, 8, guest.handle), (0x20, 8, at), (0x28, 4, header.len() as u64)]
    }

    /// Switches translation on: virtual is real below 2 GiB, by 1 MiB entries, but for a window of 256
    /// pages that are all invalid.
    pub fn home_space(&mut self) -> Home {
        let segments = self.allocate_aligned(0x4000, 0x4000);
        let table = self.allocate(0x1000);
        for index in 0..2047 {
            self.store_u64(segments + index * 8, index << 20 | 0x400);
        }
        self.store_u64(segments + 2047 * 8, table);
        for index in 0..256 {
            self.store_u64(table + index * 8, 0x400);
        }
        self.cpu.set_home(Asce(segments | 3));
        self.cpu.set_translation(true);
        Home { table, window: 2047 << 20 }
    }
}

/// A home space with a window of single pages.
#[derive(Clone, Copy, Debug)]
pub struct Home {
    pub table: u64,
    pub window: u64,
}

impl Home {
    /// Maps a page of the window; `bits` may protect it. Returns its virtual address.
    pub fn map(self, host: &mut Host<'_>, index: u64, frame: FrameNumber, bits: u64) -> u64 {
        host.store_u64(self.table + index * 8, frame.address().0 | bits);
        host.cpu.ptlb().expect("supervisor state");
        self.window + index * 0x1000
    }
}

/// A guest block of this length, at most the 512 bytes at [`GUEST_BLOCK`].
pub fn guest_block(code: u16, length: u16, paddr: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::from(length).clamp(8, 0x200)];
    bytes[..2].copy_from_slice(&length.to_be_bytes());
    bytes[2..4].copy_from_slice(&code.to_be_bytes());
    if let Some(field) = bytes.get_mut(0x20..0x28) {
        field.copy_from_slice(&paddr.to_be_bytes());
    }
    bytes
}

/// The host interruption that a guest action has ended with.
#[track_caller]
pub fn host_interruption<T: Debug>(result: Result<T, GuestEvent>) -> ProgramInterruption {
    match result {
        Err(GuestEvent::Exit(SieExit::HostInterruption(interruption))) => interruption,
        other => panic!("expected a host interruption, got {other:x?}"),
    }
}

/// Code and TEID address of the host interruption that a guest action has ended with.
#[track_caller]
pub fn code_and_address<T: Debug>(result: Result<T, GuestEvent>) -> (ProgramCode, u64) {
    let interruption = host_interruption(result);
    (interruption.code, interruption.teid.address())
}

/// The interruption that the guest itself takes.
#[track_caller]
pub fn own_interruption<T: Debug>(result: Result<T, GuestEvent>) -> ProgramCode {
    match result {
        Err(GuestEvent::Program(interruption)) => interruption.code,
        other => panic!("expected an interruption of the guest, got {other:x?}"),
    }
}

/// The interception that a guest action has ended with.
#[track_caller]
pub fn interception<T: Debug>(result: Result<T, GuestEvent>) -> Interception {
    match result {
        Err(GuestEvent::Exit(SieExit::Interception(interception))) => interception,
        other => panic!("expected an interception, got {other:x?}"),
    }
}

/// The interception with which SIE ends at once.
#[track_caller]
pub fn refused_entry(entry: Result<GuestCpu<'_, '_>, SieExit>) -> Interception {
    match entry {
        Err(SieExit::Interception(interception)) => interception,
        other => panic!("expected an interception, got {other:x?}"),
    }
}

/// Record of a page.
#[track_caller]
pub fn record(machine: &Machine, guest: &Guest, page: PageIndex) -> PageRecord {
    machine.page(guest.handle, page).expect("a live configuration").record
}

/// The three states of a page that has a frame.
pub fn secure(machine: &Machine, guest: &Guest, page: PageIndex) -> FrameState {
    FrameState::Secure(machine.domain(guest.handle).expect("a live configuration"), page)
}

pub fn shared(machine: &Machine, guest: &Guest, page: PageIndex) -> FrameState {
    FrameState::Shared(machine.domain(guest.handle).expect("a live configuration"), page)
}

pub fn pinned(machine: &Machine, guest: &Guest, page: PageIndex) -> FrameState {
    FrameState::Pinned(machine.domain(guest.handle).expect("a live configuration"), page)
}

/// What a machine has done since the last look.
#[derive(Debug, Default)]
pub struct Log(Mutex<Vec<Event>>);

impl Log {
    pub fn of(machine: &Machine) -> Arc<Self> {
        let log = Arc::new(Self::default());
        machine.subscribe(log.clone());
        log
    }

    pub fn take(&self) -> Vec<Event> {
        core::mem::take(&mut *self.0.lock().expect("no observer panics"))
    }

    /// Rules of the transitions since the last look.
    pub fn transitions(&self) -> Vec<&'static str> {
        let rule = |event| match event {
            Event::Transition { rule, .. } => Some(rule),
            _ => None,
        };
        self.take().into_iter().filter_map(rule).collect()
    }

    /// The rule of the last call.
    pub fn last_call(&self) -> &'static str {
        let rule = |event: &Event| match event {
            Event::Call { rule, .. } => Some(*rule),
            _ => None,
        };
        self.take().iter().rev().find_map(rule).expect("a call")
    }
}

impl Observer for Log {
    fn observe(&self, event: &Event) {
        self.0.lock().expect("no observer panics").push(event.clone());
    }
}
