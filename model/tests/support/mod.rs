//! A small host for tests of the model: it drives a machine by loads, stores and Ultravisor calls only,
//! with translation off, so that its virtual addresses are real ones.

#![allow(dead_code, unreachable_pub, unused_imports, reason = "every test file uses its own part")]

pub mod beside;
pub mod image;

pub use beside::machine;
use uvsim_model::address::{AbsoluteAddress, FrameNumber, GuestAddress, PageIndex, VirtualAddress};
use uvsim_model::config::MachineConfig;
use uvsim_model::cpu::{GuestCpu, GuestEvent, HostCpu, SieExit, Uvc};
use uvsim_model::storage::{Asce, ProgramInterruption};
use uvsim_model::uvc::{Command, ConditionCode};
use uvsim_model::{CONFIGURATION_BASE_LENGTH, CONFIGURATION_FIXED_LENGTH, Machine, UV_BASE_LENGTH};

/// Where host blocks lie.
pub const BLOCK: u64 = 0x1_0000;
/// Where INIT_UV donates.
pub const UV_BASE: u64 = 2 << 30;
/// The first frame that the host hands out.
const FIRST_FREE: u64 = 0x10_0000;

/// What a finished call says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    pub cc: u8,
    pub rc: u16,
    pub rrc: u16,
}

pub const DONE: Answer = Answer { cc: 0, rc: 1, rrc: 0 };

pub fn refused(rc: u16) -> Answer {
    Answer { cc: 1, rc, rrc: 0 }
}

/// A machine configuration large enough for the base area.
pub fn config() -> MachineConfig {
    MachineConfig { storage: 4 << 30, ..MachineConfig::default() }
}

/// A host on CPU 0.
pub struct Host<'m> {
    pub cpu: HostCpu<'m>,
    next: u64,
}

/// A configuration with one CPU, as the host knows it.
#[derive(Clone, Debug)]
pub struct Guest {
    pub handle: u64,
    pub cpu: u64,
    pub asce: Asce,
    pub sca: u64,
    pub base: u64,
    pub variable: u64,
    pub cpu_storage: u64,
    pub state_description: u64,
    pub sida: u64,
    pub mebibytes: u64,
    /// Page tables, one per MiB.
    pub tables: Vec<u64>,
}

impl<'m> Host<'m> {
    pub fn new(machine: &'m Machine) -> Self {
        Self { cpu: machine.cpu(0).expect("CPU 0 is free"), next: FIRST_FREE }
    }

    /// A host whose Ultravisor is initialised.
    pub fn ready(machine: &'m Machine) -> Self {
        let mut host = Self::new(machine);
        assert_eq!(host.init(), DONE);
        host
    }

    pub fn machine(&self) -> &'m Machine {
        self.cpu.machine()
    }

    /// `len` bytes of fresh storage, page aligned.
    pub fn allocate(&mut self, len: u64) -> u64 {
        let at = self.next;
        self.next += len.next_multiple_of(4096);
        at
    }

    /// The same, aligned to a power of two.
    pub fn allocate_aligned(&mut self, len: u64, align: u64) -> u64 {
        self.next = self.next.next_multiple_of(align);
        self.allocate(len)
    }

    pub fn store(&mut self, address: u64, bytes: &[u8]) {
        self.cpu.store(VirtualAddress(address), bytes).expect("host store");
    }

    pub fn store_u64(&mut self, address: u64, value: u64) {
        self.cpu.store_u64(VirtualAddress(address), value).expect("host store");
    }

    pub fn load(&mut self, address: u64, len: usize) -> Result<Vec<u8>, ProgramInterruption> {
        let mut bytes = vec![0; len];
        self.cpu.load(VirtualAddress(address), &mut bytes).map(|()| bytes)
    }

    pub fn page_bytes(&mut self, frame: FrameNumber) -> Result<Vec<u8>, ProgramInterruption> {
        self.load(frame.address().0, 4096)
    }

    /// Builds a block of `length` bytes in storage with these fields (offset, size, value).
    pub fn block(&mut self, at: u64, command: u16, length: u16, fields: &[(u64, u8, u64)]) {
        let mut bytes = vec![0; usize::from(length).max(8)];
        bytes[..2].copy_from_slice(&length.to_be_bytes());
        bytes[2..4].copy_from_slice(&command.to_be_bytes());
        for &(offset, size, value) in fields {
            let offset = offset as usize;
            let size = usize::from(size);
            bytes[offset..offset + size].copy_from_slice(&value.to_be_bytes()[8 - size..]);
        }
        self.store(at, &bytes);
    }

    /// Issues a call with the block at [`BLOCK`].
    pub fn call(&mut self, command: Command, fields: &[(u64, u8, u64)]) -> Answer {
        self.block(BLOCK, command.code(), command.usual_length(), fields);
        self.issue(BLOCK).expect("the block is accessible")
    }

    /// Issues a call with a block that is already in storage.
    pub fn issue(&mut self, block: u64) -> Result<Answer, ProgramInterruption> {
        let cc = self.cpu.uvc(Uvc::at(VirtualAddress(block)))?;
        let codes = self.load(block + 4, 4)?;
        Ok(Answer {
            cc: cc as u8,
            rc: u16::from_be_bytes([codes[0], codes[1]]),
            rrc: u16::from_be_bytes([codes[2], codes[3]]),
        })
    }

    pub fn output(&mut self, offset: u64) -> u64 {
        self.cpu.load_u64(VirtualAddress(BLOCK + offset)).expect("the block is accessible")
    }

    pub fn init(&mut self) -> Answer {
        self.call(Command::InitUv, &[(0x18, 8, UV_BASE), (0x20, 8, UV_BASE_LENGTH)])
    }

    /// Allocates what a configuration of this size needs, tables included, without any call.
    pub fn prepare(&mut self, mebibytes: u64) -> Guest {
        assert!(mebibytes <= 2048, "one segment table");
        let base = self.allocate_aligned(CONFIGURATION_BASE_LENGTH, 0x4000);
        let variable = self.allocate(CONFIGURATION_FIXED_LENGTH + mebibytes * 0x1000);
        let segments = self.allocate_aligned(0x4000, 0x4000);
        for index in 0..2048 {
            self.store_u64(segments + index * 8, 0x20);
        }
        let mut tables = Vec::new();
        for index in 0..mebibytes {
            let table = self.allocate(0x1000);
            for page in 0..256 {
                self.store_u64(table + page * 8, 0x400);
            }
            self.store_u64(segments + index * 8, table);
            tables.push(table);
        }
        Guest {
            handle: 0,
            cpu: 0,
            asce: Asce(segments | 0x100 | 3),
            sca: self.allocate_aligned(0x8000, 0x1000),
            base,
            variable,
            cpu_storage: self.allocate(0x1000),
            state_description: self.allocate(0x1000),
            sida: self.allocate(0x1000),
            mebibytes,
            tables,
        }
    }

    pub fn create_fields(guest: &Guest) -> Vec<(u64, u8, u64)> {
        vec![
            (0x20, 8, guest.base),
            (0x28, 8, guest.variable),
            (0x38, 8, 0),
            (0x40, 8, guest.mebibytes << 20),
            (0x48, 8, guest.sca),
            (0x50, 8, guest.asce.0),
        ]
    }

    pub fn cpu_fields(guest: &Guest, number: u64) -> Vec<(u64, u8, u64)> {
        vec![
            (0x20, 8, guest.handle),
            (0x28, 8, guest.cpu_storage),
            (0x36, 2, number),
            (0x38, 8, guest.state_description),
        ]
    }

    /// A configuration with CPU 0, not booted.
    pub fn create(&mut self, mebibytes: u64) -> Guest {
        let mut guest = self.prepare(mebibytes);
        assert_eq!(self.call(Command::CreateSecConf, &Self::create_fields(&guest)), DONE);
        guest.handle = self.output(0x18);
        self.create_cpu(&mut guest);
        guest
    }

    pub fn create_cpu(&mut self, guest: &mut Guest) {
        assert_eq!(self.call(Command::CreateSecCpu, &Self::cpu_fields(guest, 0)), DONE);
        guest.cpu = self.output(0x18);
        self.store_u64(guest.state_description + 0x10, guest.cpu);
        self.store_u64(guest.state_description + 0x18, guest.handle);
        self.store(guest.state_description + 0x68, &[2]);
        self.store_u64(guest.state_description + 0x180, guest.sida);
    }

    /// A running configuration whose image is empty; both prefix pages are imported.
    pub fn start(&mut self, mebibytes: u64) -> Guest {
        let guest = self.create(mebibytes);
        self.boot(&guest);
        guest
    }

    pub fn boot(&mut self, guest: &Guest) {
        self.verify(guest);
        for page in 0..2 {
            let frame = self.frame();
            self.map(guest, PageIndex(page), frame);
            assert_eq!(self.import(guest, PageIndex(page)), DONE);
        }
    }

    /// Loads and verifies an empty image and lets CPU 0 operate. No page is imported.
    pub fn verify(&mut self, guest: &Guest) {
        let header = self.allocate(0x1000);
        let bytes = image::empty_header(self.machine());
        self.store(header, &bytes);
        let fields = [(0x18, 8, guest.handle), (0x20, 8, header), (0x28, 4, bytes.len() as u64)];
        assert_eq!(self.call(Command::SetSecConfParams, &fields), DONE);
        assert_eq!(self.call(Command::VerifyImg, &[(0x18, 8, guest.handle)]), DONE);
        assert_eq!(self.set_state(guest, 5), DONE);
    }

    pub fn set_state(&mut self, guest: &Guest, state: u64) -> Answer {
        self.call(Command::CpuSetState, &[(0x18, 8, guest.cpu), (0x27, 1, state)])
    }

    /// A fresh frame.
    pub fn frame(&mut self) -> FrameNumber {
        AbsoluteAddress(self.allocate(0x1000)).frame()
    }

    fn entry(guest: &Guest, page: PageIndex) -> (u64, u64) {
        (guest.tables[(page.0 / 256) as usize], page.0 % 256 * 8)
    }

    /// Maps a frame at a guest page, with the purge that belongs to it.
    pub fn map(&mut self, guest: &Guest, page: PageIndex, frame: FrameNumber) {
        self.unmap(guest, page);
        self.map_without_purge(guest, page, frame);
    }

    pub fn map_without_purge(&mut self, guest: &Guest, page: PageIndex, frame: FrameNumber) {
        let (table, offset) = Self::entry(guest, page);
        self.store_u64(table + offset, frame.address().0);
    }

    pub fn unmap(&mut self, guest: &Guest, page: PageIndex) {
        let (table, _) = Self::entry(guest, page);
        self.cpu.ipte(AbsoluteAddress(table), VirtualAddress(page.0 * 4096)).expect("IPTE");
    }

    pub fn import(&mut self, guest: &Guest, page: PageIndex) -> Answer {
        self.call(Command::ConvToSecStor, &[(0x18, 8, guest.handle), (0x20, 8, page.0 * 4096)])
    }

    pub fn export(&mut self, frame: FrameNumber) -> Answer {
        self.call(Command::ConvFromSecStor, &[(0x18, 8, frame.address().0)])
    }

    pub fn destroy(&mut self, frame: FrameNumber) -> Answer {
        self.call(Command::DestrSecStor, &[(0x18, 8, frame.address().0)])
    }

    pub fn pin(&mut self, frame: FrameNumber) -> Answer {
        self.call(Command::PinPageShared, &[(0x18, 8, frame.address().0)])
    }

    pub fn unpin(&mut self, guest: &Guest, page: PageIndex) -> Answer {
        self.call(Command::UnpinPageShared, &[(0x18, 8, guest.handle), (0x20, 8, page.0 * 4096)])
    }

    /// Maps a fresh frame at a page and imports it.
    pub fn resident(&mut self, guest: &Guest, page: PageIndex) -> FrameNumber {
        let frame = self.frame();
        self.map(guest, page, frame);
        assert_eq!(self.import(guest, page), DONE);
        frame
    }

    /// Enters the guest.
    pub fn enter(&mut self, guest: &Guest) -> Result<GuestCpu<'_, 'm>, SieExit> {
        self.cpu.set_primary(guest.asce);
        self.cpu.enter(VirtualAddress(guest.state_description))
    }

    pub fn guest_store(&mut self, guest: &Guest, address: u64, bytes: &[u8]) -> Result<(), GuestEvent> {
        self.enter(guest).map_err(GuestEvent::Exit)?.store(GuestAddress(address), bytes)
    }

    pub fn guest_load(&mut self, guest: &Guest, address: u64, len: usize) -> Result<Vec<u8>, GuestEvent> {
        let mut bytes = vec![0; len];
        self.enter(guest).map_err(GuestEvent::Exit)?.load(GuestAddress(address), &mut bytes)?;
        Ok(bytes)
    }

    /// The guest issues a call with its block in the last 512 bytes of page 1.
    pub fn guest_call(&mut self, guest: &Guest, command: u16, length: u16, paddr: u64) -> Result<Answer, GuestEvent> {
        const AT: u64 = 0x1e00;
        let mut cpu = self.enter(guest).map_err(GuestEvent::Exit)?;
        let mut bytes = vec![0; usize::from(length).clamp(8, 0x200)];
        bytes[..2].copy_from_slice(&length.to_be_bytes());
        bytes[2..4].copy_from_slice(&command.to_be_bytes());
        if let Some(field) = bytes.get_mut(0x20..0x28) {
            field.copy_from_slice(&paddr.to_be_bytes());
        }
        cpu.store(GuestAddress(AT), &bytes)?;
        let cc: ConditionCode = cpu.uvc(Uvc::at(VirtualAddress(AT)))?;
        let mut codes = [0; 4];
        cpu.load(GuestAddress(AT + 4), &mut codes)?;
        Ok(Answer {
            cc: cc as u8,
            rc: u16::from_be_bytes([codes[0], codes[1]]),
            rrc: u16::from_be_bytes([codes[2], codes[3]]),
        })
    }

    pub fn share(&mut self, guest: &Guest, page: PageIndex) -> Result<Answer, GuestEvent> {
        self.guest_call(guest, Command::SetSharedAccess.code(), 0x30, page.0 * 4096)
    }

    pub fn unshare(&mut self, guest: &Guest, page: PageIndex) -> Result<Answer, GuestEvent> {
        self.guest_call(guest, Command::RemoveSharedAccess.code(), 0x30, page.0 * 4096)
    }
}
