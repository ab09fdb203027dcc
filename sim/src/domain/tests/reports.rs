//! What a person and a program read.

use super::{definition, read};
use crate::domain::{check, human, json};

fn drawn(text: &str) -> String {
    let domain = read(text);
    let mut out = Vec::new();
    human::findings(&mut out, &domain, &check(&domain), false, 80);
    let text = String::from_utf8(anstream::adapter::strip_bytes(&out).into_vec()).unwrap();
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[test]
fn nothing_to_remark() {
    insta::assert_snapshot!(drawn(&definition("", "")), @r#"
    ✓ guest.xml: protected, 2 GiB, 2 vCPUs: nothing to remark
    "#);
}

#[test]
fn a_report() {
    let devices = "<disk type='file'>\n  <driver name='qemu' type='qcow2'/>\n  <target dev='vda' bus='virtio'/>\n</disk>\n\
                   <rng model='virtio'/>";
    let text = definition("device", devices).replace("<launchSecurity type='s390-pv'/>", "");
    insta::assert_snapshot!(drawn(&text), @r#"
      ☞ note: the domain has no <launchSecurity> (launch-security)
       ╭─[guest.xml:1:1]
     1 │ <domain type='kvm'>
       · ─────────┬─────────
       ·          ╰── could be inside
     2 │ <name>protected</name>
       ╰────
      A guest may do without, and then needs iommu='on' at every virtio device. From
      libvirt 7.6.0 on this element stands for all of them, and lets QEMU check the
      rest before the guest starts.
      add: <launchSecurity type='s390-pv'/>

      × error: the disk vda (virtio) does not use bounce buffers (bounce-buffers)
        ╭─[guest.xml:11:1]
     10 │ <devices>
     11 │ <disk type='file'>
        · ─────────┬────────
        ·          ╰── without iommu='on'
     12 │   <driver name='qemu' type='qcow2'/>
        ╰────
      A virtio device finds its queues in the guest's memory, and the host cannot
      look there. With iommu='on' the guest lets it use pages that it shares with
      the host.
      write: <driver name='qemu' type='qcow2' iommu='on'/>

      × error: the rng virtio does not use bounce buffers (bounce-buffers)
        ╭─[guest.xml:15:1]
     14 │ </disk>
     15 │ <rng model='virtio'/>
        · ──────────┬──────────
        ·           ╰── without iommu='on'
     16 │ <memballoon model='none'/>
        ╰────
      add: <driver iommu='on'/>

    ✗ guest.xml: protected, 2 GiB, 2 vCPUs: 2 errors, 1 note
    "#);
}

#[test]
fn long_lines_are_not_quoted_and_long_lists_end() {
    let text = definition("device", &"<rng iommu='1'/>".repeat(150)).replace("<launchSecurity type='s390-pv'/>", "");
    let told = drawn(&text);
    assert!(told.lines().all(|line| line.chars().count() <= 100), "{told}");
    assert!(told.contains("at line 11, column 1\n") && told.contains("… and "), "{told}");
    assert!(told.contains(": 150 errors, "), "{told}");
}

#[test]
fn objects() {
    let domain = read(&definition("balloon", "<memballoon model='virtio'/>"));
    let mut out = Vec::new();
    json::findings(&mut out, &domain, &check(&domain));
    json::verdict(&mut out, 1, 1, 0);
    insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"
    {"event":"finding","file":"guest.xml","line":12,"column":1,"severity":"error","rule":"balloon","message":"a memory balloon (`virtio`) does not work in a protected guest","reason":"The host cannot take pages that it cannot read away from a guest; QEMU fences it.","fix":"replace","xml":"<memballoon model='none'/>"}
    {"event":"domain","file":"guest.xml","name":"protected","memory":2147483648,"vcpus":2,"disks":[],"interfaces":[],"errors":1,"warnings":0,"notes":0}
    {"event":"verdict","result":"fail","status":1,"domains":1,"unusable":0}
    "#);
}
