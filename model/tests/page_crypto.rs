//! Page cryptography through the machine: the known-answer scenario, and when a counter may stay.

mod support;

use sha2::{Digest, Sha256};
use support::image::Plan;
use support::{DONE, Guest, Host, config};
use uvsim_model::Machine;
use uvsim_model::PageRecord;
use uvsim_model::address::{AbsoluteAddress, FrameNumber, GuestAddress, PageIndex, VirtualAddress};
use uvsim_model::config::{ChangeDetection, CipherProfile, MachineConfig};
use uvsim_model::cpu::Uvc;
use uvsim_model::crypto::{Counter, Integrity, PageCipher, SealIndex};
use uvsim_model::uvc::{Command, ConditionCode};

const P: PageIndex = PageIndex(5);

fn seed() -> [u8; 32] {
    std::array::from_fn(|byte| byte as u8)
}

fn uid() -> [u8; 16] {
    std::array::from_fn(|byte| 0xa0 + byte as u8)
}

/// A machine whose configurations all have the keys of the vectors.
fn vectors(cipher: CipherProfile, change_detection: ChangeDetection) -> Machine {
    let fixed_page_keys = Some((seed(), uid()));
    Machine::new(MachineConfig { cipher, change_detection, fixed_page_keys, ..config() }).unwrap()
}

/// P1 of the vectors: byte k is 7k + 3.
fn p1() -> [u8; 4096] {
    std::array::from_fn(|byte| (7 * byte + 3) as u8)
}

/// P2: P1 with one bit of byte 100 flipped.
fn p2() -> [u8; 4096] {
    let mut page = p1();
    page[100] ^= 0x80;
    page
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn write(host: &mut Host<'_>, guest: &Guest, page: PageIndex, bytes: &[u8]) {
    host.guest_store(guest, page.0 * 4096, bytes).unwrap();
}

fn read(host: &mut Host<'_>, guest: &Guest, page: PageIndex) -> Vec<u8> {
    host.guest_load(guest, page.0 * 4096, 4096).unwrap()
}

/// Exports a page and returns its ciphertext; the counter must be this one afterwards.
fn export(host: &mut Host<'_>, guest: &Guest, page: PageIndex, frame: FrameNumber, counter: u64) -> Vec<u8> {
    assert_eq!(host.export(frame), DONE);
    let view = host.machine().page(guest.handle, page).unwrap();
    assert_eq!((view.record, view.counter), (PageRecord::Exported, counter));
    host.page_bytes(frame).unwrap()
}

/// Tag of a page in hexadecimal.
fn tag(machine: &Machine, guest: &Guest, page: PageIndex) -> String {
    hex(&Integrity::from_words(machine.page_integrity(guest.handle, page).unwrap()).tag.to_bytes())
}

#[test]
fn the_known_answers_appear_in_the_frames() {
    const AT: PageIndex = PageIndex(0x12345);
    let machine = vectors(CipherProfile::Gcm, ChangeDetection::Digest);
    let mut host = Host::ready(&machine);
    let guest = host.start(292);
    assert_eq!(machine.unique_id(guest.handle), Some(uid()));
    let frame = host.resident(&guest, AT);
    let check = |machine: &Machine, cipher: &[u8], page, tag_wanted: &str, hash: &str| {
        assert_eq!(tag(machine, &guest, page), tag_wanted);
        assert_eq!(hex(&Sha256::digest(cipher)), hash);
    };

    write(&mut host, &guest, AT, &p1());
    let v1 = export(&mut host, &guest, AT, frame, 1);
    assert_eq!(hex(&v1[..8]), "ff064cc551cdaa90");
    let v1_tag = "4063a95495ac68fe7888631c18f0d577";
    let v1_hash = "797b9f1de8f23aef02e8f5e6de9ad07cf3ee2adcaec1d1cca457a348c42b59b8";
    check(&machine, &v1, AT, v1_tag, v1_hash);
    assert_eq!(host.import(&guest, AT), DONE);
    assert_eq!(export(&mut host, &guest, AT, frame, 1), v1, "unchanged");
    check(&machine, &v1, AT, v1_tag, v1_hash);

    assert_eq!(host.import(&guest, AT), DONE);
    write(&mut host, &guest, AT, &p2());
    let v2 = export(&mut host, &guest, AT, frame, 2);
    check(
        &machine,
        &v2,
        AT,
        "684f337df7bd39dcf7c1cfa1aaee95b1",
        "ed5ecb02d4cd087ef83a694078f6091eb2a12afaa7b7b8fe464c82f98aa98bc3",
    );

    // V1 is old now, and it belongs to this page only.
    host.store(frame.address().0, &v1);
    assert_eq!(host.import(&guest, AT), support::refused(0x106));
    let next = PageIndex(AT.0 + 1);
    let neighbour = host.resident(&guest, next);
    write(&mut host, &guest, next, &p1());
    export(&mut host, &guest, next, neighbour, 1);
    host.store(neighbour.address().0, &v1);
    assert_eq!(host.import(&guest, next), support::refused(0x106));

    host.store(frame.address().0, &v2);
    assert_eq!(host.import(&guest, AT), DONE);
    write(&mut host, &guest, AT, &p1());
    let v3 = export(&mut host, &guest, AT, frame, 3);
    check(
        &machine,
        &v3,
        AT,
        "3332e72dc6a72b1bc5d54e187ac99397",
        "02da2d49ca41ea79a02e21b6a9128d6d200b46726f0b762caa60a28ee15a7b5c",
    );

    // V4: the first page of the guest, never written.
    let zero = PageIndex(0);
    let frame = machine.page(guest.handle, zero).unwrap().record.frame().unwrap();
    let v4 = export(&mut host, &guest, zero, frame, 1);
    check(
        &machine,
        &v4,
        zero,
        "11f010f053d769010c8100d7c25b9323",
        "d53b9f3b749be74c0043100076fd22edf5326f4daf5712e30feb0d2daf1ccf3b",
    );
    machine.check_invariants().unwrap();
}

#[test]
fn both_ciphers_and_both_detections_agree_with_the_pure_function() {
    for profile in [CipherProfile::Gcm, CipherProfile::Xts] {
        for detection in [ChangeDetection::Digest, ChangeDetection::Always] {
            let machine = vectors(profile, detection);
            let cipher = PageCipher::derive(profile, &seed(), &uid());
            let index = SealIndex::try_from(P).unwrap();
            let mut host = Host::ready(&machine);
            let guest = host.start(1);
            let frame = host.resident(&guest, P);
            let always = detection == ChangeDetection::Always;
            // What is written before each export, and the counter that it gets when detection is on.
            let steps: [(Option<[u8; 4096]>, u64); 6] =
                [(Some(p1()), 1), (None, 1), (Some(p1()), 1), (Some(p2()), 2), (None, 2), (Some(p1()), 3)];
            let mut now = [0; 4096];
            for (step, (written, counter)) in (1..).zip(steps) {
                if let Some(bytes) = written {
                    write(&mut host, &guest, P, &bytes);
                    now = bytes;
                }
                let counter = if always { step } else { counter };
                let seen = export(&mut host, &guest, P, frame, counter);
                let mut wanted = now;
                let sealed = cipher.seal(index, Counter::new(counter).unwrap(), &mut wanted);
                assert_eq!(seen, wanted, "{profile:?} {detection:?} step {step}");
                assert_eq!(tag(&machine, &guest, P), hex(&sealed.to_bytes()));
                assert_eq!(host.import(&guest, P), DONE);
                assert_eq!(read(&mut host, &guest, P), now);
            }
        }
    }
}

// When a counter may stay: D39, D40.

/// A guest with a page that has been exported once with content P1 and is resident by a verified import.
fn verified(host: &mut Host<'_>) -> (Guest, FrameNumber, Vec<u8>) {
    let guest = host.start(1);
    let frame = host.resident(&guest, P);
    write(host, &guest, P, &p1());
    let cipher = export(host, &guest, P, frame, 1);
    assert_eq!(host.import(&guest, P), DONE);
    (guest, frame, cipher)
}

fn both(test: impl Fn(&mut Host<'_>)) {
    for cipher in [CipherProfile::Gcm, CipherProfile::Xts] {
        let machine = Machine::new(MachineConfig { cipher, ..config() }).unwrap();
        let mut host = Host::ready(&machine);
        test(&mut host);
        machine.check_invariants().unwrap();
    }
}

#[test]
fn an_untouched_page_keeps_counter_and_ciphertext() {
    both(|host| {
        let (guest, frame, cipher) = verified(host);
        assert_eq!(export(host, &guest, P, frame, 1), cipher);
        assert_eq!(host.import(&guest, P), DONE);
        assert_eq!(read(host, &guest, P), p1(), "a load is no store");
        assert_eq!(export(host, &guest, P, frame, 1), cipher);
        // In another frame, whose own history is one of stores.
        let elsewhere = host.frame();
        host.store(elsewhere.address().0, &cipher);
        host.map(&guest, P, elsewhere);
        assert_eq!(host.import(&guest, P), DONE);
        assert_eq!(export(host, &guest, P, elsewhere, 1), cipher);
    });
}

#[test]
fn a_store_of_equal_bytes_keeps_counter_and_ciphertext() {
    both(|host| {
        let (guest, frame, cipher) = verified(host);
        write(host, &guest, P, &p1());
        assert_eq!(export(host, &guest, P, frame, 1), cipher);
        assert_eq!(host.import(&guest, P), DONE);
        write(host, &guest, P, &p2());
        write(host, &guest, P, &p1());
        assert_eq!(export(host, &guest, P, frame, 1), cipher, "there and back without an export between");
    });
}

#[test]
fn one_bit_is_a_change_wherever_it_is() {
    both(|host| {
        let (guest, frame, _) = verified(host);
        let mut counter = 1;
        for at in [0usize, 15, 16, 2047, 4088, 4095] {
            let byte = read(host, &guest, P)[at];
            host.guest_store(&guest, P.0 * 4096 + at as u64, &[byte ^ 1]).unwrap();
            counter += 1;
            export(host, &guest, P, frame, counter);
            assert_eq!(host.import(&guest, P), DONE);
            assert_eq!(read(host, &guest, P)[at], byte ^ 1);
        }
    });
}

/// The page holds other bytes than at its last export, which got there without a store of the guest. A
/// page that counted as untouched would now put them under the old nonce.
fn must_count_up(host: &mut Host<'_>, guest: &Guest, frame: FrameNumber, old: &[u8], content: &[u8]) {
    assert_eq!(read(host, guest, P), content);
    let new = export(host, guest, P, frame, 2);
    assert_ne!(new, old);
    // Under one nonce the difference of the ciphertexts would be that of the contents.
    let difference = |a: &[u8], b: &[u8]| -> Vec<u8> { a.iter().zip(b).map(|(a, b)| a ^ b).collect() };
    assert_ne!(difference(&new, old), difference(content, &p1()));
    host.map(guest, P, frame);
    assert_eq!(host.import(guest, P), DONE);
    assert_eq!(read(host, guest, P), content);
}

#[test]
fn what_the_host_wrote_while_shared_counts_t59() {
    both(|host| {
        let (guest, frame, cipher) = verified(host);
        assert_eq!(host.share(&guest, P).unwrap(), DONE);
        host.store(frame.address().0, &p2());
        assert_eq!(host.unshare(&guest, P).unwrap(), DONE);
        must_count_up(host, &guest, frame, &cipher, &p2());
    });
}

#[test]
fn what_a_device_wrote_while_pinned_counts_t59() {
    both(|host| {
        let (guest, frame, cipher) = verified(host);
        assert_eq!(host.share(&guest, P).unwrap(), DONE);
        assert_eq!(host.pin(frame), DONE);
        host.machine().channel().write(frame.address(), &p2()).unwrap();
        assert_eq!(host.unpin(&guest, P), DONE);
        assert_eq!(host.unshare(&guest, P).unwrap(), DONE);
        must_count_up(host, &guest, frame, &cipher, &p2());
    });
}

#[test]
fn what_the_host_wrote_before_unshare_all_counts_t70_t71() {
    for pinned in [false, true] {
        both(|host| {
            let (guest, frame, cipher) = verified(host);
            assert_eq!(host.share(&guest, P).unwrap(), DONE);
            host.store(frame.address().0, &p2());
            if pinned {
                assert_eq!(host.pin(frame), DONE);
            }
            assert_eq!(host.set_state(&guest, 2), DONE);
            assert_eq!(host.call(Command::SetUnsharedAll, &[(0x18, 8, guest.handle)]), DONE);
            assert_eq!(host.set_state(&guest, 1), DONE);
            must_count_up(host, &guest, frame, &cipher, &p2());
        });
    }
}

#[test]
fn what_the_host_supplied_for_a_shared_page_counts_t37() {
    both(|host| {
        let (guest, frame, cipher) = verified(host);
        assert_eq!(host.share(&guest, P).unwrap(), DONE);
        assert_eq!(host.export(frame), DONE);
        let elsewhere = host.frame();
        host.store(elsewhere.address().0, &p2());
        host.map(&guest, P, elsewhere);
        assert_eq!(host.import(&guest, P), DONE);
        assert_eq!(host.unshare(&guest, P).unwrap(), DONE);
        must_count_up(host, &guest, elsewhere, &cipher, &p2());
    });
}

#[test]
fn a_page_that_starts_anew_counts_t24() {
    both(|host| {
        let (guest, frame, cipher) = verified(host);
        assert_eq!(host.share(&guest, P).unwrap(), DONE);
        assert_eq!(host.export(frame), DONE);
        assert_eq!(host.set_state(&guest, 2), DONE);
        assert_eq!(host.call(Command::SetUnsharedAll, &[(0x18, 8, guest.handle)]), DONE);
        assert_eq!(host.set_state(&guest, 1), DONE);
        assert_eq!(host.machine().page(guest.handle, P).unwrap().record, PageRecord::Absent, "T72");
        // An old ciphertext in the frame does not bring the old page back.
        host.store(frame.address().0, &cipher);
        assert_eq!(host.import(&guest, P), DONE);
        must_count_up(host, &guest, frame, &cipher, &[0; 4096]);
    });
}

#[test]
fn shared_and_taken_back_without_a_write_stays_the_same() {
    both(|host| {
        let (guest, frame, cipher) = verified(host);
        assert_eq!(host.share(&guest, P).unwrap(), DONE);
        assert_eq!(host.unshare(&guest, P).unwrap(), DONE);
        // Not clean, so hashed, and found equal.
        assert_eq!(export(host, &guest, P, frame, 1), cipher);
    });
}

#[test]
fn an_unpacked_page_is_not_clean_t73() {
    both(|host| {
        let guest = host.create(1);
        let header = host.allocate(0x1000);
        let flags = support::image::USUAL | uvsim_model::crypto::plain_flag::PLAIN_COMPONENTS;
        let pages = vec![(P.0 * 4096, [0, 0], p2())];
        let bytes = Plan { flags, ..Plan::of(host.machine(), pages) }.make().header;
        host.store(header, &bytes);
        let fields = [(0x18, 8, guest.handle), (0x20, 8, header), (0x28, 4, bytes.len() as u64)];
        assert_eq!(host.call(Command::SetSecConfParams, &fields), DONE);
        let frame = host.frame();
        host.store(frame.address().0, &p2());
        host.map(&guest, P, frame);
        assert_eq!(host.call(Command::UnpackImg, &[(0x18, 8, guest.handle), (0x20, 8, P.0 * 4096)]), DONE);
        assert_eq!(host.call(Command::VerifyImg, &[(0x18, 8, guest.handle)]), DONE);
        let cipher = export(host, &guest, P, frame, 1);
        assert_ne!(cipher, p2());
        assert_eq!(host.import(&guest, P), DONE);
        assert_eq!(export(host, &guest, P, frame, 1), cipher);
    });
}

#[test]
fn what_the_ultravisor_writes_into_a_block_counts() {
    both(|host| {
        let guest = host.start(1);
        let frame = host.resident(&guest, P);
        let mut page = p1();
        page[..0x120].fill(0);
        page[..4].copy_from_slice(&[0x01, 0x20, 0x00, 0x01]);
        write(host, &guest, P, &page);
        let first = export(host, &guest, P, frame, 1);
        assert_eq!(host.import(&guest, P), DONE);
        // The guest executes the call and stores nothing itself.
        let block = Uvc::at(VirtualAddress(P.0 * 4096));
        assert_eq!(host.enter(&guest).unwrap().uvc(block).unwrap(), ConditionCode::Done);
        let second = export(host, &guest, P, frame, 2);
        assert_ne!(second, first);
        assert_eq!(host.import(&guest, P), DONE);
        let mut now = [0; 8];
        host.enter(&guest).unwrap().load(GuestAddress(P.0 * 4096), &mut now).unwrap();
        assert_eq!(now, [0x01, 0x20, 0x00, 0x01, 0, 1, 0, 0]);
    });
}

#[test]
fn counters_outlive_sharing_and_frames() {
    both(|host| {
        let (guest, frame, _) = verified(host);
        for round in 2..6u64 {
            write(host, &guest, P, &[round as u8; 4096]);
            export(host, &guest, P, frame, round);
            assert_eq!(host.import(&guest, P), DONE);
            assert_eq!(host.share(&guest, P).unwrap(), DONE);
            assert_eq!(host.unshare(&guest, P).unwrap(), DONE);
            assert_eq!(host.machine().page(guest.handle, P).unwrap().counter, round, "I-20");
        }
        let mut bytes = [0; 16];
        assert!(host.machine().peek(AbsoluteAddress(frame.address().0), &mut bytes));
        assert_eq!(bytes, [5; 16]);
    });
}
