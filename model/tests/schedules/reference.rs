//! A second model, small and plain: what every frame, page and call must be after each step.
//!
//! It shares no code with the machine. It keeps the bytes of every frame that a step can name, the record
//! and counter of every page, what its latest export looked like, and what each CPU may have buffered.

use crate::image::{Delivered, Image, Laid};
use crate::step::{BLOCK_FRAME, FRAMES, PAGES, POOL, SLOTS, Setup, UV_FRAME};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use uvsim_model::cpu::ValidityReason;
use uvsim_model::storage::{AddressSpace, Domain, ProgramCode, Teid};
use uvsim_model::uvc::Command;

pub(crate) type Bytes = Rc<[u8; 4096]>;

pub(crate) fn zeros() -> Bytes {
    Rc::new([0; 4096])
}

/// Number of a configuration, in the order of creation.
pub(crate) type Owner = usize;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Normal,
    Donated,
    Secure(Owner, u8),
    Shared(Owner, u8),
    Pinned(Owner, u8),
}

impl State {
    pub(crate) fn is_secure(self) -> bool {
        matches!(self, Self::Donated | Self::Secure(..))
    }

    pub(crate) fn page(self) -> Option<(Owner, u8)> {
        match self {
            Self::Secure(owner, page) | Self::Shared(owner, page) | Self::Pinned(owner, page) => Some((owner, page)),
            Self::Normal | Self::Donated => None,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub state: State,
    pub bytes: Bytes,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Record {
    Absent,
    Resident(usize),
    Exported,
    Shared(Option<usize>),
    Pinned(usize),
    Destroyed,
}

impl Record {
    pub(crate) fn frame(self) -> Option<usize> {
        match self {
            Self::Resident(frame) | Self::Shared(Some(frame)) | Self::Pinned(frame) => Some(frame),
            _ => None,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub record: Record,
    pub counter: u64,
    /// Plaintext and, unless a hook has made it, ciphertext of the latest export.
    pub last: Option<(Bytes, Option<Bytes>)>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Boot {
    Created,
    /// The image that the header speaks of, and what was unpacked.
    Loading(Image, Vec<Delivered>),
    Verified,
}

/// How far a configuration is with a reset, and which CPU reset it needs: 1 normal, 2 initial, 3 clear (D79).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocol {
    Idle,
    Requested(u8),
    Prepared(u8),
}

/// What PREPARE_RESET has asked of a CPU, and the strongest reset since; 0 is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mark {
    pub required: u8,
    pub done: u8,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Vcpu {
    pub handle: u64,
    pub frame: usize,
    pub description: u64,
    pub operating: bool,
    pub stopped: bool,
    pub mark: Option<Mark>,
    pub psw: [u64; 2],
    /// The page where the prefix area begins.
    pub prefix: u8,
    /// The next entry takes the PSW from page 0.
    pub loads: bool,
}

impl Vcpu {
    pub(crate) fn new(frame: usize, description: u64, protocol: Protocol) -> Self {
        let mark = match protocol {
            Protocol::Prepared(required) => Some(Mark { required, done: 0 }),
            Protocol::Idle | Protocol::Requested(_) => None,
        };
        let (handle, psw) = (0, [0; 2]);
        Self { handle, frame, description, operating: false, stopped: true, mark, psw, prefix: 0, loads: false }
    }

    /// A page by its number in real storage, or the other way round.
    pub(crate) fn prefixed(&self, page: u16) -> u16 {
        let prefix = u16::from(self.prefix);
        match page {
            0..2 => prefix + page,
            _ if (prefix..prefix + 2).contains(&page) => page - prefix,
            _ => page,
        }
    }

    pub(crate) fn in_problem_state(&self) -> bool {
        self.psw[0] >> 48 & 1 == 1
    }
}

/// A configuration, dead or alive.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    pub slot: usize,
    pub handle: u64,
    pub domain: Domain,
    pub alive: bool,
    pub boot: Boot,
    /// SET_UNSHARED_ALL since a CPU operated.
    pub unshared: bool,
    pub protocol: Protocol,
    /// A CPU was loaded once; PREPARE_RESET was done since: loads take the PSW from page 0.
    pub started: bool,
    pub from_zero: bool,
    pub cpus: BTreeMap<u16, Vcpu>,
    pub pages: Vec<Page>,
}

/// Where things of a slot lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub area: u64,
}

impl Slot {
    pub(crate) fn base(self) -> u64 {
        self.area
    }
    pub(crate) fn variable(self) -> u64 {
        self.area + 0x1_0000
    }
    pub(crate) fn header(self) -> u64 {
        self.area + 0x2_8000
    }
    pub(crate) fn description(self, number: u16) -> u64 {
        self.area + 0x3_0000 + u64::from(number) * 0x1000
    }
    pub(crate) fn sida(self) -> u64 {
        self.area + 0x3_8000
    }
    pub(crate) fn sca(self) -> u64 {
        self.area + 0x4_0000
    }
    pub(crate) fn segments(self) -> u64 {
        self.area + 0x5_0000
    }
    pub(crate) fn table(self) -> u64 {
        self.area + 0x5_8000
    }
    /// The tables of the two slots lie so that no page of one takes the place of a page of the other in a
    /// translation buffer (D63).
    pub(crate) fn asce(self) -> u64 {
        self.segments() | 0x103
    }
}

/// First frame of the pool.
pub(crate) const POOL_AT: u64 = 0x10_0000;

/// Where a nameable frame lies.
pub(crate) fn frame_address(frame: usize) -> u64 {
    match frame {
        0..POOL => POOL_AT + frame as u64 * 0x1000,
        UV_FRAME => crate::support::UV_BASE + 0x5_5000,
        BLOCK_FRAME => crate::support::BLOCK,
        _ => {
            let slot = slot((frame - UV_FRAME - 1) / 2);
            if (frame - UV_FRAME) % 2 == 1 { slot.base() } else { slot.variable() + 0x1_0000 }
        }
    }
}

pub(crate) fn slot(number: usize) -> Slot {
    Slot { area: 0x20_0000 + number as u64 * 0x8_0000 }
}

pub(crate) fn slot_frames(slot: usize) -> [usize; 2] {
    [UV_FRAME + 1 + 2 * slot, UV_FRAME + 2 + 2 * slot]
}

/// What a call must answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Prediction {
    /// cc, rc, rrc; `None` for any refusal.
    pub answer: Option<(u8, u16, u16)>,
    /// Anything but rc and rrc of the block may differ afterwards.
    pub effect: bool,
}

pub(crate) const QUIET: Prediction = Prediction { answer: Some((0, 1, 0)), effect: false };
pub(crate) const DONE: Prediction = Prediction { answer: Some((0, 1, 0)), effect: true };

pub(crate) fn refused(rc: u16) -> Prediction {
    Prediction { answer: Some((1, rc, 0)), effect: false }
}

pub(crate) const ANY_REFUSAL: Prediction = Prediction { answer: None, effect: false };

/// A block as the host lays it out.
#[derive(Clone, Debug)]
pub(crate) struct Block(pub Vec<u8>);

impl Block {
    pub(crate) fn new(command: u16, length: u16, fields: &[(usize, usize, u64)]) -> Self {
        let mut bytes = vec![0; usize::from(length).max(0x60)];
        bytes[..2].copy_from_slice(&length.to_be_bytes());
        bytes[2..4].copy_from_slice(&command.to_be_bytes());
        for &(offset, size, value) in fields {
            bytes[offset..offset + size].copy_from_slice(&value.to_be_bytes()[8 - size..]);
        }
        Self(bytes)
    }

    pub(crate) fn command(&self) -> u16 {
        u16::from_be_bytes([self.0[2], self.0[3]])
    }

    pub(crate) fn length(&self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]])
    }

    pub(crate) fn u64(&self, at: usize) -> u64 {
        (0..8).fold(0, |value, byte| value << 8 | u64::from(self.0[at + byte]))
    }

    pub(crate) fn u16(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.0[at], self.0[at + 1]])
    }
}

/// Why a guest does not get on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stopped {
    Host(ProgramCode, Teid),
    Intercepted(u8),
    Invalid(ValidityReason),
    /// An interruption of its own.
    Program(ProgramCode),
}

/// What an absolute address is to the reference.
pub(crate) enum Place {
    Outside,
    Named(usize),
    Normal,
    Donated,
}

#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub setup: Setup,
    pub frames: Vec<Frame>,
    pub guests: Vec<Guest>,
    /// The latest configuration of a slot.
    pub slots: [Option<Owner>; SLOTS],
    /// What the tables of a slot say: frame and protection.
    pub mapped: [[Option<(usize, bool)>; PAGES as usize + 1]; SLOTS],
    /// What host CPUs 0 and 1 have buffered of a slot's space.
    pub buffers: [BTreeMap<(usize, u8), (usize, bool)>; 2],
    pub pending: BTreeMap<Command, (u64, u64, bool)>,
    pub initialised: bool,
    /// Secrets that guests have opened to the host themselves.
    pub opened: BTreeSet<u32>,
    /// An export that has just happened: owner, page, frame, and whether the ciphertext is the old one.
    pub exported: Option<(Owner, u8, usize, bool)>,
    /// The headers at the places of the slots.
    pub laid: [Option<Laid>; SLOTS],
}

impl Reference {
    pub(crate) fn new(setup: Setup) -> Self {
        let mut frames = vec![Frame { state: State::Normal, bytes: zeros() }; FRAMES];
        frames[UV_FRAME].state = State::Donated;
        Self {
            setup,
            frames,
            guests: Vec::new(),
            slots: [None; SLOTS],
            mapped: [[None; PAGES as usize + 1]; SLOTS],
            buffers: [BTreeMap::new(), BTreeMap::new()],
            pending: BTreeMap::new(),
            initialised: true,
            opened: BTreeSet::new(),
            exported: None,
            laid: [None, None],
        }
    }

    /// The living guest of a slot.
    pub(crate) fn guest(&self, slot: usize) -> Option<&Guest> {
        self.slots[slot].map(|owner| &self.guests[owner]).filter(|guest| guest.alive)
    }

    /// Handle of the latest guest of a slot, dead or alive.
    pub(crate) fn handle(&self, slot: usize) -> u64 {
        self.slots[slot].map_or(0, |owner| self.guests[owner].handle)
    }

    pub(crate) fn owner(&self, handle: u64) -> Option<Owner> {
        self.guests.iter().position(|guest| guest.alive && guest.handle == handle)
    }

    pub(crate) fn vcpu(&self, handle: u64) -> Option<(Owner, u16)> {
        self.guests.iter().enumerate().filter(|(_, guest)| guest.alive).find_map(|(owner, guest)| {
            let number = *guest.cpus.iter().find(|(_, cpu)| cpu.handle == handle)?.0;
            Some((owner, number))
        })
    }

    /// A frame's state changes: translations to it are void on all CPUs (D56).
    pub(crate) fn change(&mut self, frame: usize, state: State) {
        if self.frames[frame].state != state {
            self.frames[frame].state = state;
            self.buffers.iter_mut().for_each(|buffer| buffer.retain(|_, found| found.0 != frame));
        }
    }

    pub(crate) fn page(&mut self, owner: Owner, page: u8) -> &mut Page {
        &mut self.guests[owner].pages[usize::from(page)]
    }

    /// Where a guest gets by an access on a host CPU, or why not (T13–T17, T22, D19, D56–D58).
    pub(crate) fn reach(&mut self, cpu: u16, owner: Owner, page: u8, store: bool) -> Result<usize, Stopped> {
        let at = u64::from(page) * 0x1000;
        let teid = Teid(at | if store { 0x400 } else { 0x800 });
        let slot = self.guests[owner].slot;
        let buffer = &mut self.buffers[usize::from(cpu)];
        let entry = buffer.get(&(slot, page)).copied().or(self.mapped[slot].get(usize::from(page)).copied().flatten());
        let Some((frame, protected)) = entry else { return Err(Stopped::Host(ProgramCode::PageTranslation, teid)) };
        buffer.insert((slot, page), (frame, protected));
        if protected && store {
            return Err(Stopped::Host(ProgramCode::Protection, teid.with_bit_61()));
        }
        let state = self.frames[frame].state;
        match state {
            _ if state.page() == Some((owner, page)) => Ok(frame),
            State::Donated | State::Secure(..) if self.setup.misc => {
                Err(Stopped::Host(ProgramCode::SecureStorageViolation, teid.with_bit_61()))
            }
            State::Donated | State::Secure(..) => Err(Stopped::Host(ProgramCode::SecureStorageViolation, teid)),
            _ => Err(Stopped::Host(ProgramCode::NonSecureStorageAccess, teid)),
        }
    }

    /// Entry into SIE (D80): the owner if the guest runs.
    pub(crate) fn enter(&mut self, cpu: u16, slot: usize, number: u16) -> Result<Owner, Stopped> {
        let (owner, vcpu) = self.admit(slot, number).map_err(Stopped::Invalid)?;
        for page in 0..2 {
            let page = vcpu.prefixed(page) as u8;
            self.reach(cpu, owner, page, false).map_err(|_| Stopped::Intercepted(112))?;
        }
        if vcpu.loads {
            let bytes = self.reach(cpu, owner, 0, false).map(|frame| self.frames[frame].bytes.clone())?;
            let short = bytes[..8].iter().fold(0, |value, &byte| value << 8 | u64::from(byte));
            let found = self.guests[owner].cpus.entry(number);
            found.and_modify(|it| {
                it.psw = [(short & !0x7fff_ffff) ^ 1 << 51, short & 0x7fff_ffff];
                it.loads = false;
            });
        }
        Ok(owner)
    }

    /// What does not depend on storage.
    fn admit(&self, slot: usize, number: u16) -> Result<(Owner, Vcpu), ValidityReason> {
        let owner = self.slots[slot].filter(|&owner| self.guests[owner].alive);
        let owner = owner.ok_or(ValidityReason::ConfigurationHandle)?;
        let guest = &self.guests[owner];
        let vcpu = *guest.cpus.get(&number).ok_or(ValidityReason::CpuHandle)?;
        if vcpu.description != crate::reference::slot(slot).description(number) {
            return Err(ValidityReason::StateDescription);
        }
        if guest.boot != Boot::Verified {
            return Err(ValidityReason::NotVerified);
        }
        if guest.protocol != Protocol::Idle || vcpu.mark.is_some_and(|mark| mark.done < mark.required) {
            return Err(ValidityReason::ResetPending);
        }
        if vcpu.operating { Ok((owner, vcpu)) } else { Err(ValidityReason::NotOperating) }
    }

    /// What the host gets to hear when it touches a frame (T1–T9, D19).
    pub(crate) fn host_teid(&self, frame: usize, instruction: bool, store: bool) -> Teid {
        if instruction {
            return Teid(0x800 | AddressSpace::Home as u64);
        }
        let teid = Teid(frame_address(frame) | if store { 0x400 } else { 0x800 } | AddressSpace::Home as u64);
        if self.setup.misc { teid.with_bit_61() } else { teid }
    }

    /// Bytes of a frame change without a call.
    pub(crate) fn write(&mut self, frame: usize, offset: usize, bytes: &[u8]) {
        let target = Rc::make_mut(&mut self.frames[frame].bytes);
        target[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.note_opened(frame);
    }

    /// What stands in a shared frame is no secret any more.
    pub(crate) fn note_opened(&mut self, frame: usize) {
        if matches!(self.frames[frame].state, State::Shared(..) | State::Pinned(..)) {
            let bytes = self.frames[frame].bytes.clone();
            self.opened.extend(crate::secret::find(&bytes));
        }
    }

    /// SET_SHARED_ACCESS on a page that the guest has reached (T56, T57).
    pub(crate) fn share(&mut self, owner: Owner, page: u8, frame: usize) -> Prediction {
        if !self.frames[frame].state.is_secure() {
            return QUIET;
        }
        self.change(frame, State::Shared(owner, page));
        self.page(owner, page).record = Record::Shared(Some(frame));
        self.note_opened(frame);
        DONE
    }

    /// REMOVE_SHARED_ACCESS likewise (T59–T61). `None` is interception 108.
    pub(crate) fn unshare(&mut self, owner: Owner, page: u8, frame: usize) -> Option<Prediction> {
        match self.frames[frame].state {
            State::Pinned(..) => None,
            State::Shared(..) => {
                self.change(frame, State::Secure(owner, page));
                self.page(owner, page).record = Record::Resident(frame);
                Some(DONE)
            }
            _ => Some(QUIET),
        }
    }

    /// The injected answer of a command, if any (Q19).
    pub(crate) fn injected(&mut self, command: Command) -> Option<Prediction> {
        let (busy, partial, _) = self.pending.get_mut(&command)?;
        let (count, cc) = if *busy > 0 { (busy, 2) } else { (partial, 3) };
        *count = count.checked_sub(1)?;
        Some(Prediction { answer: Some((cc, 0, 0)), effect: false })
    }

    pub(crate) fn locate(&self, owner: Owner, address: u64) -> Option<(u8, usize)> {
        let page = address >> 12;
        let (frame, protected) = (*self.mapped[self.guests[owner].slot].get(page as usize)?)?;
        (!protected).then_some((page as u8, frame))
    }

    pub(crate) fn place(&self, address: u64) -> Place {
        let at = address & !0xfff;
        if at.checked_add(0x1000).is_none_or(|end| end > 4 << 30) {
            return Place::Outside;
        }
        if let Some(frame) = (0..FRAMES).find(|&frame| frame_address(frame) == at) {
            return Place::Named(frame);
        }
        let base = self.initialised && (2 << 30..(2 << 30) + (98 << 20)).contains(&at);
        let area = (0..SLOTS).any(|number| {
            self.guest(number).is_some() && (slot(number).base()..slot(number).variable() + 0x1_1000).contains(&at)
        });
        if base || area { Place::Donated } else { Place::Normal }
    }

    /// T43, D29.
    pub(crate) fn reset(&mut self, clear: bool) {
        for frame in &mut self.frames {
            if clear || frame.state.is_secure() {
                frame.bytes = zeros();
            }
            frame.state = State::Normal;
        }
        self.guests.iter_mut().for_each(|guest| guest.alive = false);
        self.pending.clear();
        self.buffers.iter_mut().for_each(BTreeMap::clear);
        self.initialised = false;
    }

    /// What a requestor must get at a frame, by the outcome matrix: `None` for the host, else a guest's page.
    pub(crate) fn verdict(&self, frame: usize, guest: Option<(Owner, u8)>) -> uvsim_model::storage::Verdict {
        use uvsim_model::storage::Verdict;
        let state = self.frames[frame].state;
        match guest {
            None if state.is_secure() => Verdict::SecureStorageAccess,
            None => Verdict::Allow,
            Some(page) if state.page() == Some(page) => Verdict::Allow,
            Some(_) if state.is_secure() => Verdict::SecureStorageViolation,
            Some(_) => Verdict::NonSecureStorageAccess,
        }
    }
}
