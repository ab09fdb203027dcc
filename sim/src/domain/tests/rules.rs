//! Each rule: what it finds, how bad that is, and what to write.

use super::{definition, findings};
use crate::domain::{Finding, Fix, Rule, Severity};

/// Replaced part, its text, the rule, how bad, and what the XML to write contains.
type Case = (&'static str, &'static str, Rule, Severity, &'static str);

use Severity::{Error, Note, Warning};

const UNPACK: &str = "<feature policy='require' name='unpack'/>";
const HOST_MODEL: &str = "<cpu mode='host-model'/>";
const NO_BALLOON: &str = "<memballoon model='none'/>";
const REMOVE: &str = "remove";

const GUEST: &[Case] = &[
    ("name", "", Rule::Name, Error, "<name>"),
    ("name", "<name> </name>", Rule::Name, Error, "<name>"),
    ("memory", "", Rule::Memory, Error, "<memory unit='GiB'>"),
    ("memory", "<memory>0</memory>", Rule::Memory, Error, "<memory"),
    ("memory", "<memory>much</memory>", Rule::Memory, Error, "<memory"),
    ("memory", "<memory>-1</memory>", Rule::Memory, Error, "<memory"),
    ("memory", "<memory unit='furlong'>1</memory>", Rule::Memory, Error, "<memory"),
    ("memory", "<memory unit='EiB'>99</memory>", Rule::Memory, Error, "<memory"),
    ("memory", "<memory unit='TiB'>129</memory>", Rule::Memory, Error, "<memory"),
    ("memory", "<memory unit='GB'>2</memory>", Rule::Memory, Note, "<memory unit='MiB'>1908</memory>"),
    ("current", "<currentMemory unit='GiB'>1</currentMemory>", Rule::CurrentMemory, Warning, REMOVE),
    ("current", "<currentMemory>?</currentMemory>", Rule::Memory, Error, REMOVE),
    ("vcpu", "<vcpu>0</vcpu>", Rule::Vcpus, Error, "<vcpu>1</vcpu>"),
    ("vcpu", "<vcpu/>", Rule::Vcpus, Error, "<vcpu>1</vcpu>"),
    ("vcpu", "<vcpu>248</vcpu>", Rule::Vcpus, Error, "<vcpu>247</vcpu>"),
    ("open", "<domain type='qemu'>", Rule::Hypervisor, Error, "<domain type='kvm'>"),
    ("open", "<domain>", Rule::Hypervisor, Error, "<domain type='kvm'>"),
    ("os", "<os><type arch='x86_64'>hvm</type><cmdline>swiotlb=9</cmdline></os>", Rule::Architecture, Error, "s390x"),
    ("os", "<os><type>hvm</type><cmdline>swiotlb=9</cmdline></os>", Rule::Architecture, Warning, "arch='s390x'"),
    (
        "os",
        "<os><type arch='s390x' machine='q35'>hvm</type><cmdline>swiotlb=9</cmdline></os>",
        Rule::Machine,
        Error,
        "machine='s390-ccw-virtio'",
    ),
    ("os", "<os><type arch='s390x'>xen</type><cmdline>swiotlb=9</cmdline></os>", Rule::Machine, Error, ">hvm<"),
    ("cpu", "", Rule::CpuModel, Warning, HOST_MODEL),
    ("cpu", "<cpu><topology sockets='1' cores='2' threads='1'/></cpu>", Rule::CpuModel, Warning, HOST_MODEL),
    ("cpu", "<cpu mode='custom'><model>gen16a</model></cpu>", Rule::CpuModel, Error, UNPACK),
    ("cpu", "<cpu><model>gen16a</model></cpu>", Rule::CpuModel, Error, UNPACK),
    ("cpu", "<cpu mode='custom'/>", Rule::CpuModel, Error, HOST_MODEL),
    ("cpu", "<cpu mode='fast'/>", Rule::CpuModel, Error, HOST_MODEL),
    (
        "cpu",
        "<cpu mode='custom'><model>z14</model><feature policy='require' name='unpack'/></cpu>",
        Rule::CpuModel,
        Error,
        HOST_MODEL,
    ),
    (
        "cpu",
        "<cpu mode='custom'><model>gen16a</model><feature policy='optional' name='unpack'/></cpu>",
        Rule::CpuModel,
        Warning,
        UNPACK,
    ),
    ("cpu", "<cpu mode='host-model'><feature policy='disable' name='unpack'/></cpu>", Rule::CpuModel, Error, UNPACK),
    ("backing", "<memoryBacking><hugepages/></memoryBacking>", Rule::HugePages, Error, REMOVE),
    ("launch", "", Rule::LaunchSecurity, Note, "<launchSecurity type='s390-pv'/>"),
    ("launch", "<launchSecurity type='sev'/>", Rule::LaunchSecurity, Error, "<launchSecurity type='s390-pv'/>"),
    ("launch", "<launchSecurity/>", Rule::LaunchSecurity, Error, "<launchSecurity type='s390-pv'/>"),
    ("os", "<os><type arch='s390x'>hvm</type></os>", Rule::Swiotlb, Note, ""),
    (
        "os",
        "<os><type arch='s390x'>hvm</type><cmdline>a=1 &amp;&amp; b</cmdline></os>",
        Rule::Swiotlb,
        Warning,
        "<cmdline>a=1 &amp;&amp; b swiotlb=262144</cmdline>",
    ),
    (
        "os",
        "<os><type arch='s390x'>hvm</type><cmdline>swiotlb=noforce</cmdline></os>",
        Rule::Swiotlb,
        Error,
        "<cmdline>swiotlb=262144</cmdline>",
    ),
    (
        "os",
        "<os><type arch='s390x'>hvm</type><cmdline>swiotlb=lots</cmdline></os>",
        Rule::Swiotlb,
        Warning,
        "swiotlb=262144",
    ),
];

/// With `launchSecurity`, which makes bounce buffers the default.
const DEVICES: &[Case] = &[
    ("balloon", "<memballoon model='virtio'/>", Rule::Balloon, Error, NO_BALLOON),
    ("balloon", "<memballoon/>", Rule::Balloon, Error, NO_BALLOON),
    ("balloon", "", Rule::Balloon, Warning, NO_BALLOON),
    (
        "device",
        "<disk><driver name='qemu' iommu='off'/><target dev='vda'/></disk>",
        Rule::BounceBuffers,
        Error,
        "<driver name='qemu' iommu='on'/>",
    ),
    ("device", "<disk><target dev='hda'/></disk>", Rule::VirtioOnly, Error, "bus='virtio'"),
    ("device", "<disk><target dev='sda' bus='usb'/></disk>", Rule::VirtioOnly, Error, "bus='virtio'"),
    ("device", "<interface type='network'><model type='e1000'/></interface>", Rule::VirtioOnly, Error, "'virtio'"),
    ("device", "<controller type='scsi' model='lsilogic'/>", Rule::VirtioOnly, Error, "virtio-scsi"),
    ("device", "<interface type='hostdev'/>", Rule::PassThrough, Error, "<interface type='network'>"),
    ("device", "<hostdev mode='subsystem' type='pci'/>", Rule::PassThrough, Error, REMOVE),
    ("device", "<hostdev mode='subsystem' type='usb'/>", Rule::PassThrough, Error, REMOVE),
    ("device", "<hostdev mode='subsystem' type='mdev' model='vfio-ccw'/>", Rule::PassThrough, Error, REMOVE),
    ("device", "<hostdev mode='subsystem' type='mdev' model='vfio-ap'/>", Rule::PassThrough, Warning, ""),
    ("device", "<memory model='virtio-mem'/>", Rule::MemoryDevice, Warning, REMOVE),
];

/// Without `launchSecurity`: these need bounce buffers of their own, and what to write.
const VIRTIO: &[(&str, &str)] = &[
    ("<disk type='file'><target dev='vda' bus='virtio'/></disk>", "<driver iommu='on'/>"),
    ("<disk><driver name='qemu' type='raw'/><target dev='vda'/></disk>", "<driver name='qemu' type='raw' iommu='on'/>"),
    ("<disk><driver name='qemu'></driver><target dev='vda'/></disk>", "<driver name='qemu' iommu='on'>"),
    ("<disk><driver iommu=\"off\" name='a>b'/><target dev='vda'/></disk>", "<driver name='a>b' iommu='on'/>"),
    ("<interface type='network'><model type='virtio'/></interface>", "<driver iommu='on'/>"),
    ("<interface type='bridge'/>", "<driver iommu='on'/>"),
    ("<controller type='scsi' model='virtio-scsi'/>", "<driver iommu='on'/>"),
    ("<controller type='scsi'/>", "<driver iommu='on'/>"),
    ("<controller type='virtio-serial'/>", "<driver iommu='on'/>"),
    ("<rng model='virtio'><backend model='random'/></rng>", "<driver iommu='on'/>"),
    ("<input type='keyboard' bus='virtio'/>", "<driver iommu='on'/>"),
    ("<video><model type='virtio'/></video>", "<driver iommu='on'/>"),
    ("<filesystem><driver type='virtiofs'/></filesystem>", "<driver type='virtiofs' iommu='on'/>"),
    ("<vsock model='virtio'/>", "<driver iommu='on'/>"),
    ("<crypto model='virtio'/>", "<driver iommu='on'/>"),
    ("<hostdev mode='subsystem' type='scsi_host'/>", "<driver iommu='on'/>"),
    ("<console type='pty'><target type='virtio'/></console>", "<controller type='virtio-serial' index='0'>"),
    ("<channel type='unix'/>", "<controller type='virtio-serial' index='0'>"),
    ("<disk><target dev='sda'/></disk>", "<controller type='scsi' index='0' model='virtio-scsi'>"),
    ("<hostdev mode='subsystem' type='scsi'/>", "<controller type='scsi' index='0' model='virtio-scsi'>"),
];

/// With or without `launchSecurity`, these are in order.
const IN_ORDER: &[(&str, &str)] = &[
    ("device", "<disk><driver iommu='on'/><target dev='vda'/></disk>"),
    ("device", "<interface type='network'><driver iommu=\"on\"/></interface>"),
    ("device", "<console type='pty'/>"),
    ("device", "<console type='pty'><target type='sclp'/></console>"),
    ("device", "<serial type='pty'/>"),
    ("device", "<controller type='pci' model='pci-root'/>"),
    ("device", "<controller type='virtio-serial'><driver iommu='on'/></controller><channel type='unix'/>"),
    ("device", "<controller type='scsi'><driver iommu='on'/></controller><disk><target bus='scsi'/></disk>"),
    ("device", "<video><model type='none'/></video>"),
    ("device", "<panic model='s390'/><emulator>/usr/bin/qemu</emulator>"),
    ("cpu", "<cpu mode='host-passthrough'/>"),
    ("cpu", "<cpu mode='maximum'/>"),
    ("cpu", "<cpu mode='custom'><model>gen15a</model><feature policy='require' name='unpack'/></cpu>"),
    ("cpu", "<cpu mode='custom'><model>gen15a</model><feature name='unpack'/></cpu>"),
    ("current", "<currentMemory unit='GiB'>2</currentMemory>"),
    ("backing", "<memoryBacking><nosharepages/></memoryBacking>"),
    ("vcpu", ""),
    ("vcpu", "<vcpu>247</vcpu>"),
    (
        "os",
        "<os><type arch='s390x' machine='s390-ccw-virtio-rhel9.4.0'>hvm</type><cmdline>swiotlb=1,force</cmdline></os>",
    ),
];

fn written(finding: &Finding) -> &str {
    match &finding.fix {
        Some(Fix::Replace(xml) | Fix::Add(xml)) => xml,
        Some(Fix::Remove) => REMOVE,
        None => "",
    }
}

#[test]
fn nothing_to_remark() {
    assert_eq!(findings(&definition("", "")), []);
}

#[test]
fn one_thing_at_a_time() {
    for (part, text, rule, severity, xml) in GUEST.iter().chain(DEVICES) {
        let found = findings(&definition(part, text));
        let about: Vec<_> = found.iter().map(|finding| (finding.rule, finding.severity)).collect();
        assert!(about.contains(&(*rule, *severity)), "{text}: {about:?}");
        let others = about.iter().filter(|one| **one != (*rule, *severity)).count();
        // A balloon of its own accord, if nothing is launched that would fence it.
        let allowed = usize::from(*rule == Rule::LaunchSecurity && *severity == Error);
        assert!(others <= allowed, "{text}: {about:?}");
        let finding = found.iter().find(|finding| finding.rule == *rule).unwrap();
        if xml.is_empty() {
            assert_eq!(finding.fix, None, "{text}");
        } else {
            assert!(written(finding).contains(xml), "{text}: {}", written(finding));
        }
        assert!(finding.reason.ends_with('.') && !finding.message.ends_with('.'), "{finding:?}");
    }
}

#[test]
fn every_rule_has_a_case() {
    for rule in Rule::ALL {
        let somewhere = GUEST.iter().chain(DEVICES).any(|(_, _, about, ..)| *about == rule);
        assert!(somewhere, "{rule:?}");
    }
}

/// The definition without `launchSecurity`.
fn by_hand(text: &str) -> String {
    definition("device", text).replace("<launchSecurity type='s390-pv'/>", "")
}

#[test]
fn bounce_buffers_device_by_device() {
    for (text, xml) in VIRTIO {
        let found = findings(&by_hand(text));
        let wrong: Vec<_> = found.iter().filter(|finding| finding.severity == Error).collect();
        assert_eq!(wrong.len(), 1, "{text}: {wrong:?}");
        assert_eq!(wrong[0].rule, Rule::BounceBuffers, "{text}");
        assert!(written(wrong[0]).contains(xml), "{text}: {}", written(wrong[0]));
        let launched = findings(&definition("device", text));
        let off = text.contains("off");
        assert_eq!(launched.iter().any(|finding| finding.severity == Error), off, "{text}: {launched:?}");
    }
}

#[test]
fn what_is_in_order() {
    for (part, text) in IN_ORDER {
        assert_eq!(findings(&definition(part, text)), [], "{text}");
        let without = definition(part, text).replace("<launchSecurity type='s390-pv'/>", "");
        assert!(findings(&without).iter().all(|finding| finding.severity == Note), "{text}");
    }
}

#[test]
fn an_implied_balloon_is_worse_without_launch_security() {
    let text = definition("balloon", "").replace("<launchSecurity type='s390-pv'/>", "");
    let found = findings(&text);
    assert!(found.iter().any(|finding| finding.rule == Rule::Balloon && finding.severity == Error));
}

#[test]
fn what_is_written_helps() {
    // What is to be written as a whole element takes the finding away.
    for (part, text, rule, _, _) in GUEST.iter().chain(DEVICES) {
        let found = findings(&definition(part, text));
        let finding = found.iter().find(|finding| finding.rule == *rule).unwrap();
        let whole = matches!(*part, "name" | "memory" | "vcpu" | "cpu" | "launch" | "balloon");
        let Some(Fix::Replace(xml)) = finding.fix.as_ref().filter(|_| whole) else { continue };
        if xml.starts_with("<feature") {
            continue;
        }
        assert_eq!(findings(&definition(part, xml)), [], "{text} → {xml}");
    }
}

#[test]
fn findings_stand_where_they_belong() {
    let text = definition("device", "<disk>\n <driver name='q' iommu='off'/>\n <target dev='vda'/></disk>");
    let found = findings(&text);
    let span = found[0].place.span;
    assert_eq!(&text[span.offset()..span.offset() + span.len()], "iommu='off'");
    assert_eq!((found[0].place.line, found[0].place.column), (12, 19));
}
