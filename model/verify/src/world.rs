//! What only the machine can know.

use crate::script::Script;
use sha2::{Digest, Sha512};
use std::sync::{Arc, OnceLock};
use uvsim_model::Machine;
use uvsim_model::crypto::{HeaderFault, HeaderSecrets, HostKeys, ImageCipher, SeHeader, plain_flag};
use uvsim_model::witness::{Outcome, Step};
use uvsim_oracle::ids::{FrameNumber, Handle};
use uvsim_oracle::state::{Bytes, Image, ImageKey, Opened};
use uvsim_oracle::world::{Looseness, World};

/// What outlives a step: keys.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// Made when a header is opened first.
    host: OnceLock<HostKeys>,
    /// By number.
    images: Vec<ImageCipher>,
}

/// The machine, as the oracle's world.
pub(crate) struct Beside<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) step: &'a Step<'a>,
    pub(crate) outcome: &'a Outcome<'a>,
    pub(crate) script: &'a mut Script,
    pub(crate) keys: &'a mut Keys,
}

/// Where CREATE_SEC_CONF and CREATE_SEC_CPU answer the handle.
const HANDLE: u64 = 0x18;
const PAGE: u64 = uvsim_model::address::PAGE_SIZE;

impl Beside<'_> {
    /// Bytes of the control block of the call that was answered; zeros if there is none.
    fn block(&self, offset: u64, bytes: &mut [u8]) {
        let Outcome::Answered(answered) = self.outcome else { return };
        let Some(start) = self.block_address() else { return };
        for (at, byte) in (start % PAGE + offset..).zip(bytes) {
            let frame = answered.frames[usize::from(at >= PAGE)];
            let mut found = [0];
            let address = uvsim_model::address::AbsoluteAddress(frame.address().0 + at % PAGE);
            if self.machine.peek(address, &mut found) {
                *byte = found[0];
            }
        }
    }

    fn block_address(&self) -> Option<u64> {
        use uvsim_model::witness::{GuestStep, HostStep};
        match self.step {
            Step::Host(_, HostStep::Uvc(instruction)) | Step::Guest(_, GuestStep::Uvc(instruction)) => {
                Some(instruction.r2)
            }
            _ => None,
        }
    }

    fn host_keys(&self) -> &HostKeys {
        self.keys.host.get_or_init(|| self.machine.config().host_keys())
    }

    fn open(&self, header: &SeHeader<'_>) -> Result<HeaderSecrets, Opened> {
        let keys = self.host_keys();
        let names = |hash| header.recipients().any(|recipient| recipient == hash);
        let key = match () {
            () if names(keys.host.hash()) => &keys.host,
            () if header.flags() & plain_flag::BACKUP_KEY != 0 && names(keys.backup.hash()) => &keys.backup,
            () => return Err(Opened::NoKeySlot),
        };
        let opened = header.protection_key(key).and_then(|key| header.decrypt(&key));
        opened.map_err(|fault| match fault {
            HeaderFault::CustomerKey(_) => Opened::NoCustomerKey,
            HeaderFault::Slot(_) => Opened::NotUnwrapped,
            _ => Opened::NotAuthentic,
        })
    }
}

impl World for Beside<'_> {
    fn choose(&mut self, _: Looseness, count: usize) -> usize {
        self.script.choose(count)
    }

    fn handle(&mut self) -> Handle {
        let mut bytes = [0; 8];
        self.block(HANDLE, &mut bytes);
        Handle(self.machine.config().byte_order.u64(bytes))
    }

    fn ciphertext(&mut self, frame: FrameNumber) -> Bytes {
        let mut bytes = [0; PAGE as usize];
        self.machine.peek(frame.address(), &mut bytes);
        Arc::new(bytes)
    }

    fn query_output(&mut self, offset: usize, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.block(offset as u64, &mut bytes);
        bytes
    }

    fn open_header(&mut self, header: &[u8]) -> Opened {
        let Ok(header) = SeHeader::parse(header) else { return Opened::NotAuthentic };
        let secrets = match self.open(&header) {
            Ok(secrets) => secrets,
            Err(opened) => return opened,
        };
        self.keys.images.push(secrets.image_cipher());
        let [pld, ald, tld] = *header.digests();
        let [mask, address] = secrets.psw();
        let image = Box::new(Image {
            key: ImageKey(self.keys.images.len() as u64 - 1),
            pcf: header.flags(),
            scf: secrets.flags(),
            psw: (mask, address),
            nep: header.pages(),
            pld,
            ald,
            tld,
        });
        if secrets.items() == 0 { Opened::Header(image) } else { Opened::OptionalItems(image) }
    }

    fn decrypt(&mut self, key: ImageKey, tweak: (u64, u64), page: &Bytes) -> Bytes {
        let mut page = page.clone();
        if let Some(cipher) = usize::try_from(key.0).ok().and_then(|number| self.keys.images.get(number)) {
            cipher.decrypt(Arc::make_mut(&mut page), [tweak.0, tweak.1]);
        }
        page
    }

    fn digest(&mut self, parts: &mut dyn Iterator<Item = Vec<u8>>) -> [u8; 64] {
        let mut digest = Sha512::new();
        parts.for_each(|part| digest.update(&part));
        digest.finalize().into()
    }
}
