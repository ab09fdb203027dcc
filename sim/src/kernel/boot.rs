//! Boot of a guest: its image is unpacked and verified, its first CPU loaded.

use super::life::STATE_LOAD;
use super::{Kernel, Observed, PageBytes, Stop};
use std::collections::BTreeMap;
use uvsim_model::address::PAGE_SIZE;
use uvsim_model::crypto::ImageDigests;
use uvsim_model::uvc::Command;

const PREFIX_PAGES: [u64; 2] = [0, 1];
const PLAIN_HEADER_LENGTH: u64 = 0xe8;
/// Tweak prefix of the only component: a type of 2 bytes and 6 bytes of anything.
const COMPONENT: u64 = 1 << 48;

impl Kernel<'_> {
    /// SET_SEC_CONF_PARAMS, UNPACK_IMG for each page of the image, VERIFY_IMG, CPU_SET_STATE 5 for vCPU 0, and
    /// the pages of the prefix.
    pub(super) fn boot_guest(&mut self, cpu: u16, guest: usize) -> Result<Observed, Stop> {
        let image = self.image(guest);
        let handle = self.guests[guest].handle;
        let header = self.allocate_cleared("the image header")?;
        let bytes = plain_header(&image);
        self.put(header, &bytes)?;
        let fields =
            [("guest-handle", handle), ("sec-header-origin", header.0), ("sec-header-len", PLAIN_HEADER_LENGTH)];
        let accepted = self.must(cpu, Command::SetSecConfParams, &fields);
        self.free_frames(header, 1);
        accepted?;
        for (&page, bytes) in &image {
            let frame = self.frame_of(cpu, guest, page)?;
            self.put(frame.address(), &bytes[..])?;
            let fields = [
                ("guest-handle", handle),
                ("gaddr", page * PAGE_SIZE),
                ("tweak-prefix", COMPONENT),
                ("tweak-offset", page * PAGE_SIZE),
            ];
            self.must(cpu, Command::UnpackImg, &fields)?;
        }
        self.must(cpu, Command::VerifyImg, &[("handle", handle)])?;
        self.guests[guest].verified = true;
        self.set_vcpu_state(cpu, guest, 0, STATE_LOAD)?;
        let mut last = Observed::OK;
        for page in PREFIX_PAGES {
            last = self.bring_in(cpu, guest, page)?;
        }
        Ok(last)
    }

    /// The pages that loads touch, whole.
    fn image(&self, guest: usize) -> BTreeMap<u64, Box<PageBytes>> {
        let mut image: BTreeMap<u64, Box<PageBytes>> = BTreeMap::new();
        for (address, bytes) in &self.guests[guest].plan.loads {
            let mut at = *address;
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let offset = (at % PAGE_SIZE) as usize;
                let (part, tail) = rest.split_at(rest.len().min(PAGE_SIZE as usize - offset));
                let page = image.entry(at / PAGE_SIZE).or_insert_with(|| Box::new([0; PAGE_SIZE as usize]));
                page[offset..offset + part.len()].copy_from_slice(part);
                at += part.len() as u64;
                rest = tail;
            }
        }
        image
    }
}

/// The plain image header (D49) of an image whose pages are loaded in rising order.
fn plain_header(image: &BTreeMap<u64, Box<PageBytes>>) -> Vec<u8> {
    let mut digests = ImageDigests::default();
    for (&page, bytes) in image {
        digests.add(bytes, page * PAGE_SIZE, [COMPONENT, page * PAGE_SIZE]);
    }
    let mut header = Vec::from(*b"UVSIMPLN");
    header.extend(1u32.to_be_bytes());
    header.extend((PLAIN_HEADER_LENGTH as u32).to_be_bytes());
    header.extend((image.len() as u64).to_be_bytes());
    // PSW: 64-bit addressing, address 0.
    header.extend(0x0000_0001_8000_0000u64.to_be_bytes());
    header.extend(0u64.to_be_bytes());
    digests.finish().iter().for_each(|digest| header.extend(digest));
    header
}
