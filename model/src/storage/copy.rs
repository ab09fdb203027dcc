//! Copies between plain bytes and a frame that others may touch at the same time: word by word, relaxed.

use super::region::{SharedFrame, WORDS};
use core::sync::atomic::{AtomicU64, Ordering};

/// Copies bytes of a frame out. `offset + bytes.len()` must not pass its end.
#[inline(always)]
pub(super) fn copy_out(page: &SharedFrame, offset: usize, bytes: &mut [u8]) {
    if let (Ok(bytes), 0) = (<&mut [u8; 8]>::try_from(&mut *bytes), offset % 8)
        && let Some(word) = page.get(offset / 8)
    {
        *bytes = word.load(Ordering::Relaxed).to_ne_bytes();
        return;
    }
    copy_out_any(page, offset, bytes);
}

fn copy_out_any(page: &SharedFrame, offset: usize, bytes: &mut [u8]) {
    let (head, rest) = bytes.split_at_mut(bytes.len().min(offset.wrapping_neg() % 8));
    if !head.is_empty() {
        let word = page[offset / 8].load(Ordering::Relaxed).to_ne_bytes();
        head.copy_from_slice(&word[offset % 8..][..head.len()]);
    }
    let words = &page[((offset + head.len()) / 8).min(WORDS)..];
    let (parts, tail) = rest.as_chunks_mut::<8>();
    // Eight words at a time; the compiler does not unroll loops over atomics itself.
    let (blocks, last) = parts.as_chunks_mut::<8>();
    let done = blocks.len() * 8;
    for (block, words) in blocks.iter_mut().zip(words.as_chunks::<8>().0) {
        *block = words.each_ref().map(|word| word.load(Ordering::Relaxed).to_ne_bytes());
    }
    for (part, word) in last.iter_mut().zip(&words[done..]) {
        *part = word.load(Ordering::Relaxed).to_ne_bytes();
    }
    if !tail.is_empty() {
        let word = words[parts.len()].load(Ordering::Relaxed).to_ne_bytes();
        tail.copy_from_slice(&word[..tail.len()]);
    }
}

/// Copies bytes into a frame. `offset + bytes.len()` must not pass its end.
#[inline(always)]
pub(super) fn copy_in(page: &SharedFrame, offset: usize, bytes: &[u8]) {
    if let (Ok(bytes), 0) = (<&[u8; 8]>::try_from(bytes), offset % 8)
        && let Some(word) = page.get(offset / 8)
    {
        word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
        return;
    }
    copy_in_any(page, offset, bytes);
}

fn copy_in_any(page: &SharedFrame, offset: usize, bytes: &[u8]) {
    let (head, rest) = bytes.split_at(bytes.len().min(offset.wrapping_neg() % 8));
    if !head.is_empty() {
        merge(&page[offset / 8], offset % 8, head);
    }
    let words = &page[((offset + head.len()) / 8).min(WORDS)..];
    let (parts, tail) = rest.as_chunks::<8>();
    let (blocks, last) = parts.as_chunks::<8>();
    for (block, words) in blocks.iter().zip(words.as_chunks::<8>().0) {
        for (part, word) in block.iter().zip(words) {
            word.store(u64::from_ne_bytes(*part), Ordering::Relaxed);
        }
    }
    for (part, word) in last.iter().zip(&words[blocks.len() * 8..]) {
        word.store(u64::from_ne_bytes(*part), Ordering::Relaxed);
    }
    if !tail.is_empty() {
        merge(&words[parts.len()], 0, tail);
    }
}

/// Stores a few bytes of a word, keeping what others store into its other bytes at the same time.
fn merge(word: &AtomicU64, at: usize, bytes: &[u8]) {
    let merged = |old: u64| {
        let mut image = old.to_ne_bytes();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        Some(u64::from_ne_bytes(image))
    };
    // The closure never gives up, so neither does the update.
    let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, merged);
}
