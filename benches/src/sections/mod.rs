//! The sections of the table, each a function from a [`Plan`] to rows.

mod access;
mod boot;
mod calls;
mod interface;
pub mod lanes;
mod paging;
pub mod replay;
mod snapshot;
pub mod tebibyte;
mod virtio;
pub mod workload;

pub use access::access;
pub use boot::boot;
pub use calls::calls;
pub use interface::interface;
pub use paging::{arrival, paging};
pub use snapshot::snapshot;
pub use virtio::virtio;

use crate::sets::{LARGE, MIDDLE, SMALL, Set};

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Rounds that count; one more warms up.
    pub rounds: usize,
    /// Working sets.
    pub sets: Vec<Set>,
}

impl Plan {
    /// What the published table is made by.
    #[must_use]
    pub fn full() -> Self {
        Self { rounds: 15, sets: vec![SMALL, MIDDLE, LARGE] }
    }

    /// Seconds instead of minutes: shows that everything runs; its figures mean little.
    #[must_use]
    pub fn quick() -> Self {
        Self { rounds: 1, sets: vec![SMALL] }
    }
}
