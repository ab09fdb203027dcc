//! The known answers V1–V5 and what must hold around them, through the public seam.

use sha2::{Digest, Sha256};

use super::*;

/// One line of the table of known answers.
struct Vector {
    page: [u8; PAGE_BYTES],
    index: SealIndex,
    counter: Counter,
    nonce: &'static str,
    digest: &'static str,
    tag: &'static str,
    ciphertext: &'static str,
    ciphertext_start: &'static str,
}

const PROFILES: [CipherProfile; 2] = [CipherProfile::Gcm, CipherProfile::Xts];

/// Two implementations agree on these values: one in Python and an older generation of RustCrypto.
fn vectors() -> [Vector; 5] {
    [
        Vector {
            page: p1(),
            index: index(0x12345),
            counter: counter(1),
            nonce: "000001234500000000000001",
            digest: "714d86fcb5869c4efec5a18314990aa9f12ba1a58a1a48d48de386616615033b",
            tag: "4063a95495ac68fe7888631c18f0d577",
            ciphertext: "797b9f1de8f23aef02e8f5e6de9ad07cf3ee2adcaec1d1cca457a348c42b59b8",
            ciphertext_start: "ff064cc551cdaa90",
        },
        Vector {
            page: p2(),
            index: index(0x12345),
            counter: counter(2),
            nonce: "000001234500000000000002",
            digest: "c7d7658362bc2013dd497a77edf8d8810e545fa8363d88b0dd1ab56fc6e7bf98",
            tag: "684f337df7bd39dcf7c1cfa1aaee95b1",
            ciphertext: "ed5ecb02d4cd087ef83a694078f6091eb2a12afaa7b7b8fe464c82f98aa98bc3",
            ciphertext_start: "1ca5efd437c3ce13",
        },
        Vector {
            page: p1(),
            index: index(0x12345),
            counter: counter(3),
            nonce: "000001234500000000000003",
            digest: "714d86fcb5869c4efec5a18314990aa9f12ba1a58a1a48d48de386616615033b",
            tag: "3332e72dc6a72b1bc5d54e187ac99397",
            ciphertext: "02da2d49ca41ea79a02e21b6a9128d6d200b46726f0b762caa60a28ee15a7b5c",
            ciphertext_start: "01c903cc13ed421d",
        },
        Vector {
            page: [0; PAGE_BYTES],
            index: index(0),
            counter: counter(1),
            nonce: "000000000000000000000001",
            digest: "cdba1405eb3055521a0e4e4e11a3cbaf5d2d03980d3dbb175de89ceb58eba9c0",
            tag: "11f010f053d769010c8100d7c25b9323",
            ciphertext: "d53b9f3b749be74c0043100076fd22edf5326f4daf5712e30feb0d2daf1ccf3b",
            ciphertext_start: "eed7be4364c57cc8",
        },
        Vector {
            page: [0; PAGE_BYTES],
            index: SealIndex::PACKING_EDGE,
            counter: Counter::MAX,
            nonce: "ffffffffffffffffffffffff",
            digest: "3397955137951108453837ab10bd3d3ff0037c5f47d13b6e5974aebb86191704",
            tag: "f50cdf0f019a67a0142934a93b586abd",
            ciphertext: "d48cdf7160ce9511c057e10dc5318f5f2843af23ed5ff54ea839cdd0393f2490",
            ciphertext_start: "b790bee39127d534",
        },
    ]
}

#[test]
fn v1_to_v5() {
    let cipher = cipher(CipherProfile::Gcm);
    for (number, vector) in (1..).zip(vectors()) {
        let mut page = vector.page;
        assert_eq!(hex(&position::nonce(vector.index, vector.counter)), vector.nonce, "V{number}");
        assert_eq!(hex(&cipher.digest(vector.index, &page)), vector.digest, "V{number}");
        let tag = cipher.seal(vector.index, vector.counter, &mut page);
        assert_eq!(hex(&tag.to_bytes()), vector.tag, "V{number}");
        assert_eq!(hex(&Sha256::digest(page)), vector.ciphertext, "V{number}");
        assert_eq!(hex(&page[..8]), vector.ciphertext_start, "V{number}");
        assert_eq!(cipher.open(vector.index, vector.counter, &mut page, &tag), Ok(()), "V{number}");
        assert!(page == vector.page, "V{number}");
    }
}

#[test]
fn associated_data_of_v1() {
    assert_eq!(
        hex(&gcm::associated_data(&UID, index(0x12345), counter(1))),
        "5556504745585031a0a1a2a3a4a5a6a7a8a9aaabacadaeaf0000000000012345\
         00000000000000010000100000000000"
    );
}

/// Computed apart from these libraries: POLYVAL of RFC 8452 in a few lines of Python.
#[test]
fn change_hash_under_gcm() {
    let cipher = cipher(CipherProfile::Gcm);
    let hash = |page: &[u8; PAGE_BYTES]| hex(&cipher.change_hash(index(0x12345), page).to_bytes());
    assert_eq!(hash(&p1()), "99325cb8277f7a12fff0f57c949259f5");
    assert_eq!(hash(&p2()), "4761361b592d65051560ad2b0d93817a");
    assert_eq!(hash(&[0; PAGE_BYTES]), "00".repeat(16));
}

/// Computed apart from these libraries: AES-256-XTS (IEEE 1619) in a few lines of Python.
#[test]
fn v1_under_xts() {
    let cipher = cipher(CipherProfile::Xts);
    let mut page = p1();
    let digest = "714d86fcb5869c4efec5a18314990aa9f12ba1a58a1a48d48de386616615033b";
    assert_eq!(hex(&cipher.digest(index(0x12345), &page)), digest);
    let hash = cipher.change_hash(index(0x12345), &page);
    let tag = cipher.seal(index(0x12345), counter(1), &mut page);
    let row = Integrity { hash, tag }.to_words();
    assert_eq!(row.map(|word| format!("{word:016x}")).concat(), digest);
    assert_eq!(hex(&page[..8]), "440242924c53e2f5");
    assert_eq!(hex(&Sha256::digest(page)), "e56f1d0a4627b3af16399dff442677c112ae82ca9e491f28aee2a3014457ffb8");
    assert_eq!(cipher.open(index(0x12345), counter(1), &mut page, &tag), Ok(()));
    assert!(page == p1());
}

/// Export, import, export unchanged, change, export, change back, export: the counter moves with the
/// content, and only the newest ciphertext opens (I-15, I-22, I-23).
#[test]
fn a_page_that_changes_and_changes_back() {
    for profile in PROFILES {
        let (cipher, at) = (cipher(profile), index(0x12345));
        let (mut first, mut again, mut changed, mut back) = (p1(), p1(), p2(), p1());

        let first_hash = cipher.change_hash(at, &first);
        let first_tag = cipher.seal(at, counter(1), &mut first);
        assert!(cipher.change_hash(at, &again).ct_eq(&first_hash));
        assert!(cipher.seal(at, counter(1), &mut again).ct_eq(&first_tag));
        assert!(again == first, "unchanged content, same counter, same bytes");

        let changed_hash = cipher.change_hash(at, &changed);
        assert!(!changed_hash.ct_eq(&first_hash));
        let changed_tag = cipher.seal(at, counter(2), &mut changed);
        assert!(!cipher.change_hash(at, &back).ct_eq(&changed_hash));
        let back_tag = cipher.seal(at, counter(3), &mut back);
        assert!(changed != first && back != first, "{profile:?}");

        assert_refused(&cipher, at, counter(2), &first, &changed_tag);
        assert_refused(&cipher, at, counter(3), &changed, &back_tag);
        assert_eq!(cipher.open(at, counter(3), &mut back, &back_tag), Ok(()));
        assert!(back == p1());
    }
}

#[test]
fn every_flipped_block_is_refused_and_the_page_untouched() {
    for profile in PROFILES {
        let (cipher, mut sealed) = (cipher(profile), p1());
        let tag = cipher.seal(index(5), counter(9), &mut sealed);
        for offset in (0..PAGE_BYTES).step_by(16) {
            let mut forged = sealed;
            forged[offset + offset / 16 % 16] ^= 1 << (offset / 16 % 8);
            assert_refused(&cipher, index(5), counter(9), &forged, &tag);
        }
        for bit in 0..128 {
            let mut forged = tag.to_bytes();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_refused(&cipher, index(5), counter(9), &sealed, &Tag::from_bytes(forged));
        }
        assert_eq!(cipher.open(index(5), counter(9), &mut sealed, &tag), Ok(()), "afterwards the right bytes do");
        assert!(sealed == p1());
    }
}

#[test]
fn a_page_opens_at_its_place_in_its_configuration_only() {
    for profile in PROFILES {
        let (cipher, mut sealed) = (cipher(profile), p1());
        let tag = cipher.seal(index(0x12345), counter(2), &mut sealed);
        for (other_index, other_counter) in [(0x12346, 2), (0x12344, 2), (0x12345, 1), (0x12345, 3), (0x2345, 2)] {
            assert_refused(&cipher, index(other_index), counter(other_counter), &sealed, &tag);
        }
        let mut uid = UID;
        uid[15] ^= 1;
        let sibling = PageCipher::derive(profile, &SEED, &uid);
        assert_refused(&sibling, index(0x12345), counter(2), &sealed, &tag);
        let mut seed = SEED;
        seed[0] ^= 1;
        let stranger = PageCipher::derive(profile, &seed, &UID);
        assert_refused(&stranger, index(0x12345), counter(2), &sealed, &tag);
    }
}

/// Keys come from seed and uid, so the refusals above would hold without the uid in the associated
/// data; the vectors fix that it is there.
#[test]
fn two_instances_seal_the_same_page_differently() {
    for profile in PROFILES {
        let (mut one, mut other) = (p1(), p1());
        let tag = cipher(profile).seal(index(1), counter(1), &mut one);
        let other_tag = PageCipher::derive(profile, &SEED, &[7; 16]).seal(index(1), counter(1), &mut other);
        assert!(one != other && !tag.ct_eq(&other_tag), "{profile:?} (I-12)");
    }
}

#[test]
fn equal_content_shows_neither_between_pages_nor_within_one() {
    for profile in PROFILES {
        let cipher = cipher(profile);
        let mut blocks = std::collections::BTreeSet::new();
        for (at, count) in [(0, 1), (1, 1), (0, 2), (1, 2)] {
            let mut page = [0; PAGE_BYTES];
            let _ = cipher.seal(index(at), counter(count), &mut page);
            for block in page.as_chunks::<16>().0 {
                assert!(blocks.insert(*block), "{profile:?}: page {at:#x}, counter {count}");
            }
        }
    }
}

#[test]
fn the_change_hash_sees_every_block_and_its_place() {
    for profile in PROFILES {
        let cipher = cipher(profile);
        let hash = cipher.change_hash(index(3), &p1());
        assert!(hash.ct_eq(&cipher.change_hash(index(3), &p1())));
        for offset in (0..PAGE_BYTES).step_by(16) {
            let mut changed = p1();
            changed[offset] ^= 0x10;
            assert!(!hash.ct_eq(&cipher.change_hash(index(3), &changed)), "{profile:?}: byte {offset}");
        }
        let mut swapped = p1();
        let (left, right) = swapped.split_at_mut(2048 + 16);
        left[..16].swap_with_slice(&mut right[..16]);
        assert!(swapped != p1() && !hash.ct_eq(&cipher.change_hash(index(3), &swapped)), "{profile:?}: swapped");
        let other = PageCipher::derive(profile, &SEED, &[7; 16]);
        assert!(!hash.ct_eq(&other.change_hash(index(3), &p1())), "{profile:?}: other key");
    }
}

#[test]
#[should_panic(expected = "nonce reuse: page 0x12345 under counter 1")]
fn the_ledger_stops_a_second_plaintext_under_one_nonce() {
    let cipher = cipher(CipherProfile::Gcm);
    let _ = cipher.seal(index(0x12345), counter(1), &mut p1());
    let _ = cipher.seal(index(0x12345), counter(1), &mut p2());
}

#[test]
fn the_ledger_lets_the_same_plaintext_and_other_nonces_pass() {
    for profile in PROFILES {
        let cipher = cipher(profile);
        let _ = cipher.seal(index(0x12345), counter(1), &mut p1());
        let _ = cipher.seal(index(0x12345), counter(1), &mut p1());
        let _ = cipher.seal(index(0x12345), counter(2), &mut p2());
        let _ = cipher.seal(index(0x12346), counter(1), &mut p2());
        let other = PageCipher::derive(profile, &SEED, &[7; 16]);
        let _ = other.seal(index(0x12345), counter(1), &mut p2());
    }
}

#[test]
fn debug_shows_the_profile_and_nothing_else() {
    assert_eq!(format!("{:?}", cipher(CipherProfile::Gcm)), "PageCipher { profile: Gcm, .. }");
    assert_eq!(format!("{:?}", cipher(CipherProfile::Xts)), "PageCipher { profile: Xts, .. }");
}

#[test]
fn one_cipher_serves_many_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<PageCipher>();
}

const SEED: [u8; 32] = counting_from(0);
const UID: [u8; 16] = counting_from(0xa0);

const fn counting_from<const N: usize>(first: u8) -> [u8; N] {
    let mut bytes = [0; N];
    let mut at = 0;
    while at < N {
        bytes[at] = first + at as u8;
        at += 1;
    }
    bytes
}

fn cipher(profile: CipherProfile) -> PageCipher {
    PageCipher::derive(profile, &SEED, &UID)
}

fn index(value: u64) -> SealIndex {
    SealIndex::new(value).unwrap()
}

fn counter(value: u64) -> Counter {
    Counter::new(value).unwrap()
}

fn p1() -> [u8; PAGE_BYTES] {
    std::array::from_fn(|byte| (7 * byte + 3) as u8)
}

fn p2() -> [u8; PAGE_BYTES] {
    let mut page = p1();
    page[100] ^= 0x80;
    page
}

/// The page must not open, and must be what it was.
fn assert_refused(cipher: &PageCipher, index: SealIndex, counter: Counter, sealed: &[u8; PAGE_BYTES], tag: &Tag) {
    let mut page = *sealed;
    assert_eq!(cipher.open(index, counter, &mut page, tag), Err(IntegrityError { index, counter }));
    assert!(page == *sealed, "a refused page was changed (I-16)");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
