//! Who may touch a frame: the outcome matrix.

use crate::ids::{Handle, PageIndex};
use crate::state::{State, Zone};

/// Who touches it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Requestor {
    /// The host, or a device.
    NonSecure,
    /// A guest, by this page.
    Guest(Handle, PageIndex),
}

/// What the matrix says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Go on.
    Allow(&'static str),
    /// Interruption code 0x3d, 0x3e or 0x3f.
    Deny(u16, &'static str),
}

/// The outcome matrix; the second part of each verdict is its row.
pub(crate) fn check(state: &State, requestor: Requestor, zone: Zone) -> Verdict {
    let _ = (state, requestor, zone);
    unimplemented!()
}
