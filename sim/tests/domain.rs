//! Domain definitions and host information, as a person meets them.

mod folder;

use folder::{Folder, Told};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Output, Stdio};

/// Standard output and standard error of a run that ends with this status.
#[track_caller]
fn run(folder: &Folder, status: i32, arguments: &[&str]) -> (String, String) {
    told(status, folder.uvsim(arguments).output().unwrap())
}

#[track_caller]
fn told(status: i32, output: Output) -> (String, String) {
    let told = Told::of(output).exits(status);
    (told.out, told.err)
}

#[track_caller]
fn says(text: &str, what: &[&str]) {
    for what in what {
        assert!(text.contains(what), "`{what}` is not in\n{text}");
    }
}

fn good() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/data/protected_guest.xml");
    std::fs::read_to_string(path).unwrap()
}

/// Wrong in a device, and good for a simulation.
fn device_wrong() -> String {
    good().replace("model='none'", "model='virtio'")
}

/// Wrong as a whole.
fn guest_wrong() -> String {
    good().replace("s390x", "x86_64")
}

#[test]
fn check_domain_and_its_statuses() {
    let folder = Folder::new("check");
    folder.file("good.xml", good());
    folder.file("device.xml", device_wrong());
    folder.file("guest.xml", guest_wrong());
    let (out, err) = run(&folder, 0, &["check-domain", "good.xml"]);
    assert_eq!((out.as_str(), err.as_str()), ("✓ good.xml: protected, 512 MiB, 2 vCPUs: nothing to remark\n", ""));
    let (out, _) = run(&folder, 1, &["check-domain", "good.xml", "device.xml"]);
    says(&out, &["✓ good.xml", "✗ device.xml", "[device.xml:23:5]", "write: <memballoon model='none'/>"]);
    run(&folder, 1, &["check-domain", "guest.xml"]);
    let (out, err) = run(&folder, 2, &["check-domain", "device.xml", "nope.xml"]);
    says(&out, &["✗ device.xml"]);
    assert_eq!(err, "error: nope.xml: the file cannot be read: there is no such file\n");
    let (out, err) = run(&folder, 2, &["check-domain", "--format", "json", "device.xml", "nope.xml"]);
    assert_eq!(err, "");
    let events: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["finding", "domain", "error", "verdict"]);
    assert_eq!((&events[0]["rule"], &events[0]["line"]), (&"balloon".into(), &23.into()));
    assert_eq!(events[3]["status"], 2);
}

#[test]
fn files_that_are_none() {
    let folder = Folder::new("files");
    folder.file("empty.xml", "");
    folder.file("binary.xml", [0, 159, 146, 150, 0, 255]);
    folder.file("text.xml", "hello\n");
    folder.file("network.xml", "<network><name>default</name></network>");
    folder.file("dtd.xml", "<!DOCTYPE d [<!ENTITY a \"aaaa\">]><domain><name>&a;</name></domain>");
    folder.file("cut.xml", &good()[..200]);
    folder.file("long.xml", " ".repeat(2 << 20));
    for (name, about) in [
        ("empty.xml", "the file is empty"),
        ("binary.xml", "not UTF-8: byte 0x9f at offset 1"),
        ("text.xml", "this is not XML"),
        ("network.xml", "its root element is `network`"),
        ("dtd.xml", "document type"),
        ("cut.xml", "this is not XML"),
        ("long.xml", "longer than the 1048576 bytes"),
        ("nope.xml", "there is no such file"),
        (".", "it is a directory"),
    ] {
        for arguments in [&["check-domain", name][..], &["run", "--domain", name]] {
            let (_, err) = run(&folder, 2, arguments);
            says(&err, &[about]);
        }
        let (out, err) = run(&folder, 2, &["run", "--domain", name, "--format", "json"]);
        assert_eq!(err, "", "{name}");
        says(&out, &["\"event\":\"error\"", "\"status\":2"]);
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        folder.file("shut.xml", good());
        let shut = folder.0.join("shut.xml");
        std::fs::set_permissions(&shut, std::fs::Permissions::from_mode(0o000)).unwrap();
        // Root reads everything.
        let wanted = if std::fs::read(&shut).is_ok() { 0 } else { 2 };
        run(&folder, wanted, &["check-domain", "shut.xml"]);
        let mut child = folder
            .uvsim(&["check-domain", "/dev/stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _ = child.stdin.take().unwrap().write_all(good().as_bytes());
        let (_, err) = told(2, child.wait_with_output().unwrap());
        says(&err, &["not a regular file"]);
    }
}

#[test]
fn a_domain_runs() {
    let folder = Folder::new("run");
    folder.file("good.xml", good());
    let (out, err) = run(&folder, 0, &["run", "--domain", "good.xml"]);
    assert_eq!(err, "");
    says(
        &out,
        &[
            "guest protected: 512 MiB, 2 vCPUs, as good.xml (protected) says",
            "disk vda (virtio) /var/lib/libvirt/images/protected.qcow2",
            "interface (virtio) network default 52:54:00:15:8a:01",
            "check invariants",
            "pass: 1 scenario",
        ],
    );
    // What is printed runs, and does the same.
    let (text, _) = run(&folder, 0, &["run", "--domain", "good.xml", "--print-scenario"]);
    folder.file("mine.kdl", &text);
    assert_eq!(run(&folder, 0, &["run", "mine.kdl"]).0, out);
    let (json, _) = run(&folder, 0, &["run", "--domain", "good.xml", "--format", "json", "--seed", "9"]);
    says(&json, &["\"event\":\"domain\"", "\"memory\":536870912,\"vcpus\":2", "\"disks\":[\"disk vda", "\"seed\":9"]);
    let (_, err) = run(&folder, 2, &["run", "--print-scenario"]);
    says(&err, &["--domain"]);
    let (_, err) = run(&folder, 2, &["run"]);
    says(&err, &["FILE|DIR"]);
}

#[test]
fn domains_with_errors() {
    let folder = Folder::new("errors");
    folder.file("device.xml", device_wrong());
    folder.file("guest.xml", guest_wrong());
    let (out, _) = run(&folder, 0, &["run", "--domain", "device.xml"]);
    says(&out, &["warning: some devices would not work, 1 error in it: `uvsim check-domain` tells"]);
    for arguments in [&["run", "--domain", "guest.xml"][..], &["run", "--domain", "guest.xml", "--print-scenario"]] {
        let (_, err) = run(&folder, 2, arguments);
        says(&err, &["guest.xml:6:11", "the architecture is `x86_64`", "check-domain"]);
    }
    let scenario = |domain: &str| format!("scenario s\nguest a domain=\"{domain}\"\nstep t {{ check invariants; }}\n");
    for (domain, about) in [
        ("guest.xml", "`guest.xml` defines no protected guest: the architecture is `x86_64`, not s390x (line 6)"),
        ("none.xml", "the domain `none.xml` cannot be read: there is no such file"),
        ("s.kdl", "the domain `s.kdl` cannot be used: this is not XML"),
    ] {
        folder.file("s.kdl", scenario(domain));
        let (_, err) = run(&folder, 2, &["run", "s.kdl"]);
        let flat = err.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
        says(&flat, &["s.kdl:2:9", about]);
        run(&folder, 2, &["check", "s.kdl"]);
    }
    folder.file("s.kdl", scenario("device.xml"));
    run(&folder, 0, &["run", "s.kdl"]);
    folder.file("huge.xml", good().replace("<memory unit='MiB'>512", "<memory unit='TiB'>100"));
    let (_, err) = run(&folder, 2, &["run", "--domain", "huge.xml"]);
    says(&err, &["at most 16 TiB"]);
}

#[test]
fn a_domain_for_a_scenario() {
    let folder = Folder::new("scenario");
    folder.file("good.xml", good());
    let statement = "guest write a:131071 text=\"last\"\nguest read a:131072 len=1 expect=addressing";
    folder.file("size.kdl", format!("scenario s\nguest a memory=\"1MiB\" vcpus=5\nstep t {{\n{statement}\n}}\n"));
    run(&folder, 2, &["run", "size.kdl"]);
    let (out, _) = run(&folder, 0, &["run", "size.kdl", "--domain", "good.xml"]);
    says(&out, &["guest a: 512 MiB, 2 vCPUs, as good.xml (protected) says"]);
    // The second guest keeps what the file says.
    folder.file(
        "two.kdl",
        format!(
            "scenario s\nguest a\nguest b memory=\"2MiB\"\nstep t {{\n{statement}\nguest write b:511 text=\"x\"\n}}\n"
        ),
    );
    run(&folder, 2, &["run", "two.kdl"]);
    run(&folder, 0, &["run", "two.kdl", "--domain", "good.xml"]);
    folder.file("none.kdl", "scenario s\nstep t { check invariants; }\n");
    let (_, err) = run(&folder, 2, &["run", "none.kdl", "--domain", "good.xml"]);
    says(&err, &["no guest that the domain could set up"]);
}

#[test]
fn host_info_and_its_files() {
    let folder = Folder::new("host");
    let (out, _) = run(&folder, 0, &["host-info", "--generation", "z17", "--sysfs", "new/uv"]);
    says(&out, &["158", "161", "query/max_cpus", "257", "keys/host_key"]);
    assert_eq!(String::from_utf8(folder.bytes("new/uv/prot_virt_host")).unwrap(), "1\n");
    assert_eq!(String::from_utf8(folder.bytes("new/uv/query/max_guests")).unwrap(), "8388607\n");
    assert_eq!(String::from_utf8(folder.bytes("new/uv/keys/all")).unwrap().len(), 15 * 65);
    let (_, err) = run(&folder, 2, &["host-info", "--sysfs", "new/uv"]);
    assert_eq!(err, "error: `new/uv` is not empty\n");
    assert_eq!(
        String::from_utf8(folder.bytes("new/uv/query/facilities")).unwrap().lines().count(),
        4,
        "what was there is left alone"
    );
    std::fs::create_dir(folder.0.join("empty")).unwrap();
    run(&folder, 0, &["host-info", "--generation", "z15", "--guest", "--sysfs", "empty"]);
    assert_eq!(String::from_utf8(folder.bytes("empty/prot_virt_guest")).unwrap(), "1\n");
    assert!(!folder.0.join("empty/keys").exists(), "keys come with bit 34");
    folder.file("file", "");
    let (_, err) = run(&folder, 2, &["host-info", "--sysfs", "file"]);
    assert_eq!(err, "error: `file` is not a folder\n");
    let (_, err) = run(&folder, 2, &["host-info", "--sysfs", "file/below"]);
    says(&err, &["cannot be written"]);
    let (out, _) = run(&folder, 0, &["host-info", "--format", "json"]);
    let object: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(object["facilities"], serde_json::json!([158, 161]));
    assert_eq!(object["attributes"]["query/max_address"], "800000000000");
    let (out, _) = run(&folder, 0, &["host-info", "--without", "init-uv", "destr-sec-stor"]);
    says(&out, &["prot_virt_host                 0"]);
    let (_, err) = run(&folder, 2, &["host-info", "--guest", "--without", "init-uv"]);
    says(&err, &["no guest can be started: the host cannot be brought up: refused rc=0x2"]);
    let (_, err) = run(&folder, 2, &["host-info", "--without", "init"]);
    says(&err, &["no such call"]);
}

#[test]
fn help_and_readers_that_go_away() {
    let folder = Folder::new("help");
    folder.file("bad.xml", guest_wrong());
    folder.file("good.xml", good());
    let (out, _) = run(&folder, 0, &["--help"]);
    says(&out, &["check-domain", "host-info"]);
    says(&run(&folder, 0, &["check-domain", "--help"]).0, &["FILE.xml", "--format", "Exit status"]);
    says(&run(&folder, 0, &["host-info", "--help"]).0, &["--generation", "--sysfs", "--guest", "--without", "--seed"]);
    says(&run(&folder, 0, &["run", "--help"]).0, &["--domain", "--print-scenario"]);
    for (status, arguments) in [
        (1, &["check-domain", "bad.xml"][..]),
        (1, &["check-domain", "bad.xml", "--format", "json"]),
        (0, &["host-info"]),
        (0, &["run", "--domain", "good.xml", "--print-scenario"]),
    ] {
        let mut child = folder.uvsim(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(status), "{arguments:?}: {err}");
        assert!(!err.contains("panicked"), "{arguments:?}: {err}");
    }
}
