//! Program interruptions: what the architecture answers to a CPU, as data.

use core::fmt;

/// Interruption codes that the machine can raise.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
#[repr(u16)]
pub enum ProgramCode {
    /// UVC on a machine without facility 158.
    Operation = 0x01,
    /// A privileged instruction in problem state.
    PrivilegedOperation = 0x02,
    /// A store through a protected translation.
    Protection = 0x04,
    /// A table or frame outside storage, or a guest address outside the guest.
    Addressing = 0x05,
    /// A malformed instruction or operand address.
    Specification = 0x06,
    /// Segment translation.
    SegmentTranslation = 0x10,
    /// Page translation.
    PageTranslation = 0x11,
    /// A table entry of invalid form.
    TranslationSpecification = 0x12,
    /// Address outside the space that the ASCE names.
    AsceType = 0x38,
    /// Region-first translation.
    RegionFirstTranslation = 0x39,
    /// Region-second translation.
    RegionSecondTranslation = 0x3a,
    /// Region-third translation.
    RegionThirdTranslation = 0x3b,
    /// A secure guest uses an unverified large mapping.
    SecurePageSize = 0x3c,
    /// A non-secure requestor touches a secure frame.
    SecureStorageAccess = 0x3d,
    /// A secure guest touches a frame that is not secure for it.
    NonSecureStorageAccess = 0x3e,
    /// A secure guest touches a secure frame of somebody else.
    SecureStorageViolation = 0x3f,
}

impl ProgramCode {
    /// All codes, rising.
    pub const ALL: [Self; 16] = [
        Self::Operation,
        Self::PrivilegedOperation,
        Self::Protection,
        Self::Addressing,
        Self::Specification,
        Self::SegmentTranslation,
        Self::PageTranslation,
        Self::TranslationSpecification,
        Self::AsceType,
        Self::RegionFirstTranslation,
        Self::RegionSecondTranslation,
        Self::RegionThirdTranslation,
        Self::SecurePageSize,
        Self::SecureStorageAccess,
        Self::NonSecureStorageAccess,
        Self::SecureStorageViolation,
    ];

    /// The number of the code.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// "There is no mapping": 0x10, 0x11 and 0x38 to 0x3b. All nullify.
    #[must_use]
    pub const fn is_translation_exception(self) -> bool {
        matches!(
            self,
            Self::SegmentTranslation
                | Self::PageTranslation
                | Self::AsceType
                | Self::RegionFirstTranslation
                | Self::RegionSecondTranslation
                | Self::RegionThirdTranslation
        )
    }
}

/// Kind of a storage access.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum AccessKind {
    /// Operand fetch.
    Fetch,
    /// Operand store. A control block counts as store (D19).
    Store,
    /// Instruction fetch: its address is not reported on 0x3d (T4).
    Instruction,
}

/// Address space of a failing access, as bits 62 and 63 of the TEID.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum AddressSpace {
    /// Control register 1; in SIE the guest.
    Primary = 0,
    /// Control register 7.
    Secondary = 2,
    /// Control register 13.
    Home = 3,
}

/// Translation-exception identification.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Teid(pub u64);

const ADDRESS_MASK: u64 = !0xfff;
const STORE: u64 = 0x400;
const FETCH: u64 = 0x800;
const ADDRESS_IS_RIGHT: u64 = 0x004;

impl Teid {
    /// Address of the page, kind of access and space; bit 61 stays off.
    #[must_use]
    pub const fn new(address: u64, kind: AccessKind, space: AddressSpace) -> Self {
        let kind = match kind {
            AccessKind::Fetch | AccessKind::Instruction => FETCH,
            AccessKind::Store => STORE,
        };
        Self(address & ADDRESS_MASK | kind | space as u64)
    }

    /// The same with bit 61: "the address is right", or "protection by DAT".
    #[must_use]
    pub const fn with_bit_61(self) -> Self {
        Self(self.0 | ADDRESS_IS_RIGHT)
    }

    /// Address of the failing page.
    #[must_use]
    pub const fn address(self) -> u64 {
        self.0 & ADDRESS_MASK
    }

    /// Bit 61.
    #[must_use]
    pub const fn bit_61(self) -> bool {
        self.0 & ADDRESS_IS_RIGHT != 0
    }
}

impl fmt::Debug for Teid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

/// A program interruption. Every one that this machine raises leaves storage as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProgramInterruption {
    /// The interruption code.
    pub code: ProgramCode,
    /// Translation-exception identification; zero where the code has none.
    pub teid: Teid,
}

impl ProgramInterruption {
    /// An interruption without TEID.
    #[must_use]
    pub const fn new(code: ProgramCode) -> Self {
        Self { code, teid: Teid(0) }
    }
}

impl fmt::Display for ProgramInterruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "program interruption {:#04x} ({:?}), TEID {:?}", self.code.number(), self.code, self.teid)
    }
}
