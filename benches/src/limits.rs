//! The limits: the least that could do the same work, by bare library calls on the same kind of memory.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use core::hint::black_box;
use core::sync::atomic::{AtomicU64, Ordering};
use polyval::Polyval;
use polyval::universal_hash::UniversalHash;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestRegionMmap};

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// Whether the cipher uses instructions of the processor.
#[must_use]
pub fn aes_is_accelerated() -> bool {
    aes::hardware_accelerated()
}

/// Pages of plain memory with a cipher, laid out as the model's exports are: nonce of index and counter,
/// 48 bytes of associated data, the tag beside the page.
pub struct BarePages {
    bytes: Vec<u8>,
    tags: Vec<[u8; 16]>,
    cipher: Aes256Gcm,
    hash: Polyval,
    staging: Box<[u8; PAGE]>,
}

impl core::fmt::Debug for BarePages {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "BarePages({})", self.tags.len())
    }
}

impl BarePages {
    /// `count` touched pages.
    #[must_use]
    pub fn new(count: u64) -> Self {
        let count = count as usize;
        let mut bytes = vec![0; count * PAGE];
        bytes.chunks_exact_mut(PAGE).for_each(|page| page[0] = 1);
        Self {
            bytes,
            tags: vec![[0; 16]; count],
            cipher: Aes256Gcm::new(&[7; 32].into()),
            hash: Polyval::new(&[9; 16].into()),
            staging: Box::new([0; PAGE]),
        }
    }

    fn page(&mut self, page: u64) -> &mut [u8] {
        &mut self.bytes[page as usize * PAGE..][..PAGE]
    }

    /// Seals a page in place and keeps the tag.
    #[inline]
    pub fn seal(&mut self, page: u64) {
        let bytes = &mut self.bytes[page as usize * PAGE..][..PAGE];
        let tag = self.cipher.encrypt_inout_detached(&nonce(page).into(), &associated_data(page), bytes.into());
        self.tags[page as usize] = tag.expect("a page is short enough").into();
    }

    /// Opens a page that was sealed.
    #[inline]
    pub fn open(&mut self, page: u64) {
        let bytes = &mut self.bytes[page as usize * PAGE..][..PAGE];
        let tag = self.tags[page as usize].into();
        let opened =
            self.cipher.decrypt_inout_detached(&nonce(page).into(), &associated_data(page), bytes.into(), &tag);
        opened.expect("the page is what was sealed");
    }

    /// One universal hash of a page.
    #[inline]
    pub fn polyval(&mut self, page: u64) {
        let mut polyval = self.hash.clone();
        polyval.update_padded(self.page(page));
        black_box(polyval.finalize());
    }

    /// Clears a page.
    #[inline]
    pub fn clear(&mut self, page: u64) {
        let bytes = self.page(page);
        bytes.fill(0);
        black_box(bytes);
    }

    /// Copies a page out.
    #[inline]
    pub fn copy_out(&mut self, page: u64) {
        self.staging.copy_from_slice(&self.bytes[page as usize * PAGE..][..PAGE]);
        black_box(&mut self.staging);
    }

    /// Copies a page in.
    #[inline]
    pub fn copy_in(&mut self, page: u64) {
        self.bytes[page as usize * PAGE..][..PAGE].copy_from_slice(black_box(&*self.staging));
    }

    /// A raw load of eight bytes.
    #[inline]
    pub fn load(&self, at: u64) -> u64 {
        let mut word = [0; 8];
        word.copy_from_slice(&self.bytes[at as usize..][..8]);
        u64::from_ne_bytes(word)
    }

    /// A raw store of eight bytes.
    #[inline]
    pub fn store(&mut self, at: u64, value: u64) {
        self.bytes[at as usize..][..8].copy_from_slice(&value.to_ne_bytes());
    }
}

fn nonce(page: u64) -> [u8; 12] {
    let packed = (u128::from(page) << 56 | 1) << 32;
    let [nonce @ .., _, _, _, _] = packed.to_be_bytes();
    nonce
}

fn associated_data(page: u64) -> [u8; 48] {
    let mut data = [3; 48];
    data[24..32].copy_from_slice(&page.to_be_bytes());
    data
}

/// The same pages behind the guest-memory interface of the rust-vmm project.
#[derive(Debug)]
pub struct MappedPages {
    memory: GuestMemoryMmap<()>,
    staging: Box<[u8; PAGE]>,
}

/// The library's memory under a type of its own. Its methods are generic: each use gets its own copy, made
/// for its own length, which is several times as fast as one copy for all.
#[derive(Debug)]
struct Lane<'a, const USE: usize>(&'a GuestMemoryMmap<()>);

impl<const USE: usize> GuestMemoryBackend for Lane<'_, USE> {
    type R = GuestRegionMmap<()>;

    #[inline]
    fn num_regions(&self) -> usize {
        self.0.num_regions()
    }

    #[inline]
    fn find_region(&self, addr: GuestAddress) -> Option<&Self::R> {
        self.0.find_region(addr)
    }

    #[inline]
    fn iter(&self) -> impl Iterator<Item = &Self::R> {
        self.0.iter()
    }
}

impl MappedPages {
    /// `count` touched pages in one region.
    #[must_use]
    pub fn new(count: u64) -> Self {
        let ranges = [(GuestAddress(0), count as usize * PAGE)];
        let memory = GuestMemoryMmap::from_ranges(&ranges).expect("the system has this much memory");
        for page in 0..count {
            memory.write_slice(&[1], GuestAddress(page * PAGE as u64)).expect("in the region");
        }
        Self { memory, staging: Box::new([0; PAGE]) }
    }

    /// Loads eight bytes.
    #[inline]
    pub fn read_obj(&self, at: u64) -> u64 {
        Lane::<0>(&self.memory).read_obj(GuestAddress(at)).expect("in the region")
    }

    /// Stores eight bytes.
    #[inline]
    pub fn write_obj(&self, at: u64, value: u64) {
        Lane::<1>(&self.memory).write_obj(value, GuestAddress(at)).expect("in the region");
    }

    /// Loads eight bytes by the one copy of the code that serves all lengths.
    #[inline]
    pub fn read_obj_shared(&self, at: u64) -> u64 {
        self.memory.read_obj(GuestAddress(at)).expect("in the region")
    }

    /// Stores eight bytes by the one copy of the code that serves all lengths.
    #[inline]
    pub fn write_obj_shared(&self, at: u64, value: u64) {
        self.memory.write_obj(value, GuestAddress(at)).expect("in the region");
    }

    /// Loads a page.
    #[inline]
    pub fn read_slice(&mut self, page: u64) {
        let at = GuestAddress(page * PAGE as u64);
        Lane::<2>(&self.memory).read_slice(self.staging.as_mut_slice(), at).expect("in the region");
        black_box(&mut self.staging);
    }

    /// Stores a page.
    #[inline]
    pub fn write_slice(&mut self, page: u64) {
        let at = GuestAddress(page * PAGE as u64);
        Lane::<3>(&self.memory).write_slice(black_box(self.staging.as_slice()), at).expect("in the region");
    }

    /// What a call that finds nothing to do moves at least: a block in, as host and as Ultravisor; response
    /// codes out.
    #[inline]
    pub fn call_traffic(&mut self, block: u64) {
        let at = GuestAddress(block);
        self.memory.write_slice(black_box(&[0; 0x20]), at).expect("in the region");
        let bytes: [u8; 0x20] = self.memory.read_obj(at).expect("in the region");
        self.memory.write_obj(bytes[2], GuestAddress(block + 4)).expect("in the region");
    }
}

/// States that change by atomic exchange: the least that sharing a page could be.
#[derive(Debug)]
pub struct States {
    rows: Vec<AtomicU64>,
    frames: Vec<AtomicU64>,
}

impl States {
    /// States of `count` pages.
    #[must_use]
    pub fn new(count: u64) -> Self {
        let zeros = || (0..count).map(AtomicU64::new).collect();
        Self { rows: zeros(), frames: zeros() }
    }

    /// Two states change, and change back.
    #[inline]
    pub fn change_twice(&self, page: u64) {
        for value in [page, page + 1] {
            black_box(self.rows[page as usize].swap(value, Ordering::AcqRel));
            black_box(self.frames[page as usize].swap(value, Ordering::AcqRel));
        }
    }
}
