//! Images that have been tampered with: each ends in its documented code and says what is wrong.

use crate::support::{RC_DIGEST, RC_HEADER, RC_KEY, boots, image, key, plan, random, refused, target};
use uvsim::image::verify::{self, Cause, DigestKind, Target, VerifyError};
use uvsim::image::{SeImage, SeImageFile};
use uvsim_model::config::Generation;
use uvsim_model::crypto::plain_flag;
use uvsim_model::uvc::Command;

#[track_caller]
fn ends_with(image: &SeImage, command: Command, rc: u16, rrc: u16) -> Cause {
    let refused = refused(image, &target(0));
    assert_eq!((refused.command, refused.rc, refused.rrc), (command, rc, rrc), "{}", refused.cause);
    assert!(refused.meaning().is_some(), "{rc:#x} {rrc:#x}");
    refused.cause
}

#[test]
fn a_bit_in_each_field_of_the_header() {
    for (at, mask, rc, rrc, about) in [
        (0x007, 0x01, RC_HEADER, 0x00, "IBMSecEx"),
        (0x00a, 0x01, 0x104, 0x01, "version 0x0"),
        (0x00f, 0x01, RC_HEADER, 0x31, "size field says 0x281"),
        (0x010, 0x80, RC_HEADER, 0x00, "tag"),
        (0x01c, 0x01, RC_HEADER, 0x00, "tag"),
        (0x027, 0x01, RC_HEADER, 0x40, "no key slot"),
        (0x027, 0x02, RC_HEADER, 0x31, "3 key slots"),
        (0x020, 0x80, RC_HEADER, 0x31, "key slots"),
        (0x02f, 0x80, RC_HEADER, 0x39, "encrypted area has 0x0"),
        (0x037, 0x01, RC_HEADER, 0x00, "tag"),
        (0x03c, 0x20, RC_HEADER, 0x00, "tag"),
        (0x038, 0x80, 0x106, 0x30, "0x8000000000000000"),
        (0x08f, 0x01, RC_KEY, 0x0b, "customer public key"),
        (0x040, 0x01, RC_KEY, 0x0b, "padding"),
        (0x0e0, 0x01, RC_HEADER, 0x00, "tag"),
        (0x120, 0x01, RC_HEADER, 0x00, "tag"),
        (0x160, 0x01, RC_HEADER, 0x00, "tag"),
        (0x1a0, 0x01, RC_KEY, 0x05, "no key slot is for"),
        (0x1c0, 0x01, RC_KEY, 0x00, "does not unwrap"),
        (0x1e0, 0x01, RC_KEY, 0x00, "does not unwrap"),
        (0x1f0, 0x01, RC_HEADER, 0x00, "tag"),
        (0x27f, 0x01, RC_HEADER, 0x00, "tag"),
    ] {
        let mut damaged = image();
        damaged.header[at] ^= mask;
        let cause = ends_with(&damaged, Command::SetSecConfParams, rc, rrc);
        assert!(matches!(cause, Cause::Header(_)) && cause.to_string().contains(about), "{at:#x}: {cause}");
    }
}

#[test]
fn header_lengths() {
    for length in [0, 1, 0x19f, 0x27f, 0x281, 0x2000, 0x2001, 0x1_0000] {
        let mut damaged = image();
        damaged.header.resize(length, 0);
        ends_with(&damaged, Command::SetSecConfParams, RC_HEADER, 0x31);
    }
}

#[test]
fn a_bit_in_each_component() {
    for number in 0..4 {
        let mut damaged = image();
        let data = &mut damaged.components[number].data;
        *data.last_mut().unwrap() ^= 1;
        let cause = ends_with(&damaged, Command::VerifyImg, RC_DIGEST, 0x1b);
        assert!(matches!(cause, Cause::Digest { which: DigestKind::Pages, ref header, ref image } if header != image));
        assert!(cause.to_string().starts_with("page-list digest"), "{cause}");
    }
}

#[test]
fn tweaks_and_addresses() {
    for bit in [0, 47, 63] {
        let mut damaged = image();
        damaged.components[1].prefix ^= 1 << bit;
        let cause = ends_with(&damaged, Command::VerifyImg, RC_DIGEST, 0x1c);
        assert!(matches!(cause, Cause::Digest { which: DigestKind::Tweaks, .. }), "{cause}");
    }
    let mut damaged = image();
    damaged.components[3].address ^= 1 << 30;
    let cause = ends_with(&damaged, Command::VerifyImg, RC_DIGEST, 0x1a);
    assert!(matches!(cause, Cause::Digest { which: DigestKind::Addresses, .. }), "{cause}");
    // Inside a page; onto another component; where no guest reaches.
    let mut damaged = image();
    damaged.components[3].address += 0x800;
    ends_with(&damaged, Command::UnpackImg, 0x103, 0);
    let mut damaged = image();
    damaged.components[3].address = damaged.components[0].address;
    let cause = ends_with(&damaged, Command::UnpackImg, 0x105, 0);
    assert_eq!(cause, Cause::Page { number: 22, address: 0x1_5000, tweak: [image().components[3].prefix, 0] });
    for address in [1 << 40, 0u64.wrapping_sub(0x1000)] {
        let mut damaged = image();
        damaged.components[3].address = address;
        let end = address.saturating_add(0x1000);
        assert_eq!(verify::boot(&damaged, &target(0)), Err(VerifyError::TooHigh { end }));
    }
}

#[test]
fn pages_dropped_repeated_swapped() {
    let mut dropped = image();
    dropped.components[0].data.truncate(0x1_2000);
    let cause = ends_with(&dropped, Command::VerifyImg, RC_DIGEST, 0x1d);
    assert_eq!(cause, Cause::Pages { header: 0x17, image: 0x16 });
    let mut repeated = image();
    let again = repeated.components[1].clone();
    repeated.components.insert(2, again);
    ends_with(&repeated, Command::UnpackImg, 0x105, 0);
    let mut swapped = image();
    let (first, second) = swapped.components[1].data.split_at_mut(0x1000);
    first.swap_with_slice(second);
    ends_with(&swapped, Command::VerifyImg, RC_DIGEST, 0x1b);
    let mut order = image();
    order.components.swap(1, 2);
    ends_with(&order, Command::VerifyImg, RC_DIGEST, 0x1a);
    let mut none = image();
    none.components.clear();
    ends_with(&none, Command::VerifyImg, RC_DIGEST, 0x1d);
}

#[test]
fn components_of_another_image() {
    let other = plan(&[key(0).public().clone()]).build(&mut random(9)).unwrap().image;
    let mixed = SeImage { header: image().header, components: other.components };
    // Prefixes are drawn for each image, and pages are encrypted under them.
    ends_with(&mixed, Command::VerifyImg, RC_DIGEST, 0x1b);
}

#[test]
fn another_machine() {
    let refused = refused(&image(), &target(1));
    assert_eq!((refused.command, refused.rc, refused.rrc), (Command::SetSecConfParams, RC_KEY, 5));
    assert!(refused.cause.to_string().contains(&key(1).hash().to_string()), "{}", refused.cause);
}

#[test]
fn backup_keys_only_where_the_header_allows_them() {
    let made = |flags| {
        let keys = [key(5).public().clone()];
        let mut plan = plan(&keys);
        plan.flags |= flags;
        plan.build(&mut random(1)).unwrap().image
    };
    let target = Target { backup_host_key: Some(key(5)), ..target(0) };
    assert_eq!(boots(&made(plain_flag::BACKUP_KEY), &target).opened_with, key(5).hash());
    let closed = refused(&made(0), &target);
    assert_eq!((closed.rc, closed.rrc), (RC_KEY, 5));
    let neither = refused(&made(plain_flag::BACKUP_KEY), &self::target(0));
    assert_eq!((neither.rc, neither.rrc), (RC_KEY, 0x34));
}

#[test]
fn generations_differ_in_the_flags_they_know() {
    let keys = [key(0).public().clone()];
    let mut plan = plan(&keys);
    plan.flags |= plain_flag::PCKMO_HMAC;
    let image = plan.build(&mut random(1)).unwrap().image;
    let on = |generation| Target { generation, ..target(0) };
    boots(&image, &on(Generation::Z17));
    let z16 = refused(&image, &on(Generation::Z16));
    assert_eq!((z16.rc, z16.rrc), (0x106, 0x30));
    let z15 = refused(&image, &on(Generation::Z15));
    assert_eq!((z15.rc, z15.rrc), (0x106, 0));
    assert!(z15.cause.to_string().contains("0x10 are not supported"), "{}", z15.cause);
}

/// The same through a file: what is changed there is what a host finds in storage.
#[test]
fn damage_in_a_file() {
    let built = plan(&[key(0).public().clone()]).build(&mut random(1)).unwrap();
    let good = built.to_bytes();
    let ipib = u64::from_be_bytes(good[0xc014..0xc01c].try_into().unwrap()) as usize;
    let read = |at: usize, mask: u8| {
        let mut bytes = good.clone();
        bytes[at] ^= mask;
        SeImageFile::parse(&bytes).unwrap().image
    };
    assert_eq!(refused(&read(0x1_6000, 1), &target(0)).rrc, 0x1b);
    // The random part of a prefix, and the length of a component: 0x13000 becomes 0x12000.
    assert_eq!(refused(&read(ipib + 0x88 + 7, 1), &target(0)).rrc, 0x1c);
    assert_eq!(refused(&read(ipib + 0x88 + 0x16, 0x10), &target(0)).rrc, 0x1d);
    assert_eq!(refused(&read(0x1_4000, 1), &target(0)).rc, RC_HEADER);
}
