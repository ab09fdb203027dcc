//! Domain definitions of libvirt: what they define, and what in them would not work under protected
//! virtualization.
//!
//! [`Domain::read`] takes a file of any content to a [`Domain`] in which everything knows its place in the text;
//! [`check`] holds it against the rules of protected guests; [`human`] and [`json`] report; [`scenario`] is a
//! scenario that boots a guest of that size.
//!
//! The rules restate public documentation: libvirt's knowledge base ("Protected Virtualization on s390") and its
//! description of the domain XML format, IBM's "Introducing IBM Secure Execution for Linux" and "KVM Virtual Server
//! Management", QEMU's `docs/system/s390x/protvirt.rst` and the checks of its `s390-pv-guest` object. Each rule
//! names its origin.

mod check;
mod decode;
mod devices;
mod document;
mod error;
mod finding;
pub mod human;
pub mod json;
mod scenario;
mod units;
mod xml;

#[cfg(test)]
mod tests;

pub use check::check;
pub use document::{
    Connection, Cpu, CpuFeature, Device, DeviceKind, Domain, Driver, Given, Os, Quantity, Vcpus, VirtioController,
};
pub use error::DomainError;
pub use finding::{Finding, Fix, Rule, Severity};
pub use scenario::scenario;
pub use xml::MAX_DOMAIN_LENGTH;

use std::path::Path;
use std::sync::Arc;

impl Domain {
    /// Reads a domain definition.
    ///
    /// # Errors
    /// The file cannot be read, is not UTF-8 or XML, has a document type, or is no domain.
    pub fn read(path: &Path) -> Result<Self, Box<DomainError>> {
        let bytes = crate::scenario::read_file(path, MAX_DOMAIN_LENGTH)
            .map_err(|error| DomainError::whole(path, format!("the file cannot be read: {error}"), None))?;
        Self::from_bytes(path, bytes)
    }

    /// Takes a domain definition from bytes; `path` names them in reports.
    ///
    /// # Errors
    /// The bytes are not UTF-8 or XML, have a document type, or are no domain.
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, Box<DomainError>> {
        let text = String::from_utf8(bytes).map_err(|error| error::not_utf8(path, &error))?;
        let text: Arc<str> = Arc::from(text);
        xml::with_root(path, &text, |reader, root| decode::domain(path, &text, reader, root))
    }
}
