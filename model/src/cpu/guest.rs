//! A CPU of a secure configuration, in SIE on a host CPU.
//!
//! [`HostCpu::enter`] starts it; it then performs one action after the other until one of them makes it
//! leave. Guest CPUs run with translation off (D18): addresses are guest real.

use super::call::{Answer, Uvc};
use super::host::HostCpu;
use crate::address::{FrameNumber, GuestAddress, PAGE_SIZE, PageIndex, VirtualAddress};
use crate::event::Event;
use crate::firmware::{CallResult, Configuration, RunState, SecureCpu, Stop, Unshared};
use crate::storage::arena::Access;
use crate::storage::dat;
use crate::storage::translation_buffer::Space;
use crate::storage::{AccessKind, AddressSpace, Domain, ProgramCode, ProgramInterruption, Tag, Teid, Verdict, check};
use crate::uvc::{Block, BlockHeader, Command, ConditionCode, HEADER_LENGTH, Issuer, Refusal, general_checks};
use core::fmt;
use std::sync::Arc;

/// Offsets in the state description (format 4; Linux `asm/kvm_host.h`).
mod description {
    pub(super) const CPU_HANDLE: u64 = 0x10;
    pub(super) const CONFIGURATION_HANDLE: u64 = 0x18;
    pub(super) const CPU_TIMER: u64 = 0x28;
    pub(super) const INTERCEPTION_CODE: u64 = 0x50;
    pub(super) const INSTRUCTION: u64 = 0x56;
    pub(super) const SIDA: u64 = 0x180;
}

/// Why SIE ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SieExit {
    /// A program interruption of the host: the guest has not noticed anything and will repeat.
    HostInterruption(ProgramInterruption),
    /// An interception, stored in the state description.
    Interception(Interception),
}

/// An interception as the state description shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interception {
    /// Interception code: 32 validity, 108 notification, 112 prefix not secure.
    pub code: u8,
    /// First halfword of the instruction, or 0.
    pub ipa: u16,
    /// Rest of the instruction, or the validity reason in the upper half.
    pub ipb: u32,
}

/// Reasons of a validity interception; the numbers behind 0x20 are ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum ValidityReason {
    /// The configuration handle names no live configuration.
    ConfigurationHandle = 0x2001,
    /// The CPU handle names no CPU.
    CpuHandle = 0x2002,
    /// The CPU is one of another configuration.
    ForeignCpu = 0x2003,
    /// Control register 1 is not the ASCE of the configuration.
    Asce = 0x2004,
    /// The state description is not the one that CREATE_SEC_CPU named (Q26).
    StateDescription = 0x2005,
    /// The CPU is in SIE elsewhere.
    AlreadyRunning = 0x2006,
    /// The CPU timer was raised, or lowered by more than the time that has passed.
    CpuTimer = 0x2007,
    /// The image is not verified (I-34).
    NotVerified = 0x2008,
    /// The CPU does not operate.
    NotOperating = 0x2009,
}

impl ValidityReason {
    const fn exit(self) -> SieExit {
        SieExit::Interception(Interception { code: 32, ipa: 0, ipb: (self as u32) << 16 })
    }
}

impl Interception {
    const PREFIX: SieExit = SieExit::Interception(Self { code: 112, ipa: 0, ipb: 0 });
    const UNSHARE: SieExit = SieExit::Interception(Self { code: 108, ipa: 0xb9a4, ipb: 0 });
}

impl fmt::Display for SieExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostInterruption(interruption) => interruption.fmt(f),
            Self::Interception(it) => write!(f, "interception {}, ipa {:#x}, ipb {:#x}", it.code, it.ipa, it.ipb),
        }
    }
}

/// How a guest action ends when it does not simply succeed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GuestEvent {
    /// The CPU has left SIE. Every further action reports the same exit.
    Exit(SieExit),
    /// The guest takes a program interruption of its own and stays in SIE.
    Program(ProgramInterruption),
}

impl From<ProgramInterruption> for GuestEvent {
    fn from(interruption: ProgramInterruption) -> Self {
        Self::Exit(SieExit::HostInterruption(interruption))
    }
}

/// A guest CPU in SIE. Dropped, it leaves.
#[derive(Debug)]
pub struct GuestCpu<'c, 'm> {
    host: &'c mut HostCpu<'m>,
    cpu: Arc<SecureCpu>,
    configuration: Arc<Configuration>,
    description: VirtualAddress,
    domain: Domain,
    origin: u64,
    space: Space,
    size: u64,
    /// Bytes within the reach of a load or store: all of `size`, or none after an exit.
    reach: u64,
    prefix: u64,
    timer: u64,
    problem_state: bool,
    exit: Option<SieExit>,
}

impl<'m> HostCpu<'m> {
    /// START INTERPRETIVE EXECUTION with a state description of format 4 at a host virtual address.
    ///
    /// # Errors
    /// The exit of an entry that fails, in the order of D80: access to the state description, handles and
    /// control register 1, CPU timer, state of configuration and CPU, both prefix pages.
    pub fn enter(&mut self, description: VirtualAddress) -> Result<GuestCpu<'_, 'm>, SieExit> {
        let entered = self.check_entry(description);
        match entered {
            Ok((cpu, timer)) => {
                let configuration = cpu.configuration.clone();
                let (domain, origin, size) = (configuration.domain, configuration.origin, configuration.size());
                let space = Space::of(configuration.asce);
                let prefix = cpu.status().prefix;
                let mut guest = GuestCpu {
                    host: self,
                    cpu,
                    configuration,
                    description,
                    domain,
                    origin,
                    space,
                    size,
                    reach: size,
                    prefix,
                    timer,
                    problem_state: false,
                    exit: None,
                };
                match guest.check_prefix() {
                    Some(exit) => Err(guest.leave(exit)),
                    None => Ok(guest),
                }
            }
            Err(exit) => {
                self.report(description, exit);
                Err(exit)
            }
        }
    }

    /// All of D80 but the prefix pages. The CPU counts as being in SIE when this succeeds.
    fn check_entry(&mut self, description: VirtualAddress) -> Result<(Arc<SecureCpu>, u64), SieExit> {
        let host = SieExit::HostInterruption;
        self.check_privilege().map_err(host)?;
        let at = self.translate(description).map_err(host)?;
        let mut field = |offset| self.load_u64(VirtualAddress(description.0.wrapping_add(offset))).map_err(host);
        let cpu_handle = field(description::CPU_HANDLE)?;
        let configuration_handle = field(description::CONFIGURATION_HANDLE)?;
        let timer = field(description::CPU_TIMER)?;

        let objects = self.machine.firmware.objects();
        let configuration =
            objects.configuration(configuration_handle).ok_or(ValidityReason::ConfigurationHandle.exit())?;
        let cpu = objects.cpu(cpu_handle).ok_or(ValidityReason::CpuHandle.exit())?;
        if !Arc::ptr_eq(&cpu.configuration, &configuration) {
            return Err(ValidityReason::ForeignCpu.exit());
        }
        if self.registers().primary != configuration.asce {
            return Err(ValidityReason::Asce.exit());
        }
        if at != cpu.state_description {
            return Err(ValidityReason::StateDescription.exit());
        }
        if !cpu.try_enter() {
            return Err(ValidityReason::AlreadyRunning.exit());
        }
        match self.check_state(&cpu, timer) {
            Some(reason) => {
                cpu.leave();
                Err(reason.exit())
            }
            None => Ok((cpu, timer)),
        }
    }

    fn check_state(&self, cpu: &SecureCpu, timer: u64) -> Option<ValidityReason> {
        if cpu.is_gone() {
            return Some(ValidityReason::CpuHandle);
        }
        let status = cpu.status();
        if let Some((last, clock)) = status.last_exit {
            let elapsed = self.machine.clock().saturating_sub(clock);
            // The CPU timer counts in units of 1/4096 of a microsecond.
            let allowed = i64::try_from(u128::from(elapsed) * 4096 / 1000).unwrap_or(i64::MAX);
            let lowered = (last as i64).wrapping_sub(timer as i64);
            if lowered < 0 || lowered > allowed {
                return Some(ValidityReason::CpuTimer);
            }
        }
        let verified = cpu.configuration.life().is_some_and(|life| life.boot.psw().is_some());
        if !verified {
            return Some(ValidityReason::NotVerified);
        }
        (status.state != RunState::Operating).then_some(ValidityReason::NotOperating)
    }

    /// Stores an interception into the state description, if it can be reached.
    fn report(&mut self, description: VirtualAddress, exit: SieExit) {
        let SieExit::Interception(interception) = exit else { return };
        let order = self.storage().order();
        let mut instruction = [0; 6];
        instruction[..2].copy_from_slice(&order.u16_bytes(interception.ipa));
        instruction[2..].copy_from_slice(&order.u32_bytes(interception.ipb));
        let at = |offset| VirtualAddress(description.0.wrapping_add(offset));
        // A host that withdraws its own block during the exit loses the report, nothing else.
        let _ = self.store(at(description::INTERCEPTION_CODE), &[interception.code]);
        let _ = self.store(at(description::INSTRUCTION), &instruction);
    }
}

impl<'m> GuestCpu<'_, 'm> {
    /// Number of the CPU in its configuration.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.cpu.number
    }

    /// Enters or leaves problem state.
    pub fn set_problem_state(&mut self, on: bool) {
        self.problem_state = on;
    }

    /// Loads bytes.
    ///
    /// # Errors
    /// The guest's own addressing exception beyond its storage (T22), or an exit: translation, protection,
    /// 0x3c, 0x3e, 0x3f (T13–T17, T21). Nothing has been loaded then.
    #[inline(always)]
    pub fn load(&mut self, address: GuestAddress, bytes: &mut [u8]) -> Result<(), GuestEvent> {
        let offset = (address.0 % PAGE_SIZE) as usize;
        if bytes.len() <= PAGE_SIZE as usize - offset
            && let Some((access, _)) = self.buffered(address, AccessKind::Fetch)
        {
            access.load(offset, bytes);
            return Ok(());
        }
        self.load_slowly(address, bytes)
    }

    #[inline(never)]
    fn load_slowly(&mut self, address: GuestAddress, bytes: &mut [u8]) -> Result<(), GuestEvent> {
        self.probe(address, bytes.len() as u64, AccessKind::Fetch)?;
        let mut at = address;
        let mut rest = bytes;
        while !rest.is_empty() {
            let offset = (at.0 % PAGE_SIZE) as usize;
            let len = rest.len().min(PAGE_SIZE as usize - offset);
            let (part, tail) = rest.split_at_mut(len);
            self.access(at, AccessKind::Fetch)?.0.load(offset, part);
            at = GuestAddress(at.0.wrapping_add(len as u64));
            rest = tail;
        }
        Ok(())
    }

    /// Stores bytes.
    ///
    /// # Errors
    /// As [`GuestCpu::load`]. Nothing has been stored then.
    #[inline(always)]
    pub fn store(&mut self, address: GuestAddress, bytes: &[u8]) -> Result<(), GuestEvent> {
        let offset = (address.0 % PAGE_SIZE) as usize;
        if bytes.len() <= PAGE_SIZE as usize - offset
            && let Some((access, _)) = self.buffered(address, AccessKind::Store)
        {
            access.store(offset, bytes);
            return Ok(());
        }
        self.store_slowly(address, bytes)
    }

    #[inline(never)]
    fn store_slowly(&mut self, address: GuestAddress, bytes: &[u8]) -> Result<(), GuestEvent> {
        self.probe(address, bytes.len() as u64, AccessKind::Store)?;
        let mut at = address;
        let mut rest = bytes;
        while !rest.is_empty() {
            let offset = (at.0 % PAGE_SIZE) as usize;
            let (part, tail) = rest.split_at(rest.len().min(PAGE_SIZE as usize - offset));
            self.access(at, AccessKind::Store)?.0.store(offset, part);
            at = GuestAddress(at.0.wrapping_add(part.len() as u64));
            rest = tail;
        }
        Ok(())
    }

    /// PREFETCH DATA: a hint that a byte will be accessed soon. It may form a translation; it recognises no
    /// exception, touches nothing and makes nobody leave SIE.
    #[inline]
    pub fn prefetch(&mut self, address: GuestAddress) {
        let absolute = dat::apply_prefix(address.0, self.prefix).0;
        if absolute >= self.reach {
            return;
        }
        let at = VirtualAddress(self.origin + absolute);
        if let Ok(located) = self.host.translate_in(self.space, at, AccessKind::Fetch, AddressSpace::Primary, false) {
            self.host.storage().fetch_byte_ahead(located.frame, (absolute % PAGE_SIZE) as usize);
        }
    }

    /// Executes ULTRAVISOR CALL with a block at a guest real address. Order as on the host (D2, D18).
    ///
    /// # Errors
    /// A program interruption of the guest, or an exit; the guest then repeats the instruction, after an
    /// interception 108 too (D32).
    pub fn uvc(&mut self, instruction: Uvc) -> Result<ConditionCode, GuestEvent> {
        if let Some(exit) = self.exit {
            return Err(GuestEvent::Exit(exit));
        }
        if self.problem_state {
            return Err(GuestEvent::Program(ProgramInterruption::new(ProgramCode::PrivilegedOperation)));
        }
        instruction.check_form().map_err(GuestEvent::Program)?;
        let address = GuestAddress(instruction.r2);
        let order = self.host.storage().order();
        let (access, page) = self.access(address, AccessKind::Store)?;
        let (home, offset) = ((access.frame(), page), (address.0 % PAGE_SIZE) as usize);
        let mut header = [0; HEADER_LENGTH];
        access.load(offset, &mut header);
        let header = BlockHeader::parse(header, order);
        let firmware = &self.host.machine.firmware;
        let checked = general_checks(header, Issuer::Guest, firmware.guest_calls(), true);
        let mut block = self.host.take_block(header.length);
        // The access to the header is one to the whole block if that lies in the same page.
        let whole = usize::from(header.length) <= PAGE_SIZE as usize - offset;
        if whole && checked.is_ok() {
            access.load(offset, block.kept_mut());
        }
        drop(access);
        let result = match checked {
            Err(refusal) => Err(Stop::Refused(refusal)),
            Ok(command) => {
                if !whole {
                    self.probe(address, u64::from(header.length), AccessKind::Store)?;
                    self.load(address, block.kept_mut())?;
                }
                self.perform(command, &mut block)?
            }
        };
        let answer = Answer::of(result);
        self.finish(address, home, header.command, &block, &answer)?;
        self.host.give_block(block);
        Ok(answer.cc)
    }

    /// Runs a command whose general checks are done.
    fn perform(&mut self, command: Command, block: &mut Block) -> Result<CallResult, GuestEvent> {
        let machine = self.host.machine;
        if let Some(stop) = machine.firmware.injected_stop(command) {
            return Ok(Err(stop));
        }
        if !matches!(command, Command::SetSharedAccess | Command::RemoveSharedAccess) {
            return Ok(machine.firmware.guest_query(command, block));
        }
        let address = GuestAddress(block.u64(0x20) & !(PAGE_SIZE - 1));
        if address.0 >= self.size {
            return Ok(Err(Stop::Refused(Refusal::new(0x101, "T63"))));
        }
        // The page must be accessible exactly as for a load (D32); its access ends before the state changes.
        // The operand is guest absolute (D18), an access takes real addresses; prefixing is its own inverse.
        let real = GuestAddress(dat::apply_prefix(address.0, self.prefix).0);
        let number = self.access(real, AccessKind::Fetch)?.0.frame();
        let (storage, page) = (&machine.storage, address.page());
        if command == Command::SetSharedAccess {
            return Ok(machine.firmware.share(storage, &self.configuration, page, number));
        }
        match machine.firmware.unshare(storage, &self.configuration, page, number) {
            Ok(Unshared::Done(rule)) => Ok(Ok(rule)),
            Ok(Unshared::Pinned) => {
                self.store_sida(block);
                Err(GuestEvent::Exit(self.leave(Interception::UNSHARE)))
            }
            Err(stop) => Ok(Err(stop)),
        }
    }

    /// Stores outputs, then rc and rrc. The codes go to the frame where the header was found: a call that
    /// has changed the zone entry of its own block's frame needs no second translation, which could fail
    /// when it is too late. The live entry is checked all the same (D58).
    fn finish(
        &mut self,
        address: GuestAddress,
        home: (FrameNumber, PageIndex),
        command: u16,
        block: &Block,
        answer: &Answer,
    ) -> Result<(), GuestEvent> {
        let (offset, bytes) = block.output();
        if answer.outputs && !bytes.is_empty() {
            self.store(GuestAddress(address.0.wrapping_add(u64::from(offset))), bytes)?;
        }
        if let Some(codes) = answer.codes(self.host.storage().order()) {
            let (frame, page) = home;
            let access = self.host.begin(frame);
            match check(Tag::Guest(self.domain, page), access.zone()) {
                Verdict::Allow => access.store((address.0 % PAGE_SIZE) as usize + 4, &codes),
                verdict => {
                    drop(access);
                    return Err(self.refuse(verdict, address, AccessKind::Store));
                }
            }
        }
        let (cpu, &Answer { cc, rc, rrc, rule, .. }) = (self.host.number, answer);
        let events = self.host.machine.firmware.events();
        events.emit(|| Event::Call { issuer: Issuer::Guest, cpu, command, cc, rc, rrc, rule });
        Ok(())
    }

    /// Copies the control block to the secure-instruction data area, if the host has provided one.
    fn store_sida(&mut self, block: &Block) {
        let at = VirtualAddress(self.description.0.wrapping_add(description::SIDA));
        let Ok(designation) = self.host.load_u64(at) else { return };
        let area = designation & !(PAGE_SIZE - 1);
        if area != 0 {
            // A host that gave a bad address does not get the data.
            let _ = self.host.store(VirtualAddress(area), block.kept());
        }
    }

    /// Checks access to every page of a stretch.
    fn probe(&mut self, address: GuestAddress, len: u64, kind: AccessKind) -> Result<(), GuestEvent> {
        let mut covered = 0;
        while covered < len {
            let at = GuestAddress(address.0.wrapping_add(covered));
            drop(self.access(at, kind)?);
            covered += PAGE_SIZE - at.0 % PAGE_SIZE;
        }
        Ok(())
    }

    /// An access that needs no walk and that the zone entry permits: most of them. `None` sends the caller
    /// the long way, which tells why.
    #[inline(always)]
    fn buffered(&self, address: GuestAddress, kind: AccessKind) -> Option<(Access<'m>, PageIndex)> {
        // Prefixing with 0 changes nothing, and nearly all guests leave it at that.
        let absolute = if self.prefix == 0 { address.0 } else { dat::apply_prefix(address.0, self.prefix).0 };
        if absolute >= self.reach {
            return None;
        }
        let page = PageIndex(absolute / PAGE_SIZE);
        let (access, zone) = self.host.buffered(self.space, VirtualAddress(self.origin + absolute), kind, 0)?;
        (check(Tag::Guest(self.domain, page), zone) == Verdict::Allow).then_some((access, page))
    }

    /// Translation and zone check of one page: an access in progress, and the page.
    fn access(&mut self, address: GuestAddress, kind: AccessKind) -> Result<(Access<'m>, PageIndex), GuestEvent> {
        match self.buffered(address, kind) {
            Some(access) => Ok(access),
            None => self.access_slowly(address, kind),
        }
    }

    #[inline(never)]
    fn access_slowly(
        &mut self,
        address: GuestAddress,
        kind: AccessKind,
    ) -> Result<(Access<'m>, PageIndex), GuestEvent> {
        let (frame, page) = self.locate(address, kind)?;
        let access = self.host.begin(frame);
        match check(Tag::Guest(self.domain, page), access.zone()) {
            Verdict::Allow => Ok((access, page)),
            verdict => {
                drop(access);
                Err(self.refuse(verdict, address, kind))
            }
        }
    }

    /// The frame and the page at an address, without the zone check.
    fn locate(&mut self, address: GuestAddress, kind: AccessKind) -> Result<(FrameNumber, PageIndex), GuestEvent> {
        if let Some(exit) = self.exit {
            return Err(GuestEvent::Exit(exit));
        }
        let absolute = dat::apply_prefix(address.0, self.prefix).0;
        if absolute >= self.size {
            return Err(GuestEvent::Program(ProgramInterruption::new(ProgramCode::Addressing)));
        }
        let at = VirtualAddress(self.origin + absolute);
        let located = match self.host.translate_in(self.space, at, kind, AddressSpace::Primary, false) {
            Ok(located) => located,
            Err(interruption) => return Err(self.exit_with(interruption)),
        };
        if located.large {
            let teid = Teid::new(at.0, kind, AddressSpace::Primary);
            return Err(self.exit_with(ProgramInterruption { code: ProgramCode::SecurePageSize, teid }));
        }
        Ok((located.frame, PageIndex(absolute / PAGE_SIZE)))
    }

    /// The interruption that a refused access gives to the host (D19).
    #[cold]
    fn refuse(&mut self, verdict: Verdict, address: GuestAddress, kind: AccessKind) -> GuestEvent {
        let absolute = dat::apply_prefix(address.0, self.prefix).0;
        let teid = Teid::new(self.origin + absolute, kind, AddressSpace::Primary);
        let interruption = match verdict {
            Verdict::SecureStorageViolation if self.host.machine.firmware.misc() => {
                ProgramInterruption { code: ProgramCode::SecureStorageViolation, teid: teid.with_bit_61() }
            }
            Verdict::SecureStorageViolation => ProgramInterruption { code: ProgramCode::SecureStorageViolation, teid },
            _ => ProgramInterruption { code: ProgramCode::NonSecureStorageAccess, teid },
        };
        self.exit_with(interruption)
    }

    fn exit_with(&mut self, interruption: ProgramInterruption) -> GuestEvent {
        GuestEvent::Exit(self.leave(SieExit::HostInterruption(interruption)))
    }

    /// Both prefix pages must be reachable before anything runs: else 112 (T20, D80).
    fn check_prefix(&mut self) -> Option<SieExit> {
        for page in [self.prefix, self.prefix + PAGE_SIZE] {
            // Real 0 and 0x1000 are the prefix area by definition.
            let real = GuestAddress(page - self.prefix);
            if self.access(real, AccessKind::Fetch).is_err() {
                self.exit = None;
                self.reach = self.size;
                return Some(Interception::PREFIX);
            }
        }
        None
    }

    fn leave(&mut self, exit: SieExit) -> SieExit {
        self.host.report(self.description, exit);
        self.exit = Some(exit);
        self.reach = 0;
        exit
    }
}

impl Drop for GuestCpu<'_, '_> {
    fn drop(&mut self) {
        let clock = self.host.machine.clock();
        let timer = self.timer;
        self.cpu.change(|status| status.last_exit = Some((timer, clock)));
        self.cpu.leave();
    }
}

impl fmt::Display for GuestEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(exit) => exit.fmt(f),
            Self::Program(interruption) => write!(f, "in the guest: {interruption}"),
        }
    }
}
