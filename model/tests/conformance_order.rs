//! Conformance, order of checks: with two faults at once the one that the decisions rank first is the
//! answer (D2, D7, D9, D11–D13, D50–D54, D80). Faults are listed in their order; all of them are tried
//! alone and in all pairs that one block can carry.

#[path = "support/scene.rs"]
mod scene;
mod support;

use scene::{Field, reason, with};
use support::image::Plan;
use support::{Answer, BLOCK, DONE, Guest, Host, UV_BASE, config, refused};
use uvsim_model::address::{AbsoluteAddress, FrameNumber, PageIndex, VirtualAddress};
use uvsim_model::config::MachineConfig;
use uvsim_model::uvc::Command;
use uvsim_model::{MAX_GUEST_ADDRESS, Machine, PageRecord, UV_BASE_LENGTH};

const END: u64 = 4 << 30;

/// One thing that is wrong with a call.
#[derive(Clone, Debug)]
struct Fault {
    answer: Answer,
    /// Fields that carry it.
    fields: Vec<Field>,
    /// Where the block lies, if that is the fault.
    block: Option<u64>,
    /// Length of the block, if that is the fault.
    length: Option<u16>,
}

fn fault(rc: u16, fields: &[Field]) -> Fault {
    Fault { answer: refused(rc), fields: fields.to_vec(), block: None, length: None }
}

fn bad_length(length: u16) -> Fault {
    Fault { length: Some(length), ..fault(5, &[]) }
}

fn block_in(rc: u16, block: u64) -> Fault {
    Fault { block: Some(block), ..fault(rc, &[]) }
}

impl Fault {
    /// Both at once, with the answer of the first; `None` if they need the same field.
    fn and(&self, later: &Fault) -> Option<Fault> {
        let clash = self.fields.iter().any(|field| later.fields.iter().any(|other| field.0 == other.0))
            || (self.block.is_some() && later.block.is_some())
            || (self.length.is_some() && later.length.is_some());
        (!clash).then(|| Fault {
            answer: self.answer,
            fields: with(&self.fields, &later.fields),
            block: self.block.or(later.block),
            length: self.length.or(later.length),
        })
    }

    fn expect(&self, host: &mut Host<'_>, command: Command, good: &[Field]) {
        let length = self.length.unwrap_or(command.usual_length());
        host.refuse_at(self.block.unwrap_or(BLOCK), command.code(), length, &with(good, &self.fields), self.answer);
    }
}

/// Tries all faults and all pairs of them; returns how many pairs there were.
fn expect_order(host: &mut Host<'_>, command: Command, good: &[Field], faults: &[Fault]) -> usize {
    let mut pairs = 0;
    for (index, first) in faults.iter().enumerate() {
        first.expect(host, command, good);
        for both in faults[index + 1..].iter().filter_map(|later| first.and(later)) {
            both.expect(host, command, good);
            pairs += 1;
        }
    }
    pairs
}

#[test]
fn init() {
    // What stands in a field, and what the machine is in.
    for other_operates in [false, true] {
        let machine = Machine::new(config()).unwrap();
        let mut host = Host::new(&machine);
        let other = other_operates.then(|| machine.cpu(1).unwrap());
        let good = [(0x18, 8, UV_BASE), (0x20, 8, UV_BASE_LENGTH)];
        let mut faults = vec![
            bad_length(0x40),
            fault(0x103, &[(0x20, 8, UV_BASE_LENGTH - 8)]),
            fault(0x104, &[(0x18, 8, END)]),
            fault(0x105, &[(0x18, 8, END - (1 << 20))]),
            fault(0x108, &[(0x18, 8, 1 << 30)]),
        ];
        if other_operates {
            faults.push(fault(0x102, &[]));
        }
        faults.push(block_in(if other_operates { 0x102 } else { 0x105 }, UV_BASE));
        expect_order(&mut host, Command::InitUv, &good, &faults);
        // 0x108 before the block in the area.
        let both = [(0x18, 8, 1 << 30), (0x20, 8, UV_BASE_LENGTH)];
        host.refuse_at(1 << 30, 0x000f, 0x48, &both, refused(0x108));
        drop(other);
        assert_eq!(host.call(Command::InitUv, &good), DONE);
        for fault in &faults[1..5] {
            host.refuse_unchanged(Command::InitUv, &with(&good, &fault.fields), refused(0x101));
        }
        host.refuse_raw(0x000f, 0x40, &good, refused(5));
        let _other = machine.cpu(1).unwrap();
        host.refuse_unchanged(Command::InitUv, &good, refused(0x101));
    }
}

#[test]
fn create_sec_conf() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let taken = host.create(1);
    let guest = host.prepare(1);
    let good = Host::create_fields(&guest);
    let home = host.home_space();
    let outside = home.map(&mut host, 0, AbsoluteAddress(END).frame(), 0);
    let faults = [
        bad_length(0x78),
        fault(0x101, &[(0x38, 8, MAX_GUEST_ADDRESS + 1)]),
        fault(0x102, &[(0x40, 8, MAX_GUEST_ADDRESS + (1 << 20))]),
        fault(0x102, &[(0x38, 8, MAX_GUEST_ADDRESS)]),
        fault(0x103, &[(0x38, 8, 0x1000)]),
        fault(0x103, &[(0x40, 8, 0x1000)]),
        fault(0x105, &[(0x50, 8, guest.asce.0 & !0x100)]),
        fault(0x104, &[(0x50, 8, taken.asce.0)]),
        fault(0x108, &[(0x20, 8, END)]),
        fault(0x108, &[(0x20, 8, taken.base)]),
        // It needs this base area, so no pair with another one.
        Fault { block: Some(guest.base), ..fault(0x108, &[(0x20, 8, guest.base)]) },
        fault(0x106, &[(0x20, 8, guest.base + 8)]),
        fault(0x109, &[(0x20, 8, 0)]),
        fault(0x31, &[(0x28, 8, home.window + 0x1000)]),
        fault(0x32, &[(0x28, 8, outside)]),
        fault(0x10a, &[(0x28, 8, guest.variable + 8)]),
        fault(0x10e, &[(0x28, 8, 0)]),
        fault(0x10b, &[(0x28, 8, taken.variable)]),
        fault(0x10c, &[(0x48, 8, 0)]),
        fault(0x10d, &[(0x48, 8, END)]),
    ];
    let pairs = expect_order(&mut host, Command::CreateSecConf, &good, &faults);
    assert!(pairs > 130, "{pairs}");
    // Two faults in one field. The block keeps clear of the areas that these name.
    let block = host.allocate(0x1000);
    for (field, rc) in [
        ((0x38, 8, MAX_GUEST_ADDRESS + 8), 0x101),
        ((0x38, 8, MAX_GUEST_ADDRESS - 8), 0x102),
        ((0x40, 8, u64::MAX), 0x102),
        ((0x50, 8, taken.asce.0 & !0x100), 0x105),
        ((0x50, 8, taken.asce.0 | 0x20), 0x105),
        ((0x20, 8, END + 8), 0x108),
        ((0x20, 8, taken.base + 8), 0x108),
        ((0x20, 8, 8), 0x106),
        ((0x28, 8, home.window + 0x1008), 0x31),
        ((0x28, 8, outside + 8), 0x32),
        ((0x28, 8, 8), 0x10a),
        ((0x28, 8, taken.variable + 8), 0x10a),
    ] {
        host.refuse_at(block, 0x0100, 0x80, &with(&good, &[field]), refused(rc));
    }
    // The same frames serve as both areas: the base is checked first, and is in order.
    let same = with(&good, &[(0x28, 8, guest.base), (0x48, 8, 0)]);
    host.refuse_unchanged(Command::CreateSecConf, &same, refused(0x10b));
    host.cpu.set_translation(false);
    assert_eq!(host.call(Command::CreateSecConf, &good), DONE);
    // The same block again: ASCE, areas and control area are all in use (Q36).
    for edit in [(0x36, 2, 0), (0x20, 8, END), (0x28, 8, 0), (0x48, 8, 0)] {
        host.refuse_unchanged(Command::CreateSecConf, &with(&good, &[edit]), refused(0x104));
    }
}

#[test]
fn create_sec_cpu() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    let (storage, state) = (host.allocate(0x1000), host.allocate(0x1000));
    let good = with(&Host::cpu_fields(&guest, 1), &[(0x28, 8, storage), (0x38, 8, state)]);
    let faults = [
        bad_length(0x58),
        fault(0x20, &[(0x20, 8, guest.handle + 1)]),
        fault(0x103, &[(0x36, 2, 257)]),
        fault(0x104, &[(0x36, 2, 0)]),
        fault(0x106, &[(0x28, 8, 0)]),
        fault(0x105, &[(0x28, 8, END)]),
        fault(0x105, &[(0x28, 8, storage + 8)]),
        fault(0x105, &[(0x28, 8, guest.cpu_storage)]),
        block_in(0x105, storage),
        fault(0x107, &[(0x38, 8, END)]),
        fault(0x107, &[(0x38, 8, state + 8)]),
        fault(0x107, &[(0x38, 8, UV_BASE)]),
    ];
    let pairs = expect_order(&mut host, Command::CreateSecCpu, &good, &faults);
    assert!(pairs > 50, "{pairs}");
    let both = with(&good, &[(0x28, 8, 8)]);
    host.refuse_unchanged(Command::CreateSecCpu, &both, refused(0x106));
    assert_eq!(host.call(Command::CreateSecCpu, &good), DONE);
}

/// What a page may be mapped to, in the order in which an import minds it.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Mapping {
    Nowhere,
    Taken,
    HoldsTheBlock,
    Fresh,
}

/// What may be wrong with its record.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Record {
    Absent,
    Elsewhere,
    SharedElsewhere,
    Forged,
    Destroyed,
}

const MAPPINGS: [Mapping; 4] = [Mapping::Nowhere, Mapping::Taken, Mapping::HoldsTheBlock, Mapping::Fresh];
const RECORDS: [Record; 5] =
    [Record::Absent, Record::Elsewhere, Record::SharedElsewhere, Record::Forged, Record::Destroyed];

/// Gives page `page` of a guest this record. A destroyed one needs the CPU gone, so it comes last.
fn give_record(host: &mut Host<'_>, guest: &Guest, page: PageIndex, record: Record) {
    match record {
        Record::Absent => {}
        Record::Elsewhere => {
            host.resident(guest, page);
        }
        Record::SharedElsewhere => {
            host.shared(guest, page, b"open");
        }
        Record::Forged => {
            let frame = host.resident(guest, page);
            assert_eq!(host.export(frame), DONE);
        }
        Record::Destroyed => {
            let frame = host.resident(guest, page);
            assert_eq!(host.destroy_cpu(guest), DONE);
            assert_eq!(host.destroy(frame), DONE);
        }
    }
}

fn give_mapping(host: &mut Host<'_>, guest: &Guest, page: PageIndex, mapping: Mapping, taken: FrameNumber) -> u64 {
    let frame = host.frame();
    match mapping {
        Mapping::Nowhere => host.unmap(guest, page),
        Mapping::Taken => host.map(guest, page, taken),
        Mapping::HoldsTheBlock | Mapping::Fresh => host.map(guest, page, frame),
    }
    if mapping == Mapping::HoldsTheBlock { frame.address().0 } else { BLOCK }
}

#[test]
fn import() {
    for record in RECORDS {
        let machine = Machine::new(config()).unwrap();
        let mut host = Host::ready(&machine);
        let (guest, other) = (host.start(1), host.start(1));
        let taken = host.resident(&other, PageIndex(3));
        let page = PageIndex(3);
        give_record(&mut host, &guest, page, record);
        let good: [Field; 2] = [(0x18, 8, guest.handle), (0x20, 8, 0x3000)];
        for mapping in MAPPINGS {
            let block = give_mapping(&mut host, &guest, page, mapping, taken);
            let expected = match (mapping, record) {
                (Mapping::Nowhere, _) => 0x10a,
                (Mapping::Taken | Mapping::HoldsTheBlock, _) => 0x104,
                (Mapping::Fresh, Record::Elsewhere | Record::SharedElsewhere) => 0x105,
                (Mapping::Fresh, Record::Forged | Record::Destroyed) => 0x106,
                (Mapping::Fresh, Record::Absent) => continue,
            };
            println!("{mapping:?}, {record:?}");
            host.refuse_at(block, 0x0200, 0x28, &good, refused(expected));
            let faults =
                [bad_length(0x30), fault(0x20, &[(0x18, 8, guest.handle + 1)]), fault(0x103, &[(0x20, 8, 1 << 20)])];
            expect_order(&mut host, Command::ConvToSecStor, &good, &faults);
        }
    }
}

#[test]
fn unpin() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let held = host.shared(&guest, PageIndex(3), b"held");
    assert_eq!(host.pin(held), DONE);
    let good: [Field; 2] = [(0x18, 8, guest.handle), (0x20, 8, 0x3000)];
    let general = [bad_length(0x30), fault(0x20, &[(0x18, 8, guest.handle ^ 1)]), fault(0x103, &[(0x20, 8, u64::MAX)])];
    // Pinned in another frame, and not mapped at all: the mapping comes first.
    host.unmap(&guest, PageIndex(3));
    expect_order(&mut host, Command::UnpinPageShared, &good, &general);
    host.refuse_unchanged(Command::UnpinPageShared, &good, refused(0x10a));
    let frame = host.frame();
    host.map(&guest, PageIndex(3), frame);
    expect_order(&mut host, Command::UnpinPageShared, &good, &general);
    host.refuse_unchanged(Command::UnpinPageShared, &good, refused(0x105));
    host.map(&guest, PageIndex(3), held);
    assert_eq!(host.unpin(&guest, PageIndex(3)), DONE);
}

#[test]
fn unpack() {
    for record in [Record::Absent, Record::Elsewhere, Record::Forged, Record::Destroyed] {
        for set in [false, true] {
            let machine = Machine::new(MachineConfig { strict_tweaks: true, ..config() }).unwrap();
            let mut host = Host::ready(&machine);
            let other = host.start(1);
            let taken = host.resident(&other, PageIndex(3));
            let guest = host.create(1);
            let page = PageIndex(3);
            if set {
                assert_eq!(host.set_parameters(&guest, &support::image::empty_header(&machine)), DONE);
                // A tweak that the following ones do not exceed.
                let frame = host.frame();
                host.map(&guest, PageIndex(9), frame);
                let first = [(0x18, 8, guest.handle), (0x20, 8, 0x9000), (0x28, 8, 7)];
                assert_eq!(host.call(Command::UnpackImg, &first), DONE);
            }
            give_record(&mut host, &guest, page, record);
            let good: [Field; 3] = [(0x18, 8, guest.handle), (0x20, 8, 0x3000), (0x28, 8, 7)];
            for mapping in MAPPINGS {
                let block = give_mapping(&mut host, &guest, page, mapping, taken);
                let expected = match (set, mapping, record) {
                    (false, ..) => 0x101,
                    (_, Mapping::Nowhere, _) => 0x10a,
                    (_, Mapping::Taken | Mapping::HoldsTheBlock, _) => 0x104,
                    (_, Mapping::Fresh, Record::Absent) => 0x106,
                    (_, Mapping::Fresh, _) => 0x105,
                };
                println!("{set}, {mapping:?}, {record:?}");
                host.refuse_at(block, 0x0301, 0x50, &good, refused(expected));
                let range = if set { 0x103 } else { 0x101 };
                let faults = [
                    bad_length(0x48),
                    fault(0x20, &[(0x18, 8, guest.handle + 1)]),
                    fault(range, &[(0x20, 8, 1 << 20)]),
                ];
                expect_order(&mut host, Command::UnpackImg, &good, &faults);
                host.refuse_unchanged(Command::UnpackImg, &with(&good, &[(0x20, 8, 0x3008)]), refused(range));
            }
        }
    }
}

#[test]
fn set_sec_conf_params() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    // What may be wrong inside the header, in the order in which it is found (D52). Where a field is changed
    // the tag breaks as well, so that everything else comes before the tag.
    type Change = (&'static str, fn(&mut Vec<u8>), Answer);
    let changes: [Change; 10] = [
        ("magic", |header| header[0] ^= 1, refused(0x10a)),
        ("version", |header| header[0xa] ^= 2, reason(0x104, 1)),
        ("no slots", |header| header[0x20..0x28].fill(0), reason(0x10a, 0x40)),
        ("encrypted area", |header| header[0x2f] ^= 0x10, reason(0x10a, 0x39)),
        ("size", |header| header[0xf] ^= 1, reason(0x10a, 0x31)),
        ("plaintext flag", |header| header[0x38] ^= 0x80, reason(0x106, 0x30)),
        ("key hash", |header| header[0x1a0] ^= 1, reason(0x108, 5)),
        ("customer key", |header| header[0x40] ^= 1, reason(0x108, 0xb)),
        ("wrapped key", |header| header[0x1c0] ^= 1, refused(0x108)),
        ("tag", |header| header[0x27f] ^= 1, refused(0x10a)),
    ];
    let bad_secrets = Plan { secret_flags: 1, ..Plan::of(&machine, Vec::new()) }.make().header;
    for header in [support::image::empty_header(&machine), bad_secrets.clone()] {
        for bits in 1..1u32 << changes.len() {
            let mut bad = header.clone();
            let chosen: Vec<&Change> =
                changes.iter().enumerate().filter(|(n, _)| bits >> n & 1 != 0).map(|it| it.1).collect();
            chosen.iter().for_each(|(_, change, _)| change(&mut bad));
            let good = host.parameters(&guest, &bad);
            // All pairs and triples, and some of the rest: each costs a product of points.
            if bits.count_ones() < 4 || bits % 37 == 0 {
                host.refuse_unchanged(Command::SetSecConfParams, &good, chosen[0].2);
            }
            if bits.count_ones() == 1 {
                let faults = [
                    bad_length(0x48),
                    fault(0x20, &[(0x18, 8, guest.handle + 1)]),
                    fault(0x103, &[(0x20, 8, END - 0x10)]),
                    Fault { answer: reason(0x10a, 0x31), ..fault(0, &[(0x28, 4, 0x19f)]) },
                    Fault { answer: reason(0x10a, 0x31), ..fault(0, &[(0x28, 4, 0x2001)]) },
                ];
                expect_order(&mut host, Command::SetSecConfParams, &good, &faults);
            }
        }
    }
    let secret = host.parameters(&guest, &bad_secrets);
    host.refuse_unchanged(Command::SetSecConfParams, &secret, refused(0x109));
    // Too short, and out of reach.
    let short = with(&secret, &[(0x20, 8, END - 0x10), (0x28, 4, 0x20)]);
    host.refuse_unchanged(Command::SetSecConfParams, &short, refused(0x103));
    assert_eq!(host.set_parameters(&guest, &support::image::empty_header(&machine)), DONE);
    // State before everything that concerns the header.
    let good = host.parameters(&guest, &[0; 0x280]);
    let faults = [
        bad_length(0x58),
        fault(0x20, &[(0x18, 8, 0)]),
        fault(0x101, &[(0x20, 8, END)]),
        fault(0x101, &[(0x28, 4, 0)]),
    ];
    expect_order(&mut host, Command::SetSecConfParams, &good, &faults);
}

#[test]
fn verify() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    for bits in 1..16u8 {
        let guest = host.create(1);
        let good: [Field; 1] = [(0x18, 8, guest.handle)];
        let general = [bad_length(0x38), fault(0x20, &[(0x18, 8, guest.handle + 1)]), fault(0x101, &[])];
        expect_order(&mut host, Command::VerifyImg, &good, &general);
        let mut plan = Plan::of(&machine, Vec::new());
        plan.count = Some(u64::from(bits & 1));
        for (bit, digest) in [(2, 1), (4, 0), (8, 2)] {
            if bits & bit != 0 {
                plan.digests[digest] = Some([0x5a; 64]);
            }
        }
        let expected = match bits {
            _ if bits & 1 != 0 => 0x1d,
            _ if bits & 2 != 0 => 0x1a,
            _ if bits & 4 != 0 => 0x1b,
            _ => 0x1c,
        };
        assert_eq!(host.set_parameters(&guest, &plan.make().header), DONE);
        expect_order(&mut host, Command::VerifyImg, &good, &general[..2]);
        host.refuse_unchanged(Command::VerifyImg, &good, reason(0x102, expected));
    }
}

#[test]
fn cpu_set_state() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    let load: [Field; 2] = [(0x18, 8, guest.cpu), (0x27, 1, 5)];
    let general = [bad_length(0x48), fault(0x21, &[(0x18, 8, guest.handle)]), fault(0x102, &[(0x27, 1, 4)])];
    // Not verified; then not stopped as well.
    expect_order(&mut host, Command::CpuSetState, &load, &general);
    host.refuse_unchanged(Command::CpuSetState, &load, refused(0x104));
    assert_eq!(host.set_state(&guest, 1), DONE);
    host.refuse_unchanged(Command::CpuSetState, &load, refused(0x104));
    assert_eq!(host.set_state(&guest, 2), DONE);
    host.boot(&guest);
    expect_order(&mut host, Command::CpuSetState, &load, &general);
    host.refuse_unchanged(Command::CpuSetState, &load, refused(0x103));
    // In SIE.
    let mut second = machine.cpu(1).unwrap();
    second.set_primary(guest.asce);
    let inside = second.enter(VirtualAddress(guest.state_description)).unwrap();
    expect_order(&mut host, Command::CpuSetState, &load, &general);
    host.refuse_unchanged(Command::CpuSetState, &load, refused(0x103));
    drop(inside);
}

#[test]
fn pages_named_by_their_frame() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let frame = host.resident(&guest, PageIndex(3)).address().0;
    for (command, donated) in
        [(Command::ConvFromSecStor, 0x103), (Command::DestrSecStor, 0x103), (Command::PinPageShared, 0x102)]
    {
        let faults = [bad_length(0x28), fault(0x101, &[(0x18, 8, END)]), fault(donated, &[(0x18, 8, guest.base)])];
        let good = [(0x18, 8, frame)];
        let pairs = expect_order(&mut host, command, &good, &faults);
        assert_eq!(pairs, 2);
    }
    assert_eq!(scene::record(&machine, &guest, PageIndex(3)), PageRecord::Resident(AbsoluteAddress(frame).frame()));
}
