//! Cases drawn at random: themes that know roughly what state things are in.

mod calls;
mod themes;

use super::case::{Case, Deed, GuestSetup, LoadContent, LoadSetup, MOST_CPUS, Setup};
use crate::scenario::{GuestId, GuestState, Pages, Read, Source, Verb, Write};
use rand::{Rng, RngExt};
use uvsim_model::address::PageIndex;
use uvsim_model::config::{ChangeDetection, CipherProfile, Generation};
use uvsim_model::uvc::Command;

/// Where choices come from, and what the case so far is about.
pub(super) struct Draw<'r, R> {
    pub(super) random: &'r mut R,
    guests: usize,
    cpus: u16,
    /// The page that statements have been about lately; most go on with it.
    focus: (usize, u64),
    deeds: Vec<Deed>,
}

/// Pages of a guest that are touched: few, so that statements meet.
const PAGES: u64 = 6;
/// The machine's seeds: few, since every one needs keys.
const SEEDS: u64 = 2;
/// Themes of a new case, at most. Cases are long: to bring a machine up takes longer than most statements.
const THEMES: usize = 40;

/// A case of its own, from nothing.
pub(super) fn case<R: Rng>(random: &mut R) -> Case {
    let setup = setup(random);
    let mut draw = Draw::new(&setup, random);
    for _ in 0..draw.below(THEMES) + 1 {
        draw.theme();
    }
    Case::new(setup, draw.deeds)
}

/// Some statements, for a place in an existing case.
pub(super) fn statements<R: Rng>(setup: &Setup, random: &mut R) -> Vec<Deed> {
    let mut draw = Draw::new(setup, random);
    draw.theme();
    draw.deeds
}

fn setup<R: Rng>(random: &mut R) -> Setup {
    let mut setup = Setup {
        seed: random.random_range(1..=SEEDS),
        cpus: *pick(random, &[2, 1, 2, 2, 3, MOST_CPUS]),
        generation: *pick(random, &[Generation::Z16, Generation::Z16, Generation::Z17, Generation::Z15]),
        cipher: *pick(random, &[CipherProfile::Gcm, CipherProfile::Gcm, CipherProfile::Xts]),
        change_detection: *pick(random, &[ChangeDetection::Digest, ChangeDetection::Digest, ChangeDetection::Always]),
        misc: *pick(random, &[None, None, None, Some(false), Some(true)]),
        strict_tweaks: random.random_ratio(1, 6),
        guests: Vec::new(),
        ..Setup::default()
    };
    if random.random_ratio(1, 24) {
        setup.without.push(*pick(random, Command::ALL));
    }
    let states = [GuestState::Running, GuestState::Running, GuestState::Running, GuestState::Created, GuestState::None];
    for _ in 0..*pick(random, &[2, 1, 2, 2, 3]) {
        let loads = match random.random_range(0..3) {
            0 => vec![
                LoadSetup { address: 0x3000, data: LoadContent::Bytes(b"attack at dawn".to_vec()) },
                LoadSetup { address: 0x5000, data: LoadContent::Bytes(vec![0x5a; 16]) },
            ],
            1 => vec![LoadSetup { address: 0x3000, data: LoadContent::Random(0x2000) }],
            _ => Vec::new(),
        };
        let vcpus = *pick(random, &[1, 1, 1, 2]);
        setup.guests.push(GuestSetup { memory: 1, vcpus, state: *pick(random, &states), loads });
    }
    setup
}

/// One of several.
pub(super) fn pick<'a, T, R: Rng>(random: &mut R, all: &'a [T]) -> &'a T {
    &all[random.random_range(0..all.len())]
}

impl<'r, R: Rng> Draw<'r, R> {
    fn new(setup: &Setup, random: &'r mut R) -> Self {
        let guests = setup.guests.len().max(1);
        let focus = (random.random_range(0..guests), random.random_range(0..PAGES));
        Self { random, guests, cpus: setup.cpus, focus, deeds: Vec::new() }
    }

    fn below(&mut self, limit: usize) -> usize {
        self.random.random_range(0..limit.max(1))
    }

    /// True one time in `n`.
    fn once_in(&mut self, n: u32) -> bool {
        self.random.random_ratio(1, n)
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        *pick(self.random, all)
    }

    /// A guest: most often that of the focus.
    fn guest(&mut self) -> GuestId {
        if self.once_in(4) {
            self.focus.0 = self.below(self.guests);
        }
        GuestId(self.focus.0)
    }

    fn page_number(&mut self) -> u64 {
        if self.once_in(4) {
            self.focus.1 = self.random.random_range(0..PAGES);
        }
        self.focus.1
    }

    fn page(&mut self) -> Pages {
        let (guest, page) = (self.guest(), PageIndex(self.page_number()));
        Pages { guest, first: page, last: page }
    }

    /// Any page of any guest, wherever the focus is.
    fn other_page(&mut self) -> Pages {
        let guest = GuestId(self.below(self.guests));
        let page = PageIndex(self.random.random_range(0..PAGES));
        Pages { guest, first: page, last: page }
    }

    /// A page, rarely one outside of the guest.
    fn far_page(&mut self) -> Pages {
        let mut pages = self.page();
        if self.once_in(20) {
            let far = self.one_of(&[255, 256, 257, 0xf_ffff, 1 << 40, (1 << 52) - 1]);
            (pages.first, pages.last) = (PageIndex(far), PageIndex(far));
        }
        pages
    }

    fn host_cpu(&mut self) -> u16 {
        if self.once_in(4) { self.random.random_range(0..self.cpus) } else { 0 }
    }

    fn vcpu(&mut self) -> u16 {
        if self.once_in(6) { self.random.random_range(0..3) } else { 0 }
    }

    /// The host does it.
    fn host(&mut self, verb: Verb) {
        let cpu = self.host_cpu();
        self.deeds.push(Deed { cpu, verb });
    }

    /// A vCPU does it.
    fn by_guest(&mut self, verb: Verb) {
        let cpu = self.vcpu();
        self.deeds.push(Deed { cpu, verb });
    }

    fn read(&mut self) -> Read {
        let save = self.once_in(6).then(|| crate::scenario::BufferId(self.below(4)));
        if save.is_some() && self.once_in(2) {
            return Read { offset: 0, length: Some(0x1000), save, compare: None };
        }
        let offset = self.one_of(&[0, 0, 8, 4080]);
        Read { offset, length: Some(16), save, compare: None }
    }

    fn write(&mut self) -> Write {
        if self.once_in(5) {
            let buffer = crate::scenario::BufferId(self.below(4));
            return Write { offset: 0, data: Source::Buffer(buffer) };
        }
        let byte = self.random.random::<u8>();
        let length = self.one_of(&[1, 8, 16]);
        Write { offset: self.one_of(&[0, 0, 16, 4080]), data: Source::Bytes(vec![byte; length]) }
    }
}
