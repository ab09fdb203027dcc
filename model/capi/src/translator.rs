//! Translators: what stands in for the tables of a host that keeps none of z/Architecture.

use crate::machine::{on_machine, uvsim_machine};
use crate::raw;
use crate::result::UVSIM_OK;
use crate::thread;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use parking_lot::Mutex;
use std::ffi::{c_int, c_void};
use std::sync::Arc;
use uvsim_model::address::{AbsoluteAddress, VirtualAddress};
use uvsim_model::storage::{Asce, Mapping, ProgramCode, Translator};

/// Stores through the mapping are refused.
pub const UVSIM_MAPPING_PROTECTED: u32 = 1;
/// Part of a large mapping, which secure guests cannot use.
pub const UVSIM_MAPPING_LARGE: u32 = 2;

/// Where a page lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct uvsim_mapping {
    /// Absolute address of its frame.
    pub absolute: u64,
    /// `UVSIM_MAPPING_PROTECTED`, `UVSIM_MAPPING_LARGE`, both or none. Other bits do not matter.
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<uvsim_mapping>() == 16);

/// Tells where a page of a space lies: fills in `mapping` and returns 0, or returns the code of a translation exception: 0x10,
/// 0x11, 0x38 to 0x3b. Any other number counts as 0x11.
///
/// It is asked in the middle of a walk, on any thread that uses the machine. Calls from inside on the same machine and its CPUs
/// answer `UVSIM_E_REENTERED`; those on other machines work. It has to return: after a `longjmp` the machine is lost. The
/// thread that has jumped gets `UVSIM_E_REENTERED` for ever, even for stopping and destroying; other threads must not use the
/// machine any more, for they could wait for it for ever. Its memory stays with the process. Nothing may be thrown.
pub type uvsim_translate_fn = Option<
    unsafe extern "C-unwind" fn(user: *mut c_void, asce: u64, address: u64, mapping: *mut uvsim_mapping) -> c_int,
>;

/// Has a translator answer in place of the tables of a space from now on, in every walk; the tables have their turn again if
/// `translator` is null. What it answers is buffered. Nothing is purged: that is for the host, with `uvsim_purge_page` or
/// `uvsim_idte_space`.
///
/// Answers: those of every function; `UVSIM_OK`.
///
/// # Safety
/// `translator` can be called with `user`, on all threads that use the machine, until another one has taken its place and
/// calls that began before are over.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvsim_set_translator(
    machine: *mut uvsim_machine,
    asce: u64,
    translator: uvsim_translate_fn,
    user: *mut c_void,
) -> c_int {
    on_machine(machine, |room| {
        let translator = translator.map(|translate| {
            let (user, walks) = (AtomicPtr::new(user), Arc::clone(&room.walks));
            Arc::new(Asked { asce, translate, user, walks }) as Arc<dyn Translator>
        });
        room.machine.set_translator(Asce(asce), translator);
        Ok(UVSIM_OK)
    })
}

/// A translator of the caller.
struct Asked {
    asce: u64,
    translate: unsafe extern "C-unwind" fn(*mut c_void, u64, u64, *mut uvsim_mapping) -> c_int,
    user: AtomicPtr<c_void>,
    walks: Arc<Walks>,
}

impl Translator for Asked {
    fn translate(&self, address: VirtualAddress) -> Result<Mapping, ProgramCode> {
        let mut found = uvsim_mapping::default();
        let user = self.user.load(Ordering::Relaxed);
        self.walks.begin();
        let host = raw::outside();
        // SAFETY: whoever has set it says that it can be called with this.
        let said = unsafe { (self.translate)(user, self.asce, address.0, &raw mut found) };
        drop(host);
        self.walks.end();
        match said {
            0 => Ok(Mapping {
                address: AbsoluteAddress(found.absolute),
                protected: found.flags & UVSIM_MAPPING_PROTECTED != 0,
                large: found.flags & UVSIM_MAPPING_LARGE != 0,
            }),
            code => Err(exception(code)),
        }
    }
}

fn exception(code: c_int) -> ProgramCode {
    let known = ProgramCode::ALL.into_iter().filter(|known| known.is_translation_exception());
    known.into_iter().find(|known| c_int::from(known.number()) == code).unwrap_or(ProgramCode::PageTranslation)
}

/// The threads that are in the middle of a walk, because a translator of theirs is being asked.
#[derive(Debug, Default)]
pub(crate) struct Walks {
    count: AtomicUsize,
    threads: Mutex<Vec<u64>>,
}

impl Walks {
    /// Whether this thread is.
    #[inline]
    pub(crate) fn are_here(&self) -> bool {
        self.count.load(Ordering::Relaxed) != 0 && self.threads.lock().contains(&thread::token())
    }

    fn begin(&self) {
        self.threads.lock().push(thread::token());
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    fn end(&self) {
        let mut threads = self.threads.lock();
        if let Some(at) = threads.iter().rposition(|token| *token == thread::token()) {
            threads.remove(at);
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
