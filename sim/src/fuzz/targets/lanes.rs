//! Two lanes of statements, made from four bytes each: whatever they are, the model keeps its rules, and with one
//! seed two runs tell the same.

use super::{Fault, prepared, running};
use crate::run::Options;
use crate::scenario::Scenario;
use std::fmt::Write;
use std::path::Path;

/// Statements of both lanes together.
const MOST: usize = 40;
/// Orders of turns; more would be more keys to make.
const SEEDS: u16 = 32;
/// Kinds of statements.
const STATEMENTS: u8 = 40;
/// alpha has something in storage; gamma comes into being later, if at all.
const HEAD: &str = r#"machine { storage "2200MiB"; cpus 2 }
guest alpha memory="1MiB" vcpus=2 { load 0x3000 text="attack at dawn"; }
guest beta memory="1MiB" vcpus=2 { load 0x3000 text="beta's own"; }
guest gamma memory="1MiB" vcpus=2 state=none { load 0x2000 text="gamma"; }
"#;

/// Lanes that take turns, as the seed says.
pub(super) fn in_turn(data: &[u8]) -> Result<(), Fault> {
    let Some(scenario) = scenario(data, true)? else { return Ok(()) };
    running::twice(&scenario, Options { go_on: true, verify: true, ..Options::default() })
}

/// Lanes on threads. Nothing is compared: who comes first is up to the scheduler.
pub(super) fn on_threads(data: &[u8]) -> Result<(), Fault> {
    let Some(scenario) = scenario(data, false)? else { return Ok(()) };
    running::once(&scenario, Options { threads: true, go_on: true, ..Options::default() }).map(drop)
}

fn scenario(data: &[u8], alone: bool) -> Result<Option<Scenario>, Fault> {
    let Some(text) = text(data, alone) else { return Ok(None) };
    match Scenario::parse(Path::new("lanes.kdl"), &text) {
        Ok(mut scenario) => {
            prepared::prepare(&mut scenario);
            Ok(Some(scenario))
        }
        Err(errors) => {
            let messages: Vec<&str> = errors.errors().iter().map(|error| error.message.as_str()).collect();
            Err(Fault::in_text(format!("the language does not take it: {}", messages.join("; ")), &text))
        }
    }
}

/// Two bytes of seed, then statements. `alone`: no lane disturbs the other's CPU, so that one may reset the machine.
fn text(data: &[u8], alone: bool) -> Option<String> {
    let (seed, rest) = data.split_first_chunk::<2>()?;
    let (statements, _) = rest.as_chunks::<4>();
    let mut lanes = [String::new(), String::new()];
    for &[choice, guest, page, detail] in statements.iter().take(MOST) {
        let lane = usize::from(choice >> 7);
        let line = statement(lane, [choice & 0x7f, guest, page, detail], alone);
        let _ = writeln!(lanes[lane], "    {line}");
    }
    if lanes.iter().any(String::is_empty) {
        return None;
    }
    let [first, second] = lanes;
    let seed = u16::from_be_bytes(*seed) % SEEDS;
    Some(format!(
        "scenario lanes\n{}step both {{\nparallel {{\nlane {{\n{first}}}\nlane {{\n{second}}}\n}}\ncheck invariants\n}}\n",
        HEAD.replacen("machine {", &format!("machine {{ seed {seed};"), 1)
    ))
}

fn statement(lane: usize, [choice, guest, page, detail]: [u8; 4], alone: bool) -> String {
    const GUESTS: [&str; 3] = ["alpha", "beta", "gamma"];
    let name = GUESTS[usize::from(guest % 3)];
    let other = GUESTS[usize::from(guest / 3 % 3)];
    let purge = guest & 0x80 == 0;
    let pages = match detail >> 6 {
        0 => format!("{name}:{}..{}", page % 8, page % 8 + detail % 4),
        _ => format!("{name}:{}", page % 8),
    };
    let one = format!("{name}:{}", page % 8);
    let to = format!("{other}:{}", page / 8 % 8);
    match choice % STATEMENTS {
        0 | 1 => format!("guest read {pages} len={}", 1 + u16::from(detail)),
        2 | 3 => format!("guest write {pages} text=\"secret\" offset={}", u16::from(detail) * 16),
        4 => format!("guest share {pages}"),
        5 => format!("guest unshare {pages}"),
        6 => format!("host read {pages} len={}", 1 + u16::from(detail)),
        7 => format!("host write {pages} hex=\"5a5a\" offset={}", u16::from(detail) * 16),
        8 => format!("host flip {pages} bit={}", u16::from(detail) * 128),
        9 | 10 => format!("host export {pages}"),
        11 | 12 => format!("host import {pages}"),
        13 => format!("host destroy {pages}"),
        14 => format!("host pin {pages}"),
        15 => format!("host unpin {pages}"),
        16 => format!("host make-accessible {pages}"),
        17 => format!("host page-out {pages}"),
        18 => format!("host page-in {pages}"),
        19 => format!("host move {pages} purge=#{purge}"),
        20 => format!("host unmap {pages} purge=#{purge}"),
        21 => format!("host remap {one} to={to} purge=#{purge}"),
        22 => format!("host copy {one} to={to}"),
        23 => format!("device read {pages} len=8"),
        24 => format!("device write {pages} text=\"io\""),
        25 => format!("host start {name}"),
        26 => format!("host stop {name}"),
        27 => format!("host teardown {name} fast=#{purge}"),
        28 => format!("host unshare-all {name}"),
        29 => {
            // Each lane has its own pages: what a workload reads back no other lane may store into.
            let (first, accesses) = (16 * (1 + lane), 1 + u16::from(detail) * 4);
            format!("workload guest={name} accesses={accesses} first={first} working-set=4 frames=2 writes=0.5")
        }
        30 => format!("host uvc conv-from-sec-stor paddr=(frame){one}"),
        31 => format!("host uvc destr-sec-stor paddr=(frame){one}"),
        32 => format!("host uvc conv-to-sec-stor guest-handle=(handle){name} gaddr=(page){to}"),
        33 => format!("host uvc destroy-sec-conf handle=(handle){name}"),
        34 => format!("host uvc destroy-sec-cpu handle=(cpu){name}:{}", detail % 2),
        35 => format!("host uvc cpu-set-state cpu-handle=(cpu){name}:{} state={}", detail % 2, page % 8),
        36 => format!("guest uvc {name} set-shared-access paddr=(page){to}"),
        37 => format!("host inject conv-from-sec-stor busy={}", 1 + detail % 4),
        38 if alone => "host reset-machine".to_owned(),
        38 => format!("host create {name}"),
        _ => format!(
            "host pv {} {name}",
            ["enable", "disable", "verify", "prep-reset", "unshare-all"][usize::from(detail % 5)]
        ),
    }
}

/// Each statement in one lane, while the other pages.
pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    let one = |choice: u8| {
        let statements = [[choice, 0, 3, 0x40], [0x80 | 17, 0, 3, 0x40], [choice, 1, 4, 0], [0x80 | 18, 0, 3, 0x40]];
        let data = [choice, 1].into_iter().chain(statements.as_flattened().iter().copied());
        (format!("statement-{choice}"), data.collect())
    };
    (0..STATEMENTS).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every statement of the table, in one lane and then the other, is one that the language knows.
    #[test]
    fn every_statement_is_of_the_language() {
        for alone in [false, true] {
            for choice in 0..STATEMENTS {
                let data = [0, 1, choice, 5, 0x2a, 0x41, choice | 0x80, 0x83, 0xff, 0x07];
                let made = scenario(&data, alone).unwrap_or_else(|fault| panic!("{choice}: {fault}"));
                assert!(made.is_some_and(|scenario| scenario.has_lanes()), "{choice}");
            }
        }
    }

    #[test]
    fn one_lane_is_none() {
        assert_eq!(text(&[0, 0, 1, 2, 3, 4], true), None);
        assert_eq!(text(&[0], true), None);
    }
}
