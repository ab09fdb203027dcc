//! What guests do, and what the host does for them.

use crate::check;
use crate::reference::{
    Block, Boot, Owner, Prediction, Protocol, Record, Reference, Stopped, frame_address, slot, zeros,
};
use crate::run::{Checked, Run, cited, ensure};
use crate::secret;
use crate::step::{Instruction, PAGES, Text};
use uvsim_model::Machine;
use uvsim_model::address::{AbsoluteAddress, GuestAddress, VirtualAddress};
use uvsim_model::cpu::{Diagnose, GuestCpu, GuestEvent, HostCpu, Interception, SieExit, Uvc};
use uvsim_model::storage::{Asce, ProgramCode};
use uvsim_model::uvc::Command;

impl<'m> Run<'m, '_> {
    /// Runs `act` in a guest that enters on a host CPU. The first page that fails decides.
    pub(crate) fn in_guest<T>(
        &mut self,
        (guest, cpu, vcpu): (usize, u16, u16),
        act: impl FnOnce(&mut GuestCpu<'_, 'm>, &mut Reference, Owner) -> Checked<Result<T, Stopped>>,
    ) -> Checked<Result<T, Stopped>> {
        let description = slot(guest).description(vcpu);
        let (handle, number) = (self.reference.handle(guest), self.vcpu(guest, vcpu));
        self.host.store_u64(description + 0x10, number);
        self.host.store_u64(description + 0x18, handle);
        let machine = self.machine();
        let mut second = (cpu == 1).then(|| machine.cpu(1).expect("CPU 1 is free"));
        let on: &mut HostCpu<'m> = second.as_mut().unwrap_or(&mut self.host.cpu);
        on.set_primary(Asce(slot(guest).asce()));
        let wanted = self.reference.enter(cpu, guest, vcpu);
        // A refused entry is reported in the state description, and nowhere else.
        let refused = matches!(wanted, Err(Stopped::Invalid(_)));
        let before = refused.then(|| machine.state_digest(None));
        let reported: [u8; 12] = machine_bytes(machine, description + 0x50);
        let result: Result<T, Stopped> = match (wanted, on.enter(VirtualAddress(description))) {
            (Ok(owner), Ok(mut running)) => {
                check::entered(&self.history, handle)?;
                let (psw, wanted) = (running.psw(), self.reference.guests[owner].cpus[&vcpu].psw);
                ensure!(
                    [psw.mask, psw.address] == wanted,
                    "I-36, Q14: the guest begins with {psw:x?}, not {wanted:x?}"
                );
                act(&mut running, &mut self.reference, owner)?
            }
            (Err(stopped), Err(exit)) => {
                ensure!(same_stop(stopped, GuestEvent::Exit(exit)), "D80: SIE gives {exit}, not {stopped:?}");
                Err(stopped)
            }
            (wanted, Ok(_)) => {
                check::entered(&self.history, handle)?;
                return Err(format!("D80, T20: the guest enters, but {wanted:?}"));
            }
            (Ok(_), Err(exit)) => return Err(format!("I-39: the guest must run, SIE gives {exit}")),
        };
        if refused {
            on.store(VirtualAddress(description + 0x50), &reported).map_err(|it| it.to_string())?;
            ensure!(
                Some(machine.state_digest(None)) == before,
                "D80: an entry refused with {:?} has changed something",
                wanted
            );
        }
        self.log.push(format!("guest {:?}", result.as_ref().map(|_| ())));
        Ok(result)
    }

    pub(crate) fn guest_load(&mut self, guest: usize, page: u8, cpu: u16, vcpu: u16) -> Checked<Result<(), Stopped>> {
        self.in_guest((guest, cpu, vcpu), |running, reference, owner| {
            let mut bytes = [0; 4096];
            let wanted = reference.reach(cpu, owner, page, false);
            let found = running.load(real(reference, owner, vcpu, page), &mut bytes);
            match (wanted, found) {
                (Ok(frame), Ok(())) => {
                    ensure!(bytes == *reference.frames[frame].bytes, "I-14: page {page} reads something else");
                    Ok(Ok(()))
                }
                (wanted, found) => refusal(wanted.map(drop), found),
            }
        })
    }

    pub(crate) fn guest_store(&mut self, guest: usize, page: u8, cpu: u16, vcpu: u16, text: Text) -> Checked {
        self.secrets += 1;
        let secret = secret::page(self.secrets * 2 + self.salt);
        self.in_guest((guest, cpu, vcpu), |running, reference, owner| {
            let found = reference.guests[owner].pages[usize::from(page)].clone();
            let now = found.record.frame().map(|frame| reference.frames[frame].bytes.clone());
            let (offset, bytes): (usize, Vec<u8>) = match text {
                Text::Secret => (0, secret.to_vec()),
                Text::Zeros => (0, vec![0; 4096]),
                Text::Same => (0, now.unwrap_or_else(zeros).to_vec()),
                Text::AsExported => (0, found.last.map_or_else(zeros, |(plain, _)| plain).to_vec()),
                Text::Piece(at) => (usize::from(at) * 16, secret[..16].to_vec()),
                Text::Straddle => (4080, secret[..32].to_vec()),
            };
            let at = GuestAddress(real(reference, owner, vcpu, page).0 + offset as u64);
            let next = absolute(reference, owner, vcpu, (at.0 >> 12) as u16 + 1);
            let mut wanted = reference.reach(cpu, owner, page, true);
            if let (Text::Straddle, Ok(_)) = (text, wanted) {
                wanted = reference.reach(cpu, owner, next, true).and(wanted);
            }
            match (wanted, running.store(at, &bytes)) {
                (Ok(frame), Ok(())) => {
                    let (first, rest) = bytes.split_at(bytes.len().min(4096 - offset));
                    reference.write(frame, offset, first);
                    if !rest.is_empty()
                        && let Ok(next) = reference.reach(cpu, owner, next, true)
                    {
                        reference.write(next, 0, rest);
                    }
                    Ok(Ok(()))
                }
                (wanted, found) => refusal(wanted.map(drop), found),
            }
        })
        .map(drop)
    }

    /// Beyond its storage the guest meets its own addressing exception (T22).
    pub(crate) fn guest_beyond(&mut self, guest: usize) -> Checked {
        self.in_guest((guest, 0, 0), |running, _, _| {
            let found = running.load(GuestAddress(1 << 20), &mut [0; 8]);
            refusal::<()>(Err(Stopped::Program(ProgramCode::Addressing)), found)
        })
        .map(drop)
    }

    /// A guest's call, with its block in the last 512 bytes of page 1 (D18, D32).
    pub(crate) fn guest_call(&mut self, command: Command, guest: usize, page: u16, low: u16, cpu: u16) -> Checked {
        const AT: u64 = 0x1e00;
        self.unchecked = true;
        let block = Block::new(command.code(), 0x30, &[(0x20, 8, u64::from(page) << 12 | u64::from(low))]);
        let machine = self.machine();
        self.in_guest((guest, cpu, 0), |running, reference, owner| {
            let at = absolute(reference, owner, 0, 1);
            let home = match (reference.reach(cpu, owner, at, true), running.store(GuestAddress(AT), &block.0[..0x30]))
            {
                (Ok(frame), Ok(())) => frame,
                (wanted, found) => return refusal(wanted.map(drop), found),
            };
            reference.write(home, 0xe00, &block.0[..0x30]);
            let masked = Some(AbsoluteAddress(frame_address(home) + 0xe00));
            let before = machine.state_digest(masked);
            let wanted = if reference.guests[owner].cpus[&0].in_problem_state() {
                Err(Stopped::Program(ProgramCode::PrivilegedOperation))
            } else {
                predict_guest_call(reference, command, owner, page, cpu)
            };
            let found = running.uvc(Uvc::at(VirtualAddress(AT)));
            let (wanted, cc) = match (wanted, found) {
                (Ok(wanted), Ok(cc)) => (wanted, cc as u8),
                (wanted, found) => {
                    if !matches!(wanted, Err(Stopped::Intercepted(_))) {
                        ensure!(machine.state_digest(masked) == before, "I-18: {found:?} has changed something");
                    }
                    return refusal(wanted.map(drop), found.map(drop));
                }
            };
            if !wanted.effect {
                ensure!(machine.state_digest(masked) == before, "I-18: {command:?} has changed something");
            }
            let Some((wanted_cc, rc, rrc)) = wanted.answer else { return Err("answers of guests are known".into()) };
            ensure!(cc == wanted_cc, "{}: {command:?} ends with cc {cc}, not {wanted_cc}", cited(Some(command)));
            if cc < 2 {
                let codes = u32::from(rc) << 16 | u32::from(rrc);
                reference.write(home, 0xe04, &codes.to_be_bytes());
            }
            Ok(Ok(()))
        })
        .map(drop)
    }

    /// From any state, a host that behaves gets its guest on (I-39, D36).
    pub(crate) fn progress(&mut self, guest: usize, page: u8) -> Checked {
        let able = |run: &Self, page: u8| {
            run.reference.guest(guest).is_some_and(|it| {
                let Some(cpu) = it.cpus.get(&0) else { return false };
                let reset = it.protocol != Protocol::Idle || cpu.mark.is_some_and(|mark| mark.done < mark.required);
                let there = |page: &u8| *page < PAGES && it.pages[usize::from(*page)].record != Record::Destroyed;
                let here = cpu.description == slot(guest).description(0);
                let pages = [cpu.prefix, cpu.prefix + 1, if cpu.loads { 0 } else { page }, page];
                cpu.operating && here && !reset && it.boot == Boot::Verified && pages.iter().all(there)
            })
        };
        if !able(self, page) {
            return Ok(());
        }
        for _ in 0..8 {
            let cpu = self.reference.guest(guest).and_then(|it| it.cpus.get(&0)).copied();
            let (prefix, loads) = cpu.map_or((0, false), |cpu| (cpu.prefix, cpu.loads));
            match self.guest_load(guest, page, 0, 0)? {
                Ok(()) => return Ok(()),
                Err(Stopped::Intercepted(112)) => {
                    self.provide(guest, prefix)?;
                    self.provide(guest, prefix + 1)?;
                }
                Err(Stopped::Host(..)) => {
                    if loads {
                        self.provide(guest, 0)?;
                    }
                    self.provide(guest, page)?;
                }
                Err(stopped) => return Err(format!("I-39: no repair for {stopped:?}")),
            }
        }
        Err(format!("I-39: page {page} of guest {guest} cannot be reached"))
    }

    /// An instruction that concerns the host: it ends as it must, and a refused one changes nothing (D79, T20).
    pub(crate) fn instruct(&mut self, guest: usize, cpu: u16, vcpu: u16, instruction: Instruction) -> Checked {
        self.unchecked = true;
        let (machine, handle) = (self.machine(), self.reference.handle(guest));
        let result = self.in_guest((guest, cpu, vcpu), |running, reference, owner| {
            let before = match instruction {
                Instruction::Ipl(subcode, list) => {
                    running.set_general(0, list);
                    running.set_general(2, subcode);
                    machine.state_digest(None)
                }
                _ => machine.state_digest(None),
            };
            let wanted = predict_instruction(reference, instruction, owner, vcpu);
            let found = match instruction {
                Instruction::Diagnose(function) => running.diagnose(Diagnose::new(function)),
                Instruction::Ipl(..) => running.diagnose(Diagnose::new(Diagnose::IPL)),
                Instruction::SetPrefix(prefix) => running.set_prefix(prefix),
            };
            if let Err(GuestEvent::Exit(_)) = found {
                let again = running.load(GuestAddress(0), &mut [0]);
                ensure!(again == found, "D80: after {found:?} the guest goes on: {again:?}");
            } else {
                ensure!(machine.state_digest(None) == before, "I-18: {instruction:?} has changed something");
            }
            refusal::<()>(Err(wanted), found)
        })?;
        if let (Instruction::Ipl(subcode @ (0 | 1), _), Err(Stopped::Intercepted(108))) = (instruction, result) {
            self.history.requested(handle, subcode);
        }
        Ok(())
    }

    pub(crate) fn help(&mut self, guest: usize, page: u16, helped: bool) -> Checked {
        match u8::try_from(page) {
            Ok(page @ 0..PAGES) if helped => self.progress(guest, page),
            _ => Ok(()),
        }
    }
}

/// Where a page lies for a CPU with its prefix, and which page lies somewhere.
fn real(reference: &Reference, owner: Owner, vcpu: u16, page: u8) -> GuestAddress {
    GuestAddress(u64::from(reference.guests[owner].cpus[&vcpu].prefixed(u16::from(page))) << 12)
}

fn absolute(reference: &Reference, owner: Owner, vcpu: u16, page: u16) -> u8 {
    reference.guests[owner].cpus[&vcpu].prefixed(page) as u8
}

fn predict_instruction(reference: &mut Reference, instruction: Instruction, owner: Owner, vcpu: u16) -> Stopped {
    let guest = &mut reference.guests[owner];
    let Some(cpu) = guest.cpus.get_mut(&vcpu).filter(|cpu| !cpu.in_problem_state()) else {
        return Stopped::Program(ProgramCode::PrivilegedOperation);
    };
    match instruction {
        Instruction::Ipl(subcode @ (0 | 1), _) => {
            guest.protocol = Protocol::Requested(if subcode == 0 { 3 } else { 1 });
            Stopped::Intercepted(108)
        }
        Instruction::Ipl(3, _) => Stopped::Intercepted(108),
        // The list lies in the prefix area, which has just been there.
        Instruction::Ipl(5, 0) => Stopped::Intercepted(104),
        Instruction::Diagnose(0x44 | 0x9c) => Stopped::Intercepted(108),
        Instruction::Diagnose(0x288 | 0x500) => Stopped::Intercepted(104),
        Instruction::Ipl(..) | Instruction::Diagnose(_) => Stopped::Program(ProgramCode::Specification),
        Instruction::SetPrefix(value) => {
            let prefix = value & 0x7fff_e000;
            if prefix + 0x2000 > 1 << 20 {
                return Stopped::Program(ProgramCode::Addressing);
            }
            cpu.prefix = (prefix >> 12) as u8;
            Stopped::Intercepted(108)
        }
    }
}

fn machine_bytes<const N: usize>(machine: &Machine, address: u64) -> [u8; N] {
    let mut bytes = [0; N];
    machine.peek(AbsoluteAddress(address), &mut bytes);
    bytes
}

/// What a guest's call must answer, block and target being reached as for loads and stores (D32).
fn predict_guest_call(
    reference: &mut Reference,
    command: Command,
    owner: Owner,
    page: u16,
    cpu: u16,
) -> Result<Prediction, Stopped> {
    if let Some(injected) = reference.injected(command) {
        return Ok(injected);
    }
    let Ok(page) = u8::try_from(page) else {
        return Ok(Prediction { answer: Some((1, 0x101, 0)), effect: false });
    };
    let frame = reference.reach(cpu, owner, page, false)?;
    if command == Command::SetSharedAccess {
        return Ok(reference.share(owner, page, frame));
    }
    reference.unshare(owner, page, frame).ok_or(Stopped::Intercepted(108))
}

/// Compares how an access must end with how it ended, when it did not simply succeed.
fn refusal<T>(wanted: Result<(), Stopped>, found: Result<(), GuestEvent>) -> Checked<Result<T, Stopped>> {
    match (wanted, found) {
        (Err(stopped), Err(event)) if same_stop(stopped, event) => Ok(Err(stopped)),
        (wanted, found) => Err(format!("I-14, I-19: the guest gets {found:?}, not {wanted:?}")),
    }
}

fn same_stop(stopped: Stopped, event: GuestEvent) -> bool {
    match event {
        GuestEvent::Exit(SieExit::HostInterruption(it)) => stopped == Stopped::Host(it.code, it.teid),
        GuestEvent::Exit(SieExit::Interception(Interception { code, ipb, .. })) => match stopped {
            Stopped::Invalid(reason) => code == Interception::VALIDITY && ipb == (reason as u32) << 16,
            _ => stopped == Stopped::Intercepted(code),
        },
        GuestEvent::Program(it) => stopped == Stopped::Program(it.code),
    }
}
