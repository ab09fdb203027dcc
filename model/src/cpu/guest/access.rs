//! Storage accesses of a guest CPU: translation under the configuration's ASCE, then the zone check.

use super::{GuestCpu, GuestEvent};
use crate::address::{FrameNumber, GuestAddress, PAGE_SIZE, PageIndex, VirtualAddress};
use crate::storage::arena::Access;
use crate::storage::dat;
use crate::storage::{AccessKind, AddressSpace, ProgramCode, ProgramInterruption, Tag, Teid, Verdict, check};
use crate::witness::{GuestStep, Outcome};

impl<'m> GuestCpu<'_, 'm> {
    /// Loads bytes.
    ///
    /// # Errors
    /// The guest's own addressing exception beyond its storage (T22), or an exit: translation, protection,
    /// 0x3c, 0x3e, 0x3f (T13–T17, T21). Nothing has been loaded then.
    #[inline(always)]
    pub fn load(&mut self, address: GuestAddress, bytes: &mut [u8]) -> Result<(), GuestEvent> {
        if self.load_directly(address, bytes) {
            return Ok(());
        }
        self.load_slowly(address, bytes)
    }

    /// Loads on the way of another step.
    pub(super) fn load_within(&mut self, address: GuestAddress, bytes: &mut [u8]) -> Result<(), GuestEvent> {
        if self.load_directly(address, bytes) {
            return Ok(());
        }
        self.load_pages(address, bytes)
    }

    #[inline(always)]
    fn load_directly(&self, address: GuestAddress, bytes: &mut [u8]) -> bool {
        let offset = (address.0 % PAGE_SIZE) as usize;
        if bytes.len() <= PAGE_SIZE as usize - offset
            && let Some((access, _)) = self.buffered(address, AccessKind::Fetch)
        {
            access.load(offset, bytes);
            return true;
        }
        false
    }

    #[inline(never)]
    fn load_slowly(&mut self, address: GuestAddress, bytes: &mut [u8]) -> Result<(), GuestEvent> {
        let done = self.load_pages(address, bytes);
        let outcome = match done {
            Ok(()) => Outcome::Loaded(bytes),
            Err(event) => Outcome::Guest(event),
        };
        self.tell(GuestStep::Load(address, bytes.len() as u64), outcome);
        done
    }

    fn load_pages(&mut self, address: GuestAddress, bytes: &mut [u8]) -> Result<(), GuestEvent> {
        self.probe(address, bytes.len() as u64, AccessKind::Fetch)?;
        let mut at = address;
        let mut rest = bytes;
        while !rest.is_empty() {
            let offset = (at.0 % PAGE_SIZE) as usize;
            let len = rest.len().min(PAGE_SIZE as usize - offset);
            let (part, tail) = rest.split_at_mut(len);
            self.access(at, AccessKind::Fetch)?.0.load(offset, part);
            at = GuestAddress(at.0.wrapping_add(len as u64));
            rest = tail;
        }
        Ok(())
    }

    /// Stores bytes.
    ///
    /// # Errors
    /// As [`GuestCpu::load`]. Nothing has been stored then.
    #[inline(always)]
    pub fn store(&mut self, address: GuestAddress, bytes: &[u8]) -> Result<(), GuestEvent> {
        if self.store_directly(address, bytes) {
            return Ok(());
        }
        self.store_slowly(address, bytes)
    }

    /// Stores on the way of another step.
    pub(super) fn store_within(&mut self, address: GuestAddress, bytes: &[u8]) -> Result<(), GuestEvent> {
        if self.store_directly(address, bytes) {
            return Ok(());
        }
        self.store_pages(address, bytes)
    }

    #[inline(always)]
    fn store_directly(&self, address: GuestAddress, bytes: &[u8]) -> bool {
        let offset = (address.0 % PAGE_SIZE) as usize;
        if bytes.len() <= PAGE_SIZE as usize - offset
            && let Some((access, _)) = self.buffered(address, AccessKind::Store)
        {
            access.store(offset, bytes);
            return true;
        }
        false
    }

    #[inline(never)]
    fn store_slowly(&mut self, address: GuestAddress, bytes: &[u8]) -> Result<(), GuestEvent> {
        let done = self.store_pages(address, bytes);
        self.tell(GuestStep::Store(address, bytes), Outcome::of_guest(&done));
        done
    }

    fn store_pages(&mut self, address: GuestAddress, bytes: &[u8]) -> Result<(), GuestEvent> {
        self.probe(address, bytes.len() as u64, AccessKind::Store)?;
        let mut at = address;
        let mut rest = bytes;
        while !rest.is_empty() {
            let offset = (at.0 % PAGE_SIZE) as usize;
            let (part, tail) = rest.split_at(rest.len().min(PAGE_SIZE as usize - offset));
            self.access(at, AccessKind::Store)?.0.store(offset, part);
            at = GuestAddress(at.0.wrapping_add(part.len() as u64));
            rest = tail;
        }
        Ok(())
    }

    /// PREFETCH DATA: a hint that a byte will be accessed soon. It may form a translation; it recognises no
    /// exception, touches nothing and makes nobody leave SIE.
    #[inline]
    pub fn prefetch(&mut self, address: GuestAddress) {
        let absolute = dat::apply_prefix(address.0, self.prefix).0;
        if absolute < self.reach {
            self.prefetch_within(absolute);
        } else if self.host.machine.is_watched() {
            // Nothing is in reach then.
            if self.exit.is_none() && absolute < self.size {
                self.prefetch_within(absolute);
            }
            self.tell(GuestStep::Prefetch(address), Outcome::Done);
        }
    }

    #[inline]
    fn prefetch_within(&mut self, absolute: u64) {
        let at = VirtualAddress(self.origin + absolute);
        if let Ok(located) = self.host.translate_in(self.space, at, AccessKind::Fetch, AddressSpace::Primary, false) {
            self.host.storage().fetch_byte_ahead(located.frame, (absolute % PAGE_SIZE) as usize);
        }
    }

    /// Checks access to every page of a stretch.
    pub(super) fn probe(&mut self, address: GuestAddress, len: u64, kind: AccessKind) -> Result<(), GuestEvent> {
        let mut covered = 0;
        while covered < len {
            let at = GuestAddress(address.0.wrapping_add(covered));
            drop(self.access(at, kind)?);
            covered += PAGE_SIZE - at.0 % PAGE_SIZE;
        }
        Ok(())
    }

    /// An access that needs no walk and that the zone entry permits: most of them. `None` sends the caller
    /// the long way, which tells why.
    #[inline(always)]
    fn buffered(&self, address: GuestAddress, kind: AccessKind) -> Option<(Access<'m>, PageIndex)> {
        // Prefixing with 0 changes nothing, and nearly all guests leave it at that.
        let absolute = if self.prefix == 0 { address.0 } else { dat::apply_prefix(address.0, self.prefix).0 };
        if absolute >= self.reach {
            return None;
        }
        let page = PageIndex(absolute / PAGE_SIZE);
        let (access, zone) = self.host.buffered(self.space, VirtualAddress(self.origin + absolute), kind, 0)?;
        (check(Tag::Guest(self.domain, page), zone) == Verdict::Allow).then_some((access, page))
    }

    /// Translation and zone check of one page: an access in progress, and the page.
    pub(super) fn access(
        &mut self,
        address: GuestAddress,
        kind: AccessKind,
    ) -> Result<(Access<'m>, PageIndex), GuestEvent> {
        match self.buffered(address, kind) {
            Some(access) => Ok(access),
            None => self.access_slowly(address, kind),
        }
    }

    #[inline(never)]
    fn access_slowly(
        &mut self,
        address: GuestAddress,
        kind: AccessKind,
    ) -> Result<(Access<'m>, PageIndex), GuestEvent> {
        let (frame, page) = self.locate(address, kind)?;
        let access = self.host.begin(frame);
        match check(Tag::Guest(self.domain, page), access.zone()) {
            Verdict::Allow => Ok((access, page)),
            verdict => {
                drop(access);
                Err(self.refuse(verdict, address, kind))
            }
        }
    }

    /// The frame and the page at an address, without the zone check.
    fn locate(&mut self, address: GuestAddress, kind: AccessKind) -> Result<(FrameNumber, PageIndex), GuestEvent> {
        if let Some(exit) = self.exit {
            return Err(GuestEvent::Exit(exit));
        }
        let absolute = dat::apply_prefix(address.0, self.prefix).0;
        if absolute >= self.size {
            return Err(GuestEvent::Program(ProgramInterruption::new(ProgramCode::Addressing)));
        }
        let at = VirtualAddress(self.origin + absolute);
        let located = match self.host.translate_in(self.space, at, kind, AddressSpace::Primary, false) {
            Ok(located) => located,
            Err(interruption) => return Err(self.exit_with(interruption)),
        };
        if located.large {
            let teid = Teid::new(at.0, kind, AddressSpace::Primary);
            return Err(self.exit_with(ProgramInterruption { code: ProgramCode::SecurePageSize, teid }));
        }
        Ok((located.frame, PageIndex(absolute / PAGE_SIZE)))
    }

    /// The interruption that a refused access gives to the host (D19).
    #[cold]
    pub(super) fn refuse(&mut self, verdict: Verdict, address: GuestAddress, kind: AccessKind) -> GuestEvent {
        let absolute = dat::apply_prefix(address.0, self.prefix).0;
        let teid = Teid::new(self.origin + absolute, kind, AddressSpace::Primary);
        let interruption = match verdict {
            Verdict::SecureStorageViolation if self.host.machine.firmware.misc() => {
                ProgramInterruption { code: ProgramCode::SecureStorageViolation, teid: teid.with_bit_61() }
            }
            Verdict::SecureStorageViolation => ProgramInterruption { code: ProgramCode::SecureStorageViolation, teid },
            _ => ProgramInterruption { code: ProgramCode::NonSecureStorageAccess, teid },
        };
        self.exit_with(interruption)
    }
}
