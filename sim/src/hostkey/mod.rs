//! Host keys outside the machine: the documents by which the makers of images, requests and dumps know a
//! machine, and what they want to see before they trust one.
//!
//! A host-key document is an X.509 certificate of a P-521 key. Client programs take one if the key signing
//! service of the manufacturer has signed it, if a chain leads from there to a root that they trust, and if
//! no revocation list names any of it (s390-tools, crate `pv`, module `verify`). An [`Authority`] is such a
//! service with its chain, made up for one seed; whatever it signs says that it is simulated and insecure.
//! The other direction, the key in a document, is [`crate::image::Recipient`].

mod authority;
mod files;

#[cfg(test)]
mod tests;

pub use authority::{Authority, CertificateError, Period, PeriodError};
pub use files::{Form, HostKeyFile, SaveError, Saved, save};

/// Which of the host keys of a machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Role {
    /// Slot 0 of QUERY_KEYS.
    #[default]
    Host,
    /// Slot 1: used for headers that allow it.
    Backup,
}

/// What the subject of every certificate holds that is made here.
pub const MARK: &str = "simulated, insecure";
