//! Where all randomness comes from: one number, and a stream of its own for every purpose (D46).
//!
//! Stream = ChaCha20 key stream (64-bit block counter from 0, 64-bit stream number) under the key
//! SHA-256("uvsim-seed-v1" ‖ seed u64be). An explicit generator, because committed outputs must outlive
//! the versions of the libraries; the tests below freeze it.
//!
//! # Stream numbers
//! Bits 0–15 hold the purpose, bits 16–31 an item, bits 32–63 a sub-stream. No two triples share a
//! number, and sub-stream 0, item 0 of a purpose is the purpose's own stream.

use std::convert::Infallible;

use chacha20::ChaCha20Rng;
use rand::{SeedableRng, TryCryptoRng, TryRng};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The seed of a machine or a scenario.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Seed(pub u64);

/// What a stream is for. Streams of different purposes never meet, so that one consumer more in one
/// place changes nothing anywhere else.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Purpose {
    /// Handles of configurations and CPUs (D20).
    Handles = 1,
    /// Seeds and unique ids of new configurations (D45).
    Configurations = 2,
    /// Host keys of the machine.
    HostKeys = 3,
    /// The choice among lanes that could go on.
    Lanes = 4,
    /// Injected faults.
    Injection = 5,
    /// Bytes of `load random=`: sub-stream = guest in file order, item = load in its order (D77).
    LoadRandom = 6,
    /// Workloads: sub-stream = workload in file order (D77).
    Workload = 7,
    /// Keys of images made on the fly: sub-stream = guest in file order.
    Images = 8,
    /// Entropy devices: sub-stream = guest in file order.
    Entropy = 9,
    /// What the fuzzer draws: sub-stream = job.
    Fuzz = 10,
}

/// A stream of random numbers; a `Rng` of the rand crate.
///
/// Draws take whole 32-bit words from the key stream, little-endian: a u64 takes two, low word first;
/// [`Self::fill`] takes as many as it touches and drops what is left of the last one.
#[derive(Debug)]
pub struct SeedStream(ChaCha20Rng);

impl Seed {
    /// The stream of a purpose.
    #[must_use]
    pub fn stream(self, purpose: Purpose) -> SeedStream {
        self.item(purpose, 0, 0)
    }

    /// One of the sub-streams of a purpose. Number 0 is the purpose's own stream.
    #[must_use]
    pub fn substream(self, purpose: Purpose, number: u32) -> SeedStream {
        self.item(purpose, number, 0)
    }

    /// The stream of one item of a sub-stream. Item 0 is the sub-stream itself.
    #[must_use]
    pub fn item(self, purpose: Purpose, number: u32, item: u16) -> SeedStream {
        let mut generator = ChaCha20Rng::from_seed(*self.key());
        generator.set_stream(u64::from(number) << 32 | u64::from(item) << 16 | purpose as u64);
        SeedStream(generator)
    }

    fn key(self) -> Zeroizing<[u8; 32]> {
        let hash = Sha256::new().chain_update(b"uvsim-seed-v1").chain_update(self.0.to_be_bytes());
        Zeroizing::new(hash.finalize().into())
    }
}

impl SeedStream {
    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        rand::Rng::next_u64(&mut self.0)
    }

    /// Fills `bytes` with random ones.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        rand::Rng::fill_bytes(&mut self.0, bytes);
    }

    /// Words drawn so far.
    pub(crate) fn position(&self) -> u128 {
        self.0.get_word_pos()
    }

    /// Goes on as after so many words.
    pub(crate) fn go_to(&mut self, position: u128) {
        if position != self.position() {
            self.0.set_word_pos(position);
        }
    }
}

impl TryRng for SeedStream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.0.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0.try_next_u64()
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.try_fill_bytes(bytes)
    }
}

impl TryCryptoRng for SeedStream {}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    const PURPOSES: [Purpose; 10] = [
        Purpose::Handles,
        Purpose::Configurations,
        Purpose::HostKeys,
        Purpose::Lanes,
        Purpose::Injection,
        Purpose::LoadRandom,
        Purpose::Workload,
        Purpose::Images,
        Purpose::Entropy,
        Purpose::Fuzz,
    ];

    /// All expected values here were computed with a ChaCha20 of our own in Python, not with this library.
    #[test]
    fn every_purpose_has_the_stream_of_its_number() {
        let expected = [
            "32aae0a44f551ad4f121a5b7542e0274359b6df290e63a1f8e1dc97510e58acc",
            "d2b7883c5bf5e7b0cd77c56e25b7c7e095bad48e4795214daff251500878c64c",
            "7a51a0680761a2fbfdefaea846fdc712f8dc75a9b9da70f44203dbe1a0618be1",
            "743b7519fc3547106a266101d5d3d451f4ca6008b2755b7a85471f35ba9d9c03",
            "5a9473a813822e1c203ba4a0eac0c561c48c5fcce966a43ce6cf50675566b3df",
            "ff60e8faab423a00c8b47f177f88f27b50f0bd41449397bd7a71b2ea8d377c8d",
            "99adf96efa7c7decd8862b66b183adcfa11d7302c0e0ea2ac9eea45a53138dc2",
            "18984a0f8fd2e7c507703460688f607a82fab946a94e25c19ae363ee25010363",
            "a7459d5b5bd2148ab6b79aed9d749aa56da3c27d8fd2d7c56be7ac2f88f67d80",
        ];
        for (purpose, expected) in PURPOSES.into_iter().zip(expected) {
            assert_eq!(start::<32>(Seed(1).stream(purpose)), expected, "{purpose:?}");
        }
    }

    #[test]
    fn the_seed_is_taken_whole_and_big_endian() {
        assert_eq!(start::<16>(Seed(u64::MAX).stream(Purpose::Handles)), "6b93c8fb9157d29ac9d6f53986cca472");
        assert_ne!(start::<16>(Seed(1 << 56).stream(Purpose::Handles)), start::<16>(Seed(1).stream(Purpose::Handles)));
    }

    #[test]
    fn substreams_and_items_have_streams_of_their_own() {
        let seed = Seed(1);
        assert_eq!(start::<16>(seed.substream(Purpose::LoadRandom, 1)), "1b9b138efbd98fb8a48ff248d8040071");
        assert_eq!(start::<16>(seed.item(Purpose::LoadRandom, 0, 1)), "34188d87e7c70914199b8337e991fd99");
        assert_eq!(start::<16>(seed.item(Purpose::LoadRandom, 1, 2)), "09b3b0815a0222466133ef2253fee69f");
        assert_eq!(start::<16>(seed.substream(Purpose::Workload, 1)), "466c068f6de7741b094611d672c833fe");
        let last = seed.item(Purpose::Workload, u32::MAX, u16::MAX);
        assert_eq!(start::<16>(last), "0698f613434ce5c5648111b8ed3a8a28");
    }

    #[test]
    fn substream_0_is_the_stream_itself_and_no_two_streams_meet() {
        let seed = Seed(7);
        let mut seen = std::collections::BTreeSet::new();
        for purpose in PURPOSES {
            assert_eq!(start::<32>(seed.stream(purpose)), start::<32>(seed.substream(purpose, 0)));
            for number in [0, 1, 2, 6, 7, 1 << 16, u32::MAX] {
                for item in [0, 1, 2, 6, 7, u16::MAX] {
                    assert!(seen.insert(start::<32>(seed.item(purpose, number, item))), "{purpose:?} {number} {item}");
                }
            }
        }
    }

    #[test]
    fn draws_of_all_kinds_follow_each_other_in_words() {
        let mut stream = Seed(1).stream(Purpose::Configurations);
        let mut five = [0; 5];
        assert_eq!(stream.next_u64(), 0xb0e7_f55b_3c88_b7d2);
        stream.fill(&mut five);
        assert_eq!(five, [0xcd, 0x77, 0xc5, 0x6e, 0x25]);
        assert_eq!(stream.next_u64(), 0x4d21_9547_8ed4_ba95);
        assert_eq!(stream.next_u32(), 0x5051_f2af);
    }

    #[test]
    fn a_long_draw_crosses_the_buffers_of_the_library() {
        let (mut whole, mut pieces) = ([0; 1000], [0; 1000]);
        Seed(1).stream(Purpose::Workload).fill(&mut whole);
        let mut stream = Seed(1).stream(Purpose::Workload);
        pieces.chunks_mut(252).for_each(|piece| stream.fill(piece));
        assert_eq!(whole, pieces);
        assert_eq!(hex(&Sha256::digest(whole)), "cd33deed1ebc47f67a19c1303d002f763c188b91978c65caa24ab3c6d071c2cc");
    }

    #[test]
    fn a_stream_goes_back_to_any_word() {
        for drawn in [0, 1, 5, 63, 64, 65, 128, 255, 256, 257] {
            let mut stream = Seed(1).stream(Purpose::Handles);
            (0..drawn).for_each(|_| assert!(stream.try_next_u32().is_ok()));
            let position = stream.position();
            assert_eq!(position, drawn);
            let (mut first, mut again) = ([0; 600], [0; 600]);
            stream.fill(&mut first);
            stream.go_to(position);
            stream.fill(&mut again);
            assert_eq!(first, again, "{drawn}");
        }
    }

    #[test]
    fn it_is_a_generator_of_the_rand_crate() {
        fn draw(generator: &mut impl rand::CryptoRng) -> u64 {
            generator.next_u64()
        }
        assert_eq!(draw(&mut Seed(1).stream(Purpose::Configurations)), 0xb0e7_f55b_3c88_b7d2);
        assert_eq!(format!("{:?}", Seed(1).stream(Purpose::Lanes)), "SeedStream(ChaCha20Rng { ... })");
    }

    fn start<const N: usize>(mut stream: SeedStream) -> String {
        let mut bytes = [0; N];
        stream.fill(&mut bytes);
        hex(&bytes)
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
