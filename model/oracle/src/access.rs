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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::FrameNumber;
    use crate::state::{Boot, Configuration, Donated, Purpose, Reset, Setup};

    const OWNER: Handle = Handle(7);
    const OTHER: Handle = Handle(70);
    const GONE: Handle = Handle(700);
    const PAGE: PageIndex = PageIndex(3);
    const ELSEWHERE: PageIndex = PageIndex(4);

    fn state() -> State {
        let mut state = State::new(Setup {
            storage: 1 << 24,
            cpus: 1,
            generation: 16,
            misc: true,
            without: vec![],
            strict_tweaks: false,
            always_count: false,
            big_endian: true,
        });
        for handle in [OWNER, OTHER] {
            let configuration = Configuration {
                origin: 0,
                size: 1 << 20,
                asce: handle.0 << 12 | 0x100,
                sca: crate::ids::AbsoluteAddress(0),
                cpus: imbl::OrdMap::new(),
                pages: imbl::OrdMap::new(),
                boot: Boot::Created,
                reset: Reset::default(),
            };
            state.configurations.insert(handle, configuration);
        }
        state
    }

    fn frame(kind: Registered, configuration: Handle) -> Zone {
        Zone::Registered(Registration { kind, configuration, page: PAGE })
    }

    #[test]
    fn t1_t2_t3_t5_t6_t9_i38_hosts_and_devices() {
        use Registered::{Pinned, Secure, Shared};
        let state = state();
        let rows = [
            (Zone::NonSecure, Verdict::Allow("T1")),
            (Zone::Donated(Purpose::Base), Verdict::Deny(0x3d, "T2")),
            (Zone::Donated(Purpose::Variable(OWNER)), Verdict::Deny(0x3d, "T2")),
            (frame(Secure, OWNER), Verdict::Deny(0x3d, "T3")),
            (frame(Shared, OWNER), Verdict::Allow("T5")),
            (frame(Pinned, OWNER), Verdict::Allow("T6")),
            (frame(Secure, GONE), Verdict::Deny(0x3d, "T9")),
            (frame(Shared, GONE), Verdict::Allow("T5")),
        ];
        for (zone, verdict) in rows {
            assert_eq!(check(&state, Requestor::NonSecure, zone), verdict, "{zone:?}");
        }
    }

    #[test]
    fn t12_t14_t15_t16_t17_t19_d21_d22_i37_guests() {
        use Registered::{Pinned, Secure, Shared};
        let (state, guest, elsewhere) = (state(), Requestor::Guest(OWNER, PAGE), Requestor::Guest(OWNER, ELSEWHERE));
        let rows = [
            (guest, Zone::NonSecure, Verdict::Deny(0x3e, "T14")),
            (guest, Zone::Donated(Purpose::Cpu(OWNER)), Verdict::Deny(0x3f, "T17")),
            (guest, frame(Secure, OWNER), Verdict::Allow("T12")),
            (guest, frame(Shared, OWNER), Verdict::Allow("T12")),
            (guest, frame(Pinned, OWNER), Verdict::Allow("T12")),
            (elsewhere, frame(Secure, OWNER), Verdict::Deny(0x3f, "T16")),
            (elsewhere, frame(Shared, OWNER), Verdict::Deny(0x3e, "D22")),
            (elsewhere, frame(Pinned, OWNER), Verdict::Deny(0x3e, "D22")),
            (guest, frame(Secure, OTHER), Verdict::Deny(0x3f, "T15")),
            (guest, frame(Shared, OTHER), Verdict::Deny(0x3e, "D21")),
            (guest, frame(Pinned, OTHER), Verdict::Deny(0x3e, "D21")),
            (guest, frame(Secure, GONE), Verdict::Deny(0x3f, "T17")),
            (guest, frame(Shared, GONE), Verdict::Deny(0x3e, "D21")),
        ];
        for (requestor, zone, verdict) in rows {
            assert_eq!(check(&state, requestor, zone), verdict, "{zone:?}");
        }
    }

    #[test]
    fn t76_t77_stretches_that_touch_do_not_overlap() {
        let mut state = state();
        state.donate(FrameNumber(10), Donated { count: 4, purpose: Purpose::Base });
        assert!(state.all_non_secure(FrameNumber(8), 2));
        assert!(!state.all_non_secure(FrameNumber(8), 3));
        assert!(!state.all_non_secure(FrameNumber(13), 1));
        assert!(state.all_non_secure(FrameNumber(14), 1));
        assert!(!state.all_non_secure(FrameNumber(4095), 2), "beyond storage");
        assert_eq!(state.zone(FrameNumber(13)), Zone::Donated(Purpose::Base));
        assert_eq!(state.zone(FrameNumber(14)), Zone::NonSecure);
    }
}
