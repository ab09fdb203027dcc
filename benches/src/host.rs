//! A small host: translation on, its home space virtual = real (D61), page tables of guests in storage
//! (D62). It drives the machine by loads, stores and Ultravisor calls only.

use std::collections::BTreeMap;
use uvsim::image::{ImageKeys, Recipe, USUAL_FLAGS, USUAL_PSW_MASK};
use uvsim_model::address::{AbsoluteAddress, FrameNumber, GuestAddress, PageIndex, VirtualAddress};
use uvsim_model::config::MachineConfig;
use uvsim_model::cpu::{GuestCpu, HostCpu, Uvc};
use uvsim_model::seed::{Purpose, Seed};
use uvsim_model::storage::Asce;
use uvsim_model::uvc::{Command, ConditionCode};
use uvsim_model::{
    CONFIGURATION_BASE_LENGTH, CONFIGURATION_FIXED_LENGTH, CONFIGURATION_LENGTH_PER_MEBIBYTE, Machine, UV_BASE_LENGTH,
};

const MEBIBYTE: u64 = 1 << 20;
const PAGE: u64 = 4096;
const PAGES_PER_MEBIBYTE: u64 = 256;
const UV_BASE: u64 = 2 << 30;
/// The tables of the home space; nothing else lies below 2 GiB.
const HOME_TABLES: u64 = 0x10_0000;
/// Up to here the home space is made of 1 MiB entries, beyond of 2 GiB ones.
const SMALL_ENTRIES_END: u64 = 16 << 30;
const TABLE: u64 = 0x4000;

const INVALID: u64 = 0x20;
const PAGE_INVALID: u64 = 0x400;
const FORMAT_CONTROL: u64 = 0x400;
const FULL: u64 = 3;
const REGION_THIRD: u64 = 0x4;
const REGION_SECOND: u64 = 0x8;
const PRIVATE: u64 = 0x100;

/// A machine with room for `mebibytes` of frames, and for what a host needs besides.
#[must_use]
pub fn machine(mebibytes: u64) -> Machine {
    let storage = (4 << 30) + mebibytes * MEBIBYTE * 5 / 4;
    built(MachineConfig { storage: storage.next_multiple_of(1 << 30), cpus: 1, ..MachineConfig::default() })
}

/// A machine of exactly this configuration.
#[must_use]
pub fn built(config: MachineConfig) -> Machine {
    Machine::new(config).expect("the configuration makes sense")
}

/// A host on CPU 0 of an initialised machine.
#[derive(Debug)]
pub struct Host<'m> {
    /// The CPU.
    pub cpu: HostCpu<'m>,
    next: u64,
    block: u64,
}

/// A configuration as its host knows it.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Handle of the configuration.
    pub handle: u64,
    cpu: u64,
    asce: Asce,
    state_description: u64,
    /// The region-third table, where the guest has more than one segment table.
    top: Option<u64>,
    /// Segment tables by 2 GiB, page tables by MiB.
    segments: BTreeMap<u64, u64>,
    tables: BTreeMap<u64, u64>,
}

impl<'m> Host<'m> {
    /// Builds the home space, switches translation on and issues INIT_UV.
    #[must_use]
    pub fn new(machine: &'m Machine) -> Self {
        let cpu = machine.cpu(0).expect("CPU 0 is free");
        let mut host = Self { cpu, next: UV_BASE + UV_BASE_LENGTH, block: 0 };
        host.build_home(machine.storage_size());
        host.block = host.allocate(PAGE);
        host.call(Command::InitUv, &[(0x18, 8, UV_BASE), (0x20, 8, UV_BASE_LENGTH)]);
        host
    }

    fn build_home(&mut self, size: u64) {
        let (second, third) = (HOME_TABLES, HOME_TABLES + TABLE);
        let mut segments = HOME_TABLES + 2 * TABLE;
        self.fill_table(second, TABLE, INVALID);
        self.fill_table(third, TABLE, INVALID);
        self.store_u64(second, third | REGION_SECOND | FULL);
        for index in 0..size.div_ceil(2 << 30) {
            let origin = index << 31;
            let mut entry = origin | REGION_THIRD | FORMAT_CONTROL;
            if origin < SMALL_ENTRIES_END {
                let bytes: Vec<u8> =
                    (0..2048).flat_map(|segment| (origin | segment << 20 | FORMAT_CONTROL).to_be_bytes()).collect();
                self.store(segments, &bytes);
                entry = segments | REGION_THIRD | FULL;
                segments += TABLE;
            }
            self.store_u64(third + index * 8, entry);
        }
        self.cpu.set_home(Asce(second | REGION_SECOND | FULL));
        self.cpu.set_translation(true);
    }

    /// Fresh storage, page aligned.
    pub fn allocate(&mut self, len: u64) -> u64 {
        let at = self.next;
        self.next += len.next_multiple_of(PAGE);
        assert!(self.next <= self.cpu.machine().storage_size(), "the machine is too small for this benchmark");
        at
    }

    fn allocate_aligned(&mut self, len: u64, align: u64) -> u64 {
        self.next = self.next.next_multiple_of(align);
        self.allocate(len)
    }

    /// Stores bytes.
    #[inline]
    pub fn store(&mut self, address: u64, bytes: &[u8]) {
        self.cpu.store(VirtualAddress(address), bytes).expect("a host store");
    }

    /// Stores a doubleword.
    #[inline]
    pub fn store_u64(&mut self, address: u64, value: u64) {
        self.cpu.store_u64(VirtualAddress(address), value).expect("a host store");
    }

    fn fill_table(&mut self, at: u64, len: u64, entry: u64) {
        let bytes: Vec<u8> = (0..len / 8).flat_map(|_| entry.to_be_bytes()).collect();
        self.store(at, &bytes);
    }

    /// Builds a block, issues the call, and wants it to be done.
    #[inline]
    pub fn call(&mut self, command: Command, fields: &[(usize, usize, u64)]) {
        let length = command.usual_length();
        let mut bytes = [0; 0x200];
        bytes[..2].copy_from_slice(&length.to_be_bytes());
        bytes[2..4].copy_from_slice(&command.code().to_be_bytes());
        for &(offset, size, value) in fields {
            bytes[offset..offset + size].copy_from_slice(&value.to_be_bytes()[8 - size..]);
        }
        self.issue(&bytes[..usize::from(length)], command);
    }

    /// Stores a block and issues it.
    #[inline]
    fn issue(&mut self, block: &[u8], command: Command) {
        self.store(self.block, block);
        let cc = self.cpu.uvc(Uvc::at(VirtualAddress(self.block))).expect("the block is accessible");
        assert!(cc == ConditionCode::Done, "{command:?}: {cc:?}");
    }

    fn output(&mut self, offset: u64) -> u64 {
        self.cpu.load_u64(VirtualAddress(self.block + offset)).expect("the block is accessible")
    }

    /// CONV_TO_SEC_STOR, block and all.
    #[inline]
    pub fn import(&mut self, guest: &Guest, page: PageIndex) {
        let mut block = [0; 0x28];
        block[..4].copy_from_slice(&[0, 0x28, 2, 0]);
        block[0x18..0x20].copy_from_slice(&guest.handle.to_be_bytes());
        block[0x20..].copy_from_slice(&(page.0 * PAGE).to_be_bytes());
        self.issue(&block, Command::ConvToSecStor);
    }

    /// CONV_FROM_SEC_STOR, block and all.
    #[inline]
    pub fn export(&mut self, frame: FrameNumber) {
        self.issue_for_frame(Command::ConvFromSecStor, frame);
    }

    /// DESTR_SEC_STOR, block and all.
    #[inline]
    pub fn destroy(&mut self, frame: FrameNumber) {
        self.issue_for_frame(Command::DestrSecStor, frame);
    }

    #[inline]
    fn issue_for_frame(&mut self, command: Command, frame: FrameNumber) {
        let mut block = [0; 0x20];
        block[1] = 0x20;
        block[2..4].copy_from_slice(&command.code().to_be_bytes());
        block[0x18..].copy_from_slice(&frame.address().0.to_be_bytes());
        self.issue(&block, command);
    }

    /// A configuration without CPUs.
    pub fn create(&mut self, mebibytes: u64) -> Guest {
        let base = self.allocate_aligned(CONFIGURATION_BASE_LENGTH, 0x4000);
        let variable = self.allocate(CONFIGURATION_FIXED_LENGTH + mebibytes * CONFIGURATION_LENGTH_PER_MEBIBYTE);
        let top = self.allocate_aligned(TABLE, TABLE);
        self.fill_table(top, TABLE, INVALID);
        let small = mebibytes <= 2048;
        let asce = Asce(top | PRIVATE | FULL | if small { 0 } else { REGION_THIRD });
        let sca = self.allocate(0x8000);
        let fields =
            [(0x20, 8, base), (0x28, 8, variable), (0x40, 8, mebibytes * MEBIBYTE), (0x48, 8, sca), (0x50, 8, asce.0)];
        self.call(Command::CreateSecConf, &fields);
        Guest {
            handle: self.output(0x18),
            cpu: 0,
            asce,
            state_description: 0,
            top: (!small).then_some(top),
            segments: if small { BTreeMap::from([(0, top)]) } else { BTreeMap::new() },
            tables: BTreeMap::new(),
        }
    }

    /// Gives a configuration its CPU and an empty image, and starts it.
    pub fn start(&mut self, guest: &mut Guest) {
        let (area, description) = (self.allocate(PAGE), self.allocate(PAGE));
        let fields = [(0x20, 8, guest.handle), (0x28, 8, area), (0x38, 8, description)];
        self.call(Command::CreateSecCpu, &fields);
        guest.cpu = self.output(0x18);
        guest.state_description = description;
        self.store_u64(description + 0x10, guest.cpu);
        self.store_u64(description + 0x18, guest.handle);
        self.store(description + 0x68, &[2]);

        let header = self.allocate(PAGE);
        let recipe = Recipe {
            recipients: &[self.cpu.machine().host_public_key().clone()],
            flags: USUAL_FLAGS,
            secret_flags: 0,
            psw: [USUAL_PSW_MASK, 0],
            components: Vec::new(),
            keys: ImageKeys::draw(&mut Seed(1).stream(Purpose::Images)),
        };
        let bytes = recipe.make().expect("one recipient").header;
        self.store(header, &bytes);
        let fields = [(0x18, 8, guest.handle), (0x20, 8, header), (0x28, 4, bytes.len() as u64)];
        self.call(Command::SetSecConfParams, &fields);
        self.call(Command::VerifyImg, &[(0x18, 8, guest.handle)]);
        self.call(Command::CpuSetState, &[(0x18, 8, guest.cpu), (0x27, 1, 5)]);
        for page in 0..2 {
            let frame = AbsoluteAddress(self.allocate(PAGE)).frame();
            self.map(guest, PageIndex(page), frame);
            self.import(guest, PageIndex(page));
        }
    }

    /// Ends a configuration, CPU first.
    pub fn end(&mut self, guest: &Guest) {
        if guest.cpu != 0 {
            self.call(Command::DestroySecCpu, &[(0x18, 8, guest.cpu)]);
        }
        self.call(Command::DestroySecConf, &[(0x18, 8, guest.handle)]);
    }

    /// Maps a frame at a page that was never mapped before, so no purge belongs to it.
    pub fn map(&mut self, guest: &mut Guest, page: PageIndex, frame: FrameNumber) {
        let (mebibyte, region) = (page.0 / PAGES_PER_MEBIBYTE, page.0 >> 19);
        let segment = match guest.segments.get(&region) {
            Some(&table) => table,
            None => {
                let table = self.allocate_aligned(TABLE, TABLE);
                self.fill_table(table, TABLE, INVALID);
                let top = guest.top.expect("a guest of one segment table has it from the start");
                self.store_u64(top + region * 8, table | REGION_THIRD | FULL);
                guest.segments.insert(region, table);
                table
            }
        };
        let table = match guest.tables.get(&mebibyte) {
            Some(&table) => table,
            None => {
                // As Linux lays them out: the second half belongs to the hypervisor.
                let table = self.allocate(PAGE);
                self.fill_table(table, PAGE / 2, PAGE_INVALID);
                self.store_u64(segment + mebibyte % 2048 * 8, table);
                guest.tables.insert(mebibyte, table);
                table
            }
        };
        self.store_u64(table + page.0 % PAGES_PER_MEBIBYTE * 8, frame.address().0);
    }

    /// `count` consecutive fresh frames.
    pub fn frames(&mut self, count: u64) -> impl Iterator<Item = FrameNumber> + use<> {
        let first = self.allocate(count * PAGE) / PAGE;
        (first..first + count).map(FrameNumber)
    }

    /// Enters the guest.
    pub fn enter(&mut self, guest: &Guest) -> GuestCpu<'_, 'm> {
        self.cpu.set_primary(guest.asce);
        self.cpu.enter(VirtualAddress(guest.state_description)).expect("the guest can run")
    }
}

/// Issues a guest call whose block, all but the address, lies in guest storage already.
#[inline]
pub fn guest_call(cpu: &mut GuestCpu<'_, '_>, block: u64, page: PageIndex) {
    cpu.store(GuestAddress(block + 0x20), &(page.0 * PAGE).to_be_bytes()).expect("the block is accessible");
    let cc = cpu.uvc(Uvc::at(VirtualAddress(block))).expect("the block is accessible");
    assert!(cc == ConditionCode::Done, "{cc:?}");
}

/// Stores the fixed part of a block for [`guest_call`].
pub fn prepare_guest_call(cpu: &mut GuestCpu<'_, '_>, block: u64, command: Command) {
    let mut bytes = [0; 0x30];
    bytes[1] = 0x30;
    bytes[2..4].copy_from_slice(&command.code().to_be_bytes());
    cpu.store(GuestAddress(block), &bytes).expect("the block is accessible");
}
