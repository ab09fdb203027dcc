//! Purges of a host CPU: invalidations of table entries, which reach all CPUs, and what a host asks for by itself.

use super::host::HostCpu;
use crate::address::{AbsoluteAddress, VirtualAddress};
use crate::storage::dat::Level;
use crate::storage::translation_buffer::Purge;
use crate::storage::{AccessKind, AddressSpace, Asce, ProgramCode, ProgramInterruption, Tag, Verdict, check};
use crate::witness::{HostStep, Outcome};

impl HostCpu<'_> {
    /// INVALIDATE PAGE TABLE ENTRY: sets the invalid bit of the entry that the page index of `address`
    /// selects in the table at `table`, and removes what was formed through it on all CPUs.
    ///
    /// # Errors
    /// Privileged operation, addressing, or a secure-storage access to the table.
    pub fn ipte(&mut self, table: AbsoluteAddress, address: VirtualAddress) -> Result<(), ProgramInterruption> {
        let entry = AbsoluteAddress((table.0 & !0x7ff) + Level::Page.index(address) * 8);
        let done = self.invalidate(entry, 0x400);
        if done.is_ok() {
            self.purge_everywhere(Purge::Leaf(entry));
        }
        self.tell(HostStep::Ipte(table, address), Outcome::of_host(&done));
        done
    }

    /// INVALIDATE DAT TABLE ENTRY for one segment-table entry: sets its invalid bit and removes what lies
    /// under its index, on all CPUs.
    ///
    /// # Errors
    /// As [`HostCpu::ipte`].
    pub fn idte_segment(&mut self, table: AbsoluteAddress, address: VirtualAddress) -> Result<(), ProgramInterruption> {
        let done = self.idte(table, address, Level::Segment);
        self.tell(HostStep::IdteSegment(table, address), Outcome::of_host(&done));
        done
    }

    /// INVALIDATE DAT TABLE ENTRY for one region-third-table entry; as [`HostCpu::idte_segment`].
    ///
    /// # Errors
    /// As [`HostCpu::ipte`].
    pub fn idte_region(&mut self, table: AbsoluteAddress, address: VirtualAddress) -> Result<(), ProgramInterruption> {
        let done = self.idte(table, address, Level::RegionThird);
        self.tell(HostStep::IdteRegion(table, address), Outcome::of_host(&done));
        done
    }

    /// INVALIDATE DAT TABLE ENTRY by ASCE: removes everything formed under it, on all CPUs.
    ///
    /// # Errors
    /// Privileged operation.
    pub fn idte_space(&mut self, asce: Asce) -> Result<(), ProgramInterruption> {
        let done = self.check_privilege();
        if done.is_ok() {
            self.purge_everywhere(Purge::Space(asce));
        }
        self.tell(HostStep::IdteSpace(asce), Outcome::of_host(&done));
        done
    }

    /// Removes one page of a space on all CPUs: what IPTE does for tables, for hosts that have none
    /// ([`crate::Machine::set_translator`]). A witness is not told.
    ///
    /// # Errors
    /// Privileged operation.
    pub fn purge_page(&mut self, asce: Asce, address: VirtualAddress) -> Result<(), ProgramInterruption> {
        self.check_privilege()?;
        self.purge_everywhere(Purge::Page(asce, address));
        Ok(())
    }

    /// PURGE TLB: removes everything on this CPU.
    ///
    /// # Errors
    /// Privileged operation.
    pub fn ptlb(&mut self) -> Result<(), ProgramInterruption> {
        let done = self.check_privilege();
        if done.is_ok() {
            self.state.buffer.purge(Purge::All);
        }
        self.tell(HostStep::Ptlb, Outcome::of_host(&done));
        done
    }

    fn idte(
        &mut self,
        table: AbsoluteAddress,
        address: VirtualAddress,
        level: Level,
    ) -> Result<(), ProgramInterruption> {
        let entry = AbsoluteAddress((table.0 & !0xfff) + level.index(address) * 8);
        self.invalidate(entry, 0x20)?;
        self.purge_everywhere(Purge::Index(level, level.index(address)));
        Ok(())
    }

    /// Sets a bit of a table entry, as a store to real storage does.
    fn invalidate(&mut self, entry: AbsoluteAddress, bit: u64) -> Result<(), ProgramInterruption> {
        self.check_privilege()?;
        let storage = self.storage();
        if !storage.contains(entry, 8) {
            return Err(ProgramInterruption::new(ProgramCode::Addressing));
        }
        let access = self.begin(entry.frame());
        if check(Tag::NonSecure, access.zone()) != Verdict::Allow {
            return Err(self.secure_storage_access(entry.0, AccessKind::Store, AddressSpace::Home));
        }
        let mut bytes = [0; 8];
        access.load(entry.offset(), &mut bytes);
        let value = storage.order().u64(bytes) | bit;
        access.store(entry.offset(), &storage.order().u64_bytes(value));
        Ok(())
    }

    fn purge_everywhere(&mut self, purge: Purge) {
        self.state.buffer.purge(purge);
        self.machine.ask_others_to_purge(self.number, purge);
    }

    pub(crate) fn purge_own(&mut self, purge: Purge) {
        self.state.buffer.purge(purge);
    }
}
