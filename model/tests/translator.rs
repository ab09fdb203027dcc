//! Translators in place of a host's tables.

#[path = "support/scene.rs"]
mod scene;
mod support;

use scene::{code_and_address, host_interruption};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use support::{DONE, Guest, Host, config, refused};
use uvsim_model::Machine;
use uvsim_model::address::{AbsoluteAddress, FrameNumber, GuestAddress, PageIndex, VirtualAddress};
use uvsim_model::storage::{Asce, Mapping, ProgramCode, Translator};

const P: PageIndex = PageIndex(5);

/// A host's own idea of a space.
#[derive(Default)]
struct Pages(Mutex<BTreeMap<u64, Result<Mapping, ProgramCode>>>);

impl Pages {
    fn map(&self, page: PageIndex, frame: FrameNumber) {
        self.put(page, Ok(Mapping { address: frame.address(), protected: false, large: false }));
    }

    fn put(&self, page: PageIndex, found: Result<Mapping, ProgramCode>) {
        self.0.lock().unwrap().insert(page.0, found);
    }
}

impl Translator for Pages {
    fn translate(&self, address: VirtualAddress) -> Result<Mapping, ProgramCode> {
        let missing = Err(ProgramCode::SegmentTranslation);
        self.0.lock().unwrap().get(&address.page()).copied().unwrap_or(missing)
    }
}

/// A running guest whose pages are where the translator says.
fn running<'m>(machine: &'m Machine) -> (Host<'m>, Guest, Arc<Pages>) {
    let mut host = Host::ready(machine);
    let guest = host.create(1);
    let pages = Arc::new(Pages::default());
    machine.set_translator(guest.asce, Some(pages.clone()));
    host.verify(&guest);
    for page in [0, 1] {
        pages.map(PageIndex(page), host.frame());
        assert_eq!(host.import(&guest, PageIndex(page)), DONE);
    }
    (host, guest, pages)
}

fn load(host: &mut Host<'_>, guest: &Guest, page: PageIndex) -> Result<Vec<u8>, uvsim_model::cpu::GuestEvent> {
    host.guest_load(guest, page.0 * 4096, 1)
}

#[test]
fn imports_and_guests_ask_the_translator() {
    let machine = Machine::new(config()).unwrap();
    let (mut host, guest, pages) = running(&machine);
    assert_eq!(host.import(&guest, P), refused(0x10a));
    let event = load(&mut host, &guest, P);
    assert_eq!(code_and_address(event), (ProgramCode::SegmentTranslation, 0x5000));
    let frame = host.frame();
    pages.map(P, frame);
    assert_eq!(host.import(&guest, P), DONE);
    host.guest_store(&guest, 0x5000, b"x").unwrap();
    assert_eq!(load(&mut host, &guest, P).unwrap(), b"x");
    assert_eq!(machine.page(guest.handle, P).unwrap().record.frame(), Some(frame));
    // The tables count again once it is gone.
    machine.set_translator(guest.asce, None);
    host.cpu.idte_space(guest.asce).unwrap();
    assert_eq!(host.import(&guest, P), refused(0x10a));
    machine.check_invariants().unwrap();
}

#[test]
fn what_it_said_is_buffered_until_the_host_purges() {
    let machine = Machine::new(config()).unwrap();
    let (mut host, guest, pages) = running(&machine);
    for page in [P, PageIndex(6)] {
        pages.map(page, host.frame());
        assert_eq!(host.import(&guest, page), DONE);
        assert_eq!(load(&mut host, &guest, page).unwrap(), [0]);
        pages.put(page, Err(ProgramCode::PageTranslation));
        assert_eq!(load(&mut host, &guest, page).unwrap(), [0], "stale, but not purged");
    }
    host.cpu.purge_page(Asce(guest.asce.0 ^ 0x4000), VirtualAddress(P.0 * 4096)).unwrap();
    assert_eq!(load(&mut host, &guest, P).unwrap(), [0], "another space was purged");
    host.cpu.purge_page(guest.asce, VirtualAddress(P.0 * 4096 + 17)).unwrap();
    assert_eq!(code_and_address(load(&mut host, &guest, P)), (ProgramCode::PageTranslation, 0x5000));
    assert_eq!(load(&mut host, &guest, PageIndex(6)).unwrap(), [0], "one page only");
    host.cpu.set_problem_state(true);
    let refused = host.cpu.purge_page(guest.asce, VirtualAddress(0)).unwrap_err();
    assert_eq!(refused.code, ProgramCode::PrivilegedOperation);
}

#[test]
fn a_purge_reaches_all_cpus() {
    let machine = Machine::new(config()).unwrap();
    let (mut host, guest, pages) = running(&machine);
    pages.map(P, host.frame());
    assert_eq!(host.import(&guest, P), DONE);
    assert_eq!(load(&mut host, &guest, P).unwrap(), [0]);
    pages.put(P, Err(ProgramCode::PageTranslation));
    machine.cpu(1).unwrap().purge_page(guest.asce, VirtualAddress(P.0 * 4096)).unwrap();
    assert_eq!(code_and_address(load(&mut host, &guest, P)).0, ProgramCode::PageTranslation);
}

#[test]
fn what_it_says_is_checked() {
    let machine = Machine::new(config()).unwrap();
    let (mut host, guest, pages) = running(&machine);
    let frame = host.frame();
    pages.map(P, frame);
    assert_eq!(host.import(&guest, P), DONE);
    let at = |address, protected, large| Ok(Mapping { address: AbsoluteAddress(address), protected, large });
    let frame = frame.address().0;
    for (found, code) in [
        (at(frame + 8, false, false), ProgramCode::TranslationSpecification),
        (at(machine.storage_size(), false, false), ProgramCode::Addressing),
        (at(!0xfff, false, false), ProgramCode::Addressing),
        (at(frame, false, true), ProgramCode::SecurePageSize),
        (at(frame, true, false), ProgramCode::Protection),
        (Err(ProgramCode::RegionThirdTranslation), ProgramCode::RegionThirdTranslation),
        (Err(ProgramCode::SecureStorageViolation), ProgramCode::PageTranslation),
    ] {
        pages.put(P, found);
        host.cpu.purge_page(guest.asce, VirtualAddress(P.0 * 4096)).unwrap();
        let mut cpu = host.enter(&guest).unwrap();
        let stored = cpu.store(GuestAddress(P.0 * 4096), &[1]);
        drop(cpu);
        assert_eq!(host_interruption(stored).code, code, "{found:?}");
        // Any trouble of an import is 0x10a (D59); a large mapping is none to it.
        let imported = if matches!(found, Ok(Mapping { large: true, .. })) { DONE } else { refused(0x10a) };
        assert_eq!(host.import(&guest, P), imported, "{found:?}");
    }
}

#[test]
fn a_home_space_may_have_one_and_its_frames_are_absolute() {
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    host.store(0x2000, b"absolute");
    let pages = Arc::new(Pages::default());
    let asce = Asce(0x7000);
    machine.set_translator(asce, Some(pages.clone()));
    pages.map(PageIndex(0x99), FrameNumber(2));
    host.cpu.set_prefix(0x2000).unwrap();
    host.cpu.set_home(asce);
    host.cpu.set_translation(true);
    assert_eq!(host.load(0x9_9000, 8).unwrap(), b"absolute");
    assert_eq!(host.cpu.translate(VirtualAddress(0x9_9123)), Ok(AbsoluteAddress(0x2123)));
    let interruption = host.load(0x9_a000, 1).unwrap_err();
    assert_eq!((interruption.code, interruption.teid.address()), (ProgramCode::SegmentTranslation, 0x9_a000));
}
