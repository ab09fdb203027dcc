//! What the host does to guest pages: map, page out, page in, move, and the calls on single pages.

use super::{Kernel, Observed, Stop};
use crate::scenario::Outcome;
use std::ops::Range;
use uvsim_model::address::{FrameNumber, PAGE_SIZE, VirtualAddress};
use uvsim_model::storage::{FrameState, ProgramInterruption};
use uvsim_model::uvc::Command;

/// A page of bytes.
pub type PageBytes = [u8; PAGE_SIZE as usize];

const ZEROS: PageBytes = [0; PAGE_SIZE as usize];

impl Kernel<'_> {
    /// The frame that the host has mapped at a guest page.
    #[must_use]
    pub fn mapped(&self, guest: usize, page: u64) -> Option<FrameNumber> {
        self.guests[guest].mapped.get(page).copied()
    }

    /// The pages of a range that have a frame, ascending.
    pub(crate) fn mapped_pages(&self, guest: usize, pages: Range<u64>) -> impl Iterator<Item = u64> {
        self.guests[guest].mapped.within(pages)
    }

    /// How often frames have been mapped and unmapped at pages of a guest.
    pub(crate) fn remappings(&self, guest: usize) -> u64 {
        self.guests[guest].remappings
    }

    /// The frame at a guest page; one is mapped first if there is none, with the swapped-out bytes if there
    /// are any, else zeroed, as user memory does.
    pub(super) fn frame_of(&mut self, cpu: u16, guest: usize, page: u64) -> Result<FrameNumber, Stop> {
        match self.mapped(guest, page) {
            Some(frame) => Ok(frame),
            None => self.map_fresh(cpu, guest, page),
        }
    }

    /// Maps a fresh frame with the swapped-out bytes, else zeroed.
    fn map_fresh(&mut self, cpu: u16, guest: usize, page: u64) -> Result<FrameNumber, Stop> {
        let frame = self.allocate(1, 1, "a guest page")?.frame();
        let swapped = self.guests[guest].swap.take(page);
        let bytes: &PageBytes = swapped.as_deref().unwrap_or(&ZEROS);
        let filled = self.cpu(cpu).store(VirtualAddress(frame.address().0), bytes);
        let done = filled.map_err(Stop::from).and_then(|()| self.map(cpu, guest, page, frame, true));
        let swap = &mut self.guests[guest].swap;
        match (&done, swapped) {
            (Ok(()), Some(bytes)) => swap.recycle(bytes),
            (Err(_), Some(bytes)) => swap.put(page, bytes),
            (_, None) => {}
        }
        if done.is_err() {
            self.release(frame);
        }
        done.map(|()| frame)
    }

    /// Maps a frame at a page; the frame that was there is given up if nothing else maps it.
    fn map(&mut self, cpu: u16, guest: usize, page: u64, frame: FrameNumber, purge: bool) -> Result<(), Stop> {
        self.set_mapping(cpu, guest, page, frame, purge)?;
        self.frames.lock().link(frame);
        let record = &mut self.guests[guest];
        record.remappings += 1;
        if let Some(old) = record.mapped.insert(page, frame) {
            self.unlink(old);
        }
        Ok(())
    }

    fn unlink(&mut self, frame: FrameNumber) {
        let last = self.frames.lock().unlink(frame);
        if last {
            self.release(frame);
        }
    }

    /// `host unmap`.
    ///
    /// # Errors
    /// No frame is mapped.
    pub fn unmap(&mut self, cpu: u16, guest: usize, page: u64, purge: bool) -> Result<Observed, Stop> {
        let Some(frame) = self.mapped(guest, page) else { return Err(Observed::UNMAPPED.into()) };
        self.clear_mapping(cpu, guest, page, purge)?;
        let record = &mut self.guests[guest];
        record.remappings += 1;
        record.mapped.remove(page);
        self.unlink(frame);
        Ok(Observed::OK)
    }

    /// `host read`: raw bytes of the frame, mapped first if there is none.
    ///
    /// # Errors
    /// The interruption of the access.
    pub fn read(&mut self, cpu: u16, guest: usize, page: u64, offset: u64, bytes: &mut [u8]) -> Result<Observed, Stop> {
        let frame = self.frame_of(cpu, guest, page)?;
        let at = VirtualAddress(frame.address().0 + offset);
        self.cpu(cpu).load(at, bytes).map_err(|it| self.named(it, frame))?;
        Ok(Observed::OK)
    }

    /// `host write`: raw bytes of the frame, mapped first if there is none.
    ///
    /// # Errors
    /// The interruption of the access.
    pub fn write(&mut self, cpu: u16, guest: usize, page: u64, offset: u64, bytes: &[u8]) -> Result<Observed, Stop> {
        let frame = self.frame_of(cpu, guest, page)?;
        let at = VirtualAddress(frame.address().0 + offset);
        self.cpu(cpu).store(at, bytes).map_err(|it| self.named(it, frame))?;
        Ok(Observed::OK)
    }

    /// A host access that was refused, with the row that says so.
    fn named(&self, interruption: ProgramInterruption, frame: FrameNumber) -> Observed {
        let refused = Observed::interruption(interruption);
        if refused.outcome != Outcome::SecureStorageAccess {
            return refused;
        }
        let rule = match self.machine.frame_state(frame) {
            FrameState::Donated(_) => "T2",
            FrameState::Secure(owner, _) if self.machine.is_discarded(owner) => "T9",
            _ => refused.rule,
        };
        Observed { rule, ..refused }
    }

    /// `host flip`: bit 0 is the leftmost of byte 0.
    ///
    /// # Errors
    /// The interruption of the access.
    pub fn flip(&mut self, cpu: u16, guest: usize, page: u64, bit: u16) -> Result<Observed, Stop> {
        let mut byte = [0];
        let offset = u64::from(bit / 8);
        self.read(cpu, guest, page, offset, &mut byte)?;
        byte[0] ^= 0x80 >> (bit % 8);
        self.write(cpu, guest, page, offset, &byte)
    }

    /// The frame of a guest page for a transfer of a device; one is mapped first if there is none.
    ///
    /// # Errors
    /// The host has no frame left.
    pub(crate) fn frame_for_device(&mut self, guest: usize, page: u64) -> Result<FrameNumber, Stop> {
        self.frame_of(self.own_cpu(), guest, page)
    }

    /// `device read`: channel I/O from the frame, mapped first if there is none.
    ///
    /// # Errors
    /// A refusal of the channel.
    pub fn device_read(&mut self, guest: usize, page: u64, offset: u64, bytes: &mut [u8]) -> Result<Observed, Stop> {
        let frame = self.frame_for_device(guest, page)?;
        let at = uvsim_model::address::AbsoluteAddress(frame.address().0 + offset);
        let read = self.machine.channel().read(at, bytes);
        read.map(|()| Observed::OK).map_err(|_| Observed::plain(Outcome::IoRefused, "T11").into())
    }

    /// `device write`: channel I/O to the frame, mapped first if there is none.
    ///
    /// # Errors
    /// A refusal of the channel.
    pub fn device_write(&mut self, guest: usize, page: u64, offset: u64, bytes: &[u8]) -> Result<Observed, Stop> {
        let frame = self.frame_for_device(guest, page)?;
        let at = uvsim_model::address::AbsoluteAddress(frame.address().0 + offset);
        let written = self.machine.channel().write(at, bytes);
        written.map(|()| Observed::OK).map_err(|_| Observed::plain(Outcome::IoRefused, "T11").into())
    }

    /// A call that takes the frame mapped at a page.
    fn frame_call(&mut self, cpu: u16, command: Command, guest: usize, page: u64) -> Result<Observed, Stop> {
        let Some(frame) = self.mapped(guest, page) else { return Err(Observed::UNMAPPED.into()) };
        self.must(cpu, command, &[("paddr", frame.address().0)])
    }

    /// `host export`.
    ///
    /// # Errors
    /// No frame, or a refusal.
    pub fn export(&mut self, cpu: u16, guest: usize, page: u64) -> Result<Observed, Stop> {
        self.frame_call(cpu, Command::ConvFromSecStor, guest, page)
    }

    /// `host destroy`.
    ///
    /// # Errors
    /// No frame, or a refusal.
    pub fn destroy(&mut self, cpu: u16, guest: usize, page: u64) -> Result<Observed, Stop> {
        self.frame_call(cpu, Command::DestrSecStor, guest, page)
    }

    /// `host pin`.
    ///
    /// # Errors
    /// No frame, or a refusal.
    pub fn pin(&mut self, cpu: u16, guest: usize, page: u64) -> Result<Observed, Stop> {
        self.frame_call(cpu, Command::PinPageShared, guest, page)
    }

    /// `host make-accessible`: pin if shared, else export.
    ///
    /// # Errors
    /// No frame, or a refused export.
    pub fn make_accessible(&mut self, cpu: u16, guest: usize, page: u64) -> Result<Observed, Stop> {
        match self.pin(cpu, guest, page) {
            Err(Stop::Outcome(observed)) if observed.outcome == Outcome::Refused => self.export(cpu, guest, page),
            other => other,
        }
    }

    /// `host import`: one call, whatever is mapped.
    ///
    /// # Errors
    /// A refusal.
    pub fn import(&mut self, cpu: u16, guest: usize, page: u64) -> Result<Observed, Stop> {
        self.page_call(cpu, Command::ConvToSecStor, guest, page)
    }

    /// `host unpin`: one call, whatever is mapped.
    ///
    /// # Errors
    /// A refusal.
    pub fn unpin(&mut self, cpu: u16, guest: usize, page: u64) -> Result<Observed, Stop> {
        self.page_call(cpu, Command::UnpinPageShared, guest, page)
    }

    fn page_call(&mut self, cpu: u16, command: Command, guest: usize, page: u64) -> Result<Observed, Stop> {
        let handle = self.guests[guest].handle;
        self.must(cpu, command, &[("guest-handle", handle), ("gaddr", page.wrapping_mul(PAGE_SIZE))])
    }

    /// `host page-out`: export, copy to the swap store, unmap, free the frame.
    ///
    /// # Errors
    /// No frame, or a refused export.
    pub fn page_out(&mut self, cpu: u16, guest: usize, page: u64) -> Result<Observed, Stop> {
        let answer = self.export(cpu, guest, page)?;
        let mut bytes = self.guests[guest].swap.buffer();
        self.read(cpu, guest, page, 0, &mut bytes[..])?;
        self.unmap(cpu, guest, page, true)?;
        self.guests[guest].swap.put(page, bytes);
        Ok(answer)
    }

    /// `host page-in`: a fresh frame with the stored bytes, else the one it has; then import.
    ///
    /// # Errors
    /// Neither stored bytes nor a frame, or a refused import; the page then keeps its frame.
    pub fn page_in(&mut self, cpu: u16, guest: usize, page: u64) -> Result<Observed, Stop> {
        if self.guests[guest].swap.holds(page) {
            self.map_fresh(cpu, guest, page)?;
        } else if self.mapped(guest, page).is_none() {
            return Err(Observed::UNMAPPED.into());
        }
        self.import(cpu, guest, page)
    }

    /// The answer to a page that a guest misses: a frame is mapped if there is none, as user memory does; then
    /// import.
    ///
    /// # Errors
    /// A refused import; the page then keeps its frame.
    pub fn bring_in(&mut self, cpu: u16, guest: usize, page: u64) -> Result<Observed, Stop> {
        self.frame_of(cpu, guest, page)?;
        self.import_as_linux(cpu, guest, page)
    }

    /// Import as the answer to a fault.
    pub(super) fn import_as_linux(&mut self, cpu: u16, guest: usize, page: u64) -> Result<Observed, Stop> {
        self.export_before_import(cpu, guest, page)?;
        self.import(cpu, guest, page)
    }

    /// Where a machine cannot take over frames that an old configuration shares, and the address space has more
    /// than one configuration, Linux exports the frame first, whatever that comes to.
    pub(super) fn export_before_import(&mut self, cpu: u16, guest: usize, page: u64) -> Result<(), Stop> {
        let record = &self.guests[guest];
        if usize::from(record.live) + record.leftovers.count() < 2 || self.has_misc(cpu)? {
            return Ok(());
        }
        match self.mapped(guest, page) {
            Some(frame) => self.call(cpu, Command::ConvFromSecStor, &[("paddr", frame.address().0)]).map(drop),
            None => Ok(()),
        }
    }

    /// `host move`: a fresh frame with the same bytes; the old one is given up.
    ///
    /// # Errors
    /// The interruption of the access to the old frame.
    pub fn move_page(&mut self, cpu: u16, guest: usize, page: u64, purge: bool) -> Result<Observed, Stop> {
        let mut bytes = [0; PAGE_SIZE as usize];
        self.read(cpu, guest, page, 0, &mut bytes)?;
        let frame = self.allocate(1, 1, "a guest page")?.frame();
        self.cpu(cpu).store(VirtualAddress(frame.address().0), &bytes)?;
        self.map(cpu, guest, page, frame, purge)?;
        Ok(Observed::OK)
    }

    /// `host remap`: maps the first page's address onto the second's frame.
    ///
    /// # Errors
    /// The second page has no frame.
    pub fn remap(&mut self, cpu: u16, from: (usize, u64), to: (usize, u64), purge: bool) -> Result<Observed, Stop> {
        let Some(frame) = self.mapped(to.0, to.1) else { return Err(Observed::UNMAPPED.into()) };
        self.map(cpu, from.0, from.1, frame, purge)?;
        Ok(Observed::OK)
    }

    /// `host copy`: raw frame bytes of the first page to the second's.
    ///
    /// # Errors
    /// The interruption of an access; nothing is written then.
    pub fn copy(&mut self, cpu: u16, from: (usize, u64), to: (usize, u64)) -> Result<Observed, Stop> {
        let mut bytes = [0; PAGE_SIZE as usize];
        self.read(cpu, from.0, from.1, 0, &mut bytes)?;
        self.write(cpu, to.0, to.1, 0, &bytes)
    }
}
