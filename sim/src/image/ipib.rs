//! The IPL information block of an image: what the host is to unpack, and where (QEMU hw/s390x/ipl.h).

use super::layout::{
    IPIB_COMPONENT, IPIB_FIXED, IPIB_HEAD, IPIB_TYPE, IpibComponent, IpibFixed, LONGEST_IPIB, MOST_COMPONENTS,
};
use uvsim_model::address::PAGE_SIZE;
use uvsim_model::crypto::LONGEST_HEADER;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// An IPIB that lists components.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ipib {
    /// Length field.
    pub length: u32,
    /// Block type, 5 for protected guests.
    pub block_type: u8,
    /// Where the SE header is loaded.
    pub header_address: u64,
    /// Bytes of the SE header.
    pub header_size: u64,
    /// The components, in the order in which they are unpacked.
    pub components: Vec<ListedComponent>,
}

/// What an IPIB says of a component.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListedComponent {
    /// Tweak prefix.
    pub prefix: u64,
    /// Guest absolute address, and offset in the file.
    pub address: u64,
    /// Bytes.
    pub length: u64,
}

/// Bytes that are no IPIB.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IpibFault {
    /// Too short.
    #[error("the IPIB has {available:#x} bytes instead of at least {needed:#x}: the file is cut off there")]
    Truncated {
        /// Bytes wanted.
        needed: usize,
        /// Bytes there are.
        available: usize,
    },
    /// The length field is out of range.
    #[error("the length field of the IPIB says {0:#x}: it must be {IPIB_FIXED:#x} to {LONGEST_IPIB:#x}")]
    Length(u32),
    /// More components than its length has room for.
    #[error("the IPIB lists {count} components, its {length:#x} bytes have room for {room}")]
    Count {
        /// Number of components.
        count: u32,
        /// Length field.
        length: u32,
        /// How many would fit.
        room: usize,
    },
}

/// Why a host does not take an IPIB (QEMU hw/s390x/ipl.c), before any Ultravisor call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HostRefusal {
    /// Diagnose 0x308 subcode 8.
    #[error("the IPIB has block type {0:#x}: protected guests need {IPIB_TYPE:#x}")]
    BlockType(u8),
    /// Subcode 8.
    #[error("the IPIB is {0:#x} bytes long: hosts want {SHORTEST_IPIB:#x} at least")]
    Length(u32),
    /// Subcode 8.
    #[error("the IPIB lists no component")]
    NoComponent,
    /// Subcode 8.
    #[error("component {number} begins at {address:#x}, inside a page")]
    Unaligned {
        /// Number in the list, from 0.
        number: usize,
        /// Its address.
        address: u64,
    },
    /// Subcode 8.
    #[error("tweak prefix {prefix:#018x} of component {number} is not greater than that before it, {before:#018x}")]
    PrefixOrder {
        /// Number in the list, from 0.
        number: usize,
        /// Its prefix.
        prefix: u64,
        /// The prefix of the one before.
        before: u64,
    },
    /// Subcode 10: KVM unpacks at least one page.
    #[error("component {number} has no bytes")]
    Empty {
        /// Number in the list, from 0.
        number: usize,
    },
    /// Subcode 10.
    #[error("the SE header has {0:#x} bytes: hosts take two pages, {LONGEST_HEADER:#x}, at most")]
    HeaderLength(u64),
}

/// Shortest IPIB that QEMU takes.
const SHORTEST_IPIB: u32 = 0x94;

impl Ipib {
    /// Reads a block from the beginning of these bytes.
    ///
    /// # Errors
    /// [`IpibFault`].
    pub fn parse(bytes: &[u8]) -> Result<Self, IpibFault> {
        let truncated = |needed| IpibFault::Truncated { needed, available: bytes.len() };
        let (fixed, _) = IpibFixed::ref_from_prefix(bytes).map_err(|_| truncated(IPIB_FIXED))?;
        let (length, count) = (fixed.length.get(), fixed.count.get());
        if !(IPIB_FIXED..=LONGEST_IPIB).contains(&(length as usize)) {
            return Err(IpibFault::Length(length));
        }
        let room = (length as usize - IPIB_FIXED) / IPIB_COMPONENT;
        if count as usize > room {
            return Err(IpibFault::Count { count, length, room });
        }
        let list = bytes.get(IPIB_FIXED..length as usize).ok_or(truncated(length as usize))?;
        let listed = <[IpibComponent]>::ref_from_prefix_with_elems(list, count as usize);
        let (listed, _) = listed.map_err(|_| truncated(length as usize))?;
        let component = |component: &IpibComponent| ListedComponent {
            prefix: component.prefix.get(),
            address: component.address.get(),
            length: component.length.get(),
        };
        Ok(Self {
            length,
            block_type: fixed.block_type,
            header_address: fixed.header_address.get(),
            header_size: fixed.header_size.get(),
            components: listed.iter().map(component).collect(),
        })
    }

    /// A block for these components. `None` if there are more than a block can list.
    pub(crate) fn new(header_address: u64, header_size: u64, components: Vec<ListedComponent>) -> Option<Self> {
        let length = Self::length_for(components.len())?;
        Some(Self { length, block_type: IPIB_TYPE, header_address, header_size, components })
    }

    pub(super) fn length_for(components: usize) -> Option<u32> {
        (components <= MOST_COMPONENTS).then(|| (IPIB_FIXED + components * IPIB_COMPONENT) as u32)
    }

    /// The block as image tools write it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut fixed = IpibFixed::new_zeroed();
        fixed.length = self.length.into();
        fixed.version = 1;
        fixed.block_length = self.length.wrapping_sub(IPIB_HEAD).into();
        fixed.block_type = self.block_type;
        fixed.pv_version = 1;
        fixed.count = (self.components.len() as u32).into();
        fixed.header_address = self.header_address.into();
        fixed.header_size = self.header_size.into();
        let mut bytes = fixed.as_bytes().to_vec();
        for listed in &self.components {
            let (prefix, address, length) = (listed.prefix.into(), listed.address.into(), listed.length.into());
            bytes.extend(IpibComponent { prefix, address, length }.as_bytes());
        }
        bytes
    }

    /// What a host checks before it issues any call.
    ///
    /// # Errors
    /// The first thing that it does not like.
    pub fn check(&self) -> Result<(), HostRefusal> {
        if self.block_type != IPIB_TYPE {
            return Err(HostRefusal::BlockType(self.block_type));
        }
        if self.components.is_empty() {
            return Err(HostRefusal::NoComponent);
        }
        if self.length < SHORTEST_IPIB {
            return Err(HostRefusal::Length(self.length));
        }
        for (number, component) in self.components.iter().enumerate() {
            if !component.address.is_multiple_of(PAGE_SIZE) {
                return Err(HostRefusal::Unaligned { number, address: component.address });
            }
            if let Some(before) = number.checked_sub(1).map(|before| self.components[before].prefix)
                && component.prefix <= before
            {
                return Err(HostRefusal::PrefixOrder { number, prefix: component.prefix, before });
            }
        }
        if let Some(number) = self.components.iter().position(|component| component.length == 0) {
            return Err(HostRefusal::Empty { number });
        }
        if self.header_size > LONGEST_HEADER as u64 {
            return Err(HostRefusal::HeaderLength(self.header_size));
        }
        Ok(())
    }
}

impl HostRefusal {
    /// The response code of diagnose 0x308 that says it.
    #[must_use]
    pub const fn response(&self) -> u16 {
        match self {
            Self::HeaderLength(_) | Self::Empty { .. } => 0xa02,
            _ => 0x402,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block() -> Ipib {
        let listed = |number: u64| ListedComponent { prefix: number << 48, address: number << 12, length: 0x1000 };
        Ipib::new(0x1_4000, 0x280, vec![listed(40), listed(70)]).unwrap()
    }

    #[test]
    fn a_block_comes_back() {
        let bytes = block().to_bytes();
        assert_eq!((bytes.len(), Ipib::parse(&bytes)), (0x88 + 2 * 24, Ok(block())));
        assert_eq!((bytes[0xc], bytes[0x6f], bytes[7], bytes[0x0b]), (5, 1, 1, 0xb0));
        assert_eq!(block().check(), Ok(()));
        assert_eq!(Ipib::new(0, 0, vec![block().components[0]; MOST_COMPONENTS + 1]), None);
    }

    #[test]
    fn wrong_bytes_are_told_apart() {
        let bytes = block().to_bytes();
        for len in 0..bytes.len() {
            assert!(matches!(Ipib::parse(&bytes[..len]), Err(IpibFault::Truncated { .. })), "{len}");
        }
        let with = |at: usize, value: u32| {
            let mut bytes = bytes.clone();
            bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
            Ipib::parse(&bytes)
        };
        assert_eq!(with(0, 0x87), Err(IpibFault::Length(0x87)));
        assert_eq!(with(0, 0x1001), Err(IpibFault::Length(0x1001)));
        assert_eq!(with(0x74, 3), Err(IpibFault::Count { count: 3, length: 0xb8, room: 2 }));
        assert_eq!(with(0x74, u32::MAX), Err(IpibFault::Count { count: u32::MAX, length: 0xb8, room: 2 }));
    }

    #[test]
    fn hosts_look_at_the_list() {
        let with = |change: fn(&mut Ipib)| {
            let mut block = block();
            change(&mut block);
            block.check().map_err(|refusal| (refusal.response(), refusal))
        };
        assert_eq!(with(|block| block.block_type = 4), Err((0x402, HostRefusal::BlockType(4))));
        assert_eq!(with(|block| block.components.clear()), Err((0x402, HostRefusal::NoComponent)));
        assert_eq!(with(|block| block.length = 0x90), Err((0x402, HostRefusal::Length(0x90))));
        let unaligned = HostRefusal::Unaligned { number: 1, address: 0x4_6800 };
        assert_eq!(with(|block| block.components[1].address += 0x800), Err((0x402, unaligned)));
        let order = HostRefusal::PrefixOrder { number: 1, prefix: 40 << 48, before: 40 << 48 };
        assert_eq!(with(|block| block.components[1].prefix = 40 << 48), Err((0x402, order)));
        let empty = HostRefusal::Empty { number: 0 };
        assert_eq!(with(|block| block.components[0].length = 0), Err((0xa02, empty)));
        assert_eq!(with(|block| block.header_size = 0x2001), Err((0xa02, HostRefusal::HeaderLength(0x2001))));
    }
}
