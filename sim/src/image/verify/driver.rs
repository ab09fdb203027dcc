//! The least host that can boot a guest: one CPU with translation off, storage handed out once and for all.

use super::VerifyError;
use crate::image::ImagePage;
use std::collections::BTreeMap;
use uvsim_model::address::{MEBIBYTE, PAGE_SIZE, VirtualAddress};
use uvsim_model::cpu::{HostCpu, Uvc};
use uvsim_model::storage::ProgramInterruption;
use uvsim_model::uvc::{Command, ConditionCode};
use uvsim_model::{
    CONFIGURATION_BASE_LENGTH, CONFIGURATION_FIXED_LENGTH, CONFIGURATION_LENGTH_PER_MEBIBYTE, CPU_STORAGE_LENGTH,
    Machine, UV_BASE_LENGTH,
};

/// Where INIT_UV donates; nothing below is used but the control block.
const UV_BASE: u64 = 2 << 30;
const BLOCK: u64 = 0x1_0000;
const FIRST_FREE: u64 = UV_BASE + UV_BASE_LENGTH;
const SEGMENT: u64 = MEBIBYTE;
const REGION: u64 = 1 << 31;
const TABLE: u64 = 0x4000;
const REGION_THIRD: u64 = 0x4;
const FULL_LENGTH: u64 = 3;
const PRIVATE: u64 = 0x100;
const INVALID: u64 = 0x20;
const PAGE_INVALID: u64 = 0x400;
const STATE_LOAD: u64 = 5;

/// A host.
pub(super) struct Driver<'m> {
    cpu: HostCpu<'m>,
    machine: &'m Machine,
    next: u64,
}

/// Its guest.
pub(super) struct Guest {
    pub(super) handle: u64,
    cpu: u64,
    /// The region-third table.
    top: u64,
    /// Address of what an entry covers, and how much → the table that it names.
    tables: BTreeMap<(u64, u64), u64>,
    /// Page address → frame.
    frames: BTreeMap<u64, u64>,
}

/// What a finished call says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    cc: ConditionCode,
    pub(super) rc: u16,
    pub(super) rrc: u16,
}

impl Answer {
    pub(super) fn done(self) -> bool {
        self.cc == ConditionCode::Done
    }
}

/// Storage for a guest of so many bytes that gets so many bytes of data.
pub(super) fn storage_for(memory: u64, data: u64) -> u64 {
    let variable = CONFIGURATION_FIXED_LENGTH + memory / MEBIBYTE * CONFIGURATION_LENGTH_PER_MEBIBYTE;
    // A page table per MiB, a segment table per 2 GiB; the rest is small.
    let tables = memory / SEGMENT * PAGE_SIZE + memory.div_ceil(REGION) * TABLE;
    (FIRST_FREE + variable + tables + data + 16 * MEBIBYTE).next_multiple_of(MEBIBYTE)
}

impl<'m> Driver<'m> {
    /// A host whose Ultravisor is initialised.
    pub(super) fn new(machine: &'m Machine) -> Result<Self, VerifyError> {
        let cpu = machine.cpu(0).map_err(|error| VerifyError::Machine(error.to_string()))?;
        let mut host = Self { cpu, machine, next: FIRST_FREE };
        host.must(Command::InitUv, &[("stor-origin", UV_BASE), ("stor-len", UV_BASE_LENGTH)])?;
        Ok(host)
    }

    pub(super) fn machine(&self) -> &'m Machine {
        self.machine
    }

    /// A guest with one CPU.
    pub(super) fn create(&mut self, memory: u64) -> Result<Guest, VerifyError> {
        let base = self.allocate(CONFIGURATION_BASE_LENGTH, TABLE);
        let variable = CONFIGURATION_FIXED_LENGTH + memory / MEBIBYTE * CONFIGURATION_LENGTH_PER_MEBIBYTE;
        let variable = self.allocate(variable, PAGE_SIZE);
        let sca = self.allocate(0x8000, TABLE);
        let top = self.table(TABLE, INVALID)?;
        let fields = [
            ("conf-base-stor-origin", base),
            ("conf-virt-stor-origin", variable),
            ("guest-stor-len", memory),
            ("guest-sca", sca),
            ("guest-asce", top | REGION_THIRD | PRIVATE | FULL_LENGTH),
        ];
        self.must(Command::CreateSecConf, &fields)?;
        let handle = self.output(Command::CreateSecConf, "guest-handle")?;
        let fields = [
            ("guest-handle", handle),
            ("stor-origin", self.allocate(CPU_STORAGE_LENGTH, PAGE_SIZE)),
            ("num", 0),
            ("state-origin", self.allocate(PAGE_SIZE, PAGE_SIZE)),
        ];
        self.must(Command::CreateSecCpu, &fields)?;
        let cpu = self.output(Command::CreateSecCpu, "cpu-handle")?;
        Ok(Guest { handle, cpu, top, tables: BTreeMap::new(), frames: BTreeMap::new() })
    }

    pub(super) fn set_parameters(&mut self, guest: &Guest, header: &[u8]) -> Result<Answer, VerifyError> {
        let at = self.allocate(header.len() as u64, PAGE_SIZE);
        self.store(at, header)?;
        let fields =
            [("guest-handle", guest.handle), ("sec-header-origin", at), ("sec-header-len", header.len() as u64)];
        self.call(Command::SetSecConfParams, &fields)
    }

    /// Puts a page into a frame that is mapped at its address, unless there is one, and unpacks it in place.
    pub(super) fn unpack(&mut self, guest: &mut Guest, page: ImagePage<'_>) -> Result<Answer, VerifyError> {
        let within = page.address / PAGE_SIZE * PAGE_SIZE;
        if !guest.frames.contains_key(&within) {
            let frame = self.allocate(PAGE_SIZE, PAGE_SIZE);
            self.store(frame, page.bytes)?;
            self.map(guest, within, frame)?;
            guest.frames.insert(within, frame);
        }
        let [prefix, offset] = page.tweak;
        let fields = [
            ("guest-handle", guest.handle),
            ("gaddr", page.address),
            ("tweak-prefix", prefix),
            ("tweak-offset", offset),
        ];
        self.call(Command::UnpackImg, &fields)
    }

    pub(super) fn verify(&mut self, guest: &Guest) -> Result<Answer, VerifyError> {
        self.call(Command::VerifyImg, &[("handle", guest.handle)])
    }

    pub(super) fn start(&mut self, guest: &Guest) -> Result<Answer, VerifyError> {
        self.call(Command::CpuSetState, &[("cpu-handle", guest.cpu), ("state", STATE_LOAD)])
    }

    /// The plaintext control flags that the machine reports as supported.
    pub(super) fn supported_flags(&mut self) -> Result<u64, VerifyError> {
        const LENGTH: u16 = 0x100;
        const OFFSET: u64 = 0xb8;
        self.issue(Command::QueryUvInformation, LENGTH, &[])?;
        self.cpu.load_u64(VirtualAddress(BLOCK + OFFSET)).map_err(interrupted)
    }

    fn map(&mut self, guest: &mut Guest, address: u64, frame: u64) -> Result<(), VerifyError> {
        let segments = self.below(guest, guest.top, address, REGION, TABLE, REGION_THIRD | FULL_LENGTH)?;
        let pages = self.below(guest, segments, address % REGION, SEGMENT, PAGE_SIZE, 0)?;
        self.store(pages + address % SEGMENT / PAGE_SIZE * 8, &frame.to_be_bytes())
    }

    /// The table that the entry for an address names, made if it is missing. `span` is what an entry covers.
    fn below(
        &mut self,
        guest: &mut Guest,
        table: u64,
        address: u64,
        span: u64,
        length: u64,
        bits: u64,
    ) -> Result<u64, VerifyError> {
        let entry = table + address / span * 8;
        if let Some(&made) = guest.tables.get(&(entry, span)) {
            return Ok(made);
        }
        let made = self.table(length, if length == TABLE { INVALID } else { PAGE_INVALID })?;
        self.store(entry, &(made | bits).to_be_bytes())?;
        guest.tables.insert((entry, span), made);
        Ok(made)
    }

    fn table(&mut self, length: u64, invalid: u64) -> Result<u64, VerifyError> {
        let at = self.allocate(length, length);
        self.store(at, &invalid.to_be_bytes().repeat((length / 8) as usize))?;
        Ok(at)
    }

    /// The machine has been given enough storage, see [`storage_for`].
    fn allocate(&mut self, length: u64, align: u64) -> u64 {
        let at = self.next.next_multiple_of(align);
        self.next = at + length.next_multiple_of(PAGE_SIZE);
        at
    }

    fn must(&mut self, command: Command, fields: &[(&str, u64)]) -> Result<(), VerifyError> {
        let answer = self.call(command, fields)?;
        if answer.done() {
            return Ok(());
        }
        Err(VerifyError::Machine(format!("{}: rc={:#x} rrc={:#x}", command.name(), answer.rc, answer.rrc)))
    }

    fn call(&mut self, command: Command, fields: &[(&str, u64)]) -> Result<Answer, VerifyError> {
        self.issue(command, command.usual_length(), fields)
    }

    fn issue(&mut self, command: Command, length: u16, fields: &[(&str, u64)]) -> Result<Answer, VerifyError> {
        let mut block = vec![0; usize::from(length)];
        block[..2].copy_from_slice(&length.to_be_bytes());
        block[2..4].copy_from_slice(&command.code().to_be_bytes());
        for &(name, value) in fields {
            let (offset, size) = field(command, name)?;
            block[offset..offset + size].copy_from_slice(&value.to_be_bytes()[8 - size..]);
        }
        self.store(BLOCK, &block)?;
        let cc = self.cpu.uvc(Uvc::at(VirtualAddress(BLOCK))).map_err(interrupted)?;
        let mut codes = [0; 4];
        self.cpu.load(VirtualAddress(BLOCK + 4), &mut codes).map_err(interrupted)?;
        let [rc, rrc] = [[codes[0], codes[1]], [codes[2], codes[3]]].map(u16::from_be_bytes);
        Ok(Answer { cc, rc, rrc })
    }

    fn output(&mut self, command: Command, name: &str) -> Result<u64, VerifyError> {
        let (offset, _) = field(command, name)?;
        self.cpu.load_u64(VirtualAddress(BLOCK + offset as u64)).map_err(interrupted)
    }

    fn store(&mut self, at: u64, bytes: &[u8]) -> Result<(), VerifyError> {
        self.cpu.store(VirtualAddress(at), bytes).map_err(interrupted)
    }
}

fn field(command: Command, name: &str) -> Result<(usize, usize), VerifyError> {
    let missing = || VerifyError::Machine(format!("{} has no field {name}", command.name()));
    let field = command.field(name).ok_or_else(missing)?;
    Ok((usize::from(field.offset), usize::from(field.size)))
}

fn interrupted(interruption: ProgramInterruption) -> VerifyError {
    VerifyError::Machine(format!("program interruption {interruption:?}"))
}
