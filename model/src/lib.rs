//! The machine behind uvsim.

pub mod address;
pub mod config;
pub mod crypto;
pub mod seed;
pub mod uvc;
