//! Image load: SET_SEC_CONF_PARAMS, UNPACK_IMG, VERIFY_IMG.

use super::{Call, CallResult, Configuration, PageRecord, Psw, Stop, Ultravisor, refuse};
use crate::address::{PAGE_SIZE, PageIndex, VirtualAddress};
use crate::config::Generation;
use crate::crypto::{
    HeaderFault, HeaderSecrets, ImageCipher, ImageDigest, ImageDigests, KeyHash, LONGEST_HEADER, SeHeader, plain_flag,
};
use crate::storage::FrameState;
use crate::storage::arena::touch;
use crate::uvc::Refusal;
use std::sync::Arc;

/// How far a configuration has come.
#[derive(Clone, Debug, Default)]
pub(crate) enum Boot {
    /// No header yet.
    #[default]
    Created,
    /// Header accepted, pages are being loaded.
    Loading(Box<Loading>),
    /// The image is genuine; CPUs may be loaded with its PSW.
    Verified(Box<Image>),
}

/// An image in the making.
#[derive(Clone, Debug)]
pub(crate) struct Loading {
    image: Image,
    /// `None` if the components are not encrypted. Overwritten at VERIFY_IMG, unless a snapshot still needs it.
    cipher: Option<Arc<ImageCipher>>,
    digests: ImageDigests,
    last_tweak: Option<[u64; 2]>,
}

/// What the Ultravisor keeps of an accepted header for the life of the configuration. No command that is
/// built needs the communication key, so that goes with the rest of the secrets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// The PSW of the first load.
    pub psw: Psw,
    /// Page-list, address-list and tweak-list digest.
    pub digests: [ImageDigest; 3],
    /// Number of component pages.
    pub pages: u64,
    /// Authentication tag of the header.
    pub tag: [u8; 16],
    /// Plaintext control flags.
    pub flags: u64,
    /// Secret control flags.
    pub secret_flags: u64,
    /// The host key that opened the header.
    pub opened_with: KeyHash,
}

impl Boot {
    /// The image, once its header is accepted.
    pub(crate) fn image(&self) -> Option<&Image> {
        match self {
            Self::Created => None,
            Self::Loading(loading) => Some(&loading.image),
            Self::Verified(image) => Some(image),
        }
    }

    /// The PSW for the first load of a CPU, once the image is verified.
    pub(crate) fn psw(&self) -> Option<Psw> {
        match self {
            Self::Verified(image) => Some(image.psw),
            Self::Created | Self::Loading(_) => None,
        }
    }
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

impl Image {
    fn new(header: &SeHeader<'_>, secrets: &HeaderSecrets, opened_with: KeyHash) -> Self {
        let [mask, address] = secrets.psw();
        Self {
            psw: Psw { mask, address },
            digests: *header.digests(),
            pages: header.pages(),
            tag: header.tag(),
            flags: header.flags(),
            secret_flags: secrets.flags(),
            opened_with,
        }
    }
}

impl Ultravisor {
    /// SET_SEC_CONF_PARAMS: 0x101 not the first time, 0x103 header out of reach, then the header itself in
    /// the order of D52. Nothing is kept on refusal, and another attempt is allowed.
    pub(super) fn set_parameters(&self, call: &mut Call<'_>, configuration: &Configuration) -> CallResult {
        let mut life = configuration.hold_alone()?;
        if !matches!(life.boot, Boot::Created) {
            return refuse(0x101, "Q13");
        }
        let (origin, len) = (VirtualAddress(call.block.u64(0x20)), call.block.u32(0x28));
        // A header that is too long is read as far as it may be, so that 0x103 comes first for it as well.
        let mut header = vec![0; (len as usize).min(LONGEST_HEADER)];
        if !call.home.read(origin, &mut header) {
            return refuse(0x103, "D52");
        }
        if len as usize > LONGEST_HEADER {
            return Err(self.header_refusal(&HeaderFault::Length { length: len as usize }));
        }
        let loading = self.open_header(&header).map_err(|fault| self.header_refusal(&fault))?;
        life.boot = Boot::Loading(Box::new(loading));
        Ok("D52")
    }

    fn open_header(&self, bytes: &[u8]) -> Result<Loading, HeaderFault> {
        let header = SeHeader::parse(bytes)?;
        let (secrets, with) = header.open(self.host_keys(), self.header_flags())?;
        let encrypted = header.flags() & plain_flag::PLAIN_COMPONENTS == 0;
        Ok(Loading {
            image: Image::new(&header, &secrets, with.key),
            cipher: encrypted.then(|| Arc::new(secrets.image_cipher())),
            digests: ImageDigests::default(),
            last_tweak: None,
        })
    }

    /// rc and rrc of a refused header, as the boot loader of s390-tools explains them; those without a public
    /// number are D52's.
    fn header_refusal(&self, fault: &HeaderFault) -> Stop {
        let (rc, rrc) = match fault {
            HeaderFault::Magic | HeaderFault::Tag | HeaderFault::Items(_) => (0x10a, 0),
            HeaderFault::Version(_) => (0x104, 0x1),
            HeaderFault::NoSlots => (0x10a, 0x40),
            HeaderFault::EncryptedSize(_) => (0x10a, 0x39),
            HeaderFault::Length { .. } | HeaderFault::Size { .. } => (0x10a, 0x31),
            // Q20
            HeaderFault::Flags { .. } if self.config.generation == Generation::Z15 => (0x106, 0),
            HeaderFault::Flags { .. } => (0x106, 0x30),
            HeaderFault::NoSlot { .. } => (0x108, 0x5),
            HeaderFault::NoBackupSlot { .. } => (0x108, 0x34),
            HeaderFault::CustomerKey(_) => (0x108, 0xb),
            HeaderFault::Slot(_) => (0x108, 0),
            HeaderFault::SecretFlags { .. } => (0x109, 0),
        };
        Stop::Refused(Refusal::with_reason(rc, rrc, "D52"))
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
        if self.config.strict_tweaks && loading.last_tweak.is_some_and(|last| tweak <= last) {
            return refuse(0x106, "D50");
        }
        let ((), former) = self.with_previous_owner(previous, || {
            // Digests are over the page as delivered, and it is secure before it is in plain (D51, T73).
            let page = frame.bytes_mut();
            loading.digests.add(page, address, tweak);
            if let Some(cipher) = &loading.cipher {
                cipher.decrypt(page, tweak);
            }
            frame.set_touched(touch::ALL);
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
        let [want_pages, want_addresses, want_tweaks] = loading.image.digests;
        let differs = |reason| Err(Stop::Refused(Refusal::with_reason(0x102, reason, "D54")));
        if loading.digests.pages() != loading.image.pages {
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
        life.boot = Boot::Verified(Box::new(loading.image.clone()));
        Ok("I-34")
    }
}
