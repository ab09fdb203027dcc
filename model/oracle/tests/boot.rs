//! SET_SEC_CONF_PARAMS, UNPACK_IMG and VERIFY_IMG, by the rows of their tables.

mod machine;

use machine::*;
use std::sync::Arc;
use uvsim_oracle::ids::FrameNumber;
use uvsim_oracle::state::{Boot, Bytes, Image, ImageKey, Opened, Record, Registered};
use uvsim_oracle::world::World;

/// Where the header lies.
const HEADER: u64 = 0x2_0000;

/// A header with one slot.
fn header(flags: u64, pages: u64) -> Vec<u8> {
    let mut header = vec![0; 0x280];
    header[..8].copy_from_slice(b"IBMSecEx");
    header[0x08..0x0c].copy_from_slice(&0x100_u32.to_be_bytes());
    header[0x0c..0x10].copy_from_slice(&0x280_u32.to_be_bytes());
    header[0x20..0x28].copy_from_slice(&1_u64.to_be_bytes());
    header[0x28..0x30].copy_from_slice(&0x80_u64.to_be_bytes());
    header[0x30..0x38].copy_from_slice(&pages.to_be_bytes());
    header[0x38..0x40].copy_from_slice(&flags.to_be_bytes());
    header
}

fn image() -> Image {
    let digest = [0; 64];
    Image { key: ImageKey(0x55), pcf: 0, scf: 0, psw: (0x8000, 0x1b000), nep: 0, pld: digest, ald: digest, tld: digest }
}

impl Machine {
    /// A configuration without parameters, and what its headers open to.
    fn created() -> Machine {
        let mut machine = Machine::new();
        machine.state.configurations[&ALPHA].boot = Boot::Created;
        machine.world.opened = Some(Opened::Header(Box::new(image())));
        machine
    }

    /// Hands over a header of which some bytes were changed.
    fn parameters(&mut self, header: &[u8]) -> Answer {
        self.parameters_of(header, header.len() as u64)
    }

    /// The same with another length.
    fn parameters_of(&mut self, header: &[u8], length: u64) -> Answer {
        for (at, part) in (HEADER / 4096..).zip(header.chunks(4096)) {
            let bytes: Bytes = Arc::new(core::array::from_fn(|at| part.get(at).copied().unwrap_or(0)));
            self.put(FrameNumber(at), bytes);
        }
        self.call(PARAMETERS, &[ALPHA.0, HEADER, length << 32])
    }

    /// A configuration that takes pages.
    fn loading(flags: u64, pages: u64) -> Machine {
        let mut machine = Machine::created();
        assert_eq!(machine.parameters(&header(flags, pages)), DONE);
        machine
    }

    /// Unpacks a page from a frame.
    fn unpack(&mut self, address: u64, tweak: (u64, u64)) -> Answer {
        self.call(UNPACK, &[ALPHA.0, address, tweak.0, tweak.1])
    }
}

fn changed(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut header = header(0, 0);
    header[at..at + bytes.len()].copy_from_slice(bytes);
    header
}

#[test]
fn d52_c65_a_good_header_is_accepted_once() {
    let mut machine = Machine::created();
    let mut good = header(0xe2, 7);
    good[0xe0] = 1;
    good[0x120] = 2;
    good[0x160] = 3;
    assert_eq!(machine.parameters(&good), DONE);
    let Boot::Loading(image, _) = &machine.state.configurations[&ALPHA].boot else { panic!("loading") };
    assert_eq!((image.pcf, image.nep, image.psw), (0xe2, 7, (0x8000, 0x1b000)));
    assert_eq!((image.pld[0], image.ald[0], image.tld[0]), (1, 2, 3));
    assert_eq!(machine.parameters(&good), refused(0x101));
    assert!(machine.by("Q13"));
}

#[test]
fn d52_c53_c56_c57_forms_of_headers_in_order() {
    let cases: [(Vec<u8>, u16, u16); 9] = [
        (changed(0, b"X"), 0x10a, 0),
        (changed(0x08, &[0, 0, 2, 0]), 0x104, 1),
        (changed(0x20, &0_u64.to_be_bytes()), 0x10a, 0x40),
        (changed(0x28, &0_u64.to_be_bytes()), 0x10a, 0x39),
        (changed(0x0c, &0x281_u32.to_be_bytes()), 0x10a, 0x31),
        (changed(0x20, &2_u64.to_be_bytes()), 0x10a, 0x31),
        (changed(0x20, &u64::MAX.to_be_bytes()), 0x10a, 0x31),
        (changed(0x20, &((1_u64 << 60) + 1).to_be_bytes()), 0x10a, 0x31), // 80 times this is 80, but for the carry
        (changed(0x38, &1_u64.to_be_bytes()), 0x106, 0x30),
    ];
    // Each fault alone, and each before all that come after it.
    let mut machine = Machine::created();
    for (header, rc, rrc) in &cases {
        assert_eq!(machine.parameters(header), (1, *rc, *rrc));
    }
    let mut all = changed(0, b"X");
    all[0x08..0x0c].fill(9);
    all[0x20..0x40].fill(0);
    all[0x38] = 0x80;
    assert_eq!(machine.parameters(&all), (1, 0x10a, 0));
    all[..8].copy_from_slice(b"IBMSecEx");
    assert_eq!(machine.parameters(&all), (1, 0x104, 1));
    all[0x08..0x0c].copy_from_slice(&[0, 0, 1, 0]);
    assert_eq!(machine.parameters(&all), (1, 0x10a, 0x40));
    all[0x27] = 2;
    assert_eq!(machine.parameters(&all), (1, 0x10a, 0x39));
    all[0x2f] = 0x80;
    assert_eq!(machine.parameters(&all), (1, 0x10a, 0x31));
    all[0x27] = 1;
    assert_eq!(machine.parameters(&all), (1, 0x106, 0x30));
    assert_eq!(machine.parameters(&header(0, 0)), DONE, "another attempt is allowed");
}

#[test]
fn d52_the_given_length_and_access() {
    let mut machine = Machine::created();
    for length in [0, 0x19f, 0x2001, u64::from(u16::MAX)] {
        assert_eq!(machine.parameters_of(&header(0, 0), length), (1, 0x10a, 0x31), "{length:#x}");
    }
    assert_eq!(machine.parameters_of(&header(0, 0), 0x281), (1, 0x10a, 0x31));
    assert_eq!(machine.parameters_of(&header(0, 0), STORAGE), (1, 0x10a, 0x31), "as far as one may reach it is there");
    machine.place(BETA, 9, Record::Resident(FrameNumber(HEADER / 4096 + 1)));
    assert_eq!(machine.call(PARAMETERS, &[ALPHA.0, HEADER + 0x0e00, 0x280 << 32]), refused(0x103), "its tail");
    assert_eq!(machine.parameters(&header(0, 0)), DONE);
}

#[test]
fn d52_c54_c58_what_needs_a_key_in_order() {
    let with = |scf| Box::new(Image { scf, ..image() });
    let bad = 0x1000_0000_0000_0000;
    let cases = [
        (Opened::NoKeySlot, 0, (1, 0x108, 0x5)),
        (Opened::NoKeySlot, 2, (1, 0x108, 0x34)),
        (Opened::NoCustomerKey, 0, (1, 0x108, 0xb)),
        (Opened::NotUnwrapped, 0, (1, 0x108, 0)),
        (Opened::NotAuthentic, 0, (1, 0x10a, 0)),
        (Opened::Header(with(bad)), 0, (1, 0x109, 0)),
        (Opened::OptionalItems(with(bad)), 0, (1, 0x109, 0)),
        (Opened::OptionalItems(with(0)), 0, (1, 0x10a, 0)),
        (Opened::Header(with(0x6000_0000_0000_0000)), 0, DONE),
    ];
    for (opened, flags, answer) in cases {
        let mut machine = Machine::created();
        machine.world.opened = Some(opened.clone());
        assert_eq!(machine.parameters(&header(flags, 0)), answer, "{opened:?}");
    }
}

#[test]
fn d53_q20_c55_plaintext_flags_of_the_generations() {
    for (generation, supported, reason) in [(15, 0x3000_00e2, 0), (16, 0x3000_00e2, 0x30), (17, 0x3000_00f2, 0x30)] {
        for bit in 0..64 {
            let flags = 1_u64 << bit;
            let mut machine = Machine::of_generation(generation, generation > 15);
            machine.state.configurations[&ALPHA].boot = Boot::Created;
            machine.world.opened = Some(Opened::Header(Box::new(image())));
            let answer = if flags & supported == 0 { (1, 0x106, reason) } else { DONE };
            assert_eq!(machine.parameters(&header(flags, 0)), answer, "z{generation} {flags:#x}");
        }
    }
}

#[test]
fn t73_c60_unpack_decrypts_in_place() {
    for (flags, encrypted) in [(0, true), (0x1000_0000, false)] {
        let mut machine = Machine::loading(flags, 1);
        machine.map(ALPHA, 3, 0x200);
        machine.put(FrameNumber(0x200), filled(0x77));
        assert_eq!(machine.unpack(0x3000, (0x42, 0x1000)), DONE);
        assert!(machine.by("T73"));
        let plain =
            if encrypted { machine.world.decrypt(ImageKey(0x55), (0x42, 0x1000), &filled(0x77)) } else { filled(0x77) };
        assert_eq!(machine.bytes(0x200), plain);
        assert_eq!(machine.kind(0x200), Some(Registered::Secure));
        assert_eq!(
            (machine.record(ALPHA, 3), machine.row(ALPHA, 3).counter),
            (Record::Resident(FrameNumber(0x200)), 0)
        );
    }
}

#[test]
fn t74_d51_d59_c59_unpack_wants_state_range_and_mapping() {
    let mut machine = Machine::created();
    machine.map(ALPHA, 3, 0x200);
    assert_eq!(machine.unpack(0x3001, (0, 0)), refused(0x101));
    assert!(machine.by("Q13"));
    assert_eq!(machine.parameters(&header(0, 1)), DONE);
    for address in [0x3001, SIZE, ORIGIN + 0x3000, !0xfff] {
        assert_eq!(machine.unpack(address, (0, 0)), refused(0x103), "{address:#x}");
    }
    assert_eq!(machine.unpack(0x4000, (0, 0)), refused(0x10a));
    assert!(machine.by("T74"));
    machine.map_with(ALPHA, 4, 0x201, 0x200);
    assert_eq!(machine.unpack(0x4000, (0, 0)), refused(0x10a));
    machine.map(ALPHA, 4, 0x201);
    assert_eq!(machine.unpack(0x4000, (0, 0)), DONE);
}

#[test]
fn t75_d51_i35_unpack_wants_an_absent_page() {
    let places = [
        Record::Resident(FrameNumber(0x200)),
        Record::Resident(FrameNumber(0x201)),
        Record::Exported,
        Record::Shared(None),
        Record::Destroyed,
    ];
    for record in places {
        let mut machine = Machine::loading(0, 1);
        machine.map(ALPHA, 3, 0x200);
        machine.place(ALPHA, 3, record);
        assert_eq!(machine.unpack(0x3000, (0, 0)), refused(0x105), "{record:?}");
        assert!(machine.by("T75"));
    }
}

#[test]
fn d51_d5_d30_unpack_into_a_frame_that_is_taken() {
    let mut machine = Machine::loading(0, 1);
    machine.map(ALPHA, 3, 0x200);
    machine.place(ALPHA, 4, Record::Resident(FrameNumber(0x200)));
    assert_eq!(machine.unpack(0x3000, (0, 0)), refused(0x104));
    machine.map(ALPHA, 3, BLOCK.0);
    assert_eq!(machine.unpack(0x3000, (0, 0)), refused(0x104));
    assert!(machine.by("D5"));
    machine.map(ALPHA, 3, 0x3001);
    assert_eq!(machine.unpack(0x3000, (0, 0)), refused(0x104), "donated");
    machine.map(ALPHA, 3, 0x201);
    machine.place(BETA, 5, Record::Shared(Some(FrameNumber(0x201))));
    machine.place(ALPHA, 3, Record::Exported);
    assert_eq!(machine.unpack(0x3000, (0, 0)), refused(0x105));
    assert_eq!(machine.record(BETA, 5), Record::Shared(Some(FrameNumber(0x201))), "D30");
    machine.place(ALPHA, 3, Record::Absent);
    assert_eq!(machine.unpack(0x3000, (0, 0)), DONE);
    assert_eq!(machine.record(BETA, 5), Record::Shared(None));
}

#[test]
fn d50_tweaks_used_twice() {
    for strict in [false, true] {
        let mut machine = Machine::loading(0, 3);
        Arc::make_mut(&mut machine.state.setup).strict_tweaks = strict;
        for page in 0..4 {
            machine.map(ALPHA, page, 0x200 + page);
        }
        assert_eq!(machine.unpack(0, (0, 0)), DONE, "the first one may be 0");
        assert_eq!(machine.unpack(0x1000, (7, 0x1000)), DONE);
        let again = if strict { refused(0x106) } else { DONE };
        assert_eq!(machine.unpack(0x2000, (7, 0x1000)), again);
        assert_eq!(machine.unpack(0x3000, (6, 0x2000)), again, "prefix before offset");
    }
}

/// A configuration that has unpacked two pages; its header promises what `promise` makes of the right digests.
fn unpacked(promise: impl FnOnce(&mut Image)) -> Machine {
    let mut machine = Machine::created();
    let tweaks = [(0x42_u64, 0_u64), (0x42, 0x1000)];
    let digest = |machine: &mut Machine, parts: Vec<Vec<u8>>| machine.world.digest(&mut parts.into_iter());
    let mut promised = Image {
        nep: 2,
        pld: digest(&mut machine, vec![vec![0; 4096], vec![1; 4096]]),
        ald: digest(&mut machine, vec![0x5000_u64.to_be_bytes().to_vec(), 0x3000_u64.to_be_bytes().to_vec()]),
        tld: digest(
            &mut machine,
            tweaks.iter().flat_map(|tweak| [tweak.0.to_be_bytes().to_vec(), tweak.1.to_be_bytes().to_vec()]).collect(),
        ),
        ..image()
    };
    promise(&mut promised);
    let mut bytes = header(0, promised.nep);
    bytes[0xe0..0x120].copy_from_slice(&promised.pld);
    bytes[0x120..0x160].copy_from_slice(&promised.ald);
    bytes[0x160..0x1a0].copy_from_slice(&promised.tld);
    assert_eq!(machine.parameters(&bytes), DONE);
    for (at, (page, tweak)) in (0..).zip([5, 3].into_iter().zip(tweaks)) {
        machine.map(ALPHA, page, 0x200 + u64::from(at));
        machine.put(FrameNumber(0x200 + u64::from(at)), filled(at));
        assert_eq!(machine.unpack(page * 4096, tweak), DONE);
    }
    machine
}

/// Spoils what an image promises, the reason code that shows it, and the row.
type Fault = (fn(&mut Image), u16, &'static str);

#[test]
fn i34_d54_c61_c62_c63_c64_verify_compares_in_order() {
    let faults: [Fault; 4] = [
        (|image| image.nep = 3, 0x1d, "C61"),
        (|image| image.ald[63] ^= 1, 0x1a, "C63"),
        (|image| image.pld[0] ^= 1, 0x1b, "C62"),
        (|image| image.tld[31] ^= 1, 0x1c, "C64"),
    ];
    for first in 0..faults.len() {
        let mut machine = unpacked(|image| faults[first..].iter().for_each(|(spoil, ..)| spoil(image)));
        for _ in 0..2 {
            assert_eq!(machine.call(VERIFY, &[ALPHA.0]), (1, 0x102, faults[first].1));
            assert!(machine.by(faults[first].2));
        }
        machine.map(ALPHA, 9, 0x209);
        assert_eq!(machine.unpack(0x9000, (0x43, 0)), DONE, "D54: more pages may come");
    }
}

#[test]
fn i34_q13_verify_once() {
    let mut machine = Machine::created();
    assert_eq!(machine.call(VERIFY, &[ALPHA.0]), refused(0x101));
    let mut machine = unpacked(|_| ());
    assert_eq!(machine.call(VERIFY, &[ALPHA.0]), DONE);
    assert!(matches!(machine.state.configurations[&ALPHA].boot, Boot::Verified(_)));
    assert_eq!(machine.call(VERIFY, &[ALPHA.0]), refused(0x101));
    assert_eq!(machine.unpack(0x7000, (0x44, 0)), refused(0x101));
    assert_eq!(machine.parameters(&header(0, 0)), refused(0x101));
    assert!(machine.by("Q13"));
}
