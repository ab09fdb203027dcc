//! A second model, small and plain: what every frame, page and call must be after each step.
//!
//! It shares no code with the machine. It keeps the bytes of every frame that a step can name, the record
//! and counter of every page, what its latest export looked like, and what each CPU may have buffered.

use crate::step::{BLOCK_FRAME, FRAMES, PAGES, POOL, SLOTS, Setup, UV_FRAME};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use uvsim_model::config::{ChangeDetection, Generation};
use uvsim_model::crypto::Counter;
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

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Boot {
    Created,
    Loading { wanted: u64, loaded: u64, genuine: bool },
    Verified,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Vcpu {
    pub handle: u64,
    pub frame: usize,
    pub operating: bool,
    pub stopped: bool,
}

/// A configuration, dead or alive.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    pub slot: usize,
    pub handle: u64,
    pub domain: Domain,
    pub alive: bool,
    pub boot: Boot,
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

fn slot_frames(slot: usize) -> [usize; 2] {
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

const QUIET: Prediction = Prediction { answer: Some((0, 1, 0)), effect: false };
const DONE: Prediction = Prediction { answer: Some((0, 1, 0)), effect: true };

fn refused(rc: u16) -> Prediction {
    Prediction { answer: Some((1, rc, 0)), effect: false }
}

const ANY_REFUSAL: Prediction = Prediction { answer: None, effect: false };

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

    fn length(&self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]])
    }

    fn u64(&self, at: usize) -> u64 {
        (0..8).fold(0, |value, byte| value << 8 | u64::from(self.0[at + byte]))
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.0[at], self.0[at + 1]])
    }
}

/// Why a guest does not get on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stopped {
    Host(ProgramCode, Teid),
    Intercepted(u8),
    Addressing,
}

/// What an absolute address is to the reference.
enum Place {
    Outside,
    Named(usize),
    Normal,
    Donated,
}

#[derive(Debug)]
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

    fn owner(&self, handle: u64) -> Option<Owner> {
        self.guests.iter().position(|guest| guest.alive && guest.handle == handle)
    }

    fn vcpu(&self, handle: u64) -> Option<(Owner, u16)> {
        self.guests.iter().enumerate().filter(|(_, guest)| guest.alive).find_map(|(owner, guest)| {
            let number = *guest.cpus.iter().find(|(_, cpu)| cpu.handle == handle)?.0;
            Some((owner, number))
        })
    }

    /// A frame's state changes: translations to it are void on all CPUs (D56).
    fn change(&mut self, frame: usize, state: State) {
        if self.frames[frame].state != state {
            self.frames[frame].state = state;
            self.buffers.iter_mut().for_each(|buffer| buffer.retain(|_, found| found.0 != frame));
        }
    }

    fn page(&mut self, owner: Owner, page: u8) -> &mut Page {
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
    pub(crate) fn enter(&mut self, cpu: u16, slot: usize, vcpu: u16) -> Result<Owner, Stopped> {
        let invalid = Stopped::Intercepted(32);
        let owner = self.slots[slot].filter(|&owner| self.guests[owner].alive).ok_or(invalid)?;
        let guest = &self.guests[owner];
        let operating = guest.cpus.get(&vcpu).is_some_and(|cpu| cpu.operating);
        if !operating || guest.boot != Boot::Verified {
            return Err(invalid);
        }
        for page in 0..2 {
            self.reach(cpu, owner, page, false).map_err(|_| Stopped::Intercepted(112))?;
        }
        Ok(owner)
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
    fn note_opened(&mut self, frame: usize) {
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

    /// Which host calls a generation has (Q32).
    fn installed(&self, command: Command) -> bool {
        use Command::{
            ConvFromSecStor, ConvToSecStor, CpuSetState, CreateSecConf, CreateSecCpu, DestrSecStor, DestroySecConf,
            DestroySecConfFast, DestroySecCpu, InitUv, PinPageShared, QueryKeys, QueryUvInformation, SetSecConfParams,
            SetUnsharedAll, UnpackImg, UnpinPageShared, VerifyImg,
        };
        match command {
            QueryUvInformation | InitUv | CreateSecConf | DestroySecConf | CreateSecCpu | DestroySecCpu
            | ConvToSecStor | ConvFromSecStor | DestrSecStor | SetSecConfParams | UnpackImg | VerifyImg
            | CpuSetState | SetUnsharedAll | PinPageShared | UnpinPageShared => true,
            DestroySecConfFast => self.setup.generation >= Generation::Z16,
            QueryKeys => self.setup.generation >= Generation::Z17,
            _ => false,
        }
    }

    /// The answer of a host call, with its effect on everything here.
    pub(crate) fn host_call(&mut self, block: &Block) -> Prediction {
        let Some(command) = Command::from_code(block.command()).filter(|&command| self.installed(command)) else {
            return refused(2);
        };
        if command.row().needs_init && !self.initialised {
            return refused(3);
        }
        let query = command == Command::QueryUvInformation;
        if if query { block.length() < 0xa8 } else { block.length() != command.usual_length() } {
            return refused(5);
        }
        let injected = self.injected(command);
        let (configuration, cpu) = match command {
            Command::CreateSecCpu => (Some(0x20), None),
            Command::DestroySecCpu | Command::CpuSetState => (None, Some(0x18)),
            Command::QueryUvInformation
            | Command::QueryKeys
            | Command::InitUv
            | Command::CreateSecConf
            | Command::ConvFromSecStor
            | Command::DestrSecStor
            | Command::PinPageShared => (None, None),
            _ => (Some(0x18), None),
        };
        let owner = configuration.map(|at| self.owner(block.u64(at)));
        let vcpu = cpu.map(|at| self.vcpu(block.u64(at)));
        match (owner, vcpu) {
            (Some(None), _) => refused(0x20),
            (_, Some(None)) => refused(0x21),
            (Some(Some(owner)), _) => injected.unwrap_or_else(|| self.configuration_call(command, owner, block)),
            (_, Some(Some((owner, number)))) => {
                injected.unwrap_or_else(|| self.cpu_call(command, owner, number, block.0[0x27]))
            }
            (None, None) => injected.unwrap_or_else(|| self.plain_call(command, block)),
        }
    }

    fn plain_call(&mut self, command: Command, block: &Block) -> Prediction {
        match command {
            Command::ConvFromSecStor => self.export(block.u64(0x18)),
            Command::DestrSecStor => self.destroy(block.u64(0x18)),
            Command::PinPageShared => self.pin(block.u64(0x18)),
            Command::CreateSecConf => self.create(block),
            Command::InitUv if self.initialised => refused(0x101),
            Command::InitUv => {
                self.initialised = true;
                self.change(UV_FRAME, State::Donated);
                self.frames[UV_FRAME].bytes = zeros();
                DONE
            }
            Command::QueryUvInformation if block.length() < 0x120 => {
                Prediction { answer: Some((1, 0x100, 0)), effect: true }
            }
            _ => DONE,
        }
    }

    fn configuration_call(&mut self, command: Command, owner: Owner, block: &Block) -> Prediction {
        match command {
            Command::ConvToSecStor => self.import(owner, block.u64(0x20)),
            Command::UnpinPageShared => self.unpin(owner, block.u64(0x20)),
            Command::SetUnsharedAll => self.unshare_all(owner),
            Command::DestroySecConf => self.end(owner, false),
            Command::DestroySecConfFast => self.end(owner, true),
            Command::CreateSecCpu => self.create_cpu(owner, block),
            Command::SetSecConfParams => self.parameters(owner, block),
            Command::UnpackImg => self.unpack(owner, block.u64(0x20)),
            _ => self.verify(owner),
        }
    }

    fn locate(&self, owner: Owner, address: u64) -> Option<(u8, usize)> {
        let page = address >> 12;
        let (frame, protected) = (*self.mapped[self.guests[owner].slot].get(page as usize)?)?;
        (!protected).then_some((page as u8, frame))
    }

    /// D7, T23–T39, T55.
    fn import(&mut self, owner: Owner, address: u64) -> Prediction {
        if address >= 1 << 20 {
            return refused(0x103);
        }
        let Some((page, frame)) = self.locate(owner, address) else { return refused(0x10a) };
        let state = self.frames[frame].state;
        if state.page() == Some((owner, page)) {
            return QUIET;
        }
        let former = match state {
            State::Normal if frame != BLOCK_FRAME => None,
            State::Shared(other, at) | State::Pinned(other, at)
                if self.setup.misc
                    && other != owner
                    && !(matches!(state, State::Pinned(..)) && self.guests[other].alive) =>
            {
                Some((other, at))
            }
            _ => return refused(0x104),
        };
        let found = self.guests[owner].pages[usize::from(page)].clone();
        let (state, record, bytes) = match found.record {
            Record::Resident(_) | Record::Shared(Some(_)) | Record::Pinned(_) => return refused(0x105),
            Record::Destroyed => return refused(0x106),
            Record::Absent => (State::Secure(owner, page), Record::Resident(frame), zeros()),
            Record::Shared(None) => {
                (State::Shared(owner, page), Record::Shared(Some(frame)), self.frames[frame].bytes.clone())
            }
            Record::Exported => match &found.last {
                Some((plain, Some(cipher))) if *cipher == self.frames[frame].bytes => {
                    (State::Secure(owner, page), Record::Resident(frame), plain.clone())
                }
                _ => return refused(0x106),
            },
        };
        if let Some((other, at)) = former {
            self.page(other, at).record = Record::Shared(None);
        }
        self.change(frame, state);
        self.frames[frame].bytes = bytes;
        self.page(owner, page).record = record;
        DONE
    }

    fn place(&self, address: u64) -> Place {
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

    /// D10, T44–T49, D39–D42.
    fn export(&mut self, address: u64) -> Prediction {
        let frame = match self.place(address) {
            Place::Outside => return refused(0x101),
            Place::Donated => return refused(0x103),
            Place::Normal => return QUIET,
            Place::Named(frame) => frame,
        };
        let state = self.frames[frame].state;
        let Some((owner, page)) = state.page() else {
            return if state == State::Normal { QUIET } else { refused(0x103) };
        };
        if !self.guests[owner].alive {
            if state.is_secure() {
                self.frames[frame].bytes = zeros();
            }
        } else if state.is_secure() {
            let plain = self.frames[frame].bytes.clone();
            let detect = self.setup.detection == ChangeDetection::Digest;
            let found = self.page(owner, page);
            let same = detect && found.last.as_ref().is_some_and(|(last, _)| *last == plain);
            if !same {
                if found.counter == Counter::MAX.value() {
                    return refused(0x105);
                }
                found.counter += 1;
            }
            let cipher = found.last.take().and_then(|(_, cipher)| cipher).filter(|_| same);
            let known = cipher.is_some();
            found.last = Some((plain, cipher));
            found.record = Record::Exported;
            self.exported = Some((owner, page, frame, known));
        } else {
            self.page(owner, page).record = Record::Shared(None);
        }
        self.change(frame, State::Normal);
        DONE
    }

    /// D10, D26, T50–T54.
    fn destroy(&mut self, address: u64) -> Prediction {
        let normal = if self.setup.generation == Generation::Z15 {
            Prediction { answer: Some((1, 0x107, 0xd)), effect: false }
        } else {
            QUIET
        };
        let frame = match self.place(address) {
            Place::Outside => return refused(0x101),
            Place::Donated => return refused(0x103),
            Place::Normal => return normal,
            Place::Named(frame) => frame,
        };
        let state = self.frames[frame].state;
        let Some((owner, page)) = state.page() else {
            return if state == State::Normal { normal } else { refused(0x103) };
        };
        if self.guests[owner].alive {
            if !self.guests[owner].cpus.is_empty() {
                return refused(0x104);
            }
            self.page(owner, page).record = Record::Destroyed;
        }
        self.frames[frame].bytes = zeros();
        self.change(frame, State::Normal);
        DONE
    }

    /// T64, T65, T69, D28.
    fn pin(&mut self, address: u64) -> Prediction {
        let frame = match self.place(address) {
            Place::Outside => return refused(0x101),
            Place::Donated | Place::Normal => return refused(0x102),
            Place::Named(frame) => frame,
        };
        match self.frames[frame].state {
            State::Pinned(..) => QUIET,
            State::Shared(owner, page) if self.guests[owner].alive => {
                self.change(frame, State::Pinned(owner, page));
                self.page(owner, page).record = Record::Pinned(frame);
                DONE
            }
            State::Shared(..) => QUIET,
            _ => refused(0x102),
        }
    }

    /// D9, T66–T68.
    fn unpin(&mut self, owner: Owner, address: u64) -> Prediction {
        if address >= 1 << 20 {
            return refused(0x103);
        }
        let Some((page, frame)) = self.locate(owner, address) else { return refused(0x10a) };
        match self.page(owner, page).record {
            Record::Pinned(pinned) if pinned != frame => refused(0x105),
            Record::Pinned(_) => {
                self.change(frame, State::Shared(owner, page));
                self.page(owner, page).record = Record::Shared(Some(frame));
                DONE
            }
            _ => QUIET,
        }
    }

    /// Q15, T70–T72, D25.
    fn unshare_all(&mut self, owner: Owner) -> Prediction {
        if self.guests[owner].cpus.values().any(|cpu| cpu.operating) {
            return refused(0x101);
        }
        let mut effect = false;
        for page in 0..PAGES {
            let record = self.page(owner, page).record;
            match record {
                Record::Shared(Some(frame)) | Record::Pinned(frame) => {
                    self.change(frame, State::Secure(owner, page));
                    self.page(owner, page).record = Record::Resident(frame);
                    effect = true;
                }
                Record::Shared(None) => {
                    self.page(owner, page).record = Record::Absent;
                    effect = true;
                }
                _ => {}
            }
        }
        Prediction { effect, ..QUIET }
    }

    /// D11, as far as blocks of our own shape can go wrong.
    fn create(&mut self, block: &Block) -> Prediction {
        let Some(number) = (0..SLOTS).find(|&number| block.u64(0x50) == slot(number).asce()) else {
            return ANY_REFUSAL;
        };
        if self.guest(number).is_some() {
            return refused(0x104);
        }
        let [base, variable] = slot_frames(number);
        if self.frames[base].state != State::Normal {
            return refused(0x108);
        }
        if self.frames[variable].state != State::Normal {
            return refused(0x10b);
        }
        for frame in [base, variable] {
            self.change(frame, State::Donated);
            self.frames[frame].bytes = zeros();
        }
        let page = Page { record: Record::Absent, counter: 0, last: None };
        self.slots[number] = Some(self.guests.len());
        self.guests.push(Guest {
            slot: number,
            handle: 0,
            domain: Domain(0),
            alive: true,
            boot: Boot::Created,
            cpus: BTreeMap::new(),
            pages: vec![page; usize::from(PAGES)],
        });
        let late = self.pending.get_mut(&Command::CreateSecConf).is_some_and(|pending| std::mem::take(&mut pending.2));
        if late { Prediction { answer: Some((1, 0x810f, 0)), effect: true } } else { DONE }
    }

    /// D27, D28, D82.
    fn end(&mut self, owner: Owner, fast: bool) -> Prediction {
        if !self.guests[owner].cpus.is_empty() {
            return refused(0x105);
        }
        self.guests[owner].alive = false;
        for frame in 0..FRAMES {
            let state = self.frames[frame].state;
            if !fast && state.page().is_some_and(|(other, _)| other == owner) {
                if state.is_secure() {
                    self.frames[frame].bytes = zeros();
                }
                self.change(frame, State::Normal);
            }
        }
        for frame in slot_frames(self.guests[owner].slot) {
            self.change(frame, State::Normal);
            self.frames[frame].bytes = zeros();
        }
        DONE
    }

    /// D12.
    fn create_cpu(&mut self, owner: Owner, block: &Block) -> Prediction {
        let (number, origin, description) = (block.u16(0x36), block.u64(0x28), block.u64(0x38));
        if number > 256 {
            return refused(0x103);
        }
        if self.guests[owner].cpus.contains_key(&number) {
            return refused(0x104);
        }
        if origin < 0x2000 {
            return refused(0x106);
        }
        let frame = match self.place(origin) {
            Place::Named(frame) if origin % 0x1000 == 0 && self.frames[frame].state == State::Normal => frame,
            // Only named frames are ever offered aligned.
            _ => return refused(0x105),
        };
        if frame == BLOCK_FRAME {
            return refused(0x105);
        }
        let secure = match self.place(description) {
            Place::Outside | Place::Donated => true,
            Place::Named(at) => self.frames[at].state.is_secure() || at == frame,
            Place::Normal => false,
        };
        if secure || description % 512 != 0 {
            return refused(0x107);
        }
        self.change(frame, State::Donated);
        self.frames[frame].bytes = zeros();
        let cpu = Vcpu { handle: 0, frame, operating: false, stopped: true };
        self.guests[owner].cpus.insert(number, cpu);
        DONE
    }

    fn cpu_call(&mut self, command: Command, owner: Owner, number: u16, state: u8) -> Prediction {
        let verified = self.guests[owner].boot == Boot::Verified;
        let Some(cpu) = self.guests[owner].cpus.get_mut(&number) else { return ANY_REFUSAL };
        if command == Command::DestroySecCpu {
            let frame = cpu.frame;
            self.guests[owner].cpus.remove(&number);
            self.change(frame, State::Normal);
            self.frames[frame].bytes = zeros();
            return DONE;
        }
        match state {
            1 => cpu.operating = true,
            2 | 3 => cpu.operating = false,
            5 if !verified => return refused(0x104),
            5 if !cpu.stopped => return refused(0x103),
            5 => cpu.operating = true,
            _ => return refused(0x102),
        }
        cpu.stopped = state == 2;
        DONE
    }

    /// A header of our own making lies at the slot's place; it says how many pages follow.
    fn parameters(&mut self, owner: Owner, block: &Block) -> Prediction {
        let guest = &mut self.guests[owner];
        if guest.boot != Boot::Created {
            return refused(0x101);
        }
        if block.u64(0x20) & !0xfff != slot(guest.slot).header() {
            return ANY_REFUSAL;
        }
        // The driver lays the number of pages into a reserved field.
        guest.boot = Boot::Loading { wanted: block.u64(0x10), loaded: 0, genuine: true };
        DONE
    }

    /// D51, T73–T75.
    fn unpack(&mut self, owner: Owner, address: u64) -> Prediction {
        let Boot::Loading { wanted, loaded, .. } = self.guests[owner].boot else { return refused(0x101) };
        if address % 0x1000 != 0 || address >= 1 << 20 {
            return refused(0x103);
        }
        let Some((page, frame)) = self.locate(owner, address) else { return refused(0x10a) };
        let state = self.frames[frame].state;
        if state.page() != Some((owner, page)) && (state != State::Normal || frame == BLOCK_FRAME) {
            return refused(0x104);
        }
        if self.page(owner, page).record != Record::Absent {
            return refused(0x105);
        }
        self.change(frame, State::Secure(owner, page));
        self.page(owner, page).record = Record::Resident(frame);
        let genuine = crate::secret::is_image(&self.frames[frame].bytes, page);
        self.guests[owner].boot = Boot::Loading { wanted, loaded: loaded + 1, genuine };
        DONE
    }

    /// D54, I-34.
    fn verify(&mut self, owner: Owner) -> Prediction {
        match self.guests[owner].boot {
            Boot::Loading { wanted, loaded, .. } if wanted != loaded => {
                Prediction { answer: Some((1, 0x102, 0x1d)), effect: false }
            }
            Boot::Loading { genuine: true, .. } => {
                self.guests[owner].boot = Boot::Verified;
                DONE
            }
            Boot::Loading { .. } => ANY_REFUSAL,
            _ => refused(0x101),
        }
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
