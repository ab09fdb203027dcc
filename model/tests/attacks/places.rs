//! Pages and frames in two places: I-01, I-02, I-19.

use super::*;

#[test]
fn a_page_is_in_one_frame_and_a_frame_holds_one_page() {
    let machine = machine();
    let mut attacker = Attacker::on(&machine);
    let guest = attacker.host.start(1);
    let frame = attacker.host.resident(&guest, P);
    attacker.host.guest_store(&guest, P.0 * 4096, &text(1)).unwrap();
    // Mapped twice: the page in two frames (T32), whatever the second frame holds.
    let second = attacker.host.frame();
    attacker.host.map(&guest, P, second);
    attacker.import_refused(&guest, P, 0x105, "T32");
    attacker.host.store(second.address().0, &text(9));
    attacker.import_refused(&guest, P, 0x105, "T32");
    // The frame at two pages (T33), new or exported ones.
    attacker.host.map(&guest, Q, frame);
    attacker.import_refused(&guest, Q, 0x104, "T33");
    let (_, _) = attacker.exported(&guest, PageIndex(7), &text(2));
    attacker.host.map(&guest, PageIndex(7), frame);
    attacker.import_refused(&guest, PageIndex(7), 0x104, "T33");
    // In its own place the page is there, and an import changes nothing (T31).
    attacker.host.map(&guest, P, frame);
    let fields = [(0x18, 8, guest.handle), (0x20, 8, P.0 * 4096)];
    attacker.host.block(BLOCK, Command::ConvToSecStor.code(), 0x28, &fields);
    let before = machine.state_digest(Some(AbsoluteAddress(BLOCK)));
    assert_eq!(attacker.host.issue(BLOCK).unwrap(), DONE);
    assert_eq!(attacker.rule(), "T31");
    assert_eq!(machine.state_digest(Some(AbsoluteAddress(BLOCK))), before);
    assert_eq!(attacker.host.guest_load(&guest, P.0 * 4096, 4096).unwrap(), text(1));
    machine.check_invariants().unwrap();
}

#[test]
fn shared_frames_are_not_aliased_either() {
    let machine = machine();
    let mut attacker = Attacker::on(&machine);
    let guest = attacker.host.start(1);
    let frame = attacker.host.resident(&guest, P);
    assert_eq!(attacker.host.share(&guest, P).unwrap(), DONE);
    attacker.host.map(&guest, Q, frame);
    attacker.import_refused(&guest, Q, 0x104, "D22");
    assert_eq!(attacker.host.pin(frame), DONE);
    attacker.import_refused(&guest, Q, 0x104, "D22");
    let second = attacker.host.frame();
    attacker.host.map(&guest, P, second);
    attacker.import_refused(&guest, P, 0x105, "T32");
    // A pin is undone in the frame where it was made (D9).
    let fields = [(0x18, 8, guest.handle), (0x20, 8, P.0 * 4096)];
    attacker.refused(Command::UnpinPageShared, &fields, 0x105, "D9");
}

#[test]
fn a_remapped_page_never_shows_other_bytes() {
    let machine = machine();
    let mut attacker = Attacker::on(&machine);
    let (guest, other) = (attacker.host.start(1), attacker.host.start(1));
    let home = attacker.host.resident(&guest, P);
    attacker.host.guest_store(&guest, P.0 * 4096, &text(1)).unwrap();

    let host = &mut attacker.host;
    let plain = host.frame();
    host.store(plain.address().0, &text(2));
    let own = host.resident(&guest, PageIndex(7));
    let own_shared = host.resident(&guest, PageIndex(8));
    assert_eq!(host.share(&guest, PageIndex(8)).unwrap(), DONE);
    let own_pinned = host.resident(&guest, PageIndex(9));
    assert_eq!(host.share(&guest, PageIndex(9)).unwrap(), DONE);
    assert_eq!(host.pin(own_pinned), DONE);
    // The same page number, to make it hard.
    let foreign = host.resident(&other, P);
    let foreign_shared = host.resident(&other, Q);
    assert_eq!(host.share(&other, Q).unwrap(), DONE);
    let donated = AbsoluteAddress(guest.base).frame();
    let variable = AbsoluteAddress(other.variable).frame();
    let base = AbsoluteAddress(UV_BASE).frame();
    let cpu = AbsoluteAddress(guest.cpu_storage).frame();
    let discarded = {
        let gone = host.start(1);
        let frame = host.resident(&gone, P);
        host.call(Command::DestroySecCpu, &[(0x18, 8, gone.cpu)]);
        assert_eq!(host.call(Command::DestroySecConfFast, &[(0x18, 8, gone.handle)]), DONE);
        frame
    };

    use ProgramCode::{NonSecureStorageAccess as E, SecureStorageViolation as F};
    for (frame, code) in [
        (plain, E),
        (own, F),
        (own_shared, E),
        (own_pinned, E),
        (foreign, F),
        (foreign_shared, E),
        (donated, F),
        (variable, F),
        (base, F),
        (cpu, F),
        (discarded, F),
    ] {
        let state = machine.frame_state(frame);
        attacker.host.map(&guest, P, frame);
        let before = machine.state_digest(None);
        assert_eq!(exit_code(attacker.host.guest_load(&guest, P.0 * 4096, 8)), code, "{state:?}");
        assert_eq!(exit_code(attacker.host.guest_store(&guest, P.0 * 4096, &[1; 8])), code, "{state:?}");
        assert_eq!(machine.state_digest(None), before);
        assert_eq!(exit_code(attacker.host.share(&guest, P)), code, "{state:?}");
        assert_eq!(machine.frame_state(frame), state);
    }
    attacker.host.map(&guest, P, home);
    assert_eq!(attacker.host.guest_load(&guest, P.0 * 4096, 4096).unwrap(), text(1));
    machine.check_invariants().unwrap();
}

#[test]
fn imports_into_taken_frames_are_refused() {
    let machine = machine();
    let mut attacker = Attacker::on(&machine);
    let (guest, other) = (attacker.host.start(1), attacker.host.start(1));
    let secure = attacker.host.resident(&other, P);
    let shared = attacker.host.resident(&other, Q);
    assert_eq!(attacker.host.share(&other, Q).unwrap(), DONE);
    assert_eq!(attacker.host.pin(shared), DONE);
    for (frame, rule) in [
        (secure, "T34"),
        (shared, "T36"),
        (AbsoluteAddress(guest.base).frame(), "T38"),
        (AbsoluteAddress(guest.variable).frame(), "T38"),
        (AbsoluteAddress(guest.cpu_storage).frame(), "T38"),
        (AbsoluteAddress(UV_BASE).frame(), "T38"),
    ] {
        attacker.host.map(&guest, P, frame);
        attacker.import_refused(&guest, P, 0x104, rule);
    }
    attacker.tear_down(&other, Command::DestroySecConfFast);
    attacker.host.map(&guest, P, secure);
    attacker.import_refused(&guest, P, 0x104, "T39");
    // The leftover goes back as zeros, then the page can have it.
    assert_eq!(attacker.host.destroy(secure), DONE);
    assert_eq!(attacker.rule(), "T52");
    assert_eq!(attacker.host.import(&guest, P), DONE);
    machine.check_invariants().unwrap();
}

#[test]
fn a_shared_frame_is_taken_over_only_together_with_success() {
    let machine = machine();
    let mut attacker = Attacker::on(&machine);
    let (guest, other) = (attacker.host.start(1), attacker.host.start(1));
    let (_, genuine) = attacker.exported(&guest, P, &text(1));
    let frame = attacker.host.resident(&other, Q);
    assert_eq!(attacker.host.share(&other, Q).unwrap(), DONE);
    attacker.host.store(frame.address().0, &text(3));
    attacker.host.map(&guest, P, frame);
    // D30: the content is not genuine, so nothing moves.
    attacker.import_refused(&guest, P, 0x106, "T26");
    assert_eq!(attacker.view(&other, Q).record, PageRecord::Shared(Some(frame)));
    attacker.host.store(frame.address().0, &genuine);
    assert_eq!(attacker.host.import(&guest, P), DONE);
    assert_eq!(attacker.rule(), "T35");
    assert_eq!(attacker.view(&other, Q).record, PageRecord::Shared(None));
    machine.check_invariants().unwrap();
}

#[test]
fn without_misc_a_shared_frame_of_another_is_refused() {
    let machine = crate::support::machine(MachineConfig { generation: Generation::Z15, ..config() });
    let mut attacker = Attacker::on(&machine);
    let (guest, other) = (attacker.host.start(1), attacker.host.start(1));
    let frame = attacker.host.resident(&other, Q);
    assert_eq!(attacker.host.share(&other, Q).unwrap(), DONE);
    attacker.host.map(&guest, P, frame);
    attacker.import_refused(&guest, P, 0x104, "T35");
    assert_eq!(attacker.host.export(frame), DONE);
    assert_eq!(attacker.host.import(&guest, P), DONE);
    assert_eq!(attacker.rule(), "T24");
}
