//! Memory of the process at addresses that its host code names. The system does the copying where it can, so that a bad
//! address is an answer and no crash.

#![allow(unsafe_code, reason = "system calls on memory of the process; see the SAFETY comments")]

use crate::address::VirtualAddress;

#[cfg(target_os = "linux")]
pub(crate) use checked::{can_store, load, store};
#[cfg(not(target_os = "linux"))]
pub(crate) use unchecked::{can_store, load, store};

/// Whether a byte can be loaded.
pub(crate) fn can_load(address: VirtualAddress) -> bool {
    load(address, &mut [0])
}

#[cfg(target_os = "linux")]
mod checked {
    use super::{VirtualAddress, can_load, unchecked};
    use libc::{c_void, iovec};

    /// Copies bytes of the process out. `false` if some of them are out of reach.
    pub(crate) fn load(address: VirtualAddress, bytes: &mut [u8]) -> bool {
        let here = iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        let there = iovec { iov_base: pointer(address), iov_len: bytes.len() };
        // SAFETY: `here` is exclusively ours. The system checks `there`, and reads it as another process would.
        let done = unsafe { libc::process_vm_readv(libc::getpid(), &raw const here, 1, &raw const there, 1, 0) };
        judge(done, bytes.len())
            .unwrap_or_else(|| populate(address, libc::MADV_POPULATE_READ) && unchecked::load(address, bytes))
    }

    /// Copies bytes into the process. `false` if some of them are out of reach. Whoever let the address come here has
    /// vouched that it may be stored to.
    pub(crate) fn store(address: VirtualAddress, bytes: &[u8]) -> bool {
        let here = iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let there = iovec { iov_base: pointer(address), iov_len: bytes.len() };
        // SAFETY: `here` is only read. The system checks that `there` can be written, and the issuer has vouched that it
        // may be.
        let done = unsafe { libc::process_vm_writev(libc::getpid(), &raw const here, 1, &raw const there, 1, 0) };
        judge(done, bytes.len()).unwrap_or_else(|| can_store(address) && unchecked::store(address, bytes))
    }

    /// Whether a byte can be stored to. A system that cannot tell (before Linux 5.14) tells whether it can be loaded.
    pub(crate) fn can_store(address: VirtualAddress) -> bool {
        populate(address, libc::MADV_POPULATE_WRITE)
    }

    /// Has the page of a byte ready for an access. `false` if that is impossible, as far as the system can tell.
    fn populate(address: VirtualAddress, advice: i32) -> bool {
        let page_size = rustix::param::page_size();
        let page = pointer(VirtualAddress(address.0 & !(page_size as u64 - 1)));
        // SAFETY: what this changes is where the page is kept, not what it holds.
        if unsafe { libc::madvise(page, page_size, advice) } == 0 {
            return true;
        }
        let unknown = std::io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL);
        unknown && (advice == libc::MADV_POPULATE_READ || can_load(address))
    }

    /// Whether all was copied. `None` if the system does not copy for us at all, as some containers forbid it.
    fn judge(done: isize, wanted: usize) -> Option<bool> {
        if done >= 0 {
            return Some(done.unsigned_abs() == wanted);
        }
        let why = std::io::Error::last_os_error().raw_os_error();
        (!matches!(why, Some(libc::ENOSYS | libc::EPERM))).then_some(false)
    }

    fn pointer(address: VirtualAddress) -> *mut c_void {
        core::ptr::with_exposed_provenance_mut(address.0 as usize)
    }
}

/// For systems that do not copy for us: a bad address crashes the process.
mod unchecked {
    use super::VirtualAddress;

    pub(crate) fn load(address: VirtualAddress, bytes: &mut [u8]) -> bool {
        let from = core::ptr::with_exposed_provenance::<u8>(address.0 as usize);
        // SAFETY: the issuer has vouched for the addresses that it names; `bytes` is exclusively ours.
        unsafe { core::ptr::copy(from, bytes.as_mut_ptr(), bytes.len()) };
        true
    }

    pub(crate) fn store(address: VirtualAddress, bytes: &[u8]) -> bool {
        let to = core::ptr::with_exposed_provenance_mut::<u8>(address.0 as usize);
        // SAFETY: as above.
        unsafe { core::ptr::copy(bytes.as_ptr(), to, bytes.len()) };
        true
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn can_store(_: VirtualAddress) -> bool {
        true
    }
}
