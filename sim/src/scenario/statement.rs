//! Statements with typed operands.

use uvsim_model::address::PageIndex;
use uvsim_model::uvc::{Command, Field};

use super::document::{BufferId, GuestId};
use super::io::{ConsoleText, GuestIo, IoCheck};
use super::life::{CpuCheck, CpuReset, GuestDiagnose, ImagePart, LeakCheck, MpState, PvCommand};
use super::outcome::Expectation;
use super::place::Place;

/// One statement.
#[derive(Clone, PartialEq, Debug)]
pub struct Statement {
    /// Where it stands.
    pub place: Place,
    /// The text as written, single-spaced.
    pub text: String,
    /// The host CPU (it exists) or the vCPU (it may not exist) that acts; 0 where no CPU does.
    pub cpu: u16,
    /// How it must end; for a range of pages, at each.
    pub expectation: Expectation,
    /// What is done.
    pub verb: Verb,
}

impl Statement {
    /// Whether the statement checks anything: by `expect=`, by a comparison, or as a `check`.
    #[must_use]
    pub fn checks(&self) -> bool {
        self.expectation.explicit || self.verb.checks()
    }
}

/// Pages of one guest, the last included. Pages outside the guest occur only in guest read, write,
/// share, unshare and host import, unpin (D71).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Pages {
    /// Whose pages.
    pub guest: GuestId,
    /// First page.
    pub first: PageIndex,
    /// Last page, not before the first.
    pub last: PageIndex,
}

impl Pages {
    /// How many; at least 1.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub fn len(self) -> u64 {
        self.last.0 - self.first.0 + 1
    }

    /// The pages, ascending.
    pub fn iter(self) -> impl Iterator<Item = PageIndex> {
        (self.first.0..=self.last.0).map(PageIndex)
    }
}

/// Every verb. Where a verb takes pages, it runs for each of them, ascending.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "the fields are the operands of the language, under their names")]
pub enum Verb {
    /// `host read`
    HostRead { pages: Pages, read: Read },
    /// `host write`
    HostWrite { pages: Pages, write: Write },
    /// `host flip`: bit 0 is the leftmost of byte 0.
    HostFlip { pages: Pages, bit: u16 },
    /// `host export`
    HostExport { pages: Pages },
    /// `host import`
    HostImport { pages: Pages },
    /// `host destroy`
    HostDestroy { pages: Pages },
    /// `host pin`
    HostPin { pages: Pages },
    /// `host unpin`
    HostUnpin { pages: Pages },
    /// `host make-accessible`
    HostMakeAccessible { pages: Pages },
    /// `host page-out`
    HostPageOut { pages: Pages },
    /// `host page-in`
    HostPageIn { pages: Pages },
    /// `host move`; `purge` is whether the translation buffers are purged (D69).
    HostMove { pages: Pages, purge: bool },
    /// `host remap`; `to` is as long as `pages`.
    HostRemap { pages: Pages, to: Pages, purge: bool },
    /// `host copy`; `to` is as long as `pages`.
    HostCopy { pages: Pages, to: Pages },
    /// `host unmap`
    HostUnmap { pages: Pages, purge: bool },
    /// `host create`
    HostCreate { guest: GuestId },
    /// `host start`
    HostStart { guest: GuestId },
    /// `host stop`
    HostStop { guest: GuestId },
    /// `host unshare-all`
    HostUnshareAll { guest: GuestId },
    /// `host teardown`
    HostTeardown { guest: GuestId, fast: bool },
    /// `host reset-machine`
    HostResetMachine,
    /// `host pv`
    HostPv { guest: GuestId, command: PvCommand },
    /// `host create-cpu`
    HostCreateCpu { guest: GuestId, vcpu: u16 },
    /// `host cpu-reset`
    HostCpuReset { guest: GuestId, vcpu: u16, kind: CpuReset },
    /// `host cpu-state`
    HostCpuState { guest: GuestId, vcpu: u16, state: MpState },
    /// `host reset`
    HostReset { guest: GuestId },
    /// `host load-image`; `block` and `header` are where the IPL parameter block and the header go.
    HostLoadImage { guest: GuestId, part: ImagePart, block: Option<(u64, u64)> },
    /// `host write-header`
    HostWriteHeader { guest: GuestId, offset: u16, data: Source },
    /// `host flip-header`: bit 0 is the leftmost of byte 0.
    HostFlipHeader { guest: GuestId, bit: u32 },
    /// `host faults`
    HostFaults { policy: FaultPolicy },
    /// `host inject`
    HostInject { command: Command, injection: Injection },
    /// `host uvc`
    HostUvc { call: UvcCall },
    /// `device read`
    DeviceRead { pages: Pages, read: Read },
    /// `device write`
    DeviceWrite { pages: Pages, write: Write },
    /// `guest read`
    GuestRead { pages: Pages, read: Read },
    /// `guest write`
    GuestWrite { pages: Pages, write: Write },
    /// `guest share`
    GuestShare { pages: Pages },
    /// `guest unshare`
    GuestUnshare { pages: Pages },
    /// `guest verify`: the guest reads back what should lie from `address` on, while the host keeps at most
    /// `frames` of these pages resident.
    GuestVerify { guest: GuestId, address: u64, data: Vec<u8>, frames: Option<u64> },
    /// `guest diagnose`
    GuestDiagnose { guest: GuestId, diagnose: GuestDiagnose },
    /// `guest set-prefix`
    GuestSetPrefix { guest: GuestId, prefix: u64 },
    /// `guest uvc`
    GuestUvc { guest: GuestId, call: UvcCall },
    /// `guest disk-read`, `disk-write`, `send`, `receive`, `console-write`, `entropy`, `remove-devices`
    GuestIo { guest: GuestId, io: GuestIo },
    /// `host console-write`, `console-read`: the other end of what a guest does by [`GuestIo`].
    HostConsole { guest: GuestId, console: usize, text: ConsoleText },
    /// `check page`
    CheckPage { pages: Pages, check: PageCheck },
    /// `check equal`: same length, same bytes.
    CheckEqual { left: BufferId, right: BufferId },
    /// `check differ`: not the same over the shorter length.
    CheckDiffer { left: BufferId, right: BufferId },
    /// `check zero`
    CheckZero { buffer: BufferId },
    /// `check cpu`
    CheckCpu { guest: GuestId, vcpu: u16, check: Box<CpuCheck> },
    /// `check leaks`
    CheckLeaks { guest: GuestId, check: LeakCheck },
    /// `check io`
    CheckIo { guest: GuestId, check: IoCheck },
    /// `check invariants`
    CheckInvariants,
}

impl Verb {
    fn checks(&self) -> bool {
        match self {
            Self::HostRead { read, .. } | Self::DeviceRead { read, .. } | Self::GuestRead { read, .. } => {
                read.compare.is_some()
            }
            Self::GuestDiagnose { diagnose, .. } => diagnose.register.is_some(),
            Self::GuestIo { io, .. } => io.compares(),
            Self::HostConsole { text, .. } => matches!(text, ConsoleText::Read { compare: Some(_), .. }),
            Self::GuestVerify { .. }
            | Self::CheckPage { .. }
            | Self::CheckEqual { .. }
            | Self::CheckDiffer { .. }
            | Self::CheckZero { .. }
            | Self::CheckLeaks { .. }
            | Self::CheckIo { .. }
            | Self::CheckCpu { .. }
            | Self::CheckInvariants => true,
            _ => false,
        }
    }
}

/// Bytes that the file gives, or that an earlier statement saved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// These bytes, at least one.
    Bytes(Vec<u8>),
    /// The content of a buffer when the statement runs.
    Buffer(BufferId),
}

/// Operands of a read. The access does not cross the page, unless it takes the length of a buffer
/// that was saved with different lengths: that shows only at run time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Read {
    /// First byte in the page.
    pub offset: u16,
    /// Bytes; none only with `equals=` and no `len=`: as many as the buffer holds.
    pub length: Option<u16>,
    /// Where the bytes go.
    pub save: Option<BufferId>,
    /// What they must be; another length is a failed comparison.
    pub compare: Option<Source>,
}

/// Operands of a write; see [`Read`] about the end of the page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    /// First byte in the page.
    pub offset: u16,
    /// What is written.
    pub data: Source,
}

/// How the host kernel answers guest faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum FaultPolicy {
    /// As Linux does.
    #[default]
    Linux,
    /// Not at all: the fault is the outcome.
    Stop,
}

/// What is injected into the calls of a command (D17).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Injection {
    /// The next N calls answer condition code 2.
    Busy(u64),
    /// The next N calls answer condition code 3.
    Partial(u64),
    /// The next call does its work and answers rc 0x8000 ORed to its code; CREATE_SEC_CONF only.
    LateFailure,
}

/// A raw call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UvcCall {
    /// The code at offset 2 of the block.
    pub code: u16,
    /// The command with this code, if there is one.
    pub command: Option<Command>,
    /// The length at offset 0 of the block: the usual one of the command, unless `len=` says another;
    /// 8 for an unknown command.
    pub length: u16,
    /// The block from offset 8 on, under the fields; may be empty.
    pub bytes: Vec<u8>,
    /// Fields to set, in file order, each at most once.
    pub fields: Vec<(Field, FieldValue)>,
    /// Where the block goes as the call leaves it.
    pub save: Option<BufferId>,
    /// Issue the instruction in the problem state.
    pub problem_state: bool,
    /// Immediate fields of the instruction: the third in the high half, the fourth in the low half.
    pub immediate: u8,
    /// Added to the address of the block.
    pub skew: u16,
}

impl Injection {
    /// How many calls it concerns.
    #[must_use]
    pub const fn calls(self) -> u64 {
        match self {
            Self::Busy(calls) | Self::Partial(calls) => calls,
            Self::LateFailure => 1,
        }
    }
}

/// The value of a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum FieldValue {
    /// This number; it fits the field.
    Number(u64),
    /// `(handle)alpha`: the handle of the configuration.
    Handle(GuestId),
    /// `(cpu)alpha:0`: the handle of a vCPU.
    Cpu(GuestId, u16),
    /// `(frame)alpha:3`: the absolute address of the frame that the host has mapped there.
    Frame(GuestId, PageIndex),
    /// `(page)alpha:3`: the guest absolute address of the page.
    Page(GuestId, PageIndex),
    /// `(header)alpha`: where the host keeps a copy of the guest's SE header.
    Header(GuestId),
    /// `(header-length)alpha`: bytes of the header.
    HeaderLength(GuestId),
    /// `(tweak-prefix)alpha:3`: tweak prefix of the image page that belongs there.
    TweakPrefix(GuestId, PageIndex),
    /// `(tweak-offset)alpha:3`: tweak offset of the image page that belongs there.
    TweakOffset(GuestId, PageIndex),
}

/// What `check page` looks at; at least one is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct PageCheck {
    /// State of the page's record.
    pub state: Option<RecordState>,
    /// Encryption counter of the page's record.
    pub counter: Option<u64>,
    /// Security of the frame mapped there.
    pub frame: Option<FrameSecurity>,
}

/// State of a page's record, in the words of the language.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum RecordState {
    /// No record, or no configuration.
    Absent,
    /// In a secure frame.
    Resident,
    /// Encrypted.
    Exported,
    /// Shared with the host, with or without a frame.
    Shared,
    /// Shared, and pinned by the host.
    Pinned,
    /// Destroyed.
    Destroyed,
}

/// Security of a frame, in the words of the language.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum FrameSecurity {
    /// Its secure bit is one.
    Secure,
    /// Its secure bit is zero.
    NonSecure,
    /// No frame is mapped.
    None,
}
