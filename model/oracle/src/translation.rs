//! Dynamic address translation: the walk over tables in storage, and what buffers may have kept.

use crate::ids::VirtualAddress;
use crate::state::{State, Translation};

/// Why a walk ends without a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// A translation exception, translation specification or addressing, by interruption code.
    Exception(u16),
    /// A table lies in a frame that the host may not touch (D59).
    SecureTable,
}

/// Walks the tables of a space as they are now. The result is not prefixed, and may lie outside storage.
pub(crate) fn walk(state: &State, asce: u64, address: VirtualAddress) -> Result<Translation, Fault> {
    let _ = (state, asce, address);
    unimplemented!()
}
