//! Addresses. Every kind has a type of its own, so that a guest address never reaches a function
//! that wants an absolute one. Units are bytes for addresses and 4 KiB pages for numbers.

use core::fmt;

/// Bytes in a page and in a frame.
pub const PAGE_SIZE: u64 = 4096;
/// Bytes in the unit in which storage, guests and segments are counted.
pub const MEBIBYTE: u64 = 1 << 20;
/// Pages in 1 MiB.
pub const PAGES_PER_MEBIBYTE: u64 = MEBIBYTE / PAGE_SIZE;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{:#x}"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl $name {
            /// This value plus `count`, or `None` where 64 bits overflow.
            #[must_use]
            pub fn checked_add(self, count: u64) -> Option<Self> {
                self.0.checked_add(count).map(Self)
            }
        }
    };
}

number!(
    /// A byte of absolute storage: what is left after translation and prefixing.
    AbsoluteAddress,
    "abs:"
);
number!(
    /// A real address: absolute but for the prefix of the CPU that uses it.
    RealAddress,
    "real:"
);
number!(
    /// An address that an ASCE translates.
    VirtualAddress,
    "virt:"
);
number!(
    /// A guest absolute address: an offset in a configuration's storage.
    GuestAddress,
    "guest:"
);
number!(
    /// The number of a 4 KiB frame of absolute storage.
    FrameNumber,
    "frame:"
);
number!(
    /// The number of a 4 KiB page of a configuration, counted from its origin (D62).
    PageIndex,
    "page:"
);

impl AbsoluteAddress {
    /// The frame that holds this byte.
    #[must_use]
    pub const fn frame(self) -> FrameNumber {
        FrameNumber(self.0 / PAGE_SIZE)
    }

    /// Offset of this byte in its frame.
    #[must_use]
    pub const fn offset(self) -> usize {
        (self.0 % PAGE_SIZE) as usize
    }
}

impl FrameNumber {
    /// The first byte of the frame.
    #[must_use]
    pub const fn address(self) -> AbsoluteAddress {
        AbsoluteAddress(self.0.wrapping_mul(PAGE_SIZE))
    }
}

impl GuestAddress {
    /// The page that holds this byte.
    #[must_use]
    pub const fn page(self) -> PageIndex {
        PageIndex(self.0 / PAGE_SIZE)
    }
}

impl PageIndex {
    /// The first byte of the page.
    #[must_use]
    pub const fn address(self) -> GuestAddress {
        GuestAddress(self.0.wrapping_mul(PAGE_SIZE))
    }
}

impl VirtualAddress {
    /// The number of the 4 KiB page that holds this byte, over all 64 bits.
    #[must_use]
    pub const fn page(self) -> u64 {
        self.0 / PAGE_SIZE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_bytes_agree() {
        let address = AbsoluteAddress(0x12_3456);
        assert_eq!(address.frame(), FrameNumber(0x123));
        assert_eq!(address.offset(), 0x456);
        assert_eq!(address.frame().address(), AbsoluteAddress(0x12_3000));
        assert_eq!(PageIndex(3).address().page(), PageIndex(3));
    }
}
