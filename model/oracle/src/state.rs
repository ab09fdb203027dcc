//! What a machine is. A [`State`] is a value: cloning one costs nothing, and two that differ in a page share the
//! rest.

use crate::ids::{AbsoluteAddress, CpuNumber, FrameNumber, Handle, PageIndex, VirtualAddress};
use crate::step::{Interception, Program};
use imbl::{HashMap, OrdMap, OrdSet, Vector};
use std::sync::Arc;

/// The bytes of a frame or page.
pub type Bytes = Arc<[u8; 4096]>;

/// All of it.
#[derive(Clone, PartialEq, Debug)]
pub struct State {
    /// What the machine was built as.
    pub setup: Arc<Setup>,
    /// Bytes of absolute storage; a frame that is missing holds zeros. Of donated frames no byte is ever seen
    /// (D16): they are zeros here.
    pub storage: OrdMap<FrameNumber, Bytes>,
    /// INIT_UV has succeeded.
    pub initialised: bool,
    /// Donated storage \[B, C, V\], by first frame; no two stretches overlap.
    pub donated: OrdMap<FrameNumber, Donated>,
    /// Frames with a guest page \[S, O, H, P\]. All that are in neither map are \[N\].
    pub registered: OrdMap<FrameNumber, Registration>,
    /// Live configurations.
    pub configurations: OrdMap<Handle, Configuration>,
    /// CPUs of live configurations.
    pub cpus: OrdMap<Handle, SecureCpu>,
    /// The CPUs of the host, all of them.
    pub host: OrdMap<CpuNumber, HostCpu>,
    /// Every handle that was ever given out, also before a machine reset (D20, I-32).
    pub issued: OrdSet<Handle>,
    /// What each ciphertext that was ever made stands for, by the hash of its bytes.
    pub sealed: HashMap<Digest, Sealed>,
    /// Injected answers by command code: busy, partial, late failure.
    pub injected: OrdMap<u16, (u64, u64, bool)>,
    /// Nanoseconds.
    pub clock: u64,
    /// What has been purged from translation buffers, and when.
    pub purges: Purges,
}

/// What a machine is built as, as far as it decides answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setup {
    /// Bytes of absolute storage.
    pub storage: u64,
    /// Host CPUs.
    pub cpus: u16,
    /// 15, 16 or 17.
    pub generation: u8,
    /// Feature "misc" (D15), after all overrides.
    pub misc: bool,
    /// Commands taken away from the preset (D14), by code.
    pub without: Vec<u16>,
    /// D50.
    pub strict_tweaks: bool,
    /// A new counter at every export, changed page or not.
    pub always_count: bool,
    /// Structures in storage are big-endian, as on Z; else little-endian.
    pub big_endian: bool,
}

/// A donated stretch of storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Donated {
    /// Frames.
    pub count: u64,
    /// For what.
    pub purpose: Purpose,
}

/// What donated storage is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// \[B\] the zone.
    Base,
    /// \[C\] a configuration.
    ConfigurationBase(Handle),
    /// \[V\] the variable storage of a configuration, frame by frame as the issuer's home space had it at
    /// CREATE_SEC_CONF (D16).
    Variable(Handle),
    /// \[C\] a CPU of a configuration.
    Cpu(Handle),
}

/// A guest page that is registered in a frame. The owner may be gone by now (D28).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Registration {
    /// Secure \[S, O\], shared \[H\], pinned \[P\].
    pub kind: Registered,
    /// Owner.
    pub configuration: Handle,
    /// Its page.
    pub page: PageIndex,
}

/// How a page is registered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Registered {
    /// Secure.
    Secure,
    /// Shared with the host.
    Shared,
    /// Shared and pinned.
    Pinned,
}

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Zone {
    /// \[N\]
    NonSecure,
    /// \[B, C, V\]
    Donated(Purpose),
    /// \[S, O, H, P\]
    Registered(Registration),
}

/// A 128-bit hash of a page.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Digest(pub u128);

/// What a ciphertext stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sealed {
    /// Whose.
    pub configuration: Handle,
    /// Which page.
    pub page: PageIndex,
    /// Under which counter.
    pub counter: u64,
    /// What it said.
    pub content: Digest,
}

/// A live configuration.
#[derive(Clone, PartialEq, Debug)]
pub struct Configuration {
    /// Guest storage origin (MSO), bytes.
    pub origin: u64,
    /// Guest storage length, bytes.
    pub size: u64,
    /// Address-space-control element.
    pub asce: u64,
    /// Absolute address of the system control area.
    pub sca: AbsoluteAddress,
    /// CPUs by number.
    pub cpus: OrdMap<u16, Handle>,
    /// Pages that are not as a new one is.
    pub pages: OrdMap<PageIndex, Page>,
    /// How far the image is.
    pub boot: Boot,
    /// The reset protocol (D79, I-36).
    pub reset: Reset,
}

/// What the Ultravisor knows of a guest page; the default is a new one's.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Page {
    /// Where it is.
    pub record: Record,
    /// Counter of its latest encryption; 0 before the first.
    pub counter: u64,
    /// What its latest encryption said.
    pub sealed: Option<Bytes>,
    /// Under which counter its latest encryption was, and what bytes it has given: an unchanged page gives them again
    /// (I-23). The counter is another one if a test hook has moved that of the page.
    pub ciphertext: Option<(u64, Digest)>,
}

/// Where a page is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Record {
    /// Nowhere: zeros at its first import.
    #[default]
    Absent,
    /// In this frame, secure.
    Resident(FrameNumber),
    /// With the host, encrypted.
    Exported,
    /// Shared, in this frame if it has one.
    Shared(Option<FrameNumber>),
    /// Shared and pinned in this frame.
    Pinned(FrameNumber),
    /// Destroyed.
    Destroyed,
}

/// How far the image of a configuration is.
#[derive(Clone, PartialEq, Debug)]
pub enum Boot {
    /// No parameters yet.
    Created,
    /// Parameters are accepted; pages are being unpacked.
    Loading(Image, Arc<Unpacked>),
    /// Verified.
    Verified(Image),
}

/// What stays of an SE header.
#[derive(Clone, PartialEq, Debug)]
pub struct Image {
    /// Key of its pages.
    pub key: ImageKey,
    /// Plaintext control flags.
    pub pcf: u64,
    /// Secret control flags.
    pub scf: u64,
    /// PSW: mask and address.
    pub psw: (u64, u64),
    /// Encrypted pages.
    pub nep: u64,
    /// Digest of the page contents.
    pub pld: [u8; 64],
    /// Digest of the page addresses.
    pub ald: [u8; 64],
    /// Digest of the tweaks.
    pub tld: [u8; 64],
}

/// Stands for the key of an image; only the world knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImageKey(pub u64);

/// What was unpacked, in order.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Unpacked {
    /// Pages as they came: ciphertext, guest address, tweak.
    pub pages: Vector<(Bytes, u64, (u64, u64))>,
}

/// What opening an SE header leads to (D52: steps 8 to 11, which need a key), the first that applies.
#[derive(Clone, PartialEq, Debug)]
pub enum Opened {
    /// No key slot is for a host key that the header admits.
    NoKeySlot,
    /// The customer public key is no point of the curve.
    NoCustomerKey,
    /// The key slot does not unwrap.
    NotUnwrapped,
    /// The tag does not fit.
    NotAuthentic,
    /// It is genuine and announces optional items. (Its secret flags are judged first.)
    OptionalItems(Box<Image>),
    /// It is genuine.
    Header(Box<Image>),
}

/// The reset protocol of a configuration.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Reset {
    /// A guest has asked for a reset, or PREPARE_RESET has begun one, and it is not finished.
    pub pending: Option<Pending>,
    /// SET_UNSHARED_ALL was done since the CPUs stopped.
    pub unshared: bool,
    /// A CPU was loaded at least once.
    pub started: bool,
    /// A reset was finished after that: from now on a load takes the PSW from guest absolute 0.
    pub finished: bool,
}

/// A reset under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pending {
    /// Diagnose 0x308 subcode; `None` if PREPARE_RESET came without one.
    pub subcode: Option<u64>,
    /// PREPARE_RESET was done.
    pub prepared: bool,
}

/// A CPU of a configuration.
#[derive(Clone, PartialEq, Debug)]
pub struct SecureCpu {
    /// Its configuration.
    pub configuration: Handle,
    /// Its number there.
    pub number: u16,
    /// Where its state description is.
    pub state_description: AbsoluteAddress,
    /// Stopped, operating, check-stop.
    pub run: Run,
    /// Registers.
    pub registers: Registers,
    /// The next entry takes the PSW from guest absolute 0.
    pub load_pending: bool,
    /// An instruction that the next entry completes.
    pub outstanding: Option<Outstanding>,
    /// Clock at the latest exit; `None` while the CPU timer that the host gives is taken as it is.
    pub last_exit: Option<u64>,
    /// Its part in a reset: `None` if it owes nothing; the CPU reset that it still owes, and `false`; or the strongest
    /// one that it had since PREPARE_RESET, and `true`.
    pub owed: Option<(CpuReset, bool)>,
    /// The host CPU on which it is in SIE.
    pub in_sie: Option<CpuNumber>,
}

/// State of a CPU of a configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Run {
    /// Stopped.
    #[default]
    Stopped,
    /// Operating.
    Operating,
    /// Check-stop.
    CheckStop,
}

/// Kinds of CPU reset, each does all of the one before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum CpuReset {
    /// CPU_RESET.
    Normal,
    /// CPU_RESET_INITIAL.
    Initial,
    /// CPU_RESET_CLEAR.
    Clear,
}

/// Registers of a guest CPU that the machine models.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Registers {
    /// PSW: mask and address.
    pub psw: (u64, u64),
    /// Prefix.
    pub prefix: u64,
    /// General registers.
    pub general: [u64; 16],
    /// Control registers. The default is zero; a CPU begins with those of a clear reset.
    pub control: [u64; 16],
    /// Access registers.
    pub access: [u32; 16],
    /// CPU timer, units of 1/4096 µs: at the latest exit, or at the entry of the stay that lasts.
    pub cpu_timer: u64,
    /// Clock comparator.
    pub clock_comparator: u64,
    /// Floating-point control.
    pub floating_point_control: u32,
    /// TOD programmable register.
    pub tod_programmable: u32,
}

/// An instruction that left with interception 104.
#[derive(Clone, PartialEq, Debug)]
pub struct Outstanding {
    /// As the host has seen it.
    pub ipa: u16,
    /// A specification exception may be injected instead.
    pub takes_specification: bool,
    /// An operand exception may be injected instead.
    pub takes_operand: bool,
    /// Result: register of the save area, register of the guest.
    pub result: Option<(u8, u8)>,
    /// Guest real address and length that the data area is copied to.
    pub write_back: Option<(u64, u16)>,
    /// Its completion is notified with 108.
    pub notifies: bool,
}

/// A CPU of the host.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct HostCpu {
    /// It operates.
    pub operating: bool,
    /// PSW bit 15.
    pub problem_state: bool,
    /// PSW bit 5.
    pub translation: bool,
    /// Control register 1.
    pub primary: u64,
    /// Control register 13.
    pub home: u64,
    /// Prefix.
    pub prefix: u64,
    /// The guest that it runs.
    pub guest: Option<Stay>,
    /// Translations that its buffer may have kept: by space and page, all different ones, the one used last first.
    /// Those that were purged since count no longer.
    pub buffer: OrdMap<(Space, u64), Vec<Kept>>,
    /// Operands whose pages may have been translated, all of them; they can be long.
    pub operands: Vec<Operand>,
}

/// Pages that may have been translated, and what the tables were then.
#[derive(Clone, PartialEq, Debug)]
pub struct Operand {
    /// Under which space.
    pub space: Space,
    /// The first page.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// The machine at that time, without its host.
    pub then: Arc<State>,
}

/// What distinguishes address spaces in a translation buffer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Space {
    /// The bits of the ASCE that count for translation.
    pub asce: u64,
    /// Results are real, so prefixing applies (D60): a host's space; else a guest's.
    pub real: bool,
}

/// A translation that may have been kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// It.
    pub translation: Translation,
    /// When it was formed, in the counting of [`Purges`].
    pub since: u64,
}

/// Purges that reach all CPUs (D56, IPTE, IDTE). Each has a number; a translation that was formed before it is gone.
/// Purges of one CPU, or of one space, simply empty the buffers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Purges {
    /// Number of the latest one.
    pub latest: u64,
    /// The latest one of translations that yield a frame.
    pub frames: OrdMap<FrameNumber, u64>,
    /// The latest one of translations that were formed through a table entry.
    pub entries: OrdMap<AbsoluteAddress, u64>,
}

/// A translation, and what it was formed through (for purges).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Translation {
    /// The frame, after prefixing where that applies.
    pub frame: FrameNumber,
    /// Stores are refused.
    pub protected: bool,
    /// Formed through an FC=1 entry (D35).
    pub large: bool,
    /// Absolute addresses of the table entries walked, top to bottom.
    pub entries: Vec<AbsoluteAddress>,
}

/// A guest CPU in SIE, from entry until its client lets go of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Stay {
    /// The guest CPU.
    pub cpu: Handle,
    /// Its state description.
    pub description: VirtualAddress,
    /// For this stay.
    pub problem_state: bool,
    /// Clock at the entry.
    pub since: u64,
    /// It has left SIE already; every further action reports the same.
    pub exit: Option<Exit>,
}

/// Why SIE ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// A program interruption of the host.
    Program(Program),
    /// An interception.
    Interception(Interception),
}
