//! How an image file lies in bytes, as the image tool of s390-tools makes it (crate `pvimg`). A byte of the file
//! is loaded at the address that is its offset. Always big-endian.

use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Where the metadata lies.
pub const METADATA_OFFSET: u64 = 0xc000;
/// First 8 bytes of the metadata.
pub const METADATA_MAGIC: [u8; 8] = *b"SeImgLnx";
/// The only version of the metadata that is known.
pub const METADATA_VERSION: u32 = 1;
/// Where stage3a is loaded.
pub const STAGE3A_OFFSET: u64 = 0x1_0000;
/// Where stage3a starts to run.
pub const STAGE3A_ENTRY: u64 = 0x1_1000;
/// The header lies here, or behind a longer stage3a.
pub const HEADER_OFFSET: u64 = 0x1_4000;
/// Page starts at which old images are searched for a header.
pub const SEARCHED_PAGES: u64 = 0x15;
/// Block type of an IPL parameter block for protected guests.
pub const IPIB_TYPE: u8 = 5;
/// Longest IPL parameter block.
pub const LONGEST_IPIB: usize = 0x1000;
/// Most components that such a block lists.
pub const MOST_COMPONENTS: usize = (LONGEST_IPIB - IPIB_FIXED) / IPIB_COMPONENT;

pub(super) const IPIB_FIXED: usize = size_of::<IpibFixed>();
pub(super) const IPIB_COMPONENT: usize = size_of::<IpibComponent>();
/// The length field of an IPIB and the 8 bytes around it are not counted in its block length.
pub(super) const IPIB_HEAD: u32 = 8;

/// A format-0 PSW without its upper half: 64-bit addressing, continue at [`STAGE3A_ENTRY`].
pub(super) const SHORT_PSW: [u8; 8] = [0x00, 0x08, 0x00, 0x01, 0x80, 0x01, 0x10, 0x00];

/// Where to find what, for programs that read image files.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Metadata {
    pub(super) magic: [u8; 8],
    pub(super) header: U64,
    pub(super) version: U32,
    pub(super) ipib: U64,
}

/// An IPL information block before its list of components.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct IpibFixed {
    pub(super) length: U32,
    pub(super) flags: u8,
    pub(super) reserved: [u8; 2],
    pub(super) version: u8,
    pub(super) block_length: U32,
    pub(super) block_type: u8,
    pub(super) reserved_block: [u8; 3],
    pub(super) load_parameter: [u8; 8],
    pub(super) reserved_pv: [u8; 0x57],
    pub(super) pv_version: u8,
    pub(super) reserved_count: [u8; 4],
    pub(super) count: U32,
    pub(super) header_address: U64,
    pub(super) header_size: U64,
}

/// A component in an IPIB.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct IpibComponent {
    pub(super) prefix: U64,
    pub(super) address: U64,
    pub(super) length: U64,
}

/// The last bytes of stage3a: offsets from the place of these very bytes.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Stage3aArguments {
    pub(super) header_offset: U64,
    pub(super) header_size: U64,
    pub(super) ipib_offset: U64,
}

/// Where something lies, without padding; zeros for what is not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Extent {
    pub(super) address: U64,
    pub(super) size: U64,
}

/// The last bytes of stage3b.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Stage3bArguments {
    pub(super) kernel: Extent,
    pub(super) command_line: Extent,
    pub(super) ramdisk: Extent,
    pub(super) psw_mask: U64,
    pub(super) psw_address: U64,
}

const _: () = assert!(size_of::<Metadata>() == 28);
const _: () = assert!(IPIB_FIXED == 0x88);
const _: () = assert!(IPIB_COMPONENT == 24);
const _: () = assert!(core::mem::offset_of!(IpibFixed, pv_version) == 0x6f);
const _: () = assert!(size_of::<Stage3aArguments>() == 24);
const _: () = assert!(size_of::<Stage3bArguments>() == 64);
const _: () = assert!(MOST_COMPONENTS == 165);

/// What image tools put into a component, the first two bytes of its tweak prefix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u16)]
pub enum ComponentKind {
    /// The PSW at address 0.
    ShortPsw = 10,
    /// The metadata.
    Metadata = 20,
    /// The boot loader that asks for protection.
    Stage3a = 30,
    /// The kernel.
    Kernel = 40,
    /// The initial RAM disk.
    Ramdisk = 50,
    /// The command line of the kernel.
    CommandLine = 60,
    /// The boot loader that runs protected.
    Stage3b = 70,
    /// The SE header.
    Header = 80,
    /// The IPL information block.
    Ipib = 90,
}

impl ComponentKind {
    const ALL: [Self; 9] = [
        Self::ShortPsw,
        Self::Metadata,
        Self::Stage3a,
        Self::Kernel,
        Self::Ramdisk,
        Self::CommandLine,
        Self::Stage3b,
        Self::Header,
        Self::Ipib,
    ];

    /// The kind that a tweak prefix names. Hand-made images have any number there.
    #[must_use]
    pub fn of_prefix(prefix: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|&kind| kind as u64 == prefix >> 48)
    }

    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ShortPsw => "short PSW",
            Self::Metadata => "metadata",
            Self::Stage3a => "stage3a",
            Self::Kernel => "kernel",
            Self::Ramdisk => "ramdisk",
            Self::CommandLine => "command line",
            Self::Stage3b => "stage3b",
            Self::Header => "SE header",
            Self::Ipib => "IPIB",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_the_first_two_bytes_of_a_prefix() {
        for kind in ComponentKind::ALL {
            assert_eq!(ComponentKind::of_prefix((kind as u64) << 48 | 0x1234_5678_9abc), Some(kind));
        }
        assert_eq!(ComponentKind::of_prefix(0x42), None);
        assert!(ComponentKind::ALL.is_sorted(), "prefixes rise in image order");
    }
}
