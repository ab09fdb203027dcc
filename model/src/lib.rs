//! The machine behind uvsim.

pub mod address;
pub mod config;
pub mod storage;
pub mod uvc;
