//! All that the oracle shares with the model: names for numbers.

pub use uvsim_model::address::{AbsoluteAddress, FrameNumber, GuestAddress, PageIndex, VirtualAddress};

/// Opaque handle of a configuration or of one of its CPUs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Handle(pub u64);

/// Number of a host CPU.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CpuNumber(pub u16);
