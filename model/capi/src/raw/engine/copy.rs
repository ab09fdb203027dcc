//! Copies that survive a fault. The handler knows the routines by their addresses, as the kernel's exception
//! table does, and sends a fault that nobody repairs to the end of the routine.

#![allow(unsafe_code, reason = "assembly, and pointers that C gave; see the SAFETY comments")]

use super::thread::Thread;
use core::ffi::c_void;
use uvsim_model::address::PAGE_SIZE;
use uvsim_model::storage::{AccessKind, ProgramInterruption};

/// Why a copy stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// A secure frame, and nobody made it accessible.
    Interruption(ProgramInterruption),
    /// No memory of the process, or memory that cannot be read or written.
    BadPointer,
}

/// Copies `len` bytes. Every page of both is probed first, so that a copy that stops has stored nothing, unless
/// another thread took a page away in between; then a first part has been stored. The two must not overlap.
///
/// # Safety
/// The destination is not memory that the compiler believes to know: not Rust's own, unless the caller made
/// the pointer from a mutable borrow.
pub(crate) unsafe fn copy(to: *mut u8, from: *const u8, len: usize) -> Result<(), Stop> {
    let ends = [to.addr().checked_add(len), from.addr().checked_add(len)];
    if len == 0 || ends.contains(&None) {
        return if len == 0 { Ok(()) } else { Err(Stop::BadPointer) };
    }
    for page in pages(from.addr(), len) {
        // SAFETY: the routine reads one byte and survives whatever the address is.
        finish(unsafe { uvsim_raw_probe_fetch(page as *const c_void) })?;
    }
    for page in pages(to.addr(), len) {
        // SAFETY: as above. A store needs no more than a fetch does: views are open or closed to both.
        finish(unsafe { uvsim_raw_probe_store(page as *const c_void) })?;
    }
    // SAFETY: the routine survives bad pointers; the caller vouches for good ones.
    finish(unsafe { uvsim_raw_copy(to.cast(), from.cast(), len) })
}

/// Where the handler lets a routine go on after a fault, and how a fault in it counts. `None`: not a routine.
pub(super) fn routine(pc: usize) -> Option<(usize, Option<AccessKind>)> {
    let (copy, fetch, store) = (
        &raw const uvsim_raw_copy_begin,
        &raw const uvsim_raw_probe_fetch_begin,
        &raw const uvsim_raw_probe_store_begin,
    );
    let (copy_end, fetch_end, store_end) =
        (&raw const uvsim_raw_copy_end, &raw const uvsim_raw_probe_fetch_end, &raw const uvsim_raw_probe_store_end);
    let table = [
        (copy, copy_end, None),
        (fetch, fetch_end, Some(AccessKind::Fetch)),
        (store, store_end, Some(AccessKind::Store)),
    ];
    let found = table.into_iter().find(|(begin, end, _)| (begin.addr()..end.addr()).contains(&pc));
    found.map(|(_, end, kind)| (end.addr(), kind))
}

/// The addresses to touch so that every page of a stretch is touched once.
fn pages(address: usize, len: usize) -> impl Iterator<Item = usize> {
    let page = PAGE_SIZE as usize;
    let next = move |at: &usize| (at & !(page - 1)).checked_add(page).filter(|&next| next < address + len);
    core::iter::successors(Some(address), next)
}

fn finish(unfinished: usize) -> Result<(), Stop> {
    if unfinished == 0 { Ok(()) } else { Err(Thread::with(|thread| thread.stop.get())) }
}

// Each returns what is left to do. A fault between `begin` and `end` goes on at `end`.
#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".globl uvsim_raw_copy, uvsim_raw_copy_begin, uvsim_raw_copy_end",
    ".hidden uvsim_raw_copy, uvsim_raw_copy_begin, uvsim_raw_copy_end",
    ".type uvsim_raw_copy, @function",
    "uvsim_raw_copy:",
    ".cfi_startproc",
    "mov rcx, rdx",
    "uvsim_raw_copy_begin:",
    "rep movsb",
    "uvsim_raw_copy_end:",
    "mov rax, rcx",
    "ret",
    ".cfi_endproc",
    ".size uvsim_raw_copy, . - uvsim_raw_copy",
    ".globl uvsim_raw_probe_fetch, uvsim_raw_probe_fetch_begin, uvsim_raw_probe_fetch_end",
    ".hidden uvsim_raw_probe_fetch, uvsim_raw_probe_fetch_begin, uvsim_raw_probe_fetch_end",
    ".type uvsim_raw_probe_fetch, @function",
    "uvsim_raw_probe_fetch:",
    ".cfi_startproc",
    "mov eax, 1",
    "uvsim_raw_probe_fetch_begin:",
    "movzx ecx, byte ptr [rdi]",
    "xor eax, eax",
    "uvsim_raw_probe_fetch_end:",
    "ret",
    ".cfi_endproc",
    ".size uvsim_raw_probe_fetch, . - uvsim_raw_probe_fetch",
    ".globl uvsim_raw_probe_store, uvsim_raw_probe_store_begin, uvsim_raw_probe_store_end",
    ".hidden uvsim_raw_probe_store, uvsim_raw_probe_store_begin, uvsim_raw_probe_store_end",
    ".type uvsim_raw_probe_store, @function",
    "uvsim_raw_probe_store:",
    ".cfi_startproc",
    "mov eax, 1",
    "uvsim_raw_probe_store_begin:",
    "movzx ecx, byte ptr [rdi]",
    "xor eax, eax",
    "uvsim_raw_probe_store_end:",
    "ret",
    ".cfi_endproc",
    ".size uvsim_raw_probe_store, . - uvsim_raw_probe_store",
);

// Post-indexed accesses that fault leave their registers alone, so what is left is right at every instruction.
#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".globl uvsim_raw_copy, uvsim_raw_copy_begin, uvsim_raw_copy_end",
    ".hidden uvsim_raw_copy, uvsim_raw_copy_begin, uvsim_raw_copy_end",
    ".type uvsim_raw_copy, %function",
    "uvsim_raw_copy:",
    ".cfi_startproc",
    "uvsim_raw_copy_begin:",
    "cmp x2, #8",
    "b.lo 2f",
    "1: ldr x3, [x1], #8",
    "str x3, [x0], #8",
    "sub x2, x2, #8",
    "cmp x2, #8",
    "b.hs 1b",
    "2: cbz x2, 4f",
    "3: ldrb w3, [x1], #1",
    "strb w3, [x0], #1",
    "subs x2, x2, #1",
    "b.ne 3b",
    "4:",
    "uvsim_raw_copy_end:",
    "mov x0, x2",
    "ret",
    ".cfi_endproc",
    ".size uvsim_raw_copy, . - uvsim_raw_copy",
    ".globl uvsim_raw_probe_fetch, uvsim_raw_probe_fetch_begin, uvsim_raw_probe_fetch_end",
    ".hidden uvsim_raw_probe_fetch, uvsim_raw_probe_fetch_begin, uvsim_raw_probe_fetch_end",
    ".type uvsim_raw_probe_fetch, %function",
    "uvsim_raw_probe_fetch:",
    ".cfi_startproc",
    "mov x1, x0",
    "mov x0, #1",
    "uvsim_raw_probe_fetch_begin:",
    "ldrb w2, [x1]",
    "mov x0, #0",
    "uvsim_raw_probe_fetch_end:",
    "ret",
    ".cfi_endproc",
    ".size uvsim_raw_probe_fetch, . - uvsim_raw_probe_fetch",
    ".globl uvsim_raw_probe_store, uvsim_raw_probe_store_begin, uvsim_raw_probe_store_end",
    ".hidden uvsim_raw_probe_store, uvsim_raw_probe_store_begin, uvsim_raw_probe_store_end",
    ".type uvsim_raw_probe_store, %function",
    "uvsim_raw_probe_store:",
    ".cfi_startproc",
    "mov x1, x0",
    "mov x0, #1",
    "uvsim_raw_probe_store_begin:",
    "ldrb w2, [x1]",
    "mov x0, #0",
    "uvsim_raw_probe_store_end:",
    "ret",
    ".cfi_endproc",
    ".size uvsim_raw_probe_store, . - uvsim_raw_probe_store",
);

unsafe extern "C" {
    /// Copies; returns the bytes that are left.
    fn uvsim_raw_copy(to: *mut c_void, from: *const c_void, len: usize) -> usize;
    /// Reads a byte; returns 1 if it cannot.
    fn uvsim_raw_probe_fetch(at: *const c_void) -> usize;
    /// The same, but a fault counts as that of a store.
    fn uvsim_raw_probe_store(at: *const c_void) -> usize;
    static uvsim_raw_copy_begin: u8;
    static uvsim_raw_copy_end: u8;
    static uvsim_raw_probe_fetch_begin: u8;
    static uvsim_raw_probe_fetch_end: u8;
    static uvsim_raw_probe_store_begin: u8;
    static uvsim_raw_probe_store_end: u8;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_is_touched_once() {
        let touched = |address, len| pages(address, len).collect::<Vec<_>>();
        assert_eq!(touched(0x1000, 0x1000), [0x1000]);
        assert_eq!(touched(0x1fff, 2), [0x1fff, 0x2000]);
        assert_eq!(touched(0x1800, 0x1801), [0x1800, 0x2000, 0x3000]);
        assert_eq!(touched(usize::MAX - 8, 8), [usize::MAX - 8]);
    }

    #[test]
    fn bytes_arrive() {
        for len in 0..200 {
            let from: Vec<u8> = (0..len).map(|byte| byte as u8 ^ 0x5a).collect();
            let mut to = vec![0xff; len + 1];
            // SAFETY: both are vectors of this function, and long enough.
            assert_eq!(unsafe { copy(to.as_mut_ptr(), from.as_ptr(), len) }, Ok(()));
            assert!(to[..len] == from && to[len] == 0xff);
        }
    }
}
