//! What an interruption says: D15, D19, T4.

use super::*;

#[test]
fn teids_name_page_access_and_space() {
    for (generation, feature_misc, right) in
        [(Generation::Z16, None, 4), (Generation::Z15, None, 0), (Generation::Z15, Some(true), 4)]
    {
        let machine = crate::support::machine(MachineConfig { generation, feature_misc, ..config() });
        let (mut host, space) = translating(&machine, 2);
        let guest = host.start(1);
        let secure = host.resident(&guest, P);
        let foreign = host.resident(&guest, Q);
        space.map(&mut host, 3, secure.address().0);
        let at = WINDOW + 0x3000;
        let load = byte(&mut host.cpu, at + 0x123).unwrap_err();
        assert_eq!((load.code, load.teid.0), (ProgramCode::SecureStorageAccess, at | 0x803 | right));
        let store = host.cpu.store(VirtualAddress(at + 0xff8), &[0; 8]).unwrap_err();
        assert_eq!((store.code, store.teid.0), (ProgramCode::SecureStorageAccess, at | 0x403 | right));
        let fetch = host.cpu.fetch_instruction(VirtualAddress(at), &mut [0; 2]).unwrap_err();
        assert_eq!(fetch.code, ProgramCode::SecureStorageAccess);
        assert_eq!((fetch.teid.address(), fetch.teid.bit_61()), (0, false), "T4");
        let block = host.issue(at).unwrap_err();
        assert_eq!((block.code, block.teid.0), (ProgramCode::SecureStorageAccess, at | 0x403 | right));

        let gaddr = P.0 * 4096;
        host.map(&guest, P, foreign);
        let violation = exit(host.guest_load(&guest, gaddr + 8, 8));
        assert_eq!((violation.code, violation.teid.0), (ProgramCode::SecureStorageViolation, gaddr | 0x800 | right));
        let violation = exit(host.guest_store(&guest, gaddr + 8, &[0; 8]));
        assert_eq!((violation.code, violation.teid.0), (ProgramCode::SecureStorageViolation, gaddr | 0x400 | right));
        let plain = host.frame();
        host.map(&guest, P, plain);
        let missing = exit(host.guest_store(&guest, gaddr + 8, &[0; 8]));
        assert_eq!((missing.code, missing.teid.0), (ProgramCode::NonSecureStorageAccess, gaddr | 0x400));
        host.unmap(&guest, P);
        let unmapped = exit(host.guest_load(&guest, gaddr + 8, 8));
        assert_eq!((unmapped.code, unmapped.teid.0), (ProgramCode::PageTranslation, gaddr | 0x800));

        // DAT protection of the host; a control block counts as a store.
        space.map(&mut host, 5, plain.address().0 | 0x200);
        let at = WINDOW + 0x5000;
        assert_eq!(byte(&mut host.cpu, at), Ok(0));
        for interruption in [host.cpu.store(VirtualAddress(at), &[1]).unwrap_err(), host.issue(at).unwrap_err()] {
            assert_eq!((interruption.code, interruption.teid.0), (ProgramCode::Protection, at | 0x407));
        }
    }
}

#[test]
fn an_access_over_two_pages_names_the_one_that_refuses_and_does_nothing() {
    let machine = machine();
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let (before, secure) = (filled(&mut host, 1), host.resident(&guest, P));
    assert_eq!(secure.0, before.0 + 1);
    let at = secure.address().0 - 4;
    let digest = machine.state_digest(None);
    let store = host.cpu.store(VirtualAddress(at), &[9; 8]).unwrap_err();
    assert_eq!((store.code, store.teid.address()), (ProgramCode::SecureStorageAccess, secure.address().0));
    let mut bytes = [0xaa; 8];
    host.cpu.load(VirtualAddress(at), &mut bytes).unwrap_err();
    assert_eq!(bytes, [0xaa; 8]);
    let event = exit(host.guest_store(&guest, Q.0 * 4096 - 4, &[9; 8]));
    assert_eq!((event.code, event.teid.address()), (ProgramCode::PageTranslation, Q.0 * 4096));
    assert_eq!(machine.state_digest(None), digest);
    let mut last = [0; 4];
    assert!(machine.peek(AbsoluteAddress(secure.address().0 + 4092), &mut last));
    assert_eq!(last, [0; 4]);
}
