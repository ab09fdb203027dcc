//! `uvsim image` as a person meets it.

use crate::folder::{self, Told};
use crate::support::{kernel, key};
use std::io::Read;
use std::process::{Command, Stdio};

/// A folder with two host keys and a kernel.
struct Folder(folder::Folder);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = folder::Folder::new(&format!("image-{name}"));
        folder.file("host.pem", key(0).to_pem().as_bytes());
        folder.file("other.pem", key(1).to_pem().as_bytes());
        folder.file("kernel", kernel());
        Self(folder)
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = self.uvsim(&["image"]);
        command.args(arguments.split_whitespace());
        command
    }

    fn run(&self, arguments: &str) -> Told {
        Told::of(self.command(arguments).output().unwrap())
    }

    fn build(&self, more: &str) -> Told {
        self.run(&format!("build --kernel kernel --host-key host.pem -o image --seed 1 {more}"))
    }
}

impl core::ops::Deref for Folder {
    type Target = folder::Folder;

    fn deref(&self) -> &folder::Folder {
        &self.0
    }
}

#[test]
fn build_info_verify() {
    let folder = Folder::new("life");
    folder.file("initrd", [1; 5000]);
    folder.build("--ramdisk initrd --cmdline-text quiet --dump").exits(0).says(&["1 key slot, 23 pages, tag "]);
    folder.run("verify image --host-key host.pem").exits(0).says(&["boots it", "pages        23"]);
    let generations = ["z15", "z16", "z17"].map(|name| format!("verify image --host-key host.pem --generation {name}"));
    generations.iter().for_each(|arguments| drop(folder.run(arguments).exits(0)));
    folder.run("verify image --host-key other.pem").exits(1).says(&[
        "set-sec-conf-params is refused with rc=0x0108 rrc=0x0005",
        &key(1).hash().to_string(),
        "uvsim explain set-sec-conf-params 0x108/0x5",
    ]);
    folder.run("verify image --host-key other.pem --backup-host-key host.pem").exits(1).says(&["rrc=0x0005"]);
    folder.run("info image").exits(0).says(&["dump allowed", "not opened", "command line", "number of pages", "match"]);
    folder.run("info image --host-key host.pem").exits(0).says(&["hidden", "PSW"]);
    let shown = folder.run("info image --host-key host.pem --show-secrets").exits(0);
    assert!(!shown.out.contains("hidden"), "{}", shown.out);
    let json = folder.run("info image --format json").exits(0);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&json["nep"], &json["verified"]), (&23.into(), &false.into()));
    assert_eq!(json["image"]["components"].as_array().unwrap().len(), 4);
}

#[test]
fn seeds_and_fresh_keys() {
    let folder = Folder::new("seeds");
    folder.build("").exits(0);
    let first = folder.bytes("image");
    folder.build("--force").exits(0);
    assert!(folder.bytes("image") == first, "equal seeds, equal files");
    for other in ["--seed 2", "--seed 1 --dump"] {
        folder.run(&format!("build --kernel kernel --host-key host.pem --force -o image {other}")).exits(0);
        assert!(folder.bytes("image") != first, "{other}");
    }
    let fresh = "build --kernel kernel --host-key host.pem --force -o image";
    folder.run(fresh).exits(0);
    let first = folder.bytes("image");
    folder.run(fresh).exits(0);
    assert!(folder.bytes("image") != first, "keys are drawn afresh");
    folder.run("verify image --host-key host.pem").exits(0);
}

#[test]
fn keys_and_flags() {
    let folder = Folder::new("keys");
    folder.file("cck", [0x11; 32]);
    folder.file("header-key", [0x22; 32]);
    folder.file("image-key", (0..64).collect::<Vec<u8>>());
    folder.file("equal-halves", [3; 64]);
    let keys = "--cck cck --header-key header-key";
    folder.build(&format!("{keys} --image-key image-key --cck-update --psw 180000000:0x4000")).exits(0);
    let told = folder.run("info image --header-key header-key --show-secrets --format json").exits(0);
    let json: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(json["cck_hex"], "11".repeat(32));
    assert_eq!(json["scf_hex"], "2000000000000000");
    assert_eq!(json["psw"]["addr_hex"], "0000000000004000");
    assert!(json["xts_hex"].as_str().unwrap().starts_with("000102030405"));
    folder.run("info image --header-key cck").exits(2).complains(&["the key does not open it", "tag"]);
    folder.run("info image --host-key other.pem").exits(2).complains(&["no key slot is for"]);
    folder.build("--force --image-key cck").exits(2).complains(&["`cck` has 32 bytes", "64 is wanted"]);
    folder.build("--force --image-key equal-halves").exits(2).complains(&["halves"]);
    folder.build("--force --plain-components --image-key image-key").exits(2).complains(&["--plain-components"]);
    folder.build("--force --cck-update --cck-extension-secret").exits(2).complains(&["--cck-extension-secret"]);
    for (flags, wanted) in [
        ("", "00000000000000e0"),
        ("--no-pckmo --backup-key", "0000000000000002"),
        ("--no-pckmo --pckmo", "00000000000000e0"),
        ("--plain-components --pckmo-hmac --dump", "00000000300000f0"),
    ] {
        folder.build(&format!("--force {flags}")).exits(0);
        folder.run("info image --format json").exits(0).says(&[&format!("\"pcf_hex\": \"{wanted}\"")]);
    }
    folder.build("--force --backup-key --host-key other.pem").exits(0).says(&["2 key slots"]);
    folder.run("verify image --host-key other.pem").exits(0);
}

#[test]
fn components_by_hand() {
    let folder = Folder::new("parts");
    folder.file("part", [9; 0x1800]);
    let build = "build --host-key host.pem --component part@0:0x42 --psw 180000000:4000 --plain-components -o";
    folder.run(&format!("{build} header --header-only")).exits(0).says(&["640 bytes", "2 pages"]);
    folder.run("verify header --host-key host.pem --component part@0:0x42").exits(0).says(&["0x4000"]);
    folder.run("verify header --host-key host.pem --component part@0:0x43").exits(1).says(&["rrc=0x001c"]);
    folder.run("verify header --host-key host.pem --component part@0x1000:0x42").exits(1).says(&["rrc=0x001a"]);
    folder.run("verify header --host-key host.pem").exits(1).says(&["rrc=0x001d", "--component gives them"]);
    folder.run("verify header --host-key host.pem --component part@0").exits(2).complains(&["FILE@ADDRESS:PREFIX"]);
    folder.run(&format!("{build} image")).exits(2).complains(&["short PSW", "overlap at 0x0"]);
    folder.run("build --host-key host.pem --component part@0x100000 -o image").exits(0);
    folder.run("verify image --host-key host.pem").exits(0).says(&["0x100000"]);
    folder.run("verify image --host-key host.pem --header header").exits(1).says(&["rrc=0x001a"]);
    folder.run("verify image --host-key host.pem --header image").exits(2).complains(&["a whole image"]);
}

#[test]
fn hosts_refuse_a_wrong_ipib() {
    let folder = Folder::new("ipib");
    folder.build("").exits(0);
    let mut bytes = folder.bytes("image");
    let ipib = u64::from_be_bytes(bytes[0xc014..0xc01c].try_into().unwrap()) as usize;
    bytes[ipib + 0xc] = 4;
    folder.file("image", bytes);
    folder.run("verify image --host-key host.pem").exits(1).says(&[
        "before it asks the Ultravisor",
        "0x0402",
        "block type",
    ]);
    folder.run("info image").exits(0).says(&["hosts refuse it"]);
}

#[test]
fn arguments_and_files() {
    let folder = Folder::new("arguments");
    folder.run("--help").exits(0).says(&["build", "info", "verify"]);
    folder.run("build --help").exits(0).says(&["--header-only", "--cck-extension-secret", "--stage3b", "--seed"]);
    folder.run("verify --help").exits(0).says(&["Exit status", "--generation"]);
    folder.run("build --host-key host.pem -o x").exits(2).complains(&["--kernel"]);
    folder.run("build --kernel kernel -o x").exits(2).complains(&["--host-key"]);
    folder.run("verify kernel").exits(2).complains(&["--host-key"]);
    folder.build("--psw 12").exits(2).complains(&["MASK:ADDRESS"]);
    folder.build("--component kernel").exits(2).complains(&["FILE@ADDRESS"]);
    folder.build("--ramdisk none").exits(2).complains(&["`none`: there is no such file"]);
    folder.build("--ramdisk .").exits(2).complains(&["`.` is a directory"]);
    folder.build("--host-key kernel").exits(2).complains(&["`kernel`: neither a host key document"]);
    folder.file("x.crt", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    folder.build("--host-key x.crt").exits(2).complains(&["`x.crt`: not an X.509 certificate"]);
    folder.file("small", b"not a kernel");
    folder.run("build --kernel small --host-key host.pem -o x").exits(2).complains(&["S390EP", "--no-component-check"]);
    folder.run("build --kernel small --host-key host.pem -o x --no-component-check").exits(0);
    folder.file("long", [b'x'; 4096]);
    folder.build("--cmdline long").exits(2).complains(&["4097 bytes", "takes 4096"]);
    folder.build("--cmdline long --cmdline-text x").exits(2).complains(&["--cmdline-text"]);
    assert!(!folder.0.0.join("image").exists(), "nothing is written until everything is right");
    // Outputs.
    folder.build("").exits(0);
    folder.build("").exits(2).complains(&["`image` exists already: --force overwrites it"]);
    folder.run("build --kernel kernel --host-key host.pem -o none/image").exits(2).complains(&["cannot be written"]);
    folder.run("build --kernel kernel --host-key host.pem --force -o .").exits(2).complains(&["is a directory"]);
    folder.run("build --kernel kernel --host-key host.pem -o .").exits(2).complains(&["is a directory"]);
    let kernel = folder.bytes("kernel");
    for output in ["kernel", "./kernel"] {
        let build = format!("build --kernel kernel --host-key host.pem --force -o {output}");
        folder.run(&build).exits(2).complains(&["is also an input"]);
    }
    assert_eq!(folder.bytes("kernel"), kernel, "--force does not go for what is read");
    #[cfg(target_os = "linux")]
    folder.run("build --kernel kernel --host-key host.pem --force -o /dev/full").exits(2).complains(&["/dev/full"]);
    // Inputs.
    folder.file("empty", b"");
    for command in ["info", "verify --host-key host.pem"] {
        folder.run(&format!("{command} empty")).exits(2).complains(&["`empty`: the file is empty"]);
        folder.run(&format!("{command} none")).exits(2).complains(&["`none`: there is no such file"]);
        folder.run(&format!("{command} small")).exits(2).complains(&["no SE header"]);
        folder.run(&format!("{command} .")).exits(2).complains(&["is a directory"]);
    }
    let whole = folder.bytes("image");
    folder.file("cut", &whole[..whole.len() - 1]);
    folder.run("verify --host-key host.pem cut").exits(2).complains(&["IPIB", "cut off"]);
    folder.file("cut", &whole[..0x1_8000]);
    folder.run("info cut").exits(2).complains(&["IPIB"]);
    std::fs::File::create(folder.0.0.join("sparse")).unwrap().set_len(2 << 30).unwrap();
    folder.run("info sparse").exits(2).complains(&["no SE header", "2147483648"]);
    folder.run("build --kernel sparse --host-key host.pem -o y").exits(2).complains(&["too large"]);
}

#[cfg(unix)]
#[test]
fn pipes() {
    let folder = Folder::new("pipes");
    folder.build("").exits(0);
    for arguments in ["info image", "info image --format json", "verify image --host-key host.pem", "--help"] {
        let mut child = folder.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!((child.wait().unwrap().code(), err.contains("panicked")), (Some(0), false), "{arguments}: {err}");
    }
    // An image into a pipe, and out of one: the first is possible.
    let build = "build --kernel kernel --host-key host.pem --seed 1 --force -o /dev/stderr";
    let output = folder.command(build).output().unwrap();
    assert!(output.status.success() && output.stderr == folder.bytes("image"));
    let piped = folder.command("info /dev/stdin").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = piped.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && err.contains("not a regular file"), "{err}");
    // A pipe that nobody writes to is not waited for, a device without an end is not read.
    let made = Command::new("mkfifo").arg(folder.0.0.join("pipe")).status();
    if made.is_ok_and(|status| status.success()) {
        folder.run("info pipe").exits(2).complains(&["not a regular file"]);
    }
    folder.run("build --kernel /dev/zero --host-key host.pem -o z").exits(2).complains(&["is a device"]);
}
