//! Drives a machine through a schedule, the reference beside it.

use crate::check;
use crate::reference::{
    Block, Bytes, Owner, Prediction, Record, Reference, State, Stopped, frame_address, slot, zeros,
};
use crate::secret;
use crate::step::{BLOCK_FRAME, FRAMES, Offer, PAGES, POOL, Purged, SLOTS, Schedule, Setup, Spot, Step, Text};
use crate::support::{BLOCK, Host, UV_BASE};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use uvsim_model::address::{AbsoluteAddress, FrameNumber, GuestAddress, PageIndex, VirtualAddress};
use uvsim_model::cpu::{ChannelRefusal, GuestCpu, GuestEvent, HostCpu, Interception, SieExit, Uvc};
use uvsim_model::crypto::{Counter, ImageDigests};
use uvsim_model::storage::{Asce, ProgramCode, ProgramInterruption};
use uvsim_model::uvc::{Command, Issuer};
use uvsim_model::{Injection, Machine, Reset, StateDigest, UV_BASE_LENGTH};

/// What broke, with the id of the rule.
pub(crate) type Checked<T = ()> = Result<T, String>;

macro_rules! ensure {
    ($condition:expr, $($message:tt)*) => {
        if !$condition {
            return Err(format!($($message)*));
        }
    };
}
pub(crate) use ensure;

/// A machine that has been through INIT_UV and is otherwise untouched.
struct Prepared {
    machine: Machine,
    /// Every handle it has ever given out (I-32, D20).
    issued: HashSet<u64>,
    fresh: StateDigest,
}

thread_local! {
    /// INIT_UV donates 98 MiB frame by frame, so machines are used again: each schedule ends with a
    /// teardown that must leave the machine as it was. One that has failed is thrown away.
    static MACHINES: RefCell<HashMap<Setup, Prepared>> = RefCell::default();
}

/// Runs a schedule. Returns what the host has seen of it, contents aside.
pub(crate) fn run(schedule: &Schedule, salt: u32) -> Checked<Vec<String>> {
    let taken = MACHINES.with_borrow_mut(|machines| machines.remove(&schedule.setup));
    let mut prepared = taken.unwrap_or_else(|| prepare(schedule.setup));
    let mut run = Run {
        host: Host::new(&prepared.machine),
        reference: Reference::new(schedule.setup),
        issued: &mut prepared.issued,
        saved: Vec::new(),
        seen: vec![None; FRAMES],
        ciphers: HashMap::new(),
        log: Vec::new(),
        secrets: 0,
        salt,
        public: 0,
    };
    run.schedule(schedule)?;
    let used_up = run.reference.pending.values().all(|counts| *counts == (0, 0, false));
    let log = std::mem::take(&mut run.log);
    drop(run);
    let left = prepared.machine.state_digest(None);
    ensure!(left == prepared.fresh, "I-33: teardown leaves {left:?}, the machine was {:?}", prepared.fresh);
    // Injected answers outlive a schedule if only a guest could have used them up.
    if used_up {
        MACHINES.with_borrow_mut(|machines| machines.insert(schedule.setup, prepared));
    }
    Ok(log)
}

fn prepare(setup: Setup) -> Prepared {
    let machine = Machine::new(setup.config()).expect("the configuration is sound");
    let mut host = Host::new(&machine);
    assert_eq!(host.init(), crate::support::DONE);
    lay_tables(&mut host);
    host.store(BLOCK, &[0; 0x2000]);
    drop(host);
    let fresh = machine.state_digest(None);
    Prepared { machine, issued: HashSet::new(), fresh }
}

/// Segment and page tables of both slots, without a mapping.
fn lay_tables(host: &mut Host<'_>) {
    for number in 0..SLOTS {
        let slot = slot(number);
        host.store(slot.segments(), &0x20u64.to_be_bytes().repeat(2048));
        host.store_u64(slot.segments(), slot.table());
        host.store(slot.table(), &0x400u64.to_be_bytes().repeat(256));
    }
}

pub(crate) struct Run<'m, 'p> {
    pub host: Host<'m>,
    pub reference: Reference,
    issued: &'p mut HashSet<u64>,
    /// Every page that was ever exported.
    saved: Vec<Bytes>,
    /// Contents of the frames at the last check, and whether the host could see them.
    pub(crate) seen: Vec<Option<(Bytes, bool)>>,
    /// What each ciphertext was made of (I-12, I-22).
    ciphers: HashMap<Bytes, (Owner, u8, u64, usize)>,
    log: Vec<String>,
    secrets: u32,
    salt: u32,
    public: u64,
}

impl<'m> Run<'m, '_> {
    pub(crate) fn machine(&self) -> &'m Machine {
        self.host.machine()
    }

    fn schedule(&mut self, schedule: &Schedule) -> Checked {
        for (number, _) in schedule.ready.iter().enumerate().filter(|(_, ready)| **ready) {
            self.start(number).map_err(|error| format!("while guest {number} starts: {error}"))?;
        }
        for (number, step) in schedule.steps.iter().enumerate() {
            self.step(step).and_then(|()| check::state(self)).map_err(|error| format!("step {number}: {error}"))?;
        }
        self.tear_down().map_err(|error| format!("teardown: {error}"))
    }

    /// A running guest with both prefix pages.
    fn start(&mut self, guest: usize) -> Checked {
        self.step(&Step::Create { guest })?;
        self.step(&Step::CreateCpu { guest, number: 0, frame: Spot::Frame(13 - guest) })?;
        self.step(&Step::Boot { guest, image: None })?;
        self.provide(guest, 0)?;
        self.provide(guest, 1)?;
        check::state(self)
    }

    fn step(&mut self, step: &Step) -> Checked {
        match *step {
            Step::HostLoad { frame } => self.host_load(self.spot(frame), false).map(drop),
            Step::HostFetch { frame } => self.host_load(self.spot(frame), true).map(drop),
            Step::HostStore { frame } => {
                self.public += 1;
                self.host_write(self.spot(frame), 0, &secret::public(self.public))
            }
            Step::HostFlip { frame, bit } => {
                let (frame, offset) = (self.spot(frame), usize::from(bit / 8));
                let byte = self.reference.frames[frame].bytes[offset] ^ 1 << (bit % 8);
                self.host_write(frame, offset, &[byte])
            }
            Step::Copy { from, to } => match self.host_load(self.spot(from), false)? {
                Some(bytes) => self.host_write(self.spot(to), 0, &*bytes),
                None => Ok(()),
            },
            Step::Replay { saved, frame } => match self.saved.len() {
                0 => Ok(()),
                count => self.host_write(self.spot(frame), 0, &*self.saved[saved % count].clone()),
            },
            Step::DeviceRead { frame } => self.device(self.spot(frame), false),
            Step::DeviceWrite { frame } => self.device(self.spot(frame), true),
            Step::Map { guest, page, frame, protected, purged } => {
                self.map(guest, page, Some((self.spot(frame), protected)), purged);
                Ok(())
            }
            Step::Unmap { guest, page, purged } => {
                self.map(guest, page, None, purged);
                Ok(())
            }
            Step::Import { guest, page, low, again } => self.page_call(Command::ConvToSecStor, guest, page, low, again),
            Step::Unpin { guest, page, low, again } => {
                self.page_call(Command::UnpinPageShared, guest, page, low, again)
            }
            Step::Export { frame, low, again } => {
                self.frame_call(Command::ConvFromSecStor, self.spot(frame), low, again)
            }
            Step::Destroy { frame, low, again } => self.frame_call(Command::DestrSecStor, self.spot(frame), low, again),
            Step::Pin { frame, low, again } => self.frame_call(Command::PinPageShared, self.spot(frame), low, again),
            Step::Share { guest, page, low, cpu, helped } => {
                self.help(guest, page, helped)?;
                self.guest_call(Command::SetSharedAccess, guest, page, low, cpu)
            }
            Step::Unshare { guest, page, low, cpu, helped } => {
                self.help(guest, page, helped)?;
                self.guest_call(Command::RemoveSharedAccess, guest, page, low, cpu)
            }
            Step::GuestLoad { guest, page, cpu, vcpu } => self.guest_load(guest, page, cpu, vcpu).map(drop),
            Step::GuestStore { guest, page, cpu, vcpu, text, helped } => {
                self.help(guest, u16::from(page), helped)?;
                self.guest_store(guest, page, cpu, vcpu, text)
            }
            Step::GuestBeyond { guest } => self.guest_beyond(guest),
            Step::Progress { guest, page } => self.progress(guest, page),
            Step::Lend { guest, page } => {
                let (number, low, cpu) = (u16::from(page), 0, 0);
                self.step(&Step::Share { guest, page: number, low, cpu, helped: true })?;
                self.step(&Step::Pin { frame: Spot::Page(guest, page), low, again: true })
            }
            Step::Replace { guest, page, offer } => self.replace(guest, page, offer),
            Step::Preset { guest, page, below } => {
                self.preset(guest, page, below);
                Ok(())
            }
            _ => self.life_step(step),
        }
    }

    fn life_step(&mut self, step: &Step) -> Checked {
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
                self.call(Command::SetUnsharedAll, &[handle(self, guest)])?;
                check::no_sharing(self, guest, stop)?;
                if stop { state(self, 1) } else { Ok(()) }
            }
            Step::Create { guest } => self.create(guest),
            Step::End { guest, fast } => {
                let command = if fast { Command::DestroySecConfFast } else { Command::DestroySecConf };
                self.call(command, &[handle(self, guest)]).map(drop)
            }
            Step::CreateCpu { guest, number, frame } => self.create_cpu(guest, number, self.spot(frame)),
            Step::EndCpu { guest, number } => {
                let cpu = self.vcpu(guest, number);
                self.call(Command::DestroySecCpu, &[(0x18, 8, cpu)]).map(drop)
            }
            Step::Boot { guest, image } => self.boot(guest, image),
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
            Step::Raw { command, length, fields } => self.raw(command, length, &fields),
            Step::Reset { clear } => self.reset(clear),
            _ => Ok(()),
        }
    }

    /// Issues a host call and compares answer and effect with the reference.
    fn issue(&mut self, block: &Block) -> Checked<Prediction> {
        self.host.store(BLOCK, &block.0);
        let at = Some(AbsoluteAddress(BLOCK));
        let before = self.machine().state_digest(at);
        let wanted = self.reference.host_call(block);
        let found = self.host.issue(BLOCK).map_err(|it| format!("the block is accessible, but {it}"))?;
        let found = (found.cc, found.rc, found.rrc);
        let command = Command::from_code(block.command());
        self.log.push(format!("{command:?} {found:x?}"));
        match wanted.answer {
            Some(answer) => {
                ensure!(found == answer, "{}: {command:?} answers {found:x?}, not {answer:x?}", cited(command));
            }
            None => ensure!(found.0 == 1, "{}: {command:?} answers {found:x?}, no refusal", cited(command)),
        }
        if !wanted.effect {
            let after = self.machine().state_digest(at);
            let id = if found.0 == 0 { "I-40" } else { "I-18" };
            ensure!(after == before, "{id}: {command:?} answers {found:x?}, but has changed something");
        }
        self.note_export()?;
        Ok(Prediction { answer: Some(found), ..wanted })
    }

    fn call(&mut self, command: Command, fields: &[(usize, usize, u64)]) -> Checked<Prediction> {
        self.issue(&Block::new(command.code(), command.usual_length(), fields))
    }

    /// A call by a host that repeats it while it is busy or done in part (I-44). At most nine answers of
    /// either kind are pending after three dozen steps.
    fn call_until_done(&mut self, command: Command, fields: &[(usize, usize, u64)]) -> Checked<(u8, u16, u16)> {
        for _ in 0..200 {
            match self.call(command, fields)?.answer {
                Some((2 | 3, ..)) | None => {}
                Some(answer) => return Ok(answer),
            }
        }
        Err(format!("I-44: {command:?} stays busy"))
    }

    /// Checks the ciphertext of an export that has just happened (I-12, I-20 to I-24).
    fn note_export(&mut self) -> Checked {
        let Some((owner, page, frame, known)) = self.reference.exported.take() else { return Ok(()) };
        let cipher = self.peek(frame);
        self.reference.frames[frame].bytes = cipher.clone();
        let found = &mut self.reference.guests[owner].pages[usize::from(page)];
        let counter = found.counter;
        let Some((plain, last)) = &mut found.last else { return Err("an export leaves a plaintext".into()) };
        if known {
            ensure!(last.as_ref() == Some(&cipher), "I-23: page {page} of guest {owner}: another ciphertext");
        }
        ensure!(*plain != cipher, "I-10: page {page} of guest {owner} is exported as it is");
        *last = Some(cipher.clone());
        let number = self.ciphers.len();
        let made = self.ciphers.entry(cipher.clone()).or_insert((owner, page, counter, number));
        let same = (made.0, made.1, made.2) == (owner, page, counter);
        ensure!(same, "I-12, I-22: guest, page, counter {:?} give the ciphertext of {made:?}", (owner, page, counter));
        self.log.push(format!("ciphertext {}", made.3));
        self.saved.push(cipher);
        Ok(())
    }

    pub(crate) fn peek(&self, frame: usize) -> Bytes {
        let mut bytes = zeros();
        if let Some(bytes) = Rc::get_mut(&mut bytes) {
            self.machine().peek(AbsoluteAddress(frame_address(frame)), bytes);
        }
        bytes
    }

    /// A host load of all of a frame, which must end as the secure bit says (I-09, I-38).
    fn host_load(&mut self, frame: usize, instruction: bool) -> Checked<Option<Bytes>> {
        let address = VirtualAddress(frame_address(frame));
        let secure = self.machine().zone_entry(FrameNumber(address.0 >> 12)).is_secure();
        let mut bytes = [0; 4096];
        let result = if instruction {
            self.host.cpu.fetch_instruction(address, &mut bytes)
        } else {
            self.host.cpu.load(address, &mut bytes)
        };
        self.log.push(format!("host {result:?}"));
        ensure!(secure == result.is_err(), "I-09: frame {frame} is secure: {secure}, the host gets {result:?}");
        if let Err(it) = result {
            let teid = self.reference.host_teid(frame, instruction, false);
            let wanted = ProgramInterruption { code: ProgramCode::SecureStorageAccess, teid };
            ensure!(it == wanted, "I-09: the host gets {it}, not {wanted}");
            ensure!(bytes == [0; 4096], "I-09: a refused load has loaded something");
            return Ok(None);
        }
        let same = frame == BLOCK_FRAME || bytes == *self.reference.frames[frame].bytes;
        ensure!(same, "I-10: the host reads something else in frame {frame}");
        Ok(Some(Rc::new(bytes)))
    }

    fn host_write(&mut self, frame: usize, offset: usize, bytes: &[u8]) -> Checked {
        let secure = self.reference.frames[frame].state.is_secure();
        let before = secure.then(|| self.machine().state_digest(None));
        let address = VirtualAddress(frame_address(frame) + offset as u64);
        let result = self.host.cpu.store(address, bytes);
        self.log.push(format!("host {result:?}"));
        ensure!(secure == result.is_err(), "I-09: frame {frame} is secure: {secure}, the host gets {result:?}");
        match result {
            Ok(()) => self.reference.write(frame, offset, bytes),
            Err(it) => {
                ensure!(it.teid == self.reference.host_teid(frame, false, true), "T3: {it}");
                let after = self.machine().state_digest(None);
                ensure!(before == Some(after), "I-18: a refused store has changed something");
            }
        }
        Ok(())
    }

    /// Channel I/O: as the host, with a refusal of its own (T10, T11, D23).
    fn device(&mut self, frame: usize, write: bool) -> Checked {
        let address = AbsoluteAddress(frame_address(frame));
        let secure = self.machine().zone_entry(address.frame()).is_secure();
        let before = secure.then(|| self.machine().state_digest(None));
        let mut bytes = [0; 4096];
        let result = if write {
            self.public += 1;
            bytes = secret::public(self.public);
            self.machine().channel().write(address, &bytes)
        } else {
            self.machine().channel().read(address, &mut bytes)
        };
        self.log.push(format!("device {result:?}"));
        let wanted = if secure { Err(ChannelRefusal::SecureFrame(address)) } else { Ok(()) };
        ensure!(result == wanted, "I-09: a device gets {result:?} at frame {frame}, not {wanted:?}");
        if secure {
            let after = self.machine().state_digest(None);
            ensure!(before == Some(after), "I-18: refused I/O has changed something");
            ensure!(write || bytes == [0; 4096], "I-09: a device has read a secure frame");
        } else if write {
            self.reference.write(frame, 0, &bytes);
        } else if frame != BLOCK_FRAME {
            ensure!(bytes == *self.reference.frames[frame].bytes, "I-10: a device reads something else");
        }
        Ok(())
    }

    /// Changes a mapping.
    fn map(&mut self, guest: usize, page: u8, target: Option<(usize, bool)>, purged: Purged) {
        let (table, at) = (slot(guest).table(), VirtualAddress(u64::from(page) * 0x1000));
        if purged == Purged::Ipte {
            self.host.cpu.ipte(AbsoluteAddress(table), at).expect("IPTE on host storage");
            self.reference.buffers.iter_mut().for_each(|buffer| {
                buffer.remove(&(guest, page));
            });
        }
        let entry = target.map_or(0x400, |(frame, protected)| frame_address(frame) | u64::from(protected) << 9);
        self.host.store_u64(table + u64::from(page) * 8, entry);
        self.reference.mapped[guest][usize::from(page)] = target;
        if purged == Purged::Ptlb {
            self.host.cpu.ptlb().expect("PTLB in supervisor state");
            self.reference.buffers[0].clear();
        }
    }

    fn page_call(&mut self, command: Command, guest: usize, page: u16, low: u16, again: bool) -> Checked {
        let address = u64::from(page) << 12 | u64::from(low);
        let fields = [(0x18, 8, self.reference.handle(guest)), (0x20, 8, address)];
        self.call_again(command, &fields, again)
    }

    fn frame_call(&mut self, command: Command, frame: usize, low: u16, again: bool) -> Checked {
        self.call_again(command, &[(0x18, 8, frame_address(frame) | u64::from(low))], again)
    }

    /// A call and, once it has succeeded, the same again, which must change nothing (I-40).
    fn call_again(&mut self, command: Command, fields: &[(usize, usize, u64)], again: bool) -> Checked {
        let first = self.call(command, fields)?.answer;
        if again && first == Some((0, 1, 0)) {
            let second = self.call(command, fields)?;
            let old = second.answer == Some((1, 0x107, 0xd));
            let same = matches!(second.answer, Some((0, ..) | (2 | 3, ..))) || old;
            ensure!(same && !second.effect, "I-40: {command:?} repeated gives {second:x?}");
        }
        Ok(())
    }

    fn vcpu(&self, guest: usize, number: u16) -> u64 {
        let owner = self.reference.slots[guest].map(|owner| &self.reference.guests[owner]);
        owner.and_then(|it| it.cpus.get(&number)).map_or(0x1234_5678, |cpu| cpu.handle)
    }

    fn create(&mut self, guest: usize) -> Checked {
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
    fn new_handle(&mut self) -> Checked<u64> {
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

    fn create_cpu(&mut self, guest: usize, number: u16, frame: usize) -> Checked {
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

    /// Loads an image of no page or one, and starts CPU 0.
    fn boot(&mut self, guest: usize, image: Option<u8>) -> Checked {
        let mut digests = ImageDigests::default();
        if let Some(page) = image {
            digests.add(&secret::image(page), u64::from(page) << 12, [7, 7]);
        }
        let mut header = Vec::from(*b"UVSIMPLN");
        header.extend(1u32.to_be_bytes());
        header.extend(0xe8u32.to_be_bytes());
        header.extend(u64::from(image.is_some()).to_be_bytes());
        header.extend([0; 16]);
        digests.finish().iter().for_each(|digest| header.extend(digest));
        let (handle, at) = (self.reference.handle(guest), slot(guest).header());
        self.host.store(at, &header);
        let pages = (0x10, 8, u64::from(image.is_some()));
        self.call(Command::SetSecConfParams, &[pages, (0x18, 8, handle), (0x20, 8, at), (0x28, 4, 0xe8)])?;
        if let Some(page) = image
            && let Some(frame) = self.host_frame()?
        {
            self.map(guest, page, Some((frame, false)), Purged::Ipte);
            self.host_write(frame, 0, &secret::image(page))?;
            let tweak = [(0x28, 8, 7), (0x30, 8, 7)];
            self.call(Command::UnpackImg, &[(0x18, 8, handle), (0x20, 8, u64::from(page) << 12), tweak[0], tweak[1]])?;
        }
        self.call(Command::VerifyImg, &[(0x18, 8, handle)])?;
        self.step(&Step::SetState { guest, number: 0, state: 5 })
    }

    /// A block whose fields are noise, among it everything that could mean something.
    fn raw(&mut self, command: u16, length: u16, fields: &[(u8, u64); 8]) -> Checked {
        let reference = &self.reference;
        let pick = |at: usize, (kind, value): (u8, u64)| match kind {
            // Handles are random: where a number is wanted they would make a run differ from its repetition.
            0..4 if at > 1 => value,
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
    fn reset(&mut self, clear: bool) -> Checked {
        let kind = if clear { Reset::Clear } else { Reset::LoadNormal };
        self.host.cpu.reset_machine(kind).map_err(|error| error.to_string())?;
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

    /// Runs `act` in a guest that enters on a host CPU. The first page that fails decides.
    fn in_guest<T>(
        &mut self,
        (guest, cpu, vcpu): (usize, u16, u16),
        act: impl FnOnce(&mut GuestCpu<'_, 'm>, &mut Reference, Owner) -> Checked<Result<T, Stopped>>,
    ) -> Checked<Result<T, Stopped>> {
        let description = slot(guest).description(vcpu);
        let (handle, number) = (self.reference.handle(guest), self.vcpu(guest, vcpu));
        self.host.store_u64(description + 0x10, number);
        self.host.store_u64(description + 0x18, handle);
        let machine = self.machine();
        let mut second = (cpu == 1).then(|| machine.cpu(1).expect("CPU 1 is free"));
        let on: &mut HostCpu<'m> = second.as_mut().unwrap_or(&mut self.host.cpu);
        on.set_primary(Asce(slot(guest).asce()));
        let wanted = self.reference.enter(cpu, guest, vcpu);
        let result = match (wanted, on.enter(VirtualAddress(description))) {
            (Ok(owner), Ok(mut running)) => act(&mut running, &mut self.reference, owner)?,
            (Err(stopped), Err(exit)) => {
                ensure!(same_stop(stopped, GuestEvent::Exit(exit)), "D80: SIE gives {exit}, not {stopped:?}");
                Err(stopped)
            }
            (wanted, Ok(_)) => return Err(format!("I-34, T20: the guest enters, but {wanted:?}")),
            (Ok(_), Err(exit)) => return Err(format!("I-39: the guest must run, SIE gives {exit}")),
        };
        self.log.push(format!("guest {:?}", result.as_ref().map(|_| ())));
        Ok(result)
    }

    fn guest_load(&mut self, guest: usize, page: u8, cpu: u16, vcpu: u16) -> Checked<Result<(), Stopped>> {
        self.in_guest((guest, cpu, vcpu), |running, reference, owner| {
            let mut bytes = [0; 4096];
            let wanted = reference.reach(cpu, owner, page, false);
            let found = running.load(GuestAddress(u64::from(page) << 12), &mut bytes);
            match (wanted, found) {
                (Ok(frame), Ok(())) => {
                    ensure!(bytes == *reference.frames[frame].bytes, "I-14: page {page} reads something else");
                    Ok(Ok(()))
                }
                (wanted, found) => refusal(wanted.map(drop), found),
            }
        })
    }

    fn guest_store(&mut self, guest: usize, page: u8, cpu: u16, vcpu: u16, text: Text) -> Checked {
        self.secrets += 1;
        let secret = secret::page(self.secrets * 2 + self.salt);
        self.in_guest((guest, cpu, vcpu), |running, reference, owner| {
            let found = reference.guests[owner].pages[usize::from(page)].clone();
            let now = found.record.frame().map(|frame| reference.frames[frame].bytes.clone());
            let (offset, bytes): (usize, Vec<u8>) = match text {
                Text::Secret => (0, secret.to_vec()),
                Text::Zeros => (0, vec![0; 4096]),
                Text::Same => (0, now.unwrap_or_else(zeros).to_vec()),
                Text::AsExported => (0, found.last.map_or_else(zeros, |(plain, _)| plain).to_vec()),
                Text::Piece(at) => (usize::from(at) * 16, secret[..16].to_vec()),
                Text::Straddle => (4080, secret[..32].to_vec()),
            };
            let mut wanted = reference.reach(cpu, owner, page, true);
            if let (Text::Straddle, Ok(_)) = (text, wanted) {
                wanted = reference.reach(cpu, owner, page + 1, true).and(wanted);
            }
            let at = GuestAddress((u64::from(page) << 12) + offset as u64);
            match (wanted, running.store(at, &bytes)) {
                (Ok(frame), Ok(())) => {
                    let (first, rest) = bytes.split_at(bytes.len().min(4096 - offset));
                    reference.write(frame, offset, first);
                    if !rest.is_empty()
                        && let Ok(next) = reference.reach(cpu, owner, page + 1, true)
                    {
                        reference.write(next, 0, rest);
                    }
                    Ok(Ok(()))
                }
                (wanted, found) => refusal(wanted.map(drop), found),
            }
        })
        .map(drop)
    }

    /// Beyond its storage the guest meets its own addressing exception (T22).
    fn guest_beyond(&mut self, guest: usize) -> Checked {
        self.in_guest((guest, 0, 0), |running, _, _| {
            let found = running.load(GuestAddress(1 << 20), &mut [0; 8]);
            refusal::<()>(Err(Stopped::Addressing), found)
        })
        .map(drop)
    }

    /// A guest's call, with its block in the last 512 bytes of page 1 (D18, D32).
    fn guest_call(&mut self, command: Command, guest: usize, page: u16, low: u16, cpu: u16) -> Checked {
        const AT: u64 = 0x1e00;
        let block = Block::new(command.code(), 0x30, &[(0x20, 8, u64::from(page) << 12 | u64::from(low))]);
        let machine = self.machine();
        self.in_guest((guest, cpu, 0), |running, reference, owner| {
            let home = match (reference.reach(cpu, owner, 1, true), running.store(GuestAddress(AT), &block.0[..0x30])) {
                (Ok(frame), Ok(())) => frame,
                (wanted, found) => return refusal(wanted.map(drop), found),
            };
            reference.write(home, 0xe00, &block.0[..0x30]);
            let masked = Some(AbsoluteAddress(frame_address(home) + 0xe00));
            let before = machine.state_digest(masked);
            let wanted = predict_guest_call(reference, command, owner, page, cpu);
            let found = running.uvc(Uvc::at(VirtualAddress(AT)));
            let (wanted, cc) = match (wanted, found) {
                (Ok(wanted), Ok(cc)) => (wanted, cc as u8),
                (wanted, found) => {
                    if !matches!(wanted, Err(Stopped::Intercepted(_))) {
                        ensure!(machine.state_digest(masked) == before, "I-18: {found:?} has changed something");
                    }
                    return refusal(wanted.map(drop), found.map(drop));
                }
            };
            if !wanted.effect {
                ensure!(machine.state_digest(masked) == before, "I-18: {command:?} has changed something");
            }
            let Some((wanted_cc, rc, rrc)) = wanted.answer else { return Err("answers of guests are known".into()) };
            ensure!(cc == wanted_cc, "{}: {command:?} ends with cc {cc}, not {wanted_cc}", cited(Some(command)));
            if cc < 2 {
                let codes = u32::from(rc) << 16 | u32::from(rrc);
                reference.write(home, 0xe04, &codes.to_be_bytes());
            }
            Ok(Ok(()))
        })
        .map(drop)
    }

    /// A frame of the pool that nothing is registered to; exports one if there is none.
    fn host_frame(&mut self) -> Checked<Option<usize>> {
        let normal = |run: &Self| (0..POOL).find(|&frame| run.reference.frames[frame].state == State::Normal);
        for frame in 0..POOL {
            if let Some(found) = normal(self) {
                return Ok(Some(found));
            }
            self.call_until_done(Command::ConvFromSecStor, &[(0x18, 8, frame_address(frame))])?;
        }
        Ok(normal(self))
    }

    /// What a host does that wants its guest to have a page: maps the frame that has it, or imports it.
    fn provide(&mut self, guest: usize, page: u8) -> Checked {
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

    /// From any state, a host that behaves gets its guest on (I-39, D36).
    fn progress(&mut self, guest: usize, page: u8) -> Checked {
        let able = |run: &Self, page: u8| {
            run.reference.guest(guest).is_some_and(|it| {
                let operating = it.cpus.get(&0).is_some_and(|cpu| cpu.operating);
                let there = |page: u8| it.pages[usize::from(page)].record != Record::Destroyed;
                operating && it.boot == crate::reference::Boot::Verified && [0, 1, page].into_iter().all(there)
            })
        };
        if !able(self, page) {
            return Ok(());
        }
        for _ in 0..8 {
            match self.guest_load(guest, page, 0, 0)? {
                Ok(()) => return Ok(()),
                Err(Stopped::Intercepted(112)) => {
                    self.provide(guest, 0)?;
                    self.provide(guest, 1)?;
                }
                Err(Stopped::Host(..)) => self.provide(guest, page)?,
                Err(stopped) => return Err(format!("I-39: no repair for {stopped:?}")),
            }
        }
        Err(format!("I-39: page {page} of guest {guest} cannot be reached"))
    }

    fn help(&mut self, guest: usize, page: u16, helped: bool) -> Checked {
        match u8::try_from(page) {
            Ok(page @ 0..PAGES) if helped => self.progress(guest, page),
            _ => Ok(()),
        }
    }

    fn spot(&self, spot: Spot) -> usize {
        match spot {
            Spot::Frame(frame) => frame,
            Spot::Page(guest, page) => {
                let holder = self.reference.guest(guest).and_then(|it| it.pages[usize::from(page)].record.frame());
                let mapped = self.reference.mapped[guest][usize::from(page)].map(|(frame, _)| frame);
                holder.or(mapped).unwrap_or(0)
            }
        }
    }

    /// Exports a page and has something imported for it (I-15, I-16).
    fn replace(&mut self, guest: usize, page: u8, offer: Offer) -> Checked {
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

    /// Presets a counter near its end (D42).
    fn preset(&mut self, guest: usize, page: u8, below: u8) {
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
        assert!(self.machine().preset_counter(handle, PageIndex(u64::from(page)), preset), "the page is resident");
        let plain = self.reference.frames[frame].bytes.clone();
        let found = &mut self.reference.guests[owner].pages[usize::from(page)];
        found.counter = counter;
        found.last = Some((plain, None));
    }

    /// Ends everything and gives the machine back as it was.
    fn tear_down(&mut self) -> Checked {
        for guest in 0..SLOTS {
            let numbers: Vec<u16> =
                self.reference.guest(guest).map(|it| it.cpus.keys().copied().collect()).unwrap_or_default();
            for number in numbers {
                let cpu = self.vcpu(guest, number);
                self.call_until_done(Command::DestroySecCpu, &[(0x18, 8, cpu)])?;
            }
            if self.reference.guest(guest).is_some() {
                self.call_until_done(Command::DestroySecConf, &[(0x18, 8, self.reference.handle(guest))])?;
            }
        }
        check::state(self)?;
        for frame in (0..FRAMES).filter(|&frame| frame != crate::step::UV_FRAME) {
            self.call_until_done(Command::ConvFromSecStor, &[(0x18, 8, frame_address(frame))])?;
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

/// What a guest's call must answer, block and target being reached as for loads and stores (D32).
fn predict_guest_call(
    reference: &mut Reference,
    command: Command,
    owner: Owner,
    page: u16,
    cpu: u16,
) -> Result<Prediction, Stopped> {
    if let Some(injected) = reference.injected(command) {
        return Ok(injected);
    }
    let Ok(page) = u8::try_from(page) else {
        return Ok(Prediction { answer: Some((1, 0x101, 0)), effect: false });
    };
    let frame = reference.reach(cpu, owner, page, false)?;
    if command == Command::SetSharedAccess {
        return Ok(reference.share(owner, page, frame));
    }
    reference.unshare(owner, page, frame).ok_or(Stopped::Intercepted(108))
}

/// Compares how an access must end with how it ended, when it did not simply succeed.
fn refusal<T>(wanted: Result<(), Stopped>, found: Result<(), GuestEvent>) -> Checked<Result<T, Stopped>> {
    match (wanted, found) {
        (Err(stopped), Err(event)) if same_stop(stopped, event) => Ok(Err(stopped)),
        (wanted, found) => Err(format!("I-14, I-19: the guest gets {found:?}, not {wanted:?}")),
    }
}

fn same_stop(stopped: Stopped, event: GuestEvent) -> bool {
    match event {
        GuestEvent::Exit(SieExit::HostInterruption(it)) => stopped == Stopped::Host(it.code, it.teid),
        GuestEvent::Exit(SieExit::Interception(Interception { code, .. })) => stopped == Stopped::Intercepted(code),
        GuestEvent::Program(it) => stopped == Stopped::Addressing && it.code == ProgramCode::Addressing,
    }
}

/// The rules that a wrong answer to a command breaks first.
fn cited(command: Option<Command>) -> &'static str {
    match command {
        Some(Command::ConvToSecStor) => "I-15, I-16, I-17, I-28, D7",
        Some(Command::ConvFromSecStor) => "I-24, I-40, D10",
        Some(Command::DestrSecStor) => "I-40, D26",
        Some(Command::SetSharedAccess) => "I-25",
        Some(Command::RemoveSharedAccess) => "I-26",
        Some(Command::SetUnsharedAll) => "I-27",
        Some(Command::PinPageShared | Command::UnpinPageShared) => "I-29",
        Some(Command::CreateSecConf | Command::CreateSecCpu) => "I-30, I-32",
        Some(Command::InitUv) => "I-31",
        Some(Command::DestroySecConf | Command::DestroySecConfFast | Command::DestroySecCpu) => "I-33",
        Some(Command::VerifyImg | Command::UnpackImg) => "I-34, I-35",
        _ => "D2",
    }
}
