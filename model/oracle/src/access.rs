//! Who may touch a frame: the outcome matrix.

use crate::ids::{Handle, PageIndex};
use crate::state::{Registered, Registration, State, Zone};

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

/// The outcome matrix; the second part of each verdict is its row (I-37).
pub(crate) fn check(state: &State, requestor: Requestor, zone: Zone) -> Verdict {
    match requestor {
        Requestor::NonSecure => non_secure(state, zone),
        Requestor::Guest(configuration, page) => guest(state, configuration, page, zone),
    }
}

/// Host CPUs and devices: what is secure is denied (T1–T6, T9–T11, I-38).
fn non_secure(state: &State, zone: Zone) -> Verdict {
    match zone {
        Zone::NonSecure => Verdict::Allow("T1"),
        Zone::Donated(_) => Verdict::Deny(0x3d, "T2"),
        Zone::Registered(Registration { kind: Registered::Shared, .. }) => Verdict::Allow("T5"),
        Zone::Registered(Registration { kind: Registered::Pinned, .. }) => Verdict::Allow("T6"),
        Zone::Registered(of) if state.is_orphan(of) => Verdict::Deny(0x3d, "T9"),
        Zone::Registered(_) => Verdict::Deny(0x3d, "T3"),
    }
}

/// A guest touches a frame as one of its pages (T12–T17, D21, D22).
fn guest(state: &State, configuration: Handle, page: PageIndex, zone: Zone) -> Verdict {
    let of = match zone {
        Zone::NonSecure => return Verdict::Deny(0x3e, "T14"),
        Zone::Donated(_) => return Verdict::Deny(0x3f, "T17"),
        Zone::Registered(of) => of,
    };
    let secure = of.kind == Registered::Secure;
    match (of.configuration == configuration, of.page == page) {
        (true, true) => Verdict::Allow("T12"),
        (true, false) if secure => Verdict::Deny(0x3f, "T16"),
        (true, false) => Verdict::Deny(0x3e, "D22"),
        (false, _) if secure && state.is_orphan(of) => Verdict::Deny(0x3f, "T17"),
        (false, _) if secure => Verdict::Deny(0x3f, "T15"),
        (false, _) => Verdict::Deny(0x3e, "D21"),
    }
}

impl State {
    /// Whether the owner of a page has ended (D28): \[O\] if the page is secure.
    pub(crate) fn is_orphan(&self, of: Registration) -> bool {
        !self.configurations.contains_key(&of.configuration)
    }
}
