//! The model under its own names, but for what acts on a machine.

pub use super::machine::{Machine, SideBySide};
pub use model::*;

/// As in the model: CPUs and the channel subsystem go through the C interface.
pub mod cpu {
    pub use super::super::guest::GuestCpu;
    pub use super::super::host::HostCpu;
    pub use super::super::machine::Channel;
    pub use model::cpu::*;
}
