//! Rules about single devices.
//!
//! Origins: virtio devices, `iommu='on'` and the balloon from libvirt, "Protected Virtualization on s390", and IBM,
//! "KVM Virtual Server Management" (which names SCSI controllers, serial devices and shared file systems as those
//! easily overlooked); pass-through from QEMU `docs/system/s390x/protvirt.rst`; AP pass-through from the feature bits
//! 4 and 5 that Linux `arch/s390/include/asm/uv.h` names.

use super::super::document::{Connection, Device, DeviceKind, Domain, VirtioController};
use super::super::finding::{Fix, Rule};
use super::{Findings, Found, add, replace};
use crate::scenario::shown;

const BOUNCE: &str = "A virtio device finds its queues in the guest's memory, and the host cannot look there. With \
                      iommu='on' the guest lets it use pages that it shares with the host.";
const NO_BALLOON: &str = "<memballoon model='none'/>";

pub(super) fn check(domain: &Domain, findings: &mut Findings) {
    for device in &domain.devices {
        match &device.kind {
            DeviceKind::Balloon(model) => balloon(domain, device, model, findings),
            DeviceKind::Host { kind, model } => host(device, kind, model.as_deref(), findings),
            DeviceKind::Memory(model) if model == "virtio-mem" => memory(device, findings),
            _ => {}
        }
        match device.connection {
            Connection::Virtio => bounce_buffers(domain, device, findings),
            Connection::Foreign => foreign(device, findings),
            Connection::Through(_) | Connection::Other => {}
        }
    }
    for controller in [VirtioController::Scsi, VirtioController::Serial] {
        implied_controller(domain, controller, findings);
    }
    if !domain.devices.iter().any(|device| matches!(device.kind, DeviceKind::Balloon(_))) {
        implied_balloon(domain, findings);
    }
}

fn bounce_buffers(domain: &Domain, device: &Device, findings: &mut Findings) {
    let iommu = device.driver.as_ref().and_then(|driver| driver.iommu.as_ref());
    let (place, label, why) = match (iommu, domain.has_protected_launch()) {
        (Some(iommu), _) if iommu.value == "on" => return,
        (None, true) => return,
        (Some(iommu), true) => (iommu.place, "`on` expected", "This overrides what launch security sets. "),
        (Some(iommu), false) => (iommu.place, "`on` expected", ""),
        (None, false) => (device.place, "without iommu='on'", ""),
    };
    findings.error(Found {
        rule: Rule::BounceBuffers,
        place,
        message: format!("the {} does not use bounce buffers", device.summary()),
        label,
        reason: &format!("{why}{BOUNCE}"),
        fix: match &device.driver {
            Some(driver) => replace(with_iommu(&driver.tag, iommu.is_some())),
            None => add("<driver iommu='on'/>"),
        },
    });
}

/// The tag of a driver with `iommu='on'` at its end.
fn with_iommu(tag: &str, given: bool) -> String {
    let kept = if given { without_attribute(tag, "iommu") } else { tag.to_owned() };
    let (inside, end) = match kept.strip_suffix("/>") {
        Some(inside) => (inside, "/>"),
        None => (kept.strip_suffix('>').unwrap_or(&kept), ">"),
    };
    format!("{} iommu='on'{end}", inside.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// A tag without one of its attributes, as far as it is written plainly.
fn without_attribute(tag: &str, name: &str) -> String {
    let Some(start) = tag.find(&format!(" {name}=")).or_else(|| tag.find(&format!("\n{name}="))) else {
        return tag.to_owned();
    };
    let value = start + name.len() + 2;
    let quote = tag[value..].chars().next().unwrap_or('\'');
    let end = tag[value..].match_indices(quote).nth(1).map_or(tag.len(), |(at, _)| value + at + 1);
    format!("{}{}", &tag[..start], &tag[end..])
}

fn foreign(device: &Device, findings: &mut Findings) {
    const VIRTIO_ONLY: &str =
        "The machine of s390x has no such bus. Protected guests do their I/O with virtio devices.";
    let place = device.place;
    let (what, fix) = match &device.kind {
        DeviceKind::Disk { .. } => ("the disk is not a virtio disk", "<target dev='vda' bus='virtio'/>"),
        DeviceKind::Interface { kind, .. } if kind == "hostdev" => {
            return pass_through(device, "<interface type='network'>", findings);
        }
        DeviceKind::Interface { .. } => ("the interface is not a virtio interface", "<model type='virtio'/>"),
        _ => ("the controller is not a virtio controller", "<controller type='scsi' model='virtio-scsi'/>"),
    };
    findings.error(Found {
        rule: Rule::VirtioOnly,
        place,
        message: format!("{what}: {}", device.summary()),
        label: "not virtio",
        reason: VIRTIO_ONLY,
        fix: replace(fix),
    });
}

fn host(device: &Device, kind: &str, model: Option<&str>, findings: &mut Findings) {
    match (kind, model) {
        // Emulated by QEMU behind a virtio controller, or virtio itself.
        ("scsi" | "scsi_host", _) => {}
        ("mdev", Some("vfio-ap")) => findings.warning(Found {
            rule: Rule::PassThrough,
            place: device.place,
            message: "whether a protected guest can use this crypto adapter depends on the host".into(),
            label: "needs AP pass-through",
            reason: "The Ultravisor must have the feature (bits 4 and 5 of feature_indications in \
                     /sys/firmware/uv/query), Linux and QEMU must know it, and the guest binds the queues with a \
                     secret of its own before it can use them.",
            fix: None,
        }),
        _ => pass_through(device, "", findings),
    }
}

fn pass_through(device: &Device, instead: &str, findings: &mut Findings) {
    findings.error(Found {
        rule: Rule::PassThrough,
        place: device.place,
        message: format!("a protected guest cannot use this device of the host: {}", device.summary()),
        label: "passed through",
        reason: "A device that is passed through reads and writes guest memory by itself, which the Ultravisor does not \
                 let it. Protected guests do their I/O with virtio devices.",
        fix: if instead.is_empty() { Some(Fix::Remove) } else { replace(instead) },
    });
}

fn memory(device: &Device, findings: &mut Findings) {
    findings.warning(Found {
        rule: Rule::MemoryDevice,
        place: device.place,
        message: "memory that is plugged by virtio does not go together with protection".into(),
        label: "gives memory back",
        reason: "It returns memory to the host by discarding it, which QEMU switches off for protected guests.",
        fix: Some(Fix::Remove),
    });
}

fn balloon(domain: &Domain, device: &Device, model: &str, findings: &mut Findings) {
    if model == "none" {
        return;
    }
    let without = !domain.has_protected_launch()
        && device.driver.as_ref().and_then(|driver| driver.iommu.as_ref()).is_none_or(|iommu| iommu.value != "on");
    let more = if without { " It does not use bounce buffers either." } else { "" };
    findings.error(Found {
        rule: Rule::Balloon,
        place: device.place,
        message: format!("a memory balloon (`{}`) does not work in a protected guest", shown(model)),
        label: "`none` expected",
        reason: &format!("The host cannot take pages that it cannot read away from a guest; QEMU fences it.{more}"),
        fix: replace(NO_BALLOON),
    });
}

/// libvirt adds a balloon where none is mentioned.
fn implied_balloon(domain: &Domain, findings: &mut Findings) {
    let place = domain.devices_place.unwrap_or(domain.place);
    let fix = match domain.devices_place {
        Some(_) => add(NO_BALLOON),
        None => add(format!("<devices>{NO_BALLOON}</devices>")),
    };
    let message = "the domain gets a memory balloon, since it does not say that it has none".to_owned();
    let (rule, label) = (Rule::Balloon, "<memballoon> expected inside");
    if domain.has_protected_launch() {
        let reason = "libvirt adds a virtio balloon where the definition does not mention one. QEMU fences it.";
        findings.warning(Found { rule, place, message, label, reason, fix });
    } else {
        let reason = "libvirt adds a virtio balloon where the definition does not mention one, and that device does not \
                      use bounce buffers.";
        findings.error(Found { rule, place, message, label, reason, fix });
    }
}

/// libvirt adds the controller that a device needs where none is mentioned.
fn implied_controller(domain: &Domain, controller: VirtioController, findings: &mut Findings) {
    let is_it =
        |device: &Device| matches!(&device.kind, DeviceKind::Controller { kind, .. } if kind == controller.kind());
    if domain.has_protected_launch() || domain.devices.iter().any(is_it) {
        return;
    }
    let carried = domain.devices.iter().find(|device| device.connection == Connection::Through(controller));
    let Some(device) = carried else { return };
    let model = if controller == VirtioController::Scsi { " model='virtio-scsi'" } else { "" };
    findings.error(Found {
        rule: Rule::BounceBuffers,
        place: device.place,
        message: format!("the controller of the {} does not use bounce buffers", device.summary()),
        label: "gets a controller",
        reason: &format!(
            "libvirt adds the controller that this device needs, without iommu='on', where the definition does not \
             mention one. {BOUNCE}"
        ),
        fix: add(format!(
            "<controller type='{}' index='0'{model}><driver iommu='on'/></controller>",
            controller.kind()
        )),
    });
}
