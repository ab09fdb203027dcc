//! Operands of the life-cycle verbs: what a host can ask of KVM.

use uvsim_model::address::PAGE_SIZE;

use super::document::BufferId;
use crate::image::SeImage;

/// A command of `host pv`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PvCommand {
    /// `enable`
    Enable,
    /// `disable`
    Disable,
    /// `set-sec-parms`; as many bytes as the header has, unless `len=` says otherwise.
    SetSecParms {
        /// `len=`
        length: Option<u32>,
    },
    /// `unpack`
    Unpack(Unpack),
    /// `verify`
    Verify,
    /// `prep-reset`
    PrepReset,
    /// `unshare-all`
    UnshareAll,
    /// `info`
    Info {
        /// Where the answer goes.
        save: Option<BufferId>,
    },
    /// `dump`
    Dump,
    /// `async-cleanup-prepare`
    AsyncCleanupPrepare,
    /// `async-cleanup-perform`
    AsyncCleanupPerform {
        /// At most so many pages this time.
        pages: Option<u64>,
        /// End it there by a fatal signal.
        signal: bool,
    },
}

/// The names of the commands.
pub const PV_COMMANDS: [&str; 11] = [
    "enable",
    "disable",
    "set-sec-parms",
    "unpack",
    "verify",
    "prep-reset",
    "unshare-all",
    "info",
    "dump",
    "async-cleanup-prepare",
    "async-cleanup-perform",
];

/// A part of a guest's image.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum ImagePart {
    /// All components.
    #[default]
    All,
    /// One component, counted from 0 in the order of unpacking.
    Component(u64),
    /// The page of the image that belongs at this guest page.
    Page(u64),
}

/// Operands of `unpack`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub struct Unpack {
    /// What is unpacked.
    pub part: ImagePart,
    /// `addr=` instead of the address of the component.
    pub address: Option<u64>,
    /// `size=` instead of its size.
    pub size: Option<u64>,
    /// `tweak=` instead of its prefix.
    pub tweak: Option<u64>,
}

/// The operands as KVM gets them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Region {
    pub(crate) address: u64,
    pub(crate) size: u64,
    pub(crate) tweak: u64,
}

impl Unpack {
    /// What KVM gets, where that is not simply what the image says.
    pub(crate) fn region(&self, image: &SeImage) -> Option<Region> {
        let ImagePart::Component(number) = self.part else { return None };
        if (self.address, self.size, self.tweak) == (None, None, None) {
            return None;
        }
        let component = usize::try_from(number).ok().and_then(|number| image.components.get(number));
        let (address, size, tweak) =
            component.map_or((0, 0, 0), |found| (found.address, found.data.len() as u64, found.prefix));
        Some(Region {
            address: self.address.unwrap_or(address),
            size: self.size.unwrap_or(size),
            tweak: self.tweak.unwrap_or(tweak),
        })
    }
}

impl Region {
    /// KVM wants whole pages, at least one.
    pub(crate) fn is_aligned(self) -> bool {
        self.size != 0 && self.size.is_multiple_of(PAGE_SIZE) && self.address.is_multiple_of(PAGE_SIZE)
    }
}

/// A reset of a vCPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum CpuReset {
    /// CPU_RESET
    Normal,
    /// CPU_RESET_INITIAL
    Initial,
    /// CPU_RESET_CLEAR
    Clear,
}

/// A state that a host can give a vCPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum MpState {
    /// Runs.
    Operating,
    /// Does not.
    Stopped,
    /// Runs, from the program-status word that the Ultravisor has for it.
    Load,
    /// KVM has the word and refuses it.
    CheckStop,
}

impl MpState {
    /// Its number in CPU_SET_STATE.
    #[must_use]
    pub const fn code(self) -> u64 {
        match self {
            Self::Operating => 1,
            Self::Stopped => 2,
            Self::CheckStop => 3,
            Self::Load => 5,
        }
    }
}

/// A diagnose of a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct GuestDiagnose {
    /// The function code.
    pub function: u16,
    /// General registers 0 to 4.
    pub registers: [u64; 5],
    /// What the register behind the first operand must hold, where the hypervisor answers at once.
    pub register: Option<u64>,
}

/// What `check cpu` looks at; at least one is given.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CpuCheck {
    /// State.
    pub state: Option<CpuState>,
    /// Whether SIE is refused to the whole configuration until a reset is done.
    pub reset_pending: Option<bool>,
    /// Prefix.
    pub prefix: Option<u64>,
    /// Mask and address of the program-status word.
    pub psw: [Option<u64>; 2],
    /// General registers.
    pub general: [Option<u64>; 16],
}

/// State of a CPU of a configuration, in the words of the language.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum CpuState {
    /// There is no such CPU.
    None,
    /// May be entered.
    Operating,
    /// Does not run.
    Stopped,
    /// Check-stop.
    CheckStop,
}

/// What `check leaks` looks at; at least one is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct LeakCheck {
    /// Configurations.
    pub configurations: Option<u64>,
    /// CPUs.
    pub cpus: Option<u64>,
    /// Frames.
    pub frames: Option<u64>,
}
