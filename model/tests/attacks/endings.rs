//! What the host finds when a page, a guest or the machine ends: I-10, I-33, D16, D26 to D29.

use super::*;

#[test]
fn a_live_page_cannot_be_destroyed_and_a_destroyed_one_never_comes_back() {
    let machine = machine();
    let mut attacker = Attacker::on(&machine);
    let guest = attacker.host.start(1);
    let frame = attacker.host.resident(&guest, P);
    attacker.host.guest_store(&guest, P.0 * 4096, &text(1)).unwrap();
    let (exported, cipher) = attacker.exported(&guest, Q, &text(2));
    assert_eq!(attacker.host.import(&guest, Q), DONE);
    for victim in [frame, exported] {
        attacker.refused(Command::DestrSecStor, &[(0x18, 8, victim.address().0)], 0x104, "D26");
    }
    attacker.destroy_cpu(&guest);
    for (victim, page) in [(frame, P), (exported, Q)] {
        assert_eq!(attacker.host.destroy(victim), DONE);
        assert_eq!(attacker.rule(), "T50");
        assert_eq!(attacker.host.page_bytes(victim).unwrap(), [0; 4096]);
        assert_eq!(attacker.view(&guest, page).record, PageRecord::Destroyed);
        attacker.import_refused(&guest, page, 0x106, "T55");
    }
    attacker.host.store(exported.address().0, &cipher);
    attacker.import_refused(&guest, Q, 0x106, "T55");
    machine.check_invariants().unwrap();
}

#[test]
fn the_host_never_finds_plaintext() {
    type End = fn(&mut Attacker<'_>, &Guest, FrameNumber);
    let ends: [(&str, bool, End); 7] = [
        ("export", false, |attacker, _, frame| assert_eq!(attacker.host.export(frame), DONE)),
        ("destroy", true, |attacker, guest, frame| {
            attacker.destroy_cpu(guest);
            assert_eq!(attacker.host.destroy(frame), DONE);
        }),
        ("teardown", true, |attacker, guest, _| attacker.tear_down(guest, Command::DestroySecConf)),
        ("fast teardown and export", true, |attacker, guest, frame| {
            attacker.tear_down(guest, Command::DestroySecConfFast);
            let code = attacker.host.page_bytes(frame).unwrap_err().code;
            assert_eq!(code, ProgramCode::SecureStorageAccess, "T9");
            assert_eq!(attacker.host.export(frame), DONE);
            assert_eq!(attacker.rule(), "T48");
        }),
        ("fast teardown and destroy", true, |attacker, guest, frame| {
            attacker.tear_down(guest, Command::DestroySecConfFast);
            assert_eq!(attacker.host.destroy(frame), DONE);
            assert_eq!(attacker.rule(), "T52");
        }),
        ("load-normal reset", true, |attacker, _, _| attacker.host.cpu.reset_machine(Reset::LoadNormal).unwrap()),
        ("clear reset", true, |attacker, _, _| attacker.host.cpu.reset_machine(Reset::Clear).unwrap()),
    ];
    for (name, zeros, end) in ends {
        let machine = machine();
        let mut attacker = Attacker::on(&machine);
        let guest = attacker.host.start(1);
        let frame = attacker.host.resident(&guest, P);
        attacker.host.guest_store(&guest, P.0 * 4096, &text(1)).unwrap();
        end(&mut attacker, &guest, frame);
        assert_eq!(machine.frame_state(frame), FrameState::NonSecure, "{name}");
        let seen = attacker.host.page_bytes(frame).unwrap();
        if zeros {
            assert_eq!(seen, [0; 4096], "{name}");
        }
        let plain = text(1);
        assert!(plain.chunks_exact(16).zip(seen.chunks_exact(16)).all(|(plain, seen)| plain != seen), "{name}");
        machine.check_invariants().unwrap();
    }
}

#[test]
fn a_torn_down_guest_imports_nothing_and_its_ciphertext_is_dead() {
    for command in [Command::DestroySecConf, Command::DestroySecConfFast] {
        let machine = machine();
        let mut attacker = Attacker::on(&machine);
        let guest = attacker.host.start(1);
        let (frame, cipher) = attacker.exported(&guest, P, &text(1));
        attacker.tear_down(&guest, command);
        attacker.import_refused(&guest, P, 0x20, "D2");
        // A new guest over the same tables and with the same image has other keys (I-12).
        let mut again = guest.clone();
        for page in 0..2 {
            let frame = attacker.host.frame();
            attacker.host.map(&guest, PageIndex(page), frame);
        }
        assert_eq!(attacker.host.call(Command::CreateSecConf, &Host::create_fields(&again)), DONE);
        again.handle = attacker.host.output(0x18);
        assert_ne!(again.handle, guest.handle);
        attacker.host.create_cpu(&mut again);
        attacker.host.boot(&again);
        assert_eq!(attacker.host.import(&again, P), DONE);
        assert_eq!(attacker.host.guest_load(&again, P.0 * 4096, 4096).unwrap(), [0; 4096], "T29");
        attacker.host.guest_store(&again, P.0 * 4096, &text(1)).unwrap();
        assert_eq!(attacker.host.export(frame), DONE);
        assert_ne!(attacker.host.page_bytes(frame).unwrap(), cipher);
        attacker.forgery(&again, P, frame, &cipher);
        machine.check_invariants().unwrap();
    }
}

#[test]
fn donated_frames_are_closed_and_come_back_as_zeros() {
    let machine = machine();
    let mut attacker = Attacker::on(&machine);
    let host = &mut attacker.host;
    let mut guest = host.prepare(1);
    let areas = [
        (guest.base, CONFIGURATION_BASE_LENGTH),
        (guest.variable, CONFIGURATION_FIXED_LENGTH + 0x1000),
        (guest.cpu_storage, 0x1000),
    ];
    let frames: Vec<u64> = areas.iter().flat_map(|&(at, len)| (at..at + len).step_by(4096)).collect();
    for &frame in &frames {
        host.store(frame, &text(7));
    }
    assert_eq!(host.call(Command::CreateSecConf, &Host::create_fields(&guest)), DONE);
    guest.handle = host.output(0x18);
    host.create_cpu(&mut guest);
    for frame in frames.iter().copied().chain([UV_BASE, UV_BASE + UV_BASE_LENGTH - 4096]) {
        let mut bytes = [1; 4096];
        assert!(machine.peek(AbsoluteAddress(frame), &mut bytes));
        assert_eq!(bytes, [0; 4096], "D16 at {frame:#x}");
        assert_eq!(host.load(frame, 1).unwrap_err().code, ProgramCode::SecureStorageAccess, "T2");
        let store = host.cpu.store(uvsim_model::address::VirtualAddress(frame), &[1]);
        assert_eq!(store.unwrap_err().code, ProgramCode::SecureStorageAccess);
    }
    for (command, rc, rule) in [
        (Command::ConvFromSecStor, 0x103, "T49"),
        (Command::DestrSecStor, 0x103, "T54"),
        (Command::PinPageShared, 0x102, "T69"),
    ] {
        for &(at, _) in &areas {
            attacker.refused(command, &[(0x18, 8, at)], rc, rule);
        }
        attacker.refused(command, &[(0x18, 8, UV_BASE)], rc, rule);
        attacker.refused(command, &[(0x18, 8, machine.storage_size())], 0x101, "D10");
        attacker.refused(command, &[(0x18, 8, u64::MAX)], 0x101, "D10");
    }
    attacker.tear_down(&guest, Command::DestroySecConf);
    for frame in frames {
        assert_eq!(attacker.host.load(frame, 4096).unwrap(), [0; 4096], "T42 at {frame:#x}");
    }
    machine.check_invariants().unwrap();
}
