//! Conformance, image load: C53–C65; Q13, Q20, D50–D54, T73–T75.

#[path = "support/scene.rs"]
mod scene;
mod support;

use scene::{Field, reason, with};
use support::image::Plan;
use support::{DONE, Guest, Host, config, refused};
use uvsim_model::address::{AbsoluteAddress, FrameNumber, PageIndex};
use uvsim_model::config::{Generation, MachineConfig};
use uvsim_model::storage::{FrameState, ProgramCode};
use uvsim_model::uvc::Command;
use uvsim_model::{Machine, PageRecord, Reset, RunState};

/// An image of three pages at guest 0x3000, 0x4000, 0x5000.
const PAGES: [u64; 3] = [3, 4, 5];

fn content(page: u64) -> [u8; 4096] {
    core::array::from_fn(|index| (index as u64 * 7 + page) as u8)
}

fn tweak(page: u64) -> [u64; 2] {
    [0x1122_3344_5566_7788, page << 12]
}

fn plan(machine: &Machine) -> Plan {
    Plan::of(machine, PAGES.map(|page| (page << 12, tweak(page), content(page))).to_vec())
}

fn header(machine: &Machine) -> Vec<u8> {
    plan(machine).make().header
}

/// A page as the image delivers it.
fn sealed(machine: &Machine, page: u64) -> [u8; 4096] {
    let mut bytes = content(page);
    plan(machine).secrets().image_cipher().encrypt(&mut bytes, tweak(page));
    bytes
}

fn unpack_fields(guest: &Guest, page: u64) -> Vec<Field> {
    let [prefix, offset] = tweak(page);
    vec![(0x18, 8, guest.handle), (0x20, 8, page << 12), (0x28, 8, prefix), (0x30, 8, offset)]
}

/// Maps a frame with the content of an image page.
fn offer(host: &mut Host<'_>, guest: &Guest, page: u64) -> FrameNumber {
    let frame = host.frame();
    let bytes = sealed(host.machine(), page);
    host.store(frame.address().0, &bytes);
    host.map(guest, PageIndex(page), frame);
    frame
}

fn unpack(host: &mut Host<'_>, guest: &Guest, page: u64) -> FrameNumber {
    let frame = offer(host, guest, page);
    assert_eq!(host.call(Command::UnpackImg, &unpack_fields(guest, page)), DONE);
    frame
}

fn handle(guest: &Guest) -> [Field; 1] {
    [(0x18, 8, guest.handle)]
}

/// The header of three pages with bytes replaced, nothing sealed anew.
fn raw(machine: &Machine, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut header = header(machine);
    header[at..at + bytes.len()].copy_from_slice(bytes);
    header
}

/// Every header must be refused with this answer, and a good one be accepted afterwards.
fn refuse_headers(config: MachineConfig, headers: impl Fn(&Machine) -> Vec<Vec<u8>>, expected: support::Answer) {
    let machine = support::machine(config);
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    for header in headers(&machine) {
        let fields = host.parameters(&guest, &header);
        host.refuse_unchanged(Command::SetSecConfParams, &fields, expected);
        assert_eq!(machine.image(guest.handle), None, "nothing is kept on refusal");
    }
    assert_eq!(host.set_parameters(&guest, &header(&machine)), DONE, "another attempt is allowed (D52)");
    let image = machine.image(guest.handle).expect("accepted");
    assert_eq!((image.pages, image.flags), (3, 0xe0));
    assert_eq!(image.opened_with, machine.host_public_key().hash());
}

#[test]
fn c53_a_header_of_an_unknown_version() {
    let headers = |machine: &Machine| [0x200u32, 0, 1, 0x101].map(|it| raw(machine, 8, &it.to_be_bytes())).to_vec();
    refuse_headers(config(), headers, reason(0x104, 1));
}

#[test]
fn c54_a_header_for_another_machine() {
    let headers = |machine: &Machine| {
        let other = Machine::new(MachineConfig { seed: 2, ..config() }).unwrap();
        let addressed = |recipients| Plan { recipients, ..plan(machine) }.make().header;
        vec![
            header(&other),
            raw(machine, 0x1a0, &[0; 32]),
            addressed(vec![other.host_public_key().clone(); 3]),
            // The backup key opens only what allows it.
            addressed(vec![machine.backup_host_public_key().clone()]),
        ]
    };
    refuse_headers(config(), headers, reason(0x108, 5));
}

#[test]
fn d52_a_header_that_allows_the_backup_key() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let backup = machine.backup_host_public_key().clone();
    let other = Machine::new(MachineConfig { seed: 2, ..config() }).unwrap().host_public_key().clone();
    let make = |recipients| Plan { recipients, flags: 0xe2, ..plan(&machine) }.make().header;
    let guest = host.create(1);
    let fields = host.parameters(&guest, &make(vec![other.clone()]));
    host.refuse_unchanged(Command::SetSecConfParams, &fields, reason(0x108, 0x34));
    assert_eq!(host.set_parameters(&guest, &make(vec![other.clone(), backup.clone()])), DONE);
    assert_eq!(machine.image(guest.handle).unwrap().opened_with, backup.hash());
    // The host key goes first, wherever its slot is.
    let guest = host.create(1);
    let own = machine.host_public_key().clone();
    assert_eq!(host.set_parameters(&guest, &make(vec![backup, other, own.clone()])), DONE);
    assert_eq!(machine.image(guest.handle).unwrap().opened_with, own.hash());
}

#[test]
fn c55_a_header_with_an_unknown_plaintext_flag() {
    for (generation, rrc, known) in
        [(Generation::Z15, 0, 0x3000_00e2), (Generation::Z16, 0x30, 0x3000_00e2), (Generation::Z17, 0x30, 0x3000_00f2)]
    {
        let headers = |machine: &Machine| {
            let unknown = (0..64).map(|bit| 1u64 << bit).filter(|bit| bit & known == 0);
            let sealed = Plan { flags: 0xe0 | 1 << 63, ..plan(machine) }.make().header;
            let raw = unknown.map(|bit| raw(machine, 0x38, &(0xe0 | bit).to_be_bytes()));
            raw.chain([sealed]).collect()
        };
        refuse_headers(scene::generation(generation), headers, reason(0x106, rrc));
        // All that it knows, it takes.
        let machine = support::machine(scene::generation(generation));
        let mut host = Host::ready(&machine);
        let guest = host.create(1);
        let all = Plan { flags: known, ..plan(&machine) }.make().header;
        assert_eq!(host.set_parameters(&guest, &all), DONE);
    }
}

#[test]
fn c56_a_header_whose_size_disagrees() {
    let sizes = |machine: &Machine| {
        let stated = [0u32, 0x27f, 0x281, 0x290, 0x2d0, u32::MAX].map(|size| raw(machine, 0xc, &size.to_be_bytes()));
        let slots = [2u64, 95, 96, u64::MAX, u64::MAX / 80 + 1].map(|slots| raw(machine, 0x20, &slots.to_be_bytes()));
        let mut longer = header(machine);
        longer.push(0);
        let shorter = header(machine)[..0x27f].to_vec();
        stated.into_iter().chain(slots).chain([longer, shorter]).collect()
    };
    refuse_headers(config(), sizes, reason(0x10a, 0x31));
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    let good = host.parameters(&guest, &header(&machine));
    for len in [0, 8, 0x19f, 0x1a0, 0x27f, 0x281, 0x2000, 0x2001, 0xffff_ffff] {
        host.refuse_unchanged(Command::SetSecConfParams, &with(&good, &[(0x28, 4, len)]), reason(0x10a, 0x31));
    }
}

#[test]
fn c57_a_header_without_key_slots() {
    let headers = |machine: &Machine| {
        let mut short = raw(machine, 0x20, &[0; 8]);
        short.drain(0x1a0..0x1f0);
        short[0xc..0x10].copy_from_slice(&0x230u32.to_be_bytes());
        vec![raw(machine, 0x20, &[0; 8]), short]
    };
    refuse_headers(config(), headers, reason(0x10a, 0x40));
}

#[test]
fn c58_a_header_with_a_byte_changed() {
    // Everything else that the tag covers: IV, reserved bytes, digests, other flags, area, tag.
    let places = [0x10, 0x1c, 0x30, 0xe0, 0x120, 0x160, 0x19f, 0x1f0, 0x20f, 0x210, 0x260, 0x26f, 0x270, 0x27f];
    let headers = |machine: &Machine| {
        let good = header(machine);
        places.iter().map(|&at| raw(machine, at, &[good[at] ^ 1])).chain([raw(machine, 0x3f, &[0xa0])]).collect()
    };
    refuse_headers(config(), headers, reason(0x10a, 0));
}

#[test]
fn d52_a_header_with_a_bad_customer_key() {
    let headers = |machine: &Machine| {
        let good = header(machine);
        vec![
            raw(machine, 0x40, &[0; 160]),
            raw(machine, 0x40, &[1]),
            raw(machine, 0x90, &[1]),
            raw(machine, 0xdf, &[good[0xdf] ^ 1]),
            raw(machine, 0x4e, &[0xff; 66]),
        ]
    };
    refuse_headers(config(), headers, reason(0x108, 0xb));
}

#[test]
fn d52_a_slot_that_does_not_unwrap() {
    let headers = |machine: &Machine| {
        let good = header(machine);
        let other = Plan::of(machine, Vec::new());
        let host = machine.host_public_key();
        vec![
            raw(machine, 0x1c0, &[good[0x1c0] ^ 0x80]),
            raw(machine, 0x1ef, &[good[0x1ef] ^ 1]),
            // A valid point, but not the one that the slot was made with.
            raw(machine, 0x40, host.coordinates()),
            {
                // Only the first of two slots for the same host counts.
                let mut two = Plan { recipients: vec![host.clone(); 2], ..other }.make().header;
                two[0x1c0] ^= 1;
                two
            },
        ]
    };
    refuse_headers(config(), headers, reason(0x108, 0));
}

#[test]
fn d52_secret_flags_and_optional_items() {
    let flags = |machine: &Machine| {
        [1u64, 1 << 63, u64::MAX, 1 << 60 | 1 << 62]
            .map(|secret_flags| Plan { secret_flags, ..plan(machine) }.make().header)
            .to_vec()
    };
    refuse_headers(config(), flags, reason(0x109, 0));
    for secret_flags in [0, 1 << 62, 1 << 61, 3 << 61] {
        let machine = support::machine(config());
        let mut host = Host::ready(&machine);
        let guest = host.create(1);
        let header = Plan { secret_flags, ..plan(&machine) }.make().header;
        assert_eq!(host.set_parameters(&guest, &header), DONE, "{secret_flags:#x}");
        assert_eq!(machine.image(guest.handle).unwrap().secret_flags, secret_flags);
    }
}

#[test]
fn a_header_of_unknown_magic() {
    let headers = |machine: &Machine| {
        [*b"IBMSecEX", *b"UVSIMPLN", [0; 8], *b"asrcbM\0\0"].map(|magic| raw(machine, 0, &magic)).to_vec()
    };
    refuse_headers(config(), headers, refused(0x10a));
}

#[test]
fn components_that_are_not_encrypted_are_digested_all_the_same() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    let image = Plan { flags: 0x1000_00e0, ..plan(&machine) }.make();
    assert_eq!(host.set_parameters(&guest, &image.header), DONE);
    for (page, spoilt) in [(3, false), (4, true), (5, false)] {
        let frame = host.frame();
        let mut bytes = content(page);
        bytes[77] ^= u8::from(spoilt);
        host.store(frame.address().0, &bytes);
        host.map(&guest, PageIndex(page), frame);
        assert_eq!(host.call(Command::UnpackImg, &unpack_fields(&guest, page)), DONE);
        let mut found = [0; 4096];
        assert!(machine.peek(frame.address(), &mut found));
        assert_eq!(found, bytes, "taken as it is");
    }
    host.refuse_unchanged(Command::VerifyImg, &handle(&guest), reason(0x102, 0x1b));
}

#[test]
fn d52_a_header_out_of_reach_whole_or_in_part() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let fresh = host.create(1);
    let secure = host.resident(&guest, PageIndex(3)).address().0;
    let good = host.parameters(&fresh, &header(&machine));
    // Beyond storage, in donated storage, in a secure frame; the last of each only with its tail.
    for at in [4 << 30, u64::MAX - 7, (4 << 30) - 0x40, support::UV_BASE, support::UV_BASE - 0x40, secure] {
        host.refuse_unchanged(Command::SetSecConfParams, &with(&good, &[(0x20, 8, at)]), refused(0x103));
    }
    let home = host.home_space();
    let frame = host.frame();
    let at = home.map(&mut host, 0, frame, 0) + 0xf80;
    host.refuse_unchanged(Command::SetSecConfParams, &with(&good, &[(0x20, 8, at)]), refused(0x103));
    let frame = host.frame();
    home.map(&mut host, 1, frame, 0);
    host.store(at, &header(&machine));
    assert_eq!(host.call(Command::SetSecConfParams, &with(&good, &[(0x20, 8, at)])), DONE);
}

#[test]
fn image_commands_of_a_wrong_length() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    for (code, length) in [(0x0300, 0x48), (0x0300, 0x58), (0x0301, 0x48), (0x0302, 0x38), (0x0330, 0x48)] {
        host.refuse_raw(code, length, &handle(&guest), refused(5));
    }
}

#[test]
fn c59_t74_unpack_of_an_unmapped_page() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    assert_eq!(host.set_parameters(&guest, &header(&machine)), DONE);
    let log = scene::Log::of(&machine);
    host.refuse_unchanged(Command::UnpackImg, &unpack_fields(&guest, 3), refused(0x10a));
    assert_eq!(log.last_call(), "T74");
    // A read-only mapping is none (D59).
    let frame = host.frame();
    host.store(frame.address().0, &sealed(&machine, 3));
    host.store_u64(guest.tables[0] + 3 * 8, frame.address().0 | 0x200);
    host.refuse_unchanged(Command::UnpackImg, &unpack_fields(&guest, 3), refused(0x10a));
    host.map(&guest, PageIndex(3), frame);
    assert_eq!(host.call(Command::UnpackImg, &unpack_fields(&guest, 3)), DONE);
}

#[test]
fn c60_t73_unpack_makes_the_frame_secure() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    assert_eq!(host.set_parameters(&guest, &header(&machine)), DONE);
    let log = scene::Log::of(&machine);
    let frame = unpack(&mut host, &guest, 3);
    assert_eq!(log.transitions(), ["T73"]);
    let mut found = [0; 4096];
    assert!(machine.peek(frame.address(), &mut found));
    assert_eq!(found, content(3), "decrypted in place");
    assert_eq!(host.page_bytes(frame).unwrap_err().code, ProgramCode::SecureStorageAccess);
    assert_eq!(machine.frame_state(frame), scene::secure(&machine, &guest, PageIndex(3)));
    assert_eq!(scene::record(&machine, &guest, PageIndex(3)), PageRecord::Resident(frame));
    machine.check_invariants().unwrap();
}

#[test]
fn t75_d51_unpack_of_a_page_that_is_there() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    assert_eq!(host.set_parameters(&guest, &header(&machine)), DONE);
    unpack(&mut host, &guest, 3);
    let log = scene::Log::of(&machine);
    host.refuse_unchanged(Command::UnpackImg, &unpack_fields(&guest, 3), refused(0x105));
    assert_eq!(log.last_call(), "T75");
    // Resident, but mapped to a fresh frame.
    offer(&mut host, &guest, 3);
    host.refuse_unchanged(Command::UnpackImg, &unpack_fields(&guest, 3), refused(0x105));
    // Imported before its UNPACK, exported, destroyed.
    let frame = host.resident(&guest, PageIndex(4));
    host.refuse_unchanged(Command::UnpackImg, &unpack_fields(&guest, 4), refused(0x105));
    assert_eq!(host.export(frame), DONE);
    host.refuse_unchanged(Command::UnpackImg, &unpack_fields(&guest, 4), refused(0x105));
    let frame = host.resident(&guest, PageIndex(5));
    assert_eq!(host.destroy_cpu(&guest), DONE);
    assert_eq!(host.destroy(frame), DONE);
    host.refuse_unchanged(Command::UnpackImg, &unpack_fields(&guest, 5), refused(0x105));
}

#[test]
fn d51_unpack_out_of_range_or_into_a_frame_that_is_taken() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let other = host.start(1);
    let guest = host.create(1);
    assert_eq!(host.set_parameters(&guest, &header(&machine)), DONE);
    let good = unpack_fields(&guest, 3);
    for address in [1 << 20, !0xfff, 0x3008, 0x3001] {
        host.refuse_unchanged(Command::UnpackImg, &with(&good, &[(0x20, 8, address)]), refused(0x103));
    }
    let foreign = host.resident(&other, PageIndex(3));
    let held = host.shared(&other, PageIndex(4), b"held");
    assert_eq!(host.pin(held), DONE);
    let own = unpack(&mut host, &guest, 5);
    let donated = AbsoluteAddress(guest.cpu_storage).frame();
    for frame in [foreign, held, own, donated, AbsoluteAddress(support::UV_BASE).frame()] {
        host.map(&guest, PageIndex(3), frame);
        host.refuse_unchanged(Command::UnpackImg, &good, refused(0x104));
    }
}

#[test]
fn c61_verify_with_a_page_missing() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    assert_eq!(host.set_parameters(&guest, &header(&machine)), DONE);
    unpack(&mut host, &guest, 3);
    unpack(&mut host, &guest, 4);
    // A failed VERIFY changes nothing: it repeats, and more pages may come (D54).
    for _ in 0..2 {
        host.refuse_unchanged(Command::VerifyImg, &handle(&guest), reason(0x102, 0x1d));
    }
    unpack(&mut host, &guest, 5);
    assert_eq!(host.call(Command::VerifyImg, &handle(&guest)), DONE);
}

#[test]
fn c62_verify_with_a_byte_changed() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    assert_eq!(host.set_parameters(&guest, &header(&machine)), DONE);
    unpack(&mut host, &guest, 3);
    let frame = offer(&mut host, &guest, 4);
    host.store(frame.address().0 + 0xfff, &[sealed(&machine, 4)[0xfff] ^ 1]);
    assert_eq!(host.call(Command::UnpackImg, &unpack_fields(&guest, 4)), DONE);
    unpack(&mut host, &guest, 5);
    host.refuse_unchanged(Command::VerifyImg, &handle(&guest), reason(0x102, 0x1b));
}

#[test]
fn c63_verify_with_a_page_at_a_wrong_address() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    assert_eq!(host.set_parameters(&guest, &header(&machine)), DONE);
    unpack(&mut host, &guest, 3);
    unpack(&mut host, &guest, 4);
    let frame = offer(&mut host, &guest, 5);
    host.map(&guest, PageIndex(6), frame);
    let fields = with(&unpack_fields(&guest, 5), &[(0x20, 8, 0x6000)]);
    assert_eq!(host.call(Command::UnpackImg, &fields), DONE);
    host.refuse_unchanged(Command::VerifyImg, &handle(&guest), reason(0x102, 0x1a));
}

#[test]
fn c64_verify_with_a_wrong_tweak() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    assert_eq!(host.set_parameters(&guest, &header(&machine)), DONE);
    unpack(&mut host, &guest, 3);
    offer(&mut host, &guest, 4);
    let fields = with(&unpack_fields(&guest, 4), &[(0x30, 8, 0x5000)]);
    assert_eq!(host.call(Command::UnpackImg, &fields), DONE);
    unpack(&mut host, &guest, 5);
    host.refuse_unchanged(Command::VerifyImg, &handle(&guest), reason(0x102, 0x1c));
}

#[test]
fn verify_sees_the_order_of_the_pages() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    assert_eq!(host.set_parameters(&guest, &header(&machine)), DONE);
    for page in [4, 3, 5] {
        unpack(&mut host, &guest, page);
    }
    host.refuse_unchanged(Command::VerifyImg, &handle(&guest), reason(0x102, 0x1a));
}

#[test]
fn c65_a_good_image_is_verified_loaded_and_entered() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    assert_eq!(host.set_parameters(&guest, &header(&machine)), DONE);
    for page in PAGES {
        unpack(&mut host, &guest, page);
    }
    assert_eq!(host.call(Command::VerifyImg, &handle(&guest)), DONE);
    assert_eq!(host.set_state(&guest, 5), DONE);
    assert_eq!(machine.cpu_state(guest.cpu), Some(RunState::Operating));
    for page in 0..2 {
        host.resident(&guest, PageIndex(page));
    }
    for page in PAGES {
        assert_eq!(host.guest_load(&guest, page << 12, 4096).unwrap(), content(page));
    }
    machine.check_invariants().unwrap();
}

#[test]
fn q13_image_commands_in_the_wrong_state() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    offer(&mut host, &guest, 3);
    let (unpack, verify) = (unpack_fields(&guest, 3), handle(&guest));
    let parameters = host.parameters(&guest, &support::image::empty_header(&machine));
    host.refuse_unchanged(Command::UnpackImg, &unpack, refused(0x101));
    host.refuse_unchanged(Command::VerifyImg, &verify, refused(0x101));
    assert_eq!(host.call(Command::SetSecConfParams, &parameters), DONE);
    host.refuse_unchanged(Command::SetSecConfParams, &parameters, refused(0x101));
    assert_eq!(host.call(Command::VerifyImg, &verify), DONE);
    host.refuse_unchanged(Command::SetSecConfParams, &parameters, refused(0x101));
    host.refuse_unchanged(Command::VerifyImg, &verify, refused(0x101));
    host.refuse_unchanged(Command::UnpackImg, &unpack, refused(0x101));
}

#[test]
fn d50_repeated_tweaks_are_accepted_unless_the_machine_is_strict() {
    for strict_tweaks in [false, true] {
        let machine = support::machine(MachineConfig { strict_tweaks, ..config() });
        let mut host = Host::ready(&machine);
        let guest = host.create(1);
        assert_eq!(host.set_parameters(&guest, &header(&machine)), DONE);
        unpack(&mut host, &guest, 4);
        for lower in [tweak(4), tweak(3), [0, u64::MAX]] {
            let page = host.machine().page(guest.handle, PageIndex(3)).unwrap();
            assert_eq!(page.record, PageRecord::Absent);
            offer(&mut host, &guest, 3);
            let fields = with(&unpack_fields(&guest, 3), &[(0x28, 8, lower[0]), (0x30, 8, lower[1])]);
            if strict_tweaks {
                host.refuse_unchanged(Command::UnpackImg, &fields, refused(0x106));
            } else {
                assert_eq!(host.call(Command::UnpackImg, &fields), DONE);
                break;
            }
        }
        if strict_tweaks {
            assert_eq!(host.call(Command::UnpackImg, &unpack_fields(&guest, 5)), refused(0x10a));
            // A prefix that rises is enough.
            let fields = with(&unpack_fields(&guest, 3), &[(0x28, 8, tweak(4)[0] + 1), (0x30, 8, 0)]);
            assert_eq!(host.call(Command::UnpackImg, &fields), DONE);
        }
    }
}

#[test]
fn an_unpacked_page_is_first_sealed_with_counter_one() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    assert_eq!(host.set_parameters(&guest, &header(&machine)), DONE);
    let frame = unpack(&mut host, &guest, 3);
    assert_eq!(host.export(frame), DONE);
    assert_eq!(machine.page(guest.handle, PageIndex(3)).unwrap().counter, 1);
    assert_ne!(host.page_bytes(frame).unwrap(), content(3));
    assert_eq!(host.import(&guest, PageIndex(3)), DONE);
    assert_eq!(machine.frame_state(frame), scene::secure(&machine, &guest, PageIndex(3)));
}

/// A frame that nobody has stored to holds zeros, and these are ciphertext as good as any.
#[test]
fn d27_a_page_unpacked_from_an_untouched_frame_comes_back_as_zeros() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    assert_eq!(host.set_parameters(&guest, &header(&machine)), DONE);
    let frame = host.frame();
    host.map(&guest, PageIndex(3), frame);
    assert_eq!(host.call(Command::UnpackImg, &unpack_fields(&guest, 3)), DONE);
    let mut bytes = [0; 4096];
    assert!(machine.peek(frame.address(), &mut bytes));
    assert_ne!(bytes, [0; 4096], "decrypted zeros are none");
    assert_eq!(host.call(Command::DestroySecCpu, &[(0x18, 8, guest.cpu)]), DONE);
    assert_eq!(host.call(Command::DestroySecConf, &[(0x18, 8, guest.handle)]), DONE);
    assert_eq!(host.page_bytes(frame).unwrap(), [0; 4096]);
}

#[test]
fn q14_d13_cpu_states() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    let state = |state: u64| [(0x18, 8, guest.cpu), (0x27, 1, state)];
    for value in [0, 4, 6, 7, 0x80, 0xff] {
        host.refuse_unchanged(Command::CpuSetState, &state(value), refused(0x102));
    }
    host.refuse_unchanged(Command::CpuSetState, &state(5), refused(0x104));
    for (value, expected) in [(1, RunState::Operating), (3, RunState::CheckStop), (2, RunState::Stopped)] {
        assert_eq!(host.call(Command::CpuSetState, &state(value)), DONE);
        assert_eq!(machine.cpu_state(guest.cpu), Some(expected));
    }
    host.boot(&guest);
    host.refuse_unchanged(Command::CpuSetState, &state(5), refused(0x103));
    assert_eq!(host.set_state(&guest, 3), DONE);
    host.refuse_unchanged(Command::CpuSetState, &state(5), refused(0x103));
    assert_eq!(host.set_state(&guest, 2), DONE);
    assert_eq!(host.set_state(&guest, 5), DONE);
}

#[test]
fn an_image_survives_neither_destruction_nor_reset() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    assert_eq!(host.set_parameters(&guest, &header(&machine)), DONE);
    let frame = unpack(&mut host, &guest, 3);
    host.cpu.reset_machine(Reset::LoadNormal).unwrap();
    assert_eq!(machine.frame_state(frame), FrameState::NonSecure);
    assert_eq!(host.page_bytes(frame), Ok(vec![0; 4096]));
}

#[test]
fn d30_unpack_takes_a_frame_over_that_another_configuration_shares() {
    for (misc, want) in [(true, DONE), (false, refused(0x104))] {
        let machine = support::machine(MachineConfig { feature_misc: Some(misc), ..config() });
        let mut host = Host::ready(&machine);
        let (owner, taker) = (host.start(1), host.create(1));
        let (page, target) = (PageIndex(5), PageIndex(9));
        let frame = host.resident(&owner, page);
        host.guest_store(&owner, 0x5000, b"opened").unwrap();
        assert_eq!(host.share(&owner, page).unwrap(), DONE);
        assert_eq!(host.set_parameters(&taker, &header(&machine)), DONE);
        host.map(&taker, target, frame);
        let fields = [(0x18, 8, taker.handle), (0x20, 8, target.0 * 4096), (0x28, 8, 1), (0x30, 8, 0)];
        assert_eq!(host.call(Command::UnpackImg, &fields), want, "misc {misc}");
        let record = |guest: &Guest, page| machine.page(guest.handle, page).unwrap().record;
        if misc {
            assert_eq!(record(&owner, page), PageRecord::Shared(None));
            assert_eq!(record(&taker, target), PageRecord::Resident(frame));
        } else {
            assert_eq!(record(&owner, page), PageRecord::Shared(Some(frame)));
            assert_eq!(record(&taker, target), PageRecord::Absent);
        }
        machine.check_invariants().unwrap();
    }
}
