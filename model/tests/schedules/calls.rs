//! What the reference says of host calls.

use crate::image::{Delivered, Seal};
use crate::reference::{
    ANY_REFUSAL, Block, Boot, DONE, Guest, Mark, Owner, Page, Place, Prediction, Protocol, QUIET, Record, Reference,
    State, Vcpu, refused, slot, slot_frames, zeros,
};
use crate::step::{BLOCK_FRAME, FRAMES, PAGES, SLOTS, UV_FRAME};
use crate::support::image::PSW;
use std::collections::BTreeMap;
use uvsim_model::config::{ChangeDetection, Generation};
use uvsim_model::crypto::Counter;
use uvsim_model::storage::Domain;
use uvsim_model::uvc::Command;

impl Reference {
    /// Which host calls a generation has (Q32).
    pub(crate) fn installed(&self, command: Command) -> bool {
        use Command::{
            ConvFromSecStor, ConvToSecStor, CpuReset, CpuResetClear, CpuResetInitial, CpuSetState, CreateSecConf,
            CreateSecCpu, DestrSecStor, DestroySecConf, DestroySecConfFast, DestroySecCpu, InitUv, PinPageShared,
            PrepareReset, QueryKeys, QueryUvInformation, SetSecConfParams, SetUnsharedAll, UnpackImg, UnpinPageShared,
            VerifyImg,
        };
        match command {
            QueryUvInformation | InitUv | CreateSecConf | DestroySecConf | CreateSecCpu | DestroySecCpu
            | ConvToSecStor | ConvFromSecStor | DestrSecStor | SetSecConfParams | UnpackImg | VerifyImg | CpuReset
            | CpuResetInitial | CpuResetClear | PrepareReset | CpuSetState | SetUnsharedAll | PinPageShared
            | UnpinPageShared => true,
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
        let (configuration, cpu) = match command {
            Command::CreateSecCpu => (Some(0x20), None),
            Command::DestroySecCpu
            | Command::CpuSetState
            | Command::CpuReset
            | Command::CpuResetInitial
            | Command::CpuResetClear => (None, Some(0x18)),
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
            (Some(Some(owner)), _) => {
                self.injected(command).unwrap_or_else(|| self.configuration_call(command, owner, block))
            }
            (_, Some(Some((owner, number)))) => {
                self.injected(command).unwrap_or_else(|| self.cpu_call(command, owner, number, block.0[0x27]))
            }
            (None, None) => self.injected(command).unwrap_or_else(|| self.plain_call(command, block)),
        }
    }

    pub(crate) fn plain_call(&mut self, command: Command, block: &Block) -> Prediction {
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

    pub(crate) fn configuration_call(&mut self, command: Command, owner: Owner, block: &Block) -> Prediction {
        match command {
            Command::ConvToSecStor => self.import(owner, block.u64(0x20)),
            Command::UnpinPageShared => self.unpin(owner, block.u64(0x20)),
            Command::SetUnsharedAll => self.unshare_all(owner),
            Command::DestroySecConf => self.end(owner, false),
            Command::DestroySecConfFast => self.end(owner, true),
            Command::CreateSecCpu => self.create_cpu(owner, block),
            Command::SetSecConfParams => self.parameters(owner, block),
            Command::UnpackImg => self.unpack(owner, block.u64(0x20), [block.u64(0x28), block.u64(0x30)]),
            Command::PrepareReset => self.prepare_reset(owner),
            _ => self.verify(owner),
        }
    }

    /// Whether a page may move into a frame, and whose it was if it is taken over (T33–T39, D5, D22, D28).
    pub(crate) fn former(&self, owner: Owner, frame: usize) -> Result<Option<(Owner, u8)>, Prediction> {
        let state = self.frames[frame].state;
        match state {
            State::Normal if frame != BLOCK_FRAME => Ok(None),
            State::Shared(other, page) | State::Pinned(other, page) => {
                let pinned = matches!(state, State::Pinned(..)) && self.guests[other].alive;
                if self.setup.misc && other != owner && !pinned { Ok(Some((other, page))) } else { Err(refused(0x104)) }
            }
            _ => Err(refused(0x104)),
        }
    }

    /// D7, T23–T39, T55.
    pub(crate) fn import(&mut self, owner: Owner, address: u64) -> Prediction {
        if address >= 1 << 20 {
            return refused(0x103);
        }
        let Some((page, frame)) = self.locate(owner, address) else { return refused(0x10a) };
        let state = self.frames[frame].state;
        if state.page() == Some((owner, page)) {
            return QUIET;
        }
        let former = match self.former(owner, frame) {
            Ok(former) => former,
            Err(refusal) => return refusal,
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

    /// D10, T44–T49, D39–D42.
    pub(crate) fn export(&mut self, address: u64) -> Prediction {
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
    pub(crate) fn destroy(&mut self, address: u64) -> Prediction {
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
    pub(crate) fn pin(&mut self, address: u64) -> Prediction {
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
    pub(crate) fn unpin(&mut self, owner: Owner, address: u64) -> Prediction {
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
    pub(crate) fn unshare_all(&mut self, owner: Owner) -> Prediction {
        if self.guests[owner].cpus.values().any(|cpu| cpu.operating) {
            return refused(0x101);
        }
        let mut effect = !std::mem::replace(&mut self.guests[owner].unshared, true);
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

    /// Q15, D13, I-36.
    pub(crate) fn prepare_reset(&mut self, owner: Owner) -> Prediction {
        let guest = &mut self.guests[owner];
        if guest.cpus.values().any(|cpu| cpu.operating) {
            return refused(0x101);
        }
        if !guest.unshared {
            return refused(0x102);
        }
        let required = match guest.protocol {
            Protocol::Idle => 1,
            Protocol::Requested(required) | Protocol::Prepared(required) => required,
        };
        guest.protocol = Protocol::Prepared(required);
        guest.from_zero |= guest.started;
        guest.cpus.values_mut().for_each(|cpu| cpu.mark = Some(Mark { required, done: 0 }));
        DONE
    }

    /// D11, as far as blocks of our own shape can go wrong.
    pub(crate) fn create(&mut self, block: &Block) -> Prediction {
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
            unshared: false,
            protocol: Protocol::Idle,
            started: false,
            from_zero: false,
            cpus: BTreeMap::new(),
            pages: vec![page; usize::from(PAGES)],
        });
        let late = self.pending.get_mut(&Command::CreateSecConf).is_some_and(|pending| std::mem::take(&mut pending.2));
        if late { Prediction { answer: Some((1, 0x810f, 0)), effect: true } } else { DONE }
    }

    /// D27, D28, D82.
    pub(crate) fn end(&mut self, owner: Owner, fast: bool) -> Prediction {
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
    pub(crate) fn create_cpu(&mut self, owner: Owner, block: &Block) -> Prediction {
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
        let cpu = Vcpu::new(frame, description, self.guests[owner].protocol);
        self.guests[owner].cpus.insert(number, cpu);
        DONE
    }

    pub(crate) fn cpu_call(&mut self, command: Command, owner: Owner, number: u16, state: u8) -> Prediction {
        let Some(cpu) = self.guests[owner].cpus.get_mut(&number) else { return ANY_REFUSAL };
        let kind = match command {
            Command::CpuReset => 1,
            Command::CpuResetInitial => 2,
            Command::CpuResetClear => 3,
            Command::DestroySecCpu => {
                let frame = cpu.frame;
                self.guests[owner].cpus.remove(&number);
                self.change(frame, State::Normal);
                self.frames[frame].bytes = zeros();
                return DONE;
            }
            _ => return self.set_state(owner, number, state),
        };
        if !cpu.stopped {
            return refused(0x103);
        }
        if let Some(mark) = &mut cpu.mark {
            mark.done = mark.done.max(kind);
        }
        cpu.loads = false;
        if kind > 1 {
            (cpu.psw, cpu.prefix) = ([0; 2], 0);
        }
        DONE
    }

    /// Q14, D13, D79, I-34, I-36.
    fn set_state(&mut self, owner: Owner, number: u16, state: u8) -> Prediction {
        let guest = &mut self.guests[owner];
        let Some(cpu) = guest.cpus.get_mut(&number) else { return ANY_REFUSAL };
        match state {
            1 | 5 => {}
            2 | 3 => {
                (cpu.operating, cpu.stopped) = (false, state == 2);
                return DONE;
            }
            _ => return refused(0x102),
        }
        if state == 5 {
            let enough = |least: u8| cpu.mark.is_some_and(|mark| mark.done >= mark.required.max(least));
            let complete = match guest.protocol {
                Protocol::Idle => cpu.mark.is_none() || enough(0),
                Protocol::Requested(_) => false,
                Protocol::Prepared(_) => enough(2),
            };
            if guest.boot != Boot::Verified || !complete {
                return refused(0x104);
            }
            if !cpu.stopped {
                return refused(0x103);
            }
            if guest.from_zero {
                cpu.loads = true;
            } else {
                cpu.psw = PSW;
            }
            cpu.mark = None;
            (guest.protocol, guest.started) = (Protocol::Idle, true);
        }
        (cpu.operating, cpu.stopped, guest.unshared) = (true, false, false);
        DONE
    }

    /// D52. Only the slot's own place ever holds a header.
    pub(crate) fn parameters(&mut self, owner: Owner, block: &Block) -> Prediction {
        let guest = &mut self.guests[owner];
        if guest.boot != Boot::Created {
            return refused(0x101);
        }
        let (at, length) = (block.u64(0x20), (block.u64(0x28) >> 32) as u32);
        let place = slot(guest.slot);
        if (at == place.base() || at == (4 << 30) - 0x100) && length > 0x100 {
            return refused(0x103);
        }
        let Some(laid) = self.laid[guest.slot].as_ref().filter(|_| at == place.header()) else { return ANY_REFUSAL };
        if let Some((rc, rrc)) = laid.fault(length, self.setup) {
            return Prediction { answer: Some((1, rc, rrc)), effect: false };
        }
        guest.boot = Boot::Loading(laid.image, Vec::new());
        DONE
    }

    /// D51, T73–T75.
    pub(crate) fn unpack(&mut self, owner: Owner, address: u64, tweak: [u64; 2]) -> Prediction {
        let Boot::Loading(image, _) = self.guests[owner].boot else { return refused(0x101) };
        if !address.is_multiple_of(0x1000) || address >= 1 << 20 {
            return refused(0x103);
        }
        let Some((page, frame)) = self.locate(owner, address) else { return refused(0x10a) };
        let former = match self.former(owner, frame) {
            _ if self.frames[frame].state.page() == Some((owner, page)) => return refused(0x105),
            Ok(former) => former,
            Err(refusal) => return refusal,
        };
        if self.page(owner, page).record != Record::Absent {
            return refused(0x105);
        }
        if let Some((other, at)) = former {
            self.page(other, at).record = Record::Shared(None);
        }
        self.change(frame, State::Secure(owner, page));
        self.page(owner, page).record = Record::Resident(frame);
        let delivered = self.frames[frame].bytes.clone();
        self.frames[frame].bytes = image.unpacked(&delivered, tweak);
        if let Boot::Loading(_, loaded) = &mut self.guests[owner].boot {
            loaded.push((address, tweak, delivered));
        }
        DONE
    }

    /// D54, I-34.
    pub(crate) fn verify(&mut self, owner: Owner) -> Prediction {
        let Boot::Loading(image, loaded) = &self.guests[owner].boot else { return refused(0x101) };
        let wanted = image.delivered();
        let differs = |list: usize, same: fn(&Delivered, &Delivered) -> bool| {
            let pairs = wanted.len() == loaded.len() && wanted.iter().zip(loaded).all(|(one, other)| same(one, other));
            !pairs || image.seal == Seal::Digest(list)
        };
        let reason = if loaded.len() != image.stated() {
            0x1d
        } else if differs(1, |one, other| one.0 == other.0) {
            0x1a
        } else if differs(0, |one, other| one.2 == other.2) {
            0x1b
        } else if differs(2, |one, other| one.1 == other.1) {
            0x1c
        } else {
            self.guests[owner].boot = Boot::Verified;
            return DONE;
        };
        Prediction { answer: Some((1, 0x102, reason)), effect: false }
    }
}
