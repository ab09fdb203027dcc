//! Drives a machine through a schedule, the reference beside it.

use crate::check;
use crate::reference::{Block, Bytes, Owner, Prediction, Reference, frame_address, slot, zeros};
use crate::secret;
use crate::step::{BLOCK_FRAME, BootPlan, FRAMES, Purged, SLOTS, Schedule, Setup, Spot, Step};
use crate::support::{BLOCK, Host};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use uvsim_model::address::{AbsoluteAddress, FrameNumber, VirtualAddress};
use uvsim_model::cpu::ChannelRefusal;
use uvsim_model::storage::{ProgramCode, ProgramInterruption};
use uvsim_model::uvc::Command;
use uvsim_model::{Machine, StateDigest};
use uvsim_verify::SideBySide;

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
    /// Lets the oracle take every step as well, from the first on.
    side: Arc<SideBySide>,
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
    run_with(schedule.setup, salt, |run| run.schedule(schedule))
}

/// Runs something that ends with a teardown.
pub(crate) fn run_with(
    setup: Setup,
    salt: u32,
    body: impl FnOnce(&mut Run<'_, '_>) -> Checked,
) -> Checked<Vec<String>> {
    let taken = MACHINES.with_borrow_mut(|machines| machines.remove(&setup));
    let mut prepared = taken.unwrap_or_else(|| prepare(setup));
    let mut run = Run {
        host: Host::new(&prepared.machine),
        reference: Reference::new(setup),
        issued: &mut prepared.issued,
        saved: Vec::new(),
        seen: vec![None; FRAMES],
        ciphers: HashMap::new(),
        history: check::History::default(),
        unchecked: true,
        log: Vec::new(),
        secrets: 0,
        salt,
        public: 0,
        next_frame: 0,
    };
    // Where the oracle sees something else as well, it tells more.
    let told =
        |error| prepared.side.difference().map_or(error, |difference| format!("the oracle differs:\n{difference}"));
    body(&mut run).map_err(told)?;
    let used_up = run.reference.pending.values().all(|counts| *counts == (0, 0, false));
    let log = std::mem::take(&mut run.log);
    drop(run);
    if let Some(difference) = prepared.side.finish(&prepared.machine) {
        return Err(format!("the model and its oracle differ:\n{difference}"));
    }
    let left = prepared.machine.state_digest(None);
    ensure!(left == prepared.fresh, "I-33: teardown leaves {left:?}, the machine was {:?}", prepared.fresh);
    // Injected answers outlive a schedule if only a guest could have used them up.
    if used_up {
        MACHINES.with_borrow_mut(|machines| machines.insert(setup, prepared));
    }
    Ok(log)
}

/// Makes the next schedule of this thread start on a machine that was never used.
pub(crate) fn throw_machines_away() {
    MACHINES.with_borrow_mut(HashMap::clear);
}

fn prepare(setup: Setup) -> Prepared {
    let mut machine = Machine::new(setup.config()).expect("the configuration is sound");
    let side = SideBySide::watch(&mut machine);
    let mut host = Host::new(&machine);
    assert_eq!(host.init(), crate::support::DONE);
    lay_tables(&mut host);
    host.store(BLOCK, &[0; 0x2000]);
    drop(host);
    let fresh = machine.state_digest(None);
    Prepared { machine, side, issued: HashSet::new(), fresh }
}

/// Segment and page tables of both slots, without a mapping.
pub(crate) fn lay_tables(host: &mut Host<'_>) {
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
    pub(crate) issued: &'p mut HashSet<u64>,
    /// Every page that was ever exported.
    pub(crate) saved: Vec<Bytes>,
    /// Contents of the frames at the last check, and whether the host could see them.
    pub(crate) seen: Vec<Option<(Bytes, bool)>>,
    /// What each ciphertext was made of (I-12, I-22).
    pub(crate) ciphers: HashMap<Bytes, (Owner, u8, u64, usize)>,
    pub(crate) history: check::History,
    /// Calls were made, or guests have asked for something, since the machine has checked itself.
    pub(crate) unchecked: bool,
    pub(crate) log: Vec<String>,
    pub(crate) secrets: u32,
    pub(crate) salt: u32,
    pub(crate) public: u64,
    pub(crate) next_frame: usize,
}

impl<'m> Run<'m, '_> {
    pub(crate) fn machine(&self) -> &'m Machine {
        self.host.machine()
    }

    pub(crate) fn schedule(&mut self, schedule: &Schedule) -> Checked {
        for (number, _) in schedule.ready.iter().enumerate().filter(|(_, ready)| **ready) {
            self.start(number).map_err(|error| format!("while guest {number} starts: {error}"))?;
        }
        for (number, step) in schedule.steps.iter().enumerate() {
            self.step(step).and_then(|()| check::state(self)).map_err(|error| format!("step {number}: {error}"))?;
        }
        self.tear_down().map_err(|error| format!("teardown: {error}"))
    }

    /// A running guest with both prefix pages.
    pub(crate) fn start(&mut self, guest: usize) -> Checked {
        self.step(&Step::Create { guest })?;
        self.step(&Step::CreateCpu { guest, number: 0, frame: Spot::Frame(13 - guest) })?;
        self.step(&Step::Boot { guest, plan: BootPlan::whole(None) })?;
        self.provide(guest, 0)?;
        self.provide(guest, 1)?;
        check::state(self)
    }

    pub(crate) fn step(&mut self, step: &Step) -> Checked {
        match *step {
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
            Step::Instruct { guest, cpu, vcpu, instruction } => self.instruct(guest, cpu, vcpu, instruction),
            Step::Progress { guest, page } => self.progress(guest, page),
            Step::Lend { guest, page } => {
                let (number, low, cpu) = (u16::from(page), 0, 0);
                self.step(&Step::Share { guest, page: number, low, cpu, helped: true })?;
                self.step(&Step::Pin { frame: Spot::Page(guest, page), low, again: true })
            }
            Step::Forget { guest, page, by_guest } => self.forget(guest, page, by_guest),
            Step::Take { guest, page, frame, out } => {
                let frame = self.spot(frame);
                if out {
                    self.frame_call(Command::ConvFromSecStor, self.spot(Spot::Page(guest, page)), 0, false)?;
                }
                self.map(guest, page, Some((frame, false)), Purged::Ipte);
                self.page_call(Command::ConvToSecStor, guest, u16::from(page), 0, false)
            }
            Step::Replace { guest, page, offer } => self.replace(guest, page, offer),
            Step::Preset { guest, page, below } => {
                self.preset(guest, page, below);
                Ok(())
            }
            _ => self.access_step(step),
        }
    }

    fn access_step(&mut self, step: &Step) -> Checked {
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
            Step::Straddle { frame, device } => self.straddle(frame, device),
            _ => self.life_step(step),
        }
    }

    /// Issues a host call and compares answer and effect with the reference.
    pub(crate) fn issue(&mut self, block: &Block) -> Checked<Prediction> {
        self.host.store(BLOCK, &block.0);
        self.unchecked = true;
        let at = Some(AbsoluteAddress(BLOCK));
        let before = self.machine().state_digest(at);
        let observed = check::Observed::before(self, block);
        let wanted = self.reference.host_call(block);
        let found = self.host.issue(BLOCK).map_err(|it| format!("the block is accessible, but {it}"))?;
        let found = (found.cc, found.rc, found.rrc);
        let command = Command::from_code(block.command());
        self.log.push(format!("{command:?} {found:x?}"));
        if found == (0, 1, 0) {
            observed.succeeded(self)?;
        }
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

    pub(crate) fn call(&mut self, command: Command, fields: &[(usize, usize, u64)]) -> Checked<Prediction> {
        self.issue(&Block::new(command.code(), command.usual_length(), fields))
    }

    /// A call by a host that repeats it while it is busy or done in part (I-44). At most nine answers of
    /// either kind are pending after three dozen steps.
    pub(crate) fn call_until_done(
        &mut self,
        command: Command,
        fields: &[(usize, usize, u64)],
    ) -> Checked<(u8, u16, u16)> {
        for _ in 0..200 {
            match self.call(command, fields)?.answer {
                Some((2 | 3, ..)) | None => {}
                Some(answer) => return Ok(answer),
            }
        }
        Err(format!("I-44: {command:?} stays busy"))
    }

    /// Checks the ciphertext of an export that has just happened (I-12, I-20 to I-24).
    pub(crate) fn note_export(&mut self) -> Checked {
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
    pub(crate) fn host_load(&mut self, frame: usize, instruction: bool) -> Checked<Option<Bytes>> {
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

    pub(crate) fn host_write(&mut self, frame: usize, offset: usize, bytes: &[u8]) -> Checked {
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
    pub(crate) fn device(&mut self, frame: usize, write: bool) -> Checked {
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

    /// A store or I/O of 64 bytes into two neighbouring frames: to both or to none.
    fn straddle(&mut self, frame: usize, device: bool) -> Checked {
        self.public += 1;
        let bytes = &secret::public(self.public)[..64];
        let at = frame_address(frame) + 4064;
        let secure = [frame, frame + 1].into_iter().any(|frame| self.reference.frames[frame].state.is_secure());
        let before = secure.then(|| self.machine().state_digest(None));
        let refused = if device {
            self.machine().channel().write(AbsoluteAddress(at), bytes).is_err()
        } else {
            self.host.cpu.store(VirtualAddress(at), bytes).is_err()
        };
        ensure!(refused == secure, "I-09: a store into frames {frame} and {} is refused: {refused}", frame + 1);
        if refused {
            let after = self.machine().state_digest(None);
            ensure!(before == Some(after), "I-18: a refused access has stored its first half");
        } else {
            self.reference.write(frame, 4064, &bytes[..32]);
            self.reference.write(frame + 1, 0, &bytes[32..]);
        }
        Ok(())
    }

    /// Changes a mapping.
    pub(crate) fn map(&mut self, guest: usize, page: u8, target: Option<(usize, bool)>, purged: Purged) {
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

    pub(crate) fn page_call(&mut self, command: Command, guest: usize, page: u16, low: u16, again: bool) -> Checked {
        let address = u64::from(page) << 12 | u64::from(low);
        let fields = [(0x18, 8, self.reference.handle(guest)), (0x20, 8, address)];
        self.call_again(command, &fields, again)
    }

    pub(crate) fn frame_call(&mut self, command: Command, frame: usize, low: u16, again: bool) -> Checked {
        self.call_again(command, &[(0x18, 8, frame_address(frame) | u64::from(low))], again)
    }

    /// A call and, once it has succeeded, the same again, which must change nothing (I-40).
    pub(crate) fn call_again(&mut self, command: Command, fields: &[(usize, usize, u64)], again: bool) -> Checked {
        let first = self.call(command, fields)?.answer;
        if again && first == Some((0, 1, 0)) {
            let second = self.call(command, fields)?;
            let old = second.answer == Some((1, 0x107, 0xd));
            let same = matches!(second.answer, Some((0, ..) | (2 | 3, ..))) || old;
            ensure!(same && !second.effect, "I-40: {command:?} repeated gives {second:x?}");
        }
        Ok(())
    }

    pub(crate) fn spot(&self, spot: Spot) -> usize {
        match spot {
            Spot::Frame(frame) => frame,
            Spot::Page(guest, page) => {
                let holder = self.reference.guest(guest).and_then(|it| it.pages[usize::from(page)].record.frame());
                let mapped = self.reference.mapped[guest][usize::from(page)].map(|(frame, _)| frame);
                holder.or(mapped).unwrap_or(0)
            }
        }
    }
}

/// The rules that a wrong answer to a command breaks first.
pub(crate) fn cited(command: Option<Command>) -> &'static str {
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
        Some(Command::SetSecConfParams) => "D52",
        Some(Command::UnpackImg) => "I-35, D51",
        Some(Command::VerifyImg) => "I-34, D54",
        Some(Command::CpuSetState) => "I-34, I-36, D13",
        Some(Command::PrepareReset | Command::CpuReset | Command::CpuResetInitial | Command::CpuResetClear) => {
            "I-36, D79"
        }
        _ => "D2",
    }
}
