//! Hardware: absolute storage, the zone-security table, address translation, interruptions.
//! Nothing here knows of Ultravisor calls.

pub(crate) mod arena;
mod barrier;
mod copy;
pub(crate) mod dat;
mod directory;
mod interruption;
mod journal;
pub(crate) mod process;
mod region;
pub(crate) mod translation_buffer;
mod translator;
mod zone;

pub use arena::HostView;
pub(crate) use arena::Storage;
pub use dat::{Asce, TranslationFault};
pub(crate) use directory::Directory;
pub use interruption::{AccessKind, AddressSpace, ProgramCode, ProgramInterruption, Teid};
pub use translator::{Mapping, Translator};
pub use zone::{Domain, Donation, FrameState, Tag, Verdict, ZoneEntry, check};
