//! Address spaces: region, segment and page tables that the kernel builds in absolute storage.

use super::intervals::Intervals;
use super::{Kernel, LOWCORE_FRAMES, Stop, WINDOW, WINDOW_MEBIBYTES};
use std::collections::BTreeMap;
use std::sync::Arc;
use uvsim_model::address::{AbsoluteAddress, FrameNumber, MEBIBYTE, PAGE_SIZE, VirtualAddress};
use uvsim_model::storage::Asce;

/// An address space.
#[derive(Clone, Debug, Default)]
pub(super) struct Space {
    pub(super) asce: Asce,
    top: u32,
    /// (shift of the level, address >> that shift) → table that the entry names.
    tables: BTreeMap<(u32, u64), AbsoluteAddress>,
}

/// The host's own space. Lanes on threads share it.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) space: Space,
    /// MiB of the window that nobody uses.
    window: Intervals,
}

impl Default for Home {
    fn default() -> Self {
        Self { space: Space::default(), window: Intervals::new(0..WINDOW_MEBIBYTES) }
    }
}

const REGION_SECOND: u32 = 42;
const REGION_THIRD: u32 = 31;
const SEGMENT: u32 = 20;
const PAGE: u32 = 12;

const PRIVATE: u64 = 0x100;
const FULL_LENGTH: u64 = 3;
const LARGE: u64 = 0x400;
const INVALID: u64 = 0x20;
const PAGE_INVALID: u64 = 0x400;
pub(super) const TABLE_FRAMES: u64 = 4;

const fn table_type(shift: u32) -> u64 {
    match shift {
        REGION_SECOND => 0x8,
        REGION_THIRD => 0x4,
        _ => 0,
    }
}

const fn next(shift: u32) -> u32 {
    match shift {
        REGION_SECOND => REGION_THIRD,
        REGION_THIRD => SEGMENT,
        _ => PAGE,
    }
}

impl Space {
    /// Whether it covers at most 2 GiB, by a segment table.
    pub(super) fn is_segment_type(&self) -> bool {
        self.top == SEGMENT
    }
}

impl Kernel<'_> {
    /// The home space: a region-second table; virtual = real for all storage, by 2 GiB and 1 MiB entries (D61).
    pub(super) fn build_home(&mut self) -> Result<(), Stop> {
        let mut space = self.new_space(REGION_SECOND, 0)?;
        let size = self.machine.storage_size();
        let mut at = 0;
        while at < size {
            if size - at >= 1 << REGION_THIRD {
                let table = self.descend(&mut space, at, REGION_THIRD)?;
                self.put_u64(entry(table, at, REGION_THIRD), at | table_type(REGION_THIRD) | LARGE)?;
                at += 1 << REGION_THIRD;
            } else {
                let table = self.descend(&mut space, at, SEGMENT)?;
                self.put_u64(entry(table, at, SEGMENT), at | LARGE)?;
                at += MEBIBYTE;
            }
        }
        self.home.lock().space = space;
        Ok(())
    }

    /// The space of a guest: the smallest that covers it, private (D62).
    pub(super) fn build_guest_space(&mut self, guest: usize) -> Result<(), Stop> {
        let size = self.guests[guest].plan.memory;
        let top = [SEGMENT, REGION_THIRD, REGION_SECOND]
            .into_iter()
            .find(|&shift| size <= 1 << (shift + 11))
            .unwrap_or(REGION_SECOND);
        self.guests[guest].space = self.new_space(top, PRIVATE)?;
        Ok(())
    }

    /// A copy of the top table takes the place of the one that the address-space-control element names. The tables
    /// below stay, and with them all mappings. Returns the old element.
    pub(super) fn replace_asce(&mut self, cpu: u16, guest: usize) -> Result<Asce, Stop> {
        let old = self.guests[guest].space.asce;
        let table = self.allocate(TABLE_FRAMES, TABLE_FRAMES, "translation tables")?;
        let mut image = vec![0; (TABLE_FRAMES * PAGE_SIZE) as usize];
        self.cpu(cpu).load(VirtualAddress(old.origin().0), &mut image)?;
        self.put(table, &image)?;
        self.guests[guest].space.asce = Asce(table.0 | old.0 & (PAGE_SIZE - 1));
        Ok(old)
    }

    fn new_space(&mut self, top: u32, flags: u64) -> Result<Space, Stop> {
        let table = self.new_table(top)?;
        let asce = Asce(table.0 | flags | table_type(top) | FULL_LENGTH);
        Ok(Space { asce, top, tables: BTreeMap::new() })
    }

    /// A table of invalid entries; page tables have a frame to themselves.
    fn new_table(&mut self, shift: u32) -> Result<AbsoluteAddress, Stop> {
        let (frames, invalid) = if shift == PAGE { (1, PAGE_INVALID) } else { (TABLE_FRAMES, INVALID) };
        let table = self.allocate(frames, frames, "translation tables")?;
        let image: Vec<u8> = invalid.to_be_bytes().repeat((frames * PAGE_SIZE / 8) as usize);
        self.put(table, &image)?;
        Ok(table)
    }

    /// The table of level `wanted` that covers an address, made if it is missing.
    fn descend(&mut self, space: &mut Space, address: u64, wanted: u32) -> Result<AbsoluteAddress, Stop> {
        let mut table = space.asce.origin();
        let mut shift = space.top;
        while shift != wanted {
            let key = (shift, address >> shift);
            let below = next(shift);
            table = match space.tables.get(&key) {
                Some(&found) => found,
                None => {
                    let made = self.new_table(below)?;
                    let length = if below == PAGE { 0 } else { FULL_LENGTH };
                    self.put_u64(entry(table, address, shift), made.0 | table_type(shift) | length)?;
                    space.tables.insert(key, made);
                    made
                }
            };
            shift = below;
        }
        Ok(table)
    }

    /// Maps a frame at a guest page. An old mapping is replaced, and purged if `purge` says so.
    pub(super) fn set_mapping(
        &mut self,
        cpu: u16,
        guest: usize,
        page: u64,
        frame: FrameNumber,
        purge: bool,
    ) -> Result<(), Stop> {
        let mut space = core::mem::take(&mut self.guests[guest].space);
        let table = self.descend(&mut space, page * PAGE_SIZE, PAGE);
        self.guests[guest].space = space;
        let table = table?;
        let address = page * PAGE_SIZE;
        if purge {
            self.cpu(cpu).ipte(table, VirtualAddress(address))?;
        }
        self.put_u64(entry(table, address, PAGE), frame.address().0)?;
        Ok(())
    }

    /// Removes the mapping of a guest page.
    pub(super) fn clear_mapping(&mut self, cpu: u16, guest: usize, page: u64, purge: bool) -> Result<(), Stop> {
        let address = page * PAGE_SIZE;
        let Some(&table) = self.guests[guest].space.tables.get(&(SEGMENT, address >> SEGMENT)) else { return Ok(()) };
        if purge {
            self.cpu(cpu).ipte(table, VirtualAddress(address))?;
        }
        self.put_u64(entry(table, address, PAGE), PAGE_INVALID)?;
        Ok(())
    }

    /// Maps frames contiguously into the window, by 1 MiB entries where whole aligned MiB allow it, and
    /// returns the address and the MiB taken.
    pub(super) fn map_window(&mut self, frames: &[FrameNumber]) -> Result<(VirtualAddress, u64), Stop> {
        let mebibytes = (frames.len() as u64 * PAGE_SIZE).div_ceil(MEBIBYTE);
        let home = Arc::clone(&self.home);
        let Home { space, window } = &mut *home.lock();
        let first = window.take(mebibytes, 1).ok_or_else(|| Stop::OutOfStorage {
            what: "the window for variable storage".into(),
            needed: mebibytes * MEBIBYTE,
            available: window.total() * MEBIBYTE,
        })?;
        let start = WINDOW + first * MEBIBYTE;
        self.fill_window(space, start, frames)?;
        Ok((VirtualAddress(start), mebibytes))
    }

    fn fill_window(&mut self, space: &mut Space, start: u64, frames: &[FrameNumber]) -> Result<(), Stop> {
        const PER_SEGMENT: usize = (MEBIBYTE / PAGE_SIZE) as usize;
        for (index, part) in (0u64..).zip(frames.chunks(PER_SEGMENT)) {
            let at = start + index * MEBIBYTE;
            let segments = self.descend(space, at, SEGMENT)?;
            let origin = part[0].address().0;
            let whole = part.len() == PER_SEGMENT
                && origin % MEBIBYTE == 0
                && part.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0);
            if whole {
                self.put_u64(entry(segments, at, SEGMENT), origin | LARGE)?;
                continue;
            }
            let pages = self.descend(space, at, PAGE)?;
            for (page, frame) in (0u64..).zip(part) {
                self.put_u64(entry(pages, at + page * PAGE_SIZE, PAGE), frame.address().0)?;
            }
        }
        Ok(())
    }

    /// Gives a part of the window back.
    pub(super) fn unmap_window(&mut self, start: VirtualAddress, mebibytes: u64) -> Result<(), Stop> {
        let home = Arc::clone(&self.home);
        let Home { space, window } = &mut *home.lock();
        for index in 0..mebibytes {
            let at = start.0 + index * MEBIBYTE;
            let Some(&segments) = space.tables.get(&(REGION_THIRD, at >> REGION_THIRD)) else { continue };
            self.cpu(self.own_cpu()).idte_segment(segments, VirtualAddress(at))?;
            self.put_u64(entry(segments, at, SEGMENT), INVALID)?;
            if let Some(pages) = space.tables.remove(&(SEGMENT, at >> SEGMENT)) {
                self.free_frames(pages, 1);
            }
        }
        let first = (start.0 - WINDOW) / MEBIBYTE;
        window.give_all(first..first + mebibytes);
        Ok(())
    }
}

fn entry(table: AbsoluteAddress, address: u64, shift: u32) -> AbsoluteAddress {
    let mask = if shift == PAGE { 0xff } else { 0x7ff };
    AbsoluteAddress(table.0 + (address >> shift & mask) * 8)
}

const _: () = assert!(LOWCORE_FRAMES * PAGE_SIZE == 0x2000);
