//! Issuers: who accesses storage and who issues Ultravisor calls.
//!
//! A client drives a machine only through these: load, store, purge, UVC, SIE, and channel I/O.

mod call;
mod channel;
mod guest;
mod host;
mod native;
mod purge;
mod snapshot;

pub use call::Uvc;
pub use channel::{Channel, ChannelRefusal};
pub use guest::{Diagnose, GuestCpu, GuestEvent, Interception, ServiceCall, SieExit, Sigp, ValidityReason};
pub(crate) use host::{CpuSlot, CpuState};
pub use host::{HostCpu, Registers};
pub(crate) use snapshot::KeptHostCpu;
