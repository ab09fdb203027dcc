//! Boot of a guest: its image is unpacked and verified, its first CPU loaded.

use super::life::STATE_LOAD;
use super::{Kernel, Observed, Stop};
use uvsim_model::address::PAGE_SIZE;
use uvsim_model::uvc::Command;

const PREFIX_PAGES: [u64; 2] = [0, 1];

impl Kernel<'_> {
    /// SET_SEC_CONF_PARAMS, UNPACK_IMG for each page of the image, VERIFY_IMG, CPU_SET_STATE 5 for vCPU 0, and
    /// the pages of the prefix.
    pub(super) fn boot_guest(&mut self, cpu: u16, guest: usize) -> Result<Observed, Stop> {
        self.set_parameters(cpu, guest)?;
        self.unpack(cpu, guest)?;
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

    fn set_parameters(&mut self, cpu: u16, guest: usize) -> Result<Observed, Stop> {
        let bytes = self.guests[guest].plan.image.header.clone();
        let frames = (bytes.len() as u64).div_ceil(PAGE_SIZE).max(1);
        let header = self.allocate(frames, 1, "the image header")?;
        self.put(header, &bytes)?;
        let fields = [
            ("guest-handle", self.guests[guest].handle),
            ("sec-header-origin", header.0),
            ("sec-header-len", bytes.len() as u64),
        ];
        let accepted = self.must(cpu, Command::SetSecConfParams, &fields);
        self.free_frames(header, frames);
        accepted
    }

    fn unpack(&mut self, cpu: u16, guest: usize) -> Result<(), Stop> {
        let handle = self.guests[guest].handle;
        // The pages are read while the kernel changes.
        let image = core::mem::take(&mut self.guests[guest].plan.image);
        let done = image.pages().try_for_each(|page| {
            let frame = self.frame_of(cpu, guest, page.address / PAGE_SIZE)?;
            self.put(frame.address(), page.bytes)?;
            let [prefix, offset] = page.tweak;
            let fields =
                [("guest-handle", handle), ("gaddr", page.address), ("tweak-prefix", prefix), ("tweak-offset", offset)];
            self.must(cpu, Command::UnpackImg, &fields).map(drop)
        });
        self.guests[guest].plan.image = image;
        done
    }
}
