//! A small world and a small machine for tests: they take steps, as a host would.
#![allow(dead_code, missing_docs, unreachable_pub)]

use uvsim_oracle::ids::{AbsoluteAddress, CpuNumber, FrameNumber, Handle, VirtualAddress};
use uvsim_oracle::state::{Bytes, ImageKey, Opened, Setup, State, Zone};
use uvsim_oracle::step::{Access, HostStep, Outcome, Program, Step, Uvc};
use uvsim_oracle::world::Looseness;
use uvsim_oracle::{Objection, World, step};

/// A mebibyte.
pub const MIB: u64 = 1 << 20;
/// Bytes of storage.
pub const STORAGE: u64 = 4096 * MIB;
/// Where control blocks are put.
pub const BLOCK: u64 = 0x2_0000;
/// Base storage of the Ultravisor.
pub const BASE: u64 = 2048 * MIB;
/// Page-aligned host storage for tables: home space first.
pub const HOME: u64 = 16 * MIB;
/// Donated to the first configuration: base storage.
pub const CONFIGURATION: u64 = 32 * MIB;
/// Variable storage of it, absolute; virtual addresses begin at [`WINDOW`].
pub const VARIABLE: u64 = 33 * MIB;
/// Virtual address of the variable area.
pub const WINDOW: u64 = 1024 * MIB;
/// System control area of the first configuration.
pub const SCA: u64 = 31 * MIB;
/// Storage of the first CPU.
pub const CPU: u64 = 30 * MIB;
/// State description of the first CPU.
pub const DESCRIPTION: u64 = 29 * MIB;
/// ASCE of the first configuration: private, region-third.
pub const GUEST_ASCE: u64 = (24 * MIB) | 0x104;
/// Guest storage of it.
pub const GUEST_SIZE: u64 = 4 * MIB;

/// Answers what the oracle does not decide.
#[derive(Debug, Default)]
pub struct TestWorld {
    handles: u64,
    /// The next handle, if not the usual one.
    pub next_handle: Option<u64>,
    /// Answers to choices, in order; then 0.
    pub choices: Vec<usize>,
    /// How many things there were to choose from, each time.
    pub asked: Vec<usize>,
}

impl World for TestWorld {
    fn choose(&mut self, looseness: Looseness, count: usize) -> usize {
        assert_eq!(looseness, Looseness::TranslationBuffer);
        self.asked.push(count);
        if self.choices.is_empty() { 0 } else { self.choices.remove(0) }
    }

    fn handle(&mut self) -> Handle {
        self.handles += 1;
        Handle(self.next_handle.take().unwrap_or(self.handles.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    fn ciphertext(&mut self, frame: FrameNumber) -> Bytes {
        let mut bytes = [0x5a; 4096];
        bytes[..8].copy_from_slice(&frame.0.to_be_bytes());
        bytes.into()
    }

    fn query_output(&mut self, _offset: usize, length: usize) -> Vec<u8> {
        vec![0x77; length]
    }

    fn open_header(&mut self, _header: &[u8]) -> Opened {
        Opened::NoKeySlot
    }

    fn decrypt(&mut self, _key: ImageKey, _tweak: (u64, u64), page: &Bytes) -> Bytes {
        page.clone()
    }

    fn digest(&mut self, _parts: &mut dyn Iterator<Item = Vec<u8>>) -> [u8; 64] {
        [0; 64]
    }
}

/// A machine in test.
#[derive(Debug)]
pub struct Machine {
    pub state: State,
    pub world: TestWorld,
    /// Rows that decided the latest step.
    pub rules: Vec<&'static str>,
}

/// What a call answers: condition code, response code, reason code.
pub type Answer = (u8, u16, u16);

pub fn setup(generation: u8) -> Setup {
    Setup {
        storage: STORAGE,
        cpus: 2,
        generation,
        misc: generation >= 16,
        without: vec![],
        strict_tweaks: false,
        always_count: false,
        big_endian: true,
    }
}

impl Machine {
    /// A z16 whose first CPU operates, in supervisor state, without translation.
    pub fn new() -> Machine {
        Machine::of(setup(16))
    }

    pub fn of(setup: Setup) -> Machine {
        let mut machine = Machine { state: State::new(setup), world: TestWorld::default(), rules: vec![] };
        assert_eq!(machine.take(&Step::Start(CpuNumber(0))), Outcome::Done);
        machine
    }

    /// The same, initialised.
    pub fn initialised() -> Machine {
        let mut machine = Machine::new();
        assert_eq!(machine.init(), (0, 1, 0));
        machine
    }

    /// The same with home space and a configuration.
    pub fn with_configuration() -> (Machine, Handle) {
        let mut machine = Machine::initialised();
        machine.home_space();
        let block = machine.create();
        let (answer, block) = machine.call(&block);
        assert_eq!(answer, (0, 1, 0));
        (machine, Handle(u64_at(&block, 0x18)))
    }

    /// The same with a CPU.
    pub fn with_cpu() -> (Machine, Handle, Handle) {
        let (mut machine, configuration) = Machine::with_configuration();
        let (answer, block) = machine.call(&create_cpu(configuration));
        assert_eq!(answer, (0, 1, 0));
        (machine, configuration, Handle(u64_at(&block, 0x18)))
    }

    pub fn try_take(&mut self, what: &Step) -> Result<Outcome, Objection> {
        let after = step(&self.state, what, &mut self.world)?;
        self.state = after.state;
        self.rules = after.rules;
        Ok(after.outcome)
    }

    pub fn take(&mut self, what: &Step) -> Outcome {
        self.try_take(what).expect("no objection")
    }

    pub fn host(&mut self, what: HostStep) -> Outcome {
        self.take(&Step::Host(CpuNumber(0), what))
    }

    pub fn load(&mut self, address: u64, length: u64) -> Outcome {
        self.host(HostStep::Load { address: VirtualAddress(address), length, kind: Access::Fetch })
    }

    pub fn fetch_instruction(&mut self, address: u64) -> Outcome {
        self.host(HostStep::Load { address: VirtualAddress(address), length: 2, kind: Access::Instruction })
    }

    pub fn store(&mut self, address: u64, bytes: &[u8]) -> Outcome {
        self.host(HostStep::Store { address: VirtualAddress(address), bytes: bytes.to_vec() })
    }

    /// Stores a doubleword, in the machine's byte order.
    pub fn put(&mut self, address: u64, value: u64) {
        let bytes = if self.state.setup.big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        assert_eq!(self.store(address, &bytes), Outcome::Done);
    }

    /// Switches translation.
    pub fn translation(&mut self, translation: bool) {
        let home = self.state.host[&CpuNumber(0)].home;
        self.registers(translation, home);
    }

    pub fn registers(&mut self, translation: bool, home: u64) {
        let registers = HostStep::Registers { problem_state: false, translation, primary: 0, home };
        assert_eq!(self.host(registers), Outcome::Done);
    }

    /// Home space: a segment table at [`HOME`], in which the first GiB is what it is, in MiB frames, and the second
    /// shows [`VARIABLE`] onwards page by page, 255 pages; one more is invalid. Translation stays off.
    pub fn home_space(&mut self) {
        for segment in 0..1024 {
            self.put(HOME + 8 * segment, segment << 20 | 0x400);
        }
        let pages = HOME + 0x8000;
        self.put(HOME + 8 * 1024, pages);
        for page in 0..255 {
            self.put(pages + 8 * page, VARIABLE + 4096 * page);
        }
        self.put(pages + 8 * 255, 0x400);
        self.registers(false, HOME | 0x3);
    }

    pub fn uvc(&mut self, r2: u64) -> Outcome {
        self.host(HostStep::Uvc(Uvc { r1: 0, r2, m3: 0, m4: 0 }))
    }

    /// Puts a block at [`BLOCK`] and calls; what is in the block afterwards.
    pub fn call(&mut self, block: &[u8]) -> (Answer, Vec<u8>) {
        assert_eq!(self.store(BLOCK, block), Outcome::Done);
        // Its variable area is translated as any access is.
        let host = &self.state.host[&CpuNumber(0)];
        let translated = block[2..4] == [1, 0] && host.home != 0 && !host.translation;
        if translated {
            self.translation(true);
        }
        let Outcome::Condition(condition) = self.uvc(BLOCK) else { panic!("the call was interrupted") };
        let rules = self.rules.clone();
        if translated {
            self.translation(false);
        }
        let Outcome::Loaded(after) = self.load(BLOCK, block.len() as u64) else { panic!("the block is gone") };
        self.rules = rules;
        ((condition, u16_at(&after, 4), u16_at(&after, 6)), after)
    }

    pub fn init(&mut self) -> Answer {
        self.call(&init(BASE)).0
    }

    /// A good CREATE_SEC_CONF.
    pub fn create(&self) -> Vec<u8> {
        block(0x100, 0x80)
            .with(0x20, CONFIGURATION)
            .with(0x28, WINDOW)
            .with(0x40, GUEST_SIZE)
            .with(0x48, SCA)
            .with(0x50, GUEST_ASCE)
    }

    pub fn zone(&self, address: u64) -> Zone {
        self.state.zone(FrameNumber(address / 4096))
    }

    pub fn channel_read(&mut self, address: u64, length: u64) -> Outcome {
        self.take(&Step::ChannelRead { address: AbsoluteAddress(address), length })
    }

    pub fn channel_write(&mut self, address: u64, bytes: &[u8]) -> Outcome {
        self.take(&Step::ChannelWrite { address: AbsoluteAddress(address), bytes: bytes.to_vec() })
    }
}

/// A good INIT_UV.
pub fn init(origin: u64) -> Vec<u8> {
    block(0x0f, 0x48).with(0x18, origin).with(0x20, 98 * MIB)
}

/// A good CREATE_SEC_CPU.
pub fn create_cpu(configuration: Handle) -> Vec<u8> {
    block(0x120, 0x60).with(0x20, configuration.0).with(0x28, CPU).with(0x38, DESCRIPTION)
}

/// A block with nothing but a handle.
pub fn handle_block(code: u16, length: u16, handle: Handle) -> Vec<u8> {
    block(code, length).with(0x18, handle.0)
}

/// A block with a header.
pub fn block(code: u16, length: u16) -> Vec<u8> {
    let mut bytes = vec![0; usize::from(length).max(8)];
    bytes[..2].copy_from_slice(&length.to_be_bytes());
    bytes[2..4].copy_from_slice(&code.to_be_bytes());
    bytes
}

/// Fields of a block.
pub trait With {
    #[must_use]
    fn with(self, offset: usize, value: u64) -> Self;
    #[must_use]
    fn with_u16(self, offset: usize, value: u16) -> Self;
}

impl With for Vec<u8> {
    fn with(mut self, offset: usize, value: u64) -> Self {
        self[offset..offset + 8].copy_from_slice(&value.to_be_bytes());
        self
    }

    fn with_u16(mut self, offset: usize, value: u16) -> Self {
        self[offset..offset + 2].copy_from_slice(&value.to_be_bytes());
        self
    }
}

pub fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_be_bytes(core::array::from_fn(|at| bytes[offset + at]))
}

pub fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_be_bytes(core::array::from_fn(|at| bytes[offset + at]))
}

/// The interruption of an outcome.
pub fn interruption(outcome: &Outcome) -> Option<Program> {
    if let Outcome::Program(program) = outcome { Some(*program) } else { None }
}

/// Its code, or 0.
pub fn code(outcome: &Outcome) -> u16 {
    interruption(outcome).map_or(0, |program| program.code)
}
