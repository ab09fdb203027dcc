//! What a schedule is made of.

use crate::image::{Change, Image, Slip};
use std::sync::LazyLock;
use uvsim_model::Injection;
use uvsim_model::config::{ChangeDetection, CipherProfile, Generation, MachineConfig};
use uvsim_model::crypto::PrivateKey;
use uvsim_model::uvc::Command;

pub(crate) static HOST_KEY: LazyLock<PrivateKey> = LazyLock::new(|| MachineConfig::default().host_keys().host);

/// Guests at a time.
pub(crate) const SLOTS: usize = 2;
/// Pages that guests use; more exist, but the host never maps them.
pub(crate) const PAGES: u8 = 8;
/// Frames that the host hands out.
pub(crate) const POOL: usize = 14;
/// All frames that a step may name: the pool, one frame of the zone base area, first base and last
/// variable frame of each slot, the frame that holds the control blocks.
pub(crate) const FRAMES: usize = POOL + 1 + 2 * SLOTS + 1;
pub(crate) const UV_FRAME: usize = POOL;
pub(crate) const BLOCK_FRAME: usize = FRAMES - 1;

/// What a machine is, as far as it changes answers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Setup {
    pub generation: Generation,
    pub misc: bool,
    pub detection: ChangeDetection,
    pub cipher: CipherProfile,
}

impl Setup {
    pub(crate) fn config(self) -> MachineConfig {
        MachineConfig {
            generation: self.generation,
            feature_misc: Some(self.misc),
            change_detection: self.detection,
            cipher: self.cipher,
            // One key for all machines: drawing one takes longer than most schedules.
            host_key: Some(HOST_KEY.clone()),
            backup_host_key: Some(HOST_KEY.clone()),
            ..crate::support::config()
        }
    }
}

/// A run from a machine with an initialised Ultravisor to its teardown.
#[derive(Clone)]
pub(crate) struct Schedule {
    pub setup: Setup,
    /// Which slots hold a running guest when the steps begin.
    pub ready: [bool; SLOTS],
    pub steps: Vec<Step>,
}

impl std::fmt::Debug for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{:?}\nready guests: {:?}", self.setup, self.ready)?;
        self.steps.iter().enumerate().try_for_each(|(number, step)| writeln!(f, "{number:3}  {step:?}"))
    }
}

/// What a guest stores.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Text {
    /// A whole page that nobody has ever seen.
    Secret,
    /// A whole page of zeros.
    Zeros,
    /// The whole page as it is.
    Same,
    /// The whole page as it was exported last.
    AsExported,
    /// 16 bytes.
    Piece(u8),
    /// 32 bytes across the end of the page.
    Straddle,
}

/// What the host does about translation buffers when it changes a mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purged {
    No,
    Ipte,
    /// On CPU 0 only.
    Ptlb,
}

/// A frame, by its number or as the place of a guest's page: the frame that holds it, else the one that is
/// mapped at it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Spot {
    Frame(usize),
    Page(usize, u8),
}

/// What the host gives a guest for a page that it has exported.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Offer {
    /// What it got.
    Latest,
    /// One bit of it is another.
    Flipped(u16),
    /// Something else that was exported once: an older version, another page, another guest's.
    Saved(usize),
    /// A page of its own.
    Own,
}

/// An instruction of a guest that its host gets to know.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Instruction {
    Diagnose(u16),
    /// Diagnose 0x308: subcode, address of a list.
    Ipl(u64, u64),
    SetPrefix(u64),
}

/// How an image is loaded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BootPlan {
    pub image: Image,
    pub change: Change,
    pub slip: Slip,
    /// Where the host lays the first page.
    pub frame: Option<Spot>,
    /// A header that was refused is followed by the genuine one.
    pub again: bool,
    /// VERIFY_IMG is tried before the first page.
    pub early: bool,
}

impl BootPlan {
    pub(crate) fn whole(page: Option<u8>) -> Self {
        let (image, change, slip) = (Image::of(page), Change::None, Slip::None);
        Self { image, change, slip, frame: None, again: false, early: false }
    }
}

/// One step of the host, a device or a guest. Guests are slots, frames are indices into [`FRAMES`], `low`
/// are the low bits of an operand.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    HostLoad {
        frame: Spot,
    },
    HostFetch {
        frame: Spot,
    },
    HostStore {
        frame: Spot,
    },
    HostFlip {
        frame: Spot,
        bit: u16,
    },
    Copy {
        from: Spot,
        to: Spot,
    },
    Replay {
        saved: usize,
        frame: Spot,
    },
    DeviceRead {
        frame: Spot,
    },
    DeviceWrite {
        frame: Spot,
    },
    /// Into this frame of the pool and the next.
    Straddle {
        frame: usize,
        device: bool,
    },
    Map {
        guest: usize,
        page: u8,
        frame: Spot,
        protected: bool,
        purged: Purged,
    },
    Unmap {
        guest: usize,
        page: u8,
        purged: Purged,
    },
    Import {
        guest: usize,
        page: u16,
        low: u16,
        again: bool,
    },
    Export {
        frame: Spot,
        low: u16,
        again: bool,
    },
    Destroy {
        frame: Spot,
        low: u16,
        again: bool,
    },
    Pin {
        frame: Spot,
        low: u16,
        again: bool,
    },
    Unpin {
        guest: usize,
        page: u16,
        low: u16,
        again: bool,
    },
    /// A page loses its content for the host's bytes, or for zeros, and is exported.
    Forget {
        guest: usize,
        page: u8,
        by_guest: bool,
    },
    /// The guest opens a page and the host pins it.
    Lend {
        guest: usize,
        page: u8,
    },
    UnshareAll {
        guest: usize,
        stop: bool,
    },
    /// `helped`: the host has brought the page in before.
    Share {
        guest: usize,
        page: u16,
        low: u16,
        cpu: u16,
        helped: bool,
    },
    Unshare {
        guest: usize,
        page: u16,
        low: u16,
        cpu: u16,
        helped: bool,
    },
    GuestLoad {
        guest: usize,
        page: u8,
        cpu: u16,
        vcpu: u16,
    },
    GuestStore {
        guest: usize,
        page: u8,
        cpu: u16,
        vcpu: u16,
        text: Text,
        helped: bool,
    },
    GuestBeyond {
        guest: usize,
    },
    Instruct {
        guest: usize,
        cpu: u16,
        vcpu: u16,
        instruction: Instruction,
    },
    /// The host sees to it that the guest gets on; the guest then loads.
    Progress {
        guest: usize,
        page: u8,
    },
    /// The host maps a frame at a page, which it may have exported before, and imports it at once.
    Take {
        guest: usize,
        page: u8,
        frame: Spot,
        out: bool,
    },
    /// The host exports a page, unless it is exported already, and has something imported in its place.
    Replace {
        guest: usize,
        page: u8,
        offer: Offer,
    },
    Preset {
        guest: usize,
        page: u8,
        below: u8,
    },
    Create {
        guest: usize,
    },
    /// The host lets a CPU operate before there is an image, and enters it.
    Early {
        guest: usize,
    },
    /// `cpus`: the host ends its CPUs first, as it must.
    End {
        guest: usize,
        fast: bool,
        cpus: bool,
    },
    CreateCpu {
        guest: usize,
        number: u16,
        frame: Spot,
    },
    EndCpu {
        guest: usize,
        number: u16,
    },
    Boot {
        guest: usize,
        plan: BootPlan,
    },
    /// The guest ends, and another starts in its place.
    Renew {
        guest: usize,
        plan: BootPlan,
    },
    /// `command` is one of the three CPU resets.
    CpuReset {
        guest: usize,
        number: u16,
        command: Command,
    },
    PrepareReset {
        guest: usize,
    },
    SetState {
        guest: usize,
        number: u16,
        state: u8,
    },
    Inject {
        command: Command,
        injection: Injection,
    },
    Raw {
        command: u16,
        length: u16,
        fields: [(u8, u64); 8],
    },
    Reset {
        clear: bool,
    },
}
