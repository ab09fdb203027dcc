//! A home space that is the process itself: virtual operands of the host are its own pointers.
//!
//! What a pointer into the host's view names is absolute storage, and is checked as such. All else is plain memory of the
//! process: blocks, headers and buffers may lie there; frames are not there, so nothing of it can be donated or imported.

#![allow(unsafe_code, reason = "one function that only its caller can make safe; see its Safety section")]

use super::call::Answer;
use super::host::HostCpu;
use crate::address::{AbsoluteAddress, FrameNumber, PAGE_SIZE, VirtualAddress};
use crate::firmware::Stop;
use crate::storage::{AccessKind, AddressSpace, ProgramCode, ProgramInterruption, Teid, process};
use crate::uvc::{BlockHeader, HEADER_LENGTH, Issuer, general_checks};
use crate::witness::Answered;
use core::ops::Range;

/// Bytes of a block that are loaded before its length is known.
const BEGINNING: usize = 256;

/// Stands for the frame of what lies outside of storage.
pub(super) const OUTSIDE: FrameNumber = FrameNumber(u64::MAX);

impl HostCpu<'_> {
    /// Makes the process this CPU's home space, or ends that; a CPU starts without. While it lasts, virtual operands of
    /// this CPU are native pointers, whatever its registers say: the addresses of loads and stores, control blocks,
    /// headers, state descriptions and areas.
    ///
    /// Pointers into [`crate::Machine::host_view`] name absolute storage. Others are memory of the process: control
    /// blocks, headers and buffers may lie there. A bad pointer is a page-translation exception (0x11), a store to what
    /// is read-only a protection exception (0x04). An area that is to be donated must lie in the view (else 0x31), and
    /// so must a state description. On a machine without view, all pointers are of the latter kind.
    ///
    /// Host code that runs on this machine wants [`crate::config::ByteOrder::Native`] as well. A witness is not told of
    /// this, so nobody can follow the machine beside it.
    ///
    /// # Safety
    /// As long as this is on, whatever this CPU is told to load from or store to outside of the view, directly or as the
    /// operand of a call, must be memory that may be loaded from or stored to, or such that the system refuses the access. Where
    /// the system does not copy for us (not Linux, or a container without `process_vm_readv`), it must exist.
    pub unsafe fn set_native(&mut self, on: bool) {
        self.native = on;
        self.choose_way();
    }

    pub(super) fn load_natively(
        &self,
        address: VirtualAddress,
        bytes: &mut [u8],
        kind: AccessKind,
    ) -> Result<(), ProgramInterruption> {
        if bytes.len() as u64 > PAGE_SIZE - address.0 % PAGE_SIZE {
            self.probe_natively(address, bytes.len() as u64, kind)?;
        }
        for (at, part) in pieces(address, bytes.len() as u64) {
            let part = &mut bytes[part];
            let Some(absolute) = self.in_view(at) else {
                if process::load(at, part) {
                    continue;
                }
                return Err(fault(at, kind));
            };
            let access = self.begin(absolute.frame());
            if access.zone().is_secure() {
                return Err(self.secure_storage_access(at.0, kind, AddressSpace::Home));
            }
            access.load(absolute.offset(), part);
        }
        Ok(())
    }

    pub(super) fn store_natively(&self, address: VirtualAddress, bytes: &[u8]) -> Result<(), ProgramInterruption> {
        if bytes.len() as u64 > PAGE_SIZE - address.0 % PAGE_SIZE {
            self.probe_natively(address, bytes.len() as u64, AccessKind::Store)?;
        }
        for (at, part) in pieces(address, bytes.len() as u64) {
            let part = &bytes[part];
            let Some(absolute) = self.in_view(at) else {
                if process::store(at, part) {
                    continue;
                }
                return Err(fault(at, AccessKind::Store));
            };
            let access = self.begin(absolute.frame());
            if access.zone().is_secure() {
                return Err(self.secure_storage_access(at.0, AccessKind::Store, AddressSpace::Home));
            }
            access.store(absolute.offset(), part);
        }
        Ok(())
    }

    /// Checks access to every page of a stretch.
    pub(super) fn probe_natively(
        &self,
        address: VirtualAddress,
        len: u64,
        kind: AccessKind,
    ) -> Result<(), ProgramInterruption> {
        pieces(address, len).try_for_each(|(at, _)| self.spot(at, kind).map(|_| ()))
    }

    /// The frame of the view at a pointer. Elsewhere there are none.
    pub(super) fn native_frame(
        &self,
        at: VirtualAddress,
        kind: AccessKind,
    ) -> Result<FrameNumber, ProgramInterruption> {
        match self.in_view(at) {
            Some(absolute) => Ok(absolute.frame()),
            None => Err(missing(at, kind)),
        }
    }

    /// ULTRAVISOR CALL with a block at a native pointer, after the checks of its form; see [`HostCpu::uvc`].
    pub(super) fn call_natively(&mut self, address: VirtualAddress) -> Result<Answered, ProgramInterruption> {
        let first = self.spot(address, AccessKind::Store)?;
        // Nearly all blocks are short and lie within a page; each load is a system call.
        let mut beginning = [0; BEGINNING];
        let seen = &mut beginning[..BEGINNING.min((PAGE_SIZE - address.0 % PAGE_SIZE) as usize)];
        self.load_natively(address, seen, AccessKind::Store)?;
        // A block is aligned to doublewords, so its header lies within a page.
        let mut header = [0; HEADER_LENGTH];
        header.copy_from_slice(&seen[..HEADER_LENGTH]);
        let header = BlockHeader::parse(header, self.storage().order());
        let firmware = &self.machine.firmware;
        let checked = general_checks(header, Issuer::Host, firmware.host_calls(), firmware.is_initialised());
        let mut block = self.take_block(header.length);
        let mut frames = [first; 2];
        let answer = match checked {
            Err(refusal) => Answer::of(Err(Stop::Refused(refusal))),
            Ok(command) => {
                let kept = block.kept_mut();
                if let Some(seen) = seen.get(..kept.len()).filter(|seen| seen.len() == usize::from(header.length)) {
                    kept.copy_from_slice(seen);
                } else {
                    self.probe_natively(address, u64::from(header.length), AccessKind::Store)?;
                    self.load_natively(address, kept, AccessKind::Store)?;
                }
                let last = VirtualAddress(address.0.wrapping_add((block.kept().len() as u64).saturating_sub(1)));
                frames[1] = self.in_view(last).map_or(OUTSIDE, AbsoluteAddress::frame);
                self.run(command, &mut block, frames)
            }
        };
        self.finish(address, frames, header.command, &block, &answer)?;
        self.give_block(block);
        Ok(answer.told(header.command, frames))
    }

    /// The frame at a pointer that the host may access, or [`OUTSIDE`].
    fn spot(&self, at: VirtualAddress, kind: AccessKind) -> Result<FrameNumber, ProgramInterruption> {
        let Some(absolute) = self.in_view(at) else {
            let reachable = if kind == AccessKind::Store { process::can_store(at) } else { process::can_load(at) };
            return if reachable { Ok(OUTSIDE) } else { Err(fault(at, kind)) };
        };
        if self.begin(absolute.frame()).zone().is_secure() {
            return Err(self.secure_storage_access(at.0, kind, AddressSpace::Home));
        }
        Ok(absolute.frame())
    }

    fn in_view(&self, at: VirtualAddress) -> Option<AbsoluteAddress> {
        self.storage().host_view()?.address(core::ptr::without_provenance(at.0 as usize))
    }
}

/// Why a pointer outside of the view cannot be used.
#[cold]
fn fault(at: VirtualAddress, kind: AccessKind) -> ProgramInterruption {
    if kind == AccessKind::Store && process::can_load(at) {
        return HostCpu::protection(at, AddressSpace::Home);
    }
    missing(at, kind)
}

fn missing(at: VirtualAddress, kind: AccessKind) -> ProgramInterruption {
    let teid = Teid::new(at.0, kind, AddressSpace::Home);
    ProgramInterruption { code: ProgramCode::PageTranslation, teid }
}

/// Cuts a stretch at page boundaries: where each piece is, and which of the bytes it holds.
fn pieces(address: VirtualAddress, len: u64) -> impl Iterator<Item = (VirtualAddress, Range<usize>)> {
    let mut done = 0;
    core::iter::from_fn(move || {
        let at = VirtualAddress(address.0.wrapping_add(done));
        let piece = (len - done).min(PAGE_SIZE - at.0 % PAGE_SIZE);
        let part = done as usize..(done + piece) as usize;
        done += piece;
        (piece > 0).then_some((at, part))
    })
}
