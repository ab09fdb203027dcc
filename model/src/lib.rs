//! The machine behind uvsim: absolute storage, access control, the Ultravisor and its calls.
//!
//! The model is a machine, not a library of helpers. A client can do what real software can do to it:
//! load, store, purge, issue the Ultravisor-call instruction with a control block in storage, enter a
//! guest, do channel I/O. Start with [`Machine`].
//!
//! The rooms, and who may know whom: `storage`, `uvc` and `crypto` know nobody; `firmware` knows these
//! three; `cpu` knows `storage`, `uvc` and `firmware`; `machine` knows all.
//!
//! Ids in the documentation (T26, I-15, Q2, D11, C70) are rows of the tables in the book.

pub mod address;
pub mod config;
pub mod cpu;
pub mod crypto;
mod digest;
pub mod event;
mod firmware;
mod inspect;
mod machine;
pub mod seed;
mod snapshot;
pub mod storage;
pub mod uvc;
pub mod witness;

pub use digest::StateDigest;
pub use firmware::{
    CONFIGURATION_BASE_LENGTH, CONFIGURATION_FIXED_LENGTH, CONFIGURATION_LENGTH_PER_MEBIBYTE, CPU_STORAGE_LENGTH,
    GuestRegisters, Image, Injection, MAX_CPU_NUMBER, MAX_GUEST_ADDRESS, PageRecord, Psw, Reset, RunState,
    UV_BASE_LENGTH,
};
pub use inspect::{ConfigurationView, CpuView, PageView, Violation};
pub use machine::{CpuError, Machine, OthersOperate};
pub use snapshot::RestoreError;
