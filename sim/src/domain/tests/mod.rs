//! Reading and checking of domain definitions.

mod reading;
mod reports;
mod rules;

use std::path::Path;

use super::{Domain, Finding, check};

/// A definition in which nothing is to be remarked, with one part replaced by another text.
fn definition(part: &str, instead: &str) -> String {
    let parts = [
        ("open", "<domain type='kvm'>"),
        ("name", "<name>protected</name>"),
        ("memory", "<memory unit='GiB'>2</memory>"),
        ("current", ""),
        ("backing", ""),
        ("vcpu", "<vcpu>2</vcpu>"),
        (
            "os",
            "<os><type arch='s390x' machine='s390-ccw-virtio'>hvm</type><cmdline>swiotlb=262144 quiet</cmdline></os>",
        ),
        ("cpu", "<cpu mode='host-model'/>"),
        ("launch", "<launchSecurity type='s390-pv'/>"),
        ("devices", "<devices>"),
        ("device", ""),
        ("balloon", "<memballoon model='none'/>"),
        ("end", "</devices>"),
    ];
    assert!(part.is_empty() || parts.iter().any(|(name, _)| *name == part), "no part {part}");
    let lines = parts.map(|(name, text)| if name == part { instead } else { text });
    format!("{}\n</domain>\n", lines.join("\n"))
}

fn read(text: &str) -> Domain {
    Domain::from_bytes(Path::new("guest.xml"), text.as_bytes().to_vec())
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn findings(text: &str) -> Vec<Finding> {
    check(&read(text))
}
