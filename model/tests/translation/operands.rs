//! Operands of calls, and prefixing: D57, D60, D16.

use super::*;

#[test]
fn prefixing_applies_to_real_addresses_only() {
    let machine = machine();
    let (mut host, space) = translating(&machine, 1);
    let prefix = host.allocate_aligned(0x2000, 0x2000);
    let guest = host.start(1);
    host.store(0x200, b"zero");
    host.store(prefix + 0x200, b"area");
    host.cpu.set_prefix(prefix).unwrap();
    assert_eq!(host.load(0x200, 4).unwrap(), b"area");
    assert_eq!(host.load(prefix + 0x200, 4).unwrap(), b"zero");
    // Through tables as well: what they yield is real.
    space.map(&mut host, 3, 0);
    assert_eq!(host.load(WINDOW + 0x3200, 4).unwrap(), b"area");
    let at = host.cpu.translate(VirtualAddress(WINDOW + 0x3200)).unwrap();
    assert_eq!(at, AbsoluteAddress(prefix + 0x200));
    // Without translation the same.
    host.cpu.set_translation(false);
    assert_eq!(host.load(0x1ffc, 4).unwrap(), host.load(0x1ffc, 4).unwrap());
    assert_eq!(host.load(0x200, 4).unwrap(), b"area");
    host.cpu.set_translation(true);
    // A guest's tables yield absolute addresses: the frame at absolute zero is not the prefix area's.
    host.map(&guest, P, FrameNumber(0));
    assert_eq!(host.import(&guest, P), DONE);
    assert!(matches!(machine.frame_state(FrameNumber(0)), FrameState::Secure(..)));
    assert_eq!(guest_byte(&mut host, &guest, P), Ok(0));
    assert_eq!(host.load(0x200, 4).unwrap(), b"area");
    assert_eq!(host.load(prefix + 0x200, 4).unwrap_err().code, ProgramCode::SecureStorageAccess);
    // An absolute operand is not prefixed either, and the lowcore of the issuer is no storage for a CPU.
    assert_eq!(host.export(FrameNumber(0)), DONE);
    assert_eq!(machine.frame_state(FrameNumber(0)), FrameState::NonSecure);
    let mut fields = Host::cpu_fields(&guest, 1);
    fields[1] = (0x28, 8, prefix + 0x1000);
    assert_eq!(host.call(Command::CreateSecCpu, &fields), refused(0x106));
    // Thirty-one bits count, whatever lies above them.
    host.cpu.set_prefix(0xffff_0000_8000_0000 + prefix).unwrap();
    assert_eq!(host.load(0x200, 4).unwrap(), b"area");
    // SET PREFIX purges: what was buffered goes to the new place.
    host.cpu.set_prefix(0).unwrap();
    assert_eq!(host.load(WINDOW + 0x3000 + 0xffc, 4).unwrap(), host.load(0xffc, 4).unwrap());
    assert_eq!(host.load(prefix + 0x200, 4).unwrap(), b"area");
}

#[test]
fn a_variable_area_may_be_scattered_and_goes_through_the_buffer() {
    let machine = machine();
    let (mut host, space) = translating(&machine, 2);
    let guest = host.prepare(1);
    // 17 pages at 0x20 of the window, in frames that lie in reverse.
    let frames: Vec<FrameNumber> = (0..17).map(|_| host.frame()).collect();
    for (page, frame) in (0x20..).zip(frames.iter().rev()) {
        space.map(&mut host, page, frame.address().0);
    }
    let mut fields = Host::create_fields(&guest);
    fields[1] = (0x28, 8, WINDOW + 0x2_0000);
    // One page is buffered, then its entry is changed and the purge forgotten: the old frame is donated.
    assert_eq!(byte(&mut host.cpu, WINDOW + 0x2_3000), Ok(0));
    let spare = host.frame();
    space.map(&mut host, 0x23, spare.address().0);
    // One page missing: 0x31. One twice: 0x10b.
    space.map(&mut host, 0x24, 0x400);
    assert_eq!(host.call(Command::CreateSecConf, &fields), refused(0x31));
    space.map(&mut host, 0x24, frames[0].address().0);
    assert_eq!(host.call(Command::CreateSecConf, &fields), refused(0x10b));
    space.map(&mut host, 0x24, frames[12].address().0);
    host.cpu.ipte(AbsoluteAddress(space.window), VirtualAddress(WINDOW + 0x2_4000)).unwrap();
    space.map(&mut host, 0x24, frames[12].address().0);
    assert_eq!(host.call(Command::CreateSecConf, &fields), DONE);
    for frame in &frames {
        assert!(matches!(machine.frame_state(*frame), FrameState::Donated(_)), "{frame:?}");
    }
    assert_eq!(machine.frame_state(spare), FrameState::NonSecure);
    let handle = host.output(0x18);
    // Unmapped later, it makes no difference (D16).
    host.cpu.ipte(AbsoluteAddress(space.window), VirtualAddress(WINDOW + 0x2_0000)).unwrap();
    assert_eq!(host.call(Command::DestroySecConf, &[(0x18, 8, handle)]), DONE);
    for frame in frames {
        assert_eq!(machine.frame_state(frame), FrameState::NonSecure);
    }
    // A real space has no tables to translate with.
    host.cpu.set_home(Asce(0x20));
    assert_eq!(host.call(Command::CreateSecConf, &fields), refused(0x30));
    machine.check_invariants().unwrap();
}

#[test]
fn a_call_that_donates_the_table_of_its_own_block_still_answers() {
    const BASE: u64 = 64 << 20;
    const VARIABLE: u64 = 32 << 20;
    // In the translation buffer, this page and the first of the variable area compete for one place.
    const AT: u64 = VARIABLE ^ 1 << 20 ^ 1 << 24;
    let machine = machine();
    let (mut host, space) = translating(&machine, 0);
    let guest = host.prepare(1);
    let table = BASE + 0x3000;
    let home = host.frame();
    host.store_u64(table, home.address().0);
    host.store_u64(space.segments + (AT >> 20) * 8, table);
    host.cpu.ptlb().unwrap();
    let mut fields = Host::create_fields(&guest);
    (fields[0], fields[1]) = ((0x20, 8, BASE), (0x28, 8, VARIABLE));
    host.block(AT, Command::CreateSecConf.code(), 0x80, &fields);
    let cc = host.cpu.uvc(uvsim_model::cpu::Uvc::at(VirtualAddress(AT))).unwrap();
    assert_eq!(cc as u8, 0);
    assert_eq!(host.load(home.address().0 + 4, 4).unwrap(), [0, 1, 0, 0]);
    let handle = host.cpu.load_u64(VirtualAddress(home.address().0 + 0x18)).unwrap();
    assert!(machine.domain(handle).is_some());
    assert_eq!(host.load(AT, 8).unwrap_err().code, ProgramCode::SecureStorageAccess, "the table is gone");
    machine.check_invariants().unwrap();
}

#[test]
fn sie_takes_its_state_description_by_place_not_by_name() {
    let machine = machine();
    let (mut host, space) = translating(&machine, 2);
    let guest = host.start(1);
    space.map(&mut host, 3, guest.state_description);
    host.cpu.set_primary(guest.asce);
    drop(host.cpu.enter(VirtualAddress(WINDOW + 0x3000)).unwrap());
    // A copy elsewhere is not the one that CREATE_SEC_CPU named (Q26).
    let copy = host.frame();
    let bytes = host.load(guest.state_description, 4096).unwrap();
    host.store(copy.address().0, &bytes);
    space.map(&mut host, 4, copy.address().0);
    let exit = host.cpu.enter(VirtualAddress(WINDOW + 0x4000)).map(drop).unwrap_err();
    assert!(matches!(exit, SieExit::Interception(it) if (it.code, it.ipb >> 16) == (32, 0x2005)), "{exit}");
    // Unmapped or secure: the host's own interruption, and nothing runs (D80).
    let exit = host.cpu.enter(VirtualAddress(WINDOW + 0x5000)).map(drop).unwrap_err();
    assert!(matches!(exit, SieExit::HostInterruption(it) if it.code == ProgramCode::PageTranslation), "{exit}");
    let secure = host.resident(&guest, P);
    space.map(&mut host, 6, secure.address().0);
    let exit = host.cpu.enter(VirtualAddress(WINDOW + 0x6000)).map(drop).unwrap_err();
    assert!(matches!(exit, SieExit::HostInterruption(it) if it.code == ProgramCode::SecureStorageAccess), "{exit}");
    assert_eq!(host.load(BLOCK, 1).unwrap().len(), 1);
}
