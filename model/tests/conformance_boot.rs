//! Conformance, image load: C53, C56, C59–C65 in the plain form of D49; Q13, D50–D52, D54, T73–T75.

#[path = "support/scene.rs"]
mod scene;
mod support;

use scene::{Field, Header, reason, with};
use support::{DONE, Guest, Host, config, refused};
use uvsim_model::address::{AbsoluteAddress, FrameNumber, PageIndex};
use uvsim_model::config::MachineConfig;
use uvsim_model::crypto::ImageDigests;
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

fn image_header() -> Header {
    let mut digests = ImageDigests::default();
    for page in PAGES {
        digests.add(&content(page), page << 12, tweak(page));
    }
    Header { psw: [0x0002_0001_8000_0000, 0x3000], ..Header::of(&digests) }
}

fn unpack_fields(guest: &Guest, page: u64) -> Vec<Field> {
    let [prefix, offset] = tweak(page);
    vec![(0x18, 8, guest.handle), (0x20, 8, page << 12), (0x28, 8, prefix), (0x30, 8, offset)]
}

/// Maps a frame with the content of an image page.
fn offer(host: &mut Host<'_>, guest: &Guest, page: u64) -> FrameNumber {
    let frame = host.frame();
    host.store(frame.address().0, &content(page));
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

#[test]
fn c53_a_header_of_an_unknown_version() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    for version in [0x200, 0, 2, 0x100] {
        let fields = host.parameters(&guest, &Header { version, ..image_header() }.bytes());
        host.refuse_unchanged(Command::SetSecConfParams, &fields, reason(0x104, 1));
    }
    assert_eq!(host.set_parameters(&guest, &image_header().bytes()), DONE, "another attempt is allowed (D52)");
}

#[test]
fn c56_a_header_whose_size_disagrees() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    for size in [0, 0xe7, 0xe9, 640] {
        let fields = host.parameters(&guest, &Header { size, ..image_header() }.bytes());
        host.refuse_unchanged(Command::SetSecConfParams, &fields, reason(0x10a, 0x31));
    }
    let good = host.parameters(&guest, &image_header().bytes());
    for len in [0, 8, 0xe7, 0xe9, 0x2000, 0x2001] {
        host.refuse_unchanged(Command::SetSecConfParams, &with(&good, &[(0x28, 4, len)]), reason(0x10a, 0x31));
    }
}

#[test]
fn d49_a_header_of_an_unknown_magic() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    for magic in [*b"IBMSecEx", [0; 8]] {
        let fields = host.parameters(&guest, &Header { magic, ..image_header() }.bytes());
        host.refuse_unchanged(Command::SetSecConfParams, &fields, refused(0x10a));
    }
}

#[test]
fn d52_a_header_out_of_reach_whole_or_in_part() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let fresh = host.create(1);
    let secure = host.resident(&guest, PageIndex(3)).address().0;
    let good = host.parameters(&fresh, &image_header().bytes());
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
    host.store(at, &image_header().bytes());
    assert_eq!(host.call(Command::SetSecConfParams, &with(&good, &[(0x20, 8, at)])), DONE);
}

#[test]
fn image_commands_of_a_wrong_length() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    for (code, length) in [(0x0300, 0x48), (0x0300, 0x58), (0x0301, 0x48), (0x0302, 0x38), (0x0330, 0x48)] {
        host.refuse_raw(code, length, &handle(&guest), refused(5));
    }
}

#[test]
fn c59_t74_unpack_of_an_unmapped_page() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    assert_eq!(host.set_parameters(&guest, &image_header().bytes()), DONE);
    let log = scene::Log::of(&machine);
    host.refuse_unchanged(Command::UnpackImg, &unpack_fields(&guest, 3), refused(0x10a));
    assert_eq!(log.last_call(), "T74");
    // A read-only mapping is none (D59).
    let frame = host.frame();
    host.store(frame.address().0, &content(3));
    host.store_u64(guest.tables[0] + 3 * 8, frame.address().0 | 0x200);
    host.refuse_unchanged(Command::UnpackImg, &unpack_fields(&guest, 3), refused(0x10a));
    host.map(&guest, PageIndex(3), frame);
    assert_eq!(host.call(Command::UnpackImg, &unpack_fields(&guest, 3)), DONE);
}

#[test]
fn c60_t73_unpack_makes_the_frame_secure() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    assert_eq!(host.set_parameters(&guest, &image_header().bytes()), DONE);
    let log = scene::Log::of(&machine);
    let frame = unpack(&mut host, &guest, 3);
    assert_eq!(log.transitions(), ["T73"]);
    assert_eq!(host.page_bytes(frame).unwrap_err().code, ProgramCode::SecureStorageAccess);
    assert_eq!(machine.frame_state(frame), scene::secure(&machine, &guest, PageIndex(3)));
    assert_eq!(scene::record(&machine, &guest, PageIndex(3)), PageRecord::Resident(frame));
    machine.check_invariants().unwrap();
}

#[test]
fn t75_d51_unpack_of_a_page_that_is_there() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    assert_eq!(host.set_parameters(&guest, &image_header().bytes()), DONE);
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
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let other = host.start(1);
    let guest = host.create(1);
    assert_eq!(host.set_parameters(&guest, &image_header().bytes()), DONE);
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
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    assert_eq!(host.set_parameters(&guest, &image_header().bytes()), DONE);
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
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    assert_eq!(host.set_parameters(&guest, &image_header().bytes()), DONE);
    unpack(&mut host, &guest, 3);
    let frame = offer(&mut host, &guest, 4);
    host.store(frame.address().0 + 0xfff, &[content(4)[0xfff] ^ 1]);
    assert_eq!(host.call(Command::UnpackImg, &unpack_fields(&guest, 4)), DONE);
    unpack(&mut host, &guest, 5);
    host.refuse_unchanged(Command::VerifyImg, &handle(&guest), reason(0x102, 0x1b));
}

#[test]
fn c63_verify_with_a_page_at_a_wrong_address() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    assert_eq!(host.set_parameters(&guest, &image_header().bytes()), DONE);
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
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    assert_eq!(host.set_parameters(&guest, &image_header().bytes()), DONE);
    unpack(&mut host, &guest, 3);
    offer(&mut host, &guest, 4);
    let fields = with(&unpack_fields(&guest, 4), &[(0x30, 8, 0x5000)]);
    assert_eq!(host.call(Command::UnpackImg, &fields), DONE);
    unpack(&mut host, &guest, 5);
    host.refuse_unchanged(Command::VerifyImg, &handle(&guest), reason(0x102, 0x1c));
}

#[test]
fn verify_sees_the_order_of_the_pages() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    assert_eq!(host.set_parameters(&guest, &image_header().bytes()), DONE);
    for page in [4, 3, 5] {
        unpack(&mut host, &guest, page);
    }
    host.refuse_unchanged(Command::VerifyImg, &handle(&guest), reason(0x102, 0x1a));
}

#[test]
fn c65_a_good_image_is_verified_loaded_and_entered() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    assert_eq!(host.set_parameters(&guest, &image_header().bytes()), DONE);
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
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    offer(&mut host, &guest, 3);
    let (unpack, verify) = (unpack_fields(&guest, 3), handle(&guest));
    let parameters = host.parameters(&guest, &Header::of(&ImageDigests::default()).bytes());
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
        let machine = Machine::new(MachineConfig { strict_tweaks, ..config() }).unwrap();
        let mut host = Host::ready(&machine);
        let guest = host.create(1);
        assert_eq!(host.set_parameters(&guest, &image_header().bytes()), DONE);
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
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    assert_eq!(host.set_parameters(&guest, &image_header().bytes()), DONE);
    let frame = unpack(&mut host, &guest, 3);
    assert_eq!(host.export(frame), DONE);
    assert_eq!(machine.page(guest.handle, PageIndex(3)).unwrap().counter, 1);
    assert_ne!(host.page_bytes(frame).unwrap(), content(3));
    assert_eq!(host.import(&guest, PageIndex(3)), DONE);
    assert_eq!(machine.frame_state(frame), scene::secure(&machine, &guest, PageIndex(3)));
}

#[test]
fn q14_d13_cpu_states() {
    let machine = Machine::new(config()).unwrap();
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
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    assert_eq!(host.set_parameters(&guest, &image_header().bytes()), DONE);
    let frame = unpack(&mut host, &guest, 3);
    host.cpu.reset_machine(Reset::LoadNormal).unwrap();
    assert_eq!(machine.frame_state(frame), FrameState::NonSecure);
    assert_eq!(host.page_bytes(frame), Ok(vec![0; 4096]));
}

#[test]
fn d30_unpack_takes_a_frame_over_that_another_configuration_shares() {
    for (misc, want) in [(true, DONE), (false, refused(0x104))] {
        let machine = Machine::new(MachineConfig { feature_misc: Some(misc), ..config() }).unwrap();
        let mut host = Host::ready(&machine);
        let (owner, taker) = (host.start(1), host.create(1));
        let (page, target) = (PageIndex(5), PageIndex(9));
        let frame = host.resident(&owner, page);
        host.guest_store(&owner, 0x5000, b"opened").unwrap();
        assert_eq!(host.share(&owner, page).unwrap(), DONE);
        assert_eq!(host.set_parameters(&taker, &image_header().bytes()), DONE);
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
