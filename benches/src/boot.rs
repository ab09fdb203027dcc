//! Boot of guests, by the calls of a host.

use crate::host::{Guest, Host};
use crate::stopwatch::Stopwatch;
use std::time::Duration;
use uvsim::image::{Component, ImageKeys, Recipe, SeImage, USUAL_FLAGS, USUAL_PSW_MASK};
use uvsim_model::Machine;
use uvsim_model::address::{FrameNumber, PageIndex};
use uvsim_model::seed::{Purpose, Seed};
use uvsim_model::uvc::Command;

/// Where the only component of the image lies.
const FIRST: u64 = 0x10_0000;

/// A host that boots one guest after the other from the same image.
#[derive(Debug)]
pub struct Boots<'m> {
    host: Host<'m>,
    image: SeImage,
    header: u64,
    mebibytes: u64,
    /// The frames that hold the image before each boot, consecutive.
    frames: FrameNumber,
}

/// What the parts of a boot took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts {
    /// SET_SEC_CONF_PARAMS.
    pub header: Duration,
    /// UNPACK_IMG of all pages.
    pub unpack: Duration,
    /// VERIFY_IMG.
    pub verify: Duration,
    /// The host's own part: the image is copied to its frames, which are mapped.
    pub deliver: Duration,
}

impl Parts {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.header + self.unpack + self.verify + self.deliver
    }
}

impl<'m> Boots<'m> {
    /// An image of so many pages.
    ///
    /// # Panics
    /// Never: one recipient is not too many.
    #[must_use]
    pub fn new(machine: &'m Machine, pages: u64) -> Self {
        let mut host = Host::new(machine);
        let data: Vec<u8> = (0..pages * 4096).map(|at| (at ^ at >> 12) as u8).collect();
        let recipe = Recipe {
            recipients: &[machine.host_public_key().clone()],
            flags: USUAL_FLAGS,
            secret_flags: 0,
            psw: [USUAL_PSW_MASK, FIRST],
            components: vec![Component::new(40 << 48, FIRST, data)],
            keys: ImageKeys::draw(&mut Seed(1).stream(Purpose::Images)),
        };
        let image = recipe.make().expect("one recipient");
        let header = host.allocate(0x2000);
        host.store(header, &image.header);
        let frames = host.frames(pages).next().expect("an image has pages");
        Self { host, image, header, mebibytes: pages.div_ceil(256) + 1, frames }
    }

    /// One guest: created, its image loaded and verified, ended.
    pub fn boot(&mut self) -> Parts {
        let mut guest = self.host.create(self.mebibytes);
        let mut parts = Parts::default();
        let watch = Stopwatch::start();
        self.set_parameters(&guest);
        parts.header = watch.elapsed();
        let watch = Stopwatch::start();
        self.deliver(&mut guest);
        parts.deliver = watch.elapsed();
        let watch = Stopwatch::start();
        self.unpack(&guest);
        parts.unpack = watch.elapsed();
        let watch = Stopwatch::start();
        self.host.call(Command::VerifyImg, &[(0x18, 8, guest.handle)]);
        parts.verify = watch.elapsed();
        self.host.end(&guest);
        parts
    }

    fn set_parameters(&mut self, guest: &Guest) {
        let fields = [(0x18, 8, guest.handle), (0x20, 8, self.header), (0x28, 4, self.image.header.len() as u64)];
        self.host.call(Command::SetSecConfParams, &fields);
    }

    fn deliver(&mut self, guest: &mut Guest) {
        for (page, frame) in self.image.pages().zip(self.frames.0..) {
            let frame = FrameNumber(frame);
            self.host.store(frame.address().0, page.bytes);
            self.host.map(guest, PageIndex(page.address / 4096), frame);
        }
    }

    fn unpack(&mut self, guest: &Guest) {
        for page in self.image.pages() {
            let [prefix, offset] = page.tweak;
            let fields = [(0x18, 8, guest.handle), (0x20, 8, page.address), (0x28, 8, prefix), (0x30, 8, offset)];
            self.host.call(Command::UnpackImg, &fields);
        }
    }
}
