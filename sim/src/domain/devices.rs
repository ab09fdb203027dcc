//! From the children of `<devices>` to [`Device`]s.
//!
//! Where an attribute is missing libvirt fills in a default, and so does this: on s390x a network interface, an
//! SCSI controller and a balloon are virtio, a console is one of the service-call logical processor (SCLP), and
//! the name of a disk decides its bus (libvirt's description of the domain XML format).

use roxmltree::Node;

use super::document::{Connection, Device, DeviceKind, Driver, VirtioController};
use super::xml::{Reader, child};

pub(super) fn device(reader: &Reader<'_>, node: Node<'_, '_>) -> Device {
    let element = node.tag_name().name();
    let (kind, connection) = match element {
        "disk" => disk(node),
        "interface" => interface(node),
        "controller" => controller(node),
        "console" | "serial" | "channel" | "parallel" => character(node, element),
        "memballoon" => balloon(node),
        "hostdev" => host(node),
        "memory" => (DeviceKind::Memory(text(node, "model").unwrap_or_default()), Connection::Other),
        _ => other(node, element),
    };
    Device {
        element: element.to_owned(),
        place: reader.tag(node),
        kind,
        connection,
        driver: child(node, "driver").map(|driver| Driver {
            place: reader.tag(driver),
            tag: reader.tag_text(driver).to_owned(),
            iommu: reader.attribute(driver, "iommu"),
        }),
    }
}

fn text(node: Node<'_, '_>, attribute: &str) -> Option<String> {
    node.attribute(attribute).map(str::to_owned)
}

fn of_child(node: Node<'_, '_>, name: &str, attribute: &str) -> Option<String> {
    child(node, name).and_then(|child| text(child, attribute))
}

/// The first of these attributes of a child.
fn one_of(node: Node<'_, '_>, name: &str, attributes: &[&str]) -> Option<String> {
    attributes.iter().find_map(|attribute| of_child(node, name, attribute))
}

fn is_virtio(model: &str) -> bool {
    model == "virtio" || model.starts_with("virtio-")
}

fn disk(node: Node<'_, '_>) -> (DeviceKind, Connection) {
    let target = of_child(node, "target", "dev");
    let by_name = match target.as_deref().unwrap_or_default() {
        name if name.starts_with("sd") => "scsi",
        name if name.starts_with("hd") => "ide",
        name if name.starts_with("fd") => "fdc",
        _ => "virtio",
    };
    let bus = of_child(node, "target", "bus").unwrap_or_else(|| by_name.to_owned());
    let connection = match bus.as_str() {
        "virtio" => Connection::Virtio,
        "scsi" => Connection::Through(VirtioController::Scsi),
        _ => Connection::Foreign,
    };
    let source = one_of(node, "source", &["file", "dev", "dir", "volume", "name"]);
    (DeviceKind::Disk { target, bus, source }, connection)
}

fn interface(node: Node<'_, '_>) -> (DeviceKind, Connection) {
    let kind = text(node, "type").unwrap_or_default();
    let model = of_child(node, "model", "type").unwrap_or_else(|| "virtio".to_owned());
    let connection = match kind.as_str() {
        "hostdev" => Connection::Foreign,
        _ if is_virtio(&model) => Connection::Virtio,
        _ => Connection::Foreign,
    };
    let source = one_of(node, "source", &["network", "bridge", "dev", "path", "address"]);
    (DeviceKind::Interface { kind, model, source, mac: of_child(node, "mac", "address") }, connection)
}

fn controller(node: Node<'_, '_>) -> (DeviceKind, Connection) {
    let kind = text(node, "type").unwrap_or_default();
    let model = text(node, "model");
    let connection = match (kind.as_str(), model.as_deref()) {
        ("virtio-serial", _) | ("scsi", None | Some("auto")) => Connection::Virtio,
        ("scsi", Some(model)) if is_virtio(model) => Connection::Virtio,
        ("scsi", Some(_)) => Connection::Foreign,
        _ => Connection::Other,
    };
    (DeviceKind::Controller { kind, model }, connection)
}

fn character(node: Node<'_, '_>, element: &str) -> (DeviceKind, Connection) {
    let default = match element {
        "console" => "sclp",
        "channel" => "virtio",
        _ => "sclp-serial",
    };
    let target = of_child(node, "target", "type").unwrap_or_else(|| default.to_owned());
    let connection = if is_virtio(&target) { Connection::Through(VirtioController::Serial) } else { Connection::Other };
    (DeviceKind::Character(target), connection)
}

fn balloon(node: Node<'_, '_>) -> (DeviceKind, Connection) {
    let model = text(node, "model").unwrap_or_else(|| "virtio".to_owned());
    // The rule about balloons says all there is to say.
    (DeviceKind::Balloon(model), Connection::Other)
}

fn host(node: Node<'_, '_>) -> (DeviceKind, Connection) {
    let kind = text(node, "type").unwrap_or_default();
    let connection = match kind.as_str() {
        "scsi" => Connection::Through(VirtioController::Scsi),
        "scsi_host" => Connection::Virtio,
        _ => Connection::Other,
    };
    (DeviceKind::Host { kind, model: text(node, "model") }, connection)
}

/// Devices of which only matters whether they are virtio.
fn other(node: Node<'_, '_>, element: &str) -> (DeviceKind, Connection) {
    let (named, virtio) = match element {
        "filesystem" => (of_child(node, "driver", "type"), true),
        "rng" | "vsock" | "crypto" => (text(node, "model"), true),
        "input" => {
            let bus = text(node, "bus");
            let virtio = bus.as_deref().is_none_or(is_virtio);
            (bus.or_else(|| text(node, "type")), virtio)
        }
        "video" => {
            let model = of_child(node, "model", "type");
            let virtio = model.as_deref().is_none_or(is_virtio);
            (model, virtio)
        }
        _ => (text(node, "model").or_else(|| text(node, "type")), false),
    };
    let virtio = virtio && !(element == "video" && named.as_deref() == Some("none"));
    (DeviceKind::Other(named), if virtio { Connection::Virtio } else { Connection::Other })
}
