//! Devices of guests as a person meets them: files that are no disks, names that are wrong, requests that cannot be done.

mod folder;

use folder::{Folder, Told};

/// A scenario with one guest, `a`, of 1 MiB.
fn scenario(properties: &str, devices: &str, statements: &str) -> String {
    format!("scenario s\nguest a memory=\"1MiB\" {properties} {{\n{devices}\n}}\nstep t {{\n{statements}\n}}\n")
}

#[track_caller]
fn run(folder: &Folder, properties: &str, devices: &str, statements: &str) -> Told {
    folder.file("s.kdl", scenario(properties, devices, statements));
    folder.run(&["run", "s.kdl"])
}

/// The file cannot be used, and standard error has these words; `check` says the same.
#[track_caller]
fn wrong(folder: &Folder, properties: &str, devices: &str, statements: &str, words: &[&str]) {
    let told = run(folder, properties, devices, statements).exits(2).complains(words);
    told.complains(&["s.kdl:"]);
    folder.run(&["check", "s.kdl"]).exits(2).complains(words);
}

const READ: &str = "guest disk-read a disk=d sector=0 count=1 text=\"\\u{0}\"";
const DISK: &str = "disk d size=\"4KiB\"";

#[test]
fn files_that_are_no_disks() {
    let folder = Folder::new("io-files");
    std::fs::create_dir(folder.0.join("folder.img")).unwrap();
    folder.file("empty.img", "");
    let file = |name: &str| format!("disk d file=\"{name}\"");
    wrong(&folder, "", &file("nope.img"), READ, &["nope.img", "there is no such file"]);
    wrong(&folder, "", &file("folder.img"), READ, &["folder.img", "cannot be read"]);
    wrong(&folder, "", &file("empty.img"), READ, &["empty.img", "sector"]);
    wrong(&folder, "", &file("s.kdl/below.img"), READ, &["s.kdl/below.img", "cannot be read"]);
    wrong(&folder, "", &file("/dev/zero"), READ, &["/dev/zero"]);
    wrong(&folder, "", &file(""), READ, &["empty"]);
    wrong(&folder, "", &file("💥\\n\\u{1b}[31m.img"), READ, &["💥", "there is no such file"]);
    wrong(&folder, "", "disk d", READ, &["file=", "size="]);
    wrong(&folder, "", "disk file=\"empty.img\"", READ, &["name"]);
}

#[test]
fn sizes_that_no_disk_has() {
    let folder = Folder::new("io-sizes");
    for (size, words) in [
        ("\"0B\"", &["sector"][..]),
        ("\"511B\"", &["512"]),
        ("\"2GiB\"", &["1 GiB"]),
        ("\"99999999999999999999GiB\"", &["99999999999999999999GiB"]),
        ("-1", &["-1"]),
        ("\"a lot\"", &["a lot"]),
    ] {
        wrong(&folder, "", &format!("disk d size={size}"), READ, words);
    }
}

#[test]
fn a_run_changes_no_disk_and_what_is_left_over_of_a_sector_is_read() {
    let folder = Folder::new("io-copies");
    let path = folder.file("odd.img", [b'o'; 1200]);
    let mut permissions = std::fs::metadata(&path).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&path, permissions).unwrap();
    let write = "guest disk-write a disk=d sector=1 text=\"new\"";
    let read = |sector: u32, text: &str| format!("guest disk-read a disk=d sector={sector} count=1 text=\"{text}\"");
    let both = [write, &read(0, "oooo"), &read(1, "new")].join("\n");
    for _ in 0..2 {
        run(&folder, "", "disk d file=\"odd.img\"", &both).exits(0).says(&["pass: 1 scenario"]);
        assert_eq!(folder.bytes("odd.img"), [b'o'; 1200]);
    }
    let refused = format!("{write} expect=io-error\n{}", read(1, "oooo"));
    run(&folder, "", "disk d file=\"odd.img\" read-only=#true", &refused).exits(0).says(&["pass: 1 scenario"]);
    run(&folder, "", "disk d file=\"odd.img\" read-only=#true", write).exits(2).complains(&["checks nothing"]);
    let unexpected = format!("{write}\n{}", read(1, "new"));
    run(&folder, "", "disk d file=\"odd.img\" read-only=#true", &unexpected).exits(1).says(&["✗", "io-error"]);
}

#[test]
fn what_a_bounce_buffer_cannot_hold() {
    let folder = Folder::new("io-pool");
    let expected = |statement: &str, outcome: &str| format!("{statement} expect={outcome}");
    let read = "guest disk-read a disk=d sector=0 count=8";
    run(&folder, "swiotlb=0", DISK, &expected(read, "no-bounce-slot")).exits(0).says(&["no-bounce-slot"]);
    run(&folder, "swiotlb=0", DISK, READ).exits(1).says(&["✗", "no-bounce-slot"]);
    run(&folder, "swiotlb=3", DISK, &expected(read, "no-bounce-slot")).exits(0);
    run(&folder, "swiotlb=4", DISK, &expected(read, "ok")).exits(0);
    for (slots, words) in [
        ("257", "half of the memory"),
        ("4294967295", "half of the memory"),
        ("4294967296", "too large"),
        ("-1", "too small"),
        ("\"many\"", "many"),
    ] {
        wrong(&folder, &format!("swiotlb={slots}"), DISK, READ, &[words]);
    }
    wrong(&folder, "swiotlb=8", "load 0x3000 text=\"a\"", "guest read a:3 text=\"a\"", &["bounce buffer"]);
    wrong(&folder, "", &format!("{DISK}\nload 0xff000 text=\"a\""), READ, &["belongs to the devices"]);
    let nets: String = (0..60).map(|number| format!("net n{number}\n")).collect();
    wrong(&folder, "", &format!("{nets}{DISK}"), READ, &["bytes of the guest's memory"]);
}

#[test]
fn names_that_are_wrong_and_what_was_meant() {
    let folder = Folder::new("io-names");
    let disk = "disk scratch size=\"4KiB\"\nnet wire";
    let read = |name: &str| format!("guest disk-read a disk={name} sector=0 count=1 text=\"\"");
    wrong(&folder, "", disk, &read("scrach"), &["scrach", "did you mean `scratch`"]);
    wrong(&folder, "", disk, &read("wire"), &["no disk `wire`"]);
    wrong(&folder, "", disk, "guest receive a net=scratch", &["no net `scratch`"]);
    wrong(&folder, "", disk, "guest receive a net=wier text=\"\"", &["did you mean `wire`"]);
    wrong(&folder, "", disk, "guest disk-raed a disk=scratch", &["disk-raed", "did you mean `disk-read`"]);
    wrong(&folder, "", disk, "guest entropy a len=4", &["no rng"]);
    wrong(&folder, "", disk, "guest console-write a text=\"a\"", &["no console"]);
    wrong(&folder, "", "dsik d size=\"4KiB\"", READ, &["dsik", "did you mean `disk`"]);
    wrong(&folder, "", "disk d fiel=\"x\"", READ, &["fiel", "did you mean `file`"]);
    wrong(&folder, "", "disk d size=\"4KiB\"\ndisk d size=\"4KiB\"", READ, &["second device named `d`"]);
    wrong(&folder, "", "rng\nrng", "guest entropy a len=4", &["second `rng`"]);
    wrong(&folder, "", "disk console size=\"4KiB\"", READ, &["console"]);
    wrong(&folder, "", "net n to=\"b:n\"", "guest receive a net=n expect=no-data", &["no guest `b`"]);
    wrong(&folder, "", "net n to=\"a:m\"", "guest receive a net=n expect=no-data", &["no network device `m`"]);
    wrong(&folder, "", "net n to=\"n\"", "guest receive a net=n expect=no-data", &["GUEST:NAME"]);
    wrong(&folder, "", "", READ, &["has no devices"]);
}

#[test]
fn what_a_protected_guest_does_not_have() {
    let folder = Folder::new("io-refused");
    wrong(&folder, "", "balloon", READ, &["no balloon"]);
    wrong(&folder, "", "balloon size=3 \"x\" { y; }", READ, &["balloon"]);
    let without = "disk d size=\"4KiB\" iommu=#false";
    run(&folder, "", without, "guest disk-read a disk=d sector=0 count=1 expect=no-device").exits(0);
    run(&folder, "", without, READ).exits(1).says(&["✗", "no-device"]);
    wrong(&folder, "", "disk d size=\"4KiB\" iommu=off", READ, &["off"]);
}

#[test]
fn requests_that_reach_too_far() {
    let folder = Folder::new("io-requests");
    let read = |rest: &str| format!("guest disk-read a disk=d {rest}");
    for (rest, words) in [
        ("sector=8 count=1", &["8"][..]),
        ("sector=7 count=2", &["7"]),
        ("sector=0 count=0", &["0 is too small"]),
        ("sector=0 count=65537", &["65537 is too large"]),
        ("sector=18446744073709551615 count=1", &["18446744073709551615"]),
        ("sector=99999999999999999999999 count=1", &["99999999999999999999999"]),
        ("sector=-1 count=1", &["-1"]),
        ("sector=0", &["count"]),
        ("sector=0 count=1 to=0xff000", &["0xff000"]),
        ("sector=0 count=1 to=0xfffffffffffffe00", &["0xfffffffffffffe00"]),
    ] {
        wrong(&folder, "", DISK, &format!("{}\n{READ}", read(rest)), words);
    }
    run(&folder, "", DISK, &read("sector=8 count=1 expect=io-error")).exits(0);
    run(&folder, "", DISK, &read("sector=36028797018963967 count=65536 expect=io-error")).exits(0);
    wrong(&folder, "", "rng", "guest entropy a len=4097", &["4097"]);
    wrong(&folder, "", "rng", "guest entropy a len=0", &["0 is too small"]);
}

#[test]
fn in_json_a_wrong_disk_is_an_event_and_standard_error_stays_empty() {
    let folder = Folder::new("io-json");
    folder.file("s.kdl", scenario("", "disk d file=\"nope.img\"", READ));
    let told = folder.run(&["run", "--format", "json", "s.kdl"]).exits(2);
    assert_eq!(told.err, "");
    let events: Vec<serde_json::Value> = told.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().any(|event| event.to_string().contains("nope.img")), "{}", told.out);
}
