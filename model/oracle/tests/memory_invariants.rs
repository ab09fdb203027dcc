//! Invariants of frames and rows, after every step of hosts that do whatever they like.

mod machine;

use machine::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use uvsim_oracle::ids::{FrameNumber, Handle, PageIndex};
use uvsim_oracle::state::{Bytes, Page, Record, Registered};

const OWNERS: [Handle; 2] = [ALPHA, BETA];
const PAGES: u64 = 3;
const FRAMES: core::ops::Range<u64> = 0x200..0x204;

/// What host and guests do. The guests' parts are done to the state, as other tests have them done by guest CPUs.
#[derive(Clone, Debug)]
enum Move {
    Map(usize, u64, u64),
    Import(usize, u64),
    Export(u64),
    Destroy(u64),
    Pin(u64),
    Unpin(usize, u64),
    UnshareAll(usize),
    HostStore(u64, u8),
    HostCopy(u64, u64),
    GuestStore(usize, u64, u8),
    GuestShare(usize, u64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let (owner, page, frame) = (0..2_usize, 0..PAGES, FRAMES);
    let one = prop_oneof![
        4 => (owner.clone(), page.clone(), frame.clone()).prop_map(|(owner, page, frame)| Move::Map(owner, page, frame)),
        6 => (owner.clone(), page.clone()).prop_map(|(owner, page)| Move::Import(owner, page)),
        4 => frame.clone().prop_map(Move::Export),
        1 => frame.clone().prop_map(Move::Destroy),
        1 => frame.clone().prop_map(Move::Pin),
        1 => (owner.clone(), page.clone()).prop_map(|(owner, page)| Move::Unpin(owner, page)),
        1 => owner.clone().prop_map(Move::UnshareAll),
        1 => (frame.clone(), 1..4_u8).prop_map(|(frame, byte)| Move::HostStore(frame, byte)),
        2 => (frame.clone(), frame).prop_map(|(from, to)| Move::HostCopy(from, to)),
        3 => (owner.clone(), page.clone(), 0..4_u8).prop_map(|(owner, page, byte)| Move::GuestStore(owner, page, byte)),
        2 => (owner, page).prop_map(|(owner, page)| Move::GuestShare(owner, page)),
    ];
    prop::collection::vec(one, 1..60)
}

/// What a guest may expect to find in its pages; nothing is said of those that it has shared.
type Expected = BTreeMap<(Handle, u64), Bytes>;

fn take(machine: &mut Machine, expected: &mut Expected, what: &Move) {
    let secure = |machine: &Machine, frame| machine.kind(frame) == Some(Registered::Secure);
    match *what {
        Move::Map(owner, page, frame) => machine.map(OWNERS[owner], page, frame),
        Move::Import(owner, page) => drop(machine.import(OWNERS[owner], page)),
        Move::Export(frame) => export(machine, frame),
        Move::Destroy(frame) => drop(machine.call(DESTROY, &[frame * 4096])),
        Move::Pin(frame) => drop(machine.call(PIN, &[frame * 4096])),
        Move::Unpin(owner, page) => drop(machine.call(UNPIN, &[OWNERS[owner].0, ORIGIN + page * 4096])),
        Move::UnshareAll(owner) => unshare_all(machine, expected, OWNERS[owner]),
        Move::HostStore(frame, byte) if !secure(machine, frame) => machine.put(FrameNumber(frame), filled(byte)),
        Move::HostCopy(from, to) if !secure(machine, from) && !secure(machine, to) => {
            machine.put(FrameNumber(to), machine.bytes(from));
        }
        Move::HostStore(..) | Move::HostCopy(..) => {}
        Move::GuestStore(owner, page, byte) => {
            if let Record::Resident(frame) = machine.record(OWNERS[owner], page) {
                machine.put(frame, filled(byte));
                expected.insert((OWNERS[owner], page), filled(byte));
            }
        }
        Move::GuestShare(owner, page) => {
            if let Record::Resident(frame) = machine.record(OWNERS[owner], page) {
                let row = machine.row(OWNERS[owner], page);
                machine.place(OWNERS[owner], page, Record::Shared(Some(frame)));
                let pages = &mut machine.state.configurations[&OWNERS[owner]].pages;
                pages.insert(PageIndex(page), Page { record: Record::Shared(Some(frame)), ..row });
            }
        }
    }
}

/// I-10, I-22, I-23: what is left is not what was there, and the counter tells whether that has changed. An unchanged
/// page gets its former ciphertext from a world that is right.
fn export(machine: &mut Machine, frame: u64) {
    let there = machine.state.registered.get(&FrameNumber(frame)).copied();
    let (content, before) = (machine.bytes(frame), there.map(|at| machine.row(at.configuration, at.page.0)));
    if let (Some(row), Some(Registered::Secure)) = (&before, machine.kind(frame)) {
        let again = machine.world.made.iter().find(|(digest, _)| {
            row.sealed.as_ref() == Some(&content) && row.ciphertext.is_some_and(|(_, ciphertext)| ciphertext == *digest)
        });
        let again = again.map(|(_, bytes)| bytes.clone());
        machine.world.ciphertexts.extend(again);
        assert_eq!(machine.export(frame), DONE);
        let (at, row) = (there.expect("registered"), row.clone());
        let after = machine.row(at.configuration, at.page.0);
        assert_eq!(after.counter, row.counter + u64::from(row.sealed.as_ref() != Some(&content)));
        assert_ne!(machine.bytes(frame), content, "I-10");
        machine.world.remember(&after, machine.bytes(frame));
    } else {
        assert_eq!(machine.export(frame), DONE);
        assert_eq!(machine.bytes(frame), content, "not sealed");
    }
}

/// D25: pages that are taken back have what is there; of those without a frame nothing is left.
fn unshare_all(machine: &mut Machine, expected: &mut Expected, owner: Handle) {
    let before: Vec<Record> = (0..PAGES).map(|page| machine.record(owner, page)).collect();
    assert_eq!(machine.call(UNSHARE_ALL, &[owner.0]), DONE);
    for (page, record) in (0..).zip(before) {
        match record {
            Record::Shared(Some(frame)) | Record::Pinned(frame) => {
                expected.insert((owner, page), machine.state.frame(frame));
            }
            Record::Shared(None) => drop(expected.remove(&(owner, page))),
            _ => {}
        }
    }
}

/// I-01, I-02, I-03: rows and zone entries say the same.
fn tables_agree(machine: &Machine) {
    let mut registered = 0;
    for owner in OWNERS {
        for (&page, row) in &machine.state.configurations[&owner].pages {
            let (frame, kind) = match row.record {
                Record::Resident(frame) => (frame, Registered::Secure),
                Record::Shared(Some(frame)) => (frame, Registered::Shared),
                Record::Pinned(frame) => (frame, Registered::Pinned),
                _ => continue,
            };
            let there = machine.state.registered.get(&frame).expect("a registered frame");
            assert_eq!((there.configuration, there.page, there.kind), (owner, page, kind), "I-03");
            registered += 1;
        }
    }
    assert_eq!(machine.state.registered.len(), registered, "I-01, I-02");
}

proptest! {
    #[test]
    fn i1_i2_i3_i10_i14_i17_i20_i22_i23_hold_whatever_a_host_does(moves in moves()) {
        let mut machine = Machine::new();
        machine.without_cpu(ALPHA);
        let mut expected = Expected::new();
        for what in &moves {
            let counters = |machine: &Machine| OWNERS.map(|owner| [0, 1, 2].map(|page| machine.row(owner, page).counter));
            let before = counters(&machine);
            take(&mut machine, &mut expected, what);
            tables_agree(&machine);
            for (before, after) in before.iter().flatten().zip(counters(&machine).iter().flatten()) {
                assert!(before <= after, "I-20");
            }
            for owner in OWNERS {
                for page in 0..PAGES {
                    if let Record::Resident(frame) = machine.record(owner, page) {
                        let content = expected.get(&(owner, page)).cloned().unwrap_or_else(|| filled(0));
                        assert_eq!(machine.state.frame(frame), content, "I-14, I-17: {owner:?} {page} after {what:?}");
                    }
                }
            }
        }
    }
}
