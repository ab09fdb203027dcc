//! Guest memory as user space reaches it: frames appear when they are touched, and what is secure there is made
//! accessible first, as the fault handler does.

use super::{Kernel, Stop};
use uvsim_model::address::{FrameNumber, PAGE_SIZE, VirtualAddress};
use uvsim_model::storage::{ProgramCode, ProgramInterruption};
use uvsim_model::uvc::Command;

impl Kernel<'_> {
    /// Stores at a guest absolute address; the guest has these bytes.
    pub(super) fn write_user(&mut self, cpu: u16, guest: usize, address: u64, bytes: &[u8]) -> Result<(), Stop> {
        let mut done = 0;
        while done < bytes.len() {
            let at = address + done as u64;
            let length = (bytes.len() - done).min((PAGE_SIZE - at % PAGE_SIZE) as usize);
            let frame = self.frame_of(cpu, guest, at / PAGE_SIZE)?;
            let part = &bytes[done..done + length];
            self.as_user(cpu, frame, |kernel, at| kernel.cpu(cpu).store(at, part), at % PAGE_SIZE)?;
            done += length;
        }
        Ok(())
    }

    /// Loads from a guest absolute address; the guest has these bytes.
    pub(super) fn read_user(&mut self, cpu: u16, guest: usize, address: u64, bytes: &mut [u8]) -> Result<(), Stop> {
        let mut done = 0;
        while done < bytes.len() {
            let at = address + done as u64;
            let length = (bytes.len() - done).min((PAGE_SIZE - at % PAGE_SIZE) as usize);
            let frame = self.frame_of(cpu, guest, at / PAGE_SIZE)?;
            let part = &mut bytes[done..done + length];
            self.as_user(cpu, frame, |kernel, at| kernel.cpu(cpu).load(at, part), at % PAGE_SIZE)?;
            done += length;
        }
        Ok(())
    }

    fn as_user(
        &mut self,
        cpu: u16,
        frame: FrameNumber,
        mut access: impl FnMut(&mut Self, VirtualAddress) -> Result<(), ProgramInterruption>,
        offset: u64,
    ) -> Result<(), Stop> {
        let at = VirtualAddress(frame.address().0 + offset);
        match access(self, at) {
            Err(interruption) if interruption.code == ProgramCode::SecureStorageAccess => {
                self.must(cpu, Command::ConvFromSecStor, &[("paddr", frame.address().0)])?;
                Ok(access(self, at)?)
            }
            other => Ok(other?),
        }
    }
}
