//! SE headers as bytes: no byte can be changed, and no bytes are too strange.

mod support;

use proptest::prelude::*;
use std::sync::LazyLock;
use support::image::Plan;
use uvsim_model::Machine;
use uvsim_model::config::MachineConfig;
use uvsim_model::crypto::{HeaderFault, HostKeys, LONGEST_HEADER, MOST_SLOTS, SeHeader, TooManySlots};

const SUPPORTED: u64 = 0x3000_00e2;

static KEYS: LazyLock<HostKeys> = LazyLock::new(|| MachineConfig::default().host_keys());
static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let machine = Machine::new(support::config()).unwrap();
    Plan::of(&machine, vec![(0x3000, [1, 0], [7; 4096])]).make().header
});

fn open(bytes: &[u8]) -> Result<(), HeaderFault> {
    SeHeader::parse(bytes)?.open(&KEYS, SUPPORTED).map(drop)
}

/// What a flipped bit at this offset breaks first (D52).
fn broken(fault: &HeaderFault) -> &'static str {
    match fault {
        HeaderFault::Length { .. } => "length",
        HeaderFault::Magic => "magic",
        HeaderFault::Version(_) => "version",
        HeaderFault::NoSlots => "no slots",
        HeaderFault::EncryptedSize(_) => "encrypted size",
        HeaderFault::Size { .. } => "size",
        HeaderFault::Flags { .. } => "flags",
        HeaderFault::NoSlot { .. } | HeaderFault::NoBackupSlot { .. } => "key hash",
        HeaderFault::CustomerKey(_) => "customer key",
        HeaderFault::Slot(_) => "slot",
        HeaderFault::Tag => "tag",
        HeaderFault::SecretFlags { .. } => "secret flags",
        HeaderFault::Items(_) => "items",
    }
}

#[test]
fn every_byte_counts_and_tells_which_field_it_is_in() {
    assert_eq!(open(&GOOD), Ok(()));
    for at in 0..GOOD.len() {
        let mut bytes = GOOD.clone();
        bytes[at] ^= 1 << (at % 8);
        let flags = at % 8;
        let expected = match at {
            0..0x8 => "magic",
            0x8..0xc => "version",
            0xc..0x10 | 0x20..0x28 => "size",
            0x28..0x30 => "encrypted size",
            // Flags that are known break the tag only; bit 0 of the last byte is not.
            0x38..0x40 if 1u64 << (flags + 8 * (0x3f - at)) & SUPPORTED == 0 => "flags",
            0x40..0xe0 => "customer key",
            0x1a0..0x1c0 => "key hash",
            0x1c0..0x1f0 => "slot",
            _ => "tag",
        };
        assert_eq!(open(&bytes).as_ref().map_err(broken), Err(expected), "byte {at:#x}");
    }
}

#[test]
fn a_header_of_every_length_but_its_own_is_refused() {
    for len in 0..GOOD.len() {
        let fault = open(&GOOD[..len]).expect_err("too short");
        assert_eq!(broken(&fault), if len < 0x1a0 { "length" } else { "size" }, "{len:#x}");
    }
    let mut longer = GOOD.clone();
    longer.resize(LONGEST_HEADER, 0);
    assert_eq!(open(&longer).as_ref().map_err(broken), Err("size"));
    longer.push(0);
    assert_eq!(open(&longer).as_ref().map_err(broken), Err("length"));
}

#[test]
fn as_many_slots_as_fit_and_no_more() {
    let machine = Machine::new(support::config()).unwrap();
    let make = |slots| {
        let recipients = vec![machine.host_public_key().clone(); slots];
        Plan { recipients, ..Plan::of(&machine, Vec::new()) }
    };
    let most = make(MOST_SLOTS).make().header;
    assert!(most.len() <= LONGEST_HEADER && most.len() + 80 > LONGEST_HEADER);
    assert_eq!(open(&most), Ok(()));
    for slots in [0, MOST_SLOTS + 1] {
        assert_eq!(make(slots).seal().map(|_| ()), Err(TooManySlots(slots)));
    }
}

proptest! {
    #[test]
    fn nothing_panics_and_nothing_opens(bytes in prop::collection::vec(any::<u8>(), 0..0x400)) {
        prop_assert!(open(&bytes).is_err());
        let mut like = GOOD.clone();
        let at = bytes.len() % like.len();
        let len = bytes.len().min(like.len() - at);
        like[at..at + len].copy_from_slice(&bytes[..len]);
        prop_assert_eq!(open(&like).is_ok(), like == *GOOD);
    }

    #[test]
    fn sizes_that_wrap_around(slots in any::<u64>(), area in any::<u64>(), size in any::<u32>()) {
        let mut bytes = GOOD.clone();
        bytes[0xc..0x10].copy_from_slice(&size.to_be_bytes());
        bytes[0x20..0x28].copy_from_slice(&slots.to_be_bytes());
        bytes[0x28..0x30].copy_from_slice(&area.to_be_bytes());
        prop_assert!(open(&bytes).is_err());
    }
}
