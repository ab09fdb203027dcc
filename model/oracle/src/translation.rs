//! Dynamic address translation: the walk over tables in storage, and what buffers may have kept.
//!
//! A translation buffer is loose: it may have kept any translation that was formed since the last purge that
//! reaches it, and it may have lost any (D63). So the oracle keeps the set of those that may be there, and walks
//! the tables at every access all the same. If all of them say what the tables say, there is nothing to choose.
//! Else the world chooses: first those kept, the one used last in front, and the tables' own answer at the end.

use crate::access::{self, Requestor, Verdict};
use crate::ids::{AbsoluteAddress, CpuNumber, FrameNumber, VirtualAddress};
use crate::state::{Kept, Operand, Space, State, Translation};
use crate::storage::FRAME;
use crate::world::{Looseness, World};
use imbl::OrdMap;
use std::sync::Arc;

/// Why a walk ends without a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// A translation exception, translation specification or addressing, by interruption code.
    Exception(u16),
    /// A table lies in a frame that the host may not touch (D59).
    /// The entry is here.
    SecureTable(AbsoluteAddress),
}

/// Addressing: a table or the final frame lies outside storage.
pub(crate) const ADDRESSING: u16 = 0x05;
const SEGMENT: u16 = 0x10;
const PAGE: u16 = 0x11;
const SPECIFICATION: u16 = 0x12;
const ASCE_TYPE: u16 = 0x38;

/// Bits of an ASCE, masks as in the book's chapter on translation.
pub(crate) const REAL_SPACE: u64 = 0x20;
pub(crate) const PRIVATE: u64 = 0x100;
const ORIGIN: u64 = !0xfff;
const TYPE: u64 = 0x0c;
const LENGTH: u64 = 0x03;

/// Bits of table entries.
const PROTECTED: u64 = 0x200;
const FORMAT: u64 = 0x400;
const INVALID: u64 = 0x20;
const COMMON: u64 = 0x10;
const PAGE_INVALID: u64 = 0x400;
const PAGE_ZERO: u64 = 0x800;

impl Space {
    /// The home space of a host CPU.
    pub(crate) fn of_host(asce: u64) -> Space {
        Space { asce: asce & (ORIGIN | PRIVATE | REAL_SPACE | TYPE | LENGTH), real: true }
    }

    /// The space in which a configuration's guest runs (D60: absolute results).
    pub(crate) fn of_guest(asce: u64) -> Space {
        Space { real: false, ..Space::of_host(asce) }
    }
}

/// Translates as a CPU does, with its buffer (D56, D57, D63). The frame may lie outside storage.
pub(crate) fn translate(
    state: &mut State,
    cpu: CpuNumber,
    space: Space,
    address: VirtualAddress,
    world: &mut dyn World,
) -> Result<Translation, Fault> {
    let prefix = if space.real { state.host[&cpu].prefix } else { 0 };
    let fresh =
        walk(state, space.asce, address).map(|found| Translation { frame: prefixed(prefix, found.frame), ..found });
    let page = (space, address.0 / FRAME);
    if state.keeps_only(cpu, page, &fresh) {
        return fresh;
    }
    let kept = state.kept(cpu, page);
    let mut answers: Vec<Result<&Translation, Fault>> = Vec::new();
    for candidate in kept.iter().map(|kept| Ok(&kept.translation)).chain([fresh.as_ref().map_err(|&fault| fault)]) {
        if !answers.iter().any(|other| alike(other, &candidate)) {
            answers.push(candidate);
        }
    }
    let chosen = if answers.len() == 1 { 0 } else { world.choose(Looseness::TranslationBuffer, answers.len()) };
    let answer = answers[chosen.min(answers.len() - 1)].cloned();
    state.keep(cpu, page, kept, &answer, &fresh);
    answer
}

/// Translations of the pages of an operand may have been formed, up to the first that has none: a call that was
/// refused may have done that, too. Nobody walks thousands of pages for that: the tables as they are now are kept.
pub(crate) fn form(state: &mut State, cpu: CpuNumber, space: Space, address: VirtualAddress, length: u64) {
    let last = address.0.saturating_add(length.saturating_sub(1)) / FRAME;
    let then = Arc::new(State { host: OrdMap::new(), ..state.clone() });
    let operand = Operand { space, first: address.0 / FRAME, last, then };
    let again = |other: &Operand| {
        (other.space, other.first, other.last) == (operand.space, operand.first, operand.last)
            && other.then.purges.latest == operand.then.purges.latest
            && other.then.storage.ptr_eq(&operand.then.storage)
    };
    if !state.host[&cpu].operands.last().is_some_and(again) {
        state.host[&cpu].operands.push(operand);
    }
}

/// Whether two answers are the same for whoever asked.
fn alike(one: &Result<&Translation, Fault>, other: &Result<&Translation, Fault>) -> bool {
    match (one, other) {
        (Ok(one), Ok(other)) => (one.frame, one.protected, one.large) == (other.frame, other.protected, other.large),
        (Err(one), Err(other)) => one == other,
        _ => false,
    }
}

impl Operand {
    fn has(&self, (space, page): (Space, u64)) -> bool {
        self.space == space && (self.first..=self.last).contains(&page)
    }
}

impl State {
    /// The translations of a page that a CPU may have kept.
    fn kept(&self, cpu: CpuNumber, page: (Space, u64)) -> Vec<Kept> {
        let host = &self.host[&cpu];
        let all = host.buffer.get(&page).map_or(&[][..], |all| all.as_slice());
        let mut kept: Vec<Kept> = all.iter().filter(|kept| !self.is_purged(kept)).cloned().collect();
        for operand in host.operands.iter().filter(|operand| operand.has(page)) {
            let Ok(found) = walk(&operand.then, page.0.asce, VirtualAddress(page.1 * FRAME)) else { continue };
            let prefix = if page.0.real { host.prefix } else { 0 };
            let translation = Translation { frame: prefixed(prefix, found.frame), ..found };
            let found = Kept { translation, since: operand.then.purges.latest };
            if !self.is_purged(&found) && !kept.iter().any(|kept| kept.translation == found.translation) {
                kept.push(found);
            }
        }
        kept
    }

    /// Whether nothing but this may have been kept, which is what mostly is.
    fn keeps_only(&self, cpu: CpuNumber, page: (Space, u64), fresh: &Result<Translation, Fault>) -> bool {
        match (self.host[&cpu].buffer.get(&page).map(Vec::as_slice), fresh) {
            (Some([only]), Ok(fresh)) => {
                only.translation == *fresh
                    && !self.is_purged(only)
                    && !self.host[&cpu].operands.iter().any(|operand| operand.has(page))
            }
            _ => false,
        }
    }

    fn is_purged(&self, kept: &Kept) -> bool {
        let later = |purge: Option<&u64>| purge.is_some_and(|&purge| purge > kept.since);
        later(self.purges.frames.get(&kept.translation.frame))
            || kept.translation.entries.iter().any(|entry| later(self.purges.entries.get(entry)))
    }

    /// After an access: what was used comes to the front, what the tables say was perhaps kept from now on.
    fn keep(
        &mut self,
        cpu: CpuNumber,
        page: (Space, u64),
        mut kept: Vec<Kept>,
        used: &Result<Translation, Fault>,
        fresh: &Result<Translation, Fault>,
    ) {
        if let Ok(fresh) = fresh
            && !kept.iter().any(|kept| kept.translation == *fresh)
        {
            kept.push(Kept { translation: fresh.clone(), since: self.purges.latest });
        }
        if let Some(at) = kept.iter().position(|kept| used.as_ref() == Ok(&kept.translation)) {
            kept[..=at].rotate_right(1);
        }
        if self.host[&cpu].buffer.get(&page).map_or(&[][..], |all| all.as_slice()) != kept.as_slice() {
            self.host[&cpu].buffer.insert(page, kept);
        }
    }

    /// Drops every translation that yields this frame, in all spaces, on all CPUs (D56).
    pub(crate) fn purge_frame(&mut self, frame: FrameNumber) {
        self.purges.latest += 1;
        self.purges.frames.insert(frame, self.purges.latest);
    }

    /// The same for a stretch of frames. A look at all that is kept is dear; so are thousands of numbered purges.
    pub(crate) fn purge_frames(&mut self, first: FrameNumber, count: u64) {
        if count <= 64 {
            (first.0..first.0 + count).for_each(|frame| self.purge_frame(FrameNumber(frame)));
            return;
        }
        let yields = |kept: &Kept| kept.translation.frame.0.wrapping_sub(first.0) < count;
        let cpus: Vec<CpuNumber> = self.host.keys().copied().collect();
        for cpu in cpus {
            let hit = self.host[&cpu].buffer.iter().filter(|(_, kept)| kept.iter().any(yields));
            let pages: Vec<(Space, u64)> = hit.map(|(&page, _)| page).collect();
            for page in pages {
                if let Some(kept) = self.host[&cpu].buffer.get_mut(&page) {
                    kept.retain(|kept| !yields(kept));
                }
            }
        }
    }

    /// Drops every translation that was formed through this table entry, on all CPUs (IPTE, IDTE).
    pub(crate) fn purge_entry(&mut self, entry: AbsoluteAddress) {
        self.purges.latest += 1;
        self.purges.entries.insert(entry, self.purges.latest);
    }

    /// Drops everything that was formed with this ASCE, on all CPUs (IDTE by ASCE).
    pub(crate) fn purge_space(&mut self, asce: u64) {
        let spaces = [Space::of_host(asce), Space::of_guest(asce)];
        let cpus: Vec<CpuNumber> = self.host.keys().copied().collect();
        for cpu in cpus {
            for space in spaces {
                self.host[&cpu].operands.retain(|operand| operand.space != space);
                let buffer = &mut self.host[&cpu].buffer;
                let pages: Vec<_> = buffer.range((space, 0)..=(space, u64::MAX)).map(|(page, _)| *page).collect();
                for page in pages {
                    buffer.remove(&page);
                }
            }
        }
    }

    /// Drops everything on one CPU (PTLB, SET PREFIX).
    pub(crate) fn purge_cpu(&mut self, cpu: CpuNumber) {
        self.host[&cpu].buffer.clear();
        self.host[&cpu].operands.clear();
    }
}

/// Exchanges the first 8 KiB and the 8 KiB at the prefix.
pub(crate) fn prefixed(prefix: u64, frame: FrameNumber) -> FrameNumber {
    let prefix = prefix / FRAME;
    match frame.0 {
        low @ 0..2 => FrameNumber(prefix + low),
        high if high.wrapping_sub(prefix) < 2 => FrameNumber(high - prefix),
        other => FrameNumber(other),
    }
}

/// A table level from which the walk goes down.
struct Level {
    /// What the type fields of ASCE and entries say.
    number: u64,
    /// First address bit of the index.
    shift: u32,
    /// Translation exception of the level.
    exception: u16,
}

const LEVELS: [Level; 4] = [
    Level { number: 3, shift: 53, exception: 0x39 },
    Level { number: 2, shift: 42, exception: 0x3a },
    Level { number: 1, shift: 31, exception: 0x3b },
    Level { number: 0, shift: 20, exception: SEGMENT },
];

/// Walks the tables of a space as they are now. The result is not prefixed, and may lie outside storage.
pub(crate) fn walk(state: &State, asce: u64, address: VirtualAddress) -> Result<Translation, Fault> {
    let mut found =
        Translation { frame: FrameNumber(address.0 / FRAME), protected: false, large: false, entries: vec![] };
    if asce & REAL_SPACE != 0 {
        return Ok(found);
    }
    let top = (asce & TYPE) >> 2;
    if top < 3 && address.0 >> (31 + 11 * top) != 0 {
        return Err(Fault::Exception(ASCE_TYPE));
    }
    let (mut origin, mut first, mut last) = (asce & ORIGIN, 0, asce & LENGTH);
    for level in LEVELS.iter().filter(|level| level.number <= top) {
        let index = address.0 >> level.shift & 0x7ff;
        if !(first..=last).contains(&(index >> 9)) {
            return Err(Fault::Exception(level.exception));
        }
        let entry = fetch(state, origin, index, &mut found)?;
        if entry & INVALID != 0 {
            return Err(Fault::Exception(level.exception));
        }
        let common = level.number < 2 && entry & COMMON != 0 && asce & PRIVATE != 0;
        if (entry & TYPE) >> 2 != level.number || common {
            return Err(Fault::Exception(SPECIFICATION));
        }
        found.protected |= entry & PROTECTED != 0;
        if level.number < 2 && entry & FORMAT != 0 {
            let offset = (1 << level.shift) - 1;
            found.frame = FrameNumber((entry & !offset | address.0 & offset) / FRAME);
            found.large = true;
            return Ok(found);
        }
        (origin, first, last) = (entry & ORIGIN, entry >> 6 & 3, entry & LENGTH);
        if level.number == 0 {
            return page(state, entry & !0x7ff, address, found);
        }
    }
    Ok(found)
}

/// The last step: the page table.
fn page(state: &State, origin: u64, address: VirtualAddress, mut found: Translation) -> Result<Translation, Fault> {
    let entry = fetch(state, origin, address.0 >> 12 & 0xff, &mut found)?;
    if entry & PAGE_INVALID != 0 {
        return Err(Fault::Exception(PAGE));
    }
    if entry & PAGE_ZERO != 0 {
        return Err(Fault::Exception(SPECIFICATION));
    }
    found.protected |= entry & PROTECTED != 0;
    found.frame = FrameNumber(entry / FRAME);
    Ok(found)
}

/// Fetches a table entry: a non-secure access to absolute storage.
fn fetch(state: &State, origin: u64, index: u64, found: &mut Translation) -> Result<u64, Fault> {
    let at = AbsoluteAddress(origin.checked_add(index * 8).ok_or(Fault::Exception(ADDRESSING))?);
    if !state.has_storage(at, 8) {
        return Err(Fault::Exception(ADDRESSING));
    }
    let zone = state.zone(FrameNumber(at.0 / FRAME));
    if let Verdict::Deny(..) = access::check(state, Requestor::NonSecure, zone) {
        return Err(Fault::SecureTable(at));
    }
    found.entries.push(at);
    Ok(state.doubleword(at))
}
