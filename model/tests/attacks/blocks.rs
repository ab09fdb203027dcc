//! Control blocks in hostile places: D2, D3, D5.

use super::*;

#[test]
fn control_blocks_in_hostile_places() {
    let machine = machine();
    let mut attacker = Attacker::on(&machine);
    let guest = attacker.host.start(1);
    let (frame, _) = attacker.exported(&guest, P, &text(1));
    let host = &mut attacker.host;
    // The frame that the import would make secure (D5); refused, and the codes are there to see.
    let fields = [(0x18, 8, guest.handle), (0x20, 8, P.0 * 4096)];
    let offsets = [0, 0x800, 4096 - 0x28];
    for offset in offsets {
        let at = frame.address().0 + offset;
        host.block(at, Command::ConvToSecStor.code(), 0x28, &fields);
        let before = machine.state_digest(Some(AbsoluteAddress(at)));
        assert_eq!(host.issue(at).unwrap(), refused(0x104));
        assert_eq!(machine.state_digest(Some(AbsoluteAddress(at))), before);
    }
    // Half in that frame, from the frame before: frames are handed out in order.
    let next = host.frame();
    let after = host.frame();
    assert_eq!(after.0, next.0 + 1);
    host.map(&guest, Q, after);
    let at = after.address().0 - 0x18;
    host.block(at, Command::ConvToSecStor.code(), 0x28, &[(0x18, 8, guest.handle), (0x20, 8, Q.0 * 4096)]);
    assert_eq!(host.issue(at).unwrap(), refused(0x104));

    // In a secure frame, across the border of one, and outside storage: interruptions, nothing stored.
    let secure = host.resident(&guest, PageIndex(8));
    let behind = host.frame();
    assert_eq!(behind.0, secure.0 + 1);
    let before = machine.state_digest(None);
    for at in [secure.address().0, secure.address().0 + 0xff8] {
        assert_eq!(host.issue(at).unwrap_err().code, ProgramCode::SecureStorageAccess);
    }
    assert_eq!(host.issue(machine.storage_size()).unwrap_err().code, ProgramCode::Addressing);
    assert_eq!(host.issue(u64::MAX - 7).unwrap_err().code, ProgramCode::Addressing);
    assert_eq!(host.issue(BLOCK + 4).unwrap_err().code, ProgramCode::Specification);
    assert_eq!(machine.state_digest(None), before);
    let at = secure.address().0 - 8;
    host.block(at, Command::ConvFromSecStor.code(), 8, &[]);
    host.store(at, &[0, 0x20]);
    let before = machine.state_digest(None);
    let interruption = host.issue(at).unwrap_err();
    assert_eq!(interruption.code, ProgramCode::SecureStorageAccess);
    assert_eq!(interruption.teid.address(), secure.address().0);
    assert_eq!(machine.state_digest(None), before);
    let end = machine.storage_size() - 8;
    host.block(end, Command::ConvFromSecStor.code(), 8, &[]);
    host.store(end, &[0, 0x20]);
    assert_eq!(host.issue(end).unwrap_err().code, ProgramCode::Addressing);
    machine.check_invariants().unwrap();
}

#[test]
fn a_block_in_the_area_that_it_donates_is_refused() {
    let machine = machine();
    let rules = Arc::new(Rules::default());
    machine.subscribe(rules.clone());
    let mut host = Host::new(&machine);
    let refuse_at = |host: &mut Host<'_>, at: u64, command: Command, fields: &[(u64, u8, u64)], rc| {
        host.block(at, command.code(), command.usual_length(), fields);
        let before = machine.state_digest(Some(AbsoluteAddress(at)));
        assert_eq!(host.issue(at).unwrap(), refused(rc), "{} at {at:#x}", command.name());
        assert_eq!(*rules.0.lock().unwrap(), if rc == 0x10b { "D11" } else { "D5" });
        assert_eq!(machine.state_digest(Some(AbsoluteAddress(at))), before);
    };
    let init = [(0x18, 8, UV_BASE), (0x20, 8, UV_BASE_LENGTH)];
    for at in [UV_BASE, UV_BASE + UV_BASE_LENGTH - 0x48, UV_BASE - 8, UV_BASE + UV_BASE_LENGTH - 8] {
        refuse_at(&mut host, at, Command::InitUv, &init, 0x105);
    }
    assert_eq!(host.init(), DONE);
    let mut guest = host.prepare(1);
    let fields = Host::create_fields(&guest);
    for at in [guest.base, guest.base + CONFIGURATION_BASE_LENGTH - 0x80, guest.base - 8] {
        refuse_at(&mut host, at, Command::CreateSecConf, &fields, 0x108);
    }
    for at in [guest.variable + 0x1000, guest.variable + CONFIGURATION_FIXED_LENGTH + 0x1000 - 0x10] {
        refuse_at(&mut host, at, Command::CreateSecConf, &fields, 0x10b);
    }
    assert_eq!(host.call(Command::CreateSecConf, &fields), DONE);
    guest.handle = host.output(0x18);
    let fields = Host::cpu_fields(&guest, 0);
    for at in [guest.cpu_storage, guest.cpu_storage + 0x1000 - 0x20] {
        refuse_at(&mut host, at, Command::CreateSecCpu, &fields, 0x105);
    }
    machine.check_invariants().unwrap();
}

#[test]
fn exporting_the_frame_of_the_block_itself_is_harmless() {
    let machine = machine();
    let mut attacker = Attacker::on(&machine);
    let guest = attacker.host.start(1);
    let frame = attacker.host.resident(&guest, P);
    assert_eq!(attacker.host.share(&guest, P).unwrap(), DONE);
    for command in [Command::PinPageShared, Command::ConvFromSecStor, Command::ConvFromSecStor] {
        let at = frame.address().0;
        attacker.host.block(at, command.code(), 0x20, &[(0x18, 8, at)]);
        assert_eq!(attacker.host.issue(at).unwrap(), DONE);
    }
    assert_eq!(attacker.view(&guest, P).record, PageRecord::Shared(None));
    machine.check_invariants().unwrap();
}
