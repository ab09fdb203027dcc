//! The host's view.
use super::{Cpu, Machine};
use core::ptr::NonNull;
use model::address::AbsoluteAddress;
use model::storage::ProgramInterruption;
impl Machine {
    pub fn pointer(&self, _: AbsoluteAddress) -> NonNull<u8> {
        unreachable!("raw")
    }
}
impl Cpu {
    pub fn set_native(&mut self, _: bool) {
        unreachable!("raw")
    }
    pub fn copy_from_view(&mut self, _: NonNull<u8>, _: &mut [u8]) -> Result<(), ProgramInterruption> {
        unreachable!("raw")
    }
    pub fn copy_to_view(&mut self, _: NonNull<u8>, _: &[u8]) -> Result<(), ProgramInterruption> {
        unreachable!("raw")
    }
}
