//! How a statement can end.

use std::fmt;

macro_rules! outcomes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What a statement comes to, in the words of the language.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Default)]
        pub enum Outcome {
            $($(#[$doc])* $variant,)*
        }

        impl Outcome {
            /// All outcomes that can be expected.
            pub const ALL: &'static [Outcome] = &[$(Outcome::$variant),*];

            /// The name in the language.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Outcome::$variant => $name,)*
                }
            }
        }
    };
}

outcomes! {
    /// It was done; also condition code 1 with rc 0x0100 (D4).
    #[default]
    Ok = "ok",
    /// Condition code 1 with any other rc.
    Refused = "refused",
    /// Condition code 2.
    Busy = "busy",
    /// Condition code 3.
    Partial = "partial",
    /// Program interruption 0x3d.
    SecureStorageAccess = "secure-storage-access",
    /// Program interruption 0x3e.
    NonSecureStorageAccess = "non-secure-storage-access",
    /// Program interruption 0x3f.
    SecureStorageViolation = "secure-storage-violation",
    /// No mapping: program interruptions 0x10, 0x11, 0x38 to 0x3b (D62).
    PageTranslation = "page-translation",
    /// Program interruption 0x12 (D76).
    TranslationSpecification = "translation-specification",
    /// Program interruption 0x04 (D76).
    Protection = "protection",
    /// Program interruption 0x05.
    Addressing = "addressing",
    /// Program interruption 0x06.
    Specification = "specification",
    /// Program interruption 0x02.
    PrivilegedOperation = "privileged-operation",
    /// Program interruption 0x01.
    Operation = "operation",
    /// Program interruption 0x3c (D76).
    SecurePageSize = "secure-page-size",
    /// The guest left SIE with an interception code.
    Intercept = "intercept",
    /// The channel refused an I/O access.
    IoRefused = "io-refused",
    /// The page has no frame, and the statement needs one (D70).
    Unmapped = "unmapped",
    /// The host kernel refused a command before it issued any call: -EINVAL and its like.
    Invalid = "invalid",
    /// The bounce buffer has no room for the request.
    NoBounceSlot = "no-bounce-slot",
    /// No driver is bound to the device.
    NoDevice = "no-device",
    /// The device answered that the request failed, or gave up.
    IoError = "io-error",
    /// Nothing has come.
    NoData = "no-data",
}

impl Outcome {
    /// The outcome of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Outcome> {
        Outcome::ALL.iter().copied().find(|outcome| outcome.name() == name)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a statement wants to come to. A code that is not given is not compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Expectation {
    /// The outcome, `ok` if none is written.
    pub outcome: Outcome,
    /// The response code; only with a written `ok` or `refused`.
    pub rc: Option<u16>,
    /// The reason code; only with a written `ok` or `refused`.
    pub rrc: Option<u16>,
    /// The interception code; only with `intercept`.
    pub code: Option<u16>,
    /// Whether `expect=` is written.
    pub explicit: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found_again() {
        assert_eq!(Outcome::ALL.len(), 23);
        for &outcome in Outcome::ALL {
            assert_eq!(Outcome::from_name(outcome.name()), Some(outcome));
        }
        assert_eq!(Outcome::from_name("OK"), None);
        assert_eq!(Expectation::default().outcome, Outcome::Ok);
    }
}
