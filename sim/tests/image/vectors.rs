//! Images and headers that the programs of s390-tools have made, where they are at hand.

use crate::support::{self, RC_DIGEST, RC_HEADER, RC_KEY};
use serde_json::Value;
use std::path::PathBuf;
use uvsim::image::verify::{self, Target, Verdict};
use uvsim::image::{Component, Found, ImageInfo, ImagePlan, Recipient, RecipientError, SeImage, SeImageFile};
use uvsim_model::config::Generation;
use uvsim_model::crypto::{HeaderSecrets, PrivateKey, ProtectionKey, SeHeader};

const KERNEL_PAGES: usize = 3;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors")
}

/// The vectors are not part of this repository. Says so where they are not.
fn absent() -> bool {
    let absent = !root().is_dir();
    if absent {
        eprintln!("skipped: there are no vectors of s390-tools at {}", root().display());
    }
    absent
}

fn vector(name: &str) -> Vec<u8> {
    let path = root().join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn set(name: &str) -> Vec<u8> {
    vector(&format!("generated/set1/{name}"))
}

fn host(name: &str) -> PrivateKey {
    let recipient = Recipient::read(&vector(&format!("pv/cert/{name}.key"))).expect("a key");
    recipient.private.expect("a private one")
}

fn target(name: &str) -> Target {
    Target { host_key: host(name), backup_host_key: None, generation: Generation::Z16 }
}

/// The encrypted area of an image for `host`.
fn keys_of(image: &SeImage) -> HeaderSecrets {
    let header = SeHeader::parse(&image.header).unwrap();
    header.decrypt(&header.protection_key(&host("host")).unwrap()).unwrap()
}

/// A component, decrypted.
fn decrypted(image: &SeImage, secrets: &HeaderSecrets, number: usize) -> Vec<u8> {
    let (cipher, component) = (secrets.image_cipher(), &image.components[number]);
    let mut data = component.data.clone();
    for (page, offset) in data.as_chunks_mut().0.iter_mut().zip((0..).step_by(0x1000)) {
        cipher.decrypt(page, [component.prefix, offset]);
    }
    data
}

fn outcome(image: &SeImage, target: &Target) -> (u16, u16) {
    match verify::boot(image, target).expect("a machine") {
        Verdict::Boots(_) => (1, 0),
        Verdict::Refused(refused) => (refused.rc, refused.rrc),
    }
}

#[test]
fn certificates_and_keys_name_the_same_host() {
    if absent() {
        return;
    }
    for (names, hash) in [
        (
            &["host", "host_armonk", "host_crt_expired", "host_uri_na"][..],
            "24933f75ee107c806fe602a7da7b610e54369af96a847f2dcc4fcfdbd81fbc05",
        ),
        (&["host2"], "491bc0601fe89fd793f1ec8534f1ae63e9c280331c245c453d64afc8b5aa1bcc"),
        (&["host_rev"], "b6d8976785faf3bb1980c66fcce232c33b54bdc7fe011207f98920433c26fc44"),
        (&["fake_host"], "fb839200591ee3b33dc53166baa77a4e1c771f33af88a6152e41026696a44b40"),
    ] {
        assert_eq!(host(names[0]).hash().to_string(), hash);
        for name in names {
            let document = Recipient::read(&vector(&format!("pv/cert/{name}.crt"))).unwrap();
            assert_eq!((document.key.hash().to_string().as_str(), document.private), (hash, None), "{name}");
        }
    }
    // The key of this one is an RSA key: it was read as a certificate.
    let der = Recipient::read(&vector("pv/cert/der.crt"));
    assert!(matches!(der, Err(RecipientError::Algorithm(_))), "{der:?}");
    for wrong in ["pv/keys/rsa2048.crt", "pv/keys/rsa2048key.pem", "pv/keys/ecsecp256k1.pem", "pv/cert/ibm.crl"] {
        assert!(Recipient::read(&vector(wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn documents_of_several_certificates_and_damaged_ones() {
    if absent() {
        return;
    }
    let (first, second) = (vector("pv/cert/host.crt"), vector("pv/cert/host2.crt"));
    let both = [b"a note before\n", &first[..], &second].concat();
    let read = Recipient::read(&both).unwrap();
    assert_eq!((read.key.hash(), read.ignored), (host("host").hash(), 1));
    let key = host("host").hash();
    let mut survivors = 0;
    for at in 0..first.len() {
        let mut damaged = first.clone();
        damaged[at] ^= 4;
        // Most of a certificate is not the key.
        survivors += usize::from(Recipient::read(&damaged).is_ok_and(|read| read.key.hash() == key));
        let cut = Recipient::read(&first[..at]);
        assert!(cut.is_err() || at + 2 > first.len(), "{at} of {}", first.len());
    }
    assert!((1..first.len()).contains(&survivors), "{survivors}");
}

#[test]
fn real_images_boot() {
    if absent() {
        return;
    }
    let image = SeImageFile::parse(&set("img.bin")).unwrap();
    assert_eq!((image.found, image.header_offset), (Found::Metadata, 0x1_4000));
    assert_eq!(image.image.header, set("img.hdr"));
    assert_eq!(image.ipib.as_ref().unwrap().0, 0x1_c000);
    for name in ["host", "host2"] {
        let Verdict::Boots(booted) = verify::boot(&image.image, &target(name)).unwrap() else { panic!("{name}") };
        assert_eq!((booted.pages, booted.psw.mask, booted.psw.address), (7, 0x1_8000_0000, 0x1_b000));
        assert_eq!(verify::hex(&booted.tag), "5c16e64afa8acfa3b4e47e9781e4f7cb");
    }
    assert_eq!(outcome(&image.image, &target("host_rev")), (RC_KEY, 5));
    let plain = SeImageFile::parse(&set("img-plain.bin")).unwrap();
    assert_eq!(outcome(&plain.image, &target("host")), (1, 0));
    assert_eq!(outcome(&plain.image, &target("host2")), (RC_KEY, 5));
    // What was put in comes out: the pages of the kernel, decrypted.
    let pages = decrypted(&image.image, &keys_of(&image.image), 0);
    let mut kernel = set("inputs/kernel.bin");
    kernel.resize(KERNEL_PAGES * 0x1000, 0);
    assert_eq!(pages, kernel);
}

/// The same inputs make the same file here, but for what is drawn afresh: prefixes, IV, customer key.
#[test]
fn files_are_laid_out_as_the_real_program_does() {
    if absent() {
        return;
    }
    let real = set("img.bin");
    let theirs = SeImageFile::parse(&real).unwrap();
    let keys = [host("host").public().clone(), host("host2").public().clone()];
    let plan = ImagePlan {
        recipients: &keys,
        kernel: Some(set("inputs/kernel.bin")),
        ramdisk: Some(set("inputs/initrd.bin")),
        command_line: Some(set("inputs/parmfile.txt")),
        stage3a: Some(real[0x1_0000..0x1_0019].to_vec()),
        stage3b: Some(decrypted(&theirs.image, &keys_of(&theirs.image), 3)[..65].to_vec()),
        ..support::plan(&keys)
    };
    let bytes = plan.build(&mut support::random(1)).unwrap().to_bytes();
    assert_eq!(bytes.len(), real.len());
    assert!(bytes[..0x1_4000] == real[..0x1_4000], "PSW, metadata, stage3a with its arguments");
    assert_eq!(bytes[0x1_4000..0x1_4010], real[0x1_4000..0x1_4010], "magic, version, size");
    assert_eq!(bytes[0x1_401c..0x1_4040], real[0x1_401c..0x1_4040], "slots, sizes, pages, flags");
    assert_eq!(bytes[0x1_4120..0x1_4160], real[0x1_4120..0x1_4160], "address-list digest");
    let ours = SeImageFile::parse(&bytes).unwrap();
    for number in 0..4 {
        let contents = [&ours, &theirs].map(|file| decrypted(&file.image, &keys_of(&file.image), number));
        assert!(contents[0] == contents[1], "component {number}");
    }
    let without_prefixes = |bytes: &[u8]| {
        let mut ipib = bytes[0x1_c000..].to_vec();
        ipib[0x88..].chunks_mut(24).for_each(|one| one[2..8].fill(0));
        ipib
    };
    assert_eq!(without_prefixes(&bytes), without_prefixes(&real), "IPIB, the kinds of the components included");
    assert_eq!(ours.ipib.unwrap().1.to_bytes(), bytes[0x1_c000..]);
    assert_eq!(keys_of(&ours.image).psw(), keys_of(&theirs.image).psw());
}

/// Every field that `pvimg info` prints has the same name and value here.
#[test]
fn info_agrees_with_that_of_the_real_program() {
    if absent() {
        return;
    }
    for name in ["img", "img-plain"] {
        let file = SeImageFile::parse(&set(&format!("{name}.bin"))).unwrap();
        let wanted: Value = serde_json::from_slice(&set(&format!("{name}.info.json"))).unwrap();
        let mut info = ImageInfo::new(&file).unwrap();
        info.open(&host("host")).unwrap();
        let told = info.to_json(true);
        for (field, value) in wanted.as_object().unwrap() {
            assert_eq!(told.get(field), Some(value), "{name}: {field}");
        }
        assert_eq!(info.digests_match(), Some(true));
        assert_eq!(told["image"]["digests"]["match"], Value::Bool(true));
        // Opened with its own key it says the same; without leave it keeps the keys to itself.
        let key = set("inputs/hdr-key.bin");
        let mut own = ImageInfo::new(&file).unwrap();
        own.decrypt(&ProtectionKey::new(key.try_into().unwrap())).unwrap();
        assert_eq!(own.to_json(true), told);
        let hidden = own.to_json(false);
        assert!(hidden.get("cck_hex").is_none() && hidden.get("xts_hex").is_none() && hidden.get("psw").is_some());
        let people = format!("{:?}", own.sections(false));
        for secret in ["cck_hex", "xts_hex"] {
            assert!(!people.contains(wanted[secret].as_str().unwrap()), "{secret}");
        }
    }
}

#[test]
fn bare_headers() {
    if absent() {
        return;
    }
    for (name, with, flags, secret_flags) in [
        ("hdr-default.hdr", "host2", 0xe0, 0),
        ("hdr-pckmo-off.hdr", "host2", 0x2, 0),
        ("hdr-scf-ext.hdr", "host2", 0xe0, 0x4000_0000_0000_0000),
        ("hdr-scf-update.hdr", "host2", 0xe0, 0x2000_0000_0000_0000),
        ("snippet/snippet.hdr", "host", 0x1000_0000, 0),
    ] {
        let file = SeImageFile::parse(&set(name)).unwrap();
        assert_eq!(file.found, Found::Bare);
        let header = SeHeader::parse(&file.image.header).unwrap();
        assert_eq!(header.flags(), flags, "{name}");
        let opened = header.protection_key(&host(with));
        let secrets = opened.and_then(|key| header.decrypt(&key));
        assert_eq!(secrets.map(|secrets| secrets.flags()), Ok(secret_flags), "{name}");
        // A header is accepted, but there are no pages.
        assert_eq!(outcome(&file.image, &target(with)), (RC_DIGEST, 0x1d), "{name}");
    }
    let header = set("snippet/snippet.hdr");
    let component = Component::new(0x42, 0, set("snippet/component.bin"));
    let snippet = SeImage { header, components: vec![component] };
    assert_eq!(outcome(&snippet, &target("host")), (1, 0));
}

#[test]
fn tampered_headers_end_as_documented() {
    if absent() {
        return;
    }
    let image = SeImageFile::parse(&set("img.bin")).unwrap().image;
    for (name, with, rc, rrc) in [
        ("address-list-digest", "host", RC_DIGEST, 0x1a),
        ("page-list-digest", "host", RC_DIGEST, 0x1b),
        ("tweak-list-digest", "host", RC_DIGEST, 0x1c),
        ("num-enc-pages", "host", RC_DIGEST, 0x1d),
        ("secret-control-flag", "host", 0x109, 0),
        ("customer-public-key", "host", RC_KEY, 0xb),
        ("hdr-size", "host", RC_HEADER, 0x31),
        ("num-key-slots", "host", RC_HEADER, 0x40),
        ("size-enc-area", "host", RC_HEADER, 0x39),
        ("host-key", "host", RC_KEY, 5),
        ("host-key", "host2", RC_HEADER, 0),
    ] {
        let file = set(&format!("tampered/{name}.hdr"));
        let header = SeImageFile::parse(&file).unwrap().image.header;
        assert_eq!(header, file, "{name}: a bare header is handed over whole");
        let tampered = SeImage { header, components: image.components.clone() };
        assert_eq!(outcome(&tampered, &target(with)), (rc, rrc), "{name} with {with}");
    }
}

/// The header in a unit test of `pvimg`, opened from the side of its maker.
#[test]
fn the_header_of_the_builder_test() {
    if absent() {
        return;
    }
    let bytes = vector("pvimg/builder-test.hdr");
    let header = SeHeader::parse(&bytes).unwrap();
    let scalar = vector("pv/keys/private_cust.bin");
    let customer = PrivateKey::from_scalar(scalar[14..].try_into().unwrap()).unwrap();
    assert_eq!(header.customer(), customer.public().coordinates());
    let host = Recipient::read(&vector("pv/keys/host.pem.crt")).unwrap().key;
    let key = header.protection_key_as_maker(&customer, &host).unwrap();
    let secrets = header.decrypt(&key).unwrap();
    assert_eq!((*secrets.communication_key(), *secrets.image_key()), ([0x31; 32], [3; 64]));
    assert_eq!((secrets.psw(), secrets.flags(), secrets.items()), ([5678, 1234], 0, 0));
    assert_eq!((header.iv(), header.pages(), header.flags()), ([0x33; 12], 1, 0));
    assert_eq!(*header.digests(), [[2; 64], [1; 64], [3; 64]]);
    assert_eq!(header.decrypt(&ProtectionKey::new([0x32; 32])).map(|same| same.psw()), Ok([5678, 1234]));
}
