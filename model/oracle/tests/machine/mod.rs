//! A small machine to take steps with: one host CPU with translation off, a block, and configurations whose tables lie
//! in storage as a host would have them.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::VecDeque;
use std::sync::Arc;
use uvsim_oracle::ids::{AbsoluteAddress, CpuNumber, FrameNumber, Handle, PageIndex, VirtualAddress};
use uvsim_oracle::state::{
    Boot, Bytes, Configuration, Digest, Donated, Image, ImageKey, Opened, Page, Purpose, Record, Registered,
    Registration, Reset, Run, SecureCpu, Setup, State,
};
use uvsim_oracle::step::{Access, HostStep, Uvc};
use uvsim_oracle::world::{Looseness, World};
use uvsim_oracle::{Objection, Outcome, Step, step};

/// Import.
pub(crate) const IMPORT: u16 = 0x0200;
/// Export.
pub(crate) const EXPORT: u16 = 0x0201;
/// DESTR_SEC_STOR.
pub(crate) const DESTROY: u16 = 0x0202;
/// PIN_PAGE_SHARED.
pub(crate) const PIN: u16 = 0x0341;
/// UNPIN_PAGE_SHARED.
pub(crate) const UNPIN: u16 = 0x0342;
/// SET_UNSHARED_ALL.
pub(crate) const UNSHARE_ALL: u16 = 0x0340;
/// DESTROY_SEC_CONF.
pub(crate) const DESTROY_CONFIGURATION: u16 = 0x0101;
/// DESTROY_SEC_CONF_FAST.
pub(crate) const DESTROY_FAST: u16 = 0x0102;
/// SET_SEC_CONF_PARAMS.
pub(crate) const PARAMETERS: u16 = 0x0300;
/// UNPACK_IMG.
pub(crate) const UNPACK: u16 = 0x0301;
/// VERIFY_IMG.
pub(crate) const VERIFY: u16 = 0x0302;
/// PREPARE_RESET.
pub(crate) const PREPARE: u16 = 0x0320;
/// CPU_RESET.
pub(crate) const RESET: u16 = 0x0310;
/// CPU_RESET_INITIAL.
pub(crate) const RESET_INITIAL: u16 = 0x0311;
/// CPU_RESET_CLEAR.
pub(crate) const RESET_CLEAR: u16 = 0x0321;
/// CPU_SET_STATE.
pub(crate) const SET_STATE: u16 = 0x0330;

/// The host CPU.
pub(crate) const CPU: CpuNumber = CpuNumber(0);
/// Bytes of storage.
pub(crate) const STORAGE: u64 = 0x400_0000;
/// Frame of the control block.
pub(crate) const BLOCK: FrameNumber = FrameNumber(0x10);
/// Two configurations, and one that has ended.
pub(crate) const ALPHA: Handle = Handle(0x1111_2222_3333_4444);
/// The second one.
pub(crate) const BETA: Handle = Handle(0xa5a5_0f0f_5a5a_f0f0);
/// No longer there.
pub(crate) const GONE: Handle = Handle(0x0123_89ab_cdef_4567);
/// Bytes of guest storage of each.
pub(crate) const SIZE: u64 = 0x10_0000;
/// Where guest storage begins in their spaces.
pub(crate) const ORIGIN: u64 = 0x20_0000;

/// Condition code, response code, reason code.
pub(crate) type Answer = (u8, u16, u16);

/// Success.
pub(crate) const DONE: Answer = (0, 1, 0);

/// A refusal without reason code.
pub(crate) const fn refused(rc: u16) -> Answer {
    (1, rc, 0)
}

/// A page filled with one byte.
pub(crate) fn filled(byte: u8) -> Bytes {
    Arc::new([byte; 4096])
}

/// What the oracle asks of a world, from lists, or made up.
#[derive(Debug, Default)]
pub(crate) struct Tester {
    /// Ciphertexts to come; fresh ones when there are none.
    pub(crate) ciphertexts: VecDeque<Bytes>,
    /// Ciphertexts and handles made up so far.
    count: u64,
    /// Ciphertexts that were remembered, by what rows know of them.
    pub(crate) made: Vec<(Digest, Bytes)>,
    /// What headers open to.
    pub(crate) opened: Option<Opened>,
}

impl Tester {
    /// Keeps a ciphertext, to be given again.
    pub(crate) fn remember(&mut self, row: &Page, bytes: Bytes) {
        self.made.extend(row.ciphertext.map(|(_, digest)| (digest, bytes)));
    }
}

impl World for Tester {
    fn choose(&mut self, _looseness: Looseness, _count: usize) -> usize {
        0
    }

    fn handle(&mut self) -> Handle {
        self.count += 1;
        Handle(self.count.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn ciphertext(&mut self, _frame: FrameNumber) -> Bytes {
        self.ciphertexts.pop_front().unwrap_or_else(|| {
            self.count += 1;
            let mut bytes = [0xcc; 4096];
            bytes[..8].copy_from_slice(&self.count.to_be_bytes());
            Arc::new(bytes)
        })
    }

    fn query_output(&mut self, _offset: usize, length: usize) -> Vec<u8> {
        vec![0; length]
    }

    fn open_header(&mut self, _header: &[u8]) -> Opened {
        self.opened.clone().unwrap_or(Opened::NoKeySlot)
    }

    fn decrypt(&mut self, key: ImageKey, tweak: (u64, u64), page: &Bytes) -> Bytes {
        let mask = (key.0 ^ tweak.0 ^ tweak.1).to_be_bytes();
        Arc::new(core::array::from_fn(|at| page[at] ^ mask[at % 8]))
    }

    fn digest(&mut self, parts: &mut dyn Iterator<Item = Vec<u8>>) -> [u8; 64] {
        let all: Vec<u8> = parts.flatten().collect();
        let mut digest = [0; 64];
        for (seed, part) in (0..).zip(digest.chunks_mut(8)) {
            part.copy_from_slice(&xxhash_rust::xxh3::xxh3_64_with_seed(&all, seed).to_be_bytes());
        }
        digest
    }
}

/// A machine and its world.
#[derive(Debug)]
pub(crate) struct Machine {
    /// The machine.
    pub(crate) state: State,
    /// The world.
    pub(crate) world: Tester,
    /// Rules of the latest step.
    pub(crate) rules: Vec<&'static str>,
}

impl Machine {
    /// Two configurations with a CPU each, nothing mapped, images verified.
    pub(crate) fn new() -> Machine {
        Machine::of_generation(16, true)
    }

    /// The same on another generation.
    pub(crate) fn of_generation(generation: u8, misc: bool) -> Machine {
        let setup = Setup {
            storage: STORAGE,
            cpus: 1,
            generation,
            misc,
            without: Vec::new(),
            strict_tweaks: false,
            always_count: false,
            big_endian: true,
        };
        let mut state = State::new(setup);
        state.initialised = true;
        state.host[&CPU].operating = true;
        state.issued.extend([ALPHA, BETA, GONE]);
        state.donated.insert(FrameNumber(0x3000), Donated { count: 16, purpose: Purpose::Base });
        let mut machine = Machine { state, world: Tester::default(), rules: Vec::new() };
        machine.create(ALPHA, 0x100);
        machine.create(BETA, 0x110);
        machine
    }

    /// A configuration whose tables begin in this frame, with one stopped CPU.
    fn create(&mut self, handle: Handle, tables: u64) {
        let image = Image {
            key: ImageKey(1),
            pcf: 0,
            scf: 0,
            psw: (0x1, 0x2),
            nep: 0,
            pld: [0; 64],
            ald: [0; 64],
            tld: [0; 64],
        };
        let cpu = Handle(handle.0 ^ 0xff00);
        let configuration = Configuration {
            origin: ORIGIN,
            size: SIZE,
            asce: (tables * 4096) | 0x103,
            sca: AbsoluteAddress(0x5000),
            cpus: [(0_u16, cpu)].into_iter().collect(),
            pages: Default::default(),
            boot: Boot::Verified(image),
            reset: Reset::default(),
        };
        self.state.configurations.insert(handle, configuration);
        self.state.issued.insert(cpu);
        self.state.cpus.insert(
            cpu,
            SecureCpu {
                configuration: handle,
                number: 0,
                state_description: AbsoluteAddress(0x6000),
                run: Run::Stopped,
                registers: Default::default(),
                load_pending: false,
                outstanding: None,
                last_exit: None,
                owed: None,
                in_sie: None,
            },
        );
        for entry in 0..2048 {
            let page_table = (tables + 4) * 4096;
            let valid = entry == ORIGIN >> 20;
            self.write(tables * 4096 + entry * 8, if valid { page_table } else { 0x20 });
        }
        for page in 0..256 {
            self.unmap(handle, page);
        }
    }

    /// The CPU of a configuration.
    pub(crate) fn cpu_of(&self, handle: Handle) -> Handle {
        self.state.configurations[&handle].cpus[&0]
    }

    /// A CPU, to be changed.
    pub(crate) fn cpu_mut(&mut self, cpu: u64) -> &mut SecureCpu {
        &mut self.state.cpus[&Handle(cpu)]
    }

    /// Removes the CPU of a configuration.
    pub(crate) fn without_cpu(&mut self, handle: Handle) {
        let cpu = self.cpu_of(handle);
        self.state.cpus.remove(&cpu);
        self.state.configurations[&handle].cpus.clear();
    }

    /// Writes a doubleword of storage.
    pub(crate) fn write(&mut self, address: u64, value: u64) {
        let frame = FrameNumber(address / 4096);
        let mut bytes = *self.state.frame(frame);
        let at = (address % 4096) as usize;
        bytes[at..at + 8].copy_from_slice(&value.to_be_bytes());
        self.put(frame, Arc::new(bytes));
    }

    /// Gives a frame bytes.
    pub(crate) fn put(&mut self, frame: FrameNumber, bytes: Bytes) {
        self.state.storage.insert(frame, bytes);
        if self.state.frame(frame).iter().all(|&byte| byte == 0) {
            self.state.storage.remove(&frame);
        }
    }

    /// Maps a guest page with these bits of the page entry.
    pub(crate) fn map_with(&mut self, handle: Handle, page: u64, frame: u64, bits: u64) {
        let tables = self.state.configurations[&handle].asce & !0xfff;
        self.write(tables + 4 * 4096 + page * 8, (frame * 4096) | bits);
    }

    /// Maps a guest page.
    pub(crate) fn map(&mut self, handle: Handle, page: u64, frame: u64) {
        self.map_with(handle, page, frame, 0);
    }

    /// Unmaps a guest page.
    pub(crate) fn unmap(&mut self, handle: Handle, page: u64) {
        self.map_with(handle, page, 0, 0x400);
    }

    /// Makes a page be somewhere, with its frame if it has one.
    pub(crate) fn place(&mut self, handle: Handle, page: u64, record: Record) {
        let (frame, kind) = match record {
            Record::Resident(frame) => (Some(frame), Registered::Secure),
            Record::Shared(frame) => (frame, Registered::Shared),
            Record::Pinned(frame) => (Some(frame), Registered::Pinned),
            _ => (None, Registered::Secure),
        };
        if let Some(frame) = frame {
            self.state.registered.insert(frame, Registration { kind, configuration: handle, page: PageIndex(page) });
        }
        if let Some(configuration) = self.state.configurations.get_mut(&handle) {
            configuration.pages.insert(PageIndex(page), Page { record, ..Page::default() });
        }
    }

    /// A resident page, mapped, with these bytes.
    pub(crate) fn resident(&mut self, handle: Handle, page: u64, frame: u64, bytes: Bytes) {
        self.place(handle, page, Record::Resident(FrameNumber(frame)));
        self.map(handle, page, frame);
        self.put(FrameNumber(frame), bytes);
    }

    /// What is known of a page.
    pub(crate) fn row(&self, handle: Handle, page: u64) -> Page {
        self.state.configurations[&handle].pages.get(&PageIndex(page)).cloned().unwrap_or_default()
    }

    /// Where a page is.
    pub(crate) fn record(&self, handle: Handle, page: u64) -> Record {
        self.row(handle, page).record
    }

    /// How a frame is registered.
    pub(crate) fn kind(&self, frame: u64) -> Option<Registered> {
        self.state.registered.get(&FrameNumber(frame)).map(|registration| registration.kind)
    }

    /// The bytes of a frame.
    pub(crate) fn bytes(&self, frame: u64) -> Bytes {
        self.state.frame(FrameNumber(frame))
    }

    /// Issues a call with doublewords from 0x18 on; lengths are the commands' own.
    pub(crate) fn call(&mut self, command: u16, fields: &[u64]) -> Answer {
        self.try_call(command, fields).expect("no objection")
    }

    /// The same, and the world may be wrong. A refused call must have changed nothing but its block (I-18).
    pub(crate) fn try_call(&mut self, command: u16, fields: &[u64]) -> Result<Answer, Objection> {
        let mut block = [0; 4096];
        block[..2].copy_from_slice(&length(command).to_be_bytes());
        block[2..4].copy_from_slice(&command.to_be_bytes());
        for (at, field) in fields.iter().enumerate() {
            block[0x18 + at * 8..0x20 + at * 8].copy_from_slice(&field.to_be_bytes());
        }
        self.put(BLOCK, Arc::new(block));
        let before = self.state.clone();
        let uvc = Uvc { r1: 0, r2: BLOCK.0 * 4096, m3: 0, m4: 0 };
        let after = step(&before, &Step::Host(CPU, HostStep::Uvc(uvc)), &mut self.world)?;
        self.state = after.state;
        self.rules = after.rules;
        let Outcome::Condition(condition) = after.outcome else { panic!("{:?}", after.outcome) };
        let block = self.bytes(BLOCK.0);
        let code = |at| u16::from_be_bytes([block[at], block[at + 1]]);
        if condition == 1 {
            let mut same = before;
            same.storage.insert(BLOCK, block.clone());
            assert_eq!(same, State { host: same.host.clone(), ..self.state.clone() }, "I-18");
        }
        Ok((condition, code(4), code(6)))
    }

    /// Imports a page by its index.
    pub(crate) fn import(&mut self, handle: Handle, page: u64) -> Answer {
        self.call(IMPORT, &[handle.0, ORIGIN + page * 4096])
    }

    /// Exports a frame.
    pub(crate) fn export(&mut self, frame: u64) -> Answer {
        self.call(EXPORT, &[frame * 4096])
    }

    /// The host loads the first byte of a frame.
    pub(crate) fn host_load(&mut self, frame: u64) -> Outcome {
        let load = HostStep::Load { address: VirtualAddress(frame * 4096), length: 1, kind: Access::Fetch };
        let after = step(&self.state, &Step::Host(CPU, load), &mut self.world).expect("no objection");
        self.state = after.state;
        after.outcome
    }

    /// Whether the oracle has named a rule.
    pub(crate) fn by(&self, rule: &str) -> bool {
        self.rules.contains(&rule)
    }
}

fn length(command: u16) -> u16 {
    match command {
        EXPORT | DESTROY | PIN => 0x20,
        IMPORT | UNPIN => 0x28,
        DESTROY_FAST => 0x48,
        PARAMETERS | UNPACK | SET_STATE => 0x50,
        _ => 0x40,
    }
}
