//! One page's life, told from both sides: a test of everything at once.

mod support;

use support::{DONE, Host, config, refused};
use uvsim_model::address::{AbsoluteAddress, PageIndex};
use uvsim_model::cpu::{GuestEvent, SieExit};
use uvsim_model::storage::ProgramCode;
use uvsim_model::uvc::Command;
use uvsim_model::{Machine, PageRecord};

#[test]
fn a_page_is_written_exported_tampered_with_imported_shared_and_torn_down() {
    let machine = support::machine(config());
    let mut host = Host::ready(&machine);
    let guest = host.start(1);
    let page = PageIndex(3);

    let event = host.guest_store(&guest, 0x3000, b"attack at dawn").unwrap_err();
    assert!(
        matches!(event, GuestEvent::Exit(SieExit::HostInterruption(it)) if it.code == ProgramCode::PageTranslation)
    );
    let frame = host.frame();
    host.map(&guest, page, frame);
    let event = host.guest_store(&guest, 0x3000, b"attack at dawn").unwrap_err();
    let GuestEvent::Exit(SieExit::HostInterruption(it)) = event else { panic!("{event}") };
    assert_eq!((it.code, it.teid.address()), (ProgramCode::NonSecureStorageAccess, 0x3000));
    assert_eq!(host.import(&guest, page), DONE);
    host.guest_store(&guest, 0x3000, b"attack at dawn").unwrap();

    let it = host.page_bytes(frame).unwrap_err();
    assert_eq!((it.code, it.teid.address()), (ProgramCode::SecureStorageAccess, frame.address().0));
    assert_eq!(host.export(frame), DONE);
    let cipher = host.page_bytes(frame).unwrap();
    assert!(!cipher.windows(6).any(|window| window == b"attack"));
    assert_eq!(machine.page(guest.handle, page).unwrap().counter, 1);

    let mut bad = cipher.clone();
    bad[77] ^= 1;
    host.store(frame.address().0, &bad);
    let block = AbsoluteAddress(support::BLOCK);
    let before = machine.state_digest(Some(block));
    assert_eq!(host.import(&guest, page), refused(0x106));
    // The host wrote the block between the two digests; put it back as it was.
    host.block(support::BLOCK, Command::ConvFromSecStor.code(), 0x20, &[(0x18, 8, frame.address().0)]);
    assert_eq!(machine.state_digest(Some(block)), before);
    assert_eq!(machine.page(guest.handle, page).unwrap().record, PageRecord::Exported);
    host.store(frame.address().0, &cipher);
    assert_eq!(host.import(&guest, page), DONE);
    assert_eq!(host.guest_load(&guest, 0x3000, 14).unwrap(), b"attack at dawn");

    assert_eq!(host.share(&guest, page).unwrap(), DONE);
    assert_eq!(host.load(frame.address().0, 14).unwrap(), b"attack at dawn");
    assert_eq!(host.pin(frame), DONE);
    let event = host.unshare(&guest, page).unwrap_err();
    assert!(matches!(event, GuestEvent::Exit(SieExit::Interception(it)) if it.code == 108 && it.ipa == 0xb9a4));
    assert_eq!(host.unpin(&guest, page), DONE);
    assert_eq!(host.unshare(&guest, page).unwrap(), DONE);
    assert_eq!(host.load(frame.address().0, 14).unwrap_err().code, ProgramCode::SecureStorageAccess);
    machine.check_invariants().unwrap();

    assert_eq!(host.call(Command::DestroySecConf, &[(0x18, 8, guest.handle)]), refused(0x105));
    assert_eq!(host.call(Command::DestroySecCpu, &[(0x18, 8, guest.cpu)]), DONE);
    assert_eq!(host.call(Command::DestroySecConf, &[(0x18, 8, guest.handle)]), DONE);
    assert_eq!(host.page_bytes(frame).unwrap(), vec![0; 4096]);
    assert_eq!(host.import(&guest, page), refused(0x20));
    machine.check_invariants().unwrap();
}
