//! What a schedule is made of, and how schedules are drawn.

use proptest::prelude::*;
use std::sync::LazyLock;
use uvsim_model::Injection;
use uvsim_model::config::{ChangeDetection, CipherProfile, Generation, MachineConfig};
use uvsim_model::crypto::PrivateKey;
use uvsim_model::uvc::Command;

static HOST_KEY: LazyLock<PrivateKey> = LazyLock::new(|| MachineConfig::default().host_keys().host);

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
    /// The image is empty or one page, which the host lays into a frame of its choice.
    Boot {
        guest: usize,
        image: Option<(u8, Option<Spot>)>,
    },
    /// The guest ends, and another starts in its place.
    Renew {
        guest: usize,
        image: Option<(u8, Option<Spot>)>,
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

/// What a test concentrates on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Theme {
    pub paging: u32,
    pub sharing: u32,
    pub life: u32,
    pub raw: u32,
    pub reset: u32,
}

pub(crate) fn schedules(theme: Theme, setups: impl Strategy<Value = Setup>) -> impl Strategy<Value = Schedule> {
    let ready = prop_oneof![6 => Just([true, true]), 1 => Just([true, false]), 1 => Just([false, false])];
    (setups, ready, prop::collection::vec(steps(theme), 8..32)).prop_map(|(setup, ready, steps)| Schedule {
        setup,
        ready,
        steps,
    })
}

pub(crate) fn setups() -> impl Strategy<Value = Setup> {
    let generation = prop_oneof![
        1 => Just(Generation::Z15),
        3 => Just(Generation::Z16),
        1 => Just(Generation::Z17)
    ];
    let detection = prop_oneof![3 => Just(ChangeDetection::Digest), 1 => Just(ChangeDetection::Always)];
    let cipher = prop_oneof![4 => Just(CipherProfile::Gcm), 1 => Just(CipherProfile::Xts)];
    (generation, prop::bool::weighted(0.8), detection, cipher).prop_map(|(generation, usual, detection, cipher)| {
        Setup { generation, misc: (generation != Generation::Z15) == usual, detection, cipher }
    })
}

fn guest() -> impl Strategy<Value = usize> {
    0..SLOTS
}

/// Mostly few pages, so that steps meet.
fn page() -> impl Strategy<Value = u8> {
    prop_oneof![2 => 0..2u8, 6 => 2..4u8, 1 => 4..PAGES]
}

/// Also pages that are never mapped, and pages outside the guest.
fn any_page() -> impl Strategy<Value = u16> {
    prop_oneof![16 => page().prop_map(u16::from), 1 => 250..260u16]
}

fn frame() -> impl Strategy<Value = Spot> {
    prop_oneof![
        6 => (0..POOL).prop_map(Spot::Frame),
        1 => (POOL..FRAMES).prop_map(Spot::Frame),
        1 => Just(Spot::Frame(BLOCK_FRAME)),
        6 => (guest(), page()).prop_map(|(guest, page)| Spot::Page(guest, page)),
    ]
}

fn offer() -> impl Strategy<Value = Offer> {
    prop_oneof![
        2 => Just(Offer::Latest),
        2 => (0..0x8000u16).prop_map(Offer::Flipped),
        3 => any::<usize>().prop_map(Offer::Saved),
        1 => Just(Offer::Own),
    ]
}

fn low() -> impl Strategy<Value = u16> {
    prop_oneof![3 => Just(0), 1 => 1..0x1000u16]
}

fn host_cpu() -> impl Strategy<Value = u16> {
    prop_oneof![3 => Just(0), 1 => Just(1)]
}

fn vcpu() -> impl Strategy<Value = u16> {
    prop_oneof![6 => Just(0), 1 => Just(1)]
}

fn purged() -> impl Strategy<Value = Purged> {
    prop_oneof![3 => Just(Purged::No), 3 => Just(Purged::Ipte), 1 => Just(Purged::Ptlb)]
}

fn text() -> impl Strategy<Value = Text> {
    prop_oneof![
        4 => Just(Text::Secret),
        1 => Just(Text::Zeros),
        2 => Just(Text::Same),
        2 => Just(Text::AsExported),
        2 => any::<u8>().prop_map(Text::Piece),
        1 => Just(Text::Straddle),
    ]
}

fn steps(theme: Theme) -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => host_access(),
        6 => mapping(),
        10 => guest_access(),
        theme.paging => paging(),
        theme.sharing => sharing(),
        theme.life => life(),
        theme.raw => raw(),
        theme.reset => any::<bool>().prop_map(|clear| Step::Reset { clear }),
    ]
}

fn host_access() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => frame().prop_map(|frame| Step::HostLoad { frame }),
        1 => frame().prop_map(|frame| Step::HostFetch { frame }),
        2 => frame().prop_map(|frame| Step::HostStore { frame }),
        2 => (frame(), 0..0x8000u16).prop_map(|(frame, bit)| Step::HostFlip { frame, bit }),
        2 => (frame(), frame()).prop_map(|(from, to)| Step::Copy { from, to }),
        4 => (any::<usize>(), frame()).prop_map(|(saved, frame)| Step::Replay { saved, frame }),
        1 => (0..POOL - 1, any::<bool>()).prop_map(|(frame, device)| Step::Straddle { frame, device }),
        1 => frame().prop_map(|frame| Step::DeviceRead { frame }),
        1 => frame().prop_map(|frame| Step::DeviceWrite { frame }),
    ]
}

fn mapping() -> impl Strategy<Value = Step> {
    let map = (guest(), page(), frame(), prop::bool::weighted(0.1), purged());
    prop_oneof![
        5 => map.prop_map(|(guest, page, frame, protected, purged)| Step::Map { guest, page, frame, protected, purged }),
        1 => (guest(), page(), purged()).prop_map(|(guest, page, purged)| Step::Unmap { guest, page, purged }),
    ]
}

fn guest_access() -> impl Strategy<Value = Step> {
    let store = (guest(), page(), host_cpu(), vcpu(), text(), any::<bool>());
    prop_oneof![
        4 => (guest(), page(), host_cpu(), vcpu())
            .prop_map(|(guest, page, cpu, vcpu)| Step::GuestLoad { guest, page, cpu, vcpu }),
        5 => store.prop_map(|(guest, page, cpu, vcpu, text, helped)| Step::GuestStore { guest, page, cpu, vcpu, text, helped }),
        8 => (guest(), page()).prop_map(|(guest, page)| Step::Progress { guest, page }),
        1 => guest().prop_map(|guest| Step::GuestBeyond { guest }),
    ]
}

fn paging() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (guest(), any_page(), low(), any::<bool>())
            .prop_map(|(guest, page, low, again)| Step::Import { guest, page, low, again }),
        6 => (frame(), low(), any::<bool>()).prop_map(|(frame, low, again)| Step::Export { frame, low, again }),
        2 => (frame(), low(), any::<bool>()).prop_map(|(frame, low, again)| Step::Destroy { frame, low, again }),
        6 => take(),
        6 => (guest(), page(), offer()).prop_map(|(guest, page, offer)| Step::Replace { guest, page, offer }),
        1 => (guest(), page(), 0..3u8).prop_map(|(guest, page, below)| Step::Preset { guest, page, below }),
    ]
}

fn take() -> impl Strategy<Value = Step> {
    (guest(), page(), frame(), any::<bool>()).prop_map(|(guest, page, frame, out)| Step::Take {
        guest,
        page,
        frame,
        out,
    })
}

fn sharing() -> impl Strategy<Value = Step> {
    let pin = (frame(), low(), any::<bool>());
    prop_oneof![
        4 => (guest(), any_page(), low(), host_cpu(), any::<bool>())
            .prop_map(|(guest, page, low, cpu, helped)| Step::Share { guest, page, low, cpu, helped }),
        3 => (guest(), any_page(), low(), host_cpu(), any::<bool>())
            .prop_map(|(guest, page, low, cpu, helped)| Step::Unshare { guest, page, low, cpu, helped }),
        3 => (guest(), page()).prop_map(|(guest, page)| Step::Lend { guest, page }),
        3 => take(),
        1 => (guest(), page(), any::<bool>())
            .prop_map(|(guest, page, by_guest)| Step::Forget { guest, page, by_guest }),
        1 => (guest(), prop::bool::weighted(0.8)).prop_map(|(guest, stop)| Step::UnshareAll { guest, stop }),
        5 => pin.prop_map(|(frame, low, again)| Step::Pin { frame, low, again }),
        2 => (guest(), any_page(), low(), any::<bool>())
            .prop_map(|(guest, page, low, again)| Step::Unpin { guest, page, low, again }),
    ]
}

fn image() -> impl Strategy<Value = Option<(u8, Option<Spot>)>> {
    prop::option::of((page(), prop::option::of(frame())))
}

fn life() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => guest().prop_map(|guest| Step::Create { guest }),
        1 => guest().prop_map(|guest| Step::Early { guest }),
        3 => (guest(), any::<bool>(), any::<bool>()).prop_map(|(guest, fast, cpus)| Step::End { guest, fast, cpus }),
        2 => (guest(), prop_oneof![3 => Just(0u16), 3 => Just(1), 1 => 255..259u16], frame())
            .prop_map(|(guest, number, frame)| Step::CreateCpu { guest, number, frame }),
        4 => (guest(), 0..2u16).prop_map(|(guest, number)| Step::EndCpu { guest, number }),
        2 => (guest(), image()).prop_map(|(guest, image)| Step::Boot { guest, image }),
        2 => (guest(), image()).prop_map(|(guest, image)| Step::Renew { guest, image }),
        2 => (guest(), 0..2u16, 0..7u8).prop_map(|(guest, number, state)| Step::SetState { guest, number, state }),
    ]
}

/// Calls whose injected answers other steps run into.
const CONTENDED: [Command; 11] = [
    Command::CreateSecConf,
    Command::DestroySecConf,
    Command::CreateSecCpu,
    Command::ConvToSecStor,
    Command::ConvFromSecStor,
    Command::DestrSecStor,
    Command::SetUnsharedAll,
    Command::PinPageShared,
    Command::UnpinPageShared,
    Command::SetSharedAccess,
    Command::RemoveSharedAccess,
];

fn raw() -> impl Strategy<Value = Step> {
    let injection = prop_oneof![
        4 => (1..3u64).prop_map(Injection::Busy),
        2 => (1..3u64).prop_map(Injection::Partial),
        1 => Just(Injection::LateFailure),
    ];
    let blocks = prop::sample::select(Command::ALL).prop_flat_map(|command| {
        let code = prop_oneof![20 => Just(command.code()), 1 => any::<u16>()];
        let length = prop_oneof![20 => Just(command.usual_length()), 2 => 0..0x300u16, 1 => any::<u16>()];
        (code, length, prop::array::uniform8((0..12u8, any::<u64>())))
    });
    prop_oneof![
        1 => (prop::sample::select(&CONTENDED), injection).prop_map(|(command, injection)| Step::Inject { command, injection }),
        3 => blocks.prop_map(|(command, length, fields)| Step::Raw { command, length, fields }),
    ]
}
