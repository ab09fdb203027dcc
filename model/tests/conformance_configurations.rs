//! Conformance, CREATE_SEC_CONF: D11, D16, D17, D20, T77.

#[path = "support/scene.rs"]
mod scene;
mod support;

use scene::{Field, with};
use support::{Answer, DONE, Host, UV_BASE, config, refused};
use uvsim_model::address::{AbsoluteAddress, FrameNumber, PageIndex};
use uvsim_model::storage::{Donation, FrameState};
use uvsim_model::uvc::Command;
use uvsim_model::{CONFIGURATION_BASE_LENGTH, Injection, Machine, PageRecord};

const END: u64 = 4 << 30;

#[test]
fn d11_create_configuration_with_one_bad_field() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.prepare(1);
    let max = uvsim_model::MAX_GUEST_ADDRESS;
    let taken = host.create(1);
    let good = Host::create_fields(&guest);
    let cases: Vec<(Field, u16)> = vec![
        ((0x38, 8, max + 1), 0x101),
        ((0x38, 8, u64::MAX), 0x101),
        ((0x38, 8, max), 0x102),
        ((0x40, 8, max + (1 << 20)), 0x102),
        ((0x40, 8, u64::MAX), 0x102),
        ((0x38, 8, 0x1000), 0x103),
        ((0x40, 8, 0x10_1000), 0x103),
        ((0x40, 8, 0), 0x103),
        ((0x50, 8, guest.asce.0 & !0x100), 0x105),
        ((0x50, 8, guest.asce.0 | 0x20), 0x105),
        ((0x50, 8, taken.asce.0), 0x104),
        ((0x50, 8, taken.asce.0 ^ 0x3), 0x104),
        ((0x20, 8, END), 0x108),
        ((0x20, 8, END + 8), 0x108),
        ((0x20, 8, u64::MAX), 0x108),
        ((0x20, 8, END - 0x8000), 0x108),
        ((0x20, 8, taken.base), 0x108),
        ((0x20, 8, taken.base - 0x1000), 0x108),
        ((0x20, 8, taken.base + CONFIGURATION_BASE_LENGTH - 8), 0x108),
        // Unaligned, the area reaches one frame further.
        ((0x20, 8, taken.base - CONFIGURATION_BASE_LENGTH + 8), 0x108),
        ((0x20, 8, guest.base + 8), 0x106),
        ((0x20, 8, 0), 0x109),
        ((0x28, 8, END), 0x32),
        ((0x28, 8, END + 8), 0x32),
        ((0x28, 8, END - 0x1000), 0x32),
        ((0x28, 8, u64::MAX - 0xfff), 0x31),
        ((0x28, 8, guest.variable + 8), 0x10a),
        ((0x28, 8, 0), 0x10e),
        ((0x28, 8, 0x1000), 0x10e),
        ((0x28, 8, guest.base), 0x10b),
        ((0x28, 8, guest.base + CONFIGURATION_BASE_LENGTH - 0x1000), 0x10b),
        ((0x28, 8, taken.variable), 0x10b),
        ((0x28, 8, UV_BASE - 0x1000), 0x10b),
        ((0x48, 8, 0), 0x10c),
        ((0x48, 8, 0x3f), 0x10c),
        ((0x48, 8, END), 0x10d),
        ((0x48, 8, UV_BASE), 0x10d),
        ((0x48, 8, guest.base + 0x2000), 0x10d),
        ((0x48, 8, guest.variable), 0x10d),
        ((0x48, 8, taken.cpu_storage), 0x10d),
    ];
    for (field, rc) in cases {
        host.refuse_unchanged(Command::CreateSecConf, &with(&good, &[field]), refused(rc));
    }
    // From 0x1000 on, the area would also hold the usual block.
    let elsewhere = host.allocate(0x1000);
    host.refuse_at(elsewhere, 0x0100, 0x80, &with(&good, &[(0x20, 8, 0x1000)]), refused(0x109));
    for length in [0x78, 0x88] {
        host.refuse_raw(0x0100, length, &good, refused(5));
    }
    // AP flags are ignored (D11).
    assert_eq!(host.call(Command::CreateSecConf, &with(&good, &[(0x36, 2, 3)])), DONE);
    // The very same block again (Q36).
    host.refuse_unchanged(Command::CreateSecConf, &good, refused(0x104));
    machine.check_invariants().unwrap();
}

#[test]
fn d11_areas_must_not_lie_in_the_prefix_area() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.prepare(1);
    let prefix = host.allocate_aligned(0x2000, 0x2000);
    host.cpu.set_prefix(prefix).unwrap();
    let good = Host::create_fields(&guest);
    for base in [prefix, prefix + 0x1000, prefix - CONFIGURATION_BASE_LENGTH + 0x1000] {
        let fields = with(&good, &[(0x20, 8, base), (0x28, 8, guest.base)]);
        host.refuse_unchanged(Command::CreateSecConf, &fields, refused(0x109));
    }
    // Real 0 is absolute `prefix`, and the other way round.
    for variable in [0, 0x1000, prefix, prefix + 0x1000] {
        host.refuse_unchanged(Command::CreateSecConf, &with(&good, &[(0x28, 8, variable)]), refused(0x10e));
    }
}

#[test]
fn d11_a_variable_area_is_translated_in_home_space() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.prepare(1);
    let pages: Vec<FrameNumber> = (0..17).map(|_| host.frame()).collect();
    let good = Host::create_fields(&guest);
    let home = host.home_space();
    let at = |page: u64| (0x28, 8, home.window + page * 0x1000);
    for (index, &frame) in (0..).zip(&pages) {
        home.map(&mut host, index, frame, 0);
    }
    host.refuse_unchanged(Command::CreateSecConf, &with(&good, &[at(1)]), refused(0x31));
    // One frame twice.
    home.map(&mut host, 9, pages[3], 0);
    host.refuse_unchanged(Command::CreateSecConf, &with(&good, &[at(0)]), refused(0x10b));
    // A protected page, then one outside storage.
    home.map(&mut host, 9, pages[9], 0x200);
    host.refuse_unchanged(Command::CreateSecConf, &with(&good, &[at(0)]), refused(0x31));
    home.map(&mut host, 9, AbsoluteAddress(END).frame(), 0);
    host.refuse_unchanged(Command::CreateSecConf, &with(&good, &[at(0)]), refused(0x32));
    home.map(&mut host, 9, pages[9], 0);
    assert_eq!(host.call(Command::CreateSecConf, &with(&good, &[at(0)])), DONE);
    let handle = host.output(0x18);
    let domain = machine.domain(handle).unwrap();
    for (index, &frame) in (0..).zip(&pages) {
        let state = FrameState::Donated(Donation::ConfigurationVariable(domain, home.window / 4096 + index));
        assert_eq!(machine.frame_state(frame), state);
    }
    // Unmapping it later has no effect (D16).
    for index in 0..17 {
        host.store_u64(home.table + index * 8, 0x400);
    }
    host.cpu.ptlb().unwrap();
    assert_eq!(host.call(Command::DestroySecConf, &[(0x18, 8, handle)]), DONE);
    for frame in pages {
        assert_eq!(machine.frame_state(frame), FrameState::NonSecure);
    }
    machine.check_invariants().unwrap();
}

#[test]
fn d11_a_real_space_home_refuses_virtual_operands() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.prepare(1);
    host.cpu.set_home(uvsim_model::storage::Asce(0x20));
    host.cpu.set_translation(true);
    host.refuse_unchanged(Command::CreateSecConf, &Host::create_fields(&guest), refused(0x30));
    host.cpu.set_translation(false);
    assert_eq!(host.call(Command::CreateSecConf, &Host::create_fields(&guest)), DONE);
}

#[test]
fn t77_frames_that_are_not_free_cannot_be_donated() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let open = host.shared(&guest, PageIndex(4), b"open");
    let held = host.shared(&guest, PageIndex(5), b"held");
    assert_eq!(host.pin(held), DONE);
    let secret = host.resident(&guest, PageIndex(6));
    // The areas that begin in these frames must not reach the new ones.
    host.allocate(0x2_0000);
    let new = host.prepare(1);
    let good = Host::create_fields(&new);
    let log = scene::Log::of(&machine);
    for frame in [open, held, secret] {
        let at = frame.address().0;
        host.refuse_unchanged(Command::CreateSecConf, &with(&good, &[(0x20, 8, at)]), refused(0x108));
        assert_eq!(log.last_call(), "T77");
        host.refuse_unchanged(Command::CreateSecConf, &with(&good, &[(0x28, 8, at)]), refused(0x10b));
        assert_eq!(log.last_call(), "T77");
    }
    assert_eq!(host.call(Command::CreateSecConf, &good), DONE);
}

#[test]
fn d17_a_late_failure_leaves_a_handle_to_destroy() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.prepare(1);
    machine.inject(Command::CreateSecConf, Injection::LateFailure);
    let answer = host.call(Command::CreateSecConf, &Host::create_fields(&guest));
    assert_eq!(answer, Answer { cc: 1, rc: 0x810f, rrc: 0 });
    let handle = host.output(0x18);
    assert!(machine.domain(handle).is_some());
    host.refuse_unchanged(Command::CreateSecConf, &Host::create_fields(&guest), refused(0x104));
    assert_eq!(host.call(Command::DestroySecConf, &[(0x18, 8, handle)]), DONE);
    assert_eq!(host.call(Command::CreateSecConf, &Host::create_fields(&guest)), DONE);
}

#[test]
fn d20_handles_are_far_apart() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let mut handles = Vec::new();
    for _ in 0..20 {
        let guest = host.create(1);
        handles.extend([guest.handle, guest.cpu]);
    }
    for (index, &one) in handles.iter().enumerate() {
        assert_ne!(one, 0);
        for &other in &handles[..index] {
            assert!((one ^ other).count_ones() > 1 && one.abs_diff(other) > 1);
        }
    }
}

#[test]
fn d20_a_refusal_draws_nothing() {
    let handle = |refusals: bool| {
        let machine = support::machine(config());
        let mut host = Host::ready(&machine);
        let guest = host.prepare(1);
        let good = Host::create_fields(&guest);
        if refusals {
            for field in [(0x48, 8, 0), (0x28, 8, 0), (0x20, 8, END)] {
                assert_eq!(host.call(Command::CreateSecConf, &with(&good, &[field])).cc, 1);
            }
        }
        assert_eq!(host.call(Command::CreateSecConf, &good), DONE);
        let handle = host.output(0x18);
        (handle, machine.unique_id(handle))
    };
    assert_eq!(handle(false), handle(true));
}

#[test]
fn a_new_configuration_knows_no_page() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    for page in 0..256 {
        assert_eq!(scene::record(&machine, &guest, PageIndex(page)), PageRecord::Absent);
    }
    assert!(machine.page(guest.handle, PageIndex(256)).is_none());
}
