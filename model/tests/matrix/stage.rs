//! A machine with what one call needs, and the call.

use crate::scene::{Field, GUEST_BLOCK, Home, Log, with};
use crate::support::image::Plan;
use crate::support::{Guest, Host};
use std::sync::{Arc, LazyLock};
use uvsim_model::address::{AbsoluteAddress, FrameNumber, GuestAddress, PageIndex, VirtualAddress};
use uvsim_model::config::MachineConfig;
use uvsim_model::cpu::{GuestEvent, SieExit, Uvc};
use uvsim_model::crypto::HostKeys;
use uvsim_model::storage::Asce;
use uvsim_model::uvc::{Command, Issuer};
use uvsim_model::{Injection, Machine, Reset, StateDigest};

/// First address behind storage.
pub const END: u64 = 4 << 30;
/// The page that calls are about.
pub const PAGE: PageIndex = PageIndex(3);

/// A machine with host keys that are made once for all tests: drawing them takes longer than most calls.
pub fn config() -> MachineConfig {
    static KEYS: LazyLock<HostKeys> = LazyLock::new(|| crate::support::config().host_keys());
    let (host_key, backup_host_key) = (Some(KEYS.host.clone()), Some(KEYS.backup.clone()));
    MachineConfig { host_key, backup_host_key, ..crate::support::config() }
}

/// What may be wrong with the instruction and its block, and around the call.
#[derive(Clone, Default)]
pub struct Around {
    pub problem: bool,
    pub immediate: bool,
    pub skew: bool,
    pub header: bool,
    pub rest: bool,
    /// The frame in which the block lies.
    pub inside: Option<u64>,
    /// Issued by a guest although it is a host's call, or the other way round.
    pub foreign: bool,
    pub length: Option<u16>,
    pub reset: bool,
    pub inject: Vec<Injection>,
    pub other_cpu: bool,
    pub in_sie: bool,
    pub real_space: bool,
}

/// How far an image has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ImageState {
    None,
    #[default]
    Loading,
    Verified,
}

pub struct Stage<'m> {
    pub host: Host<'m>,
    pub command: Command,
    pub issuer: Issuer,
    /// The configuration that the call is about.
    pub guest: Guest,
    other: Option<Guest>,
    /// The frame that the call is about.
    pub frame: FrameNumber,
    pub fields: Vec<Field>,
    pub around: Around,
    /// The SE header, before [`Stage::bytes`] change it.
    pub plan: Plan,
    pub bytes: Vec<fn(&mut Vec<u8>)>,
    /// The SE header announces optional items.
    pub items: bool,
    /// How far the image is to come before the call.
    pub image: ImageState,
    home: Home,
    home_asce: Asce,
    pub block: u64,
    log: Arc<Log>,
}

/// How a call has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// Condition code, rc and rrc.
    Code(u8, u16, u16),
    Interruption(u16),
    Interception(u8),
}

/// What a call has done.
pub struct Trace {
    pub ending: Ending,
    pub before: [StateDigest; 2],
    pub after: [StateDigest; 2],
    pub rule: Option<&'static str>,
    /// What an access to the block must have ended with, if it was to fail.
    pub access: u16,
}

impl<'m> Stage<'m> {
    /// A stage with a host; `bare` without any configuration.
    pub fn new(machine: &'m Machine, command: Command, issuer: Issuer) -> Self {
        let log = Log::of(machine);
        let mut host = if command == Command::InitUv { Host::new(machine) } else { Host::ready(machine) };
        let block = host.allocate(0x1000);
        let frame = host.frame();
        let home = host.home_space();
        let home_asce = host.cpu.registers().home;
        host.cpu.set_translation(false);
        let guest = host.prepare(1);
        let plan = Plan {
            recipients: Vec::new(),
            flags: crate::support::image::USUAL,
            secret_flags: 0,
            psw: crate::support::image::PSW,
            pages: Vec::new(),
            count: None,
            digests: [None; 3],
        };
        Self {
            host,
            command,
            issuer,
            guest,
            other: None,
            frame,
            fields: Vec::new(),
            around: Around::default(),
            plan,
            bytes: Vec::new(),
            items: false,
            image: ImageState::default(),
            home,
            home_asce,
            block,
            log,
        }
    }

    /// Makes the configuration that was prepared, with CPU 0.
    pub fn create(&mut self) {
        let fields = Host::create_fields(&self.guest);
        assert_eq!(self.host.call(Command::CreateSecConf, &fields), crate::support::DONE);
        self.guest.handle = self.host.output(0x18);
        self.host.create_cpu(&mut self.guest);
    }

    /// The same, with an image that is verified and a CPU that operates.
    pub fn start(&mut self) {
        self.create();
        self.host.boot(&self.guest);
    }

    /// Another guest, which runs.
    pub fn other(&mut self) -> Guest {
        if self.other.is_none() {
            if !self.host.machine().is_initialised() {
                assert_eq!(self.host.init(), crate::support::DONE);
            }
            self.other = Some(self.host.start(1));
        }
        self.other.clone().expect("just made")
    }

    /// Handles of the other guest and its CPU, if there is one.
    pub fn others(&self) -> Vec<u64> {
        self.other.iter().flat_map(|guest| [guest.handle, guest.cpu]).collect()
    }

    /// Another guest that has ended with its frames left, and the frame of its page [`PAGE`], which it shares
    /// if `share` says so.
    pub fn ended(&mut self, share: bool) -> FrameNumber {
        let guest = self.host.start(1);
        let frame = if share { self.host.shared(&guest, PAGE, b"left") } else { self.host.resident(&guest, PAGE) };
        self.host.destroy_guest(&guest, Command::DestroySecConfFast);
        frame
    }

    /// Maps a frame at [`PAGE`], and makes it the one that the call is about.
    pub fn map(&mut self, frame: FrameNumber) {
        self.host.map(&self.guest.clone(), PAGE, frame);
        self.frame = frame;
    }

    pub fn set(&mut self, offset: u64, size: u8, value: u64) {
        self.fields = with(&self.fields, &[(offset, size, value)]);
    }

    pub fn field(&self, offset: u64) -> u64 {
        self.fields.iter().find(|field| field.0 == offset).map_or(0, |field| field.2)
    }

    /// Maps a page of the window of the home space. The space is not yet switched on.
    pub fn window(&mut self, index: u64, frame: FrameNumber) -> u64 {
        self.home.map(&mut self.host, index, frame, 0)
    }

    /// Switches the home space on.
    pub fn use_home(&mut self) {
        self.host.cpu.set_home(self.home_asce);
        self.host.cpu.set_translation(true);
    }

    /// Whether the guest can be entered.
    pub fn runs(&mut self) -> bool {
        let guest = self.guest.clone();
        self.host.enter(&guest).is_ok()
    }

    /// Issues the call.
    pub fn issue(&mut self) -> Trace {
        let by_guest = (self.issuer == Issuer::Guest) != self.around.foreign;
        self.log.take();
        if by_guest { self.issue_as_guest() } else { self.issue_as_host() }
    }

    fn settle(&mut self) {
        if self.around.reset {
            self.host.cpu.reset_machine(Reset::LoadNormal).expect("no other CPU operates");
        }
        for &injection in &self.around.inject {
            self.host.machine().inject(self.command, injection);
        }
    }

    /// The block as the caller makes it.
    pub fn block_bytes(&self) -> Vec<u8> {
        let length = self.around.length.unwrap_or(self.command.usual_length());
        let mut bytes = vec![0; usize::from(length).clamp(8, 0x200)];
        bytes[..2].copy_from_slice(&length.to_be_bytes());
        bytes[2..4].copy_from_slice(&self.command.code().to_be_bytes());
        for field in self.command.row().fields.iter().filter(|field| field.output) {
            let range = usize::from(field.offset)..usize::from(field.offset) + usize::from(field.size);
            if let Some(field) = bytes.get_mut(range) {
                field.fill(0xa5);
            }
        }
        for &(offset, size, value) in &self.fields {
            let (offset, size) = (offset as usize, usize::from(size));
            if let Some(field) = bytes.get_mut(offset..offset + size) {
                field.copy_from_slice(&value.to_be_bytes()[8 - size..]);
            }
        }
        bytes
    }

    fn instruction(&self, address: u64) -> Uvc {
        let address = address + if self.around.skew { 4 } else { 0 };
        Uvc {
            m3: self.around.immediate.into(),
            m4: (self.around.immediate as u8) << 1,
            ..Uvc::at(VirtualAddress(address))
        }
    }

    fn issue_as_host(&mut self) -> Trace {
        self.settle();
        let (bytes, around) = (self.block_bytes(), self.around.clone());
        let at = around.inside.unwrap_or(self.block);
        // Only the header is there if the rest is out of reach; then it is the end of a page.
        let offset = if around.rest { 0xff8 } else { 0 };
        let kept = if around.rest { 8 } else { bytes.len() };
        self.host.store(at + offset, &bytes[..kept]);
        let mut address = at + offset;
        let mut absolute = AbsoluteAddress(address);
        let mut access = if around.header { 0x04 } else { 0x11 };
        if around.real_space {
            if around.header || around.rest {
                (address, access) = (if around.header { END } else { END - 8 }, 0x05);
                absolute = AbsoluteAddress(END - 8);
                self.host.store(END - 8, &bytes[..8]);
            }
            self.host.cpu.set_home(Asce(0x20));
            self.host.cpu.set_translation(true);
        } else if around.header || around.rest {
            let protection = if around.header { 0x200 } else { 0 };
            address = self.home.map(&mut self.host, 0x40, AbsoluteAddress(at).frame(), protection) + offset;
            self.use_home();
        }
        absolute = self.host.cpu.translate(VirtualAddress(address)).unwrap_or(absolute);
        let machine = self.host.machine();
        let _other = around.other_cpu.then(|| machine.cpu(1).expect("CPU 1 is free"));
        let mut second = around.in_sie.then(|| machine.cpu(1).expect("CPU 1 is free"));
        let _inside = second.as_mut().map(|cpu| {
            cpu.set_primary(self.guest.asce);
            cpu.enter(VirtualAddress(self.guest.state_description)).expect("the guest runs")
        });
        self.host.cpu.set_problem_state(around.problem);
        let instruction = self.instruction(address);
        let before = digests(machine, absolute);
        let result = self.host.cpu.uvc(instruction);
        let after = digests(machine, absolute);
        let ending = match result {
            Ok(cc) => code(machine, cc as u8, absolute),
            Err(interruption) => Ending::Interruption(interruption.code as u16),
        };
        self.host.cpu.set_problem_state(false);
        Trace { ending, before, after, rule: self.rule(ending), access }
    }

    fn issue_as_guest(&mut self) -> Trace {
        let guest = if self.issuer == Issuer::Guest { self.guest.clone() } else { self.other() };
        self.settle();
        let (bytes, around) = (self.block_bytes(), self.around.clone());
        let offset = if around.rest { 0xff8 } else { 0 };
        let kept = if around.rest { 8 } else { bytes.len() };
        let (mut address, mut access) = (GUEST_BLOCK, 0);
        if around.header {
            // In a frame that is not secure, before a page that has none.
            let frame = self.host.frame();
            self.host.store(frame.address().0 + offset, &bytes[..kept]);
            self.host.map(&guest, PageIndex(10), frame);
            (address, access) = (0xa000 + offset, 0x3e);
        } else if around.rest {
            self.host.resident(&guest, PageIndex(8));
            (address, access) = (0x8000 + offset, 0x11);
        }
        let machine = self.host.machine();
        let frame = machine.page(guest.handle, PageIndex(address / 0x1000)).and_then(|page| page.record.frame());
        let absolute = AbsoluteAddress(frame.map_or(self.block, |frame| frame.address().0) + address % 0x1000);
        self.log.take();
        let mut cpu = self.host.enter(&guest).expect("the guest runs");
        if !around.header {
            cpu.store(GuestAddress(address), &bytes[..kept]).expect("a page of the guest");
        }
        cpu.set_problem_state(around.problem);
        let skewed = address + if around.skew { 4 } else { 0 };
        let immediate = around.immediate.into();
        let before = digests(machine, absolute);
        let result = cpu.uvc(Uvc { m3: immediate, ..Uvc::at(VirtualAddress(skewed)) });
        let after = digests(machine, absolute);
        let ending = match result {
            Ok(cc) => code(machine, cc as u8, absolute),
            Err(GuestEvent::Program(interruption) | GuestEvent::Exit(SieExit::HostInterruption(interruption))) => {
                Ending::Interruption(interruption.code as u16)
            }
            Err(GuestEvent::Exit(SieExit::Interception(interception))) => Ending::Interception(interception.code),
        };
        drop(cpu);
        Trace { ending, before, after, rule: self.rule(ending), access }
    }

    fn rule(&self, ending: Ending) -> Option<&'static str> {
        matches!(ending, Ending::Code(..)).then(|| self.log.last_call())
    }
}

/// With and without the four bytes of rc and rrc.
fn digests(machine: &Machine, block: AbsoluteAddress) -> [StateDigest; 2] {
    [machine.state_digest(None), machine.state_digest(Some(block))]
}

fn code(machine: &Machine, cc: u8, block: AbsoluteAddress) -> Ending {
    let mut codes = [0; 4];
    assert!(machine.peek(AbsoluteAddress(block.0 + 4), &mut codes));
    Ending::Code(cc, u16::from_be_bytes([codes[0], codes[1]]), u16::from_be_bytes([codes[2], codes[3]]))
}
