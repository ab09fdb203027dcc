//! Headers and key slots that the image tools of s390-tools 2.43 have made, where they are at hand: next to
//! the project in `shared/vectors`. Elsewhere these tests say so and do nothing.

use super::super::ec::PrivateKey;
use super::*;
use crate::config::MachineConfig;
use std::path::PathBuf;

const SUPPORTED: u64 = 0x3000_00f2;

/// A file of the vectors. `None`, said on standard error, if there are none.
fn vector(path: &str) -> Option<Vec<u8>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    if !root.is_dir() {
        eprintln!("skipped: no vectors at {}", root.display());
        return None;
    }
    Some(std::fs::read(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}")))
}

fn key(name: &str) -> Option<PrivateKey> {
    let pem = String::from_utf8(vector(&format!("pv/cert/{name}.key"))?).unwrap();
    Some(PrivateKey::from_pem(&pem).unwrap())
}

/// The key of a certificate: the only uncompressed P-521 point in it.
fn key_of_certificate(path: &str) -> Option<PublicKey> {
    use p521::pkcs8::der::pem::decode_vec;
    let (_, der) = decode_vec(&vector(path)?).unwrap();
    let prefix = [0x03, 0x81, 0x86, 0x00, 0x04];
    let at = der.windows(prefix.len()).position(|window| window == prefix).expect("a P-521 key");
    Some(PublicKey::from_sec1(&der[at + 4..at + 4 + 133]).unwrap())
}

fn customer() -> Option<PrivateKey> {
    let padded = vector("pv/keys/private_cust.bin")?;
    assert_eq!(padded[..14], [0; 14]);
    Some(PrivateKey::from_scalar(padded[14..].try_into().unwrap()).unwrap())
}

fn keys(host: &PrivateKey) -> HostKeys {
    HostKeys { host: host.clone(), backup: MachineConfig::default().host_keys().backup }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn hashes_of_host_keys() {
    let expected = [
        ("host", "24933f75ee107c806fe602a7da7b610e54369af96a847f2dcc4fcfdbd81fbc05"),
        ("host2", "491bc0601fe89fd793f1ec8534f1ae63e9c280331c245c453d64afc8b5aa1bcc"),
        ("host_rev", "b6d8976785faf3bb1980c66fcce232c33b54bdc7fe011207f98920433c26fc44"),
        ("fake_host", "fb839200591ee3b33dc53166baa77a4e1c771f33af88a6152e41026696a44b40"),
        ("host_invalid_signing_key", "32c13eda01e85f5f59a6d8144a8641413383f22e4ee926fd0307491a51083409"),
    ];
    for (name, hash) in expected {
        let Some(key) = key(name) else { return };
        assert_eq!(key.hash().to_string(), hash, "{name}");
        let certified = key_of_certificate(&format!("pv/cert/{name}.crt")).unwrap();
        assert_eq!(&certified, key.public(), "{name}");
    }
    let foreign = key_of_certificate("pv/keys/host.pem.crt").unwrap();
    let hash = "415c25a5d19c381e619733e1c1b7fbd88bdd1c31d882d5ade04b97043c5010f0";
    assert_eq!(foreign.hash().to_string(), hash);
}

#[test]
fn the_key_slot_of_the_request_tools_unwraps() {
    let (Some(customer), Some(host)) = (customer(), key_of_certificate("pv/keys/host.pem.crt")) else { return };
    assert_eq!(customer.public().coordinates().to_vec(), vector("pv/keys/public_cust.bin").unwrap());
    assert_eq!(customer.hash().to_string(), "5ee905a9be70366815a45641afae00973b1f45292f43bcd7638ee2a73fd7c45e");
    let kek = "753277558f3b6003419ef249ae3c4b55aad77d09d97fdd1fc88fd8f0cf22f149";
    assert_eq!(hex(customer.agree(&host).as_slice()), kek);
    let bytes = vector("pv/exp/keyslot.bin").unwrap();
    let slot = Slot::ref_from_bytes(&bytes).unwrap();
    assert_eq!(slot.hash(), host.hash());
    // The shared secret is the same from both sides, and this side's private half is the one that is known.
    let protection = slot.unwrap(&customer, &host).expect("the slot is for this pair");
    assert_eq!(*protection.0, [0x17; 32]);
    assert_eq!(Slot::wrap(&customer, &host, &protection), *slot, "wrapping has no freedom");
}

#[test]
fn the_header_of_the_builder_test() {
    let (Some(customer), Some(host)) = (customer(), key_of_certificate("pv/keys/host.pem.crt")) else { return };
    let bytes = vector("pvimg/builder-test.hdr").unwrap();
    let header = SeHeader::parse(&bytes).unwrap();
    let protection = header.protection_key_as_maker(&customer, &host).unwrap();
    assert_eq!(*protection.0, [0x32; 32]);
    assert_eq!((header.iv(), header.pages(), header.flags()), ([0x33; 12], 1, 0));
    assert_eq!(*header.digests(), [[2; 64], [1; 64], [3; 64]]);
    let secrets = header.decrypt(&protection).unwrap();
    assert_eq!((*secrets.communication_key(), *secrets.image_key()), ([0x31; 32], [3; 64]));
    assert_eq!((secrets.psw(), secrets.flags(), secrets.items()), ([5678, 1234], 0, 0));
    // From the same parts comes the same header, byte for byte.
    let plan = HeaderPlan {
        recipients: &[host],
        flags: 0,
        pages: 1,
        digests: *header.digests(),
        secrets: &secrets,
        protection: &protection,
        customer: &customer,
        iv: header.iv(),
    };
    assert_eq!(plan.seal().unwrap(), bytes);
}

#[test]
fn headers_of_the_image_tool_open_on_the_machines_they_are_for() {
    let (Some(host), Some(host2)) = (key("host"), key("host2")) else { return };
    /// Name, keys that open it at least, flags, secret flags, pages, PSW.
    type Case<'a> = (&'a str, &'a [&'a PrivateKey], u64, u64, u64, [u64; 2]);
    let cases: [Case<'_>; 6] = [
        ("img.hdr", &[&host, &host2], 0x2000_00e0, 0, 7, [0x1_8000_0000, 0x1_b000]),
        ("hdr-default.hdr", &[&host2], 0xe0, 0, 7, [0x1_8000_0000, 0x1_b000]),
        ("hdr-pckmo-off.hdr", &[], 0x2, 0, 7, [0x1_8000_0000, 0x1_b000]),
        ("hdr-scf-ext.hdr", &[], 0xe0, 1 << 62, 7, [0x1_8000_0000, 0x1_b000]),
        ("hdr-scf-update.hdr", &[], 0xe0, 1 << 61, 7, [0x1_8000_0000, 0x1_b000]),
        ("snippet/snippet.hdr", &[&host], 0x1000_0000, 0, 5, [0x1_8000_0000, 0x4000]),
    ];
    let cck = vector("generated/set1/inputs/cck.bin").unwrap();
    for (name, openers, flags, secret_flags, pages, psw) in cases {
        let bytes = vector(&format!("generated/set1/{name}")).unwrap();
        let header = SeHeader::parse(&bytes).unwrap();
        assert_eq!(SeHeader::stated_size(&bytes), Some(bytes.len() as u32));
        assert_eq!((header.flags(), header.pages()), (flags, pages), "{name}");
        let mut opened = 0;
        for key in [&host, &host2] {
            let addressed = header.recipients().any(|hash| hash == key.hash());
            if openers.iter().any(|opener| opener.hash() == key.hash()) {
                assert!(addressed, "{name}");
            }
            match header.open(&keys(key), SUPPORTED) {
                Ok((secrets, with)) => {
                    assert!(addressed && with.key == key.hash() && !with.backup, "{name}");
                    assert_eq!((secrets.flags(), secrets.psw()), (secret_flags, psw), "{name}");
                    assert_eq!(secrets.communication_key().to_vec(), cck, "{name}");
                    opened += 1;
                }
                Err(HeaderFault::NoSlot { .. } | HeaderFault::NoBackupSlot { .. }) => assert!(!addressed, "{name}"),
                Err(fault) => panic!("{name}: {fault}"),
            }
        }
        assert_eq!(opened, header.recipients().len(), "{name}");
        let foreign = HostKeys { host: key("fake_host").unwrap(), backup: key("host_rev").unwrap() };
        let refused = header.open(&foreign, SUPPORTED);
        assert!(
            matches!(refused, Err(HeaderFault::NoSlot { .. } | HeaderFault::NoBackupSlot { .. })),
            "{name}: {refused:?}"
        );
    }
    let image = vector("generated/set1/img.hdr").unwrap();
    assert_eq!(hex(&SeHeader::parse(&image).unwrap().tag()), "5c16e64afa8acfa3b4e47e9781e4f7cb");
}

/// The upstream fault injector changes one field each; "sealed" ones have a valid tag.
#[test]
fn headers_of_the_fault_injector_fail_where_they_should() {
    let (Some(host), Some(host2)) = (key("host"), key("host2")) else { return };
    let open = |name: &str, key: &PrivateKey| {
        let bytes = vector(&format!("generated/set1/tampered/{name}.hdr")).unwrap();
        SeHeader::parse(&bytes).and_then(|header| header.open(&keys(key), SUPPORTED).map(|(_, with)| with))
    };
    for name in ["address-list-digest", "page-list-digest", "tweak-list-digest", "num-enc-pages"] {
        assert!(open(name, &host).is_ok(), "{name}");
    }
    let flags = !(3u64 << 61);
    assert_eq!(open("secret-control-flag", &host), Err(HeaderFault::SecretFlags { unknown: flags }));
    assert!(matches!(open("customer-public-key", &host), Err(HeaderFault::CustomerKey(_))));
    assert!(matches!(open("hdr-size", &host), Err(HeaderFault::Size { stated: 0x2d1, length: 0x2d0, slots: 2, .. })));
    assert_eq!(open("num-key-slots", &host), Err(HeaderFault::NoSlots));
    assert_eq!(open("size-enc-area", &host), Err(HeaderFault::EncryptedSize(0)));
    assert_eq!(open("host-key", &host), Err(HeaderFault::NoSlot { host: host.hash() }));
    assert_eq!(open("host-key", &host2), Err(HeaderFault::Tag));
}
