//! Guests that start from image files.

use std::path::Path;
use uvsim::image::{ImageKeys, ImagePlan, Placed, USUAL_FLAGS};
use uvsim::run::{self, Options, Status, json::Json};
use uvsim::scenario::{FileError, Scenario, ScenarioErrors};
use uvsim_model::config::MachineConfig;
use uvsim_model::seed::{Purpose, Seed};

/// An image with one component, as a complete file or as a bare header, for the machine of the seed.
fn file(seed: u64, header_only: bool) -> Vec<u8> {
    let keys = MachineConfig { seed, ..MachineConfig::default() }.host_keys();
    let mut random = Seed(9).stream(Purpose::Images);
    let plan = ImagePlan {
        recipients: &[keys.host.public().clone()],
        kernel: None,
        ramdisk: None,
        command_line: None,
        placed: vec![Placed { address: 0x4_0000, prefix: None, data: b"from a file".to_vec() }],
        stage3a: None,
        stage3b: None,
        flags: USUAL_FLAGS,
        secret_flags: 0,
        psw: None,
        keys: ImageKeys::draw(&mut random),
        header_only,
    };
    let built = plan.build(&mut random).unwrap();
    if header_only { built.image.header } else { built.to_bytes() }
}

fn scenario(guest: &str, statements: &str, bytes: &[u8]) -> Result<Scenario, ScenarioErrors> {
    let text = format!("scenario s\nguest alpha {guest}\nstep s {{\n{statements}\ncheck invariants\n}}\n");
    let mut files = |path: &Path, _: u64| {
        if path == Path::new("a.img") { Ok(bytes.to_vec()) } else { Err(FileError::Unavailable) }
    };
    Scenario::parse_with(Path::new("s.kdl"), &text, &mut files)
}

fn status(guest: &str, statements: &str, bytes: &[u8]) -> Status {
    let parsed = scenario(guest, statements, bytes).unwrap_or_else(|errors| panic!("{:?}", errors.errors()));
    let mut out = Vec::new();
    let (status, _) = run::run_scenario(&parsed, Options::default(), &mut Json::new(&mut out));
    assert!(status != Status::Unusable, "{}", String::from_utf8_lossy(&out));
    status
}

#[test]
fn a_complete_file_is_booted() {
    let image = file(1, false);
    let read = "guest read alpha:64 text=\"from a file\"\nhost read alpha:64 len=1 expect=secure-storage-access";
    assert_eq!(status("memory=\"1MiB\" { image \"a.img\"; }", read, &image), Status::Pass);
    let by_its_loader = "host load-image alpha block=0x80000
         guest diagnose alpha 0x308 subcode=8 addr=0x80000
         guest diagnose alpha 0x308 subcode=10
         guest read alpha:64 text=\"from a file\"";
    assert_eq!(status("memory=\"1MiB\" state=none { image \"a.img\"; }", by_its_loader, &image), Status::Pass);
}

#[test]
fn an_image_for_another_machine_is_refused() {
    let refused = "host pv set-sec-parms alpha expect=refused rc=0x108 rrc=5";
    assert_eq!(status("memory=\"1MiB\" state=created { image \"a.img\"; }", refused, &file(2, false)), Status::Pass);
}

#[test]
fn a_bare_header_has_no_pages() {
    let statements = "host pv set-sec-parms alpha\nhost pv verify alpha expect=refused rc=0x102 rrc=0x1d";
    assert_eq!(status("memory=\"1MiB\" state=created { image \"a.img\"; }", statements, &file(1, true)), Status::Pass);
}

#[test]
fn files_that_are_none_and_do_not_fit() {
    let message = |guest: &str, bytes: &[u8]| {
        let errors = scenario(guest, "", bytes).unwrap_err();
        errors.errors().iter().map(|error| error.message.clone()).collect::<Vec<_>>().join("; ")
    };
    let image = file(1, false);
    let alone = "memory=\"1MiB\" { image \"a.img\"; }";
    assert!(message(alone, b"").contains("no image"));
    assert!(message(alone, &[7; 9000]).contains("no image"));
    assert!(message("memory=\"1MiB\" { image \"b.img\"; }", &image).contains("cannot be read"));
    assert!(message("memory=\"1MiB\" { image \"a.img\"; load 0 text=x; }", &image).contains("or from an image"));
    assert!(message("memory=\"1MiB\" { image \"a.img\"; image \"a.img\"; }", &image).contains("twice"));
}
