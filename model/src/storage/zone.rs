//! The zone-security table: what the hardware knows of each frame, and the access check, which is a
//! pure function of that knowledge (I-37).
//!
//! One 64-bit entry per frame holds the secure bit and the registration: shared, Ultravisor-owned,
//! disable-address-compare, domain and page (US11531627, US11283800, US11487906).

use crate::address::PageIndex;
use core::fmt;

/// The internal number of a secure configuration, as it stands in zone entries. It is not a handle:
/// no caller ever sees it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(pub u32);

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "domain {}", self.0)
    }
}

impl Domain {
    /// The largest number that fits a zone entry; also the most configurations of a machine.
    pub const MAX: u32 = (1 << 23) - 1;
}

/// Which Ultravisor object a donated frame serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Donation {
    /// Zone base storage (INIT_UV), addressed absolutely.
    Base,
    /// Base storage of a configuration, addressed absolutely.
    ConfigurationBase(Domain),
    /// Variable storage of a configuration, addressed by the host virtual page that it was given at.
    ConfigurationVariable(Domain, u64),
    /// Storage of a CPU, addressed absolutely.
    Cpu(Domain),
}

/// State of a frame. The letters of the transition table stand in brackets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum FrameState {
    /// \[N\] ordinary host frame: secure bit off, not registered.
    NonSecure,
    /// \[B, C, V\] donated to the Ultravisor: secure bit on.
    Donated(Donation),
    /// \[S, or O when the owner is gone\] secure frame of a guest page.
    Secure(Domain, PageIndex),
    /// \[H\] guest page that its owner shares with the host: registered, secure bit off.
    Shared(Domain, PageIndex),
    /// \[P\] shared page that the host has pinned.
    Pinned(Domain, PageIndex),
}

impl FrameState {
    /// The secure bit.
    #[must_use]
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Donated(_) | Self::Secure(..))
    }

    /// The guest page that is registered here.
    #[must_use]
    pub const fn registration(self) -> Option<(Domain, PageIndex)> {
        match self {
            Self::Secure(domain, page) | Self::Shared(domain, page) | Self::Pinned(domain, page) => {
                Some((domain, page))
            }
            Self::NonSecure | Self::Donated(_) => None,
        }
    }
}

/// A zone entry as it is stored: a [`FrameState`] and two marks of a running call. The lock keeps other
/// calls away and nobody else: a host goes on with a shared frame while the guest asks for it back (T6).
/// Only a call that needs the bytes to itself closes the frame as well.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ZoneEntry(u64);

const KIND_MASK: u64 = 0x7;
const CLOSED: u64 = 0x08;
const LOCK: u64 = 0x10;
const DOMAIN_SHIFT: u32 = 5;
const DOMAIN_MASK: u64 = Domain::MAX as u64;
const PAGE_SHIFT: u32 = 28;
const PAGE_MASK: u64 = (1 << 36) - 1;

const NON_SECURE: u64 = 0;
const BASE: u64 = 1;
const CONFIGURATION_BASE: u64 = 2;
const CONFIGURATION_VARIABLE: u64 = 3;
const CPU: u64 = 4;
const SECURE: u64 = 5;
const SHARED: u64 = 6;
const PINNED: u64 = 7;

impl ZoneEntry {
    /// The entry of a frame that nobody has touched.
    pub const NON_SECURE: Self = Self(NON_SECURE);

    /// Packs a state. Domains and pages outside their fields cannot be made by the Ultravisor, which
    /// checks both when it creates a configuration.
    #[must_use]
    pub const fn new(state: FrameState) -> Self {
        let (kind, domain, page) = match state {
            FrameState::NonSecure => (NON_SECURE, Domain(0), 0),
            FrameState::Donated(Donation::Base) => (BASE, Domain(0), 0),
            FrameState::Donated(Donation::ConfigurationBase(domain)) => (CONFIGURATION_BASE, domain, 0),
            FrameState::Donated(Donation::ConfigurationVariable(domain, page)) => {
                (CONFIGURATION_VARIABLE, domain, page)
            }
            FrameState::Donated(Donation::Cpu(domain)) => (CPU, domain, 0),
            FrameState::Secure(domain, page) => (SECURE, domain, page.0),
            FrameState::Shared(domain, page) => (SHARED, domain, page.0),
            FrameState::Pinned(domain, page) => (PINNED, domain, page.0),
        };
        debug_assert!(domain.0 <= Domain::MAX && page <= PAGE_MASK);
        Self(kind | (domain.0 as u64) << DOMAIN_SHIFT | page << PAGE_SHIFT)
    }

    /// Unpacks the state, whether locked or not.
    #[must_use]
    pub const fn state(self) -> FrameState {
        let domain = Domain((self.0 >> DOMAIN_SHIFT & DOMAIN_MASK) as u32);
        let number = self.0 >> PAGE_SHIFT;
        let page = PageIndex(number);
        match self.0 & KIND_MASK {
            BASE => FrameState::Donated(Donation::Base),
            CONFIGURATION_BASE => FrameState::Donated(Donation::ConfigurationBase(domain)),
            CONFIGURATION_VARIABLE => FrameState::Donated(Donation::ConfigurationVariable(domain, number)),
            CPU => FrameState::Donated(Donation::Cpu(domain)),
            SECURE => FrameState::Secure(domain, page),
            SHARED => FrameState::Shared(domain, page),
            PINNED => FrameState::Pinned(domain, page),
            _ => FrameState::NonSecure,
        }
    }

    /// A call holds the frame; no other call may.
    #[must_use]
    pub const fn is_locked(self) -> bool {
        self.0 & LOCK != 0
    }

    /// \[T\] The call that holds the frame works on its bytes; nobody else has access.
    #[must_use]
    pub const fn is_closed(self) -> bool {
        self.0 & CLOSED != 0
    }

    /// The secure bit as an access sees it: on while the frame is closed.
    #[must_use]
    #[inline(always)]
    pub const fn is_secure(self) -> bool {
        let kind = self.0 & KIND_MASK;
        self.is_closed() || (kind >= BASE && kind <= SECURE)
    }

    pub(super) const fn locked(self) -> Self {
        Self(self.0 | LOCK)
    }

    pub(super) const fn closed(self) -> Self {
        Self(self.0 | LOCK | CLOSED)
    }

    /// The entry as a number, for digests.
    pub(crate) const fn raw(self) -> u64 {
        self.0
    }

    pub(super) const fn unlocked(self) -> Self {
        Self(self.0 & !(LOCK | CLOSED))
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) const fn bits(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for ZoneEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}{}", self.state(), if self.is_locked() { " (in transition)" } else { "" })
    }
}

/// Who accesses storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tag {
    /// Host CPU, non-secure guest, channel, or a fetch of a host table entry.
    NonSecure,
    /// A CPU of a secure configuration, at the page that the address names.
    Guest(Domain, PageIndex),
    /// The Ultravisor at storage of its own, which it believes to be this.
    Firmware(Donation),
}

/// Outcome of the access check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The access takes place.
    Allow,
    /// Secure-storage access: 0x3d on a CPU, a refusal on a channel (D23).
    SecureStorageAccess,
    /// Non-secure-storage access: 0x3e.
    NonSecureStorageAccess,
    /// Secure-storage violation: 0x3f.
    SecureStorageViolation,
    /// The Ultravisor's own access fails.
    FirmwareError,
}

/// The access check. Pure: it reads nothing but its arguments (I-37), and for a non-secure requestor
/// nothing but the secure bit (I-38).
///
/// A frame whose owner is gone (\[O\]) needs no case of its own: no live tag names its domain.
#[must_use]
#[inline(always)]
pub fn check(tag: Tag, entry: ZoneEntry) -> Verdict {
    match tag {
        Tag::NonSecure if entry.is_secure() => Verdict::SecureStorageAccess,
        Tag::NonSecure => Verdict::Allow,
        Tag::Guest(domain, page) => check_guest(domain, page, entry),
        Tag::Firmware(donation) if entry == ZoneEntry::new(FrameState::Donated(donation)) => Verdict::Allow,
        Tag::Firmware(_) => Verdict::FirmwareError,
    }
}

#[inline(always)]
fn check_guest(domain: Domain, page: PageIndex, entry: ZoneEntry) -> Verdict {
    // The three states that admit the owner are three numbers in a row, so one comparison decides; a closed
    // entry is none of them.
    let resident = ZoneEntry::new(FrameState::Secure(domain, page));
    if (entry.0 & !LOCK).wrapping_sub(resident.0) <= PINNED - SECURE {
        return Verdict::Allow;
    }
    if entry.is_closed() {
        return Verdict::NonSecureStorageAccess;
    }
    match entry.state() {
        FrameState::NonSecure | FrameState::Shared(..) | FrameState::Pinned(..) => Verdict::NonSecureStorageAccess,
        FrameState::Donated(_) | FrameState::Secure(..) => Verdict::SecureStorageViolation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Allow, FirmwareError, NonSecureStorageAccess, SecureStorageAccess, SecureStorageViolation};
    use proptest::prelude::*;

    const D: Domain = Domain(7);
    const E: Domain = Domain(8);
    const P: PageIndex = PageIndex(3);
    const Q: PageIndex = PageIndex(4);

    fn columns() -> [ZoneEntry; 5] {
        [
            ZoneEntry::NON_SECURE,
            ZoneEntry::new(FrameState::Shared(D, P)),
            ZoneEntry::new(FrameState::Secure(D, P)),
            ZoneEntry::new(FrameState::Donated(Donation::Base)),
            ZoneEntry::new(FrameState::Secure(D, P)).closed(),
        ]
    }

    #[test]
    fn outcome_matrix() {
        let row = |tag| columns().map(|entry| check(tag, entry));
        assert_eq!(row(Tag::NonSecure), [Allow, Allow, SecureStorageAccess, SecureStorageAccess, SecureStorageAccess]);
        assert_eq!(
            row(Tag::Guest(D, P)),
            [NonSecureStorageAccess, Allow, Allow, SecureStorageViolation, NonSecureStorageAccess]
        );
        for other in [Tag::Guest(D, Q), Tag::Guest(E, P)] {
            assert_eq!(
                row(other),
                [
                    NonSecureStorageAccess,
                    NonSecureStorageAccess,
                    SecureStorageViolation,
                    SecureStorageViolation,
                    NonSecureStorageAccess
                ]
            );
        }
        assert_eq!(
            row(Tag::Firmware(Donation::Base)),
            [FirmwareError, FirmwareError, FirmwareError, Allow, FirmwareError]
        );
        let variable = Donation::ConfigurationVariable(D, 0x40_0000);
        let entry = ZoneEntry::new(FrameState::Donated(variable));
        assert_eq!(check(Tag::Firmware(variable), entry), Allow);
        assert_eq!(check(Tag::Firmware(Donation::ConfigurationVariable(D, 0x40_0001)), entry), FirmwareError);
        assert_eq!(check(Tag::Firmware(Donation::ConfigurationVariable(E, 0x40_0000)), entry), FirmwareError);
    }

    #[test]
    fn discarded_frames_are_like_frames_of_a_stranger() {
        let orphan = ZoneEntry::new(FrameState::Secure(E, P));
        assert_eq!(check(Tag::NonSecure, orphan), SecureStorageAccess);
        assert_eq!(check(Tag::Guest(D, P), orphan), SecureStorageViolation);
    }

    fn states() -> impl Strategy<Value = FrameState> {
        let domain = (0..=Domain::MAX).prop_map(Domain);
        let page = (0..=PAGE_MASK).prop_map(PageIndex);
        (0..8u8, domain, page).prop_map(|(kind, domain, page)| match kind {
            0 => FrameState::NonSecure,
            1 => FrameState::Donated(Donation::Base),
            2 => FrameState::Donated(Donation::ConfigurationBase(domain)),
            3 => FrameState::Donated(Donation::ConfigurationVariable(domain, page.0)),
            4 => FrameState::Donated(Donation::Cpu(domain)),
            5 => FrameState::Secure(domain, page),
            6 => FrameState::Shared(domain, page),
            _ => FrameState::Pinned(domain, page),
        })
    }

    proptest! {
        #[test]
        fn packing_loses_nothing(state in states()) {
            let entry = ZoneEntry::new(state);
            prop_assert_eq!(entry.state(), state);
            prop_assert_eq!(entry.is_secure(), state.is_secure());
            prop_assert!(entry.closed().is_secure() && entry.closed().state() == state);
            prop_assert_eq!((entry.locked().is_secure(), entry.locked().state()), (state.is_secure(), state));
            prop_assert!(entry.closed().is_locked() && entry.closed().unlocked() == entry);
        }

        #[test]
        fn a_lock_alone_changes_no_verdict(a in states(), domain in 0..3u32, page in 0..3u64) {
            for tag in [Tag::NonSecure, Tag::Guest(Domain(domain), PageIndex(page))] {
                prop_assert_eq!(check(tag, ZoneEntry::new(a).locked()), check(tag, ZoneEntry::new(a)));
            }
            if let Some((domain, page)) = a.registration() {
                prop_assert_eq!(check(Tag::Guest(domain, page), ZoneEntry::new(a).locked()), Allow);
                let closed = ZoneEntry::new(a).closed();
                prop_assert_eq!(check(Tag::Guest(domain, page), closed), NonSecureStorageAccess);
            }
        }

        #[test]
        fn i38_non_secure_sees_only_the_secure_bit(a in states(), b in states()) {
            if a.is_secure() == b.is_secure() {
                let verdict = |state| check(Tag::NonSecure, ZoneEntry::new(state));
                prop_assert_eq!(verdict(a), verdict(b));
            }
        }
    }
}
