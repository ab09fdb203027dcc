//! The rules of protected guests, held against a domain.
//!
//! # What `launchSecurity` does
//!
//! `<launchSecurity type='s390-pv'/>` (libvirt 7.6.0 and newer) makes libvirt start QEMU with an `s390-pv-guest`
//! object as its confidential guest support. It is QEMU that then makes every virtio device use the platform's
//! access rules by default (`iommu_platform=on`), wants the unpack facility in the CPU model and refuses more
//! vCPUs than the answer of one service call names (QEMU `docs/system/s390x/protvirt.rst` and
//! `target/s390x/kvm/pv.c`). Without the element nobody does, and each virtio device needs `iommu='on'` (libvirt,
//! "Protected Virtualization on s390"). A written `iommu='off'` overrides the default (IBM, "KVM Virtual Server
//! Management", "Enable each device separately to use the bounce buffer").

mod devices;
mod guest;

use super::document::Domain;
use super::finding::{Finding, Fix, Rule, Severity};
use crate::scenario::Place;

/// Holds a domain against the rules of protected guests. The findings are in the order of the text.
#[must_use]
pub fn check(domain: &Domain) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    guest::check(domain, &mut findings);
    devices::check(domain, &mut findings);
    findings.0.sort_by_key(|finding| finding.place.span.offset());
    findings.0
}

/// What has been found so far.
struct Findings(Vec<Finding>);

/// A finding in the making.
struct Found<'a> {
    rule: Rule,
    place: Place,
    message: String,
    label: &'static str,
    reason: &'a str,
    fix: Option<Fix>,
}

impl Findings {
    fn error(&mut self, found: Found<'_>) {
        self.push(Severity::Error, found);
    }

    fn warning(&mut self, found: Found<'_>) {
        self.push(Severity::Warning, found);
    }

    fn note(&mut self, found: Found<'_>) {
        self.push(Severity::Note, found);
    }

    fn push(&mut self, severity: Severity, found: Found<'_>) {
        let Found { rule, place, message, label, reason, fix } = found;
        self.0.push(Finding { rule, severity, message, label, reason: reason.to_owned(), fix, place });
    }
}

fn replace(xml: impl Into<String>) -> Option<Fix> {
    Some(Fix::Replace(xml.into()))
}

fn add(xml: impl Into<String>) -> Option<Fix> {
    Some(Fix::Add(xml.into()))
}
