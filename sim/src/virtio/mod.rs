//! Virtio: devices of the host and drivers of the guest, with nothing between them but storage that the guest has
//! shared and a minimal transport.

pub mod board;
pub mod device;
mod driver;
mod port;
pub mod view;

#[cfg(test)]
mod tests;
