//! Dynamic address translation: the walk through region, segment and page tables in absolute storage.
//!
//! Table origins are absolute (D60). A fetch of a table entry is a non-secure access: a table in a
//! secure frame ends the walk with a secure-storage access.

use super::arena::{RequestorNumber, Storage};
use super::interruption::ProgramCode;
use super::translator;
use crate::address::{AbsoluteAddress, VirtualAddress};
use core::fmt;

/// An address-space-control element: where the tables of a space lie and how deep they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Asce(pub u64);

impl Asce {
    const ORIGIN: u64 = !0xfff;
    const PRIVATE: u64 = 0x100;
    const REAL: u64 = 0x020;

    /// Origin of the top table.
    #[must_use]
    pub const fn origin(self) -> AbsoluteAddress {
        AbsoluteAddress(self.0 & Self::ORIGIN)
    }

    /// Private space: CREATE_SEC_CONF asks for it.
    #[must_use]
    pub const fn is_private(self) -> bool {
        self.0 & Self::PRIVATE != 0
    }

    /// Real space: addresses are real, there are no tables.
    #[must_use]
    pub const fn is_real_space(self) -> bool {
        self.0 & Self::REAL != 0
    }

    const fn top(self) -> Level {
        match self.0 >> 2 & 3 {
            3 => Level::RegionFirst,
            2 => Level::RegionSecond,
            1 => Level::RegionThird,
            _ => Level::Segment,
        }
    }

    const fn length(self) -> u64 {
        self.0 & 3
    }
}

impl fmt::Debug for Asce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ASCE {:#x}", self.0)
    }
}

/// How a walk ends without a translation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TranslationFault {
    /// The architected exception.
    Exception(ProgramCode),
    /// The table at this address lies in a secure frame: 0x3d.
    SecureTable(AbsoluteAddress),
}

/// A successful walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Translation {
    /// The translated byte: real for a host space, absolute for a guest's (D60).
    pub(crate) address: u64,
    /// The table entry that named the frame.
    pub(crate) leaf: AbsoluteAddress,
    /// Absolute in any case.
    pub(crate) absolute: bool,
    /// DAT protection somewhere on the path.
    pub(crate) protected: bool,
    /// Reached through an entry with the format-control bit.
    pub(crate) large: bool,
}

/// A level of the translation tables.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Level {
    RegionFirst,
    RegionSecond,
    RegionThird,
    Segment,
    Page,
}

const INVALID: u64 = 0x020;
const PAGE_INVALID: u64 = 0x400;
const PAGE_RESERVED: u64 = 0x800;
const PROTECTED: u64 = 0x200;
const FORMAT_CONTROL: u64 = 0x400;
const COMMON: u64 = 0x010;

impl Level {
    /// Shift of the index of this level.
    pub(crate) const fn shift(self) -> u32 {
        match self {
            Self::RegionFirst => 53,
            Self::RegionSecond => 42,
            Self::RegionThird => 31,
            Self::Segment => 20,
            Self::Page => 12,
        }
    }

    const fn exception(self) -> ProgramCode {
        match self {
            Self::RegionFirst => ProgramCode::RegionFirstTranslation,
            Self::RegionSecond => ProgramCode::RegionSecondTranslation,
            Self::RegionThird => ProgramCode::RegionThirdTranslation,
            Self::Segment => ProgramCode::SegmentTranslation,
            Self::Page => ProgramCode::PageTranslation,
        }
    }

    /// The table-type field that an entry of this level must have.
    const fn table_type(self) -> u64 {
        match self {
            Self::RegionFirst => 3,
            Self::RegionSecond => 2,
            Self::RegionThird => 1,
            Self::Segment | Self::Page => 0,
        }
    }

    const fn next(self) -> Self {
        match self {
            Self::RegionFirst => Self::RegionSecond,
            Self::RegionSecond => Self::RegionThird,
            Self::RegionThird => Self::Segment,
            Self::Segment | Self::Page => Self::Page,
        }
    }

    /// The index of an address at this level.
    pub(crate) const fn index(self, address: VirtualAddress) -> u64 {
        let mask = match self {
            Self::Page => 0xff,
            _ => 0x7ff,
        };
        address.0 >> self.shift() & mask
    }
}

/// Translates one address.
///
/// # Errors
/// The exception of the level at which the walk ends, in the order in which the machine meets them;
/// protection is not an error here, since it depends on the access.
pub(crate) fn walk(
    storage: &Storage,
    requestor: RequestorNumber,
    asce: Asce,
    address: VirtualAddress,
) -> Result<Translation, TranslationFault> {
    if asce.is_real_space() {
        let leaf = AbsoluteAddress(u64::MAX);
        return Ok(Translation { address: address.0, leaf, absolute: false, protected: false, large: false });
    }
    if let Some(translator) = storage.translators().find(asce) {
        return translator::walk(storage, &*translator, address);
    }
    let mut level = asce.top();
    if level != Level::RegionFirst && address.0 >> (level.shift() + 11) != 0 {
        return exception(ProgramCode::AsceType);
    }
    if level.index(address) >> 9 > asce.length() {
        return exception(level.exception());
    }
    let mut origin = asce.origin().0;
    let mut protected = false;
    loop {
        let at = AbsoluteAddress(origin.wrapping_add(level.index(address) * 8));
        let entry = fetch(storage, requestor, at)?;
        if level == Level::Page {
            return page_entry(entry, at, protected, address);
        }
        if entry & INVALID != 0 {
            return exception(level.exception());
        }
        let common = matches!(level, Level::RegionThird | Level::Segment) && entry & COMMON != 0;
        if entry >> 2 & 3 != level.table_type() || (common && asce.is_private()) {
            return exception(ProgramCode::TranslationSpecification);
        }
        protected |= entry & PROTECTED != 0;
        if matches!(level, Level::RegionThird | Level::Segment) && entry & FORMAT_CONTROL != 0 {
            let mask = (1u64 << level.shift()) - 1;
            let address = entry & !mask | address.0 & mask;
            return Ok(Translation { address, leaf: at, absolute: false, protected, large: true });
        }
        let next = level.next();
        if next == Level::Page {
            origin = entry & !0x7ff;
        } else {
            let section = next.index(address) >> 9;
            if section < (entry >> 6 & 3) || section > (entry & 3) {
                return exception(next.exception());
            }
            origin = entry & !0xfff;
        }
        level = next;
    }
}

fn page_entry(
    entry: u64,
    at: AbsoluteAddress,
    protected: bool,
    address: VirtualAddress,
) -> Result<Translation, TranslationFault> {
    if entry & PAGE_INVALID != 0 {
        return exception(ProgramCode::PageTranslation);
    }
    if entry & PAGE_RESERVED != 0 {
        return exception(ProgramCode::TranslationSpecification);
    }
    Ok(Translation {
        address: entry & !0xfff | address.0 & 0xfff,
        leaf: at,
        absolute: false,
        protected: protected || entry & PROTECTED != 0,
        large: false,
    })
}

/// Announced like every access, so that a frame that becomes secure in the meantime gives nothing away.
fn fetch(storage: &Storage, requestor: RequestorNumber, at: AbsoluteAddress) -> Result<u64, TranslationFault> {
    if !storage.contains(at, 8) {
        return Err(TranslationFault::Exception(ProgramCode::Addressing));
    }
    let access = storage.begin(requestor, at.frame());
    if access.zone().is_secure() {
        return Err(TranslationFault::SecureTable(at));
    }
    let mut bytes = [0; 8];
    access.load(at.offset(), &mut bytes);
    Ok(storage.order().u64(bytes))
}

fn exception<T>(code: ProgramCode) -> Result<T, TranslationFault> {
    Err(TranslationFault::Exception(code))
}

/// Real to absolute and back: the two 8 KiB blocks at zero and at the prefix change places.
#[inline(always)]
pub(crate) const fn apply_prefix(real: u64, prefix: u64) -> AbsoluteAddress {
    const BLOCK: u64 = !0x1fff;
    AbsoluteAddress(match real & BLOCK {
        0 => prefix | real,
        block if block == prefix => real & !BLOCK,
        _ => real,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ByteOrder;

    const TOP: u64 = 0x1_0000;
    const CPU: RequestorNumber = RequestorNumber(0);

    /// Tables for one address at all five levels, each full length.
    fn tables() -> Storage {
        let storage = Storage::new(4 << 20, 1, ByteOrder::Big).unwrap();
        storage.store_u64(AbsoluteAddress(TOP + 8), 0x2_0000 | 0xc | 3).unwrap();
        storage.store_u64(AbsoluteAddress(0x2_0000 + 2 * 8), 0x3_0000 | 0x8 | 3).unwrap();
        storage.store_u64(AbsoluteAddress(0x3_0000 + 3 * 8), 0x4_0000 | 0x4 | 3).unwrap();
        storage.store_u64(AbsoluteAddress(0x4_0000 + 4 * 8), 0x5_0800).unwrap();
        storage.store_u64(AbsoluteAddress(0x5_0800 + 5 * 8), 0x10_0000).unwrap();
        storage
    }

    const SPACES: [(u64, u64); 4] = [
        (TOP | 0xc | 3, 1 << 53 | 2 << 42 | 3 << 31 | 4 << 20 | 5 << 12),
        (0x2_0000 | 0x8 | 3, 2 << 42 | 3 << 31 | 4 << 20 | 5 << 12),
        (0x3_0000 | 0x4 | 3, 3 << 31 | 4 << 20 | 5 << 12),
        (0x4_0000 | 3, 4 << 20 | 5 << 12),
    ];

    fn fault(storage: &Storage, asce: u64, address: u64) -> ProgramCode {
        match walk(storage, CPU, Asce(asce), VirtualAddress(address)) {
            Err(TranslationFault::Exception(code)) => code,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_depth_translates() {
        let storage = tables();
        for (asce, address) in SPACES {
            let found = walk(&storage, CPU, Asce(asce), VirtualAddress(address | 0x123)).unwrap();
            assert_eq!(found.address, 0x10_0123);
            assert_eq!(found.leaf, AbsoluteAddress(0x5_0828));
            assert!(!found.protected && !found.large);
        }
    }

    #[test]
    fn invalid_entries_raise_the_exception_of_their_level() {
        use ProgramCode::*;
        let storage = tables();
        let (asce, address) = SPACES[0];
        for (at, bit, code) in [
            (0x5_0828, 0x400, PageTranslation),
            (0x4_0020, 0x20, SegmentTranslation),
            (0x3_0018, 0x20, RegionThirdTranslation),
            (0x2_0010, 0x20, RegionSecondTranslation),
            (TOP + 8, 0x20, RegionFirstTranslation),
        ] {
            let at = AbsoluteAddress(at);
            let entry = storage.load_u64(at).unwrap();
            storage.store_u64(at, entry | bit).unwrap();
            assert_eq!(fault(&storage, asce, address), code);
            storage.store_u64(at, entry).unwrap();
        }
        assert!(walk(&storage, CPU, Asce(asce), VirtualAddress(address)).is_ok());
    }

    #[test]
    fn lengths_and_types_are_checked() {
        use ProgramCode::*;
        let storage = tables();
        assert_eq!(fault(&storage, 0x4_0000 | 3, 1 << 31), AsceType);
        assert_eq!(fault(&storage, 0x3_0000 | 0x4 | 3, 1 << 42), AsceType);
        assert_eq!(fault(&storage, 0x2_0000 | 0x8 | 3, 1 << 53), AsceType);
        assert_eq!(fault(&storage, 0x4_0000, 0x200 << 20), SegmentTranslation, "beyond the table length");
        assert_eq!(fault(&storage, 0x3_0000 | 0x4, 0x200 << 31), RegionThirdTranslation);
        assert_eq!(fault(&storage, 0x2_0000 | 0x8, 0x200 << 42), RegionSecondTranslation);
        assert_eq!(fault(&storage, TOP | 0xc, 0x200 << 53), RegionFirstTranslation);
        // A region-third entry that names only the second quarter of its segment table.
        let at = AbsoluteAddress(0x3_0018);
        storage.store_u64(at, 0x4_0000 | 0x4 | 0x40 | 1).unwrap();
        assert_eq!(fault(&storage, SPACES[2].0, SPACES[2].1), SegmentTranslation, "before the offset");
        storage.store_u64(at, 0x4_0000 | 0x4 | 0x80 | 1).unwrap();
        assert_eq!(fault(&storage, SPACES[2].0, SPACES[2].1 | 0x200 << 20), SegmentTranslation, "TF > TL");
        storage.store_u64(at, 0x4_0000 | 0x8 | 3).unwrap();
        assert_eq!(fault(&storage, SPACES[2].0, SPACES[2].1), TranslationSpecification, "wrong table type");
    }

    #[test]
    fn reserved_bits_and_common_entries() {
        use ProgramCode::*;
        let storage = tables();
        let (asce, address) = SPACES[2];
        storage.store_u64(AbsoluteAddress(0x5_0828), 0x10_0800).unwrap();
        assert_eq!(fault(&storage, asce, address), TranslationSpecification);
        storage.store_u64(AbsoluteAddress(0x5_0828), 0x10_0000).unwrap();
        for (at, entry) in [(0x4_0020, 0x5_0800u64), (0x3_0018, 0x4_0000 | 0x4 | 3)] {
            storage.store_u64(AbsoluteAddress(at), entry | 0x10).unwrap();
            assert!(walk(&storage, CPU, Asce(asce), VirtualAddress(address)).is_ok());
            assert_eq!(fault(&storage, asce | 0x100, address), TranslationSpecification, "common in private");
            storage.store_u64(AbsoluteAddress(at), entry).unwrap();
        }
    }

    #[test]
    fn large_frames_and_protection() {
        let storage = tables();
        let (asce, address) = SPACES[2];
        storage.store_u64(AbsoluteAddress(0x4_0020), 0x20_0000 | 0x400 | 0x200).unwrap();
        let found = walk(&storage, CPU, Asce(asce), VirtualAddress(address | 0xabc)).unwrap();
        assert_eq!((found.address, found.large, found.protected), (0x20_0000 | 5 << 12 | 0xabc, true, true));
        storage.store_u64(AbsoluteAddress(0x3_0018), 0x8000_0000 | 0x4 | 0x400).unwrap();
        let found = walk(&storage, CPU, Asce(asce), VirtualAddress(address | 0xabc)).unwrap();
        assert_eq!((found.address, found.large), (0x8000_0000 | 4 << 20 | 5 << 12 | 0xabc, true));
    }

    #[test]
    fn protection_anywhere_on_the_path_counts() {
        for at in [TOP + 8, 0x2_0010, 0x3_0018, 0x4_0020, 0x5_0828] {
            let storage = tables();
            let entry = storage.load_u64(AbsoluteAddress(at)).unwrap();
            storage.store_u64(AbsoluteAddress(at), entry | 0x200).unwrap();
            let found = walk(&storage, CPU, Asce(SPACES[0].0), VirtualAddress(SPACES[0].1)).unwrap();
            assert!(found.protected, "{at:#x}");
        }
    }

    #[test]
    fn tables_outside_storage_and_in_secure_frames() {
        let storage = tables();
        assert_eq!(fault(&storage, 0x40_0000 | 3, 0), ProgramCode::Addressing);
        let lock = storage.try_lock(AbsoluteAddress(0x5_0000).frame()).unwrap();
        lock.commit(crate::storage::FrameState::Donated(crate::storage::Donation::Base));
        let found = walk(&storage, CPU, Asce(SPACES[3].0), VirtualAddress(SPACES[3].1));
        assert_eq!(found, Err(TranslationFault::SecureTable(AbsoluteAddress(0x5_0828))));
    }

    #[test]
    fn prefixing_swaps_two_blocks() {
        assert_eq!(apply_prefix(0x10, 0x8000), AbsoluteAddress(0x8010));
        assert_eq!(apply_prefix(0x9010, 0x8000), AbsoluteAddress(0x1010));
        assert_eq!(apply_prefix(0xa010, 0x8000), AbsoluteAddress(0xa010));
        assert_eq!(apply_prefix(0x1010, 0), AbsoluteAddress(0x1010));
    }
}
