//! Damage, replay and relocation of exported pages (I-15, I-16), their counters (D42), and what equal
//! ciphertext gives away (I-12, I-22, I-23).

use super::*;

#[test]
fn every_flipped_bit_is_refused() {
    for config in profiles() {
        let machine = crate::support::machine(config);
        let mut attacker = Attacker::on(&machine);
        let guest = attacker.host.start(1);
        let (frame, genuine) = attacker.exported(&guest, P, &text(1));
        let everywhere = (0..256).map(|block| block * 128 + block % 128);
        let one_block = (0..128).map(|bit| 77 * 128 + bit);
        for bit in everywhere.chain(one_block) {
            let mut forged = genuine.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            attacker.forgery(&guest, P, frame, &forged);
        }
        attacker.host.store(frame.address().0, &genuine);
        assert_eq!(attacker.host.import(&guest, P), DONE);
        assert_eq!(attacker.host.guest_load(&guest, P.0 * 4096, 4096).unwrap(), text(1));
        machine.check_invariants().unwrap();
    }
}

#[test]
fn truncated_pages_are_refused() {
    for config in profiles() {
        let machine = crate::support::machine(config);
        let mut attacker = Attacker::on(&machine);
        let guest = attacker.host.start(1);
        let (frame, genuine) = attacker.exported(&guest, P, &text(1));
        for len in [0, 1, 16, 2048, 4080, 4095] {
            let mut forged = genuine.clone();
            forged[len..].fill(0);
            assert_ne!(forged, genuine, "the tail happens to be zero");
            attacker.forgery(&guest, P, frame, &forged);
        }
    }
}

#[test]
fn an_older_export_is_refused() {
    for config in profiles() {
        let machine = crate::support::machine(config);
        let mut attacker = Attacker::on(&machine);
        let guest = attacker.host.start(1);
        let (frame, first) = attacker.exported(&guest, P, &text(1));
        let second = attacker.rewrite(&guest, P, frame, &text(2));
        let third = attacker.rewrite(&guest, P, frame, &text(3));
        for old in [&first, &second] {
            attacker.forgery(&guest, P, frame, old);
        }
        attacker.host.store(frame.address().0, &third);
        assert_eq!(attacker.host.import(&guest, P), DONE);
        assert_eq!(attacker.host.guest_load(&guest, P.0 * 4096, 4096).unwrap(), text(3));
    }
}

#[test]
fn a_page_does_not_import_at_the_place_of_another() {
    for config in profiles() {
        let machine = crate::support::machine(config);
        let mut attacker = Attacker::on(&machine);
        let guest = attacker.host.start(1);
        let (here, p) = attacker.exported(&guest, P, &text(1));
        let (there, q) = attacker.exported(&guest, Q, &text(1));
        assert_ne!(p, q, "equal content at two pages");
        attacker.forgery(&guest, P, here, &q);
        attacker.forgery(&guest, Q, there, &p);
        // The same with the tables exchanged instead of the bytes.
        attacker.host.store(here.address().0, &p);
        attacker.host.store(there.address().0, &q);
        attacker.host.map(&guest, P, there);
        attacker.host.map(&guest, Q, here);
        attacker.import_refused(&guest, P, 0x106, "T26");
        attacker.import_refused(&guest, Q, 0x106, "T26");
    }
}

#[test]
fn a_page_of_another_guest_is_refused_or_read_as_zeros() {
    for config in profiles() {
        let machine = crate::support::machine(config);
        let mut attacker = Attacker::on(&machine);
        let (one, two) = (attacker.host.start(1), attacker.host.start(1));
        let (_, foreign) = attacker.exported(&one, P, &text(1));
        let (frame, own) = attacker.exported(&two, P, &text(1));
        assert_ne!(foreign, own, "I-12");
        attacker.forgery(&two, P, frame, &foreign);
        // Never imported there: the content does not count (T29, I-17).
        let frame = attacker.host.frame();
        attacker.host.store(frame.address().0, &foreign);
        attacker.host.map(&two, Q, frame);
        assert_eq!(attacker.host.import(&two, Q), DONE);
        assert_eq!(attacker.rule(), "T24");
        assert_eq!(attacker.host.guest_load(&two, Q.0 * 4096, 4096).unwrap(), [0; 4096]);
    }
}

#[test]
fn ciphertext_may_move_to_another_frame() {
    let machine = machine();
    let mut attacker = Attacker::on(&machine);
    let guest = attacker.host.start(1);
    let (_, genuine) = attacker.exported(&guest, P, &text(1));
    let frame = attacker.host.frame();
    attacker.host.store(frame.address().0, &genuine);
    attacker.host.map(&guest, P, frame);
    assert_eq!(attacker.host.import(&guest, P), DONE);
    assert_eq!(attacker.rule(), "T25");
    assert_eq!(attacker.host.guest_load(&guest, P.0 * 4096, 4096).unwrap(), text(1));
}

#[test]
fn a_pinned_page_exports_plain_and_loses_its_pin() {
    let machine = machine();
    let mut attacker = Attacker::on(&machine);
    let guest = attacker.host.start(1);
    let frame = attacker.host.resident(&guest, P);
    let secret = attacker.host.resident(&guest, Q);
    attacker.host.guest_store(&guest, Q.0 * 4096, &text(2)).unwrap();
    attacker.host.guest_store(&guest, P.0 * 4096, &text(1)).unwrap();
    assert_eq!(attacker.host.share(&guest, P).unwrap(), DONE);
    assert_eq!(attacker.host.pin(frame), DONE);
    let shared = attacker.host.page_bytes(frame).unwrap();
    assert_eq!(attacker.host.export(frame), DONE);
    assert_eq!(attacker.rule(), "T46");
    assert_eq!(attacker.host.page_bytes(frame).unwrap(), shared, "nothing that was not shared already");
    assert_eq!(attacker.view(&guest, P), PageView { record: PageRecord::Shared(None), counter: 0 });
    assert_eq!(attacker.host.page_bytes(secret).unwrap_err().code, ProgramCode::SecureStorageAccess, "I-13");
    assert_eq!(attacker.host.unpin(&guest, P), DONE);
    assert_eq!(attacker.rule(), "T67", "the pin is gone");
    assert_eq!(exit_code(attacker.host.unshare(&guest, P)), ProgramCode::NonSecureStorageAccess, "D31");
    assert_eq!(attacker.host.import(&guest, P), DONE);
    assert_eq!(attacker.rule(), "T37");
    assert_eq!(attacker.host.unshare(&guest, P).unwrap(), DONE);
    assert_eq!(attacker.host.guest_load(&guest, P.0 * 4096, 4096).unwrap(), text(1), "T62");
}

#[test]
fn at_its_last_counter_a_changed_page_stays_resident() {
    for cipher in [CipherProfile::Gcm, CipherProfile::Xts] {
        for change_detection in [ChangeDetection::Digest, ChangeDetection::Always] {
            let machine = crate::support::machine(MachineConfig { cipher, change_detection, ..config() });
            let mut attacker = Attacker::on(&machine);
            let guest = attacker.host.start(1);
            let frame = attacker.host.resident(&guest, P);
            attacker.host.guest_store(&guest, P.0 * 4096, &text(1)).unwrap();
            assert!(machine.preset_counter(guest.handle, P, Counter::MAX));
            let export = [(0x18, 8, frame.address().0)];
            if change_detection == ChangeDetection::Digest {
                assert_eq!(attacker.host.export(frame), DONE, "unchanged");
                assert_eq!(attacker.host.import(&guest, P), DONE);
                assert_eq!(attacker.host.export(frame), DONE, "untouched");
                assert_eq!(attacker.host.import(&guest, P), DONE);
                attacker.host.guest_store(&guest, P.0 * 4096, &text(2)).unwrap();
            }
            attacker.refused(Command::ConvFromSecStor, &export, 0x105, "D42");
            let view = PageView { record: PageRecord::Resident(frame), counter: Counter::MAX.value() };
            assert_eq!(attacker.view(&guest, P), view);
            let expected = if change_detection == ChangeDetection::Digest { text(2) } else { text(1) };
            assert_eq!(attacker.host.guest_load(&guest, P.0 * 4096, 4096).unwrap(), expected);
            // The last step up is still there, and ends at the maximum.
            let frame = attacker.host.resident(&guest, Q);
            let last = Counter::new(Counter::MAX.value() - 1).unwrap();
            assert!(machine.preset_counter(guest.handle, Q, last));
            attacker.host.guest_store(&guest, Q.0 * 4096, &text(3)).unwrap();
            assert_eq!(attacker.host.export(frame), DONE);
            assert_eq!(attacker.view(&guest, Q).counter, Counter::MAX.value());
            assert_eq!(attacker.host.import(&guest, Q), DONE);
            assert_eq!(attacker.host.guest_load(&guest, Q.0 * 4096, 4096).unwrap(), text(3));
        }
    }
}

#[test]
fn equal_content_looks_different_everywhere_but_when_unchanged() {
    for config in profiles() {
        let machine = crate::support::machine(config);
        let mut attacker = Attacker::on(&machine);
        let (one, two) = (attacker.host.start(1), attacker.host.start(1));
        let uniform = vec![0x5a; 4096];
        let (frame, first) = attacker.exported(&one, P, &uniform);
        let (_, elsewhere) = attacker.exported(&one, Q, &uniform);
        let (_, foreign) = attacker.exported(&two, P, &uniform);
        assert!(first != elsewhere && first != foreign && elsewhere != foreign);
        let mut blocks: Vec<&[u8]> = [&first, &elsewhere, &foreign].iter().flat_map(|page| page.chunks(16)).collect();
        let total = blocks.len();
        blocks.sort_unstable();
        blocks.dedup();
        assert_eq!(blocks.len(), total, "equal blocks");

        let integrity = machine.page_integrity(one.handle, P).unwrap();
        assert_eq!(attacker.host.import(&one, P), DONE);
        assert_eq!(attacker.host.export(frame), DONE);
        assert_eq!(attacker.host.page_bytes(frame).unwrap(), first, "unchanged (I-23)");
        assert_eq!(machine.page_integrity(one.handle, P).unwrap(), integrity);
        assert_eq!(attacker.view(&one, P).counter, 1);

        // A → B → A: the return of A does not show (I-22).
        let other = attacker.rewrite(&one, P, frame, &text(1));
        let back = attacker.rewrite(&one, P, frame, &uniform);
        assert!(first != other && other != back && first != back);
        assert_eq!(attacker.view(&one, P).counter, 3);
    }
}
