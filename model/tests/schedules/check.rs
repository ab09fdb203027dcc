//! What must hold after every step, whatever it was.

use crate::reference::{Record, State, frame_address};
use crate::run::{Checked, Run, ensure};
use crate::secret;
use crate::step::{BLOCK_FRAME, FRAMES, PAGES, UV_FRAME};
use uvsim_model::PageRecord;
use uvsim_model::address::{AbsoluteAddress, FrameNumber, PageIndex};
use uvsim_model::storage::{Donation, FrameState, Tag, Verdict, check};

/// The machine is consistent in itself (I-01 to I-07, I-32) and agrees with the reference in every frame
/// and page: so only calls have changed zone entries (I-08), what is visible is what may be (I-10, I-13),
/// and the access check follows the matrix (I-37, I-38).
pub(crate) fn state(run: &mut Run<'_, '_>) -> Checked {
    run.machine().check_invariants().map_err(|violation| violation.to_string())?;
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
    }
    for guest in run.reference.guests.iter().filter(|guest| !guest.alive) {
        ensure!(run.machine().domain(guest.handle).is_none(), "I-32: the handle of a dead guest is alive");
    }
    Ok(())
}

/// After SET_UNSHARED_ALL no frame is shared by the guest any more (I-27).
pub(crate) fn no_sharing(run: &Run<'_, '_>, guest: usize, stopped: bool) -> Checked {
    let pending = run.reference.pending.get(&uvsim_model::uvc::Command::SetUnsharedAll);
    let injected = pending.is_some();
    let Some(guest) = run.reference.guest(guest).filter(|_| stopped && !injected) else { return Ok(()) };
    for frame in 0..FRAMES {
        let shared = match run.machine().frame_state(number(frame)) {
            FrameState::Shared(domain, _) | FrameState::Pinned(domain, _) => domain == guest.domain,
            _ => false,
        };
        ensure!(!shared, "I-27: frame {frame} is still shared");
    }
    Ok(())
}
