//! From XML to a [`Domain`].

use std::path::Path;
use std::sync::Arc;

use roxmltree::Node;

use super::devices;
use super::document::{Cpu, CpuFeature, Domain, Os, Quantity, Vcpus};
use super::error::DomainError;
use super::units;
use super::xml::{Reader, child, children};
use crate::scenario::shown;

pub(super) fn domain(
    path: &Path,
    text: &Arc<str>,
    reader: &Reader<'_>,
    root: Node<'_, '_>,
) -> Result<Domain, Box<DomainError>> {
    let name = root.tag_name();
    if name.name() != "domain" || name.namespace().is_some() {
        let message = format!("this is no domain definition: its root element is `{}`", shown(name.name()));
        let help = "`virsh dumpxml DOMAIN` prints a domain definition; its root element is <domain>";
        let range = root.range().start..root.range().start + reader.tag_text(root).len();
        return Err(reader.error(range, message, "<domain> expected", Some(help)));
    }
    let list = child(root, "devices");
    Ok(Domain {
        path: path.to_owned(),
        text: Arc::clone(text),
        place: reader.tag(root),
        kind: reader.attribute(root, "type"),
        name: child(root, "name").map(|node| reader.content(node)),
        memory: child(root, "memory").map(|node| quantity(reader, node)),
        current_memory: child(root, "currentMemory").map(|node| quantity(reader, node)),
        vcpus: child(root, "vcpu").map(|node| {
            let written = reader.content(node);
            Vcpus { count: written.value.parse().ok(), written }
        }),
        os: child(root, "os").map(|node| os(reader, node)),
        cpu: child(root, "cpu").map(|node| cpu(reader, node)),
        huge_pages: child(root, "memoryBacking")
            .and_then(|backing| child(backing, "hugepages"))
            .map(|node| reader.tag(node)),
        launch_security: child(root, "launchSecurity").map(|node| (reader.tag(node), reader.attribute(node, "type"))),
        devices_place: list.map(|node| reader.tag(node)),
        devices: list.into_iter().flat_map(children).map(|node| devices::device(reader, node)).collect(),
    })
}

fn quantity(reader: &Reader<'_>, node: Node<'_, '_>) -> Quantity {
    let mut written = reader.content(node);
    let unit = reader.attribute(node, "unit").map(|unit| unit.value);
    let number = written.value.parse().ok();
    let bytes = number.and_then(|number| units::bytes(number, unit.as_deref().unwrap_or_default()));
    if let Some(unit) = unit {
        written.value.push(' ');
        written.value.push_str(&unit);
    }
    Quantity { written, bytes }
}

fn os(reader: &Reader<'_>, node: Node<'_, '_>) -> Os {
    let kind = child(node, "type");
    let text = |name| child(node, name).map(|node| reader.content(node));
    Os {
        place: reader.tag(node),
        kind: kind.map(|kind| reader.content(kind)),
        arch: kind.and_then(|kind| reader.attribute(kind, "arch")),
        machine: kind.and_then(|kind| reader.attribute(kind, "machine")),
        kernel: text("kernel"),
        initrd: text("initrd"),
        cmdline: text("cmdline"),
    }
}

fn cpu(reader: &Reader<'_>, node: Node<'_, '_>) -> Cpu {
    let features = children(node).filter(|child| child.tag_name().name() == "feature");
    Cpu {
        place: reader.tag(node),
        mode: reader.attribute(node, "mode"),
        model: child(node, "model").map(|node| reader.content(node)),
        features: features
            .map(|feature| CpuFeature {
                place: reader.tag(feature),
                name: feature.attribute("name").unwrap_or_default().to_owned(),
                policy: feature.attribute("policy").unwrap_or("require").to_owned(),
            })
            .collect(),
    }
}
