//! A machine with a guest that is ready to run, built by hand, for the tests of SIE.
#![allow(dead_code, reason = "each test file uses a part of it")]

use imbl::{OrdMap, OrdSet};
use std::sync::Arc;
use uvsim_oracle::ids::{AbsoluteAddress, CpuNumber, FrameNumber, GuestAddress, Handle, PageIndex, VirtualAddress};
use uvsim_oracle::state::*;
use uvsim_oracle::step::*;
use uvsim_oracle::world::{Looseness, World};
use uvsim_oracle::{After, State, Step};

pub(crate) const CPU: CpuNumber = CpuNumber(0);
pub(crate) const OTHER_CPU: CpuNumber = CpuNumber(1);
pub(crate) const ALPHA: Handle = Handle(0xa1fa_0000_1111_2222);
pub(crate) const BETA: Handle = Handle(0xbe7a_0000_3333_4444);
pub(crate) const VCPU: Handle = Handle(0xc0de_0000_5555_6666);
pub(crate) const BETA_VCPU: Handle = Handle(0xc0de_1000_7777_8888);
pub(crate) const DESCRIPTION: u64 = 0x1_0000;
pub(crate) const DATA_AREA: u64 = 0x1_2000;
pub(crate) const SEGMENTS: u64 = 0x2_0000;
pub(crate) const PAGES: u64 = 0x3_0000;
/// Where the host has its blocks.
const BLOCK: u64 = 0x6_0000;
/// Page p of the guest is mapped to this frame + p.
pub(crate) const FIRST: u64 = 0x100;
pub(crate) const ASCE: u64 = SEGMENTS | 0x100;
pub(crate) const SIZE: u64 = 0x10_0000;

/// Pages that the tests know.
pub(crate) const SECURE: u64 = 2;
pub(crate) const SHARED: u64 = 3;
pub(crate) const PINNED: u64 = 4;
pub(crate) const PLAIN: u64 = 5;
pub(crate) const UNMAPPED: u64 = 6;

/// It chooses always the same, and is asked nothing else.
#[derive(Default)]
pub(crate) struct Chooser {
    pub(crate) choice: usize,
    pub(crate) asked: usize,
    /// How many pages were exported.
    pub(crate) ciphertexts: u8,
}

impl World for Chooser {
    fn choose(&mut self, _: Looseness, count: usize) -> usize {
        self.asked += 1;
        self.choice.min(count - 1)
    }
    fn handle(&mut self) -> Handle {
        unreachable!("no handle is drawn")
    }
    fn ciphertext(&mut self, _: FrameNumber) -> Bytes {
        self.ciphertexts += 1;
        Arc::new([self.ciphertexts; 4096])
    }
    fn query_output(&mut self, _: usize, length: usize) -> Vec<u8> {
        vec![0; length]
    }
    fn open_header(&mut self, _: &[u8]) -> Opened {
        unreachable!("no image is opened")
    }
    fn decrypt(&mut self, _: ImageKey, _: (u64, u64), _: &Bytes) -> Bytes {
        unreachable!("no image is opened")
    }
    fn digest(&mut self, _: &mut dyn Iterator<Item = Vec<u8>>) -> [u8; 64] {
        unreachable!("no image is opened")
    }
}

/// The machine, and the world that looks at it.
pub(crate) struct Machine {
    pub(crate) state: State,
    pub(crate) world: Chooser,
}

impl Machine {
    /// Two host CPUs with DAT off; guest alpha with pages 0 and 1 secure, and those above; CPU 0 not yet in SIE.
    pub(crate) fn new() -> Self {
        let mut machine = Self { state: empty(), world: Chooser::default() };
        machine.configuration(ALPHA, VCPU, ASCE, DESCRIPTION);
        machine.poke(SEGMENTS, &PAGES.to_be_bytes());
        for page in 0..256 {
            machine.map(page, None);
        }
        for page in [0, 1, SECURE, SHARED, PINNED, PLAIN] {
            machine.map(page, Some(FIRST + page));
        }
        for page in [0, 1, SECURE] {
            machine.register(page, FIRST + page, Registered::Secure);
        }
        machine.register(SHARED, FIRST + SHARED, Registered::Shared);
        machine.register(PINNED, FIRST + PINNED, Registered::Pinned);
        machine
    }

    /// The same, and the guest runs.
    pub(crate) fn running() -> Self {
        let mut machine = Self::new();
        assert_eq!(machine.enter(), Outcome::Done);
        machine
    }

    /// A configuration that is verified, with one CPU that operates, and its state description.
    pub(crate) fn configuration(&mut self, handle: Handle, cpu: Handle, asce: u64, description: u64) {
        let cpus: OrdMap<u16, Handle> = [(0_u16, cpu)].into_iter().collect();
        let configuration = Configuration {
            origin: 0,
            size: SIZE,
            asce,
            sca: AbsoluteAddress(0x4_0000),
            cpus,
            pages: OrdMap::new(),
            boot: Boot::Verified(image()),
            reset: Reset { started: true, ..Reset::default() },
        };
        self.state.configurations.insert(handle, configuration);
        let kept = SecureCpu {
            configuration: handle,
            number: 0,
            state_description: AbsoluteAddress(description),
            run: Run::Operating,
            registers: Registers::default(),
            load_pending: false,
            outstanding: None,
            last_exit: None,
            owed: None,
            in_sie: None,
        };
        self.state.cpus.insert(cpu, kept);
        self.poke(description + 0x10, &cpu.0.to_be_bytes());
        self.poke(description + 0x18, &handle.0.to_be_bytes());
        self.poke(description + 0x180, &DATA_AREA.to_be_bytes());
    }

    /// Maps a page of alpha, as the host does by a store into its table, without a purge.
    pub(crate) fn map(&mut self, page: u64, frame: Option<u64>) {
        let entry = frame.map_or(0x400, |frame| frame << 12);
        self.poke(PAGES + 8 * page, &entry.to_be_bytes());
    }

    /// Registers a page of alpha in a frame.
    pub(crate) fn register(&mut self, page: u64, frame: u64, kind: Registered) {
        let (page, frame) = (PageIndex(page), FrameNumber(frame));
        self.state.registered.insert(frame, Registration { kind, configuration: ALPHA, page });
        let record = match kind {
            Registered::Secure => Record::Resident(frame),
            Registered::Shared => Record::Shared(Some(frame)),
            Registered::Pinned => Record::Pinned(frame),
        };
        self.alpha().pages.insert(page, Page { record, ..Page::default() });
    }

    pub(crate) fn alpha(&mut self) -> &mut Configuration {
        self.state.configurations.get_mut(&ALPHA).expect("alpha is there")
    }

    pub(crate) fn vcpu(&mut self) -> &mut SecureCpu {
        self.state.cpus.get_mut(&VCPU).expect("the CPU is there")
    }

    /// Bytes of absolute storage, whoever may see them.
    pub(crate) fn peek(&self, address: u64, length: usize) -> Vec<u8> {
        let frame = self.state.frame(FrameNumber(address / 4096));
        frame[(address % 4096) as usize..][..length].to_vec()
    }

    /// Changes them, likewise.
    pub(crate) fn poke(&mut self, address: u64, bytes: &[u8]) {
        let frame = FrameNumber(address / 4096);
        let mut all = *self.state.frame(frame);
        all[(address % 4096) as usize..][..bytes.len()].copy_from_slice(bytes);
        self.state.storage.insert(frame, Arc::new(all));
    }

    /// Doubleword of the state description.
    pub(crate) fn shown(&self, offset: u64) -> u64 {
        u64::from_be_bytes(self.peek(DESCRIPTION + offset, 8).try_into().expect("eight bytes"))
    }

    /// A register of the save area.
    pub(crate) fn shown_register(&self, number: u64) -> u64 {
        self.shown(0x380 + 8 * number)
    }

    /// Code, ipa and ipb in the state description.
    pub(crate) fn shown_interception(&self) -> Interception {
        let text = self.peek(DESCRIPTION + 0x50, 12);
        Interception {
            code: text[0],
            ipa: u16::from_be_bytes([text[6], text[7]]),
            ipb: u32::from_be_bytes([text[8], text[9], text[10], text[11]]),
        }
    }

    pub(crate) fn step(&mut self, step: Step) -> After {
        let after = uvsim_oracle::step(&self.state, &step, &mut self.world).expect("the world is right");
        self.state = after.state.clone();
        after
    }

    pub(crate) fn enter(&mut self) -> Outcome {
        self.enter_on(CPU, DESCRIPTION)
    }

    pub(crate) fn enter_on(&mut self, cpu: CpuNumber, description: u64) -> Outcome {
        self.step(Step::Host(cpu, HostStep::Enter(VirtualAddress(description)))).outcome
    }

    pub(crate) fn leave(&mut self) {
        assert_eq!(self.act(GuestStep::Leave), Outcome::Done);
    }

    pub(crate) fn act(&mut self, step: GuestStep) -> Outcome {
        self.step(Step::Guest(CPU, step)).outcome
    }

    pub(crate) fn load(&mut self, address: u64, length: u64) -> Outcome {
        self.act(GuestStep::Load { address: GuestAddress(address), length })
    }

    pub(crate) fn store(&mut self, address: u64, bytes: &[u8]) -> Outcome {
        self.act(GuestStep::Store { address: GuestAddress(address), bytes: bytes.to_vec() })
    }

    pub(crate) fn host_load(&mut self, address: u64, length: u64) -> Outcome {
        let address = VirtualAddress(address);
        self.step(Step::Host(OTHER_CPU, HostStep::Load { address, length, kind: Access::Fetch })).outcome
    }

    pub(crate) fn clock(&mut self, nanoseconds: u64) {
        assert_eq!(self.step(Step::Clock { nanoseconds }).outcome, Outcome::Done);
    }

    /// A call of the guest with this block in its page 1; outcome and response code.
    pub(crate) fn call(&mut self, block: &[u8]) -> (Outcome, u16) {
        assert_eq!(self.store(0x1e00, block), Outcome::Done);
        let outcome = self.act(GuestStep::Uvc(Uvc { r1: 0, r2: 0x1e00, m3: 0, m4: 0 }));
        let codes = self.peek((FIRST << 12) + 0x1e04, 2);
        (outcome, u16::from_be_bytes([codes[0], codes[1]]))
    }

    /// SET_SHARED_ACCESS or REMOVE_SHARED_ACCESS of a page.
    pub(crate) fn sharing_call(&mut self, command: u16, address: u64) -> (Outcome, u16) {
        self.call(&sharing_block(command, 0x30, address))
    }
}

/// A block of SET_SHARED_ACCESS or REMOVE_SHARED_ACCESS.
pub(crate) fn sharing_block(command: u16, length: u16, address: u64) -> Vec<u8> {
    let mut block = vec![0; 0x30];
    block[0..2].copy_from_slice(&length.to_be_bytes());
    block[2..4].copy_from_slice(&command.to_be_bytes());
    block[0x20..0x28].copy_from_slice(&address.to_be_bytes());
    block
}

/// A program interruption of the host.
pub(crate) fn host_takes(code: u16, teid: u64) -> Outcome {
    Outcome::Program(Program { code, teid })
}

/// A program interruption of the guest.
pub(crate) fn guest_takes(code: u16) -> Outcome {
    Outcome::GuestProgram(Program { code, teid: 0 })
}

pub(crate) fn intercepted(code: u8, ipa: u16, ipb: u32) -> Outcome {
    Outcome::Interception(Interception { code, ipa, ipb })
}

/// Whether this is a validity interception for a reason of the Ultravisor.
pub(crate) fn is_validity(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Interception(found) if found.code == 32 && found.ipb >> 24 == 0x20)
}

fn empty() -> State {
    let setup = Setup {
        storage: 16 << 20,
        cpus: 2,
        generation: 16,
        misc: true,
        without: Vec::new(),
        strict_tweaks: false,
        always_count: false,
        big_endian: true,
    };
    let host = HostCpu { operating: true, primary: ASCE, ..HostCpu::default() };
    State {
        setup: Arc::new(setup),
        storage: OrdMap::new(),
        initialised: true,
        donated: OrdMap::new(),
        registered: OrdMap::new(),
        configurations: OrdMap::new(),
        cpus: OrdMap::new(),
        host: [(CPU, host.clone()), (OTHER_CPU, HostCpu { prefix: 0x5_0000, ..host })].into_iter().collect(),
        issued: OrdSet::new(),
        sealed: imbl::HashMap::new(),
        injected: OrdMap::new(),
        clock: 0,
        purges: Purges::default(),
    }
}

fn image() -> Image {
    let digest = [0; 64];
    Image { key: ImageKey(0), pcf: 0, scf: 0, psw: (0, 0), nep: 0, pld: digest, ald: digest, tld: digest }
}

impl Machine {
    /// A call of the host; its response code. Fields: offset, value.
    pub(crate) fn host_call(&mut self, command: u16, length: u16, fields: &[(usize, u64)]) -> u16 {
        let mut block = vec![0; usize::from(length)];
        block[0..2].copy_from_slice(&length.to_be_bytes());
        block[2..4].copy_from_slice(&command.to_be_bytes());
        for &(offset, value) in fields {
            block[offset..offset + 8].copy_from_slice(&value.to_be_bytes());
        }
        self.poke(BLOCK, &block);
        let uvc = HostStep::Uvc(Uvc { r1: 0, r2: BLOCK, m3: 0, m4: 0 });
        assert!(matches!(self.step(Step::Host(OTHER_CPU, uvc)).outcome, Outcome::Condition(0 | 1)));
        u16::from_be_bytes(self.peek(BLOCK + 4, 2).try_into().expect("two bytes"))
    }

    /// What the guest finds in its storage when it is entered.
    pub(crate) fn load_after_entry(&mut self, address: u64, length: u64) -> Vec<u8> {
        assert_eq!(self.enter(), Outcome::Done);
        match self.load(address, length) {
            Outcome::Loaded(bytes) => bytes,
            other => panic!("the guest cannot load: {other:?}"),
        }
    }

    /// Outcome of a call, whose block does not matter.
    pub(crate) fn sharing_exit(&mut self) -> Outcome {
        self.act(GuestStep::Uvc(Uvc { r1: 0, r2: 0x1e00, m3: 0, m4: 0 }))
    }
}
