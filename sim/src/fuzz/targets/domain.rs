//! Any bytes as a domain definition.

use super::{Fault, ensure, prepared, running};
use crate::domain::{self, Domain, Finding};
use crate::run::Options;
use crate::scenario::Scenario;
use serde_json::Value;
use std::path::Path;

const NAME: &str = "fuzz.xml";

pub(super) fn run(data: &[u8]) -> Result<(), Fault> {
    let mut told = Vec::new();
    let domain = match Domain::from_bytes(Path::new(NAME), data.to_vec()) {
        Ok(domain) => domain,
        Err(error) => {
            domain::json::unusable(&mut told, &error);
            json(&told)?;
            domain::human::unusable(&mut told, &error, true, 80);
            return Ok(());
        }
    };
    let findings = domain::check(&domain);
    domain::json::findings(&mut told, &domain, &findings);
    json(&told)?;
    domain::human::findings(&mut told, &domain, &findings, false, 20);
    domain::human::findings(&mut told, &domain, &findings, true, 200);
    for finding in &findings {
        let end = finding.place.span.offset() + finding.place.span.len();
        ensure(end <= domain.text.len(), || format!("`{}` is outside of the text", finding.message))?;
    }
    if findings.iter().any(Finding::rules_out_the_guest) { Ok(()) } else { its_scenario(&domain, data) }
}

/// A definition with one of each, and one that has hardly anything.
pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    const DEVICES: &str = "<disk type='file' device='disk'><driver name='qemu' iommu='on'/><source file='/a'/>\
        <target dev='vda' bus='virtio'/></disk><disk type='block' device='cdrom'><target dev='sda' bus='scsi'/></disk>\
        <interface type='network'><source network='default'/><model type='virtio'/><driver iommu='off'/></interface>\
        <interface type='hostdev'/><controller type='scsi' model='virtio-scsi'/><controller type='virtio-serial'/>\
        <console type='pty'><target type='sclp'/></console><channel type='unix'><target type='virtio'/></channel>\
        <memballoon model='virtio'/><hostdev mode='subsystem' type='pci'/><hostdev type='mdev' model='vfio-ccw'/>\
        <memory model='virtio-mem'/><rng model='virtio'/><vsock model='virtio'/><input type='keyboard' bus='virtio'/>\
        <video><model type='virtio'/></video><filesystem type='mount'><driver type='virtiofs'/></filesystem>";
    let domain = |head: &str, devices: &str, tail: &str| {
        format!("<domain type='kvm'><name>d</name>{head}<devices>{devices}</devices>{tail}</domain>").into_bytes()
    };
    let good = "<memory unit='MiB'>2</memory><vcpu>1</vcpu><os><type arch='s390x' machine='s390-ccw-virtio'>hvm</type>\
        <kernel>/k</kernel><cmdline>swiotlb=262144</cmdline></os><cpu mode='host-model'/>";
    let bad = "<memory unit='GB'>1</memory><currentMemory>5</currentMemory><vcpu>500</vcpu><memoryBacking><hugepages/>\
        </memoryBacking><os><type arch='x86_64'>xen</type></os><cpu mode='custom'><model>z13</model>\
        <feature policy='disable' name='unpack'/></cpu>";
    let secured = "<launchSecurity type='s390-pv'/>";
    [
        ("good", domain(good, "", secured)),
        ("devices", domain(good, DEVICES, secured)),
        ("bad", domain(bad, DEVICES, "")),
        ("other", domain(bad, "", "<launchSecurity type='sev'/>")),
    ]
    .map(|(name, data)| (name.to_owned(), data))
    .into()
}

/// What is fit to set up a guest has a scenario, which the language takes.
fn its_scenario(domain: &Domain, data: &[u8]) -> Result<(), Fault> {
    let text = domain::scenario(domain, Path::new(NAME));
    let scenario = Scenario::parse_with(Path::new("fuzz.kdl"), &text, &mut |_: &Path, _: u64| Ok(data.to_vec()));
    let mut scenario = scenario.map_err(|errors| {
        let messages: Vec<&str> = errors.errors().iter().map(|error| error.message.as_str()).collect();
        Fault::in_text(format!("no scenario is made of it: {}", messages.join("; ")), &text)
    })?;
    if !running::is_small(&scenario) {
        return Ok(());
    }
    prepared::prepare(&mut scenario);
    let ((status, _), told) = running::once(&scenario, Options { verify: true, ..Options::default() })?;
    ensure(status.code() == 0, || format!("its scenario ends with {status:?}:\n{told}\n{text}"))
}

/// Line by line.
fn json(told: &[u8]) -> Result<(), Fault> {
    for line in told.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        serde_json::from_slice::<Value>(line).map_err(|error| Fault::new(error.to_string()))?;
    }
    Ok(())
}
