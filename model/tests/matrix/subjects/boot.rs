//! Image load.

use super::pages::{block, destroyed, forged, shared_frame, taken_frames, unmapped};
use super::{END, HANDLE, PAGE, Part, Stage, Subject, by_host, cause, field};
use crate::cause::Cause;
use crate::stage::ImageState;
use crate::support::DONE;
use crate::support::image::{Image, Plan};
use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use std::collections::BTreeMap;
use std::sync::Mutex;
use uvsim_model::address::PageIndex;
use uvsim_model::config::Generation;
use uvsim_model::uvc::Command;

/// The image of the plan, for this machine. Equal plans are made once.
fn made(stage: &Stage<'_>) -> Image {
    type Key = ([u8; 32], u64, u64, bool, Option<u64>, [bool; 3], usize);
    static MADE: Mutex<BTreeMap<Key, Image>> = Mutex::new(BTreeMap::new());
    let machine = stage.host.machine();
    let plan = Plan { recipients: vec![machine.host_public_key().clone()], ..stage.plan.clone() };
    let digests = plan.digests.map(|digest| digest.is_some());
    let host = machine.host_public_key().hash().0;
    let key = (host, plan.flags, plan.secret_flags, stage.items, plan.count, digests, plan.pages.len());
    let mut made = MADE.lock().expect("making an image does not panic");
    let make = || {
        let mut image = plan.make();
        if stage.items {
            announce_items(&mut image.header);
        }
        image
    };
    made.entry(key).or_insert_with(make).clone()
}

/// Seals the header anew, with optional items announced: keys and IV are those of all test images.
fn announce_items(header: &mut [u8]) {
    let cipher = Aes256Gcm::new(&[0x32; 32].into());
    let (fixed, rest) = header.split_at_mut(0x1f0);
    let (area, tag) = rest.split_at_mut(0x80);
    let iv = [0x33; 12].into();
    let old: [u8; 16] = (&*tag).try_into().expect("a tag of 16 bytes");
    cipher.decrypt_inout_detached(&iv, fixed, (&mut *area).into(), &old.into()).expect("the header is genuine");
    area[0x78..0x7c].copy_from_slice(&1u32.to_be_bytes());
    let new = cipher.encrypt_inout_detached(&iv, fixed, area.into()).expect("a short area");
    tag.copy_from_slice(&new);
}

/// A cause that changes bytes of the header.
macro_rules! bytes {
    ($check:literal, $offset:literal, $change:expr) => {
        cause($check, &[Part::Bytes($offset)], |stage| stage.bytes.push($change))
    };
}

#[test]
fn set_sec_conf_params() {
    let mut causes = vec![
        cause("state", &[Part::Boot, Part::Installed], |stage| {
            let (guest, header) = (stage.guest.clone(), crate::support::image::empty_header(stage.host.machine()));
            assert_eq!(stage.host.set_parameters(&guest, &header), DONE);
        }),
        field!("access", 0x20, 8, END - 0x100),
        field!("access", 0x20, 8, u64::MAX - 0xff),
        cause("access", &[Part::Field(0x20), Part::Objects], |stage| stage.set(0x20, 8, stage.guest.base)),
        field!("given-length", 0x28, 4, 0x19f),
        field!("given-length", 0x28, 4, 0x2001),
        field!("given-length", 0x28, 4, 0xffff_ffff),
        // No byte is fetched, so no address is bad.
        cause("given-length", &[Part::Field(0x20), Part::Field(0x28)], |stage| stage.set(0x28, 4, 0)),
    ];
    causes.extend(header_faults());
    by_host(&Subject {
        command: Command::SetSecConfParams,
        scene: |stage| stage.create(),
        fields: |stage| vec![(HANDLE, 8, stage.guest.handle)],
        machine: |_| {},
        finish: |stage| {
            let mut header = made(stage).header;
            let changes = stage.bytes.clone();
            changes.iter().for_each(|change| change(&mut header));
            if stage.field(0x20) == 0 {
                let at = stage.host.allocate(0x3000);
                stage.set(0x20, 8, at);
            }
            if stage.fields.iter().all(|field| field.0 != 0x28) {
                stage.set(0x28, 4, header.len() as u64);
            }
            // As much of it as the host reaches.
            let at = stage.field(0x20);
            let room = END.saturating_sub(at).min(header.len() as u64) as usize;
            let _ = stage.host.cpu.store(uvsim_model::address::VirtualAddress(at), &header[..room]);
        },
        causes,
    });
}

/// What may be wrong in the header, in the order in which it is found (D52). A change breaks the tag as well.
fn header_faults() -> Vec<Cause> {
    vec![
        bytes!("magic", 0x0, |header| header[0] ^= 1),
        bytes!("version", 0x8, |header| header[0xa] ^= 2),
        bytes!("no-slots", 0x20, |header| header[0x20..0x28].fill(0)),
        bytes!("encrypted-size", 0x28, |header| header[0x2f] ^= 0x10),
        bytes!("size", 0xc, |header| header[0xf] ^= 1),
        bytes!("size", 0x20, |header| header[0x27] = 2),
        cause("size", &[Part::Field(0x28)], |stage| stage.set(0x28, 4, 0x281)),
        bytes!("flags", 0x38, |header| header[0x38] ^= 0x80),
        bytes!("flags-z15", 0x38, |header| header[0x38] ^= 0x80).on(|config| config.generation = Generation::Z15),
        cause("slot", &[Part::Bytes(0x1a0), Part::Made(1)], |stage| stage.bytes.push(|header| header[0x1a0] ^= 1)),
        cause("backup-slot", &[Part::Bytes(0x1a0), Part::Made(1)], |stage| {
            stage.plan.flags |= 2;
            stage.bytes.push(|header| header[0x1a0] ^= 1);
        }),
        bytes!("customer-key", 0x40, |header| header[0x40] ^= 1),
        bytes!("unwrap", 0x1c0, |header| header[0x1c0] ^= 1),
        bytes!("tag", 0x270, |header| header[0x27f] ^= 1),
        cause("secret-flags", &[Part::Made(0)], |stage| stage.plan.secret_flags = 1),
        cause("items", &[Part::Made(2)], |stage| stage.items = true),
    ]
}

/// Hands over the header, and goes on as far as wanted. If the image has pages, they are loaded.
fn load(stage: &mut Stage<'_>) {
    if stage.image == ImageState::None {
        return;
    }
    let (guest, image) = (stage.guest.clone(), made(stage));
    assert_eq!(stage.host.set_parameters(&guest, &image.header), DONE);
    for (address, tweak, bytes) in &image.pages {
        let frame = stage.host.frame();
        stage.host.store(frame.address().0, bytes);
        stage.host.map(&guest, PageIndex(address / 0x1000), frame);
        let fields = [(HANDLE, 8, guest.handle), (0x20, 8, *address), (0x28, 8, tweak[0]), (0x30, 8, tweak[1])];
        assert_eq!(stage.host.call(Command::UnpackImg, &fields), DONE);
    }
    if stage.image == ImageState::Verified {
        assert_eq!(stage.host.call(Command::VerifyImg, &[(HANDLE, 8, guest.handle)]), DONE);
    }
}

#[test]
fn unpack_img() {
    let mut causes = vec![
        cause("state", &[Part::Boot, Part::NotLoading], |stage| stage.image = ImageState::None),
        cause("state", &[Part::Boot], |stage| stage.image = ImageState::Verified),
        field!("range", 0x20, 8, 1 << 20),
        field!("range", 0x20, 8, u64::MAX - 0xfff),
        field!("range", 0x20, 8, 0x3008),
        block(),
        shared_frame(),
        cause("already", &[Part::Record, Part::Frame, Part::Access], |stage| {
            assert_eq!(stage.host.import(&stage.guest.clone(), PAGE), DONE);
        }),
        cause("not-absent", &[Part::Record], |stage| {
            let guest = stage.guest.clone();
            stage.host.resident(&guest, PAGE);
            stage.map(stage.frame);
        }),
        cause("not-absent", &[Part::Record], destroyed),
        cause("not-absent", &[Part::Record], forged),
        cause("tweak", &[Part::Tweak, Part::Installed, Part::Loading], |stage| {
            stage.plan.pages = vec![(0x9000, [7, 0], [0x11; 4096])];
        })
        .on(|config| config.strict_tweaks = true),
    ];
    causes.extend(unmapped());
    causes.extend(taken_frames().into_iter().map(|cause| Cause { check: "taken", ..cause }));
    by_host(&Subject {
        command: Command::UnpackImg,
        scene: |stage| {
            stage.create();
            stage.map(stage.frame);
        },
        fields: |stage| vec![(HANDLE, 8, stage.guest.handle), (0x20, 8, PAGE.0 * 4096), (0x28, 8, 7)],
        machine: |_| {},
        finish: load,
        causes,
    });
}

#[test]
fn verify_img() {
    let digest = |check, part, apply| cause(check, &[Part::Made(part), Part::Loading], apply);
    by_host(&Subject {
        command: Command::VerifyImg,
        scene: |stage| stage.create(),
        fields: |stage| vec![(HANDLE, 8, stage.guest.handle)],
        machine: |_| {},
        finish: load,
        causes: vec![
            cause("state", &[Part::Boot, Part::NotLoading], |stage| stage.image = ImageState::None),
            cause("state", &[Part::Boot, Part::NotLoading, Part::Installed], |stage| {
                stage.image = ImageState::Verified
            }),
            digest("pages", 0, |stage| stage.plan.count = Some(1)),
            digest("addresses", 1, |stage| stage.plan.digests[1] = Some([0x5a; 64])),
            digest("contents", 2, |stage| stage.plan.digests[0] = Some([0x5a; 64])),
            digest("tweaks", 3, |stage| stage.plan.digests[2] = Some([0x5a; 64])),
        ],
    });
}
