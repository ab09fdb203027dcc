//! The state description of format 4 (Linux `asm/kvm_host.h`), which is the host's. The Ultravisor works
//! on it by virtual address, as the host does; it may go away under a running guest.

use super::interception::SieExit;
use crate::address::{PAGE_SIZE, VirtualAddress};
use crate::cpu::host::HostCpu;
use crate::storage::ProgramInterruption;

/// Offsets.
pub(super) mod offset {
    pub(in super::super) const CPU_FLAGS: u64 = 0x00;
    pub(in super::super) const CPU_HANDLE: u64 = 0x10;
    pub(in super::super) const CONFIGURATION_HANDLE: u64 = 0x18;
    pub(in super::super) const CPU_TIMER: u64 = 0x28;
    pub(in super::super) const LOAD_CONTROL_REQUEST: u64 = 0x44;
    pub(in super::super) const INTERCEPTION_CONTROL: u64 = 0x48;
    pub(in super::super) const INTERCEPTION_CODE: u64 = 0x50;
    pub(in super::super) const INJECTION_CONTROL: u64 = 0x55;
    pub(in super::super) const INSTRUCTION: u64 = 0x56;
    pub(in super::super) const INJECTION_PARAMETERS: u64 = 0xc0;
    pub(in super::super) const SIDA: u64 = 0x180;
    pub(in super::super) const SAVE_AREA: u64 = 0x380;
}

/// A state description, by its virtual address in home space.
#[derive(Clone, Copy, Debug)]
pub(super) struct Description(pub(super) VirtualAddress);

impl Description {
    fn at(self, offset: u64) -> VirtualAddress {
        VirtualAddress(self.0.0.wrapping_add(offset))
    }

    pub(super) fn bytes<const N: usize>(
        self,
        host: &mut HostCpu<'_>,
        offset: u64,
    ) -> Result<[u8; N], ProgramInterruption> {
        let mut bytes = [0; N];
        host.load_within(self.at(offset), &mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn doubleword(self, host: &mut HostCpu<'_>, offset: u64) -> Result<u64, ProgramInterruption> {
        let order = host.storage().order();
        self.bytes(host, offset).map(|bytes| order.u64(bytes))
    }

    /// A register of the save area.
    pub(super) fn saved(self, host: &mut HostCpu<'_>, register: u8) -> Result<u64, ProgramInterruption> {
        self.doubleword(host, offset::SAVE_AREA + u64::from(register & 15) * 8)
    }

    /// Exposes a register in the save area.
    pub(super) fn expose(self, host: &mut HostCpu<'_>, register: u8, value: u64) {
        self.put_doubleword(host, offset::SAVE_AREA + u64::from(register & 15) * 8, value);
    }

    pub(super) fn put_doubleword(self, host: &mut HostCpu<'_>, offset: u64, value: u64) {
        self.put(host, offset, &host.storage().order().u64_bytes(value));
    }

    /// Stores bytes. A host that withdraws its own block during the exit loses the report, nothing else.
    pub(super) fn put(self, host: &mut HostCpu<'_>, offset: u64, bytes: &[u8]) {
        let _ = host.store_within(self.at(offset), bytes);
    }

    /// Stores an interception.
    pub(super) fn report(self, host: &mut HostCpu<'_>, exit: SieExit) {
        let SieExit::Interception(interception) = exit else { return };
        let order = host.storage().order();
        let mut instruction = [0; 6];
        instruction[..2].copy_from_slice(&order.u16_bytes(interception.ipa));
        instruction[2..].copy_from_slice(&order.u32_bytes(interception.ipb));
        self.put(host, offset::INTERCEPTION_CODE, &[interception.code]);
        self.put(host, offset::INSTRUCTION, &instruction);
    }

    /// The secure-instruction data area: address and length. `None` if the host has designated none.
    pub(super) fn data_area(self, host: &mut HostCpu<'_>) -> Result<Option<DataArea>, ProgramInterruption> {
        let designation = self.doubleword(host, offset::SIDA)?;
        let origin = designation & !(PAGE_SIZE - 1);
        let length = ((designation & 0xff) + 1) * PAGE_SIZE;
        Ok((origin != 0).then_some(DataArea { origin, length }))
    }

    /// Stores into the data area what fits. A host that gave a bad address does not get the data.
    pub(super) fn give(self, host: &mut HostCpu<'_>, bytes: &[u8]) {
        if let Ok(Some(area)) = self.data_area(host) {
            let _ = host.store_within(VirtualAddress(area.origin), &bytes[..area.fitting(bytes.len())]);
        }
    }

    /// Fetches from the data area what it holds of `bytes`; what it does not hold is left out.
    pub(super) fn take<'b>(
        self,
        host: &mut HostCpu<'_>,
        bytes: &'b mut [u8],
    ) -> Result<&'b mut [u8], ProgramInterruption> {
        let Some(area) = self.data_area(host)? else { return Ok(&mut []) };
        let length = area.fitting(bytes.len());
        let held = &mut bytes[..length];
        host.load_within(VirtualAddress(area.origin), held)?;
        Ok(held)
    }
}

/// A secure-instruction data area.
#[derive(Clone, Copy, Debug)]
pub(super) struct DataArea {
    origin: u64,
    length: u64,
}

impl DataArea {
    fn fitting(self, length: usize) -> usize {
        length.min(self.length as usize)
    }
}
