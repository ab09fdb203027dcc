//! Statements as bytes.

use super::bytes::{Input, Output, pick, put};
use super::case::Deed;
use super::operands::{
    guest, injection, page, part, put_injection, put_page, put_part, put_pv, put_read, put_vcpu, put_write, pv, read,
    vcpu, write_operands,
};
use crate::scenario::{CpuReset, FaultPolicy, GuestDiagnose, MpState, Verb, Write};
use uvsim_model::uvc::Command;

/// The verbs that cases know, in the order of their numbers.
pub(super) const VERBS: [&str; 43] = [
    "host read",
    "host write",
    "host flip",
    "host export",
    "host import",
    "host destroy",
    "host pin",
    "host unpin",
    "host make-accessible",
    "host page-out",
    "host page-in",
    "host move",
    "host remap",
    "host copy",
    "host unmap",
    "host create",
    "host start",
    "host stop",
    "host unshare-all",
    "host teardown",
    "host reset-machine",
    "host pv",
    "host create-cpu",
    "host cpu-reset",
    "host cpu-state",
    "host reset",
    "host load-image",
    "host write-header",
    "host flip-header",
    "host faults",
    "host inject",
    "host uvc",
    "device read",
    "device write",
    "guest read",
    "guest write",
    "guest share",
    "guest unshare",
    "guest diagnose",
    "guest set-prefix",
    "guest uvc",
    "check invariants",
    "guest verify",
];

/// The number of a verb; none if no case holds it.
pub(super) const fn number(verb: &Verb) -> Option<usize> {
    Some(match verb {
        Verb::HostRead { .. } => 0,
        Verb::HostWrite { .. } => 1,
        Verb::HostFlip { .. } => 2,
        Verb::HostExport { .. } => 3,
        Verb::HostImport { .. } => 4,
        Verb::HostDestroy { .. } => 5,
        Verb::HostPin { .. } => 6,
        Verb::HostUnpin { .. } => 7,
        Verb::HostMakeAccessible { .. } => 8,
        Verb::HostPageOut { .. } => 9,
        Verb::HostPageIn { .. } => 10,
        Verb::HostMove { .. } => 11,
        Verb::HostRemap { .. } => 12,
        Verb::HostCopy { .. } => 13,
        Verb::HostUnmap { .. } => 14,
        Verb::HostCreate { .. } => 15,
        Verb::HostStart { .. } => 16,
        Verb::HostStop { .. } => 17,
        Verb::HostUnshareAll { .. } => 18,
        Verb::HostTeardown { .. } => 19,
        Verb::HostResetMachine => 20,
        Verb::HostPv { .. } => 21,
        Verb::HostCreateCpu { .. } => 22,
        Verb::HostCpuReset { .. } => 23,
        Verb::HostCpuState { .. } => 24,
        Verb::HostReset { .. } => 25,
        Verb::HostLoadImage { .. } => 26,
        Verb::HostWriteHeader { .. } => 27,
        Verb::HostFlipHeader { .. } => 28,
        Verb::HostFaults { .. } => 29,
        Verb::HostInject { .. } => 30,
        Verb::HostUvc { .. } => 31,
        Verb::DeviceRead { .. } => 32,
        Verb::DeviceWrite { .. } => 33,
        Verb::GuestRead { .. } => 34,
        Verb::GuestWrite { .. } => 35,
        Verb::GuestShare { .. } => 36,
        Verb::GuestUnshare { .. } => 37,
        Verb::GuestDiagnose { .. } => 38,
        Verb::GuestSetPrefix { .. } => 39,
        Verb::GuestUvc { .. } => 40,
        Verb::CheckInvariants => 41,
        Verb::GuestVerify { .. } => 42,
        Verb::GuestIo { .. }
        | Verb::HostConsole { .. }
        | Verb::CheckPage { .. }
        | Verb::CheckEqual { .. }
        | Verb::CheckDiffer { .. }
        | Verb::CheckZero { .. }
        | Verb::CheckCpu { .. }
        | Verb::CheckLeaks { .. }
        | Verb::CheckIo { .. } => return None,
    })
}

const RESETS: [CpuReset; 3] = [CpuReset::Normal, CpuReset::Initial, CpuReset::Clear];
const STATES: [MpState; 4] = [MpState::Operating, MpState::Stopped, MpState::Load, MpState::CheckStop];
const POLICIES: [FaultPolicy; 2] = [FaultPolicy::Linux, FaultPolicy::Stop];

impl Deed {
    pub(super) fn read(input: &mut Input<'_>) -> Self {
        let (kind, cpu) = (input.below(VERBS.len()), input.byte().into());
        Self { cpu, verb: verb(kind, input) }
    }

    pub(super) fn write(&self, out: &mut Output) {
        let Some(kind) = number(&self.verb) else { return };
        out.index(kind);
        out.byte(self.cpu.to_be_bytes()[1]);
        write(&self.verb, out);
    }
}

/// Reads the operands of a verb.
fn verb(kind: usize, input: &mut Input<'_>) -> Verb {
    match kind {
        0 => Verb::HostRead { pages: page(input), read: read(input) },
        1 => Verb::HostWrite { pages: page(input), write: write_operands(input) },
        2 => Verb::HostFlip { pages: page(input), bit: (input.number() % 0x8000) as u16 },
        3 => Verb::HostExport { pages: page(input) },
        4 => Verb::HostImport { pages: page(input) },
        5 => Verb::HostDestroy { pages: page(input) },
        6 => Verb::HostPin { pages: page(input) },
        7 => Verb::HostUnpin { pages: page(input) },
        8 => Verb::HostMakeAccessible { pages: page(input) },
        9 => Verb::HostPageOut { pages: page(input) },
        10 => Verb::HostPageIn { pages: page(input) },
        11 => Verb::HostMove { pages: page(input), purge: !input.flag() },
        12 => Verb::HostRemap { pages: page(input), to: page(input), purge: !input.flag() },
        13 => Verb::HostCopy { pages: page(input), to: page(input) },
        14 => Verb::HostUnmap { pages: page(input), purge: !input.flag() },
        32 => Verb::DeviceRead { pages: page(input), read: read(input) },
        33 => Verb::DeviceWrite { pages: page(input), write: write_operands(input) },
        34 => Verb::GuestRead { pages: page(input), read: read(input) },
        35 => Verb::GuestWrite { pages: page(input), write: write_operands(input) },
        36 => Verb::GuestShare { pages: page(input) },
        37 => Verb::GuestUnshare { pages: page(input) },
        _ => life_verb(kind, input),
    }
}

fn life_verb(kind: usize, input: &mut Input<'_>) -> Verb {
    match kind {
        15 => Verb::HostCreate { guest: guest(input) },
        16 => Verb::HostStart { guest: guest(input) },
        17 => Verb::HostStop { guest: guest(input) },
        18 => Verb::HostUnshareAll { guest: guest(input) },
        19 => Verb::HostTeardown { guest: guest(input), fast: input.flag() },
        20 => Verb::HostResetMachine,
        21 => Verb::HostPv { guest: guest(input), command: pv(input) },
        22 => Verb::HostCreateCpu { guest: guest(input), vcpu: vcpu(input) },
        23 => Verb::HostCpuReset { guest: guest(input), vcpu: vcpu(input), kind: pick(&RESETS, input) },
        24 => Verb::HostCpuState { guest: guest(input), vcpu: vcpu(input), state: pick(&STATES, input) },
        25 => Verb::HostReset { guest: guest(input) },
        26 => Verb::HostLoadImage {
            guest: guest(input),
            part: part(input),
            block: input.flag().then(|| (input.number(), input.number())),
        },
        27 => {
            let guest = guest(input);
            let Write { offset, data } = write_operands(input);
            Verb::HostWriteHeader { guest, offset, data }
        }
        28 => Verb::HostFlipHeader { guest: guest(input), bit: (input.number() % 0x1_0000) as u32 },
        29 => Verb::HostFaults { policy: pick(&POLICIES, input) },
        30 => Verb::HostInject { command: pick(Command::ALL, input), injection: injection(input) },
        31 => Verb::HostUvc { call: super::call::read(input) },
        38 => {
            let guest = guest(input);
            let function = input.number() as u16;
            let registers = core::array::from_fn(|_| input.number());
            Verb::GuestDiagnose { guest, diagnose: GuestDiagnose { function, registers, register: None } }
        }
        39 => Verb::GuestSetPrefix { guest: guest(input), prefix: input.number() },
        40 => Verb::GuestUvc { guest: guest(input), call: super::call::read(input) },
        42 => Verb::GuestVerify {
            guest: guest(input),
            address: input.number(),
            data: input.bytes(0x1_0000),
            frames: input.optional(),
        },
        _ => Verb::CheckInvariants,
    }
}

fn write(verb: &Verb, out: &mut Output) {
    match verb {
        Verb::HostRead { pages, read } | Verb::DeviceRead { pages, read } | Verb::GuestRead { pages, read } => {
            put_page(*pages, out);
            put_read(read, out);
        }
        Verb::HostWrite { pages, write } | Verb::DeviceWrite { pages, write } | Verb::GuestWrite { pages, write } => {
            put_page(*pages, out);
            put_write(write.offset, &write.data, out);
        }
        Verb::HostFlip { pages, bit } => {
            put_page(*pages, out);
            out.number((*bit).into());
        }
        Verb::HostExport { pages }
        | Verb::HostImport { pages }
        | Verb::HostDestroy { pages }
        | Verb::HostPin { pages }
        | Verb::HostUnpin { pages }
        | Verb::HostMakeAccessible { pages }
        | Verb::HostPageOut { pages }
        | Verb::HostPageIn { pages }
        | Verb::GuestShare { pages }
        | Verb::GuestUnshare { pages } => put_page(*pages, out),
        Verb::HostMove { pages, purge } | Verb::HostUnmap { pages, purge } => {
            put_page(*pages, out);
            out.flag(!purge);
        }
        Verb::HostRemap { pages, to, purge } => {
            put_page(*pages, out);
            put_page(*to, out);
            out.flag(!purge);
        }
        Verb::HostCopy { pages, to } => {
            put_page(*pages, out);
            put_page(*to, out);
        }
        other => write_life(other, out),
    }
}

fn write_life(verb: &Verb, out: &mut Output) {
    match verb {
        Verb::HostCreate { guest }
        | Verb::HostStart { guest }
        | Verb::HostStop { guest }
        | Verb::HostUnshareAll { guest }
        | Verb::HostReset { guest } => out.index(guest.0),
        Verb::HostTeardown { guest, fast } => {
            out.index(guest.0);
            out.flag(*fast);
        }
        Verb::HostPv { guest, command } => {
            out.index(guest.0);
            put_pv(command, out);
        }
        Verb::HostCreateCpu { guest, vcpu } => put_vcpu(*guest, *vcpu, out),
        Verb::HostCpuReset { guest, vcpu, kind } => {
            put_vcpu(*guest, *vcpu, out);
            put(&RESETS, kind, out);
        }
        Verb::HostCpuState { guest, vcpu, state } => {
            put_vcpu(*guest, *vcpu, out);
            put(&STATES, state, out);
        }
        Verb::HostLoadImage { guest, part, block } => {
            out.index(guest.0);
            put_part(*part, out);
            out.flag(block.is_some());
            if let Some((block, header)) = *block {
                out.number(block);
                out.number(header);
            }
        }
        Verb::HostWriteHeader { guest, offset, data } => {
            out.index(guest.0);
            put_write(*offset, data, out);
        }
        Verb::HostFlipHeader { guest, bit } => {
            out.index(guest.0);
            out.number((*bit).into());
        }
        Verb::HostFaults { policy } => put(&POLICIES, policy, out),
        Verb::HostInject { command, injection } => {
            put(Command::ALL, command, out);
            put_injection(*injection, out);
        }
        Verb::HostUvc { call } => super::call::write(call, out),
        Verb::GuestUvc { guest, call } => {
            out.index(guest.0);
            super::call::write(call, out);
        }
        Verb::GuestDiagnose { guest, diagnose } => {
            out.index(guest.0);
            out.number(diagnose.function.into());
            diagnose.registers.iter().for_each(|&register| out.number(register));
        }
        Verb::GuestSetPrefix { guest, prefix } => {
            out.index(guest.0);
            out.number(*prefix);
        }
        Verb::GuestVerify { guest, address, data, frames } => {
            out.index(guest.0);
            out.number(*address);
            out.bytes(data);
            out.optional(*frames);
        }
        _ => {}
    }
}
