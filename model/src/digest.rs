//! A digest of everything that a refused call must leave alone (D64).
//!
//! It covers storage, zone entries, integrity rows, configurations, CPUs and the state of the Ultravisor;
//! not translation buffers, random streams, injection counts and time. It is a sum over the parts that
//! differ from their initial state, so a part that came into being without content changes nothing, and
//! only what was touched since the last digest is hashed anew. It is a tool for tests and for the
//! scenario runner, not a security feature.

use crate::address::{AbsoluteAddress, FrameNumber, PAGES_PER_MEBIBYTE};
use crate::firmware::{Area, Boot, Configuration, CpuStatus};
use crate::machine::Machine;
use crate::storage::arena::{Chunk, PageBytes};
use crate::storage::{FrameState, Storage, ZoneEntry};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A digest of the state of a machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct StateDigest {
    storage: u64,
    zones: u64,
    rows: u64,
    objects: u64,
}

impl StateDigest {
    /// Its parts: storage, zone entries, integrity rows, everything else.
    #[must_use]
    pub const fn words(self) -> [u64; 4] {
        [self.storage, self.zones, self.rows, self.objects]
    }
}

/// What the last digest has found, by chunk.
#[derive(Debug, Default)]
pub(crate) struct DigestCache {
    /// By the order in which chunks came into being.
    chunks: Vec<ChunkDigest>,
    rows: BTreeMap<(u64, u64), u64>,
}

#[derive(Debug, Default)]
struct ChunkDigest {
    zone: u64,
    /// By frame; empty as long as none was stored to.
    frames: Vec<u64>,
    storage: u64,
}

impl Machine {
    /// Digests the state. The four bytes of rc and rrc of a control block at `block` count as zeros. The
    /// machine must be at rest.
    #[must_use]
    pub fn state_digest(&self, block: Option<AbsoluteAddress>) -> StateDigest {
        self.storage.count_host_stores();
        let mut cache = self.digests.lock();
        let (mut storage, mut zones) = (0u64, 0u64);
        let mut ordinal = 0;
        self.storage.visit_chunks(|first, chunk| {
            if ordinal == cache.chunks.len() {
                cache.chunks.push(ChunkDigest::default());
            }
            let found = &mut cache.chunks[ordinal];
            found.refresh(&self.storage, first.0, chunk);
            storage = storage.wrapping_add(found.storage);
            zones = zones.wrapping_add(found.zone);
            ordinal += 1;
        });
        if let Some(block) = block {
            storage = storage.wrapping_sub(self.code_bytes(block));
        }
        StateDigest { storage, zones, rows: self.digest_rows(&mut cache), objects: self.digest_objects() }
    }

    /// What rc and rrc of a block add to the sum.
    fn code_bytes(&self, block: AbsoluteAddress) -> u64 {
        let codes = AbsoluteAddress(block.0.wrapping_add(4));
        let mut bytes: PageBytes = [0; 4096];
        let frame = codes.frame();
        if self.storage.load(frame.address(), &mut bytes).is_err() {
            return 0;
        }
        let with = digest_frame(frame.0, &bytes);
        let end = (codes.offset() + 4).min(bytes.len());
        bytes[codes.offset()..end].fill(0);
        with.wrapping_sub(digest_frame(frame.0, &bytes))
    }

    fn digest_rows(&self, cache: &mut DigestCache) -> u64 {
        let mut sum = 0u64;
        for configuration in self.firmware.objects().configurations() {
            for (first, chunk) in configuration.rows.chunks() {
                let key = (configuration.handle, first.0);
                let changed = chunk.take_changed();
                let part = cache.rows.entry(key).or_default();
                if changed {
                    *part = 0;
                    for (offset, row) in (0u64..).zip(chunk.views()) {
                        let words = [row.counter, row.hash[0], row.hash[1], row.tag[0], row.tag[1]];
                        let text = format!("{:?} {}", row.record, row.verified);
                        if words != [0; 5] || row.record != crate::PageRecord::Absent {
                            let seed = digest_words(configuration.handle ^ (first.0 + offset), &words);
                            *part = part.wrapping_add(xxh3_64_with_seed(text.as_bytes(), seed));
                        }
                    }
                }
                sum = sum.wrapping_add(*part);
            }
        }
        sum
    }

    fn digest_objects(&self) -> u64 {
        let mut sum = u64::from(self.firmware.is_initialised());
        sum = sum.wrapping_add(digest_area(0, &self.firmware.base_area()));
        for configuration in self.firmware.objects().configurations() {
            sum = sum.wrapping_add(digest_configuration(&configuration));
        }
        for cpu in self.firmware.objects().cpus() {
            let mut words = vec![
                cpu.handle,
                u64::from(cpu.number),
                cpu.configuration.handle,
                cpu.state_description.0,
                u64::from(cpu.is_in_sie()),
                digest_area(cpu.handle, &cpu.area),
            ];
            words.extend(cpu.look(CpuStatus::words));
            sum = sum.wrapping_add(digest_words(3, &words));
        }
        sum
    }
}

impl ChunkDigest {
    fn refresh(&mut self, from: &Storage, first: u64, chunk: &Chunk) {
        if chunk.take_zone_changed() {
            self.zone = 0;
            for (frame, entry) in (first..).zip(chunk.zone_entries()) {
                if entry != ZoneEntry::new(FrameState::NonSecure) {
                    self.zone = self.zone.wrapping_add(digest_words(frame, &[entry.raw()]));
                }
            }
        }
        let mut bytes: PageBytes = [0; 4096];
        chunk.visit_touched(|index| {
            self.frames.resize(PAGES_PER_MEBIBYTE as usize, 0);
            let frame = FrameNumber(first + index as u64);
            from.copy_frame(frame, &mut bytes);
            let found = digest_frame(frame.0, &bytes);
            self.storage = self.storage.wrapping_sub(self.frames[index]).wrapping_add(found);
            self.frames[index] = found;
        });
    }
}

/// Zero for a frame of zeros.
fn digest_frame(frame: u64, bytes: &PageBytes) -> u64 {
    if bytes.iter().all(|&byte| byte == 0) { 0 } else { xxh3_64_with_seed(bytes, frame) }
}

fn digest_words(seed: u64, words: &[u64]) -> u64 {
    words.iter().fold(seed, |seed, word| xxh3_64_with_seed(&word.to_be_bytes(), seed))
}

fn digest_area(seed: u64, area: &Area) -> u64 {
    area.stretches().fold(seed, |seed, (first, len, page)| digest_words(seed, &[first, len, page]))
}

fn digest_configuration(configuration: &Configuration) -> u64 {
    let mut digest = digest_words(
        1,
        &[
            configuration.handle,
            u64::from(configuration.domain.0),
            configuration.origin,
            configuration.pages,
            configuration.asce.0,
            configuration.sca.0,
            configuration.frames(),
            u64::from(configuration.is_gone()),
            configuration.reset().code(),
        ],
    );
    digest = xxh3_64_with_seed(&configuration.uid, digest);
    let Some(life) = configuration.life() else { return digest };
    digest = digest_area(digest_area(digest, &life.base), &life.variable);
    for (number, handle) in &life.cpus {
        digest = digest_words(digest, &[u64::from(*number), *handle]);
    }
    digest = match &life.boot {
        Boot::Created => digest_words(digest, &[0]),
        Boot::Loading(loading) => {
            digest = digest_words(digest, &[1, loading.pages()]);
            loading.running().iter().fold(digest, |digest, part| xxh3_64_with_seed(part, digest))
        }
        Boot::Verified(_) => digest_words(digest, &[2]),
    };
    let Some(image) = life.boot.image() else { return digest };
    // The tag of the header stands for the whole of it.
    digest = xxh3_64_with_seed(&image.tag, digest);
    xxh3_64_with_seed(&image.opened_with.0, digest)
}
