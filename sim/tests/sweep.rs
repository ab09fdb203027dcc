//! `uvsim sweep`: the same results whatever the threads, the shards and the interruptions, and what it refuses.

mod folder;

use folder::Folder;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// A trace of a program with favourites: 12 pages, of which low ones come often.
fn trace(accesses: u64, salt: u64) -> String {
    let mut state = salt;
    (0..accesses).fold(String::new(), |mut text, _| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let random = state >> 33;
        let page = (random % 13).min(random / 13 % 13).min(11);
        let kind = if random.is_multiple_of(5) { 'S' } else { 'L' };
        let _ = writeln!(text, " {kind} {:x},8", 0x40_0000 + page * 4096 + random % 500 * 8);
        text
    })
}

fn prepared(name: &str) -> Folder {
    let folder = Folder::new(name);
    folder.file("one.lackey", trace(400, 1));
    folder.file("two.lackey", trace(300, 2));
    folder
}

const GRID: [&str; 9] = [
    "sweep",
    "--trace",
    "two.lackey",
    "one.lackey",
    "--policy=lru,random,clock",
    "--frames=2..=8:*2,100%",
    "--generation=z16",
    "--seed=7",
    "--window=50",
];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    GRID.iter().chain(more).copied().collect()
}

/// Everything that must not depend on how a sweep was run.
fn results(folder: &Folder, out: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(folder.0.join(out))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .filter(|(name, _)| name != "cells.jsonl")
        .collect();
    files.sort();
    files
}

#[test]
fn threads_shards_and_interruptions_do_not_show() {
    let folder = prepared("sweep-same");
    folder.run(&with(&["--out=whole", "--jobs=1"])).exits(0).says(&["24 cells run, 0 found done", "results.csv"]);
    let whole = results(&folder, "whole");
    let names: Vec<&str> = whole.iter().map(|(name, _)| &**name).collect();
    assert_eq!(
        names,
        [
            "cost-one.lackey-z16.svg",
            "cost-two.lackey-z16.svg",
            "miss-ratio-one.lackey-z16.svg",
            "miss-ratio-two.lackey-z16.svg",
            "results.csv",
            "results.json"
        ]
    );
    folder.run(&with(&["--out=threads", "--jobs=3", "--quiet"])).exits(0);
    assert_eq!(results(&folder, "threads"), whole);

    // Two shards share a folder, one has its own.
    for (shard, out) in [("--shard=1/3", "some"), ("--shard=3/3", "some")] {
        folder.run(&with(&[shard, &format!("--out={out}"), "-q"])).exits(0);
    }
    folder
        .run(&["sweep", "merge", "some", "--out=early"])
        .exits(2)
        .complains(&["8 of 24 cells are missing", "one.lackey/z16/lru/4"]);
    folder.run(&with(&["--shard=2/3", "--out=other", "-q"])).exits(0);
    folder.run(&["sweep", "merge", "other", "some", "--out=merged"]).exits(0).says(&["24 found done"]);
    assert_eq!(results(&folder, "merged"), whole);

    // Cut in the middle of a line.
    let journal = folder.bytes("whole/cells.jsonl");
    fs::create_dir(folder.0.join("cut")).unwrap();
    let cut = &journal[..journal.len() / 2];
    folder.file("cut/cells.jsonl", cut);
    let done = cut.iter().filter(|&&byte| byte == b'\n').count() - 1;
    folder.run(&with(&["--out=cut", "--resume"])).exits(0).says(&[&format!("{} cells run, {done} found", 24 - done)]);
    assert_eq!(results(&folder, "cut"), whole);
    folder.run(&with(&["--out=cut", "--resume"])).exits(0).says(&["0 cells run, 24 found done"]);
    // Cut in the first line: nothing has been done.
    folder.file("cut/cells.jsonl", &journal[..9]);
    folder.run(&with(&["--out=cut", "--resume", "-q"])).exits(0);
    assert_eq!(results(&folder, "cut"), whole);
}

#[test]
fn a_sweep_that_was_killed_goes_on() {
    let folder = prepared("sweep-killed");
    folder.run(&with(&["--out=whole", "-q"])).exits(0);
    let mut child = folder.uvsim(&with(&["--out=cut", "-q", "--jobs=1"])).spawn().unwrap();
    let journal = folder.0.join("cut/cells.jsonl");
    let lines = || fs::read(&journal).map_or(0, |text| text.iter().filter(|&&byte| byte == b'\n').count());
    while lines() < 3 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let done = lines() - 1;
    let told = format!("{} cells run, {done} found done", 24 - done);
    folder.run(&with(&["--out=cut", "--resume"])).exits(0).says(&[&told]);
    assert_eq!(results(&folder, "cut"), results(&folder, "whole"));
}

/// Column `wanted` of the rows of a policy and trace.
fn column(csv: &str, trace: &str, policy: &str, wanted: &str) -> Vec<f64> {
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let at = lines.next().unwrap().iter().position(|&name| name == wanted).unwrap();
    lines.filter(|row| (row[0], row[2]) == (trace, policy)).map(|row| row[at].parse().unwrap()).collect()
}

#[test]
fn more_frames_never_hurt_lru() {
    let folder = Folder::new("sweep-lru");
    folder.file("t", trace(600, 3));
    let arguments = ["sweep", "--trace=t", "--frames=1..=12", "--policy=lru,working-set", "--out=out", "--measure"];
    folder.run(&arguments).exits(0);
    let csv = String::from_utf8(folder.bytes("out/results.csv")).unwrap();
    let misses = column(&csv, "t", "lru", "miss_ratio");
    assert_eq!(misses.len(), 12);
    assert!(misses.is_sorted_by(|few, many| few >= many) && misses[0] > 4.0 * misses[11], "{misses:?}");
    // In the end only first touches are left: each page once, and nothing goes.
    assert_eq!(column(&csv, "t", "lru", "faults")[11], column(&csv, "t", "lru", "pages")[11]);
    assert_eq!(column(&csv, "t", "lru", "page_outs")[11], 0.0);
    let sums = column(&csv, "t", "lru", "encrypted").into_iter().zip(column(&csv, "t", "lru", "unchanged"));
    let sums: Vec<f64> = sums.map(|(encrypted, unchanged)| encrypted + unchanged).collect();
    assert_eq!(sums, column(&csv, "t", "lru", "page_outs"));
    let times = String::from_utf8(folder.bytes("out/times.csv")).unwrap();
    assert_eq!(times.lines().count(), 1 + 24);
    let svg = String::from_utf8(folder.bytes("out/miss-ratio-t-z16.svg")).unwrap();
    for colour in ["#0072B2", "#565656"] {
        let lines = svg.lines().filter(|line| line.starts_with("<polyline") && line.contains(colour));
        assert_eq!(lines.count(), 1, "{colour}");
    }
}

#[test]
fn settings_reach_the_machine() {
    let folder = Folder::new("sweep-settings");
    folder.file("t", trace(300, 4));
    let encrypted = |more: &str, out: &str| {
        folder.run(&["sweep", "--trace=t", "--frames=3", more, &format!("--out={out}")]).exits(0);
        let csv = String::from_utf8(folder.bytes(&format!("{out}/results.csv"))).unwrap();
        (column(&csv, "t", "lru", "encrypted"), column(&csv, "t", "lru", "unchanged"))
    };
    let (some, rest) = encrypted("--change-detection=digest", "digest");
    let (all, none) = encrypted("--change-detection=always", "always");
    assert!(rest[0] > 0.0 && none[0] == 0.0 && all[0] == some[0] + rest[0]);
    assert_eq!(encrypted("--cipher=xts", "xts"), (some, rest));
}

#[test]
fn what_is_refused() {
    let folder = prepared("sweep-refused");
    let refused = |arguments: &[&str], about: &[&str]| _ = folder.run(arguments).exits(2).complains(about);
    let usual = ["sweep", "--trace=one.lackey", "--out=out"];
    let usually = |more: &str, about: &[&str]| refused(&[&usual[..], &[more]].concat(), about);
    usually("--policy=lur", &["did you mean `lru`?"]);
    usually("--policy=best", &["working-set"]);
    usually("--generation=z18", &["did you mean"]);
    usually("--frames=0", &["at least 1 frame"]);
    usually("--frames=8..=2:*2", &["a range goes up"]);
    usually("--shard=3/2", &["from 1 to N"]);
    usually("--shard=9/9", &["no cells to run", "the grid has 5"]);
    usually("--jobs=0", &["--jobs"]);
    refused(&["sweep", "--out=out"], &["--trace"]);
    refused(&["sweep", "--trace=one.lackey"], &["--out"]);
    refused(&["sweep", "--trace=none", "--out=out"], &["`none`"]);
    folder.file("garbage", "not a trace\n");
    refused(&["sweep", "--trace=garbage", "--out=out"], &["`garbage`"]);
    refused(&["sweep", "--trace", "one.lackey", "./one.lackey", "--out=out"], &["two traces are named"]);
    refused(&["sweep", "--trace=one.lackey", "--out=one.lackey"], &["one.lackey"]);
    assert!(!Path::new(&folder.0.join("out")).exists(), "a refusal leaves no folder");
}

#[test]
fn results_of_others_are_left_alone() {
    let folder = prepared("sweep-others");
    let refused = |arguments: &[&str], about: &[&str]| _ = folder.run(arguments).exits(2).complains(about);
    fs::create_dir(folder.0.join("mine")).unwrap();
    folder.file("mine/notes.txt", "dear diary");
    let base = ["sweep", "--trace=one.lackey", "--frames=4", "-q"];
    let also = |more: &[&'static str]| [&base[..], more].concat();
    refused(&also(&["--out=mine"]), &["notes.txt", "--resume"]);
    refused(&also(&["--out=mine", "--resume"]), &["notes.txt"]);
    folder.run(&also(&["--out=a"])).exits(0);
    refused(&also(&["--out=a"]), &["is there already"]);
    refused(&also(&["--out=a", "--resume", "--seed=2"]), &["another sweep", "seed is 1 there, 2 here"]);
    refused(&also(&["--out=a", "--resume", "--policy=fifo"]), &["policies is [\"lru\"] there"]);
    let before = folder.bytes("one.lackey");
    folder.file("one.lackey", trace(400, 9));
    refused(&also(&["--out=a", "--resume"]), &["`one.lackey`", "there"]);
    folder.file("one.lackey", before);
    folder.run(&also(&["--out=b", "--seed=2"])).exits(0);
    refused(&["sweep", "merge", "a", "b", "--out=c"], &["another sweep", "seed"]);
    refused(&["sweep", "merge", "mine", "--out=c"], &["no journal"]);
    refused(&["sweep", "merge", "a", "--out=mine"], &["notes.txt"]);
    // A result that was tampered with.
    fs::create_dir(folder.0.join("d")).unwrap();
    let journal = String::from_utf8(folder.bytes("a/cells.jsonl")).unwrap();
    folder.file("d/cells.jsonl", journal.replace("\"page_ins\":", "\"page_ins\":1"));
    refused(&["sweep", "merge", "a", "d", "--out=c"], &["one.lackey/z16/lru/4 has one result in"]);
    folder.file("d/cells.jsonl", format!("{journal}what\n"));
    refused(&["sweep", "merge", "d", "--out=c"], &["line 3", "not a JSON object"]);
    folder.file("d/cells.jsonl", "{}\n");
    refused(&also(&["--out=d", "--resume"]), &["line 1", "not the grid"]);
    assert!(!folder.0.join("c").exists());
}
