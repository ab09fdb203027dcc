//! What is measured: machines with a prepared working set, and passes over it that tell their time.

use crate::host::{Guest, Host, guest_call, prepare_guest_call};
use crate::limits::PAGE;
use crate::sets::Set;
use crate::stopwatch::Stopwatch;
use core::hint::black_box;
use std::time::Duration;
use uvsim_model::address::{FrameNumber, GuestAddress, PageIndex, VirtualAddress};
use uvsim_model::uvc::Command;

/// The set begins here in the guest, behind its prefix area.
const FIRST_PAGE: u64 = 256;
/// Blocks of the guest, in the page behind its lowcore.
const SHARE_BLOCK: u64 = 0x1e00;
const UNSHARE_BLOCK: u64 = 0x1e80;

/// A running guest whose whole set is resident.
#[derive(Debug)]
pub struct Resident<'m> {
    host: Host<'m>,
    guest: Guest,
    /// Page `n` of the set is in frame `first + n`.
    first: u64,
    host_bytes: u64,
    value: u64,
    staging: Box<[u8; PAGE]>,
}

impl<'m> Resident<'m> {
    /// Imports every page, and fills as much host memory besides.
    #[must_use]
    pub fn new(mut host: Host<'m>, set: Set) -> Self {
        let mut guest = host.create(set.mebibytes() + 1);
        host.start(&mut guest);
        let host_bytes = host.allocate(set.pages * PAGE as u64);
        let frames: Vec<FrameNumber> = host.frames(set.pages).collect();
        for (page, &frame) in (0..).zip(&frames) {
            // A first import clears what was stored to; so every frame is touched for the system, too.
            host.store(host_bytes + page * PAGE as u64, &[1; 8]);
            host.store(frame.address().0, &[1; 8]);
            host.map(&mut guest, PageIndex(FIRST_PAGE + page), frame);
            host.import(&guest, PageIndex(FIRST_PAGE + page));
        }
        let first = frames.first().map_or(0, |frame| frame.0);
        let mut cases = Self { host, guest, first, host_bytes, value: 0, staging: Box::new([0; PAGE]) };
        let mut cpu = cases.host.enter(&cases.guest);
        prepare_guest_call(&mut cpu, SHARE_BLOCK, Command::SetSharedAccess);
        prepare_guest_call(&mut cpu, UNSHARE_BLOCK, Command::RemoveSharedAccess);
        drop(cpu);
        cases
    }

    /// Exports pages.
    pub fn export(&mut self, pages: &[u64]) -> Duration {
        let start = Stopwatch::start();
        for &page in pages {
            self.host.export(FrameNumber(self.first + page));
        }
        start.elapsed()
    }

    /// Imports them again.
    pub fn import(&mut self, pages: &[u64]) -> Duration {
        let start = Stopwatch::start();
        for &page in pages {
            self.host.import(&self.guest, PageIndex(FIRST_PAGE + page));
        }
        start.elapsed()
    }

    /// Takes a snapshot.
    pub fn snapshot(&mut self) -> Duration {
        let start = Stopwatch::start();
        self.host.cpu.snapshot().expect("nobody else operates");
        start.elapsed()
    }

    /// Goes back to it.
    pub fn restore(&mut self) -> Duration {
        let start = Stopwatch::start();
        self.host.cpu.restore().expect("there is a snapshot");
        start.elapsed()
    }

    /// The host stores a word to each of these pages of its own memory.
    pub fn touch_host(&mut self, pages: &[u64]) -> Duration {
        let start = Stopwatch::start();
        for &page in pages {
            let at = VirtualAddress(self.host_bytes + page * PAGE as u64 + 8);
            self.host.cpu.store(at, &[7; 8]).expect("non-secure");
        }
        start.elapsed()
    }

    /// The guest stores to every page what is there already.
    pub fn touch(&mut self, pages: &[u64]) {
        self.store_to_each(pages);
    }

    /// The guest stores something new to every page.
    pub fn change(&mut self, pages: &[u64]) {
        self.value += 1;
        self.store_to_each(pages);
    }

    fn store_to_each(&mut self, pages: &[u64]) {
        let value = self.value.to_be_bytes();
        let mut cpu = self.host.enter(&self.guest);
        for &page in pages {
            let at = GuestAddress((FIRST_PAGE + page) * PAGE as u64);
            cpu.store(at, &value).expect("the page is resident");
        }
    }

    /// The guest shares and unshares each page: two Ultravisor calls with blocks in its storage.
    pub fn share_and_unshare(&mut self, pages: &[u64]) -> Duration {
        let mut cpu = self.host.enter(&self.guest);
        let start = Stopwatch::start();
        for &page in pages {
            guest_call(&mut cpu, SHARE_BLOCK, PageIndex(FIRST_PAGE + page));
            guest_call(&mut cpu, UNSHARE_BLOCK, PageIndex(FIRST_PAGE + page));
        }
        start.elapsed()
    }

    /// The host exports frames that are non-secure already: a call with nothing to do (T47).
    pub fn export_nothing(&mut self, pages: &[u64]) -> Duration {
        let first = self.host_bytes / PAGE as u64;
        let start = Stopwatch::start();
        for &page in pages {
            self.host.export(FrameNumber(first + page));
        }
        start.elapsed()
    }

    /// The guest loads words.
    pub fn guest_load(&mut self, words: &[u32]) -> Duration {
        let mut cpu = self.host.enter(&self.guest);
        let start = Stopwatch::start();
        for &at in words {
            let mut word = [0; 8];
            cpu.load(GuestAddress(FIRST_PAGE * PAGE as u64 + u64::from(at)), &mut word).expect("resident");
            black_box(u64::from_ne_bytes(word));
        }
        start.elapsed()
    }

    /// The guest stores words.
    pub fn guest_store(&mut self, words: &[u32]) -> Duration {
        let mut cpu = self.host.enter(&self.guest);
        let start = Stopwatch::start();
        for &at in words {
            let word = u64::from(at).to_ne_bytes();
            cpu.store(GuestAddress(FIRST_PAGE * PAGE as u64 + u64::from(at)), &word).expect("resident");
        }
        start.elapsed()
    }

    /// The host loads words of its own memory.
    pub fn host_load(&mut self, words: &[u32]) -> Duration {
        let start = Stopwatch::start();
        for &at in words {
            let mut word = [0; 8];
            self.host.cpu.load(VirtualAddress(self.host_bytes + u64::from(at)), &mut word).expect("non-secure");
            black_box(u64::from_ne_bytes(word));
        }
        start.elapsed()
    }

    /// The host stores words to its own memory.
    pub fn host_store(&mut self, words: &[u32]) -> Duration {
        let start = Stopwatch::start();
        for &at in words {
            let word = u64::from(at).to_ne_bytes();
            self.host.cpu.store(VirtualAddress(self.host_bytes + u64::from(at)), &word).expect("non-secure");
        }
        start.elapsed()
    }

    /// The guest loads whole pages.
    pub fn guest_load_pages(&mut self, pages: &[u64]) -> Duration {
        let mut cpu = self.host.enter(&self.guest);
        let start = Stopwatch::start();
        for &page in pages {
            let at = GuestAddress((FIRST_PAGE + page) * PAGE as u64);
            cpu.load(at, self.staging.as_mut_slice()).expect("resident");
            black_box(&mut self.staging);
        }
        start.elapsed()
    }

    /// The guest stores whole pages.
    pub fn guest_store_pages(&mut self, pages: &[u64]) -> Duration {
        let mut cpu = self.host.enter(&self.guest);
        let start = Stopwatch::start();
        for &page in pages {
            let at = GuestAddress((FIRST_PAGE + page) * PAGE as u64);
            cpu.store(at, black_box(self.staging.as_slice())).expect("resident");
        }
        start.elapsed()
    }

    /// The host loads whole pages of its own memory.
    pub fn host_load_pages(&mut self, pages: &[u64]) -> Duration {
        let start = Stopwatch::start();
        for &page in pages {
            let at = VirtualAddress(self.host_bytes + page * PAGE as u64);
            self.host.cpu.load(at, self.staging.as_mut_slice()).expect("non-secure");
            black_box(&mut self.staging);
        }
        start.elapsed()
    }

    /// The host stores whole pages to its own memory.
    pub fn host_store_pages(&mut self, pages: &[u64]) -> Duration {
        let start = Stopwatch::start();
        for &page in pages {
            let at = VirtualAddress(self.host_bytes + page * PAGE as u64);
            self.host.cpu.store(at, black_box(self.staging.as_slice())).expect("non-secure");
        }
        start.elapsed()
    }
}

/// A guest that never runs: its pages come for the first time and are destroyed.
#[derive(Debug)]
pub struct Arriving<'m> {
    host: Host<'m>,
    guest: Guest,
    frames: u64,
    /// Guest pages that have been used up. A destroyed page never comes back (T55).
    used: u64,
}

impl<'m> Arriving<'m> {
    /// Room for `passes` passes over the set.
    #[must_use]
    pub fn new(mut host: Host<'m>, set: Set, passes: u64) -> Self {
        let guest = host.create((passes * set.pass()).div_ceil(256));
        let frames = host.frames(set.pages).next().map_or(0, |frame| frame.0);
        for page in 0..set.pages {
            host.store((frames + page) * PAGE as u64, &[1; 8]);
        }
        Self { host, guest, frames, used: 0 }
    }

    /// Maps pages that were never seen before, and imports them.
    pub fn first_import(&mut self, frames: &[u64]) -> Duration {
        for (page, &frame) in (self.used..).zip(frames) {
            self.host.map(&mut self.guest, PageIndex(page), FrameNumber(self.frames + frame));
        }
        let start = Stopwatch::start();
        for (page, _) in (self.used..).zip(frames) {
            self.host.import(&self.guest, PageIndex(page));
        }
        start.elapsed()
    }

    /// Destroys the pages of the latest [`Arriving::first_import`]. Sends them out and in again before,
    /// since a page of zeros needs no clearing.
    pub fn destroy(&mut self, frames: &[u64]) -> Duration {
        for (page, &frame) in (self.used..).zip(frames) {
            self.host.export(FrameNumber(self.frames + frame));
            self.host.import(&self.guest, PageIndex(page));
        }
        let start = Stopwatch::start();
        for &frame in frames {
            self.host.destroy(FrameNumber(self.frames + frame));
        }
        let elapsed = start.elapsed();
        for &frame in frames {
            self.host.store((self.frames + frame) * PAGE as u64, &[1; 8]);
        }
        self.used += frames.len() as u64;
        elapsed
    }
}
