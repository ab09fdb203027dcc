//! What the host does with several calls: life of guests, boot, repairs, resets.

use crate::check;
use crate::image::{Change, Delivered, Image, Slip};
use crate::reference::{Block, Bytes, Record, State, frame_address, slot, zeros};
use crate::run::{Checked, Run, ensure, lay_tables};
use crate::secret;
use crate::step::{BootPlan, FRAMES, Offer, PAGES, POOL, Purged, SLOTS, Spot, Step, Text, UV_FRAME};
use crate::support::{BLOCK, UV_BASE};
use std::rc::Rc;
use uvsim_model::address::PageIndex;
use uvsim_model::config::Generation;
use uvsim_model::crypto::Counter;
use uvsim_model::uvc::{Command, Issuer};
use uvsim_model::{Injection, Reset, UV_BASE_LENGTH};

impl Run<'_, '_> {
    pub(crate) fn life_step(&mut self, step: &Step) -> Checked {
        let handle = |run: &Self, guest| (0x18, 8, run.reference.handle(guest));
        match *step {
            Step::UnshareAll { guest, stop } => {
                let numbers: Vec<u16> =
                    self.reference.guest(guest).map(|it| it.cpus.keys().copied().collect()).unwrap_or_default();
                let state = |run: &mut Self, state| {
                    numbers.iter().try_for_each(|&number| run.step(&Step::SetState { guest, number, state }))
                };
                if stop {
                    state(self, 2)?;
                }
                let done = self.call(Command::SetUnsharedAll, &[handle(self, guest)])?.answer == Some((0, 1, 0));
                check::no_sharing(self, guest, done)?;
                if stop { state(self, 1) } else { Ok(()) }
            }
            Step::Create { guest } => self.create(guest),
            Step::Early { guest } => self.early(guest),
            Step::End { guest, fast, cpus } => {
                if cpus {
                    self.end_cpus(guest)?;
                }
                let command = if fast { Command::DestroySecConfFast } else { Command::DestroySecConf };
                self.call(command, &[handle(self, guest)]).map(drop)
            }
            Step::CreateCpu { guest, number, frame } => self.create_cpu(guest, number, self.spot(frame)),
            Step::EndCpu { guest, number } => {
                let cpu = self.vcpu(guest, number);
                self.call(Command::DestroySecCpu, &[(0x18, 8, cpu)]).map(drop)
            }
            Step::Boot { guest, plan } => self.boot(guest, plan),
            Step::Renew { guest, plan } => {
                self.step(&Step::End { guest, fast: false, cpus: true })?;
                self.step(&Step::Create { guest })?;
                if let Some(frame) = self.host_frame()? {
                    self.create_cpu(guest, 0, frame)?;
                }
                self.boot(guest, plan)
            }
            Step::SetState { guest, number, state } => {
                let cpu = self.vcpu(guest, number);
                self.call(Command::CpuSetState, &[(0x18, 8, cpu), (0x27, 1, u64::from(state))]).map(drop)
            }
            Step::Inject { command, injection } => {
                let pending = self.reference.pending.entry(command).or_default();
                match injection {
                    Injection::Busy(count) => pending.0 += count,
                    Injection::Partial(count) => pending.1 += count,
                    Injection::LateFailure => pending.2 = true,
                }
                self.machine().inject(command, injection);
                Ok(())
            }
            Step::CpuReset { guest, number, command } => {
                let cpu = self.vcpu(guest, number);
                self.call(command, &[(0x18, 8, cpu)]).map(drop)
            }
            Step::PrepareReset { guest } => self.call(Command::PrepareReset, &[handle(self, guest)]).map(drop),
            Step::Raw { command, length, fields } => self.raw(command, length, &fields),
            Step::Reset { clear } => self.reset(clear),
            _ => Ok(()),
        }
    }

    pub(crate) fn vcpu(&self, guest: usize, number: u16) -> u64 {
        let owner = self.reference.slots[guest].map(|owner| &self.reference.guests[owner]);
        owner.and_then(|it| it.cpus.get(&number)).map_or(0x1234_5678, |cpu| cpu.handle)
    }

    pub(crate) fn create(&mut self, guest: usize) -> Checked {
        let slot = slot(guest);
        let fields = [
            (0x20, 8, slot.base()),
            (0x28, 8, slot.variable()),
            (0x40, 8, 1 << 20),
            (0x48, 8, slot.sca()),
            (0x50, 8, slot.asce()),
        ];
        if self.call(Command::CreateSecConf, &fields)?.effect {
            let handle = self.new_handle()?;
            let domain = self.machine().domain(handle).ok_or("I-32: the new handle names nothing")?;
            let owner = self.reference.slots[guest].ok_or("a guest was created")?;
            self.reference.guests[owner].handle = handle;
            self.reference.guests[owner].domain = domain;
            self.host.store_u64(slot.description(0) + 0x180, slot.sida());
        }
        Ok(())
    }

    /// The handle that a call has just stored. No two ever differ by one bit or by one (I-32, D20).
    pub(crate) fn new_handle(&mut self) -> Checked<u64> {
        let handle = self.host.output(0x18);
        let mut near =
            (0..64).map(|bit| handle ^ 1 << bit).chain([handle, handle.wrapping_add(1), handle.wrapping_sub(1)]);
        ensure!(
            !near.any(|other| self.issued.contains(&other)),
            "I-32: handle {handle:#x} is too near to an older one"
        );
        self.issued.insert(handle);
        Ok(handle)
    }

    pub(crate) fn create_cpu(&mut self, guest: usize, number: u16, frame: usize) -> Checked {
        let description = slot(guest).description(number % 2);
        let fields = [
            (0x20, 8, self.reference.handle(guest)),
            (0x28, 8, frame_address(frame)),
            (0x36, 2, u64::from(number)),
            (0x38, 8, description),
        ];
        if self.call(Command::CreateSecCpu, &fields)?.effect {
            let handle = self.new_handle()?;
            let owner = self.reference.slots[guest].ok_or("a CPU has a guest")?;
            if let Some(cpu) = self.reference.guests[owner].cpus.get_mut(&number) {
                cpu.handle = handle;
            }
        }
        Ok(())
    }

    /// A configuration with all that it takes to run but an image (I-34).
    pub(crate) fn early(&mut self, guest: usize) -> Checked {
        self.step(&Step::Create { guest })?;
        if let Some(frame) = self.host_frame()? {
            self.create_cpu(guest, 0, frame)?;
        }
        self.step(&Step::SetState { guest, number: 0, state: 1 })?;
        self.provide(guest, 0)?;
        self.provide(guest, 1)?;
        self.guest_load(guest, 0, 0, 0).map(drop)
    }

    /// Loads an image, or tries to, and starts CPU 0 if that is allowed (I-34, I-35).
    pub(crate) fn boot(&mut self, guest: usize, plan: BootPlan) -> Checked {
        let handle = (0x18, 8, self.reference.handle(guest));
        let accepted = self.set_parameters(guest, plan.image, plan.change)?;
        if !accepted && plan.again {
            self.set_parameters(guest, plan.image, Change::None)?;
        }
        if plan.early {
            self.call(Command::VerifyImg, &[handle])?;
        }
        let mut pages = plan.image.delivered();
        if plan.slip == Slip::Swapped {
            pages.reverse();
        }
        let late = if matches!(plan.slip, Slip::Late | Slip::Missing) { pages.pop() } else { None };
        for (number, page) in pages.iter().enumerate() {
            let slip = if number == 0 { plan.slip } else { Slip::None };
            self.unpack_with(guest, page, plan.frame.filter(|_| number == 0), slip)?;
        }
        let verified = self.call(Command::VerifyImg, &[handle])?;
        if !verified.effect {
            self.step(&Step::SetState { guest, number: 0, state: 1 })?;
            if plan.slip != Slip::Late {
                self.provide(guest, 0)?;
                self.provide(guest, 1)?;
            }
            self.guest_load(guest, 0, 0, 0).map(drop)?;
            self.step(&Step::SetState { guest, number: 0, state: 2 })?;
            if let Some(page) = late.filter(|_| plan.slip == Slip::Late) {
                self.unpack_with(guest, &page, None, Slip::None)?;
            }
            self.call(Command::VerifyImg, &[handle])?;
        }
        self.step(&Step::SetState { guest, number: 0, state: 5 })
    }

    /// SET_SEC_CONF_PARAMS; whether the header was accepted.
    fn set_parameters(&mut self, guest: usize, image: Image, change: Change) -> Checked<bool> {
        let place = slot(guest);
        let laid = image.lay(self.host.machine(), change);
        self.host.store(place.header(), &laid.bytes);
        let length = match change {
            Change::Length(length) => length,
            _ => laid.bytes.len() as u32,
        };
        let at = match change {
            Change::Donated => place.base(),
            Change::Outside => (4 << 30) - 0x100,
            _ => place.header(),
        };
        self.reference.laid[guest] = Some(laid);
        let fields = [(0x18, 8, self.reference.handle(guest)), (0x20, 8, at), (0x28, 4, u64::from(length))];
        Ok(self.call(Command::SetSecConfParams, &fields)?.effect)
    }

    /// Unpacks a page, after or before what goes wrong with it.
    fn unpack_with(&mut self, guest: usize, page: &Delivered, frame: Option<Spot>, slip: Slip) -> Checked {
        let (mut address, mut tweak, mut bytes) = page.clone();
        match slip {
            Slip::Flip(bit) => Rc::make_mut(&mut bytes)[usize::from(bit / 8)] ^= 1 << (bit % 8),
            Slip::Tweak => tweak[0] ^= 1,
            Slip::Address => address ^= 0x1000,
            Slip::Imported => self.provide(guest, (address >> 12) as u8)?,
            Slip::Destroyed => {
                let page = (address >> 12) as u8;
                self.provide(guest, page)?;
                self.end_cpus(guest)?;
                self.frame_call(Command::DestrSecStor, self.spot(Spot::Page(guest, page)), 0, false)?;
                if let Some(frame) = self.host_frame()? {
                    self.create_cpu(guest, 0, frame)?;
                }
            }
            _ => {}
        }
        self.unpack(guest, address, tweak, &bytes, frame)?;
        let spot = Spot::Page(guest, (address >> 12) as u8);
        match slip {
            Slip::Exported => self.frame_call(Command::ConvFromSecStor, self.spot(spot), 0, false)?,
            Slip::Twice => self.unpack(guest, address, tweak, &bytes, Some(spot))?,
            _ => return Ok(()),
        }
        self.unpack(guest, address, tweak, &bytes, None)
    }

    /// Lays a page into a frame, maps that, and unpacks it.
    fn unpack(&mut self, guest: usize, address: u64, tweak: [u64; 2], bytes: &Bytes, frame: Option<Spot>) -> Checked {
        let frame = match frame {
            Some(spot) => self.spot(spot),
            None => self.host_frame()?.unwrap_or(0),
        };
        self.map(guest, (address >> 12) as u8, Some((frame, false)), Purged::Ipte);
        self.host_write(frame, 0, &**bytes)?;
        let handle = self.reference.handle(guest);
        let fields = [(0x18, 8, handle), (0x20, 8, address), (0x28, 8, tweak[0]), (0x30, 8, tweak[1])];
        self.call(Command::UnpackImg, &fields).map(drop)
    }

    /// A block whose fields are noise, among it everything that could mean something.
    pub(crate) fn raw(&mut self, command: u16, length: u16, fields: &[(u8, u64); 8]) -> Checked {
        let reference = &self.reference;
        let handle_at = usize::from(command == Command::CreateSecCpu.code());
        let pick = |at: usize, (kind, value): (u8, u64)| match kind {
            // Handles are random: where a number is wanted they would make a run differ from its repetition.
            0..4 if at != handle_at => value,
            0..2 => reference.handle(value as usize % SLOTS),
            2 => self.vcpu(value as usize % SLOTS, (value >> 8) as u16 % 2),
            3 => reference.guests.first().map_or(0, |first| first.handle),
            4..7 => frame_address(value as usize % FRAMES) + (value >> 32 & 0xfff) * (value >> 60 & 1),
            7 => value % 2 * 0x1000,
            8 => UV_BASE + value % UV_BASE_LENGTH,
            // Storage for a CPU (offset 0x28) is offered in frames that the reference knows, or unaligned.
            9 => slot(value as usize % SLOTS).description(1) + u64::from(at == 2) * 8,
            10 => (4 << 30) - 0x1000 + value % 0x2000,
            _ => value,
        };
        let word = |(at, &field): (usize, &(u8, u64))| (0x18 + at * 8, 8, pick(at, field));
        let words: Vec<_> = fields.iter().enumerate().map(word).collect();
        let created = self.issue(&Block::new(command, length, &words))?;
        let cpu = Command::from_code(command) == Some(Command::CreateSecCpu);
        if cpu && created.effect && created.answer == Some((0, 1, 0)) {
            let handle = self.new_handle()?;
            let fresh = self.reference.guests.iter_mut().flat_map(|guest| guest.cpus.values_mut());
            fresh.filter(|cpu| cpu.handle == 0).for_each(|cpu| cpu.handle = handle);
        }
        Ok(())
    }

    /// Machine reset, the calls that are refused after it (I-31, D36), and INIT_UV.
    pub(crate) fn reset(&mut self, clear: bool) -> Checked {
        let kind = if clear { Reset::Clear } else { Reset::LoadNormal };
        self.host.cpu.reset_machine(kind).map_err(|error| error.to_string())?;
        self.unchecked = true;
        self.reference.reset(clear);
        if clear {
            lay_tables(&mut self.host);
            self.reference.mapped = Default::default();
        }
        check::state(self)?;
        for command in [Command::ConvFromSecStor, Command::CreateSecConf, Command::DestroySecCpu] {
            self.call(command, &[])?;
        }
        for _ in 0..2 {
            self.call(Command::InitUv, &[(0x18, 8, UV_BASE), (0x20, 8, UV_BASE_LENGTH)])?;
        }
        Ok(())
    }

    /// A frame of the pool that nothing is registered to, the next after the last one; exports one if there is
    /// none.
    pub(crate) fn host_frame(&mut self) -> Checked<Option<usize>> {
        for turn in 0..2 * POOL {
            self.next_frame = (self.next_frame + 1) % POOL;
            if self.reference.frames[self.next_frame].state == State::Normal {
                return Ok(Some(self.next_frame));
            }
            if turn >= POOL {
                let address = frame_address(self.next_frame);
                self.call_until_done(Command::ConvFromSecStor, &[(0x18, 8, address)])?;
            }
        }
        Ok((0..POOL).find(|&frame| self.reference.frames[frame].state == State::Normal))
    }

    /// What a host does that wants its guest to have a page: maps the frame that has it, or imports it.
    pub(crate) fn provide(&mut self, guest: usize, page: u8) -> Checked {
        let record =
            |run: &Self| run.reference.guest(guest).map_or(Record::Destroyed, |it| it.pages[usize::from(page)].record);
        if record(self) == Record::Destroyed {
            return Ok(());
        }
        if let Some(frame) = record(self).frame() {
            self.map(guest, page, Some((frame, false)), Purged::Ipte);
            return Ok(());
        }
        let Some(frame) = self.host_frame()? else { return Ok(()) };
        let last = self.reference.guest(guest).and_then(|it| it.pages[usize::from(page)].last.clone());
        if let (Record::Exported, Some((_, Some(cipher)))) = (record(self), last) {
            self.host_write(frame, 0, &*cipher)?;
        }
        self.map(guest, page, Some((frame, false)), Purged::Ipte);
        let fields = [(0x18, 8, self.reference.handle(guest)), (0x20, 8, u64::from(page) << 12)];
        let answer = self.call_until_done(Command::ConvToSecStor, &fields)?;
        ensure!(answer == (0, 1, 0), "I-39: import of page {page} answers {answer:x?}");
        Ok(())
    }

    /// Exports a page and has something imported for it (I-15, I-16).
    pub(crate) fn replace(&mut self, guest: usize, page: u8, offer: Offer) -> Checked {
        let found = |run: &Self| run.reference.guest(guest).map(|it| it.pages[usize::from(page)].clone());
        if let Some(frame) = found(self).and_then(|page| page.record.frame()) {
            self.frame_call(Command::ConvFromSecStor, frame, 0, false)?;
        }
        let Some(frame) = self.host_frame()? else { return Ok(()) };
        let mut bytes = found(self).and_then(|page| page.last?.1).unwrap_or_else(zeros);
        match offer {
            Offer::Latest => {}
            Offer::Flipped(bit) => Rc::make_mut(&mut bytes)[usize::from(bit / 8)] ^= 1 << (bit % 8),
            Offer::Saved(number) if !self.saved.is_empty() => {
                bytes = self.saved[number % self.saved.len()].clone();
            }
            Offer::Saved(_) | Offer::Own => {
                self.public += 1;
                bytes = Rc::new(secret::public(self.public));
            }
        }
        self.host_write(frame, 0, &*bytes)?;
        self.map(guest, page, Some((frame, false)), Purged::Ipte);
        self.page_call(Command::ConvToSecStor, guest, u16::from(page), 0, false)
    }

    /// Takes a page that has a counter through sharing without a frame, and exports what it is then: bytes of
    /// the host, taken back by the guest, or the zeros that SET_UNSHARED_ALL leaves (D40, D43, T37, T72).
    pub(crate) fn forget(&mut self, guest: usize, page: u8, by_guest: bool) -> Checked {
        let export =
            |run: &mut Self| run.frame_call(Command::ConvFromSecStor, run.spot(Spot::Page(guest, page)), 0, false);
        let number = u16::from(page);
        self.help(guest, number, true)?;
        self.guest_store(guest, page, 0, 0, Text::Secret)?;
        export(self)?;
        self.step(&Step::Share { guest, page: number, low: 0, cpu: 0, helped: true })?;
        export(self)?;
        if by_guest {
            self.step(&Step::Unshare { guest, page: number, low: 0, cpu: 0, helped: true })?;
        } else {
            self.step(&Step::UnshareAll { guest, stop: true })?;
            self.provide(guest, page)?;
        }
        export(self)
    }

    /// Presets a counter near its end (D42).
    pub(crate) fn preset(&mut self, guest: usize, page: u8, below: u8) {
        let Some(owner) = self.reference.slots[guest].filter(|&owner| self.reference.guests[owner].alive) else {
            return;
        };
        let found = &mut self.reference.guests[owner].pages[usize::from(page)];
        let Record::Resident(frame) = found.record else { return };
        let counter = Counter::MAX.value() - u64::from(below);
        // A counter that was used already must not seal another content.
        if found.counter >= counter - 2 {
            return;
        }
        let Ok(preset) = Counter::new(counter) else { return };
        let handle = self.reference.guests[owner].handle;
        self.unchecked = true;
        assert!(self.machine().preset_counter(handle, PageIndex(u64::from(page)), preset), "the page is resident");
        let plain = self.reference.frames[frame].bytes.clone();
        let found = &mut self.reference.guests[owner].pages[usize::from(page)];
        found.counter = counter;
        found.last = Some((plain, None));
    }

    fn end_cpus(&mut self, guest: usize) -> Checked {
        let numbers: Vec<u16> =
            self.reference.guest(guest).map(|it| it.cpus.keys().copied().collect()).unwrap_or_default();
        for number in numbers {
            let cpu = self.vcpu(guest, number);
            self.call_until_done(Command::DestroySecCpu, &[(0x18, 8, cpu)])?;
        }
        Ok(())
    }

    /// Ends everything and gives the machine back as it was. Slot 1 ends the fast way, where there is one, so
    /// that its frames are reclaimed one by one, by either call (T48, T52).
    pub(crate) fn tear_down(&mut self) -> Checked {
        for guest in 0..SLOTS {
            self.end_cpus(guest)?;
            if self.reference.guest(guest).is_some() {
                let fast = guest == 1 && self.reference.setup.generation >= Generation::Z16;
                let command = if fast { Command::DestroySecConfFast } else { Command::DestroySecConf };
                self.call_until_done(command, &[(0x18, 8, self.reference.handle(guest))])?;
            }
        }
        check::state(self)?;
        for frame in (0..FRAMES).filter(|&frame| frame != UV_FRAME) {
            let command = if frame % 2 == 0 { Command::ConvFromSecStor } else { Command::DestrSecStor };
            self.call_until_done(command, &[(0x18, 8, frame_address(frame))])?;
        }
        check::state(self)?;
        for frame in (0..FRAMES).filter(|&frame| frame != UV_FRAME) {
            self.host_write(frame, 0, &[0; 4096])?;
        }
        check::state(self)?;
        for guest in 0..SLOTS {
            (0..PAGES).for_each(|page| self.map(guest, page, None, Purged::Ipte));
            self.host.store(slot(guest).header(), &[0; 0x1000]);
            self.host.store(slot(guest).description(0), &[0; 0x9000]);
        }
        self.host.store(BLOCK, &vec![0; 0x1_2000]);
        let pending: Vec<(Command, u64)> =
            self.reference.pending.iter().map(|(&command, counts)| (command, counts.0 + counts.1)).collect();
        for (command, count) in pending.into_iter().filter(|(command, _)| command.row().issuer == Issuer::Host) {
            (0..count).try_for_each(|_| self.call(command, &[]).map(drop))?;
        }
        self.host.store(BLOCK, &vec![0; 0x1_2000]);
        Ok(())
    }
}
