//! A host CPU: loads, stores and purges. Ultravisor calls are in `call.rs`, SIE in `guest.rs`.

use crate::address::{AbsoluteAddress, FrameNumber, PAGE_SIZE, VirtualAddress};
use crate::firmware::Recent;
use crate::machine::Machine;
use crate::storage::arena::{Access, InFlight, RequestorNumber};
use crate::storage::dat;
use crate::storage::translation_buffer::{Asked, Purge, Space, TranslationBuffer, property};
use crate::storage::{
    AccessKind, AddressSpace, Asce, ProgramCode, ProgramInterruption, Storage, Teid, TranslationFault, ZoneEntry,
};
use crate::uvc::Block;
use crate::witness::{HostStep, Outcome, Step};
use core::marker::PhantomData;
use core::sync::atomic::{AtomicBool, Ordering};
use parking_lot::{Mutex, MutexGuard};

/// What of a CPU outlives its operation: the translation buffer, the registers, purges asked for by others.
#[derive(Debug)]
pub(crate) struct CpuSlot {
    /// Whoever holds this operates the CPU.
    pub(crate) state: Mutex<CpuState>,
    pub(super) purge_pending: AtomicBool,
    pub(super) asked: Mutex<Asked>,
}

/// State that only the CPU itself touches while it operates.
#[derive(Debug)]
pub(crate) struct CpuState {
    pub(super) registers: Registers,
    /// Accesses may take the short way: translation is on, and nobody watches the machine.
    direct: bool,
    /// The home space of the registers.
    pub(super) home: Space,
    pub(super) buffer: TranslationBuffer,
}

/// Registers of a host CPU, as far as the model needs them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Registers {
    /// PSW bit 15: privileged instructions are refused.
    pub problem_state: bool,
    /// PSW bit 5: addresses are translated, in home space.
    pub translation: bool,
    /// Control register 1: in SIE the space of the guest.
    pub primary: Asce,
    /// Control register 13: the host's own space.
    pub home: Asce,
    /// Prefix register; its low 13 bits are zero.
    pub prefix: u64,
}

impl CpuSlot {
    pub(crate) fn new() -> Self {
        let registers =
            Registers { problem_state: false, translation: false, primary: Asce(0), home: Asce(0), prefix: 0 };
        let state =
            CpuState { registers, direct: false, home: Space::of(registers.home), buffer: TranslationBuffer::new() };
        Self { state: Mutex::new(state), purge_pending: AtomicBool::new(false), asked: Mutex::default() }
    }

    pub(crate) fn ask(&self, purge: Purge) {
        self.asked.lock().add(purge);
        self.purge_pending.store(true, Ordering::Release);
    }
}

/// Counts a CPU of this number as operating.
#[derive(Debug)]
struct Turn<'m>(&'m Machine, u16);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.stopped(self.1);
    }
}

/// An operating host CPU. It operates until it is dropped; then it stops, and keeps its registers and its
/// translation buffer.
///
/// It belongs to one thread: other threads operate other CPUs of the same machine.
#[derive(Debug)]
pub struct HostCpu<'m> {
    pub(crate) machine: &'m Machine,
    pub(crate) number: u16,
    slot: &'m CpuSlot,
    in_flight: &'m InFlight,
    pub(crate) state: MutexGuard<'m, CpuState>,
    /// After the state: the CPU counts as operating until that is free.
    _turn: Turn<'m>,
    pub(crate) recent: Recent,
    /// The block of the latest call, to be used again.
    spare_block: Option<Box<Block>>,
    /// Virtual operands are pointers of the process.
    pub(super) native: bool,
    one_thread: PhantomData<*const ()>,
}

impl<'m> HostCpu<'m> {
    pub(crate) fn new(machine: &'m Machine, number: u16, slot: &'m CpuSlot, state: MutexGuard<'m, CpuState>) -> Self {
        let in_flight = machine.storage.in_flight(RequestorNumber(number));
        let mut cpu = Self {
            machine,
            number,
            slot,
            in_flight,
            state,
            _turn: Turn(machine, number),
            recent: Recent::default(),
            spare_block: None,
            native: false,
            one_thread: PhantomData,
        };
        // Somebody may have begun to watch since it stopped.
        cpu.choose_way();
        cpu
    }

    pub(crate) fn choose_way(&mut self) {
        self.state.direct = self.state.registers.translation && !self.native && !self.machine.is_watched();
    }

    /// Number of the CPU.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The machine that it belongs to.
    #[must_use]
    pub fn machine(&self) -> &'m Machine {
        self.machine
    }

    /// The registers.
    #[must_use]
    pub fn registers(&self) -> Registers {
        self.state.registers
    }

    /// Enters or leaves problem state.
    pub fn set_problem_state(&mut self, on: bool) {
        self.state.registers.problem_state = on;
        self.tell_registers();
    }

    /// Switches translation in home space on or off.
    pub fn set_translation(&mut self, on: bool) {
        self.state.registers.translation = on;
        self.choose_way();
        self.tell_registers();
    }

    /// Loads control register 1. Purges nothing: translations of another space do not match.
    pub fn set_primary(&mut self, asce: Asce) {
        self.state.registers.primary = asce;
        self.tell_registers();
    }

    /// Loads control register 13.
    pub fn set_home(&mut self, asce: Asce) {
        self.state.registers.home = asce;
        self.state.home = Space::of(asce);
        self.tell_registers();
    }

    fn tell_registers(&self) {
        self.tell(HostStep::Registers(self.registers()), Outcome::Done);
    }

    /// Tells the witness of a step of this CPU.
    #[inline]
    pub(crate) fn tell(&self, step: HostStep<'_>, outcome: Outcome<'_>) {
        self.machine.tell(Step::Host(self.number, step), outcome);
    }

    /// SET PREFIX. Bits 33 to 50 count: 8 KiB, below 2 GiB; the translation buffer of this CPU is purged.
    ///
    /// # Errors
    /// Addressing, when the prefix area does not lie in storage.
    pub fn set_prefix(&mut self, prefix: u64) -> Result<(), ProgramInterruption> {
        let done = self.load_prefix(prefix);
        self.tell(HostStep::SetPrefix(prefix), Outcome::of_host(&done));
        done
    }

    fn load_prefix(&mut self, prefix: u64) -> Result<(), ProgramInterruption> {
        let prefix = prefix & 0x7fff_e000;
        if !self.storage().contains(AbsoluteAddress(prefix), 0x2000) {
            return Err(ProgramInterruption::new(ProgramCode::Addressing));
        }
        let state = &mut *self.state;
        state.registers.prefix = prefix;
        state.buffer.purge(Purge::All);
        Ok(())
    }

    /// Loads bytes at a home-space virtual address, or a real one while translation is off.
    ///
    /// # Errors
    /// The interruption of the first page that refuses (T2–T9). Nothing has been loaded then.
    #[inline(always)]
    pub fn load(&mut self, address: VirtualAddress, bytes: &mut [u8]) -> Result<(), ProgramInterruption> {
        self.load_as(address, bytes, AccessKind::Fetch)
    }

    /// Loads on the way of another step.
    #[inline(always)]
    pub(super) fn load_within(&mut self, address: VirtualAddress, bytes: &mut [u8]) -> Result<(), ProgramInterruption> {
        if self.load_directly(address, bytes, AccessKind::Fetch) {
            return Ok(());
        }
        self.load_pages(address, bytes, AccessKind::Fetch)
    }

    /// Stores bytes at a home-space virtual address, or a real one while translation is off.
    ///
    /// # Errors
    /// The interruption of the first page that refuses (T2–T9). Nothing has been stored then.
    #[inline(always)]
    pub fn store(&mut self, address: VirtualAddress, bytes: &[u8]) -> Result<(), ProgramInterruption> {
        if self.store_directly(address, bytes) {
            return Ok(());
        }
        self.store_slowly(address, bytes)
    }

    /// Stores on the way of another step.
    #[inline(always)]
    pub(super) fn store_within(&mut self, address: VirtualAddress, bytes: &[u8]) -> Result<(), ProgramInterruption> {
        if self.store_directly(address, bytes) {
            return Ok(());
        }
        self.store_pages(address, bytes)
    }

    #[inline(always)]
    fn store_directly(&self, address: VirtualAddress, bytes: &[u8]) -> bool {
        let offset = (address.0 % PAGE_SIZE) as usize;
        if bytes.len() <= PAGE_SIZE as usize - offset
            && let Some(access) = self.buffered_home(address, AccessKind::Store)
        {
            access.store(offset, bytes);
            return true;
        }
        false
    }

    #[inline(never)]
    fn store_slowly(&mut self, address: VirtualAddress, bytes: &[u8]) -> Result<(), ProgramInterruption> {
        let done = self.store_pages(address, bytes);
        self.tell(HostStep::Store(address, bytes), Outcome::of_host(&done));
        done
    }

    fn store_pages(&mut self, address: VirtualAddress, bytes: &[u8]) -> Result<(), ProgramInterruption> {
        if self.native {
            return self.store_natively(address, bytes);
        }
        self.probe(address, bytes.len() as u64, AccessKind::Store)?;
        let mut at = address;
        let mut rest = bytes;
        while !rest.is_empty() {
            let offset = (at.0 % PAGE_SIZE) as usize;
            let (part, tail) = rest.split_at(rest.len().min(PAGE_SIZE as usize - offset));
            self.access(at, AccessKind::Store)?.store(offset, part);
            at = VirtualAddress(at.0.wrapping_add(part.len() as u64));
            rest = tail;
        }
        Ok(())
    }

    /// Fetches an instruction: as a load, but a secure-storage access does not tell its address (T4).
    ///
    /// # Errors
    /// As [`HostCpu::load`].
    pub fn fetch_instruction(&mut self, address: VirtualAddress, bytes: &mut [u8]) -> Result<(), ProgramInterruption> {
        self.load_as(address, bytes, AccessKind::Instruction)
    }

    /// Loads a doubleword in the machine's byte order.
    ///
    /// # Errors
    /// As [`HostCpu::load`].
    pub fn load_u64(&mut self, address: VirtualAddress) -> Result<u64, ProgramInterruption> {
        let mut bytes = [0; 8];
        self.load(address, &mut bytes)?;
        Ok(self.storage().order().u64(bytes))
    }

    /// Stores a doubleword in the machine's byte order.
    ///
    /// # Errors
    /// As [`HostCpu::store`].
    pub fn store_u64(&mut self, address: VirtualAddress, value: u64) -> Result<(), ProgramInterruption> {
        let bytes = self.storage().order().u64_bytes(value);
        self.store(address, &bytes)
    }

    /// Where a fetch would go: a home-space address translated, through the translation buffer, or a real one
    /// while translation is off. Without an access.
    ///
    /// # Errors
    /// The translation exception; addressing.
    pub fn translate(&mut self, address: VirtualAddress) -> Result<AbsoluteAddress, ProgramInterruption> {
        let found = self.translate_within(address);
        let outcome = match found {
            Ok(absolute) => Outcome::Translated(absolute),
            Err(interruption) => Outcome::Program(interruption),
        };
        self.tell(HostStep::Translate(address), outcome);
        found
    }

    pub(super) fn translate_within(&mut self, address: VirtualAddress) -> Result<AbsoluteAddress, ProgramInterruption> {
        let frame = self.frame_behind(address, AccessKind::Fetch)?;
        Ok(AbsoluteAddress(frame.address().0 + address.0 % PAGE_SIZE))
    }

    pub(crate) fn check_privilege(&self) -> Result<(), ProgramInterruption> {
        if self.state.registers.problem_state {
            return Err(ProgramInterruption::new(ProgramCode::PrivilegedOperation));
        }
        Ok(())
    }

    #[inline(always)]
    fn load_as(
        &mut self,
        address: VirtualAddress,
        bytes: &mut [u8],
        kind: AccessKind,
    ) -> Result<(), ProgramInterruption> {
        if self.load_directly(address, bytes, kind) {
            return Ok(());
        }
        self.load_slowly(address, bytes, kind)
    }

    #[inline(always)]
    fn load_directly(&self, address: VirtualAddress, bytes: &mut [u8], kind: AccessKind) -> bool {
        let offset = (address.0 % PAGE_SIZE) as usize;
        if bytes.len() <= PAGE_SIZE as usize - offset
            && let Some(access) = self.buffered_home(address, kind)
        {
            access.load(offset, bytes);
            return true;
        }
        false
    }

    #[inline(never)]
    fn load_slowly(
        &mut self,
        address: VirtualAddress,
        bytes: &mut [u8],
        kind: AccessKind,
    ) -> Result<(), ProgramInterruption> {
        let done = self.load_pages(address, bytes, kind);
        let outcome = match done {
            Ok(()) => Outcome::Loaded(bytes),
            Err(interruption) => Outcome::Program(interruption),
        };
        self.tell(HostStep::Load(address, bytes.len() as u64, kind), outcome);
        done
    }

    fn load_pages(
        &mut self,
        address: VirtualAddress,
        bytes: &mut [u8],
        kind: AccessKind,
    ) -> Result<(), ProgramInterruption> {
        if self.native {
            return self.load_natively(address, bytes, kind);
        }
        self.probe(address, bytes.len() as u64, kind)?;
        let mut at = address;
        let mut rest = bytes;
        while !rest.is_empty() {
            let offset = (at.0 % PAGE_SIZE) as usize;
            let len = rest.len().min(PAGE_SIZE as usize - offset);
            let (part, tail) = rest.split_at_mut(len);
            self.access(at, kind)?.load(offset, part);
            at = VirtualAddress(at.0.wrapping_add(len as u64));
            rest = tail;
        }
        Ok(())
    }

    /// Checks access to every page of a stretch without touching a byte.
    pub(crate) fn probe(
        &mut self,
        address: VirtualAddress,
        len: u64,
        kind: AccessKind,
    ) -> Result<(), ProgramInterruption> {
        let mut covered = 0;
        while covered < len {
            let at = VirtualAddress(address.0.wrapping_add(covered));
            drop(self.access(at, kind)?);
            covered += PAGE_SIZE - at.0 % PAGE_SIZE;
        }
        Ok(())
    }

    /// Translation and zone check of one page; what comes back is an access in progress.
    pub(crate) fn access(
        &mut self,
        address: VirtualAddress,
        kind: AccessKind,
    ) -> Result<Access<'m>, ProgramInterruption> {
        match self.buffered_home(address, kind) {
            Some(access) => Ok(access),
            None => self.access_slowly(address, kind),
        }
    }

    /// An access in home space that needs no walk and that the zone entry permits: most of them. `None`
    /// sends the caller the long way, which tells why.
    #[inline(always)]
    fn buffered_home(&self, address: VirtualAddress, kind: AccessKind) -> Option<Access<'m>> {
        if !self.state.direct {
            return None;
        }
        let (access, zone) = self.buffered(self.state.home, address, kind, property::LARGE)?;
        (!zone.is_secure()).then_some(access)
    }

    #[inline(never)]
    fn access_slowly(&mut self, address: VirtualAddress, kind: AccessKind) -> Result<Access<'m>, ProgramInterruption> {
        let frame = self.frame_behind(address, kind)?;
        let access = self.begin(frame);
        if access.zone().is_secure() {
            return Err(self.secure_storage_access(address.0, kind, AddressSpace::Home));
        }
        Ok(access)
    }

    /// An access through a live entry of the translation buffer, and the zone entry that is still to be
    /// checked. `None` if there is no such entry, or none that permits the access: the long way tells why.
    #[inline(always)]
    pub(crate) fn buffered(
        &self,
        space: Space,
        address: VirtualAddress,
        kind: AccessKind,
        admitted: u64,
    ) -> Option<(Access<'m>, ZoneEntry)> {
        if self.slot.purge_pending.load(Ordering::Acquire) {
            return None;
        }
        let admitted = if kind == AccessKind::Store { admitted } else { admitted | property::PROTECTED };
        let entry = self.state.buffer.candidate(space, address, admitted)?;
        let access = self.begin(entry.frame());
        if !access.is_placed() {
            return None;
        }
        let zone = access.zone();
        (access.generation() == entry.generation()).then_some((access, zone))
    }

    /// A block for a call.
    pub(super) fn take_block(&mut self, length: u16) -> Box<Block> {
        let order = self.storage().order();
        let mut block = self.spare_block.take().unwrap_or_else(|| Box::new(Block::new(0, order)));
        block.reset(length);
        block
    }

    /// Keeps a block for the next call.
    pub(super) fn give_block(&mut self, block: Box<Block>) {
        self.spare_block = Some(block);
    }

    pub(crate) fn requestor(&self) -> RequestorNumber {
        RequestorNumber(self.number)
    }

    /// Announces an access to a frame.
    #[inline(always)]
    pub(crate) fn begin(&self, frame: FrameNumber) -> Access<'m> {
        self.machine.storage.announce(self.in_flight, frame)
    }

    #[inline(always)]
    pub(crate) fn frame_behind(
        &mut self,
        address: VirtualAddress,
        kind: AccessKind,
    ) -> Result<FrameNumber, ProgramInterruption> {
        if self.native {
            return self.native_frame(address, kind);
        }
        let registers = self.state.registers;
        if registers.translation {
            let entry = self.translate_in(self.state.home, address, kind, AddressSpace::Home, true)?;
            return Ok(entry.frame);
        }
        let absolute = dat::apply_prefix(address.0, registers.prefix);
        if !self.storage().contains(absolute, 1) {
            return Err(ProgramInterruption::new(ProgramCode::Addressing));
        }
        Ok(absolute.frame())
    }

    /// Translates through the buffer, forming an entry if there is none.
    #[inline(always)]
    pub(crate) fn translate_in(
        &mut self,
        space: Space,
        address: VirtualAddress,
        kind: AccessKind,
        named: AddressSpace,
        prefixing: bool,
    ) -> Result<Located, ProgramInterruption> {
        if self.slot.purge_pending.load(Ordering::Acquire) {
            self.purge_as_asked();
        }
        let storage = self.storage();
        let located = match self.state.buffer.find(storage, space, address) {
            Some(entry) => Located { frame: entry.frame(), protected: entry.is_protected(), large: entry.is_large() },
            None => self.form(space, address, kind, named, prefixing)?,
        };
        if located.protected && kind == AccessKind::Store {
            return Err(Self::protection(address, named));
        }
        Ok(located)
    }

    #[cold]
    pub(super) fn protection(address: VirtualAddress, space: AddressSpace) -> ProgramInterruption {
        let teid = Teid::new(address.0, AccessKind::Store, space).with_bit_61();
        ProgramInterruption { code: ProgramCode::Protection, teid }
    }

    #[inline(never)]
    fn form(
        &mut self,
        space: Space,
        address: VirtualAddress,
        kind: AccessKind,
        named: AddressSpace,
        prefixing: bool,
    ) -> Result<Located, ProgramInterruption> {
        let storage = self.storage();
        let found = match dat::walk(storage, self.requestor(), space.asce(), address) {
            Ok(found) => found,
            Err(TranslationFault::SecureTable(table)) => {
                return Err(self.secure_storage_access(table.0, AccessKind::Fetch, named));
            }
            Err(TranslationFault::Exception(code)) => {
                let teid = match code {
                    ProgramCode::Addressing | ProgramCode::TranslationSpecification => Teid(0),
                    _ => Teid::new(address.0, kind, named),
                };
                return Err(ProgramInterruption { code, teid });
            }
        };
        let prefix = if prefixing && !found.absolute { self.state.registers.prefix } else { 0 };
        let absolute = dat::apply_prefix(found.address, prefix);
        if !storage.contains(absolute, 1) {
            return Err(ProgramInterruption::new(ProgramCode::Addressing));
        }
        let frame = absolute.frame();
        self.state.buffer.insert(storage, space, address, &found, frame);
        Ok(Located { frame, protected: found.protected, large: found.large })
    }

    #[cold]
    fn purge_as_asked(&mut self) {
        self.slot.purge_pending.store(false, Ordering::Relaxed);
        let purges = self.slot.asked.lock().take();
        for purge in purges {
            self.state.buffer.purge(purge);
        }
    }

    /// 0x3d. Bit 61 says that the address is right, where the machine can say so (D15, D19).
    #[cold]
    pub(crate) fn secure_storage_access(
        &self,
        address: u64,
        kind: AccessKind,
        space: AddressSpace,
    ) -> ProgramInterruption {
        let teid = match kind {
            AccessKind::Instruction => Teid::new(0, kind, space),
            _ if self.machine.firmware.misc() => Teid::new(address, kind, space).with_bit_61(),
            _ => Teid::new(address, kind, space),
        };
        ProgramInterruption { code: ProgramCode::SecureStorageAccess, teid }
    }

    #[inline(always)]
    pub(crate) fn storage(&self) -> &'m Storage {
        &self.machine.storage
    }
}

/// A translated page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Located {
    pub(crate) frame: FrameNumber,
    pub(crate) protected: bool,
    pub(crate) large: bool,
}
