//! The IPL parameter block of a secure start (type 5).

use crate::image::SeImage;
use uvsim_model::address::PAGE_SIZE;

/// Length of a block without components.
const FIXED: usize = 0x88;
const COMPONENT: usize = 24;
/// The shortest block that can be one.
const SHORTEST: usize = 148;
const TYPE: u8 = 5;
/// No block is longer than a page.
pub(super) const LONGEST: usize = PAGE_SIZE as usize;
/// No header is longer than two pages.
const LONGEST_HEADER: u64 = 2 * PAGE_SIZE;

/// A block as a guest has set it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::kernel) struct IplBlock {
    pub(super) bytes: Vec<u8>,
    /// Address and length of the SE header.
    pub(super) header: (u64, u64),
    /// Tweak prefix, address, size.
    pub(super) components: Vec<[u64; 3]>,
}

impl IplBlock {
    /// The block for an image whose header has been put at an address.
    pub(in crate::kernel) fn for_image(image: &SeImage, header: u64) -> Vec<u8> {
        let length = FIXED + COMPONENT * image.components.len();
        let mut bytes = vec![0; length];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0x00, &(length as u32).to_be_bytes());
        put(0x07, &[1]);
        put(0x08, &(length as u32 - 8).to_be_bytes());
        put(0x0c, &[TYPE]);
        put(0x6f, &[1]);
        put(0x74, &(image.components.len() as u32).to_be_bytes());
        put(0x78, &header.to_be_bytes());
        put(0x80, &(image.header.len() as u64).to_be_bytes());
        for (number, component) in image.components.iter().enumerate() {
            let at = FIXED + COMPONENT * number;
            let fields = [component.prefix, component.address, component.data.len() as u64];
            for (field, value) in fields.into_iter().enumerate() {
                put(at + 8 * field, &value.to_be_bytes());
            }
        }
        bytes
    }

    /// The length that a block states, if it can have it.
    pub(super) fn stated_length(first: [u8; 4]) -> Option<usize> {
        let length = u32::from_be_bytes(first) as usize;
        (length <= LONGEST).then_some(length)
    }

    /// Reads a block with QEMU's checks: type, length, a header of at most two pages inside the guest, at least
    /// one component, their addresses aligned, their tweak prefixes rising.
    pub(super) fn parse(bytes: &[u8], memory: u64) -> Option<Self> {
        let long = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes);
        if bytes.len() < SHORTEST || bytes[0x0c] != TYPE {
            return None;
        }
        let count = u32::from_be_bytes(bytes[0x74..0x78].try_into().ok()?) as usize;
        let header = (long(0x78)?, long(0x80)?);
        let inside = header.0.checked_add(header.1).is_some_and(|end| end <= memory);
        if header.1 > LONGEST_HEADER || !inside || count == 0 {
            return None;
        }
        let component = |number: usize| {
            let at = FIXED.checked_add(COMPONENT.checked_mul(number)?)?;
            Some([long(at)?, long(at + 8)?, long(at + 16)?])
        };
        // A block that is too short for its components has none of those.
        let components: Vec<[u64; 3]> = (0..count).map_while(component).collect();
        let aligned = components.iter().all(|[_, address, _]| address.is_multiple_of(PAGE_SIZE));
        let rising = components.windows(2).all(|pair| pair[0][0] < pair[1][0]);
        (components.len() == count && aligned && rising).then(|| Self { bytes: bytes.to_vec(), header, components })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Component;

    fn block() -> Vec<u8> {
        let components = vec![Component::new(7, 0x3000, vec![1]), Component::new(8, 0x9000, vec![2; 5000])];
        IplBlock::for_image(&SeImage { header: vec![0; 0x280], components }, 0x14000)
    }

    #[test]
    fn what_is_made_is_read() {
        let bytes = block();
        assert_eq!((bytes.len(), &bytes[..4]), (0x88 + 48, &[0, 0, 0, 0xb8][..]));
        let parsed = IplBlock::parse(&bytes, 1 << 20).unwrap();
        assert_eq!(parsed.header, (0x14000, 0x280));
        assert_eq!(parsed.components, [[7, 0x3000, 0x1000], [8, 0x9000, 0x2000]]);
        assert_eq!(IplBlock::stated_length([0, 0, 0x10, 0]), Some(4096));
        assert_eq!(IplBlock::stated_length([0, 0, 0x10, 1]), None);
    }

    #[test]
    fn each_check_refuses() {
        let with = |at: usize, byte: u8| {
            let mut bytes = block();
            bytes[at] = byte;
            IplBlock::parse(&bytes, 1 << 20)
        };
        assert!(with(0x10, 1).is_some(), "the load parameter is free");
        for (at, byte, what) in [
            (0x0c, 0, "type"),
            (0x77, 0, "no component"),
            (0x77, 3, "more components than there is room for"),
            (0x82, 1, "a long header"),
            (0x7d, 0x10, "a header outside"),
            (0x97, 1, "an address that is not aligned"),
            (0x8f, 8, "equal prefixes"),
        ] {
            assert_eq!(with(at, byte), None, "{what}");
        }
        assert_eq!(IplBlock::parse(&block()[..147], 1 << 20), None);
    }
}
