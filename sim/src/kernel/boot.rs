//! Boot of a guest: its image is put into memory, unpacked and verified, its first CPU loaded.

use super::life::STATE_LOAD;
use super::{Kernel, Observed, Stop};
use crate::image::{ImagePage, Ipib, ListedComponent};
use crate::scenario::{ImagePart, Outcome, Unpack};
use uvsim_model::address::{AbsoluteAddress, PAGE_SIZE};
use uvsim_model::uvc::Command;

const PREFIX_PAGES: [u64; 2] = [0, 1];

impl Kernel<'_> {
    /// SET_SEC_CONF_PARAMS, UNPACK_IMG for each page of the image, VERIFY_IMG, CPU_SET_STATE 5 for vCPU 0, and
    /// the pages of the prefix.
    pub(super) fn boot_guest(&mut self, cpu: u16, guest: usize) -> Result<Observed, Stop> {
        self.set_parameters(cpu, guest, None)?;
        self.unpack(cpu, guest, &Unpack::default())?;
        let handle = self.guests[guest].handle;
        self.must(cpu, Command::VerifyImg, &[("handle", handle)])?;
        self.guests[guest].verified = true;
        self.set_vcpu_state(cpu, guest, 0, STATE_LOAD)?;
        let mut last = Observed::OK;
        for page in PREFIX_PAGES {
            last = self.bring_in(cpu, guest, page)?;
        }
        Ok(last)
    }

    /// SET_SEC_CONF_PARAMS with a copy of the guest's header, or the first `length` bytes of it, zeros behind.
    pub(super) fn set_parameters(&mut self, cpu: u16, guest: usize, length: Option<u32>) -> Result<Observed, Stop> {
        let mut bytes = self.header_bytes(guest)?;
        let length = length.map_or(bytes.len(), |length| length as usize);
        bytes.resize(length, 0);
        self.hand_over_header(cpu, guest, &bytes)
    }

    /// SET_SEC_CONF_PARAMS with a copy of these bytes.
    pub(super) fn hand_over_header(&mut self, cpu: u16, guest: usize, bytes: &[u8]) -> Result<Observed, Stop> {
        let (handle, length) = (self.guests[guest].handle, bytes.len() as u64);
        let frames = length.div_ceil(PAGE_SIZE).max(1);
        let header = self.allocate(frames, 1, "the image header")?;
        self.put(header, bytes)?;
        let fields = [("guest-handle", handle), ("sec-header-origin", header.0), ("sec-header-len", length)];
        let accepted = self.must(cpu, Command::SetSecConfParams, &fields);
        self.free_frames(header, frames);
        accepted
    }

    /// The header that the host hands over: its copy, if it keeps one.
    fn header_bytes(&mut self, guest: usize) -> Result<Vec<u8>, Stop> {
        let mut bytes = self.guests[guest].plan.image.header.clone();
        if let Some(copy) = self.guests[guest].header {
            self.cpu(self.own_cpu()).load(uvsim_model::address::VirtualAddress(copy.0), &mut bytes)?;
        }
        Ok(bytes)
    }

    /// Where the host keeps a copy of the guest's header, made now if there is none, and how long it is.
    ///
    /// # Errors
    /// Storage that is too small.
    pub fn keep_header(&mut self, guest: usize) -> Result<(AbsoluteAddress, u64), Stop> {
        let length = self.guests[guest].plan.image.header.len() as u64;
        if let Some(copy) = self.guests[guest].header {
            return Ok((copy, length));
        }
        let bytes = self.guests[guest].plan.image.header.clone();
        let copy = self.allocate(length.div_ceil(PAGE_SIZE).max(1), 1, "a copy of the image header")?;
        self.put(copy, &bytes)?;
        self.guests[guest].header = Some(copy);
        Ok((copy, length))
    }

    /// The copy of the header, if it is kept, and the length of the header.
    #[must_use]
    pub fn header(&self, guest: usize) -> (Option<AbsoluteAddress>, u64) {
        (self.guests[guest].header, self.guests[guest].plan.image.header.len() as u64)
    }

    /// Prefix and offset of the tweak of an image page.
    #[must_use]
    pub fn tweak(&self, guest: usize, page: u64) -> Option<[u64; 2]> {
        let mut pages = self.guests[guest].plan.image.pages();
        pages.find(|found| found.address / PAGE_SIZE == page).map(|found| found.tweak)
    }

    /// `host write-header`: bytes of the copy of the header.
    ///
    /// # Errors
    /// Storage that is too small; [`Outcome::Invalid`] beyond the end of the header.
    pub fn write_header(&mut self, guest: usize, offset: u64, bytes: &[u8]) -> Result<Observed, Stop> {
        let (copy, length) = self.keep_header(guest)?;
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > length) {
            return Err(Observed::plain(Outcome::Invalid, "").into());
        }
        self.put(AbsoluteAddress(copy.0 + offset), bytes)?;
        Ok(Observed::OK)
    }

    /// `host flip-header`: a bit of the copy of the header, 0 is the leftmost of byte 0.
    ///
    /// # Errors
    /// As for [`Self::write_header`].
    pub fn flip_header(&mut self, guest: usize, bit: u32) -> Result<Observed, Stop> {
        self.keep_header(guest)?;
        let offset = bit / 8;
        let Some(&byte) = self.header_bytes(guest)?.get(offset as usize) else {
            return Err(Observed::plain(Outcome::Invalid, "").into());
        };
        self.write_header(guest, offset.into(), &[byte ^ 0x80 >> (bit % 8)])
    }

    /// `host load-image`: the pages as they were delivered, put into frames of the guest. What is secure there is
    /// made accessible first, as for any store of user space.
    ///
    /// # Errors
    /// Storage that is too small, or a refused export.
    pub fn load_image(&mut self, cpu: u16, guest: usize, part: ImagePart) -> Result<Observed, Stop> {
        self.each_image_page(guest, part, |kernel, page| kernel.load_page(cpu, guest, &page))?;
        Ok(Observed::OK)
    }

    fn load_page(&mut self, cpu: u16, guest: usize, page: &ImagePage<'_>) -> Result<(), Stop> {
        self.write_user(cpu, guest, page.address, page.bytes)?;
        self.guests[guest].loaded.insert(page.address / PAGE_SIZE);
        Ok(())
    }

    /// What the boot loader of an image puts beside it: the header, and an IPL parameter block that names it.
    ///
    /// # Errors
    /// [`Outcome::Addressing`] if they do not fit into the guest; otherwise as for [`Self::load_image`].
    pub fn load_ipl_block(&mut self, cpu: u16, guest: usize, block: u64, header: u64) -> Result<Observed, Stop> {
        let bytes = self.header_bytes(guest)?;
        let listed = self.guests[guest].plan.image.components.iter().map(|component| ListedComponent {
            prefix: component.prefix,
            address: component.address,
            length: component.data.len() as u64,
        });
        let made = Ipib::new(header, bytes.len() as u64, listed.collect());
        // There are more components than any block lists.
        let Some(made) = made.map(|made| made.to_bytes()) else {
            return Err(Observed::plain(Outcome::Invalid, "").into());
        };
        for (address, bytes) in [(header, &bytes), (block, &made)] {
            let end = address.checked_add(bytes.len() as u64);
            if end.is_none_or(|end| end > self.guests[guest].plan.memory) {
                return Err(Observed::plain(Outcome::Addressing, "").into());
            }
            self.write_user(cpu, guest, address, bytes)?;
        }
        Ok(Observed::OK)
    }

    /// UNPACK: UNPACK_IMG for each page of the image, or of a part of it. Pages that do not lie in memory yet are
    /// put there first.
    pub(super) fn unpack(&mut self, cpu: u16, guest: usize, unpack: &Unpack) -> Result<Observed, Stop> {
        if let Some(region) = unpack.region(&self.guests[guest].plan.image) {
            if !region.is_aligned() {
                return Err(Observed::plain(Outcome::Invalid, "").into());
            }
            return self.unpack_region(cpu, guest, [region.tweak, region.address, region.size], true);
        }
        let mut last = Observed::OK;
        self.each_image_page(guest, unpack.part, |kernel, page| {
            if !kernel.guests[guest].loaded.contains(&(page.address / PAGE_SIZE)) {
                kernel.load_page(cpu, guest, &page)?;
            }
            last = kernel.unpack_page(cpu, guest, page.address, page.tweak)?;
            Ok(())
        })?;
        Ok(last)
    }

    /// Whole pages from an address on, all with one tweak prefix. `load` puts image pages into memory that do not
    /// lie there yet.
    pub(super) fn unpack_region(
        &mut self,
        cpu: u16,
        guest: usize,
        [tweak, first, size]: [u64; 3],
        load: bool,
    ) -> Result<Observed, Stop> {
        let memory = self.guests[guest].plan.memory;
        let mut last = Observed::OK;
        for offset in (0..size).step_by(PAGE_SIZE as usize) {
            self.in_time()?;
            let address = first.wrapping_add(offset);
            let page = address / PAGE_SIZE;
            if load && address < memory && !self.guests[guest].loaded.contains(&page) {
                let found = ImagePart::Page(page);
                self.each_image_page(guest, found, |kernel, found| kernel.load_page(cpu, guest, &found))?;
            }
            last = self.unpack_page(cpu, guest, address, [tweak, offset])?;
        }
        Ok(last)
    }

    /// UNPACK_IMG, with the answer of Linux to a page that is not mapped.
    fn unpack_page(&mut self, cpu: u16, guest: usize, address: u64, tweak: [u64; 2]) -> Result<Observed, Stop> {
        let (handle, page) = (self.guests[guest].handle, address / PAGE_SIZE);
        if address < self.guests[guest].plan.memory {
            self.frame_of(cpu, guest, page)?;
        }
        self.export_before_import(cpu, guest, page)?;
        let [prefix, offset] = tweak;
        let fields = [("guest-handle", handle), ("gaddr", address), ("tweak-prefix", prefix), ("tweak-offset", offset)];
        self.must(cpu, Command::UnpackImg, &fields)
    }

    /// Does something with each page of a part of the image.
    fn each_image_page(
        &mut self,
        guest: usize,
        part: ImagePart,
        mut act: impl FnMut(&mut Self, ImagePage<'_>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        // The pages are read while the kernel changes.
        let image = core::mem::take(&mut self.guests[guest].plan.image);
        let wanted = |component: usize, page: &ImagePage<'_>| match part {
            ImagePart::All => true,
            ImagePart::Component(number) => number == component as u64,
            ImagePart::Page(number) => number == page.address / PAGE_SIZE,
        };
        let components = image.components.iter().enumerate();
        let pages = components.flat_map(|(number, component)| component.pages().map(move |page| (number, page)));
        let done = pages.filter(|(number, page)| wanted(*number, page)).try_for_each(|(_, page)| act(self, page));
        self.guests[guest].plan.image = image;
        done
    }
}
