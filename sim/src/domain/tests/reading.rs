//! Files of any content.

use std::path::Path;

use super::{definition, read};
use crate::domain::{Connection, DeviceKind, Domain, VirtioController};

fn refused(text: impl AsRef<[u8]>) -> crate::domain::DomainError {
    *Domain::from_bytes(Path::new("guest.xml"), text.as_ref().to_vec()).expect_err("no domain")
}

#[test]
fn what_a_domain_says() {
    let text = "<?xml version='1.0' encoding='UTF-8'?>\n<!-- of mine -->\n<domain type='kvm' xmlns:qemu='http://q'>
      <metadata><x:name xmlns:x='http://x'>not this</x:name></metadata>
      <name> a &amp; b </name>
      <memory unit='MiB'>1<!-- no -->024</memory>
      <vcpu current='1'>4</vcpu>
      <os><type arch='s390x'>hvm</type><kernel>/k</kernel><initrd>/i</initrd><cmdline>a b</cmdline></os>
      <cpu mode='custom'><model>gen16a</model><feature name='unpack'/></cpu>
      <devices>
        <disk type='block'><source dev='/dev/sda'/><target dev='vda' bus='virtio'/></disk>
        <disk><target dev='sdb'/></disk>
        <interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/></interface>
        <channel type='unix'/>
      </devices>
      <qemu:commandline/>
    </domain>";
    let domain = read(text);
    assert_eq!(domain.title(), Some("a & b"));
    assert_eq!(domain.memory_bytes(), Some(1 << 30));
    assert_eq!(domain.vcpu_count(), Some(4));
    let os = domain.os.as_ref().unwrap();
    let value = |given: &Option<crate::domain::Given>| given.as_ref().unwrap().value.clone();
    assert_eq!([value(&os.kernel), value(&os.initrd), value(&os.cmdline)], ["/k", "/i", "a b"]);
    assert_eq!(domain.cpu.as_ref().unwrap().features[0].policy, "require");
    let disks: Vec<_> = domain.disks().map(|disk| (disk.summary(), disk.connection)).collect();
    assert_eq!(disks[0], ("disk vda (virtio) /dev/sda".to_owned(), Connection::Virtio));
    assert_eq!(disks[1].1, Connection::Through(VirtioController::Scsi));
    let interface = domain.interfaces().next().unwrap();
    assert_eq!(interface.summary(), "interface (virtio) bridge br0 52:54:00:00:00:01");
    assert!(matches!(&domain.devices[3].kind, DeviceKind::Character(kind) if kind == "virtio"));
    assert_eq!(domain.devices[3].place.line, 14);
}

#[test]
fn what_is_no_domain() {
    for (text, about, line) in [
        ("", "the file is empty", None),
        ("\u{feff} \n", "the file is empty", None),
        ("hello", "this is not XML", Some(1)),
        ("<domain>", "never closed", Some(1)),
        ("<domain>\n<name></nom>\n</domain>", "not 'nom'", Some(2)),
        ("<domain><name>&nope;</name></domain>", "unknown entity reference 'nope'", Some(1)),
        ("\n<network/>", "its root element is `network`", Some(2)),
        ("<q:domain xmlns:q='x'/>", "its root element is `domain`", Some(1)),
        ("<!DOCTYPE d [<!ENTITY a 'b'>]>\n<domain>&a;</domain>", "document type", Some(1)),
        ("<?xml version='1.0'?>\n<!DOCTYPE d SYSTEM 'file:///etc/passwd'><domain/>", "document type", Some(2)),
        ("<domain/><domain/>", "this is not XML", Some(1)),
    ] {
        let error = refused(text);
        assert!(error.message.contains(about), "{text}: {error}");
        assert_eq!(error.place.map(|place| place.line), line, "{text}");
    }
    assert!(refused(b"<domain>\xff</domain>").message.contains("0xff at offset 8"));
    assert!(refused(b"\x7fELF\x02\x01\x01\0\0\0\xf0").message.contains("not UTF-8"));
}

#[test]
fn files_that_are_hard_to_read() {
    let many = |count: usize, one: &dyn Fn(usize) -> String| (0..count).map(one).collect::<String>();
    assert!(refused(format!("<domain{}/>", many(60_000, &|n| format!(" a{n}='>'")))).message.contains("attributes"));
    assert!(refused(many(20_000, &|n| format!("<a xmlns:n{n}='{n}'>"))).message.contains("namespaces"));
    let deep = format!("<domain>{}{}</domain>", "<a>".repeat(100_000), "</a>".repeat(100_000));
    assert_eq!(read(&deep).devices, []);
    let comments = format!("<domain><!-- {} --></domain>", "= < ".repeat(10_000));
    assert_eq!(read(&comments).devices, []);
    let wide = format!("<domain><devices>{}</devices></domain>", "<rng/>".repeat(100_000));
    assert_eq!(read(&wide).devices.len(), 100_000);
    // A tag that never ends, and one whose value does not.
    assert!(refused("<domain ".repeat(10_000)).message.contains("not XML"));
    assert!(refused(format!("<domain a='{}", "=".repeat(10_000))).message.contains("not XML"));
}

#[test]
fn parts_of_a_good_file_and_spoilt_ones_are_answered() {
    assert_eq!(read("\u{feff}<domain/>").title(), None);
    let good = definition("device", "<disk><driver iommu='o&#102;f'/><target dev='vdé'/></disk>");
    for end in 0..good.len() {
        let _ = Domain::from_bytes(Path::new("x"), good.as_bytes()[..end].to_vec());
    }
    let mut state = 1u64;
    for _ in 0..3000 {
        let mut bytes = good.clone().into_bytes();
        for _ in 0..3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (at, byte) = ((state >> 33) as usize % bytes.len(), b"<>&'\"=/! \n\0a9"[(state >> 20) as usize % 13]);
            bytes[at] = byte;
        }
        if let Ok(domain) = Domain::from_bytes(Path::new("x"), bytes) {
            let findings = crate::domain::check(&domain);
            crate::domain::human::findings(&mut Vec::new(), &domain, &findings, false, 80);
        }
    }
}
