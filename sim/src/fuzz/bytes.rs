//! Cases as bytes: short, and any bytes are a case, so that a fuzzer that knows nothing of them can change them.

use super::case::{Case, Deed, GuestSetup, LoadContent, LoadSetup, MOST_GUESTS, MOST_STATEMENTS, Setup};
use crate::scenario::GuestState;
use uvsim_model::config::{ChangeDetection, CipherProfile, Generation};
use uvsim_model::uvc::Command;

impl Case {
    /// The case that these bytes stand for. All bytes stand for some.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut input = Input(bytes);
        let setup = Setup::read(&mut input);
        let mut statements = Vec::new();
        while !input.0.is_empty() && statements.len() < MOST_STATEMENTS {
            statements.push(Deed::read(&mut input));
        }
        Self::new(setup, statements)
    }

    /// Bytes that stand for this case.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Output::default();
        self.setup.write(&mut out);
        self.statements.iter().for_each(|deed| deed.write(&mut out));
        out.into_bytes()
    }
}

/// Numbers that stand on an edge; one byte means each.
const EDGES: [u64; 8] = [
    u64::MAX,
    1 << 63,
    0x8000_0000,
    super::case::USUAL_STORAGE << 20,
    uvsim_model::MAX_GUEST_ADDRESS,
    0x4000_0000_0000,
    0x8000_0000 + uvsim_model::UV_BASE_LENGTH,
    0x1000,
];
const FIRST_EDGE: u8 = 0xf8;
const FIRST_LONG: u8 = 0xf0;

/// Bytes that are read. Behind their end there are zeros.
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// A number below `limit`.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit.max(1)
    }

    pub(super) fn flag(&mut self) -> bool {
        self.byte() & 1 != 0
    }

    pub(super) fn number(&mut self) -> u64 {
        let first = self.byte();
        match first {
            ..FIRST_LONG => first.into(),
            FIRST_LONG..FIRST_EDGE => (FIRST_LONG..=first).fold(0, |value, _| value << 8 | u64::from(self.byte())),
            _ => EDGES[usize::from(first - FIRST_EDGE)],
        }
    }

    pub(super) fn optional(&mut self) -> Option<u64> {
        self.flag().then(|| self.number())
    }

    pub(super) fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = (self.number() % (most as u64 + 1)) as usize;
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken.to_vec()
    }
}

/// Bytes that are written.
#[derive(Default)]
pub(super) struct Output(Vec<u8>);

impl Output {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(super) fn index(&mut self, index: usize) {
        self.byte(index as u8);
    }

    pub(super) fn flag(&mut self, flag: bool) {
        self.byte(flag.into());
    }

    pub(super) fn number(&mut self, value: u64) {
        if value < FIRST_LONG.into() {
            return self.byte(value as u8);
        }
        let length = 8 - value.leading_zeros() as usize / 8;
        self.byte(FIRST_LONG - 1 + length as u8);
        self.0.extend_from_slice(&value.to_be_bytes()[8 - length..]);
    }

    pub(super) fn optional(&mut self, value: Option<u64>) {
        self.flag(value.is_some());
        if let Some(value) = value {
            self.number(value);
        }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }
}

/// The variant of this number, and the number of a variant.
pub(super) fn pick<T: Copy>(all: &[T], input: &mut Input<'_>) -> T {
    all[input.below(all.len())]
}

pub(super) fn put<T: PartialEq>(all: &[T], value: &T, out: &mut Output) {
    out.index(all.iter().position(|one| one == value).unwrap_or(0));
}

const GENERATIONS: [Generation; 3] = [Generation::Z16, Generation::Z15, Generation::Z17];
const CIPHERS: [CipherProfile; 2] = [CipherProfile::Gcm, CipherProfile::Xts];
const DETECTIONS: [ChangeDetection; 2] = [ChangeDetection::Digest, ChangeDetection::Always];
const MISC: [Option<bool>; 3] = [None, Some(false), Some(true)];
const STATES: [GuestState; 3] = [GuestState::Running, GuestState::Created, GuestState::None];
const LOADS: usize = 16;

impl Setup {
    fn read(input: &mut Input<'_>) -> Self {
        let (seed, storage) = (input.number(), input.number());
        let cpus = input.number().min(u16::MAX.into()) as u16;
        let (generation, cipher) = (pick(&GENERATIONS, input), pick(&CIPHERS, input));
        let (change_detection, misc) = (pick(&DETECTIONS, input), pick(&MISC, input));
        let strict_tweaks = input.flag();
        let without = (0..input.below(Command::ALL.len())).map(|_| pick(Command::ALL, input)).collect();
        let guests = (0..=input.below(MOST_GUESTS)).map(|_| GuestSetup::read(input)).collect();
        Self { seed, storage, cpus, generation, cipher, change_detection, misc, strict_tweaks, without, guests }
    }

    fn write(&self, out: &mut Output) {
        out.number(self.seed);
        out.number(self.storage);
        out.number(self.cpus.into());
        put(&GENERATIONS, &self.generation, out);
        put(&CIPHERS, &self.cipher, out);
        put(&DETECTIONS, &self.change_detection, out);
        put(&MISC, &self.misc, out);
        out.flag(self.strict_tweaks);
        out.index(self.without.len());
        self.without.iter().for_each(|command| put(Command::ALL, command, out));
        out.index(self.guests.len().saturating_sub(1));
        self.guests.iter().for_each(|guest| guest.write(out));
    }
}

impl GuestSetup {
    fn read(input: &mut Input<'_>) -> Self {
        let memory = input.number();
        let vcpus = input.number().min(u16::MAX.into()) as u16;
        let state = pick(&STATES, input);
        let loads = (0..input.below(LOADS + 1)).map(|_| LoadSetup::read(input)).collect();
        Self { memory, vcpus, state, loads }
    }

    fn write(&self, out: &mut Output) {
        out.number(self.memory);
        out.number(self.vcpus.into());
        put(&STATES, &self.state, out);
        out.index(self.loads.len());
        self.loads.iter().for_each(|load| load.write(out));
    }
}

impl LoadSetup {
    fn read(input: &mut Input<'_>) -> Self {
        let address = input.number();
        let data = match input.flag() {
            true => LoadContent::Random(input.number()),
            false => LoadContent::Bytes(input.bytes(super::case::MOST_IMAGE as usize)),
        };
        Self { address, data }
    }

    fn write(&self, out: &mut Output) {
        out.number(self.address);
        out.flag(matches!(self.data, LoadContent::Random(_)));
        match &self.data {
            LoadContent::Random(length) => out.number(*length),
            LoadContent::Bytes(bytes) => out.bytes(bytes),
        }
    }
}
