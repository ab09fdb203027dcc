//! What guests do, and what the host does for them.

use crate::reference::{Block, Boot, Owner, Prediction, Record, Reference, Stopped, frame_address, slot, zeros};
use crate::run::{Checked, Run, cited, ensure};
use crate::secret;
use crate::step::{PAGES, Text};
use uvsim_model::address::{AbsoluteAddress, GuestAddress, VirtualAddress};
use uvsim_model::cpu::{GuestCpu, GuestEvent, HostCpu, Interception, SieExit, Uvc};
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
        let result = match (wanted, on.enter(VirtualAddress(description))) {
            (Ok(owner), Ok(mut running)) => act(&mut running, &mut self.reference, owner)?,
            (Err(stopped), Err(exit)) => {
                ensure!(same_stop(stopped, GuestEvent::Exit(exit)), "D80: SIE gives {exit}, not {stopped:?}");
                Err(stopped)
            }
            (wanted, Ok(_)) => return Err(format!("I-34, T20: the guest enters, but {wanted:?}")),
            (Ok(_), Err(exit)) => return Err(format!("I-39: the guest must run, SIE gives {exit}")),
        };
        self.log.push(format!("guest {:?}", result.as_ref().map(|_| ())));
        Ok(result)
    }

    pub(crate) fn guest_load(&mut self, guest: usize, page: u8, cpu: u16, vcpu: u16) -> Checked<Result<(), Stopped>> {
        self.in_guest((guest, cpu, vcpu), |running, reference, owner| {
            let mut bytes = [0; 4096];
            let wanted = reference.reach(cpu, owner, page, false);
            let found = running.load(GuestAddress(u64::from(page) << 12), &mut bytes);
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
            let mut wanted = reference.reach(cpu, owner, page, true);
            if let (Text::Straddle, Ok(_)) = (text, wanted) {
                wanted = reference.reach(cpu, owner, page + 1, true).and(wanted);
            }
            let at = GuestAddress((u64::from(page) << 12) + offset as u64);
            match (wanted, running.store(at, &bytes)) {
                (Ok(frame), Ok(())) => {
                    let (first, rest) = bytes.split_at(bytes.len().min(4096 - offset));
                    reference.write(frame, offset, first);
                    if !rest.is_empty()
                        && let Ok(next) = reference.reach(cpu, owner, page + 1, true)
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
            refusal::<()>(Err(Stopped::Addressing), found)
        })
        .map(drop)
    }

    /// A guest's call, with its block in the last 512 bytes of page 1 (D18, D32).
    pub(crate) fn guest_call(&mut self, command: Command, guest: usize, page: u16, low: u16, cpu: u16) -> Checked {
        const AT: u64 = 0x1e00;
        let block = Block::new(command.code(), 0x30, &[(0x20, 8, u64::from(page) << 12 | u64::from(low))]);
        let machine = self.machine();
        self.in_guest((guest, cpu, 0), |running, reference, owner| {
            let home = match (reference.reach(cpu, owner, 1, true), running.store(GuestAddress(AT), &block.0[..0x30])) {
                (Ok(frame), Ok(())) => frame,
                (wanted, found) => return refusal(wanted.map(drop), found),
            };
            reference.write(home, 0xe00, &block.0[..0x30]);
            let masked = Some(AbsoluteAddress(frame_address(home) + 0xe00));
            let before = machine.state_digest(masked);
            let wanted = predict_guest_call(reference, command, owner, page, cpu);
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
                let operating =
                    it.cpus.get(&0).is_some_and(|cpu| cpu.operating && cpu.reset != Some(0)) && !it.prepared;
                let there = |page: u8| it.pages[usize::from(page)].record != Record::Destroyed;
                operating && it.boot == Boot::Verified && [0, 1, page].into_iter().all(there)
            })
        };
        if !able(self, page) {
            return Ok(());
        }
        for _ in 0..8 {
            match self.guest_load(guest, page, 0, 0)? {
                Ok(()) => return Ok(()),
                Err(Stopped::Intercepted(112)) => {
                    self.provide(guest, 0)?;
                    self.provide(guest, 1)?;
                }
                Err(Stopped::Host(..)) => self.provide(guest, page)?,
                Err(stopped) => return Err(format!("I-39: no repair for {stopped:?}")),
            }
        }
        Err(format!("I-39: page {page} of guest {guest} cannot be reached"))
    }

    pub(crate) fn help(&mut self, guest: usize, page: u16, helped: bool) -> Checked {
        match u8::try_from(page) {
            Ok(page @ 0..PAGES) if helped => self.progress(guest, page),
            _ => Ok(()),
        }
    }
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
        GuestEvent::Exit(SieExit::Interception(Interception { code, .. })) => stopped == Stopped::Intercepted(code),
        GuestEvent::Program(it) => stopped == Stopped::Addressing && it.code == ProgramCode::Addressing,
    }
}
