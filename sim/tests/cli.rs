//! The program as a person meets it: arguments, wrong files, pipes, exit statuses.

mod folder;

use folder::{Folder, Told};
use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// A scenario with one guest, `a`, and these statements.
fn scenario(statements: &str) -> String {
    format!(
        "scenario \"s\"\nguest a memory=\"1MiB\" {{ load 0x3000 text=\"hello\"; }}\nstep \"t\" {{\n{statements}\n}}\n"
    )
}

const GOOD: &str = "guest read a:3 text=\"hello\"";
const BAD: &str = "guest read a:3 text=\"jello\"";

#[test]
fn exit_statuses() {
    let folder = Folder::new("status");
    folder.file("good.kdl", scenario(GOOD));
    folder.file("bad.kdl", scenario(BAD));
    folder.run(&["run", "good.kdl"]).exits(0).says(&["pass: 1 scenario, 1 statement, 1 check, 0 failed, seed 1"]);
    folder.run(&["run", "good.kdl", "bad.kdl"]).exits(1).says(&[
        "bad.kdl:4: a:3: the content differs",
        "I-14",
        "fail: 2 scenarios",
    ]);
    folder.run(&["run", "bad.kdl", "nope.kdl"]).exits(2).says(&["bad.kdl:4", "1 file cannot be used"]);
    folder.run(&["run", "good.kdl", "--time-limit", "0"]).exits(4).complains(&["time limit"]);
    folder.run(&["run", "--seed", "77", "good.kdl"]).exits(0).says(&["seed 77"]);
    folder.run(&["run", "--quiet", "good.kdl", "bad.kdl"]).exits(1).says(&["✗ bad.kdl"]);
    folder.run(&["check", "good.kdl", "bad.kdl"]).exits(0).says(&["pass: 2 scenarios in order"]);
}

#[test]
fn arguments() {
    let folder = Folder::new("arguments");
    folder.file("good.kdl", scenario(GOOD));
    folder.run(&["--help"]).exits(0).says(&[
        "Usage: uvsim",
        "run",
        "check",
        "explain",
        "bless",
        "completions",
        "Exit status",
    ]);
    folder.run(&["run", "--help"]).exits(0).says(&["--time-limit", "--seed", "--format", "--quiet"]);
    folder.run(&["-V"]).exits(0).says(&[env!("CARGO_PKG_VERSION")]);
    folder.run(&["rum"]).exits(2).complains(&["unrecognized subcommand 'rum'", "'run'"]);
    folder.run(&[]).exits(2).complains(&["Usage"]);
    folder.run(&["run"]).exits(2).complains(&["FILE|DIR"]);
    folder.run(&["run", "--sed", "1", "good.kdl"]).exits(2).complains(&["--seed"]);
    folder.run(&["run", "--seed", "x", "good.kdl"]).exits(2).complains(&["invalid value 'x'"]);
    folder.run(&["run", "--time-limit", "18446744073709551615", "good.kdl"]).exits(0);
    folder.run(&["run", "--verify", "good.kdl"]).exits(0);
    folder.run(&["run", "--verify", "--threads", "good.kdl"]).exits(2).complains(&["--threads", "oracle", "order"]);
    folder.run(&["run", "--format", "xml", "good.kdl"]).exits(2).complains(&["human", "json"]);
    folder.run(&["explain", "import", "0x106"]).exits(0).says(&["conv-to-sec-stor", "integrity"]);
    folder.run(&["explain"]).exits(0).says(&["Topics"]);
    folder.run(&["explain", "imprt"]).exits(2).complains(&["did you mean", "import"]);
    folder.run(&["explain", "💥", "\n", "0xffffffffffffffffffff"]).exits(2).complains(&["uvsim explain"]);
    for shell in ["bash", "zsh", "fish"] {
        folder.run(&["completions", shell]).exits(0).says(&["uvsim", "bless"]);
    }
    folder.run(&["completions", "cmd"]).exits(2).complains(&["bash"]);
}

#[test]
fn files_that_are_none() {
    let folder = Folder::new("files");
    std::fs::create_dir(folder.0.join("empty")).unwrap();
    folder.file("latin.kdl", b"scenario \"caf\xe9\"");
    let once = |told: &Told, what: &str| assert_eq!(told.err.matches(what).count(), 1, "{}", told.err);
    let told = folder.run(&["run", "nope.kdl"]).exits(2);
    assert_eq!(told.err, "error: nope.kdl: the file cannot be read: there is no such file\n");
    once(&folder.run(&["run", "empty"]).exits(2), "empty: the folder holds no `*.kdl` file");
    once(&folder.run(&["run", "latin.kdl"]).exits(2), "not UTF-8: byte 0xe9 at line 1, column 14");
    folder.run(&["run", ""]).exits(2).complains(&["a value is required"]);
    once(&folder.run(&["check", "nope.kdl"]).exits(2), "there is no such file");
    folder.file("zero.kdl", "");
    folder.run(&["run", "zero.kdl"]).exits(2).complains(&["zero.kdl"]);
    #[cfg(unix)]
    {
        folder.run(&["run", "/dev/null"]).exits(2).complains(&["not a regular file"]);
        std::os::unix::fs::symlink("gone", folder.0.join("link.kdl")).unwrap();
        folder.run(&["run", "link.kdl"]).exits(2).complains(&["there is no such file"]);
        use std::os::unix::fs::PermissionsExt;
        let shut = folder.file("shut.kdl", scenario(GOOD));
        std::fs::set_permissions(&shut, std::fs::Permissions::from_mode(0o000)).unwrap();
        // Root reads everything.
        let wanted = if std::fs::read(&shut).is_ok() { 0 } else { 2 };
        folder.run(&["run", "shut.kdl"]).exits(wanted);
    }
}

#[test]
fn a_folder_of_scenarios() {
    let folder = Folder::new("folder");
    folder.file("b.kdl", scenario(GOOD));
    folder.file("a.kdl", scenario(GOOD));
    folder.run(&["run", "."]).exits(0).says(&["2 scenarios"]);
    let told = folder.run(&["check", "."]).exits(0);
    assert!(told.out.find("a.kdl") < told.out.find("b.kdl"), "{}", told.out);
}

#[test]
fn random_bytes_are_answered_soon() {
    let folder = Folder::new("random");
    let mut state = 1u64;
    let mut noise = |printable: bool| -> Vec<u8> {
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        };
        (0..10 << 20).map(|_| if printable { b' ' + next() % 95 } else { next() }).collect()
    };
    folder.file("bytes.kdl", noise(false));
    folder.file("text.kdl", noise(true));
    folder.file("lines.kdl", noise(true).chunks(79).collect::<Vec<_>>().join(&b'\n'));
    for name in ["bytes.kdl", "text.kdl", "lines.kdl"] {
        let start = Instant::now();
        let told = folder.run(&["run", name]).exits(2);
        assert!(start.elapsed() < Duration::from_secs(60), "{name}: {:?}", start.elapsed());
        assert!(told.err.len() < 200_000, "{name}: {} bytes", told.err.len());
    }
}

#[test]
fn mistakes_are_shown_with_a_caret_and_a_suggestion() {
    let folder = Folder::new("mistakes");
    for (statement, about) in [
        ("host exprot a:3", "did you mean `export`?"),
        ("host export a:3 expct=ok", "did you mean `expect`?"),
        ("host export a:3 expect=refusd", "did you mean `refused`?"),
        ("hots export a:3", "did you mean `host`?"),
        ("host export b:3", "did you mean `a`?"),
        ("host export a:300", "its pages are 0 to 255"),
        ("host uvc conv-to-sec-store", "did you mean `conv-to-sec-stor`?"),
        ("check page a:3 state=residnt", "did you mean `resident`?"),
    ] {
        folder.file("x.kdl", scenario(&format!("check invariants\n{statement}")));
        let told = folder.run(&["run", "x.kdl"]).exits(2).complains(&["x.kdl:5:", "──", about]);
        assert!(told.out.trim().lines().count() <= 1, "errors go to standard error: {}", told.out);
        let json = folder.run(&["run", "x.kdl", "--format", "json"]).exits(2).says(&[about, "\"line\":5", "verdict"]);
        assert_eq!(json.err, "", "{statement}");
    }
}

#[test]
fn documents_that_cannot_be() {
    let folder = Folder::new("documents");
    std::fs::create_dir(folder.0.join("dir")).unwrap();
    folder.file("large.bin", vec![7; 2 << 20]);
    let guest = |rest: &str| format!("scenario s\nguest a {rest}\nstep t {{ check invariants; }}\n");
    for (text, about) in [
        (guest("memory=\"1MiB\"\nguest a memory=\"1MiB\""), "a second guest named `a`"),
        (guest("memory=\"18446744073709551615TiB\""), "18446744073709551615TiB"),
        (guest("memory=\"1MiB\" { load 0 file=dir; }"), "it is a directory"),
        (guest("memory=\"1MiB\" { load 0 file=\"none.bin\"; }"), "there is no such file"),
        (guest("memory=\"1MiB\" { load 0 file=\"large.bin\"; }"), "large.bin"),
        (guest("memory=\"1TiB\""), "bytes wanted"),
        (guest("memory=\"1MiB\"").replace("guest", "machine { storage \"1GiB\"; }\nguest"), "short"),
        (scenario("host export a:3"), "nothing is checked"),
    ] {
        folder.file("x.kdl", &text);
        folder.run(&["run", "x.kdl"]).exits(2).complains(&[about]);
    }
}

#[test]
fn json_for_programs() {
    let folder = Folder::new("json");
    folder.file("good.kdl", scenario(GOOD));
    folder.file("bad.kdl", scenario(BAD));
    for arguments in [
        &["run", "good.kdl", "bad.kdl", "nope.kdl", "--format", "json"][..],
        &["run", "nope.kdl", "--format", "json"],
        &["run", "--verify", "--threads", "good.kdl", "--format", "json"],
        &["check", "good.kdl", "nope.kdl", "--format", "json"],
    ] {
        let told = folder.run(arguments).exits(2);
        assert_eq!(told.err, "");
        let events: Vec<serde_json::Value> =
            told.out.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect();
        let last = events.last().unwrap();
        assert_eq!((&last["event"], &last["status"]), (&"verdict".into(), &2.into()), "{arguments:?}");
        assert!(events[..events.len() - 1].iter().all(|event| event["event"] != "verdict"));
        assert!(events.iter().any(|event| event["event"] == "error"), "{arguments:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_reason_to_panic() {
    let folder = Folder::new("pipe");
    folder.file("good.kdl", scenario(&format!("repeat 3000 {{ {GOOD}; }}")));
    for arguments in [
        &["run", "good.kdl"][..],
        &["run", "good.kdl", "--format", "json"],
        &["--help"],
        &["explain"],
        &["explain", "import"],
        &["completions", "bash"],
    ] {
        let mut child = folder.uvsim(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        let status = child.wait().unwrap();
        assert!(!err.contains("panicked"), "{arguments:?}: {err}");
        assert_ne!(status.code(), Some(101), "{arguments:?}: {err}");
        assert_eq!(status.code(), Some(0), "{arguments:?}: the exit status still counts: {err}");
    }
}

/// Nobody shall take half a report for a whole one.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told() {
    let folder = Folder::new("full");
    folder.file("good.kdl", scenario(GOOD));
    for arguments in [&["run", "good.kdl"][..], &["run", "--format", "json", "good.kdl"], &["check", "good.kdl"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = folder.uvsim(arguments).stdout(full).output().unwrap();
        Told::of(output).exits(2).complains(&["the report cannot be written"]);
    }
}

#[test]
fn colours_only_where_they_are_wanted() {
    let folder = Folder::new("colour");
    folder.file("bad.kdl", scenario(BAD));
    folder.file("wrong.kdl", "scenario");
    // Told::of refuses escape codes: a pipe gets none, and with NO_COLOR there are none.
    folder.run(&["run", "bad.kdl", "wrong.kdl"]).exits(2);
    let quiet = folder.uvsim(&["run", "bad.kdl", "wrong.kdl"]).env("NO_COLOR", "1").output().unwrap();
    Told::of(quiet).exits(2);
    let forced = folder.uvsim(&["run", "bad.kdl"]).env("CLICOLOR_FORCE", "1").output().unwrap();
    assert!(String::from_utf8_lossy(&forced.stdout).contains('\u{1b}'), "who asks for colours gets them");
}

#[test]
fn no_progress_bar_without_a_terminal() {
    let folder = Folder::new("bar");
    folder.file("long.kdl", scenario("workload guest=a accesses=1100000 working-set=4 frames=4 writes=0.1"));
    let told = folder.run(&["run", "long.kdl"]).exits(0).says(&["1100000 accesses"]);
    assert_eq!(told.err, "");
}

#[test]
fn bless_writes_beside_the_scenarios() {
    let folder = Folder::new("bless");
    folder.file("good.kdl", scenario(GOOD));
    folder.run(&["bless", "."]).exits(0).says(&["renewed ./good.out"]);
    let written = std::fs::read_to_string(folder.0.join("good.out")).unwrap();
    assert!(written.starts_with("s\n") && written.ends_with("exit status 0\n"), "{written}");
    assert_eq!(folder.run(&["bless", "good.kdl"]).exits(0).out, "", "nothing has changed");
    folder.run(&["bless", "nope.kdl"]).exits(2).complains(&["nope.kdl"]);
    assert!(!folder.0.join("nope.out").exists());
    // The wrong file has a transcript too, under its bare name.
    folder.file("wrong.kdl", scenario("host exprot a:3"));
    folder.run(&["bless", &folder.0.join("wrong.kdl").display().to_string()]).exits(0);
    let written = std::fs::read_to_string(folder.0.join("wrong.out")).unwrap();
    assert!(written.contains("[wrong.kdl:4:6]") && written.ends_with("exit status 2\n"), "{written}");
    // A place that cannot be written.
    std::fs::create_dir(folder.0.join("other.out")).unwrap();
    folder.file("other.kdl", scenario(GOOD));
    folder.run(&["bless", "other.kdl"]).exits(2).complains(&["other.out", "cannot be written"]);
}

#[test]
fn a_narrow_terminal() {
    use uvsim::run::{self, Options, human::Human};
    let folder = Folder::new("narrow");
    let wrong = folder.file("wrong.kdl", scenario("host export a:3 expect=refusd"));
    let bad = folder.file("bad.kdl", scenario(BAD));
    for (file, wanted) in [(&wrong, "did you mean"), (&bad, "the content differs")] {
        let mut out = Vec::new();
        run::run(std::slice::from_ref(file), Options::default(), &mut Human::new(&mut out, false, 40));
        let text = String::from_utf8_lossy(&out).into_owned();
        assert!(text.contains(wanted), "{text}");
    }
    let mut out = Vec::new();
    run::run(&[wrong], Options::default(), &mut Human::new(&mut out, false, 40));
    insta::assert_snapshot!(
        String::from_utf8_lossy(&anstream::adapter::strip_bytes(&out).into_vec())
            .replace(&format!("{}/", folder.0.display()), "")
            .lines()
            .map(|line| format!("{}\n", line.trim_end()))
            .collect::<String>()
    );
}

#[test]
fn reading_from_a_pipe_is_refused_in_words() {
    let folder = Folder::new("stdin");
    if !Path::new("/dev/stdin").exists() {
        return;
    }
    let mut child = folder
        .uvsim(&["run", "/dev/stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(scenario(GOOD).as_bytes());
    Told::of(child.wait_with_output().unwrap()).exits(2).complains(&["not a regular file"]);
}

#[test]
fn host_keys_and_their_documents() {
    let folder = Folder::new("host-key");
    let shown = folder.run(&["host-key", "--show"]).exits(0).out;
    assert_eq!(shown, "3edd3115476d8dc6ee8d132085f59029c0ce8ff96408bd8839654a27b065bc10\n", "as sysfs shows it");
    assert_ne!(folder.run(&["host-key", "--show", "--backup"]).exits(0).out, shown);
    assert_ne!(folder.run(&["host-key", "--show", "--seed", "2"]).exits(0).out, shown);
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 0, "nothing is written");
    let told = folder.run(&["host-key", "-o", "my keys"]).exits(0).says(&[
        "'my keys/host-key.crt'         host-key document",
        shown.trim(),
        "simulated, insecure",
        "uvsim image build --host-key 'my keys/host-key.crt'",
        "pvimg create -k 'my keys/host-key.crt' --offline",
        "--cert 'my keys/signing-service.crt'",
        "--root-ca 'my keys/root-ca.crt'",
        "--crl 'my keys/intermediate-ca.crl'",
        "machine { host-key \"my keys/host-key.pem\" }",
    ]);
    assert_eq!(told.out.matches("--crl").count(), 3);
    // The key that was written is the key of the machine.
    let again = folder.run(&["host-key", "--show", "--key", "my keys/host-key.pem"]).exits(0).out;
    assert_eq!(again, shown);
    // The authority is there already, its files are the same.
    folder.run(&["host-key", "-o", "my keys", "--backup"]).exits(0).says(&["backup-host-key.crt", "(was there)"]);
    assert_eq!(std::fs::read_dir(folder.0.join("my keys")).unwrap().count(), 10);
    let refused = folder.run(&["host-key", "-o", "my keys", "--seed", "2"]).exits(2);
    refused.complains(&["`my keys/host-key.crt` is there already", "--force"]);
    let old = std::fs::read(folder.0.join("my keys/root-ca.crt")).unwrap();
    folder.run(&["host-key", "-o", "my keys", "--seed", "2", "--force"]).exits(0);
    assert_ne!(std::fs::read(folder.0.join("my keys/root-ca.crt")).unwrap(), old);
    // One document alone, in either form.
    let document = |arguments: &[&str], name: &str| {
        let told = folder.run(&[&["host-key", "-o", name], arguments].concat()).exits(0).says(&["--no-verify"]);
        assert!(!told.out.contains("root-ca"), "{}", told.out);
        let document = std::fs::read(folder.0.join(name)).unwrap();
        uvsim::image::Recipient::read(&document).unwrap().key.hash().to_string()
    };
    assert_eq!(document(&[], "new/one.crt"), shown.trim());
    assert_eq!(document(&["--der", "--not-after", "2030-06-30"], "one.der"), shown.trim());
}

#[test]
fn host_keys_that_cannot_be_had() {
    let folder = Folder::new("no-host-key");
    folder.file("no.pem", "-----BEGIN EC PRIVATE KEY-----");
    folder.file("file", "");
    folder.file("public.pem", "-----BEGIN PUBLIC KEY-----");
    folder.file("locked.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----");
    folder.file("other.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    folder.run(&["host-key", "-o", "keys"]).exits(0);
    for (arguments, about) in [
        (&["-o", "d", "--key", "none.pem"][..], "`none.pem`: there is no such file"),
        (&["-o", "d", "--key", "no.pem"], "`openssl pkcs8 -topk8 -nocrypt -in KEY -out NEW` converts it"),
        (&["-o", "d", "--key", "public.pem"], "a bare public key"),
        (&["-o", "d", "--key", "locked.pem"], "`openssl pkey -in KEY -out NEW` decrypts it"),
        (&["-o", "d", "--key", "other.pem"], "not of P-521"),
        (&["-o", "d", "--key", "file"], "`file`: the file is empty"),
        (&["-o", "d", "--key", "keys/host-key.crt"], "a certificate: the private host key is wanted"),
        #[cfg(unix)]
        (&["-o", "d", "--key", "/dev/zero"], "too large"),
        (&["--show", "--key", "."], "`.` is a directory"),
        (&["-o", "d", "--not-before", "today"], "`today` is not a day"),
        (&["-o", "d", "--not-before", "2020-01-01", "--not-after", "2019-01-01"], "is before the first"),
        (&["-o", "file/d"], "cannot be written"),
        (&["-o", "file"], "`file` is not a folder"),
        (&[], "--output"),
        (&["--show", "--force"], "--force"),
        (&["-o", "d", "--seed", "1", "--key", "no.pem"], "--key"),
    ] {
        folder.run(&[&["host-key"], arguments].concat()).exits(2).complains(&[about]);
        assert!(!folder.0.join("d").exists(), "{arguments:?}");
    }
}

#[test]
fn a_machine_with_a_host_key_from_a_file() {
    let folder = Folder::new("machine-key");
    folder.run(&["host-key", "-o", "keys", "--seed", "5"]).exits(0);
    let with_key = |key: &str| scenario(GOOD).replacen('\n', &format!("\nmachine {{ host-key \"{key}\"; }}\n"), 1);
    folder.file("good.kdl", with_key("keys/host-key.pem"));
    folder.run(&["run", "good.kdl"]).exits(0);
    // The certificate is not the key.
    folder.file("wrong.kdl", with_key("keys/host-key.crt"));
    folder.run(&["run", "wrong.kdl"]).exits(2).complains(&["wrong.kdl:2:", "a certificate", "uvsim host-key"]);
}

#[test]
fn an_image_for_another_machine_is_told_with_its_command() {
    let folder = Folder::new("other-machine");
    folder.file("kernel", [0; 4096]);
    folder.run(&["host-key", "-o", "keys", "--seed", "5"]).exits(0);
    let build = "image build --no-component-check --kernel kernel --host-key keys/host-key.crt -o guest.img";
    folder.run(&build.split(' ').collect::<Vec<_>>()).exits(0);
    folder.file(
        "other.kdl",
        "scenario \"x\"\nguest a memory=\"1MiB\" { image \"guest.img\"; }\nstep \"s\" { check invariants; }\n",
    );
    let ask = "uvsim explain set-sec-conf-params 0x108/0x5";
    folder.run(&["run", "other.kdl"]).exits(2).complains(&["other.kdl:2:1", "cannot be started", ask]);
    folder.run(&ask.split(' ').skip(1).collect::<Vec<_>>()).exits(0);
}

#[test]
fn answers_of_the_hypervisor_are_explained() {
    let folder = Folder::new("diagnose");
    for query in ["diagnose", "diag 308", "0x308", "0x402", "0x0902", "0x0a02"] {
        let told = folder.run(&["explain", query]).exits(0);
        assert!(told.out.contains("diagnose 0x308 (a guest's request)"), "{query}: {}", told.out);
    }
}
