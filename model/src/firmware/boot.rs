//! Image load: SET_SEC_CONF_PARAMS, UNPACK_IMG, VERIFY_IMG.
//!
//! Only the plain internal image form is known so far (D49): its header carries no key and no tag, and
//! pages are loaded as they are. Digests are real.

use super::{Call, CallResult, Configuration, PageRecord, Psw, Stop, Ultravisor, refuse};
use crate::address::{PAGE_SIZE, PageIndex, VirtualAddress};
use crate::crypto::{ImageDigest, ImageDigests};
use crate::storage::FrameState;
use crate::uvc::Refusal;

/// How far a configuration has come.
#[derive(Debug, Default)]
pub(crate) enum Boot {
    /// No header yet.
    #[default]
    Created,
    /// Header accepted, pages are being loaded.
    Loading(Box<Loading>),
    /// The image is genuine; CPUs may be loaded with this PSW.
    Verified {
        /// From the header.
        psw: Psw,
    },
}

impl Boot {
    /// The PSW of the header, once the image is known to be genuine.
    pub(crate) fn psw(&self) -> Option<Psw> {
        match self {
            Self::Verified { psw } => Some(*psw),
            _ => None,
        }
    }
}

/// An image in the making.
#[derive(Clone, Debug)]
pub(crate) struct Loading {
    header: PlainHeader,
    digests: ImageDigests,
    last_tweak: Option<[u64; 2]>,
}

impl Loading {
    /// Pages loaded so far.
    pub(crate) fn pages(&self) -> u64 {
        self.digests.pages()
    }

    /// The running digests, for comparisons of state.
    pub(crate) fn running(&self) -> [ImageDigest; 3] {
        self.digests.finish()
    }
}

#[derive(Clone, Debug)]
struct PlainHeader {
    pages: u64,
    psw: Psw,
    /// Page, address and tweak digest.
    digests: [ImageDigest; 3],
}

const MAGIC: &[u8; 8] = b"UVSIMPLN";
const VERSION: u32 = 1;
/// Magic, version, size, number of pages, PSW, three digests.
const HEADER_LENGTH: usize = 8 + 4 + 4 + 8 + 16 + 3 * 64;
const LONGEST_HEADER: u32 = 0x2000;

impl PlainHeader {
    fn parse(bytes: &[u8; HEADER_LENGTH]) -> Result<Self, Refusal> {
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let doubleword = |at: usize| u64::from(word(at)) << 32 | u64::from(word(at + 4));
        let digest = |at: usize| {
            let mut digest = [0; 64];
            digest.copy_from_slice(&bytes[at..at + 64]);
            digest
        };
        if &bytes[..8] != MAGIC {
            return Err(Refusal::new(0x10a, "D49"));
        }
        if word(8) != VERSION {
            return Err(Refusal::with_reason(0x104, 0x1, "D49"));
        }
        if word(12) as usize != HEADER_LENGTH {
            return Err(Refusal::with_reason(0x10a, 0x31, "D49"));
        }
        Ok(Self {
            pages: doubleword(16),
            psw: Psw { mask: doubleword(24), address: doubleword(32) },
            digests: [digest(40), digest(104), digest(168)],
        })
    }
}

impl Ultravisor {
    /// SET_SEC_CONF_PARAMS: 0x101 not the first time, 0x103 header out of reach, then the header itself
    /// (D49, D52). Nothing is kept on refusal.
    pub(super) fn set_parameters(&self, call: &mut Call<'_>, configuration: &Configuration) -> CallResult {
        let mut life = configuration.hold_alone()?;
        if !matches!(life.boot, Boot::Created) {
            return refuse(0x101, "Q13");
        }
        let (origin, len) = (VirtualAddress(call.block.u64(0x20)), call.block.u32(0x28));
        let mut header = vec![0; len.min(LONGEST_HEADER) as usize];
        if !call.home.read(origin, &mut header) {
            return refuse(0x103, "D52");
        }
        let misfit = Stop::Refused(Refusal::with_reason(0x10a, 0x31, "D49"));
        if len > LONGEST_HEADER || header.len() < HEADER_LENGTH {
            return Err(misfit);
        }
        let known = <&[u8; HEADER_LENGTH]>::try_from(&header[..HEADER_LENGTH]).map_err(|_| misfit)?;
        let parsed = PlainHeader::parse(known)?;
        if header.len() != HEADER_LENGTH {
            return Err(misfit);
        }
        life.boot =
            Boot::Loading(Box::new(Loading { header: parsed, digests: ImageDigests::default(), last_tweak: None }));
        Ok("D52")
    }

    /// UNPACK_IMG: 0x101 state, 0x103 range or alignment, 0x10a mapping, busy, 0x104 frame taken, 0x105
    /// page not absent (D51), 0x106 tweak not rising under `strict-tweaks` (D50).
    pub(super) fn unpack(&self, call: &Call<'_>, configuration: &Configuration) -> CallResult {
        let mut life = configuration.hold_alone()?;
        let Boot::Loading(loading) = &mut life.boot else { return refuse(0x101, "Q13") };
        let address = call.block.u64(0x20);
        let tweak = [call.block.u64(0x28), call.block.u64(0x30)];
        if !address.is_multiple_of(PAGE_SIZE) || address >= configuration.size() {
            return refuse(0x103, "D51");
        }
        let page = PageIndex(address / PAGE_SIZE);
        let target = match Self::locate(call, configuration, page) {
            Err(Stop::Refused(refusal)) => return refuse(refusal.rc, "T74"),
            other => other?,
        };
        let mut row = configuration.rows.try_lock(page).ok_or(Stop::Busy)?;
        let mut frame = call.storage.try_lock(target).ok_or(Stop::Busy)?;
        let own = frame.state().registration() == Some((configuration.domain, page));
        // A page that is there already is 0x105 even though its frame is taken, by itself (T75).
        let previous = match self.check_frame(&frame, configuration) {
            _ if own => return refuse(0x105, "T75"),
            Ok(_) if call.block_lies_in(target) => return refuse(0x104, "D5"),
            Err(Stop::Refused(refusal)) => return refuse(refusal.rc, "D51"),
            other => other?,
        };
        if row.record() != PageRecord::Absent {
            return refuse(0x105, "T75");
        }
        if self.settings.strict_tweaks && loading.last_tweak.is_some_and(|last| tweak <= last) {
            return refuse(0x106, "D50");
        }
        let ((), former) = self.with_previous_owner(previous, || {
            loading.digests.add(frame.bytes(), address, tweak);
            loading.last_tweak = Some(tweak);
            row.set(PageRecord::Resident(target), false);
            Ok(())
        })?;
        configuration.frame_came();
        self.transition(frame, FrameState::Secure(configuration.domain, page), "T73");
        self.retire(former);
        Ok("T73")
    }

    /// VERIFY_IMG: 0x101 state, 0x102 with reason 0x1d number of pages, 0x1a addresses, 0x1b contents, 0x1c
    /// tweaks, in this order (D54).
    pub(super) fn verify(&self, configuration: &Configuration) -> CallResult {
        let mut life = configuration.hold_alone()?;
        let Boot::Loading(loading) = &life.boot else { return refuse(0x101, "Q13") };
        let [pages, addresses, tweaks] = loading.digests.finish();
        let [want_pages, want_addresses, want_tweaks] = loading.header.digests;
        let differs = |reason| Err(Stop::Refused(Refusal::with_reason(0x102, reason, "D54")));
        if loading.digests.pages() != loading.header.pages {
            return differs(0x1d);
        }
        if addresses != want_addresses {
            return differs(0x1a);
        }
        if pages != want_pages {
            return differs(0x1b);
        }
        if tweaks != want_tweaks {
            return differs(0x1c);
        }
        life.boot = Boot::Verified { psw: loading.header.psw };
        Ok("I-34")
    }
}
