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
    insta::assert_snapshot!(drawn(&definition("", "")), @"");
}

#[test]
fn a_report() {
    let devices = "<disk type='file'>\n  <driver name='qemu' type='qcow2'/>\n  <target dev='vda' bus='virtio'/>\n</disk>\n\
                   <rng model='virtio'/>";
    let text = definition("device", devices).replace("<launchSecurity type='s390-pv'/>", "");
    insta::assert_snapshot!(drawn(&text), @"");
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
    insta::assert_snapshot!(String::from_utf8(out).unwrap(), @"");
}
