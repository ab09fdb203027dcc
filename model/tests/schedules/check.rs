//! What must hold after every step, whatever it was.

use crate::reference::{Block, Protocol, Record, State, frame_address};
use crate::run::{Checked, Run, ensure};
use crate::secret;
use crate::step::{BLOCK_FRAME, FRAMES, PAGES, UV_FRAME};
use std::collections::BTreeMap;
use uvsim_model::PageRecord;
use uvsim_model::address::{AbsoluteAddress, FrameNumber, PageIndex};
use uvsim_model::storage::{Donation, FrameState, Tag, Verdict, check};
use uvsim_model::uvc::Command;

/// The machine is consistent in itself (I-01 to I-07, I-32) and agrees with the reference in every frame
/// and page: so only calls have changed zone entries (I-08), what is visible is what may be (I-10, I-13),
/// and the access check follows the matrix (I-37, I-38).
pub(crate) fn state(run: &mut Run<'_, '_>) -> Checked {
    // Loads and stores alone change nothing that the machine's own check looks at, and it is the longest part.
    if std::mem::take(&mut run.unchecked) {
        run.machine().check_invariants().map_err(|violation| violation.to_string())?;
    }
    for frame in 0..FRAMES {
        agreement(run, frame)?;
        contents(run, frame)?;
        matrix(run, frame)?;
    }
    pages(run)
}

fn number(frame: usize) -> FrameNumber {
    AbsoluteAddress(frame_address(frame)).frame()
}

fn agreement(run: &Run<'_, '_>, frame: usize) -> Checked {
    let (found, wanted) = (run.machine().frame_state(number(frame)), run.reference.frames[frame].state);
    let domain = |owner: usize| run.reference.guests[owner].domain;
    let agrees = match wanted {
        State::Normal => found == FrameState::NonSecure,
        State::Donated => matches!(found, FrameState::Donated(_)),
        State::Secure(owner, page) => found == FrameState::Secure(domain(owner), PageIndex(u64::from(page))),
        State::Shared(owner, page) => found == FrameState::Shared(domain(owner), PageIndex(u64::from(page))),
        State::Pinned(owner, page) => found == FrameState::Pinned(domain(owner), PageIndex(u64::from(page))),
    };
    ensure!(agrees, "I-03, I-08: frame {frame} is {found:?}, not {wanted:?}");
    Ok(())
}

/// The bytes are what they must be; and what the host can see holds no secret that its guest has not
/// opened, whatever the reference believes.
fn contents(run: &mut Run<'_, '_>, frame: usize) -> Checked {
    let found = (run.peek(frame), !run.machine().zone_entry(number(frame)).is_secure());
    let (bytes, visible) = (&found.0, found.1);
    if frame != BLOCK_FRAME {
        ensure!(*bytes == run.reference.frames[frame].bytes, "I-10, I-13, I-17: frame {frame} holds something else");
    }
    if run.seen[frame].as_ref() == Some(&found) {
        return Ok(());
    }
    if visible && let Some(leak) = secret::find(bytes).find(|secret| !run.reference.opened.contains(secret)) {
        return Err(format!("I-10: frame {frame} shows secret {leak} to the host"));
    }
    run.seen[frame] = Some(found);
    Ok(())
}

fn matrix(run: &Run<'_, '_>, frame: usize) -> Checked {
    let entry = run.machine().zone_entry(number(frame));
    let reference = &run.reference;
    let verdict = check(Tag::NonSecure, entry);
    ensure!(verdict == reference.verdict(frame, None), "I-38: the host gets {verdict:?} at frame {frame}");
    for (owner, guest) in reference.guests.iter().enumerate().filter(|(_, guest)| guest.alive) {
        for page in 0..PAGES {
            let verdict = check(Tag::Guest(guest.domain, PageIndex(u64::from(page))), entry);
            let wanted = reference.verdict(frame, Some((owner, page)));
            ensure!(verdict == wanted, "I-37: page {page} of guest {owner} gets {verdict:?} at frame {frame}");
        }
    }
    let base = if frame == UV_FRAME && reference.initialised { Verdict::Allow } else { Verdict::FirmwareError };
    ensure!(check(Tag::Firmware(Donation::Base), entry) == base, "I-37: the Ultravisor at frame {frame}");
    Ok(())
}

/// Record and counter of every page of every living guest (I-20, I-22, I-24).
fn pages(run: &Run<'_, '_>) -> Checked {
    for guest in run.reference.guests.iter().filter(|guest| guest.alive) {
        for (index, wanted) in (0..).zip(&guest.pages) {
            let found = run.machine().page(guest.handle, PageIndex(index)).ok_or("I-32: a live handle is unknown")?;
            let record = match wanted.record {
                Record::Absent => PageRecord::Absent,
                Record::Resident(frame) => PageRecord::Resident(number(frame)),
                Record::Exported => PageRecord::Exported,
                Record::Shared(frame) => PageRecord::Shared(frame.map(number)),
                Record::Pinned(frame) => PageRecord::Pinned(number(frame)),
                Record::Destroyed => PageRecord::Destroyed,
            };
            ensure!(found.record == record, "I-03: page {index} is {}, not {record}", found.record);
            let (counter, wanted) = (found.counter, wanted.counter);
            ensure!(counter == wanted, "I-20, I-22: page {index} has counter {counter}, not {wanted}");
        }
        let (found, wanted) = (run.machine().is_reset_pending(guest.handle), guest.protocol != Protocol::Idle);
        ensure!(found == Some(wanted), "I-36: whether a reset is pending is {found:?}, not {wanted}");
    }
    for guest in run.reference.guests.iter().filter(|guest| !guest.alive) {
        ensure!(run.machine().domain(guest.handle).is_none(), "I-32: the handle of a dead guest is alive");
    }
    Ok(())
}

/// After SET_UNSHARED_ALL no frame is shared by the guest any more (I-27).
pub(crate) fn no_sharing(run: &Run<'_, '_>, guest: usize, done: bool) -> Checked {
    let Some(guest) = run.reference.guest(guest).filter(|_| done) else { return Ok(()) };
    for frame in 0..FRAMES {
        let shared = match run.machine().frame_state(number(frame)) {
            FrameState::Shared(domain, _) | FrameState::Pinned(domain, _) => domain == guest.domain,
            _ => false,
        };
        ensure!(!shared, "I-27: frame {frame} is still shared");
    }
    Ok(())
}

/// What the machine itself has answered, for the rules that say what must have come before.
#[derive(Clone, Debug, Default)]
pub(crate) struct History(BTreeMap<u64, Past>);

/// Of a configuration.
#[derive(Clone, Debug, Default)]
struct Past {
    verified: bool,
    unshared: bool,
    /// The CPU reset that a pending reset needs, and whether PREPARE_RESET was done for it.
    needed: Option<(u8, bool)>,
    /// Strongest CPU reset since PREPARE_RESET, by CPU handle.
    resets: BTreeMap<u64, u8>,
}

impl History {
    /// The guest has asked for a reset.
    pub(crate) fn requested(&mut self, handle: u64, subcode: u64) {
        self.0.entry(handle).or_default().needed = Some((if subcode == 0 { 3 } else { 1 }, false));
    }
}

/// Nothing is entered before its image was verified (I-34), or between a reset and the load that ends it (I-36).
pub(crate) fn entered(history: &History, handle: u64) -> Checked {
    let past = history.0.get(&handle);
    ensure!(past.is_some_and(|past| past.verified), "I-34: a guest enters, and VERIFY_IMG has not succeeded");
    ensure!(past.is_none_or(|past| past.needed.is_none()), "I-36: a guest enters, and a reset is not complete");
    Ok(())
}

/// A call that is about to be issued, with what is lost by it.
pub(crate) struct Observed {
    command: Option<Command>,
    /// Of the configuration that it means, by itself or by a CPU.
    handle: u64,
    cpu: u64,
    state: u8,
    /// What UNPACK_IMG finds.
    record: Option<PageRecord>,
}

impl Observed {
    pub(crate) fn before(run: &Run<'_, '_>, block: &Block) -> Self {
        let (command, named) = (Command::from_code(block.command()), block.u64(0x18));
        let of_cpu = run.reference.vcpu(named).map(|(owner, _)| run.reference.guests[owner].handle);
        let unpacks = command == Some(Command::UnpackImg);
        let page = unpacks.then(|| run.machine().page(named, PageIndex(block.u64(0x20) >> 12))).flatten();
        let record = page.map(|page| page.record);
        Self { command, handle: of_cpu.unwrap_or(named), cpu: named, state: block.0[0x27], record }
    }

    /// The rules of order, by what the machine has said before.
    pub(crate) fn succeeded(self, run: &mut Run<'_, '_>) -> Checked {
        let past = run.history.0.entry(self.handle).or_default();
        match self.command {
            Some(Command::VerifyImg) => past.verified = true,
            Some(Command::UnpackImg) => {
                let (record, absent) = (self.record, Some(PageRecord::Absent));
                ensure!(record == absent, "I-35: a page is unpacked that is {record:?}");
            }
            Some(Command::SetUnsharedAll) => past.unshared = true,
            Some(Command::PrepareReset) => {
                ensure!(past.unshared, "I-36: PREPARE_RESET, and SET_UNSHARED_ALL is missing");
                past.needed = Some((past.needed.map_or(1, |(kind, _)| kind), true));
                past.resets.clear();
                return all_private(run, self.handle);
            }
            Some(Command::CpuReset) => past.reset(self.cpu, 1),
            Some(Command::CpuResetInitial) => past.reset(self.cpu, 2),
            Some(Command::CpuResetClear) => past.reset(self.cpu, 3),
            Some(Command::CpuSetState) if self.state == 1 => past.unshared = false,
            Some(Command::CpuSetState) if self.state == 5 => {
                ensure!(past.verified, "I-34: a CPU is loaded, and VERIFY_IMG has not succeeded");
                let had = past.resets.get(&self.cpu).copied().unwrap_or(0);
                let complete = past.needed.is_none_or(|(kind, prepared)| prepared && had >= kind.max(2));
                ensure!(complete, "I-36: a CPU is loaded after {had}, the reset needs {:?}", past.needed);
                (past.needed, past.unshared) = (None, false);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Past {
    fn reset(&mut self, cpu: u64, kind: u8) {
        let had = self.resets.entry(cpu).or_default();
        *had = kind.max(*had);
    }
}

/// At PREPARE_RESET no page is shared (I-36).
fn all_private(run: &Run<'_, '_>, handle: u64) -> Checked {
    for index in 0..u64::from(PAGES) {
        let record = run.machine().page(handle, PageIndex(index)).map(|page| page.record);
        let shared = matches!(record, Some(PageRecord::Shared(_) | PageRecord::Pinned(_)));
        ensure!(!shared, "I-36: page {index} is {record:?} at PREPARE_RESET");
    }
    Ok(())
}
