//! Devices of guests and the verbs about them.

use std::path::Path;

use super::super::{
    ConsoleText, DataFiles, DeviceKind, DiskContent, DiskData, FileError, GuestDevices, GuestId, GuestIo, IoCheck,
    Node, Scenario, ScenarioErrors, Source, Verb,
};
use super::{parse, rejects};

const STEP: &str = "step t { check invariants; }";

/// A scenario whose guest `alpha` of 1 MiB holds these nodes.
fn guest(properties: &str, nodes: &str) -> String {
    format!("scenario s\nguest alpha memory=\"1MiB\" {properties} {{\n{nodes}\n}}\n{STEP}\n")
}

/// Statements on a guest with every kind of device, and one without any.
fn with(statements: &str) -> String {
    format!(
        "scenario s\nguest alpha memory=\"1MiB\" {{ disk d size=\"2KiB\"; disk ro size=\"512B\" read-only=#true; net n; \
         console; rng }}\nguest bare memory=\"1MiB\"\nstep t {{\n{statements}\ncheck invariants\n}}\n"
    )
}

fn devices(scenario: &Scenario, guest: usize) -> &GuestDevices {
    scenario.guests[guest].devices.as_ref().expect("it has devices")
}

#[track_caller]
fn good(statements: &str) -> Verb {
    let scenario = parse(&with(statements)).unwrap_or_else(|errors| panic!("{statements}: {:?}", errors.errors()));
    let nodes = &scenario.steps[0].nodes;
    match &nodes[nodes.len() - 2] {
        Node::Statement(statement) => statement.verb.clone(),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn io(statements: &str) -> GuestIo {
    match good(statements) {
        Verb::GuestIo { guest: GuestId(0), io } => io,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn bad(statements: &str, message: &str, at: &str) {
    rejects(&with(statements), message, at);
}

#[test]
fn devices_and_their_defaults() {
    let scenario = parse(&guest("", "disk d size=\"4KiB\"\nnet n iommu=#false\nconsole\nrng")).unwrap();
    let found = devices(&scenario, 0);
    assert_eq!(found.slots, 64);
    let names: Vec<_> = found.devices.iter().map(|device| (device.name.as_str(), device.iommu)).collect();
    assert_eq!(names, [("d", true), ("n", false), ("console", true), ("rng", true)]);
    let disk = DeviceKind::Disk { content: DiskContent::Zeros(4096), read_only: false };
    assert_eq!(found.devices[0].kind, disk);
    assert_eq!(found.devices[1].kind, DeviceKind::Net { to: None });
    // 32 pages of slots, 6 queues.
    assert_eq!(found.shared_bytes(), (32 + 12) * 4096);
    assert_eq!(devices(&parse(&guest("swiotlb=3", "rng")).unwrap(), 0).pool_bytes(), 2 * 4096);
    assert_eq!(devices(&parse(&guest("swiotlb=0", "rng")).unwrap(), 0).pool_bytes(), 0);
    assert_eq!(parse(&guest("", "")).unwrap().guests[0].devices, None);
}

#[test]
fn devices_that_cannot_be() {
    rejects(&guest("", "balloon"), "a protected guest has no balloon", "balloon");
    rejects(&guest("", "disk d"), "`disk` lacks one of: file= size=", "disk d");
    rejects(&guest("", "disk size=\"1MiB\""), "`disk` lacks a name", "");
    rejects(&guest("", "disk 9 size=\"1MiB\""), "a number where a name belongs", "9");
    rejects(&guest("", "disk console size=\"1MiB\""), "is not a name for a device", "console");
    rejects(&guest("", "disk d size=\"511B\""), "at least one sector", "size=\"511B\"");
    rejects(&guest("", "disk d size=\"2GiB\""), "more than this simulator keeps", "size=\"2GiB\"");
    rejects(&guest("", "disk d size=\"1MiB\" readonly=#true"), "`disk` has no property `readonly`", "readonly=#true");
    rejects(&guest("", "disk d size=\"1MiB\" persist=#true"), "never to its file", "persist=#true");
    rejects(&guest("", "disk d size=\"1000B\""), "1000 bytes has no whole number of sectors", "size=\"1000B\"");
    rejects(&guest("", "rng iommu=on"), "#true or #false", "iommu=on");
    rejects(&guest("", "disk d size=\"1MiB\"; net d"), "a second device named `d`", "net d");
    rejects(&guest("", "console; console"), "a second `console`", "console");
    rejects(&guest("", "dsk d size=\"1MiB\""), "`dsk` is not known here", "dsk");
}

#[test]
fn what_devices_take_of_the_memory() {
    rejects(&guest("swiotlb=4", ""), "a bounce buffer without a device", "swiotlb=4");
    rejects(&guest("swiotlb=257", "rng"), "257 slots take more than half", "swiotlb=257");
    assert!(parse(&guest("swiotlb=256", "rng")).is_ok());
    rejects(&guest("swiotlb=-1", "rng"), "-1 is too small", "swiotlb=-1");
    let many: String = (0..63).map(|number| format!("net n{number}\n")).collect();
    rejects(&guest("swiotlb=0", &many), "the devices need 1032192 bytes", "swiotlb=0");
    // One entropy source: 32 pages of slots, 2 of rings.
    let start = (1 << 20) - 34 * 4096;
    assert!(parse(&guest("", &format!("load {} hex=\"00\"; rng", start - 1))).is_ok());
    let load = format!("load {start} hex=\"00\"");
    rejects(&guest("", &format!("{load}; rng")), "belongs to the devices", &load);
    let load = format!("load {} hex=\"00 00\"", start - 1);
    rejects(&guest("", &format!("{load}; rng")), "from 0xde000 on belongs to the devices", &load);
}

#[test]
fn network_devices_are_joined() {
    let text = |a: &str, b: &str| {
        format!("scenario s\nguest a memory=\"1MiB\" {{ {a}; }}\nguest b memory=\"1MiB\" {{ {b}; }}\n{STEP}")
    };
    let to = |scenario: &Scenario, guest: usize, device: usize| match devices(scenario, guest).devices[device].kind {
        DeviceKind::Net { to } => to.map(|(guest, device)| (guest.0, device)),
        _ => None,
    };
    for (a, b) in [("net x to=\"b:y\"", "rng; net y"), ("net x", "rng; net y to=\"a:x\"")] {
        let scenario = parse(&text(a, b)).unwrap();
        assert_eq!((to(&scenario, 0, 0), to(&scenario, 1, 1)), (Some((1, 1)), Some((0, 0))), "{a} {b}");
    }
    assert!(parse(&text("net x to=\"b:y\"", "net y to=\"a:x\"")).is_ok());
    let scenario = parse(&text("net x; net z", "net y")).unwrap();
    assert_eq!(to(&scenario, 0, 0), None);
    rejects(&text("net x to=b", "net y"), "`b` is not a device of a guest", "to=b");
    rejects(&text("net x to=\"c:y\"", "net y"), "there is no guest `c`", "to=\"c:y\"");
    rejects(&text("net x to=\"b:z\"", "net y"), "no network device `z`", "to=\"b:z\"");
    rejects(&text("net x to=\"b:rng\"", "rng"), "no network device `rng`", "to=\"b:rng\"");
    rejects(&text("net x to=\"b:y\"; net z to=\"b:y\"", "net y"), "joined to another device", "to=\"b:y\"");
    rejects(&text("net x to=\"b:y\"; net z", "net y to=\"a:z\""), "joined to", "to=\"a:z\"");
}

/// One file of this content.
fn with_file(node: &str, content: Result<Vec<u8>, FileError>) -> Result<Scenario, ScenarioErrors> {
    let mut files = |_: &Path, _: u64| content.clone();
    let files: &mut dyn DataFiles = &mut files;
    Scenario::parse_with(Path::new("s.kdl"), &guest("", node), files)
}

#[test]
fn disks_from_files() {
    let disk = "disk d file=\"disk.img\"";
    let message = |content| with_file(disk, content).expect_err("it is broken").errors()[0].message.clone();
    assert_eq!(message(Ok(Vec::new())), "the disk `disk.img` is empty");
    assert_eq!(message(Err(FileError::Missing)), "the disk `disk.img` cannot be read: there is no such file");
    assert_eq!(message(Err(FileError::Directory)), "the disk `disk.img` cannot be read: it is a directory");
    let error = with_file(disk, Err(FileError::TooLong { limit: 1 << 30 })).unwrap_err();
    assert_eq!(error.errors()[0].help.as_deref(), Some("a disk has at most 1 GiB"));
    let content = |node: &str, file: usize| {
        let scenario = with_file(node, Ok(vec![1; file])).unwrap();
        match &devices(&scenario, 0).devices[0].kind {
            DeviceKind::Disk { content: DiskContent::Bytes(bytes), read_only: false } => bytes.to_vec(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(content(disk, 511), [&[1; 511][..], &[0]].concat(), "filled up to a sector");
    assert_eq!(content(disk, 1024), [1; 1024]);
    assert_eq!(content(disk, 1025), [&[1; 1025][..], &[0; 511]].concat());
}

#[test]
fn a_file_on_a_disk_of_a_given_size() {
    let disk = "disk d file=\"disk.img\" size=\"1KiB\"";
    for (file, sectors) in [(0, 2), (1000, 2), (1024, 2)] {
        let scenario = with_file(disk, Ok(vec![1; file])).unwrap();
        let DeviceKind::Disk { content, .. } = &devices(&scenario, 0).devices[0].kind else { panic!() };
        assert_eq!(content.sectors(), sectors);
    }
    let errors = with_file(disk, Ok(vec![1; 1025])).unwrap_err();
    let error = &errors.errors()[0];
    assert_eq!(error.message, "`disk.img` has 1025 bytes and does not fit on a disk of 1024");
    assert_eq!(error.help.as_deref(), Some("size=\"1536B\" at least, or leave `size=` out"));
    let place = error.place.expect("it has a place");
    assert_eq!((place.line, place.column), (3, 24), "that of the size");
}

/// A file that may only be read does for a disk that is written: runs write to a copy.
#[test]
fn the_file_of_a_disk_is_only_read() {
    let folder = std::env::temp_dir().join(format!("uvsim-disk-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let image = folder.join("disk.img");
    std::fs::write(&image, "before").unwrap();
    let mut permissions = std::fs::metadata(&image).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&image, permissions).unwrap();
    let path = folder.join("s.kdl");
    let text = "scenario s\nguest a memory=\"1MiB\" { disk d file=\"disk.img\"; }\nstep t {\n\
                guest disk-read a disk=d sector=0 count=1 text=before\n\
                guest disk-write a disk=d sector=0 text=after\n\
                guest disk-read a disk=d sector=0 count=1 text=after\n}";
    std::fs::write(&path, text).unwrap();
    let (first, second) = (crate::run::transcript(&path), crate::run::transcript(&path));
    let left = std::fs::read(&image).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(first == second && first.ends_with("exit status 0\n"), "{first}");
    assert_eq!(left, b"before");
}

#[test]
fn disk_verbs() {
    let read = io("guest disk-read alpha disk=ro sector=0 count=1 to=0x5000 save=x text=a");
    let compare = Some(Source::Bytes(b"a".to_vec()));
    let GuestIo::DiskRead { disk: 1, sector: 0, count: 1, to: Some(0x5000), save: Some(_), compare: found } = read
    else {
        panic!("{read:?}")
    };
    assert_eq!(found, compare);
    let write = io("guest disk-write alpha disk=d sector=3 hex=\"0011\"");
    let data = DiskData::Given(Source::Bytes(vec![0, 0x11]));
    assert_eq!(write, GuestIo::DiskWrite { disk: 0, sector: 3, data });
    let write = io("guest disk-write alpha disk=d sector=1 at=0x5000 count=3");
    assert_eq!(write, GuestIo::DiskWrite { disk: 0, sector: 1, data: DiskData::Memory { address: 0x5000, count: 3 } });
    bad("guest disk-read alpha disk=e sector=0 count=1", "the guest has no disk `e`", "disk=e");
    bad("guest disk-read alpha disk=n sector=0 count=1", "the guest has no disk `n`", "disk=n");
    bad(
        "guest disk-read alpha disk=d sector=0",
        "lacks the property `count=`",
        "guest disk-read alpha disk=d sector=0",
    );
    bad("guest disk-read alpha disk=d sector=0 count=0", "0 is too small", "count=0");
    bad("guest disk-read alpha disk=d sector=4 count=1", "1 sectors from 4 on", "sector=4");
    assert!(matches!(
        io("guest disk-read alpha disk=d sector=4 count=1 expect=io-error"),
        GuestIo::DiskRead { sector: 4, .. }
    ));
    bad("guest disk-read alpha disk=d sector=0 count=1 to=0xfffff", "the guest's own memory", "to=0xfffff");
    bad("guest disk-read alpha disk=d sector=0 count=1 save=x expect=io-error", "`save=` needs bytes", "save=x");
    bad(
        "guest disk-write alpha disk=d sector=0",
        "lacks one of: text= hex= from= file= at=",
        "guest disk-write alpha disk=d sector=0",
    );
    bad("guest disk-write alpha disk=d sector=0 text=a count=1", "has no property `count`", "count=1");
    bad("guest disk-write alpha disk=d sector=0 from=x", "nothing before this line saves `x`", "from=x");
    bad("guest disk-read bare disk=d sector=0 count=1", "guest `bare` has no devices", "bare");
}

#[test]
fn the_other_verbs() {
    assert_eq!(io("guest send alpha net=n hex=\"01\""), GuestIo::Send { net: 2, data: Source::Bytes(vec![1]) });
    assert!(matches!(
        io("guest receive alpha net=n text=hi"),
        GuestIo::Receive { net: 2, save: None, compare: Some(_) }
    ));
    assert_eq!(io("guest console-write alpha text=hi"), GuestIo::ConsoleWrite { console: 3, text: b"hi".to_vec() });
    let read = GuestIo::ConsoleRead { console: 3, save: None, compare: Some(Source::Bytes(b"hi".to_vec())) };
    assert_eq!(io("guest console-read alpha text=hi"), read);
    assert!(matches!(io("guest console-read alpha save=x"), GuestIo::ConsoleRead { save: Some(_), compare: None, .. }));
    let host = |text| Verb::HostConsole { guest: GuestId(0), console: 3, text };
    assert_eq!(good("host console-write alpha text=hi"), host(ConsoleText::Write(b"hi".to_vec())));
    let compare = Some(Source::Bytes(b"hi".to_vec()));
    assert_eq!(good("host console-read alpha text=hi"), host(ConsoleText::Read { save: None, compare }));
    bad("host console-read alpha text=a expect=no-data", "`text=` needs bytes", "text=a");
    bad("host console-write alpha", "lacks the property `text=`", "host console-write alpha");
    bad("host console-write bare text=hi", "guest `bare` has no devices", "bare");
    bad("guest console-read alpha text=a expect=no-data", "`text=` needs bytes", "text=a");
    assert!(matches!(io("guest entropy alpha len=16 save=x"), GuestIo::Entropy { rng: 4, length: 16, save: Some(_) }));
    assert_eq!(io("guest remove-devices alpha"), GuestIo::RemoveDevices);
    let check = IoCheck { requests: Some(3), pins: Some(0), ..IoCheck::default() };
    assert_eq!(good("check io alpha requests=3 pins=0"), Verb::CheckIo { guest: GuestId(0), check });
    bad("check io alpha", "`check io` checks nothing", "check io alpha");
    bad("check io bare requests=0", "guest `bare` has no devices", "bare");
    bad("check io alpha slots=1 request=1", "`check io` has no property `request`", "request=1");
    bad("guest send alpha net=n", "lacks one of: text= hex= from=", "guest send alpha net=n");
    bad("guest entropy alpha", "lacks the property `len=`", "guest entropy alpha");
    bad("guest disk_read alpha", "`guest` has no verb `disk_read`", "disk_read");
    bad("guest receive alpha net=n expect=no-dat", "`no-dat` is not an outcome", "expect=no-dat");
}

#[test]
fn a_domain_definition_says_what_its_disks_offer() {
    let xml = |driver: &str| {
        format!(
            "<domain type='kvm'><name>x</name><memory unit='MiB'>1</memory><os><type arch='s390x' \
             machine='s390-ccw-virtio'>hvm</type></os><devices><disk type='file'><source file='x'/>{driver}<target \
             dev='vda' bus='virtio'/></disk></devices></domain>"
        )
    };
    let iommu = |driver: &str, node: &str| {
        let definition = xml(driver);
        let mut files = |_: &Path, _: u64| Ok(definition.clone().into_bytes());
        let text = format!("scenario s\nguest alpha domain=\"d.xml\" {{ {node}; }}\n{STEP}\n");
        let scenario =
            Scenario::parse_with(Path::new("s.kdl"), &text, &mut files).map_err(|e| format!("{:?}", e.errors()));
        devices(&scenario.unwrap(), 0).devices[0].iommu
    };
    let disk = "disk vda size=\"1MiB\"";
    assert!(!iommu("", disk));
    assert!(iommu("<driver iommu='on'/>", disk));
    assert!(iommu("", "disk vda size=\"1MiB\" iommu=#true"));
    assert!(iommu("", "disk vdb size=\"1MiB\""));
}
