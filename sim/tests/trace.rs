//! Traces that are damaged, no traces, too large or in the wrong place: refused in words, by the whole program.

#![cfg(target_os = "linux")]

mod folder;

use flate2::Compression;
use flate2::write::GzEncoder;
use folder::{Folder, Told};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

const TEXT: &str = " L 1000,8\nI  2000,4\n S 1ffe,8\n M 3000,100\n";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// A scenario that replays the file `name`.
fn scenario(name: &str) -> String {
    format!(
        "scenario s\nguest a memory=\"1MiB\"\nstep t {{\n    replay guest=a file={name:?} frames=4\n    check invariants\n}}\n"
    )
}

/// Everything that takes a trace refuses this one, and says so in the same words.
#[track_caller]
fn refused_by_all(folder: &Folder, name: &str, about: &[&str]) {
    let named = [about, &[name]].concat();
    folder.run(&["trace", "info", name]).exits(2).complains(&named);
    folder.run(&["trace", "convert", name, "never"]).exits(2).complains(&named);
    folder.run(&["sweep", "--trace", name, "--out", "never"]).exits(2).complains(&named);
    folder.file("s.kdl", scenario(name));
    let told = folder.run(&["run", "s.kdl"]).exits(2);
    // Long lines are broken.
    let joined = |text: &str| text.replace(|c: char| c.is_whitespace() || c == '│', "");
    for about in named.iter().chain(&["s.kdl:4:20", "help"]) {
        assert!(joined(&told.err).contains(&joined(about)), "`{about}` is not in\n{}", told.err);
    }
    assert!(!folder.0.join("never").exists(), "{name}: nothing is left behind");
}

#[test]
fn a_compact_trace_cut_at_any_byte_is_refused() {
    let folder = Folder::new("trace-cut");
    folder.file("text", TEXT);
    folder.run(&["trace", "convert", "text", "whole"]).exits(0).says(&["whole: 4 of 4 accesses in"]);
    let whole = folder.bytes("whole");
    for length in 1..whole.len() {
        folder.file("cut", &whole[..length]);
        let place = format!("byte {length:#x}: the content ends there");
        folder.run(&["trace", "info", "cut"]).exits(2).complains(&["cut: ", &place, "help: "]);
    }
    let packed = gzip(&whole);
    for length in 1..packed.len() {
        folder.file("cut", &packed[..length]);
        folder.run(&["trace", "info", "cut"]).exits(2).complains(&["cut: ", "help: "]);
    }
    folder.file("cut.uvtrace", &whole[..whole.len() - 1]);
    refused_by_all(&folder, "cut.uvtrace", &["without an end record"]);
    folder.file("cut.gz", &packed[..packed.len() - 3]);
    refused_by_all(&folder, "cut.gz", &["gzip data are damaged or cut off"]);
}

#[test]
fn what_is_no_trace_is_refused() {
    let folder = Folder::new("trace-garbage");
    let garbage: Vec<u8> = (0_u32..3000).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8 | 0x80).collect();
    for (name, content, about) in [
        ("empty", &b""[..], "holds no memory access"),
        ("empty.gz", &gzip(b""), "holds no memory access"),
        ("words", b"==1== Lackey\n==1== no access\n", "--trace-mem=yes"),
        ("garbage", &garbage, "begins with the bytes"),
        ("zip", b"PK\x03\x04\x00\x00", "begins with the bytes 50 4b 03 04"),
        ("twice.gz", &gzip(&gzip(TEXT.as_bytes())), "begins with the bytes 1f 8b"),
        ("other", b"malloc(3) = 0x1\n", "begins with `malloc(3) = 0x1`"),
        ("newer", b"\x89UVTRACE\x02\x00\x00\x00", "version 2"),
    ] {
        folder.file(name, content);
        refused_by_all(&folder, name, &[about]);
    }
    fs::create_dir(folder.0.join("folder")).unwrap();
    refused_by_all(&folder, "folder", &["it is a directory"]);
    refused_by_all(&folder, "nowhere", &["there is no such file"]);
    refused_by_all(&folder, "empty/in", &["there is no such file"]);
    refused_by_all(&folder, "/dev/zero", &["it is not a regular file"]);
    // Traces are read twice: what comes from a pipe cannot be.
    let mut child = folder.uvsim(&["trace", "info", "/dev/stdin"]);
    let child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    Told::of(child.wait_with_output().unwrap()).exits(2).complains(&["/dev/stdin", "read more than once"]);
}

#[test]
fn a_broken_line_is_named() {
    let folder = Folder::new("trace-line");
    let lines = |bad: &str| {
        let mut lines: Vec<String> = (0..5000).map(|n| format!(" L {:x},8", 0x1000 + n % 7 * 4096)).collect();
        lines[3210] = bad.to_owned();
        lines.join("\n") + "\n"
    };
    for (bad, what) in [
        ("Segmentation fault", "not a line of lackey"),
        (" L 10zz,8", "no comma after the address"),
        (" L 1000,8 S 2000,8", "no decimal size"),
        (" L 1000,99999", "not 1 to 4096"),
    ] {
        folder.file("t", lines(bad));
        refused_by_all(&folder, "t", &["line 3211: ", what, bad]);
        folder.file("t.gz", gzip(lines(bad).as_bytes()));
        refused_by_all(&folder, "t.gz", &["line 3211: ", what, "--log-file"]);
    }
    // What stands before can be had.
    folder.run(&["trace", "convert", "t", "part", "--limit=3210"]).exits(0).says(&["3210 of 3210"]);
    folder.run(&["trace", "info", "part"]).exits(0).says(&["accesses       3210"]);
    folder.run(&["trace", "info", "t", "--limit=0"]).exits(2).complains(&["--limit", "0 is not in 1.."]);
}

/// The program with so many KiB of address space.
fn confined(folder: &Folder, kibibytes: u32, arguments: &[&str]) -> Told {
    let script = format!("ulimit -v {kibibytes} && exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_uvsim")]).args(arguments).current_dir(&folder.0);
    Told::of(command.output().unwrap())
}

/// Address space of the program when it looks at traces: much less than what it is given to read.
const ROOM: u32 = 64 << 10;

#[test]
fn storage_does_not_grow_with_what_is_read() {
    let folder = Folder::new("trace-bombs");
    // A gibibyte of nothing: refused by how it begins, however it is packed.
    File::create(folder.0.join("zeros")).unwrap().set_len(1 << 30).unwrap();
    let mebibyte = gzip(&vec![0; 1 << 20]);
    folder.file("zeros.gz", mebibyte.repeat(1024));
    for name in ["zeros", "zeros.gz"] {
        confined(&folder, ROOM, &["trace", "info", name]).exits(2).complains(&["begins with the bytes 00 00"]);
        confined(&folder, ROOM, &["trace", "convert", name, "out"]).exits(2);
    }
    // One that begins well: a line without an end, lines without an access.
    folder.file("line.gz", [gzip(b" L 1000,8\n "), mebibyte.repeat(1024)].concat());
    confined(&folder, ROOM, &["trace", "info", "line.gz"]).exits(2).complains(&["line 2: "]);
    let blank = gzip(&vec![b'\n'; 1 << 20]);
    folder.file("blank.gz", [gzip(b" L 1000,8\n"), blank.repeat(1024)].concat());
    confined(&folder, ROOM, &["trace", "info", "blank.gz"]).exits(2).complains(&["without an access"]);
    // A good one of 96 MiB is read to its end.
    let lines = " L 12345678,8\n".repeat(1 << 16);
    folder.file("good.gz", gzip(lines.as_bytes()).repeat(110));
    assert!(lines.len() * 110 > (ROOM as usize) << 10);
    let all = format!("accesses       {}\n", 110 << 16);
    confined(&folder, ROOM, &["trace", "info", "good.gz"]).exits(0).says(&[&all]);
    confined(&folder, ROOM, &["trace", "convert", "good.gz", "out"]).exits(0);
    // Scenarios hold the file, so a long one is refused before.
    folder.file("s.kdl", scenario("zeros"));
    confined(&folder, 2 * ROOM, &["run", "s.kdl"]).exits(2).complains(&[
        "s.kdl:4:20",
        "`zeros`",
        "longer than the 268435456 bytes",
        "trace convert",
    ]);
}

#[test]
fn any_name_will_do() {
    let folder = Folder::new("trace-names");
    let name = OsStr::from_bytes(b"\xff \xfe.lackey");
    fs::write(folder.0.join(name), TEXT).unwrap();
    let run = |arguments: &[&OsStr]| Told::of(folder.uvsim(&["trace"]).args(arguments).output().unwrap());
    run(&["info".as_ref(), name]).exits(0).says(&["accesses       4"]);
    let out = OsStr::from_bytes(b"\xfd.gz");
    run(&["convert".as_ref(), name, out]).exits(0).says(&["4 of 4"]);
    assert!(fs::read(folder.0.join(out)).unwrap().starts_with(&[0x1f, 0x8b]));
    run(&["info".as_ref(), OsStr::from_bytes(b"\xff")]).exits(2).complains(&["\u{fffd}: ", "no such file"]);
    let swept = folder.uvsim(&["sweep", "--frames=2", "--out=swept", "--trace"]).arg(name).output().unwrap();
    Told::of(swept).exits(0).says(&["1 cells run"]);
    folder.file("-dash", TEXT);
    folder.run(&["trace", "info", "--", "-dash"]).exits(0);
}

#[test]
fn conversion_replaces_files_and_nothing_else() {
    let folder = Folder::new("trace-convert");
    folder.file("in", TEXT);
    let at = |name: &str| folder.0.join(name);
    let convert = |out: &str| folder.run(&["trace", "convert", "in", out]);
    folder.file("there", "old");
    convert("there").exits(0);
    assert!(folder.bytes("there").starts_with(b"\x89UVTRACE"));
    // The input, by whatever name.
    symlink("in", at("link")).unwrap();
    for name in ["in", "./in", "link"] {
        convert(name).exits(2).complains(&[name, "is the input as well"]);
        assert_eq!(folder.bytes("in"), TEXT.as_bytes(), "{name}");
    }
    // Another name of the same file: the input keeps what it holds.
    fs::hard_link(at("in"), at("hard")).unwrap();
    convert("hard").exits(0);
    assert_eq!(folder.bytes("in"), TEXT.as_bytes());
    // A link stays a link.
    symlink("there", at("to")).unwrap();
    folder.file("there", "old");
    convert("to").exits(0);
    assert!(at("to").is_symlink() && folder.bytes("there").starts_with(b"\x89UVTRACE"));
    symlink("nothing", at("dangling")).unwrap();
    convert("dangling").exits(2).complains(&["`dangling` cannot be written"]);
    // What is no file does not make way for one.
    Command::new("mkfifo").arg(at("pipe")).status().unwrap();
    convert("pipe").exits(2).complains(&["`pipe` cannot be written: it is not a regular file"]);
    assert!(!at("pipe").is_file() && at("pipe").exists());
    convert(".").exits(2).complains(&["`.` cannot be written: is a directory"]);
    convert("no/such/place").exits(2).complains(&["`no/such/place` cannot be written"]);
    // Damage that shows late leaves what was there, and no unfinished file.
    folder.file("in", format!("{TEXT}what\n"));
    folder.file("there", "old");
    convert("there").exits(2).complains(&["in: line 5"]);
    assert_eq!(folder.bytes("there"), b"old");
    let left: Vec<_> = fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains(".part")), "{left:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = Folder::new("trace-pipe");
    folder.file("in", TEXT);
    for arguments in [&["trace", "info", "in"][..], &["trace", "convert", "in", "out"]] {
        let mut child = folder.uvsim(arguments);
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        Told::of(child.wait_with_output().unwrap()).exits(0);
        let full = File::options().write(true).open("/dev/full").unwrap();
        let told = folder.uvsim(arguments).stdout(full).output().unwrap();
        Told::of(told).exits(2).complains(&["the report cannot be written"]);
    }
}
